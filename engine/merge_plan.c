#include "engine/merge_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "storage/segment.h"

enum { MERCHANTS_AT_ONCE = 1024 };

void tl_merge_plan_deinit(struct tl_merge_plan *p)
{
    free(p->partitions);
    free(p->partition_rows);
    free(p->parts);
    *p = (struct tl_merge_plan){.partitions = NULL};
}

/* ---- reading times ---- */

struct times {
    struct tl_arena arena;
    struct tl_cursor cursor;
    struct tl_vector vector;
    uint32_t rows, lo, hi; /* the slice in hand */
};

static enum tl_code times_open(struct times *t, const struct tl_segment *s, struct tl_status *st)
{
    const struct tl_column *c = tl_segment_column(s, TL_COLUMN_TS);
    if (!c)
        return TL_FAIL(st, TL_CORRUPT, "a segment has no ts column");
    t->rows = c->rows;
    t->lo = t->hi = 0;
    tl_arena_init(&t->arena, NULL, 65536);
    if (tl_cursor_init(&t->cursor, c, NULL, &t->arena, NULL, st))
        tl_arena_deinit(&t->arena);
    return st->code;
}

static void times_close(struct times *t)
{
    tl_cursor_close(&t->cursor);
    tl_arena_deinit(&t->arena);
}

/* Times of the rows from `row` on: *n of them from the answer on; a constant column has *step 0. */
static const int64_t *times_at(struct times *t, uint32_t row, uint32_t *n, uint32_t *step,
                               struct tl_status *st)
{
    if (row < t->lo || row >= t->hi) {
        uint32_t lo = row - row % TL_VECTOR_ROWS_MAX;
        uint32_t hi = t->rows - lo < TL_VECTOR_ROWS_MAX ? t->rows : lo + TL_VECTOR_ROWS_MAX;
        t->hi = 0;
        if (tl_cursor_read(&t->cursor, lo, hi, NULL, &t->vector, st))
            return NULL;
        t->lo = lo;
        t->hi = hi;
    }
    *step = t->vector.shape == TL_CONST ? 0 : 1;
    *n = t->hi - row;
    return (const int64_t *)t->vector.data + (size_t)(row - t->lo) * *step;
}

/* ---- months ---- */

struct months {
    struct tl_policy_month *list; /* ascending */
    uint32_t count, capacity;
    uint32_t last; /* where the last row went */
};

static enum tl_code months_add(struct months *m, int64_t ts, struct tl_status *st)
{
    if (m->last >= m->count || ts < m->list[m->last].start_us || ts >= m->list[m->last].end_us) {
        uint32_t lo = 0;
        uint32_t hi = m->count;
        while (lo < hi) {
            uint32_t mid = (lo + hi) / 2;
            if (m->list[mid].end_us <= ts)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo == m->count || ts < m->list[lo].start_us) {
            if (m->count == m->capacity) {
                uint32_t capacity = m->capacity ? m->capacity * 2 : 64;
                struct tl_policy_month *list = realloc(m->list, capacity * sizeof(*list));
                if (!list)
                    return TL_FAIL(st, TL_LIMIT, "no memory for a merge's months");
                m->list = list;
                m->capacity = capacity;
            }
            memmove(&m->list[lo + 1], &m->list[lo], (m->count - lo) * sizeof(*m->list));
            m->list[lo] = (struct tl_policy_month){.min_us = ts, .max_us = ts};
            tl_policy_month_of(ts, &m->list[lo].start_us, &m->list[lo].end_us);
            m->count++;
        }
        m->last = lo;
    }
    struct tl_policy_month *x = &m->list[m->last];
    x->rows++;
    x->min_us = ts < x->min_us ? ts : x->min_us;
    x->max_us = ts > x->max_us ? ts : x->max_us;
    return TL_OK;
}

static enum tl_code months_scan(struct months *m, const struct tl_live_segment *s,
                                struct tl_status *st)
{
    struct tl_segment *segment;
    struct times t;
    if (tl_pack_segment(s->pack->pack, s->index, &segment, st) || times_open(&t, segment, st))
        return st->code;
    for (uint32_t row = 0; row < t.rows && st->code == TL_OK;) {
        uint32_t n;
        uint32_t step;
        const int64_t *ts = times_at(&t, row, &n, &step, st);
        for (uint32_t i = 0; ts && i < n; i++)
            if (months_add(m, ts[(size_t)i * step], st))
                break;
        row += ts ? n : 0;
    }
    times_close(&t);
    return st->code;
}

