/*
 * Runs a file of statements and their answers: run_sql [--write] FILE.test
 *
 *     # a comment
 *     zone Europe/Berlin              the session's zone from here on
 *     param 5                         the next statement's parameters, as texts, in order ("\N":
 * NULL)
 *
 *     query [rowsort]                 a statement up to ---- and its rows, columns between tabs;
 *     SELECT …                        NULL is written NULL, an empty text (empty)
 *     ----
 *     1	two
 *
 *     error 22012                     a statement that fails with this SQLSTATE
 *     SELECT 1/0
 *
 * Statements end with an empty line. The table `events` is tests/sql/events.tsv, spread over
 * segments with dictionaries and a memtable; every query runs in several ways (whole segments and
 * small morsels, predicates applied by the source or not, one thread and three), and all of them
 * must give the expected rows. now() is 2024-04-02 00:00:00+00. --write replaces the rows in the
 * file by what the query gives now: look at the difference before you believe it.
 * tests/sql/against_postgres runs the same files against PostgreSQL.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/thread.h"
#include "base/time.h"
#include "query/exec.h"
#include "query/function.h"
#include "tests/query/fake_source.h"

enum { COLUMNS_MAX = 32, SEGMENTS = 4, TEXT_MAX = 1 << 20, PARAMS_MAX = 8 };

static struct fake_source source;
static struct fake_table table;
static struct tl_column_info infos[COLUMNS_MAX];
static struct tl_arena memory;
static struct tl_pool *pool;
static struct tl_status ignored = TL_STATUS_INIT;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static void *need(size_t count, size_t size)
{
    void *p = tl_arena_calloc(&memory, count ? count : 1, size, &ignored);
    if (!p)
        die("run_sql", "no memory");
    return p;
}

static char *read_file(const char *name)
{
    FILE *f = fopen(name, "rb");
    if (!f)
        die(name, strerror(errno));
    char *text = need(1, TEXT_MAX);
    size_t size = fread(text, 1, TEXT_MAX - 1, f);
    if (!feof(f))
        die(name, "too large");
    fclose(f);
    text[size] = 0;
    return text;
}

/* ---- the table ---- */

static struct tl_type parse_type(const char *s)
{
    struct tl_type t = {0};
    if (strncmp(s, "DECIMAL(", 8) == 0) {
        t.kind = TL_DECIMAL64;
        t.scale = (uint8_t)strtoul(strchr(s, ',') + 1, NULL, 10);
        return t;
    }
    for (t.kind = 1; t.kind < TL_PROPS; t.kind++) {
        char name[32];
        if (strcmp(tl_type_name(t, name, sizeof(name)), s) == 0)
            return t;
    }
    die("type", s);
}

/* A text as a constant of a type. */
static struct tl_vector parse_value(struct tl_type type, const char *text)
{
    static const uint64_t none[1] = {0};
    static const uint64_t zero[2] = {0};
    struct tl_vector v = {.type = type, .shape = TL_CONST, .count = 1};
    if (strcmp(text, "\\N") == 0) {
        v.data = zero;
        v.validity = none;
        return v;
    }
    struct tl_slice *slice = need(1, sizeof(*slice));
    *slice = tl_slice_str(text);
    struct tl_vector from = {
        .type = tl_type_of(TL_TEXT), .shape = TL_CONST, .count = 1, .data = slice};
    struct tl_eval_context ctx = {.arena = &memory, .zone = tl_zone_utc(), .zone_name = "UTC"};
    const struct tl_function *cast = tl_function_cast(from.type, type);
    struct tl_status st = TL_STATUS_INIT;
    if (!cast || cast->kernel(&ctx, &from, 1, 1, NULL, 1, &v, &st))
        die(text, st.text);
    return v;
}

static char *cut(char **text, char at)
{
    char *start = *text;
    char *end = strchr(start, at);
    if (!end)
        end = start + strlen(start);
    *text = *end ? end + 1 : end;
    *end = 0;
    return start;
}

struct row {
    struct tl_vector values[COLUMNS_MAX];
};

static int64_t int_of(const struct row *r, uint32_t column)
{
    return *(const int64_t *)r->values[column].data;
}

static int by_place(const void *a, const void *b)
{
    const struct row *x = *(const struct row *const *)a;
    const struct row *y = *(const struct row *const *)b;
    int64_t mx = int_of(x, table.info.merchant_column);
    int64_t my = int_of(y, table.info.merchant_column);
    if (mx != my)
        return mx < my ? -1 : 1;
    int64_t tx = int_of(x, table.info.ts_column);
    int64_t ty = int_of(y, table.info.ts_column);
    return (tx > ty) - (tx < ty);
}

