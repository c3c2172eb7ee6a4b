#include "base/vector.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"

_Static_assert(sizeof(struct tl_interval) == 16, "intervals lie in vectors without holes");
_Static_assert(TL_VECTOR_ROWS_MAX % 64 == 0, "a full vector's validity has whole words");

/* One row per kind; precision 0: the type has no scale. */
static const struct {
    const char *name;
    uint32_t width;
    int precision;
} kinds[] = {
    [TL_NULL] = {"NULL", 0, 0},
    [TL_BOOLEAN] = {"BOOLEAN", 1, 0},
    [TL_BIGINT] = {"BIGINT", 8, 0},
    [TL_DOUBLE] = {"DOUBLE", 8, 0},
    [TL_DECIMAL64] = {"DECIMAL", 8, 18},
    [TL_DECIMAL128] = {"DECIMAL", 16, 38},
    [TL_DATE] = {"DATE", 4, 0},
    [TL_TIMESTAMP] = {"TIMESTAMP", 8, 0},
    [TL_TIMESTAMPTZ] = {"TIMESTAMPTZ", 8, 0},
    [TL_INTERVAL] = {"INTERVAL", sizeof(struct tl_interval), 0},
    [TL_TEXT] = {"TEXT", sizeof(struct tl_slice), 0},
    [TL_PROPS] = {"PROPS", 0, 0},
    [TL_ARRAY] = {"ARRAY", sizeof(struct tl_slice), 0},
};
_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == TL_KIND_COUNT, "one row per kind");

uint32_t tl_kind_width(enum tl_kind kind)
{
    return (unsigned)kind < TL_KIND_COUNT ? kinds[kind].width : 0;
}

const char *tl_type_name(struct tl_type type, char *buf, size_t size)
{
    if (type.kind >= TL_KIND_COUNT)
        snprintf(buf, size, "type %u", type.kind);
    else if (kinds[type.kind].precision)
        snprintf(buf, size, "%s(%d,%u)", kinds[type.kind].name, kinds[type.kind].precision,
                 type.scale);
    else if (type.kind == TL_ARRAY && type.element < TL_KIND_COUNT)
        snprintf(buf, size, "%s[]", kinds[type.element].name);
    else
        snprintf(buf, size, "%s", kinds[type.kind].name);
    return buf;
}

enum tl_code tl_dict_get(const struct tl_dict *d, const uint32_t *codes, uint32_t count,
                         struct tl_slice *out, struct tl_status *st)
{
    for (uint32_t i = 0; i < count; i++) {
        if (codes[i] >= d->count)
            return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", codes[i], d->count);
    }
    if (!d->values) {
        tl_assert(d->vtab != NULL && d->vtab->get != NULL);
        return d->vtab->get(d, codes, count, out, st);
    }
    for (uint32_t i = 0; i < count; i++)
        out[i] = d->values[codes[i]];
    return TL_OK;
}

/* The strings of the rows that are not NULL; the others become empty slices. */
static enum tl_code flatten_dict(const struct tl_vector *v, struct tl_arena *arena,
                                 struct tl_slice *out, struct tl_status *st)
{
    if (!v->validity)
        return tl_dict_get(v->dict, v->codes, v->count, out, st);
    uint32_t *codes = tl_arena_alloc(arena, sizeof(*codes) * v->count, st);
    struct tl_slice *found = tl_arena_alloc(arena, sizeof(*found) * v->count, st);
    if (!codes || !found)
        return st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        if (tl_bit_get(v->validity, i))
            codes[n++] = v->codes[i];
    }
    enum tl_code rc = tl_dict_get(v->dict, codes, n, found, st);
    if (rc)
        return rc;
    n = 0;
    for (uint32_t i = 0; i < v->count; i++)
        out[i] = tl_bit_get(v->validity, i) ? found[n++] : tl_slice_of(NULL, 0);
    return TL_OK;
}

enum tl_code tl_vector_flatten(const struct tl_vector *v, struct tl_arena *arena,
                               struct tl_vector *out, struct tl_status *st)
{
    if (v->shape == TL_FLAT) {
        *out = *v;
        return TL_OK;
    }
    struct tl_vector flat = {.type = v->type, .shape = TL_FLAT, .count = v->count};
    size_t width = tl_kind_width((enum tl_kind)v->type.kind);
    uint8_t *data = tl_arena_calloc(arena, v->count, width, st);
    if (!data)
        return st->code;
    flat.data = data;

    if (v->shape == TL_DICT) {
        enum tl_code rc = flatten_dict(v, arena, (struct tl_slice *)(void *)data, st);
        if (rc)
            return rc;
        flat.validity = v->validity;
    } else if (tl_vector_valid(v, 0)) {
        for (uint32_t i = 0; i < v->count && width; i++)
            memcpy(data + i * width, v->data, width);
    } else {
        flat.validity = tl_arena_calloc(arena, tl_bit_words(v->count), sizeof(uint64_t), st);
        if (!flat.validity)
            return st->code;
    }
    *out = flat;
    return TL_OK;
}

uint64_t tl_dict_new_id(void)
{
    static _Atomic uint64_t last; /* relaxed: only uniqueness matters, nothing is ordered by it */
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

static bool value_check(const struct tl_vector *v, uint32_t i)
{
    const uint8_t *data = v->data;
    switch (v->type.kind) {
    case TL_NULL:
        return false; /* no row of it can be valid */
    case TL_BOOLEAN:
        return data[i] <= 1;
    case TL_TEXT: {
        struct tl_slice s = ((const struct tl_slice *)v->data)[i];
        return s.size <= TL_TEXT_BYTES_MAX && (s.data || s.size == 0);
    }
    default:
        return true;
    }
}

bool tl_vector_check(const struct tl_vector *v)
{
    if (v->type.kind >= TL_KIND_COUNT || v->type.kind == TL_PROPS)
        return false;
    uint8_t scaled = v->type.kind == TL_ARRAY ? v->type.element : v->type.kind;
    if (scaled >= TL_KIND_COUNT || v->type.scale > kinds[scaled].precision ||
        v->count > TL_VECTOR_ROWS_MAX)
        return false;
    if (v->shape == TL_DICT) {
        if (v->type.kind != TL_TEXT || !v->dict || v->dict->id == 0 || (!v->codes && v->count))
            return false;
        if (!v->dict->values && v->dict->count && (!v->dict->vtab || !v->dict->vtab->get))
            return false;
        for (uint32_t i = 0; i < v->count; i++) {
            if (tl_vector_valid(v, i) && v->codes[i] >= v->dict->count)
                return false;
        }
        return true;
    }
    if (v->shape != TL_FLAT && v->shape != TL_CONST)
        return false;
    uint32_t values = v->shape == TL_CONST && v->count ? 1 : v->count;
    for (uint32_t i = 0; i < values; i++) {
        if (tl_vector_valid(v, i) && ((!v->data && v->type.kind != TL_NULL) || !value_check(v, i)))
            return false;
    }
    return true;
}
