/*
 * Promises: what is pinned keeps its bytes; the limit holds at every moment; what is used stays
 * longer than what is not; a scan over more than the cache holds leaves what is hot; a pack that
 * was dropped is not found again; nothing leaks.
 *
 * Method: single steps first; then threads that get, load, drop and hold entries of a small cache
 * at random, where every byte of an entry follows from its key (run this under TSan and ASan).
 */
#include "tests/test.h"

#include <stdatomic.h>

#include "base/thread.h"
#include "storage/cache.h"
#include "storage/encoding.h"

enum { BLOCK = 1000 };

static uint8_t byte_of(uint64_t pack, uint64_t offset)
{
    return (uint8_t)(pack * 31 + offset * 7 + 1);
}

/* The entry, loaded on a miss, pinned; NULL when the cache has no room. */
static struct tl_cached *load(struct tl_cache *c, uint64_t pack, uint64_t offset)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cached *e = tl_cache_get(c, pack, offset);
    if (e)
        return e;
    if (tl_cache_begin(c, pack, offset, BLOCK, &e, &st))
        return NULL;
    memset(e->data, byte_of(pack, offset), BLOCK);
    e->note[0] = pack + offset;
    return tl_cache_publish(c, e);
}

static bool is_whole(const struct tl_cached *e, uint64_t pack, uint64_t offset)
{
    for (uint32_t i = 0; i < BLOCK; i++)
        if (e->data[i] != byte_of(pack, offset))
            return false;
    for (uint32_t i = 0; i < TL_PAYLOAD_PAD; i++)
        if (e->data[BLOCK + i] != 0)
            return false;
    return e->size == BLOCK && e->note[0] == pack + offset && e->note[1] == 0;
}

static void an_entry_is_found_again(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cache *c;
    struct tl_cache_stats stats;
    assert_ok(&st, tl_cache_new(1 << 20, &c, &st));
    assert_null(tl_cache_get(c, 1, 2));
    struct tl_cached *e = load(c, 1, 2);
    assert_true(is_whole(e, 1, 2));
    assert_int_equal((uintptr_t)e->data % 16, 0);
    assert_ptr_equal(tl_cache_get(c, 1, 2), e);
    assert_null(tl_cache_get(c, 2, 1));
    tl_cache_stats(c, &stats);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 3);
    assert_int_equal(stats.entries, 1);
    assert_int_equal(stats.pinned, 2);
    assert_true(stats.bytes >= BLOCK + TL_PAYLOAD_PAD && stats.bytes < BLOCK + 400);
    tl_cache_unpin(c, e);
    tl_cache_unpin(c, e);

    /* Two loads of one block: the first that is published is the one. */
    struct tl_cached *a, *b;
    assert_ok(&st, tl_cache_begin(c, 7, 7, 10, &a, &st));
    assert_ok(&st, tl_cache_begin(c, 7, 7, 10, &b, &st));
    assert_ptr_equal(tl_cache_publish(c, b), b);
    assert_ptr_equal(tl_cache_publish(c, a), b);
    tl_cache_unpin(c, b);
    tl_cache_unpin(c, b);
    assert_ok(&st, tl_cache_begin(c, 8, 8, 10, &a, &st));
    tl_cache_cancel(c, a);
    tl_cache_cancel(c, NULL);
    tl_cache_unpin(c, NULL);
    assert_null(tl_cache_get(c, 8, 8));
    tl_cache_stats(c, &stats);
    assert_int_equal(stats.pinned, 0);
    assert_int_equal(stats.entries, 2);
    tl_cache_free(c);
    tl_cache_free(NULL);
}

