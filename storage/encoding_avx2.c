/*
 * storage/encoding_avx2.c: kernels for AVX2; compiled with its flags.
 *
 * Bit unpacking: eight values of `width` bits start at a whole byte. A byte shuffle brings the
 * bytes of each value to its lane, a variable shift and a mask cut it out. 32-bit lanes take
 * widths up to 25 (7 bits of misalignment + 25 = 32), 64-bit lanes up to 57; wider ones are rare
 * and left to plain C. The shuffles per width are computed once, when the table is chosen.
 */
#include "storage/encoding_kernels_int.h"

#include <immintrin.h>

enum { WIDTH32_MAX = 25, WIDTH64_MAX = 57 };

/* Eight values in 32-bit lanes: bytes [0,16) of the group to the low half, [high, high+16) to the
 * high half. */
struct lanes32 {
    uint8_t shuffle[32];
    uint32_t shift[8];
};

/* Eight values in 64-bit lanes, two registers of two pairs; pair p is loaded at byte base[p]. */
struct lanes64 {
    uint8_t shuffle[2][32];
    uint64_t shift[2][4];
    uint8_t base[4];
};

static struct lanes32 lanes32[WIDTH32_MAX + 1] __attribute__((aligned(32)));
static struct lanes64 lanes64[WIDTH64_MAX + 1] __attribute__((aligned(32)));

/* Not a constructor: compiled for this instruction set, it must not run on a lesser processor. */
static void make_lanes(void)
{
    for (uint32_t width = 1; width <= WIDTH32_MAX; width++) {
        struct lanes32 *l = &lanes32[width];
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t base = i < 4 ? 0 : width / 2;
            uint32_t byte = i * width / 8 - base;
            l->shift[i] = i * width % 8;
            for (uint32_t k = 0; k < 4; k++)
                l->shuffle[4 * i + k] = (uint8_t)(byte + k);
        }
    }
    for (uint32_t width = 1; width <= WIDTH64_MAX; width++) {
        struct lanes64 *l = &lanes64[width];
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t base = (i & ~1U) * width / 8;
            uint32_t byte = i * width / 8 - base;
            l->base[i / 2] = (uint8_t)base;
            l->shift[i / 4][i % 4] = i * width % 8;
            for (uint32_t k = 0; k < 8; k++)
                l->shuffle[i / 4][8 * (i % 4) + k] = (uint8_t)(byte + k);
        }
    }
}

