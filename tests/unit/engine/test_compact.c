/* Promise: what is stored after a compaction depends on the rows alone, in whatever order they
 * came; late rows cost one pack; a compaction can be stopped anywhere and goes on from its finished
 * parts to the same bytes; level 0 never holds more than its limit; readers keep the files that
 * they began with; partitions follow the traffic and the table's option; extra disk and memory are
 * bounded. Method: real packs on the simulated disk, with a clock that stands still. The crash test
 * cuts the power at the steps 0, k, 2k … of one compaction (TALLY_CRASH_STRIDE=k). */
#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/db_int.h"
#include "storage/io_sim.h"
#include "tests/fixture/events.h"

#define T0  1767225600000000LL /* 2026-01-01 */
#define DAY TL_DAY_US

enum { BATCH = 100, MERCHANTS = 61 };

static struct tl_clock_manual test_clock;

static struct tally *open_db(struct tl_io_sim *sim, const struct tally_options *more)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally *db;
    struct tally_options options = *more;
    options.io_door = tl_io_sim_io(sim);
    options.memory_bytes = 64 << 20;
    options.query_threads = 1;
    options.seal_age_ms = 1ULL << 40;
    options.clock = &test_clock.clock;
    assert_ok(&st, tally_open("sim", &options, &db, &st));
    return db;
}

static struct tl_io_sim *new_sim(void)
{
    struct tl_io_sim *sim;
    struct tl_status st = TL_STATUS_INIT;
    tl_clock_manual_init(&test_clock, T0 + 200 * DAY);
    assert_ok(&st, tl_io_sim_new(1, &sim, &st));
    return sim;
}

static void free_sim(struct tl_io_sim *sim)
{
    tl_io_free(tl_io_sim_io(sim));
}

static void sql(struct tally *db, const char *text)
{
    char out[64];
    fx_query(db, text, out, sizeof(out));
}

static uint64_t mix(uint64_t x)
{
    x *= 0x9E3779B97F4A7C15ULL;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9ULL;
    return x ^ x >> 32;
}

/* Event i of `of` that lie evenly in [from, to): no two have one merchant and time. */
static struct fx_event event_at(uint64_t i, uint64_t of, int64_t from, int64_t to)
{
    static char visitors[BATCH][24], paths[BATCH][32];
    uint64_t h = mix(i + 1);
    char *visitor = visitors[i % BATCH];
    char *path = paths[i % BATCH];
    snprintf(visitor, sizeof(visitors[0]), "%016llx", (unsigned long long)mix(h % 701));
    snprintf(path, sizeof(paths[0]), "/p/%llu", (unsigned long long)(h % 97));
    return (struct fx_event){.merchant_id = (int64_t)(h % MERCHANTS),
                             .ts_us =
                                 from + (int64_t)((double)(to - from) / (double)of * (double)i),
                             .event_name = h % 3 ? "pageview" : "order",
                             .visitor_id = visitor,
                             .path = path,
                             .duration_ms = (int64_t)(h % 4000),
                             .revenue = h % 7 ? -1 : (int64_t)(h % 100000)};
}

/* Appends events order[0] … order[count - 1] of `of`, or all in their order. */
static void load(struct tally *db, const char *producer, const uint32_t *order, uint32_t count,
                 int64_t from, int64_t to)
{
    struct fx_event rows[BATCH];
    for (uint32_t i = 0, n = 1; i < count; n++) {
        uint32_t k = 0;
        /* The strings of event_at() are told apart by i % BATCH alone. */
        static char kept[BATCH][2][32];
        for (; k < BATCH && i < count; k++, i++) {
            rows[k] = event_at(order ? order[i] : i, count, from, to);
            snprintf(kept[k][0], sizeof(kept[k][0]), "%s", rows[k].visitor_id);
            snprintf(kept[k][1], sizeof(kept[k][1]), "%s", rows[k].path);
            rows[k].visitor_id = kept[k][0];
            rows[k].path = kept[k][1];
        }
        fx_append(db, producer, n, rows, k);
    }
}

/* ---- looking at what is stored ---- */

struct grains {
    uint32_t level0, hours, days, months, runs_beyond_one;
};

