/*
 * Reading and printing of dates, timestamps and intervals. A date is read by hand for the ISO
 * form that machines write; what follows it is a list of words (zone, AM, PM, BC) in any order,
 * as PostgreSQL allows.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "base/time.h"

/* ---- failures ---- */

static int quoted_size(struct tl_slice s)
{
    size_t size = s.size < 64 ? s.size : 64;
    while (size > 0 && size < s.size && (s.data[size] & 0xc0) == 0x80)
        size--;
    return (int)size;
}

static enum tl_code bad_syntax(struct tl_slice s, const char *type, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "invalid input syntax for type %s: \"%.*s\"", type,
                  quoted_size(s), s.size ? (const char *)s.data : "");
    return tl_status_sql(st, "22007", 0);
}

static enum tl_code field_range(struct tl_slice s, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "date/time field value out of range: \"%.*s\"", quoted_size(s),
                  s.size ? (const char *)s.data : "");
    return tl_status_sql(st, "22008", 0);
}

static enum tl_code interval_field_range(struct tl_slice s, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "interval field value out of range: \"%.*s\"", quoted_size(s),
                  s.size ? (const char *)s.data : "");
    return tl_status_sql(st, "22015", 0);
}

/* ---- scanning ---- */

static inline bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}
static inline bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}
static inline bool is_letter(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

struct scan {
    const uint8_t *p, *end;
};

static inline struct scan scan_of(struct tl_slice text)
{
    return (struct scan){text.data, text.size ? text.data + text.size : text.data};
}
static inline bool at_end(const struct scan *s)
{
    return s->p == s->end;
}
static inline uint8_t peek(const struct scan *s)
{
    return s->p < s->end ? *s->p : 0;
}
static inline bool accept(struct scan *s, char c)
{
    if (peek(s) != (uint8_t)c || at_end(s))
        return false;
    s->p++;
    return true;
}
static void skip_spaces(struct scan *s)
{
    while (s->p < s->end && is_space(*s->p))
        s->p++;
}
static size_t digit_count(const struct scan *s)
{
    const uint8_t *p = s->p;
    while (p < s->end && is_digit(*p))
        p++;
    return (size_t)(p - s->p);
}
/* `count` digits, at most 9, known to be there. */
static int32_t take_digits(struct scan *s, size_t count)
{
    int32_t v = 0;
    while (count-- > 0)
        v = v * 10 + (*s->p++ - '0');
    return v;
}
static bool take_number(struct scan *s, size_t digits_min, size_t digits_max, int32_t *out)
{
    size_t n = digit_count(s);
    if (n < digits_min || n > digits_max)
        return false;
    *out = take_digits(s, n);
    return true;
}

/* The digits after a point, as a fraction of 1; none are 0. */
static double take_fraction(struct scan *s)
{
    size_t n = digit_count(s);
    double fraction = 0;
    if (n <= 15) {
        int64_t v = 0;
        for (size_t i = 0; i < n; i++)
            v = v * 10 + (s->p[i] - '0');
        fraction = (double)v / (double)tl_pow10_i128((unsigned)n);
    } else {
        struct tl_status ignored = TL_STATUS_INIT;
        /* With the point, which stands before. */
        if (tl_parse_double(tl_slice_of(s->p - 1, n + 1), &fraction, &ignored) != TL_OK)
            fraction = 0; /* too small to be told from 0 */
    }
    s->p += n;
    return fraction;
}

/* ---- dates and timestamps ---- */

struct moment {
    int64_t days;
    int64_t time_us; /* of the day; up to 24:00:00 */
    bool has_offset;
    int32_t offset_s;           /* east */
    const struct tl_zone *zone; /* named in the text */
};

struct moment_scan {
    struct tl_slice whole;
    const char *type;
    int32_t year, month, day;
    int32_t hour, minute, second, us;
    bool pm, am, bc;
};

/* YYYY-M-D, YYYY/M/D or YYYYMMDD. */
static bool scan_date(struct scan *s, struct moment_scan *m)
{
    size_t n = digit_count(s);
    if (n == 8 && (s->end - s->p == 8 || (s->p[8] != '-' && s->p[8] != '/'))) {
        m->year = take_digits(s, 4);
        m->month = take_digits(s, 2);
        m->day = take_digits(s, 2);
        return true;
    }
    if (n < 4 || n > 6)
        return false;
    m->year = take_digits(s, n);
    char separator = peek(s) == '/' ? '/' : '-';
    return accept(s, separator) && take_number(s, 1, 2, &m->month) && accept(s, separator) &&
           take_number(s, 1, 2, &m->day);
}

/* H:MM[:SS[.f]], HHMM or HHMMSS[.f]. */
static bool scan_clock(struct scan *s, struct moment_scan *m)
{
    size_t n = digit_count(s);
    bool seconds = false;
    if (n == 4 || n == 6) {
        m->hour = take_digits(s, 2);
        m->minute = take_digits(s, 2);
        seconds = n == 6;
        if (seconds)
            m->second = take_digits(s, 2);
    } else {
        if (!take_number(s, 1, 2, &m->hour) || !accept(s, ':') || !take_number(s, 2, 2, &m->minute))
            return false;
        seconds = accept(s, ':');
        if (seconds && !take_number(s, 2, 2, &m->second))
            return false;
    }
    if (seconds && accept(s, '.')) {
        size_t digits = digit_count(s);
        if (digits <= 6) {
            m->us = take_digits(s, digits);
            for (size_t i = digits; i < 6; i++)
                m->us *= 10;
        } else {
            m->us = (int32_t)rint(take_fraction(s) * 1e6); /* may carry: the sum below takes it */
        }
    }
    return true;
}

/* [+-]hh[[:]mm[[:]ss]], east. */
static bool scan_offset(struct scan *s, struct moment *out, bool *in_range)
{
    int32_t sign = peek(s) == '-' ? -1 : 1;
    s->p++;
    int32_t hours = 0, minutes = 0, seconds = 0;
    size_t n = digit_count(s);
    if (n == 4 || n == 6) {
        hours = take_digits(s, 2);
        minutes = take_digits(s, 2);
        if (n == 6)
            seconds = take_digits(s, 2);
    } else if (n == 3) {
        hours = take_digits(s, 1);
        minutes = take_digits(s, 2);
    } else {
        if (!take_number(s, 1, 2, &hours))
            return false;
        if (accept(s, ':')) {
            if (!take_number(s, 2, 2, &minutes))
                return false;
            if (accept(s, ':') && !take_number(s, 2, 2, &seconds))
                return false;
        }
    }
    *in_range = hours <= 15 && minutes <= 59 && seconds <= 59;
    out->has_offset = true;
    out->offset_s = sign * (hours * 3600 + minutes * 60 + seconds);
    return true;
}

/* The words after date and time. */
static enum tl_code scan_words(struct scan *s, struct moment_scan *m, struct moment *out,
                               struct tl_status *st)
{
    for (;;) {
        skip_spaces(s);
        if (at_end(s))
            return TL_OK;
        bool zone_known = out->has_offset || out->zone != NULL;
        if (peek(s) == '+' || peek(s) == '-') {
            bool in_range = true;
            if (zone_known || !scan_offset(s, out, &in_range))
                return bad_syntax(m->whole, m->type, st);
            if (!in_range) {
                (void)TL_FAIL(st, TL_INVALID, "time zone displacement out of range: \"%.*s\"",
                              quoted_size(m->whole), (const char *)m->whole.data);
                return tl_status_sql(st, "22009", 0);
            }
            continue;
        }
        const uint8_t *first = s->p;
        if (!is_letter(*first))
            return bad_syntax(m->whole, m->type, st);
        while (s->p < s->end && !is_space(*s->p))
            s->p++;
        struct tl_slice word = tl_slice_of(first, (size_t)(s->p - first));
        if (word.size == 1 && (*first | 0x20) == 'z') {
            if (zone_known)
                return bad_syntax(m->whole, m->type, st);
            out->has_offset = true;
        } else if (tl_text_eq_nocase(word, "bc")) {
            m->bc = true;
        } else if (tl_text_eq_nocase(word, "am")) {
            m->am = true;
        } else if (tl_text_eq_nocase(word, "pm")) {
            m->pm = true;
        } else if (!tl_text_eq_nocase(word, "ad")) {
            if (zone_known)
                return bad_syntax(m->whole, m->type, st);
            enum tl_code rc = tl_zone_get(word, &out->zone, st);
            if (rc)
                return rc;
        }
    }
}

static enum tl_code moment_compose(const struct moment_scan *m, struct moment *out,
                                   struct tl_status *st)
{
    int32_t hour = m->hour;
    if ((m->am || m->pm) && hour > 12)
        return field_range(m->whole, st);
    if (m->am && hour == 12)
        hour = 0;
    if (m->pm && hour != 12)
        hour += 12;
    if (m->year == 0 || m->month < 1 || m->month > 12 || m->day < 1)
        return field_range(m->whole, st);
    int32_t year = m->bc ? 1 - m->year : m->year;
    if ((unsigned)m->day > tl_days_in_month(year, (unsigned)m->month))
        return field_range(m->whole, st);
    bool midnight = m->minute == 0 && m->second == 0 && m->us == 0;
    if (hour > 24 || (hour == 24 && !midnight) || m->minute > 59 || m->second > 60)
        return field_range(m->whole, st);
    out->days = tl_days_from_civil(year, (unsigned)m->month, (unsigned)m->day);
    out->time_us = (hour * 3600 + m->minute * 60 + m->second) * TL_US_PER_SECOND + m->us;
    return TL_OK;
}

static enum tl_code parse_moment(struct tl_slice whole, const char *type, struct moment *out,
                                 struct tl_status *st)
{
    struct tl_slice text = tl_text_trim(whole);
    struct moment_scan m = {.whole = whole, .type = type};
    *out = (struct moment){.days = 0};
    struct scan s = scan_of(text);
    if (!scan_date(&s, &m)) {
        struct tl_slice word = text;
        if (word.size > 0 && (word.data[0] == '-' || word.data[0] == '+'))
            word = tl_slice_of(word.data + 1, word.size - 1);
        if (tl_text_eq_nocase(word, "infinity"))
            return TL_FAIL(st, TL_UNSUPPORTED, "infinity is no value of type %s here", type);
        if (tl_text_eq_nocase(text, "epoch")) {
            out->has_offset = true;
            return TL_OK;
        }
        return bad_syntax(whole, type, st);
    }
    bool clock_must_follow = peek(&s) == 'T' || peek(&s) == 't';
    if (!at_end(&s) && !is_space(peek(&s)) && !clock_must_follow)
        return bad_syntax(whole, type, st);
    if (clock_must_follow)
        s.p++;
    skip_spaces(&s);
    if (clock_must_follow || is_digit(peek(&s))) {
        if (!scan_clock(&s, &m))
            return bad_syntax(whole, type, st);
    }
    if (!at_end(&s)) {
        enum tl_code rc = scan_words(&s, &m, out, st);
        if (rc)
            return rc;
    }
    return moment_compose(&m, out, st);
}

enum tl_code tl_parse_date(struct tl_slice s, int32_t *days, struct tl_status *st)
{
    struct moment m;
    enum tl_code rc = parse_moment(s, "date", &m, st);
    if (rc)
        return rc;
    if (m.days < TL_DATE_MIN || m.days > TL_DATE_MAX) {
        (void)TL_FAIL(st, TL_INVALID, "date out of range: \"%.*s\"", quoted_size(s),
                      (const char *)s.data);
        return tl_status_sql(st, "22008", 0);
    }
    *days = (int32_t)m.days;
    return TL_OK;
}

static enum tl_code timestamp_range(struct tl_slice s, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "timestamp out of range: \"%.*s\"", quoted_size(s),
                  (const char *)s.data);
    return tl_status_sql(st, "22008", 0);
}

