#include "tools/tallyd_config.h"

#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, SIZE, DURATION, COUNT, SWITCH };
enum origin { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };

static const struct setting {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *fallback; /* NULL: none */
    const char *takes;
    const char *help;
    bool flag_only;
} settings[] = {
#define AT(field) offsetof(struct tallyd_config, field)
    {"data", TEXT, AT(data), NULL, "DIR", "the database's directory; made when missing", false},
    {"grpc", TEXT, AT(grpc), "127.0.0.1:7070", "HOST:PORT", "gRPC; port 0: any; off: none", false},
    {"http", TEXT, AT(http), NULL, "HOST:PORT", "/healthz, /readyz and /metrics", false},
    {"pg", TEXT, AT(pg), NULL, "HOST:PORT",
     "PostgreSQL's protocol, here and on a socket in the data directory (127.0.0.1:7432); off: "
     "none",
     false},
    {"memory", SIZE, AT(memory_bytes), "1GiB", "SIZE", "memory of the whole process", false},
    {"config", TEXT, AT(config), NULL, "FILE", "read settings from a file", false},
    {"tls-cert", TEXT, AT(tls_cert), NULL, "FILE", "certificate chain (PEM) for gRPC", false},
    {"tls-key", TEXT, AT(tls_key), NULL, "FILE", "its private key (PEM)", false},
    {"insecure", SWITCH, AT(insecure), NULL, "", "allow addresses beyond this machine", false},
    {"shards", COUNT, AT(shards), "0", "N", "at creation: a power of two; 0: 8", false},
    {"io", TEXT, AT(io), "auto", "NAME", "auto, uring or posix", false},
    {"log-compression", TEXT, AT(log_compression), "auto", "NAME",
     "auto (when the disk is slower than zstd), on or off", false},
    {"rejects", SIZE, AT(rejects_bytes), "64MiB", "SIZE", "limit of the file of refused rows",
     false},
    {"query-threads", COUNT, AT(query_threads), "0", "N", "of one query; 0: all processors", false},
    {"query-workers", COUNT, AT(query_workers), "0", "N", "queries at once; 0: by processors",
     false},
    {"query-memory", SIZE, AT(query_memory_bytes), "0", "SIZE",
     "of one query; 0: a quarter of memory", false},
    {"query-timeout", DURATION, AT(query_timeout_ms), "60s", "TIME", "of one query", false},
    {"connections", COUNT, AT(connections), "4096", "N", "open connections at most", false},
    {"streams", COUNT, AT(streams), "256", "N", "open calls of one connection at most", false},
    {"idle", DURATION, AT(idle_ms), "15m", "TIME", "until a connection without calls is closed",
     false},
    {"drain", DURATION, AT(drain_ms), "10s", "TIME", "that calls may take after SIGTERM", false},
    {"log-format", TEXT, AT(log_format), "logfmt", "NAME", "logfmt or json", false},
    {"log-level", TEXT, AT(log_level), "info", "NAME", "debug, info, warn or error", false},
    {"check-config", SWITCH, AT(check_config), NULL, "", "print the settings and end", true},
    {"help", SWITCH, AT(help), NULL, "", "print this and end", true},
    {"version", SWITCH, AT(version), NULL, "", "print the version and end", true},
#undef AT
};
enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

struct reading {
    struct tallyd_config *config;
    uint8_t origin[SETTINGS]; /* enum origin of each setting's value */
    enum origin now;
    const char *file;
    struct tl_status *st;
};

/* ---- values ---- */

static bool parse_number(const char *text, const char *const *units, const uint64_t *factors,
                         size_t unit_count, uint64_t *out)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end = NULL;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno)
        return false;
    for (size_t i = 0; i < unit_count; i++) {
        if (strcmp(end, units[i]) == 0)
            return !__builtin_mul_overflow(n, factors[i], out);
    }
    return false;
}

