#include "engine/rollup_scan.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/time.h"
#include "engine/rollup_store.h"
#include "engine/rollup_stream.h"
#include "query/function.h"

enum { ROWS = TL_VECTOR_ROWS_MAX, ARENA_CHUNK = 65536 };

struct tl_rollup_scan {
    struct tl_arena arena;
    const struct tl_view *view;
    struct tl_snapshot snapshot; /* borrowed */
    struct tl_budget *budget;
    uint32_t column_count;
    struct tl_scan_column *columns;
    struct tl_rollup_want want;
    uint64_t shards[4]; /* bits: may hold what is wanted */
    bool empty;
    uint32_t next_shard;
    pthread_mutex_t lock; /* stats */
    struct tl_scan_stats stats;
};

/* Strings of dimensions, by number: equal strings have equal numbers in one morsel. */
struct strings {
    struct tl_slice *list;
    uint32_t count, capacity;
    uint32_t *table; /* number + 1 */
    uint32_t mask;
};

struct out_column {
    uint8_t *data;
    uint64_t *validity;
    bool nulls;
};

struct morsel {
    struct tl_rollup_scan *scan;
    struct tl_arena arena;
    struct tl_rollup_want want; /* with this shard */
    struct tl_view_slot *raw_slots;
    struct tl_rollup_stored_slots stored_slots;
    struct tl_rollup_stream *streams;
    uint32_t stream_count;
    struct tl_rollup_source *sources;
    uint32_t source_count;
    struct tl_rollup_stream **heap; /* least (merchant, bucket) first */
    uint32_t heap_count;
    struct tl_rollup_cell cell;
    int64_t merchant, bucket; /* of the cell */
    uint32_t emitted;         /* groups of it that were handed out */
    bool pending;             /* it has more */
    struct strings strings;
    struct out_column *outs;
    struct tl_vector *vectors;
    struct tl_read_stats read;
    struct tl_scan_stats stats;
};

/* ---- opening ---- */

static void wanted_times(struct tl_rollup_scan *scan, int64_t min, int64_t max)
{
    const int64_t width = TL_ROLLUP_BUCKET_US;
    struct tl_rollup_want *w = &scan->want;
    w->bucket_min = w->ts_min = min;
    w->bucket_max = w->ts_max = max;
    /* Buckets within the range, and the rows that lie in these. */
    if (min > INT64_MIN + 2 * width)
        w->ts_min = -(tl_floor_div(-min, width) * width);
    if (max < INT64_MAX - 2 * width && max > INT64_MIN + 2 * width)
        w->ts_max = tl_floor_div(max, width) * width + width - 1;
    scan->empty = scan->empty || w->ts_min > w->ts_max;
}

enum tl_code tl_rollup_scan_open(const struct tl_snapshot *snapshot, const struct tl_view *view,
                                 const struct tl_scan_spec *spec, struct tl_rollup_scan **out,
                                 struct tl_status *st)
{
    struct tl_rollup_scan *scan = calloc(1, sizeof(*scan));
    if (!scan)
        return TL_FAIL(st, TL_LIMIT, "no memory for a scan");
    pthread_mutex_init(&scan->lock, NULL);
    tl_arena_init(&scan->arena, spec->budget, 4096);
    scan->view = view;
    scan->snapshot = *snapshot;
    scan->budget = spec->budget;
    scan->column_count = spec->column_count;
    scan->columns =
        tl_arena_alloc(&scan->arena, (spec->column_count + 1u) * sizeof(*scan->columns), st);
    int64_t *merchants =
        tl_arena_alloc(&scan->arena, (spec->merchant_count + 1u) * sizeof(*merchants), st);
    if (!scan->columns || !merchants) {
        tl_rollup_scan_close(scan);
        return st->code;
    }
    if (spec->column_count > 0)
        memcpy(scan->columns, spec->columns, spec->column_count * sizeof(*scan->columns));
    if (spec->merchant_count > 0)
        memcpy(merchants, spec->merchants, spec->merchant_count * sizeof(*merchants));
    const struct tl_version *v = snapshot->version;
    scan->want = (struct tl_rollup_want){.view = view,
                                         .position = snapshot->position,
                                         .shard_count = v->shard_count,
                                         .merchant_count = spec->merchant_count,
                                         .merchants = merchants};
    scan->empty = spec->ts_min_us > spec->ts_max_us;
    wanted_times(scan, spec->ts_min_us, spec->ts_max_us);
    for (uint32_t i = 0; i < spec->merchant_count; i++)
        tl_bit_set(scan->shards, tl_shard_of(merchants[i], v->shard_count));
    if (spec->merchant_count == 0)
        memset(scan->shards, 0xFF, sizeof(scan->shards));
    *out = scan;
    return TL_OK;
}

