/*
 * storage/decoding.c: proving and decoding payloads of numbers and bitmaps.
 *
 * A payload is parsed into a view, which is only pointers into it. check_* proves that every
 * offset which decoding computes from the header fields stays inside; decode_* then computes the
 * same offsets without looking again. Values of 32 bits are decoded in 32-bit arithmetic: all
 * encodings are sums and products that wrap, so the low half of a value depends on low halves
 * alone. The decoders are written once, in decoding_values.inc, and compiled for both widths.
 *
 * Nesting is bounded by form, not by a counter: a RLE payload holds a DICT or a leaf and a leaf, a
 * DICT two leaves, a leaf nothing; each level is a function of its own.
 */
#include "storage/encoding.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/vector.h"
#include "storage/encoding_templates_int.h"

struct tl_decoder {
    ZSTD_DCtx *zstd; /* made when first used */
    /* Work space of one decode: the entries of a dictionary, the indexes of a stretch of rows. */
    union {
        uint64_t values_u64[TL_ENCODE_ROWS_MAX];
        uint32_t values_u32[TL_ENCODE_ROWS_MAX];
    } table;
    uint32_t index[TL__MINI_ROWS * 4];
    uint8_t symbols[TL_ENCODE_ROWS_MAX];         /* of the layer of classes */
    struct tl_buffer scratch, slots;             /* of pages of templates; grow */
    uint8_t meta[TL__META_MAX + TL_PAYLOAD_PAD]; /* the lengths of a page of strings, padded */
};

enum tl_code tl_decoder_new(struct tl_decoder **out, struct tl_status *st)
{
    struct tl_decoder *d = malloc(sizeof(*d));
    if (!d)
        return TL_FAIL(st, TL_LIMIT, "no memory for a decoder");
    d->zstd = NULL;
    memset(d->meta, 0, sizeof(d->meta));
    tl_buffer_init(&d->scratch, "text of a page of templates", 2 * (size_t)TL_STRINGS_BYTES_MAX);
    tl_buffer_init(&d->slots, "slots of a page of templates", 2 * (size_t)TL_STRINGS_BYTES_MAX);
    *out = d;
    return TL_OK;
}

void tl_decoder_free(struct tl_decoder *d)
{
    if (!d)
        return;
    ZSTD_freeDCtx(d->zstd);
    tl_buffer_deinit(&d->scratch);
    tl_buffer_deinit(&d->slots);
    free(d);
}

uint8_t *tl__decoder_meta(struct tl_decoder *d)
{
    return d->meta;
}

struct tl_buffer *tl__decoder_scratch(struct tl_decoder *d)
{
    return &d->scratch;
}

struct tl_buffer *tl__decoder_slots(struct tl_decoder *d)
{
    return &d->slots;
}

uint8_t *tl__decoder_symbols(struct tl_decoder *d)
{
    return d->symbols;
}

uint32_t *tl__decoder_lengths(struct tl_decoder *d)
{
    _Static_assert(sizeof(d->table) == 2 * TL_ENCODE_ROWS_MAX * sizeof(uint32_t), "two arrays");
    return (uint32_t *)(void *)&d->table;
}

/* ---- Headers ---- */

struct view {
    uint32_t kind;
    uint32_t a, b;
    const uint8_t *body;
    uint32_t size; /* of the body */
};

static struct view view_at(const uint8_t *p)
{
    return (struct view){p[0], p[2], p[3], p + TL__HEADER_BYTES, tl_get_u32le(p + 4)};
}

/* The payload inside a body at *offset; moves *offset behind it. */
static bool sub_view(struct tl_slice body, size_t *offset, struct view *out)
{
    size_t left = body.size - *offset;
    if (left < TL__HEADER_BYTES)
        return false;
    const uint8_t *p = body.data + *offset;
    *out = view_at(p);
    if (p[1] != TL__LAYER_NONE || out->size > left - TL__HEADER_BYTES)
        return false;
    *offset += TL__HEADER_BYTES + out->size;
    return true;
}

/* The same where a check has been: the payload that starts at `p`, and what follows it. */
static const uint8_t *behind(struct view v)
{
    return v.body + v.size;
}

