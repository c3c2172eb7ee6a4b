/*
 * engine/rollup.h: rollups in the catalog: materialized views of a table, one row per merchant,
 * quarter of an hour and combination of dimensions.
 *
 * A view is a definition (query/rollup.h) with an id of its own, how its columns are called and
 * typed for a query, and how its parts are stored. What is stored lies beside the segments that it
 * was computed from (engine/rollup_store.h); what a query sees is put together from stored parts
 * and raw rows (engine/rollup_scan.h), and is always what the GROUP BY over the table would be.
 *
 * Columns have ids as those of tables do: 1 merchant_id, 2 the bucket, 3 + 4 × place in the SELECT
 * list for the others; the stored parts of an aggregate have that id and the two after it:
 *
 *   dimension                its value
 *   count                    BIGINT
 *   sum of whole numbers     low 64 bits as BIGINT (NULL: no value was summed), what the rest of
 *                            the sum differs from their sign (0 unless 64 bits do not hold it)
 *   sum of DOUBLE            DOUBLE, or NULL
 *   avg                      as sum, and the third part is the count of values
 *   min, max                 the value, or NULL
 *   count(DISTINCT)          a set of the segment's codes (engine/rollup_set.h), NULL when empty
 *   approx_…                 a sketch's bytes, NULL when empty
 *
 * Ids of views are never given twice, also after a DROP: packs are named by them.
 *
 * Ownership  views live in the schema store's arena, as tables do.
 * Threads    versions of the catalog are read-only: any. Changes: one thread at a time.
 * Errors     TL_EXISTS, TL_NOT_FOUND, TL_LIMIT; TL_CORRUPT for stored definitions that no writer
 *            of ours makes.
 */
#ifndef TALLY_ENGINE_ROLLUP_H
#define TALLY_ENGINE_ROLLUP_H

#include "engine/schema.h"
#include "query/rollup.h"

#define TL_VIEW_ID_FIRST 0x40000000U /* below: tables */

enum {
    TL_VIEWS_MAX = 256,
    TL_VIEW_PARTS = 4, /* ids that a column takes */
    TL_VIEW_COLUMN_FIRST = 3,
};

/* A column of the table that the view reads. */
struct tl_view_slot {
    uint32_t column_id;
    struct tl_type type;
};

struct tl_view {
    struct tl_table_info info; /* as a query sees it; info.id is the view's */
    struct tl_rollup_def def;
    uint32_t dim_count; /* dimensions but bucket and merchant */
    uint32_t agg_count;
    const uint32_t *dims;     /* places in def.columns */
    const uint32_t *aggs;     /* the same */
    const uint32_t *agg_slot; /* of each aggregate; UINT32_MAX: none (count(*)) */
    uint32_t slot_count;
    const struct tl_view_slot *slots; /* the dimensions' first, in their order; then arguments */
};

static inline uint32_t tl_view_part_id(uint32_t place, uint32_t part)
{
    return TL_VIEW_COLUMN_FIRST + TL_VIEW_PARTS * place + part;
}

/* Is that part of the column stored, and as what? Of bucket and merchant: none. */
bool tl_view_part(const struct tl_rollup_column *c, uint32_t part, struct tl_type *type);

const struct tl_view *tl_view_by_id(const struct tl_schema *s, uint32_t id);
const struct tl_view *tl_view_by_name(const struct tl_schema *s, struct tl_slice name);

/* The version of the catalog with one more view, or without one. */
TL_CHECK enum tl_code tl_view_create(struct tl_schema_store *s, const struct tl_rollup_def *def,
                                     struct tl_status *st);
TL_CHECK enum tl_code tl_view_drop(struct tl_schema_store *s, uint32_t id, struct tl_status *st);
/* The version with the built-in rollup of `events`. */
TL_CHECK enum tl_code tl_view_create_builtin(struct tl_schema_store *s, struct tl_status *st);

/* A log record: the view as it is from here on, or that it is gone. */
void tl_view_encode(const struct tl_view *v, bool dropped, struct tl_buffer *out);
TL_CHECK enum tl_code tl_view_apply(struct tl_schema_store *s, struct tl_reader *r,
                                    struct tl_status *st);
/* All views and the next id, for the manifest: what is read replaces all that are known. */
void tl_views_encode(const struct tl_schema *s, struct tl_buffer *out);
TL_CHECK enum tl_code tl_views_apply(struct tl_schema_store *s, struct tl_reader *r,
                                     struct tl_status *st);

#endif