void tl_rollup_scan_close(struct tl_rollup_scan *scan)
{
    if (!scan)
        return;
    tl_arena_deinit(&scan->arena);
    pthread_mutex_destroy(&scan->lock);
    free(scan);
}

void tl_rollup_scan_stats(const struct tl_rollup_scan *scan, struct tl_scan_stats *out)
{
    *out = scan->stats;
}

/* ---- a shard's streams ---- */

static bool is_wanted(const struct tl_rollup_want *w, const struct tl_segment_info *info)
{
    if (info->max_ts < w->ts_min || info->min_ts > w->ts_max)
        return false;
    return w->merchant_count == 0 || (w->merchants[0] <= info->max_merchant &&
                                      w->merchants[w->merchant_count - 1] >= info->min_merchant);
}

static enum tl_code set_source(struct morsel *m, struct tl_rollup_stream *s, struct tl_status *st)
{
    const struct tl_view *v = m->scan->view;
    struct tl_rollup_source *source = &m->sources[m->source_count];
    source->dicts = tl_arena_calloc(&m->arena, v->slot_count + 1u, sizeof(*source->dicts), st);
    if (!source->dicts)
        return st->code;
    for (uint32_t i = 0; i < v->slot_count; i++)
        source->dicts[i] = tl_rollup_stream_dict(s, i);
    s->source = m->source_count++;
    return tl_rollup_source_hashes(source, v, &m->arena, st);
}

static enum tl_code add_segment(struct morsel *m, const struct tl_live_segment *live,
                                struct tl_status *st)
{
    if (!is_wanted(&m->want, &live->info)) {
        m->stats.segments_pruned++;
        return TL_OK;
    }
    const struct tl_rollup_ref *ref = tl_rollup_find(live, m->want.view->info.id);
    struct tl_segment *segment;
    struct tl_segment *rollup = NULL;
    if (tl_pack_segment(live->pack->pack, live->index, &segment, st) ||
        (ref && ref->segment &&
         tl_pack_segment(ref->segment->pack->pack, ref->segment->index, &rollup, st)))
        return st->code;
    struct tl_rollup_stream *s = &m->streams[m->stream_count++]; /* closed from here on */
    if (tl_rollup_stream_segment(s, &m->want, segment, rollup, m->raw_slots, &m->arena, &m->read,
                                 st) ||
        set_source(m, s, st))
        return st->code;
    if (!rollup)
        return TL_OK;
    uint32_t source = s->source;
    s = &m->streams[m->stream_count++];
    s->source = source;
    return tl_rollup_stream_stored(s, &m->want, rollup, &m->stored_slots, &m->arena, &m->read, st);
}

static enum tl_code add_memtable(struct morsel *m, const struct tl_memtable *memtable,
                                 struct tl_status *st)
{
    struct tl_rollup_stream *s = &m->streams[m->stream_count++];
    if (tl_rollup_stream_memtable(s, &m->want, memtable, m->raw_slots, &m->arena, m->scan->budget,
                                  st))
        return st->code;
    return set_source(m, s, st);
}

static enum tl_code next_run(struct morsel *m, struct tl_rollup_stream *s, struct tl_status *st);

static bool before(const struct tl_rollup_stream *a, const struct tl_rollup_stream *b)
{
    if (a->merchant != b->merchant)
        return a->merchant < b->merchant;
    if (a->bucket != b->bucket)
        return a->bucket < b->bucket;
    return a < b;
}

static void sift_down(struct morsel *m, uint32_t at)
{
    struct tl_rollup_stream **h = m->heap;
    for (;;) {
        uint32_t least = at;
        for (uint32_t k = 2 * at + 1; k <= 2 * at + 2 && k < m->heap_count; k++)
            if (before(h[k], h[least]))
                least = k;
        if (least == at)
            return;
        struct tl_rollup_stream *swap = h[at];
        h[at] = h[least];
        h[least] = swap;
        at = least;
    }
}

