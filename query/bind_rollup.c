/*
 * CREATE MATERIALIZED VIEW … WITH (tally.rollup): the SELECT is bound like any other, so that
 * names, types and errors are the usual ones; then its plan must have the one form that a rollup
 * can keep: PROJECT of columns over AGGREGATE over SCAN. What has another form is refused by
 * name and place.
 */
#include <string.h>

#include "query/bind_int.h"

struct form {
    struct tl__binder *b;
    const struct tl_plan_node *scan;
    const struct tl_plan_node *aggregate;
    int32_t position; /* of the SELECT's table: where no better place is known */
};

static enum tl_code refuse_clauses(const struct form *f, const struct tl_ast_select *s)
{
    const char *what = NULL;
    int32_t at = 0;
    if (s->set_op || s->value_rows || s->cte_count > 0) {
        what = s->set_op ? "a set operation" : s->cte_count > 0 ? "WITH" : "VALUES";
        at = s->position;
    } else if (s->window_count > 0) {
        what = "WINDOW";
        at = s->windows[0]->position;
    } else if (s->distinct) {
        what = "DISTINCT";
        at = s->distinct_position;
    } else if (s->where) {
        what = "WHERE";
        at = s->where->position;
    } else if (s->having) {
        what = "HAVING";
        at = s->having->position;
    } else if (s->order_count > 0) {
        what = "ORDER BY";
        at = s->order[0].position;
    } else if (s->limit || s->offset) {
        what = "LIMIT or OFFSET";
        at = s->limit ? s->limit->position : s->offset->position;
    }
    if (what)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                             "%s in a rollup's SELECT is not supported", what);
    if (s->from_count != 1 || s->from[0]->kind != TL_FROM_TABLE)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", f->position,
                             "a rollup reads one table");
    for (uint32_t i = 0; i < s->group_count; i++)
        if (s->group[i]->kind == TL_AST_SETS)
            return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", s->group[i]->position,
                                 "GROUPING SETS in a rollup's SELECT is not supported");
    return TL_OK;
}

/* The scan's column that `e` is, or NULL. */
static const struct tl_scan_column *plain_column(const struct form *f, const struct tl_expr *e)
{
    if (e->kind != TL_EXPR_COLUMN || e->index >= f->scan->column_count ||
        f->scan->scan_columns[e->index].props_key.size > 0)
        return NULL;
    return &f->scan->scan_columns[e->index];
}

static bool is_quarter_hour(const struct tl_expr *e)
{
    if (e->kind != TL_EXPR_CONST || e->type.kind != TL_INTERVAL || !tl_vector_valid(&e->value, 0))
        return false;
    const struct tl_interval *v = e->value.data;
    return v->months == 0 && v->days == 0 && v->us == TL_ROLLUP_BUCKET_US;
}

static enum tl_code bind_key(const struct form *f, const struct tl_table_info *table,
                             const struct tl_expr *e, struct tl_rollup_column *out)
{
    const struct tl_scan_column *c = plain_column(f, e);
    int32_t at = e->position ? e->position : f->position;
    if (c) {
        bool merchant = c->column_id == table->columns[table->merchant_column].id;
        if (c->column_id == table->columns[table->ts_column].id)
            return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                                 "a rollup groups ts by time_bucket('15 minutes', ts) alone");
        if (c->type.kind == TL_DOUBLE || c->type.kind == TL_PROPS)
            return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                                 "a dimension of a rollup cannot be a DOUBLE");
        out->kind = merchant ? TL_ROLLUP_MERCHANT : TL_ROLLUP_DIMENSION;
        out->source_id = c->column_id;
        out->from = out->type = c->type;
        return TL_OK;
    }
    bool bucket = e->kind == TL_EXPR_CALL && strcmp(e->function->name, "time_bucket") == 0;
    if (!bucket)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                             "a dimension of a rollup must be a column of its table");
    const struct tl_scan_column *ts = e->arg_count == 2 ? plain_column(f, e->args[1]) : NULL;
    if (!ts || ts->column_id != table->columns[table->ts_column].id || !is_quarter_hour(e->args[0]))
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                             "the bucket of a rollup must be time_bucket('15 minutes', ts)");
    out->kind = TL_ROLLUP_BUCKET;
    out->from = out->type = tl_type_of(TL_TIMESTAMPTZ);
    return TL_OK;
}

