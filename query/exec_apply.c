/*
 * Subplans.
 *
 * A subplan is run as a run within the run: with operators of its own, built anew each time, since
 * the slots that it reads are as constant to them as parameters. Its parameters, budget, time
 * limit and cancellation are those of the run around it.
 *
 * An APPLY runs its subplan for each row of its child, by the values that the row gives to the
 * slots; what came out is remembered by these values, up to MEMO_MAX of them, so that a subplan
 * is run once per distinct values as long as there are not too many.
 */
#include <string.h>

#include "base/array.h"
#include "base/hash.h"
#include "query/exec_int.h"

enum { MEMO_MAX = 1 << 16, MEMO_ROWS_MAX = 1 << 20 };

void tl__null_vector(struct tl_type type, uint32_t rows, struct tl_vector *out)
{
    static const uint64_t none[1] = {0};
    static const struct tl_interval zero[1] = {{0, 0, 0}}; /* as wide as any value */
    *out = (struct tl_vector){
        .type = type, .shape = TL_CONST, .count = rows, .data = zero, .validity = none};
}

/* Row `row` of a FLAT or CONST vector as a constant that points into it. */
static void constant_of(const struct tl_vector *v, uint32_t row, struct tl_vector *out)
{
    if (!tl_vector_valid(v, row)) {
        tl__null_vector(v->type, 1, out);
        return;
    }
    size_t at = v->shape == TL_CONST ? 0 : row;
    *out = (struct tl_vector){.type = v->type,
                              .shape = TL_CONST,
                              .count = 1,
                              .data = (const uint8_t *)v->data + at * tl_kind_width(v->type.kind)};
}

static enum tl_code two_rows(struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "more than one row returned by a subquery used as an expression");
    return tl_status_sql(st, "21000", 0);
}

/* The rest of a subplan's one column as an array, in the arena. */
static enum tl_code collect_array(struct tl_run *sub, struct tl__batch *batch,
                                  struct tl_type element, struct tl_arena *arena,
                                  struct tl_slice *out, struct tl_status *st)
{
    struct tl__rows rows;
    enum tl_code rc = tl__rows_init(&rows, &element, 1, arena, sub->budget, st);
    if (rc)
        return rc;
    while (rc == TL_OK && batch->n > 0) {
        rc = tl__rows_append(&rows, sub->root_pipe, batch->columns, batch->sel, batch->n, st);
        if (rc == TL_OK)
            rc = tl__subrun_next(sub, batch, st);
    }
    uint32_t *ids = tl_arena_alloc(arena, sizeof(*ids) * (rows.count + 1u), st);
    struct tl_vector v = {.data = out};
    if (rc == TL_OK && !ids)
        rc = st->code;
    for (uint32_t i = 0; rc == TL_OK && i < rows.count; i++)
        ids[i] = i;
    if (rc == TL_OK && rows.count > 0)
        rc = tl__rows_gather(&rows, 0, ids, rows.count, arena, &v, st);
    if (rc == TL_OK)
        rc = tl_array_build(arena, element, v.data, v.validity, rows.count, 1, out, st);
    tl__rows_deinit(&rows);
    return rc;
}

/* ---- init plans ---- */

