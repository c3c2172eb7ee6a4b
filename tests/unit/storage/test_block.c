/*
 * What an index says of a block, by each set of kernels against plain loops: the range of values,
 * the set of codes, and the values of the rows that are not NULL.
 */
#include "storage/block.h"

#include <stdlib.h>

#include "base/vector.h"
#include "storage/encoding.h"
#include "tests/test.h"

static const char *const KERNELS[] = {"portable", "avx2", "avx512"};
static uint64_t seed = 1;

static uint64_t chance(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Counts around the widths of registers and words. */
static uint32_t some_count(void)
{
    static const uint32_t near[] = {1, 4, 8, 16, 32, 63, 64, 65, 128, 1000, TL_BLOCK_ROWS_MAX};
    uint32_t n = near[chance() % (sizeof(near) / sizeof(near[0]))];
    n += (uint32_t)(chance() % 3);
    return n > TL_BLOCK_ROWS_MAX ? TL_BLOCK_ROWS_MAX : n;
}

static void ranges_are_those_of_plain_loops(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 600; round++) {
        uint32_t n = some_count(), bits = 1 + (uint32_t)(chance() % 64);
        int64_t *wide = malloc(n * sizeof(*wide)); /* ends where the heap block ends */
        uint32_t *codes = malloc(n * sizeof(*codes));
        uint64_t base = round % 3 ? chance() : 0, set = 0;
        int64_t low = INT64_MAX, high = INT64_MIN;
        uint32_t least = UINT32_MAX, greatest = 0;
        for (uint32_t i = 0; i < n; i++) {
            wide[i] = (int64_t)(base + (chance() >> (64 - bits)));
            low = wide[i] < low ? wide[i] : low;
            high = wide[i] > high ? wide[i] : high;
            codes[i] = (uint32_t)(chance() >> (64 - (bits + 1) / 2));
            least = codes[i] < least ? codes[i] : least;
            greatest = codes[i] > greatest ? codes[i] : greatest;
            set |= 1ULL << (codes[i] & 63);
        }
        for (size_t k = 0; k < 3; k++) {
            if (!tl_kernels_use(KERNELS[k]))
                continue;
            int64_t min, max;
            bool same = tl_block_range(TL_BIGINT, wide, n, &min, &max);
            assert_true(min == low && max == high && same == (low == high));
            same = tl_block_range(TL_TEXT, codes, n, &min, &max);
            assert_true(min == least && max == greatest && same == (least == greatest));
            assert_true(tl_block_code_set(codes, n) == set);
        }
        free(wide);
        free(codes);
    }
}

static void valid_values_lie_side_by_side(void **state)
{
    (void)state;
    static const enum tl_kind kinds[] = {TL_BIGINT, TL_TEXT, TL_BOOLEAN};
    for (uint32_t round = 0; round < 600; round++) {
        uint32_t n = some_count(), width = tl_block_width(kinds[round % 3]), kept = 0;
        uint8_t *values = malloc((size_t)n * width), *out = malloc((size_t)n * width);
        uint8_t *expected = malloc((size_t)n * width);
        uint64_t *validity = malloc(tl_bit_words(n) * sizeof(*validity));
        for (uint32_t i = 0; i < n * width; i++)
            values[i] = (uint8_t)chance();
        for (uint32_t i = 0; i < tl_bit_words(n); i++) /* runs of either kind, and mixed words */
            validity[i] = round % 4 == 0 ? chance() : chance() % 3 ? 0 - (chance() & 1) : chance();
        for (uint32_t i = 0; i < n; i++)
            if (tl_bit_get(validity, i))
                memcpy(expected + (size_t)kept++ * width, values + (size_t)i * width, width);
        tl_block_keep_valid(kinds[round % 3], values, validity, n, out);
        assert_memory_equal(out, expected, (size_t)kept * width);
        free(values);
        free(out);
        free(expected);
        free(validity);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_those_of_plain_loops),
        cmocka_unit_test(valid_values_lie_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
