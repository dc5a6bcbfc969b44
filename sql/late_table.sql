-- Proves that late rows are kept as they came, shown to those who may read them, and admitted exactly once, and what admit_late() refuses.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/late_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all
SELECT make_stream('s', 2);
SELECT make_view('v', 'tumble', 's', '0 s');
SELECT make_view('h', 'hop', 's_table', '0 s');
SELECT make_view('five', 'tumble', 's_table', '5 s');
CREATE FUNCTION late() RETURNS TABLE (view regclass, window_start timestamptz, window_end timestamptz, partition int, kafka_offset bigint, event_time timestamptz, watermark timestamptz, row_text jsonb) LANGUAGE sql AS
$$ SELECT view, window_start, window_end, partition, kafka_offset, event_time, watermark, l.row FROM tidemark.late_rows l ORDER BY view::text, 2, 4, 5 $$;
SELECT tidemark.inject('s', ARRAY[message(1, 0, 4), message(2, 0, 14), message(3, 0, 9), message(4, 1, 19), message(5, 1, 8)]);
SELECT tidemark.inject('s', ARRAY[message(6, 0, 4), message(7, 0, 13), message(8, 0, 3)], partition => 1);
SELECT * FROM late();
SELECT name.view, c.* FROM (VALUES ('v', 'tumble', 's_table', '0 s'), ('h', 'hop', 's_table', '0 s'), ('five', 'tumble', 's_table', '5 s')) name(view, kind, source, lateness),
       check_late(name.view::regclass, kind, source::regclass, lateness::interval) c;

-- admitted: in their windows, and verify() knows
SELECT tidemark.admit_late('h');
SELECT * FROM late() WHERE view = 'h'::regclass;
SELECT * FROM h ORDER BY 1, 3;
SELECT partition, kafka_offset, window_start, verdict FROM tidemark_state.verdict ORDER BY 1, 2, 3;
SELECT * FROM tidemark.verify('h');
SELECT tidemark.admit_late('h');
-- what was admitted is the whole batch
SELECT * FROM h EXCEPT ALL SELECT window_start, window_end, k, count(*), sum(id), min(at), max(at) FROM s_table, tidemark.hop(at, '5 s', '10 s') GROUP BY 1, 2, 3;
SELECT window_start, window_end, k, count(*), sum(id), min(at), max(at) FROM s_table, tidemark.hop(at, '5 s', '10 s') GROUP BY 1, 2, 3 EXCEPT ALL SELECT * FROM h;
-- the next late row is late as before, the counter goes on
SELECT tidemark.inject('s', message(9, 0, 9));
SELECT view, kafka_offset, window_start FROM late() WHERE view = 'h'::regclass;
SELECT view, late FROM tidemark.views ORDER BY view::text;
SELECT v.view, r.* FROM tidemark.views v, tidemark.verify(v.view) r;
-- verify() notices a verdict that is missing, and a state that is wrong
BEGIN;
DELETE FROM tidemark_state.verdict WHERE kafka_offset = 3 AND window_start = '2026-01-01 00:00Z';
SELECT problem, view_row->'n' AS view_n, batch_row->'n' AS batch_n FROM tidemark.verify('h');
ROLLBACK;
-- all or nothing, also within a transaction
BEGIN;
SELECT tidemark.admit_late('v');
SELECT tidemark.inject('s', message(10, 0, 7));
SELECT tidemark.admit_late('v');
SELECT * FROM tidemark.verify('v');
ROLLBACK;
SELECT count(*) FROM tidemark.late_rows WHERE view = 'v'::regclass;
SELECT * FROM tidemark.verify('v');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM v;
SELECT tidemark.admit_late('v');
COMMIT;
SELECT * FROM tidemark.verify('v');
SELECT tidemark.inject('s', ARRAY[message(11, 2, 3), message(12, 2, 30), message(11, 2, 3)]);
-- a rebuild: every late row is late again; the counter goes on
SELECT tidemark.pause('v');
REFRESH MATERIALIZED VIEW v;
SELECT late, late_rows, groups, verify FROM check_late('v', 'tumble', 's_table', '0 s') c;
SELECT count(*) FROM tidemark_state.verdict d JOIN tidemark_state.view v USING (state_table) WHERE v.view = 'v'::regclass;

-- a row comes back as it was, whatever its types and the settings
CREATE FOREIGN TABLE x (at timestamp, dropped int, i interval, f float8, n numeric, j json, b jsonb, a text[], c char(3), y bytea OPTIONS (metadata 'key')) SERVER m OPTIONS (topic 'x', event_time 'at');
ALTER FOREIGN TABLE x DROP COLUMN dropped;
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = -3;
SET bytea_output = 'escape';
SET TimeZone = 'Asia/Kathmandu';
CREATE MATERIALIZED VIEW xv WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS
  SELECT window_start, window_end, count(*) AS n, max(i) AS i, max(f) AS f, max(n) AS num, max(j::text) AS j, max(b::text) AS b, max(a) AS a, max(c) AS c, max(md5(y)) AS y
  FROM x, tidemark.tumble(at, '1 min') GROUP BY window_start, window_end;
