/*
 * Rows kept column by column: what a join keeps, the answers of subplans, the rows of WITH.
 */
#include <string.h>

#include "query/exec_int.h"

enum { TEXT_CHUNK = 64 << 10 };

enum tl_code tl__rows_init(struct tl__rows *r, const struct tl_type *types, uint32_t column_count,
                           struct tl_arena *arena, struct tl_budget *budget, struct tl_status *st)
{
    struct tl__rows_column *columns =
        tl_arena_calloc(arena, column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    *r = (struct tl__rows){.column_count = column_count, .columns = columns};
    tl_arena_init(&r->text, budget, TEXT_CHUNK);
    for (uint32_t c = 0; c < column_count; c++) {
        uint32_t width = tl_kind_width(types[c].kind);
        columns[c].type = types[c];
        columns[c].width = width;
        tl__array_init(&columns[c].values, budget, width ? width : 1);
        tl__array_init(&columns[c].valid, budget, 1);
    }
    return TL_OK;
}

void tl__rows_deinit(struct tl__rows *r)
{
    for (uint32_t c = 0; c < r->column_count; c++) {
        tl__array_deinit(&r->columns[c].values);
        tl__array_deinit(&r->columns[c].valid);
    }
    if (r->columns)
        tl_arena_deinit(&r->text);
    r->count = r->column_count = 0;
    r->columns = NULL;
}

void tl__rows_clear(struct tl__rows *r)
{
    for (uint32_t c = 0; c < r->column_count; c++)
        r->columns[c].nulls = false;
    r->count = 0;
    tl_arena_reset(&r->text);
    r->text_next = r->text_end = NULL;
}

static enum tl_code keep_text(struct tl__rows *r, struct tl_slice s, struct tl_slice *out,
                              struct tl_status *st)
{
    if ((size_t)(r->text_end - r->text_next) < s.size) {
        size_t size = s.size > TEXT_CHUNK / 4 ? s.size : TEXT_CHUNK / 2;
        uint8_t *fresh = tl_arena_alloc(&r->text, size, st);
        if (!fresh)
            return st->code;
        if (size == s.size) { /* of its own */
            memcpy(fresh, s.data, s.size);
            *out = tl_slice_of(fresh, s.size);
            return TL_OK;
        }
        r->text_next = fresh;
        r->text_end = fresh + size;
    }
    if (s.size > 0)
        memcpy(r->text_next, s.data, s.size);
    *out = tl_slice_of(r->text_next, s.size);
    r->text_next += s.size;
    return TL_OK;
}

static enum tl_code append_texts(struct tl__rows *r, struct tl__rows_column *c,
                                 const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                                 struct tl_status *st)
{
    size_t step = tl__step(v);
    const struct tl_slice *from = v->data;
    struct tl_slice last = {0}, kept = {0};
    for (uint32_t k = 0; k < n; k++) {
        uint32_t row = sel ? sel[k] : k;
        struct tl_slice *to = &TL__AT(struct tl_slice, &c->values, r->count + k);
        *to = (struct tl_slice){0};
        if (!TL__AT(uint8_t, &c->valid, r->count + k))
            continue;
        struct tl_slice s = from[step * row];
        if (kept.data && s.data == last.data && s.size == last.size) {
            *to = kept; /* a dictionary's string again */
            continue;
        }
        enum tl_code rc = keep_text(r, s, to, st);
        if (rc)
            return rc;
        last = s;
        kept = *to;
    }
    return TL_OK;
}

#define COPY(type)                                                                                 \
    do {                                                                                           \
        type *to = (type *)(void *)c->values.data + r->count;                                      \
        const type *from = v->data;                                                                \
        if (v->shape == TL_CONST)                                                                  \
            for (uint32_t k = 0; k < n; k++)                                                       \
                to[k] = from[0];                                                                   \
        else if (sel)                                                                              \
            for (uint32_t k = 0; k < n; k++)                                                       \
                to[k] = from[sel[k]];                                                              \
        else                                                                                       \
            memcpy(to, from, sizeof(type) * n);                                                    \
    } while (0)

static enum tl_code append_column(struct tl__rows *r, struct tl__rows_column *c,
                                  const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                                  struct tl_status *st)
{
    enum tl_code rc = tl__array_reserve(&c->values, (size_t)r->count + n, false, st);
    if (rc == TL_OK)
        rc = tl__array_reserve(&c->valid, (size_t)r->count + n, false, st);
    if (rc)
        return rc;
    uint8_t *valid = c->valid.data + r->count;
    if (!v->validity) {
        memset(valid, 1, n);
    } else {
        for (uint32_t k = 0; k < n; k++) {
            valid[k] = tl_vector_valid(v, sel ? sel[k] : k);
            c->nulls = c->nulls || !valid[k];
        }
    }
    switch (tl_kind_is_bytes(c->type.kind) ? 0 : c->width) {
    case 0:
        return tl_kind_is_bytes(c->type.kind) ? append_texts(r, c, v, sel, n, st) : TL_OK;
    case 1:
        COPY(uint8_t);
        return TL_OK;
    case 4:
        COPY(uint32_t);
        return TL_OK;
    case 8:
        COPY(uint64_t);
        return TL_OK;
    default:
        COPY(struct tl_interval);
        return TL_OK;
    }
}

enum tl_code tl__rows_append(struct tl__rows *r, struct tl__pipe *pipe,
                             const struct tl_vector *columns, const uint16_t *sel, uint32_t n,
                             struct tl_status *st)
{
    if ((uint64_t)r->count + n >= TL__NO_ROW)
        return TL_FAIL(st, TL_LIMIT, "more than %u rows are kept", TL__NO_ROW - 1);
    for (uint32_t c = 0; c < r->column_count; c++) {
        struct tl_vector v;
        enum tl_code rc = tl__flatten(pipe, &columns[c], sel, n, &v, st);
        if (rc == TL_OK)
            rc = append_column(r, &r->columns[c], &v, sel, n, st);
        if (rc)
            return rc;
    }
    r->count += n;
    return TL_OK;
}

enum tl_code tl__rows_slice(const struct tl__rows *r, uint32_t column, uint32_t from, uint32_t n,
                            struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    const struct tl__rows_column *c = &r->columns[column];
    uint64_t *bits = NULL;
    if (c->nulls) {
        bits = tl_arena_calloc(arena, tl_bit_words(n) + 1u, 8, st);
        if (!bits)
            return st->code;
        for (uint32_t k = 0; k < n; k++)
            bits[k >> 6] |= (uint64_t)TL__AT(uint8_t, &c->valid, from + k) << (k & 63);
    }
    static const struct tl_interval nothing[1];
    *out =
        (struct tl_vector){.type = c->type,
                           .shape = TL_FLAT,
                           .count = n,
                           .data = c->values.data ? c->values.data + (size_t)from * c->values.width
                                                  : (const void *)nothing,
                           .validity = bits};
    return TL_OK;
}

#define PICK(type)                                                                                 \
    do {                                                                                           \
        type *to = data;                                                                           \
        const type *from = (const type *)(const void *)c->values.data;                             \
        for (uint32_t k = 0; k < n; k++)                                                           \
            if (ids[k] != TL__NO_ROW)                                                              \
                to[k] = from[ids[k]];                                                              \
            else                                                                                   \
                to[k] = (type){0};                                                                 \
    } while (0)

enum tl_code tl__rows_gather(const struct tl__rows *r, uint32_t column, const uint32_t *ids,
                             uint32_t n, struct tl_arena *arena, struct tl_vector *out,
                             struct tl_status *st)
{
    const struct tl__rows_column *c = &r->columns[column];
    void *data = tl_arena_alloc(arena, (size_t)c->values.width * n + 1, st);
    if (!data)
        return st->code;
    bool nulls = c->nulls;
    for (uint32_t k = 0; k < n && !nulls; k++)
        nulls = ids[k] == TL__NO_ROW;
    uint64_t *bits = NULL;
    if (nulls) {
        bits = tl_arena_calloc(arena, tl_bit_words(n) + 1u, 8, st);
        if (!bits)
            return st->code;
        for (uint32_t k = 0; k < n; k++)
            if (ids[k] != TL__NO_ROW && TL__AT(uint8_t, &c->valid, ids[k]))
                tl_bit_set(bits, k);
    }
    switch (c->width) {
    case 0:
        break;
    case 1:
        PICK(uint8_t);
        break;
    case 4:
        PICK(uint32_t);
        break;
    case 8:
        PICK(uint64_t);
        break;
    default:
        PICK(struct tl_interval);
        break;
    }
    *out = (struct tl_vector){
        .type = c->type, .shape = TL_FLAT, .count = n, .data = data, .validity = bits};
    return TL_OK;
}

enum tl_code tl__rows_emit(const struct tl__rows *r, uint32_t *next, struct tl_arena *arena,
                           struct tl__batch *out, struct tl_status *st)
{
    uint32_t left = r->count - *next;
    uint32_t n = left < TL_VECTOR_ROWS_MAX ? left : TL_VECTOR_ROWS_MAX;
    *out = (struct tl__batch){.rows = n, .n = n};
    if (n == 0)
        return TL_OK;
    struct tl_vector *columns = tl_arena_calloc(arena, r->column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t c = 0; c < r->column_count; c++) {
        enum tl_code rc = tl__rows_slice(r, c, *next, n, arena, &columns[c], st);
        if (rc)
            return rc;
    }
    out->columns = columns;
    *next += n;
    return TL_OK;
}
