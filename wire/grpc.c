/*
 * wire/grpc.c: gRPC over HTTP/2 (see call.h): framing, compression, deadlines, status.
 *
 * Messages are reassembled from DATA chunks into one buffer each, straight from the socket's
 * bytes: one copy. Memory for a message grows with the bytes that came until its window is
 * granted, so that a prefix alone cannot make us allocate.
 */
#include "wire/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/assert.h"
#include "wire/authorize.h"
#include "wire/h2.h"
#include "wire/principals.h"
#include "wire/server_int.h"

/* ---- codes ---- */

static const struct {
    const char *name;
} grpc_codes[TL_GRPC_CODE_COUNT] = {
    [TL_GRPC_OK] = {"OK"},
    [TL_GRPC_CANCELLED] = {"CANCELLED"},
    [TL_GRPC_UNKNOWN] = {"UNKNOWN"},
    [TL_GRPC_INVALID_ARGUMENT] = {"INVALID_ARGUMENT"},
    [TL_GRPC_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED"},
    [TL_GRPC_NOT_FOUND] = {"NOT_FOUND"},
    [TL_GRPC_ALREADY_EXISTS] = {"ALREADY_EXISTS"},
    [TL_GRPC_PERMISSION_DENIED] = {"PERMISSION_DENIED"},
    [TL_GRPC_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED"},
    [TL_GRPC_FAILED_PRECONDITION] = {"FAILED_PRECONDITION"},
    [TL_GRPC_ABORTED] = {"ABORTED"},
    [TL_GRPC_OUT_OF_RANGE] = {"OUT_OF_RANGE"},
    [TL_GRPC_UNIMPLEMENTED] = {"UNIMPLEMENTED"},
    [TL_GRPC_INTERNAL] = {"INTERNAL"},
    [TL_GRPC_UNAVAILABLE] = {"UNAVAILABLE"},
    [TL_GRPC_DATA_LOSS] = {"DATA_LOSS"},
    [TL_GRPC_UNAUTHENTICATED] = {"UNAUTHENTICATED"},
};

/* docs/WIRE.md, "Status codes", holds the same table. */
static const uint8_t codes_of[TL_CODE_COUNT] = {
    [TL_OK] = TL_GRPC_OK,
    [TL_INVALID] = TL_GRPC_INVALID_ARGUMENT,
    [TL_LIMIT] = TL_GRPC_RESOURCE_EXHAUSTED,
    [TL_IO] = TL_GRPC_INTERNAL,
    [TL_FULL] = TL_GRPC_RESOURCE_EXHAUSTED,
    [TL_CORRUPT] = TL_GRPC_DATA_LOSS,
    [TL_BUSY] = TL_GRPC_UNAVAILABLE,
    [TL_CANCELLED] = TL_GRPC_CANCELLED,
    [TL_TIMEOUT] = TL_GRPC_DEADLINE_EXCEEDED,
    [TL_UNSUPPORTED] = TL_GRPC_UNIMPLEMENTED,
    [TL_NOT_FOUND] = TL_GRPC_NOT_FOUND,
    [TL_EXISTS] = TL_GRPC_ALREADY_EXISTS,
    [TL_TOO_OLD] = TL_GRPC_FAILED_PRECONDITION,
    [TL_CLOSED] = TL_GRPC_UNAVAILABLE,
};

enum tl_grpc_code tl_grpc_code_of(enum tl_code code)
{
    return (unsigned)code < TL_CODE_COUNT ? (enum tl_grpc_code)codes_of[code] : TL_GRPC_UNKNOWN;
}

const char *tl_grpc_code_name(enum tl_grpc_code code)
{
    return (unsigned)code < TL_GRPC_CODE_COUNT ? grpc_codes[code].name : "UNKNOWN";
}

/* ---- headers and trailers ---- */

bool tl_grpc_timeout_parse(struct tl_slice text, uint64_t *out_us)
{
    if (text.size < 2 || text.size > 9)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    switch (text.data[text.size - 1]) {
    case 'H':
        *out_us = n * 3600 * 1000000;
        return true;
    case 'M':
        *out_us = n * 60 * 1000000;
        return true;
    case 'S':
        *out_us = n * 1000000;
        return true;
    case 'm':
        *out_us = n * 1000;
        return true;
    case 'u':
        *out_us = n;
        return true;
    case 'n':
        *out_us = n / 1000;
        return true;
    default:
        return false;
    }
}

size_t tl_grpc_message_encode(const char *text, char *out, size_t size)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
        if (*p >= 0x20 && *p <= 0x7e && *p != '%') {
            if (n + 2 > size)
                break;
            out[n++] = (char)*p;
        } else {
            if (n + 4 > size)
                break;
            out[n++] = '%';
            out[n++] = hex[*p >> 4];
            out[n++] = hex[*p & 15];
        }
    }
    out[n] = '\0';
    return n;
}