static enum tl_code run_init(struct tl_run *run, const struct tl_init_plan *init,
                             struct tl_status *st)
{
    struct tl_run *sub;
    enum tl_code rc = tl__subrun_new(run, init->root, &sub, st);
    if (rc)
        return rc;
    struct tl_vector *slot = &run->params[init->slot];
    struct tl_type type = slot->type;
    struct tl__batch batch;
    rc = tl__subrun_next(sub, &batch, st);
    if (rc == TL_OK && init->apply == TL_APPLY_EXISTS) {
        uint8_t *value = tl_arena_alloc(&run->arena, 1, st);
        if (value)
            *value = batch.n > 0;
        *slot = (struct tl_vector){.type = type, .shape = TL_CONST, .count = 1, .data = value};
        rc = value ? TL_OK : st->code;
    } else if (rc == TL_OK && init->apply == TL_APPLY_ARRAY) {
        struct tl_slice *value = tl_arena_alloc(&run->arena, sizeof(*value), st);
        rc = value ? collect_array(sub, &batch, tl_type_element(type), &run->arena, value, st)
                   : st->code;
        *slot = (struct tl_vector){.type = type, .shape = TL_CONST, .count = 1, .data = value};
    } else if (rc == TL_OK && batch.n > 1) {
        rc = two_rows(st);
    } else if (rc == TL_OK && batch.n == 1) {
        struct tl_vector flat, one;
        uint32_t row = batch.sel ? batch.sel[0] : 0;
        rc = tl__flatten(sub->root_pipe, &batch.columns[0], batch.sel, 1, &flat, st);
        if (rc == TL_OK) {
            constant_of(&flat, row, &one);
            if (tl_vector_valid(&one, 0)) {
                uint32_t width = tl_kind_width(type.kind);
                void *copy = tl_arena_copy(&run->arena, one.data, width, st);
                if (copy && tl_kind_is_bytes(type.kind)) {
                    struct tl_slice *s = copy;
                    s->data = tl_arena_copy(&run->arena, s->data, s->size, st);
                    copy = s->data ? copy : NULL;
                }
                rc = copy ? TL_OK : st->code;
                *slot =
                    (struct tl_vector){.type = type, .shape = TL_CONST, .count = 1, .data = copy};
            }
        }
        if (rc == TL_OK)
            rc = tl__subrun_next(sub, &batch, st);
        if (rc == TL_OK && batch.n > 0)
            rc = two_rows(st);
    }
    tl_run_free(sub);
    return rc;
}

enum tl_code tl__run_inits(struct tl_run *run, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; rc == TL_OK && i < run->plan->init_count; i++)
        rc = run_init(run, &run->plan->inits[i], st);
    return rc;
}

/* ---- WITH ---- */

struct cte {
    struct tl__op op;
    uint32_t next;
};

/* Computes the rows once, for all that read them. */
static enum tl_code compute_cte(struct tl_run *run, const struct tl_plan_node *node,
                                struct tl_status *st)
{
    struct tl_run *top = run->top;
    const struct tl_plan_node *root = run->plan->ctes[node->cte];
    struct tl__rows *rows = tl_arena_calloc(&top->arena, 1, sizeof(*rows), st);
    if (!rows)
        return st->code;
    enum tl_code rc =
        tl__rows_init(rows, root->types, root->column_count, &top->arena, run->budget, st);
    if (rc)
        return rc;
    struct tl_run *sub = NULL;
    rc = tl__subrun_new(run, root, &sub, st);
    while (rc == TL_OK) {
        struct tl__batch batch;
        rc = tl__subrun_next(sub, &batch, st);
        if (rc || batch.n == 0)
            break;
        rc = tl__rows_append(rows, sub->root_pipe, batch.columns, batch.sel, batch.n, st);
    }
    tl_run_free(sub);
    if (rc) {
        tl__rows_deinit(rows);
        if (rc == TL_LIMIT)
            tl_status_wrap(st, "keeping the rows of \"%s\" in memory", node->cte_name);
        return rc;
    }
    top->ctes[node->cte] = rows;
    return TL_OK;
}

static enum tl_code cte_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct cte *self = (struct cte *)op;
    struct tl_run *top = op->run->top;
    tl_arena_reset(&op->pipe->scratch);
    enum tl_code rc = tl__run_check(op->run, st);
    if (rc == TL_OK && !top->ctes[op->node->cte])
        rc = compute_cte(op->run, op->node, st);
    return rc ? rc
              : tl__rows_emit(top->ctes[op->node->cte], &self->next, &op->pipe->scratch, out, st);
}

static const struct tl__op_vtable cte_vtable = {cte_next, NULL};

