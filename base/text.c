/*
 * Doubles are printed with Schubfach (Raffaello Giulietti, "The Schubfach way to render
 * doubles"), after the shape of Alexander Bolz's reference; like PostgreSQL's Ryu it never uses
 * the bounds of the rounding interval themselves, so that any reader's rounding gives the value
 * back. Doubles are read exactly where 53 bits and one multiplication suffice (Clinger), and by
 * the C library otherwise.
 */
#include "base/text.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/assert.h"
#include "base/text_int.h"

/* ---- UTF-8 ---- */

#define EACH_BYTE 0x0101010101010101ULL
#define HIGH_BITS 0x8080808080808080ULL

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Non-zero when a byte of v is >= 0x80, or (nul_bits set) zero. */
static inline uint64_t bad_for_ascii(uint64_t v, uint64_t nul_bits)
{
    return (v | ((v - EACH_BYTE) & nul_bits)) & HIGH_BITS;
}

/* Past the blocks of ASCII at p; with a NUL in them only when nul_bits is 0. */
static inline const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end, uint64_t nul_bits)
{
#ifdef __SSE2__
    const __m128i zero = _mm_setzero_si128();
    const __m128i refuse_nul = _mm_set1_epi64x((long long)nul_bits);
    for (; end - p >= 32; p += 32) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + 16));
        __m128i nul = _mm_and_si128(_mm_cmpeq_epi8(_mm_min_epu8(a, b), zero), refuse_nul);
        if (_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), nul)))
            break;
    }
#endif
    while (end - p >= 16 &&
           !(bad_for_ascii(load64(p), nul_bits) | bad_for_ascii(load64(p + 8), nul_bits)))
        p += 16;
    if (end - p >= 8 && !bad_for_ascii(load64(p), nul_bits))
        p += 8;
    return p;
}

/* The size of the valid sequence at p, 0 if it is not valid. p[0] >= 0x80, p < end. */
static inline size_t sequence_size(const uint8_t *p, const uint8_t *end)
{
    size_t left = (size_t)(end - p);
    uint8_t b0 = p[0];
    if (b0 < 0xe0) {
        /* 0xc0 and 0xc1 could only be overlong */
        return b0 >= 0xc2 && left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    }
    if (b0 < 0xf0) {
        if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
            return 0;
        uint32_t c = (uint32_t)(b0 & 15) << 12 | (uint32_t)(p[1] & 63) << 6 | (p[2] & 63);
        return c >= 0x800 && (c < 0xd800 || c > 0xdfff) ? 3 : 0;
    }
    if (b0 > 0xf4 || left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 ||
        (p[3] & 0xc0) != 0x80)
        return 0;
    uint32_t c = (uint32_t)(b0 & 7) << 18 | (uint32_t)(p[1] & 63) << 12 |
                 (uint32_t)(p[2] & 63) << 6 | (p[3] & 63);
    return c >= 0x10000 && c <= 0x10ffff ? 4 : 0;
}

size_t tl_utf8_valid_size(struct tl_slice s, bool allow_nul)
{
    if (s.size == 0)
        return 0;
    const uint8_t *p = s.data;
    const uint8_t *end = s.data + s.size;
    const uint64_t nul_bits = allow_nul ? 0 : UINT64_MAX;
    while (p < end) {
        p = skip_ascii(p, end, nul_bits);
        /* A stretch with multi-byte sequences or a short tail, then back to the fast path. */
        const uint8_t *stop = end - p > 16 ? p + 16 : end;
        while (p < stop) {
            if (*p < 0x80) {
                if (*p == 0 && !allow_nul)
                    return (size_t)(p - s.data);
                p++;
                continue;
            }
            size_t size = sequence_size(p, end);
            if (size == 0)
                return (size_t)(p - s.data);
            p += size;
        }
    }
    return s.size;
}

bool tl_utf8_valid(struct tl_slice s, bool allow_nul)
{
    return tl_utf8_valid_size(s, allow_nul) == s.size;
}

size_t tl_utf8_count(struct tl_slice s)
{
    size_t count = 0;
    size_t i = 0;
    for (; i + 8 <= s.size; i += 8) {
        uint64_t v = load64(s.data + i);
        uint64_t continuation = (v >> 7) & (~v >> 6) & EACH_BYTE; /* bytes 10xxxxxx */
        count += 8 - (size_t)__builtin_popcountll(continuation);
    }
    for (; i < s.size; i++)
        count += (s.data[i] & 0xc0) != 0x80;
    return count;
}