static struct grains look(struct tally *db)
{
    struct grains g = {0};
    struct tl_version *v = tl_current_acquire(&db->current);
    for (uint32_t t = 0; t < v->table_count; t++)
        for (uint32_t s = 0; s < v->shard_count; s++) {
            const struct tl_segment_list *l = v->tables[t].shards[s];
            for (uint32_t i = 0; l && i < l->count; i++) {
                const struct tl_segment_meta *m = &l->segments[i]->info.meta;
                const struct tl_segment_meta *before =
                    i > l->level0_count ? &l->segments[i - 1]->info.meta : NULL;
                int64_t length = m->level > 0 ? m->end_us - m->start_us : 0;
                g.level0 += m->level == 0;
                g.hours += length == TL_HOUR_US;
                g.days += length == DAY;
                g.months += length > DAY;
                g.runs_beyond_one += before && before->start_us == m->start_us &&
                                     before->end_us == m->end_us &&
                                     before->provenance[1] != m->provenance[1];
            }
        }
    tl_version_unref(v);
    return g;
}

/* What inspect says of all segments, without the names of packs, and without the level, which says
 * how many merges it took. */
static void describe(struct tally *db, struct tl_buffer *out)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer json;
    tl_buffer_init(&json, "inspect", 64 << 20);
    assert_ok(&st, tally_inspect(db, NULL, &json, &st));
    tl_buffer_put_u8(&json, 0);
    static const char *const skips[2][2] = {{"\"pack\":", "\"table\""}, {"\"level\":", "\"rows\""}};
    const char *at = (const char *)json.data;
    for (int turn = 0; *at; turn = !turn) {
        const char *from = strstr(at, skips[turn][0]);
        size_t size = from ? (size_t)(from - at) : strlen(at);
        tl_buffer_put(out, at, size);
        at = from ? strstr(from, skips[turn][1]) : at + size;
    }
    tl_buffer_deinit(&json);
}

static void compare_packs(struct tl_io_sim *a, struct tl_io_sim *b, uint64_t step)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_names x, y;
    assert_ok(&st, tl_io_list(tl_io_sim_io(a), "packs", &x, &st));
    assert_ok(&st, tl_io_list(tl_io_sim_io(b), "packs", &y, &st));
    if (x.count != y.count)
        fail_msg("step %llu: %u packs instead of %u", (unsigned long long)step, y.count, x.count);
    for (uint32_t i = 0; i < x.count; i++) {
        char path[300];
        struct tl_buffer p, q;
        tl_buffer_init(&p, "pack", 1 << 28);
        tl_buffer_init(&q, "pack", 1 << 28);
        assert_string_equal(x.names[i], y.names[i]);
        snprintf(path, sizeof(path), "packs/%s", x.names[i]);
        assert_ok(&st, tl_io_sim_get(a, path, &p, &st));
        assert_ok(&st, tl_io_sim_get(b, path, &q, &st));
        if (p.size != q.size || memcmp(p.data, q.data, p.size) != 0)
            fail_msg("step %llu: %s differs", (unsigned long long)step, path);
        tl_buffer_deinit(&p);
        tl_buffer_deinit(&q);
    }
    tl_io_names_free(&x);
    tl_io_names_free(&y);
}

static uint64_t pack_files_bytes(struct tl_io_sim *sim)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_names names;
    uint64_t bytes = 0;
    assert_ok(&st, tl_io_list(tl_io_sim_io(sim), "packs", &names, &st));
    for (uint32_t i = 0; i < names.count; i++) {
        char path[300];
        struct tl_buffer b;
        tl_buffer_init(&b, "pack", 1 << 28);
        snprintf(path, sizeof(path), "packs/%s", names.names[i]);
        if (!tl_io_sim_get(sim, path, &b, &st))
            bytes += b.size;
        tl_buffer_deinit(&b);
    }
    tl_io_names_free(&names);
    return bytes;
}

static uint64_t kept_part_bytes(struct tally *db)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < db->done_part_count; i++)
        bytes += db->done_parts[i].pack->size;
    return bytes;
}

static uint64_t merge_bytes(struct tally *db)
{
    return atomic_load(&db->counters.merge_bytes);
}

static void compact(struct tally *db)
{
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tally_compact(db, NULL, NULL, &st));
}

/* ---- the order of arrival ---- */

