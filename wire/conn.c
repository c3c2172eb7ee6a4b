#include "wire/conn.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "wire/address.h"
#include "wire/h2.h"
#include "wire/http1.h"
#include "wire/pg_door.h"
#include "wire/server_int.h"
#include "wire/tls.h"

/* Clients of PostgreSQL rest for hours: those that died must be noticed. */
enum { KEEPALIVE_S = 60 };

/* ---- sessions ---- */

static bool h2_receive(void *s, const uint8_t *data, size_t size)
{
    return tl_h2_receive(s, data, size);
}
static size_t h2_pull(void *s, uint8_t *out, size_t size)
{
    return tl_h2_pull(s, out, size);
}
static bool h2_finished(void *s)
{
    return tl_h2_finished(s);
}
static uint64_t h2_tick(void *s, uint64_t now_ms)
{
    return tl_h2_tick(s, now_ms);
}
static void h2_drain(void *s)
{
    tl_h2_drain(s);
}
static void h2_end(void *s)
{
    tl_h2_end_calls(s);
}
static void h2_free(void *s)
{
    tl_h2_free(s);
}
static const struct tl_session_vtable h2_vtable = {
    h2_receive, h2_pull, h2_finished, h2_tick, h2_drain, h2_end, h2_free, NULL, NULL};

static bool http1_receive(void *s, const uint8_t *data, size_t size)
{
    return tl_http1_receive(s, data, size);
}
static size_t http1_pull(void *s, uint8_t *out, size_t size)
{
    return tl_http1_pull(s, out, size);
}
static bool http1_finished(void *s)
{
    return tl_http1_finished(s);
}
static uint64_t http1_tick(void *s, uint64_t now_ms)
{
    return tl_http1_tick(s, now_ms);
}
static void http1_drain(void *s)
{
    tl_http1_drain(s);
}
static void http1_free(void *s)
{
    tl_http1_free(s);
}
static const struct tl_session_vtable http1_vtable = {http1_receive, http1_pull,  http1_finished,
                                                      http1_tick,    http1_drain, http1_drain,
                                                      http1_free,    NULL,        NULL};

static bool pg_receive(void *s, const uint8_t *data, size_t size)
{
    return tl_pg_conn_receive(s, data, size);
}
static size_t pg_pull(void *s, uint8_t *out, size_t size)
{
    return tl_pg_conn_pull(s, out, size);
}
static bool pg_finished(void *s)
{
    return tl_pg_conn_finished(s);
}
static uint64_t pg_tick(void *s, uint64_t now_ms)
{
    return tl_pg_conn_tick(s, now_ms);
}
static void pg_drain(void *s)
{
    tl_pg_conn_drain(s);
}
static void pg_end(void *s)
{
    tl_pg_conn_end(s);
}
static void pg_free(void *s)
{
    tl_pg_conn_free(s);
}
static bool pg_hungry(const void *s)
{
    return tl_pg_conn_hungry(s);
}
static bool pg_wants_tls(void *s)
{
    return tl_pg_conn_wants_tls(s);
}
static const struct tl_session_vtable pg_vtable = {
    pg_receive, pg_pull, pg_finished, pg_tick, pg_drain, pg_end, pg_free, pg_hungry, pg_wants_tls};

static void owner_wake(void *arg)
{
    tl_conn_mark_dirty(arg);
}
static void owner_arm(void *arg, uint64_t due_ms)
{
    tl_conn_arm(arg, due_ms);
}

static void owner_binding(void *arg, uint8_t out[64], size_t *size)
{
    const struct tl_conn *conn = arg;
    *size = 0;
    if (conn->tls)
        tl_tls_end_point(conn->tls, out, size);
}

static void owner_ends(void *arg, char client[64], char server[64])
{
    const struct tl_conn *conn = arg;
    struct sockaddr_storage a = {0};
    int size = sizeof(a);
    client[0] = server[0] = '\0';
    if (conn->door != TL_DOOR_PG)
        return;
    if (uv_tcp_getpeername(&conn->socket.tcp, (struct sockaddr *)&a, &size) == 0)
        tl_address_print(&a, client, 64);
    size = sizeof(a);
    if (uv_tcp_getsockname(&conn->socket.tcp, (struct sockaddr *)&a, &size) == 0)
        tl_address_print(&a, server, 64);
}

static bool is_pg(const struct tl_conn *conn)
{
    return conn->door == TL_DOOR_PG || conn->door == TL_DOOR_PG_UNIX;
}

