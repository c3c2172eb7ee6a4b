/*
 * storage/encoding.c: the encoder of numbers and bitmaps, and how it chooses.
 *
 * All numbers are 64-bit patterns here. Values are first brought to a base and a scale (their
 * minimum, and the greatest common divisor of what is above it: times in whole milliseconds,
 * prices in whole cents), which RAW, FOR and DELTA store and which costs one multiplication to
 * undo. From the minimum, maximum and steps of each mini-block the sizes of these three follow
 * exactly, so only the smallest is written. Run-length and dictionary encodings are written when
 * a count of runs or a sample of distinct values says that they may win, and measured.
 *
 * The zstd layer is tried over the best of these and over forms whose values keep to whole bytes:
 * a column that repeats per visitor or session compresses better from those than from packed
 * bits. A sample of each form says which are worth a whole try. The layer is kept only when it
 * saves ZSTD_GAIN_PERCENT, because a block with it has to be inflated whole to read one row.
 *
 * Every choice is integer arithmetic on the values: same input, same bytes.
 *
 * Not done: patched exceptions (mini-blocks keep outliers local), delta of delta, XOR forms for
 * doubles. Read: Lemire & Boytsov, "Decoding billions of integers per second"; Afroozeh & Boncz,
 * "The FastLanes compression layout"; the encodings of Parquet and ORC.
 */
#include "storage/encoding.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/vector.h"
#include "storage/encoding_templates_int.h"

enum {
    ROWS_MAX = TL_ENCODE_ROWS_MAX,
    FORM_BYTES_MAX = TL__META_MAX, /* 64 bits a value, and the fronts of the parts */
    HASH_SLOTS = 16384,            /* a power of two, at least 2 × TL__DICT_MAX */
    BITMAP_RANGE = 65536,
    SAMPLE_ROWS = 256,     /* values looked at to guess how many are distinct */
    ZSTD_SAMPLE = 4096,    /* bytes compressed to guess what zstd would save */
    ZSTD_GAIN_PERCENT = 8, /* less is not worth inflating whole blocks */
    ZSTD_BYTES_MIN = 96,   /* smaller forms are left alone */
    ZSTD_OUT_MAX = 76 * 1024
};

_Static_assert(ZSTD_COMPRESSBOUND(FORM_BYTES_MAX) <= ZSTD_OUT_MAX, "a frame of any form fits");
_Static_assert(HASH_SLOTS >= 2 * TL__DICT_MAX, "the hash table stays half empty");

/* The forms that are tried; those in whole bytes are for zstd alone. */
enum { LEAF, DICT, RLE, RAW_BYTES, DICT_BYTES, RLE_BYTES, FORMS };

struct form {
    uint8_t bytes[FORM_BYTES_MAX];
    size_t size; /* 0: not there */
};

struct tl_encoder {
    ZSTD_CCtx *zstd; /* made when first used, set to level zstd_level */
    int zstd_level;
    uint64_t values[ROWS_MAX]; /* the input, widened */
    uint64_t run_values[ROWS_MAX], run_ends[ROWS_MAX];
    uint64_t keys[ROWS_MAX], keys_spare[ROWS_MAX], indexes[ROWS_MAX];
    uint64_t scaled[ROWS_MAX]; /* of the leaf being written */
    uint64_t hash_keys[HASH_SLOTS];
    uint16_t hash_ids[HASH_SLOTS]; /* id + 1; 0: free */
    uint64_t present[BITMAP_RANGE / 64];
    uint16_t rank[BITMAP_RANGE / 64];
    struct form forms[FORMS];
    struct form spare;
    uint8_t frames[3][ZSTD_OUT_MAX]; /* the last: the layer of classes */
    struct tl__text_space text;
    struct tl__class_space classes;
    struct tl__template_space *templates; /* made when first used */
};

enum tl_code tl_encoder_new(struct tl_encoder **out, struct tl_status *st)
{
    struct tl_encoder *e = calloc(1, sizeof(*e));
    if (!e)
        return TL_FAIL(st, TL_LIMIT, "no memory for an encoder");
    for (int i = 0; i < 3; i++)
        tl_buffer_init(&e->text.text[i], "text of a string page",
                       ZSTD_COMPRESSBOUND(TL_STRINGS_BYTES_MAX));
    *out = e;
    return TL_OK;
}

void tl_encoder_free(struct tl_encoder *e)
{
    if (!e)
        return;
    for (int i = 0; i < 3; i++)
        tl_buffer_deinit(&e->text.text[i]);
    ZSTD_freeCCtx(e->zstd);
    tl__template_space_free(e->templates);
    free(e);
}

