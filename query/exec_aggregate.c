/*
 * Aggregates per group, and the operator that runs them (DISTINCT is one without aggregates).
 *
 * A state (groups, and an array per aggregate indexed by group) belongs to one thread; a batch is
 * first brought to group numbers, then every aggregate walks its own column once. Where a batch
 * lies in one group, or in few long runs, the walk keeps its sum in a register.
 *
 * With several threads each worker has a state and a chain of operators of its own over the shared
 * scan; at the end the states are merged into the first, in the workers' order.
 *
 * Exactness: sums of BIGINT and DECIMAL are kept in 128 bits and checked against 38 digits when
 * they are told; percentiles keep all values and select; distinct values see exec_distinct.c.
 * Approximate aggregates are sketches: exec_sketch.c.
 */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "base/time.h"
#include "query/decimal_int.h"
#include "query/exec_int.h"
#include "query/select_kth.h"

struct sum_state {
    tl_i128 sum;
    int64_t n;
};

struct double_state {
    double sum;
    int64_t n;
};

struct interval_state {
    int64_t us, days, months, n;
};

/* min and max of up to 8 bytes, as ordered integers */
struct order_state {
    int64_t value;
    int64_t n;
};

struct wide_state {
    tl_i128 value;
    int64_t n;
};

struct text_state {
    uint8_t *data;
    uint32_t size;
    uint32_t capacity; /* 0: no value yet */
};

/* Values with their groups, of one batch. */
struct values {
    struct values *older;
    uint32_t n;
    bool narrow; /* they fit into 32 bits */
    const uint32_t *groups;
    const void *data; /* int32_t or int64_t */
};

/* What one worker has collected; the maps turn its numbers into the first worker's. */
struct source {
    struct source *next;
    struct tl_arena memory;
    struct values *newest;
    size_t count;
    const uint32_t *group_map; /* NULL: as they are */
    const uint32_t *value_map; /* of interned values */
};

struct agg {
    const struct tl_aggregate *def;
    struct tl_type arg_type;
    struct tl__step *arg;
    struct tl__step *filter;
    struct tl__array states; /* of the struct that the kind uses, by group */
    struct tl__distinct *distinct;
    struct tl__sketches *sketches;
    /* percentiles: all values with their groups; `from` is an earlier aggregate that
     * collects the same ones */
    struct agg *from;
    struct source own;           /* the values collected here, */
    struct source *sources;      /* and those of all workers */
    struct tl__intern *interned; /* kinds of more than 8 bytes: values are ids */
    struct tl__array values;     /* int64_t, partitioned by group at the end */
    struct tl__array starts;     /* size_t by group */
    struct tl__array back;       /* uint32_t: the id of a rank, of interned values */
};

struct state {
    struct tl__pipe *pipe;
    struct tl__groups *groups;
    uint32_t key_count, agg_count;
    struct tl__step **keys;
    struct tl_vector *key_vectors;
    struct agg *aggs;
};

struct worker {
    struct aggregate *op;
    struct state state;
    struct tl__op *child;
    struct tl_status status;
};

struct aggregate {
    struct tl__op op;
    uint32_t worker_count;
    struct worker *workers;
    bool consumed;
    uint32_t next_group;
    pthread_mutex_t lock;
    pthread_cond_t ended; /* a worker has: running is smaller */
    uint32_t running;
};

#define EACH(i, sel, n)                                                                            \
    for (uint32_t k_ = 0, i = 0; k_ < (n) && ((i = (sel) ? (sel)[k_] : k_), true); k_++)

static uint32_t state_width(const struct agg *a)
{
    switch (a->def->kind) {
    case TL_AGG_COUNT_STAR:
    case TL_AGG_COUNT:
    case TL_AGG_COUNT_DISTINCT:
    case TL_AGG_APPROX_DISTINCT:
        return sizeof(int64_t);
    case TL_AGG_MIN:
    case TL_AGG_MAX:
        if (tl_kind_is_bytes(a->arg_type.kind))
            return sizeof(struct text_state);
        return tl_kind_width(a->arg_type.kind) > 8 ? sizeof(struct wide_state)
                                                   : sizeof(struct order_state);
    case TL_AGG_VAR_POP:
    case TL_AGG_VAR_SAMP:
    case TL_AGG_STDDEV_POP:
    case TL_AGG_STDDEV_SAMP:
        return sizeof(struct tl__moment);
    case TL_AGG_BIT_AND:
    case TL_AGG_BIT_OR:
    case TL_AGG_BIT_XOR:
    case TL_AGG_PERCENTILE_DISC:
    case TL_AGG_APPROX_PERCENTILE:
        return sizeof(struct order_state);
    default:
        if (a->arg_type.kind == TL_DOUBLE)
            return sizeof(struct double_state);
        if (a->arg_type.kind == TL_INTERVAL)
            return sizeof(struct interval_state);
        return sizeof(struct sum_state);
    }
}

static bool same_argument(const struct tl_aggregate *a, const struct tl_aggregate *b)
{
    return a->kind == b->kind && !a->filter && !b->filter && a->arg->kind == TL_EXPR_COLUMN &&
           b->arg->kind == TL_EXPR_COLUMN && a->arg->index == b->arg->index;
}

/* An earlier aggregate that collects the same values. */
static void find_same(struct state *s, struct agg *a, uint32_t index)
{
    for (uint32_t b = 0; b < index && !a->from; b++) {
        if (same_argument(s->aggs[b].def, a->def))
            a->from = s->aggs[b].from ? s->aggs[b].from : &s->aggs[b];
    }
}

static enum tl_code agg_init(struct state *s, uint32_t index, const struct tl_aggregate *def,
                             struct tl_status *st)
{
    struct agg *a = &s->aggs[index];
    struct tl_budget *budget = s->pipe->memory.budget;
    *a = (struct agg){.def = def};
    enum tl_code rc = TL_OK;
    if (def->arg) {
        a->arg_type = def->arg->type;
        rc = tl__step_new(s->pipe, def->arg, &a->arg, st);
    }
    if (rc == TL_OK && def->filter)
        rc = tl__step_new(s->pipe, def->filter, &a->filter, st);
    if (rc)
        return rc;
    tl__array_init(&a->states, budget, state_width(a));
    tl__array_init(&a->values, budget, 8);
    tl__array_init(&a->starts, budget, sizeof(size_t));
    tl__array_init(&a->back, budget, sizeof(uint32_t));
    tl_arena_init(&a->own.memory, budget, 0);
    a->sources = &a->own;
    switch (def->kind) {
    case TL_AGG_COUNT_DISTINCT:
    case TL_AGG_SUM_DISTINCT:
    case TL_AGG_AVG_DISTINCT:
        return tl__distinct_new(s->pipe, a->arg_type, &a->distinct, st);
    case TL_AGG_APPROX_DISTINCT:
        return tl__sketches_new(s->pipe, false, &a->sketches, st);
    case TL_AGG_APPROX_PERCENTILE:
        find_same(s, a, index);
        return a->from ? TL_OK : tl__sketches_new(s->pipe, true, &a->sketches, st);
    case TL_AGG_PERCENTILE_DISC:
        find_same(s, a, index);
        if (tl_kind_width(a->arg_type.kind) > 8) {
            a->interned = tl_arena_calloc(&s->pipe->memory, 1, sizeof(*a->interned), st);
            if (!a->interned)
                return st->code;
            tl__intern_init(a->interned, a->arg_type, true, budget);
        }
        return TL_OK;
    default:
        return TL_OK;
    }
}

