/*
 * engine/rollup_build.c: the rollup of a pack, computed from the very bytes that were written.
 *
 * A segment's rows lie by merchant and time, so one pass suffices. First the merchants that are
 * worth it are found: few have rows enough, and of these only ts is read, until it is clear that
 * they have too few rows per bucket. Of those that are kept, the view's columns are read and
 * aggregated bucket by bucket on codes; no string is loaded but for sketches.
 *
 * What comes out is held column by column, since a pack is written so; its size is bounded by
 * TL_ROLLUP_SEGMENT_BYTES_MAX, counted in bytes of parts, never in what is free.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/time.h"
#include "engine/db_int.h"
#include "engine/rollup_rows.h"
#include "engine/rollup_set.h"
#include "engine/rollup_store.h"

enum { MERCHANTS_AT_ONCE = 1024, PARTS_MAX = 2 + 3 * TL_ROLLUP_COLUMNS_MAX };

/* One stored column while it is gathered. */
struct part {
    uint32_t id;
    struct tl_type type;
    uint32_t slot;           /* dimensions: of the reader, for their dictionary */
    bool dimension;          /* TEXT: codes of the segment */
    struct tl_buffer values; /* 8 bytes a row; of bytes: where they begin */
    struct tl_buffer valid;  /* 1 byte a row */
    struct tl_buffer bytes;  /* TEXT that is no dimension */
};

struct build {
    struct tally *db;
    const struct tl_view *view;
    const _Atomic bool *cancel;
    struct tl_pack *base;
    struct tl_pack_id id;
    struct tl_pack_options options;
    struct tl_pack_writer *writer; /* made with the first row */
    uint32_t written;              /* segments */
    struct tl_arena arena;         /* of a segment */
    struct tl_rollup_reader reader;
    struct tl_rollup_reader ts;
    struct tl_rollup_cell cell;
    struct tl_rollup_source source;
    struct part parts[PARTS_MAX];
    uint32_t part_count;
    uint32_t part_of[TL_ROLLUP_COLUMNS_MAX]; /* first part of each column of the view */
    uint32_t rows;
    uint64_t merchants, merchant_rows;
    struct tl_buffer scratch; /* a sketch's or set's bytes */
    int64_t merchant, bucket;
    uint32_t buckets;
};

/* ---- what comes out ---- */

static void init_parts(struct build *b)
{
    const struct tl_view *v = b->view;
    b->part_count = 2;
    b->parts[0] = (struct part){.id = TL_COLUMN_MERCHANT, .type = tl_type_of(TL_BIGINT)};
    b->parts[1] = (struct part){.id = TL_COLUMN_TS, .type = tl_type_of(TL_TIMESTAMPTZ)};
    uint32_t dim = 0;
    for (uint32_t i = 0; i < v->def.column_count; i++) {
        const struct tl_rollup_column *c = &v->def.columns[i];
        b->part_of[i] = b->part_count;
        for (uint32_t p = 0; p < TL_VIEW_PARTS; p++) {
            struct tl_type type;
            if (!tl_view_part(c, p, &type))
                continue;
            tl_assert(b->part_count < PARTS_MAX);
            b->parts[b->part_count++] = (struct part){.id = tl_view_part_id(i, p),
                                                      .type = type,
                                                      .slot = dim,
                                                      .dimension = c->kind == TL_ROLLUP_DIMENSION};
        }
        dim += c->kind == TL_ROLLUP_DIMENSION;
    }
    for (uint32_t i = 0; i < b->part_count; i++) {
        tl_buffer_init(&b->parts[i].values, "a rollup in the making", 1ULL << 31);
        tl_buffer_init(&b->parts[i].valid, "a rollup in the making", 1ULL << 31);
        tl_buffer_init(&b->parts[i].bytes, "a rollup in the making", 1ULL << 31);
    }
}

static void deinit_parts(struct build *b)
{
    for (uint32_t i = 0; i < b->part_count; i++) {
        tl_buffer_deinit(&b->parts[i].values);
        tl_buffer_deinit(&b->parts[i].valid);
        tl_buffer_deinit(&b->parts[i].bytes);
    }
}

static void put_number(struct part *p, bool valid, uint64_t value)
{
    tl_buffer_put(&p->values, &value, 8);
    tl_buffer_put_u8(&p->valid, valid);
}

