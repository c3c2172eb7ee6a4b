/*
 * Stored block, little-endian (docs/FORMAT.md, "Block"):
 *   u64 checksum of all that follows, keyed · u16 rows · u16 nulls · u32 size of the validity
 *   payload · u32 size of the values payload · u32 zero · validity payload · values payload
 *
 * The values payload holds those of the rows that are not NULL, one after the other: NULLs cost
 * their bit. Reading a slice counts the bits before it and spreads what is decoded.
 *
 * Image (in memory only): u32 rows, u32 validity size, u32 values size, u32 NULLs; the values
 * payload, its pad; the validity payload, its pad.
 */
#include "storage/block.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/encoding_int.h"

enum {
    IMAGE_HEADER_BYTES = 16,
    SPREAD_ROWS = 1024 /* decoded and spread at a time; a multiple of 64 */
};

_Static_assert(TL_BLOCK_HEADER_BYTES + 2 * TL_PAYLOAD_BYTES_MAX <= TL_BLOCK_BYTES_MAX,
               "two payloads fit a block");
_Static_assert(IMAGE_HEADER_BYTES + 2 * (TL_PAYLOAD_BYTES_MAX + TL_PAYLOAD_PAD) <=
                   TL_BLOCK_BYTES_MAX,
               "two inflated payloads fit an image");
_Static_assert((int)TL_BLOCK_ROWS_MAX <= (int)TL_ENCODE_ROWS_MAX, "a block is one payload");

uint64_t tl_unit_hash(const void *data, size_t size, uint64_t pack_key, uint64_t offset)
{
    /* The odd factor spreads neighbouring offsets over all bits of the seed. */
    return tl_hash64_seed(data, size, pack_key ^ (offset * 0x9E3779B97F4A7C15ULL));
}

#ifdef TALLY_FUZZ
bool tl_unit_hash_ignored;
#endif

bool tl_unit_hash_is(uint64_t expected, const void *data, size_t size, uint64_t pack_key,
                     uint64_t offset)
{
#ifdef TALLY_FUZZ
    if (tl_unit_hash_ignored)
        return true;
#endif
    return tl_unit_hash(data, size, pack_key, offset) == expected;
}

uint32_t tl_block_width(enum tl_kind kind)
{
    switch (kind) {
    case TL_BIGINT:
    case TL_DOUBLE:
    case TL_DECIMAL64:
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        return 8;
    case TL_DATE:
    case TL_TEXT:
        return 4;
    case TL_BOOLEAN:
        return 1;
    default:
        return 0;
    }
}

/* Doubles as integers of the same order: -inf … -0, 0 … inf, NaN (of any payload and sign). */
static int64_t double_key(int64_t bits)
{
    if ((bits & INT64_MAX) > 0x7FF0000000000000LL)
        return 0x7FF8000000000000LL;
    return bits ^ ((bits >> 63) & INT64_MAX);
}

static int64_t double_bits(int64_t key)
{
    return key ^ ((key >> 63) & INT64_MAX);
}

#define RANGE(type, key)                                                                           \
    do {                                                                                           \
        const type *v = values;                                                                    \
        int64_t lo = key(v[0]), hi = lo;                                                           \
        for (uint32_t i = 1; i < rows; i++) {                                                      \
            int64_t k = key(v[i]);                                                                 \
            lo = k < lo ? k : lo;                                                                  \
            hi = k > hi ? k : hi;                                                                  \
        }                                                                                          \
        *min = lo;                                                                                 \
        *max = hi;                                                                                 \
    } while (0)

