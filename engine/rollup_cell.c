#include "engine/rollup_cell.h"

#include <math.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/rollup_set.h"

enum {
    GROUPS_COMPARED = 8, /* one by one; more are hashed */
    CELL_CHUNK_BYTES = 16384,
    SORT_SMALL = 24,
};

/* Makes room for `need` elements; what is there stays. */
static enum tl_code grow(struct tl_rollup_cell *c, void *array, uint32_t *capacity, uint32_t need,
                         size_t size, struct tl_status *st)
{
    void **at = array;
    if (need <= *capacity)
        return TL_OK;
    uint64_t room = *capacity ? 2 * (uint64_t)*capacity : 64;
    while (room < need)
        room *= 2;
    if (room > UINT32_MAX)
        return TL_FAIL(st, TL_LIMIT, "more than 2^32 values in one bucket of a rollup");
    void *grown = tl_arena_calloc(&c->memory, room, size, st);
    if (!grown)
        return st->code;
    if (*capacity)
        memcpy(grown, *at, *capacity * size);
    *at = grown;
    *capacity = (uint32_t)room;
    return TL_OK;
}

enum tl_code tl_rollup_cell_init(struct tl_rollup_cell *c, const struct tl_view *view,
                                 struct tl_budget *budget, struct tl_status *st)
{
    *c = (struct tl_rollup_cell){.view = view};
    tl_arena_init(&c->memory, budget, CELL_CHUNK_BYTES);
    tl_arena_init(&c->scratch, budget, CELL_CHUNK_BYTES);
    tl_sketch_memory_init(&c->sketches, &c->scratch);
    c->members = tl_arena_calloc(&c->memory, view->agg_count, sizeof(*c->members), st);
    return c->members ? TL_OK : st->code;
}

void tl_rollup_cell_deinit(struct tl_rollup_cell *c)
{
    tl_arena_deinit(&c->memory);
    tl_arena_deinit(&c->scratch);
}

void tl_rollup_cell_begin(struct tl_rollup_cell *c)
{
    c->group_count = 0;
    c->table_mask = 0;
    for (uint32_t i = 0; i < c->view->agg_count; i++)
        c->members[i].count = c->members[i].span_count = 0;
    if (tl_arena_bytes(&c->scratch) > 0) {
        tl_arena_reset(&c->scratch);
        tl_sketch_memory_init(&c->sketches, &c->scratch);
    }
}

/* ---- groups ---- */

static bool same_keys(const struct tl_rollup_cell *c, uint32_t group, const uint64_t *keys,
                      uint64_t null_dims)
{
    uint32_t n = c->view->dim_count;
    const uint64_t *have = c->keys + (size_t)group * n;
    for (uint32_t d = 0; d < n; d++)
        if (have[d] != keys[d])
            return false;
    return c->null_dims[group] == null_dims;
}

static uint32_t hash_keys(const struct tl_rollup_cell *c, const uint64_t *keys, uint64_t null_dims)
{
    uint64_t h = null_dims;
    for (uint32_t d = 0; d < c->view->dim_count; d++)
        h = tl_hash_u64(h ^ keys[d]);
    return (uint32_t)(h >> 32);
}

static void table_put(struct tl_rollup_cell *c, uint32_t group)
{
    uint32_t at = hash_keys(c, c->keys + (size_t)group * c->view->dim_count, c->null_dims[group]);
    for (at &= c->table_mask; c->table[at]; at = (at + 1) & c->table_mask)
        ;
    c->table[at] = group + 1;
}

static enum tl_code table_make(struct tl_rollup_cell *c, struct tl_status *st)
{
    uint32_t size = 64;
    while (size < 4 * c->group_count)
        size *= 2;
    if (grow(c, &c->table, &c->table_capacity, size, sizeof(*c->table), st))
        return st->code;
    memset(c->table, 0, size * sizeof(*c->table));
    c->table_mask = size - 1;
    for (uint32_t g = 0; g < c->group_count; g++)
        table_put(c, g);
    return TL_OK;
}

