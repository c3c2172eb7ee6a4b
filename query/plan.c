/*
 * Text -> plan: parse, bind, plan; and the statements that change the catalog.
 */
#include "query/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/zone.h"
#include "query/bind_int.h"

enum { PLAN_CHUNK_BYTES = 4096, SCRATCH_CHUNK_BYTES = 16384 };

/* ---- CREATE TABLE, ALTER TABLE ---- */

static enum tl_code column_type(struct tl__binder *b, const struct tl_ast_column *c,
                                struct tl_type *out)
{
    if (c->type.type.kind == TL_DECIMAL128 && c->type.precision == 0)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", c->type.position,
                             "a NUMERIC column without precision and scale is not supported; "
                             "write NUMERIC(18,s)");
    if (c->type.type.kind == TL_DECIMAL128)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", c->type.position,
                             "a NUMERIC column of more than 18 digits is not supported");
    if (c->type.type.kind == TL_INTERVAL)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", c->type.position,
                             "an INTERVAL column is not supported");
    *out = c->type.type;
    return TL_OK;
}

static enum tl_code bind_defs(struct tl__binder *b, const struct tl_ast_statement *s)
{
    struct tl_plan *plan = b->plan;
    plan->table_name = tl__keep(b, s->table_name);
    plan->if_not_exists = s->if_not_exists;
    plan->def_count = s->column_count;
    plan->defs = tl_arena_calloc(b->arena, s->column_count ? s->column_count : 1,
                                 sizeof(*plan->defs), b->st);
    if (!plan->table_name || !plan->defs)
        return b->st->code;
    for (uint32_t i = 0; i < s->column_count; i++) {
        const struct tl_ast_column *c = &s->columns[i];
        enum tl_code rc = column_type(b, c, &plan->defs[i].type);
        if (rc)
            return rc;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(s->columns[j].name, c->name) == 0)
                return TL__BIND_FAIL(b, TL_INVALID, "42701", c->position,
                                     "column \"%s\" specified more than once", c->name);
        plan->defs[i].not_null = c->not_null;
        plan->defs[i].name = tl__keep(b, c->name);
        if (!plan->defs[i].name)
            return b->st->code;
    }
    return TL_OK;
}

/* merchant_id and ts are the sort key of every table. */
static enum tl_code require_column(struct tl__binder *b, const struct tl_ast_statement *s,
                                   const char *name, enum tl_kind kind, const char *words)
{
    for (uint32_t i = 0; i < s->column_count; i++) {
        const struct tl_ast_column *c = &s->columns[i];
        if (strcmp(c->name, name) != 0)
            continue;
        if (c->type.type.kind != kind || c->type.bits != 0 || !c->not_null)
            return TL__BIND_FAIL(b, TL_INVALID, "42P16", c->position, "column \"%s\" must be %s",
                                 name, words);
        return TL_OK;
    }
    return TL__BIND_FAIL(b, TL_INVALID, "42P16", s->table_position,
                         "table \"%s\" needs a column \"%s\" %s", s->table_name, name, words);
}

static enum tl_code bind_create(struct tl__binder *b, const struct tl_ast_statement *s)
{
    enum tl_code rc = bind_defs(b, s);
    b->plan->partition_rows = s->partition_rows;
    if (!rc)
        rc = require_column(b, s, "merchant_id", TL_BIGINT, "BIGINT NOT NULL");
    if (!rc)
        rc = require_column(b, s, "ts", TL_TIMESTAMPTZ, "TIMESTAMPTZ NOT NULL");
    return rc;
}

static enum tl_code bind_set_options(struct tl__binder *b, const struct tl_ast_statement *s)
{
    const struct tl_table_info *table = b->catalog->vtab->table(b->catalog, NULL, s->table_name);
    if (!table)
        return TL__BIND_FAIL(b, TL_NOT_FOUND, "42P01", s->table_position,
                             "relation \"%s\" does not exist", s->table_name);
    if (table->materialized_view)
        return TL__BIND_FAIL(b, TL_INVALID, "42809", s->table_position,
                             "\"%s\" is a materialized view: it is partitioned as its table is",
                             s->table_name);
    b->plan->table_name = tl__keep(b, s->table_name);
    b->plan->partition_rows = s->partition_rows;
    return b->plan->table_name ? TL_OK : b->st->code;
}

