/*
 * The scan operator: the plan's bounds become a scan_spec, morsels become batches.
 *
 * The time range and the merchants are exact in the source. Simple predicates are hints unless the
 * morsel says otherwise; the filter above asks the pipe which. A bound that compares with NULL
 * matches nothing, so the scan is not opened at all.
 */
#include <string.h>

#include "query/exec_int.h"

enum { SMALL_ROWS = 256, SMALL_SCRATCH = 8 << 10, SCRATCH = 512 << 10, THREAD_ROWS_MIN = 100000 };

struct scan_op {
    struct tl__op op;
    struct tl__shared_scan *shared;
    struct tl_morsel morsel;
    bool holds;
    uint64_t given; /* rows of the morsel so far */
    bool *exact;    /* by the node's bounds */
};

/* ---- bounds ---- */

/* The value of a bound, or *null. Lives as long as the run. */
static enum tl_code bound_value(struct tl__pipe *pipe, const struct tl_expr *e,
                                struct tl_vector *out, bool *null, struct tl_status *st)
{
    enum tl_code rc = tl__eval_constant(pipe, e, out, st);
    if (rc)
        return rc;
    *null = !tl_vector_valid(out, 0);
    return TL_OK;
}

static void narrow_time(uint8_t op, int64_t v, int64_t *min, int64_t *max, bool *empty)
{
    int64_t lo = INT64_MIN;
    int64_t hi = INT64_MAX;
    switch (op) {
    case TL_PRED_EQ:
        lo = hi = v;
        break;
    case TL_PRED_LT:
        *empty = *empty || v == INT64_MIN;
        hi = v == INT64_MIN ? v : v - 1;
        break;
    case TL_PRED_LE:
        hi = v;
        break;
    case TL_PRED_GT:
        *empty = *empty || v == INT64_MAX;
        lo = v == INT64_MAX ? v : v + 1;
        break;
    default:
        tl_assert(op == TL_PRED_GE);
        lo = v;
        break;
    }
    *min = lo > *min ? lo : *min;
    *max = hi < *max ? hi : *max;
    *empty = *empty || *min > *max;
}

static void sort_ids(int64_t *v, uint32_t *count)
{
    for (uint32_t gap = *count / 2; gap > 0; gap /= 2) {
        for (uint32_t i = gap; i < *count; i++) {
            int64_t x = v[i];
            uint32_t at = i;
            for (; at >= gap && v[at - gap] > x; at -= gap)
                v[at] = v[at - gap];
            v[at] = x;
        }
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < *count; i++) {
        if (n == 0 || v[n - 1] != v[i])
            v[n++] = v[i];
    }
    *count = n;
}

/* All merchant bounds hold: the lists are intersected. */
static enum tl_code merchants_of(struct tl__pipe *pipe, const struct tl_plan_node *node,
                                 struct tl_scan_spec *spec, bool *empty, struct tl_status *st)
{
    int64_t *kept = NULL;
    uint32_t kept_count = 0;
    for (uint32_t b = 0; b < node->merchant_bound_count; b++) {
        const struct tl_scan_bound *bound = &node->merchant_bounds[b];
        int64_t *ids = tl_arena_alloc(&pipe->memory, sizeof(*ids) * (bound->value_count + 1u), st);
        if (!ids)
            return st->code;
        uint32_t n = 0;
        for (uint32_t i = 0; i < bound->value_count; i++) {
            struct tl_vector v;
            bool null;
            enum tl_code rc = bound_value(pipe, bound->values[i], &v, &null, st);
            if (rc)
                return rc;
            if (!null)
                ids[n++] = *(const int64_t *)v.data;
        }
        sort_ids(ids, &n);
        if (b == 0) {
            kept = ids;
            kept_count = n;
            continue;
        }
        uint32_t m = 0;
        uint32_t j = 0;
        for (uint32_t i = 0; i < kept_count; i++) {
            while (j < n && ids[j] < kept[i])
                j++;
            if (j < n && ids[j] == kept[i])
                kept[m++] = kept[i];
        }
        kept_count = m;
    }
    *empty = *empty || (node->merchant_bound_count > 0 && kept_count == 0);
    spec->merchants = kept;
    spec->merchant_count = kept_count;
    return TL_OK;
}

