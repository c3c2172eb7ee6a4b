/*
 * wire/pg_session.h: one client of PostgreSQL's protocol, from its startup packet to its end.
 *
 * A machine without a socket, a clock or a thread of its own: bytes are fed, a turn is run, bytes
 * are taken. The door (wire/pg_door.c) feeds and takes on the loop and runs turns on the pool of
 * queries; tests and the fuzzer do both in place.
 *
 *     startup ── [SCRAM] ── ready ── { simple query | extended query | COPY FROM } … ── over
 *
 * A turn ends when a whole message is missing, a page of output is full, or all is over. Errors
 * of the extended protocol skip what comes until Sync, those of the simple one end the text.
 *
 * Ownership  new/free. What options point to is borrowed for the session's life.
 * Threads    one at a time; tl_pg_cancel: any.
 * Units      bytes, milliseconds.
 */
#ifndef TALLY_WIRE_PG_SESSION_H
#define TALLY_WIRE_PG_SESSION_H

#include "base/bytes.h"
#include "wire/principals.h"

struct tally;
struct tl_pg;

enum {
    TL_PG_PAGE_BYTES = 256 << 10,     /* a turn ends when so much waits to be taken */
    TL_PG_STARTUP_BYTES_MAX = 10000,  /* of a startup packet, as PostgreSQL has it */
    TL_PG_EARLY_BYTES_MAX = 16 << 10, /* of a message before the user is known */
    TL_PG_ROWS_BYTES_MAX = 96 << 20,  /* of the rows of one vector, which are written together */
    TL_PG_STATEMENTS_MAX = 2000,      /* prepared by name */
    TL_PG_PORTALS_MAX = 256,          /* portals and cursors */
    TL_PG_MEMORY_MAX = 64 << 20,      /* of one session: statements, parameters, rows kept */
    TL_PG_WRONG_PASSWORD_MS = 500
};

struct tl_pg_options {
    struct tally *db;
    const uint8_t *secret;    /* TL_SCRAM_KEY_BYTES: for users that do not exist */
    uint32_t process_id, key; /* what CancelRequest must name */
    size_t message_bytes_max;
    struct tl_budget *budget; /* of all sessions; may be NULL */
    /* For catalogs: when the client came and the server began, and their ends of the connection;
     * empty: a Unix socket. */
    int64_t now_us, server_start_us;
    char client_address[48], server_address[48];
    uint16_t client_port, server_port;
};

TL_CHECK enum tl_code tl_pg_new(const struct tl_pg_options *options, struct tl_pg **out,
                                struct tl_status *st);
void tl_pg_free(struct tl_pg *s); /* takes NULL */

/* The user that a startup packet (after its version) names; empty: none. */
struct tl_slice tl_pg_packet_user(struct tl_slice packet);
/* The startup packet. `binding` is the hash of the certificate, empty without TLS; `principal` is
 * whom the user's name stands for (a reference that the session takes), NULL: nobody. `open`: the
 * user `tally` needs no password. The answer comes with the next turn. */
void tl_pg_start(struct tl_pg *s, struct tl_slice packet, struct tl_slice binding,
                 struct tl_principal *principal, bool open);
/* NULL: none is needed. */
struct tl_principal *tl_pg_principal(struct tl_pg *s);
/* Bytes from the client. False: more than may wait; the session is over. */
bool tl_pg_feed(struct tl_pg *s, const uint8_t *data, size_t size);
/* Whether a turn has something to do besides waiting for bytes. */
bool tl_pg_has_work(const struct tl_pg *s);

enum tl_pg_turn {
    TL_PG_WAITS, /* for bytes */
    TL_PG_PAGE,  /* take the output, then run again */
    TL_PG_DELAY, /* hold the output back for TL_PG_WRONG_PASSWORD_MS, then end */
    TL_PG_OVER   /* send the output, then close */
};
enum tl_pg_turn tl_pg_run(struct tl_pg *s);
/* What waits to be sent; the caller clears it. */
struct tl_buffer *tl_pg_output(struct tl_pg *s);
/* Ends the statement that runs, with 57014. */
void tl_pg_cancel(struct tl_pg *s);
/* Says a last error (57P01 and the like) with the next turn, and ends. */
void tl_pg_terminate(struct tl_pg *s, const char *sqlstate, const char *text);
bool tl_pg_authenticated(const struct tl_pg *s);
/* Inside a transaction block, or in the middle of a message's work. */
bool tl_pg_busy(const struct tl_pg *s);

#endif
