/*
 * query/catalog.c: the relations of pg_catalog and information_schema, by name and OID.
 *
 * The shapes are texts; the first who asks makes the tables of them, for the life of the process.
 */
#include "query/catalog.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/pg_type.h"
#include "query/catalog_int.h"

static struct tl__catalog_relation *relations;
static uint32_t relation_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct fixed {
    const char *name;
    const char *const *rows;
} fixed[] = {
    {"pg_type", tl__catalog_pg_type},
    {"pg_cast", tl__catalog_pg_cast},
    {"pg_am", tl__catalog_pg_am},
    {"pg_opfamily", tl__catalog_pg_opfamily},
    {"pg_opclass", tl__catalog_pg_opclass},
    {"pg_collation", tl__catalog_pg_collation},
    {"pg_language", tl__catalog_pg_language},
    {"pg_tablespace", tl__catalog_pg_tablespace},
    {"pg_proc", tl__catalog_pg_proc},
    {"pg_aggregate", tl__catalog_pg_aggregate},
    {"pg_operator", tl__catalog_pg_operator},
    {"pg_get_keywords", tl__catalog_pg_get_keywords},
};

bool tl__catalog_field(const char *row, uint32_t n, char *buf, size_t size)
{
    for (; n > 0; n--) {
        row = strchr(row, '\t');
        if (!row)
            return false;
        row++;
    }
    if (row[0] == '\\' && row[1] == 'N')
        return false;
    size_t used = 0;
    for (; *row && *row != '\t' && *row != '\n' && used + 1 < size; row++) {
        if (*row == '\\' && row[1]) {
            row++;
            buf[used++] = *row == 't' ? '\t' : *row == 'n' ? '\n' : *row;
            continue;
        }
        buf[used++] = *row;
    }
    buf[used] = '\0';
    return true;
}

const char *tl__catalog_row_of(const char *const *rows, uint32_t oid)
{
    for (; *rows; rows++)
        if (strtoul(*rows, NULL, 10) == oid)
            return *rows;
    return NULL;
}

static uint32_t type_oid_by_name(const char *name, size_t size)
{
    char found[64];
    for (const char *const *row = tl__catalog_pg_type; *row; row++)
        if (tl__catalog_field(*row, 1, found, sizeof(found)) && strlen(found) == size &&
            memcmp(found, name, size) == 0)
            return (uint32_t)strtoul(*row, NULL, 10);
    return 0;
}

/* "name type[:domain][!]" */
static void make_column(const char *text, size_t size, struct tl_column_info *out, uint32_t *domain)
{
    const char *space = memchr(text, ' ', size);
    tl_assert(space != NULL);
    out->name = strndup(text, (size_t)(space - text));
    const char *type = space + 1, *end = text + size;
    out->not_null = end[-1] == '!';
    end -= out->not_null;
    const char *colon = memchr(type, ':', (size_t)(end - type));
    struct tl_slice name = tl_slice_of(type, (size_t)((colon ? colon : end) - type));
    bool known = tl_pg_type_by_name(name, &out->type);
    if (!known) /* of a relation that nobody reads */
        out->type = tl_type_of(TL_TEXT);
    tl_assert(out->name != NULL);
    *domain =
        colon ? type_oid_by_name(colon + 1, (size_t)(end - colon) - 1) : tl_pg_type_oid(out->type);
    tl_assert(*domain != 0);
}

static void make_relation(const struct tl__catalog_shape *shape, bool information_schema,
                          struct tl__catalog_relation *out)
{
    uint32_t count = 1;
    for (const char *p = shape->columns; *p; p++)
        count += *p == ',';
    struct tl_column_info *columns = calloc(count, sizeof(*columns));
    uint32_t *domains = calloc(count, sizeof(*domains));
    tl_assert(columns != NULL && domains != NULL);
    const char *p = shape->columns;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = strcspn(p, ",");
        make_column(p, size, &columns[i], &domains[i]);
        columns[i].id = i + 1;
        p += size + 1;
    }
    *out = (struct tl__catalog_relation){
        .info = {.id = TL_CATALOG_BIT | shape->oid,
                 .name = shape->name,
                 .column_count = count,
                 .columns = columns,
                 .merchant_column = UINT32_MAX,
                 .ts_column = UINT32_MAX,
                 .definition = tl__catalog_view_text(shape->name, information_schema)},
        .shape = shape,
        .information_schema = information_schema,
        .domains = domains,
    };
    if (information_schema)
        return;
    out->make = tl__catalog_maker(shape->name);
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        if (strcmp(fixed[i].name, shape->name) == 0)
            out->rows = fixed[i].rows;
}

