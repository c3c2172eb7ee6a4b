/*
 * Promises: what was written is read back, by any slice, by merchant and by time, whatever the
 * types, NULLs, lengths and shapes; the bytes follow from the rows alone; no flipped byte reaches a
 * result; a file of version 1 stays readable.
 * Method: random tables beside a naive twin (segment_model.h) on the simulated disk, each byte of a
 * small pack flipped in turn, and files kept in tests/golden.
 */
#include "storage/segment.h"

#include <pthread.h>

#include "base/hash.h"
#include "storage/block.h"
#include "tests/unit/storage/segment_model.h"

static struct tl_status st;

static struct tl_io_sim *new_disk(void)
{
    struct tl_io_sim *sim;
    tl_status_clear(&st);
    assert_ok(&st, tl_io_sim_new(1, &sim, &st));
    assert_ok(&st, tl_io_mkdir(tl_io_sim_io(sim), TL_PACK_DIR, &st));
    return sim;
}

static const struct tl_pack_id id1 = {
    .number = 1, .log = 0, .shard = TL_PACK_SHARD_ALL, .kind = TL_PACK_SEAL};

static void names(void **state)
{
    (void)state;
    struct tl_pack_id ids[] = {
        id1,
        {.number = 0x0123456789abcdef, .log = 7, .table = 2, .shard = 5, .kind = TL_PACK_MERGE},
        {.number = UINT64_MAX, .log = UINT32_MAX, .table = 9, .shard = 0, .kind = TL_PACK_DERIVED}};
    for (size_t i = 0; i < 3; i++) {
        char name[TL_PACK_NAME_MAX];
        struct tl_pack_id back;
        assert_true(tl_pack_name_parse(tl_pack_name(&ids[i], name), &back));
        assert_true(tl_pack_key(&back) == tl_pack_key(&ids[i]));
        assert_true(back.number == ids[i].number && back.kind == ids[i].kind &&
                    back.log == ids[i].log && back.table == ids[i].table &&
                    back.shard == ids[i].shard);
        assert_true(tl_pack_name_parse(name + sizeof(TL_PACK_DIR), &back));
        name[strlen(name) - 1] = 'K';
        assert_false(tl_pack_name_parse(name, &back));
    }
    struct tl_pack_id back;
    assert_false(tl_pack_name_parse("", &back));
    assert_false(tl_pack_name_parse("s-", &back));
    assert_false(tl_pack_name_parse("x-00000000-00000000-00000000-0000000000000000.pack", &back));
    assert_string_equal(tl_pack_name(&id1, (char[TL_PACK_NAME_MAX]){0}),
                        "packs/s-00000000-00000000-ffffffff-0000000000000001.pack");
}

static void check_slices(const struct tl_segment *s, const struct model *m, uint64_t seed)
{
    struct rng r = {seed * 2 + 1};
    struct model_reader reader;
    assert_ok(&st, model_reader_open(&reader, s, &st));
    for (int i = 0; i < 400; i++) {
        uint32_t c = rng_below(&r, MODEL_COLUMNS);
        uint32_t lo = rng_below(&r, m->rows), n = 1 + rng_below(&r, TL_VECTOR_ROWS_MAX);
        if (rng_below(&r, 3) == 0)
            n = 1 + n % 20;
        uint32_t hi = lo + n < m->rows ? lo + n : m->rows;
        bool equal;
        assert_ok(&st, model_compare(&reader, m, c, lo, hi, lo, &equal, &st));
        if (!equal)
            fail_msg("column %u rows [%u, %u) differ", model_columns[c].id, lo, hi);
    }
    model_reader_close(&reader);
}