static size_t base64(const uint8_t *in, size_t n, char *out, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if ((n + 2) / 3 * 4 + 1 > size)
        return 0;
    size_t k = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16;
        v |= i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0;
        v |= i + 2 < n ? in[i + 2] : 0;
        out[k++] = digits[v >> 18];
        out[k++] = digits[v >> 12 & 63];
        if (i + 1 < n)
            out[k++] = digits[v >> 6 & 63];
        if (i + 2 < n)
            out[k++] = digits[v & 63];
    }
    out[k] = '\0';
    return k;
}

static void put_metadata(struct tl_buffer *info, const char *key, const char *value)
{
    uint8_t entry[128];
    size_t k = strlen(key), v = strlen(value);
    if (k + v + 4 > sizeof(entry))
        return;
    size_t n = 0;
    entry[n++] = 1 << 3 | 2;
    entry[n++] = (uint8_t)k;
    memcpy(entry + n, key, k);
    n += k;
    entry[n++] = 2 << 3 | 2;
    entry[n++] = (uint8_t)v;
    memcpy(entry + n, value, v);
    n += v;
    tl_buffer_put_u8(info, 3 << 3 | 2);
    tl_buffer_put_varint(info, n);
    tl_buffer_put(info, entry, n);
}

static void put_field(struct tl_buffer *b, uint8_t number, const void *data, size_t size)
{
    tl_buffer_put_u8(b, (uint8_t)(number << 3 | 2));
    tl_buffer_put_varint(b, size);
    tl_buffer_put(b, data, size);
}

size_t tl_grpc_details_encode(enum tl_grpc_code code, const char *text, const struct tl_status *st,
                              char *out, size_t size)
{
    static const char url[] = "type.googleapis.com/google.rpc.ErrorInfo";
    char number[16];
    struct tl_buffer info, any, status;
    tl_buffer_init(&info, "error info", 4096);
    tl_buffer_init(&any, "error details", 4096);
    tl_buffer_init(&status, "error status", 4096);
    const char *sqlstate = tl_status_sqlstate(st);
    put_field(&info, 1, sqlstate, strlen(sqlstate)); /* reason */
    put_field(&info, 2, "tally", 5);                 /* domain */
    put_metadata(&info, "code", tl_code_name(st->code));
    if (st->position > 0) {
        snprintf(number, sizeof(number), "%d", (int)st->position);
        put_metadata(&info, "position", number);
    }
    put_field(&any, 1, url, sizeof(url) - 1);
    put_field(&any, 2, info.data, info.size);
    tl_buffer_put_u8(&status, 1 << 3);
    tl_buffer_put_varint(&status, (uint64_t)code);
    put_field(&status, 2, text, strlen(text));
    put_field(&status, 3, any.data, any.size);
    size_t n = 0;
    if (!info.failed && !any.failed && !status.failed)
        n = base64(status.data, status.size, out, size);
    tl_buffer_deinit(&info);
    tl_buffer_deinit(&any);
    tl_buffer_deinit(&status);
    return n;
}

/* ---- messages ---- */

static struct tl_message *message_new(struct tl_call *call)
{
    struct tl_message *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->server = call->server;
    m->stream_id = call->id;
    tl_h2_hold(call->h2, m);
    return m;
}

bool tl_message_charge(struct tl_message *m, size_t size)
{
    if (!tl_window_charge(&m->server->windows, size))
        return false;
    m->charged += size;
    return true;
}

void tl_message_free(struct tl_message *m)
{
    if (!m)
        return;
    if (m->h2) {
        if (m->hold_prev)
            m->hold_prev->hold_next = m->hold_next;
        else
            m->h2->messages = m->hold_next;
        if (m->hold_next)
            m->hold_next->hold_prev = m->hold_prev;
        tl_h2_release(m->h2, m->stream_id, m->held);
    }
    tl_window_release(&m->server->windows, m->charged);
    free(m->data);
    free(m);
}

