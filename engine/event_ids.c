#include "engine/event_ids.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "engine/event_ids_int.h"
#include "engine/id_filter.h"

enum {
    FILTER_BYTES_DEFAULT = 48 << 20,
    FILTERS_MAX = 32,
    RECENT_SLOTS_MIN = 1024,
    READ_KEYS = 4 << 20,         /* that are sorted together */
    BYTES_PER_KEY_PERCENT = 235, /* of a filter, for choosing how much to read */
};

/* The keys of a memtable's rows. A slot: hash << 32 | row + 1; 0: free. */
struct recent {
    struct recent *next;
    struct tl_memtable *memtable; /* referenced */
    uint64_t *slots;
    uint32_t mask, count;
    int64_t max_ts;
};

struct filter {
    struct tl_id_filter *set;
    int64_t max_ts; /* of its keys */
};

struct table_ids {
    struct table_ids *next;
    uint32_t table_id;
    struct recent *recents; /* log thread; the list itself under the lock */
    struct filter filters[FILTERS_MAX];
    uint32_t filter_count;
    int64_t floor; /* the filters know every key of a segment with a ts of at least this */
    bool unread;   /* segments of before the start are not in the filters */
    bool wanted;   /* … and ids arrive */
};

struct tl_event_ids {
    size_t filter_bytes_max;
    pthread_mutex_t lock;     /* lists of recents, filters, floors, sums */
    pthread_mutex_t maintain; /* one at a time makes or merges filters; taken before `lock` */
    struct table_ids *tables;
    size_t filter_bytes, recent_bytes;
    uint64_t duplicates, asked;
};

enum tl_code tl_event_ids_new(size_t filter_bytes, struct tl_event_ids **out, struct tl_status *st)
{
    struct tl_event_ids *ids = calloc(1, sizeof(*ids));
    if (!ids)
        return TL_FAIL(st, TL_LIMIT, "no memory for event ids");
    ids->filter_bytes_max = filter_bytes ? filter_bytes : FILTER_BYTES_DEFAULT;
    pthread_mutex_init(&ids->lock, NULL);
    pthread_mutex_init(&ids->maintain, NULL);
    *out = ids;
    return TL_OK;
}

static void recent_free(struct tl_event_ids *ids, struct recent *r)
{
    ids->recent_bytes -= ((size_t)r->mask + 1) * sizeof(*r->slots);
    tl_memtable_unref(r->memtable);
    free(r->slots);
    free(r);
}

void tl_event_ids_free(struct tl_event_ids *ids)
{
    if (!ids)
        return;
    for (struct table_ids *t = ids->tables, *next; t; t = next) {
        next = t->next;
        for (struct recent *r = t->recents, *after; r; r = after) {
            after = r->next;
            recent_free(ids, r);
        }
        for (uint32_t i = 0; i < t->filter_count; i++)
            tl_id_filter_free(t->filters[i].set);
        free(t);
    }
    pthread_mutex_destroy(&ids->lock);
    pthread_mutex_destroy(&ids->maintain);
    free(ids);
}

static struct table_ids *table_find_locked(struct tl_event_ids *ids, uint32_t table_id)
{
    struct table_ids *t = ids->tables;
    while (t && t->table_id != table_id)
        t = t->next;
    return t;
}

static enum tl_code table_get_locked(struct tl_event_ids *ids, uint32_t table_id,
                                     struct table_ids **out, struct tl_status *st)
{
    struct table_ids *t = table_find_locked(ids, table_id);
    if (!t) {
        t = calloc(1, sizeof(*t));
        if (!t)
            return TL_FAIL(st, TL_LIMIT, "no memory for the event ids of a table");
        t->table_id = table_id;
        t->floor = INT64_MIN;
        t->next = ids->tables;
        ids->tables = t;
    }
    *out = t;
    return TL_OK;
}

enum tl_code tl_event_ids_open(struct tl_event_ids *ids, const struct tl_version *version,
                               struct tl_status *st)
{
    pthread_mutex_lock(&ids->lock);
    for (uint32_t i = 0; i < version->table_count && st->code == TL_OK; i++) {
        const struct tl_table_version *tv = &version->tables[i];
        bool any = false;
        for (uint32_t s = 0; s < version->shard_count; s++)
            any = any || (tv->shards[s] && tv->shards[s]->count > 0);
        struct table_ids *t;
        if (any && !table_get_locked(ids, tv->table_id, &t, st)) {
            t->floor = INT64_MAX;
            t->unread = true;
        }
    }
    pthread_mutex_unlock(&ids->lock);
    return st->code;
}