static enum tl_code add_group(struct tl_rollup_cell *c, const uint64_t *keys, uint64_t null_dims,
                              uint32_t *group, struct tl_status *st)
{
    uint32_t n = c->view->dim_count;
    uint32_t g = c->group_count;
    if (g == c->group_capacity) {
        uint32_t capacity = c->group_capacity;
        uint32_t rooms[3] = {capacity, capacity, capacity};
        if (grow(c, &c->keys, &rooms[0], g + 1, (n ? n : 1) * sizeof(uint64_t), st) ||
            grow(c, &c->null_dims, &rooms[1], g + 1, sizeof(uint64_t), st) ||
            grow(c, &c->states, &rooms[2], g + 1, c->view->agg_count * sizeof(*c->states), st))
            return st->code;
        c->group_capacity = rooms[0];
    }
    for (uint32_t d = 0; d < n; d++)
        c->keys[(size_t)g * n + d] = keys[d];
    c->null_dims[g] = null_dims;
    memset(tl_rollup_cell_state(c, g, 0), 0, c->view->agg_count * sizeof(*c->states));
    c->group_count++;
    if (c->table_mask && 2 * c->group_count <= c->table_mask)
        table_put(c, g);
    else if (c->group_count > GROUPS_COMPARED && table_make(c, st))
        return st->code;
    *group = g;
    return TL_OK;
}

enum tl_code tl_rollup_cell_group(struct tl_rollup_cell *c, const uint64_t *keys,
                                  uint64_t null_dims, uint32_t *group, struct tl_status *st)
{
    if (c->table_mask) {
        uint32_t at = hash_keys(c, keys, null_dims) & c->table_mask;
        for (; c->table[at]; at = (at + 1) & c->table_mask)
            if (same_keys(c, c->table[at] - 1, keys, null_dims)) {
                *group = c->table[at] - 1;
                return TL_OK;
            }
    } else {
        for (uint32_t g = 0; g < c->group_count; g++)
            if (same_keys(c, g, keys, null_dims)) {
                *group = g;
                return TL_OK;
            }
    }
    return add_group(c, keys, null_dims, group, st);
}

static bool is_valid(const struct tl_rollup_values *v, uint32_t row)
{
    return !v->valid || tl_bit_get(v->valid, row);
}

/* groups[i] of row lo + i. */
static enum tl_code find_groups(struct tl_rollup_cell *c, const struct tl_rollup_rows *r,
                                uint32_t *groups, struct tl_status *st)
{
    uint64_t keys[TL_ROLLUP_COLUMNS_MAX];
    uint64_t before[TL_ROLLUP_COLUMNS_MAX];
    uint64_t nulls_before = 0;
    uint32_t group = UINT32_MAX;
    uint32_t n = c->view->dim_count;
    for (uint32_t row = r->lo; row < r->hi; row++) {
        uint64_t nulls = 0;
        bool same = group != UINT32_MAX;
        for (uint32_t d = 0; d < n; d++) {
            bool valid = is_valid(&r->slots[d], row);
            keys[d] = valid ? r->slots[d].values[row] : 0;
            nulls |= (uint64_t)!valid << d;
            same = same && keys[d] == before[d];
        }
        if (!same || nulls != nulls_before) {
            if (tl_rollup_cell_group(c, keys, nulls, &group, st))
                return st->code;
            for (uint32_t d = 0; d < n; d++)
                before[d] = keys[d];
            nulls_before = nulls;
        }
        groups[row - r->lo] = group;
    }
    return TL_OK;
}

/* ---- adding raw rows ---- */

static double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

/* a sorts before b; NaN is the greatest. */
static bool less(double a, double b)
{
    return isnan(b) ? !isnan(a) : a < b;
}

static void take_extreme(struct tl_rollup_state *s, const struct tl_rollup_column *c, uint64_t bits)
{
    bool max = c->kind == TL_ROLLUP_MAX;
    if (c->from.kind == TL_DOUBLE) {
        double x = double_of(bits);
        if (s->count == 0 || (max ? less(s->value.number, x) : less(x, s->value.number)))
            s->value.number = x;
    } else {
        int64_t x = (int64_t)bits;
        if (s->count == 0 || (max ? x > s->value.integer : x < s->value.integer))
            s->value.integer = x;
    }
    s->count++;
}

static enum tl_code span_of(struct tl_rollup_cell *c, struct tl_rollup_members *m, uint32_t source,
                            struct tl_status *st)
{
    if (m->span_count > 0 && m->spans[m->span_count - 1].source == source)
        return TL_OK;
    if (grow(c, &m->spans, &m->span_capacity, m->span_count + 1, sizeof(*m->spans), st))
        return st->code;
    m->spans[m->span_count++] = (struct tl_rollup_span){source, m->count};
    return TL_OK;
}