SELECT tidemark.inject('x', '{"at":"2026-01-01T00:05:00"}');
SELECT tidemark.inject('x', '{"at":"2026-01-01T00:03:59.999999","i":"-1 year 2 days -00:00:03","f":0.1234567890123456789,"n":"1.500","j":{"a":1,  "a":"\u0000"},"b":{"z":1,"a":[null]},"a":["x","\"",null],"c":"u"}', key => 'k');
TABLE xv;
RESET IntervalStyle; RESET extra_float_digits; RESET bytea_output;
SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres';
SELECT window_start, window_end, event_time, watermark, l.row FROM tidemark.late_rows l WHERE view = 'xv'::regclass;
SELECT pg_typeof(window_start), pg_typeof(event_time) FROM tidemark.late_rows WHERE view = 'xv'::regclass;
SELECT tidemark.admit_late('xv');
SELECT window_start, n, i, f, num, j, b, a, c, y = md5('k'::bytea) AS y FROM xv ORDER BY 1;
SELECT * FROM tidemark.verify('xv');
-- a column that has another name now, and one that is new
SELECT tidemark.inject('s', message(13, 2, 4));
ALTER TABLE s_table ADD COLUMN more int;
ALTER TABLE s_table RENAME COLUMN id TO number;
SELECT tidemark.admit_late('h');
ALTER TABLE s_table RENAME COLUMN number TO id;
SELECT tidemark.admit_late('h');
SELECT * FROM tidemark.verify('h');

-- windows that the view no longer has
UPDATE tidemark_state.view_stats SET pruned_until = '2026-01-01 00:00:10Z' FROM tidemark_state.view v WHERE v.state_table = view_stats.state_table AND v.view = 'five'::regclass;
SELECT tidemark.inject('s', ARRAY[message(20, 0, 2), message(21, 0, 11)]);
SELECT window_end, kafka_offset FROM tidemark.late_rows WHERE view = 'five'::regclass ORDER BY 2;
SELECT tidemark.admit_late('five');
SELECT window_end, kafka_offset FROM tidemark.late_rows WHERE view = 'five'::regclass ORDER BY 2;

-- deleted: by row and window, also where windows are told apart by their end, and times have no zone
DELETE FROM tidemark.late_rows WHERE view = 'five'::regclass AND window_end <= '2026-01-01 00:00:10Z' RETURNING kafka_offset;
SELECT tidemark.admit_late('five');
SELECT * FROM tidemark.verify('five');
SELECT make_view('c', 'cumulate', 's', '0 s');
SELECT tidemark.inject('s', message(22, 0, 1));
SELECT tidemark.inject('x', '{"at":"2026-01-01T00:01:00"}');
CREATE FUNCTION newest(OUT view regclass, OUT window_start timestamptz, OUT window_end timestamptz) RETURNS SETOF record LANGUAGE sql AS
$$ SELECT view, window_start, window_end FROM (SELECT *, rank() OVER (PARTITION BY view ORDER BY kafka_offset DESC) AS r FROM tidemark.late_rows) l WHERE r = 1 AND view::text IN ('c', 'xv') ORDER BY 1, 3 $$;
SELECT * FROM newest();
DELETE FROM tidemark.late_rows WHERE view = 'c'::regclass AND window_end = '2026-01-01 00:00:10Z';
DELETE FROM tidemark.late_rows WHERE view = 'xv'::regclass;
SELECT * FROM newest();
SELECT * FROM tidemark.verify('c');
-- rows of a table that name no message are told apart by what they say
CREATE FOREIGN TABLE ts (id int, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'), wm timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'ts', event_time 'at');
CREATE TABLE t (LIKE ts);
INSERT INTO t SELECT id, '2026-01-01 00:00Z', NULL, NULL, '2026-01-01 01:00Z' FROM unnest('{1,2,2,3}'::int[]) id;
SELECT tidemark.start_ingest('ts', 't', start_at => 'earliest');
CREATE MATERIALIZED VIEW tv WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '10 s') GROUP BY 1;
DELETE FROM tidemark.late_rows l WHERE view = 'tv'::regclass AND l.row->>'id' = '1';
SELECT partition, kafka_offset, l.row->'id' AS id FROM tidemark.late_rows l WHERE view = 'tv'::regclass ORDER BY 3;
DELETE FROM tidemark.late_rows WHERE view = 'tv'::regclass;
SELECT count(*) FROM tidemark.late_rows WHERE view = 'tv'::regclass;
-- with admit_late() in one transaction
SELECT tidemark.inject('s', message(23, 0, 1));
BEGIN;
DELETE FROM tidemark.late_rows WHERE view = 'h'::regclass AND window_start = '2026-01-01 00:00Z';
SELECT tidemark.admit_late('h');
ROLLBACK;
SELECT window_start FROM tidemark.late_rows WHERE view = 'h'::regclass ORDER BY 1;
DROP MATERIALIZED VIEW c, tv;

