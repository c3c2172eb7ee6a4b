/*
 * query/parse.c: PostgreSQL's parse tree -> ours: statements. The parser's files alone see
 * PostgreSQL's headers.
 *
 * pg_query_raw_parse hands out the grammar's own nodes, ten times cheaper than the same tree
 * through protobuf. Of the library only pg_query_* can be linked (its other symbols are made
 * local, see cmake/pg_query.cmake), so nodes are walked by their struct definitions and macros
 * alone, and no function of PostgreSQL's is called on them. The headers come from the server's
 * development package of the same major version; tests/unit/query/test_parse.c passes one of each
 * node through here, so that a tag or a field that moved would be seen.
 *
 * One enumeration is known to differ: libpg_query puts LIMIT_OPTION_DEFAULT first.
 */
#include "query/parse.h"

#include "query/parse_int.h"

/* From pg_query.h, which cannot be included beside postgres.h (both say PG_VERSION). */
struct pg_error {
    char *message;
    char *funcname;
    char *filename;
    int lineno;
    int cursorpos;
    char *context;
};
struct pg_raw_tree {
    List *tree;
    char *stderr_buffer;
    struct pg_error *error;
};
struct pg_raw_tree pg_query_raw_parse(const char *input);
MemoryContext pg_query_enter_memory_context(void);
void pg_query_exit_memory_context(MemoryContext ctx);
void pg_query_free_error(struct pg_error *error);

/* ---- the other statements ---- */

static enum tl_code conv_explain(struct conv *c, const ExplainStmt *s, struct tl_ast_statement *out)
{
    out->kind = TL_STMT_EXPLAIN;
    for (uint32_t i = 0; i < LIST_COUNT(s->options); i++) {
        const DefElem *d = LIST_AT(s->options, i);
        int32_t at = tl__position_of(c, d->location);
        if (strcmp(d->defname, "analyze") != 0)
            return FAIL_AT(c, TL_UNSUPPORTED, "0A000", at, "EXPLAIN option %s is not supported",
                           d->defname);
        out->analyze = true;
        if (!d->arg)
            continue;
        const char *word = nodeTag(d->arg) == T_String ? strVal(d->arg) : NULL;
        if ((nodeTag(d->arg) == T_Integer && intVal(d->arg) == 0) ||
            (word && (strcmp(word, "false") == 0 || strcmp(word, "off") == 0)))
            out->analyze = false;
        else if (!(nodeTag(d->arg) == T_Integer && intVal(d->arg) == 1) &&
                 !(word && (strcmp(word, "true") == 0 || strcmp(word, "on") == 0)))
            return FAIL_AT(c, TL_INVALID, "22023", at, "analyze requires a Boolean value");
    }
    if (nodeTag(s->query) != T_SelectStmt)
        return REFUSE(c, tl__first_token_position(c, 0), "EXPLAIN of anything but SELECT");
    return tl__conv_select(c, (const SelectStmt *)s->query, &out->select);
}

static enum tl_code conv_column_def(struct conv *c, const ColumnDef *d, struct tl_ast_column *out)
{
    out->position = tl__position_of(c, d->location);
    if (d->compression || d->raw_default || d->identity || d->identitySequence || d->generated ||
        d->fdwoptions || d->storage)
        return REFUSE(c, out->position, "this property of a column");
    if (d->collClause)
        return REFUSE(c, tl__position_of(c, d->collClause->location), "COLLATE");
    out->name = tl__copy_string(c, d->colname);
    if (!out->name)
        return c->st->code;
    bool said_null = false;
    for (uint32_t i = 0; i < LIST_COUNT(d->constraints); i++) {
        const Constraint *k = LIST_AT(d->constraints, i);
        if (k->contype != CONSTR_NOTNULL && k->contype != CONSTR_NULL)
            return REFUSE(c, tl__position_of(c, k->location),
                          "a column constraint or default other than NOT NULL");
        out->not_null = out->not_null || k->contype == CONSTR_NOTNULL;
        said_null = said_null || k->contype == CONSTR_NULL;
        if (out->not_null && said_null)
            return FAIL_AT(c, TL_INVALID, "42601", tl__position_of(c, k->location),
                           "conflicting NULL/NOT NULL declarations for column \"%s\"", out->name);
    }
    if (!d->typeName)
        return REFUSE(c, out->position, "a column without a type");
    return tl__conv_type(c, d->typeName, &out->type);
}

