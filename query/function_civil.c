/*
 * Ages, intervals brought into form, times made of their fields, OVERLAPS: functions over the parts
 * that people name, as against those of function_time.c, which work on the line of time.
 */
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "query/function_int.h"

enum { MONTHS_PER_YEAR = 12, DAYS_PER_MONTH = 30 };

static int64_t int_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(int64_t, c, a)[tl__step(&c->args[a]) * row];
}

static struct tl_interval interval_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(struct tl_interval, c, a)[tl__step(&c->args[a]) * row];
}

static enum tl_code interval_range(struct tl__call *c)
{
    return tl__fail_sql(c->st, TL__DATE_OVERFLOW, "interval out of range");
}

/* ---- age ---- */

/* a - b, a being the later one: field by field, a field below zero borrowing from the next. Days
 * are borrowed from a month of b's, or of a's when the operands had been exchanged. */
static struct tl_interval fields_between(int64_t a, int64_t b, bool exchanged)
{
    struct tl_civil x = tl_civil_from_us(a), y = tl_civil_from_us(b);
    int64_t us = (a - tl_date_of_us(a) * TL_US_PER_DAY) - (b - tl_date_of_us(b) * TL_US_PER_DAY);
    int32_t days = (int32_t)x.day - y.day;
    int32_t months = (x.year - y.year) * MONTHS_PER_YEAR + x.month - y.month;
    const struct tl_civil *lender = exchanged ? &x : &y;
    if (us < 0) {
        us += TL_US_PER_DAY;
        days--;
    }
    while (days < 0) {
        days += (int32_t)tl_days_in_month(lender->year, lender->month);
        months--;
    }
    return (struct tl_interval){us, days, months};
}

TL__KERNEL(age)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    bool instant = c->args[0].type.kind == TL_TIMESTAMPTZ;
    struct tl_zone_span spans[2] = {TL_ZONE_SPAN_NONE, TL_ZONE_SPAN_NONE};
    TL__EACH(c, i)
    {
        int64_t t[2];
        if (c->arg_count == 2) {
            t[0] = int_arg(c, 0, i);
        } else { /* since then, at the day's start */
            int64_t local = tl_zone_to_local(tl__zone(c), &spans[0], c->ctx->now_us);
            t[0] = tl_floor_to(local, TL_US_PER_DAY);
        }
        t[1] = int_arg(c, c->arg_count - 1, i);
        for (uint32_t k = 0; instant && k < 2; k++)
            if (k == 1 || c->arg_count == 2)
                t[k] = tl_zone_to_local(tl__zone(c), &spans[k], t[k]);
        if (t[0] >= t[1])
            out[i] = fields_between(t[0], t[1], false);
        else if (tl_interval_negate(fields_between(t[1], t[0], true), &out[i], c->st))
            return c->st->code;
    }
    return TL_OK;
}

/* ---- justify ---- */

/* Whole units of `size` in *low move to *high; the rest keeps its sign. */
static bool carry(int64_t *low, int64_t size, int64_t *high)
{
    int64_t whole = *low / size;
    *low -= whole * size;
    *high += whole;
    return *high >= INT32_MIN && *high <= INT32_MAX;
}

/* Signs that differ are made alike, the higher part's. */
static void same_sign(int64_t *high, int64_t *low, int64_t size)
{
    if (*high > 0 && *low < 0) {
        *low += size;
        --*high;
    } else if (*high < 0 && *low > 0) {
        *low -= size;
        ++*high;
    }
}

enum justify { JUSTIFY_HOURS = 1, JUSTIFY_DAYS = 2, JUSTIFY_ALL = 3 };

static enum tl_code justify(struct tl__call *c, enum justify what)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_interval v = interval_arg(c, 0, i);
        int64_t months = v.months, days = v.days, us = v.us;
        bool fits = true;
        if (what == JUSTIFY_ALL && (days > 0) == (us > 0))
            fits = carry(&days, DAYS_PER_MONTH, &months);
        if (what & JUSTIFY_HOURS)
            fits = carry(&us, TL_US_PER_DAY, &days) && fits;
        if (what & JUSTIFY_DAYS)
            fits = carry(&days, DAYS_PER_MONTH, &months) && fits;
        if (what == JUSTIFY_DAYS)
            same_sign(&months, &days, DAYS_PER_MONTH);
        if (what == JUSTIFY_ALL && months > 0 && (days < 0 || (days == 0 && us < 0))) {
            days += DAYS_PER_MONTH;
            months--;
        } else if (what == JUSTIFY_ALL && months < 0 && (days > 0 || (days == 0 && us > 0))) {
            days -= DAYS_PER_MONTH;
            months++;
        }
        if (what & JUSTIFY_HOURS)
            same_sign(&days, &us, TL_US_PER_DAY);
        if (!fits)
            return interval_range(c);
        out[i] = (struct tl_interval){us, (int32_t)days, (int32_t)months};
    }
    return TL_OK;
}