/* ---- the keys of memtables ---- */

static bool version_has(const struct tl_version *version, uint32_t table_id,
                        const struct tl_memtable *m)
{
    const struct tl_table_version *t = tl_version_find(version, table_id);
    for (uint32_t i = 0; t && i < t->memtable_count; i++)
        if (t->memtables[i] == m)
            return true;
    return false;
}

/* Lets go of memtables that are segments now, and answers with the active one's table, first in
 * the list, with room for `more` keys. */
static enum tl_code recents_prepare(struct tl_event_ids *ids, struct table_ids *t,
                                    struct tl_memtable *active, const struct tl_version *version,
                                    uint32_t more, struct tl_status *st)
{
    struct recent *gone = NULL;
    pthread_mutex_lock(&ids->lock);
    for (struct recent **at = &t->recents; *at;) {
        struct recent *r = *at;
        if (r->memtable == active || version_has(version, t->table_id, r->memtable)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->next = gone;
        gone = r;
    }
    for (struct recent *r = gone, *next; r; r = next) {
        next = r->next;
        recent_free(ids, r);
    }
    pthread_mutex_unlock(&ids->lock);

    struct recent *r = t->recents;
    if (!r || r->memtable != active) {
        r = calloc(1, sizeof(*r));
        uint64_t *slots = calloc(RECENT_SLOTS_MIN, sizeof(*slots));
        if (!r || !slots) {
            free(r);
            free(slots);
            return TL_FAIL(st, TL_LIMIT, "no memory for the event ids of a memtable");
        }
        *r = (struct recent){.memtable = tl_memtable_ref(active),
                             .slots = slots,
                             .mask = RECENT_SLOTS_MIN - 1,
                             .max_ts = INT64_MIN};
        pthread_mutex_lock(&ids->lock);
        r->next = t->recents;
        t->recents = r;
        ids->recent_bytes += RECENT_SLOTS_MIN * sizeof(*slots);
        pthread_mutex_unlock(&ids->lock);
    }
    uint64_t capacity = (uint64_t)r->mask + 1;
    while (((uint64_t)r->count + more) * 8 > capacity * 7)
        capacity *= 2;
    if (capacity == (uint64_t)r->mask + 1)
        return TL_OK;
    uint64_t *slots = calloc(capacity, sizeof(*slots));
    if (!slots)
        return TL_FAIL(st, TL_LIMIT, "no memory for the event ids of a memtable");
    uint32_t mask = (uint32_t)(capacity - 1);
    for (uint32_t i = 0; i <= r->mask; i++) {
        if (!r->slots[i])
            continue;
        uint32_t at = (uint32_t)(r->slots[i] >> 32) & mask;
        while (slots[at])
            at = (at + 1) & mask;
        slots[at] = r->slots[i];
    }
    /* Nobody else looks at the slots of a memtable that is not sealed. */
    pthread_mutex_lock(&ids->lock);
    ids->recent_bytes += (capacity - 1 - r->mask) * sizeof(*slots);
    free(r->slots);
    r->slots = slots;
    r->mask = mask;
    pthread_mutex_unlock(&ids->lock);
    return TL_OK;
}

/* ---- one batch ---- */

struct keys {
    struct tl_arena *scratch;
    const struct tl_batch *batch;
    const struct tl_batch_column *id;
    const int64_t *merchants, *ts;
    uint32_t column_id;
    uint32_t count;
    uint32_t *rows; /* of the batch: neither refused nor without an id */
    uint32_t *hashes;
    uint8_t *maybe;   /* may be in a segment; later: is */
    uint32_t *placed; /* rows of the batch by shard and their place in it */
    uint8_t *shards;  /* of all rows of the batch */
    /* Per shard: its rows in the memtable before this batch, where its rows begin in `placed`, and
     * the place of its next row. */
    uint32_t *first, *begin, *next;
};

static struct tl_slice key_id(const struct keys *k, uint32_t row)
{
    return k->id->strings[tl_batch_code(k->id, row)];
}

static enum tl_code keys_make(struct keys *k, const struct tl_refused *refused,
                              uint32_t refused_count, struct tl_status *st)
{
    uint32_t rows = k->batch->rows;
    uint64_t *hashed = tl_arena_alloc(k->scratch, (size_t)k->id->string_count * 8 + 1, st);
    k->rows = tl_arena_alloc(k->scratch, (size_t)rows * sizeof(*k->rows), st);
    k->hashes = tl_arena_alloc(k->scratch, (size_t)rows * sizeof(*k->hashes), st);
    k->maybe = tl_arena_calloc(k->scratch, rows, sizeof(*k->maybe), st);
    k->placed = tl_arena_alloc(k->scratch, (size_t)rows * sizeof(*k->placed), st);
    if (!hashed || !k->rows || !k->hashes || !k->maybe || !k->placed)
        return st->code;
    for (uint32_t i = 0; i < k->id->string_count; i++)
        hashed[i] = tl_hash64(k->id->strings[i].data, k->id->strings[i].size);
    uint32_t r = 0;
    for (uint32_t row = 0; row < rows; row++) {
        if (r < refused_count && refused[r].row == row) {
            r++;
            continue;
        }
        if (!tl_batch_valid(k->id, row))
            continue;
        k->rows[k->count] = row;
        k->hashes[k->count++] =
            tl__id_hash(hashed[tl_batch_code(k->id, row)], k->merchants[row], k->ts[row]);
    }
    return TL_OK;
}

/* Leaves `maybe` set for the keys that a segment has. */
static enum tl_code keys_in_segments(struct tl_event_ids *ids, struct table_ids *t, struct keys *k,
                                     const struct tl_version *version, struct tl_status *st)
{
    pthread_mutex_lock(&ids->lock);
    for (uint32_t i = 0; t->floor != INT64_MIN && i < k->count; i++)
        k->maybe[i] = k->ts[k->rows[i]] < t->floor;
    for (uint32_t i = 0; i < t->filter_count; i++)
        tl_id_filter_ask(t->filters[i].set, k->hashes, k->count, k->maybe);
    t->wanted = t->unread;
    uint32_t count = 0;
    for (uint32_t i = 0; i < k->count; i++)
        count += k->maybe[i];
    ids->asked += count;
    pthread_mutex_unlock(&ids->lock);
    if (count == 0)
        return TL_OK;
    struct tl__id_suspect *suspects =
        tl_arena_alloc(k->scratch, (size_t)count * sizeof(*suspects), st);
    if (!suspects)
        return st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->count; i++)
        if (k->maybe[i])
            suspects[n++] = (struct tl__id_suspect){.merchant = k->merchants[k->rows[i]],
                                                    .ts = k->ts[k->rows[i]],
                                                    .id = key_id(k, k->rows[i]),
                                                    .key = i};
    if (tl__ids_in_segments(version, t->table_id, k->column_id, suspects, count, k->scratch, st))
        return st->code;
    for (uint32_t i = 0; i < count; i++)
        k->maybe[suspects[i].key] = suspects[i].found;
    return TL_OK;
}

