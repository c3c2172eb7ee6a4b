/*
 * engine/flush.c: a sealed set of memtables becomes one pack, with one segment per table and
 * shard, whatever hours the rows span.
 *
 * A memtable holds its rows by shard. A shard's rows are put in order by a counting sort over its
 * merchants, so that only each merchant's few rows are sorted by time. A column of the shard is
 * then made one array (a copy in order), picked in the order of the segment while that array lies
 * in the near cache, and handed to the pack writer whole. Codes are mapped in the same pass: the
 * first row that brings a string gives it the next code. No string is hashed or compared, since
 * a memtable holds each once.
 *
 * What one row costs, for the 27 columns of generated events: per value a sequential copy of 1 to
 * 8 bytes, a load through the order, one through the map of codes, a store of 4 or 8; then the
 * encoder's passes over 8,192 values at a time.
 *
 * Order of what becomes durable: the pack's bytes, the directory, the manifest's transaction; then
 * the version changes, the log may be trimmed, and the memtables go with their last reader.
 *
 * Memory: 37 bytes per row of the largest shard, 24 per merchant of it, 4 per string of the largest
 * dictionary, 20 per string of the column that is written, and what the pack writer needs.
 */
#include <stdlib.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/flush_props.h"
#include "engine/rollup_store.h"

/* ---- the order of a shard's rows ---- */

/* Arrays for the shard that is being written; all of them grow to what the largest one needs. */
struct work {
    uint32_t row_capacity, merchant_capacity, map_capacity, string_capacity;
    uint32_t *order;    /* places by (merchant, ts, arrival) */
    int64_t *ts;        /* in that order */
    uint32_t *ordinals; /* in arrival order; then scratch of the sort */
    void *flat;         /* 8 bytes a row: a column in arrival order; first, ts */
    uint8_t *flat_valid;
    void *values; /* 8 bytes a row: in the segment's order */
    uint64_t *validity;
    struct merchant *merchants;
    uint32_t *next; /* by ordinal: where its next row goes */
    uint32_t *map;  /* of codes + 1 to codes + 1; 0: not met. Entry 0, for NULL, is CODE_NULL */
    uint32_t *met;  /* codes by first appearance */
    struct tl_slice *strings;
    struct tl_buffer bytes; /* of them */
};

#define CODE_NULL UINT32_MAX

struct merchant {
    int64_t id;
    uint32_t ordinal;
};

static enum tl_code no_memory(struct tl_status *st)
{
    return TL_FAIL(st, TL_LIMIT, "no memory to flush");
}

static void work_free(struct work *w)
{
    free(w->order);
    free(w->ts);
    free(w->ordinals);
    free(w->flat);
    free(w->flat_valid);
    free(w->values);
    free(w->validity);
    free(w->merchants);
    free(w->next);
    free(w->map);
    free(w->met);
    free(w->strings);
    tl_buffer_deinit(&w->bytes);
    *w = (struct work){.row_capacity = 0};
}

static enum tl_code reserve_rows(struct work *w, uint32_t rows, uint32_t merchants,
                                 struct tl_status *st)
{
    if (rows > w->row_capacity) {
        free(w->order);
        free(w->ts);
        free(w->ordinals);
        free(w->flat);
        free(w->flat_valid);
        free(w->values);
        free(w->validity);
        size_t n = rows;
        w->order = malloc(n * sizeof(*w->order));
        w->ts = malloc(n * sizeof(*w->ts));
        w->ordinals = malloc(n * sizeof(*w->ordinals));
        w->flat = malloc(n * 8);
        w->flat_valid = malloc(n);
        w->values = malloc(n * 8);
        w->validity = malloc(tl_bit_words(rows) * sizeof(*w->validity));
        w->row_capacity = rows;
        if (!w->order || !w->ts || !w->ordinals || !w->flat || !w->flat_valid || !w->values ||
            !w->validity)
            return no_memory(st);
    }
    if (merchants > w->merchant_capacity) {
        free(w->merchants);
        free(w->next);
        w->merchants = malloc(merchants * sizeof(*w->merchants));
        w->next = malloc(merchants * sizeof(*w->next));
        w->merchant_capacity = merchants;
        if (!w->merchants || !w->next)
            return no_memory(st);
    }
    return TL_OK;
}