static enum tl_code state_init(struct state *s, struct tl__pipe *pipe,
                               const struct tl_plan_node *node, struct tl_status *st)
{
    bool distinct = node->kind == TL_NODE_DISTINCT;
    uint32_t keys = distinct ? node->column_count : node->key_count;
    *s = (struct state){.pipe = pipe, .key_count = keys};
    enum tl_code rc = tl__groups_new(pipe, keys, node->types, &s->groups, st);
    if (rc)
        return rc;
    struct tl_arena *memory = &pipe->memory;
    s->keys = tl_arena_calloc(memory, keys + 1u, sizeof(struct tl__step *), st);
    s->key_vectors = tl_arena_calloc(memory, keys + 1u, sizeof(*s->key_vectors), st);
    s->aggs = tl_arena_calloc(memory, node->aggregate_count + 1u, sizeof(*s->aggs), st);
    if (!s->keys || !s->key_vectors || !s->aggs)
        return st->code;
    for (uint32_t k = 0; k < keys && !distinct; k++) {
        rc = tl__step_new(pipe, node->keys[k], &s->keys[k], st);
        if (rc)
            return rc;
    }
    for (uint32_t a = 0; a < node->aggregate_count && !distinct; a++) {
        rc = agg_init(s, a, &node->aggregates[a], st);
        if (rc)
            return rc;
        s->agg_count++;
    }
    return TL_OK;
}

static void state_deinit(struct state *s)
{
    tl__groups_deinit(s->groups);
    for (uint32_t i = 0; i < s->agg_count; i++) {
        struct agg *a = &s->aggs[i];
        tl__array_deinit(&a->states);
        tl__array_deinit(&a->values);
        tl__array_deinit(&a->starts);
        tl__array_deinit(&a->back);
        tl_arena_deinit(&a->own.memory);
        tl__distinct_deinit(a->distinct);
        tl__sketches_deinit(a->sketches);
        if (a->interned)
            tl__intern_deinit(a->interned);
    }
}

/* ---- updates ---- */

/* The selected rows that count for an aggregate, and where they go. */
struct rows {
    const uint16_t *sel;
    uint32_t n;
    const struct tl__grouping *grouping;
    bool whole; /* the batch's own selection: the grouping's runs hold for it */
};

/* Aggregates that know what to do with runs; the others need a group per row. */
static bool takes_runs(const struct agg *a, const struct rows *r)
{
    if (!r->whole)
        return false;
    switch (a->def->kind) {
    case TL_AGG_COUNT_STAR:
    case TL_AGG_COUNT:
        return true;
    case TL_AGG_SUM:
    case TL_AGG_AVG:
        return a->arg_type.kind == TL_BIGINT || a->arg_type.kind == TL_DECIMAL64;
    default:
        return false;
    }
}

static void count_rows(struct agg *a, const struct rows *r)
{
    int64_t *counts = (int64_t *)(void *)a->states.data;
    const struct tl__grouping *g = r->grouping;
    if (r->whole && g->run_count) {
        for (uint32_t run = 0; run < g->run_count; run++)
            counts[g->run_groups[run]] += g->run_starts[run + 1] - g->run_starts[run];
    } else if (!g->of_row) {
        counts[g->uniform] += r->n;
    } else {
        EACH(i, r->sel, r->n)
        counts[g->of_row[i]]++;
    }
}

static void sum_int64(struct agg *a, const struct rows *r, const struct tl_vector *v)
{
    struct sum_state *states = (struct sum_state *)(void *)a->states.data;
    const int64_t *x = v->data;
    size_t step = tl__step(v);
    const uint32_t *groups = r->grouping->of_row;
    if (r->whole && r->grouping->run_count) {
        for (uint32_t run = 0; run < r->grouping->run_count; run++) {
            struct sum_state *s = &states[r->grouping->run_groups[run]];
            uint32_t end = r->grouping->run_starts[run + 1];
            tl_i128 sum = 0;
            for (uint32_t k = r->grouping->run_starts[run]; k < end; k++)
                sum += x[step * (r->sel ? r->sel[k] : k)];
            s->sum += sum;
            s->n += end - r->grouping->run_starts[run];
        }
        return;
    }
    if (!groups) {
        struct sum_state *s = &states[r->grouping->uniform];
        tl_i128 sum = 0;
        if (step == 0) {
            sum = (tl_i128)x[0] * r->n;
        } else {
            EACH(i, r->sel, r->n)
            sum += x[i];
        }
        s->sum += sum;
        s->n += r->n;
        return;
    }
    EACH(i, r->sel, r->n)
    {
        struct sum_state *s = &states[groups[i]];
        s->sum += x[step * i];
        s->n++;
    }
}

static enum tl_code sum_wide(struct agg *a, const struct rows *r, const struct tl_vector *v,
                             struct tl_status *st)
{
    struct sum_state *states = (struct sum_state *)(void *)a->states.data;
    const tl_i128 *x = v->data;
    size_t step = tl__step(v);
    const struct tl__grouping *g = r->grouping;
    EACH(i, r->sel, r->n)
    {
        struct sum_state *s = &states[g->of_row ? g->of_row[i] : g->uniform];
        if (__builtin_add_overflow(s->sum, x[step * i], &s->sum))
            return tl__fail_sql(st, TL__OUT_OF_RANGE,
                                "numeric value out of range: 38 digits do not suffice for a sum");
        s->n++;
    }
    return TL_OK;
}

static enum tl_code sum_double(struct agg *a, const struct rows *r, const struct tl_vector *v,
                               struct tl_status *st)
{
    struct double_state *states = (struct double_state *)(void *)a->states.data;
    const double *x = v->data;
    size_t step = tl__step(v);
    const struct tl__grouping *g = r->grouping;
    EACH(i, r->sel, r->n)
    {
        struct double_state *s = &states[g->of_row ? g->of_row[i] : g->uniform];
        double before = s->sum;
        s->sum += x[step * i];
        s->n++;
        if (__builtin_expect(isinf(s->sum) && !isinf(before) && !isinf(x[step * i]), 0))
            return tl__fail_sql(st, TL__OUT_OF_RANGE, "value out of range: overflow");
    }
    return TL_OK;
}