static void fill_column(struct fake_column *c, uint32_t column, bool dictionary,
                        const struct row *const *rows, uint32_t n)
{
    uint32_t width = tl_kind_width(infos[column].type.kind);
    struct tl_slice *strings = need(n + 1, sizeof(*strings));
    uint32_t count = 0;
    c->validity = need(n / 64 + 40, sizeof(uint64_t));
    c->codes = dictionary ? need(n + 64, sizeof(uint32_t)) : NULL;
    c->data = dictionary ? NULL : need(n + 64, width);
    for (uint32_t i = 0; i < n; i++) {
        const struct tl_vector *v = &rows[i]->values[column];
        if (!tl_vector_valid(v, 0))
            continue;
        tl_bit_set(c->validity, i);
        if (!dictionary) {
            memcpy((uint8_t *)c->data + (size_t)i * width, v->data, width);
            continue;
        }
        struct tl_slice s = *(const struct tl_slice *)v->data;
        uint32_t code = 0;
        while (code < count && !tl_slice_eq(strings[code], s))
            code++;
        if (code == count)
            strings[count++] = s;
        c->codes[i] = code;
    }
    if (dictionary)
        c->dict = fake_dict_new(strings, count ? count : 1, &source);
}

static void load_table(const char *name)
{
    char *text = read_file(name);
    char *header = cut(&text, '\n');
    uint32_t columns = 0;
    while (*header) {
        char *spec = cut(&header, '\t');
        char *column = cut(&spec, ' ');
        infos[columns] =
            (struct tl_column_info){.id = columns + 1, .name = column, .type = parse_type(spec)};
        if (strcmp(column, "merchant_id") == 0)
            table.info.merchant_column = columns;
        if (strcmp(column, "ts") == 0)
            table.info.ts_column = columns;
        columns++;
    }
    infos[table.info.merchant_column].not_null = infos[table.info.ts_column].not_null = true;
    const struct row **parts[SEGMENTS];
    uint32_t counts[SEGMENTS] = {0};
    for (int s = 0; s < SEGMENTS; s++)
        parts[s] = need(4096, sizeof(struct row *));
    for (uint32_t n = 0; *text; n++) {
        char *line = cut(&text, '\n');
        struct row *r = need(1, sizeof(*r));
        for (uint32_t c = 0; c < columns; c++)
            r->values[c] = parse_value(infos[c].type, cut(&line, '\t'));
        parts[n % SEGMENTS][counts[n % SEGMENTS]++] = r;
    }
    table.segments = need(SEGMENTS, sizeof(*table.segments));
    table.segment_count = SEGMENTS;
    for (uint32_t s = 0; s < SEGMENTS; s++) {
        struct fake_segment *segment = &table.segments[s];
        segment->rows = counts[s];
        segment->memtable = s == SEGMENTS - 1;
        segment->sorted = !segment->memtable;
        segment->columns = need(columns, sizeof(*segment->columns));
        if (segment->sorted)
            qsort(parts[s], counts[s], sizeof(parts[s][0]), by_place);
        for (uint32_t c = 0; c < columns; c++)
            fill_column(&segment->columns[c], c, infos[c].type.kind == TL_TEXT && s != 2, parts[s],
                        counts[s]);
    }
    table.info.id = 1;
    table.info.name = "events";
    table.info.column_count = columns;
    table.info.columns = infos;
    fake_source_init(&source, &table, 1);
}

/* ---- answers ---- */

struct lines {
    const char **at;
    uint32_t count, capacity;
};