static enum tl_code open_shard(struct morsel *m, struct tl_status *st)
{
    const struct tl_view *v = m->scan->view;
    const struct tl_table_version *t = tl_version_find(m->scan->snapshot.version, v->def.table_id);
    const struct tl_segment_list *l = t ? t->shards[m->want.shard] : NULL;
    size_t segments = l ? l->count : 0;
    size_t most = 2 * segments + (t ? t->memtable_count : 0) + 1;
    m->streams = tl_arena_calloc(&m->arena, most, sizeof(*m->streams), st);
    m->heap = tl_arena_calloc(&m->arena, most, sizeof(struct tl_rollup_stream *), st);
    m->sources = tl_arena_calloc(&m->arena, most, sizeof(*m->sources), st);
    m->outs = tl_arena_calloc(&m->arena, m->scan->column_count + 1u, sizeof(*m->outs), st);
    m->vectors = tl_arena_calloc(&m->arena, m->scan->column_count + 1u, sizeof(*m->vectors), st);
    if (!m->streams || !m->heap || !m->sources || !m->outs || !m->vectors ||
        tl_rollup_raw_slots(v, &m->arena, &m->raw_slots, st) ||
        tl_rollup_stored_slots(v, &m->arena, &m->stored_slots, st))
        return st->code;
    for (uint32_t i = 0; i < m->scan->column_count; i++) {
        uint32_t width = tl_kind_width((enum tl_kind)m->scan->columns[i].type.kind);
        m->outs[i].data = tl_arena_alloc(&m->arena, (size_t)width * ROWS, st);
        m->outs[i].validity = tl_arena_alloc(&m->arena, ROWS / 8, st);
        if (!m->outs[i].data || !m->outs[i].validity)
            return st->code;
    }
    uint32_t lo = 0, hi = 0;
    if (l)
        tl_segment_list_find(l, m->want.ts_min, m->want.ts_max, &lo, &hi);
    if (l) {
        m->stats.segments_total += l->count;
        m->stats.segments_pruned += l->count - l->level0_count - (hi - lo);
    }
    for (uint32_t i = 0; l && i < l->level0_count; i++)
        if (add_segment(m, l->segments[i], st))
            return st->code;
    for (uint32_t i = lo; i < hi; i++)
        if (add_segment(m, l->segments[i], st))
            return st->code;
    for (uint32_t i = 0; t && i < t->memtable_count; i++)
        if (add_memtable(m, t->memtables[i], st))
            return st->code;
    if (tl_rollup_cell_init(&m->cell, v, m->scan->budget, st))
        return st->code;
    m->cell.sources = m->sources;
    for (uint32_t i = 0; i < m->stream_count; i++) {
        if (next_run(m, &m->streams[i], st))
            return st->code;
        if (!m->streams[i].done)
            m->heap[m->heap_count++] = &m->streams[i];
    }
    for (uint32_t i = m->heap_count / 2; i-- > 0;)
        sift_down(m, i);
    return TL_OK;
}

enum tl_code tl_rollup_scan_next_morsel(struct tl_rollup_scan *scan, struct tl_morsel *out,
                                        bool *found, struct tl_status *st)
{
    const struct tl_version *v = scan->snapshot.version;
    const struct tl_table_version *t = tl_version_find(v, scan->view->def.table_id);
    while (scan->next_shard < v->shard_count && !tl_bit_get(scan->shards, scan->next_shard))
        scan->next_shard++;
    *found = t && !scan->empty && scan->next_shard < v->shard_count;
    if (!*found)
        return TL_OK;
    struct morsel *m = calloc(1, sizeof(*m));
    if (!m)
        return TL_FAIL(st, TL_LIMIT, "no memory for a morsel");
    m->scan = scan;
    m->want = scan->want;
    m->want.shard = scan->next_shard++;
    tl_arena_init(&m->arena, scan->budget, ARENA_CHUNK);
    const struct tl_segment_list *l = t->shards[m->want.shard];
    uint64_t rows = 0;
    for (uint32_t i = 0; l && i < l->count; i++)
        rows += l->segments[i]->info.rows;
    for (uint32_t i = 0; i < t->memtable_count; i++)
        rows += tl_memtable_shard_rows_at(t->memtables[i], m->want.shard, scan->want.position);
    *out = (struct tl_morsel){.rows = rows, .impl = m};
    return TL_OK;
}

