/* Promise: tables come as zeros, whatever was in them when they were given back; a pool keeps no
 * more than it was told; threads take and give while the warmer works, and nothing is lost.
 * Method: a few sizes, written full and given back over and over, from several threads. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "engine/slab.h"

static bool all_zero(const uint8_t *p, size_t size)
{
    return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

static void tables_are_zeros(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_slab_pool *pool;
    assert_ok(&st, tl_slab_pool_new(&pool, &st));
    for (int round = 0; round < 4; round++)
        for (size_t size = TL_SLAB_BYTES; size <= 4 * (size_t)TL_SLAB_BYTES; size *= 2) {
            uint8_t *a = tl_slab_table_take(pool, size);
            uint8_t *b = tl_slab_table_take(pool, size);
            assert_non_null(a);
            assert_non_null(b);
            assert_ptr_not_equal(a, b);
            assert_int_equal((uintptr_t)a % TL_SLAB_BYTES, 0);
            assert_true(all_zero(a, size));
            assert_true(all_zero(b, size));
            memset(a, 0xff, size);
            memset(b, 1, size);
            tl_slab_table_give(pool, a, size);
            tl_slab_table_give(pool, b, size);
        }
    tl_slab_keep(pool, 0);
    tl_slab_warm_stop(pool); /* it never began */
    tl_slab_pool_unref(pool);
}

static void take_and_give(void *arg)
{
    struct tl_slab_pool *pool = arg;
    void *slabs[12];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 12; i++) {
            slabs[i] = tl_slab_take(pool);
            assert_non_null(slabs[i]);
            memset(slabs[i], round, 64);
        }
        uint8_t *table = tl_slab_table_take(pool, TL_SLAB_BYTES);
        assert_non_null(table);
        assert_int_equal(table[0], 0);
        assert_int_equal(table[TL_SLAB_BYTES - 1], 0);
        table[0] = table[TL_SLAB_BYTES - 1] = 1;
        tl_slab_table_give(pool, table, TL_SLAB_BYTES);
        for (int i = 0; i < 12; i++)
            tl_slab_give(pool, slabs[i]);
        if (round % 5 == 4)
            tl_slab_keep(pool, (uint32_t)round);
    }
}

static void threads_take_and_give_while_it_warms(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_slab_pool *pool;
    struct tl_thread threads[3] = {{.running = false}};
    assert_ok(&st, tl_slab_pool_new(&pool, &st));
    assert_ok(&st, tl_slab_warm_start(pool, &st));
    for (int i = 0; i < 3; i++)
        assert_ok(&st, tl_thread_start(&threads[i], "taker", take_and_give, pool, &st));
    for (int i = 0; i < 3; i++)
        tl_thread_join(&threads[i]);
    tl_slab_warm_stop(pool);
    tl_slab_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_zeros),
        cmocka_unit_test(threads_take_and_give_while_it_warms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