uint64_t *tl__encoder_values(struct tl_encoder *e)
{
    return e->values;
}

struct tl__template_space **tl__encoder_templates(struct tl_encoder *e)
{
    return &e->templates;
}

struct tl__class_space *tl__encoder_classes(struct tl_encoder *e)
{
    return &e->classes;
}

struct tl__text_space *tl__encoder_text(struct tl_encoder *e)
{
    return &e->text;
}

/* ---- Base and scale ---- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A few values usually say that it is 1. */
uint64_t tl__common_divisor(const uint64_t *v, uint32_t count, uint64_t base, uint64_t range)
{
    uint64_t d = range;
    uint32_t stride = count / 32 + 1;
    for (uint32_t i = 0; i < count && d > 1; i += stride)
        d = gcd(d, v[i] - base);
    if (d <= 1)
        return 1;
    struct tl__divisor known = tl__divisor_of(d, range);
    for (uint32_t i = 0; i < count; i++) {
        if (tl__divides(&known, v[i] - base))
            continue;
        d = gcd(d, v[i] - base);
        if (d == 1)
            return 1;
        known = tl__divisor_of(d, range);
    }
    return d;
}

/* ---- Leaves ---- */

/* The smallest step of mini-block m, which every packed step is above; one row has no step. */
static uint64_t mini_step(const struct tl__plan *p, uint32_t m)
{
    return tl__plan_mini_rows(p, m) > 1 ? (uint64_t)p->mini[m].step_min : p->step_min;
}

static uint32_t mini_step_width(const struct tl__plan *p, uint32_t m)
{
    if (tl__plan_mini_rows(p, m) == 1)
        return 0;
    return tl__bit_width((uint64_t)p->mini[m].step_max - (uint64_t)p->mini[m].step_min);
}

static void plan_for(struct tl__plan *p, size_t front)
{
    size_t near = 0, far = 0; /* with references, and with all references 0 */
    uint64_t reference_max = 0;
    for (uint32_t m = 0; m < p->minis; m++) {
        const struct tl__mini_stats *s = &p->mini[m];
        near += tl__packed_size(tl__plan_mini_rows(p, m), tl__bit_width(s->max - s->min));
        far += tl__packed_size(tl__plan_mini_rows(p, m), tl__bit_width(s->max));
        reference_max = s->min > reference_max ? s->min : reference_max;
    }
    uint32_t bytes = tl__byte_width(reference_max);
    near += (size_t)p->minis * bytes;
    p->for_bytes = near < far ? bytes : 0;
    p->for_size = front + p->minis + (near < far ? near : far);
}

static void plan_delta(struct tl__plan *p, size_t front)
{
    int64_t step_min = INT64_MAX, step_max = INT64_MIN;
    for (uint32_t m = 0; m < p->minis; m++) {
        if (tl__plan_mini_rows(p, m) == 1)
            continue;
        step_min = p->mini[m].step_min < step_min ? p->mini[m].step_min : step_min;
        step_max = p->mini[m].step_min > step_max ? p->mini[m].step_min : step_max;
    }
    p->step_min = step_min > step_max ? 0 : (uint64_t)step_min;
    p->step_range = step_min > step_max ? 0 : (uint64_t)step_max - (uint64_t)step_min;
    int64_t start_min = INT64_MAX, start_max = INT64_MIN;
    size_t packed = 0;
    for (uint32_t m = 0; m < p->minis; m++) {
        int64_t start = (int64_t)(p->u[m * TL__MINI_ROWS] - mini_step(p, m));
        start_min = start < start_min ? start : start_min;
        start_max = start > start_max ? start : start_max;
        packed += tl__packed_size(tl__plan_mini_rows(p, m), mini_step_width(p, m));
    }
    p->start_min = (uint64_t)start_min;
    p->start_range = (uint64_t)start_max - (uint64_t)start_min;
    p->delta_size =
        front + 8 + packed +
        (size_t)p->minis * (1 + tl__byte_width(p->start_range) + tl__byte_width(p->step_range));
}

