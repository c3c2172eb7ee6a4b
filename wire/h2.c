/*
 * wire/h2.c: see h2.h. nghttp2 parses and prints frames, checks the protocol and keeps the
 * stream states; here stand the request's headers, the order of answers, and the windows.
 *
 * nghttp2 must not return credit by itself (option no_auto_window_update); credit is given with
 * nghttp2_submit_window_update, which first lowers what nghttp2 counts as received and beyond
 * that enlarges the window. Padding and data of closed streams are credited by nghttp2 itself:
 * the excess is seen in `remaining`, charged, and not announced again.
 */
#include "wire/h2.h"

#include <stdlib.h>

#include "base/assert.h"
#include "wire/authorize.h"
#include "wire/server_int.h"

static void wake(struct tl_h2 *h2)
{
    h2->owner.wake(h2->owner.arg);
}

static uint64_t now_ms(const struct tl_h2 *h2)
{
    return tl_server_now_ms(h2->server);
}

/* ---- windows ---- */

static size_t window_remaining(struct tl_h2 *h2)
{
    int32_t n = nghttp2_session_get_local_window_size(h2->session);
    return n > 0 ? (size_t)n : 0;
}

/* Bytes that admitted messages still lack, and bytes that parked ones hold. */
static void count_incomplete(const struct tl_h2 *h2, size_t *missing, size_t *parked)
{
    *missing = *parked = 0;
    for (const struct tl_call *c = h2->calls; c; c = c->next) {
        if (c->parked)
            *parked += c->need_got;
        else
            *missing += c->need - c->need_got;
    }
}

/* Makes `charged` at least `size`. */
static bool charge_up_to(struct tl_h2 *h2, size_t size)
{
    if (size <= h2->charged)
        return true;
    if (!tl_window_charge(&h2->server->windows, size - h2->charged))
        return false;
    h2->charged = size;
    return true;
}

/* Credit was given: the client's time to send begins anew. */
static void restart_stalls(struct tl_h2 *h2)
{
    for (struct tl_call *c = h2->calls; c; c = c->next) {
        if (c->need && !c->parked)
            c->progress_ms = now_ms(h2);
    }
}

bool tl_h2_may_send(const struct tl_call *call)
{
    nghttp2_session *session = call->h2->session;
    return !call->paused && call->backlog.size == 0 && call->h2->unsent_size == 0 &&
           !nghttp2_session_want_write(session) &&
           nghttp2_session_get_local_window_size(session) > 0 &&
           nghttp2_session_get_stream_local_window_size(session, call->id) > 0;
}

/* Announces what may be sent again, and settles the charge: (2) holds again from here. */
static void settle(struct tl_h2 *h2)
{
    if (h2->failed || h2->terminated)
        return;
    size_t missing, parked;
    count_incomplete(h2, &missing, &parked);
    if (tl_window_scarce(&h2->server->windows)) {
        size_t floor = h2->need + parked;
        if (floor < TL_WINDOW_BASE_BYTES)
            floor = TL_WINDOW_BASE_BYTES;
        if (h2->window > floor)
            h2->window = floor;
    }
    size_t remaining = window_remaining(h2);
    if (remaining + h2->held < h2->window) {
        size_t credit = h2->window - remaining - h2->held;
        if (credit >= h2->window / 4 || remaining < missing) {
            if (nghttp2_submit_window_update(h2->session, NGHTTP2_FLAG_NONE, 0, (int32_t)credit)) {
                h2->failed = true;
                return;
            }
            if (remaining == 0)
                restart_stalls(h2);
            remaining += credit;
            wake(h2);
        }
    }
    size_t bound = remaining + h2->held;
    if (bound < h2->window)
        bound = h2->window;
    if (bound < h2->charged) {
        tl_window_release(&h2->server->windows, h2->charged - bound);
        h2->charged = bound;
    } else if (!charge_up_to(h2, bound)) {
        /* nghttp2 credited thrown-away data while the budget is met. */
        h2->terminated = true;
        (void)nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
        wake(h2);
    }
}

