/*
 * tools/tallyd.c: the server's program: settings, log lines, the database's and servers' lives.
 *
 * Order of the end: the servers drain and stop, then the database is closed (it waits for batches
 * in flight), then the servers are freed, since a batch's completion speaks to them.
 */
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_line.h"
#include "engine/tally.h"
#include "tools/tallyd_config.h"
#include "wire/principals.h"
#include "wire/server.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_IN_USE = 3 };

/* ---- recovery ---- */

struct recovery {
    bool terminal;
    bool shown;
    uint64_t shown_ns;
};

struct context {
    struct tl_log log;
    struct recovery recovery;
};

static void on_log(void *arg, int level, const char *event, const char *detail)
{
    struct context *c = arg;
    if (!tl_log_wants(&c->log, (enum tl_log_level)level))
        return;
    if (detail && detail[0])
        tl_log(&c->log, (enum tl_log_level)level, event, TL_LOG_TEXT("detail", detail));
    else
        tl_log_say(&c->log, (enum tl_log_level)level, event);
}

static void on_progress(void *arg, uint64_t rows, uint64_t done, uint64_t total)
{
    enum { TERMINAL_NS = 100 * 1000 * 1000 };
    static const uint64_t log_ns = 5ull * 1000 * 1000 * 1000;
    struct context *c = arg;
    struct recovery *r = &c->recovery;
    uint64_t now = tl_clock_mono_ns(tl_clock_system());
    if (r->shown_ns == 0)
        r->shown_ns = now; /* a short recovery stays silent */
    if (now - r->shown_ns < (r->terminal ? TERMINAL_NS : log_ns))
        return;
    r->shown_ns = now;
    double percent = total ? 100.0 * (double)done / (double)total : 100.0;
    if (r->terminal) {
        r->shown = true;
        fprintf(stderr, "\rreplaying the log: %" PRIu64 " rows, %.0f %% ", rows, percent);
        fflush(stderr);
    } else {
        tl_log(&c->log, TL_LOG_INFO, "replaying the log", TL_LOG_UINT("rows", rows),
               TL_LOG_UINT("bytes", done), TL_LOG_UINT("bytes_total", total));
    }
}

/* ---- the program ---- */

static int usage(const char *text)
{
    fprintf(stderr, "tallyd: %s\n", text);
    return EXIT_USAGE;
}

/* As many sockets as the system lets us have. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static struct tl_wire_limits limits_of(const struct tallyd_config *c)
{
    struct tl_wire_limits limits = tl_wire_limits_default();
    limits.connections_max = (uint32_t)c->connections;
    limits.streams_per_connection_max = (uint32_t)c->streams;
    limits.drain_ms = c->drain_ms;
    limits.idle_ms = c->idle_ms;
    /* What clients' bytes may take until the engine has them: half of it for the windows that
     * connections begin with, which are seldom full, half lent. */
    limits.window_budget_bytes = c->memory_bytes / 4;
    return limits;
}

static const char *door_of(const char *address)
{
    return address && strcmp(address, "off") != 0 ? address : NULL;
}

/* Once at the start, so that nobody is surprised by what a fresh server lets in. */
static void tell_who_comes_in(struct context *context, struct tl_principals *principals)
{
    struct tl_status st = TL_STATUS_INIT;
    bool required = true;
    if (tl_principals_required(principals, &required, &st))
        on_log(context, 3, "principals", st.text);
    else if (!required)
        on_log(context, 2, "no_principals",
               "whoever reaches this server is an operator, until `tally token create` makes the "
               "first token");
}

