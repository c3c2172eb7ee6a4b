/*
 * base/vector.h: a slice of one column; the currency between the floors.
 *
 * storage decodes into vectors, query computes on them, wire sends them. A vector holds at most
 * TL_VECTOR_ROWS_MAX rows in one of three shapes:
 *
 *   FLAT   `data` is an array of `count` values
 *   DICT   TEXT only: `codes` is an array of `count` indexes into `dict`
 *   CONST  `data` holds one value that stands for all `count` rows (validity bit 0 alone counts)
 *
 * How a value lies in `data`:
 *   BOOLEAN uint8_t 0/1 · BIGINT int64_t · DOUBLE double · DECIMAL64 int64_t × 10^-scale
 *   DECIMAL128 tl_i128 × 10^-scale · DATE int32_t days since 1970-01-01
 *   TIMESTAMP, TIMESTAMPTZ int64_t microseconds (UTC for TIMESTAMPTZ) since 1970-01-01
 *   INTERVAL struct tl_interval · TEXT struct tl_slice (UTF-8, no NUL, at most 64 KiB)
 *   ARRAY struct tl_slice of an immutable blob that describes itself (base/array.h)
 *
 * A dictionary has an identity and a size; its strings may be loaded late, so that grouping and
 * counting distinct values can run on codes and never read a string page. Two vectors of one
 * dictionary identity may be compared by code; codes of different dictionaries may not.
 *
 * Ownership  a vector borrows everything; who made it says in which arena its arrays live.
 * Threads    a vector belongs to one thread; a dictionary may be read by any.
 */
#ifndef TALLY_BASE_VECTOR_H
#define TALLY_BASE_VECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/int128.h"
#include "base/status.h"

struct tl_arena;

enum { TL_VECTOR_ROWS_MAX = 2048, TL_TEXT_BYTES_MAX = 65536 };

/* Numbers stand in files and on the wire: never reused. */
enum tl_kind {
    TL_NULL = 0, /* the type of an untyped NULL; in no column */
    TL_BOOLEAN = 1,
    TL_BIGINT = 2,
    TL_DOUBLE = 3,
    TL_DECIMAL64 = 4,  /* DECIMAL(18,s) */
    TL_DECIMAL128 = 5, /* DECIMAL(38,s): results only */
    TL_DATE = 6,
    TL_TIMESTAMP = 7,
    TL_TIMESTAMPTZ = 8,
    TL_INTERVAL = 9,
    TL_TEXT = 10,
    TL_PROPS = 11, /* TEXT -> TEXT map; in tables only, read as props['key'], which is TEXT */
    TL_ARRAY = 12, /* one dimension; in results and expressions, in no table */
    TL_KIND_COUNT
};

/* What PostgreSQL calls a type when it is not our kind's plain one. It changes no value: types that
 * differ in it alone are equal, execution never looks at it. The binder keeps it through columns,
 * casts and results, so that clients are told the type that PostgreSQL would tell. */
enum tl_flavour {
    TL_PLAIN = 0,
    TL_FLAVOUR_INT2, /* BIGINT, range-checked where it was cast */
    TL_FLAVOUR_INT4,
    TL_FLAVOUR_OID,
    TL_FLAVOUR_XID,
    TL_FLAVOUR_REGCLASS, /* BIGINT: an oid that is written as a name */
    TL_FLAVOUR_REGTYPE,
    TL_FLAVOUR_REGPROC,
    TL_FLAVOUR_REGNAMESPACE,
    TL_FLAVOUR_FLOAT4, /* DOUBLE */
    TL_FLAVOUR_NAME,   /* TEXT */
    TL_FLAVOUR_CHAR,   /* "char", one byte */
    TL_FLAVOUR_VARCHAR,
    TL_FLAVOUR_BPCHAR,
    TL_FLAVOUR_JSON,
    TL_FLAVOUR_JSONB,
    TL_FLAVOUR_UNKNOWN,
    TL_FLAVOUR_VOID,
    TL_FLAVOUR_BYTEA,      /* TEXT that holds PostgreSQL's hexadecimal form */
    TL_FLAVOUR_INT2VECTOR, /* ARRAY of BIGINT whose lower bound is 0 */
    TL_FLAVOUR_OIDVECTOR,
    TL_FLAVOUR_ACLITEM, /* TEXT */
    TL_FLAVOUR_NODE_TREE,
    TL_FLAVOUR_CID, /* BIGINT; with what follows only in catalogs */
    TL_FLAVOUR_XID8,
    TL_FLAVOUR_REGROLE,
    TL_FLAVOUR_REGPROCEDURE,
    TL_FLAVOUR_REGOPER,
    TL_FLAVOUR_REGOPERATOR,
    TL_FLAVOUR_REGCONFIG,
    TL_FLAVOUR_REGDICTIONARY,
    TL_FLAVOUR_REGCOLLATION,
    TL_FLAVOUR_UUID, /* TEXT */
    TL_FLAVOUR_INET,
    TL_FLAVOUR_TID,
    TL_FLAVOUR_PG_LSN,
    TL_FLAVOUR_ANYARRAY,
    TL_FLAVOUR_PG_NDISTINCT,
    TL_FLAVOUR_PG_DEPENDENCIES,
    TL_FLAVOUR_PG_MCV_LIST,
    TL_FLAVOUR_RECORD,
    TL_FLAVOUR_CSTRING,
    TL_FLAVOUR_COUNT
};

