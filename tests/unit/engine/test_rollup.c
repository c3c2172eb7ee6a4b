/* Promise: a rollup is what GROUP BY over its table would answer, at any moment: whether rows lie
 * in memory, in flushes or in merged segments, whether the view was there before the rows or came
 * later, with late rows, equal times and NULLs, after restarts and crashes, for one merchant and
 * for all, for any range of time.
 * Method: random operations from a printed seed on a simulated disk; after each few, the same
 * question is asked of the view and of the table, and the answers are compared as text.
 *
 * TALLY_MODEL_SEED=n repeats one; TALLY_MODEL_RUNS=k runs k seeds; TALLY_MODEL_OPS=n operations
 * each. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0 1767225600000000LL

enum { MERCHANTS = 8, BATCH_MAX = 400, VISITORS = 60, TEXT_MAX = 1 << 20 };

struct world {
    struct tl_random random;
    struct tl_io_sim *sim;
    struct tally *db;
    uint64_t sequence;
    uint64_t rows;
    bool view; /* `mine` exists */
    char *got, *expected;
};

static char visitor_names[VISITORS][24];
static const char *const event_names[] = {"pageview", "click", "purchase", NULL};
static const char *const paths[] = {"/", "/a", "/b/c", NULL, "/d"};

static void open_db(struct world *w)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally_options options = {.io_door = tl_io_sim_io(w->sim),
                                    .memory_bytes = 64 << 20,
                                    .log_file_bytes = 256 << 10,
                                    .shards = 4,
                                    .query_threads = 1,
                                    .seal_rows = 2500};
    assert_ok(&st, tally_open("sim", &options, &w->db, &st));
}

static uint64_t below(struct world *w, uint64_t n)
{
    return tl_random_below(&w->random, n);
}

/* Large merchants have many rows in each quarter of an hour, small ones a few. */
static void append(struct world *w)
{
    uint32_t n = 1 + (uint32_t)below(w, BATCH_MAX);
    struct fx_event rows[BATCH_MAX];
    for (uint32_t i = 0; i < n; i++) {
        int64_t merchant = (int64_t)below(w, below(w, MERCHANTS) + 1) - 1;
        int64_t span = merchant <= 1 ? 4 : 3000; /* hours */
        int64_t second = (int64_t)below(w, (uint64_t)span * 3600);
        second = below(w, 3) ? second : second / 900 * 900; /* on the edge; and equal times */
        rows[i] = (struct fx_event){
            .merchant_id = merchant,
            .ts_us = T0 + second * 1000000 + (below(w, 2) ? 0 : (int64_t)below(w, 1000000)),
            .event_name = event_names[below(w, 8) < 5 ? 0 : below(w, 4)],
            .visitor_id = below(w, 10) ? visitor_names[below(w, below(w, VISITORS) + 1)] : NULL,
            .path = paths[below(w, 5)],
            .duration_ms = below(w, 4) ? (int64_t)below(w, 5000) : -1,
            .revenue = below(w, 5) ? -1 : (int64_t)below(w, 1000000000)};
    }
    fx_append(w->db, "rollup", ++w->sequence, rows, n);
    w->rows += n;
}

#define MINE                                                                                       \
    "time_bucket('15 minutes', ts) AS bucket, merchant_id, path, event_name, count(*) AS n, "      \
    "count(visitor_id) AS v, sum(duration_ms) AS s, avg(duration_ms) AS a, min(duration_ms) AS "   \
    "lo, max(revenue) AS hi, count(DISTINCT visitor_id) AS d, approx_distinct(visitor_id) AS ad, " \
    "approx_percentile(duration_ms, 0.9) AS p, sum(revenue) AS r, avg(revenue) AS ar, "            \
    "max(ts) AS last, approx_distinct(duration_ms) AS dd"

static void create_view(struct world *w)
{
    char got[64];
    if (w->view)
        fx_query(w->db, "DROP MATERIALIZED VIEW mine", got, sizeof(got));
    else
        fx_query(w->db,
                 "CREATE MATERIALIZED VIEW mine WITH (tally.rollup) AS SELECT " MINE
                 " FROM events GROUP BY 1, 2, 3, 4",
                 got, sizeof(got));
    w->view = !w->view;
}

