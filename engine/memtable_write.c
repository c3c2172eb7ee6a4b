/*
 * engine/memtable_write.c: a batch becomes rows of a memtable.
 *
 * The batch's rows are given their places once: merchant, shard, next place of the shard; a
 * counting sort lists the rows shard by shard. Then each column is appended shard by shard: what
 * lies in the batch in arrival order is picked through that list, out of arrays that the near
 * caches hold, and written in order.
 *
 * Nothing is cleared that will be written. A chunk that is made in the middle of its rows gets
 * NULLs for those before; a batch that leaves a column out writes NULLs where a chunk exists.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/int128.h"
#include "engine/memtable_int.h"
#include "engine/version.h"

enum {
    PIECE_BYTES_MIN = 16 << 10,
    PIECE_BYTES_MAX = TL_SLAB_BYTES,
    TEXT_BYTES = 8 << 10, /* taken at once for strings */
    LOOK_AHEAD = 64,      /* strings whose places in memory are asked for together */
    LARGE_SLOTS = 4096,   /* of a dictionary that the near cache does not hold */
    MERCHANTS_AHEAD = 12, /* rows */
    SLOTS_LIKELY_MAX = 4 << 20,
    LIKELY_STEP = 32, /* a table grows by at most so much for what the last memtable held */
};

/* ---- memory ---- */

static void *no_memory(size_t size, struct tl_status *st)
{
    TL_FAIL(st, TL_LIMIT, "no memory for %zu bytes of a memtable", size);
    return NULL;
}

/* Memory that goes with the memtable. Not cleared; aligned to 16 bytes. */
static void *take(struct tl_memtable *m, size_t size, struct tl_status *st)
{
    size = (size + 15) & ~(size_t)15;
    if (size > m->room_bytes) {
        size_t head = (sizeof(struct piece) + 15) & ~(size_t)15;
        size_t piece_bytes = m->piece_bytes ? m->piece_bytes * 2 : PIECE_BYTES_MIN;
        piece_bytes = piece_bytes > PIECE_BYTES_MAX ? PIECE_BYTES_MAX : piece_bytes;
        bool alone = size + head > piece_bytes / 2; /* leaves the piece that is open */
        bool slab = !alone && piece_bytes == TL_SLAB_BYTES;
        struct piece *p = slab ? tl_slab_take(m->slabs) : malloc(alone ? size + head : piece_bytes);
        if (!p)
            return no_memory(size, st);
        *p = (struct piece){m->pieces, slab};
        m->pieces = p;
        m->bytes += alone ? size + head : piece_bytes;
        if (alone)
            return (uint8_t *)p + head;
        m->piece_bytes = piece_bytes;
        m->room = (uint8_t *)p + head;
        m->room_bytes = piece_bytes - head;
    }
    uint8_t *at = m->room;
    m->room += size;
    m->room_bytes -= size;
    return at;
}

static void *take_zeroed(struct tl_memtable *m, size_t size, struct tl_status *st)
{
    void *p = take(m, size, st);
    return p ? memset(p, 0, size) : NULL;
}

/* Where the chunk of a place is named; NULL: no memory. */
static _Atomic(void *) *chunk_slot(struct tl_memtable *m, struct chunks *c, uint32_t place,
                                   struct tl_status *st)
{
    _Atomic(struct chunks_page *) *at = &c->pages[place >> PAGE_SHIFT];
    struct chunks_page *p = atomic_load_explicit(at, memory_order_relaxed);
    if (!p) {
        p = take_zeroed(m, sizeof(*p), st);
        if (!p)
            return NULL;
        atomic_store_explicit(at, p, memory_order_release);
    }
    return &p->chunks[place >> CHUNK_SHIFT & (PAGE_CHUNKS - 1)];
}

/* ---- strings ---- */

/* Zeroed. Large tables come from the pool, since they are probed at random: they lie in huge
 * pages, which were touched before where that could be. */
static uint64_t *slots_new(struct tl_memtable *m, uint32_t count)
{
    size_t size = (size_t)count * sizeof(uint64_t);
    return size >= TL_SLAB_BYTES ? tl_slab_table_take(m->slabs, size) : calloc(1, size);
}

