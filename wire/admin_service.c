/*
 * wire/admin_service.c: Status, Inspect, Flush, Compact, Verify.
 *
 * Each runs on the admin pool, but for the cancelling of compactions, which waits for nothing.
 * Compact and Verify tell their progress: the worker leaves the newest figures and posts one mail
 * at a time, so that a fast worker does not fill the box. A compaction that nobody waits for any
 * more is put off, and its worker is free; a client that goes away stops nothing else that it
 * started.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "tally.pb-c.h"
#include "wire/control.h"
#include "wire/pb.h"
#include "wire/server_int.h"
#include "wire/services.h"

enum { JSON_STRING = 1, PROGRESS_DONE = 1, PROGRESS_TOTAL = 2, PROGRESS_JSON = 3 };

enum admin_kind { ADMIN_STATUS, ADMIN_INSPECT, ADMIN_FLUSH, ADMIN_COMPACT, ADMIN_VERIFY };

struct admin {
    struct tl_job job;
    struct tl_mail progress;
    struct tl_call *call; /* NULL: gone; loop only */
    enum admin_kind kind;
    struct tl_control control;
    const char *pack;
    struct tl_buffer json;
    struct tl_status status;
    _Atomic bool gone;            /* relaxed: its client went away; looked at now and then */
    _Atomic bool progress_posted; /* acquire/release with deliver_progress: who owns the mail */
    _Atomic uint64_t done, total; /* relaxed: the newest figures, told now or later */
    uint64_t told_ns;             /* worker only */
};

static void admin_free(struct admin *a)
{
    a->job.server->admin_count--;
    tl_buffer_deinit(&a->json);
    tl_control_deinit(&a->control);
    free(a);
}

static void send_progress(struct admin *a, bool last)
{
    struct tl_buffer out;
    tl_buffer_init(&out, "progress", TL_ANSWER_BYTES_MAX + 64u);
    tl_pb_put_uint(&out, PROGRESS_DONE, atomic_load_explicit(&a->done, memory_order_relaxed));
    tl_pb_put_uint(&out, PROGRESS_TOTAL, atomic_load_explicit(&a->total, memory_order_relaxed));
    if (last)
        tl_pb_put_bytes(&out, PROGRESS_JSON, tl_buffer_slice(&a->json));
    if (!out.failed)
        tl_call_send(a->call, tl_buffer_slice(&out));
    tl_buffer_deinit(&out);
}

static void deliver_progress(struct tl_mail *mail)
{
    struct admin *a = (struct admin *)((uint8_t *)mail - offsetof(struct admin, progress));
    atomic_store_explicit(&a->progress_posted, false, memory_order_release);
    if (a->call && a->call->out_bytes < TL_STREAM_OUT_BYTES)
        send_progress(a, false);
}

/* A compaction whose client has gone, when no other client waits for one. */
static bool nobody_waits(const struct admin *a)
{
    return a->kind == ADMIN_COMPACT && atomic_load_explicit(&a->gone, memory_order_relaxed) &&
           atomic_load_explicit(&a->job.server->compact_watchers, memory_order_relaxed) == 0;
}

/* On the worker. */
static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    enum { EVERY_NS = 200 * 1000 * 1000 };
    struct admin *a = arg;
    if (nobody_waits(a))
        tally_compact_cancel(a->job.server->db); /* it was asked for after its client had gone */
    atomic_store_explicit(&a->done, done, memory_order_relaxed);
    atomic_store_explicit(&a->total, total, memory_order_relaxed);
    uint64_t now = tl_now_ns();
    if (now - a->told_ns < EVERY_NS)
        return;
    a->told_ns = now;
    if (!atomic_exchange_explicit(&a->progress_posted, true, memory_order_acquire))
        tl_mailbox_post(&a->job.server->mailbox, &a->progress);
}

static void run_admin(struct tl_job *job, uint32_t worker)
{
    (void)worker;
    struct admin *a = (struct admin *)job;
    struct tally *db = job->server->db;
    enum tl_code rc = TL_OK;
    switch (a->kind) {
    case ADMIN_STATUS:
        rc = tally_status(db, &a->json, &a->status);
        break;
    case ADMIN_INSPECT:
        rc = tally_inspect(db, a->pack, &a->json, &a->status);
        break;
    case ADMIN_FLUSH:
        rc = tally_flush(db, &a->status);
        if (rc == TL_OK)
            tl_buffer_printf(&a->json, "{\"flushed\":true}");
        break;
    case ADMIN_COMPACT:
        rc = nobody_waits(a) ? TL_FAIL(&a->status, TL_CANCELLED, "whoever asked for it has gone")
                             : tally_compact(db, on_progress, a, &a->status);
        if (rc == TL_OK)
            tl_buffer_printf(&a->json, "{\"compacted\":true}");
        break;
    case ADMIN_VERIFY:
        rc = tally_verify(db, on_progress, a, &a->json, &a->status);
        break;
    }
    if (rc == TL_OK)
        (void)!tl_buffer_check(&a->json, &a->status);
}

static void watch(struct admin *a)
{
    if (a->kind == ADMIN_COMPACT)
        atomic_fetch_add_explicit(&a->job.server->compact_watchers, 1, memory_order_relaxed);
}

