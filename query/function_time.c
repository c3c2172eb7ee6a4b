/*
 * Kernels over dates, times and intervals. The calendar itself is base/time.h; here are the loops,
 * with constant fields, widths and zones looked up once per call.
 */
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "query/decimal_int.h"
#include "query/function_int.h"

static enum tl_code date_range(struct tl__call *c)
{
    return tl__fail_sql(c->st, TL__DATE_OVERFLOW, "date or timestamp out of range");
}

static int64_t ts_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(int64_t, c, a)[tl__step(&c->args[a]) * row];
}

static int32_t date_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(int32_t, c, a)[tl__step(&c->args[a]) * row];
}

static struct tl_interval interval_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(struct tl_interval, c, a)[tl__step(&c->args[a]) * row];
}

/* ---- arithmetic ---- */

static enum tl_code add_days(struct tl__call *c, uint32_t date, uint32_t days, bool subtract)
{
    int32_t *out = tl__out(c, 4);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t d = date_arg(c, date, i);
        int64_t n = ts_arg(c, days, i);
        bool over = subtract ? __builtin_sub_overflow(d, n, &d) : __builtin_add_overflow(d, n, &d);
        if (over || d < TL_DATE_MIN || d > TL_DATE_MAX)
            return date_range(c);
        out[i] = (int32_t)d;
    }
    return TL_OK;
}

TL__KERNEL(date_plus_int)
{
    return add_days(c, 0, 1, false);
}

TL__KERNEL(int_plus_date)
{
    return add_days(c, 1, 0, false);
}

TL__KERNEL(date_minus_int)
{
    return add_days(c, 0, 1, true);
}

TL__KERNEL(date_minus_date)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = (int64_t)date_arg(c, 0, i) - date_arg(c, 1, i);
    return TL_OK;
}

