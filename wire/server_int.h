/*
 * wire/server_int.h: the server's inside, for the files of this folder.
 *
 * Threads    everything belongs to the loop, but for the mailbox and the two pools, whose posts
 *            and submissions are safe from any thread.
 */
#ifndef TALLY_WIRE_SERVER_INT_H
#define TALLY_WIRE_SERVER_INT_H

#include <uv.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/thread.h"
#include "engine/tally.h"
#include "wire/call.h"
#include "wire/mailbox.h"
#include "wire/metrics.h"
#include "wire/principals.h"
#include "wire/server.h"
#include "wire/turns.h"
#include "wire/window.h"

struct ssl_ctx_st;
struct tl_ingest;
struct tl_principals;
struct tl_append;
struct tl_conn;
struct tl_pg_conn;
struct tl_reflection;
struct tl_schema_cache;
struct tl_watcher;

struct tl_listener {
    struct tl_server *server;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe; /* TL_DOOR_PG_UNIX */
    } socket;
    enum tl_server_door door;
    bool open;
    bool trusted; /* of this machine alone, or --insecure */
    char address[128];
};

struct tl_server {
    int64_t started_us;
    struct tally *db;
    struct tl_wire_limits limits;
    uv_loop_t loop;
    bool loop_open;
    struct tl_mailbox mailbox;
    struct tl_listener listeners[TL_DOOR_COUNT];
    struct ssl_ctx_st *tls; /* NULL: plaintext */
    uv_prepare_t prepare;   /* flushes connections once per turn */
    uv_timer_t drain_timer;
    uv_timer_t retry_timer; /* appends that met a full queue */
    uv_signal_t signals[2];
    bool signals_open;

    struct tl_conn *conns;
    struct tl_conn *dirty; /* have something to send */
    uint32_t conn_count;
    uint64_t refused_told_ms; /* a line a second says it */
    uint32_t stream_count;
    struct tl_window_budget windows;

    struct tl_pool *query_pool;
    struct tl_pool *admin_pool;
    uint32_t query_count; /* Execute calls whose work is not over */
    uint32_t admin_count;
    _Atomic uint32_t compact_watchers; /* relaxed: clients that wait for a compaction */

    struct tl_turns turns;     /* batches that the engine has not taken yet */
    size_t append_taken_bytes; /* of batches that it has, and that are not done */
    uint32_t append_count;     /* of both */
    struct tl_ingest *ingests; /* streams of Append and AppendEvents */
    bool appends_paused;       /* some stream waits for append_count to fall */

    struct tl_watcher *watchers;      /* of health */
    struct tl_principals *principals; /* borrowed; NULL: everybody is an operator */
    struct tl_reflection *reflection;
    struct tl_schema_cache *schemas;

    struct tl_pg_conn *pg_conns;
    struct tl_budget pg_budget; /* memory of PostgreSQL sessions */
    uint32_t pg_next_id;
    uint8_t pg_secret[TL_SCRAM_KEY_BYTES];
    bool pg_told; /* that nobody needs a password */

    bool draining;
    bool stopped;
    uint64_t drain_end_ms;
    struct tl_mail stop_mail;
    _Atomic bool stop_posted; /* relaxed: only one post of stop_mail at a time */

    struct tl_wire_metrics metrics;
    void (*log)(void *arg, int level, const char *event, const char *detail);
    void *log_arg;

    uint8_t *read_buffer;  /* TL_SOCKET_IN_BYTES: a socket's bytes until its session took them */
    uint8_t *tls_buffer;   /* the same, deciphered */
    uint8_t *write_buffer; /* TL_SOCKET_OUT_BYTES */
};

/* Work for another thread: run there, then delivered on the loop. Embedded. */
struct tl_job {
    struct tl_mail mail; /* its deliver is the submitter's */
    struct tl_server *server;
    void (*run)(struct tl_job *job, uint32_t worker);
};
bool tl_job_submit(struct tl_server *server, struct tl_pool *pool, struct tl_job *job);

void tl_server_log(struct tl_server *server, int level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static inline uint64_t tl_server_now_ms(const struct tl_server *server)
{
    return uv_now(&server->loop);
}
static inline uint64_t tl_now_ns(void)
{
    return tl_clock_mono_ns(tl_clock_system());
}

/* What to serve: false while draining or when the engine is not ready. */
bool tl_server_serving(const struct tl_server *server);

#endif