/* `u` is room for `count` values, which the plan refers to. */
static void plan_make(struct tl__plan *p, const uint64_t *values, uint32_t count, uint64_t *u)
{
    struct tl__value_stats stats = {0};
    if (count)
        tl__kernels->stats(values, count, &stats);
    *p = (struct tl__plan){.count = count,
                           .minis = (count + TL__MINI_ROWS - 1) / TL__MINI_ROWS,
                           .base = (uint64_t)stats.min,
                           .scale = 1,
                           .range = (uint64_t)stats.max - (uint64_t)stats.min,
                           .changes = stats.changes,
                           .u = u};
    if (p->range == 0)
        return;
    uint64_t scale = tl__common_divisor(values, count, p->base, p->range);
    /* The scale takes 8 bytes: the bits that it saves must be worth them. */
    if ((uint64_t)(tl__bit_width(p->range) - tl__bit_width(p->range / scale)) * count > 64) {
        struct tl__divisor d = tl__divisor_of(scale, p->range);
        for (uint32_t i = 0; i < count; i++)
            u[i] = ((values[i] - p->base) >> d.shift) * d.inverse;
        p->scale = scale;
        p->range /= scale;
    } else {
        for (uint32_t i = 0; i < count; i++)
            u[i] = values[i] - p->base;
    }
    for (uint32_t m = 0; m < p->minis; m++)
        tl__kernels->mini_stats(u + (size_t)m * TL__MINI_ROWS, tl__plan_mini_rows(p, m),
                                &p->mini[m]);
    size_t front = TL__HEADER_BYTES + 8 + (p->scale == 1 ? 0 : 8);
    p->raw_size = front + (size_t)count * tl__byte_width(p->range);
    plan_for(p, front);
    plan_delta(p, front);
}

static uint8_t *put_scaled_header(const struct tl__plan *p, enum tl_encoding kind, uint32_t a,
                                  uint64_t base, uint8_t *out)
{
    out = tl__put_header(out, kind, a, p->scale == 1 ? 0 : TL__FLAG_SCALED);
    out = tl__put_narrow(out, base, 8);
    return p->scale == 1 ? out : tl__put_narrow(out, p->scale, 8);
}

static size_t write_constant(const struct tl__plan *p, uint8_t *out)
{
    uint8_t *next = tl__put_header(out, TL_ENC_CONSTANT, 0, 0);
    return tl__finish_payload(out, tl__put_narrow(next, p->base, 8));
}

static size_t write_raw(const struct tl__plan *p, uint8_t *out)
{
    uint32_t bytes = tl__byte_width(p->range);
    uint8_t *next = put_scaled_header(p, TL_ENC_RAW, bytes, p->base, out);
    tl__kernels->pack(p->u, 8 * bytes, p->count, 0, next);
    return tl__finish_payload(out, next + (size_t)p->count * bytes);
}

static size_t write_for(const struct tl__plan *p, uint8_t *out)
{
    uint8_t *next = put_scaled_header(p, TL_ENC_FOR, p->for_bytes, p->base, out);
    uint8_t widths[TL__MINI_MAX];
    for (uint32_t m = 0; m < p->minis; m++) {
        uint64_t reference = p->for_bytes ? p->mini[m].min : 0;
        *next++ = widths[m] = (uint8_t)tl__bit_width(p->mini[m].max - reference);
    }
    for (uint32_t m = 0; m < p->minis; m++)
        next = tl__put_narrow(next, p->mini[m].min, p->for_bytes);
    for (uint32_t m = 0; m < p->minis; m++) {
        uint64_t reference = p->for_bytes ? p->mini[m].min : 0;
        tl__kernels->pack(p->u + (size_t)m * TL__MINI_ROWS, widths[m], tl__plan_mini_rows(p, m),
                          reference, next);
        next += tl__packed_size(tl__plan_mini_rows(p, m), widths[m]);
    }
    return tl__finish_payload(out, next);
}

static size_t write_delta(const struct tl__plan *p, uint8_t *out)
{
    uint32_t start_bytes = tl__byte_width(p->start_range);
    uint32_t step_bytes = tl__byte_width(p->step_range);
    uint8_t *next = put_scaled_header(p, TL_ENC_DELTA, start_bytes | step_bytes << 4,
                                      p->base + p->scale * p->start_min, out);
    next = tl__put_narrow(next, p->step_min, 8);
    for (uint32_t m = 0; m < p->minis; m++)
        *next++ = (uint8_t)mini_step_width(p, m);
    for (uint32_t m = 0; m < p->minis; m++) {
        uint64_t start = p->u[m * TL__MINI_ROWS] - mini_step(p, m);
        next = tl__put_narrow(next, start - p->start_min, start_bytes);
    }
    for (uint32_t m = 0; m < p->minis; m++)
        next = tl__put_narrow(next, mini_step(p, m) - p->step_min, step_bytes);
    for (uint32_t m = 0; m < p->minis; m++) {
        const uint64_t *u = p->u + (size_t)m * TL__MINI_ROWS;
        uint64_t steps[TL__MINI_ROWS];
        uint32_t rows = tl__plan_mini_rows(p, m), width = mini_step_width(p, m);
        steps[0] = mini_step(p, m); /* the start value has it taken off already */
        for (uint32_t i = 1; i < rows; i++)
            steps[i] = u[i] - u[i - 1];
        tl__kernels->pack(steps, width, rows, mini_step(p, m), next);
        next += tl__packed_size(rows, width);
    }
    return tl__finish_payload(out, next);
}

