/*
 * engine/db_int.h: the database object, for the files of engine/ alone.
 *
 * Threads and what each owns:
 *   log thread   `state`, `log`, the writer's groups, the reject file
 *   flusher      one seal at a time: memtables to a level-0 pack
 *   mergers      one merge of level 0, and one of runs, at a time
 *   callers      queries over snapshots, submissions into the queue
 *
 * Shared and mutable, with its lock: the submission queue (queue_lock) · the manifest, and which
 * segments are live (manifest_lock, held while the manifest is written, so that its order is the
 * order of versions) · current version (an atomic word; changed under version_lock), pending seals,
 * requests, state of merges (version_lock) · published (atomic) · counters (relaxed atomics) · the
 * poison (version_lock, and an atomic flag). Lock order: manifest_lock, version_lock, queue_lock.
 * Only manifest_lock is held during I/O; the log thread and queries never take it.
 */
#ifndef TALLY_ENGINE_DB_INT_H
#define TALLY_ENGINE_DB_INT_H

#include <pthread.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/thread.h"
#include "engine/merge_policy.h"
#include "engine/state.h"
#include "engine/tally.h"
#include "engine/version.h"
#include "storage/cache.h"
#include "storage/io.h"
#include "storage/log.h"
#include "storage/manifest.h"

enum {
    TL_PENDING_SEALS_MAX = 2,  /* sealed sets waiting for their flush */
    TL_HISTOGRAM_BUCKETS = 28, /* powers of two of microseconds */
};

struct tl__histogram {
    _Atomic uint64_t buckets[TL_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_us;
};
void tl__histogram_add(struct tl__histogram *h, uint64_t us);

/* Relaxed: sums for status and metrics. */
struct tl_counters {
    _Atomic uint64_t batches, rows, refused, duplicates, duplicate_rows, failed_batches, body_bytes;
    _Atomic uint64_t groups, compressed_groups, commit_us;
    _Atomic uint64_t seals, flushes, flushed_rows, flush_us, flush_bytes;
    _Atomic uint64_t merges, merged_rows, merge_us, merge_bytes;
    _Atomic uint64_t rollup_us, rollup_bytes; /* making them, in flushes, merges and later */
    _Atomic uint64_t queries, query_errors, query_us;
    _Atomic uint64_t backpressure_us, rejects_bytes;
    struct tl__histogram commit, append, query, flush, merge;
};

enum tl_item_kind { TL_ITEM_BATCH, TL_ITEM_DDL, TL_ITEM_SEAL, TL_ITEM_COMPACT };

/* Someone waiting for the log thread. */
struct tl_waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    struct tl_status st;
    uint64_t number; /* SEAL: the seal that holds everything; COMPACT: the same */
    uint32_t refused;
};

/* One submission. */
struct tl_item {
    struct tl_item *next;
    uint8_t kind; /* enum tl_item_kind */
    struct tally_batch batch;
    tally_append_done *done;
    void *arg;
    const struct tl_plan *ddl; /* DDL */
    struct tl_waiter *waiter;  /* all but BATCH */
    uint64_t submitted_ns;
    /* What became of it. */
    bool stored; /* its record is in the log */
    bool seen;   /* a duplicate */
    uint64_t position;
    struct tl_record_batch record;
    struct tl_batch decoded;
    struct tl_slice payload; /* the record of a control item */
    struct tl_status st;
};

/* Per (table, shard): what merging has come to (engine/merge_policy.h). Changed by the merger,
 * under version_lock. */
struct tl_merge_state {
    uint32_t table_id, shard;
    uint64_t next_number;    /* of a merge of runs */
    uint64_t level0_seal;    /* level 0 is merged up to this seal */
    uint64_t clock;          /* the seal up to which runs have been looked at */
    uint64_t requesting;     /* the request that was begun last */
    uint64_t compacted_seal; /* requests up to this seal are done */
};

/* A request to merge everything up to a seal, as the log had it. */
struct tl_compact_request {
    uint64_t seal;
    int64_t log_time_us;
    uint32_t table_count;
    struct tl_request_table { /* those with a number of their own */
        uint32_t table_id;
        uint32_t partition_rows;
    } * tables; /* owned */
};

/* What a merge that is under way has come to. */
struct tl_merging {
    bool active, requested;
    uint32_t table_id, shard;
    uint64_t rows;
    uint32_t parts, parts_done;
    uint64_t begun_ns;
};

/* A finished part of a merge that is not installed yet. */
struct tl_done_part {
    struct tl_live_pack *pack;
    uint64_t part_rows; /* what the plan was cut by */
};

struct tally {
    struct tally_options options;
    struct tl_io *io;
    bool own_io;
    enum tl_io_maker io_maker;
    struct tl_file *lock_file;
    const struct tl_clock *clock;
    struct tl_log *log;
    struct tl_manifest *manifest;
    struct tl_cache *cache;
    struct tl_budget memory; /* the server's: queries and batches in flight are its children */
    struct tl_budget ingest;
    struct tl_pool *pool; /* for large queries; NULL with one thread */
    uint32_t shard_count;
    uint64_t log_id;
    uint64_t memtable_bytes_max;

