/*
 * query/utility.h: what a client's text holds: its statements, and those that are no queries.
 *
 * A text of several statements is cut into its statements. Those that concern a session and not
 * the data (BEGIN, SET, DECLARE, COPY, PREPARE …) are recognised by PostgreSQL's grammar and given
 * with their parts; all others are TL_UTILITY_NONE, and the text is for tl_plan_new.
 *
 * Ownership  all in the caller's arena; `text` and `query` borrow from the caller's sql.
 * Threads    any.
 * Units      bytes; positions in characters of the whole text, from 1.
 * Errors     as query/parse.h: 42601 syntax, 54000/54001 too long or too deep, 22021 bad UTF-8,
 *            0A000 a form of a recognised statement that is refused.
 */
#ifndef TALLY_QUERY_UTILITY_H
#define TALLY_QUERY_UTILITY_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"

enum tl_utility_kind {
    TL_UTILITY_NONE, /* for the planner */
    TL_UTILITY_BEGIN,
    TL_UTILITY_COMMIT,
    TL_UTILITY_ROLLBACK,
    TL_UTILITY_SAVEPOINT,   /* name */
    TL_UTILITY_RELEASE,     /* name */
    TL_UTILITY_ROLLBACK_TO, /* name */
    TL_UTILITY_SET,         /* name, value (NULL: DEFAULT), local */
    TL_UTILITY_SET_NOTHING, /* SET TRANSACTION … and the like: taken, without effect */
    TL_UTILITY_RESET,       /* name; NULL: ALL */
    TL_UTILITY_SHOW,        /* name; "all" */
    TL_UTILITY_DECLARE,     /* name, query, hold, binary */
    TL_UTILITY_FETCH,       /* name, count, move */
    TL_UTILITY_CLOSE,       /* name; NULL: ALL */
    TL_UTILITY_PREPARE,     /* name, query, values: names of the parameters' types */
    TL_UTILITY_EXECUTE,     /* name, values: texts of expressions */
    TL_UTILITY_DEALLOCATE,  /* name; NULL: ALL */
    TL_UTILITY_DISCARD,     /* all */
    TL_UTILITY_COPY,        /* copy */
    TL_UTILITY_LISTEN,      /* name */
    TL_UTILITY_UNLISTEN,    /* name; NULL: all */
    TL_UTILITY_NOTIFY,      /* name */
    TL_UTILITY_TEMP_TABLE,  /* CREATE TEMPORARY TABLE */
    TL_UTILITY_KIND_COUNT
};

struct tl_utility_copy {
    bool from;      /* COPY … FROM STDIN; else TO STDOUT */
    bool csv;       /* else text */
    bool header;    /* of CSV and text */
    bool force_all; /* FORCE_QUOTE * */
    char delimiter; /* of fields */
    char quote;     /* of CSV */
    char escape;    /* of CSV */
    const char *null;
    const char *table;     /* NULL: `query` of the statement */
    uint32_t column_count; /* 0: all */
    const char **columns;
};

struct tl_utility {
    uint8_t kind;         /* enum tl_utility_kind */
    struct tl_slice text; /* the statement alone, without white space and ; around it */
    uint32_t chars;       /* characters of the whole text before `text` */
    const char *name;
    const char *value;
    struct tl_slice query; /* DECLARE, PREPARE, COPY (query) */
    uint32_t query_chars;  /* characters of the whole text before `query` */
    bool local, hold, binary, move, all, chain;
    bool read_write; /* BEGIN … READ WRITE is taken as well */
    int64_t count;   /* FETCH; INT64_MAX: ALL */
    uint32_t value_count;
    const char **values;
    struct tl_utility_copy *copy;
};

enum { TL_UTILITY_STATEMENTS_MAX = 1024 };

/* *out_count 0: nothing but white space and comments. */
TL_CHECK enum tl_code tl_utility_split(struct tl_slice sql, struct tl_arena *arena,
                                       struct tl_utility **out, uint32_t *out_count,
                                       struct tl_status *st);
/* Quotes a name where it must be: weird"name -> "weird""name". NULL with st set: no memory. */
const char *tl_utility_quote(const char *name, struct tl_arena *arena, struct tl_status *st);

#endif
