/*
 * tests/unit/storage/segment_model.h: a naive twin of a segment, shared by the tests of segments
 * and merging: a table of values in plain arrays, made at random from a seed, fed to the writer
 * in vectors of random shapes and cuts, and compared with what a reader gives.
 */
#ifndef TALLY_TESTS_UNIT_STORAGE_SEGMENT_MODEL_H
#define TALLY_TESTS_UNIT_STORAGE_SEGMENT_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/vector.h"
#include "storage/cache.h"
#include "storage/io_sim.h"
#include "storage/merge.h"
#include "storage/pack.h"
#include "storage/segment.h"
#include "tests/test.h"

struct rng {
    uint64_t s;
};
static inline uint64_t rng_next(struct rng *r)
{
    r->s ^= r->s << 13;
    r->s ^= r->s >> 7;
    r->s ^= r->s << 17;
    return r->s * 0x2545F4914F6CDD1DULL;
}
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)((rng_next(r) >> 33) % n);
}

/* How a column's values come about. */
enum model_kind {
    M_MERCHANT,
    M_TS,
    M_BOOLEAN,
    M_RANDOM64,
    M_DOUBLE,
    M_DECIMAL,
    M_DATE,
    M_TIMESTAMP,
    M_FEW,
    M_MANY,
    M_LONG,
    M_ALL_NULL,
    M_CONSTANT,
    M_CONSTANT_TEXT,
    M_CLUSTERED,
    M_UNIQUE,
    M_SIXTY_FOUR,
    M_SESSION, /* these follow each other: visitor and agent the session, city the visitor, … */
    M_VISITOR,
    M_CITY,
    M_COUNTRY,
    M_AGENT,
};

struct model_column {
    uint32_t id;
    enum model_kind kind;
    struct tl_type type;
};

static const struct model_column model_columns[] = {
    {1, M_MERCHANT, {TL_BIGINT, 0}},   {2, M_TS, {TL_TIMESTAMPTZ, 0}},
    {3, M_BOOLEAN, {TL_BOOLEAN, 0}},   {4, M_RANDOM64, {TL_BIGINT, 0}},
    {5, M_DOUBLE, {TL_DOUBLE, 0}},     {6, M_DECIMAL, {TL_DECIMAL64, 4}},
    {7, M_DATE, {TL_DATE, 0}},         {8, M_TIMESTAMP, {TL_TIMESTAMP, 0}},
    {9, M_FEW, {TL_TEXT, 0}},          {10, M_MANY, {TL_TEXT, 0}},
    {11, M_LONG, {TL_TEXT, 0}},        {12, M_ALL_NULL, {TL_TEXT, 0}},
    {13, M_CONSTANT, {TL_BIGINT, 0}},  {14, M_CONSTANT_TEXT, {TL_TEXT, 0}},
    {15, M_CLUSTERED, {TL_BIGINT, 0}}, {20, M_UNIQUE, {TL_TEXT, 0}},
    {21, M_SIXTY_FOUR, {TL_TEXT, 0}},  {22, M_COUNTRY, {TL_TEXT, 0}},
    {23, M_CITY, {TL_TEXT, 0}},        {24, M_SESSION, {TL_TEXT, 0}},
    {25, M_VISITOR, {TL_TEXT, 0}},     {26, M_AGENT, {TL_TEXT, 0}},
};
enum { MODEL_COLUMNS = sizeof(model_columns) / sizeof(model_columns[0]) };

/* Strings are kept once and for ever: values[] then holds an index into the pool. */
struct model_pool {
    char **strings;
    uint32_t *sizes;
    uint32_t count, capacity;
};

struct model {
    uint32_t rows;
    int64_t *values[MODEL_COLUMNS]; /* bits of a DOUBLE, pool index of a TEXT */
    bool *valid[MODEL_COLUMNS];
    struct model_pool pool;
};

static inline uint32_t pool_add(struct model_pool *p, const char *s, uint32_t size)
{
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 64;
        p->strings = realloc(p->strings, p->capacity * sizeof(*p->strings));
        p->sizes = realloc(p->sizes, p->capacity * sizeof(*p->sizes));
    }
    p->strings[p->count] = malloc(size ? size : 1);
    memcpy(p->strings[p->count], s, size);
    p->sizes[p->count] = size;
    return p->count++;
}

