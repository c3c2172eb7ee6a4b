/*
 * Promise: UTF-8 is judged as RFC 3629 says at every alignment; numbers read and print as
 * PostgreSQL spells them, and what is printed reads back as the same value.
 */
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tests/test.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void utf8_good_and_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
    } good[] = {
        {"", 0},
        {"plain", 5},
        {"\x7f", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\xef\xbf\xbf", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"Gr\xc3\xbc\xc3\x9f\x65 \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x98\x80", 19},
    };
    static const struct {
        const char *text;
        size_t size;
        size_t valid;
    } bad[] = {
        {"\x80", 1, 0},
        {"\xbf", 1, 0},
        {"\xc0\x80", 2, 0},
        {"\xc1\xbf", 2, 0},
        {"\xc2", 1, 0},
        {"\xc2\x41", 2, 0},
        {"\xe0\x9f\xbf", 3, 0},
        {"\xe0\xa0", 2, 0},
        {"\xed\xa0\x80", 3, 0}, /* a surrogate */
        {"\xed\xbf\xbf", 3, 0},
        {"\xf0\x8f\xbf\xbf", 4, 0},
        {"\xf0\x90\x80", 3, 0},
        {"\xf4\x90\x80\x80", 4, 0},
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xff", 1, 0},
        {"abc\xff", 4, 3},
        {"a\0b", 3, 1},
    };
    /* Each at every offset of a run of ASCII, in a block of exact size so that ASan sees. */
    for (size_t before = 0; before < 40; before++) {
        for (size_t after = 0; after < 20; after += 3) {
            for (size_t i = 0; i < COUNT(good); i++) {
                size_t size = before + good[i].size + after;
                uint8_t *p = malloc(size + 1);
                memset(p, 'x', size + 1);
                memcpy(p + before, good[i].text, good[i].size);
                assert_true(tl_utf8_valid(tl_slice_of(p, size), false));
                free(p);
            }
            for (size_t i = 0; i < COUNT(bad); i++) {
                size_t size = before + bad[i].size + after;
                uint8_t *p = malloc(size);
                memset(p, 'x', size);
                memcpy(p + before, bad[i].text, bad[i].size);
                assert_int_equal(tl_utf8_valid_size(tl_slice_of(p, size), false),
                                 before + bad[i].valid);
                free(p);
            }
        }
    }
    assert_true(tl_utf8_valid(tl_slice_of("a\0b", 3), true));
    assert_true(tl_utf8_valid(tl_slice_of(NULL, 0), false));
    assert_false(tl_utf8_valid(tl_slice_of("0123456789abcdef0123456\0", 24), false));
    assert_true(tl_utf8_valid(tl_slice_of("0123456789abcdef0123456\0", 24), true));
    assert_int_equal(tl_utf8_count(tl_slice_str("Gr\xc3\xbc\xc3\x9f\x65 "
                                                "\xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x98\x80")),
                     10);
    assert_true(tl_text_is_ascii(tl_slice_str("0123456789")));
    assert_false(tl_text_is_ascii(tl_slice_str("01234567\xc3\xa9")));
    assert_false(tl_text_is_ascii(tl_slice_str("\xc3\xa9 01234567")));
}

