/*
 * tests/query/plan_build.h: plans and expressions by hand, for tests of the executor alone.
 *
 * Everything lies in one arena that the test owns; NULL arguments end variable lists.
 */
#ifndef TALLY_TESTS_QUERY_PLAN_BUILD_H
#define TALLY_TESTS_QUERY_PLAN_BUILD_H

#include <stdarg.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/assert.h"
#include "query/function.h"
#include "query/plan.h"

static inline void *build_alloc(struct tl_arena *a, size_t count, size_t size)
{
    struct tl_status st = TL_STATUS_INIT;
    void *p = tl_arena_calloc(a, count ? count : 1, size, &st);
    tl_assert(p != NULL);
    return p;
}

static inline struct tl_expr *build_expr(struct tl_arena *a, uint8_t kind, struct tl_type type)
{
    struct tl_expr *e = build_alloc(a, 1, sizeof(*e));
    e->kind = kind;
    e->type = type;
    return e;
}

static inline struct tl_expr *build_column(struct tl_arena *a, uint32_t index, struct tl_type type)
{
    struct tl_expr *e = build_expr(a, TL_EXPR_COLUMN, type);
    e->index = index;
    return e;
}

static inline struct tl_expr *build_const(struct tl_arena *a, struct tl_type type, const void *v)
{
    struct tl_expr *e = build_expr(a, TL_EXPR_CONST, type);
    static const uint64_t none[1] = {0};
    uint32_t width = tl_kind_width(type.kind);
    void *copy = build_alloc(a, 1, width + 16);
    if (v)
        memcpy(copy, v, width);
    e->value = (struct tl_vector){
        .type = type, .shape = TL_CONST, .count = 1, .data = copy, .validity = v ? NULL : none};
    return e;
}

static inline struct tl_expr *build_int(struct tl_arena *a, int64_t v)
{
    return build_const(a, tl_type_of(TL_BIGINT), &v);
}

static inline struct tl_expr *build_bool(struct tl_arena *a, bool v)
{
    uint8_t b = v;
    return build_const(a, tl_type_of(TL_BOOLEAN), &b);
}

static inline struct tl_expr *build_double(struct tl_arena *a, double v)
{
    return build_const(a, tl_type_of(TL_DOUBLE), &v);
}

static inline struct tl_expr *build_ts(struct tl_arena *a, int64_t v)
{
    return build_const(a, tl_type_of(TL_TIMESTAMPTZ), &v);
}

static inline struct tl_expr *build_text(struct tl_arena *a, const char *s)
{
    struct tl_slice v = tl_slice_str(s);
    return build_const(a, tl_type_of(TL_TEXT), &v);
}

static inline struct tl_expr *build_null(struct tl_arena *a, enum tl_kind kind)
{
    return build_const(a, tl_type_of(kind), NULL);
}

/* Arguments end with NULL. */
static inline void build_args(struct tl_arena *a, struct tl_expr *e, va_list list)
{
    struct tl_expr *args[64];
    uint32_t n = 0;
    for (struct tl_expr *x; (x = va_arg(list, struct tl_expr *)) != NULL;)
        args[n++] = x;
    e->args = build_alloc(a, n, sizeof(struct tl_expr *));
    e->arg_count = n;
    for (uint32_t i = 0; i < n; i++)
        e->args[i] = args[i];
}

static inline struct tl_expr *build_node(struct tl_arena *a, uint8_t kind, struct tl_type type, ...)
{
    struct tl_expr *e = build_expr(a, kind, type);
    va_list list;
    va_start(list, type);
    build_args(a, e, list);
    va_end(list);
    return e;
}

static inline struct tl_expr *build_call(struct tl_arena *a, const char *name, ...)
{
    struct tl_expr *e = build_expr(a, TL_EXPR_CALL, tl_type_of(TL_NULL));
    va_list list;
    va_start(list, name);
    build_args(a, e, list);
    va_end(list);
    struct tl_type types[64];
    for (uint32_t i = 0; i < e->arg_count; i++)
        types[i] = e->args[i]->type;
    e->function = tl_function_find(name, types, e->arg_count);
    if (!e->function)
        fprintf(stderr, "no function %s\n", name);
    tl_assert(e->function != NULL);
    e->type = e->function->result_type ? e->function->result_type(types, e->arg_count)
                                       : tl_type_of(e->function->result);
    return e;
}