bool tl_block_range(enum tl_kind kind, const void *values, uint32_t rows, int64_t *min,
                    int64_t *max)
{
    tl_assert(rows > 0);
    switch (kind) {
    case TL_BOOLEAN:
        RANGE(uint8_t, (int64_t));
        break;
    case TL_DATE:
        RANGE(int32_t, (int64_t));
        break;
    case TL_TEXT: {
        uint32_t least, greatest;
        tl__kernels->range_u32(values, rows, &least, &greatest);
        *min = least;
        *max = greatest;
        break;
    }
    case TL_DOUBLE: {
        RANGE(int64_t, double_key);
        *min = double_bits(*min);
        *max = double_bits(*max);
        /* One key can stand for several NaNs: equal bits are what makes a constant. */
        const int64_t *bits = values;
        uint32_t i = 0;
        while (i < rows && bits[i] == bits[0])
            i++;
        if (i < rows)
            return false;
        *min = *max = bits[0];
        return true;
    }
    default:
        tl__kernels->range_i64(values, rows, min, max);
        break;
    }
    return *min == *max;
}

uint64_t tl_block_code_set(const uint32_t *codes, uint32_t rows)
{
    return tl__kernels->code_set(codes, rows);
}

int tl_block_range_cmp(enum tl_kind kind, int64_t a, int64_t b)
{
    if (kind == TL_DOUBLE) {
        a = double_key(a);
        b = double_key(b);
    }
    return (a > b) - (a < b);
}

static enum tl_code encode_values(struct tl_encoder *e, enum tl_kind kind, const void *values,
                                  uint32_t rows, const struct tl_encode_options *opt,
                                  struct tl_buffer *out, struct tl_status *st)
{
    switch (kind) {
    case TL_BOOLEAN:
        return tl_encode_u8(e, values, rows, opt, out, st);
    case TL_TEXT:
        return tl_encode_u32(e, values, rows, opt, out, st);
    case TL_DATE: {
        /* Days are signed: widened, so that dates before 1970 keep their order. */
        int64_t wide[TL_BLOCK_ROWS_MAX];
        const int32_t *days = values;
        for (uint32_t i = 0; i < rows; i++)
            wide[i] = days[i];
        return tl_encode_i64(e, wide, rows, opt, out, st);
    }
    case TL_DOUBLE:
        return tl_encode_f64(e, values, rows, opt, out, st);
    default:
        return tl_encode_i64(e, values, rows, opt, out, st);
    }
}

/* A word of rows at a time: NULLs mostly come in runs, and so do values. */
#define KEEP_VALID(type)                                                                           \
    do {                                                                                           \
        const type *from = values;                                                                 \
        type *to = out;                                                                            \
        for (uint32_t lo = 0; lo < rows; lo += 64, from += 64) {                                   \
            uint32_t n = rows - lo < 64 ? rows - lo : 64;                                          \
            uint64_t all = n < 64 ? (1ULL << n) - 1 : UINT64_MAX;                                  \
            uint64_t bits = validity[lo / 64] & all;                                               \
            if (bits == all) {                                                                     \
                memcpy(to, from, n * sizeof(type));                                                \
                to += n;                                                                           \
            } else {                                                                               \
                for (; bits; bits &= bits - 1)                                                     \
                    *to++ = from[__builtin_ctzll(bits)];                                           \
            }                                                                                      \
        }                                                                                          \
    } while (0)

void tl_block_keep_valid(enum tl_kind kind, const void *values, const uint64_t *validity,
                         uint32_t rows, void *out)
{
    uint32_t width = tl_block_width(kind);
    if (width == 8)
        KEEP_VALID(uint64_t);
    else if (width == 4)
        KEEP_VALID(uint32_t);
    else
        KEEP_VALID(uint8_t);
}

