/*
 * One SELECT -> nodes, innermost first:
 *
 *     SCAN | a subquery | ONE_ROW  ->  FILTER (WHERE)  ->  AGGREGATE  ->  FILTER (HAVING)
 *       ->  PROJECT  ->  DISTINCT  ->  SORT  ->  LIMIT  ->  PROJECT (drops what only ORDER BY saw)
 *
 * Nodes that would do nothing are left out. Expressions are bound over the columns of FROM; when
 * the block groups, they are then rewritten over the columns of its AGGREGATE: a part that equals
 * a group key becomes that key's column, an aggregate its own; a column that is left over is an
 * error (42803).
 */
#include "query/bind_int.h"

#include <string.h>

#include "base/assert.h"

struct target {
    struct tl_expr *expr;
    const char *name;
    const struct tl_ast *ast; /* NULL: from * */
    bool hidden;              /* for ORDER BY alone */
};

struct sort_item {
    uint32_t target;
    bool descending;
    bool nulls_first;
};

struct select {
    struct tl__block block;
    const struct tl_ast_select *ast;
    uint32_t target_count, target_capacity, visible_count;
    struct target *targets;
    uint32_t key_count;
    struct tl_expr **keys;
    uint32_t view_count;                       /* subqueries folded in */
    struct tl_expr *view_where[TL__VIEWS_MAX]; /* their conditions; NULL: none */
    struct tl_expr *where;
    struct tl_expr *having;
    uint32_t sort_count;
    struct sort_item *sort;
    struct tl_expr *limit, *offset;
    bool grouped;
};

struct tl_plan_node *tl__node_new(struct tl__binder *b, enum tl_node_kind kind,
                                  struct tl_plan_node *child)
{
    struct tl_plan_node *n = tl_arena_calloc(b->arena, 1, sizeof(*n), b->st);
    if (!n)
        return NULL;
    n->kind = (uint8_t)kind;
    n->child = child;
    n->merchant_column = n->ts_column = -1;
    if (child) {
        n->column_count = child->column_count;
        n->types = child->types;
    }
    return n;
}

static enum tl_code set_types(struct tl__binder *b, struct tl_plan_node *n, uint32_t count)
{
    n->column_count = count;
    n->types = tl_arena_calloc(b->arena, count ? count : 1, sizeof(*n->types), b->st);
    return n->types ? TL_OK : b->st->code;
}

/* ---- FROM ---- */

/* Nodes of an expression, up to `max` + 1; an aggregate counts as too many. */
static uint32_t ast_size(const struct tl_ast *ast, uint32_t max)
{
    if (!ast)
        return 0;
    if (ast->kind == TL_AST_CALL && tl__is_aggregate_name(ast->name))
        return max + 1;
    uint32_t size = 1 + ast_size(ast->operand, max);
    for (uint32_t i = 0; i < ast->arg_count && size <= max; i++)
        size += ast_size(ast->args[i], max);
    return size;
}

/* Whether the subquery gives a row for a row of one table, and nothing more. */
static bool is_view(const struct tl_ast_select *ast, uint32_t level)
{
    if (ast->distinct || ast->group_count > 0 || ast->having || ast->order_count > 0 ||
        ast->limit || ast->offset || level == TL__VIEWS_MAX)
        return false;
    for (uint32_t i = 0; i < ast->target_count; i++)
        if (ast_size(ast->targets[i].expr, TL__VIEW_NODES_MAX) > TL__VIEW_NODES_MAX)
            return false;
    return ast->from == TL_FROM_TABLE ||
           (ast->from == TL_FROM_SUBQUERY && is_view(ast->subquery, level + 1));
}

static enum tl_code open_table(struct tl__binder *b, struct select *s,
                               const struct tl_ast_select *ast, struct tl_plan_node **out)
{
    struct tl__scope *scope = &s->block.scope;
    scope->table = b->catalog->vtab->table(b->catalog, ast->table_name);
    if (!scope->table)
        return TL__BIND_FAIL(b, TL_NOT_FOUND, "42P01", ast->from_position,
                             "relation \"%s\" does not exist", ast->table_name);
    scope->qualifier = ast->alias ? ast->alias : ast->table_name;
    *out = tl__node_new(b, TL_NODE_SCAN, NULL);
    if (!*out)
        return b->st->code;
    (*out)->table_name = tl__keep(b, scope->table->name);
    (*out)->table_id = scope->table->id;
    return (*out)->table_name ? TL_OK : b->st->code;
}

