/*
 * Promise: names, types, overloads and parameters resolve as PostgreSQL's would, and what is
 * wrong is told with its SQLSTATE and place.
 * Method: statements against a fake catalog; of the good ones the names and types of outputs and
 * parameters are compared, of the bad ones SQLSTATE, position and sentence.
 */
#include "tests/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "query/function.h"
#include "query/parse.h"
#include "tests/unit/query/fake_catalog.h"

struct good {
    const char *sql;
    const char *types; /* "name TYPE, …  $1 TYPE …" */
};

static const struct good goods[] = {
    {"SELECT 1", "?column? BIGINT"},
    {"SELECT 1 AS one, 2 two, 3 AS \"Three\"", "one BIGINT, two BIGINT, Three BIGINT"},
    {"SELECT -9223372036854775808, 9223372036854775807, 9223372036854775808",
     "?column? BIGINT, ?column? BIGINT, ?column? DECIMAL(38,0)"},
    {"SELECT 0.5, .5, 5., 1e3, 1.5e-3, 123456789012345678, 12345678901234567.89, "
     "1234567890123456789.5",
     "?column? DECIMAL(18,1), ?column? DECIMAL(18,1), ?column? DECIMAL(18,0), ?column? "
     "DECIMAL(18,0), ?column? DECIMAL(18,4), ?column? BIGINT, ?column? DECIMAL(38,2), ?column? "
     "DECIMAL(38,1)"},
    {"SELECT 1e37, 1e-38, 1e39, 12e36",
     "?column? DECIMAL(38,0), ?column? DECIMAL(38,38), ?column? DOUBLE, ?column? DECIMAL(38,0)"},
    {"SELECT 'x', NULL, true, false",
     "?column? TEXT, ?column? TEXT, ?column? BOOLEAN, ?column? BOOLEAN"},
    {"SELECT true AND false, NOT true, 1 = 1, 1 IS NULL",
     "?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN"},
    {"SELECT 'x'::text, 5::text, 5::bigint, 5::int, 5::integer, 5::smallint, 5::int2, 5::int8",
     "text TEXT, text TEXT, int8 BIGINT, int4 BIGINT, int4 BIGINT, int2 BIGINT, int2 BIGINT, int8 "
     "BIGINT"},
    {"SELECT CAST(5 AS double precision), 5::real, 5::float, 5::float8, '5'::float4",
     "float8 DOUBLE, float4 DOUBLE, float8 DOUBLE, float8 DOUBLE, float4 DOUBLE"},
    {"SELECT 5::numeric(10,2), 5::decimal(38,10), 5::numeric, 5.25::numeric, '5.25'::numeric, "
     "5::numeric(18), NULL::numeric",
     "numeric DECIMAL(18,2), numeric DECIMAL(38,10), numeric DECIMAL(38,0), numeric DECIMAL(18,2), "
     "numeric DECIMAL(38,2), numeric DECIMAL(18,0), numeric DECIMAL(38,0)"},
    {"SELECT '2026-01-01'::date, DATE '2026-01-01', '2026-01-01'::timestamp, TIMESTAMP '2026-01-01 "
     "10:00', TIMESTAMPTZ '2026-01-01 10:00+02', timestamp with time zone '2026-01-01', "
     "'2026-01-01'::timestamp without time zone, '2026-01-01'::timestamptz(6)",
     "date DATE, date DATE, timestamp TIMESTAMP, timestamp TIMESTAMP, timestamptz TIMESTAMPTZ, "
     "timestamptz TIMESTAMPTZ, timestamp TIMESTAMP, timestamptz TIMESTAMPTZ"},
    {"SELECT '1 day'::interval, INTERVAL '90 minutes', INTERVAL '3' HOUR, interval '1' day, "
     "INTERVAL '1' year, interval '2' month, interval '5' minute, interval '1.5' second",
     "interval INTERVAL, interval INTERVAL, interval INTERVAL, interval INTERVAL, interval "
     "INTERVAL, interval INTERVAL, interval INTERVAL, interval INTERVAL"},
    {"SELECT 'true'::boolean, 't'::bool, 1::boolean, true::int",
     "bool BOOLEAN, bool BOOLEAN, bool BOOLEAN, int4 BIGINT"},
    {"SELECT 1 + 1, 1 - 1, 2 * 3, 7 / 2, 7 % 2, 2 ^ 3, -5, + 5, - (- 5)",
     "?column? BIGINT, ?column? BIGINT, ?column? BIGINT, ?column? BIGINT, ?column? BIGINT, "
     "?column? DOUBLE, ?column? BIGINT, ?column? BIGINT, ?column? BIGINT"},
    {"SELECT 1 + 1.5, 1.5 * 1.5, 1 / 3.0, 1.5 / 2, 7.5 % 2, 1 + 1e0, 1.5 + 2::float8",
     "?column? DECIMAL(38,1), ?column? DECIMAL(38,2), ?column? DECIMAL(38,20), ?column? "
     "DECIMAL(38,20), ?column? DECIMAL(38,1), ?column? DECIMAL(38,0), ?column? DOUBLE"},
    {"SELECT 'a' || 'b', 'a' || 1, 1.5 || 'x', path || status FROM events",
     "?column? TEXT, ?column? TEXT, ?column? TEXT, ?column? TEXT"},
    {"SELECT lower('A'), upper(path), length(path), char_length(path), substr(path, 2), "
     "substring(path, 2, 3), substring(path from 2), split_part(path, '/', 1) FROM events",
     "lower TEXT, upper TEXT, length BIGINT, char_length BIGINT, substr TEXT, substring TEXT, "
     "substring TEXT, split_part TEXT"},
    {"SELECT concat(path, 1, 2.5, ts, NULL), concat_ws('-', path, country), left(path, 2), "
     "right(path, 2), trim(path), ltrim(path), rtrim(path, '/'), replace(path, 'a', 'b'), "
     "position('x' in path), strpos(path, 'x'), starts_with(path, '/'), reverse(path) FROM events",
     "concat TEXT, concat_ws TEXT, left TEXT, right TEXT, btrim TEXT, ltrim TEXT, rtrim TEXT, "
     "replace TEXT, position BIGINT, strpos BIGINT, starts_with BOOLEAN, reverse TEXT"},
    {"SELECT abs(-1), abs(-1.5), abs(score), ceil(score), floor(1.5), round(1.25, 1), "
     "round(score), trunc(1.9), sign(-2.5), sqrt(2), ln(score), exp(1), power(2, 3), mod(7, 2) "
     "FROM events",
     "abs BIGINT, abs DECIMAL(18,1), abs DOUBLE, ceil DOUBLE, floor DECIMAL(38,0), round "
     "DECIMAL(38,1), round DOUBLE, trunc DECIMAL(38,0), sign DECIMAL(38,0), sqrt DOUBLE, ln "
     "DOUBLE, exp DOUBLE, power DOUBLE, mod BIGINT"},
    {"SELECT round(revenue), round(revenue, 2), round(revenue, status), round(revenue, 10), "
     "trunc(revenue, 1) FROM events",
     "round DECIMAL(38,0), round DECIMAL(38,2), round DECIMAL(38,4), round DECIMAL(38,4), trunc "
     "DECIMAL(38,1)"},
    {"SELECT date_trunc('hour', ts), date_trunc('day', ts, 'Europe/Berlin'), date_trunc('month', "
     "local_ts), date_trunc('week', day) FROM events",
     "date_trunc TIMESTAMPTZ, date_trunc TIMESTAMPTZ, date_trunc TIMESTAMP, date_trunc "
     "TIMESTAMPTZ"},
    {"SELECT time_bucket('5 minutes', ts), time_bucket(interval '1 day', ts, 'Europe/Berlin'), "
     "time_bucket('1 hour', local_ts), time_bucket('7 days', day), time_bucket('1 day', ts, "
     "TIMESTAMPTZ '2000-01-01'), time_bucket(10, status) FROM events",
     "time_bucket TIMESTAMPTZ, time_bucket TIMESTAMPTZ, time_bucket TIMESTAMP, time_bucket DATE, "
     "time_bucket TIMESTAMPTZ, time_bucket BIGINT"},
    {"SELECT extract(hour FROM ts), extract(epoch FROM ts), extract(second FROM ts), "
     "extract(milliseconds FROM ts), extract(dow FROM day), extract(epoch FROM interval '1 day'), "
     "date_part('hour', ts), extract(year FROM local_ts) FROM events",
     "extract DECIMAL(38,0), extract DECIMAL(38,6), extract DECIMAL(38,6), extract DECIMAL(38,3), "
     "extract DECIMAL(38,0), extract DECIMAL(38,6), date_part DOUBLE, extract DECIMAL(38,0)"},
    {"SELECT now(), current_timestamp, current_date, localtimestamp, now() - interval '1 day', "
     "now()::date",
     "now TIMESTAMPTZ, current_timestamp TIMESTAMPTZ, current_date DATE, localtimestamp TIMESTAMP, "
     "?column? TIMESTAMPTZ, now DATE"},
    {"SELECT ts AT TIME ZONE 'Europe/Berlin', local_ts AT TIME ZONE 'UTC', timezone('UTC', ts), "
     "day AT TIME ZONE 'UTC' FROM events",
     "timezone TIMESTAMP, timezone TIMESTAMPTZ, timezone TIMESTAMP, timezone TIMESTAMP"},
    {"SELECT ts - ts, ts + interval '1 day', interval '1 day' + ts, ts - interval '1 hour', day + "
     "1, day - 1, 1 + day, day - day, day + interval '1 day', local_ts - local_ts, interval '1 "
     "day' * 2, 2 * interval '1 day', interval '1 day' / 2 FROM events",
     "?column? INTERVAL, ?column? TIMESTAMPTZ, ?column? TIMESTAMPTZ, ?column? TIMESTAMPTZ, "
     "?column? DATE, ?column? DATE, ?column? DATE, ?column? BIGINT, ?column? TIMESTAMP, ?column? "
     "INTERVAL, ?column? INTERVAL, ?column? INTERVAL, ?column? INTERVAL"},
    {"SELECT CASE WHEN status > 1 THEN 'a' ELSE 'b' END, CASE status WHEN 1 THEN 1 ELSE 2.5 END, "
     "CASE WHEN is_bot THEN revenue END, CASE WHEN is_bot THEN day ELSE ts END, CASE WHEN is_bot "
     "THEN score ELSE 1 END FROM events",
     "case TEXT, case DECIMAL(18,1), case DECIMAL(18,4), ts TIMESTAMPTZ, case DOUBLE"},
    {"SELECT CASE WHEN is_bot THEN 1 ELSE path::bigint END, CASE WHEN is_bot THEN 1 ELSE status "
     "END, CASE WHEN true THEN 1 ELSE 2 END::text FROM events",
     "path BIGINT, status BIGINT, text TEXT"},
    {"SELECT coalesce(path, 'x'), coalesce(revenue, 0), coalesce(NULL, NULL), coalesce(status, "
     "1.5), coalesce(score, revenue, 1) FROM events",
     "coalesce TEXT, coalesce DECIMAL(18,4), coalesce TEXT, coalesce DECIMAL(38,1), coalesce "
     "DOUBLE"},
    {"SELECT nullif(path, ''), nullif(status, 0), nullif(revenue, 0), greatest(1, 2, 3.5), "
     "least(path, 'x'), greatest(ts, now()), greatest(day, ts) FROM events",
     "nullif TEXT, nullif BIGINT, nullif DECIMAL(18,4), greatest DECIMAL(18,1), least TEXT, "
     "greatest TIMESTAMPTZ, greatest TIMESTAMPTZ"},
    {"SELECT path IS NULL, path IS NOT NULL, is_bot IS TRUE, is_bot IS NOT FALSE, is_bot IS "
     "UNKNOWN, path IS DISTINCT FROM country, status IS NOT DISTINCT FROM 1 FROM events",
     "?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, "
     "?column? BOOLEAN, ?column? BOOLEAN"},
    {"SELECT path LIKE 'a%', path NOT LIKE 'a%', path ILIKE 'a', path LIKE 'a!%' ESCAPE '!', path "
     "IN ('a'), status NOT IN (1, 2), status BETWEEN 1 AND 2, ts BETWEEN '2026-01-01' AND now() "
     "FROM events",
     "?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, "
     "?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN"},
    {"SELECT path, e.path, \"Mixed Case\", e.\"Mixed Case\" AS m, props['k'], e.props['k'] AS k "
     "FROM events e",
     "path TEXT, path TEXT, Mixed Case TEXT, m TEXT, props TEXT, k TEXT"},
    {"SELECT * FROM small", "a BIGINT, merchant_id BIGINT, ts TIMESTAMPTZ, b TEXT"},
    {"SELECT small.*, a AS z FROM small",
     "a BIGINT, merchant_id BIGINT, ts TIMESTAMPTZ, b TEXT, z BIGINT"},
    {"SELECT count(*), count(path), count(DISTINCT path), sum(status), sum(revenue), sum(score), "
     "avg(status), avg(revenue), avg(score), min(path), max(ts), min(day), max(revenue), "
     "min(score) FROM events",
     "count BIGINT, count BIGINT, count BIGINT, sum DECIMAL(38,0), sum DECIMAL(38,4), sum DOUBLE, "
     "avg DECIMAL(38,16), avg DECIMAL(38,16), avg DOUBLE, min TEXT, max TIMESTAMPTZ, min DATE, max "
     "DECIMAL(18,4), min DOUBLE"},
    {"SELECT sum(DISTINCT status), avg(DISTINCT revenue), min(DISTINCT path), count(*) FILTER "
     "(WHERE is_bot), count(DISTINCT path) FILTER (WHERE status = 200), sum(1), sum(1.5), avg(1), "
     "max('x') FROM events",
     "sum DECIMAL(38,0), avg DECIMAL(38,16), min TEXT, count BIGINT, count BIGINT, sum "
     "DECIMAL(38,0), sum DECIMAL(38,1), avg DECIMAL(38,16), max TEXT"},
    {"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms), percentile_disc(0.99) "
     "WITHIN GROUP (ORDER BY path DESC), percentile_disc($1) WITHIN GROUP (ORDER BY revenue) FROM "
     "events",
     "percentile_disc BIGINT, percentile_disc TEXT, percentile_disc DECIMAL(18,4)  $1 DOUBLE"},
    {"SELECT approx_distinct(path), approx_distinct(day) FILTER (WHERE is_bot), "
     "approx_percentile(duration_ms, 0.5), approx_percentile(revenue, $1), approx_percentile(NULL, "
     "1) FROM events",
     "approx_distinct BIGINT, approx_distinct BIGINT, approx_percentile DOUBLE, approx_percentile "
     "DOUBLE, approx_percentile DOUBLE  $1 DOUBLE"},
    {"SELECT count(*) * 100.0 / count(path), sum(revenue) / count(*), count(*) + 1, -count(*), "
     "count(*)::double precision / 2, (sum(bytes) / 1024)::bigint FROM events",
     "?column? DECIMAL(38,20), ?column? DECIMAL(38,20), ?column? BIGINT, ?column? BIGINT, ?column? "
     "DOUBLE, int8 BIGINT"},
    {"SELECT max(ts) - min(ts), date_trunc('day', max(ts)), coalesce(sum(revenue), 0), "
     "round(avg(revenue), 2), round(avg(duration_ms)) FROM events",
     "?column? INTERVAL, date_trunc TIMESTAMPTZ, coalesce DECIMAL(38,4), round DECIMAL(38,2), "
     "round DECIMAL(38,0)"},
    {"SELECT sum(interval '1 day'), avg(ts - now()) FROM events", "sum INTERVAL, avg INTERVAL"},
    {"SELECT $1", "?column? TEXT  $1 TEXT"},
    {"SELECT $1 + 1, $2 || 'x', $3::date, $4 AND true, $5 IS NULL, $6::numeric, $7::numeric(10,2)",
     "?column? BIGINT, ?column? TEXT, date DATE, ?column? BOOLEAN, ?column? BOOLEAN, numeric "
     "DECIMAL(38,12), numeric DECIMAL(18,2)  $1 BIGINT  $2 TEXT  $3 DATE  $4 BOOLEAN  $5 TEXT  $6 "
     "DECIMAL(38,12)  $7 DECIMAL(18,2)"},
    {"SELECT $2", "?column? TEXT  $1 TEXT  $2 TEXT"},
    {"SELECT path FROM events WHERE ts >= $1 AND ts < $2 AND merchant_id = $3 AND path = $4 AND "
     "revenue > $5 AND score < $6 AND is_bot = $7 AND day = $8 LIMIT $9 OFFSET $10",
     "path TEXT  $1 TIMESTAMPTZ  $2 TIMESTAMPTZ  $3 BIGINT  $4 TEXT  $5 DECIMAL(38,12)  $6 DOUBLE  "
     "$7 BOOLEAN  $8 DATE  $9 BIGINT  $10 BIGINT"},
    {"SELECT path FROM events WHERE path LIKE $1 AND status IN ($2, $3) AND country IN ($4) AND "
     "coalesce(path, $5) = 'x' AND $6",
     "path TEXT  $1 TEXT  $2 BIGINT  $3 BIGINT  $4 TEXT  $5 TEXT  $6 BOOLEAN"},
    {"SELECT path FROM events WHERE $1 = path AND ($1 IS NULL OR $2 = $1)",
     "path TEXT  $1 TEXT  $2 TEXT"},
    {"SELECT date_trunc($1, ts), time_bucket($2, ts), lower($3), now() - $4::interval, ts - $5 "
     "FROM events",
     "date_trunc TIMESTAMPTZ, time_bucket TIMESTAMPTZ, lower TEXT, ?column? TIMESTAMPTZ, ?column? "
     "INTERVAL  $1 TEXT  $2 INTERVAL  $3 TEXT  $4 INTERVAL  $5 TIMESTAMPTZ"},
    {"SELECT $1 = $2, $3 IN ('a', 'b'), $4 BETWEEN 1 AND 2, CASE WHEN $5 THEN 1 ELSE $6 END",
     "?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, case BIGINT  $1 TEXT  $2 TEXT  $3 TEXT "
     " $4 BIGINT  $5 BOOLEAN  $6 BIGINT"},
    {"SELECT a.x, a.y FROM (SELECT path AS x, count(*) AS y FROM events GROUP BY path) a",
     "x TEXT, y BIGINT"},
    {"SELECT * FROM (SELECT status + 1, lower(path) FROM events) q", "?column? BIGINT, lower TEXT"},
    {"SELECT * FROM (SELECT * FROM (SELECT 1 AS a, 'x' AS b) p) q", "a BIGINT, b TEXT"},
    {"SELECT * FROM (SELECT $1 AS a) q", "a TEXT  $1 TEXT"},
    {"EXPLAIN SELECT path FROM events", "QUERY PLAN TEXT"},
    {"EXPLAIN ANALYZE SELECT path FROM events", "QUERY PLAN TEXT"},
    {"SHOW TABLES", "table_name TEXT"},
    {"SELECT path, count(*) FROM events GROUP BY path", "path TEXT, count BIGINT"},
    {"SELECT lower(path) AS p, count(*) FROM events GROUP BY p", "p TEXT, count BIGINT"},
    {"SELECT lower(path) AS path, count(*) FROM events GROUP BY lower(path)",
     "path TEXT, count BIGINT"},
    {"SELECT path FROM public.events", "path TEXT"},
    {"SELECT count(*) FROM events HAVING count(*) > 1", "count BIGINT"},
    {"SELECT 1 FROM events HAVING true", "?column? BIGINT"},
    {"SELECT 1 WHERE false", "?column? BIGINT"},
    {"SELECT status FROM events GROUP BY status, status ORDER BY status", "status BIGINT"},
    {"SELECT 1 IN (1, 2), 1 NOT IN (1, NULL), 'a' IN ('a', 'b'), 1.5 IN (1, 2), NULL IN (1, 2)",
     "?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN, ?column? BOOLEAN"},
    {"SELECT int4(5), int2(5), float4(1.5)", "int4 BIGINT, int2 BIGINT, float4 DOUBLE"},
    {"SELECT \"left\"(path, 1), pg_catalog.lower(path) FROM events", "left TEXT, lower TEXT"},
};

