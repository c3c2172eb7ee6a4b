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
    uint32_t size;    /* places in use */
    uint32_t mask;    /* of the table, which has a power of two: no place is outside */
    uint32_t *table;  /* group + 1; 0: not met */
};

struct tl__groups {
    struct tl_arena *memory;
    struct tl_budget *budget;
    uint32_t key_count;
    struct key_column *keys;
    struct stage *stages; /* key_count - 1 */
    struct combination *combinations;
    bool long_runs; /* the last batch of one key of up to 8 bytes had */
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
                             uint32_t *ids, uint32_t *changes, struct tl_status *st)
{
    *changes = UINT32_MAX;
    if (v->shape == TL_DICT) {
        struct code_table *t;
        enum tl_code rc = code_table_of(g, key, pipe, v->dict, n, &t, st);
        if (rc)
            return rc;
        if (t)
            return code_rows(key, pipe, t, v, sel, n, ids, st);
        struct tl_vector flat;
        rc = tl__flatten(pipe, v, sel, n, &flat, st);
        return rc ? rc : tl__intern_rows(&key->values, &flat, sel, n, ids, changes, st);
    }
    return tl__intern_rows(&key->values, v, sel, n, ids, changes, st);
}

/* ---- several keys ---- */

static enum tl_code slow_rows(struct tl__groups *g, struct tl__pipe *pipe,
                              const struct tl_vector *keys, const uint16_t *sel, uint32_t n,
                              uint32_t rows, uint32_t *ids, uint32_t *changes, struct tl_status *st)
{
    enum tl_code rc = key_rows(g, &g->keys[0], pipe, &keys[0], sel, n, ids, changes, st);
    if (rc || g->key_count == 1)
        return rc;
    uint32_t *right = tl_arena_alloc(&pipe->scratch, sizeof(*right) * rows, st);
    int64_t *pairs = tl_arena_alloc(&pipe->scratch, sizeof(*pairs) * rows, st);
    if (!right || !pairs)
        return st->code;
    struct tl_vector v = {
        .type = tl_type_of(TL_BIGINT), .shape = TL_FLAT, .count = rows, .data = pairs};
    for (uint32_t k = 1; k < g->key_count; k++) {
        rc = key_rows(g, &g->keys[k], pipe, &keys[k], sel, n, right, changes, st);
        if (rc)
            return rc;
        EACH(i, sel, n)
        pairs[i] = (int64_t)((uint64_t)ids[i] << 32 | right[i]);
        rc = tl__intern_rows(&g->stages[k - 1].pairs, &v, sel, n, ids, changes, st);
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
    c->size = (uint32_t)size;
    c->mask = 1;
    while (c->mask < size)
        c->mask = c->mask << 1 | 1;
    c->table = tl_arena_calloc(g->memory, (size_t)c->mask + 1, sizeof(*c->table), st);
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

/* Places in the combination's table -> groups; those not met yet go the slow way. */
static enum tl_code look_up_combinations(struct tl__groups *g, struct tl__pipe *pipe,
                                         const struct combination *c, const struct tl_vector *keys,
                                         const uint16_t *sel, uint32_t n, uint32_t rows,
                                         uint32_t *ids, struct tl_status *st)
{
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
        uint32_t changes;
        EACH(i, sel, n)
        {
            if (table[ids[i]] == 0) {
                table[ids[i]] = UINT32_MAX;
                missing[m++] = (uint16_t)i;
            }
        }
        enum tl_code rc = slow_rows(g, pipe, keys, missing, m, rows, found, &changes, st);
        if (rc)
            return rc;
        for (uint32_t k = 0; k < m; k++)
            table[ids[missing[k]]] = found[missing[k]] + 1;
    }
    EACH(i, sel, n)
    ids[i] = table[ids[i]] - 1;
    return TL_OK;
}

/* Two or three keys without NULLs, and all rows: one pass, and a second one over the rows whose
 * combination was not met yet. (A code outside its dictionary would be the source's fault; it
 * cannot lead outside the table.) */
static inline uint32_t place_of(const uint32_t *a, const uint32_t *b, const uint32_t *d,
                                uint32_t b_size, uint32_t d_size, uint32_t i)
{
    uint32_t place = a[i] * b_size + b[i];
    return d ? place * d_size + d[i] : place;
}

static enum tl_code combine_at_once(struct tl__groups *g, struct tl__pipe *pipe,
                                    const struct combination *c, const struct tl_vector *keys,
                                    uint32_t n, uint32_t *ids, struct tl_status *st)
{
    const uint32_t *a = keys[0].codes;
    const uint32_t *b = keys[1].codes;
    const uint32_t *d = g->key_count == 3 ? keys[2].codes : NULL;
    uint32_t b_size = c->counts[1] + 1;
    uint32_t d_size = d ? c->counts[2] + 1 : 1;
    uint32_t *table = c->table;
    uint32_t mask = c->mask;
    uint32_t greatest = 0;
    bool unknown = false;
#define COMBINE(PLACE)                                                                             \
    for (uint32_t i = 0; i < n; i++) {                                                             \
        uint32_t place = PLACE;                                                                    \
        uint32_t group = table[place & mask];                                                      \
        greatest = place > greatest ? place : greatest;                                            \
        unknown |= group == 0;                                                                     \
        ids[i] = group - 1;                                                                        \
    }
    if (d) {
        COMBINE((a[i] * b_size + b[i]) * d_size + d[i])
    } else {
        COMBINE(a[i] * b_size + b[i])
    }
#undef COMBINE
    if (greatest >= c->size)
        return TL_FAIL(st, TL_CORRUPT, "dictionary codes beyond their dictionaries");
    if (!unknown)
        return TL_OK;
    uint16_t *missing = tl_arena_alloc(&pipe->scratch, sizeof(*missing) * n, st);
    uint32_t *found = tl_arena_alloc(&pipe->scratch, sizeof(*found) * n, st);
    if (!missing || !found)
        return st->code;
    uint32_t m = 0;
    uint32_t changes;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = ids[i] == UINT32_MAX ? place_of(a, b, d, b_size, d_size, i) : 0;
        if (ids[i] == UINT32_MAX && table[place] == 0) {
            table[place] = UINT32_MAX;
            missing[m++] = (uint16_t)i;
        }
    }
    enum tl_code rc = slow_rows(g, pipe, keys, missing, m, n, found, &changes, st);
    if (rc)
        return rc;
    for (uint32_t k = 0; k < m; k++)
        table[place_of(a, b, d, b_size, d_size, missing[k])] = found[missing[k]] + 1;
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] == UINT32_MAX)
            ids[i] = table[place_of(a, b, d, b_size, d_size, i)] - 1;
    }
    return TL_OK;
}

