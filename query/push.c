/*
 * Conditions: what the scan does itself, what it gets as a hint, what a FILTER checks.
 *
 * WHERE is split at its ANDs. Of a conjunct that compares one column of the scan with something
 * free of columns (a constant, a parameter, now() - interval …):
 *   on ts with = < <= > >=        the scan's time range; exact, leaves the filter
 *   on merchant_id with =, IN     the scan's merchants; exact, leaves the filter
 *   on any other column           a bound; the filter keeps it and knows its number, so that it
 *                                 is not evaluated where the source says that it was exact
 *   LIKE 'prefix…'                two bounds that only hint
 * c = 1 OR c = 2 becomes c IN (1, 2) first, and NOT (a < b) becomes a >= b.
 */
#include "query/bind_int.h"

#include <string.h>

#include "base/assert.h"

struct conjuncts {
    struct tl__binder *b;
    uint32_t count, capacity;
    struct tl_expr **list;
    bool never; /* one of them is false or NULL whatever the row */
};

struct bounds {
    uint32_t count, capacity;
    struct tl_scan_bound *list;
};

static const struct comparison {
    const char *name;
    const char *flipped; /* a op b is b flipped a */
    const char *negated;
    uint8_t op; /* enum tl_predicate_op */
} comparisons[] = {
    {"=", "=", "<>", TL_PRED_EQ},  {"<>", "<>", "=", TL_PRED_NE}, {"<", ">", ">=", TL_PRED_LT},
    {"<=", ">=", ">", TL_PRED_LE}, {">", "<", "<=", TL_PRED_GT},  {">=", "<=", "<", TL_PRED_GE},
};

static const struct comparison *comparison_named(const char *name)
{
    for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++)
        if (strcmp(comparisons[i].name, name) == 0)
            return &comparisons[i];
    return NULL;
}

static const struct comparison *comparison_of(const struct tl_expr *e)
{
    if (e->kind != TL_EXPR_CALL || e->arg_count != 2 || e->type.kind != TL_BOOLEAN)
        return NULL;
    return comparison_named(e->function->name);
}

/* ---- splitting ---- */

static enum tl_code add_conjunct(struct conjuncts *c, struct tl_expr *e)
{
    int known;
    if (tl__bool_const(e, &known)) {
        c->never = c->never || known != 1;
        return TL_OK;
    }
    if (c->count == c->capacity) {
        uint32_t more = c->capacity ? 2 * c->capacity : 16;
        struct tl_expr **wider =
            tl_arena_calloc(c->b->scratch, more, sizeof(struct tl_expr *), c->b->st);
        if (!wider)
            return c->b->st->code;
        if (c->count > 0)
            memcpy(wider, c->list, c->count * sizeof(struct tl_expr *));
        c->list = wider;
        c->capacity = more;
    }
    c->list[c->count++] = e;
    return TL_OK;
}

/* NOT (a < b) -> a >= b: both are NULL for the same rows. */
static void push_not(struct tl_expr **e)
{
    struct tl_expr *inner = (*e)->args[0];
    const struct comparison *cmp = comparison_of(inner);
    if (!cmp)
        return;
    struct tl_type types[2] = {inner->args[0]->type, inner->args[1]->type};
    const struct tl_function *f = tl_function_find(cmp->negated, types, 2);
    if (!f)
        return;
    inner->function = f;
    *e = inner;
}

/* column = x, x = column, column IN (…): the column and the values, all of its type and free of
 * columns; NULL when e is something else. */