static enum tl_code sum_interval(struct agg *a, const struct rows *r, const struct tl_vector *v,
                                 struct tl_status *st)
{
    struct interval_state *states = (struct interval_state *)(void *)a->states.data;
    const struct tl_interval *x = v->data;
    size_t step = tl__step(v);
    const struct tl__grouping *g = r->grouping;
    EACH(i, r->sel, r->n)
    {
        struct interval_state *s = &states[g->of_row ? g->of_row[i] : g->uniform];
        if (__builtin_add_overflow(s->us, x[step * i].us, &s->us))
            return tl__fail_sql(st, TL__DATE_OVERFLOW, "interval out of range");
        s->days += x[step * i].days;
        s->months += x[step * i].months;
        s->n++;
    }
    return TL_OK;
}

/* A value of up to 8 bytes as an integer of the same order, and back. */
static int64_t ordered(struct tl_type t, const void *data, size_t at)
{
    int64_t v = tl__fixed_get(t, data, at);
    if (t.kind == TL_DOUBLE && v < 0)
        v ^= INT64_MAX;
    return v;
}

static void put_ordered(struct tl_type t, void *data, size_t at, int64_t v)
{
    if (t.kind == TL_DOUBLE && v < 0)
        v ^= INT64_MAX;
    tl__fixed_put(t, data, at, v);
}

static void extreme_fixed(struct agg *a, const struct rows *r, const struct tl_vector *v, bool max)
{
    struct order_state *states = (struct order_state *)(void *)a->states.data;
    size_t step = tl__step(v);
    const struct tl__grouping *g = r->grouping;
    bool plain = v->type.kind != TL_BOOLEAN && v->type.kind != TL_DATE && v->type.kind != TL_DOUBLE;
    EACH(i, r->sel, r->n)
    {
        struct order_state *s = &states[g->of_row ? g->of_row[i] : g->uniform];
        int64_t x =
            plain ? ((const int64_t *)v->data)[step * i] : ordered(v->type, v->data, step * i);
        if (s->n == 0 || (max ? x > s->value : x < s->value))
            s->value = x;
        s->n++;
    }
}

static void extreme_wide(struct agg *a, const struct rows *r, const struct tl_vector *v, bool max)
{
    struct wide_state *states = (struct wide_state *)(void *)a->states.data;
    const uint8_t *x = v->data;
    size_t step = tl__step(v) * 16;
    const struct tl__grouping *g = r->grouping;
    EACH(i, r->sel, r->n)
    {
        struct wide_state *s = &states[g->of_row ? g->of_row[i] : g->uniform];
        int order = s->n ? tl__compare(v->type, x + step * i, v->type, &s->value) : 0;
        if (s->n == 0 || (max ? order > 0 : order < 0))
            memcpy(&s->value, x + step * i, 16);
        s->n++;
    }
}

static void add_moments(struct agg *a, const struct rows *r, const struct tl_vector *v)
{
    struct tl__moment *states = (struct tl__moment *)(void *)a->states.data;
    size_t step = tl__step(v);
    const struct tl__grouping *g = r->grouping;
    bool floating = v->type.kind == TL_DOUBLE;
    EACH(i, r->sel, r->n)
    {
        struct tl__moment *m = &states[g->of_row ? g->of_row[i] : g->uniform];
        if (floating)
            tl__moment_add_double(m, ((const double *)v->data)[step * i]);
        else
            tl__moment_add_int(m, ((const int64_t *)v->data)[step * i]);
    }
}

static int64_t combine_bits(uint8_t kind, int64_t a, int64_t b)
{
    return kind == TL_AGG_BIT_AND ? a & b : kind == TL_AGG_BIT_OR ? a | b : a ^ b;
}

static void add_bits(struct agg *a, const struct rows *r, const struct tl_vector *v)
{
    struct order_state *states = (struct order_state *)(void *)a->states.data;
    const int64_t *x = v->data;
    size_t step = tl__step(v);
    const struct tl__grouping *g = r->grouping;
    EACH(i, r->sel, r->n)
    {
        struct order_state *s = &states[g->of_row ? g->of_row[i] : g->uniform];
        s->value = s->n ? combine_bits(a->def->kind, s->value, x[step * i]) : x[step * i];
        s->n++;
    }
}

static enum tl_code keep_text(struct text_state *s, struct tl_slice x, struct tl_arena *memory,
                              struct tl_status *st)
{
    if (x.size + 1 > s->capacity) {
        uint32_t capacity = 32;
        while (capacity < x.size + 1)
            capacity *= 2;
        uint8_t *data = tl_arena_alloc(memory, capacity, st);
        if (!data)
            return st->code;
        s->data = data;
        s->capacity = capacity;
    }
    if (x.size)
        memcpy(s->data, x.data, x.size);
    s->size = (uint32_t)x.size;
    return TL_OK;
}

static enum tl_code extreme_text(struct agg *a, struct state *state, const struct rows *r,
                                 const struct tl_vector *v, bool max, struct tl_status *st)
{
    struct text_state *states = (struct text_state *)(void *)a->states.data;
    const struct tl_slice *x = v->data;
    size_t step = tl__step(v);
    const struct tl__grouping *g = r->grouping;
    EACH(i, r->sel, r->n)
    {
        struct text_state *s = &states[g->of_row ? g->of_row[i] : g->uniform];
        int order = s->capacity ? tl_slice_cmp(x[step * i], tl_slice_of(s->data, s->size)) : 0;
        if (s->capacity == 0 || (max ? order > 0 : order < 0)) {
            enum tl_code rc = keep_text(s, x[step * i], &state->pipe->memory, st);
            if (rc)
                return rc;
        }
    }
    return TL_OK;
}

static enum tl_code collect(struct agg *a, struct state *state, const struct rows *r,
                            const struct tl_vector *v, struct tl_status *st)
{
    enum { CHUNK_MIN = 4 << 10, CHUNK = 256 << 10 };
    int64_t few[TL_VECTOR_ROWS_MAX];
    uint32_t *ids = NULL;
    if (a->interned) {
        ids = tl_arena_alloc(&state->pipe->scratch, sizeof(*ids) * v->count, st);
        enum tl_code rc =
            ids ? tl__intern_rows(a->interned, v, r->sel, r->n, ids, NULL, st) : st->code;
        if (rc)
            return rc;
    }
    size_t step = tl__step(v);
    int64_t *end = few;
    int64_t least = 0;
    int64_t greatest = 0;
    EACH(i, r->sel, r->n)
    {
        int64_t x = ids ? ids[i] : ordered(v->type, v->data, step * i);
        least = x < least ? x : least;
        greatest = x > greatest ? x : greatest;
        *end++ = x;
    }
    struct tl_arena *memory = &a->own.memory;
    memory->chunk_bytes = a->own.count > TL_VECTOR_ROWS_MAX ? CHUNK : CHUNK_MIN;
    bool narrow = least >= INT32_MIN && greatest <= INT32_MAX;
    struct values *kept = tl_arena_alloc(memory, sizeof(*kept), st);
    uint32_t *groups = tl_arena_alloc(memory, sizeof(*groups) * r->n, st);
    void *data = tl_arena_alloc(memory, (narrow ? 4 : 8) * (size_t)r->n, st);
    if (!kept || !groups || !data)
        return st->code;
    for (uint32_t k = 0; k < r->n; k++) {
        if (narrow)
            ((int32_t *)data)[k] = (int32_t)few[k];
        else
            ((int64_t *)data)[k] = few[k];
    }
    const struct tl__grouping *g = r->grouping;
    EACH(i, r->sel, r->n)
    *groups++ = g->of_row ? g->of_row[i] : g->uniform;
    *kept = (struct values){a->own.newest, r->n, narrow, groups - r->n, data};
    a->own.newest = kept;
    a->own.count += r->n;
    return TL_OK;
}

