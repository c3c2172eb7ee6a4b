/*
 * One expression: names become columns, operators and functions become calls, types are closed.
 *
 * Recursion is bounded: the parser has refused trees deeper than TL_SQL_DEPTH_MAX.
 */
#include "query/bind_int.h"

#include <string.h>

#include "base/assert.h"
#include "base/pg_type.h"
#include "query/catalog.h"

/* ---- columns ---- */

enum tl_code tl__grow(struct tl__binder *b, void *list, uint32_t count, uint32_t *capacity,
                      size_t width)
{
    if (count < *capacity)
        return TL_OK;
    uint32_t more = *capacity ? 2 * *capacity : 16;
    void *wider = tl_arena_calloc(b->scratch, more, width, b->st);
    if (!wider)
        return b->st->code;
    void *old;
    memcpy(&old, list, sizeof(old));
    if (count > 0)
        memcpy(wider, old, count * width);
    memcpy(list, &wider, sizeof(wider));
    *capacity = more;
    return TL_OK;
}

/* A reference to a column (or a key of its props) of a table that the block scans. */
static enum tl_code scan_column(struct tl__block *k, struct tl__scope *s, uint32_t column,
                                struct tl_slice key, int32_t position, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    uint32_t at = 0;
    while (at < s->scan_count &&
           !(s->scan[at].column == column && tl_slice_eq(s->scan[at].props_key, key)))
        at++;
    enum tl_code rc = TL_OK;
    if (at >= TL__SCAN_COLUMNS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54011", position,
                             "a statement can read at most %d columns and keys of a table",
                             TL__SCAN_COLUMNS_MAX);
    if (at == s->scan_count) {
        rc = tl__grow(b, &s->scan, s->scan_count, &s->scan_capacity, sizeof(*s->scan));
        if (rc)
            return rc;
        s->scan[s->scan_count++] = (struct tl__scan_ref){column, key};
    }
    rc = tl__grow(b, &s->refs, s->ref_count, &s->ref_capacity, sizeof(struct tl_expr *));
    if (rc)
        return rc;
    struct tl_type type = key.size > 0 ? tl_type_of(TL_TEXT) : s->table->columns[column].type;
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_COLUMN, type, 0, position);
    if (!e)
        return b->st->code;
    e->index = tl__code(s->number, at);
    s->refs[s->ref_count++] = e;
    *out = e;
    return TL_OK;
}

/* A column of a subquery that is folded in: what stands in its select list, bound over what the
 * subquery itself reads. */
static enum tl_code view_column(struct tl__block *k, struct tl__scope *s, uint32_t index,
                                int32_t position, struct tl_expr **out)
{
    struct tl__view *view = s->view;
    const struct tl__view_column *c = &view->columns[index];
    struct tl__scope *inside = k->inside;
    s->view = view->inner;
    k->inside = s;
    enum tl_code rc =
        c->ast ? tl__bind(k, c->ast, out) : tl__column_at(k, s, c->index, position, out);
    k->inside = inside;
    s->view = view;
    if (!rc && tl__is_open(*out))
        rc = tl__coerce(k->b, out, tl_type_of(TL_TEXT), NULL);
    if (!rc)
        (*out)->position = position;
    return rc;
}

enum tl_code tl__column_at(struct tl__block *k, struct tl__scope *s, uint32_t index,
                           int32_t position, struct tl_expr **out)
{
    if (s->view)
        return view_column(k, s, index, position, out);
    if (s->table)
        return scan_column(k, s, index, (struct tl_slice){0}, position, out);
    struct tl_expr *e = tl__expr_new(k->b, TL_EXPR_COLUMN, s->outputs[index].type, 0, position);
    if (!e)
        return k->b->st->code;
    e->index = tl__code(s->number, index);
    *out = e;
    return TL_OK;
}

uint32_t tl__scope_count(const struct tl__scope *s)
{
    return s->view ? s->view->column_count : s->table ? s->table->column_count : s->output_count;
}

const char *tl__scope_name(const struct tl__scope *s, uint32_t index)
{
    /* Aliases of columns are the outermost names. */
    bool outermost = s->view == s->outer_view;
    if (index < s->alias_count && outermost)
        return s->aliases[index];
    return s->view    ? s->view->columns[index].name
           : s->table ? s->table->columns[index].name
                      : s->outputs[index].name;
}

const char *tl__scope_qualifier(const struct tl__scope *s)
{
    return s->view ? s->view->qualifier : s->qualifier;
}

bool tl__is_props(const struct tl__scope *s, uint32_t index)
{
    return !s->view && s->table && s->table->columns[index].type.kind == TL_PROPS;
}

enum tl_code tl__bind_name(struct tl__block *k, const struct tl__name *n, int32_t position,
                           struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    if (n->part_count == 1)
        return tl__column_at(k, n->parts[0].scope, n->parts[0].index, position, out);
    struct tl_expr **parts =
        tl_arena_calloc(b->scratch, n->part_count, sizeof(struct tl_expr *), b->st);
    if (!parts)
        return b->st->code;
    for (uint32_t i = 0; i < n->part_count; i++) {
        enum tl_code rc =
            tl__column_at(k, n->parts[i].scope, n->parts[i].index, position, &parts[i]);
        if (rc)
            return rc;
    }
    struct tl_type type;
    enum tl_code rc = tl__unify(b, parts, n->part_count, "JOIN/USING", &type);
    if (rc)
        return rc;
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_COALESCE, type, n->part_count, position);
    if (!e)
        return b->st->code;
    memcpy(e->args, parts, n->part_count * sizeof(struct tl_expr *));
    *out = e;
    return TL_OK;
}

static enum tl_code ambiguous(struct tl__block *k, const struct tl_ast *ast)
{
    return TL__BIND_FAIL(k->b, TL_INVALID, "42702", ast->position,
                         "column reference \"%s\" is ambiguous", ast->name);
}

/* The name in the block's own FROM; *out NULL when there is none. A qualifier that is there
 * without that column is an error. `room` is for a name made up. */
static enum tl_code find_name(struct tl__block *k, const struct tl_ast *ast,
                              const struct tl__name **out, struct tl__name *room,
                              struct tl__name_part *part)
{
    struct tl__scope *s = k->inside;
    *out = NULL;
    if (s && ast->qualifier && strcmp(ast->qualifier, tl__scope_qualifier(s)) != 0)
        return TL_OK;
    if (!s && ast->qualifier) {
        enum tl_code rc = tl__find_scope(k, ast->schema, ast->qualifier, ast->position, &s);
        if (rc || !s)
            return rc;
    }
    if (!s) {
        for (uint32_t i = k->name_first; i < k->name_count; i++) {
            if (strcmp(k->names[i].name, ast->name) != 0)
                continue;
            if (*out)
                return ambiguous(k, ast);
            *out = &k->names[i];
        }
        return TL_OK;
    }
    for (uint32_t i = 0; i < tl__scope_count(s); i++) {
        if (strcmp(tl__scope_name(s, i), ast->name) != 0)
            continue;
        if (*out)
            return ambiguous(k, ast);
        *part = (struct tl__name_part){s, i};
        *room = (struct tl__name){ast->name, 1, part};
        *out = room;
    }
    if (!*out && ast->qualifier && strcmp(ast->name, "tableoid") != 0)
        return TL__BIND_FAIL(k->b, TL_NOT_FOUND, "42703", ast->position,
                             "column %s.%s does not exist", ast->qualifier, ast->name);
    return TL_OK;
}

