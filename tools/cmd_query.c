/*
 * tools/cmd_query.c: `tally query`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/command.h"
#include "tools/output.h"

static const char help[] =
    "usage: tally query [OPTION]… 'SQL'|-\n"
    "\n"
    "Runs SQL and prints its results. '-' (or no SQL) reads statements from standard input, each\n"
    "ended by ';'; a line '\\timing' there switches the printing of times.\n"
    "\n"
    "  --server HOST:PORT    ask a server (default: $TALLY_SERVER, else " TL_SERVER_DEFAULT ")\n"
    "  --data DIR            open a directory that no server holds\n"
    "  --format table|csv|json\n"
    "  --json                the same as --format json\n"
    "  --param V             the value of $1, of $2 …; may be given several times\n"
    "  --null-param          NULL as the next parameter\n"
    "  --time-zone ZONE      an IANA name; UTC without it\n"
    "  --timeout MS          give up after so many milliseconds\n"
    "  --max-rows N          refuse larger results\n"
    "  --timing              print the engine's and the whole time after each statement\n"
    "\n"
    "examples:\n"
    "  tally query \"SELECT count(*) FROM events\"\n"
    "  tally query --format csv --param 42 \"SELECT path, count(*) AS views FROM events\n"
    "     WHERE merchant_id = $1 GROUP BY path ORDER BY views DESC LIMIT 10\"\n"
    "  tally query --data ./tally-data - < report.sql\n";

enum { PARAMS_MAX = 64, SQL_BYTES_MAX = 16 << 20 };

struct query_options {
    struct tl_place place;
    enum tl_output_format format;
    const char *params[PARAMS_MAX];
    uint32_t param_count;
    const char *time_zone;
    uint64_t timeout_ms, rows_max;
    bool timing;
};

static bool parse(struct tl_args *a, struct query_options *o, const char **sql)
{
    const char *text;
    while (a->next < a->count && !a->failed) {
        if (tl_args_place(a, &o->place) || tl_args_value(a, "--time-zone", &o->time_zone) ||
            tl_args_number(a, "--timeout", 1, UINT32_MAX, &o->timeout_ms) ||
            tl_args_number(a, "--max-rows", 1, UINT64_MAX / 2, &o->rows_max))
            continue;
        if (tl_args_value(a, "--format", &text)) {
            static const char *const names[] = {"table", "csv", "json"};
            int format = 0;
            while (!a->failed && format < 3 && strcmp(text, names[format]) != 0)
                format++;
            if (format == 3) {
                fprintf(stderr, "tally query: --format is table, csv or json\n");
                a->failed = true;
            }
            o->format = (enum tl_output_format)format;
        } else if (tl_args_flag(a, "--json")) {
            o->format = TL_OUTPUT_JSON;
        } else if (tl_args_flag(a, "--timing")) {
            o->timing = true;
        } else if (o->param_count < PARAMS_MAX && tl_args_value(a, "--param", &text)) {
            o->params[o->param_count++] = text;
        } else if (o->param_count < PARAMS_MAX && tl_args_flag(a, "--null-param")) {
            o->params[o->param_count++] = NULL;
        } else if (!*sql && (text = tl_args_positional(a)) != NULL) {
            *sql = text;
        } else {
            return tl_args_unknown(a);
        }
    }
    return !a->failed;
}

/* A caret under the place that the failure names. */
static void show_place(struct tl_slice sql, int32_t position)
{
    if (position <= 0)
        return;
    size_t at = 0; /* of the character, counted in code points from 1 */
    for (int32_t n = 1; at < sql.size && n < position; n++)
        for (at++; at < sql.size && (sql.data[at] & 0xc0) == 0x80; at++)
            ;
    size_t begin = at, end = at;
    while (begin > 0 && sql.data[begin - 1] != '\n')
        begin--;
    while (end < sql.size && sql.data[end] != '\n')
        end++;
    fprintf(stderr, "  %.*s\n  ", (int)(end - begin), (const char *)sql.data + begin);
    for (size_t i = begin; i < at; i++)
        if ((sql.data[i] & 0xc0) != 0x80)
            fputc(sql.data[i] == '\t' ? '\t' : ' ', stderr);
    fputs("^\n", stderr);
}

static int run(struct tl_door *door, const struct query_options *o, struct tl_slice sql)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_output output;
    tl_output_init(&output, stdout, o->format, o->time_zone);
    struct tl_door_query q = {.sql = sql,
                              .params = o->params,
                              .param_count = o->param_count,
                              .time_zone = o->time_zone,
                              .timeout_ms = o->timeout_ms,
                              .rows_max = o->rows_max,
                              .columns = tl_output_columns,
                              .rows = tl_output_rows,
                              .arg = &output};
    struct tl_progress clock;
    tl_progress_init(&clock, "", true);
    uint64_t elapsed_us = 0;
    enum tl_code rc = tl_door_query(door, &q, &elapsed_us, &st);
    double whole = tl_progress_seconds(&clock) * 1e3;
    if (!rc)
        rc = tl_output_end(&output, &st);
    tl_output_deinit(&output);
    if (rc) {
        fflush(stdout);
        int code = tl_command_fail("query", &st);
        if (st.sqlstate[0])
            fprintf(stderr, "SQLSTATE %s\n", st.sqlstate);
        show_place(sql, st.position);
        return code;
    }
    if (o->timing)
        fprintf(o->format == TL_OUTPUT_TABLE ? stdout : stderr, "Time: %.3f ms (engine %.3f ms)\n",
                whole, (double)elapsed_us / 1e3);
    return TL_EXIT_OK;
}