/* The event id of a row of a memtable. */
static enum tl_code memtable_id(const struct tl_memtable *m, uint32_t column_id, uint32_t row,
                                struct tl_arena *scratch, struct tl_slice *out,
                                struct tl_status *st)
{
    struct tl_memtable_dict dict;
    struct tl_vector v;
    bool has = tl_memtable_dict(m, column_id, &dict);
    if (tl_memtable_gather(m, column_id, tl_type_of(TL_TEXT), has ? &dict : NULL, &row, 1, scratch,
                           &v, st) ||
        tl_vector_flatten(&v, scratch, &v, st))
        return st->code;
    tl_assert(tl_vector_valid(&v, 0));
    *out = ((const struct tl_slice *)v.data)[0];
    return TL_OK;
}

/* Where the rows of this batch will lie in the memtable: by shard, in their order. */
static enum tl_code places_make(struct keys *k, const struct tl_memtable *m, struct tl_status *st)
{
    uint32_t rows = k->batch->rows;
    uint32_t count = tl_memtable_shard_count(m);
    k->shards = tl_arena_alloc(k->scratch, rows, st);
    k->first = tl_arena_calloc(k->scratch, 3 * (size_t)count, sizeof(*k->first), st);
    if (!k->shards || !k->first)
        return st->code;
    k->begin = k->first + count;
    k->next = k->begin + count;
    for (uint32_t row = 0; row < rows; row++) {
        k->shards[row] = (uint8_t)tl_shard_of(k->merchants[row], count);
        k->begin[k->shards[row]]++;
    }
    uint32_t before = 0;
    for (uint32_t s = 0; s < count; s++) {
        uint32_t n = k->begin[s];
        k->begin[s] = before;
        before += n;
        k->first[s] = k->next[s] = tl_memtable_shard_rows(m, s);
    }
    return TL_OK;
}