void tl__slots_free(struct tl_memtable *m, struct dict *d)
{
    size_t size = ((size_t)d->mask + 1) * sizeof(*d->slots);
    if (size >= TL_SLAB_BYTES)
        tl_slab_table_give(m->slabs, d->slots, size);
    else
        free(d->slots);
}

static enum tl_code dict_new(struct tl_memtable *m, uint32_t column_id, struct dict **out,
                             struct tl_status *st)
{
    struct dict *d = take_zeroed(m, sizeof(*d), st);
    if (!d)
        return st->code;
    d->slots = slots_new(m, 256);
    if (!d->slots) {
        no_memory(256 * sizeof(*d->slots), st);
        return st->code;
    }
    m->bytes += 256 * sizeof(*d->slots);
    d->mask = 255;
    uint32_t strings = tl_slab_likely_strings(m->slabs, m->table_id, column_id);
    for (d->likely = 256; d->likely / 2 <= strings && d->likely < SLOTS_LIKELY_MAX;)
        d->likely *= 2;
    d->id = tl_dict_new_id();
    *out = d;
    return TL_OK;
}

static enum tl_code dict_grow(struct tl_memtable *m, struct dict *d, struct tl_status *st)
{
    uint32_t capacity = (d->mask + 1) * 2;
    if (capacity < d->likely && d->likely / capacity <= LIKELY_STEP)
        capacity = d->likely; /* on the way there: in one step */
    uint64_t *slots = slots_new(m, capacity);
    if (!slots) {
        no_memory((size_t)capacity * sizeof(*slots), st);
        return st->code;
    }
    for (uint32_t i = 0; i <= d->mask; i++) {
        if (!d->slots[i])
            continue;
        uint32_t at = (uint32_t)(d->slots[i] >> 32) & (capacity - 1);
        while (slots[at])
            at = (at + 1) & (capacity - 1);
        slots[at] = d->slots[i];
    }
    m->bytes += ((size_t)capacity - d->mask - 1) * sizeof(*slots);
    tl__slots_free(m, d);
    d->slots = slots;
    d->mask = capacity - 1;
    return TL_OK;
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline uint64_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    tl_u128 product = (tl_u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* A hash of a few multiplications for the table in memory, as wyhash makes them; never stored. */
static inline uint32_t string_hash(struct tl_slice s)
{
    static const uint64_t K0 = 0x9e3779b97f4a7c15ULL;
    static const uint64_t K1 = 0xe7037ed1a0b428dbULL;
    const uint8_t *p = s.data;
    size_t n = s.size;
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t seed = K0 ^ n;
    if (n > 16) {
        for (size_t i = 0; i + 16 < n; i += 16)
            seed = fold(load64(p + i) ^ K1, load64(p + i + 8) ^ seed);
        a = load64(p + n - 16);
        b = load64(p + n - 8);
    } else if (n >= 8) {
        a = load64(p);
        b = load64(p + n - 8);
    } else if (n >= 4) {
        a = load32(p);
        b = load32(p + n - 4);
    } else if (n > 0) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1];
    }
    return (uint32_t)fold(K1 ^ n, fold(a ^ K1, b ^ seed));
}

/* Adds a string that is not there; its code + 1, or 0. */
static uint32_t dict_add(struct tl_memtable *m, struct dict *d, struct tl_slice s, uint32_t hash,
                         uint32_t at, struct tl_status *st)
{
    uint32_t code = atomic_load_explicit(&d->count, memory_order_relaxed);
    if (code >= STRINGS_CHUNKS_MAX * STRINGS_CHUNK) {
        TL_FAIL(st, TL_LIMIT, "a memtable column has too many distinct strings");
        return 0;
    }
    struct tl_slice *chunk =
        atomic_load_explicit(&d->chunks[code / STRINGS_CHUNK], memory_order_relaxed);
    if (!chunk) {
        chunk = take(m, STRINGS_CHUNK * sizeof(*chunk), st);
        if (!chunk)
            return 0;
        atomic_store_explicit(&d->chunks[code / STRINGS_CHUNK], chunk, memory_order_release);
    }
    if (s.size > m->text_room) {
        size_t size = s.size > TEXT_BYTES / 4 ? s.size : TEXT_BYTES;
        uint8_t *text = take(m, size, st);
        if (!text)
            return 0;
        m->text = text;
        m->text_room = size;
    }
    uint8_t *bytes = m->text;
    if (s.size > 0)
        memcpy(bytes, s.data, s.size);
    m->text += s.size;
    m->text_room -= s.size;
    chunk[code % STRINGS_CHUNK] = tl_slice_of(bytes, s.size);
    d->slots[at] = (uint64_t)hash << 32 | (code + 1);
    atomic_store_explicit(&d->count, code + 1, memory_order_release);
    if ((uint64_t)(code + 1) * 2 > d->mask && dict_grow(m, d, st))
        return 0;
    return code + 1;
}