static const struct tl_expr *equality(const struct tl_expr *e, struct tl_expr ***values,
                                      uint32_t *count)
{
    const struct comparison *cmp = comparison_of(e);
    uint32_t first = 0;
    if (e->kind == TL_EXPR_IN) {
        *values = e->args + 1;
        *count = e->arg_count - 1;
    } else if (cmp && cmp->op == TL_PRED_EQ) {
        first = e->args[0]->kind == TL_EXPR_COLUMN ? 0 : 1;
        *values = &e->args[1 - first];
        *count = 1;
    } else {
        return NULL;
    }
    const struct tl_expr *column = e->args[first];
    if (column->kind != TL_EXPR_COLUMN)
        return NULL;
    for (uint32_t i = 0; i < *count; i++)
        if (!tl__is_column_free((*values)[i]) || !tl_type_eq((*values)[i]->type, column->type))
            return NULL;
    return column;
}

/* c = 1 OR c IN (2, 3) -> c IN (1, 2, 3). */
static enum tl_code merge_or(struct tl__binder *b, struct tl_expr **e)
{
    struct tl_expr * or = *e;
    const struct tl_expr *column = NULL;
    uint32_t total = 0;
    struct tl_expr **values;
    uint32_t count;
    for (uint32_t i = 0; i < or->arg_count; i++) {
        const struct tl_expr *c = equality(or->args[i], &values, &count);
        if (!c || (column && c->index != column->index))
            return TL_OK;
        column = c;
        total += count;
    }
    struct tl_expr *in =
        tl__expr_new(b, TL_EXPR_IN, tl_type_of(TL_BOOLEAN), 1 + total, or->position);
    if (!in)
        return b->st->code;
    uint32_t at = 1;
    for (uint32_t i = 0; i < or->arg_count; i++) {
        const struct tl_expr *c = equality(or->args[i], &values, &count);
        in->args[0] = (struct tl_expr *)c;
        memcpy(in->args + at, values, count * sizeof(struct tl_expr *));
        at += count;
    }
    *e = in;
    return TL_OK;
}

static enum tl_code split(struct conjuncts *c, struct tl_expr *e)
{
    enum tl_code rc = TL_OK;
    if (e->kind == TL_EXPR_AND) {
        for (uint32_t i = 0; !rc && i < e->arg_count; i++)
            rc = split(c, e->args[i]);
        return rc;
    }
    if (e->kind == TL_EXPR_NOT)
        push_not(&e);
    else if (e->kind == TL_EXPR_OR)
        rc = merge_or(c->b, &e);
    return rc ? rc : add_conjunct(c, e);
}

/* ---- bounds ---- */

static enum tl_code add_bound(struct tl__binder *b, struct bounds *list, uint32_t column,
                              uint8_t op, struct tl_expr **values, uint32_t count)
{
    if (list->count == list->capacity) {
        uint32_t more = list->capacity ? 2 * list->capacity : 8;
        struct tl_scan_bound *wider = tl_arena_calloc(b->arena, more, sizeof(*wider), b->st);
        if (!wider)
            return b->st->code;
        if (list->count > 0)
            memcpy(wider, list->list, list->count * sizeof(*wider));
        list->list = wider;
        list->capacity = more;
    }
    struct tl_scan_bound *bound = &list->list[list->count];
    bound->column = column;
    bound->op = op;
    bound->values = tl_arena_calloc(b->arena, count ? count : 1, sizeof(struct tl_expr *), b->st);
    if (!bound->values)
        return b->st->code;
    for (uint32_t i = 0; i < count; i++) {
        /* x IN (1, NULL) is true for the same rows as x IN (1). */
        if (!tl__is_null_const(values[i]))
            bound->values[bound->value_count++] = values[i];
    }
    list->count++;
    return TL_OK;
}

/* A conjunct about one column. */
struct simple {
    const struct tl_expr *column;
    uint8_t op;
    struct tl_expr **values;
    uint32_t count;
    struct tl_expr *one[1];
};

static bool simple_comparison(const struct tl_expr *e, struct simple *out)
{
    const struct comparison *cmp = comparison_of(e);
    if (!cmp)
        return false;
    uint32_t side = e->args[0]->kind == TL_EXPR_COLUMN ? 0 : 1;
    out->column = e->args[side];
    out->one[0] = e->args[1 - side];
    out->values = out->one;
    out->count = 1;
    out->op = side == 0 ? cmp->op : comparison_named(cmp->flipped)->op;
    return out->column->kind == TL_EXPR_COLUMN && tl__is_column_free(out->one[0]) &&
           tl_type_eq(out->column->type, out->one[0]->type);
}