/* Takes the rows with a NULL argument out of r. */
static enum tl_code drop_nulls(struct state *s, const struct tl_vector *v, struct rows *r,
                               struct tl_status *st)
{
    if (!v->validity)
        return TL_OK;
    if (v->shape == TL_CONST) {
        r->n = tl_vector_valid(v, 0) ? r->n : 0;
        return TL_OK;
    }
    uint16_t *valid = tl_arena_alloc(&s->pipe->scratch, sizeof(*valid) * (r->n + 1u), st);
    if (!valid)
        return st->code;
    uint32_t m = tl__rows_with_bit(v->validity, r->sel, r->n, valid);
    if (m != r->n) {
        r->sel = valid;
        r->n = m;
        r->whole = false;
    }
    return TL_OK;
}

static enum tl_code agg_update(struct state *s, struct agg *a, const struct tl__batch *batch,
                               struct tl__grouping *grouping, struct tl_status *st)
{
    struct tl__pipe *pipe = s->pipe;
    struct rows r = {batch->sel, batch->n, grouping, true};
    struct tl__batch part = *batch;
    enum tl_code rc;
    if (a->filter) {
        rc = tl__step_select(a->filter, pipe, batch, &part.sel, &part.n, st);
        if (rc)
            return rc;
        r.whole = part.n == batch->n;
        r.sel = part.sel;
        r.n = part.n;
    }
    if (r.n == 0 || a->from)
        return TL_OK;
    if (a->def->kind == TL_AGG_COUNT_STAR) {
        rc = takes_runs(a, &r) ? TL_OK : tl__grouping_spread(grouping, pipe, batch, st);
        if (rc == TL_OK)
            count_rows(a, &r);
        return rc;
    }
    struct tl_vector v;
    rc = tl__step_eval(a->arg, pipe, &part, &v, st);
    if (rc == TL_OK)
        rc = drop_nulls(s, &v, &r, st);
    if (rc || r.n == 0)
        return rc;
    if (!takes_runs(a, &r)) {
        rc = tl__grouping_spread(grouping, pipe, batch, st);
        if (rc)
            return rc;
    }
    switch (a->def->kind) {
    case TL_AGG_COUNT:
        count_rows(a, &r);
        return TL_OK;
    case TL_AGG_COUNT_DISTINCT:
    case TL_AGG_SUM_DISTINCT:
    case TL_AGG_AVG_DISTINCT:
        return tl__distinct_add(a->distinct, pipe, &v, r.sel, r.n, grouping, st);
    case TL_AGG_APPROX_DISTINCT:
    case TL_AGG_APPROX_PERCENTILE:
        return tl__sketches_add(a->sketches, pipe, &v, r.sel, r.n, grouping, st);
    default:
        break;
    }
    rc = tl__flatten(pipe, &v, r.sel, r.n, &v, st);
    if (rc)
        return rc;
    switch (a->def->kind) {
    case TL_AGG_VAR_POP:
    case TL_AGG_VAR_SAMP:
    case TL_AGG_STDDEV_POP:
    case TL_AGG_STDDEV_SAMP:
        add_moments(a, &r, &v);
        return TL_OK;
    case TL_AGG_BIT_AND:
    case TL_AGG_BIT_OR:
    case TL_AGG_BIT_XOR:
        add_bits(a, &r, &v);
        return TL_OK;
    case TL_AGG_PERCENTILE_DISC:
        return collect(a, s, &r, &v, st);
    case TL_AGG_MIN:
    case TL_AGG_MAX: {
        bool max = a->def->kind == TL_AGG_MAX;
        if (tl_kind_is_bytes(v.type.kind))
            return extreme_text(a, s, &r, &v, max, st);
        if (tl_kind_width(v.type.kind) > 8)
            extreme_wide(a, &r, &v, max);
        else
            extreme_fixed(a, &r, &v, max);
        return TL_OK;
    }
    default:
        if (v.type.kind == TL_DOUBLE)
            return sum_double(a, &r, &v, st);
        if (v.type.kind == TL_INTERVAL)
            return sum_interval(a, &r, &v, st);
        if (v.type.kind == TL_DECIMAL128)
            return sum_wide(a, &r, &v, st);
        sum_int64(a, &r, &v);
        return TL_OK;
    }
}

static enum tl_code consume(struct state *s, struct tl__op *child, struct tl_status *st)
{
    for (;;) {
        struct tl__batch batch;
        enum tl_code rc = tl__op_next(child, &batch, st);
        if (rc || batch.n == 0)
            return rc;
        for (uint32_t k = 0; k < s->key_count; k++) {
            if (!s->keys[k]) /* DISTINCT: the child's columns themselves */
                s->key_vectors[k] = batch.columns[k];
            else
                rc = tl__step_eval(s->keys[k], s->pipe, &batch, &s->key_vectors[k], st);
            if (rc)
                return rc;
        }
        struct tl__grouping grouping;
        rc = tl__groups_rows(s->groups, s->pipe, s->key_vectors, &batch, &grouping, st);
        if (rc)
            return rc;
        uint32_t groups = tl__groups_count(s->groups);
        for (uint32_t a = 0; a < s->agg_count; a++) {
            rc = tl__array_reserve(&s->aggs[a].states, groups, true, st);
            if (rc == TL_OK && s->aggs[a].sketches)
                rc = tl__sketches_reserve(s->aggs[a].sketches, groups, st);
            if (rc == TL_OK)
                rc = agg_update(s, &s->aggs[a], &batch, &grouping, st);
            if (rc)
                return rc;
        }
    }
}

/* ---- merging ---- */

