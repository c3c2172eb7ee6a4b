/*
 * base/pg_type.h: what PostgreSQL calls our types: OIDs, names, sizes.
 *
 * The numbers are those of PostgreSQL's pg_type.dat. Every type of ours has one; several of
 * PostgreSQL's are one of ours with another flavour. The table also lists types by name and OID, so
 * that casts, declared parameters and the catalogs can go the other way.
 *
 * Ownership  constant. Threads  any.
 */
#ifndef TALLY_BASE_PG_TYPE_H
#define TALLY_BASE_PG_TYPE_H

#include "base/vector.h"

struct tl_pg_type {
    uint32_t oid;
    uint32_t array_oid; /* of its array; 0: none */
    int16_t size;       /* typlen: bytes, -1 variable, -2 a C string */
    char category;      /* typcategory */
    const char *name;   /* typname: int4, timestamptz */
    const char *label;  /* format_type: integer, timestamp with time zone */
    struct tl_type type;
};

/* All types that are not arrays of another row; *count of them. */
const struct tl_pg_type *tl_pg_types(uint32_t *count);
/* The row of a type; of an array's element type, unless it is a vector of PostgreSQL's. */
const struct tl_pg_type *tl_pg_type_row(struct tl_type type);
/* The OID of a type, arrays too. */
uint32_t tl_pg_type_oid(struct tl_type type);
int16_t tl_pg_type_size(struct tl_type type);
/* "integer", "integer[]" into buf, which is returned. */
const char *tl_pg_type_label(struct tl_type type, char *buf, size_t size);
/* The type of an OID or of a name as pg_type has it ("int4", "_int4") or as SQL writes it
 * ("integer", "integer[]"); false: not known. numeric is DECIMAL128 of scale 0. */
bool tl_pg_type_by_oid(uint32_t oid, struct tl_type *out);
bool tl_pg_type_by_name(struct tl_slice name, struct tl_type *out);

#endif