/* The smallest of the leaves. Where sizes are close the one that decodes faster wins: RAW before
 * FOR before DELTA. */
static size_t write_leaf(const struct tl__plan *p, uint8_t *out)
{
    if (p->range == 0)
        return write_constant(p, out);
    size_t packed = p->for_size;
    bool delta = p->delta_size + p->delta_size / 32 < packed;
    if (delta)
        packed = p->delta_size;
    size_t size = p->raw_size <= packed + packed / 64 ? write_raw(p, out)
                  : delta                             ? write_delta(p, out)
                                                      : write_for(p, out);
    tl_assert(size <= FORM_BYTES_MAX);
    return size;
}

size_t tl__leaf_encode(struct tl_encoder *e, const uint64_t *values, uint32_t count, uint8_t *out)
{
    struct tl__plan p;
    plan_make(&p, values, count, e->scaled);
    size_t size = write_leaf(&p, out);
    tl_assert(size + 8 <= TL__META_MAX);
    return size;
}

/* A leaf inside a larger form: values in whole bytes where `bytewise`. */
static size_t encode_leaf(struct tl_encoder *e, const uint64_t *values, uint32_t count,
                          bool bytewise, uint8_t *out)
{
    struct tl__plan p;
    plan_make(&p, values, count, e->scaled);
    return bytewise && p.range ? write_raw(&p, out) : write_leaf(&p, out);
}

/* ---- Dictionaries ---- */

static uint32_t hash_slot(uint64_t key)
{
    return (uint32_t)((key * 0x9E3779B97F4A7C15ULL) >> 50) & (HASH_SLOTS - 1);
}

/* Distinct values among SAMPLE_ROWS that lie evenly. */
static uint32_t sample_distinct(const uint64_t *v, uint32_t count)
{
    enum { SLOTS = 1024 };
    uint64_t keys[SLOTS];
    uint8_t used[SLOTS] = {0};
    uint32_t stride = count / SAMPLE_ROWS + 1, distinct = 0;
    for (uint32_t i = 0; i < count; i += stride) {
        uint32_t slot = hash_slot(v[i]) & (SLOTS - 1);
        while (used[slot] && keys[slot] != v[i])
            slot = (slot + 1) & (SLOTS - 1);
        distinct += !used[slot];
        used[slot] = 1;
        keys[slot] = v[i];
    }
    return distinct;
}

/* Sorts ascending by bytes, least significant first, as many as `range` has. Returns the array
 * that holds the result: `v` or `spare`. */
uint64_t *tl__values_sort(uint64_t *v, uint64_t *spare, uint32_t count, uint64_t range)
{
    for (uint32_t shift = 0; shift < 64 && range >> shift; shift += 8) {
        uint32_t at[257] = {0};
        for (uint32_t i = 0; i < count; i++)
            at[((v[i] >> shift) & 255) + 1]++;
        for (uint32_t i = 1; i < 257; i++)
            at[i] += at[i - 1];
        for (uint32_t i = 0; i < count; i++)
            spare[at[(v[i] >> shift) & 255]++] = v[i];
        uint64_t *swap = v;
        v = spare;
        spare = swap;
    }
    return v;
}

/* Small ranges: a bitmap of what is present; an index is the number of bits set before. */
static uint32_t distinct_by_bitmap(struct tl_encoder *e, const struct tl__plan *p)
{
    uint32_t words = (uint32_t)(p->range / 64 + 1), size = 0;
    memset(e->present, 0, words * sizeof(e->present[0]));
    for (uint32_t i = 0; i < p->count; i++)
        e->present[p->u[i] / 64] |= 1ULL << (p->u[i] % 64);
    for (uint32_t w = 0; w < words; w++) {
        e->rank[w] = (uint16_t)size;
        for (uint64_t left = e->present[w]; left; left &= left - 1) {
            if (size == TL__DICT_MAX)
                return 0;
            e->keys[size++] = w * 64ULL + (uint32_t)__builtin_ctzll(left);
        }
    }
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t before = e->present[p->u[i] / 64] & ((1ULL << (p->u[i] % 64)) - 1);
        e->indexes[i] = e->rank[p->u[i] / 64] + (uint32_t)__builtin_popcountll(before);
    }
    return size;
}