static bool open_session(struct tl_conn *conn)
{
    struct tl_status st = TL_STATUS_INIT;
    if (conn->door == TL_DOOR_GRPC) {
        struct tl_h2_owner owner = {owner_wake, owner_arm, conn};
        struct tl_h2 *h2 = NULL;
        if (tl_h2_new(conn->server, &owner, &h2, &st) == TL_OK) {
            conn->session = h2;
            conn->vtab = &h2_vtable;
        }
    } else if (is_pg(conn)) {
        struct tl_pg_owner owner = {owner_wake, owner_arm, owner_binding, owner_ends, conn};
        struct tl_pg_conn *pg = NULL;
        bool tls = conn->server->tls && conn->door == TL_DOOR_PG;
        if (tl_pg_conn_new(conn->server, &owner, tls, conn->trusted, &pg, &st) == TL_OK) {
            conn->session = pg;
            conn->vtab = &pg_vtable;
        }
    } else {
        struct tl_http1_owner owner = {owner_wake, owner_arm, conn};
        struct tl_http1 *h = NULL;
        if (tl_http1_new(conn->server, &owner, &h, &st) == TL_OK) {
            conn->session = h;
            conn->vtab = &http1_vtable;
        }
    }
    if (!conn->session) {
        conn->server->metrics.connections_refused++;
        uint64_t now = tl_server_now_ms(conn->server);
        if (now - conn->server->refused_told_ms >= 1000) {
            conn->server->refused_told_ms = now;
            tl_server_log(conn->server, 2, "connection refused", "%s", st.text);
        }
        return false;
    }
    if (conn->server->draining)
        conn->vtab->drain(conn->session);
    tl_conn_mark_dirty(conn);
    return true;
}

/* ---- closing ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct tl_conn *conn = handle->data;
    if (--conn->handles > 0)
        return;
    tl_assert(!conn->dirty);
    free(conn);
}

static void undirty(struct tl_conn *conn)
{
    if (!conn->dirty)
        return;
    for (struct tl_conn **p = &conn->server->dirty; *p; p = &(*p)->dirty_next) {
        if (*p == conn) {
            *p = conn->dirty_next;
            break;
        }
    }
    conn->dirty = false;
}

void tl_conn_close(struct tl_conn *conn)
{
    if (conn->closing)
        return;
    struct tl_server *server = conn->server;
    conn->closing = true;
    if (conn->session)
        conn->vtab->free(conn->session);
    conn->session = NULL;
    undirty(conn);
    tl_tls_free(conn->tls);
    conn->tls = NULL;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    server->conn_count--;
    server->metrics.connections_open[conn->door]--;
    uv_close(&conn->socket.handle, on_handle_closed);
    uv_close((uv_handle_t *)&conn->timer, on_handle_closed);
}

/* ---- writing ---- */

struct write_request {
    uv_write_t request;
    struct tl_conn *conn;
    size_t size;
    uint8_t data[];
};

static void on_written(uv_write_t *request, int status)
{
    struct write_request *w = (struct write_request *)request;
    struct tl_conn *conn = w->conn;
    conn->write_waiting -= w->size;
    if (status == 0)
        conn->server->metrics.bytes_out += w->size;
    free(w);
    if (conn->closing)
        return;
    if (status != 0)
        tl_conn_close(conn);
    else
        tl_conn_mark_dirty(conn);
}

/* Hands bytes to the socket; what it does not take at once is copied and waits. */
static bool socket_write(struct tl_conn *conn, const uint8_t *data, size_t size)
{
    size_t done = 0;
    if (conn->write_waiting == 0) {
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)size);
        int n = uv_try_write(&conn->socket.stream, &buf, 1);
        if (n < 0 && n != UV_EAGAIN)
            return false;
        done = n > 0 ? (size_t)n : 0;
        conn->server->metrics.bytes_out += done;
    }
    if (done == size)
        return true;
    struct write_request *w = malloc(sizeof(*w) + size - done);
    if (!w)
        return false;
    w->conn = conn;
    w->size = size - done;
    memcpy(w->data, data + done, w->size);
    uv_buf_t buf = uv_buf_init((char *)w->data, (unsigned)w->size);
    if (uv_write(&w->request, &conn->socket.stream, &buf, 1, on_written)) {
        free(w);
        return false;
    }
    if (conn->write_waiting == 0) {
        conn->write_ms = tl_server_now_ms(conn->server);
        conn->write_left = 0;
        conn->write_suspected = false;
        tl_conn_arm(conn, conn->write_ms + conn->server->limits.stall_ms);
    }
    conn->write_waiting += w->size;
    conn->write_left += w->size;
    return true;
}

