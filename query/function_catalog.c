/*
 * query/function_catalog.c: functions over the catalogs and about the session, and the names that
 * regclass and its like have for OIDs.
 *
 * What they say follows from the catalog that the run sees and from what the session tells of
 * itself (query/catalog.h); none of it is computed while binding but the literals of reg types.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/pg_type.h"
#include "base/text.h"
#include "query/catalog_int.h"
#include "query/function_int.h"

enum { NAME_MAX_BYTES = 64, TEXT_LIMIT = 1 << 20 };

static const struct tl_session_info nobody;

static const struct tl_session_info *session_of(const struct tl__call *c)
{
    return c->ctx->session ? c->ctx->session : &nobody;
}

static int64_t int_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(int64_t, c, a)[row * tl__step(&c->args[a])];
}

static bool bool_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(uint8_t, c, a)[row * tl__step(&c->args[a])] != 0;
}

static bool arg_is_null(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return !tl_vector_valid(&c->args[a], c->args[a].shape == TL_CONST ? 0 : row);
}

/* An OID beyond 32 bits names nothing. */
static uint32_t oid_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    int64_t v = int_arg(c, a, row);
    return v > 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

/* ---- kernels of one text or NULL per row ---- */

typedef enum tl_code text_of_row(struct tl__call *c, uint32_t row, struct tl_buffer *out,
                                 bool *null);

static enum tl_code each_text(struct tl__call *c, text_of_row *one)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    struct tl_buffer text;
    tl_buffer_init(&text, "a text of the catalog", TEXT_LIMIT);
    enum tl_code rc = TL_OK;
    TL__EACH(c, i)
    {
        bool null = false;
        text.size = 0;
        rc = one(c, i, &text, &null);
        if (!rc)
            rc = tl_buffer_check(&text, c->st);
        const void *copy =
            rc ? NULL
               : tl_arena_copy(c->ctx->arena, text.data ? text.data : (const void *)"", text.size,
                               c->st);
        if (!copy) {
            rc = c->st->code;
            break;
        }
        out[i] = tl_slice_of(copy, text.size);
        if (null)
            tl_bit_clear(valid, i);
    }
    tl_buffer_deinit(&text);
    return rc;
}

#define TEXT_KERNEL(name)                                                                          \
    static enum tl_code name##_row(struct tl__call *c, uint32_t row, struct tl_buffer *out,        \
                                   bool *null);                                                    \
    TL__KERNEL(name)                                                                               \
    {                                                                                              \
        return each_text(c, name##_row);                                                           \
    }                                                                                              \
    static enum tl_code name##_row(struct tl__call *c, uint32_t row, struct tl_buffer *out,        \
                                   bool *null)

static enum tl_code say(struct tl_buffer *out, const char *text)
{
    tl_buffer_put(out, text, strlen(text));
    return TL_OK;
}

static enum tl_code say_null(bool *null)
{
    *null = true;
    return TL_OK;
}

/* As quote_ident has it. */
static void say_name(struct tl_buffer *out, const char *name)
{
    bool plain = (*name >= 'a' && *name <= 'z') || *name == '_';
    for (const char *p = name; *p && plain; p++)
        plain = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '_' || *p == '$';
    if (plain) {
        say(out, name);
        return;
    }
    tl_buffer_put_u8(out, '"');
    for (const char *p = name; *p; p++) {
        if (*p == '"')
            tl_buffer_put_u8(out, '"');
        tl_buffer_put_u8(out, (uint8_t)*p);
    }
    tl_buffer_put_u8(out, '"');
}

/* ---- OIDs as names ---- */

/* Whether the name without its schema means this relation. */
static bool is_visible(const struct tl__call *c, const struct tl_table_info *t)
{
    return c->ctx->catalog && tl_catalog_find(c->ctx->catalog, NULL, t->name) == t;
}

static void say_relation(struct tl__call *c, struct tl_buffer *out, const struct tl_table_info *t)
{
    if (!is_visible(c, t)) {
        say_name(out, tl_catalog_schema_of(t));
        tl_buffer_put_u8(out, '.');
    }
    say_name(out, t->name);
}

static const struct tl_table_info *relation_of(const struct tl__call *c, uint32_t oid)
{
    return c->ctx->catalog ? tl__catalog_by_oid(c->ctx->catalog, oid) : NULL;
}

/* The table whose primary key is the index or constraint. */
static const struct tl_table_info *key_of(const struct tl__call *c, uint32_t oid, uint32_t first)
{
    if (!c->ctx->catalog || oid < first)
        return NULL;
    const struct tl_table_info *t = relation_of(c, oid - first + TL_OID_USER_FIRST);
    return t && t->key_count > 0 ? t : NULL;
}