static void any_order_of_arrival_ends_the_same(void **state)
{
    (void)state;
    enum { ROWS = 12000 };
    static uint32_t order[ROWS];
    struct tl_buffer said[2];
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    for (uint32_t i = ROWS - 1; i > 0; i--) {
        uint32_t k = (uint32_t)(mix(i) % (i + 1)), swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
    for (int round = 0; round < 2; round++) {
        struct tl_io_sim *sim = new_sim();
        struct tally *db = open_db(
            sim, &(struct tally_options){.shards = 4, .seal_rows = 700, .no_background = round});
        sql(db, "ALTER TABLE events SET (tally.partition_rows = 40)");
        load(db, "bulk", round ? order : NULL, ROWS, T0, T0 + 31 * DAY);
        compact(db);
        struct grains g = look(db);
        assert_int_equal(g.level0 + g.hours + g.months + g.runs_beyond_one, 0);
        assert_int_equal(g.days, 4 * 31);
        assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), ROWS);
        tl_buffer_init(&said[round], "what is stored", 64 << 20);
        describe(db, &said[round]);
        tally_close(db);
        free_sim(sim);
    }
    /* Encodings, blocks, pages and bytes of each column of each segment. */
    assert_int_equal(said[0].size, said[1].size);
    assert_memory_equal(said[0].data, said[1].data, said[0].size);
    tl_buffer_deinit(&said[0]);
    tl_buffer_deinit(&said[1]);
}

static void a_late_batch_costs_one_pack(void **state)
{
    (void)state;
    enum { SHARDS = 8 };
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = new_sim();
    struct tally *db =
        open_db(sim, &(struct tally_options){.shards = SHARDS, .no_background = true});
    struct fx_event rows[BATCH];
    for (uint32_t i = 0; i < BATCH; i++)
        rows[i] = event_at(i, BATCH, T0, T0 + 30 * DAY);
    fx_append(db, "late", 1, rows, BATCH);
    assert_ok(&st, tally_flush(db, &st));
    struct tl_io_names names;
    assert_ok(&st, tl_io_list(tl_io_sim_io(sim), "packs", &names, &st));
    assert_int_equal(names.count, 1);
    tl_io_names_free(&names);
    struct tl_version *v = tl_current_acquire(&db->current);
    const struct tl_table_version *t = tl_version_find(v, 1);
    assert_non_null(t);
    for (uint32_t s = 0; s < SHARDS; s++) {
        assert_non_null(t->shards[s]);
        assert_int_equal(t->shards[s]->count, 1);
        assert_int_equal(t->shards[s]->level0_count, 1);
        assert_ptr_equal(t->shards[s]->segments[0]->pack, t->shards[0]->segments[0]->pack);
    }
    tl_version_unref(v);
    tally_close(db);
    free_sim(sim);
}

/* ---- partitions ---- */

static void partitions_follow_the_traffic_and_the_option(void **state)
{
    (void)state;
    const int64_t feb = T0 + 31 * DAY, mar = feb + 28 * DAY;
    struct tl_io_sim *sim = new_sim();
    const struct tally_options options = {.shards = 1, .seal_rows = 500, .no_background = true};
    struct tally *db = open_db(sim, &options);
    sql(db, "ALTER TABLE events SET (tally.partition_rows = 10)");
    load(db, "january", NULL, 1800, T0, T0 + 5 * DAY); /* 15 an hour */
    load(db, "february", NULL, 500, feb, feb + 10 * DAY);
    load(db, "march", NULL, 100, mar, mar + 20 * DAY);
    compact(db);
    struct grains g = look(db);
    assert_int_equal(g.hours, 5 * 24);
    assert_int_equal(g.days, 10);
    assert_int_equal(g.months, 1);
    /* Traffic grows: months become days, days hours. */
    load(db, "more march", NULL, 400, mar + 1, mar + 20 * DAY + 1);
    load(db, "more february", NULL, 5000, feb + 1, feb + 10 * DAY + 1);
    compact(db);
    g = look(db);
    assert_int_equal(g.hours, 5 * 24 + 10 * 24);
    assert_int_equal(g.days, 20);
    assert_int_equal(g.months, 0);
    /* A larger number: hours become days, days months; it outlives a restart. */
    sql(db, "ALTER TABLE events SET (tally.partition_rows = 100)");
    tally_close(db);
    db = open_db(sim, &options);
    compact(db);
    g = look(db);
    assert_int_equal(g.hours, 0);
    assert_int_equal(g.days, 5 + 10);
    assert_int_equal(g.months, 1);
    assert_int_equal(g.level0 + g.runs_beyond_one, 0);
    sql(db, "ALTER TABLE events RESET (tally.partition_rows)");
    compact(db);
    g = look(db);
    assert_int_equal(g.months, 3);
    assert_int_equal(g.hours + g.days + g.level0 + g.runs_beyond_one, 0);
    assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), 1800 + 500 + 100 + 400 + 5000);
    /* Said at creation, and shown. */
    sql(db, "CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamptz NOT NULL) WITH "
            "(tally.partition_rows = 1234567)");
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer json;
    tl_buffer_init(&json, "status", 1 << 20);
    assert_ok(&st, tally_status(db, &json, &st));
    tl_buffer_put_u8(&json, 0);
    assert_non_null(strstr((const char *)json.data, "\"partition_rows\":1234567"));
    assert_non_null(strstr((const char *)json.data, "\"partition_rows\":500000"));
    tl_buffer_deinit(&json);
    tally_close(db);
    free_sim(sim);
}

