/*
 * Types of expressions: overloads, casts, literals, constants computed while binding.
 *
 * The rules are PostgreSQL's where its types are ours (see its chapter "Type Conversion"):
 * an open argument of a binary operator takes the other one's type; else the overload with most
 * exact matches wins, then the one whose casts cost least along
 * BIGINT -> DECIMAL -> DOUBLE and DATE -> TIMESTAMP -> TIMESTAMPTZ, then the one that takes open
 * arguments as TEXT.
 */
#include "query/bind_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/int128.h"
#include "base/pg_type.h"
#include "base/time.h"
#include "query/function_int.h"

static const uint64_t zero_word;
static const uint8_t zero_value[16] __attribute__((aligned(16)));

const char *tl__type_label(struct tl_type t)
{
    static const char *const arrays[TL_KIND_COUNT] = {
        [TL_BOOLEAN] = "boolean[]",
        [TL_BIGINT] = "bigint[]",
        [TL_DOUBLE] = "double precision[]",
        [TL_DECIMAL64] = "numeric[]",
        [TL_DECIMAL128] = "numeric[]",
        [TL_DATE] = "date[]",
        [TL_TIMESTAMP] = "timestamp without time zone[]",
        [TL_TIMESTAMPTZ] = "timestamp with time zone[]",
        [TL_INTERVAL] = "interval[]",
        [TL_TEXT] = "text[]",
    };
    if (t.kind == TL_NULL)
        return "unknown";
    if (t.kind == TL_PROPS)
        return "props";
    if (t.kind == TL_ARRAY && t.element < TL_KIND_COUNT && arrays[t.element])
        return t.element == TL_BIGINT && t.flavour == TL_FLAVOUR_INT4 ? "integer[]"
                                                                      : arrays[t.element];
    return tl_pg_type_row(t)->label;
}

const char *tl__keep(struct tl__binder *b, const char *s)
{
    return tl_arena_copy(b->arena, s, strlen(s), b->st);
}

struct tl_expr *tl__expr_new(struct tl__binder *b, enum tl_expr_kind kind, struct tl_type type,
                             uint32_t arg_count, int32_t position)
{
    if (++b->expr_count > TL__EXPRS_MAX) {
        (void)TL__BIND_FAIL(b, TL_LIMIT, "54001", position,
                            "the statement needs more than %d expressions", TL__EXPRS_MAX);
        return NULL;
    }
    struct tl_expr *e = tl_arena_calloc(b->arena, 1, sizeof(*e), b->st);
    if (!e)
        return NULL;
    e->kind = (uint8_t)kind;
    e->type = type;
    e->position = position;
    e->arg_count = arg_count;
    if (arg_count > 0) {
        e->args = tl_arena_calloc(b->arena, arg_count, sizeof(struct tl_expr *), b->st);
        if (!e->args)
            return NULL;
    }
    return e;
}

/* Makes e a constant; `data` is copied (a TEXT's bytes too), NULL makes it NULL. */
static enum tl_code set_const(struct tl__binder *b, struct tl_expr *e, struct tl_type value_type,
                              const void *data)
{
    struct tl_vector v = {.type = value_type, .shape = TL_CONST, .count = 1, .data = zero_value};
    if (!data) {
        v.validity = &zero_word;
    } else if (tl_kind_is_bytes(value_type.kind)) {
        struct tl_slice text = *(const struct tl_slice *)data;
        text.data =
            tl_arena_copy(b->arena, text.size ? (const void *)text.data : "", text.size, b->st);
        v.data = text.data ? tl_arena_copy(b->arena, &text, sizeof(text), b->st) : NULL;
    } else {
        v.data = tl_arena_copy(b->arena, data, tl_kind_width(value_type.kind), b->st);
    }
    if (!v.data)
        return b->st->code;
    e->kind = TL_EXPR_CONST;
    e->arg_count = 0;
    e->args = NULL;
    e->function = NULL;
    e->value = v;
    return TL_OK;
}

struct tl_expr *tl__const_new(struct tl__binder *b, struct tl_type type, const void *data,
                              int32_t position)
{
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_CONST, type, 0, position);
    return e && set_const(b, e, type, data) == TL_OK ? e : NULL;
}

struct tl_expr *tl__null_new(struct tl__binder *b, struct tl_type type, int32_t position)
{
    return tl__const_new(b, type, NULL, position);
}

struct tl_expr *tl__text_new(struct tl__binder *b, struct tl_type type, struct tl_slice text,
                             int32_t position)
{
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_CONST, type, 0, position);
    return e && set_const(b, e, tl_type_of(TL_TEXT), &text) == TL_OK ? e : NULL;
}

bool tl__bool_const(const struct tl_expr *e, int *out)
{
    if (e->kind != TL_EXPR_CONST || e->type.kind != TL_BOOLEAN)
        return false;
    *out = tl__is_null_const(e) ? -1 : *(const uint8_t *)e->value.data;
    return true;
}

/* ---- numbers ---- */

struct number {
    bool negative;
    tl_i128 digits; /* without the sign */
    int32_t scale;  /* value = digits × 10^-scale; may be negative before it is normalised */
    uint32_t count; /* significant digits */
};