enum tl_code tl__cte_new(struct tl_run *run, const struct tl_plan_node *node, struct tl__op **out,
                         struct tl_status *st)
{
    struct cte *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->op = (struct tl__op){.vtab = &cte_vtable, .node = node, .run = run};
    *out = &self->op;
    return TL_OK;
}

/* ---- APPLY ---- */

/* What came out for one set of values: rows [from, to) of the store. */
struct answer {
    uint64_t hash;
    uint32_t key_at, key_size; /* in the keys' bytes */
    uint32_t from, to;
};

struct apply {
    struct tl__op op;
    struct tl__step **args;
    struct tl__rows rows;
    struct tl__array answers; /* struct answer */
    struct tl__array keys;    /* bytes */
    struct tl__array slots;   /* uint32_t: answer + 1 */
    uint32_t slot_mask;
    bool has_batch;
    struct tl__batch batch;
    struct tl_vector *values; /* of the batch, by slot */
    uint32_t at;              /* position in the batch */
    uint32_t from, to;        /* rows yet to come of it, of CROSS and LEFT */
    bool within;
};

/* The row's values as bytes, at the end of `keys`. */
static enum tl_code write_key(struct apply *self, uint32_t row, uint32_t *size,
                              struct tl_status *st)
{
    size_t start = self->keys.size, at = start;
    for (uint32_t i = 0; i < self->op.node->slot_count; i++) {
        const struct tl_vector *v = &self->values[i];
        bool valid = tl_vector_valid(v, row);
        size_t width = tl_kind_width(v->type.kind), index = v->shape == TL_CONST ? 0 : row;
        const void *data = (const uint8_t *)v->data + index * width;
        if (tl_kind_is_bytes(v->type.kind) && valid) {
            struct tl_slice s = ((const struct tl_slice *)v->data)[index];
            data = s.data;
            width = s.size;
        }
        uint32_t told = valid ? (uint32_t)width + 1 : 0;
        enum tl_code rc =
            tl__array_reserve(&self->keys, at + sizeof(told) + (valid ? width : 0), false, st);
        if (rc)
            return rc;
        memcpy(self->keys.data + at, &told, sizeof(told));
        at += sizeof(told);
        if (valid && width > 0) {
            memcpy(self->keys.data + at, data, width);
            at += width;
        }
    }
    *size = (uint32_t)(at - start);
    return TL_OK;
}

static enum tl_code grow_slots(struct apply *self, struct tl_status *st)
{
    size_t size = self->slot_mask ? ((size_t)self->slot_mask + 1) * 2 : 64;
    struct tl__array fresh;
    tl__array_init(&fresh, self->op.run->budget, sizeof(uint32_t));
    enum tl_code rc = tl__array_reserve(&fresh, size, true, st);
    if (rc)
        return rc;
    tl__array_deinit(&self->slots);
    self->slots = fresh;
    self->slot_mask = (uint32_t)(size - 1);
    for (uint32_t a = 0; a < self->answers.size; a++) {
        uint32_t at = (uint32_t)TL__AT(struct answer, &self->answers, a).hash & self->slot_mask;
        while (TL__AT(uint32_t, &self->slots, at))
            at = (at + 1) & self->slot_mask;
        TL__AT(uint32_t, &self->slots, at) = a + 1;
    }
    return TL_OK;
}

static void forget(struct apply *self)
{
    self->answers.size = 0;
    self->keys.size = 0;
    tl__rows_clear(&self->rows);
    if (self->slots.data)
        memset(self->slots.data, 0, ((size_t)self->slot_mask + 1) * sizeof(uint32_t));
}

/* The subplan's rows, from `batch` on, as one array at the end of the store. */
static enum tl_code append_array(struct apply *self, struct tl_run *sub, struct tl__batch *batch,
                                 struct tl_status *st)
{
    const struct tl_plan_node *node = self->op.node;
    struct tl_type type = node->types[node->child->column_count];
    struct tl_arena arena;
    tl_arena_init(&arena, self->op.run->budget, 4096);
    struct tl_slice value;
    enum tl_code rc = collect_array(sub, batch, tl_type_element(type), &arena, &value, st);
    struct tl_vector v = {.type = type, .shape = TL_CONST, .count = 1, .data = &value};
    if (rc == TL_OK)
        rc = tl__rows_append(&self->rows, sub->root_pipe, &v, NULL, 1, st);
    tl_arena_deinit(&arena);
    return rc;
}

