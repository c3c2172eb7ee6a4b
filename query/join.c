/*
 * FROM and WHERE -> joins.
 *
 * Inner joins are one list of inputs and one list of conditions, whatever was written as comma,
 * JOIN … ON or WHERE. A condition of one input goes into it (a scan's bounds, a subquery's own
 * WHERE); an equality of two is a hash key; what is left is a filter as soon as its columns are
 * there. Inputs are taken in the order in which they were written, those first that have a key to
 * what is joined already. Of two inputs the one that is estimated smaller is kept in memory.
 *
 * Around an outer join conditions stay where they mean the same: WHERE goes into the side that is
 * kept whole, ON into the other. An outer join whose missing rows WHERE would not let through
 * anyway is an inner one.
 *
 * column = column and column <op> constant say column <op> constant of the other column too: so a
 * merchant or a time range reaches all scans that are joined by it.
 *
 * Subqueries: EXISTS and IN become SEMI and ANTI joins, IN elsewhere a MARK join, an aggregate
 * over rows that equal something outside a LEFT JOIN of groups; all others an APPLY.
 */
#include "query/bind_int.h"

#include <string.h>

#include "base/assert.h"

enum { TRANSFER_MAX = 256 };

/* What is planned so far of a FROM: a node and which column is where. */
struct input {
    struct tl_plan_node *node;
    struct tl__layout layout;
    double rows;
    uint64_t rels;
};

struct conds {
    struct tl_expr **list;
    uint32_t count, capacity;
};

struct planner {
    struct tl__block *k;
    struct tl__binder *b;
    struct conds late; /* with subqueries: after all joins */
};

/* ---- codes ---- */

static enum tl_code add_code(struct tl__binder *b, struct tl__layout *l, uint32_t code)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->codes[i] == code)
            return TL_OK;
    enum tl_code rc = tl__grow(b, &l->codes, l->count, &l->capacity, sizeof(*l->codes));
    if (!rc)
        l->codes[l->count++] = code;
    return rc;
}

static bool has_code(const struct tl__layout *l, uint32_t code)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->codes[i] == code)
            return true;
    return false;
}

/* The columns that an expression reads; OUTERs read those of another block. */
static enum tl_code add_codes(struct tl__binder *b, struct tl__layout *l, const struct tl_expr *e)
{
    if ((int)e->kind == TL__EXPR_OUTER)
        return TL_OK;
    if (e->kind == TL_EXPR_COLUMN)
        return add_code(b, l, e->index);
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < e->arg_count; i++)
        rc = add_codes(b, l, e->args[i]);
    return rc;
}

static enum tl_code copy_codes(struct tl__binder *b, const struct tl__layout *from,
                               struct tl__layout *to)
{
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < from->count; i++)
        rc = add_code(b, to, from->codes[i]);
    return rc;
}

/* Codes -> places. */
static void remap(struct tl_expr *e, const struct tl__layout *l)
{
    if (e->kind == TL_EXPR_COLUMN) {
        uint32_t at = 0;
        while (at < l->count && l->codes[at] != e->index)
            at++;
        tl_assert(at < l->count);
        e->index = at;
        return;
    }
    for (uint32_t i = 0; i < e->arg_count; i++)
        remap(e->args[i], l);
}

static uint64_t rels_of(const struct tl_expr *e)
{
    if ((int)e->kind == TL__EXPR_OUTER)
        return 0;
    if (e->kind == TL_EXPR_COLUMN)
        return 1ULL << (tl__code_rel(e->index) & 63);
    uint64_t rels = 0;
    for (uint32_t i = 0; i < e->arg_count; i++)
        rels |= rels_of(e->args[i]);
    return rels;
}

static enum tl_code add_cond(struct tl__binder *b, struct conds *c, struct tl_expr *e)
{
    enum tl_code rc = tl__grow(b, &c->list, c->count, &c->capacity, sizeof(struct tl_expr *));
    if (!rc)
        c->list[c->count++] = e;
    return rc;
}

/* Splits a condition into *c; one that can never hold is put back as a constant. */
static enum tl_code add_conds(struct tl__binder *b, struct conds *c, struct tl_expr *where)
{
    struct tl_expr **list;
    uint32_t count;
    bool never;
    enum tl_code rc = tl__split(b, where, &list, &count, &never);
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = add_cond(b, c, list[i]);
    if (rc || !never)
        return rc;
    uint8_t no = 0;
    struct tl_expr *e = tl__const_new(b, tl_type_of(TL_BOOLEAN), &no, 0);
    return e ? add_cond(b, c, e) : b->st->code;
}

/* ---- estimates ---- */

static double scan_rows(const struct tl_plan_node *n)
{
    double rows = 1e6;
    for (uint32_t i = 0; i < n->merchant_bound_count; i++)
        rows *= 0.01 * n->merchant_bounds[i].value_count;
    for (uint32_t i = 0; i < n->ts_bound_count; i++)
        rows *= n->ts_bounds[i].op == TL_PRED_EQ ? 0.001 : 0.4;
    for (uint32_t i = 0; i < n->bound_count; i++)
        rows *= n->bounds[i].op == TL_PRED_EQ ? 0.1 : n->bounds[i].op == TL_PRED_IN ? 0.2 : 0.5;
    return rows > 1 ? rows : 1;
}

/* How many rows a node gives, roughly; only compared with one another. */
static double estimate(const struct tl_plan_node *n, uint32_t depth)
{
    if (depth > 200)
        return 1e6;
    double child = n->child ? estimate(n->child, depth + 1) : 1;
    switch ((enum tl_node_kind)n->kind) {
    case TL_NODE_SCAN:
        return scan_rows(n);
    case TL_NODE_FILTER:
        return n->child->kind == TL_NODE_SCAN ? child : child * 0.3;
    case TL_NODE_AGGREGATE:
        return n->key_count == 0 ? 1 : child * 0.1 + 1;
    case TL_NODE_DISTINCT:
    case TL_NODE_FIRST:
        return child * 0.2 + 1;
    case TL_NODE_LIMIT:
        if (n->limit && n->limit->kind == TL_EXPR_CONST && !tl__is_null_const(n->limit)) {
            double limit = (double)*(const int64_t *)n->limit->value.data;
            return limit < child ? limit : child;
        }
        return child;
    case TL_NODE_JOIN: {
        if (n->join >= TL_JOIN_SEMI)
            return child;
        double right = estimate(n->right, depth + 1);
        return n->join_key_count == 0 ? child * right : child > right ? child : right;
    }
    case TL_NODE_APPEND: {
        double sum = 0;
        for (uint32_t i = 0; i < n->input_count; i++)
            sum += estimate(n->inputs[i], depth + 1);
        return sum;
    }
    case TL_NODE_VALUES:
        return n->row_count;
    case TL_NODE_TABLE_FUNCTION:
        return 1000;
    case TL_NODE_CTE:
        return 10000;
    default:
        return child;
    }
}