enum tl_code tl_merge_months(struct tl_live_segment *const *inputs, uint32_t count,
                             struct tl_policy_month **out, uint32_t *out_count,
                             struct tl_status *st)
{
    struct months m = {.list = NULL};
    for (uint32_t i = 0; i < count; i++)
        if (months_scan(&m, inputs[i], st)) {
            free(m.list);
            return st->code;
        }
    *out = m.list;
    *out_count = m.count;
    return TL_OK;
}

/* ---- partitions ---- */

enum tl_code tl_merge_plan_add(struct tl_merge_plan *p, const struct tl_segment_meta *meta,
                               int64_t grain_us, int64_t min_ts, int64_t max_ts,
                               struct tl_status *st)
{
    for (int64_t ts = min_ts; ts <= max_ts;) {
        if (p->partition_count == p->partition_capacity) {
            uint32_t capacity = p->partition_capacity ? p->partition_capacity * 2 : 64;
            struct tl_segment_meta *list = realloc(p->partitions, capacity * sizeof(*list));
            if (!list)
                return TL_FAIL(st, TL_LIMIT, "no memory for a merge's partitions");
            p->partitions = list;
            p->partition_capacity = capacity;
        }
        struct tl_segment_meta *m = &p->partitions[p->partition_count];
        *m = *meta;
        tl_policy_partition_of(ts, grain_us, &m->start_us, &m->end_us);
        tl_assert(p->partition_count == 0 || m[-1].end_us <= m->start_us);
        ts = m->end_us;
        p->partition_count++;
    }
    return TL_OK;
}

static uint32_t partition_find(const struct tl_merge_plan *p, int64_t ts)
{
    uint32_t lo = 0;
    uint32_t hi = p->partition_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (p->partitions[mid].end_us <= ts)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool within(const struct tl_segment_info *s, const struct tl_segment_meta *m)
{
    return s->min_ts >= m->start_us && s->max_ts < m->end_us;
}

static enum tl_code count_rows(struct tl_merge_plan *p, const struct tl_live_segment *s,
                               struct tl_status *st)
{
    uint32_t at = partition_find(p, s->info.min_ts);
    if (at < p->partition_count && within(&s->info, &p->partitions[at])) {
        p->partition_rows[at] += s->info.rows;
        return TL_OK;
    }
    struct tl_segment *segment;
    struct times t;
    if (tl_pack_segment(s->pack->pack, s->index, &segment, st) || times_open(&t, segment, st))
        return st->code;
    for (uint32_t row = 0; row < t.rows && st->code == TL_OK;) {
        uint32_t n;
        uint32_t step;
        const int64_t *ts = times_at(&t, row, &n, &step, st);
        for (uint32_t i = 0; ts && i < n; i++) {
            int64_t x = ts[(size_t)i * step];
            if (at >= p->partition_count || x < p->partitions[at].start_us ||
                x >= p->partitions[at].end_us)
                at = partition_find(p, x);
            if (at == p->partition_count || x < p->partitions[at].start_us) {
                TL_FAIL(st, TL_CORRUPT, "a row lies outside of its segment's partition");
                break;
            }
            p->partition_rows[at]++;
        }
        row += ts ? n : 0;
    }
    times_close(&t);
    return st->code;
}

/* ---- cutting a partition ---- */

/* The merchants of one input with their rows in one partition. */
struct merchants {
    const struct tl_segment *segment;
    bool whole; /* all rows lie in the partition */
    struct times times;
    uint32_t next, count; /* of the segment's merchants */
    uint32_t at, n;       /* of those in hand */
    int64_t ids[MERCHANTS_AT_ONCE];
    uint32_t rows[MERCHANTS_AT_ONCE];
};

static enum tl_code merchants_fill(struct merchants *m, const struct tl_segment_meta *p,
                                   struct tl_status *st)
{
    uint32_t first[MERCHANTS_AT_ONCE + 1];
    m->at = 0;
    m->n = m->count - m->next < MERCHANTS_AT_ONCE ? m->count - m->next : MERCHANTS_AT_ONCE;
    if (m->n == 0)
        return TL_OK;
    if (tl_segment_merchants(m->segment, m->next, m->n, m->ids, first, st))
        return st->code;
    m->next += m->n;
    for (uint32_t i = 0; i < m->n; i++) {
        m->rows[i] = m->whole ? first[i + 1] - first[i] : 0;
        for (uint32_t row = first[i]; !m->whole && row < first[i + 1];) {
            uint32_t n;
            uint32_t step;
            const int64_t *ts = times_at(&m->times, row, &n, &step, st);
            if (!ts)
                return st->code;
            n = n < first[i + 1] - row ? n : first[i + 1] - row;
            for (uint32_t k = 0; k < n; k++) {
                int64_t x = ts[(size_t)k * step];
                m->rows[i] += x >= p->start_us && x < p->end_us;
            }
            row += n;
        }
    }
    return TL_OK;
}

static enum tl_code put_part(struct tl_merge_plan *p, const struct tl_merge_part *part,
                             struct tl_status *st)
{
    if (p->part_count == TL_PARTS_MAX)
        return TL_FAIL(st, TL_LIMIT, "a merge of more than %d parts", TL_PARTS_MAX);
    if (p->part_count == p->part_capacity) {
        uint32_t capacity = p->part_capacity ? p->part_capacity * 2 : 16;
        struct tl_merge_part *parts = realloc(p->parts, capacity * sizeof(*parts));
        if (!parts)
            return TL_FAIL(st, TL_LIMIT, "no memory for the parts of a merge");
        p->parts = parts;
        p->part_capacity = capacity;
    }
    p->parts[p->part_count++] = *part;
    return TL_OK;
}

/* A merchant's rows of the partition before ts_us, over all inputs. */
static enum tl_code rows_before(struct tl_live_segment *const *inputs, uint32_t count,
                                const struct tl_segment_meta *p, int64_t merchant, int64_t ts_us,
                                uint64_t *rows, struct tl_status *st)
{
    *rows = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_segment_info *info = &inputs[i]->info;
        struct tl_segment *s;
        uint32_t lo;
        uint32_t hi;
        uint32_t from;
        uint32_t to;
        if (merchant < info->min_merchant || merchant > info->max_merchant)
            continue;
        if (tl_pack_segment(inputs[i]->pack->pack, inputs[i]->index, &s, st) ||
            tl_segment_find_merchant(s, merchant, &lo, &hi, st))
            return st->code;
        if (lo == hi)
            continue;
        if (tl_segment_find_ts(s, lo, hi, p->start_us, &from, st) ||
            tl_segment_find_ts(s, lo, hi, ts_us, &to, st))
            return st->code;
        *rows += to > from ? to - from : 0;
    }
    return TL_OK;
}

