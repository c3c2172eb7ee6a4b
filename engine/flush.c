/*
 * engine/flush.c: a sealed set of memtables becomes one pack, with one segment per table and
 * shard, whatever hours the rows span.
 *
 * A memtable's rows are put in order by a counting sort over its merchants, so that only each
 * merchant's few rows are sorted by time, and the rows of a shard are one array of row numbers.
 * Each column is then gathered in that order, 2,048 rows at a time, and encoded.
 *
 * Order of what becomes durable: the pack's bytes, the directory, the manifest's transaction; then
 * the version changes, the log may be trimmed, and the memtables go with their last reader.
 *
 * Memory: 4 bytes per row, 32 per merchant, and what the pack writer needs.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/db_int.h"

struct merchant {
    uint32_t shard;
    uint32_t ordinal;
    int64_t id;
};

static int merchant_order(const void *a, const void *b)
{
    const struct merchant *x = a;
    const struct merchant *y = b;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Stable by ts. Rows come in arrival order, which is nearly the order of their times. */
static void sort_by_ts(const struct tl_memtable *m, uint32_t *rows, uint32_t n, int64_t *ts,
                       uint32_t *other_rows, int64_t *other_ts)
{
    bool sorted = true;
    for (uint32_t i = 0; i < n; i++) {
        ts[i] = tl_memtable_ts(m, rows[i])[rows[i] % TL_MEMTABLE_CHUNK_ROWS];
        sorted = sorted && (i == 0 || ts[i - 1] <= ts[i]);
    }
    if (sorted)
        return;
    /* Insertion sort of short runs, then bottom-up merges. */
    enum { RUN = 16 };
    for (uint32_t lo = 0; lo < n; lo += RUN) {
        uint32_t hi = lo + RUN < n ? lo + RUN : n;
        for (uint32_t i = lo + 1; i < hi; i++) {
            int64_t t = ts[i];
            uint32_t row = rows[i];
            uint32_t k = i;
            for (; k > lo && ts[k - 1] > t; k--) {
                ts[k] = ts[k - 1];
                rows[k] = rows[k - 1];
            }
            ts[k] = t;
            rows[k] = row;
        }
    }
    uint32_t *from_rows = rows;
    int64_t *from_ts = ts;
    for (uint64_t width = RUN; width < n; width *= 2) {
        for (uint64_t lo = 0; lo < n; lo += 2 * width) {
            uint32_t a = (uint32_t)lo;
            uint32_t mid = (uint32_t)(lo + width < n ? lo + width : n);
            uint32_t b = mid;
            uint32_t hi = (uint32_t)(lo + 2 * width < n ? lo + 2 * width : n);
            for (uint32_t i = a; i < hi; i++) {
                bool left = b >= hi || (a < mid && from_ts[a] <= from_ts[b]);
                uint32_t k = left ? a++ : b++;
                other_ts[i] = from_ts[k];
                other_rows[i] = from_rows[k];
            }
        }
        uint32_t *swap_rows = from_rows;
        int64_t *swap_ts = from_ts;
        from_rows = other_rows;
        from_ts = other_ts;
        other_rows = swap_rows;
        other_ts = swap_ts;
    }
    if (from_rows != rows)
        memcpy(rows, from_rows, (size_t)n * sizeof(*rows));
}

/* Row numbers by (shard, merchant, ts, arrival); shard_end[s] is where shard s ends. */
struct order {
    uint32_t *rows;
    uint32_t *shard_end;
};

static enum tl_code make_order(const struct tl_memtable *m, uint32_t shard_count, struct order *out,
                               struct tl_status *st)
{
    uint32_t merchants = tl_memtable_merchant_count(m);
    uint32_t total = tl_memtable_rows(m);
    int64_t *ids = malloc((size_t)merchants * sizeof(*ids));
    struct merchant *list = malloc((size_t)merchants * sizeof(*list));
    uint32_t *counts = calloc((size_t)merchants, sizeof(*counts)); /* by ordinal */
    uint32_t *next = malloc((size_t)merchants * sizeof(*next));
    uint32_t *rows = malloc((size_t)total * sizeof(*rows));
    uint32_t *shard_end = calloc(shard_count, sizeof(*shard_end));
    uint32_t *other_rows = NULL;
    int64_t *ts = NULL;
    if (!ids || !list || !counts || !next || !rows || !shard_end) {
        TL_FAIL(st, TL_LIMIT, "no memory to order %u rows", total);
        goto done;
    }
    tl_memtable_merchants(m, ids);
    for (uint32_t i = 0; i < merchants; i++)
        list[i] = (struct merchant){tl_shard_of(ids[i], shard_count), i, ids[i]};
    qsort(list, merchants, sizeof(*list), merchant_order);
    for (uint32_t r = 0; r < total; r++)
        counts[tl_memtable_ordinals(m, r)[r % TL_MEMTABLE_CHUNK_ROWS]]++;
    uint32_t most = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < merchants; i++) {
        uint32_t count = counts[list[i].ordinal];
        next[list[i].ordinal] = n;
        n += count;
        most = count > most ? count : most;
        shard_end[list[i].shard] = n;
    }
    tl_assert(n == total);
    for (uint32_t r = 0; r < total; r++)
        rows[next[tl_memtable_ordinals(m, r)[r % TL_MEMTABLE_CHUNK_ROWS]]++] = r;
    ts = malloc((size_t)most * 2 * sizeof(*ts));
    other_rows = malloc((size_t)most * sizeof(*other_rows));
    if (!ts || !other_rows) {
        TL_FAIL(st, TL_LIMIT, "no memory to order %u rows", total);
        goto done;
    }
    for (uint32_t i = 0; i < merchants; i++) {
        uint32_t count = counts[list[i].ordinal];
        uint32_t first = next[list[i].ordinal] - count;
        if (count > 1)
            sort_by_ts(m, rows + first, count, ts, other_rows, ts + most);
    }
    for (uint32_t s = 1; s < shard_count; s++)
        if (shard_end[s] == 0)
            shard_end[s] = shard_end[s - 1];
    *out = (struct order){rows, shard_end};
    rows = NULL;
    shard_end = NULL;