/* ---- one relation ---- */

enum tl_code tl__push_into(struct tl__binder *b, struct tl__query *q, struct tl_expr **where)
{
    if (!*where)
        return TL_OK;
    struct conds all = {0}, kept = {0};
    enum tl_code rc = add_conds(b, &all, *where);
    for (uint32_t i = 0; !rc && i < all.count; i++) {
        struct tl_expr *e = all.list[i];
        uint32_t code;
        bool strict, pushed = false;
        if (!tl__has_kind(e, TL__EXPR_OUTER) && tl__simple_condition(b, e, &code, &strict))
            rc = tl__query_push(b, q, tl__code_at(code), e, &pushed);
        if (!rc && !pushed)
            rc = add_cond(b, &kept, e);
    }
    return rc ? rc : tl__make_and(b, kept.list, kept.count, where);
}

static void recode(struct tl_expr *e)
{
    if ((int)e->kind == TL__EXPR_OUTER)
        return;
    if (e->kind == TL_EXPR_COLUMN)
        e->index = tl__code_at(e->index);
    for (uint32_t i = 0; i < e->arg_count; i++)
        recode(e->args[i]);
}

static enum tl_code plan_scan(struct planner *p, struct tl__scope *scope, struct tl_expr *where,
                              const struct tl__layout *need, struct input *out)
{
    struct tl__binder *b = p->b;
    struct tl_plan_node *scan = tl__node_new(b, TL_NODE_SCAN, NULL);
    bool *used = tl_arena_calloc(b->scratch, scope->scan_count + 1u, sizeof(*used), b->st);
    if (!scan || !used)
        return b->st->code;
    scan->table_name = tl__keep(b, scope->table->name);
    scan->table_id = scope->table->id;
    if (!scan->table_name)
        return b->st->code;
    enum tl_code rc = tl__push_where(b, scope, scan, where, &out->node);
    for (uint32_t i = 0; i < need->count; i++)
        if (tl__code_rel(need->codes[i]) == scope->number)
            used[tl__code_at(need->codes[i])] = true;
    uint32_t *place;
    if (!rc)
        rc = tl__finish_inner_scan(b, scope, scan, out->node, used, &place);
    for (uint32_t i = 0; !rc && i < scope->scan_count; i++)
        if (place[i] != UINT32_MAX)
            rc = add_code(b, &out->layout, tl__code(scope->number, i));
    return rc;
}

static enum tl_code all_outputs(struct tl__binder *b, const struct tl__scope *scope,
                                struct tl__layout *out)
{
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < scope->output_count; i++)
        rc = add_code(b, out, tl__code(scope->number, i));
    return rc;
}

static enum tl_code plan_relation(struct planner *p, struct tl__scope *scope,
                                  const struct conds *conds, const struct tl__layout *need,
                                  struct input *out)
{
    struct tl__binder *b = p->b;
    struct tl_expr *where;
    enum tl_code rc = tl__make_and(b, conds->list, conds->count, &where);
    if (!rc && where)
        recode(where);
    if (rc)
        return rc;
    out->rels = 1ULL << scope->number;
    if (scope->table) {
        rc = plan_scan(p, scope, where, need, out);
    } else {
        if (scope->query)
            rc = tl__push_into(b, scope->query, &where);
        if (!rc && scope->query)
            rc = tl__query_build(b, scope->query, false, &out->node);
        else
            out->node = scope->node;
        if (!rc)
            rc = tl__push_where(b, NULL, out->node, where, &out->node);
        if (!rc)
            rc = all_outputs(b, scope, &out->layout);
    }
    if (!rc)
        out->rows = estimate(out->node, 0);
    return rc;
}

/* ---- two inputs ---- */

/* left = right of two inputs, either way round. */
static bool is_key(const struct tl_expr *e, uint64_t left, uint64_t right, struct tl_expr **l,
                   struct tl_expr **r)
{
    if (e->kind != TL_EXPR_CALL || e->arg_count != 2 || strcmp(e->function->name, "=") != 0 ||
        !tl_type_eq(e->args[0]->type, e->args[1]->type))
        return false;
    for (uint32_t side = 0; side < 2; side++) {
        uint64_t a = rels_of(e->args[side]), b = rels_of(e->args[1 - side]);
        *l = e->args[side];
        *r = e->args[1 - side];
        if (a && b && !(a & ~left) && !(b & ~right))
            return true;
    }
    return false;
}

static enum tl_code add_filter(struct tl__binder *b, struct input *in, const struct conds *conds)
{
    struct tl_expr *where;
    enum tl_code rc = tl__make_and(b, conds->list, conds->count, &where);
    if (rc || !where)
        return rc;
    remap(where, &in->layout);
    return tl__push_where(b, NULL, in->node, where, &in->node);
}

/* A JOIN of two, that emits what `need` names; conditions that are no keys are its residual. */
static enum tl_code join_node(struct tl__binder *b, enum tl_join_kind kind, struct input *left,
                              struct input *right, struct tl_expr **left_keys,
                              struct tl_expr **right_keys, uint32_t key_count,
                              const struct conds *residual, const struct tl__layout *need,
                              uint32_t mark_code, struct input *out)
{
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_JOIN, left->node);
    if (!n)
        return b->st->code;
    n->join = (uint8_t)kind;
    n->right = right->node;
    n->join_key_count = key_count;
    n->left_keys = left_keys;
    n->right_keys = right_keys;
    for (uint32_t i = 0; i < key_count; i++) {
        remap(left_keys[i], &left->layout);
        remap(right_keys[i], &right->layout);
    }
    struct tl__layout both = {0};
    enum tl_code rc = TL_OK;
    uint32_t lefts = left->layout.count, rights = right->layout.count;
    tl_assert(lefts == left->node->column_count && rights == right->node->column_count);
    both.codes = tl_arena_calloc(b->scratch, lefts + rights + 1u, sizeof(*both.codes), b->st);
    if (!both.codes)
        return b->st->code;
    if (lefts > 0)
        memcpy(both.codes, left->layout.codes, lefts * sizeof(*both.codes));
    if (rights > 0)
        memcpy(both.codes + lefts, right->layout.codes, rights * sizeof(*both.codes));
    both.count = lefts + rights;
    if (residual && residual->count > 0) {
        rc = tl__make_and(b, residual->list, residual->count, &n->residual);
        if (rc)
            return rc;
        remap(n->residual, &both);
    }
    bool left_only = kind >= TL_JOIN_SEMI;
    n->emit = tl_arena_calloc(b->arena, both.count + 1u, sizeof(*n->emit), b->st);
    if (!n->emit || tl__set_types(b, n, both.count + 1u))
        return b->st->code;
    struct tl__layout emitted = {0};
    for (uint32_t i = 0; !rc && i < (left_only ? lefts : both.count); i++) {
        if (need && !has_code(need, both.codes[i]))
            continue;
        n->types[n->emit_count] = i < lefts ? left->node->types[i] : right->node->types[i - lefts];
        n->emit[n->emit_count++] = i;
        rc = add_code(b, &emitted, both.codes[i]);
    }
    if (!rc && kind == TL_JOIN_MARK) {
        n->types[n->emit_count] = tl_type_of(TL_BOOLEAN);
        n->emit[n->emit_count++] = lefts;
        rc = add_code(b, &emitted, mark_code);
    }
    n->column_count = n->emit_count;
    *out = (struct input){
        .node = n, .layout = emitted, .rels = left->rels | right->rels, .rows = estimate(n, 0)};
    return rc;
}

