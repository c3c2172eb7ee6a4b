/*
 * Small operators: the rows of several inputs after one another, rows repeated, a substitute for
 * no rows, VALUES, functions in FROM, the first of each run of rows, rows per grouping set.
 */
#include <string.h>

#include "query/exec_int.h"

/* ---- APPEND and OTHERWISE ---- */

struct append {
    struct tl__op op;
    uint32_t at;
    bool any;
};

static enum tl_code append_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct append *self = (struct append *)op;
    for (; self->at < op->input_count; self->at++) {
        enum tl_code rc = tl__run_check(op->run, st);
        if (rc == TL_OK)
            rc = tl__op_next(op->inputs[self->at], out, st);
        if (rc || out->n > 0) {
            self->any = true;
            return rc;
        }
        if (op->node->kind == TL_NODE_OTHERWISE && self->any)
            self->at = op->input_count - 1;
    }
    *out = (struct tl__batch){0};
    return TL_OK;
}

static const struct tl__op_vtable append_vtable = {append_next, NULL};

static enum tl_code append_new(struct tl_run *run, const struct tl_plan_node *node,
                               struct tl__op **out, struct tl_status *st)
{
    struct append *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    if (!self)
        return st->code;
    self->op.vtab = &append_vtable;
    self->op.inputs =
        tl_arena_calloc(&run->arena, node->input_count + 1u, sizeof(struct tl__op *), st);
    if (!self->op.inputs)
        return st->code;
    *out = &self->op;
    self->op.node = node;
    self->op.run = run;
    for (uint32_t i = 0; i < node->input_count; i++) {
        struct tl__pipe *pipe;
        enum tl_code rc = tl__pipe_new(run, &pipe, st);
        if (rc == TL_OK)
            rc = tl__op_new(run, node->inputs[i], pipe, &self->op.inputs[i], st);
        if (rc)
            return rc;
        self->op.input_count = i + 1;
    }
    return TL_OK;
}

/* ---- REPEAT ---- */

struct repeat {
    struct tl__op op;
    struct tl__batch batch;
    uint32_t at;
    uint64_t left; /* of the row at `at`; 0: not started */
};

static uint64_t times_of(const struct tl_vector *v, uint32_t row)
{
    if (!tl_vector_valid(v, row))
        return 0;
    int64_t n = ((const int64_t *)v->data)[v->shape == TL_CONST ? 0 : row];
    return n > 0 ? (uint64_t)n : 0;
}

static enum tl_code repeat_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct repeat *self = (struct repeat *)op;
    struct tl_arena *arena = &op->pipe->scratch;
    uint32_t count = op->node->column_count;
    tl_arena_reset(arena);
    uint16_t *rows = tl_arena_alloc(arena, sizeof(*rows) * TL_VECTOR_ROWS_MAX, st);
    struct tl_vector *columns = tl_arena_calloc(arena, count + 1u, sizeof(*columns), st);
    if (!rows || !columns)
        return st->code;
    uint32_t n = 0;
    *out = (struct tl__batch){0};
    while (n == 0) {
        if (self->at >= self->batch.n) {
            enum tl_code rc = tl__run_check(op->run, st);
            if (rc == TL_OK)
                rc = tl__op_next(op->child, &self->batch, st);
            if (rc || self->batch.n == 0)
                return rc;
            self->at = 0;
        }
        while (self->at < self->batch.n && n < TL_VECTOR_ROWS_MAX) {
            uint32_t row = self->batch.sel ? self->batch.sel[self->at] : self->at;
            if (self->left == 0)
                self->left = times_of(&self->batch.columns[count], row);
            while (self->left > 0 && n < TL_VECTOR_ROWS_MAX) {
                rows[n++] = (uint16_t)row;
                self->left--;
            }
            if (self->left > 0)
                break;
            self->at++;
        }
    }
    for (uint32_t c = 0; c < count; c++) {
        enum tl_code rc = tl__compact(arena, &self->batch.columns[c], rows, n, &columns[c], st);
        if (rc)
            return rc;
    }
    *out = (struct tl__batch){.rows = n, .columns = columns, .n = n};
    return TL_OK;
}

static const struct tl__op_vtable repeat_vtable = {repeat_next, NULL};

static enum tl_code repeat_new(struct tl_run *run, const struct tl_plan_node *node,
                               struct tl__op **out, struct tl_status *st)
{
    struct repeat *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    struct tl__pipe *below;
    if (!self || tl__pipe_new(run, &below, st))
        return st->code;
    self->op.vtab = &repeat_vtable;
    self->op.node = node;
    self->op.run = run;
    *out = &self->op;
    return tl__op_new(run, node->child, below, &self->op.child, st);
}

