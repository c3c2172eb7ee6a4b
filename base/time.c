/*
 * Calendar arithmetic after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years
 * begin in March, so that the leap day is the last, and 400 years are one era. This file holds
 * the calendar, arithmetic, fields, truncation and buckets; base/time_text.c reads and prints.
 */
#include "base/time.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"

_Static_assert(TL_DATE_MAX < INT64_MAX / 86400 / 1000000, "a timestamp of any date fits");

/* ---- the calendar ---- */

int64_t tl_days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = tl_floor_div(year, 400);
    unsigned year_of_era = (unsigned)(year - era * 400);
    unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + (int64_t)day_of_era - 719468;
}

struct tl_civil tl_civil_from_days(int64_t days)
{
    days += 719468;
    int64_t era = tl_floor_div(days, 146097);
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned mp = (5 * day_of_year + 2) / 153;
    struct tl_civil c = {0};
    c.day = (uint8_t)(day_of_year - (153 * mp + 2) / 5 + 1);
    c.month = (uint8_t)(mp < 10 ? mp + 3 : mp - 9);
    c.year = (int32_t)(era * 400 + year_of_era + (c.month <= 2));
    return c;
}

struct tl_civil tl_civil_from_us(int64_t us)
{
    int64_t days = tl_floor_div(us, TL_US_PER_DAY);
    struct tl_civil c = tl_civil_from_days(days);
    /* Taken apart from the remainder, since days * TL_US_PER_DAY may not be representable. */
    int64_t rest = us % TL_US_PER_DAY;
    rest += rest < 0 ? TL_US_PER_DAY : 0;
    c.us = (uint32_t)(rest % TL_US_PER_SECOND);
    uint32_t seconds = (uint32_t)(rest / TL_US_PER_SECOND);
    c.hour = (uint8_t)(seconds / 3600);
    c.minute = (uint8_t)(seconds / 60 % 60);
    c.second = (uint8_t)(seconds % 60);
    return c;
}

/* Microseconds at the start of a day, saturated. */
static int64_t us_of_days(int64_t days)
{
    int64_t us;
    if (__builtin_mul_overflow(days, TL_US_PER_DAY, &us))
        return days < 0 ? INT64_MIN : INT64_MAX;
    return us;
}

static int64_t add_saturated(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return a < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

static int64_t sub_saturated(int64_t a, int64_t b)
{
    int64_t difference;
    if (__builtin_sub_overflow(a, b, &difference))
        return a < 0 ? INT64_MIN : INT64_MAX;
    return difference;
}

int64_t tl_us_from_civil(const struct tl_civil *c)
{
    int64_t day_us = us_of_days(tl_days_from_civil(c->year, c->month, c->day));
    return add_saturated(day_us,
                         (c->hour * 3600 + c->minute * 60 + c->second) * TL_US_PER_SECOND + c->us);
}

unsigned tl_days_in_month(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    tl_assert(month >= 1 && month <= 12);
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Months since year 0. */
static int64_t month_index(const struct tl_civil *c)
{
    return (int64_t)c->year * 12 + c->month - 1;
}

/* The first day of a month counted so. */
static int64_t days_of_month_index(int64_t index)
{
    int64_t year = tl_floor_div(index, 12);
    return tl_days_from_civil(year, (unsigned)(index - year * 12) + 1, 1);
}

/* us moved by months; the day is clamped to the month's end. Saturates. */
static int64_t add_months(int64_t us, int64_t months)
{
    int64_t days = tl_floor_div(us, TL_US_PER_DAY);
    int64_t rest = us % TL_US_PER_DAY;
    rest += rest < 0 ? TL_US_PER_DAY : 0;
    struct tl_civil c = tl_civil_from_days(days);
    int64_t index = month_index(&c) + months;
    int64_t year = tl_floor_div(index, 12);
    unsigned month = (unsigned)(index - year * 12) + 1;
    unsigned day = c.day, last = tl_days_in_month(year, month);
    return add_saturated(us_of_days(tl_days_from_civil(year, month, day < last ? day : last)),
                         rest);
}

/* ---- arithmetic ---- */

static enum tl_code timestamp_range(struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "timestamp out of range");
    return tl_status_sql(st, "22008", 0);
}

static enum tl_code interval_range(struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "interval out of range");
    return tl_status_sql(st, "22008", 0);
}