enum tl_encoding tl_payload_kind(struct tl_slice payload)
{
    return payload.size < TL__HEADER_BYTES ? (enum tl_encoding)0
                                           : (enum tl_encoding)payload.data[0];
}

bool tl_payload_is_inflated(struct tl_slice payload)
{
    return payload.size >= TL__HEADER_BYTES && payload.data[1] == TL__LAYER_NONE;
}

static const struct encoding_info {
    const char *name, *name_zstd, *name_classes;
} ENCODINGS[] = {
    [TL_ENC_CONSTANT] = {"constant", "constant+zstd", NULL},
    [TL_ENC_RAW] = {"raw", "raw+zstd", NULL},
    [TL_ENC_FOR] = {"for", "for+zstd", "for+classes"},
    [TL_ENC_DELTA] = {"delta", "delta+zstd", "delta+classes"},
    [TL_ENC_DICT] = {"dict", "dict+zstd", NULL},
    [TL_ENC_RLE] = {"rle", "rle+zstd", NULL},
    [TL_ENC_BITS_SAME] = {"bits-same", "bits-same+zstd", NULL},
    [TL_ENC_BITS_RAW] = {"bits", "bits+zstd", NULL},
    [TL_ENC_BITS_RUNS] = {"bits-runs", "bits-runs+zstd", NULL},
    [TL_ENC_STR_PLAIN] = {"strings", "strings+zstd", NULL},
    [TL_ENC_STR_FRONT] = {"front-coded", "front-coded+zstd", NULL},
    [TL_ENC_STR_HEX] = {"hex", "hex+zstd", NULL},
    [TL_ENC_STR_TEMPLATES] = {"templates", "templates+zstd", NULL},
};

const char *tl_payload_name(struct tl_slice payload)
{
    uint32_t kind = tl_payload_kind(payload);
    if (kind >= sizeof(ENCODINGS) / sizeof(ENCODINGS[0]) || !ENCODINGS[kind].name)
        return "unknown";
    const char *const layers[] = {ENCODINGS[kind].name, ENCODINGS[kind].name_zstd,
                                  ENCODINGS[kind].name_classes};
    uint32_t layer = payload.data[1];
    return layer <= TL__LAYER_CLASSES && layers[layer] ? layers[layer] : "unknown";
}

/* ---- The zstd layer ---- */

enum tl_code tl_payload_inflated_size(struct tl_slice payload, size_t *size, struct tl_status *st)
{
    if (payload.size < TL__HEADER_BYTES || payload.size > TL_PAYLOAD_BYTES_MAX)
        return TL_FAIL(st, TL_CORRUPT, "an encoded payload of %zu bytes", payload.size);
    uint32_t body = tl_get_u32le(payload.data + 4);
    if (payload.data[1] > TL__LAYER_CLASSES)
        return TL_FAIL(st, TL_CORRUPT, "an encoded payload has unknown layer %u", payload.data[1]);
    if (body > TL_PAYLOAD_BYTES_MAX - TL__HEADER_BYTES)
        return TL_FAIL(st, TL_CORRUPT, "an encoded payload claims %u bytes", body);
    if (payload.data[1] == TL__LAYER_NONE && body != payload.size - TL__HEADER_BYTES)
        return TL_FAIL(st, TL_CORRUPT, "an encoded payload of %zu bytes claims %u", payload.size,
                       body);
    *size = (size_t)body + TL__HEADER_BYTES;
    return TL_OK;
}

enum tl_code tl__zstd_inflate(struct tl_decoder *d, struct tl_slice in, uint8_t *dst, size_t size,
                              struct tl_status *st)
{
    if (!d->zstd && !(d->zstd = ZSTD_createDCtx()))
        return TL_FAIL(st, TL_LIMIT, "no memory for a zstd context");
    size_t got = ZSTD_decompressDCtx(d->zstd, dst, size, in.data, in.size);
    if (ZSTD_isError(got))
        return TL_FAIL(st, TL_CORRUPT, "a zstd frame does not decode: %s", ZSTD_getErrorName(got));
    if (got != size)
        return TL_FAIL(st, TL_CORRUPT, "a zstd frame holds %zu bytes instead of %zu", got, size);
    return TL_OK;
}

