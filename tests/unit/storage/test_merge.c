/*
 * Promise: a merge holds every row of its inputs once, in the partition of its time, sorted by
 * (merchant, ts) with ties in the order of the inputs; its bytes follow from the rows alone.
 * Method: random inputs beside a naive twin that concatenates, sorts stably and splits; the merged
 * pack must equal, byte for byte, the pack that is written from the twin's rows directly.
 */
#include "storage/merge.h"

#include "tests/unit/storage/segment_model.h"

static struct tl_status st;

enum { INPUTS_MAX = 40, PARTITIONS_MAX = 16 };
static const int64_t DAY = 86400000000;

struct world {
    struct tl_io_sim *sim;
    struct tl_io *io;
    struct tl_cache *cache;
    uint32_t input_count;
    struct model models[INPUTS_MAX];
    struct tl_pack *packs[INPUTS_MAX];
    struct tl_merge_input inputs[INPUTS_MAX];
    uint64_t *kept[INPUTS_MAX];
};

static struct tl_pack_id seal_id(uint32_t i)
{
    return (struct tl_pack_id){.number = i + 1, .shard = TL_PACK_SHARD_ALL, .kind = TL_PACK_SEAL};
}
static const struct tl_pack_id merge_id = {
    .number = 1, .table = 3, .shard = 1, .kind = TL_PACK_MERGE};

/* Inputs overlap by half in time; some lack columns; with `drop`, some rows are not kept. */
static void world_make(struct world *w, uint32_t input_count, uint32_t rows, uint32_t merchants,
                       bool drop, uint64_t seed)
{
    struct rng r = {seed * 2 + 1};
    memset(w, 0, sizeof(*w));
    tl_status_clear(&st);
    assert_ok(&st, tl_io_sim_new(seed, &w->sim, &st));
    w->io = tl_io_sim_io(w->sim);
    assert_ok(&st, tl_io_mkdir(w->io, TL_PACK_DIR, &st));
    assert_ok(&st, tl_cache_new(16 << 20, &w->cache, &st));
    w->input_count = input_count;
    for (uint32_t i = 0; i < input_count; i++) {
        struct model *m = &w->models[i];
        model_random(m, 1 + rng_below(&r, rows), merchants, (int64_t)i * DAY / 2, DAY,
                     seed + 100 * i);
        /* The first input has every column, so that the twin has the same columns. */
        model_skipped_columns = i % 3 == 1 ? 1u << 4 | 1u << 9 | 1u << 12 : 0;
        for (uint32_t c = 0; c < MODEL_COLUMNS; c++)
            if (model_skipped_columns >> c & 1)
                memset(m->valid[c], 0, m->rows * sizeof(bool));
        struct tl_pack_id id = seal_id(i);
        struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
        struct tl_pack_info info;
        model_write(w->io, &id, m, &hot, seed, &info, &st);
        tl_pack_info_deinit(&info);
        model_skipped_columns = 0;
        assert_ok(&st, tl_pack_open(w->io, &id, w->cache, &w->packs[i], &st));
        assert_ok(&st, tl_pack_segment(w->packs[i], 0, &w->inputs[i].segment, &st));
        if (drop && i != 2) {
            w->kept[i] = calloc(tl_bit_words(m->rows), 8);
            for (uint32_t row = 0; row < m->rows; row++)
                if (rng_below(&r, 5) != 0)
                    tl_bit_set(w->kept[i], row);
            w->inputs[i].kept = w->kept[i];
        }
    }
}

static void world_free(struct world *w)
{
    for (uint32_t i = 0; i < w->input_count; i++) {
        tl_pack_unref(w->packs[i]);
        model_free(&w->models[i]);
        free(w->kept[i]);
    }
    tl_cache_free(w->cache);
    tl_io_free(w->io);
}

