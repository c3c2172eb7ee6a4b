/*
 * Promise: dates, timestamps and intervals mean and read what they do in PostgreSQL 15 (the
 * expected texts here were printed by it), date_trunc and time_bucket run over rows give the
 * same as one by one, and no int64_t makes any of the total functions fail.
 */
#include "base/time.h"

#include <string.h>

#include "base/random.h"
#include "base/text.h"
#include "tests/test.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct tl_zone *zone(const char *name)
{
    struct tl_status st = TL_STATUS_INIT;
    const struct tl_zone *z = NULL;
    assert_ok(&st, tl_zone_get(tl_slice_str(name), &z, &st));
    return z;
}

static int64_t ts(const char *text)
{
    struct tl_status st = TL_STATUS_INIT;
    int64_t us = 0;
    assert_ok(&st, tl_parse_timestamp(tl_slice_str(text), &us, &st));
    return us;
}

static int64_t tz(const char *text)
{
    struct tl_status st = TL_STATUS_INIT;
    int64_t us = 0;
    assert_ok(&st, tl_parse_timestamptz(tl_slice_str(text), tl_zone_utc(), &us, &st));
    return us;
}

static struct tl_interval iv(const char *text)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_interval v = {0};
    assert_ok(&st, tl_parse_interval(tl_slice_str(text), &v, &st));
    return v;
}

static void assert_ts(int64_t us, const char *expected)
{
    char buf[TL_TIME_TEXT_MAX];
    assert_int_equal(tl_print_timestamp(us, buf), strlen(expected));
    assert_string_equal(buf, expected);
}

static void calendar(void **state)
{
    (void)state;
    assert_int_equal(tl_days_from_civil(1970, 1, 1), 0);
    assert_int_equal(tl_days_from_civil(2000, 3, 1), 11017);
    assert_int_equal(tl_days_from_civil(1582, 10, 15), -141427);
    assert_int_equal(tl_days_from_civil(0, 3, 1), -719468);
    assert_int_equal(tl_days_from_civil(-4713, 11, 24), TL_DATE_MIN);
    assert_int_equal(tl_days_from_civil(294246, 12, 31), TL_DATE_MAX);
    /* Day by day over 3,200 years, against a walk. */
    int32_t year = -400;
    unsigned month = 1, day = 1;
    for (int64_t d = tl_days_from_civil(-400, 1, 1); year < 2800; d++) {
        struct tl_civil c = tl_civil_from_days(d);
        if (c.year != year || c.month != month || c.day != day)
            fail_msg("day %lld: %d-%u-%u", (long long)d, c.year, c.month, c.day);
        if (++day > tl_days_in_month(year, month)) {
            day = 1;
            if (++month > 12) {
                month = 1;
                year++;
            }
        }
    }
    static const int64_t any[] = {
        INT64_MIN,           INT64_MIN + 1,       -1,          0, 1, INT64_MAX - 1, INT64_MAX,
        TL_TIMESTAMP_MIN_US, TL_TIMESTAMP_MAX_US, -86400000001};
    for (size_t i = 0; i < COUNT(any); i++) {
        struct tl_civil c = tl_civil_from_us(any[i]);
        int64_t back = tl_us_from_civil(&c);
        assert_true(back == any[i] || any[i] < INT64_MIN + TL_US_PER_DAY);
        (void)tl_floor_to(any[i], TL_US_PER_DAY);
    }
    assert_true(tl_floor_to(-1, 10) == -10 && tl_floor_to(-10, 10) == -10 &&
                tl_floor_to(9, 10) == 0);
    assert_true(tl_floor_to(INT64_MIN + 1, 10) == INT64_MIN);
    assert_true(tl_floor_div(-1, 10) == -1 && tl_floor_div(-10, 10) == -1);
}

