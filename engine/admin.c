/*
 * engine/admin.c: the operator's side: flush, compact, verify, inspect, status, metrics.
 *
 * Reports are JSON objects in the caller's buffer. Verify and inspect work on one version, so
 * they run beside everything else; on a database that is open read-only as well.
 */
#include <stdio.h>

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/rollup.h"

/* ---- flush and compact ---- */

enum { PROGRESS_MS = 200 };

static enum tl_code wait_flushed(struct tally *db, uint64_t seal, struct tl_status *st)
{
    pthread_mutex_lock(&db->version_lock);
    while (db->flushed_seal < seal && !atomic_load_explicit(&db->poisoned, memory_order_relaxed))
        pthread_cond_wait(&db->version_changed, &db->version_lock);
    pthread_mutex_unlock(&db->version_lock);
    return tl_db_check(db, st);
}

static enum tl_code seal_and_flush(struct tally *db, uint64_t *seal, struct tl_status *st)
{
    struct tl_item item = {.kind = TL_ITEM_SEAL};
    if (tl_submit_and_wait(db, &item, st))
        return st->code;
    *seal = item.position;
    return wait_flushed(db, *seal, st);
}

enum tl_code tally_flush(struct tally *db, struct tl_status *st)
{
    uint64_t seal;
    return seal_and_flush(db, &seal, st);
}

/* Have all shards of all tables fulfilled the request? Counts rows for the progress. */
static bool compacted_locked(struct tally *db, uint64_t seal, uint64_t *done, uint64_t *total)
{
    const struct tl_version *v = tl_current_peek(&db->current);
    bool all = true;
    *done = 0;
    *total = 0;
    for (uint32_t t = 0; t < v->table_count; t++)
        for (uint32_t s = 0; s < v->shard_count; s++) {
            const struct tl_segment_list *l = v->tables[t].shards[s];
            const struct tl_merge_state *m =
                l ? tl_merge_state_get(db, v->tables[t].table_id, s) : NULL;
            bool settled = !l || (m && m->compacted_seal >= seal);
            all = all && settled;
            for (uint32_t i = 0; l && i < l->count; i++) {
                *total += l->segments[i]->info.rows;
                *done += settled ? l->segments[i]->info.rows : 0;
            }
        }
    const struct tl_merging *m = &db->merging[1];
    if (m->active && m->requested && m->parts > 0 && *done < *total)
        *done += m->rows * m->parts_done / m->parts;
    return all;
}

enum tl_code tally_compact(struct tally *db,
                           void (*progress)(void *arg, uint64_t rows_done, uint64_t rows_total),
                           void *arg, struct tl_status *st)
{
    uint64_t seal;
    struct tl_item item = {.kind = TL_ITEM_COMPACT};
    if (seal_and_flush(db, &seal, st) || tl_submit_and_wait(db, &item, st))
        return st->code;
    seal = item.position;
    pthread_mutex_lock(&db->version_lock);
    for (;;) {
        uint64_t done;
        uint64_t total;
        bool all = compacted_locked(db, seal, &done, &total);
        uint64_t seen = db->generation;
        bool poisoned = atomic_load_explicit(&db->poisoned, memory_order_relaxed) ||
                        atomic_load_explicit(&db->closing, memory_order_relaxed);
        bool cancelled = db->cancelled_seal >= seal;
        pthread_mutex_unlock(&db->version_lock);
        if (progress)
            progress(arg, done, total);
        if (cancelled)
            return TL_FAIL(st, TL_CANCELLED, "the compaction was cancelled");
        if (all || poisoned)
            return tl_db_check(db, st);
        if (db->options.no_background) {
            bool did;
            if (tl_merge_step(db, false, &did, st)) {
                if (st->code != TL_FULL && st->code != TL_LIMIT)
                    tl_db_poison(db, st);
                return st->code;
            }
        }
        pthread_mutex_lock(&db->version_lock);
        while (!db->options.no_background && db->generation == seen)
            if (!tl_thread_wait(&db->version_changed, &db->version_lock, PROGRESS_MS))
                break; /* whoever watches may want to cancel */
    }
}