/* A year has at most six digits: this cannot overflow before it is compared. */
static bool moment_local_us(const struct moment *m, int64_t *us)
{
    if (m->days < TL_DATE_MIN || m->days > TL_DATE_MAX)
        return false;
    *us = m->days * TL_US_PER_DAY + m->time_us;
    return true;
}

enum tl_code tl_parse_timestamp(struct tl_slice s, int64_t *us, struct tl_status *st)
{
    struct moment m;
    enum tl_code rc = parse_moment(s, "timestamp", &m, st);
    if (rc)
        return rc;
    int64_t local;
    if (!moment_local_us(&m, &local) || !tl_timestamp_in_range(local))
        return timestamp_range(s, st);
    *us = local;
    return TL_OK;
}

enum tl_code tl_parse_timestamptz(struct tl_slice s, const struct tl_zone *zone, int64_t *us,
                                  struct tl_status *st)
{
    struct moment m;
    enum tl_code rc = parse_moment(s, "timestamp with time zone", &m, st);
    if (rc)
        return rc;
    int64_t utc;
    if (!moment_local_us(&m, &utc))
        return timestamp_range(s, st);
    if (m.has_offset)
        utc -= m.offset_s * TL_US_PER_SECOND;
    else
        utc = tl_zone_to_utc(m.zone ? m.zone : zone, utc);
    if (!tl_timestamp_in_range(utc))
        return timestamp_range(s, st);
    *us = utc;
    return TL_OK;
}

