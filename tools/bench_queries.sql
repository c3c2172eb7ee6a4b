-- The questions of tools/bench: each in Tally's dialect, in DuckDB's, and in ClickHouse's where that
-- is not DuckDB's with intDiv() for //, over the same rows.
-- A line '-- NAME kind' begins a question; 'dashboard' ones are asked for a big, a middle and a
-- tiny merchant with all threads, 'scan' ones over all rows with one thread. {M} is the merchant,
-- {A} … {NOW} are times: {NOW} the end of the data, {H} five minutes before, {D} a day before, {W}
-- a week, {MONTH} 30 days. In DuckDB ts is milliseconds and the ids are UBIGINT. The columns of
-- both answers are compared, times as milliseconds; those of 'estimate' questions to 5 %.

-- Q1 dashboard hourly views and visitors, 24 h
-- tally
SELECT date_trunc('hour', ts) AS h, count(*) FILTER (WHERE event_name = 'pageview') AS pv, count(DISTINCT visitor_id) AS uv FROM events WHERE merchant_id = {M} AND ts >= {D} AND ts < {NOW} GROUP BY 1 ORDER BY 1
-- duckdb
SELECT ts//3600000*3600000 AS h, count(*) FILTER (WHERE event_name='pageview') AS pv, count(DISTINCT visitor_id) AS uv FROM events WHERE merchant_id={M} AND ts>={D} AND ts<{NOW} GROUP BY h ORDER BY h

-- Q2 dashboard daily views, visitors, sessions, 30 d
-- tally
SELECT date_trunc('day', ts) AS d, count(*) FILTER (WHERE event_name = 'pageview') AS pv, count(DISTINCT visitor_id) AS uv, count(DISTINCT session_id) AS se FROM events WHERE merchant_id = {M} AND ts >= {MONTH} AND ts < {NOW} GROUP BY 1 ORDER BY 1
-- duckdb
SELECT ts//86400000*86400000 AS d, count(*) FILTER (WHERE event_name='pageview') AS pv, count(DISTINCT visitor_id) AS uv, count(DISTINCT session_id) AS se FROM events WHERE merchant_id={M} AND ts>={MONTH} AND ts<{NOW} GROUP BY d ORDER BY d

-- Q3 dashboard top 10 paths, 7 d
-- tally
SELECT path, count(*) AS c FROM events WHERE merchant_id = {M} AND ts >= {W} AND ts < {NOW} AND event_name = 'pageview' GROUP BY path ORDER BY c DESC, path LIMIT 10
-- duckdb
SELECT path, count(*) AS c FROM events WHERE merchant_id={M} AND ts>={W} AND ts<{NOW} AND event_name='pageview' GROUP BY path ORDER BY c DESC, path LIMIT 10

-- Q4 dashboard top 10 referrers with visitors, 30 d
-- tally
SELECT referrer, count(*) AS c, count(DISTINCT visitor_id) AS uv FROM events WHERE merchant_id = {M} AND ts >= {MONTH} AND ts < {NOW} AND referrer <> '' GROUP BY referrer ORDER BY c DESC, referrer LIMIT 10
-- duckdb
SELECT referrer, count(*) AS c, count(DISTINCT visitor_id) AS uv FROM events WHERE merchant_id={M} AND ts>={MONTH} AND ts<{NOW} AND referrer<>'' GROUP BY referrer ORDER BY c DESC, referrer LIMIT 10

-- Q5 dashboard country x device, 7 d
-- tally
SELECT country, device, count(*) AS c FROM events WHERE merchant_id = {M} AND ts >= {W} AND ts < {NOW} GROUP BY country, device ORDER BY c DESC, country, device
-- duckdb
SELECT country, device, count(*) AS c FROM events WHERE merchant_id={M} AND ts>={W} AND ts<{NOW} GROUP BY country, device ORDER BY c DESC, country, device

