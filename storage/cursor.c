/*
 * Cursors: slices of a column as vectors. A slice lies in one block, or spans several; each part
 * is decoded straight to its place. Blocks that the index alone tells (constant, or all NULL) are
 * never looked up. Mapped columns are read by mapping.c.
 */
#include "base/assert.h"
#include "storage/pack_int.h"

enum tl_code tl_cursor_init(struct tl_cursor *cur, const struct tl_column *c,
                            const struct tl_dict *dict, struct tl_arena *arena,
                            struct tl_read_stats *stats, struct tl_status *st)
{
    tl_assert(c != NULL && (dict == NULL || c->type.kind == TL_TEXT));
    struct tl_cursor made = {.column = c, .dict = dict, .stats = stats, .block = UINT32_MAX};
    if (arena) {
        made.values =
            tl_arena_alloc(arena, (size_t)TL_VECTOR_ROWS_MAX * tl_block_width(c->type.kind), st);
        made.validity = tl_arena_alloc(arena, TL_VECTOR_ROWS_MAX / 8, st);
        if (!made.values || !made.validity)
            return st->code;
    }
    *cur = made;
    return TL_OK;
}

static void leave(struct tl_cursor *cur)
{
    if (cur->pin)
        tl__pin_release(cur->column->segment->pack, cur->pin);
    cur->pin = NULL;
    cur->image = NULL;
    cur->block = UINT32_MAX;
}

void tl_cursor_close(struct tl_cursor *cur)
{
    leave(cur);
    tl__map_reader_close(cur);
}

enum tl_code tl__cursor_move(struct tl_cursor *cur, const struct tl__column *c, uint32_t block,
                             struct tl_status *st)
{
    if (cur->block == block)
        return TL_OK;
    leave(cur);
    enum tl_code rc;
    if (cur->window) {
        rc = tl__window_block(cur->window, c, block, &cur->image, st);
    } else {
        rc = tl__block_pin(c, block, cur->once, cur->stats, &cur->pin, st);
        if (!rc)
            cur->image = cur->pin->data;
    }
    if (!rc)
        cur->block = block;
    return rc;
}

void tl__fill_constant(enum tl_kind kind, int64_t value, void *out, uint32_t rows)
{
    switch (tl_block_width(kind)) {
    case 1:
        memset(out, (int)value, rows);
        break;
    case 4:
        for (uint32_t i = 0; i < rows; i++)
            ((int32_t *)out)[i] = (int32_t)value;
        break;
    default:
        for (uint32_t i = 0; i < rows; i++)
            ((int64_t *)out)[i] = value;
        break;
    }
}

struct tl__told tl__told_of(const struct tl__column *c, uint32_t block)
{
    if (!c->blocks)
        return (struct tl__told){true, c->pub.nulls > 0, c->pub.min};
    const struct tl__block *b = &c->blocks[block];
    bool all_null = b->nulls == tl__block_rows(c->pub.rows, block);
    bool constant = b->size == 0;
    if (c->parent) /* size 0 also says that all rows are as the map says */
        constant = constant && (all_null || (b->nulls == 0 && b->min == b->max));
    return (struct tl__told){constant, b->nulls > 0, b->min};
}

static void set_shape(const struct tl_cursor *cur, uint32_t count, void *values,
                      const uint64_t *validity, struct tl_vector *out)
{
    bool text = cur->column->type.kind == TL_TEXT;
    *out = (struct tl_vector){.type = cur->column->type,
                              .shape = text ? TL_DICT : TL_FLAT,
                              .count = count,
                              .data = text ? NULL : values,
                              .codes = text ? values : NULL,
                              .dict = text ? cur->dict : NULL,
                              .validity = validity};
}

static const uint64_t one_null;
static const uint64_t null_value[2]; /* stands for any value, a slice too */

static void all_null(const struct tl_cursor *cur, uint32_t count, struct tl_vector *out)
{
    *out = (struct tl_vector){.type = cur->column->type,
                              .shape = TL_CONST,
                              .count = count,
                              .data = null_value,
                              .validity = &one_null};
}

/* The whole slice lies in a block that the index tells. */
static void read_told(const struct tl_cursor *cur, const struct tl__told *t, uint32_t count,
                      void *values, struct tl_vector *out)
{
    if (t->null) {
        all_null(cur, count, out);
        return;
    }
    bool text = cur->column->type.kind == TL_TEXT;
    tl__fill_constant(cur->column->type.kind, t->value, values, text ? count : 1);
    set_shape(cur, count, values, NULL, out);
    if (!text)
        out->shape = TL_CONST;
}