static enum tl_code reserve_map(struct work *w, uint32_t strings, struct tl_status *st)
{
    if (strings < w->map_capacity)
        return TL_OK;
    free(w->map);
    w->map_capacity = strings + strings / 2 + 64;
    w->map = calloc(w->map_capacity, sizeof(*w->map));
    if (!w->map)
        return no_memory(st);
    w->map[0] = CODE_NULL;
    return TL_OK;
}

static enum tl_code reserve_strings(struct work *w, uint32_t strings, struct tl_status *st)
{
    if (strings <= w->string_capacity)
        return TL_OK;
    free(w->met);
    free(w->strings);
    w->string_capacity = strings + strings / 2;
    w->met = malloc(((size_t)w->string_capacity + 1) * sizeof(*w->met));
    w->strings = malloc((size_t)w->string_capacity * sizeof(*w->strings));
    return w->met && w->strings ? TL_OK : no_memory(st);
}

static int merchant_order(const void *a, const void *b)
{
    int64_t x = ((const struct merchant *)a)->id;
    int64_t y = ((const struct merchant *)b)->id;
    return x < y ? -1 : x > y;
}

/* Stable by ts. Rows come in arrival order, which is nearly the order of their times. */
static void sort_by_ts(uint32_t *rows, int64_t *ts, uint32_t n, uint32_t *other_rows,
                       int64_t *other_ts)
{
    bool sorted = true;
    for (uint32_t i = 1; i < n; i++)
        sorted = sorted && ts[i - 1] <= ts[i];
    if (sorted)
        return;
    /* Insertion sort of short runs, then bottom-up merges. */
    enum { RUN = 16 };
    for (uint32_t lo = 0; lo < n; lo += RUN) {
        uint32_t hi = lo + RUN < n ? lo + RUN : n;
        for (uint32_t i = lo + 1; i < hi; i++) {
            int64_t t = ts[i];
            uint32_t row = rows[i];
            uint32_t k = i;
            for (; k > lo && ts[k - 1] > t; k--) {
                ts[k] = ts[k - 1];
                rows[k] = rows[k - 1];
            }
            ts[k] = t;
            rows[k] = row;
        }
    }
    uint32_t *from_rows = rows;
    int64_t *from_ts = ts;
    for (uint64_t width = RUN; width < n; width *= 2) {
        for (uint64_t lo = 0; lo < n; lo += 2 * width) {
            uint32_t a = (uint32_t)lo;
            uint32_t mid = (uint32_t)(lo + width < n ? lo + width : n);
            uint32_t b = mid;
            uint32_t hi = (uint32_t)(lo + 2 * width < n ? lo + 2 * width : n);
            for (uint32_t i = a; i < hi; i++) {
                bool left = b >= hi || (a < mid && from_ts[a] <= from_ts[b]);
                uint32_t k = left ? a++ : b++;
                other_ts[i] = from_ts[k];
                other_rows[i] = from_rows[k];
            }
        }
        uint32_t *swap_rows = from_rows;
        int64_t *swap_ts = from_ts;
        from_rows = other_rows;
        from_ts = other_ts;
        other_rows = swap_rows;
        other_ts = swap_ts;
    }
    if (from_rows != rows) {
        memcpy(rows, from_rows, (size_t)n * sizeof(*rows));
        memcpy(ts, from_ts, (size_t)n * sizeof(*ts));
    }
}

/* Fills order and ts, and values with the merchants in that order. */
static enum tl_code make_order(struct work *w, const struct tl_memtable *m, uint32_t shard,
                               struct tl_status *st)
{
    const int64_t *ids;
    uint32_t rows = tl_memtable_shard_rows(m, shard);
    uint32_t merchants = tl_memtable_merchants(m, shard, &ids);
    if (reserve_rows(w, rows, merchants, st))
        return st->code;
    for (uint32_t i = 0; i < merchants; i++)
        w->merchants[i] = (struct merchant){ids[i], i};
    qsort(w->merchants, merchants, sizeof(*w->merchants), merchant_order);
    struct tl_memtable_flat flat;
    tl_memtable_ordinals(m, shard, w->ordinals);
    tl_memtable_flatten(m, TL_COLUMN_TS, shard, w->flat, w->flat_valid, &flat);
    const int64_t *ts = flat.values;
    memset(w->next, 0, merchants * sizeof(*w->next));
    for (uint32_t r = 0; r < rows; r++)
        w->next[w->ordinals[r]]++;
    uint32_t n = 0;
    for (uint32_t i = 0; i < merchants; i++) {
        uint32_t count = w->next[w->merchants[i].ordinal];
        w->next[w->merchants[i].ordinal] = n;
        n += count;
    }
    tl_assert(n == rows);
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t to = w->next[w->ordinals[r]]++;
        w->order[to] = r;
        w->ts[to] = ts[r];
    }
    int64_t *keys = w->values;
    uint32_t lo = 0;
    for (uint32_t i = 0; i < merchants; i++) {
        uint32_t hi = w->next[w->merchants[i].ordinal];
        sort_by_ts(w->order + lo, w->ts + lo, hi - lo, w->ordinals, w->flat);
        for (uint32_t k = lo; k < hi; k++)
            keys[k] = w->merchants[i].id;
        lo = hi;
    }
    return TL_OK;
}

