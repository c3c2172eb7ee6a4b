/*
 * wire/query_service.c: Execute.
 *
 * A query is parsed on the loop and works on a pool, one job per page: a job steps the cursor
 * until a page is full, then hands it to the loop and ends. The next job starts when the client
 * took the page, so that slow clients hold no worker. Small results are one job and one message.
 *
 *     message ── job (prepare, bind, step …) ── page sent ── writable ── job … ── done ── freed
 *                                     client gone, deadline: cancel ── job (close) ──┘
 *
 * Invariants: (1) at most one job of a query exists, and while it does the loop touches only
 * `call`, `cancelled` and, under the lock, the cursor. (2) server->query_count counts queries
 * until they are freed.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "tally.pb-c.h"
#include "wire/authorize.h"
#include "wire/control.h"
#include "wire/principals.h"
#include "wire/result.h"
#include "wire/server_int.h"
#include "wire/services.h"

enum {
    PAGE_MS = 100,  /* what there is goes out after this time, full or not */
    PAGES_AHEAD = 2 /* unsent ones, beyond which a query rests */
};

struct query {
    struct tl_job job;
    struct tl_call *call;   /* NULL: gone; loop only */
    bool running;           /* a job exists; loop only */
    bool over;              /* the job said so: the cursor is closed */
    _Atomic bool cancelled; /* relaxed: read between steps */
    pthread_mutex_t lock;   /* over `cursor` between the job and a cancel */
    struct tally_cursor *cursor;
    struct tally_statement *statement;
    struct tl_control control; /* the request */
    struct tl_slice sql;
    const char *time_zone;
    struct tl_principal *principal; /* whose tenant the session borrows */
    struct tally_tenant tenant;
    uint64_t timeout_ms, max_rows;
    size_t param_count;
    Tally__V1__Param **params;
    bool started;
    struct tl_result_encoder encoder;
    struct tl_buffer page;
    uint64_t elapsed_ns;
    struct tl_status status; /* of the job */
};

static void query_free(struct query *q)
{
    tl_assert(!q->cursor && !q->statement && !q->call);
    if (q->started)
        tl_result_encoder_deinit(&q->encoder);
    tl_buffer_deinit(&q->page);
    tl_control_deinit(&q->control);
    tl_principal_unref(q->principal);
    pthread_mutex_destroy(&q->lock);
    q->job.server->query_count--;
    q->job.server->metrics.queries_open--;
    free(q);
}

/* ---- on a worker ---- */

static enum tl_code parse_params(struct query *q, struct tl_vector **out, struct tl_status *st)
{
    const struct tl_plan *plan = tally_describe(q->statement);
    static const uint64_t null_bits[1];
    static const uint8_t nothing[16]; /* of any type's width */
    if (q->param_count != plan->param_count) {
        TL_FAIL(st, TL_INVALID, "the statement has %u parameters, %zu were given",
                plan->param_count, q->param_count);
        return tl_status_sql(st, "08P01", 0);
    }
    struct tl_vector *params =
        tl_arena_calloc(&q->control.arena, q->param_count + 1, sizeof(*params), st);
    if (!params)
        return st->code;
    for (size_t i = 0; i < q->param_count; i++) {
        const Tally__V1__Param *p = q->params[i];
        if (p->is_null) {
            params[i] = (struct tl_vector){.type = plan->param_types[i],
                                           .shape = TL_CONST,
                                           .count = 1,
                                           .data = nothing,
                                           .validity = null_bits};
            continue;
        }
        enum tl_code rc = tally_param_parse(plan->param_types[i], tl_control_slice(p->text),
                                            q->time_zone, &q->control.arena, &params[i], st);
        if (rc) {
            tl_status_wrap(st, "parameter $%zu", i + 1);
            return rc;
        }
    }
    *out = params;
    return TL_OK;
}