/* ---- printing ---- */

static char *put_two(char *p, unsigned v)
{
    p[0] = (char)('0' + v / 10);
    p[1] = (char)('0' + v % 10);
    return p + 2;
}

static char *put_date(char *p, const struct tl_civil *c)
{
    uint32_t year = (uint32_t)(c->year > 0 ? c->year : 1 - c->year);
    if (year > 9999) {
        p += tl_print_uint64(year, p);
    } else {
        p = put_two(p, year / 100);
        p = put_two(p, year % 100);
    }
    *p++ = '-';
    p = put_two(p, c->month);
    *p++ = '-';
    return put_two(p, c->day);
}

/* .f without the zeros at its end; nothing for 0. */
static char *put_fraction(char *p, uint32_t us)
{
    if (us == 0)
        return p;
    *p++ = '.';
    p = put_two(p, us / 10000);
    p = put_two(p, us / 100 % 100);
    p = put_two(p, us % 100);
    while (p[-1] == '0')
        p--;
    return p;
}

static char *put_timestamp(char *p, const struct tl_civil *c)
{
    p = put_date(p, c);
    *p++ = ' ';
    p = put_two(p, c->hour);
    *p++ = ':';
    p = put_two(p, c->minute);
    *p++ = ':';
    p = put_two(p, c->second);
    return put_fraction(p, c->us);
}

