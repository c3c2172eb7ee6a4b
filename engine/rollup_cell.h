/*
 * engine/rollup_cell.h: the aggregates of one merchant's quarter of an hour, from raw rows and
 * from parts that rollups stored, in any order.
 *
 * Both who computes a rollup (engine/rollup_build.c) and who answers from one (rollup_scan.c) go
 * merchant by merchant and bucket by bucket, so that memory is that of one bucket. Groups are
 * found by comparing keys with the row before and then with the few groups there are; only a
 * bucket of more than eight is hashed.
 *
 * Distinct values are codes of the dictionary that their rows came with (their source). A group
 * whose codes come from one source is counted by code; where several meet, strings are compared.
 *
 * Ownership  caller's memory. What is added is copied, but for the bytes of stored sets, which must
 *            live until the next begin.
 * Threads    one.
 * Errors     TL_LIMIT: the budget is met; TL_CORRUPT: a stored part that no writer of ours makes.
 */
#ifndef TALLY_ENGINE_ROLLUP_CELL_H
#define TALLY_ENGINE_ROLLUP_CELL_H

#include "base/arena.h"
#include "base/int128.h"
#include "engine/rollup.h"
#include "query/sketch.h"

/* Where rows come from: a segment or a memtable, with the dictionaries of its TEXT columns. */
struct tl_rollup_source {
    const struct tl_dict **dicts; /* per slot; NULL: no dictionary, all NULL */
    uint64_t **hashes;            /* per slot: of each code, for sketches; 0: not yet known */
};

/* A value of a column as 64 bits: codes, or integers, or the bits of a double. */
struct tl_rollup_values {
    const uint64_t *values;
    const uint64_t *valid; /* bits; NULL: none is NULL */
};

/* Rows [lo, hi) of a chunk, all of the cell's merchant and bucket. */
struct tl_rollup_rows {
    uint32_t lo, hi;
    uint32_t source;
    const struct tl_rollup_values *slots; /* the view's; of TEXT dimensions what the caller says
                                             stands for a string: equal numbers, equal strings */
    const struct tl_vector *vectors;      /* the same as decoded */
};

/* A stored aggregate: up to three whole numbers, or bytes. */
struct tl_rollup_part {
    int64_t numbers[3];
    bool valid[3];
    struct tl_slice bytes; /* size 0: NULL */
};

struct tl_rollup_state {
    tl_i128 sum;
    int64_t count; /* rows, or values that are not NULL */
    union {
        int64_t integer;
        double number;
    } value; /* min, max, sum of DOUBLE */
    union {
        struct tl_hll hll;
        struct tl_quantile quantile;
        /* A stored set that is so far all that its group has; bytes.size 0: none. Else codes are
         * in the aggregate's members. */
        struct {
            struct tl_slice bytes;
            uint32_t source, count;
        } set;
    } more;
};

struct tl_rollup_span {
    uint32_t source;
    uint32_t begin; /* index into keys; it ends where the next one begins */
};

/* Codes seen of one set aggregate: group << 32 | code. */
struct tl_rollup_members {
    uint64_t *keys;
    uint32_t count, capacity;
    struct tl_rollup_span *spans;
    uint32_t span_count, span_capacity;
};

struct tl_rollup_cell {
    const struct tl_view *view;
    struct tl_arena memory;  /* arrays, for the cell's life */
    struct tl_arena scratch; /* given back with each begin */
    struct tl_sketch_memory sketches;
    const struct tl_rollup_source *sources; /* the caller's; `source` is an index */

    uint32_t group_count, group_capacity;
    uint64_t *keys;                 /* dim_count per group */
    uint64_t *null_dims;            /* per group: bit d set: dimension d is NULL */
    struct tl_rollup_state *states; /* agg_count per group */
    uint32_t *table;     /* group + 1, by hash; for more groups than are compared one by one */
    uint32_t table_mask; /* 0: not in use */
    uint32_t table_capacity;
    struct tl_rollup_members *members; /* per aggregate; of sets alone in use */
    uint64_t *sort_buffer;
    uint32_t sort_capacity;
};

TL_CHECK enum tl_code tl_rollup_cell_init(struct tl_rollup_cell *c, const struct tl_view *view,
                                          struct tl_budget *budget, struct tl_status *st);
void tl_rollup_cell_deinit(struct tl_rollup_cell *c);
/* Forgets all groups. */
void tl_rollup_cell_begin(struct tl_rollup_cell *c);
TL_CHECK enum tl_code tl_rollup_cell_rows(struct tl_rollup_cell *c,
                                          const struct tl_rollup_rows *rows, struct tl_status *st);
/* The group of these values; made when it is new. */
TL_CHECK enum tl_code tl_rollup_cell_group(struct tl_rollup_cell *c, const uint64_t *keys,
                                           uint64_t null_dims, uint32_t *group,
                                           struct tl_status *st);
/* Adds a stored part of aggregate `agg` (an index into view->aggs) to a group. */
TL_CHECK enum tl_code tl_rollup_cell_part(struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                                          uint32_t source, const struct tl_rollup_part *part,
                                          struct tl_status *st);
/* Sorts the codes of every set and takes out what came twice; once, after the last row. */
TL_CHECK enum tl_code tl_rollup_cell_finish(struct tl_rollup_cell *c, struct tl_status *st);
/* After that: how many distinct values a set has. */
TL_CHECK enum tl_code tl_rollup_cell_distinct(struct tl_rollup_cell *c, uint32_t group,
                                              uint32_t agg, uint64_t *count, struct tl_status *st);
/* The codes of a group whose rows come from one source: a run of members[agg].keys, of which the
 * low halves count. */
void tl_rollup_cell_codes(const struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                          const uint64_t **keys, uint32_t *count);

static inline struct tl_rollup_state *tl_rollup_cell_state(const struct tl_rollup_cell *c,
                                                           uint32_t group, uint32_t agg)
{
    return &c->states[(size_t)group * c->view->agg_count + agg];
}
static inline const struct tl_rollup_column *tl_view_agg(const struct tl_view *v, uint32_t agg)
{
    return &v->def.columns[v->aggs[agg]];
}

#endif