/* The next row of the batch that is kept: its number in the memtable. */
static uint32_t place_row(struct keys *k, uint32_t row)
{
    uint32_t s = k->shards[row];
    uint32_t place = k->next[s]++;
    k->placed[k->begin[s] + place - k->first[s]] = row;
    return tl_memtable_first_row(s) + place;
}

/* The row of this batch that will be row `number` of the memtable; false: it was there before. */
static bool placed_row(const struct keys *k, uint32_t number, uint32_t *row)
{
    uint32_t s = number >> TL_MEMTABLE_SHARD_SHIFT;
    uint32_t place = number - tl_memtable_first_row(s);
    if (place < k->first[s])
        return false;
    *row = k->placed[k->begin[s] + place - k->first[s]];
    return true;
}

/* Is key `i` that of a row of this memtable, or of this batch when it is the `active` one? */
static enum tl_code in_recent(const struct recent *r, const struct keys *k, uint32_t i, bool active,
                              bool *found, struct tl_status *st)
{
    uint32_t hash = k->hashes[i];
    uint32_t row = k->rows[i];
    for (uint32_t at = hash & r->mask; r->slots[at]; at = (at + 1) & r->mask) {
        if ((uint32_t)(r->slots[at] >> 32) != hash)
            continue;
        uint32_t other = (uint32_t)r->slots[at] - 1;
        uint32_t there;
        if (active && placed_row(k, other, &there)) {
            *found = k->merchants[there] == k->merchants[row] && k->ts[there] == k->ts[row] &&
                     tl_slice_eq(key_id(k, there), key_id(k, row));
        } else if (tl_memtable_merchant(r->memtable, other) == k->merchants[row] &&
                   tl_memtable_ts(r->memtable, other)[other % TL_MEMTABLE_CHUNK_ROWS] ==
                       k->ts[row]) {
            struct tl_slice id = {NULL, 0};
            if (memtable_id(r->memtable, k->column_id, other, k->scratch, &id, st))
                return st->code;
            *found = tl_slice_eq(id, key_id(k, row));
        }
        if (*found)
            return TL_OK;
    }
    return TL_OK;
}

static void put_recent(struct recent *r, uint32_t hash, uint32_t row, int64_t ts)
{
    uint32_t at = hash & r->mask;
    while (r->slots[at])
        at = (at + 1) & r->mask;
    r->slots[at] = (uint64_t)hash << 32 | (row + 1);
    r->count++;
    r->max_ts = ts > r->max_ts ? ts : r->max_ts;
}

/* Goes through the rows in order: the first one with a key gets its place, others go to `out`. */
static enum tl_code keep_first(struct table_ids *t, struct keys *k,
                               const struct tl_refused *refused, uint32_t refused_count,
                               struct tl_refused *out, uint32_t *out_count, struct tl_status *st)
{
    enum { AHEAD = 8 };
    struct recent *active = t->recents;
    if (places_make(k, active->memtable, st))
        return st->code;
    uint32_t n = 0;
    uint32_t r = 0;
    uint32_t i = 0;
    for (uint32_t row = 0; row < k->batch->rows; row++) {
        if (r < refused_count && refused[r].row == row) {
            out[n++] = refused[r++];
            continue;
        }
        if (i == k->count || k->rows[i] != row) { /* without an id */
            (void)place_row(k, row);
            continue;
        }
        if (i + AHEAD < k->count)
            for (const struct recent *x = t->recents; x; x = x->next)
                __builtin_prefetch(&x->slots[k->hashes[i + AHEAD] & x->mask]);
        bool found = k->maybe[i];
        for (const struct recent *x = t->recents; x && !found; x = x->next)
            if (in_recent(x, k, i, x == active, &found, st))
                return st->code;
        if (found)
            out[n++] = (struct tl_refused){.row = row, .reason = TL_ROW_DUPLICATE};
        else
            put_recent(active, k->hashes[i], place_row(k, row), k->ts[row]);
        i++;
    }
    *out_count = n;
    return TL_OK;
}

