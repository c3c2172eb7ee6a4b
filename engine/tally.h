/*
 * engine/tally.h: the embeddable database; tools and wire use nothing else.
 *
 * A database is a directory owned by one process. Batches of rows are submitted and completed
 * asynchronously: the completion comes when the batch is durable and visible to every later query.
 * Statements are prepared, described, bound, stepped and closed; each bound cursor sees one
 * snapshot from its first step to its close.
 *
 * Ownership  a batch's bytes are borrowed until its completion was called. A chunk of a cursor
 *            lives until the next step or the close. Closers take NULL.
 * Threads    any thread may call anything at any time, with two exceptions: one cursor belongs
 *            to one thread at a time (tally_cancel excepted), and tally_close comes last.
 *            Completions run on the engine's log thread: they must not block or call back
 *            into tally_append.
 * Units      bytes, microseconds UTC, rows.
 * Errors     every function tells TL_CLOSED after a failed log write (the store is poisoned
 *            until it is opened again); others are named where they occur.
 */
#ifndef TALLY_ENGINE_TALLY_H
#define TALLY_ENGINE_TALLY_H

#include "base/bytes.h"
#include "base/status.h"
#include "base/vector.h"
#include "query/catalog.h"
#include "query/plan.h"
#include "query/utility.h"

#if defined(__GNUC__)
#define TALLY_API __attribute__((visibility("default")))
#else
#define TALLY_API
#endif

struct tl_clock;
struct tl_io;
struct tally;
struct tally_statement;
struct tally_cursor;

/* ---- open and close ---- */

struct tally_options {
    bool read_only;         /* no lock, no recovery writes: inspect, verify and status only */
    bool must_exist;        /* TL_NOT_FOUND instead of creating */
    uint32_t shards;        /* at creation: a power of two, 1 … 256; 0: 8 */
    size_t memory_bytes;    /* 0: 1 GiB; memtables, cache, batches in flight and queries together */
    uint64_t rejects_bytes; /* limit of the reject file; 0: 64 MiB */
    uint64_t log_file_bytes;     /* 0: the default of the log */
    const char *log_compression; /* "auto": when the disk is slower; "on", "off"; NULL: auto */
    uint64_t seal_rows;     /* a memtable is sealed at this many rows; 0: by memory alone (tests) */
    uint64_t seal_age_ms;   /* … or when its oldest row is this old; 0: 10 minutes */
    uint32_t query_threads; /* workers that one large query may use; 0: the number of cores */
    uint64_t query_memory_bytes;  /* per query; 0: a quarter of memory_bytes */
    uint64_t query_timeout_ms;    /* per query; 0: 60 s */
    const char *io;               /* "auto", "uring", "posix"; NULL: auto */
    struct tl_io *io_door;        /* instead of a directory (tests); borrowed */
    const struct tl_clock *clock; /* NULL: the system's */
    uint64_t merge_part_rows;     /* rows of a part of a merge, about; 0: 1,048,576 (tests) */
    bool no_background;           /* flush and compaction run only when asked for (tests) */
    /* Called during recovery with rows replayed and bytes left, on the opening thread. */
    void (*progress)(void *arg, uint64_t rows, uint64_t bytes_done, uint64_t bytes_total);
    /* One call per event worth a log line, any thread: level 0 debug … 3 error. */
    void (*log)(void *arg, int level, const char *event, const char *detail);
    void *arg;
};

TALLY_API TL_CHECK enum tl_code tally_open(const char *dir, const struct tally_options *options,
                                           struct tally **out, struct tl_status *st);
/* Waits for batches in flight and running cursors' steps; flushes nothing (the log has it). */
TALLY_API void tally_close(struct tally *db);

/* ---- tenants ---- */

enum { TALLY_TENANT_MERCHANTS_MAX = 1024 };

