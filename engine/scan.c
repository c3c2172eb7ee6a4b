/*
 * engine/scan.c: the source of queries, over one snapshot.
 *
 * Opening a scan finds the work: segments whose hours, merchants and dictionaries cannot match
 * are left out by what is in memory; with merchants given, each segment's merchant index and the
 * order by ts give exact row ranges, and each memtable's chains give exact rows. What is left is
 * cut into morsels of 65,536 rows. Within a morsel, blocks that the index excludes are skipped, the
 * rest is decoded slice by slice.
 *
 * The tenant is applied here: a source for one merchant scans that merchant, whatever the
 * specification says.
 *
 * Cost for a small merchant: per segment one look-up of the merchant index, two of ts, one batch
 * of reads for the blocks that are not in the cache, and one slice of each column.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/rollup_scan.h"
#include "engine/tenant.h"

enum { MORSEL_ROWS = 65536, SCAN_ARENA_CHUNK = 32768 };

struct tl_db_source {
    struct tl_source source; /* first */
    struct tally *db;
    struct tl_snapshot snapshot; /* borrowed from the cursor */
    struct tally_tenant tenant;  /* its merchants are borrowed from the statement */
};

/* One requested column in one segment; PROPS have a second one for the values. */
struct segment_column {
    const struct tl_column *column; /* NULL: all NULL */
    struct tl_dict_reader reader;   /* TEXT */
    bool reader_open;
    bool own;                       /* of one key of a PROPS column: it has this column to itself */
    const struct tl_props_hot *hot; /* PROPS, when it has not: the keys that have */
    struct tl_read_stats stats;     /* of the reader */
};

struct segment_scan {
    struct tl_live_segment *live;
    struct tl_segment *segment;
    struct segment_column *columns; /* 2 × column_count */
    bool check_ts;                  /* some rows of the ranges may lie outside the time range */
};

struct memtable_scan {
    struct tl_memtable *memtable;
    struct tl_memtable_dict *dicts; /* 2 × column_count */
    bool *has_dict;
};

/* A unit of work: rows [lo, hi) of a segment or memtable, or a list of memtable rows. */
struct work {
    struct segment_scan *segment;
    struct memtable_scan *memtable;
    const uint32_t *rows;
    uint32_t lo, hi; /* for a list: indexes into it */
};

/* What the holder of a morsel works with; kept for the next morsel when it is closed. */
struct morsel_state {
    struct morsel_state *next;
    struct tl_arena arena; /* cursors */
    struct tl_vector *vectors;
    struct tl_cursor *cursors; /* 2 × column_count, then the one of ts */
    bool *cursor_open;
    struct tl_parents parents; /* of mapped columns, for all cursors */
    int16_t **props_memo;      /* per column: keys code -> index of the key, -1 none, -2 unknown */
    uint32_t at;               /* next row */
    const struct work *work;
    struct tl_read_stats stats;
    uint64_t rows, blocks_pruned, memtable_rows;
};

struct tl_scan {
    struct tl_db_source *source;
    struct tl_arena arena;
    const struct tl_table *table;
    uint32_t column_count;
    struct tl_scan_column *columns;
    int64_t ts_min_us, ts_max_us;
    bool all_merchants; /* blocks are passed once */
    uint32_t predicate_count;
    const struct tl_predicate *predicates;
    struct segment_scan **segments; /* for closing */
    uint32_t segment_count, segment_capacity;
    struct work *work;
    uint32_t work_count, work_capacity, next_work;
    pthread_mutex_t lock; /* free morsels, stats */
    struct morsel_state *free_morsels;
    struct tl_scan_stats stats;
    struct tl_budget *budget;
    struct tl_rollup_scan *rollup; /* of a view: it does all; else NULL */
};

/* ---- opening ---- */

static enum tl_code add_work(struct tl_scan *scan, const struct work *w, struct tl_status *st)
{
    if (scan->work_count == scan->work_capacity) {
        uint32_t capacity = scan->work_capacity ? scan->work_capacity * 2 : 16;
        struct work *grown = tl_arena_alloc(&scan->arena, capacity * sizeof(*grown), st);
        if (!grown)
            return st->code;
        if (scan->work_count > 0)
            memcpy(grown, scan->work, scan->work_count * sizeof(*grown));
        scan->work = grown;
        scan->work_capacity = capacity;
    }
    scan->work[scan->work_count++] = *w;
    return TL_OK;
}

