/*
 * query/plan.h: a bound, typed, read-only plan; what the front (parse, bind, plan) gives to the
 * executor.
 *
 * A plan is a tree of nodes over one arena. It holds no state of a run and no data: many runs may
 * share it. Every expression has its type; every implicit cast stands in the tree as a call of the
 * cast function; every error that can be known without rows has been told.
 *
 * Expressions are trees here; the executor compiles them into flat programs over vectors. CASE,
 * COALESCE, AND and OR evaluate a branch only for the rows that reach it, so that
 * CASE WHEN x <> 0 THEN 1/x END never divides by zero.
 *
 * Columns of a node: each node produces a list of columns (types in `types`); a TL_EXPR_COLUMN of
 * its parent is an index into that list. A node with two inputs (JOIN) sees the columns of `child`
 * and after them those of `right`.
 *
 * Slots: parameters from param_count on are not the client's. A slot is set by an init plan (a
 * subquery without references to what is around it, run once before the rest) or by an APPLY
 * (for each of its rows), and is as constant as a parameter for whatever reads it.
 *
 * Ownership  all in the plan's arena; tl_plan_free frees it whole.
 * Threads    read-only after tl_plan_new: any.
 */
#ifndef TALLY_QUERY_PLAN_H
#define TALLY_QUERY_PLAN_H

#include "base/arena.h"
#include "base/vector.h"
#include "query/source.h"

struct tl_function;   /* query/function.h: one row of the table of functions */
struct tl_rollup_def; /* query/rollup.h */

enum tl_expr_kind {
    TL_EXPR_COLUMN,   /* column `index` of the child node */
    TL_EXPR_CONST,    /* `value`, CONST shape, count 1 */
    TL_EXPR_PARAM,    /* $n: `index` from 0; from the plan's param_count on a slot */
    TL_EXPR_CALL,     /* function(args); operators and casts are functions too */
    TL_EXPR_AND,      /* args, three-valued */
    TL_EXPR_OR,       /* args, three-valued */
    TL_EXPR_NOT,      /* args[0] */
    TL_EXPR_IS_NULL,  /* args[0] */
    TL_EXPR_CASE,     /* args: when, then, when, then, …, else (always present, maybe a NULL) */
    TL_EXPR_COALESCE, /* args of one type */
    TL_EXPR_IN        /* args[0] IN (args[1] …), all of one type, comparison of that type */
};

struct tl_expr {
    uint8_t kind; /* enum tl_expr_kind */
    struct tl_type type;
    uint32_t index;
    uint32_t arg_count;
    struct tl_expr **args;
    const struct tl_function *function; /* CALL */
    struct tl_vector value;             /* CONST */
    int32_t position;                   /* character in the statement, from 1; 0 unknown */
};

enum tl_agg_kind {
    TL_AGG_COUNT_STAR,
    TL_AGG_COUNT,
    TL_AGG_COUNT_DISTINCT, /* exact */
    TL_AGG_SUM,            /* BIGINT, DECIMAL -> DECIMAL128; DOUBLE -> DOUBLE; INTERVAL */
    TL_AGG_AVG,            /* BIGINT, DECIMAL -> DECIMAL128 with PostgreSQL's digits; DOUBLE */
    TL_AGG_MIN,
    TL_AGG_MAX,
    TL_AGG_PERCENTILE_DISC, /* fraction in `fraction`; one value of the argument's type */
    TL_AGG_SUM_DISTINCT,    /* sum and avg over distinct values */
    TL_AGG_AVG_DISTINCT,
    TL_AGG_APPROX_DISTINCT,   /* BIGINT, from a sketch */
    TL_AGG_APPROX_PERCENTILE, /* fraction in `fraction`; numbers -> DOUBLE, from a sketch */
    TL_AGG_VAR_POP,           /* BIGINT, DECIMAL64, DOUBLE -> DOUBLE */
    TL_AGG_VAR_SAMP,
    TL_AGG_STDDEV_POP,
    TL_AGG_STDDEV_SAMP,
    TL_AGG_BIT_AND, /* BIGINT */
    TL_AGG_BIT_OR,
    TL_AGG_BIT_XOR
};