/* The code of a string + 1; 0 with st set when there is no memory. */
static inline uint32_t dict_put(struct tl_memtable *m, struct dict *d, struct tl_slice s,
                                uint32_t hash, struct tl_status *st)
{
    uint32_t at = hash & d->mask;
    while (d->slots[at]) {
        if ((uint32_t)(d->slots[at] >> 32) == hash) {
            uint32_t code = (uint32_t)d->slots[at] - 1;
            if (tl_slice_eq(tl__dict_string(d, code), s))
                return code + 1;
        }
        at = (at + 1) & d->mask;
    }
    return dict_add(m, d, s, hash, at, st);
}

static inline const struct tl_slice *string_at(const struct dict *d, uint32_t code)
{
    return atomic_load_explicit(&d->chunks[code / STRINGS_CHUNK], memory_order_relaxed) +
           code % STRINGS_CHUNK;
}

/* map[i] is the stored code of strings[i]; of those that are bad, 0. A large dictionary lies
 * outside the near caches: its slots, strings and bytes are asked for ahead, step by step. */
static enum tl_code dict_put_all(struct tl_memtable *m, struct dict *d,
                                 const struct tl_slice *strings, const uint8_t *bad, uint32_t count,
                                 uint32_t *map, struct tl_status *st)
{
    uint32_t hashes[LOOK_AHEAD];
    uint32_t likely[LOOK_AHEAD]; /* codes, where the first slot has the hash; else any */
    for (uint32_t lo = 0; lo < count; lo += LOOK_AHEAD) {
        uint32_t n = count - lo < LOOK_AHEAD ? count - lo : LOOK_AHEAD;
        const struct tl_slice *s = strings + lo;
        for (uint32_t i = 0; i < n; i++) {
            hashes[i] = string_hash(s[i]);
            __builtin_prefetch(&d->slots[hashes[i] & d->mask]);
        }
        if (d->mask >= LARGE_SLOTS) {
            for (uint32_t i = 0; i < n; i++) {
                uint64_t slot = d->slots[hashes[i] & d->mask];
                likely[i] = (uint32_t)(slot >> 32) == hashes[i] ? (uint32_t)slot - 1 : 0;
                __builtin_prefetch(string_at(d, likely[i]));
            }
            for (uint32_t i = 0; i < n; i++)
                __builtin_prefetch(string_at(d, likely[i])->data);
        }
        for (uint32_t i = 0; i < n; i++) {
            map[lo + i] = 0;
            if ((!bad || !bad[lo + i]) && !(map[lo + i] = dict_put(m, d, s[i], hashes[i], st)))
                return st->code;
        }
    }
    return TL_OK;
}

/* ---- where a batch's rows go ---- */

/* Rows of one shard: source[lo … lo + count) become the places from `place` on. */
struct run {
    uint32_t shard, lo, count, place;
};

struct target {
    struct tl_memtable *m;
    uint32_t count;         /* rows that go in */
    const uint32_t *source; /* their rows in the batch, by shard */
    const struct run *runs;
    uint32_t run_count;
    struct tl_arena *scratch;
};

/* The part of a run that falls into one chunk. */
struct span {
    const uint32_t *source;
    uint32_t count;
    uint32_t place, at; /* within the shard, within the chunk */
};

static bool next_span(const struct target *t, const struct run *r, uint32_t *done, struct span *out)
{
    if (*done == r->count)
        return false;
    uint32_t place = r->place + *done;
    uint32_t at = place & (CHUNK_ROWS - 1);
    uint32_t n = r->count - *done;
    n = n < CHUNK_ROWS - at ? n : CHUNK_ROWS - at;
    *out = (struct span){t->source + r->lo + *done, n, place, at};
    *done += n;
    return true;
}

