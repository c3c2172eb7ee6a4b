/*
 * storage/encoding_int.h: what the encoder, the decoder and the kernels share.
 *
 * The layout of each payload stands in docs/FORMAT.md, "Encodings"; this header holds the
 * constants of that page and the table of kernels. For storage/encoding*.c and decoding.c alone.
 */
#ifndef TALLY_STORAGE_ENCODING_INT_H
#define TALLY_STORAGE_ENCODING_INT_H

#include "storage/encoding.h"

enum {
    TL__HEADER_BYTES = 8,          /* kind, layer, a, b, u32 size of the inflated body */
    TL__STRINGS_HEADER_BYTES = 16, /* kind, layer, 0, 0, u32 size of text, u32 count, u32 bytes */
    TL__MINI_ROWS = 256,           /* rows of a mini-block */
    TL__MINI_MAX = TL_ENCODE_ROWS_MAX / TL__MINI_ROWS,
    TL__WIDTH_MAX = 64,
    TL__DICT_MAX = 4096,      /* entries that the encoder makes; a reader takes up to 8192 */
    TL__META_MAX = 72 * 1024, /* bytes of a leaf that holds the lengths of a page */
    TL__LAYER_NONE = 0,
    TL__LAYER_ZSTD = 1,
    TL__LAYER_CLASSES = 2,
    TL__FLAG_SCALED = 1,  /* b, bit 0: a scale follows the base */
    TL__FLAG_WRAPPED = 2, /* b, bit 1, DELTA: a mask follows; sums are taken modulo mask + 1 */
    /* The layer of classes (encoding_classes.c). */
    TL__CLASSES_PLAIN = 0,
    TL__CLASSES_ABOVE = 1,
    TL__CLASSES_BELOW = 2,
    TL__CLASSES_HEADER_BYTES = 8, /* u16 mode, u16 rows, u32 size of the frame */
    TL__CLASS_NEXT = 65,          /* the next new code */
    TL__CLASS_LIFT = 66,          /* the same, and the floor is lifted to it */
    TL__CLASS_LOW = 67,           /* and on: a code below the floor, of class symbol - 67 */
    TL__CLASS_SYMBOLS = 132
};

_Static_assert(TL__MINI_MAX *TL__MINI_ROWS == TL_ENCODE_ROWS_MAX, "whole mini-blocks");
_Static_assert(TL_ENCODE_ROWS_MAX * 8 * 2 < TL_PAYLOAD_BYTES_MAX, "room for any payload");

/* What the encoder asks about all values of a block, taken as signed. */
struct tl__value_stats {
    int64_t min, max;
    uint32_t changes; /* rows that differ from the row before */
};

/* … and about the values of one mini-block, taken as unsigned, and their steps, as signed. */
struct tl__mini_stats {
    uint64_t min, max;
    int64_t step_min, step_max; /* INT64_MAX, INT64_MIN when there is one row */
};

/* All of it about one mini-block in one pass, values and steps taken as signed; `changes`
 * counts unequal neighbours. */
struct tl__fast_stats {
    int64_t min, max;
    int64_t step_min, step_max; /* INT64_MAX, INT64_MIN when there is one row */
    uint32_t changes;
};

/* A run of values brought to base + scale × u, and what its encodings would cost. */
struct tl__plan {
    uint32_t count, minis;
    uint64_t base, scale;
    uint64_t range; /* the greatest u */
    uint32_t changes;
    const uint64_t *u;
    struct tl__mini_stats mini[TL__MINI_MAX];
    uint32_t for_bytes; /* of a reference; 0: all references are 0 */
    uint64_t start_min; /* DELTA: starts are stored above it, added to the base */
    uint64_t start_range;
    uint64_t step_min, step_range;
    size_t raw_size, for_size, delta_size;
};

static inline uint32_t tl__plan_mini_rows(const struct tl__plan *p, uint32_t m)
{
    uint32_t left = p->count - m * TL__MINI_ROWS;
    return left < TL__MINI_ROWS ? left : TL__MINI_ROWS;
}

/* One table per instruction set. `in` of the decoding ones is readable TL_PAYLOAD_PAD bytes
 * beyond the last bit asked for; `out` gets exactly `count` values. All sums wrap. */
