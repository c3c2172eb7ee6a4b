/*
 * Maps while segments are merged.
 *
 * For rows that must be put together an input is read through streams of its own: one of shapes,
 * one of values, and one per hot key that is hot no more. What a shape asks for is worked out once
 * per shape, input and target: a recipe.
 */
#include "storage/merge_props_int.h"

#include <stdlib.h>

#include "base/assert.h"

enum {
    SLICE_ROWS = TL_VECTOR_ROWS_MAX,
    AHEAD_BYTES = 32 << 10,
    /* a recipe's byte: TAKE, and the rank of the hot key + 1, or 0: it is among the values */
    TAKE = 0x80,
    VALUES = -1, /* the target that is no hot key */
};

/* Strings of one column of an input, row by row. */
struct stream {
    const struct tl__column *column;
    struct tl_budget *budget; /* charged with STREAM_BYTES, or NULL */
    struct tl__window blocks, pages;
    struct tl_cursor cursor;
    uint32_t lo, hi; /* the slice in hand */
    bool has_nulls, all_null;
    const uint8_t *page;
    uint32_t page_first, page_end;
    uint64_t values[SLICE_ROWS / 2]; /* codes */
    uint64_t validity[SLICE_ROWS / 64];
};

#define STREAM_BYTES (sizeof(struct stream) + 2 * (size_t)AHEAD_BYTES)

struct recipe {
    uint8_t count;
    uint8_t any; /* something is taken */
    uint8_t ops[];
};

struct input {
    const struct tl_segment *segment;
    struct tl_props_hot hot; /* of the map in hand */
    struct stream *shapes, *values;
    struct stream *keys[TL_PROPS_HOT_MAX];
    struct recipe **recipes; /* by the shape's code */
    uint32_t recipe_count;
    struct tl_buffer row; /* the values put together */
};

struct map {
    uint32_t id;
    struct tl_props_census *census; /* holds hot's keys */
    struct tl_props_hot hot;
};

struct tl__props_merge {
    struct input *inputs;
    uint32_t input_count;
    struct tl_budget *budget;
    struct map *maps;
    uint32_t map_count, map_capacity;
    uint64_t *rows; /* by code of the shapes being written */
    uint32_t row_capacity;
    const struct map *map; /* in hand */
    int32_t rank;
    struct tl_arena arena; /* recipes */
};

static enum tl_code no_memory(struct tl_status *st)
{
    return TL_FAIL(st, TL_LIMIT, "no memory to merge maps");
}

static enum tl_code bad_map(struct tl_status *st)
{
    return TL_FAIL(st, TL_CORRUPT, "keys and values of a map do not agree");
}

enum tl_code tl__props_merge_new(const struct tl_merge_input *inputs, uint32_t input_count,
                                 struct tl_budget *budget, struct tl__props_merge **out,
                                 struct tl_status *st)
{
    bool any = false;
    for (uint32_t i = 0; i < input_count && !any; i++) {
        const struct tl_segment *s = inputs[i].segment;
        uint32_t n = tl_segment_column_count(s);
        any = tl_segment_column_at(s, n - 1)->id >= TL_COLUMN_NAMED;
    }
    *out = NULL;
    if (!any)
        return TL_OK;
    struct tl__props_merge *p = calloc(1, sizeof(*p));
    if (!p)
        return no_memory(st);
    p->budget = budget;
    tl_arena_init(&p->arena, budget, 0);
    p->inputs = calloc(input_count, sizeof(*p->inputs));
    if (!p->inputs) {
        tl__props_merge_free(p);
        return no_memory(st);
    }
    p->input_count = input_count;
    for (uint32_t i = 0; i < input_count; i++) {
        p->inputs[i].segment = inputs[i].segment;
        tl_buffer_init(&p->inputs[i].row, "values of a map", TL_TEXT_BYTES_MAX * 8);
    }
    *out = p;
    return TL_OK;
}

static void stream_free(struct stream **s)
{
    if (!*s)
        return;
    tl_cursor_close(&(*s)->cursor);
    tl__window_deinit(&(*s)->blocks);
    tl__window_deinit(&(*s)->pages);
    if ((*s)->budget)
        tl_budget_release((*s)->budget, STREAM_BYTES);
    free(*s);
    *s = NULL;
}

/* Readers and recipes of the target in hand. */
static void forget_target(struct tl__props_merge *p)
{
    for (uint32_t i = 0; i < p->input_count; i++) {
        struct input *in = &p->inputs[i];
        stream_free(&in->shapes);
        stream_free(&in->values);
        for (uint32_t k = 0; k < TL_PROPS_HOT_MAX; k++)
            stream_free(&in->keys[k]);
        in->recipes = NULL;
    }
    tl_arena_deinit(&p->arena);
    tl_arena_init(&p->arena, p->budget, 0);
}