/* ---- columns ---- */

/* Gives codes by first appearance; how many. What is NULL becomes CODE_NULL. */
enum { MAP_AHEAD = 24 }; /* rows whose place in the map is asked for ahead */

#define MAP_CODES(type)                                                                            \
    do {                                                                                           \
        const type *from = flat->values;                                                           \
        for (uint32_t i = 0; i < rows; i++) {                                                      \
            uint32_t code = from[order[i]];                                                        \
            uint32_t to = map[code];                                                               \
            if (!to) {                                                                             \
                met[count] = code - 1;                                                             \
                map[code] = to = ++count;                                                          \
            }                                                                                      \
            out[i] = to - 1;                                                                       \
        }                                                                                          \
    } while (0)

/* The same where strings are many: the map lies outside the near cache, and whether a code is new
 * is a toss, so that all is written in either case. */
static uint32_t map_many(const struct work *w, const uint32_t *from, uint32_t rows)
{
    const uint32_t *order = w->order;
    uint32_t *map = w->map;
    uint32_t *met = w->met;
    uint32_t *out = w->values;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (i + MAP_AHEAD < rows)
            __builtin_prefetch(&map[from[order[i + MAP_AHEAD]]], 1);
        uint32_t code = from[order[i]];
        uint32_t to = map[code];
        met[count] = code - 1;
        count += to == 0;
        to = to ? to : count;
        map[code] = to;
        out[i] = to - 1;
    }
    return count;
}

static uint32_t map_codes(const struct work *w, const struct tl_memtable_flat *flat, uint32_t rows)
{
    const uint32_t *restrict order = w->order;
    uint32_t *restrict map = w->map;
    uint32_t *restrict met = w->met;
    uint32_t *restrict out = w->values;
    uint32_t count = 0;
    if (flat->width == 1)
        MAP_CODES(uint8_t);
    else if (flat->width == 2)
        MAP_CODES(uint16_t);
    else
        count = map_many(w, flat->values, rows);
    return count;
}

/* The bits of rows whose code is not NULL; NULL ones get code 0. How many are NULL. */
static uint32_t find_nulls(uint32_t *codes, uint32_t rows, uint64_t *validity)
{
    uint32_t nulls = 0;
    uint32_t lo = 0;
#if defined(__SSE2__)
    const __m128i none = _mm_set1_epi32((int32_t)(CODE_NULL - 1));
    for (; lo + 64 <= rows; lo += 64) {
        uint64_t word = 0;
        for (uint32_t i = 0; i < 64; i += 16) {
            __m128i *at = (__m128i *)(void *)(codes + lo + i);
            __m128i is_null[4];
            for (int k = 0; k < 4; k++) {
                __m128i v = _mm_loadu_si128(at + k);
                is_null[k] = _mm_cmpeq_epi32(v, none);
                _mm_storeu_si128(at + k, _mm_andnot_si128(is_null[k], v));
            }
            __m128i bytes = _mm_packs_epi16(_mm_packs_epi32(is_null[0], is_null[1]),
                                            _mm_packs_epi32(is_null[2], is_null[3]));
            word |= (uint64_t)(uint16_t)_mm_movemask_epi8(bytes) << i;
        }
        validity[lo / 64] = ~word;
        nulls += (uint32_t)__builtin_popcountll(word);
    }
#endif
    for (; lo < rows; lo += 64) {
        uint32_t n = rows - lo < 64 ? rows - lo : 64;
        uint64_t word = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t code = codes[lo + i];
            bool null = code == CODE_NULL - 1;
            word |= (uint64_t)!null << i;
            codes[lo + i] = null ? 0 : code;
        }
        validity[lo / 64] = word;
        nulls += n - (uint32_t)__builtin_popcountll(word);
    }
    return nulls;
}