/* Large ranges: a hash table, its keys sorted, and the table again for the indexes. */
static uint32_t distinct_by_hash(struct tl_encoder *e, const struct tl__plan *p)
{
    uint32_t size = 0;
    memset(e->hash_ids, 0, sizeof(e->hash_ids));
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t slot = hash_slot(p->u[i]);
        while (e->hash_ids[slot] && e->hash_keys[slot] != p->u[i])
            slot = (slot + 1) & (HASH_SLOTS - 1);
        if (!e->hash_ids[slot]) {
            if (size == TL__DICT_MAX)
                return 0;
            e->keys[size++] = p->u[i];
            e->hash_keys[slot] = p->u[i];
            e->hash_ids[slot] = 1;
        }
        e->indexes[i] = slot;
    }
    uint64_t *sorted = tl__values_sort(e->keys, e->keys_spare, size, p->range);
    for (uint32_t id = 0; id < size; id++) {
        uint32_t slot = hash_slot(sorted[id]);
        while (e->hash_keys[slot] != sorted[id] || !e->hash_ids[slot])
            slot = (slot + 1) & (HASH_SLOTS - 1);
        e->hash_ids[slot] = (uint16_t)(id + 1);
    }
    if (sorted != e->keys)
        memcpy(e->keys, sorted, size * sizeof(sorted[0]));
    for (uint32_t i = 0; i < p->count; i++)
        e->indexes[i] = e->hash_ids[e->indexes[i]] - 1U;
    return size;
}

/* Sets keys (as values, no longer scaled) and indexes; 0 when there are more than TL__DICT_MAX or
 * a dictionary cannot beat `worth` bytes, nor rows of `row_bytes` whole bytes each. */
static uint32_t dict_make(struct tl_encoder *e, const struct tl__plan *p, size_t worth,
                          uint32_t row_bytes)
{
    if (p->range < 2 || p->count < 8)
        return 0;
    uint32_t guess = sample_distinct(p->u, p->count);
    uint32_t sampled = p->count / (p->count / SAMPLE_ROWS + 1);
    if (guess > 32 && guess * 64 > sampled * 62)
        return 0; /* nearly all distinct */
    size_t least =
        TL__HEADER_BYTES * 4 + guess + tl__packed_size(p->count, tl__bit_width(guess - 1U));
    if (least >= worth && row_bytes <= (guess > 256 ? 2 : 1))
        return 0;
    uint32_t size = p->range < BITMAP_RANGE ? distinct_by_bitmap(e, p) : distinct_by_hash(e, p);
    for (uint32_t i = 0; i < size; i++)
        e->keys[i] = p->base + p->scale * e->keys[i];
    return size;
}

static size_t write_dict(struct tl_encoder *e, uint32_t size, uint32_t count, bool bytewise,
                         uint8_t *out)
{
    uint8_t *next = tl__put_header(out, TL_ENC_DICT, 0, 0);
    next = tl__put_narrow(next, size, 4);
    next += encode_leaf(e, e->keys, size, false, next);
    next += encode_leaf(e, e->indexes, count, bytewise, next);
    return tl__finish_payload(out, next);
}

/* ---- Runs ---- */

static uint32_t runs_make(struct tl_encoder *e, const uint64_t *values, uint32_t count)
{
    uint32_t runs = 0;
    for (uint32_t i = 0; i < count; i++) {
        /* Written each time, kept where the run ends: no branch. */
        e->run_values[runs] = values[i];
        e->run_ends[runs] = i + 1;
        runs += i + 1 == count || values[i] != values[i + 1];
    }
    return runs;
}

/* Uses the dictionary's work space. */
static size_t write_runs(struct tl_encoder *e, uint32_t runs, bool bytewise, uint8_t *out)
{
    uint8_t *next = tl__put_header(out, TL_ENC_RLE, 0, 0);
    next = tl__put_narrow(next, runs, 4);
    struct tl__plan p;
    plan_make(&p, e->run_values, runs, e->scaled);
    uint32_t row_bytes = tl__byte_width(p.range);
    size_t size = bytewise && p.range ? write_raw(&p, next) : write_leaf(&p, next);
    uint32_t entries = dict_make(e, &p, size, bytewise ? row_bytes : 0);
    if (entries && (!bytewise || (entries <= 256 ? 1U : 2U) < row_bytes)) {
        uint8_t *other = e->spare.bytes;
        size_t dict_size = write_dict(e, entries, runs, bytewise, other);
        if (dict_size < size - size / 32) {
            memcpy(next, other, dict_size);
            size = dict_size;
        }
    }
    next += size;
    next += encode_leaf(e, e->run_ends, runs, false, next);
    return tl__finish_payload(out, next);
}