struct bad {
    const char *sql;
    const char *sqlstate;
    int position;
    const char *text;
};

static const struct bad bads[] = {
    {"SELECT nope FROM events", "42703", 8, "column \"nope\" does not exist"},
    {"SELECT e.nope FROM events e", "42703", 8, "column e.nope does not exist"},
    {"SELECT events.path FROM events e", "42P01", 8,
     "missing FROM-clause entry for table \"events\""},
    {"SELECT x.path FROM events", "42P01", 8, "missing FROM-clause entry for table \"x\""},
    {"SELECT path FROM nope", "42P01", 18, "relation \"nope\" does not exist"},
    {"SELECT path", "42703", 8, "column \"path\" does not exist"},
    {"SELECT *", "42601", 8, "SELECT * with no tables specified is not valid"},
    {"SELECT x.* FROM events", "42P01", 8, "missing FROM-clause entry for table \"x\""},
    {"SELECT count(*) AS c FROM events WHERE c > 1", "42703", 40, "column \"c\" does not exist"},
    {"SELECT path AS p FROM events WHERE p = 'x'", "42703", 36, "column \"p\" does not exist"},
    {"SELECT props FROM events", "0A000", 8,
     "column \"props\" as a whole value is not supported; read one key with props['key']"},
    {"SELECT props['a'] || props FROM events", "0A000", 22,
     "column \"props\" as a whole value is not supported; read one key with props['key']"},
    {"SELECT props[1] FROM events", "0A000", 14,
     "a key of \"props\" that is not a string literal is not supported"},
    {"SELECT props[path] FROM events", "0A000", 14,
     "a key of \"props\" that is not a string literal is not supported"},
    {"SELECT props[$1] FROM events", "0A000", 14,
     "a key of \"props\" that is not a string literal is not supported"},
    {"SELECT props[''] FROM events", "0A000", 14,
     "a key of \"props\" that is not a string literal is not supported"},
    {"SELECT path['a'] FROM events", "42804", 8,
     "cannot subscript type text because it does not support subscripting"},
    {"SELECT count(props) FROM events", "0A000", 14,
     "column \"props\" as a whole value is not supported; read one key with props['key']"},
    {"SELECT path FROM events GROUP BY props", "0A000", 34,
     "column \"props\" as a whole value is not supported; read one key with props['key']"},
    {"SELECT foo(1)", "42883", 8, "function foo(integer) does not exist"},
    {"SELECT lower(1)", "42883", 8, "function lower(integer) does not exist"},
    {"SELECT lower('a', 'b')", "42883", 8, "function lower(unknown, unknown) does not exist"},
    {"SELECT substr('a', 'b', 'c', 'd')", "42883", 8,
     "function substr(unknown, unknown, unknown, unknown) does not exist"},
    {"SELECT now(1)", "42883", 8, "function now(integer) does not exist"},
    {"SELECT cast(1, 2)", "42601", 14, "syntax error at or near \",\""},
    {"SELECT \"cast\"(1)", "42883", 8, "function cast does not exist"},
    {"SELECT \"like\"('a', 'b')", "42883", 8, "function like does not exist"},
    {"SELECT lower(*)", "42809", 8, "(*) specified, but lower is not an aggregate function"},
    {"SELECT lower(DISTINCT path) FROM events", "42809", 8,
     "DISTINCT specified, but lower is not an aggregate function"},
    {"SELECT lower(path) FILTER (WHERE true) FROM events", "42809", 8,
     "FILTER specified, but lower is not an aggregate function"},
    {"SELECT sum(*) FROM events", "42883", 8, "function sum() does not exist"},
    {"SELECT count() FROM events", "42809", 8,
     "count(*) must be used to call a parameterless aggregate function"},
    {"SELECT count(path, country) FROM events", "42883", 8,
     "function count with 2 arguments does not exist"},
    {"SELECT sum(path) FROM events", "42883", 8, "function sum(text) does not exist"},
    {"SELECT sum(ts) FROM events", "42883", 8,
     "function sum(timestamp with time zone) does not exist"},
    {"SELECT sum(is_bot) FROM events", "42883", 8, "function sum(boolean) does not exist"},
    {"SELECT sum('x') FROM events", "42883", 8, "function sum(text) does not exist"},
    {"SELECT avg(path) FROM events", "42883", 8, "function avg(text) does not exist"},
    {"SELECT min(is_bot) FROM events", "42883", 8, "function min(boolean) does not exist"},
    {"SELECT corr(status) FROM events", "0A000", 8, "function corr is not supported"},
    {"SELECT 1, string_agg(path, ',') FROM events", "0A000", 11,
     "function string_agg is not supported"},
    {"SELECT 1, array_agg(path) FROM events", "0A000", 11, "function array_agg is not supported"},
    {"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY status) FROM events", "0A000", 8,
     "function percentile_cont is not supported"},
    {"SELECT percentile_disc(0.5) FROM events", "42809", 8,
     "WITHIN GROUP is required for ordered-set aggregate percentile_disc"},
    {"SELECT percentile_disc(1.5) WITHIN GROUP (ORDER BY status) FROM events", "22003", 24,
     "percentile value 1.5 is not between 0 and 1"},
    {"SELECT percentile_disc(-0.1) WITHIN GROUP (ORDER BY status) FROM events", "22003", 24,
     "percentile value -0.1 is not between 0 and 1"},
    {"SELECT percentile_disc(status) WITHIN GROUP (ORDER BY status) FROM events", "0A000", 24,
     "a fraction of percentile_disc that depends on columns is not supported"},
    {"SELECT percentile_disc('x') WITHIN GROUP (ORDER BY status) FROM events", "22P02", 24,
     "invalid input syntax for type double precision: \"x\""},
    {"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY status, path) FROM events", "42883", 8,
     "function percentile_disc takes one fraction and one ORDER BY expression"},
    {"SELECT percentile_disc(0.5, 0.6) WITHIN GROUP (ORDER BY status) FROM events", "42883", 8,
     "function percentile_disc takes one fraction and one ORDER BY expression"},
    {"SELECT approx_percentile(path, 0.5) FROM events", "42883", 8,
     "function approx_percentile(text, double precision) does not exist"},
    {"SELECT approx_percentile(status, 1.5) FROM events", "22003", 34,
     "percentile value 1.5 is not between 0 and 1"},
    {"SELECT approx_percentile(status, status) FROM events", "0A000", 34,
     "a fraction of approx_percentile that depends on columns is not supported"},
    {"SELECT approx_percentile(status) FROM events", "42883", 8,
     "function approx_percentile with 1 arguments does not exist"},
    {"SELECT approx_percentile(0.5) WITHIN GROUP (ORDER BY status) FROM events", "42809", 8,
     "approx_percentile is not an ordered-set aggregate, so it cannot have WITHIN GROUP"},
    {"SELECT approx_distinct(DISTINCT status) FROM events", "0A000", 8,
     "DISTINCT is not supported for aggregate approx_distinct"},
    {"SELECT approx_distinct(*) FROM events", "42883", 8,
     "function approx_distinct() does not exist"},
    {"SELECT count(status) WITHIN GROUP (ORDER BY status) FROM events", "42809", 8,
     "count is not an ordered-set aggregate, so it cannot have WITHIN GROUP"},
    {"SELECT row_number() FROM events", "0A000", 8, "function row_number is not supported"},
    {"SELECT 1 WHERE generate_series(1, 2) > 1", "0A000", 16,
     "function generate_series is not supported"},
    {"SELECT (path).x FROM events", "42809", 9,
     "column notation .x applied to type text, which is not a composite type"},
    {"SELECT unnest(ARRAY[1]), count(*) FROM events", "0A000", 8,
     "unnest in the select list of a query with groups is not supported"},
    {"SELECT sum(count(*)) FROM events", "42803", 12, "aggregate function calls cannot be nested"},
    {"SELECT count(*) FILTER (WHERE count(*) > 1) FROM events", "42803", 31,
     "aggregate function calls cannot be nested"},
    {"SELECT count(*) FILTER (WHERE status) FROM events", "42804", 31,
     "argument of FILTER must be type boolean, not type bigint"},
    {"SELECT path FROM events WHERE count(*) > 1", "42803", 31,
     "aggregate functions are not allowed in WHERE"},
    {"SELECT path FROM events GROUP BY count(*)", "42803", 34,
     "aggregate functions are not allowed in GROUP BY"},
    {"SELECT count(*) AS c FROM events GROUP BY c", "42803", 8,
     "aggregate functions are not allowed in GROUP BY"},
    {"SELECT count(*) FROM events GROUP BY 1", "42803", 8,
     "aggregate functions are not allowed in GROUP BY"},
    {"SELECT path, count(*) FROM events", "42803", 8,
     "column \"events.path\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT path FROM events HAVING count(*) > 1", "42803", 8,
     "column \"events.path\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT path, status FROM events GROUP BY path", "42803", 14,
     "column \"events.status\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT lower(path) FROM events GROUP BY upper(path)", "42803", 14,
     "column \"events.path\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT path FROM events GROUP BY path HAVING status > 1", "42803", 46,
     "column \"events.status\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT path FROM events GROUP BY path ORDER BY status", "42803", 48,
     "column \"events.status\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT date_trunc('day', ts), count(*) FROM events GROUP BY date_trunc('hour', ts)", "42803",
     26,
     "column \"events.ts\" must appear in the GROUP BY clause or be used in an aggregate function"},
    {"SELECT * FROM events GROUP BY path", "42803", 8,
     "column \"events.merchant_id\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT path FROM events GROUP BY 2", "42P10", 34,
     "GROUP BY position 2 is not in select list"},
    {"SELECT path FROM events GROUP BY 0", "42P10", 34,
     "GROUP BY position 0 is not in select list"},
    {"SELECT path FROM events GROUP BY 'x'", "42601", 34, "non-integer constant in GROUP BY"},
    {"SELECT path FROM events GROUP BY 1.5", "42601", 34, "non-integer constant in GROUP BY"},
    {"SELECT path FROM events ORDER BY 2", "42P10", 34,
     "ORDER BY position 2 is not in select list"},
    {"SELECT path FROM events ORDER BY -1 + nope", "42703", 39, "column \"nope\" does not exist"},
    {"SELECT path FROM events ORDER BY 'x'", "42601", 34, "non-integer constant in ORDER BY"},
    {"SELECT path FROM events ORDER BY NULL", "42601", 34, "non-integer constant in ORDER BY"},
    {"SELECT path AS x, country AS x FROM events ORDER BY x", "42702", 53,
     "ORDER BY \"x\" is ambiguous"},
    {"SELECT path AS x, country AS x FROM events GROUP BY x", "42702", 53,
     "GROUP BY \"x\" is ambiguous"},
    {"SELECT DISTINCT path FROM events ORDER BY status", "42P10", 43,
     "for SELECT DISTINCT, ORDER BY expressions must appear in select list"},
    {"SELECT path FROM events LIMIT -1", "2201W", 31, "LIMIT must not be negative"},
    {"SELECT path FROM events OFFSET -1", "2201X", 32, "OFFSET must not be negative"},
    {"SELECT path FROM events LIMIT status", "42P10", 31,
     "argument of LIMIT must not contain variables"},
    {"SELECT path FROM events LIMIT count(*)", "42803", 31,
     "aggregate functions are not allowed in LIMIT"},
    {"SELECT path FROM events LIMIT 'x'", "22P02", 31,
     "invalid input syntax for type bigint: \"x\""},
    {"SELECT path FROM events LIMIT true", "42804", 31,
     "argument of LIMIT must be type bigint, not type boolean"},
    {"SELECT path FROM events WHERE status", "42804", 31,
     "argument of WHERE must be type boolean, not type bigint"},
    {"SELECT path FROM events WHERE 'maybe'", "22P02", 31,
     "invalid input syntax for type boolean: \"maybe\""},
    {"SELECT path FROM events WHERE path", "42804", 31,
     "argument of WHERE must be type boolean, not type text"},
    {"SELECT NOT 1", "42804", 12, "argument of NOT must be type boolean, not type integer"},
    {"SELECT 1 AND true", "42804", 8, "argument of AND must be type boolean, not type integer"},
    {"SELECT true OR 'x'", "22P02", 16, "invalid input syntax for type boolean: \"x\""},
    {"SELECT status IS TRUE FROM events", "42804", 8,
     "argument of IS TRUE must be type boolean, not type bigint"},
    {"SELECT path FROM events HAVING 1", "42804", 32,
     "argument of HAVING must be type boolean, not type integer"},
    {"SELECT 1 + 'x'", "22P02", 12, "invalid input syntax for type bigint: \"x\""},
    {"SELECT 1 + true", "42883", 10, "operator does not exist: integer + boolean"},
    {"SELECT path + 1 FROM events", "42883", 13, "operator does not exist: text + integer"},
    {"SELECT path = 1 FROM events", "42883", 13, "operator does not exist: text = integer"},
    {"SELECT ts = 1 FROM events", "42883", 11,
     "operator does not exist: timestamp with time zone = integer"},
    {"SELECT ts > path FROM events", "42883", 11,
     "operator does not exist: timestamp with time zone > text"},
    {"SELECT is_bot > 1 FROM events", "42883", 15, "operator does not exist: boolean > integer"},
    {"SELECT -path FROM events", "42883", 8, "operator does not exist: - text"},
    {"SELECT +path FROM events", "42883", 8, "operator does not exist: + text"},
    {"SELECT '1' + '2'", "42725", 12, "operator is not unique: unknown + unknown"},
    {"SELECT ts + ts FROM events", "42883", 11,
     "operator does not exist: timestamp with time zone + timestamp with time zone"},
    {"SELECT status LIKE 'a' FROM events", "42883", 15,
     "operator does not exist: bigint ~~ unknown"},
    {"SELECT @ 5", "0A000", 8, "operator @ is not supported"},
    {"SELECT 5 !", "42601", 11, "syntax error at end of input"},
    {"SELECT status IN (1, 'x') FROM events", "22P02", 22,
     "invalid input syntax for type bigint: \"x\""},
    {"SELECT status IN (1, path) FROM events", "42804", 22,
     "IN types bigint and text cannot be matched"},
    {"SELECT path BETWEEN 1 AND 2 FROM events", "42883", 13,
     "operator does not exist: text >= integer"},
    {"SELECT CASE WHEN 1 THEN 2 END", "42804", 18,
     "argument of CASE/WHEN must be type boolean, not type integer"},
    {"SELECT CASE WHEN true THEN 1 ELSE path END FROM events", "42804", 35,
     "CASE types bigint and text cannot be matched"},
    {"SELECT CASE WHEN true THEN 1 ELSE 'x' END", "22P02", 35,
     "invalid input syntax for type bigint: \"x\""},
    {"SELECT CASE path WHEN 1 THEN 2 END FROM events", "42883", 23,
     "operator does not exist: text = integer"},
    {"SELECT coalesce(path, 1) FROM events", "42804", 23,
     "COALESCE types text and integer cannot be matched"},
    {"SELECT nullif(path, 1) FROM events", "42804", 21,
     "NULLIF types text and integer cannot be matched"},
    {"SELECT greatest(ts, 1) FROM events", "42804", 21,
     "GREATEST types timestamp with time zone and integer cannot be matched"},
    {"SELECT ts > 'yesterdayish' FROM events", "22007", 13,
     "invalid input syntax for type timestamp with time zone: \"yesterdayish\""},
    {"SELECT ts > '2026-13-01' FROM events", "22008", 13,
     "date/time field value out of range: \"2026-13-01\""},
    {"SELECT day = '2026-02-30' FROM events", "22008", 14,
     "date/time field value out of range: \"2026-02-30\""},
    {"SELECT 'x'::bigint", "22P02", 8, "invalid input syntax for type bigint: \"x\""},
    {"SELECT '12x'::double precision", "22P02", 8,
     "invalid input syntax for type double precision: \"12x\""},
    {"SELECT '99999999999999999999'::bigint", "22003", 8,
     "value \"99999999999999999999\" is out of range for type bigint"},
    {"SELECT 'x'::boolean", "22P02", 8, "invalid input syntax for type boolean: \"x\""},
    {"SELECT 'x'::numeric(5,2)", "22P02", 8, "invalid input syntax for type numeric: \"x\""},
    {"SELECT '1 fortnight'::interval", "22007", 8,
     "invalid input syntax for type interval: \"1 fortnight\""},
    {"SELECT interval '1 day' hour", "0A000", 8,
     "this form of an interval with fields is not supported"},
    {"SELECT interval '1 2' day to hour", "0A000", 8,
     "this form of an interval with fields is not supported"},
    {"SELECT ts::bigint FROM events", "42846", 10,
     "cannot cast type timestamp with time zone to bigint"},
    {"SELECT ts::boolean FROM events", "42846", 10,
     "cannot cast type timestamp with time zone to boolean"},
    {"SELECT is_bot::date FROM events", "42846", 14, "cannot cast type boolean to date"},
    {"SELECT path::numeric FROM events", "0A000", 12,
     "a cast of text to NUMERIC without precision and scale is not supported; write NUMERIC(38,s)"},
    {"SELECT score::numeric FROM events", "0A000", 13,
     "a cast of double precision to NUMERIC without precision and scale is not supported; write "
     "NUMERIC(38,s)"},
    {"SELECT 1e999", "22003", 8, "number is out of range"},
    {"SELECT date_trunc('fortnight', ts) FROM events", "22023", 19,
     "unit \"fortnight\" not recognized for type timestamp with time zone"},
    {"SELECT date_trunc('hour', path) FROM events", "42883", 8,
     "function date_trunc(unknown, text) does not exist"},
    {"SELECT extract(nope FROM ts) FROM events", "22023", 16,
     "unit \"nope\" not recognized for type timestamp with time zone"},
    {"SELECT extract(hour FROM path) FROM events", "42883", 8,
     "function extract(unknown, text) does not exist"},
    {"SELECT time_bucket('x', ts) FROM events", "22007", 20,
     "invalid input syntax for type interval: \"x\""},
    {"SELECT a, a FROM (SELECT path AS a, path AS a FROM events) q", "42702", 8,
     "column reference \"a\" is ambiguous"},
    {"SELECT * FROM (SELECT path FROM events) q WHERE status = 1", "42703", 49,
     "column \"status\" does not exist"},
    {"SELECT x FROM (SELECT 1 AS x) q GROUP BY q.y", "42703", 42, "column q.y does not exist"},
    {"SELECT * FROM (SELECT path, count(*) FROM events) q", "42803", 23,
     "column \"events.path\" must appear in the GROUP BY clause or be used in an aggregate "
     "function"},
    {"SELECT $1::date + $1::bigint", "42846", 21, "cannot cast type date to bigint"},
    {"SELECT 1e400", "22003", 8, "number is out of range"},
    {"SELECT count(*) FROM events WHERE ts < $2 + interval '1 hour'", "42883", 38,
     "operator does not exist: timestamp with time zone < interval"},
    {"SELECT day + '1' FROM events", "42725", 12, "operator is not unique: date + unknown"},
    {"SELECT device.x FROM events device", "42703", 8, "column device.x does not exist"},
    {"SELECT 'ü', path FROM events WHERE 'é' = nope", "42703", 42,
     "column \"nope\" does not exist"},
    {"CREATE TABLE t (ts timestamptz NOT NULL)", "42P16", 14,
     "table \"t\" needs a column \"merchant_id\" BIGINT NOT NULL"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL)", "42P16", 14,
     "table \"t\" needs a column \"ts\" TIMESTAMPTZ NOT NULL"},
    {"CREATE TABLE t (merchant_id bigint, ts timestamptz NOT NULL)", "42P16", 17,
     "column \"merchant_id\" must be BIGINT NOT NULL"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamptz)", "42P16", 46,
     "column \"ts\" must be TIMESTAMPTZ NOT NULL"},
    {"CREATE TABLE t (merchant_id int NOT NULL, ts timestamptz NOT NULL)", "42P16", 17,
     "column \"merchant_id\" must be BIGINT NOT NULL"},
    {"CREATE TABLE t (merchant_id text NOT NULL, ts timestamptz NOT NULL)", "42P16", 17,
     "column \"merchant_id\" must be BIGINT NOT NULL"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamp NOT NULL)", "42P16", 46,
     "column \"ts\" must be TIMESTAMPTZ NOT NULL"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamptz NOT NULL, a text, a text)",
     "42701", 79, "column \"a\" specified more than once"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamptz NOT NULL, a numeric)", "0A000",
     73, "a NUMERIC column without precision and scale is not supported; write NUMERIC(18,s)"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamptz NOT NULL, a numeric(38,4))",
     "0A000", 73, "a NUMERIC column of more than 18 digits is not supported"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamptz NOT NULL, a interval)", "0A000",
     73, "an INTERVAL column is not supported"},
    {"CREATE TABLE t (merchant_id bigint NOT NULL, ts timestamptz NOT NULL, a uuid)", "0A000", 73,
     "type uuid is not supported"},
    {"CREATE TABLE t ()", "42P16", 14,
     "table \"t\" needs a column \"merchant_id\" BIGINT NOT NULL"},
    {"ALTER TABLE nope ADD COLUMN a text", "42P01", 13, "relation \"nope\" does not exist"},
    {"ALTER TABLE small ADD COLUMN b text", "42701", 30,
     "column \"b\" of relation \"small\" already exists"},
    {"ALTER TABLE small ADD COLUMN c text NOT NULL", "0A000", 30,
     "ADD COLUMN … NOT NULL is not supported: rows from before have NULL"},
    {"ALTER TABLE small ADD COLUMN c numeric", "0A000", 32,
     "a NUMERIC column without precision and scale is not supported; write NUMERIC(18,s)"},
    {"SELECT nope FROM (SELECT path FROM events) q", "42703", 8, "column \"nope\" does not exist"},
    {"SELECT path FROM (SELECT path, nope FROM events) q", "42703", 32,
     "column \"nope\" does not exist"},
    {"SELECT events.path FROM (SELECT path FROM events) q", "42P01", 8,
     "missing FROM-clause entry for table \"events\""},
    {"SELECT a, count(*) FROM (SELECT path AS a, status AS b FROM events) q GROUP BY a HAVING b > "
     "1",
     "42803", 89,
     "column \"q.status\" must appear in the GROUP BY clause or be used in an aggregate function"},
    {"SELECT path, path FROM (SELECT path, path FROM events) q", "42702", 8,
     "column reference \"path\" is ambiguous"},
    {"SELECT props['x'] FROM (SELECT * FROM events) q", "42703", 8,
     "column \"props\" does not exist"},
};

