/*
 * Promise: a segment's maps are told back as they were given, whichever of their keys have columns
 * of their own; these are the 64 that most rows have; and a merged segment's bytes follow from its
 * rows alone, however the inputs were cut and whichever keys were hot in them.
 * Method: random maps beside a model that is written the naive way; merges of several packs against
 * the merge of one pack with all rows.
 */
#include "storage/props.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/random.h"
#include "storage/cache.h"
#include "storage/io.h"
#include "storage/io_sim.h"
#include "storage/merge.h"
#include "storage/segment.h"
#include "tests/test.h"

enum { MAP = 7, KEYS_MAX = 120, ROWS_MAX = 6000, PACKS_MAX = 6 };

static struct tl_status st;

struct row {
    bool null;
    uint32_t count;
    uint8_t keys[TL_PROPS_ROW_KEYS_MAX]; /* ascending in the pool, which is sorted */
    struct tl_slice values[TL_PROPS_ROW_KEYS_MAX];
};

struct model {
    struct tl_arena arena;
    uint32_t key_count;
    struct tl_slice keys[KEYS_MAX];
    uint32_t rows;
    struct row row[ROWS_MAX];
};

static int by_name(const void *a, const void *b)
{
    return tl_slice_cmp(*(const struct tl_slice *)a, *(const struct tl_slice *)b);
}

static struct tl_slice random_bytes(struct model *m, struct tl_random *r, size_t size)
{
    static const char letters[] = "abcdefghij\xc3\xa4";
    uint8_t *s = tl_arena_alloc(&m->arena, size + 1, &st);
    for (size_t i = 0; i < size; i++)
        s[i] = (uint8_t)letters[tl_random_below(r, sizeof(letters) - 1)];
    return tl_slice_of(s, size);
}

/* Which keys are frequent shifts from a part of the rows to the next. */
static void model_make(struct model *m, uint32_t keys, uint32_t rows, uint32_t parts, uint64_t seed)
{
    struct tl_random r;
    tl_random_init(&r, seed);
    memset(m, 0, sizeof(*m));
    tl_arena_init(&m->arena, NULL, 0);
    m->key_count = keys;
    for (uint32_t k = 0; k < keys; k++) {
        char name[80];
        uint32_t wide = tl_random_below(&r, 10) == 0 ? 60 : 1;
        int n = snprintf(name, sizeof(name), "%.*s%u", (int)wide,
                         "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", k);
        m->keys[k] = tl_slice_of(tl_arena_copy(&m->arena, name, (size_t)n, &st), (size_t)n);
    }
    qsort(m->keys, keys, sizeof(m->keys[0]), by_name);
    m->rows = rows;
    for (uint32_t i = 0; i < rows; i++) {
        struct row *row = &m->row[i];
        uint32_t part = (uint32_t)((uint64_t)i * parts / rows);
        row->null = tl_random_below(&r, 10) == 0;
        bool full = tl_random_below(&r, 50) == 0;
        for (uint32_t k = 0; k < keys && !row->null && row->count < TL_PROPS_ROW_KEYS_MAX; k++) {
            uint32_t rank = (k * 7 + part * 31) % keys;
            if (!full && tl_random_below(&r, 4 + rank) > 2)
                continue;
            size_t size = tl_random_below(&r, 5);
            if (tl_random_below(&r, 2000) == 0)
                size = 4096;
            row->keys[row->count] = (uint8_t)k;
            row->values[row->count++] =
                tl_random_below(&r, 2) ? m->keys[(k + i) % 3] : random_bytes(m, &r, size);
        }
    }
}

static struct tl_slice shape_of(struct model *m, const struct row *row)
{
    uint8_t bytes[TL_PROPS_ROW_KEYS_MAX * 65];
    size_t n = 0;
    for (uint32_t i = 0; i < row->count; i++) {
        struct tl_slice key = m->keys[row->keys[i]];
        bytes[n++] = (uint8_t)key.size;
        memcpy(bytes + n, key.data, key.size);
        n += key.size;
    }
    return tl_slice_of(tl_arena_copy(&m->arena, bytes, n, &st), n);
}

