/*
 * Promise: a value of every type goes out in text and in binary and comes back as a parameter the
 * same; binary forms are PostgreSQL's, byte for byte; what is no value is refused with its SQLSTATE
 * and never read beyond its end.
 */
#include "base/arena.h"
#include "base/text.h"
#include "tests/test.h"
#include "wire/pg_message.h"
#include "wire/pg_types.h"

static struct tl_arena arena;
static struct tl_buffer out;

static int setup(void **state)
{
    (void)state;
    tl_arena_init(&arena, NULL, 4096);
    tl_buffer_init(&out, "a value", 1 << 16);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tl_arena_deinit(&arena);
    tl_buffer_deinit(&out);
    return 0;
}

static struct tl_slice put(const struct tl_vector *v, bool binary)
{
    struct tl_zone_span span = {0};
    out.size = 0;
    tl_pg_put_value(&out, v, 0, binary, tl_zone_utc(), &span);
    return tl_buffer_slice(&out);
}

/* From text into a value, out in `binary`, in again, and out as text: the same text. */
static void check_round_trip(struct tl_type type, const char *text, bool binary)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_vector v, back;
    struct tl_slice given = tl_slice_of(text, strlen(text));
    assert_ok(&st, tl_pg_param(given, false, 0, type, "UTC", &arena, &v, &st));
    struct tl_slice sent = put(&v, binary);
    uint8_t *copy = tl_arena_alloc(&arena, sent.size + 1, &st);
    assert_non_null(copy);
    memcpy(copy, sent.data, sent.size);
    assert_ok(
        &st, tl_pg_param(tl_slice_of(copy, sent.size), binary, 0, type, "UTC", &arena, &back, &st));
    struct tl_slice again = put(&back, false);
    if (again.size != given.size || memcmp(again.data, text, given.size) != 0)
        fail_msg("%s: came back as %.*s (%s)", text, (int)again.size, (const char *)again.data,
                 binary ? "binary" : "text");
    if (!binary)
        return;
    /* Every shorter one is refused, or is another value; none is read beyond its end. */
    for (size_t n = 0; n < sent.size; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        assert_non_null(cut);
        memcpy(cut, copy, n);
        if (tl_pg_param(tl_slice_of(cut, n), true, 0, type, "UTC", &arena, &back, &st))
            assert_int_equal(strlen(tl_status_sqlstate(&st)), 5);
        else
            assert_true(type.kind == TL_TEXT || n == 2 || n == 4); /* an int2, int4 or float4 */
        tl_status_clear(&st);
        free(cut);
    }
}

static void every_type_comes_back(void **state)
{
    (void)state;
    static const struct {
        struct tl_type type;
        const char *text;
    } values[] = {
        {{TL_BOOLEAN, 0}, "t"},
        {{TL_BOOLEAN, 0}, "f"},
        {{TL_BIGINT, 0}, "0"},
        {{TL_BIGINT, 0}, "-9223372036854775808"},
        {{TL_BIGINT, 0}, "9223372036854775807"},
        {{TL_DOUBLE, 0}, "1.5"},
        {{TL_DOUBLE, 0}, "-0"},
        {{TL_DOUBLE, 0}, "1e-320"},
        {{TL_DOUBLE, 0}, "Infinity"},
        {{TL_DOUBLE, 0}, "-Infinity"},
        {{TL_DOUBLE, 0}, "NaN"},
        {{TL_DATE, 0}, "1970-01-01"},
        {{TL_DATE, 0}, "2024-02-29"},
        {{TL_DATE, 0}, "0001-01-01"},
        {{TL_TIMESTAMP, 0}, "1999-12-31 23:59:59.999999"},
        {{TL_TIMESTAMP, 0}, "2000-01-01 00:00:00"},
        {{TL_TIMESTAMPTZ, 0}, "2024-06-30 12:00:00.5+00"},
        {{TL_INTERVAL, 0}, "1 year 2 mons -3 days +04:05:06.7"},
        {{TL_INTERVAL, 0}, "00:00:00"},
        {{TL_DECIMAL64, 4}, "0.0000"},
        {{TL_DECIMAL64, 4}, "-12345678901234.5678"},
        {{TL_DECIMAL64, 0}, "999999999999999999"},
        {{TL_DECIMAL64, 2}, "0.01"},
        {{TL_DECIMAL128, 3}, "-10000.001"},
        {{TL_DECIMAL128, 20}, "123456789012345678.00010000000000000000"},
        {{TL_TEXT, 0}, ""},
        {{TL_TEXT, 0}, "gr\xc3\xbc\xc3\x9f"},
        {{TL_ARRAY, .element = TL_BIGINT}, "{}"},
        {{TL_ARRAY, .element = TL_BIGINT}, "{1,NULL,-3}"},
        {{TL_ARRAY, .element = TL_TEXT}, "{a,\"b,\\\"c\",NULL,\"NULL\",\"\"}"},
        {{TL_ARRAY, .element = TL_DATE}, "{2024-01-01}"},
        {{TL_ARRAY, .element = TL_BOOLEAN}, "{t,f}"},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        check_round_trip(values[i].type, values[i].text, false);
        check_round_trip(values[i].type, values[i].text, true);
    }
}

