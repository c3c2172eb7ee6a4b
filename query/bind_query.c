/*
 * Queries: SELECT, VALUES and set operations as one thing; WITH; subqueries within expressions.
 *
 * A query is bound first, when its names and types are known, and planned later, when it is also
 * known what is asked of it: conditions of the query around it may have moved in, and what it
 * takes from there may have become slots.
 *
 *     UNION ALL   APPEND                       UNION   DISTINCT over it
 *     INTERSECT, EXCEPT   the rows of both sides are counted by an AGGREGATE whose keys are all
 *                 columns; a FILTER keeps, with ALL a REPEAT repeats, by the two counts
 */
#include "query/bind_int.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* ---- WITH ---- */

struct tl__cte *tl__cte_find(struct tl__binder *b, const char *name)
{
    for (struct tl__cte *c = b->ctes; c; c = c->next)
        if (strcmp(c->ast->name, name) == 0)
            return c;
    return NULL;
}

static uint32_t select_refs(const struct tl_ast_select *s, const char *name);

static uint32_t list_refs(struct tl_ast *const *list, uint32_t count, const char *name);

static uint32_t order_refs(const struct tl_ast_order *list, uint32_t count, const char *name);

/* How often a name of WITH stands in an expression. Names that hide it are counted too: too many
 * only means that it is computed once. */
static uint32_t expr_refs(const struct tl_ast *ast, const char *name)
{
    if (!ast)
        return 0;
    uint32_t n = list_refs(ast->args, ast->arg_count, name) + expr_refs(ast->operand, name) +
                 (ast->select ? select_refs(ast->select, name) : 0);
    if (ast->call) {
        n += expr_refs(ast->call->filter, name);
        n += order_refs(ast->call->order, ast->call->order_count, name);
        if (ast->call->over) {
            const struct tl_ast_window *w = ast->call->over;
            n += list_refs(w->partition, w->partition_count, name);
            n += order_refs(w->order, w->order_count, name);
        }
    }
    return n;
}

static uint32_t list_refs(struct tl_ast *const *list, uint32_t count, const char *name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += expr_refs(list[i], name);
    return n;
}

static uint32_t order_refs(const struct tl_ast_order *list, uint32_t count, const char *name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += expr_refs(list[i].expr, name);
    return n;
}

static uint32_t from_refs(const struct tl_ast_from *f, const char *name)
{
    if (!f)
        return 0;
    if (f->kind == TL_FROM_TABLE)
        return !f->schema && strcmp(f->table_name, name) == 0;
    return from_refs(f->left, name) + from_refs(f->right, name) + expr_refs(f->on, name) +
           expr_refs(f->call, name) + (f->subquery ? select_refs(f->subquery, name) : 0);
}

static uint32_t select_refs(const struct tl_ast_select *s, const char *name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->cte_count; i++)
        n += select_refs(s->ctes[i].select, name);
    if (s->set_op)
        n += select_refs(s->left, name) + select_refs(s->right, name);
    for (uint32_t i = 0; i < s->value_row_count; i++)
        n += list_refs(s->value_rows[i], s->value_column_count, name);
    for (uint32_t i = 0; i < s->target_count; i++)
        n += expr_refs(s->targets[i].expr, name);
    for (uint32_t i = 0; i < s->from_count; i++)
        n += from_refs(s->from[i], name);
    n += list_refs(s->distinct_on, s->distinct_on_count, name);
    n += list_refs(s->group, s->group_count, name);
    n += order_refs(s->order, s->order_count, name);
    for (uint32_t i = 0; i < s->window_count; i++) {
        n += list_refs(s->windows[i]->partition, s->windows[i]->partition_count, name);
        n += order_refs(s->windows[i]->order, s->windows[i]->order_count, name);
    }
    return n + expr_refs(s->where, name) + expr_refs(s->having, name) + expr_refs(s->limit, name) +
           expr_refs(s->offset, name);
}

static enum tl_code close_outputs(struct tl__binder *b, struct tl__query *q);

/* Binds and plans what several places read; false in cte->materialized when it takes something
 * from the query around, so that there is no one answer. */
