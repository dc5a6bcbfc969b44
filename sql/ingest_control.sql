-- Proves that ingests start, change, stop and pause as said, all of it transactional, and every refusal with its words.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (id int, k text, at timestamptz) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE s2 (id int, k text, at timestamptz) SERVER m OPTIONS (topic 't2');
CREATE TABLE t (id int, k text);
CREATE TABLE t2 (id int, k text, at timestamptz);
CREATE TABLE full_table (id int);
INSERT INTO full_table VALUES (0);
CREATE VIEW w AS SELECT 1 AS id;

-- what is no stream
SELECT refused($$ SELECT tidemark.start_ingest('t') $$);
SELECT refused($$ SELECT tidemark.start_ingest('w') $$);
SELECT refused($$ SELECT tidemark.start_ingest(NULL) $$);
SELECT refused($$ SELECT tidemark.start_ingest(4294967295::oid::regclass) $$);
SELECT refused($$ SELECT tidemark.alter_ingest('t') $$);
SELECT refused($$ SELECT tidemark.alter_ingest(NULL) $$);
SELECT refused($$ SELECT tidemark.alter_ingest(4294967295::oid::regclass) $$);
SELECT refused($$ SELECT tidemark.drop_ingest('t') $$);
SELECT refused($$ SELECT tidemark.drop_ingest(4294967295::oid::regclass) $$);
SELECT refused($$ SELECT tidemark.pause('t') $$);
SELECT refused($$ SELECT tidemark.pause(4294967295::oid::regclass) $$);
SELECT refused($$ SELECT tidemark.resume('w') $$);
SELECT refused($$ SELECT tidemark.resume(4294967295::oid::regclass) $$);
-- NULL does nothing where it can mean nothing
SELECT tidemark.drop_ingest(NULL) IS NULL AS dropped, tidemark.pause(NULL) IS NULL AS paused, tidemark.resume(NULL) IS NULL AS resumed;

-- what is not ingested
SELECT refused($$ SELECT tidemark.alter_ingest('s', workers => 2) $$);
SELECT refused($$ SELECT tidemark.drop_ingest('s') $$);
SELECT tidemark.drop_ingest('s', if_exists => true);
SELECT refused($$ SELECT tidemark.pause('s') $$);
SELECT refused($$ SELECT tidemark.resume('s') $$);

-- arguments of start_ingest
SELECT refused($$ SELECT tidemark.start_ingest('s', workers => 0) $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', workers => 257) $$);
SELECT refused(format('SELECT tidemark.start_ingest(%L, start_at => %L)', 's', v)) FROM unnest(ARRAY[
    '', 'first', '{', '{}', '{"0"}', '{"0": -1}', '{"0": 1.5}', '{"-1": 1}', '{"x": 1}', '{"0": 1', '{"0": 1, "0": 2}',
    '{"0": 99999999999999999999}', '{"9": 0}', '[1]', '2026-13-01', '5 minutes']) v;
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'full_table') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 's2') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 4294967295::oid::regclass) $$);
SELECT * FROM tidemark_state.ingest;

-- start: takes effect at once, names what is not stored
SELECT tidemark.inject('s', ARRAY['{"id":1,"k":"a"}', '{"id":2,"k":"b"}'], kafka_timestamp => '2026-01-01 00:00:01Z');
SELECT tidemark.start_ingest('s', into_table => 't');
TABLE t;
SELECT stream, into_table, state, workers, rows FROM tidemark.ingests;
SELECT * FROM positions('s');
-- again
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 't') $$);
SELECT tidemark.start_ingest('s', into_table => 't', if_not_exists => true);
-- two into one table
SELECT refused($$ SELECT tidemark.start_ingest('s2', into_table => 't', start_at => 'earliest') $$);
-- alter
SELECT tidemark.alter_ingest('s', workers => 3);
SELECT tidemark.alter_ingest('s', workers => NULL, into_table => NULL);
SELECT tidemark.alter_ingest('s', into_table => 't');
SELECT workers FROM tidemark.ingests;
SELECT refused($$ SELECT tidemark.alter_ingest('s', workers => 0) $$);
SELECT refused($$ SELECT tidemark.alter_ingest('s', into_table => 't2') $$);

-- drop: the table stays, offsets are forgotten
SELECT tidemark.drop_ingest('s');
SELECT * FROM tidemark_state.ingest;
SELECT * FROM positions('s');
SELECT count(*) FROM t;
SELECT refused($$ SELECT tidemark.drop_ingest('s') $$);