static void check_merchants(const struct tl_segment *s, const struct model *m)
{
    uint32_t index = 0;
    for (uint32_t row = 0; row < m->rows; index++) {
        uint32_t end = row, lo, hi;
        int64_t merchant = m->values[0][row];
        while (end < m->rows && m->values[0][end] == merchant)
            end++;
        assert_ok(&st, tl_segment_find_merchant(s, merchant, &lo, &hi, &st));
        assert_int_equal(lo, row);
        assert_int_equal(hi, end);
        assert_ok(&st, tl_segment_find_merchant(s, merchant + 1, &lo, &hi, &st));
        assert_int_equal(lo, end);
        assert_int_equal(hi, end);
        int64_t id;
        uint32_t rows[2];
        assert_ok(&st, tl_segment_merchants(s, index, 1, &id, rows, &st));
        assert_true(id == merchant && rows[0] == row && rows[1] == end);
        /* Each distinct time of a merchant with few rows, else some. */
        uint32_t step = end - row > 100 ? (end - row) / 37 : 1;
        for (uint32_t i = row; i < end; i += step) {
            for (int d = -1; d <= 1; d++) {
                int64_t ts = m->values[1][i] + d;
                uint32_t want = row, got;
                while (want < end && m->values[1][want] < ts)
                    want++;
                assert_ok(&st, tl_segment_find_ts(s, row, end, ts, &got, &st));
                assert_int_equal(got, want);
            }
        }
        row = end;
    }
    assert_int_equal(index, tl_segment_info(s)->merchants);
    uint32_t lo, hi;
    assert_ok(&st, tl_segment_find_merchant(s, INT64_MIN, &lo, &hi, &st));
    assert_true(lo == 0 && hi == 0);
    assert_ok(&st, tl_segment_find_merchant(s, INT64_MAX, &lo, &hi, &st));
    assert_true(lo == m->rows && hi == m->rows);
}

static void check_blocks(const struct tl_segment *s, const struct model *m)
{
    assert_null(tl_segment_column(s, 16));
    assert_null(tl_segment_column(s, UINT32_MAX));
    assert_int_equal(tl_segment_column_count(s), MODEL_COLUMNS);
    const struct tl_column *c = tl_segment_column(s, 12);
    assert_true(c->constant && c->nulls == m->rows && c->distinct == 0);
    c = tl_segment_column(s, 13);
    assert_true(c->constant && c->nulls == 0 && c->min == -42);
    c = tl_segment_column(s, 14);
    assert_true(c->constant && c->distinct == 1);
    c = tl_segment_column(s, 9);
    for (uint32_t i = 0; i < c->block_count; i++) {
        struct tl_block_stat b;
        tl_column_block(c, i, &b);
        assert_true(b.codes != 0 && b.codes >> c->distinct == 0);
        assert_int_equal(b.first_row, i * TL_BLOCK_ROWS);
    }
}

static void round_trip(uint32_t rows, uint32_t merchants, const struct tl_pack_options *options,
                       bool cached, uint64_t seed)
{
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    tl_io_sim_set_short(sim, seed & 1);
    struct model m;
    model_random(&m, rows, merchants, 1700000000000000, 86400000000, seed);
    struct tl_pack_info info;
    model_write(io, &id1, &m, options, seed, &info, &st);
    assert_int_equal(info.segment_count, 1);
    assert_int_equal(info.segments[0].rows, rows);
    assert_true(info.segments[0].min_ts >= 1700000000000000);
    assert_true(info.segments[0].min_merchant == m.values[0][0]);
    assert_true(info.segments[0].max_merchant == m.values[0][rows - 1]);

    struct tl_cache *cache = NULL;
    if (cached)
        assert_ok(&st, tl_cache_new(8 << 20, &cache, &st));
    struct tl_pack *p;
    struct tl_segment *s;
    assert_ok(&st, tl_pack_open(io, &id1, cache, &p, &st));
    assert_true(tl_pack_size(p) == info.size);
    assert_memory_equal(tl_pack_segment_info(p, 0), &info.segments[0], sizeof(info.segments[0]));
    assert_ok(&st, tl_pack_segment(p, 0, &s, &st));
    bool equal;
    assert_ok(&st, model_compare_all(s, &m, &equal, &st));
    assert_true(equal);
    check_slices(s, &m, seed);
    check_merchants(s, &m);
    check_blocks(s, &m);
    struct tl_pack_counts counts;
    assert_ok(&st, tl_pack_verify(p, info.hash, &counts, &st));
    assert_true(counts.rows == rows && counts.merchants == info.segments[0].merchants);
    info.hash[3] ^= 1;
    assert_code(&st, TL_CORRUPT, tl_pack_verify(p, info.hash, &counts, &st));

    struct tl_segment_inspect inspect;
    struct tl_column_inspect columns[MODEL_COLUMNS];
    assert_ok(&st, tl_segment_inspect(s, &inspect, columns, &st));
    uint64_t bytes = inspect.index_bytes + inspect.merchant_bytes;
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++) {
        bytes += columns[c].block_bytes + columns[c].page_bytes;
        uint32_t blocks = 0;
        for (uint32_t e = 0; e < TL_INSPECT_ENCODINGS; e++)
            blocks += columns[c].encodings[e];
        assert_int_equal(blocks, columns[c].blocks);
    }
    assert_true(bytes == info.segments[0].size); /* every byte belongs to something */
    tl_pack_unref(p);
    tl_cache_free(cache);
    tl_pack_info_deinit(&info);
    model_free(&m);
    tl_io_free(io);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct tl_pack_options hot = TL_PACK_OPTIONS_HOT, cold = TL_PACK_OPTIONS_COLD;
    struct tl_pack_options plain = {0};
    round_trip(1, 1, &hot, true, 11);
    round_trip(2, 2, &plain, false, 12);
    round_trip(100, 7, &hot, true, 13);
    round_trip(5000, 3000, &cold, true, 14);
    round_trip(8192, 1, &hot, true, 15);
    round_trip(8193, 3, &plain, false, 16);
    round_trip(40000, 30, &hot, true, 17);
    round_trip(60000, 40000, &cold, true, 18);
    round_trip(50000, 2, &cold, true, 19);
}