bool tl_text_is_ascii(struct tl_slice s)
{
    size_t i = 0;
    uint64_t all = 0;
    for (; i + 8 <= s.size; i += 8)
        all |= load64(s.data + i);
    for (; i < s.size; i++)
        all |= s.data[i];
    return !(all & HIGH_BITS);
}

uint64_t tl_utf8_repair(struct tl_slice s, struct tl_buffer *out)
{
    uint64_t replaced = 0;
    while (s.size > 0) {
        size_t good = tl_utf8_valid_size(s, false);
        tl_buffer_put(out, s.data, good);
        s.data += good;
        s.size -= good;
        if (s.size == 0)
            break;
        tl_buffer_put(out, "\xef\xbf\xbd", 3);
        replaced++;
        /* One replacement for the bad byte and the continuation bytes that follow it. */
        bool multi = s.data[0] >= 0x80;
        do {
            s.data++;
            s.size--;
        } while (multi && s.size > 0 && (s.data[0] & 0xc0) == 0x80);
    }
    return replaced;
}

/* ---- white space and case ---- */

static inline bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static inline uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

struct tl_slice tl_text_trim(struct tl_slice s)
{
    while (s.size > 0 && is_space(s.data[0])) {
        s.data++;
        s.size--;
    }
    while (s.size > 0 && is_space(s.data[s.size - 1]))
        s.size--;
    return s;
}

bool tl_text_eq_nocase(struct tl_slice a, const char *b)
{
    for (size_t i = 0; i < a.size; i++) {
        if (b[i] == '\0' || lower(a.data[i]) != lower((uint8_t)b[i]))
            return false;
    }
    return b[a.size] == '\0';
}

/* ---- failures ---- */

/* As much of a value as an error quotes: whole characters only. */
static int quoted_size(struct tl_slice s)
{
    size_t size = s.size < 64 ? s.size : 64;
    while (size > 0 && size < s.size && (s.data[size] & 0xc0) == 0x80)
        size--;
    return (int)size;
}

static enum tl_code bad_syntax(struct tl_slice s, const char *type, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "invalid input syntax for type %s: \"%.*s\"", type,
                  quoted_size(s), s.size ? (const char *)s.data : "");
    return tl_status_sql(st, "22P02", 0);
}

static enum tl_code out_of_range(struct tl_slice s, const char *type, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "value \"%.*s\" is out of range for type %s", quoted_size(s),
                  s.size ? (const char *)s.data : "", type);
    return tl_status_sql(st, "22003", 0);
}

/* ---- integers ---- */

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

enum tl_code tl_parse_int64(struct tl_slice whole, int64_t *out, struct tl_status *st)
{
    struct tl_slice s = tl_text_trim(whole);
    size_t i = 0;
    bool negative = false;
    if (i < s.size && (s.data[i] == '-' || s.data[i] == '+'))
        negative = s.data[i++] == '-';
    if (i == s.size)
        return bad_syntax(whole, "bigint", st);
    uint64_t v = 0;
    bool overflow = false;
    for (; i < s.size; i++) {
        if (!is_digit(s.data[i]))
            return bad_syntax(whole, "bigint", st);
        overflow |= __builtin_mul_overflow(v, 10U, &v);
        overflow |= __builtin_add_overflow(v, (uint64_t)(s.data[i] - '0'), &v);
    }
    if (overflow || v > (uint64_t)INT64_MAX + negative)
        return out_of_range(whole, "bigint", st);
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return TL_OK;
}

