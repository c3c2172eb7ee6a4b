/*
 * Promise: every record that commit_wait() acknowledged is read back, in order, once, and nothing
 * that was never appended; a durable record gone bad is TL_CORRUPT, a tail that was never
 * acknowledged is cut, and neither is ever taken for the other or misread.
 * Method: the local log over a simulated disk: a fixed workload cut at every step of its I/O, a
 * random one against a model, every bit of a small log flipped, and groups written by hand from
 * docs/FORMAT.md. Every record's bytes follow from its position, so a wrong one shows.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"
#include "storage/io_sim.h"
#include "storage/log.h"
#include "tests/test.h"

enum { PAGE = 4096, SMALL_FILE = 32768 };

static struct tl_status st;
static uint8_t body_bytes[1 << 20], read_bytes[1 << 20];
static enum tl_log_compression compression = TL_LOG_COMPRESSION_OFF;

static int compressing(void **state)
{
    (void)state;
    compression = TL_LOG_COMPRESSION_ON;
    return 0;
}

static int not_compressing(void **state)
{
    (void)state;
    compression = TL_LOG_COMPRESSION_OFF;
    return 0;
}

/* What a record holds follows from a number that stands in its first eight bytes. */
static void fill_body(uint64_t id, size_t size, uint8_t *out)
{
    struct tl_random r;
    tl_random_init(&r, id);
    tl_random_fill(&r, out, size);
    if (compression == TL_LOG_COMPRESSION_ON && id % 4 != 0) /* most groups save pages */
        for (size_t i = 64; i < size; i++)
            out[i] = out[i - 64];
    if (size >= 8)
        tl_put_u64le(out, id);
}

static struct tl_log *open_log(struct tl_io *io, uint64_t known, struct tl_log_recovered *found)
{
    struct tl_log_options options = {.file_bytes = SMALL_FILE,
                                     .spare_files = 2,
                                     .compression = compression,
                                     .log_id = 77,
                                     .known_durable = known};
    struct tl_log *log;
    assert_ok(&st, tl_log_open_local(io, "log", &options, found, &log, &st));
    return log;
}

static struct tl_io_sim *new_sim(uint64_t seed)
{
    struct tl_io_sim *sim;
    tl_status_clear(&st);
    assert_ok(&st, tl_io_sim_new(seed, &sim, &st));
    return sim;
}

static enum tl_code append(struct tl_log *log, uint64_t id, size_t size, uint64_t *position)
{
    fill_body(id, size, body_bytes);
    struct tl_slice slices[3] = {tl_slice_of(body_bytes, size / 3), tl_slice_of(NULL, 0),
                                 tl_slice_of(body_bytes + size / 3, size - size / 3)};
    return tl_log_append(log, (uint8_t)(1 + id % 255), slices, 3, position, &st);
}

static uint64_t commit(struct tl_log *log)
{
    uint64_t durable = 0;
    assert_ok(&st, tl_log_commit_begin(log, &st));
    assert_ok(&st, tl_log_commit_wait(log, &durable, &st));
    return durable;
}

/* ---- a model: the records in order ---- */

struct model_record {
    uint64_t id, position;
    size_t size;
};

struct model {
    struct model_record *records;
    size_t count, room;
    size_t acked; /* of them */
    size_t first; /* trimmed before it */
    uint64_t next_id;
};

static void model_add(struct model *m, uint64_t id, size_t size, uint64_t position)
{
    if (m->count == m->room) {
        m->room = m->room ? m->room * 2 : 64;
        m->records = realloc(m->records, m->room * sizeof(*m->records));
        assert_non_null(m->records);
    }
    m->records[m->count++] = (struct model_record){id, position, size};
}

/* The records from a reader are those of the model from `from` on; returns where they end. */
static size_t check_reader(struct tl_log_reader *reader, const struct model *m, size_t from)
{
    size_t i = from;
    for (;; i++) {
        struct tl_log_record record;
        bool end = false;
        assert_ok(&st, tl_log_read_next(reader, &record, &end, &st));
        if (end)
            break;
        assert_true(i < m->count); /* nothing is invented */
        const struct model_record *want = &m->records[i];
        assert_int_equal(record.position, want->position);
        assert_int_equal(record.type, 1 + want->id % 255);
        assert_int_equal(record.body.size, want->size);
        fill_body(want->id, want->size, read_bytes);
        if (want->size)
            assert_memory_equal(record.body.data, read_bytes, want->size);
    }
    tl_log_read_close(reader);
    return i;
}

/* Index of the first record after a position. */
static size_t model_after(const struct model *m, uint64_t position)
{
    size_t i = 0;
    while (i < m->count && m->records[i].position <= position)
        i++;
    return i;
}

static size_t replay(struct tl_log *log, const struct model *m, uint64_t after)
{
    struct tl_log_reader *reader;
    assert_ok(&st, tl_log_read_open(log, after, &reader, &st));
    return check_reader(reader, m, model_after(m, after));
}

/* ---- plain use ---- */

