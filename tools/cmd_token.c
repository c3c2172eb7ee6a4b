/*
 * tools/cmd_token.c: `tally token create|list|revoke`: who may come in.
 *
 * Works on the store in the data directory itself, beside a running server, which hears of it
 * within a second.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/time.h"
#include "tools/command.h"
#include "wire/principals.h"

#define DAY_US (86400LL * 1000000)

static const char usage[] =
    "usage: tally token create NAME (--merchant ID[,ID…] [--scope ingest,read] | --operator)\n"
    "                          [--expires DAYS] [--data DIR] [--json]\n"
    "       tally token list [--data DIR] [--json]\n"
    "       tally token revoke NAME [--data DIR]\n"
    "\n"
    "A token lets a collector or a dashboard in: over gRPC as `authorization: Bearer TOKEN`, over\n"
    "PostgreSQL's protocol as the password of the user NAME. It is told once, when it is made.\n"
    "From the first one on, nobody comes in without.\n"
    "\n"
    "  --merchant ID,…       whose rows it reads and writes, at most 1024\n"
    "  --scope ingest,read   what it may do with them (default: both)\n"
    "  --operator            all rows, and the administration\n"
    "  --expires DAYS        when it ends by itself (default: never)\n"
    "  --data DIR            the database's directory (default: $TALLY_DATA)\n"
    "\n"
    "examples:\n"
    "  tally token create shop-17 --merchant 17 --data ./tally-data\n"
    "  TALLY_TOKEN=tally_… tally query 'SELECT count(*) FROM events'\n"
    "  tally token revoke shop-17 --data ./tally-data\n";

struct options {
    const char *action, *name, *data;
    const char *merchants, *scope;
    bool is_operator, json;
    uint64_t days;
};

/* ---- arguments ---- */

