/*
 * wire/batch_builder.c: see batch_builder.h.
 *
 * Each column holds one 64-bit word per row (an integer, a double's bits, or a code of its text)
 * and a bit per row for validity. Texts of a column stand once in a blob; an open-addressing
 * table finds them again. Words of NULL rows are 0.
 */
#include "wire/batch_builder.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/vector.h"
#include "wire/pb.h"

enum { FIRST_ROWS = 64, FIRST_SLOTS = 64, COLUMN_NAME_BYTES_MAX = 1024, MEMORY_FACTOR = 4 };

struct column {
    struct tl_slice name; /* own memory */
    enum tl_batch_form form;
    bool set;       /* in the row at hand */
    bool set_null;  /* … to NULL */
    uint64_t word;  /* its value, unless TEXT */
    size_t text_at; /* TEXT: in row_text */
    size_t text_size;
    uint64_t *words; /* per finished row */
    uint64_t *valid;
    uint32_t capacity; /* rows */
    uint32_t filled;   /* rows before this one were never touched: all NULL */
    uint32_t valid_count;
    /* TEXT: the distinct values */
    struct tl_buffer blob;
    uint32_t *ends; /* of value i in the blob */
    uint32_t *hashes;
    uint32_t value_count, value_capacity;
    uint32_t *slots; /* 0: empty, else code + 1 */
    uint32_t slot_count;
};

struct tl_batch_builder {
    struct tl_buffer table;
    uint32_t rows, rows_max;
    size_t bytes, bytes_max; /* of values */
    size_t memory;           /* of the columns' words, at most MEMORY_FACTOR * bytes_max */
    struct column *columns;
    uint32_t column_count, column_capacity;
    struct tl_buffer row_text; /* texts of the row at hand */
    bool row_failed;
    struct tl_buffer scratch; /* of encode */
};

enum tl_code tl_batch_builder_new(struct tl_slice table, uint32_t rows_max, size_t bytes_max,
                                  struct tl_batch_builder **out, struct tl_status *st)
{
    struct tl_batch_builder *b = calloc(1, sizeof(*b));
    if (!b)
        return TL_FAIL(st, TL_LIMIT, "no memory for a batch");
    b->rows_max = rows_max;
    b->bytes_max = bytes_max;
    tl_buffer_init(&b->table, "table name", COLUMN_NAME_BYTES_MAX);
    tl_buffer_init(&b->row_text, "row", bytes_max);
    tl_buffer_init(&b->scratch, "batch", bytes_max * 2 + 4096);
    tl_buffer_put(&b->table, table.data, table.size);
    enum tl_code rc = tl_buffer_check(&b->table, st);
    if (rc) {
        tl_batch_builder_free(b);
        return rc;
    }
    *out = b;
    return TL_OK;
}

void tl_batch_builder_free(struct tl_batch_builder *b)
{
    if (!b)
        return;
    for (uint32_t i = 0; i < b->column_count; i++) {
        struct column *c = &b->columns[i];
        free((void *)(uintptr_t)c->name.data);
        free(c->words);
        free(c->valid);
        free(c->ends);
        free(c->hashes);
        free(c->slots);
        tl_buffer_deinit(&c->blob);
    }
    free(b->columns);
    tl_buffer_deinit(&b->table);
    tl_buffer_deinit(&b->row_text);
    tl_buffer_deinit(&b->scratch);
    free(b);
}

bool tl_batch_builder_find(const struct tl_batch_builder *b, struct tl_slice name, uint32_t *index,
                           enum tl_batch_form *form)
{
    for (uint32_t i = 0; i < b->column_count; i++) {
        if (tl_slice_eq(b->columns[i].name, name)) {
            *index = i;
            *form = b->columns[i].form;
            return true;
        }
    }
    return false;
}