/* True: it was the last one that waited for a compaction. */
static bool unwatch(struct admin *a)
{
    return a->kind == ADMIN_COMPACT && atomic_fetch_sub_explicit(&a->job.server->compact_watchers,
                                                                 1, memory_order_relaxed) == 1;
}

static void deliver_admin(struct tl_mail *mail)
{
    struct admin *a = (struct admin *)mail;
    struct tl_call *call = a->call;
    /* A mail of progress was posted before this one, hence delivered: nobody refers to it now. */
    tl_assert(!atomic_load_explicit(&a->progress_posted, memory_order_acquire));
    if (call) {
        call->state = NULL;
        unwatch(a);
        bool stream = a->kind == ADMIN_COMPACT || a->kind == ADMIN_VERIFY;
        /* A finding of verify comes with its report. */
        if (stream && (!a->status.code || a->json.size)) {
            send_progress(a, true);
        } else if (!a->status.code) {
            struct tl_buffer out;
            tl_buffer_init(&out, "answer", TL_ANSWER_BYTES_MAX + 64u);
            tl_pb_put_bytes(&out, JSON_STRING, tl_buffer_slice(&a->json));
            tl_call_send(call, tl_buffer_slice(&out));
            tl_buffer_deinit(&out);
        }
        if (a->status.code)
            tl_call_fail(call, &a->status);
        else
            tl_call_finish(call, TL_GRPC_OK, "");
    }
    admin_free(a);
}

static void start(struct tl_call *call, struct tl_message *m, enum admin_kind kind)
{
    struct tl_server *server = call->server;
    struct admin *a = NULL;
    if (server->admin_count < server->limits.admin_max)
        a = calloc(1, sizeof(*a));
    if (!a) {
        tl_message_free(m);
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED,
                       "the limit of administrative calls is met");
        return;
    }
    server->admin_count++;
    a->job.server = server;
    a->job.run = run_admin;
    a->job.mail.deliver = deliver_admin;
    a->progress.deliver = deliver_progress;
    a->kind = kind;
    tl_buffer_init(&a->json, "report", TL_ANSWER_BYTES_MAX);
    tl_control_init(&a->control);
    struct tl_status st = TL_STATUS_INIT;
    static const ProtobufCMessageDescriptor *const types[] = {
        [ADMIN_STATUS] = &tally__v1__status_request__descriptor,
        [ADMIN_INSPECT] = &tally__v1__inspect_request__descriptor,
        [ADMIN_FLUSH] = &tally__v1__flush_request__descriptor,
        [ADMIN_COMPACT] = &tally__v1__compact_request__descriptor,
        [ADMIN_VERIFY] = &tally__v1__verify_request__descriptor,
    };
    ProtobufCMessage *request = NULL;
    enum tl_code rc =
        tl_control_decode(&a->control, types[kind], tl_slice_of(m->data, m->size), &request, &st);
    tl_message_free(m);
    if (rc == TL_OK && kind == ADMIN_INSPECT) {
        const Tally__V1__InspectRequest *r = (const Tally__V1__InspectRequest *)request;
        if (r->pack.len) {
            a->pack = tl_control_string(&a->control, r->pack);
            if (!a->pack)
                rc = TL_FAIL(&st, TL_INVALID, "the pack's name holds a NUL");
        }
    }
    if (rc == TL_OK && kind == ADMIN_COMPACT &&
        ((const Tally__V1__CompactRequest *)request)->cancel) {
        /* Here, since workers may all be waiting for compactions. */
        tally_compact_cancel(server->db);
        tl_buffer_printf(&a->json, "{\"cancelled\":true}");
        a->call = call;
        send_progress(a, true);
        tl_call_finish(call, TL_GRPC_OK, "");
        admin_free(a);
        return;
    }
    if (rc == TL_OK) {
        watch(a); /* before it runs */
        if (!tl_job_submit(server, server->admin_pool, &a->job)) {
            (void)unwatch(a);
            rc = TL_FAIL(&st, TL_LIMIT, "the limit of administrative calls is met");
        }
    }
    if (rc) {
        tl_call_fail(call, &st);
        admin_free(a);
        return;
    }
    a->call = call;
    call->state = a;
}

void tl_admin_status_message(struct tl_call *call, struct tl_message *m)
{
    start(call, m, ADMIN_STATUS);
}

void tl_admin_inspect_message(struct tl_call *call, struct tl_message *m)
{
    start(call, m, ADMIN_INSPECT);
}

void tl_admin_flush_message(struct tl_call *call, struct tl_message *m)
{
    start(call, m, ADMIN_FLUSH);
}

void tl_admin_compact_message(struct tl_call *call, struct tl_message *m)
{
    start(call, m, ADMIN_COMPACT);
}

void tl_admin_verify_message(struct tl_call *call, struct tl_message *m)
{
    start(call, m, ADMIN_VERIFY);
}

void tl_admin_close(struct tl_call *call)
{
    struct admin *a = call->state;
    call->state = NULL;
    if (!a)
        return;
    a->call = NULL;
    atomic_store_explicit(&a->gone, true, memory_order_relaxed);
    if (unwatch(a))
        tally_compact_cancel(call->server->db);
}