static void run_plain(struct tl_io *io)
{
    struct model m = {0};
    struct tl_log_recovered found;
    struct tl_log *log = open_log(io, 0, &found);
    assert_true(found.created);
    assert_int_equal(found.durable_position, 0);
    assert_int_equal(found.first_position, 1);
    uint64_t position, durable = 0, last = 0;
    assert_ok(&st, tl_log_commit_begin(log, &st)); /* nothing */
    assert_ok(&st, tl_log_commit_wait(log, &durable, &st));
    assert_int_equal(durable, 0);
    /* Appends go on while a commit is in flight. */
    for (uint64_t id = 1; id <= 400; id++) {
        size_t size = id % 7 == 0 ? 0 : (id * 131) % 6000;
        assert_ok(&st, append(log, id, size, &position));
        assert_true(position > last);
        last = position;
        model_add(&m, id, size, position);
        if (id % 3 == 0) {
            assert_ok(&st, tl_log_commit_wait(log, &durable, &st));
            assert_ok(&st, tl_log_commit_begin(log, &st));
        }
    }
    assert_ok(&st, tl_log_commit_wait(log, &durable, &st));
    assert_int_equal(commit(log), last);
    assert_int_equal(replay(log, &m, 0), 400);
    assert_int_equal(replay(log, &m, m.records[250].position), 400);
    assert_int_equal(replay(log, &m, last), 400);
    struct tl_log_local_info info;
    tl_log_local_info(log, &info);
    assert_true(info.files > 10);
    assert_int_equal(info.compressed_groups > 20, compression == TL_LOG_COMPRESSION_ON);
    assert_int_equal(info.bytes, (info.files + info.spare_files) * SMALL_FILE);
    assert_int_equal(info.durable_position, last);
    tl_log_close(log);

    log = open_log(io, last, &found);
    assert_false(found.created);
    assert_false(found.cut);
    assert_int_equal(found.log_id, 77);
    assert_true(found.durable_position >= last);
    assert_int_equal(replay(log, &m, 0), 400);
    assert_ok(&st, append(log, 401, 100, &position));
    assert_true(position > last);
    model_add(&m, 401, 100, position);
    commit(log);
    struct tl_log_reader *reader;
    assert_ok(&st, tl_log_read_open_dir(io, "log", 0, &reader, &st));
    assert_int_equal(check_reader(reader, &m, 0), 401);
    tl_log_close(log);

    struct tl_log_report report;
    assert_ok(&st, tl_log_verify(io, "log", &report, &st));
    assert_int_equal(report.records, 401);
    assert_int_equal(report.first_position, m.records[0].position);
    assert_int_equal(report.last_position, position);
    assert_int_equal(report.log_id, 77);
    assert_string_equal(report.bad_file, "");
    assert_true(report.files > 10 && report.groups > 100);
    assert_int_equal(report.file_bytes % SMALL_FILE, 0);
    free(m.records);
    tl_log_close(NULL);
    tl_log_read_close(NULL);
}

static void what_is_appended_is_replayed_sim(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    tl_io_sim_set_short(sim, true);
    run_plain(tl_io_sim_io(sim));
    tl_io_free(tl_io_sim_io(sim));
}

static void make_temp(char dir[64])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, 64, "%.40s/tally-log-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(dir));
}

static void remove_temp(const char *dir)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static void what_is_appended_is_replayed_disk(void **state)
{
    (void)state;
    for (int maker = 0; maker < 2; maker++) {
        char dir[64];
        struct tl_io *io;
        make_temp(dir);
        if (maker == 0)
            assert_ok(&st, tl_io_open_default(dir, &io, NULL, NULL, &st));
        else
            assert_ok(&st, tl_io_open_posix(dir, &io, &st));
        run_plain(io);
        tl_io_free(io);
        remove_temp(dir);
    }
}

static void limits_are_told(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m = {0};
    struct tl_log *log = open_log(io, 0, NULL);
    struct tl_log_local_info info;
    tl_log_local_info(log, &info);
    size_t largest = (size_t)info.group_bytes_max - 64 - 16;
    assert_int_equal(info.group_bytes_max, SMALL_FILE - PAGE);
    uint64_t position;
    assert_code(&st, TL_LIMIT, append(log, 1, largest + 1, &position));
    assert_ok(&st, append(log, 1, largest, &position));
    model_add(&m, 1, largest, position);
    assert_code(&st, TL_BUSY, append(log, 2, 0, &position));
    commit(log);
    assert_ok(&st, append(log, 2, 0, &position)); /* the log was not harmed */
    model_add(&m, 2, 0, position);
    commit(log);
    assert_int_equal(replay(log, &m, 0), 2);
    assert_code(&st, TL_INVALID, tl_log_trim(log, position + 1, &st));
    tl_log_close(log);

    struct tl_log_options options = {.file_bytes = 4096};
    assert_code(&st, TL_INVALID, tl_log_open_local(io, "log", &options, NULL, &log, &st));
    char name[TL_LOG_DIR_MAX + 2];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    options.file_bytes = 0;
    assert_code(&st, TL_INVALID, tl_log_open_local(io, name, &options, NULL, &log, &st));
    struct tl_log_report report;
    assert_code(&st, TL_NOT_FOUND, tl_log_verify(io, "none", &report, &st));
    struct tl_log_reader *reader;
    assert_code(&st, TL_NOT_FOUND, tl_log_read_open_dir(io, "none", 0, &reader, &st));
    free(m.records);
    tl_io_free(io);
}

static void trimmed_files_are_used_again(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m = {0};
    struct tl_log *log = open_log(io, 0, NULL);
    struct tl_log_local_info info;
    uint64_t position;
    for (uint64_t id = 1; id <= 600; id++) {
        assert_ok(&st, append(log, id, 3000, &position));
        model_add(&m, id, 3000, position);
        commit(log);
        if (id % 20 == 0)
            assert_ok(&st, tl_log_trim(log, position - 5, &st));
        if (id % 50 == 0) {
            tl_log_close(log);
            log = open_log(io, position, NULL);
        }
        tl_log_local_info(log, &info);
        assert_true(info.files + info.spare_files <= 7);
    }
    tl_log_local_info(log, &info);
    assert_true(info.first_position > 500);
    assert_true(info.first_position <= position - 4); /* what was kept is kept */
    struct tl_log_reader *reader;
    assert_code(&st, TL_TOO_OLD, tl_log_read_open(log, 100, &reader, &st));
    assert_code(&st, TL_TOO_OLD, tl_log_read_open_dir(io, "log", 100, &reader, &st));
    assert_int_equal(replay(log, &m, position - 5), 600);
    assert_ok(&st, tl_log_read_open(log, 0, &reader, &st)); /* from the oldest kept */
    assert_int_equal(check_reader(reader, &m, model_after(&m, info.first_position - 1)), 600);
    tl_log_close(log);
    struct tl_log_report report;
    assert_ok(&st, tl_log_verify(io, "log", &report, &st));
    free(m.records);
    tl_io_free(io);
}

/* ---- crashes ---- */

