/*
 * engine/memtable.h: the rows of one table that are in the log but in no segment yet.
 *
 * Rows lie in arrival order, column by column, in chunks of 8,192; text as 4-byte codes of a
 * dictionary per column that only grows. All shards of a log share one memtable per table: the
 * shard of a row follows from its merchant, and a flush groups rows by shard and merchant. Each
 * merchant's rows are a chain, newest first, so that a reader finds them without a scan.
 *
 * One row costs: 4 bytes per text column, 8 per number, 4 for the chain, and one hash probe for
 * its merchant; columns that hold NULL alone in a chunk cost nothing. Each distinct string of a
 * batch costs one hash and one probe; rows of a batch are remapped through an array.
 *
 * Invariants
 *  (1) rows, codes and strings that were published never change and never move;
 *  (2) `ends` maps log positions to row counts, ascending in both; readers see whole batches;
 *  (3) a chain link points to a smaller row.
 *
 * Ownership  reference-counted; freed with the last reference.
 * Threads    one writer (apply, seal); readers: any, lock-free, over the rows that the position
 *            of their snapshot gives them. Published with release through `ends`.
 * Errors     TL_LIMIT when the process has no memory; the database then stops taking writes.
 */
#ifndef TALLY_ENGINE_MEMTABLE_H
#define TALLY_ENGINE_MEMTABLE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/vector.h"
#include "engine/batch.h"
#include "engine/schema.h"

enum {
    TL_MEMTABLE_CHUNK_ROWS = 8192,
    TL_MEMTABLE_ROWS_MAX = 4 << 20,
    TL_MEMTABLE_BATCHES_MAX = 4 << 20,
    TL_MEMTABLE_GROUP_BATCHES_MAX = 8192, /* that may come between two looks at its room */
};

struct tl_memtable;

TL_CHECK enum tl_code tl_memtable_new(const struct tl_table *table, struct tl_memtable **out,
                                      struct tl_status *st);
struct tl_memtable *tl_memtable_ref(struct tl_memtable *m);
void tl_memtable_unref(struct tl_memtable *m); /* takes NULL */

uint32_t tl_memtable_table_id(const struct tl_memtable *m);
/* The table as of its last batch; once sealed. */
const struct tl_table *tl_memtable_table(const struct tl_memtable *m);
/* Writer: the table got columns. */
void tl_memtable_set_table(struct tl_memtable *m, const struct tl_table *table);
/* Writer: room for a batch of so many rows? */
bool tl_memtable_has_room(const struct tl_memtable *m, uint32_t rows);

/* Writer: adds the batch's rows but the refused ones, as of log position `position`. They
 * are visible to readers whose snapshot has reached that position. */
TL_CHECK enum tl_code tl_memtable_apply(struct tl_memtable *m, const struct tl_batch *batch,
                                        const struct tl_refused *refused, uint32_t refused_count,
                                        uint64_t position, int64_t received_at_us,
                                        struct tl_arena *scratch, struct tl_status *st);

/* Writer, and after sealing anybody. */
uint32_t tl_memtable_rows(const struct tl_memtable *m);
uint64_t tl_memtable_bytes(const struct tl_memtable *m);
int64_t tl_memtable_oldest_us(const struct tl_memtable *m); /* received_at of its first batch */

/* ---- readers ---- */

/* Rows that a snapshot at `position` sees. */
uint32_t tl_memtable_rows_at(const struct tl_memtable *m, uint64_t position);

/* A dictionary as one reader sees it: its size is fixed at the time of opening. */
struct tl_memtable_dict {
    struct tl_dict dict; /* first: vectors point to it */
    const void *impl;
};
/* False when the column has no dictionary (not TEXT, or no value yet). */
bool tl_memtable_dict(const struct tl_memtable *m, uint32_t column_id,
                      struct tl_memtable_dict *out);

/* The rows [lo, hi), at most TL_VECTOR_ROWS_MAX and within one chunk; `dict` for TEXT columns.
 * Arrays come from the arena or are the memtable's own. An unknown column reads as NULL of `type`.
 */
TL_CHECK enum tl_code tl_memtable_read(const struct tl_memtable *m, uint32_t column_id,
                                       struct tl_type type, const struct tl_memtable_dict *dict,
                                       uint32_t lo, uint32_t hi, struct tl_arena *arena,
                                       struct tl_vector *out, struct tl_status *st);
/* Did any row bring a value of this column? */
bool tl_memtable_has(const struct tl_memtable *m, uint32_t column_id);
/* Any `count` rows. */
TL_CHECK enum tl_code tl_memtable_gather(const struct tl_memtable *m, uint32_t column_id,
                                         struct tl_type type, const struct tl_memtable_dict *dict,
                                         const uint32_t *rows, uint32_t count,
                                         struct tl_arena *arena, struct tl_vector *out,
                                         struct tl_status *st);
/* ts and merchant of rows, which are never NULL: the chunk's arrays (row & 8191). */
const int64_t *tl_memtable_ts(const struct tl_memtable *m, uint32_t row);
const int64_t *tl_memtable_merchant(const struct tl_memtable *m, uint32_t row);

#define TL_MEMTABLE_NO_ROW UINT32_MAX
/* The newest row of a merchant, whether visible or not, or TL_MEMTABLE_NO_ROW. */
uint32_t tl_memtable_last(const struct tl_memtable *m, int64_t merchant);
/* The merchant's row before `row`, or TL_MEMTABLE_NO_ROW. */
uint32_t tl_memtable_previous(const struct tl_memtable *m, uint32_t row);

/* A sealed memtable's distinct merchants by first appearance: out[ordinal]; count of them. */
uint32_t tl_memtable_merchant_count(const struct tl_memtable *m);
void tl_memtable_merchants(const struct tl_memtable *m, int64_t *out);
/* The ordinals of a chunk's rows' merchants (row & 8191). */
const uint32_t *tl_memtable_ordinals(const struct tl_memtable *m, uint32_t row);

#endif
