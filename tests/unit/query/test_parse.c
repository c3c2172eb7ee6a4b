/*
 * Promise: any text either becomes our own tree or is refused with SQLSTATE and position; what is
 * refused is named. Method: one of each node of PostgreSQL's grammar that matters, the texts that
 * are known to break parsers, and positions in characters with text beyond ASCII.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "query/parse.h"
#include "query/plan.h"

struct refusal {
    const char *sql;
    const char *sqlstate;
    int position;     /* -1: not looked at */
    const char *part; /* of the sentence */
};

static enum tl_code parse(const char *sql, size_t size, struct tl_arena *arena,
                          struct tl_ast_statement *out, struct tl_status *st)
{
    tl_arena_init(arena, NULL, 4096);
    return tl_sql_parse(tl_slice_of(sql, size), 0, arena, out, st);
}

static const struct refusal refusals[] = {
    {"", "42601", 0, "empty"},
    {"   ;", "42601", 0, "empty"},
    {"SELECT 1; SELECT 2", "42601", 11, "one statement"},
    {"SELEC 1", "42601", 1, "at or near \"SELEC\""},
    {"SELECT 1 +", "42601", 11, "end of input"},
    {"SELECT 'ü' FROM (", "42601", 18, "end of input"},
    {"SELECT 'üüü' )", "42601", 14, "at or near \")\""},
    {"SELECT 'abc", "42601", 8, "unterminated"},
    {"SELECT ?", "42601", 9, "end of input"},
    {"SELECT a FROM t WHERE a = ?", "42601", 28, ""},
    {"SELECT $0", "42P02", 8, "$0"},
    {"SELECT $99999", "42P02", 8, "$99999"},
    {"SELECT 1 INTO t", "0A000", 10, "SELECT INTO"},
    {"SELECT a FROM t FOR UPDATE", "0A000", 17, "FOR UPDATE"},
    {"SELECT a FROM t FOR SHARE", "0A000", 17, "FOR"},
    {"SELECT a FROM ONLY t", "0A000", 20, "ONLY"},
    {"SELECT a FROM t TABLESAMPLE system(1)", "0A000", 29, "TABLESAMPLE"},
    {"SELECT a FROM (SELECT 1)", "42601", -1, "alias"},
    {"SELECT a FROM db.s.t", "0A000", 15, "database"},
    {"SELECT string_agg(a, ',' ORDER BY b) FROM t", "0A000", 8, "ORDER BY within"},
    {"SELECT concat(VARIADIC a) FROM t", "0A000", 8, "VARIADIC"},
    {"SELECT f(x => 1)", "0A000", 10, "named argument"},
    {"SELECT a COLLATE \"de_DE\" FROM t", "0A000", 10, "COLLATE"},
    {"SELECT a FROM t ORDER BY a USING <", "0A000", -1, "USING"},
    {"SELECT a FROM t FETCH FIRST 2 ROWS WITH TIES", "42601", -1, "WITH TIES"},
    {"SELECT a FROM t ORDER BY a FETCH FIRST 2 ROWS WITH TIES", "0A000", 52, "WITH TIES"},
    {"SELECT a BETWEEN SYMMETRIC 1 AND 2 FROM t", "0A000", 10, "SYMMETRIC"},
    {"SELECT B'101'", "0A000", 8, "bit string"},
    {"SELECT a[1][2] FROM t", "0A000", 8, "field"},
    {"SELECT (a).b.c FROM t", "0A000", 9, "field"},
    {"SELECT a.b.c.d FROM t", "0A000", 8, "column reference"},
    {"SELECT foo.bar(1)", "0A000", 8, "schema-qualified"},
    {"SELECT 1 OPERATOR(foo.+) 2", "0A000", 10, "schema-qualified"},
    {"SELECT current_time", "0A000", 8, "SQL value"},
    {"SELECT current_timestamp(3)", "0A000", 8, "SQL value"},
    {"SELECT 1::foo", "42704", 11, "foo"},
    {"SELECT 1::json", "0A000", 11, "json"},
    {"SELECT 1::int[][]", "0A000", 11, "array type"},
    {"SELECT 'a'::varchar(3)", "0A000", 13, "varchar"},
    {"SELECT 'a'::char(3)", "0A000", 13, "bpchar"},
    {"SELECT 1::numeric(50,2)", "0A000", 11, "at most 38"},
    {"SELECT 1::numeric(1001)", "22023", 11, "between 1 and 1000"},
    {"SELECT 1::numeric(5,6)", "0A000", 11, "scale"},
    {"SELECT 1::numeric(5,-1)", "0A000", 11, "scale"},
    {"SELECT now()::timestamp(3)", "0A000", 15, "precision"},
    {"SELECT DEFAULT", "0A000", -1, ""},
    {"SELECT FROM t", "0A000", 1, "without columns"},
    {"INSERT INTO t VALUES (1)", "0A000", 1, "INSERT"},
    {"  UPDATE t SET a = 1", "0A000", 3, "UPDATE"},
    {"/* é */ DELETE FROM t", "0A000", 9, "DELETE"},
    {"BEGIN", "0A000", 1, "transaction"},
    {"SET x = 1", "0A000", 1, "SET"},
    {"DROP TABLE t", "0A000", 1, "DROP"},
    {"TRUNCATE t", "0A000", 1, "TRUNCATE"},
    {"COPY t TO STDOUT", "0A000", 1, "COPY"},
    {"CREATE INDEX ON t (a)", "0A000", 1, "CREATE INDEX"},
    {"CREATE VIEW v AS SELECT 1", "0A000", 1, "CREATE VIEW"},
    {"CREATE TABLE t AS SELECT 1", "0A000", 1, "CREATE TABLE AS"},
    {"CREATE TEMP TABLE t (a int)", "0A000", -1, "temporary"},
    {"CREATE UNLOGGED TABLE t (a int)", "0A000", 23, "unlogged"},
    {"CREATE TABLE t (a int PRIMARY KEY)", "0A000", 23, "constraint"},
    {"CREATE TABLE t (a int DEFAULT 1)", "0A000", 23, "default"},
    {"CREATE TABLE t (a int, UNIQUE (a))", "0A000", 24, "table constraint"},
    {"CREATE TABLE t (a text COLLATE \"C\")", "0A000", 24, "COLLATE"},
    {"CREATE TABLE t (a int) INHERITS (u)", "0A000", 24, "INHERITS"},
    {"CREATE TABLE t (a int) PARTITION BY RANGE (a)", "0A000", 24, "PARTITION"},
    {"CREATE TABLE t (a int) WITH (fillfactor = 10)", "22023", 30, "tally.partition_rows"},
    {"CREATE TABLE t (a int) WITH (tally.partition_rows = 0)", "22023", 30, "from 1 to"},
    {"CREATE TABLE t (a int) WITH (tally.partition_rows)", "22023", 30, "from 1 to"},
    {"ALTER TABLE t SET (tally.partition_rows = 3000000000)", "22023", 20, "from 1 to"},
    {"ALTER TABLE t SET (tally.rows = 3)", "22023", 20, "only option"},
    {"ALTER TABLE t SET (tally.partition_rows = 3, tally.partition_rows = 4)", "22023", 46, "more"},
    {"ALTER TABLE t RESET (partition_rows)", "22023", 22, "only option"},
    {"CREATE TABLE t (a int) TABLESPACE x", "0A000", 14, "option"},
    {"CREATE TABLE t (LIKE u)", "0A000", 17, "LIKE"},
    {"CREATE TABLE t (a int NULL NOT NULL)", "42601", -1, "conflicting"},
    {"ALTER TABLE t DROP COLUMN a", "0A000", 13, "ADD COLUMN"},
    {"ALTER TABLE t ADD COLUMN a int, ADD COLUMN b int", "0A000", 13, "more than one"},
    {"ALTER TABLE IF EXISTS t ADD COLUMN a int", "0A000", 13, "IF EXISTS"},
    {"ALTER TABLE t RENAME TO u", "0A000", 1, "RENAME"},
    {"SHOW timezone", "0A000", 1, "SHOW timezone"},
    {"EXPLAIN VERBOSE SELECT 1", "0A000", -1, "verbose"},
    {"EXPLAIN (FORMAT json) SELECT 1", "0A000", 10, "format"},
    {"EXPLAIN INSERT INTO t VALUES (1)", "0A000", 1, "EXPLAIN"},
    {"PREPARE x AS SELECT 1", "0A000", 1, "PREPARE"},
};