/* [-+]digits[.digits][e[-+]digits]; false when it is none or has more than 38 digits. */
static bool number_read(struct tl_slice text, struct number *out)
{
    struct number n = {0};
    const char *p = (const char *)text.data;
    const char *end = p + text.size;
    bool point = false, any = false;
    if (p < end && (*p == '-' || *p == '+'))
        n.negative = *p++ == '-';
    for (; p < end; p++) {
        if (*p == '.' && !point) {
            point = true;
        } else if (*p >= '0' && *p <= '9') {
            any = true;
            if (n.count > 0 || *p != '0')
                n.count++;
            if (n.count > 38)
                return false;
            n.digits = n.digits * 10 + (*p - '0');
            n.scale += point;
        } else {
            break;
        }
    }
    if (!any)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        bool minus = false;
        int32_t exponent = 0;
        p++;
        if (p < end && (*p == '-' || *p == '+'))
            minus = *p++ == '-';
        if (p == end)
            return false;
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            exponent = exponent < 10000 ? exponent * 10 + (*p - '0') : exponent;
        n.scale -= minus ? -exponent : exponent;
    }
    if (p != end)
        return false;
    while (n.scale < 0) { /* 25e2: no negative scales */
        if (n.digits == 0)
            n.scale = 0;
        else if (n.count >= 38)
            return false;
        else
            n.digits *= 10, n.count++, n.scale++;
    }
    if (n.scale > 38)
        return false;
    *out = n;
    return true;
}

/* The decimal type that holds n as it is written. */
static struct tl_type number_type(const struct number *n)
{
    bool small = n->count <= 18 && n->scale <= 18;
    return (struct tl_type){small ? TL_DECIMAL64 : TL_DECIMAL128, (uint8_t)n->scale};
}

static struct tl_expr *decimal_new(struct tl__binder *b, struct tl_type type, tl_i128 value,
                                   int32_t position)
{
    if (type.kind == TL_DECIMAL64) {
        int64_t small = (int64_t)value;
        return tl__const_new(b, type, &small, position);
    }
    return tl__const_new(b, type, &value, position);
}

enum tl_code tl__number_new(struct tl__binder *b, struct tl_slice text, int32_t position,
                            struct tl_expr **out)
{
    struct number n;
    if (number_read(text, &n)) {
        *out = decimal_new(b, number_type(&n), n.negative ? -n.digits : n.digits, position);
        return *out ? TL_OK : b->st->code;
    }
    const char *copy = tl_arena_copy(b->scratch, text.data, text.size, b->st);
    if (!copy)
        return b->st->code;
    char *end = NULL;
    errno = 0;
    double v = strtod(copy, &end);
    if (*end != '\0' || (errno == ERANGE && (v > 1 || v < -1)))
        return TL__BIND_FAIL(b, TL_INVALID, "22003", position, "number is out of range");
    *out = tl__const_new(b, tl_type_of(TL_DOUBLE), &v, position);
    return *out ? TL_OK : b->st->code;
}

/* The exact value of a BIGINT or decimal constant. */
static bool const_number(const struct tl_expr *e, tl_i128 *value, uint8_t *scale)
{
    if (e->kind != TL_EXPR_CONST || tl__is_open(e) || tl__is_null_const(e))
        return false;
    *scale = e->type.scale;
    if (e->type.kind == TL_BIGINT || e->type.kind == TL_DECIMAL64)
        *value = *(const int64_t *)e->value.data;
    else if (e->type.kind == TL_DECIMAL128)
        memcpy(value, e->value.data, sizeof(*value));
    else
        return false;
    return true;
}

/* The constant as a decimal of `type`, when it is one exactly. */
static bool rescale_exactly(const struct tl_expr *e, struct tl_type type, tl_i128 *out)
{
    uint8_t scale;
    tl_i128 v;
    if (!const_number(e, &v, &scale))
        return false;
    for (; scale < type.scale; scale++)
        if (__builtin_mul_overflow(v, (tl_i128)10, &v))
            return false;
    for (; scale > type.scale; scale--) {
        if (v % 10 != 0)
            return false;
        v /= 10;
    }
    tl_i128 limit = 1;
    for (int i = 0; i < (type.kind == TL_DECIMAL64 ? 18 : 38); i++)
        limit *= 10;
    *out = v;
    return v > -limit && v < limit;
}

/* ---- folding ---- */

static enum tl_code run_kernel(struct tl__binder *b, const struct tl_expr *e, struct tl_vector *out,
                               struct tl_status *st)
{
    struct tl_vector *args =
        tl_arena_calloc(b->scratch, e->arg_count ? e->arg_count : 1, sizeof(*args), st);
    if (!args)
        return st->code;
    for (uint32_t i = 0; i < e->arg_count; i++) {
        args[i] = e->args[i]->value;
        args[i].type = e->args[i]->type;
        if (tl__is_open(e->args[i]) && !tl__is_null_const(e->args[i]))
            args[i].type = tl_type_of(TL_TEXT);
    }
    *out = (struct tl_vector){.type = e->type, .count = 1};
    return e->function->kernel(&b->fold, args, e->arg_count, 1, NULL, 1, out, st);
}