/* The hot keys of rows [lo, hi), found by looking at all of them again and again. */
static uint32_t naive_hot(const struct model *m, uint32_t lo, uint32_t hi, bool hot[KEYS_MAX])
{
    uint32_t counts[KEYS_MAX] = {0};
    uint32_t n = 0;
    for (uint32_t i = lo; i < hi; i++)
        for (uint32_t k = 0; k < m->row[i].count; k++)
            counts[m->row[i].keys[k]]++;
    memset(hot, 0, KEYS_MAX);
    for (; n < TL_PROPS_HOT_MAX; n++) {
        uint32_t best = 0;
        for (uint32_t k = 1; k < m->key_count; k++)
            if (counts[k] > counts[best])
                best = k;
        if (counts[best] == 0)
            break;
        hot[best] = true;
        counts[best] = 0;
    }
    return n;
}

static void append(struct tl_pack_writer *w, struct tl_type type, const void *data,
                   const uint64_t *validity, uint32_t rows)
{
    size_t width = tl_kind_width(type.kind);
    for (uint32_t lo = 0; lo < rows; lo += TL_VECTOR_ROWS_MAX) {
        uint32_t n = rows - lo < TL_VECTOR_ROWS_MAX ? rows - lo : TL_VECTOR_ROWS_MAX;
        struct tl_vector v = {.type = type,
                              .shape = TL_FLAT,
                              .count = n,
                              .data = (const uint8_t *)data + lo * width,
                              .validity = validity ? validity + lo / 64 : NULL};
        assert_ok(&st, tl_pack_column_append(w, &v, &st));
    }
    assert_ok(&st, tl_pack_column_end(w, &st));
}

/* Rows [lo, hi) as a pack of one segment; row i is of merchant i / 10 and time i. */
static struct tl_pack *write_pack(struct tl_io *io, struct tl_cache *cache, struct model *m,
                                  uint32_t number, uint32_t lo, uint32_t hi)
{
    struct tl_pack_id id = {.number = number, .shard = TL_PACK_SHARD_ALL, .kind = TL_PACK_SEAL};
    struct tl_pack_options options = TL_PACK_OPTIONS_HOT;
    struct tl_segment_meta meta = {.table = 3, .start_us = INT64_MIN, .end_us = INT64_MAX};
    struct tl_pack_writer *w = NULL;
    struct tl_pack_info info;
    uint32_t rows = hi - lo;
    bool hot[KEYS_MAX];
    (void)naive_hot(m, lo, hi, hot);
    int64_t *merchants = calloc(rows, 8);
    int64_t *times = calloc(rows, 8);
    uint64_t *valid = calloc(tl_bit_words(rows), 8);
    struct tl_slice *texts = calloc(rows, sizeof(*texts));
    assert_ok(&st, tl_pack_create(io, &id, &options, &w, &st));
    assert_ok(&st, tl_pack_segment_begin(w, &meta, rows, &st));
    for (uint32_t i = 0; i < rows; i++) {
        merchants[i] = (lo + i) / 10;
        times[i] = lo + i;
        texts[i] = shape_of(m, &m->row[lo + i]);
        if (!m->row[lo + i].null)
            tl_bit_set(valid, i);
    }
    assert_ok(&st, tl_pack_column_begin(w, 1, tl_type_of(TL_BIGINT), &st));
    append(w, tl_type_of(TL_BIGINT), merchants, NULL, rows);
    assert_ok(&st, tl_pack_column_begin(w, 2, tl_type_of(TL_TIMESTAMPTZ), &st));
    append(w, tl_type_of(TL_TIMESTAMPTZ), times, NULL, rows);
    assert_ok(&st, tl_pack_column_begin(w, MAP, tl_type_of(TL_TEXT), &st));
    append(w, tl_type_of(TL_TEXT), texts, valid, rows);
    for (uint32_t i = 0; i < rows; i++) {
        static uint8_t bytes[TL_TEXT_BYTES_MAX];
        const struct row *row = &m->row[lo + i];
        size_t n = 0;
        for (uint32_t k = 0; k < row->count; k++) {
            if (hot[row->keys[k]])
                continue;
            tl_put_u16le(bytes + n, (uint16_t)row->values[k].size);
            n += 2;
            memcpy(bytes + n, row->values[k].data, row->values[k].size);
            n += row->values[k].size;
        }
        texts[i] = tl_slice_of(tl_arena_copy(&m->arena, bytes, n, &st), n);
    }
    assert_ok(&st, tl_pack_column_begin(w, MAP + 1, tl_type_of(TL_TEXT), &st));
    append(w, tl_type_of(TL_TEXT), texts, valid, rows);
    uint32_t rank = 0;
    for (uint32_t k = 0; k < m->key_count; k++) {
        if (!hot[k])
            continue;
        memset(valid, 0, tl_bit_words(rows) * 8);
        for (uint32_t i = 0; i < rows; i++) {
            const struct row *row = &m->row[lo + i];
            for (uint32_t j = 0; j < row->count; j++)
                if (row->keys[j] == k) {
                    texts[i] = row->values[j];
                    tl_bit_set(valid, i);
                }
        }
        assert_ok(&st, tl_pack_named_begin(w, tl_props_column_id(MAP, rank++), m->keys[k], &st));
        append(w, tl_type_of(TL_TEXT), texts, valid, rows);
    }
    assert_ok(&st, tl_pack_segment_end(w, &st));
    assert_ok(&st, tl_pack_finish(w, &info, &st));
    tl_pack_info_deinit(&info);
    free(merchants);
    free(times);
    free(valid);
    free(texts);
    struct tl_pack *pack;
    assert_ok(&st, tl_pack_open(io, &id, cache, &pack, &st));
    return pack;
}

