/* Promise: a batch is decoded exactly as protobuf says, or refused whole with a sentence; bad rows
 * are named and the others kept; replay with the recorded refusals gives the same rows. Method:
 * batches of the fixture, whole, cut at every byte, with every byte changed, and by hand. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/state.h"
#include "engine/tally.h"
#include "tests/fixture/events.h"

static struct tl_schema_store schemas;
static const struct tl_table *events;
static struct tl_slab_pool *slabs;
static const struct tally_tenant everybody;

static int setup(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    tl_schema_store_init(&schemas);
    assert_ok(&st, tl_schema_create_events(&schemas, &st));
    events = tl_schema_by_id(schemas.current, 1);
    assert_ok(&st, tl_slab_pool_new(&slabs, &st));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tl_slab_pool_unref(slabs);
    tl_schema_store_deinit(&schemas);
    return 0;
}

static void make_body(struct tl_buffer *body, bool dictionary)
{
    struct fx_event rows[40];
    static const char *const names[] = {"pageview", "click", NULL, ""};
    for (int i = 0; i < 40; i++)
        rows[i] = (struct fx_event){.merchant_id = i * 1000003LL - 7,
                                    .ts_us = 1700000000000000LL - i * 17,
                                    .event_name = names[i % 4],
                                    .visitor_id = i % 3 ? "v" : "w",
                                    .path = "/\xc3\xa4",
                                    .duration_ms = i - 1,
                                    .revenue = i % 5 ? -1 : i,
                                    .prop_key = i % 7 ? NULL : "k",
                                    .prop_value = "v"};
    tl_buffer_init(body, "body", 1 << 20);
    fx_batch(body, "events", rows, 40, dictionary);
}

static const struct tl_batch_column *column(const struct tl_batch *b, const char *name)
{
    return &b->columns[tl_table_column(events, tl_slice_str(name))];
}

static void values_come_out_as_they_went_in(void **state)
{
    (void)state;
    for (int dictionary = 0; dictionary < 2; dictionary++) {
        struct tl_buffer body;
        struct tl_arena arena;
        struct tl_batch b;
        struct tl_refused *refused;
        uint32_t count;
        struct tl_status st = TL_STATUS_INIT;
        make_body(&body, dictionary);
        tl_arena_init(&arena, NULL, 4096);
        assert_ok(&st, tl_batch_decode(tl_buffer_slice(&body), events, &arena, &b, &st));
        assert_int_equal(b.rows, 40);
        for (uint32_t i = 0; i < 40; i++) {
            assert_int_equal(column(&b, "merchant_id")->ints[i], i * 1000003LL - 7);
            assert_int_equal(column(&b, "ts")->ints[i], 1700000000000000LL - i * 17);
            const struct tl_batch_column *c = column(&b, "event_name");
            assert_int_equal(tl_batch_valid(c, i), i % 4 != 2);
            if (i % 4 == 0)
                assert_true(tl_slice_eq(c->strings[tl_batch_code(c, i)], tl_slice_str("pageview")));
            assert_int_equal(tl_batch_valid(column(&b, "duration_ms"), i), i > 0);
        }
        assert_false(column(&b, "country")->present);
        assert_ok(&st, tl_batch_judge(&b, 1700000000000000LL, false, &everybody, &arena, &refused,
                                      &count, &st));
        assert_int_equal(count, 0);
        tl_arena_deinit(&arena);
        tl_buffer_deinit(&body);
    }
}

static void damaged_bodies_are_refused_or_still_safe(void **state)
{
    (void)state;
    struct tl_buffer body;
    struct tl_arena arena;
    struct tl_status st = TL_STATUS_INIT;
    make_body(&body, true);
    tl_arena_init(&arena, NULL, 4096);
    uint8_t *copy = malloc(body.size);
    for (size_t cut = 0; cut < body.size; cut++) {
        struct tl_batch b;
        memcpy(copy, body.data, cut);
        enum tl_code rc = tl_batch_decode(tl_slice_of(copy, cut), events, &arena, &b, &st);
        if (rc)
            assert_true(rc == TL_INVALID || rc == TL_LIMIT);
        tl_status_clear(&st);
        tl_arena_reset(&arena);
    }
    for (size_t at = 0; at < body.size; at++)
        for (int mask = 1; mask < 256; mask <<= 1) {
            struct tl_batch b;
            struct tl_refused *refused;
            uint32_t count = 0;
            struct tl_memtable *m;
            memcpy(copy, body.data, body.size);
            copy[at] ^= (uint8_t)mask;
            if (!tl_batch_decode(tl_slice_of(copy, body.size), events, &arena, &b, &st) &&
                !tl_batch_judge(&b, INT64_MAX / 2, false, &everybody, &arena, &refused, &count,
                                &st)) {
                assert_ok(&st, tl_memtable_new(events, 4, slabs, &m, &st));
                assert_ok(&st, tl_memtable_apply(m, &b, refused, count, 1, 0, &arena, &st));
                assert_int_equal(tl_memtable_rows(m), b.rows - count);
                tl_memtable_unref(m);
            }
            tl_status_clear(&st);
            tl_arena_reset(&arena);
        }
    free(copy);
    tl_arena_deinit(&arena);
    tl_buffer_deinit(&body);
}

static void records_carry_refusals(void **state)
{
    (void)state;
    struct tl_arena arena;
    struct tl_buffer head;
    struct tl_record_batch out;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_refused refused[3] = {
        {3, 1, TL_ROW_NULL}, {4, 2, TL_ROW_FUTURE}, {900, 7, TL_ROW_PROPS}};
    struct tl_record_batch in = {.table_id = 9,
                                 .schema_version = 3,
                                 .received_at_us = -5,
                                 .import = true,
                                 .sequence = 77,
                                 .producer = tl_slice_str("p-1"),
                                 .refused_count = 3,
                                 .refused = refused};
    tl_arena_init(&arena, NULL, 4096);
    tl_buffer_init(&head, "head", 4096);
    tl_record_batch_encode(&in, &head);
    tl_buffer_put(&head, "body", 4);
    assert_ok(&st, tl_record_batch_decode(tl_buffer_slice(&head), &arena, &out, &st));
    assert_int_equal(out.table_id, 9);
    assert_int_equal(out.received_at_us, -5);
    assert_true(out.import);
    assert_int_equal(out.sequence, 77);
    assert_true(tl_slice_eq(out.producer, in.producer));
    assert_int_equal(out.refused_count, 3);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(&out.refused[i].row, &refused[i].row, sizeof(uint32_t));
    assert_true(tl_slice_eq(out.body, tl_slice_str("body")));
    for (size_t cut = 0; cut + 4 < head.size; cut++)
        assert_code(&st, TL_CORRUPT,
                    tl_record_batch_decode(tl_slice_of(head.data, cut), &arena, &out, &st));
    tl_arena_deinit(&arena);
    tl_buffer_deinit(&head);
}

static void props_are_split_and_found(void **state)
{
    (void)state;
    /* Props { b: "2", a: "" } */
    static const uint8_t message[] = {0x0a, 6, 0x0a, 1, 'b', 0x12, 1, '2', 0x0a, 3, 0x0a, 1, 'a'};
    struct tl_arena arena;
    struct tl_slice keys;
    struct tl_slice values;
    struct tl_slice v;
    struct tl_status st = TL_STATUS_INIT;
    tl_arena_init(&arena, NULL, 4096);
    assert_ok(&st,
              tl_props_split(tl_slice_of(message, sizeof(message)), &arena, &keys, &values, &st));
    assert_int_equal(tl_props_find(keys, tl_slice_str("a")), 0);
    assert_int_equal(tl_props_find(keys, tl_slice_str("b")), 1);
    assert_int_equal(tl_props_find(keys, tl_slice_str("c")), -1);
    assert_true(tl_props_value(values, 0, &v) && v.size == 0);
    assert_true(tl_props_value(values, 1, &v) && tl_slice_eq(v, tl_slice_str("2")));
    assert_false(tl_props_value(values, 2, &v));
    tl_arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_out_as_they_went_in),
        cmocka_unit_test(damaged_bodies_are_refused_or_still_safe),
        cmocka_unit_test(records_carry_refusals),
        cmocka_unit_test(props_are_split_and_found),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
