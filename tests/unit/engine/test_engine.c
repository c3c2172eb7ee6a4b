/* Promise: what a collector sends is durable, visible at once, stored once, and answered the same
 * from memtables, level 0 and partitions, and after a restart.
 * Method: a database on the simulated disk, small batches, SQL. */
#include "tests/test.h"

#include <stdlib.h>

#include "storage/io.h"
#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0 1767225600000000LL /* 2026-01-01 00:00:00 UTC */

struct fixture {
    struct tl_io *io;
    struct tally *db;
};

static void open_db(struct fixture *f)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally_options options = {.io_door = f->io,
                                    .memory_bytes = 64 << 20,
                                    .log_file_bytes = 1 << 20,
                                    .shards = 4,
                                    .query_threads = 1,
                                    .no_background = true};
    assert_ok(&st, tally_open("sim", &options, &f->db, &st));
}

static void reopen(struct fixture *f)
{
    tally_close(f->db);
    open_db(f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim;
    assert_ok(&st, tl_io_sim_new(7, &sim, &st));
    f->io = tl_io_sim_io(sim);
    open_db(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tally_close(f->db);
    tl_io_free(f->io);
    free(f);
    return 0;
}

static void make_rows(struct fx_event *rows, uint32_t count, uint32_t from)
{
    static const char *const names[] = {"pageview", "add_to_cart", "purchase", NULL};
    static const char *const paths[] = {"/", "/shirts", "/shirts/blue", "/cart", "/checkout"};
    static const char *const visitors[] = {"v1", "v2", "v3", "v4", "v5", "v6", "v7"};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = from + i;
        rows[i] = (struct fx_event){.merchant_id = 1 + n % 5,
                                    .ts_us = T0 + (int64_t)n * 1000000,
                                    .event_name = names[n % 4],
                                    .visitor_id = visitors[n % 7],
                                    .path = paths[n % 5],
                                    .duration_ms = n % 3 ? (int64_t)n : -1,
                                    .revenue = n % 4 == 2 ? (int64_t)n * 100 : -1};
    }
}

static const char *const questions[] = {
    "SELECT count(*) FROM events",
    "SELECT merchant_id, count(*), count(event_name), count(DISTINCT visitor_id), sum(revenue), "
    "min(duration_ms), max(ts) FROM events GROUP BY merchant_id ORDER BY merchant_id",
    "SELECT path, count(*) FROM events WHERE merchant_id = 3 AND event_name = 'pageview' GROUP BY "
    "path ORDER BY 2 DESC, 1",
    "SELECT date_trunc('minute', ts) AS m, count(*) FROM events WHERE ts >= "
    "'2026-01-01 00:01:00Z' AND ts < '2026-01-01 00:03:00Z' GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM events WHERE path LIKE '%shirt%' AND merchant_id IN (1, 2)",
};

static void answers_stay_the_same_wherever_rows_lie(void **state)
{
    struct fixture *f = *state;
    char expected[5][4096];
    char got[4096];
    struct fx_event rows[500];
    struct tl_status st = TL_STATUS_INIT;
    for (uint32_t b = 0; b < 4; b++) {
        make_rows(rows, 500, b * 500);
        fx_append(f->db, "p", b + 1, rows, 500);
    }
    assert_int_equal(fx_number(f->db, questions[0]), 2000);
    for (int i = 0; i < 5; i++)
        fx_query(f->db, questions[i], expected[i], sizeof(expected[i]));
    for (int stage = 0; stage < 5; stage++) {
        if (stage == 0)
            reopen(f); /* from the log */
        else if (stage == 1)
            assert_ok(&st, tally_flush(f->db, &st)); /* level 0 */
        else if (stage == 2 || stage == 4)
            reopen(f); /* from the manifest */
        else
            assert_ok(&st, tally_compact(f->db, NULL, NULL, &st)); /* partitions */
        for (int i = 0; i < 5; i++) {
            fx_query(f->db, questions[i], got, sizeof(got));
            if (strcmp(got, expected[i]) != 0)
                fail_msg("stage %d, %s:\n  was %s\n  is  %s", stage, questions[i], expected[i],
                         got);
        }
    }
    struct tl_buffer report;
    tl_buffer_init(&report, "report", 1 << 20);
    assert_ok(&st, tally_verify(f->db, NULL, NULL, &report, &st));
    assert_ok(&st, tally_inspect(f->db, NULL, &report, &st));
    assert_ok(&st, tally_status(f->db, &report, &st));
    tally_metrics(f->db, &report);
    tl_buffer_deinit(&report);
}

static void a_retry_is_stored_once(void **state)
{
    struct fixture *f = *state;
    struct fx_event rows[10];
    struct tl_status st = TL_STATUS_INIT;
    make_rows(rows, 10, 0);
    fx_append(f->db, "collector-1", 5, rows, 10);
    fx_append(f->db, "collector-1", 5, rows, 10);
    fx_append(f->db, "collector-2", 5, rows, 10);
    assert_int_equal(fx_number(f->db, questions[0]), 20);
    reopen(f);
    fx_append(f->db, "collector-1", 5, rows, 10);
    assert_ok(&st, tally_flush(f->db, &st));
    reopen(f);
    fx_append(f->db, "collector-2", 5, rows, 10);
    fx_append(f->db, "collector-1", 4, rows, 10); /* older, never seen */
    assert_int_equal(fx_number(f->db, questions[0]), 30);
    fx_append(f->db, "collector-1", 5000, rows, 10);
    struct tl_buffer body;
    tl_buffer_init(&body, "body", 1 << 20);
    fx_batch(&body, "events", rows, 10, true);
    struct tally_batch old = {
        .producer = tl_slice_str("collector-1"), .sequence = 6, .body = tl_buffer_slice(&body)};
    assert_code(&st, TL_TOO_OLD, tally_append_wait(f->db, &old, NULL, &st));
    tl_buffer_deinit(&body);
    assert_int_equal(fx_number(f->db, questions[0]), 40);
}

static void bad_rows_are_refused_and_the_others_go_on(void **state)
{
    struct fixture *f = *state;
    struct fx_event rows[4];
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer body;
    uint32_t refused = 0;
    make_rows(rows, 4, 0);
    rows[1].path = "\xff\xfe";
    rows[2].revenue = 1000000000000000000LL; /* 19 digits */
    tl_buffer_init(&body, "body", 1 << 20);
    fx_batch(&body, "events", rows, 4, false);
    struct tally_batch batch = {
        .producer = tl_slice_str("p"), .sequence = 1, .body = tl_buffer_slice(&body)};
    assert_ok(&st, tally_append_wait(f->db, &batch, &refused, &st));
    assert_int_equal(refused, 2);
    assert_int_equal(fx_number(f->db, questions[0]), 2);
    reopen(f);
    assert_int_equal(fx_number(f->db, questions[0]), 2);
    /* far in the future, without the import flag: every row is refused, the batch is taken */
    for (int i = 0; i < 4; i++)
        rows[i].ts_us = 9000000000000000LL;
    tl_buffer_clear(&body);
    fx_batch(&body, "events", rows, 4, false);
    batch.body = tl_buffer_slice(&body);
    batch.sequence = 2;
    assert_ok(&st, tally_append_wait(f->db, &batch, &refused, &st));
    assert_int_equal(refused, 4);
    /* a malformed batch is refused whole */
    batch.body.size -= 3;
    batch.sequence = 3;
    assert_code(&st, TL_INVALID, tally_append_wait(f->db, &batch, &refused, &st));
    tl_buffer_clear(&body);
    fx_batch(&body, "nowhere", rows, 4, false);
    batch.body = tl_buffer_slice(&body);
    assert_code(&st, TL_NOT_FOUND, tally_append_wait(f->db, &batch, &refused, &st));
    assert_int_equal(fx_number(f->db, questions[0]), 2);
    tl_buffer_deinit(&body);
}

static void tables_and_columns_are_added_while_rows_come(void **state)
{
    struct fixture *f = *state;
    struct fx_event rows[20];
    struct tl_status st = TL_STATUS_INIT;
    char got[256];
    make_rows(rows, 20, 0);
    fx_append(f->db, "p", 1, rows, 20);
    fx_query(f->db,
             "CREATE TABLE clicks (merchant_id BIGINT NOT NULL, ts TIMESTAMPTZ NOT NULL, "
             "event_name TEXT, visitor_id TEXT, path TEXT, duration_ms BIGINT, revenue "
             "DECIMAL(18,4))",
             got, sizeof(got));
    assert_code(
        &st, TL_EXISTS,
        fx_query_fails(f->db,
                       "CREATE TABLE clicks (merchant_id BIGINT NOT NULL, ts TIMESTAMPTZ NOT NULL)",
                       &st));
    struct tl_buffer body;
    tl_buffer_init(&body, "body", 1 << 20);
    fx_batch(&body, "clicks", rows, 20, true);
    struct tally_batch batch = {.body = tl_buffer_slice(&body), .import = true};
    assert_ok(&st, tally_append_wait(f->db, &batch, NULL, &st));
    tl_buffer_deinit(&body);
    fx_query(f->db, "ALTER TABLE clicks ADD COLUMN note TEXT", got, sizeof(got));
    assert_int_equal(fx_number(f->db, "SELECT count(*) FROM clicks WHERE note IS NULL"), 20);
    reopen(f);
    assert_int_equal(fx_number(f->db, "SELECT count(*) FROM clicks WHERE note IS NULL"), 20);
    assert_ok(&st, tally_flush(f->db, &st));
    assert_int_equal(fx_number(f->db, "SELECT count(note) FROM clicks"), 0);
    reopen(f);
    assert_int_equal(fx_number(f->db, "SELECT count(*) FROM clicks WHERE note IS NULL"), 20);
    assert_int_equal(fx_number(f->db, "SELECT count(*) FROM events"), 20);
}

static void props_are_read_by_key(void **state)
{
    struct fixture *f = *state;
    struct fx_event rows[6];
    struct tl_status st = TL_STATUS_INIT;
    char got[256];
    make_rows(rows, 6, 0);
    rows[0].prop_key = rows[3].prop_key = "plan";
    rows[0].prop_value = "gold";
    rows[3].prop_value = "silver";
    rows[4].prop_key = "size";
    rows[4].prop_value = "";
    fx_append(f->db, "p", 1, rows, 6);
    const char *sql = "SELECT props['plan'], props['size'], count(*) FROM events GROUP BY 1, 2 "
                      "ORDER BY 3, 1, 2";
    for (int stage = 0; stage < 3; stage++) {
        if (stage == 1)
            assert_ok(&st, tally_flush(f->db, &st));
        if (stage == 2)
            assert_ok(&st, tally_compact(f->db, NULL, NULL, &st));
        fx_query(f->db, sql, got, sizeof(got));
        assert_string_equal(got, "gold||1;silver||1;||1;||3");
    }
}

static void a_second_process_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tl_status st = TL_STATUS_INIT;
    struct tally *other = NULL;
    struct tally_options options = {.io_door = f->io, .memory_bytes = 64 << 20};
    assert_code(&st, TL_BUSY, tally_open("sim", &options, &other, &st));
}

