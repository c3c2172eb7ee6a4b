/* Promise: an acknowledged batch survives a crash at any step of the I/O, stored once, whole (but
 * for the event in it that an earlier batch brought); a batch that was not acknowledged is there
 * whole or not at all; recovery can itself be cut off.
 * Method: one fixed workload of appends, a schema change, flushes and compactions on the simulated
 * disk; cut the power at step 0, 1, 2, … until it completes uncut; reboot (unsynced sectors and
 * names survive by the seed), cut the recovery off as well at a step that moves along, recover, and
 * compare with a model that is one bit per batch. Then go on writing, to see that the recovered
 * database is whole.
 *
 * TALLY_CRASH_SEED=n begins with seed n; TALLY_CRASH_SEEDS=n runs n seeds instead of one;
 * TALLY_CRASH_STRIDE=k takes each k-th step. */
#include "tests/test.h"

#include <stdlib.h>

#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0 1767225600000000LL

enum { BATCHES = 24, ROWS = 7 };

struct model {
    bool sent[BATCHES + 1];
    bool acked[BATCHES + 1];
};

static bool compressing; /* the log's groups, where that saves a page */

static enum tl_code open_db(struct tl_io_sim *sim, struct tally **db, struct tl_status *st)
{
    struct tally_options options = {.io_door = tl_io_sim_io(sim),
                                    .memory_bytes = 64 << 20,
                                    .log_file_bytes = 64 << 10,
                                    .log_compression = compressing ? "on" : "off",
                                    .shards = 2,
                                    .query_threads = 1,
                                    .no_background = true};
    return tally_open("sim", &options, db, st);
}

static enum tl_code append(struct tally *db, uint32_t n, struct tl_status *st)
{
    struct fx_event rows[ROWS + 1];
    char marker[32];
    char ids[ROWS + 1][32];
    static char path[2000];
    if (!path[0])
        memset(path, '/', sizeof(path) - 1);
    snprintf(marker, sizeof(marker), "batch-%u", n);
    for (int i = 0; i <= ROWS; i++) {
        /* The last row is an event that was sent before: it is never stored. */
        uint32_t of = i < ROWS || n == 1 ? n : n - 1;
        int event = i % ROWS;
        snprintf(ids[i], sizeof(ids[i]), "%u-%d", of, event);
        rows[i] = (struct fx_event){.merchant_id = 1 + event % 3,
                                    .ts_us = T0 + (int64_t)of * 1000 - event,
                                    .event_name = "pageview",
                                    .visitor_id = marker,
                                    .path = i % 2 == 0   ? NULL
                                            : n % 4 == 1 ? path
                                                         : "/a",
                                    .duration_ms = i,
                                    .revenue = -1,
                                    .event_id = ids[i]};
    }
    struct tl_buffer body;
    tl_buffer_init(&body, "batch", 1 << 20);
    fx_batch(&body, "events", rows, ROWS + 1, n % 2 == 0);
    struct tally_batch batch = {.producer = tl_slice_str("crash"),
                                .sequence = n,
                                .body = tl_buffer_slice(&body),
                                .import = true};
    enum tl_code rc = tally_append_wait(db, &batch, NULL, st);
    tl_buffer_deinit(&body);
    return rc;
}

static enum tl_code ddl(struct tally *db, const char *sql, struct tl_status *st)
{
    struct tally_statement *statement = NULL;
    struct tally_cursor *cursor = NULL;
    if (!tally_prepare(db, tl_slice_str(sql), NULL, &statement, st))
        TL_IGNORE(tally_bind(statement, NULL, 0, &cursor, st));
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    return st->code;
}

/* True when it ran to its end. */
static bool run_workload(struct tl_io_sim *sim, struct model *m)
{
    struct tally *db = NULL;
    struct tl_status st = TL_STATUS_INIT;
    enum tl_code rc = open_db(sim, &db, &st);
    for (uint32_t n = 1; n <= BATCHES && !rc; n++) {
        m->sent[n] = true;
        rc = append(db, n, &st);
        m->acked[n] = rc == TL_OK;
        if (!rc && n % 3 == 0)
            rc = tally_flush(db, &st);
        if (!rc && n == 10)
            rc = ddl(db, "ALTER TABLE events ADD COLUMN extra TEXT", &st);
        if (!rc && n == 16)
            rc = tally_compact(db, NULL, NULL, &st);
    }
    if (!rc)
        rc = tally_compact(db, NULL, NULL, &st);
    tally_close(db);
    return rc == TL_OK;
}