static enum tl_code start(struct query *q, struct tl_status *st)
{
    struct tally_session session = {.time_zone = q->time_zone,
                                    .tenant = q->tenant,
                                    .timeout_ms = q->timeout_ms,
                                    .result_rows_max = q->max_rows};
    enum tl_code rc = tally_prepare(q->job.server->db, q->sql, &session, &q->statement, st);
    if (rc)
        return rc;
    struct tl_vector *params = NULL;
    rc = parse_params(q, &params, st);
    if (rc)
        return rc;
    struct tally_cursor *cursor = NULL;
    rc = tally_bind(q->statement, params, (uint32_t)q->param_count, &cursor, st);
    if (rc)
        return rc;
    pthread_mutex_lock(&q->lock);
    q->cursor = cursor;
    if (atomic_load_explicit(&q->cancelled, memory_order_relaxed))
        tally_cancel(cursor);
    pthread_mutex_unlock(&q->lock);
    tl_result_encoder_init(&q->encoder, tally_describe(q->statement), q->time_zone);
    q->started = true;
    return TL_OK;
}

static void close_cursor(struct query *q)
{
    pthread_mutex_lock(&q->lock);
    struct tally_cursor *cursor = q->cursor;
    q->cursor = NULL;
    pthread_mutex_unlock(&q->lock);
    tally_cursor_close(cursor);
    tally_statement_close(q->statement);
    q->statement = NULL;
    q->over = true;
}

/* Steps until the page is full or all is said. */
static enum tl_code make_page(struct query *q, struct tl_status *st)
{
    uint64_t begin = tl_now_ns();
    enum tl_code rc = TL_OK;
    if (!q->started && !atomic_load_explicit(&q->cancelled, memory_order_relaxed))
        rc = start(q, st);
    while (rc == TL_OK) {
        if (atomic_load_explicit(&q->cancelled, memory_order_relaxed)) {
            rc = TL_FAIL(st, TL_CANCELLED, "the query was cancelled");
            break;
        }
        struct tl_chunk chunk = {0};
        rc = tally_step(q->cursor, &chunk, st);
        uint64_t now = tl_now_ns();
        if (rc)
            break;
        if (chunk.count == 0) {
            rc = tl_result_end(&q->encoder, (q->elapsed_ns + now - begin) / 1000, &q->page, st);
            close_cursor(q);
            return rc;
        }
        rc = tl_result_put(&q->encoder, &chunk, &q->page, st);
        if (rc)
            break;
        if (q->page.size >= TL_PAGE_BYTES || now - begin > (uint64_t)PAGE_MS * 1000000) {
            tl_result_flush(&q->encoder, &q->page);
            q->elapsed_ns += now - begin;
            return tl_buffer_check(&q->page, st);
        }
    }
    return rc;
}

static void run_query(struct tl_job *job, uint32_t worker)
{
    (void)worker;
    struct query *q = (struct query *)job;
    if (make_page(q, &q->status) || atomic_load_explicit(&q->cancelled, memory_order_relaxed))
        close_cursor(q);
}

/* ---- on the loop ---- */

static void submit(struct query *q)
{
    struct tl_server *server = q->job.server;
    tl_assert(!q->running);
    if (!server->query_pool) { /* the loop has ended: nothing else runs */
        close_cursor(q);
        query_free(q);
        return;
    }
    q->running = true;
    if (!tl_job_submit(server, server->query_pool, &q->job)) {
        /* The pool has room for each query's one job; it is closed. */
        q->running = false;
        close_cursor(q);
        struct tl_call *call = q->call;
        q->call = NULL;
        if (call) {
            call->state = NULL;
            tl_call_finish(call, TL_GRPC_UNAVAILABLE, "the server is shutting down");
        }
        query_free(q);
    }
}