void tl_rollup_scan_close_morsel(struct tl_rollup_scan *scan, struct tl_morsel *morsel)
{
    struct morsel *m = morsel->impl;
    if (!m)
        return;
    for (uint32_t i = 0; i < m->stream_count; i++) {
        struct tl_rollup_stream *s = &m->streams[i];
        if (s->stored)
            m->stats.rollup_rows += s->rows;
        else
            m->stats.raw_rows += s->rows;
        m->stats.memtable_rows += s->memtable ? s->rows : 0;
        tl_rollup_stream_close(s);
    }
    tl_rollup_cell_deinit(&m->cell);
    pthread_mutex_lock(&scan->lock);
    struct tl_scan_stats *sum = &scan->stats;
    sum->segments_total += m->stats.segments_total;
    sum->segments_pruned += m->stats.segments_pruned;
    sum->memtable_rows += m->stats.memtable_rows;
    sum->rows_scanned += m->stats.rows_scanned;
    sum->rollup_rows += m->stats.rollup_rows;
    sum->raw_rows += m->stats.raw_rows;
    sum->blocks_read += m->read.blocks;
    sum->blocks_cached += m->read.blocks - m->read.blocks_disk;
    sum->bytes_read += m->read.bytes_disk;
    pthread_mutex_unlock(&scan->lock);
    tl_arena_deinit(&m->arena);
    free(m);
    morsel->impl = NULL;
}

/* ---- dimensions: codes of many dictionaries to strings of one morsel ---- */

static enum tl_code strings_grow(struct morsel *m, struct tl_status *st)
{
    struct strings *s = &m->strings;
    uint32_t capacity = s->capacity ? 2 * s->capacity : 64;
    struct tl_slice *list = tl_arena_alloc(&m->arena, capacity * sizeof(*list), st);
    uint32_t *table = tl_arena_calloc(&m->arena, 2 * (size_t)capacity, sizeof(*table), st);
    if (!list || !table)
        return st->code;
    if (s->count > 0)
        memcpy(list, s->list, s->count * sizeof(*list));
    s->list = list;
    s->table = table;
    s->capacity = capacity;
    s->mask = 2 * capacity - 1;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t at = (uint32_t)tl_hash64(list[i].data, list[i].size) & s->mask;
        while (table[at])
            at = (at + 1) & s->mask;
        table[at] = i + 1;
    }
    return TL_OK;
}

static enum tl_code string_number(struct morsel *m, struct tl_slice text, uint32_t *number,
                                  struct tl_status *st)
{
    struct strings *s = &m->strings;
    if (s->count == s->capacity && strings_grow(m, st))
        return st->code;
    uint32_t at = (uint32_t)tl_hash64(text.data, text.size) & s->mask;
    for (; s->table[at]; at = (at + 1) & s->mask)
        if (tl_slice_eq(s->list[s->table[at] - 1], text)) {
            *number = s->table[at] - 1;
            return TL_OK;
        }
    const uint8_t *copy =
        tl_arena_copy(&m->arena, text.data ? text.data : (const uint8_t *)"", text.size, st);
    if (!copy)
        return st->code;
    s->list[s->count] = tl_slice_of(copy, text.size);
    s->table[at] = s->count + 1;
    *number = s->count++;
    return TL_OK;
}

/* In a new window, codes of TEXT dimensions become numbers of strings. */
static enum tl_code number_dims(struct morsel *m, struct tl_rollup_stream *s, struct tl_status *st)
{
    const struct tl_view *v = m->scan->view;
    struct tl_rollup_reader *r = &s->reader;
    for (uint32_t d = 0; d < v->dim_count; d++) {
        const struct tl_dict *dict = tl_rollup_stream_dict(s, d);
        if (v->slots[d].type.kind != TL_TEXT || !dict)
            continue;
        if (!s->memo[d]) {
            s->memo[d] = tl_arena_calloc(&m->arena, dict->count, sizeof(uint32_t), st);
            if (!s->memo[d])
                return st->code;
        }
        uint64_t *codes = r->buffers + (size_t)d * ROWS;
        const uint64_t *valid = r->values[d].valid;
        for (uint32_t i = 0; i < r->hi - r->lo; i++) {
            if (valid && !tl_bit_get(valid, i))
                continue;
            uint32_t code = (uint32_t)codes[i];
            if (!s->memo[d][code]) {
                struct tl_slice text;
                uint32_t number = 0;
                if (tl_dict_get(dict, &code, 1, &text, st) || string_number(m, text, &number, st))
                    return st->code;
                s->memo[d][code] = number + 1;
            }
            codes[i] = s->memo[d][code] - 1;
        }
    }
    return TL_OK;
}

static enum tl_code next_run(struct morsel *m, struct tl_rollup_stream *s, struct tl_status *st)
{
    bool fresh;
    if (tl_rollup_stream_next(s, &fresh, st))
        return st->code;
    return fresh && !s->done ? number_dims(m, s, st) : TL_OK;
}

