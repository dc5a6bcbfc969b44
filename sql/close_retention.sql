-- Proves that closed windows leave a view when their retention is over, in every mode of emit, and that revisions stay until then.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (k text, v int, at timestamptz) SERVER m OPTIONS (topic 't', event_time 'at', watermark_delay '5 s');
CREATE MATERIALIZED VIEW changes WITH (tidemark.continuous, tidemark.retention = '30 s', tidemark.allowed_lateness = '2 s') AS
  SELECT window_start, window_end, k, count(*) AS n, sum(v) AS total FROM s, tidemark.tumble(at, '10 s') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW final WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.retention = '30 s', tidemark.allowed_lateness = '2 s') AS
  SELECT window_start, window_end, k, count(*) AS n, sum(v) AS total FROM s, tidemark.tumble(at, '10 s') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW revisions WITH (tidemark.continuous, tidemark.emit = 'final, revisions', tidemark.retention = '30 s', tidemark.allowed_lateness = '2 s') AS
  SELECT window_end, k, count(*) AS n, sum(v) AS total FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW hidden WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.retention = '30 s', tidemark.allowed_lateness = '2 s') AS
  SELECT k, count(*) AS n, sum(v) AS total FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
-- at once, and never
CREATE MATERIALIZED VIEW now WITH (tidemark.continuous, tidemark.retention = '0 s', tidemark.allowed_lateness = '2 s') AS
  SELECT window_start, k, count(*) AS n, sum(v) AS total FROM s, tidemark.tumble(at, '10 s') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW never WITH (tidemark.continuous, tidemark.allowed_lateness = '2 s') AS
  SELECT window_start, k, count(*) AS n, sum(v) AS total FROM s, tidemark.tumble(at, '10 s') GROUP BY 1, 2;
\d revisions
CREATE FUNCTION fill(i int) RETURNS bigint LANGUAGE sql AS
$$ SELECT tidemark.inject('s', json_build_object('k', chr(97 + i % 3), 'v', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 s')::text) $$;
SELECT count(fill(i)) FROM generate_series(0, 100) i;
-- the watermark: 95 s; closed up to 93 s, pruned up to 63 s
SELECT view, watermark, closed_until, pruned_until FROM tidemark.views ORDER BY view::text;
CREATE FUNCTION state(of regclass, final bool = false) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
  EXECUTE format('SELECT count(*) || '' from '' || min(%s)::time FROM %s', CASE WHEN final THEN 'window_end' ELSE 'g1' END,
    (SELECT CASE WHEN final THEN final_table ELSE state_table END FROM tidemark_state.view WHERE view = of)) INTO result;
  RETURN result;
END $$;
SELECT view, state(view) AS groups FROM tidemark.views ORDER BY view::text;
SELECT state('final', true) AS final, state('revisions', true) AS revisions;
SELECT min(window_end)::time, max(window_end)::time, count(*), count(*) = count(DISTINCT (window_end, k)) AS once FROM final;
SELECT min(window_end)::time, max(window_end)::time, min(revision), max(revision), count(*) FROM revisions;
SELECT count(*) AS n FROM hidden;
SELECT min(window_end)::time, max(window_end)::time, count(*) FROM changes;
SELECT min(window_start)::time, max(window_start)::time, count(*) FROM now;
SELECT min(window_start)::time, max(window_start)::time, count(*) FROM never;

-- what is there is the batch query's
CREATE FUNCTION wrong(view text, columns text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
        query text = format('SELECT %s FROM (SELECT window_start, window_end, k, count(*) AS n, sum(v) AS total FROM s, tidemark.tumble(at, ''10 s'') GROUP BY 1, 2, 3) d
          WHERE window_end > %L AND window_end <= %L', columns, coalesce((SELECT pruned_until FROM tidemark.views v WHERE v.view = wrong.view::regclass), '-infinity'),
          CASE WHEN view IN ('changes', 'now', 'never') THEN 'infinity' ELSE (SELECT closed_until FROM tidemark.views v WHERE v.view = wrong.view::regclass) END);
BEGIN
  EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL (%3$s)) UNION ALL ((%3$s) EXCEPT ALL SELECT %1$s FROM %2$s)) d', columns, view, query) INTO result;
  RETURN result;
END $$;
CREATE FUNCTION check_all() RETURNS TABLE (view text, wrong bigint) LANGUAGE sql AS $$
  SELECT v, wrong(v, CASE v WHEN 'hidden' THEN 'k, n, total' WHEN 'revisions' THEN 'window_end, k, n, total' ELSE 'window_start, k, n, total' END)
    FROM unnest('{changes,final,revisions,hidden,now,never}'::text[]) v
$$;
SELECT * FROM check_all();
-- on and on, in jumps too
SELECT count(fill(i)) FROM generate_series(101, 200) i;
SELECT * FROM check_all();
SELECT fill(400);
SELECT * FROM check_all();
SELECT view, state(view) AS groups, pruned_until::time FROM tidemark.views ORDER BY view::text;
SELECT fill(401);
SELECT fill(1000);
SELECT * FROM check_all();
SELECT state('final', true) AS final, state('revisions', true) AS revisions;
-- late rows bring nothing back
SELECT fill(1);
SELECT fill(950);
SELECT view, state(view) AS groups FROM tidemark.views WHERE view IN ('changes'::regclass, 'final', 'now', 'revisions') ORDER BY view::text;

-- after a rebuild from the log
SELECT tidemark.pause('changes'), tidemark.pause('final'), tidemark.pause('revisions');
REFRESH MATERIALIZED VIEW final;
SELECT state('final', true) AS final;
SELECT view, state, closed_until::time, pruned_until::time FROM tidemark.views WHERE view = 'final'::regclass;
SELECT tidemark.resume('changes'), tidemark.resume('revisions');

-- an index whose first column is the window's is needed
DO $$ BEGIN EXECUTE format('DROP INDEX tidemark_state.%I', (SELECT relname FROM pg_class WHERE relkind = 'i' AND relname ~ '^f_\d+_window_end_idx$'
  AND oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = (SELECT final_table FROM tidemark_state.view WHERE view = 'final'::regclass)))); END $$;
SELECT fill(2000);
SELECT state, regexp_replace(reason, '\d+', 'N') AS reason FROM tidemark.views WHERE view = 'final'::regclass;
CREATE INDEX ON final (window_end, k);
REFRESH MATERIALIZED VIEW final;
SELECT fill(3000);
SELECT state, closed_until::time, pruned_until::time FROM tidemark.views WHERE view = 'final'::regclass;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
