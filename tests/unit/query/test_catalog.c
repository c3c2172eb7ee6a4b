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

static uint64_t rows_of(const char *sql)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan;
    struct tl_run *run;
    struct tl_budget budget;
    tl_budget_init(&budget, "query memory", 256 << 20, NULL);
    assert_ok(&st, tl_plan_new(&fake_catalog, tl_slice_str(sql), NULL, &plan, &st));
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
                     2);
    assert_int_equal(rows_of("SELECT 1 FROM pg_attribute WHERE attrelid = 'small'::regclass"), 4);
    /* a map is no value: it is not told of */
    assert_int_equal(rows_of("SELECT 1 FROM pg_attribute WHERE attrelid = 'events'::regclass"), 18);
    assert_int_equal(rows_of("SELECT 1 FROM information_schema.columns WHERE table_name = 'small'"),
                     4);
    assert_int_equal(rows_of("SELECT 1 FROM pg_roles"), 1);
    assert_int_equal(rows_of("SELECT 1 FROM pg_stat_activity"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_relation_is_read),
        cmocka_unit_test(names_are_found_along_the_path),
        cmocka_unit_test(tables_of_the_user_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
