/*
 * query/catalog.h: pg_catalog and information_schema, as tables that the executor reads.
 *
 * Each relation of PostgreSQL 15's has its name, OID, columns and types here. What it holds comes
 * from one of three places: rows that are the same everywhere (types, functions, operators), rows
 * made from the tables that the run sees (tl_catalog_vtable's table_count and table_at are the one
 * list of relations) and from what the session knows of itself, or a SELECT over the others. All
 * remaining ones are empty: Tally has none of what they describe.
 *
 * A session sees the shape of what it may read, and itself: no other users, sessions or rows.
 *
 * Ownership  what is found is constant. A session_info is borrowed for the life of a run.
 * Threads    any.
 */
#ifndef TALLY_QUERY_CATALOG_H
#define TALLY_QUERY_CATALOG_H

#include "query/source.h"

/* Table ids of these relations: the bit, and PostgreSQL's OID. */
#define TL_CATALOG_BIT 0x80000000U

enum {
    TL_OID_USER_FIRST = 16384, /* of a table or view: this and its id */
    TL_OID_PG_CATALOG = 11,
    TL_OID_PUBLIC = 2200,
    TL_OID_INFORMATION_SCHEMA = 13207,
    TL_OID_OWNER = 10,   /* the role `tally`, which owns everything */
    TL_OID_SELF = 16383, /* the session's role, when it is another one */
    TL_OID_DATABASE = 5,
    TL_OID_UNKNOWN = 705 /* the type of a literal that nothing has typed */
};
/* Of a table's primary key: its index and its constraint. */
#define TL_OID_INDEX_FIRST      0x20000000U
#define TL_OID_CONSTRAINT_FIRST 0x28000000U

/* What a session tells of itself; all zero: the operator `tally` on no particular connection. */
struct tl_session_info {
    const char *user;
    const char *database;
    bool merchant; /* not an operator */
    int32_t backend_pid;
    int64_t backend_start_us;
    int64_t server_start_us;
    const char *client_address; /* NULL: a Unix socket */
    uint16_t client_port;
    const char *server_address;
    uint16_t server_port;
    void *arg;
    /* A run-time parameter's value, NULL: there is none of that name. NULL: there are none. */
    const char *(*setting)(void *arg, const char *name);
    bool (*setting_at)(void *arg, size_t index, const char **name, const char **value,
                       const char **help);
    enum tl_code (*set)(void *arg, const char *name, const char *value, bool local,
                        struct tl_status *st);
    /* Bytes on the disk of a table or view, by its id; NULL: not known. The engine's. */
    uint64_t (*relation_bytes)(void *database, uint32_t table_id);
    void *database_arg;
};

/* The relation that a name means: along the search path (pg_catalog, then public), or in a schema.
 * NULL: none. Everything that reads FROM asks here. */
const struct tl_table_info *tl_catalog_find(const struct tl_catalog *c, const char *schema,
                                            const char *name);
/* What a function in FROM stands for, whatever its arguments (pg_get_keywords()); NULL: no such. */
const struct tl_table_info *tl_catalog_function(const char *name);
/* "pg_catalog", "information_schema" or "public". */
const char *tl_catalog_schema_of(const struct tl_table_info *t);
static inline bool tl_catalog_owns(uint32_t table_id)
{
    return (table_id & TL_CATALOG_BIT) != 0;
}
/* The SELECT that a relation stands for; NULL: it has rows of its own. */
static inline const char *tl_catalog_definition(const struct tl_table_info *t)
{
    return t->materialized_view ? NULL : t->definition;
}
/* Not even operators read it: it holds what Tally has none of (passwords). */
bool tl_catalog_refuses(const struct tl_table_info *t);

/* A source of these relations alone. */
struct tl_catalog_source {
    struct tl_source source; /* first */
    const struct tl_catalog *catalog;
    const struct tl_session_info *session; /* NULL: all zero */
};
void tl_catalog_source_init(struct tl_catalog_source *s, const struct tl_catalog *catalog,
                            const struct tl_session_info *session);

#endif
