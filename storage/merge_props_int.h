/*
 * storage/merge_props_int.h: maps (storage/props.h) while segments are merged, for merge.c.
 *
 * The merged segment has hot keys of its own, counted before its columns are written. A key's
 * column is then copied from the inputs that have it as a column too; of the others, where the key
 * may stand among the values of keys without a column, it is taken out of these row by row. The
 * column of those values is copied from inputs whose hot keys are hot in the merged segment as
 * well, as long as no other key of theirs became hot; else it is put together row by row.
 *
 *     tl__props_merge_new
 *       tl__props_merge_shapes    for each column: does it hold a map's shapes? Then
 *         tl__props_merge_count …  its rows
 *         tl__props_merge_choose   makes the hot keys
 *       tl__props_merge_aim       for each column: is it of a map?
 *         tl__props_merge_source   per input: what to copy, or that rows must be asked for
 *         tl__props_merge_row …
 *
 * Ownership  inputs are borrowed. What a row gives lives until the next row of that input.
 * Threads    one.
 * Errors     TL_CORRUPT: shapes or values that do not parse. TL_LIMIT: the budget.
 */
#ifndef TALLY_STORAGE_MERGE_PROPS_INT_H
#define TALLY_STORAGE_MERGE_PROPS_INT_H

#include "storage/merge.h"
#include "storage/pack_int.h"
#include "storage/props.h"

struct tl__props_merge;

/* For one merged segment. *out is NULL when no input has a hot key: columns are just columns. */
TL_CHECK enum tl_code tl__props_merge_new(const struct tl_merge_input *inputs, uint32_t input_count,
                                          struct tl_budget *budget, struct tl__props_merge **out,
                                          struct tl_status *st);
void tl__props_merge_free(struct tl__props_merge *p); /* takes NULL */

/* Whether the column holds shapes; from now on this map is the one in hand. */
TL_CHECK enum tl_code tl__props_merge_shapes(struct tl__props_merge *p, uint32_t column_id,
                                             bool *is_map, struct tl_status *st);
/* Rows of the shapes as codes of one dictionary; `validity` may be NULL. */
TL_CHECK enum tl_code tl__props_merge_count(struct tl__props_merge *p, const uint32_t *codes,
                                            const uint64_t *validity, uint32_t count,
                                            struct tl_status *st);
/* `shapes`: that dictionary. */
TL_CHECK enum tl_code tl__props_merge_choose(struct tl__props_merge *p,
                                             const struct tl_slice *shapes, uint32_t count,
                                             struct tl_status *st);

/* The maps met, and the hot keys of one. */
uint32_t tl__props_merge_maps(const struct tl__props_merge *p);
uint32_t tl__props_merge_map(const struct tl__props_merge *p, uint32_t index, uint32_t *id,
                             const struct tl_props_hot **hot);

/* Aims at what a column holds, when it is one of a map's but its shapes; else false. */
bool tl__props_merge_aim(struct tl__props_merge *p, uint32_t column_id);
/* *derived false: *column is copied (NULL: nothing but NULLs). true: rows must be asked for. */
TL_CHECK enum tl_code tl__props_merge_source(struct tl__props_merge *p, uint32_t input,
                                             const struct tl_column **column, bool *derived,
                                             struct tl_status *st);
/* Rows of an input are asked for in ascending order. */
TL_CHECK enum tl_code tl__props_merge_row(struct tl__props_merge *p, uint32_t input, uint32_t row,
                                          struct tl_slice *value, bool *valid,
                                          struct tl_status *st);

#endif