static enum tl_code materialize(struct tl__binder *b, struct tl__cte *cte, struct tl__level *around)
{
    struct tl__level level = {.parent = around->parent};
    struct tl__cte *before = b->ctes;
    struct tl__query *q;
    b->ctes = cte->scope;
    cte->active = true;
    enum tl_code rc = tl__query_bind(b, cte->ast->select, &level, &q);
    cte->active = false;
    b->ctes = before;
    if (!rc)
        rc = close_outputs(b, q);
    if (rc || level.outer_count > 0)
        return rc;
    if (cte->ast->column_alias_count > q->output_count)
        return TL__BIND_FAIL(b, TL_INVALID, "42P10", cte->ast->position,
                             "WITH query \"%s\" has %u columns available but %u columns specified",
                             cte->ast->name, q->output_count, cte->ast->column_alias_count);
    struct tl_plan *plan = b->plan;
    struct tl_plan_node *node;
    rc = tl__query_build(b, q, false, &node);
    if (rc)
        return rc;
    if (plan->cte_count == b->cte_capacity) {
        uint32_t more = b->cte_capacity ? 2 * b->cte_capacity : 8;
        struct tl_plan_node **wider =
            tl_arena_calloc(b->arena, more, sizeof(struct tl_plan_node *), b->st);
        if (!wider)
            return b->st->code;
        if (plan->cte_count > 0)
            memcpy(wider, plan->ctes, plan->cte_count * sizeof(struct tl_plan_node *));
        plan->ctes = wider;
        b->cte_capacity = more;
    }
    cte->number = plan->cte_count;
    plan->ctes[plan->cte_count++] = node;
    for (uint32_t i = 0; i < cte->ast->column_alias_count; i++) {
        q->outputs[i].name = tl__keep(b, cte->ast->column_aliases[i]);
        if (!q->outputs[i].name)
            return b->st->code;
    }
    cte->outputs = q->outputs;
    cte->output_count = q->output_count;
    cte->materialized = true;
    return TL_OK;
}

static enum tl_code open_ctes(struct tl__binder *b, const struct tl_ast_select *ast,
                              struct tl__level *level)
{
    if (ast->cte_count > TL_SQL_CTES_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54001", ast->ctes[0].position,
                             "WITH has more than %d names", TL_SQL_CTES_MAX);
    for (uint32_t i = 0; i < ast->cte_count; i++) {
        const struct tl_ast_cte *a = &ast->ctes[i];
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(ast->ctes[j].name, a->name) == 0)
                return TL__BIND_FAIL(b, TL_INVALID, "42712", a->position,
                                     "WITH query name \"%s\" specified more than once", a->name);
        if (ast->recursive && select_refs(a->select, a->name) > 0)
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", a->position,
                                 "a recursive query (\"%s\") is not supported", a->name);
        struct tl__cte *cte = tl_arena_calloc(b->scratch, 1, sizeof(*cte), b->st);
        if (!cte)
            return b->st->code;
        cte->ast = a;
        cte->scope = b->ctes;
        cte->next = b->ctes;
        cte->refs = select_refs(ast, a->name);
        for (struct tl__cte *c = b->ctes; c; c = c->next)
            if (!c->materialized && c->depth >= cte->depth &&
                select_refs(a->select, c->ast->name) > 0)
                cte->depth = c->depth + 1;
        /* Names are written out where they stand, but not without end: binding recurses so far. */
        bool deep = cte->depth > TL__CTE_DEPTH_MAX;
        enum tl_code rc = TL_OK;
        if (deep || a->materialize == TL_CTE_ALWAYS ||
            (a->materialize == TL_CTE_DEFAULT && cte->refs != 1))
            rc = materialize(b, cte, level);
        if (!rc && deep && !cte->materialized && cte->depth > 2 * TL__CTE_DEPTH_MAX)
            rc = TL__BIND_FAIL(b, TL_LIMIT, "54001", a->position,
                               "correlated queries of WITH are nested more than %d deep",
                               2 * TL__CTE_DEPTH_MAX);
        if (rc)
            return rc;
        b->ctes = cte;
    }
    return TL_OK;
}

/* ---- VALUES ---- */

