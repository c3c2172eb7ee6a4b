#include "wire/server.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/random.h"
#include "wire/address.h"
#include "wire/conn.h"
#include "wire/principals.h"
#include "wire/server_int.h"
#include "wire/services.h"
#include "wire/tls.h"

enum { LISTEN_BACKLOG = 1024, DRAIN_STEP_MS = 20, END_GRACE_MS = 500, QUERY_WORKERS_MAX = 16 };

void tl_server_log(struct tl_server *server, int level, const char *event, const char *format, ...)
{
    if (!server->log)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    server->log(server->log_arg, level, event, text);
}

bool tl_server_serving(const struct tl_server *server)
{
    return !server->draining && tally_ready(server->db);
}

/* ---- jobs ---- */

static void run_job(void *arg, uint32_t worker)
{
    struct tl_job *job = arg;
    job->run(job, worker);
    tl_mailbox_post(&job->server->mailbox, &job->mail);
}

bool tl_job_submit(struct tl_server *server, struct tl_pool *pool, struct tl_job *job)
{
    job->server = server;
    return tl_pool_try_submit(pool, run_job, job);
}

/* ---- the turn of the loop ---- */

static void flush_all(struct tl_server *server)
{
    do {
        tl_window_wake(&server->windows);
        tl_conn_flush_dirty(server);
    } while (server->windows.released && tl_window_scarce(&server->windows));
}

static void on_prepare(uv_prepare_t *prepare)
{
    flush_all(prepare->data);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct tl_listener *l = listener->data;
    if (status < 0) {
        tl_server_log(l->server, 2, "accept_failed", "%s", uv_strerror(status));
        return;
    }
    tl_conn_accept(l->server, listener, l->door);
}

/* ---- the end ---- */

static void close_listeners(struct tl_server *server)
{
    for (int i = 0; i < TL_DOOR_COUNT; i++) {
        if (server->listeners[i].open)
            uv_close(&server->listeners[i].socket.handle, NULL);
        server->listeners[i].open = false;
    }
}

static void close_handles(struct tl_server *server)
{
    if (server->stopped)
        return;
    server->stopped = true;
    close_listeners(server);
    tl_append_drop_waiting(server);
    while (server->conns)
        tl_conn_close(server->conns);
    uv_close((uv_handle_t *)&server->prepare, NULL);
    uv_close((uv_handle_t *)&server->drain_timer, NULL);
    uv_close((uv_handle_t *)&server->retry_timer, NULL);
    if (server->signals_open) {
        uv_close((uv_handle_t *)&server->signals[0], NULL);
        uv_close((uv_handle_t *)&server->signals[1], NULL);
    }
    tl_mailbox_close(&server->mailbox);
}

static void on_drain_timer(uv_timer_t *timer)
{
    struct tl_server *server = timer->data;
    uint64_t now = tl_server_now_ms(server);
    if (server->conn_count == 0 && server->query_count == 0 && server->append_count == 0) {
        close_handles(server);
        return;
    }
    if (now < server->drain_end_ms)
        return;
    if (now < server->drain_end_ms + END_GRACE_MS) {
        struct tl_conn *next;
        for (struct tl_conn *c = server->conns; c; c = next) {
            next = c->next;
            if (c->session)
                c->vtab->end(c->session);
            tl_conn_mark_dirty(c);
        }
        return;
    }
    tl_server_log(server, 2, "drain_cut", "%" PRIu32 " connections were still open",
                  server->conn_count);
    close_handles(server);
}

static void begin_drain(struct tl_server *server)
{
    uint64_t now = tl_server_now_ms(server);
    if (server->draining) {
        server->drain_end_ms = now; /* asked twice: at once */
        return;
    }
    server->draining = true;
    server->drain_end_ms = now + server->limits.drain_ms;
    tl_server_log(server, 1, "drain", "%" PRIu32 " connections, %" PRIu32 " calls",
                  server->conn_count, server->stream_count);
    close_listeners(server);
    tl_health_changed(server);
    for (struct tl_conn *c = server->conns; c; c = c->next) {
        if (c->session)
            c->vtab->drain(c->session);
    }
    (void)uv_timer_start(&server->drain_timer, on_drain_timer, 0, DRAIN_STEP_MS);
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    begin_drain(signal->data);
}

static void deliver_stop(struct tl_mail *mail)
{
    struct tl_server *server =
        (struct tl_server *)((uint8_t *)mail - offsetof(struct tl_server, stop_mail));
    atomic_store_explicit(&server->stop_posted, false, memory_order_relaxed);
    if (!server->stopped)
        begin_drain(server);
}

void tl_server_stop(struct tl_server *server)
{
    if (!atomic_exchange_explicit(&server->stop_posted, true, memory_order_relaxed))
        tl_mailbox_post(&server->mailbox, &server->stop_mail);
}

/* ---- the beginning ---- */

static void on_retry_timer(uv_timer_t *timer)
{
    tl_append_retry(timer->data);
}