/* WITH (tally.partition_rows = N), SET (…) and RESET (…): a table has no other option. */
static enum tl_code conv_table_options(struct conv *c, const List *options, bool reset,
                                       struct tl_ast_statement *out)
{
    for (uint32_t i = 0; i < LIST_COUNT(options); i++) {
        const DefElem *d = LIST_AT(options, i);
        int32_t at = tl__position_of(c, d->location);
        if (!d->defnamespace || strcmp(d->defnamespace, "tally") != 0 ||
            strcmp(d->defname, "partition_rows") != 0)
            return FAIL_AT(c, TL_INVALID, "22023", at,
                           "the only option of a table is tally.partition_rows");
        if (i > 0)
            return FAIL_AT(c, TL_INVALID, "22023", at, "parameter \"%s\" specified more than once",
                           d->defname);
        if (reset)
            continue;
        if (!d->arg || nodeTag(d->arg) != T_Integer || intVal(d->arg) < 1 ||
            intVal(d->arg) > TL_PARTITION_ROWS_MAX)
            return FAIL_AT(c, TL_INVALID, "22023", at,
                           "tally.partition_rows must be a number from 1 to %d",
                           TL_PARTITION_ROWS_MAX);
        out->partition_rows = (uint32_t)intVal(d->arg);
    }
    return TL_OK;
}

