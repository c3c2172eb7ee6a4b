/*
 * Maps at flush.
 */
#include "engine/flush_props.h"

#include <stdlib.h>
#include <string.h>

#include "storage/props.h"

enum { RANK_END = INT8_MAX, BATCH = TL_VECTOR_ROWS_MAX };

/* What of a row is still to be written. */
struct rest {
    const uint8_t *next; /* its values from here on */
    const int8_t *ranks; /* of their keys; RANK_END behind the last */
};

struct tl_flush_map {
    struct tl_flush_map *next;
    uint32_t id;
    uint32_t count;
    struct rest *rows;
    struct tl_arena arena;   /* ranks */
    struct tl_arena scratch; /* a batch of rows */
    uint32_t nulls;          /* rows without a map */
    bool any_cold;           /* some key has no column */
    struct tl_props_census *census;
    struct tl_props_hot hot;
};

static const int8_t no_keys[1] = {RANK_END};

void tl_flush_maps_free(struct tl_flush_map *maps)
{
    for (struct tl_flush_map *map = maps, *next; map; map = next) {
        next = map->next;
        free(map->rows);
        tl_props_census_free(map->census);
        tl_arena_deinit(&map->arena);
        tl_arena_deinit(&map->scratch);
        free(map);
    }
}

enum tl_code tl_flush_map_new(uint32_t column_id, uint32_t rows, struct tl_flush_map **maps,
                              struct tl_flush_map **out, struct tl_status *st)
{
    struct tl_flush_map *map = calloc(1, sizeof(*map));
    if (!map)
        return TL_FAIL(st, TL_LIMIT, "no memory to flush");
    *map = (struct tl_flush_map){.id = column_id, .count = rows};
    tl_arena_init(&map->arena, NULL, 0);
    tl_arena_init(&map->scratch, NULL, 1 << 16);
    while (*maps)
        maps = &(*maps)->next;
    *maps = *out = map; /* freed with them from here on */
    map->rows = malloc((size_t)rows * sizeof(*map->rows));
    return map->rows ? TL_OK : TL_FAIL(st, TL_LIMIT, "no memory to flush");
}

static bool is_null(const struct tl_pack_column *c, uint32_t row)
{
    return !c->values || (c->validity && !tl_bit_get(c->validity, row));
}

static enum tl_code choose(struct tl_flush_map *map, const struct tl_pack_column *shapes,
                           uint32_t *uses, struct tl_status *st)
{
    const uint32_t *codes = shapes->values;
    for (uint32_t i = 0; i < map->count; i++) {
        if (!is_null(shapes, i))
            uses[codes[i]]++;
    }
    enum tl_code rc = tl_props_census_new(NULL, &map->census, st);
    for (uint32_t code = 0; !rc && code < shapes->string_count; code++)
        rc = tl_props_census_add(map->census, shapes->strings[code], uses[code], st);
    if (!rc)
        tl_props_census_choose(map->census, &map->hot);
    return rc;
}

/* The ranks of the keys of each shape. */
static enum tl_code rank_shapes(struct tl_flush_map *map, const struct tl_pack_column *shapes,
                                const int8_t **ranks, struct tl_status *st)
{
    for (uint32_t code = 0; code < shapes->string_count; code++) {
        int8_t found[TL_PROPS_ROW_KEYS_MAX + 1];
        int n = tl_props_ranks(&map->hot, shapes->strings[code], found);
        if (n < 0)
            return TL_FAIL(st, TL_CORRUPT, "the keys of a map do not parse");
        for (int i = 0; i < n; i++)
            map->any_cold |= found[i] < 0;
        found[n] = RANK_END;
        ranks[code] = tl_arena_copy(&map->arena, found, (size_t)n + 1, st);
        if (!ranks[code])
            return st->code;
    }
    return TL_OK;
}

enum tl_code tl_flush_map_shapes(struct tl_flush_map *map, const struct tl_pack_column *shapes,
                                 struct tl_status *st)
{
    const uint32_t *codes = shapes->values;
    uint32_t *uses = calloc(shapes->string_count + 1u, sizeof(*uses));
    const int8_t **ranks = calloc(shapes->string_count + 1u, sizeof(*ranks));
    enum tl_code rc = TL_OK;
    if (!uses || !ranks)
        rc = TL_FAIL(st, TL_LIMIT, "no memory to flush");
    if (!rc)
        rc = choose(map, shapes, uses, st);
    if (!rc)
        rc = rank_shapes(map, shapes, ranks, st);
    for (uint32_t i = 0; i < map->count && !rc; i++) {
        bool null = is_null(shapes, i);
        map->rows[i] = (struct rest){NULL, null ? no_keys : ranks[codes[i]]};
        map->nulls += null;
    }
    free(uses);
    free(ranks);
    return rc;
}