TL__KERNEL(justify_hours)
{
    return justify(c, JUSTIFY_HOURS);
}

TL__KERNEL(justify_days)
{
    return justify(c, JUSTIFY_DAYS);
}

TL__KERNEL(justify_interval)
{
    return justify(c, JUSTIFY_ALL);
}

/* ---- times made of fields ---- */

/* The day of a year (negative: BC, there is no 0), a month and a day. */
static enum tl_code make_day(struct tl__call *c, uint32_t row, int64_t *days)
{
    int64_t year = int_arg(c, 0, row), month = int_arg(c, 1, row), day = int_arg(c, 2, row);
    int64_t astronomical = year < 0 ? year + 1 : year;
    bool known = year != 0 && year > -100000 && year < 1000000 && month >= 1 && month <= 12 &&
                 day >= 1 && day <= tl_days_in_month(astronomical, (unsigned)month);
    if (known)
        *days = tl_days_from_civil(astronomical, (unsigned)month, (unsigned)day);
    if (known && *days >= TL_DATE_MIN && *days <= TL_DATE_MAX)
        return TL_OK;
    (void)TL_FAIL(c->st, TL_INVALID, "%s: %lld-%02lld-%02lld",
                  known ? "date out of range" : "date field value out of range", (long long)year,
                  (long long)month, (long long)day);
    return tl_status_sql(c->st, TL__DATE_OVERFLOW, 0);
}

TL__KERNEL(make_date)
{
    int32_t *out = tl__out(c, 4);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t days = 0;
        enum tl_code rc = make_day(c, i, &days);
        if (rc)
            return rc;
        out[i] = (int32_t)days;
    }
    return TL_OK;
}

/* The local time of arguments 0 to 5. 24:00:00 is the next day's start, second 60 the next
 * minute's. */
static enum tl_code make_local(struct tl__call *c, uint32_t row, int64_t *out)
{
    int64_t days = 0;
    enum tl_code rc = make_day(c, row, &days);
    if (rc)
        return rc;
    int64_t hour = int_arg(c, 3, row), minute = int_arg(c, 4, row);
    double second = TL__ARG(double, c, 5)[tl__step(&c->args[5]) * row];
    if (hour >= 0 && hour <= 24 && minute >= 0 && minute <= 59 && second >= 0 && second <= 60) {
        int64_t us = hour * TL_US_PER_HOUR + minute * TL_US_PER_MINUTE +
                     (int64_t)rint(second * (double)TL_US_PER_SECOND);
        if (us <= TL_US_PER_DAY) {
            *out = days * TL_US_PER_DAY + us;
            return tl_timestamp_in_range(*out)
                       ? TL_OK
                       : tl__fail_sql(c->st, TL__DATE_OVERFLOW, "timestamp out of range");
        }
    }
    (void)TL_FAIL(c->st, TL_INVALID, "time field value out of range: %lld:%02lld:%02g",
                  (long long)hour, (long long)minute, second);
    return tl_status_sql(c->st, TL__DATE_OVERFLOW, 0);
}

TL__KERNEL(make_timestamp)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (make_local(c, i, &out[i]))
            return c->st->code;
    }
    return TL_OK;
}

/* The zone of a name, or of '+HH[:MM]' east of Greenwich. */
static enum tl_code zone_arg(struct tl__call *c, uint32_t row, const struct tl_zone **out)
{
    struct tl_slice name = tl__text_arg(c, 6, row);
    uint8_t first = name.size ? name.data[0] : 0;
    if (first >= '0' && first <= '9') {
        (void)TL_FAIL(c->st, TL_INVALID,
                      "invalid input syntax for type numeric time zone: \"%.*s\"",
                      (int)(name.size < 32 ? name.size : 32), (const char *)name.data);
        return tl_status_sql(c->st, TL__BAD_PARAMETER, 0);
    }
    if (first != '+' && first != '-')
        return tl_zone_get(name, out, c->st);
    int64_t parts[2] = {0, 0};
    uint32_t part = 0, digits = 0;
    for (size_t i = 1; i < name.size && part < 2; i++) {
        uint8_t ch = name.data[i];
        if (ch >= '0' && ch <= '9' && digits++ < 2)
            parts[part] = parts[part] * 10 + (ch - '0');
        else if (ch == ':' && digits > 0)
            part++, digits = 0;
        else
            part = 2;
    }
    if (part == 2 || digits == 0 || parts[0] > 15 || parts[1] > 59)
        return tl__fail_sql(c->st, TL__BAD_PARAMETER, "numeric time zone out of range");
    int64_t seconds = parts[0] * 3600 + parts[1] * 60;
    return tl_zone_get_fixed((int32_t)(first == '-' ? -seconds : seconds), out, c->st);
}

