/*
 * FROM: what it reads, which names that brings, and how it is joined.
 *
 * Relations are bound from the left to the right; a LATERAL one (and the arguments of a function)
 * sees the names that stand before it, as a query within a query does. A subquery that only
 * selects, filters and computes row by row is not planned on its own: see struct tl__view. Nor is
 * a name of WITH that is used once.
 */
#include "query/bind_int.h"

#include <string.h>

#include "base/assert.h"
#include "query/catalog.h"

/* ---- views ---- */

/* Nodes of an expression, up to `max` + 1; what must not be written twice counts as too many. */
static uint32_t ast_size(const struct tl_ast *ast, uint32_t max)
{
    if (!ast)
        return 0;
    if (ast->kind == TL_AST_SUBLINK || ast->kind == TL_AST_GROUPING)
        return max + 1;
    if (ast->kind == TL_AST_CALL &&
        (tl__is_aggregate_name(ast->name) || ast->call->over || tl__is_series_name(ast->name)))
        return max + 1;
    uint32_t size = 1 + ast_size(ast->operand, max);
    for (uint32_t i = 0; i < ast->arg_count && size <= max; i++)
        size += ast_size(ast->args[i], max);
    return size;
}

/* The view that a name of FROM means, to be read as a subquery; NULL: it is none. */
static const struct tl_table_info *find_definition(struct tl__binder *b,
                                                   const struct tl_ast_from *f)
{
    const struct tl_table_info *t = tl_catalog_find(b->catalog, f->schema, f->table_name);
    return t && tl_catalog_definition(t) ? t : NULL;
}

/* Whether the subquery gives a row for a row of one table, and nothing more. */
static bool is_view(struct tl__binder *b, const struct tl_ast_select *ast, uint32_t level)
{
    if (ast->set_op || ast->value_rows || ast->cte_count > 0 || ast->distinct ||
        ast->group_count > 0 || ast->having || ast->window_count > 0 || ast->order_count > 0 ||
        ast->limit || ast->offset || ast->from_count != 1 || level == TL__VIEWS_MAX)
        return false;
    for (uint32_t i = 0; i < ast->target_count; i++)
        if (ast_size(ast->targets[i].expr, TL__VIEW_NODES_MAX) > TL__VIEW_NODES_MAX)
            return false;
    const struct tl_ast_from *f = ast->from[0];
    if (f->column_alias_count > 0 || f->lateral)
        return false;
    if (f->kind == TL_FROM_TABLE)
        return (f->schema || !tl__cte_find(b, f->table_name)) && !find_definition(b, f);
    return f->kind == TL_FROM_SUBQUERY && is_view(b, f->subquery, level + 1);
}

static enum tl_code open_table(struct tl__block *k, const struct tl_ast_from *f,
                               struct tl__scope *scope)
{
    struct tl__binder *b = k->b;
    scope->table = tl_catalog_find(b->catalog, f->schema, f->table_name);
    if (scope->table && tl_catalog_refuses(scope->table))
        return TL__BIND_FAIL(b, TL_INVALID, "42501", f->position, "permission denied for table %s",
                             f->table_name);
    if (!scope->table)
        return TL__BIND_FAIL(b, TL_NOT_FOUND, "42P01", f->position,
                             "relation \"%s%s%s\" does not exist", f->schema ? f->schema : "",
                             f->schema ? "." : "", f->table_name);
    scope->qualifier = f->alias ? f->alias : f->table_name;
    scope->schema = f->alias ? NULL : tl_catalog_schema_of(scope->table);
    return TL_OK;
}

static enum tl_code check_star(struct tl__block *k, const struct tl__scope *scope,
                               const struct tl_ast_target *t)
{
    const struct tl_ast *ast = t->expr;
    const char *qualifier = tl__scope_qualifier(scope);
    if (t->alias)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42601", ast->position, "* cannot have an alias");
    if (ast->qualifier && strcmp(ast->qualifier, qualifier) != 0)
        return TL__BIND_FAIL(k->b, TL_NOT_FOUND, "42P01", ast->position,
                             "missing FROM-clause entry for table \"%s\"", ast->qualifier);
    return TL_OK;
}