static void timestamps_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *expected;
    } good[] = {
        {"2024-02-29 12:34:56.789", "2024-02-29 12:34:56.789"},
        {"2024-02-29T12:34:56Z", "2024-02-29 12:34:56"},
        {" 2024-2-9 ", "2024-02-09 00:00:00"},
        {"20240229 123456", "2024-02-29 12:34:56"},
        {"2024/02/29 1:02", "2024-02-29 01:02:00"},
        {"2024-02-29 23:59:60", "2024-03-01 00:00:00"},
        {"2024-02-29 24:00:00", "2024-03-01 00:00:00"},
        {"2024-02-29 12:00:00.1234567", "2024-02-29 12:00:00.123457"},
        {"2024-02-29 12:00:00.9999999", "2024-02-29 12:00:01"},
        {"2024-02-29 12:00:00+02", "2024-02-29 12:00:00"}, /* the zone is read and dropped */
        {"2024-02-29 12:00:00 Europe/Berlin", "2024-02-29 12:00:00"},
        {"2024-02-29 12:30 AM", "2024-02-29 00:30:00"},
        {"2024-02-29 12:30 pm", "2024-02-29 12:30:00"},
        {"2024-02-29 1:30 PM", "2024-02-29 13:30:00"},
        {"0044-03-15 BC", "0044-03-15 00:00:00 BC"},
        {"0001-01-01 00:00:00 BC", "0001-01-01 00:00:00 BC"},
        {"4714-11-24 00:00:00 BC", "4714-11-24 00:00:00 BC"},
        {"12024-01-01", "12024-01-01 00:00:00"},
        {"294246-12-31 23:59:59.999999", "294246-12-31 23:59:59.999999"},
        {"1969-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"},
        {"epoch", "1970-01-01 00:00:00"},
    };
    for (size_t i = 0; i < COUNT(good); i++)
        assert_ts(ts(good[i].text), good[i].expected);

    static const struct {
        const char *text;
        const char *sqlstate;
    } bad[] = {
        {"", "22007"},
        {"abc", "22007"},
        {"2024", "22007"},
        {"2024-01", "22007"},
        {"24-01-01", "22007"},
        {"2024-01-01x", "22007"},
        {"2024-01-01 12", "22007"},
        {"2024-01-01 12:", "22007"},
        {"2024-01-01T", "22007"},
        {"2024-01-01 12:00:00 +02 +03", "22007"},
        {"2024-01-01 12:00:00+", "22007"},
        {"2024-01-01 12:00 Nowhere/City", "22023"},
        {"2024-01-01 12:00+16", "22009"},
        {"2024-02-30", "22008"},
        {"2023-02-29", "22008"},
        {"2024-13-01", "22008"},
        {"2024-00-01", "22008"},
        {"2024-01-00", "22008"},
        {"0000-01-01", "22008"},
        {"2024-01-01 25:00", "22008"},
        {"2024-01-01 24:00:01", "22008"},
        {"2024-01-01 12:60", "22008"},
        {"2024-01-01 12:00:61", "22008"},
        {"2024-01-01 13:00 PM", "22008"},
        {"294247-01-01", "22008"},
        {"999999-01-01", "22008"},
        {"4714-11-23 BC", "22008"},
        {"294246-12-31 24:00:00", "22008"},
        {"infinity", "0A000"},
        {"-Infinity", "0A000"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct tl_status st = TL_STATUS_INIT;
        int64_t us = 77;
        assert_int_not_equal(tl_parse_timestamp(tl_slice_str(bad[i].text), &us, &st), TL_OK);
        if (strcmp(tl_status_sqlstate(&st), bad[i].sqlstate) != 0)
            fail_msg("%s: %s", bad[i].text, tl_status_sqlstate(&st));
        assert_int_equal(us, 77);
    }
    /* Every cut of a long good text is read or refused, never read past its end. */
    const char *longest =
        "294246-12-31 23:59:59.99999999999999999999 America/Argentina/La_Rioja BC";
    for (size_t size = 0; size <= strlen(longest); size++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_interval v;
        int64_t us;
        char *copy = test_malloc(size + 1);
        memcpy(copy, longest, size);
        enum tl_code rc = tl_parse_timestamp(tl_slice_of(copy, size), &us, &st);
        rc = tl_parse_interval(tl_slice_of(copy, size), &v, &st);
        (void)rc;
        test_free(copy);
    }
}

static void dates(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    char buf[TL_TIME_TEXT_MAX];
    int32_t days;
    assert_ok(&st, tl_parse_date(tl_slice_str("2024-02-29"), &days, &st));
    assert_int_equal(days, 19782);
    assert_int_equal(tl_print_date(days, buf), 10);
    assert_string_equal(buf, "2024-02-29");
    assert_ok(&st, tl_parse_date(tl_slice_str("2024-02-29 23:59:59+14"), &days, &st));
    assert_int_equal(days, 19782);
    tl_print_date(tl_days_from_civil(-43, 3, 15) > 0 ? 0 : (int32_t)tl_days_from_civil(-43, 3, 15),
                  buf);
    assert_string_equal(buf, "0044-03-15 BC");
    tl_print_date(TL_DATE_MAX, buf);
    assert_string_equal(buf, "294246-12-31");
    assert_int_equal(tl_parse_date(tl_slice_str("2024-02-30"), &days, &st), TL_INVALID);
    assert_string_equal(tl_status_sqlstate(&st), "22008");
}