static void refused_with_state_and_position(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct refusal *r = &refusals[i];
        struct tl_arena arena;
        struct tl_ast_statement s;
        struct tl_status st = TL_STATUS_INIT;
        enum tl_code rc = parse(r->sql, strlen(r->sql), &arena, &s, &st);
        if (rc == TL_OK)
            fail_msg("accepted: %s", r->sql);
        if (strcmp(tl_status_sqlstate(&st), r->sqlstate) != 0 ||
            (r->position >= 0 && st.position != r->position) || !strstr(st.text, r->part))
            print_error("%s\n  got %s at %d: %s\n  expected %s at %d: …%s…\n", r->sql,
                        tl_status_sqlstate(&st), st.position, st.text, r->sqlstate, r->position,
                        r->part),
                wrong++;
        tl_arena_deinit(&arena);
    }
    assert_int_equal(wrong, 0);
}

static const char *const accepted[] = {
    "SELECT a[1:2], a[:2], a[1:], a[:] FROM t",
    "SELECT 1",
    "SELECT 1;",
    "SELECT -1, - 2.5e3, 99999999999, 999999999999999999999, 'x', E'a\\nb', U&'d\\0061t', $$q$$",
    "SELECT true, false, NULL, $1, $2::bigint",
    "SELECT a, t.b, t.*, * FROM t",
    "SELECT a FROM public.t x",
    "SELECT a + b - c * d / e % f || g FROM t",
    "SELECT a FROM t WHERE a AND b OR NOT c",
    "SELECT a FROM t WHERE a IS NULL OR b IS NOT NULL OR c IS TRUE OR d IS NOT UNKNOWN",
    "SELECT a FROM t WHERE a IN (1,2,3) AND b NOT IN ('x') AND c BETWEEN 1 AND 2",
    "SELECT a FROM t WHERE a LIKE 'x' AND b NOT ILIKE 'y' ESCAPE '!'",
    "SELECT a IS DISTINCT FROM b, a IS NOT DISTINCT FROM b FROM t",
    "SELECT CASE WHEN a THEN 1 END, CASE a WHEN 1 THEN 2 ELSE 3 END FROM t",
    "SELECT coalesce(a,b), nullif(a,b), greatest(a,b), least(a,b) FROM t",
    "SELECT count(*), count(DISTINCT a), sum(a) FILTER (WHERE b) FROM t",
    "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a DESC) FROM t",
    "SELECT a FROM t UNION SELECT b FROM u",
    "SELECT a FROM t INTERSECT SELECT b FROM u",
    "SELECT a FROM t EXCEPT SELECT b FROM u",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "VALUES (1)",
    "SELECT a FROM t, u",
    "SELECT a FROM t JOIN u ON true",
    "SELECT a FROM t NATURAL JOIN u",
    "SELECT a FROM t LEFT JOIN u USING (a)",
    "SELECT a FROM t CROSS JOIN u",
    "SELECT a FROM generate_series(1,2)",
    "SELECT a FROM t AS x(b)",
    "SELECT a FROM LATERAL (SELECT 1) x",
    "SELECT a FROM other.t",
    "SELECT DISTINCT ON (a) a FROM t",
    "SELECT a FROM t GROUP BY GROUPING SETS ((a))",
    "SELECT a FROM t GROUP BY ROLLUP (a)",
    "SELECT a FROM t GROUP BY CUBE (a)",
    "SELECT a FROM t GROUP BY DISTINCT a",
    "SELECT grouping(a) FROM t GROUP BY a",
    "SELECT sum(a) OVER () FROM t",
    "SELECT sum(a) OVER w FROM t WINDOW w AS ()",
    "SELECT a FROM t WINDOW w AS (ORDER BY a)",
    "SELECT (SELECT 1)",
    "SELECT a FROM t WHERE a IN (SELECT 1)",
    "SELECT a FROM t WHERE EXISTS (SELECT 1)",
    "SELECT ROW(1,2)",
    "SELECT (1,2)",
    "SELECT extract(epoch FROM ts), ts AT TIME ZONE 'UTC', substring(a from 1 for 2) FROM t",
    "SELECT interval '1 day', interval '1' day, timestamp '2020-01-01', date '2020-01-01'",
    "SELECT current_date, current_timestamp, localtimestamp",
    "SELECT props['key'], t.props['key'] FROM t",
    "SELECT a::int, CAST(a AS smallint), a::double precision, a::numeric(18,4), a::real FROM t",
    "SELECT a FROM t GROUP BY a, 1 HAVING a > 1 ORDER BY 1 DESC NULLS LAST LIMIT 5 OFFSET $1",
    "SELECT a FROM t FETCH FIRST 5 ROWS ONLY",
    "SELECT a FROM t LIMIT ALL",
    "SELECT DISTINCT a FROM t",
    "SELECT a FROM (SELECT b AS a FROM t) x",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN (ANALYZE true) SELECT 1",
    "SHOW TABLES",
    "CREATE TABLE IF NOT EXISTS t (a bigint NOT NULL, b text, c numeric(18,4), d timestamptz)",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS a bigint",
    "CREATE TABLE t (a bigint) WITH (tally.partition_rows = 1000000000)",
    "ALTER TABLE t SET (tally.partition_rows = 1)",
    "ALTER TABLE t RESET (tally.partition_rows)",
    "SELECT '(((((((((((((((((((((' -- ((((((((((",
};

