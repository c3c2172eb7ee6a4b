/* Promise: what a merchant's session is told depends on that merchant's rows alone: whatever SQL it
 * writes, another merchant's data never changes a byte of an answer (times aside), and never
 * stands in one, nor in the text of an error.
 * Method: pairs of databases that hold the same rows of one tenant and quite different rows of
 * others, flushed and merged at other moments; random statements that try to look over the fence
 * are asked of both, as the tenant. Others' texts carry a mark, which must not be seen. Answers
 * without an order are compared as sets. Where both fail, the codes are compared and the texts
 * searched: which of the tenant's own bad values is met first is chance.
 *
 * TALLY_TENANT_SEED=n begins with that pair; TALLY_TENANT_RUNS=k tries k pairs;
 * TALLY_TENANT_STATEMENTS=n asks n statements of each. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0   1767225600000000LL /* 2026-01-01 */
#define MARK "ZZOTHER"          /* in every text of others */

enum {
    ROWS = 900,
    OTHER_ROWS = 4000,
    BATCH = 100,
    TEXT_BYTES = 4096,
    ANSWER_BYTES = 8 << 20,
    DEPTH = 3
};

static const int64_t tenants[][3] = {{4, 4, 4}, {4, 7, 7}, {-9, 4, 5}};
static const uint32_t tenant_counts[] = {1, 2, 3};

/* ---- rows ---- */

static const char *const own_texts[] = {"/", "/cart", "/a%b",         "17",         "-3",
                                        "",  "a_b",   "/shirts/blue", "2026-01-05", "x'y"};
static const char *const other_texts[] = {MARK,        "ZZOTHER/cart", "/cartZZOTHER", "ZZOTHER17",
                                          "%ZZOTHER_", "ZZOTHER'",     "9ZZOTHER",     "ZZOTHER\\"};

static void make_rows(struct tl_random *r, struct fx_event *rows, uint32_t count, bool own,
                      const int64_t *merchants, uint32_t merchant_count)
{
    const char *const *texts = own ? own_texts : other_texts;
    uint64_t n =
        own ? sizeof(own_texts) / sizeof(*own_texts) : sizeof(other_texts) / sizeof(*other_texts);
    for (uint32_t i = 0; i < count; i++) {
        int64_t merchant = (int64_t)tl_random_below(r, 12) - 2;
        for (uint32_t k = 0; !own && k < merchant_count; k++)
            if (merchants[k] == merchant) {
                merchant = 100 + (int64_t)tl_random_below(r, 50);
                break;
            }
        if (own)
            merchant = merchants[tl_random_below(r, merchant_count)];
        /* Others' numbers are larger than any of the tenant's. */
        int64_t number = own ? (int64_t)tl_random_below(r, 1000)
                             : 700000000 + (int64_t)tl_random_below(r, 1000000);
        rows[i] = (struct fx_event){
            .merchant_id = merchant,
            .ts_us = T0 + (int64_t)tl_random_below(r, 40 * 96) * 900000000LL +
                     (int64_t)tl_random_below(r, 900) * 1000000,
            .event_name = tl_random_below(r, 9) ? texts[tl_random_below(r, n)] : NULL,
            .visitor_id = tl_random_below(r, 9) ? texts[tl_random_below(r, n)] : NULL,
            .path = tl_random_below(r, 5) ? texts[tl_random_below(r, n)] : NULL,
            .duration_ms = tl_random_below(r, 4) ? number : -1,
            .revenue = tl_random_below(r, 4) ? number * 10 : -1,
            .prop_key = tl_random_below(r, 3) ? (own                     ? "size"
                                                 : tl_random_below(r, 2) ? "size"
                                                                         : MARK)
                                              : NULL,
            .prop_value = texts[tl_random_below(r, n)],
            .event_id = NULL};
    }
}

/* ---- the two databases ---- */

struct world {
    struct tl_io_sim *sim;
    struct tally *db;
    uint64_t sequence;
};

