/*
 * engine/flush_props.h: a memtable's column of maps becomes columns of a segment, as
 * storage/props.h has them.
 *
 *     tl_flush_map_new
 *       tl_flush_map_shapes    counts the keys
 *       tl_flush_map_values    writes the column of values that have no other
 *       tl_flush_map_keys      writes the hot keys' columns, after all columns of the schema
 *
 * Every value is parsed once: hot keys are written in byte order, the order of a row's values.
 *
 * Memory     16 bytes per row, and what the shapes take.
 * Ownership  strings are borrowed until the free.
 * Threads    one.
 */
#ifndef TALLY_ENGINE_FLUSH_PROPS_H
#define TALLY_ENGINE_FLUSH_PROPS_H

#include "base/arena.h"
#include "storage/pack.h"

struct tl_flush_map;

/* A map goes behind those in *maps. */
TL_CHECK enum tl_code tl_flush_map_new(uint32_t column_id, uint32_t rows,
                                       struct tl_flush_map **maps, struct tl_flush_map **out,
                                       struct tl_status *st);
void tl_flush_maps_free(struct tl_flush_map *maps); /* takes NULL */

/* The rows' shapes, and then all their values, as columns of the segment. */
TL_CHECK enum tl_code tl_flush_map_shapes(struct tl_flush_map *map,
                                          const struct tl_pack_column *shapes,
                                          struct tl_status *st);
TL_CHECK enum tl_code tl_flush_map_values(struct tl_flush_map *map,
                                          const struct tl_pack_column *values,
                                          struct tl_pack_writer *w, struct tl_status *st);
TL_CHECK enum tl_code tl_flush_map_keys(struct tl_flush_map *maps, struct tl_pack_writer *w,
                                        struct tl_status *st);

#endif