/* One workload over every kind of operation; false when the power went. */
static bool workload(struct tl_log *log, struct model *m, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t records = 1 + i % 3;
        for (uint32_t k = 0; k < records; k++) {
            uint64_t position, id = m->next_id++;
            size_t size = (size_t)(id * 977 % 5000);
            if (append(log, id, size, &position) != TL_OK)
                return false;
            model_add(m, id, size, position);
        }
        uint64_t durable;
        if (tl_log_commit_begin(log, &st) != TL_OK ||
            tl_log_commit_wait(log, &durable, &st) != TL_OK)
            return false;
        m->acked = m->count;
        assert_int_equal(m->records[m->count - 1].position, durable);
        if (i % 9 == 8) {
            uint64_t upto = m->records[m->count - 4].position;
            if (tl_log_trim(log, upto, &st) != TL_OK)
                return false;
        }
    }
    return true;
}

static enum tl_code try_open(struct tl_io *io, uint64_t known, struct tl_log **log)
{
    struct tl_log_options options = {.file_bytes = SMALL_FILE,
                                     .spare_files = 1,
                                     .compression = compression,
                                     .log_id = 5,
                                     .known_durable = known};
    return tl_log_open_local(io, "log", &options, NULL, log, &st);
}

/* After a restart: what was acknowledged is there, and a prefix of what was sent. What was sent
 * and is there counts as acknowledged from now on. */
static void check_recovered(struct tl_log *log, struct model *m)
{
    struct tl_log_local_info info;
    tl_log_local_info(log, &info);
    struct tl_log_reader *reader;
    assert_ok(&st, tl_log_read_open(log, 0, &reader, &st));
    size_t first = model_after(m, info.first_position - 1);
    size_t end = check_reader(reader, m, first);
    assert_true(end >= m->acked);
    m->count = end;
    m->acked = end;
}

static void every_crash_keeps_what_was_acked(void **state)
{
    (void)state;
    bool completed = false;
    uint32_t steps = 0;
    for (uint32_t step = 0; !completed; step++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct tl_io_sim *sim = new_sim(step * 31 + seed);
            struct tl_io *io = tl_io_sim_io(sim);
            struct model m = {.next_id = 1};
            struct tl_random random;
            tl_random_init(&random, step * 7 + seed);
            tl_io_sim_crash_at(sim, step);
            struct tl_log *log = NULL;
            completed = try_open(io, 0, &log) == TL_OK && workload(log, &m, 24);
            if (log)
                tl_log_close(log);
            /* Recover; let the power go in there too, a few times. */
            for (uint32_t again = 0;; again++) {
                tl_status_clear(&st);
                tl_io_sim_reboot(sim);
                uint64_t known = m.acked ? m.records[m.acked - 1].position : 0;
                if (again < 3)
                    tl_io_sim_crash_at(sim, tl_io_sim_steps(sim) + tl_random_below(&random, 40));
                log = NULL;
                enum tl_code rc = try_open(io, known, &log);
                if (rc == TL_OK && again < 3) {
                    /* It may go on to append before the power goes. */
                    tl_io_sim_crash_at(sim, UINT64_MAX);
                    check_recovered(log, &m);
                    tl_io_sim_crash_at(sim, tl_io_sim_steps(sim) + tl_random_below(&random, 40));
                    (void)workload(log, &m, 6);
                    tl_log_close(log);
                    continue;
                }
                if (rc == TL_OK) {
                    check_recovered(log, &m);
                    tl_log_close(log);
                    break;
                }
                if (again >= 3 || rc != TL_CLOSED)
                    fail_msg("step %u seed %d: %s", step, (int)seed, st.text);
            }
            struct tl_log_report report;
            assert_ok(&st, tl_log_verify(io, "log", &report, &st));
            free(m.records);
            tl_io_free(io);
        }
        steps = step;
    }
    print_message("cut at each of %u steps\n", steps);
    assert_true(steps > 80);
}

static void random_operations_follow_the_model(void **state)
{
    (void)state;
    const char *given = getenv("TALLY_SEED");
    uint64_t seed =
        given ? strtoull(given, NULL, 10) : (uint64_t)tl_clock_wall_us(tl_clock_system());
    print_message("TALLY_SEED=%llu\n", (unsigned long long)seed);
    for (uint64_t run = 0; run < 60; run++) {
        struct tl_random r;
        tl_random_init(&r, seed + run);
        struct tl_io_sim *sim = new_sim(tl_random_u64(&r));
        struct tl_io *io = tl_io_sim_io(sim);
        struct model m = {.next_id = 1};
        struct tl_log *log;
        assert_ok(&st, try_open(io, 0, &log));
        bool flying = false;
        size_t flying_count = 0;
        for (uint32_t op = 0; op < 150; op++) {
            uint64_t position, durable, what = tl_random_below(&r, 100);
            if (what < 50) {
                size_t size = (size_t)tl_random_below(&r, what < 5 ? 28000 : 2000);
                uint64_t id = m.next_id++;
                enum tl_code rc = append(log, id, size, &position);
                if (rc == TL_BUSY)
                    tl_status_clear(&st);
                else
                    assert_int_equal(rc, TL_OK);
                if (rc == TL_OK)
                    model_add(&m, id, size, position);
            } else if (what < 70 && !flying) {
                assert_ok(&st, tl_log_commit_begin(log, &st));
                flying = true;
                flying_count = m.count;
            } else if (what < 85) {
                assert_ok(&st, tl_log_commit_wait(log, &durable, &st));
                if (flying)
                    m.acked = flying_count;
                flying = false;
            } else if (what < 90 && !flying && m.acked > 0) {
                size_t upto = (size_t)tl_random_below(&r, m.acked);
                assert_ok(&st, tl_log_trim(log, m.records[upto].position, &st));
            } else if (what < 95) {
                tl_log_close(log); /* waits for what flies; the open group is dropped */
                if (flying)
                    m.acked = flying_count;
                flying = false;
                m.count = m.acked;
                assert_ok(&st, try_open(io, 0, &log));
                check_recovered(log, &m);
            } else {
                uint64_t known = m.acked ? m.records[m.acked - 1].position : 0;
                tl_io_sim_crash_at(sim, tl_io_sim_steps(sim) + tl_random_below(&r, 4));
                if (flying)
                    (void)!tl_log_commit_wait(log, &durable, &st);
                tl_log_close(log);
                if (!flying)
                    m.count = m.acked;
                else
                    m.count = flying_count;
                flying = false;
                tl_status_clear(&st);
                tl_io_sim_reboot(sim);
                assert_ok(&st, try_open(io, known, &log));
                check_recovered(log, &m);
            }
        }
        tl_log_close(log);
        free(m.records);
        tl_io_free(io);
    }
}