struct tl_aggregate {
    uint8_t kind; /* enum tl_agg_kind */
    struct tl_type type;
    struct tl_expr *arg;      /* NULL for COUNT_STAR; over the child's columns */
    struct tl_expr *filter;   /* FILTER (WHERE …), or NULL */
    struct tl_expr *fraction; /* of percentiles: DOUBLE, a constant or parameter */
    bool descending;          /* PERCENTILE_DISC: WITHIN GROUP (ORDER BY x DESC) */
};

struct tl_sort_key {
    uint32_t column; /* of the child */
    bool descending;
    bool nulls_first;
};

enum tl_node_kind {
    TL_NODE_ONE_ROW,   /* SELECT without FROM: one row, no columns */
    TL_NODE_SCAN,      /* a table through the source */
    TL_NODE_FILTER,    /* keeps rows whose predicate is true; columns of the child */
    TL_NODE_PROJECT,   /* columns = exprs */
    TL_NODE_AGGREGATE, /* columns = group keys, then aggregates; no keys: exactly one row */
    TL_NODE_DISTINCT,  /* all columns of the child */
    TL_NODE_SORT,      /* by keys; with limit >= 0 it need keep only offset + limit rows */
    TL_NODE_LIMIT,
    TL_NODE_JOIN,      /* child (streamed) and right (kept, by its hashed keys); see below */
    TL_NODE_APPLY,     /* child; for each row the subplan `right`, by the values of its slots */
    TL_NODE_APPEND,    /* the rows of all inputs, one after the other */
    TL_NODE_REPEAT,    /* child's rows as often as its last column says, without that column */
    TL_NODE_OTHERWISE, /* inputs[0], or inputs[1] when that has no row */
    TL_NODE_VALUES,    /* row_count rows of column_count exprs without columns */
    TL_NODE_TABLE_FUNCTION, /* rows of a function over args without columns */
    TL_NODE_CTE,            /* rows of `right`, computed once per run however many read them */
    TL_NODE_FIRST,  /* of sorted rows the first of each run that is equal in the sort_keys' columns
                     */
    TL_NODE_EXPAND, /* each row once per grouping set, with the other keys NULL */
    TL_NODE_WINDOW  /* columns of the child, then the window functions */
};

enum tl_join_kind {
    TL_JOIN_INNER,
    TL_JOIN_LEFT,  /* rows of child without a partner too, right's columns NULL */
    TL_JOIN_RIGHT, /* rows of right without a partner too */
    TL_JOIN_FULL,  /* both */
    TL_JOIN_SEMI,  /* rows of child that have a partner */
    TL_JOIN_ANTI,  /* rows of child that have none */
    TL_JOIN_MARK   /* rows of child, and after them a BOOLEAN: IN's true, false or NULL */
};

enum tl_apply_kind {
    TL_APPLY_SCALAR, /* child's columns and the one value of the subplan; two rows: 21000 */
    TL_APPLY_EXISTS, /* child's columns and whether the subplan has a row */
    TL_APPLY_ANY,    /* child's columns and the OR over the subplan's one BOOLEAN column */
    TL_APPLY_CROSS,  /* child's row beside each row of the subplan */
    TL_APPLY_LEFT,   /* the same; beside NULLs when there is none */
    TL_APPLY_ARRAY   /* child's columns and the array of the subplan's one column */
};

enum tl_table_function { TL_TABLE_GENERATE_SERIES };

/* What the planner pushed into a scan. Bounds are expressions without columns (constants,
 * parameters, now()), evaluated when the plan is opened; the executor makes the
 * tl_scan_spec from them. The filter above the scan still holds every condition except the time
 * range and merchants (which the source applies exactly) when these were pushed whole. */
struct tl_scan_bound {
    uint32_t column; /* index into tl_plan_node.scan_columns */
    uint8_t op;      /* enum tl_predicate_op */
    uint32_t value_count;
    struct tl_expr **values; /* of the column's type */
};

