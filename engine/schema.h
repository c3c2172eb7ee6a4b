/*
 * engine/schema.h: the tables and their columns, as immutable versions.
 *
 * A schema is one version of the whole catalog. A change makes a new version that shares the
 * tables it did not touch; old versions stay until the database is closed (they are few and
 * small), so that plans and scans may keep pointers without counting references.
 *
 * A column is a number that is never reused: merchant_id is 1 and ts is 2 in every table, the
 * others follow in the order of their creation. A PROPS column takes two numbers: its keys (the
 * shape of a row's map) under the first and its values under the second, both stored as TEXT.
 *
 * Ownership  a schema owns nothing but its arrays; all memory is freed by tl_schema_store_deinit.
 * Threads    versions are read-only: any. Changes: one thread at a time.
 * Errors     TL_EXISTS, TL_NOT_FOUND, TL_INVALID (no merchant_id, bad type), TL_LIMIT.
 */
#ifndef TALLY_ENGINE_SCHEMA_H
#define TALLY_ENGINE_SCHEMA_H

#include "base/bytes.h"
#include "query/plan.h"
#include "query/source.h"

enum {
    TL_TABLES_MAX = 1024,
    TL_COLUMNS_MAX = 1024,
    TL_NAME_BYTES_MAX = 63,
    TL_PROPS_KEYS_MAX = 64,
    TL_PROPS_KEY_BYTES_MAX = 64,
    TL_PROPS_VALUE_BYTES_MAX = 4096,
};

struct tl_table {
    struct tl_table_info info; /* as a query sees it */
    uint32_t schema_version;   /* grows with every change of this table */
    uint32_t next_column_id;
    uint32_t partition_rows; /* a partition is expected to hold as many; 0: TL_PARTITION_ROWS */
    uint32_t storage_count;  /* columns as they are stored, ascending by id */
    struct tl_column_info *storage; /* PROPS as two TEXT columns; names are not set */
    int32_t event_id_column;        /* index into info.columns, or -1 */
};

struct tl_schema {
    struct tl_catalog catalog; /* first: the query floor's door */
    uint32_t table_count;
    const struct tl_table **tables; /* ascending by id */
    uint32_t view_count;
    const struct tl_view **views; /* engine/rollup.h; ascending by id */
    uint32_t views_made;          /* ids of views given so far, dropped ones counted */
};

struct tl_view;

/* Keeps every version made. */
struct tl_schema_store {
    struct tl_arena arena;
    const struct tl_schema *current;
};

void tl_schema_store_init(struct tl_schema_store *s);
void tl_schema_store_deinit(struct tl_schema_store *s);

/* The version with one more table. `partition_rows` 0: the default; `id` 0: the next free one. */
TL_CHECK enum tl_code tl_schema_create_table(struct tl_schema_store *s, const char *name,
                                             const struct tl_column_def *defs, uint32_t count,
                                             uint32_t partition_rows, uint32_t id,
                                             struct tl_status *st);
/* The version in which the table has this number of rows to a partition; 0: the default. */
TL_CHECK enum tl_code tl_schema_set_partition_rows(struct tl_schema_store *s, uint32_t table_id,
                                                   uint32_t rows, struct tl_status *st);
TL_CHECK enum tl_code tl_schema_add_column(struct tl_schema_store *s, uint32_t table_id,
                                           const struct tl_column_def *def, struct tl_status *st);
/* The version with the built-in table `events`. */
TL_CHECK enum tl_code tl_schema_create_events(struct tl_schema_store *s, struct tl_status *st);

const struct tl_table *tl_schema_by_id(const struct tl_schema *s, uint32_t id);
const struct tl_table *tl_schema_by_name(const struct tl_schema *s, struct tl_slice name);
/* Index into info.columns, or -1. */
int32_t tl_table_column(const struct tl_table *t, struct tl_slice name);
/* Index into storage of a column id, or -1. */
int32_t tl_table_storage(const struct tl_table *t, uint32_t column_id);

/* One table, for the manifest and the log. */
void tl_table_encode(const struct tl_table *t, struct tl_buffer *out);
/* Adds or replaces (by a newer schema version) the encoded table; an older one is ignored. */
TL_CHECK enum tl_code tl_schema_apply(struct tl_schema_store *s, struct tl_reader *r,
                                      struct tl_status *st);

#endif
