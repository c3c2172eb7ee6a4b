#include "wire/pg_door.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/random.h"
#include "wire/pg_message.h"
#include "wire/pg_session.h"
#include "wire/server_int.h"

enum {
    INBOX_BYTES = 256 << 10, /* beyond this the socket is left unread while a turn runs */
    OUT_LOW_BYTES = 64 << 10 /* a session rests until no more than this is unsent */
};

struct tl_pg_conn {
    struct tl_job job;
    struct tl_pg_conn *prev, *next; /* of server->pg_conns */
    struct tl_pg_owner owner;
    struct tl_pg *session;
    uint32_t process_id, key;
    bool registered; /* in the server's list */
    bool secure_able, trusted;
    bool wants_tls, asked_tls, asked_gss;
    bool started; /* the startup packet was read */
    bool running; /* a job exists */
    bool gone;    /* the connection is closed; the job's end frees */
    bool over;    /* nothing comes after what is in `out` */
    bool draining;
    enum tl_pg_turn turn; /* of the job */
    uint64_t opened_ms;
    uint64_t delay_until_ms; /* the output is held back; 0: not */
    struct tl_buffer first;  /* packets before the session */
    struct tl_buffer inbox;  /* bytes that came while a turn ran */
    struct tl_buffer out;
    size_t out_at;
};

static struct tl_server *server_of(struct tl_pg_conn *c)
{
    return c->job.server;
}

static void conn_free(struct tl_pg_conn *c)
{
    struct tl_server *server = server_of(c);
    tl_assert(!c->running);
    if (c->registered) {
        *(c->prev ? &c->prev->next : &server->pg_conns) = c->next;
        if (c->next)
            c->next->prev = c->prev;
    }
    tl_pg_free(c->session);
    tl_buffer_deinit(&c->first);
    tl_buffer_deinit(&c->inbox);
    tl_buffer_deinit(&c->out);
    free(c);
}

/* ---- turns ---- */

static void run_turn(struct tl_job *job, uint32_t worker)
{
    (void)worker;
    struct tl_pg_conn *c = (struct tl_pg_conn *)job;
    c->turn = tl_pg_run(c->session);
}

static size_t unsent(const struct tl_pg_conn *c)
{
    return c->out.size - c->out_at;
}

/* A revocation counts in sessions that are open, too. */
static bool still_valid(struct tl_pg_conn *c)
{
    struct tl_principals *store = server_of(c)->principals;
    struct tl_principal *p = tl_pg_principal(c->session);
    bool required = false;
    struct tl_status ignored = TL_STATUS_INIT;
    if (!store)
        return true;
    if (p)
        return tl_principals_valid(store, p);
    /* The operator of an open door, until the first principal is made. */
    return !tl_pg_authenticated(c->session) ||
           (tl_principals_required_since(store, &required, &ignored) == TL_OK && !required);
}

/* Starts a turn when there is work, room for its output, and none runs. */
static void next_turn(struct tl_pg_conn *c)
{
    struct tl_server *server = server_of(c);
    if (c->running || c->over || c->gone || !c->session || c->delay_until_ms ||
        unsent(c) > OUT_LOW_BYTES)
        return;
    if (c->inbox.size > 0) {
        bool fed = tl_pg_feed(c->session, c->inbox.data, c->inbox.size);
        tl_buffer_clear(&c->inbox);
        if (!fed)
            tl_pg_terminate(c->session, "54000", "more messages wait than the limit allows");
    } else if (!tl_pg_has_work(c->session)) {
        return;
    }
    if (!still_valid(c))
        tl_pg_terminate(c->session, "28000", "this user's token was revoked, or its time is over");
    c->running = true;
    server->query_count++;
    if (server->query_pool && tl_job_submit(server, server->query_pool, &c->job))
        return;
    server->query_count--;
    c->running = false;
    c->over = true; /* the server ends */
}

