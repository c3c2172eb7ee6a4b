/*
 * Promise: what the batch builder encodes is what protobuf-c reads, value by value, whatever the
 * mix of forms, NULLs, repeats and sizes; and limits drop one row, not the batch.
 * Method: random rows from a printed seed, kept in a plain table beside the builder, compared
 * after a pass through protobuf-c's own decoder.
 */
#include <stdlib.h>

#include "tally.pb-c.h"
#include "tests/test.h"
#include "wire/batch_builder.h"
#include "wire/pb.h"

enum { COLUMNS = 8, ROWS = 3000 };

static const enum tl_batch_form forms[COLUMNS] = {
    TL_BATCH_INT,  TL_BATCH_INT,  TL_BATCH_DOUBLE, TL_BATCH_BOOL,
    TL_BATCH_TEXT, TL_BATCH_TEXT, TL_BATCH_TEXT,   TL_BATCH_INT,
};

struct cell {
    bool null;
    int64_t i;
    double d;
    char text[40];
};

static struct cell cells[ROWS][COLUMNS];

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void fill(struct cell *c, uint32_t column, uint32_t row)
{
    *c = (struct cell){.null = next_random() % 7 == 0};
    switch (column) {
    case 0:
        c->i = 1700000000000000 + (int64_t)row * 1000 + (int64_t)(next_random() % 1000);
        break; /* deltas win */
    case 1:
        c->i = (int64_t)next_random();
        break;
    case 2:
        c->d = (double)(next_random() % 1000) / 3;
        break;
    case 3:
        c->i = (int64_t)(next_random() % 2);
        break;
    case 4:
        snprintf(c->text, sizeof(c->text), "/path/%u", (unsigned)(next_random() % 20));
        break; /* a dictionary wins */
    case 5:
        snprintf(c->text, sizeof(c->text), "%016lx", (unsigned long)next_random());
        break; /* plain wins */
    case 6:
        if (next_random() % 2)
            snprintf(c->text, sizeof(c->text), "x");
        break; /* empty is not NULL */
    default:
        c->null = row < 2900; /* appears late */
        c->i = -5;
    }
}

static void compare(const Tally__V1__Batch *b, uint32_t rows)
{
    assert_int_equal(b->rows, rows);
    assert_int_equal(b->table.len, 6);
    for (size_t k = 0; k < b->n_columns; k++) {
        const Tally__V1__Column *col = b->columns[k];
        assert_int_equal(col->name.len, 2);
        uint32_t c = (uint32_t)(col->name.data[1] - '0');
        uint64_t last = 0;
        uint32_t *starts = calloc(col->n_lengths + 1, sizeof(*starts));
        for (size_t i = 0; i < col->n_lengths; i++)
            starts[i + 1] = starts[i] + col->lengths[i];
        assert_int_equal(starts[col->n_lengths], col->blob.len);
        for (uint32_t r = 0; r < rows; r++) {
            const struct cell *cell = &cells[r][c];
            bool valid = !col->validity.len || (col->validity.data[r / 8] >> (r % 8) & 1);
            assert_int_equal(valid, !cell->null);
            switch (forms[c]) {
            case TL_BATCH_INT: {
                assert_int_equal(col->n_ints, rows);
                uint64_t v = (uint64_t)col->ints[r] + (col->delta ? last : 0);
                last = v;
                if (valid)
                    assert_true((int64_t)v == cell->i);
                break;
            }
            case TL_BATCH_DOUBLE:
                if (valid)
                    assert_true(col->doubles[r] == cell->d);
                break;
            case TL_BATCH_BOOL:
                if (valid)
                    assert_int_equal(col->bools.data[r], cell->i);
                break;
            case TL_BATCH_TEXT: {
                size_t at = col->n_codes ? col->codes[r] : r;
                assert_true(at < col->n_lengths);
                assert_int_equal(col->n_codes ? col->n_codes : col->n_lengths, rows);
                if (valid) {
                    assert_int_equal(col->lengths[at], strlen(cell->text));
                    assert_memory_equal(col->blob.data + starts[at], cell->text, col->lengths[at]);
                }
                break;
            }
            }
        }
        free(starts);
    }
}

static void put_row(struct tl_batch_builder *b, uint32_t row)
{
    struct tl_status st = TL_STATUS_INIT;
    for (uint32_t c = 0; c < COLUMNS; c++) {
        struct cell *cell = &cells[row][c];
        fill(cell, c, row);
        if (cell->null)
            continue;
        char name[3] = {'c', (char)('0' + c), 0};
        uint32_t index;
        assert_ok(&st, tl_batch_builder_column(b, tl_slice_str(name), forms[c], &index, &st));
        switch (forms[c]) {
        case TL_BATCH_INT:
            tl_batch_put_int(b, index, cell->i);
            break;
        case TL_BATCH_DOUBLE:
            tl_batch_put_double(b, index, cell->d);
            break;
        case TL_BATCH_BOOL:
            tl_batch_put_bool(b, index, cell->i != 0);
            break;
        case TL_BATCH_TEXT:
            tl_batch_put_text(b, index, tl_slice_str(cell->text));
            break;
        }
    }
    assert_ok(&st, tl_batch_row_end(b, &st));
}