static enum tl_code merge_states(struct state *to, struct agg *a, struct agg *b,
                                 const uint32_t *map, uint32_t groups, struct tl_status *st)
{
    bool max = a->def->kind == TL_AGG_MAX;
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t t = map[g];
        switch (a->def->kind) {
        case TL_AGG_COUNT_STAR:
        case TL_AGG_COUNT:
            TL__AT(int64_t, &a->states, t) += TL__AT(int64_t, &b->states, g);
            break;
        case TL_AGG_MIN:
        case TL_AGG_MAX:
            if (tl_kind_is_bytes(a->arg_type.kind)) {
                struct text_state *x = &TL__AT(struct text_state, &a->states, t);
                struct text_state *y = &TL__AT(struct text_state, &b->states, g);
                int order =
                    tl_slice_cmp(tl_slice_of(y->data, y->size), tl_slice_of(x->data, x->size));
                if (!y->capacity || (x->capacity && (max ? order <= 0 : order >= 0)))
                    break;
                enum tl_code rc =
                    keep_text(x, tl_slice_of(y->data, y->size), &to->pipe->memory, st);
                if (rc)
                    return rc;
            } else if (tl_kind_width(a->arg_type.kind) > 8) {
                struct wide_state *x = &TL__AT(struct wide_state, &a->states, t);
                struct wide_state *y = &TL__AT(struct wide_state, &b->states, g);
                int order = tl__compare(a->arg_type, &y->value, a->arg_type, &x->value);
                if (y->n && (!x->n || (max ? order > 0 : order < 0)))
                    x->value = y->value;
                x->n += y->n;
            } else {
                struct order_state *x = &TL__AT(struct order_state, &a->states, t);
                struct order_state *y = &TL__AT(struct order_state, &b->states, g);
                if (y->n && (!x->n || (max ? y->value > x->value : y->value < x->value)))
                    x->value = y->value;
                x->n += y->n;
            }
            break;
        case TL_AGG_VAR_POP:
        case TL_AGG_VAR_SAMP:
        case TL_AGG_STDDEV_POP:
        case TL_AGG_STDDEV_SAMP:
            tl__moment_merge(&TL__AT(struct tl__moment, &a->states, t),
                             &TL__AT(struct tl__moment, &b->states, g));
            break;
        case TL_AGG_BIT_AND:
        case TL_AGG_BIT_OR:
        case TL_AGG_BIT_XOR: {
            struct order_state *x = &TL__AT(struct order_state, &a->states, t);
            struct order_state *y = &TL__AT(struct order_state, &b->states, g);
            if (y->n)
                x->value = x->n ? combine_bits(a->def->kind, x->value, y->value) : y->value;
            x->n += y->n;
            break;
        }
        case TL_AGG_SUM:
        case TL_AGG_AVG:
            if (a->arg_type.kind == TL_DOUBLE) {
                struct double_state *x = &TL__AT(struct double_state, &a->states, t);
                struct double_state *y = &TL__AT(struct double_state, &b->states, g);
                double sum = x->sum + y->sum;
                if (isinf(sum) && !isinf(x->sum) && !isinf(y->sum))
                    return tl__fail_sql(st, TL__OUT_OF_RANGE, "value out of range: overflow");
                x->sum = sum;
                x->n += y->n;
            } else if (a->arg_type.kind == TL_INTERVAL) {
                struct interval_state *x = &TL__AT(struct interval_state, &a->states, t);
                struct interval_state *y = &TL__AT(struct interval_state, &b->states, g);
                if (__builtin_add_overflow(x->us, y->us, &x->us))
                    return tl__fail_sql(st, TL__DATE_OVERFLOW, "interval out of range");
                x->days += y->days;
                x->months += y->months;
                x->n += y->n;
            } else {
                struct sum_state *x = &TL__AT(struct sum_state, &a->states, t);
                struct sum_state *y = &TL__AT(struct sum_state, &b->states, g);
                if (__builtin_add_overflow(x->sum, y->sum, &x->sum))
                    return tl__fail_sql(
                        st, TL__OUT_OF_RANGE,
                        "numeric value out of range: 38 digits do not suffice for a sum");
                x->n += y->n;
            }
            break;
        default:
            break;
        }
    }
    return TL_OK;
}

/* The other's values stay where they are, in the list of a's sources. */
static enum tl_code merge_values(struct state *to, struct agg *a, struct agg *b,
                                 const uint32_t *map, struct tl_status *st)
{
    if (a->from)
        return TL_OK;
    b->own.group_map = map;
    if (a->interned && b->interned->count) {
        uint32_t *ids = tl_arena_alloc(&to->pipe->memory, sizeof(*ids) * b->interned->count, st);
        if (!ids)
            return st->code;
        uint32_t n;
        for (uint32_t at = 0; at < b->interned->count; at += n) {
            n = b->interned->count - at;
            n = n < TL_VECTOR_ROWS_MAX ? n : TL_VECTOR_ROWS_MAX;
            struct tl_vector v = {.type = a->arg_type,
                                  .shape = TL_FLAT,
                                  .count = n,
                                  .data = b->interned->values.data + (size_t)at * 16};
            enum tl_code rc = tl__intern_rows(a->interned, &v, NULL, n, ids + at, NULL, st);
            if (rc)
                return rc;
        }
        b->own.value_map = ids;
    }
    b->own.next = a->sources;
    a->sources = &b->own;
    return TL_OK;
}

static enum tl_code merge_sketches(struct agg *a, struct agg *b, const uint32_t *map,
                                   uint32_t groups, uint32_t others, struct tl_status *st)
{
    enum tl_code rc = tl__sketches_reserve(a->sketches, groups, st);
    if (rc == TL_OK)
        rc = tl__sketches_reserve(b->sketches, others, st);
    return rc ? rc : tl__sketches_merge(a->sketches, b->sketches, map, others, st);
}

static enum tl_code merge(struct state *to, struct state *from, struct tl_status *st)
{
    uint32_t *map;
    enum tl_code rc = tl__groups_merge(to->groups, to->pipe, from->groups, &map, st);
    uint32_t groups = rc ? 0 : tl__groups_count(to->groups);
    for (uint32_t i = 0; i < to->agg_count && rc == TL_OK; i++) {
        struct agg *a = &to->aggs[i];
        struct agg *b = &from->aggs[i];
        rc = tl__array_reserve(&a->states, groups, true, st);
        if (rc == TL_OK)
            rc = tl__array_reserve(&b->states, tl__groups_count(from->groups), true, st);
        if (rc)
            break;
        if (a->distinct)
            rc = tl__distinct_merge(a->distinct, b->distinct, map, st);
        else if (a->sketches)
            rc = merge_sketches(a, b, map, groups, tl__groups_count(from->groups), st);
        else if (a->def->kind == TL_AGG_PERCENTILE_DISC)
            rc = merge_values(to, a, b, map, st);
        else
            rc = merge_states(to, a, b, map, tl__groups_count(from->groups), st);
    }
    return rc;
}

/* ---- the end: percentiles and distinct values ---- */

static inline uint32_t group_of(const struct source *s, uint32_t group)
{
    return s->group_map ? s->group_map[group] : group;
}

/* Moves the values of a group together: from the sources, which are given back, into a->values.
 * `ranks` replaces the ids of interned values. */