static bool parse_size(const char *text, uint64_t *out)
{
    static const char *const units[] = {"",    "B", "K",  "KB",  "KiB", "M",  "MB",
                                        "MiB", "G", "GB", "GiB", "T",   "TB", "TiB"};
    static const uint64_t k = 1024, d = 1000;
    const uint64_t factors[] = {1,
                                1,
                                k,
                                d,
                                k,
                                k * k,
                                d * d,
                                k * k,
                                k * k * k,
                                d * d * d,
                                k * k * k,
                                k * k * k * k,
                                d * d * d * d,
                                k * k * k * k};
    return parse_number(text, units, factors, sizeof(units) / sizeof(units[0]), out);
}

static bool parse_duration(const char *text, uint64_t *out)
{
    static const char *const units[] = {"ms", "s", "m", "min", "h"};
    static const uint64_t factors[] = {1, 1000, 60000, 60000, 3600000};
    return parse_number(text, units, factors, sizeof(units) / sizeof(units[0]), out);
}

static bool parse_switch(const char *text, bool *out)
{
    static const char *const yes[] = {"", "1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcmp(text, yes[i]) == 0) {
            *out = true;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        if (strcmp(text, no[i]) == 0) {
            *out = false;
            return true;
        }
    }
    return false;
}

static const char *origin_name(const struct reading *r)
{
    switch (r->now) {
    case FROM_FILE:
        return r->file;
    case FROM_ENVIRONMENT:
        return "the environment";
    case FROM_FLAG:
        return "a flag";
    default:
        return "the default";
    }
}

static enum tl_code set(struct reading *r, size_t index, const char *text)
{
    static const char *const wants[] = {[SIZE] = "a size such as 512MiB",
                                        [DURATION] = "a time such as 500ms, 10s or 5m",
                                        [COUNT] = "a number",
                                        [SWITCH] = "true or false"};
    const struct setting *s = &settings[index];
    if (r->origin[index] > r->now)
        return TL_OK; /* said by what wins */
    r->origin[index] = (uint8_t)r->now;
    void *at = (uint8_t *)r->config + s->offset;
    static const char *const no_units[] = {""};
    static const uint64_t one[] = {1};
    bool ok = true;
    switch (s->kind) {
    case TEXT: {
        char *copy = strdup(text);
        if (!copy)
            return TL_FAIL(r->st, TL_LIMIT, "no memory for the settings");
        free(*(char **)at);
        *(char **)at = copy;
        return TL_OK;
    }
    case SIZE:
        ok = parse_size(text, at);
        break;
    case DURATION:
        ok = parse_duration(text, at);
        break;
    case COUNT:
        ok = parse_number(text, no_units, one, 1, at);
        break;
    case SWITCH:
        ok = parse_switch(text, at);
        break;
    }
    if (!ok)
        return TL_FAIL(r->st, TL_INVALID, "%s from %s: \"%s\" is not %s", s->name, origin_name(r),
                       text, wants[s->kind]);
    return TL_OK;
}

