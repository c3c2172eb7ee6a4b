/*
 * query/bind_series.c: functions that give several rows, in a select list.
 *
 * PostgreSQL runs all of them in step and gives NULL for those that have ended. Over arrays that is
 * one count to the longest array in FROM, LATERAL, and subscripts in the select list:
 *
 *   SELECT unnest(a), generate_subscripts(b, 1) FROM t
 *   SELECT a[array_lower(a, 1) + i - 1], … FROM t, generate_series(1, greatest(…)) i
 *
 * It is done to the parser's tree, before anything is bound. generate_series itself moves as it
 * is, when it stands alone. _pg_expandarray gives pairs (x, n), which are the text "(x,n)" of type
 * record; (…).x and (…).n take them apart.
 */
#include <string.h>

#include "query/bind_int.h"

enum { CALLS_MAX = 32 };
#define SERIES "$series"

struct series {
    struct tl__binder *b;
    uint32_t count;
    const struct tl_ast *calls[CALLS_MAX];
    bool aggregate;
    bool several; /* arrays, so that one may end before the other */
    bool plain;   /* generate_series */
};

bool tl__is_series_name(const char *name)
{
    return strcmp(name, "unnest") == 0 || strcmp(name, "generate_subscripts") == 0 ||
           strcmp(name, "_pg_expandarray") == 0 || strcmp(name, "generate_series") == 0;
}

static bool is_series(const struct tl_ast *ast)
{
    return ast->kind == TL_AST_CALL && !ast->call->over && tl__is_series_name(ast->name);
}

static void find_calls(struct series *s, const struct tl_ast *ast)
{
    if (!ast)
        return;
    if (ast->kind == TL_AST_CALL && tl__is_aggregate_name(ast->name))
        s->aggregate = true;
    if (is_series(ast)) {
        if (s->count < CALLS_MAX)
            s->calls[s->count] = ast;
        s->count++;
        return;
    }
    find_calls(s, ast->operand);
    for (uint32_t i = 0; i < ast->arg_count; i++)
        find_calls(s, ast->args[i]);
}

/* ---- trees ---- */

static struct tl_ast *node(struct series *s, enum tl_ast_kind kind, int32_t position,
                           uint32_t arg_count)
{
    struct tl_ast *ast = tl_arena_calloc(s->b->scratch, 1, sizeof(*ast), s->b->st);
    if (!ast)
        return NULL;
    ast->kind = (uint8_t)kind;
    ast->position = position;
    ast->arg_count = arg_count;
    ast->args = tl_arena_calloc(s->b->scratch, arg_count + 1u, sizeof(struct tl_ast *), s->b->st);
    return ast->args ? ast : NULL;
}

static struct tl_ast *call(struct series *s, const char *name, const struct tl_ast *a,
                           const struct tl_ast *b, int32_t position)
{
    struct tl_ast *ast = node(s, TL_AST_CALL, position, b ? 2 : 1);
    if (!ast || !a)
        return NULL;
    ast->name = name;
    ast->args[0] = (struct tl_ast *)(uintptr_t)a;
    ast->args[1] = (struct tl_ast *)(uintptr_t)b;
    ast->call = tl_arena_calloc(s->b->scratch, 1, sizeof(*ast->call), s->b->st);
    return ast->call ? ast : NULL;
}

static struct tl_ast *operator(struct series *s, const char *name, const struct tl_ast *a,
                               const struct tl_ast *b)
{
    struct tl_ast *ast = node(s, TL_AST_OP, a ? a->position : 0, 2);
    if (!ast || !a || !b)
        return NULL;
    ast->name = name;
    ast->args[0] = (struct tl_ast *)(uintptr_t)a;
    ast->args[1] = (struct tl_ast *)(uintptr_t)b;
    return ast;
}

static struct tl_ast *integer(struct series *s, int64_t v)
{
    struct tl_ast *ast = node(s, TL_AST_INT, 0, 0);
    if (ast)
        ast->integer = v;
    return ast;
}