/* ---- failures ---- */

static void a_failed_sync_ends_the_log_and_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct tl_io_sim *sim = new_sim(seed);
        struct tl_io *io = tl_io_sim_io(sim);
        struct model m = {.next_id = 1};
        struct tl_log *log;
        uint64_t position, durable;
        assert_ok(&st, try_open(io, 0, &log));
        /* So far that no next file is being zeroed beside the commit. */
        assert_true(workload(log, &m, compression == TL_LOG_COMPRESSION_ON ? 2 : 3));
        tl_io_sim_fail_at(sim, tl_io_sim_steps(sim) + seed % 2, false); /* write, or sync */
        assert_ok(&st, append(log, 500, 2000, &position));
        model_add(&m, 500, 2000, position);
        assert_ok(&st, tl_log_commit_begin(log, &st));
        assert_code(&st, TL_IO, tl_log_commit_wait(log, &durable, &st));
        uint64_t steps = tl_io_sim_steps(sim);
        assert_code(&st, TL_IO, append(log, 501, 10, &position));
        assert_code(&st, TL_IO, tl_log_commit_begin(log, &st));
        assert_code(&st, TL_IO, tl_log_commit_wait(log, &durable, &st));
        assert_code(&st, TL_IO, tl_log_trim(log, 1, &st));
        assert_int_equal(tl_io_sim_steps(sim), steps);
        tl_log_close(log);
        /* A new process: the group may look whole, but the disk never got it, and would lie about
         * a second sync. Recovery makes it durable, or does not count it. */
        assert_ok(&st, try_open(io, m.records[m.acked - 1].position, &log));
        check_recovered(log, &m);
        size_t counted = m.acked;
        tl_io_sim_set_survival(sim, 0);
        tl_io_sim_reboot(sim);
        tl_log_close(log);
        assert_ok(&st, try_open(io, m.records[m.acked - 1].position, &log));
        check_recovered(log, &m);
        assert_int_equal(m.acked, counted);
        tl_log_close(log);
        free(m.records);
        tl_io_free(io);
    }
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    uint32_t met = 0;
    for (uint64_t pages = 9; pages < 60; pages++) {
        struct tl_io_sim *sim = new_sim(pages);
        struct tl_io *io = tl_io_sim_io(sim);
        struct model m = {.next_id = 1};
        struct tl_log *log;
        tl_io_sim_set_capacity(sim, pages * PAGE);
        assert_ok(&st, try_open(io, 0, &log));
        if (!workload(log, &m, 100)) { /* beyond some size trimming keeps up */
            assert_int_equal(st.code, TL_FULL);
            tl_status_clear(&st);
            met++;
        }
        tl_log_close(log);
        tl_io_sim_set_capacity(sim, 0);
        tl_io_sim_reboot(sim);
        assert_ok(&st, try_open(io, m.acked ? m.records[m.acked - 1].position : 0, &log));
        check_recovered(log, &m);
        assert_true(workload(log, &m, 10));
        tl_log_close(log);
        free(m.records);
        tl_io_free(io);
    }
    assert_true(met > 10);
}

/* ---- corruption and tails ---- */

/* Three groups of records, and with `closed` the mark behind them. Returns the end of the last
 * group of records. */
static uint64_t small_log(struct tl_io_sim *sim, struct model *m, bool closed)
{
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_log *log = open_log(io, 0, NULL);
    uint64_t position;
    for (uint64_t group = 0; group < 3; group++) {
        for (uint64_t id = group * 2 + 1; id <= group * 2 + 2; id++) {
            assert_ok(&st, append(log, id, 300, &position));
            model_add(m, id, 300, position);
        }
        commit(log);
    }
    if (!closed)
        tl_io_sim_crash_at(sim, tl_io_sim_steps(sim));
    tl_log_close(log);
    if (!closed) {
        tl_io_sim_set_survival(sim, 0);
        tl_io_sim_reboot(sim);
    }
    return PAGE + 3 * PAGE;
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    static const char name[] = "log/0000000001.log";
    for (int closed = 0; closed < 2; closed++) {
        struct tl_io_sim *sim = new_sim(1);
        struct tl_io *io = tl_io_sim_io(sim);
        struct model m = {0};
        uint64_t end = small_log(sim, &m, closed);
        /* Groups before the last have a successor that proves them. */
        uint64_t proven = closed ? end : end - PAGE;
        uint64_t used = closed ? end + PAGE : end;
        for (uint64_t at = 0; at < used; at++) {
            for (uint32_t bit = 0; bit < 8; bit++) {
                if (at % PAGE >= 80 && bit != at % 8)
                    continue; /* every bit of headers, one of each other byte */
                assert_true(tl_io_sim_flip(sim, name, at, (uint8_t)(1 << bit)));
                struct tl_log_report report;
                enum tl_code rc = tl_log_verify(io, "log", &report, &st);
                if (at < proven) {
                    assert_int_equal(rc, TL_CORRUPT);
                    assert_string_equal(report.bad_file, name);
                    assert_int_equal(report.bad_offset, at < PAGE ? 0 : at / PAGE * PAGE);
                } else {
                    assert_int_equal(rc, TL_OK);
                    assert_int_equal(report.records, closed ? 6 : 4);
                }
                tl_status_clear(&st);
                assert_true(tl_io_sim_flip(sim, name, at, (uint8_t)(1 << bit)));
            }
            if (at % PAGE > 100 && at % 61 != 0)
                continue;
            struct tl_io_sim *copy;
            assert_ok(&st, tl_io_sim_clone(sim, at, &copy, &st));
            assert_true(tl_io_sim_flip(copy, name, at, 0x10));
            struct tl_log_options options = {.file_bytes = SMALL_FILE};
            struct tl_log_recovered found;
            struct tl_log *log;
            uint64_t hash = tl_io_sim_hash(copy);
            enum tl_code rc =
                tl_log_open_local(tl_io_sim_io(copy), "log", &options, &found, &log, &st);
            if (at < proven) {
                assert_int_equal(rc, TL_CORRUPT);
                assert_int_equal(tl_io_sim_hash(copy), hash); /* reported, and left as it is */
                tl_status_clear(&st);
            } else {
                assert_int_equal(rc, TL_OK);
                assert_int_equal(replay(log, &m, 0), closed ? 6 : 4);
                tl_log_close(log);
            }
            tl_io_free(tl_io_sim_io(copy));
        }
        free(m.records);
        tl_io_free(io);
    }
}