static void compare(struct world *w, const char *of_view, const char *of_table)
{
    fx_query(w->db, of_view, w->got, TEXT_MAX);
    fx_query(w->db, of_table, w->expected, TEXT_MAX);
    if (strcmp(w->got, w->expected) == 0)
        return;
    size_t at = 0;
    while (w->got[at] == w->expected[at])
        at++;
    at = at > 100 ? at - 100 : 0;
    fail_msg("%s\nexpected … %.300s\ngot      … %.300s", of_view, w->expected + at, w->got + at);
}

/* A condition on bucket or ts, the same in meaning, and one on merchants. */
static void make_where(struct world *w, char *view, char *table, size_t size)
{
    char merchants[80] = "";
    int64_t from = T0 / 1000000 + (int64_t)below(w, 40) * 450 - 900;
    int64_t to = from + (int64_t)below(w, 30) * 450;
    uint64_t kind = below(w, 4);
    if (kind == 1)
        snprintf(merchants, sizeof(merchants), " AND merchant_id = %d",
                 (int)below(w, MERCHANTS) - 1);
    else if (kind == 2)
        snprintf(merchants, sizeof(merchants), " AND merchant_id IN (0, 3, %d)",
                 (int)below(w, MERCHANTS));
    if (below(w, 2)) {
        snprintf(view, size, "true%s", merchants);
        snprintf(table, size, "true%s", merchants);
        return;
    }
    snprintf(view, size, "bucket >= to_timestamp(%lld) AND bucket < to_timestamp(%lld)%s",
             (long long)from, (long long)to, merchants);
    snprintf(table, size,
             "time_bucket('15 minutes', ts) >= to_timestamp(%lld) AND time_bucket('15 minutes', "
             "ts) < to_timestamp(%lld)%s",
             (long long)from, (long long)to, merchants);
}

static void check(struct world *w)
{
    char view[400];
    char table[400];
    char of_view[1600];
    char of_table[1600];
    make_where(w, view, table, sizeof(view));
    snprintf(of_view, sizeof(of_view),
             "SELECT bucket, merchant_id, event_name, events, visitors, sessions, revenue, "
             "duration_ms FROM events_15m WHERE %s ORDER BY 1, 2, 3 LIMIT 5000",
             view);
    snprintf(of_table, sizeof(of_table),
             "SELECT time_bucket('15 minutes', ts), merchant_id, event_name, count(*), "
             "count(DISTINCT visitor_id), count(DISTINCT session_id), sum(revenue), "
             "sum(duration_ms) FROM events WHERE %s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 5000",
             table);
    compare(w, of_view, of_table);
    snprintf(of_view, sizeof(of_view),
             "SELECT sum(events), count(DISTINCT bucket) FROM events_15m WHERE %s", view);
    snprintf(of_table, sizeof(of_table),
             "SELECT nullif(count(*), 0), count(DISTINCT time_bucket('15 minutes', ts)) "
             "FROM events WHERE %s",
             table);
    compare(w, of_view, of_table);
    if (!w->view)
        return;
    snprintf(of_view, sizeof(of_view),
             "SELECT bucket, merchant_id, path, event_name, n, v, s, a, lo, hi, d, ad, p, r, ar, "
             "last, dd FROM mine WHERE %s ORDER BY 1, 2, 3, 4 LIMIT 3000",
             view);
    snprintf(of_table, sizeof(of_table),
             "SELECT " MINE " FROM events WHERE %s GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 "
             "LIMIT 3000",
             table);
    compare(w, of_view, of_table);
}

static void verify(struct world *w)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer report;
    tl_buffer_init(&report, "report", 1 << 20);
    assert_ok(&st, tally_verify(w->db, NULL, NULL, &report, &st));
    tl_buffer_deinit(&report);
}

