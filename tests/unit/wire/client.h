/*
 * tests/unit/wire/client.h: a gRPC client in memory: nghttp2's client side against a tl_h2.
 */
#ifndef TALLY_TESTS_UNIT_WIRE_CLIENT_H
#define TALLY_TESTS_UNIT_WIRE_CLIENT_H

#include <nghttp2/nghttp2.h>
#include <unistd.h>

#include "wire/h2.h"
#include "wire/server.h"

struct client_stream {
    int32_t id;
    uint8_t *send; /* grows; sent as the window allows */
    size_t send_size, send_at;
    bool half_closed, deferred, closed;
    uint32_t error;
    uint8_t *got;
    size_t got_size;
    char status[8], message[1024], http[8], sqlstate[8], details[2048];
    struct client_stream *next;
};

struct client {
    struct tl_h2 *h2;
    nghttp2_session *session;
    bool over; /* the server ended the connection */
    bool goaway;
    struct client_stream *streams;
    uint64_t armed_ms;
};

static inline void client_owner_wake(void *arg)
{
    (void)arg;
}
static inline void client_owner_arm(void *arg, uint64_t due_ms)
{
    struct client *c = arg;
    if (due_ms < c->armed_ms)
        c->armed_ms = due_ms;
}

static inline int client_on_header(nghttp2_session *session, const nghttp2_frame *frame,
                                   const uint8_t *name, size_t n, const uint8_t *value, size_t size,
                                   uint8_t flags, void *arg)
{
    (void)flags;
    (void)arg;
    struct client_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s)
        return 0;
    static const char *const names[] = {":status", "grpc-status", "grpc-message", "tally-sqlstate",
                                        "grpc-status-details-bin"};
    char *const to[] = {s->http, s->status, s->message, s->sqlstate, s->details};
    const size_t sizes[] = {sizeof(s->http), sizeof(s->status), sizeof(s->message),
                            sizeof(s->sqlstate), sizeof(s->details)};
    for (int i = 0; i < 5; i++) {
        if (n == strlen(names[i]) && memcmp(name, names[i], n) == 0 && size < sizes[i]) {
            memcpy(to[i], value, size);
            to[i][size] = '\0';
        }
    }
    return 0;
}

static inline int client_on_data(nghttp2_session *session, uint8_t flags, int32_t id,
                                 const uint8_t *data, size_t size, void *arg)
{
    (void)flags;
    (void)arg;
    struct client_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s)
        return 0;
    s->got = realloc(s->got, s->got_size + size);
    memcpy(s->got + s->got_size, data, size);
    s->got_size += size;
    return 0;
}

static inline int client_on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    (void)arg;
    struct client_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s) {
        s->closed = true;
        s->error = error;
    }
    return 0;
}

static inline int client_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct client *c = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        c->goaway = true;
    return 0;
}

static inline ssize_t client_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
                                  uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)session;
    (void)id;
    (void)arg;
    struct client_stream *s = source->ptr;
    size_t n = s->send_size - s->send_at;
    if (n == 0 && !s->half_closed) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > size)
        n = size;
    memcpy(buf, s->send + s->send_at, n);
    s->send_at += n;
    if (s->send_at == s->send_size && s->half_closed)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static inline void client_open(struct client *c, struct tl_server *server)
{
    *c = (struct client){.armed_ms = UINT64_MAX};
    struct tl_h2_owner owner = {client_owner_wake, client_owner_arm, c};
    struct tl_status st = TL_STATUS_INIT;
    if (tl_h2_new(server, &owner, &c->h2, &st)) {
        c->over = true;
        return;
    }
    nghttp2_session_callbacks *cb;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, client_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, client_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, client_on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, client_on_frame);
    nghttp2_session_client_new(&c->session, cb, c);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, NULL, 0);
}

static inline void client_close(struct client *c)
{
    while (c->streams) {
        struct client_stream *s = c->streams;
        c->streams = s->next;
        free(s->send);
        free(s->got);
        free(s);
    }
    tl_h2_free(c->h2);
    nghttp2_session_del(c->session);
}

/* Moves bytes both ways until none move. */
static inline void client_pump(struct client *c, struct tl_server *server)
{
    bool moved = true;
    while (moved) {
        moved = false;
        const uint8_t *data;
        ssize_t n;
        while ((n = nghttp2_session_mem_send(c->session, &data)) > 0) {
            moved = true;
            if (!c->over && !tl_h2_receive(c->h2, data, (size_t)n))
                c->over = true;
        }
        tl_server_poll(server);
        uint8_t buf[16384];
        size_t k;
        while ((k = tl_h2_pull(c->h2, buf, sizeof(buf))) > 0) {
            moved = true;
            if (nghttp2_session_mem_recv(c->session, buf, k) < 0)
                return;
        }
    }
}

static inline nghttp2_nv client_nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static inline struct client_stream *client_call_with(struct client *c, const char *path,
                                                     const nghttp2_nv *more, size_t more_count)
{
    struct client_stream *s = calloc(1, sizeof(*s));
    s->next = c->streams;
    c->streams = s;
    nghttp2_nv nv[16] = {
        client_nv(":method", "POST"), client_nv(":scheme", "http"),
        client_nv(":path", path),     client_nv(":authority", "test"),
        client_nv("te", "trailers"),  client_nv("content-type", "application/grpc")};
    if (more_count)
        memcpy(nv + 6, more, more_count * sizeof(*more));
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = client_read};
    s->id = nghttp2_submit_request(c->session, NULL, nv, 6 + more_count, &provider, s);
    return s;
}

static inline struct client_stream *client_call(struct client *c, const char *path)
{
    return client_call_with(c, path, NULL, 0);
}

static inline void client_resume(struct client *c, struct client_stream *s)
{
    if (s->deferred) {
        s->deferred = false;
        nghttp2_session_resume_data(c->session, s->id);
    }
}

static inline void client_send_bytes(struct client *c, struct client_stream *s, const void *data,
                                     size_t size)
{
    s->send = realloc(s->send, s->send_size + size);
    if (size)
        memcpy(s->send + s->send_size, data, size);
    s->send_size += size;
    client_resume(c, s);
}

static inline void client_send(struct client *c, struct client_stream *s, int flag,
                               struct tl_slice message)
{
    uint8_t prefix[5] = {(uint8_t)flag, (uint8_t)(message.size >> 24),
                         (uint8_t)(message.size >> 16), (uint8_t)(message.size >> 8),
                         (uint8_t)message.size};
    client_send_bytes(c, s, prefix, 5);
    client_send_bytes(c, s, message.data, message.size);
}

static inline void client_half_close(struct client *c, struct client_stream *s)
{
    s->half_closed = true;
    client_resume(c, s);
}

/* Message i of what came; false: it is not there yet. */
static inline bool client_message(const struct client_stream *s, size_t i, struct tl_slice *out)
{
    size_t at = 0;
    *out = (struct tl_slice){0};
    for (;; i--) {
        if (s->got_size - at < 5)
            return false;
        const uint8_t *p = s->got + at;
        size_t size = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (s->got_size - at - 5 < size)
            return false;
        if (i == 0) {
            *out = tl_slice_of(p + 5, size);
            return true;
        }
        at += 5 + size;
    }
}

static inline size_t client_messages(const struct client_stream *s)
{
    size_t n = 0;
    struct tl_slice m;
    while (client_message(s, n, &m))
        n++;
    return n;
}

#endif