static bool say_key_name(struct tl__call *c, struct tl_buffer *out, uint32_t oid, uint32_t first)
{
    const struct tl_table_info *t = key_of(c, oid, first);
    char name[NAME_MAX_BYTES + 8];
    if (!t)
        return false;
    snprintf(name, sizeof(name), "%s_pkey", t->name);
    say_name(out, name);
    return true;
}

TEXT_KERNEL(regclass_text)
{
    (void)null;
    uint32_t oid = oid_arg(c, 0, row);
    const struct tl_table_info *t = relation_of(c, oid);
    if (t)
        say_relation(c, out, t);
    else if (oid == 0)
        say(out, "-");
    else if (!say_key_name(c, out, oid, TL_OID_INDEX_FIRST))
        tl_buffer_printf(out, "%u", oid);
    return TL_OK;
}

/* What format_type says. */
static void say_type(struct tl_buffer *out, uint32_t oid, int32_t typmod)
{
    struct tl_type type;
    char label[80];
    if (oid == 0) {
        say(out, "-");
    } else if (tl_pg_type_by_oid(oid, &type)) {
        bool array = type.kind == TL_ARRAY && tl_pg_type_row(type)->oid != oid;
        say(out, tl_pg_type_row(type)->label);
        if (typmod >= 4 && (oid == 1700 || oid == 1231))
            tl_buffer_printf(out, "(%d,%d)", (typmod - 4) >> 16, (typmod - 4) & 0xffff);
        else if (typmod >= 4 && (oid == 1043 || oid == 1042))
            tl_buffer_printf(out, "(%d)", typmod - 4);
        if (array)
            say(out, "[]");
    } else {
        const char *row = tl__catalog_row_of(tl__catalog_pg_type, oid);
        char schema[16] = "", element[16] = "";
        if (!row || !tl__catalog_field(row, 1, label, sizeof(label))) {
            say(out, "???");
            return;
        }
        if (tl__catalog_field(row, 2, schema, sizeof(schema)) && strcmp(schema, "11") != 0)
            say(out, "information_schema.");
        uint32_t of = tl__catalog_field(row, 13, element, sizeof(element))
                          ? (uint32_t)strtoul(element, NULL, 10)
                          : 0;
        if (of && label[0] == '_') {
            say_name(out, label + 1);
            say(out, "[]");
        } else if (strcmp(label, "any") == 0 || strcmp(label, "char") == 0) {
            tl_buffer_printf(out, "\"%s\"", label);
        } else {
            say_name(out, label);
        }
    }
}

TEXT_KERNEL(regtype_text)
{
    (void)null;
    say_type(out, oid_arg(c, 0, row), -1);
    return TL_OK;
}

TEXT_KERNEL(regproc_text)
{
    (void)null;
    char name[NAME_MAX_BYTES];
    uint32_t oid = oid_arg(c, 0, row);
    const char *proc = tl__catalog_row_of(tl__catalog_pg_proc, oid);
    if (oid == 0)
        return say(out, "-");
    if (!proc || !tl__catalog_field(proc, 1, name, sizeof(name))) {
        tl_buffer_printf(out, "%u", oid);
        return TL_OK;
    }
    say_name(out, name);
    return TL_OK;
}

static const struct {
    uint32_t oid;
    const char *name;
} schemas[] = {{TL_OID_PG_CATALOG, "pg_catalog"},
               {TL_OID_PUBLIC, "public"},
               {TL_OID_INFORMATION_SCHEMA, "information_schema"}};
enum { SCHEMAS = sizeof(schemas) / sizeof(schemas[0]) };

TEXT_KERNEL(regnamespace_text)
{
    (void)null;
    uint32_t oid = oid_arg(c, 0, row);
    for (size_t i = 0; i < SCHEMAS; i++)
        if (schemas[i].oid == oid)
            return say(out, schemas[i].name);
    if (oid == 0)
        return say(out, "-");
    tl_buffer_printf(out, "%u", oid);
    return TL_OK;
}

static const char *role_of(const struct tl__call *c, uint32_t oid)
{
    const char *user = session_of(c)->user;
    return oid == TL_OID_OWNER ? "tally" : oid == TL_OID_SELF && user ? user : NULL;
}