/* ---- VALUES ---- */

struct values {
    struct tl__op op;
    uint32_t next;
};

static enum tl_code values_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct values *self = (struct values *)op;
    const struct tl_plan_node *node = op->node;
    struct tl_arena *arena = &op->pipe->scratch;
    tl_arena_reset(arena);
    uint32_t left = node->row_count - self->next;
    uint32_t n = left < TL_VECTOR_ROWS_MAX ? left : TL_VECTOR_ROWS_MAX;
    *out = (struct tl__batch){.rows = n, .n = n};
    if (n == 0)
        return tl__run_check(op->run, st);
    struct tl_vector *columns =
        tl_arena_calloc(arena, node->column_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t c = 0; c < node->column_count; c++) {
        size_t width = tl_kind_width(node->types[c].kind);
        uint8_t *data = tl_arena_calloc(arena, n, width ? width : 1, st);
        uint64_t *validity = tl_arena_calloc(arena, tl_bit_words(n) + 1u, 8, st);
        if (!data || !validity)
            return st->code;
        for (uint32_t r = 0; r < n; r++) {
            const struct tl_expr *e =
                c == 1 && node->ordinality ? NULL : node->rows[self->next + r][c];
            int64_t number = self->next + r + 1;
            if (!e) {
                memcpy(data + r * width, &number, sizeof(number));
                tl_bit_set(validity, r);
                continue;
            }
            struct tl_vector v;
            enum tl_code rc = tl__eval_constant(op->pipe, e, &v, st);
            if (rc)
                return rc;
            if (!tl_vector_valid(&v, 0))
                continue;
            tl_bit_set(validity, r);
            memcpy(data + r * width, v.data, width);
        }
        columns[c] = (struct tl_vector){.type = node->types[c],
                                        .shape = TL_FLAT,
                                        .count = n,
                                        .data = data,
                                        .validity = validity};
    }
    self->next += n;
    out->columns = columns;
    return TL_OK;
}

static const struct tl__op_vtable values_vtable = {values_next, NULL};

/* ---- generate_series ---- */

struct series {
    struct tl__op op;
    bool ready, done;
    int64_t at, last;
    uint64_t number;
    bool up;
    int64_t step;                /* whole: of numbers, and of intervals of time alone */
    struct tl_interval interval; /* else */
    const struct tl_function *add;
};

static enum tl_code zero_step(const struct tl_expr *e, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "step size cannot equal zero");
    return tl_status_sql(st, "22023", e->position);
}

static enum tl_code series_start(struct series *self, struct tl_status *st)
{
    const struct tl_plan_node *node = self->op.node;
    struct tl__pipe *pipe = self->op.pipe;
    struct tl_vector v[3];
    self->ready = true;
    self->step = 1;
    for (uint32_t i = 0; i < node->arg_count; i++) {
        enum tl_code rc = tl__eval_constant(pipe, node->args[i], &v[i], st);
        if (rc)
            return rc;
        self->done = self->done || !tl_vector_valid(&v[i], 0);
    }
    if (self->done)
        return TL_OK;
    self->at = *(const int64_t *)v[0].data;
    self->last = *(const int64_t *)v[1].data;
    tl_i128 sign = 1;
    if (node->arg_count == 3 && node->args[2]->type.kind == TL_INTERVAL) {
        self->interval = *(const struct tl_interval *)v[2].data;
        const struct tl_interval *s = &self->interval;
        sign = (tl_i128)s->us + ((tl_i128)s->days + (tl_i128)s->months * 30) * 86400000000LL;
        self->step = s->us;
        if (s->days != 0 || s->months != 0) {
            struct tl_type types[2] = {node->types[0], node->args[2]->type};
            self->add = tl_function_find("+", types, 2);
            tl_assert(self->add != NULL);
        }
    } else if (node->arg_count == 3) {
        sign = self->step = *(const int64_t *)v[2].data;
    }
    if (sign == 0)
        return zero_step(node->args[2], st);
    self->up = sign > 0;
    return TL_OK;
}