    struct tl_state state; /* log thread */
    struct tl_current current;
    struct tl_reaper *reaper;   /* of versions */
    _Atomic uint64_t published; /* release: every row up to it is in place */
    /* Acknowledged although not published yet: who takes a snapshot waits until it is. Stored with
     * release before the acknowledgement goes. */
    _Atomic uint64_t told;

    pthread_mutex_t manifest_lock;
    pthread_mutex_t version_lock;
    pthread_cond_t version_changed; /* a flush, a merge, a poison, a close */
    uint64_t generation;            /* counts these changes */
    pthread_cond_t published_changed;
    uint32_t published_waiters;
    struct tl_seal *seals; /* oldest first */
    uint32_t seal_count;
    uint64_t flushed_seal, flushed_position;
    int64_t flushed_log_time_us;
    struct tl_producers flushed_producers; /* windows as of the last flush: the manifest's */
    uint64_t compact_seal;                 /* of the newest request */
    uint64_t cancelled_seal;               /* requests up to this seal are put off */
    struct tl_compact_request *requests;   /* not fulfilled by all, ascending */
    uint32_t request_count;
    struct tl_merge_state *merges;
    uint32_t merge_count;
    struct tl_merger *merger;        /* compact.c */
    struct tl_done_part *gone_parts; /* to be given up without a lock */
    uint32_t gone_part_count;
    struct tl_done_part *done_parts; /* changed under manifest_lock, too */
    uint32_t done_part_count;
    struct tl_merging merging[2]; /* of level 0, of runs */
    struct tl_status poison;
    _Atomic bool poisoned;
    _Atomic bool closing;
    _Atomic uint64_t trim_to;      /* for the log thread */
    _Atomic uint64_t merge_values; /* progress of the merge that runs */
    _Atomic bool merge_stop;       /* ends the merge of runs: closing, or a request was cancelled */
    struct tl_budget merge_memory, level0_memory; /* of the merges of runs, of level 0 */

    pthread_mutex_t queue_lock;
    pthread_cond_t queue_changed;
    struct tl_item *queue_head, *queue_tail;
    uint32_t queue_count;
    uint64_t queue_bytes;

    struct tl_thread log_thread, flush_thread, merge_thread, level0_thread;
    struct tl_file *rejects;
    uint64_t rejects_size;
    pthread_mutex_t cursors_lock;
    struct tally_cursor *cursors;
    struct tl_counters counters;
};

