/*
 * The batch writer's bytes, read back by a small decoder of their own written from the .proto file.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/batch_writer.h"

struct decoded_column {
    struct tl_slice name, validity, ints, doubles, bools, blob, lengths, codes;
    bool delta;
};
struct decoded {
    struct tl_slice table;
    uint64_t rows;
    uint32_t count;
    struct decoded_column columns[16];
};

static void decode_column(struct tl_slice bytes, struct decoded_column *c)
{
    struct tl_reader r = tl_reader_of(bytes);
    struct tl_slice *parts[10] = {NULL,        &c->name,  &c->validity, &c->ints,    NULL,
                                  &c->doubles, &c->bools, &c->blob,     &c->lengths, &c->codes};
    while (tl_reader_left(&r)) {
        uint64_t tag = tl_read_varint(&r);
        if (tag == (4 << 3)) {
            c->delta = tl_read_varint(&r) != 0;
            continue;
        }
        assert_int_equal(tag & 7, 2);
        assert_in_range(tag >> 3, 1, 9);
        assert_non_null(parts[tag >> 3]);
        *parts[tag >> 3] = tl_read_bytes(&r, tl_read_varint(&r));
    }
    assert_false(r.failed);
}

static void decode(const struct tl_buffer *b, struct decoded *d)
{
    memset(d, 0, sizeof(*d));
    struct tl_reader r = tl_reader_of(tl_buffer_slice(b));
    while (tl_reader_left(&r)) {
        uint64_t tag = tl_read_varint(&r);
        if (tag == (1 << 3 | 2)) {
            d->table = tl_read_bytes(&r, tl_read_varint(&r));
        } else if (tag == (2 << 3)) {
            d->rows = tl_read_varint(&r);
        } else {
            assert_int_equal(tag, 3 << 3 | 2);
            decode_column(tl_read_bytes(&r, tl_read_varint(&r)), &d->columns[d->count++]);
        }
    }
    assert_false(r.failed);
}

static const struct decoded_column *find(const struct decoded *d, const char *name)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (tl_slice_eq(d->columns[i].name, tl_slice_str(name)))
            return &d->columns[i];
    return NULL;
}

static bool valid(const struct decoded_column *c, uint32_t row)
{
    return c->validity.size == 0 || (c->validity.data[row / 8] >> (row & 7) & 1);
}

static int64_t zigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static struct tl_slice text_at(const struct decoded_column *c, uint32_t row)
{
    uint64_t index = row;
    if (c->codes.size) {
        struct tl_reader codes = tl_reader_of(c->codes);
        for (uint32_t i = 0; i <= row; i++)
            index = tl_read_varint(&codes);
    }
    struct tl_reader lengths = tl_reader_of(c->lengths);
    size_t begin = 0, size = 0;
    for (uint64_t i = 0; i <= index; i++) {
        begin += size;
        size = tl_read_varint(&lengths);
    }
    assert_false(lengths.failed);
    assert_true(begin + size <= c->blob.size);
    return tl_slice_of(c->blob.data + begin, size);
}

static const struct tl_batch_column_def defs[] = {
    {"id", {TL_BIGINT, 0}},  {"ts", {TL_TIMESTAMPTZ, 0}}, {"word", {TL_TEXT, 0}},
    {"own", {TL_TEXT, 0}},   {"x", {TL_DOUBLE, 0}},       {"yes", {TL_BOOLEAN, 0}},
    {"never", {TL_TEXT, 0}},
};

/* Many rounds of random rows on one writer: what a batch leaves behind must not reach the next. */
/* Evenly one of 0 … 2^31 - 1. */
static int draw(struct tl_random *r)
{
    return (int)(tl_random_u64(r) >> 33);
}