-- into a table with rows: every form of start_at
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 't') $$);
SELECT tidemark.start_ingest('s', into_table => 't', start_at => 'latest');
SELECT tidemark.inject('s', '{"id":3,"k":"c"}', kafka_timestamp => '2026-01-01 00:00:03Z');
TABLE t;
SELECT tidemark.drop_ingest('s');
SELECT tidemark.inject('s', '{"id":4,"k":"d"}', kafka_timestamp => '2026-01-01 00:00:04Z');
SELECT tidemark.inject('s', '{"id":10,"k":"j"}', 1, kafka_timestamp => '2026-01-01 00:00:10Z');
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't', start_at => '2026-01-01 00:00:04Z');
TABLE t;
SELECT tidemark.drop_ingest('s');
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't', start_at => '2126-01-01 00:00:00Z');
SELECT * FROM positions('s');
SELECT tidemark.drop_ingest('s');
SELECT tidemark.start_ingest('s', into_table => 't', start_at => '{"0": 2}');
TABLE t;
SELECT * FROM positions('s');
SELECT tidemark.drop_ingest('s');
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't', start_at => '{"0": 4, "1": 1}');
TABLE t;
SELECT tidemark.drop_ingest('s');
SELECT refused($$ SELECT tidemark.start_ingest('s', start_at => '{"0": 5}') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', start_at => '{"2": 0}') $$);
SELECT tidemark.start_ingest('s', into_table => 't', start_at => 'earliest');
SELECT * FROM t ORDER BY id;
SELECT tidemark.drop_ingest('s');

-- without table
SELECT tidemark.start_ingest('s');
SELECT stream, into_table, rows FROM tidemark.ingests;
SELECT refused($$ SELECT tidemark.alter_ingest('s', into_table => 'full_table') $$);
SELECT refused($$ SELECT tidemark.alter_ingest('s', into_table => 'w') $$);
-- a table later: from the committed offsets on
SELECT tidemark.alter_ingest('s', into_table => 't2');
TABLE t2;
SELECT tidemark.inject('s', '{"id":5,"k":"e"}');
TABLE t2;
SELECT tidemark.drop_ingest('s');

-- transactions: all or nothing, with savepoints
BEGIN;
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't', start_at => 'latest');
SELECT tidemark.inject('s', '{"id":6,"k":"f"}');
ROLLBACK;
SELECT * FROM tidemark_state.ingest;
SELECT * FROM positions('s');
SELECT count(*) FROM s;
TRUNCATE t;
BEGIN;
SAVEPOINT a;
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT count(*) FROM t;
ROLLBACK TO a;
SELECT count(*) FROM t;
SELECT tidemark.start_ingest('s', into_table => 't', start_at => '{"0": 4}');
SAVEPOINT b;
SELECT tidemark.pause('s');
SELECT tidemark.inject('s', '{"id":7,"k":"g"}');
SELECT state, reason, hint FROM tidemark.ingests;
ROLLBACK TO b;
SELECT tidemark.inject('s', '{"id":8,"k":"h"}');
SAVEPOINT c;
SELECT tidemark.drop_ingest('s');
ROLLBACK TO c;
COMMIT;
SELECT * FROM t ORDER BY id;
SELECT * FROM positions('s');

-- pause and resume; twice is once
SELECT tidemark.pause('s');
SELECT tidemark.pause('s');
SELECT state, reason, hint FROM tidemark.ingests;
SELECT tidemark.inject('s', '{"id":9,"k":"i"}');
SELECT refused($$ SELECT tidemark.start_ingest('s') $$);
SELECT count(*) FROM t;
SELECT tidemark.resume('s');
SELECT tidemark.resume('s');
SELECT state, reason, hint FROM tidemark.ingests;
SELECT count(*) FROM t;
-- altered and dropped while paused
SELECT tidemark.pause('s');
SELECT tidemark.alter_ingest('s', workers => 2);
SELECT state, workers FROM tidemark.ingests;
SELECT tidemark.drop_ingest('s');

