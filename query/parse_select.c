/*
 * query/parse_select.c: SELECT, VALUES and set operations -> our tree; FROM, WITH, windows.
 *
 * Recursion goes along subqueries (TL_SQL_SUBQUERIES_MAX), and along joins and set operations,
 * which count for the depth of expressions.
 */
#include "query/parse_int.h"

static enum tl_code conv_from(struct conv *c, const Node *n, struct tl_ast_from **out);

/* The location of the first target: the nearest known place of a construct without its own. */
static int select_location(const SelectStmt *s)
{
    for (uint32_t i = 0; s->op != SETOP_NONE && s->larg && i < TL_SQL_DEPTH_MAX; i++)
        s = s->larg;
    if (LIST_COUNT(s->targetList) > 0)
        return ((const ResTarget *)LIST_AT(s->targetList, 0))->location;
    return -1;
}

static enum tl_code too_deep(struct conv *c, const char *what)
{
    return FAIL_AT(c, TL_LIMIT, "54001", 0, "%s are nested more than %d deep", what,
                   TL_SQL_DEPTH_MAX);
}

static enum tl_code conv_strings(struct conv *c, const List *list, uint32_t *count,
                                 const char ***out)
{
    uint32_t n = LIST_COUNT(list);
    const char **names = tl_arena_calloc(c->arena, n ? n : 1, sizeof(*names), c->st);
    if (!names)
        return c->st->code;
    for (uint32_t i = 0; i < n; i++) {
        names[i] = tl__copy_string(c, strVal(LIST_AT(list, i)));
        if (!names[i])
            return c->st->code;
    }
    *count = n;
    *out = names;
    return TL_OK;
}

/* ---- FROM ---- */

static enum tl_code conv_alias(struct conv *c, const Alias *a, struct tl_ast_from *out)
{
    if (!a)
        return TL_OK;
    out->alias = tl__copy_string(c, a->aliasname);
    if (!out->alias)
        return c->st->code;
    return conv_strings(c, a->colnames, &out->column_alias_count, &out->column_aliases);
}

enum tl_code tl__conv_relation(struct conv *c, const RangeVar *r, const char **schema,
                               const char **name, int32_t *position)
{
    *position = tl__position_of(c, r->location);
    if (r->catalogname)
        return REFUSE(c, *position, "a database name before a table");
    if (r->schemaname && !schema && strcmp(r->schemaname, "public") != 0)
        return FAIL_AT(c, TL_NOT_FOUND, "42P01", *position, "relation \"%s.%s\" does not exist",
                       r->schemaname, r->relname);
    if (r->relpersistence != 'p')
        return REFUSE(c, *position, "a temporary or unlogged table");
    if (schema && r->schemaname && !(*schema = tl__copy_string(c, r->schemaname)))
        return c->st->code;
    *name = tl__copy_string(c, r->relname);
    return *name ? TL_OK : c->st->code;
}

static int32_t from_item_position(const struct conv *c, const Node *n)
{
    for (uint32_t i = 0; n && i < TL_SQL_DEPTH_MAX; i++) {
        switch (nodeTag(n)) {
        case T_RangeVar:
            return tl__position_of(c, ((const RangeVar *)n)->location);
        case T_RangeSubselect: {
            const SelectStmt *s = (const SelectStmt *)((const RangeSubselect *)n)->subquery;
            return tl__position_of(c, select_location(s));
        }
        case T_JoinExpr:
            n = ((const JoinExpr *)n)->rarg;
            continue;
        case T_RangeTableSample:
            return tl__position_of(c, ((const RangeTableSample *)n)->location);
        default:
            return 0;
        }
    }
    return 0;
}

