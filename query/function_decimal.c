/*
 * Kernels over both decimals: DECIMAL64 arguments are widened as they are read, results are
 * DECIMAL128 at the scale that the call's type gives (negation and abs keep their kind).
 */
#include <string.h>

#include "base/text.h"
#include "query/decimal_int.h"
#include "query/function_int.h"

static enum tl_code decimal_range(struct tl__call *c)
{
    return tl__fail_sql(c->st, TL__OUT_OF_RANGE,
                        "numeric value out of range: 38 digits do not suffice");
}

static tl_i128 get(const struct tl_vector *v, uint32_t row)
{
    size_t at = tl__step(v) * row;
    if (v->type.kind == TL_DECIMAL64)
        return ((const int64_t *)v->data)[at];
    return ((const tl_i128 *)v->data)[at];
}

static enum tl_code add_or_sub(struct tl__call *c, bool subtract)
{
    uint32_t scale = c->out->type.scale;
    const struct tl_vector *va = &c->args[0];
    const struct tl_vector *vb = &c->args[1];
    tl_i128 *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 a = get(va, i);
        tl_i128 b = get(vb, i);
        if ((va->type.scale != scale && !tl__decimal_rescale(a, va->type.scale, scale, &a)) ||
            (vb->type.scale != scale && !tl__decimal_rescale(b, vb->type.scale, scale, &b)))
            return decimal_range(c);
        tl_i128 r; /* both are below 10^38, but 2 × 10^38 is more than 127 bits */
        bool over = subtract ? __builtin_sub_overflow(a, b, &r) : __builtin_add_overflow(a, b, &r);
        if (over || !tl__decimal_fits(r))
            return decimal_range(c);
        out[i] = r;
    }
    return TL_OK;
}

TL__KERNEL(add_decimal)
{
    return add_or_sub(c, false);
}

TL__KERNEL(sub_decimal)
{
    return add_or_sub(c, true);
}

TL__KERNEL(mul_decimal)
{
    uint32_t scale = c->out->type.scale;
    tl_i128 *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (!tl__decimal_multiply(get(&c->args[0], i), c->args[0].type.scale, get(&c->args[1], i),
                                  c->args[1].type.scale, scale, &out[i]))
            return decimal_range(c);
    }
    return TL_OK;
}

TL__KERNEL(div_decimal)
{
    uint32_t scale = c->out->type.scale;
    tl_i128 *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 d = get(&c->args[1], i);
        if (d == 0)
            return tl__fail_sql(c->st, TL__DIVISION_BY_0, "division by zero");
        if (!tl__decimal_divide(get(&c->args[0], i), c->args[0].type.scale, d,
                                c->args[1].type.scale, scale, &out[i]))
            return decimal_range(c);
    }
    return TL_OK;
}

TL__KERNEL(mod_decimal)
{
    uint32_t scale = c->out->type.scale;
    tl_i128 *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 a;
        tl_i128 b;
        if (get(&c->args[1], i) == 0)
            return tl__fail_sql(c->st, TL__DIVISION_BY_0, "division by zero");
        if (!tl__decimal_rescale(get(&c->args[0], i), c->args[0].type.scale, scale, &a) ||
            !tl__decimal_rescale(get(&c->args[1], i), c->args[1].type.scale, scale, &b))
            return decimal_range(c);
        out[i] = a % b;
    }
    return TL_OK;
}

/* Negation and abs keep kind and scale; -INT64_MIN does not fit into a DECIMAL64. */
static enum tl_code with_sign(struct tl__call *c, bool only_negative)
{
    const struct tl_vector *v = &c->args[0];
    bool narrow = c->out->type.kind == TL_DECIMAL64;
    uint8_t *out = tl__out(c, narrow ? 8 : 16);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 r = get(v, i);
        r = only_negative && r >= 0 ? r : -r;
        if (narrow) {
            if (r > INT64_MAX)
                return decimal_range(c);
            ((int64_t *)(void *)out)[i] = (int64_t)r;
        } else {
            ((tl_i128 *)(void *)out)[i] = r;
        }
    }
    return TL_OK;
}

TL__KERNEL(neg_decimal)
{
    return with_sign(c, false);
}

TL__KERNEL(abs_decimal)
{
    return with_sign(c, true);
}

TL__KERNEL(sign_decimal)
{
    tl_i128 *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 v = get(&c->args[0], i);
        out[i] = (v > 0) - (v < 0);
    }
    return TL_OK;
}

enum rounding { DOWN, UP, NEAREST, TO_ZERO };

/* v at scale `from`, cut or rounded to `digits` decimals (may be negative), told at `scale`. */
static bool round_to(tl_i128 v, uint32_t from, int64_t digits, enum rounding how, uint32_t scale,
                     tl_i128 *out)
{
    if (digits >= (int64_t)from)
        return tl__decimal_rescale(v, from, scale, out);
    int64_t drop = (int64_t)from - digits;
    if (drop > TL__DECIMAL_DIGITS) {
        *out = 0;
        return true;
    }
    tl_i128 unit = tl_pow10_i128((uint32_t)drop);
    tl_i128 rest = v % unit;
    tl_i128 whole = v - rest; /* towards zero */
    bool away = false;
    if (how == NEAREST)
        away = (rest < 0 ? -rest : rest) >= unit - (rest < 0 ? -rest : rest);
    else if (how == UP)
        away = rest > 0;
    else if (how == DOWN)
        away = rest < 0;
    if (away)
        whole += v < 0 ? -unit : unit;
    return tl__decimal_rescale(whole, from, scale, out);
}

static enum tl_code rounded(struct tl__call *c, enum rounding how)
{
    const struct tl_vector *v = &c->args[0];
    uint32_t scale = c->out->type.scale;
    tl_i128 *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t digits = 0;
        if (c->arg_count == 2)
            digits = TL__ARG(int64_t, c, 1)[tl__step(&c->args[1]) * i];
        if (!round_to(get(v, i), v->type.scale, digits, how, scale, &out[i]))
            return decimal_range(c);
    }
    return TL_OK;
}

TL__KERNEL(ceil_decimal)
{
    return rounded(c, UP);
}

TL__KERNEL(floor_decimal)
{
    return rounded(c, DOWN);
}

TL__KERNEL(round_decimal)
{
    return rounded(c, NEAREST);
}

TL__KERNEL(trunc_decimal)
{
    return rounded(c, TO_ZERO);
}