/* ---- statements out of a stream ---- */

/* Skips what may hold a ';' that ends nothing: strings, quoted names, comments. Answers the place
 * behind it, or `at` itself when nothing of that kind begins there; SIZE_MAX: it does not end. */
static size_t skip_quoted(struct tl_slice s, size_t at)
{
    const uint8_t *p = s.data;
    if (p[at] == '\'' || p[at] == '"') {
        for (size_t i = at + 1; i < s.size; i++)
            if (p[i] == p[at])
                return i + 1;
        return SIZE_MAX;
    }
    if (p[at] == '-' && at + 1 < s.size && p[at + 1] == '-') {
        const uint8_t *end = memchr(p + at, '\n', s.size - at);
        return end ? (size_t)(end - p) + 1 : SIZE_MAX;
    }
    if (p[at] == '/' && at + 1 < s.size && p[at + 1] == '*') {
        uint32_t depth = 1;
        for (size_t i = at + 2; i + 1 < s.size; i++) {
            if (p[i] == '*' && p[i + 1] == '/') {
                i++;
                if (--depth == 0)
                    return i + 1;
            } else if (p[i] == '/' && p[i + 1] == '*') {
                i++;
                depth++;
            }
        }
        return SIZE_MAX;
    }
    return at;
}

/* The end of the first statement: behind its ';'. SIZE_MAX: it is not complete. */
static size_t statement_end(struct tl_slice s)
{
    for (size_t at = 0; at < s.size;) {
        size_t next = skip_quoted(s, at);
        if (next == SIZE_MAX)
            return SIZE_MAX;
        if (next == at) {
            if (s.data[at] == ';')
                return at + 1;
            next++;
        }
        at = next;
    }
    return SIZE_MAX;
}

static struct tl_slice trim(struct tl_slice s)
{
    while (s.size && (s.data[0] <= ' ' || s.data[0] == ';')) {
        s.data++;
        s.size--;
    }
    while (s.size && (s.data[s.size - 1] <= ' ' || s.data[s.size - 1] == ';'))
        s.size--;
    return s;
}

static int run_complete(struct tl_door *door, const struct query_options *o, struct tl_buffer *text,
                        bool ended, bool go_on, int code)
{
    for (;;) {
        struct tl_slice all = tl_buffer_slice(text);
        size_t end = statement_end(all);
        if (end == SIZE_MAX) {
            if (!ended)
                return code;
            end = all.size;
        }
        struct tl_slice sql = trim(tl_slice_of(all.data, end));
        if (sql.size && (code == TL_EXIT_OK || go_on)) {
            int rc = run(door, o, sql);
            code = rc ? rc : code;
        }
        memmove(text->data, text->data + end, text->size - end);
        text->size -= end;
        if (text->size == 0)
            return code;
    }
}

static int run_stream(struct tl_door *door, struct query_options *o)
{
    struct tl_buffer text;
    tl_buffer_init(&text, "statement", SQL_BYTES_MAX);
    bool terminal = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    int code = TL_EXIT_OK;
    for (;;) {
        if (terminal) {
            fputs(text.size ? "tally-> " : "tally=> ", stdout);
            fflush(stdout);
        }
        size = getline(&line, &capacity, stdin);
        if (size < 0 || tl_client_interrupted)
            break;
        struct tl_slice command = trim(tl_slice_of(line, (size_t)size));
        if (text.size == 0 && tl_slice_eq(command, tl_slice_str("\\timing"))) {
            o->timing = !o->timing;
            fprintf(stderr, "Timing is %s.\n", o->timing ? "on" : "off");
            continue;
        }
        if (text.size == 0 && tl_slice_eq(command, tl_slice_str("\\q")))
            break;
        tl_buffer_put(&text, line, (size_t)size);
        if (text.failed) {
            fprintf(stderr, "tally query: a statement is longer than %d bytes\n", SQL_BYTES_MAX);
            code = TL_EXIT_FAILED;
            break;
        }
        code = run_complete(door, o, &text, false, terminal, code);
        if (code && !terminal)
            break;
    }
    if (!code || terminal)
        code = run_complete(door, o, &text, true, terminal, code);
    free(line);
    tl_buffer_deinit(&text);
    return code;
}

int tl_command_query(struct tl_args *a)
{
    if (tl_args_flag(a, "--help")) {
        fputs(help, stdout);
        return TL_EXIT_OK;
    }
    struct query_options o = {0};
    const char *sql = NULL;
    if (!parse(a, &o, &sql))
        return TL_EXIT_USAGE;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_door *door;
    if (tl_place_open(&o.place, false, true, &door, &st))
        return tl_command_fail("query", &st);
    int code =
        !sql || strcmp(sql, "-") == 0 ? run_stream(door, &o) : run(door, &o, tl_slice_str(sql));
    tl_door_close(door);
    return code;
}