static void pins_and_the_limit_hold(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cache *c;
    struct tl_cache_stats stats;
    struct tl_cached *pinned[40], *e;
    assert_ok(&st, tl_cache_new(64 * 1024, &c, &st));
    for (uint64_t i = 0; i < 40; i++)
        assert_non_null(pinned[i] = load(c, 1, i));
    for (uint64_t i = 0; i < 2000; i++) {
        e = load(c, 2, i);
        assert_non_null(e);
        tl_cache_unpin(c, e);
        tl_cache_stats(c, &stats);
        assert_true(stats.bytes <= stats.limit_bytes);
    }
    assert_true(stats.evictions > 1900);
    for (uint64_t i = 0; i < 40; i++) {
        assert_true(is_whole(pinned[i], 1, i));
        assert_ptr_equal(tl_cache_get(c, 1, i), pinned[i]);
        tl_cache_unpin(c, pinned[i]);
    }
    /* When all is pinned there is no room, and the answer says so. */
    struct tl_cached *more[100];
    uint32_t held = 0;
    while ((more[held] = load(c, 3, held)))
        assert_true(++held < 100);
    assert_true(held > 5);
    assert_code(&st, TL_LIMIT, tl_cache_begin(c, 4, 0, BLOCK, &e, &st));
    assert_code(&st, TL_LIMIT, tl_cache_begin(c, 4, 0, 64 * 1024, &e, &st));
    assert_code(&st, TL_LIMIT, tl_cache_begin(c, 4, 0, SIZE_MAX, &e, &st));
    while (held)
        tl_cache_unpin(c, more[--held]);
    assert_non_null(e = load(c, 4, 0));
    tl_cache_unpin(c, e);
    for (uint64_t i = 0; i < 40; i++)
        tl_cache_unpin(c, pinned[i]);
    tl_cache_set_limit(c, 8 * 1024);
    tl_cache_stats(c, &stats);
    assert_true(stats.bytes <= 8 * 1024 && stats.pinned == 0);
    tl_cache_free(c);
}

static void what_is_used_stays(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cache *c;
    assert_ok(&st, tl_cache_new(256 * 1024, &c, &st));
    uint32_t found = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        struct tl_cached *hot = tl_cache_get(c, 9, i % 20);
        found += hot != NULL;
        if (!hot)
            hot = load(c, 9, i % 20);
        tl_cache_unpin(c, hot);
        tl_cache_unpin(c, load(c, 2, i));
    }
    assert_true(found > 2900);
    tl_cache_free(c);
}

/* A Zipf-like number below 4,096: each doubling of the range comes as often as the one before. */
static uint64_t skewed(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    uint64_t range = 1ULL << (*seed >> 33) % 12;
    return range + (*seed >> 40) % range;
}

/* Looks a skewed block of pack 1 up `times` times; how many of 1,000 were there? */
static uint32_t hits_of(struct tl_cache *c, uint64_t *seed, uint32_t times)
{
    uint32_t hits = 0;
    for (uint32_t i = 0; i < times; i++) {
        uint64_t block = skewed(seed);
        struct tl_cached *e = tl_cache_get(c, 1, block);
        hits += e != NULL;
        tl_cache_unpin(c, e ? e : load(c, 1, block));
    }
    return (uint32_t)((uint64_t)hits * 1000 / times);
}

static void a_scan_leaves_what_is_hot(void **state)
{
    (void)state;
    enum { CACHE = 2 << 20, SCAN = 4 * CACHE / BLOCK };
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cache *c;
    uint64_t seed = 1, at = 0;
    assert_ok(&st, tl_cache_new(CACHE, &c, &st));
    (void)hits_of(c, &seed, 50000);
    uint32_t before = hits_of(c, &seed, 20000);
    assert_true(before > 600 && before < 1000); /* the working set does not fit whole */

    /* Blocks of a scan are read ahead, looked at once or twice, and never again. */
    uint32_t during = 0;
    for (int part = 0; part < 20; part++) {
        for (uint32_t i = 0; i < SCAN / 20; i++, at++) {
            tl_cache_unpin(c, load(c, 2, at));
            tl_cache_unpin(c, tl_cache_glance(c, 2, at));
            tl_cache_unpin(c, tl_cache_glance(c, 2, at));
        }
        during += hits_of(c, &seed, 200);
    }
    uint32_t after = hits_of(c, &seed, 2000);
    assert_true(during / 20 + 80 > before);
    assert_true(after + 30 > before);

    /* One that nothing is looked at beside, and that comes twice. */
    for (int round = 0; round < 2; round++)
        for (at = 0; at < SCAN; at++)
            tl_cache_unpin(c, load(c, 3, at));
    assert_true(hits_of(c, &seed, 2000) + 60 > before);
    tl_cache_free(c);
}

