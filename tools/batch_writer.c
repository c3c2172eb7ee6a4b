/*
 * tools/batch_writer.c: the encoder of tally.v1.Batch (docs/WIRE.md).
 *
 * Field numbers are those of wire/proto/tally.proto. A column whose rows are all NULL is left out
 * (a missing column is NULL); a TEXT column whose every row brought a new string is sent plain,
 * without codes, since the codes would only count upwards.
 */
#include "tools/batch_writer.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"

enum {
    INT_BYTES_MAX = 10, /* a 64-bit varint */
    CODE_BYTES_MAX = 5,
    BLOB_BYTES_START = 4096,
    SLOTS_START = 1024,
    /* protobuf tags: field << 3 | wire type */
    BATCH_TABLE = 1 << 3 | 2,
    BATCH_ROWS = 2 << 3 | 0,
    BATCH_COLUMNS = 3 << 3 | 2,
    COLUMN_NAME = 1 << 3 | 2,
    COLUMN_VALIDITY = 2 << 3 | 2,
    COLUMN_INTS = 3 << 3 | 2,
    COLUMN_DELTA = 4 << 3 | 0,
    COLUMN_DOUBLES = 5 << 3 | 2,
    COLUMN_BOOLS = 6 << 3 | 2,
    COLUMN_BLOB = 7 << 3 | 2,
    COLUMN_LENGTHS = 8 << 3 | 2,
    COLUMN_CODES = 9 << 3 | 2
};

static bool is_text(struct tl_type type)
{
    return type.kind == TL_TEXT || type.kind == TL_PROPS;
}

static size_t value_bytes_max(struct tl_type type)
{
    if (is_text(type))
        return CODE_BYTES_MAX;
    if (type.kind == TL_BOOLEAN)
        return 1;
    return type.kind == TL_DOUBLE ? sizeof(double) : INT_BYTES_MAX;
}

static bool column_init(struct tl_batch_column *c, const struct tl_batch_column_def *def,
                        uint32_t rows_max)
{
    c->name = strdup(def->name);
    c->type = def->type;
    c->delta = def->type.kind == TL_TIMESTAMPTZ || def->type.kind == TL_TIMESTAMP ||
               def->type.kind == TL_DATE;
    c->validity_size = (rows_max + 7) / 8;
    c->validity = malloc(c->validity_size);
    c->values = malloc(rows_max * value_bytes_max(def->type));
    if (!c->name || !c->validity || !c->values)
        return false;
    if (!is_text(def->type))
        return true;
    c->blob_capacity = BLOB_BYTES_START;
    c->blob = malloc(c->blob_capacity);
    c->ends = malloc(rows_max * sizeof(*c->ends));
    c->hashes = malloc(rows_max * sizeof(*c->hashes));
    c->slots = calloc(SLOTS_START, sizeof(*c->slots));
    c->slot_mask = SLOTS_START - 1;
    return c->blob && c->ends && c->hashes && c->slots;
}

static void column_deinit(struct tl_batch_column *c)
{
    free(c->name);
    free(c->validity);
    free(c->values);
    free(c->blob);
    free(c->ends);
    free(c->hashes);
    free(c->slots);
}

enum tl_code tl_batch_writer_new(const char *table, const struct tl_batch_column_def *defs,
                                 uint32_t count, uint32_t rows_max, struct tl_batch_writer **out,
                                 struct tl_status *st)
{
    tl_assert(rows_max > 0 && count > 0);
    if (count > TL_BATCH_WRITER_COLUMNS_MAX)
        return TL_FAIL(st, TL_LIMIT, "%u columns; a batch holds at most %d", count,
                       TL_BATCH_WRITER_COLUMNS_MAX);
    struct tl_batch_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return TL_FAIL(st, TL_LIMIT, "no memory for a batch");
    w->table = strdup(table);
    w->rows_max = rows_max;
    w->columns = calloc(count, sizeof(*w->columns));
    bool ok = w->table && w->columns;
    for (uint32_t i = 0; ok && i < count; i++) {
        w->column_count = i + 1;
        ok = column_init(&w->columns[i], &defs[i], rows_max);
    }
    if (!ok) {
        tl_batch_writer_free(w);
        return TL_FAIL(st, TL_LIMIT, "no memory for a batch of %u rows", rows_max);
    }
    *out = w;
    return TL_OK;
}

