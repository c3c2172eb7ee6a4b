/*
 * query/catalog_rows.c: rows of pg_catalog that follow from the tables and from the session.
 *
 * One maker per relation. The format strings hold all columns in PostgreSQL 15's order; what Tally
 * knows stands in their gaps.
 */
#include <stdlib.h>
#include <string.h>

#include "base/pg_type.h"
#include "base/text.h"
#include "base/time.h"
#include "query/catalog_int.h"

/* One text as a field of COPY's form. */
static void put_text(struct tl_buffer *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '\\' || *s == '\t' || *s == '\n')
            tl_buffer_put_u8(b, '\\');
        tl_buffer_put_u8(b, (uint8_t)(*s == '\t' ? 't' : *s == '\n' ? 'n' : *s));
    }
}

static void put(struct tl_buffer *b, const char *s)
{
    tl_buffer_put(b, (const uint8_t *)s, strlen(s));
}

static void put_or_null(struct tl_buffer *b, const char *s)
{
    if (s)
        put_text(b, s);
    else
        put(b, "\\N");
}

static void put_time(struct tl_buffer *b, int64_t us)
{
    char text[TL_TIME_TEXT_MAX + 8];
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    size_t size = us ? tl_print_timestamptz(us, tl_zone_utc(), &span, text) : 0;
    if (size == 0)
        put(b, "\\N");
    tl_buffer_put(b, (const uint8_t *)text, size);
}

/* Whether the scan may want rows whose column is v: it compares the column with a number else. */
static bool wanted(const struct tl__catalog_rows *r, const char *column, int64_t v)
{
    const struct tl_scan_spec *s = r->spec;
    const struct tl_table_info *t = tl__catalog_by_oid(NULL, s->table_id & ~TL_CATALOG_BIT);
    for (uint32_t i = 0; t && i < s->predicate_count; i++) {
        const struct tl_predicate *p = &s->predicates[i];
        const struct tl_column_info *c = &t->columns[s->columns[p->column].column_id - 1];
        if ((p->op != TL_PRED_EQ && p->op != TL_PRED_IN) || c->type.kind != TL_BIGINT ||
            strcmp(c->name, column) != 0)
            continue;
        bool found = false;
        for (uint32_t k = 0; k < p->value_count && !found; k++)
            found = ((const int64_t *)p->values.data)[k] == v;
        if (!found)
            return false;
    }
    return true;
}

/* Calls `one` for each relation: ours, then the user's. */
static void each_relation(struct tl__catalog_rows *r, const char *oid_column,
                          void (*one)(struct tl__catalog_rows *r, const struct tl_table_info *t))
{
    uint32_t count;
    const struct tl__catalog_relation *all = tl__catalog_relations(&count);
    for (uint32_t i = 0; i < count; i++)
        if (all[i].shape->kind != 'f' && wanted(r, oid_column, all[i].shape->oid))
            one(r, &all[i].info);
    count = r->catalog->vtab->table_count(r->catalog);
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_table_info *t = r->catalog->vtab->table_at(r->catalog, i);
        if (wanted(r, oid_column, tl__catalog_oid(t)))
            one(r, t);
    }
}

static uint32_t schema_oid(const struct tl_table_info *t)
{
    const struct tl__catalog_relation *c = tl__catalog_relation_of(t);
    return !c                      ? TL_OID_PUBLIC
           : c->information_schema ? TL_OID_INFORMATION_SCHEMA
                                   : TL_OID_PG_CATALOG;
}

static uint32_t shown_columns(const struct tl_table_info *t)
{
    return t->column_count;
}

/* ---- relations ---- */

