/*
 * Runs: the tree of operators over a plan, its small operators (one row, filter, project, limit),
 * and the account of EXPLAIN ANALYZE.
 */
#include "query/exec.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "query/exec_int.h"

enum { RUN_CHUNK = 8 << 10, PIPE_MEMORY = 8 << 10, PIPE_SCRATCH = 4 << 10, DEPTH_MAX = 600 };

enum tl_code tl__run_check(struct tl_run *run, struct tl_status *st)
{
    if (atomic_load_explicit(&run->top->cancelled, memory_order_relaxed)) {
        (void)TL_FAIL(st, TL_CANCELLED, "the statement was cancelled");
        return tl_status_sql(st, "57014", 0);
    }
    if (atomic_load_explicit(&run->stopped, memory_order_relaxed))
        return TL_FAIL(st, TL_CLOSED, "another worker of the statement has failed");
    if (run->deadline_ns && tl_clock_mono_ns(run->options.clock) > run->deadline_ns) {
        (void)TL_FAIL(st, TL_TIMEOUT, "the statement's time limit of %llu ms has passed",
                      (unsigned long long)run->options.timeout_ms);
        return tl_status_sql(st, "57014", 0);
    }
    return TL_OK;
}

enum tl_code tl__op_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    if (!op->run->timed) {
        enum tl_code rc = op->vtab->next(op, out, st);
        op->rows += rc ? 0 : out->n;
        op->batches += !rc && out->n > 0;
        return rc;
    }
    uint64_t start = tl_clock_mono_ns(op->run->options.clock);
    enum tl_code rc = op->vtab->next(op, out, st);
    op->ns += tl_clock_mono_ns(op->run->options.clock) - start;
    op->rows += rc ? 0 : out->n;
    op->batches += !rc && out->n > 0;
    return rc;
}

void tl__op_is_copy(struct tl__op *copy, struct tl__op *original)
{
    for (; copy && original; copy = copy->child, original = original->child)
        copy->original = original;
}

/* ---- pipes ---- */

enum tl_code tl__pipe_new(struct tl_run *run, struct tl__pipe **out, struct tl_status *st)
{
    struct tl__pipe *pipe = tl_arena_calloc(&run->arena, 1, sizeof(*pipe), st);
    if (!pipe)
        return st->code;
    if (run->pipe_count == run->pipe_capacity) {
        uint32_t capacity = run->pipe_capacity ? run->pipe_capacity * 2 : 8;
        struct tl__pipe **grown = tl_arena_calloc(&run->arena, capacity, sizeof(*grown), st);
        if (!grown)
            return st->code;
        if (run->pipe_count)
            memcpy(grown, run->pipes, sizeof(*grown) * run->pipe_count);
        run->pipes = grown;
        run->pipe_capacity = capacity;
    }
    pipe->run = run;
    tl_arena_init(&pipe->scratch, run->budget, PIPE_SCRATCH);
    tl_arena_init(&pipe->memory, run->budget, PIPE_MEMORY);
    pipe->ctx = (struct tl_eval_context){.arena = &pipe->scratch,
                                         .now_us = run->options.now_us,
                                         .zone = run->zone,
                                         .zone_name = run->options.time_zone,
                                         .catalog = run->options.catalog,
                                         .session = run->options.session};
    run->pipes[run->pipe_count++] = pipe;
    *out = pipe;
    return TL_OK;
}

/* ---- one row ---- */

struct one_row {
    struct tl__op op;
    bool done;
};

static enum tl_code one_row_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct one_row *self = (struct one_row *)op;
    (void)st;
    tl_arena_reset(&op->pipe->scratch);
    *out = (struct tl__batch){.rows = !self->done, .n = !self->done};
    self->done = true;
    return TL_OK;
}

static const struct tl__op_vtable one_row_vtable = {one_row_next, NULL};

static enum tl_code one_row_new(struct tl_run *run, struct tl__op **out, struct tl_status *st)
{
    struct one_row *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->op.vtab = &one_row_vtable;
    *out = &self->op;
    return TL_OK;
}

/* ---- filter ---- */

struct filter {
    struct tl__op op;
    struct tl__step **conjuncts;
};

