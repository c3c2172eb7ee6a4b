/*
 * Counting distinct values: the error against exact counts, forms that do not depend on order, the
 * hashes of equal values, bytes there and back, and bytes that are refused.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "query/sketch.h"
#include "tests/test.h"

static struct tl_status st = TL_STATUS_INIT;
static struct tl_arena arena;
static struct tl_sketch_memory memory;

static int setup(void **state)
{
    (void)state;
    tl_arena_init(&arena, NULL, 0);
    tl_sketch_memory_init(&memory, &arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tl_arena_deinit(&arena);
    return 0;
}

static void add_range(struct tl_hll *h, uint64_t seed, uint64_t from, uint64_t to)
{
    for (uint64_t v = from; v < to; v++)
        assert_ok(&st, tl_hll_add(h, &memory, tl_hash_u64(v ^ seed << 40), &st));
}

static void encode(const struct tl_hll *h, struct tl_buffer *out)
{
    tl_buffer_init(out, "sketch", TL_HLL_ENCODED_BYTES_MAX);
    assert_ok(&st, tl_hll_encode(h, &memory, out, &st));
}

static void assert_same(const struct tl_hll *a, const struct tl_hll *b)
{
    struct tl_buffer x;
    struct tl_buffer y;
    encode(a, &x);
    encode(b, &y);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    assert_int_equal(tl_hll_estimate(a), tl_hll_estimate(b));
    tl_buffer_deinit(&x);
    tl_buffer_deinit(&y);
}

/* Small counts are exact nearly always; the mean error of many seeds is within the standard error,
 * and none is beyond 4.5 of them. */
static void test_error(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0,    1,    2,     3,     10,     100,    1000,   3000,
                                      3073, 4000, 10000, 40000, 100000, 400000, 2000000};
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        uint64_t n = counts[c];
        int seeds = n > 200000 ? 12 : 60;
        double squares = 0;
        double sum = 0;
        for (int seed = 1; seed <= seeds; seed++) {
            struct tl_hll h = {0};
            add_range(&h, (uint64_t)seed, 0, n);
            assert_true(tl_hll_check(&h));
            if (n != 3073) /* entries, of which two values may share one */
                assert_int_equal(h.dense, n > 3073);
            double estimate = (double)tl_hll_estimate(&h);
            double error = n ? (estimate - (double)n) / (double)n : estimate;
            if (n <= 100)
                assert_true(fabs(estimate - (double)n) <= 1);
            assert_true(fabs(error) < (n <= 3000 ? 0.005 : 4.5 * 0.0081));
            squares += error * error;
            sum += error;
            tl_hll_clear(&h, &memory);
        }
        double rms = sqrt(squares / seeds);
        double mean = sum / seeds;
        assert_true(rms < (n <= 3000 ? 0.0015 : 0.0081 * 1.35));
        assert_true(fabs(mean) < 4 * 0.0081 / sqrt(seeds)); /* no bias */
    }
}

static void shuffle(struct tl_random *r, uint64_t *a, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = tl_random_below(r, i);
        uint64_t t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}

/* Any order, any repetition, any tree of merges, through bytes or not: the same bytes. */
static void test_order(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 3, 4, 50, 1000, 3070, 3072, 3073, 3080, 5000, 60000};
    struct tl_random r;
    tl_random_init(&r, 7);
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        size_t n = counts[c];
        uint64_t *hashes = malloc(n * sizeof(*hashes));
        assert_non_null(hashes);
        for (size_t i = 0; i < n; i++) /* many with long ranks */
            hashes[i] = tl_random_u64(&r) &
                        (tl_random_below(&r, 4) ? ~0ULL : ~0ULL << tl_random_below(&r, 64));
        struct tl_hll plain = {0};
        for (size_t i = 0; i < n; i++)
            assert_ok(&st, tl_hll_add(&plain, &memory, hashes[i], &st));
        for (int round = 0; round < 4; round++) {
            enum { PARTS = 5 };
            struct tl_hll parts[PARTS] = {{0}};
            struct tl_hll all = {0};
            shuffle(&r, hashes, n);
            for (size_t i = 0; i < n; i++) {
                for (uint64_t times = 1 + tl_random_below(&r, 2); times > 0; times--) {
                    struct tl_hll *part = &parts[tl_random_below(&r, PARTS)];
                    assert_ok(&st, tl_hll_add(part, &memory, hashes[i], &st));
                }
            }
            for (int p = 0; p < PARTS; p++) {
                assert_true(tl_hll_check(&parts[p]));
                if (round % 2) {
                    struct tl_buffer bytes;
                    encode(&parts[p], &bytes);
                    assert_ok(&st, tl_hll_merge_bytes(&all, &memory, tl_buffer_slice(&bytes), &st));
                    tl_buffer_deinit(&bytes);
                } else {
                    assert_ok(&st, tl_hll_merge(&all, &memory, &parts[p], &st));
                }
                assert_true(tl_hll_check(&all));
                tl_hll_clear(&parts[p], &memory);
            }
            assert_same(&plain, &all);
            tl_hll_clear(&all, &memory);
        }
        tl_hll_clear(&plain, &memory);
        free(hashes);
    }
}