static enum tl_code bind_values(struct tl__block *k, const struct tl_ast_select *ast,
                                struct tl__query *q)
{
    struct tl__binder *b = k->b;
    uint32_t rows = ast->value_row_count, columns = ast->value_column_count;
    q->rows = tl_arena_calloc(b->arena, rows, sizeof(struct tl_expr **), b->st);
    q->outputs = tl_arena_calloc(b->arena, columns, sizeof(*q->outputs), b->st);
    struct tl_expr **column = tl_arena_calloc(b->scratch, rows, sizeof(struct tl_expr *), b->st);
    if (!q->rows || !q->outputs || !column)
        return b->st->code;
    q->row_count = rows;
    q->output_count = columns;
    k->clause = k->window_clause = "VALUES";
    for (uint32_t r = 0; r < rows; r++) {
        q->rows[r] = tl_arena_calloc(b->arena, columns, sizeof(struct tl_expr *), b->st);
        if (!q->rows[r])
            return b->st->code;
        for (uint32_t c = 0; c < columns; c++) {
            enum tl_code rc = tl__bind(k, ast->value_rows[r][c], &q->rows[r][c]);
            if (rc)
                return rc;
            if (tl__has_kind(q->rows[r][c], TL__EXPR_SUBLINK))
                return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->value_rows[r][c]->position,
                                     "a correlated subquery within VALUES is not supported");
        }
    }
    for (uint32_t c = 0; c < columns; c++) {
        char name[32];
        snprintf(name, sizeof(name), "column%u", c + 1);
        bool open = true;
        for (uint32_t r = 0; r < rows; r++) {
            column[r] = q->rows[r][c];
            open = open && tl__is_open(column[r]);
        }
        if (!open && tl__unify(b, column, rows, "VALUES", &q->outputs[c].type))
            return b->st->code;
        for (uint32_t r = 0; r < rows; r++)
            q->rows[r][c] = column[r];
        q->outputs[c].name = tl__keep(b, name);
        if (!q->outputs[c].name)
            return b->st->code;
    }
    return TL_OK;
}

static enum tl_code values_node(struct tl__binder *b, const struct tl__query *q,
                                struct tl_plan_node **out)
{
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_VALUES, NULL);
    if (!n || tl__set_types(b, n, q->output_count))
        return b->st->code;
    for (uint32_t c = 0; c < q->output_count; c++)
        n->types[c] = q->outputs[c].type;
    n->rows = q->rows;
    n->row_count = q->row_count;
    *out = n;
    return TL_OK;
}

/* ---- outputs that are open yet ---- */

/* Gives output `column`, which is open, a type. */
static enum tl_code close_output(struct tl__binder *b, struct tl__query *q, uint32_t column,
                                 struct tl_type type)
{
    if (!tl_type_eq(q->outputs[column].type, tl_type_of(TL_NULL)))
        return TL_OK;
    q->outputs[column].type = type;
    if (q->select)
        return tl__select_close(q->select, column, type);
    enum tl_code rc = TL_OK;
    for (uint32_t r = 0; !rc && q->rows && r < q->row_count; r++)
        rc = tl__coerce(b, &q->rows[r][column], type, NULL);
    for (uint32_t i = 0; !rc && i < q->input_count; i++)
        rc = close_output(b, q->inputs[i], column, type);
    return rc;
}

static enum tl_code close_outputs(struct tl__binder *b, struct tl__query *q)
{
    enum tl_code rc = TL_OK;
    for (uint32_t c = 0; !rc && c < q->output_count; c++)
        rc = close_output(b, q, c, tl_type_of(TL_TEXT));
    return rc;
}

/* ---- set operations ---- */

static const char *set_name(uint8_t op)
{
    return op == TL_SET_UNION ? "UNION" : op == TL_SET_INTERSECT ? "INTERSECT" : "EXCEPT";
}

static bool is_bare(const struct tl_ast_select *ast)
{
    return ast->order_count == 0 && !ast->limit && !ast->offset && ast->cte_count == 0;
}

/* The inputs of a chain a UNION b UNION c … from the left; others have two. */
static uint32_t chain_length(const struct tl_ast_select *ast)
{
    uint32_t n = 2;
    for (const struct tl_ast_select *l = ast->left;
         ast->set_op == TL_SET_UNION && l->set_op == TL_SET_UNION && l->set_all == ast->set_all &&
         is_bare(l);
         l = l->left)
        n++;
    return n;
}

