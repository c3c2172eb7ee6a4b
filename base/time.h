/*
 * base/time.h: civil dates, timestamps and intervals with PostgreSQL's meaning and spelling.
 *
 * The calendar is the proleptic Gregorian one; year 0 is 1 BC. A TIMESTAMP is a local time
 * without a zone; a TIMESTAMPTZ is an instant, UTC inside. There are no infinities and no leap
 * seconds. Truncation, buckets and fields are total functions: any int64_t in, no failure, so
 * that they may run over rows that are NULL.
 *
 * Ownership  everything is the caller's.
 * Threads    no shared state (zones: see base/zone.h).
 * Units      microseconds and days since 1970-01-01.
 * Errors     TL_INVALID with SQLSTATE 22007 (not a time at all), 22008 (out of range), 22023
 *            (no such field or zone); TL_UNSUPPORTED for infinity. On any error *out is as it was.
 */
#ifndef TALLY_BASE_TIME_H
#define TALLY_BASE_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/int128.h"
#include "base/status.h"
#include "base/vector.h"
#include "base/zone.h"

#define TL_US_PER_SECOND INT64_C(1000000)
#define TL_US_PER_MINUTE (60 * TL_US_PER_SECOND)
#define TL_US_PER_HOUR   (3600 * TL_US_PER_SECOND)
#define TL_US_PER_DAY    (86400 * TL_US_PER_SECOND)
#define TL_US_PER_WEEK   (7 * TL_US_PER_DAY)

/* 4714-11-24 BC (PostgreSQL's first day) to the last whole year that int64_t µs since 1970 hold. */
#define TL_DATE_MIN         INT32_C(-2440588)
#define TL_DATE_MAX         INT32_C(106751981) /* 294246-12-31 */
#define TL_TIMESTAMP_MIN_US ((int64_t)TL_DATE_MIN * TL_US_PER_DAY)
#define TL_TIMESTAMP_MAX_US (((int64_t)TL_DATE_MAX + 1) * TL_US_PER_DAY - 1)

enum { TL_TIME_TEXT_MAX = 64, TL_INTERVAL_TEXT_MAX = 128 };

static inline bool tl_timestamp_in_range(int64_t us)
{
    return us >= TL_TIMESTAMP_MIN_US && us <= TL_TIMESTAMP_MAX_US;
}

/* Floor division: the quotient of times before 1970 too. `unit` > 0. */
static inline int64_t tl_floor_div(int64_t v, int64_t unit)
{
    int64_t q = v / unit;
    return q - (v % unit < 0);
}
/* v rounded down to a multiple of unit; INT64_MIN where that is not representable. */
static inline int64_t tl_floor_to(int64_t v, int64_t unit)
{
    int64_t rest = v % unit;
    rest += rest < 0 ? unit : 0;
    return v < INT64_MIN + rest ? INT64_MIN : v - rest;
}

/* ---- civil time ---- */

struct tl_civil {
    int32_t year; /* astronomical: 0 is 1 BC */
    uint8_t month, day;
    uint8_t hour, minute, second;
    uint32_t us; /* of the second */
};

int64_t tl_days_from_civil(int64_t year, unsigned month, unsigned day);
/* Sets year, month, day; the rest is 0. */
struct tl_civil tl_civil_from_days(int64_t days);
struct tl_civil tl_civil_from_us(int64_t us);
int64_t tl_us_from_civil(const struct tl_civil *c); /* saturates */
unsigned tl_days_in_month(int64_t year, unsigned month);
static inline int64_t tl_date_of_us(int64_t us)
{
    return tl_floor_div(us, TL_US_PER_DAY);
}

/* ---- text ---- */

/* 'YYYY-MM-DD', 'YYYYMMDD', ' BC'; a time of day after it is read and dropped. */
TL_CHECK enum tl_code tl_parse_date(struct tl_slice s, int32_t *days, struct tl_status *st);
/* 'YYYY-MM-DD[( |T)HH:MM[:SS[.f]]][ zone]': a zone is read and dropped, as PostgreSQL does. */
TL_CHECK enum tl_code tl_parse_timestamp(struct tl_slice s, int64_t *us, struct tl_status *st);
/* The same; without a zone in the text (Z, +hh[:mm[:ss]] EAST, a name) `zone` is meant. */
TL_CHECK enum tl_code tl_parse_timestamptz(struct tl_slice s, const struct tl_zone *zone,
                                           int64_t *us, struct tl_status *st);
/* PostgreSQL's verbose form, 'D HH:MM:SS', and ISO 8601 'P1Y2M3DT4H5M6.7S'. */
TL_CHECK enum tl_code tl_parse_interval(struct tl_slice s, struct tl_interval *out,
                                        struct tl_status *st);

size_t tl_print_date(int32_t days, char buf[TL_TIME_TEXT_MAX]);
size_t tl_print_timestamp(int64_t us, char buf[TL_TIME_TEXT_MAX]);
/* `span` is a cache the caller keeps from row to row: start with TL_ZONE_SPAN_NONE. */
size_t tl_print_timestamptz(int64_t us, const struct tl_zone *zone, struct tl_zone_span *span,
                            char buf[TL_TIME_TEXT_MAX]);
/* '1 year 2 mons -3 days +04:05:06.7' */
size_t tl_print_interval(struct tl_interval v, char buf[TL_INTERVAL_TEXT_MAX]);

/* ---- arithmetic (22008 when the result is out of range) ---- */

/* Months first (the day is clamped to the month's end), then days, then time. */
TL_CHECK enum tl_code tl_timestamp_add(int64_t us, struct tl_interval v, int64_t *out,
                                       struct tl_status *st);
