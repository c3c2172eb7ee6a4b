/*
 * storage/encoding.h: how the values of a block, a validity bitmap or a page of strings become
 * few bytes, and how a slice of them becomes values again.
 *
 * An encoded run of values is a payload (docs/FORMAT.md, "Encodings"): a header that says the
 * encoding, and a body. The body may lie under a zstd layer; inflating takes that layer off
 * once, so that a cache keeps the inflated payload and every slice is decoded from that:
 *
 *     values --encode--> payload --inflate--> inflated payload --check--> --decode [lo, hi)-->
 * values
 *
 * The encoder picks the smallest of the encodings by measured size, and prefers one that decodes
 * slices straight from the stored bytes when zstd saves little. Same values, same options, same
 * zstd library: same bytes, whichever kernels ran.
 *
 * tl_payload_check proves an inflated payload once: sizes exact, widths in range, mini-block
 * offsets inside, dictionary indexes below the dictionary's size, run lengths that sum to the
 * row count. Only then may it be decoded; decoding trusts what was proved, cannot fail and never
 * reads or writes out of bounds (see TL_PAYLOAD_PAD).
 *
 * Ownership  inputs are borrowed for the call. An encoder or decoder owns only work space; what
 *            tl_strings_get returns points into the page.
 * Threads    an encoder and a decoder belong to one thread at a time; functions without one are
 *            pure.
 * Units      counts and positions in rows, sizes in bytes.
 * Errors     TL_CORRUPT: bytes that no encoder of ours makes. TL_LIMIT: memory, or the limit of
 *            the output buffer. TL_INVALID: more rows or bytes than fit one payload.
 */
#ifndef TALLY_STORAGE_ENCODING_H
#define TALLY_STORAGE_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/status.h"

enum {
    /* Rows of one payload, strings of one page; 0 rows are legal. */
    TL_ENCODE_ROWS_MAX = 8192,
    /* Bytes behind an INFLATED payload (numbers and bitmaps) that must be readable, whatever they
     * hold: kernels load whole registers. Stored payloads and string pages need none. */
    TL_PAYLOAD_PAD = 64,
    /* No payload of numbers or bits is larger, stored or inflated. */
    TL_PAYLOAD_BYTES_MAX = 1 << 18,
    /* No page of strings is larger, stored or inflated (a value has at most 64 KiB). */
    TL_STRINGS_BYTES_MAX = 1 << 24
};

/* Numbers stand in files: never reused. */
enum tl_encoding {
    /* numbers */
    TL_ENC_CONSTANT = 1, /* one value for all rows */
    TL_ENC_RAW = 2,      /* 1, 2, 4 or 8 bytes a value, above a minimum */
    TL_ENC_FOR = 3,      /* mini-blocks of 256: reference and bit width each */
    TL_ENC_DELTA = 4,    /* mini-blocks of 256: start value, smallest step, bit width each */
    TL_ENC_DICT = 5,     /* sorted distinct values, and an index per row */
    TL_ENC_RLE = 6,      /* values and where their runs end */
    /* bitmaps */
    TL_ENC_BITS_SAME = 16, /* all set or all clear */
    TL_ENC_BITS_RAW = 17,  /* one bit a row */
    TL_ENC_BITS_RUNS = 18, /* where runs of equal bits end */
    /* pages of strings */
    TL_ENC_STR_PLAIN = 32,    /* lengths, bytes */
    TL_ENC_STR_FRONT = 33,    /* lengths shared with the string before, rest lengths, rest bytes */
    TL_ENC_STR_HEX = 34,      /* lengths, two lower-case hexadecimal digits a byte */
    TL_ENC_STR_TEMPLATES = 35 /* templates, and a payload of numbers per slot of each */
};

enum tl_encode_effort {
    TL_EFFORT_BEST = 0, /* tries what may win and keeps the smallest: cold packs */
    TL_EFFORT_FAST = 1  /* chooses from one pass of statistics, encodes once: hot packs */
};

struct tl_encode_options {
    int zstd_level; /* 0: no zstd layer; 1 … 19 otherwise */
    enum tl_encode_effort effort;
};