done:
    free(ids);
    free(list);
    free(counts);
    free(next);
    free(rows);
    free(shard_end);
    free(ts);
    free(other_rows);
    return st->code;
}

static enum tl_code write_column(struct tl_pack_writer *w, const struct tl_memtable *m,
                                 const struct tl_column_info *c, const uint32_t *rows,
                                 uint32_t count, struct tl_arena *arena, struct tl_status *st)
{
    struct tl_memtable_dict dict;
    bool has_dict = tl_memtable_dict(m, c->id, &dict);
    if (tl_pack_column_begin(w, c->id, c->type, st))
        return st->code;
    for (uint32_t lo = 0; lo < count; lo += TL_VECTOR_ROWS_MAX) {
        uint32_t n = count - lo < TL_VECTOR_ROWS_MAX ? count - lo : TL_VECTOR_ROWS_MAX;
        struct tl_vector v;
        if (tl_memtable_gather(m, c->id, c->type, has_dict ? &dict : NULL, rows + lo, n, arena, &v,
                               st) ||
            tl_pack_column_append(w, &v, st))
            return st->code;
        tl_arena_reset(arena);
    }
    return tl_pack_column_end(w, st);
}

static enum tl_code write_memtable(struct tally *db, struct tl_pack_writer *w,
                                   const struct tl_memtable *m, const struct tl_table *table,
                                   const struct tl_seal *seal, struct tl_status *st)
{
    struct order order = {NULL, NULL};
    struct tl_arena arena;
    tl_arena_init(&arena, NULL, 65536);
    if (make_order(m, db->shard_count, &order, st))
        goto done;
    uint32_t lo = 0;
    for (uint32_t s = 0; s < db->shard_count; s++) {
        uint32_t count = order.shard_end[s] - lo;
        if (count == 0)
            continue;
        struct tl_segment_meta meta = {.table = table->info.id,
                                       .shard = s,
                                       .schema_version = table->schema_version,
                                       .level = 0,
                                       .start_us = INT64_MIN,
                                       .end_us = INT64_MAX,
                                       .provenance = {seal->number, seal->number, 0, 0}};
        if (tl_pack_segment_begin(w, &meta, count, st))
            goto done;
        for (uint32_t i = 0; i < table->storage_count; i++)
            if (tl_memtable_has(m, table->storage[i].id) &&
                write_column(w, m, &table->storage[i], order.rows + lo, count, &arena, st))
                goto done;
        if (tl_pack_segment_end(w, st))
            goto done;
        lo = order.shard_end[s];
    }
done:
    tl_arena_deinit(&arena);
    free(order.rows);
    free(order.shard_end);
    return st->code;
}

static enum tl_code write_pack(struct tally *db, const struct tl_pack_id *id,
                               const struct tl_seal *seal, struct tl_pack_info *info,
                               struct tl_status *st)
{
    struct tl_pack_options options = TL_PACK_OPTIONS_HOT;
    struct tl_pack_writer *w = NULL;
    if (tl_pack_create(db->io, id, &options, &w, st))
        return st->code;
    for (uint32_t i = 0; i < seal->count; i++) {
        const struct tl_memtable *m = seal->memtables[i];
        if (tl_memtable_rows(m) > 0 && write_memtable(db, w, m, tl_memtable_table(m), seal, st))
            goto fail;
    }
    if (tl_pack_finish(w, info, st))
        goto fail;
    return tl_io_sync_dir(db->io, TL_PACK_DIR, st);
fail:
    tl_pack_abort(w);
    return st->code;
}