static void instants(void **state)
{
    (void)state;
    static const struct {
        const char *text, *zone, *expected;
    } cases[] = {
        {"2024-07-01 12:00", "Europe/Berlin", "2024-07-01 12:00:00+02"},
        {"2024-07-01 12:00Z", "Europe/Berlin", "2024-07-01 14:00:00+02"},
        {"2024-07-01 12:00+0545", "Asia/Kathmandu", "2024-07-01 12:00:00+05:45"},
        {"2024-07-01 12:00 America/New_York", "UTC", "2024-07-01 16:00:00+00"},
        {"2024-07-01 12:00 PST", "UTC", "2024-07-01 20:00:00+00"},
        {"2024-07-01 12:00-12:34:56", "UTC", "2024-07-02 00:34:56+00"},
        {"1890-01-01 00:00", "Europe/Berlin", "1890-01-01 00:00:00+00:53:28"},
        {"2024-03-31 02:30", "Europe/Berlin", "2024-03-31 03:30:00+02"}, /* a gap */
        {"2024-10-27 02:30", "Europe/Berlin", "2024-10-27 02:30:00+01"}, /* an overlap */
        {"2024-07-01 12:00", "America/St_Johns", "2024-07-01 12:00:00-02:30"},
        {"0044-03-15 12:00 BC", "UTC", "0044-03-15 12:00:00+00 BC"},
        {"2300-07-01 12:00", "Europe/Berlin", "2300-07-01 12:00:00+02"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tl_status st = TL_STATUS_INIT;
        int64_t us;
        const struct tl_zone *z = zone(cases[i].zone);
        assert_ok(&st, tl_parse_timestamptz(tl_slice_str(cases[i].text), z, &us, &st));
        struct tl_zone_span span = TL_ZONE_SPAN_NONE;
        char buf[TL_TIME_TEXT_MAX];
        assert_int_equal(tl_print_timestamptz(us, z, &span, buf), strlen(cases[i].expected));
        assert_string_equal(buf, cases[i].expected);
    }
    assert_true(tz("1970-01-01 01:00+01") == 0);
}

static void intervals_read_and_print(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } good[] = {
        {"1 day 02:03:04", "1 day 02:03:04"},
        {"15 minutes", "00:15:00"},
        {"1 mon", "1 mon"},
        {"P1DT2H", "1 day 02:00:00"},
        {"P1Y2M3W4DT5H6M7.5S", "1 year 2 mons 25 days 05:06:07.5"},
        {"P-1Y", "-1 years"},
        {"1 year -2 mons +3 days -04:05:06.7", "10 mons 3 days -04:05:06.7"},
        {"-1 year -2 mons +3 days 4h", "-1 years -2 mons +3 days 04:00:00"},
        {"-1 day +02:03", "-1 days +02:03:00"},
        {"1.5 months", "1 mon 15 days"},
        {"1.5 days", "1 day 12:00:00"},
        {"0.5 year", "6 mons"},
        {"1.25 weeks", "8 days 18:00:00"},
        {"2 weeks", "14 days"},
        {"1 millennium 1 century 1 decade", "1110 years"},
        {"1 day ago", "-1 days"},
        {"@ 1 hour", "01:00:00"},
        {"1day2h", "1 day 02:00:00"},
        {"100:00", "100:00:00"},
        {"1:30.5", "00:01:30.5"},
        {"3 04:05:06", "3 days 04:05:06"},
        {"1-2", "1 year 2 mons"},
        {"-1-2", "-1 years -2 mons"},
        {"5", "00:00:05"},
        {"1.234567891", "00:00:01.234568"},
        {"1 ms 2 us", "00:00:00.001002"},
        {"0", "00:00:00"},
        {"-0.000001 s", "-00:00:00.000001"},
        {"9223372036854775807 us", "2562047788:00:54.775807"},
        {"178956970 years 7 mons", "178956970 years 7 mons"},
        {"2147483647 days", "2147483647 days"},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        char buf[TL_INTERVAL_TEXT_MAX];
        struct tl_interval v = iv(good[i].text);
        size_t size = tl_print_interval(v, buf);
        if (strcmp(buf, good[i].expected) != 0 || size != strlen(buf))
            fail_msg("%s: %s", good[i].text, buf);
        struct tl_interval back = iv(buf);
        assert_memory_equal(&back, &v, sizeof(v));
    }
    struct tl_interval least = {INT64_MIN, INT32_MIN, INT32_MIN};
    char buf[TL_INTERVAL_TEXT_MAX];
    tl_print_interval(least, buf);
    assert_string_equal(buf, "-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808");
    static const char *bad[] = {"",         "abc",        "1 foo", "1 day 2 days",
                                "1 2 3",    "1.5.5 days", "1e3",   "--1",
                                "P",        "P1",         "P1H",   "PT1D",
                                "1:60",     "1:2:",       "ago",   "1 day ago 2",
                                "infinity", "1 quarter",  "1 dow", "1-13",
                                "@",        "+",          ".",     "1:30:00.5.5"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_interval v = {1, 2, 3};
        if (tl_parse_interval(tl_slice_str(bad[i]), &v, &st) != TL_INVALID)
            fail_msg("%s was read", bad[i]);
        assert_string_equal(tl_status_sqlstate(&st), "22007");
        assert_int_equal(v.months, 3);
    }
    static const char *range[] = {"2147483648 days", "178956971 years", "9223372036854775808 us",
                                  "99999999999999999999 s", "100000000000 hours"};
    for (size_t i = 0; i < COUNT(range); i++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_interval v;
        assert_int_equal(tl_parse_interval(tl_slice_str(range[i]), &v, &st), TL_INVALID);
        assert_true(strcmp(tl_status_sqlstate(&st), "22015") == 0 ||
                    strcmp(tl_status_sqlstate(&st), "22008") == 0);
    }
}