static enum tl_code filter_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct filter *self = (struct filter *)op;
    const struct tl_plan_node *node = op->node;
    for (;;) {
        enum tl_code rc = tl__op_next(op->child, out, st);
        if (rc || out->n == 0)
            return rc;
        for (uint32_t c = 0; c < node->conjunct_count && out->n > 0; c++) {
            int32_t bound = node->conjunct_bound ? node->conjunct_bound[c] : -1;
            if (bound >= 0 && op->pipe->exact && op->pipe->exact[bound])
                continue; /* the source has taken the others out */
            rc = tl__step_select(self->conjuncts[c], op->pipe, out, &out->sel, &out->n, st);
            if (rc)
                return rc;
        }
        if (out->n > 0)
            return TL_OK;
    }
}

static const struct tl__op_vtable filter_vtable = {filter_next, NULL};

static enum tl_code filter_new(struct tl_run *run, const struct tl_plan_node *node,
                               struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct filter *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->conjuncts =
        tl_arena_calloc(&run->arena, node->conjunct_count + 1u, sizeof(struct tl__step *), st);
    if (!self->conjuncts)
        return st->code;
    for (uint32_t c = 0; c < node->conjunct_count; c++) {
        enum tl_code rc = tl__step_new(pipe, node->conjuncts[c], &self->conjuncts[c], st);
        if (rc)
            return rc;
    }
    self->op.vtab = &filter_vtable;
    *out = &self->op;
    return TL_OK;
}

/* ---- project ---- */

struct project {
    struct tl__op op;
    struct tl__step **exprs;
};

static enum tl_code project_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct project *self = (struct project *)op;
    const struct tl_plan_node *node = op->node;
    struct tl__batch in;
    enum tl_code rc = tl__op_next(op->child, &in, st);
    if (rc || in.n == 0) {
        *out = in;
        return rc;
    }
    struct tl_vector *columns =
        tl_arena_calloc(&op->pipe->scratch, node->column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t c = 0; c < node->column_count; c++) {
        struct tl_vector v;
        rc = tl__step_eval(self->exprs[c], op->pipe, &in, &v, st);
        if (rc == TL_OK)
            rc = tl__compact(&op->pipe->scratch, &v, in.sel, in.n, &columns[c], st);
        if (rc)
            return rc;
        columns[c].type = node->types[c];
    }
    *out = (struct tl__batch){.rows = in.n, .columns = columns, .n = in.n};
    return TL_OK;
}

static const struct tl__op_vtable project_vtable = {project_next, NULL};

static enum tl_code project_new(struct tl_run *run, const struct tl_plan_node *node,
                                struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct project *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->exprs =
        tl_arena_calloc(&run->arena, node->column_count + 1u, sizeof(struct tl__step *), st);
    if (!self->exprs)
        return st->code;
    for (uint32_t c = 0; c < node->column_count; c++) {
        enum tl_code rc = tl__step_new(pipe, node->exprs[c], &self->exprs[c], st);
        if (rc)
            return rc;
    }
    self->op.vtab = &project_vtable;
    *out = &self->op;
    return TL_OK;
}

/* ---- limit ---- */

struct limit {
    struct tl__op op;
    bool ready;
    uint64_t skip;
    uint64_t left;
};

static enum tl_code limit_value(struct tl__pipe *pipe, const struct tl_expr *e, const char *what,
                                const char *sqlstate, uint64_t otherwise, uint64_t *out,
                                struct tl_status *st)
{
    struct tl_vector v;
    *out = otherwise;
    if (!e)
        return TL_OK;
    enum tl_code rc = tl__eval_constant(pipe, e, &v, st);
    if (rc || !tl_vector_valid(&v, 0))
        return rc;
    int64_t x = *(const int64_t *)v.data;
    if (x < 0) {
        (void)TL_FAIL(st, TL_INVALID, "%s must not be negative", what);
        return tl_status_sql(st, sqlstate, e->position);
    }
    *out = (uint64_t)x;
    return TL_OK;
}

