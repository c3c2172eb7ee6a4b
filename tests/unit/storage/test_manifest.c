/*
 * Promise: an edit that append() acknowledged is replayed, whole, in order and once; a checkpoint
 * replaces all before it atomically; a durable transaction gone bad is TL_CORRUPT, an incomplete
 * last one is cut.
 * Method: over the simulated disk: a workload with checkpoints cut at every step of its I/O, every
 * bit of a small manifest flipped, failing syncs, a full disk, a reader beside the writer. The
 * state is a map of small integers, so that a model is an array.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "storage/io_sim.h"
#include "storage/manifest.h"
#include "tests/test.h"

enum { KEYS = 16, PAGE = 4096 };

static struct tl_status st;

/* An edit sets one key: u32 key, u32 value, and filling that follows from them. */
struct state {
    uint32_t values[KEYS];
    uint32_t edits;
};

static uint8_t edit_bytes[4 << 20];

static struct tl_slice edit_make(uint32_t key, uint32_t value, size_t size)
{
    tl_put_u32le(edit_bytes, key);
    tl_put_u32le(edit_bytes + 4, value);
    for (size_t i = 8; i < size; i++)
        edit_bytes[i] = (uint8_t)(key + value * 31 + i);
    return tl_slice_of(edit_bytes, size);
}

static enum tl_code edit_apply(void *context, struct tl_slice payload, struct tl_status *status)
{
    struct state *s = context;
    if (payload.size < 8 || tl_get_u32le(payload.data) >= KEYS)
        return TL_FAIL(status, TL_CORRUPT, "not an edit");
    uint32_t key = tl_get_u32le(payload.data), value = tl_get_u32le(payload.data + 4);
    for (size_t i = 8; i < payload.size; i++)
        if (payload.data[i] != (uint8_t)(key + value * 31 + i))
            return TL_FAIL(status, TL_CORRUPT, "a damaged edit");
    s->values[key] = value;
    s->edits++;
    return TL_OK;
}

static enum tl_code state_write(void *context, struct tl_manifest_writer *w,
                                struct tl_status *status)
{
    const struct state *s = context;
    for (uint32_t key = 0; key < KEYS; key++) {
        enum tl_code rc = tl_manifest_put(w, edit_make(key, s->values[key], 100), status);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static struct tl_io_sim *new_sim(uint64_t seed)
{
    struct tl_io_sim *sim;
    tl_status_clear(&st);
    assert_ok(&st, tl_io_sim_new(seed, &sim, &st));
    return sim;
}

static enum tl_code try_open(struct tl_io *io, enum tl_manifest_mode mode, struct state *s,
                             struct tl_manifest **m)
{
    *s = (struct state){0};
    return tl_manifest_open(io, mode, 99, edit_apply, s, m, &st);
}

static void run_plain(struct tl_io *io)
{
    struct state s, model = {0};
    struct tl_manifest *m;
    struct tl_manifest_info info;
    assert_code(&st, TL_NOT_FOUND, try_open(io, TL_MANIFEST_OPEN, &s, &m));
    assert_code(&st, TL_NOT_FOUND, try_open(io, TL_MANIFEST_READ_ONLY, &s, &m));
    assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m));
    assert_int_equal(s.edits, 0);
    for (uint32_t i = 1; i <= 100; i++) {
        size_t size = i == 50 ? 3 << 20 : 8 + i * 97;
        model.values[i % KEYS] = i;
        assert_ok(&st, tl_manifest_append(m, edit_make(i % KEYS, i, size), &st));
    }
    tl_manifest_info(m, &info);
    assert_int_equal(info.transactions, 100);
    assert_int_equal(info.file_number, 1);
    assert_true(tl_manifest_wants_checkpoint(m));
    tl_manifest_close(m);

    assert_ok(&st, try_open(io, TL_MANIFEST_OPEN, &s, &m));
    assert_int_equal(s.edits, 100);
    assert_memory_equal(s.values, model.values, sizeof(s.values));
    assert_ok(&st, tl_manifest_checkpoint(m, state_write, &model, &st));
    assert_false(tl_manifest_wants_checkpoint(m));
    tl_manifest_info(m, &info);
    assert_int_equal(info.file_number, 2);
    assert_int_equal(info.transactions, 0);
    assert_ok(&st, tl_manifest_append(m, edit_make(3, 1000, 8), &st));
    model.values[3] = 1000;
    struct tl_io_names names;
    assert_ok(&st, tl_io_list(io, "", &names, &st));
    assert_int_equal(names.count, 2); /* the old file is gone */
    tl_io_names_free(&names);

