#include "engine/memtable.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"

enum {
    CHUNK_ROWS = TL_MEMTABLE_CHUNK_ROWS,
    CHUNK_SHIFT = 13,
    CHUNKS_MAX = TL_MEMTABLE_ROWS_MAX / CHUNK_ROWS,
    STRINGS_CHUNK = 4096,
    STRINGS_CHUNKS_MAX = 2 * TL_MEMTABLE_ROWS_MAX / STRINGS_CHUNK,
    ENDS_CHUNK = 4096,
    ENDS_CHUNKS_MAX = TL_MEMTABLE_BATCHES_MAX / ENDS_CHUNK,
    COLUMNS_MAX = 2 * TL_COLUMNS_MAX,
    STRING_BLOCK_BYTES = 1 << 18,
};
_Static_assert(1 << CHUNK_SHIFT == CHUNK_ROWS, "a row's chunk is a shift");

/* Blocks of string bytes; freed together. */
struct block {
    struct block *next;
    size_t used, size;
    uint8_t bytes[];
};

/* Strings to codes. The hash table is the writer's alone; strings are published by `count`. */
struct dict {
    uint64_t id;
    _Atomic uint32_t count; /* stored with release after the string is in place */
    struct tl_slice *_Atomic chunks[STRINGS_CHUNKS_MAX];
    uint64_t *slots; /* high half: hash; low half: code + 1; 0: free */
    uint32_t mask;
    struct block *blocks;
};

/* 8,192 values of one column. Codes are stored + 1, so that 0 is NULL. Other kinds keep one byte
 * per row that is 0 for NULL, from the first NULL on. */
struct chunk {
    _Atomic(uint8_t *) valid;
    _Alignas(16) uint8_t values[];
};

struct column {
    uint32_t id;
    uint8_t kind;
    uint32_t width;
    _Atomic(struct dict *) dict;
    _Atomic(struct chunk *) chunks[CHUNKS_MAX]; /* NULL: all NULL so far */
};

/* merchant -> its newest row. Readers probe it while the writer inserts: `last` is stored with
 * release after `merchant`. A full table is replaced; old ones stay until the end. */
struct slot {
    _Atomic int64_t merchant;
    _Atomic uint32_t last; /* row + 1; 0: free */
    uint32_t ordinal;      /* of the merchant, by first appearance; the writer's */
};
struct index {
    struct index *older;
    uint32_t mask, used;
    struct slot slots[];
};

struct end {
    uint64_t position;
    uint32_t rows;
};

struct tl_memtable {
    _Atomic uint32_t refs;
    uint32_t table_id;
    const struct tl_table *table; /* writer */
    uint32_t rows;                /* writer */
    size_t bytes;                 /* writer */
    _Atomic size_t bytes_shown;
    _Atomic int64_t oldest_us;
    _Atomic uint32_t end_count; /* release: everything before it is in place */
    struct end *ends[ENDS_CHUNKS_MAX];
    _Atomic(struct column *) columns[COLUMNS_MAX]; /* by column id */
    _Atomic(struct index *) index;
    uint32_t *previous[CHUNKS_MAX]; /* the chain: row -> older row of the merchant, + 1 */
    uint32_t *ordinals[CHUNKS_MAX]; /* row -> ordinal of its merchant, for the flush */
};

/* ---- memory ---- */

static void *take(struct tl_memtable *m, size_t size, bool zero, struct tl_status *st)
{
    void *p = zero ? calloc(1, size) : malloc(size);
    if (!p) {
        TL_FAIL(st, TL_LIMIT, "no memory for %zu bytes of a memtable", size);
        return NULL;
    }
    m->bytes += size;
    return p;
}

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

enum tl_code tl_memtable_new(const struct tl_table *table, struct tl_memtable **out,
                             struct tl_status *st)
{
    struct tl_memtable *m = calloc(1, sizeof(*m));
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
    *out = m;
    return TL_OK;
}