static bool message_reserve(struct tl_message *m, size_t need, size_t total, bool whole)
{
    enum { FIRST_CAPACITY = 4096 };
    if (need <= m->capacity)
        return true;
    size_t capacity = m->capacity ? m->capacity * 2 : FIRST_CAPACITY;
    if (capacity < need)
        capacity = need;
    if (whole || capacity > total)
        capacity = total;
    uint8_t *data = realloc(m->data, capacity);
    if (!data)
        return false;
    m->data = data;
    m->capacity = capacity;
    return true;
}

/* Inflates in place of the message's bytes. */
static enum tl_code message_inflate(struct tl_message *m, size_t limit, struct tl_status *st)
{
    z_stream z = {.next_in = m->data, .avail_in = (uInt)m->size};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return TL_FAIL(st, TL_LIMIT, "no memory to inflate a message");
    uint8_t *out = NULL;
    size_t capacity = 0, size = 0;
    int rc = Z_OK;
    enum tl_code code = TL_OK;
    while (rc != Z_STREAM_END) {
        if (size == capacity) {
            size_t grown = capacity ? capacity * 2 : m->size * 4 + 1024;
            if (grown > limit + 1)
                grown = limit + 1;
            if (size > limit) {
                code = TL_FAIL(st, TL_LIMIT, "a message inflates beyond the limit of %zu bytes",
                               limit);
                break;
            }
            if (!tl_message_charge(m, grown - capacity)) {
                code = TL_FAIL(st, TL_LIMIT, "the budget for received bytes is met");
                break;
            }
            uint8_t *data = realloc(out, grown);
            if (!data) {
                code = TL_FAIL(st, TL_LIMIT, "no memory for a message of %zu bytes", grown);
                break;
            }
            out = data;
            capacity = grown;
        }
        z.next_out = out + size;
        z.avail_out = (uInt)(capacity - size);
        rc = inflate(&z, Z_NO_FLUSH);
        size = capacity - z.avail_out;
        if (rc != Z_OK && rc != Z_STREAM_END) {
            code = TL_FAIL(st, TL_INVALID, "a message is not what gzip makes");
            break;
        }
    }
    inflateEnd(&z);
    if (code == TL_OK && size > limit)
        code = TL_FAIL(st, TL_LIMIT, "a message inflates beyond the limit of %zu bytes", limit);
    if (code) {
        free(out);
        return code;
    }
    free(m->data);
    m->data = out;
    m->size = size;
    m->capacity = capacity;
    return TL_OK;
}

/* ---- sending ---- */

static bool out_put(struct tl_call *call, uint8_t *data, size_t size, size_t capacity)
{
    struct tl_out_chunk *chunk = malloc(sizeof(*chunk));
    if (!chunk)
        return false;
    *chunk = (struct tl_out_chunk){.data = data, .size = size, .capacity = capacity};
    if (call->out_last)
        call->out_last->next = chunk;
    else
        call->out_first = chunk;
    call->out_last = chunk;
    call->out_bytes += size;
    return true;
}

static struct tl_method_metrics *metrics_of(struct tl_call *call)
{
    size_t i = call->method ? (size_t)(call->method - tl_methods) : tl_method_count;
    return &call->server->metrics.methods[i];
}

void tl_call_send(struct tl_call *call, struct tl_slice message)
{
    /* The first one small: most answers are short, and go before the next one comes. */
    enum { CHUNK_FIRST_BYTES = 512, CHUNK_BYTES = 4096 };
    if (call->finished)
        return;
    size_t total = message.size + 5;
    struct tl_out_chunk *last = call->out_last;
    if (!last || last->capacity - last->size < total) {
        size_t least = last ? CHUNK_BYTES : CHUNK_FIRST_BYTES;
        size_t capacity = total < least ? least : total;
        uint8_t *data = malloc(capacity);
        if (!data || !out_put(call, data, 0, capacity)) {
            free(data);
            tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for an answer");
            return;
        }
        last = call->out_last;
    }
    uint8_t *p = last->data + last->size;
    p[0] = 0;
    p[1] = (uint8_t)(message.size >> 24);
    p[2] = (uint8_t)(message.size >> 16);
    p[3] = (uint8_t)(message.size >> 8);
    p[4] = (uint8_t)message.size;
    if (message.size)
        memcpy(p + 5, message.data, message.size);
    last->size += total;
    call->out_bytes += total;
    metrics_of(call)->messages_out++;
    tl_h2_resume(call);
}

size_t tl_frame_begin(struct tl_buffer *b)
{
    size_t begin = b->size;
    tl_buffer_put(b, "\0\0\0\0", 5);
    return begin;
}