void tally_compact_cancel(struct tally *db)
{
    pthread_mutex_lock(&db->version_lock);
    if (db->request_count > 0) {
        db->cancelled_seal = db->requests[db->request_count - 1].seal;
        if (db->merging[1].active && db->merging[1].requested)
            /* relaxed: the reason is under the lock */
            atomic_store_explicit(&db->merge_stop, true, memory_order_relaxed);
        tl_db_changed_locked(db);
    }
    pthread_mutex_unlock(&db->version_lock);
}

/* ---- walking the packs of a version ---- */

typedef enum tl_code segment_fn(void *context, struct tl_live_segment *s, struct tl_status *st);

/* Segments, and after each its rollups. */
static enum tl_code each_segment(const struct tl_version *v, segment_fn *fn, void *context,
                                 struct tl_status *st)
{
    for (uint32_t t = 0; t < v->table_count; t++)
        for (uint32_t s = 0; s < v->shard_count; s++) {
            const struct tl_segment_list *l = v->tables[t].shards[s];
            for (uint32_t i = 0; l && i < l->count; i++) {
                const struct tl_live_segment *x = l->segments[i];
                if (fn(context, l->segments[i], st))
                    return st->code;
                for (uint32_t k = 0; k < x->rollup_count; k++)
                    if (x->rollups[k].segment && fn(context, x->rollups[k].segment, st))
                        return st->code;
            }
        }
    return TL_OK;
}

/* ---- verify ---- */

struct verify {
    struct tl_pack_counts counts;
    uint64_t packs;
    uint64_t done, total;
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* A pack is verified whole with its first live segment. */
static bool is_first_of_pack(const struct tl_live_segment *s, const struct tl_version *v);

struct walk {
    const struct tl_version *version;
    struct verify *verify;
    const struct tl_live_segment *first;
    const struct tl_live_pack *pack;
};

static enum tl_code find_first(void *context, struct tl_live_segment *s, struct tl_status *st)
{
    (void)st;
    struct walk *w = context;
    if (!w->first && s->pack == w->pack)
        w->first = s;
    return TL_OK;
}

static bool is_first_of_pack(const struct tl_live_segment *s, const struct tl_version *v)
{
    struct walk w = {.version = v, .pack = s->pack};
    struct tl_status ignored = TL_STATUS_INIT;
    TL_IGNORE(each_segment(v, find_first, &w, &ignored));
    return w.first == s;
}

static enum tl_code sum_pack(void *context, struct tl_live_segment *s, struct tl_status *st)
{
    (void)st;
    struct walk *w = context;
    if (is_first_of_pack(s, w->version))
        w->verify->total += s->pack->size;
    return TL_OK;
}

static enum tl_code verify_pack(void *context, struct tl_live_segment *s, struct tl_status *st)
{
    struct walk *w = context;
    struct verify *v = w->verify;
    if (!is_first_of_pack(s, w->version))
        return TL_OK;
    struct tl_pack_counts counts = {0};
    char name[TL_PACK_NAME_MAX];
    if (tl_pack_verify(s->pack->pack, s->pack->hash, &counts, st)) {
        tl_status_wrap(st, "pack %s", tl_pack_name(&s->pack->id, name));
        return st->code;
    }
    v->packs++;
    v->counts.segments += counts.segments;
    v->counts.columns += counts.columns;
    v->counts.rows += counts.rows;
    v->counts.blocks += counts.blocks;
    v->counts.values += counts.values;
    v->counts.strings += counts.strings;
    v->counts.bytes += counts.bytes;
    v->done += s->pack->size;
    if (v->progress)
        v->progress(v->arg, v->done, v->total);
    return TL_OK;
}

enum tl_code tally_verify(struct tally *db,
                          void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total),
                          void *arg, struct tl_buffer *json, struct tl_status *st)
{
    struct verify v = {.progress = progress, .arg = arg};
    struct tl_version *version = tl_current_acquire(&db->current);
    struct walk w = {.version = version, .verify = &v};
    struct tl_log_report log = {.bad_file = ""};
    TL_IGNORE(each_segment(version, sum_pack, &w, st));
    TL_IGNORE(each_segment(version, verify_pack, &w, st));
    tl_version_unref(version);
    if (st->code == TL_OK && tl_log_verify(db->io, "log", &log, st))
        tl_status_wrap(st, "log");
    tl_buffer_printf(json,
                     "{\"ok\":%s,\"packs\":%llu,\"segments\":%llu,\"columns\":%llu,\"rows\":%llu,"
                     "\"blocks\":%llu,\"values\":%llu,\"strings\":%llu,\"pack_bytes\":%llu,"
                     "\"log_files\":%u,\"log_groups\":%llu,\"log_records\":%llu,\"log_bytes\":%llu",
                     st->code == TL_OK ? "true" : "false", (unsigned long long)v.packs,
                     (unsigned long long)v.counts.segments, (unsigned long long)v.counts.columns,
                     (unsigned long long)v.counts.rows, (unsigned long long)v.counts.blocks,
                     (unsigned long long)v.counts.values, (unsigned long long)v.counts.strings,
                     (unsigned long long)v.counts.bytes, log.files, (unsigned long long)log.groups,
                     (unsigned long long)log.records, (unsigned long long)log.record_bytes);
    if (st->code != TL_OK) {
        tl_buffer_printf(json, ",\"finding\":");
        tl_json_text(json, tl_slice_str(st->text));
    }
    tl_buffer_printf(json, "}");
    return st->code ? st->code : tl_buffer_check(json, st);
}