static enum tl_code combined_rows(struct tl__groups *g, struct tl__pipe *pipe,
                                  const struct combination *c, const struct tl_vector *keys,
                                  const uint16_t *sel, uint32_t n, uint32_t rows, uint32_t *ids,
                                  struct tl_status *st)
{
    bool nulls = g->key_count > 3 || sel != NULL;
    for (uint32_t k = 0; k < g->key_count; k++)
        nulls = nulls || keys[k].validity;
    if (!nulls)
        return combine_at_once(g, pipe, c, keys, n, ids, st);
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
    return look_up_combinations(g, pipe, c, keys, sel, n, rows, ids, st);
}

static enum tl_code new_runs(struct tl__pipe *pipe, uint32_t count, uint32_t **starts,
                             uint32_t **groups, struct tl_status *st)
{
    *starts = tl_arena_alloc(&pipe->scratch, sizeof(**starts) * (count + 2u), st);
    *groups = tl_arena_alloc(&pipe->scratch, sizeof(**groups) * (count + 1u), st);
    return *starts && *groups ? TL_OK : st->code;
}

static void put_runs(struct tl__grouping *out, const uint32_t *starts, const uint32_t *groups,
                     uint32_t runs)
{
    if (runs == 1) {
        out->uniform = groups[0];
        return;
    }
    out->run_starts = starts;
    out->run_groups = groups;
    out->run_count = runs;
}

/* Finds the runs of equal groups; tells them when they are long. */
static enum tl_code find_runs(struct tl__pipe *pipe, const uint16_t *sel, uint32_t n,
                              const uint32_t *ids, uint32_t changes, struct tl__grouping *out,
                              struct tl_status *st)
{
    out->of_row = ids;
    if (changes != UINT32_MAX) {
        /* told by whoever made the ids */
    } else if (!sel) {
        changes = 0;
        for (uint32_t k = 1; k < n; k++)
            changes += ids[k] != ids[k - 1];
    } else {
        changes = 0;
        for (uint32_t k = 1; k < n; k++)
            changes += ids[sel[k]] != ids[sel[k - 1]];
    }
    if (changes == 0) {
        out->uniform = ids[sel ? sel[0] : 0];
        out->of_row = NULL;
        return TL_OK;
    }
    if (changes > n / RUN_ROWS_MIN)
        return TL_OK;
    uint32_t *starts;
    uint32_t *groups;
    enum tl_code rc = new_runs(pipe, changes + 1, &starts, &groups, st);
    if (rc)
        return rc;
    uint32_t runs = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t id = ids[sel ? sel[k] : k];
        if (k > 0 && id == groups[runs - 1])
            continue;
        starts[runs] = k;
        groups[runs++] = id;
    }
    starts[runs] = n;
    put_runs(out, starts, groups, runs);
    return TL_OK;
}