static enum tl_code predicates_of(struct tl__shared_scan *shared, struct tl__pipe *pipe,
                                  const struct tl_plan_node *node, struct tl_scan_spec *spec,
                                  struct tl_status *st)
{
    uint32_t count = node->bound_count;
    struct tl_predicate *predicates =
        tl_arena_calloc(&pipe->memory, count + 1u, sizeof(*predicates), st);
    shared->predicate_of_bound = tl_arena_calloc(&pipe->memory, count + 1u, sizeof(int32_t), st);
    if (!predicates || !shared->predicate_of_bound)
        return st->code;
    uint32_t n = 0;
    for (uint32_t b = 0; b < count; b++) {
        const struct tl_scan_bound *bound = &node->bounds[b];
        struct tl_type type = node->types[bound->column];
        uint32_t width = tl_kind_width(type.kind);
        shared->predicate_of_bound[b] = -1;
        if (n == TL_SCAN_PREDICATES_MAX)
            continue;
        bool valueless = bound->op == TL_PRED_IS_NULL || bound->op == TL_PRED_NOT_NULL;
        uint8_t *values =
            tl_arena_alloc(&pipe->memory, (size_t)width * (bound->value_count + 1u), st);
        if (!values)
            return st->code;
        uint32_t m = 0;
        for (uint32_t i = 0; i < bound->value_count; i++) {
            struct tl_vector v;
            bool null;
            enum tl_code rc = bound_value(pipe, bound->values[i], &v, &null, st);
            if (rc)
                return rc;
            if (null)
                continue; /* matches nothing; the filter above knows */
            if (tl_kind_is_bytes(type.kind)) {
                struct tl_slice s = *(const struct tl_slice *)v.data;
                const void *copy = tl_arena_copy(&pipe->memory, s.data, s.size, st);
                if (!copy)
                    return st->code;
                ((struct tl_slice *)(void *)values)[m++] = tl_slice_of(copy, s.size);
            } else {
                memcpy(values + (size_t)width * m++, v.data, width);
            }
        }
        if ((m == 0 && !valueless) || m > TL_VECTOR_ROWS_MAX)
            continue;
        shared->predicate_of_bound[b] = (int32_t)n;
        predicates[n++] = (struct tl_predicate){
            .column = bound->column,
            .op = bound->op,
            .value_count = m,
            .values = {.type = type, .shape = TL_FLAT, .count = m, .data = values},
        };
    }
    spec->predicates = predicates;
    spec->predicate_count = n;
    return TL_OK;
}

static enum tl_code open_locked(struct tl_run *run, struct tl__shared_scan *shared,
                                struct tl__pipe *pipe, struct tl_status *st)
{
    const struct tl_plan_node *node = shared->node;
    struct tl_scan_spec spec = {
        .table_id = node->table_id,
        .column_count = node->column_count,
        .columns = node->scan_columns,
        .ts_min_us = INT64_MIN,
        .ts_max_us = INT64_MAX,
        .budget = run->budget,
    };
    bool empty = false;
    for (uint32_t b = 0; b < node->ts_bound_count; b++) {
        const struct tl_scan_bound *bound = &node->ts_bounds[b];
        tl_assert(bound->value_count == 1);
        struct tl_vector v;
        bool null;
        enum tl_code rc = bound_value(pipe, bound->values[0], &v, &null, st);
        if (rc)
            return rc;
        empty = empty || null;
        if (!null)
            narrow_time(bound->op, *(const int64_t *)v.data, &spec.ts_min_us, &spec.ts_max_us,
                        &empty);
    }
    enum tl_code rc = merchants_of(pipe, node, &spec, &empty, st);
    if (rc == TL_OK)
        rc = predicates_of(shared, pipe, node, &spec, st);
    if (rc)
        return rc;
    shared->opened = true;
    shared->empty = shared->done = empty;
    if (empty)
        return TL_OK;
    return shared->source->vtab->open(shared->source, &spec, &shared->scan, st);
}