/* ---- inspect ---- */

struct inspect {
    struct tally *db;
    const char *pack; /* NULL: all */
    struct tl_buffer *json;
    const struct tl_schema *schema;
    bool any;
};

static const char *column_name(const struct tl_table *t, uint32_t id, struct tl_slice key,
                               char *buf, size_t size)
{
    for (uint32_t i = 0; t && id >= TL_COLUMN_NAMED && i < t->info.column_count; i++)
        if (t->info.columns[i].id == tl_props_map_of(id)) {
            snprintf(buf, size, "%s['%.*s']", t->info.columns[i].name, (int)key.size,
                     (const char *)key.data);
            return buf;
        }
    for (uint32_t i = 0; t && i < t->info.column_count; i++) {
        const struct tl_column_info *c = &t->info.columns[i];
        if (c->id == id && c->type.kind != TL_PROPS)
            return c->name;
        if (c->type.kind == TL_PROPS && (c->id == id || c->id + 1 == id)) {
            snprintf(buf, size, "%s.%s", c->name, c->id == id ? "keys" : "values");
            return buf;
        }
    }
    snprintf(buf, size, "#%u", id);
    return buf;
}

/* A part of a rollup: the view's column, and which part it is when that has several. */
static const char *part_name(const struct tl_view *v, uint32_t id, char *buf, size_t size)
{
    uint32_t place = (id - TL_VIEW_COLUMN_FIRST) / TL_VIEW_PARTS;
    uint32_t part = (id - TL_VIEW_COLUMN_FIRST) % TL_VIEW_PARTS;
    if (id == TL_COLUMN_MERCHANT)
        return "merchant_id";
    if (id == TL_COLUMN_TS)
        return v->info.columns[v->info.ts_column].name;
    if (place >= v->def.column_count)
        snprintf(buf, size, "#%u", id);
    else
        snprintf(buf, size, "%s%s", v->def.columns[place].name,
                 part == 0   ? ""
                 : part == 1 ? ".high"
                             : ".count");
    return buf;
}

static void inspect_column(struct inspect *in, const struct tl_table *t, const struct tl_view *v,
                           const struct tl_column_inspect *c)
{
    char name[TL_COLUMN_NAME_MAX + 80];
    char type[32];
    tl_buffer_printf(in->json, "{\"name\":");
    tl_json_text(in->json, tl_slice_str(v ? part_name(v, c->id, name, sizeof(name))
                                          : column_name(t, c->id, c->name, name, sizeof(name))));
    tl_buffer_printf(in->json,
                     ",\"id\":%u,\"type\":\"%s\",\"nulls\":%u,\"distinct\":%u,\"blocks\":%u,"
                     "\"constant_blocks\":%u,\"zstd_blocks\":%u,\"block_bytes\":%llu,"
                     "\"validity_bytes\":%llu,\"map_blocks\":%u,\"map_bytes\":%llu,\"pages\":%u,"
                     "\"page_bytes\":%llu,"
                     "\"string_bytes\":%llu,\"index_bytes\":%llu,",
                     c->id, tl_type_name(c->type, type, sizeof(type)), c->nulls, c->distinct,
                     c->blocks, c->constant_blocks, c->zstd_blocks,
                     (unsigned long long)c->block_bytes, (unsigned long long)c->validity_bytes,
                     c->map_blocks, (unsigned long long)c->map_bytes, c->pages,
                     (unsigned long long)c->page_bytes, (unsigned long long)c->string_bytes,
                     (unsigned long long)c->index_bytes);
    if (c->parent_id) {
        tl_buffer_printf(in->json, "\"mapped_by\":");
        tl_json_text(in->json, tl_slice_str(v ? part_name(v, c->parent_id, name, sizeof(name))
                                              : column_name(t, c->parent_id, c->parent_name, name,
                                                            sizeof(name))));
        tl_buffer_put_u8(in->json, ',');
    }
    tl_buffer_printf(in->json, "\"encodings\":{");
    bool first = true;
    for (uint32_t i = 0; i < TL_INSPECT_ENCODINGS; i++) {
        const char *encoding = tl_inspect_encoding_name(i);
        if (!encoding || c->encodings[i] == 0)
            continue;
        tl_buffer_printf(in->json, "%s\"%s\":%u", first ? "" : ",", encoding, c->encodings[i]);
        first = false;
    }
    tl_buffer_printf(in->json, "}}");
}

