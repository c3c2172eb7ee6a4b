/*
 * EXPLAIN: a plan as indented lines, its expressions written back as SQL.
 *
 * A column of a node is written as what it is: a scan's column by its name, a column of a PROJECT
 * or AGGREGATE by its expression in brackets. Expressions may stand in one another that way, so
 * the text can be far larger than the plan: the buffer's limit ends it.
 */
#include "query/bind_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/zone.h"

enum { CONST_LIST_MAX = 20, TEXT_SHOWN_MAX = 200 };

struct printer {
    struct tl_buffer *out;
    const struct tl_plan *plan;
    struct tl_arena arena; /* for kernels that write constants */
};

static void print_expr(struct printer *p, const struct tl_expr *e, const struct tl_plan_node *child,
                       bool inner);

static void put(struct printer *p, const char *s)
{
    tl_buffer_put(p->out, s, strlen(s));
}

static void put_quoted(struct printer *p, struct tl_slice text, char quote)
{
    tl_buffer_put_u8(p->out, (uint8_t)quote);
    size_t shown = text.size < TEXT_SHOWN_MAX ? text.size : TEXT_SHOWN_MAX;
    while (shown < text.size && shown > 0 && (text.data[shown] & 0xC0) == 0x80)
        shown--; /* not within a character */
    for (size_t i = 0; i < shown; i++) {
        if (text.data[i] == (uint8_t)quote)
            tl_buffer_put_u8(p->out, (uint8_t)quote);
        tl_buffer_put_u8(p->out, text.data[i]);
    }
    if (shown < text.size)
        put(p, "…");
    tl_buffer_put_u8(p->out, (uint8_t)quote);
}

