/* Promise: batches that are applied together leave the same rows, in the same order, and the same
 * duplicates told, as those that are applied one by one.
 * Method: groups of random batches (columns left out, NULLs, bad text, event ids that repeat, plain
 * and coded text, some too large to be joined) through one state one by one, through another one
 * together; then every value of every shard is compared. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "engine/batch_join.h"
#include "engine/state.h"
#include "engine/tally.h"
#include "tests/fixture/events.h"

enum { GROUPS = 40, BATCHES_MAX = 60, SHARDS = 4 };
#define T0 1700000000000000LL

static const struct tally_tenant everybody;
static uint64_t seed = 5;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

struct side {
    struct tl_state state;
    struct tl_current current;
    struct tl_arena arena;
};

static void side_init(struct side *s)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_version *v;
    assert_ok(&st, tl_state_init(&s->state, &st));
    assert_ok(&st, tl_schema_create_events(&s->state.schemas, &st));
    s->state.shard_count = SHARDS;
    assert_ok(&st, tl_version_new(SHARDS, s->state.schemas.current, &v, &st));
    tl_current_init(&s->current, v);
    s->state.current = &s->current;
    tl_arena_init(&s->arena, NULL, 4096);
}

static void side_deinit(struct side *s)
{
    tl_state_deinit(&s->state);
    tl_current_deinit(&s->current);
    tl_arena_deinit(&s->arena);
}

static void random_batch(struct tl_buffer *body)
{
    static const char *const names[] = {"pageview", "click", NULL, "", "bad\xff", "\xc3\xa4"};
    static const char *const ids[] = {"a", "b", "c", NULL};
    struct fx_event rows[TL_JOIN_BATCH_ROWS_MAX + 1];
    uint32_t count = draw(20) == 0 ? TL_JOIN_BATCH_ROWS_MAX + draw(2) : 1 + draw(30);
    bool props = draw(2), bad = draw(3) == 0, with_ids = draw(3) == 0, plain_times = draw(2);
    bool no_visitors = draw(3) == 0;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct fx_event){.merchant_id = draw(9),
                                    .ts_us = T0 + draw(50),
                                    .event_name = names[draw(bad ? 6 : 4)],
                                    .visitor_id = no_visitors ? NULL
                                                  : draw(3)   ? "v"
                                                              : "w",
                                    .path = i % 2 ? "/a" : "/b",
                                    .duration_ms = plain_times ? draw(9) : (int64_t)draw(3) - 1,
                                    .revenue = draw(5) ? -1 : (int64_t)draw(1 << 30) << draw(20),
                                    .prop_key = props && draw(2) ? "k" : NULL,
                                    .prop_value = "v",
                                    .event_id = with_ids ? ids[draw(4)] : NULL};
    fx_batch(body, "events", rows, count, draw(2));
}

struct decoded {
    struct tl_batch batch;
    struct tl_record_batch record;
    struct tl_state_batch item;
};

/* As the log thread does; the arrays lie in the side's arena. */
static void decode(struct side *s, struct tl_slice body, uint64_t position, struct decoded *out)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_refused *refused = NULL;
    const struct tl_table *table = tl_schema_by_id(s->state.schemas.current, 1);
    *out = (struct decoded){.record = {.table_id = 1, .received_at_us = T0 + (int64_t)position}};
    assert_ok(&st, tl_batch_decode(body, table, &s->arena, &out->batch, &st));
    assert_ok(&st, tl_batch_judge(&out->batch, T0, false, &everybody, &s->arena, &refused,
                                  &out->record.refused_count, &st));
    out->record.refused = refused;
    out->item = (struct tl_state_batch){&out->record, &out->batch, position};
}

/* The value of a row: a number, or for TEXT the string's bytes. */
static struct tl_slice value_of(const struct tl_memtable *m, const struct tl_column_info *c,
                                const struct tl_memtable_flat *flat, uint32_t row, uint64_t *number)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_slice text = {NULL, 0};
    if (flat->width == 0 || (flat->valid && !flat->valid[row]))
        return text;
    *number = 0;
    memcpy(number, (const uint8_t *)flat->values + (size_t)row * flat->width, flat->width);
    if (c->type.kind != TL_TEXT && flat->width == 4)
        *number = (uint64_t)(int64_t)(int32_t)(uint32_t)*number;
    if (c->type.kind != TL_TEXT)
        return tl_slice_of(number, sizeof(*number));
    if (*number == 0)
        return text;
    uint32_t code = (uint32_t)(*number - 1);
    assert_ok(&st, tl_memtable_copy_strings(m, c->id, &code, 1, &text, NULL, &st));
    return text;
}