void tl__props_merge_free(struct tl__props_merge *p)
{
    if (!p)
        return;
    forget_target(p);
    tl_arena_deinit(&p->arena);
    for (uint32_t i = 0; i < p->map_count; i++)
        tl_props_census_free(p->maps[i].census);
    for (uint32_t i = 0; i < p->input_count; i++)
        tl_buffer_deinit(&p->inputs[i].row);
    free(p->inputs);
    free(p->maps);
    free(p->rows);
    free(p);
}

/* ---- which keys are hot ---- */

enum tl_code tl__props_merge_shapes(struct tl__props_merge *p, uint32_t column_id, bool *is_map,
                                    struct tl_status *st)
{
    *is_map = false;
    for (uint32_t i = 0; i < p->input_count && !*is_map && column_id <= TL_PROPS_MAP_ID_MAX; i++)
        *is_map = tl_segment_column(p->inputs[i].segment, tl_props_column_id(column_id, 0)) != NULL;
    if (!*is_map)
        return TL_OK;
    if (p->map_count == p->map_capacity) {
        uint32_t capacity = p->map_capacity ? p->map_capacity * 2 : 4;
        struct map *grown = realloc(p->maps, capacity * sizeof(*grown));
        if (!grown)
            return no_memory(st);
        p->maps = grown;
        p->map_capacity = capacity;
    }
    struct map *m = &p->maps[p->map_count];
    *m = (struct map){.id = column_id};
    enum tl_code rc = tl_props_census_new(p->budget, &m->census, st);
    if (rc)
        return rc;
    p->map_count++;
    if (p->row_capacity > 0)
        memset(p->rows, 0, p->row_capacity * sizeof(*p->rows));
    return TL_OK;
}

enum tl_code tl__props_merge_count(struct tl__props_merge *p, const uint32_t *codes,
                                   const uint64_t *validity, uint32_t count, struct tl_status *st)
{
    uint32_t greatest = 0;
    for (uint32_t i = 0; i < count; i++)
        greatest = codes[i] > greatest ? codes[i] : greatest;
    if (greatest >= p->row_capacity) {
        uint32_t capacity = p->row_capacity ? p->row_capacity : 1024;
        while (capacity <= greatest)
            capacity *= 2;
        uint64_t *grown = realloc(p->rows, capacity * sizeof(*grown));
        if (!grown)
            return no_memory(st);
        memset(grown + p->row_capacity, 0, (capacity - p->row_capacity) * sizeof(*grown));
        p->rows = grown;
        p->row_capacity = capacity;
    }
    for (uint32_t i = 0; i < count; i++)
        p->rows[codes[i]] += !validity || tl_bit_get(validity, i);
    return TL_OK;
}

enum tl_code tl__props_merge_choose(struct tl__props_merge *p, const struct tl_slice *shapes,
                                    uint32_t count, struct tl_status *st)
{
    struct map *m = &p->maps[p->map_count - 1];
    for (uint32_t code = 0; code < count; code++) {
        tl_assert(code < p->row_capacity);
        enum tl_code rc = tl_props_census_add(m->census, shapes[code], p->rows[code], st);
        if (rc)
            return rc;
    }
    tl_props_census_choose(m->census, &m->hot);
    return TL_OK;
}

uint32_t tl__props_merge_maps(const struct tl__props_merge *p)
{
    return p ? p->map_count : 0;
}

uint32_t tl__props_merge_map(const struct tl__props_merge *p, uint32_t index, uint32_t *id,
                             const struct tl_props_hot **hot)
{
    *id = p->maps[index].id;
    *hot = &p->maps[index].hot;
    return p->maps[index].hot.count;
}

/* ---- where a target comes from ---- */

static void aim(struct tl__props_merge *p, uint32_t map_id, int32_t rank)
{
    p->map = NULL;
    for (uint32_t i = 0; i < p->map_count; i++) {
        if (p->maps[i].id == map_id)
            p->map = &p->maps[i];
    }
    tl_assert(p->map && rank < (int32_t)p->map->hot.count);
    p->rank = rank;
    forget_target(p);
    for (uint32_t i = 0; i < p->input_count; i++)
        tl_props_hot_of(p->inputs[i].segment, map_id, &p->inputs[i].hot);
}