enum tl_code tl_event_ids_filter(struct tl_event_ids *ids, struct tl_memtable *active,
                                 const struct tl_version *version, const struct tl_batch *batch,
                                 const struct tl_refused *refused, uint32_t refused_count,
                                 struct tl_arena *scratch, const struct tl_refused **out,
                                 uint32_t *count, struct tl_status *st)
{
    const struct tl_table *table = batch->table;
    *out = refused;
    *count = refused_count;
    if (!tl_event_ids_has(batch))
        return TL_OK;
    struct keys k = {.scratch = scratch,
                     .batch = batch,
                     .id = &batch->columns[table->event_id_column],
                     .merchants = batch->columns[table->info.merchant_column].ints,
                     .ts = batch->columns[table->info.ts_column].ints,
                     .column_id = table->info.columns[table->event_id_column].id};
    if (keys_make(&k, refused, refused_count, st) || k.count == 0)
        return st->code;
    struct table_ids *t;
    pthread_mutex_lock(&ids->lock);
    TL_IGNORE(table_get_locked(ids, table->info.id, &t, st));
    pthread_mutex_unlock(&ids->lock);
    if (st->code || keys_in_segments(ids, t, &k, version, st) ||
        recents_prepare(ids, t, active, version, k.count, st))
        return st->code;
    struct tl_refused *left_out =
        tl_arena_alloc(scratch, (size_t)batch->rows * sizeof(*left_out), st);
    if (!left_out || keep_first(t, &k, refused, refused_count, left_out, count, st))
        return st->code;
    *out = left_out;
    pthread_mutex_lock(&ids->lock);
    ids->duplicates += *count - refused_count;
    pthread_mutex_unlock(&ids->lock);
    return TL_OK;
}

/* ---- filters ---- */

/* Over the limit, the filter with the oldest times goes: those times are asked of segments. */
static void drop_locked(struct tl_event_ids *ids)
{
    while (ids->filter_bytes > ids->filter_bytes_max) {
        struct table_ids *from = NULL;
        uint32_t at = 0;
        for (struct table_ids *t = ids->tables; t; t = t->next)
            for (uint32_t i = 0; i < t->filter_count; i++)
                if (!from || t->filters[i].max_ts < from->filters[at].max_ts) {
                    from = t;
                    at = i;
                }
        if (!from)
            return;
        struct filter f = from->filters[at];
        ids->filter_bytes -= tl_id_filter_bytes(f.set);
        tl_id_filter_free(f.set);
        memmove(&from->filters[at], &from->filters[at + 1],
                (--from->filter_count - at) * sizeof(f));
        if (f.max_ts >= from->floor)
            from->floor = f.max_ts + 1;
    }
}

static void add_locked(struct tl_event_ids *ids, struct table_ids *t, struct filter f)
{
    tl_assert(t->filter_count < FILTERS_MAX);
    t->filters[t->filter_count++] = f;
    ids->filter_bytes += tl_id_filter_bytes(f.set);
}

/* Two filters that may be one: the newest that are of like size, or the last two of too many. */
static bool like_sizes(const struct table_ids *t, uint32_t *at)
{
    for (uint32_t i = t->filter_count; i >= 2; i--) {
        uint32_t older = tl_id_filter_count(t->filters[i - 2].set);
        uint32_t newer = tl_id_filter_count(t->filters[i - 1].set);
        *at = i - 2;
        if (older / 2 <= newer)
            return true;
    }
    *at = t->filter_count - 2;
    return t->filter_count > FILTERS_MAX / 2;
}