TL__KERNEL(make_timestamptz)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        const struct tl_zone *zone = tl__zone(c);
        int64_t local = 0;
        if ((c->arg_count == 7 && zone_arg(c, i, &zone)) || make_local(c, i, &local))
            return c->st->code;
        out[i] = tl_zone_to_utc(zone, local);
        if (!tl_timestamp_in_range(out[i]))
            return tl__fail_sql(c->st, TL__DATE_OVERFLOW, "timestamp out of range");
    }
    return TL_OK;
}

/* make_interval(years, months, weeks, days, hours, mins, secs), as many of them as there are */
TL__KERNEL(make_interval)
{
    struct tl_interval *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        tl_i128 fields[6] = {0};
        double seconds = 0;
        for (uint32_t a = 0; a < c->arg_count && a < 6; a++)
            fields[a] = int_arg(c, a, i);
        if (c->arg_count == 7)
            seconds =
                rint(TL__ARG(double, c, 6)[tl__step(&c->args[6]) * i] * (double)TL_US_PER_SECOND);
        tl_i128 months = fields[0] * MONTHS_PER_YEAR + fields[1];
        tl_i128 days = fields[2] * 7 + fields[3];
        if (!(seconds > -9.2e18 && seconds < 9.2e18))
            return interval_range(c);
        tl_i128 us = fields[4] * TL_US_PER_HOUR + fields[5] * TL_US_PER_MINUTE + (int64_t)seconds;
        if (months != (int32_t)months || days != (int32_t)days || us != (int64_t)us)
            return interval_range(c);
        out[i] = (struct tl_interval){(int64_t)us, (int32_t)days, (int32_t)months};
    }
    return TL_OK;
}

/* No time of ours is infinite. */
TL__KERNEL(is_finite)
{
    uint8_t *out = tl__out(c, 1);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = 1;
    return TL_OK;
}

/* ---- OVERLAPS ---- */

struct end {
    bool known;
    int64_t us;
};

/* The two ends of (a, b) or (a, a + interval), the earlier first; false: both are NULL. */
static enum tl_code ends_of(struct tl__call *c, uint32_t a, uint32_t row, struct end out[2],
                            bool *any)
{
    const struct tl_vector *args = &c->args[a];
    for (uint32_t k = 0; k < 2; k++) {
        out[k].known = tl_vector_valid(&args[k], row);
        if (!out[k].known)
            continue;
        if (args[k].type.kind != TL_INTERVAL) {
            out[k].us = int_arg(c, a + k, row);
            continue;
        }
        out[k].known = out[0].known;
        struct tl_interval v = interval_arg(c, a + k, row);
        if (out[0].known && (args[0].type.kind == TL_TIMESTAMPTZ
                                 ? tl_timestamptz_add(out[0].us, v, tl__zone(c), &out[1].us, c->st)
                                 : tl_timestamp_add(out[0].us, v, &out[1].us, c->st)))
            return c->st->code;
    }
    if (!out[0].known || (out[1].known && out[0].us > out[1].us)) {
        struct end first = out[0];
        out[0] = out[1];
        out[1] = first;
    }
    *any = out[0].known;
    return TL_OK;
}

/* 1, 0, or -1 for NULL: whether [x0, x1) and [y0, y1) meet, x starting later than y. */
static int starts_within(const struct end *x1, const struct end *y1, const struct end *x0)
{
    if (!y1->known)
        return -1;
    if (x0->us < y1->us)
        return 1;
    return x1->known ? 0 : -1;
}

TL__KERNEL(overlaps)
{
    uint8_t *out = tl__out(c, 1);
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct end x[2], y[2];
        bool some[2] = {false, false};
        int answer;
        if (ends_of(c, 0, i, x, &some[0]) || ends_of(c, 2, i, y, &some[1]))
            return c->st->code;
        if (!some[0] || !some[1])
            answer = -1;
        else if (x[0].us > y[0].us)
            answer = starts_within(&x[1], &y[1], &x[0]);
        else if (x[0].us < y[0].us)
            answer = starts_within(&y[1], &x[1], &y[0]);
        else
            answer = x[1].known && y[1].known ? 1 : -1;
        out[i] = answer == 1;
        if (answer < 0)
            tl_bit_clear(valid, i);
    }
    return TL_OK;
}

/* ---- how many are NULL ---- */

/* How many of its BOOLEANs are true; none is NULL. */
TL__KERNEL(count_true)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        out[i] = 0;
        for (uint32_t a = 0; a < c->arg_count; a++)
            out[i] += TL__ARG(uint8_t, c, a)[tl__step(&c->args[a]) * i] != 0;
    }
    return TL_OK;
}
