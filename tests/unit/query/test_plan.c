/*
 * Promise: conditions reach the scan as the plan's header says, only needed columns are read, and
 * nodes that would do nothing are not there.
 * Method: statements against a fake catalog, their EXPLAIN text compared; the numbers behind the
 * text (which conjunct says the same as which bound) are looked at for some.
 */
#include "tests/test.h"

#include <string.h>

#include "tests/unit/query/fake_catalog.h"

struct planned {
    const char *sql;
    const char *lines; /* without indent and arrows, joined by " | " */
};

static const struct planned planneds[] = {
    {"SELECT 1 + 2", "Project | Output: 3 | One Row"},
    {"SELECT 'x' ORDER BY 1", "Project | Output: 'x' | One Row"},
    {"SELECT path FROM events", "Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path, path, status FROM events",
     "Project | Output: path, path, status | Scan on events | Columns: path, status"},
    {"SELECT count(*) FROM events", "Aggregate | Compute: count(*) | Scan on events"},
    {"SELECT count(*) FROM events WHERE merchant_id = 5",
     "Aggregate | Compute: count(*) | Scan on events | Merchants: merchant_id = 5"},
    {"SELECT count(*) FROM events WHERE 5 = merchant_id",
     "Aggregate | Compute: count(*) | Scan on events | Merchants: merchant_id = 5"},
    {"SELECT count(*) FROM events WHERE merchant_id IN (3, 1, 2)",
     "Aggregate | Compute: count(*) | Scan on events | Merchants: merchant_id IN (3, 1, 2)"},
    {"SELECT count(*) FROM events WHERE merchant_id IN (3, NULL)",
     "Aggregate | Compute: count(*) | Scan on events | Merchants: merchant_id IN (3)"},
    {"SELECT count(*) FROM events WHERE merchant_id IN (NULL, NULL)",
     "Aggregate | Compute: count(*) | Filter | Condition: merchant_id IN (NULL, NULL) | Scan on "
     "events | Columns: merchant_id"},
    {"SELECT count(*) FROM events WHERE merchant_id = 1 OR merchant_id = 2",
     "Aggregate | Compute: count(*) | Scan on events | Merchants: merchant_id IN (1, 2)"},
    {"SELECT count(*) FROM events WHERE merchant_id = 1 OR merchant_id = 2 OR path = 'x'",
     "Aggregate | Compute: count(*) | Filter | Condition: (merchant_id = 1) OR (merchant_id = 2) "
     "OR (path = 'x') | Scan on events | Columns: merchant_id, path"},
    {"SELECT count(*) FROM events WHERE merchant_id = 1 OR status = 2",
     "Aggregate | Compute: count(*) | Filter | Condition: (merchant_id = 1) OR (status = 2) | Scan "
     "on events | Columns: merchant_id, status"},
    {"SELECT count(*) FROM events WHERE merchant_id > 5 AND merchant_id <> 7",
     "Aggregate | Compute: count(*) | Filter | Condition: (merchant_id > 5) AND (merchant_id <> 7) "
     "| Scan on events | Columns: merchant_id | Bounds: merchant_id > 5 AND merchant_id <> 7"},
    {"SELECT count(*) FROM events WHERE merchant_id = 5 AND merchant_id IN (5, 6)",
     "Aggregate | Compute: count(*) | Scan on events | Merchants: merchant_id = 5 AND merchant_id "
     "IN (5, 6)"},
    {"SELECT count(*) FROM events WHERE merchant_id = $1",
     "Aggregate | Compute: count(*) | Scan on events | Merchants: merchant_id = $1"},
    {"SELECT count(*) FROM events WHERE merchant_id = status",
     "Aggregate | Compute: count(*) | Filter | Condition: merchant_id = status | Scan on events | "
     "Columns: merchant_id, status"},
    {"SELECT count(*) FROM events WHERE merchant_id::int = 5",
     "Aggregate | Compute: count(*) | Filter | Condition: int4(merchant_id) = 5 | Scan on events | "
     "Columns: merchant_id"},
    {"SELECT merchant_id FROM events WHERE merchant_id = 5",
     "Project | Output: merchant_id | Scan on events | Columns: merchant_id | Merchants: "
     "merchant_id = 5"},
    {"SELECT count(*) FROM events WHERE NOT merchant_id = 5",
     "Aggregate | Compute: count(*) | Filter | Condition: merchant_id <> 5 | Scan on events | "
     "Columns: merchant_id | Bounds: merchant_id <> 5"},
    {"SELECT count(*) FROM events WHERE ts >= '2026-01-01' AND ts < '2026-02-01'",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts >= '2026-01-01 00:00:00+00' AND ts "
     "< '2026-02-01 00:00:00+00'"},
    {"SELECT count(*) FROM events WHERE ts >= TIMESTAMPTZ '2026-01-01 00:00:00+01' AND ts <= DATE "
     "'2026-01-31'",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts >= '2025-12-31 23:00:00+00' AND ts "
     "<= '2026-01-31'::TIMESTAMPTZ"},
    {"SELECT count(*) FROM events WHERE ts BETWEEN '2026-01-01' AND '2026-01-31 23:59:59.999999'",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts >= '2026-01-01 00:00:00+00' AND ts "
     "<= '2026-01-31 23:59:59.999999+00'"},
    {"SELECT count(*) FROM events WHERE ts NOT BETWEEN '2026-01-01' AND '2026-01-31'",
     "Aggregate | Compute: count(*) | Filter | Condition: NOT ((ts >= '2026-01-01 00:00:00+00') "
     "AND (ts <= '2026-01-31 00:00:00+00')) | Scan on events | Columns: ts"},
    {"SELECT count(*) FROM events WHERE ts > now() - interval '1 day'",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts > now() - '1 day'"},
    {"SELECT count(*) FROM events WHERE now() - interval '7 days' <= ts AND ts <= now()",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts >= now() - '7 days' AND ts <= "
     "now()"},
    {"SELECT count(*) FROM events WHERE ts >= date_trunc('day', now()) AND ts < date_trunc('day', "
     "now()) + interval '1 day'",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts >= date_trunc('day', now()) AND ts "
     "< date_trunc('day', now()) + '1 day'"},
    {"SELECT count(*) FROM events WHERE ts >= $1 AND ts < $2::timestamptz + interval '1 hour'",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts >= $1 AND ts < $2 + '01:00:00'"},
    {"SELECT count(*) FROM events WHERE ts = '2026-01-01 12:00'",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts = '2026-01-01 12:00:00+00'"},
    {"SELECT count(*) FROM events WHERE ts <> '2026-01-01 12:00'",
     "Aggregate | Compute: count(*) | Filter | Condition: ts <> '2026-01-01 12:00:00+00' | Scan on "
     "events | Columns: ts | Bounds: ts <> '2026-01-01 12:00:00+00'"},
    {"SELECT count(*) FROM events WHERE NOT (ts < '2026-01-01')",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts >= '2026-01-01 00:00:00+00'"},
    {"SELECT count(*) FROM events WHERE ts IN ('2026-01-01', '2026-01-02')",
     "Aggregate | Compute: count(*) | Filter | Condition: ts IN ('2026-01-01 00:00:00+00', "
     "'2026-01-02 00:00:00+00') | Scan on events | Columns: ts | Bounds: ts IN ('2026-01-01 "
     "00:00:00+00', '2026-01-02 00:00:00+00')"},
    {"SELECT count(*) FROM events WHERE ts < local_ts",
     "Aggregate | Compute: count(*) | Filter | Condition: ts < local_ts::TIMESTAMPTZ | Scan on "
     "events | Columns: ts, local_ts"},
    {"SELECT count(*) FROM events WHERE ts::date = '2026-01-01'",
     "Aggregate | Compute: count(*) | Filter | Condition: ts::DATE = '2026-01-01' | Scan on events "
     "| Columns: ts"},
    {"SELECT count(*) FROM events WHERE date_trunc('day', ts) = '2026-01-01'",
     "Aggregate | Compute: count(*) | Filter | Condition: date_trunc('day', ts) = '2026-01-01 "
     "00:00:00+00' | Scan on events | Columns: ts"},
    {"SELECT count(*) FROM events WHERE ts > '2026-01-01' OR ts < '2025-01-01'",
     "Aggregate | Compute: count(*) | Filter | Condition: (ts > '2026-01-01 00:00:00+00') OR (ts < "
     "'2025-01-01 00:00:00+00') | Scan on events | Columns: ts"},
    {"SELECT ts FROM events WHERE ts > '2026-01-01' AND ts IS NOT NULL",
     "Project | Output: ts | Filter | Condition: ts IS NOT NULL | Scan on events | Columns: ts | "
     "Time: ts > '2026-01-01 00:00:00+00' | Bounds: ts IS NOT NULL"},
    {"SELECT count(*) FROM events WHERE path = '/x' AND path <> '/y' AND status >= 200 AND status "
     "< 300",
     "Aggregate | Compute: count(*) | Filter | Condition: (path = '/x') AND (path <> '/y') AND "
     "(status >= 200) AND (status < 300) | Scan on events | Columns: path, status | Bounds: path = "
     "'/x' AND path <> '/y' AND status >= 200 AND status < 300"},
    {"SELECT count(*) FROM events WHERE '/a' <= path AND path < '/b'",
     "Aggregate | Compute: count(*) | Filter | Condition: ('/a' <= path) AND (path < '/b') | Scan "
     "on events | Columns: path | Bounds: path >= '/a' AND path < '/b'"},
    {"SELECT count(*) FROM events WHERE path IN ('/a', '/b', NULL)",
     "Aggregate | Compute: count(*) | Filter | Condition: path IN ('/a', '/b', NULL) | Scan on "
     "events | Columns: path | Bounds: path IN ('/a', '/b')"},
    {"SELECT count(*) FROM events WHERE path NOT IN ('/a', '/b')",
     "Aggregate | Compute: count(*) | Filter | Condition: path NOT IN ('/a', '/b') | Scan on "
     "events | Columns: path"},
    {"SELECT count(*) FROM events WHERE path IS NULL AND country IS NOT NULL",
     "Aggregate | Compute: count(*) | Filter | Condition: path IS NULL AND country IS NOT NULL | "
     "Scan on events | Columns: path, country | Bounds: path IS NULL AND country IS NOT NULL"},
    {"SELECT count(*) FROM events WHERE is_bot",
     "Aggregate | Compute: count(*) | Filter | Condition: is_bot | Scan on events | Columns: "
     "is_bot | Bounds: is_bot = true"},
    {"SELECT count(*) FROM events WHERE NOT is_bot",
     "Aggregate | Compute: count(*) | Filter | Condition: NOT is_bot | Scan on events | Columns: "
     "is_bot | Bounds: is_bot = false"},
    {"SELECT count(*) FROM events WHERE is_bot = false AND is_bot IS NOT TRUE",
     "Aggregate | Compute: count(*) | Filter | Condition: (is_bot = false) AND NOT "
     "coalesce(is_bot, false) | Scan on events | Columns: is_bot | Bounds: is_bot = false"},
    {"SELECT count(*) FROM events WHERE path LIKE '/shop/%'",
     "Aggregate | Compute: count(*) | Filter | Condition: path LIKE '/shop/%' | Scan on events | "
     "Columns: path | Bounds: path >= '/shop/' AND path < '/shop0'"},
    {"SELECT count(*) FROM events WHERE path LIKE '%shirt%'",
     "Aggregate | Compute: count(*) | Filter | Condition: path LIKE '%shirt%' | Scan on events | "
     "Columns: path"},
    {"SELECT count(*) FROM events WHERE path NOT LIKE '/shop/%'",
     "Aggregate | Compute: count(*) | Filter | Condition: NOT (path LIKE '/shop/%') | Scan on "
     "events | Columns: path"},
    {"SELECT count(*) FROM events WHERE path LIKE 'a\\%b%'",
     "Aggregate | Compute: count(*) | Filter | Condition: path LIKE 'a\\%b%' | Scan on events | "
     "Columns: path | Bounds: path >= 'a' AND path < 'b'"},
    {"SELECT count(*) FROM events WHERE path LIKE 'zé%'",
     "Aggregate | Compute: count(*) | Filter | Condition: path LIKE 'zé%' | Scan on events | "
     "Columns: path | Bounds: path >= 'zé' AND path < '{'"},
    {"SELECT count(*) FROM events WHERE path ILIKE 'a%'",
     "Aggregate | Compute: count(*) | Filter | Condition: path ILIKE 'a%' | Scan on events | "
     "Columns: path"},
    {"SELECT count(*) FROM events WHERE path LIKE $1",
     "Aggregate | Compute: count(*) | Filter | Condition: path LIKE $1 | Scan on events | Columns: "
     "path"},
    {"SELECT count(*) FROM events WHERE revenue > 9.99 AND revenue <= 100 AND revenue <> 0.00005",
     "Aggregate | Compute: count(*) | Filter | Condition: (revenue > 9.9900) AND (revenue <= "
     "100.0000) AND (revenue <> 0.00005) | Scan on events | Columns: revenue | Bounds: revenue > "
     "9.9900 AND revenue <= 100.0000"},
    {"SELECT count(*) FROM events WHERE revenue IN (1, 2.5)",
     "Aggregate | Compute: count(*) | Filter | Condition: revenue IN (1.0000, 2.5000) | Scan on "
     "events | Columns: revenue | Bounds: revenue IN (1.0000, 2.5000)"},
    {"SELECT count(*) FROM events WHERE revenue > $1",
     "Aggregate | Compute: count(*) | Filter | Condition: revenue::DECIMAL(38,4) > $1 | Scan on "
     "events | Columns: revenue"},
    {"SELECT count(*) FROM events WHERE score > 0.5 AND score < 1 AND score >= 1e3",
     "Aggregate | Compute: count(*) | Filter | Condition: (score > 0.5) AND (score < 1) AND (score "
     ">= 1000) | Scan on events | Columns: score | Bounds: score > 0.5 AND score < 1 AND score >= "
     "1000"},
    {"SELECT count(*) FROM events WHERE status = 200.0 AND status > 1.5",
     "Aggregate | Compute: count(*) | Filter | Condition: (status = 200) AND "
     "(status::DECIMAL(38,0) > 1.5) | Scan on events | Columns: status | Bounds: status = 200"},
    {"SELECT count(*) FROM events WHERE status = '200'",
     "Aggregate | Compute: count(*) | Filter | Condition: status = 200 | Scan on events | Columns: "
     "status | Bounds: status = 200"},
    {"SELECT count(*) FROM events WHERE day >= '2026-01-01' AND local_ts < '2026-01-01 10:00'",
     "Aggregate | Compute: count(*) | Filter | Condition: (day >= '2026-01-01') AND (local_ts < "
     "'2026-01-01 10:00:00') | Scan on events | Columns: day, local_ts | Bounds: day >= "
     "'2026-01-01' AND local_ts < '2026-01-01 10:00:00'"},
    {"SELECT count(*) FROM events WHERE status + 1 = 200 AND bytes > status",
     "Aggregate | Compute: count(*) | Filter | Condition: ((status + 1) = 200) AND (bytes > "
     "status) | Scan on events | Columns: status, bytes"},
    {"SELECT count(*) FROM events WHERE props['plan'] = 'pro' AND props['seats'] IS NOT NULL",
     "Aggregate | Compute: count(*) | Filter | Condition: (props['plan'] = 'pro') AND "
     "props['seats'] IS NOT NULL | Scan on events | Columns: props['plan'], props['seats'] | "
     "Bounds: props['plan'] = 'pro' AND props['seats'] IS NOT NULL"},
    {"SELECT count(*) FROM events WHERE 100 / status > 1 AND status <> 0",
     "Aggregate | Compute: count(*) | Filter | Condition: (status <> 0) AND ((100 / status) > 1) | "
     "Scan on events | Columns: status | Bounds: status <> 0"},
    {"SELECT count(*) FROM events WHERE country = 'DE' OR country = 'AT' OR country IN ('CH')",
     "Aggregate | Compute: count(*) | Filter | Condition: country IN ('DE', 'AT', 'CH') | Scan on "
     "events | Columns: country | Bounds: country IN ('DE', 'AT', 'CH')"},
    {"SELECT count(*) FROM events WHERE (country = 'DE' AND status = 1) OR status = 2",
     "Aggregate | Compute: count(*) | Filter | Condition: ((country = 'DE') AND (status = 1)) OR "
     "(status = 2) | Scan on events | Columns: country, status"},
    {"SELECT count(*) FROM events WHERE true", "Aggregate | Compute: count(*) | Scan on events"},
    {"SELECT count(*) FROM events WHERE true AND path = 'x'",
     "Aggregate | Compute: count(*) | Filter | Condition: path = 'x' | Scan on events | Columns: "
     "path | Bounds: path = 'x'"},
    {"SELECT count(*) FROM events WHERE 1 = 0",
     "Aggregate | Compute: count(*) | Limit | Rows: 0 | Scan on events"},
    {"SELECT * FROM small WHERE 1 = 0", "Project | Output: a, merchant_id, ts, b | Limit | Rows: 0 "
                                        "| Scan on small | Columns: a, merchant_id, ts, b"},
    {"SELECT count(*) FROM events WHERE path = NULL",
     "Aggregate | Compute: count(*) | Limit | Rows: 0 | Scan on events"},
    {"SELECT count(*) FROM events WHERE NULL",
     "Aggregate | Compute: count(*) | Limit | Rows: 0 | Scan on events"},
    {"SELECT count(*) FROM events WHERE path = 'a' AND NULL",
     "Aggregate | Compute: count(*) | Limit | Rows: 0 | Filter | Condition: path = 'a' | Scan on "
     "events | Columns: path | Bounds: path = 'a'"},
    {"SELECT count(*) FROM events WHERE 'a' LIKE 'a%' AND 2 > 1",
     "Aggregate | Compute: count(*) | Scan on events"},
    {"SELECT a FROM small WHERE a = 1 OR true", "Project | Output: a | Scan on small | Columns: a"},
    {"SELECT path, count(*) FROM events GROUP BY path",
     "Aggregate | Group Key: path | Compute: count(*) | Scan on events | Columns: path"},
    {"SELECT count(*), path FROM events GROUP BY path",
     "Project | Output: count(*), path | Aggregate | Group Key: path | Compute: count(*) | Scan on "
     "events | Columns: path"},
    {"SELECT path, count(*) AS c FROM events WHERE merchant_id = 5 AND ts >= '2026-01-01' AND "
     "event_name = 'pageview' GROUP BY path ORDER BY c DESC, path LIMIT 10",
     "Limit | Rows: 10 | Top-N Sort | Sort Key: count(*) DESC, path | Aggregate | Group Key: path "
     "| Compute: count(*) | Filter | Condition: event_name = 'pageview' | Scan on events | "
     "Columns: path, event_name | Merchants: merchant_id = 5 | Time: ts >= '2026-01-01 "
     "00:00:00+00' | Bounds: event_name = 'pageview'"},
    {"SELECT date_trunc('hour', ts) AS h, count(*) FILTER (WHERE event_name = 'pageview') AS pv, "
     "count(DISTINCT visitor_id) AS uv FROM events WHERE merchant_id = 5 GROUP BY h ORDER BY h",
     "Sort | Sort Key: date_trunc('hour', ts) | Aggregate | Group Key: date_trunc('hour', ts) | "
     "Compute: count(*) FILTER (WHERE event_name = 'pageview'), count(DISTINCT visitor_id) | Scan "
     "on events | Columns: ts, event_name, visitor_id | Merchants: merchant_id = 5"},
    {"SELECT date_trunc('hour', ts), count(*) FROM events GROUP BY date_trunc('hour', ts)",
     "Aggregate | Group Key: date_trunc('hour', ts) | Compute: count(*) | Scan on events | "
     "Columns: ts"},
    {"SELECT date_trunc('hour', ts) + interval '1 hour', count(*) FROM events GROUP BY "
     "date_trunc('hour', ts)",
     "Project | Output: date_trunc('hour', ts) + '01:00:00', count(*) | Aggregate | Group Key: "
     "date_trunc('hour', ts) | Compute: count(*) | Scan on events | Columns: ts"},
    {"SELECT country, sum(revenue) FROM events GROUP BY 1 HAVING sum(revenue) > 100 AND country <> "
     "'X' ORDER BY 2 DESC NULLS LAST",
     "Sort | Sort Key: sum(revenue) DESC NULLS LAST | Filter | Condition: (sum(revenue) > "
     "100.0000) AND (country <> 'X') | Aggregate | Group Key: country | Compute: sum(revenue) | "
     "Scan on events | Columns: country, revenue"},
    {"SELECT country FROM events GROUP BY country HAVING count(*) > 1",
     "Project | Output: country | Filter | Condition: count(*) > 1 | Aggregate | Group Key: "
     "country | Compute: count(*) | Scan on events | Columns: country"},
    {"SELECT sum(revenue) / count(*) FROM events",
     "Project | Output: sum(revenue) / count(*)::DECIMAL(38,0) | Aggregate | Compute: "
     "sum(revenue), count(*) | Scan on events | Columns: revenue"},
    {"SELECT count(*), count(*), count(*) + 1 FROM events",
     "Project | Output: count(*), count(*), count(*) + 1 | Aggregate | Compute: count(*) | Scan on "
     "events"},
    {"SELECT sum(status) FILTER (WHERE is_bot), sum(status) FROM events",
     "Aggregate | Compute: sum(status) FILTER (WHERE is_bot), sum(status) | Scan on events | "
     "Columns: status, is_bot"},
    {"SELECT lower(path) AS p, lower(path) || 'x', count(*) FROM events GROUP BY lower(path)",
     "Project | Output: lower(path), lower(path) || 'x', count(*) | Aggregate | Group Key: "
     "lower(path) | Compute: count(*) | Scan on events | Columns: path"},
    {"SELECT lower(path) AS p FROM events GROUP BY p ORDER BY count(*) DESC LIMIT 3",
     "Project | Output: lower(path) | Limit | Rows: 3 | Top-N Sort | Sort Key: count(*) DESC | "
     "Aggregate | Group Key: lower(path) | Compute: count(*) | Scan on events | Columns: path"},
    {"SELECT status AS path, count(*) FROM events GROUP BY path, status",
     "Project | Output: status, count(*) | Aggregate | Group Key: path, status | Compute: count(*) "
     "| Scan on events | Columns: status, path"},
    {"SELECT path AS status FROM events GROUP BY path ORDER BY status",
     "Sort | Sort Key: path | Aggregate | Group Key: path | Scan on events | Columns: path"},
    {"SELECT status / 100 * 100 AS class, count(*) FROM events GROUP BY 1 ORDER BY 1",
     "Sort | Sort Key: ((status / 100) * 100) | Aggregate | Group Key: (status / 100) * 100 | "
     "Compute: count(*) | Scan on events | Columns: status"},
    {"SELECT 'k' AS k, count(*) FROM events GROUP BY k",
     "Project | Output: 'k', count(*) | Aggregate | Group Key: 'k' | Compute: count(*) | Scan on "
     "events"},
    {"SELECT $1 AS k, count(*) FROM events GROUP BY k",
     "Aggregate | Group Key: $1 | Compute: count(*) | Scan on events"},
    {"SELECT count(*) FROM events ORDER BY count(*)",
     "Aggregate | Compute: count(*) | Scan on events"},
    {"SELECT path FROM events ORDER BY path",
     "Sort | Sort Key: path | Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path FROM events ORDER BY path DESC, status NULLS FIRST, ts DESC NULLS LAST",
     "Project | Output: path | Sort | Sort Key: path DESC, status NULLS FIRST, ts DESC NULLS LAST "
     "| Project | Output: path, status, ts | Scan on events | Columns: path, status, ts"},
    {"SELECT path FROM events ORDER BY lower(path) LIMIT 5 OFFSET 2",
     "Project | Output: path | Limit | Rows: 5 after 2 | Top-N Sort | Sort Key: lower(path) | "
     "Project | Output: path, lower(path) | Scan on events | Columns: path"},
    {"SELECT path, ts FROM events ORDER BY 2 DESC, 1, 2",
     "Sort | Sort Key: ts DESC, path | Project | Output: path, ts | Scan on events | Columns: "
     "path, ts"},
    {"SELECT path AS p FROM events ORDER BY p, length(path)",
     "Project | Output: path | Sort | Sort Key: path, length(path) | Project | Output: path, "
     "length(path) | Scan on events | Columns: path"},
    {"SELECT path FROM events ORDER BY 1 LIMIT ALL",
     "Sort | Sort Key: path | Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path FROM events LIMIT 10",
     "Limit | Rows: 10 | Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path FROM events OFFSET 10",
     "Limit | Rows: all after 10 | Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path FROM events LIMIT $1 OFFSET $2",
     "Limit | Rows: $1 after $2 | Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path FROM events LIMIT 2 + 3",
     "Limit | Rows: 5 | Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path FROM events LIMIT NULL OFFSET NULL",
     "Project | Output: path | Scan on events | Columns: path"},
    {"SELECT path FROM events FETCH FIRST 3 ROWS ONLY",
     "Limit | Rows: 3 | Project | Output: path | Scan on events | Columns: path"},
    {"SELECT DISTINCT country FROM events",
     "Distinct | Project | Output: country | Scan on events | Columns: country"},
    {"SELECT DISTINCT country, status FROM events ORDER BY status DESC LIMIT 3",
     "Limit | Rows: 3 | Top-N Sort | Sort Key: status DESC | Distinct | Project | Output: country, "
     "status | Scan on events | Columns: country, status"},
    {"SELECT DISTINCT count(*) FROM events", "Aggregate | Compute: count(*) | Scan on events"},
    {"SELECT DISTINCT country FROM events GROUP BY country, path",
     "Distinct | Project | Output: country | Aggregate | Group Key: country, path | Scan on events "
     "| Columns: country, path"},
    {"SELECT ALL path FROM events", "Project | Output: path | Scan on events | Columns: path"},
    {"SELECT q.p, q.c FROM (SELECT path AS p, count(*) AS c FROM events GROUP BY path) q WHERE q.c "
     "> 10 ORDER BY q.c DESC LIMIT 3",
     "Limit | Rows: 3 | Top-N Sort | Sort Key: count(*) DESC | Filter | Condition: count(*) > 10 | "
     "Aggregate | Group Key: path | Compute: count(*) | Scan on events | Columns: path"},
    {"SELECT count(*) FROM (SELECT DISTINCT visitor_id FROM events WHERE merchant_id = 5) v",
     "Aggregate | Compute: count(*) | Distinct | Project | Output: visitor_id | Scan on events | "
     "Columns: visitor_id | Merchants: merchant_id = 5"},
    {"SELECT max(c) FROM (SELECT path, count(*) AS c FROM events GROUP BY path ORDER BY c) q GROUP "
     "BY path",
     "Project | Output: max(count(*)) | Aggregate | Group Key: path | Compute: max(count(*)) | "
     "Aggregate | Group Key: path | Compute: count(*) | Scan on events | Columns: path"},
    {"SELECT a FROM (SELECT a, b FROM small ORDER BY b) q",
     "Project | Output: a | Sort | Sort Key: b | Project | Output: a, b | Scan on small | Columns: "
     "a, b"},
    {"SELECT a FROM (SELECT a, b FROM small ORDER BY b) q ORDER BY a",
     "Sort | Sort Key: a | Project | Output: a | Project | Output: a, b | Scan on small | Columns: "
     "a, b"},
    {"SELECT x + 1 FROM (SELECT a + 1 AS x FROM small) q WHERE x > 3",
     "Project | Output: (a + 1) + 1 | Filter | Condition: (a + 1) > 3 | Scan on small | Columns: "
     "a"},
    {"SELECT * FROM (SELECT a FROM small LIMIT 5) q WHERE a = 1",
     "Filter | Condition: a = 1 | Limit | Rows: 5 | Project | Output: a | Scan on small | Columns: "
     "a"},
    {"SELECT country, count(DISTINCT visitor_id) FILTER (WHERE event_name = 'purchase') * 100.0 / "
     "count(DISTINCT visitor_id) AS conv FROM events WHERE merchant_id = 1 GROUP BY country",
     "Project | Output: country, (count(DISTINCT visitor_id) FILTER (WHERE event_name = "
     "'purchase')::DECIMAL(38,0) * 100.0) / count(DISTINCT visitor_id)::DECIMAL(38,0) | Aggregate "
     "| Group Key: country | Compute: count(DISTINCT visitor_id) FILTER (WHERE event_name = "
     "'purchase'), count(DISTINCT visitor_id) | Scan on events | Columns: country, visitor_id, "
     "event_name | Merchants: merchant_id = 1"},
    {"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms), percentile_disc(0.95) "
     "WITHIN GROUP (ORDER BY duration_ms DESC) FROM events",
     "Aggregate | Compute: percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms), "
     "percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms DESC) | Scan on events | Columns: "
     "duration_ms"},
    {"SELECT time_bucket('15 minutes', ts, 'Asia/Kathmandu') AS b, avg(duration_ms) FROM events "
     "GROUP BY b ORDER BY b",
     "Sort | Sort Key: time_bucket('00:15:00', ts, 'Asia/Kathmandu') | Aggregate | Group Key: "
     "time_bucket('00:15:00', ts, 'Asia/Kathmandu') | Compute: avg(duration_ms) | Scan on events | "
     "Columns: ts, duration_ms"},
    {"SELECT CASE WHEN status >= 500 THEN '5xx' WHEN status >= 400 THEN '4xx' ELSE 'ok' END AS "
     "class, count(*) FROM events GROUP BY 1",
     "Aggregate | Group Key: CASE WHEN status >= 500 THEN '5xx' WHEN status >= 400 THEN '4xx' ELSE "
     "'ok' END | Compute: count(*) | Scan on events | Columns: status"},
    {"SELECT path FROM events WHERE merchant_id = 1 ORDER BY ts DESC LIMIT 100",
     "Project | Output: path | Limit | Rows: 100 | Top-N Sort | Sort Key: ts DESC | Project | "
     "Output: path, ts | Scan on events | Columns: path, ts | Merchants: merchant_id = 1"},
    {"SELECT * FROM small WHERE b = 'it''s' ORDER BY ts LIMIT 1",
     "Limit | Rows: 1 | Top-N Sort | Sort Key: ts | Project | Output: a, merchant_id, ts, b | "
     "Filter | Condition: b = 'it''s' | Scan on small | Columns: a, merchant_id, ts, b | Bounds: b "
     "= 'it''s'"},
    {"SELECT \"Mixed Case\" FROM events WHERE \"Mixed Case\" = 'x'",
     "Project | Output: \"Mixed Case\" | Filter | Condition: \"Mixed Case\" = 'x' | Scan on events "
     "| Columns: \"Mixed Case\" | Bounds: \"Mixed Case\" = 'x'"},
    {"SELECT revenue::numeric(10,2), status::smallint, score::real, path::date FROM events",
     "Project | Output: revenue::DECIMAL(18,2), int2(status), float4(score), path::DATE | Scan on "
     "events | Columns: revenue, status, score, path"},
    {"SELECT is_bot IS NOT DISTINCT FROM true, NOT (a OR b) FROM (SELECT is_bot, is_bot AS a, "
     "is_bot AS b FROM events) q",
     "Project | Output: NOT (is_bot IS DISTINCT FROM true), NOT (is_bot OR is_bot) | Scan on "
     "events | Columns: is_bot"},
    {"SELECT day + 1, ts + interval '1 month', -status, status % 7, path || '!' FROM events",
     "Project | Output: day + 1, ts + '1 mon', -status, status % 7, path || '!' | Scan on events | "
     "Columns: day, ts, status, path"},
    {"SELECT ts AT TIME ZONE 'Europe/Berlin' FROM events WHERE ts AT TIME ZONE 'Europe/Berlin' > "
     "'2026-01-01'",
     "Project | Output: timezone('Europe/Berlin', ts) | Filter | Condition: "
     "timezone('Europe/Berlin', ts) > '2026-01-01 00:00:00' | Scan on events | Columns: ts"},
    {"SELECT count(*) FROM events WHERE ts > $1::timestamptz - $2::interval",
     "Aggregate | Compute: count(*) | Scan on events | Time: ts > $1 - $2"},
    {"SELECT count(*) FROM events WHERE path IN ($1, $2) AND status = $3 AND country = $4",
     "Aggregate | Compute: count(*) | Filter | Condition: path IN ($1, $2) AND (status = $3) AND "
     "(country = $4) | Scan on events | Columns: path, status, country | Bounds: path IN ($1, $2) "
     "AND status = $3 AND country = $4"},
    {"EXPLAIN SELECT path FROM events WHERE path = 'x'",
     "Project | Output: path | Filter | Condition: path = 'x' | Scan on events | Columns: path | "
     "Bounds: path = 'x'"},
    {"SELECT a, sum(b) FROM (SELECT path AS a, bytes AS b, ts FROM events WHERE merchant_id = 5) q "
     "WHERE ts > '2026-01-01' AND a LIKE '/x%' GROUP BY a",
     "Aggregate | Group Key: path | Compute: sum(bytes) | Filter | Condition: path LIKE '/x%' | "
     "Scan on events | Columns: path, bytes | Merchants: merchant_id = 5 | Time: ts > '2026-01-01 "
     "00:00:00+00' | Bounds: path >= '/x' AND path < '/y'"},
    {"SELECT * FROM (SELECT * FROM events WHERE status = 200) virtual_table WHERE country = 'DE' "
     "LIMIT 10",
     "Limit | Rows: 10 | Project | Output: merchant_id, ts, event_name, visitor_id, session_id, "
     "path, referrer, country, browser, status, bytes, duration_ms, revenue, score, is_bot, day, "
     "local_ts, \"Mixed Case\" | Filter | Condition: (status = 200) AND (country = 'DE') | Scan on "
     "events | Columns: status, merchant_id, ts, event_name, visitor_id, session_id, path, "
     "referrer, country, browser, bytes, duration_ms, revenue, score, is_bot, day, local_ts, "
     "\"Mixed Case\" | Bounds: status = 200 AND country = 'DE'"},
    {"SELECT d, count(*) FROM (SELECT date_trunc('day', ts) AS d, x.status + 1 AS s FROM events x) "
     "q WHERE s > 201 GROUP BY d ORDER BY d",
     "Sort | Sort Key: date_trunc('day', ts) | Aggregate | Group Key: date_trunc('day', ts) | "
     "Compute: count(*) | Filter | Condition: (status + 1) > 201 | Scan on events | Columns: ts, "
     "status"},
    {"SELECT x + 1 FROM (SELECT a + 1 AS x FROM (SELECT a FROM small WHERE b = 'k') p WHERE a > 2) "
     "q WHERE x > 3",
     "Project | Output: (a + 1) + 1 | Filter | Condition: (b = 'k') AND (a > 2) AND ((a + 1) > 3) "
     "| Scan on small | Columns: a, b | Bounds: b = 'k' AND a > 2"},
    {"SELECT q.path FROM (SELECT e.path FROM events e) q",
     "Project | Output: path | Scan on events | Columns: path"},
    {"SELECT k FROM (SELECT props['k'] AS k, 'lit' AS l, $1 AS p FROM events) q WHERE k = 'x' AND "
     "l = 'lit' AND p = 'y'",
     "Project | Output: props['k'] | Filter | Condition: (props['k'] = 'x') AND ($1 = 'y') | Scan "
     "on events | Columns: props['k'] | Bounds: props['k'] = 'x'"},
    {"SELECT z FROM (SELECT z FROM (SELECT z FROM (SELECT z FROM (SELECT z FROM (SELECT status AS "
     "z FROM events) a) b) c) d) e WHERE z = 1",
     "Project | Output: status | Filter | Condition: status = 1 | Scan on events | Columns: "
     "status | Bounds: status = 1"},
    {"SELECT c FROM (SELECT count(*) AS c FROM events) q WHERE c > 1",
     "Filter | Condition: count(*) > 1 | Aggregate | Compute: count(*) | Scan on events"},
    {"SELECT p FROM (SELECT path AS p FROM events ORDER BY ts) q",
     "Project | Output: path | Sort | Sort Key: ts | Project | Output: path, ts | Scan on events | "
     "Columns: path, ts"},
    {"SELECT concat(path, is_bot, true), is_bot || 'x' FROM events",
     "Project | Output: concat(path, left(is_bot::TEXT, 1), 't'), is_bot::TEXT || 'x' | Scan on "
     "events | Columns: path, is_bot"},
};

/* Each node has one child, so the indent says nothing that the order does not. */
static void flatten(const struct tl_buffer *text, struct tl_buffer *out)
{
    for (size_t i = 0; i < text->size; i++) {
        while (i < text->size && text->data[i] == ' ')
            i++;
        if (i + 4 <= text->size && memcmp(text->data + i, "->  ", 4) == 0)
            i += 4;
        if (out->size > 0)
            tl_buffer_put(out, " | ", 3);
        for (; i < text->size && text->data[i] != '\n'; i++)
            tl_buffer_put_u8(out, text->data[i]);
    }
    tl_buffer_put_u8(out, 0);
}

static struct tl_plan *plan_of(const char *sql)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan = NULL;
    if (tl_plan_new(&fake_catalog, tl_slice_str(sql), NULL, &plan, &st))
        fail_msg("%s: %s at %d: %s", sql, tl_status_sqlstate(&st), st.position, st.text);
    return plan;
}

static void plans_as_text(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(planneds) / sizeof(planneds[0]); i++) {
        struct tl_plan *plan = plan_of(planneds[i].sql);
        struct tl_buffer text, flat;
        tl_buffer_init(&text, "plan", 1 << 20);
        tl_buffer_init(&flat, "flat plan", 1 << 20);
        tl_plan_print(plan, &text);
        flatten(&text, &flat);
        if (strcmp((const char *)flat.data, planneds[i].lines) != 0) {
            print_error("%s\n  got      %s\n  expected %s\n", planneds[i].sql, (char *)flat.data,
                        planneds[i].lines);
            wrong++;
        }
        tl_buffer_deinit(&flat);
        tl_buffer_deinit(&text);
        tl_plan_free(plan);
    }
    assert_int_equal(wrong, 0);
}

static void conjuncts_know_their_bounds(void **state)
{
    (void)state;
    struct tl_plan *plan =
        plan_of("SELECT path FROM events WHERE path LIKE 'a%' AND status = 200 AND bytes > status "
                "AND country IN ('DE', NULL) AND ts > '2026-01-01' AND merchant_id = 9");
    const struct tl_plan_node *filter = plan->root->child;
    assert_int_equal(filter->kind, TL_NODE_FILTER);
    const struct tl_plan_node *scan = filter->child;
    assert_int_equal(scan->kind, TL_NODE_SCAN);
    assert_int_equal(scan->table_id, 7);
    assert_int_equal(scan->column_count, 4); /* path, status, bytes, country */
    assert_int_equal(scan->ts_column, -1);
    assert_int_equal(scan->merchant_column, -1);
    assert_int_equal(scan->bound_count, 4); /* two of LIKE */
    assert_int_equal(filter->conjunct_count, 4);
    static const int bounds[] = {2, 3, -1, -1};
    for (int i = 0; i < 4; i++)
        assert_int_equal(filter->conjunct_bound[i], bounds[i]);
    assert_int_equal(scan->bounds[2].op, TL_PRED_EQ);
    assert_string_equal(scan->scan_names[scan->bounds[2].column], "status");
    assert_int_equal(scan->scan_columns[scan->bounds[2].column].column_id, 10);
    assert_int_equal(scan->bounds[3].op, TL_PRED_IN);
    assert_int_equal(scan->bounds[3].value_count, 1);
    assert_int_equal(scan->merchant_bounds[0].values[0]->type.kind, TL_BIGINT);
    assert_int_equal(scan->ts_bounds[0].values[0]->type.kind, TL_TIMESTAMPTZ);
    tl_plan_free(plan);

    plan = plan_of("SELECT merchant_id, ts FROM events");
    scan = plan->root->child;
    assert_int_equal(scan->merchant_column, 0);
    assert_int_equal(scan->ts_column, 1);
    tl_plan_free(plan);
}

static void no_more_bounds_than_the_source_takes(void **state)
{
    (void)state;
    struct tl_buffer sql;
    tl_buffer_init(&sql, "statement", 1 << 20);
    tl_buffer_printf(&sql, "SELECT count(*) FROM events WHERE status <> 0");
    for (int i = 1; i < 60; i++)
        tl_buffer_printf(&sql, " AND status <> %d AND path LIKE 'p%d%%'", i, i);
    tl_buffer_put_u8(&sql, 0);
    struct tl_plan *plan = plan_of((const char *)sql.data);
    const struct tl_plan_node *filter = plan->root->child;
    assert_int_equal(filter->conjunct_count, 119);
    assert_int_equal(filter->child->bound_count, TL_SCAN_PREDICATES_MAX);
    tl_plan_free(plan);
    tl_buffer_deinit(&sql);
}

static void count_note(void *arg, const struct tl_plan_node *node, uint32_t indent,
                       struct tl_buffer *out)
{
    (*(uint32_t *)arg)++;
    tl_buffer_printf(out, "%*snode of kind %u\n", (int)indent, "", node->kind);
}

static void notes_follow_each_node(void **state)
{
    (void)state;
    struct tl_plan *plan = plan_of("SELECT path FROM events WHERE path = 'x' ORDER BY 1");
    struct tl_buffer text;
    uint32_t notes = 0;
    tl_buffer_init(&text, "plan", 1 << 16);
    tl_plan_print_nodes(plan, count_note, &notes, &text);
    tl_buffer_put_u8(&text, 0);
    assert_int_equal(notes, 4);
    assert_non_null(strstr((const char *)text.data, "        node of kind"));
    tl_buffer_deinit(&text);

    /* A buffer that is too small ends the text; nothing else happens. */
    tl_buffer_init(&text, "plan", 20);
    tl_plan_print(plan, &text);
    assert_true(text.failed);
    tl_buffer_deinit(&text);
    tl_plan_free(plan);
}

/* Each level writes the column below it twice: the text doubles with each, the plan does not. */
static void texts_that_double_end_at_the_limit(void **state)
{
    (void)state;
    struct tl_buffer sql;
    tl_buffer_init(&sql, "statement", 1 << 16);
    for (int i = 0; i < 30; i++)
        tl_buffer_printf(&sql, "SELECT a + a AS a, count(*) AS c FROM (");
    tl_buffer_printf(&sql, "SELECT status AS a FROM events");
    for (int i = 0; i < 30; i++)
        tl_buffer_printf(&sql, ") q GROUP BY 1");
    tl_buffer_put_u8(&sql, 0);
    struct tl_plan *plan = plan_of((const char *)sql.data);
    struct tl_buffer text;
    tl_buffer_init(&text, "plan", 1 << 20);
    tl_plan_print(plan, &text);
    assert_true(text.failed);
    tl_buffer_deinit(&text);
    tl_buffer_deinit(&sql);
    tl_plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_as_text),
        cmocka_unit_test(conjuncts_know_their_bounds),
        cmocka_unit_test(no_more_bounds_than_the_source_takes),
        cmocka_unit_test(notes_follow_each_node),
        cmocka_unit_test(texts_that_double_end_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