static bool find(const char *name, size_t size, size_t *out)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (strlen(settings[i].name) == size && memcmp(settings[i].name, name, size) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* ---- the three sources ---- */

static enum tl_code read_flags(struct reading *r, int argc, char **argv)
{
    r->now = FROM_FLAG;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "-h") == 0)
            arg = "--help";
        if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0')
            return TL_FAIL(r->st, TL_INVALID, "unexpected argument \"%s\"; see --help", arg);
        const char *name = arg + 2, *equals = strchr(name, '=');
        size_t size = equals ? (size_t)(equals - name) : strlen(name), index;
        if (!find(name, size, &index))
            return TL_FAIL(r->st, TL_INVALID, "there is no flag --%.*s; see --help", (int)size,
                           name);
        const char *value = equals ? equals + 1 : NULL;
        if (!value && settings[index].kind == SWITCH)
            value = "true";
        if (!value) {
            if (i + 1 == argc)
                return TL_FAIL(r->st, TL_INVALID, "--%s takes %s", settings[index].name,
                               settings[index].takes);
            value = argv[++i];
        }
        enum tl_code rc = set(r, index, value);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code read_environment(struct reading *r)
{
    r->now = FROM_ENVIRONMENT;
    for (size_t i = 0; i < SETTINGS; i++) {
        if (settings[i].flag_only)
            continue;
        char name[64] = "TALLY_";
        size_t n = strlen(name);
        for (const char *p = settings[i].name; *p && n + 1 < sizeof(name); p++)
            name[n++] = (char)(*p == '-' ? '_' : *p - 'a' + 'A');
        name[n] = '\0';
        const char *value = getenv(name);
        enum tl_code rc = value ? set(r, i, value) : TL_OK;
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* inih's callback: 1 goes on, 0 stops at this line. */
static int on_line(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *r = arg;
    size_t index;
    if (r->st->code)
        return 0;
    if (section[0] && strcmp(section, "tallyd") != 0) {
        TL_FAIL(r->st, TL_INVALID, "there is no section [%s]; settings stand alone or in [tallyd]",
                section);
        return 0;
    }
    if (!find(name, strlen(name), &index) || settings[index].flag_only ||
        strcmp(name, "config") == 0) {
        TL_FAIL(r->st, TL_INVALID, "there is no setting \"%s\"", name);
        return 0;
    }
    return set(r, index, value) == TL_OK;
}

static enum tl_code read_file(struct reading *r)
{
    r->now = FROM_FILE;
    r->file = r->config->config;
    errno = 0;
    int line = ini_parse(r->file, on_line, r);
    if (line < 0)
        return TL_FAIL_OS(r->st, TL_IO, errno, "reading %s: %s", r->file,
                          errno ? strerror(errno) : "no memory");
    if (line > 0) {
        if (!r->st->code)
            TL_FAIL(r->st, TL_INVALID, "this is no line of the form name = value");
        tl_status_wrap(r->st, "%s, line %d", r->file, line);
        return r->st->code;
    }
    return TL_OK;
}

static enum tl_code check(const struct tallyd_config *c, struct tl_status *st)
{
    enum { MEMORY_MIN = 64 << 20 };
    if (!c->data || !c->data[0])
        return TL_FAIL(st, TL_INVALID, "--data DIR is missing");
    if (c->memory_bytes < MEMORY_MIN)
        return TL_FAIL(st, TL_INVALID, "memory: at least 64MiB");
    if (c->shards > 256 || (c->shards & (c->shards - 1)))
        return TL_FAIL(st, TL_INVALID, "shards: a power of two, at most 256");
    if (c->connections < 1 || c->connections > 1000000)
        return TL_FAIL(st, TL_INVALID, "connections: 1 to 1000000");
    if (c->streams < 1 || c->streams > 16384)
        return TL_FAIL(st, TL_INVALID, "streams: 1 to 16384");
    if (c->query_threads > 256 || c->query_workers > 256)
        return TL_FAIL(st, TL_INVALID, "query-threads, query-workers: at most 256");
    if (!c->tls_cert != !c->tls_key)
        return TL_FAIL(st, TL_INVALID, "tls-cert and tls-key: both or none");
    if (strcmp(c->io, "auto") != 0 && strcmp(c->io, "uring") != 0 && strcmp(c->io, "posix") != 0)
        return TL_FAIL(st, TL_INVALID, "io: auto, uring or posix");
    if (strcmp(c->log_compression, "auto") != 0 && strcmp(c->log_compression, "on") != 0 &&
        strcmp(c->log_compression, "off") != 0)
        return TL_FAIL(st, TL_INVALID, "log-compression: auto, on or off");
    if (strcmp(c->log_format, "logfmt") != 0 && strcmp(c->log_format, "json") != 0)
        return TL_FAIL(st, TL_INVALID, "log-format: logfmt or json");
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(c->log_level, levels[i]) == 0)
            return TL_OK;
    }
    return TL_FAIL(st, TL_INVALID, "log-level: debug, info, warn or error");
}

