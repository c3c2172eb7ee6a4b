#include "engine/memtable.h"

#include <stdlib.h>

#include "base/assert.h"
#include "engine/memtable_int.h"

/* ---- life ---- */

enum tl_code tl_memtable_new(const struct tl_table *table, uint32_t shard_count,
                             struct tl_slab_pool *slabs, struct tl_memtable **out,
                             struct tl_status *st)
{
    tl_assert(shard_count > 0 && shard_count <= TL_MEMTABLE_SHARDS_MAX);
    size_t size = sizeof(struct tl_memtable) + shard_count * sizeof(struct shard);
    struct tl_memtable *m = calloc(1, size);
    struct index *index = calloc(1, sizeof(*index) + 64 * sizeof(struct slot));
    if (!m || !index) {
        free(m);
        free(index);
        return TL_FAIL(st, TL_LIMIT, "no memory for a memtable");
    }
    index->mask = 63;
    atomic_init(&m->refs, 1);
    atomic_init(&m->index, index);
    m->table_id = table->info.id;
    m->table = table;
    m->shard_count = shard_count;
    m->slabs = tl_slab_pool_ref(slabs);
    *out = m;
    return TL_OK;
}

struct tl_memtable *tl_memtable_ref(struct tl_memtable *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void tl_memtable_unref(struct tl_memtable *m)
{
    /* acq_rel: whoever frees has seen everything that the other holders did. */
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < m->column_count; i++) {
        struct column *c =
            atomic_load_explicit(&m->columns[m->column_ids[i]], memory_order_relaxed);
        struct dict *d = atomic_load_explicit(&c->dict, memory_order_relaxed);
        if (!d)
            continue;
        tl_slab_tell_strings(m->slabs, m->table_id, c->id,
                             atomic_load_explicit(&d->count, memory_order_relaxed));
        tl__slots_free(m, d);
    }
    for (uint32_t s = 0; s < m->shard_count; s++)
        free(m->shards[s].merchants);
    for (struct index *x = atomic_load_explicit(&m->index, memory_order_relaxed), *older; x;
         x = older) {
        older = x->older;
        free(x);
    }
    for (struct piece *p = m->pieces, *next; p; p = next) {
        next = p->next;
        if (p->slab)
            tl_slab_give(m->slabs, p);
        else
            free(p);
    }
    tl_slab_pool_unref(m->slabs);
    free(m);
}

uint32_t tl_memtable_table_id(const struct tl_memtable *m)
{
    return m->table_id;
}

const struct tl_table *tl_memtable_table(const struct tl_memtable *m)
{
    return m->table;
}

void tl_memtable_set_table(struct tl_memtable *m, const struct tl_table *table)
{
    tl_assert(table->info.id == m->table_id);
    m->table = table;
}

bool tl_memtable_has_room(const struct tl_memtable *m, uint32_t rows)
{
    return m->rows + rows <= TL_MEMTABLE_ROWS_MAX &&
           m->batches < TL_MEMTABLE_BATCHES_MAX - TL_MEMTABLE_GROUP_BATCHES_MAX;
}

uint32_t tl_memtable_rows(const struct tl_memtable *m)
{
    return m->rows;
}

uint64_t tl_memtable_bytes(const struct tl_memtable *m)
{
    return atomic_load_explicit(&m->bytes_shown, memory_order_relaxed);
}

int64_t tl_memtable_oldest_us(const struct tl_memtable *m)
{
    return atomic_load_explicit(&m->oldest_us, memory_order_relaxed);
}

/* ---- readers ---- */

uint32_t tl_memtable_shard_count(const struct tl_memtable *m)
{
    return m->shard_count;
}

uint32_t tl_memtable_shard_rows_at(const struct tl_memtable *m, uint32_t shard, uint64_t position)
{
    const struct shard *s = &m->shards[shard];
    uint32_t lo = 0;
    uint32_t hi = atomic_load_explicit(&s->end_count, memory_order_acquire);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (tl__end_at(s, mid)->position <= position)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo == 0 ? 0 : tl__end_at(s, lo - 1)->rows;
}

uint32_t tl_memtable_rows_at(const struct tl_memtable *m, uint64_t position)
{
    uint32_t rows = 0;
    for (uint32_t s = 0; s < m->shard_count; s++)
        rows += tl_memtable_shard_rows_at(m, s, position);
    return rows;
}

static enum tl_code memtable_dict_get(const struct tl_dict *dict, const uint32_t *codes,
                                      uint32_t count, struct tl_slice *out, struct tl_status *st)
{
    (void)st;
    const struct dict *d = ((const struct tl_memtable_dict *)dict)->impl;
    for (uint32_t i = 0; i < count; i++)
        out[i] = tl__dict_string(d, codes[i]);
    return TL_OK;
}