/* A group by hand, from docs/FORMAT.md: one record of type 9. */
static void put_group(uint8_t *file, uint64_t offset, uint64_t incarnation, uint64_t number,
                      uint64_t known, uint64_t position, const char *text)
{
    uint8_t *g = file + offset, key[24];
    size_t size = strlen(text);
    memset(g, 0, PAGE);
    tl_put_u64le(key, 77); /* the log's id */
    tl_put_u64le(key + 8, incarnation);
    tl_put_u64le(key + 16, offset);
    uint64_t seed = tl_hash64(key, 24);
    tl_put_u64le(g + 64, position);
    tl_put_u32le(g + 72, (uint32_t)size);
    g[76] = 9;
    memcpy(g + 80, text, size);
    tl_put_u32le(g, 0x31505247);
    tl_put_u32le(g + 4, (uint32_t)(16 + size));
    tl_put_u64le(g + 8, number);
    tl_put_u64le(g + 16, incarnation);
    tl_put_u64le(g + 24, known);
    tl_put_u64le(g + 32, position);
    tl_put_u32le(g + 40, 1);
    tl_put_u64le(g + 48, tl_hash64_seed(g + 64, PAGE - 64, seed));
    tl_put_u64le(g + 56, tl_hash64_seed(g, 56, seed));
}

static void put_file(uint8_t *file, uint64_t number, uint64_t incarnation, uint64_t previous,
                     uint64_t position, uint64_t group)
{
    uint8_t key[24];
    memset(file, 0, SMALL_FILE);
    memcpy(file, "TALLYLOG", 8);
    tl_put_u16le(file + 8, 1);
    tl_put_u64le(file + 16, 77);
    tl_put_u64le(file + 24, number);
    tl_put_u64le(file + 32, incarnation);
    tl_put_u64le(file + 40, previous);
    tl_put_u64le(file + 48, position);
    tl_put_u64le(file + 56, group);
    tl_put_u64le(file + 64, SMALL_FILE);
    tl_put_u64le(key, 77);
    tl_put_u64le(key + 8, incarnation);
    tl_put_u64le(key + 16, 0);
    tl_put_u64le(file + PAGE - 8, tl_hash64_seed(file, PAGE - 8, tl_hash64(key, 24)));
}

static uint8_t hand[SMALL_FILE];

/* A compressed group by hand: `size` is what it claims, `frame` what stands behind it. */
static void put_compressed(uint64_t offset, uint32_t records, uint32_t flags, uint32_t size,
                           const uint8_t *frame, size_t frame_size)
{
    uint8_t key[24], *g = hand + offset;
    memset(g, 0, PAGE);
    tl_put_u32le(g, 0x31505247);
    tl_put_u32le(g + 4, (uint32_t)(4 + frame_size));
    tl_put_u64le(g + 8, 1);
    tl_put_u64le(g + 16, 1);
    tl_put_u64le(g + 32, 1);
    tl_put_u32le(g + 40, records);
    tl_put_u32le(g + 44, flags);
    tl_put_u32le(g + 64, size);
    memcpy(g + 68, frame, frame_size);
    tl_put_u64le(key, 77);
    tl_put_u64le(key + 8, 1);
    tl_put_u64le(key + 16, offset);
    uint64_t seed = tl_hash64(key, 24);
    tl_put_u64le(g + 48, tl_hash64_seed(g + 64, PAGE - 64, seed));
    tl_put_u64le(g + 56, tl_hash64_seed(g, 56, seed));
}

static struct tl_io_sim *by_hand(void)
{
    struct tl_io_sim *sim = new_sim(1);
    assert_ok(&st, tl_io_sim_put(sim, "log/0000000001.log", tl_slice_of(hand, SMALL_FILE), &st));
    return sim;
}

/* The texts of all records, joined. */
static void texts(struct tl_log *log, char *out)
{
    struct tl_log_reader *reader;
    bool end = false;
    assert_ok(&st, tl_log_read_open(log, 0, &reader, &st));
    for (;;) {
        struct tl_log_record record;
        assert_ok(&st, tl_log_read_next(reader, &record, &end, &st));
        if (end)
            break;
        assert_int_equal(record.type, 9);
        memcpy(out, record.body.data, record.body.size);
        out += record.body.size;
    }
    *out = '\0';
    tl_log_read_close(reader);
}

