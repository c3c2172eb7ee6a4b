/*
 * query/bind_int.h: what the files of the front share (bind*.c, select.c, plan*.c).
 *
 *   bind_type.c   types: which overload, which casts; literals; folding of constants
 *   bind.c        one expression of the parser's tree -> one typed expression
 *   bind_from.c   FROM: relations, the names they bring, joins
 *   bind_series.c functions of several rows in a select list
 *   bind_query.c  subqueries: WITH, VALUES, UNION …, and those within expressions
 *   select.c      one SELECT -> a tree of nodes
 *   join.c        FROM and WHERE -> joins; subqueries within conditions -> joins
 *   push.c        conditions pushed into the scan
 *   plan.c        tl_plan_new
 *   bind_rollup.c the SELECT of a rollup
 *   plan_print.c  EXPLAIN
 *
 * While an expression is bound its type may still be open: kind TL_NULL. Three things are open:
 * a NULL, a string literal (a CONST of type TL_NULL whose value is valid TEXT) and a parameter
 * nobody has typed yet. Whoever takes an expression in closes it with tl__coerce.
 *
 * An expression stands in one place of the plan only: trees, never shared parts, since grouping
 * rewrites them in place.
 */
#ifndef TALLY_QUERY_BIND_INT_H
#define TALLY_QUERY_BIND_INT_H

#include "query/function.h"
#include "query/parse.h"
#include "query/plan.h"
#include "query/rollup.h"

enum {
    TL__EXPRS_MAX = 262144, /* of one plan: BETWEEN and CASE x WHEN write their operand twice */
    TL__SCAN_COLUMNS_MAX = 4096,
    TL__CTE_DEPTH_MAX = 8,    /* names of WITH that are written out within each other */
    TL__VIEWS_MAX = 4,        /* subqueries folded into one block: their expressions multiply */
    TL__VIEW_NODES_MAX = 16,  /* size of an expression that may be written more than once */
    TL__DEFINITIONS_MAX = 16, /* views that read views */
    TL__PARAM_SCALE = 12      /* of a parameter that must be a decimal: DECIMAL(38,12) */
};

/* Within the binder alone. */
enum {
    TL__EXPR_AGGREGATE = 100, /* an aggregate of the block, `index` into its list */
    TL__EXPR_OUTER,           /* args[0], an expression of the block around this one */
    TL__EXPR_SUBLINK,         /* a subquery: `index` into the binder's list; args: what it takes
                               * from this block, in the order of its level's outers */
    TL__EXPR_GROUPING,        /* GROUPING(args) */
    TL__EXPR_WINDOW           /* a window function of the block, `index` into its list */
};

/* Until FROM is planned, a COLUMN's index is its relation's number in the block and the place
 * there: of a table among the columns read, of a subquery among its outputs. Relation 0's are
 * plain numbers, so that a block over one relation needs no second numbering. */
/* `integer` of a CALL that the binder has written itself. */
enum { TL__INNER_CALL = 1 };
enum { TL__REL_SHIFT = 16, TL__SUBLINK_REL = 0xFFFF, TL__TAKEN_REL = 0xFFFE };
static inline uint32_t tl__code(uint32_t rel, uint32_t at)
{
    return rel << TL__REL_SHIFT | at;
}
static inline uint32_t tl__code_rel(uint32_t code)
{
    return code >> TL__REL_SHIFT;
}
static inline uint32_t tl__code_at(uint32_t code)
{
    return code & ((1U << TL__REL_SHIFT) - 1);
}

struct tl__param_ref {
    struct tl_expr *expr;
    struct tl__param_ref *next;
};

struct tl__binder {
    const struct tl_catalog *catalog;
    struct tl_plan *plan;
    struct tl_arena *arena;   /* the plan's */
    struct tl_arena *scratch; /* lives as long as the binding */
    struct tl_status *st;
    struct tl_eval_context fold; /* for kernels over constants */
    struct tl__param_ref *params;
    uint32_t expr_count;
    uint32_t sublink_count, sublink_capacity;
    struct tl__sublink **sublinks;
    uint32_t slot_capacity, init_capacity, cte_capacity;
    struct tl__cte *ctes;      /* in scope, the innermost first */
    uint32_t definition_depth; /* views within each other */
};