static enum tl_code add_ranges(struct tl_scan *scan, struct work w, struct tl_status *st)
{
    uint32_t end = w.hi;
    for (; w.lo < end; w.lo = w.hi) {
        w.hi = end - w.lo > MORSEL_ROWS ? w.lo + MORSEL_ROWS : end;
        if (add_work(scan, &w, st))
            return st->code;
    }
    return TL_OK;
}

static uint32_t column_ids(const struct tl_scan *scan, uint32_t i, uint32_t ids[2])
{
    ids[0] = scan->columns[i].column_id;
    ids[1] = ids[0] + 1;
    return scan->columns[i].props_key.size > 0 ? 2 : 1;
}

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
static bool block_may_match(const struct tl_scan *scan, const struct segment_scan *s,
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

static enum tl_code open_segment_columns(struct tl_scan *scan, struct segment_scan *s,
                                         struct tl_status *st)
{
    s->columns =
        tl_arena_calloc(&scan->arena, 2 * (size_t)scan->column_count + 1, sizeof(*s->columns), st);
    if (!s->columns)
        return st->code;
    for (uint32_t i = 0; i < scan->column_count; i++) {
        uint32_t ids[2];
        uint32_t n = column_ids(scan, i, ids);
        if (n == 2 && find_key(scan, s, i, ids, &n, st))
            return st->code;
        for (uint32_t k = 0; k < n; k++) {
            struct segment_column *c = &s->columns[2 * i + k];
            c->column = tl_segment_column(s->segment, ids[k]);
            if (!c->column || c->column->type.kind != TL_TEXT)
                continue;
            if (tl_dict_reader_open(&c->reader, c->column, &c->stats, st))
                return st->code;
            c->reader_open = true;
        }
    }
    return TL_OK;
}

static enum tl_code prefetch(struct tl_scan *scan, const struct segment_scan *s,
                             const struct tl_row_range *ranges, uint32_t count,
                             struct tl_status *st)
{
    uint32_t *ids = tl_arena_alloc(&scan->arena, (2 * (size_t)scan->column_count + 1) * 4, st);
    if (!ids)
        return st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; i < 2 * scan->column_count; i++)
        if (s->columns[i].column)
            ids[n++] = s->columns[i].column->id;
    if (s->check_ts)
        ids[n++] = TL_COLUMN_TS;
    struct tl_read_stats stats = {0};
    enum tl_code rc = tl_segment_prefetch(s->segment, ids, n, ranges, count, &stats, st);
    scan->stats.bytes_read += stats.bytes_disk;
    return rc;
}

/* The rows of the wanted merchants, narrowed by ts; exact. */
static enum tl_code merchant_ranges(struct tl_scan *scan, struct segment_scan *s,
                                    const struct tl_scan_spec *spec, uint32_t shard,
                                    uint32_t shard_count, struct tl_row_range **out,
                                    uint32_t *count, struct tl_status *st)
{
    struct tl_row_range *ranges =
        tl_arena_alloc(&scan->arena, spec->merchant_count * sizeof(*ranges), st);
    if (!ranges)
        return st->code;
    const struct tl_segment_info *info = &s->live->info;
    bool inside = info->min_ts >= spec->ts_min_us && info->max_ts <= spec->ts_max_us;
    uint32_t n = 0;
    for (uint32_t i = 0; i < spec->merchant_count; i++) {
        int64_t merchant = spec->merchants[i];
        if (merchant < info->min_merchant || merchant > info->max_merchant ||
            tl_shard_of(merchant, shard_count) != shard)
            continue;
        uint32_t lo;
        uint32_t hi;
        if (tl_segment_find_merchant(s->segment, merchant, &lo, &hi, st))
            return st->code;
        if (lo < hi && !inside) {
            if (spec->ts_min_us > info->min_ts &&
                tl_segment_find_ts(s->segment, lo, hi, spec->ts_min_us, &lo, st))
                return st->code;
            if (lo < hi && spec->ts_max_us < info->max_ts &&
                tl_segment_find_ts(s->segment, lo, hi, spec->ts_max_us + 1, &hi, st))
                return st->code;
        }
        if (lo < hi)
            ranges[n++] = (struct tl_row_range){lo, hi};
    }
    *out = ranges;
    *count = n;
    return TL_OK;
}