/* Divides conditions into keys and others. */
static enum tl_code find_keys(struct tl__binder *b, const struct conds *conds, uint64_t left,
                              uint64_t right, struct tl_expr ***left_keys,
                              struct tl_expr ***right_keys, uint32_t *key_count,
                              struct conds *others)
{
    *left_keys = tl_arena_calloc(b->arena, conds->count + 1u, sizeof(struct tl_expr *), b->st);
    *right_keys = tl_arena_calloc(b->arena, conds->count + 1u, sizeof(struct tl_expr *), b->st);
    *key_count = 0;
    if (!*left_keys || !*right_keys)
        return b->st->code;
    for (uint32_t i = 0; i < conds->count; i++) {
        struct tl_expr *l, *r;
        if (is_key(conds->list[i], left, right, &l, &r)) {
            (*left_keys)[*key_count] = l;
            (*right_keys)[(*key_count)++] = r;
            continue;
        }
        enum tl_code rc = add_cond(b, others, conds->list[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code join_two(struct tl__binder *b, enum tl_join_kind kind, struct input *left,
                             struct input *right, const struct conds *conds,
                             const struct tl__layout *need, struct input *out)
{
    struct tl_expr **left_keys, **right_keys;
    uint32_t count;
    struct conds others = {0};
    enum tl_code rc =
        find_keys(b, conds, left->rels, right->rels, &left_keys, &right_keys, &count, &others);
    if (rc)
        return rc;
    /* What is kept in memory is on the right. */
    bool swap = left->rows < right->rows * (kind == TL_JOIN_INNER ? 1 : 0.5);
    struct tl__layout wide = {0};
    bool above = kind == TL_JOIN_INNER && others.count > 0; /* a filter is as good, and cheaper */
    if (above) {
        rc = copy_codes(b, need, &wide);
        for (uint32_t i = 0; !rc && i < others.count; i++)
            rc = add_codes(b, &wide, others.list[i]);
        if (rc)
            return rc;
        need = &wide;
    }
    if (swap)
        rc = join_node(b, kind == TL_JOIN_LEFT ? TL_JOIN_RIGHT : kind, right, left, right_keys,
                       left_keys, count, above ? NULL : &others, need, 0, out);
    else
        rc = join_node(b, kind, left, right, left_keys, right_keys, count, above ? NULL : &others,
                       need, 0, out);
    return rc || !above ? rc : add_filter(b, out, &others);
}

/* ---- LATERAL and APPLY ---- */

/* Makes what a level takes from around it slots; *args: what they are set to, by slot. A thing
 * that is a slot already stays that one. */
static enum tl_code level_slots(struct tl__binder *b, struct tl__level *level,
                                struct tl_expr *const *values, uint32_t **slots,
                                struct tl_expr ***args, uint32_t *count)
{
    *slots = tl_arena_calloc(b->arena, level->outer_count + 1u, sizeof(**slots), b->st);
    *args = tl_arena_calloc(b->arena, level->outer_count + 1u, sizeof(struct tl_expr *), b->st);
    *count = 0;
    if (!*slots || !*args)
        return b->st->code;
    for (uint32_t i = 0; i < level->outer_count; i++) {
        struct tl_expr *e = level->outers[i];
        struct tl_expr *value = values ? values[i] : e->args[0];
        uint32_t slot = 0;
        bool known = value->kind == TL_EXPR_PARAM;
        if (known)
            slot = value->index;
        for (uint32_t j = 0; !known && j < *count; j++) {
            known = tl__expr_equal((*args)[j], value);
            slot = (*slots)[j];
        }
        if (!known) {
            enum tl_code rc = tl__slot_new(b, value->type, &slot);
            if (rc)
                return rc;
            (*slots)[*count] = slot;
            (*args)[(*count)++] = value;
        }
        e->kind = TL_EXPR_PARAM;
        e->index = slot;
        e->arg_count = 0;
    }
    return TL_OK;
}

static enum tl_code apply_node(struct tl__binder *b, enum tl_apply_kind kind, struct input *in,
                               struct tl_plan_node *right, const uint32_t *slots,
                               struct tl_expr **args, uint32_t count, struct tl_type type,
                               struct tl_plan_node **out)
{
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_APPLY, in->node);
    if (!n)
        return b->st->code;
    bool join = kind == TL_APPLY_CROSS || kind == TL_APPLY_LEFT;
    uint32_t lefts = in->node->column_count, rights = join ? right->column_count : 1;
    if (tl__set_types(b, n, lefts + rights))
        return b->st->code;
    memcpy(n->types, in->node->types, lefts * sizeof(*n->types));
    if (join)
        memcpy(n->types + lefts, right->types, rights * sizeof(*n->types));
    else
        n->types[lefts] = type;
    n->apply = (uint8_t)kind;
    n->right = right;
    n->slot_count = count;
    n->slots = (uint32_t *)slots;
    n->apply_args = args;
    for (uint32_t i = 0; i < count; i++) {
        args[i] = tl__clone(b, args[i]);
        if (!args[i])
            return b->st->code;
        remap(args[i], &in->layout);
    }
    *out = n;
    return TL_OK;
}

static uint64_t lateral_needs(const struct tl__scope *s)
{
    uint64_t rels = 0;
    for (uint32_t i = 0; s->level && i < s->level->outer_count; i++)
        if (s->level->outers[i]->arg_count > 0)
            rels |= rels_of(s->level->outers[i]->args[0]);
    return rels;
}

/* Columns of the left in a condition of LEFT JOIN LATERAL become slots, those of the right plain.
 */
static enum tl_code lateral_condition(struct tl__binder *b, const struct tl__scope *scope,
                                      struct tl__level *level, struct tl_expr **e)
{
    if ((*e)->kind == TL_EXPR_COLUMN) {
        if (tl__code_rel((*e)->index) != scope->number)
            return tl__outer_new(b, level, *e, e);
        (*e)->index = tl__code_at((*e)->index);
        return TL_OK;
    }
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < (*e)->arg_count; i++)
        rc = lateral_condition(b, scope, level, &(*e)->args[i]);
    return rc;
}

/* The left, and for each of its rows those of a LATERAL relation. */
static enum tl_code join_lateral(struct planner *p, enum tl_apply_kind kind, struct input *left,
                                 struct tl__scope *scope, struct conds *on, struct input *out)
{
    struct tl__binder *b = p->b;
    struct tl_expr *where;
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < on->count; i++)
        rc = lateral_condition(b, scope, scope->level, &on->list[i]);
    if (!rc)
        rc = tl__make_and(b, on->list, on->count, &where);
    uint32_t *slots, count;
    struct tl_expr **args;
    struct tl_plan_node *right = scope->node;
    if (!rc)
        rc = level_slots(b, scope->level, NULL, &slots, &args, &count);
    if (!rc && scope->query)
        rc = tl__query_build(b, scope->query, false, &right);
    if (!rc)
        rc = tl__push_where(b, NULL, right, where, &right);
    if (!rc)
        rc = apply_node(b, kind, left, right, slots, args, count, tl_type_of(TL_NULL), &out->node);
    if (rc)
        return rc;
    struct tl__layout layout = {0};
    rc = copy_codes(b, &left->layout, &layout);
    if (!rc)
        rc = all_outputs(b, scope, &layout);
    out->layout = layout;
    out->rels = left->rels | 1ULL << scope->number;
    out->rows = left->rows * 10;
    return rc;
}

/* ---- the tree ---- */

static enum tl_code plan_tree(struct planner *p, struct tl__from *f, struct conds *conds,
                              const struct tl__layout *need, struct input *out);

/* Relations of which the condition is not true when all their columns are NULL. */
static uint64_t strict_value(const struct tl_expr *e)
{
    if (e->kind == TL_EXPR_COLUMN)
        return 1ULL << (tl__code_rel(e->index) & 63);
    uint64_t rels = 0;
    if (e->kind == TL_EXPR_CALL && e->function->strict)
        for (uint32_t i = 0; i < e->arg_count; i++)
            rels |= strict_value(e->args[i]);
    return rels;
}

static uint64_t strict_condition(const struct tl_expr *e)
{
    if (e->kind == TL_EXPR_NOT) {
        const struct tl_expr *inner = e->args[0];
        if (inner->kind == TL_EXPR_IS_NULL || inner->kind == TL_EXPR_IN)
            return strict_value(inner->args[0]);
        return strict_value(inner);
    }
    return e->kind == TL_EXPR_IN ? strict_value(e->args[0]) : strict_value(e);
}

static bool already(const struct conds *c, const struct tl_expr *e)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (tl__expr_equal(c->list[i], e))
            return true;
    return false;
}