/* ---- columns ---- */

static uint32_t width_of(uint8_t kind)
{
    switch (kind) {
    case TL_BOOLEAN:
        return 1;
    case TL_DATE:
    case TL_TEXT:
        return 4;
    default:
        return 8;
    }
}

static enum tl_code column_get(struct tl_memtable *m, uint32_t id, uint8_t kind,
                               struct column **out, struct tl_status *st)
{
    tl_assert(id < COLUMNS_MAX);
    struct column *c = atomic_load_explicit(&m->columns[id], memory_order_relaxed);
    if (!c) {
        c = take_zeroed(m, sizeof(*c) + m->shard_count * sizeof(c->shards[0]), st);
        if (!c)
            return st->code;
        c->id = id;
        c->kind = kind;
        c->narrows = (kind == TL_BIGINT || kind == TL_DECIMAL64);
        if (kind == TL_TEXT) {
            struct dict *d;
            if (dict_new(m, id, &d, st))
                return st->code;
            atomic_init(&c->dict, d);
        }
        m->column_ids[m->column_count++] = (uint16_t)id;
        atomic_store_explicit(&m->columns[id], c, memory_order_release);
    }
    c->batch = m->batches;
    *out = c;
    return TL_OK;
}

static void widen(const struct chunk *from, struct chunk *to, bool codes, uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t v = 0;
        if (from->width == 1)
            v = from->values[i];
        else if (from->width == 2)
            v = ((const uint16_t *)(const void *)from->values)[i];
        else if (codes)
            v = ((const uint32_t *)(const void *)from->values)[i];
        else
            v = (uint64_t)(int64_t)((const int32_t *)(const void *)from->values)[i];
        if (to->width == 2)
            ((uint16_t *)(void *)to->values)[i] = (uint16_t)v;
        else if (to->width == 4)
            ((uint32_t *)(void *)to->values)[i] = (uint32_t)v;
        else
            ((uint64_t *)(void *)to->values)[i] = v;
    }
}

/* The chunk of a span, at least `width` wide; made, or replaced by a wider copy. */
static enum tl_code chunk_get(struct tl_memtable *m, struct column *c, uint32_t shard,
                              const struct span *s, uint32_t width, struct chunk **out,
                              struct tl_status *st)
{
    _Atomic(void *) *slot = chunk_slot(m, &c->shards[shard], s->place, st);
    if (!slot)
        return st->code;
    struct chunk *old = atomic_load_explicit(slot, memory_order_relaxed);
    if (old && old->width >= width) {
        *out = old;
        return TL_OK;
    }
    struct chunk *chunk = take(m, sizeof(*chunk) + (size_t)CHUNK_ROWS * width, st);
    if (!chunk)
        return st->code;
    chunk->width = width;
    chunk->nulls = old ? old->nulls : s->at > 0;
    uint8_t *valid = NULL;
    if (old) {
        widen(old, chunk, c->kind == TL_TEXT, s->at);
        valid = atomic_load_explicit(&old->valid, memory_order_relaxed);
    } else {
        memset(chunk->values, 0, (size_t)s->at * width);
        if (c->kind != TL_TEXT && s->at > 0) {
            valid = take(m, CHUNK_ROWS, st);
            if (!valid)
                return st->code;
            memset(valid, 0, s->at);
        }
    }
    atomic_init(&chunk->valid, valid);
    atomic_store_explicit(slot, chunk, memory_order_release);
    *out = chunk;
    return TL_OK;
}

/* The bytes that say which rows of a chunk are valid; made with all rows so far valid. */
static uint8_t *chunk_valid(struct tl_memtable *m, struct chunk *chunk, uint32_t rows_so_far,
                            struct tl_status *st)
{
    uint8_t *valid = atomic_load_explicit(&chunk->valid, memory_order_relaxed);
    if (!valid) {
        valid = take(m, CHUNK_ROWS, st);
        if (!valid)
            return NULL;
        memset(valid, 1, rows_so_far);
        atomic_store_explicit(&chunk->valid, valid, memory_order_release);
    }
    return valid;
}