/* Under `maintain`: nobody else takes filters away. */
static enum tl_code merge_filters(struct tl_event_ids *ids, struct table_ids *t,
                                  struct tl_status *st)
{
    uint32_t at;
    while (t->filter_count >= 2 && like_sizes(t, &at)) {
        struct filter a = t->filters[at];
        struct filter b = t->filters[at + 1];
        struct filter both = {.max_ts = a.max_ts > b.max_ts ? a.max_ts : b.max_ts};
        if (tl_id_filter_merge(a.set, b.set, &both.set, st))
            return st->code;
        pthread_mutex_lock(&ids->lock);
        ids->filter_bytes += tl_id_filter_bytes(both.set);
        ids->filter_bytes -= tl_id_filter_bytes(a.set) + tl_id_filter_bytes(b.set);
        t->filters[at] = both;
        memmove(&t->filters[at + 1], &t->filters[at + 2],
                (--t->filter_count - at - 1) * sizeof(both));
        pthread_mutex_unlock(&ids->lock);
        tl_id_filter_free(a.set);
        tl_id_filter_free(b.set);
    }
    return TL_OK;
}

enum tl_code tl_event_ids_flushed(struct tl_event_ids *ids, const struct tl_memtable *m,
                                  struct tl_status *st)
{
    struct recent *r = NULL;
    pthread_mutex_lock(&ids->lock);
    struct table_ids *t = table_find_locked(ids, tl_memtable_table_id(m));
    for (r = t ? t->recents : NULL; r && r->memtable != m; r = r->next)
        ;
    pthread_mutex_unlock(&ids->lock);
    if (!r || r->count == 0)
        return TL_OK;
    uint32_t *hashes = malloc((size_t)r->count * sizeof(*hashes));
    if (!hashes)
        return TL_FAIL(st, TL_LIMIT, "no memory for a filter of %u event ids", r->count);
    uint32_t n = 0;
    for (uint32_t i = 0; i <= r->mask; i++)
        if (r->slots[i])
            hashes[n++] = (uint32_t)(r->slots[i] >> 32);
    struct filter f = {.max_ts = r->max_ts};
    pthread_mutex_lock(&ids->maintain);
    if (!tl_id_filter_build(hashes, n, &f.set, st)) {
        pthread_mutex_lock(&ids->lock);
        add_locked(ids, t, f);
        drop_locked(ids);
        pthread_mutex_unlock(&ids->lock);
        TL_IGNORE(merge_filters(ids, t, st));
    }
    pthread_mutex_unlock(&ids->maintain);
    free(hashes);
    return st->code;
}

bool tl_event_ids_wants_rebuild(struct tl_event_ids *ids)
{
    bool wanted = false;
    pthread_mutex_lock(&ids->lock);
    for (const struct table_ids *t = ids->tables; t; t = t->next)
        wanted = wanted || (t->unread && t->wanted);
    pthread_mutex_unlock(&ids->lock);
    return wanted;
}

static int newest_first(const void *a, const void *b)
{
    const struct tl_live_segment *x = *(struct tl_live_segment *const *)a;
    const struct tl_live_segment *y = *(struct tl_live_segment *const *)b;
    return (x->info.max_ts < y->info.max_ts) - (x->info.max_ts > y->info.max_ts);
}

/* Moves hashes into a set that may not be there yet. */
static enum tl_code add_keys(struct tl_id_filter **set, uint32_t *hashes, uint32_t *count,
                             struct tl_status *st)
{
    struct tl_id_filter *more;
    struct tl_id_filter *both;
    if (tl_id_filter_build(hashes, *count, &more, st))
        return st->code;
    *count = 0;
    if (!*set) {
        *set = more;
        return TL_OK;
    }
    if (!tl_id_filter_merge(*set, more, &both, st)) {
        tl_id_filter_free(*set);
        *set = both;
    }
    tl_id_filter_free(more);
    return st->code;
}

