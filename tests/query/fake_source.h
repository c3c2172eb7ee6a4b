/*
 * tests/query/fake_source.h: a source over arrays, for the tests and the benchmark of the executor.
 *
 * A table is a list of segments, each with arrays of its own and, for TEXT, mostly dictionaries of
 * its own. Sorted segments hand out slices of their arrays without copying; others (memtables)
 * are filtered row by row. Everything is checked as a real source would: time range, merchants,
 * and, when `exact` is set, the simple predicates.
 */
#ifndef TALLY_TESTS_QUERY_FAKE_SOURCE_H
#define TALLY_TESTS_QUERY_FAKE_SOURCE_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "query/source.h"

struct fake_column {
    void *data;           /* flat values; NULL for a dictionary column */
    uint32_t *codes;      /* dictionary column */
    struct tl_dict *dict; /* its dictionary */
    uint64_t *validity;   /* NULL: no NULLs */
};

struct fake_segment {
    uint64_t rows;
    bool sorted; /* by (merchant, ts) */
    bool memtable;
    struct fake_column *columns;
};

struct fake_table {
    struct tl_table_info info;
    uint32_t segment_count;
    struct fake_segment *segments;
};

struct fake_source {
    struct tl_source source;
    struct tl_catalog catalog;
    uint32_t table_count;
    struct fake_table *tables;
    bool exact;              /* applies simple predicates itself */
    uint64_t morsel_rows;    /* 0: a segment is one morsel */
    atomic_int open_scans;   /* must be 0 at the end */
    atomic_int open_morsels; /* likewise */
    atomic_int dict_gets;    /* strings that were asked for */
};

struct fake_scan {
    struct fake_source *source;
    const struct fake_table *table;
    struct tl_scan_spec spec;
    uint32_t *column_of; /* spec column -> table column */
    uint32_t segment;    /* next morsel: of this segment, */
    uint64_t row;        /* from this row */
    _Atomic uint64_t rows_scanned;
};

struct fake_morsel {
    const struct fake_segment *segment;
    uint64_t next, end;
};

/* ---- dictionaries with strings on demand ---- */

struct fake_dict {
    struct tl_dict dict;
    const struct tl_slice *strings;
    struct fake_source *source;
};

static inline enum tl_code fake_dict_get(const struct tl_dict *d, const uint32_t *codes,
                                         uint32_t count, struct tl_slice *out, struct tl_status *st)
{
    const struct fake_dict *fake = (const struct fake_dict *)d;
    (void)st;
    for (uint32_t i = 0; i < count; i++) {
        tl_assert(codes[i] < d->count);
        out[i] = fake->strings[codes[i]];
    }
    if (fake->source)
        atomic_fetch_add(&fake->source->dict_gets, (int)count);
    return TL_OK;
}

static const struct tl_dict_vtable fake_dict_vtable = {fake_dict_get};

static inline struct tl_dict *fake_dict_new(const struct tl_slice *strings, uint32_t count,
                                            struct fake_source *source)
{
    struct fake_dict *d = calloc(1, sizeof(*d));
    tl_assert(d != NULL);
    d->dict.id = tl_dict_new_id();
    d->dict.count = count;
    d->dict.vtab = &fake_dict_vtable;
    d->strings = strings;
    d->source = source;
    return &d->dict;
}

/* ---- the source ---- */

static inline int64_t fake_int(const struct fake_segment *s, uint32_t column, uint64_t row)
{
    return ((const int64_t *)s->columns[column].data)[row];
}

static inline bool fake_merchant_in(const struct tl_scan_spec *spec, int64_t m)
{
    for (uint32_t i = 0; i < spec->merchant_count; i++) {
        if (spec->merchants[i] == m)
            return true;
    }
    return spec->merchant_count == 0;
}

static inline int fake_compare(struct tl_type t, const uint8_t *a, const uint8_t *b)
{
    if (t.kind == TL_TEXT)
        return tl_slice_cmp(*(const struct tl_slice *)(const void *)a,
                            *(const struct tl_slice *)(const void *)b);
    if (t.kind == TL_BOOLEAN)
        return *a - *b;
    if (t.kind == TL_DATE) {
        int32_t x = *(const int32_t *)(const void *)a;
        int32_t y = *(const int32_t *)(const void *)b;
        return (x > y) - (x < y);
    }
    tl_assert(tl_kind_width(t.kind) == 8 && t.kind != TL_DOUBLE);
    int64_t x = *(const int64_t *)(const void *)a;
    int64_t y = *(const int64_t *)(const void *)b;
    return (x > y) - (x < y);
}