static void replace_column(struct tl_expr *e, const struct tl_expr *column)
{
    if (e->kind == TL_EXPR_COLUMN)
        e->index = column->index;
    for (uint32_t i = 0; i < e->arg_count; i++)
        replace_column(e->args[i], column);
}

/* From what `known` says of one side of an equality to the other side, into `to`. */
static enum tl_code transfer_one(struct tl__binder *b, const struct tl_expr *equal,
                                 const struct tl_expr *known, uint64_t rels, struct conds *to)
{
    uint32_t code;
    bool strict;
    if (equal->kind != TL_EXPR_CALL || strcmp(equal->function->name, "=") != 0 ||
        equal->arg_count != 2 || equal->args[0]->kind != TL_EXPR_COLUMN ||
        equal->args[1]->kind != TL_EXPR_COLUMN ||
        !tl_type_eq(equal->args[0]->type, equal->args[1]->type) ||
        tl__has_kind(known, TL__EXPR_OUTER) || tl__has_kind(known, TL__EXPR_SUBLINK))
        return TL_OK;
    struct tl_expr *copy = tl__clone(b, known);
    if (!copy)
        return b->st->code;
    if (!tl__simple_condition(b, copy, &code, &strict) || !strict)
        return TL_OK;
    for (uint32_t side = 0; side < 2; side++) {
        const struct tl_expr *other = equal->args[1 - side];
        if (equal->args[side]->index != code || (rels_of(other) & ~rels))
            continue;
        replace_column(copy, other);
        return already(to, copy) ? TL_OK : add_cond(b, to, copy);
    }
    return TL_OK;
}

/* All that equalities say about constants, within one list. */
static enum tl_code transfer(struct tl__binder *b, struct conds *c)
{
    uint32_t most = c->count + TRANSFER_MAX, tried = 0, before = 0;
    /* Again as long as something new was said: a = b may have come after b = c. */
    for (uint32_t i = 0; i <= c->count && c->count < most && tried < TRANSFER_MAX; i++) {
        if (i == c->count) {
            if (before == c->count)
                break;
            before = c->count;
            i = UINT32_MAX; /* from 0 */
            continue;
        }
        const struct tl_expr *e = c->list[i];
        if (e->kind != TL_EXPR_CALL || e->arg_count != 2 || e->args[0]->kind != TL_EXPR_COLUMN ||
            e->args[1]->kind != TL_EXPR_COLUMN)
            continue;
        tried++;
        for (uint32_t j = 0; j < c->count && c->count < most; j++) {
            if (i == j)
                continue;
            enum tl_code rc = transfer_one(b, c->list[i], c->list[j], UINT64_MAX, c);
            if (rc)
                return rc;
        }
    }
    return TL_OK;
}

struct inner {
    struct tl__from *items[TL_SQL_RELATIONS_MAX];
    uint32_t count;
};

/* The members of a tree of inner joins; their conditions join `conds`. */
static enum tl_code flatten(struct planner *p, struct tl__from *f, struct conds *conds,
                            struct inner *out)
{
    if (f->scope || f->join != TL_AST_JOIN_INNER) {
        out->items[out->count++] = f;
        return TL_OK;
    }
    enum tl_code rc = flatten(p, f->left, conds, out);
    if (!rc)
        rc = flatten(p, f->right, conds, out);
    if (!rc && f->on)
        rc = add_conds(p->b, conds, f->on);
    f->on = NULL;
    return rc;
}

static bool is_connected(const struct conds *conds, const bool *done, uint64_t left, uint64_t right)
{
    struct tl_expr *l, *r;
    for (uint32_t i = 0; i < conds->count; i++)
        if (!done[i] && is_key(conds->list[i], left, right, &l, &r))
            return true;
    return false;
}

