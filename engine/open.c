/*
 * engine/open.c: opening, recovering and closing a database.
 *
 *   1  the directory is locked (not when read-only)
 *   2  the manifest says which tables, packs and producers' windows are true, and up to which
 *      position of the log (the low-water mark)
 *   3  packs that it does not name are removed: they were being written, or were dropped
 *   4  the log's records after the mark are applied again, as the log thread did; a seal is
 *      flushed on the spot, so that recovery needs no more memory than running did
 *   5  one version is published, and the threads start
 *
 * Recovery can be cut off anywhere and started again: each step leaves a state that it starts from.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/merge_plan.h"
#include "engine/reaper.h"
#include "engine/rollup.h"

enum { DEFAULT_SHARDS = 8, SHARDS_MAX = 256, LOAD_TRIES = 8 };
#define DEFAULT_MEMORY   (1ULL << 30)
#define MEMORY_MIN       (64ULL << 20)
#define DEFAULT_REJECTS  (64ULL << 20)
#define DEFAULT_SEAL_AGE 600000
/* Twice the largest batch: what lies idle stays small beside the data. */
#define DEFAULT_LOG_FILE (2ULL * TALLY_BATCH_BYTES_MAX)
/* As many as a busy server fills between two flushes are used again and again; one is kept when
 * it closes. */
enum { LOG_SPARES = 16 };
enum { PACK_FILES_MIN = 32, PACK_FILES_MAX = 1024 };
#define LOG_DIR   "log"
#define LOCK_FILE "LOCK"

/* A quarter of the descriptors that the process may have, or a few; the others are for connections.
 * A reader beside the owner keeps them all: the owner removes files whose names it would need. */