enum tl_code tl__bind_column(struct tl__block *k, const struct tl_ast *ast, bool *found,
                             struct tl_expr **out)
{
    const struct tl__name *name;
    struct tl__name room;
    struct tl__name_part part;
    *found = false;
    enum tl_code rc = find_name(k, ast, &name, &room, &part);
    if (rc || !name)
        return rc;
    *found = true;
    if (name->part_count == 1 && tl__is_props(name->parts[0].scope, name->parts[0].index))
        return TL__BIND_FAIL(k->b, TL_UNSUPPORTED, "0A000", ast->position,
                             "column \"%s\" as a whole value is not supported; read one key with "
                             "%s['key']",
                             ast->name, ast->name);
    return tl__bind_name(k, name, ast->position, out);
}

/* props['key'] of the block's own FROM; *found false: args[0] is no such column. */
static enum tl_code bind_props(struct tl__block *k, const struct tl_ast *ast, bool *found,
                               struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    const struct tl_ast *map = ast->args[0], *key = ast->args[1];
    const struct tl__name *name;
    struct tl__name room;
    struct tl__name_part part;
    *found = false;
    if (map->kind != TL_AST_COLUMN)
        return TL_OK;
    enum tl_code rc = find_name(k, map, &name, &room, &part);
    if (rc || !name || name->part_count != 1 ||
        !tl__is_props(name->parts[0].scope, name->parts[0].index))
        return rc;
    if (key->kind != TL_AST_STRING || key->text.size == 0)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", key->position,
                             "a key of \"%s\" that is not a string literal is not supported",
                             map->name);
    *found = true;
    struct tl_slice kept = key->text;
    kept.data = tl_arena_copy(b->arena, key->text.data, key->text.size, b->st);
    if (!kept.data)
        return b->st->code;
    return scan_column(k, name->parts[0].scope, name->parts[0].index, kept, ast->position, out);
}

enum tl_code tl__outer_new(struct tl__binder *b, struct tl__level *level, struct tl_expr *of,
                           struct tl_expr **out)
{
    if (tl__is_open(of)) {
        enum tl_code rc = tl__coerce(b, &of, tl_type_of(TL_TEXT), NULL);
        if (rc)
            return rc;
    }
    enum tl_code rc = tl__grow(b, &level->outers, level->outer_count, &level->outer_capacity,
                               sizeof(struct tl_expr *));
    if (rc)
        return rc;
    struct tl_expr *e =
        tl__expr_new(b, (enum tl_expr_kind)TL__EXPR_OUTER, of->type, 1, of->position);
    if (!e)
        return b->st->code;
    e->args[0] = of;
    e->index = level->outer_count;
    level->outers[level->outer_count++] = e;
    *out = e;
    return TL_OK;
}

/* A column, or a key of a props column, of this block or of one around it. */
static enum tl_code bind_reference(struct tl__block *k, const struct tl_ast *ast, bool *found,
                                   struct tl_expr **out)
{
    enum tl_code rc = ast->kind == TL_AST_COLUMN ? tl__bind_column(k, ast, found, out)
                                                 : bind_props(k, ast, found, out);
    struct tl__block *parent = k->level ? k->level->parent : NULL;
    if (rc || *found || !parent)
        return rc;
    struct tl_expr *of;
    rc = bind_reference(parent, ast, found, &of);
    if (rc || !*found)
        return rc;
    if (parent->in_aggregate || parent->in_window)
        return TL__BIND_FAIL(k->b, TL_UNSUPPORTED, "0A000", ast->position,
                             "a correlated subquery within an aggregate or window function is not "
                             "supported");
    return tl__outer_new(k->b, k->level, of, out);
}

static enum tl_code no_column(struct tl__block *k, const struct tl_ast *ast)
{
    if (ast->qualifier)
        return TL__BIND_FAIL(k->b, TL_NOT_FOUND, "42P01", ast->position,
                             "missing FROM-clause entry for table \"%s\"", ast->qualifier);
    return TL__BIND_FAIL(k->b, TL_NOT_FOUND, "42703", ast->position, "column \"%s\" does not exist",
                         ast->name);
}

/* t.tableoid of a catalog: which of them a description would be about. */
static enum tl_code bind_tableoid(struct tl__block *k, const struct tl_ast *ast, bool *found,
                                  struct tl_expr **out)
{
    struct tl__scope *s = NULL;
    *found = false;
    if (ast->kind != TL_AST_COLUMN || !ast->qualifier || strcmp(ast->name, "tableoid") != 0)
        return TL_OK;
    enum tl_code rc = tl__find_scope(k, ast->schema, ast->qualifier, ast->position, &s);
    if (rc || !s || !s->table || s->view || !tl_catalog_owns(s->table->id))
        return rc;
    int64_t oid = s->table->id & ~TL_CATALOG_BIT;
    *found = true;
    *out = tl__const_new(k->b, tl_type_flavoured(TL_BIGINT, TL_FLAVOUR_OID), &oid, ast->position);
    return *out ? TL_OK : k->b->st->code;
}

static enum tl_code bind_column_ref(struct tl__block *k, const struct tl_ast *ast,
                                    struct tl_expr **out)
{
    bool found;
    enum tl_code rc = bind_reference(k, ast, &found, out);
    if (rc || found)
        return rc;
    return bind_tableoid(k, ast, &found, out) || found ? k->b->st->code : no_column(k, ast);
}

/* array[index] and array[from:to] */
static enum tl_code subscript_array(struct tl__block *k, struct tl_expr *array,
                                    const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl_expr *args[3] = {array, NULL, NULL};
    for (uint32_t i = 1; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &args[i]);
        if (!rc)
            rc = tl__coerce(k->b, &args[i], tl_type_of(TL_BIGINT), "array subscript");
        if (rc)
            return rc;
    }
    return tl__call(k->b, ast->arg_count == 3 ? "$slice" : "$subscript", args, ast->arg_count,
                    false, ast->position, out);
}

static enum tl_code bind_subscript(struct tl__block *k, const struct tl_ast *ast,
                                   struct tl_expr **out)
{
    bool found = false;
    enum tl_code rc = ast->arg_count == 2 ? bind_reference(k, ast, &found, out) : TL_OK;
    if (rc || found)
        return rc;
    struct tl_expr *e;
    rc = tl__bind(k, ast->args[0], &e);
    if (rc)
        return rc;
    if (e->type.kind == TL_ARRAY)
        return subscript_array(k, e, ast, out);
    return TL__BIND_FAIL(k->b, TL_INVALID, "42804", ast->position,
                         "cannot subscript type %s because it does not support subscripting",
                         tl__type_label(e->type));
}

/* ---- leaves ---- */

static enum tl_code made(struct tl__binder *b, struct tl_expr *e, struct tl_expr **out)
{
    *out = e;
    return e ? TL_OK : b->st->code;
}

