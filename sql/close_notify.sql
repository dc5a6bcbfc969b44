-- Proves that a view with tidemark.notify tells once per commit what it changed or closed, and nothing else.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (k text, v int, at timestamptz) SERVER m OPTIONS (topic 't', event_time 'at', watermark_delay '5 s');
CREATE MATERIALIZED VIEW "The View" WITH (tidemark.continuous, tidemark.notify = 'changed') AS
  SELECT k AS "Key", count(*) AS n, max(at) AS latest FROM s GROUP BY k;
CREATE MATERIALIZED VIEW threshold WITH (tidemark.continuous, tidemark.notify = 'Alarm!') AS
  SELECT k, count(*) AS n FROM s GROUP BY k HAVING count(*) >= 3;
CREATE MATERIALIZED VIEW final WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.notify = 'final') AS
  SELECT window_end, k, sum(v) AS total FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end, k HAVING sum(v) > 0;
CREATE MATERIALIZED VIEW quiet WITH (tidemark.continuous) AS SELECT count(*) AS n FROM s;
LISTEN changed;
LISTEN "Alarm!";
LISTEN final;
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('s', ARRAY['{"k":"a","v":1,"at":"2026-01-01T00:00:01Z"}', '{"k":"b","v":-2,"at":"2026-01-01T00:00:09Z"}']);
\o
-- the names of now; the zone of CREATE
ALTER MATERIALIZED VIEW "The View" RENAME COLUMN n TO "how many";
ALTER MATERIALIZED VIEW threshold RENAME TO alarm;
SET TimeZone = 'Asia/Tokyo';
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('s', ARRAY['{"k":"a","v":1,"at":"2026-01-01T00:00:02Z"}', '{"k":"a","v":1,"at":"2026-01-01T00:00:03Z"}']);
-- windows close: one for all of the batch; HAVING leaves b out
SELECT tidemark.inject('s', '{"k":null,"v":1,"at":"2026-01-01T00:00:16Z"}');
-- a window that HAVING leaves out altogether
SELECT tidemark.inject('s', '{"k":null,"v":-1,"at":"2026-01-01T00:00:26Z"}');
\o
SET TimeZone = 'UTC';
-- nothing changed: nothing is told
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('s', 'not json');
\o
-- what is rolled back is not told, and not told later
BEGIN;
SELECT tidemark.inject('s', '{"k":"never","v":1,"at":"2026-01-01T00:00:40Z"}');
ROLLBACK;
DO $$ BEGIN PERFORM tidemark.inject('ing.s', '{"k":"never","v":1,"at":"2026-01-01T00:00:40Z"}'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END $$;
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('s', '{"k":"c","v":1,"at":"2026-01-01T00:00:26Z"}');
\o
-- a view that fails is silent, the others are not
CREATE MATERIALIZED VIEW fragile WITH (tidemark.continuous, tidemark.notify = 'fragile') AS SELECT k, 6 / min(v) AS n FROM s GROUP BY k HAVING 6 / min(v) > -100;
LISTEN fragile;
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('s', '{"k":"d","v":1,"at":"2026-01-01T00:00:26Z"}');
SELECT tidemark.inject('s', '{"k":"d","v":0,"at":"2026-01-01T00:00:26Z"}');
\o
SELECT view, state, reason FROM tidemark.views ORDER BY view::text;
DROP MATERIALIZED VIEW fragile;
-- above 7 kB the groups are left out; quotes and backslashes are JSON's
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT count(*) FROM tidemark.inject('s', ARRAY[json_build_object('k', repeat('x', 6900), 'v', 1, 'at', '2026-01-01T00:00:27Z')::text, '{"k":"q\"\\","v":1,"at":"2026-01-01T00:00:27Z"}']);
SELECT count(*) FROM (SELECT tidemark.inject('s', array_agg(json_build_object('k', i, 'v', 1, 'at', '2026-01-01T00:00:27Z')::text)) FROM generate_series(1, 3000) i) d;
SELECT count(*) FROM (SELECT tidemark.inject('s', array_agg(json_build_object('k', i, 'v', 1, 'at', '2026-01-01T00:00:41Z')::text)) FROM generate_series(1, 10) i) d;
SELECT tidemark.inject('s', '{"k":"q\"\\","v":1,"at":"2026-01-01T00:00:27Z"}');
\o
-- over a table
CREATE TABLE t (k text, v int);
CREATE FOREIGN TABLE ts (k text, v int) SERVER m OPTIONS (topic 'ts');
SELECT tidemark.start_ingest('ts', into_table => 't');
CREATE MATERIALIZED VIEW over_table WITH (tidemark.continuous, tidemark.notify = 'changed') AS SELECT k, sum(v) AS total FROM t GROUP BY k;
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('ts', ARRAY['{"k":"a","v":1}', '{"k":"a","v":2}'], kafka_timestamp => '2026-01-01Z');
\o
-- late rows that are admitted: revisions, and changed groups; columns that were added may have other names
CREATE FOREIGN TABLE l (k text, at timestamptz) SERVER m OPTIONS (topic 'l', event_time 'at');
CREATE MATERIALIZED VIEW revised WITH (tidemark.continuous, tidemark.notify = 'changed', tidemark.emit = 'final, revisions', tidemark.late = 'table') AS
  SELECT window_end, k, count(*) AS n FROM l, tidemark.tumble(at, '10 s') GROUP BY window_end, k;
CREATE MATERIALIZED VIEW corrected WITH (tidemark.continuous, tidemark.notify = 'changed', tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS
  SELECT window_end, k, count(*) AS n FROM l, tidemark.tumble(at, '10 s') GROUP BY window_end, k;
ALTER MATERIALIZED VIEW revised RENAME COLUMN revision TO rev;
ALTER MATERIALIZED VIEW revised RENAME COLUMN closed_at TO "Closed";
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('l', ARRAY['{"k":"a","at":"2026-01-01T00:00:00Z"}', '{"k":null,"at":"2026-01-01T00:00:00Z"}', '{"k":"b","at":"2026-01-01T00:00:30Z"}',
  '{"k":"a","at":"2026-01-01T00:00:01Z"}', '{"k":null,"at":"2026-01-01T00:00:01Z"}', '{"k":"c","at":"2026-01-01T00:00:01Z"}']);
SELECT tidemark.admit_late('revised');
SELECT tidemark.admit_late('corrected');
SELECT tidemark.admit_late('revised');
\o
SELECT window_end, k, n, rev FROM revised ORDER BY k, rev;
-- sessions
CREATE FOREIGN TABLE c (k text, at timestamptz) SERVER m OPTIONS (topic 'c', event_time 'at');
CREATE MATERIALIZED VIEW sessions WITH (tidemark.continuous, tidemark.notify = 'changed') AS
  SELECT k, start, stop, count(*) AS n FROM
    (SELECT k, at, tidemark.session_start(at, '5 s') OVER w AS start, tidemark.session_end(at, '5 s') OVER w AS stop
       FROM c WINDOW w AS (PARTITION BY k ORDER BY at)) r
  GROUP BY k, start, stop;
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT tidemark.inject('c', ARRAY['{"k":"a","at":"2026-01-01T00:00:00Z"}', '{"k":"a","at":"2026-01-01T00:00:08Z"}']);
SELECT tidemark.inject('c', '{"k":"a","at":"2026-01-01T00:00:04Z"}');
\o

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
