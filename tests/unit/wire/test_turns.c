/*
 * Promise: connections whose batches wait progress by equal bytes, whatever the sizes of their
 * batches and however many they offer; each keeps its order; none waits for ever.
 * Method: lines of items, taken one by one; progress is counted in turns, not in time.
 */
#include <stdlib.h>

#include "tests/test.h"
#include "wire/turns.h"

struct thing {
    struct tl_turn_item item; /* first */
    uint32_t line, number;
};

enum { LINES = 4, EACH = 2000 };

static struct tl_turns turns;
static struct tl_turn_line lines[LINES];
static struct thing *things;

static void offer(uint32_t line, uint32_t count, size_t size)
{
    for (uint32_t i = 0; i < count; i++) {
        struct thing *x = &things[line * EACH + i];
        *x = (struct thing){.item.size_bytes = size, .line = line, .number = i};
        tl_turns_put(&turns, &lines[line], &x->item);
    }
}

static void begin(void)
{
    tl_turns_init(&turns);
    memset(lines, 0, sizeof(lines));
    things = calloc(LINES * EACH, sizeof(*things));
    assert_non_null(things);
}

static void bytes_are_shared_equally(void **state)
{
    (void)state;
    begin();
    /* 8 MiB, 1 MiB and 4 KiB a batch: the last one fills less than what it gets of each turn. */
    offer(0, 40, 8 << 20);
    offer(1, 320, 1 << 20);
    offer(2, EACH, 100 << 10);
    size_t got[LINES] = {0};
    uint32_t next[LINES] = {0};
    while (lines[0].first && lines[1].first && lines[2].first) {
        struct thing *x = (struct thing *)tl_turns_take(&turns);
        assert_int_equal(x->number, next[x->line]++);
        got[x->line] += x->item.size_bytes;
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < 3; k++)
                assert_true(got[i] <= got[k] + (8 << 20) + 2 * TL_TURN_QUANTUM_BYTES);
        }
    }
    assert_true(got[0] > 100 << 20);
    free(things);
}

static void a_small_batch_passes_a_thousand_large_ones(void **state)
{
    (void)state;
    begin();
    for (uint32_t line = 0; line < 3; line++)
        offer(line, EACH, 1 << 20);
    for (uint32_t i = 0; i < 100; i++) {
        struct thing *x = (struct thing *)tl_turns_take(&turns);
        assert_true(x->line < 3);
    }
    struct thing *small = &things[3 * EACH];
    for (uint32_t i = 0; i < 100; i++) {
        *small = (struct thing){.item.size_bytes = 3000, .line = 3, .number = i};
        tl_turns_put(&turns, &lines[3], &small->item);
        int before = 0;
        while (tl_turns_take(&turns) != &small->item)
            before++;
        assert_true(before <= 3);
    }
    free(things);
}

static void what_leaves_or_comes_back_breaks_no_order(void **state)
{
    (void)state;
    begin();
    offer(0, 10, 50 << 10);
    offer(1, 10, 50 << 10);
    uint32_t next[2] = {0, 5};
    for (uint32_t i = 0; i < 5; i++)
        tl_turns_remove(&things[EACH + i].item);
    tl_turns_remove(&things[EACH].item); /* does not wait: nothing */
    for (uint32_t i = 0; i < 15; i++) {
        struct thing *x = (struct thing *)tl_turns_take(&turns);
        struct thing *again = x;
        tl_turns_put_back(&turns, &lines[x->line], &x->item);
        x = (struct thing *)tl_turns_take(&turns);
        assert_ptr_equal(x, again);
        assert_int_equal(x->number, next[x->line]++);
    }
    assert_null(tl_turns_take(&turns));
    assert_true(tl_turns_empty(&turns));
    assert_int_equal(lines[0].credit_bytes + lines[1].credit_bytes, 0);
    free(things);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_shared_equally),
        cmocka_unit_test(a_small_batch_passes_a_thousand_large_ones),
        cmocka_unit_test(what_leaves_or_comes_back_breaks_no_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
