/*
 * wire/ingest_service.c: Append and AppendEvents.
 *
 * Each request message becomes an append: borrowed by the engine until it is durable and visible,
 * then acknowledged in the stream's own order. Backpressure: the message's bytes go back to the
 * client's window only when it is done; the engine is given a bounded number of bytes, the others
 * wait their connection's turn (wire/turns.h); a stream with too many appends in flight, or with
 * too many acknowledgements unread, is left unread itself.
 *
 *     message ── WAITING (the engine has enough) ── FLYING ── DONE ── acknowledged
 *
 * An append whose call is gone stays until the engine is done with it, and goes at once when the
 * engine has not taken it.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "wire/append_request.h"
#include "wire/authorize.h"
#include "wire/events.h"
#include "wire/h2.h"
#include "wire/principals.h"
#include "wire/schema_cache.h"
#include "wire/server_int.h"
#include "wire/services.h"

enum append_state { APPEND_WAITING, APPEND_FLYING, APPEND_DONE };

struct tl_append {
    struct tl_mail mail;      /* from the engine's thread */
    struct tl_turn_item turn; /* while it waits */
    struct tl_server *server;
    struct tl_ingest *stream; /* NULL: the call is gone */
    struct tl_append *next;   /* of the stream, oldest first */
    enum append_state state;
    bool taken; /* by the engine */
    struct tl_message *message;
    struct tl_events *events; /* AppendEvents: what the engine borrows instead */
    struct tally_batch batch;
    struct tl_principal *principal; /* whose tenant the batch borrows */
    char producer[TALLY_PRODUCER_BYTES_MAX];
    uint64_t arrived_ns;
    struct tally_ack ack; /* copied on the engine's thread, which must not wait for the loop */
    char text[256];
    struct tally_refusal *refusals; /* own copy; NULL when none was told */
};

/* The state of one call. */
struct tl_ingest {
    struct tl_call *call;
    struct tl_ingest *all_prev, *all_next; /* of the server */
    struct tl_append *first, *last;
    uint32_t count;
    bool half_closed, draining;
};

static void append_free(struct tl_append *a)
{
    if (a->events)
        tl_events_deinit(a->events);
    free(a->events);
    tl_message_free(a->message);
    tl_principal_unref(a->principal);
    free(a->refusals);
    free(a);
}

/* ---- acknowledgements ---- */

/* The refusals of the engine and those of the row decoder in one list. */
static void merge_refusals(struct tl_append *a, struct tl_buffer *out)
{
    struct tally_ack ack = a->ack;
    struct tally_refusal all[TALLY_REFUSALS_TOLD_MAX];
    const struct tl_events *e = a->events;
    if (!e) {
        tl_append_response_encode(a->batch.sequence, &ack, NULL, 0, out);
        return;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->told; i++)
        all[n++] = e->refusals[i];
    for (uint32_t i = 0; i < ack.told && n < TALLY_REFUSALS_TOLD_MAX; i++) {
        all[n] = ack.refusals[i];
        if (e->event_of && all[n].row < e->rows)
            all[n].row = e->event_of[all[n].row];
        n++;
    }
    if (ack.code == TL_OK) {
        ack.refusals = all;
        ack.told = n;
        ack.refused += ack.duplicate ? 0 : e->refused;
    }
    tl_append_response_encode(a->batch.sequence, &ack, NULL, 0, out);
}