/* Work space of encoding: about 1 MiB, and a zstd context made when first used. */
struct tl_encoder;
TL_CHECK enum tl_code tl_encoder_new(struct tl_encoder **out, struct tl_status *st);
void tl_encoder_free(struct tl_encoder *e);

/* Work space of inflating, checking and decoding: about 256 KiB. */
struct tl_decoder;
TL_CHECK enum tl_code tl_decoder_new(struct tl_decoder **out, struct tl_status *st);
void tl_decoder_free(struct tl_decoder *d);

/* ---- Encoding: each appends one payload to `out` (nothing on failure) ---- */

TL_CHECK enum tl_code tl_encode_i64(struct tl_encoder *e, const int64_t *values, uint32_t count,
                                    const struct tl_encode_options *opt, struct tl_buffer *out,
                                    struct tl_status *st);
/* Dictionary codes, dates, small counts. Decodes through tl_decode_u32 and tl_decode_i64 alike. */
TL_CHECK enum tl_code tl_encode_u32(struct tl_encoder *e, const uint32_t *values, uint32_t count,
                                    const struct tl_encode_options *opt, struct tl_buffer *out,
                                    struct tl_status *st);
/* BOOLEAN columns: bytes of any value. */
TL_CHECK enum tl_code tl_encode_u8(struct tl_encoder *e, const uint8_t *values, uint32_t count,
                                   const struct tl_encode_options *opt, struct tl_buffer *out,
                                   struct tl_status *st);
/* Doubles as their 64-bit patterns: NaN payloads and -0 survive. */
TL_CHECK enum tl_code tl_encode_f64(struct tl_encoder *e, const double *values, uint32_t count,
                                    const struct tl_encode_options *opt, struct tl_buffer *out,
                                    struct tl_status *st);
/* A bitmap of `count` bits (base/vector.h); bits behind `count` are ignored. */
TL_CHECK enum tl_code tl_encode_bitmap(struct tl_encoder *e, const uint64_t *bits, uint32_t count,
                                       const struct tl_encode_options *opt, struct tl_buffer *out,
                                       struct tl_status *st);
/* A page of strings; the caller cuts pages at the size it aims at. */
TL_CHECK enum tl_code tl_encode_strings(struct tl_encoder *e, const struct tl_slice *values,
                                        uint32_t count, const struct tl_encode_options *opt,
                                        struct tl_buffer *out, struct tl_status *st);

/* ---- Opening stored payloads of numbers and bitmaps ---- */

/* True when no zstd layer has to come off: the stored bytes may be used as they are (padded). */
bool tl_payload_is_inflated(struct tl_slice payload);
/* Size of the inflated payload, at most TL_PAYLOAD_BYTES_MAX, without the pad. */
TL_CHECK enum tl_code tl_payload_inflated_size(struct tl_slice payload, size_t *size,
                                               struct tl_status *st);
/* Writes the inflated payload into dst, which has exactly `size` bytes (and the caller's pad
 * behind them, which is not written). */
TL_CHECK enum tl_code tl_payload_inflate(struct tl_decoder *d, struct tl_slice payload,
                                         uint8_t *dst, size_t size, struct tl_status *st);
/* Proves an inflated payload of numbers with `count` rows. It must be padded already. */
TL_CHECK enum tl_code tl_payload_check(struct tl_decoder *d, struct tl_slice inflated,
                                       uint32_t count, struct tl_status *st);
/* The same for a bitmap. */
TL_CHECK enum tl_code tl_bitmap_check(struct tl_decoder *d, struct tl_slice inflated,
                                      uint32_t count, struct tl_status *st);

/* ---- Decoding inflated, padded payloads that a check has proved for this `count` ----
 * Rows [lo, hi), lo <= hi <= count, into out[0 … hi-lo). Nothing behind is written. */

void tl_decode_i64(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                   uint32_t hi, int64_t *out);
/* The low 32 bits of each value. */
void tl_decode_u32(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                   uint32_t hi, uint32_t *out);
/* The low 8 bits of each value. */
void tl_decode_u8(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                  uint32_t hi, uint8_t *out);
void tl_decode_f64(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                   uint32_t hi, double *out);
/* Bits [lo, hi) from bit 0 of `out` on, which has tl_bit_words(hi - lo) words; the bits of the
 * last word behind hi - lo are cleared. */