static enum tl_code partition(struct agg *a, uint32_t groups, const uint32_t *ranks,
                              struct tl_status *st)
{
    size_t n = 0;
    for (const struct source *s = a->sources; s; s = s->next)
        n += s->count;
    enum tl_code rc = tl__array_reserve(&a->starts, (size_t)groups + 1, true, st);
    if (rc == TL_OK)
        rc = tl__array_reserve(&a->values, n, false, st);
    if (rc)
        return rc;
    size_t *starts = (size_t *)(void *)a->starts.data;
    int64_t *out = (int64_t *)(void *)a->values.data;
    for (const struct source *s = a->sources; s; s = s->next) {
        for (const struct values *v = s->newest; v; v = v->older) {
            for (uint32_t i = 0; i < v->n; i++)
                starts[group_of(s, v->groups[i])]++;
        }
    }
    size_t sum = 0;
    for (uint32_t g = 0; g <= groups; g++) {
        size_t count = g < groups ? starts[g] : 0;
        starts[g] = sum;
        sum += count;
    }
    for (struct source *s = a->sources; s; s = s->next) {
        for (const struct values *v = s->newest; v; v = v->older) {
            for (uint32_t i = 0; i < v->n; i++) {
                int64_t x =
                    v->narrow ? ((const int32_t *)v->data)[i] : ((const int64_t *)v->data)[i];
                if (ranks)
                    x = ranks[s->value_map ? s->value_map[x] : (size_t)x];
                out[starts[group_of(s, v->groups[i])]++] = x;
            }
        }
        s->newest = NULL;
        tl_arena_deinit(&s->memory);
    }
    for (uint32_t g = groups; g > 0; g--)
        starts[g] = starts[g - 1];
    starts[0] = 0;
    return TL_OK;
}

static int compare_ids(const struct tl__intern *t, uint32_t a, uint32_t b)
{
    size_t width = 16;
    return tl__compare(t->type, t->values.data + a * width, t->type, t->values.data + b * width);
}

/* Orders interned values: ranks[id], and a->back[rank] is the id. */
static enum tl_code rank_ids(struct agg *a, uint32_t **ranks, struct tl_arena *memory,
                             struct tl_status *st)
{
    uint32_t count = a->interned->count;
    enum tl_code rc = tl__array_reserve(&a->back, count, false, st);
    if (rc)
        return rc;
    uint32_t *ids = tl_arena_alloc(memory, sizeof(*ids) * (count + 1u), st);
    uint32_t *other = tl_arena_alloc(memory, sizeof(*other) * (count + 1u), st);
    if (!ids || !other)
        return st->code;
    for (uint32_t i = 0; i < count; i++)
        ids[i] = i;
    for (uint32_t width = 1; width < count; width *= 2) { /* merge sort, bottom up */
        for (uint32_t lo = 0; lo < count; lo += 2 * width) {
            uint32_t mid = lo + width < count ? lo + width : count;
            uint32_t hi = lo + 2 * width < count ? lo + 2 * width : count;
            uint32_t i = lo;
            uint32_t j = mid;
            for (uint32_t k = lo; k < hi; k++) {
                bool left = i < mid && (j >= hi || compare_ids(a->interned, ids[i], ids[j]) <= 0);
                other[k] = left ? ids[i++] : ids[j++];
            }
        }
        uint32_t *t = ids;
        ids = other;
        other = t;
    }
    for (uint32_t rank = 0; rank < count; rank++) {
        other[ids[rank]] = rank;
        TL__AT(uint32_t, &a->back, rank) = ids[rank];
    }
    *ranks = other;
    return TL_OK;
}

static enum tl_code fraction_of(struct state *s, const struct agg *a, double *p, bool *null,
                                struct tl_status *st)
{
    tl_arena_reset(&s->pipe->scratch);
    struct tl_vector fraction;
    enum tl_code rc = tl__eval_constant(s->pipe, a->def->fraction, &fraction, st);
    if (rc)
        return rc;
    *null = !tl_vector_valid(&fraction, 0);
    *p = *null ? 0 : *(const double *)fraction.data;
    if (!(*p >= 0 && *p <= 1)) {
        (void)TL_FAIL(st, TL_INVALID, "percentile value %g is not between 0 and 1", *p);
        return tl_status_sql(st, TL__OUT_OF_RANGE, 0);
    }
    return TL_OK;
}

static enum tl_code finish_sketches(struct state *s, struct agg *a, uint32_t groups,
                                    struct tl_status *st)
{
    struct tl__sketches *sketches = a->from ? a->from->sketches : a->sketches;
    bool distinct = a->def->kind == TL_AGG_APPROX_DISTINCT;
    double p = 0;
    bool null = false;
    enum tl_code rc = tl__sketches_reserve(sketches, groups, st);
    if (rc == TL_OK && !distinct)
        rc = fraction_of(s, a, &p, &null, st);
    for (uint32_t g = 0; g < groups && rc == TL_OK; g++) {
        if (distinct) {
            TL__AT(int64_t, &a->states, g) = tl__sketches_distinct(sketches, g);
            continue;
        }
        double x;
        bool any;
        rc = tl__sketches_quantile(sketches, g, p, &x, &any, st);
        TL__AT(struct order_state, &a->states, g) =
            (struct order_state){ordered(a->def->type, &x, 0), any && !null};
    }
    return rc;
}

static enum tl_code finish_percentile(struct state *s, struct agg *a, uint32_t groups,
                                      struct tl_status *st)
{
    struct agg *source = a->from ? a->from : a;
    double p;
    bool null;
    enum tl_code rc = fraction_of(s, a, &p, &null, st);
    if (rc)
        return rc;
    if (!a->from) {
        uint32_t *ranks = NULL;
        rc = a->interned ? rank_ids(a, &ranks, &s->pipe->memory, st) : TL_OK;
        if (rc == TL_OK)
            rc = partition(a, groups, ranks, st);
        if (rc)
            return rc;
    }
    const size_t *starts = (const size_t *)(const void *)source->starts.data;
    int64_t *values = (int64_t *)(void *)source->values.data;
    for (uint32_t g = 0; g < groups; g++) {
        struct order_state *r = &TL__AT(struct order_state, &a->states, g);
        size_t n = starts[g + 1] - starts[g];
        r->n = 0;
        if (n == 0 || null)
            continue;
        size_t k = (size_t)ceil(p * (double)n);
        k = k == 0 ? 0 : k - 1;
        if (a->def->descending)
            k = n - 1 - k;
        r->value = tl__select_kth(values + starts[g], n, k);
        if (source->interned)
            r->value = TL__AT(uint32_t, &source->back, r->value);
        r->n = 1;
    }
    return TL_OK;
}