static void put_bytes(struct part *p, struct tl_slice bytes)
{
    put_number(p, bytes.size > 0, p->bytes.size);
    tl_buffer_put(&p->bytes, bytes.data, bytes.size);
}

/* Where the output stood; to take a merchant back. */
struct mark {
    uint32_t rows;
    size_t bytes[PARTS_MAX];
};

static void take_mark(const struct build *b, struct mark *m)
{
    m->rows = b->rows;
    for (uint32_t i = 0; i < b->part_count; i++)
        m->bytes[i] = b->parts[i].bytes.size;
}

static void go_back(struct build *b, const struct mark *m)
{
    b->rows = m->rows;
    for (uint32_t i = 0; i < b->part_count; i++) {
        b->parts[i].values.size = (size_t)m->rows * 8;
        b->parts[i].valid.size = m->rows;
        b->parts[i].bytes.size = m->bytes[i];
    }
}

static uint64_t out_bytes(const struct build *b)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < b->part_count; i++)
        sum += (uint64_t)b->rows * 9 + b->parts[i].bytes.size;
    return sum;
}

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    return bits;
}

/* The codes [from, …) of a set as bytes; how many are left after them. */
static enum tl_code put_set(struct build *b, struct part *p, const uint64_t *keys, uint32_t count,
                            struct tl_status *st)
{
    uint32_t codes[TL_ROLLUP_SET_CODES_MAX];
    tl_buffer_clear(&b->scratch);
    for (uint32_t i = 0; i < count; i++)
        codes[i] = (uint32_t)keys[i];
    if (count > 0 && tl_rollup_set_encode(codes, count, &b->scratch, st))
        return st->code;
    put_bytes(p, tl_buffer_slice(&b->scratch));
    return TL_OK;
}

/* One aggregate's parts of a group's row `piece`: of the first row all, of later ones only what
 * of a large set is left. */
static enum tl_code put_aggregate(struct build *b, uint32_t group, uint32_t agg, uint32_t piece,
                                  struct tl_status *st)
{
    const struct tl_rollup_column *c = tl_view_agg(b->view, agg);
    struct tl_rollup_state *s = tl_rollup_cell_state(&b->cell, group, agg);
    struct part *p = &b->parts[b->part_of[b->view->aggs[agg]]];
    bool has = piece == 0 && s->count > 0;
    bool real = c->from.kind == TL_DOUBLE;
    const uint64_t *keys;
    uint32_t count;
    switch ((enum tl_rollup_kind)c->kind) {
    case TL_ROLLUP_COUNT_STAR:
    case TL_ROLLUP_COUNT:
        put_number(p, true, has ? (uint64_t)s->count : 0);
        return TL_OK;
    case TL_ROLLUP_SUM:
    case TL_ROLLUP_AVG:
        if (real) {
            put_number(p++, has, has ? bits_of(s->value.number) : 0);
        } else {
            int64_t low = (int64_t)(uint64_t)s->sum;
            tl_i128 rest = has ? (s->sum - low) / ((tl_i128)1 << 64) : 0;
            put_number(p++, has, has ? (uint64_t)low : 0);
            put_number(p++, true, (uint64_t)(int64_t)rest);
        }
        if (c->kind == TL_ROLLUP_AVG)
            put_number(p, true, has ? (uint64_t)s->count : 0);
        return TL_OK;
    case TL_ROLLUP_MIN:
    case TL_ROLLUP_MAX:
        put_number(p, has, !has ? 0 : real ? bits_of(s->value.number) : (uint64_t)s->value.integer);
        return TL_OK;
    case TL_ROLLUP_COUNT_DISTINCT:
        tl_rollup_cell_codes(&b->cell, group, agg, &keys, &count);
        uint32_t from = piece * TL_ROLLUP_SET_CODES_MAX;
        uint32_t left = from < count ? count - from : 0;
        left = left < TL_ROLLUP_SET_CODES_MAX ? left : TL_ROLLUP_SET_CODES_MAX;
        return put_set(b, p, keys + (left ? from : 0), left, st);
    default:
        tl_buffer_clear(&b->scratch);
        if (has &&
            (c->kind == TL_ROLLUP_APPROX_DISTINCT
                 ? tl_hll_encode(&s->more.hll, &b->cell.sketches, &b->scratch, st)
                 : tl_quantile_encode(&s->more.quantile, &b->cell.sketches, &b->scratch, st)))
            return st->code;
        put_bytes(p, tl_buffer_slice(&b->scratch));
        return tl_buffer_check(&b->scratch, st);
    }
}