/* One key of up to 8 bytes that came in long runs so far: its runs at once, without a group per
 * row. *done false: they are short this time. */
static enum tl_code fixed_runs(struct tl__groups *g, struct tl__pipe *pipe,
                               const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                               bool *done, struct tl__grouping *out, struct tl_status *st)
{
    uint32_t max = n / RUN_ROWS_MIN + 1;
    uint32_t *starts;
    uint32_t *groups;
    *done = false;
    enum tl_code rc = new_runs(pipe, max, &starts, &groups, st);
    if (rc)
        return rc;
    const int64_t *x = v->data;
    uint32_t runs = 0;
    for (uint32_t k = 0; k < n;) {
        int64_t value = x[sel ? sel[k] : k];
        if (runs == max)
            return TL_OK;
        starts[runs] = k;
        rc = tl__intern_fixed(&g->keys[0].values, value, &groups[runs++], st);
        if (rc)
            return rc;
        if (sel) {
            while (k < n && x[sel[k]] == value)
                k++;
        } else {
            while (k < n && x[k] == value)
                k++;
        }
    }
    starts[runs] = n;
    put_runs(out, starts, groups, runs);
    *done = true;
    return TL_OK;
}

enum tl_code tl__grouping_spread(struct tl__grouping *g, struct tl__pipe *pipe,
                                 const struct tl__batch *batch, struct tl_status *st)
{
    if (g->of_row || g->run_count == 0)
        return TL_OK;
    uint32_t *ids = tl_arena_alloc(&pipe->scratch, sizeof(*ids) * batch->rows, st);
    if (!ids)
        return st->code;
    for (uint32_t r = 0; r < g->run_count; r++) {
        uint32_t id = g->run_groups[r];
        for (uint32_t k = g->run_starts[r]; k < g->run_starts[r + 1]; k++)
            ids[batch->sel ? batch->sel[k] : k] = id;
    }
    g->of_row = ids;
    return TL_OK;
}

static bool is_plain_64(const struct tl_vector *v)
{
    return v->shape == TL_FLAT && !v->validity &&
           (v->type.kind == TL_BIGINT || v->type.kind == TL_TIMESTAMP ||
            v->type.kind == TL_TIMESTAMPTZ || v->type.kind == TL_DECIMAL64);
}

enum tl_code tl__groups_rows(struct tl__groups *g, struct tl__pipe *pipe,
                             const struct tl_vector *keys, const struct tl__batch *batch,
                             struct tl__grouping *out, struct tl_status *st)
{
    *out = (struct tl__grouping){0};
    if (g->key_count == 0 || batch->n == 0)
        return TL_OK;
    enum tl_code rc;
    if (g->key_count == 1 && g->long_runs && is_plain_64(&keys[0])) {
        bool done;
        rc = fixed_runs(g, pipe, &keys[0], batch->sel, batch->n, &done, out, st);
        if (rc || done)
            return rc;
    }
    uint32_t *ids = tl_arena_alloc(&pipe->scratch, sizeof(*ids) * batch->rows, st);
    if (!ids)
        return st->code;
    struct combination *c;
    uint32_t changes = UINT32_MAX;
    rc = combination_of(g, keys, &c, st);
    if (rc)
        return rc;
    if (c)
        rc = combined_rows(g, pipe, c, keys, batch->sel, batch->n, batch->rows, ids, st);
    else
        rc = slow_rows(g, pipe, keys, batch->sel, batch->n, batch->rows, ids, &changes, st);
    if (rc)
        return rc;
    g->long_runs = changes <= batch->n / RUN_ROWS_MIN;
    return find_runs(pipe, batch->sel, batch->n, ids, changes, out, st);
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
        uint32_t changes;
        enum tl_code rc = slow_rows(g, pipe, keys, NULL, n, n, *map + from, &changes, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}
