/*
 * wire/server.h: the servers of one database: gRPC, PostgreSQL's protocol, and HTTP/1.1 for health
 * and metrics.
 *
 *     open ── run (until stop and drain) ── [the database is closed] ── free
 *
 * open binds the sockets, so that ports are known before the first client comes. run is the event
 * loop on the caller's thread. After it ended no query runs, but batches may still become
 * durable: the database is closed before the server is freed.
 *
 * Threads    open, run, poll, free: one thread, the loop. stop: any thread.
 * Errors     TL_INVALID: an address, a certificate. TL_UNSUPPORTED: an address beyond loopback
 *            without TLS and principals, or `insecure`. TL_IO: a socket.
 */
#ifndef TALLY_WIRE_SERVER_H
#define TALLY_WIRE_SERVER_H

#include <stdbool.h>

#include "base/status.h"
#include "wire/limits.h"

struct tally;
struct tl_principals;
struct tl_server;

enum tl_server_door {
    TL_DOOR_GRPC,
    TL_DOOR_HTTP,
    TL_DOOR_PG,
    TL_DOOR_PG_UNIX, /* the same on a Unix socket */
    TL_DOOR_COUNT
};

struct tl_server_options {
    struct tally *db; /* borrowed */
    /* Who may come in (wire/principals.h); borrowed, used by the loop alone. NULL: everybody. */
    struct tl_principals *principals;
    const char *grpc;     /* "HOST:PORT", port 0: any; NULL: none */
    const char *http;     /* the same */
    const char *pg;       /* the same */
    bool pg_may_fail;     /* an address that is taken is told in the log, and left alone */
    const char *pg_dir;   /* of the socket .s.PGSQL.PORT; NULL: none */
    bool insecure;        /* addresses beyond loopback without TLS, or without principals */
    const char *tls_cert; /* PEM files, both or none */
    const char *tls_key;
    uint32_t query_workers; /* 0: one per processor, at least 2 */
    bool signals;           /* SIGTERM and SIGINT drain; a second one ends at once */
    struct tl_wire_limits limits;
    /* One call per event worth a log line, on the loop: level 0 debug … 3 error. */
    void (*log)(void *arg, int level, const char *event, const char *detail);
    void *arg;
};

TL_CHECK enum tl_code tl_server_open(const struct tl_server_options *options,
                                     struct tl_server **out, struct tl_status *st);
/* The address a door is bound to, "127.0.0.1:7070"; "" when it is not open. */
const char *tl_server_address(const struct tl_server *server, enum tl_server_door door);
void tl_server_run(struct tl_server *server);
/* Drains: no new connections or calls, those running may finish until the limit. */
void tl_server_stop(struct tl_server *server);
/* One turn of the loop without waiting (tests). */
void tl_server_poll(struct tl_server *server);
void tl_server_free(struct tl_server *server); /* takes NULL */

#endif