static enum tl_code put_group(struct build *b, uint32_t group, struct tl_status *st)
{
    const struct tl_view *v = b->view;
    uint32_t pieces = 1;
    for (uint32_t agg = 0; agg < v->agg_count; agg++) {
        const uint64_t *keys;
        uint32_t count;
        if (tl_view_agg(v, agg)->kind != TL_ROLLUP_COUNT_DISTINCT)
            continue;
        tl_rollup_cell_codes(&b->cell, group, agg, &keys, &count);
        uint32_t needed = (count + TL_ROLLUP_SET_CODES_MAX - 1) / TL_ROLLUP_SET_CODES_MAX;
        pieces = needed > pieces ? needed : pieces;
    }
    for (uint32_t piece = 0; piece < pieces; piece++) {
        put_number(&b->parts[0], true, (uint64_t)b->merchant);
        put_number(&b->parts[1], true, (uint64_t)b->bucket);
        for (uint32_t d = 0; d < v->dim_count; d++)
            put_number(&b->parts[b->part_of[v->dims[d]]], !(b->cell.null_dims[group] >> d & 1),
                       b->cell.keys[(size_t)group * v->dim_count + d]);
        for (uint32_t agg = 0; agg < v->agg_count; agg++)
            if (put_aggregate(b, group, agg, piece, st))
                return st->code;
        b->rows++;
    }
    return TL_OK;
}

static enum tl_code put_cell(struct build *b, struct tl_status *st)
{
    if (b->cell.group_count == 0)
        return TL_OK;
    if (tl_rollup_cell_finish(&b->cell, st))
        return st->code;
    for (uint32_t g = 0; g < b->cell.group_count; g++)
        if (put_group(b, g, st))
            return st->code;
    tl_rollup_cell_begin(&b->cell);
    for (uint32_t i = 0; i < b->part_count; i++)
        if (tl_buffer_check(&b->parts[i].values, st) || tl_buffer_check(&b->parts[i].valid, st) ||
            tl_buffer_check(&b->parts[i].bytes, st))
            return st->code;
    return TL_OK;
}

/* ---- which merchants ---- */

static int64_t bucket_of(int64_t ts)
{
    return tl_floor_div(ts, TL_ROLLUP_BUCKET_US) * TL_ROLLUP_BUCKET_US;
}

/* Has the merchant with the rows [lo, hi) rows enough per bucket? */
static enum tl_code is_worth(struct build *b, uint32_t lo, uint32_t hi, bool *worth,
                             struct tl_status *st)
{
    uint64_t rows = hi - lo;
    uint64_t buckets = 0;
    int64_t begin = 0;
    int64_t end = 0;
    uint32_t step = 128; /* most are found out early */
    *worth = false;
    for (uint32_t at = lo; at < hi;) {
        uint32_t n = hi - at < step ? hi - at : step;
        if (tl_rollup_reader_read(&b->ts, at, at + n, st))
            return st->code;
        const int64_t *ts = (const int64_t *)b->ts.values[0].values;
        for (uint32_t i = 0; i < n; i++) {
            if (buckets > 0 && ts[i] >= begin && ts[i] < end)
                continue;
            begin = bucket_of(ts[i]);
            end = begin + TL_ROLLUP_BUCKET_US;
            if (++buckets * TL_ROLLUP_ROWS_MIN > rows)
                return TL_OK;
        }
        at += n;
        step = step * 2 < TL_VECTOR_ROWS_MAX ? step * 2 : TL_VECTOR_ROWS_MAX;
    }
    *worth = true;
    return TL_OK;
}

static enum tl_code add_window(struct build *b, struct tl_status *st)
{
    const int64_t *ts = (const int64_t *)b->reader.values[b->view->slot_count].values;
    uint32_t n = b->reader.hi - b->reader.lo;
    for (uint32_t lo = 0, hi; lo < n; lo = hi) {
        int64_t bucket = bucket_of(ts[lo]);
        for (hi = lo + 1; hi < n && ts[hi] < bucket + TL_ROLLUP_BUCKET_US; hi++)
            ;
        if (bucket != b->bucket) {
            if (put_cell(b, st))
                return st->code;
            b->bucket = bucket;
            b->buckets++;
        }
        struct tl_rollup_rows rows = {lo, hi, 0, b->reader.values, b->reader.vectors};
        if (tl_rollup_cell_rows(&b->cell, &rows, st))
            return st->code;
    }
    return TL_OK;
}