/* What PostgreSQL's send functions give, in hexadecimal. */
static void binary_is_postgresqls(void **state)
{
    (void)state;
    static const struct {
        struct tl_type type;
        const char *text, *hex;
    } values[] = {
        {{TL_BOOLEAN, 0}, "t", "01"},
        {{TL_BIGINT, 0}, "-2", "fffffffffffffffe"},
        {{TL_DOUBLE, 0}, "1", "3ff0000000000000"},
        {{TL_DATE, 0}, "2000-01-02", "00000001"},
        {{TL_DATE, 0}, "1999-12-31", "ffffffff"},
        {{TL_TIMESTAMP, 0}, "2000-01-01 00:00:00.000001", "0000000000000001"},
        {{TL_INTERVAL, 0}, "1 mon 2 days 00:00:03", "00000000002dc6c00000000200000001"},
        {{TL_DECIMAL64, 2}, "0.00", "0000000000000002"},
        {{TL_DECIMAL64, 2},
         "10000.05",
         "000300010000000200010000"
         "01f4"},
        {{TL_DECIMAL64, 4}, "-0.0001", "0001ffff400000040001"},
        {{TL_TEXT, 0}, "ab", "6162"},
        {{TL_ARRAY, .element = TL_BIGINT}, "{}", "000000000000000000000014"},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_vector v;
        struct tl_slice given = tl_slice_of(values[i].text, strlen(values[i].text));
        assert_ok(&st, tl_pg_param(given, false, 0, values[i].type, "UTC", &arena, &v, &st));
        struct tl_slice sent = put(&v, true);
        char hex[256] = "";
        for (size_t k = 0; k < sent.size && k < 100; k++)
            snprintf(hex + 2 * k, 3, "%02x", sent.data[k]);
        assert_string_equal(hex, values[i].hex);
    }
}

