/*
 * Group keys to group numbers.
 *
 * Every key column has a table that numbers its distinct values; with one key these numbers are
 * the groups. With more, pairs of (number so far, number of the next key) are numbered in turn,
 * column by column, so that any keys come down to lookups of 64-bit integers.
 *
 * TEXT keys that come as dictionary codes are not looked at as strings but once per code: a table
 * per dictionary says the number of each code. When all keys are such, and the dictionaries are
 * small, one table over all combinations of codes says the group at once (browser × os × country).
 *
 * Rows are sorted by (merchant, ts), so equal keys stand together: runs are found on the way, and
 * given to the aggregates when they are long.
 */
#include <string.h>

#include "query/exec_int.h"

enum { COMBINATIONS_MAX = 1 << 16, RUN_ROWS_MIN = 8 };

/* The numbers of one dictionary's codes, + 1; 0: not met. */
struct code_table {
    struct code_table *older;
    uint64_t dict_id;
    uint32_t count;
    uint32_t *ids;
};

struct key_column {
    struct tl_type type;
    struct tl__intern values;
    struct code_table *tables; /* newest first */
};

/* (number so far, number of this key) → number: stage 0 pairs keys 0 and 1. */
struct stage {
    struct tl__intern pairs; /* of BIGINT: left << 32 | right */
};

/* All combinations of the codes of one set of dictionaries. */
struct combination {
    struct combination *older;
    uint64_t *dict_ids;
    uint32_t *counts; /* codes are < counts[k]; NULL is counts[k] */
    uint32_t *table;  /* group + 1; 0: not met */
};

struct tl__groups {
    struct tl_arena *memory;
    struct tl_budget *budget;
    uint32_t key_count;
    struct key_column *keys;
    struct stage *stages; /* key_count - 1 */
    struct combination *combinations;
};

enum tl_code tl__groups_new(struct tl__pipe *pipe, uint32_t key_count, const struct tl_type *types,
                            struct tl__groups **out, struct tl_status *st)
{
    struct tl__groups *g = tl_arena_calloc(&pipe->memory, 1, sizeof(*g), st);
    if (!g)
        return st->code;
    g->memory = &pipe->memory;
    g->budget = pipe->memory.budget;
    g->key_count = key_count;
    g->keys = tl_arena_calloc(g->memory, key_count + 1u, sizeof(*g->keys), st);
    g->stages = tl_arena_calloc(g->memory, key_count + 1u, sizeof(*g->stages), st);
    if (!g->keys || !g->stages)
        return st->code;
    for (uint32_t k = 0; k < key_count; k++) {
        g->keys[k].type = types[k];
        tl__intern_init(&g->keys[k].values, types[k], true, g->budget);
        if (k > 0)
            tl__intern_init(&g->stages[k - 1].pairs, tl_type_of(TL_BIGINT), false, g->budget);
    }
    *out = g;
    return TL_OK;
}

void tl__groups_deinit(struct tl__groups *g)
{
    if (!g)
        return;
    for (uint32_t k = 0; k < g->key_count; k++) {
        tl__intern_deinit(&g->keys[k].values);
        if (k > 0)
            tl__intern_deinit(&g->stages[k - 1].pairs);
    }
}

uint32_t tl__groups_count(const struct tl__groups *g)
{
    if (g->key_count == 0)
        return 1;
    return g->key_count == 1 ? g->keys[0].values.count : g->stages[g->key_count - 2].pairs.count;
}

#define EACH(i, sel, n)                                                                            \
    for (uint32_t k_ = 0, i = 0; k_ < (n) && ((i = (sel) ? (sel)[k_] : k_), true); k_++)

/* ---- one key ---- */

static enum tl_code code_table_of(struct tl__groups *g, struct key_column *key,
                                  struct tl__pipe *pipe, const struct tl_dict *dict, uint32_t rows,
                                  struct code_table **out, struct tl_status *st)
{
    for (struct code_table *t = key->tables; t; t = t->older) {
        if (t->dict_id == dict->id) {
            *out = t;
            return TL_OK;
        }
    }
    *out = NULL;
    if (!tl__table_pays(dict, pipe->rows_hint, rows))
        return TL_OK;
    struct code_table *t = tl_arena_calloc(g->memory, 1, sizeof(*t), st);
    if (!t)
        return st->code;
    t->ids = tl_arena_calloc(g->memory, dict->count + 1u, sizeof(*t->ids), st);
    if (!t->ids)
        return st->code;
    t->dict_id = dict->id;
    t->count = dict->count;
    t->older = key->tables;
    key->tables = t;
    *out = t;
    return TL_OK;
}