struct tl_memtable *tl_memtable_ref(struct tl_memtable *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

static void dict_free(struct dict *d)
{
    if (!d)
        return;
    for (struct block *b = d->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    for (uint32_t i = 0; i < STRINGS_CHUNKS_MAX; i++) {
        struct tl_slice *c = atomic_load_explicit(&d->chunks[i], memory_order_relaxed);
        if (!c)
            break;
        free(c);
    }
    free(d->slots);
    free(d);
}

void tl_memtable_unref(struct tl_memtable *m)
{
    /* acq_rel: whoever frees has seen everything that the other holders did. */
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < COLUMNS_MAX; i++) {
        struct column *c = atomic_load_explicit(&m->columns[i], memory_order_relaxed);
        if (!c)
            continue;
        for (uint32_t k = 0; k < CHUNKS_MAX; k++) {
            struct chunk *chunk = atomic_load_explicit(&c->chunks[k], memory_order_relaxed);
            if (chunk)
                free(atomic_load_explicit(&chunk->valid, memory_order_relaxed));
            free(chunk);
        }
        dict_free(atomic_load_explicit(&c->dict, memory_order_relaxed));
        free(c);
    }
    for (uint32_t i = 0; i < CHUNKS_MAX; i++) {
        free(m->previous[i]);
        free(m->ordinals[i]);
    }
    for (uint32_t i = 0; i < ENDS_CHUNKS_MAX && m->ends[i]; i++)
        free(m->ends[i]);
    for (struct index *x = atomic_load_explicit(&m->index, memory_order_relaxed), *older; x;
         x = older) {
        older = x->older;
        free(x);
    }
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
           atomic_load_explicit(&m->end_count, memory_order_relaxed) <
               TL_MEMTABLE_BATCHES_MAX - TL_MEMTABLE_GROUP_BATCHES_MAX;
}

/* ---- writer: strings ---- */

static enum tl_code dict_new(struct tl_memtable *m, struct dict **out, struct tl_status *st)
{
    struct dict *d = take(m, sizeof(*d), true, st);
    if (!d)
        return st->code;
    d->slots = take(m, 256 * sizeof(*d->slots), true, st);
    if (!d->slots) {
        free(d);
        return st->code;
    }
    d->mask = 255;
    d->id = tl_dict_new_id();
    *out = d;
    return TL_OK;
}

static enum tl_code dict_grow(struct tl_memtable *m, struct dict *d, struct tl_status *st)
{
    uint32_t capacity = (d->mask + 1) * 2;
    uint64_t *slots = take(m, (size_t)capacity * sizeof(*slots), true, st);
    if (!slots)
        return st->code;
    for (uint32_t i = 0; i <= d->mask; i++) {
        if (!d->slots[i])
            continue;
        uint32_t at = (uint32_t)(d->slots[i] >> 32) & (capacity - 1);
        while (slots[at])
            at = (at + 1) & (capacity - 1);
        slots[at] = d->slots[i];
    }
    m->bytes -= ((size_t)d->mask + 1) * sizeof(*slots);
    free(d->slots);
    d->slots = slots;
    d->mask = capacity - 1;
    return TL_OK;
}

static struct tl_slice dict_string(const struct dict *d, uint32_t code)
{
    const struct tl_slice *chunk =
        atomic_load_explicit(&d->chunks[code / STRINGS_CHUNK], memory_order_acquire);
    return chunk[code % STRINGS_CHUNK];
}

/* The bytes of a new string, in a block. */
static const uint8_t *keep_bytes(struct tl_memtable *m, struct dict *d, struct tl_slice s,
                                 struct tl_status *st)
{
    struct block *b = d->blocks;
    if (!b || b->size - b->used < s.size) {
        /* Blocks grow with the dictionary, so that a column of three strings takes 4 KiB. */
        size_t size = b ? b->size * 2 : 4096;
        size = size > STRING_BLOCK_BYTES ? STRING_BLOCK_BYTES : size;
        size = size < s.size ? s.size : size;
        b = take(m, sizeof(*b) + size, false, st);
        if (!b)
            return NULL;
        *b = (struct block){.next = d->blocks, .size = size};
        d->blocks = b;
    }
    uint8_t *p = b->bytes + b->used;
    if (s.size > 0)
        memcpy(p, s.data, s.size);
    b->used += s.size;
    return p;
}

/* The code of a string + 1; 0 with st set when there is no memory. */
static uint32_t dict_put(struct tl_memtable *m, struct dict *d, struct tl_slice s,
                         struct tl_status *st)
{
    /* The table is indexed by the stored half of the hash, so it can grow without the strings. */
    uint32_t hash = (uint32_t)(tl_hash64(s.data, s.size) >> 32);
    uint32_t at = hash & d->mask;
    while (d->slots[at]) {
        if ((uint32_t)(d->slots[at] >> 32) == hash) {
            uint32_t code = (uint32_t)d->slots[at] - 1;
            if (tl_slice_eq(dict_string(d, code), s))
                return code + 1;
        }
        at = (at + 1) & d->mask;
    }
    uint32_t code = atomic_load_explicit(&d->count, memory_order_relaxed);
    if (code >= STRINGS_CHUNKS_MAX * STRINGS_CHUNK) {
        TL_FAIL(st, TL_LIMIT, "a memtable column has too many distinct strings");
        return 0;
    }
    struct tl_slice *chunk =
        atomic_load_explicit(&d->chunks[code / STRINGS_CHUNK], memory_order_relaxed);
    if (!chunk) {
        chunk = take(m, STRINGS_CHUNK * sizeof(*chunk), false, st);
        if (!chunk)
            return 0;
        atomic_store_explicit(&d->chunks[code / STRINGS_CHUNK], chunk, memory_order_release);
    }
    const uint8_t *bytes = keep_bytes(m, d, s, st);
    if (!bytes)
        return 0;
    chunk[code % STRINGS_CHUNK] = tl_slice_of(bytes, s.size);
    d->slots[at] = (uint64_t)hash << 32 | (code + 1);
    atomic_store_explicit(&d->count, code + 1, memory_order_release);
    if ((code + 1) * 2 > d->mask && dict_grow(m, d, st))
        return 0;
    return code + 1;
}

/* ---- writer: columns ---- */

static enum tl_code column_get(struct tl_memtable *m, uint32_t id, uint8_t kind,
                               struct column **out, struct tl_status *st)
{
    tl_assert(id < COLUMNS_MAX);
    struct column *c = atomic_load_explicit(&m->columns[id], memory_order_relaxed);
    if (!c) {
        c = take(m, sizeof(*c), true, st);
        if (!c)
            return st->code;
        c->id = id;
        c->kind = kind;
        c->width = width_of(kind);
        if (kind == TL_TEXT) {
            struct dict *d;
            if (dict_new(m, &d, st)) {
                free(c);
                return st->code;
            }
            atomic_init(&c->dict, d);
        }
        atomic_store_explicit(&m->columns[id], c, memory_order_release);
    }
    *out = c;
    return TL_OK;
}

static enum tl_code chunk_get(struct tl_memtable *m, struct column *c, uint32_t index,
                              uint32_t first_row, struct chunk **out, struct tl_status *st)
{
    struct chunk *chunk = atomic_load_explicit(&c->chunks[index], memory_order_relaxed);
    if (!chunk) {
        chunk = take(m, sizeof(*chunk) + (size_t)CHUNK_ROWS * c->width, true, st);
        if (!chunk)
            return st->code;
        if (c->kind != TL_TEXT && first_row > 0) {
            uint8_t *valid = take(m, CHUNK_ROWS, true, st);
            if (!valid) {
                free(chunk);
                return st->code;
            }
            atomic_init(&chunk->valid, valid);
        }
        atomic_store_explicit(&c->chunks[index], chunk, memory_order_release);
    }
    *out = chunk;
    return TL_OK;
}

/* The bytes that say which rows of a chunk are valid; made with all rows so far valid. */
static uint8_t *chunk_valid(struct tl_memtable *m, struct chunk *chunk, uint32_t rows_so_far,
                            struct tl_status *st)
{
    uint8_t *valid = atomic_load_explicit(&chunk->valid, memory_order_relaxed);
    if (!valid) {
        valid = take(m, CHUNK_ROWS, true, st);
        if (!valid)
            return NULL;
        memset(valid, 1, rows_so_far);
        atomic_store_explicit(&chunk->valid, valid, memory_order_release);
    }
    return valid;
}

/* Where a batch's rows go, and which they are. */
struct target {
    struct tl_memtable *m;
    uint32_t first;         /* row of the memtable */
    uint32_t count;         /* rows that go in */
    const uint32_t *source; /* their rows in the batch; NULL: the first `count` ones */
    struct tl_arena *scratch;
};

static inline uint32_t source_row(const struct target *t, uint32_t i)
{
    return t->source ? t->source[i] : i;
}

static void copy_values(uint8_t *to, const struct tl_batch_column *from, const struct column *c,
                        const struct target *t, uint32_t lo, uint32_t n)
{
    if (c->width == 8 && !t->source) {
        memcpy(to, c->kind == TL_DOUBLE ? (const void *)(from->doubles + lo) : from->ints + lo,
               (size_t)n * 8);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = source_row(t, lo + i);
        if (c->kind == TL_DOUBLE)
            memcpy(to + (size_t)i * 8, &from->doubles[row], 8);
        else if (c->kind == TL_BOOLEAN)
            to[i] = from->bools[row];
        else if (c->width == 8)
            memcpy(to + (size_t)i * 8, &from->ints[row], 8);
        else
            memcpy(to + (size_t)i * 4, &(int32_t){(int32_t)from->ints[row]}, 4);
    }
}

static enum tl_code put_numbers(const struct target *t, const struct tl_batch_column *from,
                                uint32_t id, uint8_t kind, struct tl_status *st)
{
    struct column *c;
    if (column_get(t->m, id, kind, &c, st))
        return st->code;
    for (uint32_t lo = 0; lo < t->count;) {
        uint32_t row = t->first + lo;
        uint32_t at = row & (CHUNK_ROWS - 1);
        uint32_t n = CHUNK_ROWS - at < t->count - lo ? CHUNK_ROWS - at : t->count - lo;
        struct chunk *chunk;
        if (chunk_get(t->m, c, row >> CHUNK_SHIFT, at, &chunk, st))
            return st->code;
        copy_values(chunk->values + (size_t)at * c->width, from, c, t, lo, n);
        uint8_t *valid = atomic_load_explicit(&chunk->valid, memory_order_relaxed);
        if (!from->validity) {
            if (valid)
                memset(valid + at, 1, n);
        } else {
            valid = chunk_valid(t->m, chunk, at, st);
            if (!valid)
                return st->code;
            for (uint32_t i = 0; i < n; i++)
                valid[at + i] = tl_batch_valid(from, source_row(t, lo + i));
        }
        lo += n;
    }
    return TL_OK;
}

/* Codes of the batch become codes of the memtable: one probe per distinct string that a row uses,
 * one array look-up per row. `strings` are the values to store for the batch's codes. */
static enum tl_code put_text(const struct target *t, const struct tl_batch_column *from,
                             const struct tl_slice *strings, uint32_t id, struct tl_status *st)
{
    struct column *c;
    if (column_get(t->m, id, TL_TEXT, &c, st))
        return st->code;
    struct dict *d = atomic_load_explicit(&c->dict, memory_order_relaxed);
    uint32_t *map = tl_arena_calloc(t->scratch, (size_t)from->string_count + 1, 4, st);
    if (!map)
        return st->code;
    for (uint32_t lo = 0; lo < t->count;) {
        uint32_t row = t->first + lo;
        uint32_t at = row & (CHUNK_ROWS - 1);
        uint32_t n = CHUNK_ROWS - at < t->count - lo ? CHUNK_ROWS - at : t->count - lo;
        struct chunk *chunk;
        if (chunk_get(t->m, c, row >> CHUNK_SHIFT, at, &chunk, st))
            return st->code;
        uint32_t *to = (uint32_t *)(void *)chunk->values + at;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t source = source_row(t, lo + i);
            if (from->validity && !tl_batch_valid(from, source))
                continue; /* 0 already */
            uint32_t code = from->codes[source];
            if (!map[code] && !(map[code] = dict_put(t->m, d, strings[code], st)))
                return st->code;
            to[i] = map[code];
        }
        lo += n;
    }
    return TL_OK;
}