/* Aggregates the rows [lo, hi) of a merchant; *full: its parts do not fit any more. */
static enum tl_code add_merchant(struct build *b, int64_t merchant, uint32_t lo, uint32_t hi,
                                 bool *full, struct tl_status *st)
{
    struct mark mark;
    take_mark(b, &mark);
    b->merchant = merchant;
    b->bucket = INT64_MIN;
    tl_rollup_cell_begin(&b->cell);
    for (uint32_t at = lo; at < hi;) {
        uint32_t n = hi - at < TL_VECTOR_ROWS_MAX ? hi - at : TL_VECTOR_ROWS_MAX;
        if (tl_rollup_reader_read(&b->reader, at, at + n, st) || add_window(b, st))
            return st->code;
        at += n;
        *full = out_bytes(b) > TL_ROLLUP_SEGMENT_BYTES_MAX;
        if (*full || 2 * (uint64_t)(b->rows - mark.rows) > hi - lo) {
            go_back(b, &mark);
            return TL_OK;
        }
    }
    if (put_cell(b, st))
        return st->code;
    *full = out_bytes(b) > TL_ROLLUP_SEGMENT_BYTES_MAX;
    if (*full || 2 * (uint64_t)(b->rows - mark.rows) > hi - lo) {
        go_back(b, &mark);
        return TL_OK;
    }
    b->merchants++;
    b->merchant_rows += hi - lo;
    return TL_OK;
}

static enum tl_code add_merchants(struct build *b, struct tl_segment *segment, struct tl_status *st)
{
    int64_t merchants[MERCHANTS_AT_ONCE];
    uint32_t first[MERCHANTS_AT_ONCE + 1];
    uint32_t count = tl_segment_info(segment)->merchants;
    bool full = false;
    for (uint32_t at = 0; at < count && !full; at += MERCHANTS_AT_ONCE) {
        uint32_t n = count - at < MERCHANTS_AT_ONCE ? count - at : MERCHANTS_AT_ONCE;
        if (b->cancel && atomic_load_explicit(b->cancel, memory_order_relaxed))
            return TL_FAIL(st, TL_CANCELLED, "a rollup was cancelled");
        if (tl_segment_merchants(segment, at, n, merchants, first, st))
            return st->code;
        for (uint32_t i = 0; i < n && !full; i++) {
            bool worth = false;
            if (first[i + 1] - first[i] < TL_ROLLUP_ROWS_MIN)
                continue;
            if (is_worth(b, first[i], first[i + 1], &worth, st) ||
                (worth && add_merchant(b, merchants[i], first[i], first[i + 1], &full, st)))
                return st->code;
        }
    }
    return TL_OK;
}

/* ---- writing ---- */

