/*
 * storage/props.h: how a column of maps (TEXT to TEXT, at most 64 keys a row) lies in a segment.
 *
 * A map column `m` is several TEXT columns:
 *
 *     m              the row's keys, all of them: its shape
 *     m + 1          the values of the keys that have no column of their own, in the shape's order
 *     NAMED | m, k   one per hot key k of the segment, with the key as its name: the key's value,
 *                    NULL where the row lacks the key
 *
 * Hot are the at most 64 keys that the most of the segment's rows have, the first in byte order
 * among equals; each segment has its own. So what a segment holds follows from its rows alone, and
 * a question for one key reads that key's values alone, with a dictionary, bounds and blocks.
 *
 * A shape is the keys in ascending byte order, each a u8 length and the bytes; values are each a
 * u16 length, little-endian, and the bytes. A row whose map is NULL is NULL in all of them.
 *
 * Ownership  slices that come back point into what was given.
 * Threads    no shared state; a census belongs to one thread.
 * Errors     TL_CORRUPT: no shape. TL_LIMIT: a budget, or no memory.
 */
#ifndef TALLY_STORAGE_PROPS_H
#define TALLY_STORAGE_PROPS_H

#include "base/bytes.h"
#include "storage/pack.h"

struct tl_segment;

enum {
    TL_PROPS_ROW_KEYS_MAX = 64,
    TL_PROPS_HOT_MAX = 64,
    TL_PROPS_MAP_ID_MAX = (1 << 25) - 1, /* of a map column */
};

/* The column of a map's hot key: `rank` counts them in byte order. */
static inline uint32_t tl_props_column_id(uint32_t map, uint32_t rank)
{
    return TL_COLUMN_NAMED | map << 6 | rank;
}
static inline uint32_t tl_props_map_of(uint32_t named_id)
{
    return (named_id & ~TL_COLUMN_NAMED) >> 6;
}

/* The index of `key` in a shape, or -1; then the index-th value. */
int32_t tl_props_find(struct tl_slice shape, struct tl_slice key);
bool tl_props_value(struct tl_slice values, uint32_t index, struct tl_slice *out);

/* The hot keys of one map and segment, ascending in byte order. */
struct tl_props_hot {
    uint32_t count;
    struct tl_slice keys[TL_PROPS_HOT_MAX];
};

/* Those of a segment's map column; the keys live as long as the segment. */
void tl_props_hot_of(const struct tl_segment *s, uint32_t map, struct tl_props_hot *out);
/* The key's place among them, or -1. */
int32_t tl_props_hot_rank(const struct tl_props_hot *hot, struct tl_slice key);
/* The rank of each key of a shape, -1 for the others; how many keys it has. -1: it is no shape. */
int tl_props_ranks(const struct tl_props_hot *hot, struct tl_slice shape,
                   int8_t ranks[TL_PROPS_ROW_KEYS_MAX]);
/* Where `key` stands among the shape's keys that are not hot, or -1. */
int32_t tl_props_find_cold(const struct tl_props_hot *hot, struct tl_slice shape,
                           struct tl_slice key);

/* How many rows have which keys. */
struct tl_props_census;
TL_CHECK enum tl_code tl_props_census_new(struct tl_budget *budget, struct tl_props_census **out,
                                          struct tl_status *st);
void tl_props_census_free(struct tl_props_census *c); /* takes NULL */
/* `rows` rows have this shape. */
TL_CHECK enum tl_code tl_props_census_add(struct tl_props_census *c, struct tl_slice shape,
                                          uint64_t rows, struct tl_status *st);
/* The keys live as long as the census. */
void tl_props_census_choose(const struct tl_props_census *c, struct tl_props_hot *out);

#endif