/* Gives a kernel's failure its place in the statement. */
static enum tl_code place(struct tl_status *st, int32_t position)
{
    if (st->position == 0)
        st->position = position;
    return st->code;
}

/* The value of a call over constants. `forced`: also of a function that reads the zone (a
 * literal's text becomes a time here: plans are kept per zone), and a failure is told. */
static enum tl_code fold_call(struct tl__binder *b, struct tl_expr *e, bool forced)
{
    const struct tl_function *f = e->function;
    bool constant = true;
    for (uint32_t i = 0; i < e->arg_count; i++) {
        constant = constant && e->args[i]->kind == TL_EXPR_CONST;
        if (f->strict && tl__is_null_const(e->args[i]))
            return set_const(b, e, e->type, NULL);
    }
    if (!constant || !(f->immutable || forced))
        return TL_OK;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_vector value;
    enum tl_code rc = run_kernel(b, e, &value, &st);
    if (rc) {
        if (!forced)
            return TL_OK;
        *b->st = st;
        return place(b->st, e->position);
    }
    return set_const(b, e, e->type, tl_vector_valid(&value, 0) ? value.data : NULL);
}

enum tl_code tl__fold(struct tl__binder *b, struct tl_expr *e)
{
    return e->kind == TL_EXPR_CALL ? fold_call(b, e, false) : TL_OK;
}

/* ---- coercion ---- */

static enum tl_code type_param(struct tl__binder *b, struct tl_expr *e, struct tl_type type)
{
    struct tl_type *known = &b->plan->param_types[e->index];
    if (known->kind == TL_NULL)
        *known = type;
    e->type = *known;
    return TL_OK;
}

/* The type that an open expression takes when a number with digits after the point is wanted. */
static struct tl_type open_decimal(const struct tl_expr *e, enum tl_kind kind)
{
    struct number n;
    if (e->kind == TL_EXPR_PARAM)
        return (struct tl_type){(uint8_t)kind,
                                kind == TL_DECIMAL128 ? TL__PARAM_SCALE : TL__PARAM_SCALE / 2};
    if (tl__is_null_const(e) || !number_read(*(const struct tl_slice *)e->value.data, &n))
        return tl_type_of(kind);
    struct tl_type t = number_type(&n);
    if (kind == TL_DECIMAL128)
        t.kind = TL_DECIMAL128;
    return t;
}

/* What writes the name of an OID. */
static const struct tl_function *reg_to_text(struct tl_type from)
{
    const char *name = from.flavour == TL_FLAVOUR_REGCLASS       ? "$regclass_text"
                       : from.flavour == TL_FLAVOUR_REGTYPE      ? "$regtype_text"
                       : from.flavour == TL_FLAVOUR_REGPROC      ? "$regproc_text"
                       : from.flavour == TL_FLAVOUR_REGPROCEDURE ? "$regproc_text"
                       : from.flavour == TL_FLAVOUR_REGNAMESPACE ? "$regnamespace_text"
                       : from.flavour == TL_FLAVOUR_REGROLE      ? "$regrole_text"
                                                                 : "cast";
    const struct tl_type plain = tl_type_of(TL_BIGINT);
    return name[0] == '$' ? tl_function_find(name, &plain, 1)
                          : tl_function_cast(plain, tl_type_of(TL_TEXT));
}

/* A cast as a call; *found false: there is none between the two types. */
static enum tl_code cast_call(struct tl__binder *b, struct tl_expr *arg, struct tl_type type,
                              bool forced, bool *found, struct tl_expr **out)
{
    struct tl_type from = arg->type;
    if (tl__is_open(arg) && !tl__is_null_const(arg))
        from = tl_type_of(TL_TEXT);
    const struct tl_function *f = tl_function_cast(from, type);
    if (from.kind == TL_BIGINT && type.kind == TL_TEXT && tl_flavour_is_reg(from.flavour))
        f = reg_to_text(from);
    *found = f != NULL;
    if (!f)
        return TL_OK;
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_CALL, type, 1, arg->position);
    if (!e)
        return b->st->code;
    e->function = f;
    e->args[0] = arg;
    enum tl_code rc = fold_call(b, e, forced);
    *out = e;
    return rc;
}

static enum tl_code close_open(struct tl__binder *b, struct tl_expr **e, struct tl_type type)
{
    struct tl_expr *x = *e;
    if (x->kind == TL_EXPR_PARAM)
        return type_param(b, x, type);
    x->type = type;
    if (tl__is_null_const(x)) {
        x->value.type = type;
        return TL_OK;
    }
    if (type.kind == TL_TEXT)
        return TL_OK;
    x->type = tl_type_of(TL_TEXT);
    bool found;
    struct tl_expr *cast;
    enum tl_code rc = cast_call(b, x, type, true, &found, &cast);
    if (rc)
        return rc;
    if (!found)
        return TL__BIND_FAIL(b, TL_INVALID, "42846", x->position, "cannot cast type text to %s",
                             tl__type_label(type));
    *e = cast;
    return TL_OK;
}

