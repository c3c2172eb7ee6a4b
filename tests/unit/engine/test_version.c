/*
 * Promise: a version of very many segments is searched in few steps, and no segment that may hold
 * a wanted row is passed over.
 * Method: 10,000 segments of hours, days and months that overlap, and some at level 0; random time
 * ranges against looking at all of them.
 */
#include <stdlib.h>

#include "base/random.h"
#include "engine/version.h"
#include "tests/test.h"

#define HOUR  3600000000LL
#define DAY   (24 * HOUR)
#define MONTH (31 * DAY)

enum { SEGMENTS = 10000, LEVEL0 = 6, LOOKS = 3000 };

static struct tl_live_segment *segment_of(int64_t start, int64_t length, uint8_t level)
{
    struct tl_live_segment *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    atomic_init(&s->refs, 1);
    s->info.meta.level = level;
    s->info.meta.start_us = level ? start : INT64_MIN;
    s->info.meta.end_us = level ? start + length : INT64_MAX;
    s->info.min_ts = start;
    s->info.max_ts = start + length - 1;
    s->info.max_merchant = 1000;
    return s;
}

static struct tl_version *version_of_many(struct tl_random *random)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_version *v;
    struct tl_table_version *t;
    struct tl_live_segment **segments = calloc(SEGMENTS, sizeof(struct tl_live_segment *));
    assert_non_null(segments);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        static const int64_t lengths[] = {HOUR, HOUR, HOUR, DAY};
        int64_t length = i % 500 == 0 ? MONTH : lengths[tl_random_below(random, 4)];
        int64_t start = (int64_t)tl_random_below(random, 9000) * HOUR - 20 * DAY;
        segments[i] = segment_of(start, length, i >= LEVEL0);
    }
    assert_ok(&st, tl_version_new(8, NULL, &v, &st));
    assert_ok(&st, tl_version_table(v, 1, &t, &st));
    assert_ok(&st, tl_table_version_replace(t, 3, NULL, 0, segments, SEGMENTS, &st));
    for (uint32_t i = 0; i < SEGMENTS; i++)
        tl_live_segment_unref(segments[i]);
    free(segments);
    return v;
}

static void ten_thousand_segments_are_searched(void **state)
{
    (void)state;
    struct tl_random random;
    tl_random_init(&random, 20240601);
    struct tl_version *v = version_of_many(&random);
    const struct tl_segment_list *l = tl_version_find(v, 1)->shards[3];
    assert_int_equal(l->count, SEGMENTS);
    assert_int_equal(l->level0_count, LEVEL0);
    assert_int_equal(l->span_us, MONTH);
    for (uint32_t n = 0; n < LOOKS; n++) {
        int64_t min = (int64_t)tl_random_below(&random, 9500) * HOUR - 40 * DAY + (n & 1);
        int64_t max = min + (int64_t)tl_random_below(&random, 3) * DAY - (n & 1);
        uint32_t lo, hi, most = 0;
        if (n == 0)
            min = INT64_MIN;
        if (n == 1)
            max = INT64_MAX;
        tl_segment_list_find(l, min, max, &lo, &hi);
        assert_true(lo >= l->level0_count && lo <= hi && hi <= l->count);
        for (uint32_t i = l->level0_count; i < l->count; i++) {
            const struct tl_segment_info *info = &l->segments[i]->info;
            bool wanted = info->min_ts <= max && info->max_ts >= min;
            bool near = info->meta.start_us <= max &&
                        (min < INT64_MIN + MONTH || info->meta.start_us >= min - MONTH);
            assert_true(!wanted || (i >= lo && i < hi));
            most += near;
        }
        assert_true(hi - lo <= most); /* nothing is given that starts a month before, or after */
    }
    tl_version_unref(v);
}

static void lists_of_nothing_and_of_level_0_alone(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_version *v;
    struct tl_table_version *t;
    uint32_t lo = 7, hi = 7;
    struct tl_live_segment *s = segment_of(0, DAY, 0);
    assert_ok(&st, tl_version_new(1, NULL, &v, &st));
    assert_ok(&st, tl_version_table(v, 1, &t, &st));
    assert_ok(&st, tl_table_version_replace(t, 0, NULL, 0, &s, 1, &st));
    tl_segment_list_find(t->shards[0], INT64_MIN, INT64_MAX, &lo, &hi);
    assert_int_equal(lo, 1);
    assert_int_equal(hi, 1);
    assert_ok(&st, tl_table_version_replace(t, 0, &s, 1, NULL, 0, &st));
    tl_segment_list_find(t->shards[0], 5, 4, &lo, &hi);
    assert_int_equal(lo, 0);
    assert_int_equal(hi, 0);
    tl_live_segment_unref(s);
    tl_version_unref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_segments_are_searched),
        cmocka_unit_test(lists_of_nothing_and_of_level_0_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