/* A window function, or an aggregate over a frame. */
enum tl_window_kind {
    TL_WIN_ROW_NUMBER,
    TL_WIN_RANK,
    TL_WIN_DENSE_RANK,
    TL_WIN_PERCENT_RANK,
    TL_WIN_CUME_DIST,
    TL_WIN_NTILE,
    TL_WIN_LAG,
    TL_WIN_LEAD,
    TL_WIN_FIRST_VALUE,
    TL_WIN_LAST_VALUE,
    TL_WIN_NTH_VALUE,
    TL_WIN_AGGREGATE
};

struct tl_window_function {
    uint8_t kind; /* enum tl_window_kind */
    struct tl_type type;
    uint32_t arg_count;
    struct tl_expr *args[3];       /* over the child's columns; lag, lead: value, offset, default */
    struct tl_aggregate aggregate; /* AGGREGATE */
};

/* Rows that a frame holds; the numbers are those of enum tl_frame_… in query/parse.h. */
struct tl_window_frame {
    uint8_t mode, start, end, exclude;
    struct tl_expr *start_offset, *end_offset; /* without columns, or NULL */
};

struct tl_plan_node {
    uint8_t kind; /* enum tl_node_kind */
    struct tl_plan_node *child;
    struct tl_plan_node *right; /* JOIN, APPLY, CTE */
    uint32_t input_count;       /* APPEND, OTHERWISE */
    struct tl_plan_node **inputs;
    uint32_t column_count;
    struct tl_type *types; /* of the columns this node produces */

    /* SCAN */
    const char *table_name;
    uint32_t table_id;
    struct tl_scan_column *scan_columns; /* column_count of them */
    const char **scan_names;             /* for EXPLAIN */
    int32_t merchant_column;             /* index in scan_columns, or -1: not read */
    int32_t ts_column;
    uint32_t ts_bound_count; /* on ts: EQ, LT, LE, GT, GE */
    struct tl_scan_bound *ts_bounds;
    uint32_t merchant_bound_count; /* on merchant_id: EQ, IN; all must hold */
    struct tl_scan_bound *merchant_bounds;
    uint32_t bound_count; /* simple predicates; a hint, or exact where the morsel says so */
    struct tl_scan_bound *bounds;

    /* FILTER: conjuncts[i] true for all i. conjunct_bound[i] is the index in the scan's
     * bounds that says the same, or -1: it need not be evaluated where the morsel is exact. */
    uint32_t conjunct_count;
    struct tl_expr **conjuncts;
    int32_t *conjunct_bound;

    /* PROJECT */
    struct tl_expr **exprs; /* column_count of them */

    /* AGGREGATE */
    uint32_t key_count;
    struct tl_expr **keys;
    uint32_t aggregate_count;
    struct tl_aggregate *aggregates;

    /* SORT */
    uint32_t sort_key_count;
    struct tl_sort_key *sort_keys;

    /* LIMIT; in SORT a hint. BIGINT expressions without columns, or NULL */
    struct tl_expr *limit;
    struct tl_expr *offset;

    /* JOIN: keys are equal pair by pair; left_keys over child's columns, right_keys over right's
     * own. Partners must satisfy `residual` (over both) too. Emits column emit[i] of both. */
    uint8_t join; /* enum tl_join_kind */
    uint32_t join_key_count;
    struct tl_expr **left_keys, **right_keys;
    struct tl_expr *residual; /* NULL: none */
    uint32_t emit_count;
    uint32_t *emit;

    /* APPLY: slots[i] is set to apply_args[i], over child's columns, before `right` runs */
    uint8_t apply; /* enum tl_apply_kind */
    uint32_t slot_count;
    uint32_t *slots; /* index of a parameter */
    struct tl_expr **apply_args;

    /* VALUES, TABLE_FUNCTION */
    uint32_t row_count;
    struct tl_expr ***rows;
    uint8_t table_function; /* enum tl_table_function */
    uint32_t arg_count;
    struct tl_expr **args;
    bool ordinality; /* a last column counts the rows */

    /* CTE */
    uint32_t cte; /* number within the plan */
    const char *cte_name;

    /* EXPAND: columns of the child, then keys, then the number of the set (BIGINT) */
    uint32_t set_count;
    uint64_t *sets; /* of each: which keys it groups by, a bit for each */

