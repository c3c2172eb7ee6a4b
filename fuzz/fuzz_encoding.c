/*
 * fuzz/fuzz_encoding.c: any bytes through every decoder of storage/encoding.h, and any values
 * through every encoder and back.
 *
 * The first byte picks the job and the zstd level, the next two the row count. What a check has
 * let through is decoded whole and in two slices with every set of kernels; the results must
 * agree. Buffers end exactly where the contract says, so that AddressSanitizer sees more.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/vector.h"
#include "storage/encoding.h"

enum { ROWS = TL_ENCODE_ROWS_MAX };

static const char *const KERNELS[] = {"portable", "avx2", "avx512"};
static struct tl_encoder *encoder;
static struct tl_decoder *decoder;

/* The inflated payload with its pad, or NULL when it is refused. */
static uint8_t *inflate(struct tl_slice payload, size_t *size)
{
    struct tl_status st = TL_STATUS_INIT;
    if (tl_payload_inflated_size(payload, size, &st))
        return NULL;
    uint8_t *dst = malloc(*size + TL_PAYLOAD_PAD);
    tl_assert(dst != NULL);
    memset(dst + *size, 0xA5, TL_PAYLOAD_PAD);
    if (tl_payload_inflate(decoder, payload, dst, *size, &st)) {
        free(dst);
        return NULL;
    }
    return dst;
}

/* Decodes rows [lo, hi) with the kernels in use and compares with what they decoded before. */
static void decode_slice(struct tl_slice inflated, uint32_t count, uint32_t lo, uint32_t hi,
                         const int64_t *all, uint32_t max)
{
    uint32_t n = hi - lo;
    int64_t *wide = malloc(n * sizeof(*wide) + 1);
    uint32_t *narrow = malloc(n * sizeof(*narrow) + 1);
    uint8_t *bytes = malloc(n + 1);
    tl_assert(wide && narrow && bytes);
    tl_decode_i64(decoder, inflated, count, lo, hi, wide);
    tl_decode_u32(decoder, inflated, count, lo, hi, narrow);
    tl_decode_u8(decoder, inflated, count, lo, hi, bytes);
    for (uint32_t i = 0; i < n; i++) {
        tl_assert(wide[i] == all[lo + i]);
        tl_assert(narrow[i] == (uint32_t)wide[i] && narrow[i] <= max);
        tl_assert(bytes[i] == (uint8_t)wide[i]);
    }
    free(wide);
    free(narrow);
    free(bytes);
}

static void decode_numbers(struct tl_slice payload, uint32_t count, const int64_t *expected)
{
    struct tl_status st = TL_STATUS_INIT;
    size_t size;
    uint8_t *dst = inflate(payload, &size);
    struct tl_slice inflated = tl_slice_of(dst, size);
    tl_assert(dst || !expected);
    if (!dst)
        return;
    int64_t *all = malloc(ROWS * sizeof(*all)), *values = malloc(ROWS * sizeof(*values));
    uint32_t *ends = malloc(ROWS * sizeof(*ends));
    tl_assert(all && values && ends);
    for (int k = 0; k < 3; k++) {
        if (!tl_kernels_use(KERNELS[k]))
            continue;
        enum tl_code rc = tl_payload_check(decoder, inflated, count, &st);
        tl_assert(rc == TL_OK || !expected);
        if (rc)
            break;
        if (k == 0)
            tl_decode_i64(decoder, inflated, count, 0, count, all);
        if (expected && count)
            tl_assert(memcmp(all, expected, count * sizeof(*all)) == 0);
        uint32_t max = tl_payload_max_u32(decoder, inflated, count);
        decode_slice(inflated, count, 0, count, all, max);
        decode_slice(inflated, count, count / 3, count - count / 4, all, max);
        decode_slice(inflated, count, count / 2, count / 2 + (count > 1), all, max);
        uint32_t runs = tl_payload_runs(decoder, inflated, count, count / 5, count, values, ends);
        for (uint32_t i = 0, row = count / 5; runs != UINT32_MAX && i < runs; i++)
            for (; row < ends[i]; row++)
                tl_assert(values[i] == all[row]);
        if (tl_payload_dict_size(inflated)) {
            tl_payload_dict_values(decoder, inflated, values);
            tl_payload_dict_indexes(decoder, inflated, count, 0, count, ends);
            for (uint32_t i = 0; i < count; i++)
                tl_assert(values[ends[i]] == all[i]);
        }
    }
    free(all);
    free(values);
    free(ends);
    free(dst);
}