-- Q6 dashboard revenue and conversion by utm_source per day, 30 d
-- tally
SELECT date_trunc('day', ts) AS d, utm_source, sum(revenue) AS rev, (count(DISTINCT session_id) FILTER (WHERE event_name = 'purchase'))::double precision / count(DISTINCT session_id) AS conv FROM events WHERE merchant_id = {M} AND ts >= {MONTH} AND ts < {NOW} GROUP BY 1, 2 ORDER BY 1, 2
-- duckdb
SELECT ts//86400000*86400000 AS d, utm_source, sum(revenue) AS rev, count(DISTINCT session_id) FILTER (WHERE event_name='purchase')/count(DISTINCT session_id) AS conv FROM events WHERE merchant_id={M} AND ts>={MONTH} AND ts<{NOW} GROUP BY d, utm_source ORDER BY d, utm_source

-- Q7 dashboard p50, p95, p99 of duration per hour, 24 h
-- tally
SELECT date_trunc('hour', ts) AS h, percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ms) FROM events WHERE merchant_id = {M} AND ts >= {D} AND ts < {NOW} GROUP BY 1 ORDER BY 1
-- duckdb
SELECT h, q[1], q[2], q[3] FROM (SELECT ts//3600000*3600000 AS h, quantile_disc(duration_ms,[0.5,0.95,0.99]) AS q FROM events WHERE merchant_id={M} AND ts>={D} AND ts<{NOW} GROUP BY h) ORDER BY h
-- clickhouse
SELECT ts//3600000*3600000 AS h, quantilesExact(0.5,0.95,0.99)(duration_ms) AS q FROM events WHERE merchant_id={M} AND ts>={D} AND ts<{NOW} GROUP BY h ORDER BY h

-- Q8 dashboard realtime: last 5 min by path
-- tally
SELECT path, count(*) AS c FROM events WHERE merchant_id = {M} AND ts >= {H} AND ts < {NOW} GROUP BY path ORDER BY c DESC, path LIMIT 20
-- duckdb
SELECT path, count(*) AS c FROM events WHERE merchant_id={M} AND ts>={H} AND ts<{NOW} GROUP BY path ORDER BY c DESC, path LIMIT 20

-- Q9 dashboard funnel of pageview, add_to_cart and purchase in a session, visitors, 7 d
-- tally
SELECT count(DISTINCT visitor_id) FILTER (WHERE a IS NOT NULL) AS s1, count(DISTINCT visitor_id) FILTER (WHERE b > a) AS s2, count(DISTINCT visitor_id) FILTER (WHERE b > a AND c > b0) AS s3 FROM (SELECT session_id, any_value(visitor_id) AS visitor_id, min(ts) FILTER (WHERE event_name = 'pageview') AS a, max(ts) FILTER (WHERE event_name = 'add_to_cart') AS b, min(ts) FILTER (WHERE event_name = 'add_to_cart') AS b0, max(ts) FILTER (WHERE event_name = 'purchase') AS c FROM events WHERE merchant_id = {M} AND ts >= {W} AND ts < {NOW} GROUP BY session_id) AS s
-- duckdb
SELECT count(DISTINCT visitor_id) FILTER (WHERE a IS NOT NULL) AS s1, count(DISTINCT visitor_id) FILTER (WHERE b>a) AS s2, count(DISTINCT visitor_id) FILTER (WHERE b>a AND c>b0) AS s3 FROM (SELECT session_id, any_value(visitor_id) AS visitor_id, min(ts) FILTER (WHERE event_name='pageview') AS a, max(ts) FILTER (WHERE event_name='add_to_cart') AS b, min(ts) FILTER (WHERE event_name='add_to_cart') AS b0, max(ts) FILTER (WHERE event_name='purchase') AS c FROM events WHERE merchant_id={M} AND ts>={W} AND ts<{NOW} GROUP BY session_id)
-- clickhouse
SELECT uniqExactIf(visitor, a IS NOT NULL) AS s1, uniqExactIf(visitor, b>a) AS s2, uniqExactIf(visitor, b>a AND c>b0) AS s3 FROM (SELECT session_id, any(visitor_id) AS visitor, minOrNullIf(ts, event_name='pageview') AS a, maxOrNullIf(ts, event_name='add_to_cart') AS b, minOrNullIf(ts, event_name='add_to_cart') AS b0, maxOrNullIf(ts, event_name='purchase') AS c FROM events WHERE merchant_id={M} AND ts>={W} AND ts<{NOW} GROUP BY session_id)

-- Q10 dashboard weekly retention, 30 d
-- tally
SELECT c, (extract(epoch FROM w - c) / 604800)::bigint AS k, count(*) AS n FROM (SELECT visitor_id, min(time_bucket('7 days', ts, TIMESTAMPTZ '1970-01-01 00:00:00+00')) AS c FROM events WHERE merchant_id = {M} AND ts >= {MONTH} AND ts < {NOW} GROUP BY 1) AS f JOIN (SELECT DISTINCT visitor_id, time_bucket('7 days', ts, TIMESTAMPTZ '1970-01-01 00:00:00+00') AS w FROM events WHERE merchant_id = {M} AND ts >= {MONTH} AND ts < {NOW}) AS v ON f.visitor_id = v.visitor_id GROUP BY c, w ORDER BY c, w
-- duckdb
SELECT c*604800000, w-c AS k, count(*) AS n FROM (SELECT c, unnest(ws) AS w FROM (SELECT visitor_id, min(ts//604800000) AS c, list(DISTINCT ts//604800000) AS ws FROM events WHERE merchant_id={M} AND ts>={MONTH} AND ts<{NOW} GROUP BY visitor_id)) GROUP BY c, k ORDER BY c, k
-- clickhouse
SELECT c*604800000, w-c AS k, count(*) AS n FROM (SELECT c, arrayJoin(ws) AS w FROM (SELECT visitor_id, min(ts//604800000) AS c, groupUniqArray(ts//604800000) AS ws FROM events WHERE merchant_id={M} AND ts>={MONTH} AND ts<{NOW} GROUP BY visitor_id)) GROUP BY c, k ORDER BY c, k

-- S1 scan count and revenue by day
-- tally
SELECT date_trunc('day', ts) AS d, count(*) AS c, sum(revenue) AS r FROM events GROUP BY 1 ORDER BY 1
-- duckdb
SELECT ts//86400000*86400000 AS d, count(*) AS c, sum(revenue) AS r FROM events GROUP BY d ORDER BY d

-- S2 scan top 100 merchants by pageviews
-- tally
SELECT merchant_id, count(*) AS c FROM events WHERE event_name = 'pageview' GROUP BY merchant_id ORDER BY c DESC, merchant_id LIMIT 100
-- duckdb
SELECT merchant_id, count(*) AS c FROM events WHERE event_name='pageview' GROUP BY merchant_id ORDER BY c DESC, merchant_id LIMIT 100

-- S3 scan distinct visitors (exact)
-- tally
SELECT count(DISTINCT visitor_id) FROM events
-- duckdb
SELECT count(DISTINCT visitor_id) FROM events

-- S3a scan estimate of distinct visitors
-- tally
SELECT approx_distinct(visitor_id) FROM events
-- duckdb
SELECT approx_count_distinct(visitor_id) FROM events
-- clickhouse
SELECT uniq(visitor_id) FROM events

-- S4 scan browser x os x country
-- tally
SELECT browser, os, country, count(*) AS c FROM events GROUP BY browser, os, country ORDER BY c DESC, browser, os, country LIMIT 50
-- duckdb
SELECT browser, os, country, count(*) AS c FROM events GROUP BY browser, os, country ORDER BY c DESC, browser, os, country LIMIT 50

-- S5 scan path LIKE '%shirt%'
-- tally
SELECT count(*) FROM events WHERE path LIKE '%shirt%'
-- duckdb
SELECT count(*) FROM events WHERE path LIKE '%shirt%'

-- S6 scan p99 of duration by country
-- tally
SELECT country, percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ms) AS q FROM events GROUP BY country ORDER BY country
-- duckdb
SELECT country, quantile_disc(duration_ms, 0.99) AS q FROM events GROUP BY country ORDER BY country
-- clickhouse
SELECT country, quantileExact(0.99)(duration_ms) AS q FROM events GROUP BY country ORDER BY country
