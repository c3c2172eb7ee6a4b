/*
 * Promise: the simulated disk fails as real ones do, on demand, and repeats from its seed.
 * Method: each fault alone, on small files whose bytes say which write they came from.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/io_sim.h"
#include "tests/test.h"

enum { SECTOR = TL_IO_SECTOR_BYTES, SECTORS = 40, SIZE = SECTOR * SECTORS };

static struct tl_status st;

static struct tl_io_sim *new_sim(uint64_t seed)
{
    struct tl_io_sim *sim;
    tl_status_clear(&st);
    assert_ok(&st, tl_io_sim_new(seed, &sim, &st));
    return sim;
}

static struct tl_file *create(struct tl_io_sim *sim, const char *name)
{
    struct tl_file *f;
    assert_ok(&st, tl_io_open(tl_io_sim_io(sim), name, TL_IO_CREATE, &f, &st));
    return f;
}

static enum tl_code write_value(struct tl_file *f, uint64_t offset, uint8_t value, size_t size)
{
    uint8_t *bytes = malloc(size);
    memset(bytes, value, size);
    struct tl_slice s = tl_slice_of(bytes, size);
    enum tl_code rc = tl_io_write(f, offset, &s, 1, &st);
    free(bytes);
    return rc;
}

/* A durable file of SIZE bytes of 1, then unsynced writes of 2 and 3 over it. */
static struct tl_io_sim *with_unsynced_writes(uint64_t seed)
{
    struct tl_io_sim *sim = new_sim(seed);
    struct tl_file *f = create(sim, "f");
    assert_ok(&st, write_value(f, 0, 1, SIZE));
    assert_ok(&st, tl_io_sync(f, &st));
    assert_ok(&st, tl_io_sync_dir(tl_io_sim_io(sim), "", &st));
    assert_ok(&st, write_value(f, 0, 2, SIZE));
    assert_ok(&st, write_value(f, SIZE / 2, 3, SIZE / 2));
    tl_io_close(f);
    return sim;
}

/* How many sectors hold each value; fails on a sector that is torn inside. */
static void count_sectors(struct tl_io_sim *sim, uint32_t counts[4])
{
    struct tl_buffer b;
    tl_buffer_init(&b, "file", 1 << 20);
    assert_ok(&st, tl_io_sim_get(sim, "f", &b, &st));
    assert_int_equal(b.size, SIZE);
    memset(counts, 0, 4 * sizeof(counts[0]));
    for (size_t s = 0; s < SECTORS; s++) {
        uint8_t value = b.data[s * SECTOR];
        for (size_t i = 0; i < SECTOR; i++)
            assert_int_equal(b.data[s * SECTOR + i], value);
        assert_true(value >= 1 && value <= 3);
        if (value == 3)
            assert_true(s >= SECTORS / 2);
        counts[value]++;
    }
    tl_buffer_deinit(&b);
}

static void unsynced_sectors_fall_by_the_die(void **state)
{
    (void)state;
    bool lost = false, kept = false, torn = false, reordered = false;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct tl_io_sim *sim = with_unsynced_writes(seed);
        tl_io_sim_reboot(sim);
        uint32_t n[4];
        count_sectors(sim, n);
        lost |= n[1] == SECTORS;
        kept |= n[2] == SECTORS / 2 && n[3] == SECTORS / 2;
        torn |= n[1] > 0 && n[2] + n[3] > 0;
        reordered |= n[3] > 0 && n[1] > 0; /* the later write, without all of the earlier one */

        struct tl_io_sim *same = with_unsynced_writes(seed);
        tl_io_sim_reboot(same);
        assert_ok(&st, tl_io_sim_compare(sim, same, &st));
        assert_int_equal(tl_io_sim_hash(sim), tl_io_sim_hash(same));
        tl_io_free(tl_io_sim_io(sim));
        tl_io_free(tl_io_sim_io(same));
    }
    assert_true(lost && kept && torn && reordered);
}

static void synced_bytes_stay(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct tl_io_sim *sim = new_sim(seed);
        struct tl_file *f = create(sim, "f");
        assert_ok(&st, tl_io_sync_dir(tl_io_sim_io(sim), "", &st));
        assert_ok(&st, write_value(f, 0, 2, SIZE));
        assert_ok(&st, tl_io_sync(f, &st));
        tl_io_sim_reboot(sim);
        uint32_t n[4];
        count_sectors(sim, n);
        assert_int_equal(n[2], SECTORS);
        uint8_t byte;
        assert_code(&st, TL_CLOSED, tl_io_read(f, 0, &byte, 1, &st)); /* a handle from before */
        tl_io_close(f);
        tl_io_free(tl_io_sim_io(sim));
    }
}