enum tl_code tl_timestamp_add(int64_t us, struct tl_interval v, int64_t *out, struct tl_status *st)
{
    if (v.months)
        us = add_months(us, v.months);
    if (!tl_timestamp_in_range(us))
        return timestamp_range(st);
    us = add_saturated(us, us_of_days(v.days));
    if (!tl_timestamp_in_range(us))
        return timestamp_range(st);
    us = add_saturated(us, v.us);
    if (!tl_timestamp_in_range(us))
        return timestamp_range(st);
    *out = us;
    return TL_OK;
}

enum tl_code tl_timestamptz_add(int64_t us, struct tl_interval v, const struct tl_zone *zone,
                                int64_t *out, struct tl_status *st)
{
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    if (!tl_timestamp_in_range(us))
        return timestamp_range(st);
    if (v.months)
        us = tl_zone_to_utc(zone, add_months(tl_zone_to_local(zone, &span, us), v.months));
    if (!tl_timestamp_in_range(us))
        return timestamp_range(st);
    if (v.days)
        us = tl_zone_to_utc(zone,
                            add_saturated(tl_zone_to_local(zone, &span, us), us_of_days(v.days)));
    if (!tl_timestamp_in_range(us))
        return timestamp_range(st);
    us = add_saturated(us, v.us);
    if (!tl_timestamp_in_range(us))
        return timestamp_range(st);
    *out = us;
    return TL_OK;
}

enum tl_code tl_timestamp_diff(int64_t a, int64_t b, struct tl_interval *out, struct tl_status *st)
{
    int64_t us;
    if (__builtin_sub_overflow(a, b, &us))
        return interval_range(st);
    int64_t days = us / TL_US_PER_DAY; /* both parts bear the sign of the whole */
    *out = (struct tl_interval){.us = us % TL_US_PER_DAY, .days = (int32_t)days};
    return TL_OK;
}

enum tl_code tl_interval_negate(struct tl_interval v, struct tl_interval *out, struct tl_status *st)
{
    struct tl_interval r;
    if (__builtin_sub_overflow(0, v.us, &r.us) || __builtin_sub_overflow(0, v.days, &r.days) ||
        __builtin_sub_overflow(0, v.months, &r.months))
        return interval_range(st);
    *out = r;
    return TL_OK;
}

enum tl_code tl_interval_add(struct tl_interval a, struct tl_interval b, struct tl_interval *out,
                             struct tl_status *st)
{
    struct tl_interval r;
    if (__builtin_add_overflow(a.us, b.us, &r.us) ||
        __builtin_add_overflow(a.days, b.days, &r.days) ||
        __builtin_add_overflow(a.months, b.months, &r.months))
        return interval_range(st);
    *out = r;
    return TL_OK;
}

static double round_to_us(double seconds)
{
    return rint(seconds * 1e6) / 1e6;
}

static bool fits_int32(double v)
{
    return v >= -2147483648.0 && v <= 2147483647.0; /* false for NaN */
}

/*
 * Each part times (over) the factor; a fraction of months goes down into days of 30 to the month,
 * a fraction of days into time, and never up again: PostgreSQL's interval_mul and interval_div.
 */
static enum tl_code interval_scale(double months, double days, double us, struct tl_interval *out,
                                   struct tl_status *st)
{
    if (!fits_int32(months) || !fits_int32(days))
        return interval_range(st);
    int32_t whole_months = (int32_t)months;
    int64_t whole_days = (int32_t)days;
    double month_days = round_to_us((months - whole_months) * 30);
    double seconds =
        round_to_us((days - (double)whole_days + month_days - (int32_t)month_days) * 86400);
    if (fabs(seconds) >= 86400) {
        int32_t more = (int32_t)(seconds / 86400);
        whole_days += more;
        seconds -= more * 86400.0;
    }
    whole_days += (int32_t)month_days;
    double time = rint(us + seconds * 1e6);
    if (whole_days < INT32_MIN || whole_days > INT32_MAX || !(time >= -0x1p63 && time < 0x1p63))
        return interval_range(st);
    *out = (struct tl_interval){(int64_t)time, (int32_t)whole_days, whole_months};
    return TL_OK;
}

