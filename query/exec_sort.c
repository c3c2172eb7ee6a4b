/*
 * Sorting, and the first rows of a sort.
 *
 * Rows are kept column by column; what is sorted are entries of (prefix, row), where the prefix is
 * 64 bits of the first key in an order-preserving form, direction and NULLs' place included. Only
 * equal prefixes look at the rows. The sort is a merge sort, so equal rows stay in their order.
 *
 * With a limit, the rows kept are cut down to it whenever twice as many have gathered, and from
 * then on a row whose prefix is beyond the last kept one is not taken at all.
 */
#include <string.h>

#include "query/exec_int.h"

enum { LIMIT_HINT_MAX = 1 << 20, GATHER_MIN = 4096 };

struct column {
    struct tl_type type;
    uint32_t width;
    bool stable; /* TEXT that outlives the sort where it lies */
    struct tl__array values;
    struct tl__array valid; /* uint8_t */
};

struct entry {
    uint64_t prefix;
    uint32_t row;
    uint32_t unused;
};

struct sort {
    struct tl__op op;
    uint32_t column_count;
    struct column *columns;
    struct tl__array entries; /* of the rows kept, sorted at the end */
    struct tl__array other;   /* the other half of merging */
    uint32_t rows;            /* in the columns */
    struct tl_arena text;     /* copies of strings */
    bool limited;
    uint64_t limit; /* rows to keep, when limited */
    bool has_bound;
    uint64_t bound; /* prefixes beyond it are not taken */
    bool consumed;
    size_t next;
};

/* ---- prefixes ---- */

static uint64_t text_prefix(struct tl_slice s)
{
    uint64_t p = 0;
    for (size_t i = 0; i < 8; i++)
        p = p << 8 | (i < s.size ? s.data[i] : 0);
    return p;
}

/* 64 bits that never contradict the order of values (equal bits: look at the values). */
static uint64_t value_prefix(struct tl_type t, const void *data, size_t at)
{
    const uint64_t sign = (uint64_t)1 << 63;
    switch (t.kind) {
    case TL_TEXT:
        return text_prefix(((const struct tl_slice *)data)[at]);
    case TL_DOUBLE: {
        int64_t v = tl__fixed_get(t, data, at);
        return (uint64_t)(v < 0 ? v ^ INT64_MAX : v) ^ sign;
    }
    case TL_DECIMAL128: {
        tl_i128 v;
        memcpy(&v, (const uint8_t *)data + at * 16, 16);
        v = v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : v;
        return (uint64_t)(int64_t)v ^ sign;
    }
    case TL_INTERVAL: {
        struct tl_interval i = ((const struct tl_interval *)data)[at];
        tl_i128 v = (tl_i128)i.us + ((tl_i128)i.days + (tl_i128)i.months * 30) * 86400000000LL;
        v = v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : v;
        return (uint64_t)(int64_t)v ^ sign;
    }
    case TL_NULL:
    case TL_ARRAY:
        return 0;
    default:
        return (uint64_t)tl__fixed_get(t, data, at) ^ sign;
    }
}

/* The highest bit tells NULLs from values, so values give up their lowest. */
static uint64_t key_prefix(const struct tl_sort_key *key, const struct tl_vector *v, uint32_t row)
{
    const uint64_t high = (uint64_t)1 << 63;
    if (!tl_vector_valid(v, row))
        return key->nulls_first ? 0 : ~(uint64_t)0;
    uint64_t p = value_prefix(v->type, v->data, tl__step(v) * row) >> 1;
    if (key->descending)
        p = ~p & ~high;
    return key->nulls_first ? p | high : p;
}

/* ---- comparing ---- */

static int compare_rows(const struct sort *s, uint32_t a, uint32_t b)
{
    const struct tl_plan_node *node = s->op.node;
    for (uint32_t k = 0; k < node->sort_key_count; k++) {
        const struct tl_sort_key *key = &node->sort_keys[k];
        const struct column *c = &s->columns[key->column];
        bool va = TL__AT(uint8_t, &c->valid, a);
        bool vb = TL__AT(uint8_t, &c->valid, b);
        int order;
        if (!va || !vb) {
            if (va == vb)
                continue;
            return va == key->nulls_first ? 1 : -1;
        }
        order = tl__compare(c->type, c->values.data + (size_t)a * c->width, c->type,
                            c->values.data + (size_t)b * c->width);
        if (order)
            return key->descending ? -order : order;
    }
    return 0;
}