void tl_batch_writer_free(struct tl_batch_writer *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->column_count; i++)
        column_deinit(&w->columns[i]);
    free(w->columns);
    free(w->table);
    free(w);
}

void tl_batch_fill_nulls(struct tl_batch_column *c, uint32_t rows)
{
    if (c->rows >= rows)
        return;
    if (!c->nulls) { /* the bitmap holds an earlier batch's bits until now */
        memset(c->validity, 0, c->validity_size);
        memset(c->validity, 0xff, c->rows / 8);
        if (c->rows & 7)
            c->validity[c->rows / 8] = (uint8_t)((1u << (c->rows & 7)) - 1);
        c->nulls = true;
    }
    size_t width = c->type.kind == TL_DOUBLE ? sizeof(double) : 1; /* a varint 0 is one byte */
    size_t size = (size_t)(rows - c->rows) * width;
    memset(c->values + c->values_size, 0, size);
    c->values_size += size;
    c->rows = rows;
}

void tl_batch_put_double(struct tl_batch_writer *w, struct tl_batch_column *c, double v)
{
    tl_batch_mark_valid(w, c);
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    tl_put_u64le(c->values + c->values_size, bits);
    c->values_size += sizeof(v);
}

uint32_t tl_batch_intern_new(struct tl_batch_writer *w, struct tl_batch_column *c,
                             struct tl_slice s)
{
    if (c->dict_count >= w->rows_max) { /* more values than rows: a caller's mistake */
        w->failed = true;
        return 0;
    }
    if (c->blob_size + s.size > c->blob_capacity) {
        size_t capacity = (c->blob_size + s.size) * 2;
        uint8_t *blob = realloc(c->blob, capacity);
        if (!blob) {
            w->failed = true;
            return 0;
        }
        c->blob = blob;
        c->blob_capacity = capacity;
    }
    if (s.size)
        memcpy(c->blob + c->blob_size, s.data, s.size);
    c->blob_size += s.size;
    c->ends[c->dict_count] = (uint32_t)c->blob_size;
    return c->dict_count++;
}