    struct tl_manifest *reader;
    assert_ok(&st, try_open(io, TL_MANIFEST_READ_ONLY, &s, &reader));
    assert_int_equal(s.edits, KEYS + 1);
    assert_memory_equal(s.values, model.values, sizeof(s.values));
    assert_code(&st, TL_UNSUPPORTED, tl_manifest_append(reader, edit_make(1, 1, 8), &st));
    assert_code(&st, TL_UNSUPPORTED, tl_manifest_checkpoint(reader, state_write, &s, &st));
    tl_manifest_close(reader);
    tl_manifest_close(m);
    assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m)); /* it is there already */
    assert_memory_equal(s.values, model.values, sizeof(s.values));
    tl_manifest_info(m, &info);
    assert_false(info.cut);
    tl_manifest_close(m);
    tl_manifest_close(NULL);
}

static void edits_are_replayed(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    tl_io_sim_set_short(sim, true);
    run_plain(tl_io_sim_io(sim));
    tl_io_free(tl_io_sim_io(sim));
    char dir[64], command[128];
    struct tl_io *io;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%.40s/tally-manifest-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(dir));
    assert_ok(&st, tl_io_open_default(dir, &io, NULL, NULL, &st));
    run_plain(io);
    tl_io_free(io);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

/* Many edits make many transactions of one checkpoint. */
static enum tl_code big_state(void *context, struct tl_manifest_writer *w, struct tl_status *status)
{
    const uint32_t *count = context;
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; i < *count && !rc; i++)
        rc = tl_manifest_put(w, edit_make(i % KEYS, i, i == 7 ? 1 << 20 : 5000), status);
    return rc;
}

static void a_checkpoint_may_be_large(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct state s;
    struct tl_manifest *m;
    uint32_t count = 2000;
    assert_ok(&st, try_open(tl_io_sim_io(sim), TL_MANIFEST_CREATE, &s, &m));
    assert_ok(&st, tl_manifest_checkpoint(m, big_state, &count, &st));
    tl_manifest_close(m);
    assert_ok(&st, try_open(tl_io_sim_io(sim), TL_MANIFEST_OPEN, &s, &m));
    assert_int_equal(s.edits, 2000);
    struct tl_manifest_info info;
    tl_manifest_info(m, &info);
    assert_true(info.checkpoint_bytes > 10000000);
    assert_int_equal(info.transactions, 0);
    for (uint32_t i = 0; i < 300; i++)
        assert_ok(&st, tl_manifest_append(m, edit_make(1, i, 8), &st));
    assert_false(tl_manifest_wants_checkpoint(m)); /* twice its own size first */
    tl_manifest_close(m);
    tl_io_free(tl_io_sim_io(sim));
}

/* ---- crashes ---- */

/* Appends, and a checkpoint every fifth time; false when the power went. `acked` and `sent` are
 * the states before and after the operation that did not return. */
static bool workload(struct tl_manifest *m, struct state *acked, struct state *sent, uint32_t *next,
                     uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t value = (*next)++;
        sent->values[value % KEYS] = value;
        if (tl_manifest_append(m, edit_make(value % KEYS, value, 8 + value * 601 % 9000), &st))
            return false;
        *acked = *sent;
        if (value % 5 == 4 && tl_manifest_checkpoint(m, state_write, acked, &st))
            return false;
    }
    return true;
}