enum tl_code tl_interval_multiply(struct tl_interval v, double factor, struct tl_interval *out,
                                  struct tl_status *st)
{
    return interval_scale(v.months * factor, v.days * factor, (double)v.us * factor, out, st);
}

enum tl_code tl_interval_divide(struct tl_interval v, double divisor, struct tl_interval *out,
                                struct tl_status *st)
{
    if (divisor == 0) {
        (void)TL_FAIL(st, TL_INVALID, "division by zero");
        return tl_status_sql(st, "22012", 0);
    }
    return interval_scale(v.months / divisor, v.days / divisor, (double)v.us / divisor, out, st);
}

int tl_interval_cmp(struct tl_interval a, struct tl_interval b)
{
    tl_i128 x = tl_interval_span(a), y = tl_interval_span(b);
    return x < y ? -1 : x > y;
}

/* ---- fields ---- */

/* 1 Monday … 7 Sunday. */
static unsigned iso_weekday(int64_t days)
{
    int64_t d = (days + 3) % 7; /* 1970-01-01 was a Thursday */
    return (unsigned)(d < 0 ? d + 7 : d) + 1;
}

/* The ISO week of a day: the week belongs to the year of its Thursday. */
static void iso_week(int64_t days, int64_t *year, unsigned *week)
{
    int64_t thursday = days + 4 - iso_weekday(days);
    *year = tl_civil_from_days(thursday).year;
    *week = (unsigned)(thursday - tl_days_from_civil(*year, 1, 1)) / 7 + 1;
}

/* PostgreSQL's counts have no year, decade … 0 before Christ: year 0 is 1 BC. */
static int64_t century_of(int64_t year, int64_t size)
{
    return year > 0 ? (year + size - 1) / size : -((size - 1 - (year - 1)) / size);
}

static int64_t decade_of(int64_t year)
{
    return year >= 0 ? year / 10 : -((8 - (year - 1)) / 10);
}

static int64_t without_year_zero(int64_t year)
{
    return year > 0 ? year : year - 1;
}

static int64_t extract_day_part(enum tl_field f, int64_t days)
{
    struct tl_civil c = tl_civil_from_days(days);
    int64_t year;
    unsigned week;
    switch (f) {
    case TL_FIELD_DAY:
        return c.day;
    case TL_FIELD_MONTH:
        return c.month;
    case TL_FIELD_QUARTER:
        return (c.month - 1) / 3 + 1;
    case TL_FIELD_YEAR:
        return without_year_zero(c.year);
    case TL_FIELD_DECADE:
        return decade_of(c.year);
    case TL_FIELD_CENTURY:
        return century_of(c.year, 100);
    case TL_FIELD_MILLENNIUM:
        return century_of(c.year, 1000);
    case TL_FIELD_DOW:
        return iso_weekday(days) % 7;
    case TL_FIELD_ISODOW:
        return iso_weekday(days);
    case TL_FIELD_DOY:
        return days - tl_days_from_civil(c.year, 1, 1) + 1;
    case TL_FIELD_WEEK:
        iso_week(days, &year, &week);
        return week;
    case TL_FIELD_ISOYEAR:
        iso_week(days, &year, &week);
        return without_year_zero(year);
    default:
        return 0;
    }
}

int64_t tl_extract_timestamp(enum tl_field f, int64_t us)
{
    int64_t of_minute;
    switch (f) {
    case TL_FIELD_MICROSECONDS:
    case TL_FIELD_MILLISECONDS: /* times 10^3 */
    case TL_FIELD_SECOND:       /* times 10^6 */
        of_minute = us % TL_US_PER_MINUTE;
        return of_minute < 0 ? of_minute + TL_US_PER_MINUTE : of_minute;
    case TL_FIELD_MINUTE:
        return tl_civil_from_us(us).minute;
    case TL_FIELD_HOUR:
        return tl_civil_from_us(us).hour;
    case TL_FIELD_EPOCH:
        return us;
    default:
        return extract_day_part(f, tl_floor_div(us, TL_US_PER_DAY));
    }
}

