/*
 * Kernels over BIGINT and DOUBLE. Overflow is 22003 as in PostgreSQL: for doubles an infinite
 * result of finite operands, or a zero result of a product or quotient of non-zero ones.
 */
#include <math.h>

#include "query/function_int.h"

static enum tl_code int_range(struct tl__call *c)
{
    return tl__fail_sql(c->st, TL__OUT_OF_RANGE, "bigint out of range");
}

static enum tl_code division_by_zero(struct tl__call *c)
{
    return tl__fail_sql(c->st, TL__DIVISION_BY_0, "division by zero");
}

#define INT_CHECKED(name, builtin)                                                                 \
    TL__KERNEL(name)                                                                               \
    {                                                                                              \
        const int64_t *a = c->args[0].data;                                                        \
        const int64_t *b = c->args[1].data;                                                        \
        size_t sa = tl__step(&c->args[0]);                                                         \
        size_t sb = tl__step(&c->args[1]);                                                         \
        int64_t *out = tl__out(c, 8);                                                              \
        if (!out)                                                                                  \
            return c->st->code;                                                                    \
        bool bad = false;                                                                          \
        TL__EACH(c, i)                                                                             \
        {                                                                                          \
            int64_t r;                                                                             \
            bad |= builtin(a[sa * i], b[sb * i], &r);                                              \
            out[i] = r;                                                                            \
        }                                                                                          \
        return bad ? int_range(c) : TL_OK;                                                         \
    }

INT_CHECKED(add_int, __builtin_add_overflow)
INT_CHECKED(sub_int, __builtin_sub_overflow)
INT_CHECKED(mul_int, __builtin_mul_overflow)

TL__KERNEL(div_int)
{
    const int64_t *a = c->args[0].data;
    const int64_t *b = c->args[1].data;
    size_t sa = tl__step(&c->args[0]);
    size_t sb = tl__step(&c->args[1]);
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t d = b[sb * i];
        if (d == 0)
            return division_by_zero(c);
        if (d == -1) {
            if (a[sa * i] == INT64_MIN)
                return int_range(c);
            out[i] = -a[sa * i];
            continue;
        }
        out[i] = a[sa * i] / d;
    }
    return TL_OK;
}

TL__KERNEL(mod_int)
{
    const int64_t *a = c->args[0].data;
    const int64_t *b = c->args[1].data;
    size_t sa = tl__step(&c->args[0]);
    size_t sb = tl__step(&c->args[1]);
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t d = b[sb * i];
        if (d == 0)
            return division_by_zero(c);
        out[i] = d == -1 ? 0 : a[sa * i] % d;
    }
    return TL_OK;
}

TL__KERNEL(neg_int)
{
    const int64_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (a[i] == INT64_MIN)
            return int_range(c);
        out[i] = -a[i];
    }
    return TL_OK;
}

TL__KERNEL(abs_int)
{
    const int64_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (a[i] == INT64_MIN)
            return int_range(c);
        out[i] = a[i] < 0 ? -a[i] : a[i];
    }
    return TL_OK;
}

static enum tl_code narrow(struct tl__call *c, int64_t lo, int64_t hi, const char *sentence)
{
    const int64_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (a[i] < lo || a[i] > hi)
            return tl__fail_sql(c->st, TL__OUT_OF_RANGE, sentence);
        out[i] = a[i];
    }
    return TL_OK;
}

TL__KERNEL(int4)
{
    return narrow(c, INT32_MIN, INT32_MAX, "integer out of range");
}

TL__KERNEL(int2)
{
    return narrow(c, INT16_MIN, INT16_MAX, "smallint out of range");
}

/* ---- DOUBLE ---- */

static enum tl_code double_range(struct tl__call *c, bool underflow)
{
    return tl__fail_sql(c->st, TL__OUT_OF_RANGE,
                        underflow ? "value out of range: underflow"
                                  : "value out of range: overflow");
}

#define DOUBLE_BINARY(name, OP, BAD)                                                               \
    TL__KERNEL(name)                                                                               \
    {                                                                                              \
        const double *a = c->args[0].data;                                                         \
        const double *b = c->args[1].data;                                                         \
        size_t sa = tl__step(&c->args[0]);                                                         \
        size_t sb = tl__step(&c->args[1]);                                                         \
        double *out = tl__out(c, 8);                                                               \
        if (!out)                                                                                  \
            return c->st->code;                                                                    \
        TL__EACH(c, i)                                                                             \
        {                                                                                          \
            double x = a[sa * i];                                                                  \
            double y = b[sb * i];                                                                  \
            double r = x OP y;                                                                     \
            if (__builtin_expect(isinf(r) && !isinf(x) && !isinf(y), 0))                           \
                return double_range(c, false);                                                     \
            if (__builtin_expect(BAD, 0))                                                          \
                return double_range(c, true);                                                      \
            out[i] = r;                                                                            \
        }                                                                                          \
        return TL_OK;                                                                              \
    }

