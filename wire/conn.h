/*
 * wire/conn.h: an accepted connection: socket, TLS, timer, and the session that speaks on it.
 *
 * The session is pulled: bytes leave it only when the socket takes them, so that a slow client
 * fills no buffer of ours beyond TL_SOCKET_OUT_BYTES. Life of the handles: socket and timer are
 * closed together, the connection is freed when both closings came back.
 *
 * Threads    loop.
 */
#ifndef TALLY_WIRE_CONN_H
#define TALLY_WIRE_CONN_H

#include <uv.h>

#include "wire/server.h"

struct tl_tls;

struct tl_session_vtable {
    bool (*receive)(void *session, const uint8_t *data, size_t size); /* false: no more */
    size_t (*pull)(void *session, uint8_t *out, size_t size);
    bool (*finished)(void *session);
    uint64_t (*tick)(void *session, uint64_t now_ms); /* when to come again */
    void (*drain)(void *session);
    void (*end)(void *session); /* the drain's time is over */
    void (*free)(void *session);
    bool (*hungry)(const void *session); /* false: leave the socket unread; NULL: always */
    bool (*wants_tls)(void *session);    /* the peer was told that TLS begins; NULL: never */
};

struct tl_conn {
    struct tl_conn *prev, *next;
    struct tl_conn *dirty_next;
    bool dirty;
    struct tl_server *server;
    enum tl_server_door door;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe; /* a Unix socket */
    } socket;
    uv_timer_t timer;
    uint64_t due_ms; /* of the timer */
    int handles;     /* not closed yet */
    bool closing;
    bool resting; /* the socket is left unread */
    bool trusted; /* came in by a door of this machine */
    bool ending;  /* the session ended: close once all is written */
    struct tl_tls *tls;
    const struct tl_session_vtable *vtab;
    void *session; /* NULL: not yet (TLS handshake) */
    uint64_t opened_ms;
    uint64_t write_ms;    /* when the client was last seen to take bytes of the write that waits */
    size_t write_waiting; /* bytes that libuv holds */
    size_t write_left;    /* of these, what the socket had not taken at write_ms */
    bool write_suspected; /* its time is up: one more turn of the loop decides */
};

/* Takes the next connection from a listening socket. */
void tl_conn_accept(struct tl_server *server, uv_stream_t *listener, enum tl_server_door door);
/* Flush this one at the end of the loop's turn. */
void tl_conn_mark_dirty(struct tl_conn *conn);
void tl_conn_flush_dirty(struct tl_server *server);
void tl_conn_close(struct tl_conn *conn);
void tl_conn_arm(struct tl_conn *conn, uint64_t due_ms);

#endif