static inline bool not_after(const struct sort *s, const struct entry *a, const struct entry *b)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    return compare_rows(s, a->row, b->row) <= 0;
}

static enum tl_code sort_entries(struct sort *s, struct tl_status *st)
{
    enum { RUN = 16 };
    size_t n = s->entries.size;
    struct entry *a = (struct entry *)(void *)s->entries.data;
    for (size_t lo = 0; lo < n; lo += RUN) {
        size_t hi = lo + RUN < n ? lo + RUN : n;
        for (size_t i = lo + 1; i < hi; i++) {
            struct entry x = a[i];
            size_t at = i;
            for (; at > lo && !not_after(s, &a[at - 1], &x); at--)
                a[at] = a[at - 1];
            a[at] = x;
        }
    }
    if (n <= RUN)
        return TL_OK;
    enum tl_code rc = tl__array_reserve(&s->other, n, false, st);
    if (rc)
        return rc;
    struct entry *b = (struct entry *)(void *)s->other.data;
    for (size_t width = RUN; width < n; width *= 2) {
        rc = tl__run_check(s->op.run, st);
        if (rc)
            return rc;
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n;
            size_t hi = lo + 2 * width < n ? lo + 2 * width : n;
            size_t i = lo;
            size_t j = mid;
            for (size_t k = lo; k < hi; k++)
                b[k] = i < mid && (j >= hi || not_after(s, &a[i], &a[j])) ? a[i++] : a[j++];
        }
        struct entry *t = a;
        a = b;
        b = t;
    }
    if ((uint8_t *)a != s->entries.data) {
        struct tl__array t = s->entries;
        s->entries = s->other;
        s->entries.size = n;
        s->other = t;
    }
    return TL_OK;
}

/* ---- keeping rows ---- */

static void init_columns(struct column *columns, const struct column *like, uint32_t count,
                         struct tl_budget *budget)
{
    for (uint32_t c = 0; c < count; c++) {
        columns[c].type = like[c].type;
        columns[c].width = like[c].width;
        columns[c].stable = like[c].stable;
        tl__array_init(&columns[c].values, budget, like[c].width ? like[c].width : 1);
        tl__array_init(&columns[c].valid, budget, 1);
    }
}

/* Values of the chosen rows to the end of a column. */
static enum tl_code append(struct sort *s, struct column *c, const struct tl_vector *v,
                           const uint16_t *sel, uint32_t n, struct tl_status *st)
{
    enum tl_code rc = tl__array_reserve(&c->values, (size_t)s->rows + n, false, st);
    if (rc == TL_OK)
        rc = tl__array_reserve(&c->valid, (size_t)s->rows + n, false, st);
    if (rc)
        return rc;
    size_t step = tl__step(v);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t row = sel ? sel[k] : k;
        uint32_t at = s->rows + k;
        bool valid = tl_vector_valid(v, row);
        TL__AT(uint8_t, &c->valid, at) = valid;
        if (!valid) {
            memset(c->values.data + (size_t)at * c->width, 0, c->width);
        } else if (tl_kind_is_bytes(c->type.kind) && !c->stable) {
            struct tl_slice t = ((const struct tl_slice *)v->data)[step * row];
            const void *copy = tl_arena_copy(&s->text, t.data, t.size, st);
            if (!copy)
                return st->code;
            TL__AT(struct tl_slice, &c->values, at) = tl_slice_of(copy, t.size);
        } else {
            memcpy(c->values.data + (size_t)at * c->width,
                   (const uint8_t *)v->data + step * row * c->width, c->width);
        }
    }
    return TL_OK;
}