static enum tl_code code_rows(struct key_column *key, struct tl__pipe *pipe, struct code_table *t,
                              const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                              uint32_t *ids, struct tl_status *st)
{
    uint32_t *unknown = tl_arena_alloc(&pipe->scratch, sizeof(*unknown) * (n + 1u), st);
    if (!unknown)
        return st->code;
    uint32_t unknown_n = 0;
    bool null = false;
    EACH(i, sel, n)
    {
        if (!tl_vector_valid(v, i)) {
            null = true;
            continue;
        }
        uint32_t code = v->codes[i];
        if (code >= t->count)
            return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", code, t->count);
        if (t->ids[code] == 0) {
            t->ids[code] = UINT32_MAX; /* to be told below */
            unknown[unknown_n++] = code;
        }
    }
    if (unknown_n) {
        struct tl_slice *texts = tl_arena_alloc(&pipe->scratch, sizeof(*texts) * unknown_n, st);
        uint32_t *found = tl_arena_alloc(&pipe->scratch, sizeof(*found) * unknown_n, st);
        if (!texts || !found)
            return st->code;
        enum tl_code rc = tl_dict_get(v->dict, unknown, unknown_n, texts, st);
        if (rc == TL_OK)
            rc = tl__intern_texts(&key->values, texts, unknown_n, found, st);
        if (rc)
            return rc;
        for (uint32_t u = 0; u < unknown_n; u++)
            t->ids[unknown[u]] = found[u] + 1;
    }
    if (!null) {
        EACH(i, sel, n)
        ids[i] = t->ids[v->codes[i]] - 1;
        return TL_OK;
    }
    uint32_t null_id;
    enum tl_code rc = tl__intern_null(&key->values, &null_id, st);
    if (rc)
        return rc;
    EACH(i, sel, n)
    ids[i] = tl_vector_valid(v, i) ? t->ids[v->codes[i]] - 1 : null_id;
    return TL_OK;
}

static enum tl_code key_rows(struct tl__groups *g, struct key_column *key, struct tl__pipe *pipe,
                             const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                             uint32_t *ids, struct tl_status *st)
{
    if (v->shape == TL_DICT) {
        struct code_table *t;
        enum tl_code rc = code_table_of(g, key, pipe, v->dict, n, &t, st);
        if (rc)
            return rc;
        if (t)
            return code_rows(key, pipe, t, v, sel, n, ids, st);
        struct tl_vector flat;
        rc = tl__flatten(pipe, v, sel, n, &flat, st);
        return rc ? rc : tl__intern_rows(&key->values, &flat, sel, n, ids, st);
    }
    return tl__intern_rows(&key->values, v, sel, n, ids, st);
}

/* ---- several keys ---- */