/* False with *rc TL_OK: not a simple condition. */
static bool simple_condition(struct tl__binder *b, struct tl_expr *e, struct simple *out,
                             enum tl_code *rc)
{
    *rc = TL_OK;
    if (simple_comparison(e, out))
        return true;
    if (e->kind == TL_EXPR_IN) {
        out->column = equality(e, &out->values, &out->count);
        out->op = TL_PRED_IN;
        bool any = false; /* IN (NULL, NULL) is left to the filter */
        for (uint32_t i = 0; out->column && i < out->count; i++)
            any = any || !tl__is_null_const(out->values[i]);
        return out->column != NULL && any;
    }
    bool negated = e->kind == TL_EXPR_NOT;
    const struct tl_expr *inner = negated ? e->args[0] : e;
    if (inner->kind == TL_EXPR_IS_NULL && inner->args[0]->kind == TL_EXPR_COLUMN) {
        out->column = inner->args[0];
        out->op = negated ? TL_PRED_NOT_NULL : TL_PRED_IS_NULL;
        out->count = 0;
        return true;
    }
    if (inner->kind == TL_EXPR_COLUMN && inner->type.kind == TL_BOOLEAN) {
        uint8_t wanted = !negated;
        out->column = inner;
        out->op = TL_PRED_EQ;
        out->one[0] = tl__const_new(b, tl_type_of(TL_BOOLEAN), &wanted, e->position);
        out->values = out->one;
        out->count = 1;
        *rc = out->one[0] ? TL_OK : b->st->code;
        return *rc == TL_OK;
    }
    return false;
}

bool tl__simple_condition(struct tl__binder *b, struct tl_expr *e, uint32_t *code, bool *strict)
{
    struct simple s = {0};
    enum tl_code rc;
    if (!simple_condition(b, e, &s, &rc) || rc)
        return false;
    *code = s.column->index;
    *strict = s.op != TL_PRED_IS_NULL;
    return true;
}

enum tl_code tl__split(struct tl__binder *b, struct tl_expr *where, struct tl_expr ***list,
                       uint32_t *count, bool *never)
{
    struct conjuncts c = {.b = b};
    enum tl_code rc = where ? split(&c, where) : TL_OK;
    *list = c.list;
    *count = c.count;
    *never = c.never;
    return rc;
}

/* The next text after all that start with `prefix`: its last byte that can be raised, raised. The
 * result need not be UTF-8 in general; bytes are raised only within ASCII so that it is. */
static bool text_after(struct tl__binder *b, struct tl_slice prefix, struct tl_expr **out)
{
    while (prefix.size > 0 && prefix.data[prefix.size - 1] >= 0x7F)
        prefix.size--;
    if (prefix.size == 0)
        return false;
    uint8_t *raised = tl_arena_copy(b->scratch, prefix.data, prefix.size, b->st);
    if (!raised)
        return false;
    raised[prefix.size - 1]++;
    *out = tl__text_new(b, tl_type_of(TL_TEXT), tl_slice_of(raised, prefix.size), 0);
    return *out != NULL;
}

