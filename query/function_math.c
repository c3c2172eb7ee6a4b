/*
 * More of arithmetic: trigonometry, divisors, bits, histograms' buckets, digits of a NUMERIC.
 */
#include <math.h>
#include <string.h>

#include "query/decimal_int.h"
#include "query/function_int.h"

static enum tl_code range(struct tl__call *c, const char *what)
{
    return tl__fail_sql(c->st, TL__OUT_OF_RANGE, what);
}

/* ---- DOUBLE ---- */

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

/* the same, where `bad` numbers have no result; a NaN stays one */
#define DOUBLE_PARTIAL(name, bad, expression)                                                      \
    TL__KERNEL(name)                                                                               \
    {                                                                                              \
        const double *a = c->args[0].data;                                                         \
        double *out = tl__out(c, 8);                                                               \
        if (!out)                                                                                  \
            return c->st->code;                                                                    \
        TL__EACH(c, i)                                                                             \
        {                                                                                          \
            double x = a[i];                                                                       \
            if (bad)                                                                               \
                return range(c, "input is out of range");                                          \
            out[i] = expression;                                                                   \
            if (isinf(out[i]) && !isinf(x))                                                        \
                return range(c, "value out of range: overflow");                                   \
        }                                                                                          \
        return TL_OK;                                                                              \
    }

#define RADIANS_PER_DEGREE 0.0174532925199432957692

DOUBLE_UNARY(cbrt, cbrt(x))
DOUBLE_UNARY(degrees, x / RADIANS_PER_DEGREE)
DOUBLE_UNARY(radians, x *RADIANS_PER_DEGREE)
DOUBLE_UNARY(atan, atan(x))
DOUBLE_UNARY(tanh, tanh(x))
DOUBLE_UNARY(asinh, asinh(x))
DOUBLE_PARTIAL(sin, isinf(x), sin(x))
DOUBLE_PARTIAL(cos, isinf(x), cos(x))
DOUBLE_PARTIAL(asin, x<-1 || x> 1, asin(x))
DOUBLE_PARTIAL(acos, x<-1 || x> 1, acos(x))
DOUBLE_PARTIAL(acosh, x < 1, acosh(x))
DOUBLE_PARTIAL(sinh, false, sinh(x))
DOUBLE_PARTIAL(cosh, false, cosh(x))

/* These have poles that are results: tan(π/2) is large, cot(0) and atanh(1) are infinite. */
static enum tl_code poles(struct tl__call *c, double (*f)(double), bool unit)
{
    const double *a = c->args[0].data;
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (unit ? a[i] < -1 || a[i] > 1 : isinf(a[i]))
            return range(c, "input is out of range");
        out[i] = f(a[i]);
    }
    return TL_OK;
}

static double cotangent(double x)
{
    return 1 / tan(x);
}

TL__KERNEL(tan)
{
    return poles(c, tan, false);
}

TL__KERNEL(cot)
{
    return poles(c, cotangent, false);
}

TL__KERNEL(atanh)
{
    return poles(c, atanh, true);
}

TL__KERNEL(atan2)
{
    const double *a = c->args[0].data, *b = c->args[1].data;
    size_t sa = tl__step(&c->args[0]), sb = tl__step(&c->args[1]);
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = atan2(a[sa * i], b[sb * i]);
    return TL_OK;
}

TL__KERNEL(pi)
{
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    *out = 3.14159265358979323846;
    return TL_OK;
}

TL__KERNEL(log_base)
{
    const double *a = c->args[0].data, *b = c->args[1].data;
    size_t sa = tl__step(&c->args[0]), sb = tl__step(&c->args[1]);
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double base = a[sa * i], x = b[sb * i];
        if (base == 0 || x == 0)
            return tl__fail_sql(c->st, TL__BAD_LOGARITHM, "cannot take logarithm of zero");
        if (base < 0 || x < 0)
            return tl__fail_sql(c->st, TL__BAD_LOGARITHM,
                                "cannot take logarithm of a negative number");
        if (base == 1)
            return tl__fail_sql(c->st, TL__DIVISION_BY_0, "division by zero");
        out[i] = log(x) / log(base);
    }
    return TL_OK;
}