static enum tl_code write_part(struct build *b, struct part *p, struct tl_status *st)
{
    const uint64_t *values = (const uint64_t *)(const void *)p->values.data;
    const uint8_t *valid = p->valid.data;
    struct tl_slice *slices = tl_arena_alloc(&b->arena, TL_VECTOR_ROWS_MAX * sizeof(*slices), st);
    uint64_t *numbers = tl_arena_alloc(&b->arena, TL_VECTOR_ROWS_MAX * sizeof(*numbers), st);
    if (!slices || !numbers || tl_pack_column_begin(b->writer, p->id, p->type, st))
        return st->code;
    uint32_t width = tl_kind_width((enum tl_kind)p->type.kind);
    for (uint32_t lo = 0; lo < b->rows; lo += TL_VECTOR_ROWS_MAX) {
        uint32_t n = b->rows - lo < TL_VECTOR_ROWS_MAX ? b->rows - lo : TL_VECTOR_ROWS_MAX;
        uint64_t validity[TL_VECTOR_ROWS_MAX / 64] = {0};
        struct tl_vector v = {
            .type = p->type, .shape = TL_FLAT, .count = n, .data = numbers, .validity = validity};
        for (uint32_t i = 0; i < n; i++) {
            uint64_t x = values[lo + i];
            validity[i / 64] |= (uint64_t)valid[lo + i] << (i % 64);
            if (p->type.kind == TL_TEXT && !p->dimension) {
                uint64_t end = lo + i + 1 < b->rows ? values[lo + i + 1] : p->bytes.size;
                slices[i] = tl_slice_of(p->bytes.data + x, end - x);
            } else if (width == 4 || p->type.kind == TL_TEXT) {
                ((uint32_t *)(void *)numbers)[i] = (uint32_t)x;
            } else if (width == 1) {
                ((uint8_t *)(void *)numbers)[i] = (uint8_t)x;
            } else {
                numbers[i] = x;
            }
        }
        if (p->type.kind == TL_TEXT && p->dimension) {
            v.dict = tl_rollup_reader_dict(&b->reader, p->slot);
            v.codes = (const uint32_t *)(const void *)numbers;
            v.shape = v.dict ? TL_DICT : TL_CONST; /* no dictionary: all are NULL */
            v.data = v.dict ? NULL : slices;
        } else if (p->type.kind == TL_TEXT) {
            v.data = slices;
        }
        if (tl_pack_column_append(b->writer, &v, st))
            return st->code;
    }
    return tl_pack_column_end(b->writer, st);
}

static enum tl_code write_segment(struct build *b, uint32_t base_index, struct tl_status *st)
{
    if (!b->writer && tl_pack_create(b->db->io, &b->id, &b->options, &b->writer, st))
        return st->code;
    struct tl_segment_meta meta = tl_pack_segment_info(b->base, base_index)->meta;
    meta.table = b->view->info.id;
    meta.schema_version = 1;
    meta.provenance[0] = base_index;
    meta.provenance[1] = b->merchant_rows;
    meta.provenance[2] = b->buckets;
    meta.provenance[3] = 0;
    if (tl_pack_segment_begin(b->writer, &meta, b->rows, st))
        return st->code;
    for (uint32_t i = 0; i < b->part_count; i++)
        if (write_part(b, &b->parts[i], st))
            return st->code;
    if (tl_pack_segment_end(b->writer, st))
        return st->code;
    b->written++;
    return TL_OK;
}

static enum tl_code build_segment(struct build *b, uint32_t base_index, struct tl_status *st)
{
    const struct tl_view *v = b->view;
    struct tl_segment *segment;
    struct tl_budget *none = NULL;
    static const struct tl_view_slot ts_slot = {TL_COLUMN_TS, {TL_TIMESTAMPTZ, 0}};
    if (tl_pack_segment(b->base, base_index, &segment, st))
        return st->code;
    b->rows = 0;
    b->merchants = b->merchant_rows = b->buckets = 0;
    for (uint32_t i = 0; i < b->part_count; i++) {
        tl_buffer_clear(&b->parts[i].values);
        tl_buffer_clear(&b->parts[i].valid);
        tl_buffer_clear(&b->parts[i].bytes);
    }
    struct tl_view_slot *slots =
        tl_arena_alloc(&b->arena, (v->slot_count + 1u) * sizeof(*slots), st);
    if (!slots || tl_rollup_cell_init(&b->cell, v, none, st))
        goto done;
    memcpy(slots, v->slots, v->slot_count * sizeof(*slots));
    slots[v->slot_count] = ts_slot;
    b->cell.sources = &b->source;
    if (tl_rollup_reader_init(&b->ts, &ts_slot, 1, &b->arena, st) ||
        tl_rollup_reader_init(&b->reader, slots, v->slot_count + 1, &b->arena, st) ||
        tl_rollup_reader_open(&b->ts, segment, &b->arena, NULL, st) ||
        tl_rollup_reader_open(&b->reader, segment, &b->arena, NULL, st) ||
        tl_rollup_source_of(&b->source, v, &b->reader, &b->arena, st) ||
        add_merchants(b, segment, st))
        goto done;
    if (b->rows > 0)
        TL_IGNORE(write_segment(b, base_index, st));
done:
    tl_rollup_reader_close(&b->ts);
    tl_rollup_reader_close(&b->reader);
    tl_rollup_cell_deinit(&b->cell);
    tl_arena_reset(&b->arena);
    return st->code;
}