TEXT_KERNEL(regrole_text)
{
    (void)null;
    uint32_t oid = oid_arg(c, 0, row);
    const char *name = role_of(c, oid);
    if (name)
        say_name(out, name);
    else if (oid == 0)
        say(out, "-");
    else
        tl_buffer_printf(out, "%u", oid);
    return TL_OK;
}

/* ---- names as OIDs ---- */

/* Splits [schema.]name, folding what is not quoted; false: it is no name. */
static bool split_name(struct tl_slice text, char parts[2][NAME_MAX_BYTES], uint32_t *count)
{
    const char *p = (const char *)text.data, *end = p + text.size;
    *count = 0;
    for (;;) {
        size_t used = 0;
        if (*count == 2)
            return false;
        char *out = parts[*count];
        while (p < end && *p == ' ')
            p++;
        bool quoted = p < end && *p == '"';
        p += quoted;
        for (; p < end; p++) {
            if (quoted && *p == '"') {
                if (p + 1 < end && p[1] == '"')
                    p++;
                else
                    break;
            } else if (!quoted && (*p == '.' || *p == ' ')) {
                break;
            }
            if (used + 1 >= NAME_MAX_BYTES)
                return false;
            out[used++] = (char)(!quoted && *p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        }
        out[used] = '\0';
        if (quoted && p++ >= end)
            return false;
        while (p < end && *p == ' ')
            p++;
        if (used == 0)
            return false;
        ++*count;
        if (p == end)
            return true;
        if (*p++ != '.')
            return false;
    }
}

static enum tl_code no_such(struct tl_status *st, const char *sqlstate, const char *what,
                            struct tl_slice text)
{
    TL_FAIL(st, TL_NOT_FOUND, "%s \"%.*s\" does not exist", what,
            (int)(text.size < 100 ? text.size : 100), (const char *)text.data);
    return tl_status_sql(st, sqlstate, 0);
}

/* 0: there is none. */
static uint32_t find_class(const struct tl_catalog *catalog, struct tl_slice text)
{
    char parts[2][NAME_MAX_BYTES];
    uint32_t count;
    if (!catalog || !split_name(text, parts, &count))
        return 0;
    const char *schema = count == 2 ? parts[0] : NULL, *name = parts[count - 1];
    const struct tl_table_info *t = tl_catalog_find(catalog, schema, name);
    if (t)
        return tl__catalog_oid(t);
    for (uint32_t i = 0; i < catalog->vtab->table_count(catalog); i++) {
        char index[NAME_MAX_BYTES + 8];
        t = catalog->vtab->table_at(catalog, i);
        snprintf(index, sizeof(index), "%s_pkey", t->name);
        if (t->key_count > 0 && strcmp(index, name) == 0 &&
            (!schema || strcmp(schema, "public") == 0))
            return t->id + TL_OID_INDEX_FIRST;
    }
    return 0;
}

static uint32_t find_type(struct tl_slice text)
{
    char parts[2][NAME_MAX_BYTES], label[NAME_MAX_BYTES];
    struct tl_type type;
    uint32_t count;
    if (tl_pg_type_by_name(text, &type))
        return tl_pg_type_oid(type);
    bool array = text.size > 2 && memcmp(text.data + text.size - 2, "[]", 2) == 0;
    if (array)
        text.size -= 2;
    if (!split_name(text, parts, &count))
        return 0;
    struct tl_slice name = tl_slice_str(parts[count - 1]);
    if (tl_pg_type_by_name(name, &type))
        return tl_pg_type_oid(array ? tl_type_array(type) : type);
    for (const char *const *row = tl__catalog_pg_type; *row; row++)
        if (tl__catalog_field(*row, 1, label, sizeof(label)) &&
            strcmp(label + (array && label[0] == '_'), parts[count - 1]) == 0 &&
            (!array || label[0] == '_'))
            return (uint32_t)strtoul(*row, NULL, 10);
    return 0;
}

static uint32_t find_proc(struct tl_slice text, bool *several)
{
    char parts[2][NAME_MAX_BYTES], name[NAME_MAX_BYTES];
    uint32_t count, found = 0;
    const void *bracket = text.size ? memchr(text.data, '(', text.size) : NULL;
    if (bracket)
        text.size = (size_t)((const uint8_t *)bracket - text.data);
    *several = false;
    if (!split_name(text, parts, &count))
        return 0;
    for (const char *const *row = tl__catalog_pg_proc; *row; row++) {
        if (!tl__catalog_field(*row, 1, name, sizeof(name)) || strcmp(name, parts[count - 1]) != 0)
            continue;
        *several = found != 0 && !bracket;
        found = found ? found : (uint32_t)strtoul(*row, NULL, 10);
    }
    return found;
}

static uint32_t find_namespace(struct tl_slice text)
{
    char parts[2][NAME_MAX_BYTES];
    uint32_t count;
    if (split_name(text, parts, &count) && count == 1)
        for (size_t i = 0; i < SCHEMAS; i++)
            if (strcmp(schemas[i].name, parts[0]) == 0)
                return schemas[i].oid;
    return 0;
}

static uint32_t find_role(const struct tl__call *c, struct tl_slice text)
{
    char parts[2][NAME_MAX_BYTES];
    uint32_t count;
    if (!split_name(text, parts, &count) || count != 1)
        return 0;
    const char *user = session_of(c)->user;
    return strcmp(parts[0], "tally") == 0        ? (uint32_t)TL_OID_OWNER
           : user && strcmp(parts[0], user) == 0 ? (uint32_t)TL_OID_SELF
                                                 : 0;
}

enum tl_code tl__reg_parse(struct tl__call *c, struct tl_slice text, uint8_t flavour, int64_t *out)
{
    bool several = false;
    struct tl_status number = TL_STATUS_INIT;
    text = tl_text_trim(text);
    if (text.size == 1 && text.data[0] == '-') {
        *out = 0;
        return TL_OK;
    }
    if (text.size > 0 && text.data[0] >= '0' && text.data[0] <= '9')
        return tl_parse_int64(text, out, &number) ? no_such(c->st, "22P02", "the OID", text)
                                                  : TL_OK;
    switch (flavour) {
    case TL_FLAVOUR_REGCLASS:
        *out = find_class(c->ctx->catalog, text);
        return *out ? TL_OK : no_such(c->st, "42P01", "relation", text);
    case TL_FLAVOUR_REGTYPE:
        *out = find_type(text);
        return *out ? TL_OK : no_such(c->st, "42704", "type", text);
    case TL_FLAVOUR_REGNAMESPACE:
        *out = find_namespace(text);
        return *out ? TL_OK : no_such(c->st, "3F000", "schema", text);
    case TL_FLAVOUR_REGROLE:
        *out = find_role(c, text);
        return *out ? TL_OK : no_such(c->st, "42704", "role", text);
    case TL_FLAVOUR_REGPROC:
    case TL_FLAVOUR_REGPROCEDURE:
        *out = find_proc(text, &several);
        if (several) {
            TL_FAIL(c->st, TL_INVALID, "more than one function named \"%.*s\"",
                    (int)(text.size < 100 ? text.size : 100), (const char *)text.data);
            return tl_status_sql(c->st, "42725", 0);
        }
        return *out ? TL_OK : no_such(c->st, "42883", "function", text);
    default:
        return no_such(c->st, "42704", "object", text);
    }
}

enum tl_code tl__vector_parse(struct tl_slice text, struct tl_type type, struct tl_arena *arena,
                              struct tl_slice *out, struct tl_status *st)
{
    int64_t *values = tl_arena_alloc(arena, (text.size + 1) * sizeof(*values), st);
    if (!values)
        return st->code;
    uint32_t count = 0;
    for (size_t i = 0; i < text.size;) {
        size_t from = i;
        while (i < text.size && text.data[i] != ' ')
            i++;
        if (i > from &&
            tl_parse_int64(tl_slice_of(text.data + from, i - from), &values[count++], st))
            return st->code;
        i++;
    }
    return tl_array_build(arena, (struct tl_type){.kind = TL_BIGINT, .flavour = type.flavour},
                          values, NULL, count, 0, out, st);
}

/* to_regclass and the like: NULL instead of an error. */
static enum tl_code each_reg(struct tl__call *c, uint8_t flavour)
{
    int64_t *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_status st = TL_STATUS_INIT;
        struct tl__call quiet = *c;
        quiet.st = &st;
        if (tl__reg_parse(&quiet, tl__text_arg(c, 0, i), flavour, &out[i])) {
            out[i] = 0;
            tl_bit_clear(valid, i);
        }
    }
    return TL_OK;
}