static enum tl_code bind_param(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    uint32_t index = (uint32_t)ast->integer - 1;
    struct tl_expr *e =
        tl__expr_new(b, TL_EXPR_PARAM, b->plan->param_types[index], 0, ast->position);
    struct tl__param_ref *ref = tl_arena_calloc(b->scratch, 1, sizeof(*ref), b->st);
    if (!e || !ref)
        return b->st->code;
    e->index = index;
    ref->expr = e;
    ref->next = b->params;
    b->params = ref;
    *out = e;
    return TL_OK;
}

/* ---- logic ---- */

enum tl_code tl__bind_condition(struct tl__block *k, const struct tl_ast *ast, const char *what,
                                struct tl_expr **out)
{
    enum tl_code rc = tl__bind(k, ast, out);
    if (rc)
        return rc;
    if (!tl__is_open(*out) && (*out)->type.kind != TL_BOOLEAN)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42804", ast->position,
                             "argument of %s must be type boolean, not type %s", what,
                             tl__type_label((*out)->type));
    return tl__coerce(k->b, out, tl_type_of(TL_BOOLEAN), what);
}

static struct tl_expr *bool_new(struct tl__binder *b, bool value, int32_t position)
{
    uint8_t byte = value;
    return tl__const_new(b, tl_type_of(TL_BOOLEAN), &byte, position);
}

enum tl_code tl__make_not(struct tl__binder *b, struct tl_expr *arg, struct tl_expr **out)
{
    int known;
    if (tl__bool_const(arg, &known))
        return made(b, known < 0 ? arg : bool_new(b, !known, arg->position), out);
    if (arg->kind == TL_EXPR_NOT)
        return made(b, arg->args[0], out);
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_NOT, tl_type_of(TL_BOOLEAN), 1, arg->position);
    if (e)
        e->args[0] = arg;
    return made(b, e, out);
}

/* AND and OR, without the members that do not matter; a deciding constant alone is left. */
static enum tl_code make_logic(struct tl__binder *b, enum tl_expr_kind kind, struct tl_expr **args,
                               uint32_t count, int32_t position, struct tl_expr **out)
{
    int decides = kind == TL_EXPR_OR;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        int known;
        if (!tl__bool_const(args[i], &known) || known < 0) {
            args[kept++] = args[i];
        } else if (known == decides) {
            return made(b, args[i], out);
        }
    }
    if (kept == 0)
        return made(b, bool_new(b, !decides, position), out);
    if (kept == 1)
        return made(b, args[0], out);
    struct tl_expr *e = tl__expr_new(b, kind, tl_type_of(TL_BOOLEAN), kept, position);
    if (e)
        memcpy(e->args, args, kept * sizeof(struct tl_expr *));
    return made(b, e, out);
}

enum tl_code tl__make_and(struct tl__binder *b, struct tl_expr *const *list, uint32_t count,
                          struct tl_expr **out)
{
    *out = count > 0 ? list[0] : NULL;
    if (count < 2)
        return TL_OK;
    struct tl_expr *e =
        tl__expr_new(b, TL_EXPR_AND, tl_type_of(TL_BOOLEAN), count, list[0]->position);
    if (e)
        memcpy(e->args, list, count * sizeof(struct tl_expr *));
    return made(b, e, out);
}

static struct tl_expr **args_new(struct tl__binder *b, uint32_t count)
{
    return tl_arena_calloc(b->scratch, count ? count : 1, sizeof(struct tl_expr *), b->st);
}

static enum tl_code bind_logic(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl_expr **args = args_new(k->b, ast->arg_count);
    if (!args)
        return k->b->st->code;
    const char *what = ast->kind == TL_AST_AND ? "AND" : ast->kind == TL_AST_OR ? "OR" : "NOT";
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind_condition(k, ast->args[i], what, &args[i]);
        if (rc)
            return rc;
    }
    if (ast->kind == TL_AST_NOT)
        return tl__make_not(k->b, args[0], out);
    return make_logic(k->b, ast->kind == TL_AST_AND ? TL_EXPR_AND : TL_EXPR_OR, args,
                      ast->arg_count, ast->position, out);
}

static enum tl_code negate_if(struct tl__binder *b, bool negated, struct tl_expr **e)
{
    return negated ? tl__make_not(b, *e, e) : TL_OK;
}

static enum tl_code bind_is_null(struct tl__block *k, const struct tl_ast *ast,
                                 struct tl_expr **out)
{
    struct tl_expr *arg;
    enum tl_code rc = tl__bind(k, ast->args[0], &arg);
    if (rc)
        return rc;
    if (arg->kind == TL_EXPR_CONST)
        return made(k->b, bool_new(k->b, tl__is_null_const(arg) != ast->negated, ast->position),
                    out);
    struct tl_expr *e =
        tl__expr_new(k->b, TL_EXPR_IS_NULL, tl_type_of(TL_BOOLEAN), 1, ast->position);
    if (!e)
        return k->b->st->code;
    e->args[0] = arg;
    *out = e;
    return negate_if(k->b, ast->negated, out);
}

/* x IS TRUE: coalesce(x, false); x IS FALSE: coalesce(NOT x, false). */
static enum tl_code bind_is_bool(struct tl__block *k, const struct tl_ast *ast,
                                 struct tl_expr **out)
{
    static const char *const what[] = {"IS FALSE", "IS TRUE", "IS UNKNOWN"};
    struct tl__binder *b = k->b;
    struct tl_expr *arg;
    enum tl_code rc = tl__bind_condition(k, ast->args[0], what[ast->integer], &arg);
    if (!rc && ast->integer == 0)
        rc = tl__make_not(b, arg, &arg);
    if (rc)
        return rc;
    bool unknown = ast->integer == 2;
    struct tl_expr *e = tl__expr_new(b, unknown ? TL_EXPR_IS_NULL : TL_EXPR_COALESCE,
                                     tl_type_of(TL_BOOLEAN), unknown ? 1 : 2, ast->position);
    if (!e)
        return b->st->code;
    e->args[0] = arg;
    if (!unknown && !(e->args[1] = bool_new(b, false, ast->position)))
        return b->st->code;
    *out = e;
    return negate_if(b, ast->negated, out);
}

/* ---- operators ---- */

enum tl_code tl__call2(struct tl__binder *b, const char *name, struct tl_expr *left,
                       struct tl_expr *right, int32_t position, struct tl_expr **out)
{
    struct tl_expr *args[2] = {left, right};
    return tl__call(b, name, args, 2, true, position, out);
}

static enum tl_code bind_operator(struct tl__block *k, const struct tl_ast *ast,
                                  struct tl_expr **out)
{
    struct tl_expr *args[2] = {NULL, NULL};
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &args[i]);
        if (rc)
            return rc;
    }
    if (ast->arg_count == 1 && strcmp(ast->name, "+") == 0) {
        if (!tl__is_number(args[0]->type))
            return TL__BIND_FAIL(k->b, TL_INVALID, "42883", ast->position,
                                 "operator does not exist: + %s", tl__type_label(args[0]->type));
        *out = args[0];
        return TL_OK;
    }
    return tl__call(k->b, ast->name, args, ast->arg_count, true, ast->position, out);
}