/* ---- reading ---- */

struct reader {
    struct tl_dict_reader dict;
    struct tl_cursor cursor;
    struct tl_vector v;
    uint32_t lo;
};

static bool read_text(struct reader *r, uint32_t row, struct tl_slice *out)
{
    if (row % 1024 == 0) {
        uint32_t hi = r->cursor.column->rows - row < 1024 ? r->cursor.column->rows : row + 1024;
        assert_ok(&st, tl_cursor_read(&r->cursor, row, hi, NULL, &r->v, &st));
        r->lo = row;
    }
    if (r->v.shape != TL_DICT || !tl_vector_valid(&r->v, row - r->lo))
        return false;
    assert_ok(&st, tl_dict_get(r->v.dict, &r->v.codes[row - r->lo], 1, out, &st));
    return true;
}

static void reader_open(struct reader *r, const struct tl_segment *s, uint32_t id,
                        struct tl_arena *arena)
{
    const struct tl_column *c = tl_segment_column(s, id);
    assert_non_null(c);
    assert_ok(&st, tl_dict_reader_open(&r->dict, c, NULL, &st));
    assert_ok(&st, tl_cursor_init(&r->cursor, c, &r->dict.dict, arena, NULL, &st));
}

static void reader_close(struct reader *r)
{
    tl_cursor_close(&r->cursor);
    tl_dict_reader_close(&r->dict);
}

