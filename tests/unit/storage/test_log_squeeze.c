/*
 * Promise: groups of the log are compressed when the disk is slower than zstd by what that saves,
 * and not otherwise; what was compressed is read back as it was.
 * Method: a clock that moves by a given step at each look, so that a disk's and zstd's speed are
 * what the test says; the log itself over the simulated disk with such a clock.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/io_sim.h"
#include "storage/log_squeeze.h"
#include "tests/test.h"

static struct tl_status st;
static uint8_t bytes[256 << 10];

struct stepping {
    struct tl_clock clock;
    uint64_t now_ns, step_ns;
};

static int64_t wall(const struct tl_clock *c)
{
    (void)c;
    return 0;
}

static uint64_t mono(const struct tl_clock *c)
{
    struct stepping *s = (struct stepping *)(uintptr_t)c;
    s->now_ns += s->step_ns;
    return s->now_ns;
}

static struct stepping stepping_clock(uint64_t step_ns)
{
    return (struct stepping){.clock = {wall, mono}, .step_ns = step_ns};
}

/* About a fifth is left of these. */
static struct tl_slice records(size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i % 40 < 8 ? i * 2654435761u >> 13 : i % 40);
    return tl_slice_of(bytes, size);
}

static void it_pays_on_slow_disks_alone(void **state)
{
    (void)state;
    enum { SIZE = TL__LOG_SQUEEZE_SAMPLE };
    struct stepping clock = stepping_clock(SIZE * 2); /* zstd: 2 ns a byte */
    struct tl__log_squeeze s;
    tl__log_squeeze_init(&s, TL_LOG_COMPRESSION_AUTO, &clock.clock);
    assert_false(tl__log_squeeze_wanted(&s, records(SIZE))); /* nothing is known yet */
    assert_null(s.context);
    tl__log_squeeze_note(&s, 4096, 100000); /* the fixed part */
    tl__log_squeeze_note(&s, 1 << 20, 100000 + (1 << 20) / 4);
    assert_false(tl__log_squeeze_wanted(&s, records(SIZE))); /* 0.25 ns a byte: not even asked */
    assert_null(s.context);
    for (int i = 0; i < 40; i++)
        tl__log_squeeze_note(&s, 1 << 20, 100000 + (1 << 20) * 2);
    assert_false(tl__log_squeeze_wanted(&s, records(SIZE))); /* saves less than it costs */
    assert_non_null(s.context);
    for (int i = 0; i < 40; i++)
        tl__log_squeeze_note(&s, 1 << 20, 100000 + (1 << 20) * 8);
    assert_true(tl__log_squeeze_wanted(&s, records(SIZE)));
    /* One that was quick says that the others waited for something else than the disk. */
    tl__log_squeeze_note(&s, 1 << 20, 100000 + (1 << 20) / 4);
    assert_false(tl__log_squeeze_wanted(&s, records(SIZE)));
    for (int i = 0; i < 40; i++)
        tl__log_squeeze_note(&s, 1 << 20, 100000 + (1 << 20) * 8);
    assert_true(tl__log_squeeze_wanted(&s, records(SIZE)));
    assert_false(tl__log_squeeze_wanted(&s, records(1000))); /* too small to matter */
    assert_true(tl__log_squeeze_wanted(&s, records(SIZE)));
    /* Between the two thresholds it stays what it is. */
    double ratio = s.ratio;
    s.disk_ns = 2 / (1 - ratio) * 1.1;
    assert_true(tl__log_squeeze_wanted(&s, records(SIZE)));
    s.on = false;
    assert_false(tl__log_squeeze_wanted(&s, records(SIZE)));
    s.on = true;
    s.disk_ns = 2 / (1 - ratio) * 0.9;
    assert_false(tl__log_squeeze_wanted(&s, records(SIZE)));
    tl__log_squeeze_deinit(&s);
}