/* Digits of v, right to left, ending before `end`; returns where they start. */
static char *digits_before(char *end, uint64_t v)
{
    while (v >= 100) {
        end -= 2;
        memcpy(end, digit_pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10) {
        end -= 2;
        memcpy(end, digit_pairs + v * 2, 2);
    } else {
        *--end = (char)('0' + v);
    }
    return end;
}

size_t tl_print_uint64(uint64_t v, char buf[TL_INT64_TEXT_MAX])
{
    char digits[20];
    char *first = digits_before(digits + sizeof(digits), v);
    size_t size = (size_t)(digits + sizeof(digits) - first);
    memcpy(buf, first, size);
    buf[size] = '\0';
    return size;
}

size_t tl_print_int64(int64_t v, char buf[TL_INT64_TEXT_MAX])
{
    if (v >= 0)
        return tl_print_uint64((uint64_t)v, buf);
    char digits[20];
    char *first = digits_before(digits + sizeof(digits), 0 - (uint64_t)v);
    size_t size = (size_t)(digits + sizeof(digits) - first);
    buf[0] = '-';
    memcpy(buf + 1, first, size);
    buf[size + 1] = '\0';
    return size + 1;
}

/* ---- decimal notation, shared by doubles and decimals ---- */

/* A number as it is written: digits before and after the point, and the exponent. */
struct number {
    bool negative;
    const uint8_t *whole;
    size_t whole_count;
    const uint8_t *fraction;
    size_t fraction_count;
    int32_t exponent; /* kept within ±EXPONENT_MAX: beyond it, nothing changes */
};

enum { EXPONENT_MAX = 1000000 };

static inline unsigned number_digit(const struct number *n, size_t i)
{
    return (unsigned)(i < n->whole_count ? n->whole[i] : n->fraction[i - n->whole_count]) - '0';
}

/* Reads [sign] digits [. digits] [e [sign] digits], all of s; at least one digit. */
static bool number_scan(struct tl_slice s, struct number *n)
{
    *n = (struct number){.fraction = NULL};
    if (s.size == 0)
        return false;
    const uint8_t *p = s.data;
    const uint8_t *end = p + s.size;
    if (p < end && (*p == '-' || *p == '+'))
        n->negative = *p++ == '-';
    n->whole = p;
    while (p < end && is_digit(*p))
        p++;
    n->whole_count = (size_t)(p - n->whole);
    if (p < end && *p == '.') {
        n->fraction = ++p;
        while (p < end && is_digit(*p))
            p++;
        n->fraction_count = (size_t)(p - n->fraction);
    }
    if (n->whole_count + n->fraction_count == 0)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        bool minus = false;
        p++;
        if (p < end && (*p == '-' || *p == '+'))
            minus = *p++ == '-';
        if (p == end)
            return false;
        for (; p < end && is_digit(*p); p++) {
            if (n->exponent < EXPONENT_MAX)
                n->exponent = n->exponent * 10 + (*p - '0');
        }
        if (n->exponent > EXPONENT_MAX)
            n->exponent = EXPONENT_MAX;
        if (minus)
            n->exponent = -n->exponent;
    }
    return p == end;
}

/* ---- doubles, reading ---- */

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    tl_assert(c_locale != (locale_t)0); /* "C" needs no file */
}

/* The value by the C library, with any number of digits. */
static enum tl_code parse_double_slowly(struct tl_slice s, double *out, struct tl_status *st)
{
    pthread_once(&c_locale_once, make_c_locale);
    char small[128];
    char *text = s.size < sizeof(small) ? small : malloc(s.size + 1);
    if (!text)
        return TL_FAIL(st, TL_LIMIT, "no memory to read a number of %zu digits", s.size);
    memcpy(text, s.data, s.size);
    text[s.size] = '\0';
    errno = 0;
    double v = strtod_l(text, NULL, c_locale);
    bool range = errno == ERANGE && (v == 0 || isinf(v)); /* a denormal is fine */
    if (text != small)
        free(text);
    if (range) {
        (void)TL_FAIL(st, TL_INVALID, "\"%.*s\" is out of range for type double precision",
                      quoted_size(s), (const char *)s.data);
        return tl_status_sql(st, "22003", 0);
    }
    *out = v;
    return TL_OK;
}

static bool parse_special_double(struct tl_slice s, double *out)
{
    if (tl_text_eq_nocase(s, "nan")) {
        *out = (double)NAN;
        return true;
    }
    bool negative = false;
    if (s.size > 0 && (s.data[0] == '-' || s.data[0] == '+')) {
        negative = s.data[0] == '-';
        s.data++;
        s.size--;
    }
    if (!tl_text_eq_nocase(s, "infinity") && !tl_text_eq_nocase(s, "inf"))
        return false;
    *out = negative ? -(double)INFINITY : (double)INFINITY;
    return true;
}