static void open_world(struct world *w, uint64_t seed)
{
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_io_sim_new(seed, &w->sim, &st));
    struct tally_options options = {.io_door = tl_io_sim_io(w->sim),
                                    .memory_bytes = 64 << 20,
                                    .log_file_bytes = 256 << 10,
                                    .shards = 2,
                                    .query_threads = 1,
                                    .no_background = true};
    assert_ok(&st, tally_open("sim", &options, &w->db, &st));
}

static void close_world(struct world *w)
{
    tally_close(w->db);
    tl_io_free(tl_io_sim_io(w->sim));
}

/* The tenant's rows between others' rows, with flushes and merges where chance wants them. */
static void fill_world(struct world *w, struct tl_random *r, const struct fx_event *own,
                       uint32_t others, const int64_t *merchants, uint32_t merchant_count)
{
    struct tl_status st = TL_STATUS_INIT;
    struct fx_event rows[BATCH];
    uint32_t told = 0, left = others;
    while (told < ROWS || left > 0) {
        bool mine = told < ROWS && (left == 0 || tl_random_below(r, ROWS + others) < ROWS);
        uint32_t limit = mine ? ROWS - told : left;
        uint32_t n = 1 + (uint32_t)tl_random_below(r, limit < BATCH ? limit : BATCH);
        if (mine) {
            fx_append(w->db, "p", ++w->sequence, own + told, n);
            told += n;
        } else {
            make_rows(r, rows, n, false, merchants, merchant_count);
            fx_append(w->db, "p", ++w->sequence, rows, n);
            left -= n;
        }
        if (tl_random_below(r, 12) == 0)
            assert_ok(&st, tally_flush(w->db, &st));
        if (tl_random_below(r, 60) == 0)
            assert_ok(&st, tally_compact(w->db, NULL, NULL, &st));
    }
}

/* ---- statements ---- */

struct maker {
    struct tl_random *r;
    char *out;
    size_t size;
    bool rollup; /* FROM events_15m */
};

static void put(struct maker *m, const char *text)
{
    size_t n = strlen(text);
    if (m->size + n + 1 > TEXT_BYTES)
        return; /* cut: a syntax error is a statement too */
    memcpy(m->out + m->size, text, n + 1);
    m->size += n;
}

static uint64_t die(struct maker *m, uint64_t n)
{
    return tl_random_below(m->r, n);
}

#define PICK(m, list) put(m, (list)[die(m, sizeof(list) / sizeof(*(list)))])

static const char *const numbers[] = {"0",  "1",   "4",    "5",         "7",          "-1",
                                      "17", "500", "1000", "700000000", "1000000000", "NULL"};
static const char *const texts[] = {"'/'",   "'/cart'", "'ZZOTHER'", "''",   "'17'",
                                    "'a_b'", "'%'",     "'size'",    "NULL", "'%ZZOTHER%'"};
static const char *const times[] = {"'2026-01-01'", "'2026-01-05 12:00'", "'2026-02-01'",
                                    "'1970-01-01'", "'2030-01-01'"};

static void boolean(struct maker *m, int depth);

static void number(struct maker *m, int depth)
{
    static const char *const columns[] = {"merchant_id", "duration_ms", "revenue", "merchant_id"};
    static const char *const rollup[] = {"merchant_id", "events", "duration_ms", "revenue"};
    static const char *const operators[] = {" + ", " - ", " * ", " / ", " % "};
    switch (depth > 0 ? die(m, 9) : die(m, 2)) {
    case 0:
        PICK(m, numbers);
        break;
    case 1:
    case 2:
    case 3:
        put(m, m->rollup ? rollup[die(m, 4)] : columns[die(m, 4)]);
        break;
    case 4:
        put(m, "(");
        number(m, depth - 1);
        PICK(m, operators);
        number(m, depth - 1);
        put(m, ")");
        break;
    case 5:
        put(m, "CASE WHEN ");
        boolean(m, depth - 1);
        put(m, " THEN ");
        number(m, depth - 1);
        put(m, " ELSE ");
        number(m, depth - 1);
        put(m, " END");
        break;
    case 6:
        put(m, "coalesce(");
        number(m, depth - 1);
        put(m, ", ");
        number(m, depth - 1);
        put(m, ")");
        break;
    case 7:
        put(m, "extract(epoch FROM ");
        put(m, m->rollup ? "bucket)" : "ts)");
        break;
    default:
        put(m, m->rollup ? "length(event_name)" : die(m, 2) ? "length(path)" : "path::bigint");
        break;
    }
}

