/*
 * Promises: what was encoded decodes to the same values, whole and in every slice, with every set
 * of kernels; the same input gives the same bytes; bytes that were changed are refused or decode
 * to what the format's page says, and never make a decoder leave its buffers.
 *
 * Method: a second reader (naive_*) is written from docs/FORMAT.md alone, bit by bit, and compared
 * with the real one on encoder output, on hand-made payloads with random bits and on mutations.
 * Output arrays have guards behind them; inputs end at the end of a heap block, so that
 * AddressSanitizer sees a read past the pad.
 *
 * tests/golden/encodings_v1.bin is rewritten, from the root, by:
 *     TALLY_GOLDEN_WRITE=1 build/release/test_encoding_storage
 */
#include "tests/test.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/vector.h"
#include "storage/encoding.h"

enum { ROWS = TL_ENCODE_ROWS_MAX, GUARD = 64 };

static const char *const KERNELS[] = {"portable", "avx2", "avx512"};
static struct tl_encoder *encoder;
static struct tl_decoder *decoder;
static uint64_t seed;

static uint64_t chance(void)
{
    uint64_t z = seed += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static uint64_t low_bits(uint32_t width)
{
    return width == 0 ? 0 : UINT64_MAX >> (64 - width);
}

/* ---- The naive reader ---- */

struct naive {
    uint64_t v[ROWS];
};

static uint64_t naive_bits(const uint8_t *p, uint64_t bit, uint32_t width)
{
    uint64_t x = 0;
    for (uint32_t i = 0; i < width; i++, bit++)
        x |= (uint64_t)((p[bit / 8] >> (bit % 8)) & 1) << i;
    return x;
}

static size_t naive_numbers(const uint8_t *p, uint32_t count, uint64_t *out)
{
    uint32_t kind = p[0], a = p[2], size = tl_get_u32le(p + 4);
    const uint8_t *next = p + 8;
    if (kind == TL_ENC_DICT) {
        struct naive *entries = calloc(1, sizeof(*entries));
        uint32_t n = tl_get_u32le(next);
        next += 4;
        next += naive_numbers(next, n, entries->v);
        naive_numbers(next, count, out);
        for (uint32_t i = 0; i < count; i++)
            out[i] = entries->v[out[i] & 0xFFFFFFFF];
        free(entries);
        return 8 + size;
    }
    if (kind == TL_ENC_RLE) {
        struct naive *values = calloc(1, sizeof(*values)), *ends = calloc(1, sizeof(*ends));
        uint32_t n = tl_get_u32le(next), row = 0;
        next += 4;
        next += naive_numbers(next, n, values->v);
        naive_numbers(next, n, ends->v);
        for (uint32_t i = 0; i < n; i++)
            while (row < (uint32_t)ends->v[i])
                out[row++] = values->v[i];
        free(values);
        free(ends);
        return 8 + size;
    }
    uint64_t base = tl_get_u64le(next), scale = 1;
    next += 8;
    if (p[3] & 1) {
        scale = tl_get_u64le(next);
        next += 8;
    }
    uint64_t mask = UINT64_MAX;
    if (p[3] & 2) {
        assert_int_equal(kind, TL_ENC_DELTA);
        mask = tl_get_u64le(next);
        next += 8;
    }
    uint32_t minis = (count + 255) / 256;
    if (kind == TL_ENC_CONSTANT) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = base;
    } else if (kind == TL_ENC_RAW) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = base + scale * naive_bits(next, 8ULL * a * i, 8 * a);
    } else if (kind == TL_ENC_FOR) {
        const uint8_t *widths = next, *references = next + minis, *data = references + minis * a;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t m = i / 256, w = widths[m];
            if (i && i % 256 == 0)
                data += widths[m - 1] * 32;
            uint64_t x = naive_bits(references, 8ULL * a * m, 8 * a);
            out[i] = base + scale * (x + naive_bits(data, (uint64_t)(i % 256) * w, w));
        }
    } else if (kind == TL_ENC_DELTA) {
        uint32_t start_bytes = a & 15, step_bytes = a >> 4;
        uint64_t step_base = tl_get_u64le(next), at = 0;
        const uint8_t *widths = next + 8, *starts = widths + minis;
        const uint8_t *steps = starts + minis * start_bytes, *data = steps + minis * step_bytes;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t m = i / 256, w = widths[m];
            if (i % 256 == 0) {
                data += i ? widths[m - 1] * 32 : 0;
                at = naive_bits(starts, 8ULL * start_bytes * m, 8 * start_bytes);
            }
            at += step_base + naive_bits(steps, 8ULL * step_bytes * m, 8 * step_bytes);
            at += naive_bits(data, (uint64_t)(i % 256) * w, w);
            out[i] = base + scale * (at & mask);
        }
    }
    return 8 + size;
}

/* ---- Round trips ---- */

/* The inflated payload in a heap block that ends with its pad. */
static struct tl_slice inflate(struct tl_slice payload)
{
    struct tl_status st = TL_STATUS_INIT;
    size_t size;
    assert_ok(&st, tl_payload_inflated_size(payload, &size, &st));
    uint8_t *dst = malloc(size + TL_PAYLOAD_PAD);
    memset(dst + size, 0xA5, TL_PAYLOAD_PAD);
    assert_ok(&st, tl_payload_inflate(decoder, payload, dst, size, &st));
    return tl_slice_of(dst, size);
}

/* Rows [lo, hi) with all kinds of decoders against the values themselves. */
static void check_slice(struct tl_slice inflated, const uint64_t *values, uint32_t count,
                        uint32_t lo, uint32_t hi)
{
    uint32_t n = hi - lo;
    int64_t *wide = malloc(n * 8 + GUARD);
    uint32_t *narrow = malloc(n * 4 + GUARD);
    uint8_t *bytes = malloc(n + GUARD);
    memset((uint8_t *)wide + n * 8, 0x5A, GUARD);
    memset((uint8_t *)narrow + n * 4, 0x5A, GUARD);
    memset(bytes + n, 0x5A, GUARD);
    tl_decode_i64(decoder, inflated, count, lo, hi, wide);
    tl_decode_u32(decoder, inflated, count, lo, hi, narrow);
    tl_decode_u8(decoder, inflated, count, lo, hi, bytes);
    for (uint32_t i = 0; i < n; i++) {
        if ((uint64_t)wide[i] != values[lo + i] || narrow[i] != (uint32_t)values[lo + i] ||
            bytes[i] != (uint8_t)values[lo + i])
            fail_msg("%s, kernels %s: row %u of [%u, %u): %llx, %x, %x instead of %llx",
                     tl_payload_name(inflated), tl_kernels_name(), lo + i, lo, hi,
                     (unsigned long long)wide[i], narrow[i], bytes[i],
                     (unsigned long long)values[lo + i]);
    }
    for (uint32_t i = 0; i < GUARD; i++) {
        assert_int_equal(((uint8_t *)wide)[n * 8 + i], 0x5A);
        assert_int_equal(((uint8_t *)narrow)[n * 4 + i], 0x5A);
        assert_int_equal(bytes[n + i], 0x5A);
    }
    free(wide);
    free(narrow);
    free(bytes);
}

