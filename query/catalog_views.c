/*
 * query/catalog_views.c: the relations that are SELECTs over the others.
 *
 * Their columns have the names and types of PostgreSQL 15's, which the shapes say; the queries
 * give the values in that order. Those that are not here are empty.
 */
#include <string.h>

#include "query/catalog_int.h"

#define TABLES  "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
#define COLUMNS TABLES "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
#define DB      "current_database()::name"

static const struct view {
    const char *name;
    const char *text;
} pg_views[] = {
    {"pg_tables", "SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), NULL::name, "
                  "c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity FROM " TABLES
                  "WHERE c.relkind IN ('r', 'p')"},
    {"pg_views", "SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), "
                 "pg_get_viewdef(c.oid) FROM " TABLES "WHERE c.relkind = 'v'"},
    {"pg_matviews",
     "SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), NULL::name, "
     "c.relhasindex, c.relispopulated, pg_get_viewdef(c.oid) FROM " TABLES "WHERE c.relkind = 'm'"},
    {"pg_indexes", "SELECT n.nspname, c.relname, i.relname, NULL::name, pg_get_indexdef(i.oid) "
                   "FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indrelid "
                   "JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid "
                   "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"},
};

static const struct view is_views[] = {
    {"information_schema_catalog_name", "SELECT " DB},
    {"schemata", "SELECT " DB ", nspname, pg_get_userbyid(nspowner), NULL::name, NULL::name, "
                 "NULL::name, NULL::varchar FROM pg_catalog.pg_namespace"},
    {"tables",
     "SELECT " DB ", n.nspname, c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'BASE TABLE' "
     "END::varchar, NULL::name, NULL::varchar, NULL::name, NULL::name, NULL::name, CASE WHEN "
     "has_table_privilege(c.oid, 'INSERT') AND c.relkind = 'r' THEN 'YES' ELSE 'NO' END::varchar, "
     "'NO'::varchar, NULL::varchar FROM " TABLES "WHERE c.relkind IN ('r', 'v', 'f', 'p')"},
    {"columns",
     "SELECT " DB ", n.nspname, c.relname, a.attname, a.attnum::int4, "
     "pg_get_expr(d.adbin, d.adrelid)::varchar, "
     "CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END::varchar, "
     "CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, NULL) "
     "WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN 'ARRAY' "
     "ELSE format_type(t.oid, NULL) END::varchar, "
     "CASE WHEN a.atttypid IN (1043, 1042) AND a.atttypmod > 4 THEN a.atttypmod - 4 END::int4, "
     "CASE WHEN a.atttypid IN (25, 1043, 1042) OR t.typbasetype = 1043 THEN 1073741824 END::int4, "
     "CASE a.atttypid WHEN 21 THEN 16 WHEN 23 THEN 32 WHEN 20 THEN 64 WHEN 700 THEN 24 WHEN 701 "
     "THEN 53 WHEN 1700 THEN CASE WHEN a.atttypmod >= 4 THEN ((a.atttypmod - 4) >> 16) & 65535 END "
     "END::int4, "
     "CASE WHEN a.atttypid IN (21, 23, 20, 700, 701) THEN 2 WHEN a.atttypid = 1700 THEN 10 "
     "END::int4, "
     "CASE WHEN a.atttypid IN (21, 23, 20) THEN 0 WHEN a.atttypid = 1700 AND a.atttypmod >= 4 "
     "THEN (a.atttypmod - 4) & 65535 END::int4, "
     "CASE WHEN a.atttypid = 1082 THEN 0 WHEN a.atttypid IN (1114, 1184, 1186) THEN 6 END::int4, "
     "NULL::varchar, NULL::int4, NULL::name, NULL::name, NULL::name, NULL::name, NULL::name, "
     "NULL::name, CASE WHEN t.typtype = 'd' THEN " DB " END, "
     "CASE WHEN t.typtype = 'd' THEN nt.nspname END, CASE WHEN t.typtype = 'd' THEN t.typname "
     "END, " DB ", CASE WHEN t.typtype = 'd' THEN 'pg_catalog' ELSE nt.nspname END::name, "
     "coalesce(bt.typname, t.typname), "
     "NULL::name, NULL::name, NULL::name, NULL::int4, a.attnum::text::name, 'NO'::varchar, "
     "'NO'::varchar, NULL::varchar, NULL::varchar, NULL::varchar, NULL::varchar, NULL::varchar, "
     "'NO'::varchar, 'NEVER'::varchar, NULL::varchar, "
     "CASE WHEN c.relkind = 'r' THEN 'YES' ELSE 'NO' END::varchar "
     "FROM " COLUMNS "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
     "JOIN pg_catalog.pg_namespace nt ON nt.oid = t.typnamespace "
     "LEFT JOIN pg_catalog.pg_type bt ON t.typtype = 'd' AND bt.oid = t.typbasetype "
     "LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
     "WHERE NOT a.attisdropped AND c.relkind IN ('r', 'v', 'f', 'p')"},
    {"views", "SELECT " DB ", n.nspname, c.relname, pg_get_viewdef(c.oid)::varchar, "
              "'NONE'::varchar, 'NO'::varchar, 'NO'::varchar, 'NO'::varchar, 'NO'::varchar, "
              "'NO'::varchar FROM " TABLES "WHERE c.relkind = 'v'"},
    {"table_constraints",
     "SELECT " DB ", n.nspname, k.conname, " DB ", n.nspname, c.relname, 'PRIMARY KEY'::varchar, "
     "'NO'::varchar, 'NO'::varchar, 'YES'::varchar, NULL::varchar "
     "FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid "
     "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'p'"},
    {"key_column_usage",
     "SELECT " DB ", n.nspname, k.conname, " DB ", n.nspname, c.relname, a.attname, "
     "array_position(k.conkey, a.attnum)::int4, NULL::int4 "
     "FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid "
     "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
     "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey)"},
    {"constraint_column_usage",
     "SELECT " DB ", n.nspname, c.relname, a.attname, " DB ", n.nspname, k.conname "
     "FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid "
     "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
     "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey)"},
    {"constraint_table_usage",
     "SELECT " DB ", n.nspname, c.relname, " DB ", n.nspname, k.conname "
     "FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid "
     "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"},
    {"character_sets", "SELECT NULL::name, NULL::name, 'UTF8'::name, 'UCS'::name, 'UTF8'::name, " DB
                       ", NULL::name, NULL::name"},
    {"collations", "SELECT " DB ", 'pg_catalog'::name, collname, 'NO PAD'::varchar "
                   "FROM pg_catalog.pg_collation"},
    {"table_privileges",
     "SELECT 'tally'::name, current_user, " DB ", n.nspname, c.relname, 'SELECT'::varchar, "
     "'NO'::varchar, 'YES'::varchar FROM " TABLES "WHERE c.relkind IN ('r', 'v', 'm')"},
    {"column_privileges",
     "SELECT 'tally'::name, current_user, " DB ", n.nspname, c.relname, a.attname, "
     "'SELECT'::varchar, 'NO'::varchar FROM " COLUMNS "WHERE c.relkind IN ('r', 'v')"},
    {"enabled_roles", "SELECT current_user"},
    {"applicable_roles", "SELECT current_user, current_user, 'NO'::varchar WHERE false"},
    {"routines",
     "SELECT " DB ", n.nspname, (p.proname || '_' || p.oid::text)::name, " DB
     ", n.nspname, p.proname, CASE p.prokind WHEN 'f' THEN 'FUNCTION' WHEN 'p' THEN 'PROCEDURE' "
     "END::varchar, NULL::name, NULL::name, NULL::name, NULL::name, NULL::name, NULL::name, "
     "CASE WHEN t.typelem <> 0 AND t.typcategory = 'A' THEN 'ARRAY' ELSE format_type(t.oid, NULL) "
     "END::varchar, NULL::int4, NULL::int4, NULL::name, NULL::name, NULL::name, NULL::name, "
     "NULL::name, NULL::name, NULL::int4, NULL::int4, NULL::int4, NULL::int4, NULL::varchar, "
     "NULL::int4, " DB ", 'pg_catalog'::name, t.typname, NULL::name, NULL::name, NULL::name, "
     "NULL::int4, '0'::name, 'EXTERNAL'::varchar, p.prosrc::varchar, NULL::varchar, "
     "'INTERNAL'::varchar, 'GENERAL'::varchar, CASE WHEN p.provolatile = 'i' THEN 'YES' ELSE 'NO' "
     "END::varchar, 'MODIFIES'::varchar, CASE WHEN p.proisstrict THEN 'YES' ELSE 'NO' "
     "END::varchar, NULL::varchar, 'YES'::varchar, 0::int4, NULL::varchar, NULL::varchar, "
     "'INVOKER'::varchar, NULL::name, NULL::name, NULL::name, 'NO'::varchar, NULL::timestamptz, "
     "NULL::timestamptz, NULL::varchar, 'NO'::varchar, NULL::varchar, NULL::varchar, NULL::int4, "
     "NULL::int4, NULL::name, NULL::name, NULL::name, NULL::name, NULL::name, NULL::name, "
     "NULL::int4, NULL::int4, NULL::int4, NULL::int4, NULL::varchar, NULL::int4, NULL::name, "
     "NULL::name, NULL::name, NULL::name, NULL::name, NULL::name, NULL::int4, NULL::name FROM "
     "pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace "
     "JOIN pg_catalog.pg_type t ON t.oid = p.prorettype"},
};

static const char *find(const struct view *views, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(views[i].name, name) == 0)
            return views[i].text;
    return NULL;
}

const char *tl__catalog_view_text(const char *name, bool information_schema)
{
    return information_schema ? find(is_views, sizeof(is_views) / sizeof(is_views[0]), name)
                              : find(pg_views, sizeof(pg_views) / sizeof(pg_views[0]), name);
}