void tl_decode_bitmap(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                      uint32_t hi, uint64_t *out);

/* The values of rows[0 … n), each below `count`, in any order: out[i] is the value of rows[i].
 * CONSTANT, RAW and FOR (also as indexes of a DICT) answer each row in constant time without
 * decoding its neighbours; other forms decode up to 256 rows around it, and again only when the
 * next row lies elsewhere, so rows that ascend cost least. */
void tl_decode_at_u32(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                      const uint32_t *rows, uint32_t n, uint32_t *out);
void tl_decode_at_i64(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                      const uint32_t *rows, uint32_t n, int64_t *out);

/* The greatest value that tl_decode_u32 gives for any row (0 when count is 0): a caller that uses
 * the values as dictionary codes compares it with the dictionary's size once per block. From the
 * headers where they tell, else by decoding all rows. */
uint32_t tl_payload_max_u32(struct tl_decoder *d, struct tl_slice inflated, uint32_t count);

/* ---- Looking at the encoded form (inflated and proved payloads) ---- */

/* The encoding's number, also of a stored payload; 0 when there is no header. */
enum tl_encoding tl_payload_kind(struct tl_slice payload);
/* "constant", "delta", …; "delta+zstd" for a stored payload with a zstd layer. A literal. */
const char *tl_payload_name(struct tl_slice payload);
/* True, with the value, when all rows are known to be equal. */
bool tl_payload_constant(struct tl_slice inflated, uint32_t count, int64_t *value);
/* For RLE and CONSTANT: the runs that overlap rows [lo, hi), clipped to it: run i has values[i]
 * and ends before row ends[i] (ends[last] == hi, absolute rows). Both arrays need room for
 * hi - lo entries. Returns the number of runs; UINT32_MAX when the payload has another form. */
uint32_t tl_payload_runs(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                         uint32_t lo, uint32_t hi, int64_t *values, uint32_t *ends);
/* For DICT: the number of dictionary entries; 0 when the payload has another form. */
uint32_t tl_payload_dict_size(struct tl_slice inflated);
/* For DICT: all entries … */
void tl_payload_dict_values(struct tl_decoder *d, struct tl_slice inflated, int64_t *out);
/* … and the indexes of rows [lo, hi) into them. */
void tl_payload_dict_indexes(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                             uint32_t lo, uint32_t hi, uint32_t *out);
/* True when all bits are equal, with that bit. */
bool tl_bitmap_same(struct tl_slice inflated, bool *bit);

/* ---- Pages of strings ----
 * An inflated page lies in memory as u32 count, u32 end offsets, bytes; it is proved while it is
 * made, needs no pad and answers any index in constant time. */

/* Size of the inflated page, at most TL_STRINGS_BYTES_MAX. */
TL_CHECK enum tl_code tl_strings_inflated_size(struct tl_slice payload, size_t *size,
                                               struct tl_status *st);
/* Inflates and proves a stored page into dst of exactly `size` bytes. */
TL_CHECK enum tl_code tl_strings_inflate(struct tl_decoder *d, struct tl_slice payload,
                                         uint8_t *dst, size_t size, struct tl_status *st);

static inline uint32_t tl_strings_count(const uint8_t *page)
{
    return tl_get_u32le(page);
}
/* String `i` of an inflated page, i < tl_strings_count(page). */
static inline struct tl_slice tl_strings_get(const uint8_t *page, uint32_t i)
{
    uint32_t count = tl_get_u32le(page);
    uint32_t begin = i ? tl_get_u32le(page + 4 * (size_t)i) : 0;
    uint32_t end = tl_get_u32le(page + 4 * (size_t)i + 4);
    return tl_slice_of(page + 4 + 4 * (size_t)count + begin, end - begin);
}

/* ---- Kernels ----
 * Chosen once, at start: the best that the processor has, or what the environment's TALLY_KERNELS
 * names (portable, avx2, avx512; one that the processor lacks is ignored). */
const char *tl_kernels_name(void);
/* Tests and benchmarks: switches the kernels of this process; false when not available. Call while
 * no other thread encodes or decodes. */
bool tl_kernels_use(const char *name);

#endif
