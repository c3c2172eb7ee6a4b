/*
 * engine/scan_segments.c: which segments a scan reads, which rows of them, and which blocks it asks
 * the disk for before it needs them.
 *
 * For merchants: one batch of reads for all pages of merchant indexes, one for all blocks of those
 * segments where the merchants have few rows; then ts narrows the ranges from memory. Where they
 * have many, and where all merchants are wanted, each morsel's blocks are read ahead of it
 * (scan_ahead.h).
 */
#include "base/assert.h"
#include "engine/scan_int.h"

/* Can any value of the column satisfy the predicate, going by the least and greatest? */
static bool may_match_range(const struct tl_predicate *p, int64_t min, int64_t max)
{
    const int64_t *v = p->values.data;
    switch (p->op) {
    case TL_PRED_EQ:
        return v[0] >= min && v[0] <= max;
    case TL_PRED_NE:
        return !(min == max && min == v[0]);
    case TL_PRED_LT:
        return min < v[0];
    case TL_PRED_LE:
        return min <= v[0];
    case TL_PRED_GT:
        return max > v[0];
    case TL_PRED_GE:
        return max >= v[0];
    case TL_PRED_IN:
        for (uint32_t i = 0; i < p->value_count; i++)
            if (v[i] >= min && v[i] <= max)
                return true;
        return false;
    default:
        return true;
    }
}

static bool is_plain_int(struct tl_type type)
{
    return type.kind == TL_BIGINT || type.kind == TL_DECIMAL64 || type.kind == TL_TIMESTAMP ||
           type.kind == TL_TIMESTAMPTZ;
}

/* Rows that are NULL match IS NULL alone; the bounds speak of the others. */
bool tl__scan_block_may_match(const struct tl_scan *scan, const struct segment_scan *s,
                              uint32_t block)
{
    for (uint32_t i = 0; i < scan->predicate_count; i++) {
        const struct tl_predicate *p = &scan->predicates[i];
        const struct tl_column *c = s->columns[2 * p->column].column;
        if (scan->columns[p->column].props_key.size > 0 && !s->columns[2 * p->column].own)
            continue;
        if (!c) {
            if (p->op != TL_PRED_IS_NULL)
                return false;
            continue;
        }
        struct tl_block_stat b;
        tl_column_block(c, block, &b);
        bool all_null = b.nulls == b.rows;
        if (p->op == TL_PRED_IS_NULL ? b.nulls == 0 : all_null)
            return false;
        if (p->op != TL_PRED_IS_NULL && p->op != TL_PRED_NOT_NULL &&
            is_plain_int(scan->columns[p->column].type) && !may_match_range(p, b.min, b.max))
            return false;
    }
    return true;
}

static bool wanted_here(const struct tl_scan *scan, const struct segment_scan *s, int64_t merchant)
{
    const struct tl_segment_info *info = &s->live->info;
    return merchant >= info->min_merchant && merchant <= info->max_merchant &&
           tl_shard_of(merchant, scan->source->snapshot.version->shard_count) == s->shard;
}

/* Where a key of a PROPS column lies in a segment: in a column of its own, or in the two of shapes
 * and values. */
static enum tl_code find_key(struct tl_scan *scan, struct segment_scan *s, uint32_t i,
                             uint32_t ids[2], uint32_t *count, struct tl_status *st)
{
    struct tl_props_hot *hot = tl_arena_alloc(&scan->arena, sizeof(*hot), st);
    if (!hot)
        return st->code;
    tl_props_hot_of(s->segment, ids[0], hot);
    int32_t rank = tl_props_hot_rank(hot, scan->columns[i].props_key);
    s->columns[2 * i].own = rank >= 0;
    s->columns[2 * i].hot = hot;
    if (rank >= 0) {
        ids[0] = tl_props_column_id(ids[0], (uint32_t)rank);
        *count = 1;
    }
    return TL_OK;
}

enum tl_code tl__scan_locate_columns(struct tl_scan *scan, struct segment_scan *s,
                                     struct tl_status *st)
{
    if (s->columns)
        return TL_OK;
    s->columns =
        tl_arena_calloc(&scan->arena, 2 * (size_t)scan->column_count + 1, sizeof(*s->columns), st);
    if (!s->columns)
        return st->code;
    for (uint32_t i = 0; i < scan->column_count; i++) {
        uint32_t ids[2];
        uint32_t n = column_ids(scan, i, ids);
        if (n == 2 && find_key(scan, s, i, ids, &n, st))
            return st->code;
        for (uint32_t k = 0; k < n; k++)
            s->columns[2 * i + k].column = tl_segment_column(s->segment, ids[k]);
    }
    return TL_OK;
}

