/*
 * engine/state.h: the deterministic core: what a log's records do to the state.
 *
 * The state of the shards of a log is a function of its records: batches, table definitions,
 * seals and compaction requests. The writer thread applies a record here after it appended it to
 * the log; replay applies the same record when it reads it back. Nothing here reads a clock, draws
 * a random number, or walks a hash table in memory order.
 *
 * A batch goes three steps: tl_state_judge (decode, check, look for a duplicate: only before it
 * enters the log), tl_record_batch_encode (what the log keeps), tl_state_apply_batch.
 *
 * Ownership  the caller's struct. A seal taken from it belongs to the taker.
 * Threads    one at a time: the opening thread, then the log thread.
 * Errors     of apply: TL_CORRUPT for records that no writer of ours makes, TL_LIMIT for memory;
 *            both are final, since the log is ahead of the state then.
 */
#ifndef TALLY_ENGINE_STATE_H
#define TALLY_ENGINE_STATE_H

#include "engine/batch.h"
#include "engine/event_ids.h"
#include "engine/memtable.h"
#include "engine/producers.h"
#include "engine/program.h"
#include "engine/schema.h"
#include "engine/version.h"

/* Numbers stand in the log: never reused. */
enum tl_record_type {
    TL_RECORD_BATCH = 1,
    TL_RECORD_TABLE = 2,
    TL_RECORD_SEAL = 3,
    TL_RECORD_COMPACT = 4,
    TL_RECORD_VIEW = 5
};

/* A batch record, before or after the log (docs/FORMAT.md, "Records"). */
struct tl_record_batch {
    uint32_t table_id;
    uint32_t schema_version;
    uint32_t program_version;
    int64_t received_at_us;
    bool import;
    uint64_t sequence;
    struct tl_slice producer;
    uint32_t refused_count;
    const struct tl_refused *refused;
    struct tl_slice body;
};

/* Everything but the body; the record is this and then the body. */
void tl_record_batch_encode(const struct tl_record_batch *r, struct tl_buffer *head);
TL_CHECK enum tl_code tl_record_batch_decode(struct tl_slice record, struct tl_arena *arena,
                                             struct tl_record_batch *out, struct tl_status *st);

/* A sealed set of memtables on its way to a pack, with the manifest's edits that go with it. */
struct tl_seal {
    struct tl_seal *next;
    uint64_t number;
    uint64_t position; /* of the seal record */
    int64_t log_time_us;
    uint32_t count;
    struct tl_memtable *memtables[TL_TABLES_MAX]; /* ascending by table id; referenced */
    struct tl_buffer tables;                      /* u32 count, table definitions */
    struct tl_buffer views;                       /* tl_views_encode, when there are tables */
    struct tl_buffer producers;                   /* tl_producers_encode */
};
void tl_seal_free(struct tl_seal *s);

struct tl_state {
    struct tl_schema_store schemas;
    struct tl_producers producers;
    struct tl_event_ids *ids;
    struct tl_current *current;  /* whose segments event ids are looked for in; borrowed, set
                                    before the first batch */
    uint64_t position;           /* of the last record applied */
    int64_t log_time_us;         /* greatest received_at */
    uint64_t seal_number;        /* of the last seal */
    uint64_t compact_seal;       /* seals up to this one are asked to be merged whole … */
    int64_t compact_log_time_us; /* … as of then */
    const struct tl_schema *compact_schema; /* the same */
    bool tables_changed;                    /* a TABLE record since the last seal */
    uint32_t shard_count;                   /* set by the opener before the first batch */
    struct tl_slab_pool *slabs;             /* memory of memtables */
    uint32_t active_count;
    struct tl_memtable *active[TL_TABLES_MAX]; /* ascending by table id */
    /* Memtables made since the taker last emptied the list (they are also in `active`). */
    uint32_t fresh_count;
    struct tl_memtable *fresh[2 * TL_TABLES_MAX]; /* at most one seal between two takings */
    uint64_t batches, rows, refused, duplicates;  /* counters */
};

TL_CHECK enum tl_code tl_state_init(struct tl_state *s, struct tl_status *st);
void tl_state_deinit(struct tl_state *s);

/* Adds a batch's rows to the memtable of its table. `batch` was decoded from the record. */
TL_CHECK enum tl_code tl_state_apply_batch(struct tl_state *s, const struct tl_record_batch *r,
                                           struct tl_batch *batch, uint64_t position,
                                           struct tl_arena *scratch, struct tl_status *st);
/* The same of consecutive batches, of which the small ones go in together: their rows become
 * visible with the last one's position. The rows and their order are what one by one gives. */
struct tl_state_batch {
    const struct tl_record_batch *record;
    struct tl_batch *batch;
    uint64_t position;
};
TL_CHECK enum tl_code tl_state_apply_batches(struct tl_state *s,
                                             const struct tl_state_batch *batches, uint32_t count,
                                             struct tl_arena *scratch, struct tl_status *st);
TL_CHECK enum tl_code tl_state_apply_table(struct tl_state *s, struct tl_slice record,
                                           uint64_t position, struct tl_status *st);
/* A view that was created or dropped. */
TL_CHECK enum tl_code tl_state_apply_view(struct tl_state *s, struct tl_slice record,
                                          uint64_t position, struct tl_status *st);
/* Moves the active memtables into a new seal; *out is NULL when they are all empty and nothing
 * else changed either. The record: u64 seal number. */
TL_CHECK enum tl_code tl_state_apply_seal(struct tl_state *s, struct tl_slice record,
                                          uint64_t position, struct tl_seal **out,
                                          struct tl_status *st);
/* The record: u64 seal number. */
TL_CHECK enum tl_code tl_state_apply_compact(struct tl_state *s, struct tl_slice record,
                                             uint64_t position, struct tl_status *st);

uint64_t tl_state_memtable_bytes(const struct tl_state *s);
uint64_t tl_state_memtable_rows(const struct tl_state *s);
/* received_at of the oldest row in an active memtable; INT64_MAX: none. */
int64_t tl_state_oldest_us(const struct tl_state *s);
bool tl_state_has_room(const struct tl_state *s, uint32_t table_id, uint32_t rows);
void tl_state_encode_tables(const struct tl_state *s, struct tl_buffer *out);

#endif