static void take_output(struct tl_pg_conn *c)
{
    struct tl_buffer *from = tl_pg_output(c->session);
    if (c->out_at == c->out.size) {
        tl_buffer_clear(&c->out);
        c->out_at = 0;
    }
    tl_buffer_put(&c->out, from->data, from->size);
    tl_buffer_clear(from);
    if (c->out.failed)
        c->over = true;
}

static void deliver_turn(struct tl_mail *mail)
{
    struct tl_pg_conn *c = (struct tl_pg_conn *)mail;
    struct tl_server *server = server_of(c);
    tl_assert(c->running);
    c->running = false;
    server->query_count--;
    if (c->gone) {
        conn_free(c);
        return;
    }
    take_output(c);
    if (c->turn == TL_PG_OVER)
        c->over = true;
    if (c->turn == TL_PG_DELAY) {
        c->delay_until_ms = tl_server_now_ms(server) + TL_PG_WRONG_PASSWORD_MS;
        server->metrics.connections_failed++;
        c->owner.arm(c->owner.arg, c->delay_until_ms);
    }
    if (c->draining && c->turn == TL_PG_WAITS)
        tl_pg_conn_drain(c);
    next_turn(c);
    c->owner.wake(c->owner.arg);
}

/* ---- first packets ---- */

static void say_fatal(struct tl_pg_conn *c, const char *sqlstate, const char *text)
{
    struct tl_pg_report r = {.severity = "FATAL", .sqlstate = sqlstate, .text = text};
    tl_pg_put_report(&c->out, &r);
    c->over = true;
}

static void cancel(struct tl_pg_conn *c, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    uint32_t process_id = tl_pg_read_u32(&r), key = tl_pg_read_u32(&r);
    c->over = true; /* no answer, whatever becomes of it */
    if (!tl_pg_read_done(&r))
        return;
    for (struct tl_pg_conn *other = server_of(c)->pg_conns; other; other = other->next) {
        if (other->process_id != process_id || !other->started || !other->session)
            continue;
        bool same = CRYPTO_memcmp(&other->key, &key, sizeof(key)) == 0;
        if (same && (other->running || (!other->over && tl_pg_has_work(other->session))))
            tl_pg_cancel(other->session);
        return;
    }
}

/* "HOST:PORT" or "[HOST]:PORT" in two. */
static void split_end(const char *text, char host[48], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    bool brackets = text[0] == '[';
    size_t size = colon ? (size_t)(colon - text) : 0;
    host[0] = '\0';
    if (size < 2 || size >= 48)
        return;
    memcpy(host, text + brackets, size - 2 * (size_t)brackets);
    host[size - 2 * (size_t)brackets] = '\0';
    *port = (uint16_t)strtoul(colon + 1, NULL, 10);
}

static void tell_ends(struct tl_pg_conn *c, struct tl_pg_options *options)
{
    char client[64], server[64];
    c->owner.ends(c->owner.arg, client, server);
    split_end(client, options->client_address, &options->client_port);
    split_end(server, options->server_address, &options->server_port);
}