enum tl_code tl_batch_builder_column(struct tl_batch_builder *b, struct tl_slice name,
                                     enum tl_batch_form form, uint32_t *out, struct tl_status *st)
{
    enum tl_batch_form has;
    uint32_t index;
    if (tl_batch_builder_find(b, name, &index, &has)) {
        if (has != form)
            return TL_FAIL(st, TL_INVALID, "column \"%.*s\" has values of two forms",
                           (int)(name.size < 64 ? name.size : 64), (const char *)name.data);
        *out = index;
        return TL_OK;
    }
    if (name.size == 0 || name.size > COLUMN_NAME_BYTES_MAX)
        return TL_FAIL(st, TL_INVALID, "a column name has %zu bytes, 1 to %d are allowed",
                       name.size, COLUMN_NAME_BYTES_MAX);
    if (b->column_count == TL_BATCH_COLUMNS_MAX)
        return TL_FAIL(st, TL_LIMIT, "a batch has at most %d columns", TL_BATCH_COLUMNS_MAX);
    if (b->column_count == b->column_capacity) {
        uint32_t capacity = b->column_capacity ? b->column_capacity * 2 : 16;
        struct column *columns = realloc(b->columns, capacity * sizeof(*columns));
        if (!columns)
            return TL_FAIL(st, TL_LIMIT, "no memory for a column");
        b->columns = columns;
        b->column_capacity = capacity;
    }
    uint8_t *copy = malloc(name.size);
    if (!copy)
        return TL_FAIL(st, TL_LIMIT, "no memory for a column");
    memcpy(copy, name.data, name.size);
    struct column *c = &b->columns[b->column_count];
    *c = (struct column){.name = tl_slice_of(copy, name.size), .form = form};
    tl_buffer_init(&c->blob, "texts of a column", b->bytes_max);
    *out = b->column_count++;
    return TL_OK;
}

/* ---- rows ---- */

static struct column *column_of(struct tl_batch_builder *b, uint32_t i, enum tl_batch_form form)
{
    tl_assert(i < b->column_count && b->columns[i].form == form);
    struct column *c = &b->columns[i];
    c->set = true;
    c->set_null = false;
    return c;
}

void tl_batch_put_int(struct tl_batch_builder *b, uint32_t column, int64_t v)
{
    column_of(b, column, TL_BATCH_INT)->word = (uint64_t)v;
}

void tl_batch_put_double(struct tl_batch_builder *b, uint32_t column, double v)
{
    memcpy(&column_of(b, column, TL_BATCH_DOUBLE)->word, &v, sizeof(v));
}

void tl_batch_put_bool(struct tl_batch_builder *b, uint32_t column, bool v)
{
    column_of(b, column, TL_BATCH_BOOL)->word = v;
}

void tl_batch_put_text(struct tl_batch_builder *b, uint32_t column, struct tl_slice v)
{
    struct column *c = column_of(b, column, TL_BATCH_TEXT);
    c->text_at = b->row_text.size;
    c->text_size = v.size;
    tl_buffer_put(&b->row_text, v.data, v.size);
}

void tl_batch_put_null(struct tl_batch_builder *b, uint32_t column)
{
    tl_assert(column < b->column_count);
    b->columns[column].set = b->columns[column].set_null = true;
}

static bool grow_rows(struct tl_batch_builder *b, struct column *c, uint32_t rows)
{
    if (rows <= c->capacity)
        return true;
    uint32_t capacity = c->capacity ? c->capacity * 2 : FIRST_ROWS;
    if (capacity < rows)
        capacity = (rows + 63) & ~63u;
    size_t more = (size_t)(capacity - c->capacity) * sizeof(*c->words);
    if (more > b->bytes_max * MEMORY_FACTOR - b->memory)
        return false;
    uint64_t *words = realloc(c->words, capacity * sizeof(*words));
    if (words)
        c->words = words;
    uint64_t *valid = realloc(c->valid, tl_bit_words(capacity) * sizeof(*valid));
    if (valid)
        c->valid = valid;
    if (!words || !valid)
        return false;
    memset(c->words + c->capacity, 0, (capacity - c->capacity) * sizeof(*words));
    memset(c->valid + c->capacity / 64, 0,
           (tl_bit_words(capacity) - c->capacity / 64) * sizeof(*valid));
    c->capacity = capacity;
    b->memory += more;
    return true;
}

/* `size` bytes of a buffer, which may have no memory yet when size is 0. */
static struct tl_slice part_of(const struct tl_buffer *b, size_t from, size_t size)
{
    return tl_slice_of(size ? b->data + from : NULL, size);
}

static struct tl_slice value_at(const struct column *c, uint32_t code)
{
    uint32_t from = code ? c->ends[code - 1] : 0;
    return part_of(&c->blob, from, c->ends[code] - from);
}