void tl_frame_end(struct tl_buffer *b, size_t begin)
{
    if (b->failed)
        return;
    size_t size = b->size - begin - 5;
    uint8_t *p = b->data + begin;
    p[1] = (uint8_t)(size >> 24);
    p[2] = (uint8_t)(size >> 16);
    p[3] = (uint8_t)(size >> 8);
    p[4] = (uint8_t)size;
}

void tl_call_send_framed(struct tl_call *call, struct tl_buffer *framed)
{
    if (call->finished || framed->size == 0 || framed->failed)
        return;
    if (!out_put(call, framed->data, framed->size, framed->size)) {
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for an answer");
        return;
    }
    framed->data = NULL;
    framed->size = framed->capacity = 0;
    metrics_of(call)->messages_out++;
    tl_h2_resume(call);
}

/* ---- receiving ---- */

static void drop_incoming(struct tl_call *call)
{
    tl_h2_need_end(call);
    tl_message_free(call->incoming);
    call->incoming = NULL;
    tl_message_free(call->request);
    call->request = NULL;
    size_t waiting = call->backlog.size - call->backlog_offset;
    tl_buffer_clear(&call->backlog);
    call->backlog_offset = 0;
    tl_h2_release(call->h2, call->id, waiting);
}

void tl_call_finish(struct tl_call *call, enum tl_grpc_code code, const char *text)
{
    if (call->finished)
        return;
    call->finished = true;
    call->code = code;
    snprintf(call->text, sizeof(call->text), "%s", text ? text : "");
    if (!call->feeding)
        drop_incoming(call);
    tl_h2_resume(call);
}

void tl_call_fail(struct tl_call *call, const struct tl_status *st)
{
    if (call->finished)
        return;
    call->status = *st;
    tl_call_finish(call, tl_grpc_code_of(st->code), st->text);
}

void tl_call_abort(struct tl_call *call, enum tl_grpc_code code, const char *text)
{
    if (call->finished)
        return;
    tl_h2_drop_out(call); /* the client may take no more bytes, but it gets a status */
    tl_call_finish(call, code, text);
    if (call->method && call->method->close && !call->closed)
        call->method->close(call);
    call->closed = true;
}

static size_t message_limit(const struct tl_call *call)
{
    size_t limit = call->server->limits.message_bytes_max;
    size_t own = call->method->message_bytes;
    return own && own < limit ? own : limit;
}

static void deliver(struct tl_call *call)
{
    struct tl_message *m = call->incoming;
    call->incoming = NULL;
    call->prefix_fill = 0;
    tl_h2_need_end(call);
    if (call->prefix[0]) {
        struct tl_status st = TL_STATUS_INIT;
        if (message_inflate(m, message_limit(call), &st)) {
            tl_message_free(m);
            tl_call_fail(call, &st);
            return;
        }
    }
    metrics_of(call)->messages_in++;
    if (call->method->client_stream) {
        call->method->message(call, m);
    } else if (call->request) {
        tl_message_free(m);
        tl_call_finish(call, TL_GRPC_INVALID_ARGUMENT, "this method takes one request message");
    } else {
        call->request = m;
    }
}

/* The five bytes before a message are complete. */
static void begin_message(struct tl_call *call)
{
    const uint8_t *p = call->prefix;
    size_t size = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    size_t limit = message_limit(call);
    char text[128];
    if (p[0] > 1) {
        tl_call_finish(call, TL_GRPC_INTERNAL,
                       "the compressed flag of a message is neither 0 nor 1");
        return;
    }
    if (p[0] == 1 && !call->gzip) {
        tl_call_finish(call, TL_GRPC_INTERNAL,
                       "a message is compressed, but grpc-encoding names no compression");
        return;
    }
    if (size > limit) {
        snprintf(text, sizeof(text), "a message of %zu bytes exceeds the limit of %zu", size,
                 limit);
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, text);
        return;
    }
    call->incoming = message_new(call);
    if (!call->incoming) {
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a message");
        return;
    }
    call->incoming_size = size;
    tl_h2_need(call, size);
}

static size_t feed_message(struct tl_call *call, const uint8_t *data, size_t size)
{
    struct tl_message *m = call->incoming;
    size_t n = call->incoming_size - m->size;
    if (n > size)
        n = size;
    if (!message_reserve(m, m->size + n, call->incoming_size, !call->parked)) {
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a message");
        return 0;
    }
    if (n)
        memcpy(m->data + m->size, data, n);
    m->size += n;
    m->held += n;
    call->need_got += n;
    call->progress_ms = tl_server_now_ms(call->server);
    call->suspected = false;
    return n;
}