static enum tl_code series_step(struct series *self, struct tl_status *st)
{
    if (!self->add) {
        self->done = __builtin_add_overflow(self->at, self->step, &self->at);
        return TL_OK;
    }
    struct tl__pipe *pipe = self->op.pipe;
    struct tl_vector args[2] = {
        {.type = self->op.node->types[0], .shape = TL_CONST, .count = 1, .data = &self->at},
        {.type = tl_type_of(TL_INTERVAL), .shape = TL_CONST, .count = 1, .data = &self->interval}};
    struct tl_vector sum = {.type = args[0].type, .count = 1};
    enum tl_code rc = self->add->kernel(&pipe->ctx, args, 2, 1, NULL, 1, &sum, st);
    if (rc)
        return rc;
    int64_t next = *(const int64_t *)sum.data;
    self->done = self->up ? next <= self->at : next >= self->at; /* it can go no further */
    self->at = next;
    return TL_OK;
}

static enum tl_code series_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct series *self = (struct series *)op;
    struct tl_arena *arena = &op->pipe->scratch;
    tl_arena_reset(arena);
    enum tl_code rc = tl__run_check(op->run, st);
    if (rc == TL_OK && !self->ready)
        rc = series_start(self, st);
    if (rc)
        return rc;
    int64_t *data = tl_arena_alloc(arena, sizeof(*data) * TL_VECTOR_ROWS_MAX, st);
    int64_t *numbers = tl_arena_alloc(arena, sizeof(*data) * TL_VECTOR_ROWS_MAX, st);
    struct tl_vector *columns = tl_arena_calloc(arena, 2, sizeof(*columns), st);
    if (!data || !numbers || !columns)
        return st->code;
    uint32_t n = 0;
    while (n < TL_VECTOR_ROWS_MAX && !self->done &&
           (self->up ? self->at <= self->last : self->at >= self->last)) {
        numbers[n] = (int64_t)++self->number;
        data[n++] = self->at;
        rc = series_step(self, st);
        if (rc)
            return rc;
    }
    columns[0] =
        (struct tl_vector){.type = op->node->types[0], .shape = TL_FLAT, .count = n, .data = data};
    columns[1] = (struct tl_vector){
        .type = tl_type_of(TL_BIGINT), .shape = TL_FLAT, .count = n, .data = numbers};
    *out = (struct tl__batch){.rows = n, .columns = columns, .n = n};
    return TL_OK;
}

static const struct tl__op_vtable series_vtable = {series_next, NULL};

/* ---- generate_series of decimals ---- */

struct decimals {
    struct tl__op op;
    bool ready, done;
    tl_i128 at, last, step;
    uint64_t number;
};

static tl_i128 decimal_at(const struct tl_vector *v)
{
    tl_i128 out;
    memcpy(&out, v->data, sizeof(out));
    return out;
}

static enum tl_code decimals_start(struct decimals *self, struct tl_status *st)
{
    const struct tl_plan_node *node = self->op.node;
    struct tl_vector v[3];
    self->ready = true;
    for (uint32_t i = 0; i < node->arg_count; i++) {
        enum tl_code rc = tl__eval_constant(self->op.pipe, node->args[i], &v[i], st);
        if (rc)
            return rc;
        self->done = self->done || !tl_vector_valid(&v[i], 0);
    }
    if (self->done)
        return TL_OK;
    self->at = decimal_at(&v[0]);
    self->last = decimal_at(&v[1]);
    self->step = 1;
    for (uint32_t i = 0; node->arg_count == 2 && i < node->types[0].scale; i++)
        self->step *= 10;
    if (node->arg_count == 3)
        self->step = decimal_at(&v[2]);
    if (self->step == 0)
        return zero_step(node->args[2], st);
    /* The end's digits beyond the series' own: towards the start, so that no value passes it. */
    for (uint32_t i = node->types[0].scale; i < node->args[1]->type.scale; i++) {
        tl_i128 rest = self->last % 10;
        self->last /= 10;
        if (self->step > 0 && rest < 0)
            self->last--;
        else if (self->step < 0 && rest > 0)
            self->last++;
    }
    return TL_OK;
}

static enum tl_code decimals_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct decimals *self = (struct decimals *)op;
    struct tl_arena *arena = &op->pipe->scratch;
    tl_arena_reset(arena);
    enum tl_code rc = tl__run_check(op->run, st);
    if (rc == TL_OK && !self->ready)
        rc = decimals_start(self, st);
    if (rc)
        return rc;
    tl_i128 *data = tl_arena_alloc(arena, sizeof(*data) * TL_VECTOR_ROWS_MAX, st);
    int64_t *numbers = tl_arena_alloc(arena, sizeof(*numbers) * TL_VECTOR_ROWS_MAX, st);
    struct tl_vector *columns = tl_arena_calloc(arena, 2, sizeof(*columns), st);
    if (!data || !numbers || !columns)
        return st->code;
    uint32_t n = 0;
    while (n < TL_VECTOR_ROWS_MAX && !self->done &&
           (self->step > 0 ? self->at <= self->last : self->at >= self->last)) {
        numbers[n] = (int64_t)++self->number;
        data[n++] = self->at;
        self->done = __builtin_add_overflow(self->at, self->step, &self->at);
    }
    columns[0] =
        (struct tl_vector){.type = op->node->types[0], .shape = TL_FLAT, .count = n, .data = data};
    columns[1] = (struct tl_vector){
        .type = tl_type_of(TL_BIGINT), .shape = TL_FLAT, .count = n, .data = numbers};
    *out = (struct tl__batch){.rows = n, .columns = columns, .n = n};
    return TL_OK;
}