#define PICK(to_type, from_type, expression)                                                       \
    do {                                                                                           \
        to_type *restrict to = (to_type *)(void *)chunk->values + s->at;                           \
        const from_type *restrict from_values = from;                                              \
        for (uint32_t i = 0; i < s->count; i++) {                                                  \
            from_type v = from_values[s->source[i]];                                               \
            to[i] = (to_type)(expression);                                                         \
        }                                                                                          \
    } while (0)

/* The values of a number column in the batch. */
struct batch_view {
    const void *values;
    uint32_t width;
};

static void pick_values(struct chunk *chunk, const struct batch_view *b, const struct span *s)
{
    const void *from = b->values;
    if (b->width == 1)
        PICK(uint8_t, uint8_t, v);
    else if (chunk->width == 8)
        PICK(uint64_t, uint64_t, v);
    else
        PICK(uint32_t, uint64_t, v); /* DATE, and integers that fit */
}

static enum tl_code put_numbers(const struct target *t, const struct tl_batch_column *from,
                                const struct tl_column_info *info, struct tl_status *st)
{
    struct column *c;
    if (column_get(t->m, info->id, info->type.kind, &c, st))
        return st->code;
    struct batch_view b = {from->ints, 8};
    if (c->kind == TL_DOUBLE)
        b.values = from->doubles;
    else if (c->kind == TL_BOOLEAN)
        b = (struct batch_view){from->bools, 1};
    uint32_t width = width_of(c->kind);
    if (c->narrows && from->narrow)
        width = 4;
    for (uint32_t k = 0; k < t->run_count; k++) {
        struct span s;
        for (uint32_t done = 0; next_span(t, &t->runs[k], &done, &s);) {
            struct chunk *chunk;
            if (chunk_get(t->m, c, t->runs[k].shard, &s, width, &chunk, st))
                return st->code;
            pick_values(chunk, &b, &s);
            uint8_t *valid = atomic_load_explicit(&chunk->valid, memory_order_relaxed);
            if (!from->validity) {
                if (valid)
                    memset(valid + s.at, 1, s.count);
                continue;
            }
            valid = chunk_valid(t->m, chunk, s.at, st);
            if (!valid)
                return st->code;
            for (uint32_t i = 0; i < s.count; i++)
                valid[s.at + i] = from->validity[s.source[i] >> 3] >> (s.source[i] & 7) & 1;
        }
    }
    return TL_OK;
}

static void pick_codes(struct chunk *chunk, const struct tl_batch_column *column,
                       const uint32_t *map, const struct span *s)
{
    if (column->codes8) {
        const uint8_t *from = column->codes8;
        if (chunk->width == 1)
            PICK(uint8_t, uint8_t, map[v]);
        else if (chunk->width == 2)
            PICK(uint16_t, uint8_t, map[v]);
        else
            PICK(uint32_t, uint8_t, map[v]);
    } else {
        const uint32_t *from = column->codes;
        if (chunk->width == 1)
            PICK(uint8_t, uint32_t, map[v]);
        else if (chunk->width == 2)
            PICK(uint16_t, uint32_t, map[v]);
        else
            PICK(uint32_t, uint32_t, map[v]);
    }
}

/* Codes of the batch become codes of the memtable: one probe per distinct string, one array
 * look-up per row. `strings` are the values to store for the batch's codes but the `skip`ped. */
static enum tl_code put_text(const struct target *t, const struct tl_batch_column *from,
                             const struct tl_slice *strings, const uint8_t *skip, uint32_t id,
                             struct tl_status *st)
{
    struct column *c;
    if (column_get(t->m, id, TL_TEXT, &c, st))
        return st->code;
    struct dict *d = atomic_load_explicit(&c->dict, memory_order_relaxed);
    uint32_t *map = tl_arena_alloc(t->scratch, ((size_t)from->string_count + 1) * 4, st);
    if (!map || dict_put_all(t->m, d, strings, skip, from->string_count, map, st))
        return st->code;
    map[from->string_count] = 0; /* what rows that are NULL have for a code */
    uint32_t count = atomic_load_explicit(&d->count, memory_order_relaxed);
    uint32_t width = count <= UINT8_MAX ? 1 : count <= UINT16_MAX ? 2 : 4;
    for (uint32_t k = 0; k < t->run_count; k++) {
        struct span s;
        for (uint32_t done = 0; next_span(t, &t->runs[k], &done, &s);) {
            struct chunk *chunk;
            if (chunk_get(t->m, c, t->runs[k].shard, &s, width, &chunk, st))
                return st->code;
            chunk->nulls |= from->validity != NULL;
            pick_codes(chunk, from, map, &s);
        }
    }
    return TL_OK;
}