/* Reads segments, newest times first, as long as their keys fit; *floor: what is known then. */
static enum tl_code read_segments(struct tl_live_segment **list, uint32_t count, uint32_t column_id,
                                  uint64_t keys_max, const _Atomic bool *cancel, struct filter *out,
                                  int64_t *floor, struct tl_status *st)
{
    uint64_t rows = 0;
    uint32_t n = 0;
    uint32_t room = READ_KEYS;
    while (n < count && rows + list[n]->info.rows <= keys_max) {
        room = list[n]->info.rows > room ? list[n]->info.rows : room;
        rows += list[n++]->info.rows;
    }
    *floor = n < count ? list[n]->info.max_ts + 1 : INT64_MIN;
    out->max_ts = n > 0 ? list[0]->info.max_ts : INT64_MIN;
    uint32_t *hashes = malloc((size_t)room * sizeof(*hashes));
    if (!hashes)
        return TL_FAIL(st, TL_LIMIT, "no memory for %u event ids", room);
    uint32_t keys = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (keys + list[i]->info.rows > room && add_keys(&out->set, hashes, &keys, st))
            break;
        if (tl__ids_of_segment(list[i], column_id, cancel, hashes, &keys, st))
            break;
    }
    if (st->code == TL_OK)
        TL_IGNORE(add_keys(&out->set, hashes, &keys, st));
    free(hashes);
    if (st->code)
        tl_id_filter_free(out->set);
    return st->code;
}

static enum tl_code rebuild_table(struct tl_event_ids *ids, struct table_ids *t,
                                  const struct tl_version *version, const _Atomic bool *cancel,
                                  struct tl_status *st)
{
    const struct tl_table *table = tl_schema_by_id(version->schema, t->table_id);
    const struct tl_table_version *tv = tl_version_find(version, t->table_id);
    uint32_t count = 0;
    for (uint32_t s = 0; tv && s < version->shard_count; s++)
        count += tv->shards[s] ? tv->shards[s]->count : 0;
    struct tl_live_segment **list = malloc(((size_t)count + 1) * sizeof(struct tl_live_segment *));
    if (!list)
        return TL_FAIL(st, TL_LIMIT, "no memory to list %u segments", count);
    count = 0;
    for (uint32_t s = 0; tv && s < version->shard_count; s++)
        for (uint32_t i = 0; tv->shards[s] && i < tv->shards[s]->count; i++)
            list[count++] = tv->shards[s]->segments[i];
    qsort(list, count, sizeof(struct tl_live_segment *), newest_first);
    uint64_t keys_max = (uint64_t)ids->filter_bytes_max * 100 / BYTES_PER_KEY_PERCENT * 3 / 4;
    struct filter f = {.set = NULL};
    int64_t floor = INT64_MAX;
    pthread_mutex_lock(&ids->maintain);
    if (table && table->event_id_column >= 0 &&
        !read_segments(list, count, table->info.columns[table->event_id_column].id, keys_max,
                       cancel, &f, &floor, st)) {
        pthread_mutex_lock(&ids->lock);
        /* Oldest first: filters of flushes since the start lie behind. */
        memmove(&t->filters[1], &t->filters[0], t->filter_count * sizeof(f));
        t->filters[0] = f;
        t->filter_count++;
        t->floor = floor;
        t->unread = false;
        ids->filter_bytes += tl_id_filter_bytes(f.set);
        drop_locked(ids);
        pthread_mutex_unlock(&ids->lock);
        TL_IGNORE(merge_filters(ids, t, st));
    }
    pthread_mutex_unlock(&ids->maintain);
    free(list);
    return st->code;
}

enum tl_code tl_event_ids_rebuild(struct tl_event_ids *ids, const struct tl_version *version,
                                  const _Atomic bool *cancel, struct tl_status *st)
{
    pthread_mutex_lock(&ids->lock);
    struct table_ids *t = ids->tables; /* tables are only added, at the front */
    pthread_mutex_unlock(&ids->lock);
    for (; t && st->code == TL_OK; t = t->next) {
        pthread_mutex_lock(&ids->lock);
        bool wanted = t->unread && t->wanted;
        pthread_mutex_unlock(&ids->lock);
        if (wanted)
            TL_IGNORE(rebuild_table(ids, t, version, cancel, st));
    }
    return st->code;
}

void tl_event_ids_stats(struct tl_event_ids *ids, struct tl_event_ids_stats *out)
{
    pthread_mutex_lock(&ids->lock);
    *out = (struct tl_event_ids_stats){.bytes = ids->filter_bytes + ids->recent_bytes,
                                       .duplicates = ids->duplicates,
                                       .asked = ids->asked};
    for (const struct table_ids *t = ids->tables; t; t = t->next)
        out->filters += t->filter_count;
    pthread_mutex_unlock(&ids->lock);
}