/* A column that the scan of a block reads. */
struct tl__scan_ref {
    uint32_t column; /* index into the table's columns */
    struct tl_slice props_key;
};

/* A subquery in FROM that only selects, filters and computes row by row is not planned: its
 * columns are bound anew wherever they are used, and its conditions join those of the query
 * around it, so that both reach the scan. */
struct tl__view_column {
    const char *name;
    const struct tl_ast *ast; /* NULL: column `index` of what the subquery reads (from *) */
    uint32_t index;
};

struct tl__view {
    const char *qualifier; /* its alias */
    uint32_t column_count;
    struct tl__view_column *columns;
    struct tl__view *inner; /* what it reads is a view again; NULL: the scope's table */
};

/* One thing in FROM. */
struct tl__scope {
    struct tl__view *view;             /* names mean its columns; NULL: those below */
    const char *qualifier;             /* alias, or the table's name */
    const char *outer_qualifier;       /* what the relation is called in this block */
    const struct tl__view *outer_view; /* what its names mean there */
    const char *schema;                /* of a table without an alias; else NULL */
    uint32_t number;                   /* within the block */
    const struct tl_table_info *table;
    uint32_t alias_count; /* a list of column aliases: the first names */
    const char **aliases;
    uint32_t scan_count, scan_capacity;
    struct tl__scan_ref *scan; /* columns in order of first use */
    uint32_t ref_count, ref_capacity;
    struct tl_expr **refs; /* every expression that reads a column of the scan */
    /* a subquery, a function, VALUES */
    struct tl__query *query;
    struct tl_plan_node *node; /* what has no query: a function */
    struct tl__level *level;   /* of LATERAL: what it takes from before it; else NULL */
    uint32_t output_count;
    const struct tl_output_column *outputs;
};

/* A name that FROM brings: a column of a relation, or, of USING and NATURAL, the first of
 * several that is not NULL. */
struct tl__name {
    const char *name;
    uint32_t part_count;
    struct tl__name_part {
        struct tl__scope *scope;
        uint32_t index;
    } * parts;
};

/* FROM as a tree. */
struct tl__from {
    struct tl__scope *scope; /* a relation; NULL: a join of the two */
    uint8_t join;            /* enum tl_ast_join */
    struct tl__from *left, *right;
    struct tl_expr *on; /* NULL: none */
    uint64_t rels;      /* the relations in it, a bit for each */
};

/* All blocks of one query share a level: what they take from the block around them. */
struct tl__level {
    struct tl__block *parent; /* NULL: nothing is around */
    uint32_t outer_count, outer_capacity;
    struct tl_expr **outers; /* every TL__EXPR_OUTER */
};

struct tl__window {
    const struct tl_ast_window *ast;
    uint32_t partition_count;
    struct tl_expr **partition;
    uint32_t key_count;
    struct tl_expr **keys;
    struct tl_sort_key *order;
    struct tl_window_frame frame;
};

struct tl__window_call {
    uint32_t window; /* into the block's windows */
    struct tl_window_function f;
};

struct tl__block {
    struct tl__binder *b;
    struct tl__level *level;
    struct tl__scope *inside; /* names are looked up in this view alone; NULL: in all of FROM */
    uint32_t scope_count, scope_capacity;
    struct tl__scope **scopes;
    uint32_t name_count, name_capacity;
    struct tl__name *names;
    uint32_t scope_first, name_first; /* of those that are seen: in a JOIN's ON not all are */
    uint32_t condition_count, condition_capacity;
    struct tl_expr **conditions; /* of the views in FROM */
    struct tl__from *from;       /* NULL: no FROM */
    const char *clause;        /* where aggregates are not allowed: the clause's name; else NULL */
    const char *window_clause; /* where window functions are not allowed; else NULL */
    bool in_aggregate;
    bool in_window;
    uint32_t aggregate_count, aggregate_capacity;
    struct tl_aggregate *aggregates;
    const struct tl_ast_select *ast; /* for its WINDOW */
    uint32_t window_count, window_capacity;
    struct tl__window *windows;
    uint32_t window_call_count, window_call_capacity;
    struct tl__window_call *window_calls;
    uint32_t grouping_count; /* GROUPING(…) calls */
};

