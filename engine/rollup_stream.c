#include "engine/rollup_stream.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/time.h"
#include "engine/version.h"

enum { ROWS = TL_VECTOR_ROWS_MAX, MERCHANTS_AT_ONCE = 512 };

/* ---- slots ---- */

static void put_keys(struct tl_view_slot *slots)
{
    slots[0] = (struct tl_view_slot){TL_COLUMN_TS, {TL_TIMESTAMPTZ, 0}};
    slots[1] = (struct tl_view_slot){TL_COLUMN_MERCHANT, {TL_BIGINT, 0}};
}

enum tl_code tl_rollup_raw_slots(const struct tl_view *view, struct tl_arena *arena,
                                 struct tl_view_slot **out, struct tl_status *st)
{
    struct tl_view_slot *slots =
        tl_arena_alloc(arena, (view->slot_count + 2u) * sizeof(*slots), st);
    if (!slots)
        return st->code;
    memcpy(slots, view->slots, view->slot_count * sizeof(*slots));
    put_keys(slots + view->slot_count);
    *out = slots;
    return TL_OK;
}

enum tl_code tl_rollup_stored_slots(const struct tl_view *view, struct tl_arena *arena,
                                    struct tl_rollup_stored_slots *out, struct tl_status *st)
{
    size_t most = view->dim_count + 3 * (size_t)view->agg_count + 2;
    out->slots = tl_arena_calloc(arena, most, sizeof(*out->slots), st);
    out->parts = tl_arena_calloc(arena, view->agg_count, sizeof(*out->parts), st);
    if (!out->slots || !out->parts)
        return st->code;
    uint32_t n = 0;
    for (uint32_t d = 0; d < view->dim_count; d++)
        out->slots[n++] =
            (struct tl_view_slot){tl_view_part_id(view->dims[d], 0), view->slots[d].type};
    for (uint32_t agg = 0; agg < view->agg_count; agg++)
        for (uint32_t p = 0; p < 3; p++) {
            struct tl_type type;
            out->parts[agg][p] = UINT32_MAX;
            if (!tl_view_part(tl_view_agg(view, agg), p, &type))
                continue;
            out->parts[agg][p] = n;
            out->slots[n++] = (struct tl_view_slot){tl_view_part_id(view->aggs[agg], p), type};
        }
    out->count = n;
    put_keys(out->slots + n);
    return TL_OK;
}

/* ---- which rows ---- */

static bool wants_merchant(const struct tl_rollup_want *w, int64_t merchant)
{
    return w->shard_count == 1 || tl_shard_of(merchant, w->shard_count) == w->shard;
}

static enum tl_code add_range(struct tl_rollup_stream *s, uint32_t *capacity, uint32_t lo,
                              uint32_t hi, struct tl_status *st)
{
    if (lo >= hi)
        return TL_OK;
    if (s->range_count == *capacity) {
        uint32_t room = *capacity ? 2 * *capacity : 16;
        struct tl_row_range *grown = tl_arena_alloc(s->arena, room * sizeof(*grown), st);
        if (!grown)
            return st->code;
        if (*capacity)
            memcpy(grown, s->ranges, *capacity * sizeof(*grown));
        s->ranges = grown;
        *capacity = room;
    }
    s->ranges[s->range_count++] = (struct tl_row_range){lo, hi};
    return TL_OK;
}

/* A merchant's rows from `from` to `to` in time. */
static enum tl_code narrow(const struct tl_segment *segment, int64_t from, int64_t to, uint32_t *lo,
                           uint32_t *hi, struct tl_status *st)
{
    const struct tl_segment_info *info = tl_segment_info(segment);
    if (*lo < *hi && from > info->min_ts && tl_segment_find_ts(segment, *lo, *hi, from, lo, st))
        return st->code;
    if (*lo < *hi && to < info->max_ts && tl_segment_find_ts(segment, *lo, *hi, to + 1, hi, st))
        return st->code;
    return TL_OK;
}