static const struct tl_dict_vtable memtable_dict_vtab = {memtable_dict_get};

static const struct column *find_column(const struct tl_memtable *m, uint32_t id)
{
    return id < COLUMNS_MAX ? atomic_load_explicit(&m->columns[id], memory_order_acquire) : NULL;
}

bool tl_memtable_has(const struct tl_memtable *m, uint32_t column_id)
{
    return find_column(m, column_id) != NULL;
}

bool tl_memtable_dict(const struct tl_memtable *m, uint32_t column_id, struct tl_memtable_dict *out)
{
    const struct column *c = find_column(m, column_id);
    if (!c || c->kind != TL_TEXT)
        return false;
    const struct dict *d = atomic_load_explicit(&c->dict, memory_order_relaxed);
    uint32_t count = atomic_load_explicit(&d->count, memory_order_acquire);
    if (count == 0)
        return false;
    *out = (struct tl_memtable_dict){
        .dict = {.id = d->id, .count = count, .vtab = &memtable_dict_vtab}, .impl = d};
    return true;
}

/* All rows NULL: CONST, with a validity word that says so. */
static void all_null(struct tl_type type, uint32_t count, struct tl_vector *out)
{
    static const uint64_t none[1] = {0};
    static const _Alignas(16) uint8_t zeros[16] = {0};
    *out = (struct tl_vector){
        .type = type, .shape = TL_CONST, .count = count, .data = zeros, .validity = none};
}

/* A stored value, as it would be at full width. */
static inline uint64_t chunk_value(const struct chunk *chunk, uint32_t at, bool is_signed)
{
    switch (chunk->width) {
    case 1:
        return chunk->values[at];
    case 2:
        return ((const uint16_t *)(const void *)chunk->values)[at];
    case 4: {
        uint32_t v = ((const uint32_t *)(const void *)chunk->values)[at];
        return is_signed ? (uint64_t)(int64_t)(int32_t)v : v;
    }
    default:
        return ((const uint64_t *)(const void *)chunk->values)[at];
    }
}

static uint32_t full_width(const struct column *c)
{
    switch (c->kind) {
    case TL_BOOLEAN:
        return 1;
    case TL_DATE:
    case TL_TEXT:
        return 4;
    default:
        return 8;
    }
}

static inline void put_value(uint8_t *values, uint32_t i, uint32_t width, uint64_t v)
{
    if (width == 8)
        ((uint64_t *)(void *)values)[i] = v;
    else if (width == 4)
        ((uint32_t *)(void *)values)[i] = (uint32_t)v;
    else
        values[i] = (uint8_t)v;
}

/* Values of the column's rows lie in `values` at full width, and are valid where the bit is set:
 * the vector over them. Codes lose their + 1. */
static void finish_vector(const struct column *c, const struct tl_memtable_dict *dict,
                          uint8_t *values, const uint64_t *validity, bool nulls,
                          struct tl_vector *out)
{
    out->validity = nulls ? validity : NULL;
    if (c->kind != TL_TEXT) {
        out->shape = TL_FLAT;
        out->data = values;
        return;
    }
    uint32_t *codes = (uint32_t *)(void *)values;
    for (uint32_t i = 0; i < out->count; i++)
        codes[i] -= codes[i] != 0;
    out->shape = TL_DICT;
    out->codes = codes;
    out->dict = &dict->dict;
}

enum tl_code tl_memtable_gather(const struct tl_memtable *m, uint32_t column_id,
                                struct tl_type type, const struct tl_memtable_dict *dict,
                                const uint32_t *rows, uint32_t count, struct tl_arena *arena,
                                struct tl_vector *out, struct tl_status *st)
{
    tl_assert(count <= TL_VECTOR_ROWS_MAX);
    const struct column *c = find_column(m, column_id);
    if (!c || (c->kind == TL_TEXT && !dict)) {
        all_null(type, count, out);
        return TL_OK;
    }
    uint32_t width = full_width(c);
    uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(count), 8, st);
    uint8_t *values = tl_arena_alloc(arena, (size_t)count * width + 16, st);
    if (!validity || !values)
        return st->code;
    bool nulls = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct chunk *chunk = tl__chunk_of(c, rows[i]);
        uint32_t at = rows[i] & (CHUNK_ROWS - 1);
        uint64_t v = chunk ? chunk_value(chunk, at, c->kind != TL_TEXT) : 0;
        bool ok = chunk != NULL;
        if (ok && c->kind == TL_TEXT) {
            ok = v != 0;
        } else if (ok) {
            const uint8_t *valid = atomic_load_explicit(&chunk->valid, memory_order_acquire);
            ok = !valid || valid[at];
        }
        put_value(values, i, width, v);
        validity[i >> 6] |= (uint64_t)ok << (i & 63);
        nulls = nulls || !ok;
    }
    *out = (struct tl_vector){.type = type, .count = count};
    finish_vector(c, dict, values, validity, nulls, out);
    return TL_OK;
}

