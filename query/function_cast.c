/*
 * Casts. Texts of numbers and times are PostgreSQL's: doubles in the fewest digits that read back
 * as the same value, decimals with all digits of their scale, times in ISO form.
 */
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "query/decimal_int.h"
#include "query/function_int.h"

enum { TEXT_MAX = 128 };
_Static_assert((int)TEXT_MAX >= (int)TL_DECIMAL_TEXT_MAX &&
                   (int)TEXT_MAX >= (int)TL_TIME_TEXT_MAX &&
                   (int)TEXT_MAX >= (int)TL_INTERVAL_TEXT_MAX,
               "one buffer holds any value's text");

static enum tl_code out_of_range(struct tl__call *c)
{
    char name[32];
    enum tl_code rc = TL_FAIL(c->st, TL_INVALID, "value out of range for %s",
                              tl_type_name(c->out->type, name, sizeof(name)));
    (void)tl_status_sql(c->st, TL__OUT_OF_RANGE, 0);
    return rc;
}

TL__KERNEL(cast_null)
{
    void *out = tl__out(c, tl_kind_width(c->out->type.kind));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    tl_bit_clear(valid, i);
    return TL_OK;
}

TL__KERNEL(cast_same)
{
    c->out->shape = c->args[0].shape;
    c->out->data = c->args[0].data;
    c->out->validity = NULL;
    return TL_OK;
}

TL__KERNEL(cast_bool_int)
{
    const uint8_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = a[i] != 0;
    return TL_OK;
}

TL__KERNEL(cast_int_bool)
{
    const int64_t *a = c->args[0].data;
    uint8_t *out = tl__out(c, 1);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = a[i] != 0;
    return TL_OK;
}

TL__KERNEL(cast_int_double)
{
    const int64_t *a = c->args[0].data;
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = (double)a[i];
    return TL_OK;
}

TL__KERNEL(cast_double_int)
{
    const double *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double r = rint(a[i]);
        if (!(r >= -9223372036854775808.0 && r < 9223372036854775808.0))
            return tl__fail_sql(c->st, TL__OUT_OF_RANGE, "bigint out of range");
        out[i] = (int64_t)r;
    }
    return TL_OK;
}

/* ---- decimals ---- */

static tl_i128 decimal_arg(const struct tl__call *c, uint32_t row)
{
    if (c->args[0].type.kind == TL_DECIMAL64)
        return TL__ARG(int64_t, c, 0)[tl__step(&c->args[0]) * row];
    return TL__ARG(tl_i128, c, 0)[tl__step(&c->args[0]) * row];
}

/* Stores v, which is at out's scale. A DECIMAL64 has 18 digits. */
static bool put_decimal(const struct tl__call *c, void *out, uint32_t row, tl_i128 v)
{
    if (c->out->type.kind == TL_DECIMAL128) {
        ((tl_i128 *)out)[row] = v;
        return tl__decimal_fits(v);
    }
    if (v >= tl_pow10_i128(18) || v <= -tl_pow10_i128(18))
        return false;
    ((int64_t *)out)[row] = (int64_t)v;
    return true;
}

TL__KERNEL(cast_int_decimal)
{
    const int64_t *a = c->args[0].data;
    void *out = tl__out(c, tl_kind_width(c->out->type.kind));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 v;
        if (!tl__decimal_rescale(a[i], 0, c->out->type.scale, &v) || !put_decimal(c, out, i, v))
            return out_of_range(c);
    }
    return TL_OK;
}

TL__KERNEL(cast_decimal_int)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 v;
        if (!tl__decimal_rescale(decimal_arg(c, i), c->args[0].type.scale, 0, &v) ||
            v > INT64_MAX || v < INT64_MIN)
            return tl__fail_sql(c->st, TL__OUT_OF_RANGE, "bigint out of range");
        out[i] = (int64_t)v;
    }
    return TL_OK;
}

TL__KERNEL(cast_double_decimal)
{
    const double *a = c->args[0].data;
    void *out = tl__out(c, tl_kind_width(c->out->type.kind));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 v;
        if (!tl__decimal_from_double(a[i], c->out->type.scale, &v) || !put_decimal(c, out, i, v))
            return out_of_range(c);
    }
    return TL_OK;
}

TL__KERNEL(cast_decimal_double)
{
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = tl__decimal_to_double(decimal_arg(c, i), c->args[0].type.scale);
    return TL_OK;
}

TL__KERNEL(cast_decimal)
{
    void *out = tl__out(c, tl_kind_width(c->out->type.kind));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 v;
        if (!tl__decimal_rescale(decimal_arg(c, i), c->args[0].type.scale, c->out->type.scale,
                                 &v) ||
            !put_decimal(c, out, i, v))
            return out_of_range(c);
    }
    return TL_OK;
}

/* ---- dates and times ---- */

static enum tl_code date_range(struct tl__call *c)
{
    return tl__fail_sql(c->st, TL__DATE_OVERFLOW, "date or timestamp out of range");
}

static bool day_start(int32_t days, int64_t *out)
{
    return !__builtin_mul_overflow((int64_t)days, TL_US_PER_DAY, out) &&
           tl_timestamp_in_range(*out);
}

