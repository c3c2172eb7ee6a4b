/*
 * Promise: every pushed item is popped once, by someone; a full queue waits or refuses; close
 * wakes everybody and loses nothing; a pool runs all that was submitted.
 */
#include "base/thread.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tests/test.h"

enum { PRODUCERS = 3, CONSUMERS = 3, ITEMS = 20000 };

static struct tl_queue *queue;
static _Atomic uint32_t seen[PRODUCERS * ITEMS];
static _Atomic uint32_t popped;

static void produce(void *arg)
{
    uintptr_t first = (uintptr_t)arg * ITEMS;
    for (uintptr_t i = 0; i < ITEMS; i++) {
        bool ok = tl_queue_push(queue, (void *)(first + i + 1));
        if (!ok)
            return;
    }
}

static void consume(void *arg)
{
    (void)arg;
    void *item;
    while ((item = tl_queue_pop(queue))) {
        atomic_fetch_add(&seen[(uintptr_t)item - 1], 1);
        atomic_fetch_add(&popped, 1);
    }
}

static void many_to_many(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_queue_new(17, &queue, &st));
    struct tl_thread producers[PRODUCERS], consumers[CONSUMERS];
    for (uintptr_t i = 0; i < CONSUMERS; i++)
        assert_ok(&st, tl_thread_start(&consumers[i], "consumer", consume, NULL, &st));
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        assert_ok(&st, tl_thread_start(&producers[i], "producer", produce, (void *)i, &st));
    for (int i = 0; i < PRODUCERS; i++)
        tl_thread_join(&producers[i]);
    tl_queue_close(queue);
    for (int i = 0; i < CONSUMERS; i++)
        tl_thread_join(&consumers[i]);
    tl_thread_join(&consumers[0]); /* twice is fine */
    assert_int_equal(popped, PRODUCERS * ITEMS);
    for (int i = 0; i < PRODUCERS * ITEMS; i++)
        assert_int_equal(seen[i], 1);
    tl_queue_free(queue);
}

static void full_empty_closed(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_queue *q;
    int items[4];
    assert_ok(&st, tl_queue_new(3, &q, &st));
    assert_null(tl_queue_try_pop(q));
    assert_null(tl_queue_pop_timed(q, 5));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            assert_true(tl_queue_try_push(q, &items[i]));
        assert_false(tl_queue_try_push(q, &items[3]));
        assert_int_equal(tl_queue_count(q), 3);
        for (int i = 0; i < (round < 4 ? 3 : 1); i++)
            assert_ptr_equal(tl_queue_pop(q), &items[i]);
    }
    tl_queue_close(q);
    tl_queue_close(q);
    assert_false(tl_queue_push(q, &items[0]));
    assert_false(tl_queue_try_push(q, &items[0]));
    assert_ptr_equal(tl_queue_pop(q), &items[1]); /* what was in it still comes out */
    assert_ptr_equal(tl_queue_pop_timed(q, 1000), &items[2]);
    assert_null(tl_queue_pop(q));
    tl_queue_free(q);
    tl_queue_free(NULL);
}

static _Atomic uint32_t ran;
static _Atomic uint32_t bad_worker;

static void job(void *arg, uint32_t worker)
{
    (void)arg;
    if (worker >= 4)
        atomic_fetch_add(&bad_worker, 1);
    atomic_fetch_add(&ran, 1);
}

static void slow_job(void *arg, uint32_t worker)
{
    (void)worker;
    while (!atomic_load((_Atomic bool *)arg))
        usleep(100);
}

static void pool_runs_all(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_pool *p;
    assert_ok(&st, tl_pool_new("test", 4, 8, &p, &st));
    assert_int_equal(tl_pool_thread_count(p), 4);
    for (int i = 0; i < 5000; i++)
        assert_true(tl_pool_submit(p, job, NULL));
    tl_pool_free(p);
    assert_int_equal(ran, 5000);
    assert_int_equal(bad_worker, 0);
    tl_pool_free(NULL);
}

static void pool_is_bounded(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_pool *p;
    _Atomic bool go = false;
    assert_ok(&st, tl_pool_new("bounded", 1, 2, &p, &st));
    assert_true(tl_pool_submit(p, slow_job, (void *)&go));
    while (tl_pool_waiting(p) > 0)
        usleep(100);
    assert_true(tl_pool_try_submit(p, job, NULL));
    assert_true(tl_pool_try_submit(p, job, NULL));
    assert_false(tl_pool_try_submit(p, job, NULL));
    atomic_store(&go, true);
    tl_pool_close(p);
    assert_false(tl_pool_submit(p, job, NULL));
    tl_pool_free(p);
    assert_int_equal(ran, 5002);
    assert_true(tl_thread_cpu_count() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_to_many),
        cmocka_unit_test(full_empty_closed),
        cmocka_unit_test(pool_runs_all),
        cmocka_unit_test(pool_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