/* The wanted merchants' rows in `segment`; of those that `other` has, or has not. */
static enum tl_code listed_ranges(struct tl_rollup_stream *s, const struct tl_segment *segment,
                                  struct tl_segment *other, struct tl_status *st)
{
    const struct tl_rollup_want *w = s->want;
    uint32_t capacity = 0;
    for (uint32_t i = 0; i < w->merchant_count; i++) {
        uint32_t lo;
        uint32_t hi;
        if (!wants_merchant(w, w->merchants[i]))
            continue;
        if (other) {
            if (tl_segment_find_merchant(other, w->merchants[i], &lo, &hi, st))
                return st->code;
            if (lo < hi)
                continue;
        }
        if (tl_segment_find_merchant(segment, w->merchants[i], &lo, &hi, st) ||
            narrow(segment, s->stored ? w->bucket_min : w->ts_min,
                   s->stored ? w->bucket_max : w->ts_max, &lo, &hi, st) ||
            add_range(s, &capacity, lo, hi, st))
            return st->code;
    }
    return TL_OK;
}

/* All rows but those of the merchants that the rollup keeps. */
static enum tl_code other_ranges(struct tl_rollup_stream *s, const struct tl_segment *segment,
                                 struct tl_segment *rollup, struct tl_status *st)
{
    uint32_t count = rollup ? tl_segment_info(rollup)->merchants : 0;
    uint32_t capacity = 0;
    uint32_t next = 0;
    int64_t merchants[MERCHANTS_AT_ONCE];
    uint32_t first[MERCHANTS_AT_ONCE + 1];
    for (uint32_t at = 0; at < count; at += MERCHANTS_AT_ONCE) {
        uint32_t n = count - at < MERCHANTS_AT_ONCE ? count - at : MERCHANTS_AT_ONCE;
        if (tl_segment_merchants(rollup, at, n, merchants, first, st))
            return st->code;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t lo;
            uint32_t hi;
            if (tl_segment_find_merchant(segment, merchants[i], &lo, &hi, st) ||
                add_range(s, &capacity, next, lo, st))
                return st->code;
            next = hi;
        }
    }
    return add_range(s, &capacity, next, tl_segment_rows(segment), st);
}

/* ---- opening ---- */

static enum tl_code init(struct tl_rollup_stream *s, const struct tl_rollup_want *want,
                         const struct tl_view_slot *slots, uint32_t slot_count,
                         struct tl_arena *arena, struct tl_status *st)
{
    s->want = want;
    s->arena = arena;
    s->slot_count = slot_count;
    s->memo = tl_arena_calloc(arena, want->view->dim_count + 1u, sizeof(*s->memo), st);
    if (!s->memo || tl_rollup_reader_init(&s->reader, slots, slot_count + 2, arena, st))
        return st->code;
    return TL_OK;
}

enum tl_code tl_rollup_stream_segment(struct tl_rollup_stream *s, const struct tl_rollup_want *want,
                                      struct tl_segment *segment, struct tl_segment *rollup,
                                      const struct tl_view_slot *slots, struct tl_arena *arena,
                                      struct tl_read_stats *stats, struct tl_status *st)
{
    if (init(s, want, slots, want->view->slot_count, arena, st) ||
        tl_rollup_reader_open(&s->reader, segment, arena, stats, st))
        return st->code;
    return want->merchant_count > 0 ? listed_ranges(s, segment, rollup, st)
                                    : other_ranges(s, segment, rollup, st);
}

enum tl_code tl_rollup_stream_stored(struct tl_rollup_stream *s, const struct tl_rollup_want *want,
                                     struct tl_segment *rollup,
                                     const struct tl_rollup_stored_slots *slots,
                                     struct tl_arena *arena, struct tl_read_stats *stats,
                                     struct tl_status *st)
{
    s->stored = true;
    if (init(s, want, slots->slots, slots->count, arena, st) ||
        tl_rollup_reader_open(&s->reader, rollup, arena, stats, st))
        return st->code;
    return want->merchant_count > 0 ? listed_ranges(s, rollup, NULL, st)
                                    : other_ranges(s, rollup, NULL, st);
}