static void every_crash_keeps_what_was_acked(void **state)
{
    (void)state;
    bool completed = false;
    uint32_t steps = 0;
    for (uint32_t step = 0; !completed; step++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            struct tl_io_sim *sim = new_sim(step * 17 + seed);
            struct tl_io *io = tl_io_sim_io(sim);
            struct state s, acked = {0}, sent = {0};
            struct tl_manifest *m = NULL;
            struct tl_random random;
            tl_random_init(&random, step * 5 + seed);
            uint32_t next = 1;
            tl_io_sim_crash_at(sim, step);
            completed = try_open(io, TL_MANIFEST_CREATE, &s, &m) == TL_OK &&
                        workload(m, &acked, &sent, &next, 16);
            tl_manifest_close(m);
            for (uint32_t again = 0; again < 5; again++) {
                tl_status_clear(&st);
                tl_io_sim_reboot(sim);
                bool last = again == 4;
                if (!last)
                    tl_io_sim_crash_at(sim, tl_io_sim_steps(sim) + tl_random_below(&random, 25));
                m = NULL;
                enum tl_code rc = try_open(io, TL_MANIFEST_CREATE, &s, &m);
                if (rc && (last || rc != TL_CLOSED))
                    fail_msg("step %u seed %d: %s", step, (int)seed, st.text);
                if (rc)
                    continue;
                if (memcmp(s.values, acked.values, sizeof(s.values)) != 0)
                    assert_memory_equal(s.values, sent.values, sizeof(s.values));
                acked = sent = s;
                (void)workload(m, &acked, &sent, &next, 3);
                tl_manifest_close(m);
            }
            tl_status_clear(&st);
            tl_io_free(io);
        }
        steps = step;
    }
    print_message("cut at each of %u steps\n", steps);
    assert_true(steps > 50);
}

/* ---- failures ---- */

static void a_failure_poisons_and_loses_nothing(void **state)
{
    (void)state;
    uint32_t failed = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct tl_io_sim *sim = new_sim(seed);
        struct tl_io *io = tl_io_sim_io(sim);
        struct state s, acked = {0}, sent = {0};
        struct tl_manifest *m;
        uint32_t next = 1;
        assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m));
        tl_io_sim_fail_at(sim, tl_io_sim_steps(sim) + seed, false);
        if (!workload(m, &acked, &sent, &next, 40)) {
            assert_int_equal(st.code, TL_IO);
            tl_status_clear(&st);
            uint64_t steps = tl_io_sim_steps(sim);
            assert_code(&st, TL_IO, tl_manifest_append(m, edit_make(1, 1, 8), &st));
            assert_code(&st, TL_IO, tl_manifest_checkpoint(m, state_write, &s, &st));
            assert_int_equal(tl_io_sim_steps(sim), steps);
            failed++;
        } /* else it was a removal of garbage, which may wait */
        tl_manifest_close(m);
        /* A new process sees what lies in the page cache; it must be durable once it counts. */
        assert_ok(&st, try_open(io, TL_MANIFEST_OPEN, &s, &m));
        if (memcmp(s.values, acked.values, sizeof(s.values)) != 0)
            assert_memory_equal(s.values, sent.values, sizeof(s.values));
        tl_manifest_close(m);
        acked = s;
        tl_io_sim_set_survival(sim, 0);
        tl_io_sim_reboot(sim);
        assert_ok(&st, try_open(io, TL_MANIFEST_OPEN, &s, &m));
        assert_memory_equal(s.values, acked.values, sizeof(s.values));
        tl_manifest_close(m);
        tl_io_free(io);
    }
    assert_true(failed > 30);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t pages = 3; pages < 30; pages++) {
        struct tl_io_sim *sim = new_sim(pages);
        struct tl_io *io = tl_io_sim_io(sim);
        struct state s, acked = {0}, sent = {0};
        struct tl_manifest *m;
        uint32_t next = 1;
        tl_io_sim_set_capacity(sim, pages * PAGE);
        assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m));
        if (!workload(m, &acked, &sent, &next, 20)) {
            assert_int_equal(st.code, TL_FULL);
            tl_status_clear(&st);
        }
        tl_manifest_close(m);
        tl_io_sim_reboot(sim);
        assert_ok(&st, try_open(io, TL_MANIFEST_OPEN, &s, &m));
        if (memcmp(s.values, acked.values, sizeof(s.values)) != 0)
            assert_memory_equal(s.values, sent.values, sizeof(s.values));
        tl_manifest_close(m);
        tl_io_free(io);
    }
}