static enum tl_code slow_rows(struct tl__groups *g, struct tl__pipe *pipe,
                              const struct tl_vector *keys, const uint16_t *sel, uint32_t n,
                              uint32_t rows, uint32_t *ids, struct tl_status *st)
{
    enum tl_code rc = key_rows(g, &g->keys[0], pipe, &keys[0], sel, n, ids, st);
    if (rc || g->key_count == 1)
        return rc;
    uint32_t *right = tl_arena_alloc(&pipe->scratch, sizeof(*right) * rows, st);
    int64_t *pairs = tl_arena_alloc(&pipe->scratch, sizeof(*pairs) * rows, st);
    if (!right || !pairs)
        return st->code;
    struct tl_vector v = {
        .type = tl_type_of(TL_BIGINT), .shape = TL_FLAT, .count = rows, .data = pairs};
    for (uint32_t k = 1; k < g->key_count; k++) {
        rc = key_rows(g, &g->keys[k], pipe, &keys[k], sel, n, right, st);
        if (rc)
            return rc;
        EACH(i, sel, n)
        pairs[i] = (int64_t)((uint64_t)ids[i] << 32 | right[i]);
        rc = tl__intern_rows(&g->stages[k - 1].pairs, &v, sel, n, ids, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* The table of the keys' dictionaries, or NULL when they have none or are too large. */
static enum tl_code combination_of(struct tl__groups *g, const struct tl_vector *keys,
                                   struct combination **out, struct tl_status *st)
{
    *out = NULL;
    if (g->key_count < 2)
        return TL_OK;
    uint64_t size = 1;
    for (uint32_t k = 0; k < g->key_count; k++) {
        if (keys[k].shape != TL_DICT)
            return TL_OK;
        size *= (uint64_t)keys[k].dict->count + 1;
        if (size > COMBINATIONS_MAX)
            return TL_OK;
    }
    struct combination *c = g->combinations;
    for (; c; c = c->older) {
        uint32_t k = 0;
        while (k < g->key_count && c->dict_ids[k] == keys[k].dict->id)
            k++;
        if (k == g->key_count) {
            *out = c;
            return TL_OK;
        }
    }
    c = tl_arena_calloc(g->memory, 1, sizeof(*c), st);
    if (!c)
        return st->code;
    c->dict_ids = tl_arena_calloc(g->memory, g->key_count, sizeof(*c->dict_ids), st);
    c->counts = tl_arena_calloc(g->memory, g->key_count, sizeof(*c->counts), st);
    c->table = tl_arena_calloc(g->memory, (size_t)size, sizeof(*c->table), st);
    if (!c->dict_ids || !c->counts || !c->table)
        return st->code;
    for (uint32_t k = 0; k < g->key_count; k++) {
        c->dict_ids[k] = keys[k].dict->id;
        c->counts[k] = keys[k].dict->count;
    }
    c->older = g->combinations;
    g->combinations = c;
    *out = c;
    return TL_OK;
}

static enum tl_code combined_rows(struct tl__groups *g, struct tl__pipe *pipe,
                                  const struct combination *c, const struct tl_vector *keys,
                                  const uint16_t *sel, uint32_t n, uint32_t rows, uint32_t *ids,
                                  struct tl_status *st)
{
    for (uint32_t k = 0; k < g->key_count; k++) {
        const uint32_t *codes = keys[k].codes;
        uint32_t count = c->counts[k];
        uint32_t greatest = 0;
        if (!keys[k].validity) {
            if (k == 0) {
                EACH(i, sel, n)
                {
                    greatest = codes[i] > greatest ? codes[i] : greatest;
                    ids[i] = codes[i];
                }
            } else {
                EACH(i, sel, n)
                {
                    greatest = codes[i] > greatest ? codes[i] : greatest;
                    ids[i] = ids[i] * (count + 1) + codes[i];
                }
            }
        } else {
            EACH(i, sel, n)
            {
                uint32_t code = tl_bit_get(keys[k].validity, i) ? codes[i] : count;
                greatest = code > greatest ? code : greatest;
                ids[i] = (k == 0 ? 0 : ids[i] * (count + 1)) + code;
            }
        }
        if (greatest > count)
            return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", greatest, count);
    }
    uint32_t *table = c->table;
    bool unknown = false;
    EACH(i, sel, n)
    unknown |= table[ids[i]] == 0;
    if (unknown) {
        uint16_t *missing = tl_arena_alloc(&pipe->scratch, sizeof(*missing) * n, st);
        uint32_t *found = tl_arena_alloc(&pipe->scratch, sizeof(*found) * rows, st);
        if (!missing || !found)
            return st->code;
        uint32_t m = 0;
        EACH(i, sel, n)
        {
            if (table[ids[i]] == 0) {
                table[ids[i]] = UINT32_MAX;
                missing[m++] = (uint16_t)i;
            }
        }
        enum tl_code rc = slow_rows(g, pipe, keys, missing, m, rows, found, st);
        if (rc)
            return rc;
        for (uint32_t k = 0; k < m; k++)
            table[ids[missing[k]]] = found[missing[k]] + 1;
    }
    EACH(i, sel, n)
    ids[i] = table[ids[i]] - 1;
    return TL_OK;
}

/* Finds the runs of equal groups; tells them when they are long. */
static enum tl_code find_runs(struct tl__pipe *pipe, const uint16_t *sel, uint32_t n,
                              const uint32_t *ids, struct tl__grouping *out, struct tl_status *st)
{
    uint32_t max = n / RUN_ROWS_MIN;
    uint32_t changes = 0;
    if (!sel) {
        for (uint32_t k = 1; k < n; k++)
            changes += ids[k] != ids[k - 1];
    } else {
        for (uint32_t k = 1; k < n; k++)
            changes += ids[sel[k]] != ids[sel[k - 1]];
    }
    if (changes == 0) {
        out->uniform = ids[sel ? sel[0] : 0];
        out->of_row = NULL;
        return TL_OK;
    }
    if (changes > max)
        return TL_OK;
    uint32_t *starts = tl_arena_alloc(&pipe->scratch, sizeof(*starts) * (changes + 2u), st);
    uint32_t *groups = tl_arena_alloc(&pipe->scratch, sizeof(*groups) * (changes + 1u), st);
    if (!starts || !groups)
        return st->code;
    uint32_t runs = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t id = ids[sel ? sel[k] : k];
        if (k > 0 && id == groups[runs - 1])
            continue;
        starts[runs] = k;
        groups[runs++] = id;
    }
    starts[runs] = n;
    out->run_starts = starts;
    out->run_groups = groups;
    out->run_count = runs;
    return TL_OK;
}

enum tl_code tl__groups_rows(struct tl__groups *g, struct tl__pipe *pipe,
                             const struct tl_vector *keys, const struct tl__batch *batch,
                             struct tl__grouping *out, struct tl_status *st)
{
    *out = (struct tl__grouping){0};
    if (g->key_count == 0 || batch->n == 0)
        return TL_OK;
    uint32_t *ids = tl_arena_alloc(&pipe->scratch, sizeof(*ids) * batch->rows, st);
    if (!ids)
        return st->code;
    struct combination *c;
    enum tl_code rc = combination_of(g, keys, &c, st);
    if (rc)
        return rc;
    if (c)
        rc = combined_rows(g, pipe, c, keys, batch->sel, batch->n, batch->rows, ids, st);
    else
        rc = slow_rows(g, pipe, keys, batch->sel, batch->n, batch->rows, ids, st);
    if (rc)
        return rc;
    out->of_row = ids;
    return find_runs(pipe, batch->sel, batch->n, ids, out, st);
}

/* ---- out again ---- */

/* The number of key `key`'s value in a group. */
static uint32_t value_id(const struct tl__groups *g, uint32_t key, uint32_t group)
{
    uint32_t id = group;
    for (uint32_t k = g->key_count - 1; k > 0; k--) {
        uint64_t pair = (uint64_t)TL__AT(int64_t, &g->stages[k - 1].pairs.values, id);
        if (k == key)
            return (uint32_t)pair;
        id = (uint32_t)(pair >> 32);
    }
    return id;
}

enum tl_code tl__groups_key(const struct tl__groups *g, uint32_t key, uint32_t from, uint32_t n,
                            struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    const struct key_column *column = &g->keys[key];
    size_t width = tl_kind_width(column->type.kind);
    uint8_t *data = tl_arena_alloc(arena, width * n + 1, st);
    uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(n) + 1u, 8, st);
    if (!data || !validity)
        return st->code;
    bool nulls = false;
    for (uint32_t i = 0; i < n; i++) {
        if (tl__intern_get(&column->values, value_id(g, key, from + i), data, i))
            tl_bit_set(validity, i);
        else
            nulls = true;
    }
    *out = (struct tl_vector){.type = column->type,
                              .shape = TL_FLAT,
                              .count = n,
                              .data = data,
                              .validity = nulls ? validity : NULL};
    return TL_OK;
}

enum tl_code tl__groups_merge(struct tl__groups *g, struct tl__pipe *pipe,
                              const struct tl__groups *other, uint32_t **map, struct tl_status *st)
{
    uint32_t count = tl__groups_count(other);
    *map = tl_arena_calloc(&pipe->memory, count + 1u, sizeof(**map), st);
    if (!*map)
        return st->code;
    if (g->key_count == 0)
        return TL_OK;
    struct tl_vector *keys =
        tl_arena_calloc(&pipe->memory, g->key_count, sizeof(struct tl_vector), st);
    if (!keys)
        return st->code;
    for (uint32_t from = 0; from < count; from += TL_VECTOR_ROWS_MAX) {
        uint32_t n = count - from < TL_VECTOR_ROWS_MAX ? count - from : TL_VECTOR_ROWS_MAX;
        tl_arena_reset(&pipe->scratch);
        for (uint32_t k = 0; k < g->key_count; k++) {
            enum tl_code rc = tl__groups_key(other, k, from, n, &pipe->scratch, &keys[k], st);
            if (rc)
                return rc;
        }
        enum tl_code rc = slow_rows(g, pipe, keys, NULL, n, n, *map + from, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}