int64_t tl_extract_timestamptz(enum tl_field f, int64_t us, const struct tl_zone *zone,
                               struct tl_zone_span *span)
{
    if (f == TL_FIELD_EPOCH)
        return us;
    int64_t local = tl_zone_to_local(zone, span, us);
    switch (f) {
    case TL_FIELD_TIMEZONE:
        return span->offset_s;
    case TL_FIELD_TIMEZONE_HOUR:
        return span->offset_s / 3600;
    case TL_FIELD_TIMEZONE_MINUTE:
        return span->offset_s / 60 % 60;
    default:
        return tl_extract_timestamp(f, local);
    }
}

int64_t tl_extract_date(enum tl_field f, int32_t days)
{
    if (f == TL_FIELD_EPOCH)
        return (int64_t)days * 86400;
    return extract_day_part(f, days);
}

tl_i128 tl_extract_interval(enum tl_field f, struct tl_interval v)
{
    int64_t years = v.months / 12, months = v.months % 12;
    switch (f) {
    case TL_FIELD_MICROSECONDS:
    case TL_FIELD_MILLISECONDS:
    case TL_FIELD_SECOND:
        return v.us % TL_US_PER_MINUTE;
    case TL_FIELD_MINUTE:
        return v.us % TL_US_PER_HOUR / TL_US_PER_MINUTE;
    case TL_FIELD_HOUR:
        return v.us / TL_US_PER_HOUR;
    case TL_FIELD_DAY:
        return v.days;
    case TL_FIELD_MONTH:
        return months;
    case TL_FIELD_QUARTER:
        return months / 3 + 1;
    case TL_FIELD_YEAR:
        return years;
    case TL_FIELD_DECADE:
        return years / 10;
    case TL_FIELD_CENTURY:
        return years / 100;
    case TL_FIELD_MILLENNIUM:
        return years / 1000;
    case TL_FIELD_EPOCH: {
        /* A year has 365.25 days, a month 30: counted in quarters of a day. */
        tl_i128 quarters = (tl_i128)years * 1461 + months * 120 + (tl_i128)v.days * 4;
        return quarters * (TL_US_PER_DAY / 4) + v.us;
    }
    default:
        return 0;
    }
}

unsigned tl_extract_scale(enum tl_field f, enum tl_kind kind)
{
    if (f == TL_FIELD_MILLISECONDS)
        return 3;
    if (f == TL_FIELD_SECOND || (f == TL_FIELD_EPOCH && kind != TL_DATE))
        return 6;
    return 0;
}

static const char *const field_names[TL_FIELD_COUNT] = {
    [TL_FIELD_MICROSECONDS] = "microseconds",
    [TL_FIELD_MILLISECONDS] = "milliseconds",
    [TL_FIELD_SECOND] = "second",
    [TL_FIELD_MINUTE] = "minute",
    [TL_FIELD_HOUR] = "hour",
    [TL_FIELD_DAY] = "day",
    [TL_FIELD_WEEK] = "week",
    [TL_FIELD_MONTH] = "month",
    [TL_FIELD_QUARTER] = "quarter",
    [TL_FIELD_YEAR] = "year",
    [TL_FIELD_DECADE] = "decade",
    [TL_FIELD_CENTURY] = "century",
    [TL_FIELD_MILLENNIUM] = "millennium",
    [TL_FIELD_DOW] = "dow",
    [TL_FIELD_ISODOW] = "isodow",
    [TL_FIELD_DOY] = "doy",
    [TL_FIELD_ISOYEAR] = "isoyear",
    [TL_FIELD_EPOCH] = "epoch",
    [TL_FIELD_TIMEZONE] = "timezone",
    [TL_FIELD_TIMEZONE_HOUR] = "timezone_hour",
    [TL_FIELD_TIMEZONE_MINUTE] = "timezone_minute",
};

const char *tl_field_name(enum tl_field f)
{
    return (unsigned)f < TL_FIELD_COUNT ? field_names[f] : "?";
}