static enum tl_code put_props(const struct target *t, const struct tl_batch_column *from,
                              uint32_t id, struct tl_status *st)
{
    size_t n = from->string_count;
    struct tl_slice *keys = tl_arena_calloc(t->scratch, n + 1, sizeof(*keys), st);
    struct tl_slice *values = tl_arena_calloc(t->scratch, n + 1, sizeof(*values), st);
    uint8_t *used = tl_arena_calloc(t->scratch, n + 1, 1, st);
    if (!keys || !values || !used)
        return st->code;
    /* Strings that only refused rows use were not judged good: leave them alone. */
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t row = source_row(t, i);
        if (tl_batch_valid(from, row))
            used[from->codes[row]] = 1;
    }
    for (size_t i = 0; i < n; i++)
        if (used[i] && tl_props_split(from->strings[i], t->scratch, &keys[i], &values[i], st))
            return st->code;
    if (put_text(t, from, keys, id, st))
        return st->code;
    return put_text(t, from, values, id + 1, st);
}

/* ---- writer: the merchants' chains ---- */

static enum tl_code index_grow(struct tl_memtable *m, struct index **out, struct tl_status *st)
{
    struct index *old = atomic_load_explicit(&m->index, memory_order_relaxed);
    uint32_t capacity = (old->mask + 1) * 2;
    struct index *x = take(m, sizeof(*x) + (size_t)capacity * sizeof(struct slot), true, st);
    if (!x)
        return st->code;
    x->mask = capacity - 1;
    x->used = old->used;
    x->older = old; /* readers may be inside it */
    for (uint32_t i = 0; i <= old->mask; i++) {
        uint32_t last = atomic_load_explicit(&old->slots[i].last, memory_order_relaxed);
        if (!last)
            continue;
        int64_t merchant = atomic_load_explicit(&old->slots[i].merchant, memory_order_relaxed);
        uint32_t at = (uint32_t)tl_hash_u64((uint64_t)merchant) & x->mask;
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

static enum tl_code link_rows(const struct target *t, const int64_t *merchants,
                              struct tl_status *st)
{
    struct tl_memtable *m = t->m;
    struct index *x = atomic_load_explicit(&m->index, memory_order_relaxed);
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t row = t->first + i;
        uint32_t *previous = m->previous[row >> CHUNK_SHIFT];
        uint32_t *ordinals = m->ordinals[row >> CHUNK_SHIFT];
        if (!ordinals) {
            previous = take(m, CHUNK_ROWS * sizeof(*previous), false, st);
            if (!previous)
                return st->code;
            m->previous[row >> CHUNK_SHIFT] = previous;
            ordinals = take(m, CHUNK_ROWS * sizeof(*ordinals), false, st);
            if (!ordinals)
                return st->code;
            m->ordinals[row >> CHUNK_SHIFT] = ordinals;
        }
        int64_t merchant = merchants[source_row(t, i)];
        uint32_t at = (uint32_t)tl_hash_u64((uint64_t)merchant) & x->mask;
        uint32_t last;
        while ((last = atomic_load_explicit(&x->slots[at].last, memory_order_relaxed)) &&
               atomic_load_explicit(&x->slots[at].merchant, memory_order_relaxed) != merchant)
            at = (at + 1) & x->mask;
        previous[row & (CHUNK_ROWS - 1)] = last;
        if (!last) {
            atomic_store_explicit(&x->slots[at].merchant, merchant, memory_order_relaxed);
            x->slots[at].ordinal = x->used++;
        }
        ordinals[row & (CHUNK_ROWS - 1)] = x->slots[at].ordinal;
        /* release: the merchant, the link and the row itself are in place */
        atomic_store_explicit(&x->slots[at].last, row + 1, memory_order_release);
        if (x->used * 2 > x->mask && index_grow(m, &x, st))
            return st->code;
    }
    return TL_OK;
}

/* ---- writer: a batch ---- */

enum tl_code tl_memtable_apply(struct tl_memtable *m, const struct tl_batch *batch,
                               const struct tl_refused *refused, uint32_t refused_count,
                               uint64_t position, int64_t received_at_us, struct tl_arena *scratch,
                               struct tl_status *st)
{
    const struct tl_table_info *info = &batch->table->info;
    struct target t = {
        .m = m, .first = m->rows, .count = batch->rows - refused_count, .scratch = scratch};
    if (t.count == 0)
        return TL_OK;
    tl_assert(tl_memtable_has_room(m, t.count));
    if (refused_count > 0) {
        uint32_t *source = tl_arena_alloc(scratch, (size_t)t.count * 4, st);
        if (!source)
            return st->code;
        uint32_t n = 0;
        for (uint32_t i = 0, k = 0; i < batch->rows; i++) {
            if (k < refused_count && refused[k].row == i)
                k++;
            else
                source[n++] = i;
        }
        tl_assert(n == t.count);
        t.source = source;
    }
    for (uint32_t i = 0; i < info->column_count; i++) {
        const struct tl_batch_column *from = &batch->columns[i];
        if (!from->present)
            continue;
        enum tl_code rc;
        if (info->columns[i].type.kind == TL_TEXT)
            rc = put_text(&t, from, from->strings, info->columns[i].id, st);
        else if (info->columns[i].type.kind == TL_PROPS)
            rc = put_props(&t, from, info->columns[i].id, st);
        else
            rc = put_numbers(&t, from, info->columns[i].id, info->columns[i].type.kind, st);
        if (rc)
            return rc;
    }
    if (link_rows(&t, batch->columns[info->merchant_column].ints, st))
        return st->code;
    m->rows += t.count;

