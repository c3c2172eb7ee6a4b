/* Runs of varints: the wide kernel and the portable loop agree, on values, damage and limits. */
#include "base/varint.h"

#include <stdlib.h>

#include "base/random.h"
#include "tests/test.h"

enum { VALUES = 3000 };

static size_t put(uint8_t *to, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    return n;
}

/* Up to `bits` bits, most of them few. */
static uint64_t draw(struct tl_random *r, uint32_t bits)
{
    uint32_t width = (uint32_t)(tl_random_u64(r) % (tl_random_u64(r) % 8 ? 15 : bits + 1));
    return width == 0 ? 0 : tl_random_u64(r) >> (64 - width);
}

static void compare(struct tl_slice s, size_t limit)
{
    uint64_t *a = malloc((limit + 1) * 8);
    uint64_t *b = malloc((limit + 1) * 8);
    uint32_t *c = malloc((limit + 1) * 4);
    uint32_t *d = malloc((limit + 1) * 4);
    tl_varints_use_wide(true);
    size_t n = tl_varints_u64(s, a, limit);
    size_t m = tl_varints_u32(s, c, limit);
    tl_varints_use_wide(false);
    assert_true(tl_varints_u64(s, b, limit) == n);
    assert_true(tl_varints_u32(s, d, limit) == m);
    if (n != TL_VARINTS_DAMAGED)
        assert_memory_equal(a, b, n * 8);
    if (m != TL_VARINTS_DAMAGED)
        assert_memory_equal(c, d, m * 4);
    tl_varints_use_wide(true);
    free(a);
    free(b);
    free(c);
    free(d);
}

static void values_come_back(void **state)
{
    (void)state;
    struct tl_random r;
    tl_random_init(&r, 7);
    static const uint32_t bits[] = {7, 14, 21, 28, 32, 64};
    for (uint32_t k = 0; k < 6 * 40; k++) {
        uint32_t most = bits[k % 6];
        uint32_t count = (uint32_t)(tl_random_u64(&r) % VALUES);
        uint64_t *values = malloc((count + 1) * sizeof(*values));
        uint64_t *out = malloc((count + 1) * sizeof(*out));
        uint32_t *narrow = malloc((count + 1) * sizeof(*narrow));
        uint8_t *bytes = malloc((size_t)count * 10 + 1);
        size_t size = 0;
        for (uint32_t i = 0; i < count; i++) {
            values[i] = draw(&r, most);
            size += put(bytes + size, values[i]);
        }
        uint8_t *exact = malloc(size + 1); /* nothing behind it may be read */
        memcpy(exact, bytes, size);
        exact = realloc(exact, size ? size : 1);
        struct tl_slice s = tl_slice_of(exact, size);
        assert_true(tl_varints_count(s) == count);
        assert_true(tl_varints_u64(s, out, count) == count);
        assert_memory_equal(out, values, count * sizeof(*out));
        if (most <= 32) {
            assert_true(tl_varints_u32(s, narrow, count) == count);
            for (uint32_t i = 0; i < count; i++)
                assert_true(narrow[i] == values[i]);
        }
        compare(s, count);
        if (count > 0) {
            assert_true(tl_varints_u64(s, out, count - 1) == TL_VARINTS_DAMAGED);
            compare(s, count / 2);
        }
        free(values);
        free(out);
        free(narrow);
        free(bytes);
        free(exact);
    }
}

static void damage_is_told_the_same(void **state)
{
    (void)state;
    struct tl_random r;
    tl_random_init(&r, 11);
    for (uint32_t k = 0; k < 2000; k++) {
        uint8_t bytes[700];
        size_t size = (size_t)(tl_random_u64(&r) % sizeof(bytes));
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(tl_random_u64(&r) & (tl_random_u64(&r) % 40 ? 0x7f : 0xff));
        for (uint32_t i = 0; size > 0 && i < k % 4; i++) /* long ones, and those cut off */
            for (uint32_t j = 0; j < 12; j++)
                bytes[(tl_random_u64(&r) % size + j) % size] |= 0x80;
        compare(tl_slice_of(bytes, size), 700);
    }
    compare(tl_slice_of(NULL, 0), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(damage_is_told_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