/* The spellings beside the names above. */
static const struct {
    const char *name;
    enum tl_field field;
} field_aliases[] = {
    {"us", TL_FIELD_MICROSECONDS},
    {"usec", TL_FIELD_MICROSECONDS},
    {"usecs", TL_FIELD_MICROSECONDS},
    {"usecond", TL_FIELD_MICROSECONDS},
    {"useconds", TL_FIELD_MICROSECONDS},
    {"microsecond", TL_FIELD_MICROSECONDS},
    {"ms", TL_FIELD_MILLISECONDS},
    {"msec", TL_FIELD_MILLISECONDS},
    {"msecs", TL_FIELD_MILLISECONDS},
    {"msecond", TL_FIELD_MILLISECONDS},
    {"mseconds", TL_FIELD_MILLISECONDS},
    {"millisecond", TL_FIELD_MILLISECONDS},
    {"s", TL_FIELD_SECOND},
    {"sec", TL_FIELD_SECOND},
    {"secs", TL_FIELD_SECOND},
    {"seconds", TL_FIELD_SECOND},
    {"m", TL_FIELD_MINUTE},
    {"min", TL_FIELD_MINUTE},
    {"mins", TL_FIELD_MINUTE},
    {"minutes", TL_FIELD_MINUTE},
    {"h", TL_FIELD_HOUR},
    {"hr", TL_FIELD_HOUR},
    {"hrs", TL_FIELD_HOUR},
    {"hours", TL_FIELD_HOUR},
    {"d", TL_FIELD_DAY},
    {"days", TL_FIELD_DAY},
    {"w", TL_FIELD_WEEK},
    {"weeks", TL_FIELD_WEEK},
    {"mon", TL_FIELD_MONTH},
    {"mons", TL_FIELD_MONTH},
    {"months", TL_FIELD_MONTH},
    {"qtr", TL_FIELD_QUARTER},
    {"y", TL_FIELD_YEAR},
    {"yr", TL_FIELD_YEAR},
    {"yrs", TL_FIELD_YEAR},
    {"years", TL_FIELD_YEAR},
    {"dec", TL_FIELD_DECADE},
    {"decs", TL_FIELD_DECADE},
    {"decades", TL_FIELD_DECADE},
    {"c", TL_FIELD_CENTURY},
    {"cent", TL_FIELD_CENTURY},
    {"centuries", TL_FIELD_CENTURY},
    {"mil", TL_FIELD_MILLENNIUM},
    {"mils", TL_FIELD_MILLENNIUM},
    {"millennia", TL_FIELD_MILLENNIUM},
};

