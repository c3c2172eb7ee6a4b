/*
 * engine/event_ids_segments.c: the exact answer: is this key in a segment?
 *
 * Suspects are sorted by (shard, merchant, ts), so that each segment of a shard is walked once,
 * forwards: a merchant's rows are found once for all its suspects, and all blocks that the walk
 * needs are read in one batch before it.
 *
 * Cost per suspect in a segment with its merchant: a slice of ts, and when a row has exactly this
 * ts, its id.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/event_ids_int.h"

enum { TIES_READ = 64 /* rows of one ts that are looked at together */ };

static int suspect_order(const void *a, const void *b)
{
    const struct tl__id_suspect *x = a;
    const struct tl__id_suspect *y = b;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    if (x->merchant != y->merchant)
        return x->merchant < y->merchant ? -1 : 1;
    if (x->ts != y->ts)
        return x->ts < y->ts ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

/* What is open of one segment. */
struct walk {
    struct tl_segment *segment;
    struct tl_cursor ts, id;
    struct tl_dict_reader dict;
    bool open;
};

/* Suspects of one merchant and the rows that it has. */
struct run {
    uint32_t first, count;
    struct tl_row_range rows;
};

static enum tl_code walk_open(struct walk *w, struct tl_segment *segment, uint32_t column_id,
                              struct tl_arena *scratch, struct tl_status *st)
{
    const struct tl_column *ts = tl_segment_column(segment, TL_COLUMN_TS);
    const struct tl_column *id = tl_segment_column(segment, column_id);
    if (!ts || !id)
        return TL_FAIL(st, TL_CORRUPT, "a segment has lost its ts or event id column");
    w->segment = segment;
    if (tl_dict_reader_open(&w->dict, id, NULL, st))
        return st->code;
    if (tl_cursor_init(&w->ts, ts, NULL, scratch, NULL, st) ||
        tl_cursor_init(&w->id, id, &w->dict.dict, scratch, NULL, st)) {
        tl_dict_reader_close(&w->dict);
        return st->code;
    }
    w->open = true;
    return TL_OK;
}

static void walk_close(struct walk *w)
{
    if (!w->open)
        return;
    tl_cursor_close(&w->ts);
    tl_cursor_close(&w->id);
    tl_dict_reader_close(&w->dict);
    w->open = false;
}

/* Does one of the rows [lo, hi) of the id column hold this id? */
static enum tl_code has_id(struct walk *w, uint32_t lo, uint32_t hi, struct tl_slice id,
                           bool *found, struct tl_status *st)
{
    struct tl_vector v;
    if (tl_cursor_read(&w->id, lo, hi, NULL, &v, st))
        return st->code;
    for (uint32_t i = 0; i < v.count && !*found; i++) {
        struct tl_slice value;
        if (!tl_vector_valid(&v, i))
            continue;
        tl_assert(v.shape == TL_DICT);
        if (tl_dict_get(v.dict, &v.codes[i], 1, &value, st))
            return st->code;
        *found = tl_slice_eq(value, id);
    }
    return TL_OK;
}

/* `from` is a row of the merchant at or before the first one with this ts; moved forward. */
static enum tl_code find_key(struct walk *w, struct tl__id_suspect *s, uint32_t *from, uint32_t hi,
                             struct tl_status *st)
{
    uint32_t row;
    if (tl_segment_find_ts(w->segment, *from, hi, s->ts, &row, st))
        return st->code;
    *from = row;
    while (row < hi && !s->found) {
        uint32_t end = hi - row < TIES_READ ? hi : row + TIES_READ;
        struct tl_vector v;
        uint32_t ties = 0;
        if (tl_cursor_read(&w->ts, row, end, NULL, &v, st))
            return st->code;
        const int64_t *ts = v.data;
        while (ties < v.count && ts[v.shape == TL_CONST ? 0 : ties] == s->ts)
            ties++;
        if (ties == 0 || has_id(w, row, row + ties, s->id, &s->found, st))
            return st->code;
        if (row + ties < end)
            return TL_OK;
        row = end;
    }
    return TL_OK;
}

/* The suspects [0, count) of one shard, in one segment. */
static enum tl_code ask_segment(struct tl_live_segment *live, uint32_t column_id,
                                struct tl__id_suspect *s, uint32_t count, struct run *runs,
                                struct tl_arena *scratch, struct tl_status *st)
{
    const struct tl_segment_info *info = &live->info;
    struct tl_segment *segment = NULL;
    uint32_t run_count = 0;
    for (uint32_t i = 0, end; i < count; i = end) {
        bool wanted = false;
        for (end = i; end < count && s[end].merchant == s[i].merchant; end++)
            wanted =
                wanted || (!s[end].found && s[end].ts >= info->min_ts && s[end].ts <= info->max_ts);
        if (!wanted || s[i].merchant < info->min_merchant || s[i].merchant > info->max_merchant)
            continue;
        if (!segment && tl_pack_segment(live->pack->pack, live->index, &segment, st))
            return st->code;
        if (!tl_segment_column(segment, column_id))
            return TL_OK; /* no row of it has an id */
        struct run *r = &runs[run_count];
        *r = (struct run){.first = i, .count = end - i};
        if (tl_segment_find_merchant(segment, s[i].merchant, &r->rows.lo, &r->rows.hi, st))
            return st->code;
        run_count += r->rows.lo < r->rows.hi;
    }
    if (run_count == 0)
        return TL_OK;
    struct walk w = {.open = false};
    if (walk_open(&w, segment, column_id, scratch, st))
        return st->code;
    for (uint32_t i = 0; i < run_count && st->code == TL_OK; i++) {
        uint32_t from = runs[i].rows.lo;
        for (uint32_t k = runs[i].first; k < runs[i].first + runs[i].count; k++)
            if (!s[k].found && s[k].ts >= info->min_ts && s[k].ts <= info->max_ts &&
                find_key(&w, &s[k], &from, runs[i].rows.hi, st))
                break;
    }
    walk_close(&w);
    return st->code;
}

enum tl_code tl__ids_in_segments(const struct tl_version *version, uint32_t table_id,
                                 uint32_t column_id, struct tl__id_suspect *suspects,
                                 uint32_t count, struct tl_arena *scratch, struct tl_status *st)
{
    const struct tl_table_version *t = tl_version_find(version, table_id);
    if (!t || count == 0)
        return TL_OK;
    struct run *runs = tl_arena_alloc(scratch, (size_t)count * sizeof(*runs), st);
    if (!runs)
        return st->code;
    for (uint32_t i = 0; i < count; i++)
        suspects[i].shard = tl_shard_of(suspects[i].merchant, version->shard_count);
    qsort(suspects, count, sizeof(*suspects), suspect_order);
    struct tl_arena walks; /* cursors' buffers, one segment at a time */
    tl_arena_init(&walks, NULL, 65536);
    for (uint32_t i = 0, end; i < count && st->code == TL_OK; i = end) {
        for (end = i; end < count && suspects[end].shard == suspects[i].shard; end++)
            ;
        const struct tl_segment_list *l = t->shards[suspects[i].shard];
        for (uint32_t k = 0; l && k < l->count && st->code == TL_OK; k++) {
            if (ask_segment(l->segments[k], column_id, suspects + i, end - i, runs, &walks, st))
                break;
            tl_arena_reset(&walks);
        }
    }
    tl_arena_deinit(&walks);
    return st->code;
}

enum tl_code tl__ids_of_segment(struct tl_live_segment *live, uint32_t column_id,
                                const _Atomic bool *cancel, uint32_t *hashes, uint32_t *count,
                                struct tl_status *st)
{
    struct tl_segment *segment;
    if (tl_pack_segment(live->pack->pack, live->index, &segment, st))
        return st->code;
    const struct tl_column *merchant = tl_segment_column(segment, TL_COLUMN_MERCHANT);
    if (!merchant)
        return TL_FAIL(st, TL_CORRUPT, "a segment has no merchant_id column");
    if (!tl_segment_column(segment, column_id))
        return TL_OK;
    struct walk w = {.open = false};
    struct tl_cursor m;
    struct tl_arena arena;
    tl_arena_init(&arena, NULL, 65536);
    struct tl_slice *ids = tl_arena_alloc(&arena, TL_VECTOR_ROWS_MAX * sizeof(*ids), st);
    if (!ids || tl_cursor_init(&m, merchant, NULL, &arena, NULL, st))
        goto done;
    if (walk_open(&w, segment, column_id, &arena, st))
        goto close;
    for (uint32_t lo = 0; lo < live->info.rows; lo += TL_VECTOR_ROWS_MAX) {
        uint32_t left = live->info.rows - lo;
        uint32_t hi = lo + (left < TL_VECTOR_ROWS_MAX ? left : TL_VECTOR_ROWS_MAX);
        struct tl_vector a;
        struct tl_vector b;
        struct tl_vector c;
        if (cancel && atomic_load_explicit(cancel, memory_order_relaxed)) {
            TL_FAIL(st, TL_CANCELLED, "reading event ids was interrupted");
            break;
        }
        if (tl_cursor_read(&m, lo, hi, NULL, &a, st) ||
            tl_cursor_read(&w.ts, lo, hi, NULL, &b, st) ||
            tl_cursor_read(&w.id, lo, hi, NULL, &c, st))
            break;
        if (c.shape == TL_CONST)
            continue; /* all NULL */
        if (tl_dict_get(c.dict, c.codes, c.count, ids, st))
            break;
        const int64_t *merchants = a.data;
        const int64_t *ts = b.data;
        for (uint32_t i = 0; i < c.count; i++)
            if (tl_vector_valid(&c, i))
                hashes[(*count)++] = tl__id_hash(tl_hash64(ids[i].data, ids[i].size),
                                                 merchants[a.shape == TL_CONST ? 0 : i],
                                                 ts[b.shape == TL_CONST ? 0 : i]);
        tl_dict_reader_trim(&w.dict);
    }
    walk_close(&w);
close:
    tl_cursor_close(&m);
done:
    tl_arena_deinit(&arena);
    return st->code;
}
