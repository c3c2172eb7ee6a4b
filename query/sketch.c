/*
 * What sketches share: memory in blocks of powers of two, and values as hashes and as doubles.
 *
 * Hashes stand in files, inside sketches: XXH3 of the value's canonical bytes, seeded with its
 * kind, and nothing here may change.
 */
#include "query/sketch.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "query/decimal_int.h"
#include "query/function_int.h"

#define EACH(i, sel, n)                                                                            \
    for (uint32_t k_ = 0, i = 0; k_ < (n) && ((i = (sel) ? (sel)[k_] : k_), true); k_++)

/* ---- memory ---- */

enum { BLOCK_LOG_MIN = 4 };

void tl_sketch_memory_init(struct tl_sketch_memory *m, struct tl_arena *arena)
{
    *m = (struct tl_sketch_memory){.arena = arena};
}

void *tl__sketch_take(struct tl_sketch_memory *m, uint32_t log, struct tl_status *st)
{
    tl_assert(log >= BLOCK_LOG_MIN && log < TL_SKETCH_BLOCK_LOG_MAX);
    void *block = m->free[log];
    if (!block)
        return tl_arena_alloc(m->arena, (size_t)1 << log, st);
    memcpy(&m->free[log], block, sizeof(void *));
    return block;
}

void tl__sketch_give(struct tl_sketch_memory *m, void *block, uint32_t log)
{
    if (!block)
        return;
    memcpy(block, &m->free[log], sizeof(void *));
    m->free[log] = block;
}

/* ---- hashes ---- */

uint64_t tl_sketch_hash_text(struct tl_slice text)
{
    return tl_hash64_seed(text.data, text.size, TL_TEXT);
}

static inline uint64_t hash_fixed(uint64_t v, uint64_t kind)
{
    uint8_t bytes[8];
    tl_put_u64le(bytes, v);
    return tl_hash64_seed(bytes, sizeof(bytes), kind);
}

static uint64_t hash_wide(tl_i128 v, uint64_t kind)
{
    uint8_t bytes[16];
    tl_put_u64le(bytes, (uint64_t)(tl_u128)v);
    tl_put_u64le(bytes + 8, (uint64_t)((tl_u128)v >> 64));
    return tl_hash64_seed(bytes, sizeof(bytes), kind);
}

/* Without zeros at the end of its fraction: what all scales share. Both kinds of decimals are one
 * kind of value; those that fit into 64 bits are hashed as such. */
static uint64_t hash_decimal(tl_i128 v, uint32_t scale)
{
    if (v == (int64_t)v) {
        int64_t w = (int64_t)v;
        while (scale > 0 && w % 10 == 0) {
            w /= 10;
            scale--;
        }
        v = w;
    }
    while (scale > 0 && v % 10 == 0) {
        v /= 10;
        scale--;
    }
    uint64_t kind = TL_DECIMAL64 | (uint64_t)scale << 8;
    return v == (int64_t)v ? hash_fixed((uint64_t)v, kind) : hash_wide(v, kind);
}

static inline uint64_t hash_double(double d)
{
    uint64_t bits;
    if (d != d)
        bits = 0x7ff8000000000000ULL;
    else if (d == 0)
        bits = 0;
    else
        memcpy(&bits, &d, sizeof(bits));
    return hash_fixed(bits, TL_DOUBLE);
}

void tl_sketch_hash_rows(const struct tl_vector *v, const uint16_t *sel, uint32_t n, uint64_t *out)
{
    size_t step = tl__step(v);
    uint64_t kind = v->type.kind;
    switch (v->type.kind) {
    case TL_BOOLEAN:
        EACH(i, sel, n)
        out[i] = hash_fixed(((const uint8_t *)v->data)[step * i], kind);
        break;
    case TL_DATE:
        EACH(i, sel, n)
        out[i] = hash_fixed((uint64_t)(int64_t)((const int32_t *)v->data)[step * i], kind);
        break;
    case TL_BIGINT:
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        EACH(i, sel, n)
        out[i] = hash_fixed((uint64_t)((const int64_t *)v->data)[step * i], kind);
        break;
    case TL_DOUBLE:
        EACH(i, sel, n)
        out[i] = hash_double(((const double *)v->data)[step * i]);
        break;
    case TL_DECIMAL64:
        EACH(i, sel, n)
        out[i] = hash_decimal(((const int64_t *)v->data)[step * i], v->type.scale);
        break;
    case TL_DECIMAL128:
        EACH(i, sel, n)
        {
            tl_i128 x;
            memcpy(&x, (const uint8_t *)v->data + 16 * step * i, sizeof(x));
            out[i] = hash_decimal(x, v->type.scale);
        }
        break;
    case TL_INTERVAL:
        EACH(i, sel, n)
        {
            struct tl_interval x = ((const struct tl_interval *)v->data)[step * i];
            tl_i128 days = (tl_i128)x.days + (tl_i128)x.months * 30;
            out[i] = hash_wide((tl_i128)x.us + days * 86400000000LL, kind);
        }
        break;
    case TL_TEXT:
    case TL_ARRAY:
        EACH(i, sel, n)
        out[i] = tl_sketch_hash_text(((const struct tl_slice *)v->data)[step * i]);
        break;
    default:
        EACH(i, sel, n)
        out[i] = 0;
    }
}

/* ---- doubles ---- */

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

void tl_sketch_doubles(const struct tl_vector *v, const uint16_t *sel, uint32_t n, double *out)
{
    size_t step = tl__step(v);
    uint32_t scale = v->type.scale;
    switch (v->type.kind) {
    case TL_BIGINT:
        EACH(i, sel, n)
        out[i] = (double)((const int64_t *)v->data)[step * i];
        break;
    case TL_DOUBLE:
        EACH(i, sel, n)
        out[i] = ((const double *)v->data)[step * i];
        break;
    case TL_DECIMAL64:
        EACH(i, sel, n)
        {
            int64_t x = ((const int64_t *)v->data)[step * i];
            if (x > -(INT64_C(1) << 53) && x < INT64_C(1) << 53 && scale <= 22)
                out[i] = (double)x / powers[scale]; /* both exact: one rounding */
            else
                out[i] = tl__decimal_to_double(x, scale);
        }
        break;
    case TL_DECIMAL128:
        EACH(i, sel, n)
        {
            tl_i128 x;
            memcpy(&x, (const uint8_t *)v->data + 16 * step * i, sizeof(x));
            out[i] = tl__decimal_to_double(x, scale);
        }
        break;
    default:
        tl_assert(false);
    }
}