/* Scattered rows, in no order and ascending. */
static void check_at(struct tl_slice inflated, const uint64_t *values, uint32_t count)
{
    for (uint32_t n = 0; n <= 1200; n += n < 4 ? 1 : n) {
        uint32_t *rows = malloc(n * 4 + 4), *narrow = malloc(n * 4 + GUARD);
        int64_t *wide = malloc(n * 8 + GUARD);
        for (uint32_t i = 0; i < n; i++)
            rows[i] = n % 2 ? (uint32_t)(chance() % count) : (uint32_t)((uint64_t)i * count / n);
        memset((uint8_t *)wide + n * 8, 0x5A, GUARD);
        memset((uint8_t *)narrow + n * 4, 0x5A, GUARD);
        tl_decode_at_i64(decoder, inflated, count, rows, n, wide);
        tl_decode_at_u32(decoder, inflated, count, rows, n, narrow);
        for (uint32_t i = 0; i < n; i++)
            if ((uint64_t)wide[i] != values[rows[i]] || narrow[i] != (uint32_t)values[rows[i]])
                fail_msg("%s: row %u of %u alone: %llx instead of %llx", tl_payload_name(inflated),
                         rows[i], count, (unsigned long long)wide[i],
                         (unsigned long long)values[rows[i]]);
        for (uint32_t i = 0; i < GUARD; i++) {
            assert_int_equal(((uint8_t *)wide)[n * 8 + i], 0x5A);
            assert_int_equal(((uint8_t *)narrow)[n * 4 + i], 0x5A);
        }
        free(rows);
        free(narrow);
        free(wide);
    }
}

static void check_runs(struct tl_slice inflated, const uint64_t *values, uint32_t count,
                       uint32_t lo, uint32_t hi)
{
    int64_t *v = malloc((hi - lo) * 8 + 8);
    uint32_t *ends = malloc((hi - lo) * 4 + 4);
    uint32_t runs = tl_payload_runs(decoder, inflated, count, lo, hi, v, ends);
    if (runs != UINT32_MAX) {
        uint32_t row = lo;
        for (uint32_t i = 0; i < runs; i++) {
            assert_true(ends[i] > row);
            for (; row < ends[i]; row++)
                assert_true((uint64_t)v[i] == values[row]);
        }
        assert_int_equal(row, hi);
    }
    free(v);
    free(ends);
}

/* Everything about an inflated payload that must hold for these values. */
static void check_inflated(struct tl_slice inflated, const uint64_t *values, uint32_t count)
{
    for (size_t k = 0; k < 3; k++) {
        if (!tl_kernels_use(KERNELS[k]))
            continue;
        struct tl_status st = TL_STATUS_INIT;
        assert_ok(&st, tl_payload_check(decoder, inflated, count, &st));
        uint32_t max = 0;
        for (uint32_t i = 0; i < count; i++)
            max = (uint32_t)values[i] > max ? (uint32_t)values[i] : max;
        assert_int_equal(tl_payload_max_u32(decoder, inflated, count), max);
        check_slice(inflated, values, count, 0, count);
        check_runs(inflated, values, count, 0, count);
        if (count)
            check_at(inflated, values, count);
        if (count <= 24) {
            for (uint32_t lo = 0; lo <= count; lo++)
                for (uint32_t hi = lo; hi <= count; hi++) {
                    check_slice(inflated, values, count, lo, hi);
                    check_runs(inflated, values, count, lo, hi);
                }
        }
        for (int i = 0; i < 40 && count; i++) {
            uint32_t lo = (uint32_t)(chance() % (count + 1));
            uint32_t hi = lo + (uint32_t)(chance() % (count - lo + 1));
            if (i % 2 && hi - lo > 40)
                hi = lo + (uint32_t)(chance() % 40);
            check_slice(inflated, values, count, lo, hi);
            check_runs(inflated, values, count, lo, hi);
        }
        uint32_t entries = tl_payload_dict_size(inflated);
        if (entries) {
            int64_t *entry = malloc(entries * 8);
            uint32_t *index = malloc(count * 4 + 4);
            tl_payload_dict_values(decoder, inflated, entry);
            tl_payload_dict_indexes(decoder, inflated, count, 0, count, index);
            for (uint32_t i = 0; i < count; i++)
                assert_true((uint64_t)entry[index[i]] == values[i]);
            free(entry);
            free(index);
        }
        int64_t constant;
        if (tl_payload_constant(inflated, count, &constant))
            for (uint32_t i = 0; i < count; i++)
                assert_true((uint64_t)constant == values[i]);
    }
}

/* Levels below 0: TL_EFFORT_FAST with level -1 - level. */
static struct tl_encode_options options_of(int level)
{
    if (level < 0)
        return (struct tl_encode_options){.zstd_level = -1 - level, .effort = TL_EFFORT_FAST};
    return (struct tl_encode_options){.zstd_level = level};
}

/* Encodes with every kernel set and a fresh encoder too: one result. */
static struct tl_buffer encode(const uint64_t *values, uint32_t count, int level)
{
    struct tl_encode_options opt = options_of(level);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer first, other;
    tl_buffer_init(&first, "first", 1 << 20);
    tl_buffer_init(&other, "other", 1 << 20);
    tl_kernels_use("portable");
    assert_ok(&st, tl_encode_i64(encoder, (const int64_t *)values, count, &opt, &first, &st));
    for (size_t k = 1; k <= 3; k++) {
        struct tl_encoder *fresh = encoder;
        if (k == 3)
            assert_ok(&st, tl_encoder_new(&fresh, &st));
        else if (!tl_kernels_use(KERNELS[k]))
            continue;
        tl_buffer_clear(&other);
        assert_ok(&st, tl_encode_i64(fresh, (const int64_t *)values, count, &opt, &other, &st));
        assert_true(tl_slice_eq(tl_buffer_slice(&first), tl_buffer_slice(&other)));
        if (k == 3)
            tl_encoder_free(fresh);
    }
    tl_buffer_deinit(&other);
    return first;
}