static size_t put_era(char *buf, char *p, const struct tl_civil *c)
{
    if (c->year <= 0) {
        memcpy(p, " BC", 3);
        p += 3;
    }
    *p = '\0';
    return (size_t)(p - buf);
}

size_t tl_print_date(int32_t days, char buf[TL_TIME_TEXT_MAX])
{
    struct tl_civil c = tl_civil_from_days(days);
    return put_era(buf, put_date(buf, &c), &c);
}

size_t tl_print_timestamp(int64_t us, char buf[TL_TIME_TEXT_MAX])
{
    struct tl_civil c = tl_civil_from_us(us);
    return put_era(buf, put_timestamp(buf, &c), &c);
}

size_t tl_print_timestamptz(int64_t us, const struct tl_zone *zone, struct tl_zone_span *span,
                            char buf[TL_TIME_TEXT_MAX])
{
    struct tl_civil c = tl_civil_from_us(tl_zone_to_local(zone, span, us));
    char *p = put_timestamp(buf, &c);
    *p++ = span->offset_s < 0 ? '-' : '+';
    unsigned offset = (unsigned)(span->offset_s < 0 ? -span->offset_s : span->offset_s);
    p = put_two(p, offset / 3600);
    if (offset % 3600) {
        *p++ = ':';
        p = put_two(p, offset / 60 % 60);
        if (offset % 60) {
            *p++ = ':';
            p = put_two(p, offset % 60);
        }
    }
    return put_era(buf, p, &c);
}

/* ---- intervals, printing ---- */

static char *put_part(char *p, const char *first, int32_t value, const char *unit, bool *negative)
{
    if (value == 0)
        return p;
    if (p != first)
        *p++ = ' ';
    if (*negative && value > 0)
        *p++ = '+';
    p += tl_print_int64(value, p);
    *p++ = ' ';
    size_t size = strlen(unit);
    memcpy(p, unit, size);
    p += size;
    if (value != 1)
        *p++ = 's';
    *negative = value < 0;
    return p;
}

