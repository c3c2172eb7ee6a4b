/*
 * wire/h2.h: one HTTP/2 connection's server side, on nghttp2, without its socket.
 *
 * Bytes go in by tl_h2_receive and come out by tl_h2_pull; sockets, TLS and tests sit on the
 * other side of these two. Flow control is by hand: credit goes back to the client only when its
 * bytes were dealt with (tl_message_free), windows beyond the first 64 KiB are lent from the
 * server's budget (wire/window.h).
 *
 * Invariants, for a connection:
 *   (1) held = sum of what messages, backlogs and incomplete messages hold of the window;
 *   (2) remaining + held <= charged, where remaining is what the client may still send;
 *   (3) window >= need, the sizes of all admitted incomplete messages together: each of them can
 *       be completed, so that no two messages wait for each other's bytes;
 *   (4) what the budget counts as lent is the sum of all connections' `charged`.
 *
 * Threads    loop.
 */
#ifndef TALLY_WIRE_H2_H
#define TALLY_WIRE_H2_H

#include <nghttp2/nghttp2.h>

#include "base/status.h"
#include "wire/call.h"
#include "wire/turns.h"
#include "wire/window.h"

struct tl_h2_owner {
    void (*wake)(void *arg);                 /* there may be bytes to pull */
    void (*arm)(void *arg, uint64_t due_ms); /* call tl_h2_tick no later than this */
    void *arg;
};

struct tl_h2 {
    nghttp2_session *session;
    struct tl_server *server;
    struct tl_h2_owner owner;
    struct tl_call *calls; /* open streams */
    uint32_t call_count;
    struct tl_message *messages; /* that hold bytes of the window */
    size_t window, held, need, charged;
    struct tl_window_waiter waiter;
    uint64_t parked_count;       /* messages that ever waited for a window */
    struct tl_turn_line appends; /* its batches that wait for the engine */
    const uint8_t *unsent;       /* rest of what nghttp2 gave; valid until it is asked again */
    size_t unsent_size;
    bool failed; /* the session is over */
    bool draining, goaway_sent;
    uint64_t goaway_ms; /* when to send the final GOAWAY */
    uint64_t opened_ms, active_ms;
    bool greeted;    /* the client's SETTINGS came */
    bool terminated; /* for meeting the windows' budget */
};

TL_CHECK enum tl_code tl_h2_new(struct tl_server *server, const struct tl_h2_owner *owner,
                                struct tl_h2 **out, struct tl_status *st);
void tl_h2_free(struct tl_h2 *h2); /* closes all calls; takes NULL */
/* False: the connection is over once what can be pulled is sent. */
bool tl_h2_receive(struct tl_h2 *h2, const uint8_t *data, size_t size);
/* Up to `size` bytes to send; 0: nothing now. */
size_t tl_h2_pull(struct tl_h2 *h2, uint8_t *out, size_t size);
/* Nothing more will come or go. */
bool tl_h2_finished(struct tl_h2 *h2);
uint64_t tl_h2_tick(struct tl_h2 *h2, uint64_t now_ms);
/* Announces the end (GOAWAY) and lets calls finish. */
void tl_h2_drain(struct tl_h2 *h2);
/* Ends all calls with UNAVAILABLE. */
void tl_h2_end_calls(struct tl_h2 *h2);

/* ---- for grpc.c ---- */

/* A message of `size` bytes begins: makes room for it, or parks the call until there is some. */
void tl_h2_need(struct tl_call *call, size_t size);
/* The incomplete message grew, is complete, or is given up. */
void tl_h2_need_end(struct tl_call *call);
/* Can the client send more of the call's incomplete message? Not while we hold back credit, have
 * not sent what we gave, or keep bytes unread ourselves. */
bool tl_h2_may_send(const struct tl_call *call);
/* `size` bytes of the call's stream were dealt with. */
void tl_h2_release(struct tl_h2 *h2, int32_t stream_id, size_t size);
/* Sends headers if they were not, and goes on with the call's bytes. */
void tl_h2_send_headers(struct tl_call *call);
void tl_h2_resume(struct tl_call *call);
void tl_h2_drop_out(struct tl_call *call);
/* Ends a stream that has sent nothing with headers alone. */
void tl_h2_send_only_headers(struct tl_call *call, const nghttp2_nv *nv, size_t count);
void tl_h2_hold(struct tl_h2 *h2, struct tl_message *m);

#endif
