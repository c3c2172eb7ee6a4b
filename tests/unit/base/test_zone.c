/*
 * Promise: offsets, abbreviations and local times are those of the IANA data, before, within and
 * past the table; names mean what they mean to PostgreSQL; no name leads out of the directory.
 */
#include "base/zone.h"

#include <string.h>

#include "base/thread.h"
#include "base/time.h"
#include "tests/test.h"
#include "tests/unit/base/zone_vectors.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct tl_zone *zone(const char *name)
{
    struct tl_status st = TL_STATUS_INIT;
    const struct tl_zone *z = NULL;
    assert_ok(&st, tl_zone_get(tl_slice_str(name), &z, &st));
    return z;
}

static void instants_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(instants); i++) {
        const struct tl_zone *z = zone(instants[i].zone);
        const char *abbreviation;
        int64_t us = instants[i].utc_s * TL_US_PER_SECOND;
        if (tl_zone_offset_at(z, us, &abbreviation) != instants[i].offset_s ||
            strcmp(abbreviation, instants[i].abbreviation) != 0)
            fail_msg("%s at %lld: %d %s", instants[i].zone, (long long)instants[i].utc_s,
                     tl_zone_offset_at(z, us, NULL), abbreviation);
        struct tl_zone_span span;
        tl_zone_span_at(z, us, &span);
        assert_true(span.from_us <= us && us < span.until_us);
        assert_int_equal(span.offset_s, instants[i].offset_s);
        /* The last microsecond of the second belongs to it. */
        assert_int_equal(tl_zone_offset_at(z, us + 999999, NULL), instants[i].offset_s);
    }
}

static void locals_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(locals); i++) {
        const struct tl_zone *z = zone(locals[i].zone);
        int64_t utc = tl_zone_to_utc(z, locals[i].local_s * TL_US_PER_SECOND);
        if (utc != locals[i].utc_s * TL_US_PER_SECOND)
            fail_msg("%s local %lld: %lld", locals[i].zone, (long long)locals[i].local_s,
                     (long long)(utc / TL_US_PER_SECOND));
    }
}

/* Apia had no 2011-12-30: a whole day is a gap. */
static void a_day_that_was_not(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    int64_t us;
    const struct tl_zone *apia = zone("Pacific/Apia");
    assert_ok(&st, tl_parse_timestamptz(tl_slice_str("2011-12-30 12:00"), apia, &us, &st));
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    char buf[TL_TIME_TEXT_MAX];
    tl_print_timestamptz(us, apia, &span, buf);
    assert_string_equal(buf, "2011-12-31 12:00:00+14");
}

/* Spans fit each other without holes, forwards through the table and the rule. */
static void spans_are_seamless(void **state)
{
    (void)state;
    static const char *names[] = {"Europe/Berlin",     "America/New_York", "Australia/Lord_Howe",
                                  "Africa/Casablanca", "Asia/Kathmandu",   "UTC",
                                  "Antarctica/Troll"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct tl_zone *z = zone(names[i]);
        int64_t at = INT64_MIN, last_until = INT64_MIN;
        uint32_t spans = 0;
        while (at < 5000 * 366 * TL_US_PER_DAY) { /* beyond the year 6900 */
            struct tl_zone_span span;
            tl_zone_span_at(z, at, &span);
            assert_true(span.from_us == last_until);
            assert_true(span.until_us > span.from_us);
            last_until = span.until_us;
            if (span.until_us == INT64_MAX)
                break;
            struct tl_zone_span same;
            tl_zone_span_at(z, span.until_us - 1, &same);
            assert_true(same.from_us == span.from_us && same.until_us == span.until_us);
            at = span.until_us;
            spans++;
        }
        assert_true(spans < 20000);
        assert_true(i != 0 || spans > 9000);
    }
}