static enum tl_code open_segment(struct tl_scan *scan, const struct tl_scan_spec *spec,
                                 struct tl_live_segment *live, uint32_t shard, struct tl_status *st)
{
    const struct tl_segment_info *info = &live->info;
    scan->stats.segments_total++;
    bool out_of_time = info->max_ts < spec->ts_min_us || info->min_ts > spec->ts_max_us;
    bool out_of_merchants = spec->merchant_count > 0 &&
                            (info->max_merchant < spec->merchants[0] ||
                             info->min_merchant > spec->merchants[spec->merchant_count - 1]);
    if (out_of_time || out_of_merchants) {
        scan->stats.segments_pruned++;
        return TL_OK;
    }
    struct segment_scan *s = tl_arena_calloc(&scan->arena, 1, sizeof(*s), st);
    if (!s || tl_pack_segment(live->pack->pack, live->index, &s->segment, st))
        return st->code;
    s->live = live;
    struct tl_row_range whole = {0, info->rows};
    struct tl_row_range *ranges = &whole;
    uint32_t count = 1;
    if (spec->merchant_count > 0) {
        if (merchant_ranges(scan, s, spec, shard, scan->source->snapshot.version->shard_count,
                            &ranges, &count, st))
            return st->code;
        if (count == 0) {
            scan->stats.segments_pruned++;
            return TL_OK;
        }
    } else {
        s->check_ts = info->min_ts < spec->ts_min_us || info->max_ts > spec->ts_max_us;
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
    scan->segments[scan->segment_count++] = s; /* closed from here on, whatever happens */
    if (open_segment_columns(scan, s, st))
        return st->code;
    if (spec->merchant_count > 0 && prefetch(scan, s, ranges, count, st))
        return st->code;
    for (uint32_t i = 0; i < count; i++) {
        struct work w = {.segment = s, .lo = ranges[i].lo, .hi = ranges[i].hi};
        if (add_ranges(scan, w, st))
            return st->code;
    }
    return TL_OK;
}

/* A merchant's visible rows within the time range, oldest first. */
static enum tl_code chain_rows(struct tl_scan *scan, const struct tl_memtable *m,
                               const struct tl_scan_spec *spec, int64_t merchant,
                               const uint32_t **out, uint32_t *count, struct tl_status *st)
{
    uint32_t shard = tl_shard_of(merchant, tl_memtable_shard_count(m));
    uint32_t visible = tl_memtable_first_row(shard) +
                       tl_memtable_shard_rows_at(m, shard, scan->source->snapshot.position);
    uint32_t n = 0;
    uint32_t *rows = NULL;
    for (int pass = 0; pass < 2; pass++) {
        uint32_t left = n;
        for (uint32_t r = tl_memtable_last(m, merchant); r != TL_MEMTABLE_NO_ROW;
             r = tl_memtable_previous(m, r)) {
            if (r >= visible)
                continue;
            int64_t ts = tl_memtable_ts(m, r)[r % TL_MEMTABLE_CHUNK_ROWS];
            if (ts < spec->ts_min_us || ts > spec->ts_max_us)
                continue;
            if (pass == 0)
                n++;
            else
                rows[--left] = r;
        }
        if (n == 0)
            break;
        if (pass == 0 && !(rows = tl_arena_alloc(&scan->arena, (size_t)n * 4, st)))
            return st->code;
    }
    *out = rows;
    *count = n;
    return TL_OK;
}

static enum tl_code open_memtable(struct tl_scan *scan, const struct tl_scan_spec *spec,
                                  struct tl_memtable *m, struct tl_status *st)
{
    if (tl_memtable_rows_at(m, scan->source->snapshot.position) == 0)
        return TL_OK;
    struct memtable_scan *s = tl_arena_calloc(&scan->arena, 1, sizeof(*s), st);
    size_t n = 2 * (size_t)scan->column_count + 1;
    if (!s || !(s->dicts = tl_arena_calloc(&scan->arena, n, sizeof(*s->dicts), st)) ||
        !(s->has_dict = tl_arena_calloc(&scan->arena, n, sizeof(*s->has_dict), st)))
        return st->code;
    s->memtable = m;
    for (uint32_t i = 0; i < scan->column_count; i++) {
        uint32_t ids[2];
        uint32_t k = column_ids(scan, i, ids);
        while (k-- > 0)
            s->has_dict[2 * i + k] = tl_memtable_dict(m, ids[k], &s->dicts[2 * i + k]);
    }
    for (uint32_t k = 0; spec->merchant_count == 0 && k < tl_memtable_shard_count(m); k++) {
        uint32_t lo = tl_memtable_first_row(k);
        uint32_t shown = tl_memtable_shard_rows_at(m, k, scan->source->snapshot.position);
        struct work w = {.memtable = s, .lo = lo, .hi = lo + shown};
        if (shown > 0 && add_ranges(scan, w, st))
            return st->code;
    }
    for (uint32_t i = 0; i < spec->merchant_count; i++) {
        struct work w = {.memtable = s};
        if (chain_rows(scan, m, spec, spec->merchants[i], &w.rows, &w.hi, st) ||
            add_ranges(scan, w, st))
            return st->code;
    }
    return TL_OK;
}

static enum tl_code open_all(struct tl_scan *scan, const struct tl_scan_spec *spec,
                             struct tl_status *st)
{
    const struct tl_version *v = scan->source->snapshot.version;
    const struct tl_table_version *t = tl_version_find(v, spec->table_id);
    if (!t)
        return TL_OK; /* a table without rows */
    uint64_t shards[4] = {~0ULL, ~0ULL, ~0ULL, ~0ULL};
    if (spec->merchant_count > 0) {
        memset(shards, 0, sizeof(shards));
        for (uint32_t i = 0; i < spec->merchant_count; i++)
            tl_bit_set(shards, tl_shard_of(spec->merchants[i], v->shard_count));
    }
    for (uint32_t s = 0; s < v->shard_count; s++) {
        const struct tl_segment_list *l = t->shards[s];
        if (!l || !tl_bit_get(shards, s))
            continue;
        for (uint32_t i = 0; i < l->count; i++)
            if (open_segment(scan, spec, l->segments[i], s, st))
                return st->code;
    }
    for (uint32_t i = 0; i < t->memtable_count; i++)
        if (open_memtable(scan, spec, t->memtables[i], st))
            return st->code;
    return TL_OK;
}

static void scan_close(struct tl_scan *scan);

static enum tl_code scan_open(struct tl_source *source, const struct tl_scan_spec *spec,
                              struct tl_scan **out, struct tl_status *st)
{
    struct tl_db_source *src = (struct tl_db_source *)source;
    struct tl_scan_spec narrowed = *spec;
    struct tl_scan *scan = calloc(1, sizeof(*scan));
    if (!scan)
        return TL_FAIL(st, TL_LIMIT, "no memory for a scan");
    scan->source = src;
    scan->budget = spec->budget;
    tl_arena_init(&scan->arena, spec->budget, SCAN_ARENA_CHUNK);
    pthread_mutex_init(&scan->lock, NULL);
    scan->column_count = spec->column_count;
    scan->ts_min_us = spec->ts_min_us;
    scan->ts_max_us = spec->ts_max_us;
    scan->predicate_count = spec->predicate_count;
    scan->predicates = spec->predicates;
    size_t bytes = spec->column_count * sizeof(*scan->columns);
    scan->columns = tl_arena_alloc(&scan->arena, bytes + 1, st);
    bool empty = spec->ts_min_us > spec->ts_max_us;
    if (!scan->columns)
        goto fail;
    if (bytes > 0)
        memcpy(scan->columns, spec->columns, bytes);
    if (src->tenant.bounded) {
        if (tl_tenant_narrow(&src->tenant, spec->merchants, spec->merchant_count, &scan->arena,
                             &narrowed.merchants, &narrowed.merchant_count, st))
            goto fail;
        empty = empty || narrowed.merchant_count == 0;
    }
    scan->all_merchants = narrowed.merchant_count == 0 && !src->tenant.bounded;
    const struct tl_view *view = tl_view_by_id(src->snapshot.version->schema, spec->table_id);
    if (view && empty) {
        narrowed.ts_min_us = 1;
        narrowed.ts_max_us = 0;
    }
    if (view && tl_rollup_scan_open(&src->snapshot, view, &narrowed, &scan->rollup, st))
        goto fail;
    empty = empty || view;
    if (!empty && open_all(scan, &narrowed, st))
        goto fail;
    *out = scan;
    return TL_OK;
fail:
    scan_close(scan);
    return st->code;
}

/* ---- morsels ---- */

static struct morsel_state *take_morsel(struct tl_scan *scan, struct tl_status *st)
{
    pthread_mutex_lock(&scan->lock);
    struct morsel_state *m = scan->free_morsels;
    if (m)
        scan->free_morsels = m->next;
    pthread_mutex_unlock(&scan->lock);
    if (!m) {
        m = calloc(1, sizeof(*m));
        if (!m) {
            TL_FAIL(st, TL_LIMIT, "no memory for a morsel");
            return NULL;
        }
        tl_arena_init(&m->arena, scan->budget, SCAN_ARENA_CHUNK);
    }
    tl_arena_reset(&m->arena);
    size_t n = 2 * (size_t)scan->column_count + 1;
    m->vectors =
        tl_arena_calloc(&m->arena, (size_t)scan->column_count + 1, sizeof(*m->vectors), st);
    m->cursors = tl_arena_calloc(&m->arena, n, sizeof(*m->cursors), st);
    m->cursor_open = tl_arena_calloc(&m->arena, n, sizeof(*m->cursor_open), st);
    m->props_memo = tl_arena_calloc(&m->arena, n, sizeof(*m->props_memo), st);
    if (!m->vectors || !m->cursors || !m->cursor_open || !m->props_memo) {
        tl_arena_deinit(&m->arena);
        free(m);
        return NULL;
    }
    return m;
}

static enum tl_code scan_next_morsel(struct tl_scan *scan, struct tl_morsel *out, bool *found,
                                     struct tl_status *st)
{
    if (scan->rollup)
        return tl_rollup_scan_next_morsel(scan->rollup, out, found, st);
    *found = scan->next_work < scan->work_count;
    if (!*found)
        return TL_OK;
    struct morsel_state *m = take_morsel(scan, st);
    if (!m)
        return st->code;
    const struct work *w = &scan->work[scan->next_work++];
    m->work = w;
    m->at = w->lo;
    *out = (struct tl_morsel){.rows = w->hi - w->lo, .impl = m};
    if (w->segment) {
        out->segment = w->segment->live->identity;
        out->sorted = true;
    }
    return TL_OK;
}

static void null_vector(struct tl_type type, uint32_t count, struct tl_vector *out)
{
    static const uint64_t none[1] = {0};
    static const _Alignas(16) uint8_t zeros[16] = {0};
    *out = (struct tl_vector){
        .type = type, .shape = TL_CONST, .count = count, .data = zeros, .validity = none};
}

/* Keeps the selected rows of a vector. */
static enum tl_code keep_rows(struct tl_vector *v, const uint16_t *selection, uint32_t count,
                              struct tl_arena *arena, struct tl_status *st)
{
    uint32_t old = v->count;
    v->count = count;
    if (v->shape == TL_CONST || old == count)
        return TL_OK;
    uint32_t width = v->shape == TL_DICT ? 4 : tl_kind_width((enum tl_kind)v->type.kind);
    uint8_t *values = tl_arena_alloc(arena, (size_t)count * width + 16, st);
    if (!values)
        return st->code;
    const uint8_t *from = v->shape == TL_DICT ? (const uint8_t *)v->codes : v->data;
    switch (width) {
    case 1:
        for (uint32_t i = 0; i < count; i++)
            values[i] = from[selection[i]];
        break;
    case 4:
        for (uint32_t i = 0; i < count; i++)
            ((uint32_t *)(void *)values)[i] = ((const uint32_t *)(const void *)from)[selection[i]];
        break;
    case 8:
        for (uint32_t i = 0; i < count; i++)
            ((uint64_t *)(void *)values)[i] = ((const uint64_t *)(const void *)from)[selection[i]];
        break;
    default:
        for (uint32_t i = 0; i < count; i++)
            memcpy(values + (size_t)i * width, from + (size_t)selection[i] * width, width);
    }
    if (v->shape == TL_DICT)
        v->codes = (const uint32_t *)(const void *)values;
    else
        v->data = values;
    if (v->validity) {
        uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(count), 8, st);
        if (!validity)
            return st->code;
        for (uint32_t i = 0; i < count; i++)
            if (tl_bit_get(v->validity, selection[i]))
                tl_bit_set(validity, i);
        v->validity = validity;
    }
    return TL_OK;
}

