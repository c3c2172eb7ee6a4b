#include "engine/schema.h"

#include <string.h>

#include <stdio.h>

#include "base/assert.h"
#include "engine/rollup.h"

static const struct tl_table_info *catalog_table(const struct tl_catalog *c, const char *schema,
                                                 const char *name)
{
    if (schema && strcmp(schema, "public") != 0)
        return NULL;
    const struct tl_schema *s = (const struct tl_schema *)c;
    const struct tl_table *t = tl_schema_by_name(s, tl_slice_str(name));
    if (t)
        return &t->info;
    const struct tl_view *v = tl_view_by_name(s, tl_slice_str(name));
    return v ? &v->info : NULL;
}

static uint32_t catalog_count(const struct tl_catalog *c)
{
    const struct tl_schema *s = (const struct tl_schema *)c;
    return s->table_count + s->view_count;
}

static const struct tl_table_info *catalog_at(const struct tl_catalog *c, uint32_t index)
{
    const struct tl_schema *s = (const struct tl_schema *)c;
    return index < s->table_count ? &s->tables[index]->info
                                  : &s->views[index - s->table_count]->info;
}

static const struct tl_catalog_vtable catalog_vtab = {catalog_table, catalog_count, catalog_at};

static const struct tl_schema empty_schema = {.catalog = {.vtab = &catalog_vtab, .version = 1}};

void tl_schema_store_init(struct tl_schema_store *s)
{
    tl_arena_init(&s->arena, NULL, 16384);
    s->current = &empty_schema;
}

void tl_schema_store_deinit(struct tl_schema_store *s)
{
    tl_arena_deinit(&s->arena);
    s->current = &empty_schema;
}

const struct tl_table *tl_schema_by_id(const struct tl_schema *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->table_count; i++)
        if (s->tables[i]->info.id == id)
            return s->tables[i];
    return NULL;
}

const struct tl_table *tl_schema_by_name(const struct tl_schema *s, struct tl_slice name)
{
    for (uint32_t i = 0; i < s->table_count; i++)
        if (tl_slice_eq(tl_slice_str(s->tables[i]->info.name), name))
            return s->tables[i];
    return NULL;
}

int32_t tl_table_column(const struct tl_table *t, struct tl_slice name)
{
    for (uint32_t i = 0; i < t->info.column_count; i++)
        if (tl_slice_eq(tl_slice_str(t->info.columns[i].name), name))
            return (int32_t)i;
    return -1;
}

int32_t tl_table_storage(const struct tl_table *t, uint32_t column_id)
{
    for (uint32_t i = 0; i < t->storage_count; i++)
        if (t->storage[i].id == column_id)
            return (int32_t)i;
    return -1;
}

/* Fills in what follows from info.columns: storage columns, merchant, ts and event id. */
static enum tl_code table_derive(struct tl_schema_store *s, struct tl_table *t,
                                 struct tl_status *st)
{
    uint32_t count = t->info.column_count;
    struct tl_column_info *storage =
        tl_arena_calloc(&s->arena, 2 * (size_t)count, sizeof(*storage), st);
    if (!storage)
        return st->code;
    uint32_t n = 0;
    bool has_merchant = false;
    bool has_ts = false;
    t->event_id_column = -1;
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_column_info *c = &t->info.columns[i];
        if (c->id == 1 && c->type.kind == TL_BIGINT) {
            t->info.merchant_column = i;
            has_merchant = true;
        }
        if (c->id == 2 && c->type.kind == TL_TIMESTAMPTZ) {
            t->info.ts_column = i;
            has_ts = true;
        }
        if (c->type.kind == TL_TEXT && strcmp(c->name, "event_id") == 0)
            t->event_id_column = (int32_t)i;
        storage[n++] = *c;
        if (c->type.kind == TL_PROPS) {
            storage[n - 1].type = tl_type_of(TL_TEXT);
            storage[n] = storage[n - 1];
            storage[n++].id = c->id + 1;
        }
    }
    if (!has_merchant || !has_ts)
        return TL_FAIL(st, TL_INVALID,
                       "table %s needs the columns merchant_id BIGINT and ts TIMESTAMPTZ",
                       t->info.name);
    /* Insertion sort by id: tables are made once, and nearly sorted. */
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k > 0 && storage[k - 1].id > storage[k].id; k--) {
            struct tl_column_info swap = storage[k];
            storage[k] = storage[k - 1];
            storage[k - 1] = swap;
        }
    t->storage = storage;
    t->storage_count = n;
    return TL_OK;
}