static void describe(const struct tl_plan *plan, struct tl_buffer *out)
{
    char type[64];
    for (uint32_t i = 0; i < plan->output_count; i++)
        tl_buffer_printf(out, "%s%s %s", i ? ", " : "", plan->outputs[i].name,
                         tl_type_name(plan->outputs[i].type, type, sizeof(type)));
    for (uint32_t i = 0; i < plan->param_count; i++)
        tl_buffer_printf(out, "  $%u %s", i + 1,
                         tl_type_name(plan->param_types[i], type, sizeof(type)));
    tl_buffer_put_u8(out, 0);
}

static void good_statements(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_plan *plan;
        if (tl_plan_new(&fake_catalog, tl_slice_str(goods[i].sql), NULL, &plan, &st)) {
            print_error("%s\n  %s at %d: %s\n", goods[i].sql, tl_status_sqlstate(&st), st.position,
                        st.text);
            wrong++;
            continue;
        }
        struct tl_buffer got;
        tl_buffer_init(&got, "description", 1 << 20);
        describe(plan, &got);
        if (strcmp((const char *)got.data, goods[i].types) != 0) {
            print_error("%s\n  got      %s\n  expected %s\n", goods[i].sql, (char *)got.data,
                        goods[i].types);
            wrong++;
        }
        tl_buffer_deinit(&got);
        tl_plan_free(plan);
    }
    assert_int_equal(wrong, 0);
}