enum tl_code tl_block_encode(struct tl_encoder *e, enum tl_kind kind, const void *values,
                             const uint64_t *validity, uint32_t rows, uint32_t nulls,
                             const struct tl_encode_options *opt, uint64_t pack_key,
                             uint64_t offset, struct tl_buffer *out, struct tl_status *st)
{
    tl_assert(rows > 0 && rows <= TL_BLOCK_ROWS_MAX && nulls < rows);
    tl_assert((nulls > 0) == (validity != NULL));
    size_t begin = out->size;
    uint8_t header[TL_BLOCK_HEADER_BYTES] = {0};
    tl_buffer_put(out, header, sizeof(header));

    enum tl_code rc = TL_OK;
    if (validity)
        rc = tl_encode_bitmap(e, validity, rows, opt, out, st);
    size_t middle = out->size;
    if (!rc)
        rc = encode_values(e, kind, values, rows - nulls, opt, out, st);
    if (!rc)
        rc = tl_buffer_check(out, st);
    if (rc) {
        out->size = begin;
        return rc;
    }

    uint8_t *h = out->data + begin;
    tl_put_u16le(h + 8, (uint16_t)rows);
    tl_put_u16le(h + 10, (uint16_t)nulls);
    tl_put_u32le(h + 12, (uint32_t)(middle - begin - TL_BLOCK_HEADER_BYTES));
    tl_put_u32le(h + 16, (uint32_t)(out->size - middle));
    tl_put_u64le(h, tl_unit_hash(h + 8, out->size - begin - 8, pack_key, offset));
    tl_assert(out->size - begin <= TL_BLOCK_BYTES_MAX);
    return TL_OK;
}

/* The two payloads of a stored block whose header holds. */
struct parts {
    struct tl_slice validity, values;
};

