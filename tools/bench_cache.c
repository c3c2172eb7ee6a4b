/*
 * tools/bench_cache.c: what the block cache keeps, and what a hit costs.
 *
 * Usage: bench_cache
 *
 * A Zipf-distributed working set is read through a cache a third of its size; then a scan of four
 * times the cache passes by, with one read of the working set for every four blocks of the scan.
 * Printed are the hit rates of the working set before, during and after, and the CPU time of a hit
 * with its unpin, on one thread and on two at once.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/thread.h"
#include "storage/cache.h"

enum { BLOCK = 8192, CACHE = 64 << 20, KEYS = 3 * (CACHE / BLOCK), HITS = 4000000 };

static struct tl_cache *cache;
static double *cumulative; /* of the Zipf distribution, exponent 1 */

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13, *seed ^= *seed >> 7, *seed ^= *seed << 17;
    return *seed;
}

static uint64_t zipf(uint64_t *seed)
{
    double u = (double)(next(seed) >> 11) / 9007199254740992.0;
    uint32_t lo = 0, hi = KEYS - 1;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (cumulative[mid] < u)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void load(uint64_t pack, uint64_t block)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_cached *e;
    if (tl_cache_begin(cache, pack, block, BLOCK, &e, &st)) {
        fprintf(stderr, "%s\n", st.text);
        exit(1);
    }
    tl_cache_unpin(cache, tl_cache_publish(cache, e));
}

static uint32_t read_hot(uint64_t *seed)
{
    uint64_t block = zipf(seed);
    struct tl_cached *e = tl_cache_get(cache, 1, block);
    tl_cache_unpin(cache, e);
    if (!e)
        load(1, block);
    return e != NULL;
}

static double hit_rate(uint64_t *seed, uint32_t times)
{
    uint32_t hits = 0;
    for (uint32_t i = 0; i < times; i++)
        hits += read_hot(seed);
    return 100.0 * hits / times;
}

static void hit(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg * 7919 + 1;
    for (uint32_t i = 0; i < HITS; i++)
        tl_cache_unpin(cache, tl_cache_get(cache, 9, next(&seed) & 1023));
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(void)
{
    struct tl_status st = TL_STATUS_INIT;
    uint64_t seed = 42, at = 0;
    double sum = 0;
    cumulative = malloc(KEYS * sizeof(*cumulative));
    if (!cumulative || tl_cache_new(CACHE, &cache, &st))
        return 1;
    for (uint32_t i = 0; i < KEYS; i++)
        cumulative[i] = sum += 1.0 / (i + 1);
    for (uint32_t i = 0; i < KEYS; i++)
        cumulative[i] /= sum;

    (void)hit_rate(&seed, 20 * KEYS);
    printf("working set of %d blocks, cache of %d: hits before the scan %.1f %%", KEYS,
           CACHE / BLOCK, hit_rate(&seed, 5 * KEYS));
    uint32_t hits = 0, reads = 0;
    for (; at < 4 * (CACHE / BLOCK); at++) {
        struct tl_cached *e = tl_cache_get(cache, 2, at);
        tl_cache_unpin(cache, e);
        if (!e)
            load(2, at);
        if (at % 4 == 0) {
            hits += read_hot(&seed);
            reads++;
        }
    }
    printf(", during %.1f %%", 100.0 * hits / reads);
    printf(", after %.1f %%\n", hit_rate(&seed, KEYS / 4));

    for (uint64_t i = 0; i < 1024; i++)
        load(9, i);
    for (uintptr_t threads = 1; threads <= 2; threads++) {
        struct tl_thread thread[2] = {{0}};
        double begin = cpu_s();
        for (uintptr_t i = 0; i < threads; i++)
            if (tl_thread_start(&thread[i], "hits", hit, (void *)i, &st))
                return 1;
        for (uintptr_t i = 0; i < threads; i++)
            tl_thread_join(&thread[i]);
        printf("hit and unpin, %d at once: %.0f CPU ns\n", (int)threads,
               (cpu_s() - begin) / (double)threads / HITS * 1e9);
    }
    tl_cache_free(cache);
    free(cumulative);
    return 0;
}