bool tl__props_merge_aim(struct tl__props_merge *p, uint32_t column_id)
{
    bool named = column_id >= TL_COLUMN_NAMED;
    uint32_t map_id = named ? tl_props_map_of(column_id) : column_id - 1;
    for (uint32_t i = 0; p && i < p->map_count; i++) {
        if (p->maps[i].id != map_id)
            continue;
        aim(p, map_id, named ? (int32_t)(column_id & (TL_PROPS_HOT_MAX - 1)) : VALUES);
        return true;
    }
    return false;
}

/* Whether all hot keys of an input are hot in the merged segment. */
static bool all_stay_hot(const struct tl__props_merge *p, const struct input *in)
{
    for (uint32_t k = 0; k < in->hot.count; k++) {
        if (tl_props_hot_rank(&p->map->hot, in->hot.keys[k]) < 0)
            return false;
    }
    return true;
}

static enum tl_code stream_open(struct tl__props_merge *p, const struct input *in, uint32_t id,
                                struct stream **out, struct tl_status *st)
{
    const struct tl_column *c = tl_segment_column(in->segment, id);
    if (!c || c->type.kind != TL_TEXT)
        return bad_map(st);
    enum tl_code rc = p->budget ? tl_budget_charge(p->budget, STREAM_BYTES, st) : TL_OK;
    if (rc)
        return rc;
    struct stream *s = calloc(1, sizeof(*s));
    if (!s) {
        if (p->budget)
            tl_budget_release(p->budget, STREAM_BYTES);
        return no_memory(st);
    }
    s->budget = p->budget;
    s->column = tl__column_of(c);
    tl__window_init(&s->blocks, in->segment->pack, AHEAD_BYTES);
    tl__window_init(&s->pages, in->segment->pack, AHEAD_BYTES);
    *out = s;
    rc = tl_cursor_init(&s->cursor, c, NULL, NULL, NULL, st);
    s->cursor.window = &s->blocks;
    return rc;
}

enum tl_code tl__props_merge_source(struct tl__props_merge *p, uint32_t input,
                                    const struct tl_column **column, bool *derived,
                                    struct tl_status *st)
{
    struct input *in = &p->inputs[input];
    *column = NULL;
    *derived = false;
    if (!tl_segment_column(in->segment, p->map->id))
        return TL_OK;
    if (p->rank == VALUES) {
        *column = tl_segment_column(in->segment, p->map->id + 1);
        /* Where all stay hot nothing came to them: 64 hot keys are as many as there can be, and
         * with fewer no key is without a column. */
        *derived = !all_stay_hot(p, in);
    } else {
        int32_t rank = tl_props_hot_rank(&in->hot, p->map->hot.keys[p->rank]);
        if (rank >= 0)
            *column =
                tl_segment_column(in->segment, tl_props_column_id(p->map->id, (uint32_t)rank));
        *derived = rank < 0 && in->hot.count == TL_PROPS_HOT_MAX;
    }
    if (!*derived)
        return TL_OK;
    enum tl_code rc = stream_open(p, in, p->map->id, &in->shapes, st);
    if (!rc)
        rc = stream_open(p, in, p->map->id + 1, &in->values, st);
    if (rc)
        return rc;
    in->recipe_count = in->shapes->column->pub.distinct;
    in->recipes = tl_arena_calloc(&p->arena, in->recipe_count + 1u, sizeof(*in->recipes), st);
    return in->recipes ? TL_OK : st->code;
}

/* ---- rows ---- */

/* The code of a row, or *valid false. */
static enum tl_code stream_code(struct stream *s, uint32_t row, uint32_t *code, bool *valid,
                                struct tl_status *st)
{
    if (row < s->lo || row >= s->hi) {
        uint32_t lo = row & ~(uint32_t)(SLICE_ROWS - 1);
        uint32_t rows = s->column->pub.rows;
        uint32_t hi = rows - lo < SLICE_ROWS ? rows : lo + SLICE_ROWS;
        struct tl_vector_buffer buffer = {s->values, s->validity};
        struct tl_vector v;
        enum tl_code rc = tl_cursor_read(&s->cursor, lo, hi, &buffer, &v, st);
        if (rc)
            return rc;
        s->all_null = v.shape != TL_DICT; /* TEXT is CONST only where all is NULL */
        s->has_nulls = v.validity != NULL;
        s->lo = lo;
        s->hi = hi;
    }
    uint32_t at = row - s->lo;
    *valid = !s->all_null && (!s->has_nulls || tl_bit_get(s->validity, at));
    *code = *valid ? ((const uint32_t *)(const void *)s->values)[at] : 0;
    return TL_OK;
}