static void text(struct maker *m, int depth)
{
    static const char *const columns[] = {"path",          "visitor_id",       "event_name",
                                          "props['size']", "props['ZZOTHER']", "session_id"};
    switch (depth > 0 ? die(m, 7) : die(m, 2)) {
    case 0:
        PICK(m, texts);
        break;
    case 1:
    case 2:
    case 3:
        if (m->rollup)
            put(m, "event_name");
        else
            PICK(m, columns);
        break;
    case 4:
        put(m, "lower(");
        text(m, depth - 1);
        put(m, ")");
        break;
    case 5:
        put(m, "(");
        text(m, depth - 1);
        put(m, " || ");
        text(m, depth - 1);
        put(m, ")");
        break;
    default:
        put(m, "substr(");
        text(m, depth - 1);
        put(m, ", 1, 3)");
        break;
    }
}

static void boolean(struct maker *m, int depth)
{
    static const char *const compare[] = {
        " = ", " <> ", " < ", " <= ", " > ", " >= ", " IS DISTINCT FROM "};
    static const char *const fences[] = {
        "merchant_id IN (1, 2, 3, 4, 5, 6, 7)",
        "merchant_id NOT IN (4, 5)",
        "merchant_id <> 4",
        "merchant_id = 4 OR true",
        "NOT (merchant_id = 4)",
        "merchant_id IS NOT NULL",
        "merchant_id BETWEEN -100 AND 1000000",
        "merchant_id + 0 = 1",
        "coalesce(merchant_id, 1) = 1",
        "merchant_id::text LIKE '%'",
        "(merchant_id = 1) IS NOT TRUE",
        "CASE WHEN merchant_id = 4 THEN false ELSE true END",
        "merchant_id IN (SELECT x.merchant_id FROM events x)",
        "merchant_id NOT IN (SELECT x.merchant_id FROM events x WHERE x.merchant_id <> 4)",
        "EXISTS (SELECT 1 FROM events x WHERE x.merchant_id <> 4)",
        "EXISTS (SELECT 1 FROM events x WHERE x.path = event_name AND x.merchant_id <> 4)",
        "(SELECT count(*) FROM events x) > 1000",
        "(SELECT max(x.merchant_id) FROM events_15m x) > 50",
    };
    switch (depth > 0 ? die(m, 11) : 9 + die(m, 2)) {
    case 0:
    case 1:
        put(m, "(");
        boolean(m, depth - 1);
        put(m, die(m, 2) ? " AND " : " OR ");
        boolean(m, depth - 1);
        put(m, ")");
        break;
    case 2:
        put(m, "NOT (");
        boolean(m, depth - 1);
        put(m, ")");
        break;
    case 3:
    case 4:
        number(m, depth - 1);
        PICK(m, compare);
        number(m, depth - 1);
        break;
    case 5:
        text(m, depth - 1);
        PICK(m, compare);
        text(m, depth - 1);
        break;
    case 6:
        text(m, depth - 1);
        put(m, die(m, 2) ? " LIKE " : " ILIKE ");
        PICK(m, texts);
        break;
    case 7:
        put(m, m->rollup ? "bucket" : "ts");
        PICK(m, compare);
        PICK(m, times);
        break;
    case 8:
        text(m, depth - 1);
        put(m, " IS NULL");
        break;
    default:
        put(m, "(");
        PICK(m, fences);
        put(m, ")");
        break;
    }
}