/* The select list of a view; each expression is bound once so that its errors are told. */
static enum tl_code view_columns(struct tl__block *k, struct tl__scope *scope,
                                 const struct tl_ast_select *ast, struct tl__view *view)
{
    struct tl__binder *b = k->b;
    uint32_t room = 0, from = tl__scope_count(scope);
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
        enum tl_code rc = check_star(k, scope, t);
        if (rc)
            return rc;
        for (uint32_t c = 0; c < from; c++)
            if (!tl__is_props(scope, c))
                view->columns[view->column_count++] =
                    (struct tl__view_column){.name = tl__scope_name(scope, c), .index = c};
    }
    return TL_OK;
}

/* Makes the subquery `ast` the view that names mean, with all that it reads below it. */
static enum tl_code open_view(struct tl__block *k, const struct tl_ast_select *ast,
                              const char *alias, struct tl__scope *scope)
{
    struct tl__binder *b = k->b;
    const struct tl_ast_from *f = ast->from[0];
    enum tl_code rc = f->kind == TL_FROM_TABLE ? open_table(k, f, scope)
                                               : open_view(k, f->subquery, f->alias, scope);
    if (rc)
        return rc;
    struct tl__view *view = tl_arena_calloc(b->scratch, 1, sizeof(*view), b->st);
    if (!view)
        return b->st->code;
    struct tl__scope *inside = k->inside;
    const char *clause = k->clause, *window_clause = k->window_clause;
    k->inside = scope;
    view->qualifier = alias;
    view->inner = scope->view;
    rc = view_columns(k, scope, ast, view);
    if (!rc && ast->where) {
        rc = tl__grow(b, &k->conditions, k->condition_count, &k->condition_capacity,
                      sizeof(struct tl_expr *));
        k->clause = k->window_clause = "WHERE";
        if (!rc)
            rc = tl__bind_condition(k, ast->where, "WHERE", &k->conditions[k->condition_count]);
        k->condition_count += !rc;
    }
    k->clause = clause;
    k->window_clause = window_clause;
    k->inside = inside;
    scope->view = view;
    return rc;
}

/* ---- relations ---- */

static enum tl_code too_many_aliases(struct tl__block *k, const struct tl_ast_from *f,
                                     uint32_t count)
{
    const char *name = f->alias ? f->alias : f->table_name ? f->table_name : "?";
    return TL__BIND_FAIL(k->b, TL_INVALID, "42P10", f->position,
                         "table \"%s\" has %u columns available but %u columns specified", name,
                         count, f->column_alias_count);
}

/* A query whose rows are the relation's. `ctes` is what it sees of WITH. */
static enum tl_code open_query(struct tl__block *k, const struct tl_ast_select *ast,
                               struct tl__cte *ctes, bool lateral, struct tl__scope *scope)
{
    struct tl__binder *b = k->b;
    scope->level = tl_arena_calloc(b->scratch, 1, sizeof(*scope->level), b->st);
    if (!scope->level)
        return b->st->code;
    /* Without LATERAL it sees what this block sees around itself, and that as this block's. */
    struct tl__cte *before = b->ctes;
    b->ctes = ctes;
    scope->level->parent = lateral ? k : NULL;
    enum tl_code rc = tl__query_bind(b, ast, lateral ? scope->level : k->level, &scope->query);
    b->ctes = before;
    if (rc)
        return rc;
    scope->output_count = scope->query->output_count;
    scope->outputs = scope->query->outputs;
    return TL_OK;
}

/* A view: its text is parsed and bound as a subquery that sees no name of WITH; its columns have
 * the names and the types that the catalog tells. */
