/* The k-th smallest against sorting: sizes about the limit, ranges from one value to all of 64
 * bits. */
#include <stdlib.h>
#include <string.h>

#include "query/select_kth.h"
#include "tests/test.h"

enum { N_MAX = 20000 };

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void selects_what_sorting_does(void **context)
{
    (void)context;
    static const size_t sizes[] = {1, 2, 3, 100, 4095, 4096, 4097, N_MAX};
    static const uint32_t widths[] = {0, 1, 5, 11, 12, 23, 40, 63, 64};
    int64_t *v = malloc(sizeof(*v) * N_MAX);
    int64_t *sorted = malloc(sizeof(*sorted) * N_MAX);
    assert_true(v && sorted);
    uint64_t seed = 1;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++) {
            size_t n = sizes[s];
            for (size_t i = 0; i < n; i++) {
                seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
                uint64_t x = seed ^ seed >> 31;
                x = widths[w] ? x >> (64 - widths[w]) : 0;
                x = i % 3 ? x : x >> (widths[w] / 2); /* small ones more often */
                v[i] = (int64_t)(i % 2 && widths[w] < 64 ? 0 - x : x);
            }
            memcpy(sorted, v, sizeof(*v) * n);
            qsort(sorted, n, sizeof(*sorted), by_value);
            /* again on what was reordered: nothing is lost */
            for (size_t at = 0; at <= 10; at++) {
                size_t k = (n - 1) * at / 10;
                assert_true(tl__select_kth(v, n, k) == sorted[k]);
            }
            qsort(v, n, sizeof(*v), by_value);
            assert_memory_equal(v, sorted, sizeof(*v) * n);
        }
    }
    free(v);
    free(sorted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(selects_what_sorting_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