static void a_hole_is_a_tail_or_corruption(void **state)
{
    (void)state;
    char found[64];
    struct tl_log_recovered recovered;
    /* Groups 2 and 3 were in flight together, 2 was lost: nothing says that it was durable. Both
     * go, though 3 is whole; and 3 does not come back once a new 2 is written before it. */
    put_file(hand, 1, 4, 0, 1, 1);
    put_group(hand, PAGE, 4, 1, 0, 1, "a");
    put_group(hand, 3 * PAGE, 4, 3, 1, 3, "c");
    struct tl_io_sim *sim = by_hand();
    struct tl_log *log = open_log(tl_io_sim_io(sim), 0, &recovered);
    assert_true(recovered.cut);
    assert_int_equal(recovered.cut_offset, 2 * PAGE);
    assert_int_equal(recovered.durable_position, 1);
    texts(log, found);
    assert_string_equal(found, "a");
    uint64_t position;
    struct tl_slice b = tl_slice_str("b");
    assert_ok(&st, tl_log_append(log, 9, &b, 1, &position, &st));
    assert_int_equal(position, 2);
    commit(log);
    tl_io_sim_crash_at(sim, tl_io_sim_steps(sim));
    tl_log_close(log);
    tl_io_sim_set_survival(sim, 0);
    tl_io_sim_reboot(sim);
    log = open_log(tl_io_sim_io(sim), 2, &recovered);
    texts(log, found);
    assert_string_equal(found, "ab");
    tl_log_close(log);
    tl_io_free(tl_io_sim_io(sim));

    /* Group 3 knows that 2 was durable: corruption. */
    put_group(hand, 3 * PAGE, 4, 3, 2, 3, "c");
    sim = by_hand();
    struct tl_log_options options = {.file_bytes = SMALL_FILE};
    assert_code(&st, TL_CORRUPT,
                tl_log_open_local(tl_io_sim_io(sim), "log", &options, NULL, &log, &st));
    tl_io_free(tl_io_sim_io(sim));

    /* The same of another incarnation is what the file held before: it proves nothing. */
    put_group(hand, 3 * PAGE, 3, 3, 2, 3, "c");
    sim = by_hand();
    log = open_log(tl_io_sim_io(sim), 0, &recovered);
    assert_false(recovered.cut);
    texts(log, found);
    assert_string_equal(found, "a");
    tl_log_close(log);
    tl_io_free(tl_io_sim_io(sim));

    /* A later file proves all that comes before it. */
    static uint8_t second[SMALL_FILE];
    put_group(hand, 2 * PAGE, 4, 2, 1, 2, "b");
    put_file(second, 2, 5, 4, 3, 3);
    for (int lost = 0; lost < 2; lost++) {
        sim = by_hand();
        assert_ok(&st,
                  tl_io_sim_put(sim, "log/0000000002.log", tl_slice_of(second, SMALL_FILE), &st));
        if (lost) {
            assert_true(tl_io_sim_flip(sim, "log/0000000001.log", 2 * PAGE + 80, 1));
            assert_code(&st, TL_CORRUPT,
                        tl_log_open_local(tl_io_sim_io(sim), "log", &options, NULL, &log, &st));
        } else {
            log = open_log(tl_io_sim_io(sim), 0, &recovered);
            texts(log, found);
            assert_string_equal(found, "ab");
            tl_log_close(log);
        }
        tl_io_free(tl_io_sim_io(sim));
    }
}

static void missing_files_are_corruption(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1), *copy;
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m = {.next_id = 1};
    struct tl_log *log = open_log(io, 0, NULL);
    for (uint64_t id = 1; id <= 60; id++) {
        uint64_t position;
        assert_ok(&st, append(log, id, 3000, &position));
        commit(log);
    }
    tl_log_close(log);
    struct tl_log_options options = {.file_bytes = SMALL_FILE};
    assert_ok(&st, tl_io_sim_clone(sim, 1, &copy, &st));
    assert_ok(&st, tl_io_remove(tl_io_sim_io(copy), "log/0000000003.log", &st));
    assert_code(&st, TL_CORRUPT,
                tl_log_open_local(tl_io_sim_io(copy), "log", &options, NULL, &log, &st));
    struct tl_log_report report;
    assert_code(&st, TL_CORRUPT, tl_log_verify(tl_io_sim_io(copy), "log", &report, &st));
    tl_io_free(tl_io_sim_io(copy));

    /* The newest file gone: only somebody who knows can tell. */
    assert_ok(&st, tl_io_sim_clone(sim, 1, &copy, &st));
    struct tl_io_names names;
    char name[64] = "";
    assert_ok(&st, tl_io_list(tl_io_sim_io(copy), "log", &names, &st));
    for (uint32_t i = 0; i < names.count; i++)
        if (names.names[i][0] == '0')
            snprintf(name, sizeof(name), "log/%s", names.names[i]);
    tl_io_names_free(&names);
    assert_ok(&st, tl_io_remove(tl_io_sim_io(copy), name, &st));
    options.known_durable = 60;
    assert_code(&st, TL_CORRUPT,
                tl_log_open_local(tl_io_sim_io(copy), "log", &options, NULL, &log, &st));
    assert_code(&st, TL_CORRUPT,
                tl_log_open_local(tl_io_sim_io(copy), "elsewhere", &options, NULL, &log, &st));
    tl_io_free(tl_io_sim_io(copy));

    /* A file of a newer version is refused, not called damaged. */
    put_file(hand, 1, 1, 0, 1, 1);
    tl_put_u16le(hand + 8, 2);
    uint8_t key[24] = {77, 0, 0, 0, 0, 0, 0, 0, 1};
    tl_put_u64le(hand + PAGE - 8, tl_hash64_seed(hand, PAGE - 8, tl_hash64(key, 24)));
    copy = by_hand();
    options.known_durable = 0;
    assert_code(&st, TL_UNSUPPORTED,
                tl_log_open_local(tl_io_sim_io(copy), "log", &options, NULL, &log, &st));
    tl_io_free(tl_io_sim_io(copy));
    free(m.records);
    tl_io_free(io);
}

/* Records for compressed groups by hand: position 1, type 9. */
static size_t one_record(uint8_t *out, size_t size)
{
    memset(out, 0, 16 + size);
    tl_put_u64le(out, 1);
    tl_put_u32le(out + 8, (uint32_t)size);
    out[12] = 9;
    memset(out + 16, 'z', size);
    return 16 + size;
}

static enum tl_code verify_by_hand(uint64_t *records)
{
    struct tl_log_report report;
    struct tl_io_sim *sim = by_hand();
    uint64_t hash = tl_io_sim_hash(sim);
    struct tl_log *log = NULL;
    enum tl_code rc = tl_log_verify(tl_io_sim_io(sim), "log", &report, &st);
    *records = report.records;
    tl_status_clear(&st);
    struct tl_log_options options = {.file_bytes = SMALL_FILE};
    assert_int_equal(tl_log_open_local(tl_io_sim_io(sim), "log", &options, NULL, &log, &st), rc);
    if (rc)
        assert_int_equal(tl_io_sim_hash(sim), hash); /* reported, and left as it is */
    else
        tl_log_close(log);
    tl_status_clear(&st);
    tl_io_free(tl_io_sim_io(sim));
    return rc;
}