/* ---- morsels ---- */

static enum tl_code next_morsel_locked(struct tl__shared_scan *shared, struct tl_morsel *out,
                                       bool *found, struct tl_status *st)
{
    *found = false;
    if (shared->ahead_count) {
        *out = shared->ahead[0];
        *found = true;
        shared->ahead_count--;
        memmove(shared->ahead, shared->ahead + 1, sizeof(*out) * shared->ahead_count);
        return TL_OK;
    }
    if (shared->done)
        return TL_OK;
    *out = (struct tl_morsel){0};
    enum tl_code rc = shared->source->vtab->next_morsel(shared->scan, out, found, st);
    shared->done = rc == TL_OK && !*found;
    return rc;
}

static enum tl_code next_morsel(struct scan_op *self, bool *found, struct tl_status *st)
{
    struct tl_run *run = self->op.run;
    struct tl__shared_scan *shared = self->shared;
    enum tl_code rc = TL_OK;
    pthread_mutex_lock(&shared->lock);
    if (!shared->opened)
        rc = open_locked(run, shared, self->op.pipe, st);
    if (rc == TL_OK)
        rc = next_morsel_locked(shared, &self->morsel, found, st);
    pthread_mutex_unlock(&shared->lock);
    if (rc || !*found)
        return rc;
    self->holds = true;
    self->given = 0;
    for (uint32_t b = 0; b < self->op.node->bound_count; b++) {
        int32_t p = shared->predicate_of_bound[b];
        self->exact[b] = p >= 0 && self->morsel.predicate_exact[p];
    }
    struct tl__pipe *pipe = self->op.pipe;
    pipe->exact = self->exact;
    size_t chunk = self->morsel.rows > SMALL_ROWS ? SCRATCH : SMALL_SCRATCH;
    if (chunk > pipe->scratch.chunk_bytes) {
        tl_arena_deinit(&pipe->scratch);
        pipe->scratch.chunk_bytes = chunk;
    }
    return TL_OK;
}

static void drop_morsel(struct scan_op *self)
{
    if (self->holds)
        self->shared->source->vtab->close_morsel(self->shared->scan, &self->morsel);
    self->holds = false;
}

static enum tl_code scan_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct scan_op *self = (struct scan_op *)op;
    struct tl_run *run = op->run;
    for (;;) {
        enum tl_code rc = tl__run_check(run, st);
        if (rc)
            return rc;
        tl_arena_reset(&op->pipe->scratch);
        if (!self->holds) {
            bool found = false;
            rc = next_morsel(self, &found, st);
            if (rc)
                return rc;
            if (!found) {
                *out = (struct tl__batch){0};
                return TL_OK;
            }
        }
        uint64_t left = self->morsel.rows > self->given ? self->morsel.rows - self->given : 0;
        struct tl_chunk chunk = {0};
        op->pipe->rows_hint = self->morsel.rows;
        rc = self->shared->source->vtab->next_chunk(self->shared->scan, &self->morsel,
                                                    &op->pipe->scratch, &chunk, st);
        if (rc)
            return rc;
        if (chunk.count == 0) {
            drop_morsel(self);
            continue;
        }
        tl_assert(chunk.count <= TL_VECTOR_ROWS_MAX);
        (void)left;
        self->given += chunk.count;
        *out = (struct tl__batch){.rows = chunk.count, .columns = chunk.columns, .n = chunk.count};
        return TL_OK;
    }
}

static void scan_close(struct tl__op *op)
{
    drop_morsel((struct scan_op *)op);
}

