/*
 * tools/values.c: times, numbers and UTF-8.
 */
#include "tools/values.h"

#include <stdlib.h>

int64_t tl_days_of(int64_t year, uint32_t month, uint32_t day)
{
    /* H. Hinnant's days_from_civil */
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    uint32_t yoe = (uint32_t)(year - era * 400);
    uint32_t doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    uint32_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

bool tl_date_valid(int64_t year, uint32_t month, uint32_t day)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= (uint32_t)days[month - 1] + (month == 2 && leap);
}

struct cursor {
    const uint8_t *p, *end;
};

/* Exactly `count` digits. */
static bool digits(struct cursor *c, int count, uint32_t *out)
{
    if (c->end - c->p < count)
        return false;
    uint32_t v = 0;
    for (int i = 0; i < count; i++) {
        uint8_t d = (uint8_t)(c->p[i] - '0');
        if (d > 9)
            return false;
        v = v * 10 + d;
    }
    c->p += count;
    *out = v;
    return true;
}

static bool character(struct cursor *c, char wanted)
{
    if (c->p == c->end || *c->p != (uint8_t)wanted)
        return false;
    c->p++;
    return true;
}

static bool time_of_day(uint32_t hour, uint32_t minute, uint32_t second)
{
    return hour < 24 && minute < 60 && second <= 60; /* 60: a leap second counts as the next */
}

/* Z, +hh, +hhmm, +hh:mm; nothing: UTC. */
static bool offset_read(struct cursor *c, int64_t *seconds)
{
    *seconds = 0;
    if (c->p == c->end || ((*c->p == 'Z' || *c->p == 'z') && c->p + 1 == c->end)) {
        c->p = c->end;
        return true;
    }
    if (*c->p == ' ')
        c->p++;
    if (c->p == c->end || (*c->p != '+' && *c->p != '-'))
        return false;
    bool minus = *c->p++ == '-';
    uint32_t hours, minutes = 0;
    if (!digits(c, 2, &hours))
        return false;
    (void)character(c, ':');
    if (c->p != c->end && !digits(c, 2, &minutes))
        return false;
    if (c->p != c->end || hours > 15 || minutes > 59)
        return false;
    *seconds = (int64_t)(hours * 3600 + minutes * 60) * (minus ? -1 : 1);
    return true;
}

bool tl_time_read(struct tl_slice s, int64_t *us)
{
    struct cursor c = {s.data, s.data + s.size};
    uint32_t year, month, day, hour = 0, minute = 0, second = 0, fraction = 0;
    if (!digits(&c, 4, &year) || !character(&c, '-') || !digits(&c, 2, &month) ||
        !character(&c, '-') || !digits(&c, 2, &day) || !tl_date_valid(year, month, day))
        return false;
    int64_t offset = 0;
    if (c.p != c.end) {
        if (!character(&c, 'T') && !character(&c, ' ') && !character(&c, 't'))
            return false;
        if (!digits(&c, 2, &hour) || !character(&c, ':') || !digits(&c, 2, &minute))
            return false;
        if (character(&c, ':')) {
            if (!digits(&c, 2, &second))
                return false;
            if (character(&c, '.') || character(&c, ',')) {
                uint32_t scale = 1000000, count = 0;
                for (; c.p != c.end && *c.p >= '0' && *c.p <= '9'; c.p++, count++) {
                    scale /= 10;
                    fraction += (uint32_t)(*c.p - '0') * scale;
                }
                if (count == 0)
                    return false;
            }
        }
        if (!time_of_day(hour, minute, second) || !offset_read(&c, &offset))
            return false;
    }
    int64_t seconds = tl_days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *us = (seconds - offset) * 1000000 + fraction;
    return true;
}

bool tl_log_time_read(struct tl_slice s, int64_t *us)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct cursor c = {s.data, s.data + s.size};
    uint32_t year, month = 0, day, hour, minute, second;
    if (!digits(&c, 2, &day) || !character(&c, '/') || c.end - c.p < 3)
        return false;
    for (; month < 12 && memcmp(c.p, months + 3 * month, 3) != 0; month++)
        ;
    c.p += 3;
    month++;
    if (month > 12 || !character(&c, '/') || !digits(&c, 4, &year) || !character(&c, ':') ||
        !digits(&c, 2, &hour) || !character(&c, ':') || !digits(&c, 2, &minute) ||
        !character(&c, ':') || !digits(&c, 2, &second) || !tl_date_valid(year, month, day) ||
        !time_of_day(hour, minute, second))
        return false;
    int64_t offset;
    if (!offset_read(&c, &offset))
        return false;
    int64_t seconds = tl_days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *us = (seconds - offset) * 1000000;
    return true;
}

