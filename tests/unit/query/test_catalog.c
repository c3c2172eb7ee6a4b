/*
 * Promise: every relation of the catalogs can be read whole: its rows have its columns, its SELECT
 * binds and has as many outputs; names find what they should, and users' tables come after.
 *
 * Method: each relation is scanned through the executor over a fake catalog; names are looked up.
 */
#include "query/catalog.h"

#include <stdio.h>

#include "query/catalog_int.h"
#include "query/exec.h"
#include "tests/test.h"
#include "tests/unit/query/fake_catalog.h"

/* A table with a primary key of two columns, a view, and the fake ones. */
static const uint32_t country_key[] = {2, 0};
static const struct tl_table_info others[] = {
    {.id = 9,
     .name = "country",
     .column_count = 4,
     .columns = fake_small_columns,
     .merchant_column = 1,
     .ts_column = 2,
     .key_count = 2,
     .key = country_key},
    {.id = 0x40000001U,
     .name = "short",
     .column_count = 1,
     .columns = fake_small_columns,
     .merchant_column = UINT32_MAX,
     .ts_column = UINT32_MAX,
     .definition = "SELECT a FROM small WHERE a > 1"},
};

static uint32_t wide_count(const struct tl_catalog *c)
{
    return fake_table_count(c) + 2;
}

static const struct tl_table_info *wide_at(const struct tl_catalog *c, uint32_t index)
{
    uint32_t fakes = fake_table_count(c);
    return index < fakes ? fake_table_at(c, index) : &others[index - fakes];
}

static const struct tl_table_info *wide_table(const struct tl_catalog *c, const char *schema,
                                              const char *name)
{
    for (uint32_t i = 0; i < wide_count(c); i++)
        if ((!schema || strcmp(schema, "public") == 0) && strcmp(wide_at(c, i)->name, name) == 0)
            return wide_at(c, i);
    return NULL;
}

static const struct tl_catalog_vtable wide_vtable = {wide_table, wide_count, wide_at};
static const struct tl_catalog wide_catalog = {&wide_vtable, 43};

static uint64_t rows_of(const char *sql)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan;
    struct tl_run *run;
    struct tl_budget budget;
    tl_budget_init(&budget, "query memory", 256 << 20, NULL);
    assert_ok(&st, tl_plan_new(&wide_catalog, tl_slice_str(sql), NULL, &plan, &st));
    struct tl_run_options options = {.budget = &budget, .time_zone = "UTC"};
    assert_ok(&st, tl_run_new(plan, &options, &run, &st));
    uint64_t rows = 0;
    for (;;) {
        struct tl_chunk chunk;
        assert_ok(&st, tl_run_step(run, &chunk, &st));
        if (chunk.count == 0)
            break;
        for (uint32_t i = 0; i < plan->output_count; i++) {
            assert_true(tl_vector_check(&chunk.columns[i]));
            assert_true(tl_type_eq(chunk.columns[i].type, plan->outputs[i].type));
        }
        rows += chunk.count;
    }
    tl_run_free(run);
    tl_plan_free(plan);
    assert_int_equal(atomic_load_explicit(&budget.used_bytes, memory_order_relaxed), 0);
    return rows;
}

static void every_relation_is_read(void **state)
{
    (void)state;
    uint32_t count, filled = 0;
    const struct tl__catalog_relation *all = tl__catalog_relations(&count);
    assert_true(count > 200);
    for (uint32_t i = 0; i < count; i++) {
        char sql[256];
        const struct tl_table_info *t = &all[i].info;
        if (tl_catalog_refuses(t))
            continue;
        snprintf(sql, sizeof(sql), "SELECT * FROM %s%s%s%s",
                 all[i].shape->kind == 'f' ? "" : tl_catalog_schema_of(t),
                 all[i].shape->kind == 'f' ? "" : ".", t->name,
                 all[i].shape->kind == 'f' ? "()" : "");
        filled += rows_of(sql) > 0;
    }
    assert_true(filled >= 25);
}

static void names_are_found_along_the_path(void **state)
{
    (void)state;
    const struct tl_table_info *c = tl_catalog_find(&fake_catalog, NULL, "pg_class");
    assert_non_null(c);
    assert_true(tl_catalog_owns(c->id));
    assert_ptr_equal(c, tl_catalog_find(&fake_catalog, "pg_catalog", "pg_class"));
    assert_null(tl_catalog_find(&fake_catalog, "public", "pg_class"));
    assert_null(tl_catalog_find(&fake_catalog, NULL, "columns"));
    assert_non_null(tl_catalog_find(&fake_catalog, "information_schema", "columns"));
    assert_null(tl_catalog_find(&fake_catalog, "pg_catalog", "events"));
    assert_non_null(tl_catalog_find(&fake_catalog, "public", "events"));
    assert_null(tl_catalog_find(&fake_catalog, NULL, "pg_get_keywords"));
    assert_non_null(tl_catalog_function("pg_get_keywords"));
    assert_null(tl_catalog_function("pg_class"));
    assert_string_equal(tl_catalog_schema_of(c), "pg_catalog");
    assert_ptr_equal(tl__catalog_by_oid(&fake_catalog, 1259), c);
    const struct tl_table_info *small = tl_catalog_find(&fake_catalog, NULL, "small");
    assert_ptr_equal(tl__catalog_by_oid(&fake_catalog, tl__catalog_oid(small)), small);
    assert_null(tl__catalog_by_oid(&fake_catalog, 4000000000U));
    assert_null(tl__catalog_by_oid(&fake_catalog, 0));
}

