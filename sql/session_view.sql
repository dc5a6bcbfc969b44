-- Proves continuous views over session windows: growing, bridging, keys of all kinds, history, and that a batch writes only the sessions it touches.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
-- messages of one key at some seconds
CREATE FUNCTION at_seconds(key int, VARIADIC seconds numeric[]) RETURNS text[] LANGUAGE sql AS
$$ SELECT array_agg(json_build_object('k', key, 'name', 'n' || key, 'x', 1, 'n', key, 'at', timestamptz '2026-01-01Z' + s * interval '1 s')::text) FROM unnest(seconds) s $$;
-- what this transaction has done to the rows of a view
CREATE FUNCTION written(view regclass) RETURNS TABLE (inserted bigint, updated bigint, in_place bigint, deleted bigint) LANGUAGE sql AS
$$
    SELECT pg_stat_get_xact_tuples_inserted(state_table), pg_stat_get_xact_tuples_updated(state_table),
           pg_stat_get_xact_tuples_hot_updated(state_table), pg_stat_get_xact_tuples_deleted(state_table)
      FROM tidemark_state.view v WHERE v.view = $1
$$;
-- counts of transactions are taken over by their session's end, or now
\set count_anew 'DO $$ BEGIN PERFORM pg_stat_force_next_flush(); END $$;'
\set ECHO all

CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS
  SELECT k, session_start, session_end, count(*), sum(x)
    FROM (SELECT k, x, tidemark.session_start(at, '10 s') OVER w AS session_start, tidemark.session_end(at, '10 s') OVER w AS session_end
            FROM ev WHERE x > 0 WINDOW w AS (PARTITION BY k ORDER BY at)) s
   GROUP BY k, session_start, session_end;
-- the query is kept as it was written; both bounds are stored
CREATE MATERIALIZED VIEW short WITH (tidemark.continuous) AS
  WITH s AS (SELECT *, tidemark.session_end(at, '10 s') OVER (PARTITION BY k, lower(name) ORDER BY at), lower(name) AS who FROM ev_stream)
  SELECT who, count(*) FILTER (WHERE x > 0) AS positive, session_end AS until, k FROM s GROUP BY k, who, session_end HAVING count(*) > 1;
SELECT regexp_replace(pg_get_viewdef(query_view), '\m(s|ev_stream)\.', '', 'g') AS query FROM tidemark_state.view WHERE view = 'short'::regclass;
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = (SELECT state_table FROM tidemark_state.view WHERE view = 'short'::regclass) AND attnum > 0 ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = (SELECT state_table FROM tidemark_state.view WHERE view = 'short'::regclass);

-- a session begins, grows in place, and grows backwards
:count_anew
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(1, 100, 105));
TABLE v;
SELECT * FROM written('v');
COMMIT;
:count_anew
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(1, 103, 115));
TABLE v;
SELECT * FROM written('v');
COMMIT;
:count_anew
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(1, 90));
TABLE v;
SELECT * FROM written('v');
COMMIT;
-- a distance of the gap is the same session, a microsecond more is not
SELECT tidemark.inject('ev_stream', at_seconds(1, 79.999999, 125.000001));
SELECT * FROM v ORDER BY session_start;
-- one row bridges two sessions: one is left, written in place
:count_anew
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(1, 118));
SELECT * FROM v ORDER BY session_start;
SELECT * FROM written('v');
COMMIT;
-- rows of one batch, apart from each other, are bridged by a stored session; others of the batch are not touched by it
SELECT tidemark.inject('ev_stream', at_seconds(2, 100, 105, 110, 115, 120, 200, 300));
:count_anew
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(2, 95, 125, 50, 195, 250, 205));
SELECT * FROM v WHERE k = 2 ORDER BY session_start;
SELECT * FROM written('v');
COMMIT;
-- one batch bridges many stored sessions and touches no more of them
SELECT tidemark.inject('ev_stream', at_seconds(3, VARIADIC (SELECT array_agg(i * 20) FROM generate_series(0, 499) i)));
:count_anew
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(3, VARIADIC (SELECT array_agg(i * 10) FROM generate_series(100, 200) i)));
SELECT count(*) FROM v WHERE k = 3;
SELECT * FROM v WHERE k = 3 AND count > 1;
SELECT * FROM written('v');
COMMIT;
-- one partial session covers several stored ones, with all of them within
:count_anew
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(3, VARIADIC (SELECT array_agg(3000 + i * 9) FROM generate_series(0, 20) i)));
SELECT * FROM v WHERE k = 3 AND session_start BETWEEN '2026-01-01 00:49Z' AND '2026-01-01 00:53:30Z' ORDER BY 2;
SELECT * FROM written('v');
COMMIT;
-- no key
SELECT tidemark.inject('ev_stream', at_seconds(NULL, 100, 105));
SELECT tidemark.inject('ev_stream', at_seconds(NULL, 110));
SELECT * FROM v WHERE k IS NULL;
-- rows without a time are a group of their own, as in the query
CREATE MATERIALIZED VIEW timeless WITH (tidemark.continuous) AS
  SELECT parity, session_start, session_end, sum(n)
    FROM (SELECT k % 2 AS parity, n, tidemark.session_start(CASE WHEN k < 8 THEN at END, '10 s') OVER w, tidemark.session_end(CASE WHEN k < 8 THEN at END, '10 s') OVER w
            FROM ev WHERE k BETWEEN 4 AND 9 WINDOW w AS (PARTITION BY k % 2 ORDER BY CASE WHEN k < 8 THEN at END)) s
   GROUP BY parity, session_start, session_end;
