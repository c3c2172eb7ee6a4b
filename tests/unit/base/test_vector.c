/*
 * Promise: flattening a vector of any shape keeps each row's value and NULLs; the check refuses
 * vectors that would lead a reader out of bounds.
 */
#include "base/vector.h"

#include "base/arena.h"
#include "tests/test.h"

static const struct tl_slice words[] = {
    {(const uint8_t *)"zero", 4}, {(const uint8_t *)"one", 3}, {(const uint8_t *)"two", 3}};

static enum tl_code late_get(const struct tl_dict *d, const uint32_t *codes, uint32_t count,
                             struct tl_slice *out, struct tl_status *st)
{
    (void)d;
    (void)st;
    for (uint32_t i = 0; i < count; i++)
        out[i] = words[codes[i]];
    return TL_OK;
}

static const struct tl_dict_vtable late = {.get = late_get};

static void dict_flattens_early_and_late(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_arena a;
    tl_arena_init(&a, NULL, 4096);
    const uint32_t codes[] = {2, 0, 99, 1, 2}; /* the third row is NULL: its code means nothing */
    uint64_t validity = 0x1b;
    struct tl_dict dicts[] = {{.id = 1, .count = 3, .values = words},
                              {.id = 2, .count = 3, .vtab = &late}};
    for (int i = 0; i < 2; i++) {
        struct tl_vector v = {.type = {TL_TEXT, 0},
                              .shape = TL_DICT,
                              .count = 5,
                              .codes = codes,
                              .dict = &dicts[i],
                              .validity = &validity};
        assert_true(tl_vector_check(&v));
        struct tl_vector flat;
        assert_ok(&st, tl_vector_flatten(&v, &a, &flat, &st));
        assert_true(tl_vector_check(&flat));
        const struct tl_slice *s = flat.data;
        assert_true(tl_slice_eq(s[0], words[2]));
        assert_true(tl_slice_eq(s[1], words[0]));
        assert_false(tl_vector_valid(&flat, 2));
        assert_true(tl_slice_eq(s[3], words[1]));

        v.validity = NULL;
        assert_false(tl_vector_check(&v));
        struct tl_vector untouched = {.count = 77};
        assert_code(&st, TL_CORRUPT, tl_vector_flatten(&v, &a, &untouched, &st));
        assert_int_equal(untouched.count, 77);
        v.count = 2;
        assert_ok(&st, tl_vector_flatten(&v, &a, &flat, &st));
        assert_int_equal(flat.count, 2);
    }
    tl_arena_deinit(&a);
}

static void const_flattens(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_arena a;
    tl_arena_init(&a, NULL, 4096);
    int64_t value = -5;
    struct tl_vector v = {.type = {TL_BIGINT, 0}, .shape = TL_CONST, .count = 1000, .data = &value};
    struct tl_vector flat;
    assert_ok(&st, tl_vector_flatten(&v, &a, &flat, &st));
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(((const int64_t *)flat.data)[i], -5);

    uint64_t none = 0;
    v.validity = &none;
    v.data = NULL;
    assert_ok(&st, tl_vector_flatten(&v, &a, &flat, &st));
    for (uint32_t i = 0; i < 1000; i++)
        assert_false(tl_vector_valid(&flat, i));

    v.type = tl_type_of(TL_NULL);
    assert_true(tl_vector_check(&v));
    assert_ok(&st, tl_vector_flatten(&v, &a, &flat, &st));
    assert_false(tl_vector_valid(&flat, 999));
    assert_true(tl_vector_check(&flat));
    tl_arena_deinit(&a);
}

static void check_refuses(void **state)
{
    (void)state;
    uint8_t booleans[] = {0, 1, 2};
    struct tl_vector v = {.type = {TL_BOOLEAN, 0}, .count = 2, .data = booleans};
    assert_true(tl_vector_check(&v));
    v.count = 3;
    assert_false(tl_vector_check(&v));
    v.count = 2;
    v.type.kind = TL_KIND_COUNT;
    assert_false(tl_vector_check(&v));
    v.type.kind = TL_PROPS;
    assert_false(tl_vector_check(&v));
    v.type = (struct tl_type){TL_BIGINT, 2};
    assert_false(tl_vector_check(&v));
    v.type = (struct tl_type){TL_DECIMAL64, 19};
    assert_false(tl_vector_check(&v));
    v.type = (struct tl_type){TL_BOOLEAN, 0};
    v.data = NULL;
    assert_false(tl_vector_check(&v));
    v.count = 0;
    assert_true(tl_vector_check(&v));
    v.count = TL_VECTOR_ROWS_MAX + 1;
    assert_false(tl_vector_check(&v));
    v.count = 1;
    v.shape = TL_DICT;
    assert_false(tl_vector_check(&v));
}

static void names_and_widths(void **state)
{
    (void)state;
    char buf[32];
    assert_string_equal(tl_type_name((struct tl_type){TL_DECIMAL64, 4}, buf, sizeof(buf)),
                        "DECIMAL(18,4)");
    assert_string_equal(tl_type_name((struct tl_type){TL_DECIMAL128, 0}, buf, sizeof(buf)),
                        "DECIMAL(38,0)");
    assert_string_equal(tl_type_name(tl_type_of(TL_TIMESTAMPTZ), buf, sizeof(buf)), "TIMESTAMPTZ");
    assert_string_equal(tl_type_name((struct tl_type){200, 0}, buf, sizeof(buf)), "type 200");
    assert_int_equal(tl_kind_width(TL_DECIMAL128), 16);
    assert_int_equal(tl_kind_width(TL_DATE), 4);
    assert_int_equal(tl_kind_width(TL_PROPS), 0);
    uint64_t id = tl_dict_new_id();
    assert_true(id != 0);
    assert_true(tl_dict_new_id() != id);
}

static void bits(void **state)
{
    (void)state;
    uint64_t words64[3] = {0};
    tl_bit_set(words64, 0);
    tl_bit_set(words64, 63);
    tl_bit_set(words64, 64);
    tl_bit_set(words64, 130);
    assert_true(tl_bit_get(words64, 63));
    assert_true(tl_bit_get(words64, 64));
    assert_false(tl_bit_get(words64, 65));
    tl_bit_clear(words64, 64);
    assert_false(tl_bit_get(words64, 64));
    assert_int_equal(tl_bit_words(0), 0);
    assert_int_equal(tl_bit_words(64), 1);
    assert_int_equal(tl_bit_words(65), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dict_flattens_early_and_late),
        cmocka_unit_test(const_flattens),
        cmocka_unit_test(check_refuses),
        cmocka_unit_test(names_and_widths),
        cmocka_unit_test(bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