static struct tl_ast *text(struct series *s, const char *v)
{
    struct tl_ast *ast = node(s, TL_AST_STRING, 0, 0);
    if (ast)
        ast->text = tl_slice_str(v);
    return ast;
}

static struct tl_ast *cast(struct series *s, struct tl_ast *of, struct tl_type type,
                           const char *name)
{
    struct tl_ast *ast = node(s, TL_AST_CAST, of ? of->position : 0, 1);
    if (!ast || !of)
        return NULL;
    ast->args[0] = of;
    ast->cast = tl_arena_calloc(s->b->scratch, 1, sizeof(*ast->cast), s->b->st);
    if (!ast->cast)
        return NULL;
    *ast->cast = (struct tl_ast_type){.type = type, .name = name};
    return ast;
}

static struct tl_ast *int4(struct series *s, struct tl_ast *of)
{
    return cast(s, of, tl_type_flavoured(TL_BIGINT, TL_FLAVOUR_INT4), "int4");
}

/* Counts from 1. */
static struct tl_ast *counter(struct series *s)
{
    struct tl_ast *ast = node(s, TL_AST_COLUMN, 0, 0);
    if (!ast)
        return NULL;
    ast->name = "value";
    ast->qualifier = SERIES;
    return ast;
}

/* array_lower(a, 1) - 1 + counter */
static struct tl_ast *subscript_of(struct series *s, const struct tl_ast *array)
{
    struct tl_ast *lower = call(s, "array_lower", array, integer(s, 1), array->position);
    return operator(s, "+", operator(s, "-", lower, integer(s, 1)), counter(s));
}

static struct tl_ast *element_of(struct series *s, const struct tl_ast *array)
{
    struct tl_ast *ast = node(s, TL_AST_SUBSCRIPT, array->position, 2);
    if (!ast)
        return NULL;
    ast->args[0] = (struct tl_ast *)(uintptr_t)array;
    ast->args[1] = subscript_of(s, array);
    return ast->args[1] ? ast : NULL;
}

/* NULL once the array has ended. */
static struct tl_ast *while_inside(struct series *s, const struct tl_ast *array,
                                   struct tl_ast *value)
{
    if (!s->several || !value)
        return value;
    struct tl_ast *ast = node(s, TL_AST_CASE, array->position, 3);
    struct tl_ast *size = call(s, "cardinality", array, NULL, array->position);
    if (!ast || !size)
        return NULL;
    ast->args[0] = operator(s, "<=", counter(s), size);
    ast->args[1] = value;
    return ast->args[0] ? ast : NULL;
}

/* '(' || a[i] || ',' || i || ')' */
static struct tl_ast *pair_of(struct series *s, const struct tl_ast *array)
{
    struct tl_ast *t = operator(s, "||", text(s, "("), element_of(s, array));
    t = operator(s, "||", t, text(s, ","));
    t = operator(s, "||", t, counter(s));
    t = operator(s, "||", t, text(s, ")"));
    return cast(s, t, tl_type_flavoured(TL_TEXT, TL_FLAVOUR_RECORD), "record");
}

/* What stands in the call's place; `field` NULL: of _pg_expandarray the pair. */
static struct tl_ast *replacement(struct series *s, const struct tl_ast *of, const char *field)
{
    const struct tl_ast *array = of->args[0];
    if (s->plain)
        return counter(s);
    if (strcmp(of->name, "unnest") == 0 || (field && strcmp(field, "x") == 0))
        return element_of(s, array);
    if (field)
        return while_inside(s, array, int4(s, counter(s)));
    if (strcmp(of->name, "_pg_expandarray") == 0)
        return while_inside(s, array, pair_of(s, array));
    return while_inside(s, array, int4(s, subscript_of(s, array)));
}