static bool star_hides(const struct tl__scope *scope, uint32_t column)
{
    return !scope->view && scope->table && scope->table->columns[column].type.kind == TL_PROPS;
}

static enum tl_code check_star(struct tl__binder *b, const struct tl__scope *scope,
                               const struct tl_ast_target *t)
{
    const struct tl_ast *ast = t->expr;
    const char *qualifier = tl__scope_qualifier(scope);
    if (t->alias)
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position, "* cannot have an alias");
    if (!qualifier)
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position,
                             "SELECT * with no tables specified is not valid");
    if (ast->qualifier && strcmp(ast->qualifier, qualifier) != 0)
        return TL__BIND_FAIL(b, TL_NOT_FOUND, "42P01", ast->position,
                             "missing FROM-clause entry for table \"%s\"", ast->qualifier);
    return TL_OK;
}

/* The select list of a view; each expression is bound once so that its errors are told. */
static enum tl_code view_columns(struct tl__block *k, const struct tl_ast_select *ast,
                                 struct tl__view *view)
{
    struct tl__binder *b = k->b;
    uint32_t room = 0, from = tl__scope_count(&k->scope);
    for (uint32_t i = 0; i < ast->target_count; i++)
        room += ast->targets[i].expr->kind == TL_AST_STAR ? from : 1;
    if (room > TL_SQL_TARGETS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54011", 0, "target lists can have at most %d entries",
                             TL_SQL_TARGETS_MAX);
    view->columns = tl_arena_calloc(b->scratch, room, sizeof(*view->columns), b->st);
    if (!view->columns)
        return b->st->code;
    for (uint32_t i = 0; i < ast->target_count; i++) {
        const struct tl_ast_target *t = &ast->targets[i];
        if (t->expr->kind != TL_AST_STAR) {
            struct tl_expr *unused;
            enum tl_code rc = tl__bind(k, t->expr, &unused);
            if (rc)
                return rc;
            view->columns[view->column_count++] = (struct tl__view_column){
                .name = t->alias ? t->alias : tl__figure_name(t->expr), .ast = t->expr};
            continue;
        }
        enum tl_code rc = check_star(b, &k->scope, t);
        if (rc)
            return rc;
        for (uint32_t c = 0; c < from; c++)
            if (!star_hides(&k->scope, c))
                view->columns[view->column_count++] =
                    (struct tl__view_column){.name = tl__scope_name(&k->scope, c), .index = c};
    }
    return TL_OK;
}

/* Makes the subquery `ast` the view that names mean, with all that it reads below it. */
static enum tl_code open_view(struct tl__binder *b, struct select *s,
                              const struct tl_ast_select *ast, const char *alias,
                              struct tl_plan_node **out)
{
    struct tl__block *k = &s->block;
    enum tl_code rc = ast->from == TL_FROM_TABLE ? open_table(b, s, ast, out)
                                                 : open_view(b, s, ast->subquery, ast->alias, out);
    if (rc)
        return rc;
    struct tl__view *view = tl_arena_calloc(b->scratch, 1, sizeof(*view), b->st);
    if (!view)
        return b->st->code;
    view->qualifier = alias;
    view->inner = k->scope.view;
    rc = view_columns(k, ast, view);
    if (!rc && ast->where) {
        k->clause = "WHERE";
        rc = tl__bind_condition(k, ast->where, "WHERE", &s->view_where[s->view_count]);
        k->clause = NULL;
    }
    s->view_count++;
    k->scope.view = view;
    return rc;
}

static enum tl_code bind_from(struct tl__binder *b, struct select *s, struct tl_plan_node **out)
{
    const struct tl_ast_select *ast = s->ast;
    struct tl__scope *scope = &s->block.scope;
    if (ast->from == TL_FROM_NONE) {
        *out = tl__node_new(b, TL_NODE_ONE_ROW, NULL);
        return *out ? set_types(b, *out, 0) : b->st->code;
    }
    if (ast->from == TL_FROM_TABLE)
        return open_table(b, s, ast, out);
    if (is_view(ast->subquery, 0))
        return open_view(b, s, ast->subquery, ast->alias, out);
    /* The order of a subquery's rows is seen only by what neither sorts nor aggregates. */
    bool sees_order =
        ast->order_count == 0 && ast->group_count == 0 && !ast->having && !ast->distinct;
    struct tl__select_result sub;
    enum tl_code rc = tl__select(b, ast->subquery, sees_order, &sub);
    if (rc)
        return rc;
    scope->qualifier = ast->alias;
    scope->output_count = sub.output_count;
    scope->outputs = sub.outputs;
    *out = sub.node;
    return TL_OK;
}