static inline struct tl_expr *build_cast(struct tl_arena *a, struct tl_expr *x, struct tl_type to)
{
    struct tl_expr *e = build_expr(a, TL_EXPR_CALL, to);
    e->args = build_alloc(a, 1, sizeof(struct tl_expr *));
    e->args[0] = x;
    e->arg_count = 1;
    e->function = tl_function_cast(x->type, to);
    tl_assert(e->function != NULL);
    return e;
}

/* ---- nodes ---- */

static inline struct tl_plan_node *build_plan_node(struct tl_arena *a, uint8_t kind,
                                                   struct tl_plan_node *child, uint32_t columns)
{
    struct tl_plan_node *n = build_alloc(a, 1, sizeof(*n));
    n->kind = kind;
    n->child = child;
    n->column_count = columns;
    n->types = build_alloc(a, columns, sizeof(*n->types));
    n->merchant_column = n->ts_column = -1;
    if (child && kind != TL_NODE_PROJECT && kind != TL_NODE_AGGREGATE) {
        for (uint32_t c = 0; c < columns; c++)
            n->types[c] = child->types[c];
    }
    return n;
}

/* Reads columns of a table by their index in it; the list ends with -1. */
static inline struct tl_plan_node *build_scan(struct tl_arena *a, const struct tl_table_info *t,
                                              ...)
{
    int columns[64];
    uint32_t n = 0;
    va_list list;
    va_start(list, t);
    for (int c; (c = va_arg(list, int)) >= 0;)
        columns[n++] = c;
    va_end(list);
    struct tl_plan_node *node = build_plan_node(a, TL_NODE_SCAN, NULL, n);
    node->table_name = t->name;
    node->table_id = t->id;
    node->scan_columns = build_alloc(a, n, sizeof(*node->scan_columns));
    node->scan_names = build_alloc(a, n, sizeof(char *));
    for (uint32_t i = 0; i < n; i++) {
        node->types[i] = t->columns[columns[i]].type;
        node->scan_columns[i] =
            (struct tl_scan_column){.column_id = t->columns[columns[i]].id, .type = node->types[i]};
        node->scan_names[i] = t->columns[columns[i]].name;
    }
    return node;
}

static inline struct tl_plan_node *build_filter(struct tl_arena *a, struct tl_plan_node *child, ...)
{
    struct tl_plan_node *n = build_plan_node(a, TL_NODE_FILTER, child, child->column_count);
    struct tl_expr e;
    va_list list;
    va_start(list, child);
    build_args(a, &e, list);
    va_end(list);
    n->conjuncts = e.args;
    n->conjunct_count = e.arg_count;
    n->conjunct_bound = build_alloc(a, e.arg_count, sizeof(int32_t));
    for (uint32_t i = 0; i < e.arg_count; i++)
        n->conjunct_bound[i] = -1;
    return n;
}

static inline struct tl_plan_node *build_project(struct tl_arena *a, struct tl_plan_node *child,
                                                 ...)
{
    struct tl_expr e;
    va_list list;
    va_start(list, child);
    build_args(a, &e, list);
    va_end(list);
    struct tl_plan_node *n = build_plan_node(a, TL_NODE_PROJECT, child, e.arg_count);
    n->exprs = e.args;
    for (uint32_t i = 0; i < e.arg_count; i++)
        n->types[i] = e.args[i]->type;
    return n;
}

static inline struct tl_aggregate build_agg(uint8_t kind, struct tl_expr *arg,
                                            struct tl_expr *filter)
{
    struct tl_aggregate g = {.kind = kind, .arg = arg, .filter = filter};
    switch (kind) {
    case TL_AGG_COUNT_STAR:
    case TL_AGG_COUNT:
    case TL_AGG_COUNT_DISTINCT:
    case TL_AGG_APPROX_DISTINCT:
        g.type = tl_type_of(TL_BIGINT);
        break;
    case TL_AGG_SUM:
    case TL_AGG_SUM_DISTINCT:
        g.type = tl_sum_type(arg->type);
        break;
    case TL_AGG_AVG:
    case TL_AGG_AVG_DISTINCT:
        g.type = tl_avg_type(arg->type);
        break;
    case TL_AGG_APPROX_PERCENTILE:
        g.type = tl_type_of(TL_DOUBLE);
        break;
    default:
        g.type = arg->type;
    }
    return g;
}