/* The codes of a stored set join the members. */
static enum tl_code expand_set(struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                               struct tl_slice bytes, uint32_t source, uint32_t count,
                               struct tl_status *st)
{
    struct tl_rollup_members *m = &c->members[agg];
    uint32_t *codes = malloc((size_t)count * sizeof(*codes));
    if (!codes)
        return TL_FAIL(st, TL_LIMIT, "no memory for a set of %u values", count);
    if (!tl_rollup_set_codes(bytes, count, codes, st) && !span_of(c, m, source, st) &&
        !grow(c, &m->keys, &m->capacity, m->count + count, sizeof(*m->keys), st)) {
        for (uint32_t i = 0; i < count; i++)
            m->keys[m->count + i] = (uint64_t)group << 32 | codes[i];
        m->count += count;
    }
    free(codes);
    return st->code;
}

/* A set that stood alone no longer does. */
static enum tl_code expand_alone(struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                                 struct tl_status *st)
{
    struct tl_rollup_state *s = tl_rollup_cell_state(c, group, agg);
    struct tl_slice bytes = s->more.set.bytes;
    s->more.set.bytes = tl_slice_of(NULL, 0);
    return expand_set(c, group, agg, bytes, s->more.set.source, s->more.set.count, st);
}

static enum tl_code add_members(struct tl_rollup_cell *c, const struct tl_rollup_rows *r,
                                uint32_t agg, const uint32_t *groups, struct tl_status *st)
{
    const struct tl_rollup_values *v = &r->slots[c->view->agg_slot[agg]];
    struct tl_rollup_members *m = &c->members[agg];
    uint32_t n = r->hi - r->lo;
    for (uint32_t i = 0; i < n; i++)
        if (tl_rollup_cell_state(c, groups[i], agg)->more.set.bytes.size > 0 &&
            expand_alone(c, groups[i], agg, st))
            return st->code;
    if (span_of(c, m, r->source, st) ||
        grow(c, &m->keys, &m->capacity, m->count + n, sizeof(*m->keys), st))
        return st->code;
    uint64_t before = UINT64_MAX; /* a visitor's events follow each other */
    for (uint32_t i = 0; i < n; i++) {
        if (!is_valid(v, r->lo + i))
            continue;
        uint64_t key = (uint64_t)groups[i] << 32 | (uint32_t)v->values[r->lo + i];
        m->keys[m->count] = key;
        m->count += key != before;
        before = key;
        tl_rollup_cell_state(c, groups[i], agg)->count++;
    }
    return TL_OK;
}

static enum tl_code hash_of_code(const struct tl_rollup_source *s, uint32_t slot, uint32_t code,
                                 uint64_t *out, struct tl_status *st)
{
    uint64_t *memo = s->hashes ? s->hashes[slot] : NULL;
    if (memo && memo[code]) {
        *out = memo[code];
        return TL_OK;
    }
    struct tl_slice text;
    if (tl_dict_get(s->dicts[slot], &code, 1, &text, st))
        return st->code;
    *out = tl_sketch_hash_text(text);
    if (memo)
        memo[code] = *out;
    return TL_OK;
}

static enum tl_code add_sketch(struct tl_rollup_cell *c, const struct tl_rollup_rows *r,
                               uint32_t agg, const uint32_t *groups, struct tl_status *st)
{
    const struct tl_rollup_column *col = tl_view_agg(c->view, agg);
    uint32_t slot = c->view->agg_slot[agg];
    const struct tl_rollup_values *v = &r->slots[slot];
    const struct tl_vector *vector = &r->vectors[slot];
    bool distinct = col->kind == TL_ROLLUP_APPROX_DISTINCT;
    uint64_t *hashes = NULL;
    double *numbers = NULL;
    uint64_t computed[TL_VECTOR_ROWS_MAX];
    uint16_t selection[TL_VECTOR_ROWS_MAX];
    for (uint32_t row = r->lo; row < r->hi; row++)
        selection[row - r->lo] = (uint16_t)row;
    if (distinct && col->from.kind != TL_TEXT) {
        hashes = computed;
        tl_sketch_hash_rows(vector, selection, r->hi - r->lo, hashes);
    } else if (!distinct) {
        numbers = (double *)(void *)computed;
        tl_sketch_doubles(vector, selection, r->hi - r->lo, numbers);
    }
    for (uint32_t row = r->lo; row < r->hi; row++) {
        if (!is_valid(v, row))
            continue;
        struct tl_rollup_state *s = tl_rollup_cell_state(c, groups[row - r->lo], agg);
        s->count++;
        if (numbers) {
            if (tl_quantile_add(&s->more.quantile, &c->sketches, numbers[row], 1, st))
                return st->code;
            continue;
        }
        uint64_t h = hashes ? hashes[row] : 0;
        if ((!hashes &&
             hash_of_code(&c->sources[r->source], slot, (uint32_t)v->values[row], &h, st)) ||
            tl_hll_add(&s->more.hll, &c->sketches, h, st))
            return st->code;
    }
    return TL_OK;
}