static enum tl_code limit_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct limit *self = (struct limit *)op;
    if (!self->ready) {
        struct tl__pipe *pipe = op->pipe;
        enum tl_code rc =
            limit_value(pipe, op->node->limit, "LIMIT", "2201W", UINT64_MAX, &self->left, st);
        if (rc == TL_OK)
            rc = limit_value(pipe, op->node->offset, "OFFSET", "2201X", 0, &self->skip, st);
        if (rc)
            return rc;
        self->ready = true;
    }
    *out = (struct tl__batch){0};
    while (self->left > 0) {
        enum tl_code rc = tl__op_next(op->child, out, st);
        if (rc || out->n == 0)
            return rc;
        if (self->skip >= out->n) {
            self->skip -= out->n;
            continue;
        }
        uint32_t from = (uint32_t)self->skip;
        uint32_t n = out->n - from;
        n = n < self->left ? n : (uint32_t)self->left;
        self->skip = 0;
        self->left -= n;
        if (n < out->n) {
            uint16_t *sel = tl_arena_alloc(&op->pipe->scratch, sizeof(*sel) * n, st);
            if (!sel)
                return st->code;
            for (uint32_t k = 0; k < n; k++)
                sel[k] = out->sel ? out->sel[from + k] : (uint16_t)(from + k);
            out->sel = sel;
            out->n = n;
        }
        return TL_OK;
    }
    *out = (struct tl__batch){0};
    return TL_OK;
}

static const struct tl__op_vtable limit_vtable = {limit_next, NULL};

static enum tl_code limit_new(struct tl_run *run, struct tl__op **out, struct tl_status *st)
{
    struct limit *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->op.vtab = &limit_vtable;
    *out = &self->op;
    return TL_OK;
}

/* ---- the tree ---- */

static enum tl_code remember(struct tl_run *run, struct tl__op *op, struct tl_status *st)
{
    if (run->op_count == run->op_capacity) {
        uint32_t capacity = run->op_capacity ? run->op_capacity * 2 : 8;
        struct tl__op **grown = tl_arena_calloc(&run->arena, capacity, sizeof(*grown), st);
        if (!grown)
            return st->code;
        if (run->op_count)
            memcpy(grown, run->ops, sizeof(*grown) * run->op_count);
        run->ops = grown;
        run->op_capacity = capacity;
    }
    run->ops[run->op_count++] = op;
    return TL_OK;
}

static bool breaks_pipeline(uint8_t kind)
{
    return kind == TL_NODE_AGGREGATE || kind == TL_NODE_DISTINCT || kind == TL_NODE_SORT;
}

/* Its child shares its pipe, and is made here. */
static bool streams(uint8_t kind)
{
    return kind == TL_NODE_FILTER || kind == TL_NODE_PROJECT || kind == TL_NODE_LIMIT;
}

enum tl_code tl__op_new(struct tl_run *run, const struct tl_plan_node *node, struct tl__pipe *pipe,
                        struct tl__op **out, struct tl_status *st)
{
    struct tl__op *op = NULL;
    enum tl_code rc;
    switch (node->kind) {
    case TL_NODE_ONE_ROW:
        rc = one_row_new(run, &op, st);
        break;
    case TL_NODE_SCAN:
        rc = tl__scan_new(run, node, pipe, &op, st);
        break;
    case TL_NODE_FILTER:
        rc = filter_new(run, node, pipe, &op, st);
        break;
    case TL_NODE_PROJECT:
        rc = project_new(run, node, pipe, &op, st);
        break;
    case TL_NODE_AGGREGATE:
    case TL_NODE_DISTINCT:
        rc = tl__aggregate_new(run, node, pipe, &op, st);
        break;
    case TL_NODE_SORT:
        rc = tl__sort_new(run, node, pipe, &op, st);
        break;
    case TL_NODE_LIMIT:
        rc = limit_new(run, &op, st);
        break;
    case TL_NODE_JOIN:
        rc = tl__join_new(run, node, pipe, &op, st);
        break;
    case TL_NODE_APPLY:
        rc = tl__apply_new(run, node, pipe, &op, st);
        break;
    case TL_NODE_CTE:
        rc = tl__cte_new(run, node, &op, st);
        break;
    default:
        rc = tl__set_new(run, node, pipe, &op, st);
        break;
    }
    if (op) { /* also when it was built by half: it is to be closed */
        struct tl_status ignored = TL_STATUS_INIT;
        op->node = node;
        op->pipe = pipe;
        op->run = run;
        enum tl_code kept = remember(run, op, rc ? &ignored : st);
        if (kept && op->vtab->close)
            op->vtab->close(op);
        if (rc == TL_OK)
            rc = kept;
    }
    if (rc == TL_OK && streams(node->kind))
        rc = tl__op_new(run, node->child, pipe, &op->child, st);
    if (rc == TL_OK)
        *out = op;
    return rc;
}

