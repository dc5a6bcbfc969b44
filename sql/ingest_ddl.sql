-- Proves what DDL on a stream or its table may do while it is ingested, when it takes effect, and that DROP leaves nothing behind.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (id int, k text, at timestamptz, n timestamp OPTIONS (time_unit 'ms'))
  SERVER m OPTIONS (topic 't', event_time 'at', watermark_delay '1 s');
CREATE TABLE t (id int, k text, at timestamptz, n timestamp);
-- before an ingest everything may change
ALTER FOREIGN TABLE s OPTIONS (SET topic 'u');
ALTER FOREIGN TABLE s OPTIONS (SET topic 't');
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT tidemark.inject('s', '{"id":1,"k":"a","at":"2026-01-01T00:00:01Z","n":1000}');

-- what an ingest forbids
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (SET topic 'u') $$);
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (ADD format 'raw') $$);
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (DROP event_time) $$);
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (SET event_time 'n') $$);
SELECT refused($$ ALTER FOREIGN TABLE s DROP COLUMN at $$);
SELECT refused($$ ALTER FOREIGN TABLE s RENAME COLUMN at TO happened $$);
SELECT refused($$ ALTER TABLE s RENAME COLUMN at TO happened $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER at TYPE text $$);
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (ADD nonsense '1') $$);
CREATE FOREIGN TABLE bytes (v text OPTIONS (metadata 'value')) SERVER m OPTIONS (topic 'b', format 'raw');
SELECT tidemark.start_ingest('bytes');
SELECT refused($$ ALTER FOREIGN TABLE bytes OPTIONS (SET format 'json') $$);
DROP FOREIGN TABLE bytes;
-- what is given again, the same, is no change
ALTER FOREIGN TABLE s OPTIONS (SET topic 't', ADD format 'json', SET event_time 'at');

-- what it allows, from the next batch on
ALTER FOREIGN TABLE s ADD COLUMN v int;
ALTER TABLE t ADD COLUMN v int;
SELECT tidemark.inject('s', '{"id":2,"k":"b","at":"2026-01-01T00:00:02Z","v":5}');
BEGIN;
ALTER FOREIGN TABLE s ADD COLUMN w int OPTIONS (field 'W');
ALTER TABLE t ADD COLUMN w int;
SELECT tidemark.inject('s', '{"id":3,"k":"c","at":"2026-01-01T00:00:03Z","v":6,"W":7,"w":8}');
ROLLBACK;
SELECT tidemark.inject('s', '{"id":4,"k":"d","at":"2026-01-01T00:00:04Z","v":7,"W":8}');
ALTER FOREIGN TABLE s DROP COLUMN k;
SELECT tidemark.inject('s', '{"id":5,"k":"e","at":"2026-01-01T00:00:05Z","v":8}');
ALTER FOREIGN TABLE s ALTER v OPTIONS (ADD field 'V');
SELECT tidemark.inject('s', '{"id":6,"at":"2026-01-01T00:00:06Z","v":9,"V":10}');
ALTER FOREIGN TABLE s RENAME COLUMN v TO value;
ALTER TABLE t RENAME COLUMN v TO value;
SELECT tidemark.inject('s', '{"id":7,"at":"2026-01-01T00:00:07Z","V":11}');
ALTER FOREIGN TABLE s ALTER value TYPE bigint;
ALTER FOREIGN TABLE s ALTER id SET NOT NULL;
SELECT tidemark.inject('s', ARRAY['{"at":"2026-01-01T00:00:08Z"}', '{"id":8,"at":"2026-01-01T00:00:08Z"}']);
ALTER FOREIGN TABLE s OPTIONS (SET watermark_delay '3 s', ADD batch_max_rows '10', ADD on_error 'fail');
SELECT tidemark.inject('s', '{"id":9,"at":"2026-01-01T00:00:09Z"}');
SELECT * FROM t ORDER BY id;
SELECT watermark FROM tidemark.partitions;
SELECT kafka_offset, message FROM tidemark.dead_letters;
ALTER FOREIGN TABLE s RENAME TO renamed;
SELECT tidemark.inject('renamed', '{"id":10,"at":"2026-01-01T00:00:10Z"}');
SELECT stream, into_table, rows FROM tidemark.ingests;
ALTER FOREIGN TABLE renamed RENAME TO s;