static void make_all(void)
{
    uint32_t count = 0;
    for (const struct tl__catalog_shape *s = tl__catalog_pg_shapes; s->name; s++)
        count++;
    for (const struct tl__catalog_shape *s = tl__catalog_is_shapes; s->name; s++)
        count++;
    for (const struct tl__catalog_shape *s = tl__catalog_fn_shapes; s->name; s++)
        count++;
    relations = calloc(count + 1u, sizeof(*relations));
    tl_assert(relations != NULL);
    for (const struct tl__catalog_shape *s = tl__catalog_pg_shapes; s->name; s++)
        make_relation(s, false, &relations[relation_count++]);
    for (const struct tl__catalog_shape *s = tl__catalog_is_shapes; s->name; s++)
        make_relation(s, true, &relations[relation_count++]);
    for (const struct tl__catalog_shape *s = tl__catalog_fn_shapes; s->name; s++)
        make_relation(s, false, &relations[relation_count++]);
}

const struct tl__catalog_relation *tl__catalog_relations(uint32_t *count)
{
    (void)pthread_once(&once, make_all);
    *count = relation_count;
    return relations;
}

const struct tl__catalog_relation *tl__catalog_relation_of(const struct tl_table_info *t)
{
    return tl_catalog_owns(t->id) ? (const struct tl__catalog_relation *)(const void *)t : NULL;
}

const struct tl_table_info *tl_catalog_find(const struct tl_catalog *c, const char *schema,
                                            const char *name)
{
    bool info = schema && strcmp(schema, "information_schema") == 0;
    bool pg = !schema || strcmp(schema, "pg_catalog") == 0;
    uint32_t count;
    const struct tl__catalog_relation *all = tl__catalog_relations(&count);
    for (uint32_t i = 0; (info || pg) && i < count; i++)
        if (all[i].information_schema == info && all[i].shape->kind != 'f' &&
            strcmp(all[i].info.name, name) == 0)
            return &all[i].info;
    return info || (schema && pg) ? NULL : c->vtab->table(c, schema, name);
}

const struct tl_table_info *tl_catalog_function(const char *name)
{
    uint32_t count;
    const struct tl__catalog_relation *all = tl__catalog_relations(&count);
    for (uint32_t i = 0; i < count; i++)
        if (all[i].shape->kind == 'f' && strcmp(all[i].info.name, name) == 0)
            return &all[i].info;
    return NULL;
}

const char *tl_catalog_schema_of(const struct tl_table_info *t)
{
    const struct tl__catalog_relation *r = tl__catalog_relation_of(t);
    return !r ? "public" : r->information_schema ? "information_schema" : "pg_catalog";
}

bool tl_catalog_refuses(const struct tl_table_info *t)
{
    static const char *const refused[] = {"pg_authid",
                                          "pg_shadow",
                                          "pg_user_mapping",
                                          "pg_statistic",
                                          "pg_hba_file_rules",
                                          "pg_file_settings",
                                          "pg_ident_file_mappings",
                                          "pg_largeobject",
                                          "pg_statistic_ext_data"};
    for (size_t i = 0; tl_catalog_owns(t->id) && i < sizeof(refused) / sizeof(refused[0]); i++)
        if (strcmp(refused[i], t->name) == 0)
            return true;
    return false;
}

uint32_t tl__catalog_oid(const struct tl_table_info *t)
{
    return tl_catalog_owns(t->id) ? t->id & ~TL_CATALOG_BIT : t->id + TL_OID_USER_FIRST;
}

char tl__catalog_kind(const struct tl_table_info *t)
{
    const struct tl__catalog_relation *r = tl__catalog_relation_of(t);
    return r ? r->shape->kind : t->materialized_view ? 'm' : t->definition ? 'v' : 'r';
}

const struct tl_table_info *tl__catalog_by_oid(const struct tl_catalog *c, uint32_t oid)
{
    uint32_t count;
    const struct tl__catalog_relation *all = tl__catalog_relations(&count);
    for (uint32_t i = 0; i < count && oid < TL_OID_USER_FIRST; i++)
        if (all[i].shape->oid == oid)
            return &all[i].info;
    count = c && oid > TL_OID_USER_FIRST ? c->vtab->table_count(c) : 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_table_info *t = c->vtab->table_at(c, i);
        if (tl__catalog_oid(t) == oid)
            return t;
    }
    return NULL;
}

uint32_t tl__catalog_column_type(const struct tl_table_info *t, uint32_t column)
{
    const struct tl__catalog_relation *r = tl__catalog_relation_of(t);
    return r ? r->domains[column] : tl_pg_type_oid(t->columns[column].type);
}

int32_t tl__catalog_typmod(struct tl_type type)
{
    return type.kind == TL_DECIMAL64 ? ((18 << 16) | type.scale) + 4 : -1;
}