static bool grow_slots(struct column *c)
{
    uint32_t count = c->slot_count ? c->slot_count * 2 : FIRST_SLOTS;
    uint32_t *slots = calloc(count, sizeof(*slots));
    if (!slots)
        return false;
    for (uint32_t code = 0; code < c->value_count; code++) {
        uint32_t at = c->hashes[code] & (count - 1);
        while (slots[at])
            at = (at + 1) & (count - 1);
        slots[at] = code + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->slot_count = count;
    return true;
}

/* The code of a text, new if it must be; UINT32_MAX: no room. */
static uint32_t intern(struct column *c, struct tl_slice v)
{
    uint32_t hash = (uint32_t)tl_hash64(v.data, v.size);
    if (c->value_count * 4 >= c->slot_count * 3 && !grow_slots(c))
        return UINT32_MAX;
    uint32_t at = hash & (c->slot_count - 1);
    for (; c->slots[at]; at = (at + 1) & (c->slot_count - 1)) {
        uint32_t code = c->slots[at] - 1;
        if (c->hashes[code] == hash && tl_slice_eq(value_at(c, code), v))
            return code;
    }
    if (c->value_count == c->value_capacity) {
        uint32_t capacity = c->value_capacity ? c->value_capacity * 2 : FIRST_ROWS;
        uint32_t *ends = realloc(c->ends, capacity * sizeof(*ends));
        if (ends)
            c->ends = ends;
        uint32_t *hashes = realloc(c->hashes, capacity * sizeof(*hashes));
        if (hashes)
            c->hashes = hashes;
        if (!ends || !hashes)
            return UINT32_MAX;
        c->value_capacity = capacity;
    }
    tl_buffer_put(&c->blob, v.data, v.size);
    if (c->blob.failed) {
        c->blob.failed = false;
        return UINT32_MAX;
    }
    c->ends[c->value_count] = (uint32_t)c->blob.size;
    c->hashes[c->value_count] = hash;
    c->slots[at] = c->value_count + 1;
    return c->value_count++;
}

void tl_batch_row_drop(struct tl_batch_builder *b)
{
    for (uint32_t i = 0; i < b->column_count; i++)
        b->columns[i].set = false;
    tl_buffer_clear(&b->row_text);
}

/* Bytes that a value adds to an encoding, roughly. */
static size_t value_bytes(const struct column *c)
{
    switch (c->form) {
    case TL_BATCH_INT:
        return tl_pb_varint_size(tl_pb_zigzag((int64_t)c->word));
    case TL_BATCH_DOUBLE:
        return sizeof(double);
    case TL_BATCH_BOOL:
        return 1;
    default:
        return 2;
    }
}

enum tl_code tl_batch_row_end(struct tl_batch_builder *b, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    if (b->rows == b->rows_max)
        rc = TL_FAIL(st, TL_LIMIT, "a batch has at most %u rows", b->rows_max);
    else if (b->row_text.failed)
        rc = TL_FAIL(st, TL_LIMIT, "a row exceeds the limit of %zu bytes", b->bytes_max);
    size_t bytes = 0;
    for (uint32_t i = 0; rc == TL_OK && i < b->column_count; i++) {
        struct column *c = &b->columns[i];
        if (!c->set || c->set_null)
            bytes++; /* an entry and a bit */
        else
            bytes += value_bytes(c);
        if (c->set && !grow_rows(b, c, b->rows + 1))
            rc = TL_FAIL(st, TL_LIMIT, "no memory for a batch");
    }
    if (rc == TL_OK && b->bytes + bytes + b->row_text.size > b->bytes_max)
        rc = TL_FAIL(st, TL_LIMIT, "a batch exceeds the limit of %zu bytes", b->bytes_max);
    for (uint32_t i = 0; rc == TL_OK && i < b->column_count; i++) {
        struct column *c = &b->columns[i];
        if (!c->set || c->set_null)
            continue;
        if (c->form == TL_BATCH_TEXT) {
            size_t before = c->blob.size;
            uint32_t code = intern(c, part_of(&b->row_text, c->text_at, c->text_size));
            if (code == UINT32_MAX) {
                rc = TL_FAIL(st, TL_LIMIT, "no memory for a batch");
                break;
            }
            bytes += c->blob.size - before;
            c->word = code;
        }
        c->words[b->rows] = c->word;
        tl_bit_set(c->valid, b->rows);
        c->valid_count++;
        c->filled = b->rows + 1;
    }
    if (rc == TL_OK) {
        b->rows++;
        b->bytes += bytes;
    } else {
        /* (a word beyond b->rows may be set: clear it again) */
        for (uint32_t i = 0; i < b->column_count; i++) {
            struct column *c = &b->columns[i];
            if (b->rows < c->capacity && c->filled == b->rows + 1) {
                c->words[b->rows] = 0;
                tl_bit_clear(c->valid, b->rows);
                c->valid_count--;
                c->filled = b->rows;
            }
        }
    }
    tl_batch_row_drop(b);
    return rc;
}

struct tl_slice tl_batch_builder_name(const struct tl_batch_builder *b, uint32_t column)
{
    return column < b->column_count ? b->columns[column].name : tl_slice_of(NULL, 0);
}

uint32_t tl_batch_builder_rows(const struct tl_batch_builder *b)
{
    return b->rows;
}

size_t tl_batch_builder_bytes(const struct tl_batch_builder *b)
{
    return b->bytes;
}

void tl_batch_builder_reset(struct tl_batch_builder *b)
{
    tl_batch_row_drop(b);
    for (uint32_t i = 0; i < b->column_count; i++) {
        struct column *c = &b->columns[i];
        if (c->filled) {
            memset(c->words, 0, c->filled * sizeof(*c->words));
            memset(c->valid, 0, tl_bit_words(c->filled) * sizeof(*c->valid));
        }
        c->filled = c->valid_count = 0;
        tl_buffer_clear(&c->blob);
        c->value_count = 0;
        if (c->slots)
            memset(c->slots, 0, c->slot_count * sizeof(*c->slots));
    }
    b->rows = 0;
    b->bytes = 0;
}

/* ---- encoding ---- */

enum {
    BATCH_TABLE = 1,
    BATCH_ROWS = 2,
    BATCH_COLUMNS = 3,
    COLUMN_NAME = 1,
    COLUMN_VALIDITY = 2,
    COLUMN_INTS = 3,
    COLUMN_DELTA = 4,
    COLUMN_DOUBLES = 5,
    COLUMN_BOOLS = 6,
    COLUMN_BLOB = 7,
    COLUMN_LENGTHS = 8,
    COLUMN_CODES = 9
};

static void put_ints(struct column *c, uint32_t rows, struct tl_buffer *out)
{
    /* A NULL row repeats the value before it: its delta is 0, and ignored anyway. */
    size_t plain = 0, delta = 0;
    uint64_t last = 0;
    for (uint32_t i = 0; i < rows; i++) {
        bool valid = tl_bit_get(c->valid, i);
        plain += tl_pb_varint_size(tl_pb_zigzag((int64_t)c->words[i]));
        delta += valid ? tl_pb_varint_size(tl_pb_zigzag((int64_t)(c->words[i] - last))) : 1;
        last = valid ? c->words[i] : last;
    }
    bool use_delta = delta < plain;
    size_t size = use_delta ? delta : plain;
    tl_pb_put_head(out, COLUMN_INTS, size);
    uint8_t *p = tl_buffer_reserve(out, size);
    if (!p)
        return;
    last = 0;
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t v = c->words[i];
        if (use_delta) {
            v = tl_bit_get(c->valid, i) ? v : last;
            p = tl_pb_write_varint(p, tl_pb_zigzag((int64_t)(v - last)));
            last = v;
        } else {
            p = tl_pb_write_varint(p, tl_pb_zigzag((int64_t)v));
        }
    }
    out->size += size;
    tl_pb_put_uint(out, COLUMN_DELTA, use_delta);
}