/* Puts every row of a segment, which holds the model's rows [lo, hi), together again. */
static void check_segment(struct model *m, const struct tl_segment *s, uint32_t lo, uint32_t hi)
{
    struct tl_arena arena;
    tl_arena_init(&arena, NULL, 0);
    struct tl_props_hot hot;
    bool expected[KEYS_MAX];
    tl_props_hot_of(s, MAP, &hot);
    assert_int_equal(hot.count, naive_hot(m, lo, hi, expected));
    for (uint32_t k = 0; k < m->key_count; k++)
        assert_int_equal(tl_props_hot_rank(&hot, m->keys[k]) >= 0, expected[k]);
    struct reader *r = calloc(2 + hot.count, sizeof(*r));
    reader_open(&r[0], s, MAP, &arena);
    reader_open(&r[1], s, MAP + 1, &arena);
    for (uint32_t k = 0; k < hot.count; k++)
        reader_open(&r[2 + k], s, tl_props_column_id(MAP, k), &arena);
    assert_int_equal(tl_segment_rows(s), hi - lo);
    for (uint32_t i = 0; i < hi - lo; i++) {
        const struct row *row = &m->row[lo + i];
        struct tl_slice shape;
        struct tl_slice values;
        struct tl_slice told[TL_PROPS_HOT_MAX];
        bool has[TL_PROPS_HOT_MAX];
        assert_int_equal(read_text(&r[0], i, &shape), !row->null);
        assert_int_equal(read_text(&r[1], i, &values), !row->null);
        for (uint32_t k = 0; k < hot.count; k++)
            has[k] = read_text(&r[2 + k], i, &told[k]);
        uint32_t hot_values = 0;
        for (uint32_t k = 0; k < hot.count; k++)
            hot_values += has[k];
        for (uint32_t j = 0; j < row->count; j++) {
            struct tl_slice key = m->keys[row->keys[j]];
            int32_t rank = tl_props_hot_rank(&hot, key);
            assert_int_equal(tl_props_find(shape, key), j);
            if (rank >= 0) {
                assert_true(has[rank] && tl_slice_eq(told[rank], row->values[j]));
                assert_int_equal(tl_props_find_cold(&hot, shape, key), -1);
                hot_values--;
                continue;
            }
            struct tl_slice value = {NULL, 0};
            int32_t at = tl_props_find_cold(&hot, shape, key);
            assert_true(at >= 0 && tl_props_value(values, (uint32_t)at, &value));
            assert_true(tl_slice_eq(value, row->values[j]));
        }
        assert_int_equal(hot_values, 0);
    }
    for (uint32_t k = 0; k < 2 + hot.count; k++)
        reader_close(&r[k]);
    free(r);
    tl_arena_deinit(&arena);
}

/* ---- merging ---- */

/* Merges all segments of the packs into two partitions. */
static struct tl_pack *merge(struct tl_io *io, struct tl_cache *cache, uint32_t number,
                             struct tl_pack **packs, uint32_t count, int64_t split,
                             bool map_columns, struct tl_pack_info *info)
{
    struct tl_pack_id id = {.number = number, .table = 3, .shard = 1, .kind = TL_PACK_MERGE};
    struct tl_merge_input inputs[2 * PACKS_MAX] = {{0}};
    struct tl_segment_meta parts[2] = {
        {.table = 3, .level = 1, .start_us = 0, .end_us = split},
        {.table = 3, .level = 1, .start_us = split, .end_us = 1 << 30}};
    struct tl_merge_options options = {.pack = TL_PACK_OPTIONS_COLD};
    struct tl_pack *pack;
    struct tl_budget budget;
    uint32_t n = 0;
    tl_budget_init(&budget, "merge", 256 << 20, NULL);
    options.budget = &budget;
    options.pack.omit_empty = true;
    options.pack.map_columns = map_columns;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < tl_pack_segment_count(packs[i]); k++)
            assert_ok(&st, tl_pack_segment(packs[i], k, &inputs[n++].segment, &st));
    assert_ok(&st, tl_merge(io, &id, inputs, n, parts, 2, &options, info, &st));
    assert_int_equal(atomic_load(&budget.used_bytes), 0);
    assert_ok(&st, tl_pack_open(io, &id, cache, &pack, &st));
    return pack;
}

