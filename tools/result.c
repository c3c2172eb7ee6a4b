/*
 * tools/result.c: the columns of a result message, checked and made flat.
 */
#include "tools/result.h"

#include <string.h>

#include "base/assert.h"

enum { RESULT_ROWS_MAX = 1 << 20 };

struct column_parts {
    struct tl_slice validity, ints, doubles, bools, blob, lengths, codes;
    bool delta;
};

static bool parts_decode(struct tl_slice bytes, struct column_parts *out)
{
    struct tl_reader r = tl_reader_of(bytes);
    struct tl_slice ignored;
    struct tl_slice *parts[10] = {NULL,          &ignored,      &out->validity, &out->ints,
                                  NULL,          &out->doubles, &out->bools,    &out->blob,
                                  &out->lengths, &out->codes};
    while (!r.failed && tl_reader_left(&r)) {
        uint64_t tag = tl_read_varint(&r);
        if (tag == (4 << 3)) {
            out->delta = tl_read_varint(&r) != 0;
        } else if ((tag & 7) == 2) {
            struct tl_slice value = tl_read_bytes(&r, tl_read_varint(&r));
            if (tag >> 3 < 10 && parts[tag >> 3])
                *parts[tag >> 3] = value;
        } else if ((tag & 7) == 0) {
            (void)tl_read_varint(&r);
        } else {
            return false;
        }
    }
    return !r.failed;
}

static enum tl_code bad(struct tl_status *st, const char *what)
{
    return TL_FAIL(st, TL_CORRUPT, "the result's %s are malformed", what);
}

static enum tl_code validity_decode(const struct column_parts *p, uint32_t rows,
                                    struct tl_arena *arena, struct tl_vector *v,
                                    struct tl_status *st)
{
    if (p->validity.size == 0)
        return TL_OK;
    if (p->validity.size < (rows + 7) / 8)
        return bad(st, "NULLs");
    uint64_t *bits = tl_arena_calloc(arena, tl_bit_words(rows) + 1, sizeof(*bits), st);
    if (!bits)
        return st->code;
    memcpy(bits, p->validity.data, (rows + 7) / 8); /* little-endian, as the wire */
    v->validity = bits;
    return TL_OK;
}

static enum tl_code ints_decode(const struct column_parts *p, uint32_t rows, enum tl_kind kind,
                                struct tl_arena *arena, struct tl_vector *v, struct tl_status *st)
{
    int64_t *values = tl_arena_calloc(arena, rows + 1, sizeof(*values), st);
    if (!values)
        return st->code;
    struct tl_reader r = tl_reader_of(p->ints);
    uint64_t previous = 0;
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t z = tl_read_varint(&r);
        uint64_t value = (z >> 1) ^ (0 - (z & 1));
        if (p->delta)
            value += previous;
        previous = value;
        values[i] = (int64_t)value;
    }
    if (r.failed || tl_reader_left(&r))
        return bad(st, "numbers");
    v->data = values;
    if (kind == TL_DATE) {
        int32_t *days = tl_arena_calloc(arena, rows + 1, sizeof(*days), st);
        if (!days)
            return st->code;
        for (uint32_t i = 0; i < rows; i++)
            days[i] = (int32_t)values[i];
        v->data = days;
    }
    return TL_OK;
}

static enum tl_code text_decode(const struct column_parts *p, uint32_t rows, struct tl_arena *arena,
                                struct tl_vector *v, struct tl_status *st)
{
    /* Each length takes a byte at least, so that their number is bounded by the message. */
    uint32_t count = 0;
    struct tl_reader r = tl_reader_of(p->lengths);
    struct tl_slice *values = tl_arena_calloc(arena, p->lengths.size + 1, sizeof(*values), st);
    if (!values)
        return st->code;
    size_t at = 0;
    while (!r.failed && tl_reader_left(&r)) {
        uint64_t size = tl_read_varint(&r);
        if (r.failed || size > p->blob.size - at)
            return bad(st, "strings");
        values[count++] = tl_slice_of(p->blob.data + at, size);
        at += size;
    }
    v->data = values;
    if (p->codes.size == 0)
        return r.failed || count != rows ? bad(st, "strings") : TL_OK;
    struct tl_slice *flat = tl_arena_calloc(arena, rows + 1, sizeof(*flat), st);
    if (!flat)
        return st->code;
    r = tl_reader_of(p->codes);
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t code = tl_read_varint(&r);
        bool valid = !v->validity || tl_bit_get(v->validity, i);
        if (r.failed || (valid && code >= count))
            return bad(st, "codes");
        if (valid)
            flat[i] = values[code];
    }
    v->data = flat;
    return TL_OK;
}