/* Rows [lo, hi) of one block to place `at` of the buffers. Sets *nulls when there are any. */
static enum tl_code read_part(struct tl_cursor *cur, const struct tl__column *c,
                              struct tl_decoder *d, uint32_t block, uint32_t lo, uint32_t hi,
                              uint32_t at, uint8_t *values, uint64_t *validity, bool *nulls,
                              struct tl_status *st)
{
    enum tl_kind kind = c->pub.type.kind;
    uint8_t *to = values + (size_t)at * tl_block_width(kind);
    uint64_t bits[TL_VECTOR_ROWS_MAX / 64];
    bool has_nulls;
    struct tl__told t = tl__told_of(c, block);
    if (t.constant) {
        tl__fill_constant(kind, t.null ? 0 : t.value, to, hi - lo);
        has_nulls = t.null;
        memset(bits, 0, sizeof(bits));
    } else {
        enum tl_code rc = tl__cursor_move(cur, c, block, st);
        if (rc)
            return rc;
        struct tl_block_view view = tl_block_open(cur->image);
        tl_block_read(d, &view, kind, lo, hi, to);
        has_nulls = view.validity.size > 0;
        if (has_nulls && at == 0) {
            tl_block_read_validity(d, &view, lo, hi, validity);
            *nulls = true;
            return TL_OK;
        }
        if (has_nulls)
            tl_block_read_validity(d, &view, lo, hi, bits);
    }
    if (has_nulls && !*nulls) {
        memset(validity, 0xff, TL_VECTOR_ROWS_MAX / 8);
        *nulls = true;
    }
    if (has_nulls)
        tl__bits_copy(validity, at, bits, 0, hi - lo);
    else if (*nulls)
        tl__bits_fill(validity, at, hi - lo);
    return TL_OK;
}

/* Keys become codes and validity; the code of a NULL row is 0. */
static enum tl_code read_mapped(struct tl_cursor *cur, uint32_t lo, uint32_t hi, void *values,
                                uint64_t *validity, struct tl_vector *out, struct tl_status *st)
{
    uint32_t *codes = values;
    uint32_t n = hi - lo;
    enum tl_code rc = tl__mapped_keys(cur, lo, hi, codes, st);
    if (rc)
        return rc;
    uint32_t nulls = tl__keys_to_codes(codes, n, validity);
    if (nulls == n)
        all_null(cur, n, out);
    else
        set_shape(cur, n, values, nulls ? validity : NULL, out);
    return TL_OK;
}

enum tl_code tl_cursor_read(struct tl_cursor *cur, uint32_t lo, uint32_t hi,
                            const struct tl_vector_buffer *buffer, struct tl_vector *out,
                            struct tl_status *st)
{
    const struct tl__column *c = tl__column_of(cur->column);
    tl_assert(lo < hi && hi - lo <= TL_VECTOR_ROWS_MAX && hi <= c->pub.rows);
    uint8_t *values = buffer ? buffer->values : cur->values;
    uint64_t *validity = buffer ? buffer->validity : cur->validity;
    tl_assert(values != NULL && validity != NULL);
    if (cur->stats)
        cur->stats->rows_decoded += hi - lo;

    uint32_t first = lo >> TL_BLOCK_SHIFT, last = (hi - 1) >> TL_BLOCK_SHIFT;
    struct tl__told t = tl__told_of(c, first);
    if (t.constant && (first == last || !c->blocks)) {
        read_told(cur, &t, hi - lo, values, out);
        return TL_OK;
    }
    if (c->parent)
        return read_mapped(cur, lo, hi, values, validity, out, st);
    struct tl_decoder *d = tl_block_decoder(st);
    if (!d)
        return st->code;
    bool nulls = false;
    if (first != last)
        memset(validity, 0, TL_VECTOR_ROWS_MAX / 8);
    for (uint32_t block = first; block <= last; block++) {
        uint32_t base = block << TL_BLOCK_SHIFT;
        uint32_t a = lo > base ? lo - base : 0;
        uint32_t b = hi - base < TL_BLOCK_ROWS ? hi - base : TL_BLOCK_ROWS;
        enum tl_code rc =
            read_part(cur, c, d, block, a, b, base + a - lo, values, validity, &nulls, st);
        if (rc)
            return rc;
    }
    set_shape(cur, hi - lo, values, nulls ? validity : NULL, out);
    return TL_OK;
}