static enum tl_code bind_distinct_from(struct tl__block *k, const struct tl_ast *ast,
                                       struct tl_expr **out)
{
    struct tl_expr *left, *right;
    enum tl_code rc = tl__bind(k, ast->args[0], &left);
    if (!rc)
        rc = tl__bind(k, ast->args[1], &right);
    if (!rc)
        rc = tl__call2(k->b, "is_distinct", left, right, ast->position, out);
    return rc ? rc : negate_if(k->b, ast->negated, out);
}

static enum tl_code bind_like(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl_expr *args[3];
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &args[i]);
        if (rc)
            return rc;
    }
    enum tl_code rc = tl__call(k->b, ast->integer ? "ilike" : "like", args, ast->arg_count, true,
                               ast->position, out);
    return rc ? rc : negate_if(k->b, ast->negated, out);
}

static enum tl_code bind_between(struct tl__block *k, const struct tl_ast *ast,
                                 struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    struct tl_expr *bounds[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct tl_expr *left, *right;
        enum tl_code rc = tl__bind(k, ast->args[0], &left);
        if (!rc)
            rc = tl__bind(k, ast->args[1 + i], &right);
        if (!rc)
            rc = tl__call2(b, i == 0 ? ">=" : "<=", left, right, ast->position, &bounds[i]);
        if (rc)
            return rc;
    }
    enum tl_code rc = make_logic(b, TL_EXPR_AND, bounds, 2, ast->position, out);
    return rc ? rc : negate_if(b, ast->negated, out);
}

static enum tl_code bind_in(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    struct tl_expr **args = args_new(b, ast->arg_count);
    if (!args)
        return b->st->code;
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &args[i]);
        if (rc)
            return rc;
    }
    enum tl_code rc;
    if (ast->arg_count == 2) {
        rc = tl__call2(b, "=", args[0], args[1], ast->position, out);
        return rc ? rc : negate_if(b, ast->negated, out);
    }
    struct tl_type type;
    rc = tl__unify(b, args, ast->arg_count, "IN", &type);
    if (rc)
        return rc;
    struct tl_expr *e =
        tl__expr_new(b, TL_EXPR_IN, tl_type_of(TL_BOOLEAN), ast->arg_count, ast->position);
    if (!e)
        return b->st->code;
    memcpy(e->args, args, ast->arg_count * sizeof(struct tl_expr *));
    *out = e;
    return negate_if(b, ast->negated, out);
}

/* ---- forms of their own ---- */

/* A node of kind with args of one type. */
static enum tl_code bind_same_type(struct tl__block *k, const struct tl_ast *ast, const char *what,
                                   struct tl_expr ***out, struct tl_type *type)
{
    struct tl_expr **args = args_new(k->b, ast->arg_count);
    if (!args)
        return k->b->st->code;
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &args[i]);
        if (rc)
            return rc;
    }
    *out = args;
    return tl__unify(k->b, args, ast->arg_count, what, type);
}

static enum tl_code bind_coalesce(struct tl__block *k, const struct tl_ast *ast,
                                  struct tl_expr **out)
{
    struct tl_expr **args;
    struct tl_type type;
    enum tl_code rc = bind_same_type(k, ast, "COALESCE", &args, &type);
    if (rc)
        return rc;
    if (ast->arg_count == 1 || (args[0]->kind == TL_EXPR_CONST && !tl__is_null_const(args[0]))) {
        *out = args[0];
        return TL_OK;
    }
    struct tl_expr *e = tl__expr_new(k->b, TL_EXPR_COALESCE, type, ast->arg_count, ast->position);
    if (!e)
        return k->b->st->code;
    memcpy(e->args, args, ast->arg_count * sizeof(struct tl_expr *));
    *out = e;
    return TL_OK;
}

static enum tl_code bind_same_type_call(struct tl__block *k, const struct tl_ast *ast,
                                        const char *what, const char *function,
                                        struct tl_expr **out)
{
    struct tl_expr **args;
    struct tl_type type;
    enum tl_code rc = bind_same_type(k, ast, what, &args, &type);
    return rc ? rc : tl__call(k->b, function, args, ast->arg_count, false, ast->position, out);
}

static enum tl_code bind_case(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    uint32_t whens = ast->arg_count / 2;
    struct tl_expr *e =
        tl__expr_new(b, TL_EXPR_CASE, tl_type_of(TL_NULL), ast->arg_count, ast->position);
    struct tl_expr **results = args_new(b, whens + 1);
    if (!e || !results)
        return b->st->code;
    for (uint32_t i = 0; i < whens; i++) {
        enum tl_code rc;
        if (ast->operand) {
            struct tl_expr *left, *right;
            rc = tl__bind(k, ast->operand, &left);
            if (!rc)
                rc = tl__bind(k, ast->args[2 * i], &right);
            if (!rc)
                rc = tl__call2(b, "=", left, right, ast->args[2 * i]->position, &e->args[2 * i]);
        } else {
            rc = tl__bind_condition(k, ast->args[2 * i], "CASE/WHEN", &e->args[2 * i]);
        }
        if (!rc)
            rc = tl__bind(k, ast->args[2 * i + 1], &results[i]);
        if (rc)
            return rc;
    }
    const struct tl_ast *otherwise = ast->args[2 * whens];
    enum tl_code rc =
        otherwise ? tl__bind(k, otherwise, &results[whens])
                  : made(b, tl__null_new(b, tl_type_of(TL_NULL), ast->position), &results[whens]);
    if (!rc)
        rc = tl__unify(b, results, whens + 1, "CASE", &e->type);
    for (uint32_t i = 0; i < whens; i++)
        e->args[2 * i + 1] = results[i];
    e->args[2 * whens] = results[whens];
    *out = e;
    return rc;
}

static enum tl_code bind_cast(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl_expr *arg;
    enum tl_code rc = tl__bind(k, ast->args[0], &arg);
    return rc ? rc : tl__cast(k->b, arg, ast->cast, ast->position, out);
}

/* ---- aggregates ---- */

/* These are the least or the greatest value, under another name. */
enum { BOOL_AND = 100, BOOL_OR, ANY_VALUE };

static bool is_moment(uint8_t kind)
{
    return kind >= TL_AGG_VAR_POP && kind <= TL_AGG_STDDEV_SAMP;
}

static const struct aggregate_name {
    const char *name;
    uint8_t plain;    /* enum tl_agg_kind */
    uint8_t distinct; /* with DISTINCT */
} aggregate_names[] = {
    {"count", TL_AGG_COUNT, TL_AGG_COUNT_DISTINCT},
    {"sum", TL_AGG_SUM, TL_AGG_SUM_DISTINCT},
    {"avg", TL_AGG_AVG, TL_AGG_AVG_DISTINCT},
    {"min", TL_AGG_MIN, TL_AGG_MIN},
    {"max", TL_AGG_MAX, TL_AGG_MAX},
    {"percentile_disc", TL_AGG_PERCENTILE_DISC, TL_AGG_PERCENTILE_DISC},
    {"approx_distinct", TL_AGG_APPROX_DISTINCT, TL_AGG_APPROX_DISTINCT},
    {"approx_percentile", TL_AGG_APPROX_PERCENTILE, TL_AGG_APPROX_PERCENTILE},
    {"variance", TL_AGG_VAR_SAMP, TL_AGG_VAR_SAMP},
    {"var_samp", TL_AGG_VAR_SAMP, TL_AGG_VAR_SAMP},
    {"var_pop", TL_AGG_VAR_POP, TL_AGG_VAR_POP},
    {"stddev", TL_AGG_STDDEV_SAMP, TL_AGG_STDDEV_SAMP},
    {"stddev_samp", TL_AGG_STDDEV_SAMP, TL_AGG_STDDEV_SAMP},
    {"stddev_pop", TL_AGG_STDDEV_POP, TL_AGG_STDDEV_POP},
    {"bit_and", TL_AGG_BIT_AND, TL_AGG_BIT_AND},
    {"bit_or", TL_AGG_BIT_OR, TL_AGG_BIT_OR},
    {"bit_xor", TL_AGG_BIT_XOR, TL_AGG_BIT_XOR},
    {"bool_and", BOOL_AND, BOOL_AND},
    {"every", BOOL_AND, BOOL_AND},
    {"bool_or", BOOL_OR, BOOL_OR},
    {"any_value", ANY_VALUE, ANY_VALUE},
};