/* ---- The zstd layer ---- */

size_t tl__zstd_deflate(struct tl_encoder *e, int level, const uint8_t *in, size_t size,
                        uint8_t *out, size_t capacity)
{
    if (!e->zstd) {
        e->zstd = ZSTD_createCCtx();
        if (!e->zstd)
            return 0;
        /* The payload says the size, its block has the checksum. */
        ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_contentSizeFlag, 0);
        ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_checksumFlag, 0);
        e->zstd_level = 0;
    }
    if (e->zstd_level != level) {
        ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_compressionLevel, level);
        e->zstd_level = level;
    }
    size_t got = ZSTD_compress2(e->zstd, out, capacity, in, size);
    return ZSTD_isError(got) ? 0 : got;
}

/* What zstd would make of a form, from a sample out of its middle. */
static size_t guess_deflated(struct tl_encoder *e, int level, const struct form *form)
{
    if (form->size <= ZSTD_SAMPLE + ZSTD_SAMPLE / 2)
        return tl__zstd_deflate(e, level, form->bytes, form->size, e->frames[0], ZSTD_OUT_MAX);
    const uint8_t *middle = form->bytes + (form->size - ZSTD_SAMPLE) / 2;
    size_t got = tl__zstd_deflate(e, level, middle, ZSTD_SAMPLE, e->frames[0], ZSTD_OUT_MAX);
    return got * form->size / ZSTD_SAMPLE;
}

/* The form with its body as a zstd frame in `out`; 0 when it failed. */
static size_t deflate_form(struct tl_encoder *e, int level, const struct form *form, uint8_t *out)
{
    size_t got =
        tl__zstd_deflate(e, level, form->bytes + TL__HEADER_BYTES, form->size - TL__HEADER_BYTES,
                         out + TL__HEADER_BYTES, ZSTD_OUT_MAX - TL__HEADER_BYTES);
    if (!got)
        return 0;
    memcpy(out, form->bytes, TL__HEADER_BYTES);
    out[1] = TL__LAYER_ZSTD;
    return got + TL__HEADER_BYTES;
}

/* The best frame over one of the forms when it saves enough over `plain` bytes: the two forms
 * whose samples promise most are tried. NULL when none does. */
static const uint8_t *best_deflated(struct tl_encoder *e, int level, size_t plain, size_t *size)
{
    size_t guess[FORMS];
    for (int i = 0; i < FORMS; i++) {
        const struct form *form = &e->forms[i];
        guess[i] = form->size ? guess_deflated(e, level, form) : SIZE_MAX;
        if (guess[i] == 0 || guess[i] > plain - plain / 32)
            guess[i] = SIZE_MAX;
    }
    const uint8_t *best = NULL;
    size_t best_size = plain - plain * ZSTD_GAIN_PERCENT / 100;
    uint8_t *out = e->frames[0], *spare = e->frames[1];
    for (int round = 0; round < 2; round++) {
        int pick = 0;
        for (int i = 1; i < FORMS; i++)
            if (guess[i] < guess[pick])
                pick = i;
        if (guess[pick] == SIZE_MAX)
            break;
        guess[pick] = SIZE_MAX;
        size_t got = deflate_form(e, level, &e->forms[pick], out);
        if (!got || got >= best_size)
            continue;
        best_size = got;
        best = out;
        out = spare;
    }
    *size = best_size;
    return best;
}

/* ---- Choosing ---- */

static enum tl_code put_payload(struct tl_buffer *out, const uint8_t *bytes, size_t size,
                                struct tl_status *st)
{
    tl_buffer_put(out, bytes, size);
    return tl_buffer_check(out, st);
}

static enum tl_code encode_numbers(struct tl_encoder *e, const uint64_t *values, uint32_t count,
                                   const struct tl_encode_options *opt, struct tl_buffer *out,
                                   struct tl_status *st)
{
    struct tl__plan p;
    plan_make(&p, values, count, e->scaled);
    struct form *forms = e->forms;
    for (int i = 0; i < FORMS; i++)
        forms[i].size = 0;
    forms[LEAF].size = write_leaf(&p, forms[LEAF].bytes);
    if (p.range == 0)
        return put_payload(out, forms[LEAF].bytes, forms[LEAF].size, st);