/* The values of a row's keys without a column. */
static enum tl_code cold_values(const struct rest *row, struct tl_arena *arena,
                                struct tl_slice *out, struct tl_status *st)
{
    size_t size = 0;
    const uint8_t *next = row->next;
    for (const int8_t *rank = row->ranks; *rank != RANK_END; rank++) {
        size_t n = 2 + (size_t)tl_get_u16le(next);
        size += *rank < 0 ? n : 0;
        next += n;
    }
    uint8_t *to = tl_arena_alloc(arena, size + 1, st);
    if (!to)
        return st->code;
    *out = tl_slice_of(to, size);
    next = row->next;
    for (const int8_t *rank = row->ranks; *rank != RANK_END; rank++) {
        size_t n = 2 + (size_t)tl_get_u16le(next);
        if (*rank < 0) {
            memcpy(to, next, n);
            to += n;
        }
        next += n;
    }
    return TL_OK;
}

/* Whether the values are as many as the keys: they came through tl_props_split, but this is what
 * all parsing below stands on. */
static bool values_fit(struct tl_slice values, const int8_t *ranks)
{
    struct tl_reader r = tl_reader_of(values);
    for (; *ranks != RANK_END; ranks++)
        (void)tl_read_bytes(&r, tl_read_u16(&r));
    return !r.failed && tl_reader_left(&r) == 0;
}

/* Rows have values, or not, as they have a shape. */
static enum tl_code set_values(struct tl_flush_map *map, const struct tl_pack_column *values,
                               struct tl_status *st)
{
    const uint32_t *codes = values->values;
    uint32_t nulls = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        struct rest *row = &map->rows[i];
        if (is_null(values, i)) {
            nulls++;
            continue;
        }
        struct tl_slice all = values->strings[codes[i]];
        if (row->ranks == no_keys || !values_fit(all, row->ranks))
            return TL_FAIL(st, TL_CORRUPT, "the values of a map do not parse");
        row->next = all.data;
    }
    return nulls == map->nulls ? TL_OK : TL_FAIL(st, TL_CORRUPT, "a map without values");
}

static enum tl_code append(struct tl_pack_writer *w, const void *strings, const uint64_t *validity,
                           uint32_t count, struct tl_status *st)
{
    struct tl_vector v = {.type = tl_type_of(TL_TEXT),
                          .shape = TL_FLAT,
                          .count = count,
                          .data = strings,
                          .validity = validity};
    return tl_pack_column_append(w, &v, st);
}

enum tl_code tl_flush_map_values(struct tl_flush_map *map, const struct tl_pack_column *values,
                                 struct tl_pack_writer *w, struct tl_status *st)
{
    enum tl_code rc = set_values(map, values, st);
    if (!rc)
        rc = tl_pack_column_begin(w, map->id + 1, tl_type_of(TL_TEXT), st);
    for (uint32_t lo = 0; lo < map->count && !rc; lo += BATCH) {
        uint32_t n = map->count - lo < BATCH ? map->count - lo : BATCH;
        tl_arena_reset(&map->scratch);
        struct tl_slice *cold = tl_arena_calloc(&map->scratch, n, sizeof(*cold), st);
        if (!cold)
            return st->code;
        for (uint32_t i = 0; !rc && i < n && map->any_cold; i++)
            rc = cold_values(&map->rows[lo + i], &map->scratch, &cold[i], st);
        if (!rc)
            rc = append(w, cold, values->validity ? values->validity + lo / 64 : NULL, n, st);
    }
    return rc ? rc : tl_pack_column_end(w, st);
}

/* Values of the hot key `rank`, which comes after those written before. */
static void take_key(struct rest *rows, uint32_t n, int8_t rank, struct tl_slice *values,
                     uint64_t *validity)
{
    for (uint32_t i = 0; i < n; i++) {
        struct rest *row = &rows[i];
        for (; *row->ranks < 0; row->ranks++)
            row->next += 2 + tl_get_u16le(row->next);
        if (*row->ranks != rank)
            continue;
        values[i] = tl_slice_of(row->next + 2, tl_get_u16le(row->next));
        tl_bit_set(validity, i);
        row->next += 2 + values[i].size;
        row->ranks++;
    }
}

static enum tl_code write_key(struct tl_flush_map *map, struct tl_pack_writer *w, uint32_t rank,
                              struct tl_status *st)
{
    uint32_t id = tl_props_column_id(map->id, rank);
    enum tl_code rc = tl_pack_named_begin(w, id, map->hot.keys[rank], st);
    for (uint32_t lo = 0; lo < map->count && !rc; lo += BATCH) {
        uint32_t n = map->count - lo < BATCH ? map->count - lo : BATCH;
        tl_arena_reset(&map->scratch);
        struct tl_slice *values = tl_arena_calloc(&map->scratch, n, sizeof(*values), st);
        uint64_t *validity = tl_arena_calloc(&map->scratch, tl_bit_words(n), 8, st);
        if (!values || !validity)
            return st->code;
        take_key(map->rows + lo, n, (int8_t)rank, values, validity);
        rc = append(w, values, validity, n, st);
    }
    return rc ? rc : tl_pack_column_end(w, st);
}

enum tl_code tl_flush_map_keys(struct tl_flush_map *maps, struct tl_pack_writer *w,
                               struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    for (struct tl_flush_map *map = maps; map && !rc; map = map->next)
        for (uint32_t k = 0; k < map->hot.count && !rc; k++)
            rc = write_key(map, w, k, st);
    return rc;
}