/* width_bucket(x, low, high, count) */
TL__KERNEL(width_bucket)
{
    const double *x = c->args[0].data, *low = c->args[1].data, *high = c->args[2].data;
    const int64_t *count = c->args[3].data;
    size_t step[4];
    for (uint32_t a = 0; a < 4; a++)
        step[a] = tl__step(&c->args[a]);
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double v = x[step[0] * i], l = low[step[1] * i], h = high[step[2] * i];
        int64_t n = count[step[3] * i];
        if (n <= 0)
            return tl__fail_sql(c->st, "2201G", "count must be greater than zero");
        if (n >= INT32_MAX)
            return range(c, "integer out of range");
        if (isnan(v) || isnan(l) || isnan(h))
            return tl__fail_sql(c->st, "2201G",
                                "operand, lower bound, and upper bound cannot be NaN");
        if (isinf(l) || isinf(h))
            return tl__fail_sql(c->st, "2201G", "lower and upper bounds must be finite");
        if (l == h)
            return tl__fail_sql(c->st, "2201G", "lower bound cannot equal upper bound");
        bool up = l < h;
        if (up ? v < l : v > l)
            out[i] = 0;
        else if (up ? v >= h : v <= h)
            out[i] = n + 1;
        else {
            double share = up ? (v - l) / (h - l) : (l - v) / (l - h);
            if (!isfinite(share)) /* the span overflows: halve all */
                share = up ? (v / 2 - l / 2) / (h / 2 - l / 2) : (l / 2 - v / 2) / (l / 2 - h / 2);
            int64_t bucket = (int64_t)((double)n * share);
            out[i] = (bucket >= n ? n - 1 : bucket) + 1;
        }
    }
    return TL_OK;
}

/* ---- BIGINT ---- */

#define INT_BINARY(name, body)                                                                     \
    TL__KERNEL(name)                                                                               \
    {                                                                                              \
        const int64_t *a = c->args[0].data, *b = c->args[1].data;                                  \
        size_t sa = tl__step(&c->args[0]), sb = tl__step(&c->args[1]);                             \
        int64_t *out = tl__out(c, 8);                                                              \
        if (!out)                                                                                  \
            return c->st->code;                                                                    \
        TL__EACH(c, i)                                                                             \
        {                                                                                          \
            int64_t x = a[sa * i], y = b[sb * i];                                                  \
            body                                                                                   \
        }                                                                                          \
        return TL_OK;                                                                              \
    }

INT_BINARY(bit_and, out[i] = x & y;)
INT_BINARY(bit_or, out[i] = x | y;)
INT_BINARY(bit_xor, out[i] = x ^ y;)
INT_BINARY(shift_left, out[i] = (int64_t)((uint64_t)x << (y & 63));)
INT_BINARY(shift_right, out[i] = x >> (y & 63);)

TL__KERNEL(bit_not)
{
    const int64_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = ~a[i];
    return TL_OK;
}

static uint64_t magnitude(int64_t v)
{
    return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

static uint64_t divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

INT_BINARY(gcd, {
    uint64_t g = divisor(magnitude(x), magnitude(y));
    if (g > INT64_MAX)
        return range(c, "bigint out of range");
    out[i] = (int64_t)g;
})

INT_BINARY(lcm, {
    uint64_t m = 0;
    if (x && y &&
        (__builtin_mul_overflow(magnitude(x) / divisor(magnitude(x), magnitude(y)), magnitude(y),
                                &m) ||
         m > INT64_MAX))
        return range(c, "bigint out of range");
    out[i] = (int64_t)m;
})

TL__KERNEL(factorial)
{
    const int64_t *a = c->args[0].data;
    tl_i128 *out = tl__out(c, 16);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (a[i] < 0)
            return range(c, "factorial of a negative number is undefined");
        if (a[i] > 33) /* 34! has 39 digits */
            return range(c, "value overflows numeric format");
        out[i] = 1;
        for (int64_t k = 2; k <= a[i]; k++)
            out[i] *= k;
    }
    return TL_OK;
}

/* ---- NUMERIC ---- */

static tl_i128 decimal_at(const struct tl__call *c, uint32_t arg, uint32_t row)
{
    return TL__ARG(tl_i128, c, arg)[tl__step(&c->args[arg]) * row];
}

/* div(a, b): the quotient's whole part. */
TL__KERNEL(div_whole)
{
    tl_i128 *out = tl__out(c, 16);
    if (!out)
        return c->st->code;
    uint8_t sa = c->args[0].type.scale, sb = c->args[1].type.scale;
    TL__EACH(c, i)
    {
        tl_i128 a = decimal_at(c, 0, i), b = decimal_at(c, 1, i);
        if (b == 0)
            return tl__fail_sql(c->st, TL__DIVISION_BY_0, "division by zero");
        tl_i128 x = a, y = b;
        bool fits =
            sa >= sb ? tl__decimal_rescale(b, sb, sa, &y) : tl__decimal_rescale(a, sa, sb, &x);
        if (!fits && sa >= sb) /* the divisor is beyond all that the dividend may be */
            out[i] = 0;
        else if (!fits)
            return range(c, "value overflows numeric format");
        else
            out[i] = x / y;
    }
    return TL_OK;
}

TL__KERNEL(scale)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = c->args[0].type.scale;
    return TL_OK;
}

TL__KERNEL(min_scale)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 v = decimal_at(c, 0, i);
        int64_t scale = c->args[0].type.scale;
        while (scale > 0 && v % 10 == 0) {
            v /= 10;
            scale--;
        }
        out[i] = scale;
    }
    return TL_OK;
}
