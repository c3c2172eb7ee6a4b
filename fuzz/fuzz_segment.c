/*
 * Any bytes as a pack. The first byte chooses: bit 0 lets every checksum pass, so that what stands
 * behind them is reached (this build alone can). What opens is read in every way there is: nothing
 * may crash, read out of bounds or grow without bound, whatever the answers are.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "storage/block.h"
#include "storage/cache.h"
#include "storage/io_sim.h"
#include "storage/merge.h"
#include "storage/segment.h"

enum { ROWS_MAX = 20000, CODES_MAX = 5000, VERIFY_ROWS_MAX = 50000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_column(const struct tl_column *c)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_arena arena;
    struct tl_dict_reader dict = {0};
    struct tl_cursor cur;
    tl_arena_init(&arena, NULL, 64 << 10);
    bool text = c->type.kind == TL_TEXT;
    enum tl_code rc = text ? tl_dict_reader_open(&dict, c, NULL, &st) : TL_OK;
    if (!rc)
        rc = tl_cursor_init(&cur, c, text ? &dict.dict : NULL, &arena, NULL, &st);
    bool opened = !rc;
    uint32_t step = 1;
    for (uint32_t row = 0; !rc && row < c->rows && row < ROWS_MAX; row += step) {
        step = step * 5 % TL_VECTOR_ROWS_MAX + 1;
        uint32_t hi = c->rows - row < step ? c->rows : row + step;
        struct tl_vector v;
        rc = tl_cursor_read(&cur, row, hi, NULL, &v, &st);
        struct tl_slice strings[TL_VECTOR_ROWS_MAX];
        if (!rc && v.shape == TL_DICT && !v.validity)
            rc = tl_dict_get(v.dict, v.codes, v.count, strings, &st);
        uint64_t sum = 0;
        for (uint32_t i = 0; !rc && v.shape == TL_DICT && !v.validity && i < v.count; i++)
            sum += strings[i].size ? strings[i].data[strings[i].size - 1] : 0;
        if (sum == UINT64_MAX)
            abort(); /* never: keeps the strings read */
    }
    if (text && dict.lock) {
        tl_status_clear(&st);
        bool found;
        uint32_t code;
        if (c->distinct <= CODES_MAX)
            rc = tl_dict_reader_find(&dict, tl_slice_str("absent"), &found, &code, &st);
        tl_dict_reader_close(&dict);
    }
    if (opened)
        tl_cursor_close(&cur);
    tl_arena_deinit(&arena);
}

static void search(const struct tl_segment *s)
{
    const struct tl_segment_info *info = tl_segment_info(s);
    int64_t merchants[8];
    uint32_t rows[9];
    struct tl_status st = TL_STATUS_INIT;
    uint32_t n = info->merchants < 8 ? info->merchants : 8;
    if (tl_segment_merchants(s, info->merchants - n, n, merchants, rows, &st) || n == 0)
        return;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t lo, hi, row;
        tl_status_clear(&st);
        if (!tl_segment_find_merchant(s, merchants[i], &lo, &hi, &st) &&
            tl_segment_column(s, TL_COLUMN_TS) &&
            !tl_segment_find_ts(s, lo, hi, info->min_ts / 2 + info->max_ts / 2, &row, &st) &&
            (row < lo || row > hi))
            abort();
    }
}

/* In two partitions, so that keys of props are hot in one that are not in the other. */
static void merge_twice(struct tl_io *io, struct tl_segment *s)
{
    const struct tl_segment_info *from = tl_segment_info(s);
    int64_t middle = from->min_ts / 2 + from->max_ts / 2;
    middle = middle == INT64_MIN ? 0 : middle;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_merge_input inputs[2] = {{.segment = s}, {.segment = s}};
    struct tl_segment_meta parts[2] = {{.start_us = INT64_MIN, .end_us = middle},
                                       {.start_us = middle, .end_us = INT64_MAX}};
    struct tl_merge_options options = {.pack = TL_PACK_OPTIONS_HOT};
    struct tl_pack_id id = {.number = 9, .kind = TL_PACK_MERGE};
    struct tl_pack_info info;
    if (!tl_merge(io, &id, inputs, 2, parts, 2, &options, &info, &st))
        tl_pack_info_deinit(&info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim;
    if (size < 1 || tl_io_sim_new(1, &sim, &st))
        return 0;
    tl_unit_hash_ignored = data[0] & 1;
    struct tl_io *io = tl_io_sim_io(sim);
    struct tl_pack_id id = {.number = 1, .shard = TL_PACK_SHARD_ALL, .kind = TL_PACK_SEAL};
    char name[TL_PACK_NAME_MAX];
    struct tl_pack *p = NULL;
    struct tl_cache *cache = NULL;
    enum tl_code rc =
        tl_io_sim_put(sim, tl_pack_name(&id, name), tl_slice_of(data + 1, size - 1), &st);
    if (!rc && (data[0] & 2))
        rc = tl_cache_new(1 << 20, &cache, &st);
    if (!rc)
        rc = tl_pack_open(io, &id, cache, &p, &st);
    for (uint32_t i = 0; !rc && i < tl_pack_segment_count(p) && i < 4; i++) {
        struct tl_segment *s;
        if (tl_pack_segment(p, i, &s, &st)) {
            tl_status_clear(&st);
            continue;
        }
        for (uint32_t c = 0; c < tl_segment_column_count(s) && c < 64; c++)
            read_column(tl_segment_column_at(s, c));
        search(s);
        if (tl_segment_rows(s) <= VERIFY_ROWS_MAX) {
            struct tl_segment_inspect inspect;
            struct tl_column_inspect *columns =
                calloc(tl_segment_column_count(s), sizeof(*columns));
            if (columns && tl_segment_inspect(s, &inspect, columns, &st))
                tl_status_clear(&st);
            free(columns);
            merge_twice(io, s);
            struct tl_pack_counts counts;
            if (tl_pack_segment_count(p) == 1 && tl_pack_verify(p, NULL, &counts, &st))
                tl_status_clear(&st);
        }
    }
    tl_pack_unref(p);
    tl_cache_free(cache);
    tl_io_free(io);
    return 0;
}
