-- Proves that what a batch runs cannot lead to other work on its stream, and that nothing is half done when it tries.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (k text, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'),
  wm timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 't', event_time 'at', watermark_idle_timeout 'infinity');
CREATE TABLE t (LIKE s);
SELECT tidemark.start_ingest('s', 't');
CREATE FUNCTION go(seconds int) RETURNS bigint LANGUAGE sql AS $$
  SELECT tidemark.inject('ing.s', json_build_object('k', 'a', 'at', timestamptz '2026-01-01Z' + seconds * interval '1 s')::text) $$;
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final, revisions', tidemark.late = 'table') AS
  SELECT window_start, k, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
CREATE MATERIALIZED VIEW w WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, k, count(*) AS n FROM t, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
CREATE FUNCTION wrong() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM tidemark.views v, tidemark.verify(v.view) $$;

-- a trigger that injects into the stream that it is fired by fails its view, and nothing else
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ing.go(60);
  RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT ON v FOR EACH ROW EXECUTE FUNCTION again();
SELECT go(1), go(31);
SELECT view, state, sqlstate, reason FROM tidemark.views ORDER BY view;
SELECT count(*) FROM s;
DROP TRIGGER again ON v;
REFRESH MATERIALIZED VIEW v;
SELECT wrong();
-- one of the table: a dead letter
CREATE TRIGGER again AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION again();
SELECT go(32);
DROP TRIGGER again ON t;
SELECT stage, sqlstate, message FROM tidemark.dead_letters;
SELECT wrong(), (SELECT count(*) FROM s) AS messages, (SELECT count(*) FROM t) AS rows;

-- all that a trigger could try
CREATE FOREIGN TABLE other (k text) SERVER m OPTIONS (topic 'other');
CREATE TABLE other_table (k text);
CREATE TABLE act (id serial, act text, said text);
INSERT INTO act (act) VALUES ('SELECT ing.go(100)'), ('SELECT tidemark.admit_late(''ing.v'')'), ('SELECT tidemark.replay_dead_letters(''ing.s'')'),
  ('SELECT tidemark.pause(''ing.v'')'), ('DROP VIEW ing.v'), ('ALTER MATERIALIZED VIEW ing.v SET (tidemark.late = ''count'')'),
  ('CREATE MATERIALIZED VIEW ing.x WITH (tidemark.continuous) AS SELECT count(*) FROM ing.s'),
  ('CREATE MATERIALIZED VIEW ing.x WITH (tidemark.continuous) AS SELECT count(*) FROM ing.t'),
  ('REFRESH MATERIALIZED VIEW ing.v'), ('REFRESH MATERIALIZED VIEW ing.w'),
  ('SELECT tidemark.wait_for(''ing.s'', 0, 0)'), ('SELECT tidemark.wait_for(''ing.w'', 0, 1000, ''1 min'')'), ('SELECT tidemark.wait_caught_up(''ing.v'')'),
  ('SELECT tidemark.pause(''ing.w'')'), ('SELECT tidemark.resume(''ing.v'')'), ('SELECT tidemark.pause(''ing.s'')'), ('SELECT tidemark.resume(''ing.s'')'),
  ('SELECT tidemark.alter_ingest(''ing.s'', workers => 2)'), ('SELECT tidemark.drop_ingest(''ing.s'')'), ('SELECT tidemark.reset_ingest(''ing.s'', ''latest'')'),
  ('SELECT tidemark.start_ingest(''ing.s'', if_not_exists => true)'), ('SELECT tidemark.start_ingest(''ing.other'', into_table => ''ing.t'')'),
  ('DROP FOREIGN TABLE ing.s CASCADE'), ('DROP TABLE ing.t CASCADE'), ('DROP MATERIALIZED VIEW ing.w'), ('DROP SERVER m CASCADE'),
  ('DROP EXTENSION tidemark CASCADE'), ('DROP TABLE ing.other_table');
CREATE FUNCTION try_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE ing.act SET said = ing.refused(act);
  RETURN NULL;
END $$;
CREATE TRIGGER try_all AFTER INSERT ON v FOR EACH STATEMENT EXECUTE FUNCTION try_all();
-- (what would wait for its own batch is cancelled at last)
SET statement_timeout = '30 s';
SET client_min_messages = warning;
SELECT go(41);
RESET statement_timeout;
RESET client_min_messages;
SELECT act, split_part(said, E'\n', 1) AS said FROM act ORDER BY id;
SELECT DISTINCT split_part(said, E'\n', 2) AS detail FROM act ORDER BY 1;
-- so also in a revision
DELETE FROM act WHERE id <> 2;
SELECT go(2), tidemark.admit_late('v');
SELECT act, said FROM act ORDER BY id;
DROP TRIGGER try_all ON v;
SELECT view, state FROM tidemark.views ORDER BY view;
SELECT wrong();

-- another stream is free
CREATE FOREIGN TABLE s2 (n bigint) SERVER m OPTIONS (topic 't2');
CREATE MATERIALIZED VIEW sum WITH (tidemark.continuous) AS SELECT sum(n) FROM s2;
CREATE FUNCTION on_other() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM tidemark.inject('ing.s2', json_build_object('n', NEW.n)::text);
  RETURN NULL;
END $$;
CREATE TRIGGER on_other AFTER INSERT ON v FOR EACH ROW EXECUTE FUNCTION on_other();
SELECT go(51), go(61), go(71);
SELECT sum FROM sum;
SELECT wrong();
-- a deferred trigger fires in the batch, as the view's owner
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE WARNING 'fired as % for %', current_user = 'close_nested', NEW.n;
  RETURN NULL;
END $$;
CREATE ROLE close_nested;
GRANT USAGE ON SCHEMA ing TO close_nested;
GRANT CREATE ON SCHEMA ing TO close_nested;
DROP TRIGGER on_other ON v;
DROP MATERIALIZED VIEW w;
GRANT SELECT ON s TO close_nested;
GRANT USAGE ON FOREIGN SERVER m TO close_nested;
ALTER MATERIALIZED VIEW v OWNER TO close_nested;
CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON v DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell();
BEGIN;
SELECT go(81);
COMMIT;
SELECT state FROM tidemark.views WHERE view = 'v'::regclass;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
DROP OWNED BY close_nested;
DROP ROLE close_nested;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