/* Whose rows a session may read and a batch may hold. All zero: everybody's, for operators. */
struct tally_tenant {
    bool bounded;             /* these merchants' and no others */
    uint32_t merchant_count;  /* of a bounded one; 0: nobody's */
    const int64_t *merchants; /* ascending, distinct; borrowed by batches, copied by statements */
};

/* ---- append ---- */

enum {
    TALLY_PRODUCER_BYTES_MAX = 64,
    TALLY_BATCH_BYTES_MAX = 8 << 20,
    TALLY_BATCH_ROWS_MAX = 131072
};

struct tally_batch {
    struct tl_slice producer;   /* who sends, at most 64 bytes; empty: never deduplicated */
    uint64_t sequence;          /* of this batch; ascending per producer, from 1 */
    struct tl_slice body;       /* an encoded tally.v1.Batch (docs/WIRE.md), borrowed until done */
    bool import;                /* no bound on how far ts lies in the future */
    struct tally_tenant tenant; /* rows of other merchants are refused, each by its index */
};

enum { TALLY_REFUSALS_TOLD_MAX = 16 };

struct tally_refusal {
    uint32_t row;
    char reason[120];
};

struct tally_ack {
    enum tl_code code;       /* TL_OK: durable and visible. Else the batch was refused whole */
    const char *text;        /* the sentence of a refusal */
    uint64_t position;       /* in the log */
    uint32_t rows;           /* stored */
    uint32_t refused;        /* rows left out, kept in the reject file */
    uint32_t duplicate_rows; /* rows left out: events that were stored before (event id) */
    bool duplicate;          /* this (producer, sequence) was stored before: nothing was added */
    uint32_t told;           /* refusals with their reasons, the first ones */
    const struct tally_refusal *refusals;
    bool more; /* another one to the same function follows at once, on the same thread */
};

typedef void tally_append_done(void *arg, const struct tally_ack *ack);

/* Submits a batch; `done` comes exactly once if and only if this answers TL_OK. TL_BUSY: the queue
 * is full; try again after a completion. */
TALLY_API TL_CHECK enum tl_code tally_append(struct tally *db, const struct tally_batch *batch,
                                             tally_append_done *done, void *arg,
                                             struct tl_status *st);
/* The same, waiting for the completion. `refused` may be NULL. */
TALLY_API TL_CHECK enum tl_code tally_append_wait(struct tally *db, const struct tally_batch *batch,
                                                  uint32_t *refused, struct tl_status *st);

/* ---- query ---- */

struct tally_session {
    const char *time_zone;      /* NULL: UTC */
    struct tally_tenant tenant; /* sees its merchants' rows and no others, and changes no tables */
    uint64_t timeout_ms;        /* 0: the database's default; else at most that */
    uint64_t memory_bytes;      /* the same */
    uint64_t result_rows_max;   /* 0: none */
    uint32_t threads;           /* 0: the database's default */
    uint32_t param_count;       /* types the client declared; kind TL_NULL: infer */
    const struct tl_type *param_types;
    /* What catalogs and functions tell of the session; lives longer than its statements and
     * cursors. NULL: the operator `tally`. */
    const struct tl_session_info *info;
};

/* Parses, binds and plans one statement. */
TALLY_API TL_CHECK enum tl_code tally_prepare(struct tally *db, struct tl_slice sql,
                                              const struct tally_session *session,
                                              struct tally_statement **out, struct tl_status *st);
/* Output columns and parameter types; valid as long as the statement. */
TALLY_API const struct tl_plan *tally_describe(const struct tally_statement *statement);
/* Starts a run with parameters (CONST vectors of the described types). A DDL statement
 * is executed here and steps to nothing. */
TALLY_API TL_CHECK enum tl_code tally_bind(struct tally_statement *statement,
                                           const struct tl_vector *params, uint32_t param_count,
                                           struct tally_cursor **out, struct tl_status *st);
/* A snapshot that several cursors share, so that statements of one transaction agree. It ends as a
 * cursor does that is not stepped: what is bound to it then answers SQLSTATE 72000. */