static void wrong_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct tl_type type;
        bool binary;
        uint32_t oid;
        const char *bytes;
        size_t size;
        const char *sqlstate;
    } values[] = {
        {{TL_BIGINT, 0}, false, 0, "twelve", 6, "22P02"},
        {{TL_BIGINT, 0}, false, 0, "9223372036854775808", 19, "22003"},
        {{TL_BIGINT, 0}, true, TL_PG_INT8, "\0\0\0", 3, "22P03"},
        {{TL_BOOLEAN, 0}, false, 0, "perhaps", 7, "22P02"},
        {{TL_DATE, 0}, false, 0, "2023-02-29", 10, "22008"},
        {{TL_TEXT, 0}, false, 0, "\xff", 1, "22021"},
        {{TL_TEXT, 0}, true, 0, "\xc3", 1, "22021"},
        {{TL_DECIMAL64, 2}, true, TL_PG_NUMERIC, "\0\0\0\0\xc0\0\0\0", 8, "0A000"},
        {{TL_DECIMAL64, 2}, true, TL_PG_NUMERIC, "\0\1\0\0\0\0\0\0\x27\x10", 10, "22P03"},
        {{TL_DECIMAL64, 2}, true, TL_PG_NUMERIC, "\0\0\x7f\xff\0\0\0\0", 8, "22003"},
        /* two dimensions; more elements than bytes; an element beyond the end */
        {{TL_ARRAY, .element = TL_BIGINT}, true, 0, "\0\0\0\2\0\0\0\0\0\0\0\x14", 12, "0A000"},
        {{TL_ARRAY, .element = TL_BIGINT},
         true,
         0,
         "\0\0\0\1\0\0\0\0\0\0\0\x14\x7f\xff\xff\xff\0\0\0\1",
         20,
         "22P03"},
        {{TL_ARRAY, .element = TL_BIGINT},
         true,
         0,
         "\0\0\0\1\0\0\0\0\0\0\0\x14\0\0\0\1\0\0\0\1\0\0\0\x08\0\0",
         26,
         "22P03"},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_vector v;
        uint8_t *exact = malloc(values[i].size);
        assert_non_null(exact);
        memcpy(exact, values[i].bytes, values[i].size);
        enum tl_code code = tl_pg_param(tl_slice_of(exact, values[i].size), values[i].binary,
                                        values[i].oid, values[i].type, "UTC", &arena, &v, &st);
        free(exact);
        if (code == TL_OK)
            fail_msg("value %zu was taken", i);
        if (strcmp(tl_status_sqlstate(&st), values[i].sqlstate) != 0)
            fail_msg("value %zu: %s, not %s: %s", i, tl_status_sqlstate(&st), values[i].sqlstate,
                     st.text);
    }
}

/* A client may send a narrower type than ours. */
static void narrow_types_are_widened(void **state)
{
    (void)state;
    static const struct {
        struct tl_type type;
        uint32_t oid;
        const char *bytes;
        size_t size;
        const char *text;
    } values[] = {
        {{TL_BIGINT, 0}, TL_PG_INT2, "\xff\xfe", 2, "-2"},
        {{TL_BIGINT, 0}, TL_PG_INT4, "\x80\0\0\0", 4, "-2147483648"},
        {{TL_BIGINT, 0}, TL_PG_OID, "\xff\xff\xff\xff", 4, "4294967295"},
        {{TL_DOUBLE, 0}, TL_PG_FLOAT4, "\x3f\xc0\0\0", 4, "1.5"},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_vector v;
        struct tl_slice bytes = tl_slice_of(values[i].bytes, values[i].size);
        assert_ok(&st,
                  tl_pg_param(bytes, true, values[i].oid, values[i].type, "UTC", &arena, &v, &st));
        struct tl_slice text = put(&v, false);
        assert_int_equal(text.size, strlen(values[i].text));
        assert_memory_equal(text.data, values[i].text, text.size);
    }
}

static void a_reader_stops_at_its_end(void **state)
{
    (void)state;
    struct tl_pg_reader r = tl_pg_reader_of(tl_slice_of("\1\0\2ab\0c", 7));
    assert_int_equal(tl_pg_read_u8(&r), 1);
    assert_int_equal(tl_pg_read_u16(&r), 2);
    struct tl_slice s = tl_pg_read_string(&r);
    assert_int_equal(s.size, 2);
    assert_string_equal((const char *)s.data, "ab");
    assert_false(tl_pg_read_done(&r));
    s = tl_pg_read_string(&r); /* no NUL ends it */
    assert_int_equal(s.size, 0);
    assert_true(r.failed);
    assert_int_equal(tl_pg_read_u32(&r), 0);
    assert_false(tl_pg_read_done(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_type_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(binary_is_postgresqls, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_values_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(narrow_types_are_widened, setup, teardown),
        cmocka_unit_test(a_reader_stops_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