static void names(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    assert_ptr_equal(zone("europe/BERLIN"), zone("europe/BERLIN"));
    assert_string_equal(tl_zone_name(zone("europe/BERLIN")), "Europe/Berlin");
    assert_ptr_equal(zone("utc"), tl_zone_utc());
    assert_ptr_equal(zone("Z"), tl_zone_utc());

    static const struct {
        const char *name;
        int32_t offset_s;
    } fixed[] = {
        {"+02", -7200},        {"-05:30", 19800},  {"2", -7200},       {"UTC+3", -10800},
        {"GMT-5", 18000},      {"<+02>-02", 7200}, {"PST", -8 * 3600}, {"cest", 7200},
        {"Etc/GMT+5", -18000}, {"EST", -18000},    {"GMT", 0},         {"+0", 0},
        {"-15:59", 57540},
    };
    for (size_t i = 0; i < COUNT(fixed); i++) {
        int32_t offset_s = 1;
        assert_true(tl_zone_is_fixed(zone(fixed[i].name), &offset_s));
        assert_int_equal(offset_s, fixed[i].offset_s);
        assert_int_equal(tl_zone_offset_of_local(zone(fixed[i].name), 0), fixed[i].offset_s);
    }
    assert_string_equal(tl_zone_name(zone("-05:30")), "<+05:30>-05:30");

    static const char *bad[] = {
        "",
        "Nowhere/City",
        "/etc/localtime",
        "../zoneinfo/UTC",
        "Europe/../UTC",
        "Europe//Berlin",
        "Europe/",
        "Europe",
        ".",
        "zone.tab",
        "tzdata.zi",
        "+16",
        "+24",
        "-05:30:15",
        "a b",
        "Europe/Berlin\n",
        "+",
        "12345",
        "right/UTC/x",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    const struct tl_zone *z = NULL;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(tl_zone_get(tl_slice_str(bad[i]), &z, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22023");
        tl_status_clear(&st);
    }
    assert_code(&st, TL_INVALID, tl_zone_get(tl_slice_of("UTC\0x", 5), &z, &st));
    assert_null(z);

    /* SET timezone: bare numbers are hours east, and abbreviations are not known. */
    static const struct {
        const char *name;
        int32_t offset_s;
    } session[] = {{"2", 7200}, {"+02", 7200}, {"-5.5", -19800}, {"-05:30", 19800}, {"UTC", 0}};
    for (size_t i = 0; i < COUNT(session); i++) {
        int32_t offset_s = 1;
        assert_ok(&st, tl_zone_get_session(tl_slice_str(session[i].name), &z, &st));
        assert_true(tl_zone_is_fixed(z, &offset_s));
        assert_int_equal(offset_s, session[i].offset_s);
    }
    assert_code(&st, TL_INVALID, tl_zone_get_session(tl_slice_str("PST"), &z, &st));
    assert_code(&st, TL_INVALID, tl_zone_get_session(tl_slice_str("99"), &z, &st));
    assert_code(&st, TL_INVALID, tl_zone_get_session(tl_slice_str("1e30"), &z, &st));
    assert_code(&st, TL_INVALID, tl_zone_get_fixed(61, &z, &st));
    assert_code(&st, TL_INVALID, tl_zone_get_fixed(960 * 60, &z, &st));
}

static void quarter_hours_and_hashes(void **state)
{
    (void)state;
    int64_t y2000 = 10957 * TL_US_PER_DAY, y2200 = 84006 * TL_US_PER_DAY;
    assert_true(tl_zone_is_quarter_hours(zone("Europe/Berlin"), y2000, y2200));
    assert_true(tl_zone_is_quarter_hours(zone("Asia/Kathmandu"), y2000, y2200));
    assert_true(tl_zone_is_quarter_hours(zone("Australia/Lord_Howe"), y2000, y2200));
    assert_false(tl_zone_is_quarter_hours(zone("Africa/Monrovia"), 0, y2000));
    assert_false(tl_zone_is_quarter_hours(zone("+00:10"), y2000, y2200));
    assert_true(tl_zone_is_quarter_hours(zone("+00:10"), y2000, y2000));
    assert_true(tl_zone_content_hash(zone("Europe/Berlin")) !=
                tl_zone_content_hash(zone("Europe/Paris")));
    assert_true(tl_zone_content_hash(zone("+01")) != tl_zone_content_hash(zone("+02")));
    assert_true(tl_zone_content_hash(tl_zone_utc()) != 0);
}

static void ends_of_time(void **state)
{
    (void)state;
    static const char *names_[] = {"Europe/Berlin", "Pacific/Apia", "UTC", "+05"};
    for (size_t i = 0; i < COUNT(names_); i++) {
        const struct tl_zone *z = zone(names_[i]);
        static const int64_t ends[] = {INT64_MIN, INT64_MIN + 1,       INT64_MAX - 1,
                                       INT64_MAX, TL_TIMESTAMP_MIN_US, TL_TIMESTAMP_MAX_US};
        for (size_t k = 0; k < COUNT(ends); k++) {
            struct tl_zone_span span = TL_ZONE_SPAN_NONE;
            int64_t local = tl_zone_to_local(z, &span, ends[k]);
            (void)tl_zone_to_utc(z, local);
            (void)tl_zone_to_utc(z, ends[k]);
            tl_zone_span_at(z, ends[k], &span);
            assert_true(span.from_us <= ends[k]);
            assert_true(span.until_us > ends[k] || ends[k] == INT64_MAX);
        }
    }
}

static void load_many(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < COUNT(instants); i++) {
        struct tl_status st = TL_STATUS_INIT;
        const struct tl_zone *z;
        if (tl_zone_get(tl_slice_str(instants[i].zone), &z, &st) != TL_OK)
            return;
        (void)tl_zone_offset_at(z, 0, NULL);
        if (tl_zone_get_fixed((int32_t)(i % 900) * 60, &z, &st) != TL_OK)
            return;
    }
}

static void any_thread(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_thread threads[4];
    for (int i = 0; i < 4; i++)
        assert_ok(&st, tl_thread_start(&threads[i], "zones", load_many, NULL, &st));
    for (int i = 0; i < 4; i++)
        tl_thread_join(&threads[i]);
    assert_int_equal(st.code, TL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_thread),
        cmocka_unit_test(instants_match),
        cmocka_unit_test(locals_match),
        cmocka_unit_test(a_day_that_was_not),
        cmocka_unit_test(spans_are_seamless),
        cmocka_unit_test(names),
        cmocka_unit_test(quarter_hours_and_hashes),
        cmocka_unit_test(ends_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