    bool zstd = opt->zstd_level > 0 && forms[LEAF].size >= ZSTD_BYTES_MIN;
    size_t classes = 0; /* size of the form in frames[2] */
    if (zstd)
        classes = tl__classes_encode(e, opt->zstd_level, &p, forms[LEAF].size, e->frames[2],
                                     ZSTD_OUT_MAX);
    uint32_t row_bytes = tl__byte_width(p.range);
    uint32_t entries = dict_make(e, &p, forms[LEAF].size, zstd ? row_bytes : 0);
    /* The values of the plan are gone once another leaf is written. */
    if (zstd && forms[LEAF].bytes[0] != TL_ENC_RAW)
        forms[RAW_BYTES].size = write_raw(&p, forms[RAW_BYTES].bytes);
    if (entries) {
        forms[DICT].size = write_dict(e, entries, count, false, forms[DICT].bytes);
        if (zstd && (entries <= 256 ? 1U : 2U) < row_bytes)
            forms[DICT_BYTES].size = write_dict(e, entries, count, true, forms[DICT_BYTES].bytes);
    }
    uint32_t runs = p.changes + 1;
    if (runs <= count / 2) {
        uint32_t made = runs_make(e, values, count);
        tl_assert(made == runs);
        forms[RLE].size = write_runs(e, runs, false, forms[RLE].bytes);
        if (zstd)
            forms[RLE_BYTES].size = write_runs(e, runs, true, forms[RLE_BYTES].bytes);
    }

    /* Close sizes go to what decodes faster. */
    int best = LEAF;
    if (forms[RLE].size && forms[RLE].size < forms[best].size + forms[best].size / 64)
        best = RLE;
    if (forms[DICT].size && forms[DICT].size < forms[best].size - forms[best].size / 32)
        best = DICT;
    if (zstd && forms[best].size >= ZSTD_BYTES_MIN) {
        for (int i = LEAF; i <= RLE; i++)
            if (i != best)
                forms[i].size = 0;
        size_t size;
        const uint8_t *frame = best_deflated(e, opt->zstd_level, forms[best].size, &size);
        if (classes && classes <= forms[best].size - forms[best].size / 32 &&
            (!frame || classes < size))
            return put_payload(out, e->frames[2], classes, st);
        if (frame)
            return put_payload(out, frame, size, st);
    }
    return put_payload(out, forms[best].bytes, forms[best].size, st);
}

static enum tl_code check_input(uint32_t count, const struct tl_encode_options *opt,
                                struct tl_status *st)
{
    tl_assert(opt->zstd_level >= 0 && opt->zstd_level <= 19);
    tl_assert(opt->effort == TL_EFFORT_BEST || opt->effort == TL_EFFORT_FAST);
    if (count > ROWS_MAX)
        return TL_FAIL(st, TL_INVALID, "%u rows in one payload; the limit is %d", count, ROWS_MAX);
    return TL_OK;
}

static bool is_fast(uint32_t count, const struct tl_encode_options *opt)
{
    return opt->effort == TL_EFFORT_FAST && count > 0;
}

/* TL_EFFORT_FAST: one form, and zstd over it where it is asked for and pays. */
static enum tl_code encode_fast(struct tl_encoder *e, const void *values, uint32_t width,
                                uint32_t count, const struct tl_encode_options *opt,
                                struct tl_buffer *out, struct tl_status *st)
{
    struct form *form = &e->forms[LEAF];
    form->size = tl__encode_fast(values, width, count, e->run_values, e->run_ends, form->bytes);
    if (opt->zstd_level > 0 && form->size >= ZSTD_BYTES_MIN) {
        size_t got = deflate_form(e, opt->zstd_level, form, e->frames[0]);
        if (got && got < form->size - form->size * ZSTD_GAIN_PERCENT / 100)
            return put_payload(out, e->frames[0], got, st);
    }
    return put_payload(out, form->bytes, form->size, st);
}

enum tl_code tl_encode_i64(struct tl_encoder *e, const int64_t *values, uint32_t count,
                           const struct tl_encode_options *opt, struct tl_buffer *out,
                           struct tl_status *st)
{
    enum tl_code rc = check_input(count, opt, st);
    if (rc)
        return rc;
    if (is_fast(count, opt))
        return encode_fast(e, values, 8, count, opt, out, st);
    return encode_numbers(e, (const uint64_t *)values, count, opt, out, st);
}

