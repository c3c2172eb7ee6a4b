/*
 * wire/pg_door.h: PostgreSQL's sessions on the loop: first packets, turns on the pool, cancels.
 *
 * What stands before a session (SSLRequest, GSSENCRequest, CancelRequest, the startup packet) is
 * read here, on the loop; the machine of wire/pg_session.h then runs turn by turn on the pool of
 * queries, at most one job of a session at a time. While it runs its client's bytes wait here, up
 * to a limit beyond which the socket is left unread; its output is handed over when a turn ends,
 * and the next turn comes when the socket took most of it.
 *
 * Threads    loop.
 */
#ifndef TALLY_WIRE_PG_DOOR_H
#define TALLY_WIRE_PG_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct tl_pg_conn;
struct tl_server;

struct tl_pg_owner {
    void (*wake)(void *arg); /* there is something to pull, or the connection is over */
    void (*arm)(void *arg, uint64_t due_ms);
    /* The hash of the certificate that TLS showed, its size in *size; 0: no TLS. */
    void (*binding)(void *arg, uint8_t out[64], size_t *size);
    /* The client's and the server's end of the connection, "HOST:PORT"; "" of a Unix socket. */
    void (*ends)(void *arg, char client[64], char server[64]);
    void *arg;
};

TL_CHECK enum tl_code tl_pg_conn_new(struct tl_server *server, const struct tl_pg_owner *owner,
                                     bool secure_able, bool trusted, struct tl_pg_conn **out,
                                     struct tl_status *st);
void tl_pg_conn_free(struct tl_pg_conn *c); /* a turn that runs is cancelled and forgotten */
bool tl_pg_conn_receive(struct tl_pg_conn *c, const uint8_t *data, size_t size);
size_t tl_pg_conn_pull(struct tl_pg_conn *c, uint8_t *out, size_t size);
bool tl_pg_conn_finished(struct tl_pg_conn *c);
uint64_t tl_pg_conn_tick(struct tl_pg_conn *c, uint64_t now_ms);
void tl_pg_conn_drain(struct tl_pg_conn *c);
void tl_pg_conn_end(struct tl_pg_conn *c);
/* An SSLRequest was answered with S: what comes next is TLS. Asked once. */
bool tl_pg_conn_wants_tls(struct tl_pg_conn *c);
/* False: leave the socket unread. */
bool tl_pg_conn_hungry(const struct tl_pg_conn *c);

#endif