/* Sorts, keeps the first `limit` entries, and moves their rows together. */
static enum tl_code cut(struct sort *s, struct tl_status *st)
{
    enum tl_code rc = sort_entries(s, st);
    if (rc)
        return rc;
    if (s->entries.size <= s->limit)
        return TL_OK;
    s->entries.size = (size_t)s->limit;
    struct tl_budget *budget = s->op.run->budget;
    uint32_t n = (uint32_t)s->limit;
    struct tl_arena text;
    tl_arena_init(&text, budget, s->text.chunk_bytes);
    for (uint32_t i = 0; i < s->column_count; i++) {
        struct column *c = &s->columns[i];
        struct column moved;
        init_columns(&moved, c, 1, budget);
        rc = tl__array_reserve(&moved.values, n, false, st);
        if (rc == TL_OK)
            rc = tl__array_reserve(&moved.valid, n, false, st);
        for (uint32_t k = 0; k < n && rc == TL_OK; k++) {
            uint32_t row = TL__AT(struct entry, &s->entries, k).row;
            bool valid = TL__AT(uint8_t, &c->valid, row);
            TL__AT(uint8_t, &moved.valid, k) = valid;
            memcpy(moved.values.data + (size_t)k * c->width,
                   c->values.data + (size_t)row * c->width, c->width);
            if (valid && tl_kind_is_bytes(c->type.kind) && !c->stable) {
                struct tl_slice *t = &TL__AT(struct tl_slice, &moved.values, k);
                const void *copy = tl_arena_copy(&text, t->data, t->size, st);
                rc = copy ? TL_OK : st->code;
                t->data = copy;
            }
        }
        tl__array_deinit(&c->values);
        tl__array_deinit(&c->valid);
        *c = moved;
        if (rc)
            break;
    }
    tl_arena_deinit(&s->text);
    s->text = text;
    for (uint32_t k = 0; k < n; k++)
        TL__AT(struct entry, &s->entries, k).row = k;
    s->rows = n;
    if (n > 0 && s->op.node->sort_key_count > 0) {
        s->has_bound = true;
        s->bound = TL__AT(struct entry, &s->entries, n - 1).prefix;
    }
    return rc;
}

static enum tl_code take(struct sort *s, const struct tl__batch *batch, struct tl_status *st)
{
    struct tl__pipe *pipe = s->op.child->pipe;
    const struct tl_plan_node *node = s->op.node;
    const uint16_t *sel = batch->sel;
    uint32_t n = batch->n;
    enum tl_code rc;
    uint64_t *prefixes = tl_arena_alloc(&pipe->scratch, sizeof(*prefixes) * n, st);
    uint16_t *chosen = tl_arena_alloc(&pipe->scratch, sizeof(*chosen) * (n + 1u), st);
    if (!prefixes || !chosen)
        return st->code;
    memset(prefixes, 0, sizeof(*prefixes) * n);
    struct tl_vector first = {0};
    uint32_t first_column = UINT32_MAX;
    if (node->sort_key_count) {
        const struct tl_sort_key *key = &node->sort_keys[0];
        first_column = key->column;
        rc = tl__flatten(pipe, &batch->columns[first_column], sel, n, &first, st);
        if (rc)
            return rc;
        uint32_t m = 0;
        for (uint32_t k = 0; k < n; k++) {
            uint32_t row = sel ? sel[k] : k;
            uint64_t p = key_prefix(key, &first, row);
            if (s->has_bound && p > s->bound)
                continue;
            prefixes[m] = p;
            chosen[m++] = (uint16_t)row;
        }
        if (m < n) {
            sel = chosen;
            n = m;
        }
    }
    if (n == 0)
        return TL_OK;
    if ((uint64_t)s->rows + n > UINT32_MAX)
        return TL_FAIL(st, TL_LIMIT, "a sort of more than %u rows", UINT32_MAX);
    for (uint32_t c = 0; c < s->column_count; c++) {
        struct tl_vector v;
        if (c == first_column)
            v = first;
        else {
            rc = tl__flatten(pipe, &batch->columns[c], sel, n, &v, st);
            if (rc)
                return rc;
        }
        rc = append(s, &s->columns[c], &v, sel, n, st);
        if (rc)
            return rc;
    }
    rc = tl__array_reserve(&s->entries, s->entries.size + n, false, st);
    if (rc)
        return rc;
    for (uint32_t k = 0; k < n; k++)
        TL__AT(struct entry, &s->entries, s->entries.size++) =
            (struct entry){prefixes[k], s->rows + k, 0};
    s->rows += n;
    if (s->limited && s->entries.size >= s->limit * 2 && s->entries.size >= GATHER_MIN)
        return cut(s, st);
    return TL_OK;
}

/* limit + offset, when both are known and small. */
static enum tl_code read_limit(struct sort *s, struct tl_status *st)
{
    const struct tl_plan_node *node = s->op.node;
    struct tl__pipe *pipe = s->op.pipe;
    if (!node->limit)
        return TL_OK;
    uint64_t sum = 0;
    for (int i = 0; i < 2; i++) {
        const struct tl_expr *e = i ? node->offset : node->limit;
        if (!e)
            continue;
        struct tl_vector v;
        enum tl_code rc = tl__eval_constant(pipe, e, &v, st);
        if (rc)
            return rc;
        if (!tl_vector_valid(&v, 0)) {
            if (i == 0)
                return TL_OK; /* LIMIT NULL: all */
            continue;
        }
        int64_t x = *(const int64_t *)v.data;
        if (x < 0 || x > LIMIT_HINT_MAX)
            return TL_OK; /* refused, or too many to gain by it: the limit above tells */
        sum += (uint64_t)x;
    }
    s->limited = true;
    s->limit = sum;
    return TL_OK;
}