static bool parse(struct tl_args *a, struct options *o)
{
    while (a->next < a->count && !a->failed) {
        if (tl_args_value(a, "--merchant", &o->merchants) ||
            tl_args_value(a, "--scope", &o->scope) || tl_args_value(a, "--data", &o->data) ||
            tl_args_number(a, "--expires", 1, 36500, &o->days))
            continue;
        if (tl_args_flag(a, "--operator"))
            o->is_operator = true;
        else if (tl_args_flag(a, "--json"))
            o->json = true;
        else if (!o->action && (o->action = tl_args_positional(a)))
            continue;
        else if (o->name || !(o->name = tl_args_positional(a)))
            return tl_args_unknown(a);
    }
    return !a->failed;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* "17,4" into ascending, distinct numbers. */
static enum tl_code read_merchants(const char *text, int64_t *out, uint32_t *count,
                                   struct tl_status *st)
{
    uint32_t n = 0;
    struct tl_slice rest = tl_slice_str(text);
    while (n < TALLY_TENANT_MERCHANTS_MAX) {
        const uint8_t *comma = memchr(rest.data, ',', rest.size);
        struct tl_slice one =
            tl_slice_of(rest.data, comma ? (size_t)(comma - rest.data) : rest.size);
        if (tl_parse_int64(one, &out[n++], st)) {
            tl_status_wrap(st, "--merchant");
            return st->code;
        }
        if (!comma) {
            qsort(out, n, sizeof(*out), compare);
            *count = 0;
            for (uint32_t i = 0; i < n; i++)
                if (*count == 0 || out[*count - 1] != out[i])
                    out[(*count)++] = out[i];
            return TL_OK;
        }
        rest = tl_slice_of(comma + 1, rest.size - one.size - 1);
    }
    return TL_FAIL(st, TL_LIMIT, "--merchant: more than %d merchants", TALLY_TENANT_MERCHANTS_MAX);
}

static enum tl_code read_scope(const char *text, uint32_t *out, struct tl_status *st)
{
    *out = TL_SCOPE_ALL;
    if (!text || strcmp(text, "ingest,read") == 0 || strcmp(text, "read,ingest") == 0)
        return TL_OK;
    *out = strcmp(text, "ingest") == 0 ? TL_SCOPE_INGEST
           : strcmp(text, "read") == 0 ? TL_SCOPE_READ
                                       : 0;
    return *out ? TL_OK
                : TL_FAIL(st, TL_INVALID, "--scope takes ingest, read, or ingest,read, not \"%s\"",
                          text);
}

/* ---- actions ---- */

static enum tl_code create(struct tl_principals *s, const struct options *o, struct tl_status *st)
{
    int64_t merchants[TALLY_TENANT_MERCHANTS_MAX];
    struct tl_principal_new n = {.name = o->name,
                                 .is_operator = o->is_operator,
                                 .merchants = merchants,
                                 .expires_us = INT64_MAX};
    char token[TL_TOKEN_BYTES_MAX];
    if (o->is_operator && (o->merchants || o->scope))
        return TL_FAIL(st, TL_INVALID, "--operator goes without --merchant and --scope");
    if (!o->is_operator && !o->merchants)
        return TL_FAIL(st, TL_INVALID, "say --merchant ID whose rows it may see, or --operator");
    if (o->merchants && read_merchants(o->merchants, merchants, &n.merchant_count, st))
        return st->code;
    if (read_scope(o->scope, &n.scopes, st))
        return st->code;
    if (o->days)
        n.expires_us = tl_clock_wall_us(tl_clock_system()) + (int64_t)o->days * DAY_US;
    if (tl_principals_add(s, &n, token, st))
        return st->code;
    if (o->json)
        printf("{\"name\":\"%s\",\"token\":\"%s\"}\n", o->name, token);
    else
        printf("%s\n", token);
    return TL_OK;
}

/* To the second, UTC. */
static const char *time_text(int64_t us, char buf[TL_TIME_TEXT_MAX])
{
    buf[tl_print_timestamp(us - us % 1000000, buf)] = '\0';
    return buf;
}

static enum tl_code list_one(void *arg, const struct tl_principal *p, int64_t revoked_us,
                             struct tl_status *st)
{
    static const char *const scopes[] = {"none", "ingest", "read", "ingest,read"};
    const struct options *o = arg;
    (void)st;
    char created[TL_TIME_TEXT_MAX], expires[TL_TIME_TEXT_MAX] = "never";
    char at[TL_TIME_TEXT_MAX], ended[TL_TIME_TEXT_MAX + 16];
    time_text(p->created_us, created);
    if (p->expires_us != INT64_MAX)
        time_text(p->expires_us, expires);
    const char *state = "live";
    if (revoked_us != INT64_MAX) {
        snprintf(ended, sizeof(ended), "revoked %s", time_text(revoked_us, at));
        state = ended;
    } else if (p->expires_us <= tl_clock_wall_us(tl_clock_system())) {
        state = "expired";
    }
    if (o->json)
        printf("{\"name\":\"%s\",\"operator\":%s,\"scopes\":\"%s\",\"created\":\"%s\","
               "\"expires\":\"%s\",\"state\":\"%s\",\"merchants\":[",
               p->name, p->is_operator ? "true" : "false", scopes[p->scopes & TL_SCOPE_ALL],
               created, expires, state);
    else
        printf("%-24s %-12s %-21s %-21s %-30s ", p->name,
               p->is_operator ? "operator" : scopes[p->scopes & TL_SCOPE_ALL], created, expires,
               state);
    for (uint32_t i = 0; i < p->tenant.merchant_count; i++)
        printf("%s%lld", i ? "," : "", (long long)p->tenant.merchants[i]);
    printf(o->json ? "]}\n" : "\n");
    return TL_OK;
}

static enum tl_code list(struct tl_principals *s, struct options *o, struct tl_status *st)
{
    if (!o->json)
        printf("%-24s %-12s %-21s %-21s %-30s %s\n", "name", "scopes", "created", "expires",
               "state", "merchants");
    return tl_principals_each(s, list_one, o, st);
}

int tl_command_token(struct tl_args *a)
{
    struct options o = {.data = getenv("TALLY_DATA")};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_principals *s = NULL;
    if (tl_args_flag(a, "--help")) {
        fputs(usage, stdout);
        return TL_EXIT_OK;
    }
    if (!parse(a, &o))
        return TL_EXIT_USAGE;
    bool making = o.action && strcmp(o.action, "create") == 0;
    bool listing = o.action && strcmp(o.action, "list") == 0;
    bool revoking = o.action && strcmp(o.action, "revoke") == 0;
    if ((!making && !listing && !revoking) || listing != !o.name) {
        fputs(usage, stderr);
        return TL_EXIT_USAGE;
    }
    struct stat is;
    if (!o.data || stat(o.data, &is) || !S_ISDIR(is.st_mode)) {
        fprintf(stderr, "tally token: --data DIR must name the database's directory%s%s\n",
                o.data ? "; there is no directory " : "", o.data ? o.data : "");
        return TL_EXIT_USAGE;
    }
    enum tl_code rc = tl_principals_open(o.data, !listing, NULL, &s, &st);
    if (!rc)
        rc = making    ? create(s, &o, &st)
             : listing ? list(s, &o, &st)
                       : tl_principals_revoke(s, o.name, &st);
    tl_principals_close(s);
    return rc ? tl_command_fail("token", &st) : TL_EXIT_OK;
}