/* Runs the subplan for a row; its rows go to the end of the store. */
static enum tl_code run_subplan(struct apply *self, uint32_t row, struct tl_status *st)
{
    const struct tl_plan_node *node = self->op.node;
    struct tl_run *run = self->op.run;
    for (uint32_t i = 0; i < node->slot_count; i++)
        constant_of(&self->values[i], row, &run->params[node->slots[i]]);
    struct tl_run *sub;
    enum tl_code rc = tl__subrun_new(run, node->right, &sub, st);
    if (rc)
        return rc;
    uint32_t before = self->rows.count;
    bool exists = false, unknown = false, any = false, appended = false;
    for (;;) {
        struct tl__batch batch;
        rc = tl__subrun_next(sub, &batch, st);
        if (rc || batch.n == 0)
            break;
        exists = true;
        if (node->apply == TL_APPLY_EXISTS)
            break;
        if (node->apply == TL_APPLY_ARRAY) {
            rc = append_array(self, sub, &batch, st);
            appended = true;
            break;
        }
        if (node->apply == TL_APPLY_ANY) {
            const struct tl_vector *v = &batch.columns[0];
            for (uint32_t k = 0; k < batch.n; k++) {
                uint32_t r = batch.sel ? batch.sel[k] : k;
                bool valid = tl_vector_valid(v, r);
                unknown = unknown || !valid;
                any = any || (valid && ((const uint8_t *)v->data)[v->shape == TL_CONST ? 0 : r]);
            }
            if (any)
                break;
            continue;
        }
        rc = tl__rows_append(&self->rows, sub->root_pipe, batch.columns, batch.sel, batch.n, st);
        if (rc == TL_OK && node->apply == TL_APPLY_SCALAR && self->rows.count - before > 1)
            rc = two_rows(st);
        if (rc)
            break;
    }
    if (rc == TL_OK && (node->apply == TL_APPLY_EXISTS || node->apply == TL_APPLY_ANY)) {
        uint8_t value = node->apply == TL_APPLY_EXISTS ? exists : any;
        struct tl_vector v = {
            .type = tl_type_of(TL_BOOLEAN), .shape = TL_CONST, .count = 1, .data = &value};
        if (node->apply == TL_APPLY_ANY && !any && unknown)
            tl__null_vector(v.type, 1, &v);
        rc = tl__rows_append(&self->rows, sub->root_pipe, &v, NULL, 1, st);
    }
    if (rc == TL_OK && node->apply == TL_APPLY_ARRAY && !appended) {
        struct tl__batch empty = {0};
        rc = append_array(self, sub, &empty, st);
    }
    tl_run_free(sub);
    return rc;
}

