#include "wire/schema_cache.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/tally.h"

enum { TABLES_MAX = 64, FRESH_MS = 1000, NAME_BYTES_MAX = 128 };

struct entry {
    char name[NAME_BYTES_MAX];
    size_t name_size; /* 0: free */
    uint64_t asked_ms;
    bool known;
    struct tl_schema schema;
};

struct tl_schema_cache {
    struct tally *db;
    struct entry entries[TABLES_MAX];
    uint32_t next; /* to be replaced */
};

struct tl_schema_cache *tl_schema_cache_new(struct tally *db)
{
    struct tl_schema_cache *c = calloc(1, sizeof(*c));
    if (c)
        c->db = db;
    return c;
}

static void entry_clear(struct entry *e)
{
    for (uint32_t i = 0; i < e->schema.column_count; i++)
        free(e->schema.columns[i].name);
    free(e->schema.columns);
    e->schema = (struct tl_schema){0};
    e->known = false;
}

void tl_schema_cache_free(struct tl_schema_cache *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < TABLES_MAX; i++)
        entry_clear(&c->entries[i]);
    free(c);
}

static bool copy_columns(struct tl_schema *s, const struct tl_plan *plan)
{
    s->columns = calloc(plan->output_count ? plan->output_count : 1, sizeof(*s->columns));
    if (!s->columns)
        return false;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct tl_schema_column *c = &s->columns[i];
        c->name_size = strlen(plan->outputs[i].name);
        c->name = malloc(c->name_size + 1);
        if (!c->name)
            return false;
        memcpy(c->name, plan->outputs[i].name, c->name_size + 1);
        c->type = plan->outputs[i].type;
        s->column_count = i + 1;
    }
    return true;
}

static void ask(struct tl_schema_cache *c, struct entry *e)
{
    entry_clear(e);
    char sql[2 * NAME_BYTES_MAX + 32];
    size_t n = (size_t)snprintf(sql, sizeof(sql), "SELECT * FROM \"");
    for (size_t i = 0; i < e->name_size; i++) {
        if (e->name[i] == '\0')
            return;
        if (e->name[i] == '"')
            sql[n++] = '"';
        sql[n++] = e->name[i];
    }
    n += (size_t)snprintf(sql + n, sizeof(sql) - n, "\" LIMIT 0");
    struct tl_status st = TL_STATUS_INIT;
    struct tally_session session = {.threads = 1};
    struct tally_statement *statement = NULL;
    if (tally_prepare(c->db, tl_slice_of(sql, n), &session, &statement, &st))
        return;
    e->known = copy_columns(&e->schema, tally_describe(statement));
    tally_statement_close(statement);
}

const struct tl_schema *tl_schema_cache_get(struct tl_schema_cache *c, struct tl_slice table,
                                            uint64_t now_ms)
{
    if (table.size == 0 || table.size >= NAME_BYTES_MAX)
        return NULL;
    struct entry *e = NULL;
    for (uint32_t i = 0; i < TABLES_MAX; i++) {
        if (tl_slice_eq(tl_slice_of(c->entries[i].name, c->entries[i].name_size), table)) {
            e = &c->entries[i];
            break;
        }
    }
    if (!e || now_ms - e->asked_ms >= FRESH_MS) {
        if (!e) {
            e = &c->entries[c->next];
            c->next = (c->next + 1) % TABLES_MAX;
        }
        memcpy(e->name, table.data, table.size);
        e->name_size = table.size;
        e->asked_ms = now_ms;
        ask(c, e);
    }
    return e->known ? &e->schema : NULL;
}

bool tl_schema_find(const struct tl_schema *s, struct tl_slice name, struct tl_type *out)
{
    for (uint32_t i = 0; i < s->column_count; i++) {
        if (tl_slice_eq(tl_slice_of(s->columns[i].name, s->columns[i].name_size), name)) {
            *out = s->columns[i].type;
            return true;
        }
    }
    return false;
}