static void run_seed(uint64_t seed, uint64_t operations)
{
    struct tl_status st = TL_STATUS_INIT;
    struct world w = {.rows = 0};
    print_message("TALLY_MODEL_SEED=%llu\n", (unsigned long long)seed);
    tl_random_init(&w.random, seed);
    w.got = malloc(TEXT_MAX);
    w.expected = malloc(TEXT_MAX);
    assert_ok(&st, tl_io_sim_new(seed, &w.sim, &st));
    open_db(&w);
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t die = below(&w, 100);
        if (die < 50) {
            append(&w);
        } else if (die < 72) {
            check(&w);
        } else if (die < 80) {
            assert_ok(&st, tally_flush(w.db, &st));
        } else if (die < 86) {
            assert_ok(&st, tally_compact(w.db, NULL, NULL, &st));
        } else if (die < 91) {
            create_view(&w);
        } else if (die < 95) {
            tally_close(w.db);
            open_db(&w);
        } else {
            tally_close(w.db);
            tl_io_sim_reboot(w.sim); /* everything was acknowledged: nothing may be lost */
            open_db(&w);
        }
    }
    check(&w);
    assert_ok(&st, tally_compact(w.db, NULL, NULL, &st));
    check(&w);
    verify(&w);
    tally_close(w.db);
    tl_io_free(tl_io_sim_io(w.sim));
    free(w.got);
    free(w.expected);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 10) : otherwise;
}

static void views_answer_as_their_table_does(void **state)
{
    (void)state;
    for (int i = 0; i < VISITORS; i++)
        snprintf(visitor_names[i], sizeof(visitor_names[i]), "visitor-%d", i * i);
    uint64_t first = setting("TALLY_MODEL_SEED", 1);
    uint64_t runs = setting("TALLY_MODEL_RUNS", 4);
    for (uint64_t i = 0; i < runs; i++)
        run_seed(first + i, setting("TALLY_MODEL_OPS", 150));
}

/* Large merchants are answered from stored rows, and it can be seen. */
static void stored_rows_are_used_and_shown(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct world w = {.rows = 0};
    char *text = malloc(TEXT_MAX);
    tl_random_init(&w.random, 5);
    assert_ok(&st, tl_io_sim_new(5, &w.sim, &st));
    open_db(&w);
    for (int i = 0; i < 20; i++)
        append(&w);
    assert_ok(&st, tally_compact(w.db, NULL, NULL, &st));
    fx_query(w.db, "EXPLAIN ANALYZE SELECT * FROM events_15m WHERE merchant_id = 0", text,
             TEXT_MAX);
    const char *at = strstr(text, "Rollup rows: ");
    assert_non_null(at);
    assert_true(at[13] >= '1' && at[13] <= '9');
    assert_non_null(strstr(at, "raw rows: 0"));
    create_view(&w); /* over rows that are there */
    struct tl_buffer json;
    tl_buffer_init(&json, "json", 8 << 20);
    assert_ok(&st, tally_compact(w.db, NULL, NULL, &st));
    assert_ok(&st, tally_inspect(w.db, NULL, &json, &st));
    tl_buffer_put_u8(&json, 0);
    assert_non_null(strstr((char *)json.data, "\"rollup\":{"));
    assert_non_null(strstr((char *)json.data, "events_15m"));
    tl_buffer_deinit(&json);
    tally_close(w.db);
    tl_io_free(tl_io_sim_io(w.sim));
    free(text);
}