static enum tl_code take_apart(struct tl_slice stored, const struct tl_block_expect *expect,
                               struct parts *out, struct tl_status *st)
{
    if (stored.size < TL_BLOCK_HEADER_BYTES || stored.size > TL_BLOCK_BYTES_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a block of %zu bytes", stored.size);
    const uint8_t *h = stored.data;
    uint32_t rows = tl_get_u16le(h + 8), nulls = tl_get_u16le(h + 10);
    uint32_t validity_size = tl_get_u32le(h + 12), values_size = tl_get_u32le(h + 16);
    if (rows != expect->rows || nulls != expect->nulls || tl_get_u32le(h + 20) != 0)
        return TL_FAIL(st, TL_CORRUPT, "block says %u rows, %u NULL; its index says %u, %u", rows,
                       nulls, expect->rows, expect->nulls);
    if ((uint64_t)validity_size + values_size != stored.size - TL_BLOCK_HEADER_BYTES ||
        (validity_size > 0) != (nulls > 0))
        return TL_FAIL(st, TL_CORRUPT, "block's payloads (%u and %u bytes) do not fill it",
                       validity_size, values_size);
    out->validity = tl_slice_of(h + TL_BLOCK_HEADER_BYTES, validity_size);
    out->values = tl_slice_of(h + TL_BLOCK_HEADER_BYTES + validity_size, values_size);
    return TL_OK;
}

enum tl_code tl_block_measure(struct tl_slice stored, const struct tl_block_expect *expect,
                              size_t *image_size, struct tl_status *st)
{
    if (stored.size < TL_BLOCK_HEADER_BYTES)
        return TL_FAIL(st, TL_CORRUPT, "a block of %zu bytes", stored.size);
    if (!tl_unit_hash_is(tl_get_u64le(stored.data), stored.data + 8, stored.size - 8,
                         expect->pack_key, expect->offset))
        return TL_FAIL(st, TL_CORRUPT, "block at %llu does not match its checksum",
                       (unsigned long long)expect->offset);
    struct parts parts;
    enum tl_code rc = take_apart(stored, expect, &parts, st);
    size_t values = 0, validity = 0;
    if (!rc)
        rc = tl_payload_inflated_size(parts.values, &values, st);
    if (!rc && parts.validity.size > 0)
        rc = tl_payload_inflated_size(parts.validity, &validity, st);
    if (rc)
        return rc;
    *image_size = IMAGE_HEADER_BYTES + values + TL_PAYLOAD_PAD +
                  (parts.validity.size > 0 ? validity + TL_PAYLOAD_PAD : 0);
    return TL_OK;
}

static enum tl_code count_valid(struct tl_decoder *d, struct tl_slice validity,
                                const struct tl_block_expect *expect, struct tl_status *st)
{
    uint64_t bits[TL_BLOCK_ROWS_MAX / 64];
    tl_decode_bitmap(d, validity, expect->rows, 0, expect->rows, bits);
    uint32_t valid = 0;
    for (uint32_t i = 0; i < tl_bit_words(expect->rows); i++)
        valid += (uint32_t)__builtin_popcountll(bits[i]);
    if (valid != expect->rows - expect->nulls)
        return TL_FAIL(st, TL_CORRUPT, "block's bitmap has %u NULLs, its header %u",
                       expect->rows - valid, expect->nulls);
    return TL_OK;
}

enum tl_code tl_block_inflate(struct tl_decoder *d, struct tl_slice stored,
                              const struct tl_block_expect *expect, uint8_t *image, size_t size,
                              struct tl_status *st)
{
    struct parts parts;
    size_t values = 0, validity = 0;
    enum tl_code rc = take_apart(stored, expect, &parts, st);
    if (!rc)
        rc = tl_payload_inflated_size(parts.values, &values, st);
    if (!rc && parts.validity.size > 0)
        rc = tl_payload_inflated_size(parts.validity, &validity, st);
    if (rc)
        return rc;
    uint8_t *p = image + IMAGE_HEADER_BYTES;
    rc = tl_payload_inflate(d, parts.values, p, values, st);
    if (rc)
        return rc;
    memset(p + values, 0, TL_PAYLOAD_PAD);
    struct tl_slice inflated = tl_slice_of(p, values);
    rc = tl_payload_check(d, inflated, expect->rows - expect->nulls, st);
    if (rc)
        return rc;
    if (expect->kind == TL_TEXT) {
        uint32_t max = tl_payload_max_u32(d, inflated, expect->rows - expect->nulls);
        if (max >= expect->codes)
            return TL_FAIL(st, TL_CORRUPT, "block holds code %u of a dictionary of %u", max,
                           expect->codes);
    }
    p += values + TL_PAYLOAD_PAD;
    if (parts.validity.size > 0) {
        rc = tl_payload_inflate(d, parts.validity, p, validity, st);
        if (rc)
            return rc;
        memset(p + validity, 0, TL_PAYLOAD_PAD);
        rc = tl_bitmap_check(d, tl_slice_of(p, validity), expect->rows, st);
        if (!rc)
            rc = count_valid(d, tl_slice_of(p, validity), expect, st);
        if (rc)
            return rc;
        p += validity + TL_PAYLOAD_PAD;
    }
    tl_assert((size_t)(p - image) == size);
    tl_put_u32le(image, expect->rows);
    tl_put_u32le(image + 4, (uint32_t)validity);
    tl_put_u32le(image + 8, (uint32_t)values);
    tl_put_u32le(image + 12, expect->nulls);
    return TL_OK;
}

struct tl_block_view tl_block_open(const uint8_t *image)
{
    uint32_t validity = tl_get_u32le(image + 4), values = tl_get_u32le(image + 8);
    const uint8_t *p = image + IMAGE_HEADER_BYTES;
    return (struct tl_block_view){
        .values = tl_slice_of(p, values),
        .validity = tl_slice_of(validity ? p + values + TL_PAYLOAD_PAD : NULL, validity),
        .rows = tl_get_u32le(image),
        .value_count = tl_get_u32le(image) - tl_get_u32le(image + 12),
    };
}

/* Values [lo, hi) of the payload. */
static void decode_values(struct tl_decoder *d, const struct tl_block_view *b, enum tl_kind kind,
                          uint32_t lo, uint32_t hi, void *out)
{
    uint32_t count = b->value_count;
    switch (kind) {
    case TL_BOOLEAN:
        tl_decode_u8(d, b->values, count, lo, hi, out);
        /* The format allows any byte; a vector's BOOLEAN is 0 or 1. */
        for (uint32_t i = 0; i < hi - lo; i++)
            ((uint8_t *)out)[i] = ((uint8_t *)out)[i] != 0;
        break;
    case TL_TEXT:
    case TL_DATE:
        tl_decode_u32(d, b->values, count, lo, hi, out);
        break;
    case TL_DOUBLE:
        tl_decode_f64(d, b->values, count, lo, hi, out);
        break;
    default:
        tl_decode_i64(d, b->values, count, lo, hi, out);
        break;
    }
}

/* Row i gets the next value where its bit is set, else 0. `v` has one value more than bits. */
#define SPREAD(type)                                                                               \
    do {                                                                                           \
        const type *v = (const void *)valid;                                                       \
        type *to = out;                                                                            \
        for (uint32_t i = 0, k = 0; i < n; i++) {                                                  \
            uint32_t bit = tl_bit_get(bits, i);                                                    \
            to[i] = bit ? v[k] : 0;                                                                \
            k += bit;                                                                              \
        }                                                                                          \
    } while (0)

static void spread(uint32_t width, const uint64_t *valid, const uint64_t *bits, uint32_t n,
                   void *out)
{
    if (width == 8)
        SPREAD(uint64_t);
    else if (width == 4)
        SPREAD(uint32_t);
    else
        SPREAD(uint8_t);
}

static uint32_t count_bits(const uint64_t *bits, uint32_t words)
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < words; i++)
        set += (uint32_t)__builtin_popcountll(bits[i]);
    return set;
}