/* A subquery within an expression. */
struct tl__sublink {
    uint8_t kind; /* enum tl_ast_sublink: SCALAR, EXISTS, ANY */
    struct tl__query *query;
    struct tl__level level;
    struct tl_expr *test; /* ANY: over the query's outputs, with OUTERs */
    bool placed;          /* a node computes it */
    int32_t position;
};

/* A name of WITH. */
struct tl__cte {
    struct tl__cte *next; /* further out */
    const struct tl_ast_cte *ast;
    struct tl__cte *scope; /* names that its query sees */
    uint32_t refs;         /* in the text */
    uint32_t depth;        /* names within each other that are not computed on their own */
    bool materialized;     /* bound once, below */
    uint32_t number;
    uint32_t output_count;
    const struct tl_output_column *outputs;
    bool active; /* its query is being bound: it cannot see itself */
};

#define TL__BIND_FAIL(b, code, state, pos, ...)                                                    \
    (TL_FAIL((b)->st, (code), __VA_ARGS__), tl_status_sql((b)->st, (state), (pos)))

/* ---- bind_type.c ---- */

static inline bool tl__is_open(const struct tl_expr *e)
{
    return e->type.kind == TL_NULL;
}
static inline bool tl__is_decimal(struct tl_type t)
{
    return t.kind == TL_DECIMAL64 || t.kind == TL_DECIMAL128;
}
static inline bool tl__is_number(struct tl_type t)
{
    return t.kind == TL_BIGINT || t.kind == TL_DOUBLE || tl__is_decimal(t);
}
static inline bool tl__is_null_const(const struct tl_expr *e)
{
    return e->kind == TL_EXPR_CONST && !tl_vector_valid(&e->value, 0);
}

/* The type of an integer literal: BIGINT inside, to clients INTEGER when it fits. */
static inline struct tl_type tl__integer_type(int64_t v)
{
    return tl_type_flavoured(TL_BIGINT,
                             v >= INT32_MIN && v <= INT32_MAX ? TL_FLAVOUR_INT4 : TL_PLAIN);
}

/* PostgreSQL's name of a type, for messages: "timestamp with time zone". */
const char *tl__type_label(struct tl_type t);

struct tl_expr *tl__expr_new(struct tl__binder *b, enum tl_expr_kind kind, struct tl_type type,
                             uint32_t arg_count, int32_t position);
struct tl_expr *tl__const_new(struct tl__binder *b, struct tl_type type, const void *data,
                              int32_t position);
struct tl_expr *tl__null_new(struct tl__binder *b, struct tl_type type, int32_t position);
struct tl_expr *tl__text_new(struct tl__binder *b, struct tl_type type, struct tl_slice text,
                             int32_t position);
/* A literal with digits: DECIMAL with its scale, DOUBLE when 38 digits do not hold it. */
TL_CHECK enum tl_code tl__number_new(struct tl__binder *b, struct tl_slice text, int32_t position,
                                     struct tl_expr **out);

/* Copies of names and texts into the plan. */
const char *tl__keep(struct tl__binder *b, const char *s);

/* Closes an open expression with `type`; casts a typed one. `what` names the taker in errors
 * ("argument of WHERE"), NULL: the cast was written, so that every cast is allowed. */
TL_CHECK enum tl_code tl__coerce(struct tl__binder *b, struct tl_expr **e, struct tl_type type,
                                 const char *what);
/* A cast as written, with the range check of its integer type. */
TL_CHECK enum tl_code tl__cast(struct tl__binder *b, struct tl_expr *e,
                               const struct tl_ast_type *to, int32_t position,
                               struct tl_expr **out);
/* Gives all of them one type (CASE, COALESCE, IN …) and returns it. */
TL_CHECK enum tl_code tl__unify(struct tl__binder *b, struct tl_expr **es, uint32_t count,
                                const char *what, struct tl_type *out);
/* The call of the best overload, folded when it can be. `is_operator` for the words of errors. */
TL_CHECK enum tl_code tl__call(struct tl__binder *b, const char *name, struct tl_expr **args,
                               uint32_t arg_count, bool is_operator, int32_t position,
                               struct tl_expr **out);