/* Takes bytes until they are at their end or the call is paused; returns how many. */
static size_t feed(struct tl_call *call, const uint8_t *data, size_t size)
{
    size_t at = 0, released = 0;
    call->feeding = true;
    for (;;) {
        if (call->finished) {
            released += size - at;
            at = size;
            break;
        }
        if (call->incoming && call->incoming->size == call->incoming_size) {
            deliver(call);
            continue;
        }
        if (at == size || call->paused)
            break;
        if (call->incoming) {
            at += feed_message(call, data + at, size - at);
            continue;
        }
        while (call->prefix_fill < sizeof(call->prefix) && at < size) {
            call->prefix[call->prefix_fill++] = data[at++];
            released++;
        }
        if (call->prefix_fill == sizeof(call->prefix))
            begin_message(call);
    }
    call->feeding = false;
    if (released)
        tl_h2_release(call->h2, call->id, released);
    return at;
}

/* What feed could not take because it was under way: after a failure everything goes. */
static void after_feed(struct tl_call *call)
{
    if (call->finished)
        drop_incoming(call);
}

static void finish_half_close(struct tl_call *call)
{
    if (call->finished || !call->remote_closed || call->paused || call->backlog.size)
        return;
    if (call->incoming || call->prefix_fill) {
        tl_call_finish(call, TL_GRPC_INTERNAL, "the request ends within a message");
        return;
    }
    if (call->method->client_stream) {
        call->method->half_close(call);
        return;
    }
    if (!call->request) {
        tl_call_finish(call, TL_GRPC_INTERNAL, "the request has no message");
        return;
    }
    struct tl_message *m = call->request;
    call->request = NULL;
    call->method->message(call, m);
}

void tl_call_on_data(struct tl_call *call, const uint8_t *data, size_t size)
{
    if (!call->method || call->finished) {
        tl_h2_release(call->h2, call->id, size);
        return;
    }
    if (call->paused || call->backlog.size) {
        tl_buffer_put(&call->backlog, data, size);
        if (call->backlog.failed) {
            tl_h2_release(call->h2, call->id, size);
            tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a message");
        }
        return;
    }
    size_t n = feed(call, data, size);
    if (n < size && !call->finished) {
        tl_buffer_put(&call->backlog, data + n, size - n);
        if (call->backlog.failed) {
            tl_h2_release(call->h2, call->id, size - n);
            tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a message");
        }
    }
    after_feed(call);
}

void tl_call_pause(struct tl_call *call)
{
    call->paused = true;
}

void tl_call_resume(struct tl_call *call)
{
    if (!call->paused || call->finished)
        return;
    call->paused = false;
    call->progress_ms = tl_server_now_ms(call->server);
    if (call->feeding)
        return; /* feed goes on by itself */
    struct tl_buffer *b = &call->backlog;
    if (b->size) {
        call->backlog_offset +=
            feed(call, b->data + call->backlog_offset, b->size - call->backlog_offset);
        if (call->backlog_offset == b->size) {
            tl_buffer_deinit(b);
            tl_buffer_clear(b);
            call->backlog_offset = 0;
        } else if (call->backlog_offset > b->size / 2) {
            b->size -= call->backlog_offset;
            memmove(b->data, b->data + call->backlog_offset, b->size);
            call->backlog_offset = 0;
        }
        after_feed(call);
    }
    finish_half_close(call);
}

void tl_call_on_half_close(struct tl_call *call)
{
    if (call->method)
        finish_half_close(call);
}

/* ---- the life of a call ---- */

const struct tl_method *tl_method_find(const char *path)
{
    for (size_t i = 0; i < tl_method_count; i++) {
        if (strcmp(tl_methods[i].path, path) == 0)
            return &tl_methods[i];
    }
    return NULL;
}

/* Answers in HTTP's own words: who asks speaks no gRPC. */
static void reject_http(struct tl_call *call, const char *status)
{
    static const char name[] = ":status";
    nghttp2_nv nv = {(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)status, sizeof(name) - 1,
                     strlen(status), NGHTTP2_NV_FLAG_NONE};
    call->finished = true;
    tl_h2_send_only_headers(call, &nv, 1);
}