static void close_shared(struct tl_run *run, struct tl__shared_scan *shared)
{
    if (shared->closed)
        return;
    shared->closed = true;
    const struct tl_source_vtable *vtab = shared->source->vtab;
    for (uint32_t i = 0; i < run->op_count; i++) {
        if (run->ops[i]->node == shared->node)
            scan_close(run->ops[i]);
    }
    if (!shared->scan)
        return;
    for (uint32_t i = 0; i < shared->ahead_count; i++)
        vtab->close_morsel(shared->scan, &shared->ahead[i]);
    shared->ahead_count = 0;
    vtab->stats(shared->scan, &shared->stats);
    vtab->close(shared->scan);
    shared->scan = NULL;
    shared->done = true;
}

static bool is_below(const struct tl_plan_node *top, const struct tl_plan_node *node)
{
    if (!top || top == node)
        return top != NULL;
    for (uint32_t i = 0; i < top->input_count; i++)
        if (is_below(top->inputs[i], node))
            return true;
    return is_below(top->child, node) || (top->kind == TL_NODE_JOIN && is_below(top->right, node));
}

void tl__scan_close(struct tl__op *op)
{
    for (struct tl__shared_scan *s = op->run->scans; s; s = s->next)
        if (!s->closed && is_below(op->node, s->node))
            close_shared(op->run, s);
}

void tl__scans_deinit(struct tl_run *run)
{
    for (struct tl__shared_scan *s = run->scans; s; s = s->next) {
        close_shared(run, s);
        pthread_mutex_destroy(&s->lock);
    }
    run->scans = NULL;
}

enum tl_code tl__scan_pays_threads(struct tl__op *chain, bool *out, struct tl_status *st)
{
    while (chain->child)
        chain = chain->child;
    tl_assert(chain->node->kind == TL_NODE_SCAN);
    struct tl_run *run = chain->run;
    struct tl__shared_scan *shared = ((struct scan_op *)chain)->shared;
    struct tl__pipe *pipe = chain->pipe;
    pthread_mutex_lock(&shared->lock);
    enum tl_code rc = shared->opened ? TL_OK : open_locked(run, shared, pipe, st);
    uint64_t rows = 0;
    while (rc == TL_OK && !shared->done && rows < THREAD_ROWS_MIN &&
           shared->ahead_count < TL__MORSELS_AHEAD) {
        struct tl_morsel *m = &shared->ahead[shared->ahead_count];
        bool found;
        *m = (struct tl_morsel){0};
        rc = shared->source->vtab->next_morsel(shared->scan, m, &found, st);
        if (rc)
            break;
        shared->done = !found;
        shared->ahead_count += found;
        rows += found ? m->rows : 0;
    }
    pthread_mutex_unlock(&shared->lock);
    *out = rows >= THREAD_ROWS_MIN;
    return rc;
}

static const struct tl__op_vtable scan_vtable = {scan_next, scan_close};

enum tl_code tl__scan_new(struct tl_run *run, const struct tl_plan_node *node,
                          struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct scan_op *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->exact = tl_arena_calloc(&run->arena, node->bound_count + 1u, sizeof(bool), st);
    if (!self->exact)
        return st->code;
    struct tl_source *source =
        tl_catalog_owns(node->table_id) ? &run->top->catalogs.source : run->options.source;
    if (!source)
        return TL_FAIL(st, TL_INVALID, "a run over a table needs a source");
    struct tl__shared_scan *shared = run->scans;
    while (shared && shared->node != node) /* another worker's is there already */
        shared = shared->next;
    if (!shared) {
        shared = tl_arena_calloc(&run->arena, 1, sizeof(*shared), st);
        if (!shared)
            return st->code;
        pthread_mutex_init(&shared->lock, NULL);
        shared->node = node;
        shared->source = source;
        shared->next = run->scans;
        run->scans = shared;
    }
    self->shared = shared;
    self->op = (struct tl__op){.vtab = &scan_vtable, .node = node, .pipe = pipe, .run = run};
    *out = &self->op;
    return TL_OK;
}