/* PostgreSQL's aggregates and window functions that are not built: refused by name. */
static const char *const refused_aggregates[] = {
    "array_agg",
    "string_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "xmlagg",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_slope",
    "mode",
    "grouping",
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
    "range_agg",
    "regr_r2",
    "jsonb_object_agg",
    "percentile_cont",
    "unnest",
    "generate_series",
};

static const struct aggregate_name *find_aggregate(const char *name)
{
    for (size_t i = 0; i < sizeof(aggregate_names) / sizeof(aggregate_names[0]); i++)
        if (strcmp(aggregate_names[i].name, name) == 0)
            return &aggregate_names[i];
    return NULL;
}

bool tl__is_aggregate_name(const char *name)
{
    return find_aggregate(name) != NULL;
}

static bool optional_equal(const struct tl_expr *a, const struct tl_expr *b)
{
    return a == b || (a && b && tl__expr_equal(a, b));
}

/* The block's aggregate that is just like `a`, added when it is the first. */
static enum tl_code add_aggregate(struct tl__block *k, const struct tl_aggregate *a,
                                  int32_t position, struct tl_expr **out)
{
    uint32_t at = 0;
    for (; at < k->aggregate_count; at++) {
        const struct tl_aggregate *o = &k->aggregates[at];
        if (o->kind == a->kind && o->descending == a->descending &&
            optional_equal(o->arg, a->arg) && optional_equal(o->filter, a->filter) &&
            optional_equal(o->fraction, a->fraction))
            break;
    }
    if (at == k->aggregate_count) {
        enum tl_code rc = tl__grow(k->b, &k->aggregates, k->aggregate_count, &k->aggregate_capacity,
                                   sizeof(*k->aggregates));
        if (rc)
            return rc;
        k->aggregates[k->aggregate_count++] = *a;
    }
    struct tl_expr *e =
        tl__expr_new(k->b, (enum tl_expr_kind)TL__EXPR_AGGREGATE, a->type, 0, position);
    if (!e)
        return k->b->st->code;
    e->index = at;
    *out = e;
    return TL_OK;
}

static enum tl_code aggregate_does_not_exist(struct tl__block *k, const struct tl_ast *ast,
                                             const struct tl_expr *arg)
{
    const char *more = arg && ast->arg_count == 2 ? ", double precision" : "";
    return TL__BIND_FAIL(k->b, TL_INVALID, "42883", ast->position,
                         "function %s(%s%s) does not exist", ast->name,
                         arg ? tl__type_label(arg->type) : "", more);
}

/* The type of the aggregate's result over its argument; TL_NULL: there is no such aggregate. */
static struct tl_type aggregate_type(uint8_t kind, struct tl_type arg)
{
    switch (kind) {
    case TL_AGG_COUNT_STAR:
    case TL_AGG_COUNT:
    case TL_AGG_COUNT_DISTINCT:
    case TL_AGG_APPROX_DISTINCT:
        return tl_type_of(TL_BIGINT);
    case TL_AGG_SUM:
    case TL_AGG_SUM_DISTINCT:
        return tl__is_number(arg) || arg.kind == TL_INTERVAL ? tl_sum_type(arg)
                                                             : tl_type_of(TL_NULL);
    case TL_AGG_AVG:
    case TL_AGG_AVG_DISTINCT:
        return tl__is_number(arg) || arg.kind == TL_INTERVAL ? tl_avg_type(arg)
                                                             : tl_type_of(TL_NULL);
    case TL_AGG_VAR_POP:
    case TL_AGG_VAR_SAMP:
    case TL_AGG_STDDEV_POP:
    case TL_AGG_STDDEV_SAMP:
        return tl_type_of(tl__is_number(arg) ? TL_DOUBLE : TL_NULL);
    case TL_AGG_BIT_AND:
    case TL_AGG_BIT_OR:
    case TL_AGG_BIT_XOR:
        return arg.kind == TL_BIGINT ? arg : tl_type_of(TL_NULL);
    case BOOL_AND:
    case BOOL_OR:
        return tl_type_of(arg.kind == TL_BOOLEAN ? TL_BOOLEAN : TL_NULL);
    case ANY_VALUE:
    case TL_AGG_PERCENTILE_DISC:
        return arg;
    case TL_AGG_APPROX_PERCENTILE:
        return tl_type_of(tl__is_number(arg) ? TL_DOUBLE : TL_NULL);
    default:
        return arg.kind == TL_BOOLEAN ? tl_type_of(TL_NULL) : arg;
    }
}

/* The fraction of percentile_disc or approx_percentile. */
static enum tl_code bind_fraction(struct tl__block *k, const struct tl_ast *ast, const char *of,
                                  struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    char what[64];
    snprintf(what, sizeof(what), "the fraction of %s", of);
    enum tl_code rc = tl__bind(k, ast, out);
    if (!rc)
        rc = tl__coerce(b, out, tl_type_of(TL_DOUBLE), what);
    if (rc)
        return rc;
    if (!tl__is_column_free(*out))
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                             "a fraction of %s that depends on columns is not supported", of);
    if ((*out)->kind == TL_EXPR_CONST && !tl__is_null_const(*out)) {
        double f = *(const double *)(*out)->value.data;
        if (!(f >= 0 && f <= 1))
            return TL__BIND_FAIL(b, TL_INVALID, "22003", ast->position,
                                 "percentile value %g is not between 0 and 1", f);
    }
    return TL_OK;
}

static enum tl_code bind_percentile_disc(struct tl__block *k, const struct tl_ast *ast,
                                         struct tl_aggregate *out)
{
    const struct tl_ast_call *call = ast->call;
    if (!call->within_group)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42809", ast->position,
                             "WITHIN GROUP is required for ordered-set aggregate %s", ast->name);
    if (ast->arg_count != 1 || call->order_count != 1)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42883", ast->position,
                             "function %s takes one fraction and one ORDER BY expression",
                             ast->name);
    enum tl_code rc = bind_fraction(k, ast->args[0], ast->name, &out->fraction);
    if (rc)
        return rc;
    out->descending = call->order[0].descending;
    return tl__bind(k, call->order[0].expr, &out->arg);
}