/* The type of column `c` of all inputs. */
static enum tl_code unify_column(struct tl__binder *b, struct tl__query *q, uint32_t c,
                                 struct tl_expr **room)
{
    uint32_t typed = 0;
    for (uint32_t i = 0; i < q->input_count; i++) {
        struct tl_type t = q->inputs[i]->outputs[c].type;
        if (t.kind == TL_NULL)
            continue;
        room[typed] = tl__expr_new(b, TL_EXPR_COLUMN, t, 0, 0);
        if (!room[typed++])
            return b->st->code;
    }
    if (typed == 0)
        return TL_OK; /* open, still */
    enum tl_code rc = tl__unify(b, room, typed, set_name(q->set_op), &q->outputs[c].type);
    for (uint32_t i = 0; !rc && i < q->input_count; i++)
        rc = close_output(b, q->inputs[i], c, q->outputs[c].type);
    return rc;
}

static enum tl_code bind_set(struct tl__binder *b, const struct tl_ast_select *ast,
                             struct tl__level *level, struct tl__query *q)
{
    q->set_op = ast->set_op;
    q->set_all = ast->set_all;
    q->input_count = chain_length(ast);
    q->inputs = tl_arena_calloc(b->scratch, q->input_count, sizeof(struct tl__query *), b->st);
    struct tl_expr **room =
        tl_arena_calloc(b->scratch, q->input_count, sizeof(struct tl_expr *), b->st);
    if (!q->inputs || !room)
        return b->st->code;
    const struct tl_ast_select *at = ast;
    for (uint32_t i = q->input_count; i > 0; i--) {
        enum tl_code rc = tl__query_bind(b, i > 1 ? at->right : at, level, &q->inputs[i - 1]);
        if (rc)
            return rc;
        at = at->left;
    }
    const struct tl__query *first = q->inputs[0];
    for (uint32_t i = 1; i < q->input_count; i++)
        if (q->inputs[i]->output_count != first->output_count)
            return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->right->position,
                                 "each %s query must have the same number of columns",
                                 set_name(ast->set_op));
    q->output_count = first->output_count;
    q->outputs = tl_arena_calloc(b->arena, q->output_count, sizeof(*q->outputs), b->st);
    if (!q->outputs)
        return b->st->code;
    for (uint32_t c = 0; c < q->output_count; c++) {
        q->outputs[c].name = first->outputs[c].name;
        enum tl_code rc = unify_column(b, q, c, room);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static struct tl_expr *column_new(struct tl__binder *b, uint32_t index, struct tl_type type)
{
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_COLUMN, type, 0, 0);
    if (e)
        e->index = index;
    return e;
}

/* An input with the columns' common types, and its number as a last column when `side` >= 0. */
static enum tl_code input_node(struct tl__binder *b, struct tl__query *q, uint32_t i, int64_t side,
                               struct tl_plan_node **out)
{
    enum tl_code rc = tl__query_build(b, q->inputs[i], false, out);
    if (rc)
        return rc;
    bool same = side < 0;
    for (uint32_t c = 0; c < q->output_count; c++)
        same = same && tl_type_eq((*out)->types[c], q->outputs[c].type);
    if (same)
        return TL_OK;
    uint32_t count = q->output_count + (side >= 0);
    struct tl_expr **exprs = tl_arena_calloc(b->arena, count, sizeof(struct tl_expr *), b->st);
    if (!exprs)
        return b->st->code;
    for (uint32_t c = 0; !rc && c < q->output_count; c++) {
        exprs[c] = column_new(b, c, (*out)->types[c]);
        rc = exprs[c] ? tl__coerce(b, &exprs[c], q->outputs[c].type, set_name(q->set_op))
                      : b->st->code;
    }
    if (!rc && side >= 0) {
        exprs[q->output_count] = tl__const_new(b, tl_type_of(TL_BIGINT), &side, 0);
        rc = exprs[q->output_count] ? TL_OK : b->st->code;
    }
    return rc ? rc : tl__project_new(b, *out, exprs, count, out);
}

static enum tl_code append_node(struct tl__binder *b, struct tl__query *q, bool sides,
                                struct tl_plan_node **out)
{
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_APPEND, NULL);
    if (!n)
        return b->st->code;
    n->input_count = q->input_count;
    n->inputs = tl_arena_calloc(b->arena, q->input_count, sizeof(struct tl_plan_node *), b->st);
    if (!n->inputs || tl__set_types(b, n, q->output_count + sides))
        return b->st->code;
    for (uint32_t c = 0; c < q->output_count; c++)
        n->types[c] = q->outputs[c].type;
    if (sides)
        n->types[q->output_count] = tl_type_of(TL_BIGINT);
    for (uint32_t i = 0; i < q->input_count; i++) {
        enum tl_code rc = input_node(b, q, i, sides ? (int64_t)i : -1, &n->inputs[i]);
        if (rc)
            return rc;
    }
    *out = n;
    return TL_OK;
}