static void settle_stream(struct tl_call *call)
{
    struct tl_h2 *h2 = call->h2;
    if (call->remote_closed || h2->failed)
        return;
    int32_t n = nghttp2_session_get_stream_local_window_size(h2->session, call->id);
    size_t remaining = n > 0 ? (size_t)n : 0;
    if (remaining + call->held >= call->window)
        return;
    size_t credit = call->window - remaining - call->held;
    if (credit < call->window / 4 && (call->parked || remaining >= call->need - call->need_got))
        return;
    if (nghttp2_submit_window_update(h2->session, NGHTTP2_FLAG_NONE, call->id, (int32_t)credit))
        h2->failed = true;
    if (remaining == 0)
        call->progress_ms = now_ms(h2);
    wake(h2);
}

/* Another message of the connection has waited for longer than the call's. */
static bool passes_its_own(const struct tl_call *call)
{
    for (const struct tl_call *c = call->h2->calls; c; c = c->next)
        if (c != call && c->parked && (!call->parked || c->parked_at < call->parked_at))
            return true;
    return false;
}

/* Makes `charged` at least `size` for a message, if that is not unfair to who waits for longer. */
static bool borrow_up_to(struct tl_call *call, size_t size)
{
    struct tl_h2 *h2 = call->h2;
    if (size <= h2->charged)
        return true;
    struct tl_window_budget *budget = &h2->server->windows;
    struct tl_window_waiter *own = &h2->waiter;
    size_t more = size - h2->charged, limit = tl_window_loan_limit(budget);
    bool passes = passes_its_own(call);
    if (passes && own->least_bytes <= limit && own->passed_bytes + more > limit)
        return false;
    if (!tl_window_may_pass(budget, own, more) || !charge_up_to(h2, size))
        return false;
    tl_window_note_pass(budget, own, more);
    own->passed_bytes += passes ? more : 0;
    return true;
}

/* Room for the call's message of `need` bytes, or false. */
static bool admit(struct tl_call *call)
{
    struct tl_h2 *h2 = call->h2;
    struct tl_window_budget *budget = &h2->server->windows;
    size_t missing, parked;
    count_incomplete(h2, &missing, &parked);
    if (call->parked)
        parked -= call->need_got;
    size_t required = h2->need + call->need + parked;
    bool lend = call->need > TL_WINDOW_LEND_MESSAGE_BYTES;
    size_t target = required;
    if (lend && !tl_window_scarce(budget) && target < TL_WINDOW_CONNECTION_BYTES &&
        tl_window_loans(budget) + TL_WINDOW_CONNECTION_BYTES <= tl_window_loan_limit(budget) / 2)
        target = TL_WINDOW_CONNECTION_BYTES;
    if (target > h2->window) {
        if (!borrow_up_to(call, target)) {
            target = required;
            if (!borrow_up_to(call, target))
                return false;
        }
        if (target > h2->window)
            h2->window = target;
    }
    call->parked = false;
    h2->need += call->need;
    size_t window = call->window > call->need ? call->window : call->need;
    if (lend && window < TL_WINDOW_STREAM_BYTES && h2->window >= TL_WINDOW_STREAM_BYTES)
        window = TL_WINDOW_STREAM_BYTES;
    call->window = window;
    return true;
}

void tl_h2_need(struct tl_call *call, size_t size)
{
    struct tl_h2 *h2 = call->h2;
    tl_assert(call->need == 0);
    if (size == 0)
        return;
    call->need = size;
    call->need_got = 0;
    call->progress_ms = now_ms(h2);
    call->suspected = false;
    if (!admit(call)) {
        call->given_back = h2->server->windows.given_back;
        call->parked = true;
        call->parked_at = ++h2->parked_count;
        if (!h2->waiter.waiting) {
            h2->waiter.least_bytes = size;
            h2->waiter.passed_bytes = 0;
        }
        tl_window_wait(&h2->server->windows, &h2->waiter);
    }
    h2->owner.arm(h2->owner.arg, call->progress_ms + h2->server->limits.message_stall_ms);
}

void tl_h2_need_end(struct tl_call *call)
{
    if (call->need && !call->parked) {
        tl_assert(call->h2->need >= call->need);
        call->h2->need -= call->need;
    }
    call->need = call->need_got = 0;
    call->parked = false;
}

/* The parked call that came next after number `after`. */
static struct tl_call *next_parked(const struct tl_h2 *h2, uint64_t after)
{
    struct tl_call *found = NULL;
    for (struct tl_call *c = h2->calls; c; c = c->next)
        if (c->parked && c->parked_at > after && (!found || c->parked_at < found->parked_at))
            found = c;
    return found;
}