static const char *grain_name(int64_t us)
{
    return us == TL_HOUR_US ? "hour" : us == TL_DAY_US ? "day" : "month";
}

static enum tl_code inspect_segment(void *context, struct tl_live_segment *s, struct tl_status *st)
{
    struct inspect *in = context;
    char name[TL_PACK_NAME_MAX];
    const char *pack = tl_pack_name(&s->pack->id, name);
    if (in->pack && strcmp(in->pack, pack) != 0 &&
        strcmp(in->pack, pack + strlen(TL_PACK_DIR) + 1) != 0)
        return TL_OK;
    struct tl_segment *segment;
    struct tl_segment_inspect about;
    struct tl_arena arena;
    if (tl_pack_segment(s->pack->pack, s->index, &segment, st))
        return st->code;
    uint32_t count = tl_segment_column_count(segment);
    tl_arena_init(&arena, &in->db->memory, 65536);
    struct tl_column_inspect *columns =
        tl_arena_calloc(&arena, (size_t)count + 1, sizeof(*columns), st);
    if (columns && !tl_segment_inspect(segment, &about, columns, st)) {
        const struct tl_segment_info *i = &s->info;
        const struct tl_table *t = tl_schema_by_id(in->schema, i->meta.table);
        const struct tl_view *view = tl_view_by_id(in->schema, i->meta.table);
        tl_buffer_printf(in->json,
                         "%s{\"pack\":\"%s\",\"segment\":%u,\"table\":", in->any ? "," : "", pack,
                         s->index);
        tl_json_text(in->json, tl_slice_str(t ? t->info.name : view ? view->info.name : "?"));
        if (view) /* what it costs, and whom it serves */
            tl_buffer_printf(
                in->json,
                ",\"rollup\":{\"of_segment\":%llu,\"of_rows\":%llu,\"buckets\":%llu,"
                "\"bytes_per_event\":%.4f}",
                (unsigned long long)i->meta.provenance[0],
                (unsigned long long)i->meta.provenance[1],
                (unsigned long long)i->meta.provenance[2],
                i->meta.provenance[1] > 0 ? (double)i->size / (double)i->meta.provenance[1] : 0.0);
        if (!view && i->meta.level > 0)
            tl_buffer_printf(in->json,
                             ",\"partition\":\"%s\",\"start_us\":%lld,\"end_us\":%lld,"
                             "\"partition_rows\":%llu",
                             grain_name(i->meta.end_us - i->meta.start_us),
                             (long long)i->meta.start_us, (long long)i->meta.end_us,
                             (unsigned long long)(i->meta.provenance[3] ? i->meta.provenance[3]
                                                                        : TL_PARTITION_ROWS));
        tl_buffer_printf(
            in->json,
            ",\"shard\":%u,\"level\":%u,\"rows\":%u,\"merchants\":%u,\"min_ts_us\":%lld,"
            "\"max_ts_us\":%lld,\"bytes\":%llu,\"merchant_bytes\":%llu,\"index_bytes\":%llu,"
            "\"resident_bytes\":%llu,\"columns\":[",
            i->meta.shard, i->meta.level, i->rows, i->merchants, (long long)i->min_ts,
            (long long)i->max_ts, (unsigned long long)i->size,
            (unsigned long long)about.merchant_bytes, (unsigned long long)about.index_bytes,
            (unsigned long long)about.resident_bytes);
        for (uint32_t k = 0; k < count; k++) {
            if (k > 0)
                tl_buffer_put_u8(in->json, ',');
            inspect_column(in, t, view, &columns[k]);
        }
        tl_buffer_printf(in->json, "]}");
        in->any = true;
    }
    tl_arena_deinit(&arena);
    return st->code ? st->code : tl_buffer_check(in->json, st);
}