/* sum and avg of distinct values: the pairs give each value once per group. */
static void sum_distinct(struct agg *a)
{
    size_t count;
    const uint64_t *pairs = tl__distinct_pairs(a->distinct, &count);
    const struct tl__intern *values = tl__distinct_values(a->distinct);
    for (size_t i = 0; i < count; i++) {
        uint32_t g = (uint32_t)(pairs[i] >> 32);
        uint32_t id = (uint32_t)pairs[i];
        if (a->arg_type.kind == TL_DOUBLE) {
            struct double_state *s = &TL__AT(struct double_state, &a->states, g);
            double x;
            (void)tl__intern_get(values, id, &x, 0);
            s->sum += x;
            s->n++;
        } else {
            struct sum_state *s = &TL__AT(struct sum_state, &a->states, g);
            if (a->arg_type.kind == TL_DECIMAL128)
                s->sum += TL__AT(tl_i128, &values->values, id);
            else
                s->sum += TL__AT(int64_t, &values->values, id);
            s->n++;
        }
    }
}

static enum tl_code finish(struct state *s, struct tl_status *st)
{
    uint32_t groups = tl__groups_count(s->groups);
    for (uint32_t i = 0; i < s->agg_count && groups > 0; i++) {
        struct agg *a = &s->aggs[i];
        enum tl_code rc = tl__array_reserve(&a->states, groups, true, st);
        if (rc)
            return rc;
        if (a->def->kind == TL_AGG_PERCENTILE_DISC) {
            rc = finish_percentile(s, a, groups, st);
        } else if (a->def->kind == TL_AGG_APPROX_DISTINCT ||
                   a->def->kind == TL_AGG_APPROX_PERCENTILE) {
            rc = finish_sketches(s, a, groups, st);
        } else if (a->distinct) {
            struct tl__array counts;
            tl__array_init(&counts, s->pipe->memory.budget, 8);
            rc = tl__array_reserve(&counts, groups, false, st);
            if (rc == TL_OK)
                rc = tl__distinct_finish(a->distinct, groups, (int64_t *)(void *)counts.data, st);
            if (rc == TL_OK && a->def->kind == TL_AGG_COUNT_DISTINCT)
                memcpy(a->states.data, counts.data, sizeof(int64_t) * groups);
            else if (rc == TL_OK)
                sum_distinct(a);
            tl__array_deinit(&counts);
        }
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* ---- results ---- */

static enum tl_code decimal_range(struct tl_status *st)
{
    return tl__fail_sql(st, TL__OUT_OF_RANGE,
                        "numeric value out of range: 38 digits do not suffice");
}

/* One result into row i of out; *valid false: NULL. */
static enum tl_code put_sum(const struct agg *a, uint32_t g, uint8_t *out, uint32_t i, bool *valid,
                            struct tl_status *st)
{
    bool average = a->def->kind == TL_AGG_AVG || a->def->kind == TL_AGG_AVG_DISTINCT;
    struct tl_type type = a->def->type;
    if (a->arg_type.kind == TL_DOUBLE) {
        const struct double_state *s = &TL__AT(struct double_state, &a->states, g);
        *valid = s->n > 0;
        ((double *)(void *)out)[i] = average && *valid ? s->sum / (double)s->n : s->sum;
        return TL_OK;
    }
    if (a->arg_type.kind == TL_INTERVAL) {
        const struct interval_state *s = &TL__AT(struct interval_state, &a->states, g);
        struct tl_interval *v = &((struct tl_interval *)(void *)out)[i];
        *valid = s->n > 0;
        if (s->days > INT32_MAX || s->days < INT32_MIN || s->months > INT32_MAX ||
            s->months < INT32_MIN)
            return tl__fail_sql(st, TL__DATE_OVERFLOW, "interval out of range");
        *v = (struct tl_interval){s->us, (int32_t)s->days, (int32_t)s->months};
        return average && *valid ? tl_interval_divide(*v, (double)s->n, v, st) : TL_OK;
    }
    const struct sum_state *s = &TL__AT(struct sum_state, &a->states, g);
    tl_i128 r = 0;
    *valid = s->n > 0;
    if (*valid && average) {
        if (!tl__decimal_divide(s->sum, a->arg_type.scale, s->n, 0, type.scale, &r))
            return decimal_range(st);
    } else if (*valid && !tl__decimal_rescale(s->sum, a->arg_type.scale, type.scale, &r)) {
        return decimal_range(st);
    }
    if (type.kind == TL_DECIMAL128) {
        ((tl_i128 *)(void *)out)[i] = r;
    } else {
        tl_assert(type.kind == TL_DECIMAL64 || type.kind == TL_BIGINT);
        if (r > INT64_MAX || r < INT64_MIN)
            return decimal_range(st);
        ((int64_t *)(void *)out)[i] = (int64_t)r;
    }
    return TL_OK;
}

static bool put_variance(const struct agg *a, uint32_t g, double *out)
{
    uint8_t kind = a->def->kind;
    bool sample = kind == TL_AGG_VAR_SAMP || kind == TL_AGG_STDDEV_SAMP;
    const struct tl__moment *m = &TL__AT(struct tl__moment, &a->states, g);
    bool valid = tl__moment_variance(m, a->arg_type, sample, out);
    if (kind == TL_AGG_STDDEV_POP || kind == TL_AGG_STDDEV_SAMP)
        *out = sqrt(*out);
    return valid;
}

static enum tl_code agg_result(const struct state *s, const struct agg *a, uint32_t from,
                               uint32_t n, struct tl_arena *arena, struct tl_vector *out,
                               struct tl_status *st)
{
    uint32_t width = tl_kind_width(a->def->type.kind);
    uint8_t *data = tl_arena_alloc(arena, (size_t)width * n + 1, st);
    uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(n) + 1u, 8, st);
    if (!data || !validity)
        return st->code;
    (void)s;
    bool nulls = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t g = from + i;
        bool valid = true;
        enum tl_code rc = TL_OK;
        switch (a->def->kind) {
        case TL_AGG_COUNT_STAR:
        case TL_AGG_COUNT:
        case TL_AGG_COUNT_DISTINCT:
        case TL_AGG_APPROX_DISTINCT:
            ((int64_t *)(void *)data)[i] = TL__AT(int64_t, &a->states, g);
            break;
        case TL_AGG_MIN:
        case TL_AGG_MAX:
            if (tl_kind_is_bytes(a->arg_type.kind)) {
                const struct text_state *t = &TL__AT(struct text_state, &a->states, g);
                valid = t->capacity > 0;
                ((struct tl_slice *)(void *)data)[i] = tl_slice_of(t->data, t->size);
                break;
            }
            if (width > 8) {
                const struct wide_state *w = &TL__AT(struct wide_state, &a->states, g);
                valid = w->n > 0;
                memcpy(data + (size_t)i * 16, &w->value, 16);
                break;
            }
            /* fall through */
        case TL_AGG_BIT_AND:
        case TL_AGG_BIT_OR:
        case TL_AGG_BIT_XOR:
        case TL_AGG_PERCENTILE_DISC:
        case TL_AGG_APPROX_PERCENTILE: {
            const struct order_state *o = &TL__AT(struct order_state, &a->states, g);
            const struct agg *source = a->from ? a->from : a;
            valid = o->n > 0;
            if (!valid)
                memset(data + (size_t)i * width, 0, width);
            else if (a->def->kind == TL_AGG_PERCENTILE_DISC && source->interned)
                (void)tl__intern_get(source->interned, (uint32_t)o->value, data, i);
            else
                put_ordered(a->def->type, data, i, o->value);
            break;
        }
        case TL_AGG_VAR_POP:
        case TL_AGG_VAR_SAMP:
        case TL_AGG_STDDEV_POP:
        case TL_AGG_STDDEV_SAMP:
            valid = put_variance(a, g, (double *)(void *)data + i);
            break;
        default:
            rc = put_sum(a, g, data, i, &valid, st);
        }
        if (rc)
            return rc;
        if (valid)
            tl_bit_set(validity, i);
        nulls = nulls || !valid;
    }
    *out = (struct tl_vector){.type = a->def->type,
                              .shape = TL_FLAT,
                              .count = n,
                              .data = data,
                              .validity = nulls ? validity : NULL};
    return TL_OK;
}