static uint8_t kind_of(const struct tl_aggregate *a)
{
    switch ((enum tl_agg_kind)a->kind) {
    case TL_AGG_COUNT_STAR:
        return TL_ROLLUP_COUNT_STAR;
    case TL_AGG_COUNT:
        return TL_ROLLUP_COUNT;
    case TL_AGG_COUNT_DISTINCT:
        return TL_ROLLUP_COUNT_DISTINCT;
    case TL_AGG_SUM:
        return TL_ROLLUP_SUM;
    case TL_AGG_AVG:
        return TL_ROLLUP_AVG;
    case TL_AGG_MIN:
        return TL_ROLLUP_MIN;
    case TL_AGG_MAX:
        return TL_ROLLUP_MAX;
    case TL_AGG_APPROX_DISTINCT:
        return TL_ROLLUP_APPROX_DISTINCT;
    case TL_AGG_APPROX_PERCENTILE:
        return TL_ROLLUP_APPROX_PERCENTILE;
    default:
        return 0; /* cannot be merged: percentile_disc, sums of distinct values */
    }
}

static enum tl_code bind_aggregate(const struct form *f, const struct tl_expr *target,
                                   const struct tl_aggregate *a, struct tl_rollup_column *out)
{
    int32_t at = target->position ? target->position : f->position;
    out->kind = kind_of(a);
    out->type = a->type;
    if (out->kind == 0)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                             "this aggregate cannot be kept by a rollup: its parts do not merge");
    if (a->filter)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                             "FILTER in a rollup is not supported; make the column a dimension");
    if (out->kind == TL_ROLLUP_COUNT_STAR)
        return TL_OK;
    const struct tl_scan_column *c = plain_column(f, a->arg);
    if (!c)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000",
                             a->arg->position ? a->arg->position : at,
                             "the argument of a rollup's aggregate must be a column of its table");
    out->source_id = c->column_id;
    out->from = c->type;
    if (out->kind == TL_ROLLUP_COUNT_DISTINCT && c->type.kind != TL_TEXT)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                             "a rollup counts distinct values of TEXT columns alone");
    if (out->kind == TL_ROLLUP_APPROX_PERCENTILE) {
        const struct tl_expr *fraction = a->fraction;
        if (fraction->kind != TL_EXPR_CONST || fraction->type.kind != TL_DOUBLE ||
            !tl_vector_valid(&fraction->value, 0))
            return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                                 "the fraction of a rollup's approx_percentile must be a constant");
        out->fraction = *(const double *)fraction->value.data;
    }
    if ((out->kind == TL_ROLLUP_MIN || out->kind == TL_ROLLUP_MAX) && c->type.kind == TL_TEXT)
        return TL__BIND_FAIL(f->b, TL_UNSUPPORTED, "0A000", at,
                             "min and max of TEXT in a rollup are not supported");
    return TL_OK;
}

/* Every key is an output, none twice; bucket and merchant_id are among them. */
static enum tl_code check_whole(const struct form *f, const struct tl_rollup_def *def,
                                uint32_t keys_seen)
{
    uint32_t buckets = 0;
    uint32_t merchants = 0;
    uint32_t aggregates = 0;
    for (uint32_t i = 0; i < def->column_count; i++) {
        const struct tl_rollup_column *c = &def->columns[i];
        buckets += c->kind == TL_ROLLUP_BUCKET;
        merchants += c->kind == TL_ROLLUP_MERCHANT;
        aggregates += tl_rollup_is_aggregate(c);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(def->columns[k].name, c->name) == 0)
                return TL__BIND_FAIL(f->b, TL_INVALID, "42701", f->position,
                                     "column \"%s\" specified more than once", c->name);
    }
    if (buckets != 1)
        return TL__BIND_FAIL(f->b, TL_INVALID, "42P16", f->position,
                             "a rollup needs one column time_bucket('15 minutes', ts)");
    if (merchants != 1)
        return TL__BIND_FAIL(f->b, TL_INVALID, "42P16", f->position,
                             "a rollup needs the column merchant_id once");
    if (keys_seen != f->aggregate->key_count)
        return TL__BIND_FAIL(f->b, TL_INVALID, "42P16", f->position,
                             "every column of a rollup's GROUP BY must be selected, once");
    if (aggregates == 0)
        return TL__BIND_FAIL(f->b, TL_INVALID, "42P16", f->position,
                             "a rollup needs at least one aggregate");
    return TL_OK;
}

