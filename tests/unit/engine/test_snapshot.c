/* Promise: every read sees whole batches, at one position, and every acknowledged batch, while
 * flushes and compactions run. Method: one writer appends batches that put one row into every shard
 * (many merchants); readers count rows, which must be a multiple of the batch's rows, never fewer
 * than what was acknowledged before they began, and the same number twice within one cursor's life.
 */
#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/db_int.h"
#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0 1767225600000000LL

enum { MERCHANTS = 32, BATCHES = 600, READERS = 2 };

struct shared {
    struct tally *db;
    _Atomic uint64_t acked;
    _Atomic bool done;
    _Atomic uint64_t reads;
};

/* Reads with its own calls instead of cmocka's, which may only fail in the main thread. */
static bool count_rows(struct tally *db, const char *sql, int64_t *out)
{
    struct tally_statement *statement = NULL;
    struct tally_cursor *cursor = NULL;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_chunk chunk = {.count = 0};
    bool ok = !tally_prepare(db, tl_slice_str(sql), NULL, &statement, &st) &&
              !tally_bind(statement, NULL, 0, &cursor, &st) && !tally_step(cursor, &chunk, &st) &&
              chunk.count == 1;
    if (ok)
        *out = *(const int64_t *)chunk.columns[0].data;
    else
        print_error("%s: %s\n", sql, st.text);
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    return ok;
}

static void *reader(void *arg)
{
    struct shared *s = arg;
    uint64_t failures = 0;
    while (!atomic_load(&s->done) && failures == 0) {
        uint64_t before = atomic_load(&s->acked);
        int64_t rows = -1;
        if (!count_rows(s->db, "SELECT count(*) FROM events", &rows) || rows % MERCHANTS != 0 ||
            (uint64_t)rows < before * MERCHANTS) {
            print_error("%lld rows seen after %llu batches\n", (long long)rows,
                        (unsigned long long)before);
            failures++;
        }
        before = atomic_load(&s->acked);
        if (!count_rows(s->db, "SELECT count(*) FROM events WHERE merchant_id = 7", &rows) ||
            (uint64_t)rows < before) {
            print_error("%lld rows of one merchant after %llu batches\n", (long long)rows,
                        (unsigned long long)before);
            failures++;
        }
        atomic_fetch_add(&s->reads, 1);
    }
    return (void *)(uintptr_t)failures;
}

static void *jobs(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; !atomic_load(&s->done); i++) {
        struct tl_status st = TL_STATUS_INIT;
        if (i % 4 == 3 ? tally_compact(s->db, NULL, NULL, &st) : tally_flush(s->db, &st)) {
            print_error("%s\n", st.text);
            return (void *)1;
        }
    }
    return NULL;
}

static void readers_see_whole_batches(void **state)
{
    (void)state;
    struct tl_io_sim *sim;
    struct tl_status st = TL_STATUS_INIT;
    struct shared s = {.db = NULL};
    assert_ok(&st, tl_io_sim_new(3, &sim, &st));
    struct tally_options options = {
        .io_door = tl_io_sim_io(sim), .memory_bytes = 64 << 20, .shards = 8, .query_threads = 2};
    assert_ok(&st, tally_open("sim", &options, &s.db, &st));
    pthread_t threads[READERS + 1];
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &s), 0);
    assert_int_equal(pthread_create(&threads[READERS], NULL, jobs, &s), 0);
    for (uint32_t n = 1; n <= BATCHES; n++) {
        struct fx_event rows[MERCHANTS];
        for (int i = 0; i < MERCHANTS; i++)
            rows[i] = (struct fx_event){.merchant_id = i,
                                        .ts_us = T0 + (int64_t)n * 1000,
                                        .event_name = "pageview",
                                        .path = "/",
                                        .duration_ms = -1,
                                        .revenue = -1};
        fx_append(s.db, "w", n, rows, MERCHANTS);
        atomic_store(&s.acked, n);
    }
    atomic_store(&s.done, true);
    for (int i = 0; i <= READERS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    print_message("%llu reads\n", (unsigned long long)atomic_load(&s.reads));
    assert_int_equal(fx_number(s.db, "SELECT count(*) FROM events"), BATCHES * MERCHANTS);
    tally_close(s.db);
    tl_io_free(tl_io_sim_io(sim));
}

/* A cursor that was not stepped for 5 minutes ends with 72000; one in use does not. */
static void idle_snapshots_end(void **state)
{
    (void)state;
    struct tl_io_sim *sim;
    struct tl_clock_manual clock;
    struct tl_status st = TL_STATUS_INIT;
    struct tally *db;
    assert_ok(&st, tl_io_sim_new(5, &sim, &st));
    tl_clock_manual_init(&clock, T0);
    struct tally_options options = {.io_door = tl_io_sim_io(sim),
                                    .memory_bytes = 64 << 20,
                                    .query_threads = 1,
                                    .query_timeout_ms = 3600000,
                                    .clock = &clock.clock,
                                    .no_background = true};
    assert_ok(&st, tally_open("sim", &options, &db, &st));
    struct fx_event row = {
        .merchant_id = 1, .ts_us = T0, .path = "/", .duration_ms = -1, .revenue = -1};
    fx_append(db, "w", 1, &row, 1);
    struct tally_statement *statement;
    struct tally_cursor *idle;
    struct tally_cursor *used;
    struct tl_chunk chunk;
    assert_ok(&st,
              tally_prepare(db, tl_slice_str("SELECT path FROM events"), NULL, &statement, &st));
    assert_ok(&st, tally_bind(statement, NULL, 0, &idle, &st));
    assert_ok(&st, tally_bind(statement, NULL, 0, &used, &st));
    tl_clock_manual_advance(&clock, 200000000);
    assert_ok(&st, tally_step(used, &chunk, &st));
    assert_int_equal(chunk.count, 1);
    tl_clock_manual_advance(&clock, 200000000);
    tl_cursors_expire(db);
    assert_ok(&st, tally_step(used, &chunk, &st));
    assert_int_equal(tally_step(idle, &chunk, &st), TL_TOO_OLD);
    assert_string_equal(tl_status_sqlstate(&st), "72000");
    tally_cursor_close(idle);
    tally_cursor_close(used);
    tally_statement_close(statement);
    tally_close(db);
    tl_io_free(tl_io_sim_io(sim));
}

