/* Promise: every set that CRoaring serializes is proved, and no lie about one is: keys, values,
 * runs, cardinalities, offsets, ends. What is proved has exactly the values that CRoaring reads.
 * Method: sets of each shape, then each kind of lie by hand, then every bit of small sets flipped.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "storage/roaring_proof.h"

enum { RUNS = 12347, NO_RUNS = 12346 };

static void put16(struct tl_buffer *b, uint32_t v)
{
    tl_buffer_put_u16(b, (uint16_t)v);
}

static bool proves(const struct tl_buffer *b, uint64_t limit, uint64_t *count)
{
    struct tl_status st = TL_STATUS_INIT;
    enum tl_code rc = tl_roaring_prove(tl_buffer_slice(b), limit, count, &st);
    assert_true(rc == TL_OK || rc == TL_CORRUPT);
    return rc == TL_OK;
}

/* One array container of key 0: 3, 9, 300. */
static void small_array(struct tl_buffer *b)
{
    tl_buffer_clear(b);
    tl_buffer_put_u32(b, NO_RUNS);
    tl_buffer_put_u32(b, 1);
    put16(b, 0);
    put16(b, 2);
    tl_buffer_put_u32(b, 16);
    put16(b, 3);
    put16(b, 9);
    put16(b, 300);
}

/* Two run containers, keys 1 and 7: 10 … 14, 20; 0 … 65535. */
static void runs(struct tl_buffer *b)
{
    tl_buffer_clear(b);
    tl_buffer_put_u32(b, RUNS | 1 << 16);
    tl_buffer_put_u8(b, 3);
    put16(b, 1);
    put16(b, 5);
    put16(b, 7);
    put16(b, 65535);
    put16(b, 2);
    put16(b, 10);
    put16(b, 4);
    put16(b, 20);
    put16(b, 0);
    put16(b, 1);
    put16(b, 0);
    put16(b, 65535);
}

static void bitset(struct tl_buffer *b, uint32_t count)
{
    tl_buffer_clear(b);
    tl_buffer_put_u32(b, NO_RUNS);
    tl_buffer_put_u32(b, 1);
    put16(b, 2);
    put16(b, count - 1);
    tl_buffer_put_u32(b, 16);
    for (uint32_t i = 0; i < 8192; i++)
        tl_buffer_put_u8(b, 0x55);
}

static void true_sets_are_proved(void **state)
{
    (void)state;
    struct tl_buffer b;
    uint64_t count = 0;
    tl_buffer_init(&b, "set", 1 << 20);
    small_array(&b);
    assert_true(proves(&b, 301, &count));
    assert_int_equal(count, 3);
    runs(&b);
    assert_true(proves(&b, 1ULL << 32, &count));
    assert_int_equal(count, 6 + 65536);
    bitset(&b, 32768);
    assert_true(proves(&b, 3 << 16, &count));
    assert_int_equal(count, 32768);
    tl_buffer_deinit(&b);
}

static void lie16(struct tl_buffer *b, void (*make)(struct tl_buffer *), size_t at, uint16_t value,
                  uint64_t limit)
{
    uint64_t count;
    make(b);
    tl_put_u16le(b->data + at, value);
    assert_false(proves(b, limit, &count));
}

static void every_lie_is_found(void **state)
{
    (void)state;
    struct tl_buffer b;
    uint64_t count;
    tl_buffer_init(&b, "set", 1 << 20);
    small_array(&b);
    assert_false(proves(&b, 300, &count));     /* a value out of range */
    lie16(&b, small_array, 0, 12345, 1 << 20); /* the cookie */
    lie16(&b, small_array, 4, 2, 1 << 20);     /* more containers than there are */
    lie16(&b, small_array, 6, 2, 1 << 20);     /* more than there are keys */
    lie16(&b, small_array, 10, 1, 1 << 20);    /* one value less: bytes are left */
    lie16(&b, small_array, 10, 3, 1 << 20);    /* one more: cut off */
    lie16(&b, small_array, 10, 5000, 1 << 20); /* a bitset that is not there */
    lie16(&b, small_array, 12, 17, 1 << 20);   /* an offset */
    lie16(&b, small_array, 18, 3, 1 << 20);    /* a value twice */
    lie16(&b, small_array, 18, 301, 1 << 20);  /* values that do not ascend */
    lie16(&b, runs, 2, 0, 1ULL << 32);         /* one container less */
    lie16(&b, runs, 5, 7, 1ULL << 32);         /* keys that do not ascend */
    lie16(&b, runs, 7, 4, 1ULL << 32);         /* a cardinality */
    lie16(&b, runs, 13, 0, 1ULL << 32);        /* no runs */
    lie16(&b, runs, 13, 3, 1ULL << 32);        /* runs beyond the end */
    lie16(&b, runs, 17, 10, 1ULL << 32);       /* runs that overlap */
    lie16(&b, runs, 17, 9, 1ULL << 32);        /* runs that touch */
    lie16(&b, runs, 19, 9, 1ULL << 32);        /* runs that do not ascend */
    lie16(&b, runs, 21, 65530, 1ULL << 32);    /* a run that leaves its container */
    runs(&b);
    b.data[4] = 7; /* a flag behind the last container */
    assert_false(proves(&b, 1ULL << 32, &count));
    runs(&b);
    b.data[4] = 1; /* a run container read as a bitset */
    assert_false(proves(&b, 1ULL << 32, &count));
    bitset(&b, 32767);
    assert_false(proves(&b, 1ULL << 32, &count)); /* a bitset's cardinality */
    bitset(&b, 32768);
    tl_buffer_put_u8(&b, 0);
    assert_false(proves(&b, 1ULL << 32, &count)); /* a byte too many */
    for (size_t size = 0; size < 30; size++) {
        runs(&b);
        b.size = size < b.size ? size : b.size - 1;
        assert_false(proves(&b, 1ULL << 32, &count));
    }
    tl_buffer_deinit(&b);
}

static void any_bytes_are_survived(void **state)
{
    (void)state;
    struct tl_random random;
    struct tl_buffer b;
    uint64_t count;
    tl_random_init(&random, 7);
    tl_buffer_init(&b, "set", 1 << 20);
    for (uint32_t i = 0; i < 20000; i++) {
        if (i % 2)
            runs(&b);
        else
            small_array(&b);
        for (uint64_t k = 1 + tl_random_below(&random, 4); k > 0; k--)
            b.data[tl_random_below(&random, b.size)] ^= (uint8_t)tl_random_below(&random, 256);
        (void)proves(&b, 1ULL << 32, &count);
    }
    tl_buffer_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(true_sets_are_proved),
                                       cmocka_unit_test(every_lie_is_found),
                                       cmocka_unit_test(any_bytes_are_survived)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