/* Replaces a call of an immutable function over constants by its value, in place; a call that
 * fails stays, to fail when a row reaches it. */
TL_CHECK enum tl_code tl__fold(struct tl__binder *b, struct tl_expr *e);
/* True, false or NULL (out 1, 0, -1) when e is a BOOLEAN constant. */
bool tl__bool_const(const struct tl_expr *e, int *out);

/* ---- bind.c ---- */

TL_CHECK enum tl_code tl__bind(struct tl__block *k, const struct tl_ast *ast, struct tl_expr **out);
/* Bound and closed as BOOLEAN. */
TL_CHECK enum tl_code tl__bind_condition(struct tl__block *k, const struct tl_ast *ast,
                                         const char *what, struct tl_expr **out);
/* Column of the block's FROM; position for errors. *found false leaves *out alone. */
TL_CHECK enum tl_code tl__bind_column(struct tl__block *k, const struct tl_ast *ast, bool *found,
                                      struct tl_expr **out);
/* A reference to the n-th column of a relation (in the order of SELECT *). */
TL_CHECK enum tl_code tl__column_at(struct tl__block *k, struct tl__scope *s, uint32_t index,
                                    int32_t position, struct tl_expr **out);
/* The value of a name that FROM brings. */
TL_CHECK enum tl_code tl__bind_name(struct tl__block *k, const struct tl__name *n, int32_t position,
                                    struct tl_expr **out);
/* How many columns a relation has and what they are called. */
uint32_t tl__scope_count(const struct tl__scope *s);
const char *tl__scope_name(const struct tl__scope *s, uint32_t index);
const char *tl__scope_qualifier(const struct tl__scope *s);
/* The column is a map that has no value of its own: * leaves it out. */
bool tl__is_props(const struct tl__scope *s, uint32_t index);
/* args[0] as seen from within a query of this level. */
TL_CHECK enum tl_code tl__outer_new(struct tl__binder *b, struct tl__level *level,
                                    struct tl_expr *of, struct tl_expr **out);
/* Calls of two arguments by the operator's name. */
TL_CHECK enum tl_code tl__call2(struct tl__binder *b, const char *name, struct tl_expr *left,
                                struct tl_expr *right, int32_t position, struct tl_expr **out);
TL_CHECK enum tl_code tl__make_not(struct tl__binder *b, struct tl_expr *arg, struct tl_expr **out);
/* AND of conjuncts; NULL of none. */
TL_CHECK enum tl_code tl__make_and(struct tl__binder *b, struct tl_expr *const *list,
                                   uint32_t count, struct tl_expr **out);
TL_CHECK enum tl_code tl__grow(struct tl__binder *b, void *list, uint32_t count, uint32_t *capacity,
                               size_t width);
/* Whether an expression of this kind (of enum tl_expr_kind or above) is in it. */
bool tl__has_kind(const struct tl_expr *e, int kind);
struct tl_expr *tl__clone(struct tl__binder *b, const struct tl_expr *e);
bool tl__is_aggregate_name(const char *name);
/* What PostgreSQL would call a column of this expression. */
const char *tl__figure_name(const struct tl_ast *ast);
/* Structural equality of bound expressions. */
bool tl__expr_equal(const struct tl_expr *a, const struct tl_expr *b);
/* No column and no aggregate anywhere in it. */
bool tl__is_column_free(const struct tl_expr *e);

/* ---- bind_from.c ---- */

/* Binds FROM: the block's scopes, names and tree. */
TL_CHECK enum tl_code tl__bind_from(struct tl__block *k, const struct tl_ast_select *ast);
/* The relation of that qualifier; *out NULL: there is none. */
TL_CHECK enum tl_code tl__find_scope(struct tl__block *k, const char *schema, const char *qualifier,
                                     int32_t position, struct tl__scope **out);

/* ---- bind_query.c ---- */

struct tl__select_result {
    struct tl_plan_node *node;
    uint32_t output_count;
    struct tl_output_column *outputs;
};