/* Installs a schema in which `t` replaces the table of its id, or is added. */
static enum tl_code install(struct tl_schema_store *s, const struct tl_table *t,
                            struct tl_status *st)
{
    const struct tl_schema *old = s->current;
    struct tl_schema *next = tl_arena_calloc(&s->arena, 1, sizeof(*next), st);
    const struct tl_table **tables =
        tl_arena_calloc(&s->arena, (size_t)old->table_count + 1, sizeof(*tables), st);
    if (!next || !tables)
        return st->code;
    uint32_t n = 0;
    bool placed = false;
    for (uint32_t i = 0; i < old->table_count; i++) {
        if (!placed && old->tables[i]->info.id >= t->info.id) {
            tables[n++] = t;
            placed = true;
        }
        if (old->tables[i]->info.id != t->info.id)
            tables[n++] = old->tables[i];
    }
    if (!placed)
        tables[n++] = t;
    *next = *old;
    next->catalog.version = old->catalog.version + 1;
    next->table_count = n;
    next->tables = tables;
    s->current = next;
    return TL_OK;
}

static enum tl_code check_name(const char *what, const char *name, struct tl_status *st)
{
    size_t size = strlen(name);
    if (size == 0 || size > TL_NAME_BYTES_MAX)
        return TL_FAIL(st, TL_INVALID, "the name of a %s has 1 to %d bytes; \"%.80s\" has %zu",
                       what, TL_NAME_BYTES_MAX, name, size);
    return TL_OK;
}

static enum tl_code column_type(const struct tl_column_def *def, struct tl_status *st)
{
    switch (def->type.kind) {
    case TL_BOOLEAN:
    case TL_BIGINT:
    case TL_DOUBLE:
    case TL_DECIMAL64:
    case TL_DATE:
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
    case TL_TEXT:
    case TL_PROPS:
        return TL_OK;
    default: {
        char name[32];
        TL_FAIL(st, TL_UNSUPPORTED, "column %s: a column cannot have the type %s", def->name,
                tl_type_name(def->type, name, sizeof(name)));
        return tl_status_sql(st, "0A000", 0);
    }
    }
}

static uint32_t ids_taken(struct tl_type type)
{
    return type.kind == TL_PROPS ? 2 : 1;
}

enum tl_code tl_schema_create_table(struct tl_schema_store *s, const char *name,
                                    const struct tl_column_def *defs, uint32_t count,
                                    uint32_t partition_rows, uint32_t id, struct tl_status *st)
{
    if (check_name("table", name, st))
        return st->code;
    if (tl_schema_by_name(s->current, tl_slice_str(name)) ||
        tl_view_by_name(s->current, tl_slice_str(name))) {
        TL_FAIL(st, TL_EXISTS, "relation \"%s\" already exists", name);
        return tl_status_sql(st, "42P07", 0);
    }
    if (s->current->table_count >= TL_TABLES_MAX)
        return TL_FAIL(st, TL_LIMIT, "there are %d tables already, the most that can be",
                       TL_TABLES_MAX);
    if (count == 0 || count > TL_COLUMNS_MAX)
        return TL_FAIL(st, TL_LIMIT, "a table has 1 to %d columns, %s would have %u",
                       TL_COLUMNS_MAX, name, count);
    if (id == 0) {
        uint32_t n = s->current->table_count;
        id = n == 0 ? 1 : s->current->tables[n - 1]->info.id + 1;
    }
    struct tl_table *t = tl_arena_calloc(&s->arena, 1, sizeof(*t), st);
    struct tl_column_info *columns = tl_arena_calloc(&s->arena, count, sizeof(*columns), st);
    char *copy = tl_arena_copy(&s->arena, name, strlen(name), st);
    if (!t || !columns || !copy)
        return st->code;
    uint32_t next_id = 3;
    for (uint32_t i = 0; i < count; i++) {
        if (check_name("column", defs[i].name, st) || column_type(&defs[i], st))
            return st->code;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(defs[k].name, defs[i].name) == 0) {
                TL_FAIL(st, TL_EXISTS, "column \"%s\" specified more than once", defs[i].name);
                return tl_status_sql(st, "42701", 0);
            }
        columns[i].name = tl_arena_copy(&s->arena, defs[i].name, strlen(defs[i].name), st);
        if (!columns[i].name)
            return st->code;
        columns[i].type = defs[i].type;
        columns[i].not_null = defs[i].not_null;
        if (strcmp(defs[i].name, "merchant_id") == 0 || strcmp(defs[i].name, "ts") == 0) {
            columns[i].id = defs[i].name[0] == 'm' ? 1 : 2;
            columns[i].not_null = true;
        } else {
            columns[i].id = next_id;
            next_id += ids_taken(defs[i].type);
        }
    }
    t->info =
        (struct tl_table_info){.id = id, .name = copy, .column_count = count, .columns = columns};
    t->schema_version = 1;
    t->next_column_id = next_id;
    t->partition_rows = partition_rows;
    if (table_derive(s, t, st))
        return st->code;
    return install(s, t, st);
}