/* A TEXT column as the segment has it; it lies in w until the next column. The bytes of strings are
 * copied into `bytes`, or are the memtable's own when that is NULL. */
static enum tl_code pick_text(struct work *w, const struct tl_memtable *m, uint32_t column_id,
                              const struct tl_memtable_flat *flat, uint32_t rows,
                              struct tl_buffer *bytes, struct tl_pack_column *out,
                              struct tl_status *st)
{
    uint32_t strings = tl_memtable_strings(m, column_id);
    if (reserve_map(w, strings + 1, st) || reserve_strings(w, strings < rows ? strings : rows, st))
        return st->code;
    uint32_t count = map_codes(w, flat, rows);
    uint32_t nulls = flat->nulls ? find_nulls(w->values, rows, w->validity) : 0;
    if (tl_memtable_copy_strings(m, column_id, w->met, count, w->strings, bytes, st))
        return st->code;
    for (uint32_t i = 0; i < count; i++)
        w->map[w->met[i] + 1] = 0;
    *out = (struct tl_pack_column){.values = w->values,
                                   .validity = nulls ? w->validity : NULL,
                                   .strings = w->strings,
                                   .string_count = count};
    return TL_OK;
}

static enum tl_code write_text(struct tl_pack_writer *pack, struct work *w,
                               const struct tl_memtable *m, const struct tl_column_info *c,
                               const struct tl_memtable_flat *flat, uint32_t rows,
                               struct tl_status *st)
{
    struct tl_pack_column column;
    if (pick_text(w, m, c->id, flat, rows, &w->bytes, &column, st))
        return st->code;
    return tl_pack_column_write(pack, c->id, c->type, &column, st);
}

/* The two columns of maps; their hot keys come after the schema's columns. */
static enum tl_code write_map(struct tl_pack_writer *pack, struct work *w,
                              const struct tl_memtable *m, const struct tl_column_info *c,
                              uint32_t shard, uint32_t rows, struct tl_flush_map **maps,
                              struct tl_status *st)
{
    struct tl_memtable_flat flat;
    struct tl_pack_column column = {.values = NULL};
    struct tl_flush_map *map;
    tl_memtable_flatten(m, c->id, shard, w->flat, w->flat_valid, &flat);
    if (tl_flush_map_new(c->id, rows, maps, &map, st) ||
        (flat.width > 0 && pick_text(w, m, c->id, &flat, rows, NULL, &column, st)) ||
        tl_pack_column_write(pack, c->id, c->type, &column, st) ||
        tl_flush_map_shapes(map, &column, st))
        return st->code;
    column = (struct tl_pack_column){.values = NULL};
    tl_memtable_flatten(m, c->id + 1, shard, w->flat, w->flat_valid, &flat);
    if (flat.width == 0)
        return tl_pack_column_write(pack, c->id + 1, c->type, &column, st);
    if (pick_text(w, m, c->id + 1, &flat, rows, NULL, &column, st))
        return st->code;
    return tl_flush_map_values(map, &column, pack, st);
}

#define PICK(to_type, from_type)                                                                   \
    do {                                                                                           \
        const from_type *from = flat->values;                                                      \
        to_type *out = w->values;                                                                  \
        for (uint32_t i = 0; i < rows; i++)                                                        \
            out[i] = (to_type)from[w->order[i]];                                                   \
    } while (0)

static enum tl_code write_numbers(struct tl_pack_writer *pack, struct work *w,
                                  const struct tl_column_info *c,
                                  const struct tl_memtable_flat *flat, uint32_t rows,
                                  struct tl_status *st)
{
    if (flat->width == 1)
        PICK(uint8_t, uint8_t);
    else if (flat->width == 4 && c->type.kind == TL_DATE)
        PICK(int32_t, int32_t);
    else if (flat->width == 4)
        PICK(int64_t, int32_t);
    else
        PICK(int64_t, int64_t);
    struct tl_pack_column column = {.values = w->values};
    for (uint32_t lo = 0; flat->valid && lo < rows; lo += 64) {
        uint64_t word = 0;
        for (uint32_t i = lo; i < rows && i < lo + 64; i++)
            word |= (uint64_t)flat->valid[w->order[i]] << (i - lo);
        w->validity[lo / 64] = word;
        column.validity = w->validity;
    }
    return tl_pack_column_write(pack, c->id, c->type, &column, st);
}