static enum tl_code add_rows(struct tl_rollup_cell *c, const struct tl_rollup_rows *r, uint32_t agg,
                             const uint32_t *groups, struct tl_status *st)
{
    const struct tl_rollup_column *col = tl_view_agg(c->view, agg);
    uint32_t stride = c->view->agg_count;
    struct tl_rollup_state *states = c->states + agg;
    uint32_t n = r->hi - r->lo;
    if (col->kind == TL_ROLLUP_COUNT_STAR) {
        for (uint32_t i = 0; i < n; i++)
            states[(size_t)groups[i] * stride].count++;
        return TL_OK;
    }
    if (col->kind == TL_ROLLUP_COUNT_DISTINCT)
        return add_members(c, r, agg, groups, st);
    if (col->kind == TL_ROLLUP_APPROX_DISTINCT || col->kind == TL_ROLLUP_APPROX_PERCENTILE)
        return add_sketch(c, r, agg, groups, st);
    const struct tl_rollup_values *v = &r->slots[c->view->agg_slot[agg]];
    for (uint32_t i = 0; i < n; i++) {
        struct tl_rollup_state *s = &states[(size_t)groups[i] * stride];
        if (!is_valid(v, r->lo + i))
            continue;
        uint64_t bits = v->values[r->lo + i];
        if (col->kind == TL_ROLLUP_MIN || col->kind == TL_ROLLUP_MAX) {
            take_extreme(s, col, bits);
            continue;
        }
        s->count++;
        if (col->kind == TL_ROLLUP_COUNT)
            continue;
        if (col->from.kind == TL_DOUBLE)
            s->value.number += double_of(bits);
        else
            s->sum += (int64_t)bits;
    }
    return TL_OK;
}

enum tl_code tl_rollup_cell_rows(struct tl_rollup_cell *c, const struct tl_rollup_rows *rows,
                                 struct tl_status *st)
{
    uint32_t groups[TL_VECTOR_ROWS_MAX];
    tl_assert(rows->lo < rows->hi && rows->hi <= TL_VECTOR_ROWS_MAX);
    if (find_groups(c, rows, groups, st))
        return st->code;
    for (uint32_t agg = 0; agg < c->view->agg_count; agg++)
        if (add_rows(c, rows, agg, groups, st))
            return st->code;
    return TL_OK;
}

/* ---- adding stored parts ---- */

static enum tl_code part_set(struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                             uint32_t source, struct tl_slice bytes, struct tl_status *st)
{
    struct tl_rollup_state *s = tl_rollup_cell_state(c, group, agg);
    const struct tl_dict *dict = c->sources[source].dicts[c->view->agg_slot[agg]];
    uint32_t count;
    if (tl_rollup_set_count(bytes, dict ? dict->count : 0, &count, st))
        return st->code;
    if (s->count == 0) {
        s->count = 1; /* no longer empty */
        s->more.set.bytes = bytes;
        s->more.set.source = source;
        s->more.set.count = count;
        return TL_OK;
    }
    if (s->more.set.bytes.size > 0 && expand_alone(c, group, agg, st))
        return st->code;
    return expand_set(c, group, agg, bytes, source, count, st);
}