/* Months and days are taken on the zone's calendar, time on the clock. */
TL_CHECK enum tl_code tl_timestamptz_add(int64_t us, struct tl_interval v,
                                         const struct tl_zone *zone, int64_t *out,
                                         struct tl_status *st);
/* a - b, as whole days and a rest. */
TL_CHECK enum tl_code tl_timestamp_diff(int64_t a, int64_t b, struct tl_interval *out,
                                        struct tl_status *st);
TL_CHECK enum tl_code tl_interval_negate(struct tl_interval v, struct tl_interval *out,
                                         struct tl_status *st);
TL_CHECK enum tl_code tl_interval_add(struct tl_interval a, struct tl_interval b,
                                      struct tl_interval *out, struct tl_status *st);
TL_CHECK enum tl_code tl_interval_multiply(struct tl_interval v, double factor,
                                           struct tl_interval *out, struct tl_status *st);
/* divisor 0: 22012 */
TL_CHECK enum tl_code tl_interval_divide(struct tl_interval v, double divisor,
                                         struct tl_interval *out, struct tl_status *st);
/* Its length for comparison, in µs: a month has 30 days, a day 24 hours. */
static inline tl_i128 tl_interval_span(struct tl_interval v)
{
    return (tl_i128)v.us + ((tl_i128)v.months * 30 + v.days) * TL_US_PER_DAY;
}
/* <0, 0, >0 */
int tl_interval_cmp(struct tl_interval a, struct tl_interval b);

/* ---- fields ---- */

enum tl_field {
    TL_FIELD_MICROSECONDS,
    TL_FIELD_MILLISECONDS,
    TL_FIELD_SECOND,
    TL_FIELD_MINUTE,
    TL_FIELD_HOUR,
    TL_FIELD_DAY,
    TL_FIELD_WEEK,
    TL_FIELD_MONTH,
    TL_FIELD_QUARTER,
    TL_FIELD_YEAR,
    TL_FIELD_DECADE,
    TL_FIELD_CENTURY,
    TL_FIELD_MILLENNIUM, /* up to here: also for date_trunc */
    TL_FIELD_DOW,
    TL_FIELD_ISODOW,
    TL_FIELD_DOY,
    TL_FIELD_ISOYEAR,
    TL_FIELD_EPOCH,
    TL_FIELD_TIMEZONE,
    TL_FIELD_TIMEZONE_HOUR,
    TL_FIELD_TIMEZONE_MINUTE,
    TL_FIELD_COUNT
};

enum tl_field_use { TL_FIELD_FOR_TRUNC, TL_FIELD_FOR_EXTRACT };

/* The field of a name ('day', 'days', 'mon', 'us', …; any case) for a value of `kind`:
 * TL_INVALID (22023) when unknown, TL_UNSUPPORTED when that type has no such field. */
TL_CHECK enum tl_code tl_field_parse(struct tl_slice name, enum tl_kind kind, enum tl_field_use use,
                                     enum tl_field *out, struct tl_status *st);
const char *tl_field_name(enum tl_field f);

/* Digits after the point of an extracted field: 6 for second and epoch (0 for a DATE's epoch),
 * 3 for milliseconds, 0 for all others. */
unsigned tl_extract_scale(enum tl_field f, enum tl_kind kind);
/* The field times 10^scale, of a local time. The time zone fields are 0. */
int64_t tl_extract_timestamp(enum tl_field f, int64_t us);
/* Of an instant, seen in the zone. */
int64_t tl_extract_timestamptz(enum tl_field f, int64_t us, const struct tl_zone *zone,
                               struct tl_zone_span *span);
int64_t tl_extract_date(enum tl_field f, int32_t days);
tl_i128 tl_extract_interval(enum tl_field f, struct tl_interval v);

/* ---- date_trunc ---- */

/* The length of the fixed units (microseconds to day), 0 of the others. In UTC, and for
 * TIMESTAMP, tl_floor_to(us, length) is the whole truncation. */
int64_t tl_field_fixed_us(enum tl_field f);
int64_t tl_date_trunc(enum tl_field f, int64_t us);
int64_t tl_date_trunc_zone(enum tl_field f, int64_t us, const struct tl_zone *zone);
/* A run of rows; zone NULL for TIMESTAMP. in and out may be the same array. */
void tl_date_trunc_many(enum tl_field f, const struct tl_zone *zone, const int64_t *in,
                        int64_t *out, uint32_t count);
struct tl_interval tl_interval_trunc(enum tl_field f, struct tl_interval v);

/* ---- time_bucket (TimescaleDB's) ---- */

struct tl_bucket {
    int64_t width_us;           /* 0: months is the width */
    int32_t months;             /* 0: width_us is the width */
    int64_t origin_us;          /* local where zone is set */
    struct tl_interval offset;  /* taken off before, put on after */
    const struct tl_zone *zone; /* NULL: on UTC, or on the local time of a TIMESTAMP */
};

/* Width: months alone, or days and time; > 0. Origin 2000-01-03, for months 2000-01-01. */
TL_CHECK enum tl_code tl_bucket_init(struct tl_bucket *b, struct tl_interval width,
                                     struct tl_status *st);
/* Of a bucket with a zone: an instant, of which the local time counts. Set the zone first. */
void tl_bucket_set_origin(struct tl_bucket *b, int64_t us);
int64_t tl_bucket_start(const struct tl_bucket *b, int64_t us);
/* A run of rows; in and out may be the same array. */
void tl_bucket_many(const struct tl_bucket *b, const int64_t *in, int64_t *out, uint32_t count);

#endif