static void arithmetic(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    int64_t us;
    static const struct {
        const char *from, *interval, *expected;
    } plain[] = {
        {"2024-01-31", "1 month", "2024-02-29 00:00:00"},
        {"2023-01-31", "1 month", "2023-02-28 00:00:00"},
        {"2024-03-31 12:00", "-1 month", "2024-02-29 12:00:00"},
        {"2024-02-29", "1 year", "2025-02-28 00:00:00"},
        {"2024-01-31", "1 month 1 day 01:00", "2024-03-01 01:00:00"},
        {"2024-01-01", "-13 months", "2022-12-01 00:00:00"},
        {"0001-01-01", "-1 day", "0001-12-31 00:00:00 BC"},
    };
    for (size_t i = 0; i < COUNT(plain); i++) {
        assert_ok(&st, tl_timestamp_add(ts(plain[i].from), iv(plain[i].interval), &us, &st));
        assert_ts(us, plain[i].expected);
    }
    us = 77;
    assert_code(&st, TL_INVALID, tl_timestamp_add(TL_TIMESTAMP_MAX_US, iv("1 us"), &us, &st));
    assert_code(&st, TL_INVALID, tl_timestamp_add(TL_TIMESTAMP_MIN_US, iv("-1 month"), &us, &st));
    assert_code(&st, TL_INVALID, tl_timestamp_add(0, iv("2147483647 days"), &us, &st));
    assert_code(&st, TL_INVALID, tl_timestamp_add(0, iv("178956970 years"), &us, &st));
    assert_int_equal(us, 77);

    /* Over the change of the clocks: a day is a day of the calendar, 24 hours are not. */
    const struct tl_zone *berlin = zone("Europe/Berlin");
    assert_ok(&st, tl_timestamptz_add(tz("2024-03-30 11:00Z"), iv("1 day"), berlin, &us, &st));
    assert_true(us == tz("2024-03-31 10:00Z"));
    assert_ok(&st, tl_timestamptz_add(tz("2024-03-30 11:00Z"), iv("24 hours"), berlin, &us, &st));
    assert_true(us == tz("2024-03-31 11:00Z"));
    assert_ok(&st, tl_timestamptz_add(tz("2024-01-31 11:00Z"), iv("6 months"), berlin, &us, &st));
    assert_true(us == tz("2024-07-31 10:00Z"));
    assert_code(&st, TL_INVALID,
                tl_timestamptz_add(TL_TIMESTAMP_MAX_US, iv("1 day"), berlin, &us, &st));

    struct tl_interval v;
    char buf[TL_INTERVAL_TEXT_MAX];
    assert_ok(&st, tl_timestamp_diff(ts("2024-03-01 01:00"), ts("2024-02-01 02:00"), &v, &st));
    tl_print_interval(v, buf);
    assert_string_equal(buf, "28 days 23:00:00");
    assert_ok(&st, tl_timestamp_diff(ts("2024-02-01 02:00"), ts("2024-03-01 01:00"), &v, &st));
    tl_print_interval(v, buf);
    assert_string_equal(buf, "-28 days -23:00:00");

    assert_ok(&st, tl_interval_multiply(iv("1 mon 1 day 10:00"), 1.5, &v, &st));
    tl_print_interval(v, buf);
    assert_string_equal(buf, "1 mon 16 days 27:00:00");
    assert_ok(&st, tl_interval_divide(iv("1 day"), 7, &v, &st));
    tl_print_interval(v, buf);
    assert_string_equal(buf, "03:25:42.857143");
    assert_code(&st, TL_INVALID, tl_interval_divide(iv("1 day"), 0, &v, &st));
    assert_code(&st, TL_INVALID, tl_interval_multiply(iv("1 day"), 1e30, &v, &st));
    assert_code(&st, TL_INVALID, tl_interval_multiply(iv("1 hour"), 0.0 / 0.0 * 1, &v, &st));
    assert_code(&st, TL_INVALID, tl_interval_add(iv("2147483647 days"), iv("1 day"), &v, &st));
    assert_code(&st, TL_INVALID,
                tl_interval_negate((struct tl_interval){INT64_MIN, 0, 0}, &v, &st));
    assert_ok(&st, tl_interval_negate(iv("1 mon -1 day"), &v, &st));
    assert_true(v.months == -1 && v.days == 1);
    assert_true(tl_interval_cmp(iv("1 mon"), iv("30 days")) == 0);
    assert_true(tl_interval_cmp(iv("1 day"), iv("24:00:01")) < 0);
    assert_true(tl_interval_cmp(iv("178956970 years"), iv("-178956970 years")) > 0);
}