static void class_of_table(struct tl__catalog_rows *r, const struct tl_table_info *t)
{
    struct tl_buffer *b = r->out;
    char kind = tl__catalog_kind(t);
    uint32_t oid = tl__catalog_oid(t);
    tl_buffer_printf(b, "%u\t", oid);
    put_text(b, t->name);
    tl_buffer_printf(b,
                     "\t%u\t0\t0\t10\t%d\t%u\t0\t0\t-1\t0\t0\t%c\tf\tp\t%c\t%u\t0\t%c\tf\tf\tf\tf"
                     "\tt\t%c\tf\t0\t0\t0\t\\N\t\\N\t\\N\n",
                     schema_oid(t), kind == 'v' ? 0 : 2, kind == 'v' ? 0 : oid,
                     t->key_count > 0 ? 't' : 'f', kind, shown_columns(t),
                     kind == 'v' || kind == 'm' ? 't' : 'f',
                     kind == 'v' || tl_catalog_owns(t->id) ? 'n' : 'd');
    if (t->key_count == 0)
        return;
    tl_buffer_printf(b, "%u\t", t->id + TL_OID_INDEX_FIRST);
    put_text(b, t->name);
    tl_buffer_printf(
        b,
        "_pkey\t%u\t0\t0\t10\t403\t%u\t0\t0\t-1\t0\t0\tf\tf\tp\ti\t%u\t0\tf\tf\tf\tf\tf"
        "\tt\tn\tf\t0\t0\t0\t\\N\t\\N\t\\N\n",
        schema_oid(t), t->id + TL_OID_INDEX_FIRST, t->key_count);
}

static void make_class(struct tl__catalog_rows *r)
{
    /* An index has an OID of its own: nothing is left out when there are keys. */
    uint32_t count = r->catalog->vtab->table_count(r->catalog);
    struct tl_scan_spec all = *r->spec;
    for (uint32_t i = 0; i < count; i++)
        if (r->catalog->vtab->table_at(r->catalog, i)->key_count > 0)
            all.predicate_count = 0;
    struct tl__catalog_rows wide = *r;
    wide.spec = &all;
    each_relation(&wide, "oid", class_of_table);
}

static void attribute(struct tl_buffer *b, uint32_t relation, const struct tl_column_info *c,
                      uint32_t type, uint32_t number, bool not_null)
{
    int16_t size = tl_pg_type_size(c->type);
    bool by_value = size == 1 || size == 2 || size == 4 || size == 8;
    uint8_t kind = c->type.kind;
    bool text = kind == TL_TEXT || (kind == TL_ARRAY && c->type.element == TL_TEXT);
    uint32_t collation = !text                                   ? 0
                         : c->type.flavour == TL_FLAVOUR_NAME    ? 950
                         : c->type.flavour == TL_PLAIN           ? 100
                         : c->type.flavour == TL_FLAVOUR_VARCHAR ? 100
                                                                 : 0;
    char align = size == 1    ? 'c'
                 : size == 2  ? 's'
                 : size == 8  ? 'd'
                 : size == 64 ? 'c'
                 : size == 16 ? 'd'
                              : 'i';
    bool decimal = kind == TL_DECIMAL64 || kind == TL_DECIMAL128;
    tl_buffer_printf(b, "%u\t", relation);
    put_text(b, c->name);
    tl_buffer_printf(b,
                     "\t%u\t-1\t%d\t%u\t%d\t-1\t%d\t%c\t%c\t%c\t\t%c\tf\tf\t\t\tf\tt\t0\t%u\t\\N\t"
                     "\\N\t\\N\t\\N\n",
                     type, size, number, kind == TL_ARRAY ? 1 : 0, tl__catalog_typmod(c->type),
                     by_value ? 't' : 'f', align,
                     size > 0  ? 'p'
                     : decimal ? 'm'
                               : 'x',
                     not_null ? 't' : 'f', collation);
}

static void attributes_of_table(struct tl__catalog_rows *r, const struct tl_table_info *t)
{
    for (uint32_t i = 0; i < t->column_count; i++)
        if (tl__catalog_column_shown(&t->columns[i]))
            attribute(r->out, tl__catalog_oid(t), &t->columns[i], tl__catalog_column_type(t, i),
                      i + 1, t->columns[i].not_null);
}

static void make_attribute(struct tl__catalog_rows *r)
{
    each_relation(r, "attrelid", attributes_of_table);
    uint32_t count = r->catalog->vtab->table_count(r->catalog);
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_table_info *t = r->catalog->vtab->table_at(r->catalog, i);
        for (uint32_t k = 0; k < t->key_count; k++)
            attribute(r->out, t->id + TL_OID_INDEX_FIRST, &t->columns[t->key[k]],
                      tl__catalog_column_type(t, t->key[k]), k + 1, false);
    }
}