static void accepted_statements(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        struct tl_arena arena;
        struct tl_ast_statement s;
        struct tl_status st = TL_STATUS_INIT;
        if (parse(accepted[i], strlen(accepted[i]), &arena, &s, &st) != TL_OK)
            fail_msg("%s: %s at %d", accepted[i], st.text, st.position);
        tl_arena_deinit(&arena);
    }
}

static void tree_says_what_was_written(void **state)
{
    (void)state;
    struct tl_arena arena;
    struct tl_ast_statement s;
    struct tl_status st = TL_STATUS_INIT;
    const char *sql = "SELECT DISTINCT path AS p, count(DISTINCT v) FILTER (WHERE ok), "
                      "a NOT LIKE 'x' ESCAPE '!', $2 FROM events e WHERE b NOT IN (1,-2) "
                      "ORDER BY 1 DESC NULLS LAST, p LIMIT 10 OFFSET 3";
    assert_ok(&st, parse(sql, strlen(sql), &arena, &s, &st));
    assert_int_equal(s.kind, TL_STMT_SELECT);
    assert_int_equal(s.param_max, 2);
    const struct tl_ast_select *q = s.select;
    assert_true(q->distinct);
    assert_int_equal(q->distinct_position, 8);
    assert_int_equal(q->target_count, 4);
    assert_string_equal(q->targets[0].alias, "p");
    assert_int_equal(q->targets[0].expr->kind, TL_AST_COLUMN);
    assert_string_equal(q->targets[0].expr->name, "path");
    const struct tl_ast *count = q->targets[1].expr;
    assert_int_equal(count->kind, TL_AST_CALL);
    assert_string_equal(count->name, "count");
    assert_true(count->call->distinct && count->call->filter && !count->call->star);
    const struct tl_ast *like = q->targets[2].expr;
    assert_int_equal(like->kind, TL_AST_LIKE);
    assert_true(like->negated);
    assert_int_equal(like->arg_count, 3);
    assert_int_equal(q->from_count, 1);
    assert_int_equal(q->from[0]->kind, TL_FROM_TABLE);
    assert_string_equal(q->from[0]->table_name, "events");
    assert_string_equal(q->from[0]->alias, "e");
    assert_int_equal(q->where->kind, TL_AST_IN);
    assert_true(q->where->negated);
    assert_int_equal(q->where->args[2]->integer, -2);
    assert_int_equal(q->order_count, 2);
    assert_true(q->order[0].descending && !q->order[0].nulls_first);
    assert_false(q->order[1].descending || q->order[1].nulls_first);
    assert_int_equal(q->limit->integer, 10);
    assert_int_equal(q->offset->integer, 3);
    tl_arena_deinit(&arena);
}

