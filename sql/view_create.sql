-- Proves which shapes of query a continuous view takes, over a table and over a stream, and that each equals its query.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set ECHO all

SELECT feed('ev_stream', series(20), 20);

-- keys: none, one, expressions, ordinals, aliases, keys that are not shown
CREATE MATERIALIZED VIEW no_key WITH (tidemark.continuous) AS SELECT count(*), sum(x) FROM ev;
CREATE MATERIALIZED VIEW one_key WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW expression_key WITH (tidemark.continuous) AS
    SELECT upper(name) AS u, k % 2 = 0 AS even, count(*) FROM ev GROUP BY upper(name), k % 2 = 0;
CREATE MATERIALIZED VIEW ordinal_key WITH (tidemark.continuous) AS SELECT k + 1, upper(name) || '!' AS b, count(*) FROM ev GROUP BY 1, b;
CREATE MATERIALIZED VIEW hidden_key WITH (tidemark.continuous) AS SELECT count(*) FROM ev GROUP BY k, name;
CREATE MATERIALIZED VIEW same_key_twice WITH (tidemark.continuous) AS SELECT k, k AS again, count(*) FROM ev GROUP BY k, k;
CREATE MATERIALIZED VIEW constant_key WITH (tidemark.continuous) AS SELECT 'all'::text AS what, count(*) FROM ev GROUP BY what;
CREATE MATERIALIZED VIEW constant_and_key WITH (tidemark.continuous) AS SELECT 'all'::text AS what, k, 'all' || k AS both, count(*) FROM ev GROUP BY what, k;
CREATE MATERIALIZED VIEW only_keys WITH (tidemark.continuous) AS SELECT k, name FROM ev GROUP BY k, name;
CREATE MATERIALIZED VIEW no_outputs_of_key WITH (tidemark.continuous) AS SELECT 1 AS one FROM ev GROUP BY k;

-- expressions over keys and aggregates
CREATE MATERIALIZED VIEW over_both WITH (tidemark.continuous) AS
    SELECT k * 2 AS k2, sum(x) + k AS s, CASE WHEN count(*) > 3 THEN 'many' ELSE 'few' END AS c,
           coalesce(max(n), 0) AS m, (sum(n) / nullif(count(n), 0))::numeric(12,3) AS mean, sum(x) IS NULL AS none,
           ARRAY[min(x), max(x)] AS range, ROW(k, count(*))::text AS r
      FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW key_in_aggregate WITH (tidemark.continuous) AS SELECT k, sum(k), sum(k * x) AS kx, max(k + 1) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW nested_key WITH (tidemark.continuous) AS SELECT abs(k), abs(k) + 1 AS b, abs(abs(k)) AS c, count(*) FROM ev GROUP BY abs(k);

-- WHERE, FILTER, HAVING
CREATE MATERIALIZED VIEW with_where WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev WHERE x > 100 AND name <> 'a' GROUP BY k;
CREATE MATERIALIZED VIEW with_filter WITH (tidemark.continuous) AS
    SELECT k, count(*) FILTER (WHERE ok), count(*) FILTER (WHERE NOT ok) AS not_ok, sum(x) FILTER (WHERE name = 'a') AS a, sum(x) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW with_having WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k HAVING sum(x) > 300 AND k > 0;
CREATE MATERIALIZED VIEW having_without_key WITH (tidemark.continuous) AS SELECT sum(x) FROM ev HAVING count(*) > 25;
CREATE MATERIALIZED VIEW having_only WITH (tidemark.continuous) AS SELECT FROM ev HAVING count(*) > 25;
CREATE MATERIALIZED VIEW where_false WITH (tidemark.continuous) AS SELECT count(*), max(x) FROM ev WHERE false;
CREATE MATERIALIZED VIEW where_false_key WITH (tidemark.continuous) AS SELECT k, count(*), max(x) FROM ev WHERE false GROUP BY k;
CREATE MATERIALIZED VIEW having_true WITH (tidemark.continuous) AS SELECT count(*) FROM ev HAVING true;

-- windows: both bounds, one bound, other order, named arguments, zone, the key as expression
CREATE MATERIALIZED VIEW w_both WITH (tidemark.continuous) AS
    SELECT window_start, window_end, k, count(*) FROM ev, tidemark.tumble(ev.at, '10 min') GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW w_start WITH (tidemark.continuous) AS
    SELECT window_start, count(*) FROM ev, tidemark.tumble(at, '10 min') GROUP BY window_start;
