#include "base/pg_type.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
#define PLAIN(k)    {.kind = (k)}
#define OTHER(k, f) {.kind = (k), .flavour = TL_FLAVOUR_##f}
#define VECTOR(f)   {.kind = TL_ARRAY, .element = TL_BIGINT, .flavour = TL_FLAVOUR_##f}

static const struct tl_pg_type rows[] = {
    {16, 1000, 1, 'B', "bool", "boolean", PLAIN(TL_BOOLEAN)},
    {20, 1016, 8, 'N', "int8", "bigint", PLAIN(TL_BIGINT)},
    {21, 1005, 2, 'N', "int2", "smallint", OTHER(TL_BIGINT, INT2)},
    {23, 1007, 4, 'N', "int4", "integer", OTHER(TL_BIGINT, INT4)},
    {26, 1028, 4, 'N', "oid", "oid", OTHER(TL_BIGINT, OID)},
    {28, 1011, 4, 'U', "xid", "xid", OTHER(TL_BIGINT, XID)},
    {2205, 2210, 4, 'N', "regclass", "regclass", OTHER(TL_BIGINT, REGCLASS)},
    {2206, 2211, 4, 'N', "regtype", "regtype", OTHER(TL_BIGINT, REGTYPE)},
    {24, 1008, 4, 'N', "regproc", "regproc", OTHER(TL_BIGINT, REGPROC)},
    {4089, 4090, 4, 'N', "regnamespace", "regnamespace", OTHER(TL_BIGINT, REGNAMESPACE)},
    {701, 1022, 8, 'N', "float8", "double precision", PLAIN(TL_DOUBLE)},
    {700, 1021, 4, 'N', "float4", "real", OTHER(TL_DOUBLE, FLOAT4)},
    {1700, 1231, -1, 'N', "numeric", "numeric", PLAIN(TL_DECIMAL128)},
    {1082, 1182, 4, 'D', "date", "date", PLAIN(TL_DATE)},
    {1114, 1115, 8, 'D', "timestamp", "timestamp without time zone", PLAIN(TL_TIMESTAMP)},
    {1184, 1185, 8, 'D', "timestamptz", "timestamp with time zone", PLAIN(TL_TIMESTAMPTZ)},
    {1186, 1187, 16, 'T', "interval", "interval", PLAIN(TL_INTERVAL)},
    {25, 1009, -1, 'S', "text", "text", PLAIN(TL_TEXT)},
    {19, 1003, 64, 'S', "name", "name", OTHER(TL_TEXT, NAME)},
    {18, 1002, 1, 'Z', "char", "\"char\"", OTHER(TL_TEXT, CHAR)},
    {1043, 1015, -1, 'S', "varchar", "character varying", OTHER(TL_TEXT, VARCHAR)},
    {1042, 1014, -1, 'S', "bpchar", "character", OTHER(TL_TEXT, BPCHAR)},
    {114, 199, -1, 'U', "json", "json", OTHER(TL_TEXT, JSON)},
    {3802, 3807, -1, 'U', "jsonb", "jsonb", OTHER(TL_TEXT, JSONB)},
    {705, 0, -2, 'X', "unknown", "unknown", OTHER(TL_TEXT, UNKNOWN)},
    {2278, 0, 4, 'P', "void", "void", OTHER(TL_TEXT, VOID)},
    {17, 1001, -1, 'U', "bytea", "bytea", OTHER(TL_TEXT, BYTEA)},
    {1033, 1034, 16, 'U', "aclitem", "aclitem", OTHER(TL_TEXT, ACLITEM)},
    {194, 0, -1, 'Z', "pg_node_tree", "pg_node_tree", OTHER(TL_TEXT, NODE_TREE)},
    {29, 1012, 4, 'U', "cid", "cid", OTHER(TL_BIGINT, CID)},
    {5069, 271, 8, 'U', "xid8", "xid8", OTHER(TL_BIGINT, XID8)},
    {4096, 4097, 4, 'N', "regrole", "regrole", OTHER(TL_BIGINT, REGROLE)},
    {2202, 2207, 4, 'N', "regprocedure", "regprocedure", OTHER(TL_BIGINT, REGPROCEDURE)},
    {2203, 2208, 4, 'N', "regoper", "regoper", OTHER(TL_BIGINT, REGOPER)},
    {2204, 2209, 4, 'N', "regoperator", "regoperator", OTHER(TL_BIGINT, REGOPERATOR)},
    {3734, 3735, 4, 'N', "regconfig", "regconfig", OTHER(TL_BIGINT, REGCONFIG)},
    {3769, 3770, 4, 'N', "regdictionary", "regdictionary", OTHER(TL_BIGINT, REGDICTIONARY)},
    {4191, 4192, 4, 'N', "regcollation", "regcollation", OTHER(TL_BIGINT, REGCOLLATION)},
    {2950, 2951, 16, 'U', "uuid", "uuid", OTHER(TL_TEXT, UUID)},
    {869, 1041, -1, 'I', "inet", "inet", OTHER(TL_TEXT, INET)},
    {27, 1010, 6, 'U', "tid", "tid", OTHER(TL_TEXT, TID)},
    {3220, 3221, 8, 'U', "pg_lsn", "pg_lsn", OTHER(TL_TEXT, PG_LSN)},
    {2277, 0, -1, 'P', "anyarray", "anyarray", OTHER(TL_TEXT, ANYARRAY)},
    {3361, 0, -1, 'Z', "pg_ndistinct", "pg_ndistinct", OTHER(TL_TEXT, PG_NDISTINCT)},
    {3402, 0, -1, 'Z', "pg_dependencies", "pg_dependencies", OTHER(TL_TEXT, PG_DEPENDENCIES)},
    {5017, 0, -1, 'Z', "pg_mcv_list", "pg_mcv_list", OTHER(TL_TEXT, PG_MCV_LIST)},
    {2249, 2287, -1, 'P', "record", "record", OTHER(TL_TEXT, RECORD)},
    {2275, 1263, -2, 'P', "cstring", "cstring", OTHER(TL_TEXT, CSTRING)},
    {22, 1006, -1, 'A', "int2vector", "int2vector", VECTOR(INT2VECTOR)},
    {30, 1013, -1, 'A', "oidvector", "oidvector", VECTOR(OIDVECTOR)},
};
/* clang-format on */
enum { ROWS = sizeof(rows) / sizeof(rows[0]), TEXT_ROW = 17 };