-- refused
SELECT tidemark.admit_late('s_table');
SELECT tidemark.admit_late(0);
SELECT tidemark.admit_late(NULL);
CREATE MATERIALIZED VIEW counted WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS SELECT window_start, count(*) FROM s, tidemark.tumble(at, '10 s') GROUP BY 1;
SELECT tidemark.admit_late('counted');
CREATE MATERIALIZED VIEW empty WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS SELECT window_start, count(*) FROM s, tidemark.tumble(at, '10 s') GROUP BY 1 WITH NO DATA;
SELECT tidemark.admit_late('empty');
SELECT tidemark.pause('v');
SELECT tidemark.admit_late('v');
CREATE MATERIALIZED VIEW fails WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS SELECT window_start, sum(1 / (id - 99)) FROM s, tidemark.tumble(at, '10 s') GROUP BY 1;
SELECT tidemark.inject('s', message(99, 0, 60));
SELECT tidemark.admit_late('fails');
SELECT count(*) > 0 AS still_there FROM tidemark.late_rows WHERE view = 'v'::regclass;

-- who may: the view's owner; he, and those who may read all of the source, see late rows
CREATE ROLE late_owner;
CREATE ROLE late_other;
GRANT USAGE ON FOREIGN SERVER m TO late_owner, late_other;
GRANT SELECT ON s TO late_owner;
GRANT CREATE ON SCHEMA public TO late_owner;
SET ROLE late_owner;
CREATE MATERIALIZED VIEW mine WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS SELECT window_start, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY 1;
GRANT SELECT ON mine TO late_other;
SELECT view, count(*) FROM tidemark.late_rows GROUP BY 1 ORDER BY view::text;
SET ROLE late_other;
SELECT count(*) > 0 AS sees_view FROM mine;
SELECT count(*) FROM tidemark.late_rows;
SELECT tidemark.admit_late('mine');
DO $$ BEGIN EXECUTE (SELECT format('TABLE %s', late_table) FROM tidemark_state.view WHERE view = 'mine'::regclass); END $$;
RESET ROLE;
GRANT SELECT ON s TO late_other;
SET ROLE late_other;
SELECT view FROM tidemark.late_rows GROUP BY 1 ORDER BY view::text;
RESET ROLE;
REVOKE SELECT ON s FROM late_other;
GRANT pg_monitor TO late_other;
SET ROLE late_other;
SELECT count(*) FROM tidemark.late_rows;
RESET ROLE;
SET ROLE late_owner;
SELECT tidemark.admit_late('mine') > 0 AS admitted;
SELECT * FROM tidemark.verify('mine');
DO $$ BEGIN EXECUTE (SELECT format('DELETE FROM %s', late_table) FROM tidemark_state.view WHERE view = 'mine'::regclass); END $$;
RESET ROLE;
-- who sees them may not delete them, unless the view is his
GRANT SELECT ON s TO late_other;
SET ROLE late_other;
DELETE FROM tidemark.late_rows WHERE view = 'v'::regclass;
RESET ROLE;
REVOKE SELECT ON s FROM late_other;
SELECT tidemark.inject('s', message(1, 0, 1));
SET ROLE late_owner;
DELETE FROM tidemark.late_rows WHERE view = 'mine'::regclass;
SELECT count(*) FROM tidemark.late_rows WHERE view = 'mine'::regclass;
RESET ROLE;
-- row security of the source hides late rows from those whom it applies to
GRANT SELECT ON s_table TO late_other;
ALTER TABLE s_table ENABLE ROW LEVEL SECURITY;
SET ROLE late_other;
SELECT count(*) FROM tidemark.late_rows;
RESET ROLE;
ALTER TABLE s_table DISABLE ROW LEVEL SECURITY;
SET ROLE late_other;
SELECT view FROM tidemark.late_rows GROUP BY 1 ORDER BY view::text;
RESET ROLE;
-- gone with the view
DROP MATERIALIZED VIEW mine;
SELECT count(*) FROM tidemark_state.verdict d WHERE NOT EXISTS (SELECT FROM tidemark_state.view v WHERE v.state_table = d.state_table);
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE s_table, t;
DROP OWNED BY late_owner, late_other;
DROP ROLE late_owner, late_other;
DROP FUNCTION make_stream, message, query, make_view, judged, check_late, check_admitted, late, newest;
