/* Array values and the names of types. */
#include "base/array.h"

#include "base/arena.h"
#include "base/pg_type.h"
#include "tests/test.h"

static struct tl_arena arena;
static struct tl_status st;

static int setup(void **state)
{
    (void)state;
    tl_arena_init(&arena, NULL, 0);
    st = (struct tl_status)TL_STATUS_INIT;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tl_arena_deinit(&arena);
    return 0;
}

static void numbers_come_back(void **state)
{
    (void)state;
    const int64_t values[] = {5, -1, INT64_MAX};
    const uint64_t validity = 5; /* the second is NULL */
    struct tl_slice a;
    assert_int_equal(tl_array_build(&arena, tl_type_flavoured(TL_BIGINT, TL_FLAVOUR_INT4), values,
                                    &validity, 3, 0, &a, &st),
                     TL_OK);
    struct tl_array_view v = tl_array_view(a);
    assert_int_equal(v.count, 3);
    assert_int_equal(v.lower, 0);
    assert_int_equal(v.element.kind, TL_BIGINT);
    assert_int_equal(v.element.flavour, TL_FLAVOUR_INT4);
    int64_t x;
    tl_array_get(&v, 2, &x);
    assert_true(x == INT64_MAX);
    assert_false(tl_array_is_null(&v, 0));
    assert_true(tl_array_is_null(&v, 1));
}

static void texts_come_back(void **state)
{
    (void)state;
    const struct tl_slice values[] = {tl_slice_str("a"), {NULL, 0}, tl_slice_str("long one")};
    struct tl_slice a, b;
    assert_int_equal(tl_array_build(&arena, tl_type_of(TL_TEXT), values, NULL, 3, 1, &a, &st),
                     TL_OK);
    assert_int_equal(tl_array_build(&arena, tl_type_of(TL_TEXT), values, NULL, 3, 1, &b, &st),
                     TL_OK);
    assert_true(tl_slice_eq(a, b));
    struct tl_array_view v = tl_array_view(a);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(tl_slice_eq(tl_array_text(&v, i), values[i]));
    struct tl_slice empty;
    assert_int_equal(tl_array_build(&arena, tl_type_of(TL_TEXT), NULL, NULL, 0, 1, &empty, &st),
                     TL_OK);
    assert_int_equal(tl_array_view(empty).count, 0);
}

/* Splits `in` and writes it again; NULL: it must be refused. */
static void roundtrip(const char *in, const char *want)
{
    struct tl_slice *texts;
    uint64_t *validity;
    uint32_t count;
    struct tl_status s = TL_STATUS_INIT;
    enum tl_code rc = tl_array_split(tl_slice_str(in), &arena, &texts, &validity, &count, &s);
    if (!want) {
        assert_int_equal(rc, TL_INVALID);
        assert_string_equal(s.sqlstate, "22P02");
        return;
    }
    assert_int_equal(rc, TL_OK);
    struct tl_buffer out;
    tl_buffer_init(&out, "test", 4096);
    tl_buffer_put_u8(&out, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            tl_buffer_put_u8(&out, ',');
        if (tl_bit_get(validity, i))
            tl_array_put(&out, texts[i]);
        else
            tl_buffer_put(&out, "NULL", 4);
    }
    tl_buffer_put_u8(&out, '}');
    tl_buffer_put_u8(&out, 0);
    assert_int_equal(tl_buffer_check(&out, &s), TL_OK);
    assert_string_equal((const char *)out.data, want);
    tl_buffer_deinit(&out);
}

static void texts_of_arrays_are_postgresqls(void **state)
{
    (void)state;
    roundtrip("{}", "{}");
    roundtrip(" { } ", "{}");
    roundtrip("{a,b}", "{a,b}");
    roundtrip("{ a b , c }", "{\"a b\",c}");
    roundtrip("{NULL,null,\"NULL\"}", "{NULL,NULL,\"NULL\"}");
    roundtrip("{\"\",\"a\\\"b\",\"c\\\\d\",\"x,y\"}", "{\"\",\"a\\\"b\",\"c\\\\d\",\"x,y\"}");
    roundtrip("{a\\,b}", "{\"a,b\"}");
    roundtrip("{1,2", NULL);
    roundtrip("1,2}", NULL);
    roundtrip("{1,,2}", NULL);
    roundtrip("{1,}", NULL);
    roundtrip("{1}2", NULL);
    roundtrip("{1}}", NULL);
    roundtrip("{{1},{2}}", NULL);
    roundtrip("{a\"b\"}", NULL);
    roundtrip("{\"a}", NULL);
    roundtrip("{\"a\"b}", NULL);
    roundtrip("{a\\", NULL);
    roundtrip("{", NULL);
    roundtrip("", NULL);
}

static void types_have_postgresqls_numbers(void **state)
{
    (void)state;
    char buf[64];
    struct tl_type t;
    assert_int_equal(tl_pg_type_oid(tl_type_of(TL_BIGINT)), 20);
    assert_int_equal(tl_pg_type_oid(tl_type_flavoured(TL_BIGINT, TL_FLAVOUR_INT4)), 23);
    assert_int_equal(tl_pg_type_oid((struct tl_type){TL_DECIMAL64, 4, 0, 0}), 1700);
    assert_int_equal(tl_pg_type_oid(tl_type_array(tl_type_of(TL_TEXT))), 1009);
    assert_int_equal(tl_pg_type_oid(tl_type_of(TL_NULL)), 25);
    assert_int_equal(tl_pg_type_size(tl_type_array(tl_type_of(TL_BIGINT))), -1);
    assert_string_equal(
        tl_pg_type_label(tl_type_array(tl_type_of(TL_TIMESTAMPTZ)), buf, sizeof(buf)),
        "timestamp with time zone[]");
    assert_true(tl_pg_type_by_name(tl_slice_str("integer[]"), &t));
    assert_int_equal(tl_pg_type_oid(t), 1007);
    assert_true(tl_pg_type_by_name(tl_slice_str("_int4"), &t));
    assert_int_equal(tl_pg_type_oid(t), 1007);
    assert_true(tl_pg_type_by_name(tl_slice_str("timestamp with time zone"), &t));
    assert_int_equal(t.kind, TL_TIMESTAMPTZ);
    assert_false(tl_pg_type_by_name(tl_slice_str("point"), &t));
    assert_false(tl_pg_type_by_oid(0, &t));

    uint32_t count;
    const struct tl_pg_type *rows = tl_pg_types(&count);
    for (uint32_t i = 0; i < count; i++) { /* there and back */
        assert_true(tl_pg_type_by_oid(rows[i].oid, &t));
        assert_int_equal(tl_pg_type_oid(t), rows[i].oid);
        assert_true(tl_pg_type_by_name(tl_slice_str(rows[i].name), &t));
        assert_int_equal(tl_pg_type_oid(t), rows[i].oid);
        assert_string_equal(tl_pg_type_label(t, buf, sizeof(buf)), rows[i].label);
        if (rows[i].array_oid && rows[i].type.kind != TL_ARRAY) {
            assert_true(tl_pg_type_by_oid(rows[i].array_oid, &t));
            assert_int_equal(tl_pg_type_oid(t), rows[i].array_oid);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_of_arrays_are_postgresqls, setup, teardown),
        cmocka_unit_test(types_have_postgresqls_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