size_t tl_print_interval(struct tl_interval v, char buf[TL_INTERVAL_TEXT_MAX])
{
    char *p = buf;
    bool negative = false;
    p = put_part(p, buf, v.months / 12, "year", &negative);
    p = put_part(p, buf, v.months % 12, "mon", &negative);
    p = put_part(p, buf, v.days, "day", &negative);
    if (p == buf || v.us != 0) {
        if (p != buf)
            *p++ = ' ';
        if (v.us < 0)
            *p++ = '-';
        else if (negative)
            *p++ = '+';
        uint64_t us = v.us < 0 ? 0 - (uint64_t)v.us : (uint64_t)v.us;
        uint64_t hours = us / (uint64_t)TL_US_PER_HOUR;
        if (hours < 10)
            *p++ = '0';
        p += tl_print_uint64(hours, p);
        *p++ = ':';
        p = put_two(p, (unsigned)(us / (uint64_t)TL_US_PER_MINUTE % 60));
        *p++ = ':';
        p = put_two(p, (unsigned)(us / (uint64_t)TL_US_PER_SECOND % 60));
        p = put_fraction(p, (uint32_t)(us % (uint64_t)TL_US_PER_SECOND));
    }
    *p = '\0';
    return (size_t)(p - buf);
}

/* ---- intervals, reading ---- */

/* Sums of the parts; `overflow` once one does not fit. */
struct interval_sum {
    int64_t us, days, months;
    uint32_t seen; /* one bit per unit: each may stand once */
    bool overflow;
};

static void add_us(struct interval_sum *sum, int64_t count, double fraction, int64_t unit_us)
{
    int64_t us;
    sum->overflow |= __builtin_mul_overflow(count, unit_us, &us);
    sum->overflow |= __builtin_add_overflow(sum->us, us, &sum->us);
    /* Half a microsecond rounds toward zero, as in PostgreSQL. */
    fraction *= (double)unit_us;
    int64_t more = (int64_t)fraction;
    fraction -= (double)more;
    more += fraction > 0.5 ? 1 : fraction < -0.5 ? -1 : 0;
    sum->overflow |= __builtin_add_overflow(sum->us, more, &sum->us);
}

static void add_days(struct interval_sum *sum, int64_t count, double fraction, int64_t unit_days)
{
    int64_t days;
    sum->overflow |= __builtin_mul_overflow(count, unit_days, &days);
    sum->overflow |= __builtin_add_overflow(sum->days, days, &sum->days);
    fraction *= (double)unit_days;
    int64_t more = (int64_t)fraction;
    sum->overflow |= __builtin_add_overflow(sum->days, more, &sum->days);
    add_us(sum, 0, fraction - (double)more, TL_US_PER_DAY);
}

static void add_months(struct interval_sum *sum, int64_t count, int64_t unit_months)
{
    int64_t months;
    sum->overflow |= __builtin_mul_overflow(count, unit_months, &months);
    sum->overflow |= __builtin_add_overflow(sum->months, months, &sum->months);
}

#define SECOND_UNITS                                                                               \
    (1U << TL_FIELD_SECOND | 1U << TL_FIELD_MILLISECONDS | 1U << TL_FIELD_MICROSECONDS)

/* Adds count + fraction of a unit. False: no such unit in an interval, or a second time. */
static bool add_unit(struct interval_sum *sum, enum tl_field unit, int64_t count, double fraction)
{
    /* A second with a fraction is all there is to be said about its parts. */
    uint32_t bits = unit == TL_FIELD_SECOND && fraction != 0 ? SECOND_UNITS : 1U << unit;
    if (sum->seen & bits)
        return false;
    sum->seen |= bits;
    int64_t years = 1;
    switch (unit) {
    case TL_FIELD_MICROSECONDS:
    case TL_FIELD_MILLISECONDS:
    case TL_FIELD_SECOND:
    case TL_FIELD_MINUTE:
    case TL_FIELD_HOUR:
        add_us(sum, count, fraction, tl_field_fixed_us(unit));
        return true;
    case TL_FIELD_DAY:
        add_days(sum, count, fraction, 1);
        return true;
    case TL_FIELD_WEEK:
        add_days(sum, count, fraction, 7);
        return true;
    case TL_FIELD_MONTH:
        add_months(sum, count, 1);
        add_days(sum, 0, fraction, 30);
        return true;
    case TL_FIELD_MILLENNIUM:
        years *= 10;
        /* fall through */
    case TL_FIELD_CENTURY:
        years *= 10;
        /* fall through */
    case TL_FIELD_DECADE:
        years *= 10;
        /* fall through */
    case TL_FIELD_YEAR:
        add_months(sum, count, years * 12);
        add_months(sum, (int64_t)rint(fraction * (double)years * 12), 1);
        return true;
    default:
        return false;
    }
}