/* ---- stopping and going on ---- */

enum { PART_ROWS = 150, HALF_ROWS = 1000 };

static const struct tally_options in_parts = {
    .shards = 1, .no_background = true, .merge_part_rows = PART_ROWS};

/* A compacted half of the rows, and the other half at level 0: merging them all takes a merge of
 * level 0 and one of runs, several parts each. */
static struct tl_io_sim *half_merged(void)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = new_sim();
    struct tally *db = open_db(sim, &in_parts);
    load(db, "first", NULL, HALF_ROWS, T0, T0 + 20 * DAY);
    compact(db);
    load(db, "second", NULL, HALF_ROWS / 2, T0 + 1, T0 + 20 * DAY + 1);
    assert_ok(&st, tally_flush(db, &st));
    load(db, "third", NULL, HALF_ROWS / 2, T0 + 2, T0 + 20 * DAY + 2);
    assert_ok(&st, tally_flush(db, &st));
    tally_close(db);
    return sim;
}

static struct tl_io_sim *clone_of(struct tl_io_sim *sim, uint64_t seed)
{
    struct tl_io_sim *copy;
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_io_sim_clone(sim, seed, &copy, &st));
    return copy;
}

static void crashes_lose_a_part_at_most(void **state)
{
    (void)state;
    const char *stride = getenv("TALLY_CRASH_STRIDE");
    struct tl_io_sim *base = half_merged();
    struct tl_io_sim *whole = clone_of(base, 7);
    struct tally *db = open_db(whole, &in_parts);
    compact(db);
    uint64_t total = merge_bytes(db);
    assert_int_equal(look(db).runs_beyond_one + look(db).level0, 0);
    tally_close(db);
    bool completed = false;
    uint32_t resumed = 0;
    for (uint64_t step = 0; !completed; step += stride ? strtoull(stride, NULL, 10) : 11) {
        struct tl_io_sim *sim = clone_of(base, 100 + step);
        struct tl_status st = TL_STATUS_INIT;
        struct tally *first = NULL;
        uint64_t before = 0;
        tl_io_sim_crash_at(sim, tl_io_sim_steps(sim) + step);
        struct tally_options options = in_parts;
        options.io_door = tl_io_sim_io(sim);
        options.memory_bytes = 64 << 20;
        options.query_threads = 1;
        options.clock = &test_clock.clock;
        if (!tally_open("sim", &options, &first, &st)) {
            completed = !tally_compact(first, NULL, NULL, &st);
            before = merge_bytes(first);
        }
        tally_close(first);
        tl_io_sim_reboot(sim);
        db = open_db(sim, &in_parts);
        uint64_t kept = kept_part_bytes(db);
        compact(db);
        /* What was finished is not made again: but for the part that was cut off, or whose
         * transaction was. */
        assert_true(merge_bytes(db) + kept <= total);
        if (merge_bytes(db) + before > total + total / 4)
            fail_msg("step %llu: %llu bytes, and %llu after the crash; %llu suffice",
                     (unsigned long long)step, (unsigned long long)before,
                     (unsigned long long)merge_bytes(db), (unsigned long long)total);
        resumed += kept > 0;
        assert_int_equal(db->done_part_count, 0);
        assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), 2 * HALF_ROWS);
        tally_close(db);
        compare_packs(whole, sim, step);
        free_sim(sim);
    }
    assert_true(resumed > 5);
    free_sim(whole);
    free_sim(base);
}

static void cancel_at_third_part(void *arg, uint64_t done, uint64_t total)
{
    struct tally *db = arg;
    assert_true(done <= total);
    if (db->merging[1].active && db->merging[1].parts_done == 3)
        tally_compact_cancel(db);
}