/* path LIKE '/shop/%': path >= '/shop/' and path < '/shop0'. */
static enum tl_code hint_like(struct tl__binder *b, const struct tl_expr *e, struct bounds *list)
{
    if (e->kind != TL_EXPR_CALL || strcmp(e->function->name, "like") != 0 || e->arg_count != 2 ||
        e->args[0]->kind != TL_EXPR_COLUMN || e->args[1]->kind != TL_EXPR_CONST ||
        tl__is_null_const(e->args[1]))
        return TL_OK;
    struct tl_slice pattern = *(const struct tl_slice *)e->args[1]->value.data;
    struct tl_slice prefix = pattern;
    prefix.size = 0;
    while (prefix.size < pattern.size && !strchr("%_\\", pattern.data[prefix.size]))
        prefix.size++;
    if (prefix.size == 0)
        return TL_OK;
    struct tl_expr *low = tl__text_new(b, tl_type_of(TL_TEXT), prefix, e->position), *high;
    if (!low)
        return b->st->code;
    enum tl_code rc = add_bound(b, list, e->args[0]->index, TL_PRED_GE, &low, 1);
    if (!rc && text_after(b, prefix, &high))
        rc = add_bound(b, list, e->args[0]->index, TL_PRED_LT, &high, 1);
    return rc ? rc : b->st->code;
}

static bool is_plain_column(const struct tl__scope *s, const struct tl_expr *column,
                            uint32_t wanted)
{
    const struct tl__scan_ref *ref = &s->scan[column->index];
    return ref->props_key.size == 0 && ref->column == wanted;
}

struct pushed {
    struct bounds ts, merchants, simple;
};

/* Pushes one conjunct; *bound: its bound or -1; *exact: the filter need not keep it. */
static enum tl_code push_one(struct tl__binder *b, const struct tl__scope *scope, struct tl_expr *e,
                             struct pushed *p, int32_t *bound, bool *exact)
{
    struct simple s = {0};
    enum tl_code rc;
    *bound = -1;
    *exact = false;
    if (!simple_condition(b, e, &s, &rc)) {
        if (!rc && p->simple.count + 2 <= TL_SCAN_PREDICATES_MAX)
            rc = hint_like(b, e, &p->simple);
        return rc;
    }
    bool is_ts = is_plain_column(scope, s.column, scope->table->ts_column);
    bool is_merchant = is_plain_column(scope, s.column, scope->table->merchant_column);
    if (is_ts && (s.op == TL_PRED_EQ || (s.op >= TL_PRED_LT && s.op <= TL_PRED_GE))) {
        *exact = true;
        return add_bound(b, &p->ts, s.column->index, s.op, s.values, s.count);
    }
    if (is_merchant && (s.op == TL_PRED_EQ || s.op == TL_PRED_IN)) {
        *exact = true;
        return add_bound(b, &p->merchants, s.column->index, s.op, s.values, s.count);
    }
    if (p->simple.count == TL_SCAN_PREDICATES_MAX)
        return TL_OK;
    *bound = (int32_t)p->simple.count;
    return add_bound(b, &p->simple, s.column->index, s.op, s.values, s.count);
}

/* ---- the filter ---- */

static enum tl_code add_filter(struct tl__binder *b, struct tl_plan_node *child,
                               struct tl_expr **conjuncts, const int32_t *bounds, uint32_t count,
                               struct tl_plan_node **out)
{
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_FILTER, child);
    if (!n)
        return b->st->code;
    n->conjuncts = tl_arena_calloc(b->arena, count, sizeof(struct tl_expr *), b->st);
    n->conjunct_bound = tl_arena_calloc(b->arena, count, sizeof(int32_t), b->st);
    if (!n->conjuncts || !n->conjunct_bound)
        return b->st->code;
    /* Comparisons with constants first: they are cheap, and cannot fail. */
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < count; i++) {
            if ((bounds[i] >= 0) != (pass == 0))
                continue;
            n->conjuncts[n->conjunct_count] = conjuncts[i];
            n->conjunct_bound[n->conjunct_count++] = bounds[i];
        }
    }
    *out = n;
    return TL_OK;
}

enum tl_code tl__no_rows(struct tl__binder *b, struct tl_plan_node *child,
                         struct tl_plan_node **out)
{
    int64_t none = 0;
    struct tl_plan_node *n = tl__node_new(b, TL_NODE_LIMIT, child);
    if (!n || !(n->limit = tl__const_new(b, tl_type_of(TL_BIGINT), &none, 0)))
        return b->st->code;
    *out = n;
    return TL_OK;
}