TL__KERNEL(to_regclass)
{
    return each_reg(c, TL_FLAVOUR_REGCLASS);
}

TL__KERNEL(to_regtype)
{
    return each_reg(c, TL_FLAVOUR_REGTYPE);
}

TL__KERNEL(to_regproc)
{
    return each_reg(c, TL_FLAVOUR_REGPROC);
}

TL__KERNEL(to_regnamespace)
{
    return each_reg(c, TL_FLAVOUR_REGNAMESPACE);
}

TL__KERNEL(to_regrole)
{
    return each_reg(c, TL_FLAVOUR_REGROLE);
}

/* ---- types and definitions ---- */

TEXT_KERNEL(format_type)
{
    if (arg_is_null(c, 0, row))
        return say_null(null);
    int64_t typmod = arg_is_null(c, 1, row) ? -1 : int_arg(c, 1, row);
    say_type(out, oid_arg(c, 0, row), typmod < INT32_MAX ? (int32_t)typmod : -1);
    return TL_OK;
}

/* A default's text is its expression. */
TEXT_KERNEL(pg_get_expr)
{
    (void)null;
    struct tl_slice text = tl__text_arg(c, 0, row);
    tl_buffer_put(out, text.data, text.size);
    return TL_OK;
}

TEXT_KERNEL(pg_get_viewdef)
{
    uint32_t oid = c->args[0].type.kind == TL_TEXT
                       ? find_class(c->ctx->catalog, tl__text_arg(c, 0, row))
                       : oid_arg(c, 0, row);
    const struct tl_table_info *t = relation_of(c, oid);
    if (!t || !t->definition)
        return say_null(null);
    return say(out, t->definition);
}