static void a_cancelled_compaction_goes_on_from_its_parts(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *base = half_merged();
    struct tl_io_sim *whole = clone_of(base, 7);
    struct tally *db = open_db(whole, &in_parts);
    compact(db);
    uint64_t total = merge_bytes(db);
    tally_close(db);
    for (int restart = 0; restart < 2; restart++) {
        struct tl_io_sim *sim = clone_of(base, 8);
        db = open_db(sim, &in_parts);
        assert_code(&st, TL_CANCELLED, tally_compact(db, cancel_at_third_part, db, &st));
        assert_int_equal(db->done_part_count, 3);
        uint64_t written = merge_bytes(db);
        bool did = true;
        if (restart) { /* which forgets that it was put off */
            tally_close(db);
            db = open_db(sim, &in_parts);
            written = written - merge_bytes(db);
        } else { /* nothing is merged until it is asked for again */
            assert_ok(&st, tl_merge_step(db, false, &did, &st));
            assert_false(did);
            assert_int_equal(merge_bytes(db), written);
            written = 0;
        }
        assert_int_equal(db->done_part_count, 3);
        assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), 2 * HALF_ROWS);
        compact(db);
        assert_int_equal(merge_bytes(db) + written, total);
        assert_int_equal(db->done_part_count, 0);
        tally_close(db);
        compare_packs(whole, sim, (uint64_t)restart);
        free_sim(sim);
    }
    free_sim(whole);
    free_sim(base);
}

/* Runs that pile up end the putting off. */
static void what_was_put_off_comes_back_when_runs_pile_up(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = half_merged();
    struct tally *db = open_db(sim, &in_parts);
    assert_code(&st, TL_CANCELLED, tally_compact(db, cancel_at_third_part, db, &st));
    uint32_t seals = 0;
    for (; db->request_count > 0 && seals < 3 * TL_RUNS_MAX * TL_LEVEL0_GROUP; seals++) {
        char producer[24];
        snprintf(producer, sizeof(producer), "p%u", seals);
        load(db, producer, NULL, 4, T0, T0 + 20 * DAY);
        assert_ok(&st, tally_flush(db, &st));
        for (bool did = true; did;)
            assert_ok(&st, tl_merge_step(db, false, &did, &st));
    }
    assert_int_equal(db->request_count, 0);
    assert_true(seals > TL_RUNS_MAX);
    assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), 2 * HALF_ROWS + seals * 4);
    tally_close(db);
    free_sim(sim);
}

/* ---- bounds ---- */

struct disk {
    struct tl_io_sim *sim;
    struct tally *db;
    uint64_t most, live_most;
};

static void watch_disk(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    struct disk *d = arg;
    uint64_t files = pack_files_bytes(d->sim);
    uint64_t live = files - kept_part_bytes(d->db);
    d->most = files > d->most ? files : d->most;
    d->live_most = live > d->live_most ? live : d->live_most;
}

static void disk_and_memory_are_bounded(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *base = half_merged();
    size_t peaks[2];
    for (int large = 0; large < 2; large++) {
        struct tl_io_sim *sim = clone_of(base, 3);
        struct tally_options options = in_parts;
        options.merge_part_rows = large ? 1 << 20 : PART_ROWS;
        struct tally *db = open_db(sim, &options);
        struct disk d = {.sim = sim, .db = db};
        assert_ok(&st, tally_compact(db, watch_disk, &d, &st));
        uint64_t end = pack_files_bytes(sim);
        /* Beside what is live at most the output of one merge of level 0 and one of runs. */
        assert_true(d.most > 0 && d.most <= d.live_most + 2 * end);
        peaks[large] = db->merge_memory.peak_bytes + db->level0_memory.peak_bytes;
        assert_true(db->merge_memory.peak_bytes > 0);
        assert_true(db->merge_memory.peak_bytes <= db->merge_memory.limit_bytes);
        assert_true(db->level0_memory.peak_bytes <= db->level0_memory.limit_bytes);
        assert_int_equal(db->merge_memory.used_bytes + db->level0_memory.used_bytes, 0);
        tally_close(db);
        free_sim(sim);
    }
    assert_true(peaks[0] <= peaks[1]);
    free_sim(base);
}

struct watch {
    struct tally *db;
    _Atomic bool done;
    _Atomic uint32_t most, looks;
};