static enum tl_code plan_inner(struct planner *p, struct tl__from *f, struct conds *conds,
                               const struct tl__layout *need_above, struct input *out)
{
    struct tl__binder *b = p->b;
    struct inner inner = {0};
    enum tl_code rc = flatten(p, f, conds, &inner);
    /* Conditions with subqueries wait until all is joined. */
    uint32_t kept = 0;
    for (uint32_t i = 0; !rc && i < conds->count; i++) {
        if (!tl__has_kind(conds->list[i], TL__EXPR_SUBLINK))
            conds->list[kept++] = conds->list[i];
        else
            rc = add_cond(b, &p->late, conds->list[i]);
    }
    conds->count = kept;
    if (!rc)
        rc = transfer(b, conds);
    struct tl__layout need = {0};
    if (!rc)
        rc = copy_codes(b, need_above, &need);
    for (uint32_t i = 0; !rc && i < conds->count; i++)
        rc = add_codes(b, &need, conds->list[i]);
    for (uint32_t i = 0; !rc && i < p->late.count; i++)
        rc = add_codes(b, &need, p->late.list[i]);
    for (uint32_t i = 0; !rc && i < p->k->scope_count; i++) {
        const struct tl__level *level = p->k->scopes[i]->level;
        for (uint32_t o = 0; !rc && level && o < level->outer_count; o++)
            if (level->outers[o]->arg_count > 0)
                rc = add_codes(b, &need, level->outers[o]->args[0]);
    }
    bool *done = tl_arena_calloc(b->scratch, conds->count + 1u, sizeof(*done), b->st);
    struct input *inputs = tl_arena_calloc(b->scratch, inner.count, sizeof(*inputs), b->st);
    if (rc || !done || !inputs)
        return b->st->code;
    for (uint32_t i = 0; i < inner.count; i++) {
        struct tl__from *item = inner.items[i];
        struct conds own = {0};
        if (item->scope && item->scope->level)
            continue; /* LATERAL: when what it takes is there */
        for (uint32_t c = 0; !rc && c < conds->count; c++) {
            uint64_t rels = rels_of(conds->list[c]);
            if (done[c] || (rels & ~item->rels) || (rels == 0 && inner.count > 1))
                continue;
            done[c] = true;
            rc = add_cond(b, &own, conds->list[c]);
        }
        if (!rc)
            rc = item->scope ? plan_relation(p, item->scope, &own, &need, &inputs[i])
                             : plan_tree(p, item, &own, &need, &inputs[i]);
        if (rc)
            return rc;
    }
    bool *taken = tl_arena_calloc(b->scratch, inner.count, sizeof(*taken), b->st);
    if (!taken)
        return b->st->code;
    struct input at = {0};
    for (uint32_t round = 0; round < inner.count; round++) {
        uint32_t next = UINT32_MAX;
        bool connected = false;
        for (uint32_t i = 0; i < inner.count && !connected; i++) {
            struct tl__scope *scope = inner.items[i]->scope;
            bool lateral = scope && scope->level;
            if (taken[i] || (lateral && (lateral_needs(scope) & ~at.rels)))
                continue;
            connected = at.node && !lateral && is_connected(conds, done, at.rels, inputs[i].rels);
            if (next == UINT32_MAX || connected)
                next = i;
        }
        tl_assert(next != UINT32_MAX);
        taken[next] = true;
        struct tl__from *item = inner.items[next];
        bool lateral = item->scope && item->scope->level;
        if (!at.node && lateral) { /* it takes nothing from here */
            at.node = tl__node_new(b, TL_NODE_ONE_ROW, NULL);
            if (!at.node || tl__set_types(b, at.node, 0))
                return b->st->code;
            at.rows = 1;
        } else if (!at.node) {
            at = inputs[next];
            continue;
        }
        uint64_t rels = at.rels | item->rels;
        struct conds now = {0};
        for (uint32_t c = 0; !rc && c < conds->count; c++) {
            if (done[c] || (rels_of(conds->list[c]) & ~rels))
                continue;
            done[c] = true;
            rc = add_cond(b, &now, conds->list[c]);
        }
        /* From here on only what is above or not yet done is needed. */
        struct tl__layout rest = {0};
        if (!rc)
            rc = copy_codes(b, need_above, &rest);
        for (uint32_t c = 0; !rc && c < conds->count; c++)
            if (!done[c])
                rc = add_codes(b, &rest, conds->list[c]);
        for (uint32_t c = 0; !rc && c < p->late.count; c++)
            rc = add_codes(b, &rest, p->late.list[c]);
        for (uint32_t i = 0; !rc && i < p->k->scope_count; i++) {
            const struct tl__level *level = p->k->scopes[i]->level;
            for (uint32_t o = 0; !rc && level && o < level->outer_count; o++)
                if (level->outers[o]->arg_count > 0)
                    rc = add_codes(b, &rest, level->outers[o]->args[0]);
        }
        struct input joined = {0};
        if (!rc && lateral) {
            struct conds none = {0};
            rc = join_lateral(p, TL_APPLY_CROSS, &at, item->scope, &none, &joined);
            if (!rc)
                rc = add_filter(b, &joined, &now);
        } else if (!rc) {
            rc = join_two(b, TL_JOIN_INNER, &at, &inputs[next], &now, &rest, &joined);
        }
        if (rc)
            return rc;
        at = joined;
    }
    struct conds left = {0};
    for (uint32_t c = 0; !rc && c < conds->count; c++)
        if (!done[c])
            rc = add_cond(b, &left, conds->list[c]);
    if (!rc)
        rc = add_filter(b, &at, &left);
    *out = at;
    return rc;
}