/* Valid until the next string of this stream. */
static enum tl_code stream_string(struct stream *s, uint32_t code, struct tl_slice *out,
                                  struct tl_status *st)
{
    if (code < s->page_first || code >= s->page_end) {
        const struct tl__column *c = s->column;
        uint32_t lo = 0, hi = c->page_count;
        while (hi - lo > 1) {
            uint32_t mid = (lo + hi) / 2;
            if (c->pages[mid].first_code <= code)
                lo = mid;
            else
                hi = mid;
        }
        s->page_first = s->page_end = 0;
        enum tl_code rc = tl__window_page(&s->pages, c, lo, &s->page, st);
        if (rc)
            return rc;
        s->page_first = c->pages[lo].first_code;
        s->page_end = c->pages[lo + 1].first_code;
    }
    *out = tl_strings_get(s->page, code - s->page_first);
    return TL_OK;
}

static enum tl_code make_recipe(struct tl__props_merge *p, struct input *in, uint32_t code,
                                struct recipe **out, struct tl_status *st)
{
    struct tl_slice shape;
    enum tl_code rc = stream_string(in->shapes, code, &shape, st);
    if (rc)
        return rc;
    int8_t before[TL_PROPS_ROW_KEYS_MAX];
    int8_t after[TL_PROPS_ROW_KEYS_MAX];
    int n = tl_props_ranks(&in->hot, shape, before);
    if (n < 0)
        return bad_map(st);
    (void)tl_props_ranks(&p->map->hot, shape, after);
    struct recipe *r = tl_arena_alloc(&p->arena, sizeof(*r) + (size_t)n, st);
    if (!r)
        return st->code;
    *r = (struct recipe){.count = (uint8_t)n};
    for (int i = 0; i < n; i++) {
        bool take = p->rank == VALUES ? after[i] < 0 : after[i] == p->rank;
        r->ops[i] = (uint8_t)((take ? TAKE : 0) | (before[i] + 1));
        r->any |= take;
    }
    in->recipes[code] = *out = r;
    return TL_OK;
}

static enum tl_code hot_value(struct tl__props_merge *p, struct input *in, uint32_t rank,
                              uint32_t row, struct tl_slice *out, struct tl_status *st)
{
    struct stream **s = &in->keys[rank];
    enum tl_code rc = TL_OK;
    if (!*s)
        rc = stream_open(p, in, tl_props_column_id(p->map->id, rank), s, st);
    uint32_t code;
    bool valid;
    if (!rc)
        rc = stream_code(*s, row, &code, &valid, st);
    if (rc)
        return rc;
    return valid ? stream_string(*s, code, out, st) : bad_map(st);
}

enum tl_code tl__props_merge_row(struct tl__props_merge *p, uint32_t input, uint32_t row,
                                 struct tl_slice *value, bool *valid, struct tl_status *st)
{
    struct input *in = &p->inputs[input];
    bool shaped;
    bool valued;
    uint32_t shape;
    uint32_t code;
    *valid = false;
    enum tl_code rc = stream_code(in->shapes, row, &shape, &shaped, st);
    if (!rc)
        rc = stream_code(in->values, row, &code, &valued, st);
    if (rc || !shaped)
        return rc;
    struct recipe *recipe = in->recipes[shape];
    if (!recipe) {
        rc = make_recipe(p, in, shape, &recipe, st);
        if (rc)
            return rc;
    }
    if (p->rank != VALUES && !recipe->any)
        return TL_OK;
    struct tl_slice all;
    rc = valued ? stream_string(in->values, code, &all, st) : bad_map(st);
    if (rc)
        return rc;
    struct tl_reader r = tl_reader_of(all);
    tl_buffer_clear(&in->row);
    for (uint32_t i = 0; i < recipe->count; i++) {
        uint32_t rank = recipe->ops[i] & ~(uint32_t)TAKE;
        bool take = recipe->ops[i] & TAKE;
        struct tl_slice v = {NULL, 0};
        if (rank == 0) {
            v = tl_read_bytes(&r, tl_read_u16(&r));
            if (r.failed)
                return bad_map(st);
        }
        if (!take)
            continue;
        if (rank > 0) {
            rc = hot_value(p, in, rank - 1, row, &v, st);
            if (rc)
                return rc;
        }
        if (p->rank == VALUES)
            tl_buffer_put_u16(&in->row, (uint16_t)v.size);
        tl_buffer_put(&in->row, v.data, v.size);
    }
    if (p->rank == VALUES && tl_reader_left(&r) > 0)
        return bad_map(st);
    rc = tl_buffer_check(&in->row, st);
    if (rc)
        return rc;
    *value = tl_buffer_slice(&in->row);
    *valid = true;
    return TL_OK;
}