static void round_trip(const uint64_t *values, uint32_t count)
{
    uint64_t *copy = malloc(count * 8 + 8); /* ends where the heap block ends */
    memcpy(copy, values, count * 8);
    const int levels[] = {0, 1, 3, -1, -2};
    for (size_t l = 0; l < 5; l++) {
        struct tl_buffer payload = encode(copy, count, levels[l]);
        struct tl_slice inflated = inflate(tl_buffer_slice(&payload));
        check_inflated(inflated, copy, count);
        struct naive *naive = malloc(sizeof(*naive));
        assert_int_equal(naive_numbers(inflated.data, count, naive->v), inflated.size);
        assert_memory_equal(naive->v, copy, count * 8);
        assert_true(payload.size <= 8 + 16 + 8 * (size_t)count);
        free(naive);
        free((void *)inflated.data);
        tl_buffer_deinit(&payload);
    }
    free(copy);
}

/* ---- Shapes of input ---- */

enum { SHAPES = 20, FIRST_SEEN = 17, GAPS = 18, RECENT = 19 };

/* Codes in order of first appearance: each of some merchants has its own, and all share a few. */
static uint64_t first_seen(uint64_t r, uint32_t i, uint64_t *next, uint64_t *floor)
{
    if (i % 900 == 0)
        *floor = *next;
    if (r % 3 == 0 || *next == *floor)
        return (*next)++;
    return r % 7 == 1 ? (r >> 8) % 5 : *floor + (r >> 8) % (*next - *floor);
}

static void make_shape(uint32_t shape, uint64_t *v, uint32_t count)
{
    uint64_t at = 1704067200000000ULL, run = 0, base = chance();
    uint64_t next = 100000, floor = next;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t r = chance();
        switch (shape) {
        case 0: /* one value */
            v[i] = base;
            break;
        case 1: /* the ends of the range */
            v[i] = i % 2 ? (uint64_t)INT64_MIN : (uint64_t)INT64_MAX;
            break;
        case 2: /* alternating */
            v[i] = i % 2;
            break;
        case 3: /* times in whole milliseconds */
            v[i] = at += 1000 * (r % 1000);
            break;
        case 4: /* times in microseconds, a new merchant now and then */
            v[i] = at = r % 1000 ? at + (r >> 20) % 60000000 : 1704067200000000ULL;
            break;
        case 5: /* anything */
            v[i] = r;
            break;
        case 6: /* sessions of one value */
            v[i] = run = r % 5 ? run : r >> 32;
            break;
        case 7:                                          /* few far values */
            v[i] = (r % 20 + 1) * 0x9E3779B97F4A7C15ULL; /* wraps: no common divisor */
            break;
        case 8: /* small, with outliers */
            v[i] = r % 500 ? (r >> 40) % 100 : r;
            break;
        case 9: /* slowly growing codes */
            v[i] = i / 3 + r % 4;
            break;
        case 10: /* prices */
            v[i] = (uint64_t)((int64_t)((r % 1000) * 100) - 50000);
            break;
        case 11: /* descending */
            v[i] = (uint64_t) - (int64_t)(i * 7);
            break;
        case 12: /* codes that repeat per visitor */
            v[i] = (i / 40 % 17) * 1000 + i % 40;
            break;
        case 13: /* mostly nothing */
            v[i] = r % 100 ? 0 : r >> 50;
            break;
        case 14: /* few values of a small range, skewed */
            v[i] = (r % 7) * (r >> 8) % 7 * ((r >> 16) % 9) * 31;
            break;
        case 15: { /* doubles */
            double x = (double)(r % 1000) / 8;
            memcpy(&v[i], &x, 8);
            break;
        }
        case FIRST_SEEN:
            v[i] = first_seen(r, i, &next, &floor);
            break;
        case GAPS: /* times of many magnitudes, a new merchant now and then */
            v[i] = at = r % 300 ? at + ((r >> 20) % 1000000 >> r % 20) * 1000 : 1704067200000000ULL;
            break;
        case RECENT: /* codes of which the last ones come again */
            v[i] = r % 5 == 0 ? next++ : next - 1 - (r >> 8) % (1U << (r >> 40) % 6);
            break;
        default: /* long runs of few values */
            v[i] = i / 700 % 3 ? 11 : 44;
            break;
        }
    }
}

static void shapes_of_all_sizes_round_trip(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0,   1,   2,   3,    5,    7,    8,    9,   16,  17,
                                      24,  63,  64,  65,   100,  255,  256,  257, 300, 511,
                                      512, 513, 777, 1024, 2048, 4097, 8191, 8192};
    uint64_t *v = malloc(ROWS * 8);
    for (uint32_t shape = 0; shape < SHAPES; shape++)
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            seed = shape * 1000 + c;
            make_shape(shape, v, counts[c]);
            round_trip(v, counts[c]);
        }
    free(v);
}

static void every_width_round_trips(void **state)
{
    (void)state;
    uint64_t *v = malloc(ROWS * 8);
    for (uint32_t width = 0; width <= 64; width++) {
        uint32_t count = 300 + width;
        seed = width;
        uint64_t base = chance();
        for (uint32_t i = 0; i < count; i++)
            v[i] = base + (chance() & low_bits(width));
        round_trip(v, count);
        for (uint32_t i = 0, at = 0; i < count; i++) /* and as steps */
            v[i] = (at += 1), base += chance() & low_bits(width), v[i] = base;
        round_trip(v, count);
    }
    free(v);
}