static void append_file(struct tl_io_sim *sim, const char *name, struct tl_buffer *out)
{
    tl_buffer_init(out, "file", 64 << 20);
    assert_ok(&st, tl_io_sim_get(sim, name, out, &st));
}

static void same_rows_make_same_bytes(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m;
    model_random(&m, 20000, 100, 0, 3600000000, 5);
    struct tl_buffer first = {0};
    struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
    for (uint64_t cut = 1; cut <= 3; cut++) {
        struct tl_pack_info info;
        struct tl_buffer bytes;
        char name[TL_PACK_NAME_MAX];
        model_write(io, &id1, &m, &hot, cut, &info, &st); /* replaces the file of that name */
        append_file(sim, tl_pack_name(&id1, name), &bytes);
        assert_true(bytes.size == info.size);
        struct tl_hash128 h = tl_hash128(bytes.data, bytes.size);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(info.hash[i], (uint8_t)(h.high >> (56 - 8 * i)));
            assert_int_equal(info.hash[8 + i], (uint8_t)(h.low >> (56 - 8 * i)));
        }
        if (cut == 1) {
            first = bytes;
        } else {
            assert_true(tl_slice_eq(tl_buffer_slice(&first), tl_buffer_slice(&bytes)));
            tl_buffer_deinit(&bytes);
        }
        tl_pack_info_deinit(&info);
    }
    tl_buffer_deinit(&first);
    model_free(&m);
    tl_io_free(io);
}

