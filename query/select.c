/*
 * One SELECT -> nodes, innermost first:
 *
 *     SCAN | a subquery | joins | ONE_ROW  ->  FILTER (WHERE)  ->  AGGREGATE  ->  FILTER (HAVING)
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

struct tl__select {
    struct tl__block block;
    const struct tl_ast_select *ast;
    uint32_t target_count, target_capacity, visible_count;
    struct target *targets;
    struct tl_output_column *outputs;
    uint32_t key_count, key_capacity;
    struct tl_expr **keys;
    struct tl_expr *where;
    struct tl_expr *having;
    uint32_t sort_count;
    struct sort_item *sort;
    uint32_t on_count; /* DISTINCT ON: targets */
    uint32_t *on;
    uint32_t set_count; /* grouping sets: which keys each has; 0: plain GROUP BY */
    uint64_t *sets;
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

enum tl_code tl__set_types(struct tl__binder *b, struct tl_plan_node *n, uint32_t count)
{
    n->column_count = count;
    n->types = tl_arena_calloc(b->arena, count ? count : 1, sizeof(*n->types), b->st);
    return n->types ? TL_OK : b->st->code;
}

/* The conditions of the query and of the subqueries folded into it, the innermost first. */
static enum tl_code join_conditions(struct tl__select *s)
{
    struct tl__block *k = &s->block;
    struct tl__binder *b = k->b;
    if (k->condition_count == 0)
        return TL_OK;
    if (s->where) {
        enum tl_code rc = tl__grow(b, &k->conditions, k->condition_count, &k->condition_capacity,
                                   sizeof(struct tl_expr *));
        if (rc)
            return rc;
        k->conditions[k->condition_count++] = s->where;
    }
    return tl__make_and(b, k->conditions, k->condition_count, &s->where);
}

/* ---- targets ---- */

static enum tl_code add_target(struct tl__select *s, struct tl_expr *expr, const char *name,
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

/* `*` and `table.*`: every column but a props, which has no value of its own. */
static enum tl_code bind_star(struct tl__select *s, const struct tl_ast_target *t)
{
    struct tl__block *k = &s->block;
    struct tl__binder *b = k->b;
    const struct tl_ast *ast = t->expr;
    struct tl__scope *only = NULL;
    if (t->alias)
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position, "* cannot have an alias");
    if (!k->from)
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position,
                             "SELECT * with no tables specified is not valid");
    if (ast->qualifier) {
        enum tl_code rc = tl__find_scope(k, ast->schema, ast->qualifier, ast->position, &only);
        if (rc)
            return rc;
        if (!only)
            return TL__BIND_FAIL(b, TL_NOT_FOUND, "42P01", ast->position,
                                 "missing FROM-clause entry for table \"%s\"", ast->qualifier);
    }
    uint32_t count = only ? tl__scope_count(only) : k->name_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct tl__name *n = only ? NULL : &k->names[i];
        const struct tl__scope *scope = only ? only : n->parts[0].scope;
        if (tl__is_props(scope, only ? i : n->parts[0].index))
            continue;
        struct tl_expr *e;
        enum tl_code rc = only ? tl__column_at(k, only, i, ast->position, &e)
                               : tl__bind_name(k, n, ast->position, &e);
        if (!rc)
            rc = add_target(s, e, only ? tl__scope_name(only, i) : n->name, NULL, false);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code bind_targets(struct tl__select *s)
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

/* What is still open among the targets is text, where something has to be known of it now; the
 * others may yet be told by a UNION. */
static enum tl_code close_targets(struct tl__select *s)
{
    bool known = s->ast->distinct || s->ast->group_count > 0;
    for (uint32_t i = 0; i < s->target_count; i++) {
        if (!tl__is_open(s->targets[i].expr) || (i < s->visible_count && !known))
            continue;
        enum tl_code rc = tl__coerce(s->block.b, &s->targets[i].expr, tl_type_of(TL_TEXT), NULL);
        if (rc)
            return rc;
    }
    return TL_OK;
}

enum tl_code tl__select_close(struct tl__select *s, uint32_t column, struct tl_type type)
{
    s->outputs[column].type = type;
    return tl__coerce(s->block.b, &s->targets[column].expr, type, NULL);
}

/* ---- names and numbers in GROUP BY and ORDER BY ---- */

static bool is_literal(const struct tl_ast *ast)
{
    return ast->kind == TL_AST_NULL || ast->kind == TL_AST_STRING || ast->kind == TL_AST_NUMBER;
}

