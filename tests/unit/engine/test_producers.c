/* Promise: a retry inside the window is recognised, in any order; an older one is told from a new
 * one; silent producers are forgotten by log time, and the rule is the same after a restart.
 * Method: windows against a plain list of what was noted, and encode/decode. */
#include "tests/test.h"

#include <string.h>

#include "base/random.h"
#include "engine/producers.h"

static enum tl_producer_answer ask(struct tl_producers *p, const char *name, uint64_t sequence)
{
    return tl_producers_ask(p, tl_slice_str(name), sequence);
}

static void note(struct tl_producers *p, const char *name, uint64_t sequence, int64_t time)
{
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_producers_note(p, tl_slice_str(name), sequence, time, &st));
}

static void windows_match_a_list(void **state)
{
    (void)state;
    enum { TOP = 6000 };
    static bool seen[TOP];
    struct tl_producers p;
    struct tl_random r;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t greatest = 0;
    assert_ok(&st, tl_producers_init(&p, &st));
    tl_random_init(&r, 11);
    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < 20000; i++) {
        uint64_t s = 1 + (uint64_t)i / 5 + tl_random_below(&r, 1500);
        enum tl_producer_answer expected = TL_PRODUCER_NEW;
        if (greatest >= TL_PRODUCER_WINDOW && s <= greatest - TL_PRODUCER_WINDOW)
            expected = TL_PRODUCER_TOO_OLD;
        else if (seen[s])
            expected = TL_PRODUCER_SEEN;
        assert_int_equal(ask(&p, "a", s), expected);
        if (expected == TL_PRODUCER_NEW) {
            note(&p, "a", s, i);
            seen[s] = true;
            greatest = s > greatest ? s : greatest;
        }
    }
    tl_producers_deinit(&p);
}

static void windows_survive_encoding(void **state)
{
    (void)state;
    struct tl_producers p;
    struct tl_producers q;
    struct tl_buffer b;
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_producers_init(&p, &st));
    assert_ok(&st, tl_producers_init(&q, &st));
    tl_buffer_init(&b, "windows", 1 << 20);
    note(&p, "x", 5, 1);
    note(&p, "y", 900, 2);
    for (int round = 0; round < 2; round++) {
        tl_buffer_clear(&b);
        tl_producers_encode(&p, false, &b);
        struct tl_reader r = tl_reader_of(tl_buffer_slice(&b));
        assert_ok(&st, tl_producers_decode(&q, &r, &st));
        assert_int_equal(tl_reader_left(&r), 0);
        assert_int_equal(ask(&q, "x", 5), TL_PRODUCER_SEEN);
        assert_int_equal(ask(&q, "x", 4), round == 0 ? TL_PRODUCER_NEW : TL_PRODUCER_SEEN);
        assert_int_equal(ask(&q, "y", 900), TL_PRODUCER_SEEN);
        if (round == 0)
            note(&p, "x", 4, 3); /* the second round carries only this one */
    }
    tl_buffer_deinit(&b);
    tl_producers_deinit(&p);
    tl_producers_deinit(&q);
}

static void silent_producers_are_forgotten(void **state)
{
    (void)state;
    struct tl_producers p;
    struct tl_producers q;
    struct tl_buffer b;
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_producers_init(&p, &st));
    assert_ok(&st, tl_producers_init(&q, &st));
    tl_buffer_init(&b, "windows", 1 << 20);
    p.count_max = 3;
    note(&p, "a", 1, 0);
    note(&p, "b", 1, 1);
    note(&p, "c", 1, 2);
    note(&p, "a", 2, 3);
    note(&p, "d", 1, 4); /* b was silent for longest */
    assert_int_equal(ask(&p, "a", 1), TL_PRODUCER_SEEN);
    assert_int_equal(ask(&p, "b", 1), TL_PRODUCER_NEW);
    assert_int_equal(ask(&p, "c", 1), TL_PRODUCER_SEEN);
    note(&p, "e", 1, 5 + TL_PRODUCER_AGE_US); /* the others' last use is more than 7 days ago */
    assert_int_equal(ask(&p, "c", 1), TL_PRODUCER_NEW);
    assert_int_equal(ask(&p, "d", 1), TL_PRODUCER_NEW);
    assert_int_equal(ask(&p, "e", 1), TL_PRODUCER_SEEN);
    tl_producers_encode(&p, false, &b);
    struct tl_reader r = tl_reader_of(tl_buffer_slice(&b));
    note(&q, "b", 1, 0);
    assert_ok(&st, tl_producers_decode(&q, &r, &st));
    assert_int_equal(ask(&q, "b", 1), TL_PRODUCER_NEW);
    for (size_t cut = 0; cut < b.size; cut++) {
        struct tl_reader bad = tl_reader_of(tl_slice_of(b.data, cut));
        assert_code(&st, TL_CORRUPT, tl_producers_decode(&q, &bad, &st));
    }
    tl_buffer_deinit(&b);
    tl_producers_deinit(&p);
    tl_producers_deinit(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_match_a_list),
        cmocka_unit_test(windows_survive_encoding),
        cmocka_unit_test(silent_producers_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
