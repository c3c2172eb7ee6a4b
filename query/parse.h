/*
 * query/parse.h: SQL text -> the statement's own tree, before names mean anything.
 *
 * PostgreSQL's grammar (libpg_query) reads the text; its tree is walked once, with a bound on
 * depth, into the few shapes below. Every field of PostgreSQL's nodes that we do not carry is
 * looked at and refused when it says something, with SQLSTATE 0A000, the construct's name and its
 * place: nothing that a user wrote is dropped in silence.
 *
 * Before the grammar sees the text it is checked: size, UTF-8, nesting of brackets, count of
 * tokens.
 *
 * Ownership  the tree and its strings live in the caller's arena; nothing points into `sql`.
 * Threads    any; libpg_query keeps its state per thread.
 * Units      positions are characters of the statement, from 1; 0 unknown.
 * Errors     42601 syntax, 0A000 refused, 54000/54001 too long or too deep, 22021 bad UTF-8,
 *            42704 no such type, 22023 bad type modifiers.
 */
#ifndef TALLY_QUERY_PARSE_H
#define TALLY_QUERY_PARSE_H

#include "base/arena.h"
#include "base/vector.h"

enum {
    TL_SQL_BYTES_MAX = 1 << 20, /* default limit of a statement's text */
    TL_SQL_TOKENS_MAX = 131072, /* bounds what the grammar allocates: about 150 bytes a token */
    TL_SQL_BRACKETS_MAX = 256,  /* nesting of ( and [ */
    TL_SQL_DEPTH_MAX = 500,     /* depth of an expression's tree: each walker recurses this far */
    TL_SQL_SUBQUERIES_MAX = 32, /* nesting of SELECTs */
    TL_SQL_PARAMS_MAX = 65535,  /* what the PostgreSQL protocol can carry */
    TL_SQL_TARGETS_MAX = 1664,  /* PostgreSQL's MaxTupleAttributeNumber */
    TL_SQL_RELATIONS_MAX = 64,  /* tables and subqueries of one FROM */
    TL_SQL_VALUES_MAX = 65536,  /* rows of one VALUES */
    TL_SQL_CTES_MAX = 256,      /* names of one WITH */
    TL_SQL_SETS_MAX = 4096,     /* grouping sets of one SELECT, as PostgreSQL has it */
    TL_PARTITION_ROWS_MAX = 1000000000
};

enum tl_ast_kind {
    TL_AST_NULL,
    TL_AST_BOOL,   /* integer 0 or 1 */
    TL_AST_INT,    /* integer */
    TL_AST_NUMBER, /* text: digits with a point, an exponent, or too many of them */
    TL_AST_STRING, /* text; its type comes from what it meets */
    TL_AST_PARAM,  /* integer: the n of $n, from 1 */
    TL_AST_COLUMN, /* name, qualifier or NULL, schema or NULL */
    TL_AST_STAR,   /* qualifier or NULL; in target lists only */
    TL_AST_OP,     /* name; one or two args */
    TL_AST_AND,    /* two or more args */
    TL_AST_OR,
    TL_AST_NOT,
    TL_AST_IS_NULL,     /* args[0]; negated */
    TL_AST_IS_BOOL,     /* args[0] IS [NOT] integer: 0 FALSE, 1 TRUE, 2 UNKNOWN */
    TL_AST_IS_DISTINCT, /* args[0] IS [NOT] DISTINCT FROM args[1] */
    TL_AST_IN,          /* args[0] [NOT] IN (args[1] …) */
    TL_AST_BETWEEN,     /* args[0] [NOT] BETWEEN args[1] AND args[2] */
    TL_AST_LIKE,        /* args[0] [NOT] LIKE args[1] [ESCAPE args[2]]; integer 1: ILIKE */
    TL_AST_CALL,        /* name(args); call */
    TL_AST_CAST,        /* args[0] as cast */
    TL_AST_CASE, /* args: when, then, …, else or NULL; `operand` of the short form or NULL */
    TL_AST_COALESCE,
    TL_AST_NULLIF,
    TL_AST_GREATEST,
    TL_AST_LEAST,
    TL_AST_SUBSCRIPT,  /* args[0][args[1]], or [args[1]:args[2]] */
    TL_AST_SUBLINK,    /* integer: enum tl_ast_sublink; select; args[0], name: of ANY and ALL */
    TL_AST_ROW,        /* (args) */
    TL_AST_GROUPING,   /* GROUPING(args) */
    TL_AST_SETS,       /* in GROUP BY: integer: enum tl_ast_sets; args */
    TL_AST_ARRAY,      /* ARRAY[args] */
    TL_AST_QUANTIFIED, /* args[0] name ANY (args[1]); ALL when negated */
    TL_AST_FIELD       /* (args[0]).name */
};

