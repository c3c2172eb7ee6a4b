/*
 * Promise: joins, subplans, WITH and set operations answer, or fail with the limit that is met, in
 * any budget; they give all memory back, end when they are cancelled, and nothing that can be
 * written makes the planner recurse without end.
 * Method: statements over generate_series, run with budgets from 4 KiB on, doubled until they
 * pass; counts are known by arithmetic.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "query/exec.h"
#include "tests/test.h"
#include "tests/unit/query/fake_catalog.h"

static const struct {
    const char *sql;
    int64_t answer;
} counts[] = {
    {"SELECT count(*) FROM generate_series(1, 30000) a(x) JOIN generate_series(1, 20000) b(x) "
     "USING (x)",
     20000},
    {"SELECT count(*) FROM generate_series(1, 3000) a(x) LEFT JOIN generate_series(1, 2000) b(x) "
     "ON a.x = b.x",
     3000},
    {"SELECT count(*) FROM generate_series(1, 3000) a(x) FULL JOIN generate_series(2001, 5000) "
     "b(x) USING (x)",
     5000},
    {"SELECT count(*) FROM generate_series(1, 300) a(x), generate_series(1, 200) b(y)", 60000},
    {"SELECT count(*) FROM generate_series(1, 300) a(x) JOIN generate_series(1, 200) b(y) ON x < y",
     19900},
    {"SELECT count(*) FROM generate_series(1, 9000) a(x) WHERE x::text IN (SELECT (2 * y)::text "
     "FROM generate_series(1, 9000) b(y))",
     4500},
    {"SELECT count(*) FROM generate_series(1, 9000) a(x) WHERE NOT EXISTS (SELECT 1 FROM "
     "generate_series(1, 9000) b(y) WHERE 2 * y = x AND y > 10)",
     4510},
    {"SELECT count(*) FROM generate_series(1, 300) a(x), LATERAL generate_series(1, x % 10) b",
     1350},
    {"SELECT sum(n)::bigint FROM (SELECT (SELECT count(*) FROM generate_series(1, 50) b(y) WHERE y "
     "< "
     "x) AS n FROM generate_series(1, 100) a(x)) q",
     3725},
    {"WITH w AS (SELECT x, x::text AS t FROM generate_series(1, 5000) g(x)) SELECT count(*) FROM w "
     "a JOIN w b ON a.t = b.t",
     5000},
    {"SELECT count(*) FROM (SELECT x FROM generate_series(1, 5000) a(x) EXCEPT ALL SELECT 2 * x "
     "FROM generate_series(1, 5000) b(x)) q",
     2500},
    {"SELECT count(*) FROM (SELECT DISTINCT ON (x % 7) x FROM generate_series(1, 5000) a(x) ORDER "
     "BY x % 7, x DESC) q",
     7},
    {"SELECT count(*) FROM (SELECT x % 5, x % 7, count(*) FROM generate_series(1, 5000) a(x) GROUP "
     "BY CUBE (x % 5, x % 7)) q",
     48},
};

static struct tl_plan *plan_of(const char *sql)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan = NULL;
    if (tl_plan_new(&fake_catalog, tl_slice_str(sql), NULL, &plan, &st))
        fail_msg("%s: %s", sql, st.text);
    return plan;
}

static enum tl_code run_count(const struct tl_plan *plan, size_t budget_bytes, bool cancel,
                              int64_t *answer, struct tl_status *st)
{
    struct tl_budget budget;
    tl_budget_init(&budget, "query memory", budget_bytes, NULL);
    struct tl_run_options options = {.budget = &budget, .clock = tl_clock_system()};
    struct tl_run *run = NULL;
    struct tl_chunk chunk = {0};
    enum tl_code rc = tl_run_new(plan, &options, &run, st);
    if (!rc && cancel)
        tl_run_cancel(run);
    if (!rc)
        rc = tl_run_step(run, &chunk, st);
    if (!rc) {
        assert_int_equal(chunk.count, 1);
        *answer = *(const int64_t *)chunk.columns[0].data;
        rc = tl_run_step(run, &chunk, st);
    }
    tl_run_free(run);
    assert_int_equal(atomic_load(&budget.used_bytes), 0);
    return rc;
}

static void any_budget_answers_or_names_its_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct tl_plan *plan = plan_of(counts[i].sql);
        bool passed = false, refused = false;
        for (size_t bytes = 4096; bytes <= (size_t)64 << 20; bytes *= 2) {
            struct tl_status st = TL_STATUS_INIT;
            int64_t answer = -1;
            enum tl_code rc = run_count(plan, bytes, false, &answer, &st);
            if (rc) {
                if (rc != TL_LIMIT)
                    fail_msg("%s: %s", counts[i].sql, st.text);
                assert_string_equal(tl_status_sqlstate(&st), "53200");
                assert_non_null(strstr(st.text, "query memory"));
                assert_false(passed);
                refused = true;
                continue;
            }
            passed = true;
            if (answer != counts[i].answer)
                fail_msg("%s: %lld", counts[i].sql, (long long)answer);
        }
        assert_true(passed && refused);
        tl_plan_free(plan);
    }
}

static void cancelled_runs_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct tl_plan *plan = plan_of(counts[i].sql);
        struct tl_status st = TL_STATUS_INIT;
        int64_t answer;
        assert_int_equal(run_count(plan, 0, true, &answer, &st), TL_CANCELLED);
        tl_plan_free(plan);
    }
}

static void timeouts_reach_subplans(void **state)
{
    (void)state;
    struct tl_plan *plan =
        plan_of("SELECT count(*) FROM generate_series(1, 1000) a, LATERAL (SELECT count(*) FROM "
                "generate_series(1, 1000000000 + a) b) q");
    struct tl_status st = TL_STATUS_INIT;
    struct tl_run_options options = {.clock = tl_clock_system(), .timeout_ms = 20};
    struct tl_run *run = NULL;
    struct tl_chunk chunk;
    assert_int_equal(tl_run_new(plan, &options, &run, &st), TL_OK);
    assert_int_equal(tl_run_step(run, &chunk, &st), TL_TIMEOUT);
    tl_run_free(run);
    tl_plan_free(plan);
}

/* WITH a0 AS (…), a1 AS (SELECT * FROM a0), … and so on: each name once. */
static void long_chains_of_names_are_bounded(void **state)
{
    (void)state;
    char *sql = malloc(1 << 20);
    assert_non_null(sql);
    size_t at = (size_t)snprintf(sql, 1 << 20, "WITH a0 AS (SELECT 1 AS x)");
    for (int i = 1; i < 200; i++)
        at += (size_t)snprintf(sql + at, 100, ", a%d AS (SELECT x + 1 AS x FROM a%d)", i, i - 1);
    (void)snprintf(sql + at, 100, " SELECT x FROM a199");
    struct tl_plan *plan = plan_of(sql);
    struct tl_status st = TL_STATUS_INIT;
    int64_t answer = 0;
    assert_int_equal(run_count(plan, 0, false, &answer, &st), TL_OK);
    assert_int_equal(answer, 200);
    tl_plan_free(plan);
    free(sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_budget_answers_or_names_its_limit),
        cmocka_unit_test(cancelled_runs_end),
        cmocka_unit_test(timeouts_reach_subplans),
        cmocka_unit_test(long_chains_of_names_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
