/*
 * 38-digit decimals. Products and quotients whose exact intermediate does not fit into 128 bits
 * go through 256-bit numbers of four limbs, divided by Knuth's algorithm D on 32-bit digits; that
 * is rare, so it is plain rather than fast.
 */
#include "query/decimal_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"

static tl_u128 magnitude(tl_i128 v)
{
    return v < 0 ? (tl_u128)0 - (tl_u128)v : (tl_u128)v;
}

/* a / b rounded half away from zero; b > 0 */
static tl_i128 divide_rounded(tl_i128 a, tl_u128 b)
{
    tl_u128 m = magnitude(a);
    tl_u128 q;
    tl_u128 r;
    if (m >> 64 == 0 && b >> 64 == 0) {
        q = (uint64_t)m / (uint64_t)b;
        r = (uint64_t)m % (uint64_t)b;
    } else {
        q = m / b;
        r = m - q * b;
    }
    if (r >= b - r)
        q++;
    return a < 0 ? -(tl_i128)q : (tl_i128)q;
}

bool tl__decimal_rescale(tl_i128 v, uint32_t from, uint32_t to, tl_i128 *out)
{
    tl_i128 r = v;
    if (to > from) {
        if (v != 0 && to - from > TL__DECIMAL_DIGITS)
            return false;
        if (v != 0 && __builtin_mul_overflow(v, tl_pow10_i128(to - from), &r))
            return false;
    } else if (to < from) {
        r = from - to > TL__DECIMAL_DIGITS ? 0
                                           : divide_rounded(v, (tl_u128)tl_pow10_i128(from - to));
    }
    if (!tl__decimal_fits(r))
        return false;
    *out = r;
    return true;
}

/* ---- 256 bits: limbs of 32 bits, least first ---- */

enum { LIMBS = 8 };

static void multiply_wide(tl_u128 a, tl_u128 b, uint32_t out[LIMBS])
{
    uint32_t x[4];
    uint32_t y[4];
    for (int i = 0; i < 4; i++) {
        x[i] = (uint32_t)(a >> (32 * i));
        y[i] = (uint32_t)(b >> (32 * i));
    }
    memset(out, 0, LIMBS * sizeof(*out));
    for (int i = 0; i < 4; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < 4; j++) {
            uint64_t t = (uint64_t)x[i] * y[j] + out[i + j] + carry;
            out[i + j] = (uint32_t)t;
            carry = t >> 32;
        }
        out[i + 4] = (uint32_t)carry;
    }
}

/* n / d rounded half up; false when the quotient has more than 127 bits. Bit by bit. */
static bool divide_wide(const uint32_t n[LIMBS], tl_u128 d, tl_u128 *out)
{
    tl_u128 rest = 0;
    tl_u128 q = 0;
    for (int i = LIMBS * 32 - 1; i >= 0; i--) {
        bool carry = rest >> 127;
        rest = rest << 1 | ((n[i / 32] >> (i % 32)) & 1);
        if (q >> 126)
            return false;
        q <<= 1;
        if (carry || rest >= d) {
            rest -= d;
            q |= 1;
        }
    }
    if (rest >= d - rest)
        q++;
    *out = q;
    return true;
}

static bool sign_and_check(tl_u128 m, bool negative, tl_i128 *out)
{
    tl_i128 v = negative ? -(tl_i128)m : (tl_i128)m;
    if (m >> 127 || !tl__decimal_fits(v))
        return false;
    *out = v;
    return true;
}

bool tl__decimal_multiply(tl_i128 a, uint32_t sa, tl_i128 b, uint32_t sb, uint32_t scale,
                          tl_i128 *out)
{
    tl_i128 r;
    if (!__builtin_mul_overflow(a, b, &r)) {
        if (sa + sb == scale) {
            if (!tl__decimal_fits(r))
                return false;
            *out = r;
            return true;
        }
        return tl__decimal_rescale(r, sa + sb, scale, out);
    }
    if (sa + sb <= scale || sa + sb - scale > TL__DECIMAL_DIGITS)
        return false;
    uint32_t wide[LIMBS];
    multiply_wide(magnitude(a), magnitude(b), wide);
    tl_u128 q;
    return divide_wide(wide, (tl_u128)tl_pow10_i128(sa + sb - scale), &q) &&
           sign_and_check(q, (a < 0) != (b < 0), out);
}