DOUBLE_BINARY(add_double, +, false)
DOUBLE_BINARY(sub_double, -, false)
DOUBLE_BINARY(mul_double, *, (r == 0 && x != 0 && y != 0))

TL__KERNEL(div_double)
{
    const double *a = c->args[0].data;
    const double *b = c->args[1].data;
    size_t sa = tl__step(&c->args[0]);
    size_t sb = tl__step(&c->args[1]);
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double x = a[sa * i];
        double y = b[sb * i];
        if (y == 0 && !isnan(x))
            return division_by_zero(c);
        double r = x / y;
        if (isinf(r) && !isinf(x))
            return double_range(c, false);
        if (r == 0 && x != 0 && !isinf(y))
            return double_range(c, true);
        out[i] = r;
    }
    return TL_OK;
}

#define DOUBLE_UNARY(name, expression)                                                             \
    TL__KERNEL(name)                                                                               \
    {                                                                                              \
        const double *a = c->args[0].data;                                                         \
        double *out = tl__out(c, 8);                                                               \
        if (!out)                                                                                  \
            return c->st->code;                                                                    \
        TL__EACH(c, i)                                                                             \
        {                                                                                          \
            double x = a[i];                                                                       \
            out[i] = expression;                                                                   \
        }                                                                                          \
        return TL_OK;                                                                              \
    }

DOUBLE_UNARY(neg_double, -x)
DOUBLE_UNARY(abs_double, fabs(x))
DOUBLE_UNARY(ceil_double, ceil(x))
DOUBLE_UNARY(floor_double, floor(x))
DOUBLE_UNARY(round_double, rint(x)) /* half to even, as PostgreSQL's */
DOUBLE_UNARY(trunc_double, trunc(x))
DOUBLE_UNARY(sign_double, x > 0 ? 1.0 : x < 0 ? -1.0 : x == 0 ? 0.0 : x)

TL__KERNEL(float4)
{
    const double *a = c->args[0].data;
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        float f = (float)a[i];
        if (isinf(f) && !isinf(a[i]))
            return double_range(c, false);
        if (f == 0 && a[i] != 0)
            return double_range(c, true);
        out[i] = (double)f;
    }
    return TL_OK;
}

TL__KERNEL(sqrt)
{
    const double *a = c->args[0].data;
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (a[i] < 0)
            return tl__fail_sql(c->st, TL__BAD_POWER,
                                "cannot take square root of a negative number");
        out[i] = sqrt(a[i]);
    }
    return TL_OK;
}

static enum tl_code logarithm(struct tl__call *c, double (*f)(double))
{
    const double *a = c->args[0].data;
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (a[i] == 0)
            return tl__fail_sql(c->st, TL__BAD_LOGARITHM, "cannot take logarithm of zero");
        if (a[i] < 0)
            return tl__fail_sql(c->st, TL__BAD_LOGARITHM,
                                "cannot take logarithm of a negative number");
        out[i] = f(a[i]);
    }
    return TL_OK;
}

TL__KERNEL(ln)
{
    return logarithm(c, log);
}

TL__KERNEL(log10)
{
    return logarithm(c, log10);
}

TL__KERNEL(exp)
{
    const double *a = c->args[0].data;
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double r = exp(a[i]);
        if (isinf(r) && !isinf(a[i]))
            return double_range(c, false);
        if (r == 0 && !isinf(a[i]))
            return double_range(c, true);
        out[i] = r;
    }
    return TL_OK;
}

TL__KERNEL(power)
{
    const double *a = c->args[0].data;
    const double *b = c->args[1].data;
    size_t sa = tl__step(&c->args[0]);
    size_t sb = tl__step(&c->args[1]);
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double x = a[sa * i];
        double y = b[sb * i];
        if (x == 0 && y < 0)
            return tl__fail_sql(c->st, TL__BAD_POWER,
                                "zero raised to a negative power is undefined");
        if (x < 0 && isfinite(x) && isfinite(y) && floor(y) != y)
            return tl__fail_sql(
                c->st, TL__BAD_POWER,
                "a negative number raised to a non-integer power yields a complex result");
        double r = pow(x, y);
        if (isinf(r) && isfinite(x) && isfinite(y))
            return double_range(c, false);
        if (r == 0 && x != 0 && isfinite(x) && isfinite(y))
            return double_range(c, true);
        out[i] = r;
    }
    return TL_OK;
}