static enum tl_code conv_join(struct conv *c, const JoinExpr *j, struct tl_ast_from *out)
{
    static const uint8_t kinds[] = {[JOIN_INNER] = TL_AST_JOIN_INNER,
                                    [JOIN_LEFT] = TL_AST_JOIN_LEFT,
                                    [JOIN_FULL] = TL_AST_JOIN_FULL,
                                    [JOIN_RIGHT] = TL_AST_JOIN_RIGHT};
    if (j->alias || j->join_using_alias)
        return REFUSE(c, out->position, "an alias of a join");
    out->kind = TL_FROM_JOIN;
    out->join = kinds[j->jointype];
    out->natural = j->isNatural;
    enum tl_code rc = conv_strings(c, j->usingClause, &out->using_count, &out->using_names);
    if (!rc)
        rc = conv_from(c, j->larg, &out->left);
    if (!rc)
        rc = conv_from(c, j->rarg, &out->right);
    if (!rc && j->quals)
        rc = tl__conv_expr(c, j->quals, &out->on);
    return rc;
}

/* FROM f(…): the list holds a list of the call and its column definitions. */
static enum tl_code conv_function(struct conv *c, const RangeFunction *f, struct tl_ast_from *out)
{
    out->kind = TL_FROM_FUNCTION;
    const List *first = LIST_AT(f->functions, 0);
    const Node *call = LIST_AT(first, 0);
    out->position = nodeTag(call) == T_FuncCall
                        ? tl__position_of(c, ((const FuncCall *)call)->location)
                        : tl__keyword_position(c, "from", 0);
    if (f->is_rowsfrom && LIST_COUNT(f->functions) > 1)
        return REFUSE(c, out->position, "ROWS FROM");
    if (f->coldeflist || LIST_AT(first, 1) != NULL)
        return REFUSE(c, out->position, "a list of column definitions");
    if (nodeTag(call) != T_FuncCall)
        return REFUSE(c, out->position, "this function in FROM");
    out->lateral = true; /* arguments of a function always see what stands before it */
    out->ordinality = f->ordinality;
    enum tl_code rc = tl__conv_expr(c, call, &out->call);
    return rc ? rc : conv_alias(c, f->alias, out);
}

static enum tl_code conv_from_node(struct conv *c, const Node *n, struct tl_ast_from *out)
{
    out->position = from_item_position(c, n);
    switch (nodeTag(n)) {
    case T_RangeVar: {
        const RangeVar *r = (const RangeVar *)n;
        out->kind = TL_FROM_TABLE;
        enum tl_code rc = tl__conv_relation(c, r, &out->schema, &out->table_name, &out->position);
        if (!rc && !r->inh)
            return REFUSE(c, out->position, "FROM ONLY");
        return rc ? rc : conv_alias(c, r->alias, out);
    }
    case T_RangeSubselect: {
        const RangeSubselect *r = (const RangeSubselect *)n;
        out->kind = TL_FROM_SUBQUERY;
        out->lateral = r->lateral;
        if (!r->alias)
            return FAIL_AT(c, TL_INVALID, "42601", out->position,
                           "subquery in FROM must have an alias");
        enum tl_code rc = conv_alias(c, r->alias, out);
        return rc ? rc : tl__conv_select(c, (const SelectStmt *)r->subquery, &out->subquery);
    }
    case T_JoinExpr:
        return conv_join(c, (const JoinExpr *)n, out);
    case T_RangeFunction:
        return conv_function(c, (const RangeFunction *)n, out);
    case T_RangeTableSample:
        return REFUSE(c, out->position, "TABLESAMPLE");
    default:
        return REFUSE(c, tl__keyword_position(c, "from", 0), "this form of FROM");
    }
}

static enum tl_code conv_from(struct conv *c, const Node *n, struct tl_ast_from **out)
{
    *out = tl_arena_calloc(c->arena, 1, sizeof(**out), c->st);
    if (!*out)
        return c->st->code;
    if (c->depth >= TL_SQL_DEPTH_MAX)
        return too_deep(c, "joins");
    c->depth++;
    enum tl_code rc = conv_from_node(c, n, *out);
    c->depth--;
    return rc;
}