SELECT tidemark.inject('ev_stream', at_seconds(5, 100, 120) || at_seconds(9, 100, 120) || at_seconds(8, 100));
SELECT tidemark.inject('ev_stream', at_seconds(9, 121) || at_seconds(7, 110) || at_seconds(6, 110));
SELECT * FROM timeless ORDER BY parity, session_start;
-- undone with its transaction
BEGIN;
SELECT tidemark.inject('ev_stream', at_seconds(2, 130, 140));
ROLLBACK;
SELECT * FROM v WHERE k = 2 ORDER BY session_start;
SELECT * FROM short WHERE k = 2 ORDER BY until;
SELECT * FROM check_all();

-- shapes: no key, keys of other types, timestamp, one bound, no aggregate, joins, conditions, an expression over the bounds
CREATE TABLE dim (k int PRIMARY KEY, label text);
INSERT INTO dim VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE MATERIALIZED VIEW shape_alone WITH (tidemark.continuous) AS SELECT session_start, count(*), avg(f) FROM (SELECT f, tidemark.session_start(at, '1 s') OVER (ORDER BY at) FROM ev) s GROUP BY session_start;
CREATE MATERIALIZED VIEW shape_local WITH (tidemark.continuous) AS SELECT session_start, session_end, k IS NULL AS anonymous, max(n) FROM (SELECT n, k, tidemark.session_start(at AT TIME ZONE 'UTC', '20 s') OVER w, tidemark.session_end(at AT TIME ZONE 'UTC', '20 s') OVER w FROM ev_stream WINDOW w AS (PARTITION BY k ORDER BY at AT TIME ZONE 'UTC')) s GROUP BY session_end, session_start, k;
CREATE MATERIALIZED VIEW shape_bare WITH (tidemark.continuous) AS SELECT session_end - session_start AS length, name FROM (SELECT name, n, tidemark.session_start(at, '7 s') OVER w, tidemark.session_end(at, '7 s') OVER w FROM ev WINDOW w AS (PARTITION BY name, n ORDER BY at), unused AS (ORDER BY k)) s GROUP BY name, n, session_start, session_end;
ALTER MATERIALIZED VIEW shape_bare RENAME COLUMN length TO lasting;
CREATE MATERIALIZED VIEW shape_number WITH (tidemark.continuous) AS SELECT n, session_start, count(*) FROM (SELECT n, tidemark.session_start(at, '7 s') OVER (PARTITION BY n ORDER BY at NULLS FIRST) FROM ev) s GROUP BY n, session_start;
CREATE MATERIALIZED VIEW shape_joined WITH (tidemark.continuous) AS SELECT label, session_start, sum(x), sum((SELECT count(*) FROM dim WHERE label = s.label)) AS many FROM (SELECT x, d.label, tidemark.session_start(e.at, '10 s') OVER (PARTITION BY d.label ORDER BY e.at) FROM ev e LEFT JOIN dim d USING (k) WHERE e.k IN (SELECT k FROM dim) OR d.k IS NULL) s GROUP BY label, session_start HAVING sum(x) > 1 AND session_start > '2025-01-01Z';
CREATE MATERIALIZED VIEW shape_lateral WITH (tidemark.continuous) AS SELECT session_start, twice, count(*), session_end FROM (SELECT twice, tidemark.session_start(at, '10 s') OVER w, tidemark.session_end(at, '10 s') OVER w FROM ev, generate_series(1, 2) twice WINDOW w AS (PARTITION BY twice ORDER BY at)) s GROUP BY twice, session_start, session_end;
CREATE MATERIALIZED VIEW shape_renamed (a, b, c) WITH (tidemark.continuous) AS WITH s(x, y) AS MATERIALIZED (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) SELECT p, q, count(*) FROM s AS t(p, q) GROUP BY p, q;
CREATE MATERIALIZED VIEW shape_twice WITH (tidemark.continuous) AS SELECT a, session_start, b, c, count(*), session_end FROM (SELECT n AS a, n AS b, lower(name) AS c, tidemark.session_start(at, '7 s') OVER w, tidemark.session_end(at, '7 s') OVER w FROM ev WINDOW w AS (PARTITION BY lower(name), n ORDER BY at)) s GROUP BY b, session_end, c, a, session_start;
CREATE MATERIALIZED VIEW shape_later WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev_stream) s GROUP BY k, session_start WITH NO DATA;
SELECT * FROM check_all(1e-9) WHERE differing <> 'shape_later'::regclass;
SELECT feed('ev_stream', series(400), 13);
SELECT tidemark.inject('ev_stream', ARRAY['{"n":1.0,"at":"2026-02-01T00:00:00Z"}', '{"n":1.00,"at":"2026-02-01T00:00:20Z"}', '{"n":1.000,"at":"2026-02-01T00:00:06Z"}']);
SELECT tidemark.inject('ev_stream', '{"n":1,"at":"2026-02-01T00:00:13Z"}');
REFRESH MATERIALIZED VIEW shape_later;
SELECT * FROM check_all(1e-9);
SELECT view, count(*) FROM tidemark_state.view v, tidemark.verify(v.view) GROUP BY view;
SELECT count(*) FROM tidemark.verify('v', since => '2026-01-01 00:01:30Z');
SELECT state, count(*) FROM tidemark.views GROUP BY state;