const struct tl_pg_type *tl_pg_types(uint32_t *count)
{
    *count = ROWS;
    return rows;
}

static bool is_vector(struct tl_type t)
{
    return t.flavour == TL_FLAVOUR_INT2VECTOR || t.flavour == TL_FLAVOUR_OIDVECTOR;
}

const struct tl_pg_type *tl_pg_type_row(struct tl_type type)
{
    bool vector = type.kind == TL_ARRAY && is_vector(type);
    uint8_t kind = type.kind == TL_ARRAY && !vector ? type.element : type.kind;
    const struct tl_pg_type *plain = NULL;
    if (kind == TL_DECIMAL64)
        kind = TL_DECIMAL128;
    for (uint32_t i = 0; i < ROWS; i++) {
        /* A name that a result has for an oid is told as what it stands for. */
        bool alias = kind == TL_TEXT && tl_flavour_is_reg(type.flavour);
        if (rows[i].type.kind != kind && !alias)
            continue;
        if (rows[i].type.flavour == type.flavour)
            return &rows[i];
        if (rows[i].type.flavour == TL_PLAIN)
            plain = &rows[i];
    }
    return plain ? plain : &rows[TEXT_ROW]; /* an untyped NULL, props */
}

static bool is_array(struct tl_type type)
{
    return type.kind == TL_ARRAY && !is_vector(type);
}

uint32_t tl_pg_type_oid(struct tl_type type)
{
    const struct tl_pg_type *row = tl_pg_type_row(type);
    return is_array(type) ? row->array_oid : row->oid;
}

int16_t tl_pg_type_size(struct tl_type type)
{
    return is_array(type) ? -1 : tl_pg_type_row(type)->size;
}

const char *tl_pg_type_label(struct tl_type type, char *buf, size_t size)
{
    snprintf(buf, size, "%s%s", tl_pg_type_row(type)->label, is_array(type) ? "[]" : "");
    return buf;
}

bool tl_pg_type_by_oid(uint32_t oid, struct tl_type *out)
{
    for (uint32_t i = 0; i < ROWS && oid != 0; i++) {
        if (rows[i].oid != oid && rows[i].array_oid != oid)
            continue;
        *out = rows[i].oid == oid ? rows[i].type : tl_type_array(rows[i].type);
        return rows[i].oid == oid || rows[i].type.kind != TL_ARRAY;
    }
    return false;
}

bool tl_pg_type_by_name(struct tl_slice name, struct tl_type *out)
{
    bool array = false;
    if (name.size > 2 && memcmp(name.data + name.size - 2, "[]", 2) == 0) {
        array = true;
        name.size -= 2;
    } else if (name.size > 1 && name.data[0] == '_') {
        array = true;
        name = tl_slice_of(name.data + 1, name.size - 1);
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        if (!tl_slice_eq(name, tl_slice_str(rows[i].name)) &&
            !tl_slice_eq(name, tl_slice_str(rows[i].label)))
            continue;
        if (array && (rows[i].array_oid == 0 || rows[i].type.kind == TL_ARRAY))
            return false;
        *out = array ? tl_type_array(rows[i].type) : rows[i].type;
        return true;
    }
    return false;
}