static void tables_of_the_user_are_listed(void **state)
{
    (void)state;
    assert_int_equal(rows_of("SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
                     5);
    assert_int_equal(rows_of("SELECT 1 FROM pg_attribute WHERE attrelid = 'small'::regclass"), 4);
    /* a map is no value: it is not told of */
    assert_int_equal(rows_of("SELECT 1 FROM pg_attribute WHERE attrelid = 'events'::regclass"), 18);
    assert_int_equal(rows_of("SELECT 1 FROM information_schema.columns WHERE table_name = 'small'"),
                     4);
    assert_int_equal(rows_of("SELECT 1 FROM pg_roles"), 1);
    assert_int_equal(rows_of("SELECT 1 FROM pg_stat_activity"), 1);
}

/* FROM reads a view as what it stands for, under its own names. */
static void views_are_subqueries(void **state)
{
    (void)state;
    static const char *const statements[] = {
        "SELECT a FROM short",
        "SELECT s.x + 1 FROM short AS s(x) WHERE s.x < 5 ORDER BY 1",
        "SELECT short.a, small.a FROM public.short LEFT JOIN small ON small.a = short.a",
        "WITH small AS (SELECT 'no' AS a) SELECT a + 1 FROM short",
    };
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_plan *plan;
        assert_ok(&st, tl_plan_new(&wide_catalog, tl_slice_str(statements[i]), NULL, &plan, &st));
        assert_int_equal(plan->outputs[0].type.kind, TL_BIGINT);
        tl_plan_free(plan);
    }
}

/* The one text that the statement gives. */
static void gives(const char *sql, const char *wanted)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan;
    struct tl_run *run;
    struct tl_chunk chunk;
    assert_ok(&st, tl_plan_new(&wide_catalog, tl_slice_str(sql), NULL, &plan, &st));
    struct tl_run_options options = {.time_zone = "UTC"};
    assert_ok(&st, tl_run_new(plan, &options, &run, &st));
    assert_ok(&st, tl_run_step(run, &chunk, &st));
    assert_int_equal(chunk.count, 1);
    const struct tl_slice *text = chunk.columns[0].data;
    assert_true(tl_slice_eq(text[0], tl_slice_str(wanted)));
    tl_run_free(run);
    tl_plan_free(plan);
}

static void keys_and_views_are_listed(void **state)
{
    (void)state;
    gives("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'country'::regclass",
          "CREATE UNIQUE INDEX country_pkey ON public.country USING btree (ts, a)");
    gives("SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint",
          "country_pkey: PRIMARY KEY (ts, a)");
    gives(
        "SELECT array_to_string(ARRAY(SELECT a.attname FROM pg_attribute a JOIN (SELECT "
        "unnest(i.indkey) AS attnum, generate_subscripts(i.indkey, 1) AS ord FROM pg_index i WHERE "
        "i.indrelid = 'country'::regclass AND i.indisprimary) k ON a.attnum = k.attnum WHERE "
        "a.attrelid = 'country'::regclass ORDER BY k.ord), ',')",
        "ts,a");
    gives("SELECT string_agg(column_name::text, ',') FROM (SELECT column_name FROM "
          "information_schema.key_column_usage WHERE table_name = 'country' ORDER BY "
          "ordinal_position) t",
          "ts,a");
    gives("SELECT 'country_pkey'::regclass::text", "country_pkey");
    gives("SELECT indexdef FROM pg_indexes",
          "CREATE UNIQUE INDEX country_pkey ON public.country USING btree (ts, a)");
    gives("SELECT definition FROM pg_views WHERE schemaname = 'public'",
          "SELECT a FROM small WHERE a > 1");
    gives("SELECT view_definition::text FROM information_schema.views WHERE table_name = 'short'",
          "SELECT a FROM small WHERE a > 1");
    gives("SELECT relkind::text FROM pg_class WHERE relname = 'short'", "v");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_relation_is_read),
        cmocka_unit_test(names_are_found_along_the_path),
        cmocka_unit_test(tables_of_the_user_are_listed),
        cmocka_unit_test(keys_and_views_are_listed),
        cmocka_unit_test(views_are_subqueries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
