/*
 * wire/schema_cache.h: the columns of tables, as far as row messages need them.
 *
 * Asked from the engine by preparing an empty query, and kept for a second: a column added
 * meanwhile is met as an unknown one, which the engine then judges.
 *
 * Ownership  a schema lives until the next call of get.
 * Threads    loop.
 */
#ifndef TALLY_WIRE_SCHEMA_CACHE_H
#define TALLY_WIRE_SCHEMA_CACHE_H

#include "base/bytes.h"
#include "base/vector.h"

struct tally;
struct tl_schema_cache;

struct tl_schema_column {
    char *name;
    size_t name_size;
    struct tl_type type;
};

struct tl_schema {
    uint32_t column_count;
    struct tl_schema_column *columns;
};

struct tl_schema_cache *tl_schema_cache_new(struct tally *db); /* NULL: no memory */
void tl_schema_cache_free(struct tl_schema_cache *c);
/* NULL: there is no such table, or it cannot be known now. */
const struct tl_schema *tl_schema_cache_get(struct tl_schema_cache *c, struct tl_slice table,
                                            uint64_t now_ms);
/* False: no such column. */
bool tl_schema_find(const struct tl_schema *s, struct tl_slice name, struct tl_type *out);

#endif