/* GROUP BY 2, ORDER BY 2; *found false when ast is no number. */
static enum tl_code find_ordinal(struct tl__select *s, const struct tl_ast *ast, const char *clause,
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
static enum tl_code find_alias(struct tl__select *s, const struct tl_ast *ast, const char *clause,
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

static enum tl_code bind_group_item(struct tl__select *s, const struct tl_ast *ast,
                                    struct tl_expr **out)
{
    struct tl__block *k = &s->block;
    bool found;
    uint32_t at = 0;
    enum tl_code rc = find_ordinal(s, ast, "GROUP BY", &found, &at);
    if (!rc && !found && ast->kind == TL_AST_COLUMN && !ast->qualifier) {
        /* A column of FROM comes before a name of the select list (ORDER BY: the other way). */
        bool column;
        rc = tl__bind_column(k, ast, &column, out);
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

/* The number of the key that an expression is, added when it is the first such. */
static enum tl_code bind_key(struct tl__select *s, const struct tl_ast *ast, uint32_t *out)
{
    struct tl__binder *b = s->block.b;
    struct tl_expr *e;
    enum tl_code rc = bind_group_item(s, ast, &e);
    if (!rc && tl__is_open(e))
        rc = tl__coerce(b, &e, tl_type_of(TL_TEXT), NULL);
    if (rc)
        return rc;
    for (*out = 0; *out < s->key_count; ++*out)
        if (tl__expr_equal(s->keys[*out], e))
            return TL_OK;
    rc = tl__grow(b, &s->keys, s->key_count, &s->key_capacity, sizeof(struct tl_expr *));
    if (!rc)
        s->keys[s->key_count++] = e;
    return rc;
}

struct sets {
    uint64_t *list;
    uint32_t count, capacity;
};

static enum tl_code add_set(struct tl__select *s, struct sets *sets, uint64_t set)
{
    struct tl__binder *b = s->block.b;
    if (sets->count >= TL_SQL_SETS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54001", 0, "too many grouping sets present (maximum %d)",
                             TL_SQL_SETS_MAX);
    enum tl_code rc = tl__grow(b, &sets->list, sets->count, &sets->capacity, sizeof(*sets->list));
    if (!rc)
        sets->list[sets->count++] = set;
    return rc;
}

/* The keys of an expression or of a list in brackets, as a set. */
static enum tl_code set_of(struct tl__select *s, const struct tl_ast *ast, uint64_t *out)
{
    bool row = ast->kind == TL_AST_ROW;
    *out = 0;
    for (uint32_t i = 0; i < (row ? ast->arg_count : 1); i++) {
        uint32_t key;
        enum tl_code rc = bind_key(s, row ? ast->args[i] : ast, &key);
        if (rc)
            return rc;
        if (key >= 64)
            return TL__BIND_FAIL(s->block.b, TL_LIMIT, "54011", ast->position,
                                 "grouping sets can have at most 64 expressions");
        *out |= 1ULL << key;
    }
    return TL_OK;
}

/* The sets that one item of GROUP BY stands for. */
static enum tl_code item_sets(struct tl__select *s, const struct tl_ast *ast, struct sets *out)
{
    uint64_t part[16], all = 0;
    enum tl_code rc = TL_OK;
    if (ast->kind != TL_AST_SETS) {
        rc = set_of(s, ast, &all);
        return rc ? rc : add_set(s, out, all);
    }
    switch ((enum tl_ast_sets)ast->integer) {
    case TL_SETS_EMPTY:
        return add_set(s, out, 0);
    case TL_SETS_LIST:
        for (uint32_t i = 0; !rc && i < ast->arg_count; i++)
            rc = item_sets(s, ast->args[i], out);
        return rc;
    case TL_SETS_ROLLUP: {
        uint64_t *prefix = tl_arena_calloc(s->block.b->scratch, ast->arg_count + 1u,
                                           sizeof(*prefix), s->block.b->st);
        if (!prefix)
            return s->block.b->st->code;
        for (uint32_t i = 0; !rc && i < ast->arg_count; i++) {
            rc = set_of(s, ast->args[i], &prefix[i + 1]);
            prefix[i + 1] |= prefix[i];
        }
        for (uint32_t i = ast->arg_count + 1; !rc && i > 0; i--)
            rc = add_set(s, out, prefix[i - 1]);
        return rc;
    }
    case TL_SETS_CUBE:
        if (ast->arg_count > 12)
            return TL__BIND_FAIL(s->block.b, TL_LIMIT, "54011", ast->position,
                                 "CUBE is limited to 12 elements");
        for (uint32_t i = 0; !rc && i < ast->arg_count; i++)
            rc = set_of(s, ast->args[i], &part[i]);
        for (uint32_t left = 1U << ast->arg_count; !rc && left > 0; left--) {
            uint64_t set = 0;
            for (uint32_t i = 0; i < ast->arg_count; i++)
                set |= (left - 1) >> (ast->arg_count - 1 - i) & 1 ? part[i] : 0;
            rc = add_set(s, out, set);
        }
        return rc;
    }
    return rc;
}

/* GROUP BY a, ROLLUP (b, c): every set of the one beside every set of the other. */
static enum tl_code bind_sets(struct tl__select *s)
{
    struct sets sets = {0};
    enum tl_code rc = add_set(s, &sets, 0);
    for (uint32_t i = 0; !rc && i < s->ast->group_count; i++) {
        struct sets item = {0}, both = {0};
        rc = item_sets(s, s->ast->group[i], &item);
        for (uint32_t l = 0; !rc && l < sets.count; l++)
            for (uint32_t r = 0; !rc && r < item.count; r++)
                rc = add_set(s, &both, sets.list[l] | item.list[r]);
        sets = both;
    }
    for (uint32_t i = 0; s->ast->group_distinct && i < sets.count; i++)
        for (uint32_t j = sets.count - 1; j > i; j--)
            if (sets.list[j] == sets.list[i]) {
                memmove(sets.list + j, sets.list + j + 1,
                        (sets.count - j - 1) * sizeof(*sets.list));
                sets.count--;
            }
    s->sets = sets.list;
    s->set_count = sets.count;
    return rc;
}

static enum tl_code bind_group(struct tl__select *s)
{
    bool sets = false;
    for (uint32_t i = 0; i < s->ast->group_count; i++)
        sets = sets || s->ast->group[i]->kind == TL_AST_SETS;
    if (sets)
        return bind_sets(s);
    for (uint32_t i = 0; i < s->ast->group_count; i++) {
        const struct tl_ast *ast = s->ast->group[i];
        bool row = ast->kind == TL_AST_ROW;
        for (uint32_t j = 0; j < (row ? ast->arg_count : 1); j++) {
            uint32_t key;
            enum tl_code rc = bind_key(s, row ? ast->args[j] : ast, &key);
            if (rc)
                return rc;
        }
    }
    return TL_OK;
}

/* ---- ORDER BY ---- */

static enum tl_code bind_order_item(struct tl__select *s, const struct tl_ast *ast, uint32_t *out)
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
    if (s->ast->distinct && s->ast->distinct_on_count == 0)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42P10", ast->position,
                             "for SELECT DISTINCT, ORDER BY expressions must appear in select "
                             "list");
    *out = s->target_count;
    return add_target(s, e, "", ast, true);
}

static enum tl_code bind_order(struct tl__select *s)
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

/* DISTINCT ON: its expressions are the first of ORDER BY, in any order; without an ORDER BY they
 * are all of it. */
static enum tl_code bind_distinct_on(struct tl__select *s)
{
    struct tl__binder *b = s->block.b;
    uint32_t count = s->ast->distinct_on_count;
    s->on = tl_arena_calloc(b->scratch, count + 1u, sizeof(*s->on), b->st);
    struct sort_item *sort =
        tl_arena_calloc(b->scratch, s->sort_count + count + 1u, sizeof(*sort), b->st);
    if (!s->on || !sort)
        return b->st->code;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t target = 0;
        enum tl_code rc = bind_order_item(s, s->ast->distinct_on[i], &target);
        if (rc)
            return rc;
        bool known = false;
        for (uint32_t j = 0; j < s->on_count; j++)
            known = known || s->on[j] == target;
        if (!known)
            s->on[s->on_count++] = target;
    }
    /* Every key of ORDER BY is one of ON's until all of these have been. */
    uint32_t seen = 0, n = 0;
    for (uint32_t i = 0; i < s->sort_count; i++) {
        bool is_on = false, again = false;
        for (uint32_t j = 0; j < s->on_count; j++)
            is_on = is_on || s->on[j] == s->sort[i].target;
        for (uint32_t j = 0; j < i; j++)
            again = again || s->sort[j].target == s->sort[i].target;
        if (!is_on && seen < s->on_count)
            return TL__BIND_FAIL(b, TL_INVALID, "42P10", s->ast->distinct_position,
                                 "SELECT DISTINCT ON expressions must match initial ORDER BY "
                                 "expressions");
        seen += is_on && !again;
        sort[n++] = s->sort[i];
    }
    for (uint32_t j = 0; j < s->on_count; j++) {
        bool sorted = false;
        for (uint32_t i = 0; i < s->sort_count; i++)
            sorted = sorted || s->sort[i].target == s->on[j];
        if (!sorted)
            sort[n++] = (struct sort_item){.target = s->on[j]};
    }
    s->sort = sort;
    s->sort_count = n;
    return TL_OK;
}

/* The first row of each run of rows that are equal in ON. */
static enum tl_code add_first(struct tl__select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    struct tl_sort_key *keys = tl_arena_calloc(b->arena, s->sort_count + 1u, sizeof(*keys), b->st);
    struct tl_sort_key *on = tl_arena_calloc(b->arena, s->on_count + 1u, sizeof(*on), b->st);
    if (!keys || !on)
        return b->st->code;
    for (uint32_t i = 0; i < s->sort_count; i++)
        keys[i] =
            (struct tl_sort_key){s->sort[i].target, s->sort[i].descending, s->sort[i].nulls_first};
    for (uint32_t i = 0; i < s->on_count; i++)
        on[i].column = s->on[i];
    struct tl_plan_node *sort = tl__node_new(b, TL_NODE_SORT, *node);
    struct tl_plan_node *first = sort ? tl__node_new(b, TL_NODE_FIRST, sort) : NULL;
    if (!first)
        return b->st->code;
    sort->sort_key_count = s->sort_count;
    sort->sort_keys = keys;
    first->sort_key_count = s->on_count;
    first->sort_keys = on;
    *node = first;
    return TL_OK;
}

/* ---- LIMIT and OFFSET ---- */

enum tl_code tl__bind_limit(struct tl__block *k, const struct tl_ast *ast, const char *clause,
                            const char *sqlstate, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    *out = NULL;
    if (!ast || ast->kind == TL_AST_NULL)
        return TL_OK;
    const char *before = k->clause, *window_before = k->window_clause;
    k->clause = k->window_clause = clause;
    struct tl_expr *e;
    enum tl_code rc = tl__bind(k, ast, &e);
    k->clause = before;
    k->window_clause = window_before;
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

static enum tl_code ungrouped(struct tl__select *s, const struct tl_expr *e)
{
    const struct tl__scope *scope = s->block.scopes[tl__code_rel(e->index)];
    uint32_t at = tl__code_at(e->index);
    const char *name =
        scope->table ? scope->table->columns[scope->scan[at].column].name : scope->outputs[at].name;
    return TL__BIND_FAIL(s->block.b, TL_INVALID, "42803", e->position,
                         "column \"%s.%s\" must appear in the GROUP BY clause or be used in an "
                         "aggregate function",
                         scope->outer_qualifier, name);
}

/* GROUPING(a, b): a bit for each argument that the row's set has not; from the set's number. */
static enum tl_code grouping_value(struct tl__select *s, struct tl_expr **e)
{
    struct tl__binder *b = s->block.b;
    const struct tl_expr *x = *e;
    uint32_t args = x->arg_count;
    uint64_t *bits = tl_arena_calloc(b->scratch, args + 1u, sizeof(*bits), b->st);
    if (!bits)
        return b->st->code;
    for (uint32_t a = 0; a < args; a++) {
        uint32_t key = 0;
        while (key < s->key_count && !tl__expr_equal(s->keys[key], x->args[a]))
            key++;
        if (key == s->key_count)
            return TL__BIND_FAIL(b, TL_INVALID, "42803", x->args[a]->position,
                                 "arguments to GROUPING must be grouping expressions of the "
                                 "associated query level");
        bits[a] = key < 64 ? 1ULL << key : 0;
    }
    uint32_t count = s->set_count ? s->set_count : 1;
    struct tl_expr *choice =
        tl__expr_new(b, TL_EXPR_CASE, tl_type_of(TL_BIGINT), 2 * count - 1, x->position);
    if (!choice)
        return b->st->code;
    for (uint32_t i = 0; i < count; i++) {
        int64_t value = 0, number = i;
        for (uint32_t a = 0; a < args; a++)
            value = value << 1 | (s->set_count > 0 && !(s->sets[i] & bits[a]));
        struct tl_expr *then = tl__const_new(b, choice->type, &value, 0);
        if (!then)
            return b->st->code;
        if (i + 1 == count) {
            choice->args[2 * i] = then;
            break;
        }
        struct tl_expr *set = tl__expr_new(b, TL_EXPR_COLUMN, choice->type, 0, 0);
        struct tl_expr *wanted = tl__const_new(b, choice->type, &number, 0);
        if (!set || !wanted)
            return b->st->code;
        set->index = s->key_count;
        enum tl_code rc = tl__call2(b, "=", set, wanted, 0, &choice->args[2 * i]);
        if (rc)
            return rc;
        choice->args[2 * i + 1] = then;
    }
    *e = count == 1 ? choice->args[0] : choice;
    return TL_OK;
}

/* Rewrites an expression over FROM's columns into one over the AGGREGATE's. */
static enum tl_code regroup(struct tl__select *s, struct tl_expr **e)
{
    struct tl__binder *b = s->block.b;
    struct tl_expr *x = *e;
    bool aggregate = (int)x->kind == TL__EXPR_AGGREGATE;
    uint32_t column = s->key_count + (s->set_count > 0) + x->index;
    bool key = false;
    for (uint32_t i = 0; !aggregate && !key && i < s->key_count; i++) {
        key = tl__expr_equal(s->keys[i], x);
        if (key)
            column = i;
    }
    if ((int)x->kind == TL__EXPR_GROUPING)
        return grouping_value(s, e);
    if (aggregate || (key && x->kind != TL_EXPR_CONST)) {
        *e = tl__expr_new(b, TL_EXPR_COLUMN, x->type, 0, x->position);
        if (!*e)
            return b->st->code;
        (*e)->index = column;
        return TL_OK;
    }
    if (x->kind == TL_EXPR_COLUMN)
        return ungrouped(s, x);
    if ((int)x->kind == TL__EXPR_OUTER)
        return TL_OK; /* as good as a constant */
    for (uint32_t i = 0; i < x->arg_count; i++) {
        enum tl_code rc = regroup(s, &x->args[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code regroup_all(struct tl__select *s)
{
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
    return TL_OK;
}

static enum tl_code aggregate_node(struct tl__select *s, struct tl_plan_node *child,
                                   struct tl_expr **keys, uint32_t key_count,
                                   struct tl_plan_node **out)
{
    struct tl__binder *b = s->block.b;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_AGGREGATE, child);
    if (!n)
        return b->st->code;
    uint32_t count = s->block.aggregate_count;
    n->key_count = key_count;
    n->keys = keys;
    n->aggregate_count = count;
    n->aggregates = tl_arena_calloc(b->arena, count ? count : 1, sizeof(*n->aggregates), b->st);
    if (!n->aggregates || tl__set_types(b, n, key_count + count))
        return b->st->code;
    for (uint32_t i = 0; i < key_count; i++)
        n->types[i] = keys[i]->type;
    for (uint32_t i = 0; i < count; i++) {
        n->aggregates[i] = s->block.aggregates[i];
        n->types[key_count + i] = s->block.aggregates[i].type;
    }
    *out = n;
    return TL_OK;
}

static enum tl_code column_of(struct tl__binder *b, uint32_t index, struct tl_type type,
                              struct tl_expr **out)
{
    *out = tl__expr_new(b, TL_EXPR_COLUMN, type, 0, 0);
    if (!*out)
        return b->st->code;
    (*out)->index = index;
    return TL_OK;
}

/* What the empty sets answer when there is no row at all: one row each. */
static enum tl_code sets_of_nothing(struct tl__select *s, const struct tl_plan_node *child,
                                    struct tl_plan_node *sets, struct tl_plan_node **out)
{
    struct tl__binder *b = s->block.b;
    uint32_t keys = s->key_count, aggs = s->block.aggregate_count, empty = 0;
    for (uint32_t i = 0; i < s->set_count; i++)
        empty += s->sets[i] == 0;
    *out = sets;
    if (empty == 0)
        return TL_OK;
    struct tl_plan_node *none = tl__node_new(b, TL_NODE_VALUES, NULL), *total;
    struct tl_plan_node *otherwise = tl__node_new(b, TL_NODE_OTHERWISE, NULL);
    struct tl_plan_node *all = tl__node_new(b, TL_NODE_APPEND, NULL);
    if (!none || !otherwise || !all)
        return b->st->code;
    none->types = child->types;
    none->column_count = child->column_count;
    enum tl_code rc = aggregate_node(s, none, NULL, 0, &total);
    all->inputs = tl_arena_calloc(b->arena, empty, sizeof(struct tl_plan_node *), b->st);
    otherwise->inputs = tl_arena_calloc(b->arena, 2, sizeof(struct tl_plan_node *), b->st);
    if (rc || !all->inputs || !otherwise->inputs)
        return b->st->code;
    for (uint32_t i = 0; i < s->set_count; i++) {
        if (s->sets[i] != 0)
            continue;
        int64_t number = i;
        struct tl_expr **exprs =
            tl_arena_calloc(b->arena, keys + 1 + aggs, sizeof(struct tl_expr *), b->st);
        if (!exprs)
            return b->st->code;
        for (uint32_t k = 0; k < keys; k++)
            if (!(exprs[k] = tl__null_new(b, s->keys[k]->type, 0)))
                return b->st->code;
        if (!(exprs[keys] = tl__const_new(b, tl_type_of(TL_BIGINT), &number, 0)))
            return b->st->code;
        for (uint32_t a = 0; !rc && a < aggs; a++)
            rc = column_of(b, a, s->block.aggregates[a].type, &exprs[keys + 1 + a]);
        if (!rc)
            rc =
                tl__project_new(b, total, exprs, keys + 1 + aggs, &all->inputs[all->input_count++]);
        if (rc)
            return rc;
    }
    all->types = otherwise->types = sets->types;
    all->column_count = otherwise->column_count = sets->column_count;
    otherwise->inputs[0] = sets;
    otherwise->inputs[1] = all;
    otherwise->input_count = 2;
    *out = otherwise;
    return TL_OK;
}

/* Each row once per set, with the number of the set; then groups of these. */
static enum tl_code add_sets(struct tl__select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    struct tl_plan_node *child = *node, *n = tl__node_new(b, TL_NODE_EXPAND, child), *sets;
    uint32_t base = child->column_count, keys = s->key_count;
    if (!n || tl__set_types(b, n, base + keys + 1))
        return b->st->code;
    memcpy(n->types, child->types, base * sizeof(*n->types));
    struct tl_expr **over = tl_arena_calloc(b->arena, keys + 1u, sizeof(struct tl_expr *), b->st);
    n->sets = tl_arena_copy(b->arena, s->sets, s->set_count * sizeof(*s->sets), b->st);
    if (!over || !n->sets)
        return b->st->code;
    n->set_count = s->set_count;
    n->key_count = keys;
    n->keys = s->keys;
    enum tl_code rc = TL_OK;
    for (uint32_t k = 0; !rc && k < keys; k++) {
        n->types[base + k] = s->keys[k]->type;
        rc = column_of(b, base + k, n->types[base + k], &over[k]);
    }
    n->types[base + keys] = tl_type_of(TL_BIGINT);
    if (!rc)
        rc = column_of(b, base + keys, n->types[base + keys], &over[keys]);
    if (!rc)
        rc = aggregate_node(s, n, over, keys + 1, &sets);
    return rc ? rc : sets_of_nothing(s, child, sets, node);
}

static enum tl_code add_aggregate_node(struct tl__select *s, struct tl_plan_node **node)
{
    if (s->set_count > 0)
        return add_sets(s, node);
    return aggregate_node(s, *node, s->keys, s->key_count, node);
}

/* ---- the nodes above ---- */

enum tl_code tl__project_new(struct tl__binder *b, struct tl_plan_node *child,
                             struct tl_expr **exprs, uint32_t count, struct tl_plan_node **out)
{
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_PROJECT, child);
    if (!n || tl__set_types(b, n, count))
        return b->st->code;
    n->exprs = exprs;
    for (uint32_t i = 0; i < count; i++)
        n->types[i] = exprs[i]->type;
    *out = n;
    return TL_OK;
}

/* PROJECT of the targets' expressions, left out when it would change nothing. */
static enum tl_code add_project(struct tl__select *s, bool fixed, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    struct tl_plan_node *child = *node;
    /* A scan's columns are not fixed yet (tl__finish_scan orders them), nor are those of a
     * filter over it. */
    bool same = fixed && s->target_count == child->column_count;
    for (uint32_t i = 0; same && i < s->target_count; i++)
        same = s->targets[i].expr->kind == TL_EXPR_COLUMN && s->targets[i].expr->index == i;
    if (same)
        return TL_OK;
    struct tl_expr **exprs =
        tl_arena_calloc(b->arena, s->target_count, sizeof(struct tl_expr *), b->st);
    if (!exprs)
        return b->st->code;
    for (uint32_t i = 0; i < s->target_count; i++)
        exprs[i] = s->targets[i].expr;
    return tl__project_new(b, child, exprs, s->target_count, node);
}

/* Sort keys that can tell two rows apart. */
static uint32_t useful_keys(struct tl__select *s, struct tl_sort_key *keys)
{
    if (s->grouped && s->key_count == 0 && s->set_count == 0)
        return 0; /* one row */
    if (s->ast->from_count == 0)
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

static enum tl_code sort_node(struct tl__binder *b, struct tl_sort_key *keys, uint32_t count,
                              struct tl_expr *limit, struct tl_expr *offset,
                              struct tl_plan_node **node)
{
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_SORT, *node);
    if (!n)
        return b->st->code;
    n->sort_key_count = count;
    n->sort_keys = keys;
    if (limit) {
        n->limit = limit;
        n->offset = offset;
    }
    *node = n;
    return TL_OK;
}

static enum tl_code add_sort(struct tl__select *s, bool order_matters, struct tl_plan_node **node)
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
    return sort_node(b, keys, count, s->limit, s->offset, node);
}

static enum tl_code add_limit(struct tl__binder *b, struct tl_expr *limit, struct tl_expr *offset,
                              struct tl_plan_node **node)
{
    if (!limit && !offset)
        return TL_OK;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_LIMIT, *node);
    if (!n)
        return b->st->code;
    n->limit = limit;
    n->offset = offset;
    *node = n;
    return TL_OK;
}

enum tl_code tl__add_sort_limit(struct tl__binder *b, const struct tl__query *q, bool order_matters,
                                struct tl_plan_node **node)
{
    enum tl_code rc = TL_OK;
    if (q->sort_count > 0 && (order_matters || q->limit || q->offset))
        rc = sort_node(b, q->sort, q->sort_count, q->limit, q->offset, node);
    return rc ? rc : add_limit(b, q->limit, q->offset, node);
}

/* Drops the columns that only ORDER BY wanted. */
static enum tl_code drop_hidden(struct tl__select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    if (s->visible_count == s->target_count)
        return TL_OK;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_PROJECT, *node);
    if (!n || tl__set_types(b, n, s->visible_count))
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

static enum tl_code bind_all(struct tl__select *s)
{
    struct tl__block *k = &s->block;
    if (s->ast->group_count > TL_SQL_TARGETS_MAX || s->ast->order_count > TL_SQL_TARGETS_MAX)
        return TL__BIND_FAIL(k->b, TL_LIMIT, "54011", 0,
                             "GROUP BY and ORDER BY can have at most %d entries",
                             TL_SQL_TARGETS_MAX);
    enum tl_code rc = bind_targets(s);
    if (!rc && s->ast->where) {
        k->clause = k->window_clause = "WHERE";
        rc = tl__bind_condition(k, s->ast->where, "WHERE", &s->where);
        k->clause = k->window_clause = NULL;
    }
    if (!rc)
        rc = bind_group(s);
    k->window_clause = "HAVING";
    if (!rc && s->ast->having)
        rc = tl__bind_condition(k, s->ast->having, "HAVING", &s->having);
    k->window_clause = NULL;
    if (!rc)
        rc = bind_order(s);
    if (!rc && s->ast->distinct_on_count > 0)
        rc = bind_distinct_on(s);
    if (!rc)
        rc = close_targets(s);
    if (!rc)
        rc = tl__bind_limit(k, s->ast->limit, "LIMIT", "2201W", &s->limit);
    if (!rc)
        rc = tl__bind_limit(k, s->ast->offset, "OFFSET", "2201X", &s->offset);
    if (!rc)
        rc = join_conditions(s);
    s->grouped =
        s->ast->group_count > 0 || s->having || k->aggregate_count > 0 || k->grouping_count > 0;
    return rc;
}

/* ---- building ---- */

static enum tl_code keep_keys(struct tl__select *s)
{
    struct tl__binder *b = s->block.b;
    struct tl_expr **keys =
        tl_arena_calloc(b->arena, s->key_count + 1u, sizeof(struct tl_expr *), b->st);
    if (!keys)
        return b->st->code;
    if (s->key_count > 0)
        memcpy(keys, s->keys, s->key_count * sizeof(struct tl_expr *));
    s->keys = keys;
    return TL_OK;
}

/* The expressions over FROM that stand above it: keys and what aggregates read, or the targets. */
static enum tl_code exprs_above(struct tl__select *s, struct tl_expr ****out, uint32_t *count)
{
    struct tl__binder *b = s->block.b;
    uint32_t room = s->grouped ? s->key_count + 3 * s->block.aggregate_count : s->target_count;
    struct tl_expr ***list =
        tl_arena_calloc(b->scratch, room + 1u, sizeof(struct tl_expr **), b->st);
    if (!list)
        return b->st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; !s->grouped && i < s->target_count; i++)
        list[n++] = &s->targets[i].expr;
    for (uint32_t i = 0; s->grouped && i < s->key_count; i++)
        list[n++] = &s->keys[i];
    for (uint32_t i = 0; s->grouped && i < s->block.aggregate_count; i++) {
        struct tl_aggregate *a = &s->block.aggregates[i];
        if (a->arg)
            list[n++] = &a->arg;
        if (a->filter)
            list[n++] = &a->filter;
        if (a->fraction)
            list[n++] = &a->fraction;
    }
    *out = list;
    *count = n;
    return TL_OK;
}

/* What the one relation of a simple block reads; *fixed: its columns have their numbers. */
static enum tl_code simple_from(struct tl__select *s, struct tl_plan_node **out, bool *fixed)
{
    struct tl__block *k = &s->block;
    struct tl__binder *b = k->b;
    *fixed = true;
    if (k->scope_count == 0) {
        *out = tl__node_new(b, TL_NODE_ONE_ROW, NULL);
        return *out ? tl__set_types(b, *out, 0) : b->st->code;
    }
    struct tl__scope *scope = k->scopes[0];
    if (scope->table) {
        *fixed = false;
        *out = tl__node_new(b, TL_NODE_SCAN, NULL);
        if (!*out)
            return b->st->code;
        (*out)->table_name = tl__keep(b, scope->table->name);
        (*out)->table_id = scope->table->id;
        return (*out)->table_name ? TL_OK : b->st->code;
    }
    if (scope->node) {
        *out = scope->node;
        return TL_OK;
    }
    /* The order of a subquery's rows is seen only by what neither sorts nor aggregates. */
    bool sees_order = s->ast->order_count == 0 && !s->grouped && !s->ast->distinct;
    enum tl_code rc = tl__push_into(b, scope->query, &s->where);
    return rc ? rc : tl__query_build(b, scope->query, sees_order, out);
}

/* Subqueries above an AGGREGATE, or where nothing else has computed them. */
static enum tl_code place_targets(struct tl__select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    struct tl_expr ***list =
        tl_arena_calloc(b->scratch, s->target_count + 1u, sizeof(struct tl_expr **), b->st);
    if (!list)
        return b->st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->target_count; i++)
        if (tl__has_kind(s->targets[i].expr, TL__EXPR_SUBLINK))
            list[n++] = &s->targets[i].expr;
    return n > 0 ? tl__place_sublinks(&s->block, list, n, node) : TL_OK;
}