enum tl_code tl_parse_double(struct tl_slice whole, double *out, struct tl_status *st)
{
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct tl_slice s = tl_text_trim(whole);
    struct number n;
    if (!number_scan(s, &n)) {
        if (parse_special_double(s, out))
            return TL_OK;
        return bad_syntax(whole, "double precision", st);
    }
    size_t count = n.whole_count + n.fraction_count;
    if (count > 19)
        return parse_double_slowly(s, out, st);
    uint64_t digits = 0;
    for (size_t i = 0; i < count; i++)
        digits = digits * 10 + number_digit(&n, i);
    int32_t exponent = n.exponent - (int32_t)n.fraction_count;
    if (digits > 1ULL << 53 || exponent < -22 || exponent > 22) {
        if (digits != 0)
            return parse_double_slowly(s, out, st);
        exponent = 0;
    }
    double v = (double)digits;
    v = exponent < 0 ? v / exact[-exponent] : v * exact[exponent];
    *out = n.negative ? -v : v;
    return TL_OK;
}

/* ---- doubles, printing ---- */

/* floor(log10(2^e)), floor(log10(3/4 * 2^e)), floor(log2(10^e)) for all e that occur. */
static inline int32_t log10_of_pow2(int32_t e)
{
    return (e * 1262611) >> 22;
}
static inline int32_t log10_of_three_quarters_pow2(int32_t e)
{
    return (e * 1262611 - 524031) >> 22;
}
static inline int32_t log2_of_pow10(int32_t e)
{
    return (e * 1741647) >> 19;
}

static inline uint64_t round_to_odd(struct tl__pow10 g, uint64_t cp)
{
    tl_u128 x = (tl_u128)g.low * cp;
    tl_u128 y = (tl_u128)g.high * cp + (uint64_t)(x >> 64);
    return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

/* The shortest digits * 10^exponent strictly inside the interval that rounds to the double. */
static uint64_t shortest(uint64_t fraction, uint32_t biased, int32_t *exponent)
{
    const uint64_t hidden = 1ULL << 52;
    uint64_t c = fraction;
    int32_t q = 1 - 1075;
    if (biased != 0) {
        c |= hidden;
        q = (int32_t)biased - 1075;
        if (q <= 0 && q > -53 && (c & ((1ULL << -q) - 1)) == 0) {
            *exponent = 0; /* a small integer: its own digits */
            return c >> -q;
        }
    }
    bool lower_is_closer = fraction == 0 && biased > 1;
    int32_t k = lower_is_closer ? log10_of_three_quarters_pow2(q) : log10_of_pow2(q);
    int32_t h = q + log2_of_pow10(-k) + 1;
    tl_assert(-k >= TL__POW10_MIN && -k <= TL__POW10_MAX && h >= 1 && h <= 4);
    struct tl__pow10 g = tl__pow10_table[-k - TL__POW10_MIN];
    uint64_t lower_bound = round_to_odd(g, (4 * c - 2 + lower_is_closer) << h) + 1;
    uint64_t value = round_to_odd(g, (4 * c) << h);
    uint64_t upper_bound = round_to_odd(g, (4 * c + 2) << h) - 1;

    uint64_t s = value / 4;
    if (s >= 10) {
        uint64_t tens = s / 10;
        bool down = lower_bound <= 40 * tens;
        bool up = 40 * tens + 40 <= upper_bound;
        if (down != up) {
            *exponent = k + 1;
            return tens + up;
        }
    }
    *exponent = k;
    bool down = lower_bound <= 4 * s;
    bool up = 4 * s + 4 <= upper_bound;
    if (down != up)
        return s + up;
    uint64_t middle = 4 * s + 2;
    return s + (value > middle || (value == middle && (s & 1)));
}

/* d.ddde+XX, at least two digits of exponent. */
static char *put_scientific(char *p, const char *digits, int32_t count, int32_t exponent)
{
    *p++ = digits[0];
    if (count > 1) {
        *p++ = '.';
        memcpy(p, digits + 1, (size_t)count - 1);
        p += count - 1;
    }
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    uint32_t e = (uint32_t)(exponent < 0 ? -exponent : exponent);
    if (e >= 100)
        *p++ = (char)('0' + e / 100);
    memcpy(p, digit_pairs + e % 100 * 2, 2);
    return p + 2;
}

/* ddd.ddd, 0.000ddd or ddd000; `exponent` is that of the first digit. */
static char *put_plain(char *p, const char *digits, int32_t count, int32_t exponent)
{
    if (exponent < 0) {
        memcpy(p, "0.0000", 6);
        p += 1 - exponent;
        memcpy(p, digits, (size_t)count);
        return p + count;
    }
    int32_t before = exponent + 1;
    if (count <= before) {
        memcpy(p, digits, (size_t)count);
        memset(p + count, '0', (size_t)(before - count));
        return p + before;
    }
    memcpy(p, digits, (size_t)before);
    p[before] = '.';
    memcpy(p + before + 1, digits + before, (size_t)(count - before));
    return p + count + 1;
}

size_t tl_print_double(double v, char buf[TL_DOUBLE_TEXT_MAX])
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    uint64_t fraction = bits & ((1ULL << 52) - 1);
    uint32_t biased = (uint32_t)(bits >> 52) & 0x7ff;
    char *p = buf;
    if (biased == 0x7ff && fraction != 0) {
        memcpy(buf, "NaN", 4);
        return 3;
    }
    if (bits >> 63)
        *p++ = '-';
    if (biased == 0x7ff) {
        memcpy(p, "Infinity", 9);
        return (size_t)(p - buf) + 8;
    }
    if (biased == 0 && fraction == 0) {
        *p++ = '0';
        *p = '\0';
        return (size_t)(p - buf);
    }
    int32_t exponent;
    uint64_t value = shortest(fraction, biased, &exponent);
    char digits[20];
    char *end = digits + sizeof(digits);
    char *first = digits_before(end, value);
    exponent += (int32_t)(end - first) - 1;
    while (end[-1] == '0' && end - first > 1)
        end--;
    int32_t count = (int32_t)(end - first);
    if (exponent < -4 || exponent >= 15)
        p = put_scientific(p, first, count, exponent);
    else
        p = put_plain(p, first, count, exponent);
    *p = '\0';
    return (size_t)(p - buf);
}

