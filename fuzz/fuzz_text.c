/*
 * fuzz/fuzz_text.c: any bytes through every parser of base/text.h and base/time.h. What is read
 * must print, and the print must read back as the same value.
 */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "base/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tl_status st;

static bool ok(enum tl_code rc)
{
    bool is_ok = rc == TL_OK;
    tl_assert(is_ok == (st.code == TL_OK) && (is_ok || strlen(tl_status_sqlstate(&st)) == 5));
    tl_status_clear(&st);
    return is_ok;
}

static void numbers(struct tl_slice s)
{
    char buf[TL_INTERVAL_TEXT_MAX];
    int64_t i, i2;
    if (ok(tl_parse_int64(s, &i, &st))) {
        tl_print_int64(i, buf);
        tl_assert(ok(tl_parse_int64(tl_slice_str(buf), &i2, &st)) && i == i2);
    }
    double d, d2;
    if (ok(tl_parse_double(s, &d, &st))) {
        tl_print_double(d, buf);
        tl_assert(ok(tl_parse_double(tl_slice_str(buf), &d2, &st)));
        tl_assert(d == d2 || (isnan(d) && isnan(d2)));
    }
    tl_i128 v, v2;
    unsigned scale;
    if (ok(tl_parse_decimal_literal(s, &v, &scale, &st))) {
        tl_print_decimal(v, scale, buf);
        tl_assert(ok(tl_parse_decimal128(tl_slice_str(buf), scale, &v2, &st)) && v == v2);
    }
    for (scale = 0; scale <= TL_DECIMAL64_DIGITS; scale += 9)
        (void)ok(tl_parse_decimal64(s, scale, &i, &st));
    bool b;
    (void)ok(tl_parse_bool(s, &b, &st));
}

static void times(struct tl_slice s)
{
    char buf[TL_INTERVAL_TEXT_MAX];
    int64_t us, back;
    int32_t days, days2;
    if (ok(tl_parse_date(s, &days, &st))) {
        tl_print_date(days, buf);
        tl_assert(ok(tl_parse_date(tl_slice_str(buf), &days2, &st)) && days == days2);
    }
    if (ok(tl_parse_timestamp(s, &us, &st))) {
        tl_print_timestamp(us, buf);
        tl_assert(ok(tl_parse_timestamp(tl_slice_str(buf), &back, &st)) && us == back);
    }
    const struct tl_zone *zone;
    tl_assert(tl_zone_get(tl_slice_str("Europe/Berlin"), &zone, &st) == TL_OK);
    if (ok(tl_parse_timestamptz(s, zone, &us, &st))) {
        struct tl_zone_span span = TL_ZONE_SPAN_NONE;
        tl_print_timestamptz(us, tl_zone_utc(), &span, buf);
        tl_assert(ok(tl_parse_timestamptz(tl_slice_str(buf), zone, &back, &st)) && us == back);
    }
    struct tl_interval v, v2;
    if (ok(tl_parse_interval(s, &v, &st))) {
        tl_print_interval(v, buf);
        tl_assert(ok(tl_parse_interval(tl_slice_str(buf), &v2, &st)));
        tl_assert(v.us == v2.us && v.days == v2.days && v.months == v2.months);
        struct tl_bucket b;
        if (ok(tl_bucket_init(&b, v, &st)))
            (void)tl_bucket_start(&b, us = 1714557600000000);
    }
    (void)ok(tl_zone_get(s, &zone, &st));
    (void)ok(tl_zone_get_session(s, &zone, &st));
    enum tl_field f;
    (void)ok(tl_field_parse(s, TL_TIMESTAMPTZ, TL_FIELD_FOR_EXTRACT, &f, &st));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_slice s = tl_slice_of(data, size);
    numbers(s);
    times(s);
    struct tl_buffer repaired;
    tl_buffer_init(&repaired, "repaired", 3 * size + 1);
    uint64_t replaced = tl_utf8_repair(s, &repaired);
    tl_assert(!repaired.failed && tl_utf8_valid(tl_buffer_slice(&repaired), false));
    tl_assert((replaced == 0) == tl_utf8_valid(s, false));
    tl_buffer_deinit(&repaired);
    return 0;
}