static int order_of(const void *a, const void *b)
{
    const struct tl_rollup_order *x = a;
    const struct tl_rollup_order *y = b;
    if (x->merchant != y->merchant)
        return x->merchant < y->merchant ? -1 : 1;
    if (x->ts != y->ts)
        return x->ts < y->ts ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static enum tl_code put_row(struct tl_rollup_stream *s, uint32_t *count, uint32_t *capacity,
                            struct tl_rollup_order row, struct tl_status *st)
{
    if (*count == *capacity) {
        uint32_t room = *capacity ? 2 * *capacity : 256;
        struct tl_rollup_order *grown = tl_arena_alloc(s->arena, (size_t)room * sizeof(*grown), st);
        if (!grown)
            return st->code;
        if (*capacity)
            memcpy(grown, s->order, *capacity * sizeof(*grown));
        s->order = grown;
        *capacity = room;
    }
    s->order[(*count)++] = row;
    return TL_OK;
}

/* The wanted rows of the memtable, in order. */
static enum tl_code order_memtable(struct tl_rollup_stream *s, struct tl_status *st)
{
    const struct tl_rollup_want *w = s->want;
    const struct tl_memtable *m = s->memtable;
    uint32_t first = tl_memtable_first_row(w->shard);
    uint32_t visible = first + tl_memtable_shard_rows_at(m, w->shard, w->position);
    uint32_t count = 0;
    uint32_t capacity = 0;
    for (uint32_t i = 0; i < w->merchant_count; i++) {
        if (!wants_merchant(w, w->merchants[i]))
            continue;
        for (uint32_t r = tl_memtable_last(m, w->merchants[i]); r != TL_MEMTABLE_NO_ROW;
             r = tl_memtable_previous(m, r)) {
            if (r >= visible)
                continue;
            int64_t ts = tl_memtable_ts(m, r)[r % TL_MEMTABLE_CHUNK_ROWS];
            if (ts >= w->ts_min && ts <= w->ts_max &&
                put_row(s, &count, &capacity, (struct tl_rollup_order){w->merchants[i], ts, r}, st))
                return st->code;
        }
    }
    for (uint32_t r = first; w->merchant_count == 0 && r < visible; r++) {
        int64_t ts = tl_memtable_ts(m, r)[r % TL_MEMTABLE_CHUNK_ROWS];
        if (ts >= w->ts_min && ts <= w->ts_max &&
            put_row(s, &count, &capacity,
                    (struct tl_rollup_order){tl_memtable_merchant(m, r), ts, r}, st))
            return st->code;
    }
    if (count > 0)
        qsort(s->order, count, sizeof(*s->order), order_of);
    uint32_t ranges = 0;
    return add_range(s, &ranges, 0, count, st);
}

enum tl_code tl_rollup_stream_memtable(struct tl_rollup_stream *s,
                                       const struct tl_rollup_want *want,
                                       const struct tl_memtable *m,
                                       const struct tl_view_slot *slots, struct tl_arena *arena,
                                       struct tl_budget *budget, struct tl_status *st)
{
    uint32_t n = want->view->slot_count;
    s->memtable = m;
    tl_arena_init(&s->window, budget, 65536);
    if (init(s, want, slots, n, arena, st))
        return st->code;
    s->dicts = tl_arena_calloc(arena, n + 1u, sizeof(*s->dicts), st);
    s->has_dict = tl_arena_calloc(arena, n + 1u, sizeof(*s->has_dict), st);
    if (!s->dicts || !s->has_dict)
        return st->code;
    for (uint32_t i = 0; i < n; i++)
        s->has_dict[i] =
            slots[i].type.kind == TL_TEXT && tl_memtable_dict(m, slots[i].column_id, &s->dicts[i]);
    return order_memtable(s, st);
}

/* ---- reading ---- */

static enum tl_code load_memtable(struct tl_rollup_stream *s, uint32_t lo, uint32_t hi,
                                  struct tl_status *st)
{
    struct tl_rollup_reader *r = &s->reader;
    uint32_t rows[ROWS];
    uint32_t n = hi - lo;
    tl_arena_reset(&s->window);
    int64_t *keys = tl_arena_alloc(&s->window, 2 * (size_t)n * sizeof(*keys), st);
    if (!keys)
        return st->code;
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = s->order[lo + i].row;
        keys[i] = s->order[lo + i].ts;
        keys[n + i] = s->order[lo + i].merchant;
    }
    for (uint32_t i = 0; i < s->slot_count; i++)
        if (tl_memtable_gather(s->memtable, r->slots[i].column_id, r->slots[i].type,
                               s->has_dict[i] ? &s->dicts[i] : NULL, rows, n, &s->window,
                               &r->vectors[i], st))
            return st->code;
    for (uint32_t k = 0; k < 2; k++)
        r->vectors[s->slot_count + k] = (struct tl_vector){.type = r->slots[s->slot_count + k].type,
                                                           .shape = TL_FLAT,
                                                           .count = n,
                                                           .data = keys + (size_t)k * n};
    tl_rollup_reader_show(r, n);
    r->lo = lo;
    r->hi = hi;
    return TL_OK;
}