static void *watch_level0(void *arg)
{
    struct watch *w = arg;
    while (!atomic_load(&w->done)) {
        struct tl_version *v = tl_current_acquire(&w->db->current);
        for (uint32_t t = 0; t < v->table_count; t++)
            for (uint32_t s = 0; s < v->shard_count; s++) {
                uint32_t n = v->tables[t].shards[s] ? v->tables[t].shards[s]->level0_count : 0;
                if (n > atomic_load(&w->most))
                    atomic_store(&w->most, n);
            }
        tl_version_unref(v);
        atomic_fetch_add(&w->looks, 1);
    }
    return NULL;
}

static void level_0_never_outgrows_its_limit(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim();
    struct tally *db = open_db(sim, &(struct tally_options){.shards = 4, .seal_rows = BATCH});
    struct watch w = {.db = db};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch_level0, &w), 0);
    load(db, "on and on", NULL, 30000, T0, T0 + 20 * DAY);
    atomic_store(&w.done, true);
    pthread_join(thread, NULL);
    print_message("at most %u segments at level 0 in %u looks\n", w.most, w.looks);
    assert_true(w.most <= TL_LEVEL0_MAX);
    assert_true(look(db).level0 <= 4 * TL_LEVEL0_MAX);
    assert_true(atomic_load(&db->counters.merges) > 0);
    assert_int_equal(fx_number(db, "SELECT count(*) FROM events"), 30000);
    tally_close(db);
    free_sim(sim);
}

/* ---- readers ---- */

static bool pack_exists(struct tl_io_sim *sim, const struct tl_pack_id *id)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer b;
    char name[TL_PACK_NAME_MAX];
    tl_buffer_init(&b, "pack", 1 << 28);
    bool is = !tl_io_sim_get(sim, tl_pack_name(id, name), &b, &st);
    tl_buffer_deinit(&b);
    return is;
}

static void a_snapshot_keeps_its_files(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = half_merged();
    struct tally *db = open_db(sim, &in_parts);
    struct tally_statement *statement;
    struct tally_cursor *cursor;
    struct tl_chunk chunk;
    struct tl_version *v = tl_current_acquire(&db->current);
    const struct tl_segment_list *l = tl_version_find(v, 1)->shards[0];
    struct tl_pack_id ids[64];
    uint32_t count = l->count < 64 ? l->count : 64;
    assert_true(count > 2);
    for (uint32_t i = 0; i < count; i++)
        ids[i] = l->segments[i]->pack->id;
    tl_version_unref(v);
    assert_ok(&st,
              tally_prepare(db, tl_slice_str("SELECT path FROM events"), NULL, &statement, &st));
    assert_ok(&st, tally_bind(statement, NULL, 0, &cursor, &st));
    compact(db);
    for (uint32_t i = 0; i < count; i++)
        assert_true(pack_exists(sim, &ids[i]));
    uint64_t rows = 0;
    do {
        assert_ok(&st, tally_step(cursor, &chunk, &st));
        rows += chunk.count;
    } while (chunk.count > 0);
    assert_int_equal(rows, 2 * HALF_ROWS);
    tally_cursor_close(cursor);
    for (uint32_t i = 0; i < count; i++)
        assert_false(pack_exists(sim, &ids[i]));
    tally_statement_close(statement);
    tally_close(db);
    free_sim(sim);
}

/* The last reference to what was replaced may be a reader's: it pays nothing, and all of it has
 * gone when the database is closed. */
static void files_go_behind_the_readers_back(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = half_merged();
    struct tally_options options = in_parts;
    options.no_background = false;
    struct tally *db = open_db(sim, &options);
    struct tl_version *v = tl_current_acquire(&db->current);
    struct tl_pack_id id = tl_version_find(v, 1)->shards[0]->segments[0]->pack->id;
    compact(db);
    assert_true(pack_exists(sim, &id));
    tl_version_unref(v); /* by the thread that frees */
    assert_ok(&st, tally_flush(db, &st));
    tally_close(db);
    assert_false(pack_exists(sim, &id));
    free_sim(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_of_arrival_ends_the_same),
        cmocka_unit_test(a_late_batch_costs_one_pack),
        cmocka_unit_test(partitions_follow_the_traffic_and_the_option),
        cmocka_unit_test(crashes_lose_a_part_at_most),
        cmocka_unit_test(a_cancelled_compaction_goes_on_from_its_parts),
        cmocka_unit_test(what_was_put_off_comes_back_when_runs_pile_up),
        cmocka_unit_test(disk_and_memory_are_bounded),
        cmocka_unit_test(level_0_never_outgrows_its_limit),
        cmocka_unit_test(a_snapshot_keeps_its_files),
        cmocka_unit_test(files_go_behind_the_readers_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