/* ---- keys ---- */

static void put_key(struct tl_buffer *b, const struct tl_table_info *t, const char *between)
{
    for (uint32_t i = 0; i < t->key_count; i++)
        tl_buffer_printf(b, "%s%u", i ? between : "", t->key[i] + 1);
}

/* The same for each column of the key. */
static void put_repeated(struct tl_buffer *b, const struct tl_table_info *t, unsigned v)
{
    for (uint32_t i = 0; i < t->key_count; i++)
        tl_buffer_printf(b, "%s%u", i ? " " : "", v);
}

/* The btree's default class of operators for a type. */
static uint32_t opclass_of(uint32_t type)
{
    char field[32];
    uint32_t found = 0;
    for (const char *const *row = tl__catalog_pg_opclass; *row && !found; row++)
        if (tl__catalog_field(*row, 6, field, sizeof(field)) && strtoul(field, NULL, 10) == type &&
            tl__catalog_field(*row, 7, field, sizeof(field)) && field[0] == 't')
            found = (uint32_t)strtoul(*row, NULL, 10);
    return found;
}

static void make_index(struct tl__catalog_rows *r)
{
    struct tl_buffer *b = r->out;
    for (uint32_t i = 0; i < r->catalog->vtab->table_count(r->catalog); i++) {
        const struct tl_table_info *t = r->catalog->vtab->table_at(r->catalog, i);
        if (t->key_count == 0)
            continue;
        tl_buffer_printf(b, "%u\t%u\t%u\t%u\tt\tf\tt\tf\tt\tf\tt\tf\tt\tt\tf\t",
                         t->id + TL_OID_INDEX_FIRST, tl__catalog_oid(t), t->key_count,
                         t->key_count);
        put_key(b, t, " ");
        put(b, "\t");
        put_repeated(b, t, 0);
        put(b, "\t");
        for (uint32_t k = 0; k < t->key_count; k++)
            tl_buffer_printf(b, "%s%u", k ? " " : "",
                             opclass_of(tl__catalog_column_type(t, t->key[k])));
        put(b, "\t");
        put_repeated(b, t, 0);
        put(b, "\t\\N\t\\N\n");
    }
}

static void make_constraint(struct tl__catalog_rows *r)
{
    struct tl_buffer *b = r->out;
    for (uint32_t i = 0; i < r->catalog->vtab->table_count(r->catalog); i++) {
        const struct tl_table_info *t = r->catalog->vtab->table_at(r->catalog, i);
        if (t->key_count == 0)
            continue;
        tl_buffer_printf(b, "%u\t", t->id + TL_OID_CONSTRAINT_FIRST);
        put_text(b, t->name);
        tl_buffer_printf(b, "_pkey\t%d\tp\tf\tf\tt\t%u\t0\t%u\t0\t0\t \t \t \tt\t0\tt\t{",
                         TL_OID_PUBLIC, tl__catalog_oid(t), t->id + TL_OID_INDEX_FIRST);
        put_key(b, t, ",");
        put(b, "}\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n");
    }
}

static void rule_of_view(struct tl__catalog_rows *r, const struct tl_table_info *t)
{
    if (tl__catalog_kind(t) != 'r')
        tl_buffer_printf(r->out, "%u\t_RETURN\t%u\t1\tO\tt\t\\N\t\\N\n",
                         tl__catalog_oid(t) | 0x10000000U, tl__catalog_oid(t));
}

static void make_rewrite(struct tl__catalog_rows *r)
{
    each_relation(r, "ev_class", rule_of_view);
}

/* ---- the database and who uses it ---- */

static const char *user_of(const struct tl__catalog_rows *r)
{
    return r->session->user ? r->session->user : "tally";
}

static const char *database_of(const struct tl__catalog_rows *r)
{
    return r->session->database ? r->session->database : "tally";
}

static bool is_owner(const struct tl__catalog_rows *r)
{
    return strcmp(user_of(r), "tally") == 0;
}