bool tl__op_text_stable(const struct tl__op *op, uint32_t column)
{
    while (op->node->kind == TL_NODE_FILTER || op->node->kind == TL_NODE_LIMIT ||
           op->node->kind == TL_NODE_PROJECT) {
        if (op->node->kind == TL_NODE_PROJECT) {
            const struct tl_expr *e = op->node->exprs[column];
            if (e->kind == TL_EXPR_CONST || e->kind == TL_EXPR_PARAM)
                return true;
            if (e->kind != TL_EXPR_COLUMN)
                return false;
            column = e->index;
        }
        op = op->child;
    }
    return breaks_pipeline(op->node->kind);
}

/* ---- runs ---- */

/* A limit that names no SQLSTATE of its own is one of memory. */
static enum tl_code told(enum tl_code rc, struct tl_status *st)
{
    if (rc == TL_LIMIT && !st->sqlstate[0])
        (void)tl_status_sql(st, "53200", 0);
    return rc;
}

/* Nodes from this one down, up to DEPTH_MAX + 1. */
static uint32_t depth_of(const struct tl_plan_node *node, uint32_t above)
{
    if (!node || above > DEPTH_MAX)
        return above;
    uint32_t deepest = depth_of(node->child, above + 1);
    uint32_t right = depth_of(node->right, above + 1);
    deepest = right > deepest ? right : deepest;
    for (uint32_t i = 0; i < node->input_count; i++) {
        uint32_t input = depth_of(node->inputs[i], above + 1);
        deepest = input > deepest ? input : deepest;
    }
    return deepest;
}

static enum tl_code check_params(const struct tl_plan *plan, const struct tl_run_options *options,
                                 struct tl_status *st)
{
    if (options->param_count < plan->param_count) {
        (void)TL_FAIL(st, TL_INVALID, "the statement has %u parameters, %u were given",
                      plan->param_count, options->param_count);
        return tl_status_sql(st, "08P01", 0);
    }
    for (uint32_t p = 0; p < plan->param_count; p++) {
        const struct tl_vector *v = &options->params[p];
        if (v->shape != TL_CONST ||
            (v->type.kind != plan->param_types[p].kind && tl_vector_valid(v, 0))) {
            (void)TL_FAIL(st, TL_INVALID, "parameter $%u is not of the statement's type", p + 1);
            return tl_status_sql(st, "42804", 0);
        }
    }
    return TL_OK;
}

static enum tl_code check_depth(const struct tl_plan *plan, struct tl_status *st)
{
    uint32_t deepest = depth_of(plan->root, 0);
    for (uint32_t i = 0; i < plan->init_count; i++) {
        uint32_t d = depth_of(plan->inits[i].root, 0);
        deepest = d > deepest ? d : deepest;
    }
    for (uint32_t i = 0; i < plan->cte_count; i++) {
        uint32_t d = depth_of(plan->ctes[i], 0);
        deepest = d > deepest ? d : deepest;
    }
    if (deepest <= DEPTH_MAX)
        return TL_OK;
    (void)TL_FAIL(st, TL_LIMIT, "a plan of more than %d nodes within each other", DEPTH_MAX);
    return tl_status_sql(st, "54001", 0);
}

/* Parameters, and room for the slots. */
static enum tl_code copy_params(struct tl_run *run, struct tl_status *st)
{
    const struct tl_plan *plan = run->plan;
    run->param_count = plan->param_count + plan->slot_count;
    run->params = tl_arena_calloc(&run->arena, run->param_count + 1u, sizeof(*run->params), st);
    if (!run->params)
        return st->code;
    if (plan->param_count > 0)
        memcpy(run->params, run->options.params, sizeof(*run->params) * plan->param_count);
    for (uint32_t s = 0; s < plan->slot_count; s++)
        tl__null_vector(plan->slot_types[s], 1, &run->params[plan->param_count + s]);
    run->ctes = tl_arena_calloc(&run->arena, plan->cte_count + 1u, sizeof(struct tl__rows *), st);
    return run->ctes ? TL_OK : st->code;
}

static enum tl_code build(struct tl_run *run, struct tl_status *st)
{
    run->built = true;
    enum tl_code rc = tl__pipe_new(run, &run->root_pipe, st);
    return rc ? rc : tl__op_new(run, run->root_node, run->root_pipe, &run->root, st);
}

