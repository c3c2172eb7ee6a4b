/*
 * query/parse_int.h: what the files of the parser share (parse*.c); the only ones that see
 * PostgreSQL's headers.
 *
 *   parse.c         statements
 *   parse_text.c    the text before the grammar sees it, positions
 *   parse_expr.c    types and expressions
 *   parse_named.c   arguments given by name
 *   parse_select.c  SELECT and all that stands in it but expressions
 */
#ifndef TALLY_QUERY_PARSE_INT_H
#define TALLY_QUERY_PARSE_INT_H

#include <postgres.h>

#include <nodes/parsenodes.h>
#include <nodes/pg_list.h>
#include <nodes/primnodes.h>
#include <nodes/value.h>
#include <utils/memutils.h>

#include "query/parse.h"

#include "base/assert.h"
#include "query/plan.h"

_Static_assert(PG_VERSION_NUM / 10000 == 15, "libpg_query 15 needs PostgreSQL 15's headers");

/* libpg_query's order of LimitOption. */
enum { LIB_LIMIT_DEFAULT, LIB_LIMIT_COUNT, LIB_LIMIT_WITH_TIES };

enum { CHECKPOINT_BYTES = 256 };

struct conv {
    const char *sql; /* NUL-terminated */
    size_t sql_size;
    uint32_t *checkpoints; /* characters before byte 256 × i; NULL: all ASCII */
    struct tl_arena *arena;
    struct tl_status *st;
    uint32_t depth;
    uint32_t selects;
    uint32_t param_max;
};

#define FAIL_AT(c, code, state, pos, ...)                                                          \
    (TL_FAIL((c)->st, (code), __VA_ARGS__), tl_status_sql((c)->st, (state), (pos)))
#define REFUSE(c, pos, what) FAIL_AT(c, TL_UNSUPPORTED, "0A000", pos, "%s is not supported", what)

#define LIST_COUNT(l) ((l) ? (uint32_t)(l)->length : 0U)
#define LIST_AT(l, i) ((void *)(l)->elements[i].ptr_value)

/* ---- parse_text.c ---- */

/* UTF-8, and the table that turns byte offsets into characters. */
TL_CHECK enum tl_code tl__check_text(struct conv *c);
/* Counts of tokens and nesting of brackets. */
TL_CHECK enum tl_code tl__check_shape(struct conv *c);
/* Byte offset (from 0, -1 unknown) -> character (from 1, 0 unknown). */
int32_t tl__position_of(const struct conv *c, int location);
/* Where the keyword stands first at or after byte `from`: for refusing what has no location. */
int32_t tl__keyword_position(const struct conv *c, const char *word, int from);
int32_t tl__first_token_position(const struct conv *c, int from);

/* ---- parse_expr.c ---- */

TL_CHECK enum tl_code tl__conv_type(struct conv *c, const TypeName *t, struct tl_ast_type *out);
const char *tl__copy_string(struct conv *c, const char *s);
struct tl_ast *tl__new_ast(struct conv *c, enum tl_ast_kind kind, int location, uint32_t arg_count);
TL_CHECK enum tl_code tl__conv_expr(struct conv *c, const void *node, struct tl_ast **out);
/* Converts `list` into ast->args from index `first` on. */
TL_CHECK enum tl_code tl__conv_args(struct conv *c, const List *list, struct tl_ast *ast,
                                    uint32_t first);
TL_CHECK enum tl_code tl__conv_order(struct conv *c, const List *list, uint32_t *count,
                                     struct tl_ast_order **out);
/* The expressions of a list. */
TL_CHECK enum tl_code tl__conv_list(struct conv *c, const List *list, uint32_t *count,
                                    struct tl_ast ***out);

/* ---- parse_named.c ---- */

/* A call's arguments, in the order of its parameters; those of names come after all others. */
TL_CHECK enum tl_code tl__conv_named(struct conv *c, const List *list, struct tl_ast *call);

/* ---- parse_select.c ---- */

TL_CHECK enum tl_code tl__conv_select(struct conv *c, const SelectStmt *s,
                                      struct tl_ast_select **out);
/* A table's name. `schema` NULL: it may be public alone; else it is the binder's business. */
TL_CHECK enum tl_code tl__conv_relation(struct conv *c, const RangeVar *r, const char **schema,
                                        const char **name, int32_t *position);
TL_CHECK enum tl_code tl__conv_window(struct conv *c, const WindowDef *w,
                                      struct tl_ast_window **out);

#endif
