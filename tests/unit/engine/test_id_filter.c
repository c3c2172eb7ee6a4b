/* Promise: a filter never forgets a hash, whether built or merged, and rarely says yes to another.
 * Method: random sets of many sizes against a sorted array. */
#include "tests/test.h"

#include <stdlib.h>

#include "base/random.h"
#include "engine/id_filter.h"

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(*state >> 32);
}

static struct tl_id_filter *make(uint64_t seed, uint32_t count)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_id_filter *f = NULL;
    uint32_t *hashes = malloc((size_t)count * 4 + 4);
    for (uint32_t i = 0; i < count; i++)
        hashes[i] = draw(&seed);
    assert_ok(&st, tl_id_filter_build(hashes, count, &f, &st));
    for (uint32_t i = 1; i < count; i++)
        assert_true(hashes[i - 1] <= hashes[i]);
    free(hashes);
    return f;
}

static void check(const struct tl_id_filter *f, uint64_t seed, uint32_t count)
{
    uint32_t hashes[100];
    for (uint32_t i = 0; i < count; i += 100) {
        uint8_t found[100] = {0};
        uint32_t n = count - i < 100 ? count - i : 100;
        for (uint32_t k = 0; k < n; k++)
            hashes[k] = draw(&seed);
        tl_id_filter_ask(f, hashes, n, found);
        for (uint32_t k = 0; k < n; k++)
            assert_true(found[k]);
    }
}

static void sets_keep_what_they_were_given(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 2, 100, 70000, 1500000};
    for (size_t a = 0; a < sizeof(sizes) / sizeof(*sizes); a++)
        for (size_t b = 0; b < sizeof(sizes) / sizeof(*sizes); b++) {
            struct tl_status st = TL_STATUS_INIT;
            struct tl_id_filter *both = NULL;
            struct tl_id_filter *x = make(a + 1, sizes[a]);
            struct tl_id_filter *y = make(b + 100, sizes[b]);
            assert_ok(&st, tl_id_filter_merge(x, y, &both, &st));
            check(x, a + 1, sizes[a]);
            check(both, a + 1, sizes[a]);
            check(both, b + 100, sizes[b]);
            assert_true(tl_id_filter_count(both) <= sizes[a] + sizes[b]);
            tl_id_filter_free(x);
            tl_id_filter_free(y);
            tl_id_filter_free(both);
        }
}

static void others_are_rarely_found(void **state)
{
    (void)state;
    struct tl_id_filter *f = make(7, 1 << 20);
    uint64_t seed = 12345;
    uint32_t yes = 0;
    for (uint32_t i = 0; i < 1 << 20; i++) {
        uint8_t found = 0;
        uint32_t hash = draw(&seed);
        tl_id_filter_ask(f, &hash, 1, &found);
        yes += found;
    }
    /* n / 2^32 of them: 256 expected, and 16 is its deviation. */
    assert_in_range(yes, 150, 370);
    assert_true(tl_id_filter_bytes(f) < (5U << 20) / 2);
    tl_id_filter_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_keep_what_they_were_given),
        cmocka_unit_test(others_are_rarely_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