/* Whether the fake can decide a predicate. */
static inline bool fake_decides(const struct fake_scan *scan, const struct tl_predicate *p)
{
    uint8_t kind = scan->spec.columns[p->column].type.kind;
    return scan->source->exact && tl_kind_width(kind) > 0 && kind != TL_DOUBLE &&
           (kind == TL_TEXT || tl_kind_width(kind) <= 8);
}

static inline bool fake_matches(const struct fake_scan *scan, const struct tl_predicate *p,
                                const struct fake_segment *s, uint64_t row)
{
    const struct fake_column *c = &s->columns[scan->column_of[p->column]];
    struct tl_type t = scan->spec.columns[p->column].type;
    bool valid = !c->validity || ((c->validity[row >> 6] >> (row & 63)) & 1);
    if (p->op == TL_PRED_IS_NULL)
        return !valid;
    if (p->op == TL_PRED_NOT_NULL || !valid)
        return valid;
    uint32_t width = tl_kind_width(t.kind);
    struct tl_slice text;
    const uint8_t *v = (const uint8_t *)c->data + row * width;
    if (c->codes) {
        text = ((const struct fake_dict *)c->dict)->strings[c->codes[row]];
        v = (const uint8_t *)&text;
    }
    for (uint32_t i = 0; i < p->value_count; i++) {
        int order = fake_compare(t, v, (const uint8_t *)p->values.data + (size_t)i * width);
        switch (p->op) {
        case TL_PRED_EQ:
        case TL_PRED_IN:
            if (order == 0)
                return true;
            break;
        case TL_PRED_NE:
            return order != 0;
        case TL_PRED_LT:
            return order < 0;
        case TL_PRED_LE:
            return order <= 0;
        case TL_PRED_GT:
            return order > 0;
        default:
            return order >= 0;
        }
    }
    return false;
}

static inline enum tl_code fake_open(struct tl_source *base, const struct tl_scan_spec *spec,
                                     struct tl_scan **out, struct tl_status *st)
{
    struct fake_source *source = (struct fake_source *)base;
    struct fake_scan *scan = calloc(1, sizeof(*scan));
    tl_assert(scan != NULL);
    scan->source = source;
    scan->spec = *spec;
    for (uint32_t t = 0; t < source->table_count; t++) {
        if (source->tables[t].info.id == spec->table_id)
            scan->table = &source->tables[t];
    }
    if (!scan->table) {
        free(scan);
        return TL_FAIL(st, TL_NOT_FOUND, "no table %u", spec->table_id);
    }
    scan->column_of = calloc(spec->column_count + 1u, sizeof(uint32_t));
    for (uint32_t c = 0; c < spec->column_count; c++) {
        for (uint32_t i = 0; i < scan->table->info.column_count; i++) {
            if (scan->table->info.columns[i].id == spec->columns[c].column_id)
                scan->column_of[c] = i;
        }
    }
    for (uint32_t i = 1; i < spec->merchant_count; i++)
        tl_assert(spec->merchants[i - 1] < spec->merchants[i]);
    atomic_fetch_add(&source->open_scans, 1);
    *out = (struct tl_scan *)scan;
    return TL_OK;
}

static inline bool fake_row_in(const struct fake_scan *scan, const struct fake_segment *s,
                               uint64_t row)
{
    const struct tl_table_info *info = &scan->table->info;
    int64_t ts = fake_int(s, info->ts_column, row);
    if (ts < scan->spec.ts_min_us || ts > scan->spec.ts_max_us ||
        !fake_merchant_in(&scan->spec, fake_int(s, info->merchant_column, row)))
        return false;
    for (uint32_t p = 0; p < scan->spec.predicate_count; p++) {
        if (fake_decides(scan, &scan->spec.predicates[p]) &&
            !fake_matches(scan, &scan->spec.predicates[p], s, row))
            return false;
    }
    return true;
}