/* The conditions of the query and of the subqueries folded into it, the innermost first. */
static enum tl_code join_conditions(struct select *s)
{
    struct tl__binder *b = s->block.b;
    struct tl_expr *all[TL__VIEWS_MAX + 1];
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->view_count; i++)
        if (s->view_where[i])
            all[count++] = s->view_where[i];
    if (count == 0)
        return TL_OK;
    if (s->where)
        all[count++] = s->where;
    s->where = all[0];
    if (count == 1)
        return TL_OK;
    s->where = tl__expr_new(b, TL_EXPR_AND, tl_type_of(TL_BOOLEAN), count, all[0]->position);
    if (!s->where)
        return b->st->code;
    memcpy(s->where->args, all, count * sizeof(all[0]));
    return TL_OK;
}

/* ---- targets ---- */

static enum tl_code add_target(struct select *s, struct tl_expr *expr, const char *name,
                               const struct tl_ast *ast, bool hidden)
{
    struct tl__binder *b = s->block.b;
    if (s->target_count >= TL_SQL_TARGETS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54011", 0, "target lists can have at most %d entries",
                             TL_SQL_TARGETS_MAX);
    if (s->target_count == s->target_capacity) {
        uint32_t more = s->target_capacity ? 2 * s->target_capacity : 32;
        struct target *wider = tl_arena_calloc(b->scratch, more, sizeof(*wider), b->st);
        if (!wider)
            return b->st->code;
        if (s->target_count > 0)
            memcpy(wider, s->targets, s->target_count * sizeof(*wider));
        s->targets = wider;
        s->target_capacity = more;
    }
    const char *kept = hidden ? "" : tl__keep(b, name);
    if (!kept)
        return b->st->code;
    s->targets[s->target_count++] = (struct target){expr, kept, ast, hidden};
    return TL_OK;
}