/* The least time with at least `wanted` rows of the merchant before it. */
static enum tl_code cut_merchant(struct tl_live_segment *const *inputs, uint32_t count,
                                 const struct tl_segment_meta *p, int64_t merchant, uint64_t wanted,
                                 int64_t *ts, struct tl_status *st)
{
    int64_t lo = p->start_us;
    int64_t hi = p->end_us;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        uint64_t rows;
        if (rows_before(inputs, count, p, merchant, mid, &rows, st))
            return st->code;
        if (rows >= wanted)
            hi = mid;
        else
            lo = mid + 1;
    }
    *ts = lo;
    return TL_OK;
}

struct cutting {
    struct tl_merge_plan *plan;
    struct tl_live_segment *const *inputs;
    uint32_t count;
    uint32_t partition;
    uint64_t rows, part_rows;
    uint32_t pieces;
    struct merchants **readers;
    uint32_t reader_count;
};

static enum tl_code cut_pieces(struct cutting *c, struct tl_status *st)
{
    const struct tl_segment_meta *p = &c->plan->partitions[c->partition];
    struct tl_merge_part part = {.first_partition = c->partition, .partition_count = 1};
    uint64_t before = 0; /* rows of the merchants before */
    uint32_t piece = 1;  /* whose end is looked for */
    while (piece < c->pieces) {
        int64_t merchant = 0;
        uint64_t rows = 0;
        bool any = false;
        for (uint32_t i = 0; i < c->reader_count; i++) {
            const struct merchants *m = c->readers[i];
            if (m->at < m->n && (!any || m->ids[m->at] < merchant)) {
                merchant = m->ids[m->at];
                any = true;
            }
        }
        if (!any)
            break;
        for (uint32_t i = 0; i < c->reader_count; i++) {
            struct merchants *m = c->readers[i];
            if (m->at == m->n || m->ids[m->at] != merchant)
                continue;
            rows += m->rows[m->at++];
            if (m->at == m->n && merchants_fill(m, p, st))
                return st->code;
        }
        for (; piece < c->pieces && before + rows > c->rows * piece / c->pieces; piece++) {
            struct tl_merge_key key = {merchant, INT64_MIN};
            uint64_t wanted = c->rows * piece / c->pieces - before;
            if (rows > c->part_rows / 4 &&
                cut_merchant(c->inputs, c->count, p, merchant, wanted, &key.ts, st))
                return st->code;
            bool empty = part.from_key
                             ? key.merchant == part.from.merchant && key.ts <= part.from.ts
                             : before == 0 && key.ts <= p->start_us;
            if (empty)
                continue;
            part.to_key = true;
            part.to = key;
            if (put_part(c->plan, &part, st))
                return st->code;
            part.from_key = true;
            part.from = key;
            part.to_key = false;
        }
        before += rows;
    }
    return put_part(c->plan, &part, st);
}

