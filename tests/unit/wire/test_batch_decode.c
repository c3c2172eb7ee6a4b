/* Promise: the engine's own decoder of batches reads exactly what protobuf-c reads from the same
 * bytes. Method: random batches of `events`, packed by protobuf-c in every value form (plain and
 * dictionary text, plain and delta integers, validity or none), decoded by both and compared value
 * by value. The seed is printed; TALLY_SEED repeats one. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/batch.h"
#include "tally.pb-c.h"

enum { ROWS_MAX = 300, COLUMNS_MAX = 40, ROUNDS = 200 };

struct values {
    int64_t ints[ROWS_MAX];
    uint32_t lengths[ROWS_MAX];
    uint32_t codes[ROWS_MAX];
    uint8_t bools[ROWS_MAX];
    uint8_t validity[ROWS_MAX / 8 + 1];
    uint8_t blob[ROWS_MAX * 8];
};

static struct values pool[COLUMNS_MAX];

static void fill_text(struct tl_random *r, struct values *v, Tally__V1__Column *c, uint32_t rows)
{
    bool dictionary = tl_random_below(r, 2) == 0;
    uint32_t strings = dictionary ? 1 + (uint32_t)tl_random_below(r, rows) : rows;
    uint32_t size = 0;
    for (uint32_t i = 0; i < strings; i++) {
        v->lengths[i] = (uint32_t)tl_random_below(r, 8);
        for (uint32_t k = 0; k < v->lengths[i]; k++)
            v->blob[size++] = (uint8_t)('a' + tl_random_below(r, 4));
    }
    c->lengths = v->lengths;
    c->n_lengths = strings;
    c->blob = (ProtobufCBinaryData){size, v->blob};
    if (!dictionary)
        return;
    for (uint32_t i = 0; i < rows; i++)
        v->codes[i] = (uint32_t)tl_random_below(r, strings);
    c->codes = v->codes;
    c->n_codes = rows;
}

static void fill_column(struct tl_random *r, const struct tl_column_info *info, struct values *v,
                        Tally__V1__Column *c, uint32_t rows)
{
    tally__v1__column__init(c);
    c->name = (ProtobufCBinaryData){strlen(info->name), (uint8_t *)(uintptr_t)info->name};
    if (tl_random_below(r, 2) == 0) {
        tl_random_fill(r, v->validity, sizeof(v->validity));
        c->validity = (ProtobufCBinaryData){(rows + 7) / 8, v->validity};
    }
    if (info->type.kind == TL_TEXT) {
        fill_text(r, v, c, rows);
    } else if (info->type.kind == TL_BOOLEAN) {
        for (uint32_t i = 0; i < rows; i++)
            v->bools[i] = (uint8_t)tl_random_below(r, 2);
        c->bools = (ProtobufCBinaryData){rows, v->bools};
    } else {
        for (uint32_t i = 0; i < rows; i++)
            v->ints[i] = (int64_t)(tl_random_u64(r) >> tl_random_below(r, 64));
        c->ints = v->ints;
        c->n_ints = rows;
        c->delta = tl_random_below(r, 2) == 0;
    }
}

static void compare_column(const Tally__V1__Column *c, const struct tl_batch_column *ours,
                           uint32_t rows)
{
    assert_true(ours->present);
    uint64_t sum = 0;
    size_t offset = 0;
    size_t offsets[ROWS_MAX + 1];
    for (size_t i = 0; i < c->n_lengths; i++) {
        offsets[i] = offset;
        offset += c->lengths[i];
    }
    for (uint32_t i = 0; i < rows; i++) {
        bool valid = c->validity.len == 0 || (c->validity.data[i / 8] >> i % 8 & 1);
        assert_int_equal(tl_batch_valid(ours, i), valid);
        sum = c->delta ? sum + (uint64_t)(c->n_ints ? c->ints[i] : 0) : 0;
        if (c->n_ints > 0)
            assert_true(ours->ints[i] == (c->delta ? (int64_t)sum : c->ints[i]));
        if (c->bools.len > 0)
            assert_int_equal(ours->bools[i], c->bools.data[i]);
        if (c->n_lengths > 0 && valid) {
            size_t at = c->n_codes > 0 ? c->codes[i] : i;
            assert_true(tl_slice_eq(ours->strings[tl_batch_code(ours, i)],
                                    tl_slice_of(c->blob.data + offsets[at], c->lengths[at])));
        }
    }
}

static void both_read_the_same(void **state)
{
    (void)state;
    struct tl_schema_store schemas;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_random r;
    const char *given = getenv("TALLY_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20260101;
    print_message("TALLY_SEED=%llu\n", (unsigned long long)seed);
    tl_random_init(&r, seed);
    tl_schema_store_init(&schemas);
    assert_ok(&st, tl_schema_create_events(&schemas, &st));
    const struct tl_table *events = tl_schema_by_id(schemas.current, 1);
    for (int round = 0; round < ROUNDS; round++) {
        Tally__V1__Batch b;
        Tally__V1__Column columns[COLUMNS_MAX];
        Tally__V1__Column *list[COLUMNS_MAX];
        size_t n = 0;
        tally__v1__batch__init(&b);
        b.table = (ProtobufCBinaryData){6, (uint8_t *)(uintptr_t) "events"};
        b.rows = 1 + (uint32_t)tl_random_below(&r, ROWS_MAX);
        for (uint32_t i = 0; i < events->info.column_count; i++) {
            uint8_t kind = events->info.columns[i].type.kind;
            if (kind == TL_PROPS || tl_random_below(&r, 3) == 0)
                continue;
            fill_column(&r, &events->info.columns[i], &pool[n], &columns[n], b.rows);
            list[n] = &columns[n];
            n++;
        }
        b.columns = list;
        b.n_columns = n;
        size_t size = tally__v1__batch__get_packed_size(&b);
        uint8_t *bytes = malloc(size + 1);
        tally__v1__batch__pack(&b, bytes);

        Tally__V1__Batch *theirs = tally__v1__batch__unpack(NULL, size, bytes);
        struct tl_arena arena;
        struct tl_batch ours;
        tl_arena_init(&arena, NULL, 65536);
        assert_non_null(theirs);
        assert_ok(&st, tl_batch_decode(tl_slice_of(bytes, size), events, &arena, &ours, &st));
        assert_int_equal(ours.rows, theirs->rows);
        for (size_t i = 0; i < theirs->n_columns; i++) {
            struct tl_slice name =
                tl_slice_of(theirs->columns[i]->name.data, theirs->columns[i]->name.len);
            int32_t index = tl_table_column(events, name);
            assert_true(index >= 0);
            compare_column(theirs->columns[i], &ours.columns[index], ours.rows);
        }
        tl_arena_deinit(&arena);
        tally__v1__batch__free_unpacked(theirs, NULL);
        free(bytes);
    }
    tl_schema_store_deinit(&schemas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_read_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