/* `*`: every column but a props, which has no value of its own. */
static enum tl_code bind_star(struct select *s, const struct tl_ast_target *t)
{
    struct tl__scope *scope = &s->block.scope;
    enum tl_code rc = check_star(s->block.b, scope, t);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < tl__scope_count(scope); i++) {
        if (star_hides(scope, i))
            continue;
        struct tl_expr *e;
        rc = tl__column_at(&s->block, i, t->expr->position, &e);
        if (!rc)
            rc = add_target(s, e, tl__scope_name(scope, i), NULL, false);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code bind_targets(struct select *s)
{
    for (uint32_t i = 0; i < s->ast->target_count; i++) {
        const struct tl_ast_target *t = &s->ast->targets[i];
        enum tl_code rc;
        if (t->expr->kind == TL_AST_STAR) {
            rc = bind_star(s, t);
        } else {
            struct tl_expr *e;
            rc = tl__bind(&s->block, t->expr, &e);
            if (!rc)
                rc = add_target(s, e, t->alias ? t->alias : tl__figure_name(t->expr), t->expr,
                                false);
        }
        if (rc)
            return rc;
    }
    s->visible_count = s->target_count;
    return TL_OK;
}

/* What is still open among the targets is text. */
static enum tl_code close_targets(struct select *s)
{
    for (uint32_t i = 0; i < s->target_count; i++) {
        if (!tl__is_open(s->targets[i].expr))
            continue;
        enum tl_code rc = tl__coerce(s->block.b, &s->targets[i].expr, tl_type_of(TL_TEXT), NULL);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* ---- names and numbers in GROUP BY and ORDER BY ---- */

static bool is_literal(const struct tl_ast *ast)
{
    return ast->kind == TL_AST_NULL || ast->kind == TL_AST_STRING || ast->kind == TL_AST_NUMBER;
}

/* GROUP BY 2, ORDER BY 2; *found false when ast is no number. */
static enum tl_code find_ordinal(struct select *s, const struct tl_ast *ast, const char *clause,
                                 bool *found, uint32_t *out)
{
    struct tl__binder *b = s->block.b;
    *found = ast->kind == TL_AST_INT;
    if (is_literal(ast))
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position, "non-integer constant in %s",
                             clause);
    if (!*found)
        return TL_OK;
    if (ast->integer < 1 || ast->integer > s->visible_count)
        return TL__BIND_FAIL(b, TL_INVALID, "42P10", ast->position,
                             "%s position %lld is not in select list", clause,
                             (long long)ast->integer);
    *out = (uint32_t)ast->integer - 1;
    return TL_OK;
}

/* The target of that name, when ast is a bare name; two different ones are an error. */
static enum tl_code find_alias(struct select *s, const struct tl_ast *ast, const char *clause,
                               bool *found, uint32_t *out)
{
    *found = false;
    if (ast->kind != TL_AST_COLUMN || ast->qualifier)
        return TL_OK;
    for (uint32_t i = 0; i < s->visible_count; i++) {
        if (strcmp(s->targets[i].name, ast->name) != 0)
            continue;
        if (*found && !tl__expr_equal(s->targets[i].expr, s->targets[*out].expr))
            return TL__BIND_FAIL(s->block.b, TL_INVALID, "42702", ast->position,
                                 "%s \"%s\" is ambiguous", clause, ast->name);
        if (!*found)
            *out = i;
        *found = true;
    }
    return TL_OK;
}

static bool has_aggregate(const struct tl_expr *e)
{
    if ((int)e->kind == TL__EXPR_AGGREGATE)
        return true;
    for (uint32_t i = 0; i < e->arg_count; i++)
        if (has_aggregate(e->args[i]))
            return true;
    return false;
}

/* ---- GROUP BY ---- */

static enum tl_code bind_group_item(struct select *s, const struct tl_ast *ast,
                                    struct tl_expr **out)
{
    struct tl__block *k = &s->block;
    bool found;
    uint32_t at = 0;
    enum tl_code rc = find_ordinal(s, ast, "GROUP BY", &found, &at);
    if (!rc && !found && ast->kind == TL_AST_COLUMN && !ast->qualifier) {
        /* A column of FROM comes before a name of the select list (ORDER BY: the other way). */
        bool column;
        rc = tl__bind_column(k, NULL, ast->name, ast->position, &column, out);
        if (rc || column)
            return rc;
        rc = find_alias(s, ast, "GROUP BY", &found, &at);
    }
    if (rc)
        return rc;
    if (!found) {
        k->clause = "GROUP BY";
        rc = tl__bind(k, ast, out);
        k->clause = NULL;
        return rc;
    }
    if (has_aggregate(s->targets[at].expr))
        return TL__BIND_FAIL(k->b, TL_INVALID, "42803", s->targets[at].expr->position,
                             "aggregate functions are not allowed in GROUP BY");
    if (tl__is_open(s->targets[at].expr))
        rc = tl__coerce(k->b, &s->targets[at].expr, tl_type_of(TL_TEXT), NULL);
    *out = s->targets[at].expr;
    return rc;
}

static enum tl_code bind_group(struct select *s)
{
    struct tl__binder *b = s->block.b;
    uint32_t count = s->ast->group_count;
    s->keys = tl_arena_calloc(b->arena, count ? count : 1, sizeof(struct tl_expr *), b->st);
    if (!s->keys)
        return b->st->code;
    for (uint32_t i = 0; i < count; i++) {
        struct tl_expr *e;
        enum tl_code rc = bind_group_item(s, s->ast->group[i], &e);
        if (!rc && tl__is_open(e))
            rc = tl__coerce(b, &e, tl_type_of(TL_TEXT), NULL);
        if (rc)
            return rc;
        bool known = false;
        for (uint32_t j = 0; j < s->key_count; j++)
            known = known || tl__expr_equal(s->keys[j], e);
        if (!known)
            s->keys[s->key_count++] = e;
    }
    return TL_OK;
}

/* ---- ORDER BY ---- */

static enum tl_code bind_order_item(struct select *s, const struct tl_ast *ast, uint32_t *out)
{
    struct tl__block *k = &s->block;
    bool found;
    enum tl_code rc = find_ordinal(s, ast, "ORDER BY", &found, out);
    if (!rc && !found)
        rc = find_alias(s, ast, "ORDER BY", &found, out);
    if (rc || found)
        return rc;
    struct tl_expr *e;
    rc = tl__bind(k, ast, &e);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < s->target_count; i++) {
        if (tl__expr_equal(s->targets[i].expr, e)) {
            *out = i;
            return TL_OK;
        }
    }
    if (s->ast->distinct)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42P10", ast->position,
                             "for SELECT DISTINCT, ORDER BY expressions must appear in select "
                             "list");
    *out = s->target_count;
    return add_target(s, e, "", ast, true);
}