/* The first row that is not before (merchant, ts). */
static inline uint64_t fake_lower(const struct fake_scan *scan, const struct fake_segment *s,
                                  int64_t merchant, int64_t ts)
{
    const struct tl_table_info *info = &scan->table->info;
    uint64_t lo = 0;
    uint64_t hi = s->rows;
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        int64_t m = fake_int(s, info->merchant_column, mid);
        if (m < merchant || (m == merchant && fake_int(s, info->ts_column, mid) < ts))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static inline enum tl_code fake_next_morsel(struct tl_scan *base, struct tl_morsel *out,
                                            bool *found, struct tl_status *st)
{
    struct fake_scan *scan = (struct fake_scan *)base;
    (void)st;
    *found = false;
    for (; scan->segment < scan->table->segment_count; scan->segment++, scan->row = 0) {
        const struct fake_segment *s = &scan->table->segments[scan->segment];
        uint64_t from = 0;
        uint64_t end = s->rows;
        if (s->sorted && scan->spec.merchant_count == 1) {
            int64_t m = scan->spec.merchants[0];
            from = fake_lower(scan, s, m, scan->spec.ts_min_us);
            end = scan->spec.ts_max_us == INT64_MAX
                      ? fake_lower(scan, s, m + 1, INT64_MIN)
                      : fake_lower(scan, s, m, scan->spec.ts_max_us + 1);
        }
        if (scan->row > from)
            from = scan->row;
        if (from >= end)
            continue;
        if (scan->source->morsel_rows && end - from > scan->source->morsel_rows)
            end = from + scan->source->morsel_rows;
        scan->row = end;
        struct fake_morsel *m = calloc(1, sizeof(*m));
        tl_assert(m != NULL);
        *m = (struct fake_morsel){s, from, end};
        *out = (struct tl_morsel){.segment = s->memtable ? 0 : scan->segment + 1,
                                  .rows = end - from,
                                  .sorted = s->sorted,
                                  .impl = m};
        for (uint32_t p = 0; p < scan->spec.predicate_count; p++)
            out->predicate_exact[p] = fake_decides(scan, &scan->spec.predicates[p]);
        atomic_fetch_add(&scan->source->open_morsels, 1);
        *found = true;
        return TL_OK;
    }
    return TL_OK;
}

/* Rows of one column: a slice, or the rows of `rows`. */
static inline enum tl_code fake_column_out(const struct fake_column *c, struct tl_type type,
                                           uint64_t from, const uint64_t *rows, uint32_t n,
                                           struct tl_arena *arena, struct tl_vector *out,
                                           struct tl_status *st)
{
    uint32_t width = c->codes ? 4 : tl_kind_width(type.kind);
    *out = (struct tl_vector){
        .type = type, .shape = c->codes ? TL_DICT : TL_FLAT, .count = n, .dict = c->dict};
    const uint8_t *data = c->codes ? (const uint8_t *)c->codes : c->data;
    if (rows) {
        uint8_t *copy = tl_arena_alloc(arena, (size_t)width * n, st);
        if (!copy)
            return st->code;
        for (uint32_t i = 0; i < n; i++)
            memcpy(copy + (size_t)i * width, data + rows[i] * width, width);
        data = copy;
    } else {
        data += from * width;
    }
    if (c->codes)
        out->codes = (const uint32_t *)(const void *)data;
    else
        out->data = data;
    if (!c->validity)
        return TL_OK;
    if (!rows && from % 64 == 0) {
        out->validity = c->validity + from / 64;
        return TL_OK;
    }
    uint64_t *bits = tl_arena_calloc(arena, tl_bit_words(n) + 1u, 8, st);
    if (!bits)
        return st->code;
    if (!rows) {
        const uint64_t *words = c->validity + from / 64;
        unsigned shift = from % 64;
        for (uint32_t w = 0; w < tl_bit_words(n); w++)
            bits[w] = words[w] >> shift | words[w + 1] << (64 - shift);
        out->validity = bits;
        return TL_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t row = rows[i];
        bits[i >> 6] |= ((c->validity[row >> 6] >> (row & 63)) & 1) << (i & 63);
    }
    out->validity = bits;
    return TL_OK;
}

static inline enum tl_code fake_next_chunk(struct tl_scan *base, struct tl_morsel *m,
                                           struct tl_arena *arena, struct tl_chunk *out,
                                           struct tl_status *st)
{
    struct fake_scan *scan = (struct fake_scan *)base;
    struct fake_morsel *impl = m->impl;
    const struct fake_segment *s = impl->segment;
    const struct tl_scan_spec *spec = &scan->spec;
    bool all = s->sorted && (spec->merchant_count == 1 ||
                             (spec->merchant_count == 0 && spec->ts_min_us == INT64_MIN &&
                              spec->ts_max_us == INT64_MAX));
    all = all && !(scan->source->exact && spec->predicate_count);
    uint64_t *rows = NULL;
    uint64_t from = impl->next;
    uint32_t n = 0;
    if (all) {
        n = impl->end - from < TL_VECTOR_ROWS_MAX ? (uint32_t)(impl->end - from)
                                                  : (uint32_t)TL_VECTOR_ROWS_MAX;
        impl->next += n;
    } else {
        rows = tl_arena_alloc(arena, sizeof(*rows) * TL_VECTOR_ROWS_MAX, st);
        if (!rows)
            return st->code;
        for (; impl->next < impl->end && n < TL_VECTOR_ROWS_MAX; impl->next++) {
            if (fake_row_in(scan, s, impl->next))
                rows[n++] = impl->next;
        }
    }
    *out = (struct tl_chunk){.count = n};
    if (n == 0)
        return TL_OK;
    struct tl_vector *columns =
        tl_arena_calloc(arena, spec->column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t c = 0; c < spec->column_count; c++) {
        enum tl_code rc = fake_column_out(&s->columns[scan->column_of[c]], spec->columns[c].type,
                                          from, rows, n, arena, &columns[c], st);
        if (rc)
            return rc;
    }
    out->columns = columns;
    atomic_fetch_add_explicit(&scan->rows_scanned, n, memory_order_relaxed);
    return TL_OK;
}

static inline void fake_close_morsel(struct tl_scan *base, struct tl_morsel *m)
{
    struct fake_scan *scan = (struct fake_scan *)base;
    free(m->impl);
    m->impl = NULL;
    atomic_fetch_sub(&scan->source->open_morsels, 1);
}

static inline void fake_stats(const struct tl_scan *base, struct tl_scan_stats *out)
{
    const struct fake_scan *scan = (const struct fake_scan *)base;
    *out = (struct tl_scan_stats){.segments_total = scan->table->segment_count,
                                  .rows_scanned = atomic_load(&scan->rows_scanned)};
}

static inline void fake_close(struct tl_scan *base)
{
    struct fake_scan *scan = (struct fake_scan *)base;
    if (!scan)
        return;
    atomic_fetch_sub(&scan->source->open_scans, 1);
    free(scan->column_of);
    free(scan);
}

static const struct tl_source_vtable fake_source_vtable = {
    fake_open, fake_next_morsel, fake_next_chunk, fake_close_morsel, fake_stats, fake_close};

/* ---- the catalog ---- */

static inline const struct fake_source *fake_of_catalog(const struct tl_catalog *c)
{
    return (const struct fake_source *)(const void *)((const char *)c -
                                                      offsetof(struct fake_source, catalog));
}

static inline const struct tl_table_info *fake_table(const struct tl_catalog *c, const char *schema,
                                                     const char *name)
{
    if (schema && strcmp(schema, "public") != 0)
        return NULL;
    const struct fake_source *s = fake_of_catalog(c);
    for (uint32_t t = 0; t < s->table_count; t++) {
        if (strcmp(s->tables[t].info.name, name) == 0)
            return &s->tables[t].info;
    }
    return NULL;
}

static inline uint32_t fake_table_count(const struct tl_catalog *c)
{
    return fake_of_catalog(c)->table_count;
}

static inline const struct tl_table_info *fake_table_at(const struct tl_catalog *c, uint32_t i)
{
    return &fake_of_catalog(c)->tables[i].info;
}

static const struct tl_catalog_vtable fake_catalog_vtable = {fake_table, fake_table_count,
                                                             fake_table_at};

static inline void fake_source_init(struct fake_source *s, struct fake_table *tables,
                                    uint32_t table_count)
{
    *s = (struct fake_source){.source = {&fake_source_vtable},
                              .catalog = {&fake_catalog_vtable, 1},
                              .tables = tables,
                              .table_count = table_count};
}

#endif