static enum tl_code write_column(struct tl_pack_writer *pack, struct work *w,
                                 const struct tl_memtable *m, const struct tl_column_info *c,
                                 uint32_t shard, uint32_t rows, struct tl_status *st)
{
    struct tl_memtable_flat flat;
    if (c->id == TL_COLUMN_MERCHANT)
        return tl_pack_column_write(pack, c->id, c->type,
                                    &(struct tl_pack_column){.values = w->values}, st);
    if (c->id == TL_COLUMN_TS)
        return tl_pack_column_write(pack, c->id, c->type, &(struct tl_pack_column){.values = w->ts},
                                    st);
    tl_memtable_flatten(m, c->id, shard, w->flat, w->flat_valid, &flat);
    if (flat.width == 0) /* NULL alone */
        return tl_pack_column_write(pack, c->id, c->type, &(struct tl_pack_column){.values = NULL},
                                    st);
    return c->type.kind == TL_TEXT ? write_text(pack, w, m, c, &flat, rows, st)
                                   : write_numbers(pack, w, c, &flat, rows, st);
}

static bool is_map(const struct tl_table *t, uint32_t column_id)
{
    for (uint32_t i = 0; i < t->info.column_count; i++)
        if (t->info.columns[i].id == column_id)
            return t->info.columns[i].type.kind == TL_PROPS;
    return false;
}

/* A segment's columns: those of the schema, then the hot keys of its maps. */
static enum tl_code write_columns(struct tl_pack_writer *pack, struct work *w,
                                  const struct tl_memtable *m, const struct tl_table *table,
                                  uint32_t shard, uint32_t rows, struct tl_status *st)
{
    struct tl_flush_map *maps = NULL;
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; i < table->storage_count && !rc; i++) {
        const struct tl_column_info *c = &table->storage[i];
        if (!tl_memtable_has(m, c->id))
            continue;
        if (is_map(table, c->id)) {
            rc = write_map(pack, w, m, c, shard, rows, &maps, st);
            i++; /* the values, too */
        } else {
            rc = write_column(pack, w, m, c, shard, rows, st);
        }
    }
    if (!rc)
        rc = tl_flush_map_keys(maps, pack, st);
    tl_flush_maps_free(maps);
    return rc;
}

static enum tl_code write_memtable(struct tally *db, struct tl_pack_writer *pack,
                                   const struct tl_memtable *m, const struct tl_table *table,
                                   const struct tl_seal *seal, struct tl_status *st)
{
    struct work w = {.row_capacity = 0};
    tl_buffer_init(&w.bytes, "strings of a flush", UINT32_MAX);
    for (uint32_t s = 0; s < db->shard_count; s++) {
        uint32_t rows = tl_memtable_shard_rows(m, s);
        if (rows == 0)
            continue;
        struct tl_segment_meta meta = {.table = table->info.id,
                                       .shard = s,
                                       .schema_version = table->schema_version,
                                       .level = 0,
                                       .start_us = INT64_MIN,
                                       .end_us = INT64_MAX,
                                       .provenance = {seal->number, seal->number,
                                                      (uint64_t)seal->log_time_us,
                                                      table->partition_rows}};
        if (make_order(&w, m, s, st) || tl_pack_segment_begin(pack, &meta, rows, st))
            goto done;
        if (write_columns(pack, &w, m, table, s, rows, st) || tl_pack_segment_end(pack, st))
            goto done;
    }
done:
    work_free(&w);
    return st->code;
}

static enum tl_code write_pack(struct tally *db, const struct tl_pack_id *id,
                               const struct tl_seal *seal, struct tl_pack_info *info,
                               struct tl_status *st)
{
    struct tl_pack_options options = TL_PACK_OPTIONS_HOT;
    options.omit_empty = true;
    struct tl_pack_writer *w = NULL;
    if (tl_pack_create(db->io, id, &options, &w, st))
        return st->code;
    for (uint32_t i = 0; i < seal->count; i++) {
        const struct tl_memtable *m = seal->memtables[i];
        if (tl_memtable_rows(m) > 0 && write_memtable(db, w, m, tl_memtable_table(m), seal, st))
            goto fail;
    }
    if (tl_pack_finish(w, info, st))
        goto fail;
    return tl_io_sync_dir(db->io, TL_PACK_DIR, st);
fail:
    tl_pack_abort(w);
    return st->code;
}

