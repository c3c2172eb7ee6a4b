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
#include "engine/rollup_scan.h"
#include "engine/scan_int.h"

enum { SCAN_ARENA_CHUNK = 32768 };

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
    bool opened; /* what was read ahead for it has been taken in */
    struct tl_read_stats stats;
    struct tl_read_stats ahead_stats; /* of what was read ahead for it */
    uint64_t rows, blocks_pruned, memtable_rows;
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
        w.hi = end - w.lo > TL__MORSEL_ROWS ? w.lo + TL__MORSEL_ROWS : end;
        if (add_work(scan, &w, st))
            return st->code;
    }
    return TL_OK;
}

static enum tl_code open_segment_columns(struct tl_scan *scan, struct segment_scan *s,
                                         struct tl_status *st)
{
    if (tl__scan_locate_columns(scan, s, st))
        return st->code;
    for (uint32_t i = 0; i < 2 * scan->column_count; i++) {
        struct segment_column *c = &s->columns[i];
        if (!c->column || c->column->type.kind != TL_TEXT)
            continue;
        if (tl_dict_reader_open(&c->reader, c->column, &c->stats, st))
            return st->code;
        c->reader_open = true;
    }
    return TL_OK;
}

static enum tl_code find_work(struct tl_scan *scan, const struct tl_scan_spec *spec,
                              struct tl_status *st)
{
    bool all = spec->merchant_count == 0;
    if (!all && tl__scan_find_ranges(scan, spec, st))
        return st->code;
    for (uint32_t k = 0; k < scan->segment_count; k++) {
        struct segment_scan *s = scan->segments[k];
        struct tl_row_range whole = {0, s->live->info.rows};
        const struct tl_row_range *ranges = all ? &whole : s->ranges;
        uint32_t count = all ? 1 : s->range_count;
        s->check_ts = all && !inside_time(scan, &s->live->info);
        if (count == 0) {
            scan->stats.segments_pruned++;
            continue;
        }
        if (open_segment_columns(scan, s, st))
            return st->code;
        for (uint32_t i = 0; i < count; i++) {
            struct work w = {.segment = s, .lo = ranges[i].lo, .hi = ranges[i].hi};
            if (add_ranges(scan, w, st))
                return st->code;
        }
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
        uint32_t lo, hi;
        tl_segment_list_find(l, spec->ts_min_us, spec->ts_max_us, &lo, &hi);
        scan->stats.segments_total += l->count;
        scan->stats.segments_pruned += l->count - l->level0_count - (hi - lo);
        for (uint32_t i = 0; i < l->level0_count; i++)
            if (tl__scan_add_segment(scan, spec, l->segments[i], s, st))
                return st->code;
        for (uint32_t i = lo; i < hi; i++)
            if (tl__scan_add_segment(scan, spec, l->segments[i], s, st))
                return st->code;
    }
    if (find_work(scan, spec, st))
        return st->code;
    for (uint32_t i = 0; i < t->memtable_count; i++)
        if (open_memtable(scan, spec, t->memtables[i], st))
            return st->code;
    return tl__scan_open_ahead(scan, st);
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

static void give_morsel(struct tl_scan *scan, struct morsel_state *m)
{
    pthread_mutex_lock(&scan->lock);
    m->next = scan->free_morsels;
    scan->free_morsels = m;
    pthread_mutex_unlock(&scan->lock);
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
    const struct work *w = &scan->work[scan->next_work];
    m->work = w;
    m->opened = false;
    if (tl_ahead_hand_out(scan->ahead, scan->next_work++, st)) {
        give_morsel(scan, m);
        return st->code;
    }
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
        bool skip = (m->at & (TL_BLOCK_ROWS - 1)) == 0 && !tl__scan_block_may_match(scan, s, block);
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
    if (!m->opened) {
        m->opened = true;
        if (tl_ahead_open(scan->ahead, (uint32_t)(m->work - scan->work), &m->ahead_stats, st))
            return st->code;
    }
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
    tl_ahead_close(scan->ahead, (uint32_t)(m->work - scan->work));
    pthread_mutex_lock(&scan->lock);
    scan->stats.rows_scanned += m->rows;
    scan->stats.memtable_rows += m->memtable_rows;
    scan->stats.blocks_read += m->stats.blocks;
    scan->stats.blocks_cached += m->stats.blocks - m->stats.blocks_disk;
    scan->stats.blocks_pruned += m->blocks_pruned;
    scan->stats.bytes_read += m->stats.bytes_disk + m->ahead_stats.bytes_disk;
    scan->stats.reads += m->stats.reads + m->ahead_stats.reads;
    m->rows = m->memtable_rows = m->blocks_pruned = 0;
    m->stats = m->ahead_stats = (struct tl_read_stats){0};
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
        for (uint32_t k = 0; k < 2 * scan->column_count && scan->segments[i]->columns; k++) {
            out->bytes_read += scan->segments[i]->columns[k].stats.bytes_disk;
            out->reads += scan->segments[i]->columns[k].stats.reads;
        }
}

static void scan_close(struct tl_scan *scan)
{
    if (!scan)
        return;
    tl_ahead_free(scan->ahead);
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

enum tl_code tl_snapshot_wait(struct tally *db, struct tl_status *st)
{
    /* acquire: whoever asks after an acknowledgement sees what the log thread stored before it */
    uint64_t told = atomic_load_explicit(&db->told, memory_order_acquire);
    if (atomic_load_explicit(&db->published, memory_order_acquire) >= told)
        return TL_OK;
    pthread_mutex_lock(&db->version_lock);
    db->published_waiters++;
    uint64_t published;
    while ((published = atomic_load_explicit(&db->published, memory_order_acquire)) < told &&
           !atomic_load_explicit(&db->poisoned, memory_order_relaxed))
        pthread_cond_wait(&db->published_changed, &db->version_lock);
    db->published_waiters--;
    pthread_mutex_unlock(&db->version_lock);
    return published >= told ? TL_OK
                             : TL_FAIL(st, TL_CLOSED,
                                       "the database failed to apply a batch that is in its log; "
                                       "restart it: %.120s",
                                       db->poison.text);
}

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