static enum tl_code cut_partition(struct cutting *c, struct tl_status *st)
{
    const struct tl_segment_meta *p = &c->plan->partitions[c->partition];
    c->readers = calloc(c->count, sizeof(struct merchants *));
    c->reader_count = 0;
    if (!c->readers)
        return TL_FAIL(st, TL_LIMIT, "no memory to cut a merge into parts");
    for (uint32_t i = 0; i < c->count && st->code == TL_OK; i++) {
        const struct tl_live_segment *s = c->inputs[i];
        struct tl_segment *segment;
        if (s->info.max_ts < p->start_us || s->info.min_ts >= p->end_us)
            continue;
        struct merchants *m = calloc(1, sizeof(*m));
        if (!m) {
            TL_FAIL(st, TL_LIMIT, "no memory to cut a merge into parts");
            break;
        }
        m->whole = within(&s->info, p);
        m->count = s->info.merchants;
        if (tl_pack_segment(s->pack->pack, s->index, &segment, st) ||
            (!m->whole && times_open(&m->times, segment, st))) {
            free(m);
            break;
        }
        m->segment = segment;
        c->readers[c->reader_count++] = m;
        TL_IGNORE(merchants_fill(m, p, st));
    }
    if (st->code == TL_OK)
        TL_IGNORE(cut_pieces(c, st));
    for (uint32_t i = 0; i < c->reader_count; i++) {
        if (!c->readers[i]->whole)
            times_close(&c->readers[i]->times);
        free(c->readers[i]);
    }
    free(c->readers);
    return st->code;
}

enum tl_code tl_merge_plan_cut(struct tl_merge_plan *p, struct tl_live_segment *const *inputs,
                               uint32_t count, uint64_t part_rows, struct tl_status *st)
{
    tl_assert(part_rows > 0 && p->part_count == 0);
    p->partition_rows = calloc((size_t)p->partition_count + 1, sizeof(*p->partition_rows));
    if (!p->partition_rows)
        return TL_FAIL(st, TL_LIMIT, "no memory for a merge's partitions");
    for (uint32_t i = 0; i < count; i++)
        if (count_rows(p, inputs[i], st))
            return st->code;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->partition_count; i++)
        if (p->partition_rows[i] > 0) {
            p->partitions[kept] = p->partitions[i];
            p->partition_rows[kept++] = p->partition_rows[i];
        }
    p->partition_count = kept;
    for (uint32_t lo = 0, hi; lo < kept; lo = hi) {
        uint64_t rows = p->partition_rows[lo];
        uint32_t pieces = (uint32_t)((rows + part_rows - 1) / part_rows);
        hi = lo + 1;
        if (pieces > 1) {
            struct cutting c = {p, inputs, count, lo, rows, part_rows, pieces, NULL, 0};
            if (cut_partition(&c, st))
                return st->code;
            continue;
        }
        while (hi < kept && rows + p->partition_rows[hi] <= part_rows)
            rows += p->partition_rows[hi++];
        struct tl_merge_part part = {.first_partition = lo, .partition_count = hi - lo};
        if (put_part(p, &part, st))
            return st->code;
    }
    return TL_OK;
}

/* The first row at or after the key. */
static enum tl_code row_of(const struct tl_segment *s, const struct tl_merge_key *key,
                           uint32_t *row, struct tl_status *st)
{
    uint32_t lo;
    uint32_t hi;
    if (tl_segment_find_merchant(s, key->merchant, &lo, &hi, st))
        return st->code;
    *row = lo;
    if (lo < hi && key->ts > INT64_MIN)
        return tl_segment_find_ts(s, lo, hi, key->ts, row, st);
    return TL_OK;
}

enum tl_code tl_merge_part_rows(const struct tl_merge_part *part, const struct tl_segment *s,
                                uint32_t *lo, uint32_t *hi, struct tl_status *st)
{
    *lo = 0;
    *hi = tl_segment_rows(s);
    if (part->from_key && row_of(s, &part->from, lo, st))
        return st->code;
    if (part->to_key && row_of(s, &part->to, hi, st))
        return st->code;
    return TL_OK;
}