/* keys end with NULL */
static inline struct tl_plan_node *build_aggregate(struct tl_arena *a, struct tl_plan_node *child,
                                                   const struct tl_aggregate *aggs, uint32_t count,
                                                   ...)
{
    struct tl_expr e;
    va_list list;
    va_start(list, count);
    build_args(a, &e, list);
    va_end(list);
    struct tl_plan_node *n = build_plan_node(a, TL_NODE_AGGREGATE, child, e.arg_count + count);
    n->keys = e.args;
    n->key_count = e.arg_count;
    n->aggregates = build_alloc(a, count, sizeof(*n->aggregates));
    n->aggregate_count = count;
    for (uint32_t i = 0; i < e.arg_count; i++)
        n->types[i] = e.args[i]->type;
    for (uint32_t i = 0; i < count; i++) {
        n->aggregates[i] = aggs[i];
        n->types[e.arg_count + i] = aggs[i].type;
    }
    return n;
}

/* Keys: column + 1, negative for descending (NULLs last ascending, first descending); 0 ends. */
static inline struct tl_plan_node *build_sort(struct tl_arena *a, struct tl_plan_node *child,
                                              int64_t limit, ...)
{
    struct tl_plan_node *n = build_plan_node(a, TL_NODE_SORT, child, child->column_count);
    n->sort_keys = build_alloc(a, 16, sizeof(*n->sort_keys));
    va_list list;
    va_start(list, limit);
    for (int k; (k = va_arg(list, int)) != 0;)
        n->sort_keys[n->sort_key_count++] = (struct tl_sort_key){
            .column = (uint32_t)(k < 0 ? -k : k) - 1, .descending = k < 0, .nulls_first = k < 0};
    va_end(list);
    if (limit >= 0)
        n->limit = build_int(a, limit);
    return n;
}

static inline struct tl_plan_node *build_limit(struct tl_arena *a, struct tl_plan_node *child,
                                               int64_t limit, int64_t offset)
{
    struct tl_plan_node *n = build_plan_node(a, TL_NODE_LIMIT, child, child->column_count);
    n->limit = limit >= 0 ? build_int(a, limit) : NULL;
    n->offset = offset > 0 ? build_int(a, offset) : NULL;
    return n;
}

static inline void build_bound(struct tl_arena *a, struct tl_scan_bound *b, uint32_t column,
                               uint8_t op, struct tl_expr *value)
{
    b->column = column;
    b->op = op;
    b->value_count = value ? 1 : 0;
    b->values = build_alloc(a, 1, sizeof(struct tl_expr *));
    b->values[0] = value;
}

/* merchant = m AND ts >= from AND ts < to */
static inline void build_range(struct tl_arena *a, struct tl_plan_node *scan, int64_t merchant,
                               int64_t from, int64_t to)
{
    scan->merchant_bounds = build_alloc(a, 1, sizeof(*scan->merchant_bounds));
    scan->merchant_bound_count = 1;
    build_bound(a, &scan->merchant_bounds[0], 0, TL_PRED_EQ, build_int(a, merchant));
    scan->ts_bounds = build_alloc(a, 2, sizeof(*scan->ts_bounds));
    scan->ts_bound_count = 2;
    build_bound(a, &scan->ts_bounds[0], 0, TL_PRED_GE, build_ts(a, from));
    build_bound(a, &scan->ts_bounds[1], 0, TL_PRED_LT, build_ts(a, to));
}

static inline struct tl_plan build_plan(struct tl_plan_node *root)
{
    struct tl_plan p = {.kind = TL_STMT_SELECT, .root = root, .output_count = root->column_count};
    return p;
}

#endif