/* count(*) FILTER (WHERE side = `side`), the side being column `at`. */
static enum tl_code count_side(struct tl__binder *b, uint32_t at, int64_t side,
                               struct tl_aggregate *out)
{
    struct tl_expr *column = column_new(b, at, tl_type_of(TL_BIGINT));
    struct tl_expr *wanted = tl__const_new(b, tl_type_of(TL_BIGINT), &side, 0);
    if (!column || !wanted)
        return b->st->code;
    out->kind = TL_AGG_COUNT_STAR;
    out->type = tl_type_of(TL_BIGINT);
    return tl__call2(b, "=", column, wanted, 0, &out->filter);
}

/* How often a row comes out, of how often it is in the left (count) and the right (count + 1). */
static enum tl_code set_count(struct tl__binder *b, const struct tl__query *q, struct tl_expr **out)
{
    struct tl_type type = tl_type_of(TL_BIGINT);
    struct tl_expr *l = column_new(b, q->output_count, type);
    struct tl_expr *r = column_new(b, q->output_count + 1, type);
    int64_t zero = 0;
    struct tl_expr *none = tl__const_new(b, type, &zero, 0);
    if (!l || !r || !none)
        return b->st->code;
    struct tl_expr *args[2] = {l, r};
    if (q->set_op == TL_SET_INTERSECT)
        return tl__call(b, "least", args, 2, false, 0, out);
    enum tl_code rc = tl__call2(b, "-", l, r, 0, &args[0]);
    args[1] = none;
    return rc ? rc : tl__call(b, "greatest", args, 2, false, 0, out);
}

static enum tl_code count_filter(struct tl__binder *b, const struct tl__query *q,
                                 struct tl_plan_node **node)
{
    struct tl_type type = tl_type_of(TL_BIGINT);
    int64_t zero = 0;
    struct tl_expr *all = NULL;
    for (uint32_t side = 0; side < 2; side++) {
        struct tl_expr *column = column_new(b, q->output_count + side, type);
        struct tl_expr *none = tl__const_new(b, type, &zero, 0);
        struct tl_expr *test;
        if (!column || !none)
            return b->st->code;
        const char *op = side == 0 || q->set_op == TL_SET_INTERSECT ? ">" : "=";
        enum tl_code rc = tl__call2(b, op, column, none, 0, &test);
        struct tl_expr *pair[2] = {all, test};
        if (!rc)
            rc = tl__make_and(b, all ? pair : &test, all ? 2 : 1, &all);
        if (rc)
            return rc;
    }
    return tl__push_where(b, NULL, *node, all, node);
}

static enum tl_code counted_node(struct tl__binder *b, struct tl__query *q,
                                 struct tl_plan_node **out)
{
    struct tl_plan_node *input;
    uint32_t count = q->output_count;
    enum tl_code rc = append_node(b, q, true, &input);
    if (rc)
        return rc;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_AGGREGATE, input);
    if (!n || tl__set_types(b, n, count + 2))
        return b->st->code;
    n->key_count = count;
    n->keys = tl_arena_calloc(b->arena, count, sizeof(struct tl_expr *), b->st);
    n->aggregate_count = 2;
    n->aggregates = tl_arena_calloc(b->arena, 2, sizeof(*n->aggregates), b->st);
    struct tl_expr **exprs = tl_arena_calloc(b->arena, count + 1u, sizeof(struct tl_expr *), b->st);
    if (!n->keys || !n->aggregates || !exprs)
        return b->st->code;
    for (uint32_t c = 0; c < count; c++) {
        n->types[c] = q->outputs[c].type;
        n->keys[c] = column_new(b, c, n->types[c]);
        exprs[c] = column_new(b, c, n->types[c]);
        if (!n->keys[c] || !exprs[c])
            return b->st->code;
    }
    for (uint32_t side = 0; !rc && side < 2; side++) {
        rc = count_side(b, count, side, &n->aggregates[side]);
        n->types[count + side] = tl_type_of(TL_BIGINT);
    }
    if (!rc && !q->set_all)
        rc = count_filter(b, q, &n);
    if (!rc && q->set_all)
        rc = set_count(b, q, &exprs[count]);
    if (!rc)
        rc = tl__project_new(b, n, exprs, count + q->set_all, &n);
    *out = n;
    if (rc || !q->set_all)
        return rc;
    *out = tl__node_new(b, TL_NODE_REPEAT, n);
    if (!*out)
        return b->st->code;
    (*out)->column_count = count;
    return TL_OK;
}