enum tl_code tl_schema_add_column(struct tl_schema_store *s, uint32_t table_id,
                                  const struct tl_column_def *def, struct tl_status *st)
{
    const struct tl_table *old = tl_schema_by_id(s->current, table_id);
    tl_assert(old != NULL);
    if (check_name("column", def->name, st) || column_type(def, st))
        return st->code;
    if (tl_table_column(old, tl_slice_str(def->name)) >= 0) {
        TL_FAIL(st, TL_EXISTS, "column \"%s\" of relation \"%s\" already exists", def->name,
                old->info.name);
        return tl_status_sql(st, "42701", 0);
    }
    if (def->not_null) {
        TL_FAIL(st, TL_UNSUPPORTED,
                "a column added to table %s cannot be NOT NULL: older rows have no value for it",
                old->info.name);
        return tl_status_sql(st, "0A000", 0);
    }
    uint32_t count = old->info.column_count;
    if (count >= TL_COLUMNS_MAX)
        return TL_FAIL(st, TL_LIMIT, "table %s has %d columns already, the most that can be",
                       old->info.name, TL_COLUMNS_MAX);
    struct tl_table *t = tl_arena_calloc(&s->arena, 1, sizeof(*t), st);
    struct tl_column_info *columns =
        tl_arena_calloc(&s->arena, (size_t)count + 1, sizeof(*columns), st);
    char *name = tl_arena_copy(&s->arena, def->name, strlen(def->name), st);
    if (!t || !columns || !name)
        return st->code;
    *t = *old;
    memcpy(columns, old->info.columns, count * sizeof(*columns));
    columns[count] =
        (struct tl_column_info){.id = old->next_column_id, .name = name, .type = def->type};
    t->info.columns = columns;
    t->info.column_count = count + 1;
    t->schema_version = old->schema_version + 1;
    t->next_column_id = old->next_column_id + ids_taken(def->type);
    if (table_derive(s, t, st))
        return st->code;
    return install(s, t, st);
}

enum tl_code tl_schema_create_events(struct tl_schema_store *s, struct tl_status *st)
{
    static const struct tl_column_def defs[] = {
        {"merchant_id", {TL_BIGINT, 0}, true},
        {"ts", {TL_TIMESTAMPTZ, 0}, true},
        {"event_name", {TL_TEXT, 0}, false},
        {"visitor_id", {TL_TEXT, 0}, false},
        {"session_id", {TL_TEXT, 0}, false},
        {"hostname", {TL_TEXT, 0}, false},
        {"path", {TL_TEXT, 0}, false},
        {"query", {TL_TEXT, 0}, false},
        {"referrer", {TL_TEXT, 0}, false},
        {"utm_source", {TL_TEXT, 0}, false},
        {"utm_medium", {TL_TEXT, 0}, false},
        {"utm_campaign", {TL_TEXT, 0}, false},
        {"utm_content", {TL_TEXT, 0}, false},
        {"utm_term", {TL_TEXT, 0}, false},
        {"country", {TL_TEXT, 0}, false},
        {"region", {TL_TEXT, 0}, false},
        {"city", {TL_TEXT, 0}, false},
        {"browser", {TL_TEXT, 0}, false},
        {"browser_version", {TL_TEXT, 0}, false},
        {"os", {TL_TEXT, 0}, false},
        {"device", {TL_TEXT, 0}, false},
        {"screen", {TL_TEXT, 0}, false},
        {"language", {TL_TEXT, 0}, false},
        {"user_agent", {TL_TEXT, 0}, false},
        {"method", {TL_TEXT, 0}, false},
        {"status", {TL_BIGINT, 0}, false},
        {"bytes", {TL_BIGINT, 0}, false},
        {"duration_ms", {TL_BIGINT, 0}, false},
        {"revenue", {TL_DECIMAL64, 4}, false},
        {"currency", {TL_TEXT, 0}, false},
        {"ip_prefix", {TL_TEXT, 0}, false},
        {"is_bot", {TL_BOOLEAN, 0}, false},
        {"event_id", {TL_TEXT, 0}, false},
        {"props", {TL_PROPS, 0}, false},
    };
    return tl_schema_create_table(s, "events", defs, sizeof(defs) / sizeof(defs[0]), 0, 1, st);
}