static const struct tl__op_vtable decimals_vtable = {decimals_next, NULL};

/* ---- FIRST ---- */

struct first {
    struct tl__op op;
    struct tl__rows last; /* the keys of the last row, when there was one */
};

static bool same_value(struct tl_type type, const struct tl_vector *a, uint32_t i,
                       const struct tl_vector *b, uint32_t j)
{
    bool valid = tl_vector_valid(a, i);
    if (!valid || !tl_vector_valid(b, j))
        return valid == tl_vector_valid(b, j);
    size_t width = tl_kind_width(type.kind);
    return tl__compare(type, (const uint8_t *)a->data + tl__step(a) * i * width, type,
                       (const uint8_t *)b->data + tl__step(b) * j * width) == 0;
}

static enum tl_code first_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct first *self = (struct first *)op;
    const struct tl_plan_node *node = op->node;
    struct tl__pipe *pipe = op->child->pipe;
    uint32_t count = node->sort_key_count;
    for (;;) {
        enum tl_code rc = tl__run_check(op->run, st);
        if (rc == TL_OK)
            rc = tl__op_next(op->child, out, st);
        if (rc || out->n == 0)
            return rc;
        struct tl_vector *keys = tl_arena_calloc(&pipe->scratch, count + 1u, sizeof(*keys), st);
        struct tl_vector *last = tl_arena_calloc(&pipe->scratch, count + 1u, sizeof(*last), st);
        uint16_t *sel = tl_arena_alloc(&pipe->scratch, sizeof(*sel) * (out->n + 1u), st);
        if (!keys || !last || !sel)
            return st->code;
        for (uint32_t c = 0; c < count && rc == TL_OK; c++) {
            rc = tl__flatten(pipe, &out->columns[node->sort_keys[c].column], out->sel, out->n,
                             &keys[c], st);
            if (rc == TL_OK && self->last.count > 0)
                rc = tl__rows_slice(&self->last, c, 0, 1, &pipe->scratch, &last[c], st);
        }
        if (rc)
            return rc;
        uint32_t n = 0, before = 0;
        for (uint32_t k = 0; k < out->n; k++) {
            uint32_t row = out->sel ? out->sel[k] : k;
            bool same = k > 0 || self->last.count > 0;
            for (uint32_t c = 0; c < count && same; c++)
                same = k > 0 ? same_value(keys[c].type, &keys[c], before, &keys[c], row)
                             : same_value(keys[c].type, &last[c], 0, &keys[c], row);
            sel[n] = (uint16_t)row;
            n += !same;
            before = row;
        }
        uint16_t at = (uint16_t)before;
        tl__rows_clear(&self->last);
        rc = tl__rows_append(&self->last, pipe, keys, &at, 1, st);
        if (rc)
            return rc;
        out->sel = sel;
        out->n = n;
        if (n > 0)
            return TL_OK;
    }
}

static void first_close(struct tl__op *op)
{
    tl__rows_deinit(&((struct first *)op)->last);
}

static const struct tl__op_vtable first_vtable = {first_next, first_close};

static enum tl_code first_new(struct tl_run *run, const struct tl_plan_node *node,
                              struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct first *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    struct tl_type *types =
        tl_arena_calloc(&run->arena, node->sort_key_count + 1u, sizeof(*types), st);
    if (!self || !types)
        return st->code;
    for (uint32_t c = 0; c < node->sort_key_count; c++)
        types[c] = node->types[node->sort_keys[c].column];
    self->op = (struct tl__op){.vtab = &first_vtable, .node = node, .run = run};
    *out = &self->op;
    enum tl_code rc =
        tl__rows_init(&self->last, types, node->sort_key_count, &run->arena, run->budget, st);
    return rc ? rc : tl__op_new(run, node->child, pipe, &self->op.child, st);
}