/* ---- decimals ---- */

tl_i128 tl_pow10_i128(unsigned n)
{
    static const uint64_t low[] = {1ULL,
                                   10ULL,
                                   100ULL,
                                   1000ULL,
                                   10000ULL,
                                   100000ULL,
                                   1000000ULL,
                                   10000000ULL,
                                   100000000ULL,
                                   1000000000ULL,
                                   10000000000ULL,
                                   100000000000ULL,
                                   1000000000000ULL,
                                   10000000000000ULL,
                                   100000000000000ULL,
                                   1000000000000000ULL,
                                   10000000000000000ULL,
                                   100000000000000000ULL,
                                   1000000000000000000ULL,
                                   10000000000000000000ULL};
    tl_assert(n <= TL_DECIMAL128_DIGITS);
    return n <= 19 ? (tl_i128)low[n] : (tl_i128)low[19] * (tl_i128)low[n - 19];
}

/* n at `scale`, rounded half away from zero. False: more than `digits_max` digits. */
static bool number_at_scale(const struct number *n, int64_t scale, unsigned digits_max,
                            tl_i128 *out)
{
    size_t count = n->whole_count + n->fraction_count;
    size_t zeros = 0;
    while (zeros < count && number_digit(n, zeros) == 0)
        zeros++;
    *out = 0;
    if (zeros == count)
        return true;
    /* How many of the written digits, or zeros after them, stand before the last place kept. */
    int64_t kept = (int64_t)n->whole_count + n->exponent + scale;
    if (kept < (int64_t)zeros)
        return true; /* less than half of the last place */
    if (kept - (int64_t)zeros > digits_max)
        return false;
    tl_i128 v = 0;
    for (size_t i = zeros; i < (size_t)kept; i++)
        v = v * 10 + (i < count ? number_digit(n, i) : 0);
    if ((size_t)kept < count && number_digit(n, (size_t)kept) >= 5)
        v++;
    if (v >= tl_pow10_i128(digits_max))
        return false;
    *out = n->negative ? -v : v;
    return true;
}

static enum tl_code parse_decimal(struct tl_slice whole, unsigned scale, unsigned digits_max,
                                  tl_i128 *out, struct tl_status *st)
{
    tl_assert(scale <= digits_max);
    struct number n;
    if (!number_scan(tl_text_trim(whole), &n))
        return bad_syntax(whole, "numeric", st);
    tl_i128 v;
    if (!number_at_scale(&n, scale, digits_max, &v)) {
        (void)TL_FAIL(st, TL_INVALID,
                      "numeric field overflow: \"%.*s\" does not fit DECIMAL(%u,%u)",
                      quoted_size(whole), (const char *)whole.data, digits_max, scale);
        return tl_status_sql(st, "22003", 0);
    }
    *out = v;
    return TL_OK;
}