/* The blocks of these rows, and those of ts where it decides. */
static enum tl_code collect_rows(struct tl_scan *scan, const struct segment_scan *s, bool ts,
                                 const struct tl_row_range *ranges, uint32_t count,
                                 struct tl_prefetch *p, struct tl_status *st)
{
    enum { IDS = 64 };
    uint32_t ids[IDS], n = 0;
    if (ts)
        ids[n++] = TL_COLUMN_TS;
    for (uint32_t i = 0; i < 2 * scan->column_count; i++) {
        if (s->columns[i].column)
            ids[n++] = s->columns[i].column->id;
        if (n == IDS) {
            if (tl_prefetch_rows(p, s->segment, ids, n, ranges, count, st))
                return st->code;
            n = 0;
        }
    }
    return tl_prefetch_rows(p, s->segment, ids, n, ranges, count, st);
}

/* The rows of the wanted merchants, whatever their times. Where these are few their blocks are
 * collected, so that narrowing them by ts finds them. */
static enum tl_code find_merchants(struct tl_scan *scan, struct segment_scan *s,
                                   const struct tl_scan_spec *spec, struct tl_prefetch *p,
                                   struct tl_status *st)
{
    enum { ROWS_AT_ONCE = 4 * TL_BLOCK_ROWS };
    uint64_t rows = 0;
    s->ranges = tl_arena_alloc(&scan->arena, spec->merchant_count * sizeof(*s->ranges), st);
    if (!s->ranges)
        return st->code;
    for (uint32_t i = 0; i < spec->merchant_count; i++) {
        struct tl_row_range r;
        if (!wanted_here(scan, s, spec->merchants[i]))
            continue;
        if (tl_segment_find_merchant(s->segment, spec->merchants[i], &r.lo, &r.hi, st))
            return st->code;
        if (r.lo == r.hi)
            continue;
        s->ranges[s->range_count++] = r;
        rows += r.hi - r.lo;
    }
    s->fetched = rows <= ROWS_AT_ONCE;
    if (s->range_count > 0 && tl__scan_locate_columns(scan, s, st))
        return st->code;
    return s->fetched && s->range_count > 0
               ? collect_rows(scan, s, !inside_time(scan, &s->live->info), s->ranges,
                              s->range_count, p, st)
               : TL_OK;
}

/* Narrows the ranges to the time range; exact. */
static enum tl_code narrow_ranges(struct tl_scan *scan, struct segment_scan *s,
                                  struct tl_status *st)
{
    const struct tl_segment_info *info = &s->live->info;
    uint32_t n = 0;
    if (inside_time(scan, info))
        return TL_OK;
    for (uint32_t i = 0; i < s->range_count; i++) {
        struct tl_row_range r = s->ranges[i];
        if (scan->ts_min_us > info->min_ts &&
            tl_segment_find_ts(s->segment, r.lo, r.hi, scan->ts_min_us, &r.lo, st))
            return st->code;
        if (r.lo < r.hi && scan->ts_max_us < info->max_ts &&
            tl_segment_find_ts(s->segment, r.lo, r.hi, scan->ts_max_us + 1, &r.hi, st))
            return st->code;
        if (r.lo < r.hi)
            s->ranges[n++] = r;
    }
    s->range_count = n;
    return TL_OK;
}

enum tl_code tl__scan_add_segment(struct tl_scan *scan, const struct tl_scan_spec *spec,
                                  struct tl_live_segment *live, uint32_t shard,
                                  struct tl_status *st)
{
    const struct tl_segment_info *info = &live->info;
    bool out_of_time = info->max_ts < spec->ts_min_us || info->min_ts > spec->ts_max_us;
    bool out_of_merchants = spec->merchant_count > 0 &&
                            (info->max_merchant < spec->merchants[0] ||
                             info->min_merchant > spec->merchants[spec->merchant_count - 1]);
    if (out_of_time || out_of_merchants) {
        scan->stats.segments_pruned++;
        return TL_OK;
    }
    if (scan->segment_count == scan->segment_capacity) {
        uint32_t capacity = scan->segment_capacity ? scan->segment_capacity * 2 : 16;
        struct segment_scan **grown = tl_arena_alloc(&scan->arena, capacity * sizeof(*grown), st);
        if (!grown)
            return st->code;
        if (scan->segment_count > 0)
            memcpy(grown, scan->segments, scan->segment_count * sizeof(*grown));
        scan->segments = grown;
        scan->segment_capacity = capacity;
    }
    struct segment_scan *s = tl_arena_calloc(&scan->arena, 1, sizeof(*s), st);
    if (!s || tl_pack_segment(live->pack->pack, live->index, &s->segment, st))
        return st->code;
    s->live = live;
    s->shard = shard;
    scan->segments[scan->segment_count++] = s; /* closed from here on, whatever happens */
    return TL_OK;
}