/* The checksums of these hold, so each is corruption, and never more than a group is allocated. */
static void compressed_groups_are_bounded(void **state)
{
    (void)state;
    static uint8_t raw[8 << 20], frame[PAGE - 68];
    uint64_t records;
    put_file(hand, 1, 1, 0, 1, 1);
    size_t size = one_record(raw, 20000);
    size_t n = ZSTD_compress(frame, sizeof(frame), raw, size, 1);
    assert_false(ZSTD_isError(n));
    put_compressed(PAGE, 1, 1, (uint32_t)size, frame, n);
    assert_int_equal(verify_by_hand(&records), TL_OK);
    assert_int_equal(records, 1);
    /* It claims more, less, nothing, more than a group may hold. */
    const uint32_t claims[] = {(uint32_t)size + 1, (uint32_t)size - 1, 0,         1,
                               48 << 20,           (48 << 20) + 1,     UINT32_MAX};
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        put_compressed(PAGE, 1, 1, claims[i], frame, n);
        assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    }
    /* More records than it holds, or fewer; an unknown flag; cut short; something behind it. */
    put_compressed(PAGE, 2, 1, (uint32_t)size, frame, n);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    put_compressed(PAGE, 1, 2, (uint32_t)size, frame, n);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    put_compressed(PAGE, 1, 3, (uint32_t)size, frame, n);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    put_compressed(PAGE, 1, 1, (uint32_t)size, frame, n - 1);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    put_compressed(PAGE, 1, 1, (uint32_t)size, frame, n + 1);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    /* Two frames that together hold it; a frame of no bytes before it. */
    size_t half = ZSTD_compress(frame, sizeof(frame), raw, 10000, 1);
    size_t rest = ZSTD_compress(frame + half, sizeof(frame) - half, raw + 10000, size - 10000, 1);
    put_compressed(PAGE, 1, 1, (uint32_t)size, frame, half + rest);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    put_compressed(PAGE, 1, 1, (uint32_t)size, frame, 0);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    /* A bomb: a page that holds 8 MiB and claims what a group may. */
    size = one_record(raw, sizeof(raw) - 16);
    n = ZSTD_compress(frame, sizeof(frame), raw, size, 1);
    assert_false(ZSTD_isError(n));
    put_compressed(PAGE, 1, 1, 20016, frame, n);
    assert_int_equal(verify_by_hand(&records), TL_CORRUPT);
    put_compressed(PAGE, 1, 1, (uint32_t)size, frame, n);
    assert_int_equal(verify_by_hand(&records), TL_OK);
    assert_int_equal(records, 1);
}

static void flipped_bits_of_compressed_groups_are_noticed(void **state)
{
    (void)state;
    static const char name[] = "log/0000000001.log";
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_log *log = open_log(io, 0, NULL);
    uint64_t position;
    for (uint64_t id = 1; id < 4; id++) {
        assert_ok(&st, append(log, id, 12000, &position));
        commit(log);
    }
    struct tl_log_local_info info;
    tl_log_local_info(log, &info);
    assert_int_equal(info.compressed_groups, 3);
    tl_log_close(log);
    struct tl_log_report report;
    for (uint64_t at = PAGE; at < 4 * PAGE; at++) {
        uint8_t mask = (uint8_t)(1 << at % 8);
        assert_true(tl_io_sim_flip(sim, name, at, mask));
        assert_int_equal(tl_log_verify(io, "log", &report, &st), TL_CORRUPT);
        assert_int_equal(report.bad_offset, at / PAGE * PAGE);
        tl_status_clear(&st);
        assert_true(tl_io_sim_flip(sim, name, at, mask));
    }
    assert_ok(&st, tl_log_verify(io, "log", &report, &st));
    assert_int_equal(report.records, 3);
    tl_io_free(io);
}

/* tests/golden/log_v1.bin is a log file of version 1 with three groups and a mark; it is kept for
 * ever. TALLY_WRITE_GOLDEN=1 makes it (for a new version only). */
static void the_golden_log_is_read(void **state)
{
    (void)state;
    static const char path[] = "tests/golden/log_v1.bin", name[] = "log/0000000001.log";
    struct model m = {0};
    struct tl_io_sim *sim = new_sim(1);
    (void)small_log(sim, &m, true);
    struct tl_buffer b;
    tl_buffer_init(&b, "file", SMALL_FILE);
    assert_ok(&st, tl_io_sim_get(sim, name, &b, &st));
    if (getenv("TALLY_WRITE_GOLDEN")) {
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(b.data, 1, 5 * PAGE, out), 5 * PAGE);
        fclose(out);
    }
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    memset(hand, 0, sizeof(hand));
    assert_int_equal(fread(hand, 1, sizeof(hand), in), 5 * PAGE);
    fclose(in);
    assert_memory_equal(b.data, hand, SMALL_FILE); /* and is written like that today */
    tl_buffer_deinit(&b);
    tl_io_free(tl_io_sim_io(sim));
    sim = by_hand();
    struct tl_log_reader *reader;
    assert_ok(&st, tl_log_read_open_dir(tl_io_sim_io(sim), "log", 0, &reader, &st));
    assert_int_equal(check_reader(reader, &m, 0), 6);
    free(m.records);
    tl_io_free(tl_io_sim_io(sim));
}

/* tests/golden/log_v1_zstd.bin: three compressed groups. They are read for ever; another zstd may
 * write them in other bytes. */