/* approx_percentile(x, fraction) */
static enum tl_code bind_approx_percentile(struct tl__block *k, const struct tl_ast *ast,
                                           struct tl_aggregate *out)
{
    enum tl_code rc = tl__bind(k, ast->args[0], &out->arg);
    if (!rc && tl__is_open(out->arg))
        rc = tl__coerce(k->b, &out->arg, tl_type_of(TL_DOUBLE), NULL);
    return rc ? rc : bind_fraction(k, ast->args[1], ast->name, &out->fraction);
}

static enum tl_code bind_aggregate_body(struct tl__block *k, const struct tl_ast *ast,
                                        const struct aggregate_name *name, struct tl_aggregate *out)
{
    struct tl__binder *b = k->b;
    const struct tl_ast_call *call = ast->call;
    enum tl_code rc = TL_OK;
    out->kind = call->distinct ? name->distinct : name->plain;
    if (call->star) {
        if (name->plain != TL_AGG_COUNT)
            return aggregate_does_not_exist(k, ast, NULL);
        out->kind = TL_AGG_COUNT_STAR;
    } else if (name->plain == TL_AGG_PERCENTILE_DISC) {
        rc = bind_percentile_disc(k, ast, out);
    } else if (call->within_group) {
        return TL__BIND_FAIL(b, TL_INVALID, "42809", ast->position,
                             "%s is not an ordered-set aggregate, so it cannot have WITHIN GROUP",
                             ast->name);
    } else if (ast->arg_count == 0 && name->plain == TL_AGG_COUNT) {
        return TL__BIND_FAIL(b, TL_INVALID, "42809", ast->position,
                             "count(*) must be used to call a parameterless aggregate function");
    } else if (ast->arg_count != (name->plain == TL_AGG_APPROX_PERCENTILE ? 2 : 1)) {
        return TL__BIND_FAIL(b, TL_INVALID, "42883", ast->position,
                             "function %s with %u arguments does not exist", ast->name,
                             ast->arg_count);
    } else if (call->distinct &&
               (name->plain == TL_AGG_APPROX_DISTINCT || name->plain == TL_AGG_APPROX_PERCENTILE)) {
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                             "DISTINCT is not supported for aggregate %s", ast->name);
    } else if (name->plain == TL_AGG_APPROX_PERCENTILE) {
        rc = bind_approx_percentile(k, ast, out);
    } else {
        rc = tl__bind(k, ast->args[0], &out->arg);
    }
    if (!rc && call->filter)
        rc = tl__bind_condition(k, call->filter, "FILTER", &out->filter);
    if (rc)
        return rc;
    if (out->arg && tl__is_open(out->arg)) {
        rc = tl__coerce(b, &out->arg, tl_type_of(TL_TEXT), NULL);
        if (rc)
            return rc;
    }
    if (is_moment(out->kind) && call->distinct)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                             "DISTINCT is not supported for aggregate %s", ast->name);
    if (is_moment(out->kind) && out->arg->type.kind == TL_DECIMAL128) {
        rc = tl__coerce(b, &out->arg, tl_type_of(TL_DOUBLE), NULL);
        if (rc)
            return rc;
    }
    out->type = aggregate_type(out->kind, out->arg ? out->arg->type : tl_type_of(TL_NULL));
    if (out->kind == BOOL_AND || out->kind == BOOL_OR || out->kind == ANY_VALUE)
        out->kind = out->kind == BOOL_OR ? TL_AGG_MAX : TL_AGG_MIN;
    if (out->type.kind == TL_NULL)
        return aggregate_does_not_exist(k, ast, out->arg);
    return TL_OK;
}

/* An aggregate whose argument names columns of the query around this one alone belongs there by
 * the standard: that is not done. */
static bool is_foreign(const struct tl_expr *arg)
{
    return arg && tl__has_kind(arg, TL__EXPR_OUTER) && !tl__has_kind(arg, TL_EXPR_COLUMN);
}

static enum tl_code bind_aggregate(struct tl__block *k, const struct tl_ast *ast,
                                   const struct aggregate_name *name, struct tl_expr **out)
{
    if (k->in_aggregate)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42803", ast->position,
                             "aggregate function calls cannot be nested");
    if (k->clause)
        return TL__BIND_FAIL(k->b, TL_INVALID, "42803", ast->position,
                             "aggregate functions are not allowed in %s", k->clause);
    struct tl_aggregate a = {0};
    k->in_aggregate = true;
    enum tl_code rc = bind_aggregate_body(k, ast, name, &a);
    k->in_aggregate = false;
    if (!rc && is_foreign(a.arg))
        return TL__BIND_FAIL(k->b, TL_UNSUPPORTED, "0A000", ast->position,
                             "an aggregate over columns of the query around this one alone is not "
                             "supported");
    return rc ? rc : add_aggregate(k, &a, ast->position, out);
}

/* json_build_object(key, value, …): numbers and booleans stand as they are, all else is quoted. */
static enum tl_code build_json(struct tl__binder *b, const struct tl_ast *ast,
                               struct tl_expr **args, struct tl_expr **out)
{
    enum tl_code rc = TL_OK;
    if (ast->arg_count % 2 != 0 || ast->arg_count == 0)
        return TL__BIND_FAIL(b, TL_INVALID, "22023", ast->position,
                             "argument list must have even number of elements");
    for (uint32_t i = 0; !rc && i < ast->arg_count; i++) {
        struct tl_type type = args[i]->type;
        bool plain = i % 2 == 0 || type.kind == TL_BOOLEAN || tl__is_number(type) ||
                     type.flavour == TL_FLAVOUR_JSON || type.flavour == TL_FLAVOUR_JSONB;
        rc = tl__coerce(b, &args[i], tl_type_of(TL_TEXT), NULL);
        if (!rc && !plain)
            rc = tl__call(b, "$json_text", &args[i], 1, false, ast->position, &args[i]);
    }
    if (!rc)
        rc = tl__call(b, "$json_object", args, ast->arg_count, false, ast->position, out);
    if (!rc)
        (*out)->type.flavour = TL_FLAVOUR_JSON;
    return rc;
}

/* num_nulls(x, …), num_nonnulls(x, …): how many of x IS [NOT] NULL are true. */
static enum tl_code count_nulls(struct tl__binder *b, const struct tl_ast *ast,
                                struct tl_expr **args, bool nulls, struct tl_expr **out)
{
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        struct tl_expr *e =
            tl__expr_new(b, TL_EXPR_IS_NULL, tl_type_of(TL_BOOLEAN), 1, ast->position);
        if (!e)
            return b->st->code;
        e->args[0] = args[i];
        if (args[i]->kind == TL_EXPR_CONST)
            e = bool_new(b, tl__is_null_const(args[i]), ast->position);
        args[i] = e;
        if (!e || (!nulls && tl__make_not(b, e, &args[i])))
            return b->st->code;
    }
    return tl__call(b, "$count_true", args, ast->arg_count, false, ast->position, out);
}