    uint32_t n = atomic_load_explicit(&m->end_count, memory_order_relaxed);
    if (!m->ends[n / ENDS_CHUNK]) {
        m->ends[n / ENDS_CHUNK] = take(m, ENDS_CHUNK * sizeof(struct end), false, st);
        if (!m->ends[n / ENDS_CHUNK])
            return st->code;
    }
    m->ends[n / ENDS_CHUNK][n % ENDS_CHUNK] = (struct end){position, m->rows};
    if (n == 0)
        atomic_store_explicit(&m->oldest_us, received_at_us, memory_order_relaxed);
    atomic_store_explicit(&m->bytes_shown, m->bytes, memory_order_relaxed);
    atomic_store_explicit(&m->end_count, n + 1, memory_order_release);
    return TL_OK;
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

uint32_t tl_memtable_rows_at(const struct tl_memtable *m, uint64_t position)
{
    uint32_t lo = 0;
    uint32_t hi = atomic_load_explicit(&m->end_count, memory_order_acquire);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (m->ends[mid / ENDS_CHUNK][mid % ENDS_CHUNK].position <= position)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo == 0 ? 0 : m->ends[(lo - 1) / ENDS_CHUNK][(lo - 1) % ENDS_CHUNK].rows;
}

static enum tl_code memtable_dict_get(const struct tl_dict *dict, const uint32_t *codes,
                                      uint32_t count, struct tl_slice *out, struct tl_status *st)
{
    (void)st;
    const struct dict *d = ((const struct tl_memtable_dict *)dict)->impl;
    for (uint32_t i = 0; i < count; i++)
        out[i] = dict_string(d, codes[i]);
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

/* The values of a column's chunks, with zeros (and validity bytes of their own) in place of chunks
 * that hold NULL alone, so that gathering has no branch per row. */
struct chunk_view {
    const uint8_t *values;
    const uint8_t *valid; /* NULL: all valid */
};

static const uint8_t zero_chunk[CHUNK_ROWS * 8];

static struct chunk_view view_of(const struct column *c, uint32_t index)
{
    const struct chunk *chunk = atomic_load_explicit(&c->chunks[index], memory_order_acquire);
    if (!chunk)
        return (struct chunk_view){zero_chunk, zero_chunk};
    return (struct chunk_view){chunk->values,
                               atomic_load_explicit(&chunk->valid, memory_order_acquire)};
}

enum { PREFETCH_ROWS = 24 };

/* Stored codes + 1 of the rows; 0 where NULL. The rows lie anywhere, so each is a cache miss of
 * its own: fetch ahead. */
static void gather_codes(const struct column *c, const uint32_t *rows, uint32_t count,
                         uint32_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i + PREFETCH_ROWS < count) {
            uint32_t ahead = rows[i + PREFETCH_ROWS];
            const struct chunk *next =
                atomic_load_explicit(&c->chunks[ahead >> CHUNK_SHIFT], memory_order_acquire);
            if (next)
                __builtin_prefetch(next->values + (size_t)(ahead & (CHUNK_ROWS - 1)) * 4);
        }
        const uint32_t *values =
            (const uint32_t *)(const void *)view_of(c, rows[i] >> CHUNK_SHIFT).values;
        out[i] = values[rows[i] & (CHUNK_ROWS - 1)];
    }
}

/* Fixed-width values of the rows and which are valid; true when none is NULL. */
static bool gather_values(const struct column *c, const uint32_t *rows, uint32_t count,
                          uint8_t *out, uint64_t *validity)
{
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        struct chunk_view v = view_of(c, rows[i] >> CHUNK_SHIFT);
        uint32_t at = rows[i] & (CHUNK_ROWS - 1);
        if (c->width == 8)
            memcpy(out + (size_t)i * 8, v.values + (size_t)at * 8, 8);
        else if (c->width == 4)
            memcpy(out + (size_t)i * 4, v.values + (size_t)at * 4, 4);
        else
            out[i] = v.values[at];
        bool ok = !v.valid || v.valid[at];
        validity[i >> 6] |= (uint64_t)ok << (i & 63);
        all = all && ok;
    }
    return all;
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
    uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(count), 8, st);
    uint8_t *values = tl_arena_alloc(arena, (size_t)count * c->width + 16, st);
    if (!validity || !values)
        return st->code;
    *out = (struct tl_vector){.type = type, .shape = TL_FLAT, .count = count, .data = values};
    if (c->kind != TL_TEXT) {
        if (!gather_values(c, rows, count, values, validity))
            out->validity = validity;
        return TL_OK;
    }
    uint32_t *codes = (uint32_t *)(void *)values;
    gather_codes(c, rows, count, codes);
    uint32_t nulls = 0;
    for (uint32_t i = 0; i < count; i++)
        nulls += codes[i] == 0;
    for (uint32_t i = 0; nulls > 0 && i < count; i++) {
        bool ok = codes[i] != 0;
        validity[i >> 6] |= (uint64_t)ok << (i & 63);
        codes[i] -= ok;
    }
    for (uint32_t i = 0; nulls == 0 && i < count; i++)
        codes[i]--;
    out->shape = TL_DICT;
    out->data = NULL;
    out->codes = codes;
    out->dict = &dict->dict;
    out->validity = nulls > 0 ? validity : NULL;
    return TL_OK;
}