static bool field_lookup(struct tl_slice name, enum tl_field *out)
{
    for (int f = 0; f < TL_FIELD_COUNT; f++) {
        if (tl_text_eq_nocase(name, field_names[f])) {
            *out = (enum tl_field)f;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(field_aliases) / sizeof(field_aliases[0]); i++) {
        if (tl_text_eq_nocase(name, field_aliases[i].name)) {
            *out = field_aliases[i].field;
            return true;
        }
    }
    return false;
}

static bool field_suits(enum tl_field f, enum tl_kind kind, enum tl_field_use use)
{
    if (use == TL_FIELD_FOR_TRUNC)
        return f <= TL_FIELD_MILLENNIUM && !(kind == TL_INTERVAL && f == TL_FIELD_WEEK);
    switch (kind) {
    case TL_TIMESTAMPTZ:
        return true;
    case TL_TIMESTAMP:
        return f < TL_FIELD_TIMEZONE;
    case TL_DATE:
        return f >= TL_FIELD_DAY && f < TL_FIELD_TIMEZONE;
    case TL_INTERVAL:
        return (f <= TL_FIELD_MILLENNIUM && f != TL_FIELD_WEEK) || f == TL_FIELD_EPOCH;
    default:
        return false;
    }
}

enum tl_code tl_field_parse(struct tl_slice name, enum tl_kind kind, enum tl_field_use use,
                            enum tl_field *out, struct tl_status *st)
{
    const char *type = kind == TL_TIMESTAMPTZ ? "timestamp with time zone"
                       : kind == TL_TIMESTAMP ? "timestamp without time zone"
                       : kind == TL_DATE      ? "date"
                                              : "interval";
    int shown = name.size < 40 ? (int)name.size : 40;
    const char *text = name.size ? (const char *)name.data : "";
    enum tl_field f;
    if (!field_lookup(name, &f)) {
        (void)TL_FAIL(st, TL_INVALID, "unit \"%.*s\" not recognized for type %s", shown, text,
                      type);
        return tl_status_sql(st, "22023", 0);
    }
    if (!field_suits(f, kind, use)) {
        (void)TL_FAIL(st, TL_UNSUPPORTED, "unit \"%.*s\" not supported for type %s", shown, text,
                      type);
        return tl_status_sql(st, "0A000", 0);
    }
    *out = f;
    return TL_OK;
}

/* ---- date_trunc ---- */

int64_t tl_field_fixed_us(enum tl_field f)
{
    switch (f) {
    case TL_FIELD_MICROSECONDS:
        return 1;
    case TL_FIELD_MILLISECONDS:
        return 1000;
    case TL_FIELD_SECOND:
        return TL_US_PER_SECOND;
    case TL_FIELD_MINUTE:
        return TL_US_PER_MINUTE;
    case TL_FIELD_HOUR:
        return TL_US_PER_HOUR;
    case TL_FIELD_DAY:
        return TL_US_PER_DAY;
    default:
        return 0;
    }
}

/* The stretch of local time that a value is rounded down within; end == start: unknown. */
struct stretch {
    int64_t start, end;
};

/* Years from…to that decade, century and millennium make of a year. */
static void year_stretch(enum tl_field f, int64_t year, int64_t *first, int64_t *size)
{
    *size = f == TL_FIELD_YEAR ? 1 : f == TL_FIELD_DECADE ? 10 : f == TL_FIELD_CENTURY ? 100 : 1000;
    if (f == TL_FIELD_YEAR)
        *first = year;
    else if (f == TL_FIELD_DECADE)
        *first = year > 0 ? year / 10 * 10 : -((8 - (year - 1)) / 10) * 10;
    else if (year > 0)
        *first = (year + *size - 1) / *size * *size - (*size - 1);
    else
        *first = -((*size - 1 - (year - 1)) / *size) * *size + 1;
}

static struct stretch trunc_stretch(enum tl_field f, int64_t us)
{
    int64_t unit = tl_field_fixed_us(f);
    if (unit) {
        int64_t start = tl_floor_to(us, unit);
        return (struct stretch){start, add_saturated(start, unit)};
    }
    int64_t days = tl_floor_div(us, TL_US_PER_DAY);
    int64_t first_day, end_day;
    if (f == TL_FIELD_WEEK) {
        first_day = days - (iso_weekday(days) - 1);
        end_day = first_day + 7;
    } else {
        struct tl_civil c = tl_civil_from_days(days);
        if (f == TL_FIELD_MONTH || f == TL_FIELD_QUARTER) {
            int64_t size = f == TL_FIELD_MONTH ? 1 : 3;
            int64_t index = tl_floor_to(month_index(&c), size);
            first_day = days_of_month_index(index);
            end_day = days_of_month_index(index + size);
        } else {
            int64_t first, size;
            year_stretch(f, c.year, &first, &size);
            first_day = tl_days_from_civil(first, 1, 1);
            /* Before Christ the stretches of years are irregular: nothing is promised there. */
            end_day = c.year > 0 ? tl_days_from_civil(first + size, 1, 1) : first_day;
        }
    }
    return (struct stretch){us_of_days(first_day), us_of_days(end_day)};
}

int64_t tl_date_trunc(enum tl_field f, int64_t us)
{
    return trunc_stretch(f, us).start;
}

/* A unit of an hour or less keeps the offset it began with, as in PostgreSQL. */
static bool keeps_offset(enum tl_field f)
{
    return f <= TL_FIELD_HOUR;
}

int64_t tl_date_trunc_zone(enum tl_field f, int64_t us, const struct tl_zone *zone)
{
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    int64_t start = trunc_stretch(f, tl_zone_to_local(zone, &span, us)).start;
    if (keeps_offset(f))
        return sub_saturated(start, span.offset_s * TL_US_PER_SECOND);
    return tl_zone_to_utc(zone, start);
}

/* What is known from the row before: values in [from, until) round down to `start`. */
struct memory {
    int64_t from, until, start;
};

/* The part of a local stretch that lies in one span of the zone, in UTC. */
static void remember(struct memory *m, struct stretch s, const struct tl_zone_span *span,
                     int64_t start_utc)
{
    int64_t offset_us = span->offset_s * TL_US_PER_SECOND;
    m->from = sub_saturated(s.start, offset_us);
    m->until = sub_saturated(s.end, offset_us);
    if (m->from < span->from_us)
        m->from = span->from_us;
    if (m->until > span->until_us)
        m->until = span->until_us;
    m->start = start_utc;
}

#define FLOOR_ALL(unit)                                                                            \
    for (uint32_t i = 0; i < count; i++)                                                           \
    out[i] = tl_floor_to(in[i], (unit))

/* Each unit in a loop of its own, so that the compiler divides by a constant. */
static bool trunc_fixed(enum tl_field f, const int64_t *in, int64_t *out, uint32_t count)
{
    switch (f) {
    case TL_FIELD_MICROSECONDS:
        FLOOR_ALL(1);
        return true;
    case TL_FIELD_MILLISECONDS:
        FLOOR_ALL(1000);
        return true;
    case TL_FIELD_SECOND:
        FLOOR_ALL(TL_US_PER_SECOND);
        return true;
    case TL_FIELD_MINUTE:
        FLOOR_ALL(TL_US_PER_MINUTE);
        return true;
    case TL_FIELD_HOUR:
        FLOOR_ALL(TL_US_PER_HOUR);
        return true;
    case TL_FIELD_DAY:
        FLOOR_ALL(TL_US_PER_DAY);
        return true;
    default:
        return false;
    }
}

void tl_date_trunc_many(enum tl_field f, const struct tl_zone *zone, const int64_t *in,
                        int64_t *out, uint32_t count)
{
    int32_t fixed_s;
    if (zone && tl_zone_is_fixed(zone, &fixed_s) && fixed_s == 0)
        zone = NULL;
    if (!zone && trunc_fixed(f, in, out, count))
        return;
    struct tl_zone_span span = {.from_us = INT64_MIN, .until_us = INT64_MAX};
    if (zone)
        span = TL_ZONE_SPAN_NONE;
    struct memory m = {.from = 0, .until = 0};
    for (uint32_t i = 0; i < count; i++) {
        int64_t us = in[i];
        if (us < m.from || us >= m.until) {
            int64_t local = zone ? tl_zone_to_local(zone, &span, us) : us;
            struct stretch s = trunc_stretch(f, local);
            int64_t start = s.start;
            if (zone)
                start = keeps_offset(f) ? sub_saturated(start, span.offset_s * TL_US_PER_SECOND)
                                        : tl_zone_to_utc(zone, start);
            remember(&m, s, &span, start);
        }
        out[i] = m.start;
    }
}

struct tl_interval tl_interval_trunc(enum tl_field f, struct tl_interval v)
{
    int32_t months = 0;
    switch (f) {
    case TL_FIELD_MILLENNIUM:
        months = 12000;
        break;
    case TL_FIELD_CENTURY:
        months = 1200;
        break;
    case TL_FIELD_DECADE:
        months = 120;
        break;
    case TL_FIELD_YEAR:
        months = 12;
        break;
    case TL_FIELD_QUARTER:
        months = 3;
        break;
    case TL_FIELD_MONTH:
        months = 1;
        break;
    case TL_FIELD_DAY:
        return (struct tl_interval){0, v.days, v.months};
    default: {
        int64_t unit = tl_field_fixed_us(f);
        if (unit)
            v.us -= v.us % unit; /* toward zero */
        return v;
    }
    }
    return (struct tl_interval){0, 0, v.months - v.months % months};
}

/* ---- time_bucket ---- */

/* 2000-01-03, a Monday, for widths of days and time; 2000-01-01 for months. */
#define ORIGIN_US       (10959 * TL_US_PER_DAY)
#define ORIGIN_MONTH_US (10957 * TL_US_PER_DAY)

enum tl_code tl_bucket_init(struct tl_bucket *b, struct tl_interval width, struct tl_status *st)
{
    if (width.months != 0 && (width.days != 0 || width.us != 0)) {
        (void)TL_FAIL(st, TL_INVALID, "month intervals cannot have day or time component");
        return tl_status_sql(st, "22023", 0);
    }
    int64_t width_us;
    if (__builtin_add_overflow(width.us, us_of_days(width.days), &width_us))
        return interval_range(st);
    if (width.months < 0 || width_us < 0 || (width.months == 0 && width_us == 0)) {
        (void)TL_FAIL(st, TL_INVALID, "period must be greater than 0");
        return tl_status_sql(st, "22023", 0);
    }
    *b = (struct tl_bucket){
        .width_us = width_us,
        .months = width.months,
        .origin_us = width.months ? ORIGIN_MONTH_US : ORIGIN_US,
    };
    return TL_OK;
}

void tl_bucket_set_origin(struct tl_bucket *b, int64_t us)
{
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    b->origin_us = b->zone ? tl_zone_to_local(b->zone, &span, us) : us;
}

/* us moved by +1 or -1 times the bucket's offset. */
static int64_t bucket_shift(const struct tl_bucket *b, int64_t us, int sign)
{
    if (b->offset.months)
        us = add_months(us, sign * (int64_t)b->offset.months);
    us = add_saturated(us, us_of_days(sign * (int64_t)b->offset.days));
    return sign > 0 ? add_saturated(us, b->offset.us) : sub_saturated(us, b->offset.us);
}

static struct stretch bucket_stretch(const struct tl_bucket *b, int64_t us)
{
    bool shifted = b->offset.months || b->offset.days || b->offset.us;
    if (shifted)
        us = bucket_shift(b, us, -1);
    struct stretch s;
    if (b->months) {
        struct tl_civil c = tl_civil_from_us(us);
        struct tl_civil origin = tl_civil_from_us(b->origin_us);
        int64_t first = month_index(&origin); /* of the origin only the month counts */
        int64_t index = first + tl_floor_to(month_index(&c) - first, b->months);
        s.start = us_of_days(days_of_month_index(index));
        s.end = us_of_days(days_of_month_index(index + b->months));
    } else {
        int64_t phase = b->origin_us % b->width_us;
        phase += phase < 0 ? b->width_us : 0;
        s.start = add_saturated(tl_floor_to(sub_saturated(us, phase), b->width_us), phase);
        s.end = add_saturated(s.start, b->width_us);
    }
    if (shifted) {
        s.start = bucket_shift(b, s.start, 1);
        /* Months of different lengths: what else falls into this bucket is not said. */
        s.end = b->offset.months ? s.start : bucket_shift(b, s.end, 1);
    }
    return s;
}

int64_t tl_bucket_start(const struct tl_bucket *b, int64_t us)
{
    if (!b->zone)
        return bucket_stretch(b, us).start;
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    return tl_zone_to_utc(b->zone, bucket_stretch(b, tl_zone_to_local(b->zone, &span, us)).start);
}

void tl_bucket_many(const struct tl_bucket *b, const int64_t *in, int64_t *out, uint32_t count)
{
    struct tl_zone_span span = {.from_us = INT64_MIN, .until_us = INT64_MAX};
    if (b->zone)
        span = TL_ZONE_SPAN_NONE;
    struct memory m = {.from = 0, .until = 0};
    for (uint32_t i = 0; i < count; i++) {
        int64_t us = in[i];
        if (us < m.from || us >= m.until) {
            int64_t local = b->zone ? tl_zone_to_local(b->zone, &span, us) : us;
            struct stretch s = bucket_stretch(b, local);
            remember(&m, s, &span, b->zone ? tl_zone_to_utc(b->zone, s.start) : s.start);
        }
        out[i] = m.start;
    }
}