enum tl_code tl__push_where(struct tl__binder *b, struct tl__scope *scope,
                            struct tl_plan_node *child, struct tl_expr *where,
                            struct tl_plan_node **out)
{
    *out = child;
    if (!where)
        return TL_OK;
    struct conjuncts c = {.b = b};
    enum tl_code rc = split(&c, where);
    if (rc)
        return rc;
    int32_t *bound = tl_arena_calloc(b->scratch, c.count ? c.count : 1, sizeof(*bound), b->st);
    if (!bound)
        return b->st->code;
    struct pushed p = {0};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c.count; i++) {
        bool exact = false;
        int32_t at = -1;
        if (child->kind == TL_NODE_SCAN && scope)
            rc = push_one(b, scope, c.list[i], &p, &at, &exact);
        if (rc)
            return rc;
        if (exact)
            continue;
        bound[kept] = at;
        c.list[kept++] = c.list[i];
    }
    if (child->kind == TL_NODE_SCAN) {
        child->ts_bounds = p.ts.list;
        child->ts_bound_count = p.ts.count;
        child->merchant_bounds = p.merchants.list;
        child->merchant_bound_count = p.merchants.count;
        child->bounds = p.simple.list;
        child->bound_count = p.simple.count;
    }
    if (kept > 0)
        rc = add_filter(b, child, c.list, bound, kept, out);
    if (!rc && c.never)
        rc = tl__no_rows(b, *out, out);
    return rc;
}

/* ---- the scan's columns ---- */

static void mark(const struct tl_expr *e, bool *used)
{
    if (!e)
        return;
    if (e->kind == TL_EXPR_COLUMN)
        used[e->index] = true;
    for (uint32_t i = 0; i < e->arg_count; i++)
        mark(e->args[i], used);
}

static void mark_node(const struct tl_plan_node *n, bool *used)
{
    for (uint32_t i = 0; i < n->conjunct_count; i++)
        mark(n->conjuncts[i], used);
    if (n->kind == TL_NODE_PROJECT)
        for (uint32_t i = 0; i < n->column_count; i++)
            mark(n->exprs[i], used);
    for (uint32_t i = 0; i < n->key_count; i++)
        mark(n->keys[i], used);
    for (uint32_t i = 0; i < n->aggregate_count; i++) {
        mark(n->aggregates[i].arg, used);
        mark(n->aggregates[i].filter, used);
    }
    for (uint32_t i = 0; i < n->bound_count; i++)
        used[n->bounds[i].column] = true;
}

/* The nodes that see the scan's columns: up to the first that makes its own. */
static void mark_readers(const struct tl_plan_node *n, const struct tl_plan_node *scan, bool *used,
                         bool *sees)
{
    if (n != scan)
        mark_readers(n->child, scan, used, sees);
    if (*sees)
        mark_node(n, used);
    if (n->kind == TL_NODE_PROJECT || n->kind == TL_NODE_AGGREGATE)
        *sees = false;
}

static void pass_types_up(struct tl_plan_node *n, const struct tl_plan_node *scan)
{
    if (n == scan)
        return;
    pass_types_up(n->child, scan);
    if (n->kind != TL_NODE_FILTER && n->kind != TL_NODE_DISTINCT && n->kind != TL_NODE_SORT &&
        n->kind != TL_NODE_LIMIT)
        return;
    n->types = n->child->types;
    n->column_count = n->child->column_count;
}

static void renumber_bounds(struct tl_scan_bound *bounds, uint32_t count, const uint32_t *place)
{
    for (uint32_t i = 0; i < count; i++)
        bounds[i].column = place[bounds[i].column];
}