static void aggregate(struct maker *m)
{
    static const char *const over_numbers[] = {
        "sum(", "min(", "max(", "avg(", "count(", "count(DISTINCT ", "approx_distinct("};
    static const char *const over_texts[] = {"min(", "max(", "count(", "count(DISTINCT ",
                                             "approx_distinct("};
    switch (die(m, 4)) {
    case 0:
        put(m, "count(*)");
        break;
    case 1:
        PICK(m, over_numbers);
        number(m, 2);
        put(m, ")");
        break;
    case 2:
        PICK(m, over_texts);
        text(m, 2);
        put(m, ")");
        break;
    default:
        put(m, "percentile_disc(0.5) WITHIN GROUP (ORDER BY ");
        number(m, 1);
        put(m, ")");
        break;
    }
    if (die(m, 4) == 0) {
        put(m, " FILTER (WHERE ");
        boolean(m, 2);
        put(m, ")");
    }
}

static void key(struct maker *m)
{
    if (die(m, 3) == 0)
        put(m, m->rollup ? "date_trunc('day', bucket)" : "time_bucket('6 hours', ts)");
    else if (die(m, 2))
        text(m, 1);
    else
        number(m, 1);
}

static void from_where(struct maker *m)
{
    m->rollup = die(m, 5) == 0;
    put(m, m->rollup ? " FROM events_15m" : " FROM events");
    if (die(m, 8)) {
        put(m, " WHERE ");
        boolean(m, DEPTH);
    }
}

/* The text of a statement into `sql`. Clauses are made first where others depend on them. */
static void make_statement(struct tl_random *r, char *sql)
{
    static const char *const others[] = {
        "SHOW TABLES",
        "SELECT count(*) FROM pg_class",
        "SELECT merchant_id FROM events GROUP BY merchant_id ORDER BY 1 LIMIT 1000",
        "SELECT max(merchant_id), min(merchant_id), count(DISTINCT merchant_id) FROM events",
        "SELECT max(merchant_id), min(bucket), sum(events) FROM events_15m",
        "SELECT DISTINCT path FROM events",
        "SELECT * FROM events WHERE merchant_id NOT IN (4) ORDER BY ts LIMIT 1000",
        "SELECT count(*) FROM (SELECT * FROM events) e WHERE e.merchant_id > 0",
        "SELECT count(*) FROM events WHERE ts > (SELECT max(ts) FROM events)",
        "SELECT * FROM nothing",
        "SELECT count(*), max(b.path) FROM events a JOIN events b ON a.path = b.path",
        ("SELECT a.k, b.n FROM (SELECT merchant_id AS k FROM events) a FULL JOIN (SELECT "
         "merchant_id "
         "AS n FROM events_15m) b ON a.k = b.n WHERE b.n IS NULL OR a.k IS NULL"),
        "SELECT path FROM events UNION SELECT event_name FROM events_15m",
        "SELECT path FROM events EXCEPT SELECT path FROM events WHERE merchant_id IN (4, 7, -9, 5)",
        "WITH w AS (SELECT * FROM events) SELECT count(*), max(merchant_id) FROM w, (SELECT 1) x",
        "SELECT merchant_id, count(*) FROM events GROUP BY ROLLUP (merchant_id)",
        "DROP MATERIALIZED VIEW events_15m",
        "CREATE TABLE t (merchant_id BIGINT NOT NULL, ts TIMESTAMPTZ NOT NULL)",
    };
    char tail[TEXT_BYTES];
    struct maker t = {.r = r, .out = tail}, m = {.r = r, .out = sql};
    tail[0] = sql[0] = '\0';
    if (die(&m, 40) == 0) {
        PICK(&m, others);
        return;
    }
    from_where(&t);
    m.rollup = t.rollup;
    uint64_t kind = die(&m, 10);
    if (kind == 0)
        put(&m, die(&m, 2) ? "EXPLAIN " : "EXPLAIN ANALYZE ");
    put(&m, kind == 1 ? "SELECT DISTINCT " : "SELECT ");
    if (die(&m, 2)) { /* groups */
        uint64_t keys = die(&m, 3);
        for (uint64_t i = 0; i < keys; i++) {
            key(&m);
            put(&m, ", ");
        }
        aggregate(&m);
        put(&m, ", ");
        aggregate(&m);
        put(&m, tail);
        if (keys)
            put(&m, keys == 1 ? " GROUP BY 1" : " GROUP BY 1, 2");
        if (keys && die(&m, 3) == 0)
            put(&m, " HAVING count(*) > 1");
        if (keys && die(&m, 2)) { /* an order that leaves nothing to chance */
            put(&m, keys == 1 ? " ORDER BY 1, 2, 3" : " ORDER BY 1, 2, 3, 4");
            if (die(&m, 2))
                put(&m, " LIMIT 7");
        }
        return;
    }
    number(&m, 2);
    put(&m, ", ");
    text(&m, 2);
    put(&m, m.rollup ? ", bucket" : ", ts");
    put(&m, tail);
    if (die(&m, 2)) {
        put(&m, " ORDER BY 1, 2, 3");
        if (die(&m, 2))
            put(&m, " LIMIT 20 OFFSET 3");
    }
}