/* Several segments of a pack, derived packs, and missing columns. */
static void packs_hold_several_segments(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m[3];
    struct tl_pack_writer *w;
    struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
    assert_ok(&st, tl_pack_create(io, &id1, &hot, &w, &st));
    for (uint32_t i = 0; i < 3; i++) {
        struct tl_segment_meta meta = {
            .table = i, .shard = i * 2, .level = 1, .start_us = 5, .end_us = 6};
        model_random(&m[i], 100 + 3000 * i, 5 + i, 10, 1000000, i);
        model_write_segment(w, &m[i], &meta, i, &st);
    }
    struct tl_pack_info info;
    assert_ok(&st, tl_pack_finish(w, &info, &st));
    assert_int_equal(info.segment_count, 3);
    struct tl_pack *p;
    assert_ok(&st, tl_pack_open(io, &id1, NULL, &p, &st));
    assert_int_equal(tl_pack_segment_count(p), 3);
    for (uint32_t i = 0; i < 3; i++) {
        struct tl_segment *s;
        assert_ok(&st, tl_pack_segment(p, 2 - i, &s, &st));
        assert_int_equal(tl_segment_info(s)->meta.table, 2 - i);
        assert_int_equal(tl_segment_info(s)->meta.start_us, 5);
        bool equal;
        assert_ok(&st, model_compare_all(s, &m[2 - i], &equal, &st));
        assert_true(equal);
        model_free(&m[2 - i]);
    }
    struct tl_pack_counts counts;
    assert_ok(&st, tl_pack_verify(p, info.hash, &counts, &st));
    assert_int_equal(counts.segments, 3);
    tl_pack_unref(p);
    tl_pack_info_deinit(&info);

    /* A pack of derived columns has no sort keys and no merchant index. */
    struct tl_pack_id derived = {.number = 4, .table = 3, .shard = 1, .kind = TL_PACK_DERIVED};
    assert_ok(&st, tl_pack_create(io, &derived, &hot, &w, &st));
    struct tl_segment_meta meta = {.table = 3};
    assert_ok(&st, tl_pack_segment_begin(w, &meta, 3, &st));
    assert_ok(&st, tl_pack_column_begin(w, 70, tl_type_of(TL_BIGINT), &st));
    int64_t values[3] = {9, -4, 9};
    struct tl_vector v = {.type = tl_type_of(TL_BIGINT), .count = 3, .data = values};
    assert_ok(&st, tl_pack_column_append(w, &v, &st));
    assert_ok(&st, tl_pack_column_end(w, &st));
    assert_ok(&st, tl_pack_segment_end(w, &st));
    assert_ok(&st, tl_pack_finish(w, &info, &st));
    assert_ok(&st, tl_pack_open(io, &derived, NULL, &p, &st));
    assert_ok(&st, tl_pack_verify(p, info.hash, &counts, &st));
    tl_pack_unref(p);
    tl_pack_info_deinit(&info);

    /* No segment at all is a pack too. */
    struct tl_pack_id empty = {.number = 5, .shard = TL_PACK_SHARD_ALL, .kind = TL_PACK_SEAL};
    assert_ok(&st, tl_pack_create(io, &empty, &hot, &w, &st));
    assert_ok(&st, tl_pack_finish(w, &info, &st));
    assert_ok(&st, tl_pack_open(io, &empty, NULL, &p, &st));
    assert_ok(&st, tl_pack_verify(p, info.hash, &counts, &st));
    tl_pack_unref(p);
    tl_pack_info_deinit(&info);
    tl_io_free(io);
}

static void dictionaries(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m;
    model_random(&m, 30000, 50, 0, 3600000000, 8);
    struct tl_pack_info info;
    struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
    model_write(io, &id1, &m, &hot, 1, &info, &st);
    struct tl_cache *cache;
    assert_ok(&st, tl_cache_new(32 << 20, &cache, &st));
    struct tl_pack *p;
    struct tl_segment *s;
    assert_ok(&st, tl_pack_open(io, &id1, cache, &p, &st));
    assert_ok(&st, tl_pack_segment(p, 0, &s, &st));
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++) {
        if (model_columns[c].type.kind != TL_TEXT)
            continue;
        const struct tl_column *column = tl_segment_column(s, model_columns[c].id);
        struct tl_dict_reader lazy, all;
        struct tl_arena arena;
        tl_arena_init(&arena, NULL, 1 << 16);
        assert_ok(&st, tl_dict_reader_open(&lazy, column, NULL, &st));
        assert_ok(&st, tl_dict_reader_open(&all, column, NULL, &st));
        assert_true(lazy.dict.id == all.dict.id && lazy.dict.count == column->distinct);
        assert_ok(&st, tl_dict_reader_load_all(&all, &arena, &st));
        for (uint32_t code = 0; code < column->distinct; code += 1 + column->distinct / 500) {
            uint32_t pair[2] = {column->distinct - 1 - code, code};
            struct tl_slice a[2], b[2];
            assert_ok(&st, tl_dict_get(&lazy.dict, pair, 2, a, &st));
            assert_ok(&st, tl_dict_get(&all.dict, pair, 2, b, &st));
            assert_true(tl_slice_eq(a[0], b[0]) && tl_slice_eq(a[1], b[1]));
        }
        if (column->distinct > 0) {
            bool found;
            uint32_t code, last = column->distinct - 1;
            struct tl_slice v;
            assert_ok(&st, tl_dict_get(&all.dict, &last, 1, &v, &st));
            assert_ok(&st, tl_dict_reader_find(&lazy, v, &found, &code, &st));
            assert_true(found && code == last);
            assert_ok(&st, tl_dict_reader_find(&lazy, tl_slice_str("absent"), &found, &code, &st));
            assert_false(found);
        }
        tl_dict_reader_trim(&lazy);
        tl_dict_reader_close(&lazy);
        tl_dict_reader_close(&all);
        tl_arena_deinit(&arena);
    }
    tl_pack_unref(p);
    tl_cache_free(cache);
    tl_pack_info_deinit(&info);
    model_free(&m);
    tl_io_free(io);
}