/* The segments of the pack, with a reference each, and their rollups. */
static enum tl_code new_segments(struct tally *db, struct tl_live_pack *pack, uint32_t count,
                                 const struct tl_rollups_made *rollups,
                                 struct tl_live_segment ***out, struct tl_status *st)
{
    struct tl_live_segment **list = calloc((size_t)count + 1, sizeof(struct tl_live_segment *));
    if (!list)
        return TL_FAIL(st, TL_LIMIT, "no memory for the segments of a flush");
    *out = list;
    const struct tl_schema *schema = tl_db_schema(db);
    for (uint32_t i = 0; i < count; i++)
        if (tl_live_segment_new(pack, i, &list[i], st) ||
            tl_rollups_attach(rollups, schema, list[i], st))
            return st->code;
    return TL_OK;
}

/* The version that follows: with the segments, without the memtables. Under version_lock. */
static enum tl_code publish_locked(struct tally *db, const struct tl_seal *seal,
                                   struct tl_live_segment *const *segments, uint32_t count,
                                   struct tl_status *st)
{
    struct tl_version *next;
    struct tl_table_version *t;
    if (tl_version_clone(tl_current_peek(&db->current), &next, st))
        return st->code;
    for (uint32_t i = 0; i < count && st->code == TL_OK; i++)
        if (!tl_version_table(next, segments[i]->info.meta.table, &t, st))
            TL_IGNORE(tl_table_version_replace(t, segments[i]->info.meta.shard, NULL, 0,
                                               &segments[i], 1, st));
    for (uint32_t i = 0; i < seal->count && st->code == TL_OK; i++)
        if (!tl_version_table(next, tl_memtable_table_id(seal->memtables[i]), &t, st))
            tl_table_version_remove(t, seal->memtables[i]);
    if (st->code) {
        tl_version_unref(next);
        return st->code;
    }
    next->base_position = seal->position;
    db->flushed_position = seal->position;
    db->flushed_seal = seal->number;
    db->flushed_log_time_us = seal->log_time_us;
    tl_current_publish(&db->current, next);
    /* release: the log thread reads it with acquire and trims */
    atomic_store_explicit(&db->trim_to, seal->position, memory_order_release);
    return TL_OK;
}