struct number {
    bool negative;
    bool has_point;
    int64_t count;   /* with its sign */
    double fraction; /* with its sign */
};

enum scanned { SCANNED, NO_NUMBER, TOO_LARGE };

static enum scanned scan_number(struct scan *s, struct number *n)
{
    *n = (struct number){.count = 0};
    if (peek(s) == '-' || peek(s) == '+') {
        n->negative = peek(s) == '-';
        s->p++;
        skip_spaces(s);
    }
    size_t digits = digit_count(s);
    bool overflow = false;
    for (size_t i = 0; i < digits; i++) {
        int digit = *s->p++ - '0';
        overflow |= __builtin_mul_overflow(n->count, 10, &n->count);
        overflow |= __builtin_add_overflow(n->count, n->negative ? -digit : digit, &n->count);
    }
    if (peek(s) == '.' && !at_end(s)) {
        s->p++;
        n->has_point = true;
        if (digits == 0 && digit_count(s) == 0)
            return NO_NUMBER;
        n->fraction = take_fraction(s);
        if (n->negative)
            n->fraction = -n->fraction;
    } else if (digits == 0) {
        return NO_NUMBER;
    }
    return overflow ? TOO_LARGE : SCANNED;
}

/* After `hours` and before a ':' : HH:MM, HH:MM:SS[.f], or MM:SS.f. */
static bool scan_interval_clock(struct scan *s, const struct number *first,
                                struct interval_sum *sum)
{
    const uint32_t units = 1U << TL_FIELD_HOUR | 1U << TL_FIELD_MINUTE | SECOND_UNITS;
    int32_t second_field, third_field = 0;
    double fraction = 0;
    if (first->has_point || sum->seen & units)
        return false;
    sum->seen |= units;
    s->p++;
    if (!take_number(s, 1, 2, &second_field))
        return false;
    bool minutes_first = false;
    if (accept(s, ':')) {
        if (!take_number(s, 1, 2, &third_field))
            return false;
        if (accept(s, '.'))
            fraction = take_fraction(s);
    } else if (accept(s, '.')) {
        minutes_first = true;
        fraction = take_fraction(s);
    }
    if (second_field > 59 || third_field > 60)
        return false;
    int64_t sign = first->negative ? -1 : 1;
    int64_t fraction_us = (int64_t)rint(fraction * 1e6) * sign;
    if (minutes_first) {
        add_us(sum, first->count, 0, TL_US_PER_MINUTE);
        add_us(sum, sign * second_field, 0, TL_US_PER_SECOND);
    } else {
        add_us(sum, first->count, 0, TL_US_PER_HOUR);
        add_us(sum, sign * second_field, 0, TL_US_PER_MINUTE);
        add_us(sum, sign * third_field, 0, TL_US_PER_SECOND);
    }
    add_us(sum, fraction_us, 0, 1);
    return true;
}

static bool take_word(struct scan *s, struct tl_slice *word)
{
    const uint8_t *first = s->p;
    while (s->p < s->end && is_letter(*s->p))
        s->p++;
    *word = tl_slice_of(first, (size_t)(s->p - first));
    return word->size > 0;
}

static enum scanned interval_iso(struct scan *s, struct interval_sum *sum)
{
    bool in_time = false, any = false;
    while (!at_end(s)) {
        if (!in_time && (accept(s, 'T') || accept(s, 't'))) {
            in_time = true;
            continue;
        }
        struct number n;
        enum scanned rc = scan_number(s, &n);
        if (rc != SCANNED)
            return rc;
        if (at_end(s))
            return NO_NUMBER;
        enum tl_field unit;
        switch (*s->p++) {
        case 'Y':
        case 'y':
            unit = TL_FIELD_YEAR;
            break;
        case 'M':
        case 'm':
            unit = in_time ? TL_FIELD_MINUTE : TL_FIELD_MONTH;
            break;
        case 'W':
        case 'w':
            unit = TL_FIELD_WEEK;
            break;
        case 'D':
        case 'd':
            unit = TL_FIELD_DAY;
            break;
        case 'H':
        case 'h':
            unit = TL_FIELD_HOUR;
            break;
        case 'S':
        case 's':
            unit = TL_FIELD_SECOND;
            break;
        default:
            return NO_NUMBER;
        }
        if ((unit <= TL_FIELD_HOUR) != in_time || !add_unit(sum, unit, n.count, n.fraction))
            return NO_NUMBER;
        any = true;
    }
    return any ? SCANNED : NO_NUMBER;
}