struct tl__kernels {
    const char *name;
    void (*prepare)(void); /* fills the tables of the kernels; may be NULL */
    /* Decoding: value i is bits [i*width, (i+1)*width) of `in`, least significant first. */
    void (*unpack_u64)(const uint8_t *in, uint32_t width, uint32_t count, uint64_t add,
                       uint64_t *out);
    void (*unpack_u32)(const uint8_t *in, uint32_t width, uint32_t count, uint32_t add,
                       uint32_t *out);
    /* Little-endian values of 1, 2, 4 or 8 bytes. */
    void (*widen_u64)(const uint8_t *in, uint32_t bytes, uint32_t count, uint64_t add,
                      uint64_t *out);
    void (*widen_u32)(const uint8_t *in, uint32_t bytes, uint32_t count, uint32_t add,
                      uint32_t *out);
    /* v[i] = start + v[0] + … + v[i] */
    void (*prefix_u64)(uint64_t *v, uint32_t count, uint64_t start);
    void (*prefix_u32)(uint32_t *v, uint32_t count, uint32_t start);
    /* v[i] = v[i] * scale + add */
    void (*scale_u64)(uint64_t *v, uint32_t count, uint64_t scale, uint64_t add);
    void (*scale_u32)(uint32_t *v, uint32_t count, uint32_t scale, uint32_t add);
    /* out[i] = table[index[i]] */
    /* v[i] = (v[i] & mask) * scale + add */
    void (*wrap_u64)(uint64_t *v, uint32_t count, uint64_t mask, uint64_t scale, uint64_t add);
    void (*wrap_u32)(uint32_t *v, uint32_t count, uint32_t mask, uint32_t scale, uint32_t add);
    void (*gather_u64)(const uint64_t *table, const uint32_t *index, uint32_t count, uint64_t *out);
    void (*gather_u32)(const uint32_t *table, const uint32_t *index, uint32_t count, uint32_t *out);
    uint32_t (*max_u32)(const uint32_t *v, uint32_t count);
    /* Encoding. `pack` is the inverse of unpack_u64 (subtracts `sub` first; the rest fits `width`
     * bits); it may write 8 bytes beyond the last bit. */
    void (*pack)(const uint64_t *in, uint32_t width, uint32_t count, uint64_t sub, uint8_t *out);
    void (*stats)(const uint64_t *v, uint32_t count, struct tl__value_stats *out);
    void (*mini_stats)(const uint64_t *v, uint32_t count, struct tl__mini_stats *out);
    void (*fast_stats)(const uint64_t *v, uint32_t count, struct tl__fast_stats *out);
    /* What an index says of a block, of count > 0 values. */
    void (*range_u32)(const uint32_t *v, uint32_t count, uint32_t *min, uint32_t *max);
    void (*range_i64)(const int64_t *v, uint32_t count, int64_t *min, int64_t *max);
    uint64_t (*code_set)(const uint32_t *v, uint32_t count); /* bit v[i] mod 64 for each */
};

extern const struct tl__kernels tl__kernels_portable;
extern const struct tl__kernels tl__kernels_avx2;
extern const struct tl__kernels tl__kernels_avx512;
/* The table in use: set once by a constructor, before main and any thread. */
extern const struct tl__kernels *tl__kernels;

/* What pages of strings (encoding_strings.c) take from decoding.c: work space for a padded copy of
 * lengths (TL__META_MAX + TL_PAYLOAD_PAD bytes) and for twice TL_ENCODE_ROWS_MAX of them, one zstd
 * frame of exactly `size` bytes, and a checked leaf of `count` values in padded bytes; *size is
 * what the leaf takes. */
uint8_t *tl__decoder_meta(struct tl_decoder *d);
uint32_t *tl__decoder_lengths(struct tl_decoder *d);
TL_CHECK enum tl_code tl__zstd_inflate(struct tl_decoder *d, struct tl_slice in, uint8_t *dst,
                                       size_t size, struct tl_status *st);
TL_CHECK enum tl_code tl__leaf_decode(struct tl_slice payload, uint32_t count, uint32_t *out,
                                      size_t *size, struct tl_status *st);

/* … and from encoding.c: the smallest leaf of `count` values (at most TL_ENCODE_ROWS_MAX, written
 * to `out` of TL__META_MAX bytes; returns its size), work space for values, and one zstd frame
 * appended to `out`; 0 when zstd failed or found no room. */
size_t tl__leaf_encode(struct tl_encoder *e, const uint64_t *values, uint32_t count, uint8_t *out);
uint64_t *tl__encoder_values(struct tl_encoder *e);
size_t tl__zstd_deflate(struct tl_encoder *e, int level, const uint8_t *in, size_t size,
                        uint8_t *out, size_t capacity);
/* The form that one pass of statistics promises to be smallest, of values that lie in `width`
 * bytes each (1, 4: unsigned; 8); written to `out` of TL__META_MAX bytes, returns its size. The
 * run arrays are work space for TL_ENCODE_ROWS_MAX each. */
size_t tl__encode_fast(const void *values, uint32_t width, uint32_t count, uint64_t *run_values,
                       uint64_t *run_ends, uint8_t *out);

/* The layer of classes. The encoder: the plan's values under the layer, in `out`, when that
 * promises less than `worth` bytes; else 0. */
size_t tl__classes_encode(struct tl_encoder *e, int level, const struct tl__plan *p, size_t worth,
                          uint8_t *out, size_t capacity);
/* Inflating takes the layer off. */
TL_CHECK enum tl_code tl__classes_inflate(struct tl_decoder *d, struct tl_slice payload,
                                          uint8_t *dst, size_t size, struct tl_status *st);