enum tl_code tl_schema_set_partition_rows(struct tl_schema_store *s, uint32_t table_id,
                                          uint32_t rows, struct tl_status *st)
{
    const struct tl_table *old = tl_schema_by_id(s->current, table_id);
    tl_assert(old != NULL);
    struct tl_table *t = tl_arena_calloc(&s->arena, 1, sizeof(*t), st);
    if (!t)
        return st->code;
    *t = *old;
    t->schema_version = old->schema_version + 1;
    t->partition_rows = rows;
    return install(s, t, st);
}

/* u32 id, u32 schema version, u32 next column id, u32 rows of a partition, string name, u32
 * columns; per column u32 id, u8 kind, u8 scale, u8 not null, string name. */
void tl_table_encode(const struct tl_table *t, struct tl_buffer *out)
{
    tl_buffer_put_u32(out, t->info.id);
    tl_buffer_put_u32(out, t->schema_version);
    tl_buffer_put_u32(out, t->next_column_id);
    tl_buffer_put_u32(out, t->partition_rows);
    tl_buffer_put_string(out, tl_slice_str(t->info.name));
    tl_buffer_put_u32(out, t->info.column_count);
    for (uint32_t i = 0; i < t->info.column_count; i++) {
        const struct tl_column_info *c = &t->info.columns[i];
        tl_buffer_put_u32(out, c->id);
        tl_buffer_put_u8(out, c->type.kind);
        tl_buffer_put_u8(out, c->type.scale);
        tl_buffer_put_u8(out, c->not_null);
        tl_buffer_put_string(out, tl_slice_str(c->name));
    }
}

enum tl_code tl_schema_apply(struct tl_schema_store *s, struct tl_reader *r, struct tl_status *st)
{
    struct tl_table *t = tl_arena_calloc(&s->arena, 1, sizeof(*t), st);
    if (!t)
        return st->code;
    t->info.id = tl_read_u32(r);
    t->schema_version = tl_read_u32(r);
    t->next_column_id = tl_read_u32(r);
    t->partition_rows = tl_read_u32(r);
    struct tl_slice name = tl_read_string(r);
    uint32_t count = tl_read_u32(r);
    if (r->failed || t->info.id == 0 || name.size == 0 || name.size > TL_NAME_BYTES_MAX ||
        memchr(name.data, 0, name.size) || count == 0 || count > TL_COLUMNS_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a stored table definition has impossible fields");
    t->info.name = tl_arena_copy(&s->arena, name.data, name.size, st);
    struct tl_column_info *columns = tl_arena_calloc(&s->arena, count, sizeof(*columns), st);
    if (!t->info.name || !columns)
        return st->code;
    for (uint32_t i = 0; i < count; i++) {
        struct tl_column_info *c = &columns[i];
        c->id = tl_read_u32(r);
        c->type.kind = tl_read_u8(r);
        c->type.scale = tl_read_u8(r);
        c->not_null = tl_read_u8(r) != 0;
        struct tl_slice column = tl_read_string(r);
        if (r->failed || c->id == 0 || c->id >= t->next_column_id + 2 || c->type.scale > 38 ||
            column.size == 0 || column.size > TL_NAME_BYTES_MAX ||
            memchr(column.data, 0, column.size))
            return TL_FAIL(st, TL_CORRUPT, "a stored column definition has impossible fields");
        c->name = tl_arena_copy(&s->arena, column.data, column.size, st);
        if (!c->name)
            return st->code;
        struct tl_column_def def = {c->name, c->type, c->not_null};
        if (column_type(&def, st))
            return st->code;
    }
    t->info.columns = columns;
    t->info.column_count = count;
    const struct tl_table *old = tl_schema_by_id(s->current, t->info.id);
    if (old && old->schema_version >= t->schema_version)
        return TL_OK; /* replayed: known already */
    if (table_derive(s, t, st))
        return st->code;
    return install(s, t, st);
}
