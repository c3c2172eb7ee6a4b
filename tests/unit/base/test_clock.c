/*
 * Promise: the system clock tells today's time and never goes back; the manual one does as told.
 * Random numbers repeat from their seed and stay in their range.
 */
#include "base/clock.h"

#include <string.h>

#include "base/random.h"
#include "tests/test.h"

static void system_clock_moves(void **state)
{
    (void)state;
    const struct tl_clock *c = tl_clock_system();
    assert_true(tl_clock_wall_us(c) > 1700000000000000LL);
    uint64_t last = tl_clock_mono_ns(c);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = tl_clock_mono_ns(c);
        assert_true(now >= last);
        last = now;
    }
}

static void manual_clock_obeys(void **state)
{
    (void)state;
    struct tl_clock_manual m;
    tl_clock_manual_init(&m, 1000);
    assert_int_equal(tl_clock_wall_us(&m.clock), 1000);
    tl_clock_manual_advance(&m, 5);
    assert_int_equal(tl_clock_wall_us(&m.clock), 1005);
    assert_int_equal(tl_clock_mono_ns(&m.clock), 5000);
    tl_clock_manual_set(&m, -7);
    assert_int_equal(tl_clock_wall_us(&m.clock), -7);
    assert_int_equal(tl_clock_mono_ns(&m.clock), 5000);
}

static void random_repeats(void **state)
{
    (void)state;
    /* First outputs for seed 0, computed apart from this code after the authors' reference. */
    static const uint64_t expected[] = {0x99ec5f36cb75f2b4ULL, 0xbf6e1f784956452aULL,
                                        0x1a5f849d4933e6e0ULL};
    struct tl_random a, b;
    tl_random_init(&a, 0);
    for (size_t i = 0; i < 3; i++)
        assert_true(tl_random_u64(&a) == expected[i]);
    tl_random_init(&a, 42);
    tl_random_init(&b, 42);
    for (int i = 0; i < 100; i++)
        assert_true(tl_random_u64(&a) == tl_random_u64(&b));
    uint8_t x[13], y[13];
    tl_random_fill(&a, x, sizeof(x));
    tl_random_fill(&b, y, sizeof(y));
    assert_memory_equal(x, y, sizeof(x));
}

static void random_stays_in_range(void **state)
{
    (void)state;
    struct tl_random r;
    tl_random_init(&r, 7);
    uint32_t seen[6] = {0};
    for (int i = 0; i < 60000; i++) {
        seen[tl_random_below(&r, 6)]++;
        int64_t v = tl_random_between(&r, -3, 3);
        assert_true(v >= -3 && v <= 3);
        double d = tl_random_double(&r);
        assert_true(d >= 0 && d < 1);
    }
    for (int i = 0; i < 6; i++)
        assert_true(seen[i] > 9500 && seen[i] < 10500);
    (void)tl_random_between(&r, INT64_MIN, INT64_MAX);
    assert_true(tl_random_below(&r, 1) == 0);

    struct tl_status st = TL_STATUS_INIT;
    uint64_t s1 = 0, s2 = 0;
    assert_ok(&st, tl_random_seed_from_os(&s1, &st));
    assert_ok(&st, tl_random_seed_from_os(&s2, &st));
    assert_true(s1 != s2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(system_clock_moves),
        cmocka_unit_test(manual_clock_obeys),
        cmocka_unit_test(random_repeats),
        cmocka_unit_test(random_stays_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