enum tl_code tl_parse_decimal128(struct tl_slice s, unsigned scale, tl_i128 *out,
                                 struct tl_status *st)
{
    return parse_decimal(s, scale, TL_DECIMAL128_DIGITS, out, st);
}

enum tl_code tl_parse_decimal64(struct tl_slice s, unsigned scale, int64_t *out,
                                struct tl_status *st)
{
    tl_i128 v;
    enum tl_code rc = parse_decimal(s, scale, TL_DECIMAL64_DIGITS, &v, st);
    if (rc == TL_OK)
        *out = (int64_t)v;
    return rc;
}

enum tl_code tl_parse_decimal_literal(struct tl_slice whole, tl_i128 *out, unsigned *scale,
                                      struct tl_status *st)
{
    struct number n;
    if (!number_scan(tl_text_trim(whole), &n))
        return bad_syntax(whole, "numeric", st);
    int64_t written = (int64_t)n.fraction_count - n.exponent;
    if (written < 0)
        written = 0;
    tl_i128 v;
    if (written > TL_DECIMAL128_DIGITS || !number_at_scale(&n, written, TL_DECIMAL128_DIGITS, &v)) {
        (void)TL_FAIL(st, TL_INVALID, "numeric field overflow: \"%.*s\" has more than %d digits",
                      quoted_size(whole), (const char *)whole.data, TL_DECIMAL128_DIGITS);
        return tl_status_sql(st, "22003", 0);
    }
    *out = v;
    *scale = (unsigned)written;
    return TL_OK;
}

size_t tl_print_decimal(tl_i128 v, unsigned scale, char buf[TL_DECIMAL_TEXT_MAX])
{
    tl_assert(scale <= TL_DECIMAL128_DIGITS);
    char digits[40];
    char *end = digits + sizeof(digits);
    tl_u128 u = v < 0 ? 0 - (tl_u128)v : (tl_u128)v;
    char *first = end;
    while (u > UINT64_MAX) {
        /* 18 digits at a time: divisions of 128 bits are slow */
        uint64_t low = (uint64_t)(u % 1000000000000000000ULL);
        u /= 1000000000000000000ULL;
        char *stop = first - 18;
        first = digits_before(first, low);
        while (first > stop)
            *--first = '0';
    }
    first = digits_before(first, (uint64_t)u);
    while (end - first <= (ptrdiff_t)scale)
        *--first = '0'; /* a digit before the point */
    size_t whole = (size_t)(end - first) - scale;
    char *p = buf;
    if (v < 0)
        *p++ = '-';
    memcpy(p, first, whole);
    p += whole;
    if (scale) {
        *p++ = '.';
        memcpy(p, first + whole, scale);
        p += scale;
    }
    *p = '\0';
    return (size_t)(p - buf);
}

/* ---- booleans ---- */

enum tl_code tl_parse_bool(struct tl_slice whole, bool *out, struct tl_status *st)
{
    static const struct {
        const char *word;
        size_t size_min; /* shorter is not unique */
        bool value;
    } words[] = {
        {"true", 1, true}, {"false", 1, false}, {"yes", 1, true}, {"no", 1, false},
        {"on", 2, true},   {"off", 2, false},   {"1", 1, true},   {"0", 1, false},
    };
    struct tl_slice s = tl_text_trim(whole);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t size = strlen(words[i].word);
        if (s.size < words[i].size_min || s.size > size)
            continue;
        char start[8];
        memcpy(start, words[i].word, s.size);
        start[s.size] = '\0';
        if (tl_text_eq_nocase(s, start)) {
            *out = words[i].value;
            return TL_OK;
        }
    }
    return bad_syntax(whole, "boolean", st);
}

/* ---- hexadecimal ---- */

void tl_print_hex(const void *data, size_t size, char *buf)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++) {
        buf[2 * i] = "0123456789abcdef"[p[i] >> 4];
        buf[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
    buf[2 * size] = '\0';
}

static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool tl_parse_hex(struct tl_slice s, void *out, size_t size)
{
    if (s.size % 2 != 0 || s.size / 2 != size)
        return false;
    for (size_t i = 0; i < s.size; i++) {
        if (hex_value(s.data[i]) < 0)
            return false;
    }
    uint8_t *p = out;
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(hex_value(s.data[2 * i]) << 4 | hex_value(s.data[2 * i + 1]));
    return true;
}