static enum tl_code listen_on(struct tl_server *server, enum tl_server_door door, const char *text,
                              bool insecure, struct tl_status *st)
{
    struct tl_listener *l = &server->listeners[door];
    struct sockaddr_storage a;
    enum tl_code rc = tl_address_parse(text, &a, st);
    if (rc)
        return rc;
    bool required = false;
    if (server->principals && tl_principals_required(server->principals, &required, st))
        return st->code;
    bool safe = door != TL_DOOR_HTTP && server->tls && required;
    if (!insecure && !safe && !tl_address_is_loopback(&a))
        return TL_FAIL(st, TL_UNSUPPORTED,
                       "%s is reachable from other machines: bind to 127.0.0.1, or %s, or pass "
                       "--insecure",
                       text,
                       door != TL_DOOR_HTTP
                           ? "give --tls-cert and --tls-key, and make a token with "
                             "`tally token create`"
                           : "keep it behind a proxy");
    l->server = server;
    l->door = door;
    l->trusted = insecure || tl_address_is_loopback(&a);
    int e = uv_tcp_init(&server->loop, &l->socket.tcp);
    if (e)
        return TL_FAIL_OS(st, TL_IO, -e, "listening on %s: %s", text, uv_strerror(e));
    l->open = true;
    l->socket.handle.data = l;
    e = uv_tcp_bind(&l->socket.tcp, (const struct sockaddr *)&a, 0);
    if (e == 0)
        e = uv_listen(&l->socket.stream, LISTEN_BACKLOG, on_connection);
    if (e)
        return TL_FAIL_OS(st, TL_IO, -e, "listening on %s: %s", text, uv_strerror(e));
    struct sockaddr_storage bound = {0};
    int size = sizeof(bound);
    (void)uv_tcp_getsockname(&l->socket.tcp, (struct sockaddr *)&bound, &size);
    tl_address_print(&bound, l->address, sizeof(l->address));
    return TL_OK;
}

/* The socket that PostgreSQL's clients look for in a directory. The directory is this process's
 * alone, so what lies there of an earlier one goes. Only the user who runs the server may use it.
 */
static void listen_local(struct tl_server *server, const char *dir, const char *port)
{
    struct tl_listener *l = &server->listeners[TL_DOOR_PG_UNIX];
    char path[sizeof(l->address)];
    int n = snprintf(path, sizeof(path), "%s/.s.PGSQL.%s", dir, port);
    if (n < 0 || (size_t)n >= sizeof(((struct sockaddr_un *)0)->sun_path) ||
        uv_pipe_init(&server->loop, &l->socket.pipe, 0)) {
        tl_server_log(server, 2, "no_unix_socket", "the path of the socket is too long");
        return;
    }
    l->server = server;
    l->door = TL_DOOR_PG_UNIX;
    l->open = l->trusted = true;
    l->socket.handle.data = l;
    (void)unlink(path);
    mode_t mask = umask(0177);
    int e = uv_pipe_bind(&l->socket.pipe, path);
    (void)umask(mask);
    if (e == 0)
        e = uv_listen(&l->socket.stream, LISTEN_BACKLOG, on_connection);
    if (e)
        tl_server_log(server, 2, "no_unix_socket", "%s: %s", path, uv_strerror(e));
    else
        snprintf(l->address, sizeof(l->address), "%s", path);
}

/* PostgreSQL's door: TCP, and beside it the local socket. */
static enum tl_code listen_pg(struct tl_server *server, const struct tl_server_options *options,
                              struct tl_status *st)
{
    struct tl_status told = TL_STATUS_INIT;
    struct tl_listener *l = &server->listeners[TL_DOOR_PG];
    if (listen_on(server, TL_DOOR_PG, options->pg, options->insecure, &told)) {
        if (!options->pg_may_fail || told.code != TL_IO) {
            *st = told;
            return st->code;
        }
        tl_server_log(server, 2, "no_postgresql", "%s; --pg says where else", told.text);
        if (l->open)
            uv_close(&l->socket.handle, NULL);
        l->open = false;
    }
    const char *port = strrchr(l->open ? l->address : options->pg, ':');
    if (options->pg_dir && port)
        listen_local(server, options->pg_dir, port + 1);
    return TL_OK;
}

static enum tl_code open_loop(struct tl_server *server, const struct tl_server_options *options,
                              struct tl_status *st)
{
    int e = uv_loop_init(&server->loop);
    if (e)
        return TL_FAIL(st, TL_LIMIT, "no event loop: %s", uv_strerror(e));
    server->loop_open = true;
    (void)uv_prepare_init(&server->loop, &server->prepare);
    (void)uv_timer_init(&server->loop, &server->drain_timer);
    (void)uv_timer_init(&server->loop, &server->retry_timer);
    server->prepare.data = server->drain_timer.data = server->retry_timer.data = server;
    (void)uv_prepare_start(&server->prepare, on_prepare);
    (void)uv_timer_start(&server->retry_timer, on_retry_timer, 1000, 1000);
    enum tl_code rc = tl_mailbox_init(&server->mailbox, &server->loop, st);
    if (rc)
        return rc;
    server->stop_mail.deliver = deliver_stop;
    if (options->signals) {
        static const int numbers[2] = {SIGTERM, SIGINT};
        server->signals_open = true;
        for (int i = 0; i < 2; i++) {
            (void)uv_signal_init(&server->loop, &server->signals[i]);
            server->signals[i].data = server;
        }
        for (int i = 0; i < 2; i++) {
            e = uv_signal_start(&server->signals[i], on_signal, numbers[i]);
            if (e)
                return TL_FAIL(st, TL_LIMIT, "no signal handler: %s", uv_strerror(e));
        }
    }
    return TL_OK;
}

