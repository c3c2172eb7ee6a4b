/*
 * Quantiles: the error against exact answers, forms that do not depend on order, the limit of the
 * span, bytes there and back, and bytes that are refused.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "query/function_int.h"
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

static void add(struct tl_quantile *q, double x)
{
    assert_ok(&st, tl_quantile_add(q, &memory, x, 1, &st));
}

static void encode(const struct tl_quantile *q, struct tl_buffer *out)
{
    tl_buffer_init(out, "sketch", TL_QUANTILE_ENCODED_BYTES_MAX);
    assert_ok(&st, tl_quantile_encode(q, &memory, out, &st));
}

static void assert_same(const struct tl_quantile *a, const struct tl_quantile *b)
{
    struct tl_buffer x;
    struct tl_buffer y;
    encode(a, &x);
    encode(b, &y);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    tl_buffer_deinit(&x);
    tl_buffer_deinit(&y);
}

static double get(const struct tl_quantile *q, double fraction)
{
    double out;
    assert_ok(&st, tl_quantile_get(q, &memory, &fraction, 1, &out, &st));
    return out;
}

static int compare(const void *a, const void *b)
{
    return tl__compare_double(*(const double *)a, *(const double *)b);
}

/* Values of several kinds of distributions. */
static double draw(struct tl_random *r, int kind)
{
    double u = tl_random_double(r);
    switch (kind) {
    case 0: /* durations */
        return exp(6 + 2 * sqrt(-2 * log(1 - u)) * cos(6.283185307 * tl_random_double(r)));
    case 1: /* whole numbers, many equal */
        return (double)tl_random_below(r, 30);
    case 2: /* both signs */
        return (u - 0.5) * 1000;
    case 3: /* every BIGINT */
        return (double)((int64_t)tl_random_u64(r) >> tl_random_below(r, 64));
    case 4: /* heavy tail */
        return pow(1 - u, -3);
    case 5:
        return u < 0.1 ? INFINITY : u < 0.2 ? -INFINITY : u < 0.3 ? NAN : u < 0.4 ? -0.0 : u;
    default:
        return 42;
    }
}

static void test_error(void **state)
{
    (void)state;
    static const double fractions[] = {0,    0.001, 0.01, 0.1,  0.25,  0.5,
                                       0.75, 0.9,   0.95, 0.99, 0.999, 1};
    enum { FRACTIONS = sizeof(fractions) / sizeof(fractions[0]) };
    struct tl_random r;
    for (int kind = 0; kind < 7; kind++) {
        static const size_t counts[] = {1, 2, 7, 100, 20000};
        for (size_t c = 0; c < 5; c++) {
            size_t n = counts[c];
            double *values = malloc(n * sizeof(*values));
            struct tl_quantile q = {0};
            assert_non_null(values);
            tl_random_init(&r, n + (uint64_t)kind);
            for (size_t i = 0; i < n; i++) {
                values[i] = draw(&r, kind);
                add(&q, values[i]);
            }
            assert_true(tl_quantile_check(&q));
            qsort(values, n, sizeof(*values), compare);
            double out[FRACTIONS];
            assert_ok(&st, tl_quantile_get(&q, &memory, fractions, FRACTIONS, out, &st));
            for (int f = 0; f < FRACTIONS; f++) {
                size_t rank = (size_t)ceil(fractions[f] * (double)n);
                double exact = values[rank ? rank - 1 : 0];
                if (isnan(exact))
                    assert_true(isnan(out[f]));
                else if (isinf(exact) || exact == 0)
                    assert_true(out[f] == exact);
                else
                    assert_true(fabs(out[f] - exact) <= TL_QUANTILE_ERROR * fabs(exact));
            }
            tl_quantile_clear(&q, &memory);
            free(values);
        }
    }
}

/* At every limit of a bucket, and around it, in every power of two. */
static void test_limits(void **state)
{
    (void)state;
    double least = 2.2250738585072014e-308;
    for (int e = -1022; e <= 1023; e++) {
        for (int i = 0; i < 35; i++) {
            double limit = ldexp(pow(2, i / 35.0), e);
            for (int k = -2; k <= 2; k++) {
                double x = limit;
                for (int s = 0; s < abs(k); s++)
                    x = nextafter(x, k < 0 ? 0 : INFINITY);
                if (!(x >= least) || isinf(x))
                    continue;
                struct tl_quantile q = {0};
                add(&q, k % 2 ? -x : x);
                double told = get(&q, 0.5);
                assert_true(fabs(told - (k % 2 ? -x : x)) <= TL_QUANTILE_ERROR * x);
                tl_quantile_clear(&q, &memory);
            }
        }
    }
    struct tl_quantile q = {0}; /* too small to be told from zero */
    add(&q, least / 2);
    assert_true(get(&q, 1) == 0);
    tl_quantile_clear(&q, &memory);
    assert_true(isnan(get(&q, 0.5)));
}