static void retry_parked(struct tl_window_waiter *w)
{
    struct tl_h2 *h2 = (struct tl_h2 *)((uint8_t *)w - offsetof(struct tl_h2, waiter));
    /* Those that have waited for longest first. */
    struct tl_call *first = NULL;
    for (uint64_t done = 0;;) {
        struct tl_call *c = next_parked(h2, done);
        if (!c)
            break;
        done = c->parked_at;
        if (admit(c)) {
            settle_stream(c);
            if (!first)
                w->passed_bytes = 0;
        } else if (!first) {
            first = c;
        }
    }
    if (first) {
        w->least_bytes = first->need;
        tl_window_wait(&h2->server->windows, w);
    }
    settle(h2);
}

void tl_h2_hold(struct tl_h2 *h2, struct tl_message *m)
{
    m->h2 = h2;
    m->hold_prev = NULL;
    m->hold_next = h2->messages;
    if (h2->messages)
        h2->messages->hold_prev = m;
    h2->messages = m;
}

void tl_h2_release(struct tl_h2 *h2, int32_t stream_id, size_t size)
{
    if (size == 0)
        return;
    tl_assert(h2->held >= size);
    h2->held -= size;
    if (h2->failed)
        return;
    struct tl_call *call = nghttp2_session_get_stream_user_data(h2->session, stream_id);
    if (call) {
        tl_assert(call->held >= size);
        call->held -= size;
        settle_stream(call);
    }
    settle(h2);
}

/* ---- answers ---- */

static nghttp2_nv nv_of(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

void tl_h2_drop_out(struct tl_call *call)
{
    while (call->out_first) {
        struct tl_out_chunk *chunk = call->out_first;
        call->out_first = chunk->next;
        free(chunk->data);
        free(chunk);
    }
    call->out_last = NULL;
    call->out_bytes = 0;
}

static size_t take_out(struct tl_call *call, uint8_t *out, size_t size)
{
    size_t done = 0;
    while (done < size && call->out_first) {
        struct tl_out_chunk *chunk = call->out_first;
        size_t n = chunk->size - chunk->offset;
        if (n > size - done)
            n = size - done;
        memcpy(out + done, chunk->data + chunk->offset, n);
        chunk->offset += n;
        done += n;
        if (chunk->offset == chunk->size) {
            call->out_first = chunk->next;
            if (!chunk->next)
                call->out_last = NULL;
            free(chunk->data);
            free(chunk);
        }
    }
    call->out_bytes -= done;
    return done;
}

static int submit_trailers(struct tl_call *call)
{
    char code[12], text[3 * TL_MESSAGE_TEXT_BYTES + 1], details[2048], position[16];
    nghttp2_nv nv[6];
    size_t n = 0;
    snprintf(code, sizeof(code), "%d", (int)call->code);
    nv[n++] = nv_of("grpc-status", code);
    if (call->text[0]) {
        tl_grpc_message_encode(call->text, text, sizeof(text));
        nv[n++] = nv_of("grpc-message", text);
    }
    if (call->status.code) {
        nv[n++] = nv_of("tally-code", tl_code_name(call->status.code));
        if (call->status.sqlstate[0])
            nv[n++] = nv_of("tally-sqlstate", call->status.sqlstate);
        if (call->status.position > 0) {
            snprintf(position, sizeof(position), "%d", (int)call->status.position);
            nv[n++] = nv_of("tally-position", position);
        }
        if (tl_grpc_details_encode(call->code, call->text, &call->status, details, sizeof(details)))
            nv[n++] = nv_of("grpc-status-details-bin", details);
    }
    call->end_sent = true;
    if (call->headers_sent)
        return nghttp2_submit_trailer(call->h2->session, call->id, nv, n);
    /* Nothing was sent: status and headers in one. */
    nghttp2_nv all[10];
    size_t k = 0;
    all[k++] = nv_of(":status", "200");
    all[k++] = nv_of("content-type", "application/grpc");
    if (call->bad_encoding)
        all[k++] = nv_of("grpc-accept-encoding", "identity,gzip");
    memcpy(all + k, nv, n * sizeof(*nv));
    call->headers_sent = true;
    return nghttp2_submit_response(call->h2->session, call->id, all, k + n, NULL);
}

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
                        uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)session;
    (void)id;
    (void)arg;
    struct tl_call *call = source->ptr;
    size_t n = take_out(call, buf, size);
    if (!call->out_first && call->finished) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (submit_trailers(call))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        return (ssize_t)n;
    }
    if (n == 0) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (!call->out_first)
        tl_call_on_drained(call);
    return (ssize_t)n;
}

