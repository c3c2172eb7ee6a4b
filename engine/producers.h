/*
 * engine/producers.h: which batches were stored before.
 *
 * A producer numbers its batches. The last 1,024 numbers of each are remembered as a bitmap below
 * the greatest one seen, so that a retry is recognised, in any order inside that window; an older
 * number is too old to tell, and is refused. A producer is forgotten 7 days of log time after
 * its last batch, and when there are more than 100,000, the one silent for longest first.
 * Everything follows from the order of the log and log time.
 *
 * What changed since the last call is written into the manifest with each flush.
 *
 * Ownership  the caller's struct; names are copied.
 * Threads    the log thread alone.
 * Memory     about 260 bytes per producer.
 */
#ifndef TALLY_ENGINE_PRODUCERS_H
#define TALLY_ENGINE_PRODUCERS_H

#include "base/bytes.h"
#include "base/status.h"

enum {
    TL_PRODUCER_BYTES_MAX = 64,
    TL_PRODUCER_WINDOW = 1024,
    TL_PRODUCERS_MAX = 100000,
};
#define TL_PRODUCER_AGE_US (7LL * 86400 * 1000000)

struct tl_producer;

struct tl_producers {
    struct tl_producer **slots; /* open addressing */
    uint32_t mask, count;
    uint32_t count_max;                  /* TL_PRODUCERS_MAX; tests take less */
    struct tl_producer *oldest, *newest; /* by last use */
    struct tl_buffer dropped;            /* names forgotten since the last encode */
};

enum tl_producer_answer { TL_PRODUCER_NEW, TL_PRODUCER_SEEN, TL_PRODUCER_TOO_OLD };

TL_CHECK enum tl_code tl_producers_init(struct tl_producers *p, struct tl_status *st);
void tl_producers_deinit(struct tl_producers *p);

enum tl_producer_answer tl_producers_ask(const struct tl_producers *p, struct tl_slice name,
                                         uint64_t sequence);
/* The batch was appended to the log. */
TL_CHECK enum tl_code tl_producers_note(struct tl_producers *p, struct tl_slice name,
                                        uint64_t sequence, int64_t log_time_us,
                                        struct tl_status *st);

/* Appends what changed since the last call (or everything): u32 dropped, names; u32 windows, each
 * name, u64 greatest, i64 last log time, 16 × u64 bitmap; least recently used first. */
void tl_producers_encode(struct tl_producers *p, bool everything, struct tl_buffer *out);
TL_CHECK enum tl_code tl_producers_decode(struct tl_producers *p, struct tl_reader *r,
                                          struct tl_status *st);

#endif