static void add_line(struct lines *l, const char *line)
{
    if (l->count == l->capacity) {
        uint32_t capacity = l->capacity ? l->capacity * 2 : 64;
        const char **grown = need(capacity, sizeof(*grown));
        if (l->count)
            memcpy(grown, l->at, sizeof(*grown) * l->count);
        l->at = grown;
        l->capacity = capacity;
    }
    l->at[l->count++] = line;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_value(const struct tl_vector *v, uint32_t i, const struct tl_zone *zone,
                        struct tl_buffer *out)
{
    if (!tl_vector_valid(v, i)) {
        tl_buffer_printf(out, "NULL");
        return;
    }
    if (v->type.kind == TL_BOOLEAN) {
        tl_buffer_printf(out, "%c",
                         ((const uint8_t *)v->data)[v->shape == TL_CONST ? 0 : i] ? 't' : 'f');
        return;
    }
    struct tl_slice s;
    struct tl_status st = TL_STATUS_INIT;
    if (v->shape == TL_DICT) {
        if (tl_dict_get(v->dict, &v->codes[i], 1, &s, &st))
            die("dictionary", st.text);
    } else {
        size_t at = v->shape == TL_CONST ? 0 : i;
        struct tl_vector one = {.type = v->type,
                                .shape = TL_CONST,
                                .count = 1,
                                .data =
                                    (const uint8_t *)v->data + at * tl_kind_width(v->type.kind)};
        struct tl_vector text = {.type = tl_type_of(TL_TEXT), .count = 1};
        struct tl_eval_context ctx = {.arena = &memory, .zone = zone, .zone_name = "session"};
        const struct tl_function *cast = tl_function_cast(v->type, text.type);
        if (!cast || cast->kernel(&ctx, &one, 1, 1, NULL, 1, &text, &st))
            die("cast", st.text);
        s = *(const struct tl_slice *)text.data;
    }
    if (s.size == 0)
        tl_buffer_printf(out, "(empty)");
    for (size_t i2 = 0; i2 < s.size; i2++) {
        if (s.data[i2] == '\n')
            tl_buffer_printf(out, "\\n");
        else
            tl_buffer_put_u8(out, s.data[i2]);
    }
}

struct session {
    const char *zone;
    uint32_t param_count;
    const char *params[PARAMS_MAX];
};

struct way {
    uint32_t threads;
    uint64_t morsel_rows;
    bool exact;
};

static enum tl_code run_once(const char *sql, const struct session *session, const struct way *way,
                             struct lines *out, struct tl_status *st)
{
    struct tl_plan_options plan_options = {.time_zone = session->zone};
    struct tl_plan *plan;
    enum tl_code rc = tl_plan_new(&source.catalog, tl_slice_str(sql), &plan_options, &plan, st);
    if (rc)
        return rc;
    if (!plan->root || plan->kind != TL_STMT_SELECT) {
        tl_plan_free(plan);
        return TL_FAIL(st, TL_INVALID, "not a query");
    }
    struct tl_budget budget;
    tl_budget_init(&budget, "query memory", 64 << 20, NULL);
    struct tl_vector params[PARAMS_MAX];
    if (plan->param_count > session->param_count)
        die(sql, "parameters are missing");
    for (uint32_t p = 0; p < plan->param_count; p++)
        params[p] = parse_value(plan->param_types[p], session->params[p]);
    const struct tl_zone *zone;
    if (tl_zone_get_session(tl_slice_str(session->zone), &zone, st))
        die(session->zone, st->text);
    source.morsel_rows = way->morsel_rows;
    source.exact = way->exact;
    struct tl_run_options options = {.source = &source.source,
                                     .budget = &budget,
                                     .clock = tl_clock_system(),
                                     .now_us = INT64_C(1712016000000000),
                                     .time_zone = session->zone,
                                     .param_count = plan->param_count,
                                     .params = params,
                                     .threads = way->threads,
                                     .pool = pool};
    struct tl_run *run = NULL;
    rc = tl_run_new(plan, &options, &run, st);
    while (rc == TL_OK) {
        struct tl_chunk chunk;
        rc = tl_run_step(run, &chunk, st);
        if (rc || chunk.count == 0)
            break;
        for (uint32_t i = 0; i < chunk.count; i++) {
            struct tl_buffer line;
            tl_buffer_init(&line, "line", TEXT_MAX);
            for (uint32_t c = 0; c < plan->output_count; c++) {
                if (c)
                    tl_buffer_put_u8(&line, '\t');
                if (!tl_type_eq(chunk.columns[c].type, plan->outputs[c].type) ||
                    !tl_vector_check(&chunk.columns[c]))
                    die(sql, "a column is not what the plan says");
                print_value(&chunk.columns[c], i, zone, &line);
            }
            char *copy = need(1, line.size + 1);
            if (line.size)
                memcpy(copy, line.data, line.size);
            add_line(out, copy);
            tl_buffer_deinit(&line);
        }
    }
    tl_run_free(run);
    tl_plan_free(plan);
    if (atomic_load(&source.open_scans) || atomic_load(&source.open_morsels) ||
        atomic_load(&budget.used_bytes))
        die(sql, "a scan, a morsel or memory is left open");
    return rc;
}

static const struct way ways[] = {{1, 0, false}, {1, 7, true}, {1, 0, true}, {3, 11, false}};

static bool same(const struct lines *a, const struct lines *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (strcmp(a->at[i], b->at[i]) != 0)
            return false;
    }
    return true;
}