static void decode_bits(struct tl_slice payload, uint32_t count, const uint64_t *expected)
{
    struct tl_status st = TL_STATUS_INIT;
    size_t size;
    uint8_t *dst = inflate(payload, &size);
    tl_assert(dst || !expected);
    if (!dst)
        return;
    struct tl_slice inflated = tl_slice_of(dst, size);
    enum tl_code rc = tl_bitmap_check(decoder, inflated, count, &st);
    tl_assert(rc == TL_OK || !expected);
    if (rc == TL_OK) {
        uint64_t *all = malloc(tl_bit_words(count) * 8 + 1);
        uint32_t lo = count / 3;
        uint64_t *part = malloc(tl_bit_words(count - lo) * 8 + 1);
        tl_assert(all && part);
        tl_decode_bitmap(decoder, inflated, count, 0, count, all);
        tl_decode_bitmap(decoder, inflated, count, lo, count, part);
        for (uint32_t i = lo; i < count; i++)
            tl_assert(tl_bit_get(all, i) == tl_bit_get(part, i - lo));
        for (uint32_t i = 0; expected && i < count; i++)
            tl_assert(tl_bit_get(all, i) == tl_bit_get(expected, i));
        free(all);
        free(part);
    }
    free(dst);
}

static void decode_strings(struct tl_slice payload, const struct tl_slice *expected)
{
    struct tl_status st = TL_STATUS_INIT;
    size_t size;
    enum tl_code rc = tl_strings_inflated_size(payload, &size, &st);
    tl_assert(rc == TL_OK || !expected);
    if (rc || size > 1 << 20) /* larger pages say nothing new, and slow the search down */
        return;
    uint8_t *page = malloc(size);
    tl_assert(page != NULL);
    rc = tl_strings_inflate(decoder, payload, page, size, &st);
    tl_assert(rc == TL_OK || !expected);
    for (uint32_t i = 0; rc == TL_OK && i < tl_strings_count(page); i++) {
        struct tl_slice s = tl_strings_get(page, i);
        tl_assert(s.data >= page && s.data + s.size <= page + size);
        tl_assert(!expected || tl_slice_eq(s, expected[i]));
    }
    free(page);
}

/* Values of `width` bytes out of the input, widened. */
static void encode_numbers(const uint8_t *data, size_t size, uint32_t width, int level)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_encode_options opt = {.zstd_level = level / 2,
                                    .effort = level % 2 ? TL_EFFORT_FAST : TL_EFFORT_BEST};
    uint32_t count = (uint32_t)(size / width < ROWS ? size / width : ROWS);
    int64_t *values = calloc(ROWS, sizeof(*values));
    struct tl_buffer out;
    tl_assert(values != NULL);
    for (uint32_t i = 0; i < count; i++)
        memcpy(&values[i], data + (size_t)i * width, width);
    tl_buffer_init(&out, "payload", 1 << 20);
    enum tl_code rc = tl_encode_i64(encoder, values, count, &opt, &out, &st);
    tl_assert(rc == TL_OK);
    decode_numbers(tl_buffer_slice(&out), count, values);
    tl_buffer_clear(&out);
    rc = tl_encode_bitmap(encoder, (uint64_t *)values, count, &opt, &out, &st);
    tl_assert(rc == TL_OK);
    decode_bits(tl_buffer_slice(&out), count, (uint64_t *)values);
    tl_buffer_deinit(&out);
    free(values);
}

/* Strings between zero bytes. */
static void encode_strings(const uint8_t *data, size_t size, int level)
{
    static struct tl_slice values[ROWS];
    struct tl_status st = TL_STATUS_INIT;
    struct tl_encode_options opt = {.zstd_level = level / 2,
                                    .effort = level % 2 ? TL_EFFORT_FAST : TL_EFFORT_BEST};
    uint32_t count = 0;
    for (size_t at = 0; at < size && count < ROWS;) {
        const uint8_t *end = memchr(data + at, 0, size - at);
        size_t n = end ? (size_t)(end - data) - at : size - at;
        values[count++] = tl_slice_of(data + at, n);
        at += n + 1;
    }
    struct tl_buffer out;
    tl_buffer_init(&out, "page", 1 << 24);
    enum tl_code rc = tl_encode_strings(encoder, values, count, &opt, &out, &st);
    tl_assert(rc == TL_OK);
    decode_strings(tl_buffer_slice(&out), values);
    tl_buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_status st = TL_STATUS_INIT;
    if (!encoder && (tl_encoder_new(&encoder, &st) || tl_decoder_new(&decoder, &st)))
        abort();
    if (size < 3)
        return 0;
    uint32_t job = data[0] % 8, count = tl_get_u16le(data + 1) % (ROWS + 1);
    int level = data[0] / 64;
    data += 3;
    size -= 3;
    struct tl_slice input = tl_slice_of(data, size);
    switch (job) {
    case 0:
    case 1:
        decode_numbers(input, count, NULL);
        break;
    case 2:
        decode_bits(input, count, NULL);
        break;
    case 3:
        decode_strings(input, NULL);
        break;
    case 4:
        encode_strings(data, size, level);
        break;
    default:
        encode_numbers(data, size, job == 5 ? 8 : job == 6 ? 2 : 1, level);
        break;
    }
    return 0;
}