static enum tl_code failing_state(void *context, struct tl_manifest_writer *w,
                                  struct tl_status *status)
{
    (void)context;
    for (uint32_t i = 0; i < 100; i++) {
        enum tl_code rc = tl_manifest_put(w, edit_make(1, 77, 5000), status);
        if (rc)
            return rc;
    }
    return TL_FAIL(status, TL_CANCELLED, "the caller changed its mind");
}

static void limits_and_callers_failures_are_told(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct state s;
    struct tl_manifest *m;
    assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m));
    assert_ok(&st, tl_manifest_append(m, edit_make(1, 5, 8), &st));
    uint8_t *large = calloc(1, TL_MANIFEST_EDIT_BYTES_MAX + 1);
    assert_code(&st, TL_LIMIT,
                tl_manifest_append(m, tl_slice_of(large, TL_MANIFEST_EDIT_BYTES_MAX + 1), &st));
    free(large);
    assert_code(&st, TL_CANCELLED, tl_manifest_checkpoint(m, failing_state, NULL, &st));
    struct tl_io_names names;
    assert_ok(&st, tl_io_list(io, "", &names, &st));
    assert_int_equal(names.count, 2);
    tl_io_names_free(&names);
    assert_ok(&st, tl_manifest_append(m, edit_make(2, 6, 8), &st)); /* nothing was harmed */
    tl_manifest_close(m);
    assert_ok(&st, try_open(io, TL_MANIFEST_OPEN, &s, &m));
    assert_int_equal(s.values[1], 5);
    assert_int_equal(s.values[2], 6);
    tl_manifest_close(m);
    /* An edit that its owner refuses ends the opening. */
    assert_ok(&st, try_open(io, TL_MANIFEST_OPEN, &s, &m));
    assert_ok(&st, tl_manifest_append(m, edit_make(KEYS, 6, 8), &st));
    tl_manifest_close(m);
    assert_code(&st, TL_CORRUPT, try_open(io, TL_MANIFEST_OPEN, &s, &m));
    tl_io_free(io);
}

/* ---- corruption ---- */

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    static const char name[] = "MANIFEST-000002";
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct state s, acked = {0}, sent = {0};
    struct tl_manifest *m;
    uint32_t next = 4;
    assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m));
    assert_true(workload(m, &acked, &sent, &next, 1));
    for (uint32_t i = 0; i < 3; i++)
        assert_ok(&st, tl_manifest_append(m, edit_make(i, 100 + i, 200), &st));
    tl_manifest_close(m);
    /* header page, checkpoint page, three transactions; the last one nothing later proves */
    for (uint64_t at = 0; at < 5 * PAGE; at++) {
        for (uint32_t bit = 0; bit < 8; bit++) {
            if (at % PAGE >= 64 && bit != at % 8)
                continue;
            assert_true(tl_io_sim_flip(sim, name, at, (uint8_t)(1 << bit)));
            enum tl_code rc = try_open(io, TL_MANIFEST_READ_ONLY, &s, &m);
            if (at < 4 * PAGE) {
                assert_int_equal(rc, TL_CORRUPT);
            } else {
                assert_int_equal(rc, TL_OK);
                assert_int_equal(s.edits, KEYS + 2);
                tl_manifest_close(m);
            }
            tl_status_clear(&st);
            if (at % 37 == 0) { /* opening for writing: the same, and corruption is left alone */
                struct tl_io_sim *copy;
                struct tl_manifest_info info;
                assert_ok(&st, tl_io_sim_clone(sim, at, &copy, &st));
                uint64_t hash = tl_io_sim_hash(copy);
                rc = try_open(tl_io_sim_io(copy), TL_MANIFEST_OPEN, &s, &m);
                if (at < 4 * PAGE) {
                    assert_int_equal(rc, TL_CORRUPT);
                    assert_int_equal(tl_io_sim_hash(copy), hash);
                    tl_status_clear(&st);
                } else {
                    assert_int_equal(rc, TL_OK);
                    tl_manifest_info(m, &info);
                    assert_true(info.cut);
                    assert_ok(&st, tl_manifest_append(m, edit_make(5, 5, 8), &st));
                    tl_manifest_close(m);
                    assert_ok(&st, try_open(tl_io_sim_io(copy), TL_MANIFEST_OPEN, &s, &m));
                    assert_int_equal(s.edits, KEYS + 3);
                    tl_manifest_close(m);
                }
                tl_io_free(tl_io_sim_io(copy));
            }
            assert_true(tl_io_sim_flip(sim, name, at, (uint8_t)(1 << bit)));
        }
    }
    for (uint64_t at = 0; tl_io_sim_flip(sim, "CURRENT", at, 1); at++) {
        assert_code(&st, TL_CORRUPT, try_open(io, TL_MANIFEST_READ_ONLY, &s, &m));
        assert_true(tl_io_sim_flip(sim, "CURRENT", at, 1));
    }
    /* A manifest without its CURRENT is not taken for none. */
    assert_ok(&st, tl_io_remove(io, "CURRENT", &st));
    assert_code(&st, TL_CORRUPT, try_open(io, TL_MANIFEST_CREATE, &s, &m));
    tl_io_free(io);
}