void tl_h2_send_headers(struct tl_call *call)
{
    if (call->headers_sent || call->h2->failed)
        return;
    nghttp2_nv nv[] = {nv_of(":status", "200"), nv_of("content-type", "application/grpc"),
                       nv_of("grpc-accept-encoding", "identity,gzip")};
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_out};
    if (nghttp2_submit_response(call->h2->session, call->id, nv, 3, &provider))
        call->h2->failed = true;
    call->headers_sent = true;
    wake(call->h2);
}

void tl_h2_resume(struct tl_call *call)
{
    if (call->h2->failed || call->end_sent)
        return;
    if (!call->headers_sent) {
        if (call->finished && !call->out_first) {
            if (submit_trailers(call))
                call->h2->failed = true;
        } else {
            tl_h2_send_headers(call);
        }
    } else if (call->deferred) {
        call->deferred = false;
        (void)nghttp2_session_resume_data(call->h2->session, call->id);
    }
    wake(call->h2);
}

void tl_h2_send_only_headers(struct tl_call *call, const nghttp2_nv *nv, size_t count)
{
    if (call->headers_sent || call->h2->failed)
        return;
    call->headers_sent = call->end_sent = true;
    if (nghttp2_submit_response(call->h2->session, call->id, nv, count, NULL))
        call->h2->failed = true;
    wake(call->h2);
}

/* ---- nghttp2's callbacks ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct tl_h2 *h2 = arg;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct tl_server *server = h2->server;
    if (server->stream_count >= server->limits.streams_max) {
        server->metrics.streams_refused++;
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                         NGHTTP2_REFUSED_STREAM);
    }
    struct tl_call *call = calloc(1, sizeof(*call));
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    call->h2 = h2;
    call->server = server;
    call->id = frame->hd.stream_id;
    call->window = TL_WINDOW_BASE_BYTES;
    call->timeout_us = UINT64_MAX;
    call->deadline_ms = UINT64_MAX;
    call->next = h2->calls;
    if (h2->calls)
        h2->calls->prev = call;
    h2->calls = call;
    h2->call_count++;
    server->stream_count++;
    return nghttp2_session_set_stream_user_data(session, call->id, call);
}

static bool name_is(const uint8_t *name, size_t size, const char *expected)
{
    return size == strlen(expected) && memcmp(name, expected, size) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t size, uint8_t flags, void *arg)
{
    (void)flags;
    (void)arg;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct tl_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return 0;
    call->header_bytes += name_size + size + 32; /* as RFC 9113, 6.5.2 counts */
    if (call->header_bytes > call->server->limits.header_bytes_max) {
        call->reject = TL_REJECT_HEADERS;
        return 0;
    }
    struct tl_slice v = tl_slice_of(value, size);
    if (name_is(name, name_size, ":path")) {
        if (size < sizeof(call->path)) {
            memcpy(call->path, value, size);
            call->path[size] = '\0';
        }
    } else if (name_is(name, name_size, ":method")) {
        call->post = name_is(value, size, "POST");
    } else if (name_is(name, name_size, "content-type")) {
        static const char grpc[] = "application/grpc";
        size_t n = sizeof(grpc) - 1;
        call->grpc_type = size >= n && memcmp(value, grpc, n) == 0 &&
                          (size == n || value[n] == '+' || value[n] == ';');
    } else if (name_is(name, name_size, "grpc-timeout")) {
        call->bad_timeout = !tl_grpc_timeout_parse(v, &call->timeout_us);
    } else if (name_is(name, name_size, "authorization")) {
        struct tl_slice token;
        call->bad_token = !tl_bearer_token(v, &token);
        call->token_size = 0;
        if (!call->bad_token && token.size <= sizeof(call->token)) {
            memcpy(call->token, token.data, token.size);
            call->token_size = token.size;
        }
    } else if (name_is(name, name_size, "grpc-encoding")) {
        call->gzip = name_is(value, size, "gzip");
        call->bad_encoding = !call->gzip && !name_is(value, size, "identity");
    }
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct tl_h2 *h2 = arg;
    if (frame->hd.type == NGHTTP2_SETTINGS)
        h2->greeted = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct tl_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        if (!call->post)
            call->reject = call->reject ? call->reject : TL_REJECT_METHOD;
        else if (!call->grpc_type)
            call->reject = call->reject ? call->reject : TL_REJECT_CONTENT_TYPE;
        call->remote_closed = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
        tl_call_on_headers(call);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        call->remote_closed = true;
        tl_call_on_half_close(call);
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t size, void *arg)
{
    (void)flags;
    struct tl_h2 *h2 = arg;
    struct tl_call *call = nghttp2_session_get_stream_user_data(session, id);
    h2->held += size;
    if (!call) {
        tl_h2_release(h2, id, size);
        return 0;
    }
    call->held += size;
    tl_call_on_data(call, data, size);
    return h2->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* A client that still sends when its call is over is told to stop, without an error. Only after
 * the status went out: an earlier RST_STREAM would make nghttp2 drop it. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
        (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    struct tl_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call && !call->remote_closed)
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                         NGHTTP2_NO_ERROR);
    return 0;
}

