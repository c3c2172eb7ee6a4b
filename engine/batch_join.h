/*
 * engine/batch_join.h: decoded batches of one table, laid end to end as one.
 *
 * Giving a batch's rows to a memtable costs something per column, per shard and per distinct
 * string, whatever the rows: with ten rows a batch that is most of it. The batches of a group
 * become visible together, so that they may be applied together: their columns are laid end to
 * end first. Rows keep their order, and strings the order in which the batches name them, so that
 * the memtable is the same as if they had come one by one.
 *
 * Cost       one load and one store per value, 16 bytes per distinct string of each batch, and
 *            about ten instructions per batch and column.
 * Memory     8 bytes per number, 4 per code, 16 per string, in the caller's arena.
 * Ownership  strings are borrowed from the batches' bodies.
 * Threads    no shared state.
 * Errors     TL_LIMIT: the arena's budget is met; nothing was changed, and the batches can still
 *            be applied one by one.
 */
#ifndef TALLY_ENGINE_BATCH_JOIN_H
#define TALLY_ENGINE_BATCH_JOIN_H

#include "engine/batch.h"

/* Batches with more rows gain nothing by it. */
enum { TL_JOIN_BATCH_ROWS_MAX = 512, TL_JOIN_ROWS_MAX = 65536 };

/* One of them, with the rows that its record refuses. */
struct tl_batch_part {
    const struct tl_batch *batch;
    const struct tl_refused *refused;
    uint32_t refused_count;
};

/* At least one part; all name the same table, with the same columns. The refused rows' numbers
 * are those of *out. */
TL_CHECK enum tl_code tl_batch_join(const struct tl_batch_part *parts, uint32_t count,
                                    struct tl_arena *arena, struct tl_batch *out,
                                    struct tl_refused **refused, uint32_t *refused_count,
                                    struct tl_status *st);

#endif