/* A copy with the calls replaced; NULL with the status set at a limit. */
static struct tl_ast *rewrite(struct series *s, const struct tl_ast *ast)
{
    if (is_series(ast))
        return replacement(s, ast, NULL);
    if (ast->kind == TL_AST_FIELD && is_series(ast->args[0]) &&
        strcmp(ast->args[0]->name, "_pg_expandarray") == 0 &&
        (strcmp(ast->name, "x") == 0 || strcmp(ast->name, "n") == 0))
        return replacement(s, ast->args[0], ast->name);
    struct tl_ast *copy = tl_arena_copy(s->b->scratch, ast, sizeof(*ast), s->b->st);
    if (!copy)
        return NULL;
    if (ast->operand && !(copy->operand = rewrite(s, ast->operand)))
        return NULL;
    copy->args =
        tl_arena_calloc(s->b->scratch, ast->arg_count + 1u, sizeof(struct tl_ast *), s->b->st);
    for (uint32_t i = 0; copy->args && i < ast->arg_count; i++)
        if (ast->args[i] && !(copy->args[i] = rewrite(s, ast->args[i])))
            return NULL;
    return copy->args ? copy : NULL;
}

/* ---- the SELECT ---- */

static bool same_tree(const struct tl_ast *a, const struct tl_ast *b)
{
    if (a->kind != TL_AST_COLUMN || b->kind != TL_AST_COLUMN || strcmp(a->name, b->name) != 0 ||
        !a->qualifier != !b->qualifier)
        return false;
    return !a->qualifier || strcmp(a->qualifier, b->qualifier) == 0;
}

/* generate_series as it stands, or up to the size of the longest array. */
static struct tl_ast *counting_call(struct series *s)
{
    const struct tl_ast *first = s->calls[0];
    if (s->plain)
        return (struct tl_ast *)(uintptr_t)first;
    struct tl_ast *size = call(s, "cardinality", first->args[0], NULL, first->position);
    if (s->several) {
        struct tl_ast *most = node(s, TL_AST_GREATEST, first->position, s->count);
        for (uint32_t i = 0; most && i < s->count; i++)
            if (!(most->args[i] =
                      call(s, "cardinality", s->calls[i]->args[0], NULL, s->calls[i]->position)))
                return NULL;
        size = most;
    }
    struct tl_ast *one = integer(s, 1);
    return one && size ? call(s, "generate_series", one, size, first->position) : NULL;
}

static enum tl_code check_calls(struct series *s, const struct tl_ast_select *ast)
{
    struct tl__binder *b = s->b;
    const struct tl_ast *first = s->calls[0];
    if (s->count > CALLS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54023", first->position,
                             "a select list has at most %d functions of several rows", CALLS_MAX);
    if (s->aggregate || ast->group_count > 0 || ast->having)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", first->position,
                             "%s in the select list of a query with groups is not supported",
                             first->name);
    for (uint32_t i = 0; i < ast->target_count; i++)
        if (ast->targets[i].expr->kind == TL_AST_STAR && !ast->targets[i].expr->qualifier)
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", first->position,
                                 "%s beside * in a select list is not supported", first->name);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tl_ast *c = s->calls[i];
        bool series = strcmp(c->name, "generate_series") == 0;
        bool subscripts = strcmp(c->name, "generate_subscripts") == 0;
        if (series && s->count > 1)
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", c->position,
                                 "generate_series beside another function of several rows in a "
                                 "select list is not supported");
        if (!series && c->arg_count != (subscripts ? 2 : 1))
            return TL__BIND_FAIL(b, TL_INVALID, "42883", c->position,
                                 "function %s with %u arguments does not exist", c->name,
                                 c->arg_count);
        if (subscripts && (c->args[1]->kind != TL_AST_INT || c->args[1]->integer != 1))
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", c->position,
                                 "generate_subscripts of a dimension other than 1 is not "
                                 "supported");
        s->plain = series;
        s->several = s->several || (i > 0 && !same_tree(c->args[0], s->calls[0]->args[0]));
    }
    return TL_OK;
}