static enum tl_code open_all(struct tl_server *server, const struct tl_server_options *options,
                             struct tl_status *st)
{
    enum tl_code rc = open_loop(server, options, st);
    if (rc)
        return rc;
    server->read_buffer = malloc(TL_SOCKET_IN_BYTES);
    server->tls_buffer = malloc(TL_SOCKET_IN_BYTES);
    server->write_buffer = malloc(TL_SOCKET_OUT_BYTES);
    if (!server->read_buffer || !server->tls_buffer || !server->write_buffer)
        return TL_FAIL(st, TL_LIMIT, "no memory for the sockets' buffers");
    uint32_t workers = options->query_workers;
    if (workers == 0) {
        workers = tl_thread_cpu_count();
        workers = workers < 2 ? 2 : workers > QUERY_WORKERS_MAX ? QUERY_WORKERS_MAX : workers;
    }
    /* Each query and each admin call has at most one job at a time: they never meet a full queue.
     */
    rc = tl_pool_new("query", workers,
                     (size_t)server->limits.queries_max + server->limits.connections_max,
                     &server->query_pool, st);
    if (!rc)
        rc = tl_pool_new("admin", 2, server->limits.admin_max, &server->admin_pool, st);
    if (!rc)
        rc = tl_reflection_new(&server->reflection, st);
    if (!rc && (options->tls_cert || options->tls_key)) {
        if (!options->tls_cert || !options->tls_key)
            rc = TL_FAIL(st, TL_INVALID, "TLS takes a certificate and a key, not one of them");
        else
            rc = tl_tls_context_new(options->tls_cert, options->tls_key, &server->tls, st);
    }
    if (!rc && options->grpc)
        rc = listen_on(server, TL_DOOR_GRPC, options->grpc, options->insecure, st);
    if (!rc && options->http)
        rc = listen_on(server, TL_DOOR_HTTP, options->http, options->insecure, st);
    if (!rc && options->pg)
        rc = tl_random_bytes_from_os(server->pg_secret, sizeof(server->pg_secret), st);
    if (!rc && options->pg)
        rc = listen_pg(server, options, st);
    return rc;
}

enum tl_code tl_server_open(const struct tl_server_options *options, struct tl_server **out,
                            struct tl_status *st)
{
    tl_assert(options->db != NULL);
    struct tl_server *server = calloc(1, sizeof(*server));
    if (!server)
        return TL_FAIL(st, TL_LIMIT, "no memory for the server");
    server->started_us = tl_clock_wall_us(tl_clock_system());
    server->db = options->db;
    server->limits = options->limits;
    server->principals = options->principals;
    server->log = options->log;
    server->log_arg = options->arg;
    tl_turns_init(&server->turns);
    tl_budget_init(&server->pg_budget, "memory of PostgreSQL sessions",
                   server->limits.window_budget_bytes, NULL);
    tl_window_budget_init(&server->windows, server->limits.window_budget_bytes);
    enum tl_code rc = open_all(server, options, st);
    if (rc) {
        tl_server_free(server);
        return rc;
    }
    *out = server;
    return TL_OK;
}

const char *tl_server_address(const struct tl_server *server, enum tl_server_door door)
{
    return server->listeners[door].address;
}

void tl_server_run(struct tl_server *server)
{
    tl_thread_be_prompt();
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    tl_assert(server->stopped);
    /* What still runs is finished; its mails wait in the box. */
    tl_pool_free(server->query_pool);
    tl_pool_free(server->admin_pool);
    server->query_pool = server->admin_pool = NULL;
    tl_mailbox_drain(&server->mailbox);
}

void tl_server_poll(struct tl_server *server)
{
    (void)uv_run(&server->loop, UV_RUN_NOWAIT);
    flush_all(server);
}

void tl_server_free(struct tl_server *server)
{
    if (!server)
        return;
    if (server->loop_open) {
        close_handles(server);
        (void)uv_run(&server->loop, UV_RUN_DEFAULT);
        tl_pool_free(server->query_pool);
        tl_pool_free(server->admin_pool);
        tl_mailbox_drain(&server->mailbox);
        tl_mailbox_deinit(&server->mailbox);
        int e = uv_loop_close(&server->loop);
        tl_assert(e == 0);
    }
    tl_assert(server->windows.lent_bytes == 0);
    tl_reflection_free(server->reflection);
    tl_schema_cache_free(server->schemas);
    tl_tls_context_free(server->tls);
    free(server->read_buffer);
    free(server->tls_buffer);
    free(server->write_buffer);
    free(server);
}