enum tl_code tally_inspect(struct tally *db, const char *pack, struct tl_buffer *json,
                           struct tl_status *st)
{
    struct tl_version *version = tl_current_acquire(&db->current);
    struct inspect in = {.db = db, .pack = pack, .json = json, .schema = version->schema};
    tl_buffer_printf(json, "{\"segments\":[");
    TL_IGNORE(each_segment(version, inspect_segment, &in, st));
    tl_buffer_printf(json, "]}");
    tl_version_unref(version);
    if (st->code == TL_OK && pack && !in.any)
        TL_FAIL(st, TL_NOT_FOUND, "no live pack is named %.80s", pack);
    return st->code ? st->code : tl_buffer_check(json, st);
}

/* ---- status ---- */

struct totals {
    uint64_t packs, pack_bytes, segments, level0, segment_rows, segment_bytes;
    uint64_t rollup_rows, rollup_bytes; /* of the segments' rollups; not in the others */
    uint64_t memtables, memtable_rows, memtable_bytes;
};

static void count_table(const struct tl_version *v, const struct tl_table_version *t,
                        uint64_t position, struct totals *out)
{
    for (uint32_t s = 0; s < v->shard_count; s++) {
        const struct tl_segment_list *l = t->shards[s];
        for (uint32_t i = 0; l && i < l->count; i++) {
            out->segments++;
            out->level0 += l->segments[i]->info.meta.level == 0;
            out->segment_rows += l->segments[i]->info.rows;
            out->segment_bytes += l->segments[i]->info.size;
            for (uint32_t k = 0; k < l->segments[i]->rollup_count; k++) {
                const struct tl_live_segment *r = l->segments[i]->rollups[k].segment;
                out->rollup_rows += r ? r->info.rows : 0;
                out->rollup_bytes += r ? r->info.size : 0;
            }
            if (is_first_of_pack(l->segments[i], v)) {
                out->packs++;
                out->pack_bytes += l->segments[i]->pack->size;
            }
        }
    }
    for (uint32_t i = 0; i < t->memtable_count; i++) {
        out->memtables++;
        out->memtable_rows += tl_memtable_rows_at(t->memtables[i], position);
        out->memtable_bytes += tl_memtable_bytes(t->memtables[i]);
    }
}