enum tl_code tl_rollup_cell_part(struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                                 uint32_t source, const struct tl_rollup_part *part,
                                 struct tl_status *st)
{
    const struct tl_rollup_column *col = tl_view_agg(c->view, agg);
    struct tl_rollup_state *s = tl_rollup_cell_state(c, group, agg);
    uint64_t bits = (uint64_t)part->numbers[0];
    switch ((enum tl_rollup_kind)col->kind) {
    case TL_ROLLUP_COUNT_STAR:
    case TL_ROLLUP_COUNT:
        s->count += part->valid[0] ? part->numbers[0] : 0;
        break;
    case TL_ROLLUP_SUM:
    case TL_ROLLUP_AVG:
        if (!part->valid[0])
            break;
        s->count += col->kind == TL_ROLLUP_AVG ? part->numbers[2] : 1;
        if (col->from.kind == TL_DOUBLE) {
            s->value.number += double_of(bits);
        } else {
            tl_i128 high = part->valid[1] ? part->numbers[1] : 0;
            s->sum += (tl_i128)part->numbers[0] + high * ((tl_i128)1 << 64);
        }
        break;
    case TL_ROLLUP_MIN:
    case TL_ROLLUP_MAX:
        if (part->valid[0])
            take_extreme(s, col, bits);
        break;
    case TL_ROLLUP_COUNT_DISTINCT:
        return part->bytes.size > 0 ? part_set(c, group, agg, source, part->bytes, st) : TL_OK;
    case TL_ROLLUP_APPROX_DISTINCT:
        s->count += part->bytes.size > 0;
        return part->bytes.size > 0
                   ? tl_hll_merge_bytes(&s->more.hll, &c->sketches, part->bytes, st)
                   : TL_OK;
    case TL_ROLLUP_APPROX_PERCENTILE:
        s->count += part->bytes.size > 0;
        return part->bytes.size > 0
                   ? tl_quantile_merge_bytes(&s->more.quantile, &c->sketches, part->bytes, st)
                   : TL_OK;
    default:
        tl_assert(false);
    }
    return TL_OK;
}

/* ---- sets ---- */

static enum tl_code sort_keys(struct tl_rollup_cell *c, uint64_t *keys, uint32_t n,
                              struct tl_status *st)
{
    for (uint32_t lo = 0; lo < n; lo += SORT_SMALL) {
        uint32_t hi = n - lo < SORT_SMALL ? n : lo + SORT_SMALL;
        for (uint32_t i = lo + 1; i < hi; i++) {
            uint64_t x = keys[i];
            uint32_t k = i;
            for (; k > lo && keys[k - 1] > x; k--)
                keys[k] = keys[k - 1];
            keys[k] = x;
        }
    }
    if (n <= SORT_SMALL)
        return TL_OK;
    if (grow(c, &c->sort_buffer, &c->sort_capacity, n, sizeof(*keys), st))
        return st->code;
    uint64_t *from = keys;
    uint64_t *to = c->sort_buffer;
    for (uint64_t width = SORT_SMALL; width < n; width *= 2) {
        for (uint64_t lo = 0; lo < n; lo += 2 * width) {
            uint64_t mid = lo + width < n ? lo + width : n;
            uint64_t hi = lo + 2 * width < n ? lo + 2 * width : n;
            uint64_t a = lo;
            uint64_t b = mid;
            for (uint64_t i = lo; i < hi; i++)
                to[i] = a < mid && (b >= hi || from[a] <= from[b]) ? from[a++] : from[b++];
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys)
        memcpy(keys, from, (size_t)n * sizeof(*keys));
    return TL_OK;
}

/* Spans of one source become one; usually there is only one span. */
static void join_spans(struct tl_rollup_members *m, uint64_t *buffer)
{
    uint32_t at = 0;
    uint32_t n = 0;
    struct tl_rollup_span *spans = m->spans;
    for (uint32_t i = 0; i < m->span_count; i++) {
        uint32_t source = spans[i].source;
        if (source == UINT32_MAX)
            continue;
        uint32_t begin = at;
        for (uint32_t k = i; k < m->span_count; k++) {
            uint32_t lo = spans[k].begin;
            uint32_t hi = k + 1 < m->span_count ? spans[k + 1].begin : m->count;
            if (spans[k].source != source)
                continue;
            memcpy(buffer + at, m->keys + lo, (size_t)(hi - lo) * sizeof(*buffer));
            at += hi - lo;
            if (k > i)
                spans[k].source = UINT32_MAX;
        }
        /* Places before i + 1 are not read again, but for where a span begins: keep it apart. */
        buffer[m->count + n] = (uint64_t)begin << 32 | source;
        n++;
    }
    memcpy(m->keys, buffer, (size_t)m->count * sizeof(*buffer));
    for (uint32_t i = 0; i < n; i++)
        spans[i] = (struct tl_rollup_span){(uint32_t)buffer[m->count + i],
                                           (uint32_t)(buffer[m->count + i] >> 32)};
    m->span_count = n;
}

enum tl_code tl_rollup_cell_finish(struct tl_rollup_cell *c, struct tl_status *st)
{
    for (uint32_t agg = 0; agg < c->view->agg_count; agg++) {
        struct tl_rollup_members *m = &c->members[agg];
        if (m->span_count > 1) {
            if (grow(c, &c->sort_buffer, &c->sort_capacity, m->count + m->span_count,
                     sizeof(uint64_t), st))
                return st->code;
            join_spans(m, c->sort_buffer);
        }
        uint32_t out = 0;
        for (uint32_t s = 0; s < m->span_count; s++) {
            uint32_t lo = m->spans[s].begin;
            uint32_t hi = s + 1 < m->span_count ? m->spans[s + 1].begin : m->count;
            if (sort_keys(c, m->keys + lo, hi - lo, st))
                return st->code;
            m->spans[s].begin = out;
            for (uint32_t i = lo; i < hi; i++)
                if (i == lo || m->keys[i] != m->keys[out - 1])
                    m->keys[out++] = m->keys[i];
        }
        m->count = out;
    }
    return TL_OK;
}

/* The group's run within [lo, hi) of sorted keys. */
static void find_run(const uint64_t *keys, uint32_t lo, uint32_t hi, uint32_t group,
                     uint32_t *begin, uint32_t *end)
{
    uint32_t bounds[2];
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t want = (uint64_t)(group + i) << 32;
        uint32_t a = lo;
        uint32_t b = hi;
        while (a < b) {
            uint32_t mid = a + (b - a) / 2;
            if (keys[mid] < want)
                a = mid + 1;
            else
                b = mid;
        }
        bounds[i] = a;
    }
    *begin = bounds[0];
    *end = bounds[1];
}