static enum tl_code open_definition(struct tl__block *k, const struct tl_ast_from *f,
                                    const struct tl_table_info *t, bool fold,
                                    struct tl__scope *scope)
{
    struct tl__binder *b = k->b;
    struct tl_ast_statement statement;
    if (b->definition_depth == TL__DEFINITIONS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54001", f->position,
                             "views are nested more than %d deep", TL__DEFINITIONS_MAX);
    if (tl_catalog_refuses(t))
        return TL__BIND_FAIL(b, TL_INVALID, "42501", f->position, "permission denied for view %s",
                             f->table_name);
    const char **names = tl_arena_calloc(b->scratch, t->column_count + 1u, sizeof(*names), b->st);
    if (!names)
        return b->st->code;
    struct tl__cte *before = b->ctes;
    b->ctes = NULL;
    b->definition_depth++;
    scope->qualifier = f->alias ? f->alias : t->name;
    enum tl_code rc = tl_sql_parse(tl_slice_str(t->definition), 0, b->scratch, &statement, b->st);
    if (!rc && fold && is_view(b, statement.select, 0))
        rc = open_view(k, statement.select, scope->qualifier, scope);
    else if (!rc)
        rc = open_query(k, statement.select, NULL, false, scope);
    b->definition_depth--;
    b->ctes = before;
    if (rc) {
        b->st->position = f->position;
        return rc;
    }
    scope->schema = f->alias ? NULL : tl_catalog_schema_of(t);
    tl_assert(tl__scope_count(scope) == t->column_count);
    for (uint32_t i = 0; i < t->column_count; i++)
        names[i] = t->columns[i].name;
    scope->alias_count = t->column_count;
    scope->aliases = names;
    if (!scope->query)
        return TL_OK;
    struct tl_output_column *outputs =
        tl_arena_calloc(b->arena, t->column_count + 1u, sizeof(*outputs), b->st);
    if (!outputs)
        return b->st->code;
    for (uint32_t i = 0; i < t->column_count; i++) {
        outputs[i] = scope->outputs[i];
        if (tl_type_eq(outputs[i].type, t->columns[i].type))
            outputs[i].type.flavour = t->columns[i].type.flavour;
    }
    scope->outputs = outputs;
    return TL_OK;
}

static enum tl_code open_cte(struct tl__block *k, const struct tl_ast_from *f, struct tl__cte *cte,
                             bool fold, struct tl__scope *scope)
{
    struct tl__binder *b = k->b;
    if (cte->active)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", f->position,
                             "a recursive query (\"%s\") is not supported", cte->ast->name);
    scope->qualifier = f->alias ? f->alias : f->table_name;
    if (cte->materialized) {
        struct tl__query *q = tl_arena_calloc(b->scratch, 1, sizeof(*q), b->st);
        if (!q)
            return b->st->code;
        q->output_count = cte->output_count;
        q->outputs = (struct tl_output_column *)cte->outputs;
        q->node = tl__node_new(b, TL_NODE_CTE, NULL);
        if (!q->node || tl__set_types(b, q->node, cte->output_count))
            return b->st->code;
        for (uint32_t i = 0; i < cte->output_count; i++)
            q->node->types[i] = cte->outputs[i].type;
        q->node->cte = cte->number;
        q->node->cte_name = tl__keep(b, cte->ast->name);
        scope->query = q;
        scope->output_count = q->output_count;
        scope->outputs = q->outputs;
        return q->node->cte_name ? TL_OK : b->st->code;
    }
    cte->active = true;
    struct tl__cte *before = b->ctes;
    b->ctes = cte->scope;
    enum tl_code rc;
    if (fold && cte->ast->column_alias_count == 0 && is_view(b, cte->ast->select, 0))
        rc = open_view(k, cte->ast->select, scope->qualifier, scope);
    else
        rc = open_query(k, cte->ast->select, cte->scope, false, scope);
    b->ctes = before;
    cte->active = false;
    if (rc)
        return rc;
    scope->outer_qualifier = tl__scope_qualifier(scope);
    scope->outer_view = scope->view;
    scope->alias_count = cte->ast->column_alias_count;
    scope->aliases = cte->ast->column_aliases;
    if (scope->alias_count > tl__scope_count(scope))
        return TL__BIND_FAIL(b, TL_INVALID, "42P10", cte->ast->position,
                             "WITH query \"%s\" has %u columns available but %u columns specified",
                             cte->ast->name, tl__scope_count(scope), scope->alias_count);
    return TL_OK;
}