static enum tl_code bind_order(struct select *s)
{
    struct tl__binder *b = s->block.b;
    uint32_t count = s->ast->order_count;
    s->sort = tl_arena_calloc(b->scratch, count ? count : 1, sizeof(*s->sort), b->st);
    if (!s->sort)
        return b->st->code;
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_ast_order *o = &s->ast->order[i];
        uint32_t target = 0;
        enum tl_code rc = bind_order_item(s, o->expr, &target);
        if (rc)
            return rc;
        s->sort[s->sort_count++] = (struct sort_item){target, o->descending, o->nulls_first};
    }
    return TL_OK;
}

/* ---- LIMIT and OFFSET ---- */

static enum tl_code bind_limit(struct select *s, const struct tl_ast *ast, const char *clause,
                               const char *sqlstate, struct tl_expr **out)
{
    struct tl__binder *b = s->block.b;
    *out = NULL;
    if (!ast || ast->kind == TL_AST_NULL)
        return TL_OK;
    s->block.clause = clause;
    struct tl_expr *e;
    enum tl_code rc = tl__bind(&s->block, ast, &e);
    s->block.clause = NULL;
    if (rc)
        return rc;
    if (!tl__is_column_free(e))
        return TL__BIND_FAIL(b, TL_INVALID, "42P10", ast->position,
                             "argument of %s must not contain variables", clause);
    if (!tl__is_open(e) && !tl__is_number(e->type))
        return TL__BIND_FAIL(b, TL_INVALID, "42804", ast->position,
                             "argument of %s must be type bigint, not type %s", clause,
                             tl__type_label(e->type));
    rc = tl__coerce(b, &e, tl_type_of(TL_BIGINT), NULL);
    if (rc)
        return rc;
    if (e->kind == TL_EXPR_CONST) {
        if (tl__is_null_const(e))
            return TL_OK;
        if (*(const int64_t *)e->value.data < 0)
            return TL__BIND_FAIL(b, TL_INVALID, sqlstate, ast->position, "%s must not be negative",
                                 clause);
    }
    *out = e;
    return TL_OK;
}

/* ---- over the AGGREGATE ---- */

static enum tl_code ungrouped(struct select *s, const struct tl_expr *e)
{
    const struct tl__scope *scope = &s->block.scope;
    const char *name = scope->table ? scope->table->columns[scope->scan[e->index].column].name
                                    : scope->outputs[e->index].name;
    return TL__BIND_FAIL(s->block.b, TL_INVALID, "42803", e->position,
                         "column \"%s.%s\" must appear in the GROUP BY clause or be used in an "
                         "aggregate function",
                         tl__scope_qualifier(scope), name);
}

