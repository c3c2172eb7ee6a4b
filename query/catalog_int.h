/*
 * query/catalog_int.h: what the files catalog*.c and function_catalog.c share.
 *
 * Rows are written as COPY's text form has them: columns in the order of the relation, tabs
 * between them, \N for NULL. Casts make values of them.
 */
#ifndef TALLY_QUERY_CATALOG_INT_H
#define TALLY_QUERY_CATALOG_INT_H

#include "base/bytes.h"
#include "query/catalog.h"
#include "query/function.h"

/* A relation as PostgreSQL has it; columns: "name type[!],…", ! for NOT NULL, type:domain. */
struct tl__catalog_shape {
    uint32_t oid;
    const char *name;
    char kind; /* relkind: r or v */
    const char *columns;
};
/* Both end with a name that is NULL. */
extern const struct tl__catalog_shape tl__catalog_pg_shapes[];
extern const struct tl__catalog_shape tl__catalog_is_shapes[];
/* Functions of rows in FROM, whose kind is f. */
extern const struct tl__catalog_shape tl__catalog_fn_shapes[];

/* Rows that are the same everywhere; the last is NULL. */
extern const char *const tl__catalog_pg_type[];
extern const char *const tl__catalog_pg_cast[];
extern const char *const tl__catalog_pg_am[];
extern const char *const tl__catalog_pg_opfamily[];
extern const char *const tl__catalog_pg_opclass[];
extern const char *const tl__catalog_pg_collation[];
extern const char *const tl__catalog_pg_language[];
extern const char *const tl__catalog_pg_tablespace[];
extern const char *const tl__catalog_pg_proc[];
extern const char *const tl__catalog_pg_aggregate[];
extern const char *const tl__catalog_pg_operator[];
extern const char *const tl__catalog_pg_get_keywords[];

/* What a maker of rows works with. */
struct tl__catalog_rows {
    const struct tl_catalog *catalog;
    const struct tl_session_info *session; /* never NULL */
    const struct tl_scan_spec *spec;       /* a hint: rows that cannot match may be left out */
    struct tl_buffer *out;                 /* rows, each ended by a newline */
};
typedef void tl__catalog_make(struct tl__catalog_rows *r);

/* A relation of ours. */
struct tl__catalog_relation {
    struct tl_table_info info; /* first */
    const struct tl__catalog_shape *shape;
    bool information_schema;
    const char *const *rows; /* those that are always there, or NULL */
    tl__catalog_make *make;  /* the others, or NULL */
    const uint32_t *domains; /* by column: OID of the type, a domain's too */
};
/* All of them; ready from the first call on. */
const struct tl__catalog_relation *tl__catalog_relations(uint32_t *count);
const struct tl__catalog_relation *tl__catalog_relation_of(const struct tl_table_info *t);

/* catalog_rows.c, catalog_views.c: what fills a relation */
tl__catalog_make *tl__catalog_maker(const char *name);
const char *tl__catalog_view_text(const char *name, bool information_schema);

/* The relation with an OID, ours or the user's; NULL: none. */
const struct tl_table_info *tl__catalog_by_oid(const struct tl_catalog *c, uint32_t oid);
uint32_t tl__catalog_oid(const struct tl_table_info *t);
/* relkind: r, v, m. */
char tl__catalog_kind(const struct tl_table_info *t);
/* The OID of a column's type, domains too; its modifier. */
uint32_t tl__catalog_column_type(const struct tl_table_info *t, uint32_t column);
int32_t tl__catalog_typmod(struct tl_type type);
/* Whether a column is told of: a whole map cannot be read. */
static inline bool tl__catalog_column_shown(const struct tl_column_info *c)
{
    return c->type.kind != TL_PROPS;
}

/* Field `n` of a row in COPY's form, unescaped into buf; false: NULL, or no such field. */
bool tl__catalog_field(const char *row, uint32_t n, char *buf, size_t size);
/* The row of a fixed relation whose first field is this number; NULL: none. */
const char *tl__catalog_row_of(const char *const *rows, uint32_t oid);

#endif