static void show(const char *what, const struct lines *l)
{
    printf("  %s (%u rows):\n", what, l->count);
    for (uint32_t i = 0; i < l->count && i < 12; i++)
        printf("    %s\n", l->at[i]);
}

/* Runs one query in all ways; the rows of the first one are left in `got`. */
static bool check_query(const char *name, int line, const char *sql, const struct session *session,
                        bool sort, const struct lines *expected, bool compare, struct lines *got)
{
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        struct tl_status st = TL_STATUS_INIT;
        struct lines rows = {0};
        if (run_once(sql, session, &ways[w], &rows, &st)) {
            printf("%s:%d: %s\n  failed: %s (%s, position %d)\n", name, line, sql, st.text,
                   tl_status_sqlstate(&st), st.position);
            return false;
        }
        if (sort && rows.count)
            qsort(rows.at, rows.count, sizeof(rows.at[0]), by_text);
        if (w == 0)
            *got = rows;
        if (!same(&rows, compare ? expected : got)) {
            printf("%s:%d: %s\n  way %zu differs\n", name, line, sql, w);
            show("expected", compare ? expected : got);
            show("got", &rows);
            return false;
        }
    }
    return true;
}

static bool check_error(const char *name, int line, const char *sql, const struct session *session,
                        const char *sqlstate)
{
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        struct tl_status st = TL_STATUS_INIT;
        struct lines rows = {0};
        enum tl_code rc = run_once(sql, session, &ways[w], &rows, &st);
        if (rc == TL_OK || strcmp(tl_status_sqlstate(&st), sqlstate) != 0) {
            printf("%s:%d: %s\n  way %zu: expected %s, got %s %s\n", name, line, sql, w, sqlstate,
                   rc ? tl_status_sqlstate(&st) : "rows", st.text);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    bool write = argc == 3 && strcmp(argv[1], "--write") == 0;
    if (argc != 2 + write)
        die("usage", "run_sql [--write] FILE.test");
    const char *name = argv[1 + write];
    struct tl_status st = TL_STATUS_INIT;
    tl_arena_init(&memory, NULL, 1 << 20);
    if (tl_pool_new("sql", 2, 16, &pool, &st))
        die("pool", st.text);
    load_table("tests/sql/events.tsv");
    char *text = read_file(name);
    FILE *out = write ? fopen(name, "wb") : NULL;
    struct session session = {.zone = "UTC"};
    int line = 0;
    int statements = 0;
    int failed = 0;
    while (*text) {
        char *head = cut(&text, '\n');
        line++;
        if (out)
            fprintf(out, "%s\n", head);
        if (*head == 0 || *head == '#')
            continue;
        if (strncmp(head, "zone ", 5) == 0) {
            session.zone = head + 5;
            continue;
        }
        if (strncmp(head, "param ", 6) == 0) {
            if (session.param_count == PARAMS_MAX)
                die(name, "too many parameters");
            session.params[session.param_count++] = head + 6;
            continue;
        }
        int start = line + 1;
        char *sql = need(1, strlen(text) + 1);
        size_t size = 0;
        bool rows = false;
        while (*text && *text != '\n') {
            char *part = cut(&text, '\n');
            line++;
            if (out)
                fprintf(out, "%s\n", part);
            rows = strcmp(part, "----") == 0;
            if (rows)
                break;
            size += (size_t)snprintf(sql + size, strlen(part) + 2, "%s%s", size ? "\n" : "", part);
        }
        struct lines expected = {0};
        while (rows && *text && *text != '\n') {
            add_line(&expected, cut(&text, '\n'));
            line++;
        }
        statements++;
        bool ok;
        if (strncmp(head, "query", 5) == 0) {
            bool sort = strcmp(head, "query rowsort") == 0;
            struct lines got = {0};
            ok = check_query(name, start, sql, &session, sort, &expected, !write, &got);
            if (out && !rows)
                fprintf(out, "----\n");
            for (uint32_t i = 0; out && i < got.count; i++)
                fprintf(out, "%s\n", got.at[i]);
        } else if (strncmp(head, "error ", 6) == 0) {
            ok = check_error(name, start, sql, &session, head + 6);
        } else {
            die(head, "is no directive");
        }
        failed += !ok;
        session.param_count = 0;
    }
    if (out)
        fclose(out);
    printf("%s: %d statements, %d failed\n", name, statements, failed);
    tl_pool_free(pool);
    for (uint32_t s = 0; s < table.segment_count; s++) {
        for (uint32_t c = 0; c < table.info.column_count; c++)
            free(table.segments[s].columns[c].dict);
    }
    tl_arena_deinit(&memory);
    return failed ? 1 : 0;
}