enum tl_ast_sublink {
    TL_SUBLINK_SCALAR, /* (SELECT …) */
    TL_SUBLINK_EXISTS,
    TL_SUBLINK_ANY, /* args[0] name ANY (SELECT …); IN is = ANY */
    TL_SUBLINK_ALL,
    TL_SUBLINK_ARRAY /* ARRAY(SELECT …) */
};

enum tl_ast_sets { TL_SETS_EMPTY, TL_SETS_ROLLUP, TL_SETS_CUBE, TL_SETS_LIST };

/* A type as it was written. */
struct tl_ast_type {
    struct tl_type type;
    const char *name;      /* PostgreSQL's internal name: int4, varchar, timestamptz … */
    uint8_t bits;          /* 16, 32: a range check goes with the cast; 24: REAL's rounding; or 0 */
    uint8_t precision;     /* of NUMERIC(p,s); 0: bare NUMERIC, whose scale its argument gives */
    int32_t interval_mask; /* INTERVAL '1' DAY: the fields named, as PostgreSQL numbers them; 0 */
    int32_t position;
};

struct tl_ast_order {
    struct tl_ast *expr;
    bool descending;
    bool nulls_first;
    int32_t position;
};

enum tl_frame_mode { TL_FRAME_RANGE, TL_FRAME_ROWS, TL_FRAME_GROUPS };
enum tl_frame_bound {
    TL_FRAME_UNBOUNDED_PRECEDING,
    TL_FRAME_PRECEDING, /* by an offset */
    TL_FRAME_CURRENT_ROW,
    TL_FRAME_FOLLOWING, /* by an offset */
    TL_FRAME_UNBOUNDED_FOLLOWING
};
enum tl_frame_exclude {
    TL_FRAME_EXCLUDE_NONE,
    TL_FRAME_EXCLUDE_CURRENT_ROW,
    TL_FRAME_EXCLUDE_GROUP,
    TL_FRAME_EXCLUDE_TIES
};

/* OVER (…), or an entry of WINDOW. */
struct tl_ast_window {
    const char *name; /* in WINDOW: what it is called; OVER name: that name */
    const char *base; /* OVER (base …) */
    uint32_t partition_count;
    struct tl_ast **partition;
    uint32_t order_count;
    struct tl_ast_order *order;
    bool framed;        /* a frame was written */
    uint8_t mode;       /* enum tl_frame_mode */
    uint8_t start, end; /* enum tl_frame_bound */
    uint8_t exclude;    /* enum tl_frame_exclude */
    struct tl_ast *start_offset, *end_offset;
    int32_t position;
};

/* What a call may carry besides its arguments. */
struct tl_ast_call {
    bool star;         /* count(*) */
    bool distinct;     /* count(DISTINCT x) */
    bool within_group; /* WITHIN GROUP (ORDER BY order) */
    struct tl_ast *filter;
    uint32_t order_count;
    struct tl_ast_order *order;
    struct tl_ast_window *over; /* NULL: no window function */
};

struct tl_ast {
    uint8_t kind; /* enum tl_ast_kind */
    bool negated;
    int32_t position;
    uint32_t arg_count;
    struct tl_ast **args;
    const char *name;
    const char *qualifier;
    const char *schema; /* before the qualifier */
    const char *label;  /* what a column of it is called when `name` does not say: current_date */
    int64_t integer;
    struct tl_slice text;
    struct tl_ast *operand;       /* CASE */
    struct tl_ast_type *cast;     /* CAST */
    struct tl_ast_call *call;     /* CALL */
    struct tl_ast_select *select; /* SUBLINK */
};

