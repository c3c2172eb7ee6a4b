/* Promise: of rows with the same merchant, ts and event id the first one is stored and no other,
 * however far apart they come, across flushes, merges and restarts; rows without an id are all
 * stored.
 * Method: random batches with many repetitions against a model that is a list of keys; the path of
 * the kept row says which one it was. */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/db_int.h"
#include "storage/io.h"
#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0 1767225600000000LL /* 2026-01-01 00:00:00 UTC */

enum { MERCHANTS = 7, TIMES = 60, IDS = 6, KEYS = MERCHANTS * TIMES * IDS, BATCH_MAX = 200 };

struct fixture {
    struct tl_io *io;
    struct tally *db;
    uint64_t seed;
    uint64_t sequence;
    uint32_t stored; /* rows, by the model */
    uint32_t left_out;
    int32_t first[KEYS]; /* number of the row that was first; -1: none */
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

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim;
    assert_ok(&st, tl_io_sim_new(7, &sim, &st));
    f->io = tl_io_sim_io(sim);
    f->seed = 99;
    for (int i = 0; i < KEYS; i++)
        f->first[i] = -1;
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

static uint32_t draw(struct fixture *f, uint32_t below)
{
    f->seed = f->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(f->seed >> 33) % below;
}

struct told {
    uint32_t rows, duplicate_rows, refused;
};

static void on_ack(void *arg, const struct tally_ack *ack)
{
    struct told *t = arg;
    assert_int_equal(ack->code, TL_OK);
    t->rows += ack->rows;
    t->duplicate_rows += ack->duplicate_rows;
    t->refused += ack->refused;
    atomic_thread_fence(memory_order_release);
}

static void send_batch(struct fixture *f, uint32_t number)
{
    struct tl_status st = TL_STATUS_INIT;
    struct fx_event rows[BATCH_MAX];
    static char ids[BATCH_MAX][32];
    static char paths[BATCH_MAX][32];
    uint32_t count = 1 + draw(f, BATCH_MAX);
    uint32_t kept = 0;
    uint32_t left_out = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t merchant = draw(f, MERCHANTS);
        uint32_t time = draw(f, TIMES);
        uint32_t id = draw(f, IDS + 1); /* the last one: none */
        uint32_t row = number * BATCH_MAX + i;
        snprintf(paths[i], sizeof(paths[i]), "/%u", row);
        snprintf(ids[i], sizeof(ids[i]), "%08x-%u", id * 2654435761U, id);
        rows[i] = (struct fx_event){.merchant_id = merchant + 1,
                                    .ts_us = T0 + (int64_t)time * 43200 * 1000000,
                                    .path = paths[i],
                                    .duration_ms = -1,
                                    .revenue = -1,
                                    .event_id = id < IDS ? ids[i] : NULL};
        uint32_t key = (merchant * TIMES + time) * IDS + id;
        if (id == IDS || f->first[key] < 0) {
            kept++;
            if (id < IDS)
                f->first[key] = (int32_t)row;
        } else {
            left_out++;
        }
    }
    struct tl_buffer body;
    tl_buffer_init(&body, "batch", 1 << 20);
    fx_batch(&body, "events", rows, count, draw(f, 2));
    struct tally_batch batch = {
        .producer = tl_slice_str("p"), .sequence = ++f->sequence, .body = tl_buffer_slice(&body)};
    struct told told = {0};
    assert_ok(&st, tally_append(f->db, &batch, on_ack, &told, &st));
    /* Whoever waits for a later batch has waited for this one. */
    struct fx_event last = {.merchant_id = 1000, .ts_us = T0, .duration_ms = -1, .revenue = -1};
    fx_append(f->db, "q", f->sequence, &last, 1);
    assert_int_equal(told.rows, kept);
    assert_int_equal(told.duplicate_rows, left_out);
    f->stored += kept;
    f->left_out += left_out;
    tl_buffer_deinit(&body);
}

static void compare(struct fixture *f)
{
    assert_int_equal(fx_number(f->db, "SELECT count(*) FROM events WHERE merchant_id < 1000"),
                     f->stored);
    int64_t keys = 0;
    int64_t numbers = 0;
    for (int i = 0; i < KEYS; i++) {
        keys += f->first[i] >= 0;
        numbers += f->first[i] >= 0 ? f->first[i] : 0;
    }
    assert_int_equal(fx_number(f->db, "SELECT count(event_id) FROM events"), keys);
    assert_int_equal(
        fx_number(f->db,
                  "SELECT sum(CAST(substr(path, 2) AS BIGINT)) FROM events WHERE event_id IS "
                  "NOT NULL"),
        numbers);
}

static void the_first_of_equal_events_is_stored(void **state)
{
    struct fixture *f = *state;
    struct tl_status st = TL_STATUS_INIT;
    for (uint32_t b = 0; b < 120; b++) {
        send_batch(f, b);
        switch (draw(f, 12)) {
        case 0:
        case 1:
            assert_ok(&st, tally_flush(f->db, &st));
            break;
        case 2:
            assert_ok(&st, tally_compact(f->db, NULL, NULL, &st));
            break;
        case 3:
            tally_close(f->db);
            open_db(f);
            break;
        default:
            break;
        }
        if (b % 10 == 9)
            compare(f);
    }
    assert_true(f->left_out > 1000);
    struct tl_event_ids_stats stats;
    tl_event_ids_stats(f->db->state.ids, &stats);
    assert_true(stats.asked > 0);
}

static void equal_rows_of_one_batch_are_one(void **state)
{
    struct fixture *f = *state;
    struct fx_event rows[6];
    for (int i = 0; i < 6; i++)
        rows[i] = (struct fx_event){.merchant_id = 1,
                                    .ts_us = T0 + (i / 4),
                                    .duration_ms = -1,
                                    .revenue = -1,
                                    .event_id = i % 2 ? "b" : "a"};
    rows[2].event_id = NULL;
    fx_append(f->db, "p", 1, rows, 6); /* a b - b | a b */
    assert_int_equal(fx_number(f->db, "SELECT count(*) FROM events"), 5);
    rows[0].merchant_id = 2;
    fx_append(f->db, "p", 2, rows, 6);
    assert_int_equal(fx_number(f->db, "SELECT count(*) FROM events"), 7);
}

/* Over the filters' limit the oldest times are asked of the segments themselves. */
static void a_limit_costs_time_not_answers(void **state)
{
    struct fixture *f = *state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_event_ids *small;
    assert_ok(&st, tl_event_ids_new(600 << 10, &small, &st)); /* two filters of few ids */
    tl_event_ids_free(f->db->state.ids);
    f->db->state.ids = small;
    for (uint32_t b = 0; b < 30; b++) {
        send_batch(f, b);
        assert_ok(&st, tally_flush(f->db, &st));
        struct tl_event_ids_stats stats;
        tl_event_ids_stats(small, &stats);
        assert_true(stats.bytes < (1 << 20));
    }
    compare(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_of_equal_events_is_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_rows_of_one_batch_are_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_limit_costs_time_not_answers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