CREATE MATERIALIZED VIEW w_end WITH (tidemark.continuous) AS
    SELECT w.window_end, max(x) FROM ev e, LATERAL tidemark.tumble(e.at, '10 min') AS w GROUP BY w.window_end;
CREATE MATERIALIZED VIEW w_renamed WITH (tidemark.continuous) AS
    SELECT b AS until, a AS since, count(*), b - a AS length FROM ev CROSS JOIN LATERAL tidemark.tumble(timezone => 'Europe/Berlin', size => '1 day', ts => at) AS w(a, b) GROUP BY b, a;
CREATE MATERIALIZED VIEW w_origin WITH (tidemark.continuous) AS
    SELECT window_start, window_end, count(*) FROM ev, tidemark.tumble(at, '7 min', '2026-01-01 00:02Z') GROUP BY 1, 2 HAVING window_end > '2026-01-01 00:09Z';
CREATE MATERIALIZED VIEW w_varying WITH (tidemark.continuous) AS
    SELECT window_start, window_end, count(*) FROM ev, tidemark.tumble(at, make_interval(mins => 5 + coalesce(k, 0))) GROUP BY 1, 2;
CREATE MATERIALIZED VIEW w_two WITH (tidemark.continuous) AS
    SELECT a.window_start AS a, b.window_start AS b, b.window_end, count(*) FROM ev, tidemark.tumble(at, '30 min') a, tidemark.tumble(at, '10 min') b GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW w_timestamp WITH (tidemark.continuous) AS
    SELECT window_start, window_end, count(*) FROM ev, tidemark.tumble(ev.at AT TIME ZONE 'UTC', '1 h') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW w_trunc WITH (tidemark.continuous) AS
    SELECT date_trunc('hour', at, 'UTC') AS h, date_bin('5 min', at, '2000-01-01Z') AS m, count(*) FROM ev GROUP BY 1, 2;

-- FROM: aliases, column aliases, subquery and VALUES per row, functions per row, schema-qualified
CREATE MATERIALIZED VIEW aliased WITH (tidemark.continuous) AS SELECT a, count(c) FROM public.ev AS e(a, b, c) GROUP BY a;
CREATE MATERIALIZED VIEW lateral_subquery WITH (tidemark.continuous) AS
    SELECT y, count(*) FROM ev, LATERAL (SELECT x % 3 AS y) s GROUP BY y;
CREATE MATERIALIZED VIEW with_values WITH (tidemark.continuous) AS
    SELECT v, count(*), sum(x * v) FROM ev, (VALUES (1), (2)) AS t(v) GROUP BY v;
CREATE MATERIALIZED VIEW with_series WITH (tidemark.continuous) AS
    SELECT g, count(*) FROM ev, generate_series(1, k) AS g GROUP BY g;
CREATE MATERIALIZED VIEW with_unnest WITH (tidemark.continuous) AS
    SELECT u, count(*) FROM ev LEFT JOIN LATERAL unnest(ARRAY[k, k + 1]) AS u ON u > 2 GROUP BY u;

-- over the stream, without and with a table beside it
CREATE MATERIALIZED VIEW s_key WITH (tidemark.continuous) AS
    SELECT k, count(*), sum(x), avg(f) FROM ev_stream GROUP BY k;
CREATE MATERIALIZED VIEW s_window WITH (tidemark.continuous) AS
    SELECT window_start, window_end, count(*) FROM ev_stream, tidemark.tumble(at, '15 min') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW s_none WITH (tidemark.continuous) AS SELECT count(*), min(name) FROM ev_stream WHERE name > 'a';

-- history, then batches of 1, 7 and many
SELECT * FROM check_all(1e-9);
SELECT feed('ev_stream', series(9, 21), 1);
SELECT * FROM check_all(1e-9);
SELECT feed('ev_stream', series(30, 30), 7);
SELECT * FROM check_all(1e-9);
SELECT feed('ev_stream', series(1000, 60), 1000);
SELECT * FROM check_all(1e-9);
SELECT count(*) AS views, count(*) FILTER (WHERE state = 'live') AS live FROM tidemark_state.view;
SELECT * FROM no_key;
SELECT * FROM with_filter ORDER BY k;
SELECT * FROM w_both WHERE k = 1 ORDER BY window_start;