/* The transaction, and then the version. Under manifest_lock. */
static enum tl_code install_locked(struct tally *db, struct tl_seal *seal,
                                   struct tl_live_pack *pack, const struct tl_pack_info *info,
                                   const struct tl_rollups_made *rollups, struct tl_status *st)
{
    uint32_t count = pack ? info->segment_count : 0;
    struct tl_live_segment **segments = NULL;
    struct tl_buffer edits;
    tl_buffer_init(&edits, "manifest transaction of a flush", TL_MANIFEST_EDIT_BYTES_MAX);
    if (new_segments(db, pack, count, rollups, &segments, st))
        goto done;
    for (uint32_t i = 0; i < count; i++) {
        tl_edit_add(&edits, segments[i]);
        pack->live++;
    }
    if (seal->tables.size > 0) {
        tl_buffer_put_u8(&edits, TL_EDIT_TABLES);
        tl_buffer_put(&edits, seal->tables.data, seal->tables.size);
        tl_buffer_put_u8(&edits, TL_EDIT_VIEWS);
        tl_buffer_put(&edits, seal->views.data, seal->views.size);
    }
    tl_buffer_put_u8(&edits, TL_EDIT_PRODUCERS);
    tl_buffer_put(&edits, seal->producers.data, seal->producers.size);
    tl_edit_low_water(&edits, seal);
    /* Requests before the mark would not be replayed: the manifest has them from now on. */
    pthread_mutex_lock(&db->version_lock);
    for (uint32_t i = 0; i < db->request_count; i++)
        tl_edit_compact(&edits, &db->requests[i]);
    pthread_mutex_unlock(&db->version_lock);
    struct tl_reader r = tl_reader_of(tl_buffer_slice(&seal->producers));
    if (tl_manifest_commit(db, &edits, st) || tl_producers_decode(&db->flushed_producers, &r, st))
        goto done;
    pthread_mutex_lock(&db->version_lock);
    if (!publish_locked(db, seal, segments, count, st)) {
        tl_assert(!db->seals || db->seals == seal);
        if (db->seals == seal) {
            db->seals = seal->next;
            db->seal_count--;
        }
        tl_db_changed_locked(db);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (st->code == TL_OK)
        TL_IGNORE(tl_manifest_roll(db, st));
done:
    for (uint32_t i = 0; segments && i < count; i++)
        tl_live_segment_unref(segments[i]);
    free(segments);
    tl_buffer_deinit(&edits);
    return st->code;
}

enum tl_code tl_flush_seal(struct tally *db, struct tl_seal *seal, struct tl_status *st)
{
    uint64_t begun = tl_clock_mono_ns(db->clock);
    uint64_t rows = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < seal->count; i++) {
        rows += tl_memtable_rows(seal->memtables[i]);
        bytes += tl_memtable_bytes(seal->memtables[i]);
    }
    /* What these give back is what the next ones will take. */
    tl_slab_keep(db->state.slabs, (uint32_t)(bytes / TL_SLAB_BYTES));
    struct tl_pack_id id = {
        .kind = TL_PACK_SEAL, .shard = TL_PACK_SHARD_ALL, .number = seal->number};
    struct tl_pack_info info = {.segment_count = 0};
    struct tl_live_pack *pack = NULL;
    struct tl_rollups_made rollups = {.list = NULL};
    if (rows > 0 && (write_pack(db, &id, seal, &info, st) ||
                     tl_live_pack_open(db->io, db->cache, &id, info.hash, &pack, st) ||
                     tl_rollups_make(db, tl_db_schema(db), pack, 0, NULL, &rollups, st)))
        goto done;
    /* Before the memtables leave the version: an event id is known in one of the two at any time.
     */
    for (uint32_t i = 0; i < seal->count; i++)
        if (tl_event_ids_flushed(db->state.ids, seal->memtables[i], st))
            goto done;
    pthread_mutex_lock(&db->manifest_lock);
    TL_IGNORE(install_locked(db, seal, pack, &info, &rollups, st));
    pthread_mutex_unlock(&db->manifest_lock);
    if (st->code == TL_OK) {
        tl_seal_free(seal);
        uint64_t us = (tl_clock_mono_ns(db->clock) - begun) / 1000;
        tl__histogram_add(&db->counters.flush, us);
        atomic_fetch_add_explicit(&db->counters.flushes, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.flushed_rows, rows, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.flush_us, us, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.flush_bytes, info.size, memory_order_relaxed);
    }
done:
    tl_rollups_free(&rollups);
    tl_live_pack_unref(pack);
    tl_pack_info_deinit(&info);
    if (st->code)
        tl_status_wrap(st, "flushing memtables");
    return st->code;
}

void tl_seal_push(struct tally *db, struct tl_seal *seal)
{
    pthread_mutex_lock(&db->version_lock);
    struct tl_seal **end = &db->seals;
    while (*end)
        end = &(*end)->next;
    *end = seal;
    db->seal_count++;
    atomic_fetch_add_explicit(&db->counters.seals, 1, memory_order_relaxed);
    tl_db_changed_locked(db);
    pthread_mutex_unlock(&db->version_lock);
}

void tl_flusher_main(void *arg)
{
    struct tally *db = arg;
    for (;;) {
        pthread_mutex_lock(&db->version_lock);
        while (!db->seals && !atomic_load_explicit(&db->closing, memory_order_relaxed))
            pthread_cond_wait(&db->version_changed, &db->version_lock);
        struct tl_seal *seal = db->seals;
        bool stop = false;
        for (;; pthread_cond_wait(&db->version_changed, &db->version_lock)) {
            stop = atomic_load_explicit(&db->closing, memory_order_relaxed) ||
                   atomic_load_explicit(&db->poisoned, memory_order_relaxed);
            if (stop || !tl_level0_is_full(db, seal))
                break;
        }
        pthread_mutex_unlock(&db->version_lock);
        if (stop)
            return;
        struct tl_status st = TL_STATUS_INIT;
        if (tl_flush_seal(db, seal, &st))
            tl_db_poison(db, &st);
    }
}