static void fields(void **state)
{
    (void)state;
    static const struct {
        const char *field, *at, *expected;
    } cases[] = {
        {"microseconds", "2024-02-29 12:34:56.789012", "56789012"},
        {"milliseconds", "2024-02-29 12:34:56.789012", "56789.012"},
        {"second", "2024-02-29 12:34:56.789012", "56.789012"},
        {"minute", "2024-02-29 12:34:56.789012", "34"},
        {"hour", "2024-02-29 12:34:56.789012", "12"},
        {"day", "2024-02-29", "29"},
        {"month", "2024-02-29", "2"},
        {"quarter", "2024-02-29", "1"},
        {"year", "2024-02-29", "2024"},
        {"year", "0044-03-15 BC", "-44"},
        {"decade", "2024-02-29", "202"},
        {"decade", "0044-03-15 BC", "-5"},
        {"century", "2000-12-31", "20"},
        {"century", "2001-01-01", "21"},
        {"century", "0001-12-31 BC", "-1"},
        {"millennium", "2000-12-31", "2"},
        {"millennium", "2001-01-01", "3"},
        {"dow", "2024-03-03", "0"},
        {"isodow", "2024-03-03", "7"},
        {"doy", "2024-12-31", "366"},
        {"week", "2021-01-03", "53"},
        {"isoyear", "2021-01-03", "2020"},
        {"week", "2024-12-30", "1"},
        {"isoyear", "2024-12-30", "2025"},
        {"epoch", "1969-12-31 23:59:59.5", "-0.500000"},
        {"second", "1969-12-31 23:59:59.5", "59.500000"},
    };
    struct tl_status st = TL_STATUS_INIT;
    for (size_t i = 0; i < COUNT(cases); i++) {
        enum tl_field f;
        char buf[TL_DECIMAL_TEXT_MAX];
        assert_ok(&st, tl_field_parse(tl_slice_str(cases[i].field), TL_TIMESTAMP,
                                      TL_FIELD_FOR_EXTRACT, &f, &st));
        tl_print_decimal(tl_extract_timestamp(f, ts(cases[i].at)),
                         tl_extract_scale(f, TL_TIMESTAMP), buf);
        if (strcmp(buf, cases[i].expected) != 0)
            fail_msg("%s of %s: %s", cases[i].field, cases[i].at, buf);
    }
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    const struct tl_zone *z = zone("America/St_Johns");
    int64_t us = tz("2024-07-01 00:00Z");
    assert_int_equal(tl_extract_timestamptz(TL_FIELD_TIMEZONE, us, z, &span), -9000);
    assert_int_equal(tl_extract_timestamptz(TL_FIELD_TIMEZONE_HOUR, us, z, &span), -2);
    assert_int_equal(tl_extract_timestamptz(TL_FIELD_TIMEZONE_MINUTE, us, z, &span), -30);
    assert_int_equal(tl_extract_timestamptz(TL_FIELD_DAY, us, z, &span), 30);
    assert_int_equal(tl_extract_timestamptz(TL_FIELD_HOUR, us, z, &span), 21);
    assert_true(tl_extract_timestamptz(TL_FIELD_EPOCH, us, z, &span) == us);
    assert_int_equal(tl_extract_date(TL_FIELD_EPOCH, 1), 86400);
    assert_int_equal(tl_extract_date(TL_FIELD_ISODOW, 0), 4);

    struct tl_interval v = iv("-1 year -2 mons 3 days -04:05:06.7");
    assert_true(tl_extract_interval(TL_FIELD_YEAR, v) == -1);
    assert_true(tl_extract_interval(TL_FIELD_MONTH, v) == -2);
    assert_true(tl_extract_interval(TL_FIELD_HOUR, v) == -4);
    assert_true(tl_extract_interval(TL_FIELD_SECOND, v) == -6700000);
    assert_true(tl_extract_interval(TL_FIELD_EPOCH, v) == -36497106700000LL);

    enum tl_field f;
    assert_code(
        &st, TL_INVALID,
        tl_field_parse(tl_slice_str("fortnight"), TL_TIMESTAMP, TL_FIELD_FOR_TRUNC, &f, &st));
    assert_code(&st, TL_UNSUPPORTED,
                tl_field_parse(tl_slice_str("epoch"), TL_TIMESTAMP, TL_FIELD_FOR_TRUNC, &f, &st));
    assert_code(
        &st, TL_UNSUPPORTED,
        tl_field_parse(tl_slice_str("timezone"), TL_TIMESTAMP, TL_FIELD_FOR_EXTRACT, &f, &st));
    assert_code(&st, TL_UNSUPPORTED,
                tl_field_parse(tl_slice_str("hour"), TL_DATE, TL_FIELD_FOR_EXTRACT, &f, &st));
    assert_code(&st, TL_UNSUPPORTED,
                tl_field_parse(tl_slice_str("week"), TL_INTERVAL, TL_FIELD_FOR_TRUNC, &f, &st));
    assert_ok(&st, tl_field_parse(tl_slice_str("MONS"), TL_TIMESTAMP, TL_FIELD_FOR_TRUNC, &f, &st));
    assert_int_equal(f, TL_FIELD_MONTH);
    for (int i = 0; i < TL_FIELD_COUNT; i++)
        assert_non_null(tl_field_name((enum tl_field)i));
}

