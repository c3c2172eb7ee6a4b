/*
 * Approximate aggregates: a sketch per group (query/sketch.h).
 *
 * A dictionary's codes are hashed once per code and worker, not once per row: `hashes` keeps what a
 * code's string hashes to, and `last` the group that a code was put into last, so that rows which
 * repeat a code of their group cost one comparison. Only a few dictionaries are remembered at a
 * time: what a sketch says does not depend on it, and memory stays bounded however many segments
 * are read. A dictionary much larger than the rows to come is not remembered at all.
 *
 * Sketches of workers are merged group by group. They are functions of the values alone, so that
 * any number of threads gives the same answer.
 */
#include <math.h>
#include <string.h>

#include "query/exec_int.h"
#include "query/sketch.h"

#define EACH(i, sel, n)                                                                            \
    for (uint32_t k_ = 0, i = 0; k_ < (n) && ((i = (sel) ? (sel)[k_] : k_), true); k_++)

enum { MEMOS = 8 };

/* What is known of a dictionary's codes. */
struct memo {
    uint64_t dict_id;        /* 0: free */
    uint64_t rows;           /* seen */
    bool remembers;          /* the arrays are in use */
    struct tl__array hashes; /* uint64_t by code; 0: not known yet */
    struct tl__array last;   /* uint32_t by code: group + 1 */
};

struct tl__sketches {
    bool quantiles;
    struct tl_budget *budget;
    struct tl_arena arena;
    struct tl_sketch_memory memory;
    struct tl__array groups; /* struct tl_hll or tl_quantile */
    struct memo memos[MEMOS];
    uint32_t next_memo;
};

enum tl_code tl__sketches_new(struct tl__pipe *pipe, bool quantiles, struct tl__sketches **out,
                              struct tl_status *st)
{
    struct tl__sketches *s = tl_arena_calloc(&pipe->memory, 1, sizeof(*s), st);
    if (!s)
        return st->code;
    s->quantiles = quantiles;
    s->budget = pipe->memory.budget;
    tl_arena_init(&s->arena, s->budget, 0);
    tl_sketch_memory_init(&s->memory, &s->arena);
    tl__array_init(&s->groups, s->budget,
                   quantiles ? sizeof(struct tl_quantile) : sizeof(struct tl_hll));
    for (uint32_t i = 0; i < MEMOS; i++) {
        tl__array_init(&s->memos[i].hashes, s->budget, sizeof(uint64_t));
        tl__array_init(&s->memos[i].last, s->budget, sizeof(uint32_t));
    }
    *out = s;
    return TL_OK;
}

void tl__sketches_deinit(struct tl__sketches *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < MEMOS; i++) {
        tl__array_deinit(&s->memos[i].hashes);
        tl__array_deinit(&s->memos[i].last);
    }
    tl__array_deinit(&s->groups);
    tl_arena_deinit(&s->arena);
}

enum tl_code tl__sketches_reserve(struct tl__sketches *s, uint32_t groups, struct tl_status *st)
{
    return tl__array_reserve(&s->groups, groups, true, st);
}

/* ---- rows ---- */