/* A date, timestamp or instant plus or minus an interval. */
static enum tl_code add_interval_to(struct tl__call *c, uint32_t time, uint32_t interval,
                                    bool subtract)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    uint8_t kind = c->args[time].type.kind;
    TL__EACH(c, i)
    {
        struct tl_interval v = interval_arg(c, interval, i);
        enum tl_code rc = subtract ? tl_interval_negate(v, &v, c->st) : TL_OK;
        if (rc)
            return rc;
        if (kind == TL_TIMESTAMPTZ)
            rc = tl_timestamptz_add(ts_arg(c, time, i), v, tl__zone(c), &out[i], c->st);
        else
            rc = tl_timestamp_add(kind == TL_DATE ? date_arg(c, time, i) * TL_US_PER_DAY
                                                  : ts_arg(c, time, i),
                                  v, &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(date_plus_interval)
{
    return add_interval_to(c, 0, 1, false);
}

TL__KERNEL(interval_plus_date)
{
    return add_interval_to(c, 1, 0, false);
}

TL__KERNEL(date_minus_interval)
{
    return add_interval_to(c, 0, 1, true);
}

TL__KERNEL(ts_plus_interval)
{
    return add_interval_to(c, 0, 1, false);
}

TL__KERNEL(interval_plus_ts)
{
    return add_interval_to(c, 1, 0, false);
}

TL__KERNEL(ts_minus_interval)
{
    return add_interval_to(c, 0, 1, true);
}

TL__KERNEL(ts_minus_ts)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        enum tl_code rc = tl_timestamp_diff(ts_arg(c, 0, i), ts_arg(c, 1, i), &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(add_interval)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        enum tl_code rc =
            tl_interval_add(interval_arg(c, 0, i), interval_arg(c, 1, i), &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(sub_interval)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_interval b;
        enum tl_code rc = tl_interval_negate(interval_arg(c, 1, i), &b, c->st);
        if (rc == TL_OK)
            rc = tl_interval_add(interval_arg(c, 0, i), b, &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(neg_interval)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        enum tl_code rc = tl_interval_negate(interval_arg(c, 0, i), &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code scale_interval(struct tl__call *c, uint32_t interval, uint32_t factor,
                                   bool divide)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double f = TL__ARG(double, c, factor)[tl__step(&c->args[factor]) * i];
        struct tl_interval v = interval_arg(c, interval, i);
        enum tl_code rc = divide ? tl_interval_divide(v, f, &out[i], c->st)
                                 : tl_interval_multiply(v, f, &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(interval_times)
{
    return scale_interval(c, 0, 1, false);
}

TL__KERNEL(times_interval)
{
    return scale_interval(c, 1, 0, false);
}

TL__KERNEL(interval_over)
{
    return scale_interval(c, 0, 1, true);
}

/* ---- fields ---- */

/* The field that argument 0 names in a row; looked up once when it is constant. */
struct field_lookup {
    bool known;
    bool constant;
    enum tl_field field;
};

static enum tl_code look_up_field(struct tl__call *c, struct field_lookup *l, enum tl_kind kind,
                                  enum tl_field_use use, uint32_t row)
{
    if (l->known && l->constant)
        return TL_OK;
    l->constant = c->args[0].shape == TL_CONST;
    l->known = true;
    return tl_field_parse(tl__text_arg(c, 0, row), kind, use, &l->field, c->st);
}

/* The zone that an argument names; looked up again only when the name changes. */
struct zone_lookup {
    struct tl_slice name;
    const struct tl_zone *zone;
};

static enum tl_code look_up_zone(struct tl__call *c, struct zone_lookup *l, uint32_t a,
                                 uint32_t row)
{
    struct tl_slice name = tl__text_arg(c, a, row);
    if (l->zone && tl_slice_eq(name, l->name))
        return TL_OK;
    l->name = name;
    return tl_zone_get(name, &l->zone, c->st);
}

/* Whether the selected rows may be computed as a run over all rows of a FLAT argument. */
static bool whole(const struct tl__call *c, uint32_t a)
{
    return c->args[a].shape == TL_FLAT && (!c->sel || c->n >= c->rows / 4);
}

TL__KERNEL(date_trunc)
{
    enum tl_kind kind = c->args[1].type.kind;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    struct field_lookup field = {0};
    struct zone_lookup zone = {.zone = kind == TL_TIMESTAMPTZ ? tl__zone(c) : NULL};
    bool zone_constant = c->arg_count < 3 || c->args[2].shape == TL_CONST;
    if (c->arg_count == 3)
        zone.zone = NULL;
    TL__EACH(c, i)
    {
        enum tl_code rc = look_up_field(c, &field, kind, TL_FIELD_FOR_TRUNC, i);
        if (rc == TL_OK && c->arg_count == 3)
            rc = look_up_zone(c, &zone, 2, i);
        if (rc)
            return rc;
        if (field.constant && zone_constant && whole(c, 1)) {
            tl_date_trunc_many(field.field, zone.zone, c->args[1].data, out,
                               c->sel ? c->rows : c->n);
            return TL_OK;
        }
        int64_t us = ts_arg(c, 1, i);
        out[i] = zone.zone ? tl_date_trunc_zone(field.field, us, zone.zone)
                           : tl_date_trunc(field.field, us);
    }
    return TL_OK;
}

TL__KERNEL(date_trunc_interval)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    struct field_lookup field = {0};
    TL__EACH(c, i)
    {
        enum tl_code rc = look_up_field(c, &field, TL_INTERVAL, TL_FIELD_FOR_TRUNC, i);
        if (rc)
            return rc;
        out[i] = tl_interval_trunc(field.field, interval_arg(c, 1, i));
    }
    return TL_OK;
}

/* The field's value in a row, times 10^*scale. */
static tl_i128 field_of(struct tl__call *c, enum tl_field field, struct tl_zone_span *span,
                        uint32_t row)
{
    switch (c->args[1].type.kind) {
    case TL_DATE:
        return tl_extract_date(field, date_arg(c, 1, row));
    case TL_TIMESTAMP:
        return tl_extract_timestamp(field, ts_arg(c, 1, row));
    case TL_TIMESTAMPTZ:
        return tl_extract_timestamptz(field, ts_arg(c, 1, row), tl__zone(c), span);
    default:
        return tl_extract_interval(field, interval_arg(c, 1, row));
    }
}

TL__KERNEL(extract)
{
    enum tl_kind kind = c->args[1].type.kind;
    tl_i128 *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    struct field_lookup field = {0};
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    TL__EACH(c, i)
    {
        enum tl_code rc = look_up_field(c, &field, kind, TL_FIELD_FOR_EXTRACT, i);
        if (rc)
            return rc;
        if (!tl__decimal_rescale(field_of(c, field.field, &span, i),
                                 tl_extract_scale(field.field, kind), c->out->type.scale, &out[i]))
            return date_range(c);
    }
    return TL_OK;
}

TL__KERNEL(date_part)
{
    enum tl_kind kind = c->args[1].type.kind;
    double *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    struct field_lookup field = {0};
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    TL__EACH(c, i)
    {
        enum tl_code rc = look_up_field(c, &field, kind, TL_FIELD_FOR_EXTRACT, i);
        if (rc)
            return rc;
        out[i] = tl__decimal_to_double(field_of(c, field.field, &span, i),
                                       tl_extract_scale(field.field, kind));
    }
    return TL_OK;
}

/* ---- buckets ---- */

/* time_bucket(width, ts [, zone] [, origin or offset]) */
static enum tl_code make_bucket(struct tl__call *c, struct zone_lookup *zone, uint32_t row,
                                struct tl_bucket *out)
{
    enum tl_code rc = tl_bucket_init(out, interval_arg(c, 0, row), c->st);
    for (uint32_t a = 2; a < c->arg_count && rc == TL_OK; a++) {
        switch (c->args[a].type.kind) {
        case TL_TEXT:
            rc = look_up_zone(c, zone, a, row);
            out->zone = zone->zone;
            break;
        case TL_INTERVAL:
            out->offset = interval_arg(c, a, row);
            break;
        case TL_DATE:
            tl_bucket_set_origin(out, date_arg(c, a, row) * TL_US_PER_DAY);
            break;
        default:
            tl_bucket_set_origin(out, ts_arg(c, a, row));
        }
    }
    return rc;
}

static bool bucket_constant(const struct tl__call *c)
{
    for (uint32_t a = 0; a < c->arg_count; a++) {
        if (a != 1 && c->args[a].shape != TL_CONST)
            return false;
    }
    return true;
}

TL__KERNEL(time_bucket)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    bool constant = bucket_constant(c);
    bool made = false;
    struct tl_bucket bucket = {0};
    struct zone_lookup zone = {0};
    TL__EACH(c, i)
    {
        if (!made || !constant) {
            enum tl_code rc = make_bucket(c, &zone, i, &bucket);
            if (rc)
                return rc;
            made = true;
            if (constant && whole(c, 1)) {
                tl_bucket_many(&bucket, c->args[1].data, out, c->sel ? c->rows : c->n);
                return TL_OK;
            }
        }
        out[i] = tl_bucket_start(&bucket, ts_arg(c, 1, i));
    }
    return TL_OK;
}

TL__KERNEL(time_bucket_date)
{
    int32_t *out = tl__out(c, 4);
    if (!out)
        return c->st->code;
    bool constant = bucket_constant(c);
    bool made = false;
    struct tl_bucket bucket = {0};
    struct zone_lookup zone = {0};
    TL__EACH(c, i)
    {
        if (!made || !constant) {
            enum tl_code rc = make_bucket(c, &zone, i, &bucket);
            if (rc)
                return rc;
            made = true;
        }
        int64_t us = tl_bucket_start(&bucket, date_arg(c, 1, i) * TL_US_PER_DAY);
        out[i] = (int32_t)tl_date_of_us(us);
    }
    return TL_OK;
}

TL__KERNEL(time_bucket_int)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t width = ts_arg(c, 0, i);
        int64_t v = ts_arg(c, 1, i);
        int64_t offset = c->arg_count == 3 ? ts_arg(c, 2, i) : 0;
        if (width <= 0)
            return tl__fail_sql(c->st, TL__BAD_PARAMETER, "period must be greater than 0");
        offset %= width;
        int64_t moved;
        bool over = __builtin_sub_overflow(v, offset, &moved);
        over = over || (moved < 0 && moved < INT64_MIN + width);
        if (over || __builtin_add_overflow(tl_floor_to(moved, width), offset, &out[i]))
            return tl__fail_sql(c->st, TL__OUT_OF_RANGE, "bigint out of range");
    }
    return TL_OK;
}

/* date_bin(stride, source, origin): as time_bucket, without months. */
TL__KERNEL(date_bin)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_interval stride = interval_arg(c, 0, i);
        if (stride.months)
            return tl__fail_sql(c->st, TL__BAD_PARAMETER,
                                "timestamps cannot be binned into intervals of months or years");
        tl_i128 width = tl_interval_span(stride);
        if (width <= 0 || width > INT64_MAX)
            return tl__fail_sql(c->st, TL__BAD_PARAMETER, "stride must be greater than zero");
        int64_t since;
        int64_t origin = ts_arg(c, 2, i);
        if (__builtin_sub_overflow(ts_arg(c, 1, i), origin, &since))
            return date_range(c);
        if (__builtin_add_overflow(tl_floor_to(since, (int64_t)width), origin, &out[i]) ||
            !tl_timestamp_in_range(out[i]))
            return date_range(c);
    }
    return TL_OK;
}

/* ---- zones ---- */

TL__KERNEL(timezone_local)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    struct zone_lookup zone = {0};
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    TL__EACH(c, i)
    {
        const struct tl_zone *before = zone.zone;
        enum tl_code rc = look_up_zone(c, &zone, 0, i);
        if (rc)
            return rc;
        if (zone.zone != before)
            span = TL_ZONE_SPAN_NONE;
        out[i] = tl_zone_to_local(zone.zone, &span, ts_arg(c, 1, i));
    }
    return TL_OK;
}

TL__KERNEL(timezone_utc)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    struct zone_lookup zone = {0};
    TL__EACH(c, i)
    {
        enum tl_code rc = look_up_zone(c, &zone, 0, i);
        if (rc)
            return rc;
        out[i] = tl_zone_to_utc(zone.zone, ts_arg(c, 1, i));
    }
    return TL_OK;
}

TL__KERNEL(now)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    out[0] = c->ctx->now_us;
    return TL_OK;
}

TL__KERNEL(to_timestamp)
{
    const double *a = c->args[0].data;
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        double us = rint(a[i] * 1e6);
        if (!(us >= (double)TL_TIMESTAMP_MIN_US && us < (double)TL_TIMESTAMP_MAX_US))
            return date_range(c);
        out[i] = (int64_t)us;
    }
    return TL_OK;
}
