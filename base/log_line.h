/*
 * base/log_line.h: log lines of keys and values, as logfmt or JSON.
 *
 *     tl_log(log, TL_LOG_INFO, "pack written", TL_LOG_TEXT("pack", name), TL_LOG_INT("rows", n));
 *
 *     ts=2024-05-01T10:00:00.123456Z level=info msg="pack written" pack=p-17 rows=8192
 *     {"ts":"2024-05-01T10:00:00.123456Z","level":"info","msg":"pack written","pack":"p-17",…}
 *
 * Only engine, wire and tools log; the floors below tell their failures by a status. A line is
 * one write(2), so that lines of several threads and processes do not mix. Control characters
 * and invalid UTF-8 are escaped: a line stays a line, whatever a client sent. A long value is cut.
 *
 * Ownership  the log borrows its file descriptor and clock. Values are borrowed for the call.
 * Threads    any.
 * Errors     none: a line that cannot be written is counted and lost.
 */
#ifndef TALLY_BASE_LOG_LINE_H
#define TALLY_BASE_LOG_LINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/status.h"

enum tl_log_level { TL_LOG_DEBUG, TL_LOG_INFO, TL_LOG_WARN, TL_LOG_ERROR, TL_LOG_LEVEL_COUNT };
enum tl_log_format { TL_LOG_LOGFMT, TL_LOG_JSON };

enum { TL_LOG_LINE_BYTES_MAX = 4096, TL_LOG_VALUE_BYTES_MAX = 1024, TL_LOG_PAIRS_MAX = 64 };

struct tl_log {
    int fd;
    enum tl_log_format format;
    const struct tl_clock *clock;
    _Atomic int level_min;    /* relaxed: may be changed while others log */
    _Atomic uint64_t lost;    /* lines that could not be written; relaxed, a counter */
    _Atomic uint64_t written; /* relaxed, a counter */
};

void tl_log_init(struct tl_log *l, int fd, enum tl_log_format format, enum tl_log_level level_min,
                 const struct tl_clock *clock);
void tl_log_set_level(struct tl_log *l, enum tl_log_level level_min);
static inline bool tl_log_wants(struct tl_log *l, enum tl_log_level level)
{
    return (int)level >= atomic_load_explicit(&l->level_min, memory_order_relaxed);
}
/* "debug", "info", "warn", "error"; any case. False: none of them. */
bool tl_log_level_parse(struct tl_slice name, enum tl_log_level *out);
bool tl_log_format_parse(struct tl_slice name, enum tl_log_format *out);

struct tl_log_pair {
    const char *key; /* NULL ends a list. Letters, digits, '_' and '.': ours, never a client's */
    enum {
        TL_LOG_KIND_TEXT,
        TL_LOG_KIND_SLICE,
        TL_LOG_KIND_INT,
        TL_LOG_KIND_UINT,
        TL_LOG_KIND_DOUBLE,
        TL_LOG_KIND_BOOL,
    } kind;
    union {
        const char *text; /* NULL is written as an empty one */
        struct tl_slice slice;
        int64_t i;
        uint64_t u;
        double d;
        bool b;
    } value;
};

#define TL_LOG_TEXT(k, v)                                                                          \
    ((struct tl_log_pair){.key = (k), .kind = TL_LOG_KIND_TEXT, .value.text = (v)})
#define TL_LOG_SLICE(k, v)                                                                         \
    ((struct tl_log_pair){.key = (k), .kind = TL_LOG_KIND_SLICE, .value.slice = (v)})
#define TL_LOG_INT(k, v) ((struct tl_log_pair){.key = (k), .kind = TL_LOG_KIND_INT, .value.i = (v)})
#define TL_LOG_UINT(k, v)                                                                          \
    ((struct tl_log_pair){.key = (k), .kind = TL_LOG_KIND_UINT, .value.u = (v)})
#define TL_LOG_DOUBLE(k, v)                                                                        \
    ((struct tl_log_pair){.key = (k), .kind = TL_LOG_KIND_DOUBLE, .value.d = (v)})
#define TL_LOG_BOOL(k, v)                                                                          \
    ((struct tl_log_pair){.key = (k), .kind = TL_LOG_KIND_BOOL, .value.b = (v)})
#define TL_LOG_END ((struct tl_log_pair){.key = NULL})

/* Writes a line; the list of pairs ends with TL_LOG_END. */
void tl_log_write(struct tl_log *l, enum tl_log_level level, const char *message,
                  const struct tl_log_pair *pairs);
/* A line with at least one pair, written only when the level is wanted. */
#define tl_log(l, level, message, ...)                                                             \
    do {                                                                                           \
        if (tl_log_wants((l), (level)))                                                            \
            tl_log_write((l), (level), (message),                                                  \
                         (const struct tl_log_pair[]){__VA_ARGS__, TL_LOG_END});                   \
    } while (0)
/* A line without pairs. */
void tl_log_say(struct tl_log *l, enum tl_log_level level, const char *message);
/* A failure where it stops: code, SQLSTATE, place and text of the status. */
void tl_log_status(struct tl_log *l, enum tl_log_level level, const char *message,
                   const struct tl_status *st);

#endif