static void prefetching_fills_the_cache(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m;
    model_random(&m, 60000, 50, 0, 3600000000, 9);
    struct tl_pack_info info;
    struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
    model_write(io, &id1, &m, &hot, 1, &info, &st);
    struct tl_cache *cache;
    assert_ok(&st, tl_cache_new(32 << 20, &cache, &st));
    struct tl_pack *p;
    struct tl_segment *s;
    assert_ok(&st, tl_pack_open(io, &id1, cache, &p, &st));
    assert_ok(&st, tl_pack_segment(p, 0, &s, &st));
    uint32_t ids[] = {1, 2, 4, 10, 13, 999};
    struct tl_row_range ranges[] = {{0, 20}, {30, 9000}, {40000, 40001}};
    struct tl_read_stats stats = {0};
    uint64_t batches = tl_io_counters(io)->read_batches;
    assert_ok(&st, tl_segment_prefetch(s, ids, 6, ranges, 3, &stats, &st));
    assert_int_equal(tl_io_counters(io)->read_batches, batches + 1);
    assert_int_equal(stats.blocks_disk, 4 * 3);
    assert_ok(&st, tl_segment_prefetch(s, ids, 6, ranges, 3, &stats, &st));
    assert_int_equal(stats.blocks_disk, 4 * 3);
    struct model_reader r;
    assert_ok(&st, model_reader_open(&r, s, &st));
    uint64_t reads = tl_io_counters(io)->reads;
    bool equal;
    assert_ok(&st, model_compare(&r, &m, 0, 0, 20, 0, &equal, &st));
    assert_true(equal);
    assert_ok(&st, model_compare(&r, &m, 3, 8000, 9000, 8000, &equal, &st));
    assert_true(equal);
    assert_int_equal(tl_io_counters(io)->reads, reads); /* all came from the cache */
    assert_int_equal(r.stats.blocks_disk, 0);
    model_reader_close(&r);
    tl_pack_unref(p);
    tl_cache_free(cache);

    /* A cache that is full of pinned blocks is no failure of a prefetch. */
    assert_ok(&st, tl_cache_new(64 << 10, &cache, &st));
    assert_ok(&st, tl_pack_open(io, &id1, cache, &p, &st));
    assert_ok(&st, tl_pack_segment(p, 0, &s, &st));
    struct tl_row_range whole = {0, 60000};
    assert_ok(&st, tl_segment_prefetch(s, ids, 6, &whole, 1, NULL, &st));
    tl_pack_unref(p);
    tl_cache_free(cache);
    tl_pack_info_deinit(&info);
    model_free(&m);
    tl_io_free(io);
}

/* Threads that open one segment, share one cache and one dictionary reader, and read at once. */
struct shared {
    struct tl_pack *pack;
    const struct model *model;
    struct tl_dict_reader *dict;
};