static bool has_table(const struct tl_pack *p, uint32_t table)
{
    for (uint32_t i = 0; i < tl_pack_segment_count(p); i++)
        if (tl_pack_segment_info(p, i)->meta.table == table)
            return true;
    return false;
}

static enum tl_code finish_pack(struct build *b, struct tl_rollup_made *made, struct tl_status *st)
{
    struct tl_pack_info info = {.segment_count = 0};
    if (!b->writer)
        return TL_OK;
    if (tl_pack_finish(b->writer, &info, st))
        return st->code;
    b->writer = NULL;
    if (!tl_io_sync_dir(b->db->io, TL_PACK_DIR, st))
        TL_IGNORE(tl_live_pack_open(b->db->io, b->db->cache, &b->id, info.hash, &made->pack, st));
    tl_pack_info_deinit(&info);
    return st->code;
}

static enum tl_code make_one(struct tally *db, const struct tl_view *view,
                             const struct tl_live_pack *base, const _Atomic bool *cancel,
                             struct tl_rollup_made *made, struct tl_status *st)
{
    bool sealed = base->id.kind == TL_PACK_SEAL;
    struct build *b = calloc(1, sizeof(*b));
    if (!b)
        return TL_FAIL(st, TL_LIMIT, "no memory for a rollup");
    b->db = db;
    b->view = view;
    b->cancel = cancel;
    b->id = base->id;
    b->id.kind = sealed ? TL_PACK_SEAL_ROLLUP : TL_PACK_MERGE_ROLLUP;
    b->id.table = view->info.id;
    tl_arena_init(&b->arena, NULL, 1 << 20);
    tl_buffer_init(&b->scratch, "a rollup's sketch", 1 << 20);
    init_parts(b);
    /* Read past the cache: what was just written is worth nothing there. */
    if (tl_pack_open(db->io, &base->id, NULL, &b->base, st))
        goto done;
    made->segment_count = tl_pack_segment_count(b->base);
    bool passing = tl_pack_segment_info(b->base, 0)->meta.level < 2; /* it is merged again */
    b->options = passing ? TL_PACK_OPTIONS_HOT : TL_PACK_OPTIONS_COLD;
    made->index = malloc(((size_t)made->segment_count + 1) * sizeof(*made->index));
    if (!made->index) {
        TL_FAIL(st, TL_LIMIT, "no memory for a rollup");
        goto done;
    }
    for (uint32_t i = 0; i < made->segment_count; i++) {
        uint32_t before = b->written;
        if (tl_pack_segment_info(b->base, i)->meta.table == view->def.table_id &&
            build_segment(b, i, st))
            goto done;
        made->index[i] = b->written > before ? before : UINT32_MAX;
    }
    TL_IGNORE(finish_pack(b, made, st));
done:
    tl_pack_abort(b->writer);
    tl_pack_unref(b->base);
    deinit_parts(b);
    tl_buffer_deinit(&b->scratch);
    tl_arena_deinit(&b->arena);
    free(b);
    return st->code;
}

enum tl_code tl_rollups_make(struct tally *db, const struct tl_schema *schema,
                             const struct tl_live_pack *base, uint32_t only,
                             const _Atomic bool *cancel, struct tl_rollups_made *out,
                             struct tl_status *st)
{
    uint64_t begun = tl_clock_mono_ns(db->clock);
    *out = (struct tl_rollups_made){.list = NULL};
    if (schema->view_count == 0)
        return TL_OK;
    out->list = calloc(schema->view_count, sizeof(*out->list));
    if (!out->list)
        return TL_FAIL(st, TL_LIMIT, "no memory for rollups");
    for (uint32_t i = 0; i < schema->view_count; i++) {
        const struct tl_view *v = schema->views[i];
        if ((only && v->info.id != only) || !has_table(base->pack, v->def.table_id))
            continue;
        struct tl_rollup_made *made = &out->list[out->count++];
        made->view = v->info.id;
        made->table = v->def.table_id;
        if (make_one(db, v, base, cancel, made, st)) {
            tl_status_wrap(st, "rollup %s", v->info.name);
            return st->code;
        }
        if (made->pack)
            atomic_fetch_add_explicit(&db->counters.rollup_bytes, made->pack->size,
                                      memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&db->counters.rollup_us, (tl_clock_mono_ns(db->clock) - begun) / 1000,
                              memory_order_relaxed);
    return TL_OK;
}