/* props['key'] of each row, from the two columns of shapes and values; `hot` keys have none there.
 */
static enum tl_code props_vector(struct tl_scan *scan, struct morsel_state *m, uint32_t column,
                                 const struct tl_props_hot *hot, const struct tl_vector *keys,
                                 const struct tl_vector *values, struct tl_arena *arena,
                                 struct tl_vector *out, struct tl_status *st)
{
    uint32_t count = keys->count;
    if (keys->shape != TL_DICT || values->shape != TL_DICT) {
        null_vector(tl_type_of(TL_TEXT), count, out);
        return TL_OK;
    }
    int16_t *memo = m->props_memo[column];
    if (!memo) {
        memo = tl_arena_alloc(&m->arena, (size_t)keys->dict->count * 2, st);
        if (!memo)
            return st->code;
        for (uint32_t i = 0; i < keys->dict->count; i++)
            memo[i] = -2;
        m->props_memo[column] = memo;
    }
    struct tl_slice *slices = tl_arena_calloc(arena, count, sizeof(*slices), st);
    uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(count), 8, st);
    if (!slices || !validity)
        return st->code;
    for (uint32_t i = 0; i < count; i++) {
        if (!tl_vector_valid(keys, i) || !tl_vector_valid(values, i))
            continue;
        uint32_t code = keys->codes[i];
        struct tl_slice s;
        if (memo[code] == -2) {
            if (tl_dict_get(keys->dict, &code, 1, &s, st))
                return st->code;
            memo[code] = (int16_t)tl_props_find_cold(hot, s, scan->columns[column].props_key);
        }
        if (memo[code] < 0)
            continue;
        if (tl_dict_get(values->dict, &values->codes[i], 1, &s, st))
            return st->code;
        if (tl_props_value(s, (uint32_t)memo[code], &slices[i]))
            tl_bit_set(validity, i);
    }
    *out = (struct tl_vector){.type = tl_type_of(TL_TEXT),
                              .shape = TL_FLAT,
                              .count = count,
                              .data = slices,
                              .validity = validity};
    return TL_OK;
}