static enum tl_code put_props(const struct target *t, const struct tl_batch_column *from,
                              uint32_t id, struct tl_status *st)
{
    size_t n = from->string_count;
    struct tl_slice *keys = tl_arena_calloc(t->scratch, n + 1, sizeof(*keys), st);
    struct tl_slice *values = tl_arena_calloc(t->scratch, n + 1, sizeof(*values), st);
    uint8_t *skip = tl_arena_alloc(t->scratch, n + 1, st);
    if (!keys || !values || !skip)
        return st->code;
    /* Messages that only refused rows use were not judged good: leave them alone. */
    memset(skip, 1, n + 1);
    for (uint32_t i = 0; i < t->count; i++)
        skip[tl_batch_code(from, t->source[i])] = 0;
    for (size_t i = 0; i < n; i++)
        if (!skip[i] && tl_props_split(from->strings[i], t->scratch, &keys[i], &values[i], st))
            return st->code;
    if (put_text(t, from, keys, skip, id, st))
        return st->code;
    return put_text(t, from, values, skip, id + 1, st);
}

/* Rows without a value of a column that has chunks. */
static enum tl_code put_nulls(const struct target *t, struct column *c, struct tl_status *st)
{
    for (uint32_t k = 0; k < t->run_count; k++) {
        struct span s;
        for (uint32_t done = 0; next_span(t, &t->runs[k], &done, &s);) {
            struct chunk *chunk = tl__chunk_at(&c->shards[t->runs[k].shard], s.place);
            if (!chunk)
                continue;
            chunk->nulls = true;
            memset(chunk->values + (size_t)s.at * chunk->width, 0, (size_t)s.count * chunk->width);
            if (c->kind == TL_TEXT)
                continue;
            uint8_t *valid = chunk_valid(t->m, chunk, s.at, st);
            if (!valid)
                return st->code;
            memset(valid + s.at, 0, s.count);
        }
    }
    return TL_OK;
}

/* ---- the merchants' chains ---- */

static enum tl_code index_grow(struct tl_memtable *m, struct index **out, struct tl_status *st)
{
    struct index *old = atomic_load_explicit(&m->index, memory_order_relaxed);
    uint32_t capacity = (old->mask + 1) * 2;
    size_t size = sizeof(*old) + (size_t)capacity * sizeof(struct slot);
    struct index *x = calloc(1, size);
    if (!x) {
        no_memory(size, st);
        return st->code;
    }
    m->bytes += size;
    x->mask = capacity - 1;
    x->used = old->used;
    x->older = old; /* readers may be inside it */
    for (uint32_t i = 0; i <= old->mask; i++) {
        uint32_t last = atomic_load_explicit(&old->slots[i].last, memory_order_relaxed);
        if (!last)
            continue;
        int64_t merchant = atomic_load_explicit(&old->slots[i].merchant, memory_order_relaxed);
        uint32_t at = tl__merchant_hash(merchant) & x->mask;
        while (atomic_load_explicit(&x->slots[at].last, memory_order_relaxed))
            at = (at + 1) & x->mask;
        x->slots[at].ordinal = old->slots[i].ordinal;
        atomic_store_explicit(&x->slots[at].merchant, merchant, memory_order_relaxed);
        atomic_store_explicit(&x->slots[at].last, last, memory_order_relaxed);
    }
    atomic_store_explicit(&m->index, x, memory_order_release);
    *out = x;
    return TL_OK;
}