/* ---- EXPAND ---- */

struct expand {
    struct tl__op op;
    struct tl__step **keys;
    struct tl__batch batch;
    struct tl_vector *values; /* of the keys */
    uint32_t set;
};

static enum tl_code expand_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct expand *self = (struct expand *)op;
    const struct tl_plan_node *node = op->node;
    struct tl_arena *arena = &op->pipe->scratch;
    uint32_t base = node->child->column_count;
    tl_arena_reset(arena);
    if (self->set == 0) {
        struct tl__pipe *below = op->child->pipe;
        enum tl_code rc = tl__op_next(op->child, &self->batch, st);
        if (rc || self->batch.n == 0) {
            *out = self->batch;
            return rc;
        }
        self->values =
            tl_arena_calloc(&below->scratch, node->key_count + 1u, sizeof(*self->values), st);
        if (!self->values)
            return st->code;
        for (uint32_t k = 0; k < node->key_count; k++) {
            rc = tl__step_eval(self->keys[k], below, &self->batch, &self->values[k], st);
            if (rc)
                return rc;
            self->values[k].type = node->types[base + k];
        }
    }
    struct tl_vector *columns =
        tl_arena_calloc(arena, node->column_count + 1u, sizeof(*columns), st);
    int64_t *number = tl_arena_alloc(arena, sizeof(*number), st);
    if (!columns || !number)
        return st->code;
    if (base > 0)
        memcpy(columns, self->batch.columns, sizeof(*columns) * base);
    for (uint32_t k = 0; k < node->key_count; k++) {
        if (node->sets[self->set] >> k & 1)
            columns[base + k] = self->values[k];
        else
            tl__null_vector(node->types[base + k], self->batch.rows, &columns[base + k]);
    }
    *number = self->set;
    columns[base + node->key_count] = (struct tl_vector){.type = tl_type_of(TL_BIGINT),
                                                         .shape = TL_CONST,
                                                         .count = self->batch.rows,
                                                         .data = number};
    *out = self->batch;
    out->columns = columns;
    self->set = (self->set + 1) % node->set_count;
    return tl__run_check(op->run, st);
}

static const struct tl__op_vtable expand_vtable = {expand_next, NULL};

static enum tl_code expand_new(struct tl_run *run, const struct tl_plan_node *node,
                               struct tl__op **out, struct tl_status *st)
{
    struct expand *self = tl_arena_calloc(&run->arena, 1, sizeof(*self), st);
    struct tl__pipe *below;
    if (!self || tl__pipe_new(run, &below, st))
        return st->code;
    self->op = (struct tl__op){.vtab = &expand_vtable, .node = node, .run = run};
    self->keys = tl_arena_calloc(&run->arena, node->key_count + 1u, sizeof(struct tl__step *), st);
    if (!self->keys)
        return st->code;
    *out = &self->op;
    for (uint32_t k = 0; k < node->key_count; k++) {
        enum tl_code rc = tl__step_new(below, node->keys[k], &self->keys[k], st);
        if (rc)
            return rc;
    }
    return tl__op_new(run, node->child, below, &self->op.child, st);
}

/* ---- which ---- */

static enum tl_code plain_new(struct tl_run *run, size_t size, const struct tl__op_vtable *vtab,
                              struct tl__op **out, struct tl_status *st)
{
    struct tl__op *op = tl_arena_calloc(&run->arena, 1, size, st);
    if (!op)
        return st->code;
    op->vtab = vtab;
    *out = op;
    return TL_OK;
}

enum tl_code tl__set_new(struct tl_run *run, const struct tl_plan_node *node, struct tl__pipe *pipe,
                         struct tl__op **out, struct tl_status *st)
{
    switch ((enum tl_node_kind)node->kind) {
    case TL_NODE_APPEND:
    case TL_NODE_OTHERWISE:
        return append_new(run, node, out, st);
    case TL_NODE_REPEAT:
        return repeat_new(run, node, out, st);
    case TL_NODE_FIRST:
        return first_new(run, node, pipe, out, st);
    case TL_NODE_EXPAND:
        return expand_new(run, node, out, st);
    case TL_NODE_VALUES:
        return plain_new(run, sizeof(struct values), &values_vtable, out, st);
    default:
        tl_assert(node->kind == TL_NODE_TABLE_FUNCTION);
        if (node->types[0].kind == TL_DECIMAL128)
            return plain_new(run, sizeof(struct decimals), &decimals_vtable, out, st);
        return plain_new(run, sizeof(struct series), &series_vtable, out, st);
    }
}
