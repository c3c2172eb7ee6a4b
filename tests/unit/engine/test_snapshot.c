/* Promise: every read sees whole batches, at one position, and every acknowledged batch, while
 * flushes and compactions run. Method: one writer appends batches that put one row into every shard
 * (many merchants); readers count rows, which must be a multiple of the batch's rows, never fewer
 * than what was acknowledged before they began, and the same number twice within one cursor's life.
 */
#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_see_whole_batches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