static void check(struct tally *db, const struct model *m, uint64_t step)
{
    char sql[128];
    int64_t rows = 0;
    for (uint32_t n = 1; n <= BATCHES; n++) {
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM events WHERE visitor_id = 'batch-%u'", n);
        int64_t count = fx_number(db, sql);
        rows += count;
        if (count != 0 && count != ROWS)
            fail_msg("crash at %llu: batch %u has %lld rows", (unsigned long long)step, n,
                     (long long)count);
        if (m->acked[n] && count != ROWS)
            fail_msg("crash at %llu: acknowledged batch %u is lost", (unsigned long long)step, n);
        if (!m->sent[n] && count != 0)
            fail_msg("crash at %llu: batch %u was never sent", (unsigned long long)step, n);
    }
    assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), rows);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 10) : otherwise;
}

static void crash_at(uint64_t seed, uint64_t step, bool *completed)
{
    struct tl_io_sim *sim;
    struct tally *db = NULL;
    struct tl_status st = TL_STATUS_INIT;
    struct model model = {.sent = {false}};
    assert_ok(&st, tl_io_sim_new(seed + step, &sim, &st));
    compressing = step % 2;
    tl_io_sim_crash_at(sim, step);
    *completed = run_workload(sim, &model);
    tl_io_sim_reboot(sim);

    /* Cut the recovery off, too. */
    tl_io_sim_crash_at(sim, tl_io_sim_steps(sim) + step % 61);
    if (!open_db(sim, &db, &st))
        tally_close(db);
    db = NULL;
    tl_status_clear(&st);
    tl_io_sim_reboot(sim);

    if (open_db(sim, &db, &st))
        fail_msg("crash at %llu: %s", (unsigned long long)step, st.text);
    check(db, &model, step);
    /* A retry of everything stores each batch once. */
    for (uint32_t n = 1; n <= BATCHES; n++)
        assert_ok(&st, append(db, n, &st));
    assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), BATCHES * ROWS);
    assert_ok(&st, tally_compact(db, NULL, NULL, &st));
    assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), BATCHES * ROWS);
    tally_close(db);
    tl_io_free(tl_io_sim_io(sim));
}

static void acked_batches_survive_every_crash(void **state)
{
    (void)state;
    uint64_t first = setting("TALLY_CRASH_SEED", 1);
    uint64_t seeds = setting("TALLY_CRASH_SEEDS", 1);
    uint64_t stride = setting("TALLY_CRASH_STRIDE", 1);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        bool completed = false;
        uint64_t step = seed % stride;
        for (; !completed; step += stride)
            crash_at(seed * 1000003, step, &completed);
        print_message("seed %llu: %llu steps\n", (unsigned long long)seed,
                      (unsigned long long)step);
    }
}

/* A failed write or sync anywhere: nothing acknowledged is lost, and the database says so. */
static void failed_operations_poison_and_lose_nothing(void **state)
{
    (void)state;
    uint64_t stride = setting("TALLY_CRASH_STRIDE", 1) * 3;
    bool completed = false;
    for (uint64_t step = 0; !completed; step += stride) {
        struct tl_io_sim *sim;
        struct tally *db = NULL;
        struct tl_status st = TL_STATUS_INIT;
        struct model model = {.sent = {false}};
        assert_ok(&st, tl_io_sim_new(step, &sim, &st));
        tl_io_sim_fail_at(sim, step, step % 2 == 0);
        uint64_t before = tl_io_sim_steps(sim);
        (void)run_workload(sim, &model);
        completed = tl_io_sim_steps(sim) - before <= step;
        tl_io_sim_reboot(sim);
        if (open_db(sim, &db, &st))
            fail_msg("failure at %llu: %s", (unsigned long long)step, st.text);
        check(db, &model, step);
        tally_close(db);
        tl_io_free(tl_io_sim_io(sim));
    }
}

/* A disk that runs full anywhere: what was acknowledged is there when there is room again. */
static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    bool completed = false;
    for (uint64_t capacity = 32 << 10; !completed; capacity += 16 << 10) {
        struct tl_io_sim *sim;
        struct tally *db = NULL;
        struct tl_status st = TL_STATUS_INIT;
        struct model model = {.sent = {false}};
        assert_ok(&st, tl_io_sim_new(capacity, &sim, &st));
        tl_io_sim_set_capacity(sim, capacity);
        completed = run_workload(sim, &model);
        tl_io_sim_reboot(sim);
        tl_io_sim_set_capacity(sim, 0);
        if (open_db(sim, &db, &st))
            fail_msg("capacity %llu: %s", (unsigned long long)capacity, st.text);
        check(db, &model, capacity);
        tally_close(db);
        tl_io_free(tl_io_sim_io(sim));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acked_batches_survive_every_crash),
        cmocka_unit_test(failed_operations_poison_and_lose_nothing),
        cmocka_unit_test(a_full_disk_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
