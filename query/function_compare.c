/*
 * Comparison kernels, one for all kinds: the inner loops are made per C type, and run over all
 * rows without a selection where that is cheaper than jumping between them (values of rows that
 * are not asked for are then compared too, and mean nothing).
 */
#include <string.h>

#include "base/time.h"
#include "query/decimal_int.h"
#include "query/function_int.h"

static tl_i128 decimal_at(struct tl_type t, const void *p)
{
    if (t.kind == TL_DECIMAL64)
        return *(const int64_t *)p;
    tl_i128 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

int tl__compare(struct tl_type ta, const void *a, struct tl_type tb, const void *b)
{
    switch (ta.kind) {
    case TL_BOOLEAN: {
        uint8_t x = *(const uint8_t *)a;
        uint8_t y = *(const uint8_t *)b;
        return (x > y) - (x < y);
    }
    case TL_BIGINT:
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ: {
        int64_t x = *(const int64_t *)a;
        int64_t y = *(const int64_t *)b;
        return (x > y) - (x < y);
    }
    case TL_DATE: {
        int32_t x = *(const int32_t *)a;
        int32_t y = *(const int32_t *)b;
        return (x > y) - (x < y);
    }
    case TL_DOUBLE:
        return tl__compare_double(*(const double *)a, *(const double *)b);
    case TL_DECIMAL64:
        if (tb.kind == TL_DECIMAL64 && ta.scale == tb.scale) {
            int64_t x = *(const int64_t *)a;
            int64_t y = *(const int64_t *)b;
            return (x > y) - (x < y);
        }
        return tl__decimal_compare(decimal_at(ta, a), ta.scale, decimal_at(tb, b), tb.scale);
    case TL_DECIMAL128:
        return tl__decimal_compare(decimal_at(ta, a), ta.scale, decimal_at(tb, b), tb.scale);
    case TL_INTERVAL:
        return tl_interval_cmp(*(const struct tl_interval *)a, *(const struct tl_interval *)b);
    case TL_TEXT:
        return tl_slice_cmp(*(const struct tl_slice *)a, *(const struct tl_slice *)b);
    case TL_ARRAY:
        return tl__compare_arrays(*(const struct tl_slice *)a, *(const struct tl_slice *)b);
    default:
        return 0;
    }
}

/* Whether to run over all rows: selected rows are not rare among them. */
static bool dense(const struct tl__call *c)
{
    return !c->sel || c->n >= c->rows / 4;
}

/* Loops of one C type and one operator. Three dense shapes, so that the compiler can vectorize
 * them, and one sparse. */
#define LOOPS(type, OP)                                                                            \
    do {                                                                                           \
        const type *a = c->args[0].data;                                                           \
        const type *b = c->args[1].data;                                                           \
        size_t sa = tl__step(&c->args[0]);                                                         \
        size_t sb = tl__step(&c->args[1]);                                                         \
        if (dense(c)) {                                                                            \
            uint32_t n = c->sel ? c->rows : c->n;                                                  \
            if (sb == 0) {                                                                         \
                type k = b[0];                                                                     \
                for (uint32_t i = 0; i < n; i++)                                                   \
                    out[i] = a[sa * i] OP k;                                                       \
            } else if (sa == 0) {                                                                  \
                type k = a[0];                                                                     \
                for (uint32_t i = 0; i < n; i++)                                                   \
                    out[i] = k OP b[i];                                                            \
            } else {                                                                               \
                for (uint32_t i = 0; i < n; i++)                                                   \
                    out[i] = a[i] OP b[i];                                                         \
            }                                                                                      \
        } else {                                                                                   \
            TL__EACH(c, i)                                                                         \
            out[i] = a[sa * i] OP b[sb * i];                                                       \
        }                                                                                          \
    } while (0)

/* Kinds whose order takes a function. */
#define GENERAL(OP)                                                                                \
    do {                                                                                           \
        const uint8_t *a = c->args[0].data;                                                        \
        const uint8_t *b = c->args[1].data;                                                        \
        struct tl_type ta = c->args[0].type;                                                       \
        struct tl_type tb = c->args[1].type;                                                       \
        size_t sa = tl__step(&c->args[0]) * tl_kind_width(ta.kind);                                \
        size_t sb = tl__step(&c->args[1]) * tl_kind_width(tb.kind);                                \
        TL__EACH(c, i)                                                                             \
        out[i] = tl__compare(ta, a + sa * i, tb, b + sb * i) OP 0;                                 \
    } while (0)

static void text_equal(const struct tl__call *c, uint8_t *out, bool want)
{
    TL__EACH(c, i)
    out[i] = tl_slice_eq(tl__text_arg(c, 0, i), tl__text_arg(c, 1, i)) == want;
}

#define COMPARISON(name, OP, equality)                                                             \
    TL__KERNEL(name)                                                                               \
    {                                                                                              \
        uint8_t *out = tl__out(c, 1);                                                              \
        if (!out)                                                                                  \
            return c->st->code;                                                                    \
        switch (c->args[0].type.kind) {                                                            \
        case TL_BOOLEAN:                                                                           \
            LOOPS(uint8_t, OP);                                                                    \
            break;                                                                                 \
        case TL_BIGINT:                                                                            \
        case TL_TIMESTAMP:                                                                         \
        case TL_TIMESTAMPTZ:                                                                       \
            LOOPS(int64_t, OP);                                                                    \
            break;                                                                                 \
        case TL_DATE:                                                                              \
            LOOPS(int32_t, OP);                                                                    \
            break;                                                                                 \
        case TL_DECIMAL64:                                                                         \
            if (c->args[0].type.scale == c->args[1].type.scale)                                    \
                LOOPS(int64_t, OP);                                                                \
            else                                                                                   \
                GENERAL(OP);                                                                       \
            break;                                                                                 \
        case TL_TEXT:                                                                              \
            if (equality)                                                                          \
                text_equal(c, out, 0 OP 0);                                                        \
            else                                                                                   \
                GENERAL(OP);                                                                       \
            break;                                                                                 \
        default:                                                                                   \
            GENERAL(OP);                                                                           \
        }                                                                                          \
        return TL_OK;                                                                              \
    }

COMPARISON(eq, ==, true)
COMPARISON(ne, !=, true)
COMPARISON(lt, <, false)
COMPARISON(le, <=, false)
COMPARISON(gt, >, false)
COMPARISON(ge, >=, false)

static const uint8_t *value_at(const struct tl_vector *v, uint32_t row)
{
    return (const uint8_t *)v->data + tl__step(v) * row * tl_kind_width(v->type.kind);
}

static bool differ(const struct tl_vector *a, const struct tl_vector *b, uint32_t row)
{
    bool va = tl_vector_valid(a, row);
    bool vb = tl_vector_valid(b, row);
    if (!va || !vb)
        return va != vb;
    return tl__compare(a->type, value_at(a, row), b->type, value_at(b, row)) != 0;
}

TL__KERNEL(is_distinct)
{
    uint8_t *out = tl__out(c, 1);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = differ(&c->args[0], &c->args[1], i);
    return TL_OK;
}

/* Writes a value of a vector into out's row; decimals take out's scale. */
static enum tl_code put_value(struct tl__call *c, const struct tl_vector *v, uint32_t row,
                              uint8_t *out)
{
    size_t width = tl_kind_width(c->out->type.kind);
    const uint8_t *from = value_at(v, row);
    if (v->type.scale == c->out->type.scale) {
        memcpy(out + width * row, from, width);
        return TL_OK;
    }
    tl_i128 r;
    if (!tl__decimal_rescale(decimal_at(v->type, from), v->type.scale, c->out->type.scale, &r) ||
        (width == 8 && (r > INT64_MAX || r < INT64_MIN)))
        return tl__fail_sql(c->st, TL__OUT_OF_RANGE, "a value is out of range for DECIMAL");
    if (width == 8)
        ((int64_t *)(void *)out)[row] = (int64_t)r;
    else
        memcpy(out + width * row, &r, sizeof(r));
    return TL_OK;
}

TL__KERNEL(nullif)
{
    uint8_t *out = tl__out(c, tl_kind_width(c->out->type.kind));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (!tl_vector_valid(&c->args[0], i) || !differ(&c->args[0], &c->args[1], i)) {
            tl_bit_clear(valid, i);
            continue;
        }
        enum tl_code rc = put_value(c, &c->args[0], i, out);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* greatest (sign 1) and least (sign -1): NULLs are passed over. */
static enum tl_code extreme(struct tl__call *c, int sign)
{
    uint8_t *out = tl__out(c, tl_kind_width(c->out->type.kind));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        const struct tl_vector *best = NULL;
        for (uint32_t a = 0; a < c->arg_count; a++) {
            const struct tl_vector *v = &c->args[a];
            if (!tl_vector_valid(v, i))
                continue;
            if (!best ||
                sign * tl__compare(v->type, value_at(v, i), best->type, value_at(best, i)) > 0)
                best = v;
        }
        if (!best) {
            tl_bit_clear(valid, i);
            continue;
        }
        enum tl_code rc = put_value(c, best, i, out);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(greatest)
{
    return extreme(c, 1);
}

TL__KERNEL(least)
{
    return extreme(c, -1);
}