static void encodes_what_protobuf_reads(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_batch_builder *b = NULL;
    assert_ok(&st, tl_batch_builder_new(tl_slice_str("events"), ROWS, 1 << 20, &b, &st));
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 1000, ROWS};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        tl_batch_builder_reset(b);
        for (uint32_t r = 0; r < sizes[i]; r++)
            put_row(b, r);
        struct tl_buffer out;
        tl_buffer_init(&out, "batch", 1 << 20);
        assert_ok(&st, tl_batch_builder_encode(b, &out, &st));
        assert_true(out.size <= 2 * tl_batch_builder_bytes(b) + 256 + 8 * COLUMNS);
        Tally__V1__Batch *m = tally__v1__batch__unpack(NULL, out.size, out.data);
        assert_non_null(m);
        compare(m, sizes[i]);
        tally__v1__batch__free_unpacked(m, NULL);
        tl_buffer_deinit(&out);
    }
    tl_batch_builder_free(b);
}

static void limits_drop_a_row_and_keep_the_batch(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_batch_builder *b = NULL;
    assert_ok(&st, tl_batch_builder_new(tl_slice_str("t"), 100, 1000, &b, &st));
    uint32_t c;
    assert_ok(&st, tl_batch_builder_column(b, tl_slice_str("s"), TL_BATCH_TEXT, &c, &st));
    char text[400];
    memset(text, 'a', sizeof(text));
    for (int i = 0; i < 2; i++) {
        text[0] = (char)('b' + i);
        tl_batch_put_text(b, c, tl_slice_of(text, sizeof(text)));
        assert_ok(&st, tl_batch_row_end(b, &st));
    }
    text[0] = 'z';
    tl_batch_put_text(b, c, tl_slice_of(text, sizeof(text)));
    assert_code(&st, TL_LIMIT, tl_batch_row_end(b, &st));
    assert_int_equal(tl_batch_builder_rows(b), 2);
    tl_batch_put_text(b, c, tl_slice_str("short"));
    assert_ok(&st, tl_batch_row_end(b, &st));
    for (int i = 3; i < 100; i++)
        assert_ok(&st, tl_batch_row_end(b, &st));
    assert_code(&st, TL_LIMIT, tl_batch_row_end(b, &st));
    assert_code(&st, TL_INVALID,
                tl_batch_builder_column(b, tl_slice_str("s"), TL_BATCH_INT, &c, &st));
    struct tl_buffer out;
    tl_buffer_init(&out, "batch", 10000);
    assert_ok(&st, tl_batch_builder_encode(b, &out, &st));
    Tally__V1__Batch *m = tally__v1__batch__unpack(NULL, out.size, out.data);
    assert_non_null(m);
    assert_int_equal(m->rows, 100);
    assert_int_equal(m->n_columns, 1);
    assert_int_equal(m->columns[0]->validity.data[0], 7);
    tally__v1__batch__free_unpacked(m, NULL);
    tl_buffer_deinit(&out);
    tl_batch_builder_free(b);
}

static void pb_reader_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        bool ok;
    } cases[] = {
        {"\x08\x01", 2, true},
        {"\x08", 1, false}, /* cut varint */
        {"\x0a\x05"
         "abc",
         5, false}, /* cut bytes */
        {"\x0a\x03"
         "abc",
         5, true},
        {"\x0b", 1, false},                                /* a group */
        {"\x00\x00", 2, false},                            /* field 0 */
        {"\x09\x01\x02\x03\x04\x05\x06\x07\x08", 9, true}, /* fixed64 */
        {"\x09\x01\x02\x03\x04\x05\x06\x07", 8, false},
        {"\x0d\x01\x02\x03\x04", 5, true},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, true},  /* 2^64-1 */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, false}, /* 65 bits */
        {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, false},
        {"\x08\x80\x00", 3, true}, /* padded */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tl_pb_reader r = tl_pb_reader_of(tl_slice_of(cases[i].bytes, cases[i].size));
        struct tl_pb_field f;
        while (tl_pb_next(&r, &f))
            ;
        if (r.failed == cases[i].ok)
            fail_msg("case %zu", i);
    }
    static const int64_t values[] = {0, -1, 1, INT64_MIN, INT64_MAX, 63, -64, 64};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t buf[10];
        uint64_t z = tl_pb_zigzag(values[i]);
        uint8_t *end = tl_pb_write_varint(buf, z);
        assert_int_equal(end - buf, tl_pb_varint_size(z));
        struct tl_pb_reader r = {buf, end, false};
        assert_true(tl_pb_unzigzag(tl_pb_read_varint(&r)) == values[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_what_protobuf_reads),
        cmocka_unit_test(limits_drop_a_row_and_keep_the_batch),
        cmocka_unit_test(pb_reader_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
