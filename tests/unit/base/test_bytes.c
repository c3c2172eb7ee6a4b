/*
 * Promise: what a buffer puts, a reader reads; a reader never passes its end and stays failed;
 * a buffer never passes its limit and tells so once.
 */
#include "base/bytes.h"

#include "tests/test.h"

static void round_trip(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer b;
    tl_buffer_init(&b, "test buffer", 1 << 20);
    static const uint64_t varints[] = {0,     1,          127,        128,        16383,
                                       16384, UINT32_MAX, 1ULL << 62, 1ULL << 63, UINT64_MAX};
    tl_buffer_put_u8(&b, 0xab);
    tl_buffer_put_u16(&b, 0xbeef);
    tl_buffer_put_u32(&b, 0xdeadbeef);
    tl_buffer_put_u64(&b, 0x0123456789abcdefULL);
    for (size_t i = 0; i < sizeof(varints) / sizeof(varints[0]); i++)
        tl_buffer_put_varint(&b, varints[i]);
    tl_buffer_put_string(&b, tl_slice_str("hello"));
    tl_buffer_put_string(&b, tl_slice_of(NULL, 0));
    tl_buffer_printf(&b, "%d-%s", 42, "x");
    assert_ok(&st, tl_buffer_check(&b, &st));
    assert_memory_equal(b.data + 1, "\xef\xbe\xef\xbe\xad\xde\xef\xcd\xab\x89\x67\x45\x23\x01", 14);

    struct tl_reader r = tl_reader_of(tl_buffer_slice(&b));
    assert_int_equal(tl_read_u8(&r), 0xab);
    assert_int_equal(tl_read_u16(&r), 0xbeef);
    assert_int_equal(tl_read_u32(&r), 0xdeadbeef);
    assert_true(tl_read_u64(&r) == 0x0123456789abcdefULL);
    for (size_t i = 0; i < sizeof(varints) / sizeof(varints[0]); i++)
        assert_true(tl_read_varint(&r) == varints[i]);
    assert_true(tl_slice_eq(tl_read_string(&r), tl_slice_str("hello")));
    assert_int_equal(tl_read_string(&r).size, 0);
    assert_false(r.failed);
    assert_int_equal(tl_reader_left(&r), 4);
    assert_true(tl_slice_eq(tl_read_bytes(&r, 4), tl_slice_str("42-x")));
    assert_false(r.failed);
    assert_int_equal(tl_read_u8(&r), 0);
    assert_true(r.failed);
    tl_buffer_deinit(&b);
    tl_buffer_deinit(NULL);
}

static void a_failed_reader_stays_failed(void **state)
{
    (void)state;
    uint8_t bytes[] = {1, 2, 3, 4, 5};
    struct tl_reader r = tl_reader_of(tl_slice_of(bytes, sizeof(bytes)));
    assert_true(tl_read_u64(&r) == 0);
    assert_true(r.failed);
    assert_int_equal(tl_read_u8(&r), 0);
    assert_int_equal(tl_reader_left(&r), 0);

    r = tl_reader_of(tl_slice_of("\xff\xff\xff\xff", 4));
    assert_int_equal(tl_read_string(&r).size, 0);
    assert_true(r.failed);
    r = tl_reader_of(tl_slice_of(NULL, 0));
    assert_int_equal(tl_read_bytes(&r, 0).size, 0);
    assert_false(r.failed);
}

static void bad_varints(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
        {"", 0},
        {"\x80", 1},
        {"\x80\x00", 2},                                  /* overlong zero */
        {"\xff\x80\x00", 3},                              /* overlong 127 */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10}, /* 65 bits */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tl_reader r = tl_reader_of(tl_slice_of(bad[i].bytes, bad[i].size));
        assert_true(tl_read_varint(&r) == 0);
        assert_true(r.failed);
    }
}

static void a_buffer_keeps_its_limit(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer b;
    tl_buffer_init(&b, "reply", 100);
    for (int i = 0; i < 100; i++)
        tl_buffer_put_u8(&b, (uint8_t)i);
    assert_ok(&st, tl_buffer_check(&b, &st));
    assert_true(b.capacity <= 100);
    assert_null(tl_buffer_reserve(&b, 1));
    tl_buffer_put_u8(&b, 1);
    assert_int_equal(b.size, 100);
    assert_code(&st, TL_LIMIT, tl_buffer_check(&b, &st));
    tl_buffer_clear(&b);
    assert_ok(&st, tl_buffer_check(&b, &st));
    tl_buffer_put_string(&b, tl_slice_of("0123456789", 10));
    assert_int_equal(b.size, 14);
    char big[200];
    memset(big, 'x', sizeof(big));
    tl_buffer_put_string(&b, tl_slice_of(big, sizeof(big)));
    assert_int_equal(b.size, 14); /* no half string */
    assert_true(b.failed);
    tl_buffer_deinit(&b);

    tl_buffer_init(&b, "long text", 1000);
    tl_buffer_printf(&b, "%0500d", 7);
    assert_int_equal(b.size, 500);
    assert_int_equal(b.data[499], '7');
    tl_buffer_printf(&b, "%0600d", 7);
    assert_true(b.failed);
    assert_int_equal(b.size, 500);
    tl_buffer_deinit(&b);
}

static void slices_compare_as_bytes(void **state)
{
    (void)state;
    assert_true(tl_slice_cmp(tl_slice_str("a"), tl_slice_str("b")) < 0);
    assert_true(tl_slice_cmp(tl_slice_str("ab"), tl_slice_str("a")) > 0);
    assert_true(tl_slice_cmp(tl_slice_str(""), tl_slice_of(NULL, 0)) == 0);
    assert_true(tl_slice_cmp(tl_slice_str("\xc3"), tl_slice_str("z")) > 0);
    assert_true(tl_slice_eq(tl_slice_of(NULL, 0), tl_slice_str("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(a_failed_reader_stays_failed),
        cmocka_unit_test(bad_varints),
        cmocka_unit_test(a_buffer_keeps_its_limit),
        cmocka_unit_test(slices_compare_as_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