static enum tl_code bind_columns(struct form *f, const struct tl_plan_node *top,
                                 const struct tl__select_result *r, struct tl_rollup_def *def)
{
    struct tl__binder *b = f->b;
    const struct tl_table_info *table =
        b->catalog->vtab->table(b->catalog, NULL, f->scan->table_name);
    struct tl_rollup_column *columns =
        tl_arena_calloc(b->arena, r->output_count + 1u, sizeof(*columns), b->st);
    bool *seen = tl_arena_calloc(b->scratch, f->aggregate->column_count + 1u, sizeof(*seen), b->st);
    if (!columns || !seen)
        return b->st->code;
    uint32_t keys_seen = 0;
    for (uint32_t i = 0; i < r->output_count; i++) {
        uint32_t at = i;
        const struct tl_expr *target = NULL;
        if (top->kind == TL_NODE_PROJECT) {
            target = top->exprs[i];
            if (target->kind != TL_EXPR_COLUMN)
                return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000",
                                     target->position ? target->position : f->position,
                                     "a rollup keeps columns and aggregates, not expressions");
            at = target->index;
        }
        columns[i].name = tl__keep(b, r->outputs[i].name);
        if (!columns[i].name)
            return b->st->code;
        if (at < f->aggregate->key_count) {
            const struct tl_expr *key = f->aggregate->keys[at];
            keys_seen += !seen[at];
            seen[at] = true;
            if (bind_key(f, table, key, &columns[i]))
                return b->st->code;
        } else {
            static const struct tl_expr nowhere;
            const struct tl_aggregate *a = &f->aggregate->aggregates[at - f->aggregate->key_count];
            const struct tl_expr *place = target ? target : a->arg ? a->arg : &nowhere;
            if (bind_aggregate(f, place, a, &columns[i]))
                return b->st->code;
        }
    }
    def->table_id = f->scan->table_id;
    def->column_count = r->output_count;
    def->columns = columns;
    return check_whole(f, def, keys_seen);
}

enum tl_code tl__bind_rollup(struct tl__binder *b, const struct tl_ast_statement *s)
{
    struct form f = {.b = b, .position = s->select->position};
    if (s->select->from_count > 0)
        f.position = s->select->from[0]->position;
    struct tl__select_result result = {0};
    if (refuse_clauses(&f, s->select) || tl__select(b, s->select, false, &result))
        return b->st->code;
    const struct tl_plan_node *top = result.node;
    f.aggregate = top->kind == TL_NODE_PROJECT ? top->child : top;
    if (f.aggregate->kind != TL_NODE_AGGREGATE || f.aggregate->child->kind != TL_NODE_SCAN)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", f.position,
                             "a rollup needs aggregates and GROUP BY");
    f.scan = f.aggregate->child;
    const struct tl_table_info *table =
        b->catalog->vtab->table(b->catalog, NULL, f.scan->table_name);
    if (table->materialized_view)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", f.position,
                             "a rollup of a materialized view is not supported");
    if (b->plan->param_count > 0)
        return TL__BIND_FAIL(b, TL_INVALID, "42P02", f.position,
                             "a materialized view's SELECT cannot have parameters");
    if (result.output_count > TL_ROLLUP_COLUMNS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54011", f.position,
                             "a rollup can have at most %d columns", TL_ROLLUP_COLUMNS_MAX);
    struct tl_rollup_def *def = tl_arena_calloc(b->arena, 1, sizeof(*def), b->st);
    if (!def)
        return b->st->code;
    def->name = tl__keep(b, s->table_name);
    if (!def->name || bind_columns(&f, top, &result, def))
        return b->st->code;
    b->plan->table_name = def->name;
    b->plan->if_not_exists = s->if_not_exists;
    b->plan->rollup = def;
    b->plan->root = NULL; /* nothing of it runs */
    return TL_OK;
}