/* A dense register keeps what the sparse entries knew. */
static void test_forms_agree(void **state)
{
    (void)state;
    struct tl_random r;
    tl_random_init(&r, 11);
    struct tl_hll filler = {0};
    add_range(&filler, 1, 0, 4000);
    for (int round = 0; round < 2000; round++) {
        uint64_t hash = tl_random_u64(&r) & (~0ULL << tl_random_below(&r, 64));
        struct tl_hll sparse = {0};
        struct tl_hll direct = {0};
        struct tl_hll merged = {0};
        assert_ok(&st, tl_hll_merge(&direct, &memory, &filler, &st));
        assert_ok(&st, tl_hll_merge(&merged, &memory, &filler, &st));
        assert_ok(&st, tl_hll_add(&direct, &memory, hash, &st));
        assert_ok(&st, tl_hll_add(&sparse, &memory, hash, &st));
        assert_ok(&st, tl_hll_merge(&merged, &memory, &sparse, &st));
        assert_memory_equal(direct.data, merged.data, 1 << TL_HLL_PRECISION);
        tl_hll_clear(&sparse, &memory);
        tl_hll_clear(&direct, &memory);
        tl_hll_clear(&merged, &memory);
    }
    tl_hll_clear(&filler, &memory);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t count;
        size_t bytes_max;
    } sizes[] = {{0, 2},       {1, 6},         {10, 34},       {100, 310},
                 {3000, 7200}, {100000, 8300}, {3000000, 8300}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct tl_hll h = {0};
        struct tl_buffer bytes;
        add_range(&h, 3, 0, sizes[i].count);
        encode(&h, &bytes);
        assert_true(bytes.size <= sizes[i].bytes_max);
        tl_buffer_deinit(&bytes);
        tl_hll_clear(&h, &memory);
    }
}

static uint64_t hash_of(struct tl_type type, const void *value)
{
    uint64_t hashes[4] = {0};
    static const uint16_t second[] = {1};
    uint8_t two[32];
    size_t width = tl_kind_width(type.kind);
    struct tl_vector v = {.type = type, .shape = TL_CONST, .count = 4, .data = value};
    tl_sketch_hash_rows(&v, NULL, 4, hashes);
    for (int i = 1; i < 4; i++)
        assert_int_equal(hashes[i], hashes[0]);
    memcpy(two, value, width);
    memcpy(two + width, value, width);
    v.shape = TL_FLAT;
    v.data = two;
    hashes[1] = 0;
    tl_sketch_hash_rows(&v, second, 1, hashes);
    assert_int_equal(hashes[1], hashes[0]);
    return hashes[0];
}

static uint64_t hash_decimal64(int64_t v, uint8_t scale)
{
    return hash_of((struct tl_type){TL_DECIMAL64, scale}, &v);
}

static uint64_t hash_decimal128(tl_i128 v, uint8_t scale)
{
    return hash_of((struct tl_type){TL_DECIMAL128, scale}, &v);
}

static uint64_t hash_interval(int64_t us, int32_t days, int32_t months)
{
    struct tl_interval v = {us, days, months};
    return hash_of(tl_type_of(TL_INTERVAL), &v);
}