static void merge_round(uint32_t keys, uint32_t rows, uint32_t count, bool map_columns,
                        uint64_t seed)
{
    static struct model m;
    struct tl_io_sim *sim;
    struct tl_cache *cache;
    struct tl_pack *packs[PACKS_MAX];
    struct tl_pack_info several;
    struct tl_pack_info one;
    assert_ok(&st, tl_io_sim_new(seed, &sim, &st));
    struct tl_io *io = tl_io_sim_io(sim);
    assert_ok(&st, tl_io_mkdir(io, TL_PACK_DIR, &st));
    assert_ok(&st, tl_cache_new(32 << 20, &cache, &st));
    model_make(&m, keys, rows, count, seed);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t lo = i * rows / count, hi = (i + 1) * rows / count;
        struct tl_segment *s;
        packs[i] = write_pack(io, cache, &m, i + 1, lo, hi);
        assert_ok(&st, tl_pack_segment(packs[i], 0, &s, &st));
        check_segment(&m, s, lo, hi);
    }
    int64_t split = rows / 3 + 1;
    struct tl_pack *merged = merge(io, cache, 1, packs, count, split, map_columns, &several);
    struct tl_segment *s;
    struct tl_pack_counts counts;
    assert_ok(&st, tl_pack_segment(merged, 0, &s, &st));
    check_segment(&m, s, 0, (uint32_t)split);
    assert_ok(&st, tl_pack_segment(merged, 1, &s, &st));
    check_segment(&m, s, (uint32_t)split, rows);
    assert_ok(&st, tl_pack_verify(merged, several.hash, &counts, &st));
    /* What was merged, merged again with rows in between. */
    struct tl_pack_info twice;
    struct tl_pack *again = merge(io, cache, 2, &merged, 1, rows / 2 + 1, map_columns, &twice);
    assert_ok(&st, tl_pack_segment(again, 0, &s, &st));
    check_segment(&m, s, 0, rows / 2 + 1);
    tl_pack_unref(again);
    tl_pack_unref(merged);

    struct tl_pack *whole = write_pack(io, cache, &m, 100, 0, rows);
    merged = merge(io, cache, 1, &whole, 1, split, map_columns, &one);
    assert_int_equal(one.size, several.size);
    assert_memory_equal(one.hash, several.hash, sizeof(one.hash));
    tl_pack_unref(merged);
    tl_pack_info_deinit(&one);
    merged = merge(io, cache, 2, &whole, 1, rows / 2 + 1, map_columns, &one);
    assert_memory_equal(one.hash, twice.hash, sizeof(one.hash));
    tl_pack_unref(merged);
    tl_pack_unref(whole);
    tl_pack_info_deinit(&twice);
    for (uint32_t i = 0; i < count; i++)
        tl_pack_unref(packs[i]);
    tl_pack_info_deinit(&several);
    tl_pack_info_deinit(&one);
    tl_cache_free(cache);
    tl_io_free(io);
    tl_arena_deinit(&m.arena);
}

static void merges_follow_from_rows(void **state)
{
    (void)state;
    merge_round(6, 3000, 3, false, 1);
    merge_round(6, 3000, 3, true, 2);
    merge_round(64, 2500, 2, false, 3);
    merge_round(65, 2500, 4, true, 4);
    for (uint64_t seed = 5; seed < 11; seed++)
        merge_round(70 + 10 * (uint32_t)(seed - 5), 2000 + (uint32_t)seed * 300,
                    2 + (uint32_t)(seed % 5), seed % 2, seed);
    merge_round(120, ROWS_MAX, PACKS_MAX, true, 12);
    merge_round(1, 40, 2, true, 13);
}

static void a_census_breaks_ties_by_name(void **state)
{
    (void)state;
    struct tl_props_census *c;
    struct tl_props_hot hot;
    assert_ok(&st, tl_props_census_new(NULL, &c, &st));
    tl_props_census_choose(c, &hot);
    assert_int_equal(hot.count, 0);
    for (int i = 99; i >= 10; i--) {
        char shape[16];
        snprintf(shape, sizeof(shape), "\3k%d", i);
        assert_ok(&st, tl_props_census_add(c, tl_slice_str(shape), i == 95 ? 6 : 5, &st));
    }
    assert_code(&st, TL_CORRUPT, tl_props_census_add(c, tl_slice_str("\5ab"), 1, &st));
    tl_props_census_choose(c, &hot);
    assert_int_equal(hot.count, TL_PROPS_HOT_MAX);
    for (int i = 0; i < 63; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", 10 + i);
        assert_true(tl_slice_eq(hot.keys[i], tl_slice_str(key)));
        assert_int_equal(tl_props_hot_rank(&hot, tl_slice_str(key)), i);
    }
    assert_true(tl_slice_eq(hot.keys[63], tl_slice_str("k95")));
    assert_int_equal(tl_props_hot_rank(&hot, tl_slice_str("k73")), -1);
    assert_int_equal(tl_props_hot_rank(&hot, tl_slice_str("")), -1);
    tl_props_census_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_census_breaks_ties_by_name),
        cmocka_unit_test(merges_follow_from_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