/* tests/golden/manifest_v1.bin is a manifest of version 1: a checkpoint and three transactions; it
 * is kept for ever. TALLY_WRITE_GOLDEN=1 makes it (for a new version only). */
static void the_golden_manifest_is_read(void **state)
{
    (void)state;
    static const char path[] = "tests/golden/manifest_v1.bin", name[] = "MANIFEST-000002";
    static uint8_t golden[6 * PAGE];
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct state s, model = {0};
    struct tl_manifest *m;
    assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m));
    assert_ok(&st, tl_manifest_checkpoint(m, state_write, &model, &st));
    for (uint32_t i = 1; i <= 3; i++) {
        model.values[i] = i * 1000;
        assert_ok(&st, tl_manifest_append(m, edit_make(i, i * 1000, i * 50), &st));
    }
    tl_manifest_close(m);
    struct tl_buffer b;
    tl_buffer_init(&b, "file", sizeof(golden));
    assert_ok(&st, tl_io_sim_get(sim, name, &b, &st));
    if (getenv("TALLY_WRITE_GOLDEN")) {
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(b.data, 1, b.size, out), b.size);
        fclose(out);
    }
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t size = fread(golden, 1, sizeof(golden), in);
    fclose(in);
    assert_int_equal(size, b.size);
    assert_memory_equal(b.data, golden, size); /* and is written like that today */
    tl_buffer_deinit(&b);
    assert_ok(&st, tl_io_sim_put(sim, name, tl_slice_of(golden, size), &st));
    assert_ok(&st, try_open(io, TL_MANIFEST_READ_ONLY, &s, &m));
    assert_memory_equal(s.values, model.values, sizeof(s.values));
    assert_int_equal(s.edits, KEYS + 3);
    tl_manifest_close(m);
    tl_io_free(io);
}

/* ---- a reader beside the writer ---- */

struct observer {
    struct tl_io *io;
    _Atomic bool stop;
    uint32_t opened;
    struct tl_status failure;
};

static void *observe(void *arg)
{
    struct observer *o = arg;
    while (!o->stop) {
        struct state s = {0};
        struct tl_manifest *m = NULL;
        if (tl_manifest_open(o->io, TL_MANIFEST_READ_ONLY, 0, edit_apply, &s, &m, &o->failure))
            return NULL;
        tl_manifest_close(m);
        o->opened++;
    }
    return NULL;
}

static void others_read_while_it_is_written(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct state s, acked = {0}, sent = {0};
    struct tl_manifest *m;
    uint32_t next = 1;
    assert_ok(&st, try_open(io, TL_MANIFEST_CREATE, &s, &m));
    struct observer o = {.io = io};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, observe, &o), 0);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        assert_true(workload(m, &acked, &sent, &next, 50));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 2);
    o.stop = true;
    pthread_join(thread, NULL);
    if (o.failure.code)
        fail_msg("after %u openings: %s", o.opened, o.failure.text);
    assert_true(o.opened > 0);
    tl_manifest_close(m);
    tl_io_free(io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_are_replayed),
        cmocka_unit_test(a_checkpoint_may_be_large),
        cmocka_unit_test(every_crash_keeps_what_was_acked),
        cmocka_unit_test(a_failure_poisons_and_loses_nothing),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(limits_and_callers_failures_are_told),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(the_golden_manifest_is_read),
        cmocka_unit_test(others_read_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