/* Cursors that keep memtables past their flush end oldest first when these take more than a
 * memtable may; the newest go on, and what they read is what stood there when they began. */
static void snapshots_end_when_their_memory_is_needed(void **state)
{
    enum { ROUNDS = 24, ROWS = 400, PATH = 3000 };
    (void)state;
    struct tl_io_sim *sim;
    struct tl_status st = TL_STATUS_INIT;
    struct tally *db;
    assert_ok(&st, tl_io_sim_new(7, &sim, &st));
    struct tally_options options = {.io_door = tl_io_sim_io(sim),
                                    .memory_bytes = 64 << 20,
                                    .query_threads = 1,
                                    .no_background = true};
    assert_ok(&st, tally_open("sim", &options, &db, &st));
    struct tally_statement *statement;
    struct tally_cursor *cursors[ROUNDS];
    struct fx_event rows[ROWS];
    char *paths = malloc((size_t)ROWS * PATH);
    assert_non_null(paths);
    assert_ok(
        &st, tally_prepare(db, tl_slice_str("SELECT count(*) FROM events"), NULL, &statement, &st));
    for (uint32_t n = 0; n < ROUNDS; n++) {
        for (uint32_t i = 0; i < ROWS; i++) {
            char *path = paths + (size_t)i * PATH;
            memset(path, 'x', PATH - 1);
            int size = snprintf(path, PATH, "/%u/%u", n, i);
            path[size] = 'x';
            path[PATH - 1] = 0;
            rows[i] = (struct fx_event){
                .merchant_id = i, .ts_us = T0 + n, .path = path, .duration_ms = -1, .revenue = -1};
        }
        fx_append(db, "w", n + 1, rows, ROWS);
        assert_ok(&st, tally_bind(statement, NULL, 0, &cursors[n], &st));
        assert_ok(&st, tally_flush(db, &st));
        tl_cursors_expire(db);
    }
    uint32_t ended = 0;
    for (uint32_t n = 0; n < ROUNDS; n++) {
        struct tl_chunk chunk;
        if (tally_step(cursors[n], &chunk, &st) == TL_TOO_OLD) {
            assert_string_equal(tl_status_sqlstate(&st), "72000");
            assert_int_equal(ended, n); /* none that is younger than one that lives */
            ended++;
        } else {
            assert_ok(&st, st.code);
            assert_int_equal(*(const int64_t *)chunk.columns[0].data, (n + 1) * ROWS);
        }
        tl_status_clear(&st);
        tally_cursor_close(cursors[n]);
    }
    assert_in_range(ended, 1, ROUNDS - 1);
    free(paths);
    tally_statement_close(statement);
    tally_close(db);
    tl_io_free(tl_io_sim_io(sim));
}

/* A reader without the lock sees the segments while the owner runs, and takes no writes. */
static void a_read_only_open_works_beside_the_owner(void **state)
{
    (void)state;
    struct tl_io_sim *sim;
    struct tl_status st = TL_STATUS_INIT;
    struct tally *owner;
    struct tally *reader_db;
    struct tl_buffer json;
    assert_ok(&st, tl_io_sim_new(6, &sim, &st));
    struct tally_options options = {.io_door = tl_io_sim_io(sim),
                                    .memory_bytes = 64 << 20,
                                    .query_threads = 1,
                                    .no_background = true};
    assert_ok(&st, tally_open("sim", &options, &owner, &st));
    struct fx_event row = {
        .merchant_id = 1, .ts_us = T0, .path = "/", .duration_ms = -1, .revenue = -1};
    fx_append(owner, "w", 1, &row, 1);
    assert_ok(&st, tally_flush(owner, &st));
    fx_append(owner, "w", 2, &row, 1);
    options.read_only = true;
    assert_ok(&st, tally_open("sim", &options, &reader_db, &st));
    tl_buffer_init(&json, "report", 1 << 20);
    assert_ok(&st, tally_status(reader_db, &json, &st));
    assert_ok(&st, tally_verify(reader_db, NULL, NULL, &json, &st));
    assert_ok(&st, tally_inspect(reader_db, NULL, &json, &st));
    /* the owner merges the pack away under the reader's feet: its handle stays good */
    assert_ok(&st, tally_compact(owner, NULL, NULL, &st));
    tl_buffer_clear(&json);
    assert_ok(&st, tally_inspect(reader_db, NULL, &json, &st));
    struct tally_batch batch = {.body = tl_slice_of("", 0)};
    assert_code(&st, TL_UNSUPPORTED, tally_append_wait(reader_db, &batch, NULL, &st));
    tally_close(reader_db);
    tl_buffer_deinit(&json);
    tally_close(owner);
    tl_io_free(tl_io_sim_io(sim));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_batches),
        cmocka_unit_test(idle_snapshots_end),
        cmocka_unit_test(snapshots_end_when_their_memory_is_needed),
        cmocka_unit_test(a_read_only_open_works_beside_the_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