enum tl_code tl_payload_inflate(struct tl_decoder *d, struct tl_slice payload, uint8_t *dst,
                                size_t size, struct tl_status *st)
{
    size_t expected;
    enum tl_code rc = tl_payload_inflated_size(payload, &expected, st);
    if (rc)
        return rc;
    tl_assert(size == expected);
    if (payload.data[1] == TL__LAYER_NONE) {
        memcpy(dst, payload.data, size);
        return TL_OK;
    }
    if (payload.data[1] == TL__LAYER_CLASSES)
        return tl__classes_inflate(d, payload, dst, size, st);
    memcpy(dst, payload.data, TL__HEADER_BYTES);
    dst[1] = TL__LAYER_NONE;
    return tl__zstd_inflate(
        d, tl_slice_of(payload.data + TL__HEADER_BYTES, payload.size - TL__HEADER_BYTES),
        dst + TL__HEADER_BYTES, size - TL__HEADER_BYTES, st);
}

/* ---- Leaves: where their parts lie ---- */

static uint32_t mini_count(uint32_t count)
{
    return (count + TL__MINI_ROWS - 1) / TL__MINI_ROWS;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Rows of mini-block `m` of `count` rows. */
static uint32_t mini_rows(uint32_t count, uint32_t m)
{
    return min_u32(TL__MINI_ROWS, count - m * TL__MINI_ROWS);
}

struct leaf {
    uint32_t kind;
    uint64_t base;  /* CONSTANT: the value */
    uint64_t scale; /* 1 when not scaled */
    uint32_t bytes; /* RAW: of a value. FOR: of a reference. DELTA: of a start */
    uint32_t step_bytes;
    uint64_t step_base;
    bool wrapped; /* DELTA: sums are taken modulo mask + 1 */
    uint64_t mask;
    const uint8_t *widths; /* FOR, DELTA: per mini-block */
    const uint8_t *starts; /* references or starts, per mini-block */
    const uint8_t *steps;  /* DELTA: per mini-block */
    const uint8_t *data;
};

/* Bytes of a leaf's body before its data. */
static size_t leaf_front(struct view v, uint32_t count)
{
    size_t front = v.b & TL__FLAG_SCALED ? 16 : 8;
    size_t minis = mini_count(count);
    if (v.kind == TL_ENC_FOR)
        front += minis * (1 + v.a);
    if (v.b & TL__FLAG_WRAPPED)
        front += 8;
    if (v.kind == TL_ENC_DELTA)
        front += 8 + minis * (1 + (v.a & 15) + (v.a >> 4));
    return front;
}

static struct leaf leaf_of(struct view v, uint32_t count)
{
    struct leaf l = {.kind = v.kind, .scale = 1};
    const uint8_t *p = v.body;
    uint32_t minis = mini_count(count);
    l.base = tl_get_u64le(p);
    p += 8;
    if (v.b & TL__FLAG_SCALED) {
        l.scale = tl_get_u64le(p);
        p += 8;
    }
    if (v.b & TL__FLAG_WRAPPED) {
        l.wrapped = true;
        l.mask = tl_get_u64le(p);
        p += 8;
    }
    l.bytes = v.a & 15;
    if (v.kind == TL_ENC_DELTA) {
        l.step_bytes = v.a >> 4;
        l.step_base = tl_get_u64le(p);
        p += 8;
    }
    if (v.kind == TL_ENC_FOR || v.kind == TL_ENC_DELTA) {
        l.widths = p;
        l.starts = p + minis;
        l.steps = l.starts + (size_t)minis * l.bytes;
        p = l.steps + (size_t)minis * l.step_bytes;
    }
    l.data = p;
    return l;
}

static uint64_t leaf_start(const struct leaf *l, uint32_t m)
{
    return tl__get_narrow(l->starts + (size_t)m * l->bytes, l->bytes);
}

static uint64_t leaf_step(const struct leaf *l, uint32_t m)
{
    return l->step_base + tl__get_narrow(l->steps + (size_t)m * l->step_bytes, l->step_bytes);
}

/* Where the packed bits of mini-block `m` begin: those before it are whole. */
static const uint8_t *leaf_data(const struct leaf *l, uint32_t m)
{
    size_t offset = 0;
    for (uint32_t i = 0; i < m; i++)
        offset += (size_t)l->widths[i] * (TL__MINI_ROWS / 8);
    return l->data + offset;
}

/* ---- Checks ---- */

static bool is_byte_width(uint32_t bytes)
{
    return bytes == 0 || bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

static bool is_leaf(uint32_t kind)
{
    return kind >= TL_ENC_CONSTANT && kind <= TL_ENC_DELTA;
}

/* The fields of a leaf's header. */
static enum tl_code check_leaf_fields(struct view v, struct tl_status *st)
{
    if (!is_leaf(v.kind))
        return TL_FAIL(st, TL_CORRUPT, "encoding %u where a leaf must stand", v.kind);
    uint32_t flags = v.kind == TL_ENC_CONSTANT ? 0U
                     : v.kind == TL_ENC_DELTA  ? TL__FLAG_SCALED | TL__FLAG_WRAPPED
                                               : TL__FLAG_SCALED;
    if ((v.b & ~flags) || (v.kind == TL_ENC_CONSTANT && v.a))
        return TL_FAIL(st, TL_CORRUPT, "encoding %u has unknown flags", v.kind);
    if (!is_byte_width(v.a & 15) || !is_byte_width(v.a >> 4) ||
        (v.kind != TL_ENC_DELTA && v.a > 8) || (v.kind == TL_ENC_RAW && v.a == 0))
        return TL_FAIL(st, TL_CORRUPT, "encoding %u has byte width %u", v.kind, v.a);
    return TL_OK;
}

static enum tl_code check_leaf(struct view v, uint32_t count, struct tl_status *st)
{
    enum tl_code rc = check_leaf_fields(v, st);
    if (rc)
        return rc;
    size_t expected = leaf_front(v, count);
    if (v.size < expected)
        return TL_FAIL(st, TL_CORRUPT, "encoding %u of %u rows has only %u bytes", v.kind, count,
                       v.size);
    if (v.kind == TL_ENC_RAW)
        expected += (size_t)count * v.a;
    if (v.kind == TL_ENC_FOR || v.kind == TL_ENC_DELTA) {
        struct leaf l = leaf_of(v, count);
        for (uint32_t m = 0; m < mini_count(count); m++) {
            if (l.widths[m] > TL__WIDTH_MAX)
                return TL_FAIL(st, TL_CORRUPT, "a mini-block of %u bits a value", l.widths[m]);
            expected += ((size_t)mini_rows(count, m) * l.widths[m] + 7) / 8;
        }
    }
    if (v.size != expected)
        return TL_FAIL(st, TL_CORRUPT, "encoding %u of %u rows has %u bytes instead of %zu", v.kind,
                       count, v.size, expected);
    return TL_OK;
}

size_t tl__leaf_front(const uint8_t *header, uint32_t count)
{
    struct view v = view_at(header);
    struct tl_status st = TL_STATUS_INIT;
    if ((v.kind != TL_ENC_FOR && v.kind != TL_ENC_DELTA) || check_leaf_fields(v, &st))
        return 0;
    return leaf_front(v, count);
}

enum tl_code tl__leaf_packed(struct tl_slice inflated, uint32_t count, const uint8_t **widths,
                             uint64_t *references, size_t *data, struct tl_status *st)
{
    struct view v = view_at(inflated.data);
    if (v.size != inflated.size - TL__HEADER_BYTES)
        return TL_FAIL(st, TL_CORRUPT, "a payload of %zu bytes claims %u", inflated.size, v.size);
    enum tl_code rc = check_leaf(v, count, st);
    if (rc)
        return rc;
    struct leaf l = leaf_of(v, count);
    for (uint32_t m = 0; m < mini_count(count); m++)
        references[m] = v.kind == TL_ENC_FOR ? leaf_start(&l, m) : 0;
    *widths = l.widths;
    *data = (size_t)(l.data - inflated.data);
    return TL_OK;
}

struct dict {
    uint32_t size;
    struct view entries, indexes;
};

static struct dict dict_of(struct view v)
{
    struct dict dict = {.size = tl_get_u32le(v.body), .entries = view_at(v.body + 4)};
    dict.indexes = view_at(behind(dict.entries));
    return dict;
}

struct rle {
    uint32_t runs;
    struct view values, ends;
};

static struct rle rle_of(struct view v)
{
    struct rle rle = {.runs = tl_get_u32le(v.body), .values = view_at(v.body + 4)};
    rle.ends = view_at(behind(rle.values));
    return rle;
}

/* ---- Decoders of both widths ---- */

static void leaf_decode_u32(const struct leaf *l, uint32_t count, uint32_t lo, uint32_t hi,
                            uint32_t *out);
static void leaf_at_u32(const struct leaf *l, uint32_t count, const uint32_t *rows, uint32_t n,
                        uint32_t *out);

/* The mini-block of `runs` run ends in which the search for the run of row `row` may start: the
 * last one whose first run ends at or before it. First values of mini-blocks are cheap. */
static uint32_t runs_seek(const struct leaf *ends, uint32_t runs, uint32_t row)
{
    uint32_t lo = 0, hi = mini_count(runs);
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2, end;
        leaf_decode_u32(ends, runs, mid * TL__MINI_ROWS, mid * TL__MINI_ROWS + 1, &end);
        if (end <= row)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

#define VALUE   uint64_t
#define NAME(x) x##_u64
#include "storage/decoding_values.inc"
#undef VALUE
#undef NAME

#define VALUE   uint32_t
#define NAME(x) x##_u32
#include "storage/decoding_values.inc"
#undef VALUE
#undef NAME

/* ---- Checks of what nests ---- */

/* A leaf of `count` strictly ascending row numbers, the last one `rows`. */
static enum tl_code check_ends(struct view v, uint32_t count, uint32_t rows, struct tl_status *st)
{
    enum tl_code rc = check_leaf(v, count, st);
    if (rc)
        return rc;
    uint32_t ends[TL__MINI_ROWS];
    uint32_t last = 0;
    struct leaf l = leaf_of(v, count);
    for (uint32_t lo = 0; lo < count; lo += TL__MINI_ROWS) {
        uint32_t n = mini_rows(count, lo / TL__MINI_ROWS);
        leaf_decode_u32(&l, count, lo, lo + n, ends);
        for (uint32_t i = 0; i < n; i++) {
            if (ends[i] <= last)
                return TL_FAIL(st, TL_CORRUPT, "the ends of runs do not ascend");
            last = ends[i];
        }
    }
    if (last != rows)
        return TL_FAIL(st, TL_CORRUPT, "runs cover %u rows instead of %u", last, rows);
    return TL_OK;
}

static enum tl_code check_dict(struct view v, uint32_t count, struct tl_status *st)
{
    struct tl_slice body = tl_slice_of(v.body, v.size);
    struct dict dict;
    size_t offset = 4;
    if (v.a || v.b || v.size < 4 || !sub_view(body, &offset, &dict.entries) ||
        !sub_view(body, &offset, &dict.indexes) || offset != v.size)
        return TL_FAIL(st, TL_CORRUPT, "a dictionary encoding of %u bytes is cut or overfull",
                       v.size);
    dict.size = tl_get_u32le(v.body);
    if (dict.size == 0 || dict.size > TL_ENCODE_ROWS_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a dictionary encoding of %u entries", dict.size);
    enum tl_code rc = check_leaf(dict.entries, dict.size, st);
    if (rc)
        return rc;
    rc = check_leaf(dict.indexes, count, st);
    if (rc)
        return rc;
    uint32_t indexes[TL__MINI_ROWS];
    struct leaf l = leaf_of(dict.indexes, count);
    for (uint32_t lo = 0; lo < count; lo += TL__MINI_ROWS) {
        uint32_t n = mini_rows(count, lo / TL__MINI_ROWS);
        leaf_decode_u32(&l, count, lo, lo + n, indexes);
        if (tl__kernels->max_u32(indexes, n) >= dict.size)
            return TL_FAIL(st, TL_CORRUPT, "a dictionary index lies beyond its %u entries",
                           dict.size);
    }
    return TL_OK;
}

static enum tl_code check_rle(struct view v, uint32_t count, struct tl_status *st)
{
    struct tl_slice body = tl_slice_of(v.body, v.size);
    struct rle rle;
    size_t offset = 4;
    if (v.a || v.b || v.size < 4 || !sub_view(body, &offset, &rle.values) ||
        !sub_view(body, &offset, &rle.ends) || offset != v.size)
        return TL_FAIL(st, TL_CORRUPT, "a run-length encoding of %u bytes is cut or overfull",
                       v.size);
    rle.runs = tl_get_u32le(v.body);
    if (rle.runs > count)
        return TL_FAIL(st, TL_CORRUPT, "%u runs in %u rows", rle.runs, count);
    enum tl_code rc = rle.values.kind == TL_ENC_DICT ? check_dict(rle.values, rle.runs, st)
                                                     : check_leaf(rle.values, rle.runs, st);
    return rc ? rc : check_ends(rle.ends, rle.runs, count, st);
}

/* The header of an inflated payload: its size must be the slice's. */
static enum tl_code check_header(struct tl_slice inflated, uint32_t count, struct view *out,
                                 struct tl_status *st)
{
    size_t size;
    enum tl_code rc = tl_payload_inflated_size(inflated, &size, st);
    if (rc)
        return rc;
    if (inflated.data[1] != TL__LAYER_NONE)
        return TL_FAIL(st, TL_CORRUPT, "a payload still has its zstd layer");
    if (count > TL_ENCODE_ROWS_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a payload of %u rows", count);
    *out = view_at(inflated.data);
    return TL_OK;
}

enum tl_code tl_payload_check(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                              struct tl_status *st)
{
    (void)d;
    struct view v;
    enum tl_code rc = check_header(inflated, count, &v, st);
    if (rc)
        return rc;
    if (v.kind == TL_ENC_RLE)
        return check_rle(v, count, st);
    return v.kind == TL_ENC_DICT ? check_dict(v, count, st) : check_leaf(v, count, st);
}

/* ---- Decoding through the door ---- */

void tl_decode_i64(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                   uint32_t hi, int64_t *out)
{
    tl_assert(lo <= hi && hi <= count);
    any_decode_u64(d, view_at(inflated.data), count, lo, hi, (uint64_t *)out);
}

void tl_decode_u32(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                   uint32_t hi, uint32_t *out)
{
    tl_assert(lo <= hi && hi <= count);
    any_decode_u32(d, view_at(inflated.data), count, lo, hi, out);
}

void tl_decode_u8(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                  uint32_t hi, uint8_t *out)
{
    tl_assert(lo <= hi && hi <= count);
    uint32_t values[TL__MINI_ROWS * 4];
    struct view v = view_at(inflated.data);
    for (uint32_t row = lo; row < hi;) {
        /* Up to the next whole stretch, so that later ones start at whole mini-blocks. */
        uint32_t n = TL__MINI_ROWS * 4 - row % (TL__MINI_ROWS * 4);
        n = min_u32(n, hi - row);
        any_decode_u32(d, v, count, row, row + n, values);
        for (uint32_t i = 0; i < n; i++)
            *out++ = (uint8_t)values[i];
        row += n;
    }
}

void tl_decode_f64(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                   uint32_t hi, double *out)
{
    _Static_assert(sizeof(double) == sizeof(int64_t), "doubles travel as 64-bit patterns");
    tl_decode_i64(d, inflated, count, lo, hi, (int64_t *)(void *)out);
}

void tl_decode_at_u32(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                      const uint32_t *rows, uint32_t n, uint32_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        tl_assert(rows[i] < count);
    any_at_u32(d, view_at(inflated.data), count, rows, n, out);
}

void tl_decode_at_i64(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                      const uint32_t *rows, uint32_t n, int64_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        tl_assert(rows[i] < count);
    any_at_u64(d, view_at(inflated.data), count, rows, n, (uint64_t *)out);
}

uint32_t tl_payload_max_u32(struct tl_decoder *d, struct tl_slice inflated, uint32_t count)
{
    struct view v = view_at(inflated.data);
    if (count == 0)
        return 0;
    if (v.kind == TL_ENC_RLE) {
        v = rle_of(v).values;
        count = rle_of(view_at(inflated.data)).runs;
    }
    if (v.kind == TL_ENC_DICT) {
        struct dict dict = dict_of(v);
        v = dict.entries;
        count = dict.size;
    }
    if (v.kind == TL_ENC_CONSTANT)
        return (uint32_t)tl_get_u64le(v.body);
    uint32_t values[TL__MINI_ROWS];
    uint32_t max = 0;
    for (uint32_t lo = 0; lo < count; lo += TL__MINI_ROWS) {
        uint32_t n = mini_rows(count, lo / TL__MINI_ROWS);
        any_decode_u32(d, v, count, lo, lo + n, values);
        uint32_t here = tl__kernels->max_u32(values, n);
        max = here > max ? here : max;
    }
    return max;
}

/* ---- The encoded form ---- */

bool tl_payload_constant(struct tl_slice inflated, uint32_t count, int64_t *value)
{
    struct view v = view_at(inflated.data);
    (void)count;
    if (v.kind != TL_ENC_CONSTANT)
        return false;
    *value = (int64_t)tl_get_u64le(v.body);
    return true;
}

uint32_t tl_payload_runs(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                         uint32_t lo, uint32_t hi, int64_t *values, uint32_t *ends)
{
    tl_assert(lo <= hi && hi <= count);
    struct view v = view_at(inflated.data);
    if (lo == hi && (v.kind == TL_ENC_CONSTANT || v.kind == TL_ENC_RLE))
        return 0;
    if (v.kind == TL_ENC_CONSTANT) {
        values[0] = (int64_t)tl_get_u64le(v.body);
        ends[0] = hi;
        return 1;
    }
    if (v.kind != TL_ENC_RLE)
        return UINT32_MAX;
    struct rle rle = rle_of(v);
    struct leaf l = leaf_of(rle.ends, rle.runs);
    uint32_t here[TL__MINI_ROWS];
    uint32_t first = 0, found = 0;
    for (uint32_t m = runs_seek(&l, rle.runs, lo);; m++) {
        uint32_t n = mini_rows(rle.runs, m);
        leaf_decode_u32(&l, rle.runs, m * TL__MINI_ROWS, m * TL__MINI_ROWS + n, here);
        uint32_t i = 0;
        while (i < n && here[i] <= lo)
            i++;
        if (found == 0)
            first = m * TL__MINI_ROWS + i;
        for (; i < n; i++) {
            ends[found++] = min_u32(here[i], hi);
            if (here[i] >= hi) {
                leaf_or_dict_decode_u64(d, rle.values, rle.runs, first, first + found,
                                        (uint64_t *)values);
                return found;
            }
        }
    }
}

uint32_t tl_payload_dict_size(struct tl_slice inflated)
{
    struct view v = view_at(inflated.data);
    return v.kind == TL_ENC_DICT ? dict_of(v).size : 0;
}

void tl_payload_dict_values(struct tl_decoder *d, struct tl_slice inflated, int64_t *out)
{
    (void)d;
    struct view v = view_at(inflated.data);
    tl_assert(v.kind == TL_ENC_DICT);
    struct dict dict = dict_of(v);
    struct leaf l = leaf_of(dict.entries, dict.size);
    leaf_decode_u64(&l, dict.size, 0, dict.size, (uint64_t *)out);
}

void tl_payload_dict_indexes(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                             uint32_t lo, uint32_t hi, uint32_t *out)
{
    (void)d;
    struct view v = view_at(inflated.data);
    tl_assert(v.kind == TL_ENC_DICT && lo <= hi && hi <= count);
    struct leaf l = leaf_of(dict_of(v).indexes, count);
    leaf_decode_u32(&l, count, lo, hi, out);
}

/* ---- Leaves on their own: the lengths of a page of strings ---- */

enum tl_code tl__leaf_decode(struct tl_slice payload, uint32_t count, uint32_t *out, size_t *size,
                             struct tl_status *st)
{
    struct view v;
    size_t offset = 0;
    if (!sub_view(payload, &offset, &v))
        return TL_FAIL(st, TL_CORRUPT, "the lengths of a page of strings are cut");
    enum tl_code rc = check_leaf(v, count, st);
    if (rc)
        return rc;
    struct leaf l = leaf_of(v, count);
    leaf_decode_u32(&l, count, 0, count, out);
    *size = offset;
    return TL_OK;
}

/* ---- Bitmaps ---- */

enum tl_code tl_bitmap_check(struct tl_decoder *d, struct tl_slice inflated, uint32_t count,
                             struct tl_status *st)
{
    (void)d;
    struct view v;
    enum tl_code rc = check_header(inflated, count, &v, st);
    if (rc)
        return rc;
    if (v.b != 0 || v.a > 1 || (v.kind == TL_ENC_BITS_RAW && v.a))
        return TL_FAIL(st, TL_CORRUPT, "bitmap encoding %u has unknown flags", v.kind);
    switch (v.kind) {
    case TL_ENC_BITS_SAME:
        if (v.size == 0)
            return TL_OK;
        break;
    case TL_ENC_BITS_RAW:
        if (v.size != (count + 7) / 8)
            break;
        if (count % 8 && v.body[count / 8] >> (count % 8))
            return TL_FAIL(st, TL_CORRUPT, "a bitmap has bits behind its %u rows", count);
        return TL_OK;
    case TL_ENC_BITS_RUNS: {
        struct view ends;
        size_t offset = 4;
        if (v.size < 4 || !sub_view(tl_slice_of(v.body, v.size), &offset, &ends) ||
            offset != v.size || tl_get_u32le(v.body) > count)
            break;
        return check_ends(ends, tl_get_u32le(v.body), count, st);
    }
    default:
        return TL_FAIL(st, TL_CORRUPT, "unknown bitmap encoding %u", v.kind);
    }
    return TL_FAIL(st, TL_CORRUPT, "bitmap encoding %u of %u rows has %u bytes", v.kind, count,
                   v.size);
}

bool tl_bitmap_same(struct tl_slice inflated, bool *bit)
{
    struct view v = view_at(inflated.data);
    if (v.kind != TL_ENC_BITS_SAME)
        return false;
    *bit = v.a;
    return true;
}

/* Sets bits [lo, hi). */
static void set_bits(uint64_t *bits, uint32_t lo, uint32_t hi)
{
    for (; lo < hi && lo % 64; lo++)
        tl_bit_set(bits, lo);
    for (; lo + 64 <= hi; lo += 64)
        bits[lo / 64] = UINT64_MAX;
    if (lo < hi)
        bits[lo / 64] |= (1ULL << (hi - lo)) - 1;
}

static void decode_bit_runs(struct view v, uint32_t lo, uint32_t hi, uint64_t *out)
{
    uint32_t runs = tl_get_u32le(v.body);
    struct leaf l = leaf_of(view_at(v.body + 4), runs);
    uint32_t ends[TL__MINI_ROWS];
    uint32_t row = lo;
    memset(out, 0, sizeof(*out) * tl_bit_words(hi - lo));
    for (uint32_t m = runs_seek(&l, runs, lo); row < hi; m++) {
        uint32_t n = mini_rows(runs, m);
        leaf_decode_u32(&l, runs, m * TL__MINI_ROWS, m * TL__MINI_ROWS + n, ends);
        for (uint32_t i = 0; i < n && row < hi; i++) {
            uint32_t end = min_u32(ends[i], hi);
            if (end <= row)
                continue;
            if ((v.a + m * TL__MINI_ROWS + i) & 1) /* runs alternate, from the bit v.a on */
                set_bits(out, row - lo, end - lo);
            row = end;
        }
    }
}

void tl_decode_bitmap(struct tl_decoder *d, struct tl_slice inflated, uint32_t count, uint32_t lo,
                      uint32_t hi, uint64_t *out)
{
    (void)d;
    tl_assert(lo <= hi && hi <= count);
    struct view v = view_at(inflated.data);
    uint32_t words = tl_bit_words(hi - lo);
    if (lo == hi)
        return;
    if (v.kind == TL_ENC_BITS_RUNS) {
        decode_bit_runs(v, lo, hi, out);
        return;
    }
    if (v.kind == TL_ENC_BITS_SAME)
        memset(out, v.a ? 0xFF : 0, sizeof(*out) * words);
    else /* the pad makes the loads behind the last byte legal */
        for (uint32_t i = 0; i < words; i++)
            out[i] = tl__unpack_one(v.body, 64, lo + 64ULL * i);
    if ((hi - lo) % 64)
        out[words - 1] &= (1ULL << ((hi - lo) % 64)) - 1;
}