/* SELECT string_agg(x, s) FROM … without groups, and array_agg(x): the array of what it would
 * aggregate, joined. NULL when there is no row. */
static enum tl_code gather_query(struct series *s, const struct tl_ast_select *ast,
                                 const struct tl_ast_select **out)
{
    struct tl__binder *b = s->b;
    const struct tl_ast_target *t = &ast->targets[0];
    const struct tl_ast *of = t->expr;
    bool text = strcmp(of->name, "string_agg") == 0;
    struct tl_ast_select *inner = tl_arena_copy(b->scratch, ast, sizeof(*ast), b->st);
    struct tl_ast_select *outer = tl_arena_calloc(b->scratch, 1, sizeof(*outer), b->st);
    struct tl_ast_target *targets = tl_arena_calloc(b->scratch, 2, sizeof(*targets), b->st);
    struct tl_ast *array = node(s, TL_AST_SUBLINK, of->position, 0);
    if (!inner || !outer || !targets || !array)
        return b->st->code;
    array->integer = TL_SUBLINK_ARRAY;
    array->name = "=";
    array->select = inner;
    targets[0].expr = of->args[0];
    inner->targets = targets;
    inner->target_count = 1;
    inner->order_count = of->call->order_count;
    inner->order = of->call->order;
    targets[1].expr = text ? call(s, "$gather", array, of->args[1], of->position)
                           : call(s, "$gather", array, NULL, of->position);
    if (!targets[1].expr)
        return b->st->code;
    targets[1].expr->integer = TL__INNER_CALL;
    targets[1].alias = t->alias ? t->alias : of->name;
    outer->targets = &targets[1];
    outer->target_count = 1;
    outer->position = ast->position;
    *out = outer;
    return TL_OK;
}

static bool is_gather(const struct tl_ast_select *ast)
{
    const struct tl_ast *of = ast->target_count == 1 ? ast->targets[0].expr : NULL;
    if (!of || of->kind != TL_AST_CALL || ast->group_count > 0 || ast->having || ast->distinct ||
        ast->limit || ast->offset || ast->order_count > 0 || ast->window_count > 0 ||
        of->call->over || of->call->distinct || of->call->filter || of->call->within_group)
        return false;
    bool text = strcmp(of->name, "string_agg") == 0;
    return (text || strcmp(of->name, "array_agg") == 0) && of->arg_count == (text ? 2 : 1) &&
           !tl__is_aggregate_name(of->name);
}

enum tl_code tl__select_series(struct tl__binder *b, const struct tl_ast_select *ast,
                               const struct tl_ast_select **out)
{
    struct series s = {.b = b};
    if (is_gather(ast))
        return gather_query(&s, ast, out);
    for (uint32_t i = 0; i < ast->target_count; i++)
        find_calls(&s, ast->targets[i].expr);
    *out = ast;
    if (s.count == 0)
        return TL_OK;
    enum tl_code rc = check_calls(&s, ast);
    if (rc)
        return rc;
    struct tl_ast_select *copy = tl_arena_copy(b->scratch, ast, sizeof(*ast), b->st);
    struct tl_ast_from *from = tl_arena_calloc(b->scratch, 1, sizeof(*from), b->st);
    struct tl_ast_from **list =
        tl_arena_calloc(b->scratch, ast->from_count + 1u, sizeof(struct tl_ast_from *), b->st);
    const char **names = tl_arena_calloc(b->scratch, 1, sizeof(*names), b->st);
    struct tl_ast_target *targets =
        tl_arena_calloc(b->scratch, ast->target_count, sizeof(*targets), b->st);
    struct tl_ast *counting = counting_call(&s);
    if (!copy || !from || !list || !names || !targets || !counting)
        return b->st->code;
    names[0] = "value";
    *from = (struct tl_ast_from){.kind = TL_FROM_FUNCTION,
                                 .position = s.calls[0]->position,
                                 .alias = SERIES,
                                 .column_alias_count = 1,
                                 .column_aliases = names,
                                 .lateral = true,
                                 .call = counting};
    for (uint32_t i = 0; i < ast->from_count; i++)
        list[i] = ast->from[i];
    list[ast->from_count] = from;
    for (uint32_t i = 0; i < ast->target_count; i++) {
        const struct tl_ast_target *t = &ast->targets[i];
        bool star = t->expr->kind == TL_AST_STAR;
        targets[i].alias = t->alias || star ? t->alias : tl__figure_name(t->expr);
        targets[i].expr = rewrite(&s, t->expr);
        if (!targets[i].expr)
            return b->st->code;
    }
    copy->from = list;
    copy->from_count = ast->from_count + 1;
    copy->targets = targets;
    *out = copy;
    return TL_OK;
}