static void truncation(void **state)
{
    (void)state;
    static const struct {
        enum tl_field f;
        const char *at, *expected;
    } plain[] = {
        {TL_FIELD_MICROSECONDS, "2024-08-15 12:34:56.789012", "2024-08-15 12:34:56.789012"},
        {TL_FIELD_MILLISECONDS, "2024-08-15 12:34:56.789012", "2024-08-15 12:34:56.789"},
        {TL_FIELD_SECOND, "2024-08-15 12:34:56.789012", "2024-08-15 12:34:56"},
        {TL_FIELD_MINUTE, "2024-08-15 12:34:56.789012", "2024-08-15 12:34:00"},
        {TL_FIELD_HOUR, "1969-08-15 12:34:56.789012", "1969-08-15 12:00:00"},
        {TL_FIELD_DAY, "1969-08-15 12:34:56.789012", "1969-08-15 00:00:00"},
        {TL_FIELD_WEEK, "2024-08-15 12:34:56", "2024-08-12 00:00:00"},
        {TL_FIELD_WEEK, "2024-01-01 00:00:00", "2024-01-01 00:00:00"},
        {TL_FIELD_MONTH, "2024-08-15 12:34:56", "2024-08-01 00:00:00"},
        {TL_FIELD_QUARTER, "2024-08-15 12:34:56", "2024-07-01 00:00:00"},
        {TL_FIELD_YEAR, "2024-08-15 12:34:56", "2024-01-01 00:00:00"},
        {TL_FIELD_DECADE, "2024-08-15 12:34:56", "2020-01-01 00:00:00"},
        {TL_FIELD_CENTURY, "2000-08-15 12:34:56", "1901-01-01 00:00:00"},
        {TL_FIELD_MILLENNIUM, "2024-08-15 12:34:56", "2001-01-01 00:00:00"},
        {TL_FIELD_CENTURY, "0055-08-10 BC", "0100-01-01 00:00:00 BC"},
        {TL_FIELD_DECADE, "0002-12-31 BC", "0011-01-01 00:00:00 BC"},
        {TL_FIELD_DECADE, "0004-12-25", "0001-01-01 00:00:00 BC"},
    };
    for (size_t i = 0; i < COUNT(plain); i++)
        assert_ts(tl_date_trunc(plain[i].f, ts(plain[i].at)), plain[i].expected);

    static const struct {
        enum tl_field f;
        const char *zone, *at, *expected;
    } zoned[] = {
        {TL_FIELD_DAY, "Europe/Berlin", "2024-07-01 23:30Z", "2024-07-01 22:00Z"},
        {TL_FIELD_DAY, "Europe/Berlin", "2024-03-31 12:00Z", "2024-03-30 23:00Z"},
        {TL_FIELD_WEEK, "Europe/Berlin", "2024-04-03 12:00Z", "2024-03-31 22:00Z"},
        {TL_FIELD_MONTH, "America/New_York", "2024-11-20 12:00Z", "2024-11-01 04:00Z"},
        {TL_FIELD_HOUR, "Asia/Kathmandu", "2024-07-01 12:00Z", "2024-07-01 11:15Z"},
        {TL_FIELD_HOUR, "Australia/Lord_Howe", "2024-04-06 15:20Z", "2024-04-06 14:30Z"},
        {TL_FIELD_DAY, "America/Sao_Paulo", "2018-11-04 12:00Z", "2018-11-04 03:00Z"},
        {TL_FIELD_YEAR, "Pacific/Apia", "2011-06-01 00:00Z", "2011-01-01 10:00Z"},
    };
    for (size_t i = 0; i < COUNT(zoned); i++)
        assert_true(tl_date_trunc_zone(zoned[i].f, tz(zoned[i].at), zone(zoned[i].zone)) ==
                    tz(zoned[i].expected));

    assert_true(tl_interval_cmp(tl_interval_trunc(TL_FIELD_YEAR, iv("3 years 5 mons")),
                                iv("3 years")) == 0);
    assert_true(tl_interval_trunc(TL_FIELD_HOUR, iv("1 day -02:30")).us == -2 * TL_US_PER_HOUR);
}

