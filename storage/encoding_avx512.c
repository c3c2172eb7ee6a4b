/*
 * storage/encoding_avx512.c: kernels for AVX-512 with VBMI and VBMI2; compiled with their flags.
 *
 * Bit unpacking as in encoding_avx2.c, with one byte permutation over a whole register: sixteen
 * values of up to 25 bits lie in 50 bytes, eight of up to 64 bits in 64. Widths above 57 need a
 * ninth byte, which a second permutation and a funnel shift bring in.
 */
#include "storage/encoding_kernels_int.h"

#include <immintrin.h>

enum { WIDTH32_MAX = 25, WIDTH64_MAX = 57 };

struct lanes {
    uint8_t bytes[64];
    uint8_t shift[64]; /* 16 × u32 or 8 × u64 */
};

static struct lanes lanes32[WIDTH32_MAX + 1] __attribute__((aligned(64)));
static struct lanes lanes64[TL__WIDTH_MAX + 1] __attribute__((aligned(64)));

/* Not a constructor: compiled for this instruction set, it must not run on a lesser processor. */
static void make_lanes(void)
{
    for (uint32_t width = 1; width <= WIDTH32_MAX; width++) {
        for (uint32_t i = 0; i < 16; i++) {
            tl_put_u32le(lanes32[width].shift + 4 * i, i * width % 8);
            for (uint32_t k = 0; k < 4; k++)
                lanes32[width].bytes[4 * i + k] = (uint8_t)(i * width / 8 + k);
        }
    }
    for (uint32_t width = 1; width <= TL__WIDTH_MAX; width++) {
        for (uint32_t i = 0; i < 8; i++) {
            tl_put_u64le(lanes64[width].shift + 8 * i, i * width % 8);
            for (uint32_t k = 0; k < 8; k++)
                lanes64[width].bytes[8 * i + k] = (uint8_t)(i * width / 8 + k);
        }
    }
}

/* Eight values at `in` in 64-bit lanes, not yet masked. */
static inline __m512i unpack_eight(const uint8_t *in, bool wide, __m512i bytes, __m512i shift)
{
    __m512i x = _mm512_loadu_si512(in);
    __m512i low = _mm512_permutexvar_epi8(bytes, x);
    if (!wide)
        return _mm512_srlv_epi64(low, shift);
    /* The permutation takes the low six bits of each index: what lies beyond byte 63 wraps around
     * to bytes that the mask cuts off. */
    __m512i high = _mm512_permutexvar_epi8(_mm512_add_epi8(bytes, _mm512_set1_epi8(8)), x);
    return _mm512_shrdv_epi64(low, high, shift);
}

static inline __m512i mask_of(uint32_t width)
{
    return _mm512_set1_epi64(width == 64 ? -1LL : (long long)((1ULL << width) - 1));
}

static void v_unpack_u64(const uint8_t *in, uint32_t width, uint32_t count, uint64_t add,
                         uint64_t *out)
{
    if (width == 0) {
        c_unpack_u64(in, width, count, add, out);
        return;
    }
    const __m512i bytes = _mm512_load_si512(lanes64[width].bytes);
    const __m512i shift = _mm512_load_si512(lanes64[width].shift);
    const __m512i mask = mask_of(width), adds = _mm512_set1_epi64((long long)add);
    const bool wide = width > WIDTH64_MAX;
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8, in += width) {
        __m512i x = _mm512_and_si512(unpack_eight(in, wide, bytes, shift), mask);
        _mm512_storeu_si512(out + i, _mm512_add_epi64(x, adds));
    }
    if (i < count) {
        __m512i x = _mm512_and_si512(unpack_eight(in, wide, bytes, shift), mask);
        _mm512_mask_storeu_epi64(out + i, (__mmask8)((1U << (count - i)) - 1),
                                 _mm512_add_epi64(x, adds));
    }
}

