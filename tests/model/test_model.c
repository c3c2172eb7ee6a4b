/* Promise: whatever order appends, retries, refusals, schema changes, flushes, compactions and
 * restarts come in, the database answers as a plain list of rows would. Method: random operations
 * from a printed seed against such a list.
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

enum { MERCHANTS = 12, PATHS = 30, ROWS_MAX = 200000, BATCH_MAX = 300 };

struct row {
    int64_t merchant, ts;
    int path; /* -1: NULL */
    int64_t duration;
    uint32_t id; /* 0: none */
};

struct model {
    struct tl_random random;
    struct row *rows;
    uint32_t count;
    uint64_t sequence;
    struct tl_io_sim *sim;
    struct tally *db;
    uint32_t columns_added;
    uint32_t last_id;
};

static char path_names[PATHS][24];

static void open_db(struct model *m)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally_options options = {.io_door = tl_io_sim_io(m->sim),
                                    .memory_bytes = 64 << 20,
                                    .log_file_bytes = 256 << 10,
                                    .shards = 4,
                                    .query_threads = 1,
                                    .seal_rows = 1000};
    assert_ok(&st, tally_open("sim", &options, &m->db, &st));
}

static void append(struct model *m)
{
    uint32_t n = 1 + (uint32_t)tl_random_below(&m->random, BATCH_MAX);
    if (m->count + n > ROWS_MAX)
        return;
    struct fx_event rows[BATCH_MAX];
    static char ids[BATCH_MAX][24];
    uint32_t added = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct row *r = &m->rows[m->count + added];
        const struct row *known = &m->rows[tl_random_below(&m->random, m->count + added + 1)];
        bool again = tl_random_below(&m->random, 5) == 0 && known < r && known->id > 0;
        /* Merchants of very different size, times over two years, some equal. */
        uint64_t skew = tl_random_below(&m->random, MERCHANTS);
        r->merchant = (int64_t)tl_random_below(&m->random, skew + 1) - 2;
        r->ts = T0 + (int64_t)tl_random_below(&m->random, 17520) * 3600000000LL;
        r->path = (int)tl_random_below(&m->random, PATHS + 3) - 3;
        r->path = r->path < 0 ? -1 : r->path;
        r->duration = (int64_t)tl_random_below(&m->random, 1000) - 1;
        r->id = tl_random_below(&m->random, 3) == 0 ? ++m->last_id : 0;
        if (again) { /* the same event, told differently: never stored */
            r->merchant = known->merchant;
            r->ts = known->ts;
            r->id = known->id;
        }
        snprintf(ids[i], sizeof(ids[i]), "event-%u", r->id);
        rows[i] = (struct fx_event){.merchant_id = r->merchant,
                                    .ts_us = r->ts,
                                    .path = r->path < 0 ? NULL : path_names[r->path],
                                    .duration_ms = r->duration,
                                    .revenue = -1,
                                    .event_id = r->id ? ids[i] : NULL};
        added += !again;
    }
    m->sequence++;
    fx_append(m->db, "model", m->sequence, rows, n);
    m->count += added;
    if (tl_random_below(&m->random, 4) == 0)
        fx_append(m->db, "model", m->sequence, rows, n); /* a retry */
}

static void add_column(struct model *m)
{
    char sql[96];
    char got[8];
    if (m->columns_added >= 5)
        return;
    snprintf(sql, sizeof(sql), "ALTER TABLE events ADD COLUMN extra%u BIGINT", m->columns_added++);
    fx_query(m->db, sql, got, sizeof(got));
}

static void check_counts(struct model *m)
{
    char sql[256];
    int64_t merchant = (int64_t)tl_random_below(&m->random, MERCHANTS) - 2;
    int64_t from = T0 + (int64_t)tl_random_below(&m->random, 17520) * 3600000000LL;
    int64_t to = from + (int64_t)tl_random_below(&m->random, 5000) * 3600000000LL;
    int path = (int)tl_random_below(&m->random, PATHS);
    int64_t all = 0;
    int64_t sum = 0;
    int64_t nulls = 0;
    int64_t with_path = 0;
    int64_t in_range = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct row *r = &m->rows[i];
        in_range += r->ts >= from && r->ts < to;
        if (r->merchant != merchant || r->ts < from || r->ts >= to)
            continue;
        all++;
        nulls += r->path < 0;
        with_path += r->path == path;
        sum += r->duration >= 0 ? r->duration : 0;
    }
    char expected[128];
    char got[128];
    snprintf(sql, sizeof(sql),
             "SELECT count(*), coalesce(sum(duration_ms), 0), count(*) - count(path), "
             "count(*) FILTER (WHERE path = '%s') FROM events WHERE merchant_id = %lld AND "
             "ts >= to_timestamp(%lld) AND ts < to_timestamp(%lld)",
             path_names[path], (long long)merchant, (long long)(from / 1000000),
             (long long)(to / 1000000));
    snprintf(expected, sizeof(expected), "%lld|%lld|%lld|%lld", (long long)all, (long long)sum,
             (long long)nulls, (long long)with_path);
    fx_query(m->db, sql, got, sizeof(got));
    if (strcmp(got, expected) != 0)
        fail_msg("%s\n  expected %s\n  got      %s", sql, expected, got);
    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM events WHERE ts >= to_timestamp(%lld) AND ts < "
             "to_timestamp(%lld)",
             (long long)(from / 1000000), (long long)(to / 1000000));
    assert_int_equal(fx_number(m->db, sql), in_range);
    assert_int_equal(fx_number(m->db, "SELECT count(*) FROM events"), m->count);
}

static void run_seed(uint64_t seed, uint64_t operations)
{
    struct tl_status st = TL_STATUS_INIT;
    struct model m = {.count = 0};
    print_message("TALLY_MODEL_SEED=%llu\n", (unsigned long long)seed);
    tl_random_init(&m.random, seed);
    m.rows = calloc(ROWS_MAX, sizeof(*m.rows));
    assert_ok(&st, tl_io_sim_new(seed, &m.sim, &st));
    open_db(&m);
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t die = tl_random_below(&m.random, 100);
        if (die < 60) {
            append(&m);
        } else if (die < 80) {
            check_counts(&m);
        } else if (die < 86) {
            assert_ok(&st, tally_flush(m.db, &st));
        } else if (die < 89) {
            assert_ok(&st, tally_compact(m.db, NULL, NULL, &st));
        } else if (die < 91) {
            add_column(&m);
        } else if (die < 96) {
            tally_close(m.db);
            open_db(&m);
        } else {
            tally_close(m.db);
            tl_io_sim_reboot(m.sim); /* everything was acknowledged: nothing may be lost */
            open_db(&m);
        }
    }
    check_counts(&m);
    struct tl_buffer report;
    tl_buffer_init(&report, "report", 1 << 20);
    assert_ok(&st, tally_verify(m.db, NULL, NULL, &report, &st));
    tl_buffer_deinit(&report);
    tally_close(m.db);
    tl_io_free(tl_io_sim_io(m.sim));
    free(m.rows);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 10) : otherwise;
}

static void answers_match_a_list_of_rows(void **state)
{
    (void)state;
    for (int i = 0; i < PATHS; i++)
        snprintf(path_names[i], sizeof(path_names[i]), "/path/%d", i);
    uint64_t first = setting("TALLY_MODEL_SEED", 1);
    uint64_t runs = setting("TALLY_MODEL_RUNS", 4);
    for (uint64_t i = 0; i < runs; i++)
        run_seed(first + i, setting("TALLY_MODEL_OPS", 150));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_match_a_list_of_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