TL__KERNEL(cast_date_ts)
{
    const int32_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (!day_start(a[i], &out[i]))
            return date_range(c);
    }
    return TL_OK;
}

TL__KERNEL(cast_ts_date)
{
    const int64_t *a = c->args[0].data;
    int32_t *out = tl__out(c, 4);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = (int32_t)tl_date_of_us(a[i]);
    return TL_OK;
}

TL__KERNEL(cast_date_tstz)
{
    const int32_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t local;
        if (!day_start(a[i], &local))
            return date_range(c);
        out[i] = tl_zone_to_utc(tl__zone(c), local);
    }
    return TL_OK;
}

TL__KERNEL(cast_tstz_date)
{
    const int64_t *a = c->args[0].data;
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    int32_t *out = tl__out(c, 4);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = (int32_t)tl_date_of_us(tl_zone_to_local(tl__zone(c), &span, a[i]));
    return TL_OK;
}

TL__KERNEL(cast_ts_tstz)
{
    const int64_t *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = tl_zone_to_utc(tl__zone(c), a[i]);
    return TL_OK;
}

TL__KERNEL(cast_tstz_ts)
{
    const int64_t *a = c->args[0].data;
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = tl_zone_to_local(tl__zone(c), &span, a[i]);
    return TL_OK;
}

/* ---- to TEXT ---- */

/* One value as text into buf of TEXT_MAX bytes. */
static size_t value_format(const struct tl__call *c, struct tl_zone_span *span, uint32_t row,
                           char *buf)
{
    const struct tl_vector *v = &c->args[0];
    size_t at = tl__step(v) * row;
    switch (v->type.kind) {
    case TL_BOOLEAN: {
        bool b = ((const uint8_t *)v->data)[at];
        memcpy(buf, b ? "true" : "false", b ? 4 : 5);
        return b ? 4 : 5;
    }
    case TL_BIGINT:
        return tl_print_int64(((const int64_t *)v->data)[at], buf);
    case TL_DOUBLE:
        return tl_print_double(((const double *)v->data)[at], buf);
    case TL_DECIMAL64:
    case TL_DECIMAL128:
        return tl_print_decimal(decimal_arg(c, row), v->type.scale, buf);
    case TL_DATE:
        return tl_print_date(((const int32_t *)v->data)[at], buf);
    case TL_TIMESTAMP:
        return tl_print_timestamp(((const int64_t *)v->data)[at], buf);
    case TL_TIMESTAMPTZ:
        return tl_print_timestamptz(((const int64_t *)v->data)[at], tl__zone(c), span, buf);
    default:
        return tl_print_interval(((const struct tl_interval *)v->data)[at], buf);
    }
}

TL__KERNEL(cast_to_text)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    TL__EACH(c, i)
    {
        char buf[TEXT_MAX];
        size_t size = value_format(c, &span, i, buf);
        const void *copy = tl_arena_copy(c->ctx->arena, buf, size, c->st);
        if (!copy)
            return c->st->code;
        out[i] = tl_slice_of(copy, size);
    }
    return TL_OK;
}

/* ---- from TEXT ---- */

static enum tl_code decimal_parse(struct tl__call *c, struct tl_slice text, void *out, uint32_t row)
{
    if (c->out->type.kind == TL_DECIMAL64)
        return tl_parse_decimal64(text, c->out->type.scale, (int64_t *)out + row, c->st);
    return tl_parse_decimal128(text, c->out->type.scale, (tl_i128 *)out + row, c->st);
}

static enum tl_code value_parse(struct tl__call *c, struct tl_slice text, void *out, uint32_t row)
{
    switch (c->out->type.kind) {
    case TL_BOOLEAN: {
        bool v;
        enum tl_code rc = tl_parse_bool(text, &v, c->st);
        if (rc == TL_OK)
            ((uint8_t *)out)[row] = v;
        return rc;
    }
    case TL_BIGINT:
        if (tl_flavour_is_reg(c->out->type.flavour))
            return tl__reg_parse(c, text, c->out->type.flavour, (int64_t *)out + row);
        return tl_parse_int64(text, (int64_t *)out + row, c->st);
    case TL_DOUBLE:
        return tl_parse_double(text, (double *)out + row, c->st);
    case TL_DATE:
        return tl_parse_date(text, (int32_t *)out + row, c->st);
    case TL_TIMESTAMP:
        return tl_parse_timestamp(text, (int64_t *)out + row, c->st);
    case TL_TIMESTAMPTZ:
        return tl_parse_timestamptz(text, tl__zone(c), (int64_t *)out + row, c->st);
    case TL_INTERVAL:
        return tl_parse_interval(text, (struct tl_interval *)out + row, c->st);
    default:
        return decimal_parse(c, text, out, row);
    }
}

TL__KERNEL(cast_from_text)
{
    void *out = tl__out(c, tl_kind_width(c->out->type.kind));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        enum tl_code rc = value_parse(c, tl__text_arg(c, 0, i), out, i);
        if (rc)
            return rc;
    }
    return TL_OK;
}