    /* WINDOW: exprs over the child's columns */
    uint32_t partition_count;
    struct tl_expr **partition;
    uint32_t window_key_count;
    struct tl_expr **window_keys;
    struct tl_sort_key *window_order; /* its `column` counts window_keys */
    struct tl_window_frame frame;
    uint32_t window_count;
    struct tl_window_function *windows;
};

/* A subquery that is run once, before the plan's root: sets a slot. */
struct tl_init_plan {
    uint32_t slot;
    uint8_t apply; /* TL_APPLY_SCALAR, EXISTS or ARRAY */
    struct tl_plan_node *root;
};

enum tl_statement_kind {
    TL_STMT_SELECT,
    TL_STMT_EXPLAIN, /* root is the plan explained */
    TL_STMT_CREATE_TABLE,
    TL_STMT_ADD_COLUMN,
    TL_STMT_SHOW_TABLES,   /* SHOW TABLES; root is NULL */
    TL_STMT_CREATE_ROLLUP, /* `rollup`, if_not_exists */
    TL_STMT_DROP_VIEW,     /* table_name, if_exists */
    TL_STMT_REFRESH_VIEW,  /* table_name; changes nothing: a rollup is never stale */
    TL_STMT_SET_OPTIONS    /* ALTER TABLE … SET (…): table_name, partition_rows */
};

struct tl_column_def {
    const char *name;
    struct tl_type type;
    bool not_null;
};

struct tl_output_column {
    const char *name; /* as PostgreSQL would name it */
    struct tl_type type;
};

struct tl_plan {
    struct tl_arena arena;
    uint8_t kind; /* enum tl_statement_kind */
    uint64_t catalog_version;
    const struct tl_catalog *catalog; /* lives as long as the plan may be run */
    uint32_t output_count;
    struct tl_output_column *outputs;
    uint32_t param_count;
    struct tl_type *param_types; /* inferred from context; TEXT where nothing says more */
    struct tl_plan_node *root;   /* SELECT, EXPLAIN */
    uint32_t slot_count;         /* parameters from param_count on */
    struct tl_type *slot_types;
    uint32_t init_count; /* in the order in which they are run */
    struct tl_init_plan *inits;
    uint32_t cte_count;
    struct tl_plan_node **ctes; /* the subplans of CTE nodes, by number */
    bool analyze;               /* EXPLAIN ANALYZE */

    /* DDL: executed by the engine */
    const char *table_name;
    bool if_not_exists;
    bool if_exists;
    uint32_t def_count;
    struct tl_column_def *defs;
    uint32_t partition_rows; /* CREATE TABLE, SET_OPTIONS: tally.partition_rows; 0: the default */
    const struct tl_rollup_def *rollup; /* CREATE MATERIALIZED VIEW; id and positions are open */
};

struct tl_plan_options {
    const char *time_zone; /* IANA name of the session; "UTC" by default */
    size_t sql_bytes_max;  /* 0: the default of 1 MiB */
    /* parameter types that the client declared; kind TL_NULL: infer */
    uint32_t param_count;
    const struct tl_type *param_types;
};

/* Parses one statement, binds it to the catalog and plans it. Errors carry SQLSTATE and position:
 * 42601 syntax, 42P01 no table, 42703 no column, 42883 no function, 42804 types, 0A000 refused
 * with the construct's name. */
TL_CHECK enum tl_code tl_plan_new(const struct tl_catalog *catalog, struct tl_slice sql,
                                  const struct tl_plan_options *options, struct tl_plan **out,
                                  struct tl_status *st);
void tl_plan_free(struct tl_plan *plan); /* takes NULL */

/* EXPLAIN's lines of a plan, one per node, outermost first, indented; appended to `out`. */
void tl_plan_print(const struct tl_plan *plan, struct tl_buffer *out);

/* The same, with what `note` appends to each node's own lines: it is called after them with the
 * indent that they have (EXPLAIN ANALYZE). */
typedef void tl_plan_note(void *arg, const struct tl_plan_node *node, uint32_t indent,
                          struct tl_buffer *out);
void tl_plan_print_nodes(const struct tl_plan *plan, tl_plan_note *note, void *arg,
                         struct tl_buffer *out);

#endif
