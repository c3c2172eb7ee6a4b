/*
 * wire/pg_types.h: our types as PostgreSQL's: object ids, and values as text and as binary.
 *
 * Text is what PostgreSQL's output functions print (DateStyle ISO, IntervalStyle postgres);
 * binary is what its send functions send. Parameters come in either form; a binary one may have
 * a narrower type than ours (int2, int4, float4).
 *
 * Ownership  a decoded value lives in the arena.
 * Threads    no shared state.
 * Errors     22P02 text that is no value, 22P03 binary that is none, 22003 out of range, 0A000 a
 *            type that is not known.
 */
#ifndef TALLY_WIRE_PG_TYPES_H
#define TALLY_WIRE_PG_TYPES_H

#include "base/arena.h"
#include "base/vector.h"
#include "base/zone.h"

enum {
    TL_PG_BOOL = 16,
    TL_PG_BYTEA = 17,
    TL_PG_INT8 = 20,
    TL_PG_INT2 = 21,
    TL_PG_INT4 = 23,
    TL_PG_TEXT = 25,
    TL_PG_OID = 26,
    TL_PG_JSON = 114,
    TL_PG_FLOAT4 = 700,
    TL_PG_FLOAT8 = 701,
    TL_PG_UNKNOWN = 705,
    TL_PG_BPCHAR = 1042,
    TL_PG_VARCHAR = 1043,
    TL_PG_DATE = 1082,
    TL_PG_TIMESTAMP = 1114,
    TL_PG_TIMESTAMPTZ = 1184,
    TL_PG_INTERVAL = 1186,
    TL_PG_NUMERIC = 1700,
    TL_PG_UUID = 2950,
    TL_PG_JSONB = 3802
};

uint32_t tl_pg_oid_of(struct tl_type type);
int16_t tl_pg_size_of(struct tl_type type);   /* -1: varies */
int32_t tl_pg_typmod_of(struct tl_type type); /* -1: none */
/* What to declare to the planner for a parameter of that id; kind TL_NULL: let it infer. */
TL_CHECK enum tl_code tl_pg_type_of(uint32_t oid, struct tl_type *out, struct tl_status *st);
/* The id of a type's name as PREPARE writes it; 0: unknown. */
uint32_t tl_pg_oid_of_name(const char *name);

/* Appends a value without its length. `row` indexes a FLAT or CONST vector and is not NULL. */
void tl_pg_put_value(struct tl_buffer *b, const struct tl_vector *v, uint32_t row, bool binary,
                     const struct tl_zone *zone, struct tl_zone_span *span);

/* A parameter's value that is not NULL. `oid` is what the client says it sends, 0: as `type`. */
TL_CHECK enum tl_code tl_pg_param(struct tl_slice bytes, bool binary, uint32_t oid,
                                  struct tl_type type, const char *time_zone,
                                  struct tl_arena *arena, struct tl_vector *out,
                                  struct tl_status *st);
/* Digits after the point of a number as it is sent; -1: it is none. */
int tl_pg_param_scale(struct tl_slice bytes, bool binary);

#endif
