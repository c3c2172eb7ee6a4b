/*
 * storage/encoding_kernels_int.h: kernels in plain C, compiled once per instruction set.
 *
 * Each encoding_<set>.c includes this and is compiled with that set's flags at -O3, so that the
 * compiler vectorizes these loops for it; the hand-written kernels beside them replace those that
 * it does not see through. Every function is static: nothing compiled for a newer processor can
 * be linked into another file.
 */
#ifndef TALLY_STORAGE_ENCODING_KERNELS_INT_H
#define TALLY_STORAGE_ENCODING_KERNELS_INT_H

#include "storage/encoding_int.h"

#define TL__KERNEL static __attribute__((unused))

TL__KERNEL void c_unpack_u64(const uint8_t *in, uint32_t width, uint32_t count, uint64_t add,
                             uint64_t *out)
{
    if (width == 0) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = add;
        return;
    }
    if (width > 56) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = tl__unpack_one(in, width, (uint64_t)i * width) + add;
        return;
    }
    uint64_t mask = (1ULL << width) - 1;
    uint64_t bit = 0;
    for (uint32_t i = 0; i < count; i++, bit += width)
        out[i] = ((tl_get_u64le(in + (bit >> 3)) >> (bit & 7)) & mask) + add;
}

TL__KERNEL void c_unpack_u32(const uint8_t *in, uint32_t width, uint32_t count, uint32_t add,
                             uint32_t *out)
{
    if (width == 0) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = add;
        return;
    }
    if (width > 56) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = (uint32_t)tl__unpack_one(in, width, (uint64_t)i * width) + add;
        return;
    }
    uint64_t mask = (1ULL << width) - 1;
    uint64_t bit = 0;
    for (uint32_t i = 0; i < count; i++, bit += width)
        out[i] = (uint32_t)((tl_get_u64le(in + (bit >> 3)) >> (bit & 7)) & mask) + add;
}

/* memcpy of fixed size: a plain unaligned load on the little-endian processors that we build for.
 */
#define TL__WIDEN(out_type)                                                                        \
    switch (bytes) {                                                                               \
    case 1:                                                                                        \
        for (uint32_t i = 0; i < count; i++)                                                       \
            out[i] = (out_type)(in[i] + add);                                                      \
        break;                                                                                     \
    case 2:                                                                                        \
        for (uint32_t i = 0; i < count; i++) {                                                     \
            uint16_t x;                                                                            \
            memcpy(&x, in + 2 * (size_t)i, 2);                                                     \
            out[i] = (out_type)(x + add);                                                          \
        }                                                                                          \
        break;                                                                                     \
    case 4:                                                                                        \
        for (uint32_t i = 0; i < count; i++) {                                                     \
            uint32_t x;                                                                            \
            memcpy(&x, in + 4 * (size_t)i, 4);                                                     \
            out[i] = (out_type)(x + add);                                                          \
        }                                                                                          \
        break;                                                                                     \
    default:                                                                                       \
        for (uint32_t i = 0; i < count; i++) {                                                     \
            uint64_t x;                                                                            \
            memcpy(&x, in + 8 * (size_t)i, 8);                                                     \
            out[i] = (out_type)(x + add);                                                          \
        }                                                                                          \
    }

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "kernels load fields as they lie");

TL__KERNEL void c_widen_u64(const uint8_t *restrict in, uint32_t bytes, uint32_t count,
                            uint64_t add, uint64_t *restrict out){TL__WIDEN(uint64_t)}

TL__KERNEL void c_widen_u32(const uint8_t *restrict in, uint32_t bytes, uint32_t count,
                            uint32_t add, uint32_t *restrict out){TL__WIDEN(uint32_t)}

TL__KERNEL void c_prefix_u64(uint64_t *v, uint32_t count, uint64_t start)
{
    for (uint32_t i = 0; i < count; i++)
        v[i] = start += v[i];
}

TL__KERNEL void c_prefix_u32(uint32_t *v, uint32_t count, uint32_t start)
{
    for (uint32_t i = 0; i < count; i++)
        v[i] = start += v[i];
}

TL__KERNEL void c_scale_u64(uint64_t *v, uint32_t count, uint64_t scale, uint64_t add)
{
    for (uint32_t i = 0; i < count; i++)
        v[i] = v[i] * scale + add;
}

TL__KERNEL void c_scale_u32(uint32_t *v, uint32_t count, uint32_t scale, uint32_t add)
{
    for (uint32_t i = 0; i < count; i++)
        v[i] = v[i] * scale + add;
}

TL__KERNEL void c_wrap_u64(uint64_t *v, uint32_t count, uint64_t mask, uint64_t scale, uint64_t add)
{
    if (scale == 1) { /* 64-bit products are slow without AVX-512 */
        for (uint32_t i = 0; i < count; i++)
            v[i] = (v[i] & mask) + add;
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        v[i] = (v[i] & mask) * scale + add;
}

TL__KERNEL void c_wrap_u32(uint32_t *v, uint32_t count, uint32_t mask, uint32_t scale, uint32_t add)
{
    for (uint32_t i = 0; i < count; i++)
        v[i] = (v[i] & mask) * scale + add;
}

TL__KERNEL void c_gather_u64(const uint64_t *table, const uint32_t *index, uint32_t count,
                             uint64_t *out)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = table[index[i]];
}

TL__KERNEL void c_gather_u32(const uint32_t *table, const uint32_t *index, uint32_t count,
                             uint32_t *out)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = table[index[i]];
}

TL__KERNEL uint32_t c_max_u32(const uint32_t *v, uint32_t count)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < count; i++)
        max = v[i] > max ? v[i] : max;
    return max;
}