-- views keep their ingest
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE MATERIALIZED VIEW vt WITH (tidemark.continuous) AS SELECT k, count(*) FROM t GROUP BY k;
CREATE MATERIALIZED VIEW vs WITH (tidemark.continuous) AS SELECT k, sum(id) FROM s GROUP BY k;
SELECT refused($$ SELECT tidemark.drop_ingest('s') $$);
DROP MATERIALIZED VIEW vs;
SELECT refused($$ SELECT tidemark.drop_ingest('s') $$);
SELECT tidemark.inject('s', '{"id":11,"k":"a"}');
SELECT differ('vt');
-- one view pauses and catches up
SELECT tidemark.pause('vt');
SELECT tidemark.pause('vt');
SELECT state, reason, hint FROM tidemark.views;
SELECT tidemark.inject('s', '{"id":12,"k":"a"}');
SELECT * FROM vt WHERE k = 'a';
SELECT tidemark.resume('vt');
SELECT tidemark.resume('vt');
SELECT state, reason, hint FROM tidemark.views;
SELECT * FROM vt WHERE k = 'a';
SELECT differ('vt');
-- one that failed does neither
CREATE MATERIALIZED VIEW vf WITH (tidemark.continuous) AS SELECT sum(1000 / (id - 13)) FROM t;
SELECT tidemark.inject('s', '{"id":13,"k":"a"}');
SELECT state, reason, hint, sqlstate FROM tidemark.views WHERE view = 'vf'::regclass;
SELECT refused($$ SELECT tidemark.pause('vf') $$);
SELECT refused($$ SELECT tidemark.resume('vf') $$);
SELECT differ('vt');
DROP MATERIALIZED VIEW vf;
DROP MATERIALIZED VIEW vt;
SELECT tidemark.drop_ingest('s');

-- a view on a table before its ingest counts the rows there and waits
CREATE MATERIALIZED VIEW early WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM full_table;
TABLE early;
SELECT tidemark.start_ingest('s', into_table => 'full_table', start_at => '{"0": 8}');
TABLE early;
SELECT differ('early');
DROP MATERIALIZED VIEW early;
SELECT tidemark.drop_ingest('s');

-- a view over a stream brings its ingest, which goes with the last of them
CREATE MATERIALIZED VIEW v1 WITH (tidemark.continuous) AS SELECT k, count(*) FROM s GROUP BY k;
CREATE MATERIALIZED VIEW v2 WITH (tidemark.continuous) AS SELECT count(*), max(id) FROM s;
SELECT stream, into_table, state FROM tidemark.ingests;
SELECT implicit FROM tidemark_state.ingest;
SELECT refused($$ SELECT tidemark.start_ingest('s') $$);
SELECT refused($$ SELECT tidemark.drop_ingest('s') $$);
SELECT tidemark.inject('s', '{"id":14,"k":"a"}');
SELECT differ('v1'), differ('v2');
DROP MATERIALIZED VIEW v1;
SELECT count(*) FROM tidemark.ingests;
DROP MATERIALIZED VIEW v2;
SELECT count(*) FROM tidemark.ingests;
SELECT * FROM positions('s');
-- unless it was given a table
CREATE MATERIALIZED VIEW v1 WITH (tidemark.continuous) AS SELECT k, count(*) FROM s GROUP BY k;
TRUNCATE t2;
SELECT tidemark.alter_ingest('s', into_table => 't2');
SELECT implicit FROM tidemark_state.ingest;
SELECT tidemark.inject('s', '{"id":15,"k":"a"}');
TABLE t2;
SELECT differ('v1');
DROP MATERIALIZED VIEW v1;
SELECT stream, into_table FROM tidemark.ingests;
SELECT tidemark.drop_ingest('s');

-- an ingest that came here by restore is paused, until somebody says that it belongs here
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE MATERIALIZED VIEW v1 WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM t;
UPDATE tidemark_state.ingest SET system_identifier = 1;
SELECT state, reason, hint FROM tidemark.ingests;
SELECT tidemark.inject('s', '{"id":16,"k":"a"}');
UPDATE tidemark_state.ingest SET topic = 'other';
SELECT refused($$ SELECT tidemark.resume('s') $$);
SELECT refused($$ SELECT tidemark.alter_ingest('s', workers => 2) $$);
UPDATE tidemark_state.ingest SET topic = 't';
SELECT tidemark.resume('s');
SELECT state, reason, hint FROM tidemark.ingests;
SELECT count(*) FROM t WHERE id = 16;
SELECT differ('v1');
-- paused by hand and then restored
SELECT tidemark.pause('s');
UPDATE tidemark_state.ingest SET database = 1;
SELECT state, reason, hint FROM tidemark.ingests;
SELECT tidemark.pause('s');
SELECT tidemark.resume('s');
SELECT state, reason FROM tidemark.ingests;
UPDATE tidemark_state.ingest SET database = 1, topic = 'other';
SELECT tidemark.reset_ingest('s', 'latest');
SELECT state, reason FROM tidemark.ingests;
SELECT tidemark.resume('s');
SELECT state, reason FROM tidemark.ingests;
DROP MATERIALIZED VIEW v1;
SELECT tidemark.drop_ingest('s');

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