/* The cost of an implicit cast to `kind`; -1: there is none. */
static int implicit_cost(const struct tl_expr *e, uint8_t kind)
{
    uint8_t from = e->type.kind;
    tl_i128 unused;
    if (from == kind)
        return 0;
    switch (from) {
    case TL_BIGINT:
        if (kind == TL_DECIMAL64)
            return rescale_exactly(e, tl_type_of(TL_DECIMAL64), &unused) ? 1 : -1;
        return kind == TL_DECIMAL128 ? 2 : kind == TL_DOUBLE ? 4 : -1;
    case TL_DECIMAL64:
        return kind == TL_DECIMAL128 ? 1 : kind == TL_DOUBLE ? 3 : -1;
    case TL_DECIMAL128:
        return kind == TL_DOUBLE ? 3 : -1;
    case TL_DATE:
        return kind == TL_TIMESTAMPTZ ? 1 : kind == TL_TIMESTAMP ? 2 : -1;
    case TL_TIMESTAMP:
        return kind == TL_TIMESTAMPTZ ? 1 : -1;
    default:
        return -1;
    }
}

enum tl_code tl__coerce(struct tl__binder *b, struct tl_expr **e, struct tl_type type,
                        const char *what)
{
    struct tl_expr *x = *e;
    if (tl__is_open(x) && x->kind == TL_EXPR_PARAM)
        (void)type_param(b, x, type); /* it may be known by now, and be something else */
    else if (tl__is_open(x))
        return close_open(b, e, type);
    if (tl_type_eq(x->type, type))
        return TL_OK;
    if (what && implicit_cost(x, type.kind) < 0 &&
        !(tl__is_decimal(type) && tl__is_number(x->type)))
        return TL__BIND_FAIL(b, TL_INVALID, "42804", x->position, "%s must be type %s, not type %s",
                             what, tl__type_label(type), tl__type_label(x->type));
    tl_i128 exact;
    if (tl__is_decimal(type) && rescale_exactly(x, type, &exact)) {
        *e = decimal_new(b, type, exact, x->position);
        return *e ? TL_OK : b->st->code;
    }
    bool found;
    enum tl_code rc = cast_call(b, x, type, false, &found, e);
    if (!rc && !found)
        return TL__BIND_FAIL(b, TL_INVALID, "42846", x->position, "cannot cast type %s to %s",
                             tl__type_label(x->type), tl__type_label(type));
    return rc;
}

/* The type of a bare NUMERIC: its argument's own digits. */
static enum tl_code bare_numeric(struct tl__binder *b, const struct tl_expr *e, int32_t position,
                                 struct tl_type *out)
{
    if (tl__is_decimal(e->type))
        *out = e->type;
    else if (e->type.kind == TL_BIGINT)
        *out = tl_type_of(TL_DECIMAL128);
    else if (tl__is_open(e))
        *out = open_decimal(e, TL_DECIMAL128);
    else
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", position,
                             "a cast of %s to NUMERIC without precision and scale is not "
                             "supported; write NUMERIC(38,s)",
                             tl__type_label(e->type));
    return TL_OK;
}

/* INTERVAL '1' DAY: the number gets its unit. */
static enum tl_code interval_unit(struct tl__binder *b, struct tl_expr **e,
                                  const struct tl_ast_type *to)
{
    static const struct {
        int32_t mask;
        const char *unit;
    } units[] = {{1 << 1, "months"}, {1 << 2, "years"},    {1 << 3, "days"},
                 {1 << 10, "hours"}, {1 << 11, "minutes"}, {1 << 12, "seconds"}};
    struct tl_expr *x = *e;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].mask != to->interval_mask || !tl__is_open(x) || x->kind != TL_EXPR_CONST ||
            tl__is_null_const(x))
            continue;
        struct tl_slice text = *(const struct tl_slice *)x->value.data;
        for (size_t k = 0; k < text.size; k++)
            if (!strchr("+-0123456789.", text.data[k]))
                goto refuse;
        struct tl_buffer with_unit;
        tl_buffer_init(&with_unit, "interval literal", 4096);
        tl_buffer_printf(&with_unit, "%.*s %s", (int)text.size, (const char *)text.data,
                         units[i].unit);
        enum tl_code rc = tl_buffer_check(&with_unit, b->st);
        if (!rc) {
            *e = tl__text_new(b, x->type, tl_buffer_slice(&with_unit), x->position);
            rc = *e ? TL_OK : b->st->code;
        }
        tl_buffer_deinit(&with_unit);
        return rc;
    }
refuse:
    return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", to->position,
                         "this form of an interval with fields is not supported");
}

static enum tl_code apply(struct tl__binder *b, const char *name, struct tl_type type,
                          struct tl_expr **e)
{
    const struct tl_function *f = tl_function_find(name, &type, 1);
    tl_assert(f != NULL);
    struct tl_expr *call = tl__expr_new(b, TL_EXPR_CALL, type, 1, (*e)->position);
    if (!call)
        return b->st->code;
    call->function = f;
    call->args[0] = *e;
    *e = call;
    return fold_call(b, call, false);
}