static void shuffle(struct tl_random *r, double *a, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = tl_random_below(r, i);
        double t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}

/* Any order, any tree of merges, through bytes or not, also with too many buckets. */
static void test_order(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 3, 4, 60, 1000, 9000, 60000};
    struct tl_random r;
    tl_random_init(&r, 77);
    for (int wide = 0; wide < 2; wide++) {
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            size_t n = counts[c];
            double *values = malloc(n * sizeof(*values));
            struct tl_quantile plain = {0};
            assert_non_null(values);
            for (size_t i = 0; i < n; i++) {
                values[i] = draw(&r, (int)tl_random_below(&r, 7));
                if (wide)
                    values[i] = ldexp(values[i], (int)tl_random_below(&r, 800) - 400);
                add(&plain, values[i]);
            }
            for (int round = 0; round < 4; round++) {
                enum { PARTS = 5 };
                struct tl_quantile parts[PARTS] = {{0}};
                struct tl_quantile all = {0};
                shuffle(&r, values, n);
                for (size_t i = 0; i < n; i++)
                    add(&parts[tl_random_below(&r, PARTS)], values[i]);
                for (int p = 0; p < PARTS; p++) {
                    assert_true(tl_quantile_check(&parts[p]));
                    if (round % 2) {
                        struct tl_buffer bytes;
                        encode(&parts[p], &bytes);
                        assert_ok(&st, tl_quantile_merge_bytes(&all, &memory,
                                                               tl_buffer_slice(&bytes), &st));
                        tl_buffer_deinit(&bytes);
                    } else {
                        assert_ok(&st, tl_quantile_merge(&all, &memory, &parts[p], &st));
                    }
                    assert_true(tl_quantile_check(&all));
                    tl_quantile_clear(&parts[p], &memory);
                }
                assert_same(&plain, &all);
                tl_quantile_clear(&all, &memory);
            }
            tl_quantile_clear(&plain, &memory);
            free(values);
        }
    }
}

/* With more than 2,240 buckets of a sign the greatest magnitudes stay true, and the others are told
 * as the least of these. */
static void test_collapse(void **state)
{
    (void)state;
    struct tl_random r;
    struct tl_buffer bytes;
    tl_random_init(&r, 3);
    for (int round = 0; round < 3; round++) {
        enum { VALUES = 15000 }; /* one to a bucket */
        static double values[2 * VALUES];
        struct tl_quantile q = {0};
        for (int i = 0; i < VALUES; i++) {
            values[i] = ldexp(pow(2, (i % 35 + 0.5) / 35), i / 35 - 200);
            values[VALUES + i] = -values[i];
        }
        if (round < 2)
            shuffle(&r, values, (size_t)2 * VALUES);
        for (int i = 0; i < 2 * VALUES; i++)
            add(&q, values[i]);
        assert_true(tl_quantile_check(&q));
        assert_int_equal(q.count, 2 * VALUES);
        for (int i = 0; i < VALUES; i += 7) {
            int told_as = i < VALUES - 2240 ? VALUES - 2240 : i;
            double exact = ldexp(pow(2, (told_as % 35 + 0.5) / 35), told_as / 35 - 200);
            double told = get(&q, (VALUES + i + 0.5) / (2 * VALUES));
            assert_true(fabs(told - exact) <= TL_QUANTILE_ERROR * exact);
            told = get(&q, (VALUES - i - 0.5) / (2 * VALUES));
            assert_true(fabs(told + exact) <= TL_QUANTILE_ERROR * exact);
        }
        encode(&q, &bytes);
        assert_true(bytes.size < 10000);
        tl_buffer_deinit(&bytes);
        tl_quantile_clear(&q, &memory);
    }

    /* an absurd value costs one bucket, not the accuracy of all others */
    struct tl_quantile q = {0};
    for (int i = 1; i <= 1000; i++)
        add(&q, i);
    add(&q, 1e300);
    add(&q, -1e300);
    add(&q, 1e-300);
    assert_true(fabs(get(&q, 0.5) - 499) <= 5);
    assert_true(fabs(get(&q, 1) - 1e300) <= 1e298);
    tl_quantile_clear(&q, &memory);
}