static void bad_statements(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        const struct bad *b = &bads[i];
        struct tl_status st = TL_STATUS_INIT;
        struct tl_plan *plan = NULL;
        if (tl_plan_new(&fake_catalog, tl_slice_str(b->sql), NULL, &plan, &st) == TL_OK) {
            print_error("%s\n  was accepted\n", b->sql);
            tl_plan_free(plan);
            wrong++;
        } else if (plan || strcmp(tl_status_sqlstate(&st), b->sqlstate) != 0 ||
                   st.position != b->position || strcmp(st.text, b->text) != 0) {
            print_error("%s\n  got      %s at %d: %s\n  expected %s at %d: %s\n", b->sql,
                        tl_status_sqlstate(&st), st.position, st.text, b->sqlstate, b->position,
                        b->text);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void declared_parameters_keep_their_types(void **state)
{
    (void)state;
    const struct tl_type types[] = {{TL_BIGINT, 0}, {TL_NULL, 0}, {TL_DECIMAL64, 2}};
    const struct tl_plan_options options = {.param_count = 3, .param_types = types};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan;
    const char *sql = "SELECT $1, $2 FROM events WHERE status = $1 AND path = $2 AND revenue > $3";
    assert_ok(&st, tl_plan_new(&fake_catalog, tl_slice_str(sql), &options, &plan, &st));
    assert_int_equal(plan->param_count, 3);
    assert_int_equal(plan->param_types[0].kind, TL_BIGINT);
    assert_int_equal(plan->param_types[1].kind, TL_TEXT);
    assert_int_equal(plan->param_types[2].kind, TL_DECIMAL64);
    assert_int_equal(plan->param_types[2].scale, 2);
    assert_int_equal(plan->outputs[0].type.kind, TL_BIGINT);
    assert_int_equal(plan->catalog_version, 42);
    tl_plan_free(plan);

    /* A declared type that does not fit is the error of an operator, not a silent cast. */
    sql = "SELECT path FROM events WHERE path = $1";
    assert_code(&st, TL_INVALID,
                tl_plan_new(&fake_catalog, tl_slice_str(sql), &options, &plan, &st));
    const struct tl_type props[] = {{TL_PROPS, 0}};
    const struct tl_plan_options wrong = {.param_count = 1, .param_types = props};
    assert_code(&st, TL_INVALID,
                tl_plan_new(&fake_catalog, tl_slice_str("SELECT $1"), &wrong, &plan, &st));
}

static void times_of_literals_are_of_the_session_zone(void **state)
{
    (void)state;
    const struct tl_plan_options berlin = {.time_zone = "Europe/Berlin"};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan;
    const char *sql = "SELECT count(*) FROM events WHERE ts >= '2026-07-01'";
    assert_ok(&st, tl_plan_new(&fake_catalog, tl_slice_str(sql), &berlin, &plan, &st));
    const struct tl_plan_node *scan = plan->root->child;
    assert_int_equal(scan->kind, TL_NODE_SCAN);
    assert_int_equal(scan->ts_bound_count, 1);
    const struct tl_expr *bound = scan->ts_bounds[0].values[0];
    assert_int_equal(bound->kind, TL_EXPR_CONST);
    assert_true(*(const int64_t *)bound->value.data == INT64_C(1782856800000000));
    tl_plan_free(plan);

    const struct tl_plan_options nowhere = {.time_zone = "Nowhere/Else"};
    assert_code(&st, TL_INVALID,
                tl_plan_new(&fake_catalog, tl_slice_str(sql), &nowhere, &plan, &st));
}

static void tables_to_be_created(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan;
    const char *sql = "CREATE TABLE IF NOT EXISTS t (merchant_id BIGINT NOT NULL, "
                      "ts TIMESTAMPTZ NOT NULL, a INT, b NUMERIC(10,2) NOT NULL, c VARCHAR, "
                      "d DATE, e BOOLEAN, f REAL, g TIMESTAMP, h DOUBLE PRECISION NULL)";
    assert_ok(&st, tl_plan_new(&fake_catalog, tl_slice_str(sql), NULL, &plan, &st));
    assert_int_equal(plan->kind, TL_STMT_CREATE_TABLE);
    assert_string_equal(plan->table_name, "t");
    assert_true(plan->if_not_exists);
    assert_int_equal(plan->def_count, 10);
    static const struct tl_type types[] = {
        {TL_BIGINT, 0}, {TL_TIMESTAMPTZ, 0}, {TL_BIGINT, 0}, {TL_DECIMAL64, 2}, {TL_TEXT, 0},
        {TL_DATE, 0},   {TL_BOOLEAN, 0},     {TL_DOUBLE, 0}, {TL_TIMESTAMP, 0}, {TL_DOUBLE, 0}};
    for (uint32_t i = 0; i < 10; i++) {
        assert_true(tl_type_eq(plan->defs[i].type, types[i]));
        assert_int_equal(plan->defs[i].not_null, i < 2 || i == 3);
    }
    assert_string_equal(plan->defs[3].name, "b");
    tl_plan_free(plan);

    sql = "ALTER TABLE small ADD COLUMN IF NOT EXISTS extra numeric(18,4)";
    assert_ok(&st, tl_plan_new(&fake_catalog, tl_slice_str(sql), NULL, &plan, &st));
    assert_int_equal(plan->kind, TL_STMT_ADD_COLUMN);
    assert_string_equal(plan->table_name, "small");
    assert_true(plan->if_not_exists);
    assert_int_equal(plan->def_count, 1);
    assert_string_equal(plan->defs[0].name, "extra");
    assert_int_equal(plan->defs[0].type.scale, 4);
    tl_plan_free(plan);
}

/* BETWEEN and CASE x WHEN write their operand several times: nesting them multiplies. */
static void expressions_that_multiply_meet_a_limit(void **state)
{
    (void)state;
    struct tl_buffer sql;
    tl_buffer_init(&sql, "statement", 1 << 20);
    tl_buffer_printf(&sql, "SELECT ");
    for (int i = 0; i < 40; i++)
        tl_buffer_printf(&sql, "CASE ");
    tl_buffer_printf(&sql, "status");
    for (int i = 0; i < 40; i++)
        tl_buffer_printf(&sql, " WHEN 1 THEN 1 WHEN 2 THEN 2 END");
    tl_buffer_printf(&sql, " FROM events");
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan;
    assert_int_equal(tl_plan_new(&fake_catalog, tl_buffer_slice(&sql), NULL, &plan, &st), TL_LIMIT);
    assert_string_equal(tl_status_sqlstate(&st), "54001");

    tl_buffer_clear(&sql);
    tl_status_clear(&st);
    tl_buffer_printf(&sql, "SELECT path FROM events WHERE status IN (1");
    for (int i = 0; i < 40000; i++)
        tl_buffer_printf(&sql, ",%d", i);
    tl_buffer_printf(&sql, ")");
    assert_ok(&st, tl_plan_new(&fake_catalog, tl_buffer_slice(&sql), NULL, &plan, &st));
    tl_plan_free(plan);

    tl_buffer_clear(&sql);
    tl_buffer_printf(&sql, "SELECT props['k0']");
    for (int i = 1; i < 1500; i++)
        tl_buffer_printf(&sql, ",props['k%d'],props['m%d'] || 'x'", i, i);
    tl_buffer_printf(&sql, " FROM events");
    assert_int_equal(tl_plan_new(&fake_catalog, tl_buffer_slice(&sql), NULL, &plan, &st), TL_LIMIT);
    tl_buffer_deinit(&sql);
}

/* The first query that a subquery's nesting refuses, and the last that it takes. */
static void subqueries_nest_to_a_limit(void **state)
{
    (void)state;
    for (int depth = TL_SQL_SUBQUERIES_MAX - 1; depth <= TL_SQL_SUBQUERIES_MAX; depth++) {
        struct tl_buffer sql;
        tl_buffer_init(&sql, "statement", 1 << 20);
        for (int i = 0; i < depth; i++)
            tl_buffer_printf(&sql, "SELECT x FROM (");
        tl_buffer_printf(&sql, "SELECT path AS x FROM events");
        for (int i = 0; i < depth; i++)
            tl_buffer_printf(&sql, ") q");
        struct tl_status st = TL_STATUS_INIT;
        struct tl_plan *plan = NULL;
        enum tl_code rc = tl_plan_new(&fake_catalog, tl_buffer_slice(&sql), NULL, &plan, &st);
        assert_int_equal(rc, depth < TL_SQL_SUBQUERIES_MAX ? TL_OK : TL_LIMIT);
        tl_plan_free(plan);
        tl_buffer_deinit(&sql);
    }
}

/* libpg_query keeps its state per thread: good and bad statements at the same time. */
static void *plan_many(void *arg)
{
    size_t *planned = arg;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
            struct tl_status st = TL_STATUS_INIT;
            struct tl_plan *plan = NULL;
            const char *sql = i % 3 ? goods[i].sql : bads[i].sql;
            if (tl_plan_new(&fake_catalog, tl_slice_str(sql), NULL, &plan, &st) == TL_OK)
                (*planned)++;
            tl_plan_free(plan);
        }
    }
    return NULL;
}