static void v_unpack_u32(const uint8_t *in, uint32_t width, uint32_t count, uint32_t add,
                         uint32_t *out)
{
    if (width == 0) {
        c_unpack_u32(in, width, count, add, out);
        return;
    }
    uint32_t i = 0;
    if (width <= WIDTH32_MAX) {
        const __m512i bytes = _mm512_load_si512(lanes32[width].bytes);
        const __m512i shift = _mm512_load_si512(lanes32[width].shift);
        const __m512i mask = _mm512_set1_epi32((int)((1U << width) - 1));
        const __m512i adds = _mm512_set1_epi32((int)add);
        for (; i + 16 <= count; i += 16, in += 2 * width) {
            __m512i x = _mm512_permutexvar_epi8(bytes, _mm512_loadu_si512(in));
            x = _mm512_and_si512(_mm512_srlv_epi32(x, shift), mask);
            _mm512_storeu_si512(out + i, _mm512_add_epi32(x, adds));
        }
        if (i < count) {
            __m512i x = _mm512_permutexvar_epi8(bytes, _mm512_loadu_si512(in));
            x = _mm512_and_si512(_mm512_srlv_epi32(x, shift), mask);
            _mm512_mask_storeu_epi32(out + i, (__mmask16)((1U << (count - i)) - 1),
                                     _mm512_add_epi32(x, adds));
        }
        return;
    }
    const __m512i bytes = _mm512_load_si512(lanes64[width].bytes);
    const __m512i shift = _mm512_load_si512(lanes64[width].shift);
    const __m512i mask = mask_of(width), adds = _mm512_set1_epi64(add);
    const bool wide = width > WIDTH64_MAX;
    for (; i + 8 <= count; i += 8, in += width) {
        __m512i x = _mm512_and_si512(unpack_eight(in, wide, bytes, shift), mask);
        x = _mm512_add_epi64(x, adds);
        _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtepi64_epi32(x));
    }
    if (i < count) {
        __m512i x = _mm512_and_si512(unpack_eight(in, wide, bytes, shift), mask);
        x = _mm512_add_epi64(x, adds);
        _mm256_mask_storeu_epi32(out + i, (__mmask8)((1U << (count - i)) - 1),
                                 _mm512_cvtepi64_epi32(x));
    }
}

static void v_prefix_u64(uint64_t *v, uint32_t count, uint64_t start)
{
    uint32_t whole = count & ~7U;
    __m512i carry = _mm512_set1_epi64((long long)start);
    const __m512i zero = _mm512_setzero_si512(), last = _mm512_set1_epi64(7);
    for (uint32_t i = 0; i < whole; i += 8) {
        __m512i x = _mm512_loadu_si512(v + i);
        x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 7));
        x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 6));
        x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 4));
        __m512i total = _mm512_permutexvar_epi64(last, x);
        _mm512_storeu_si512(v + i, _mm512_add_epi64(x, carry));
        carry = _mm512_add_epi64(carry, total);
    }
    c_prefix_u64(v + whole, count - whole,
                 (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(carry)));
}

static void v_prefix_u32(uint32_t *v, uint32_t count, uint32_t start)
{
    uint32_t whole = count & ~15U;
    __m512i carry = _mm512_set1_epi32((int)start);
    const __m512i zero = _mm512_setzero_si512(), last = _mm512_set1_epi32(15);
    for (uint32_t i = 0; i < whole; i += 16) {
        __m512i x = _mm512_loadu_si512(v + i);
        x = _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 15));
        x = _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 14));
        x = _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 12));
        x = _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 8));
        __m512i total = _mm512_permutexvar_epi32(last, x);
        _mm512_storeu_si512(v + i, _mm512_add_epi32(x, carry));
        carry = _mm512_add_epi32(carry, total);
    }
    c_prefix_u32(v + whole, count - whole,
                 (uint32_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(carry)));
}

const struct tl__kernels tl__kernels_avx512 = {
    .name = "avx512",
    .prepare = make_lanes,
    .unpack_u64 = v_unpack_u64,
    .unpack_u32 = v_unpack_u32,
    .widen_u64 = c_widen_u64,
    .widen_u32 = c_widen_u32,
    .prefix_u64 = v_prefix_u64,
    .prefix_u32 = v_prefix_u32,
    .scale_u64 = c_scale_u64,
    .scale_u32 = c_scale_u32,
    .wrap_u64 = c_wrap_u64,
    .wrap_u32 = c_wrap_u32,
    .gather_u64 = c_gather_u64,
    .gather_u32 = c_gather_u32,
    .max_u32 = c_max_u32,
    .pack = c_pack,
    .stats = c_stats,
    .mini_stats = c_mini_stats,
    .fast_stats = c_fast_stats,
    .range_u32 = c_range_u32,
    .range_i64 = c_range_i64,
    .code_set = c_code_set,
};
