#include "base/varint.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool use_wide;

size_t tl_varints_count(struct tl_slice s)
{
    size_t n = 0;
    size_t i = 0;
    /* The last byte of a varint has its high bit clear. Sums of 255 words fit their bytes. */
    while (i + 8 <= s.size) {
        uint64_t sums = 0;
        for (int k = 0; k < 255 && i + 8 <= s.size; k++, i += 8) {
            uint64_t eight;
            memcpy(&eight, s.data + i, 8);
            sums += ~eight >> 7 & 0x0101010101010101ULL;
        }
        sums = (sums & 0x00ff00ff00ff00ffULL) + (sums >> 8 & 0x00ff00ff00ff00ffULL);
        n += (size_t)(sums * 0x0001000100010001ULL >> 48);
    }
    for (; i < s.size; i++)
        n += s.data[i] < 0x80;
    return n;
}

/* One varint of at most `bits` bits; NULL: damaged. */
static inline const uint8_t *read_one(const uint8_t *p, const uint8_t *end, uint32_t bits,
                                      uint64_t *out)
{
    uint64_t v = *p++;
    if (v >= 0x80) {
        v &= 0x7f;
        uint32_t shift = 7;
        for (;;) {
            if (p == end || shift >= bits)
                return NULL;
            uint64_t b = *p++;
            if (bits - shift < 7 && b >> (bits - shift) != 0)
                return NULL;
            v |= (b & 0x7f) << shift;
            if (b < 0x80)
                break;
            shift += 7;
        }
    }
    *out = v;
    return p;
}

/* Values until `p` reaches `stop`; NULL: damaged. */
static inline const uint8_t *read_until(const uint8_t *p, const uint8_t *stop, const uint8_t *end,
                                        void *out, bool wide, size_t limit, size_t *done)
{
    size_t n = *done;
    while (p < stop) {
        uint64_t v;
        if (n >= limit || !(p = read_one(p, end, wide ? 64 : 32, &v)))
            return NULL;
        if (wide)
            ((uint64_t *)out)[n++] = v;
        else
            ((uint32_t *)out)[n++] = (uint32_t)v;
    }
    *done = n;
    return p;
}

#if defined(__x86_64__)
#define TARGET                                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,bmi,bmi2,popcnt,lzcnt")))

/* Sixteen values of a step: the plane of last bytes, then those before them where there are. */
#define LANES(g)                                                                                   \
    do {                                                                                           \
        if (count > 16 * (g)) {                                                                    \
            __m512i v = _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(c0, g));                    \
            v = _mm512_mask_or_epi32(v, (__mmask16)(k1 >> (16 * (g))), _mm512_slli_epi32(v, 7),    \
                                     _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(c1, g)));      \
            if (k2) {                                                                              \
                v = _mm512_mask_or_epi32(v, (__mmask16)(k2 >> (16 * (g))),                         \
                                         _mm512_slli_epi32(v, 7),                                  \
                                         _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(c2, g)));  \
                v = _mm512_mask_or_epi32(v, (__mmask16)(k3 >> (16 * (g))),                         \
                                         _mm512_slli_epi32(v, 7),                                  \
                                         _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(c3, g)));  \
            }                                                                                      \
            if (wide) {                                                                            \
                uint64_t *to = (uint64_t *)out + n + 16 * (g);                                     \
                _mm512_storeu_si512(to, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(v)));         \
                _mm512_storeu_si512(to + 8,                                                        \
                                    _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(v, 1)));       \
            } else {                                                                               \
                _mm512_storeu_si512((uint32_t *)out + n + 16 * (g), v);                            \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* Steps of 64 bytes. `boundary` is where the first varint that was not stored begins. */
TARGET static inline __attribute__((always_inline)) const uint8_t *
read_wide(const uint8_t *p, const uint8_t *end, void *out, bool wide, size_t limit, size_t *done)
{
    size_t n = *done;
    p = read_until(p, end - p < 4 ? end : p + 4, end, out, wide, limit, &n);
    const uint8_t *boundary = p; /* four bytes before it may be loaded */
    while (p && end - p >= 64 && limit - n >= 64) {
        __m512i b0 = _mm512_loadu_si512(p);
        __m512i b1 = _mm512_loadu_si512(p - 1);
        __m512i b2 = _mm512_loadu_si512(p - 2);
        __m512i b3 = _mm512_loadu_si512(p - 3);
        __mmask64 ends = ~_mm512_movepi8_mask(b0);
        __mmask64 m1 = _mm512_movepi8_mask(b1);
        __mmask64 m2 = m1 & _mm512_movepi8_mask(b2);
        __mmask64 m3 = m2 & _mm512_movepi8_mask(b3);
        __mmask64 m4 = m3 & _mm512_movepi8_mask(_mm512_loadu_si512(p - 4));
        if (m4 != 0) {
            p = read_until(boundary, p + 64, end, out, wide, limit, &n);
            boundary = p;
            continue;
        }
        const __m512i low = _mm512_set1_epi8(0x7f);
        uint32_t count = (uint32_t)_mm_popcnt_u64(ends);
        uint64_t k1 = _pext_u64(m1, ends), k2 = _pext_u64(m2, ends), k3 = _pext_u64(m3, ends);
        __m512i c0 = _mm512_maskz_compress_epi8(ends, b0);
        __m512i c1 = _mm512_maskz_compress_epi8(ends, _mm512_and_si512(b1, low));
        __m512i c2 = c1, c3 = c1;
        if (k2) {
            c2 = _mm512_maskz_compress_epi8(ends, _mm512_and_si512(b2, low));
            c3 = _mm512_maskz_compress_epi8(ends, _mm512_and_si512(b3, low));
        }
        LANES(0);
        LANES(1);
        LANES(2);
        LANES(3);
        n += count;
        boundary = p + (64 - _lzcnt_u64(ends)); /* five bytes have an end */
        p += 64;
    }
    *done = n;
    return p ? boundary : NULL;
}

TARGET static const uint8_t *read_wide_u32(const uint8_t *p, const uint8_t *end, void *out,
                                           size_t limit, size_t *done)
{
    return read_wide(p, end, out, false, limit, done);
}

TARGET static const uint8_t *read_wide_u64(const uint8_t *p, const uint8_t *end, void *out,
                                           size_t limit, size_t *done)
{
    return read_wide(p, end, out, true, limit, done);
}

void tl_varints_use_wide(bool use)
{
    use_wide = use && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2") &&
               __builtin_cpu_supports("bmi2");
}
#else
void tl_varints_use_wide(bool use)
{
    (void)use;
}
#endif

__attribute__((constructor)) static void choose(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    tl_varints_use_wide(true);
}

static size_t read_all(struct tl_slice bytes, void *out, bool wide, size_t limit)
{
    const uint8_t *p = bytes.data;
    if (bytes.size == 0)
        return 0;
    const uint8_t *end = p + bytes.size;
    size_t n = 0;
#if defined(__x86_64__)
    if (use_wide && bytes.size >= 128)
        p = wide ? read_wide_u64(p, end, out, limit, &n) : read_wide_u32(p, end, out, limit, &n);
#endif
    if (p)
        p = read_until(p, end, end, out, wide, limit, &n);
    return p ? n : TL_VARINTS_DAMAGED;
}

size_t tl_varints_u32(struct tl_slice bytes, uint32_t *out, size_t limit)
{
    return read_all(bytes, out, false, limit);
}

size_t tl_varints_u64(struct tl_slice bytes, uint64_t *out, size_t limit)
{
    return read_all(bytes, out, true, limit);
}