static uint64_t load(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* What is merged now, and what that costs. */
static void put_merging(struct tally *db, const struct tl_schema *schema, uint64_t live_bytes,
                        struct tl_buffer *json)
{
    struct tl_merging merging[2];
    pthread_mutex_lock(&db->version_lock);
    memcpy(merging, db->merging, sizeof(merging));
    uint32_t requests = db->request_count;
    bool put_off = requests > 0 && db->compact_seal <= db->cancelled_seal;
    pthread_mutex_unlock(&db->version_lock);
    tl_buffer_printf(json, "\"merging\":[");
    const char *comma = "";
    for (int i = 0; i < 2; i++) {
        const struct tl_merging *m = &merging[i];
        const struct tl_table *t = m->active ? tl_schema_by_id(schema, m->table_id) : NULL;
        if (!m->active)
            continue;
        tl_buffer_printf(json, "%s{\"what\":\"%s\",\"table\":", comma, i ? "runs" : "level 0");
        tl_json_text(json, tl_slice_str(t ? t->info.name : "?"));
        tl_buffer_printf(json,
                         ",\"shard\":%u,\"rows\":%llu,\"parts_done\":%u,\"parts\":%u,"
                         "\"requested\":%s,\"seconds\":%.1f}",
                         m->shard, (unsigned long long)m->rows, m->parts_done, m->parts,
                         m->requested ? "true" : "false",
                         (double)(tl_clock_mono_ns(db->clock) - m->begun_ns) / 1e9);
        comma = ",";
    }
    uint64_t flushed = load(&db->counters.flush_bytes);
    uint64_t merged = load(&db->counters.merge_bytes);
    tl_buffer_printf(json,
                     "],\"compact_requests\":%u,\"compaction_put_off\":%s,\"flushed_bytes\":%llu,"
                     "\"merged_bytes\":%llu,\"written_per_live_byte\":%.3f,"
                     "\"merge_memory\":%zu,\"merge_memory_peak\":%zu,",
                     requests, put_off ? "true" : "false", (unsigned long long)flushed,
                     (unsigned long long)merged,
                     live_bytes > 0 ? (double)(flushed + merged) / (double)live_bytes : 0.0,
                     atomic_load_explicit(&db->merge_memory.used_bytes, memory_order_relaxed) +
                         atomic_load_explicit(&db->level0_memory.used_bytes, memory_order_relaxed),
                     atomic_load_explicit(&db->merge_memory.peak_bytes, memory_order_relaxed) +
                         atomic_load_explicit(&db->level0_memory.peak_bytes, memory_order_relaxed));
}

/* Bytes of every file that the database keeps. */
static uint64_t dir_bytes(struct tally *db, const char *dir)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_names names;
    uint64_t bytes = 0;
    if (tl_io_list(db->io, dir, &names, &st))
        return 0;
    for (uint32_t i = 0; i < names.count; i++) {
        char path[TL_IO_NAME_MAX + 1];
        struct tl_file *f;
        uint64_t size = 0;
        int n = snprintf(path, sizeof(path), "%s%s%s", dir, dir[0] ? "/" : "", names.names[i]);
        if (n <= 0 || n > TL_IO_NAME_MAX)
            continue;
        tl_status_clear(&st); /* directories and vanished files count nothing */
        if (tl_io_open(db->io, path, TL_IO_READ, &f, &st))
            continue;
        if (!tl_io_size(f, &size, &st))
            bytes += size;
        tl_io_close(f);
    }
    tl_io_names_free(&names);
    return bytes;
}