/* Rows in runs give what they give one by one: sorted, scattered, and absurd ones. */
static void runs_equal_single_rows(void **state)
{
    (void)state;
    static const char *names[] = {
        NULL,           "UTC",    "Europe/Berlin",    "Australia/Lord_Howe",
        "Pacific/Apia", "-05:30", "Africa/Casablanca"};
    static const char *widths[] = {"15 minutes", "1 day",   "7 days",   "1 month",
                                   "1 year",     "5 hours", "3 months", "1 us"};
    static const char *offsets[] = {NULL, "02:30", "-1 day", "1 mon 3 days"};
    enum { ROWS = 600 };
    static int64_t in[ROWS], out[ROWS];
    struct tl_random r;
    tl_random_init(&r, 17);
    struct tl_status st = TL_STATUS_INIT;
    for (int round = 0; round < 6; round++) {
        int64_t at = tl_random_between(&r, TL_TIMESTAMP_MIN_US / 100, TL_TIMESTAMP_MAX_US / 1000);
        for (int i = 0; i < ROWS; i++) {
            if (round < 3)
                at += (int64_t)tl_random_below(&r, (uint64_t)TL_US_PER_DAY << (2 * round));
            else if (round < 5)
                at = tl_random_between(&r, TL_TIMESTAMP_MIN_US, TL_TIMESTAMP_MAX_US / 100);
            else
                at = (int64_t)tl_random_u64(&r) | (i % 7 == 0 ? INT64_MIN : 0);
            in[i] = i == 0 && round == 5 ? INT64_MIN : i == 1 && round == 5 ? INT64_MAX : at;
        }
        for (size_t k = 0; k < COUNT(names); k++) {
            const struct tl_zone *z = names[k] ? zone(names[k]) : NULL;
            for (int f = 0; f <= TL_FIELD_MILLENNIUM; f++) {
                memcpy(out, in, sizeof(in));
                tl_date_trunc_many((enum tl_field)f, z, out, out, ROWS); /* in place */
                for (int i = 0; i < ROWS; i++) {
                    int64_t one = z ? tl_date_trunc_zone((enum tl_field)f, in[i], z)
                                    : tl_date_trunc((enum tl_field)f, in[i]);
                    if (out[i] != one)
                        fail_msg("%s %s of %lld: %lld, alone %lld", names[k] ? names[k] : "-",
                                 tl_field_name((enum tl_field)f), (long long)in[i],
                                 (long long)out[i], (long long)one);
                }
            }
            for (size_t w = 0; w < COUNT(widths); w++) {
                for (size_t o = 0; o < COUNT(offsets); o++) {
                    struct tl_bucket b;
                    assert_ok(&st, tl_bucket_init(&b, iv(widths[w]), &st));
                    b.zone = z;
                    if (offsets[o])
                        b.offset = iv(offsets[o]);
                    tl_bucket_many(&b, in, out, ROWS);
                    for (int i = 0; i < ROWS; i++)
                        assert_true(out[i] == tl_bucket_start(&b, in[i]));
                }
            }
        }
    }
}

static int64_t bucket(const char *width, int64_t us)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_bucket b;
    assert_ok(&st, tl_bucket_init(&b, iv(width), &st));
    return tl_bucket_start(&b, us);
}