static enum tl_code bind_call(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    const struct tl_ast_call *call = ast->call;
    const struct aggregate_name *aggregate = find_aggregate(ast->name);
    if (call->over)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", call->over->position,
                             "a window function (OVER) is not supported");
    if (aggregate)
        return bind_aggregate(k, ast, aggregate, out);
    for (size_t i = 0; i < sizeof(refused_aggregates) / sizeof(refused_aggregates[0]); i++)
        if (strcmp(refused_aggregates[i], ast->name) == 0)
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                                 "function %s is not supported", ast->name);
    const char *said = call->star           ? "(*)"
                       : call->distinct     ? "DISTINCT"
                       : call->within_group ? "WITHIN GROUP"
                       : call->filter       ? "FILTER"
                                            : NULL;
    if (said)
        return TL__BIND_FAIL(b, TL_INVALID, "42809", ast->position,
                             "%s specified, but %s is not an aggregate function", said, ast->name);
    if (ast->arg_count > TL_SQL_TARGETS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54023", ast->position,
                             "cannot pass more than %d arguments to a function",
                             TL_SQL_TARGETS_MAX);
    struct tl_expr **args = args_new(b, ast->arg_count);
    if (!args)
        return b->st->code;
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &args[i]);
        if (rc)
            return rc;
    }
    if (strcmp(ast->name, "json_build_object") == 0)
        return build_json(b, ast, args, out);
    bool nulls = strcmp(ast->name, "num_nulls") == 0;
    if (ast->arg_count > 0 && (nulls || strcmp(ast->name, "num_nonnulls") == 0))
        return count_nulls(b, ast, args, nulls, out);
    if (strcmp(ast->name, "pg_typeof") == 0 && ast->arg_count == 1) {
        int64_t oid = tl__is_open(args[0]) && args[0]->kind == TL_EXPR_CONST
                          ? TL_OID_UNKNOWN
                          : tl_pg_type_oid(args[0]->type);
        return made(
            b,
            tl__const_new(b, tl_type_flavoured(TL_BIGINT, TL_FLAVOUR_REGTYPE), &oid, ast->position),
            out);
    }
    /* Names of the table that SQL does not know as functions. */
    if ((ast->name[0] == '$' && ast->integer != TL__INNER_CALL) || strcmp(ast->name, "cast") == 0 ||
        strcmp(ast->name, "is_distinct") == 0 || strcmp(ast->name, "nullif") == 0 ||
        strcmp(ast->name, "like") == 0 || strcmp(ast->name, "ilike") == 0)
        return TL__BIND_FAIL(b, TL_INVALID, "42883", ast->position, "function %s does not exist",
                             ast->name);
    return tl__call(b, ast->name, args, ast->arg_count, false, ast->position, out);
}

static enum tl_code bind_grouping(struct tl__block *k, const struct tl_ast *ast,
                                  struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    if (k->clause || k->in_aggregate)
        return TL__BIND_FAIL(b, TL_INVALID, "42803", ast->position,
                             "grouping operations are not allowed in %s",
                             k->clause ? k->clause : "aggregates");
    if (ast->arg_count > 31)
        return TL__BIND_FAIL(b, TL_INVALID, "54023", ast->position,
                             "GROUPING must have fewer than 32 arguments");
    struct tl_expr *e = tl__expr_new(b, (enum tl_expr_kind)TL__EXPR_GROUPING, tl_type_of(TL_BIGINT),
                                     ast->arg_count, ast->position);
    if (!e)
        return b->st->code;
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &e->args[i]);
        if (rc)
            return rc;
    }
    k->grouping_count++;
    *out = e;
    return TL_OK;
}

/* ---- arrays ---- */

static enum tl_code bind_array(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl_expr **args = args_new(k->b, ast->arg_count);
    struct tl_type type;
    if (!args)
        return k->b->st->code;
    if (ast->arg_count == 0)
        return made(
            k->b, tl__text_new(k->b, tl_type_of(TL_NULL), tl_slice_str("{}"), ast->position), out);
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        enum tl_code rc = tl__bind(k, ast->args[i], &args[i]);
        if (!rc && (args[i]->type.kind == TL_ARRAY || args[i]->type.kind == TL_PROPS))
            rc = TL__BIND_FAIL(k->b, TL_UNSUPPORTED, "0A000", ast->args[i]->position,
                               "an array of several dimensions is not supported");
        if (rc)
            return rc;
    }
    enum tl_code rc = tl__unify(k->b, args, ast->arg_count, "ARRAY", &type);
    return rc ? rc : tl__call(k->b, "$array", args, ast->arg_count, false, ast->position, out);
}

/* x op ANY (array), x op ALL (array) */
static enum tl_code bind_quantified(struct tl__block *k, const struct tl_ast *ast,
                                    struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    struct tl_expr *args[2];
    char name[16];
    enum tl_code rc = tl__bind(k, ast->args[0], &args[0]);
    if (!rc)
        rc = tl__bind(k, ast->args[1], &args[1]);
    if (rc)
        return rc;
    if (tl__is_open(args[1])) {
        struct tl_type element = tl__is_open(args[0]) ? tl_type_of(TL_TEXT) : args[0]->type;
        rc = tl__coerce(b, &args[1], tl_type_array(element), NULL);
        if (rc)
            return rc;
    }
    if (args[1]->type.kind != TL_ARRAY)
        return TL__BIND_FAIL(b, TL_INVALID, "42809", ast->position,
                             "op ANY/ALL (array) requires array on right side");
    struct tl_type element = tl_type_element(args[1]->type);
    if (!tl__is_open(args[0]) && args[0]->type.kind != element.kind) {
        /* one type for the operand and a value like the elements */
        struct tl_expr *both[2] = {args[0], tl__null_new(b, element, ast->position)};
        struct tl_type type;
        if (!both[1])
            return b->st->code;
        rc = tl__unify(b, both, 2, ast->negated ? "ALL" : "ANY", &type);
        args[0] = both[0];
        if (!rc && type.kind != element.kind)
            rc = tl__coerce(b, &args[1], tl_type_array(type), NULL);
        if (rc)
            return rc;
    }
    if (tl__is_open(args[0])) {
        rc = tl__coerce(b, &args[0], element, NULL);
        if (rc)
            return rc;
    }
    snprintf(name, sizeof(name), "$%s%s", ast->negated ? "all" : "any", ast->name);
    const struct tl_type kinds[2] = {element, args[1]->type};
    if (!tl_function_find(name, kinds, 2))
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                             "operator %s with ANY or ALL is not supported", ast->name);
    return tl__call(b, name, args, 2, true, ast->position, out);
}

/* ---- all of them ---- */