static bool tls_flush(struct tl_conn *conn)
{
    struct tl_server *server = conn->server;
    size_t n;
    while ((n = tl_tls_take(conn->tls, server->read_buffer, TL_SOCKET_IN_BYTES)) > 0) {
        if (!socket_write(conn, server->read_buffer, n))
            return false;
    }
    return true;
}

static void read_again(struct tl_conn *conn);

static void conn_flush(struct tl_conn *conn)
{
    struct tl_server *server = conn->server;
    bool ok = true;
    while (ok && conn->session && conn->write_waiting == 0) {
        size_t n = conn->vtab->pull(conn->session, server->write_buffer, TL_SOCKET_OUT_BYTES);
        if (n == 0)
            break;
        if (conn->tls)
            ok = tl_tls_write(conn->tls, server->write_buffer, n) && tls_flush(conn);
        else
            ok = socket_write(conn, server->write_buffer, n);
    }
    if (!ok) {
        tl_conn_close(conn);
        return;
    }
    if (conn->session && conn->write_waiting == 0 &&
        (conn->ending || conn->vtab->finished(conn->session))) {
        if (conn->tls) {
            tl_tls_shutdown(conn->tls);
            (void)tls_flush(conn);
        }
        tl_conn_close(conn);
    } else if (conn->session) {
        read_again(conn);
    }
}

void tl_conn_mark_dirty(struct tl_conn *conn)
{
    if (conn->dirty || conn->closing)
        return;
    conn->dirty = true;
    conn->dirty_next = conn->server->dirty;
    conn->server->dirty = conn;
}

void tl_conn_flush_dirty(struct tl_server *server)
{
    while (server->dirty) {
        struct tl_conn *conn = server->dirty;
        server->dirty = conn->dirty_next;
        conn->dirty = false;
        conn_flush(conn);
    }
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct tl_conn *conn = handle->data;
    *buf = uv_buf_init((char *)conn->server->read_buffer, TL_SOCKET_IN_BYTES);
}

/* Deciphers and passes on; false: the connection is over. */
static bool receive_tls(struct tl_conn *conn, const uint8_t *data, size_t size)
{
    if (!tl_tls_put(conn->tls, data, size))
        return false;
    for (;;) {
        int n = tl_tls_read(conn->tls, conn->server->tls_buffer, TL_SOCKET_IN_BYTES);
        if (!tls_flush(conn)) /* handshake, alerts */
            return false;
        if (n < 0)
            return false;
        /* Before the handshake is over the session may not be asked for its SETTINGS. */
        if (tl_tls_ready(conn->tls) && !conn->session && !open_session(conn))
            return false;
        if (n == 0)
            return true;
        if (!conn->vtab->receive(conn->session, conn->server->tls_buffer, (size_t)n))
            conn->ending = true;
        if (conn->ending)
            return true;
    }
}

/* The session said that TLS begins: so does it, behind the answer. */
static bool begin_tls(struct tl_conn *conn)
{
    uint8_t answer[64];
    size_t n = conn->vtab->pull(conn->session, answer, sizeof(answer));
    if (!socket_write(conn, answer, n))
        return false;
    conn->tls = tl_tls_new(conn->server->tls, "postgresql", false);
    return conn->tls != NULL;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct tl_conn *conn = stream->data;
    if (n == 0)
        return;
    if (n < 0) {
        tl_conn_close(conn);
        return;
    }
    conn->server->metrics.bytes_in += (uint64_t)n;
    if (conn->ending)
        return;
    const uint8_t *data = (const uint8_t *)buf->base;
    if (conn->tls) {
        if (!receive_tls(conn, data, (size_t)n)) {
            conn->server->metrics.connections_failed++;
            tl_conn_close(conn);
            return;
        }
    } else if (!conn->vtab->receive(conn->session, data, (size_t)n)) {
        conn->ending = true;
    } else if (conn->vtab->wants_tls && conn->vtab->wants_tls(conn->session) && !begin_tls(conn)) {
        conn->ending = true;
    }
    if (conn->ending) {
        conn->server->metrics.connections_failed++;
        (void)uv_read_stop(stream);
    } else if (conn->vtab && conn->vtab->hungry && !conn->vtab->hungry(conn->session)) {
        conn->resting = true;
        (void)uv_read_stop(stream);
    }
    tl_conn_mark_dirty(conn);
}