static enum tl_code bind_add_column(struct tl__binder *b, const struct tl_ast_statement *s)
{
    const struct tl_table_info *table = b->catalog->vtab->table(b->catalog, NULL, s->table_name);
    const struct tl_ast_column *c = &s->columns[0];
    if (!table)
        return TL__BIND_FAIL(b, TL_NOT_FOUND, "42P01", s->table_position,
                             "relation \"%s\" does not exist", s->table_name);
    if (c->not_null)
        return TL__BIND_FAIL(b, TL_UNSUPPORTED, "0A000", c->position,
                             "ADD COLUMN … NOT NULL is not supported: rows from before have NULL");
    if (table->materialized_view)
        return TL__BIND_FAIL(b, TL_INVALID, "42809", s->table_position,
                             "\"%s\" is a materialized view: it is dropped and made anew",
                             s->table_name);
    for (uint32_t i = 0; !s->if_not_exists && i < table->column_count; i++)
        if (strcmp(table->columns[i].name, c->name) == 0)
            return TL__BIND_FAIL(b, TL_EXISTS, "42701", c->position,
                                 "column \"%s\" of relation \"%s\" already exists", c->name,
                                 s->table_name);
    return bind_defs(b, s);
}

/* DROP and REFRESH. */
static enum tl_code bind_existing_view(struct tl__binder *b, const struct tl_ast_statement *s)
{
    const struct tl_table_info *table = b->catalog->vtab->table(b->catalog, NULL, s->table_name);
    if (!table && !s->if_exists)
        return TL__BIND_FAIL(b, TL_NOT_FOUND, "42P01", s->table_position,
                             "materialized view \"%s\" does not exist", s->table_name);
    if (table && !table->materialized_view)
        return TL__BIND_FAIL(b, TL_INVALID, "42809", s->table_position,
                             "\"%s\" is not a materialized view", s->table_name);
    b->plan->table_name = tl__keep(b, s->table_name);
    b->plan->if_exists = s->if_exists;
    return b->plan->table_name ? TL_OK : b->st->code;
}

/* ---- queries ---- */

/* Parameters that nothing has typed are text; references made before the type was known get it. */
static void close_params(struct tl__binder *b)
{
    struct tl_type *types = b->plan->param_types;
    for (uint32_t i = 0; i < b->plan->param_count; i++)
        if (types[i].kind == TL_NULL)
            types[i] = tl_type_of(TL_TEXT);
    for (struct tl__param_ref *r = b->params; r; r = r->next)
        if (tl__is_open(r->expr))
            r->expr->type = types[r->expr->index];
}

static enum tl_code one_text_output(struct tl__binder *b, const char *name)
{
    struct tl_plan *plan = b->plan;
    plan->outputs = tl_arena_calloc(b->arena, 1, sizeof(*plan->outputs), b->st);
    if (!plan->outputs)
        return b->st->code;
    plan->output_count = 1;
    plan->outputs[0] = (struct tl_output_column){name, tl_type_of(TL_TEXT)};
    return TL_OK;
}

/* OIDs of types like regclass go out as the names that they have. */
static enum tl_code name_outputs(struct tl__binder *b)
{
    struct tl_plan *plan = b->plan;
    bool any = false;
    for (uint32_t i = 0; i < plan->output_count; i++)
        any = any || (plan->outputs[i].type.kind == TL_BIGINT &&
                      tl_flavour_is_reg(plan->outputs[i].type.flavour));
    if (!any)
        return TL_OK;
    struct tl_plan_node *project = tl__node_new(b, TL_NODE_PROJECT, plan->root);
    if (!project || tl__set_types(b, project, plan->output_count))
        return b->st->code;
    project->exprs = tl_arena_calloc(b->arena, plan->output_count, sizeof(struct tl_expr *), b->st);
    if (!project->exprs)
        return b->st->code;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct tl_type type = plan->outputs[i].type;
        struct tl_expr *e = tl__expr_new(b, TL_EXPR_COLUMN, type, 0, 0);
        if (!e)
            return b->st->code;
        e->index = i;
        if (type.kind == TL_BIGINT && tl_flavour_is_reg(type.flavour)) {
            if (tl__coerce(b, &e, tl_type_of(TL_TEXT), NULL))
                return b->st->code;
            e->type = plan->outputs[i].type = tl_type_flavoured(TL_TEXT, type.flavour);
        }
        project->exprs[i] = e;
        project->types[i] = e->type;
    }
    plan->root = project;
    return TL_OK;
}

