/*
 * engine/rollup_stream.h: the rows of one segment, rollup or memtable as runs of one merchant's
 * quarter of an hour, in order.
 *
 * Ownership  caller's memory, arrays in the arena given; the snapshot keeps what is read.
 * Threads    one.
 * Errors     what reading says; TL_LIMIT: the arena's budget.
 */
#ifndef TALLY_ENGINE_ROLLUP_STREAM_H
#define TALLY_ENGINE_ROLLUP_STREAM_H

#include "engine/memtable.h"
#include "engine/rollup_rows.h"

/* What is wanted of a view, for all streams of a shard. */
struct tl_rollup_want {
    const struct tl_view *view;
    uint64_t position; /* of the snapshot */
    uint32_t shard, shard_count;
    int64_t bucket_min, bucket_max; /* of buckets */
    int64_t ts_min, ts_max;         /* of rows in these buckets */
    uint32_t merchant_count;        /* 0: all */
    const int64_t *merchants;       /* ascending */
};

/* A row of a memtable. */
struct tl_rollup_order {
    int64_t merchant, ts;
    uint32_t row;
};

struct tl_rollup_stream {
    const struct tl_rollup_want *want;
    struct tl_arena *arena;
    uint32_t source; /* of its cell */
    bool stored;     /* rows are parts of a rollup */
    struct tl_rollup_reader reader;
    uint32_t slot_count; /* of the reader, without ts and merchant, which follow */
    uint32_t **memo;     /* per TEXT dimension: a code's string number + 1; 0: unknown */
    struct tl_row_range *ranges;
    uint32_t range_count, range;
    uint32_t at; /* next row */
    const struct tl_memtable *memtable;
    struct tl_memtable_dict *dicts;
    bool *has_dict;
    struct tl_rollup_order *order;
    struct tl_arena window; /* a memtable's values */
    uint64_t rows;          /* aggregated so far */
    /* The run at hand: rows [lo, hi) of the window. */
    bool done;
    int64_t merchant, bucket;
    uint32_t lo, hi;
};

/* Slots of a rollup's parts: dimensions, then up to three parts of each aggregate. */
struct tl_rollup_stored_slots {
    struct tl_view_slot *slots; /* ts and merchant at the end */
    uint32_t count;             /* without these */
    uint32_t (*parts)[3];       /* per aggregate; UINT32_MAX: not stored */
};
TL_CHECK enum tl_code tl_rollup_stored_slots(const struct tl_view *view, struct tl_arena *arena,
                                             struct tl_rollup_stored_slots *out,
                                             struct tl_status *st);
/* The view's slots, ts and merchant. */
TL_CHECK enum tl_code tl_rollup_raw_slots(const struct tl_view *view, struct tl_arena *arena,
                                          struct tl_view_slot **out, struct tl_status *st);

/* The rows of a segment that are wanted and that `rollup` (may be NULL) has not: merchants that it
 * keeps are left out. And the other way: those that it has. Their dictionaries are open even where
 * there are no rows. */
TL_CHECK enum tl_code
tl_rollup_stream_segment(struct tl_rollup_stream *s, const struct tl_rollup_want *want,
                         struct tl_segment *segment, struct tl_segment *rollup,
                         const struct tl_view_slot *slots, struct tl_arena *arena,
                         struct tl_read_stats *stats, struct tl_status *st);
TL_CHECK enum tl_code
tl_rollup_stream_stored(struct tl_rollup_stream *s, const struct tl_rollup_want *want,
                        struct tl_segment *rollup, const struct tl_rollup_stored_slots *slots,
                        struct tl_arena *arena, struct tl_read_stats *stats, struct tl_status *st);
TL_CHECK enum tl_code
tl_rollup_stream_memtable(struct tl_rollup_stream *s, const struct tl_rollup_want *want,
                          const struct tl_memtable *m, const struct tl_view_slot *slots,
                          struct tl_arena *arena, struct tl_budget *budget, struct tl_status *st);
/* The next run, or done. A window that is new has codes of dimensions, not yet string numbers:
 * *fresh. */
TL_CHECK enum tl_code tl_rollup_stream_next(struct tl_rollup_stream *s, bool *fresh,
                                            struct tl_status *st);
const struct tl_dict *tl_rollup_stream_dict(const struct tl_rollup_stream *s, uint32_t slot);
/* Gives back the pages of strings that were read. */
void tl_rollup_stream_trim(struct tl_rollup_stream *s);
void tl_rollup_stream_close(struct tl_rollup_stream *s);

#endif