/* The rows that answer a row of the batch. */
static enum tl_code answer_of(struct apply *self, uint32_t row, uint32_t *from, uint32_t *to,
                              struct tl_status *st)
{
    uint32_t size;
    enum tl_code rc = write_key(self, row, &size, st);
    if (rc == TL_OK && (self->answers.size + 1) * 2 > self->slot_mask)
        rc = grow_slots(self, st);
    if (rc)
        return rc;
    const uint8_t *key = self->keys.data ? self->keys.data + self->keys.size : NULL;
    uint64_t hash = tl_hash64(key ? key : (const uint8_t *)"", size);
    uint32_t at = (uint32_t)hash & self->slot_mask;
    for (uint32_t a; (a = TL__AT(uint32_t, &self->slots, at)); at = (at + 1) & self->slot_mask) {
        const struct answer *answer = &TL__AT(struct answer, &self->answers, a - 1);
        if (answer->hash == hash && answer->key_size == size &&
            (size == 0 || memcmp(self->keys.data + answer->key_at, key, size) == 0)) {
            *from = answer->from;
            *to = answer->to;
            return TL_OK;
        }
    }
    rc = tl__array_reserve(&self->answers, self->answers.size + 1, false, st);
    *from = self->rows.count;
    if (rc == TL_OK)
        rc = run_subplan(self, row, st);
    if (rc)
        return rc;
    *to = self->rows.count;
    if (self->keys.size + size > UINT32_MAX)
        return TL_FAIL(st, TL_LIMIT, "the values of a correlated subquery are too long");
    TL__AT(struct answer, &self->answers, self->answers.size++) =
        (struct answer){hash, (uint32_t)self->keys.size, size, *from, *to};
    self->keys.size += size;
    TL__AT(uint32_t, &self->slots, at) = (uint32_t)self->answers.size;
    return TL_OK;
}

static enum tl_code next_batch(struct apply *self, struct tl_status *st)
{
    struct tl__op *child = self->op.child;
    const struct tl_plan_node *node = self->op.node;
    enum tl_code rc = tl__op_next(child, &self->batch, st);
    if (rc || self->batch.n == 0)
        return rc;
    self->values =
        tl_arena_calloc(&child->pipe->scratch, node->slot_count + 1u, sizeof(*self->values), st);
    if (!self->values)
        return st->code;
    for (uint32_t i = 0; i < node->slot_count; i++) {
        struct tl_vector v;
        rc = tl__step_eval(self->args[i], child->pipe, &self->batch, &v, st);
        if (rc == TL_OK)
            rc = tl__flatten(child->pipe, &v, self->batch.sel, self->batch.n, &self->values[i], st);
        if (rc)
            return rc;
        self->values[i].type = node->apply_args[i]->type;
    }
    self->has_batch = true;
    self->at = 0;
    if (self->answers.size > MEMO_MAX || self->rows.count > MEMO_ROWS_MAX)
        forget(self);
    return TL_OK;
}

/* The child's columns and one more. */
static enum tl_code next_values(struct apply *self, struct tl__batch *out, struct tl_status *st)
{
    struct tl_arena *arena = &self->op.pipe->scratch;
    const struct tl_plan_node *node = self->op.node;
    uint32_t lefts = node->child->column_count;
    const struct tl__batch *in = &self->batch;
    uint32_t *ids = tl_arena_alloc(arena, sizeof(*ids) * (in->rows + 1u), st);
    struct tl_vector *columns = tl_arena_calloc(arena, lefts + 1u, sizeof(*columns), st);
    if (!ids || !columns)
        return st->code;
    for (uint32_t i = 0; i < in->rows; i++)
        ids[i] = TL__NO_ROW;
    for (uint32_t k = 0; k < in->n; k++) {
        uint32_t row = in->sel ? in->sel[k] : k, from, to;
        enum tl_code rc = answer_of(self, row, &from, &to, st);
        if (rc)
            return rc;
        ids[row] = from < to ? from : TL__NO_ROW;
    }
    if (lefts > 0)
        memcpy(columns, in->columns, sizeof(*columns) * lefts);
    enum tl_code rc = tl__rows_gather(&self->rows, 0, ids, in->rows, arena, &columns[lefts], st);
    if (rc)
        return rc;
    *out = *in;
    out->columns = columns;
    self->has_batch = false;
    return TL_OK;
}