struct tally_snapshot;
TALLY_API TL_CHECK enum tl_code tally_snapshot_open(struct tally *db, struct tally_snapshot **out,
                                                    struct tl_status *st);
TALLY_API void tally_snapshot_close(struct tally_snapshot *snapshot); /* its cursors may live on */
/* As tally_bind, over that snapshot and with its time as now(). NULL: a snapshot of its own. */
TALLY_API TL_CHECK enum tl_code tally_bind_at(struct tally_statement *statement,
                                              const struct tl_vector *params, uint32_t param_count,
                                              struct tally_snapshot *snapshot,
                                              struct tally_cursor **out, struct tl_status *st);
/* The next rows; out->count 0: done. */
TALLY_API TL_CHECK enum tl_code tally_step(struct tally_cursor *cursor, struct tl_chunk *out,
                                           struct tl_status *st);
TALLY_API void tally_cancel(struct tally_cursor *cursor); /* any thread */
TALLY_API void tally_cursor_close(struct tally_cursor *cursor);
/* A statement may be closed while its cursors live. */
TALLY_API void tally_statement_close(struct tally_statement *statement);

/* Cuts a client's text into statements and recognises those of sessions (query/utility.h). */
TALLY_API TL_CHECK enum tl_code tally_split(struct tl_slice sql, struct tl_arena *arena,
                                            struct tl_utility **out, uint32_t *out_count,
                                            struct tl_status *st);

/* Reads a parameter's text as a value of `type` (as PostgreSQL reads its input) into `arena`. */
TALLY_API TL_CHECK enum tl_code tally_param_parse(struct tl_type type, struct tl_slice text,
                                                  const char *time_zone, struct tl_arena *arena,
                                                  struct tl_vector *out, struct tl_status *st);
/* Prints row `row` of a vector as PostgreSQL's text output would (NULL: prints nothing). */
TALLY_API TL_CHECK enum tl_code tally_value_print(const struct tl_vector *v, uint32_t row,
                                                  const char *time_zone, struct tl_buffer *out,
                                                  struct tl_status *st);

/* ---- the operator's side ---- */

/* Seals the memtables and waits until they are segments. */
TALLY_API TL_CHECK enum tl_code tally_flush(struct tally *db, struct tl_status *st);
/* Flushes, then merges until each partition has its final grain and is one run; waits. `progress`
 * may be NULL. */
TALLY_API TL_CHECK enum tl_code tally_compact(struct tally *db,
                                              void (*progress)(void *arg, uint64_t rows_done,
                                                               uint64_t rows_total),
                                              void *arg, struct tl_status *st);
/* Ends all such compactions: they answer TL_CANCELLED. What is merged stays merged, and the rest is
 * put off: until the next tally_compact or tally_open, or until reads would suffer. */
TALLY_API void tally_compact_cancel(struct tally *db);
/* Checks every checksum and invariant of log, manifest and packs. Appends a JSON report; TL_CORRUPT
 * with the first finding when there is one. */
TALLY_API TL_CHECK enum tl_code
tally_verify(struct tally *db,
             void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total), void *arg,
             struct tl_buffer *json, struct tl_status *st);
/* What the packs hold: per segment and column rows, encodings, bytes; JSON. `pack` NULL: all. */
TALLY_API TL_CHECK enum tl_code tally_inspect(struct tally *db, const char *pack,
                                              struct tl_buffer *json, struct tl_status *st);
/* Counts, sizes, memory, positions; JSON. */
TALLY_API TL_CHECK enum tl_code tally_status(struct tally *db, struct tl_buffer *json,
                                             struct tl_status *st);
/* Counters and histograms in Prometheus' text form, named tally_… */
TALLY_API void tally_metrics(struct tally *db, struct tl_buffer *out);
/* False while recovering, poisoned or closing. */
TALLY_API bool tally_ready(struct tally *db);
TALLY_API const char *tally_version(void);

#endif