/* Rewrites an expression over FROM's columns into one over the AGGREGATE's. */
static enum tl_code regroup(struct select *s, struct tl_expr **e)
{
    struct tl__binder *b = s->block.b;
    struct tl_expr *x = *e;
    bool aggregate = (int)x->kind == TL__EXPR_AGGREGATE;
    uint32_t column = s->key_count + x->index;
    bool key = false;
    for (uint32_t i = 0; !aggregate && !key && i < s->key_count; i++) {
        key = tl__expr_equal(s->keys[i], x);
        if (key)
            column = i;
    }
    if (aggregate || (key && x->kind != TL_EXPR_CONST)) {
        *e = tl__expr_new(b, TL_EXPR_COLUMN, x->type, 0, x->position);
        if (!*e)
            return b->st->code;
        (*e)->index = column;
        return TL_OK;
    }
    if (x->kind == TL_EXPR_COLUMN)
        return ungrouped(s, x);
    for (uint32_t i = 0; i < x->arg_count; i++) {
        enum tl_code rc = regroup(s, &x->args[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code add_aggregate_node(struct select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    /* Keys may be the very expressions of targets, which are about to be rewritten: targets that
     * equal a key are replaced whole, so a key's own tree is never entered. */
    for (uint32_t i = 0; i < s->target_count; i++) {
        enum tl_code rc = regroup(s, &s->targets[i].expr);
        if (rc)
            return rc;
    }
    if (s->having) {
        enum tl_code rc = regroup(s, &s->having);
        if (rc)
            return rc;
    }
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_AGGREGATE, *node);
    if (!n)
        return b->st->code;
    uint32_t count = s->block.aggregate_count;
    n->key_count = s->key_count;
    n->keys = s->keys;
    n->aggregate_count = count;
    n->aggregates = tl_arena_calloc(b->arena, count ? count : 1, sizeof(*n->aggregates), b->st);
    if (!n->aggregates || set_types(b, n, s->key_count + count))
        return b->st->code;
    for (uint32_t i = 0; i < s->key_count; i++)
        n->types[i] = s->keys[i]->type;
    for (uint32_t i = 0; i < count; i++) {
        n->aggregates[i] = s->block.aggregates[i];
        n->types[s->key_count + i] = s->block.aggregates[i].type;
    }
    *node = n;
    return TL_OK;
}

static enum tl_code add_having(struct select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    return s->having ? tl__push_where(b, NULL, *node, s->having, node) : TL_OK;
}

/* ---- the nodes above ---- */

/* PROJECT of the targets' expressions, left out when it would change nothing. */
static enum tl_code add_project(struct select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    struct tl_plan_node *child = *node;
    bool same = child->kind != TL_NODE_SCAN && s->target_count == child->column_count;
    for (uint32_t i = 0; same && i < s->target_count; i++)
        same = s->targets[i].expr->kind == TL_EXPR_COLUMN && s->targets[i].expr->index == i;
    /* A scan's columns are not fixed yet (tl__finish_scan orders them), nor are those of a
     * filter over it. */
    if (child->kind == TL_NODE_FILTER && child->child->kind == TL_NODE_SCAN)
        same = false;
    if (child->kind == TL_NODE_LIMIT && s->block.scope.table)
        same = false;
    if (same)
        return TL_OK;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_PROJECT, child);
    if (!n || set_types(b, n, s->target_count))
        return b->st->code;
    n->exprs = tl_arena_calloc(b->arena, s->target_count, sizeof(struct tl_expr *), b->st);
    if (!n->exprs)
        return b->st->code;
    for (uint32_t i = 0; i < s->target_count; i++) {
        n->exprs[i] = s->targets[i].expr;
        n->types[i] = s->targets[i].expr->type;
    }
    *node = n;
    return TL_OK;
}

/* Sort keys that can tell two rows apart. */
static uint32_t useful_keys(struct select *s, struct tl_sort_key *keys)
{
    if (s->grouped && s->key_count == 0)
        return 0; /* one row */
    if (s->ast->from == TL_FROM_NONE)
        return 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->sort_count; i++) {
        const struct sort_item *item = &s->sort[i];
        bool seen = tl__is_column_free(s->targets[item->target].expr);
        for (uint32_t j = 0; !seen && j < count; j++)
            seen = keys[j].column == item->target;
        if (!seen)
            keys[count++] = (struct tl_sort_key){item->target, item->descending, item->nulls_first};
    }
    return count;
}

static enum tl_code add_sort(struct select *s, bool order_matters, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    if (s->sort_count == 0 || (!order_matters && !s->limit && !s->offset))
        return TL_OK;
    struct tl_sort_key *keys = tl_arena_calloc(b->arena, s->sort_count, sizeof(*keys), b->st);
    if (!keys)
        return b->st->code;
    uint32_t count = useful_keys(s, keys);
    if (count == 0)
        return TL_OK;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_SORT, *node);
    if (!n)
        return b->st->code;
    n->sort_key_count = count;
    n->sort_keys = keys;
    if (s->limit) {
        n->limit = s->limit;
        n->offset = s->offset;
    }
    *node = n;
    return TL_OK;
}

static enum tl_code add_limit(struct select *s, struct tl_plan_node **node)
{
    if (!s->limit && !s->offset)
        return TL_OK;
    struct tl_plan_node *n = tl__node_new(s->block.b, TL_NODE_LIMIT, *node);
    if (!n)
        return s->block.b->st->code;
    n->limit = s->limit;
    n->offset = s->offset;
    *node = n;
    return TL_OK;
}