struct place {
    int64_t merchant, ts;
    uint32_t input, row;
};
static int place_cmp(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->merchant != y->merchant)
        return x->merchant < y->merchant ? -1 : 1;
    if (x->ts != y->ts)
        return x->ts < y->ts ? -1 : 1;
    if (x->input != y->input)
        return x->input < y->input ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* The naive twin's rows of one partition. */
static void twin(const struct world *w, const struct tl_segment_meta *p, struct model *out)
{
    uint32_t total = 0, n = 0;
    for (uint32_t i = 0; i < w->input_count; i++)
        total += w->models[i].rows;
    struct place *places = calloc(total ? total : 1, sizeof(*places));
    for (uint32_t i = 0; i < w->input_count; i++)
        for (uint32_t row = 0; row < w->models[i].rows; row++) {
            int64_t ts = w->models[i].values[1][row];
            const struct tl_merge_input *in = &w->inputs[i];
            if (ts < p->start_us || ts >= p->end_us || (w->kept[i] && !tl_bit_get(w->kept[i], row)))
                continue;
            if (in->hi && (row < in->lo || row >= in->hi))
                continue;
            places[n++] = (struct place){w->models[i].values[0][row], ts, i, row};
        }
    qsort(places, n, sizeof(*places), place_cmp);
    model_alloc(out, n);
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++)
        for (uint32_t k = 0; k < n; k++) {
            const struct model *m = &w->models[places[k].input];
            uint32_t row = places[k].row;
            out->valid[c][k] = m->valid[c][row];
            out->values[c][k] = m->values[c][row];
            if (out->valid[c][k] && model_columns[c].type.kind == TL_TEXT) {
                struct tl_slice s = model_string(m, c, row);
                out->values[c][k] = pool_add(&out->pool, (const char *)s.data, (uint32_t)s.size);
            }
        }
    free(places);
}

static void get_file(struct world *w, struct tl_buffer *out)
{
    char name[TL_PACK_NAME_MAX];
    tl_buffer_init(out, "file", 256 << 20);
    assert_ok(&st, tl_io_sim_get(w->sim, tl_pack_name(&merge_id, name), out, &st));
}

static uint32_t mapped_columns, mapped_twice; /* met so far */

static void note_mapped(const struct tl_segment *s)
{
    for (uint32_t i = 0; i < tl_segment_column_count(s); i++) {
        const struct tl_column *c = tl_segment_column_at(s, i);
        if (c->parent_id == 0)
            continue;
        mapped_columns++;
        mapped_twice += tl_segment_column(s, c->parent_id)->parent_id != 0;
    }
}

static void merge_to(struct world *w, const struct tl_pack_id *id,
                     const struct tl_merge_input *inputs, uint32_t input_count,
                     const struct tl_segment_meta *partitions, uint32_t partition_count,
                     const struct tl_merge_options *options)
{
    struct tl_pack_info info;
    assert_ok(&st, tl_merge(w->io, id, inputs, input_count, partitions, partition_count, options,
                            &info, &st));
    if (options->budget)
        assert_int_equal(options->budget->used_bytes, 0);
    tl_pack_info_deinit(&info);
}

/* With columns mapped by others the rows are the same, and so are the bytes of the same rows,
 * whether they come from the inputs, from one input per partition, or from mapped columns. */