void tl_rollup_cell_codes(const struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                          const uint64_t **keys, uint32_t *count)
{
    const struct tl_rollup_members *m = &c->members[agg];
    uint32_t begin;
    uint32_t end;
    tl_assert(m->span_count <= 1);
    find_run(m->keys, 0, m->count, group, &begin, &end);
    *keys = m->keys + begin;
    *count = end - begin;
}

struct string {
    uint64_t hash;
    struct tl_slice text;
};

static int string_order(const void *a, const void *b)
{
    const struct string *x = a;
    const struct string *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return tl_slice_cmp(x->text, y->text);
}

/* Several sources: what their codes mean is compared. */
static enum tl_code count_strings(struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                                  uint32_t total, uint64_t *count, struct tl_status *st)
{
    const struct tl_rollup_members *m = &c->members[agg];
    uint32_t slot = c->view->agg_slot[agg];
    struct string *strings = tl_arena_alloc(&c->scratch, (size_t)total * sizeof(*strings), st);
    if (!strings)
        return st->code;
    uint32_t n = 0;
    for (uint32_t s = 0; s < m->span_count; s++) {
        uint32_t hi = s + 1 < m->span_count ? m->spans[s + 1].begin : m->count;
        uint32_t begin;
        uint32_t end;
        find_run(m->keys, m->spans[s].begin, hi, group, &begin, &end);
        const struct tl_dict *dict = c->sources[m->spans[s].source].dicts[slot];
        for (uint32_t i = begin; i < end; i++, n++) {
            uint32_t code = (uint32_t)m->keys[i];
            if (tl_dict_get(dict, &code, 1, &strings[n].text, st))
                return st->code;
            strings[n].hash = tl_hash64(strings[n].text.data, strings[n].text.size);
        }
    }
    qsort(strings, n, sizeof(*strings), string_order);
    *count = 0;
    for (uint32_t i = 0; i < n; i++)
        *count += i == 0 || string_order(&strings[i - 1], &strings[i]) != 0;
    return TL_OK;
}

enum tl_code tl_rollup_cell_distinct(struct tl_rollup_cell *c, uint32_t group, uint32_t agg,
                                     uint64_t *count, struct tl_status *st)
{
    const struct tl_rollup_members *m = &c->members[agg];
    const struct tl_rollup_state *s = tl_rollup_cell_state(c, group, agg);
    if (s->more.set.bytes.size > 0) {
        *count = s->more.set.count;
        return TL_OK;
    }
    uint64_t total = 0;
    uint32_t sources = 0;
    for (uint32_t i = 0; i < m->span_count; i++) {
        uint32_t hi = i + 1 < m->span_count ? m->spans[i + 1].begin : m->count;
        uint32_t begin;
        uint32_t end;
        find_run(m->keys, m->spans[i].begin, hi, group, &begin, &end);
        sources += end > begin;
        total += end - begin;
    }
    *count = total;
    return sources > 1 ? count_strings(c, group, agg, (uint32_t)total, count, st) : TL_OK;
}