static void names_need_their_directory_synced(void **state)
{
    (void)state;
    uint32_t seen[3] = {0}; /* old name, new name, neither or both */
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct tl_io_sim *sim = new_sim(seed);
        struct tl_io *io = tl_io_sim_io(sim);
        assert_ok(&st, tl_io_mkdir(io, "d", &st));
        assert_ok(&st, tl_io_sync_dir(io, "", &st));
        struct tl_file *f = create(sim, "d/old");
        assert_ok(&st, tl_io_sync(f, &st));
        tl_io_close(f);
        assert_ok(&st, tl_io_sync_dir(io, "d", &st));
        assert_ok(&st, tl_io_rename(io, "d/old", "d/new", &st));
        tl_io_close(create(sim, "d/third"));
        tl_io_sim_reboot(sim);
        bool old, new, third;
        assert_ok(&st, tl_io_exists(io, "d/old", &old, &st));
        assert_ok(&st, tl_io_exists(io, "d/new", &new, &st));
        assert_ok(&st, tl_io_exists(io, "d/third", &third, &st));
        assert_true(old != new); /* a rename is atomic */
        seen[new]++;
        seen[2] += third;
        tl_io_free(io);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[2] < 60);

    struct tl_io_sim *sim = new_sim(5);
    tl_io_sim_set_survival(sim, 0);
    assert_ok(&st, tl_io_mkdir(tl_io_sim_io(sim), "d", &st));
    tl_io_close(create(sim, "d/x"));
    assert_ok(&st, tl_io_sync_dir(tl_io_sim_io(sim), "d", &st)); /* but not d's own */
    tl_io_sim_reboot(sim);
    bool there;
    assert_ok(&st, tl_io_exists(tl_io_sim_io(sim), "d/x", &there, &st));
    assert_false(there);
    tl_io_free(tl_io_sim_io(sim));
}

static void an_operation_fails_once_or_for_ever(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_file *f = create(sim, "f");
    tl_io_sim_fail_at(sim, tl_io_sim_steps(sim), false);
    bool there;
    assert_int_equal(tl_io_exists(io, "f", &there, &st), TL_IO);
    assert_int_equal(st.os_error, 5); /* EIO */
    tl_status_clear(&st);
    assert_ok(&st, tl_io_exists(io, "f", &there, &st));
    tl_io_sim_fail_at(sim, tl_io_sim_steps(sim) + 1, true);
    assert_ok(&st, write_value(f, 0, 1, 100));
    uint8_t bytes[100];
    for (int i = 0; i < 3; i++)
        assert_code(&st, TL_IO, tl_io_read(f, 0, bytes, 100, &st));
    tl_io_sim_heal(sim);
    assert_ok(&st, tl_io_read(f, 0, bytes, 100, &st));
    tl_io_close(f);
    tl_io_free(io);
}

static void a_failed_sync_poisons_and_lies(void **state)
{
    (void)state;
    bool lost = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct tl_io_sim *sim = new_sim(seed);
        struct tl_io *io = tl_io_sim_io(sim);
        struct tl_file *f = create(sim, "f");
        assert_ok(&st, write_value(f, 0, 1, SIZE));
        assert_ok(&st, tl_io_sync(f, &st));
        assert_ok(&st, tl_io_sync_dir(io, "", &st));
        assert_ok(&st, write_value(f, 0, 2, SIZE));
        tl_io_sim_fail_sync(sim, 1);
        uint64_t steps = tl_io_sim_steps(sim);
        assert_code(&st, TL_IO, tl_io_sync(f, &st));
        assert_int_equal(tl_io_sim_steps(sim), steps + 1);
        /* The file answers with that failure and touches the disk no more. */
        uint8_t byte;
        uint64_t size;
        struct tl_io_commit *c;
        struct tl_slice s = tl_slice_of("x", 1);
        assert_code(&st, TL_IO, tl_io_sync(f, &st));
        assert_code(&st, TL_IO, write_value(f, 0, 3, 10));
        assert_code(&st, TL_IO, tl_io_commit_begin(f, 0, &s, 1, &c, &st));
        assert_code(&st, TL_IO, tl_io_truncate(f, 0, &st));
        assert_code(&st, TL_IO, tl_io_read(f, 0, &byte, 1, &st));
        assert_code(&st, TL_IO, tl_io_size(f, &size, &st));
        assert_int_equal(tl_io_sim_steps(sim), steps + 1);
        tl_io_close(f);
        /* Opened anew the bytes are still seen, and a sync claims that all is well. */
        assert_ok(&st, tl_io_open(io, "f", TL_IO_WRITE, &f, &st));
        assert_ok(&st, tl_io_sync(f, &st));
        uint32_t n[4];
        count_sectors(sim, n);
        assert_int_equal(n[2], SECTORS);
        tl_io_close(f);
        tl_io_sim_reboot(sim);
        count_sectors(sim, n);
        lost |= n[1] > 0;
        tl_io_free(io);
    }
    assert_true(lost);
}

static void a_failed_commit_poisons(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 2; at++) { /* its write, its sync */
        struct tl_io_sim *sim = new_sim(at);
        struct tl_file *f = create(sim, "f");
        struct tl_slice s = tl_slice_of("record", 6);
        struct tl_io_commit *c;
        tl_io_sim_fail_at(sim, tl_io_sim_steps(sim) + at, false);
        assert_ok(&st, tl_io_commit_begin(f, 0, &s, 1, &c, &st));
        assert_code(&st, TL_IO, tl_io_commit_wait(c, &st));
        assert_code(&st, TL_IO, tl_io_commit_begin(f, 0, &s, 1, &c, &st));
        tl_io_close(f);
        tl_io_free(tl_io_sim_io(sim));
    }
}