static void check_mapped(struct world *w, const struct tl_segment_meta *partitions,
                         const struct model *twins, uint32_t partition_count,
                         const struct tl_merge_options *options)
{
    struct tl_buffer first, again;
    merge_to(w, &merge_id, w->inputs, w->input_count, partitions, partition_count, options);
    get_file(w, &first);

    /* The world's cache knows other bytes under this id. */
    struct tl_cache *cache;
    struct tl_pack *pack;
    struct tl_pack_counts counts;
    assert_ok(&st, tl_cache_new(4 << 20, &cache, &st));
    assert_ok(&st, tl_pack_open(w->io, &merge_id, cache, &pack, &st));
    assert_ok(&st, tl_pack_verify(pack, NULL, &counts, &st));
    for (uint32_t p = 0, s = 0; p < partition_count; p++) {
        struct tl_segment *segment;
        bool equal;
        if (twins[p].rows == 0)
            continue;
        assert_ok(&st, tl_pack_segment(pack, s++, &segment, &st));
        note_mapped(segment);
        assert_ok(&st, model_compare_all(segment, &twins[p], &equal, &st));
        assert_true(equal);
    }
    tl_pack_unref(pack);
    tl_cache_free(cache);

    struct tl_merge_input inputs[PARTITIONS_MAX] = {0};
    struct tl_pack *packs[PARTITIONS_MAX];
    uint32_t n = 0;
    for (uint32_t p = 0; p < partition_count; p++) {
        struct tl_pack_id id = seal_id(1000 + p);
        struct tl_pack_options hot = TL_PACK_OPTIONS_HOT;
        struct tl_pack_info info;
        if (twins[p].rows == 0)
            continue;
        model_write(w->io, &id, &twins[p], &hot, p, &info, &st);
        tl_pack_info_deinit(&info);
        assert_ok(&st, tl_pack_open(w->io, &id, NULL, &packs[n], &st));
        assert_ok(&st, tl_pack_segment(packs[n], 0, &inputs[n].segment, &st));
        n++;
    }
    merge_to(w, &merge_id, inputs, n, partitions, partition_count, options);
    get_file(w, &again);
    assert_true(tl_slice_eq(tl_buffer_slice(&first), tl_buffer_slice(&again)));
    tl_buffer_deinit(&again);

    struct tl_pack_id other = merge_id;
    other.number = 2;
    merge_to(w, &other, inputs, n, partitions, partition_count, options);
    for (uint32_t i = 0; i < n; i++)
        tl_pack_unref(packs[i]);
    assert_ok(&st, tl_pack_open(w->io, &other, NULL, &pack, &st));
    for (uint32_t i = 0; i < n; i++)
        assert_ok(&st, tl_pack_segment(pack, i, &inputs[i].segment, &st));
    merge_to(w, &merge_id, inputs, n, partitions, partition_count, options);
    tl_pack_unref(pack);
    get_file(w, &again);
    assert_true(tl_slice_eq(tl_buffer_slice(&first), tl_buffer_slice(&again)));
    tl_buffer_deinit(&again);
    tl_buffer_deinit(&first);
}

/* With `part`, of each input some rows only, and rows before the first partition and after the last
 * one are left to other merges. */
