/*
 * The generator: the same seed gives the same bytes, in the order of arrival, with the promised
 * statistics.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tools/generator.h"

#define GOLDEN_BATCHES 0x76ca0877f858e931ULL
#define GOLDEN_CSV     0x185239bb6bdffd3fULL

static const struct tl_generator_options small = {.seed = 42,
                                                  .merchants = 100,
                                                  .events = 20000,
                                                  .from_us = 1717200000000000,
                                                  .days = 7,
                                                  .batch_rows = 3000};

static uint64_t run(const struct tl_generator_options *o, int text, struct tl_buffer *all,
                    struct tl_generator_stats *stats)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_generator *g;
    assert_ok(&st, tl_generator_new(o, &g, &st));
    struct tl_buffer out;
    tl_buffer_init(&out, "test", 1 << 26);
    uint64_t hash = 0, total = 0;
    for (;;) {
        uint32_t rows;
        tl_buffer_clear(&out);
        if (text)
            assert_ok(&st,
                      tl_generator_text(g, (enum tl_generator_text)(text - 1), &out, &rows, &st));
        else
            assert_ok(&st, tl_generator_batch(g, &out, &rows, &st));
        if (!rows)
            break;
        total += rows;
        hash = XXH3_64bits_withSeed(out.data, out.size, hash);
        if (all)
            tl_buffer_put(all, out.data, out.size);
    }
    assert_int_equal(total, o->events);
    if (stats)
        tl_generator_stats(g, stats);
    tl_buffer_deinit(&out);
    tl_generator_free(g);
    return hash;
}

static void test_determinism(void **state)
{
    (void)state;
    struct tl_generator_options other = small;
    other.seed = 43;
    for (int text = 0; text < 3; text++) {
        uint64_t first = run(&small, text, NULL, NULL);
        assert_true(first == run(&small, text, NULL, NULL));
        assert_true(first != run(&other, text, NULL, NULL));
    }
}

/* The bytes themselves: whoever changes them changes what every figure rests on. */
static void test_golden(void **state)
{
    (void)state;
    assert_int_equal(run(&small, 0, NULL, NULL), GOLDEN_BATCHES);
    assert_int_equal(run(&small, 1, NULL, NULL), GOLDEN_CSV);
}

static struct tl_slice field(const char *line, const char *end, int index)
{
    const char *begin = line;
    bool quoted = false;
    for (const char *p = line; p <= end; p++) {
        if (p < end && *p == '"')
            quoted = !quoted;
        if (p == end || (*p == ',' && !quoted)) {
            if (index-- == 0)
                return tl_slice_of(begin, (size_t)(p - begin));
            begin = p + 1;
        }
    }
    fail_msg("too few fields");
    return tl_slice_of(NULL, 0);
}

static int64_t seconds_of(struct tl_slice ts)
{
    int y, mo, d, h, mi, s, ms;
    assert_int_equal(
        sscanf((const char *)ts.data, "%d-%d-%dT%d:%d:%d.%dZ", &y, &mo, &d, &h, &mi, &s, &ms), 7);
    assert_int_equal(y, 2024);
    assert_int_equal(mo, 6);
    return ((d - 1) * 24 + h) * 3600 + mi * 60 + s;
}

/* Every line: fields, time inside the range, ids; lateness never beyond ten minutes. */
static void test_csv(void **state)
{
    (void)state;
    struct tl_generator_options o = small;
    o.props = o.event_ids = o.server_fields = o.ip_prefixes = true;
    struct tl_buffer all;
    tl_buffer_init(&all, "test", 1 << 26);
    run(&o, 1, &all, NULL);
    int64_t latest = 0, late = 0;
    uint32_t lines = 0, purchases = 0, props = 0, bots = 0;
    const char *p = (const char *)all.data, *end = p + all.size;
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        assert_non_null(line_end);
        int64_t at = seconds_of(field(p, line_end, 1));
        assert_in_range(at, 0, 7 * 86400 - 1);
        late += at + 2 < latest;
        assert_true(at + 602 >= latest);
        latest = at > latest ? at : latest;
        assert_int_equal(field(p, line_end, 3).size, 16);
        assert_int_equal(field(p, line_end, 4).size, 16);
        assert_int_equal(field(p, line_end, 32).size, 32);
        bool purchase = tl_slice_eq(field(p, line_end, 2), tl_slice_str("purchase"));
        assert_int_equal(purchase, field(p, line_end, 28).size > 0);
        assert_int_equal(purchase, field(p, line_end, 29).size > 0);
        purchases += purchase;
        props += field(p, line_end, 33).size > 0;
        bots += tl_slice_eq(field(p, line_end, 31), tl_slice_str("true"));
        lines++;
        p = line_end + 1;
    }
    assert_int_equal(lines, o.events);
    assert_in_range(purchases, o.events / 1000, o.events / 100);
    assert_in_range(props, o.events / 4, o.events / 2);
    assert_in_range(bots, 1, o.events / 50);
    assert_in_range(late, 1, o.events / 5);
    tl_buffer_deinit(&all);
}

/* 10 million events of 100,000 merchants have about 1.33 M visitors, 2.0 M sessions, 2.7 M paths
 * and 3.5 M (merchant, path) pairs; TALLY_TEST_FULL runs that, otherwise a tenth of it. */
static void test_statistics(void **state)
{
    (void)state;
    bool full = getenv("TALLY_TEST_FULL") != NULL;
    struct tl_generator_options o = {.seed = 1,
                                     .merchants = full ? 100000 : 10000,
                                     .events = full ? 10000000 : 1000000,
                                     .from_us = 1717200000000000,
                                     .days = 30,
                                     .batch_rows = 10000,
                                     .count_paths = true};
    struct tl_generator_stats s;
    run(&o, 0, NULL, &s);
    uint64_t scale = o.events / 1000000;
    assert_in_range(s.sessions, 197000 * scale, 203000 * scale);
    assert_in_range(s.visitors, 131000 * scale, 135000 * scale);
    if (full) {
        assert_in_range(s.paths, 2600000, 2800000);
        assert_in_range(s.merchant_paths, 3400000, 3600000);
    }
    assert_in_range(s.purchases, 2000 * scale, 4000 * scale);
}

static void test_edges(void **state)
{
    (void)state;
    struct tl_generator_options o = small;
    for (uint64_t events = 0; events < 40; events++) {
        o.events = events;
        o.merchants = 1;
        o.days = 1;
        o.batch_rows = 7;
        run(&o, 0, NULL, NULL);
    }
    struct tl_status st = TL_STATUS_INIT;
    struct tl_generator *g;
    o.merchants = 0;
    assert_code(&st, TL_INVALID, tl_generator_new(&o, &g, &st));
    o.merchants = 1;
    o.from_us = 1;
    assert_code(&st, TL_INVALID, tl_generator_new(&o, &g, &st));
    tl_generator_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_determinism),
                                       cmocka_unit_test(test_golden), cmocka_unit_test(test_csv),
                                       cmocka_unit_test(test_statistics),
                                       cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests_name("tools/generator", tests, NULL, NULL);
}