void tl_block_read(struct tl_decoder *d, const struct tl_block_view *b, enum tl_kind kind,
                   uint32_t lo, uint32_t hi, void *out)
{
    if (b->value_count == b->rows) {
        decode_values(d, b, kind, lo, hi, out);
        return;
    }
    uint64_t bits[TL_BLOCK_ROWS_MAX / 64 + 1], valid[SPREAD_ROWS + 1];
    uint32_t width = tl_block_width(kind);
    uint32_t at = 0; /* values before row `lo` */
    if (lo > 0) {
        tl_decode_bitmap(d, b->validity, b->rows, 0, lo, bits);
        at = count_bits(bits, tl_bit_words(lo));
    }
    tl_decode_bitmap(d, b->validity, b->rows, lo, hi, bits);
    valid[SPREAD_ROWS] = 0;
    for (uint32_t done = 0; done < hi - lo; done += SPREAD_ROWS) {
        uint32_t n = hi - lo - done < SPREAD_ROWS ? hi - lo - done : SPREAD_ROWS;
        const uint64_t *here = bits + done / 64;
        uint32_t count = count_bits(here, tl_bit_words(n)); /* bits behind hi are clear */
        decode_values(d, b, kind, at, at + count, valid);
        spread(width, valid, here, n, (uint8_t *)out + (size_t)done * width);
        at += count;
    }
}

void tl_block_read_validity(struct tl_decoder *d, const struct tl_block_view *b, uint32_t lo,
                            uint32_t hi, uint64_t *out)
{
    if (b->validity.size > 0)
        tl_decode_bitmap(d, b->validity, b->rows, lo, hi, out);
    else
        memset(out, 0xff, (size_t)tl_bit_words(hi - lo) * sizeof(*out));
}

static pthread_key_t decoder_key;
static pthread_once_t decoder_once = PTHREAD_ONCE_INIT;

static void decoder_destroy(void *d)
{
    tl_decoder_free(d);
}

/* The main thread runs no destructors of its key when the process ends by exit(). */
static void decoder_exit(void)
{
    tl_decoder_free(pthread_getspecific(decoder_key));
    (void)pthread_setspecific(decoder_key, NULL);
}

static void decoder_make_key(void)
{
    if (pthread_key_create(&decoder_key, decoder_destroy) != 0)
        abort();
    (void)atexit(decoder_exit);
}

struct tl_decoder *tl_block_decoder(struct tl_status *st)
{
    static _Thread_local struct tl_decoder *mine;
    if (mine)
        return mine;
    (void)pthread_once(&decoder_once, decoder_make_key);
    struct tl_decoder *d = NULL;
    if (tl_decoder_new(&d, st))
        return NULL;
    if (pthread_setspecific(decoder_key, d) != 0) {
        tl_decoder_free(d);
        (void)TL_FAIL(st, TL_LIMIT, "no memory for a decoder of this thread");
        return NULL;
    }
    mine = d;
    return mine;
}