enum tl_code tallyd_config_read(int argc, char **argv, struct tallyd_config *out,
                                struct tl_status *st)
{
    *out = (struct tallyd_config){0};
    struct reading r = {.config = out, .st = st};
    /* The strongest first: the file's name may come from a flag or the environment. */
    enum tl_code rc = read_flags(&r, argc, argv);
    if (rc || out->help || out->version)
        return rc;
    rc = read_environment(&r);
    if (!rc && out->config)
        rc = read_file(&r);
    r.now = FROM_DEFAULT;
    for (size_t i = 0; !rc && i < SETTINGS; i++) {
        if (r.origin[i] == FROM_DEFAULT && settings[i].fallback)
            rc = set(&r, i, settings[i].fallback);
    }
    return rc ? rc : check(out, st);
}

void tallyd_config_print(const struct tallyd_config *c, FILE *out)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];
        const void *at = (const uint8_t *)c + s->offset;
        if (s->flag_only || strcmp(s->name, "config") == 0)
            continue;
        switch (s->kind) {
        case TEXT:
            if (*(char *const *)at)
                fprintf(out, "%s = %s\n", s->name, *(char *const *)at);
            break;
        case SWITCH:
            fprintf(out, "%s = %s\n", s->name, *(const bool *)at ? "true" : "false");
            break;
        case DURATION:
            fprintf(out, "%s = %" PRIu64 "ms\n", s->name, *(const uint64_t *)at);
            break;
        default:
            fprintf(out, "%s = %" PRIu64 "\n", s->name, *(const uint64_t *)at);
        }
    }
}

void tallyd_config_help(FILE *out)
{
    fputs("tallyd: the Tally server\n\n"
          "usage: tallyd --data DIR [flags]\n\n",
          out);
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];
        char head[48];
        snprintf(head, sizeof(head), "--%s%s%s", s->name, s->takes[0] ? " " : "", s->takes);
        fprintf(out, "  %-24s %s", head, s->help);
        if (s->fallback && strcmp(s->fallback, "0") != 0)
            fprintf(out, " [%s]", s->fallback);
        fputc('\n', out);
    }
    fputs(
        "\nEach flag but the last three can be given as an environment variable (--query-threads\n"
        "as TALLY_QUERY_THREADS) or as a line of the --config file (query-threads = 4). A flag\n"
        "wins over the environment, the environment over the file.\n"
        "\n"
        "When it can be used it prints one line on the standard output:\n"
        "  tallyd ready: grpc=127.0.0.1:7070 http=127.0.0.1:7071 pg=127.0.0.1:7432 data=DIR\n"
        "Logs go to the standard error. SIGTERM and SIGINT end it after the calls at hand, a\n"
        "second one at once; what was acknowledged is durable in any case.\n"
        "\n"
        "exit codes: 0 ended as asked; 1 could not start or the store failed; 2 wrong flags or\n"
        "settings, or something that is not built yet; 3 the directory is in use\n"
        "\n"
        "examples:\n"
        "  tallyd --data /var/lib/tally\n"
        "  tallyd --data ./db --grpc 127.0.0.1:0 --http 127.0.0.1:7071 --memory 4GiB\n"
        "  tallyd --data ./db --grpc 0.0.0.0:7070 --insecure --tls-cert c.pem --tls-key k.pem\n"
        "  TALLY_DATA=./db tallyd --config /etc/tallyd.ini --check-config\n",
        out);
}

void tallyd_config_deinit(struct tallyd_config *c)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        char **at = (char **)(void *)((uint8_t *)c + settings[i].offset);
        if (settings[i].kind == TEXT) {
            free(*at);
            *at = NULL;
        }
    }
}