static void check(uint32_t input_count, uint32_t rows, uint32_t merchants, uint32_t partition_count,
                  bool drop, bool part, uint64_t seed)
{
    struct world w;
    world_make(&w, input_count, rows, merchants, drop, seed);
    struct rng r = {seed};
    for (uint32_t i = 0; part && i < input_count; i++) {
        uint32_t n = w.models[i].rows;
        w.inputs[i].lo = rng_below(&r, n);
        w.inputs[i].hi = w.inputs[i].lo + 1 + rng_below(&r, n - w.inputs[i].lo);
    }
    struct tl_segment_meta partitions[PARTITIONS_MAX];
    int64_t end = (int64_t)input_count * DAY / 2 + DAY;
    for (uint32_t p = 0; p < partition_count; p++)
        partitions[p] = (struct tl_segment_meta){
            .table = 3,
            .shard = 1,
            .level = 1,
            .schema_version = 4,
            .start_us = p == 0 ? 0 : end / (int64_t)partition_count * p,
            .end_us = p + 1 == partition_count ? end : end / (int64_t)partition_count * (p + 1),
            .provenance = {p}};
    if (part) {
        partitions[0].start_us += DAY / 3;
        partitions[partition_count - 1].end_us -= DAY / 2;
        if (partition_count > 2)
            partitions[1].end_us -= DAY / 5; /* a hole */
    }

    _Atomic uint64_t progress = 0;
    struct tl_budget budget;
    tl_budget_init(&budget, "merge memory", 256 << 20, NULL);
    struct tl_merge_options options = {.pack = TL_PACK_OPTIONS_COLD,
                                       .budget = &budget,
                                       .progress_values = &progress,
                                       .leave_others = part};
    options.pack.map_columns = false; /* a writer alone does not map */
    struct tl_pack_info info;
    assert_ok(&st, tl_merge(w.io, &merge_id, w.inputs, input_count, partitions, partition_count,
                            &options, &info, &st));
    assert_int_equal(budget.used_bytes, 0);
    struct tl_buffer merged, direct;
    get_file(&w, &merged);
    assert_true(merged.size == info.size);

    struct model twins[PARTITIONS_MAX];
    struct tl_pack_writer *writer;
    uint32_t segments = 0;
    uint64_t values = 0;
    assert_ok(&st, tl_pack_create(w.io, &merge_id, &options.pack, &writer, &st));
    for (uint32_t p = 0; p < partition_count; p++) {
        twin(&w, &partitions[p], &twins[p]);
        values += (uint64_t)twins[p].rows * MODEL_COLUMNS;
        if (twins[p].rows == 0)
            continue;
        assert_int_equal(info.segments[segments].rows, twins[p].rows);
        model_write_segment(writer, &twins[p], &partitions[p], seed, &st);
        segments++;
    }
    struct tl_pack_info direct_info;
    assert_ok(&st, tl_pack_finish(writer, &direct_info, &st));
    assert_int_equal(info.segment_count, segments);
    assert_true(progress == values);
    get_file(&w, &direct);
    assert_true(tl_slice_eq(tl_buffer_slice(&merged), tl_buffer_slice(&direct)));
    assert_memory_equal(info.hash, direct_info.hash, 16);

    struct tl_pack *pack;
    assert_ok(&st, tl_pack_open(w.io, &merge_id, w.cache, &pack, &st));
    struct tl_pack_counts counts;
    assert_ok(&st, tl_pack_verify(pack, info.hash, &counts, &st));
    for (uint32_t p = 0, s = 0; p < partition_count; p++) {
        if (twins[p].rows > 0) {
            struct tl_segment *segment;
            bool equal;
            assert_ok(&st, tl_pack_segment(pack, s++, &segment, &st));
            assert_int_equal(tl_segment_info(segment)->meta.provenance[0], p);
            assert_ok(&st, model_compare_all(segment, &twins[p], &equal, &st));
            assert_true(equal);
        }
    }
    tl_pack_unref(pack);
    options.pack.map_columns = true;
    options.progress_values = NULL;
    check_mapped(&w, partitions, twins, partition_count, &options);
    for (uint32_t p = 0; p < partition_count; p++)
        model_free(&twins[p]);
    tl_buffer_deinit(&merged);
    tl_buffer_deinit(&direct);
    tl_pack_info_deinit(&info);
    tl_pack_info_deinit(&direct_info);
    world_free(&w);
}

static void merges_equal_the_twin(void **state)
{
    (void)state;
    check(1, 3000, 20, 1, false, false, 1);
    check(2, 5000, 1, 1, false, false, 2);     /* one merchant, interleaved in time */
    check(2, 20000, 5000, 1, false, false, 3); /* many merchants of few rows */
    check(3, 12000, 50, 4, false, false, 4);
    check(8, 6000, 300, 5, false, false, 5);
    check(8, 6000, 300, 3, true, false, 6);
    check(17, 800, 40, 2, false, false, 7);
    check(40, 300, 10, 16, true, false, 8);
    check(4, 30000, 3, 2, true, false, 9);
    assert_true(mapped_columns > 0 && mapped_twice > 0);
}

static void parts_of_a_merge_equal_the_twin(void **state)
{
    (void)state;
    check(1, 9000, 20, 1, false, true, 11);
    check(2, 5000, 1, 2, false, true, 12);
    check(4, 12000, 200, 4, false, true, 13);
    check(9, 6000, 30, 5, true, true, 14);
}

