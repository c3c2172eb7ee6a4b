/* Promise: what the packs hold follows from the log alone: two engines that apply the same log
 * write the same packs, byte for byte, whenever their flushes and merges happened to run.
 * Method: one engine writes a log with seals and compaction requests and its background threads
 * race as they like; its log is copied before anything is trimmed to a second disk, where
 * recovery and then one thread do the same. Every pack is compared. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0 1767225600000000LL

static struct tally *open_db(struct tl_io_sim *sim, bool background)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally *db;
    struct tally_options options = {.io_door = tl_io_sim_io(sim),
                                    .memory_bytes = 64 << 20,
                                    .shards = 4,
                                    .query_threads = 1,
                                    .seal_rows = 150,
                                    .no_background = !background};
    assert_ok(&st, tally_open("sim", &options, &db, &st));
    return db;
}

/* One batch of `count` rows over a few months and many merchants. */
static void append(struct tally *db, uint32_t n)
{
    enum { COUNT = 60 };
    static char visitors[COUNT][24];
    static char paths[COUNT][32];
    struct fx_event rows[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t h = (n * 1000003ULL + i) * 0x9E3779B97F4A7C15ULL;
        h ^= h >> 29;
        snprintf(visitors[i], sizeof(visitors[i]), "%016llx", (unsigned long long)(h % 97 * h));
        snprintf(paths[i], sizeof(paths[i]), "/products/%llu", (unsigned long long)(h % 41));
        rows[i] = (struct fx_event){.merchant_id = (int64_t)(h % 23),
                                    .ts_us = T0 + (int64_t)(h % 7776000) * 1000000,
                                    .event_name = h % 5 ? "pageview" : NULL,
                                    .visitor_id = visitors[i],
                                    .path = paths[i],
                                    .duration_ms = (int64_t)(h % 3000) - 1,
                                    .revenue = h % 9 ? -1 : (int64_t)(h % 100000)};
    }
    fx_append(db, "d", n, rows, COUNT);
}

static void copy_dir(struct tl_io_sim *from, struct tl_io_sim *to, const char *dir)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_names names;
    assert_ok(&st, tl_io_list(tl_io_sim_io(from), dir, &names, &st));
    for (uint32_t i = 0; i < names.count; i++) {
        char path[300];
        struct tl_buffer bytes;
        tl_buffer_init(&bytes, "file", 1ULL << 30);
        snprintf(path, sizeof(path), "%s%s%s", dir, dir[0] ? "/" : "", names.names[i]);
        if (!tl_io_sim_get(from, path, &bytes, &st))
            assert_ok(&st, tl_io_sim_put(to, path, tl_buffer_slice(&bytes), &st));
        tl_status_clear(&st); /* a directory */
        tl_buffer_deinit(&bytes);
    }
    tl_io_names_free(&names);
}

static uint32_t compare_packs(struct tl_io_sim *a, struct tl_io_sim *b)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_names x;
    struct tl_io_names y;
    assert_ok(&st, tl_io_list(tl_io_sim_io(a), "packs", &x, &st));
    assert_ok(&st, tl_io_list(tl_io_sim_io(b), "packs", &y, &st));
    assert_int_equal(x.count, y.count);
    for (uint32_t i = 0; i < x.count; i++) {
        char path[300];
        struct tl_buffer p;
        struct tl_buffer q;
        assert_string_equal(x.names[i], y.names[i]);
        snprintf(path, sizeof(path), "packs/%s", x.names[i]);
        tl_buffer_init(&p, "pack", 1 << 28);
        tl_buffer_init(&q, "pack", 1 << 28);
        assert_ok(&st, tl_io_sim_get(a, path, &p, &st));
        assert_ok(&st, tl_io_sim_get(b, path, &q, &st));
        if (p.size != q.size || memcmp(p.data, q.data, p.size) != 0)
            fail_msg("%s differs", path);
        tl_buffer_deinit(&p);
        tl_buffer_deinit(&q);
    }
    uint32_t count = x.count;
    tl_io_names_free(&x);
    tl_io_names_free(&y);
    return count;
}

static void same_log_same_packs(void **state)
{
    (void)state;
    struct tl_io_sim *a;
    struct tl_io_sim *b;
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_io_sim_new(1, &a, &st));
    assert_ok(&st, tl_io_sim_new(2, &b, &st));
    struct tally *db = open_db(a, true);
    tally_close(db);
    copy_dir(a, b, ""); /* the manifest of an empty database */
    db = open_db(a, true);
    for (uint32_t n = 1; n <= 60; n++)
        append(db, n);
    copy_dir(a, b, "log"); /* files of 64 MiB: none was recycled yet, every record is there */
    assert_ok(&st, tally_compact(db, NULL, NULL, &st));
    tally_close(db);
    db = open_db(b, false);
    assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), 3600);
    assert_ok(&st, tally_compact(db, NULL, NULL, &st));
    tally_close(db);
    assert_true(compare_packs(a, b) > 4);
    tl_io_free(tl_io_sim_io(a));
    tl_io_free(tl_io_sim_io(b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_log_same_packs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