static enum tl_code plan_outer(struct planner *p, struct tl__from *f, struct conds *conds,
                               const struct tl__layout *need_above, struct input *out)
{
    struct tl__binder *b = p->b;
    struct tl__from *kept = f->join == TL_AST_JOIN_RIGHT ? f->right : f->left;
    struct tl__from *other = f->join == TL_AST_JOIN_RIGHT ? f->left : f->right;
    bool full = f->join == TL_AST_JOIN_FULL;
    struct conds on = {0}, own = {0}, others = {0}, above = {0}, pair = {0};
    enum tl_code rc = f->on ? add_conds(b, &on, f->on) : TL_OK;
    for (uint32_t i = 0; !rc && i < on.count; i++)
        if (tl__has_kind(on.list[i], TL__EXPR_SUBLINK))
            return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", on.list[i]->position,
                                 "a correlated subquery in the condition of an outer join is not "
                                 "supported");
    for (uint32_t i = 0; !rc && i < conds->count; i++) {
        bool whole = !full && rels_of(conds->list[i]) && !(rels_of(conds->list[i]) & ~kept->rels);
        rc = add_cond(b, whole ? &own : &above, conds->list[i]);
    }
    for (uint32_t i = 0; !rc && i < on.count; i++) {
        uint64_t rels = rels_of(on.list[i]);
        bool inside = !full && rels && !(rels & ~other->rels);
        rc = add_cond(b, inside ? &others : &pair, on.list[i]);
        for (uint32_t j = 0; !rc && !full && j < own.count; j++)
            rc = transfer_one(b, on.list[i], own.list[j], other->rels, &others);
    }
    struct tl__layout need = {0}, rest = {0};
    if (!rc)
        rc = copy_codes(b, need_above, &rest);
    for (uint32_t i = 0; !rc && i < above.count; i++)
        rc = add_codes(b, &rest, above.list[i]);
    if (!rc)
        rc = copy_codes(b, &rest, &need);
    for (uint32_t i = 0; !rc && i < pair.count; i++)
        rc = add_codes(b, &need, pair.list[i]);
    bool lateral = other->scope && other->scope->level;
    for (uint32_t o = 0; !rc && lateral && o < other->scope->level->outer_count; o++)
        if (other->scope->level->outers[o]->arg_count > 0)
            rc = add_codes(b, &need, other->scope->level->outers[o]->args[0]);
    struct input left = {0}, right = {0};
    if (!rc)
        rc = plan_tree(p, kept, &own, &need, &left);
    if (!rc && lateral) {
        for (uint32_t i = 0; !rc && i < others.count; i++)
            rc = add_cond(b, &pair, others.list[i]);
        if (!rc)
            rc = join_lateral(p, TL_APPLY_LEFT, &left, other->scope, &pair, out);
        return rc ? rc : add_filter(b, out, &above);
    }
    if (!rc)
        rc = plan_tree(p, other, &others, &need, &right);
    if (!rc)
        rc = join_two(b, full ? TL_JOIN_FULL : TL_JOIN_LEFT, &left, &right, &pair, &rest, out);
    return rc ? rc : add_filter(b, out, &above);
}

static enum tl_code plan_tree(struct planner *p, struct tl__from *f, struct conds *conds,
                              const struct tl__layout *need, struct input *out)
{
    if (f->scope && !f->scope->level)
        return plan_relation(p, f->scope, conds, need, out);
    /* What asks for a value of the side that may be missing lets no missing row through. */
    for (uint32_t i = 0; !f->scope && f->join != TL_AST_JOIN_INNER && i < conds->count; i++) {
        uint64_t strict = strict_condition(conds->list[i]);
        bool left = strict & f->left->rels, right = strict & f->right->rels;
        if ((f->join == TL_AST_JOIN_LEFT && right) || (f->join == TL_AST_JOIN_RIGHT && left))
            f->join = TL_AST_JOIN_INNER;
        else if (f->join == TL_AST_JOIN_FULL && (left || right))
            f->join = left && right ? TL_AST_JOIN_INNER
                      : left        ? TL_AST_JOIN_LEFT
                                    : TL_AST_JOIN_RIGHT;
    }
    if (f->scope || f->join == TL_AST_JOIN_INNER)
        return plan_inner(p, f, conds, need, out);
    return plan_outer(p, f, conds, need, out);
}

/* ---- subqueries ---- */

/* OUTERs in e become what they stand for in this block. */
static enum tl_code unwrap(struct tl__binder *b, struct tl_expr **e, struct tl_expr *const *values)
{
    if ((int)(*e)->kind == TL__EXPR_OUTER) {
        *e = tl__clone(b, values[(*e)->index]);
        return *e ? TL_OK : b->st->code;
    }
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < (*e)->arg_count; i++)
        rc = unwrap(b, &(*e)->args[i], values);
    return rc;
}

static void count_outers(const struct tl_expr *e, uint32_t *count)
{
    if ((int)e->kind == TL__EXPR_OUTER) {
        ++*count;
        return;
    }
    for (uint32_t i = 0; i < e->arg_count; i++)
        count_outers(e->args[i], count);
}

/* Columns of the outputs of a subquery as those of relation TL__TAKEN_REL. */
static void take_outputs(struct tl_expr *e)
{
    if ((int)e->kind == TL__EXPR_OUTER)
        return;
    if (e->kind == TL_EXPR_COLUMN)
        e->index = tl__code(TL__TAKEN_REL, e->index);
    for (uint32_t i = 0; i < e->arg_count; i++)
        take_outputs(e->args[i]);
}

/* One equality of x op ANY: the side outside, and the side of the outputs. */
static bool test_sides(struct tl_expr *e, struct tl_expr **outer, struct tl_expr **inner)
{
    if (e->kind != TL_EXPR_CALL || e->arg_count != 2 || strcmp(e->function->name, "=") != 0)
        return false;
    *outer = e->args[0];
    *inner = e->args[1];
    return tl_type_eq((*outer)->type, (*inner)->type) && !tl__has_kind(*outer, TL_EXPR_COLUMN) &&
           !tl__has_kind(*inner, TL__EXPR_OUTER) && tl__has_kind(*inner, TL_EXPR_COLUMN);
}

struct pairs {
    uint32_t count;
    struct tl_expr **left, **right;
    struct conds residual;
};

static enum tl_code new_pairs(struct tl__binder *b, uint32_t room, struct pairs *out)
{
    out->left = tl_arena_calloc(b->arena, room + 1u, sizeof(struct tl_expr *), b->st);
    out->right = tl_arena_calloc(b->arena, room + 1u, sizeof(struct tl_expr *), b->st);
    return out->left && out->right ? TL_OK : b->st->code;
}

/* The equalities of x IN (…) as keys; *ok false: it has other ones. */
static enum tl_code test_pairs(struct tl__binder *b, struct tl__sublink *s,
                               const struct tl_expr *link, struct pairs *out, bool *ok)
{
    bool and = s->test->kind == TL_EXPR_AND;
    struct tl_expr **list = and? s->test->args : &s->test;
    uint32_t count = and? s->test->arg_count : 1;
    struct tl_expr *outer, *inner;
    *ok = true;
    for (uint32_t i = 0; i < count; i++)
        *ok = *ok && test_sides(list[i], &outer, &inner);
    for (uint32_t i = 0; *ok && i < count; i++) {
        (void)test_sides(list[i], &outer, &inner);
        inner = tl__clone(b, inner);
        outer = tl__clone(b, outer);
        if (!inner || !outer)
            return b->st->code;
        enum tl_code rc = unwrap(b, &outer, link->args);
        if (rc)
            return rc;
        take_outputs(inner);
        out->left[out->count] = outer;
        out->right[out->count++] = inner;
    }
    return TL_OK;
}