static void acknowledge(struct tl_ingest *s, struct tl_append *a)
{
    struct tl_buffer out;
    tl_buffer_init(&out, "acknowledgement", 64 << 10);
    merge_refusals(a, &out);
    if (out.failed)
        tl_call_finish(s->call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for an acknowledgement");
    else
        tl_call_send(s->call, tl_buffer_slice(&out));
    tl_buffer_deinit(&out);
}

static void count_ack(struct tl_append *a)
{
    struct tl_wire_metrics *m = &a->server->metrics;
    m->append_open--;
    m->append_acks[(unsigned)a->ack.code < TL_CODE_COUNT ? a->ack.code : 0]++;
    m->append_rows += a->ack.rows;
    m->append_refused += a->ack.refused;
    m->append_duplicates += a->ack.duplicate;
    m->append_bytes += a->message->size;
    tl_latency_add(&m->append_seconds, tl_now_ns() - a->arrived_ns);
}

static void update_pause(struct tl_ingest *s)
{
    struct tl_server *server = s->call->server;
    const struct tl_wire_limits *limits = &server->limits;
    bool full = server->append_count >= limits->appends_max;
    if (full)
        server->appends_paused = true;
    if (s->draining || s->count >= limits->appends_per_stream_max ||
        s->call->out_bytes >= TL_STREAM_OUT_BYTES || full)
        tl_call_pause(s->call);
    else
        tl_call_resume(s->call);
}

static void finish_if_over(struct tl_ingest *s)
{
    if (s->first || s->call->finished)
        return;
    if (s->draining)
        tl_call_finish(s->call, TL_GRPC_UNAVAILABLE,
                       "the server is shutting down; what was not acknowledged was not stored");
    else if (s->half_closed)
        tl_call_finish(s->call, TL_GRPC_OK, "");
}

/* Sends what is done at the head of the stream, frees it, and reads on. */
static void settle_stream(struct tl_ingest *s)
{
    while (s->first && s->first->state == APPEND_DONE) {
        struct tl_append *a = s->first;
        s->first = a->next;
        if (!s->first)
            s->last = NULL;
        s->count--;
        acknowledge(s, a);
        append_free(a);
    }
    finish_if_over(s);
    if (!s->call->finished)
        update_pause(s);
}

static void append_done(struct tl_append *a)
{
    struct tl_server *server = a->server;
    a->state = APPEND_DONE;
    server->append_count--;
    if (a->taken)
        server->append_taken_bytes -= a->turn.size_bytes;
    count_ack(a);
    /* The engine has let go of the bytes: they go back to the client's window. */
    if (a->events)
        tl_buffer_deinit(&a->events->body);
    tl_message_free(a->message);
    a->message = NULL;
    struct tl_ingest *s = a->stream;
    if (s)
        settle_stream(s);
    else
        append_free(a);
}

/* Streams that waited because the server had too many appends. */
static void resume_paused(struct tl_server *server)
{
    if (!server->appends_paused || server->append_count >= server->limits.appends_max)
        return;
    server->appends_paused = false;
    for (struct tl_ingest *s = server->ingests; s; s = s->all_next) {
        if (!s->call->finished)
            update_pause(s);
    }
}

/* ---- the engine ---- */

static void deliver_done(struct tl_mail *mail)
{
    struct tl_append *a = (struct tl_append *)mail;
    struct tl_server *server = a->server;
    append_done(a);
    tl_append_retry(server);
}

/* Acknowledgements that the engine tells one after the other go to the loop together: one lock and
 * one wake-up. Of the engine's log thread, and empty between two groups. */
static _Thread_local struct {
    struct tl_mailbox *box;
    struct tl_mail *first, *last;
} told;

static void post_told(void)
{
    if (told.first)
        tl_mailbox_post_all(told.box, told.first, told.last);
    told.first = NULL;
}

static void tell(struct tl_append *a, bool more)
{
    struct tl_mailbox *box = &a->server->mailbox;
    if (told.first && told.box != box)
        post_told();
    told.box = box;
    if (told.first)
        told.last->next = &a->mail;
    else
        told.first = &a->mail;
    told.last = &a->mail;
    if (!more)
        post_told();
}

/* On the engine's log thread. */
static void on_engine_done(void *arg, const struct tally_ack *ack)
{
    struct tl_append *a = arg;
    a->ack = *ack;
    a->ack.text = NULL;
    if (ack->code && ack->text) {
        snprintf(a->text, sizeof(a->text), "%s", ack->text);
        a->ack.text = a->text;
    }
    a->ack.refusals = NULL;
    if (ack->told) {
        a->refusals = malloc(ack->told * sizeof(*a->refusals));
        if (a->refusals)
            memcpy(a->refusals, ack->refusals, ack->told * sizeof(*a->refusals));
        else
            a->ack.told = 0;
        a->ack.refusals = a->refusals;
    }
    tell(a, ack->more);
}

/* False: the engine has enough. */
static bool submit(struct tl_append *a)
{
    struct tl_server *server = a->server;
    struct tl_status st = TL_STATUS_INIT;
    if (server->append_taken_bytes >= TL_ENGINE_BYTES)
        return false;
    a->state = APPEND_FLYING; /* before the call: `done` may come within it */
    a->taken = true;
    server->append_taken_bytes += a->turn.size_bytes;
    enum tl_code rc = tally_append(server->db, &a->batch, on_engine_done, a, &st);
    if (rc == TL_OK)
        return true;
    a->taken = false;
    server->append_taken_bytes -= a->turn.size_bytes;
    if (rc == TL_BUSY) {
        a->state = APPEND_WAITING;
        server->metrics.append_busy++;
        return false;
    }
    snprintf(a->text, sizeof(a->text), "%s", st.text);
    a->ack = (struct tally_ack){.code = rc, .text = a->text};
    append_done(a);
    return true;
}

static struct tl_append *append_of(struct tl_turn_item *item)
{
    return (struct tl_append *)((uint8_t *)item - offsetof(struct tl_append, turn));
}

void tl_append_retry(struct tl_server *server)
{
    while (server->append_taken_bytes < TL_ENGINE_BYTES) {
        /* Out of its line first: submit may complete it, and whoever resumes may join a line. */
        struct tl_turn_item *item = tl_turns_take(&server->turns);
        if (!item)
            break;
        struct tl_append *a = append_of(item);
        if (!submit(a)) {
            tl_turns_put_back(&server->turns, &a->stream->call->h2->appends, item);
            break;
        }
    }
    resume_paused(server);
}

/* Nobody waits for it any more, and nothing was promised. */
static void forget_waiting(struct tl_append *a)
{
    tl_turns_remove(&a->turn);
    a->server->append_count--;
    a->server->metrics.append_open--;
    append_free(a);
}

void tl_append_drop_waiting(struct tl_server *server)
{
    struct tl_turn_item *item;
    while ((item = tl_turns_take(&server->turns)) != NULL) {
        struct tl_append *a = append_of(item);
        struct tl_ingest *s = a->stream; /* the call closes with its connection right after */
        for (struct tl_append **p = &s->first; *p; p = &(*p)->next) {
            if (*p == a) {
                *p = a->next;
                break;
            }
        }
        s->last = s->first;
        while (s->last && s->last->next)
            s->last = s->last->next;
        s->count--;
        forget_waiting(a);
    }
}

/* ---- the calls ---- */

static void start(struct tl_call *call, struct tl_append *a)
{
    struct tl_ingest *s = call->state;
    struct tl_server *server = call->server;
    a->stream = s;
    if (s->last)
        s->last->next = a;
    else
        s->first = a;
    s->last = a;
    s->count++;
    if (a->state == APPEND_DONE) { /* refused before it reached the engine */
        append_done(a);
        return;
    }
    a->turn.size_bytes = a->batch.body.size + TL_ENGINE_BATCH_BYTES;
    if (!tl_turns_empty(&server->turns) || !submit(a))
        tl_turns_put(&server->turns, &call->h2->appends, &a->turn);
    if (!call->finished)
        update_pause(s);
}

static struct tl_append *append_new(struct tl_call *call, struct tl_message *m)
{
    struct tl_ingest *s = call->state;
    /* not acknowledged, hence not stored */
    if (!s || s->draining || !tl_authorize_again(call)) {
        tl_message_free(m);
        return NULL;
    }
    struct tl_append *a = calloc(1, sizeof(*a));
    if (!a) {
        tl_message_free(m);
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a batch");
        return NULL;
    }
    a->server = call->server;
    a->message = m;
    a->mail.deliver = deliver_done;
    a->arrived_ns = tl_now_ns();
    call->server->append_count++;
    call->server->metrics.append_open++;
    return a;
}

/* What the engine is told of who sends. */
static void name_sender(struct tl_call *call, struct tl_append *a)
{
    a->batch.tenant = tl_call_tenant(call);
    if (call->principal)
        a->principal = tl_principal_ref(call->principal);
    if (a->batch.producer.size <= TALLY_PRODUCER_BYTES_MAX)
        a->batch.producer = tl_call_producer(call, a->batch.producer, a->producer);
}

static void refuse_whole(struct tl_append *a, const struct tl_status *st)
{
    a->state = APPEND_DONE;
    snprintf(a->text, sizeof(a->text), "%s", st->text);
    a->ack = (struct tally_ack){.code = st->code, .text = a->text};
}

void tl_append_open(struct tl_call *call)
{
    struct tl_ingest *s = calloc(1, sizeof(*s));
    if (!s) {
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a stream");
        return;
    }
    s->call = call;
    s->all_next = call->server->ingests;
    if (s->all_next)
        s->all_next->all_prev = s;
    call->server->ingests = s;
    call->state = s;
}

void tl_append_message(struct tl_call *call, struct tl_message *m)
{
    struct tl_append *a = append_new(call, m);
    if (!a)
        return;
    struct tl_status st = TL_STATUS_INIT;
    if (tl_append_request_decode(tl_slice_of(m->data, m->size), &a->batch, &st))
        refuse_whole(a, &st);
    else
        name_sender(call, a);
    start(call, a);
}

static const struct tl_schema *find_schema(void *arg, struct tl_slice table)
{
    struct tl_server *server = arg;
    if (!server->schemas)
        server->schemas = tl_schema_cache_new(server->db);
    return server->schemas ? tl_schema_cache_get(server->schemas, table, tl_server_now_ms(server))
                           : NULL;
}

void tl_append_events_message(struct tl_call *call, struct tl_message *m)
{
    struct tl_append *a = append_new(call, m);
    if (!a)
        return;
    struct tl_status st = TL_STATUS_INIT;
    a->events = calloc(1, sizeof(*a->events));
    enum tl_code rc = TL_OK;
    if (!a->events)
        rc = TL_FAIL(&st, TL_LIMIT, "no memory for events");
    else
        rc = tl_events_decode(tl_slice_of(m->data, m->size), find_schema, call->server, a->events,
                              &st);
    if (rc == TL_OK && a->events->body.capacity > m->size &&
        !tl_message_charge(m, a->events->body.capacity - m->size))
        rc = TL_FAIL(&st, TL_LIMIT, "the server's budget for received bytes is met");
    if (a->events) {
        a->batch.producer = a->events->producer;
        a->batch.sequence = a->events->sequence;
        a->batch.body = tl_buffer_slice(&a->events->body);
    }
    if (rc == TL_OK && a->batch.producer.size > TALLY_PRODUCER_BYTES_MAX)
        rc = TL_FAIL(&st, TL_INVALID, "a producer's name has at most %d bytes",
                     TALLY_PRODUCER_BYTES_MAX);
    if (rc) {
        refuse_whole(a, &st);
    } else if (a->events->rows == 0) { /* nothing to store: each row was refused, or none came */
        a->state = APPEND_DONE;
        a->ack = (struct tally_ack){.code = TL_OK};
    } else {
        name_sender(call, a);
    }
    start(call, a);
}

void tl_append_half_close(struct tl_call *call)
{
    struct tl_ingest *s = call->state;
    if (!s)
        return;
    s->half_closed = true;
    finish_if_over(s);
}

void tl_append_writable(struct tl_call *call)
{
    struct tl_ingest *s = call->state;
    if (s)
        update_pause(s);
}

void tl_append_drain(struct tl_call *call)
{
    struct tl_ingest *s = call->state;
    if (!s)
        return;
    s->draining = true;
    tl_call_pause(call);
    finish_if_over(s);
}

void tl_append_close(struct tl_call *call)
{
    struct tl_ingest *s = call->state;
    call->state = NULL;
    if (!s)
        return;
    struct tl_append *next;
    for (struct tl_append *a = s->first; a; a = next) {
        next = a->next;
        a->stream = NULL;
        if (a->state == APPEND_DONE)
            append_free(a); /* behind one that is not done yet */
        else if (a->state == APPEND_WAITING)
            forget_waiting(a);
    }
    if (s->all_prev)
        s->all_prev->all_next = s->all_next;
    else
        call->server->ingests = s->all_next;
    if (s->all_next)
        s->all_next->all_prev = s->all_prev;
    free(s);
}