static char *repeat(const char *head, const char *part, size_t times, const char *tail)
{
    size_t part_size = strlen(part);
    char *sql = malloc(strlen(head) + times * part_size + strlen(tail) + 1);
    assert_non_null(sql);
    size_t used = strlen(head);
    memcpy(sql, head, used);
    for (size_t i = 0; i < times; i++, used += part_size)
        memcpy(sql + used, part, part_size);
    memcpy(sql + used, tail, strlen(tail) + 1);
    return sql;
}

static void check_limit(const char *head, const char *part, size_t times, const char *tail,
                        const char *sqlstate)
{
    char *sql = repeat(head, part, times, tail);
    struct tl_arena arena;
    struct tl_ast_statement s;
    struct tl_status st = TL_STATUS_INIT;
    enum tl_code rc = parse(sql, strlen(sql), &arena, &s, &st);
    if (rc == TL_OK || strcmp(tl_status_sqlstate(&st), sqlstate) != 0)
        fail_msg("%s%s… × %zu: %s %s", head, part, times, tl_status_sqlstate(&st), st.text);
    tl_arena_deinit(&arena);
    free(sql);
}

static void hostile_texts_meet_a_limit(void **state)
{
    (void)state;
    check_limit("SELECT ", "(", 30000, "", "54001");
    check_limit("SELECT ", "a[", 30000, "", "54001");
    check_limit("SELECT 1", "+1", 30000, "", "54001");
    check_limit("SELECT 1", "+1", 600000, "", "54000");
    check_limit("SELECT ", "- ", 5000, "a", "54001");
    check_limit("SELECT ", "- ", 60000, "a", "42601"); /* the grammar's own stack */
    check_limit("SELECT ", "NOT ", 5000, "a", "54001");
    check_limit("SELECT ", "CASE WHEN a THEN ", 2000, "", "42601");
    check_limit("SELECT a", "::text", 2000, "", "54001");
    check_limit("SELECT a", " IS NULL", 2000, "", "54001");
    check_limit("SELECT '", "x", 2 << 20, "'", "54000");
    check_limit("SELECT a", ",a", 2000, "", "54011");
    check_limit("SELECT * FROM ", "(SELECT * FROM ", 200, "t", "42601");
    /* One level fewer than the limits is read. */
    char *sql = repeat("SELECT 1", "+1", TL_SQL_DEPTH_MAX - 2, "");
    struct tl_arena arena;
    struct tl_ast_statement s;
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, parse(sql, strlen(sql), &arena, &s, &st));
    tl_arena_deinit(&arena);
    free(sql);
    sql = repeat("SELECT a FROM t WHERE a IN (1", ",1", 50000, ")");
    assert_ok(&st, parse(sql, strlen(sql), &arena, &s, &st));
    tl_arena_deinit(&arena);
    free(sql);
    sql = repeat("SELECT a FROM t WHERE a", " AND a", 20000, "");
    assert_ok(&st, parse(sql, strlen(sql), &arena, &s, &st));
    assert_int_equal(s.select->where->arg_count, 20001);
    tl_arena_deinit(&arena);
    free(sql);
}