enum tl_code tally_status(struct tally *db, struct tl_buffer *json, struct tl_status *st)
{
    struct tl_snapshot snapshot;
    struct tl_cache_stats cache;
    struct tl_status ignored = TL_STATUS_INIT;
    TL_IGNORE(tl_snapshot_wait(db, &ignored)); /* it then shows what is there */
    tl_snapshot_take(db, &snapshot);
    tl_cache_stats(db->cache, &cache);
    struct tl_event_ids_stats ids;
    tl_event_ids_stats(db->state.ids, &ids);
    const struct tl_version *v = snapshot.version;
    struct totals all = {0};
    struct tl_counters *c = &db->counters;
    tl_buffer_printf(json, "{\"version\":\"%s\",\"ready\":%s,\"io\":\"%s\",\"shards\":%u,",
                     TALLY_VERSION, tally_ready(db) ? "true" : "false",
                     tl_io_maker_name(db->io_maker), v->shard_count);
    tl_buffer_printf(json, "\"tables\":[");
    for (uint32_t i = 0; i < v->schema->table_count; i++) {
        const struct tl_table *table = v->schema->tables[i];
        const struct tl_table_version *t = tl_version_find(v, table->info.id);
        struct totals one = {0};
        if (t)
            count_table(v, t, snapshot.position, &one);
        if (t)
            count_table(v, t, snapshot.position, &all);
        tl_buffer_printf(json, "%s{\"name\":", i ? "," : "");
        tl_json_text(json, tl_slice_str(table->info.name));
        tl_buffer_printf(
            json,
            ",\"columns\":%u,\"rows\":%llu,\"segments\":%llu,\"level0\":%llu,"
            "\"segment_bytes\":%llu,\"memtable_rows\":%llu,\"partition_rows\":%u}",
            table->info.column_count, (unsigned long long)(one.segment_rows + one.memtable_rows),
            (unsigned long long)one.segments, (unsigned long long)one.level0,
            (unsigned long long)one.segment_bytes, (unsigned long long)one.memtable_rows,
            table->partition_rows ? table->partition_rows : TL_PARTITION_ROWS);
    }
    tl_buffer_printf(
        json,
        "],\"rollup_rows\":%llu,\"rollup_bytes\":%llu,\"rollup_us\":%llu,\"position\":%llu,"
        "\"rows\":%llu,\"segments\":%llu,\"level0\":%llu,\"packs\":%llu,"
        "\"pack_bytes\":%llu,\"log_bytes\":%llu,\"manifest_bytes\":%llu,\"memtables\":%llu,"
        "\"memtable_rows\":%llu,\"memtable_bytes\":%llu,",
        (unsigned long long)all.rollup_rows, (unsigned long long)all.rollup_bytes,
        (unsigned long long)load(&c->rollup_us), (unsigned long long)snapshot.position,
        (unsigned long long)(all.segment_rows + all.memtable_rows),
        (unsigned long long)all.segments, (unsigned long long)all.level0,
        (unsigned long long)all.packs, (unsigned long long)all.pack_bytes,
        (unsigned long long)dir_bytes(db, "log"), (unsigned long long)dir_bytes(db, ""),
        (unsigned long long)all.memtables, (unsigned long long)all.memtable_rows,
        (unsigned long long)all.memtable_bytes);
    put_merging(db, v->schema, all.segment_bytes + all.rollup_bytes, json);
    tl_buffer_printf(
        json,
        "\"cache_bytes\":%llu,\"cache_hits\":%llu,\"cache_misses\":%llu,\"memory_limit\":%zu,"
        "\"batches\":%llu,\"ingested_rows\":%llu,\"refused_rows\":%llu,\"duplicates\":%llu,"
        "\"duplicate_rows\":%llu,\"event_id_bytes\":%llu,\"event_id_asked\":%llu,"
        "\"groups\":%llu,\"flushes\":%llu,\"merges\":%llu,\"queries\":%llu}",
        (unsigned long long)cache.bytes, (unsigned long long)cache.hits,
        (unsigned long long)cache.misses, db->options.memory_bytes,
        (unsigned long long)load(&c->batches), (unsigned long long)load(&c->rows),
        (unsigned long long)load(&c->refused), (unsigned long long)load(&c->duplicates),
        (unsigned long long)load(&c->duplicate_rows), (unsigned long long)ids.bytes,
        (unsigned long long)ids.asked, (unsigned long long)load(&c->groups),
        (unsigned long long)load(&c->flushes), (unsigned long long)load(&c->merges),
        (unsigned long long)load(&c->queries));
    tl_snapshot_release(&snapshot);
    return tl_buffer_check(json, st);
}

/* ---- metrics ---- */

static void put_counter(struct tl_buffer *out, const char *name, const char *help, double value)
{
    tl_buffer_printf(out, "# HELP tally_%s %s\n# TYPE tally_%s counter\ntally_%s %.15g\n", name,
                     help, name, name, value);
}

static void put_gauge(struct tl_buffer *out, const char *name, const char *help, double value)
{
    tl_buffer_printf(out, "# HELP tally_%s %s\n# TYPE tally_%s gauge\ntally_%s %.15g\n", name, help,
                     name, name, value);
}

static void put_histogram(struct tl_buffer *out, const char *name, const char *help,
                          const struct tl__histogram *h)
{
    tl_buffer_printf(out, "# HELP tally_%s %s\n# TYPE tally_%s histogram\n", name, help, name);
    uint64_t sum = 0;
    for (int i = 0; i < TL_HISTOGRAM_BUCKETS; i++) {
        sum += load(&h->buckets[i]);
        if (i < TL_HISTOGRAM_BUCKETS - 1)
            tl_buffer_printf(out, "tally_%s_bucket{le=\"%.6g\"} %llu\n", name,
                             (double)(1ULL << i) / 1e6, (unsigned long long)sum);
    }
    tl_buffer_printf(out, "tally_%s_bucket{le=\"+Inf\"} %llu\ntally_%s_sum %.9g\n", name,
                     (unsigned long long)sum, name, (double)load(&h->sum_us) / 1e6);
    tl_buffer_printf(out, "tally_%s_count %llu\n", name, (unsigned long long)sum);
}