enum tl_code tl_rollup_stream_next(struct tl_rollup_stream *s, bool *fresh, struct tl_status *st)
{
    struct tl_rollup_reader *r = &s->reader;
    const struct tl_rollup_want *w = s->want;
    *fresh = false;
    for (;;) {
        if (s->range == s->range_count) {
            s->done = true;
            return TL_OK;
        }
        struct tl_row_range range = s->ranges[s->range];
        s->at = s->at < range.lo ? range.lo : s->at;
        if (s->at >= range.hi) {
            s->range++;
            continue;
        }
        if (s->at < r->lo || s->at >= r->hi) {
            uint32_t hi = range.hi - s->at < ROWS ? range.hi : s->at + ROWS;
            if (s->memtable ? load_memtable(s, s->at, hi, st)
                            : tl_rollup_reader_read(r, s->at, hi, st))
                return st->code;
            *fresh = true;
        }
        const int64_t *ts = (const int64_t *)r->values[s->slot_count].values;
        const int64_t *merchant = (const int64_t *)r->values[s->slot_count + 1].values;
        uint32_t end = (r->hi < range.hi ? r->hi : range.hi) - r->lo;
        uint32_t at = s->at - r->lo;
        while (at < end && (ts[at] < w->ts_min || ts[at] > w->ts_max))
            at++;
        s->at = r->lo + at;
        if (at == end)
            continue;
        s->lo = at;
        s->merchant = merchant[at];
        s->bucket = tl_floor_div(ts[at], TL_ROLLUP_BUCKET_US) * TL_ROLLUP_BUCKET_US;
        int64_t last = s->bucket + TL_ROLLUP_BUCKET_US - 1;
        while (at < end && merchant[at] == s->merchant && ts[at] <= last)
            at++;
        s->hi = at;
        s->at = r->lo + at;
        s->rows += s->hi - s->lo;
        return TL_OK;
    }
}

const struct tl_dict *tl_rollup_stream_dict(const struct tl_rollup_stream *s, uint32_t slot)
{
    if (s->memtable)
        return s->has_dict[slot] ? &s->dicts[slot].dict : NULL;
    return tl_rollup_reader_dict(&s->reader, slot);
}

void tl_rollup_stream_trim(struct tl_rollup_stream *s)
{
    for (uint32_t i = 0; i < s->reader.count; i++)
        if (s->reader.columns && s->reader.columns[i].dict_open)
            tl_dict_reader_trim(&s->reader.columns[i].dict);
}

void tl_rollup_stream_close(struct tl_rollup_stream *s)
{
    tl_rollup_reader_close(&s->reader);
    if (s->memtable)
        tl_arena_deinit(&s->window);
}