/* ---- ORDER BY and LIMIT of VALUES and set operations ---- */

static enum tl_code bind_order(struct tl__binder *b, const struct tl_ast_select *ast,
                               struct tl__query *q)
{
    q->sort = tl_arena_calloc(b->arena, ast->order_count + 1u, sizeof(*q->sort), b->st);
    if (!q->sort)
        return b->st->code;
    for (uint32_t i = 0; i < ast->order_count; i++) {
        const struct tl_ast_order *o = &ast->order[i];
        uint32_t at = UINT32_MAX;
        if (o->expr->kind == TL_AST_INT) {
            if (o->expr->integer < 1 || o->expr->integer > q->output_count)
                return TL__BIND_FAIL(b, TL_INVALID, "42P10", o->position,
                                     "ORDER BY position %lld is not in select list",
                                     (long long)o->expr->integer);
            at = (uint32_t)o->expr->integer - 1;
        }
        bool name = o->expr->kind == TL_AST_COLUMN && !o->expr->qualifier;
        for (uint32_t c = 0; name && c < q->output_count; c++) {
            if (strcmp(q->outputs[c].name, o->expr->name) != 0)
                continue;
            if (at != UINT32_MAX)
                return TL__BIND_FAIL(b, TL_INVALID, "42702", o->position,
                                     "ORDER BY \"%s\" is ambiguous", o->expr->name);
            at = c;
        }
        if (at == UINT32_MAX && name)
            return TL__BIND_FAIL(b, TL_NOT_FOUND, "42703", o->position,
                                 "column \"%s\" does not exist", o->expr->name);
        if (at == UINT32_MAX)
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", o->position,
                                 "invalid UNION/INTERSECT/EXCEPT ORDER BY clause: only result "
                                 "column names can be used, not expressions or functions");
        q->sort[q->sort_count++] = (struct tl_sort_key){at, o->descending, o->nulls_first};
    }
    return TL_OK;
}

/* ---- queries ---- */

enum tl_code tl__query_bind(struct tl__binder *b, const struct tl_ast_select *ast,
                            struct tl__level *level, struct tl__query **out)
{
    struct tl__query *q = tl_arena_calloc(b->scratch, 1, sizeof(*q), b->st);
    if (!q)
        return b->st->code;
    *out = q;
    struct tl__cte *before = b->ctes;
    enum tl_code rc = open_ctes(b, ast, level);
    if (!rc && !ast->set_op && !ast->value_rows) {
        rc = tl__select_bind(b, ast, level, q);
    } else if (!rc) {
        struct tl__block *k = tl_arena_calloc(b->scratch, 1, sizeof(*k), b->st);
        if (!k)
            return b->st->code;
        k->b = b;
        k->level = level;
        rc = ast->set_op ? bind_set(b, ast, level, q) : bind_values(k, ast, q);
        if (!rc)
            rc = bind_order(b, ast, q);
        if (!rc)
            rc = tl__bind_limit(k, ast->limit, "LIMIT", "2201W", &q->limit);
        if (!rc)
            rc = tl__bind_limit(k, ast->offset, "OFFSET", "2201X", &q->offset);
    }
    b->ctes = before;
    return rc;
}

enum tl_code tl__query_build(struct tl__binder *b, struct tl__query *q, bool order_matters,
                             struct tl_plan_node **out)
{
    enum tl_code rc = close_outputs(b, q);
    if (rc)
        return rc;
    if (q->select)
        return tl__select_build(q->select, order_matters, out);
    if (q->node) {
        *out = q->node;
        return TL_OK;
    }
    if (q->rows)
        rc = values_node(b, q, out);
    else if (q->set_op == TL_SET_UNION)
        rc = append_node(b, q, false, out);
    else
        rc = counted_node(b, q, out);
    if (!rc && q->set_op == TL_SET_UNION && !q->set_all) {
        *out = tl__node_new(b, TL_NODE_DISTINCT, *out);
        rc = *out ? TL_OK : b->st->code;
    }
    return rc ? rc : tl__add_sort_limit(b, q, order_matters, out);
}

