/*
 * Shapes, hot keys, and the census that chooses them.
 */
#include "storage/props.h"

#include <stdlib.h>

#include "base/arena.h"
#include "storage/interner_int.h"
#include "storage/segment.h"

int32_t tl_props_find(struct tl_slice shape, struct tl_slice key)
{
    struct tl_reader r = tl_reader_of(shape);
    for (int32_t i = 0; tl_reader_left(&r) > 0; i++) {
        struct tl_slice k = tl_read_bytes(&r, tl_read_u8(&r));
        if (r.failed)
            return -1;
        if (tl_slice_eq(k, key))
            return i;
    }
    return -1;
}

bool tl_props_value(struct tl_slice values, uint32_t index, struct tl_slice *out)
{
    struct tl_reader r = tl_reader_of(values);
    for (uint32_t i = 0; tl_reader_left(&r) > 0; i++) {
        struct tl_slice v = tl_read_bytes(&r, tl_read_u16(&r));
        if (r.failed)
            return false;
        if (i == index) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* ---- hot keys ---- */

void tl_props_hot_of(const struct tl_segment *s, uint32_t map, struct tl_props_hot *out)
{
    out->count = 0;
    const struct tl_column *c;
    while (out->count < TL_PROPS_HOT_MAX &&
           (c = tl_segment_column(s, tl_props_column_id(map, out->count))))
        out->keys[out->count++] = c->name;
}

int32_t tl_props_hot_rank(const struct tl_props_hot *hot, struct tl_slice key)
{
    uint32_t lo = 0;
    uint32_t hi = hot->count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int order = tl_slice_cmp(hot->keys[mid], key);
        if (order == 0)
            return (int32_t)mid;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

int tl_props_ranks(const struct tl_props_hot *hot, struct tl_slice shape,
                   int8_t ranks[TL_PROPS_ROW_KEYS_MAX])
{
    struct tl_reader r = tl_reader_of(shape);
    int n = 0;
    while (tl_reader_left(&r) > 0) {
        struct tl_slice key = tl_read_bytes(&r, tl_read_u8(&r));
        if (r.failed || n == TL_PROPS_ROW_KEYS_MAX)
            return -1;
        ranks[n++] = (int8_t)tl_props_hot_rank(hot, key);
    }
    return n;
}

int32_t tl_props_find_cold(const struct tl_props_hot *hot, struct tl_slice shape,
                           struct tl_slice key)
{
    struct tl_reader r = tl_reader_of(shape);
    int32_t cold = 0;
    while (tl_reader_left(&r) > 0) {
        struct tl_slice k = tl_read_bytes(&r, tl_read_u8(&r));
        if (r.failed)
            return -1;
        if (tl_slice_eq(k, key))
            return tl_props_hot_rank(hot, key) < 0 ? cold : -1;
        cold += tl_props_hot_rank(hot, k) < 0;
    }
    return -1;
}

/* ---- the census ---- */

struct tl_props_census {
    struct tl__interner keys;
    uint64_t *rows; /* by code */
    uint32_t capacity;
};

enum tl_code tl_props_census_new(struct tl_budget *budget, struct tl_props_census **out,
                                 struct tl_status *st)
{
    struct tl_props_census *c = calloc(1, sizeof(*c));
    if (!c)
        return TL_FAIL(st, TL_LIMIT, "no memory to count keys");
    tl__interner_init(&c->keys, budget);
    enum tl_code rc = tl__interner_reset(&c->keys, st);
    if (rc) {
        tl_props_census_free(c);
        return rc;
    }
    *out = c;
    return TL_OK;
}

void tl_props_census_free(struct tl_props_census *c)
{
    if (!c)
        return;
    tl__interner_deinit(&c->keys);
    free(c->rows);
    free(c);
}

static enum tl_code count_key(struct tl_props_census *c, struct tl_slice key, uint64_t rows,
                              struct tl_status *st)
{
    uint32_t code = 0;
    enum tl_code rc = tl__interner_intern(&c->keys, key, &code, st);
    if (rc)
        return rc;
    if (code >= c->capacity) {
        uint32_t capacity = c->capacity ? c->capacity * 2 : 256;
        uint64_t *grown = realloc(c->rows, (size_t)capacity * sizeof(*grown));
        if (!grown)
            return TL_FAIL(st, TL_LIMIT, "no memory to count keys");
        memset(grown + c->capacity, 0, (size_t)(capacity - c->capacity) * sizeof(*grown));
        c->rows = grown;
        c->capacity = capacity;
    }
    c->rows[code] += rows;
    return TL_OK;
}

enum tl_code tl_props_census_add(struct tl_props_census *c, struct tl_slice shape, uint64_t rows,
                                 struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(shape);
    while (tl_reader_left(&r) > 0) {
        struct tl_slice key = tl_read_bytes(&r, tl_read_u8(&r));
        if (r.failed || key.size == 0)
            return TL_FAIL(st, TL_CORRUPT, "the keys of a map do not parse");
        enum tl_code rc = count_key(c, key, rows, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static bool hotter(const struct tl_props_census *c, uint32_t a, uint32_t b)
{
    if (c->rows[a] != c->rows[b])
        return c->rows[a] > c->rows[b];
    return tl_slice_cmp(c->keys.values[a], c->keys.values[b]) < 0;
}

void tl_props_census_choose(const struct tl_props_census *c, struct tl_props_hot *out)
{
    uint32_t best[TL_PROPS_HOT_MAX + 1]; /* the hottest so far, in that order */
    uint32_t n = 0;
    for (uint32_t code = 0; code < c->keys.count; code++) {
        uint32_t at = n;
        for (; at > 0 && hotter(c, code, best[at - 1]); at--)
            best[at] = best[at - 1];
        best[at] = code;
        n += n < TL_PROPS_HOT_MAX;
    }
    out->count = 0;
    for (uint32_t i = 0; i < n; i++) { /* by name */
        struct tl_slice key = c->keys.values[best[i]];
        uint32_t at = out->count++;
        for (; at > 0 && tl_slice_cmp(out->keys[at - 1], key) > 0; at--)
            out->keys[at] = out->keys[at - 1];
        out->keys[at] = key;
    }
}