static enum tl_code add_numbers(struct tl__sketches *s, struct tl__pipe *pipe,
                                const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                                const struct tl__grouping *grouping, struct tl_status *st)
{
    struct tl_quantile *groups = (struct tl_quantile *)(void *)s->groups.data;
    double *x = tl_arena_alloc(&pipe->scratch, sizeof(*x) * v->count, st);
    if (!x)
        return st->code;
    tl_sketch_doubles(v, sel, n, x);
    EACH(i, sel, n)
    {
        struct tl_quantile *q = &groups[grouping->of_row ? grouping->of_row[i] : grouping->uniform];
        enum tl_code rc = tl_quantile_add(q, &s->memory, x[i], 1, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code memo_of(struct tl__sketches *s, const struct tl_dict *dict, uint64_t rows_hint,
                            uint32_t n, struct memo **out, struct tl_status *st)
{
    struct memo *m = NULL;
    for (uint32_t i = 0; i < MEMOS && !m; i++) {
        if (s->memos[i].dict_id == dict->id)
            m = &s->memos[i];
    }
    if (!m) {
        m = &s->memos[s->next_memo];
        s->next_memo = (s->next_memo + 1) % MEMOS;
        m->dict_id = dict->id;
        m->rows = 0;
        m->remembers = false;
        tl__array_deinit(&m->hashes);
        tl__array_deinit(&m->last);
    }
    m->rows += n;
    if (!m->remembers && tl__table_pays(dict, rows_hint + m->rows, n)) {
        enum tl_code rc = tl__array_reserve(&m->hashes, dict->count, true, st);
        if (rc == TL_OK)
            rc = tl__array_reserve(&m->last, dict->count, true, st);
        if (rc)
            return rc;
        m->remembers = true;
    }
    *out = m;
    return TL_OK;
}

/* The hashes of the rows' codes that are not known yet. */
static enum tl_code learn(struct memo *m, struct tl__pipe *pipe, const struct tl_vector *v,
                          const uint16_t *rows, uint32_t n, struct tl_status *st)
{
    uint64_t *hashes = (uint64_t *)(void *)m->hashes.data;
    uint32_t *codes = tl_arena_alloc(&pipe->scratch, sizeof(*codes) * n, st);
    if (!codes)
        return st->code;
    uint32_t unknown = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t code = v->codes[rows[k]];
        codes[unknown] = code;
        unknown += hashes[code] == 0;
        hashes[code] += hashes[code] == 0; /* listed once; overwritten below */
    }
    if (unknown == 0)
        return TL_OK;
    struct tl_slice *texts = tl_arena_alloc(&pipe->scratch, sizeof(*texts) * unknown, st);
    enum tl_code rc = texts ? tl_dict_get(v->dict, codes, unknown, texts, st) : st->code;
    for (uint32_t k = 0; k < unknown && rc == TL_OK; k++)
        hashes[codes[k]] = tl_sketch_hash_text(texts[k]);
    return rc;
}

/* *done false: the dictionary is not worth remembering. */
static enum tl_code add_codes(struct tl__sketches *s, struct tl__pipe *pipe,
                              const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                              const struct tl__grouping *grouping, bool *done, struct tl_status *st)
{
    uint32_t greatest = 0;
    EACH(i, sel, n)
    greatest = v->codes[i] > greatest ? v->codes[i] : greatest;
    if (greatest >= v->dict->count)
        return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", greatest, v->dict->count);
    struct memo *m = NULL;
    enum tl_code rc = memo_of(s, v->dict, pipe->rows_hint, n, &m, st);
    *done = rc == TL_OK && m->remembers;
    if (!*done)
        return rc;
    uint16_t *fresh = tl_arena_alloc(&pipe->scratch, sizeof(*fresh) * (n + 1u), st);
    if (!fresh)
        return st->code;
    uint32_t *last = (uint32_t *)(void *)m->last.data;
    const uint32_t *of_row = grouping->of_row;
    uint32_t mark = grouping->uniform + 1;
    uint32_t count = 0;
    EACH(i, sel, n)
    {
        uint32_t *place = &last[v->codes[i]];
        mark = of_row ? of_row[i] + 1 : mark;
        fresh[count] = (uint16_t)i;
        count += *place != mark;
        *place = mark;
    }
    if (count == 0)
        return TL_OK;
    rc = learn(m, pipe, v, fresh, count, st);
    const uint64_t *hashes = (const uint64_t *)(const void *)m->hashes.data;
    struct tl_hll *groups = (struct tl_hll *)(void *)s->groups.data;
    for (uint32_t k = 0; k < count && rc == TL_OK; k++) {
        struct tl_hll *h = &groups[of_row ? of_row[fresh[k]] : grouping->uniform];
        rc = tl_hll_add(h, &s->memory, hashes[v->codes[fresh[k]]], st);
    }
    return rc;
}

static enum tl_code add_values(struct tl__sketches *s, struct tl__pipe *pipe,
                               const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                               const struct tl__grouping *grouping, struct tl_status *st)
{
    struct tl_hll *groups = (struct tl_hll *)(void *)s->groups.data;
    uint64_t *hashes = tl_arena_alloc(&pipe->scratch, sizeof(*hashes) * v->count, st);
    if (!hashes)
        return st->code;
    tl_sketch_hash_rows(v, sel, n, hashes);
    EACH(i, sel, n)
    {
        struct tl_hll *h = &groups[grouping->of_row ? grouping->of_row[i] : grouping->uniform];
        enum tl_code rc = tl_hll_add(h, &s->memory, hashes[i], st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

enum tl_code tl__sketches_add(struct tl__sketches *s, struct tl__pipe *pipe,
                              const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                              const struct tl__grouping *grouping, struct tl_status *st)
{
    if (s->quantiles)
        return add_numbers(s, pipe, v, sel, n, grouping, st);
    struct tl_vector flat = *v;
    if (v->shape == TL_DICT) {
        bool done = false;
        enum tl_code rc = add_codes(s, pipe, v, sel, n, grouping, &done, st);
        if (rc || done)
            return rc;
        rc = tl__flatten(pipe, v, sel, n, &flat, st);
        if (rc)
            return rc;
    }
    return add_values(s, pipe, &flat, sel, n, grouping, st);
}

/* ---- the end ---- */

enum tl_code tl__sketches_merge(struct tl__sketches *s, struct tl__sketches *other,
                                const uint32_t *group_map, uint32_t groups, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    for (uint32_t g = 0; g < groups && rc == TL_OK; g++) {
        uint32_t t = group_map[g];
        /* A group that only the other has met is taken as it is: both memories live as long as
         * the operator, so that the block may come back to either. */
        if (s->quantiles) {
            struct tl_quantile *a = &TL__AT(struct tl_quantile, &s->groups, t);
            struct tl_quantile *b = &TL__AT(struct tl_quantile, &other->groups, g);
            if (a->count == 0) {
                struct tl_quantile swap = *a;
                *a = *b;
                *b = swap;
            } else {
                rc = tl_quantile_merge(a, &s->memory, b, st);
                tl_quantile_clear(b, &other->memory);
            }
        } else {
            struct tl_hll *a = &TL__AT(struct tl_hll, &s->groups, t);
            struct tl_hll *b = &TL__AT(struct tl_hll, &other->groups, g);
            if (!a->data) {
                *a = *b;
                *b = (struct tl_hll){0};
            } else {
                rc = tl_hll_merge(a, &s->memory, b, st);
                tl_hll_clear(b, &other->memory);
            }
        }
    }
    return rc;
}

int64_t tl__sketches_distinct(const struct tl__sketches *s, uint32_t group)
{
    uint64_t n = tl_hll_estimate(&TL__AT(struct tl_hll, &s->groups, group));
    return n < INT64_MAX ? (int64_t)n : INT64_MAX;
}

enum tl_code tl__sketches_quantile(struct tl__sketches *s, uint32_t group, double fraction,
                                   double *out, bool *any, struct tl_status *st)
{
    const struct tl_quantile *q = &TL__AT(struct tl_quantile, &s->groups, group);
    *out = 0;
    *any = q->count > 0;
    return *any ? tl_quantile_get(q, &s->memory, &fraction, 1, out, st) : TL_OK;
}