static void threads_plan_at_the_same_time(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    size_t planned[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, plan_many, &planned[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(planned[i] > 0);
        assert_int_equal(planned[i], planned[0]);
    }
}

/* docs/SQL.md names every function of the table. */
static void the_manual_names_every_function(void **state)
{
    (void)state;
    FILE *f = fopen("docs/SQL.md", "rb");
    assert_non_null(f);
    static char text[1 << 16];
    size_t size = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[size] = 0;
    uint32_t count;
    const struct tl_function *table = tl_functions(&count);
    /* Operators, and names that SQL writes in another way. */
    static const char *const others[] = {
        "cast",         "like", "ilike",        "is_distinct",  "similar_to_escape", "overlaps",
        "current_user", "user", "session_user", "current_role", "current_catalog"};
    for (uint32_t i = 0; i < count; i++) {
        char call[64];
        bool skip = table[i].name[0] < 'a' || table[i].name[0] > 'z';
        for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++)
            skip = skip || strcmp(table[i].name, others[k]) == 0;
        snprintf(call, sizeof(call), "`%s(", table[i].name);
        if (!skip && !strstr(text, call))
            fail_msg("docs/SQL.md does not name %s", table[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_statements),
        cmocka_unit_test(bad_statements),
        cmocka_unit_test(declared_parameters_keep_their_types),
        cmocka_unit_test(times_of_literals_are_of_the_session_zone),
        cmocka_unit_test(tables_to_be_created),
        cmocka_unit_test(expressions_that_multiply_meet_a_limit),
        cmocka_unit_test(subqueries_nest_to_a_limit),
        cmocka_unit_test(threads_plan_at_the_same_time),
        cmocka_unit_test(the_manual_names_every_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