/* A session that rested wants bytes again. */
static void read_again(struct tl_conn *conn)
{
    if (!conn->resting || conn->ending || !conn->vtab->hungry(conn->session))
        return;
    conn->resting = false;
    if (uv_read_start(&conn->socket.stream, on_alloc, on_read))
        tl_conn_close(conn);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer)
{
    struct tl_conn *conn = timer->data;
    struct tl_server *server = conn->server;
    uint64_t now = tl_server_now_ms(server);
    conn->due_ms = UINT64_MAX;
    uint64_t due = UINT64_MAX;
    if (!conn->session) {
        tl_conn_close(conn); /* the handshake takes too long */
        return;
    }
    if (conn->write_waiting) {
        size_t left = uv_stream_get_write_queue_size(&conn->socket.stream);
        if (left < conn->write_left) { /* the client takes some, if slowly */
            conn->write_ms = now;
            conn->write_left = left;
            conn->write_suspected = false;
        }
        uint64_t end = conn->write_ms + server->limits.stall_ms;
        if (now >= end && !conn->write_suspected) {
            /* The loop may have been late itself: it looks at the socket before it comes again. */
            conn->write_suspected = true;
            end = now + 1;
        }
        if (now >= end) {
            server->metrics.connections_failed++;
            tl_server_log(server, 1, "connection_stalled", "a client takes no bytes");
            tl_conn_close(conn);
            return;
        }
        due = end;
    }
    uint64_t t = conn->vtab->tick(conn->session, now);
    tl_conn_arm(conn, t < due ? t : due);
    tl_conn_mark_dirty(conn);
}

void tl_conn_arm(struct tl_conn *conn, uint64_t due_ms)
{
    if (conn->closing || due_ms >= conn->due_ms)
        return;
    uint64_t now = tl_server_now_ms(conn->server);
    conn->due_ms = due_ms;
    (void)uv_timer_start(&conn->timer, on_timer, due_ms > now ? due_ms - now : 0, 0);
}

/* ---- accepting ---- */

/* Takes a connection only to end it: left in the queue it would wake the loop for ever. */
static void refuse(struct tl_server *server, uv_stream_t *listener)
{
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } *socket = malloc(sizeof(*socket));
    bool local = listener->type == UV_NAMED_PIPE;
    if (!socket || (local ? uv_pipe_init(&server->loop, &socket->pipe, 0)
                          : uv_tcp_init(&server->loop, &socket->tcp))) {
        free(socket);
        return;
    }
    (void)uv_accept(listener, &socket->stream);
    uv_close(&socket->handle, (uv_close_cb)(void (*)(uv_handle_t *))free);
    server->metrics.connections_refused++;
}

void tl_conn_accept(struct tl_server *server, uv_stream_t *listener, enum tl_server_door door)
{
    struct tl_conn *conn = NULL;
    if (server->conn_count < server->limits.connections_max && !server->draining)
        conn = calloc(1, sizeof(*conn));
    if (!conn) {
        refuse(server, listener);
        return;
    }
    conn->server = server;
    conn->door = door;
    conn->due_ms = UINT64_MAX;
    conn->opened_ms = tl_server_now_ms(server);
    (void)uv_timer_init(&server->loop, &conn->timer);
    const struct tl_listener *from = listener->data;
    conn->trusted = from->trusted;
    if (door == TL_DOOR_PG_UNIX)
        (void)uv_pipe_init(&server->loop, &conn->socket.pipe, 0);
    else
        (void)uv_tcp_init(&server->loop, &conn->socket.tcp);
    conn->timer.data = conn->socket.handle.data = conn;
    conn->handles = 2;
    conn->next = server->conns;
    if (server->conns)
        server->conns->prev = conn;
    server->conns = conn;
    server->conn_count++;
    server->metrics.connections_open[door]++;
    server->metrics.connections_total[door]++;
    if (uv_accept(listener, &conn->socket.stream)) {
        tl_conn_close(conn);
        return;
    }
    if (door != TL_DOOR_PG_UNIX)
        (void)uv_tcp_nodelay(&conn->socket.tcp, 1);
    if (is_pg(conn) && door != TL_DOOR_PG_UNIX)
        (void)uv_tcp_keepalive(&conn->socket.tcp, 1, KEEPALIVE_S);
    bool ok = true;
    if (door == TL_DOOR_GRPC && server->tls) {
        conn->tls = tl_tls_new(server->tls, "h2", true);
        ok = conn->tls != NULL;
    } else {
        ok = open_session(conn);
    }
    if (!ok || uv_read_start(&conn->socket.stream, on_alloc, on_read)) {
        tl_conn_close(conn);
        return;
    }
    tl_conn_arm(conn, conn->opened_ms + server->limits.handshake_ms);
}
