/*
 * query/parse_expr.c: names, types and expressions of PostgreSQL's tree -> ours.
 *
 * Recursion goes along expressions (TL_SQL_DEPTH_MAX).
 */
#include "query/parse_int.h"

#include "base/pg_type.h"

/* ---- small makers ---- */

const char *tl__copy_string(struct conv *c, const char *s)
{
    return tl_arena_copy(c->arena, s, strlen(s), c->st);
}

struct tl_ast *tl__new_ast(struct conv *c, enum tl_ast_kind kind, int location, uint32_t arg_count)
{
    struct tl_ast *ast = tl_arena_calloc(c->arena, 1, sizeof(*ast), c->st);
    if (!ast)
        return NULL;
    ast->kind = (uint8_t)kind;
    ast->position = tl__position_of(c, location);
    ast->arg_count = arg_count;
    if (arg_count > 0) {
        ast->args = tl_arena_calloc(c->arena, arg_count, sizeof(struct tl_ast *), c->st);
        if (!ast->args)
            return NULL;
    }
    return ast;
}

/* Converts `list` into ast->args from index `first` on. */
enum tl_code tl__conv_args(struct conv *c, const List *list, struct tl_ast *ast, uint32_t first)
{
    for (uint32_t i = 0; i < LIST_COUNT(list); i++) {
        enum tl_code rc = tl__conv_expr(c, LIST_AT(list, i), &ast->args[first + i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* The last of a possibly qualified name; only pg_catalog may qualify it. */
static enum tl_code conv_name(struct conv *c, const List *names, int location, const char *what,
                              const char **out)
{
    uint32_t count = LIST_COUNT(names);
    for (uint32_t i = 0; i < count; i++)
        if (nodeTag(LIST_AT(names, i)) != T_String)
            return REFUSE(c, tl__position_of(c, location), what);
    /* information_schema has functions of its own, which clients ask for. */
    bool inner = count == 2 && strcmp(strVal(LIST_AT(names, 0)), "information_schema") == 0 &&
                 strncmp(strVal(LIST_AT(names, 1)), "_pg_", 4) == 0;
    if (count == 0 || count > 2 ||
        (count == 2 && !inner && strcmp(strVal(LIST_AT(names, 0)), "pg_catalog") != 0))
        return FAIL_AT(c, TL_UNSUPPORTED, "0A000", tl__position_of(c, location),
                       "a schema-qualified %s is not supported", what);
    *out = tl__copy_string(c, strVal(LIST_AT(names, count - 1)));
    return *out ? TL_OK : c->st->code;
}

/* ---- types ---- */

static const struct type_name {
    const char *name;
    uint8_t kind;
    uint8_t bits; /* 16, 32: SMALLINT, INTEGER; 24: REAL */
    uint8_t flavour;
} type_names[] = {
    {"bool", TL_BOOLEAN, 0},
    {"boolean", TL_BOOLEAN, 0},
    {"int8", TL_BIGINT, 0},
    {"bigint", TL_BIGINT, 0},
    {"int4", TL_BIGINT, 32, TL_FLAVOUR_INT4},
    {"int2", TL_BIGINT, 16, TL_FLAVOUR_INT2},
    {"float8", TL_DOUBLE, 0},
    {"float4", TL_DOUBLE, 24, TL_FLAVOUR_FLOAT4},
    {"double", TL_DOUBLE, 0},
    {"numeric", TL_DECIMAL128, 0},
    {"date", TL_DATE, 0},
    {"timestamp", TL_TIMESTAMP, 0},
    {"timestamptz", TL_TIMESTAMPTZ, 0},
    {"interval", TL_INTERVAL, 0},
    {"text", TL_TEXT, 0},
    {"varchar", TL_TEXT, 0, TL_FLAVOUR_VARCHAR},
    {"oid", TL_BIGINT, 0, TL_FLAVOUR_OID},
    {"xid", TL_BIGINT, 0, TL_FLAVOUR_XID},
    {"name", TL_TEXT, 0, TL_FLAVOUR_NAME},
};

/* Types that PostgreSQL has and Tally has not: refused by name rather than "does not exist". */
static const char *const refused_types[] = {
    "bpchar", "char",   "bytea",     "json",      "jsonb",   "uuid",    "time",      "timetz",
    "bit",    "varbit", "xml",       "inet",      "cidr",    "money",   "regclass",  "regtype",
    "point",  "hstore", "int4range", "tstzrange", "macaddr", "regproc", "int8range",
};

/* Types that catalogs have, and casts to them. */
static bool catalog_type(const char *name, struct tl_type *out)
{
    static const char *const types[] = {
        "char",       "regclass", "regtype",      "regproc",   "regnamespace",  "regrole",
        "regoper",    "xid8",     "regoperator",  "regconfig", "regdictionary", "regprocedure",
        "int2vector", "cid",      "oidvector",    "tid",       "regcollation",  "aclitem",
        "cstring",    "unknown",  "pg_node_tree", "anyarray",
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(types[i], name) == 0)
            return tl_pg_type_by_name(tl_slice_str(name), out);
    return name[0] == '_' && tl_pg_type_by_name(tl_slice_str(name), out);
}

static enum tl_code conv_typmods(struct conv *c, const TypeName *t, int32_t mods[2],
                                 uint32_t *count)
{
    *count = LIST_COUNT(t->typmods);
    if (*count > 2)
        return FAIL_AT(c, TL_INVALID, "22023", tl__position_of(c, t->location),
                       "invalid type modifier");
    for (uint32_t i = 0; i < *count; i++) {
        const A_Const *k = LIST_AT(t->typmods, i);
        if (nodeTag(k) != T_A_Const || k->isnull || nodeTag(&k->val) != T_Integer)
            return FAIL_AT(c, TL_INVALID, "42601", tl__position_of(c, t->location),
                           "type modifiers must be integer constants");
        mods[i] = k->val.ival.ival;
    }
    return TL_OK;
}

static enum tl_code conv_type_mods(struct conv *c, const TypeName *t, struct tl_ast_type *out)
{
    int32_t mods[2] = {0, 0};
    uint32_t count = 0;
    enum tl_code rc = conv_typmods(c, t, mods, &count);
    if (rc || count == 0)
        return rc;
    switch (out->type.kind) {
    case TL_DECIMAL128:
        if (mods[0] < 1 || mods[0] > 1000)
            return FAIL_AT(c, TL_INVALID, "22023", out->position,
                           "NUMERIC precision %d must be between 1 and 1000", mods[0]);
        if (mods[0] > 38)
            return FAIL_AT(c, TL_UNSUPPORTED, "0A000", out->position,
                           "NUMERIC precision %d is not supported: at most 38 digits", mods[0]);
        if (mods[1] < 0 || mods[1] > mods[0])
            return FAIL_AT(c, TL_UNSUPPORTED, "0A000", out->position,
                           "NUMERIC scale %d is not supported: it must be between 0 and the "
                           "precision %d",
                           mods[1], mods[0]);
        out->type.kind = mods[0] <= 18 ? TL_DECIMAL64 : TL_DECIMAL128;
        out->type.scale = (uint8_t)mods[1];
        out->precision = (uint8_t)mods[0];
        return TL_OK;
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        if (count == 1 && mods[0] == 6)
            return TL_OK; /* microseconds: what these types are */
        return REFUSE(c, out->position, "a precision of a timestamp other than 6");
    case TL_INTERVAL:
        if (count == 1) {
            out->interval_mask = mods[0];
            return TL_OK;
        }
        return REFUSE(c, out->position, "a precision of an interval");
    default:
        return FAIL_AT(c, TL_UNSUPPORTED, "0A000", out->position,
                       "a length or precision of type %s is not supported", out->name);
    }
}

enum tl_code tl__conv_type(struct conv *c, const TypeName *t, struct tl_ast_type *out)
{
    *out = (struct tl_ast_type){.position = tl__position_of(c, t->location)};
    if (t->setof || t->pct_type)
        return REFUSE(c, out->position, "SETOF or %TYPE");
    bool array = LIST_COUNT(t->arrayBounds) > 0;
    if (LIST_COUNT(t->arrayBounds) > 1)
        return REFUSE(c, out->position, "an array type of several dimensions");
    enum tl_code rc = conv_name(c, t->names, t->location, "type name", &out->name);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++) {
        if (strcmp(type_names[i].name, out->name) == 0) {
            out->type = tl_type_of((enum tl_kind)type_names[i].kind);
            out->type.flavour = type_names[i].flavour;
            out->bits = type_names[i].bits;
            rc = conv_type_mods(c, t, out);
            if (!rc && array)
                out->type = tl_type_array(out->type);
            return rc;
        }
    }
    if (catalog_type(out->name, &out->type)) {
        if (LIST_COUNT(t->typmods) > 0)
            rc = conv_type_mods(c, t, out);
        if (!rc && array)
            out->type = tl_type_array(out->type);
        return rc;
    }
    for (size_t i = 0; i < sizeof(refused_types) / sizeof(refused_types[0]); i++)
        if (strcmp(refused_types[i], out->name) == 0)
            return FAIL_AT(c, TL_UNSUPPORTED, "0A000", out->position, "type %s is not supported",
                           out->name);
    return FAIL_AT(c, TL_INVALID, "42704", out->position, "type \"%s\" does not exist", out->name);
}

/* ---- expressions ---- */

static enum tl_code conv_const(struct conv *c, const A_Const *k, struct tl_ast **out)
{
    struct tl_ast *ast = tl__new_ast(c, TL_AST_NULL, k->location, 0);
    if (!ast)
        return c->st->code;
    *out = ast;
    if (k->isnull)
        return TL_OK;
    const char *text = NULL;
    switch (nodeTag(&k->val)) {
    case T_Integer:
        ast->kind = TL_AST_INT;
        ast->integer = k->val.ival.ival;
        return TL_OK;
    case T_Boolean:
        ast->kind = TL_AST_BOOL;
        ast->integer = k->val.boolval.boolval ? 1 : 0;
        return TL_OK;
    case T_Float: {
        ast->kind = TL_AST_NUMBER;
        text = k->val.fval.fval;
        if (text[strspn(text, "-0123456789")] == '\0') { /* an integer past 32 bits */
            char *end = NULL;
            errno = 0;
            long long v = strtoll(text, &end, 10);
            if (errno == 0 && *end == '\0') {
                ast->kind = TL_AST_INT;
                ast->integer = v;
                return TL_OK;
            }
        }
        break;
    }
    case T_String:
        ast->kind = TL_AST_STRING;
        text = k->val.sval.sval;
        break;
    default:
        return REFUSE(c, ast->position, "a bit string");
    }
    const char *copy = tl__copy_string(c, text);
    if (!copy)
        return c->st->code;
    ast->text = tl_slice_str(copy);
    return TL_OK;
}

static enum tl_code conv_column(struct conv *c, const ColumnRef *r, struct tl_ast **out)
{
    uint32_t count = LIST_COUNT(r->fields);
    struct tl_ast *ast = tl__new_ast(c, TL_AST_COLUMN, r->location, 0);
    if (!ast)
        return c->st->code;
    if (count == 0 || count > 3)
        return REFUSE(c, ast->position, "a column reference of more than three names");
    const Node *last = LIST_AT(r->fields, count - 1);
    if (nodeTag(last) == T_A_Star)
        ast->kind = TL_AST_STAR;
    else if (!(ast->name = tl__copy_string(c, strVal(last))))
        return c->st->code;
    if (count >= 2 && !(ast->qualifier = tl__copy_string(c, strVal(LIST_AT(r->fields, count - 2)))))
        return c->st->code;
    if (count == 3 && !(ast->schema = tl__copy_string(c, strVal(LIST_AT(r->fields, 0)))))
        return c->st->code;
    *out = ast;
    return TL_OK;
}

/* x LIKE y, x LIKE y ESCAPE z (which the grammar gives as like_escape(y, z)). */
static enum tl_code conv_like(struct conv *c, const A_Expr *e, const char *op, struct tl_ast **out)
{
    const Node *pattern = e->rexpr;
    const Node *escape = NULL;
    if (nodeTag(pattern) == T_FuncCall) {
        const FuncCall *f = (const FuncCall *)pattern;
        uint32_t count = LIST_COUNT(f->funcname);
        if (count == 2 && strcmp(strVal(LIST_AT(f->funcname, 1)), "like_escape") == 0 &&
            LIST_COUNT(f->args) == 2) {
            pattern = LIST_AT(f->args, 0);
            escape = LIST_AT(f->args, 1);
        }
    }
    struct tl_ast *ast = tl__new_ast(c, TL_AST_LIKE, e->location, escape ? 3 : 2);
    if (!ast)
        return c->st->code;
    ast->negated = op[0] == '!';
    ast->integer = e->kind == AEXPR_ILIKE;
    enum tl_code rc = tl__conv_expr(c, e->lexpr, &ast->args[0]);
    if (!rc)
        rc = tl__conv_expr(c, pattern, &ast->args[1]);
    if (!rc && escape)
        rc = tl__conv_expr(c, escape, &ast->args[2]);
    *out = ast;
    return rc;
}

static enum tl_code conv_pair(struct conv *c, const A_Expr *e, enum tl_ast_kind kind,
                              struct tl_ast **out)
{
    struct tl_ast *ast = tl__new_ast(c, kind, e->location, 2);
    if (!ast)
        return c->st->code;
    enum tl_code rc = tl__conv_expr(c, e->lexpr, &ast->args[0]);
    if (!rc)
        rc = tl__conv_expr(c, e->rexpr, &ast->args[1]);
    *out = ast;
    return rc;
}

/* Left operand and a list: IN, BETWEEN. */
static enum tl_code conv_left_list(struct conv *c, const A_Expr *e, enum tl_ast_kind kind,
                                   bool negated, struct tl_ast **out)
{
    const List *list = (const List *)e->rexpr;
    if (nodeTag(list) != T_List)
        return REFUSE(c, tl__position_of(c, e->location), "this form of IN");
    struct tl_ast *ast = tl__new_ast(c, kind, e->location, 1 + LIST_COUNT(list));
    if (!ast)
        return c->st->code;
    ast->negated = negated;
    enum tl_code rc = tl__conv_expr(c, e->lexpr, &ast->args[0]);
    if (!rc)
        rc = tl__conv_args(c, list, ast, 1);
    *out = ast;
    return rc;
}

static enum tl_code conv_operator(struct conv *c, const A_Expr *e, const char *op,
                                  struct tl_ast **out)
{
    struct tl_ast *ast = tl__new_ast(c, TL_AST_OP, e->location, e->lexpr ? 2 : 1);
    if (!ast)
        return c->st->code;
    /* LIKE as an operator. */
    const char *like = strstr(op, "~~");
    if (e->kind == AEXPR_OP && e->lexpr && like && like <= op + 1 &&
        (strcmp(like, "~~") == 0 || strcmp(like, "~~*") == 0) && (like == op || op[0] == '!')) {
        ast->kind = TL_AST_LIKE;
        ast->negated = op[0] == '!';
        ast->integer = like[2] == '*';
    }
    ast->name = op;
    enum tl_code rc = TL_OK;
    if (e->lexpr)
        rc = tl__conv_expr(c, e->lexpr, &ast->args[0]);
    if (!rc && e->rexpr)
        rc = tl__conv_expr(c, e->rexpr, &ast->args[ast->arg_count - 1]);
    else if (!rc)
        rc = REFUSE(c, ast->position, "a postfix operator");
    *out = ast;
    return rc;
}

static enum tl_code conv_a_expr(struct conv *c, const A_Expr *e, struct tl_ast **out)
{
    int32_t at = tl__position_of(c, e->location);
    const char *op = NULL;
    enum tl_code rc = conv_name(c, e->name, e->location, "operator", &op);
    if (rc)
        return rc;
    switch (e->kind) {
    case AEXPR_OP:
        return conv_operator(c, e, op, out);
    case AEXPR_DISTINCT:
    case AEXPR_NOT_DISTINCT:
        rc = conv_pair(c, e, TL_AST_IS_DISTINCT, out);
        if (!rc)
            (*out)->negated = e->kind == AEXPR_NOT_DISTINCT;
        return rc;
    case AEXPR_NULLIF:
        return conv_pair(c, e, TL_AST_NULLIF, out);
    case AEXPR_IN:
        return conv_left_list(c, e, TL_AST_IN, op[0] == '<', out);
    case AEXPR_LIKE:
    case AEXPR_ILIKE:
        return conv_like(c, e, op, out);
    case AEXPR_BETWEEN:
    case AEXPR_NOT_BETWEEN:
        return conv_left_list(c, e, TL_AST_BETWEEN, e->kind == AEXPR_NOT_BETWEEN, out);
    case AEXPR_BETWEEN_SYM:
    case AEXPR_NOT_BETWEEN_SYM:
        return REFUSE(c, at, "BETWEEN SYMMETRIC");
    case AEXPR_OP_ANY:
    case AEXPR_OP_ALL:
        rc = conv_operator(c, e, op, out);
        if (!rc) {
            (*out)->kind = TL_AST_QUANTIFIED;
            (*out)->negated = e->kind == AEXPR_OP_ALL;
        }
        return rc;
    case AEXPR_SIMILAR:
        return conv_operator(c, e, op, out);
    }
    return REFUSE(c, at, "this operator");
}

static enum tl_code conv_bool_expr(struct conv *c, const BoolExpr *e, struct tl_ast **out)
{
    enum tl_ast_kind kind = e->boolop == AND_EXPR  ? TL_AST_AND
                            : e->boolop == OR_EXPR ? TL_AST_OR
                                                   : TL_AST_NOT;
    struct tl_ast *ast = tl__new_ast(c, kind, e->location, LIST_COUNT(e->args));
    if (!ast)
        return c->st->code;
    *out = ast;
    return tl__conv_args(c, e->args, ast, 0);
}

enum tl_code tl__conv_order(struct conv *c, const List *list, uint32_t *count,
                            struct tl_ast_order **out)
{
    uint32_t n = LIST_COUNT(list);
    struct tl_ast_order *order = tl_arena_calloc(c->arena, n ? n : 1, sizeof(*order), c->st);
    if (!order)
        return c->st->code;
    for (uint32_t i = 0; i < n; i++) {
        const SortBy *s = LIST_AT(list, i);
        if (s->sortby_dir == SORTBY_USING)
            return REFUSE(c, tl__position_of(c, s->location), "ORDER BY USING");
        order[i].descending = s->sortby_dir == SORTBY_DESC;
        order[i].nulls_first = s->sortby_nulls == SORTBY_NULLS_DEFAULT
                                   ? order[i].descending
                                   : s->sortby_nulls == SORTBY_NULLS_FIRST;
        enum tl_code rc = tl__conv_expr(c, s->node, &order[i].expr);
        if (rc)
            return rc;
        order[i].position = order[i].expr->position;
    }
    *count = n;
    *out = order;
    return TL_OK;
}

static enum tl_code conv_call(struct conv *c, const FuncCall *f, struct tl_ast **out)
{
    struct tl_ast *ast = tl__new_ast(c, TL_AST_CALL, f->location, LIST_COUNT(f->args));
    if (!ast)
        return c->st->code;
    enum tl_code rc = conv_name(c, f->funcname, f->location, "function name", &ast->name);
    if (rc)
        return rc;
    if (f->func_variadic)
        return REFUSE(c, ast->position, "VARIADIC");
    if (f->agg_order && !f->agg_within_group)
        return REFUSE(c, ast->position, "ORDER BY within an aggregate's arguments");
    struct tl_ast_call *call = tl_arena_calloc(c->arena, 1, sizeof(*call), c->st);
    if (!call)
        return c->st->code;
    ast->call = call;
    call->star = f->agg_star;
    call->distinct = f->agg_distinct;
    call->within_group = f->agg_within_group;
    rc = tl__conv_order(c, f->agg_order, &call->order_count, &call->order);
    if (!rc && f->agg_filter)
        rc = tl__conv_expr(c, f->agg_filter, &call->filter);
    if (!rc && f->over)
        rc = tl__conv_window(c, f->over, &call->over);
    if (!rc)
        rc = tl__conv_named(c, f->args, ast);
    *out = ast;
    return rc;
}

static enum tl_code conv_cast(struct conv *c, const TypeCast *t, struct tl_ast **out)
{
    int location = t->location >= 0 ? t->location : t->typeName->location;
    struct tl_ast *ast = tl__new_ast(c, TL_AST_CAST, location, 1);
    if (!ast)
        return c->st->code;
    ast->cast = tl_arena_calloc(c->arena, 1, sizeof(*ast->cast), c->st);
    if (!ast->cast)
        return c->st->code;
    enum tl_code rc = tl__conv_type(c, t->typeName, ast->cast);
    if (!rc)
        rc = tl__conv_expr(c, t->arg, &ast->args[0]);
    *out = ast;
    return rc;
}

static enum tl_code conv_case(struct conv *c, const CaseExpr *e, struct tl_ast **out)
{
    uint32_t whens = LIST_COUNT(e->args);
    struct tl_ast *ast = tl__new_ast(c, TL_AST_CASE, e->location, 2 * whens + 1);
    if (!ast)
        return c->st->code;
    enum tl_code rc = TL_OK;
    if (e->arg)
        rc = tl__conv_expr(c, e->arg, &ast->operand);
    for (uint32_t i = 0; !rc && i < whens; i++) {
        const CaseWhen *w = LIST_AT(e->args, i);
        rc = tl__conv_expr(c, w->expr, &ast->args[2 * i]);
        if (!rc)
            rc = tl__conv_expr(c, w->result, &ast->args[2 * i + 1]);
    }
    if (!rc && e->defresult)
        rc = tl__conv_expr(c, e->defresult, &ast->args[2 * whens]);
    *out = ast;
    return rc;
}

static const char *session_function(SQLValueFunctionOp op)
{
    switch (op) {
    case SVFOP_CURRENT_ROLE:
        return "current_role";
    case SVFOP_USER:
        return "user";
    case SVFOP_SESSION_USER:
        return "session_user";
    case SVFOP_CURRENT_CATALOG:
        return "current_catalog";
    case SVFOP_CURRENT_SCHEMA:
        return "current_schema";
    default:
        return "current_user";
    }
}

static enum tl_code conv_value_function(struct conv *c, const SQLValueFunction *f,
                                        struct tl_ast **out)
{
    struct tl_ast *now = tl__new_ast(c, TL_AST_CALL, f->location, 0);
    struct tl_ast *ast = tl__new_ast(c, TL_AST_CAST, f->location, 1);
    if (!now || !ast || !(now->call = tl_arena_calloc(c->arena, 1, sizeof(*now->call), c->st)) ||
        !(ast->cast = tl_arena_calloc(c->arena, 1, sizeof(*ast->cast), c->st)))
        return c->st->code;
    now->name = "now";
    ast->args[0] = now;
    ast->cast->position = ast->position;
    switch (f->op) {
    case SVFOP_CURRENT_ROLE:
    case SVFOP_CURRENT_USER:
    case SVFOP_USER:
    case SVFOP_SESSION_USER:
    case SVFOP_CURRENT_CATALOG:
    case SVFOP_CURRENT_SCHEMA:
        now->name = session_function(f->op);
        *out = now;
        return TL_OK;
    case SVFOP_CURRENT_TIMESTAMP:
        now->label = "current_timestamp";
        *out = now;
        return TL_OK;
    case SVFOP_CURRENT_DATE:
        ast->label = ast->cast->name = "current_date";
        ast->cast->type = tl_type_of(TL_DATE);
        break;
    case SVFOP_LOCALTIMESTAMP:
        ast->label = ast->cast->name = "localtimestamp";
        ast->cast->type = tl_type_of(TL_TIMESTAMP);
        break;
    default:
        return REFUSE(c, ast->position, "this SQL value function");
    }
    *out = ast;
    return TL_OK;
}

/* A bound of a slice; one that was left out is as far as there are numbers. */
static enum tl_code conv_slice_bound(struct conv *c, const Node *n, int64_t none,
                                     struct tl_ast **out)
{
    if (n)
        return tl__conv_expr(c, n, out);
    *out = tl__new_ast(c, TL_AST_INT, -1, 0);
    if (!*out)
        return c->st->code;
    (*out)->integer = none;
    return TL_OK;
}

static enum tl_code conv_indirection(struct conv *c, const A_Indirection *n, struct tl_ast **out)
{
    const A_Indices *i = LIST_AT(n->indirection, 0);
    bool field = nodeTag(i) == T_String;
    struct tl_ast *ast = tl__new_ast(c, field ? TL_AST_FIELD : TL_AST_SUBSCRIPT, -1, 1);
    if (!ast)
        return c->st->code;
    enum tl_code rc = tl__conv_expr(c, n->arg, &ast->args[0]);
    if (rc)
        return rc;
    ast->position = ast->args[0]->position;
    if (LIST_COUNT(n->indirection) != 1 || (!field && nodeTag(i) != T_A_Indices))
        return REFUSE(c, ast->position, "this selection of a field");
    if (field) {
        ast->name = tl__copy_string(c, strVal(i));
        *out = ast;
        return ast->name ? TL_OK : c->st->code;
    }
    struct tl_ast *of = ast->args[0];
    int32_t position = ast->position;
    ast = tl__new_ast(c, TL_AST_SUBSCRIPT, -1, i->is_slice ? 3 : 2);
    if (!ast)
        return c->st->code;
    ast->position = position;
    ast->args[0] = of;
    *out = ast;
    if (!i->is_slice)
        return tl__conv_expr(c, i->uidx, &ast->args[1]);
    rc = conv_slice_bound(c, i->lidx, INT64_MIN, &ast->args[1]);
    return rc ? rc : conv_slice_bound(c, i->uidx, INT64_MAX, &ast->args[2]);
}

static enum tl_code conv_is(struct conv *c, const void *node, struct tl_ast **out)
{
    struct tl_ast *ast;
    const Expr *arg;
    if (nodeTag(node) == T_NullTest) {
        const NullTest *t = node;
        ast = tl__new_ast(c, TL_AST_IS_NULL, t->location, 1);
        if (!ast)
            return c->st->code;
        ast->negated = t->nulltesttype == IS_NOT_NULL;
        arg = t->arg;
    } else {
        const BooleanTest *t = node;
        ast = tl__new_ast(c, TL_AST_IS_BOOL, t->location, 1);
        if (!ast)
            return c->st->code;
        ast->integer = t->booltesttype == IS_TRUE || t->booltesttype == IS_NOT_TRUE     ? 1
                       : t->booltesttype == IS_FALSE || t->booltesttype == IS_NOT_FALSE ? 0
                                                                                        : 2;
        ast->negated = t->booltesttype == IS_NOT_TRUE || t->booltesttype == IS_NOT_FALSE ||
                       t->booltesttype == IS_NOT_UNKNOWN;
        arg = t->arg;
    }
    *out = ast;
    return tl__conv_expr(c, arg, &ast->args[0]);
}

static enum tl_code conv_list_node(struct conv *c, enum tl_ast_kind kind, const List *args,
                                   int location, struct tl_ast **out)
{
    struct tl_ast *ast = tl__new_ast(c, kind, location, LIST_COUNT(args));
    if (!ast)
        return c->st->code;
    *out = ast;
    return tl__conv_args(c, args, ast, 0);
}

static enum tl_code conv_param(struct conv *c, const ParamRef *p, struct tl_ast **out)
{
    struct tl_ast *ast = tl__new_ast(c, TL_AST_PARAM, p->location, 0);
    if (!ast)
        return c->st->code;
    if (c->sql[p->location < 0 ? 0 : p->location] == '?')
        return FAIL_AT(c, TL_INVALID, "42601", ast->position, "syntax error at or near \"?\"");
    if (p->number < 1 || p->number > TL_SQL_PARAMS_MAX)
        return FAIL_AT(c, TL_INVALID, "42P02", ast->position, "there is no parameter $%d",
                       p->number);
    ast->integer = p->number;
    if ((uint32_t)p->number > c->param_max)
        c->param_max = (uint32_t)p->number;
    *out = ast;
    return TL_OK;
}

static enum tl_code conv_sublink(struct conv *c, const SubLink *s, struct tl_ast **out)
{
    static const uint8_t kinds[] = {
        [EXISTS_SUBLINK] = TL_SUBLINK_EXISTS, [ALL_SUBLINK] = TL_SUBLINK_ALL,
        [ANY_SUBLINK] = TL_SUBLINK_ANY,       [EXPR_SUBLINK] = TL_SUBLINK_SCALAR,
        [ARRAY_SUBLINK] = TL_SUBLINK_ARRAY,
    };
    struct tl_ast *ast = tl__new_ast(c, TL_AST_SUBLINK, s->location, s->testexpr ? 1 : 0);
    if (!ast)
        return c->st->code;
    if (s->subLinkType == ROWCOMPARE_SUBLINK || s->subLinkType == MULTIEXPR_SUBLINK)
        return REFUSE(c, ast->position, "a comparison of a row with a subquery");
    ast->integer = kinds[s->subLinkType];
    ast->name = "=";
    enum tl_code rc = TL_OK;
    if (s->testexpr)
        rc = tl__conv_expr(c, s->testexpr, &ast->args[0]);
    if (!rc && s->operName)
        rc = conv_name(c, s->operName, s->location, "operator", &ast->name);
    if (!rc)
        rc = tl__conv_select(c, (const SelectStmt *)s->subselect, &ast->select);
    *out = ast;
    return rc;
}

static enum tl_code conv_grouping_set(struct conv *c, const GroupingSet *g, struct tl_ast **out)
{
    struct tl_ast *ast = tl__new_ast(c, TL_AST_SETS, g->location, LIST_COUNT(g->content));
    if (!ast)
        return c->st->code;
    switch (g->kind) {
    case GROUPING_SET_EMPTY:
        ast->integer = TL_SETS_EMPTY;
        break;
    case GROUPING_SET_ROLLUP:
        ast->integer = TL_SETS_ROLLUP;
        break;
    case GROUPING_SET_CUBE:
        ast->integer = TL_SETS_CUBE;
        break;
    case GROUPING_SET_SETS:
        ast->integer = TL_SETS_LIST;
        break;
    default:
        return REFUSE(c, ast->position, "this form of GROUP BY");
    }
    *out = ast;
    return tl__conv_args(c, g->content, ast, 0);
}

/* x COLLATE "C": all texts are ordered by their bytes, which several names say. */
static enum tl_code conv_collate(struct conv *c, const CollateClause *n, struct tl_ast **out)
{
    static const char *const known[] = {"default", "C", "POSIX", "ucs_basic"};
    const char *name;
    enum tl_code rc = conv_name(c, n->collname, n->location, "collation", &name);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i], name) == 0)
            return tl__conv_expr(c, n->arg, out);
    return REFUSE(c, tl__position_of(c, n->location), "COLLATE of a collation other than C");
}