enum tl_code tl__cast(struct tl__binder *b, struct tl_expr *e, const struct tl_ast_type *to,
                      int32_t position, struct tl_expr **out)
{
    struct tl_type type = to->type;
    enum tl_code rc = TL_OK;
    if (type.kind == TL_DECIMAL128 && to->precision == 0)
        rc = bare_numeric(b, e, position, &type);
    if (!rc && to->interval_mask)
        rc = interval_unit(b, &e, to);
    if (rc)
        return rc;
    bool elements = e->type.kind != TL_ARRAY || type.kind != TL_ARRAY ||
                    tl_function_cast(tl_type_element(e->type), tl_type_element(type));
    if (!tl__is_open(e) && !tl_type_eq(e->type, type) &&
        !(elements && tl_function_cast(e->type, type)))
        return TL__BIND_FAIL(b, TL_INVALID, "42846", position, "cannot cast type %s to %s",
                             tl__type_label(e->type), tl__type_label(type));
    /* $1::int is a parameter of that type, not a cast of one. */
    rc = tl__coerce(b, &e, type, NULL);
    if (!rc && type.kind == TL_ARRAY) /* its elements' ranges are checked by its cast */
        ;
    else if (!rc && to->bits == 32)
        rc = apply(b, "int4", type, &e);
    else if (!rc && to->bits == 16)
        rc = apply(b, "int2", type, &e);
    else if (!rc && to->bits == 24)
        rc = apply(b, "float4", type, &e);
    if (!rc)
        e->type.flavour = to->type.flavour;
    *out = e;
    return rc;
}

/* ---- one type for several ---- */

struct common {
    bool number, decimal, floating, time, tz, ts;
    uint8_t kind;         /* of the first typed one */
    uint8_t scale;        /* the greatest */
    uint8_t flavour;      /* of all that are typed; of integers the widest one's */
    bool mixed;           /* not all of one kind */
    struct tl_type array; /* of the first array */
    const struct tl_expr *clash;
};

/* What two values of one kind are together: smallint and integer are integer, else plain. */
static uint8_t wider_flavour(uint8_t a, uint8_t b)
{
    bool small = (a == TL_FLAVOUR_INT2 || a == TL_FLAVOUR_INT4) &&
                 (b == TL_FLAVOUR_INT2 || b == TL_FLAVOUR_INT4);
    /* An integer beside an OID is one. */
    bool oid = (a == TL_FLAVOUR_OID && (b == TL_FLAVOUR_INT4 || b == TL_FLAVOUR_INT2)) ||
               (b == TL_FLAVOUR_OID && (a == TL_FLAVOUR_INT4 || a == TL_FLAVOUR_INT2));
    return a == b ? a : small ? TL_FLAVOUR_INT4 : oid ? TL_FLAVOUR_OID : TL_PLAIN;
}

static void common_add(struct common *c, const struct tl_expr *e)
{
    struct tl_type t = e->type;
    bool number = tl__is_number(t);
    bool time = t.kind == TL_DATE || t.kind == TL_TIMESTAMP || t.kind == TL_TIMESTAMPTZ;
    if (c->kind == TL_NULL) {
        c->kind = t.kind;
        c->number = number;
        c->time = time;
        c->flavour = t.flavour;
        c->array = t;
    } else if (c->kind != t.kind && !(c->number && number) && !(c->time && time) && !c->clash) {
        c->clash = e;
    } else if (t.kind == TL_ARRAY && c->array.element != t.element && !c->clash) {
        c->clash = e;
    }
    c->mixed = c->mixed || c->kind != t.kind;
    c->flavour = wider_flavour(c->flavour, t.flavour);
    c->decimal = c->decimal || tl__is_decimal(t);
    c->floating = c->floating || t.kind == TL_DOUBLE;
    c->tz = c->tz || t.kind == TL_TIMESTAMPTZ;
    c->ts = c->ts || t.kind == TL_TIMESTAMP;
    if (t.scale > c->scale)
        c->scale = t.scale;
}

/* DECIMAL64 when every member is one of that scale or a constant that becomes one exactly. */
static struct tl_type common_decimal(const struct common *c, struct tl_expr **es, uint32_t count)
{
    struct tl_type wide = {TL_DECIMAL128, c->scale};
    struct tl_type narrow = {TL_DECIMAL64, 0};
    bool found = false;
    tl_i128 unused;
    for (uint32_t i = 0; i < count; i++) {
        if (es[i]->kind == TL_EXPR_CONST || tl__is_open(es[i]))
            continue;
        if (es[i]->type.kind != TL_DECIMAL64 || (found && es[i]->type.scale != narrow.scale))
            return wide;
        narrow = es[i]->type;
        found = true;
    }
    if (!found) /* constants alone */
        narrow.scale = c->scale > 18 ? 18 : c->scale;
    for (uint32_t i = 0; i < count; i++)
        if (es[i]->kind == TL_EXPR_CONST && !tl__is_open(es[i]) && !tl__is_null_const(es[i]) &&
            !rescale_exactly(es[i], narrow, &unused))
            return wide;
    return narrow;
}

