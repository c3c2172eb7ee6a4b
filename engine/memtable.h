/*
 * engine/memtable.h: the rows of one table that are in the log but in no segment yet.
 *
 * Rows lie by shard, within a shard in arrival order, column by column in chunks of 2,048; text as
 * codes of a dictionary per column that only grows and holds each string once. Codes, and integers
 * that are small, take 1, 2 or 4 bytes, whatever the chunk's greatest needs. Each merchant's rows
 * are a chain, newest first, so that a reader finds them without a scan.
 *
 * A row's number says its shard (the high bits) and its place within it.
 *
 * What one row costs, for the 27 columns of generated events: about 80 bytes of values, 8 for
 * chain and ordinal, and 60 for strings that were not met before; written once, nothing is
 * cleared first. In batches of 10,000: one probe for its merchant, and per value three loads and
 * a store (the row's place in the batch, its code, what the code maps to). A distinct string of a
 * batch costs one short hash and one probe, its cache misses asked for 64 strings ahead.
 *
 * Invariants
 *  (1) rows, codes and strings that were published never change; a chunk that must be wider is
 *      replaced by a copy, and the old one stays until the end;
 *  (2) each shard's `ends` map log positions to row counts, ascending in both; readers see whole
 *      batches;
 *  (3) a chain link points to a smaller row of the same shard.
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
#include "engine/slab.h"

enum {
    TL_MEMTABLE_CHUNK_ROWS = 2048,
    TL_MEMTABLE_ROWS_MAX = 4 << 20,
    TL_MEMTABLE_SHARD_SHIFT = 22, /* a row's number: shard, place */
    TL_MEMTABLE_SHARDS_MAX = 256,
    TL_MEMTABLE_BATCHES_MAX = 4 << 20,
    TL_MEMTABLE_GROUP_BATCHES_MAX = 8192, /* that may come between two looks at its room */
};

struct tl_memtable;

/* Rows of `shard` are numbered from here on. */
static inline uint32_t tl_memtable_first_row(uint32_t shard)
{
    return shard << TL_MEMTABLE_SHARD_SHIFT;
}

TL_CHECK enum tl_code tl_memtable_new(const struct tl_table *table, uint32_t shard_count,
                                      struct tl_slab_pool *slabs, struct tl_memtable **out,
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

uint32_t tl_memtable_shard_count(const struct tl_memtable *m);
/* Rows that a snapshot at `position` sees: of one shard, and of all. */
uint32_t tl_memtable_shard_rows_at(const struct tl_memtable *m, uint32_t shard, uint64_t position);
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
/* ts of rows, which is never NULL: the chunk's array (row % TL_MEMTABLE_CHUNK_ROWS). */
const int64_t *tl_memtable_ts(const struct tl_memtable *m, uint32_t row);
int64_t tl_memtable_merchant(const struct tl_memtable *m, uint32_t row);

#define TL_MEMTABLE_NO_ROW UINT32_MAX
/* The newest row of a merchant, whether visible or not, or TL_MEMTABLE_NO_ROW. */
uint32_t tl_memtable_last(const struct tl_memtable *m, int64_t merchant);
/* The merchant's row before `row`, or TL_MEMTABLE_NO_ROW. */
uint32_t tl_memtable_previous(const struct tl_memtable *m, uint32_t row);

/* ---- a sealed memtable's shard, whole, for the flush ---- */

uint32_t tl_memtable_shard_rows(const struct tl_memtable *m, uint32_t shard);
/* Its distinct merchants by first appearance: ids[ordinal]. */
uint32_t tl_memtable_merchants(const struct tl_memtable *m, uint32_t shard, const int64_t **ids);
/* The ordinals of the merchants of all its rows, in arrival order. */
void tl_memtable_ordinals(const struct tl_memtable *m, uint32_t shard, uint32_t *out);

/* All its values of a column, in arrival order, in one array. */
struct tl_memtable_flat {
    uint32_t width;       /* bytes of a value in `values`; 0: all rows are NULL */
    bool nulls;           /* false: no row is NULL */
    void *values;         /* TEXT: code + 1, 0 for NULL. Integers may be narrow: 4 bytes, signed */
    const uint8_t *valid; /* not TEXT: 0 where NULL; NULL: no row is */
};
/* `values` needs 8 bytes a row, `valid` 1. */
void tl_memtable_flatten(const struct tl_memtable *m, uint32_t column_id, uint32_t shard,
                         void *values, uint8_t *valid, struct tl_memtable_flat *out);
/* The size of a TEXT column's dictionary. */
uint32_t tl_memtable_strings(const struct tl_memtable *m, uint32_t column_id);
/* Its strings of some codes, copied one behind the other into `bytes` when that is not NULL. */
TL_CHECK enum tl_code tl_memtable_copy_strings(const struct tl_memtable *m, uint32_t column_id,
                                               const uint32_t *codes, uint32_t count,
                                               struct tl_slice *out, struct tl_buffer *bytes,
                                               struct tl_status *st);

#endif
