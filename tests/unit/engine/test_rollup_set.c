/* Promise: a set of codes comes back as it was stored, in either form, and no bytes are taken for
 * a set that holds a code beyond its dictionary. Method: sets of each size and density, each byte
 * of them changed. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/rollup_set.h"

static void sets_come_back(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_random random;
    struct tl_buffer b;
    static uint32_t codes[TL_ROLLUP_SET_CODES_MAX];
    static uint32_t back[TL_ROLLUP_SET_CODES_MAX];
    static uint32_t any[1 << 20];
    tl_random_init(&random, 3);
    tl_buffer_init(&b, "set", 1 << 20);
    uint32_t forms[3] = {0};
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t n = 1 + (uint32_t)tl_random_below(&random, i % 4 ? 200 : TL_ROLLUP_SET_CODES_MAX);
        uint64_t gap = 1 + tl_random_below(&random, i % 3 ? 3 : 20000);
        uint32_t next = (uint32_t)tl_random_below(&random, 100000);
        for (uint32_t k = 0; k < n; k++) {
            codes[k] = next;
            next += 1 + (uint32_t)tl_random_below(&random, gap);
        }
        tl_buffer_clear(&b);
        assert_ok(&st, tl_rollup_set_encode(codes, n, &b, &st));
        assert_true(b.size < 65536);
        forms[b.data[0]]++;
        uint32_t count = 0;
        assert_ok(
            &st, tl_rollup_set_count(tl_buffer_slice(&b), (uint64_t)codes[n - 1] + 1, &count, &st));
        assert_int_equal(count, n);
        assert_ok(&st, tl_rollup_set_codes(tl_buffer_slice(&b), count, back, &st));
        assert_memory_equal(codes, back, n * sizeof(*codes));
        assert_int_equal(tl_rollup_set_count(tl_buffer_slice(&b), codes[n - 1], &count, &st),
                         TL_CORRUPT);
        tl_status_clear(&st);
        for (uint32_t k = 0; k < 50; k++) { /* whatever is taken for a set can be read */
            size_t at = tl_random_below(&random, b.size);
            uint8_t was = b.data[at];
            b.data[at] ^= (uint8_t)(1 + tl_random_below(&random, 255));
            if (!tl_rollup_set_count(tl_buffer_slice(&b), 1 << 20, &count, &st) && count <= 1 << 20)
                assert_ok(&st, tl_rollup_set_codes(tl_buffer_slice(&b), count, any, &st));
            tl_status_clear(&st);
            b.data[at] = was;
        }
    }
    assert_true(forms[1] > 0 && forms[2] > 0);
    tl_buffer_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sets_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