static inline struct tl_slice model_string(const struct model *m, uint32_t column, uint32_t row)
{
    int64_t i = m->values[column][row];
    return tl_slice_of(m->pool.strings[i], m->pool.sizes[i]);
}

static inline void model_alloc(struct model *m, uint32_t rows)
{
    *m = (struct model){.rows = rows};
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++) {
        m->values[c] = calloc(rows ? rows : 1, sizeof(int64_t));
        m->valid[c] = calloc(rows ? rows : 1, sizeof(bool));
    }
}

static inline void model_free(struct model *m)
{
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++) {
        free(m->values[c]);
        free(m->valid[c]);
    }
    for (uint32_t i = 0; i < m->pool.count; i++)
        free(m->pool.strings[i]);
    free(m->pool.strings);
    free(m->pool.sizes);
    *m = (struct model){0};
}

struct model_key {
    int64_t merchant, ts;
};
static int model_key_cmp(const void *a, const void *b)
{
    const struct model_key *x = a, *y = b;
    if (x->merchant != y->merchant)
        return x->merchant < y->merchant ? -1 : 1;
    return (x->ts > y->ts) - (x->ts < y->ts);
}

static inline int64_t model_double(struct rng *r)
{
    static const double odd[] = {0.0, -0.0, 1.5, -2.25, 1e300, -1e-300};
    double d = odd[rng_below(r, 6)];
    int64_t bits;
    if (rng_below(r, 8) == 0)
        return 0x7FF8000000000000LL + (int64_t)rng_below(r, 3); /* NaNs of several payloads */
    if (rng_below(r, 2))
        d = (double)rng_below(r, 1000) / 8.0;
    memcpy(&bits, &d, sizeof(bits));
    return bits;
}

static inline uint32_t model_text(struct model *m, const struct model_column *c, struct rng *r,
                                  uint32_t row, uint64_t session)
{
    /* The same session has the same visitor wherever its rows are. */
    uint64_t visitor = session * 0x9E3779B97F4A7C15ULL >> 40 << 2;
    visitor = (session / 1000 << 8) + (visitor & 0xff);
    uint32_t city = (uint32_t)(visitor * 0x9E3779B97F4A7C15ULL >> 40) % 90;
    char s[256];
    int n = 0;
    switch (c->kind) {
    case M_FEW:
        n = rng_below(r, 6) == 0 ? 0 : snprintf(s, sizeof(s), "country-%u", rng_below(r, 5));
        break;
    case M_MANY:
        n = snprintf(s, sizeof(s), "/shop/products/%u/item-%u.html", rng_below(r, 50),
                     rng_below(r, m->rows));
        break;
    case M_LONG:
        if (rng_below(r, 200) == 0) {
            uint32_t size = 1000 + rng_below(r, 64536);
            char *big = malloc(size);
            for (uint32_t i = 0; i < size; i++)
                big[i] = (char)('a' + rng_below(r, 26));
            uint32_t at = pool_add(&m->pool, big, size);
            free(big);
            return at;
        }
        n = snprintf(s, sizeof(s), "%u", rng_below(r, 30));
        break;
    case M_CONSTANT_TEXT:
        n = snprintf(s, sizeof(s), "always");
        break;
    case M_SESSION:
        n = snprintf(s, sizeof(s), "session %llu", (unsigned long long)session);
        break;
    case M_VISITOR:
        n = snprintf(s, sizeof(s), "visitor %llu", (unsigned long long)visitor);
        break;
    case M_CITY:
        n = snprintf(s, sizeof(s), "city %u", rng_below(r, 60) ? city : rng_below(r, 95));
        break;
    case M_COUNTRY:
        n = snprintf(s, sizeof(s), "country %u", city % 11);
        break;
    case M_AGENT:
        n = snprintf(s, sizeof(s), "agent %llu",
                     (unsigned long long)(session * 0x9E3779B1 >> 7) % 300);
        break;
    case M_UNIQUE:
        n = snprintf(s, sizeof(s), "%016llx", (unsigned long long)(rng_next(r) ^ row));
        break;
    default:
        n = snprintf(s, sizeof(s), "v%u", rng_below(r, 64));
        break;
    }
    return pool_add(&m->pool, s, (uint32_t)n);
}