static void put_fixed(struct column *c, uint32_t rows, struct tl_buffer *out)
{
    bool doubles = c->form == TL_BATCH_DOUBLE;
    size_t size = (size_t)rows * (doubles ? sizeof(double) : 1);
    tl_pb_put_head(out, doubles ? COLUMN_DOUBLES : COLUMN_BOOLS, size);
    uint8_t *p = tl_buffer_reserve(out, size);
    if (!p)
        return;
    for (uint32_t i = 0; i < rows; i++) {
        if (doubles)
            tl_put_u64le(p + 8 * (size_t)i, c->words[i]);
        else
            p[i] = (uint8_t)c->words[i];
    }
    out->size += size;
}

static size_t length_of(const struct column *c, uint32_t code)
{
    return c->ends[code] - (code ? c->ends[code - 1] : 0);
}

static void put_texts(struct column *c, uint32_t rows, struct tl_buffer *out)
{
    size_t dict_lengths = 0, codes = 0, plain_lengths = 0, plain_blob = 0;
    for (uint32_t code = 0; code < c->value_count; code++)
        dict_lengths += tl_pb_varint_size(length_of(c, code));
    for (uint32_t i = 0; i < rows; i++) {
        bool valid = tl_bit_get(c->valid, i);
        size_t n = valid ? length_of(c, (uint32_t)c->words[i]) : 0;
        codes += tl_pb_varint_size(c->words[i]);
        plain_lengths += tl_pb_varint_size(n);
        plain_blob += n;
    }
    bool dict = dict_lengths + codes + c->blob.size < plain_lengths + plain_blob;
    if (dict) {
        tl_pb_put_bytes(out, COLUMN_BLOB, tl_buffer_slice(&c->blob));
    } else if (plain_blob) {
        tl_pb_put_head(out, COLUMN_BLOB, plain_blob);
        for (uint32_t i = 0; i < rows; i++) {
            if (!tl_bit_get(c->valid, i))
                continue;
            struct tl_slice v = value_at(c, (uint32_t)c->words[i]);
            tl_buffer_put(out, v.data, v.size);
        }
    }
    size_t size = dict ? dict_lengths : plain_lengths;
    tl_pb_put_head(out, COLUMN_LENGTHS, size);
    uint8_t *p = tl_buffer_reserve(out, size);
    if (!p)
        return;
    for (uint32_t i = 0; i < (dict ? c->value_count : rows); i++) {
        uint32_t code = dict ? i : (uint32_t)c->words[i];
        p = tl_pb_write_varint(p, dict || tl_bit_get(c->valid, i) ? length_of(c, code) : 0);
    }
    out->size += size;
    if (!dict)
        return;
    tl_pb_put_head(out, COLUMN_CODES, codes);
    p = tl_buffer_reserve(out, codes);
    if (!p)
        return;
    for (uint32_t i = 0; i < rows; i++)
        p = tl_pb_write_varint(p, c->words[i]);
    out->size += codes;
}