/* ---- rows of a segment ---- */

static enum tl_code read_cursor(const struct tl_scan *scan, struct morsel_state *m, uint32_t slot,
                                const struct tl_column *c, const struct tl_dict *dict, uint32_t lo,
                                uint32_t hi, struct tl_vector *out, struct tl_status *st)
{
    if (!m->cursor_open[slot]) {
        if (tl_cursor_init(&m->cursors[slot], c, dict, &m->arena, &m->stats, st))
            return st->code;
        m->cursors[slot].once = scan->all_merchants;
        m->cursors[slot].parents = &m->parents;
        m->parents.once = scan->all_merchants;
        m->parents.stats = &m->stats;
        m->cursor_open[slot] = true;
    }
    return tl_cursor_read(&m->cursors[slot], lo, hi, NULL, out, st);
}

static enum tl_code read_segment_column(struct tl_scan *scan, struct morsel_state *m, uint32_t i,
                                        uint32_t part, uint32_t lo, uint32_t hi,
                                        struct tl_vector *out, struct tl_status *st)
{
    struct segment_column *c = &m->work->segment->columns[2 * i + part];
    if (!c->column) {
        null_vector(scan->columns[i].type, hi - lo, out);
        return TL_OK;
    }
    return read_cursor(scan, m, 2 * i + part, c->column, c->reader_open ? &c->reader.dict : NULL,
                       lo, hi, out, st);
}