static void say_key_columns(struct tl_buffer *out, const struct tl_table_info *t)
{
    for (uint32_t i = 0; i < t->key_count; i++) {
        if (i > 0)
            say(out, ", ");
        say_name(out, t->columns[t->key[i]].name);
    }
}

/* The whole statement, or one column's name. */
TEXT_KERNEL(pg_get_indexdef)
{
    const struct tl_table_info *t = key_of(c, oid_arg(c, 0, row), TL_OID_INDEX_FIRST);
    if (!t)
        return say_null(null);
    int64_t column = c->arg_count > 1 ? int_arg(c, 1, row) : 0;
    if (column > 0) {
        if (column <= t->key_count)
            say_name(out, t->columns[t->key[column - 1]].name);
        return TL_OK;
    }
    say(out, "CREATE UNIQUE INDEX ");
    (void)say_key_name(c, out, t->id + TL_OID_INDEX_FIRST, TL_OID_INDEX_FIRST);
    say(out, " ON public.");
    say_name(out, t->name);
    say(out, " USING btree (");
    say_key_columns(out, t);
    return say(out, ")");
}

TEXT_KERNEL(pg_get_constraintdef)
{
    const struct tl_table_info *t = key_of(c, oid_arg(c, 0, row), TL_OID_CONSTRAINT_FIRST);
    if (!t)
        return say_null(null);
    say(out, "PRIMARY KEY (");
    say_key_columns(out, t);
    return say(out, ")");
}

TEXT_KERNEL(catalog_null)
{
    (void)c;
    (void)row;
    (void)out;
    return say_null(null);
}

TEXT_KERNEL(pg_get_function_arguments)
{
    char types[512], name[NAME_MAX_BYTES];
    const char *proc = tl__catalog_row_of(tl__catalog_pg_proc, oid_arg(c, 0, row));
    if (!proc || !tl__catalog_field(proc, 1, name, sizeof(name)))
        return say_null(null);
    if (!tl__catalog_field(proc, 19, types, sizeof(types)))
        return TL_OK;
    for (char *p = types; *p;) {
        char *end;
        unsigned long oid = strtoul(p, &end, 10);
        if (end == p)
            break;
        if (p != types)
            say(out, ", ");
        say_type(out, (uint32_t)oid, -1);
        for (p = end; *p == ' '; p++)
            ;
    }
    return TL_OK;
}

TEXT_KERNEL(pg_get_function_result)
{
    char type[16], set[4];
    const char *proc = tl__catalog_row_of(tl__catalog_pg_proc, oid_arg(c, 0, row));
    if (!proc || !tl__catalog_field(proc, 18, type, sizeof(type)) ||
        !tl__catalog_field(proc, 13, set, sizeof(set)))
        return say_null(null);
    if (set[0] == 't')
        say(out, "SETOF ");
    say_type(out, (uint32_t)strtoul(type, NULL, 10), -1);
    return TL_OK;
}

TEXT_KERNEL(pg_get_userbyid)
{
    (void)null;
    uint32_t oid = oid_arg(c, 0, row);
    const char *name = role_of(c, oid);
    if (name)
        return say(out, name);
    tl_buffer_printf(out, "unknown (OID=%u)", oid);
    return TL_OK;
}

/* ---- who sees what ---- */