/* Rows of `merchants` merchants (few of them own most rows), ts within [start, start + span). */
static inline void model_random(struct model *m, uint32_t rows, uint32_t merchants, int64_t start,
                                int64_t span, uint64_t seed)
{
    struct rng r = {seed * 2 + 1};
    model_alloc(m, rows);
    struct model_key *keys = malloc((rows ? rows : 1) * sizeof(*keys));
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t k = rng_below(&r, merchants);
        k = rng_below(&r, k + 1);
        keys[i].merchant = (int64_t)k * 7 - 21;
        keys[i].ts = start + (int64_t)(rng_next(&r) % (uint64_t)span);
        if (rng_below(&r, 4) == 0)
            keys[i].ts -= keys[i].ts % 1000000; /* ties */
        if (keys[i].ts < start)
            keys[i].ts = start;
    }
    qsort(keys, rows, sizeof(*keys), model_key_cmp);
    uint64_t *sessions = calloc(rows ? rows : 1, sizeof(*sessions));
    for (uint32_t i = 0; i < rows; i++)
        sessions[i] = (uint64_t)(keys[i].merchant + 100) * 1000 + (i / 7 + rng_below(&r, 3)) % 1000;
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++) {
        const struct model_column *mc = &model_columns[c];
        uint32_t null_in = mc->kind == M_BOOLEAN || mc->kind == M_MANY || mc->kind == M_DOUBLE ? 7
                           : mc->kind == M_DECIMAL                                             ? 2
                           : mc->kind == M_SESSION || mc->kind == M_CITY                       ? 50
                                                                                               : 0;
        for (uint32_t i = 0; i < rows; i++) {
            m->valid[c][i] = mc->kind != M_ALL_NULL && !(null_in && rng_below(&r, null_in) == 0);
            if (mc->kind == M_CLUSTERED)
                m->valid[c][i] = (i / 9000) % 2 == 1 && (i & 1023) < 700;
            if (!m->valid[c][i])
                continue;
            int64_t v;
            switch (mc->kind) {
            case M_MERCHANT:
                v = keys[i].merchant;
                break;
            case M_TS:
                v = keys[i].ts;
                break;
            case M_BOOLEAN:
                v = rng_below(&r, 2);
                break;
            case M_RANDOM64:
                v = (int64_t)rng_next(&r);
                break;
            case M_DOUBLE:
                v = model_double(&r);
                break;
            case M_DECIMAL:
                v = (int64_t)rng_below(&r, 100000) * 100 - 5000;
                break;
            case M_DATE:
                v = (int64_t)rng_below(&r, 40000) - 20000;
                break;
            case M_TIMESTAMP:
                v = keys[i].ts + 1000;
                break;
            case M_CONSTANT:
                v = -42;
                break;
            case M_CLUSTERED:
                v = i / 100;
                break;
            default:
                v = model_text(m, mc, &r, i, sessions[i]);
                break;
            }
            m->values[c][i] = v;
        }
    }
    free(keys);
    free(sessions);
}

/* A dictionary over some rows' strings, in an order of its own and with unused entries. */
struct model_dict {
    struct tl_dict dict;
    struct tl_slice values[TL_VECTOR_ROWS_MAX + 2];
};

static inline void put_raw(uint8_t *to, uint32_t width, int64_t v)
{
    if (width == 8)
        memcpy(to, &v, 8);
    else if (width == 4)
        memcpy(to, &(int32_t){(int32_t)v}, 4);
    else
        *to = (uint8_t)v;
}