/* FROM unnest(a) [WITH ORDINALITY] alias (column): a LATERAL subquery. */
enum tl_code tl__unnest_query(struct tl__binder *b, const struct tl_ast_from *f,
                              const struct tl_ast_select **out)
{
    struct series s = {.b = b};
    struct tl_ast_select *select = tl_arena_calloc(b->scratch, 1, sizeof(*select), b->st);
    struct tl_ast_target *targets = tl_arena_calloc(b->scratch, 2, sizeof(*targets), b->st);
    if (!select || !targets)
        return b->st->code;
    targets[0] = (struct tl_ast_target){f->call, f->alias ? f->alias : f->call->name};
    if (f->ordinality && f->call->arg_count == 1) {
        const struct tl_ast *array = f->call->args[0];
        struct tl_ast *subscripts =
            call(&s, "generate_subscripts", array, integer(&s, 1), f->position);
        struct tl_ast *lower = call(&s, "array_lower", array, integer(&s, 1), f->position);
        struct tl_ast *number = operator(&s, "+", operator(&s, "-", subscripts, lower),
                                         integer(&s, 1));
        number = cast(&s, number, tl_type_of(TL_BIGINT), "int8");
        if (!number)
            return b->st->code;
        targets[1] = (struct tl_ast_target){number, "ordinality"};
    }
    select->targets = targets;
    select->target_count = targets[1].expr ? 2 : 1;
    *out = select;
    return TL_OK;
}

/* ---- fields ---- */

enum tl_code tl__bind_field(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    struct tl_expr *of;
    enum tl_code rc = tl__bind(k, ast->args[0], &of);
    if (rc)
        return rc;
    bool x = strcmp(ast->name, "x") == 0;
    if (of->type.kind != TL_TEXT || of->type.flavour != TL_FLAVOUR_RECORD)
        return TL__BIND_FAIL(b, TL_INVALID, "42809", ast->position,
                             "column notation .%s applied to type %s, which is not a composite "
                             "type",
                             ast->name, tl__type_label(of->type));
    if (!x && strcmp(ast->name, "n") != 0)
        return TL__BIND_FAIL(b, TL_INVALID, "42703", ast->position,
                             "could not identify column \"%s\" in record data type", ast->name);
    const int64_t number = x ? 1 : 2;
    struct tl_type plain = tl_type_of(TL_TEXT);
    struct tl_expr *trim[2] = {of, tl__text_new(b, plain, tl_slice_str("()"), ast->position)};
    struct tl_expr *part[3] = {NULL, tl__text_new(b, plain, tl_slice_str(","), ast->position),
                               tl__const_new(b, tl_type_of(TL_BIGINT), &number, ast->position)};
    if (!trim[1] || !part[1] || !part[2])
        return b->st->code;
    rc = tl__call(b, "btrim", trim, 2, false, ast->position, &part[0]);
    if (!rc)
        rc = tl__call(b, "split_part", part, 3, false, ast->position, out);
    if (!rc)
        rc = tl__coerce(b, out, tl_type_of(TL_BIGINT), NULL);
    if (!rc)
        (*out)->type.flavour = x ? TL_FLAVOUR_INT2 : TL_FLAVOUR_INT4;
    return rc;
}