enum tl_code tl_encode_u32(struct tl_encoder *e, const uint32_t *values, uint32_t count,
                           const struct tl_encode_options *opt, struct tl_buffer *out,
                           struct tl_status *st)
{
    enum tl_code rc = check_input(count, opt, st);
    if (rc)
        return rc;
    if (is_fast(count, opt))
        return encode_fast(e, values, 4, count, opt, out, st);
    for (uint32_t i = 0; i < count; i++)
        e->values[i] = values[i];
    return encode_numbers(e, e->values, count, opt, out, st);
}

enum tl_code tl_encode_u8(struct tl_encoder *e, const uint8_t *values, uint32_t count,
                          const struct tl_encode_options *opt, struct tl_buffer *out,
                          struct tl_status *st)
{
    enum tl_code rc = check_input(count, opt, st);
    if (rc)
        return rc;
    if (is_fast(count, opt))
        return encode_fast(e, values, 1, count, opt, out, st);
    for (uint32_t i = 0; i < count; i++)
        e->values[i] = values[i];
    return encode_numbers(e, e->values, count, opt, out, st);
}

enum tl_code tl_encode_f64(struct tl_encoder *e, const double *values, uint32_t count,
                           const struct tl_encode_options *opt, struct tl_buffer *out,
                           struct tl_status *st)
{
    enum tl_code rc = check_input(count, opt, st);
    if (rc)
        return rc;
    if (is_fast(count, opt))
        return encode_fast(e, values, 8, count, opt, out, st);
    if (count)
        memcpy(e->values, values, count * sizeof(*values));
    return encode_numbers(e, e->values, count, opt, out, st);
}

/* ---- Bitmaps ---- */

/* The row where each run of equal bits ends, in run_ends; 0 when there are more than `max`. */
static uint32_t bit_runs_make(struct tl_encoder *e, const uint64_t *bits, uint32_t count,
                              uint32_t max)
{
    uint32_t runs = 0;
    for (uint32_t row = 0; row < count;) {
        uint64_t flip = tl_bit_get(bits, row) ? UINT64_MAX : 0; /* ones where the bit differs */
        uint32_t end = row;
        do {
            uint64_t differs = (bits[end / 64] ^ flip) >> (end % 64);
            end = differs ? end + (uint32_t)__builtin_ctzll(differs) : (end / 64 + 1) * 64;
            if (differs)
                break;
        } while (end < count);
        row = end < count ? end : count;
        if (runs == max)
            return 0;
        e->run_ends[runs++] = row;
    }
    return runs;
}

enum tl_code tl_encode_bitmap(struct tl_encoder *e, const uint64_t *bits, uint32_t count,
                              const struct tl_encode_options *opt, struct tl_buffer *out,
                              struct tl_status *st)
{
    enum tl_code rc = check_input(count, opt, st);
    if (rc)
        return rc;
    struct form *raw = &e->forms[LEAF], *rle = &e->forms[RLE];
    for (int i = 0; i < FORMS; i++)
        e->forms[i].size = 0;
    bool first = count && tl_bit_get(bits, 0);
    uint32_t bytes = (count + 7) / 8;
    /* A run costs at least two bits; many runs are not worth a look. */
    uint32_t runs = bit_runs_make(e, bits, count, count / 4 + 1);
    if (count == 0 || runs == 1) {
        uint8_t *next = tl__put_header(raw->bytes, TL_ENC_BITS_SAME, first, 0);
        return put_payload(out, raw->bytes, tl__finish_payload(raw->bytes, next), st);
    }
    uint8_t *next = tl__put_header(raw->bytes, TL_ENC_BITS_RAW, 0, 0);
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words lie as their bytes do");
    memcpy(next, bits, bytes);
    next += bytes;
    if (count % 8)
        next[-1] &= (uint8_t)((1U << (count % 8)) - 1);
    raw->size = tl__finish_payload(raw->bytes, next);
    if (runs) {
        next = tl__put_header(rle->bytes, TL_ENC_BITS_RUNS, first, 0);
        next = tl__put_narrow(next, runs, 4);
        next += encode_leaf(e, e->run_ends, runs, false, next);
        rle->size = tl__finish_payload(rle->bytes, next);
    }
    const struct form *best = rle->size && rle->size < raw->size ? rle : raw;
    if (opt->zstd_level > 0 && best->size >= ZSTD_BYTES_MIN) {
        size_t size;
        const uint8_t *frame = best_deflated(e, opt->zstd_level, best->size, &size);
        if (frame)
            return put_payload(out, frame, size, st);
    }
    return put_payload(out, best->bytes, best->size, st);
}
