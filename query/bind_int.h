/*
 * query/bind_int.h: what the files of the front share (bind*.c, select.c, plan*.c).
 *
 *   bind_type.c   types: which overload, which casts; literals; folding of constants
 *   bind.c        one expression of the parser's tree -> one typed expression
 *   select.c      one SELECT -> a tree of nodes
 *   plan.c        tl_plan_new; conditions pushed into the scan
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
    TL__VIEWS_MAX = 4,       /* subqueries folded into one block: their expressions multiply */
    TL__VIEW_NODES_MAX = 16, /* size of an expression that may be written more than once */
    TL__PARAM_SCALE = 12     /* of a parameter that must be a decimal: DECIMAL(38,12) */
};

/* Within the binder alone: an aggregate of the block, `index` into its list. */
enum { TL__EXPR_AGGREGATE = 100 };

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

/* The one thing in FROM. */
struct tl__scope {
    struct tl__view *view; /* names mean its columns; NULL: those below */
    const char *qualifier; /* alias, or the table's name; NULL: no FROM */
    const struct tl_table_info *table;
    uint32_t scan_count, scan_capacity;
    struct tl__scan_ref *scan; /* columns in order of first use */
    uint32_t ref_count, ref_capacity;
    struct tl_expr **refs; /* every expression that reads a column of the scan */
    /* a subquery's columns */
    uint32_t output_count;
    const struct tl_output_column *outputs;
};

struct tl__block {
    struct tl__binder *b;
    struct tl__scope scope;
    const char *clause; /* where aggregates are not allowed: the clause's name; else NULL */
    bool in_aggregate;
    uint32_t aggregate_count, aggregate_capacity;
    struct tl_aggregate *aggregates;
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
TL_CHECK enum tl_code tl__bind_column(struct tl__block *k, const char *qualifier, const char *name,
                                      int32_t position, bool *found, struct tl_expr **out);
/* A reference to the n-th column of a subquery or table (in the order of SELECT *). */
TL_CHECK enum tl_code tl__column_at(struct tl__block *k, uint32_t index, int32_t position,
                                    struct tl_expr **out);
/* How many columns FROM has and what they are called. */
uint32_t tl__scope_count(const struct tl__scope *s);
const char *tl__scope_name(const struct tl__scope *s, uint32_t index);
const char *tl__scope_qualifier(const struct tl__scope *s);
bool tl__is_aggregate_name(const char *name);
/* What PostgreSQL would call a column of this expression. */
const char *tl__figure_name(const struct tl_ast *ast);
/* Structural equality of bound expressions. */
bool tl__expr_equal(const struct tl_expr *a, const struct tl_expr *b);
/* No column and no aggregate anywhere in it. */
bool tl__is_column_free(const struct tl_expr *e);

/* ---- select.c ---- */

struct tl__select_result {
    struct tl_plan_node *node;
    uint32_t output_count;
    struct tl_output_column *outputs;
};
/* `order_matters` false: an ORDER BY without LIMIT may be left out. */
TL_CHECK enum tl_code tl__select(struct tl__binder *b, const struct tl_ast_select *ast,
                                 bool order_matters, struct tl__select_result *out);

/* ---- bind_rollup.c ---- */

TL_CHECK enum tl_code tl__bind_rollup(struct tl__binder *b, const struct tl_ast_statement *s);

/* ---- push.c ---- */

/* Splits `where` (may be NULL) into what the scan does and a FILTER over `child`, which becomes
 * *out. Scan columns are those of `scope`, not yet pruned. */
TL_CHECK enum tl_code tl__push_where(struct tl__binder *b, struct tl__scope *scope,
                                     struct tl_plan_node *child, struct tl_expr *where,
                                     struct tl_plan_node **out);
/* Fills the scan's columns with those that `nodes` above it still read. */
TL_CHECK enum tl_code tl__finish_scan(struct tl__binder *b, struct tl__scope *scope,
                                      struct tl_plan_node *scan, struct tl_plan_node *top);

struct tl_plan_node *tl__node_new(struct tl__binder *b, enum tl_node_kind kind,
                                  struct tl_plan_node *child);

#endif