struct tl__class_space {
    uint64_t values[4][TL_ENCODE_ROWS_MAX]; /* candidates */
    uint8_t symbols[TL_ENCODE_ROWS_MAX];
    uint8_t lifts[TL_ENCODE_ROWS_MAX];
    uint8_t mantissas[TL_ENCODE_ROWS_MAX * 8 + 16];
    uint16_t first[TL_ENCODE_ROWS_MAX + 1];
    uint64_t sorted[TL_ENCODE_ROWS_MAX], spare[TL_ENCODE_ROWS_MAX];
    uint8_t front[TL__HEADER_BYTES + 32 + TL__MINI_MAX * 17];
};
struct tl__class_space *tl__encoder_classes(struct tl_encoder *e);
/* Sorts ascending by as many bytes as `range` has; answers with the array that holds the result. */
uint64_t *tl__values_sort(uint64_t *v, uint64_t *spare, uint32_t count, uint64_t range);
uint8_t *tl__decoder_symbols(struct tl_decoder *d); /* TL_ENCODE_ROWS_MAX bytes */
/* Bytes between the header of a FOR or DELTA payload and its packed bits; 0 for other headers. */
size_t tl__leaf_front(const uint8_t *header, uint32_t count);
/* A FOR or DELTA payload of which header and front are there: proves them, and answers with the
 * widths and references of its mini-blocks (0 for DELTA) and where its packed bits begin. */
TL_CHECK enum tl_code tl__leaf_packed(struct tl_slice inflated, uint32_t count,
                                      const uint8_t **widths, uint64_t *references, size_t *data,
                                      struct tl_status *st);

/* Division by a fixed divisor where it leaves no rest: x / d = (x >> shift) * inverse, the
 * inverse modulo 2^64 of the odd part (Hacker's Delight, 10-16). */
struct tl__divisor {
    uint64_t d, inverse, quotient_max;
    uint32_t shift;
};

static inline struct tl__divisor tl__divisor_of(uint64_t d, uint64_t range)
{
    struct tl__divisor v = {.d = d, .quotient_max = range / d};
    v.shift = (uint32_t)__builtin_ctzll(d);
    uint64_t odd = d >> v.shift;
    v.inverse = odd * 3 ^ 2; /* five bits are right; each step doubles them */
    for (int i = 0; i < 4; i++)
        v.inverse *= 2 - odd * v.inverse;
    return v;
}

static inline bool tl__divides(const struct tl__divisor *v, uint64_t x)
{
    uint64_t q = (x >> v->shift) * v->inverse;
    return q <= v->quotient_max && q * v->d == x;
}

/* The greatest d that divides every v[i] - base; none of these is above `range`. */
uint64_t tl__common_divisor(const uint64_t *v, uint32_t count, uint64_t base, uint64_t range);

/* Work space of the pages of strings: leaves of lengths and two texts. */
struct tl__text_space {
    uint8_t leaf[3][TL__META_MAX];
    struct tl_buffer text[3];
};
struct tl__text_space *tl__encoder_text(struct tl_encoder *e);

/* Writing payloads: a header whose size tl__finish_payload sets, and narrow fields. Each returns
 * what is behind. */
static inline uint8_t *tl__put_header(uint8_t *out, enum tl_encoding kind, uint32_t a, uint32_t b)
{
    out[0] = (uint8_t)kind;
    out[1] = TL__LAYER_NONE;
    out[2] = (uint8_t)a;
    out[3] = (uint8_t)b;
    return out + TL__HEADER_BYTES;
}

static inline size_t tl__finish_payload(uint8_t *payload, const uint8_t *end)
{
    size_t size = (size_t)(end - payload);
    tl_put_u32le(payload + 4, (uint32_t)(size - TL__HEADER_BYTES));
    return size;
}

static inline uint8_t *tl__put_narrow(uint8_t *out, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        *out++ = (uint8_t)(value >> (8 * i));
    return out;
}

/* Bytes of `rows` packed values. */
static inline size_t tl__packed_size(uint32_t rows, uint32_t width)
{
    return ((size_t)rows * width + 7) / 8;
}

/* How many bytes hold a value: 0 (only zero), 1, 2, 4 or 8. */
static inline uint32_t tl__byte_width(uint64_t value)
{
    return value == 0 ? 0 : value <= 0xFF ? 1 : value <= 0xFFFF ? 2 : value <= 0xFFFFFFFF ? 4 : 8;
}

static inline uint32_t tl__bit_width(uint64_t value)
{
    return value == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(value);
}

/* A little-endian value of 0, 1, 2, 4 or 8 bytes. */
static inline uint64_t tl__get_narrow(const uint8_t *p, uint32_t bytes)
{
    switch (bytes) {
    case 1:
        return p[0];
    case 2:
        return tl_get_u16le(p);
    case 4:
        return tl_get_u32le(p);
    case 8:
        return tl_get_u64le(p);
    default:
        return 0;
    }
}

/* The value at bit `bit` of `in`; reads up to 9 bytes from that bit's byte on. */
static inline uint64_t tl__unpack_one(const uint8_t *in, uint32_t width, uint64_t bit)
{
    if (width == 0)
        return 0;
    const uint8_t *p = in + (bit >> 3);
    uint32_t shift = (uint32_t)bit & 7;
    uint64_t value = tl_get_u64le(p) >> shift;
    if (shift + width > 64)
        value |= (uint64_t)p[8] << (64 - shift);
    return width == 64 ? value : value & ((1ULL << width) - 1);
}

#endif