/* ---- one merchant's quarter of an hour ---- */

static enum tl_code add_stored(struct morsel *m, struct tl_rollup_stream *s, struct tl_status *st)
{
    const struct tl_view *v = m->scan->view;
    const struct tl_rollup_values *values = s->reader.values;
    uint64_t keys[TL_ROLLUP_COLUMNS_MAX];
    for (uint32_t row = s->lo; row < s->hi; row++) {
        uint64_t nulls = 0;
        uint32_t group;
        for (uint32_t d = 0; d < v->dim_count; d++) {
            bool valid = !values[d].valid || tl_bit_get(values[d].valid, row);
            keys[d] = valid ? values[d].values[row] : 0;
            nulls |= (uint64_t)!valid << d;
        }
        if (tl_rollup_cell_group(&m->cell, keys, nulls, &group, st))
            return st->code;
        for (uint32_t agg = 0; agg < v->agg_count; agg++) {
            struct tl_rollup_part part = {.bytes = {NULL, 0}};
            for (uint32_t p = 0; p < 3; p++) {
                uint32_t slot = m->stored_slots.parts[agg][p];
                if (slot == UINT32_MAX ||
                    (values[slot].valid && !tl_bit_get(values[slot].valid, row)))
                    continue;
                part.valid[p] = true;
                part.numbers[p] = (int64_t)values[slot].values[row];
                const struct tl_dict *dict = tl_rollup_reader_dict(&s->reader, slot);
                uint32_t code = (uint32_t)values[slot].values[row];
                if (dict && tl_dict_get(dict, &code, 1, &part.bytes, st))
                    return st->code;
            }
            if (tl_rollup_cell_part(&m->cell, group, agg, s->source, &part, st))
                return st->code;
        }
    }
    return TL_OK;
}

/* Puts the next cell together; heap_count 0: there is none. */
static enum tl_code next_cell(struct morsel *m, struct tl_status *st)
{
    tl_rollup_cell_begin(&m->cell);
    m->emitted = 0;
    m->merchant = m->heap[0]->merchant;
    m->bucket = m->heap[0]->bucket;
    while (m->heap_count > 0 && m->heap[0]->merchant == m->merchant &&
           m->heap[0]->bucket == m->bucket) {
        struct tl_rollup_stream *s = m->heap[0];
        struct tl_rollup_rows rows = {s->lo, s->hi, s->source, s->reader.values, s->reader.vectors};
        if ((s->stored ? add_stored(m, s, st) : tl_rollup_cell_rows(&m->cell, &rows, st)) ||
            next_run(m, s, st))
            return st->code;
        if (s->done)
            m->heap[0] = m->heap[--m->heap_count];
        sift_down(m, 0);
    }
    m->pending = true;
    return tl_rollup_cell_finish(&m->cell, st);
}

/* ---- answers ---- */

static void put_value(const struct tl_rollup_column *c, uint8_t *data, uint32_t row, uint64_t bits)
{
    switch (tl_kind_width((enum tl_kind)c->type.kind)) {
    case 1:
        data[row] = (uint8_t)bits;
        break;
    case 4:
        ((uint32_t *)(void *)data)[row] = (uint32_t)bits;
        break;
    default:
        ((uint64_t *)(void *)data)[row] = bits;
    }
}

static enum tl_code put_aggregate(struct morsel *m, uint32_t group, uint32_t agg, uint8_t *data,
                                  uint32_t row, bool *valid, struct tl_status *st)
{
    const struct tl_rollup_column *c = tl_view_agg(m->scan->view, agg);
    struct tl_rollup_state *s = tl_rollup_cell_state(&m->cell, group, agg);
    bool average = c->kind == TL_ROLLUP_AVG;
    uint64_t count = 0;
    double x = 0;
    *valid = s->count > 0;
    switch ((enum tl_rollup_kind)c->kind) {
    case TL_ROLLUP_SUM:
    case TL_ROLLUP_AVG:
        if (c->from.kind == TL_DOUBLE) {
            ((double *)(void *)data)[row] =
                average && *valid ? s->value.number / (double)s->count : s->value.number;
            return TL_OK;
        }
        tl_i128 *to = (tl_i128 *)(void *)data + row;
        *to = 0;
        if (*valid && !(average ? tl_avg_value(s->sum, (uint64_t)s->count, c->from, to)
                                : tl_sum_value(s->sum, c->from, to))) {
            TL_FAIL(st, TL_INVALID, "numeric value out of range: 38 digits do not suffice");
            return tl_status_sql(st, "22003", 0);
        }
        return TL_OK;
    case TL_ROLLUP_MIN:
    case TL_ROLLUP_MAX:
        put_value(c, data, row, (uint64_t)s->value.integer); /* the bits of either */
        return TL_OK;
    case TL_ROLLUP_COUNT_DISTINCT:
        if (*valid && tl_rollup_cell_distinct(&m->cell, group, agg, &count, st))
            return st->code;
        break;
    case TL_ROLLUP_APPROX_DISTINCT:
        count = tl_hll_estimate(&s->more.hll);
        break;
    case TL_ROLLUP_APPROX_PERCENTILE:
        if (*valid &&
            tl_quantile_get(&s->more.quantile, &m->cell.sketches, &c->fraction, 1, &x, st))
            return st->code;
        ((double *)(void *)data)[row] = x;
        return TL_OK;
    default:
        count = (uint64_t)s->count;
    }
    *valid = true;
    ((uint64_t *)(void *)data)[row] = count;
    return TL_OK;
}