static enum tl_code conv_create(struct conv *c, const CreateStmt *s, struct tl_ast_statement *out)
{
    out->kind = TL_STMT_CREATE_TABLE;
    enum tl_code rc =
        tl__conv_relation(c, s->relation, NULL, &out->table_name, &out->table_position);
    if (rc)
        return rc;
    if (s->inhRelations)
        return REFUSE(c, tl__keyword_position(c, "inherits", 0), "INHERITS");
    if (s->partbound || s->partspec)
        return REFUSE(c, tl__keyword_position(c, "partition", 0), "PARTITION");
    if (s->ofTypename)
        return REFUSE(c, tl__keyword_position(c, "of", 0), "CREATE TABLE OF");
    rc = conv_table_options(c, s->options, false, out);
    if (rc)
        return rc;
    if (s->oncommit != ONCOMMIT_NOOP || s->tablespacename || s->accessMethod || s->constraints)
        return REFUSE(c, out->table_position, "this option of CREATE TABLE");
    out->if_not_exists = s->if_not_exists;
    out->column_count = LIST_COUNT(s->tableElts);
    if (out->column_count > TL_SQL_TARGETS_MAX)
        return FAIL_AT(c, TL_LIMIT, "54011", 0, "tables can have at most %d columns",
                       TL_SQL_TARGETS_MAX);
    out->columns = tl_arena_calloc(c->arena, out->column_count ? out->column_count : 1,
                                   sizeof(*out->columns), c->st);
    if (!out->columns)
        return c->st->code;
    for (uint32_t i = 0; i < out->column_count; i++) {
        const Node *n = LIST_AT(s->tableElts, i);
        if (nodeTag(n) == T_Constraint)
            return REFUSE(c, tl__position_of(c, ((const Constraint *)n)->location),
                          "a table constraint");
        if (nodeTag(n) != T_ColumnDef)
            return REFUSE(c, tl__keyword_position(c, "like", 0), "CREATE TABLE (LIKE …)");
        rc = conv_column_def(c, (const ColumnDef *)n, &out->columns[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code conv_alter(struct conv *c, const AlterTableStmt *s,
                               struct tl_ast_statement *out)
{
    out->kind = TL_STMT_ADD_COLUMN;
    if (s->objtype != OBJECT_TABLE)
        return REFUSE(c, tl__first_token_position(c, 0), "ALTER of anything but a table");
    enum tl_code rc =
        tl__conv_relation(c, s->relation, NULL, &out->table_name, &out->table_position);
    if (rc)
        return rc;
    if (s->missing_ok)
        return REFUSE(c, tl__keyword_position(c, "if", 0), "ALTER TABLE IF EXISTS");
    if (!s->relation->inh)
        return REFUSE(c, out->table_position, "ALTER TABLE ONLY");
    const AlterTableCmd *cmd = LIST_AT(s->cmds, 0);
    if (LIST_COUNT(s->cmds) != 1)
        return REFUSE(c, out->table_position, "ALTER TABLE with more than one action");
    if (cmd->subtype == AT_SetRelOptions || cmd->subtype == AT_ResetRelOptions) {
        out->kind = TL_STMT_SET_OPTIONS;
        return conv_table_options(c, (const List *)cmd->def, cmd->subtype == AT_ResetRelOptions,
                                  out);
    }
    if (cmd->subtype != AT_AddColumn || !cmd->def || nodeTag(cmd->def) != T_ColumnDef)
        return REFUSE(c, out->table_position, "ALTER TABLE other than ADD COLUMN, SET and RESET");
    out->if_not_exists = cmd->missing_ok;
    out->column_count = 1;
    out->columns = tl_arena_calloc(c->arena, 1, sizeof(*out->columns), c->st);
    if (!out->columns)
        return c->st->code;
    return conv_column_def(c, (const ColumnDef *)cmd->def, &out->columns[0]);
}

/* CREATE MATERIALIZED VIEW name WITH (tally.rollup) AS SELECT …: a rollup is the only kind. */
static enum tl_code conv_create_view(struct conv *c, const CreateTableAsStmt *s, int32_t at,
                                     struct tl_ast_statement *out)
{
    const IntoClause *into = s->into;
    out->kind = TL_STMT_CREATE_ROLLUP;
    enum tl_code rc = tl__conv_relation(c, into->rel, NULL, &out->table_name, &out->table_position);
    if (rc)
        return rc;
    if (into->colNames)
        return REFUSE(c, out->table_position, "a list of column names of a materialized view");
    if (into->accessMethod || into->tableSpaceName || into->onCommit != ONCOMMIT_NOOP)
        return REFUSE(c, out->table_position, "this option of a materialized view");
    if (into->skipData)
        return REFUSE(c, tl__keyword_position(c, "no", 0), "WITH NO DATA");
    bool rollup = false;
    for (uint32_t i = 0; i < LIST_COUNT(into->options); i++) {
        const DefElem *d = LIST_AT(into->options, i);
        bool on = !d->arg || (nodeTag(d->arg) == T_String && strcmp(strVal(d->arg), "true") == 0);
        if (!d->defnamespace || strcmp(d->defnamespace, "tally") != 0 ||
            strcmp(d->defname, "rollup") != 0 || !on)
            return FAIL_AT(c, TL_INVALID, "22023", tl__position_of(c, d->location),
                           "the only option of a materialized view is tally.rollup");
        rollup = true;
    }
    if (!rollup)
        return FAIL_AT(c, TL_UNSUPPORTED, "0A000", at,
                       "a materialized view that is not a rollup is not supported; write CREATE "
                       "MATERIALIZED VIEW … WITH (tally.rollup) AS SELECT …");
    if (nodeTag(s->query) != T_SelectStmt)
        return REFUSE(c, at, "a materialized view of anything but SELECT");
    out->if_not_exists = s->if_not_exists;
    return tl__conv_select(c, (const SelectStmt *)s->query, &out->select);
}

static enum tl_code conv_drop(struct conv *c, const DropStmt *s, int32_t at,
                              struct tl_ast_statement *out)
{
    out->kind = TL_STMT_DROP_VIEW;
    if (s->removeType != OBJECT_MATVIEW)
        return REFUSE(c, at, "DROP of anything but a materialized view");
    if (s->behavior != DROP_RESTRICT)
        return REFUSE(c, tl__keyword_position(c, "cascade", 0), "CASCADE");
    if (LIST_COUNT(s->objects) != 1)
        return REFUSE(c, at, "DROP of several views at once");
    const List *names = LIST_AT(s->objects, 0);
    uint32_t count = LIST_COUNT(names);
    const char *name = strVal(LIST_AT(names, count - 1));
    if (count > 2 || (count == 2 && strcmp(strVal(LIST_AT(names, 0)), "public") != 0))
        return FAIL_AT(c, TL_NOT_FOUND, "42P01", at, "materialized view \"%s\" does not exist",
                       name);
    out->if_exists = s->missing_ok;
    out->table_position = tl__keyword_position(c, name, 0);
    out->table_name = tl__copy_string(c, name);
    return out->table_name ? TL_OK : c->st->code;
}

static enum tl_code conv_refresh(struct conv *c, const RefreshMatViewStmt *s,
                                 struct tl_ast_statement *out)
{
    const RangeVar *v = s->relation;
    out->kind = TL_STMT_REFRESH_VIEW;
    if (s->skipData)
        return REFUSE(c, tl__keyword_position(c, "no", 0), "WITH NO DATA");
    if (v->catalogname || (v->schemaname && strcmp(v->schemaname, "public") != 0))
        return FAIL_AT(c, TL_NOT_FOUND, "42P01", tl__position_of(c, v->location),
                       "materialized view \"%s\" does not exist", v->relname);
    out->table_position = tl__position_of(c, v->location);
    out->table_name = tl__copy_string(c, v->relname);
    return out->table_name ? TL_OK : c->st->code;
}

static const struct {
    int tag;
    const char *name;
} statement_names[] = {
    {T_InsertStmt, "INSERT"},
    {T_UpdateStmt, "UPDATE"},
    {T_DeleteStmt, "DELETE"},
    {T_MergeStmt, "MERGE"},
    {T_CopyStmt, "COPY"},
    {T_TransactionStmt, "a transaction statement"},
    {T_VariableSetStmt, "SET"},
    {T_TruncateStmt, "TRUNCATE"},
    {T_RenameStmt, "RENAME"},
    {T_IndexStmt, "CREATE INDEX"},
    {T_ViewStmt, "CREATE VIEW"},
    {T_CreateTableAsStmt, "CREATE TABLE AS"},
    {T_CreateSchemaStmt, "CREATE SCHEMA"},
    {T_CreatedbStmt, "CREATE DATABASE"},
    {T_CreateFunctionStmt, "CREATE FUNCTION"},
    {T_CreateRoleStmt, "CREATE ROLE"},
    {T_GrantStmt, "GRANT"},
    {T_PrepareStmt, "PREPARE"},
    {T_ExecuteStmt, "EXECUTE"},
    {T_DeallocateStmt, "DEALLOCATE"},
    {T_DeclareCursorStmt, "DECLARE"},
    {T_FetchStmt, "FETCH"},
    {T_ClosePortalStmt, "CLOSE"},
    {T_VacuumStmt, "VACUUM or ANALYZE"},
    {T_LockStmt, "LOCK"},
    {T_DoStmt, "DO"},
    {T_CallStmt, "CALL"},
    {T_ListenStmt, "LISTEN"},
    {T_NotifyStmt, "NOTIFY"},
    {T_CommentStmt, "COMMENT"},
};

static enum tl_code conv_statement(struct conv *c, const RawStmt *raw, struct tl_ast_statement *out)
{
    int32_t at = tl__first_token_position(c, raw->stmt_location);
    switch (nodeTag(raw->stmt)) {
    case T_SelectStmt:
        out->kind = TL_STMT_SELECT;
        return tl__conv_select(c, (const SelectStmt *)raw->stmt, &out->select);
    case T_ExplainStmt:
        return conv_explain(c, (const ExplainStmt *)raw->stmt, out);
    case T_CreateStmt:
        return conv_create(c, (const CreateStmt *)raw->stmt, out);
    case T_AlterTableStmt:
        return conv_alter(c, (const AlterTableStmt *)raw->stmt, out);
    case T_CreateTableAsStmt:
        if (((const CreateTableAsStmt *)raw->stmt)->objtype == OBJECT_MATVIEW)
            return conv_create_view(c, (const CreateTableAsStmt *)raw->stmt, at, out);
        break;
    case T_DropStmt:
        return conv_drop(c, (const DropStmt *)raw->stmt, at, out);
    case T_RefreshMatViewStmt:
        return conv_refresh(c, (const RefreshMatViewStmt *)raw->stmt, out);
    case T_VariableShowStmt: {
        const VariableShowStmt *s = (const VariableShowStmt *)raw->stmt;
        out->kind = TL_STMT_SHOW_TABLES;
        if (strcmp(s->name, "tables") == 0)
            return TL_OK;
        return FAIL_AT(c, TL_UNSUPPORTED, "0A000", at, "SHOW %s is not supported", s->name);
    }
    default:
        break;
    }
    for (size_t i = 0; i < sizeof(statement_names) / sizeof(statement_names[0]); i++)
        if ((int)nodeTag(raw->stmt) == statement_names[i].tag)
            return REFUSE(c, at, statement_names[i].name);
    return REFUSE(c, at, "this statement");
}

enum tl_code tl_sql_parse(struct tl_slice sql, size_t bytes_max, struct tl_arena *arena,
                          struct tl_ast_statement *out, struct tl_status *st)
{
    size_t limit = bytes_max ? bytes_max : TL_SQL_BYTES_MAX;
    if (limit > INT32_MAX / 2)
        limit = INT32_MAX / 2;
    if (sql.size > limit) {
        TL_FAIL(st, TL_LIMIT, "the statement has %zu bytes, the limit is %zu", sql.size, limit);
        return tl_status_sql(st, "54000", 0);
    }
    struct conv c = {.arena = arena, .st = st, .sql_size = sql.size};
    c.sql = tl_arena_copy(arena, sql.data ? (const void *)sql.data : "", sql.size, st);
    if (!c.sql)
        return st->code;
    enum tl_code rc = tl__check_text(&c);
    if (!rc)
        rc = tl__check_shape(&c);
    if (rc)
        return rc;

    struct tl_ast_statement statement = {0};
    MemoryContext ctx = pg_query_enter_memory_context();
    struct pg_raw_tree raw = pg_query_raw_parse(c.sql);
    if (raw.error) {
        rc = FAIL_AT(&c, TL_INVALID, "42601", raw.error->cursorpos > 0 ? raw.error->cursorpos : 0,
                     "%s", raw.error->message ? raw.error->message : "syntax error");
        pg_query_free_error(raw.error);
    } else if (LIST_COUNT(raw.tree) == 0) {
        rc = FAIL_AT(&c, TL_INVALID, "42601", 0, "the statement is empty");
    } else if (LIST_COUNT(raw.tree) > 1) {
        const RawStmt *second = LIST_AT(raw.tree, 1);
        rc = FAIL_AT(&c, TL_INVALID, "42601", tl__first_token_position(&c, second->stmt_location),
                     "only one statement is allowed");
    } else {
        rc = conv_statement(&c, LIST_AT(raw.tree, 0), &statement);
    }
    free(raw.stderr_buffer);
    pg_query_exit_memory_context(ctx);
    if (rc)
        return rc;
    statement.param_max = c.param_max;
    *out = statement;
    return TL_OK;
}