static inline __m256i load_pair(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

static void v_unpack_u32(const uint8_t *in, uint32_t width, uint32_t count, uint32_t add,
                         uint32_t *out)
{
    if (width == 0 || width > WIDTH64_MAX) {
        c_unpack_u32(in, width, count, add, out);
        return;
    }
    uint32_t groups = count / 8;
    const uint8_t *next = in;
    if (width <= WIDTH32_MAX) {
        const struct lanes32 *l = &lanes32[width];
        const __m256i shuffle = _mm256_load_si256((const __m256i *)l->shuffle);
        const __m256i shift = _mm256_load_si256((const __m256i *)l->shift);
        const __m256i mask = _mm256_set1_epi32((int)((1U << width) - 1));
        const __m256i adds = _mm256_set1_epi32((int)add);
        const uint32_t high = width / 2;
        for (uint32_t g = 0; g < groups; g++, next += width) {
            __m256i x = _mm256_shuffle_epi8(load_pair(next, next + high), shuffle);
            x = _mm256_and_si256(_mm256_srlv_epi32(x, shift), mask);
            _mm256_storeu_si256((__m256i *)(out + 8 * (size_t)g), _mm256_add_epi32(x, adds));
        }
    } else {
        const struct lanes64 *l = &lanes64[width];
        const __m256i shuffle0 = _mm256_loadu_si256((const __m256i *)l->shuffle[0]);
        const __m256i shuffle1 = _mm256_loadu_si256((const __m256i *)l->shuffle[1]);
        const __m256i shift0 = _mm256_loadu_si256((const __m256i *)l->shift[0]);
        const __m256i shift1 = _mm256_loadu_si256((const __m256i *)l->shift[1]);
        const __m256i mask = _mm256_set1_epi32(width >= 32 ? -1 : (int)((1U << (width & 31)) - 1));
        const __m256i adds = _mm256_set1_epi32((int)add);
        for (uint32_t g = 0; g < groups; g++, next += width) {
            __m256i a = load_pair(next, next + l->base[1]);
            __m256i b = load_pair(next + l->base[2], next + l->base[3]);
            a = _mm256_srlv_epi64(_mm256_shuffle_epi8(a, shuffle0), shift0);
            b = _mm256_srlv_epi64(_mm256_shuffle_epi8(b, shuffle1), shift1);
            /* The low halves of the 64-bit lanes, in order. */
            __m256i x = _mm256_castps_si256(_mm256_shuffle_ps(
                _mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _MM_SHUFFLE(2, 0, 2, 0)));
            x = _mm256_permute4x64_epi64(x, _MM_SHUFFLE(3, 1, 2, 0));
            x = _mm256_add_epi32(_mm256_and_si256(x, mask), adds);
            _mm256_storeu_si256((__m256i *)(out + 8 * (size_t)g), x);
        }
    }
    if (count % 8)
        c_unpack_u32(next, width, count % 8, add, out + 8 * (size_t)groups);
}

static void v_unpack_u64(const uint8_t *in, uint32_t width, uint32_t count, uint64_t add,
                         uint64_t *out)
{
    if (width == 0 || width > WIDTH64_MAX) {
        c_unpack_u64(in, width, count, add, out);
        return;
    }
    uint32_t groups = count / 8;
    const uint8_t *next = in;
    const __m256i adds = _mm256_set1_epi64x((long long)add);
    if (width <= WIDTH32_MAX) {
        const struct lanes32 *l = &lanes32[width];
        const __m256i shuffle = _mm256_load_si256((const __m256i *)l->shuffle);
        const __m256i shift = _mm256_load_si256((const __m256i *)l->shift);
        const __m256i mask = _mm256_set1_epi32((int)((1U << width) - 1));
        const uint32_t high = width / 2;
        for (uint32_t g = 0; g < groups; g++, next += width) {
            __m256i x = _mm256_shuffle_epi8(load_pair(next, next + high), shuffle);
            x = _mm256_and_si256(_mm256_srlv_epi32(x, shift), mask);
            __m256i a = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(x));
            __m256i b = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(x, 1));
            _mm256_storeu_si256((__m256i *)(out + 8 * (size_t)g), _mm256_add_epi64(a, adds));
            _mm256_storeu_si256((__m256i *)(out + 8 * (size_t)g + 4), _mm256_add_epi64(b, adds));
        }
    } else {
        const struct lanes64 *l = &lanes64[width];
        const __m256i shuffle0 = _mm256_loadu_si256((const __m256i *)l->shuffle[0]);
        const __m256i shuffle1 = _mm256_loadu_si256((const __m256i *)l->shuffle[1]);
        const __m256i shift0 = _mm256_loadu_si256((const __m256i *)l->shift[0]);
        const __m256i shift1 = _mm256_loadu_si256((const __m256i *)l->shift[1]);
        const __m256i mask = _mm256_set1_epi64x((long long)((1ULL << width) - 1));
        for (uint32_t g = 0; g < groups; g++, next += width) {
            __m256i a = load_pair(next, next + l->base[1]);
            __m256i b = load_pair(next + l->base[2], next + l->base[3]);
            a = _mm256_srlv_epi64(_mm256_shuffle_epi8(a, shuffle0), shift0);
            b = _mm256_srlv_epi64(_mm256_shuffle_epi8(b, shuffle1), shift1);
            a = _mm256_add_epi64(_mm256_and_si256(a, mask), adds);
            b = _mm256_add_epi64(_mm256_and_si256(b, mask), adds);
            _mm256_storeu_si256((__m256i *)(out + 8 * (size_t)g), a);
            _mm256_storeu_si256((__m256i *)(out + 8 * (size_t)g + 4), b);
        }
    }
    if (count % 8)
        c_unpack_u64(next, width, count % 8, add, out + 8 * (size_t)groups);
}

static void v_prefix_u64(uint64_t *v, uint32_t count, uint64_t start)
{
    uint32_t whole = count & ~3U;
    __m256i carry = _mm256_set1_epi64x((long long)start);
    const __m256i zero = _mm256_setzero_si256();
    for (uint32_t i = 0; i < whole; i += 4) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(v + i));
        x = _mm256_add_epi64(x, _mm256_slli_si256(x, 8));
        /* The sum of the low half is added to both lanes of the high half. */
        __m256i low = _mm256_permute4x64_epi64(x, _MM_SHUFFLE(1, 1, 1, 1));
        x = _mm256_add_epi64(x, _mm256_blend_epi32(zero, low, 0xF0));
        __m256i total = _mm256_permute4x64_epi64(x, _MM_SHUFFLE(3, 3, 3, 3));
        _mm256_storeu_si256((__m256i *)(v + i), _mm256_add_epi64(x, carry));
        carry = _mm256_add_epi64(carry, total);
    }
    c_prefix_u64(v + whole, count - whole, (uint64_t)_mm256_extract_epi64(carry, 0));
}

static void v_prefix_u32(uint32_t *v, uint32_t count, uint32_t start)
{
    uint32_t whole = count & ~7U;
    __m256i carry = _mm256_set1_epi32((int)start);
    const __m256i zero = _mm256_setzero_si256();
    const __m256i third = _mm256_set1_epi32(3), seventh = _mm256_set1_epi32(7);
    for (uint32_t i = 0; i < whole; i += 8) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(v + i));
        x = _mm256_add_epi32(x, _mm256_slli_si256(x, 4));
        x = _mm256_add_epi32(x, _mm256_slli_si256(x, 8));
        __m256i low = _mm256_permutevar8x32_epi32(x, third);
        x = _mm256_add_epi32(x, _mm256_blend_epi32(zero, low, 0xF0));
        __m256i total = _mm256_permutevar8x32_epi32(x, seventh);
        _mm256_storeu_si256((__m256i *)(v + i), _mm256_add_epi32(x, carry));
        carry = _mm256_add_epi32(carry, total);
    }
    c_prefix_u32(v + whole, count - whole, (uint32_t)_mm256_extract_epi32(carry, 0));
}

const struct tl__kernels tl__kernels_avx2 = {
    .name = "avx2",
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