static void wrong_views_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *sqlstate;
    } cases[] = {
#define V "CREATE MATERIALIZED VIEW v WITH (tally.rollup) AS SELECT "
#define B "time_bucket('15 minutes', ts) AS bucket, merchant_id"
        {"CREATE MATERIALIZED VIEW v AS SELECT " B ", count(*) FROM events GROUP BY 1, 2", "0A000"},
        {"CREATE MATERIALIZED VIEW v WITH (fillfactor = 3) AS SELECT 1", "22023"},
        {V "time_bucket('1 hour', ts) AS b, merchant_id, count(*) FROM events GROUP BY 1, 2",
         "0A000"},
        {V "merchant_id, count(*) FROM events GROUP BY 1", "42P16"},
        {V "time_bucket('15 minutes', ts) AS b, count(*) FROM events GROUP BY 1", "42P16"},
        {V B " FROM events GROUP BY 1, 2", "42P16"},
        {V B ", lower(path) AS p, count(*) FROM events GROUP BY 1, 2, 3", "0A000"},
        {V B ", count(*) + 1 AS p FROM events GROUP BY 1, 2", "0A000"},
        {V B ", sum(duration_ms * 2) AS p FROM events GROUP BY 1, 2", "0A000"},
        {V B ", count(*) FROM events WHERE path = '/' GROUP BY 1, 2", "0A000"},
        {V B ", count(*) FILTER (WHERE path = '/') FROM events GROUP BY 1, 2", "0A000"},
        {V B ", count(*) FROM events GROUP BY 1, 2 ORDER BY 1", "0A000"},
        {V B ", percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) FROM events GROUP BY 1, 2",
         "0A000"},
        {V B ", count(DISTINCT duration_ms) FROM events GROUP BY 1, 2", "0A000"},
        {V B ", count(*) AS merchant_id FROM events GROUP BY 1, 2", "42701"},
        {V B ", count(*) FROM events GROUP BY 1, 2, path", "42P16"},
        {V "time_bucket('15 minutes', bucket) AS b, merchant_id, sum(events) FROM events_15m GROUP "
           "BY 1, 2",
         "0A000"},
        {"CREATE MATERIALIZED VIEW events WITH (tally.rollup) AS SELECT " B
         ", count(*) FROM events GROUP BY 1, 2",
         "42P07"},
        {"CREATE MATERIALIZED VIEW events_15m WITH (tally.rollup) AS SELECT " B
         ", count(*) FROM events GROUP BY 1, 2",
         "42P07"},
        {"CREATE TABLE events_15m (merchant_id BIGINT NOT NULL, ts TIMESTAMPTZ NOT NULL)", "42P07"},
        {"ALTER TABLE events_15m ADD COLUMN x BIGINT", "42809"},
        {"DROP MATERIALIZED VIEW nothing", "42P01"},
        {"REFRESH MATERIALIZED VIEW nothing", "42P01"},
        {"REFRESH MATERIALIZED VIEW other.events_15m", "42P01"},
        {"REFRESH MATERIALIZED VIEW events", "42809"},
        {"REFRESH MATERIALIZED VIEW events_15m WITH NO DATA", "0A000"},
        {"DROP MATERIALIZED VIEW events", "42809"},
        {"DROP TABLE events", "0A000"},
#undef V
#undef B
    };
    struct tl_status st = TL_STATUS_INIT;
    struct world w = {.rows = 0};
    char got[64];
    assert_ok(&st, tl_io_sim_new(6, &w.sim, &st));
    open_db(&w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tl_status_clear(&st);
        assert_int_not_equal(fx_query_fails(w.db, cases[i].sql, &st), TL_OK);
        if (strcmp(st.sqlstate, cases[i].sqlstate) != 0)
            fail_msg("%s\n  %s: %s", cases[i].sql, st.sqlstate, st.text);
    }
    fx_query(w.db, "DROP MATERIALIZED VIEW IF EXISTS nothing", got, sizeof(got));
    fx_query(w.db,
             "CREATE MATERIALIZED VIEW IF NOT EXISTS events_15m WITH (tally.rollup) AS SELECT "
             "time_bucket('15 minutes', ts) AS b, merchant_id, count(*) FROM events GROUP BY 1, 2",
             got, sizeof(got));
    fx_query(w.db, "REFRESH MATERIALIZED VIEW events_15m", got, sizeof(got));
    fx_query(w.db, "REFRESH MATERIALIZED VIEW CONCURRENTLY public.events_15m", got, sizeof(got));
    assert_int_equal(fx_number(w.db, "SELECT count(visitors) FROM events_15m"), 0);
    tally_close(w.db);
    tl_io_free(tl_io_sim_io(w.sim));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(views_answer_as_their_table_does),
                                       cmocka_unit_test(stored_rows_are_used_and_shown),
                                       cmocka_unit_test(wrong_views_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