/* The rows [lo, hi) that lie in the time range; *count of them in `selection`. */
static enum tl_code select_ts(struct tl_scan *scan, struct morsel_state *m, uint32_t lo,
                              uint32_t hi, uint16_t *selection, uint32_t *count,
                              struct tl_status *st)
{
    struct tl_vector v;
    const struct tl_column *c = tl_segment_column(m->work->segment->segment, TL_COLUMN_TS);
    if (!c)
        return TL_FAIL(st, TL_CORRUPT, "a segment has no ts column");
    if (read_cursor(scan, m, 2 * scan->column_count, c, NULL, lo, hi, &v, st))
        return st->code;
    const int64_t *ts = v.data;
    uint32_t n = 0;
    for (uint32_t i = 0; i < hi - lo; i++) {
        int64_t t = ts[v.shape == TL_CONST ? 0 : i];
        selection[n] = (uint16_t)i;
        n += t >= scan->ts_min_us && t <= scan->ts_max_us;
    }
    *count = n;
    return TL_OK;
}

/* The next rows that may match: skips blocks by their bounds. *all: none lies outside the range. */
static bool next_slice(struct tl_scan *scan, struct morsel_state *m, uint32_t *lo, uint32_t *hi,
                       bool *all)
{
    const struct work *w = m->work;
    const struct segment_scan *s = w->segment;
    const struct tl_column *ts = s->check_ts ? tl_segment_column(s->segment, TL_COLUMN_TS) : NULL;
    while (m->at < w->hi) {
        uint32_t block = m->at >> TL_BLOCK_SHIFT;
        uint32_t end = (block + 1) << TL_BLOCK_SHIFT;
        end = end < w->hi ? end : w->hi;
        bool skip = (m->at & (TL_BLOCK_ROWS - 1)) == 0 && !block_may_match(scan, s, block);
        *all = true;
        if (ts && !skip) {
            struct tl_block_stat b;
            tl_column_block(ts, block, &b);
            skip = b.max < scan->ts_min_us || b.min > scan->ts_max_us;
            *all = b.min >= scan->ts_min_us && b.max <= scan->ts_max_us;
        }
        if (skip) {
            m->blocks_pruned++;
            m->at = end;
            continue;
        }
        *lo = m->at;
        *hi = end - m->at > TL_VECTOR_ROWS_MAX ? m->at + TL_VECTOR_ROWS_MAX : end;
        m->at = *hi;
        return true;
    }
    return false;
}