/* ---- the operator ---- */

static void run_worker(void *arg, uint32_t pool_worker)
{
    struct worker *w = arg;
    struct aggregate *self = w->op;
    (void)pool_worker;
    if (consume(&w->state, w->child, &w->status) != TL_OK)
        atomic_store_explicit(&self->op.run->stopped, true, memory_order_relaxed);
    pthread_mutex_lock(&self->lock);
    self->running--;
    pthread_cond_signal(&self->ended);
    pthread_mutex_unlock(&self->lock);
}

static enum tl_code consume_parallel(struct aggregate *self, struct tl_status *st)
{
    struct tl_run *run = self->op.run;
    for (uint32_t i = 1; i < self->worker_count; i++) {
        pthread_mutex_lock(&self->lock);
        self->running++;
        pthread_mutex_unlock(&self->lock);
        if (!tl_pool_try_submit(run->options.pool, run_worker, &self->workers[i])) {
            pthread_mutex_lock(&self->lock); /* no room: the others do its share */
            self->running--;
            pthread_mutex_unlock(&self->lock);
        }
    }
    struct worker *first = &self->workers[0];
    if (consume(&first->state, first->child, &first->status) != TL_OK)
        atomic_store_explicit(&run->stopped, true, memory_order_relaxed);
    pthread_mutex_lock(&self->lock);
    while (self->running > 0)
        pthread_cond_wait(&self->ended, &self->lock);
    pthread_mutex_unlock(&self->lock);
    for (int own = 0; own < 2; own++) { /* a worker's own failure before those it stopped */
        for (uint32_t i = 0; i < self->worker_count; i++) {
            const struct tl_status *s = &self->workers[i].status;
            if (s->code != TL_OK && (own == 1 || s->code != TL_CLOSED)) {
                *st = *s;
                return st->code;
            }
        }
    }
    for (uint32_t i = 1; i < self->worker_count; i++) {
        enum tl_code rc = merge(&first->state, &self->workers[i].state, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code aggregate_consume(struct aggregate *self, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    if (self->worker_count > 1) {
        bool pays;
        rc = tl__scan_pays_threads(self->op.child, &pays, st);
        if (rc)
            return rc;
        if (pays)
            rc = consume_parallel(self, st);
        else
            rc = consume(&self->workers[0].state, self->workers[0].child, st);
    } else {
        rc = consume(&self->workers[0].state, self->workers[0].child, st);
    }
    if (rc == TL_OK)
        rc = finish(&self->workers[0].state, st);
    return rc;
}

static enum tl_code aggregate_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct aggregate *self = (struct aggregate *)op;
    struct state *s = &self->workers[0].state;
    if (!self->consumed) {
        self->consumed = true;
        enum tl_code rc = aggregate_consume(self, st);
        if (rc)
            return rc;
        tl__scan_close(op); /* all that is told from here is our own */
    }
    struct tl_arena *arena = &op->pipe->scratch;
    tl_arena_reset(arena);
    uint32_t groups = tl__groups_count(s->groups);
    uint32_t n = groups - self->next_group;
    n = n < TL_VECTOR_ROWS_MAX ? n : TL_VECTOR_ROWS_MAX;
    *out = (struct tl__batch){.rows = n, .n = n};
    if (n == 0)
        return TL_OK;
    struct tl_vector *columns =
        tl_arena_calloc(arena, op->node->column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    enum tl_code rc = TL_OK;
    for (uint32_t k = 0; k < s->key_count && rc == TL_OK; k++)
        rc = tl__groups_key(s->groups, k, self->next_group, n, arena, &columns[k], st);
    for (uint32_t a = 0; a < s->agg_count && rc == TL_OK; a++)
        rc = agg_result(s, &s->aggs[a], self->next_group, n, arena, &columns[s->key_count + a], st);
    if (rc)
        return rc;
    self->next_group += n;
    out->columns = columns;
    return TL_OK;
}

static void aggregate_close(struct tl__op *op)
{
    struct aggregate *self = (struct aggregate *)op;
    for (uint32_t i = 0; i < self->worker_count; i++)
        state_deinit(&self->workers[i].state);
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->ended);
}

static const struct tl__op_vtable aggregate_vtable = {aggregate_next, aggregate_close};

/* Whether a chain of operators may be run by several threads: filters and projections over a
 * scan. */
static bool parallel_chain(const struct tl_plan_node *node)
{
    while (node->kind == TL_NODE_FILTER || node->kind == TL_NODE_PROJECT)
        node = node->child;
    return node->kind == TL_NODE_SCAN;
}

enum tl_code tl__aggregate_new(struct tl_run *run, const struct tl_plan_node *node,
                               struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct aggregate *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->op = (struct tl__op){.vtab = &aggregate_vtable, .node = node, .pipe = pipe, .run = run};
    uint32_t workers = 1;
    if (run->options.threads > 1 && run->options.pool && parallel_chain(node->child))
        workers = run->options.threads < TL__WORKERS_MAX ? run->options.threads : TL__WORKERS_MAX;
    self->workers = tl_arena_calloc(&run->arena, workers, sizeof(*self->workers), st);
    if (!self->workers)
        return st->code;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->ended, NULL);
    *out = &self->op; /* closed by the run from here, also when the rest fails */
    for (uint32_t i = 0; i < workers; i++) {
        struct worker *w = &self->workers[i];
        struct tl__pipe *below;
        w->op = self;
        enum tl_code rc = tl__pipe_new(run, &below, st);
        if (rc == TL_OK)
            rc = tl__op_new(run, node->child, below, &w->child, st);
        if (rc)
            return rc;
        if (i == 0)
            self->op.child = w->child;
        else
            tl__op_is_copy(w->child, self->op.child);
        self->worker_count = i + 1;
        rc = state_init(&w->state, below, node, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}