static enum tl_code taken_pairs(struct tl__binder *b, const struct tl__taken *t,
                                const struct tl_expr *link, struct pairs *out)
{
    for (uint32_t i = 0; i < t->pair_count; i++) {
        struct tl_expr *outer = tl__clone(b, t->outer[i]);
        struct tl_expr *local = tl__expr_new(b, TL_EXPR_COLUMN, t->local[i]->type, 0, 0);
        if (!outer || !local)
            return b->st->code;
        local->index = tl__code(TL__TAKEN_REL, t->first + i);
        enum tl_code rc = unwrap(b, &outer, link->args);
        if (rc)
            return rc;
        out->left[out->count] = outer;
        out->right[out->count++] = local;
    }
    for (uint32_t i = 0; i < t->residual_count; i++) {
        struct tl_expr *e = t->residual[i];
        enum tl_code rc = unwrap(b, &e, link->args);
        if (!rc)
            rc = add_cond(b, &out->residual, e);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code taken_input(struct tl__binder *b, struct tl__query *q, struct input *out)
{
    enum tl_code rc = tl__query_build(b, q, false, &out->node);
    for (uint32_t i = 0; !rc && i < out->node->column_count; i++)
        rc = add_code(b, &out->layout, tl__code(TL__TAKEN_REL, i));
    if (!rc)
        out->rows = estimate(out->node, 0);
    return rc;
}

/* EXISTS and IN as a condition of WHERE, as a SEMI or ANTI join; *done false: not of that form. */
static enum tl_code semi_join(struct planner *p, struct tl_expr *e, struct input *at, bool *done)
{
    struct tl__binder *b = p->b;
    bool negated = e->kind == TL_EXPR_NOT;
    struct tl_expr *link = negated ? e->args[0] : e;
    *done = false;
    if ((int)link->kind != TL__EXPR_SUBLINK)
        return TL_OK;
    for (uint32_t i = 0; i < link->arg_count; i++)
        if (tl__has_kind(link->args[i], TL__EXPR_SUBLINK))
            return TL_OK;
    struct tl__sublink *s = b->sublinks[link->index];
    bool any = s->kind == TL_SUBLINK_ANY;
    if (s->kind == TL_SUBLINK_SCALAR || s->kind == TL_SUBLINK_ARRAY || (any && negated))
        return TL_OK;
    struct pairs pairs = {0};
    uint32_t in_test = 0;
    bool ok = true;
    enum tl_code rc = new_pairs(b, s->level.outer_count * 2 + 64, &pairs);
    if (any) {
        count_outers(s->test, &in_test);
        if (!rc && s->test->arg_count > 64)
            return TL_OK;
        if (!rc)
            rc = test_pairs(b, s, link, &pairs, &ok);
        if (rc || !ok)
            return rc;
    }
    if (in_test != s->level.outer_count) {
        struct tl__taken t;
        if (!s->query->select)
            return TL_OK;
        rc = tl__select_take(s->query->select, &s->level, in_test, any, false, &t);
        if (rc || !t.done)
            return rc;
        s->query->output_count = 0; /* its outputs are those of `t` now */
        rc = taken_pairs(b, &t, link, &pairs);
    }
    struct input right = {0}, joined;
    if (!rc)
        rc = taken_input(b, s->query, &right);
    if (!rc)
        rc = join_node(b, negated ? TL_JOIN_ANTI : TL_JOIN_SEMI, at, &right, pairs.left,
                       pairs.right, pairs.count, &pairs.residual, NULL, 0, &joined);
    if (rc)
        return rc;
    joined.rels = at->rels;
    *at = joined;
    *done = true;
    return TL_OK;
}

static uint32_t link_code(const struct tl_expr *link, uint32_t part)
{
    return tl__code(TL__SUBLINK_REL, (link->index * 2 + part) & 0xFFFF);
}

static struct tl_expr *code_column(struct tl__binder *b, uint32_t code, struct tl_type type)
{
    struct tl_expr *e = tl__expr_new(b, TL_EXPR_COLUMN, type, 0, 0);
    if (e)
        e->index = code;
    return e;
}

/* IN as a value: a MARK join. */
static enum tl_code mark_join(struct planner *p, struct tl_expr **e, struct input *at, bool *done)
{
    struct tl__binder *b = p->b;
    struct tl__sublink *s = b->sublinks[(*e)->index];
    uint32_t in_test = 0;
    *done = false;
    if (s->kind != TL_SUBLINK_ANY || s->test->kind == TL_EXPR_AND)
        return TL_OK;
    count_outers(s->test, &in_test);
    if (in_test != s->level.outer_count)
        return TL_OK;
    struct pairs pairs = {0};
    struct input right = {0}, joined;
    bool ok = false;
    enum tl_code rc = new_pairs(b, 1, &pairs);
    if (!rc)
        rc = test_pairs(b, s, *e, &pairs, &ok);
    if (rc || !ok)
        return rc;
    rc = taken_input(b, s->query, &right);
    if (!rc)
        rc = join_node(b, TL_JOIN_MARK, at, &right, pairs.left, pairs.right, 1, NULL, NULL,
                       link_code(*e, 0), &joined);
    if (rc)
        return rc;
    joined.rels = at->rels;
    *at = joined;
    *done = true;
    *e = code_column(b, link_code(*e, 0), (*e)->type);
    return *e ? TL_OK : b->st->code;
}

/* An aggregate over the rows that equal something outside: a LEFT JOIN of groups. */
static enum tl_code group_join(struct planner *p, struct tl_expr **e, struct input *at, bool *done)
{
    struct tl__binder *b = p->b;
    struct tl__sublink *s = b->sublinks[(*e)->index];
    *done = false;
    if (s->kind != TL_SUBLINK_SCALAR || !s->query->select)
        return TL_OK;
    struct tl__taken t;
    enum tl_code rc = tl__select_take(s->query->select, &s->level, 0, true, true, &t);
    if (rc || !t.done)
        return rc;
    struct pairs pairs = {0};
    struct input right = {0}, joined;
    rc = new_pairs(b, t.pair_count, &pairs);
    if (!rc)
        rc = taken_pairs(b, &t, *e, &pairs);
    if (!rc)
        rc = taken_input(b, s->query, &right);
    if (rc)
        return rc;
    uint32_t value = link_code(*e, 0), key = link_code(*e, 1);
    struct tl__layout need = {0};
    rc = copy_codes(b, &at->layout, &need);
    if (!rc)
        rc = add_code(b, &need, value);
    if (!rc)
        rc = add_code(b, &need, key);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < pairs.count; i++)
        pairs.right[i]->index = i == 0 ? key : pairs.right[i]->index;
    right.layout.codes[0] = value;
    right.layout.codes[t.first] = key;
    rc = join_node(b, TL_JOIN_LEFT, at, &right, pairs.left, pairs.right, pairs.count, NULL, &need,
                   0, &joined);
    if (rc)
        return rc;
    joined.rels = at->rels;
    *at = joined;
    *done = true;
    struct tl_type type = (*e)->type;
    struct tl_expr *column = code_column(b, value, type);
    if (!column || tl__is_null_const(t.nothing)) {
        *e = column;
        return column ? TL_OK : b->st->code;
    }
    struct tl_expr *null = tl__expr_new(b, TL_EXPR_IS_NULL, tl_type_of(TL_BOOLEAN), 1, 0);
    struct tl_expr *choice = tl__expr_new(b, TL_EXPR_CASE, type, 3, (*e)->position);
    struct tl_expr *k = code_column(b, key, t.local[0]->type);
    if (!null || !choice || !k)
        return b->st->code;
    null->args[0] = k;
    choice->args[0] = null;
    choice->args[1] = t.nothing;
    choice->args[2] = column;
    *e = choice;
    return TL_OK;
}

static enum tl_code one_row(struct tl__binder *b, struct tl_plan_node **node)
{
    int64_t one = 1;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_LIMIT, *node);
    if (!n || !(n->limit = tl__const_new(b, tl_type_of(TL_BIGINT), &one, 0)))
        return b->st->code;
    *node = n;
    return TL_OK;
}