static uint32_t pack_files_max(bool read_only)
{
    struct rlimit limit;
    if (read_only || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    uint64_t quarter = limit.rlim_cur / 4;
    return quarter < PACK_FILES_MIN   ? PACK_FILES_MIN
           : quarter > PACK_FILES_MAX ? PACK_FILES_MAX
                                      : (uint32_t)quarter;
}

const char *tally_version(void)
{
    return TALLY_VERSION;
}

void tl_db_log(struct tally *db, int level, const char *event, const char *format, ...)
{
    if (!db->options.log)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    db->options.log(db->options.arg, level, event, text);
}

const struct tl_schema *tl_db_schema(struct tally *db)
{
    struct tl_version *v = tl_current_acquire(&db->current);
    const struct tl_schema *schema = v->schema;
    tl_version_unref(v);
    return schema;
}

void tl_db_changed_locked(struct tally *db)
{
    db->generation++;
    pthread_cond_broadcast(&db->version_changed);
    pthread_cond_broadcast(&db->published_changed);
}

void tl_db_poison(struct tally *db, const struct tl_status *why)
{
    pthread_mutex_lock(&db->version_lock);
    bool first = !atomic_load_explicit(&db->poisoned, memory_order_relaxed);
    if (first) {
        db->poison = *why;
        /* release: the reason is in place */
        atomic_store_explicit(&db->poisoned, true, memory_order_release);
        tl_db_changed_locked(db);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (first)
        tl_db_log(db, TL_LEVEL_ERROR, "poisoned", "%s (%s)", why->text,
                  why->where ? why->where : "");
}

void tl__histogram_add(struct tl__histogram *h, uint64_t us)
{
    int bucket = us == 0 ? 0 : 64 - __builtin_clzll(us);
    bucket = bucket < TL_HISTOGRAM_BUCKETS ? bucket : TL_HISTOGRAM_BUCKETS - 1;
    atomic_fetch_add_explicit(&h->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

/* ---- options ---- */

static enum tl_code take_options(struct tally *db, const struct tally_options *given,
                                 struct tl_status *st)
{
    struct tally_options *o = &db->options;
    if (given)
        *o = *given;
    o->shards = o->shards ? o->shards : DEFAULT_SHARDS;
    o->memory_bytes = o->memory_bytes ? o->memory_bytes : DEFAULT_MEMORY;
    o->rejects_bytes = o->rejects_bytes ? o->rejects_bytes : DEFAULT_REJECTS;
    o->merge_part_rows = o->merge_part_rows ? o->merge_part_rows : TL_PART_ROWS;
    o->seal_age_ms = o->seal_age_ms ? o->seal_age_ms : DEFAULT_SEAL_AGE;
    o->query_threads = o->query_threads ? o->query_threads : tl_thread_cpu_count();
    o->query_memory_bytes = o->query_memory_bytes ? o->query_memory_bytes : o->memory_bytes / 4;
    o->query_timeout_ms = o->query_timeout_ms ? o->query_timeout_ms : 60000;
    if (o->shards > SHARDS_MAX || (o->shards & (o->shards - 1)))
        return TL_FAIL(st, TL_INVALID, "shards must be a power of two from 1 to %d, not %u",
                       SHARDS_MAX, o->shards);
    if (o->memory_bytes < MEMORY_MIN)
        return TL_FAIL(st, TL_INVALID, "the memory limit must be at least %llu bytes, not %zu",
                       (unsigned long long)MEMORY_MIN, o->memory_bytes);
    /* Three sets of memtables can exist at once (one active, two waiting for their flush): three
     * eighths. The cache has a quarter; the rest is for batches in flight and queries. */
    db->memtable_bytes_max = o->memory_bytes / 8;
    return TL_OK;
}

static enum tl_code open_io(struct tally *db, const char *dir, struct tl_status *st)
{
    const struct tally_options *o = &db->options;
    if (o->io_door) {
        db->io = o->io_door;
        db->io_maker = tl_io_maker_of(db->io);
        return TL_OK;
    }
    if (!o->read_only && !o->must_exist && mkdir(dir, 0755) != 0 && errno != EEXIST)
        return TL_FAIL_OS(st, TL_IO, errno, "creating the directory %.150s", dir);
    struct tl_status why = TL_STATUS_INIT;
    const char *name = o->io ? o->io : "auto";
    if (strcmp(name, "auto") == 0) {
        if (tl_io_open_default(dir, &db->io, &db->io_maker, &why, st))
            return st->code;
        if (db->io_maker == TL_IO_POSIX)
            tl_db_log(db, TL_LEVEL_WARN, "io_posix",
                      "io_uring is not available, threads with pread and pwrite do the I/O: %s",
                      why.text);
    } else if (strcmp(name, "uring") == 0) {
        if (tl_io_open_uring(dir, &db->io, st))
            return st->code;
    } else if (strcmp(name, "posix") == 0) {
        if (tl_io_open_posix(dir, &db->io, st))
            return st->code;
    } else {
        return TL_FAIL(st, TL_INVALID, "io must be auto, uring or posix, not %.40s", name);
    }
    db->own_io = true;
    db->io_maker = tl_io_maker_of(db->io);
    return TL_OK;
}

/* ---- a new database ---- */

static enum tl_code create(struct tally *db, struct tl_status *st)
{
    struct tl_version *v;
    struct tl_buffer edits;
    db->shard_count = db->options.shards;
    if (tl_random_seed_from_os(&db->log_id, st) ||
        tl_schema_create_events(&db->state.schemas, st) ||
        tl_view_create_builtin(&db->state.schemas, st) ||
        tl_version_new(db->shard_count, db->state.schemas.current, &v, st))
        return st->code;
    v->reaper = db->reaper;
    tl_current_init(&db->current, v);
    tl_buffer_init(&edits, "first edits", TL_MANIFEST_EDIT_BYTES_MAX);
    tl_edit_database(&edits, db);
    tl_buffer_put_u8(&edits, TL_EDIT_TABLES);
    tl_state_encode_tables(&db->state, &edits);
    tl_edit_views(&edits, db->state.schemas.current);
    TL_IGNORE(tl_manifest_commit(db, &edits, st));
    tl_buffer_deinit(&edits);
    return st->code;
}

/* ---- recovery ---- */

static bool is_named(const struct tl_live_segment *s, const char *name)
{
    char live[TL_PACK_NAME_MAX];
    if (strcmp(tl_pack_name(&s->pack->id, live) + strlen(TL_PACK_DIR) + 1, name) == 0)
        return true;
    for (uint32_t i = 0; i < s->rollup_count; i++)
        if (s->rollups[i].segment && is_named(s->rollups[i].segment, name))
            return true; /* a rollup has no rollups: this goes one deep */
    return false;
}

static bool pack_is_live(struct tally *db, const char *name)
{
    const struct tl_version *v = tl_current_peek(&db->current);
    for (uint32_t t = 0; t < v->table_count; t++)
        for (uint32_t s = 0; s < v->shard_count; s++) {
            const struct tl_segment_list *l = v->tables[t].shards[s];
            for (uint32_t i = 0; l && i < l->count; i++)
                if (is_named(l->segments[i], name))
                    return true;
        }
    struct tl_pack_id id;
    return tl_pack_name_parse(name, &id) && tl_merge_part_is_kept(db, &id);
}

static enum tl_code remove_orphans(struct tally *db, struct tl_status *st)
{
    struct tl_io_names names;
    if (tl_io_list(db->io, TL_PACK_DIR, &names, st))
        return st->code;
    for (uint32_t i = 0; i < names.count && st->code == TL_OK; i++) {
        char path[TL_IO_NAME_MAX];
        if (pack_is_live(db, names.names[i]))
            continue;
        int n = snprintf(path, sizeof(path), "%s/%s", TL_PACK_DIR, names.names[i]);
        if (n > 0 && (size_t)n < sizeof(path))
            TL_IGNORE(tl_io_remove(db->io, path, st));
    }
    tl_io_names_free(&names);
    return st->code;
}

static enum tl_code replay_batch(struct tally *db, const struct tl_log_record *record,
                                 struct tl_arena *arena, struct tl_status *st)
{
    struct tl_state *s = &db->state;
    struct tl_record_batch r;
    struct tl_batch batch;
    if (tl_record_batch_decode(record->body, arena, &r, st))
        return st->code;
    const struct tl_table *table = tl_schema_by_id(s->schemas.current, r.table_id);
    if (!table)
        return TL_FAIL(st, TL_CORRUPT, "a batch record names table %u, which does not exist",
                       r.table_id);
    int64_t log_time = r.received_at_us > s->log_time_us ? r.received_at_us : s->log_time_us;
    if (tl_batch_decode(r.body, table, arena, &batch, st) ||
        tl_producers_note(&s->producers, r.producer, r.sequence, log_time, st))
        return st->code;
    return tl_state_apply_batch(s, &r, &batch, record->position, arena, st);
}

static enum tl_code replay_record(struct tally *db, const struct tl_log_record *record,
                                  struct tl_arena *arena, struct tl_status *st)
{
    struct tl_state *s = &db->state;
    struct tl_seal *seal = NULL;
    switch (record->type) {
    case TL_RECORD_BATCH:
        return replay_batch(db, record, arena, st);
    case TL_RECORD_TABLE:
        return tl_state_apply_table(s, record->body, record->position, st);
    case TL_RECORD_VIEW:
        return tl_state_apply_view(s, record->body, record->position, st);
    case TL_RECORD_COMPACT:
        if (tl_state_apply_compact(s, record->body, record->position, st))
            return st->code;
        return tl_request_add(db, s->compact_seal, s->compact_log_time_us, s->compact_schema, st);
    case TL_RECORD_SEAL:
        if (tl_state_apply_seal(s, record->body, record->position, &seal, st) ||
            tl_writer_publish_version(db, st))
            return st->code;
        for (bool did = true; did && tl_level0_is_full(db, seal);)
            if (tl_merge_step(db, true, &did, st)) {
                tl_seal_free(seal);
                return st->code;
            }
        if (tl_flush_seal(db, seal, st)) {
            tl_seal_free(seal);
            return st->code;
        }
        return TL_OK;
    default:
        return TL_FAIL(st, TL_UNSUPPORTED,
                       "the log has a record of type %u; a newer version wrote it", record->type);
    }
}

static enum tl_code replay(struct tally *db, const struct tl_log_recovered *recovered,
                           struct tl_status *st)
{
    struct tl_log_reader *reader = NULL;
    struct tl_arena arena;
    uint64_t first = db->flushed_position;
    uint64_t total = recovered->durable_position > first ? recovered->durable_position - first : 0;
    uint64_t records = 0;
    tl_arena_init(&arena, NULL, 1 << 20);
    if (tl_log_read_open(db->log, first, &reader, st))
        goto done;
    for (;;) {
        struct tl_log_record record;
        bool end = false;
        if (tl_log_read_next(reader, &record, &end, st) || end)
            break;
        if (replay_record(db, &record, &arena, st)) {
            tl_status_wrap(st, "replaying log record %llu", (unsigned long long)record.position);
            break;
        }
        tl_arena_reset(&arena);
        if (db->options.progress && (++records & 63) == 0)
            db->options.progress(db->options.arg, db->state.rows, record.position - first, total);
    }
    if (db->options.progress && records > 0 && st->code == TL_OK)
        db->options.progress(db->options.arg, db->state.rows, total, total);
done:
    tl_log_read_close(reader);
    tl_arena_deinit(&arena);
    return st->code;
}

/* The state as of the low-water mark, from what the manifest said. */
static enum tl_code state_from_manifest(struct tally *db, struct tl_status *st)
{
    struct tl_state *s = &db->state;
    struct tl_buffer windows;
    tl_buffer_init(&windows, "producers' windows", TL_MANIFEST_EDIT_BYTES_MAX);
    tl_producers_encode(&db->flushed_producers, true, &windows);
    struct tl_reader r = tl_reader_of(tl_buffer_slice(&windows));
    if (!tl_buffer_check(&windows, st))
        TL_IGNORE(tl_producers_decode(&s->producers, &r, st));
    tl_buffer_deinit(&windows);
    s->position = db->flushed_position;
    s->seal_number = db->flushed_seal;
    s->log_time_us = db->flushed_seal > 0 ? db->flushed_log_time_us : INT64_MIN;
    s->compact_seal = db->compact_seal;
    s->tables_changed = false;
    return st->code;
}

/* A reader beside a running process may lose a pack between the manifest and the open: then
 * the manifest has changed, too, and is read anew. */
static enum tl_code load(struct tally *db, struct tl_status *st)
{
    enum tl_manifest_mode mode = db->options.read_only    ? TL_MANIFEST_READ_ONLY
                                 : db->options.must_exist ? TL_MANIFEST_OPEN
                                                          : TL_MANIFEST_CREATE;
    for (int i = 0;; i++) {
        enum tl_code rc = tl_manifest_load(db, mode, st);
        if (rc == TL_OK || !db->options.read_only || rc != TL_NOT_FOUND || i == LOAD_TRIES)
            return rc;
        if (!db->manifest)
            return rc; /* there is no database */
        tl_status_clear(st);
        tl_manifest_close(db->manifest);
        db->manifest = NULL;
        tl_state_deinit(&db->state);
        tl_producers_deinit(&db->flushed_producers);
        free(db->merges);
        db->merges = NULL;
        db->merge_count = 0;
        tl_requests_free(db);
        db->compact_seal = 0;
        if (tl_state_init(&db->state, st) || tl_producers_init(&db->flushed_producers, st))
            return st->code;
    }
}

static enum tl_log_compression compression_of(const char *name)
{
    if (!name || strcmp(name, "auto") == 0)
        return TL_LOG_COMPRESSION_AUTO;
    return strcmp(name, "on") == 0 ? TL_LOG_COMPRESSION_ON : TL_LOG_COMPRESSION_OFF;
}

static enum tl_code recover(struct tally *db, struct tl_status *st)
{
    if (load(db, st))
        return st->code;
    if (db->shard_count == 0) {
        if (db->options.read_only)
            return TL_FAIL(st, TL_NOT_FOUND, "the manifest is empty");
        if (create(db, st))
            return st->code;
    }
    db->state.shard_count = db->shard_count;
    if (state_from_manifest(db, st) || db->options.read_only)
        return st->code;
    db->state.current = &db->current;
    if (remove_orphans(db, st) ||
        tl_event_ids_open(db->state.ids, tl_current_peek(&db->current), st))
        return st->code;
    struct tl_log_options options = {
        .compression = compression_of(db->options.log_compression),
        .clock = db->clock,
        .file_bytes = db->options.log_file_bytes ? db->options.log_file_bytes : DEFAULT_LOG_FILE,
        .spare_files = LOG_SPARES,
        .spare_files_closed = 1,
        .log_id = db->log_id,
        .known_durable = db->flushed_position};
    struct tl_log_recovered recovered;
    if (tl_log_open_local(db->io, LOG_DIR, &options, &recovered, &db->log, st)) {
        tl_status_wrap(st, "opening the log");
        return st->code;
    }
    if (recovered.cut)
        tl_db_log(db, TL_LEVEL_INFO, "log_tail_cut",
                  "an unacknowledged tail of the log was cut at offset %llu of its newest file",
                  (unsigned long long)recovered.cut_offset);
    uint64_t begun = tl_clock_mono_ns(db->clock);
    if (replay(db, &recovered, st) || tl_writer_publish_version(db, st))
        return st->code;
    atomic_store_explicit(&db->published, db->state.position, memory_order_release);
    if (db->state.rows > 0)
        tl_db_log(db, TL_LEVEL_INFO, "recovered", "%llu rows replayed in %llu ms",
                  (unsigned long long)db->state.rows,
                  (unsigned long long)((tl_clock_mono_ns(db->clock) - begun) / 1000000));
    return TL_OK;
}

/* They stand back behind the log, the loop and queries: were they to fall behind, the log thread
 * waits for them and their turn comes (TL_PENDING_SEALS_MAX, TL_LEVEL0_MAX). */
static void flusher(void *db)
{
    tl_thread_stand_back(12);
    tl_flusher_main(db);
}

static void merger(void *db)
{
    tl_thread_stand_back(14);
    tl_merger_main(db);
}

static void level0_merger(void *db)
{
    tl_thread_stand_back(12);
    tl_level0_merger_main(db);
}

static enum tl_code start_threads(struct tally *db, struct tl_status *st)
{
    if (db->options.query_threads > 1 &&
        tl_pool_new("query", db->options.query_threads, 4096, &db->pool, st))
        return st->code;
    if (db->options.read_only)
        return TL_OK;
    if (tl_thread_start(&db->log_thread, "tally-log", tl_writer_main, db, st))
        return st->code;
    if (db->options.no_background)
        return TL_OK;
    if (tl_reaper_start(db->reaper, st) || tl_slab_warm_start(db->state.slabs, st))
        return st->code;
    if (tl_thread_start(&db->flush_thread, "tally-flush", flusher, db, st))
        return st->code;
    if (tl_thread_start(&db->level0_thread, "tally-level0", level0_merger, db, st))
        return st->code;
    return tl_thread_start(&db->merge_thread, "tally-merge", merger, db, st);
}

enum tl_code tally_open(const char *dir, const struct tally_options *options, struct tally **out,
                        struct tl_status *st)
{
    struct tally *db = calloc(1, sizeof(*db));
    if (!db)
        return TL_FAIL(st, TL_LIMIT, "no memory to open a database");
    pthread_mutex_init(&db->manifest_lock, NULL);
    pthread_mutex_init(&db->version_lock, NULL);
    pthread_mutex_init(&db->queue_lock, NULL);
    pthread_mutex_init(&db->cursors_lock, NULL);
    pthread_cond_init(&db->version_changed, NULL);
    pthread_cond_init(&db->published_changed, NULL);
    pthread_cond_init(&db->queue_changed, NULL);
    db->clock = options && options->clock ? options->clock : tl_clock_system();
    if (tl_reaper_new(&db->reaper, st) || take_options(db, options, st) ||
        tl_state_init(&db->state, st) || tl_producers_init(&db->flushed_producers, st) ||
        open_io(db, dir, st))
        goto fail;
    tl_io_bound_files(db->io, pack_files_max(db->options.read_only));
    tl_budget_init(&db->memory, "server memory", db->options.memory_bytes / 8 * 3, NULL);
    tl_budget_init(&db->merge_memory, "merge memory", db->options.memory_bytes / 8, &db->memory);
    tl_budget_init(&db->level0_memory, "level-0 merge memory", db->options.memory_bytes / 8,
                   &db->memory);
    tl_budget_init(&db->ingest, "ingest memory", db->options.memory_bytes / 8, &db->memory);
    if (tl_cache_new(db->options.memory_bytes / 4, &db->cache, st))
        goto fail;
    if (!db->options.read_only &&
        (tl_io_lock(db->io, LOCK_FILE, &db->lock_file, st) ||
         tl_io_ensure_dir(db->io, TL_PACK_DIR, st) || tl_io_ensure_dir(db->io, "rejects", st) ||
         tl_io_sync_dir(db->io, "", st)))
        goto fail;
    if (tl_merger_new(db, st) || recover(db, st) || start_threads(db, st))
        goto fail;
    *out = db;
    return TL_OK;
fail:
    tally_close(db);
    tl_status_wrap(st, "opening %.80s", dir ? dir : "the database");
    return st->code;
}

void tally_close(struct tally *db)
{
    if (!db)
        return;
    pthread_mutex_lock(&db->version_lock);
    pthread_mutex_lock(&db->queue_lock);
    atomic_store_explicit(&db->closing, true, memory_order_release);
    atomic_store_explicit(&db->merge_stop, true, memory_order_relaxed);
    pthread_cond_broadcast(&db->queue_changed);
    pthread_mutex_unlock(&db->queue_lock);
    tl_db_changed_locked(db);
    pthread_mutex_unlock(&db->version_lock);
    tl_thread_join(&db->log_thread);
    tl_thread_join(&db->flush_thread);
    tl_thread_join(&db->merge_thread);
    tl_thread_join(&db->level0_thread);
    tl_pool_free(db->pool);
    for (struct tl_seal *s = db->seals, *next; s; s = next) {
        next = s->next;
        tl_seal_free(s);
    }
    tl_merger_free(db);
    tl_reaper_stop(db->reaper);
    tl_current_deinit(&db->current);
    tl_reaper_free(db->reaper);
    tl_slab_warm_stop(db->state.slabs);
    tl_log_close(db->log);
    tl_manifest_close(db->manifest);
    tl_io_close(db->rejects);
    tl_io_close(db->lock_file);
    tl_cache_free(db->cache);
    tl_state_deinit(&db->state);
    tl_producers_deinit(&db->flushed_producers);
    free(db->merges);
    tl_requests_free(db);
    if (db->own_io)
        tl_io_free(db->io);
    pthread_mutex_destroy(&db->manifest_lock);
    pthread_mutex_destroy(&db->version_lock);
    pthread_mutex_destroy(&db->queue_lock);
    pthread_mutex_destroy(&db->cursors_lock);
    pthread_cond_destroy(&db->version_changed);
    pthread_cond_destroy(&db->published_changed);
    pthread_cond_destroy(&db->queue_changed);
    free(db);
}

bool tally_ready(struct tally *db)
{
    return !atomic_load_explicit(&db->poisoned, memory_order_relaxed) &&
           !atomic_load_explicit(&db->closing, memory_order_relaxed);
}