static enum tl_code bind_query(struct tl__binder *b, const struct tl_ast_statement *s)
{
    struct tl__select_result result = {0};
    enum tl_code rc = tl__select(b, s->select, true, &result);
    if (rc)
        return rc;
    b->plan->root = result.node;
    b->plan->output_count = result.output_count;
    b->plan->outputs = result.outputs;
    rc = name_outputs(b);
    if (rc)
        return rc;
    b->plan->analyze = s->analyze;
    return s->kind == TL_STMT_EXPLAIN ? one_text_output(b, "QUERY PLAN") : TL_OK;
}

static enum tl_code init_params(struct tl__binder *b, const struct tl_plan_options *o,
                                uint32_t used)
{
    uint32_t count = o->param_count > used ? o->param_count : used;
    if (count > TL_SQL_PARAMS_MAX)
        return TL__BIND_FAIL(b, TL_LIMIT, "54000", 0, "a statement can have at most %d parameters",
                             TL_SQL_PARAMS_MAX);
    struct tl_type *types = tl_arena_calloc(b->arena, count ? count : 1, sizeof(*types), b->st);
    if (!types)
        return b->st->code;
    for (uint32_t i = 0; i < o->param_count; i++) {
        if (o->param_types[i].kind == TL_PROPS || o->param_types[i].kind >= TL_KIND_COUNT)
            return TL__BIND_FAIL(b, TL_INVALID, "42P18", 0,
                                 "parameter $%u has a type that a parameter cannot have", i + 1);
        types[i] = o->param_types[i];
    }
    b->plan->param_count = count;
    b->plan->param_types = types;
    return TL_OK;
}

static enum tl_code bind_statement(struct tl__binder *b, const struct tl_ast_statement *s)
{
    b->plan->kind = s->kind;
    switch ((enum tl_statement_kind)s->kind) {
    case TL_STMT_SELECT:
    case TL_STMT_EXPLAIN:
        return bind_query(b, s);
    case TL_STMT_CREATE_TABLE:
        return bind_create(b, s);
    case TL_STMT_ADD_COLUMN:
        return bind_add_column(b, s);
    case TL_STMT_SET_OPTIONS:
        return bind_set_options(b, s);
    case TL_STMT_CREATE_ROLLUP:
        return tl__bind_rollup(b, s);
    case TL_STMT_DROP_VIEW:
    case TL_STMT_REFRESH_VIEW:
        return bind_existing_view(b, s);
    case TL_STMT_SHOW_TABLES:
        return one_text_output(b, "table_name");
    }
    tl_assert(false);
    return TL_INVALID;
}

enum tl_code tl_plan_new(const struct tl_catalog *catalog, struct tl_slice sql,
                         const struct tl_plan_options *options, struct tl_plan **out,
                         struct tl_status *st)
{
    static const struct tl_plan_options defaults;
    const struct tl_plan_options *o = options ? options : &defaults;
    struct tl_plan *plan = calloc(1, sizeof(*plan));
    if (!plan)
        return TL_FAIL(st, TL_LIMIT, "no memory for a plan");
    struct tl_arena scratch;
    tl_arena_init(&plan->arena, NULL, PLAN_CHUNK_BYTES);
    tl_arena_init(&scratch, NULL, SCRATCH_CHUNK_BYTES);
    plan->catalog_version = catalog->version;
    plan->catalog = catalog;

    struct tl__binder b = {
        .catalog = catalog, .plan = plan, .arena = &plan->arena, .scratch = &scratch, .st = st};
    struct tl_ast_statement statement;
    const char *zone = o->time_zone ? o->time_zone : "UTC";
    b.fold = (struct tl_eval_context){.arena = &scratch, .zone_name = zone, .catalog = catalog};
    enum tl_code rc = tl_zone_get_session(tl_slice_str(zone), &b.fold.zone, st);
    if (!rc)
        rc = tl_sql_parse(sql, o->sql_bytes_max, &scratch, &statement, st);
    if (!rc)
        rc = init_params(&b, o, statement.param_max);
    if (!rc)
        rc = bind_statement(&b, &statement);
    if (!rc)
        close_params(&b);
    tl_arena_deinit(&scratch);
    if (rc) {
        tl_plan_free(plan);
        return rc;
    }
    *out = plan;
    return TL_OK;
}

void tl_plan_free(struct tl_plan *plan)
{
    if (!plan)
        return;
    tl_arena_deinit(&plan->arena);
    free(plan);
}