static void test_hashes(void **state)
{
    (void)state;
    double plus = 0.0;
    double minus = -0.0;
    uint64_t nan_bits[] = {0x7ff8000000000000ULL, 0xfff8000000000001ULL};
    double nans[2];
    memcpy(nans, nan_bits, sizeof(nans));
    struct tl_type d = tl_type_of(TL_DOUBLE);
    assert_int_equal(hash_of(d, &plus), hash_of(d, &minus));
    assert_int_equal(hash_of(d, &nans[0]), hash_of(d, &nans[1]));
    assert_true(hash_of(d, &plus) != hash_of(d, &nans[0]));

    assert_int_equal(hash_decimal64(150, 2), hash_decimal64(15000, 4));
    assert_int_equal(hash_decimal64(150, 2), hash_decimal128(15, 1));
    assert_int_equal(hash_decimal64(0, 0), hash_decimal128(0, 30));
    assert_int_equal(hash_decimal64(-700, 2), hash_decimal64(-7, 0));
    tl_i128 large = (tl_i128)1000000000000000000 * 1000000000000000000;
    assert_int_equal(hash_decimal128(large, 18), hash_decimal64(1000000000000000000, 0));
    assert_int_equal(hash_decimal128(large * 10 + 10, 2), hash_decimal128(large + 1, 1));
    assert_true(hash_decimal64(15, 1) != hash_decimal64(15, 2));
    assert_true(hash_decimal64(15, 1) != hash_decimal64(-15, 1));

    int64_t one = 1;
    struct tl_slice text = tl_slice_str("1");
    uint64_t hashes[4] = {hash_of(tl_type_of(TL_BIGINT), &one),
                          hash_of(tl_type_of(TL_TIMESTAMP), &one),
                          hash_of(tl_type_of(TL_TEXT), &text), hash_decimal64(1, 0)};
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < i; k++)
            assert_true(hashes[i] != hashes[k]);
    }
    assert_int_equal(hash_interval(0, 30, 0), hash_interval(0, 0, 1));
    assert_int_equal(hash_interval(86400000000, 0, 0), hash_interval(0, 1, 0));
    assert_true(hash_interval(1, 0, 0) != hash_interval(0, 1, 0));

    /* they stand in files */
    assert_int_equal(hash_of(tl_type_of(TL_BIGINT), &one),
                     tl_hash64_seed("\1\0\0\0\0\0\0\0", 8, 2));
    assert_int_equal(tl_sketch_hash_text(text), tl_hash64_seed("1", 1, 10));
}

/* Whatever is accepted is what encode makes of it; all else is refused and changes nothing. */
static void try_bytes(struct tl_slice bytes, const struct tl_hll *before)
{
    struct tl_hll h = {0};
    enum tl_code rc = tl_hll_merge_bytes(&h, &memory, bytes, &st);
    assert_true(rc == TL_OK || rc == TL_CORRUPT);
    assert_true(tl_hll_check(&h));
    if (rc == TL_OK) {
        struct tl_buffer again;
        encode(&h, &again);
        assert_int_equal(again.size, bytes.size);
        assert_memory_equal(again.data, bytes.data, bytes.size);
        tl_buffer_deinit(&again);
    } else {
        tl_status_clear(&st);
        assert_true(!h.data && !h.count);
        struct tl_hll copy = {0};
        assert_ok(&st, tl_hll_merge(&copy, &memory, before, &st));
        assert_code(&st, TL_CORRUPT, tl_hll_merge_bytes(&copy, &memory, bytes, &st));
        assert_same(&copy, before);
        tl_hll_clear(&copy, &memory);
    }
    tl_hll_clear(&h, &memory);
}

static void test_refused(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 9, 300, 5000, 300000};
    struct tl_random r;
    struct tl_hll before = {0};
    tl_random_init(&r, 5);
    add_range(&before, 9, 0, 20);
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        struct tl_hll h = {0};
        struct tl_buffer bytes;
        add_range(&h, 3, 0, counts[c]);
        encode(&h, &bytes);
        try_bytes(tl_buffer_slice(&bytes), &before);
        for (size_t cut = 0; cut < bytes.size; cut += 1 + bytes.size / 50)
            try_bytes(tl_slice_of(bytes.data, cut), &before);
        for (int k = 0; k < 600; k++) {
            size_t at = tl_random_below(&r, bytes.size < 20 || k % 2 ? bytes.size : 20);
            uint8_t old = bytes.data[at];
            bytes.data[at] ^= (uint8_t)(1u << tl_random_below(&r, 8));
            try_bytes(tl_buffer_slice(&bytes), &before);
            bytes.data[at] = old;
        }
        tl_buffer_put_u8(&bytes, 0); /* something behind */
        assert_code(&st, TL_CORRUPT, tl_hll_merge_bytes(&h, &memory, tl_buffer_slice(&bytes), &st));
        tl_buffer_deinit(&bytes);
        tl_hll_clear(&h, &memory);
    }
    tl_hll_clear(&before, &memory);
}

/* A budget that is met is told, and what there was stays whole. */
static void test_budget(void **state)
{
    (void)state;
    struct tl_budget budget;
    struct tl_arena small;
    struct tl_sketch_memory m;
    struct tl_hll h = {0};
    tl_budget_init(&budget, "query memory", 12000, NULL);
    tl_arena_init(&small, &budget, 256);
    tl_sketch_memory_init(&m, &small);
    enum tl_code rc = TL_OK;
    uint64_t n = 0;
    for (; rc == TL_OK && n < 5000; n++)
        rc = tl_hll_add(&h, &m, tl_hash_u64(n), &st);
    assert_int_equal(rc, TL_LIMIT);
    tl_status_clear(&st);
    assert_true(tl_hll_check(&h));
    assert_true(n > 700 && tl_hll_estimate(&h) >= n - 3);
    tl_arena_deinit(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forms_agree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hashes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