/* ---- functions ---- */

static enum tl_code one_output(struct tl__block *k, const struct tl_ast_from *f,
                               struct tl_type type, struct tl__scope *scope)
{
    struct tl__binder *b = k->b;
    uint32_t count = f->ordinality ? 2 : 1;
    struct tl_output_column *outputs = tl_arena_calloc(b->arena, 2, sizeof(*outputs), b->st);
    if (!outputs || tl__set_types(b, scope->node, count))
        return b->st->code;
    scope->qualifier = f->alias ? f->alias : f->call->name;
    outputs[0].name = tl__keep(b, f->alias ? f->alias : f->call->name);
    outputs[1].name = "ordinality";
    outputs[0].type = scope->node->types[0] = type;
    outputs[1].type = tl_type_of(TL_BIGINT);
    if (count == 2)
        scope->node->types[1] = outputs[1].type;
    scope->node->ordinality = f->ordinality;
    scope->outputs = outputs;
    scope->output_count = count;
    return outputs[0].name ? TL_OK : b->st->code;
}

/* generate_series(from, to [, step]) of BIGINT, TIMESTAMP or TIMESTAMPTZ. */
/* Whether a series is of decimals: it has the scale of its start and step, whatever its end's. */
static bool decimal_series(const struct tl_ast *call, struct tl_expr *const *args,
                           struct tl_type *type)
{
    bool any = false;
    uint8_t scale = 0;
    for (uint32_t i = 0; i < call->arg_count; i++) {
        bool decimal = tl__is_decimal(args[i]->type);
        if (!decimal && args[i]->type.kind != TL_BIGINT && !tl__is_open(args[i]))
            return false;
        any = any || decimal;
        if (decimal && i != 1 && args[i]->type.scale > scale)
            scale = args[i]->type.scale;
    }
    if (!any)
        return false;
    *type = tl_type_of(TL_DECIMAL128);
    type->scale = scale;
    return true;
}