/* Which encoding a shape gets is part of the promise: sizes rest on it. */
static void expected_encodings_win(void **state)
{
    (void)state;
    static const struct {
        uint32_t shape, kind, bytes_max;
    } expected[] = {
        {0, TL_ENC_CONSTANT, 16},
        {3, TL_ENC_DELTA, 8192 * 10 / 8 + 500},
        {5, TL_ENC_RAW, 8192 * 8 + 24},
        {6, TL_ENC_RLE, 8192 * 9 / 8},
        {7, TL_ENC_DICT, 8192 * 5 / 8 + 300},
        {10, TL_ENC_FOR, 8192 * 10 / 8 + 100},
        {11, TL_ENC_DELTA, 300},
        {16, TL_ENC_RLE, 100},
        {2, TL_ENC_FOR, 1100},
    };
    uint64_t *v = malloc(ROWS * 8);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        seed = i;
        make_shape(expected[i].shape, v, ROWS);
        struct tl_buffer payload = encode(v, ROWS, 0);
        if (tl_payload_kind(tl_buffer_slice(&payload)) != expected[i].kind ||
            payload.size > expected[i].bytes_max)
            fail_msg("shape %u: %s of %zu bytes", expected[i].shape,
                     tl_payload_name(tl_buffer_slice(&payload)), payload.size);
        tl_buffer_deinit(&payload);
    }
    /* Times in whole milliseconds, also where nothing is tried: 20 bits and not 30. */
    for (uint32_t i = 0; i < ROWS; i++)
        v[i] = 1704067200000000ULL + 1000 * (chance() & 0xFFFFF);
    struct tl_buffer millis = encode(v, ROWS, -1);
    assert_int_equal(tl_payload_kind(tl_buffer_slice(&millis)), TL_ENC_FOR);
    assert_true(millis.size < ROWS * 20 / 8 + 300);
    tl_buffer_deinit(&millis);
    make_shape(12, v, ROWS); /* repetition is what zstd is for */
    struct tl_buffer light = encode(v, ROWS, 0), deep = encode(v, ROWS, 3);
    assert_true(tl_payload_is_inflated(tl_buffer_slice(&light)));
    assert_false(tl_payload_is_inflated(tl_buffer_slice(&deep)));
    assert_true(deep.size < light.size / 2);
    tl_buffer_deinit(&light);
    tl_buffer_deinit(&deep);
    free(v);
}

static void round_trip_narrow(int level)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_encode_options opt = options_of(level);
    struct tl_buffer out;
    tl_buffer_init(&out, "out", 1 << 20);
    uint32_t *v = malloc(5000 * 4), *got = malloc(5000 * 4);
    uint8_t *flags = malloc(5000), *got_flags = malloc(5000);
    double *d = malloc(5000 * 8), *got_d = malloc(5000 * 8);
    seed = 7;
    for (uint32_t i = 0; i < 5000; i++) {
        v[i] = i % 3 ? UINT32_MAX - i : (uint32_t)chance();
        flags[i] = chance() % 10 == 0;
        d[i] = i % 7 ? (double)i / 3 : -0.0;
    }
    const uint64_t nan = 0x7FF8000000000123ULL;
    memcpy(&d[17], &nan, 8);

    assert_ok(&st, tl_encode_u32(encoder, v, 5000, &opt, &out, &st));
    struct tl_slice inflated = inflate(tl_buffer_slice(&out));
    assert_ok(&st, tl_payload_check(decoder, inflated, 5000, &st));
    tl_decode_u32(decoder, inflated, 5000, 0, 5000, got);
    assert_memory_equal(v, got, 5000 * 4);
    free((void *)inflated.data);

    tl_buffer_clear(&out);
    assert_ok(&st, tl_encode_u8(encoder, flags, 5000, &opt, &out, &st));
    inflated = inflate(tl_buffer_slice(&out));
    assert_ok(&st, tl_payload_check(decoder, inflated, 5000, &st));
    tl_decode_u8(decoder, inflated, 5000, 0, 5000, got_flags);
    assert_memory_equal(flags, got_flags, 5000);
    assert_true(out.size <= 5000 / 8 + 60);
    free((void *)inflated.data);

    tl_buffer_clear(&out);
    assert_ok(&st, tl_encode_f64(encoder, d, 5000, &opt, &out, &st));
    inflated = inflate(tl_buffer_slice(&out));
    assert_ok(&st, tl_payload_check(decoder, inflated, 5000, &st));
    tl_decode_f64(decoder, inflated, 5000, 0, 5000, got_d);
    assert_memory_equal(d, got_d, 5000 * 8);
    free((void *)inflated.data);

    assert_code(&st, TL_INVALID, tl_encode_u32(encoder, v, ROWS + 1, &opt, &out, &st));
    tl_buffer_deinit(&out);
    tl_buffer_init(&out, "small", 10);
    assert_code(&st, TL_LIMIT, tl_encode_u32(encoder, v, 5000, &opt, &out, &st));
    tl_buffer_deinit(&out);
    free(v);
    free(got);
    free(flags);
    free(got_flags);
    free(d);
    free(got_d);
}

static void narrow_types_round_trip(void **state)
{
    (void)state;
    round_trip_narrow(1);
    round_trip_narrow(-1);
    round_trip_narrow(-2);
}

/* ---- Hand-made payloads: random bits, every width, references, scales ---- */

static size_t make_leaf(uint32_t kind, uint32_t count, uint8_t *out)
{
    static const uint32_t byte_widths[] = {0, 1, 2, 4, 8};
    uint32_t a = byte_widths[chance() % 5], b = byte_widths[chance() % 5];
    bool scaled = chance() % 2, wrapped = kind == TL_ENC_DELTA && chance() % 2;
    uint8_t *next = out + 8;
    uint64_t packed = 0;
    if (kind == TL_ENC_RAW)
        a = a ? a : 1;
    for (int i = 0; i < 8 + scaled * 8 + wrapped * 8; i++)
        *next++ = (uint8_t)chance();
    if (kind == TL_ENC_RAW)
        packed = (uint64_t)count * a;
    if (kind == TL_ENC_FOR || kind == TL_ENC_DELTA) {
        uint32_t minis = (count + 255) / 256;
        if (kind == TL_ENC_DELTA)
            for (int i = 0; i < 8; i++)
                *next++ = (uint8_t)chance();
        for (uint32_t m = 0; m < minis; m++) {
            uint32_t rows = count - m * 256 < 256 ? count - m * 256 : 256;
            *next = (uint8_t)(chance() % 65);
            packed += ((uint64_t)rows * *next++ + 7) / 8;
        }
        packed += minis * a + (kind == TL_ENC_DELTA ? minis * b : 0);
    }
    for (uint64_t i = 0; i < packed; i++)
        *next++ = (uint8_t)chance();
    out[0] = (uint8_t)kind;
    out[1] = 0;
    out[2] = (uint8_t)(a | (kind == TL_ENC_DELTA ? b << 4 : 0));
    out[3] = (uint8_t)(scaled + 2 * wrapped);
    tl_put_u32le(out + 4, (uint32_t)(next - out - 8));
    return (size_t)(next - out);
}