static enum tl_code segment_chunk(struct tl_scan *scan, struct morsel_state *m,
                                  struct tl_arena *arena, uint32_t *rows, struct tl_status *st)
{
    uint16_t selection[TL_VECTOR_ROWS_MAX];
    uint32_t lo;
    uint32_t hi;
    bool all;
    while (next_slice(scan, m, &lo, &hi, &all)) {
        uint32_t count = hi - lo;
        if (!all && select_ts(scan, m, lo, hi, selection, &count, st))
            return st->code;
        if (count == 0)
            continue;
        for (uint32_t i = 0; i < scan->column_count; i++) {
            struct tl_vector *out = &m->vectors[i];
            if (read_segment_column(scan, m, i, 0, lo, hi, out, st))
                return st->code;
            const struct segment_column *c = &m->work->segment->columns[2 * i];
            if (scan->columns[i].props_key.size > 0 && !c->own) {
                struct tl_vector keys = *out;
                struct tl_vector values;
                if (read_segment_column(scan, m, i, 1, lo, hi, &values, st) ||
                    props_vector(scan, m, i, c->hot, &keys, &values, arena, out, st))
                    return st->code;
            }
            if (!all && keep_rows(out, selection, count, arena, st))
                return st->code;
        }
        *rows = count;
        return TL_OK;
    }
    *rows = 0;
    return TL_OK;
}

/* ---- rows of a memtable ---- */

/* Column i of rows[0 … count), or of [lo, lo + count) when rows is NULL. */
static enum tl_code read_memtable_column(struct tl_scan *scan, struct morsel_state *m, uint32_t i,
                                         uint32_t part, const uint32_t *rows, uint32_t lo,
                                         uint32_t count, struct tl_arena *arena,
                                         struct tl_vector *out, struct tl_status *st)
{
    const struct memtable_scan *s = m->work->memtable;
    uint32_t ids[2];
    column_ids(scan, i, ids);
    const struct tl_memtable_dict *dict =
        s->has_dict[2 * i + part] ? &s->dicts[2 * i + part] : NULL;
    if (rows)
        return tl_memtable_gather(s->memtable, ids[part], scan->columns[i].type, dict, rows, count,
                                  arena, out, st);
    return tl_memtable_read(s->memtable, ids[part], scan->columns[i].type, dict, lo, lo + count,
                            arena, out, st);
}

static const struct tl_props_hot no_hot = {.count = 0};

static enum tl_code memtable_chunk(struct tl_scan *scan, struct morsel_state *m,
                                   struct tl_arena *arena, uint32_t *rows, struct tl_status *st)
{
    const struct work *w = m->work;
    uint16_t selection[TL_VECTOR_ROWS_MAX];
    while (m->at < w->hi) {
        uint32_t lo = m->at;
        uint32_t n = w->hi - lo < TL_VECTOR_ROWS_MAX ? w->hi - lo : TL_VECTOR_ROWS_MAX;
        uint32_t count = n;
        if (!w->rows) {
            uint32_t room = TL_MEMTABLE_CHUNK_ROWS - lo % TL_MEMTABLE_CHUNK_ROWS;
            n = n < room ? n : room;
            const int64_t *ts =
                tl_memtable_ts(w->memtable->memtable, lo) + lo % TL_MEMTABLE_CHUNK_ROWS;
            count = 0;
            for (uint32_t i = 0; i < n; i++) {
                selection[count] = (uint16_t)i;
                count += ts[i] >= scan->ts_min_us && ts[i] <= scan->ts_max_us;
            }
        }
        m->at += n;
        if (count == 0)
            continue;
        const uint32_t *list = w->rows ? w->rows + lo : NULL;
        for (uint32_t i = 0; i < scan->column_count; i++) {
            struct tl_vector *out = &m->vectors[i];
            if (read_memtable_column(scan, m, i, 0, list, lo, n, arena, out, st))
                return st->code;
            if (scan->columns[i].props_key.size > 0) {
                struct tl_vector keys = *out;
                struct tl_vector values;
                if (read_memtable_column(scan, m, i, 1, list, lo, n, arena, &values, st) ||
                    props_vector(scan, m, i, &no_hot, &keys, &values, arena, out, st))
                    return st->code;
            }
            if (count < n && keep_rows(out, selection, count, arena, st))
                return st->code;
        }
        m->memtable_rows += count;
        *rows = count;
        return TL_OK;
    }
    *rows = 0;
    return TL_OK;
}