static enum tl_code column_decode(struct tl_slice bytes, struct tl_type type, uint32_t rows,
                                  struct tl_arena *arena, struct tl_vector *v, struct tl_status *st)
{
    struct column_parts p = {0};
    if (!parts_decode(bytes, &p))
        return bad(st, "columns");
    *v = (struct tl_vector){.type = type, .shape = TL_FLAT};
    enum tl_code rc = validity_decode(&p, rows, arena, v, st);
    if (rc)
        return rc;
    switch (type.kind) {
    case TL_BOOLEAN:
        v->data = p.bools.data;
        return p.bools.size == rows ? TL_OK : bad(st, "booleans");
    case TL_DOUBLE:
        if (p.doubles.size != (size_t)rows * sizeof(double))
            return bad(st, "numbers");
        v->data = tl_arena_copy(arena, p.doubles.data, p.doubles.size, st);
        return v->data ? TL_OK : st->code;
    case TL_DECIMAL128:
    case TL_INTERVAL:
    case TL_ARRAY:
        v->type = tl_type_of(TL_TEXT);
        return text_decode(&p, rows, arena, v, st);
    case TL_TEXT:
    case TL_PROPS:
        return text_decode(&p, rows, arena, v, st);
    case TL_NULL: /* an untyped NULL: whatever form it takes, no row is a value */
        v->validity = tl_arena_calloc(arena, tl_bit_words(rows) + 1, sizeof(uint64_t), st);
        return v->validity ? TL_OK : st->code;
    default:
        return ints_decode(&p, rows, type.kind, arena, v, st);
    }
}

enum tl_code tl_result_decode(struct tl_slice batch, const struct tl_type *types,
                              uint32_t column_count, struct tl_arena *arena,
                              struct tl_vector *vectors, uint32_t *rows, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(batch);
    uint64_t count = 0;
    while (!r.failed && tl_reader_left(&r)) { /* first the row count, wherever it stands */
        uint64_t tag = tl_read_varint(&r);
        uint64_t number = tl_read_varint(&r);
        if (tag == (2 << 3))
            count = number;
        else if ((tag & 7) == 2)
            (void)tl_read_bytes(&r, number);
        else if ((tag & 7) != 0)
            return bad(st, "fields");
    }
    if (r.failed || count > RESULT_ROWS_MAX)
        return bad(st, "rows");
    r = tl_reader_of(batch);
    uint32_t column = 0;
    while (tl_reader_left(&r)) {
        uint64_t tag = tl_read_varint(&r);
        uint64_t number = tl_read_varint(&r);
        if ((tag & 7) == 0)
            continue;
        struct tl_slice bytes = tl_read_bytes(&r, number);
        if (tag != (3 << 3 | 2))
            continue;
        if (column == column_count)
            return bad(st, "columns");
        enum tl_code rc =
            column_decode(bytes, types[column], (uint32_t)count, arena, &vectors[column], st);
        if (rc)
            return rc;
        column++;
    }
    if (column != column_count && count > 0)
        return bad(st, "columns");
    *rows = (uint32_t)count;
    return TL_OK;
}

struct tl_vector tl_result_slice(const struct tl_vector *column, uint32_t from, uint32_t count)
{
    struct tl_vector v = *column;
    tl_assert(from % 64 == 0);
    v.count = count;
    if (v.validity)
        v.validity += from / 64;
    if (v.data) {
        size_t width = v.type.kind == TL_PROPS ? sizeof(struct tl_slice)
                                               : tl_kind_width((enum tl_kind)v.type.kind);
        v.data = (const uint8_t *)v.data + from * width;
    }
    return v;
}