static void random_bits_decode_as_the_page_says(void **state)
{
    (void)state;
    uint8_t *out = malloc(TL_PAYLOAD_BYTES_MAX);
    struct naive *naive = malloc(sizeof(*naive));
    for (uint32_t round = 0; round < 300; round++) {
        seed = round;
        uint32_t count = (uint32_t)(chance() % (round % 3 ? 600 : ROWS) + 1);
        size_t size = make_leaf(TL_ENC_RAW + round % 3, count, out);
        uint8_t *exact = malloc(size + TL_PAYLOAD_PAD);
        memcpy(exact, out, size);
        memset(exact + size, (int)round, TL_PAYLOAD_PAD);
        assert_int_equal(naive_numbers(exact, count, naive->v), size);
        check_inflated(tl_slice_of(exact, size), naive->v, count);
        free(exact);
    }
    free(out);
    free(naive);
}

static void mutations_are_refused_or_decode_alike(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t *v = malloc(ROWS * 8);
    struct naive *naive = malloc(sizeof(*naive));
    uint32_t refused = 0, accepted = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        seed = round;
        uint32_t count = (uint32_t)(chance() % 700 + 1);
        make_shape(round % SHAPES, v, count);
        struct tl_encode_options opt = {0};
        struct tl_buffer payload;
        tl_buffer_init(&payload, "payload", 1 << 20);
        assert_ok(&st, tl_encode_i64(encoder, (int64_t *)v, count, &opt, &payload, &st));
        struct tl_slice inflated = inflate(tl_buffer_slice(&payload));
        uint8_t *bytes = (uint8_t *)inflated.data;
        uint32_t changes = 1 + (uint32_t)(chance() % 3);
        for (uint32_t i = 0; i < changes; i++) {
            size_t at = chance() % 2 ? chance() % inflated.size : chance() % 24 % inflated.size;
            bytes[at] = (uint8_t)(chance() % 2 ? chance() : bytes[at] ^ (1U << chance() % 8));
        }
        uint32_t claimed = round % 10 ? count : (uint32_t)(chance() % ROWS);
        if (tl_payload_check(decoder, inflated, claimed, &st) == TL_OK) {
            naive_numbers(bytes, claimed, naive->v);
            for (size_t k = 0; k < 3; k++) {
                tl_kernels_use(KERNELS[k]);
                check_slice(inflated, naive->v, claimed, 0, claimed);
                check_slice(inflated, naive->v, claimed, claimed / 3, claimed - claimed / 4);
            }
            accepted++;
        } else {
            assert_int_equal(st.code, TL_CORRUPT);
            tl_status_clear(&st);
            refused++;
        }
        free(bytes);
        tl_buffer_deinit(&payload);
    }
    assert_true(refused > 100 && accepted > 100);
    free(v);
    free(naive);
}

/* The layer of classes predicts and packs again: whatever its bytes are, it is refused or becomes
 * a payload that a check can judge. */
static void mutated_classes_are_refused_or_inflate(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t *v = malloc(ROWS * 8);
    int64_t *got = malloc(ROWS * 8);
    uint32_t refused = 0, accepted = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        seed = round;
        uint32_t count = 600 + (uint32_t)(chance() % 1000);
        make_shape(FIRST_SEEN + round % 3, v, count);
        struct tl_encode_options opt = {.zstd_level = 1};
        struct tl_buffer payload;
        tl_buffer_init(&payload, "payload", 1 << 20);
        assert_ok(&st, tl_encode_i64(encoder, (int64_t *)v, count, &opt, &payload, &st));
        assert_non_null(strstr(tl_payload_name(tl_buffer_slice(&payload)), "+classes"));
        uint8_t *bytes = malloc(payload.size); /* exact: reads beyond it are found */
        memcpy(bytes, payload.data, payload.size);
        for (uint32_t i = 0; i < 1 + round % 3; i++) {
            size_t at = chance() % 2 ? chance() % payload.size : 4 + chance() % 100;
            bytes[at] = (uint8_t)(chance() % 2 ? chance() : bytes[at] ^ (1U << chance() % 8));
        }
        struct tl_slice mutated = tl_slice_of(bytes, payload.size);
        size_t size;
        enum tl_code rc = tl_payload_inflated_size(mutated, &size, &st);
        if (rc == TL_OK) {
            uint8_t *dst = malloc(size + TL_PAYLOAD_PAD);
            rc = tl_payload_inflate(decoder, mutated, dst, size, &st);
            struct tl_slice inflated = tl_slice_of(dst, size);
            if (rc == TL_OK) {
                memset(dst + size, 0, TL_PAYLOAD_PAD);
                rc = tl_payload_check(decoder, inflated, count, &st);
            }
            if (rc == TL_OK) {
                tl_decode_i64(decoder, inflated, count, 0, count, got);
                tl_decode_i64(decoder, inflated, count, count / 3, count / 2, got);
            }
            free(dst);
        }
        accepted += rc == TL_OK;
        refused += rc != TL_OK;
        tl_status_clear(&st);
        free(bytes);
        tl_buffer_deinit(&payload);
    }
    assert_true(refused > 100 && accepted > 100);
    free(v);
    free(got);
}

static void cut_payloads_are_refused(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t v[400];
    for (uint32_t shape = 0; shape < SHAPES; shape++) {
        seed = shape;
        make_shape(shape, v, 400);
        for (int level = 0; level <= 1; level++) {
            struct tl_buffer payload = encode(v, 400, level);
            for (size_t size = 0; size < payload.size; size++) {
                uint8_t *cut = malloc(size + TL_PAYLOAD_PAD);
                memcpy(cut, payload.data, size);
                struct tl_slice slice = tl_slice_of(cut, size);
                size_t inflated_size;
                if (tl_payload_inflated_size(slice, &inflated_size, &st) == TL_OK) {
                    uint8_t *dst = malloc(inflated_size);
                    assert_int_equal(tl_payload_inflate(decoder, slice, dst, inflated_size, &st),
                                     TL_CORRUPT);
                    free(dst);
                }
                tl_status_clear(&st);
                assert_code(&st, TL_CORRUPT, tl_payload_check(decoder, slice, 400, &st));
                free(cut);
            }
            tl_buffer_deinit(&payload);
        }
    }
}

/* ---- Bitmaps ---- */