-- under a view over the table: the same
CREATE MATERIALIZED VIEW vt WITH (tidemark.continuous) AS SELECT id, count(*), sum(value) FROM t GROUP BY id;
ALTER FOREIGN TABLE s OPTIONS (SET watermark_delay '2 s');
ALTER FOREIGN TABLE s ALTER value OPTIONS (SET field 'VV');
SELECT refused($$ ALTER TABLE t DROP COLUMN value $$);
SELECT tidemark.inject('s', '{"id":11,"at":"2026-01-01T00:00:11Z","VV":1}');
SELECT differ('vt');

-- under a view over the stream: what decides about rows is fixed
CREATE MATERIALIZED VIEW vs WITH (tidemark.continuous) AS SELECT id, count(*), sum(value) FROM s GROUP BY id;
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (SET watermark_delay '3 s') $$);
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (ADD watermark_max_future '1 s') $$);
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (ADD null_event_time 'keep') $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER value OPTIONS (SET field 'value') $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER value OPTIONS (DROP field) $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER n OPTIONS (SET time_unit 's') $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER n OPTIONS (DROP time_unit) $$);
SELECT refused($$ ALTER FOREIGN TABLE s RENAME COLUMN id TO ident $$);
SELECT refused($$ ALTER FOREIGN TABLE s DROP COLUMN id $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER id TYPE bigint $$);
-- so is what would judge messages anew that the view has taken in, of columns that it does not read too
SELECT refused($$ ALTER FOREIGN TABLE s ALTER id SET NOT NULL $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER id DROP NOT NULL $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER n SET NOT NULL $$);
SELECT refused($$ ALTER FOREIGN TABLE s ALTER n TYPE timestamp(0) $$);
SELECT refused($$ ALTER FOREIGN TABLE s ADD COLUMN must int NOT NULL $$);
-- an explicit field first, then it may be renamed
ALTER FOREIGN TABLE s ALTER id OPTIONS (ADD field 'id');
ALTER FOREIGN TABLE s RENAME COLUMN id TO ident;
ALTER FOREIGN TABLE s RENAME COLUMN ident TO id;
ALTER FOREIGN TABLE s OPTIONS (SET batch_max_rows '20', SET on_error 'dead_letter');
-- when a partition counts as idle decides about no row; the default, spelled out, is no change
ALTER FOREIGN TABLE s OPTIONS (ADD watermark_idle_timeout '10 s', ADD watermark_when_idle 'wall_clock', ADD watermark_max_future '300 s', ADD null_event_time 'dead_letter');
ALTER FOREIGN TABLE s ADD COLUMN later text;
ALTER FOREIGN TABLE s DROP COLUMN later;
SELECT tidemark.inject('s', '{"id":12,"at":"2026-01-01T00:00:12Z","VV":2}');
SELECT differ('vt'), differ('vs');

-- the table: needs CASCADE, and the ingest goes on for the views over the stream
SELECT refused($$ DROP TABLE t $$);
SET client_min_messages = warning;
DROP TABLE t CASCADE;
RESET client_min_messages;
SELECT stream, into_table FROM tidemark.ingests;
SELECT view FROM tidemark.views;
SELECT tidemark.inject('s', '{"id":13,"at":"2026-01-01T00:00:13Z","VV":3}');
SELECT differ('vs');
CREATE TABLE t3 (id int);
SELECT tidemark.alter_ingest('s', into_table => 't3');
SELECT tidemark.inject('s', '{"id":14,"at":"2026-01-01T00:00:14Z","VV":3}');
TABLE t3;
SELECT refused($$ DROP TABLE t3 $$);
SELECT refused($$ DROP FOREIGN TABLE s $$);
DROP MATERIALIZED VIEW vs;
SELECT stream, into_table FROM tidemark.ingests;
-- nobody else needs it: the ingest goes with the table, offsets and all; messages and dead letters stay with the stream
BEGIN;
DROP TABLE t3 CASCADE;
SELECT stream FROM tidemark.ingests;
SELECT * FROM positions('s');
SELECT count(*) > 0 AS letters FROM tidemark.dead_letters;
ROLLBACK;
SELECT stream, into_table FROM tidemark.ingests;