/* A query that is bound and not yet planned: SELECT, VALUES or a set operation. */
struct tl__query {
    struct tl__select *select; /* SELECT */
    struct tl_expr ***rows;    /* VALUES */
    uint32_t row_count;
    uint8_t set_op; /* enum tl_ast_set_op */
    bool set_all;
    uint32_t input_count;
    struct tl__query **inputs; /* of a set operation: two, or more of UNION */
    struct tl_plan_node *node; /* a name of WITH that is computed once */
    uint32_t output_count;
    struct tl_output_column *outputs;
    /* of VALUES and set operations; a SELECT has its own */
    uint32_t sort_count;
    struct tl_sort_key *sort;
    struct tl_expr *limit, *offset;
};

TL_CHECK enum tl_code tl__query_bind(struct tl__binder *b, const struct tl_ast_select *ast,
                                     struct tl__level *level, struct tl__query **out);
TL_CHECK enum tl_code tl__query_build(struct tl__binder *b, struct tl__query *q, bool order_matters,
                                      struct tl_plan_node **out);
/* Puts a condition on column `column` of the outputs (op and values as the conjunct says; its
 * COLUMN's index is that column) into the query where that means the same. Takes a copy. */
TL_CHECK enum tl_code tl__query_push(struct tl__binder *b, struct tl__query *q, uint32_t column,
                                     const struct tl_expr *conjunct, bool *pushed);
/* Binds, plans, and closes: the whole of a statement. `order_matters` false: an ORDER BY without
 * LIMIT may be left out. */
TL_CHECK enum tl_code tl__select(struct tl__binder *b, const struct tl_ast_select *ast,
                                 bool order_matters, struct tl__select_result *out);
/* A subquery within an expression. */
TL_CHECK enum tl_code tl__bind_sublink(struct tl__block *k, const struct tl_ast *ast,
                                       struct tl_expr **out);
/* A new slot, as the parameter that reads it. */
TL_CHECK enum tl_code tl__slot_new(struct tl__binder *b, struct tl_type type, uint32_t *slot);
TL_CHECK enum tl_code tl__bind_limit(struct tl__block *k, const struct tl_ast *ast,
                                     const char *clause, const char *sqlstate,
                                     struct tl_expr **out);
/* The name of WITH, or NULL. */
struct tl__cte *tl__cte_find(struct tl__binder *b, const char *name);

/* ---- select.c ---- */

struct tl__select;
TL_CHECK enum tl_code tl__select_bind(struct tl__binder *b, const struct tl_ast_select *ast,
                                      struct tl__level *level, struct tl__query *q);
TL_CHECK enum tl_code tl__select_build(struct tl__select *s, bool order_matters,
                                       struct tl_plan_node **out);
TL_CHECK enum tl_code tl__select_push(struct tl__select *s, uint32_t column,
                                      const struct tl_expr *conjunct, bool *pushed);
/* Gives a target that is open yet a type. */
TL_CHECK enum tl_code tl__select_close(struct tl__select *s, uint32_t column, struct tl_type type);
/* ORDER BY … LIMIT … over a node whose columns are the outputs. */
TL_CHECK enum tl_code tl__add_sort_limit(struct tl__binder *b, const struct tl__query *q,
                                         bool order_matters, struct tl_plan_node **node);
TL_CHECK enum tl_code tl__set_types(struct tl__binder *b, struct tl_plan_node *n, uint32_t count);
TL_CHECK enum tl_code tl__project_new(struct tl__binder *b, struct tl_plan_node *child,
                                      struct tl_expr **exprs, uint32_t count,
                                      struct tl_plan_node **out);

/* What a correlated subquery's WHERE was divided into, so that a join can do it. */
struct tl__taken {
    bool done;           /* false: it is not of that form, and as it was */
    uint32_t pair_count; /* local[i] = outer[i]; local[i] is output first + i */
    struct tl_expr **local, **outer;
    uint32_t residual_count; /* over outputs (of relation TL__TAKEN_REL) and OUTERs */
    struct tl_expr **residual;
    uint32_t first, output_count;
    struct tl_expr *nothing; /* scalar: the value of the first output when there are no rows */
};
/* Takes what refers to the query around out of s, when that is all in conditions of its WHERE.
 * `outers_elsewhere` are known to the caller. `scalar`: s has aggregates and no GROUP BY; it gets
 * the local sides as keys. */