/* Drops the columns that only ORDER BY wanted. */
static enum tl_code drop_hidden(struct select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    if (s->visible_count == s->target_count)
        return TL_OK;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_PROJECT, *node);
    if (!n || set_types(b, n, s->visible_count))
        return b->st->code;
    n->exprs = tl_arena_calloc(b->arena, s->visible_count, sizeof(struct tl_expr *), b->st);
    if (!n->exprs)
        return b->st->code;
    for (uint32_t i = 0; i < s->visible_count; i++) {
        n->types[i] = s->targets[i].expr->type;
        n->exprs[i] = tl__expr_new(b, TL_EXPR_COLUMN, n->types[i], 0, 0);
        if (!n->exprs[i])
            return b->st->code;
        n->exprs[i]->index = i;
    }
    *node = n;
    return TL_OK;
}

static enum tl_code bind_all(struct select *s)
{
    struct tl__block *k = &s->block;
    if (s->ast->group_count > TL_SQL_TARGETS_MAX || s->ast->order_count > TL_SQL_TARGETS_MAX)
        return TL__BIND_FAIL(k->b, TL_LIMIT, "54011", 0,
                             "GROUP BY and ORDER BY can have at most %d entries",
                             TL_SQL_TARGETS_MAX);
    enum tl_code rc = bind_targets(s);
    if (!rc && s->ast->where) {
        k->clause = "WHERE";
        rc = tl__bind_condition(k, s->ast->where, "WHERE", &s->where);
        k->clause = NULL;
    }
    if (!rc)
        rc = bind_group(s);
    if (!rc && s->ast->having)
        rc = tl__bind_condition(k, s->ast->having, "HAVING", &s->having);
    if (!rc)
        rc = bind_order(s);
    if (!rc)
        rc = close_targets(s);
    if (!rc)
        rc = bind_limit(s, s->ast->limit, "LIMIT", "2201W", &s->limit);
    if (!rc)
        rc = bind_limit(s, s->ast->offset, "OFFSET", "2201X", &s->offset);
    if (!rc)
        rc = join_conditions(s);
    s->grouped = s->ast->group_count > 0 || s->having || k->aggregate_count > 0;
    return rc;
}

static enum tl_code build(struct select *s, bool order_matters, struct tl_plan_node *from,
                          struct tl_plan_node **out)
{
    struct tl__binder *b = s->block.b;
    struct tl_plan_node *node = from;
    enum tl_code rc = tl__push_where(b, &s->block.scope, node, s->where, &node);
    if (!rc && s->grouped)
        rc = add_aggregate_node(s, &node);
    if (!rc)
        rc = add_having(s, &node);
    if (!rc)
        rc = add_project(s, &node);
    if (!rc && s->ast->distinct && !(s->grouped && s->key_count == 0)) {
        node = tl__node_new(b, TL_NODE_DISTINCT, node);
        rc = node ? TL_OK : b->st->code;
    }
    if (!rc && from->kind == TL_NODE_SCAN)
        rc = tl__finish_scan(b, &s->block.scope, from, node);
    if (!rc)
        rc = add_sort(s, order_matters, &node);
    if (!rc)
        rc = add_limit(s, &node);
    if (!rc)
        rc = drop_hidden(s, &node);
    *out = node;
    return rc;
}

enum tl_code tl__select(struct tl__binder *b, const struct tl_ast_select *ast, bool order_matters,
                        struct tl__select_result *out)
{
    struct select s = {.block = {.b = b}, .ast = ast};
    struct tl_plan_node *from = NULL, *top = NULL;
    enum tl_code rc = bind_from(b, &s, &from);
    if (!rc)
        rc = bind_all(&s);
    if (!rc)
        rc = build(&s, order_matters, from, &top);
    if (rc)
        return rc;
    out->node = top;
    out->output_count = s.visible_count;
    out->outputs = tl_arena_calloc(b->arena, s.visible_count ? s.visible_count : 1,
                                   sizeof(*out->outputs), b->st);
    if (!out->outputs)
        return b->st->code;
    for (uint32_t i = 0; i < s.visible_count; i++)
        out->outputs[i] = (struct tl_output_column){s.targets[i].name, s.targets[i].expr->type};
    return TL_OK;
}