static void put_name(struct printer *p, const char *name)
{
    bool plain = name[0] && !(name[0] >= '0' && name[0] <= '9');
    for (const char *c = name; *c; c++)
        plain = plain && ((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_');
    if (plain)
        put(p, name);
    else
        put_quoted(p, tl_slice_str(name), '"');
}

/* ---- constants ---- */

/* Numbers, dates and times by their cast to text, seen in UTC. */
static void print_by_cast(struct printer *p, const struct tl_expr *e, bool quoted)
{
    const struct tl_function *f = tl_function_cast(e->type, tl_type_of(TL_TEXT));
    struct tl_eval_context ctx = {.arena = &p->arena, .zone = tl_zone_utc(), .zone_name = "UTC"};
    struct tl_vector arg = e->value, text = {.type = {TL_TEXT, 0}, .count = 1};
    struct tl_status st = TL_STATUS_INIT;
    arg.type = e->type;
    if (!f || f->kernel(&ctx, &arg, 1, 1, NULL, 1, &text, &st) != TL_OK) {
        put(p, "?");
        return;
    }
    struct tl_slice s = *(const struct tl_slice *)text.data;
    if (quoted)
        put_quoted(p, s, '\'');
    else
        tl_buffer_put(p->out, s.data, s.size);
    tl_arena_reset(&p->arena);
}

static void print_const(struct printer *p, const struct tl_expr *e)
{
    if (tl__is_null_const(e)) {
        put(p, "NULL");
        return;
    }
    switch ((enum tl_kind)e->type.kind) {
    case TL_BOOLEAN:
        put(p, *(const uint8_t *)e->value.data ? "true" : "false");
        return;
    case TL_BIGINT:
    case TL_DOUBLE:
    case TL_DECIMAL64:
    case TL_DECIMAL128:
        print_by_cast(p, e, false);
        return;
    case TL_NULL:
    case TL_TEXT:
        put_quoted(p, *(const struct tl_slice *)e->value.data, '\'');
        return;
    default:
        print_by_cast(p, e, true);
        return;
    }
}

/* ---- expressions ---- */

static const char *type_name(struct tl_type t, char *buf, size_t size)
{
    return tl_type_name(t, buf, size);
}

static bool is_infix(const char *name)
{
    return strchr("=<>+-*/%^|", name[0]) != NULL;
}

static void print_list(struct printer *p, struct tl_expr *const *es, uint32_t count,
                       const struct tl_plan_node *child)
{
    for (uint32_t i = 0; i < count && !p->out->failed; i++) {
        if (i > 0)
            put(p, ", ");
        if (i == CONST_LIST_MAX) {
            tl_buffer_printf(p->out, "… %" PRIu32 " more", count - i);
            return;
        }
        print_expr(p, es[i], child, false);
    }
}

static void print_call(struct printer *p, const struct tl_expr *e, const struct tl_plan_node *child,
                       bool inner)
{
    const char *name = e->function->name;
    char buf[32];
    const char *infix = is_infix(name)                     ? name
                        : strcmp(name, "like") == 0        ? "LIKE"
                        : strcmp(name, "ilike") == 0       ? "ILIKE"
                        : strcmp(name, "is_distinct") == 0 ? "IS DISTINCT FROM"
                                                           : NULL;
    if (strcmp(name, "cast") == 0) {
        print_expr(p, e->args[0], child, true);
        tl_buffer_printf(p->out, "::%s", type_name(e->type, buf, sizeof(buf)));
    } else if (infix && e->arg_count >= 2) {
        put(p, inner ? "(" : "");
        print_expr(p, e->args[0], child, true);
        tl_buffer_printf(p->out, " %s ", infix);
        print_expr(p, e->args[1], child, true);
        if (e->arg_count == 3) {
            put(p, " ESCAPE ");
            print_expr(p, e->args[2], child, true);
        }
        put(p, inner ? ")" : "");
    } else if (infix && e->arg_count == 1) {
        put(p, infix);
        print_expr(p, e->args[0], child, true);
    } else {
        put(p, name);
        put(p, "(");
        print_list(p, e->args, e->arg_count, child);
        put(p, ")");
    }
}

static void print_logic(struct printer *p, const struct tl_expr *e,
                        const struct tl_plan_node *child, bool inner)
{
    put(p, inner ? "(" : "");
    for (uint32_t i = 0; i < e->arg_count && !p->out->failed; i++) {
        if (i > 0)
            put(p, e->kind == TL_EXPR_AND ? " AND " : " OR ");
        print_expr(p, e->args[i], child, true);
    }
    put(p, inner ? ")" : "");
}

/* x IS [NOT] NULL, x [NOT] IN (…) */
static void print_test(struct printer *p, const struct tl_expr *e, const struct tl_plan_node *child,
                       bool negated)
{
    print_expr(p, e->args[0], child, true);
    if (e->kind == TL_EXPR_IS_NULL) {
        put(p, negated ? " IS NOT NULL" : " IS NULL");
        return;
    }
    put(p, negated ? " NOT IN (" : " IN (");
    print_list(p, e->args + 1, e->arg_count - 1, child);
    put(p, ")");
}

static void print_case(struct printer *p, const struct tl_expr *e, const struct tl_plan_node *child)
{
    put(p, "CASE");
    for (uint32_t i = 0; i + 1 < e->arg_count && !p->out->failed; i += 2) {
        put(p, " WHEN ");
        print_expr(p, e->args[i], child, false);
        put(p, " THEN ");
        print_expr(p, e->args[i + 1], child, false);
    }
    put(p, " ELSE ");
    print_expr(p, e->args[e->arg_count - 1], child, false);
    put(p, " END");
}

static void print_aggregate(struct printer *p, const struct tl_aggregate *a,
                            const struct tl_plan_node *child)
{
    static const char *const names[] = {
        [TL_AGG_COUNT_STAR] = "count(*",
        [TL_AGG_COUNT] = "count(",
        [TL_AGG_COUNT_DISTINCT] = "count(DISTINCT ",
        [TL_AGG_SUM] = "sum(",
        [TL_AGG_AVG] = "avg(",
        [TL_AGG_MIN] = "min(",
        [TL_AGG_MAX] = "max(",
        [TL_AGG_PERCENTILE_DISC] = "percentile_disc(",
        [TL_AGG_SUM_DISTINCT] = "sum(DISTINCT ",
        [TL_AGG_AVG_DISTINCT] = "avg(DISTINCT ",
        [TL_AGG_APPROX_DISTINCT] = "approx_distinct(",
        [TL_AGG_APPROX_PERCENTILE] = "approx_percentile(",
        [TL_AGG_VAR_POP] = "var_pop(",
        [TL_AGG_VAR_SAMP] = "var_samp(",
        [TL_AGG_STDDEV_POP] = "stddev_pop(",
        [TL_AGG_STDDEV_SAMP] = "stddev_samp(",
        [TL_AGG_BIT_AND] = "bit_and(",
        [TL_AGG_BIT_OR] = "bit_or(",
        [TL_AGG_BIT_XOR] = "bit_xor(",
    };
    put(p, names[a->kind]);
    bool ordered = a->kind == TL_AGG_PERCENTILE_DISC;
    if (ordered) {
        print_expr(p, a->fraction, child, false);
        put(p, ") WITHIN GROUP (ORDER BY ");
    }
    if (a->arg)
        print_expr(p, a->arg, child, false);
    if (a->fraction && !ordered) {
        put(p, ", ");
        print_expr(p, a->fraction, child, false);
    }
    put(p, a->descending ? " DESC)" : ")");
    if (a->filter) {
        put(p, " FILTER (WHERE ");
        print_expr(p, a->filter, child, false);
        put(p, ")");
    }
}

/* Column `index` of what n produces. */
static void print_column(struct printer *p, const struct tl_plan_node *n, uint32_t index,
                         bool inner)
{
    while (n && (n->kind == TL_NODE_JOIN || n->kind == TL_NODE_APPLY)) {
        if (n->kind == TL_NODE_JOIN && index < n->emit_count)
            index = n->emit[index];
        uint32_t lefts = n->child->column_count;
        if (index >= lefts &&
            (n->kind == TL_NODE_JOIN ? n->join == TL_JOIN_MARK : n->apply <= TL_APPLY_ANY)) {
            put(p, "(subquery)");
            return;
        }
        n = index < lefts ? n->child : n->right;
        index -= index < lefts ? 0 : lefts;
        while (n && (n->kind == TL_NODE_FILTER || n->kind == TL_NODE_SORT ||
                     n->kind == TL_NODE_LIMIT || n->kind == TL_NODE_DISTINCT))
            n = n->child;
    }
    while (n && (n->kind == TL_NODE_FILTER || n->kind == TL_NODE_DISTINCT ||
                 n->kind == TL_NODE_SORT || n->kind == TL_NODE_LIMIT))
        n = n->child;
    if (!n || index >= n->column_count || (n->kind == TL_NODE_SCAN && !n->scan_names)) {
        tl_buffer_printf(p->out, "column %" PRIu32, index);
    } else if (n->kind == TL_NODE_SCAN) {
        put_name(p, n->scan_names[index]);
        if (n->scan_columns[index].props_key.size > 0) {
            put(p, "[");
            put_quoted(p, n->scan_columns[index].props_key, '\'');
            put(p, "]");
        }
    } else if (n->kind == TL_NODE_PROJECT) {
        print_expr(p, n->exprs[index], n->child, inner);
    } else if (n->kind == TL_NODE_AGGREGATE && index < n->key_count) {
        print_expr(p, n->keys[index], n->child, inner);
    } else if (n->kind == TL_NODE_AGGREGATE) {
        print_aggregate(p, &n->aggregates[index - n->key_count], n->child);
    } else if (n->kind == TL_NODE_JOIN || n->kind == TL_NODE_APPLY) {
        print_column(p, n, index, inner); /* below a filter */
    } else {
        tl_buffer_printf(p->out, "column %" PRIu32, index + 1);
    }
}

/* `inner`: it is an operand, so an infix expression needs brackets. */
static void print_expr(struct printer *p, const struct tl_expr *e, const struct tl_plan_node *child,
                       bool inner)
{
    if (p->out->failed)
        return;
    switch ((enum tl_expr_kind)e->kind) {
    case TL_EXPR_COLUMN:
        print_column(p, child, e->index, inner);
        break;
    case TL_EXPR_CONST:
        print_const(p, e);
        break;
    case TL_EXPR_PARAM:
        if (e->index < p->plan->param_count)
            tl_buffer_printf(p->out, "$%" PRIu32, e->index + 1);
        else
            tl_buffer_printf(p->out, "(subquery %" PRIu32 ")", e->index - p->plan->param_count + 1);
        break;
    case TL_EXPR_CALL:
        print_call(p, e, child, inner);
        break;
    case TL_EXPR_AND:
    case TL_EXPR_OR:
        print_logic(p, e, child, inner);
        break;
    case TL_EXPR_NOT:
        if (e->args[0]->kind == TL_EXPR_IS_NULL || e->args[0]->kind == TL_EXPR_IN) {
            print_test(p, e->args[0], child, true);
            break;
        }
        put(p, "NOT ");
        print_expr(p, e->args[0], child, true);
        break;
    case TL_EXPR_IS_NULL:
    case TL_EXPR_IN:
        print_test(p, e, child, false);
        break;
    case TL_EXPR_CASE:
        print_case(p, e, child);
        break;
    case TL_EXPR_COALESCE:
        put(p, "coalesce(");
        print_list(p, e->args, e->arg_count, child);
        put(p, ")");
        break;
    }
}

/* ---- nodes ---- */

static void start_line(struct printer *p, uint32_t indent, const char *label)
{
    tl_buffer_printf(p->out, "%*s%s", (int)indent, "", label);
}

static void print_bound(struct printer *p, const struct tl_plan_node *scan, const char *column,
                        const struct tl_scan_bound *bound)
{
    static const char *const ops[] = {
        [TL_PRED_EQ] = " = ",   [TL_PRED_NE] = " <> ",          [TL_PRED_LT] = " < ",
        [TL_PRED_LE] = " <= ",  [TL_PRED_GT] = " > ",           [TL_PRED_GE] = " >= ",
        [TL_PRED_IN] = " IN (", [TL_PRED_IS_NULL] = " IS NULL", [TL_PRED_NOT_NULL] = " IS NOT NULL",
    };
    if (column)
        put(p, column);
    else
        print_column(p, scan, bound->column, true);
    put(p, ops[bound->op]);
    print_list(p, bound->values, bound->value_count, NULL);
    put(p, bound->op == TL_PRED_IN ? ")" : "");
}

static void print_bounds(struct printer *p, const struct tl_plan_node *scan, uint32_t indent,
                         const char *label, const char *column, const struct tl_scan_bound *bounds,
                         uint32_t count)
{
    if (count == 0)
        return;
    start_line(p, indent, label);
    for (uint32_t i = 0; i < count && !p->out->failed; i++) {
        if (i > 0)
            put(p, " AND ");
        print_bound(p, scan, column, &bounds[i]);
    }
    put(p, "\n");
}

static void print_scan(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    put(p, "Scan on ");
    put_name(p, n->table_name);
    put(p, "\n");
    if (n->column_count > 0) {
        start_line(p, indent, "Columns: ");
        for (uint32_t i = 0; i < n->column_count; i++) {
            put(p, i > 0 ? ", " : "");
            print_column(p, n, i, false);
        }
        put(p, "\n");
    }
    print_bounds(p, n, indent, "Merchants: ", "merchant_id", n->merchant_bounds,
                 n->merchant_bound_count);
    print_bounds(p, n, indent, "Time: ", "ts", n->ts_bounds, n->ts_bound_count);
    print_bounds(p, n, indent, "Bounds: ", NULL, n->bounds, n->bound_count);
}

static void print_sort(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    put(p, n->limit ? "Top-N Sort\n" : "Sort\n");
    start_line(p, indent, "Sort Key: ");
    for (uint32_t i = 0; i < n->sort_key_count; i++) {
        const struct tl_sort_key *k = &n->sort_keys[i];
        put(p, i > 0 ? ", " : "");
        print_column(p, n->child, k->column, true);
        put(p, k->descending ? " DESC" : "");
        if (k->nulls_first != k->descending)
            put(p, k->nulls_first ? " NULLS FIRST" : " NULLS LAST");
    }
    put(p, "\n");
}

static void print_filter(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    put(p, "Filter\n");
    start_line(p, indent, "Condition: ");
    for (uint32_t i = 0; i < n->conjunct_count; i++) {
        put(p, i > 0 ? " AND " : "");
        print_expr(p, n->conjuncts[i], n->child, n->conjunct_count > 1);
    }
    put(p, "\n");
}

static void print_exprs(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    put(p, "Project\n");
    start_line(p, indent, "Output: ");
    print_list(p, n->exprs, n->column_count, n->child);
    put(p, "\n");
}

static void print_groups(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    put(p, "Aggregate\n");
    if (n->key_count > 0) {
        start_line(p, indent, "Group Key: ");
        print_list(p, n->keys, n->key_count, n->child);
        put(p, "\n");
    }
    if (n->aggregate_count > 0) {
        start_line(p, indent, "Compute: ");
        for (uint32_t i = 0; i < n->aggregate_count && !p->out->failed; i++) {
            put(p, i > 0 ? ", " : "");
            print_aggregate(p, &n->aggregates[i], n->child);
        }
        put(p, "\n");
    }
}

static void print_limit(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    put(p, "Limit\n");
    start_line(p, indent, "Rows: ");
    if (n->limit)
        print_expr(p, n->limit, NULL, false);
    else
        put(p, "all");
    if (n->offset) {
        put(p, " after ");
        print_expr(p, n->offset, NULL, false);
    }
    put(p, "\n");
}

static void print_join(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    static const char *const names[] = {
        [TL_JOIN_INNER] = "Hash Join",       [TL_JOIN_LEFT] = "Hash Left Join",
        [TL_JOIN_RIGHT] = "Hash Right Join", [TL_JOIN_FULL] = "Hash Full Join",
        [TL_JOIN_SEMI] = "Hash Semi Join",   [TL_JOIN_ANTI] = "Hash Anti Join",
        [TL_JOIN_MARK] = "Hash Mark Join",
    };
    put(p, n->join == TL_JOIN_INNER && n->join_key_count == 0 ? "Cross Join" : names[n->join]);
    put(p, "\n");
    if (n->join_key_count > 0) {
        start_line(p, indent, "Equal: ");
        for (uint32_t i = 0; i < n->join_key_count; i++) {
            put(p, i > 0 ? " AND " : "");
            print_expr(p, n->left_keys[i], n->child, true);
            put(p, " = ");
            print_expr(p, n->right_keys[i], n->right, true);
        }
        put(p, "\n");
    }
    if (n->residual) {
        struct tl_plan_node both = *n; /* its columns are those of both sides */
        both.emit_count = 0;
        start_line(p, indent, "Condition: ");
        print_expr(p, n->residual, &both, false);
        put(p, "\n");
    }
}

static void print_apply(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    static const char *const names[] = {
        [TL_APPLY_SCALAR] = "one value", [TL_APPLY_EXISTS] = "exists", [TL_APPLY_ANY] = "any",
        [TL_APPLY_CROSS] = "cross",      [TL_APPLY_LEFT] = "left",     [TL_APPLY_ARRAY] = "array",
    };
    put(p, "For Each Row: ");
    put(p, names[n->apply]);
    put(p, "\n");
    for (uint32_t i = 0; i < n->slot_count; i++) {
        start_line(p, indent, "");
        tl_buffer_printf(p->out,
                         "(subquery %" PRIu32 "): ", n->slots[i] - p->plan->param_count + 1);
        print_expr(p, n->apply_args[i], n->child, false);
        put(p, "\n");
    }
}

static void print_node(struct printer *p, const struct tl_plan_node *n, uint32_t indent)
{
    switch ((enum tl_node_kind)n->kind) {
    case TL_NODE_ONE_ROW:
        put(p, "One Row\n");
        break;
    case TL_NODE_SCAN:
        print_scan(p, n, indent);
        break;
    case TL_NODE_FILTER:
        print_filter(p, n, indent);
        break;
    case TL_NODE_PROJECT:
        print_exprs(p, n, indent);
        break;
    case TL_NODE_AGGREGATE:
        print_groups(p, n, indent);
        break;
    case TL_NODE_DISTINCT:
        put(p, "Distinct\n");
        break;
    case TL_NODE_SORT:
        print_sort(p, n, indent);
        break;
    case TL_NODE_LIMIT:
        print_limit(p, n, indent);
        break;
    case TL_NODE_JOIN:
        print_join(p, n, indent);
        break;
    case TL_NODE_APPLY:
        print_apply(p, n, indent);
        break;
    case TL_NODE_APPEND:
        put(p, "Append\n");
        break;
    case TL_NODE_REPEAT:
        put(p, "Repeat\n");
        break;
    case TL_NODE_OTHERWISE:
        put(p, "Otherwise\n");
        break;
    case TL_NODE_VALUES:
        tl_buffer_printf(p->out, "Values: %" PRIu32 " rows\n", n->row_count);
        break;
    case TL_NODE_TABLE_FUNCTION:
        put(p, "Function generate_series(");
        print_list(p, n->args, n->arg_count, NULL);
        put(p, ")\n");
        break;
    case TL_NODE_CTE:
        put(p, "With ");
        put_name(p, n->cte_name);
        put(p, "\n");
        break;
    case TL_NODE_FIRST:
        put(p, "First of Each\n");
        break;
    case TL_NODE_EXPAND:
        tl_buffer_printf(p->out, "Grouping Sets: %" PRIu32 "\n", n->set_count);
        break;
    case TL_NODE_WINDOW:
        put(p, "Window\n");
        break;
    }
}

static void print_tree(struct printer *p, const struct tl_plan_node *n, uint32_t level,
                       const char *label, tl_plan_note *note, void *arg)
{
    uint32_t indent = level * 6 + 2;
    if (!n || p->out->failed)
        return;
    if (level > 0)
        start_line(p, indent - 6, label);
    print_node(p, n, indent);
    if (note)
        note(arg, n, indent, p->out);
    print_tree(p, n->child, level + 1, "->  ", note, arg);
    print_tree(p, n->right, level + 1, "->  ", note, arg);
    for (uint32_t i = 0; i < n->input_count; i++)
        print_tree(p, n->inputs[i], level + 1, "->  ", note, arg);
}

void tl_plan_print_nodes(const struct tl_plan *plan, tl_plan_note *note, void *arg,
                         struct tl_buffer *out)
{
    struct printer p = {.out = out, .plan = plan};
    tl_arena_init(&p.arena, NULL, 4096);
    for (uint32_t i = 0; i < plan->cte_count; i++) {
        tl_buffer_printf(out, "With %" PRIu32 "\n", i + 1);
        print_tree(&p, plan->ctes[i], 1, "->  ", note, arg);
    }
    for (uint32_t i = 0; i < plan->init_count; i++) {
        tl_buffer_printf(out, "Once: subquery %" PRIu32 "\n",
                         plan->inits[i].slot - plan->param_count + 1);
        print_tree(&p, plan->inits[i].root, 1, "->  ", note, arg);
    }
    print_tree(&p, plan->root, 0, "", note, arg);
    tl_arena_deinit(&p.arena);
}

void tl_plan_print(const struct tl_plan *plan, struct tl_buffer *out)
{
    tl_plan_print_nodes(plan, NULL, NULL, out);
}