/* Column i of a group as row `row`. */
static enum tl_code put_column(struct morsel *m, uint32_t i, uint32_t group, uint32_t row,
                               struct tl_status *st)
{
    const struct tl_view *v = m->scan->view;
    struct out_column *out = &m->outs[i];
    uint32_t id = m->scan->columns[i].column_id;
    bool valid = true;
    if (id == TL_COLUMN_MERCHANT) {
        ((int64_t *)(void *)out->data)[row] = m->merchant;
    } else if (id == TL_COLUMN_TS) {
        ((int64_t *)(void *)out->data)[row] = m->bucket;
    } else {
        uint32_t place = (id - TL_VIEW_COLUMN_FIRST) / TL_VIEW_PARTS;
        const struct tl_rollup_column *c = &v->def.columns[place];
        uint32_t d = 0;
        uint32_t agg = 0;
        while (d < v->dim_count && v->dims[d] != place)
            d++;
        while (agg < v->agg_count && v->aggs[agg] != place)
            agg++;
        if (d < v->dim_count) {
            uint64_t key = m->cell.keys[(size_t)group * v->dim_count + d];
            valid = !(m->cell.null_dims[group] >> d & 1);
            if (c->type.kind != TL_TEXT)
                put_value(c, out->data, row, key);
            else
                ((struct tl_slice *)(void *)out->data)[row] =
                    valid ? m->strings.list[key] : tl_slice_of(NULL, 0);
        } else if (put_aggregate(m, group, agg, out->data, row, &valid, st)) {
            return st->code;
        }
    }
    if (valid)
        tl_bit_set(out->validity, row);
    out->nulls = out->nulls || !valid;
    return TL_OK;
}

static enum tl_code fill(struct morsel *m, uint32_t *rows, struct tl_status *st)
{
    for (uint32_t n = 0;; n++) {
        *rows = n;
        if (n == ROWS)
            return TL_OK;
        while (!m->pending || m->emitted == m->cell.group_count) {
            m->pending = false;
            if (m->heap_count == 0)
                return TL_OK;
            if (next_cell(m, st))
                return st->code;
        }
        for (uint32_t i = 0; i < m->scan->column_count; i++)
            if (put_column(m, i, m->emitted, n, st))
                return st->code;
        m->emitted++;
    }
}

enum tl_code tl_rollup_scan_next_chunk(struct tl_rollup_scan *scan, struct tl_morsel *morsel,
                                       struct tl_chunk *out, struct tl_status *st)
{
    struct morsel *m = morsel->impl;
    if (!m->streams && open_shard(m, st))
        return st->code;
    for (uint32_t i = 0; i < scan->column_count; i++) {
        memset(m->outs[i].validity, 0, ROWS / 8);
        m->outs[i].nulls = false;
    }
    uint32_t rows = 0;
    if (fill(m, &rows, st))
        return st->code;
    for (uint32_t i = 0; i < scan->column_count; i++)
        m->vectors[i] =
            (struct tl_vector){.type = scan->columns[i].type,
                               .shape = TL_FLAT,
                               .count = rows,
                               .data = m->outs[i].data,
                               .validity = m->outs[i].nulls ? m->outs[i].validity : NULL};
    for (uint32_t i = 0; i < m->stream_count; i++)
        tl_rollup_stream_trim(&m->streams[i]);
    m->stats.rows_scanned += rows;
    *out = (struct tl_chunk){.count = rows, .columns = m->vectors};
    return TL_OK;
}