static enum tl_code conv_from_list(struct conv *c, const SelectStmt *s, struct tl_ast_select *out)
{
    uint32_t count = LIST_COUNT(s->fromClause);
    if (count > TL_SQL_RELATIONS_MAX)
        return FAIL_AT(c, TL_LIMIT, "54001", 0, "FROM names more than %d tables",
                       TL_SQL_RELATIONS_MAX);
    out->from = tl_arena_calloc(c->arena, count ? count : 1, sizeof(struct tl_ast_from *), c->st);
    if (!out->from)
        return c->st->code;
    out->from_count = count;
    for (uint32_t i = 0; i < count; i++) {
        enum tl_code rc = conv_from(c, LIST_AT(s->fromClause, i), &out->from[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* ---- windows ---- */

static enum tl_code conv_frame(struct conv *c, const WindowDef *w, struct tl_ast_window *out)
{
    int f = w->frameOptions;
    out->framed = f & FRAMEOPTION_NONDEFAULT;
    out->mode = f & FRAMEOPTION_ROWS     ? TL_FRAME_ROWS
                : f & FRAMEOPTION_GROUPS ? TL_FRAME_GROUPS
                                         : TL_FRAME_RANGE;
    out->start = f & FRAMEOPTION_START_OFFSET_PRECEDING   ? TL_FRAME_PRECEDING
                 : f & FRAMEOPTION_START_CURRENT_ROW      ? TL_FRAME_CURRENT_ROW
                 : f & FRAMEOPTION_START_OFFSET_FOLLOWING ? TL_FRAME_FOLLOWING
                                                          : TL_FRAME_UNBOUNDED_PRECEDING;
    out->end = f & FRAMEOPTION_END_OFFSET_PRECEDING      ? TL_FRAME_PRECEDING
               : f & FRAMEOPTION_END_OFFSET_FOLLOWING    ? TL_FRAME_FOLLOWING
               : f & FRAMEOPTION_END_UNBOUNDED_FOLLOWING ? TL_FRAME_UNBOUNDED_FOLLOWING
                                                         : TL_FRAME_CURRENT_ROW;
    out->exclude = f & FRAMEOPTION_EXCLUDE_CURRENT_ROW ? TL_FRAME_EXCLUDE_CURRENT_ROW
                   : f & FRAMEOPTION_EXCLUDE_GROUP     ? TL_FRAME_EXCLUDE_GROUP
                   : f & FRAMEOPTION_EXCLUDE_TIES      ? TL_FRAME_EXCLUDE_TIES
                                                       : TL_FRAME_EXCLUDE_NONE;
    enum tl_code rc = TL_OK;
    if (w->startOffset)
        rc = tl__conv_expr(c, w->startOffset, &out->start_offset);
    if (!rc && w->endOffset)
        rc = tl__conv_expr(c, w->endOffset, &out->end_offset);
    return rc;
}

enum tl_code tl__conv_window(struct conv *c, const WindowDef *w, struct tl_ast_window **out)
{
    struct tl_ast_window *window = tl_arena_calloc(c->arena, 1, sizeof(*window), c->st);
    if (!window)
        return c->st->code;
    *out = window;
    window->position = tl__position_of(c, w->location);
    if ((w->name && !(window->name = tl__copy_string(c, w->name))) ||
        (w->refname && !(window->base = tl__copy_string(c, w->refname))))
        return c->st->code;
    enum tl_code rc =
        tl__conv_list(c, w->partitionClause, &window->partition_count, &window->partition);
    if (!rc)
        rc = tl__conv_order(c, w->orderClause, &window->order_count, &window->order);
    return rc ? rc : conv_frame(c, w, window);
}

static enum tl_code conv_windows(struct conv *c, const SelectStmt *s, struct tl_ast_select *out)
{
    uint32_t count = LIST_COUNT(s->windowClause);
    out->windows =
        tl_arena_calloc(c->arena, count ? count : 1, sizeof(struct tl_ast_window *), c->st);
    if (!out->windows)
        return c->st->code;
    out->window_count = count;
    for (uint32_t i = 0; i < count; i++) {
        enum tl_code rc = tl__conv_window(c, LIST_AT(s->windowClause, i), &out->windows[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* ---- the parts of a SELECT ---- */

static enum tl_code conv_targets(struct conv *c, const SelectStmt *s, struct tl_ast_select *out)
{
    uint32_t count = LIST_COUNT(s->targetList);
    if (count == 0)
        return REFUSE(c, tl__keyword_position(c, "select", 0), "SELECT without columns");
    if (count > TL_SQL_TARGETS_MAX)
        return FAIL_AT(c, TL_LIMIT, "54011", 0, "target lists can have at most %d entries",
                       TL_SQL_TARGETS_MAX);
    out->targets = tl_arena_calloc(c->arena, count, sizeof(*out->targets), c->st);
    if (!out->targets)
        return c->st->code;
    out->target_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const ResTarget *t = LIST_AT(s->targetList, i);
        if (t->name && !(out->targets[i].alias = tl__copy_string(c, t->name)))
            return c->st->code;
        enum tl_code rc = tl__conv_expr(c, t->val, &out->targets[i].expr);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* What stands in a SELECT that we do not do. */
static enum tl_code refuse_clauses(struct conv *c, const SelectStmt *s)
{
    int from = select_location(s);
    if (s->intoClause)
        return REFUSE(c, tl__keyword_position(c, "into", from), "SELECT INTO");
    if (s->lockingClause)
        return REFUSE(c, tl__keyword_position(c, "for", from), "FOR UPDATE or FOR SHARE");
    if ((int)s->limitOption == LIB_LIMIT_WITH_TIES)
        return REFUSE(c, tl__keyword_position(c, "ties", from), "FETCH FIRST … WITH TIES");
    return TL_OK;
}

static enum tl_code conv_distinct(struct conv *c, const SelectStmt *s, struct tl_ast_select *out)
{
    if (!s->distinctClause)
        return TL_OK;
    out->distinct = true;
    out->distinct_position = tl__keyword_position(c, "distinct", 0);
    if (LIST_AT(s->distinctClause, 0) == NULL)
        return TL_OK;
    return tl__conv_list(c, s->distinctClause, &out->distinct_on_count, &out->distinct_on);
}

static enum tl_code conv_optional(struct conv *c, const void *node, struct tl_ast **out)
{
    return node ? tl__conv_expr(c, node, out) : TL_OK;
}

static enum tl_code conv_ctes(struct conv *c, const WithClause *w, struct tl_ast_select *out)
{
    uint32_t count = LIST_COUNT(w->ctes);
    out->ctes = tl_arena_calloc(c->arena, count ? count : 1, sizeof(*out->ctes), c->st);
    if (!out->ctes)
        return c->st->code;
    out->recursive = w->recursive;
    out->cte_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const CommonTableExpr *e = LIST_AT(w->ctes, i);
        struct tl_ast_cte *cte = &out->ctes[i];
        cte->position = tl__position_of(c, e->location);
        cte->materialize = e->ctematerialized == CTEMaterializeAlways  ? TL_CTE_ALWAYS
                           : e->ctematerialized == CTEMaterializeNever ? TL_CTE_NEVER
                                                                       : TL_CTE_DEFAULT;
        if (e->search_clause || e->cycle_clause)
            return REFUSE(c, cte->position, "SEARCH or CYCLE");
        if (nodeTag(e->ctequery) != T_SelectStmt)
            return REFUSE(c, cte->position, "a statement other than SELECT in WITH");
        cte->name = tl__copy_string(c, e->ctename);
        if (!cte->name)
            return c->st->code;
        enum tl_code rc =
            conv_strings(c, e->aliascolnames, &cte->column_alias_count, &cte->column_aliases);
        if (!rc)
            rc = tl__conv_select(c, (const SelectStmt *)e->ctequery, &cte->select);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code conv_values(struct conv *c, const SelectStmt *s, struct tl_ast_select *out)
{
    uint32_t count = LIST_COUNT(s->valuesLists);
    if (count > TL_SQL_VALUES_MAX)
        return FAIL_AT(c, TL_LIMIT, "54000", 0, "VALUES has more than %d rows", TL_SQL_VALUES_MAX);
    out->value_rows = tl_arena_calloc(c->arena, count, sizeof(struct tl_ast **), c->st);
    if (!out->value_rows)
        return c->st->code;
    out->value_row_count = count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t width = 0;
        enum tl_code rc = tl__conv_list(c, LIST_AT(s->valuesLists, i), &width, &out->value_rows[i]);
        if (rc)
            return rc;
        if (i == 0)
            out->value_column_count = width;
        if (width != out->value_column_count)
            return FAIL_AT(c, TL_INVALID, "42601", width ? out->value_rows[i][0]->position : 0,
                           "VALUES lists must all be the same length");
    }
    out->position = out->value_rows[0][0]->position;
    return TL_OK;
}

static enum tl_code conv_leaf(struct conv *c, const SelectStmt *s, struct tl_ast_select *out)
{
    if (s->valuesLists)
        return conv_values(c, s, out);
    enum tl_code rc = conv_distinct(c, s, out);
    if (!rc)
        rc = conv_targets(c, s, out);
    if (!rc)
        rc = conv_from_list(c, s, out);
    if (!rc)
        rc = conv_optional(c, s->whereClause, &out->where);
    if (!rc)
        rc = tl__conv_list(c, s->groupClause, &out->group_count, &out->group);
    out->group_distinct = s->groupDistinct;
    if (!rc)
        rc = conv_optional(c, s->havingClause, &out->having);
    return rc ? rc : conv_windows(c, s, out);
}

static enum tl_code conv_body(struct conv *c, const SelectStmt *s, struct tl_ast_select *out)
{
    enum tl_code rc = refuse_clauses(c, s);
    out->position = tl__position_of(c, select_location(s));
    if (!rc && s->withClause)
        rc = conv_ctes(c, s->withClause, out);
    if (rc)
        return rc;
    if (s->op == SETOP_NONE) {
        rc = conv_leaf(c, s, out);
    } else {
        out->set_op = s->op == SETOP_UNION       ? TL_SET_UNION
                      : s->op == SETOP_INTERSECT ? TL_SET_INTERSECT
                                                 : TL_SET_EXCEPT;
        out->set_all = s->all;
        if (c->depth >= TL_SQL_DEPTH_MAX)
            return too_deep(c, "set operations");
        /* Not a level of subqueries: a UNION of many is a chain to the left. */
        c->depth++;
        out->left = tl_arena_calloc(c->arena, 1, sizeof(*out->left), c->st);
        out->right = tl_arena_calloc(c->arena, 1, sizeof(*out->right), c->st);
        if (!out->left || !out->right)
            return c->st->code;
        rc = conv_body(c, s->larg, out->left);
        if (!rc)
            rc = conv_body(c, s->rarg, out->right);
        c->depth--;
    }
    if (!rc)
        rc = tl__conv_order(c, s->sortClause, &out->order_count, &out->order);
    if (!rc)
        rc = conv_optional(c, s->limitCount, &out->limit);
    if (!rc)
        rc = conv_optional(c, s->limitOffset, &out->offset);
    return rc;
}

enum tl_code tl__conv_select(struct conv *c, const SelectStmt *s, struct tl_ast_select **out)
{
    if (nodeTag(s) != T_SelectStmt)
        return REFUSE(c, 0, "this kind of subquery");
    struct tl_ast_select *select = tl_arena_calloc(c->arena, 1, sizeof(*select), c->st);
    if (!select)
        return c->st->code;
    if (c->selects >= TL_SQL_SUBQUERIES_MAX)
        return FAIL_AT(c, TL_LIMIT, "54001", tl__position_of(c, select_location(s)),
                       "subqueries are nested more than %d deep", TL_SQL_SUBQUERIES_MAX);
    c->selects++;
    enum tl_code rc = conv_body(c, s, select);
    c->selects--;
    *out = select;
    return rc;
}