static enum tl_code close_decimals(struct tl__block *k, const struct tl_ast *call,
                                   struct tl_expr **args, struct tl_type type)
{
    for (uint32_t i = 0; i < call->arg_count; i++) {
        struct tl_type want = type;
        if (i == 1 && tl__is_decimal(args[i]->type) && args[i]->type.scale > want.scale)
            want.scale = args[i]->type.scale;
        enum tl_code rc = tl__coerce(k->b, &args[i], want, "generate_series");
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code series_types(struct tl__block *k, const struct tl_ast *call,
                                 struct tl_expr **args, struct tl_type *type)
{
    struct tl__binder *b = k->b;
    if (call->arg_count < 2 || call->arg_count > 3)
        return TL__BIND_FAIL(b, TL_INVALID, "42883", call->position,
                             "function generate_series with %u arguments does not exist",
                             call->arg_count);
    *type = tl_type_of(TL_NULL);
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t kind = args[i]->type.kind;
        if (kind == TL_DATE) /* as PostgreSQL has it */
            kind = TL_TIMESTAMPTZ;
        if (kind != TL_NULL && kind > type->kind)
            *type = tl_type_of((enum tl_kind)kind);
    }
    if (decimal_series(call, args, type))
        return close_decimals(k, call, args, *type);
    if (type->kind == TL_NULL)
        *type = tl_type_of(
            call->arg_count == 3 && args[2]->type.kind == TL_INTERVAL ? TL_TIMESTAMPTZ : TL_BIGINT);
    bool time = type->kind == TL_TIMESTAMP || type->kind == TL_TIMESTAMPTZ;
    if (!time && type->kind != TL_BIGINT)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", call->position,
                             "generate_series of %s is not supported", tl__type_label(*type));
    if (time && call->arg_count < 3)
        return TL__BIND_FAIL(b, TL_INVALID, "42883", call->position,
                             "function generate_series(%s, %s) does not exist",
                             tl__type_label(*type), tl__type_label(*type));
    bool small = type->kind == TL_BIGINT;
    for (uint32_t i = 0; i < call->arg_count; i++)
        small = small && (args[i]->type.flavour == TL_FLAVOUR_INT4 ||
                          args[i]->type.flavour == TL_FLAVOUR_INT2 || tl__is_open(args[i]));
    if (small && !(tl__is_open(args[0]) && tl__is_open(args[1])))
        type->flavour = TL_FLAVOUR_INT4;
    for (uint32_t i = 0; i < call->arg_count; i++) {
        struct tl_type want = i == 2 && time ? tl_type_of(TL_INTERVAL) : *type;
        enum tl_code rc = tl__coerce(b, &args[i], want, "generate_series");
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code open_function(struct tl__block *k, const struct tl_ast_from *f,
                                  struct tl__scope *scope)
{
    struct tl__binder *b = k->b;
    const struct tl_ast *call = f->call;
    bool series = strcmp(call->name, "generate_series") == 0;
    scope->level = tl_arena_calloc(b->scratch, 1, sizeof(*scope->level), b->st);
    if (!scope->level)
        return b->st->code;
    scope->level->parent = k;
    struct tl__block within = {.b = b,
                               .level = scope->level,
                               .clause = "functions in FROM",
                               .window_clause = "functions in FROM"};
    uint32_t count = series ? call->arg_count : 1;
    struct tl_expr **args =
        tl_arena_calloc(b->arena, count ? count : 1, sizeof(struct tl_expr *), b->st);
    if (!args)
        return b->st->code;
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = tl__bind(&within, series ? call->args[i] : call, &args[i]);
    for (uint32_t i = 0; !rc && i < count; i++)
        if (tl__has_kind(args[i], TL__EXPR_SUBLINK))
            rc = TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", f->position,
                               "a correlated subquery within a function in FROM is not supported");
    struct tl_type type;
    if (!rc && series)
        rc = series_types(k, call, args, &type);
    if (!rc && !series && tl__is_open(args[0]))
        rc = tl__coerce(b, &args[0], tl_type_of(TL_TEXT), NULL);
    if (rc)
        return rc;
    scope->node = tl__node_new(b, series ? TL_NODE_TABLE_FUNCTION : TL_NODE_VALUES, NULL);
    if (!scope->node)
        return b->st->code;
    if (series) {
        scope->node->table_function = TL_TABLE_GENERATE_SERIES;
        scope->node->args = args;
        scope->node->arg_count = count;
    } else {
        type = args[0]->type;
        struct tl_expr **row = tl_arena_calloc(b->arena, 2, sizeof(struct tl_expr *), b->st);
        int64_t one = 1;
        scope->node->rows = tl_arena_calloc(b->arena, 1, sizeof(struct tl_expr **), b->st);
        if (!row || !scope->node->rows)
            return b->st->code;
        row[0] = args[0];
        row[1] = tl__const_new(b, tl_type_of(TL_BIGINT), &one, 0);
        if (!row[1])
            return b->st->code;
        scope->node->rows[0] = row;
        scope->node->row_count = 1;
    }
    return one_output(k, f, type, scope);
}

/* ---- names ---- */

static enum tl_code add_name(struct tl__block *k, const char *name, struct tl__scope *scope,
                             uint32_t index)
{
    struct tl__binder *b = k->b;
    enum tl_code rc = tl__grow(b, &k->names, k->name_count, &k->name_capacity, sizeof(*k->names));
    if (rc)
        return rc;
    struct tl__name *n = &k->names[k->name_count];
    n->parts = tl_arena_calloc(b->scratch, 1, sizeof(*n->parts), b->st);
    if (!n->parts)
        return b->st->code;
    n->name = name;
    n->part_count = 1;
    n->parts[0] = (struct tl__name_part){scope, index};
    k->name_count++;
    return TL_OK;
}

static enum tl_code check_qualifier(struct tl__block *k, const struct tl_ast_from *f,
                                    const struct tl__scope *scope)
{
    const char *own = tl__scope_qualifier(scope);
    for (uint32_t i = 0; i < k->scope_count; i++) {
        const struct tl__scope *o = k->scopes[i];
        bool alike = strcmp(tl__scope_qualifier(o), own) == 0;
        if (alike && o->schema && scope->schema && strcmp(o->schema, scope->schema) != 0)
            alike = false;
        if (alike)
            return TL__BIND_FAIL(k->b, TL_INVALID, "42712", f->position,
                                 "table name \"%s\" specified more than once", own);
    }
    return TL_OK;
}

static enum tl_code bind_relation(struct tl__block *k, const struct tl_ast_from *f, bool nullable,
                                  struct tl__from *out)
{
    struct tl__binder *b = k->b;
    if (k->scope_count == TL_SQL_RELATIONS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54001", f->position, "FROM names more than %d tables",
                             TL_SQL_RELATIONS_MAX);
    struct tl__scope *scope = tl_arena_calloc(b->scratch, 1, sizeof(*scope), b->st);
    if (!scope)
        return b->st->code;
    scope->number = k->scope_count;
    enum tl_code rc;
    struct tl__cte *cte = NULL;
    const struct tl_table_info *definition = NULL;
    if (f->kind == TL_FROM_TABLE && !f->schema)
        cte = tl__cte_find(b, f->table_name);
    if (f->kind == TL_FROM_TABLE && !cte)
        definition = find_definition(b, f);
    if (cte) {
        rc = open_cte(k, f, cte, !nullable, scope);
    } else if (definition) {
        rc = open_definition(k, f, definition, !nullable, scope);
    } else if (f->kind == TL_FROM_TABLE) {
        rc = open_table(k, f, scope);
    } else if (f->kind == TL_FROM_FUNCTION && !f->ordinality &&
               tl_catalog_function(f->call->name)) {
        scope->table = tl_catalog_function(f->call->name);
        scope->qualifier = f->alias ? f->alias : f->call->name;
        rc = TL_OK;
    } else if (f->kind == TL_FROM_FUNCTION && strcmp(f->call->name, "unnest") == 0 &&
               f->call->arg_count == 1) {
        const struct tl_ast_select *select;
        scope->qualifier = f->alias ? f->alias : f->call->name;
        rc = tl__unnest_query(b, f, &select);
        if (!rc)
            rc = open_query(k, select, b->ctes, true, scope);
    } else if (f->kind == TL_FROM_FUNCTION) {
        rc = open_function(k, f, scope);
    } else if (!nullable && !f->lateral && is_view(b, f->subquery, 0)) {
        rc = open_view(k, f->subquery, f->alias, scope);
    } else {
        scope->qualifier = f->alias;
        rc = open_query(k, f->subquery, b->ctes, f->lateral, scope);
    }
    if (rc)
        return rc;
    if (scope->level && scope->level->outer_count == 0)
        scope->level = NULL;
    scope->outer_qualifier = tl__scope_qualifier(scope);
    scope->outer_view = scope->view;
    if (f->column_alias_count > 0 && f->column_alias_count < scope->alias_count) {
        for (uint32_t i = 0; i < f->column_alias_count; i++)
            scope->aliases[i] = f->column_aliases[i];
    } else if (f->column_alias_count > 0) {
        scope->alias_count = f->column_alias_count;
        scope->aliases = f->column_aliases;
    }
    uint32_t count = tl__scope_count(scope);
    if (f->column_alias_count > count)
        return too_many_aliases(k, f, count);
    rc = check_qualifier(k, f, scope);
    if (!rc)
        rc =
            tl__grow(b, &k->scopes, k->scope_count, &k->scope_capacity, sizeof(struct tl__scope *));
    if (rc)
        return rc;
    k->scopes[k->scope_count++] = scope;
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = add_name(k, tl__scope_name(scope, i), scope, i);
    out->scope = scope;
    out->rels = 1ULL << scope->number;
    return rc;
}

/* ---- joins ---- */

/* The one name in [from, to), or UINT32_MAX; two are an error. */
static enum tl_code find_common(struct tl__block *k, const char *name, uint32_t from, uint32_t to,
                                const struct tl_ast_from *f, const char *side, uint32_t *out)
{
    *out = UINT32_MAX;
    for (uint32_t i = from; i < to; i++) {
        if (strcmp(k->names[i].name, name) != 0)
            continue;
        if (*out != UINT32_MAX)
            return TL__BIND_FAIL(k->b, TL_INVALID, "42702", f->position,
                                 "common column name \"%s\" appears more than once in %s table",
                                 name, side);
        *out = i;
    }
    return TL_OK;
}

/* Of two names that USING makes one: the left's or the right's, or the first that is not NULL. */
static enum tl_code merge_names(struct tl__block *k, const struct tl__name *l,
                                const struct tl__name *r, uint8_t join, struct tl__name *out)
{
    *out = join == TL_AST_JOIN_RIGHT ? *r : *l;
    if (join != TL_AST_JOIN_FULL)
        return TL_OK;
    out->part_count = l->part_count + r->part_count;
    out->parts = tl_arena_calloc(k->b->scratch, out->part_count, sizeof(*out->parts), k->b->st);
    if (!out->parts)
        return k->b->st->code;
    memcpy(out->parts, l->parts, l->part_count * sizeof(*l->parts));
    memcpy(out->parts + l->part_count, r->parts, r->part_count * sizeof(*r->parts));
    return TL_OK;
}

/* USING and NATURAL: names [first, middle) are the left's, [middle, name_count) the right's. */
static enum tl_code bind_using(struct tl__block *k, const struct tl_ast_from *f, uint32_t first,
                               uint32_t middle, struct tl__from *out)
{
    struct tl__binder *b = k->b;
    uint32_t end = k->name_count, room = f->natural ? middle - first : f->using_count;
    const char **common = tl_arena_calloc(b->scratch, room + 1u, sizeof(*common), b->st);
    struct tl_expr **equal =
        tl_arena_calloc(b->scratch, room + 1u, sizeof(struct tl_expr *), b->st);
    struct tl__name *merged = tl_arena_calloc(b->scratch, end + 1u, sizeof(*merged), b->st);
    bool *gone = tl_arena_calloc(b->scratch, end + 1u, sizeof(*gone), b->st);
    if (!common || !equal || !merged || !gone)
        return b->st->code;
    uint32_t count = 0;
    if (!f->natural) {
        memcpy(common, f->using_names, f->using_count * sizeof(*common));
        count = f->using_count;
    }
    for (uint32_t i = first; f->natural && i < middle; i++) {
        bool both = false;
        for (uint32_t j = middle; j < end && !both; j++)
            both = strcmp(k->names[i].name, k->names[j].name) == 0;
        for (uint32_t j = 0; j < count && both; j++)
            both = strcmp(common[j], k->names[i].name) != 0;
        if (both)
            common[count++] = k->names[i].name;
    }
    for (uint32_t c = 0; c < count; c++) {
        uint32_t l, r;
        enum tl_code rc = find_common(k, common[c], first, middle, f, "left", &l);
        if (!rc)
            rc = find_common(k, common[c], middle, end, f, "right", &r);
        if (rc)
            return rc;
        if (l == UINT32_MAX || r == UINT32_MAX)
            return TL__BIND_FAIL(b, TL_NOT_FOUND, "42703", f->position,
                                 "column \"%s\" specified in USING clause does not exist in %s "
                                 "table",
                                 common[c], l == UINT32_MAX ? "left" : "right");
        struct tl_expr *left, *right;
        rc = tl__bind_name(k, &k->names[l], f->position, &left);
        if (!rc)
            rc = tl__bind_name(k, &k->names[r], f->position, &right);
        if (!rc)
            rc = tl__call2(b, "=", left, right, f->position, &equal[c]);
        if (!rc)
            rc = merge_names(k, &k->names[l], &k->names[r], f->join, &merged[c]);
        if (rc)
            return rc;
        gone[l] = gone[r] = true;
    }
    uint32_t at = count;
    for (uint32_t i = first; i < end; i++)
        if (!gone[i])
            merged[at++] = k->names[i];
    memcpy(k->names + first, merged, at * sizeof(*merged));
    k->name_count = first + at;
    return tl__make_and(b, equal, count, &out->on);
}

static enum tl_code bind_item(struct tl__block *k, const struct tl_ast_from *f, bool nullable,
                              struct tl__from **out);

static enum tl_code bind_join(struct tl__block *k, const struct tl_ast_from *f, bool nullable,
                              struct tl__from *out)
{
    uint32_t first = k->name_count, first_scope = k->scope_count;
    bool left_null = f->join == TL_AST_JOIN_RIGHT || f->join == TL_AST_JOIN_FULL;
    bool right_null = f->join == TL_AST_JOIN_LEFT || f->join == TL_AST_JOIN_FULL;
    out->join = f->join;
    enum tl_code rc = bind_item(k, f->left, nullable || left_null, &out->left);
    uint32_t middle = k->name_count;
    if (!rc)
        rc = bind_item(k, f->right, nullable || right_null, &out->right);
    if (rc)
        return rc;
    out->rels = out->left->rels | out->right->rels;
    for (uint32_t i = 0; left_null && i < k->scope_count; i++)
        if (k->scopes[i]->level && (out->right->rels >> i & 1))
            return TL__BIND_FAIL(k->b, TL_UNSUPPORTED, "0A000", f->position,
                                 "LATERAL within a RIGHT or FULL JOIN is not supported");
    if (f->natural || f->using_count > 0)
        return bind_using(k, f, first, middle, out);
    if (!f->on)
        return TL_OK;
    uint32_t names = k->name_first, scopes = k->scope_first;
    const char *clause = k->clause, *window_clause = k->window_clause;
    k->name_first = first;
    k->scope_first = first_scope;
    k->clause = k->window_clause = "JOIN conditions";
    rc = tl__bind_condition(k, f->on, "JOIN/ON", &out->on);
    k->name_first = names;
    k->scope_first = scopes;
    k->clause = clause;
    k->window_clause = window_clause;
    return rc;
}

static enum tl_code bind_item(struct tl__block *k, const struct tl_ast_from *f, bool nullable,
                              struct tl__from **out)
{
    *out = tl_arena_calloc(k->b->scratch, 1, sizeof(**out), k->b->st);
    if (!*out)
        return k->b->st->code;
    return f->kind == TL_FROM_JOIN ? bind_join(k, f, nullable, *out)
                                   : bind_relation(k, f, nullable, *out);
}

enum tl_code tl__bind_from(struct tl__block *k, const struct tl_ast_select *ast)
{
    for (uint32_t i = 0; i < ast->from_count; i++) {
        struct tl__from *item;
        enum tl_code rc = bind_item(k, ast->from[i], false, &item);
        if (rc)
            return rc;
        if (i == 0) {
            k->from = item;
            continue;
        }
        struct tl__from *both = tl_arena_calloc(k->b->scratch, 1, sizeof(*both), k->b->st);
        if (!both)
            return k->b->st->code;
        *both = (struct tl__from){.join = TL_AST_JOIN_INNER,
                                  .left = k->from,
                                  .right = item,
                                  .rels = k->from->rels | item->rels};
        k->from = both;
    }
    return TL_OK;
}

enum tl_code tl__find_scope(struct tl__block *k, const char *schema, const char *qualifier,
                            int32_t position, struct tl__scope **out)
{
    *out = NULL;
    for (uint32_t i = k->scope_first; i < k->scope_count; i++) {
        struct tl__scope *s = k->scopes[i];
        if (strcmp(tl__scope_qualifier(s), qualifier) != 0 ||
            (schema && (!s->schema || strcmp(s->schema, schema) != 0)))
            continue;
        if (*out)
            return TL__BIND_FAIL(k->b, TL_INVALID, "42P09", position,
                                 "table reference \"%s\" is ambiguous", qualifier);
        *out = s;
    }
    return TL_OK;
}