/* With merchants given: the pages of all merchant indexes in one batch of reads, then the blocks
 * of all small ranges in another. */
static enum tl_code find_ranges(struct tl_scan *scan, const struct tl_scan_spec *spec,
                                struct tl_prefetch *p, struct tl_read_stats *stats,
                                struct tl_status *st)
{
    for (uint32_t k = 0; k < scan->segment_count; k++)
        for (uint32_t i = 0; i < spec->merchant_count; i++)
            if (wanted_here(scan, scan->segments[k], spec->merchants[i]) &&
                tl_prefetch_merchant(p, scan->segments[k]->segment, spec->merchants[i], st))
                return st->code;
    if (tl_prefetch_run(p, stats, st))
        return st->code;
    for (uint32_t k = 0; k < scan->segment_count; k++)
        if (find_merchants(scan, scan->segments[k], spec, p, st))
            return st->code;
    if (tl_prefetch_run(p, stats, st))
        return st->code;
    for (uint32_t k = 0; k < scan->segment_count; k++)
        if (narrow_ranges(scan, scan->segments[k], st))
            return st->code;
    return TL_OK;
}

enum tl_code tl__scan_find_ranges(struct tl_scan *scan, const struct tl_scan_spec *spec,
                                  struct tl_status *st)
{
    struct tl_prefetch *p = NULL;
    struct tl_read_stats stats = {0};
    if (scan->segment_count == 0)
        return TL_OK;
    if (tl_prefetch_new(&p, st))
        return st->code;
    enum tl_code rc = find_ranges(scan, spec, p, &stats, st);
    tl_prefetch_free(p);
    scan->stats.reads += stats.reads;
    scan->stats.bytes_read += stats.bytes_disk;
    return rc;
}

static bool block_is_wanted(const struct tl_scan *scan, const struct segment_scan *s,
                            uint32_t block)
{
    if (!tl__scan_block_may_match(scan, s, block))
        return false;
    const struct tl_column *ts = s->check_ts ? tl_segment_column(s->segment, TL_COLUMN_TS) : NULL;
    if (!ts)
        return true;
    struct tl_block_stat b;
    tl_column_block(ts, block, &b);
    return b.max >= scan->ts_min_us && b.min <= scan->ts_max_us;
}

/* What a morsel will look at; a tl_ahead_fill. */
static enum tl_code fill_ahead(void *context, uint32_t work, struct tl_prefetch *p,
                               struct tl_status *st)
{
    struct tl_scan *scan = context;
    const struct work *w = &scan->work[work];
    const struct segment_scan *s = w->segment;
    struct tl_row_range ranges[TL__MORSEL_ROWS / TL_BLOCK_ROWS + 1];
    uint32_t n = 0;
    if (!s || s->fetched)
        return TL_OK;
    for (uint32_t lo = w->lo, hi; lo < w->hi; lo = hi) {
        uint32_t block = lo >> TL_BLOCK_SHIFT, end = (block + 1) << TL_BLOCK_SHIFT;
        hi = end < w->hi ? end : w->hi;
        /* As next_slice skips: blocks are left out from their first row on. */
        if ((lo & (TL_BLOCK_ROWS - 1)) != 0 || block_is_wanted(scan, s, block))
            ranges[n++] = (struct tl_row_range){lo, hi};
    }
    return collect_rows(scan, s, s->check_ts, ranges, n, p, st);
}

enum tl_code tl__scan_open_ahead(struct tl_scan *scan, struct tl_status *st)
{
    bool any = false;
    for (uint32_t i = 0; i < scan->work_count && !any; i++)
        any = scan->work[i].segment && !scan->work[i].segment->fetched;
    return any ? tl_ahead_new(scan->source->db->io, scan->work_count, fill_ahead, scan,
                              scan->budget, &scan->ahead, st)
               : TL_OK;
}
