/*
 * Promise: the hashes are XXH3's published values (they stand in files), short and long inputs
 * alike, and a seed changes them.
 */
#include "base/hash.h"

#include <string.h>

#include "tests/test.h"

/* The generator of xxHash's own self test, so that its published values can be compared. */
static void fill_sanity(uint8_t *out, size_t size)
{
    uint64_t byte_gen = 2654435761U;
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(byte_gen >> 56);
        byte_gen *= 11400714785074694797ULL;
    }
}

static void known_values(void **state)
{
    (void)state;
    uint8_t bytes[2367];
    fill_sanity(bytes, sizeof(bytes));
    static const struct {
        size_t size;
        uint64_t seed, value;
    } known[] = {
        {0, 0, 0x2D06800538D394C2ULL},    {0, 0x9E3779B185EBCA8DULL, 0xA8A6B918B2F0364AULL},
        {1, 0, 0xC44BDFF4074EECDBULL},    {6, 0, 0x27B56A84CD2D7325ULL},
        {12, 0, 0xA713DAF0DFBB77E7ULL},   {24, 0, 0xA3FE70BF9D3510EBULL},
        {48, 0, 0x397DA259ECBA1F11ULL},   {80, 0, 0xBCDEFBBB2C47C90AULL},
        {195, 0, 0xCD94217EE362EC3AULL},  {403, 0, 0xCDEB804D65C6DEA4ULL},
        {512, 0, 0x617E49599013CB6BULL},  {2048, 0, 0xDD59E2C3A5F038E0ULL},
        {2240, 0, 0x6E73A90539CF2948ULL}, {2367, 0, 0xCB37AEB9E5D361EDULL},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].seed == 0)
            assert_true(tl_hash64(bytes, known[i].size) == known[i].value);
        assert_true(tl_hash64_seed(bytes, known[i].size, known[i].seed) == known[i].value);
    }
    assert_true(tl_hash64(NULL, 0) == 0x2D06800538D394C2ULL);
    struct tl_hash128 h = tl_hash128(bytes, 0);
    assert_true(h.low == 0x6001C324468D497FULL && h.high == 0x99AA06D3014798D8ULL);
}

static void seeds_streams_and_integers(void **state)
{
    (void)state;
    uint8_t bytes[1000];
    fill_sanity(bytes, sizeof(bytes));
    struct tl_hash_stream *s = tl_hash_stream_new(5);
    assert_non_null(s);
    for (size_t size = 0; size <= sizeof(bytes); size += 7) {
        uint64_t plain = tl_hash64(bytes, size);
        assert_true(tl_hash64_seed(bytes, size, 0) == plain);
        uint64_t seeded = tl_hash64_seed(bytes, size, 5);
        assert_true(seeded != plain);
        assert_true(tl_hash64_seed(bytes, size, 6) != seeded);
        tl_hash_stream_reset(s, 5);
        for (size_t at = 0; at < size; at += 13)
            tl_hash_stream_add(s, bytes + at, size - at < 13 ? size - at : 13);
        assert_true(tl_hash_stream_value(s) == seeded);
    }
    tl_hash_stream_free(s);
    tl_hash_stream_free(NULL);
    assert_true(tl_hash_u64(0x0807060504030201ULL) == tl_hash64("\1\2\3\4\5\6\7\10", 8));
    assert_true(tl_hash_mix(1) != tl_hash_mix(2));
    assert_true(tl_hash_combine(1, 2) != tl_hash_combine(2, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(seeds_streams_and_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