/* Appends rows [lo, hi) in a random shape. */
static inline void model_append(struct tl_pack_writer *w, const struct model *m, uint32_t c,
                                uint32_t lo, uint32_t hi, struct rng *r, struct tl_status *st)
{
    static _Alignas(16) uint8_t data[TL_VECTOR_ROWS_MAX * 16];
    static uint32_t codes[TL_VECTOR_ROWS_MAX];
    static struct model_dict dict;
    uint64_t validity[TL_VECTOR_ROWS_MAX / 64] = {0};
    const struct model_column *mc = &model_columns[c];
    uint32_t n = hi - lo;
    bool any_null = false, all_null = true, same = true;
    for (uint32_t i = 0; i < n; i++) {
        bool ok = m->valid[c][lo + i];
        any_null |= !ok;
        all_null &= !ok;
        same &= ok && m->valid[c][lo] && m->values[c][lo + i] == m->values[c][lo];
        if (ok)
            tl_bit_set(validity, i);
    }
    struct tl_vector v = {.type = mc->type, .count = n};
    v.validity = any_null || rng_below(r, 4) == 0 ? validity : NULL;
    uint32_t width = mc->type.kind == TL_TEXT ? 0 : tl_kind_width(mc->type.kind);
    struct tl_slice one;
    if (all_null && rng_below(r, 2)) {
        uint64_t no = 0;
        v.shape = TL_CONST;
        if (rng_below(r, 2))
            v.type = tl_type_of(TL_NULL);
        v.data = data;
        v.validity = &no;
        assert_ok(st, tl_pack_column_append(w, &v, st));
        return;
    }
    if (same && rng_below(r, 2)) {
        v.shape = TL_CONST;
        v.validity = NULL;
        if (width) {
            put_raw(data, width, m->values[c][lo]);
            v.data = data;
        } else {
            one = model_string(m, c, lo);
            v.data = &one;
        }
        assert_ok(st, tl_pack_column_append(w, &v, st));
        return;
    }
    if (width) {
        v.shape = TL_FLAT;
        v.data = data;
        for (uint32_t i = 0; i < n; i++)
            put_raw(data + (size_t)i * width, width,
                    m->valid[c][lo + i] ? m->values[c][lo + i] : (int64_t)rng_next(r));
    } else if (rng_below(r, 2)) {
        struct tl_slice *slices = (struct tl_slice *)(void *)data;
        v.shape = TL_FLAT;
        v.data = slices;
        for (uint32_t i = 0; i < n; i++)
            slices[i] = m->valid[c][lo + i] ? model_string(m, c, lo + i) : tl_slice_str("junk");
    } else {
        v.shape = TL_DICT;
        v.codes = codes;
        v.dict = &dict.dict;
        dict.dict = (struct tl_dict){.id = tl_dict_new_id(), .count = n + 1, .values = dict.values};
        dict.values[n] = tl_slice_str("never used");
        for (uint32_t i = 0; i < n; i++) {
            uint32_t at = n - 1 - i; /* backwards: not the order of appearance */
            dict.values[at] =
                m->valid[c][lo + i] ? model_string(m, c, lo + i) : tl_slice_str("junk");
            codes[i] = m->valid[c][lo + i] ? at : 0xdeadbeef;
        }
    }
    assert_ok(st, tl_pack_column_append(w, &v, st));
}

/* Columns (by index) that model_write_segment leaves out. */
static uint64_t model_skipped_columns;

/* Writes the whole model as one segment; how it is cut into vectors follows from `cut_seed`. */
static inline void model_write_segment(struct tl_pack_writer *w, const struct model *m,
                                       const struct tl_segment_meta *meta, uint64_t cut_seed,
                                       struct tl_status *st)
{
    struct rng r = {cut_seed * 2 + 1};
    assert_ok(st, tl_pack_segment_begin(w, meta, m->rows, st));
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++) {
        if (model_skipped_columns >> c & 1)
            continue;
        assert_ok(st, tl_pack_column_begin(w, model_columns[c].id, model_columns[c].type, st));
        for (uint32_t row = 0; row < m->rows;) {
            uint32_t n = 1 + rng_below(&r, TL_VECTOR_ROWS_MAX);
            if (n > m->rows - row)
                n = m->rows - row;
            model_append(w, m, c, row, row + n, &r, st);
            row += n;
        }
        assert_ok(st, tl_pack_column_end(w, st));
    }
    assert_ok(st, tl_pack_segment_end(w, st));
}

static inline void model_write(struct tl_io *io, const struct tl_pack_id *id, const struct model *m,
                               const struct tl_pack_options *options, uint64_t cut_seed,
                               struct tl_pack_info *info, struct tl_status *st)
{
    struct tl_segment_meta meta = {.table = 3,
                                   .shard = 1,
                                   .schema_version = 9,
                                   .level = 0,
                                   .start_us = INT64_MIN,
                                   .end_us = INT64_MAX,
                                   .provenance = {1, 2, 3, UINT64_MAX}};
    struct tl_pack_writer *w;
    assert_ok(st, tl_pack_create(io, id, options, &w, st));
    model_write_segment(w, m, &meta, cut_seed, st);
    assert_ok(st, tl_pack_finish(w, info, st));
}