static void slots_grow(struct tl_batch_writer *w, struct tl_batch_column *c)
{
    uint32_t count = (c->slot_mask + 1) * 2;
    uint32_t *slots = calloc(count, sizeof(*slots));
    if (!slots) {
        w->failed = true;
        return;
    }
    for (uint32_t code = 0; code < c->dict_count; code++) {
        uint32_t at = c->hashes[code] & (count - 1);
        while (slots[at])
            at = (at + 1) & (count - 1);
        slots[at] = code + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->slot_mask = count - 1;
}

uint32_t tl_batch_intern(struct tl_batch_writer *w, struct tl_batch_column *c, struct tl_slice s)
{
    uint32_t hash = (uint32_t)XXH3_64bits(s.data, s.size);
    uint32_t at = hash & c->slot_mask;
    for (; c->slots[at]; at = (at + 1) & c->slot_mask) {
        uint32_t code = c->slots[at] - 1;
        uint32_t begin = code ? c->ends[code - 1] : 0;
        if (c->hashes[code] == hash && c->ends[code] - begin == s.size &&
            (s.size == 0 || memcmp(c->blob + begin, s.data, s.size) == 0))
            return code;
    }
    uint32_t code = tl_batch_intern_new(w, c, s);
    if (w->failed)
        return 0;
    c->hashes[code] = hash;
    c->slots[at] = code + 1;
    if (c->dict_count * 2 > c->slot_mask)
        slots_grow(w, c);
    return code;
}

void tl_batch_put_text(struct tl_batch_writer *w, struct tl_batch_column *c, struct tl_slice s)
{
    tl_batch_put_code(w, c, tl_batch_intern(w, c, s));
}

static void column_clear(struct tl_batch_column *c)
{
    if (c->dict_count && c->slots)
        memset(c->slots, 0, ((size_t)c->slot_mask + 1) * sizeof(*c->slots));
    c->nulls = false;
    c->rows = c->valid = c->dict_count = 0;
    c->previous = 0;
    c->values_size = c->blob_size = 0;
}

void tl_batch_writer_clear(struct tl_batch_writer *w)
{
    for (uint32_t i = 0; i < w->column_count; i++)
        column_clear(&w->columns[i]);
    w->rows = 0;
    w->failed = false;
}

size_t tl_batch_writer_bytes(const struct tl_batch_writer *w)
{
    size_t size = 32;
    for (uint32_t i = 0; i < w->column_count; i++) {
        const struct tl_batch_column *c = &w->columns[i];
        size += c->values_size + c->blob_size + 2 * (size_t)c->dict_count + (c->rows + 7) / 8 + 32;
    }
    return size;
}

static size_t varint_size(uint64_t v)
{
    size_t size = 1;
    for (; v >= 0x80; v >>= 7)
        size++;
    return size;
}

/* What a length-delimited field takes: tag, length, bytes. All tags here are one byte. */
static size_t field_size(size_t size)
{
    return 1 + varint_size(size) + size;
}

static void put_field(struct tl_buffer *out, uint8_t tag, const void *data, size_t size)
{
    tl_buffer_put_u8(out, tag);
    tl_buffer_put_varint(out, size);
    tl_buffer_put(out, data, size);
}

static size_t lengths_size(const struct tl_batch_column *c)
{
    size_t size = 0;
    uint32_t begin = 0;
    for (uint32_t i = 0; i < c->dict_count; begin = c->ends[i++])
        size += varint_size(c->ends[i] - begin);
    return size;
}

static uint8_t values_tag(struct tl_type type)
{
    if (type.kind == TL_BOOLEAN)
        return COLUMN_BOOLS;
    return type.kind == TL_DOUBLE ? COLUMN_DOUBLES : COLUMN_INTS;
}

static void column_put(const struct tl_batch_column *c, struct tl_buffer *out)
{
    size_t name_size = strlen(c->name);
    size_t validity_size = c->nulls ? (c->rows + 7) / 8 : 0;
    bool plain = c->dict_count == c->rows;
    size_t lengths = is_text(c->type) ? lengths_size(c) : 0;
    size_t size = field_size(name_size);
    if (validity_size)
        size += field_size(validity_size);
    if (is_text(c->type)) {
        size += field_size(c->blob_size) + field_size(lengths);
        size += plain ? 0 : field_size(c->values_size);
    } else {
        size += field_size(c->values_size) + (c->delta ? 2 : 0);
    }

    tl_buffer_put_u8(out, BATCH_COLUMNS);
    tl_buffer_put_varint(out, size);
    size_t start = out->size;
    put_field(out, COLUMN_NAME, c->name, name_size);
    if (validity_size)
        put_field(out, COLUMN_VALIDITY, c->validity, validity_size);
    if (is_text(c->type)) {
        put_field(out, COLUMN_BLOB, c->blob, c->blob_size);
        tl_buffer_put_u8(out, COLUMN_LENGTHS);
        tl_buffer_put_varint(out, lengths);
        uint8_t *p = tl_buffer_reserve(out, lengths);
        if (!p)
            return;
        uint32_t begin = 0;
        for (uint32_t i = 0; i < c->dict_count; begin = c->ends[i++])
            p = tl_batch_varint(p, c->ends[i] - begin);
        out->size += lengths;
        if (!plain)
            put_field(out, COLUMN_CODES, c->values, c->values_size);
    } else {
        put_field(out, values_tag(c->type), c->values, c->values_size);
        if (c->delta) {
            tl_buffer_put_u8(out, COLUMN_DELTA);
            tl_buffer_put_u8(out, 1);
        }
    }
    tl_assert(out->failed || out->size - start == size);
}

enum tl_code tl_batch_writer_finish(struct tl_batch_writer *w, struct tl_buffer *out,
                                    struct tl_status *st)
{
    if (w->failed) {
        tl_batch_writer_clear(w);
        return TL_FAIL(st, TL_LIMIT, "no memory for the strings of a batch");
    }
    put_field(out, BATCH_TABLE, w->table, strlen(w->table));
    tl_buffer_put_u8(out, BATCH_ROWS);
    tl_buffer_put_varint(out, w->rows);
    for (uint32_t i = 0; i < w->column_count; i++) {
        struct tl_batch_column *c = &w->columns[i];
        if (c->valid == 0)
            continue;
        tl_batch_fill_nulls(c, w->rows);
        column_put(c, out);
    }
    tl_batch_writer_clear(w);
    return tl_buffer_check(out, st);
}