enum tl_code tl__unify(struct tl__binder *b, struct tl_expr **es, uint32_t count, const char *what,
                       struct tl_type *out)
{
    struct common c = {0};
    for (uint32_t i = 0; i < count; i++)
        if (!tl__is_open(es[i]))
            common_add(&c, es[i]);
    if (c.clash)
        return TL__BIND_FAIL(
            b, TL_INVALID, "42804", c.clash->position, "%s types %s and %s cannot be matched", what,
            tl__type_label(tl_type_of((enum tl_kind)c.kind)), tl__type_label(c.clash->type));
    struct tl_type type = tl_type_of((enum tl_kind)c.kind);
    if (c.kind == TL_NULL)
        type = tl_type_of(TL_TEXT);
    else if (c.kind == TL_ARRAY)
        type = c.array;
    else if (c.floating)
        type = tl_type_of(TL_DOUBLE);
    else if (c.time && c.mixed)
        type = tl_type_of(c.tz ? TL_TIMESTAMPTZ : TL_TIMESTAMP);
    else if (c.decimal) {
        /* Open literals bring their own digits. */
        for (uint32_t i = 0; i < count; i++) {
            if (!tl__is_open(es[i]) || tl__is_null_const(es[i]))
                continue;
            struct tl_type own = open_decimal(es[i], TL_DECIMAL128);
            enum tl_code rc = tl__coerce(b, &es[i], own, NULL);
            if (rc)
                return rc;
            if (!tl__is_number(es[i]->type))
                return TL__BIND_FAIL(b, TL_INVALID, "42804", es[i]->position,
                                     "%s types numeric and %s cannot be matched", what,
                                     tl__type_label(es[i]->type));
            common_add(&c, es[i]);
        }
        type = common_decimal(&c, es, count);
    }
    if (!c.mixed)
        type.flavour = c.flavour;
    for (uint32_t i = 0; i < count; i++) {
        enum tl_code rc = tl__coerce(b, &es[i], type, what);
        if (rc)
            return rc;
    }
    *out = type;
    return TL_OK;
}

/* ---- overloads ---- */

struct score {
    uint32_t exact;
    uint32_t cost;
    uint32_t open_text;
};

static bool score_overload(const struct tl_function *f, struct tl_expr **args, uint32_t arg_count,
                           struct score *out)
{
    if (f->variadic ? arg_count < f->arg_count : arg_count != f->arg_count)
        return false;
    struct score s = {0};
    for (uint32_t i = 0; i < arg_count; i++) {
        uint8_t kind = f->args[i < f->arg_count ? i : f->arg_count - 1u];
        if (tl__is_open(args[i])) {
            s.open_text += kind == TL_TEXT;
            continue;
        }
        if (kind == TL_KIND_ANY)
            continue;
        int cost = implicit_cost(args[i], kind);
        if (cost < 0)
            return false;
        s.exact += cost == 0;
        s.cost += (uint32_t)cost;
    }
    *out = s;
    return true;
}

static int score_compare(const struct score *a, const struct score *b)
{
    if (a->exact != b->exact)
        return a->exact > b->exact ? 1 : -1;
    if (a->cost != b->cost)
        return a->cost < b->cost ? 1 : -1;
    if (a->open_text != b->open_text)
        return a->open_text > b->open_text ? 1 : -1;
    return 0;
}

/* All kinds as they are: nothing can be better, and the table finds it without a search. */
static const struct tl_function *exact_overload(const char *name, struct tl_expr **args,
                                                uint32_t arg_count)
{
    struct tl_type types[TL_FUNCTION_ARGS_MAX];
    if (arg_count > TL_FUNCTION_ARGS_MAX)
        return NULL;
    for (uint32_t i = 0; i < arg_count; i++) {
        if (tl__is_open(args[i]))
            return NULL;
        types[i] = args[i]->type;
    }
    return tl_function_find(name, types, arg_count);
}

/* The best overload; *named tells whether the name exists at all, *tie whether two are as good. */
static const struct tl_function *best_overload(const char *name, struct tl_expr **args,
                                               uint32_t arg_count, bool *named, bool *tie)
{
    uint32_t count;
    const struct tl_function *table = tl_functions(&count);
    const struct tl_function *best = exact_overload(name, args, arg_count);
    struct score best_score = {0}, s;
    *named = best != NULL;
    *tie = false;
    if (best)
        return best;
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_function *f = &table[i];
        if (f->name[0] != name[0] || strcmp(f->name, name) != 0)
            continue;
        *named = true;
        if (!score_overload(f, args, arg_count, &s))
            continue;
        int order = best ? score_compare(&s, &best_score) : 1;
        if (order > 0) {
            best = f;
            best_score = s;
            *tie = false;
        } else if (order == 0) {
            *tie = true;
        }
    }
    return best;
}

/* What the user wrote for the names that the grammar or the binder gives to operators. */
static const char *operator_sign(const char *name)
{
    return strcmp(name, "like") == 0 ? "~~" : strcmp(name, "ilike") == 0 ? "~~*" : name;
}