enum tl_code tl_run_new(const struct tl_plan *plan, const struct tl_run_options *options,
                        struct tl_run **out, struct tl_status *st)
{
    tl_assert(plan != NULL && options != NULL && plan->root != NULL);
    enum tl_code rc = check_params(plan, options, st);
    if (!rc)
        rc = check_depth(plan, st);
    if (rc)
        return rc;
    struct tl_run *run = calloc(1, sizeof(*run));
    if (!run)
        return TL_FAIL(st, TL_LIMIT, "no memory for a run");
    run->plan = plan;
    run->top = run;
    run->root_node = plan->root;
    run->options = *options;
    if (!run->options.catalog)
        run->options.catalog = plan->catalog;
    tl_catalog_source_init(&run->catalogs, run->options.catalog, options->session);
    run->budget = options->budget;
    if (!run->options.clock)
        run->options.clock = tl_clock_system();
    tl_arena_init(&run->arena, run->budget, RUN_CHUNK);
    run->timed = plan->analyze;
    if (run->timed)
        run->started_ns = tl_clock_mono_ns(run->options.clock);
    if (options->timeout_ms)
        run->deadline_ns =
            tl_clock_mono_ns(run->options.clock) + options->timeout_ms * UINT64_C(1000000);
    run->zone = tl_zone_utc();
    if (options->time_zone)
        rc = tl_zone_get_session(tl_slice_str(options->time_zone), &run->zone, st);
    if (rc == TL_OK)
        rc = copy_params(run, st);
    /* Init plans set slots that operators are built with: they run in the first step. */
    if (rc == TL_OK && plan->init_count == 0)
        rc = build(run, st);
    if (rc) {
        tl_run_free(run);
        return told(rc, st);
    }
    *out = run;
    return TL_OK;
}

enum tl_code tl__subrun_new(struct tl_run *outer, const struct tl_plan_node *root,
                            struct tl_run **out, struct tl_status *st)
{
    struct tl_run *run = calloc(1, sizeof(*run));
    if (!run)
        return TL_FAIL(st, TL_LIMIT, "no memory for a run");
    run->plan = outer->plan;
    run->outer = outer;
    run->top = outer->top;
    run->root_node = root;
    run->options = outer->options;
    run->budget = outer->budget;
    run->deadline_ns = outer->deadline_ns;
    run->zone = outer->zone;
    run->params = outer->params;
    run->param_count = outer->param_count;
    tl_arena_init(&run->arena, run->budget, RUN_CHUNK);
    enum tl_code rc = build(run, st);
    if (rc) {
        tl_run_free(run);
        return rc;
    }
    *out = run;
    return TL_OK;
}

enum tl_code tl__subrun_next(struct tl_run *run, struct tl__batch *out, struct tl_status *st)
{
    *out = (struct tl__batch){0};
    enum tl_code rc = tl__run_check(run, st);
    return rc ? rc : tl__op_next(run->root, out, st);
}

enum tl_code tl_run_step(struct tl_run *run, struct tl_chunk *out, struct tl_status *st)
{
    *out = (struct tl_chunk){0};
    if (run->done)
        return TL_OK;
    enum tl_code rc = tl__run_check(run, st);
    struct tl__batch batch = {0};
    if (rc == TL_OK && !run->built) {
        rc = tl__run_inits(run, st);
        if (rc == TL_OK)
            rc = build(run, st);
    }
    if (rc == TL_OK)
        rc = tl__op_next(run->root, &batch, st);
    if (rc || batch.n == 0) {
        run->done = true;
        return told(rc, st);
    }
    run->result_rows += batch.n;
    if (run->options.result_rows_max && run->result_rows > run->options.result_rows_max) {
        run->done = true;
        (void)TL_FAIL(st, TL_LIMIT, "the result has more than the limit of %llu rows",
                      (unsigned long long)run->options.result_rows_max);
        return tl_status_sql(st, "54000", 0);
    }
    uint32_t count = run->plan->root->column_count;
    if (batch.sel) {
        struct tl_arena *arena = &run->root->pipe->scratch;
        struct tl_vector *columns = tl_arena_calloc(arena, count + 1u, sizeof(*columns), st);
        if (!columns)
            return told(st->code, st);
        for (uint32_t c = 0; c < count; c++) {
            rc = tl__compact(arena, &batch.columns[c], batch.sel, batch.n, &columns[c], st);
            if (rc)
                return told(rc, st);
        }
        batch.columns = columns;
    }
    *out = (struct tl_chunk){.count = batch.n, .columns = batch.columns};
    return TL_OK;
}