/* Everything else. */
static enum tl_code apply_link(struct planner *p, struct tl_expr **e, struct input *at)
{
    struct tl__binder *b = p->b;
    struct tl_expr *link = *e;
    struct tl__sublink *s = b->sublinks[link->index];
    uint32_t *slots, count;
    struct tl_expr **args;
    struct tl_plan_node *right, *node;
    enum tl_code rc = level_slots(b, &s->level, link->args, &slots, &args, &count);
    if (!rc)
        rc = tl__query_build(b, s->query, s->kind == TL_SUBLINK_ARRAY, &right);
    if (rc)
        return rc;
    enum tl_apply_kind kind = s->kind == TL_SUBLINK_SCALAR   ? TL_APPLY_SCALAR
                              : s->kind == TL_SUBLINK_EXISTS ? TL_APPLY_EXISTS
                              : s->kind == TL_SUBLINK_ARRAY  ? TL_APPLY_ARRAY
                                                             : TL_APPLY_ANY;
    if (kind == TL_APPLY_EXISTS)
        rc = one_row(b, &right);
    if (kind == TL_APPLY_ANY) {
        struct tl_expr **test = tl_arena_calloc(b->arena, 1, sizeof(struct tl_expr *), b->st);
        if (!test)
            return b->st->code;
        test[0] = s->test;
        rc = tl__project_new(b, right, test, 1, &right);
    }
    if (!rc)
        rc = apply_node(b, kind, at, right, slots, args, count, link->type, &node);
    if (rc)
        return rc;
    at->node = node;
    uint32_t code = link_code(link, 0);
    rc = add_code(b, &at->layout, code);
    *e = code_column(b, code, link->type);
    return rc ? rc : *e ? TL_OK : b->st->code;
}

/* Computes the subqueries within *e, which become columns. */
static enum tl_code place(struct planner *p, struct tl_expr **e, struct input *at)
{
    if ((int)(*e)->kind == TL__EXPR_OUTER)
        return TL_OK;
    for (uint32_t i = 0; i < (*e)->arg_count; i++) {
        enum tl_code rc = place(p, &(*e)->args[i], at);
        if (rc)
            return rc;
    }
    if ((int)(*e)->kind != TL__EXPR_SUBLINK)
        return TL_OK;
    if ((*e)->index >= 0x7FFF)
        return TL__BIND_FAIL(p->b, TL_LIMIT, "54001", (*e)->position,
                             "a statement has too many subqueries");
    /* The same one may stand in several places: a key of GROUP BY and a target. */
    if (has_code(&at->layout, link_code(*e, 0)) && p->b->sublinks[(*e)->index]->placed)
        return TL__BIND_FAIL(p->b, TL_UNSUPPORTED, "0A000", (*e)->position,
                             "a subquery that is used in several places is not supported");
    p->b->sublinks[(*e)->index]->placed = true;
    bool done;
    enum tl_code rc = mark_join(p, e, at, &done);
    if (!rc && !done)
        rc = group_join(p, e, at, &done);
    return rc || done ? rc : apply_link(p, e, at);
}

enum tl_code tl__place_sublinks(struct tl__block *k, struct tl_expr ***exprs, uint32_t count,
                                struct tl_plan_node **node)
{
    struct planner p = {.k = k, .b = k->b};
    struct input at = {.node = *node};
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < (*node)->column_count; i++)
        rc = add_code(p.b, &at.layout, i);
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = place(&p, exprs[i], &at);
    for (uint32_t i = 0; !rc && i < count; i++)
        remap(*exprs[i], &at.layout);
    *node = at.node;
    return rc;
}

/* ---- all of it ---- */

bool tl__needs_joins(const struct tl__block *k, const struct tl_expr *where)
{
    if (k->scope_count > 1 || (where && tl__has_kind(where, TL__EXPR_SUBLINK)))
        return true;
    return k->scope_count == 1 && k->scopes[0]->level != NULL;
}

enum tl_code tl__plan_from(struct tl__block *k, struct tl_expr *where, struct tl_expr ***above,
                           uint32_t above_count, struct tl_plan_node **out)
{
    struct planner p = {.k = k, .b = k->b};
    struct tl__binder *b = k->b;
    struct conds conds = {0};
    struct tl__layout need = {0};
    struct input at = {0};
    enum tl_code rc = where ? add_conds(b, &conds, where) : TL_OK;
    uint32_t kept = 0;
    for (uint32_t i = 0; !rc && i < conds.count; i++) {
        if (!tl__has_kind(conds.list[i], TL__EXPR_SUBLINK))
            conds.list[kept++] = conds.list[i];
        else
            rc = add_cond(b, &p.late, conds.list[i]);
    }
    conds.count = kept;
    for (uint32_t i = 0; !rc && i < above_count; i++)
        rc = add_codes(b, &need, *above[i]);
    for (uint32_t i = 0; !rc && i < p.late.count; i++)
        rc = add_codes(b, &need, p.late.list[i]);
    if (!rc && k->from) {
        rc = plan_tree(&p, k->from, &conds, &need, &at);
    } else if (!rc) {
        at.node = tl__node_new(b, TL_NODE_ONE_ROW, NULL);
        rc = at.node && !tl__set_types(b, at.node, 0) ? add_filter(b, &at, &conds) : b->st->code;
    }
    for (uint32_t i = 0; !rc && i < p.late.count; i++) {
        bool done;
        rc = semi_join(&p, p.late.list[i], &at, &done);
        if (rc || done)
            continue;
        struct conds one = {.list = &p.late.list[i], .count = 1};
        rc = place(&p, &p.late.list[i], &at);
        if (!rc)
            rc = add_filter(b, &at, &one);
    }
    for (uint32_t i = 0; !rc && i < above_count; i++)
        rc = place(&p, above[i], &at);
    for (uint32_t i = 0; !rc && i < above_count; i++)
        remap(*above[i], &at.layout);
    *out = at.node;
    return rc;
}