static enum tl_code each_bool(struct tl__call *c, bool (*one)(struct tl__call *c, uint32_t row))
{
    uint8_t *out = tl__out(c, 1);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = one(c, i);
    return TL_OK;
}

static bool table_is_visible(struct tl__call *c, uint32_t row)
{
    uint32_t oid = oid_arg(c, 0, row);
    const struct tl_table_info *t = relation_of(c, oid);
    return t ? is_visible(c, t) : key_of(c, oid, TL_OID_INDEX_FIRST) != NULL;
}

TL__KERNEL(pg_table_is_visible)
{
    return each_bool(c, table_is_visible);
}

/* Everything but tables that has an OID is in pg_catalog; information_schema has domains alone. */
static bool type_is_visible(struct tl__call *c, uint32_t row)
{
    char schema[16];
    const char *type = tl__catalog_row_of(tl__catalog_pg_type, oid_arg(c, 0, row));
    return type && tl__catalog_field(type, 2, schema, sizeof(schema)) && strcmp(schema, "11") == 0;
}

TL__KERNEL(pg_type_is_visible)
{
    return each_bool(c, type_is_visible);
}

static bool always(struct tl__call *c, uint32_t row)
{
    (void)c;
    (void)row;
    return true;
}

static bool never(struct tl__call *c, uint32_t row)
{
    (void)c;
    (void)row;
    return false;
}

TL__KERNEL(catalog_true)
{
    return each_bool(c, always);
}

TL__KERNEL(catalog_false)
{
    return each_bool(c, never);
}

/* The last argument names privileges; one of several suffices. Everybody may read what they see;
 * operators may add rows and tables. */
static bool has_privilege(struct tl__call *c, uint32_t row)
{
    static const char *const reads[] = {"select", "usage", "connect", "execute", "member", "set"};
    static const char *const writes[] = {"insert", "create"};
    struct tl_slice text = tl__text_arg(c, c->arg_count - 1, row);
    const char *p = (const char *)text.data, *end = p + text.size;
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        struct tl_slice word = tl_text_trim(tl_slice_of(p, (size_t)((comma ? comma : end) - p)));
        for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
            if (tl_text_eq_nocase(word, reads[i]))
                return true;
        for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
            if (!session_of(c)->merchant && tl_text_eq_nocase(word, writes[i]))
                return true;
        if (!comma)
            break;
        p = comma + 1;
    }
    return false;
}

TL__KERNEL(has_privilege)
{
    return each_bool(c, has_privilege);
}

/* The relation must be there. */
TL__KERNEL(has_table_privilege)
{
    uint32_t a = c->arg_count - 2;
    if (c->args[a].type.kind == TL_TEXT) {
        TL__EACH(c, i)
        {
            struct tl_slice name = tl__text_arg(c, a, i);
            if (find_class(c->ctx->catalog, name) == 0)
                return no_such(c->st, "42P01", "relation", name);
        }
    }
    return each_bool(c, has_privilege);
}

/* ---- the session ---- */

static enum tl_code name_array(struct tl__call *c, const char *const *names, uint32_t count)
{
    struct tl_slice texts[4];
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    for (uint32_t i = 0; i < count; i++)
        texts[i] = tl_slice_str(names[i]);
    TL__EACH(c, i)
    {
        if (tl_array_build(c->ctx->arena, tl_type_flavoured(TL_TEXT, TL_FLAVOUR_NAME), texts, NULL,
                           count, 1, &out[i], c->st))
            return c->st->code;
    }
    return TL_OK;
}

TL__KERNEL(current_schemas)
{
    static const char *const path[] = {"pg_catalog", "public"};
    bool implicit = c->n > 0 && bool_arg(c, 0, c->sel ? c->sel[0] : 0);
    return name_array(c, implicit ? path : path + 1, implicit ? 2 : 1);
}

TEXT_KERNEL(current_schema)
{
    (void)c;
    (void)row;
    (void)null;
    return say(out, "public");
}

TEXT_KERNEL(current_user)
{
    (void)row;
    (void)null;
    return say(out, session_of(c)->user ? session_of(c)->user : "tally");
}

TEXT_KERNEL(current_database)
{
    (void)row;
    (void)null;
    return say(out, session_of(c)->database ? session_of(c)->database : "tally");
}

TEXT_KERNEL(version)
{
    (void)c;
    (void)row;
    (void)null;
    return say(out, "PostgreSQL 15.0 (Tally " TALLY_VERSION ")");
}