-- statements
CREATE INDEX ON v (session_start);
CREATE INDEX ON shape_lateral (session_end);
ALTER TABLE ev ADD COLUMN more int;
ALTER FOREIGN TABLE ev_stream RENAME k TO key;
ALTER TABLE ev DROP COLUMN x;
ALTER TABLE ev ALTER at TYPE date;
ALTER TABLE ev RENAME k TO key;
SELECT feed('ev_stream', series(100, 401), 9);
SELECT * FROM check_all(1e-9);
REFRESH MATERIALIZED VIEW v;
REFRESH MATERIALIZED VIEW short;
SELECT * FROM check_all(1e-9);
SELECT state, count(*) FROM tidemark.views GROUP BY state;
-- text made under the search path of a dump gives the same objects
SELECT set_config('search_path', '', false);
SELECT pg_get_viewdef(query_view) AS q, pg_get_viewdef(view) AS visible FROM tidemark_state.view WHERE view = 'public.short'::regclass \gset
CREATE VIEW public.remade AS :q
CREATE VIEW public.remade_visible AS :visible
SELECT pg_get_viewdef('public.remade') = :'q' AS same, pg_get_viewdef('public.remade_visible') = :'visible' AS same_visible;
DROP VIEW public.remade, public.remade_visible;
RESET search_path;
-- a row is late by its own time, before sessions are made
CREATE MATERIALIZED VIEW punctual WITH (tidemark.continuous, tidemark.allowed_lateness = '10 s', tidemark.late = 'table') AS
  SELECT k, session_start, session_end, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER w, tidemark.session_end(at, '10 s') OVER w FROM ev_stream WHERE at > '2026-03-01Z' WINDOW w AS (PARTITION BY k ORDER BY at)) s GROUP BY k, session_start, session_end;
SELECT tidemark.inject('ev_stream', ARRAY['{"k":1,"at":"2026-03-01T00:01:00Z"}', '{"k":1,"at":"2026-03-01T00:00:50Z"}', '{"k":1,"at":"2026-03-01T00:00:49.999999Z"}', '{"k":1,"at":"2026-02-01T00:00:00Z"}']);
SELECT * FROM punctual ORDER BY session_start;
SELECT late_table AS l FROM tidemark_state.view WHERE view = 'punctual'::regclass \gset
SELECT window_start, window_end, event_time, watermark FROM :l;
-- an error of the functions is the view's
CREATE MATERIALIZED VIEW endless WITH (tidemark.continuous) AS
  SELECT k, session_end, count(*) FROM (SELECT k, tidemark.session_end(at, '106000000 days') OVER (PARTITION BY k ORDER BY at) FROM ev_stream WHERE at > '3000-01-01Z') s GROUP BY k, session_end;
SELECT tidemark.inject('ev_stream', '{"k":1,"x":1,"at":"290000-01-01T00:00:00Z"}');
SELECT state, count(*), min(reason) FROM tidemark.views GROUP BY state ORDER BY 1;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, dim;
DROP FUNCTION check_view, check_all, feed, series, at_seconds, written;