/* Against a plain decoder, over random bytes drawn to be nearly right. */
static bool naive_valid(const uint8_t *p, size_t size)
{
    size_t i = 0;
    while (i < size) {
        uint32_t c = p[i];
        int more = c < 0x80 ? 0 : c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : -1;
        if (more < 0 || c == 0)
            return false;
        static const uint32_t low[] = {0, 0x80, 0x800, 0x10000};
        c &= more == 0 ? 0x7f : 0x3fU >> more;
        i++;
        for (int k = 0; k < more; k++, i++) {
            if (i >= size || p[i] >> 6 != 2)
                return false;
            c = c << 6 | (p[i] & 63);
        }
        if (c < low[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return false;
    }
    return true;
}

static void utf8_random(void **state)
{
    (void)state;
    struct tl_random r;
    tl_random_init(&r, 11);
    static const uint8_t pick[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
                                   0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5};
    uint32_t valid = 0;
    for (int i = 0; i < 300000; i++) {
        uint8_t bytes[32];
        size_t size = tl_random_below(&r, 6) + (i % 3 == 0 ? 16 : 0);
        memset(bytes, 'a', sizeof(bytes));
        for (size_t k = size > 6 ? size - 6 : 0; k < size; k++)
            bytes[k] = pick[tl_random_below(&r, sizeof(pick))];
        bool expected = naive_valid(bytes, size);
        assert_int_equal(tl_utf8_valid(tl_slice_of(bytes, size), false), expected);
        valid += expected;
    }
    assert_true(valid > 10000);
}

static void repair(void **state)
{
    (void)state;
    struct tl_buffer b;
    tl_buffer_init(&b, "repair", 1000);
    assert_int_equal(tl_utf8_repair(tl_slice_of("a\xff\xe4\xb8z\0ok", 8), &b), 3);
    assert_true(
        tl_slice_eq(tl_buffer_slice(&b), tl_slice_str("a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbdok")));
    tl_buffer_deinit(&b);
}

static void integers(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    int64_t v = 0;
    assert_ok(&st, tl_parse_int64(tl_slice_str(" -9223372036854775808 "), &v, &st));
    assert_true(v == INT64_MIN);
    assert_ok(&st, tl_parse_int64(tl_slice_str("+9223372036854775807"), &v, &st));
    assert_true(v == INT64_MAX);
    assert_ok(&st, tl_parse_int64(tl_slice_str("-0"), &v, &st));
    assert_int_equal(v, 0);
    static const char *syntax[] = {"", " ", "-", "+", "1 2", "1.0", "0x10", "abc", "--1", "1e3"};
    for (size_t i = 0; i < COUNT(syntax); i++) {
        v = 77;
        assert_int_equal(tl_parse_int64(tl_slice_str(syntax[i]), &v, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22P02");
        assert_int_equal(v, 77);
        tl_status_clear(&st);
    }
    static const char *range[] = {"9223372036854775808", "-9223372036854775809",
                                  "18446744073709551616", "99999999999999999999999999"};
    for (size_t i = 0; i < COUNT(range); i++) {
        assert_int_equal(tl_parse_int64(tl_slice_str(range[i]), &v, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22003");
        tl_status_clear(&st);
    }
    char buf[TL_INT64_TEXT_MAX], expected[32];
    struct tl_random r;
    tl_random_init(&r, 3);
    for (int i = 0; i < 100000; i++) {
        int64_t x = (int64_t)tl_random_u64(&r) >> tl_random_below(&r, 64);
        snprintf(expected, sizeof(expected), "%lld", (long long)x);
        assert_int_equal(tl_print_int64(x, buf), strlen(expected));
        assert_string_equal(buf, expected);
        assert_ok(&st, tl_parse_int64(tl_slice_str(buf), &v, &st));
        assert_true(v == x);
    }
    tl_print_int64(INT64_MIN, buf);
    assert_string_equal(buf, "-9223372036854775808");
    tl_print_uint64(UINT64_MAX, buf);
    assert_string_equal(buf, "18446744073709551615");
}

static void doubles_print(void **state)
{
    (void)state;
    /* As PostgreSQL 15 prints them. */
    static const struct {
        double v;
        const char *text;
    } known[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {100, "100"},
        {1e14, "100000000000000"},
        {123456789012345.0, "123456789012345"},
        {1e15, "1e+15"},
        {1234567890123456.0, "1.234567890123456e+15"},
        {1e20, "1e+20"},
        {1e100, "1e+100"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.00001, "1e-05"},
        {1.2345e-7, "1.2345e-07"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {9007199254740993.0, "9.007199254740992e+15"},
        {0.3, "0.3"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2e-44, "2e-44"},
        {9.5367431640625e-07, "9.5367431640625e-07"},
        {4294967296.5, "4294967296.5"},
        {(double)INFINITY, "Infinity"},
        {-(double)INFINITY, "-Infinity"},
        {(double)NAN, "NaN"},
    };
    char buf[TL_DOUBLE_TEXT_MAX];
    for (size_t i = 0; i < COUNT(known); i++) {
        assert_int_equal(tl_print_double(known[i].v, buf), strlen(known[i].text));
        assert_string_equal(buf, known[i].text);
    }
}

/* Reads back as itself, and no text with fewer digits does. */
static void check_shortest(double x)
{
    struct tl_status st = TL_STATUS_INIT;
    char buf[TL_DOUBLE_TEXT_MAX];
    tl_print_double(x, buf);
    double back = 0;
    assert_ok(&st, tl_parse_double(tl_slice_str(buf), &back, &st));
    assert_memory_equal(&back, &x, sizeof(x));
    assert_true(strtod(buf, NULL) == x);
    int digits = 0;
    bool leading = true;
    int trailing_zeros = 0;
    for (const char *p = buf; *p && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9' && !(leading && *p == '0')) {
            leading = false;
            digits++;
            trailing_zeros = *p == '0' ? trailing_zeros + 1 : 0;
        }
    }
    if (!strchr(buf, '.'))
        digits -= trailing_zeros;
    assert_true(digits >= 1 && digits <= 17);
    if (digits > 1) {
        char shorter[64];
        snprintf(shorter, sizeof(shorter), "%.*e", digits - 2, x);
        /* Only one that lies exactly between two doubles may, which PostgreSQL does not use. */
        if (strtod(shorter, NULL) == x) {
            long double wide = strtold(shorter, NULL);
            double other = wide > (long double)x ? nextafter(x, (double)INFINITY)
                                                 : nextafter(x, -(double)INFINITY);
            assert_true(wide == ((long double)x + (long double)other) / 2);
        }
    }
}

static void doubles_round_trip(void **state)
{
    (void)state;
    struct tl_random r;
    tl_random_init(&r, 5);
    for (uint64_t biased = 0; biased < 0x7ff; biased++) {
        static const uint64_t fractions[] = {0,         1, 2, (1ULL << 52) - 1, (1ULL << 52) - 2,
                                             1ULL << 51};
        for (size_t k = 0; k < COUNT(fractions) + 20; k++) {
            uint64_t fraction =
                k < COUNT(fractions) ? fractions[k] : tl_random_u64(&r) & ((1ULL << 52) - 1);
            uint64_t bits = biased << 52 | fraction;
            double x;
            memcpy(&x, &bits, sizeof(x));
            if (x != 0)
                check_shortest(x);
        }
    }
    for (int i = 0; i < 50000; i++) {
        check_shortest((double)(int64_t)tl_random_below(&r, 100000000) / 100 + 0.01);
        check_shortest(-tl_random_double(&r));
    }
}

static void doubles_parse(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    static const struct {
        const char *text;
        double v;
    } good[] = {
        {"1", 1},
        {" 1.5 ", 1.5},
        {".5", .5},
        {"5.", 5},
        {"-1e3", -1000},
        {"1E+2", 100},
        {"0.1", 0.1},
        {"123456789012345678901234567890", 123456789012345678901234567890.0},
        {"2.2250738585072011e-308", 2.2250738585072011e-308},
        {"0e999999999", 0},
        {"0.000000000000000000000000000001", 1e-30},
        {"4.9e-324", 4.9e-324},
        {"9007199254740993", 9007199254740992.0},
        {"infinity", (double)INFINITY},
        {"+Inf", (double)INFINITY},
        {"-INFINITY", -(double)INFINITY},
    };
    double v;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_ok(&st, tl_parse_double(tl_slice_str(good[i].text), &v, &st));
        assert_true(v == good[i].v);
    }
    assert_ok(&st, tl_parse_double(tl_slice_str("NaN"), &v, &st));
    assert_true(isnan(v));
    char many[400];
    memset(many, '1', sizeof(many));
    many[1] = '.';
    assert_ok(&st, tl_parse_double(tl_slice_of(many, sizeof(many)), &v, &st));
    assert_true(v == 1.1111111111111111);
    static const char *bad[] = {"",      " ",    ".",   "-",    "e5",    "1e", "1e+",
                                "1.2.3", "0x10", "1,5", "nanx", "infin", "1 2"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(tl_parse_double(tl_slice_str(bad[i]), &v, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22P02");
        tl_status_clear(&st);
    }
    static const char *range[] = {"1e400", "-1e400", "1e-400", "1e999999999999"};
    for (size_t i = 0; i < COUNT(range); i++) {
        assert_int_equal(tl_parse_double(tl_slice_str(range[i]), &v, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22003");
        tl_status_clear(&st);
    }
}

static void decimals(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    char buf[TL_DECIMAL_TEXT_MAX];
    static const struct {
        const char *text;
        unsigned scale;
        const char *expected;
    } good[] = {
        {"0", 0, "0"},
        {"-0.00", 2, "0.00"},
        {"12.345", 2, "12.35"},
        {"-12.345", 2, "-12.35"},
        {"12.344999", 2, "12.34"},
        {"0.005", 2, "0.01"},
        {"-0.0049", 2, "0.00"},
        {".5", 0, "1"},
        {"0.4", 0, "0"},
        {"5.", 1, "5.0"},
        {" 1e3 ", 2, "1000.00"},
        {"1.5e-3", 4, "0.0015"},
        {"0.000000000000000000000000000000000000000000001", 4, "0.0000"},
        {"0e999999", 4, "0.0000"},
        {"1e-999999", 4, "0.0000"},
        {"99999999999999999999999999999999999999", 0, "99999999999999999999999999999999999999"},
        {"-99999999999999999999999999999999999999", 0, "-99999999999999999999999999999999999999"},
        {"0.99999999999999999999999999999999999999", 38,
         "0.99999999999999999999999999999999999999"},
        {"000000000000000000000000000000000000000000000000001.25", 2, "1.25"},
        {"1000000000000000000.000000000000000000", 18, "1000000000000000000.000000000000000000"},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        tl_i128 v;
        assert_ok(&st, tl_parse_decimal128(tl_slice_str(good[i].text), good[i].scale, &v, &st));
        assert_int_equal(tl_print_decimal(v, good[i].scale, buf), strlen(good[i].expected));
        assert_string_equal(buf, good[i].expected);
    }
    static const struct {
        const char *text;
        unsigned scale;
    } range[] = {
        {"100000000000000000000000000000000000000", 0},
        {"99999999999999999999999999999999999999.5", 0},
        {"1", 38},
        {"1e38", 0},
        {"1e999999999999", 0},
    };
    tl_i128 v = 7;
    for (size_t i = 0; i < COUNT(range); i++) {
        assert_int_equal(tl_parse_decimal128(tl_slice_str(range[i].text), range[i].scale, &v, &st),
                         TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22003");
        tl_status_clear(&st);
    }
    assert_true(v == 7);
    static const char *bad[] = {"", ".", "1..2", "1e", "abc", "NaN", "1_000", "- 1"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(tl_parse_decimal128(tl_slice_str(bad[i]), 2, &v, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22P02");
        tl_status_clear(&st);
    }
    int64_t small;
    assert_ok(&st, tl_parse_decimal64(tl_slice_str("-99999999999999.9999"), 4, &small, &st));
    assert_true(small == -999999999999999999LL);
    assert_code(&st, TL_INVALID,
                tl_parse_decimal64(tl_slice_str("100000000000000"), 4, &small, &st));
    assert_code(&st, TL_INVALID,
                tl_parse_decimal64(tl_slice_str("99999999999999.99995"), 4, &small, &st));

    unsigned scale;
    assert_ok(&st, tl_parse_decimal_literal(tl_slice_str("1.50"), &v, &scale, &st));
    assert_true(v == 150 && scale == 2);
    assert_ok(&st, tl_parse_decimal_literal(tl_slice_str("1.5e3"), &v, &scale, &st));
    assert_true(v == 1500 && scale == 0);
    assert_ok(&st, tl_parse_decimal_literal(tl_slice_str("15e-3"), &v, &scale, &st));
    assert_true(v == 15 && scale == 3);
    assert_code(&st, TL_INVALID, tl_parse_decimal_literal(tl_slice_str("1e-39"), &v, &scale, &st));

    tl_i128 most = (tl_i128)(~(tl_u128)0 >> 1);
    tl_print_decimal(most, 0, buf);
    assert_string_equal(buf, "170141183460469231731687303715884105727");
    tl_print_decimal(-most - 1, 38, buf);
    assert_string_equal(buf, "-1.70141183460469231731687303715884105728");
    tl_print_decimal(tl_pow10_i128(18) * 5, 0, buf);
    assert_string_equal(buf, "5000000000000000000");
    tl_print_decimal(tl_pow10_i128(38) + 7, 38, buf);
    assert_string_equal(buf, "1.00000000000000000000000000000000000007");
}

static void booleans(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    static const char *yes[] = {"t", "T", "tr", "tru", "TRUE", " y ", "ye", "yes", "on", "ON", "1"};
    static const char *no[] = {"f", "fal", "False", "n", "no", "of", "off", "0", "\tfalse\n"};
    static const char *bad[] = {"", "o", "2", "truee", "yess", "10", "x", "nope"};
    bool v = false;
    for (size_t i = 0; i < COUNT(yes); i++) {
        v = false;
        assert_ok(&st, tl_parse_bool(tl_slice_str(yes[i]), &v, &st));
        assert_true(v);
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        v = true;
        assert_ok(&st, tl_parse_bool(tl_slice_str(no[i]), &v, &st));
        assert_false(v);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_code(&st, TL_INVALID, tl_parse_bool(tl_slice_str(bad[i]), &v, &st));
}

static void hex_and_case(void **state)
{
    (void)state;
    char buf[9];
    tl_print_hex("\x00\xab\xff\x10", 4, buf);
    assert_string_equal(buf, "00abff10");
    uint8_t bytes[4] = {0};
    assert_true(tl_parse_hex(tl_slice_str("00ABff10"), bytes, 4));
    assert_memory_equal(bytes, "\x00\xab\xff\x10", 4);
    assert_false(tl_parse_hex(tl_slice_str("00ABff1"), bytes, 4));
    assert_false(tl_parse_hex(tl_slice_str("00ABfg10"), bytes, 4));
    assert_false(tl_parse_hex(tl_slice_str("00ABff1011"), bytes, 4));
    assert_true(tl_text_eq_nocase(tl_slice_str("HeLLo"), "hello"));
    assert_false(tl_text_eq_nocase(tl_slice_str("HeLL"), "hello"));
    assert_false(tl_text_eq_nocase(tl_slice_str("HeLLos"), "hello"));
    assert_true(tl_slice_eq(tl_text_trim(tl_slice_str(" \t a b\n ")), tl_slice_str("a b")));
    assert_int_equal(tl_text_trim(tl_slice_str("   ")).size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_good_and_bad),
        cmocka_unit_test(utf8_random),
        cmocka_unit_test(repair),
        cmocka_unit_test(integers),
        cmocka_unit_test(doubles_print),
        cmocka_unit_test(doubles_round_trip),
        cmocka_unit_test(doubles_parse),
        cmocka_unit_test(decimals),
        cmocka_unit_test(booleans),
        cmocka_unit_test(hex_and_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