static void start(struct tl_pg_conn *c, struct tl_slice packet)
{
    struct tl_server *server = server_of(c);
    struct tl_status st = TL_STATUS_INIT;
    uint8_t binding[64];
    size_t binding_size = 0;
    if (server->draining) {
        say_fatal(c, "57P03", "the database system is shutting down");
        return;
    }
    struct tl_pg_options options = {
        .db = server->db,
        .secret = server->pg_secret,
        .process_id = c->process_id,
        .key = c->key,
        .message_bytes_max = server->limits.message_bytes_max,
        .budget = &server->pg_budget,
        .now_us = tl_clock_wall_us(tl_clock_system()),
        .server_start_us = server->started_us,
    };
    tell_ends(c, &options);
    c->owner.binding(c->owner.arg, binding, &binding_size);
    if (!c->trusted && binding_size == 0) {
        say_fatal(c, "28000", "from other machines TLS is needed (sslmode=require)");
        return;
    }
    bool required = false;
    struct tl_principal *principal = NULL;
    struct tl_slice user = tl_pg_packet_user(packet);
    if (server->principals &&
        (tl_principals_required(server->principals, &required, &st) ||
         (required && user.size > 0 && user.size <= TL_PRINCIPAL_NAME_MAX &&
          tl_principals_by_name(server->principals, user, &principal, &st)))) {
        tl_server_log(server, 3, "principals_failed", "%s", st.text);
        say_fatal(c, "58030", "the store of principals cannot be read");
        return;
    }
    if (tl_pg_new(&options, &c->session, &st)) {
        tl_principal_unref(principal);
        say_fatal(c, "53200", "no memory for a session");
        return;
    }
    if (c->trusted && !required && !server->pg_told) {
        server->pg_told = true;
        tl_server_log(server, 2, "no_principals",
                      "no principal exists: this machine's user `tally` is let in without a "
                      "password over PostgreSQL's protocol");
    }
    tl_pg_start(c->session, packet, tl_slice_of(binding, binding_size), principal,
                c->trusted && !required);
    c->started = true;
}

/* One packet without a type byte. Answers the bytes used; 0: not whole yet. */
static size_t first_packet(struct tl_pg_conn *c)
{
    const uint8_t *p = c->first.data;
    size_t have = c->first.size;
    if (have < 8)
        return 0;
    size_t size = tl_pg_get_u32(p);
    uint32_t code = tl_pg_get_u32(p + 4);
    if (size < 8 || size > TL_PG_STARTUP_BYTES_MAX) {
        c->over = true; /* somebody who speaks something else */
        return have;
    }
    if (have < size)
        return 0;
    struct tl_slice body = tl_slice_of(p + 8, size - 8);
    if (code == TL_PG_SSL_CODE && size == 8 && !c->asked_tls) {
        c->asked_tls = true;
        c->wants_tls = c->secure_able;
        /* Plain bytes behind an accepted request would be taken for the ciphered session's. */
        if (c->wants_tls && have > size) {
            c->wants_tls = false;
            say_fatal(c, "08P01", "received unencrypted data after SSL request");
            return have;
        }
        tl_buffer_put_u8(&c->out, c->secure_able ? 'S' : 'N');
    } else if (code == TL_PG_GSS_CODE && size == 8 && !c->asked_gss) {
        c->asked_gss = true;
        tl_buffer_put_u8(&c->out, 'N');
    } else if (code == TL_PG_CANCEL_CODE) {
        cancel(c, body);
    } else if (code >> 16 == 3) {
        if ((code & 0xffff) != 0) { /* a newer minor version: we speak 3.0 */
            size_t m = tl_pg_begin(&c->out, 'v');
            tl_pg_put_u32(&c->out, 0);
            tl_pg_put_u32(&c->out, 0);
            tl_pg_end(&c->out, m);
        }
        start(c, body);
    } else {
        say_fatal(c, "0A000", "unsupported frontend protocol: 3.0 is spoken here");
    }
    return size;
}

bool tl_pg_conn_receive(struct tl_pg_conn *c, const uint8_t *data, size_t size)
{
    if (c->over)
        return true; /* what still comes is not read */
    if (c->started) {
        tl_buffer_put(&c->inbox, data, size);
        if (c->inbox.failed)
            return false;
        next_turn(c);
        return true;
    }
    tl_buffer_put(&c->first, data, size);
    if (c->first.failed)
        return false;
    while (!c->started && !c->over) {
        size_t used = first_packet(c);
        if (used == 0)
            return true;
        memmove(c->first.data, c->first.data + used, c->first.size - used);
        c->first.size -= used;
    }
    if (c->started && c->first.size > 0)
        tl_buffer_put(&c->inbox, c->first.data, c->first.size);
    next_turn(c);
    return true;
}

/* ---- the connection's side ---- */