static void deliver_page(struct tl_mail *mail)
{
    struct query *q = (struct query *)mail;
    struct tl_call *call = q->call;
    q->running = false;
    if (!call) {
        if (q->over)
            query_free(q);
        else
            submit(q); /* to be closed there: cancelled is set */
        return;
    }
    if (!q->status.code || q->page.size) {
        if (!q->page.failed)
            tl_call_send_framed(call, &q->page);
        tl_buffer_clear(&q->page);
    }
    if (!q->over && !q->status.code) {
        if (call->out_bytes < PAGES_AHEAD * (size_t)TL_PAGE_BYTES)
            submit(q); /* else it goes on when the pages went out */
        return;
    }
    call->state = NULL;
    q->call = NULL;
    if (q->status.code)
        tl_call_fail(call, &q->status);
    else
        tl_call_finish(call, TL_GRPC_OK, "");
    if (q->over)
        query_free(q);
    else
        submit(q);
}

void tl_execute_writable(struct tl_call *call)
{
    struct query *q = call->state;
    if (q && !q->running && !q->over)
        submit(q);
}

void tl_execute_close(struct tl_call *call)
{
    struct query *q = call->state;
    call->state = NULL;
    if (!q)
        return;
    q->call = NULL;
    atomic_store_explicit(&q->cancelled, true, memory_order_relaxed);
    if (q->running) {
        pthread_mutex_lock(&q->lock);
        if (q->cursor)
            tally_cancel(q->cursor);
        pthread_mutex_unlock(&q->lock);
    } else if (q->over) {
        query_free(q);
    } else {
        submit(q);
    }
}

static enum tl_code read_request(struct query *q, struct tl_slice bytes, struct tl_status *st)
{
    ProtobufCMessage *m = NULL;
    enum tl_code rc =
        tl_control_decode(&q->control, &tally__v1__execute_request__descriptor, bytes, &m, st);
    if (rc)
        return rc;
    const Tally__V1__ExecuteRequest *r = (const Tally__V1__ExecuteRequest *)m;
    q->sql = tl_control_slice(r->sql);
    if (q->sql.size && memchr(q->sql.data, 0, q->sql.size))
        return TL_FAIL(st, TL_INVALID, "the statement holds a NUL");
    if (r->time_zone.len) {
        q->time_zone = tl_control_string(&q->control, r->time_zone);
        if (!q->time_zone)
            return TL_FAIL(st, TL_INVALID, "the time zone's name holds a NUL");
    }
    q->timeout_ms = r->timeout_ms;
    q->max_rows = r->max_rows;
    q->param_count = r->n_params;
    q->params = r->params;
    return TL_OK;
}

void tl_execute_message(struct tl_call *call, struct tl_message *m)
{
    struct tl_server *server = call->server;
    if (server->query_count >= server->limits.queries_max) {
        tl_message_free(m);
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED,
                       "the limit of queries running and waiting is met");
        return;
    }
    struct query *q = calloc(1, sizeof(*q));
    if (!q) {
        tl_message_free(m);
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a query");
        return;
    }
    q->job.server = server;
    q->job.run = run_query;
    q->job.mail.deliver = deliver_page;
    pthread_mutex_init(&q->lock, NULL);
    tl_control_init(&q->control);
    tl_buffer_init(&q->page, "page of a result", TL_ANSWER_BYTES_MAX * 2u);
    server->query_count++;
    server->metrics.queries_open++;

    struct tl_status st = TL_STATUS_INIT;
    /* protobuf-c copies what it keeps: the message may go. */
    enum tl_code rc = read_request(q, tl_slice_of(m->data, m->size), &st);
    tl_message_free(m);
    if (rc) {
        tl_call_fail(call, &st);
        query_free(q);
        return;
    }
    if (call->deadline_ms != UINT64_MAX) {
        uint64_t now = tl_server_now_ms(server);
        uint64_t left = call->deadline_ms > now ? call->deadline_ms - now : 1;
        if (q->timeout_ms == 0 || left < q->timeout_ms)
            q->timeout_ms = left;
    }
    q->tenant = tl_call_tenant(call);
    if (call->principal)
        q->principal = tl_principal_ref(call->principal);
    q->call = call;
    call->state = q;
    submit(q);
}