static void call_free(struct tl_call *call)
{
    struct tl_h2 *h2 = call->h2;
    tl_call_on_close(call);
    tl_h2_need_end(call);
    tl_h2_drop_out(call);
    if (call->prev)
        call->prev->next = call->next;
    else
        h2->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    h2->call_count--;
    h2->server->stream_count--;
    h2->active_ms = now_ms(h2);
    h2->owner.arm(h2->owner.arg, h2->active_ms + h2->server->limits.idle_ms);
    free(call);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    (void)error;
    struct tl_h2 *h2 = arg;
    struct tl_call *call = nghttp2_session_get_stream_user_data(session, id);
    if (!call)
        return 0;
    (void)nghttp2_session_set_stream_user_data(session, id, NULL);
    call_free(call);
    settle(h2);
    return 0;
}

/* ---- the connection ---- */

static int session_new(struct tl_h2 *h2)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&cb);
    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc)
        goto done;
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_stream_reset_rate_limit(option, TL_RESET_BURST, TL_RESET_RATE);
    nghttp2_option_set_max_continuations(option, TL_CONTINUATIONS_MAX);
    nghttp2_option_set_max_settings(option, TL_SETTINGS_MAX);
    nghttp2_option_set_max_outbound_ack(option, TL_OUTBOUND_ACKS_MAX);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 4096);
    rc = nghttp2_session_server_new2(&h2->session, cb, h2, option);
    if (rc)
        goto done;
    const struct tl_wire_limits *limits = &h2->server->limits;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams_per_connection_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, TL_WINDOW_BASE_BYTES},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, TL_FRAME_BYTES_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->header_bytes_max},
    };
    rc = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                 sizeof(settings) / sizeof(settings[0]));
done:
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    return rc;
}

enum tl_code tl_h2_new(struct tl_server *server, const struct tl_h2_owner *owner,
                       struct tl_h2 **out, struct tl_status *st)
{
    struct tl_h2 *h2 = calloc(1, sizeof(*h2));
    if (!h2)
        return TL_FAIL(st, TL_LIMIT, "no memory for a connection");
    h2->server = server;
    h2->owner = *owner;
    h2->window = TL_WINDOW_BASE_BYTES;
    h2->waiter.retry = retry_parked;
    h2->opened_ms = h2->active_ms = now_ms(h2);
    if (!tl_window_charge_base(&server->windows, TL_WINDOW_BASE_BYTES)) {
        free(h2);
        return TL_FAIL(st, TL_LIMIT, "the budget of %zu bytes for receive windows is met",
                       server->windows.limit_bytes);
    }
    h2->charged = TL_WINDOW_BASE_BYTES;
    int rc = session_new(h2);
    if (rc) {
        tl_h2_free(h2);
        return TL_FAIL(st, TL_LIMIT, "no HTTP/2 session: %s", nghttp2_strerror(rc));
    }
    *out = h2;
    return TL_OK;
}

void tl_h2_free(struct tl_h2 *h2)
{
    if (!h2)
        return;
    h2->failed = true; /* nothing is sent any more */
    while (h2->calls)
        call_free(h2->calls); /* NOLINT(clang-analyzer-unix.Malloc): takes itself off the list */
    /* What the engine still holds of the window stays charged until it is freed. */
    size_t kept = 0;
    while (h2->messages) {
        struct tl_message *m = h2->messages;
        h2->messages = m->hold_next;
        m->h2 = NULL;
        m->charged += m->held;
        kept += m->held;
        m->held = 0;
    }
    tl_assert(kept <= h2->charged);
    tl_window_unwait(&h2->waiter);
    tl_window_forget_base(&h2->server->windows, TL_WINDOW_BASE_BYTES);
    tl_window_release(&h2->server->windows, h2->charged - kept);
    nghttp2_session_del(h2->session);
    free(h2);
}