static void *read_along(void *context)
{
    const struct shared *shared = context;
    struct tl_status mine = TL_STATUS_INIT;
    struct rng r = {(uint64_t)(uintptr_t)&mine | 1};
    struct model_reader reader;
    struct tl_segment *s;
    if (tl_pack_segment(shared->pack, 0, &s, &mine) || model_reader_open(&reader, s, &mine))
        return NULL;
    bool equal = true;
    for (int i = 0; equal && i < 200; i++) {
        uint32_t c = rng_below(&r, MODEL_COLUMNS), lo = rng_below(&r, shared->model->rows - 500);
        if (model_compare(&reader, shared->model, c, lo, lo + 500, lo, &equal, &mine))
            equal = false;
        uint32_t code = rng_below(&r, shared->dict->dict.count);
        struct tl_slice text;
        if (tl_dict_get(&shared->dict->dict, &code, 1, &text, &mine) || text.size == 0)
            equal = false;
        uint32_t a, b;
        if (tl_segment_find_merchant(s, shared->model->values[0][lo], &a, &b, &mine) || a > lo ||
            b <= lo)
            equal = false;
    }
    model_reader_close(&reader);
    return equal ? context : NULL;
}

static void threads_read_at_once(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m;
    model_random(&m, 30000, 20000, 0, 3600000000, 12);
    struct tl_pack_info info;
    struct tl_pack_options cold = TL_PACK_OPTIONS_COLD;
    model_write(io, &id1, &m, &cold, 1, &info, &st);
    struct tl_cache *cache;
    struct tl_pack *p;
    assert_ok(&st, tl_cache_new(2 << 20, &cache, &st)); /* small: blocks come and go */
    for (int round = 0; round < 3; round++) {
        struct tl_segment *s;
        struct tl_dict_reader dict;
        assert_ok(&st, tl_pack_open(io, &id1, cache, &p, &st));
        struct tl_pack *other;
        assert_ok(&st, tl_pack_open(io, &id1, cache, &other, &st));
        assert_ok(&st, tl_pack_segment(other, 0, &s, &st));
        assert_ok(&st, tl_dict_reader_open(&dict, tl_segment_column(s, 20), NULL, &st));
        struct shared shared = {p, &m, &dict};
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, read_along, &shared), 0);
        for (int i = 0; i < 4; i++) {
            void *result;
            assert_int_equal(pthread_join(threads[i], &result), 0);
            assert_non_null(result);
        }
        tl_dict_reader_close(&dict);
        tl_pack_unref(other);
        tl_pack_unref(p);
    }
    tl_cache_free(cache);
    tl_pack_info_deinit(&info);
    model_free(&m);
    tl_io_free(io);
}

/* Errors of the disk and of the writer's budget leave no file behind, and say so. */
static void failures_are_told(void **state)
{
    (void)state;
    struct model m;
    model_random(&m, 3000, 10, 0, 3600000000, 10);
    struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
    struct tl_segment_meta meta = {.table = 1};
    for (uint64_t step = 0; step < 6; step++) {
        struct tl_io_sim *sim = new_disk();
        struct tl_io *io = tl_io_sim_io(sim);
        tl_io_sim_fail_at(sim, tl_io_sim_steps(sim) + step, false);
        struct tl_pack_writer *w = NULL;
        struct tl_pack_info info;
        enum tl_code rc = tl_pack_create(io, &id1, &hot, &w, &st);
        if (!rc) {
            model_write_segment(w, &m, &meta, 1, &st); /* fits the buffer: no write yet */
            rc = tl_pack_finish(w, &info, &st);
            if (rc) {
                tl_pack_abort(w);
            } else {
                tl_pack_info_deinit(&info);
                assert_true(step >= 3);
            }
        }
        if (rc) {
            assert_int_equal(rc, TL_IO);
            tl_status_clear(&st);
            tl_io_sim_heal(sim);
            struct tl_io_names names;
            assert_ok(&st, tl_io_list(io, TL_PACK_DIR, &names, &st));
            assert_int_equal(names.count, 0);
            tl_io_names_free(&names);
        }
        tl_io_free(io);
    }

    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_budget budget;
    tl_budget_init(&budget, "flush memory", 300 << 10, NULL);
    hot.budget = &budget;
    struct tl_pack_writer *w;
    assert_ok(&st, tl_pack_create(io, &id1, &hot, &w, &st));
    assert_ok(&st, tl_pack_segment_begin(w, &meta, 3000, &st));
    for (uint32_t c = 0; c < 2; c++) {
        struct tl_vector v = {.type = model_columns[c].type, .count = 1000};
        assert_ok(&st, tl_pack_column_begin(w, c + 1, model_columns[c].type, &st));
        for (uint32_t at = 0; at < 3000; at += 1000) {
            v.data = m.values[c] + at;
            assert_ok(&st, tl_pack_column_append(w, &v, &st));
        }
        assert_ok(&st, tl_pack_column_end(w, &st));
    }
    assert_ok(&st, tl_pack_column_begin(w, 11, tl_type_of(TL_TEXT), &st));
    char *text = calloc(1, 60000);
    memset(text, 'x', 60000);
    struct tl_slice value = tl_slice_of(text, 60000);
    struct tl_vector v = {
        .type = tl_type_of(TL_TEXT), .shape = TL_CONST, .count = 1, .data = &value};
    enum tl_code rc = TL_OK;
    for (int i = 0; !rc && i < 40; i++) {
        text[0] = (char)i;
        rc = tl_pack_column_append(w, &v, &st);
    }
    assert_int_equal(rc, TL_LIMIT);
    assert_non_null(strstr(st.text, "flush memory"));
    tl_status_clear(&st);
    assert_code(&st, TL_LIMIT, tl_pack_column_end(w, &st)); /* poisoned */
    tl_pack_abort(w);
    assert_int_equal(budget.used_bytes, 0);
    free(text);
    model_free(&m);
    tl_io_free(io);
}