static void test_counts(void **state)
{
    (void)state;
    struct tl_quantile q = {0};
    struct tl_quantile other = {0};
    assert_ok(&st, tl_quantile_add(&q, &memory, 1, TL_QUANTILE_VALUES_MAX - 1, &st));
    add(&q, 1000);
    assert_code(&st, TL_LIMIT, tl_quantile_add(&q, &memory, 1, 1, &st));
    add(&other, 3);
    assert_code(&st, TL_LIMIT, tl_quantile_merge(&q, &memory, &other, &st));
    assert_true(tl_quantile_check(&q));
    assert_true(fabs(get(&q, 0.5) - 1) < 0.01);
    assert_true(fabs(get(&q, 1) - 1000) < 10);
    struct tl_buffer bytes;
    encode(&q, &bytes);
    struct tl_quantile again = {0};
    assert_ok(&st, tl_quantile_merge_bytes(&again, &memory, tl_buffer_slice(&bytes), &st));
    assert_same(&q, &again);
    tl_buffer_deinit(&bytes);
}

static void test_doubles(void **state)
{
    (void)state;
    int64_t a[] = {199, -(INT64_C(1) << 53) - 1, INT64_MAX};
    tl_i128 b[] = {(tl_i128)123456789 * 1000000000000, -5};
    static const uint16_t sel[] = {0, 2};
    double out[3] = {0, 7, 0};
    struct tl_vector v = {.type = {TL_DECIMAL64, 2}, .shape = TL_FLAT, .count = 3, .data = a};
    tl_sketch_doubles(&v, sel, 2, out);
    assert_true(out[0] == 1.99 && out[1] == 7 && out[2] == 92233720368547758.07);
    v.type = tl_type_of(TL_BIGINT);
    tl_sketch_doubles(&v, NULL, 3, out);
    assert_true(out[0] == 199 && out[1] == -9007199254740992.0 && out[2] == 9223372036854775807.0);
    v = (struct tl_vector){.type = {TL_DECIMAL128, 12}, .shape = TL_FLAT, .count = 2, .data = b};
    tl_sketch_doubles(&v, NULL, 2, out);
    assert_true(out[0] == 123456789 && out[1] == -5e-12);
}

static void try_bytes(struct tl_slice bytes, const struct tl_quantile *before)
{
    struct tl_quantile q = {0};
    enum tl_code rc = tl_quantile_merge_bytes(&q, &memory, bytes, &st);
    assert_true(rc == TL_OK || rc == TL_CORRUPT);
    assert_true(tl_quantile_check(&q));
    if (rc == TL_OK) {
        struct tl_buffer again;
        encode(&q, &again);
        assert_int_equal(again.size, bytes.size);
        assert_memory_equal(again.data, bytes.data, bytes.size);
        tl_buffer_deinit(&again);
    } else {
        tl_status_clear(&st);
        assert_true(!q.slots && !q.count);
        struct tl_quantile copy = {0};
        assert_ok(&st, tl_quantile_merge(&copy, &memory, before, &st));
        assert_code(&st, TL_CORRUPT, tl_quantile_merge_bytes(&copy, &memory, bytes, &st));
        assert_same(&copy, before);
        tl_quantile_clear(&copy, &memory);
    }
    tl_quantile_clear(&q, &memory);
}

static void test_refused(void **state)
{
    (void)state;
    struct tl_random r;
    struct tl_quantile before = {0};
    tl_random_init(&r, 5);
    for (int i = 0; i < 20; i++)
        add(&before, i);
    static const int counts[] = {0, 1, 9, 300, 50000};
    for (int c = 0; c < 5; c++) {
        struct tl_quantile q = {0};
        struct tl_buffer bytes;
        for (int i = 0; i < counts[c]; i++)
            add(&q, draw(&r, c == 4 ? 0 : (int)tl_random_below(&r, 7)));
        encode(&q, &bytes);
        try_bytes(tl_buffer_slice(&bytes), &before);
        for (size_t cut = 0; cut < bytes.size; cut += 1 + bytes.size / 50)
            try_bytes(tl_slice_of(bytes.data, cut), &before);
        for (int k = 0; k < 2000; k++) {
            size_t at = tl_random_below(&r, bytes.size < 20 || k % 2 ? bytes.size : 20);
            uint8_t old = bytes.data[at];
            bytes.data[at] ^= (uint8_t)(1u << tl_random_below(&r, 8));
            try_bytes(tl_buffer_slice(&bytes), &before);
            bytes.data[at] = old;
        }
        tl_buffer_put_u8(&bytes, 0);
        assert_code(&st, TL_CORRUPT,
                    tl_quantile_merge_bytes(&q, &memory, tl_buffer_slice(&bytes), &st));
        tl_buffer_deinit(&bytes);
        tl_quantile_clear(&q, &memory);
    }
    /* a bucket beyond the last, reached by a distance that wraps around */
    static const uint8_t wraps[] = {2,    0xf8, 0xde, 0x08, 1,    0xff, 0xff, 0xff,
                                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1};
    try_bytes(tl_slice_of(wraps, sizeof(wraps)), &before);
    tl_quantile_clear(&before, &memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_collapse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_doubles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