/* ---- answers ---- */

struct answer {
    enum tl_code code;
    char sqlstate[6];
    char error[224];
    char *text; /* rows with their line ends */
    size_t size;
    char **lines;
    uint32_t line_count;
};

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_rows(struct answer *a, const struct tl_chunk *chunk, uint32_t columns,
                     struct tl_buffer *out)
{
    struct tl_status st = TL_STATUS_INIT;
    for (uint32_t i = 0; i < chunk->count; i++) {
        for (uint32_t c = 0; c < columns; c++) {
            assert_ok(&st, tally_value_print(&chunk->columns[c], i, "UTC", out, &st));
            tl_buffer_put_u8(out, tl_vector_valid(&chunk->columns[c], i) ? '|' : '~');
        }
        tl_buffer_put_u8(out, '\n');
        a->line_count++;
    }
}

/* Times of EXPLAIN ANALYZE are nobody's secret: their digits go. */
static void drop_times(char *text)
{
    char *to = text;
    bool in_time = false;
    for (char *p = text; *p; p++) {
        if (strncmp(p, "ime", 3) == 0)
            in_time = true;
        else if (*p == '|' || *p == '\n')
            in_time = false;
        if (!in_time || *p < '0' || *p > '9')
            *to++ = *p;
    }
    *to = '\0';
}

static void ask(struct world *w, const char *sql, const struct tally_session *session,
                struct answer *a)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally_statement *statement = NULL;
    struct tally_cursor *cursor = NULL;
    struct tl_buffer out;
    *a = (struct answer){.code = TL_OK};
    tl_buffer_init(&out, "answer", ANSWER_BYTES);
    if (!tally_prepare(w->db, tl_slice_str(sql), session, &statement, &st) &&
        !tally_bind(statement, NULL, 0, &cursor, &st)) {
        struct tl_chunk chunk = {0};
        uint32_t columns = tally_describe(statement)->output_count;
        while (!tally_step(cursor, &chunk, &st) && chunk.count > 0)
            add_rows(a, &chunk, columns, &out);
    }
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    a->code = st.code;
    snprintf(a->sqlstate, sizeof(a->sqlstate), "%s", tl_status_sqlstate(&st));
    snprintf(a->error, sizeof(a->error), "%s", st.text);
    tl_buffer_put_u8(&out, 0);
    assert_false(out.failed);
    a->text = (char *)out.data;
    a->size = out.size;
    if (strncmp(sql, "EXPLAIN ANALYZE", 15) == 0)
        drop_times(a->text);
    a->lines = calloc(a->line_count + 1, sizeof(*a->lines));
    char *p = a->text;
    for (uint32_t i = 0; i < a->line_count; i++) {
        a->lines[i] = p;
        p = strchr(p, '\n');
        *p++ = '\0';
    }
    if (!strstr(sql, "ORDER BY 1, ") && strncmp(sql, "EXPLAIN", 7) != 0)
        qsort(a->lines, a->line_count, sizeof(*a->lines), compare_lines);
}