enum tl_code tl__query_push(struct tl__binder *b, struct tl__query *q, uint32_t column,
                            const struct tl_expr *conjunct, bool *pushed)
{
    *pushed = false;
    if (q->select)
        return tl__select_push(q->select, column, conjunct, pushed);
    if (!q->set_op || q->limit || q->offset)
        return TL_OK;
    for (uint32_t i = 0; i < q->input_count; i++)
        if (!tl_type_eq(q->inputs[i]->outputs[column].type, q->outputs[column].type))
            return TL_OK;
    bool all = true;
    for (uint32_t i = 0; i < q->input_count; i++) {
        bool one;
        enum tl_code rc = tl__query_push(b, q->inputs[i], column, conjunct, &one);
        if (rc)
            return rc;
        all = all && one;
    }
    *pushed = all;
    return TL_OK;
}

enum tl_code tl__select(struct tl__binder *b, const struct tl_ast_select *ast, bool order_matters,
                        struct tl__select_result *out)
{
    struct tl__level *level = tl_arena_calloc(b->scratch, 1, sizeof(*level), b->st);
    struct tl__query *q;
    if (!level)
        return b->st->code;
    enum tl_code rc = tl__query_bind(b, ast, level, &q);
    if (!rc)
        rc = tl__query_build(b, q, order_matters, &out->node);
    if (rc)
        return rc;
    out->output_count = q->output_count;
    out->outputs = q->outputs;
    return TL_OK;
}

/* ---- subqueries within expressions ---- */

enum tl_code tl__slot_new(struct tl__binder *b, struct tl_type type, uint32_t *slot)
{
    struct tl_plan *plan = b->plan;
    if (plan->slot_count == b->slot_capacity) {
        uint32_t more = b->slot_capacity ? 2 * b->slot_capacity : 16;
        struct tl_type *wider = tl_arena_calloc(b->arena, more, sizeof(*wider), b->st);
        if (!wider)
            return b->st->code;
        if (plan->slot_count > 0)
            memcpy(wider, plan->slot_types, plan->slot_count * sizeof(*wider));
        plan->slot_types = wider;
        b->slot_capacity = more;
    }
    plan->slot_types[plan->slot_count] = type;
    *slot = plan->param_count + plan->slot_count++;
    return TL_OK;
}

/* A subquery that takes nothing from around it: run once, before all else. */
static enum tl_code init_plan(struct tl__binder *b, const struct tl__sublink *s,
                              struct tl_type type, struct tl_expr **out)
{
    struct tl_plan *plan = b->plan;
    struct tl_init_plan init = {.apply = s->kind == TL_SUBLINK_EXISTS  ? TL_APPLY_EXISTS
                                         : s->kind == TL_SUBLINK_ARRAY ? TL_APPLY_ARRAY
                                                                       : TL_APPLY_SCALAR};
    bool ordered = s->kind == TL_SUBLINK_ARRAY;
    enum tl_code rc = tl__query_build(b, s->query, ordered, &init.root);
    if (!rc)
        rc = tl__slot_new(b, type, &init.slot);
    if (rc)
        return rc;
    if (plan->init_count == b->init_capacity) {
        uint32_t more = b->init_capacity ? 2 * b->init_capacity : 8;
        struct tl_init_plan *wider = tl_arena_calloc(b->arena, more, sizeof(*wider), b->st);
        if (!wider)
            return b->st->code;
        if (plan->init_count > 0)
            memcpy(wider, plan->inits, plan->init_count * sizeof(*wider));
        plan->inits = wider;
        b->init_capacity = more;
    }
    plan->inits[plan->init_count++] = init;
    *out = tl__expr_new(b, TL_EXPR_PARAM, type, 0, s->position);
    if (!*out)
        return b->st->code;
    (*out)->index = init.slot;
    return TL_OK;
}