static int serve(struct context *context, const struct tallyd_config *c, struct tally *db)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_principals *principals = NULL;
    if (tl_principals_open(c->data, true, NULL, &principals, &st)) {
        fprintf(stderr, "tallyd: %s\n", st.text);
        tally_close(db);
        return EXIT_FAILED;
    }
    struct tl_server_options options = {
        .db = db,
        .principals = principals,
        .grpc = door_of(c->grpc),
        .http = door_of(c->http),
        .pg = c->pg ? door_of(c->pg) : "127.0.0.1:7432",
        .pg_may_fail = !c->pg, /* a second server on this machine */
        .pg_dir = c->data,
        .insecure = c->insecure,
        .tls_cert = c->tls_cert,
        .tls_key = c->tls_key,
        .query_workers = (uint32_t)c->query_workers,
        .signals = true,
        .limits = limits_of(c),
        .log = on_log,
        .arg = context,
    };
    struct tl_server *server = NULL;
    enum tl_code rc = tl_server_open(&options, &server, &st);
    if (rc) {
        fprintf(stderr, "tallyd: %s\n", st.text);
        tally_close(db);
        tl_principals_close(principals);
        return rc == TL_INVALID || rc == TL_UNSUPPORTED ? EXIT_USAGE : EXIT_FAILED;
    }
    tell_who_comes_in(context, principals);
    printf("tallyd ready:");
    if (options.grpc)
        printf(" grpc=%s", tl_server_address(server, TL_DOOR_GRPC));
    if (options.http)
        printf(" http=%s", tl_server_address(server, TL_DOOR_HTTP));
    if (tl_server_address(server, TL_DOOR_PG)[0])
        printf(" pg=%s", tl_server_address(server, TL_DOOR_PG));
    printf(" data=%s\n", c->data);
    fflush(stdout);
    tl_server_run(server);
    bool healthy = tally_ready(db);
    tally_close(db);
    tl_server_free(server);
    tl_principals_close(principals);
    on_log(context, 1, "ended", healthy ? "" : "the store had failed");
    return healthy ? EXIT_OK : EXIT_FAILED;
}

static int run(const struct tallyd_config *c)
{
    struct context context = {0};
    enum tl_log_level level = TL_LOG_INFO;
    enum tl_log_format format = TL_LOG_LOGFMT;
    (void)tl_log_level_parse(tl_slice_str(c->log_level), &level); /* checked with the settings */
    (void)tl_log_format_parse(tl_slice_str(c->log_format), &format);
    tl_log_init(&context.log, STDERR_FILENO, format, level, tl_clock_system());
    context.recovery.terminal = isatty(STDERR_FILENO);
    raise_file_limit();
    signal(SIGPIPE, SIG_IGN);

    struct tally_options options = {
        .shards = (uint32_t)c->shards,
        .memory_bytes = (size_t)(c->memory_bytes - c->memory_bytes / 8),
        .log_compression = c->log_compression,
        .rejects_bytes = c->rejects_bytes,
        .query_threads = (uint32_t)c->query_threads,
        .query_memory_bytes = c->query_memory_bytes,
        .query_timeout_ms = c->query_timeout_ms,
        .io = c->io,
        .progress = on_progress,
        .log = on_log,
        .arg = &context,
    };
    struct tally *db = NULL;
    struct tl_status st = TL_STATUS_INIT;
    enum tl_code rc = tally_open(c->data, &options, &db, &st);
    if (context.recovery.shown)
        fputc('\n', stderr);
    if (rc) {
        fprintf(stderr, "tallyd: %s\n", st.text);
        return rc == TL_BUSY ? EXIT_IN_USE : EXIT_FAILED;
    }
    return serve(&context, c, db);
}

/* Batches come and go by the thousand: given back to the system and asked for again, each of their
 * pages would be cleared anew (a fifth of the CPU of small batches). What is kept free is bounded.
 */
static void tune_malloc(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 2 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 16 << 20);
    (void)mallopt(M_TOP_PAD, 1 << 20);
}

int main(int argc, char **argv)
{
    tune_malloc();
    struct tallyd_config c;
    struct tl_status st = TL_STATUS_INIT;
    int code = EXIT_OK;
    if (tallyd_config_read(argc, argv, &c, &st)) {
        code = usage(st.text);
    } else if (c.help) {
        tallyd_config_help(stdout);
    } else if (c.version) {
        printf("tallyd %s\n", TALLY_VERSION);
    } else if (c.check_config) {
        tallyd_config_print(&c, stdout);
    } else {
        code = run(&c);
    }
    tallyd_config_deinit(&c);
    return code;
}
