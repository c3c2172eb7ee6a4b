/*
 * tests/unit/query/fake_catalog.h: a catalog of two tables for the tests of binder and planner.
 */
#ifndef TALLY_TESTS_UNIT_QUERY_FAKE_CATALOG_H
#define TALLY_TESTS_UNIT_QUERY_FAKE_CATALOG_H

#include <string.h>

#include "query/plan.h"

static const struct tl_column_info fake_events_columns[] = {
    {1, "merchant_id", {TL_BIGINT, 0}, true},   {2, "ts", {TL_TIMESTAMPTZ, 0}, true},
    {3, "event_name", {TL_TEXT, 0}, false},     {4, "visitor_id", {TL_TEXT, 0}, false},
    {5, "session_id", {TL_TEXT, 0}, false},     {6, "path", {TL_TEXT, 0}, false},
    {7, "referrer", {TL_TEXT, 0}, false},       {8, "country", {TL_TEXT, 0}, false},
    {9, "browser", {TL_TEXT, 0}, false},        {10, "status", {TL_BIGINT, 0}, false},
    {11, "bytes", {TL_BIGINT, 0}, false},       {12, "duration_ms", {TL_BIGINT, 0}, false},
    {13, "revenue", {TL_DECIMAL64, 4}, false},  {14, "score", {TL_DOUBLE, 0}, false},
    {15, "is_bot", {TL_BOOLEAN, 0}, false},     {16, "day", {TL_DATE, 0}, false},
    {17, "local_ts", {TL_TIMESTAMP, 0}, false}, {18, "props", {TL_PROPS, 0}, false},
    {19, "Mixed Case", {TL_TEXT, 0}, false},
};

static const struct tl_column_info fake_small_columns[] = {
    {1, "a", {TL_BIGINT, 0}, false},
    {2, "merchant_id", {TL_BIGINT, 0}, true},
    {3, "ts", {TL_TIMESTAMPTZ, 0}, true},
    {4, "b", {TL_TEXT, 0}, false},
};

static const struct tl_table_info fake_tables[] = {
    {7, "events", sizeof(fake_events_columns) / sizeof(fake_events_columns[0]), fake_events_columns,
     0, 1, false},
    {8, "small", sizeof(fake_small_columns) / sizeof(fake_small_columns[0]), fake_small_columns, 1,
     2, false},
};

static const struct tl_table_info *fake_table(const struct tl_catalog *c, const char *schema,
                                              const char *name)
{
    if (schema && strcmp(schema, "public") != 0)
        return NULL;
    (void)c;
    for (size_t i = 0; i < sizeof(fake_tables) / sizeof(fake_tables[0]); i++)
        if (strcmp(fake_tables[i].name, name) == 0)
            return &fake_tables[i];
    return NULL;
}

static uint32_t fake_table_count(const struct tl_catalog *c)
{
    (void)c;
    return sizeof(fake_tables) / sizeof(fake_tables[0]);
}

static const struct tl_table_info *fake_table_at(const struct tl_catalog *c, uint32_t index)
{
    (void)c;
    return &fake_tables[index];
}

static const struct tl_catalog_vtable fake_vtable = {fake_table, fake_table_count, fake_table_at};
static const struct tl_catalog fake_catalog = {&fake_vtable, 42};

#endif