static void test_round_trip(void **state)
{
    (void)state;
    enum { ROWS = 777 };
    static const char *const words[] = {"", "a", "be", "see", "a rather longer word than others"};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_batch_writer *w;
    assert_ok(&st, tl_batch_writer_new("things", defs, 7, ROWS, &w, &st));
    struct tl_buffer out;
    tl_buffer_init(&out, "test", 1 << 24);
    for (unsigned round = 0; round < 40; round++) {
        struct tl_random chance;
        tl_random_init(&chance, round);
        uint32_t rows = round == 0 ? 1 : 1 + (uint32_t)draw(&chance) % ROWS;
        unsigned sparse = round % 4; /* 0: no NULLs */
        static struct {
            bool has[6];
            int64_t id, ts;
            const char *word;
            char own[24];
            double x;
            bool yes;
        } row[ROWS];
        for (uint32_t i = 0; i < rows; i++) {
            for (int c = 0; c < 6; c++)
                row[i].has[c] = !sparse || draw(&chance) % 4 >= (int)sparse;
            row[i].id = (int64_t)((uint64_t)draw(&chance) << 33 ^ (uint64_t)draw(&chance) << 20);
            row[i].ts = 1717200000000000 + draw(&chance);
            row[i].word = words[draw(&chance) % 5];
            snprintf(row[i].own, sizeof(row[i].own), "%u-%u", round, i);
            row[i].x = draw(&chance) / 7.0;
            row[i].yes = draw(&chance) % 2;
            if (row[i].has[0])
                tl_batch_put_int(w, &w->columns[0], row[i].id);
            if (row[i].has[1])
                tl_batch_put_int(w, &w->columns[1], row[i].ts);
            if (row[i].has[2])
                tl_batch_put_text(w, &w->columns[2], tl_slice_str(row[i].word));
            if (row[i].has[3])
                tl_batch_put_text(w, &w->columns[3], tl_slice_str(row[i].own));
            if (row[i].has[4])
                tl_batch_put_double(w, &w->columns[4], row[i].x);
            if (row[i].has[5])
                tl_batch_put_bool(w, &w->columns[5], row[i].yes);
            tl_batch_end_row(w);
        }
        tl_buffer_clear(&out);
        assert_ok(&st, tl_batch_writer_finish(w, &out, &st));
        struct decoded d;
        decode(&out, &d);
        assert_int_equal(d.rows, rows);
        assert_true(tl_slice_eq(d.table, tl_slice_str("things")));
        assert_null(find(&d, "never"));
        const struct decoded_column *c[6];
        for (int i = 0; i < 6; i++)
            c[i] = find(&d, defs[i].name);
        if (!sparse && rows > 1)
            assert_int_equal(c[3]->codes.size, 0); /* all different: sent plain */
        struct tl_reader ids = {0}, times = {0};
        if (c[0])
            ids = tl_reader_of(c[0]->ints);
        if (c[1])
            times = tl_reader_of(c[1]->ints);
        int64_t time = 0;
        for (uint32_t i = 0; i < rows; i++) {
            for (int k = 0; k < 6; k++)
                assert_int_equal(row[i].has[k], c[k] && valid(c[k], i));
            int64_t id = c[0] ? zigzag(tl_read_varint(&ids)) : 0;
            time = c[1] ? (int64_t)((uint64_t)time + (uint64_t)zigzag(tl_read_varint(&times))) : 0;
            if (row[i].has[0])
                assert_int_equal(id, row[i].id);
            if (row[i].has[1])
                assert_int_equal(time, row[i].ts);
            if (row[i].has[2])
                assert_true(tl_slice_eq(text_at(c[2], i), tl_slice_str(row[i].word)));
            if (row[i].has[3])
                assert_true(tl_slice_eq(text_at(c[3], i), tl_slice_str(row[i].own)));
            if (row[i].has[4])
                assert_memory_equal(c[4]->doubles.data + i * 8, &row[i].x, 8);
            if (row[i].has[5])
                assert_int_equal(c[5]->bools.data[i], row[i].yes);
        }
        assert_false(ids.failed || times.failed);
    }
    tl_buffer_deinit(&out);
    tl_batch_writer_free(w);
}

static void test_limits(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_batch_writer *w;
    assert_ok(&st, tl_batch_writer_new("t", defs, 4, 10, &w, &st));
    for (int i = 0; i < 10; i++) {
        tl_batch_put_text(w, &w->columns[2], tl_slice_str("a long string that fills the buffer"));
        tl_batch_put_text(w, &w->columns[3], tl_slice_str("the same"));
        tl_batch_end_row(w);
    }
    assert_true(tl_batch_full(w));
    struct tl_buffer out;
    tl_buffer_init(&out, "small", 40);
    assert_code(&st, TL_LIMIT, tl_batch_writer_finish(w, &out, &st));
    tl_buffer_deinit(&out);
    tl_batch_writer_free(w);
    tl_batch_writer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests_name("tools/batch_writer", tests, NULL, NULL);
}