enum tl_code tl_pg_conn_new(struct tl_server *server, const struct tl_pg_owner *owner,
                            bool secure_able, bool trusted, struct tl_pg_conn **out,
                            struct tl_status *st)
{
    struct tl_pg_conn *c = calloc(1, sizeof(*c));
    if (!c)
        return TL_FAIL(st, TL_LIMIT, "no memory for a PostgreSQL session");
    c->job.server = server;
    c->job.run = run_turn;
    c->job.mail.deliver = deliver_turn;
    c->owner = *owner;
    c->secure_able = secure_able;
    c->trusted = trusted;
    c->opened_ms = tl_server_now_ms(server);
    tl_buffer_init(&c->first, "first packets", TL_PG_STARTUP_BYTES_MAX + TL_SOCKET_IN_BYTES);
    tl_buffer_init(&c->inbox, "bytes of a client", INBOX_BYTES + 2 * TL_SOCKET_IN_BYTES);
    tl_buffer_init(&c->out, "output of a session", 2 * (size_t)TL_PG_ROWS_BYTES_MAX);
    c->process_id = ++server->pg_next_id;
    if (tl_random_bytes_from_os(&c->key, sizeof(c->key), st)) {
        conn_free(c);
        return st->code;
    }
    c->next = server->pg_conns;
    if (c->next)
        c->next->prev = c;
    server->pg_conns = c;
    c->registered = true;
    c->owner.arm(c->owner.arg, c->opened_ms + server->limits.handshake_ms);
    *out = c;
    return TL_OK;
}

void tl_pg_conn_free(struct tl_pg_conn *c)
{
    if (!c)
        return;
    c->gone = true;
    if (c->running)
        tl_pg_cancel(c->session);
    else
        conn_free(c);
}

size_t tl_pg_conn_pull(struct tl_pg_conn *c, uint8_t *out, size_t size)
{
    size_t n = unsent(c) < size ? unsent(c) : size;
    if (c->delay_until_ms || n == 0)
        return 0;
    memcpy(out, c->out.data + c->out_at, n);
    c->out_at += n;
    next_turn(c);
    return n;
}

bool tl_pg_conn_finished(struct tl_pg_conn *c)
{
    return c->over && !c->delay_until_ms && unsent(c) == 0;
}

uint64_t tl_pg_conn_tick(struct tl_pg_conn *c, uint64_t now_ms)
{
    uint64_t end = c->opened_ms + server_of(c)->limits.handshake_ms;
    if (c->delay_until_ms) {
        if (now_ms < c->delay_until_ms)
            return c->delay_until_ms;
        c->delay_until_ms = 0;
        c->over = true;
        return UINT64_MAX;
    }
    if (c->session && (c->running || tl_pg_authenticated(c->session)))
        return c->running ? (now_ms < end ? end : now_ms + 1000) : UINT64_MAX;
    if (now_ms < end)
        return end;
    c->over = true; /* too long until the user was known */
    return UINT64_MAX;
}

void tl_pg_conn_drain(struct tl_pg_conn *c)
{
    c->draining = true;
    if (c->running || c->over)
        return;
    if (!c->session) {
        c->over = true;
    } else if (!tl_pg_has_work(c->session) && !tl_pg_busy(c->session)) {
        tl_pg_conn_end(c);
    }
}

void tl_pg_conn_end(struct tl_pg_conn *c)
{
    c->draining = true;
    if (c->running) {
        tl_pg_cancel(c->session);
        return;
    }
    if (!c->over && c->session) {
        tl_pg_terminate(c->session, "57P01", "terminating connection due to administrator command");
        take_output(c);
    }
    c->over = true;
    c->owner.wake(c->owner.arg);
}

bool tl_pg_conn_wants_tls(struct tl_pg_conn *c)
{
    bool wants = c->wants_tls;
    c->wants_tls = false;
    return wants;
}

bool tl_pg_conn_hungry(const struct tl_pg_conn *c)
{
    return c->inbox.size < INBOX_BYTES;
}