static void a_merchants_session_sees_that_merchant_alone(void **state)
{
    struct fixture *f = *state;
    struct fx_event rows[50];
    struct tl_status st = TL_STATUS_INIT;
    make_rows(rows, 50, 0);
    fx_append(f->db, "p", 1, rows, 50);
    static const int64_t two[] = {2};
    struct tally_session session = {.tenant = {true, 1, two}};
    static const char *const sql[] = {
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM events WHERE merchant_id = 1 OR merchant_id <> 1",
        "SELECT count(*) FROM events WHERE merchant_id IN (1, 2, 3)",
        "SELECT count(*) FROM events WHERE merchant_id = 1",
    };
    static const int64_t expected[] = {10, 10, 10, 0};
    for (int stage = 0; stage < 2; stage++) {
        for (int i = 0; i < 4; i++) {
            struct tally_statement *statement;
            struct tally_cursor *cursor;
            struct tl_chunk chunk;
            assert_ok(&st, tally_prepare(f->db, tl_slice_str(sql[i]), &session, &statement, &st));
            assert_ok(&st, tally_bind(statement, NULL, 0, &cursor, &st));
            assert_ok(&st, tally_step(cursor, &chunk, &st));
            assert_int_equal(chunk.count, 1);
            assert_int_equal(*(const int64_t *)chunk.columns[0].data, expected[i]);
            tally_cursor_close(cursor);
            tally_statement_close(statement);
        }
        assert_ok(&st, tally_flush(f->db, &st));
    }
}