static void compare_column(const struct tl_memtable *a, const struct tl_memtable *b,
                           const struct tl_column_info *c, uint32_t shard)
{
    uint32_t rows = tl_memtable_shard_rows(a, shard);
    const struct tl_memtable *m[2] = {a, b};
    uint8_t *values[2], *valid[2];
    struct tl_memtable_flat flat[2];
    for (int k = 0; k < 2; k++) {
        values[k] = calloc((size_t)rows + 1, 8);
        valid[k] = calloc((size_t)rows + 1, 1);
        tl_memtable_flatten(m[k], c->id, shard, values[k], valid[k], &flat[k]);
    }
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t numbers[2];
        struct tl_slice x = value_of(a, c, &flat[0], i, &numbers[0]);
        struct tl_slice y = value_of(b, c, &flat[1], i, &numbers[1]);
        assert_int_equal(x.data == NULL, y.data == NULL);
        assert_true(tl_slice_eq(x, y));
    }
    for (int k = 0; k < 2; k++) {
        free(values[k]);
        free(valid[k]);
    }
}

static void compare(const struct tl_state *a, const struct tl_state *b)
{
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->refused, b->refused);
    assert_int_equal(a->batches, b->batches);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->log_time_us, b->log_time_us);
    assert_int_equal(a->active_count, 1);
    assert_int_equal(b->active_count, 1);
    const struct tl_memtable *x = a->active[0], *y = b->active[0];
    const struct tl_table *table = tl_memtable_table(x);
    assert_int_equal(tl_memtable_rows(x), tl_memtable_rows(y));
    for (uint32_t i = 0; i < table->storage_count; i++)
        for (uint32_t shard = 0; shard < SHARDS; shard++)
            compare_column(x, y, &table->storage[i], shard);
    for (uint32_t shard = 0; shard < SHARDS; shard++)
        assert_int_equal(tl_memtable_shard_rows_at(x, shard, a->position),
                         tl_memtable_shard_rows_at(y, shard, a->position));
}

static void together_is_as_one_by_one(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct side one, all;
    side_init(&one);
    side_init(&all);
    static struct decoded single[BATCHES_MAX], joined[BATCHES_MAX];
    struct tl_state_batch items[BATCHES_MAX];
    struct tl_buffer bodies[BATCHES_MAX];
    uint64_t position = 0, duplicates = 0;
    for (uint32_t g = 0; g < GROUPS; g++) {
        uint32_t count = 1 + draw(BATCHES_MAX);
        for (uint32_t i = 0; i < count; i++) {
            tl_buffer_init(&bodies[i], "body", 1 << 20);
            random_batch(&bodies[i]);
            position++;
            decode(&one, tl_buffer_slice(&bodies[i]), position, &single[i]);
            decode(&all, tl_buffer_slice(&bodies[i]), position, &joined[i]);
            items[i] = joined[i].item;
            assert_ok(&st, tl_state_apply_batch(&one.state, &single[i].record, &single[i].batch,
                                                position, &one.arena, &st));
        }
        assert_ok(&st, tl_state_apply_batches(&all.state, items, count, &all.arena, &st));
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(single[i].batch.duplicates, joined[i].batch.duplicates);
            duplicates += single[i].batch.duplicates;
            tl_buffer_deinit(&bodies[i]);
        }
        tl_arena_reset(&one.arena);
        tl_arena_reset(&all.arena);
    }
    compare(&one.state, &all.state);
    assert_true(duplicates > 0);
    side_deinit(&one);
    side_deinit(&all);
}

static void without_memory_nothing_is_lost(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct side one;
    side_init(&one);
    struct tl_buffer body;
    struct decoded d[3];
    struct tl_batch_part parts[3];
    tl_buffer_init(&body, "body", 1 << 20);
    struct fx_event row = {.merchant_id = 1, .ts_us = T0, .duration_ms = -1, .revenue = -1};
    fx_batch(&body, "events", &row, 1, true);
    for (uint32_t i = 0; i < 3; i++) {
        decode(&one, tl_buffer_slice(&body), i + 1, &d[i]);
        parts[i] = (struct tl_batch_part){&d[i].batch, NULL, 0};
    }
    struct tl_budget budget;
    struct tl_arena poor;
    struct tl_batch out;
    struct tl_refused *refused;
    uint32_t refused_count;
    tl_budget_init(&budget, "nothing", 64, NULL);
    tl_arena_init(&poor, &budget, 4096);
    assert_int_equal(tl_batch_join(parts, 3, &poor, &out, &refused, &refused_count, &st), TL_LIMIT);
    tl_arena_deinit(&poor);
    tl_buffer_deinit(&body);
    side_deinit(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(together_is_as_one_by_one),
        cmocka_unit_test(without_memory_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