static void bitmaps_round_trip(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t bits[ROWS / 64], got[ROWS / 64 + 1];
    static const uint32_t counts[] = {0, 1, 7, 8, 63, 64, 65, 200, 1000, 8191, 8192};
    for (uint32_t shape = 0; shape < 8; shape++)
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
            for (int level = 0; level <= 1; level++) {
                uint32_t count = counts[c];
                seed = shape;
                for (uint32_t i = 0; i < ROWS; i++) {
                    uint64_t r = chance();
                    bool set = shape == 0   ? false
                               : shape == 1 ? true
                               : shape == 2 ? r % 2
                               : shape == 3 ? r % 200 == 0
                               : shape == 4 ? i / 100 % 2
                               : shape == 5 ? i % 3 == 0
                               : shape == 6 ? i == 5
                                            : r % 200 != 0;
                    set ? tl_bit_set(bits, i) : tl_bit_clear(bits, i);
                }
                struct tl_encode_options opt = options_of(level);
                struct tl_buffer out;
                tl_buffer_init(&out, "bits", 1 << 16);
                assert_ok(&st, tl_encode_bitmap(encoder, bits, count, &opt, &out, &st));
                assert_true(out.size <= 8 + (count + 7) / 8);
                struct tl_slice inflated = inflate(tl_buffer_slice(&out));
                assert_ok(&st, tl_bitmap_check(decoder, inflated, count, &st));
                bool same;
                if (shape <= 1 && count) {
                    assert_true(tl_bitmap_same(inflated, &same));
                    assert_int_equal(same, shape);
                }
                for (uint32_t i = 0; i < 60; i++) {
                    uint32_t lo = i ? (uint32_t)(chance() % (count + 1)) : 0;
                    uint32_t hi = i ? lo + (uint32_t)(chance() % (count - lo + 1)) : count;
                    uint32_t words = tl_bit_words(hi - lo);
                    got[words] = 0x1234;
                    tl_decode_bitmap(decoder, inflated, count, lo, hi, got);
                    assert_int_equal(got[words], 0x1234);
                    for (uint32_t r = 0; r < words * 64; r++)
                        assert_int_equal(tl_bit_get(got, r),
                                         lo + r < hi && tl_bit_get(bits, lo + r));
                }
                assert_int_not_equal(tl_bitmap_check(decoder, inflated, count + 65, &st),
                                     tl_payload_kind(inflated) == TL_ENC_BITS_SAME ? -1 : TL_OK);
                tl_status_clear(&st);
                free((void *)inflated.data);
                tl_buffer_deinit(&out);
            }
}

/* ---- Strings ---- */

static char text[1 << 19];

/* More than any of the texts below takes. */
enum { TEXT_ROOM = 100 };

enum { STRING_SHAPES = 12, SLUGS = 7, CANONICAL = 8, UUIDS = 9, MIXED = 10, ODD = 11 };

static int put_slug(char *out, uint64_t r)
{
    static const char *const words[] = {"tailored", "khaki", "knitted", "plant-pot",
                                        "mug",      "crème", "red",     "t-shirt"};
    return snprintf(out, TEXT_ROOM, "/products/%s-%s-%s-%u", words[r % 8], words[r / 8 % 8],
                    words[r / 64 % 8], (uint32_t)(r >> 20) % 300);
}

static int put_uuid(char *out, uint64_t r, bool upper)
{
    uint64_t more = r * 0x9E3779B97F4A7C15ULL;
    return snprintf(out, TEXT_ROOM,
                    upper ? "%08X-%04X-4%03X-%04X-%012llX" : "%08x-%04x-4%03x-%04x-%012llx",
                    (uint32_t)r, (uint32_t)(r >> 32) & 0xFFFF, (uint32_t)(r >> 48) & 0xFFF,
                    (uint32_t)(more & 0xFFFF), (unsigned long long)(more >> 16));
}

/* What nearly has a canonical form, and is not to be changed into it. */
static int put_odd(char *out, uint64_t r)
{
    static const char *const texts[] = {"007",
                                        "1234567890123456789",
                                        "999999999999999999",
                                        "1000000000000000000",
                                        "00000000000000000000000000000000000000000",
                                        "DEADbeef0123",
                                        "0123456789abcdef0",
                                        "0123456789ABCDEF0123456789ABCDEF",
                                        "-1",
                                        "+5",
                                        "0x1F",
                                        "1e5",
                                        "0",
                                        "12.",
                                        ".12",
                                        "1.0",
                                        "1.00",
                                        "01.5",
                                        "{1f0c2d3e-1111-4222-8333-444455556666}",
                                        "1f0c2d3e-1111-4222-8333-4444555566667",
                                        "1f0c2d3e-1111-4222-8333-44445555666",
                                        "1F0c2d3e-1111-4222-8333-444455556666",
                                        "a1b2c3d4e5f6a7b8c9d0",
                                        "\xff\xfe\x80",
                                        ""};
    uint32_t which = (uint32_t)(r % (sizeof(texts) / sizeof(texts[0]) + 2));
    if (which < sizeof(texts) / sizeof(texts[0]))
        return snprintf(out, TEXT_ROOM, "%s", texts[which]);
    memcpy(out, "a\0b", 3); /* what marks a slot in a template */
    return 3 - (int)(which & 1);
}