enum tl_code tl_memtable_read(const struct tl_memtable *m, uint32_t column_id, struct tl_type type,
                              const struct tl_memtable_dict *dict, uint32_t lo, uint32_t hi,
                              struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    tl_assert(lo < hi && hi - lo <= TL_VECTOR_ROWS_MAX &&
              lo >> CHUNK_SHIFT == (hi - 1) >> CHUNK_SHIFT);
    const struct column *c = find_column(m, column_id);
    const struct chunk *chunk = c ? tl__chunk_of(c, lo) : NULL;
    if (!chunk || (c->kind == TL_TEXT && !dict)) {
        all_null(type, hi - lo, out);
        return TL_OK;
    }
    uint32_t at = lo & (CHUNK_ROWS - 1);
    uint32_t count = hi - lo;
    uint32_t width = full_width(c);
    const uint8_t *valid = atomic_load_explicit(&chunk->valid, memory_order_acquire);
    *out = (struct tl_vector){.type = type, .shape = TL_FLAT, .count = count};
    uint64_t *validity = NULL;
    bool nulls = false;
    if (valid || c->kind == TL_TEXT) {
        validity = tl_arena_calloc(arena, tl_bit_words(count), 8, st);
        if (!validity)
            return st->code;
    }
    if (c->kind != TL_TEXT)
        for (uint32_t i = 0; valid && i < count; i++) {
            validity[i >> 6] |= (uint64_t)valid[at + i] << (i & 63);
            nulls |= !valid[at + i];
        }
    if (c->kind != TL_TEXT && chunk->width == width) {
        out->data = chunk->values + (size_t)at * width;
        out->validity = nulls ? validity : NULL;
        return TL_OK;
    }
    uint8_t *values = tl_arena_alloc(arena, (size_t)count * width + 16, st);
    if (!values)
        return st->code;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t v = chunk_value(chunk, at + i, c->kind != TL_TEXT);
        put_value(values, i, width, v);
        if (c->kind == TL_TEXT) {
            validity[i >> 6] |= (uint64_t)(v != 0) << (i & 63);
            nulls |= v == 0;
        }
    }
    finish_vector(c, dict, values, validity, nulls, out);
    return TL_OK;
}

const int64_t *tl_memtable_ts(const struct tl_memtable *m, uint32_t row)
{
    const struct chunk *chunk = tl__chunk_of(find_column(m, 2), row);
    return (const int64_t *)(const void *)chunk->values;
}

int64_t tl_memtable_merchant(const struct tl_memtable *m, uint32_t row)
{
    return (int64_t)chunk_value(tl__chunk_of(find_column(m, 1), row), row & (CHUNK_ROWS - 1), true);
}

uint32_t tl_memtable_last(const struct tl_memtable *m, int64_t merchant)
{
    const struct index *x = atomic_load_explicit(&m->index, memory_order_acquire);
    uint32_t at = tl__merchant_hash(merchant) & x->mask;
    uint32_t last;
    while ((last = atomic_load_explicit(&x->slots[at].last, memory_order_acquire))) {
        if (atomic_load_explicit(&x->slots[at].merchant, memory_order_relaxed) == merchant)
            return last - 1;
        at = (at + 1) & x->mask;
    }
    return TL_MEMTABLE_NO_ROW;
}

uint32_t tl_memtable_previous(const struct tl_memtable *m, uint32_t row)
{
    /* + 1 stored, 0 for none: the subtraction makes it TL_MEMTABLE_NO_ROW. */
    const uint32_t *chunk =
        tl__chunk_at(&m->shards[row >> TL_MEMTABLE_SHARD_SHIFT].previous, row & PLACE_MASK);
    return chunk[row & (CHUNK_ROWS - 1)] - 1;
}

/* ---- a sealed memtable's shard ---- */

uint32_t tl_memtable_shard_rows(const struct tl_memtable *m, uint32_t shard)
{
    return m->shards[shard].rows;
}

uint32_t tl_memtable_merchants(const struct tl_memtable *m, uint32_t shard, const int64_t **ids)
{
    *ids = m->shards[shard].merchants;
    return m->shards[shard].merchant_count;
}