static void bytes_that_are_no_text(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        size_t size;
        int position;
    } bad[] = {
        {"SELECT '\xff'", 10, 9},         {"SELECT 'é\xc3'", 12, 10},
        {"SELECT '\xed\xa0\x80'", 12, 9}, {"SELECT '\xc0\x80'", 11, 9},
        {"SELECT 1\0 2", 11, 9},          {"SELECT '\xf4\x90\x80\x80'", 13, 9},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tl_arena arena;
        struct tl_ast_statement s;
        struct tl_status st = TL_STATUS_INIT;
        assert_int_equal(parse(bad[i].sql, bad[i].size, &arena, &s, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22021");
        assert_int_equal(st.position, bad[i].position);
        tl_arena_deinit(&arena);
    }
}

static void positions_count_characters(void **state)
{
    (void)state;
    /* 1,000 two-byte characters in front: every checkpoint of the table is crossed. */
    char *sql = repeat("SELECT '", "é", 1000, "', foo.bar(1)");
    struct tl_arena arena;
    struct tl_ast_statement s;
    struct tl_status st = TL_STATUS_INIT;
    assert_int_equal(parse(sql, strlen(sql), &arena, &s, &st), TL_UNSUPPORTED);
    assert_int_equal(st.position, 8 + 1000 + 1 + 2 + 1);
    tl_arena_deinit(&arena);
    free(sql);
    sql = repeat("SELECT 'x", "\xe2\x82\xac", 777, "', foo.bar(1)");
    tl_status_clear(&st);
    assert_int_equal(parse(sql, strlen(sql), &arena, &s, &st), TL_UNSUPPORTED);
    assert_int_equal(st.position, 9 + 777 + 1 + 2 + 1);
    tl_arena_deinit(&arena);
    free(sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_with_state_and_position),
        cmocka_unit_test(accepted_statements),
        cmocka_unit_test(tree_says_what_was_written),
        cmocka_unit_test(hostile_texts_meet_a_limit),
        cmocka_unit_test(bytes_that_are_no_text),
        cmocka_unit_test(positions_count_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