/* x op ANY (…): the comparison of x, seen from within, with the output. */
static enum tl_code bind_test(struct tl__block *k, const struct tl_ast *ast, const char *op,
                              struct tl__sublink *s)
{
    struct tl__binder *b = k->b;
    const struct tl_ast *left = ast->args[0];
    uint32_t count = left->kind == TL_AST_ROW ? left->arg_count : 1;
    if (count != s->query->output_count)
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position, "subquery has too %s columns",
                             count < s->query->output_count ? "many" : "few");
    if (left->kind == TL_AST_ROW && strcmp(op, "=") != 0)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                             "a comparison of rows other than IN is not supported");
    struct tl_expr **tests = tl_arena_calloc(b->scratch, count, sizeof(struct tl_expr *), b->st);
    if (!tests)
        return b->st->code;
    for (uint32_t i = 0; i < count; i++) {
        struct tl_expr *x;
        struct tl_type type = s->query->outputs[i].type;
        enum tl_code rc = tl__bind(k, left->kind == TL_AST_ROW ? left->args[i] : left, &x);
        if (!rc && tl__is_open(x))
            rc = tl__coerce(b, &x, type, NULL);
        if (!rc)
            rc = tl__outer_new(b, &s->level, x, &x);
        struct tl_expr *y = rc ? NULL : column_new(b, i, type);
        if (!rc && !y)
            rc = b->st->code;
        if (!rc)
            rc = tl__call2(b, op, x, y, ast->position, &tests[i]);
        if (!rc && tests[i]->type.kind != TL_BOOLEAN)
            rc = TL__BIND_FAIL(b, TL_INVALID, "42804", ast->position,
                               "row comparison operator must yield type boolean, not type %s",
                               tl__type_label(tests[i]->type));
        if (rc)
            return rc;
    }
    return tl__make_and(b, tests, count, &s->test);
}

static const char *negated_comparison(const char *op)
{
    static const char *const pairs[][2] = {{"=", "<>"}, {"<>", "="}, {"<", ">="},
                                           {">=", "<"}, {">", "<="}, {"<=", ">"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (strcmp(pairs[i][0], op) == 0)
            return pairs[i][1];
    return NULL;
}

enum tl_code tl__bind_sublink(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    /* x op ALL (…) is NOT (x op' ANY (…)), op' being what op is not. */
    bool all = ast->integer == TL_SUBLINK_ALL;
    const char *op = all ? negated_comparison(ast->name) : ast->name;
    if (!op)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                             "%s ALL of a subquery is not supported", ast->name);
    struct tl__sublink *s = tl_arena_calloc(b->scratch, 1, sizeof(*s), b->st);
    if (!s)
        return b->st->code;
    s->kind = all ? TL_SUBLINK_ANY : (uint8_t)ast->integer;
    s->position = ast->position;
    s->level.parent = k;
    enum tl_code rc = tl__query_bind(b, ast->select, &s->level, &s->query);
    if (!rc)
        rc = close_outputs(b, s->query);
    if (rc)
        return rc;
    struct tl_type type = tl_type_of(TL_BOOLEAN);
    if (s->kind == TL_SUBLINK_SCALAR || s->kind == TL_SUBLINK_ARRAY) {
        if (s->query->output_count != 1)
            return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position,
                                 "subquery must return only one column");
        type = s->query->outputs[0].type;
        if (s->kind == TL_SUBLINK_ARRAY && type.kind == TL_ARRAY)
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                                 "an array of arrays is not supported");
        if (s->kind == TL_SUBLINK_ARRAY)
            type = tl_type_array(type);
    } else if (s->kind == TL_SUBLINK_ANY) {
        rc = bind_test(k, ast, op, s);
    }
    if (rc)
        return rc;
    if (s->kind != TL_SUBLINK_ANY && s->level.outer_count == 0)
        return init_plan(b, s, type, out);
    rc = tl__grow(b, &b->sublinks, b->sublink_count, &b->sublink_capacity,
                  sizeof(struct tl__sublink *));
    if (rc)
        return rc;
    struct tl_expr *e = tl__expr_new(b, (enum tl_expr_kind)TL__EXPR_SUBLINK, type,
                                     s->level.outer_count, ast->position);
    if (!e)
        return b->st->code;
    for (uint32_t i = 0; i < e->arg_count; i++)
        e->args[i] = s->level.outers[i]->args[0];
    e->index = b->sublink_count;
    b->sublinks[b->sublink_count++] = s;
    *out = e;
    return all ? tl__make_not(b, e, out) : TL_OK;
}