static enum tl_code sort_consume(struct sort *s, struct tl_status *st)
{
    enum tl_code rc = read_limit(s, st);
    if (rc)
        return rc;
    for (uint32_t c = 0; c < s->column_count; c++)
        s->columns[c].stable = tl__op_text_stable(s->op.child, c);
    for (;;) {
        struct tl__batch batch;
        rc = tl__op_next(s->op.child, &batch, st);
        if (rc)
            return rc;
        if (batch.n == 0)
            break;
        rc = take(s, &batch, st);
        if (rc)
            return rc;
    }
    tl__scan_close(&s->op); /* every value kept is our own */
    rc = sort_entries(s, st);
    if (rc == TL_OK && s->limited && s->entries.size > s->limit)
        s->entries.size = (size_t)s->limit;
    return rc;
}

static enum tl_code sort_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct sort *s = (struct sort *)op;
    if (!s->consumed) {
        s->consumed = true;
        enum tl_code rc = sort_consume(s, st);
        if (rc)
            return rc;
    }
    struct tl_arena *arena = &op->pipe->scratch;
    tl_arena_reset(arena);
    size_t left = s->entries.size - s->next;
    uint32_t n = left < TL_VECTOR_ROWS_MAX ? (uint32_t)left : TL_VECTOR_ROWS_MAX;
    *out = (struct tl__batch){.rows = n, .n = n};
    if (n == 0)
        return TL_OK;
    struct tl_vector *columns = tl_arena_calloc(arena, s->column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t i = 0; i < s->column_count; i++) {
        const struct column *c = &s->columns[i];
        uint8_t *data = tl_arena_alloc(arena, (size_t)c->width * n + 1, st);
        uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(n) + 1u, 8, st);
        if (!data || !validity)
            return st->code;
        bool nulls = false;
        for (uint32_t k = 0; k < n; k++) {
            uint32_t row = TL__AT(struct entry, &s->entries, s->next + k).row;
            memcpy(data + (size_t)k * c->width, c->values.data + (size_t)row * c->width, c->width);
            if (TL__AT(uint8_t, &c->valid, row))
                tl_bit_set(validity, k);
            else
                nulls = true;
        }
        columns[i] = (struct tl_vector){.type = c->type,
                                        .shape = TL_FLAT,
                                        .count = n,
                                        .data = data,
                                        .validity = nulls ? validity : NULL};
    }
    out->columns = columns;
    s->next += n;
    return TL_OK;
}

static void sort_close(struct tl__op *op)
{
    struct sort *s = (struct sort *)op;
    for (uint32_t c = 0; c < s->column_count; c++) {
        tl__array_deinit(&s->columns[c].values);
        tl__array_deinit(&s->columns[c].valid);
    }
    tl__array_deinit(&s->entries);
    tl__array_deinit(&s->other);
    tl_arena_deinit(&s->text);
}

static const struct tl__op_vtable sort_vtable = {sort_next, sort_close};

enum tl_code tl__sort_new(struct tl_run *run, const struct tl_plan_node *node,
                          struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct sort *s = tl_arena_calloc(&run->arena, 1, sizeof(*s), st);
    if (!s)
        return st->code;
    struct column *columns =
        tl_arena_calloc(&run->arena, node->column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t c = 0; c < node->column_count; c++) {
        columns[c].type = node->types[c];
        columns[c].width = tl_kind_width(node->types[c].kind);
    }
    init_columns(columns, columns, node->column_count, run->budget);
    s->columns = columns;
    s->column_count = node->column_count;
    tl__array_init(&s->entries, run->budget, sizeof(struct entry));
    tl__array_init(&s->other, run->budget, sizeof(struct entry));
    tl_arena_init(&s->text, run->budget, 4096);
    s->op = (struct tl__op){.vtab = &sort_vtable, .node = node, .pipe = pipe, .run = run};
    *out = &s->op;
    struct tl__pipe *below;
    enum tl_code rc = tl__pipe_new(run, &below, st);
    return rc ? rc : tl__op_new(run, node->child, below, &s->op.child, st);
}