bool tl_h2_receive(struct tl_h2 *h2, const uint8_t *data, size_t size)
{
    if (h2->failed)
        return false;
    ssize_t n = nghttp2_session_mem_recv(h2->session, data, size);
    if (n < 0) {
        tl_server_log(h2->server, 0, "http2_error", "%s", nghttp2_strerror((int)n));
        if (n == NGHTTP2_ERR_FLOODED || n == NGHTTP2_ERR_BAD_CLIENT_MAGIC ||
            n == NGHTTP2_ERR_CALLBACK_FAILURE || n == NGHTTP2_ERR_NOMEM)
            h2->failed = true;
        else
            (void)nghttp2_session_terminate_session(h2->session, NGHTTP2_PROTOCOL_ERROR);
        wake(h2);
        return false;
    }
    settle(h2);
    wake(h2);
    return !h2->failed;
}

size_t tl_h2_pull(struct tl_h2 *h2, uint8_t *out, size_t size)
{
    size_t done = 0;
    while (done < size && !h2->failed) {
        if (h2->unsent_size == 0) {
            const uint8_t *data = NULL;
            ssize_t n = nghttp2_session_mem_send(h2->session, &data);
            if (n < 0) {
                h2->failed = true;
                break;
            }
            if (n == 0)
                break;
            h2->unsent = data;
            h2->unsent_size = (size_t)n;
        }
        size_t n = h2->unsent_size < size - done ? h2->unsent_size : size - done;
        memcpy(out + done, h2->unsent, n);
        h2->unsent += n;
        h2->unsent_size -= n;
        done += n;
    }
    return done;
}

bool tl_h2_finished(struct tl_h2 *h2)
{
    if (h2->failed)
        return true;
    if (h2->unsent_size > 0)
        return false;
    if (h2->goaway_sent && h2->call_count == 0 && !nghttp2_session_want_write(h2->session))
        return true;
    return !nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session);
}

static void submit_goaway(struct tl_h2 *h2)
{
    h2->goaway_sent = true;
    (void)nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(h2->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
    wake(h2);
}

uint64_t tl_h2_tick(struct tl_h2 *h2, uint64_t now)
{
    const struct tl_wire_limits *limits = &h2->server->limits;
    uint64_t due = UINT64_MAX;
    struct tl_call *next;
    for (struct tl_call *c = h2->calls; c; c = next) {
        next = c->next;
        uint64_t t = tl_call_tick(c, now);
        if (t < due)
            due = t;
    }
    if (h2->failed)
        return due;
    if (h2->draining && !h2->goaway_sent) {
        if (now >= h2->goaway_ms)
            submit_goaway(h2);
        else if (h2->goaway_ms < due)
            due = h2->goaway_ms;
    }
    if (h2->call_count == 0 && !h2->goaway_sent) {
        /* A client may connect early and call late; one that never speaks is cut short. */
        uint64_t end =
            h2->greeted ? h2->active_ms + limits->idle_ms : h2->opened_ms + limits->handshake_ms;
        if (now >= end)
            submit_goaway(h2);
        else if (end < due)
            due = end;
    }
    return due;
}

void tl_h2_drain(struct tl_h2 *h2)
{
    enum { GOAWAY_AFTER_MS = 100 }; /* calls already on their way still find us */
    if (h2->draining || h2->failed)
        return;
    h2->draining = true;
    (void)nghttp2_submit_shutdown_notice(h2->session);
    h2->goaway_ms = now_ms(h2) + GOAWAY_AFTER_MS;
    h2->owner.arm(h2->owner.arg, h2->goaway_ms);
    struct tl_call *next;
    for (struct tl_call *c = h2->calls; c; c = next) {
        next = c->next;
        if (c->method && !c->finished && c->method->drain)
            c->method->drain(c);
    }
    wake(h2);
}

void tl_h2_end_calls(struct tl_h2 *h2)
{
    for (struct tl_call *c = h2->calls; c; c = c->next)
        tl_call_abort(c, TL_GRPC_UNAVAILABLE, "the server is shutting down");
    if (!h2->goaway_sent && !h2->failed)
        submit_goaway(h2);
}