-- windows with a constant size store one bound only, and the planner uses it
SELECT v.view, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
  FROM tidemark_state.view v JOIN pg_attribute a ON a.attrelid = v.state_table AND a.attnum > 0
 WHERE v.view::text LIKE 'w\_%' GROUP BY v.view ORDER BY v.view::text;
SET enable_seqscan = off;
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        RETURN NEXT regexp_replace(regexp_replace(line, 's_\d+', 's_n', 'g'), 's_n_g[a-z0-9_]+_key', 's_n_key');
    END LOOP;
END $$;
SELECT plan_of('SELECT * FROM w_both WHERE window_start = ''2026-01-01Z'' AND k = 1');
SELECT plan_of('SELECT * FROM one_key WHERE k IN (1, 3)');
RESET enable_seqscan;

-- over an empty source: a view without keys has its row from CREATE on, others none
CREATE FOREIGN TABLE quiet_stream (k int, x int) SERVER m OPTIONS (topic 'quiet');
CREATE TABLE quiet (LIKE quiet_stream);
CREATE MATERIALIZED VIEW q_stream WITH (tidemark.continuous) AS SELECT count(*), sum(x), avg(x), bool_and(x > 0) FROM quiet_stream;
CREATE MATERIALIZED VIEW q_stream_k WITH (tidemark.continuous) AS SELECT k, count(*) FROM quiet_stream GROUP BY k;
CREATE MATERIALIZED VIEW q_table WITH (tidemark.continuous) AS SELECT count(*), sum(x), stddev(x) FROM quiet;
-- said once for a table, not for its second view
CREATE MATERIALIZED VIEW q_table_k WITH (tidemark.continuous) AS SELECT k, count(*) FROM quiet GROUP BY k;
SELECT * FROM q_stream;
SELECT * FROM q_stream_k;
SELECT * FROM q_table;
SELECT * FROM check_all(1e-9);
-- the table's ingest may start after the view
SELECT tidemark.inject('quiet_stream', '{"k":1,"x":5}');
SELECT * FROM q_stream;
SELECT * FROM check_all(1e-9);

-- NO DATA: not populated, until REFRESH or resume
CREATE MATERIALIZED VIEW later WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k WITH NO DATA;
SELECT * FROM later;
SELECT state, progress, reason, hint FROM tidemark.views WHERE view = 'later'::regclass;
SET tidemark.read_unpopulated = on;
SELECT * FROM later;
RESET tidemark.read_unpopulated;
SELECT feed('ev_stream', series(5, 2000), 5);
REFRESH MATERIALIZED VIEW later;
SELECT * FROM check_view('later');
CREATE MATERIALIZED VIEW later_s WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev_stream GROUP BY k WITH NO DATA;
SELECT * FROM later_s;
SELECT tidemark.resume('later_s');
SELECT * FROM check_view('later_s');
SELECT feed('ev_stream', series(5, 2005), 2);
SELECT * FROM check_all(1e-9);
-- REFRESH of a live view changes nothing
REFRESH MATERIALIZED VIEW later;
REFRESH MATERIALIZED VIEW CONCURRENTLY one_key;
SELECT * FROM check_all(1e-9);

-- start_at: the query over the rows from there on
CREATE MATERIALIZED VIEW from_latest WITH (tidemark.continuous, tidemark.start_at = 'latest') AS SELECT count(*) FROM ev_stream;
CREATE MATERIALIZED VIEW from_map WITH (tidemark.continuous, tidemark.start_at = '{"0": 1072}') AS SELECT count(*) FROM ev_stream;
SELECT * FROM from_latest, from_map f(mapped);
SELECT feed('ev_stream', series(3, 3000), 1);
SELECT * FROM from_latest, from_map f(mapped);

-- several partitions
SELECT feed('ev_stream', series(40, 4000), 3, partition => 1);
SELECT feed('ev_stream', series(40, 5000), 40, partition => 7);
DROP MATERIALIZED VIEW from_latest, from_map;
SELECT * FROM check_all(1e-9);

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, quiet;
DROP FUNCTION check_view, check_all, feed, series, plan_of;
