#include "engine/rollup_rows.h"

#include "base/assert.h"

enum { ROWS = TL_VECTOR_ROWS_MAX };

enum tl_code tl_rollup_reader_init(struct tl_rollup_reader *r, const struct tl_view_slot *slots,
                                   uint32_t count, struct tl_arena *arena, struct tl_status *st)
{
    size_t n = (size_t)count + 1;
    *r = (struct tl_rollup_reader){.slots = slots, .count = count};
    r->columns = tl_arena_calloc(arena, n, sizeof(*r->columns), st);
    r->vectors = tl_arena_calloc(arena, n, sizeof(*r->vectors), st);
    r->values = tl_arena_calloc(arena, n, sizeof(*r->values), st);
    r->buffers = tl_arena_alloc(arena, n * ROWS * sizeof(*r->buffers), st);
    r->bits = tl_arena_calloc(arena, ROWS / 64, sizeof(*r->bits), st);
    return r->columns && r->vectors && r->values && r->buffers && r->bits ? TL_OK : st->code;
}

enum tl_code tl_rollup_reader_open(struct tl_rollup_reader *r, struct tl_segment *segment,
                                   struct tl_arena *arena, struct tl_read_stats *stats,
                                   struct tl_status *st)
{
    for (uint32_t i = 0; i < r->count; i++) {
        struct tl_rollup_reader_column *c = &r->columns[i];
        c->column = tl_segment_column(segment, r->slots[i].column_id);
        if (!c->column)
            continue;
        if (c->column->type.kind != r->slots[i].type.kind)
            return TL_FAIL(st, TL_CORRUPT, "column %u of a segment has another type than its table",
                           r->slots[i].column_id);
        if (c->column->type.kind == TL_TEXT) {
            if (tl_dict_reader_open(&c->dict, c->column, stats, st))
                return st->code;
            c->dict_open = true;
        }
        if (tl_cursor_init(&c->cursor, c->column, c->dict_open ? &c->dict.dict : NULL, arena, stats,
                           st))
            return st->code;
        c->cursor_open = true;
    }
    return TL_OK;
}

/* The i-th vector as 64-bit values. */
static void show(struct tl_rollup_reader *r, uint32_t i, uint32_t count)
{
    const struct tl_vector *v = &r->vectors[i];
    uint64_t *buffer = r->buffers + (size_t)i * ROWS;
    struct tl_rollup_values *out = &r->values[i];
    *out = (struct tl_rollup_values){buffer, v->validity};
    if (v->shape == TL_DICT) {
        for (uint32_t k = 0; k < count; k++)
            buffer[k] = v->codes[k];
        return;
    }
    bool constant = v->shape == TL_CONST;
    if (constant && !tl_vector_valid(v, 0)) {
        out->valid = r->bits;
        memset(buffer, 0, count * sizeof(*buffer));
        return;
    }
    uint32_t width = tl_kind_width((enum tl_kind)v->type.kind);
    uint32_t n = constant ? 1 : count;
    if (constant)
        out->valid = NULL;
    if (width == 8 && !constant) {
        out->values = v->data;
        return;
    }
    for (uint32_t k = 0; k < n; k++)
        buffer[k] = width == 8   ? ((const uint64_t *)v->data)[k]
                    : width == 4 ? (uint64_t)(int64_t)((const int32_t *)v->data)[k]
                                 : ((const uint8_t *)v->data)[k];
    for (uint32_t k = 1; constant && k < count; k++)
        buffer[k] = buffer[0];
}

void tl_rollup_reader_show(struct tl_rollup_reader *r, uint32_t count)
{
    for (uint32_t i = 0; i < r->count; i++)
        show(r, i, count);
}

enum tl_code tl_rollup_reader_read(struct tl_rollup_reader *r, uint32_t lo, uint32_t hi,
                                   struct tl_status *st)
{
    static const uint64_t zero[2] = {0};
    tl_assert(lo < hi && hi - lo <= ROWS);
    for (uint32_t i = 0; i < r->count; i++) {
        if (!r->columns[i].column)
            r->vectors[i] = (struct tl_vector){.type = r->slots[i].type,
                                               .shape = TL_CONST,
                                               .count = hi - lo,
                                               .data = zero,
                                               .validity = zero};
        else if (tl_cursor_read(&r->columns[i].cursor, lo, hi, NULL, &r->vectors[i], st))
            return st->code;
    }
    tl_rollup_reader_show(r, hi - lo);
    r->lo = lo;
    r->hi = hi;
    return TL_OK;
}

const struct tl_dict *tl_rollup_reader_dict(const struct tl_rollup_reader *r, uint32_t slot)
{
    return r->columns[slot].dict_open ? &r->columns[slot].dict.dict : NULL;
}

enum tl_code tl_rollup_source_of(struct tl_rollup_source *out, const struct tl_view *view,
                                 const struct tl_rollup_reader *r, struct tl_arena *arena,
                                 struct tl_status *st)
{
    out->dicts = tl_arena_calloc(arena, view->slot_count + 1u, sizeof(*out->dicts), st);
    if (!out->dicts)
        return st->code;
    for (uint32_t i = 0; i < view->slot_count; i++)
        out->dicts[i] = tl_rollup_reader_dict(r, i);
    return tl_rollup_source_hashes(out, view, arena, st);
}

enum tl_code tl_rollup_source_hashes(struct tl_rollup_source *out, const struct tl_view *view,
                                     struct tl_arena *arena, struct tl_status *st)
{
    out->hashes = tl_arena_calloc(arena, view->slot_count + 1u, sizeof(*out->hashes), st);
    if (!out->hashes)
        return st->code;
    for (uint32_t agg = 0; agg < view->agg_count; agg++) {
        uint32_t slot = view->agg_slot[agg];
        const struct tl_dict *d = slot == UINT32_MAX ? NULL : out->dicts[slot];
        if (!d || tl_view_agg(view, agg)->kind != TL_ROLLUP_APPROX_DISTINCT || out->hashes[slot])
            continue;
        out->hashes[slot] = tl_arena_calloc(arena, d->count, sizeof(uint64_t), st);
        if (!out->hashes[slot])
            return st->code;
    }
    return TL_OK;
}

void tl_rollup_reader_close(struct tl_rollup_reader *r)
{
    for (uint32_t i = 0; r->columns && i < r->count; i++) {
        if (r->columns[i].cursor_open)
            tl_cursor_close(&r->columns[i].cursor);
        if (r->columns[i].dict_open)
            tl_dict_reader_close(&r->columns[i].dict);
        r->columns[i].cursor_open = r->columns[i].dict_open = false;
    }
    r->lo = r->hi = 0;
}
