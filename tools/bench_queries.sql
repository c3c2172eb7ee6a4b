-- The questions of tools/bench: each in Tally's dialect and in DuckDB's, over the same rows.
-- A line '-- NAME kind' begins a question; 'dashboard' ones are asked for a big, a middle and a
-- tiny merchant with all threads, 'scan' ones over all rows with one thread. {M} is the merchant,
-- {A} … {NOW} are times: {NOW} the end of the data, {H} five minutes before, {D} a day before, {W}
-- a week, {MONTH} 30 days. In DuckDB ts is milliseconds and the ids are UBIGINT. The columns of
-- both answers are compared, times as milliseconds.

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

-- Q8 dashboard realtime: last 5 min by path
-- tally
SELECT path, count(*) AS c FROM events WHERE merchant_id = {M} AND ts >= {H} AND ts < {NOW} GROUP BY path ORDER BY c DESC, path LIMIT 20
-- duckdb
SELECT path, count(*) AS c FROM events WHERE merchant_id={M} AND ts>={H} AND ts<{NOW} GROUP BY path ORDER BY c DESC, path LIMIT 20

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