enum tl_code tl_memtable_read(const struct tl_memtable *m, uint32_t column_id, struct tl_type type,
                              const struct tl_memtable_dict *dict, uint32_t lo, uint32_t hi,
                              struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    tl_assert(lo < hi && hi - lo <= TL_VECTOR_ROWS_MAX &&
              lo >> CHUNK_SHIFT == (hi - 1) >> CHUNK_SHIFT);
    const struct column *c = find_column(m, column_id);
    const struct chunk *chunk =
        c ? atomic_load_explicit(&c->chunks[lo >> CHUNK_SHIFT], memory_order_acquire) : NULL;
    if (!chunk || (c->kind == TL_TEXT && !dict)) {
        all_null(type, hi - lo, out);
        return TL_OK;
    }
    uint32_t at = lo & (CHUNK_ROWS - 1);
    uint32_t count = hi - lo;
    const uint8_t *valid = atomic_load_explicit(&chunk->valid, memory_order_acquire);
    *out = (struct tl_vector){.type = type, .shape = TL_FLAT, .count = count};
    uint64_t *validity = NULL;
    bool nulls = false;
    if (valid || c->kind == TL_TEXT) {
        validity = tl_arena_calloc(arena, tl_bit_words(count), 8, st);
        if (!validity)
            return st->code;
    }
    if (c->kind == TL_TEXT) {
        const uint32_t *stored = (const uint32_t *)(const void *)chunk->values + at;
        uint32_t *codes = tl_arena_alloc(arena, (size_t)count * 4, st);
        if (!codes)
            return st->code;
        for (uint32_t i = 0; i < count; i++) {
            bool ok = stored[i] != 0;
            codes[i] = stored[i] - ok;
            validity[i >> 6] |= (uint64_t)ok << (i & 63);
            nulls |= !ok;
        }
        out->shape = TL_DICT;
        out->codes = codes;
        out->dict = &dict->dict;
    } else {
        out->data = chunk->values + (size_t)at * c->width;
        for (uint32_t i = 0; valid && i < count; i++) {
            validity[i >> 6] |= (uint64_t)valid[at + i] << (i & 63);
            nulls |= !valid[at + i];
        }
    }
    out->validity = nulls ? validity : NULL;
    return TL_OK;
}