TL_CHECK enum tl_code tl__select_take(struct tl__select *s, const struct tl__level *level,
                                      uint32_t outers_elsewhere, bool outputs_matter, bool scalar,
                                      struct tl__taken *out);

/* ---- join.c ---- */

/* Moves conditions of *where, each over one output, into the query where that means the same. */
TL_CHECK enum tl_code tl__push_into(struct tl__binder *b, struct tl__query *q,
                                    struct tl_expr **where);

/* Where a node has what: column i is codes[i]. */
struct tl__layout {
    uint32_t count, capacity;
    uint32_t *codes;
};

/* FROM and WHERE of a block: its joins, conditions, and subqueries in them. `above` are the
 * expressions over FROM that stand above: rewritten over the node's columns. */
TL_CHECK enum tl_code tl__plan_from(struct tl__block *k, struct tl_expr *where,
                                    struct tl_expr ***above, uint32_t above_count,
                                    struct tl_plan_node **out);
/* Whether FROM and WHERE need tl__plan_from: more than one relation, or subqueries. */
bool tl__needs_joins(const struct tl__block *k, const struct tl_expr *where);
/* Computes the subqueries within `exprs` above *node, whose columns they read as they are. */
TL_CHECK enum tl_code tl__place_sublinks(struct tl__block *k, struct tl_expr ***exprs,
                                         uint32_t count, struct tl_plan_node **node);

/* ---- bind_rollup.c ---- */

TL_CHECK enum tl_code tl__bind_rollup(struct tl__binder *b, const struct tl_ast_statement *s);

/* ---- push.c ---- */

/* Splits `where` (may be NULL) into what the scan does and a FILTER over `child`, which becomes
 * *out. Scan columns are those of `scope`, not yet pruned. */
TL_CHECK enum tl_code tl__push_where(struct tl__binder *b, struct tl__scope *scope,
                                     struct tl_plan_node *child, struct tl_expr *where,
                                     struct tl_plan_node **out);
/* The parts of a condition that must all hold, tidied up. *never: it can never be true. */
TL_CHECK enum tl_code tl__split(struct tl__binder *b, struct tl_expr *where, struct tl_expr ***list,
                                uint32_t *count, bool *never);
/* A condition of one column (of any relation) with something free of columns: the column's code;
 * *strict: it is not true of NULL. */
bool tl__simple_condition(struct tl__binder *b, struct tl_expr *e, uint32_t *code, bool *strict);
/* No rows of child. */
TL_CHECK enum tl_code tl__no_rows(struct tl__binder *b, struct tl_plan_node *child,
                                  struct tl_plan_node **out);
/* Fills the scan's columns with those that `used` says or `filter` (the scan itself, or filters
 * over it) reads; place[i] is where the i-th went. */
TL_CHECK enum tl_code tl__finish_inner_scan(struct tl__binder *b, struct tl__scope *scope,
                                            struct tl_plan_node *scan, struct tl_plan_node *filter,
                                            bool *used, uint32_t **place);
/* Fills the scan's columns with those that `nodes` above it still read. */
TL_CHECK enum tl_code tl__finish_scan(struct tl__binder *b, struct tl__scope *scope,
                                      struct tl_plan_node *scan, struct tl_plan_node *top);

struct tl_plan_node *tl__node_new(struct tl__binder *b, enum tl_node_kind kind,
                                  struct tl_plan_node *child);

/* bind_series.c: functions that give several rows, in a select list; fields of what they give */
bool tl__is_series_name(const char *name);
/* The SELECT with such calls moved into FROM; itself when there are none. */
TL_CHECK enum tl_code tl__select_series(struct tl__binder *b, const struct tl_ast_select *ast,
                                        const struct tl_ast_select **out);
TL_CHECK enum tl_code tl__unnest_query(struct tl__binder *b, const struct tl_ast_from *f,
                                       const struct tl_ast_select **out);
TL_CHECK enum tl_code tl__bind_field(struct tl__block *k, const struct tl_ast *ast,
                                     struct tl_expr **out);

#endif