static uint32_t make_strings(uint32_t shape, struct tl_slice *v, uint32_t count)
{
    char *next = text;
    uint32_t big = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t r = chance();
        int n = 0;
        switch (shape) {
        case 0: /* paths, sorted */
            n = snprintf(next, TEXT_ROOM, "/shop/category-%03u/product-%05u.html", i / 30, i * 3);
            break;
        case 1: /* paths in any order */
            n = snprintf(next, TEXT_ROOM, "/p/%llx?ref=%u", (unsigned long long)r % 5000,
                         (uint32_t)r % 7);
            break;
        case 2: /* identifiers */
            n = snprintf(next, TEXT_ROOM, "%016llx", (unsigned long long)r);
            break;
        case 3: /* nothing, mostly */
            n = r % 9 ? 0 : snprintf(next, TEXT_ROOM, "x");
            break;
        case 4: /* odd numbers of digits */
            n = snprintf(next, TEXT_ROOM, "%llu", (unsigned long long)(r >> (r % 60)));
            break;
        case 5: /* bytes of any value */
            for (n = 0; n < (int)(r % 20); n++)
                next[n] = (char)chance();
            break;
        case SLUGS:
            n = put_slug(next, r);
            break;
        case CANONICAL: /* as analytics tools name their clients */
            n = snprintf(next, TEXT_ROOM, "%u.%u", (uint32_t)r,
                         1700000000 + (uint32_t)(r >> 40) % 3000000);
            break;
        case UUIDS:
            n = put_uuid(next, r, false);
            break;
        case MIXED:
            n = r % 7 == 0   ? put_uuid(next, r, r & 64)
                : r % 7 == 1 ? snprintf(next, TEXT_ROOM, "%016llx", (unsigned long long)r)
                : r % 7 == 2 ? snprintf(next, TEXT_ROOM, "%014llX/x", (unsigned long long)r >> 8)
                : r % 7 == 3 ? snprintf(next, TEXT_ROOM, "id=%llu", (unsigned long long)r >> 9)
                : r % 7 == 4 ? put_odd(next, r >> 8)
                             : put_slug(next, r);
            break;
        case ODD:
            n = put_odd(next, r);
            break;
        default: /* one large value */
            n = i ? 3 : 65536;
            memset(next, 'a' + (int)(i % 3), (size_t)n);
            next[0] = 'z';
            big++;
            break;
        }
        v[i] = tl_slice_of(next, (size_t)n);
        next += n;
    }
    return big;
}

/* The same strings, with a byte between each two: a page must not depend on where they lie. */
static void lay_apart(const struct tl_slice *v, uint32_t count, struct tl_slice *out)
{
    static uint8_t room[sizeof(text) + ROWS];
    uint8_t *to = room;
    for (uint32_t i = 0; i < count; i++) {
        if (v[i].size)
            memcpy(to, v[i].data, v[i].size);
        out[i] = tl_slice_of(to, v[i].size);
        to[v[i].size] = '#';
        to += v[i].size + 1;
    }
}

static void strings_round_trip(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    static struct tl_slice v[ROWS], apart[ROWS];
    static const uint32_t counts[] = {0, 1, 2, 3, 100, 1000, 5000};
    for (uint32_t shape = 0; shape < STRING_SHAPES; shape++)
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
            for (int level = -2; level <= 3; level += level < 0 ? 1 : 3) {
                seed = shape;
                uint32_t count = counts[c];
                make_strings(shape, v, count);
                struct tl_encode_options opt = options_of(level);
                struct tl_buffer out, again;
                tl_buffer_init(&out, "page", 1 << 20);
                tl_buffer_init(&again, "page", 1 << 20);
                assert_ok(&st, tl_encode_strings(encoder, v, count, &opt, &out, &st));
                lay_apart(v, count, apart);
                assert_ok(&st, tl_encode_strings(encoder, apart, count, &opt, &again, &st));
                assert_true(tl_slice_eq(tl_buffer_slice(&out), tl_buffer_slice(&again)));
                if (level == -2 && shape == SLUGS && count == 5000)
                    assert_true(out.size < 5000 * 17);
                uint32_t kind = tl_payload_kind(tl_buffer_slice(&out));
                if (shape == 0 && count == 5000 && level == 0)
                    assert_int_equal(kind, TL_ENC_STR_FRONT);
                if (shape == 2 && count)
                    assert_int_equal(kind, TL_ENC_STR_HEX);
                if (level == 3 && count >= 1000 && shape >= SLUGS && shape <= MIXED)
                    assert_int_equal(kind, TL_ENC_STR_TEMPLATES);
                if (level == 3 && count == 5000 && shape == SLUGS)
                    assert_true(out.size < 5000 * 3);
                if (level == 3 && count == 5000 && shape == CANONICAL)
                    assert_true(out.size < 5000 * 7);
                if (level == 3 && count == 5000 && shape == UUIDS)
                    assert_true(out.size < 5000 * 16);
                uint8_t *exact = malloc(out.size); /* no pad: none is asked for */
                memcpy(exact, out.data, out.size);
                struct tl_slice payload = tl_slice_of(exact, out.size);
                size_t size;
                assert_ok(&st, tl_strings_inflated_size(payload, &size, &st));
                uint8_t *page = malloc(size);
                for (size_t k = 0; k < 3; k++) {
                    tl_kernels_use(KERNELS[k]);
                    memset(page, 0xEE, size);
                    assert_ok(&st, tl_strings_inflate(decoder, payload, page, size, &st));
                    assert_int_equal(tl_strings_count(page), count);
                    for (uint32_t i = 0; i < count; i++)
                        assert_true(tl_slice_eq(tl_strings_get(page, i), v[i]));
                }
                /* Changed and cut pages are refused or hold strings inside the page. */
                for (uint32_t round = 0; round < 200; round++) {
                    memcpy(exact, out.data, out.size);
                    size_t at = round % 2 ? chance() % out.size : chance() % 40 % out.size;
                    exact[at] = (uint8_t)chance();
                    size_t cut = round % 5 ? out.size : chance() % (out.size + 1);
                    uint8_t *other = malloc(cut ? cut : 1);
                    memcpy(other, exact, cut);
                    size_t other_size;
                    struct tl_slice s = tl_slice_of(other, cut);
                    if (tl_strings_inflated_size(s, &other_size, &st) == TL_OK) {
                        uint8_t *other_page = malloc(other_size);
                        if (tl_strings_inflate(decoder, s, other_page, other_size, &st) == TL_OK) {
                            uint32_t n = tl_strings_count(other_page);
                            const uint8_t *end = other_page + other_size;
                            for (uint32_t i = 0; i < n; i++) {
                                struct tl_slice got = tl_strings_get(other_page, i);
                                assert_true(got.data + got.size <= end);
                            }
                        }
                        free(other_page);
                    }
                    tl_status_clear(&st);
                    free(other);
                }
                free(page);
                free(exact);
                tl_buffer_deinit(&out);
                tl_buffer_deinit(&again);
            }
}

/* ---- Golden file: u32 count, u32 size, u64 hash of the values, payload; for each entry ---- */

enum { GOLDEN_ROWS = 700, GOLDEN_ZSTD_VERSION = 10504 };

static const char GOLDEN[] = "tests/golden/encodings_v1.bin";

static uint64_t fold(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ p[i]) * 0x100000001B3ULL;
    return hash;
}

static void put_golden(struct tl_buffer *file, uint32_t count, const struct tl_buffer *payload,
                       uint64_t hash)
{
    tl_buffer_put_u32(file, count);
    tl_buffer_put_u32(file, (uint32_t)payload->size);
    tl_buffer_put_u64(file, hash);
    tl_buffer_put(file, payload->data, payload->size);
}