static void make_namespace(struct tl__catalog_rows *r)
{
    tl_buffer_printf(r->out,
                     "%d\tpg_catalog\t10\t\\N\n%d\tpublic\t10\t\\N\n"
                     "%d\tinformation_schema\t10\t\\N\n",
                     TL_OID_PG_CATALOG, TL_OID_PUBLIC, TL_OID_INFORMATION_SCHEMA);
}

static void make_database(struct tl__catalog_rows *r)
{
    tl_buffer_printf(r->out, "%d\t", TL_OID_DATABASE);
    put_text(r->out, database_of(r));
    put(r->out, "\t10\t6\tc\tf\tt\t-1\t0\t0\t1663\tC\tC\t\\N\t\\N\t\\N\n");
}

static void role(struct tl__catalog_rows *r, const char *name, uint32_t oid, bool operator)
{
    char yes = operator? 't' : 'f';
    put_text(r->out, name);
    tl_buffer_printf(r->out, "\t%c\tt\tf\tf\tt\tf\t-1\t********\t\\N\t%c\t\\N\t%u\n", yes, yes,
                     oid);
}

static void make_roles(struct tl__catalog_rows *r)
{
    role(r, "tally", TL_OID_OWNER, true);
    if (!is_owner(r))
        role(r, user_of(r), TL_OID_SELF, !r->session->merchant);
}

static void make_user(struct tl__catalog_rows *r)
{
    put_text(r->out, "tally");
    tl_buffer_printf(r->out, "\t%d\tf\tt\tf\tt\t********\t\\N\t\\N\n", TL_OID_OWNER);
    if (is_owner(r))
        return;
    put_text(r->out, user_of(r));
    tl_buffer_printf(r->out, "\t%d\tf\t%c\tf\t%c\t********\t\\N\t\\N\n", TL_OID_SELF,
                     r->session->merchant ? 'f' : 't', r->session->merchant ? 'f' : 't');
}

static void make_settings(struct tl__catalog_rows *r)
{
    const char *name, *value, *help;
    for (size_t i = 0;
         r->session->setting_at && r->session->setting_at(r->session->arg, i, &name, &value, &help);
         i++) {
        put_text(r->out, name);
        put(r->out, "\t");
        put_text(r->out, value);
        put(r->out, "\t\\N\tClient Connection Defaults\t");
        put_text(r->out, help);
        put(r->out, "\t\\N\tuser\tstring\tdefault\t\\N\t\\N\t\\N\t");
        put_text(r->out, value);
        put(r->out, "\t");
        put_text(r->out, value);
        put(r->out, "\t\\N\t\\N\tf\n");
    }
}

static void make_activity(struct tl__catalog_rows *r)
{
    const struct tl_session_info *s = r->session;
    const char *name = s->setting ? s->setting(s->arg, "application_name") : "";
    tl_buffer_printf(r->out, "%d\t", TL_OID_DATABASE);
    put_text(r->out, database_of(r));
    tl_buffer_printf(r->out, "\t%d\t\\N\t%d\t", s->backend_pid,
                     is_owner(r) ? TL_OID_OWNER : TL_OID_SELF);
    put_text(r->out, user_of(r));
    put(r->out, "\t");
    put_text(r->out, name ? name : "");
    put(r->out, "\t");
    put_or_null(r->out, s->client_address);
    tl_buffer_printf(r->out, "\t\\N\t%d\t", s->client_address ? (int)s->client_port : -1);
    put_time(r->out, s->backend_start_us);
    put(r->out, "\t\\N\t\\N\t\\N\t\\N\t\\N\tactive\t\\N\t\\N\t\\N\t\tclient backend\n");
}

tl__catalog_make *tl__catalog_maker(const char *name)
{
    static const struct {
        const char *name;
        tl__catalog_make *make;
    } makers[] = {
        {"pg_class", make_class},
        {"pg_attribute", make_attribute},
        {"pg_index", make_index},
        {"pg_constraint", make_constraint},
        {"pg_rewrite", make_rewrite},
        {"pg_namespace", make_namespace},
        {"pg_database", make_database},
        {"pg_roles", make_roles},
        {"pg_user", make_user},
        {"pg_settings", make_settings},
        {"pg_stat_activity", make_activity},
    };
    for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++)
        if (strcmp(makers[i].name, name) == 0)
            return makers[i].make;
    return NULL;
}