/* The transaction and the version. Under version_lock. */
static enum tl_code install_locked(struct tally *db, const struct tl_seal *seal,
                                   struct tl_live_pack *pack, const struct tl_pack_info *info,
                                   struct tl_status *st)
{
    struct tl_version *next;
    if (tl_version_clone(tl_current_peek(&db->current), &next, st))
        return st->code;
    struct tl_buffer edits;
    tl_buffer_init(&edits, "manifest transaction of a flush", TL_MANIFEST_EDIT_BYTES_MAX);
    for (uint32_t i = 0; pack && i < info->segment_count; i++) {
        struct tl_live_segment *s = NULL;
        struct tl_table_version *t;
        if (tl_live_segment_new(pack, i, &s, st) ||
            tl_version_table(next, s->info.meta.table, &t, st) ||
            tl_table_version_replace(t, s->info.meta.shard, NULL, 0, &s, 1, st)) {
            tl_live_segment_unref(s);
            goto done;
        }
        tl_edit_add(&edits, &pack->id, pack->size, pack->hash, i, &s->info);
        tl_live_segment_unref(s);
        pack->live++;
    }
    if (seal->tables.size > 0) {
        tl_buffer_put_u8(&edits, TL_EDIT_TABLES);
        tl_buffer_put(&edits, seal->tables.data, seal->tables.size);
    }
    tl_buffer_put_u8(&edits, TL_EDIT_PRODUCERS);
    tl_buffer_put(&edits, seal->producers.data, seal->producers.size);
    tl_edit_low_water(&edits, seal);
    struct tl_reader r = tl_reader_of(tl_buffer_slice(&seal->producers));
    if (tl_manifest_commit(db, &edits, st) || tl_producers_decode(&db->flushed_producers, &r, st))
        goto done;
    for (uint32_t i = 0; i < seal->count; i++) {
        struct tl_table_version *t;
        if (tl_version_table(next, tl_memtable_table_id(seal->memtables[i]), &t, st))
            goto done;
        tl_table_version_remove(t, seal->memtables[i]);
    }
    next->base_position = seal->position;
    db->flushed_position = seal->position;
    db->flushed_seal = seal->number;
    db->flushed_log_time_us = seal->log_time_us;
    tl_current_publish(&db->current, next);
    next = NULL;
    /* release: the log thread reads it with acquire and trims */
    atomic_store_explicit(&db->trim_to, seal->position, memory_order_release);
    if (tl_manifest_wants_checkpoint(db->manifest))
        TL_IGNORE(tl_manifest_roll(db, st));
done:
    tl_version_unref(next);
    tl_buffer_deinit(&edits);
    return st->code;
}

enum tl_code tl_flush_seal(struct tally *db, struct tl_seal *seal, struct tl_status *st)
{
    uint64_t begun = tl_clock_mono_ns(db->clock);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < seal->count; i++)
        rows += tl_memtable_rows(seal->memtables[i]);
    struct tl_pack_id id = {
        .kind = TL_PACK_SEAL, .shard = TL_PACK_SHARD_ALL, .number = seal->number};
    struct tl_pack_info info = {.segment_count = 0};
    struct tl_live_pack *pack = NULL;
    if (rows > 0 && (write_pack(db, &id, seal, &info, st) ||
                     tl_live_pack_open(db->io, db->cache, &id, info.hash, &pack, st)))
        goto done;
    /* Before the memtables leave the version: an event id is known in one of the two at any time.
     */
    for (uint32_t i = 0; i < seal->count; i++)
        if (tl_event_ids_flushed(db->state.ids, seal->memtables[i], st))
            goto done;
    pthread_mutex_lock(&db->version_lock);
    if (!install_locked(db, seal, pack, &info, st)) {
        tl_assert(!db->seals || db->seals == seal);
        if (db->seals == seal) {
            db->seals = seal->next;
            db->seal_count--;
        }
        tl_seal_free(seal);
        tl_db_changed_locked(db);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (st->code == TL_OK) {
        uint64_t us = (tl_clock_mono_ns(db->clock) - begun) / 1000;
        tl__histogram_add(&db->counters.flush, us);
        atomic_fetch_add_explicit(&db->counters.flushes, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.flushed_rows, rows, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.flush_us, us, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.flush_bytes, info.size, memory_order_relaxed);
    }
done:
    tl_live_pack_unref(pack);
    tl_pack_info_deinit(&info);
    if (st->code)
        tl_status_wrap(st, "flushing memtables");
    return st->code;
}

void tl_seal_push(struct tally *db, struct tl_seal *seal)
{
    pthread_mutex_lock(&db->version_lock);
    struct tl_seal **end = &db->seals;
    while (*end)
        end = &(*end)->next;
    *end = seal;
    db->seal_count++;
    atomic_fetch_add_explicit(&db->counters.seals, 1, memory_order_relaxed);
    tl_db_changed_locked(db);
    pthread_mutex_unlock(&db->version_lock);
}

void tl_flusher_main(void *arg)
{
    struct tally *db = arg;
    for (;;) {
        pthread_mutex_lock(&db->version_lock);
        while (!db->seals && !atomic_load_explicit(&db->closing, memory_order_relaxed))
            pthread_cond_wait(&db->version_changed, &db->version_lock);
        struct tl_seal *seal = db->seals;
        bool stop = atomic_load_explicit(&db->closing, memory_order_relaxed) ||
                    atomic_load_explicit(&db->poisoned, memory_order_relaxed);
        pthread_mutex_unlock(&db->version_lock);
        if (stop)
            return;
        struct tl_status st = TL_STATUS_INIT;
        if (tl_flush_seal(db, seal, &st))
            tl_db_poison(db, &st);
    }
}