struct tl_ast_target {
    struct tl_ast *expr;
    const char *alias; /* NULL: named after the expression */
};

enum tl_ast_from_kind { TL_FROM_TABLE, TL_FROM_SUBQUERY, TL_FROM_FUNCTION, TL_FROM_JOIN };
enum tl_ast_join { TL_AST_JOIN_INNER, TL_AST_JOIN_LEFT, TL_AST_JOIN_RIGHT, TL_AST_JOIN_FULL };

/* One thing in FROM. */
struct tl_ast_from {
    uint8_t kind; /* enum tl_ast_from_kind */
    int32_t position;
    const char *alias; /* NULL: none */
    uint32_t column_alias_count;
    const char **column_aliases;
    bool lateral;
    /* TABLE: a table, a view or a name of WITH */
    const char *schema; /* NULL: by the search path */
    const char *table_name;
    /* SUBQUERY */
    struct tl_ast_select *subquery;
    /* FUNCTION */
    struct tl_ast *call;
    bool ordinality;
    /* JOIN */
    uint8_t join; /* enum tl_ast_join; CROSS JOIN is INNER without a condition */
    bool natural;
    struct tl_ast_from *left, *right;
    uint32_t using_count;
    const char **using_names;
    struct tl_ast *on;
};

enum tl_ast_set_op { TL_SET_NONE, TL_SET_UNION, TL_SET_INTERSECT, TL_SET_EXCEPT };
enum tl_ast_materialize { TL_CTE_DEFAULT, TL_CTE_ALWAYS, TL_CTE_NEVER };

struct tl_ast_cte {
    const char *name;
    uint32_t column_alias_count;
    const char **column_aliases;
    uint8_t materialize; /* enum tl_ast_materialize */
    struct tl_ast_select *select;
    int32_t position;
};

/* SELECT, VALUES, or two of these with UNION, INTERSECT or EXCEPT between them. */
struct tl_ast_select {
    int32_t position; /* of its first target; 0 unknown */
    uint32_t cte_count;
    struct tl_ast_cte *ctes;
    bool recursive; /* WITH RECURSIVE */
    uint8_t set_op; /* enum tl_ast_set_op */
    bool set_all;
    struct tl_ast_select *left, *right; /* of a set operation */
    uint32_t value_row_count;           /* VALUES */
    uint32_t value_column_count;
    struct tl_ast ***value_rows;
    bool distinct;
    int32_t distinct_position;
    uint32_t distinct_on_count; /* DISTINCT ON */
    struct tl_ast **distinct_on;
    uint32_t target_count;
    struct tl_ast_target *targets;
    uint32_t from_count;
    struct tl_ast_from **from;
    struct tl_ast *where;
    uint32_t group_count;
    struct tl_ast **group;
    bool group_distinct; /* GROUP BY DISTINCT */
    struct tl_ast *having;
    uint32_t window_count;
    struct tl_ast_window **windows;
    uint32_t order_count;
    struct tl_ast_order *order;
    struct tl_ast *limit;  /* NULL: all */
    struct tl_ast *offset; /* NULL: 0 */
};

struct tl_ast_column {
    const char *name;
    struct tl_ast_type type;
    bool not_null;
    int32_t position;
};

struct tl_ast_statement {
    uint8_t kind; /* enum tl_statement_kind of query/plan.h */
    bool analyze;
    struct tl_ast_select *select;
    const char *table_name;
    int32_t table_position;
    bool if_not_exists; /* of the table, the column or the view */
    bool if_exists;     /* DROP */
    uint32_t column_count;
    struct tl_ast_column *columns;
    uint32_t partition_rows; /* the option tally.partition_rows; 0: not given, or RESET */
    uint32_t param_max;      /* greatest $n seen */
};

/* Reads one statement. `bytes_max` 0: TL_SQL_BYTES_MAX. */
TL_CHECK enum tl_code tl_sql_parse(struct tl_slice sql, size_t bytes_max, struct tl_arena *arena,
                                   struct tl_ast_statement *out, struct tl_status *st);

#endif