static enum tl_code add_having(struct tl__select *s, struct tl_plan_node **node)
{
    struct tl__binder *b = s->block.b;
    if (!s->having)
        return TL_OK;
    struct tl_expr **having = &s->having;
    enum tl_code rc = tl__has_kind(s->having, TL__EXPR_SUBLINK)
                          ? tl__place_sublinks(&s->block, &having, 1, node)
                          : TL_OK;
    return rc ? rc : tl__push_where(b, NULL, *node, s->having, node);
}

enum tl_code tl__select_build(struct tl__select *s, bool order_matters, struct tl_plan_node **out)
{
    struct tl__block *k = &s->block;
    struct tl__binder *b = k->b;
    struct tl_plan_node *node = NULL, *from = NULL;
    struct tl_expr ***above = NULL;
    uint32_t above_count = 0;
    bool fixed = true, joins = tl__needs_joins(k, s->where) || s->set_count > 0;
    enum tl_code rc = keep_keys(s); /* the plan's from here on */
    if (!rc)
        rc = exprs_above(s, &above, &above_count);
    for (uint32_t i = 0; !joins && i < above_count; i++)
        joins = tl__has_kind(*above[i], TL__EXPR_SUBLINK);
    if (!rc && s->grouped)
        rc = regroup_all(s);
    if (!rc && joins) {
        rc = tl__plan_from(k, s->where, above, above_count, &node);
    } else if (!rc) {
        rc = simple_from(s, &from, &fixed);
        if (!rc)
            rc = tl__push_where(b, fixed ? NULL : k->scopes[0], from, s->where, &node);
    }
    if (!rc && s->grouped)
        rc = add_aggregate_node(s, &node);
    if (!rc)
        rc = add_having(s, &node);
    if (!rc)
        rc = place_targets(s, &node);
    if (!rc)
        rc = add_project(s, fixed || s->grouped, &node);
    if (!rc && s->ast->distinct && s->on_count == 0 &&
        !(s->grouped && s->key_count == 0 && s->set_count == 0)) {
        node = tl__node_new(b, TL_NODE_DISTINCT, node);
        rc = node ? TL_OK : b->st->code;
    }
    if (!rc && from && from->kind == TL_NODE_SCAN)
        rc = tl__finish_scan(b, k->scopes[0], from, node);
    if (!rc && s->on_count > 0)
        rc = add_first(s, &node);
    else if (!rc)
        rc = add_sort(s, order_matters, &node);
    if (!rc)
        rc = add_limit(b, s->limit, s->offset, &node);
    if (!rc)
        rc = drop_hidden(s, &node);
    *out = node;
    return rc;
}