void tl_run_cancel(struct tl_run *run)
{
    atomic_store_explicit(&run->cancelled, true, memory_order_relaxed);
}

void tl_run_free(struct tl_run *run)
{
    if (!run)
        return;
    tl__scans_deinit(run);
    for (uint32_t i = 0; !run->outer && run->ctes && i < run->plan->cte_count; i++)
        if (run->ctes[i])
            tl__rows_deinit(run->ctes[i]);
    for (uint32_t i = run->op_count; i > 0; i--) {
        struct tl__op *op = run->ops[i - 1];
        if (op->vtab->close)
            op->vtab->close(op);
    }
    for (uint32_t i = 0; i < run->pipe_count; i++) {
        tl_arena_deinit(&run->pipes[i]->scratch);
        tl_arena_deinit(&run->pipes[i]->memory);
    }
    tl_arena_deinit(&run->arena);
    free(run);
}

/* ---- the account ---- */

static void print_scan(const struct tl_run *run, const struct tl_plan_node *node, int indent,
                       struct tl_buffer *out)
{
    const struct tl__shared_scan *shared = run->scans;
    while (shared && shared->node != node)
        shared = shared->next;
    if (!shared)
        return;
    struct tl_scan_stats s = shared->stats;
    if (shared->scan)
        shared->source->vtab->stats(shared->scan, &s);
    tl_buffer_printf(out, "%*sSegments: %llu of %llu pruned; memtable rows: %llu\n", indent, "",
                     (unsigned long long)s.segments_pruned, (unsigned long long)s.segments_total,
                     (unsigned long long)s.memtable_rows);
    tl_buffer_printf(out, "%*sRows scanned: %llu\n", indent, "",
                     (unsigned long long)s.rows_scanned);
    if (s.rollup_rows + s.raw_rows > 0)
        tl_buffer_printf(out, "%*sRollup rows: %llu; raw rows: %llu\n", indent, "",
                         (unsigned long long)s.rollup_rows, (unsigned long long)s.raw_rows);
    tl_buffer_printf(
        out, "%*sBlocks: %llu read, %llu cached, %llu pruned; disk reads: %llu; bytes read: %llu\n",
        indent, "", (unsigned long long)s.blocks_read, (unsigned long long)s.blocks_cached,
        (unsigned long long)s.blocks_pruned, (unsigned long long)s.reads,
        (unsigned long long)s.bytes_read);
}

/* What a node did, summed over the pipes that ran copies of it. */
static void print_node(void *arg, const struct tl_plan_node *node, uint32_t indent,
                       struct tl_buffer *out)
{
    const struct tl_run *run = arg;
    const struct tl__op *op = NULL;
    for (uint32_t i = 0; i < run->op_count && !op; i++)
        if (run->ops[i]->node == node && !run->ops[i]->original)
            op = run->ops[i];
    if (!op)
        return; /* of a subplan */
    uint64_t rows = op->rows;
    uint64_t batches = op->batches;
    uint64_t ns = op->ns;
    for (uint32_t i = 0; i < run->op_count; i++) {
        if (run->ops[i]->original == op) {
            rows += run->ops[i]->rows;
            batches += run->ops[i]->batches;
            ns += run->ops[i]->ns;
        }
    }
    if (run->options.terse) {
        if (node->kind != TL_NODE_SCAN)
            tl_buffer_printf(out, "%*sActual: rows=%llu time=%.3f ms\n", (int)indent, "",
                             (unsigned long long)rows, (double)ns / 1e6);
        return;
    }
    tl_buffer_printf(out, "%*sActual: rows=%llu chunks=%llu time=%.3f ms\n", (int)indent, "",
                     (unsigned long long)rows, (unsigned long long)batches, (double)ns / 1e6);
    if (node->kind == TL_NODE_SCAN)
        print_scan(run, node, (int)indent, out);
}

void tl_run_print(const struct tl_run *run, struct tl_buffer *out)
{
    tl_plan_print_nodes(run->plan, print_node, (void *)run, out);
    if (run->timed)
        tl_buffer_printf(out, "Execution time: %.3f ms\n",
                         (double)(tl_clock_mono_ns(run->options.clock) - run->started_ns) / 1e6);
    if (run->budget && !run->options.terse)
        tl_buffer_printf(out, "Peak memory: %zu bytes\n",
                         atomic_load_explicit(&run->budget->peak_bytes, memory_order_relaxed));
}