TEXT_KERNEL(current_setting)
{
    const struct tl_session_info *s = session_of(c);
    struct tl_slice text = tl__text_arg(c, 0, row);
    char name[128];
    const char *value = NULL;
    if (text.size < sizeof(name)) {
        memcpy(name, text.data, text.size);
        name[text.size] = '\0';
        value = s->setting ? s->setting(s->arg, name) : NULL;
    }
    if (value)
        return say(out, value);
    if (c->arg_count == 2 && bool_arg(c, 1, row))
        return say_null(null);
    TL_FAIL(c->st, TL_NOT_FOUND, "unrecognized configuration parameter \"%.*s\"",
            (int)(text.size < 80 ? text.size : 80), (const char *)text.data);
    return tl_status_sql(c->st, "42704", 0);
}

TEXT_KERNEL(set_config)
{
    (void)null;
    const struct tl_session_info *s = session_of(c);
    struct tl_slice texts[2] = {tl__text_arg(c, 0, row), tl__text_arg(c, 1, row)};
    char name[128], value[1024];
    if (!s->set)
        return tl__fail_sql(c->st, "0A000", "set_config is not supported here");
    if (texts[0].size >= sizeof(name) || texts[1].size >= sizeof(value))
        return tl__fail_sql(c->st, TL__BAD_PARAMETER, "a parameter's name or value is too long");
    memcpy(name, texts[0].data, texts[0].size);
    name[texts[0].size] = '\0';
    memcpy(value, texts[1].data, texts[1].size);
    value[texts[1].size] = '\0';
    if (s->set(s->arg, name, value, bool_arg(c, 2, row), c->st))
        return c->st->code;
    const char *now = s->setting ? s->setting(s->arg, name) : value;
    return say(out, now ? now : value);
}

static enum tl_code one_int(struct tl__call *c, int64_t v, bool null)
{
    int64_t *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        out[i] = v;
        if (null)
            tl_bit_clear(valid, i);
    }
    return TL_OK;
}

TL__KERNEL(pg_backend_pid)
{
    return one_int(c, session_of(c)->backend_pid, false);
}

TL__KERNEL(pg_postmaster_start_time)
{
    return one_int(c, session_of(c)->server_start_us, session_of(c)->server_start_us == 0);
}

/* Statements of one snapshot have the same time; there are no other transactions to number. */
TL__KERNEL(txid_current)
{
    return one_int(c, c->ctx->now_us, false);
}

TL__KERNEL(catalog_zero)
{
    return one_int(c, 0, false);
}

TL__KERNEL(inet_server_port)
{
    return one_int(c, session_of(c)->server_port, session_of(c)->server_address == NULL);
}

TL__KERNEL(inet_client_port)
{
    return one_int(c, session_of(c)->client_port, session_of(c)->client_address == NULL);
}

TEXT_KERNEL(inet_server_addr)
{
    (void)row;
    const char *address = session_of(c)->server_address;
    return address ? say(out, address) : say_null(null);
}

TEXT_KERNEL(inet_client_addr)
{
    (void)row;
    const char *address = session_of(c)->client_address;
    return address ? say(out, address) : say_null(null);
}

TEXT_KERNEL(pg_encoding_to_char)
{
    (void)null;
    return say(out, int_arg(c, 0, row) == 6 ? "UTF8" : "");
}

TL__KERNEL(pg_char_to_encoding)
{
    int64_t *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice name = tl__text_arg(c, 0, i);
        out[i] = tl_text_eq_nocase(name, "utf8") || tl_text_eq_nocase(name, "utf-8") ? 6 : -1;
    }
    return TL_OK;
}

TEXT_KERNEL(pg_client_encoding)
{
    (void)c;
    (void)row;
    (void)null;
    return say(out, "UTF8");
}

/* ---- sizes ---- */

static int64_t bytes_of(struct tl__call *c, const struct tl_table_info *t)
{
    const struct tl_session_info *s = session_of(c);
    /* A merchant would learn from it how much the others have. */
    if (tl_catalog_owns(t->id) || s->merchant || !s->relation_bytes)
        return 0;
    uint64_t bytes = s->relation_bytes(s->database_arg, t->id);
    return bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
}

TL__KERNEL(pg_relation_size)
{
    int64_t *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        uint32_t oid;
        if (c->args[0].type.kind == TL_TEXT) {
            oid = find_class(c->ctx->catalog, tl__text_arg(c, 0, i));
            if (oid == 0)
                return no_such(c->st, "42P01", "relation", tl__text_arg(c, 0, i));
        } else {
            oid = oid_arg(c, 0, i);
        }
        const struct tl_table_info *t = relation_of(c, oid);
        out[i] = t ? bytes_of(c, t) : 0;
        if (!t && !key_of(c, oid, TL_OID_INDEX_FIRST))
            tl_bit_clear(valid, i);
    }
    return TL_OK;
}