static void a_key_that_comes_back_is_kept(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cache *c;
    struct tl_cache_stats stats;
    assert_ok(&st, tl_cache_new(256 * 1024, &c, &st));
    assert_false(tl_cache_has(c, 1, 0));
    for (uint64_t i = 0; i < 300; i++) /* 0 to about 40 leave again */
        tl_cache_unpin(c, load(c, 1, i));
    assert_false(tl_cache_has(c, 1, 0));
    for (uint64_t i = 0; i < 20; i++)
        tl_cache_unpin(c, load(c, 1, i));
    tl_cache_stats(c, &stats);
    assert_true(stats.returned >= 18 && stats.main_bytes >= 18 * BLOCK);
    for (uint64_t i = 1000; i < 3000; i++)
        tl_cache_unpin(c, load(c, 1, i));
    uint32_t kept = 0;
    for (uint64_t i = 0; i < 20; i++)
        kept += tl_cache_has(c, 1, i);
    assert_true(kept >= 18);
    tl_cache_free(c);
}

static void a_dropped_pack_is_forgotten(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cache *c;
    struct tl_cache_stats stats;
    assert_ok(&st, tl_cache_new(1 << 20, &c, &st));
    for (uint64_t i = 0; i < 100; i++)
        for (uint64_t pack = 1; pack <= 3; pack++)
            tl_cache_unpin(c, load(c, pack, i));
    struct tl_cached *held = tl_cache_get(c, 2, 50);
    tl_cache_drop_pack(c, 2);
    for (uint64_t i = 0; i < 100; i++) {
        assert_null(tl_cache_get(c, 2, i));
        struct tl_cached *e = tl_cache_get(c, 3, i);
        assert_non_null(e);
        tl_cache_unpin(c, e);
    }
    assert_true(is_whole(held, 2, 50));
    struct tl_cached *again = load(c, 2, 50); /* beside the one that is still held */
    assert_ptr_not_equal(again, held);
    tl_cache_unpin(c, held);
    assert_true(is_whole(again, 2, 50));
    tl_cache_unpin(c, again);
    tl_cache_drop_pack(c, 1);
    tl_cache_drop_pack(c, 2);
    tl_cache_drop_pack(c, 3);
    tl_cache_stats(c, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    tl_cache_free(c);
}

static struct tl_cache *shared;
static _Atomic uint32_t broken, over_limit, refused;

static void hammer(void *arg)
{
    uint64_t x = (uint64_t)(uintptr_t)arg * 0x9E3779B97F4A7C15ULL + 1;
    struct tl_cached *held[4] = {NULL};
    uint64_t pack[4] = {0}, offset[4] = {0};
    for (uint32_t i = 0; i < 8000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint32_t slot = (uint32_t)(x >> 8) % 4;
        if (held[slot] && !is_whole(held[slot], pack[slot], offset[slot]))
            atomic_fetch_add(&broken, 1);
        tl_cache_unpin(shared, held[slot]);
        pack[slot] = (x >> 16) % 3;
        offset[slot] = (x >> 24) % 60;
        held[slot] = load(shared, pack[slot], offset[slot]);
        if (!held[slot])
            atomic_fetch_add(&refused, 1);
        struct tl_cache_stats stats;
        if (i % 64 == 0) {
            tl_cache_stats(shared, &stats);
            if (stats.bytes > stats.limit_bytes)
                atomic_fetch_add(&over_limit, 1);
        }
        if (i % 500 == 0)
            tl_cache_drop_pack(shared, x % 3);
    }
    for (int i = 0; i < 4; i++)
        tl_cache_unpin(shared, held[i]);
}

static void threads_share_it(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_thread threads[4] = {{0}};
    struct tl_cache_stats stats;
    assert_ok(&st, tl_cache_new(60 * 1024, &shared, &st));
    for (uintptr_t i = 0; i < 4; i++)
        assert_ok(&st, tl_thread_start(&threads[i], "hammer", hammer, (void *)i, &st));
    for (int i = 0; i < 4; i++)
        tl_thread_join(&threads[i]);
    assert_int_equal(broken, 0);
    assert_int_equal(over_limit, 0);
    assert_int_equal(refused, 0); /* 16 pins fit into 60 KiB with room to spare */
    tl_cache_stats(shared, &stats);
    assert_true(stats.hits > 1000 && stats.misses > 1000 && stats.evictions > 1000);
    assert_int_equal(stats.pinned, 0);
    tl_cache_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_is_found_again),
        cmocka_unit_test(pins_and_the_limit_hold),
        cmocka_unit_test(what_is_used_stays),
        cmocka_unit_test(a_dropped_pack_is_forgotten),
        cmocka_unit_test(a_scan_leaves_what_is_hot),
        cmocka_unit_test(a_key_that_comes_back_is_kept),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