static enum tl_code read_everything(struct tl_io *io, const struct model *m, bool *equal)
{
    struct tl_pack *p;
    struct tl_segment *s;
    enum tl_code rc = tl_pack_open(io, &id1, NULL, &p, &st);
    if (rc)
        return rc;
    rc = tl_pack_segment(p, 0, &s, &st);
    if (!rc)
        rc = model_compare_all(s, m, equal, &st);
    for (uint32_t row = 0; !rc && row < m->rows; row++) {
        uint32_t lo, hi;
        rc = tl_segment_find_merchant(s, m->values[0][row], &lo, &hi, &st);
        if (!rc && (row < lo || row >= hi))
            *equal = false;
    }
    tl_pack_unref(p);
    return rc;
}

/* Promise 3: any flipped byte is an error, or never reaches a value. */
static void flipped_bits_are_found(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m;
    model_random(&m, 60, 6, 0, 3600000000, 21);
    struct tl_pack_info info;
    struct tl_pack_options cold = TL_PACK_OPTIONS_COLD;
    model_write(io, &id1, &m, &cold, 1, &info, &st);
    char name[TL_PACK_NAME_MAX];
    tl_pack_name(&id1, name);
    struct rng r = {99};
    uint64_t step = info.size > 30000 ? info.size / 30000 + 1 : 1;
    for (uint64_t at = 0; at < info.size; at += step) {
        uint8_t mask = (uint8_t)(1u << rng_below(&r, 8));
        assert_true(tl_io_sim_flip(sim, name, at, mask));
        bool equal = true;
        enum tl_code rc = read_everything(io, &m, &equal);
        if (!rc && !equal)
            fail_msg("byte %llu flipped by %#x: a wrong answer", (unsigned long long)at, mask);
        if (rc && rc != TL_CORRUPT && rc != TL_UNSUPPORTED)
            fail_msg("byte %llu flipped by %#x: %s", (unsigned long long)at, mask, st.text);
        tl_status_clear(&st);
        struct tl_pack *p;
        rc = tl_pack_open(io, &id1, NULL, &p, &st);
        if (!rc) {
            struct tl_pack_counts counts;
            rc = tl_pack_verify(p, NULL, &counts, &st);
            tl_pack_unref(p);
        }
        if (!rc)
            fail_msg("byte %llu flipped by %#x: not found", (unsigned long long)at, mask);
        tl_status_clear(&st);
        assert_true(tl_io_sim_flip(sim, name, at, mask));
    }
    bool equal;
    assert_ok(&st, read_everything(io, &m, &equal));
    assert_true(equal);
    tl_pack_info_deinit(&info);
    model_free(&m);
    tl_io_free(io);
}