static void make_golden(struct tl_buffer *file, bool zstd)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_encode_options opt = {.zstd_level = zstd ? 3 : 0};
    static const uint32_t shapes[] = {0, 2, 3, 5, 6, 7, 9, 10, 12, FIRST_SEEN, GAPS, RECENT};
    uint64_t v[GOLDEN_ROWS], bits[GOLDEN_ROWS / 64 + 1] = {0};
    struct tl_buffer payload;
    tl_buffer_init(&payload, "payload", 1 << 20);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        seed = i;
        make_shape(shapes[i], v, GOLDEN_ROWS);
        tl_buffer_clear(&payload);
        assert_ok(&st, tl_encode_i64(encoder, (int64_t *)v, GOLDEN_ROWS, &opt, &payload, &st));
        put_golden(file, GOLDEN_ROWS, &payload, fold(1, v, sizeof(v)));
    }
    for (uint32_t shape = 0; shape < 3; shape++) {
        for (uint32_t i = 0; i < GOLDEN_ROWS; i++)
            if (shape == 1 ? i / 90 % 2 : shape == 2 && chance() % 3 == 0)
                tl_bit_set(bits, i);
        tl_buffer_clear(&payload);
        assert_ok(&st, tl_encode_bitmap(encoder, bits, GOLDEN_ROWS, &opt, &payload, &st));
        put_golden(file, GOLDEN_ROWS, &payload, fold(1, bits, sizeof(bits)));
    }
    for (uint32_t shape = 0; shape < STRING_SHAPES; shape += shape == 2 ? MIXED - 2 : 1) {
        static struct tl_slice strings[200];
        uint64_t hash = 1;
        seed = shape;
        make_strings(shape, strings, 200);
        for (uint32_t i = 0; i < 200; i++)
            hash = fold(fold(hash, strings[i].data, strings[i].size), "\n", 1);
        tl_buffer_clear(&payload);
        assert_ok(&st, tl_encode_strings(encoder, strings, 200, &opt, &payload, &st));
        put_golden(file, 200, &payload, hash);
    }
    tl_buffer_deinit(&payload);
}

static void check_golden_entry(uint32_t count, uint64_t hash, struct tl_slice payload)
{
    struct tl_status st = TL_STATUS_INIT;
    uint32_t kind = tl_payload_kind(payload);
    if (kind >= TL_ENC_STR_PLAIN) {
        size_t size;
        assert_ok(&st, tl_strings_inflated_size(payload, &size, &st));
        uint8_t *page = malloc(size);
        assert_ok(&st, tl_strings_inflate(decoder, payload, page, size, &st));
        uint64_t got = 1;
        for (uint32_t i = 0; i < count; i++) {
            struct tl_slice s = tl_strings_get(page, i);
            got = fold(fold(got, s.data, s.size), "\n", 1);
        }
        assert_true(got == hash);
        free(page);
        return;
    }
    struct tl_slice inflated = inflate(payload);
    uint64_t v[GOLDEN_ROWS], bits[GOLDEN_ROWS / 64 + 1];
    if (kind >= TL_ENC_BITS_SAME) {
        assert_ok(&st, tl_bitmap_check(decoder, inflated, count, &st));
        tl_decode_bitmap(decoder, inflated, count, 0, count, bits);
        assert_true(fold(1, bits, sizeof(bits)) == hash);
    } else {
        assert_ok(&st, tl_payload_check(decoder, inflated, count, &st));
        tl_decode_i64(decoder, inflated, count, 0, count, (int64_t *)v);
        assert_true(fold(1, v, sizeof(v)) == hash);
    }
    free((void *)inflated.data);
}

static void the_golden_file_holds(void **state)
{
    (void)state;
    struct tl_buffer file;
    tl_buffer_init(&file, "golden", 1 << 20);
    make_golden(&file, false);
    size_t light = file.size;
    make_golden(&file, true);
    if (getenv("TALLY_GOLDEN_WRITE")) {
        FILE *f = fopen(GOLDEN, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(file.data, 1, file.size, f), file.size);
        assert_int_equal(fclose(f), 0);
    }
    uint8_t *stored = malloc(1 << 20);
    FILE *f = fopen(GOLDEN, "rb");
    if (!f)
        fail_msg("%s is missing", GOLDEN);
    size_t size = fread(stored, 1, 1 << 20, f);
    fclose(f);
    /* zstd promises to read old frames, not to write the same bytes in every version. */
    size_t same = ZSTD_versionNumber() == GOLDEN_ZSTD_VERSION ? file.size : light;
    assert_true(size >= same);
    assert_memory_equal(stored, file.data, same);
    uint32_t seen = 0;
    for (size_t at = 0; at < size;) {
        uint32_t count = tl_get_u32le(stored + at), bytes = tl_get_u32le(stored + at + 4);
        uint64_t hash = tl_get_u64le(stored + at + 8);
        seen |= 1U << tl_payload_kind(tl_slice_of(stored + at + 16, bytes)) % 32
                   << (tl_payload_kind(tl_slice_of(stored + at + 16, bytes)) >= 32 ? 8 : 0);
        check_golden_entry(count, hash, tl_slice_of(stored + at + 16, bytes));
        at += 16 + bytes;
    }
    /* Numbers 1-6, bitmaps 16-18, strings 32-35 (here 8-11). */
    assert_int_equal(seen, 0x70000 | 0xF00 | 0x7E);
    free(stored);
    tl_buffer_deinit(&file);
}

static int set_up(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    return tl_encoder_new(&encoder, &st) || tl_decoder_new(&decoder, &st);
}

static int tear_down(void **state)
{
    (void)state;
    tl_encoder_free(encoder);
    tl_decoder_free(decoder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_of_all_sizes_round_trip),
        cmocka_unit_test(every_width_round_trips),
        cmocka_unit_test(expected_encodings_win),
        cmocka_unit_test(narrow_types_round_trip),
        cmocka_unit_test(random_bits_decode_as_the_page_says),
        cmocka_unit_test(mutations_are_refused_or_decode_alike),
        cmocka_unit_test(mutated_classes_are_refused_or_inflate),
        cmocka_unit_test(cut_payloads_are_refused),
        cmocka_unit_test(bitmaps_round_trip),
        cmocka_unit_test(strings_round_trip),
        cmocka_unit_test(the_golden_file_holds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