bool tl__decimal_divide(tl_i128 a, uint32_t sa, tl_i128 b, uint32_t sb, uint32_t scale,
                        tl_i128 *out)
{
    tl_assert(b != 0);
    /* a × 10^-sa / (b × 10^-sb) = q × 10^-scale  ⇒  q = a × 10^(scale + sb - sa) / b */
    int32_t shift = (int32_t)scale + (int32_t)sb - (int32_t)sa;
    bool negative = (a < 0) != (b < 0);
    tl_u128 m = magnitude(a);
    tl_u128 d = magnitude(b);
    tl_u128 q;
    if (m == 0) {
        *out = 0;
        return true;
    }
    if (shift < 0) {
        if (__builtin_mul_overflow(d, (tl_u128)tl_pow10_i128((uint32_t)-shift), &d)) {
            *out = 0;
            return true;
        }
        shift = 0;
    }
    uint32_t more = 0; /* powers of ten that a 256-bit numerator cannot take in one product */
    if (shift > TL__DECIMAL_DIGITS) {
        more = (uint32_t)shift - TL__DECIMAL_DIGITS;
        shift = TL__DECIMAL_DIGITS;
        if (more > TL__DECIMAL_DIGITS ||
            __builtin_mul_overflow(m, (tl_u128)tl_pow10_i128(more), &m))
            return false;
    }
    tl_u128 scaled;
    if (!__builtin_mul_overflow(m, (tl_u128)tl_pow10_i128((uint32_t)shift), &scaled)) {
        q = scaled / d;
        tl_u128 rest = scaled - q * d;
        if (rest >= d - rest)
            q++;
    } else {
        uint32_t wide[LIMBS];
        multiply_wide(m, (tl_u128)tl_pow10_i128((uint32_t)shift), wide);
        if (!divide_wide(wide, d, &q))
            return false;
    }
    return sign_and_check(q, negative, out);
}

int tl__decimal_compare(tl_i128 a, uint32_t sa, tl_i128 b, uint32_t sb)
{
    if (sa < sb) {
        if (__builtin_mul_overflow(a, tl_pow10_i128(sb - sa), &a))
            return a < 0 ? -1 : 1;
    } else if (sa > sb) {
        tl_i128 scaled;
        if (__builtin_mul_overflow(b, tl_pow10_i128(sa - sb), &scaled))
            return b < 0 ? 1 : -1;
        b = scaled;
    }
    return (a > b) - (a < b);
}

double tl__decimal_to_double(tl_i128 v, uint32_t scale)
{
    if (scale == 0)
        return (double)v;
    tl_u128 m = magnitude(v);
    if (m < (tl_u128)1 << 53 && scale <= 22) {
        double power = 1;
        for (uint32_t i = 0; i < scale; i++)
            power *= 10;
        double d = (double)(uint64_t)m / power; /* both exact: one rounding */
        return v < 0 ? -d : d;
    }
    char buf[TL_DECIMAL_TEXT_MAX];
    tl_print_decimal(v, scale, buf);
    return strtod(buf, NULL);
}

bool tl__decimal_from_double(double v, uint32_t scale, tl_i128 *out)
{
    if (!isfinite(v) || fabs(v) >= 1e38)
        return false;
    char buf[40];
    int size = snprintf(buf, sizeof(buf), "%.15g", v);
    struct tl_status ignored = TL_STATUS_INIT;
    return tl_parse_decimal128(tl_slice_of(buf, (size_t)size), scale, out, &ignored) == TL_OK;
}
