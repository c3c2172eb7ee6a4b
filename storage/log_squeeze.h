/*
 * storage/log_squeeze.h: compressed groups of the log, and when they pay.
 *
 * A group is compressed whole, with zstd at a fast level, when the disk needs longer for the bytes
 * saved than the processor for saving them. Both are measured as the log runs: what a commit takes
 * beyond its fixed cost per byte, and what zstd takes per byte and what it leaves. On a fast
 * disk the answer is "never", and then nothing is compressed but now and then a sample.
 *
 * What replay reads does not depend on any of it: each group says what it is.
 *
 * Ownership  the squeeze owns its zstd context; results go into the caller's memory.
 * Threads    one at a time.
 * Units      bytes, nanoseconds.
 * Errors     TL_CORRUPT: bytes that no writer of ours makes. TL_LIMIT: no memory. Compressing
 *            cannot fail: without memory or gain the group is written as it is.
 */
#ifndef TALLY_STORAGE_LOG_SQUEEZE_H
#define TALLY_STORAGE_LOG_SQUEEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/status.h"
#include "storage/log.h"

enum {
    TL__LOG_SQUEEZE_HEAD = 4,          /* u32 size of the records before the frame */
    TL__LOG_SQUEEZE_BYTES_MIN = 32768, /* below, a commit's fixed cost is nearly all of it */
    TL__LOG_SQUEEZE_SAMPLE = 65536,
    TL__LOG_SQUEEZE_PROBE_EVERY = 256, /* groups between two samples */
};

struct tl__log_squeeze {
    enum tl_log_compression mode;
    const struct tl_clock *clock; /* NULL: nothing is measured, and auto means off */
    void *context;                /* zstd's; made at the first use */
    double fixed_ns;              /* of a small commit; 0: unknown */
    double disk_ns;               /* per byte of a large one, the least of some; 0: unknown */
    double least_ns;              /* of the last least_count ones */
    uint32_t least_count;
    double zstd_ns;       /* per byte; 0: unknown */
    double ratio;         /* size after over size before */
    uint32_t until_probe; /* groups */
    bool on;              /* auto: it pays at present */
};

void tl__log_squeeze_init(struct tl__log_squeeze *s, enum tl_log_compression mode,
                          const struct tl_clock *clock);
void tl__log_squeeze_deinit(struct tl__log_squeeze *s);
/* What `size` bytes may become at most, head counted. */
size_t tl__log_squeeze_room(size_t size);
/* Should these records be compressed? Takes a sample of them now and then. */
bool tl__log_squeeze_wanted(struct tl__log_squeeze *s, struct tl_slice records);
/* Head and frame into `out`; 0: as it is it is better. */
size_t tl__log_squeeze_run(struct tl__log_squeeze *s, struct tl_slice records, uint8_t *out,
                           size_t room);
/* A commit of `bytes` was durable `ns` after it began, and the caller had to wait for it. */
void tl__log_squeeze_note(struct tl__log_squeeze *s, size_t bytes, uint64_t ns);

/* The records of a compressed group, into *buffer, grown with realloc when *room is too small. No
 * more is allocated than a group may hold. */
TL_CHECK enum tl_code tl__log_unsqueeze(struct tl_slice payload, uint8_t **buffer, size_t *room,
                                        struct tl_slice *out, struct tl_status *st);

#endif
