/*
 * Promise: an arena never holds more than its budget allows, gives all of it back, and hands out
 * aligned, separate pieces. A charge fits into every budget up to the root or into none.
 */
#include "base/arena.h"

#include <stdbool.h>
#include <string.h>

#include "tests/test.h"

static void budget_charges_parent_and_child(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_budget server, query;
    tl_budget_init(&server, "server memory", 1000, NULL);
    tl_budget_init(&query, "query memory", 600, &server);

    assert_ok(&st, tl_budget_charge(&query, 600, &st));
    assert_int_equal(query.used_bytes, 600);
    assert_int_equal(server.used_bytes, 600);
    assert_code(&st, TL_LIMIT, tl_budget_charge(&query, 1, &st));
    assert_int_equal(query.used_bytes, 600);
    assert_int_equal(server.used_bytes, 600);

    /* The parent refuses what the child would allow, and the child's part is given back. */
    struct tl_budget other;
    tl_budget_init(&other, "query memory", 0, &server);
    assert_code(&st, TL_LIMIT, tl_budget_charge(&other, 401, &st));
    assert_int_equal(other.used_bytes, 0);
    assert_ok(&st, tl_budget_charge(&other, 400, &st));
    assert_int_equal(server.used_bytes, 1000);
    assert_int_equal(server.peak_bytes, 1000);
    tl_budget_release(&other, 400);
    tl_budget_release(&query, 600);
    assert_int_equal(server.used_bytes, 0);
    assert_int_equal(server.peak_bytes, 1000);
    assert_code(&st, TL_LIMIT, tl_budget_charge(&server, SIZE_MAX, &st));
}

static void limit_names_the_budget(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_budget b;
    tl_budget_init(&b, "query memory", 4096, NULL);
    struct tl_arena a;
    tl_arena_init(&a, &b, 1024);
    size_t got = 0;
    while (tl_arena_alloc(&a, 100, &st)) {
        got++;
        assert_true(tl_arena_bytes(&a) <= 4096);
        assert_true(got < 100);
    }
    assert_int_equal(st.code, TL_LIMIT);
    assert_non_null(strstr(st.text, "query memory"));
    assert_true(got > 10);
    assert_int_equal(b.used_bytes, tl_arena_bytes(&a));
    tl_arena_deinit(&a);
    assert_int_equal(b.used_bytes, 0);
    tl_arena_deinit(&a); /* closing twice is fine */
    tl_arena_deinit(NULL);
}

static void pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_arena a;
    tl_arena_init(&a, NULL, 4096);
    uint8_t *pieces[600];
    size_t sizes[600];
    for (size_t i = 0; i < 600; i++) {
        sizes[i] = (i * 37) % 700 + (i % 50 == 0 ? 9000 : 0);
        pieces[i] = tl_arena_alloc(&a, sizes[i], &st);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 0xff), sizes[i]);
    }
    for (size_t i = 0; i < 600; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], i & 0xff);
    }
    assert_ptr_not_equal(tl_arena_alloc(&a, 0, &st), tl_arena_alloc(&a, 0, &st));
    tl_arena_deinit(&a);
}

static void reset_keeps_one_chunk(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_budget b;
    tl_budget_init(&b, "scratch", 0, NULL);
    struct tl_arena a;
    tl_arena_init(&a, &b, 2048);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 50; i++)
            assert_non_null(tl_arena_alloc(&a, 200, &st));
        assert_non_null(tl_arena_alloc(&a, 100000, &st));
        assert_true(b.used_bytes > 100000);
        tl_arena_reset(&a);
        assert_int_equal(tl_arena_bytes(&a), 2048);
        assert_int_equal(b.used_bytes, 2048);
    }
    /* A lone large piece leaves nothing behind. */
    tl_arena_deinit(&a);
    assert_non_null(tl_arena_alloc(&a, 100000, &st));
    tl_arena_reset(&a);
    assert_int_equal(tl_arena_bytes(&a), 0);
    assert_non_null(tl_arena_alloc(&a, 1, &st));
    tl_arena_deinit(&a);
    assert_int_equal(b.used_bytes, 0);
}

static void sizes_from_outside_are_checked(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_budget b;
    tl_budget_init(&b, "query memory", 1 << 20, NULL);
    struct tl_arena a;
    tl_arena_init(&a, &b, 4096);
    assert_null(tl_arena_alloc(&a, SIZE_MAX, &st));
    assert_int_equal(st.code, TL_LIMIT);
    tl_status_clear(&st);
    assert_null(tl_arena_alloc(&a, SIZE_MAX - 64, &st));
    assert_int_equal(st.code, TL_LIMIT);
    tl_status_clear(&st);
    assert_null(tl_arena_calloc(&a, SIZE_MAX / 2, 3, &st));
    assert_int_equal(st.code, TL_LIMIT);
    tl_status_clear(&st);
    assert_null(tl_arena_copy(&a, "x", SIZE_MAX, &st));
    assert_int_equal(st.code, TL_LIMIT);
    assert_int_equal(b.used_bytes, 0);

    tl_status_clear(&st);
    uint32_t *zeros = tl_arena_calloc(&a, 100, 4, &st);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeros[i], 0);
    char *text = tl_arena_copy(&a, "merchant", 8, &st);
    assert_string_equal(text, "merchant");
    assert_string_equal(tl_arena_copy(&a, NULL, 0, &st), "");
    tl_arena_deinit(&a);

    size_t out = 7;
    assert_false(tl_mul_size(SIZE_MAX, 2, &out));
    assert_true(tl_mul_size(3, 4, &out));
    assert_int_equal(out, 12);
    assert_false(tl_add_size(SIZE_MAX, 1, &out));
}

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
static void freed_space_is_poisoned(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_arena a;
    tl_arena_init(&a, NULL, 4096);
    uint8_t *p = tl_arena_alloc(&a, 20, &st);
    uint8_t *large = tl_arena_alloc(&a, 9000, &st);
    assert_false(__asan_address_is_poisoned(p + 19));
    assert_true(__asan_address_is_poisoned(p + 20));
    assert_true(__asan_address_is_poisoned(p + 40));
    assert_false(__asan_address_is_poisoned(large + 8999));
    assert_true(__asan_address_is_poisoned(large + 9000));
    tl_arena_reset(&a);
    assert_true(__asan_address_is_poisoned(p));
    tl_arena_deinit(&a);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budget_charges_parent_and_child),
        cmocka_unit_test(limit_names_the_budget),
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(reset_keeps_one_chunk),
        cmocka_unit_test(sizes_from_outside_are_checked),
#if defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(freed_space_is_poisoned),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