static enum tl_code refuse_node(struct conv *c, const Node *n)
{
    switch (nodeTag(n)) {
    case T_SetToDefault:
        return REFUSE(c, tl__position_of(c, ((const SetToDefault *)n)->location), "DEFAULT");
    case T_NamedArgExpr:
        return REFUSE(c, tl__position_of(c, ((const NamedArgExpr *)n)->location),
                      "a named argument");
    case T_XmlExpr:
        return REFUSE(c, tl__position_of(c, ((const XmlExpr *)n)->location), "XML");
    default:
        return REFUSE(c, 0, "this expression");
    }
}

static enum tl_code conv_expr_node(struct conv *c, const void *node, struct tl_ast **out)
{
    switch (nodeTag(node)) {
    case T_A_Const:
        return conv_const(c, node, out);
    case T_ColumnRef:
        return conv_column(c, node, out);
    case T_ParamRef:
        return conv_param(c, node, out);
    case T_A_Expr:
        return conv_a_expr(c, node, out);
    case T_BoolExpr:
        return conv_bool_expr(c, node, out);
    case T_NullTest:
    case T_BooleanTest:
        return conv_is(c, node, out);
    case T_FuncCall:
        return conv_call(c, node, out);
    case T_TypeCast:
        return conv_cast(c, node, out);
    case T_CaseExpr:
        return conv_case(c, node, out);
    case T_CoalesceExpr: {
        const CoalesceExpr *e = node;
        return conv_list_node(c, TL_AST_COALESCE, e->args, e->location, out);
    }
    case T_MinMaxExpr: {
        const MinMaxExpr *e = node;
        return conv_list_node(c, e->op == IS_GREATEST ? TL_AST_GREATEST : TL_AST_LEAST, e->args,
                              e->location, out);
    }
    case T_SQLValueFunction:
        return conv_value_function(c, node, out);
    case T_A_Indirection:
        return conv_indirection(c, node, out);
    case T_SubLink:
        return conv_sublink(c, node, out);
    case T_RowExpr: {
        const RowExpr *e = node;
        return conv_list_node(c, TL_AST_ROW, e->args, e->location, out);
    }
    case T_GroupingFunc: {
        const GroupingFunc *e = node;
        return conv_list_node(c, TL_AST_GROUPING, e->args, e->location, out);
    }
    case T_GroupingSet:
        return conv_grouping_set(c, node, out);
    case T_CollateClause:
        return conv_collate(c, node, out);
    case T_A_ArrayExpr: {
        const A_ArrayExpr *e = node;
        return conv_list_node(c, TL_AST_ARRAY, e->elements, e->location, out);
    }
    default:
        return refuse_node(c, node);
    }
}

enum tl_code tl__conv_list(struct conv *c, const List *list, uint32_t *count, struct tl_ast ***out)
{
    uint32_t n = LIST_COUNT(list);
    *out = tl_arena_calloc(c->arena, n ? n : 1, sizeof(struct tl_ast *), c->st);
    if (!*out)
        return c->st->code;
    *count = n;
    for (uint32_t i = 0; i < n; i++) {
        enum tl_code rc = tl__conv_expr(c, LIST_AT(list, i), &(*out)[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

enum tl_code tl__conv_expr(struct conv *c, const void *node, struct tl_ast **out)
{
    if (!node)
        return FAIL_AT(c, TL_INVALID, "42601", 0, "an expression is missing");
    if (c->depth >= TL_SQL_DEPTH_MAX)
        return FAIL_AT(c, TL_LIMIT, "54001", 0, "an expression is nested more than %d deep",
                       TL_SQL_DEPTH_MAX);
    c->depth++;
    enum tl_code rc = conv_expr_node(c, node, out);
    c->depth--;
    return rc;
}