static void nothing_left_is_no_pack(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 500, 10, false, 30);
    struct tl_segment_meta all = {.start_us = 0, .end_us = 10 * DAY};
    uint64_t *none = calloc(tl_bit_words(500), 8);
    w.inputs[0].kept = w.inputs[1].kept = none;
    struct tl_merge_options options = {.pack = TL_PACK_OPTIONS_HOT};
    struct tl_pack_info info;
    assert_ok(&st, tl_merge(w.io, &merge_id, w.inputs, 2, &all, 1, &options, &info, &st));
    assert_int_equal(info.segment_count, 0);
    bool exists;
    char name[TL_PACK_NAME_MAX];
    assert_ok(&st, tl_io_exists(w.io, tl_pack_name(&merge_id, name), &exists, &st));
    assert_false(exists);
    assert_ok(&st, tl_merge(w.io, &merge_id, w.inputs, 0, &all, 1, &options, &info, &st));
    assert_int_equal(info.segment_count, 0);
    tl_pack_info_deinit(&info);
    free(none);
    world_free(&w);
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 4, 3000, 10, false, 31);
    struct tl_segment_meta all = {.start_us = 0, .end_us = 10 * DAY};
    struct tl_segment_meta early = {.start_us = 0, .end_us = DAY};
    struct tl_merge_options options = {.pack = TL_PACK_OPTIONS_HOT};
    struct tl_pack_info info;
    char name[TL_PACK_NAME_MAX];
    bool exists;

    assert_code(&st, TL_INVALID,
                tl_merge(w.io, &merge_id, w.inputs, 4, &early, 1, &options, &info, &st));
    _Atomic bool cancel = true;
    options.cancel = &cancel;
    assert_code(&st, TL_CANCELLED,
                tl_merge(w.io, &merge_id, w.inputs, 4, &all, 1, &options, &info, &st));
    options.cancel = NULL;
    struct tl_budget budget;
    tl_budget_init(&budget, "merge memory", 100 << 10, NULL);
    options.budget = &budget;
    assert_code(&st, TL_LIMIT,
                tl_merge(w.io, &merge_id, w.inputs, 4, &all, 1, &options, &info, &st));
    assert_int_equal(budget.used_bytes, 0);
    budget.limit_bytes = 600 << 10; /* enough for the keys, not for the dictionaries */
    assert_code(&st, TL_LIMIT,
                tl_merge(w.io, &merge_id, w.inputs, 4, &all, 1, &options, &info, &st));
    assert_int_equal(budget.used_bytes, 0);
    assert_ok(&st, tl_io_exists(w.io, tl_pack_name(&merge_id, name), &exists, &st));
    assert_false(exists);
    options.budget = NULL;

    uint64_t begin = tl_io_sim_steps(w.sim);
    assert_ok(&st, tl_merge(w.io, &merge_id, w.inputs, 4, &all, 1, &options, &info, &st));
    tl_pack_info_deinit(&info);
    uint64_t steps = tl_io_sim_steps(w.sim) - begin;
    assert_ok(&st, tl_io_remove(w.io, tl_pack_name(&merge_id, name), &st));
    for (uint64_t step = 0; step < steps; step++) {
        tl_io_sim_fail_at(w.sim, tl_io_sim_steps(w.sim) + step, false);
        assert_code(&st, TL_IO,
                    tl_merge(w.io, &merge_id, w.inputs, 4, &all, 1, &options, &info, &st));
        tl_io_sim_heal(w.sim);
        assert_ok(&st, tl_io_exists(w.io, tl_pack_name(&merge_id, name), &exists, &st));
        assert_false(exists);
    }
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_equal_the_twin),
        cmocka_unit_test(parts_of_a_merge_equal_the_twin),
        cmocka_unit_test(nothing_left_is_no_pack),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