TL__KERNEL(pg_database_size)
{
    int64_t sum = 0;
    const struct tl_catalog *catalog = c->ctx->catalog;
    for (uint32_t i = 0; catalog && i < catalog->vtab->table_count(catalog); i++)
        sum += bytes_of(c, catalog->vtab->table_at(catalog, i));
    return one_int(c, sum, false);
}

/* PostgreSQL's units: the next one from 10,240 on, halves rounded away from zero. */
TEXT_KERNEL(pg_size_pretty)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    (void)null;
    int64_t v = int_arg(c, 0, row);
    uint64_t size = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t unit = 0;
    uint64_t limit = 10 * 1024;
    bool half = false;
    for (; unit < 5 && size >= limit; unit++) {
        /* One bit more is kept than shown, to round by at the end. */
        size >>= unit == 0 ? 9 : 10;
        half = true;
        limit = 20 * 1024 - 1;
    }
    if (half)
        size = (size + 1) / 2;
    tl_buffer_printf(out, "%s%llu %s", v < 0 ? "-" : "", (unsigned long long)size, units[unit]);
    return TL_OK;
}

/* ---- arrays that stand for aggregates ---- */

/* string_agg over the array of its values: NULLs are left out, without any it is NULL. */
TEXT_KERNEL(gather_text)
{
    if (arg_is_null(c, 0, row))
        return say_null(null);
    struct tl_slice between =
        arg_is_null(c, 1, row) ? tl_slice_of(NULL, 0) : tl__text_arg(c, 1, row);
    struct tl_array_view v = tl_array_view(tl__text_arg(c, 0, row));
    bool any = false;
    if (v.element.kind != TL_TEXT)
        return tl__fail_sql(c->st, "42883", "string_agg takes texts");
    for (uint32_t i = 0; i < v.count; i++) {
        if (tl_array_is_null(&v, i))
            continue;
        if (any)
            tl_buffer_put(out, between.data, between.size);
        any = true;
        struct tl_slice text = tl_array_text(&v, i);
        tl_buffer_put(out, text.data, text.size);
    }
    return any ? TL_OK : say_null(null);
}

/* array_agg: NULL of no row. */
TL__KERNEL(gather_array)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        bool null = arg_is_null(c, 0, i);
        out[i] = null ? tl_slice_of(NULL, 0) : tl__text_arg(c, 0, i);
        if (null || tl_array_view(out[i]).count == 0)
            tl_bit_clear(valid, i);
    }
    return TL_OK;
}

/* ---- json_build_object, whose values the binder has written as JSON ---- */

static void say_json_text(struct tl_buffer *out, struct tl_slice text)
{
    tl_buffer_put_u8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t ch = text.data[i];
        const char *named = ch == '"'    ? "\\\""
                            : ch == '\\' ? "\\\\"
                            : ch == '\n' ? "\\n"
                            : ch == '\r' ? "\\r"
                            : ch == '\t' ? "\\t"
                            : ch == '\b' ? "\\b"
                            : ch == '\f' ? "\\f"
                                         : NULL;
        if (named)
            say(out, named);
        else if (ch < 0x20)
            tl_buffer_printf(out, "\\u%04x", ch);
        else
            tl_buffer_put_u8(out, ch);
    }
    tl_buffer_put_u8(out, '"');
}

TEXT_KERNEL(json_text)
{
    (void)null;
    say_json_text(out, tl__text_arg(c, 0, row));
    return TL_OK;
}

TEXT_KERNEL(json_object)
{
    (void)null;
    tl_buffer_put_u8(out, '{');
    for (uint32_t i = 0; i + 1 < c->arg_count; i += 2) {
        if (arg_is_null(c, i, row))
            return tl__fail_sql(c->st, TL__BAD_PARAMETER,
                                "a key of a JSON object must not be null");
        if (i > 0)
            say(out, ", ");
        say_json_text(out, tl__text_arg(c, i, row));
        say(out, " : ");
        struct tl_slice value = tl__text_arg(c, i + 1, row);
        if (arg_is_null(c, i + 1, row))
            say(out, "null");
        else
            tl_buffer_put(out, value.data, value.size);
    }
    tl_buffer_put_u8(out, '}');
    return TL_OK;
}