bool tl_any_time_read(struct tl_slice s, int64_t *us)
{
    if (tl_time_read(s, us) || tl_log_time_read(s, us))
        return true;
    const uint8_t *dot = s.size ? memchr(s.data, '.', s.size) : NULL;
    size_t whole = dot ? (size_t)(dot - s.data) : s.size;
    int64_t v;
    if (!tl_int_read(tl_slice_of(s.data, whole), &v))
        return false;
    /* Seconds until the year 5138, milliseconds from 1973: no date is both. */
    int64_t size = v < 0 ? -v : v;
    int64_t unit = size < 100000000000 ? 1000000 : size < 100000000000000 ? 1000 : 1;
    int64_t fraction = 0;
    if (dot) {
        size_t count = s.size - whole - 1;
        int64_t part;
        if (count == 0 || count > 9 || !tl_int_read(tl_slice_of(dot + 1, count), &part) || part < 0)
            return false;
        for (; count < 6; count++)
            part *= 10;
        for (; count > 6; count--)
            part /= 10;
        fraction = part * unit / 1000000;
    }
    if (size > INT64_MAX / 1000000 && unit > 1)
        return false;
    *us = v * unit + (v < 0 ? -fraction : fraction);
    return true;
}

bool tl_int_read(struct tl_slice s, int64_t *v)
{
    size_t i = s.size && (s.data[0] == '-' || s.data[0] == '+');
    bool minus = i && s.data[0] == '-';
    if (i == s.size)
        return false;
    uint64_t sum = 0;
    for (; i < s.size; i++) {
        uint8_t d = (uint8_t)(s.data[i] - '0');
        if (d > 9 || __builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, d, &sum))
            return false;
    }
    if (sum > (uint64_t)INT64_MAX + minus)
        return false;
    *v = minus ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

bool tl_double_read(struct tl_slice s, double *v)
{
    char text[64];
    if (s.size == 0 || s.size >= sizeof(text) || s.data[0] == ' ')
        return false;
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] == 'x' || s.data[i] == 'X') /* strtod would read hexadecimal */
            return false;
    memcpy(text, s.data, s.size);
    text[s.size] = 0;
    char *end;
    *v = strtod(text, &end);
    return end == text + s.size;
}

bool tl_decimal_read(struct tl_slice s, uint32_t scale, int64_t *v)
{
    size_t i = s.size && (s.data[0] == '-' || s.data[0] == '+');
    bool minus = i && s.data[0] == '-';
    uint64_t sum = 0;
    uint32_t after = 0, count = 0;
    bool dot = false, up = false, rounded = false;
    for (; i < s.size; i++) {
        if (s.data[i] == '.' && !dot) {
            dot = true;
            continue;
        }
        uint8_t d = (uint8_t)(s.data[i] - '0');
        if (d > 9)
            return false;
        count++;
        if (dot && after == scale) {
            up = rounded ? up : d >= 5;
            rounded = true;
            continue;
        }
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, d, &sum))
            return false;
        after += dot;
    }
    for (; after < scale; after++)
        if (__builtin_mul_overflow(sum, 10, &sum))
            return false;
    sum += up;
    if (count == 0 || sum > 999999999999999999ULL)
        return false;
    *v = minus ? -(int64_t)sum : (int64_t)sum;
    return true;
}

bool tl_bool_read(struct tl_slice s, bool *v)
{
    static const char *const yes[] = {"true", "t", "1", "yes", "True", "TRUE"};
    static const char *const no[] = {"false", "f", "0", "no", "False", "FALSE"};
    for (size_t i = 0; i < 6; i++) {
        if (tl_slice_eq(s, tl_slice_str(yes[i]))) {
            *v = true;
            return true;
        }
        if (tl_slice_eq(s, tl_slice_str(no[i]))) {
            *v = false;
            return true;
        }
    }
    return false;
}

void tl_utf8_put(struct tl_buffer *out, uint32_t c)
{
    if (c < 0x80) {
        tl_buffer_put_u8(out, (uint8_t)c);
        return;
    }
    if (c >= 0x10000) {
        tl_buffer_put_u8(out, (uint8_t)(0xf0 | c >> 18));
        tl_buffer_put_u8(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
    } else if (c >= 0x800) {
        tl_buffer_put_u8(out, (uint8_t)(0xe0 | c >> 12));
    }
    if (c >= 0x800)
        tl_buffer_put_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    else
        tl_buffer_put_u8(out, (uint8_t)(0xc0 | c >> 6));
    tl_buffer_put_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
}
