-- Proves that nobody but the ingest writes what a view reads or keeps, that raw rows may be removed, and which errors say so.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
\set ECHO all
SELECT feed('ev_stream', series(20), 20);
-- before a view reads it, the table is anybody's
INSERT INTO ev (k) VALUES (1);
DELETE FROM ev WHERE at IS NULL;
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT k, count(*) AS n FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW simple WITH (tidemark.continuous) AS SELECT k FROM ev GROUP BY k;
SELECT state_table AS s FROM tidemark_state.view WHERE view = 'v'::regclass \gset

-- the table
INSERT INTO ev (k) VALUES (1);
INSERT INTO ev SELECT * FROM ev WHERE false;
UPDATE ev SET k = 1;
DELETE FROM ev;
COPY ev (k) FROM '/dev/null';
WITH d AS (DELETE FROM ev RETURNING *) SELECT count(*) FROM d;
WITH i AS (INSERT INTO ev (k) VALUES (1) RETURNING k) INSERT INTO ev (k) SELECT k FROM i;
MERGE INTO ev USING (VALUES (1)) AS s(k) ON ev.k = s.k WHEN MATCHED THEN UPDATE SET x = 1 WHEN NOT MATCHED THEN INSERT (k) VALUES (s.k);
PREPARE p AS DELETE FROM ev;
EXECUTE p;
EXPLAIN (ANALYZE) DELETE FROM ev;
EXPLAIN (COSTS OFF) DELETE FROM ev WHERE k = 1;
DO $$ BEGIN DELETE FROM ev; END $$;
CREATE FUNCTION del() RETURNS bigint LANGUAGE sql AS $$ DELETE FROM ev; SELECT 1::bigint $$;
SELECT del();
CREATE VIEW over_ev AS SELECT k, x FROM ev;
INSERT INTO over_ev VALUES (1, 1);
CREATE TABLE elsewhere (k int);
CREATE RULE r AS ON INSERT TO elsewhere DO ALSO INSERT INTO ev (k) VALUES (NEW.k);
INSERT INTO elsewhere VALUES (1);
DROP RULE r ON elsewhere;
CREATE FUNCTION trig() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ev (k) VALUES (NEW.k); RETURN NEW; END $$;
CREATE TRIGGER t AFTER INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION trig();
INSERT INTO elsewhere VALUES (1);
SELECT count(*) FROM elsewhere;
-- reading and locking rows is no write
SELECT count(*) FROM (SELECT FROM ev FOR UPDATE) s;
COPY (SELECT count(*) FROM ev) TO stdout;
COPY ev TO '/dev/null';
-- the manual stream takes no statements either
INSERT INTO ev_stream (k) VALUES (1);

-- the visible view and what is behind it, as a superuser too
INSERT INTO v VALUES (1, 1);
INSERT INTO simple VALUES (1);
UPDATE v SET k = 2;
UPDATE v SET n = 2;
DELETE FROM v;
DELETE FROM simple WHERE k = 1;
-- before 17 PostgreSQL itself refuses MERGE on any view, in other words
DO $$ BEGIN MERGE INTO v USING (VALUES (1)) AS s(k) ON v.k = s.k WHEN MATCHED THEN DELETE; EXCEPTION WHEN object_not_in_prerequisite_state OR feature_not_supported THEN RAISE NOTICE 'refused'; END $$;
COPY v FROM '/dev/null';
TRUNCATE v;
INSERT INTO :s VALUES (1, 1);
DELETE FROM :s;
COPY :s FROM '/dev/null';
SELECT * FROM check_all();

-- the ingest's own writes go on; triggers that they fire are nobody special
CREATE FUNCTION second() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.k = 4 THEN DELETE FROM ev WHERE k = 1; END IF; RETURN NULL; END $$;
CREATE TRIGGER s AFTER INSERT ON ev FOR EACH ROW EXECUTE FUNCTION second();
SELECT tidemark.inject('ev_stream', ARRAY['{"k":3,"at":"2026-01-01T00:00:00Z"}', '{"k":4,"at":"2026-01-01T00:00:00Z"}', '{"k":5,"at":"2026-01-01T00:00:00Z"}']) IS NOT NULL AS injected;
DROP TRIGGER s ON ev;
SELECT * FROM check_all();
SELECT n FROM v WHERE k = 5;

-- raw rows may be removed: TRUNCATE changes no view
BEGIN;
TRUNCATE ev;
SELECT sum(n) FROM v;
SELECT feed('ev_stream', series(2, 100), 1);
SELECT sum(n) FROM v;
ROLLBACK;
-- inheritance would let rows in by another door
CREATE TABLE child () INHERITS (ev);
CREATE TABLE parent (LIKE ev);
ALTER TABLE ev INHERIT parent;
CREATE TABLE other (LIKE ev);
ALTER TABLE other INHERIT ev;
CREATE TABLE above (LIKE ev) PARTITION BY LIST (k);
ALTER TABLE above ATTACH PARTITION ev DEFAULT;

-- partitioned tables: every door to every partition
CREATE FOREIGN TABLE part_stream (k int, x int) SERVER m OPTIONS (topic 'part');
CREATE TABLE part (LIKE part_stream) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2, 3) PARTITION BY LIST (k);
CREATE TABLE part_2_2 PARTITION OF part_2 FOR VALUES IN (2);
SELECT tidemark.start_ingest('part_stream', into_table => 'part');
CREATE MATERIALIZED VIEW pv WITH (tidemark.continuous) AS SELECT k, sum(x) FROM part GROUP BY k;
SELECT tidemark.inject('part_stream', ARRAY['{"k":1,"x":1}', '{"k":2,"x":2}', '{"k":3,"x":3}']) IS NOT NULL AS injected;
SELECT * FROM pv ORDER BY k;
SELECT * FROM check_view('pv');
INSERT INTO part VALUES (1, 1);
INSERT INTO part_1 VALUES (1, 1);
INSERT INTO part_2 VALUES (2, 1);
INSERT INTO part_2_2 VALUES (2, 1);
UPDATE part_2_2 SET x = 1;
DELETE FROM part_1;
COPY part_2_2 FROM '/dev/null';
TRUNCATE part_1;
SELECT * FROM pv ORDER BY k;
ALTER TABLE part DETACH PARTITION part_1;
INSERT INTO part_1 VALUES (1, 100);
SELECT tidemark.inject('part_stream', ARRAY['{"k":1,"x":1}', '{"k":2,"x":2}']) IS NOT NULL AS injected;
CREATE TABLE part_1_new PARTITION OF part FOR VALUES IN (1);
SELECT tidemark.inject('part_stream', ARRAY['{"k":1,"x":10}', '{"k":2,"x":2}']) IS NOT NULL AS injected;
SELECT * FROM pv ORDER BY k;
DROP TABLE part_2_2;
SELECT tidemark.inject('part_stream', ARRAY['{"k":1,"x":10}', '{"k":2,"x":2}']) IS NOT NULL AS injected;
SELECT * FROM pv ORDER BY k;

-- when the view is gone, the table is anybody's again
DROP MATERIALIZED VIEW v, simple;
INSERT INTO ev (k) VALUES (1);
DELETE FROM ev;
EXECUTE p;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, elsewhere, parent, other, above, part, part_1 CASCADE;
DROP FUNCTION check_view, check_all, feed, series, del, trig, second;