enum tl_code tl__select_bind(struct tl__binder *b, const struct tl_ast_select *ast,
                             struct tl__level *level, struct tl__query *q)
{
    struct tl__select *s = tl_arena_calloc(b->scratch, 1, sizeof(*s), b->st);
    if (!s || tl__select_series(b, ast, &ast))
        return b->st->code;
    s->block = (struct tl__block){.b = b, .level = level, .ast = ast};
    s->ast = ast;
    enum tl_code rc = tl__bind_from(&s->block, ast);
    if (!rc)
        rc = bind_all(s);
    if (rc)
        return rc;
    q->select = s;
    q->output_count = s->visible_count;
    q->outputs = tl_arena_calloc(b->arena, s->visible_count ? s->visible_count : 1,
                                 sizeof(*q->outputs), b->st);
    if (!q->outputs)
        return b->st->code;
    for (uint32_t i = 0; i < s->visible_count; i++)
        q->outputs[i] = (struct tl_output_column){s->targets[i].name, s->targets[i].expr->type};
    s->outputs = q->outputs;
    return TL_OK;
}

/* ---- conditions that move in ---- */

/* A copy of a target, for a place of its own in the plan. */
static enum tl_code copy_target(struct tl__select *s, const struct tl_expr *e, struct tl_expr **out)
{
    struct tl__block *k = &s->block;
    struct tl_expr *copy =
        tl__expr_new(k->b, (enum tl_expr_kind)e->kind, e->type, e->arg_count, e->position);
    if (!copy)
        return k->b->st->code;
    struct tl_expr **args = copy->args;
    *copy = *e;
    copy->args = args;
    *out = copy;
    if (e->kind == TL_EXPR_COLUMN) {
        struct tl__scope *scope = k->scopes[tl__code_rel(e->index)];
        enum tl_code rc = tl__grow(k->b, &scope->refs, scope->ref_count, &scope->ref_capacity,
                                   sizeof(struct tl_expr *));
        if (rc)
            return rc;
        scope->refs[scope->ref_count++] = copy;
    }
    for (uint32_t i = 0; i < e->arg_count; i++) {
        enum tl_code rc = copy_target(s, e->args[i], &args[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* The condition with the target in the place of its column. */
static enum tl_code move_in(struct tl__select *s, const struct tl_expr *target, struct tl_expr **e)
{
    if ((*e)->kind == TL_EXPR_COLUMN)
        return copy_target(s, target, e);
    for (uint32_t i = 0; i < (*e)->arg_count; i++) {
        enum tl_code rc = move_in(s, target, &(*e)->args[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

enum tl_code tl__select_push(struct tl__select *s, uint32_t column, const struct tl_expr *conjunct,
                             bool *pushed)
{
    struct tl__binder *b = s->block.b;
    const struct tl_expr *target = s->targets[column].expr;
    *pushed = false;
    if (s->limit || s->offset || s->set_count > 0 || s->ast->distinct_on_count > 0 ||
        s->block.window_call_count > 0 || tl__has_kind(target, TL__EXPR_AGGREGATE) ||
        tl__has_kind(target, TL__EXPR_SUBLINK) || tl__has_kind(target, TL__EXPR_OUTER) ||
        tl__is_open(target))
        return TL_OK;
    bool key = !s->grouped;
    for (uint32_t i = 0; !key && i < s->key_count; i++)
        key = tl__expr_equal(s->keys[i], target);
    if (!key)
        return TL_OK;
    struct tl_expr *moved = tl__clone(b, conjunct);
    if (!moved)
        return b->st->code;
    enum tl_code rc = move_in(s, target, &moved);
    struct tl_expr *pair[2] = {moved, s->where};
    if (!rc)
        rc = tl__make_and(b, pair, s->where ? 2 : 1, &s->where);
    *pushed = !rc;
    return rc;
}

/* ---- what is taken out for a join ---- */

static void count_outers(const struct tl_expr *e, uint32_t *count)
{
    *count += (int)e->kind == TL__EXPR_OUTER;
    for (uint32_t i = 0; i < e->arg_count && (int)e->kind != TL__EXPR_OUTER; i++)
        count_outers(e->args[i], count);
}

/* local = outer, either way round. */
static bool is_pair(const struct tl_expr *e, struct tl_expr **local, struct tl_expr **outer)
{
    if (e->kind != TL_EXPR_CALL || e->arg_count != 2 || strcmp(e->function->name, "=") != 0)
        return false;
    for (uint32_t side = 0; side < 2; side++) {
        *local = e->args[side];
        *outer = e->args[1 - side];
        if (!tl__has_kind(*local, TL__EXPR_OUTER) && tl__has_kind(*local, TL_EXPR_COLUMN) &&
            !tl__has_kind(*local, TL__EXPR_SUBLINK) && tl__has_kind(*outer, TL__EXPR_OUTER) &&
            !tl__has_kind(*outer, TL_EXPR_COLUMN) && !tl__has_kind(*outer, TL__EXPR_SUBLINK) &&
            tl_type_eq((*local)->type, (*outer)->type))
            return true;
    }
    return false;
}

/* Columns of the block in a condition become the outputs that hold them, added when new. */
static enum tl_code columns_to_outputs(struct tl__select *s, struct tl_expr **e)
{
    if ((int)(*e)->kind == TL__EXPR_OUTER)
        return TL_OK;
    for (uint32_t i = 0; i < (*e)->arg_count; i++) {
        enum tl_code rc = columns_to_outputs(s, &(*e)->args[i]);
        if (rc)
            return rc;
    }
    if ((*e)->kind != TL_EXPR_COLUMN)
        return TL_OK;
    uint32_t at = 0;
    while (at < s->target_count && !tl__expr_equal(s->targets[at].expr, *e))
        at++;
    if (at == s->target_count) {
        enum tl_code rc = add_target(s, *e, "", NULL, true);
        if (rc)
            return rc;
    }
    *e = tl__expr_new(s->block.b, TL_EXPR_COLUMN, (*e)->type, 0, (*e)->position);
    if (!*e)
        return s->block.b->st->code;
    (*e)->index = tl__code(TL__TAKEN_REL, at);
    return TL_OK;
}

/* The value of a target when there are no rows: its aggregates' values are known then. */
static enum tl_code over_nothing(struct tl__select *s, struct tl_expr **e, bool *known)
{
    struct tl__binder *b = s->block.b;
    if ((int)(*e)->kind == TL__EXPR_AGGREGATE) {
        const struct tl_aggregate *a = &s->block.aggregates[(*e)->index];
        int64_t zero = 0;
        bool counts = a->kind <= TL_AGG_COUNT_DISTINCT || a->kind == TL_AGG_APPROX_DISTINCT;
        *known = *known && a->kind <= TL_AGG_APPROX_PERCENTILE;
        *e = counts ? tl__const_new(b, a->type, &zero, 0) : tl__null_new(b, a->type, 0);
        return *e ? TL_OK : b->st->code;
    }
    for (uint32_t i = 0; i < (*e)->arg_count; i++) {
        enum tl_code rc = over_nothing(s, &(*e)->args[i], known);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code take_pairs(struct tl__select *s, struct tl_expr **list, uint32_t count,
                               struct tl__taken *out)
{
    struct tl__binder *b = s->block.b;
    out->local = tl_arena_calloc(b->arena, count + 1u, sizeof(struct tl_expr *), b->st);
    out->outer = tl_arena_calloc(b->arena, count + 1u, sizeof(struct tl_expr *), b->st);
    out->residual = tl_arena_calloc(b->scratch, count + 1u, sizeof(struct tl_expr *), b->st);
    if (!out->local || !out->outer || !out->residual)
        return b->st->code;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!tl__has_kind(list[i], TL__EXPR_OUTER))
            list[kept++] = list[i];
        else if (is_pair(list[i], &out->local[out->pair_count], &out->outer[out->pair_count]))
            out->pair_count++;
        else
            out->residual[out->residual_count++] = list[i];
    }
    return tl__make_and(b, list, kept, &s->where);
}

enum tl_code tl__select_take(struct tl__select *s, const struct tl__level *level,
                             uint32_t outers_elsewhere, bool outputs_matter, bool scalar,
                             struct tl__taken *out)
{
    struct tl__block *k = &s->block;
    struct tl__binder *b = k->b;
    *out = (struct tl__taken){0};
    bool plain = !s->grouped && !s->ast->distinct && !s->limit && !s->offset;
    bool sums = s->grouped && s->ast->group_count == 0 && !s->having && !s->limit && !s->offset;
    if (!(scalar ? sums : plain) || k->window_call_count > 0 || !s->where)
        return TL_OK;
    struct tl_expr *one[1] = {s->where};
    bool and = s->where->kind == TL_EXPR_AND;
    struct tl_expr **list = and? s->where->args : one;
    uint32_t count = and? s->where->arg_count : 1, seen = outers_elsewhere;
    for (uint32_t i = 0; i < count; i++) {
        count_outers(list[i], &seen);
        if (tl__has_kind(list[i], TL__EXPR_OUTER) && tl__has_kind(list[i], TL__EXPR_SUBLINK))
            return TL_OK;
        struct tl_expr *l, *o;
        if (scalar && tl__has_kind(list[i], TL__EXPR_OUTER) && !is_pair(list[i], &l, &o))
            return TL_OK;
    }
    for (uint32_t i = 0; !outputs_matter && i < s->target_count; i++)
        count_outers(s->targets[i].expr, &seen);
    if (seen != level->outer_count)
        return TL_OK;
    enum tl_code rc = TL_OK;
    if (scalar) {
        bool known = true;
        out->nothing = tl__clone(b, s->targets[0].expr);
        rc = out->nothing ? over_nothing(s, &out->nothing, &known) : b->st->code;
        if (rc || !known || tl__has_kind(out->nothing, TL_EXPR_COLUMN) ||
            tl__has_kind(out->nothing, TL__EXPR_SUBLINK))
            return rc;
    }
    list = tl_arena_copy(b->scratch, list, count * sizeof(struct tl_expr *), b->st);
    if (!list)
        return b->st->code;
    rc = take_pairs(s, list, count, out);
    if (!outputs_matter)
        s->target_count = s->visible_count = s->sort_count = 0;
    out->first = s->target_count;
    for (uint32_t i = 0; !rc && i < out->pair_count; i++)
        rc = add_target(s, out->local[i], "", NULL, true);
    for (uint32_t i = 0; !rc && i < out->residual_count; i++)
        rc = columns_to_outputs(s, &out->residual[i]);
    if (scalar) {
        s->keys = out->local;
        s->key_count = out->pair_count;
        s->sort_count = 0;
    }
    if (!rc && s->target_count == 0) { /* a join of nothing but whether there is a row */
        uint8_t yes = 1;
        struct tl_expr *e = tl__const_new(b, tl_type_of(TL_BOOLEAN), &yes, 0);
        rc = e ? add_target(s, e, "", NULL, true) : b->st->code;
    }
    s->visible_count = s->target_count;
    out->output_count = s->target_count;
    out->done = !rc;
    return rc;
}