/* How many of all events a session sees. */
static int64_t count_for(struct fixture *f, const struct tally_session *session, const char *sql)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally_statement *statement;
    struct tally_cursor *cursor;
    struct tl_chunk chunk;
    assert_ok(&st, tally_prepare(f->db, tl_slice_str(sql), session, &statement, &st));
    assert_ok(&st, tally_bind(statement, NULL, 0, &cursor, &st));
    assert_ok(&st, tally_step(cursor, &chunk, &st));
    assert_int_equal(chunk.count, 1);
    int64_t n = *(const int64_t *)chunk.columns[0].data;
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    return n;
}

static void a_tenant_of_several_merchants_sees_and_writes_these(void **state)
{
    struct fixture *f = *state;
    struct fx_event rows[50]; /* ten of each of the merchants 1 … 5 */
    struct tl_status st = TL_STATUS_INIT;
    make_rows(rows, 50, 0);
    static const int64_t some[] = {-7, 1, 4, 9};
    struct tl_buffer body;
    uint32_t refused = 0;
    tl_buffer_init(&body, "body", 1 << 20);
    fx_batch(&body, "events", rows, 50, true);
    struct tally_batch batch = {.producer = tl_slice_str("p"),
                                .sequence = 1,
                                .body = tl_slice_of(body.data, body.size),
                                .tenant = {true, 4, some}};
    assert_ok(&st, tally_append_wait(f->db, &batch, &refused, &st));
    assert_int_equal(refused, 30);
    batch.sequence = 2;
    batch.tenant = (struct tally_tenant){.bounded = true};
    assert_ok(&st, tally_append_wait(f->db, &batch, &refused, &st));
    assert_int_equal(refused, 50);
    batch.sequence = 3;
    batch.tenant = (struct tally_tenant){.bounded = false};
    assert_ok(&st, tally_append_wait(f->db, &batch, &refused, &st));
    assert_int_equal(refused, 0);
    tl_buffer_deinit(&body);

    const struct tally_session everybody = {.time_zone = NULL},
                               nobody = {.tenant = {.bounded = true}},
                               few = {.tenant = {true, 4, some}};
    for (int stage = 0; stage < 3; stage++) {
        assert_int_equal(count_for(f, &everybody, "SELECT count(*) FROM events"), 70);
        assert_int_equal(count_for(f, &nobody, "SELECT count(*) FROM events"), 0);
        assert_int_equal(count_for(f, &few, "SELECT count(*) FROM events"), 40);
        assert_int_equal(
            count_for(f, &few, "SELECT count(*) FROM events WHERE merchant_id IN (0, 1, 2)"), 20);
        assert_int_equal(count_for(f, &few, "SELECT sum(events)::bigint FROM events_15m"), 40);
        if (stage == 0)
            assert_ok(&st, tally_flush(f->db, &st));
        else
            reopen(f);
    }
    struct tally_statement *statement;
    struct tally_cursor *cursor;
    assert_ok(&st, tally_prepare(f->db, tl_slice_str("ALTER TABLE events ADD COLUMN x BIGINT"),
                                 &few, &statement, &st));
    assert_code(&st, TL_INVALID, tally_bind(statement, NULL, 0, &cursor, &st));
    tally_statement_close(statement);
    struct tally_session wide = {.tenant = {true, TALLY_TENANT_MERCHANTS_MAX + 1, some}};
    assert_code(&st, TL_LIMIT,
                tally_prepare(f->db, tl_slice_str("SELECT 1"), &wide, &statement, &st));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_stay_the_same_wherever_rows_lie, setup, teardown),
        cmocka_unit_test_setup_teardown(a_retry_is_stored_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tenant_of_several_merchants_sees_and_writes_these, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bad_rows_are_refused_and_the_others_go_on, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_and_columns_are_added_while_rows_come, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(props_are_read_by_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_process_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_merchants_session_sees_that_merchant_alone, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