/* A merchant's ordinal within its shard. */
static enum tl_code merchant_new(struct tl_memtable *m, struct shard *s, int64_t merchant,
                                 uint32_t *ordinal, struct tl_status *st)
{
    if (s->merchant_count == s->merchant_capacity) {
        uint32_t capacity = s->merchant_capacity ? s->merchant_capacity * 2 : 16;
        int64_t *list = realloc(s->merchants, (size_t)capacity * sizeof(*list));
        if (!list) {
            no_memory((size_t)capacity * sizeof(*list), st);
            return st->code;
        }
        m->bytes += (size_t)(capacity - s->merchant_capacity) * sizeof(*list);
        s->merchants = list;
        s->merchant_capacity = capacity;
    }
    *ordinal = s->merchant_count;
    s->merchants[s->merchant_count++] = merchant;
    return TL_OK;
}

/* The chunk of u32 of a place, which is made when it is the first one there. */
static uint32_t *u32_chunk(struct tl_memtable *m, struct chunks *c, uint32_t place,
                           struct tl_status *st)
{
    uint32_t *chunk = tl__chunk_at(c, place);
    if (!chunk) {
        _Atomic(void *) *slot = chunk_slot(m, c, place, st);
        if (!slot || !(chunk = take(m, CHUNK_ROWS * sizeof(*chunk), st)))
            return NULL;
        atomic_store_explicit(slot, chunk, memory_order_release);
    }
    return chunk;
}

/* Gives row `merchant` the next place of its shard and links it. The values are not there yet: no
 * reader looks at a row that its position does not show. */
static inline enum tl_code link_row(struct tl_memtable *m, struct index **index, int64_t merchant,
                                    uint32_t *shard, struct tl_status *st)
{
    struct index *x = *index;
    uint32_t at = tl__merchant_hash(merchant) & x->mask;
    uint32_t last;
    while ((last = atomic_load_explicit(&x->slots[at].last, memory_order_relaxed)) &&
           atomic_load_explicit(&x->slots[at].merchant, memory_order_relaxed) != merchant)
        at = (at + 1) & x->mask;
    struct slot *slot = &x->slots[at];
    *shard = last ? (last - 1) >> TL_MEMTABLE_SHARD_SHIFT : tl_shard_of(merchant, m->shard_count);
    struct shard *s = &m->shards[*shard];
    if (!last) {
        if (merchant_new(m, s, merchant, &slot->ordinal, st))
            return st->code;
        atomic_store_explicit(&slot->merchant, merchant, memory_order_relaxed);
        x->used++;
    }
    uint32_t place = s->rows++;
    uint32_t at_row = place & (CHUNK_ROWS - 1);
    if (at_row == 0 && (!(s->open_previous = u32_chunk(m, &s->previous, place, st)) ||
                        !(s->open_ordinals = u32_chunk(m, &s->ordinals, place, st))))
        return st->code;
    s->open_previous[at_row] = last;
    s->open_ordinals[at_row] = slot->ordinal;
    /* release: the merchant and the link are in place */
    atomic_store_explicit(&slot->last, (tl_memtable_first_row(*shard) | place) + 1,
                          memory_order_release);
    return !last && x->used * 2 > x->mask ? index_grow(m, index, st) : TL_OK;
}

/* ---- a batch ---- */

/* The rows that go in, ascending. */
static enum tl_code list_rows(const struct tl_batch *batch, const struct tl_refused *refused,
                              uint32_t refused_count, struct tl_arena *scratch, uint32_t **out,
                              struct tl_status *st)
{
    uint32_t *rows = tl_arena_alloc(scratch, (size_t)batch->rows * 4, st);
    if (!rows)
        return st->code;
    uint32_t n = 0;
    for (uint32_t i = 0, k = 0; i < batch->rows; i++) {
        if (k < refused_count && refused[k].row == i)
            k++;
        else
            rows[n++] = i;
    }
    tl_assert(n == batch->rows - refused_count);
    *out = rows;
    return TL_OK;
}