static const int64_t *fixed_chunk(const struct tl_memtable *m, uint32_t id, uint32_t row)
{
    const struct column *c = find_column(m, id);
    const struct chunk *chunk =
        atomic_load_explicit(&c->chunks[row >> CHUNK_SHIFT], memory_order_acquire);
    return (const int64_t *)(const void *)chunk->values;
}

const int64_t *tl_memtable_ts(const struct tl_memtable *m, uint32_t row)
{
    return fixed_chunk(m, 2, row);
}

const int64_t *tl_memtable_merchant(const struct tl_memtable *m, uint32_t row)
{
    return fixed_chunk(m, 1, row);
}

uint32_t tl_memtable_last(const struct tl_memtable *m, int64_t merchant)
{
    const struct index *x = atomic_load_explicit(&m->index, memory_order_acquire);
    uint32_t at = (uint32_t)tl_hash_u64((uint64_t)merchant) & x->mask;
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
    return m->previous[row >> CHUNK_SHIFT][row & (CHUNK_ROWS - 1)] - 1;
}

uint32_t tl_memtable_merchant_count(const struct tl_memtable *m)
{
    return atomic_load_explicit(&m->index, memory_order_acquire)->used;
}

void tl_memtable_merchants(const struct tl_memtable *m, int64_t *out)
{
    const struct index *x = atomic_load_explicit(&m->index, memory_order_acquire);
    for (uint32_t i = 0; i <= x->mask; i++)
        if (atomic_load_explicit(&x->slots[i].last, memory_order_relaxed))
            out[x->slots[i].ordinal] =
                atomic_load_explicit(&x->slots[i].merchant, memory_order_relaxed);
}

const uint32_t *tl_memtable_ordinals(const struct tl_memtable *m, uint32_t row)
{
    return m->ordinals[row >> CHUNK_SHIFT];
}