/* The scan's columns are those that are used, in their order. */
static enum tl_code set_columns(struct tl__binder *b, const struct tl__scope *scope,
                                struct tl_plan_node *scan, const bool *used, uint32_t *place)
{
    uint32_t count = scope->scan_count ? scope->scan_count : 1;
    scan->scan_columns = tl_arena_calloc(b->arena, count, sizeof(*scan->scan_columns), b->st);
    scan->scan_names = tl_arena_calloc(b->arena, count, sizeof(char *), b->st);
    scan->types = tl_arena_calloc(b->arena, count, sizeof(*scan->types), b->st);
    if (!scan->scan_columns || !scan->scan_names || !scan->types)
        return b->st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; i < scope->scan_count; i++) {
        const struct tl__scan_ref *ref = &scope->scan[i];
        const struct tl_column_info *info = &scope->table->columns[ref->column];
        place[i] = UINT32_MAX;
        if (!used[i])
            continue;
        bool key = ref->props_key.size > 0;
        place[i] = n;
        scan->types[n] = key ? tl_type_of(TL_TEXT) : info->type;
        scan->scan_columns[n] = (struct tl_scan_column){info->id, scan->types[n], ref->props_key};
        scan->scan_names[n] = tl__keep(b, info->name);
        if (!scan->scan_names[n])
            return b->st->code;
        if (!key && ref->column == scope->table->merchant_column)
            scan->merchant_column = (int32_t)n;
        if (!key && ref->column == scope->table->ts_column)
            scan->ts_column = (int32_t)n;
        n++;
    }
    scan->column_count = n;
    renumber_bounds(scan->bounds, scan->bound_count, place);
    renumber_bounds(scan->ts_bounds, scan->ts_bound_count, place);
    renumber_bounds(scan->merchant_bounds, scan->merchant_bound_count, place);
    return TL_OK;
}

static enum tl_code new_places(struct tl__binder *b, const struct tl__scope *scope, bool **used,
                               uint32_t **place)
{
    uint32_t count = scope->scan_count ? scope->scan_count : 1;
    if (used)
        *used = tl_arena_calloc(b->scratch, count, sizeof(**used), b->st);
    *place = tl_arena_calloc(b->scratch, count, sizeof(**place), b->st);
    return (!used || *used) && *place ? TL_OK : b->st->code;
}

enum tl_code tl__finish_scan(struct tl__binder *b, struct tl__scope *scope,
                             struct tl_plan_node *scan, struct tl_plan_node *top)
{
    bool *used;
    uint32_t *place;
    enum tl_code rc = new_places(b, scope, &used, &place);
    if (rc)
        return rc;
    bool sees = true;
    mark_readers(top, scan, used, &sees);
    tl_assert(!sees); /* something above the scan makes its own columns */
    rc = set_columns(b, scope, scan, used, place);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < scope->ref_count; i++)
        scope->refs[i]->index = place[scope->refs[i]->index];
    pass_types_up(top, scan);
    return TL_OK;
}

static void renumber(struct tl_expr *e, const uint32_t *place)
{
    if (e->kind == TL_EXPR_COLUMN)
        e->index = place[e->index];
    for (uint32_t i = 0; i < e->arg_count; i++)
        renumber(e->args[i], place);
}

enum tl_code tl__finish_inner_scan(struct tl__binder *b, struct tl__scope *scope,
                                   struct tl_plan_node *scan, struct tl_plan_node *filter,
                                   bool *used, uint32_t **place)
{
    enum tl_code rc = new_places(b, scope, NULL, place);
    for (struct tl_plan_node *n = filter; !rc; n = n->child) {
        mark_node(n, used);
        if (n == scan)
            break;
    }
    if (!rc)
        rc = set_columns(b, scope, scan, used, *place);
    if (rc)
        return rc;
    for (struct tl_plan_node *n = filter; n != scan; n = n->child)
        for (uint32_t i = 0; i < n->conjunct_count; i++)
            renumber(n->conjuncts[i], *place);
    pass_types_up(filter, scan);
    return TL_OK;
}