static enum scanned interval_words(struct scan *s, struct interval_sum *sum, bool *ago)
{
    struct number pending = {0}; /* without a unit: days before a clock, seconds at the end */
    bool has_pending = false, any = false;
    for (;;) {
        skip_spaces(s);
        if (at_end(s))
            break;
        struct tl_slice word;
        if (is_letter(peek(s))) {
            if (!any || has_pending || !take_word(s, &word) || !tl_text_eq_nocase(word, "ago"))
                return NO_NUMBER;
            skip_spaces(s);
            *ago = true;
            return at_end(s) ? SCANNED : NO_NUMBER;
        }
        struct number n;
        enum scanned rc = scan_number(s, &n);
        if (rc != SCANNED)
            return rc;
        any = true;
        if (peek(s) == ':') {
            if (has_pending && !add_unit(sum, TL_FIELD_DAY, pending.count, pending.fraction))
                return NO_NUMBER;
            has_pending = false;
            if (!scan_interval_clock(s, &n, sum))
                return NO_NUMBER;
            continue;
        }
        if (has_pending)
            return NO_NUMBER;
        if (peek(s) == '-' && !n.has_point && s->end - s->p > 1 && is_digit(s->p[1])) {
            int32_t months; /* SQL's years-months */
            s->p++;
            if (!take_number(s, 1, 2, &months) || months > 11 ||
                !add_unit(sum, TL_FIELD_YEAR, n.count, 0) ||
                !add_unit(sum, TL_FIELD_MONTH, n.negative ? -months : months, 0))
                return NO_NUMBER;
            continue;
        }
        skip_spaces(s);
        if (is_letter(peek(s))) {
            enum tl_field unit;
            struct tl_status ignored = TL_STATUS_INIT;
            if (!take_word(s, &word) ||
                tl_field_parse(word, TL_TIMESTAMP, TL_FIELD_FOR_TRUNC, &unit, &ignored) != TL_OK)
                return NO_NUMBER;
            if (!add_unit(sum, unit, n.count, n.fraction))
                return NO_NUMBER;
        } else {
            pending = n;
            has_pending = true;
        }
    }
    if (has_pending && !add_unit(sum, TL_FIELD_SECOND, pending.count, pending.fraction))
        return NO_NUMBER;
    return any ? SCANNED : NO_NUMBER;
}

enum tl_code tl_parse_interval(struct tl_slice whole, struct tl_interval *out, struct tl_status *st)
{
    struct tl_slice text = tl_text_trim(whole);
    struct scan s = scan_of(text);
    struct interval_sum sum = {.us = 0};
    bool ago = false;
    enum scanned rc;
    if (accept(&s, 'P') || accept(&s, 'p')) {
        rc = interval_iso(&s, &sum);
    } else {
        (void)accept(&s, '@');
        rc = interval_words(&s, &sum, &ago);
    }
    if (rc == NO_NUMBER)
        return bad_syntax(whole, "interval", st);
    int64_t sign = ago ? -1 : 1;
    struct tl_interval v;
    if (rc == TOO_LARGE || sum.overflow || __builtin_mul_overflow(sum.us, sign, &v.us) ||
        __builtin_mul_overflow(sum.days, sign, &v.days))
        return interval_field_range(whole, st);
    if (__builtin_mul_overflow(sum.months, sign, &v.months)) {
        (void)TL_FAIL(st, TL_INVALID, "interval out of range: \"%.*s\"", quoted_size(whole),
                      (const char *)whole.data);
        return tl_status_sql(st, "22008", 0);
    }
    *out = v;
    return TL_OK;
}