static void the_disk_runs_full(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(1);
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_file *f = create(sim, "f"), *g = create(sim, "g");
    tl_io_sim_set_capacity(sim, 8 * 4096);
    assert_ok(&st, tl_io_preallocate(f, 5 * 4096, &st));
    assert_ok(&st, write_value(f, 0, 1, 5 * 4096)); /* takes no more than was reserved */
    assert_ok(&st, write_value(g, 0, 1, 3 * 4096));
    assert_code(&st, TL_FULL, write_value(g, 3 * 4096, 1, 1));
    assert_code(&st, TL_FULL, write_value(g, 0, 1, 1)); /* poisoned */
    assert_ok(&st, write_value(f, 0, 2, 4096));
    assert_code(&st, TL_FULL, tl_io_preallocate(f, 6 * 4096, &st));
    tl_io_close(f);
    tl_io_close(g);
    assert_ok(&st, tl_io_remove(io, "f", &st));
    f = create(sim, "f");
    assert_ok(&st, write_value(f, 0, 2, 5 * 4096)); /* what was removed is free */
    tl_io_close(f);
    tl_io_free(io);
}

static void power_goes_at_a_step(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_sim(3);
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_file *f = create(sim, "f"), *lock;
    assert_ok(&st, tl_io_lock(io, "LOCK", &lock, &st));
    assert_ok(&st, tl_io_sync_dir(io, "", &st));
    tl_io_sim_crash_at(sim, tl_io_sim_steps(sim) + 1);
    assert_ok(&st, write_value(f, 0, 1, 10));
    uint64_t steps = tl_io_sim_steps(sim);
    assert_code(&st, TL_CLOSED, tl_io_sync(f, &st));
    bool there;
    struct tl_file *g;
    assert_code(&st, TL_CLOSED, tl_io_exists(io, "f", &there, &st));
    assert_code(&st, TL_CLOSED, tl_io_open(io, "f", TL_IO_READ, &g, &st));
    assert_code(&st, TL_CLOSED, tl_io_lock(io, "LOCK", &g, &st));
    assert_int_equal(tl_io_sim_steps(sim), steps + 1); /* the dead count nothing */
    tl_io_sim_reboot(sim);
    assert_ok(&st, tl_io_exists(io, "f", &there, &st));
    assert_true(there);
    assert_ok(&st, tl_io_lock(io, "LOCK", &g, &st)); /* the holder died */
    tl_io_close(lock);
    struct tl_file *again;
    assert_code(&st, TL_BUSY, tl_io_lock(io, "LOCK", &again, &st));
    tl_io_close(g);
    tl_io_close(f);
    tl_io_free(io);
}

static void a_clone_goes_its_own_way(void **state)
{
    (void)state;
    struct tl_io_sim *sim = with_unsynced_writes(7), *copy;
    assert_ok(&st, tl_io_sim_clone(sim, 99, &copy, &st));
    assert_ok(&st, tl_io_sim_compare(sim, copy, &st));
    tl_io_sim_set_survival(copy, 0);
    tl_io_sim_reboot(copy);
    uint32_t n[4];
    count_sectors(copy, n);
    assert_int_equal(n[1], SECTORS);
    count_sectors(sim, n);
    assert_int_equal(n[1], 0);
    assert_code(&st, TL_INVALID, tl_io_sim_compare(sim, copy, &st));
    assert_true(tl_io_sim_hash(sim) != tl_io_sim_hash(copy));
    assert_true(tl_io_sim_flip(copy, "f", 3, 0x80));
    assert_false(tl_io_sim_flip(copy, "f", SIZE, 0x80));
    tl_io_free(tl_io_sim_io(sim));
    tl_io_free(tl_io_sim_io(copy));

    sim = new_sim(1);
    assert_ok(&st, tl_io_sim_put(sim, "a/b/c", tl_slice_str("hello"), &st));
    tl_io_sim_set_survival(sim, 0);
    tl_io_sim_reboot(sim);
    struct tl_buffer b;
    tl_buffer_init(&b, "file", 100);
    assert_ok(&st, tl_io_sim_get(sim, "a/b/c", &b, &st));
    assert_int_equal(b.size, 5);
    assert_code(&st, TL_NOT_FOUND, tl_io_sim_get(sim, "a/b", &b, &st));
    tl_buffer_deinit(&b);
    tl_io_free(tl_io_sim_io(sim));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unsynced_sectors_fall_by_the_die),
        cmocka_unit_test(synced_bytes_stay),
        cmocka_unit_test(names_need_their_directory_synced),
        cmocka_unit_test(an_operation_fails_once_or_for_ever),
        cmocka_unit_test(a_failed_sync_poisons_and_lies),
        cmocka_unit_test(a_failed_commit_poisons),
        cmocka_unit_test(the_disk_runs_full),
        cmocka_unit_test(power_goes_at_a_step),
        cmocka_unit_test(a_clone_goes_its_own_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