struct tl_type {
    uint8_t kind;    /* enum tl_kind */
    uint8_t scale;   /* of the two decimals (also as an array's elements), 0 otherwise */
    uint8_t flavour; /* enum tl_flavour; of an ARRAY: its elements', or one of the two vectors */
    uint8_t element; /* enum tl_kind of an ARRAY's elements, 0 otherwise */
};

/* PostgreSQL's interval: three parts that do not convert into each other. */
struct tl_interval {
    int64_t us;
    int32_t days;
    int32_t months;
};

enum tl_shape { TL_FLAT, TL_DICT, TL_CONST };

struct tl_dict;

struct tl_dict_vtable {
    /* Sets out[i] to the string of codes[i]. The strings live as long as the dictionary's owner
     * keeps it (a scan keeps the dictionaries it handed out). Any thread. */
    enum tl_code (*get)(const struct tl_dict *d, const uint32_t *codes, uint32_t count,
                        struct tl_slice *out, struct tl_status *st);
};

struct tl_dict {
    uint64_t id;                       /* never 0; equal ids mean equal codes */
    uint32_t count;                    /* codes are < count */
    const struct tl_slice *values;     /* all strings, or NULL: ask `get` */
    const struct tl_dict_vtable *vtab; /* may be NULL when values is set */
};

struct tl_vector {
    struct tl_type type;
    uint8_t shape;              /* enum tl_shape */
    uint32_t count;             /* rows */
    const void *data;           /* FLAT and CONST */
    const uint32_t *codes;      /* DICT */
    const struct tl_dict *dict; /* DICT */
    const uint64_t *validity;   /* bit i set: row i is not NULL; NULL: none is NULL */
};

static inline bool tl_bit_get(const uint64_t *bits, uint32_t i)
{
    return (bits[i >> 6] >> (i & 63)) & 1;
}
static inline void tl_bit_set(uint64_t *bits, uint32_t i)
{
    bits[i >> 6] |= 1ULL << (i & 63);
}
static inline void tl_bit_clear(uint64_t *bits, uint32_t i)
{
    bits[i >> 6] &= ~(1ULL << (i & 63));
}
static inline uint32_t tl_bit_words(uint32_t count)
{
    return (count + 63) / 64;
}
static inline bool tl_vector_valid(const struct tl_vector *v, uint32_t row)
{
    return !v->validity || tl_bit_get(v->validity, v->shape == TL_CONST ? 0 : row);
}

/* Bytes of one value in a FLAT vector; 0 for TL_NULL and TL_PROPS. */
uint32_t tl_kind_width(enum tl_kind kind);
/* "BIGINT", "DECIMAL(18,4)", … into buf, which is returned. */
const char *tl_type_name(struct tl_type type, char *buf, size_t size);
static inline struct tl_type tl_type_of(enum tl_kind kind)
{
    return (struct tl_type){.kind = (uint8_t)kind};
}
static inline struct tl_type tl_type_flavoured(enum tl_kind kind, enum tl_flavour flavour)
{
    return (struct tl_type){.kind = (uint8_t)kind, .flavour = (uint8_t)flavour};
}
/* A BIGINT that is written as the name of what it numbers; a result's TEXT, which is that name. */
static inline bool tl_flavour_is_reg(uint8_t flavour)
{
    return (flavour >= TL_FLAVOUR_REGCLASS && flavour <= TL_FLAVOUR_REGNAMESPACE) ||
           (flavour >= TL_FLAVOUR_REGROLE && flavour <= TL_FLAVOUR_REGCOLLATION);
}
/* The array of an element type, and back. */
static inline struct tl_type tl_type_array(struct tl_type element)
{
    return (struct tl_type){TL_ARRAY, element.scale, element.flavour, element.kind};
}
static inline struct tl_type tl_type_element(struct tl_type array)
{
    uint8_t flavour = array.flavour == TL_FLAVOUR_INT2VECTOR  ? TL_FLAVOUR_INT2
                      : array.flavour == TL_FLAVOUR_OIDVECTOR ? TL_FLAVOUR_OID
                                                              : array.flavour;
    return (struct tl_type){array.element, array.scale, flavour, 0};
}
/* Values are slices that point elsewhere: whoever keeps one copies its bytes. */
static inline bool tl_kind_is_bytes(uint8_t kind)
{
    return kind == TL_TEXT || kind == TL_ARRAY;
}
static inline bool tl_type_eq(struct tl_type a, struct tl_type b)
{
    return a.kind == b.kind && a.scale == b.scale && a.element == b.element;
}

/* Loads the strings of `count` codes, through values or get. */
TL_CHECK enum tl_code tl_dict_get(const struct tl_dict *d, const uint32_t *codes, uint32_t count,
                                  struct tl_slice *out, struct tl_status *st);

/* A FLAT copy of v in the arena; v itself when it is FLAT already. */
TL_CHECK enum tl_code tl_vector_flatten(const struct tl_vector *v, struct tl_arena *arena,
                                        struct tl_vector *out, struct tl_status *st);

/* A new dictionary identity, unique in this process. Any thread. */
uint64_t tl_dict_new_id(void);

/* Whole-structure check for tests: shapes, codes in range, pointers present. */
bool tl_vector_check(const struct tl_vector *v);

#endif