enum { TL_LEVEL_DEBUG, TL_LEVEL_INFO, TL_LEVEL_WARN, TL_LEVEL_ERROR };
void tl_db_log(struct tally *db, int level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Wakes whoever waits for a change of version, seals, poison or closing. Under version_lock. */
void tl_db_changed_locked(struct tally *db);
/* From now on every write answers with this failure. */
void tl_db_poison(struct tally *db, const struct tl_status *why);
TL_CHECK enum tl_code tl_db_check(struct tally *db, struct tl_status *st);

/* writer.c */
void tl_writer_main(void *arg); /* the database */
TL_CHECK enum tl_code tl_submit_and_wait(struct tally *db, struct tl_item *item,
                                         struct tl_status *st);
/* Installs memtables and schema that the state made since the last call. */
TL_CHECK enum tl_code tl_writer_publish_version(struct tally *db, struct tl_status *st);

/* The published version of the catalog; lives as long as the database. */
const struct tl_schema *tl_db_schema(struct tally *db);

/* flush.c */
void tl_flusher_main(void *arg); /* the database */
/* Writes one seal's pack, the manifest's transaction and the new version. */
TL_CHECK enum tl_code tl_flush_seal(struct tally *db, struct tl_seal *seal, struct tl_status *st);
void tl_seal_push(struct tally *db, struct tl_seal *seal); /* takes the seal */

/* compact.c */
TL_CHECK enum tl_code tl_merger_new(struct tally *db, struct tl_status *st);
void tl_merger_free(struct tally *db);
void tl_merger_main(void *arg);        /* the database; merges runs */
void tl_level0_merger_main(void *arg); /* the same of level 0 */
/* One part of one merge, if there is one to do; with `level0_only`, only what level 0 needs. For
 * who has no mergers beside it. */
TL_CHECK enum tl_code tl_merge_step(struct tally *db, bool level0_only, bool *did,
                                    struct tl_status *st);
/* Would a flush of the seal give a shard more than TL_LEVEL0_MAX level-0 segments? */
bool tl_level0_is_full(struct tally *db, const struct tl_seal *seal);

/* merge_state.c: what is kept of merges; under version_lock */
struct tl_merge_state *tl_merge_state_get(struct tally *db, uint32_t table_id, uint32_t shard);
/* A request as of `schema`; one that is not newer than the last is ignored. */
TL_CHECK enum tl_code tl_request_add(struct tally *db, uint64_t seal, int64_t log_time_us,
                                     const struct tl_schema *schema, struct tl_status *st);
/* Takes over request->tables. */
TL_CHECK enum tl_code tl_request_put(struct tally *db, struct tl_compact_request *request,
                                     struct tl_status *st);
/* Forgets the requests that every shard of every table has fulfilled. */
void tl_requests_settle(struct tally *db);
void tl_requests_free(struct tally *db);
/* The number of the pack with a part of a merge: of level 0 up to a seal, or of runs. */
uint64_t tl_merge_pack_number(uint64_t sequence, bool runs, uint32_t part);
uint64_t tl_merge_pack_merge(uint64_t number); /* the same for all parts of a merge */
bool tl_merge_pack_is_over(const struct tl_merge_state *m, uint64_t number);
/* Parts that are finished but not installed: by the merger, and as the manifest has them. */
TL_CHECK enum tl_code tl_merge_part_keep(struct tally *db, struct tl_live_pack *pack,
                                         uint64_t part_rows, struct tl_status *st);
/* Is the pack one of these? */
bool tl_merge_part_is_kept(struct tally *db, const struct tl_pack_id *id);
/* Takes out those of merges that are installed, or that will never be. */
void tl_merge_parts_settle(struct tally *db, const struct tl_merge_state *m);
/* Gives up what was taken out, which may remove files: without a lock. */
void tl_merge_parts_free(struct tally *db);

/* edits.c: the manifest's edits */
enum tl_edit {
    TL_EDIT_DATABASE = 1, /* u32 shards, u64 log id */
    TL_EDIT_TABLES = 2,
    TL_EDIT_ADD = 3,
    TL_EDIT_REMOVE = 4,
    TL_EDIT_LOW_WATER = 5,
    TL_EDIT_PRODUCERS = 6,
    TL_EDIT_MERGE = 7,
    TL_EDIT_COMPACT = 8,
    TL_EDIT_VIEWS = 9,
    TL_EDIT_ROLLUP = 10,
    TL_EDIT_FORGET_VIEW = 11,
    TL_EDIT_PART = 12,
};
void tl_edit_database(struct tl_buffer *out, const struct tally *db);
/* The segment with its rollups. */
void tl_edit_add(struct tl_buffer *out, const struct tl_live_segment *s);
/* The rollup of a segment that was added before. */
void tl_edit_rollup(struct tl_buffer *out, const struct tl_live_segment *s, uint32_t view);
void tl_edit_forget_view(struct tl_buffer *out, uint32_t view);
void tl_edit_views(struct tl_buffer *out, const struct tl_schema *schema);
void tl_edit_remove(struct tl_buffer *out, const struct tl_live_segment *s);
void tl_edit_low_water(struct tl_buffer *out, const struct tl_seal *s);
void tl_edit_merge(struct tl_buffer *out, const struct tl_merge_state *m);
void tl_edit_compact(struct tl_buffer *out, const struct tl_compact_request *r);
void tl_edit_part(struct tl_buffer *out, const struct tl_live_pack *pack, uint64_t part_rows);
/* Appends a transaction. Under manifest_lock, as the next two. */
TL_CHECK enum tl_code tl_manifest_commit(struct tally *db, struct tl_buffer *edits,
                                         struct tl_status *st);
/* Writes a checkpoint when the transactions since the last one have outgrown it; called when the
 * current version is what they say. */
TL_CHECK enum tl_code tl_manifest_roll(struct tally *db, struct tl_status *st);
/* Reads the manifest into a database that is being opened. */
TL_CHECK enum tl_code tl_manifest_load(struct tally *db, enum tl_manifest_mode mode,
                                       struct tl_status *st);

/* scan.c: the source over a snapshot */
TL_CHECK enum tl_code tl_db_source_new(struct tally *db, const struct tl_snapshot *snapshot,
                                       const struct tally_tenant *tenant, struct tl_source **out,
                                       struct tl_status *st);
void tl_db_source_free(struct tl_source *s);

void tl_snapshot_take(struct tally *db, struct tl_snapshot *out);
/* Until what was acknowledged is published, before a snapshot is taken: mostly at once. TL_CLOSED:
 * it will not be before a restart. */
TL_CHECK enum tl_code tl_snapshot_wait(struct tally *db, struct tl_status *st);
void tl_snapshot_release(struct tl_snapshot *s);

/* query.c: ends cursors that were idle too long, or that pin memory that is needed */
void tl_cursors_expire(struct tally *db);

/* rejects.c */
/* Appends a JSON string: quoted, escaped, bytes beyond ASCII as \u00xx of each byte. */
void tl_json_text(struct tl_buffer *b, struct tl_slice s);
void tl_rejects_write(struct tally *db, const struct tl_item *item);

#endif