static void the_golden_compressed_log_is_read(void **state)
{
    (void)state;
    static const char path[] = "tests/golden/log_v1_zstd.bin", name[] = "log/0000000001.log";
    struct model m = {0};
    uint64_t position;
    if (getenv("TALLY_WRITE_GOLDEN")) {
        struct tl_io_sim *sim = new_sim(1);
        struct tl_log *log = open_log(tl_io_sim_io(sim), 0, NULL);
        for (uint64_t id = 1; id < 4; id++) {
            assert_ok(&st, append(log, id, 12000, &position));
            commit(log);
        }
        tl_log_close(log);
        struct tl_buffer b;
        tl_buffer_init(&b, "file", SMALL_FILE);
        assert_ok(&st, tl_io_sim_get(sim, name, &b, &st));
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(b.data, 1, 5 * PAGE, out), 5 * PAGE);
        fclose(out);
        tl_buffer_deinit(&b);
        tl_io_free(tl_io_sim_io(sim));
    }
    for (uint64_t id = 1; id < 4; id++)
        model_add(&m, id, 12000, id);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    memset(hand, 0, sizeof(hand));
    assert_int_equal(fread(hand, 1, sizeof(hand), in), 5 * PAGE);
    fclose(in);
    struct tl_io_sim *sim = by_hand();
    struct tl_log_reader *reader;
    assert_ok(&st, tl_log_read_open_dir(tl_io_sim_io(sim), "log", 0, &reader, &st));
    assert_int_equal(check_reader(reader, &m, 0), 3);
    free(m.records);
    tl_io_free(tl_io_sim_io(sim));
}

/* ---- reading beside a writer ---- */

struct observer {
    struct tl_io *io;
    _Atomic bool stop;
    uint32_t walks, records;
    struct tl_status failure;
};

static void *observe(void *arg)
{
    struct observer *o = arg;
    while (!o->stop) {
        struct tl_log_report report;
        if (tl_log_verify(o->io, "log", &report, &o->failure) != TL_OK)
            return NULL;
        o->walks++;
        struct tl_log_reader *reader;
        enum tl_code rc = tl_log_read_open_dir(o->io, "log", 0, &reader, &o->failure);
        bool end = false;
        while (rc == TL_OK && !end) {
            struct tl_log_record record = {0};
            rc = tl_log_read_next(reader, &record, &end, &o->failure);
            if (rc || end)
                break;
            o->records++;
            uint8_t want[4000];
            fill_body(record.position, record.body.size, want);
            if (memcmp(want, record.body.data, record.body.size) != 0)
                rc = TL_FAIL(&o->failure, TL_CORRUPT, "record %llu was misread",
                             (unsigned long long)record.position);
        }
        tl_log_read_close(reader);
        if (rc && rc != TL_TOO_OLD)
            return NULL;
        tl_status_clear(&o->failure);
    }
    return NULL;
}

/* What is left of a busy time goes when the log is closed. */
static void spares_are_given_back(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_log_options options = {
        .file_bytes = SMALL_FILE, .spare_files = 5, .spare_files_closed = 1, .log_id = 5};
    struct tl_log *log;
    struct tl_log_local_info info;
    assert_ok(&st, tl_log_open_local(io, "log", &options, NULL, &log, &st));
    uint64_t position = 0;
    for (uint64_t id = 1; id <= 20; id++) {
        assert_ok(&st, append(log, id, 12000, &position));
        commit(log);
    }
    assert_ok(&st, tl_log_trim(log, position, &st));
    tl_log_local_info(log, &info);
    assert_int_equal(info.spare_files, 5);
    tl_log_close(log);
    assert_ok(&st, tl_log_open_local(io, "log", &options, NULL, &log, &st));
    tl_log_local_info(log, &info);
    assert_int_equal(info.spare_files, 1);
    assert_int_equal(info.files, 1);
    tl_log_close(log);
    tl_io_free(io);
}

static void others_read_while_it_is_written_and_trimmed(void **state)
{
    (void)state;
    char dir[64];
    struct tl_io *io, *other;
    make_temp(dir);
    assert_ok(&st, tl_io_open_posix(dir, &io, &st));
    assert_ok(&st, tl_io_open_posix(dir, &other, &st));
    struct tl_log *log = open_log(io, 0, NULL);
    struct observer o = {.io = other};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, observe, &o), 0);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t id = 1;
    do {
        uint64_t position = 0;
        for (uint32_t i = 0; i < 3; i++, id++) {
            size_t size = 8 + (size_t)(id * 331 % 3900);
            fill_body(id, size, body_bytes);
            struct tl_slice s = tl_slice_of(body_bytes, size);
            assert_ok(&st, tl_log_append(log, 1, &s, 1, &position, &st));
            assert_int_equal(position, id);
        }
        commit(log);
        if (id % 30 == 1 && id > 100)
            assert_ok(&st, tl_log_trim(log, id - 60, &st));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 2);
    o.stop = true;
    pthread_join(thread, NULL);
    if (o.failure.code)
        fail_msg("after %u walks: %s", o.walks, o.failure.text);
    print_message("%u walks, %u records read beside %llu written\n", o.walks, o.records,
                  (unsigned long long)id);
    assert_true(o.walks > 0);
    tl_log_close(log);
    tl_io_free(io);
    tl_io_free(other);
    remove_temp(dir);
}

#define COMPRESSING(test)                                                                          \
    {                                                                                              \
        "compressing: " #test, test, compressing, not_compressing, NULL                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_replayed_sim),
        cmocka_unit_test(what_is_appended_is_replayed_disk),
        cmocka_unit_test(limits_are_told),
        cmocka_unit_test(trimmed_files_are_used_again),
        cmocka_unit_test(every_crash_keeps_what_was_acked),
        cmocka_unit_test(random_operations_follow_the_model),
        cmocka_unit_test(a_failed_sync_ends_the_log_and_loses_nothing),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(a_hole_is_a_tail_or_corruption),
        cmocka_unit_test(missing_files_are_corruption),
        cmocka_unit_test(the_golden_log_is_read),
        cmocka_unit_test(others_read_while_it_is_written_and_trimmed),
        cmocka_unit_test(spares_are_given_back),
        cmocka_unit_test(compressed_groups_are_bounded),
        COMPRESSING(what_is_appended_is_replayed_sim),
        COMPRESSING(what_is_appended_is_replayed_disk),
        COMPRESSING(trimmed_files_are_used_again),
        COMPRESSING(every_crash_keeps_what_was_acked),
        COMPRESSING(random_operations_follow_the_model),
        COMPRESSING(a_failed_sync_ends_the_log_and_loses_nothing),
        COMPRESSING(a_full_disk_loses_nothing),
        COMPRESSING(others_read_while_it_is_written_and_trimmed),
        COMPRESSING(the_golden_compressed_log_is_read),
        COMPRESSING(flipped_bits_of_compressed_groups_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