void tl_call_on_headers(struct tl_call *call)
{
    struct tl_server *server = call->server;
    call->opened_ns = tl_now_ns();
    tl_buffer_init(&call->backlog, "backlog of a stream", TL_WINDOW_CONNECTION_BYTES * 4u);
    if (call->reject == TL_REJECT_METHOD || call->reject == TL_REJECT_CONTENT_TYPE) {
        reject_http(call, call->reject == TL_REJECT_METHOD ? "405" : "415");
        return;
    }
    if (call->reject == TL_REJECT_HEADERS) {
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "the request's headers are too large");
    } else if (call->bad_timeout) {
        tl_call_finish(call, TL_GRPC_INVALID_ARGUMENT, "grpc-timeout is malformed");
    } else if (call->bad_encoding) {
        tl_call_finish(call, TL_GRPC_UNIMPLEMENTED,
                       "this grpc-encoding is not known; identity and gzip are");
    } else if (server->draining) {
        tl_call_finish(call, TL_GRPC_UNAVAILABLE, "the server is shutting down");
    }
    const struct tl_method *method = tl_method_find(call->path);
    if (!method && !call->finished) {
        char text[TL_PATH_BYTES_MAX + 32];
        snprintf(text, sizeof(text), "there is no method %s", call->path);
        tl_call_finish(call, TL_GRPC_UNIMPLEMENTED, text);
    }
    if (call->finished) {
        server->metrics.methods[method ? (size_t)(method - tl_methods) : tl_method_count]
            .calls[call->code]++;
        return;
    }
    if (!tl_authorize(call, method)) {
        server->metrics.methods[method - tl_methods].calls[call->code]++;
        return;
    }
    call->method = method;
    metrics_of(call)->open++;
    if (call->timeout_us != UINT64_MAX) {
        call->deadline_ms = tl_server_now_ms(server) + call->timeout_us / 1000;
        call->h2->owner.arm(call->h2->owner.arg, call->deadline_ms);
    }
    if (method->early_headers)
        tl_h2_send_headers(call);
    if (method->open)
        method->open(call);
}

void tl_call_on_drained(struct tl_call *call)
{
    if (call->method && !call->finished && call->method->writable)
        call->method->writable(call);
}

void tl_call_on_close(struct tl_call *call)
{
    if (!call->finished) {
        call->finished = true;
        call->code = TL_GRPC_CANCELLED;
    }
    drop_incoming(call);
    tl_buffer_deinit(&call->backlog);
    if (call->method && call->method->close && !call->closed)
        call->method->close(call);
    tl_principal_unref(call->principal);
    call->principal = NULL;
    if (!call->method)
        return;
    call->closed = true;
    struct tl_method_metrics *m = metrics_of(call);
    m->open--;
    m->calls[call->code]++;
    tl_latency_add(&m->seconds, tl_now_ns() - call->opened_ns);
    call->method = NULL;
}

/* Somebody will give back what a parked message waits for: batches are under way, or something
 * was given back since the last look. */
static bool room_may_come(struct tl_call *call)
{
    struct tl_server *server = call->server;
    bool moved = server->append_count > 0 || server->windows.given_back != call->given_back;
    call->given_back = server->windows.given_back;
    return moved;
}

/* Ends a call whose message does not grow though its client could send. Backpressure of ours is
 * no fault of the client: while we withhold what it needs, no time passes for it. */
static uint64_t tick_message(struct tl_call *call, uint64_t now_ms)
{
    enum { LOOK_AGAIN_MS = 1000 }; /* bytes may lie in the socket: the loop reads it before then */
    uint64_t stall_ms = call->server->limits.message_stall_ms;
    if (call->parked ? room_may_come(call) : !tl_h2_may_send(call)) {
        call->progress_ms = now_ms;
        call->suspected = false;
    }
    uint64_t end = call->progress_ms + stall_ms;
    if (now_ms < end)
        return end;
    if (!call->suspected) {
        call->suspected = true;
        return now_ms + LOOK_AGAIN_MS;
    }
    if (call->parked)
        tl_call_abort(call, TL_GRPC_RESOURCE_EXHAUSTED,
                      "the server's budget for receive windows is met");
    else
        tl_call_abort(call, TL_GRPC_ABORTED, "half a message came and no more of it");
    return UINT64_MAX;
}

uint64_t tl_call_tick(struct tl_call *call, uint64_t now_ms)
{
    if (call->finished)
        return UINT64_MAX;
    if (now_ms >= call->deadline_ms) {
        tl_call_abort(call, TL_GRPC_DEADLINE_EXCEEDED, "the deadline passed");
        return UINT64_MAX;
    }
    uint64_t due = call->deadline_ms;
    if (call->need) {
        uint64_t end = tick_message(call, now_ms);
        if (end < due)
            due = end;
    }
    return due;
}