static void buckets(void **state)
{
    (void)state;
    /* The origin is Monday 2000-01-03, so that weeks begin on Mondays. */
    assert_ts(bucket("15 minutes", ts("2024-08-15 12:34:56")), "2024-08-15 12:30:00");
    assert_ts(bucket("7 days", ts("2024-08-15 12:34:56")), "2024-08-12 00:00:00");
    assert_ts(bucket("1 week", ts("1999-12-31")), "1999-12-27 00:00:00");
    assert_ts(bucket("5 days", ts("2000-01-02 23:59:59")), "1999-12-29 00:00:00");
    assert_ts(bucket("5 days", ts("2000-01-03")), "2000-01-03 00:00:00");
    assert_ts(bucket("1 month", ts("2024-08-15 12:34:56")), "2024-08-01 00:00:00");
    assert_ts(bucket("5 months", ts("2000-05-31")), "2000-01-01 00:00:00");
    assert_ts(bucket("5 months", ts("2000-06-01")), "2000-06-01 00:00:00");
    assert_ts(bucket("1 year", ts("1999-08-15")), "1999-01-01 00:00:00");

    struct tl_status st = TL_STATUS_INIT;
    struct tl_bucket b;
    assert_ok(&st, tl_bucket_init(&b, iv("1 week"), &st));
    tl_bucket_set_origin(&b, ts("2024-01-07")); /* weeks from Sunday */
    assert_ts(tl_bucket_start(&b, ts("2024-08-15 12:34:56")), "2024-08-11 00:00:00");
    assert_ts(tl_bucket_start(&b, ts("2023-12-31")), "2023-12-31 00:00:00");

    assert_ok(&st, tl_bucket_init(&b, iv("1 day"), &st));
    b.offset = iv("6 hours");
    assert_ts(tl_bucket_start(&b, ts("2024-08-15 05:00")), "2024-08-14 06:00:00");
    assert_ts(tl_bucket_start(&b, ts("2024-08-15 06:00")), "2024-08-15 06:00:00");

    assert_ok(&st, tl_bucket_init(&b, iv("1 day"), &st));
    b.zone = zone("Europe/Berlin");
    assert_true(tl_bucket_start(&b, tz("2024-07-01 23:30Z")) == tz("2024-07-01 22:00Z"));
    assert_true(tl_bucket_start(&b, tz("2024-12-01 23:30Z")) == tz("2024-12-01 23:00Z"));
    tl_bucket_set_origin(&b, tz("2024-01-01 05:00Z")); /* 06:00 in Berlin */
    assert_true(tl_bucket_start(&b, tz("2024-07-01 03:30Z")) == tz("2024-06-30 04:00Z"));
    assert_ok(&st, tl_bucket_init(&b, iv("1 month"), &st));
    b.zone = zone("America/New_York");
    assert_true(tl_bucket_start(&b, tz("2024-11-20 12:00Z")) == tz("2024-11-01 04:00Z"));

    assert_code(&st, TL_INVALID, tl_bucket_init(&b, iv("0"), &st));
    assert_code(&st, TL_INVALID, tl_bucket_init(&b, iv("-1 day"), &st));
    assert_code(&st, TL_INVALID, tl_bucket_init(&b, iv("-1 month"), &st));
    assert_code(&st, TL_INVALID, tl_bucket_init(&b, iv("1 month 1 day"), &st));
    assert_ok(&st, tl_bucket_init(&b, iv("1 day -01:00"), &st));
    assert_true(b.width_us == 23 * TL_US_PER_HOUR);
}

static void random_round_trips(void **state)
{
    (void)state;
    struct tl_random r;
    tl_random_init(&r, 23);
    struct tl_status st = TL_STATUS_INIT;
    const struct tl_zone *z = zone("America/St_Johns");
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    for (int i = 0; i < 100000; i++) {
        char buf[TL_INTERVAL_TEXT_MAX];
        int64_t us = tl_random_between(&r, TL_TIMESTAMP_MIN_US + TL_US_PER_DAY,
                                       TL_TIMESTAMP_MAX_US - TL_US_PER_DAY);
        if (i % 2)
            us /= 1000;
        tl_print_timestamp(us, buf);
        assert_true(ts(buf) == us);
        size_t size = tl_print_timestamptz(us, z, &span, buf);
        int64_t back = 0;
        assert_ok(&st, tl_parse_timestamptz(tl_slice_of(buf, size), z, &back, &st));
        assert_true(back == us);
        struct tl_interval v = {(int64_t)tl_random_u64(&r), (int32_t)tl_random_u64(&r),
                                (int32_t)tl_random_u64(&r)};
        tl_print_interval(v, buf);
        struct tl_interval w = iv(buf);
        assert_memory_equal(&v, &w, sizeof(v));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar),
        cmocka_unit_test(timestamps_read),
        cmocka_unit_test(dates),
        cmocka_unit_test(instants),
        cmocka_unit_test(intervals_read_and_print),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(fields),
        cmocka_unit_test(truncation),
        cmocka_unit_test(runs_equal_single_rows),
        cmocka_unit_test(buckets),
        cmocka_unit_test(random_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