static enum tl_code no_overload(struct tl__binder *b, const char *name, struct tl_expr **args,
                                uint32_t arg_count, bool is_operator, bool tie, int32_t position)
{
    char types[160] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < arg_count && used < sizeof(types); i++) {
        const char *label = tl__type_label(args[i]->type);
        size_t size = strlen(label);
        if (used + size + 3 > sizeof(types))
            break;
        if (i > 0) {
            memcpy(types + used, ", ", 2);
            used += 2;
        }
        memcpy(types + used, label, size + 1);
        used += size;
    }
    const char *state = tie ? "42725" : "42883";
    const char *ending = tie ? "is not unique" : "does not exist";
    if (is_operator && arg_count == 2)
        return TL__BIND_FAIL(b, TL_INVALID, state, position, "operator %s: %s %s %s",
                             tie ? "is not unique" : "does not exist",
                             tl__type_label(args[0]->type), operator_sign(name),
                             tl__type_label(args[1]->type));
    if (is_operator)
        return TL__BIND_FAIL(b, TL_INVALID, state, position, "operator %s: %s %s", ending,
                             operator_sign(name), tl__type_label(args[0]->type));
    return TL__BIND_FAIL(b, TL_INVALID, state, position, "function %s(%s) %s", name, types, ending);
}

static bool is_comparison(const char *name)
{
    return strcmp(name, "=") == 0 || name[0] == '<' || name[0] == '>' ||
           strcmp(name, "is_distinct") == 0;
}

/* An open side of a binary operator takes the other side's type where such an operator exists.
 * A parameter beside a decimal becomes a wide one, so that it is not rounded before it is
 * compared. A constant beside a decimal takes that scale when it can exactly: then it may be
 * pushed into the scan. */
static enum tl_code settle_operands(struct tl__binder *b, const char *name, struct tl_expr **args)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct tl_expr *open = args[i], *typed = args[1 - i];
        if (!tl__is_open(open) || tl__is_open(typed))
            continue;
        struct tl_type pair[2] = {typed->type, typed->type};
        if (!tl_function_find(name, pair, 2))
            return TL_OK;
        struct tl_type type =
            tl__is_decimal(typed->type) ? open_decimal(open, TL_DECIMAL128) : typed->type;
        return tl__coerce(b, &args[i], type, NULL);
    }
    return TL_OK;
}

static enum tl_code settle_decimals(struct tl__binder *b, struct tl_expr **args)
{
    const struct tl_type wide = tl_type_of(TL_DECIMAL128);
    for (uint32_t i = 0; i < 2; i++) {
        tl_i128 exact;
        struct tl_type type = args[1 - i]->type;
        if (type.kind == TL_BIGINT && args[1 - i]->kind != TL_EXPR_CONST &&
            tl__is_decimal(args[i]->type) && rescale_exactly(args[i], wide, &exact) &&
            exact >= INT64_MIN && exact <= INT64_MAX) { /* status = 200.0 */
            int64_t whole = (int64_t)exact;
            args[i] = tl__const_new(b, type, &whole, args[i]->position);
            return args[i] ? TL_OK : b->st->code;
        }
        if (!tl__is_decimal(type) || args[1 - i]->kind == TL_EXPR_CONST ||
            tl_type_eq(type, args[i]->type) || !rescale_exactly(args[i], type, &exact))
            continue;
        args[i] = decimal_new(b, type, exact, args[i]->position);
        if (!args[i])
            return b->st->code;
    }
    return TL_OK;
}

/* concat writes a boolean as t or f (its cast to text, and so `||`, as true or false). */
static enum tl_code first_letter(struct tl__binder *b, struct tl_expr **e)
{
    const int64_t one = 1;
    struct tl_type types[2] = {tl_type_of(TL_TEXT), tl_type_of(TL_BIGINT)};
    struct tl_expr *call = tl__expr_new(b, TL_EXPR_CALL, types[0], 2, (*e)->position);
    struct tl_expr *count = tl__const_new(b, types[1], &one, (*e)->position);
    if (!call || !count)
        return b->st->code;
    call->function = tl_function_find("left", types, 2);
    tl_assert(call->function != NULL);
    call->args[0] = *e;
    call->args[1] = count;
    *e = call;
    return fold_call(b, call, false);
}