static enum tl_code scan_next_chunk(struct tl_scan *scan, struct tl_morsel *morsel,
                                    struct tl_arena *arena, struct tl_chunk *out,
                                    struct tl_status *st)
{
    if (scan->rollup)
        return tl_rollup_scan_next_chunk(scan->rollup, morsel, out, st);
    struct morsel_state *m = morsel->impl;
    uint32_t rows = 0;
    enum tl_code rc = m->work->segment ? segment_chunk(scan, m, arena, &rows, st)
                                       : memtable_chunk(scan, m, arena, &rows, st);
    if (rc)
        return rc;
    m->rows += rows;
    *out = (struct tl_chunk){.count = rows, .columns = m->vectors};
    return TL_OK;
}

static void scan_close_morsel(struct tl_scan *scan, struct tl_morsel *morsel)
{
    if (scan->rollup) {
        tl_rollup_scan_close_morsel(scan->rollup, morsel);
        return;
    }
    struct morsel_state *m = morsel->impl;
    if (!m)
        return;
    for (uint32_t i = 0; i < 2 * scan->column_count + 1; i++)
        if (m->cursor_open[i])
            tl_cursor_close(&m->cursors[i]);
    tl_parents_close(&m->parents);
    pthread_mutex_lock(&scan->lock);
    scan->stats.rows_scanned += m->rows;
    scan->stats.memtable_rows += m->memtable_rows;
    scan->stats.blocks_read += m->stats.blocks;
    scan->stats.blocks_cached += m->stats.blocks - m->stats.blocks_disk;
    scan->stats.blocks_pruned += m->blocks_pruned;
    scan->stats.bytes_read += m->stats.bytes_disk;
    m->rows = m->memtable_rows = m->blocks_pruned = 0;
    m->stats = (struct tl_read_stats){0};
    m->next = scan->free_morsels;
    scan->free_morsels = m;
    pthread_mutex_unlock(&scan->lock);
    morsel->impl = NULL;
}

static void scan_stats(const struct tl_scan *scan, struct tl_scan_stats *out)
{
    if (scan->rollup) {
        tl_rollup_scan_stats(scan->rollup, out);
        return;
    }
    *out = scan->stats;
    for (uint32_t i = 0; i < scan->segment_count; i++)
        for (uint32_t k = 0; k < 2 * scan->column_count && scan->segments[i]->columns; k++)
            out->bytes_read += scan->segments[i]->columns[k].stats.bytes_disk;
}

static void scan_close(struct tl_scan *scan)
{
    if (!scan)
        return;
    for (uint32_t i = 0; i < scan->segment_count; i++)
        for (uint32_t k = 0; k < 2 * scan->column_count && scan->segments[i]->columns; k++)
            if (scan->segments[i]->columns[k].reader_open)
                tl_dict_reader_close(&scan->segments[i]->columns[k].reader);
    for (struct morsel_state *m = scan->free_morsels, *next; m; m = next) {
        next = m->next;
        tl_arena_deinit(&m->arena);
        free(m);
    }
    tl_rollup_scan_close(scan->rollup);
    tl_arena_deinit(&scan->arena);
    pthread_mutex_destroy(&scan->lock);
    free(scan);
}

static const struct tl_source_vtable source_vtab = {
    .open = scan_open,
    .next_morsel = scan_next_morsel,
    .next_chunk = scan_next_chunk,
    .close_morsel = scan_close_morsel,
    .stats = scan_stats,
    .close = scan_close,
};

/* ---- snapshots and the source ---- */

void tl_snapshot_take(struct tally *db, struct tl_snapshot *out)
{
    /* The position first: a version read after it holds every memtable that the position
     * speaks of. Acquire pairs with the log thread's release. */
    uint64_t position = atomic_load_explicit(&db->published, memory_order_acquire);
    out->version = tl_current_acquire(&db->current);
    out->position = position > out->version->base_position ? position : out->version->base_position;
}

void tl_snapshot_release(struct tl_snapshot *s)
{
    tl_version_unref(s->version);
    s->version = NULL;
}

enum tl_code tl_db_source_new(struct tally *db, const struct tl_snapshot *snapshot,
                              const struct tally_tenant *tenant, struct tl_source **out,
                              struct tl_status *st)
{
    struct tl_db_source *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory for a source");
    *s = (struct tl_db_source){
        .source = {&source_vtab}, .db = db, .snapshot = *snapshot, .tenant = *tenant};
    *out = &s->source;
    return TL_OK;
}

void tl_db_source_free(struct tl_source *s)
{
    free(s);
}