/* Gives each row its place; then the rows by shard, and a run per shard that has any. */
static enum tl_code place_rows(struct target *t, const uint32_t *rows, const int64_t *merchants,
                               struct tl_status *st)
{
    struct tl_memtable *m = t->m;
    uint8_t *shards = tl_arena_alloc(t->scratch, t->count, st);
    uint32_t *source = tl_arena_alloc(t->scratch, (size_t)t->count * 4, st);
    uint32_t most = t->count < m->shard_count ? t->count : m->shard_count;
    struct run *runs = tl_arena_alloc(t->scratch, most * sizeof(*runs), st);
    uint32_t *before = tl_arena_alloc(t->scratch, (size_t)m->shard_count * 4, st);
    if (!shards || !source || !runs || !before)
        return st->code;
    for (uint32_t s = 0; s < m->shard_count; s++)
        before[s] = m->shards[s].rows;
    struct index *x = atomic_load_explicit(&m->index, memory_order_relaxed);
    for (uint32_t i = 0; i < t->count; i++) {
        if (i + MERCHANTS_AHEAD < t->count)
            __builtin_prefetch(
                &x->slots[tl__merchant_hash(merchants[rows[i + MERCHANTS_AHEAD]]) & x->mask]);
        uint32_t shard;
        if (link_row(m, &x, merchants[rows[i]], &shard, st))
            return st->code;
        shards[i] = (uint8_t)shard;
    }
    uint32_t n = 0;
    for (uint32_t s = 0; s < m->shard_count; s++) {
        uint32_t count = m->shards[s].rows - before[s];
        if (count > 0)
            runs[t->run_count++] = (struct run){s, n, count, before[s]};
        before[s] = n;
        n += count;
    }
    tl_assert(n == t->count);
    for (uint32_t i = 0; i < t->count; i++)
        source[before[shards[i]]++] = rows[i];
    t->source = source;
    t->runs = runs;
    return TL_OK;
}

/* Says that the rows of each shard are there, as of `position`. */
static enum tl_code publish(const struct target *t, uint64_t position, struct tl_status *st)
{
    for (uint32_t k = 0; k < t->run_count; k++) {
        struct shard *s = &t->m->shards[t->runs[k].shard];
        uint32_t n = atomic_load_explicit(&s->end_count, memory_order_relaxed);
        uint32_t level = tl__end_level(n);
        if (!s->ends[level]) {
            s->ends[level] = take(t->m, ((size_t)ENDS_FIRST << level) * sizeof(struct end), st);
            if (!s->ends[level])
                return st->code;
        }
        *tl__end_at(s, n) = (struct end){position, s->rows};
        atomic_store_explicit(&s->end_count, n + 1, memory_order_release);
    }
    return TL_OK;
}

enum tl_code tl_memtable_apply(struct tl_memtable *m, const struct tl_batch *batch,
                               const struct tl_refused *refused, uint32_t refused_count,
                               uint64_t position, int64_t received_at_us, struct tl_arena *scratch,
                               struct tl_status *st)
{
    const struct tl_table_info *info = &batch->table->info;
    struct target t = {.m = m, .count = batch->rows - refused_count, .scratch = scratch};
    uint32_t *rows = NULL;
    if (t.count == 0)
        return TL_OK;
    tl_assert(tl_memtable_has_room(m, t.count));
    m->batches++;
    if (list_rows(batch, refused, refused_count, scratch, &rows, st) ||
        place_rows(&t, rows, batch->columns[info->merchant_column].ints, st))
        return st->code;
    for (uint32_t i = 0; i < info->column_count; i++) {
        const struct tl_batch_column *from = &batch->columns[i];
        if (!from->present || from->valid_count == 0)
            continue;
        if (batch->between)
            batch->between(batch->between_arg);
        enum tl_code rc;
        if (info->columns[i].type.kind == TL_TEXT)
            rc = put_text(&t, from, from->strings, from->bad, info->columns[i].id, st);
        else if (info->columns[i].type.kind == TL_PROPS)
            rc = put_props(&t, from, info->columns[i].id, st);
        else
            rc = put_numbers(&t, from, &info->columns[i], st);
        if (rc)
            return rc;
    }
    for (uint32_t i = 0; i < m->column_count; i++) {
        struct column *c =
            atomic_load_explicit(&m->columns[m->column_ids[i]], memory_order_relaxed);
        if (c->batch != m->batches && put_nulls(&t, c, st))
            return st->code;
    }
    if (m->rows == 0)
        atomic_store_explicit(&m->oldest_us, received_at_us, memory_order_relaxed);
    m->rows += t.count;
    atomic_store_explicit(&m->bytes_shown, m->bytes, memory_order_relaxed);
    return publish(&t, position, st);
}