enum tl_code tl__bind(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out)
{
    struct tl__binder *b = k->b;
    switch ((enum tl_ast_kind)ast->kind) {
    case TL_AST_NULL:
        return made(b, tl__null_new(b, tl_type_of(TL_NULL), ast->position), out);
    case TL_AST_BOOL:
        return made(b, bool_new(b, ast->integer != 0, ast->position), out);
    case TL_AST_INT:
        return made(
            b, tl__const_new(b, tl__integer_type(ast->integer), &ast->integer, ast->position), out);
    case TL_AST_NUMBER:
        return tl__number_new(b, ast->text, ast->position, out);
    case TL_AST_STRING:
        if (ast->text.size > TL_TEXT_BYTES_MAX)
            return TL__BIND_FAIL(b, TL_LIMIT, "54000", ast->position,
                                 "a text is longer than %d bytes", TL_TEXT_BYTES_MAX);
        return made(b, tl__text_new(b, tl_type_of(TL_NULL), ast->text, ast->position), out);
    case TL_AST_PARAM:
        return bind_param(k, ast, out);
    case TL_AST_COLUMN:
        return bind_column_ref(k, ast, out);
    case TL_AST_STAR:
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position, "* is not allowed here");
    case TL_AST_OP:
        return bind_operator(k, ast, out);
    case TL_AST_AND:
    case TL_AST_OR:
    case TL_AST_NOT:
        return bind_logic(k, ast, out);
    case TL_AST_IS_NULL:
        return bind_is_null(k, ast, out);
    case TL_AST_IS_BOOL:
        return bind_is_bool(k, ast, out);
    case TL_AST_IS_DISTINCT:
        return bind_distinct_from(k, ast, out);
    case TL_AST_IN:
        return bind_in(k, ast, out);
    case TL_AST_BETWEEN:
        return bind_between(k, ast, out);
    case TL_AST_LIKE:
        return bind_like(k, ast, out);
    case TL_AST_CALL:
        return bind_call(k, ast, out);
    case TL_AST_CAST:
        return bind_cast(k, ast, out);
    case TL_AST_CASE:
        return bind_case(k, ast, out);
    case TL_AST_COALESCE:
        return bind_coalesce(k, ast, out);
    case TL_AST_NULLIF:
        return bind_same_type_call(k, ast, "NULLIF", "nullif", out);
    case TL_AST_GREATEST:
        return bind_same_type_call(k, ast, "GREATEST", "greatest", out);
    case TL_AST_LEAST:
        return bind_same_type_call(k, ast, "LEAST", "least", out);
    case TL_AST_SUBSCRIPT:
        return bind_subscript(k, ast, out);
    case TL_AST_SUBLINK:
        return tl__bind_sublink(k, ast, out);
    case TL_AST_ROW:
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                             "a row expression is not supported");
    case TL_AST_GROUPING:
        return bind_grouping(k, ast, out);
    case TL_AST_SETS:
        return TL__BIND_FAIL(b, TL_INVALID, "42601", ast->position,
                             "grouping sets are not allowed here");
    case TL_AST_ARRAY:
        return bind_array(k, ast, out);
    case TL_AST_QUANTIFIED:
        return bind_quantified(k, ast, out);
    case TL_AST_FIELD:
        return tl__bind_field(k, ast, out);
    }
    return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", ast->position,
                         "this expression is not supported");
}

/* ---- questions about expressions ---- */

static bool const_equal(const struct tl_expr *a, const struct tl_expr *b)
{
    bool null = tl__is_null_const(a);
    if (null != tl__is_null_const(b) || a->value.type.kind != b->value.type.kind)
        return false;
    if (null)
        return true;
    if (tl_kind_is_bytes(a->value.type.kind))
        return tl_slice_eq(*(const struct tl_slice *)a->value.data,
                           *(const struct tl_slice *)b->value.data);
    return memcmp(a->value.data, b->value.data, tl_kind_width(a->value.type.kind)) == 0;
}

bool tl__expr_equal(const struct tl_expr *a, const struct tl_expr *b)
{
    if (a->kind != b->kind || a->arg_count != b->arg_count || a->index != b->index ||
        a->function != b->function)
        return false;
    if (a->kind == TL_EXPR_PARAM)
        return true;
    if (!tl_type_eq(a->type, b->type) || (a->kind == TL_EXPR_CONST && !const_equal(a, b)))
        return false;
    for (uint32_t i = 0; i < a->arg_count; i++)
        if (!tl__expr_equal(a->args[i], b->args[i]))
            return false;
    return true;
}

bool tl__is_column_free(const struct tl_expr *e)
{
    if (e->kind == TL_EXPR_COLUMN || (int)e->kind == TL__EXPR_AGGREGATE ||
        (int)e->kind == TL__EXPR_SUBLINK || (int)e->kind >= TL__EXPR_GROUPING)
        return false;
    if ((int)e->kind == TL__EXPR_OUTER)
        return true; /* for the query within */
    for (uint32_t i = 0; i < e->arg_count; i++)
        if (!tl__is_column_free(e->args[i]))
            return false;
    return true;
}

bool tl__has_kind(const struct tl_expr *e, int kind)
{
    if ((int)e->kind == kind)
        return true;
    if ((int)e->kind == TL__EXPR_OUTER)
        return false;
    for (uint32_t i = 0; i < e->arg_count; i++)
        if (tl__has_kind(e->args[i], kind))
            return true;
    return false;
}

struct tl_expr *tl__clone(struct tl__binder *b, const struct tl_expr *e)
{
    struct tl_expr *copy =
        tl__expr_new(b, (enum tl_expr_kind)e->kind, e->type, e->arg_count, e->position);
    if (!copy)
        return NULL;
    struct tl_expr **args = copy->args;
    *copy = *e;
    copy->args = args;
    for (uint32_t i = 0; i < e->arg_count; i++)
        if (!(args[i] = tl__clone(b, e->args[i])))
            return NULL;
    return copy;
}

/* How sure a name is: 2 from a column or a function, 1 from a cast or CASE, 0 none. */
static int figure(const struct tl_ast *ast, const char **name)
{
    switch ((enum tl_ast_kind)ast->kind) {
    case TL_AST_COLUMN:
        *name = ast->name;
        return 2;
    case TL_AST_SUBSCRIPT:
        return figure(ast->args[0], name);
    case TL_AST_SUBLINK:
        if (ast->integer == TL_SUBLINK_EXISTS) {
            *name = "exists";
            return 2;
        }
        if (ast->integer == TL_SUBLINK_ARRAY) {
            *name = "array";
            return 2;
        }
        if (ast->integer == TL_SUBLINK_SCALAR && !ast->select->set_op &&
            ast->select->target_count == 1) {
            const struct tl_ast_target *t = &ast->select->targets[0];
            if (!t->alias)
                return figure(t->expr, name);
            *name = t->alias;
            return 2;
        }
        return 0;
    case TL_AST_GROUPING:
        *name = "grouping";
        return 2;
    case TL_AST_CALL:
        *name = ast->label ? ast->label : ast->name;
        return 2;
    case TL_AST_FIELD:
        *name = ast->name;
        return 2;
    case TL_AST_NULLIF:
        *name = "nullif";
        return 2;
    case TL_AST_COALESCE:
        *name = "coalesce";
        return 2;
    case TL_AST_GREATEST:
        *name = "greatest";
        return 2;
    case TL_AST_LEAST:
        *name = "least";
        return 2;
    case TL_AST_CAST:
        if (ast->label) {
            *name = ast->label;
            return 2;
        }
        if (figure(ast->args[0], name) > 1)
            return 2;
        *name = ast->cast->name;
        return 1;
    case TL_AST_ARRAY:
        *name = "array";
        return 2;
    case TL_AST_CASE: {
        const struct tl_ast *otherwise = ast->args[ast->arg_count - 1];
        if (otherwise && figure(otherwise, name) > 1)
            return 2;
        *name = "case";
        return 1;
    }
    default:
        return 0;
    }
}

const char *tl__figure_name(const struct tl_ast *ast)
{
    const char *name = "?column?";
    return figure(ast, &name) > 0 ? name : "?column?";
}