/* Pairs of the child's rows and those of the subplan; out->n 0: the batch is done. */
static enum tl_code next_pairs(struct apply *self, struct tl__batch *out, struct tl_status *st)
{
    struct tl_arena *arena = &self->op.pipe->scratch;
    const struct tl_plan_node *node = self->op.node;
    const struct tl__batch *in = &self->batch;
    uint32_t lefts = node->child->column_count, n = 0;
    uint16_t *rows = tl_arena_alloc(arena, sizeof(*rows) * TL_VECTOR_ROWS_MAX, st);
    uint32_t *ids = tl_arena_alloc(arena, sizeof(*ids) * TL_VECTOR_ROWS_MAX, st);
    struct tl_vector *columns =
        tl_arena_calloc(arena, node->column_count + 1u, sizeof(*columns), st);
    if (!rows || !ids || !columns)
        return st->code;
    while (self->at < in->n && n < TL_VECTOR_ROWS_MAX) {
        uint32_t row = in->sel ? in->sel[self->at] : self->at;
        if (!self->within) {
            enum tl_code rc = answer_of(self, row, &self->from, &self->to, st);
            if (rc)
                return rc;
            self->within = true;
            if (self->from == self->to && node->apply == TL_APPLY_LEFT) {
                rows[n] = (uint16_t)row;
                ids[n++] = TL__NO_ROW;
            }
        }
        while (self->from < self->to && n < TL_VECTOR_ROWS_MAX) {
            rows[n] = (uint16_t)row;
            ids[n++] = self->from++;
        }
        if (self->from < self->to)
            break;
        self->within = false;
        self->at++;
    }
    *out = (struct tl__batch){.rows = n, .columns = columns, .n = n};
    self->has_batch = n > 0;
    for (uint32_t c = 0; n > 0 && c < node->column_count; c++) {
        enum tl_code rc =
            c < lefts ? tl__compact(arena, &in->columns[c], rows, n, &columns[c], st)
                      : tl__rows_gather(&self->rows, c - lefts, ids, n, arena, &columns[c], st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code apply_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct apply *self = (struct apply *)op;
    bool pairs = op->node->apply == TL_APPLY_CROSS || op->node->apply == TL_APPLY_LEFT;
    tl_arena_reset(&op->pipe->scratch);
    *out = (struct tl__batch){0};
    for (;;) {
        enum tl_code rc = self->has_batch ? TL_OK : next_batch(self, st);
        if (rc || self->batch.n == 0)
            return rc;
        rc = pairs ? next_pairs(self, out, st) : next_values(self, out, st);
        if (rc || out->n > 0)
            return rc;
        tl_arena_reset(&op->pipe->scratch);
    }
}

static void apply_close(struct tl__op *op)
{
    struct apply *self = (struct apply *)op;
    tl__rows_deinit(&self->rows);
    tl__array_deinit(&self->answers);
    tl__array_deinit(&self->keys);
    tl__array_deinit(&self->slots);
}

static const struct tl__op_vtable apply_vtable = {apply_next, apply_close};

enum tl_code tl__apply_new(struct tl_run *run, const struct tl_plan_node *node,
                           struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct apply *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->op = (struct tl__op){.vtab = &apply_vtable, .node = node, .pipe = pipe, .run = run};
    self->args = tl_arena_calloc(&run->arena, node->slot_count + 1u, sizeof(struct tl__step *), st);
    if (!self->args)
        return st->code;
    tl__array_init(&self->answers, run->budget, sizeof(struct answer));
    tl__array_init(&self->keys, run->budget, 1);
    tl__array_init(&self->slots, run->budget, sizeof(uint32_t));
    *out = &self->op; /* closed by the run from here, also when the rest fails */
    bool pairs = node->apply == TL_APPLY_CROSS || node->apply == TL_APPLY_LEFT;
    uint32_t lefts = node->child->column_count;
    enum tl_code rc =
        tl__rows_init(&self->rows, pairs ? node->right->types : node->types + lefts,
                      pairs ? node->right->column_count : 1, &run->arena, run->budget, st);
    struct tl__pipe *below;
    if (rc == TL_OK)
        rc = tl__pipe_new(run, &below, st);
    for (uint32_t i = 0; rc == TL_OK && i < node->slot_count; i++)
        rc = tl__step_new(below, node->apply_args[i], &self->args[i], st);
    return rc ? rc : tl__op_new(run, node->child, below, &self->op.child, st);
}