void tally_metrics(struct tally *db, struct tl_buffer *out)
{
    const struct tl_counters *c = &db->counters;
    const struct tl_io_counters *io = tl_io_counters(db->io);
    struct tl_snapshot snapshot;
    struct tl_cache_stats cache;
    struct totals all = {0};
    tl_snapshot_take(db, &snapshot);
    for (uint32_t i = 0; i < snapshot.version->table_count; i++)
        count_table(snapshot.version, &snapshot.version->tables[i], snapshot.position, &all);
    tl_snapshot_release(&snapshot);
    tl_cache_stats(db->cache, &cache);
    put_gauge(out, "ready", "1 while writes are taken.", tally_ready(db));
    put_counter(out, "ingest_batches_total", "Batches stored.", (double)load(&c->batches));
    put_counter(out, "ingest_rows_total", "Rows stored.", (double)load(&c->rows));
    put_counter(out, "ingest_refused_rows_total", "Rows refused.", (double)load(&c->refused));
    put_counter(out, "ingest_duplicate_batches_total", "Batches that were stored before.",
                (double)load(&c->duplicates));
    put_counter(out, "ingest_duplicate_rows_total",
                "Rows left out, since their event was stored before.",
                (double)load(&c->duplicate_rows));
    put_counter(out, "ingest_failed_batches_total", "Batches refused whole.",
                (double)load(&c->failed_batches));
    put_counter(out, "ingest_bytes_total", "Bytes of batches stored.",
                (double)load(&c->body_bytes));
    put_counter(out, "ingest_backpressure_seconds_total",
                "Time that ingestion waited for flush or compaction.",
                (double)load(&c->backpressure_us) / 1e6);
    put_counter(out, "log_groups_total", "Commit groups written.", (double)load(&c->groups));
    put_counter(out, "log_compressed_groups_total", "Commit groups that were compressed.",
                (double)load(&c->compressed_groups));
    put_counter(out, "flushes_total", "Seals flushed.", (double)load(&c->flushes));
    put_counter(out, "flush_rows_total", "Rows flushed.", (double)load(&c->flushed_rows));
    put_counter(out, "flush_bytes_total", "Bytes of packs flushed.", (double)load(&c->flush_bytes));
    put_counter(out, "merges_total", "Merges done.", (double)load(&c->merges));
    put_counter(out, "merge_rows_total", "Rows merged.", (double)load(&c->merged_rows));
    put_counter(out, "merge_bytes_total", "Bytes of packs merged.", (double)load(&c->merge_bytes));
    put_counter(out, "queries_total", "Queries begun.", (double)load(&c->queries));
    put_counter(out, "query_errors_total", "Queries that failed.", (double)load(&c->query_errors));
    put_counter(out, "cache_hits_total", "Blocks found in the cache.", (double)cache.hits);
    put_counter(out, "cache_misses_total", "Blocks not found in the cache.", (double)cache.misses);
    put_gauge(out, "cache_bytes", "Bytes in the block cache.", (double)cache.bytes);
    put_gauge(out, "memtable_rows", "Rows in memtables.", (double)all.memtable_rows);
    put_gauge(out, "memtable_bytes", "Bytes of memtables.", (double)all.memtable_bytes);
    put_gauge(out, "segments", "Live segments.", (double)all.segments);
    put_gauge(out, "level0_segments", "Live segments of level 0.", (double)all.level0);
    put_gauge(out, "pack_bytes", "Bytes of live packs.", (double)all.pack_bytes);
    put_gauge(out, "query_memory_bytes", "Memory of queries and of batches in flight.",
              (double)atomic_load_explicit(&db->memory.used_bytes, memory_order_relaxed));
    put_counter(out, "io_reads_total", "Read requests.", (double)load(&io->reads));
    put_counter(out, "io_read_bytes_total", "Bytes read.", (double)load(&io->read_bytes));
    put_counter(out, "io_writes_total", "Writes.", (double)load(&io->writes));
    put_counter(out, "io_written_bytes_total", "Bytes written.", (double)load(&io->written_bytes));
    put_counter(out, "io_syncs_total", "Syncs.", (double)load(&io->syncs));
    put_histogram(out, "log_commit_seconds", "A group's write and sync.", &c->commit);
    put_histogram(out, "ingest_batch_seconds", "From submission to acknowledgement.", &c->append);
    put_histogram(out, "flush_seconds", "A flush.", &c->flush);
    put_histogram(out, "merge_seconds", "A merge.", &c->merge);
    put_histogram(out, "query_seconds", "From bind to close.", &c->query);
}