/* `||` and concat take anything and write it as text. */
static enum tl_code settle_texts(struct tl__binder *b, const char *name, struct tl_expr **args,
                                 uint32_t arg_count)
{
    bool joins = strcmp(name, "concat") == 0 || strcmp(name, "format") == 0 ||
                 strcmp(name, "concat_ws") == 0;
    bool any_text = joins;
    if (strcmp(name, "||") == 0 && args[0]->type.kind != TL_ARRAY &&
        args[arg_count - 1]->type.kind != TL_ARRAY)
        for (uint32_t i = 0; i < arg_count; i++)
            any_text = any_text || args[i]->type.kind == TL_TEXT || tl__is_open(args[i]);
    for (uint32_t i = 0; any_text && i < arg_count; i++) {
        bool letter = joins && args[i]->type.kind == TL_BOOLEAN;
        enum tl_code rc = tl__coerce(b, &args[i], tl_type_of(TL_TEXT), NULL);
        if (!rc && letter)
            rc = first_letter(b, &args[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* round(x, 2), extract(hour FROM ts): the constant says how many digits there are to come. A
 * field's name that is wrong is told here, with its place. */
static enum tl_code settle_constants(struct tl__binder *b, struct tl_expr *call)
{
    const char *name = call->function->name;
    if (call->arg_count < 2)
        return TL_OK;
    bool extract = strcmp(name, "extract") == 0 || strcmp(name, "date_part") == 0;
    if ((strcmp(name, "round") == 0 || strcmp(name, "trunc") == 0) &&
        call->type.kind == TL_DECIMAL128) {
        const struct tl_expr *n = call->args[1];
        if (n->kind != TL_EXPR_CONST || tl__is_null_const(n))
            return TL_OK;
        int64_t digits = *(const int64_t *)n->value.data;
        if (digits < call->type.scale)
            call->type.scale = digits < 0 ? 0 : (uint8_t)digits;
    } else if (extract || strcmp(name, "date_trunc") == 0) {
        const struct tl_expr *unit = call->args[0];
        enum tl_field field;
        if (unit->kind != TL_EXPR_CONST || tl__is_null_const(unit))
            return TL_OK;
        enum tl_kind kind = (enum tl_kind)call->args[1]->type.kind;
        enum tl_code rc =
            tl_field_parse(*(const struct tl_slice *)unit->value.data, kind,
                           extract ? TL_FIELD_FOR_EXTRACT : TL_FIELD_FOR_TRUNC, &field, b->st);
        if (rc)
            return place(b->st, unit->position);
        if (extract && call->type.kind == TL_DECIMAL128)
            call->type.scale = (uint8_t)tl_extract_scale(field, kind);
    }
    return TL_OK;
}

/* The type of the arrays of a call, whose elements are of one type; false: they are of several. The
 * constructor's are those of the array that is to be made. */
static bool settle_arrays(const struct tl_function *f, struct tl_expr **args, uint32_t arg_count,
                          struct tl_type *out)
{
    bool found = false;
    *out = tl_type_array(tl_type_of(TL_TEXT));
    for (uint32_t i = 0; i < arg_count; i++) {
        uint8_t kind = f->args[i < f->arg_count ? i : f->arg_count - 1u];
        struct tl_type t = args[i]->type;
        if (f->result_type == tl__type_array && !tl__is_open(args[i]))
            t = tl_type_array(t);
        else if (kind != TL_ARRAY || tl__is_open(args[i]))
            continue;
        if (found && t.element != out->element)
            return false;
        *out = found ? *out : t;
        found = true;
    }
    for (uint32_t i = 0; i < arg_count; i++) {
        uint8_t kind = f->args[i < f->arg_count ? i : f->arg_count - 1u];
        if (kind == TL_KIND_ANY && !tl__is_open(args[i]) &&
            implicit_cost(args[i], out->element) < 0)
            return false;
    }
    return true;
}

/* What PostgreSQL calls the result: integers stay as narrow as the widest argument where the
 * function says so, else the table knows. */
static uint8_t result_flavour(const struct tl_function *f, const struct tl_expr *call)
{
    if (f->flavour != TL_FLAVOUR_WIDEST)
        return f->result_type ? call->type.flavour : f->flavour;
    uint8_t flavour = call->args[0]->type.flavour;
    for (uint32_t i = 1; i < call->arg_count; i++)
        if (call->args[i]->type.kind == call->type.kind)
            flavour = wider_flavour(flavour, call->args[i]->type.flavour);
    return flavour;
}

enum tl_code tl__call(struct tl__binder *b, const char *name, struct tl_expr **args,
                      uint32_t arg_count, bool is_operator, int32_t position, struct tl_expr **out)
{
    enum tl_code rc = TL_OK;
    if (is_operator && arg_count == 2)
        rc = settle_operands(b, name, args);
    if (!rc && is_operator && arg_count == 2 && is_comparison(name))
        rc = settle_decimals(b, args);
    if (!rc)
        rc = settle_texts(b, name, args, arg_count);
    if (rc)
        return rc;

    bool named, tie;
    const struct tl_function *f = best_overload(name, args, arg_count, &named, &tie);
    if (!named && is_operator)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", position, "operator %s is not supported",
                             name);
    if (!f || tie)
        return no_overload(b, name, args, arg_count, is_operator, tie && f, position);

    struct tl_expr *call =
        tl__expr_new(b, TL_EXPR_CALL, tl_type_of(f->result), arg_count, position);
    struct tl_type *types =
        tl_arena_calloc(b->scratch, arg_count ? arg_count : 1, sizeof(*types), b->st);
    if (!call || !types)
        return b->st->code;
    call->function = f;
    struct tl_type array;
    if (!settle_arrays(f, args, arg_count, &array))
        return no_overload(b, name, args, arg_count, is_operator, false, position);
    for (uint32_t i = 0; i < arg_count; i++) {
        struct tl_type type =
            tl_type_of((enum tl_kind)f->args[i < f->arg_count ? i : f->arg_count - 1u]);
        if (type.kind == TL_ARRAY)
            type = array;
        else if (type.kind == TL_KIND_ANY)
            type = tl_type_element(array);
        else if (tl__is_decimal(type))
            type = tl__is_open(args[i]) ? open_decimal(args[i], type.kind)
                                        : (struct tl_type){type.kind, args[i]->type.scale};
        call->args[i] = args[i];
        rc = tl__coerce(b, &call->args[i], type, NULL);
        if (rc)
            return rc;
        types[i] = call->args[i]->type;
    }
    if (f->result_type)
        call->type = f->result_type(types, arg_count);
    call->type.flavour = result_flavour(f, call);
    *out = call;
    rc = settle_constants(b, call);
    return rc ? rc : fold_call(b, call, false);
}