void tl_memtable_ordinals(const struct tl_memtable *m, uint32_t shard, uint32_t *out)
{
    const struct shard *s = &m->shards[shard];
    for (uint32_t place = 0; place < s->rows; place += CHUNK_ROWS) {
        uint32_t n = s->rows - place < CHUNK_ROWS ? s->rows - place : CHUNK_ROWS;
        memcpy(out + place, tl__chunk_at(&s->ordinals, place), (size_t)n * sizeof(*out));
    }
}

#define COPY_WIDER(to_type, from_type)                                                             \
    do {                                                                                           \
        const from_type *from = (const from_type *)(const void *)chunk->values;                    \
        to_type *to = (to_type *)values + place;                                                   \
        for (uint32_t i = 0; i < n; i++)                                                           \
            to[i] = (to_type)from[i];                                                              \
    } while (0)

void tl_memtable_flatten(const struct tl_memtable *m, uint32_t column_id, uint32_t shard,
                         void *values, uint8_t *valid, struct tl_memtable_flat *out)
{
    const struct column *c = find_column(m, column_id);
    uint32_t rows = m->shards[shard].rows;
    *out = (struct tl_memtable_flat){.width = 0, .nulls = true, .values = values};
    if (!c)
        return;
    bool text = c->kind == TL_TEXT;
    uint32_t width = 0;
    bool holes = false;
    bool any_valid = false;
    for (uint32_t place = 0; place < rows; place += CHUNK_ROWS) {
        const struct chunk *chunk = tl__chunk_at(&c->shards[shard], place);
        holes = holes || !chunk;
        if (!chunk)
            continue;
        width = chunk->width > width ? chunk->width : width;
        any_valid =
            any_valid || chunk->nulls || atomic_load_explicit(&chunk->valid, memory_order_relaxed);
    }
    if (width == 0)
        return;
    out->width = width;
    out->nulls = holes || any_valid;
    if (!text && (holes || any_valid))
        out->valid = valid;
    for (uint32_t place = 0; place < rows; place += CHUNK_ROWS) {
        const struct chunk *chunk = tl__chunk_at(&c->shards[shard], place);
        uint32_t n = rows - place < CHUNK_ROWS ? rows - place : CHUNK_ROWS;
        if (!chunk)
            memset((uint8_t *)values + (size_t)place * width, 0, (size_t)n * width);
        else if (chunk->width == width)
            memcpy((uint8_t *)values + (size_t)place * width, chunk->values, (size_t)n * width);
        else if (width == 8)
            COPY_WIDER(int64_t, int32_t);
        else if (width == 2)
            COPY_WIDER(uint16_t, uint8_t);
        else if (chunk->width == 2)
            COPY_WIDER(uint32_t, uint16_t);
        else
            COPY_WIDER(uint32_t, uint8_t);
        if (!out->valid)
            continue;
        const uint8_t *from =
            chunk ? atomic_load_explicit(&chunk->valid, memory_order_relaxed) : NULL;
        if (from)
            memcpy(valid + place, from, n);
        else
            memset(valid + place, chunk ? 1 : 0, n);
    }
}

uint32_t tl_memtable_strings(const struct tl_memtable *m, uint32_t column_id)
{
    const struct column *c = find_column(m, column_id);
    const struct dict *d = c ? atomic_load_explicit(&c->dict, memory_order_relaxed) : NULL;
    return d ? atomic_load_explicit(&d->count, memory_order_relaxed) : 0;
}

enum { STRINGS_AHEAD = 32, BYTES_AHEAD = 16 };

enum tl_code tl_memtable_copy_strings(const struct tl_memtable *m, uint32_t column_id,
                                      const uint32_t *codes, uint32_t count, struct tl_slice *out,
                                      struct tl_buffer *bytes, struct tl_status *st)
{
    const struct dict *d =
        atomic_load_explicit(&find_column(m, column_id)->dict, memory_order_relaxed);
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i + STRINGS_AHEAD < count) {
            uint32_t code = codes[i + STRINGS_AHEAD];
            __builtin_prefetch(
                atomic_load_explicit(&d->chunks[code / STRINGS_CHUNK], memory_order_relaxed) +
                code % STRINGS_CHUNK);
        }
        out[i] = tl__dict_string(d, codes[i]);
        size += out[i].size;
    }
    if (!bytes)
        return TL_OK;
    tl_buffer_clear(bytes);
    uint8_t *to = tl_buffer_reserve(bytes, size + 1);
    if (!to)
        return tl_buffer_check(bytes, st);
    for (uint32_t i = 0; i < count; i++) {
        if (i + BYTES_AHEAD < count)
            __builtin_prefetch(out[i + BYTES_AHEAD].data);
        if (out[i].size > 0)
            memcpy(to, out[i].data, out[i].size);
        out[i].data = to;
        to += out[i].size;
    }
    return TL_OK;
}
