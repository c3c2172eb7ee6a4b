/*
 * tools/load_conn.h: one connection of the load generator: gRPC printed by hand on a socket.
 *
 * It speaks just enough HTTP/2 to load a server from the same machine without using much of it:
 * one Append stream, or empty unary calls one after the other; headers without compression,
 * frames built in place, both flow-control windows and the server's SETTINGS obeyed. What is not
 * checked here (that any gRPC client works) the end-to-end tests check with real ones.
 *
 *     tl_load_conn_open ── tl_load_conn_send … ── tl_load_conn_write / _read ── tl_load_conn_close
 *
 * Ownership  batches are borrowed until their acknowledgement.
 * Threads    a connection belongs to one thread.
 * Units      nanoseconds, bytes.
 * Errors     TL_IO: the socket failed. TL_CORRUPT: the server broke the protocol, or ended the
 *            stream. An acknowledgement other than OK is counted, not an error.
 */
#ifndef TALLY_TOOLS_LOAD_CONN_H
#define TALLY_TOOLS_LOAD_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

enum { TL_LOAD_IN_FLIGHT_MAX = 1024 };

/* An acknowledgement: since when its batch was due, and what it says. */
struct tl_load_ack {
    uint64_t due_ns;
    uint64_t sequence, rows;
    uint32_t code; /* of AppendResponse; 0: OK */
    size_t bytes;  /* of the batch */
    bool duplicate;
};
typedef void tl_load_on_ack(void *arg, const struct tl_load_ack *ack);

struct tl_load_sent {
    struct tl_slice batch;
    uint64_t sequence, due_ns;
};

struct tl_load_conn {
    int fd;
    bool blocked; /* the socket took less than all: wait until it is writable */
    int32_t stream, next_stream;
    uint32_t frame_max;              /* the server's */
    int64_t window, stream_window;   /* what we may send */
    int64_t initial_window;          /* of a new stream */
    uint64_t received, received_all; /* of DATA, not given back yet */
    uint64_t answers;                /* to unary calls */
    char producer[64];
    uint64_t sequence;
    struct tl_load_sent sent[TL_LOAD_IN_FLIGHT_MAX]; /* a ring */
    uint32_t first, count;                           /* not acknowledged */
    uint32_t unsent;                                 /* the last ones, not handed over whole */
    size_t unsent_offset;                            /* of the first of those */
    size_t out_offset;
    struct tl_buffer out, in, message;
    tl_load_on_ack *on_ack;
    void *arg;
};

/* Connects and begins an Append stream, unless `unary`. The first SETTINGS are waited for. */
TL_CHECK enum tl_code tl_load_conn_open(struct tl_load_conn *c, const char *address,
                                        const char *producer, bool unary, tl_load_on_ack *on_ack,
                                        void *arg, struct tl_status *st);
void tl_load_conn_close(struct tl_load_conn *c);

/* Queues a batch; not while TL_LOAD_IN_FLIGHT_MAX are in flight (asserted). */
void tl_load_conn_send(struct tl_load_conn *c, struct tl_slice batch, uint64_t due_ns);
/* Hands to the socket what windows and socket allow. */
TL_CHECK enum tl_code tl_load_conn_write(struct tl_load_conn *c, struct tl_status *st);
/* Takes what has come; *any: something had. */
TL_CHECK enum tl_code tl_load_conn_read(struct tl_load_conn *c, bool *any, struct tl_status *st);
/* Waits until something has come. TL_TIMEOUT: the server does not answer. */
TL_CHECK enum tl_code tl_load_conn_wait(struct tl_load_conn *c, struct tl_status *st);
/* Calls grpc.health.v1.Health/Check, whose request is empty, and waits for the answer. */
TL_CHECK enum tl_code tl_load_conn_ping(struct tl_load_conn *c, struct tl_status *st);

#endif