static void modes_are_kept(void **state)
{
    (void)state;
    struct tl__log_squeeze s;
    tl__log_squeeze_init(&s, TL_LOG_COMPRESSION_ON, NULL);
    assert_true(tl__log_squeeze_wanted(&s, records(10)));
    tl__log_squeeze_deinit(&s);
    tl__log_squeeze_init(&s, TL_LOG_COMPRESSION_OFF, NULL);
    s.disk_ns = 1000;
    assert_false(tl__log_squeeze_wanted(&s, records(100000)));
    tl__log_squeeze_deinit(&s);
    tl__log_squeeze_init(&s, TL_LOG_COMPRESSION_AUTO, NULL);
    s.disk_ns = 1000;
    assert_false(tl__log_squeeze_wanted(&s, records(100000))); /* nothing to measure by */
    tl__log_squeeze_deinit(&s);
}

static void what_is_squeezed_comes_back(void **state)
{
    (void)state;
    struct tl__log_squeeze s;
    tl__log_squeeze_init(&s, TL_LOG_COMPRESSION_ON, NULL);
    uint8_t *back = NULL;
    size_t room = 0;
    for (size_t size = 16; size <= sizeof(bytes); size = size * 3 + 1) {
        size_t bound = tl__log_squeeze_room(size);
        uint8_t *out = malloc(bound);
        size_t n = tl__log_squeeze_run(&s, records(size), out, bound);
        assert_true(n > 4);
        struct tl_slice got;
        assert_ok(&st, tl__log_unsqueeze(tl_slice_of(out, n), &back, &room, &got, &st));
        assert_int_equal(got.size, size);
        assert_memory_equal(got.data, bytes, size);
        for (size_t cut = 0; cut < n; cut += n / 7 + 1)
            assert_code(&st, TL_CORRUPT,
                        tl__log_unsqueeze(tl_slice_of(out, cut), &back, &room, &got, &st));
        free(out);
    }
    free(back);
    tl__log_squeeze_deinit(&s);
}

/* Each look at the clock is a step: zstd takes one, a commit at least two. */
static uint64_t compressed_with_step(uint64_t step_ns)
{
    struct tl_io_sim *sim;
    struct stepping clock = stepping_clock(step_ns);
    assert_ok(&st, tl_io_sim_new(3, &sim, &st));
    struct tl_log_options options = {.file_bytes = 1 << 20, .log_id = 1, .clock = &clock.clock};
    struct tl_log *log;
    assert_ok(&st, tl_log_open_local(tl_io_sim_io(sim), "log", &options, NULL, &log, &st));
    uint64_t position, durable;
    for (int i = 0; i < 50; i++) {
        struct tl_slice body = records(TL__LOG_SQUEEZE_SAMPLE);
        assert_ok(&st, tl_log_append(log, 1, &body, 1, &position, &st));
        assert_ok(&st, tl_log_commit_begin(log, &st));
        assert_ok(&st, tl_log_commit_wait(log, &durable, &st));
        assert_int_equal(durable, position);
    }
    struct tl_log_local_info info;
    tl_log_local_info(log, &info);
    tl_log_close(log);
    struct tl_log_report report;
    assert_ok(&st, tl_log_verify(tl_io_sim_io(sim), "log", &report, &st));
    assert_int_equal(report.records, 50);
    assert_int_equal(report.record_bytes, 50 * TL__LOG_SQUEEZE_SAMPLE);
    tl_io_free(tl_io_sim_io(sim));
    return info.compressed_groups;
}

static void the_log_measures_its_disk(void **state)
{
    (void)state;
    assert_int_equal(compressed_with_step(1000), 0); /* waits of a microsecond are none */
    assert_in_range(compressed_with_step(2000000), 20, 49);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_pays_on_slow_disks_alone),
        cmocka_unit_test(modes_are_kept),
        cmocka_unit_test(what_is_squeezed_comes_back),
        cmocka_unit_test(the_log_measures_its_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