static void put_column(struct column *c, uint32_t rows, struct tl_buffer *out)
{
    tl_pb_put_bytes(out, COLUMN_NAME, c->name);
    if (c->valid_count < rows) {
        size_t size = (rows + 7) / 8;
        tl_pb_put_head(out, COLUMN_VALIDITY, size);
        uint8_t *p = tl_buffer_reserve(out, size);
        for (size_t i = 0; p && i < size; i++)
            p[i] = (uint8_t)(c->valid[i / 8] >> (i % 8 * 8));
        out->size += p ? size : 0;
    }
    switch (c->form) {
    case TL_BATCH_INT:
        put_ints(c, rows, out);
        break;
    case TL_BATCH_DOUBLE:
    case TL_BATCH_BOOL:
        put_fixed(c, rows, out);
        break;
    case TL_BATCH_TEXT:
        put_texts(c, rows, out);
        break;
    }
}

enum tl_code tl_batch_builder_encode(struct tl_batch_builder *b, struct tl_buffer *out,
                                     struct tl_status *st)
{
    tl_pb_put_bytes(out, BATCH_TABLE, tl_buffer_slice(&b->table));
    tl_pb_put_uint(out, BATCH_ROWS, b->rows);
    for (uint32_t i = 0; i < b->column_count; i++) {
        struct column *c = &b->columns[i];
        if (c->valid_count == 0)
            continue;
        if (!grow_rows(b, c, b->rows))
            return TL_FAIL(st, TL_LIMIT, "no memory for a batch");
        tl_buffer_clear(&b->scratch);
        put_column(c, b->rows, &b->scratch);
        enum tl_code rc = tl_buffer_check(&b->scratch, st);
        if (rc)
            return rc;
        tl_pb_put_head(out, BATCH_COLUMNS, b->scratch.size);
        tl_buffer_put(out, b->scratch.data, b->scratch.size);
    }
    return tl_buffer_check(out, st);
}