static void free_answer(struct answer *a)
{
    free(a->lines);
    free(a->text);
}

/* The mark, where the statement itself did not write it. */
static bool shows_others(const struct answer *a, const char *sql)
{
    if (strstr(sql, MARK))
        return false;
    for (uint32_t i = 0; i < a->line_count; i++)
        if (strstr(a->lines[i], MARK))
            return true;
    return strstr(a->error, MARK) != NULL;
}

static void compare(const struct answer *a, const struct answer *b, const char *sql, uint64_t seed)
{
    if (shows_others(a, sql) || shows_others(b, sql))
        fail_msg("TALLY_TENANT_SEED=%llu: %s\n  shows another merchant's text: %s",
                 (unsigned long long)seed, sql, a->error);
    /* Of the tenant's bad values either may be met first: of errors of data the class is compared.
     */
    bool data = strncmp(a->sqlstate, "22", 2) == 0;
    if (a->code != b->code || strncmp(a->sqlstate, b->sqlstate, data ? 2 : 5) != 0)
        fail_msg("TALLY_TENANT_SEED=%llu: %s\n  %s: %s\n  %s: %s", (unsigned long long)seed, sql,
                 tl_code_name(a->code), a->error, tl_code_name(b->code), b->error);
    if (a->code)
        return; /* how far each came before it failed is chance */
    if (a->line_count != b->line_count)
        fail_msg("TALLY_TENANT_SEED=%llu: %s\n  %u rows and %u rows", (unsigned long long)seed, sql,
                 a->line_count, b->line_count);
    for (uint32_t i = 0; i < a->line_count; i++)
        if (strcmp(a->lines[i], b->lines[i]) != 0)
            fail_msg("TALLY_TENANT_SEED=%llu: %s\n  row %u: %s\n  row %u: %s",
                     (unsigned long long)seed, sql, i, a->lines[i], i, b->lines[i]);
}

/* ---- the tests ---- */

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 10) : otherwise;
}

static void run_pair(uint64_t seed, uint64_t statements, uint64_t *answered)
{
    struct tl_random r;
    struct world a = {.sequence = 0}, b = {.sequence = 0};
    struct fx_event *own = calloc(ROWS, sizeof(*own));
    char sql[TEXT_BYTES];
    tl_random_init(&r, seed);
    uint32_t who = (uint32_t)tl_random_below(&r, 3);
    make_rows(&r, own, ROWS, true, tenants[who], tenant_counts[who]);
    open_world(&a, seed);
    open_world(&b, seed + 1);
    /* One of the two may have no other merchant at all. */
    fill_world(&a, &r, own, OTHER_ROWS, tenants[who], tenant_counts[who]);
    fill_world(&b, &r, own, (uint32_t)tl_random_below(&r, 3) * 700, tenants[who],
               tenant_counts[who]);
    struct tally_session session = {.tenant = {true, tenant_counts[who], tenants[who]}};
    for (uint64_t i = 0; i < statements; i++) {
        struct answer of_a, of_b;
        make_statement(&r, sql);
        ask(&a, sql, &session, &of_a);
        ask(&b, sql, &session, &of_b);
        *answered += of_a.code == TL_OK;
        compare(&of_a, &of_b, sql, seed);
        free_answer(&of_a);
        free_answer(&of_b);
    }
    close_world(&a);
    close_world(&b);
    free(own);
}

static void others_never_change_an_answer(void **state)
{
    (void)state;
    uint64_t first = setting("TALLY_TENANT_SEED", 1), runs = setting("TALLY_TENANT_RUNS", 5);
    uint64_t statements = setting("TALLY_TENANT_STATEMENTS", 2000), answered = 0;
    for (uint64_t i = 0; i < runs; i++)
        run_pair(first + i, statements, &answered);
    print_message("%llu statements, %llu answered with rows, the others refused alike\n",
                  (unsigned long long)(runs * statements), (unsigned long long)answered);
    assert_true(answered > runs * statements / 3); /* else it tries little */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(others_never_change_an_answer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