-- DROP FOREIGN TABLE takes ingest, log and dead letters
BEGIN;
DROP FOREIGN TABLE s;
SELECT * FROM rest();
ROLLBACK;
SELECT count(*) FROM rest();
DROP FOREIGN TABLE s;
SELECT * FROM rest();
TABLE t3;
DROP TABLE t3;

-- every other way of dropping
CREATE FUNCTION make(name text) RETURNS void LANGUAGE plpgsql SET client_min_messages = error AS $$
BEGIN
  EXECUTE format('CREATE SCHEMA %I', name);
  EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport %L)', name, 'manual');
  EXECUTE format('CREATE FOREIGN TABLE %1$I.s (id int) SERVER %1$I OPTIONS (topic %2$L)', name, 't');
  EXECUTE format('CREATE TABLE %1$I.t (id int CHECK (id < 5)) PARTITION BY LIST (id)', name);
  EXECUTE format('CREATE TABLE %1$I.t1 PARTITION OF %1$I.t DEFAULT', name);
  PERFORM tidemark.start_ingest(name || '.s', into_table => name || '.t');
  EXECUTE format('CREATE MATERIALIZED VIEW %1$I.vs WITH (tidemark.continuous) AS SELECT count(*) FROM %1$I.s', name);
  EXECUTE format('CREATE MATERIALIZED VIEW %1$I.vt WITH (tidemark.continuous) AS SELECT count(*) FROM %1$I.t', name);
  PERFORM tidemark.inject(name || '.s', ARRAY['{"id":1}', '{"id":7}', 'bad']);
END $$;
SET client_min_messages = warning;
SELECT make('one');
SELECT * FROM rest();
DROP SCHEMA one CASCADE;
SELECT * FROM rest();
DROP SERVER one;
SELECT make('two');
DROP SERVER two CASCADE;
SELECT * FROM rest();
DROP SCHEMA two CASCADE;
SELECT make('three');
DROP FOREIGN TABLE three.s CASCADE;
SELECT view FROM tidemark.views;
SELECT stream FROM tidemark.ingests;
INSERT INTO three.t VALUES (3);
DROP TABLE three.t CASCADE;
SELECT * FROM rest();
SELECT make('four');
DROP TABLE four.t CASCADE;
DROP MATERIALIZED VIEW four.vs;
SELECT stream FROM tidemark.ingests;
DROP SCHEMA four CASCADE;
SELECT * FROM rest();
SELECT make('five');
SELECT differ('five.vs'), differ('five.vt');
DROP TABLE five.t1;
SELECT tidemark.inject('five.s', '{"id":1}');
SELECT differ('five.vs');
SELECT * FROM five.vt;
DROP FOREIGN DATA WRAPPER tidemark_kafka CASCADE;
DROP SCHEMA five CASCADE;
SELECT make('six');
CREATE ROLE regress_ing_dropper;
ALTER FOREIGN TABLE six.s OWNER TO regress_ing_dropper;
ALTER TABLE six.t OWNER TO regress_ing_dropper;
DROP OWNED BY regress_ing_dropper CASCADE;
DROP ROLE regress_ing_dropper;
SELECT * FROM rest();
DROP SCHEMA six CASCADE;
SELECT make('seven');
-- the stream and its table in one statement, a type below them
CREATE TYPE seven.kind AS ENUM ('a');
ALTER FOREIGN TABLE seven.s ADD COLUMN kind seven.kind;
DROP TYPE seven.kind CASCADE;
SELECT tidemark.inject('seven.s', '{"id":2,"kind":"zzz"}');
SELECT differ('seven.vs'), differ('seven.vt');
DROP SCHEMA seven CASCADE;
SELECT * FROM rest();

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