/* Cut at any length, or with another pack's bytes under this name: refused. */
static void foreign_and_cut_files_are_refused(void **state)
{
    (void)state;
    struct tl_io_sim *sim = new_disk();
    struct tl_io *io = tl_io_sim_io(sim);
    struct model m;
    model_random(&m, 60, 6, 0, 3600000000, 22);
    struct tl_pack_info info;
    struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
    model_write(io, &id1, &m, &hot, 1, &info, &st);
    char name[TL_PACK_NAME_MAX];
    struct tl_buffer bytes;
    append_file(sim, tl_pack_name(&id1, name), &bytes);
    struct tl_pack_id other = id1;
    other.number = 2;
    assert_ok(&st, tl_io_sim_put(sim, tl_pack_name(&other, name), tl_buffer_slice(&bytes), &st));
    struct tl_pack *p;
    assert_code(&st, TL_CORRUPT, tl_pack_open(io, &other, NULL, &p, &st));
    for (size_t size = 0; size < bytes.size; size += 1 + size / 20) {
        assert_ok(&st,
                  tl_io_sim_put(sim, tl_pack_name(&id1, name), tl_slice_of(bytes.data, size), &st));
        assert_code(&st, TL_CORRUPT, tl_pack_open(io, &id1, NULL, &p, &st));
    }
    other.number = 3;
    assert_code(&st, TL_NOT_FOUND, tl_pack_open(io, &other, NULL, &p, &st));
    tl_buffer_deinit(&bytes);
    tl_pack_info_deinit(&info);
    model_free(&m);
    tl_io_free(io);
}

/* Files of version 1, kept for ever. With TALLY_GOLDEN_WRITE set they are made anew. The one
 * without zstd must also be written the same again; zstd's own bytes depend on its version. */
static void golden(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        struct tl_pack_options options;
        bool same_bytes;
    } files[] = {{"tests/golden/pack_v1.pack", {.text_level = 0}, true},
                 {"tests/golden/pack_v1_zstd.pack", {.text_level = 3, .block_level = 3}, false}};
    for (size_t i = 0; i < 2; i++) {
        struct tl_io_sim *sim = new_disk();
        struct tl_io *io = tl_io_sim_io(sim);
        struct model m;
        model_random(&m, 700, 40, 1700000000000000, 3600000000, 31);
        struct tl_pack_info info;
        model_write(io, &id1, &m, &files[i].options, 1, &info, &st);
        char name[TL_PACK_NAME_MAX];
        struct tl_buffer now, kept;
        append_file(sim, tl_pack_name(&id1, name), &now);
        if (getenv("TALLY_GOLDEN_WRITE")) {
            FILE *f = fopen(files[i].file, "wb");
            assert_non_null(f);
            assert_int_equal(fwrite(now.data, 1, now.size, f), now.size);
            assert_int_equal(fclose(f), 0);
        }
        tl_buffer_init(&kept, "golden file", 16 << 20);
        FILE *f = fopen(files[i].file, "rb");
        assert_non_null(f);
        uint8_t *to = tl_buffer_reserve(&kept, 16 << 20);
        kept.size = fread(to, 1, 16 << 20, f);
        (void)fclose(f);
        if (files[i].same_bytes)
            assert_true(tl_slice_eq(tl_buffer_slice(&now), tl_buffer_slice(&kept)));
        assert_ok(&st, tl_io_sim_put(sim, name, tl_buffer_slice(&kept), &st));
        bool equal;
        assert_ok(&st, read_everything(io, &m, &equal));
        assert_true(equal);
        tl_buffer_deinit(&now);
        tl_buffer_deinit(&kept);
        tl_pack_info_deinit(&info);
        model_free(&m);
        tl_io_free(io);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(same_rows_make_same_bytes),
        cmocka_unit_test(packs_hold_several_segments),
        cmocka_unit_test(dictionaries),
        cmocka_unit_test(prefetching_fills_the_cache),
        cmocka_unit_test(threads_read_at_once),
        cmocka_unit_test(failures_are_told),
        cmocka_unit_test(flipped_bits_are_found),
        cmocka_unit_test(foreign_and_cut_files_are_refused),
        cmocka_unit_test(golden),
    };
    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