/* Row `i` of a vector is row `row` of the model's column? */
static inline bool model_row_equals(const struct model *m, uint32_t c, uint32_t row,
                                    const struct tl_vector *v, uint32_t i,
                                    const struct tl_slice *strings)
{
    if (tl_vector_valid(v, i) != m->valid[c][row])
        return false;
    if (!m->valid[c][row])
        return true;
    if (v->type.kind == TL_TEXT)
        return tl_slice_eq(strings[i], model_string(m, c, row));
    uint32_t width = tl_kind_width(v->type.kind);
    uint8_t want[8];
    put_raw(want, width, m->values[c][row]);
    size_t at = v->shape == TL_CONST ? 0 : (size_t)i * width;
    return memcmp((const uint8_t *)v->data + at, want, width) == 0;
}

/* A reader of every column of a segment. */
struct model_reader {
    const struct tl_segment *segment;
    struct tl_arena arena;
    struct tl_cursor cursors[MODEL_COLUMNS];
    struct tl_dict_reader dicts[MODEL_COLUMNS];
    struct tl_read_stats stats;
    uint32_t opened;
};

static inline enum tl_code model_reader_open(struct model_reader *r, const struct tl_segment *s,
                                             struct tl_status *st)
{
    memset(r, 0, sizeof(*r));
    r->segment = s;
    tl_arena_init(&r->arena, NULL, 64 << 10);
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++, r->opened++) {
        const struct tl_column *col = tl_segment_column(s, model_columns[c].id);
        if (!col || !tl_type_eq(col->type, model_columns[c].type))
            return TL_FAIL(st, TL_CORRUPT, "column %u is missing", model_columns[c].id);
        enum tl_code rc = TL_OK;
        bool text = col->type.kind == TL_TEXT;
        if (text)
            rc = tl_dict_reader_open(&r->dicts[c], col, &r->stats, st);
        if (!rc)
            rc = tl_cursor_init(&r->cursors[c], col, text ? &r->dicts[c].dict : NULL, &r->arena,
                                &r->stats, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static inline void model_reader_close(struct model_reader *r)
{
    for (uint32_t c = 0; c < MODEL_COLUMNS; c++) {
        if (c < r->opened)
            tl_cursor_close(&r->cursors[c]);
        if (r->dicts[c].lock)
            tl_dict_reader_close(&r->dicts[c]);
    }
    tl_arena_deinit(&r->arena);
}

/* Rows [lo, hi) of the segment are rows [at, …) of the model; *equal says whether they are. */
static inline enum tl_code model_compare(struct model_reader *r, const struct model *m, uint32_t c,
                                         uint32_t lo, uint32_t hi, uint32_t at, bool *equal,
                                         struct tl_status *st)
{
    struct tl_slice strings[TL_VECTOR_ROWS_MAX];
    struct tl_vector v;
    enum tl_code rc = tl_cursor_read(&r->cursors[c], lo, hi, NULL, &v, st);
    if (rc)
        return rc;
    if (v.count != hi - lo || (v.shape != TL_CONST && !tl_vector_check(&v))) {
        *equal = false;
        return TL_OK;
    }
    if (v.shape == TL_DICT) {
        for (uint32_t i = 0; i < v.count; i++) {
            if (!tl_vector_valid(&v, i))
                continue;
            rc = tl_dict_get(v.dict, &v.codes[i], 1, &strings[i], st);
            if (rc)
                return rc;
        }
    }
    *equal = true;
    for (uint32_t i = 0; i < v.count; i++)
        *equal = *equal && model_row_equals(m, c, at + i, &v, i, strings);
    return TL_OK;
}

/* Every row of every column, in order. */
static inline enum tl_code model_compare_all(const struct tl_segment *s, const struct model *m,
                                             bool *equal, struct tl_status *st)
{
    struct model_reader r;
    enum tl_code rc = model_reader_open(&r, s, st);
    *equal = tl_segment_rows(s) == m->rows;
    for (uint32_t c = 0; !rc && *equal && c < MODEL_COLUMNS; c++)
        for (uint32_t row = 0; !rc && *equal && row < m->rows; row += TL_VECTOR_ROWS_MAX) {
            uint32_t hi = row + TL_VECTOR_ROWS_MAX < m->rows ? row + TL_VECTOR_ROWS_MAX : m->rows;
            rc = model_compare(&r, m, c, row, hi, row, equal, st);
        }
    model_reader_close(&r);
    return rc;
}

#endif
