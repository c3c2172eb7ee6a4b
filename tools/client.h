/*
 * tools/client.h: a small gRPC client of tallyd over nghttp2 and one socket.
 *
 * A connection (tl_client) makes one call at a time: a request message, answer messages, a status.
 * An appender is a connection with an Append stream that many batches are in flight on; when
 * the connection breaks it connects again and sends what was not acknowledged once more, with the
 * same (producer, sequence), so that the server stores each batch once.
 *
 * Ownership  batches are copied unless `borrowed` is set; those must live until acknowledged.
 * Threads    a client or appender belongs to one thread; nothing runs behind its back.
 * Units      milliseconds, bytes.
 * Errors     TL_IO: no connection. TL_TIMEOUT: no answer in time. TL_CANCELLED: interrupted.
 *            What the server answers is mapped back to its own code, SQLSTATE and position.
 */
#ifndef TALLY_TOOLS_CLIENT_H
#define TALLY_TOOLS_CLIENT_H

#include "base/bytes.h"
#include "base/status.h"

struct tl_client;

/* Set by a signal handler: every wait ends with TL_CANCELLED. */
extern volatile int tl_client_interrupted;

/* `address` is HOST:PORT. */
TL_CHECK enum tl_code tl_client_open(const char *address, struct tl_client **out,
                                     struct tl_status *st);
void tl_client_close(struct tl_client *c); /* takes NULL */

typedef enum tl_code tl_client_message(void *arg, struct tl_slice message, struct tl_status *st);

/* Calls `method` ("tally.v1.Query/Execute") with one request; each answer goes to `on_message`,
 * whose failure ends the call. timeout_ms 0: none. */
TL_CHECK enum tl_code tl_client_call(struct tl_client *c, const char *method,
                                     struct tl_slice request, uint64_t timeout_ms,
                                     tl_client_message *on_message, void *arg,
                                     struct tl_status *st);

/* ---- appending ---- */

/* Code of AppendResponse. */
enum tl_client_ack_code {
    TL_ACK_OK = 0,
    TL_ACK_INVALID = 1,
    TL_ACK_LIMIT = 2,
    TL_ACK_TOO_OLD = 3,
    TL_ACK_UNAVAILABLE = 4,
    TL_ACK_NOT_FOUND = 5
};

struct tl_client_ack {
    uint64_t sequence;
    uint32_t code; /* enum tl_client_ack_code */
    uint32_t rows, refused, duplicate_rows;
    bool duplicate;
    struct tl_slice message; /* why it was refused; lives during the call */
    uint32_t first_row;      /* of the first refusal told */
    struct tl_slice first_reason;
    uint64_t position;
    void *tag; /* as given to send */
};
typedef void tl_client_on_ack(void *arg, const struct tl_client_ack *ack);

struct tl_appender_options {
    const char *address;
    struct tl_slice producer; /* copied; empty: not deduplicated, and never sent twice */
    bool import;
    uint32_t in_flight_max;     /* batches; 0: 64 */
    size_t in_flight_bytes_max; /* 0: 64 MiB */
    uint64_t reconnect_ms;      /* how long to try again; 0: not at all */
    tl_client_on_ack *on_ack;   /* may be NULL */
    void *arg;
};

struct tl_appender;
TL_CHECK enum tl_code tl_appender_open(const struct tl_appender_options *options,
                                       struct tl_appender **out, struct tl_status *st);
void tl_appender_close(struct tl_appender *a); /* takes NULL; drops what is in flight */

bool tl_appender_has_room(const struct tl_appender *a, size_t batch_bytes);
/* Queues a batch, waiting for room first. Sequences ascend from 1. */
TL_CHECK enum tl_code tl_appender_send(struct tl_appender *a, uint64_t sequence,
                                       struct tl_slice batch, bool borrowed, void *tag,
                                       struct tl_status *st);
/* Writes what can be written and takes what has come, for at most wait_ms. */
TL_CHECK enum tl_code tl_appender_poll(struct tl_appender *const *appenders, uint32_t count,
                                       uint64_t wait_ms, struct tl_status *st);
/* Waits until everything is acknowledged. */
TL_CHECK enum tl_code tl_appender_finish(struct tl_appender *a, struct tl_status *st);
uint32_t tl_appender_in_flight(const struct tl_appender *a);

#endif