/* Eight values of a width that the compiler knows become that many bytes: it unrolls all of it. */
static inline __attribute__((always_inline)) void
pack_eights(const uint64_t *in, uint32_t width, uint32_t groups, uint64_t sub, uint8_t *out)
{
    for (uint32_t g = 0; g < groups; g++, in += 8) {
        uint64_t word = 0;
        uint32_t fill = 0;
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t x = in[i] - sub;
            word |= x << fill;
            fill += width;
            if (fill >= 64) {
                memcpy(out, &word, 8);
                out += 8;
                fill -= 64;
                word = fill ? x >> (width - fill) : 0;
            }
        }
        if (fill) { /* fill is a multiple of 8: what lies behind is written next, or is room */
            memcpy(out, &word, 8);
            out += fill / 8;
        }
    }
}

#define TL__PACK_CASE(w)                                                                           \
    case w:                                                                                        \
        pack_eights(in, w, groups, sub, out);                                                      \
        break;
#define TL__PACK_CASES(w)                                                                          \
    TL__PACK_CASE(w)                                                                               \
    TL__PACK_CASE(w + 1)                                                                           \
    TL__PACK_CASE(w + 2)                                                                           \
    TL__PACK_CASE(w + 3)

TL__KERNEL void c_pack_any(const uint64_t *in, uint32_t width, uint32_t count, uint64_t sub,
                           uint8_t *out)
{
    uint64_t word = 0;
    uint32_t fill = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t x = in[i] - sub;
        word |= x << fill;
        fill += width;
        if (fill >= 64) {
            memcpy(out, &word, 8);
            out += 8;
            fill -= 64;
            word = fill ? x >> (width - fill) : 0;
        }
    }
    if (fill)
        memcpy(out, &word, 8);
}

TL__KERNEL void c_pack(const uint64_t *in, uint32_t width, uint32_t count, uint64_t sub,
                       uint8_t *out)
{
    uint32_t groups = count / 8;
    switch (width) {
    case 0:
        return;
        TL__PACK_CASES(1)
        TL__PACK_CASES(5)
        TL__PACK_CASES(9)
        TL__PACK_CASES(13)
        TL__PACK_CASES(17)
        TL__PACK_CASES(21)
        TL__PACK_CASES(25)
        TL__PACK_CASES(29)
        TL__PACK_CASES(33)
        TL__PACK_CASES(37)
        TL__PACK_CASES(41)
    default:
        groups = 0;
        break;
    }
    c_pack_any(in + 8 * (size_t)groups, width, count - 8 * groups, sub,
               out + (size_t)groups * width);
}

TL__KERNEL void c_fast_stats(const uint64_t *v, uint32_t count, struct tl__fast_stats *out)
{
    int64_t min = (int64_t)v[0], max = (int64_t)v[0];
    int64_t step_min = INT64_MAX, step_max = INT64_MIN;
    uint64_t changes = 0;
    for (uint32_t i = 1; i < count; i++) {
        int64_t x = (int64_t)v[i], step = (int64_t)(v[i] - v[i - 1]);
        min = x < min ? x : min;
        max = x > max ? x : max;
        step_min = step < step_min ? step : step_min;
        step_max = step > step_max ? step : step_max;
        changes += step != 0;
    }
    *out = (struct tl__fast_stats){min, max, step_min, step_max, (uint32_t)changes};
}

TL__KERNEL void c_stats(const uint64_t *v, uint32_t count, struct tl__value_stats *out)
{
    int64_t min = (int64_t)v[0], max = (int64_t)v[0];
    uint64_t changes = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t x = (int64_t)v[i];
        min = x < min ? x : min;
        max = x > max ? x : max;
    }
    for (uint32_t i = 1; i < count; i++)
        changes += v[i] != v[i - 1];
    *out = (struct tl__value_stats){min, max, (uint32_t)changes};
}

TL__KERNEL void c_mini_stats(const uint64_t *v, uint32_t count, struct tl__mini_stats *out)
{
    /* Unsigned order by flipping the top bit: signed comparisons are what old processors have. */
    const uint64_t flip = 1ULL << 63;
    int64_t min = INT64_MAX, max = INT64_MIN;
    int64_t step_min = INT64_MAX, step_max = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        int64_t x = (int64_t)(v[i] ^ flip);
        min = x < min ? x : min;
        max = x > max ? x : max;
    }
    for (uint32_t i = 1; i < count; i++) {
        int64_t x = (int64_t)(v[i] - v[i - 1]);
        step_min = x < step_min ? x : step_min;
        step_max = x > step_max ? x : step_max;
    }
    *out = (struct tl__mini_stats){(uint64_t)min ^ flip, (uint64_t)max ^ flip, step_min, step_max};
}

TL__KERNEL void c_range_u32(const uint32_t *v, uint32_t count, uint32_t *min, uint32_t *max)
{
    uint32_t lo = v[0], hi = v[0];
    for (uint32_t i = 1; i < count; i++) {
        lo = v[i] < lo ? v[i] : lo;
        hi = v[i] > hi ? v[i] : hi;
    }
    *min = lo;
    *max = hi;
}

TL__KERNEL void c_range_i64(const int64_t *v, uint32_t count, int64_t *min, int64_t *max)
{
    int64_t lo = v[0], hi = v[0];
    for (uint32_t i = 1; i < count; i++) {
        lo = v[i] < lo ? v[i] : lo;
        hi = v[i] > hi ? v[i] : hi;
    }
    *min = lo;
    *max = hi;
}

TL__KERNEL uint64_t c_code_set(const uint32_t *v, uint32_t count)
{
    uint64_t set = 0;
    for (uint32_t i = 0; i < count; i++)
        set |= 1ULL << (v[i] & 63);
    return set;
}

#endif
