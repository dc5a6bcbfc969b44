-- Proves that inject() keeps, numbers and applies messages inside the caller's transaction, and whom it refuses.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (id int, k text,
    kp int OPTIONS (metadata 'partition'), ko bigint OPTIONS (metadata 'offset'), kt timestamptz OPTIONS (metadata 'timestamp'),
    kk text OPTIONS (metadata 'key'), kh jsonb OPTIONS (metadata 'headers'), tp text OPTIONS (metadata 'topic'),
    raw bytea OPTIONS (metadata 'value'))
  SERVER m OPTIONS (topic 't', max_error_ratio '1');
CREATE TABLE t (LIKE s);
CREATE TABLE plain (id int);
CREATE SERVER broker FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE far (id int) SERVER broker OPTIONS (topic 't');

-- refusals
SELECT refused($$ SELECT tidemark.inject('plain', '{}') $$);
SELECT refused($$ SELECT tidemark.inject(4294967295::oid::regclass, '{}') $$);
SELECT refused($$ SELECT tidemark.inject('far', '{}') $$);
SELECT refused($$ SELECT tidemark.inject('s', '{}', -1) $$);
SELECT refused($$ SELECT tidemark.inject('s', '{}', 1024) $$);
SELECT refused($$ SELECT tidemark.inject('s', '{}', NULL) $$);
SELECT refused($$ SELECT tidemark.inject(NULL, '{}'::text) $$);
SELECT refused($$ SELECT tidemark.inject(NULL, '{}'::bytea) $$);
SELECT refused($$ SELECT tidemark.inject(NULL, ARRAY['{}']) $$);
SELECT refused($$ SELECT tidemark.inject('s', NULL::text[]) $$);
SELECT refused($$ SELECT tidemark.inject('s', '{}', headers => '[1]') $$);
SELECT refused($$ SELECT tidemark.inject('s', '{}', headers => '1') $$);
SELECT count(*) FROM s;
SELECT * FROM tidemark_state.stream;

-- kept without an ingest; offsets count by partition
SELECT tidemark.inject('s', '{"id":1}'), tidemark.inject('s', '{"id":2}', 3), tidemark.inject('s', '{"id":3}', 3);
SELECT tidemark.inject('s', ARRAY['{"id":4}', NULL, '{"id":5}'], 1);
SELECT tidemark.inject('s', '{}'::text[]) AS nothing;
SELECT tidemark.inject('s', '{"id":6}', 1023);
SELECT id, kp, ko FROM s;
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT id, kp, ko FROM t;
SELECT * FROM positions('s');

-- everything a message has
SELECT tidemark.inject('s', '{"id":7,"k":"x"}', 0, 'key', '{"a": "1", "b": null, "c": "2"}', '2026-01-01 00:00:07Z');
SELECT tidemark.inject('s', '{"id":8}', 0, '', '{}', NULL);
SELECT tidemark.inject('s', '{"id":9}'::bytea, 0, kafka_timestamp => '1969-12-31 23:59:59.999Z');
SELECT tidemark.inject('s', NULL::text, 0, 'gone', kafka_timestamp => '2026-01-01 00:00:08Z');
SELECT tidemark.inject('s', NULL::bytea, 0, kafka_timestamp => '2026-01-01 00:00:09Z');
SELECT tidemark.inject('s', '\xff00'::bytea, 0, kafka_timestamp => '2026-01-01 00:00:10Z');
SELECT tidemark.inject('s', ''::text, 0, kafka_timestamp => '2026-01-01 00:00:11Z');
SELECT tidemark.inject('s', '{"id":10}', kafka_timestamp => 'infinity');
SELECT id, k, ko, kt, kk, kh, tp, raw FROM t WHERE kp = 0 AND ko > 0 ORDER BY ko;
SELECT id, k, ko, kt, kk, kh, tp, raw FROM s WHERE kp = 0 AND ko > 0 ORDER BY ko;
SELECT kafka_offset, value, sqlstate, message FROM tidemark.dead_letters ORDER BY kafka_offset;
-- an array shares key, headers and timestamp
SELECT tidemark.inject('s', ARRAY[['{"id":11}', '{"id":12}'], ['{"id":13}', '{"id":14}']], 2, 'k', '{"h": "v"}', '2026-01-01Z');
SELECT id, ko, kt, kk, kh FROM t WHERE kp = 2 ORDER BY ko;

-- more than one batch
ALTER FOREIGN TABLE s OPTIONS (ADD batch_max_rows '7');
SELECT tidemark.inject('s', (SELECT array_agg(format('{"id":%s}', i) ORDER BY i) FROM generate_series(101, 200) i), 4);
SELECT count(*), min(id), max(id) FROM t WHERE kp = 4;

-- views follow, table and stream
CREATE MATERIALIZED VIEW vt WITH (tidemark.continuous) AS SELECT kp, count(*), sum(id) FROM t GROUP BY kp;
CREATE MATERIALIZED VIEW vs WITH (tidemark.continuous) AS SELECT kp, count(*), sum(id) FROM s GROUP BY kp;
SELECT tidemark.inject('s', '{"id":15}', 5);
SELECT tidemark.inject('s', ARRAY['{"id":16}', '{bad', '{"id":17}']);
SELECT differ('vt'), differ('vs');

-- paused: kept, not applied, applied by resume
SELECT tidemark.pause('s');
SELECT tidemark.inject('s', '{"id":18}', 5);
SELECT tidemark.inject('s', '{"id":19}', 6);
SELECT count(*) FROM t WHERE id IN (18, 19);
SELECT tidemark.resume('s');
SELECT id, kp, ko FROM t WHERE id IN (18, 19) ORDER BY id;
SELECT differ('vt'), differ('vs');

-- the bad message makes it fail, in the same transaction; what came before stays
ALTER FOREIGN TABLE s OPTIONS (ADD on_error 'fail');
BEGIN;
SELECT tidemark.inject('s', ARRAY['{"id":20}', '{"id":"x"}', '{"id":21}'], 7);
SELECT state, reason, hint, sqlstate FROM tidemark.ingests;
ROLLBACK;
SELECT state FROM tidemark.ingests;
SELECT tidemark.inject('s', ARRAY['{"id":20}', '{"id":"x"}', '{"id":21}'], 7);
SELECT state, reason, hint, sqlstate FROM tidemark.ingests;
SELECT tidemark.inject('s', '{"id":22}', 7);
SELECT id FROM t WHERE kp = 7;
SELECT * FROM positions('s') WHERE partition = 7;
-- resume meets it again
SELECT tidemark.resume('s');
SELECT state FROM tidemark.ingests;
SELECT * FROM positions('s') WHERE partition = 7;
-- until it may be set aside
ALTER FOREIGN TABLE s OPTIONS (SET on_error 'dead_letter');
SELECT tidemark.resume('s');
SELECT state, reason, hint, sqlstate FROM tidemark.ingests;
SELECT id FROM t WHERE kp = 7 ORDER BY ko;
SELECT differ('vt'), differ('vs');

-- the owner only
CREATE ROLE regress_ing_stranger;
GRANT USAGE ON SCHEMA ing TO regress_ing_stranger;
GRANT ALL ON s TO regress_ing_stranger;
SET ROLE regress_ing_stranger;
SELECT refused($$ SELECT tidemark.inject('s', '{}') $$);
RESET ROLE;
DROP OWNED BY regress_ing_stranger;
DROP ROLE regress_ing_stranger;

-- deferrable constraints are immediate from inject() on, until they are deferred again
CREATE FOREIGN TABLE dx (id int) SERVER m OPTIONS (topic 'dx');
SELECT tidemark.start_ingest('dx');
CREATE TABLE above (id int PRIMARY KEY);
CREATE TABLE below (id int REFERENCES above DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO below VALUES (1);
INSERT INTO above VALUES (1);
SELECT tidemark.inject('dx', '{"id":1}');
INSERT INTO below VALUES (2);
ROLLBACK;
BEGIN;
INSERT INTO below VALUES (1);
SELECT tidemark.inject('dx', '{"id":1}');
ROLLBACK;
BEGIN;
SELECT tidemark.inject('dx', '{"id":1}');
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO below VALUES (2);
INSERT INTO above VALUES (2);
COMMIT;
SELECT tidemark.drop_ingest('dx');

-- a whole test in one transaction, and nothing stays
SELECT count(*) AS before FROM s;
BEGIN;
CREATE FOREIGN TABLE tx (at timestamptz, page text) SERVER m OPTIONS (topic 'clicks', event_time 'at');
CREATE TABLE clicks (LIKE tx);
SELECT tidemark.start_ingest('tx', into_table => 'clicks');
CREATE MATERIALIZED VIEW per_minute WITH (tidemark.continuous) AS
  SELECT window_start, page, count(*) FROM clicks, tidemark.tumble(clicks.at, '1 min') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW pages WITH (tidemark.continuous) AS SELECT page, count(*) FROM tx GROUP BY 1;
SELECT tidemark.inject('tx', ARRAY['{"at":"2026-01-01T00:00:01Z","page":"a"}', '{"at":"2026-01-01T00:00:59Z","page":"a"}', '{"at":"2026-01-01T00:01:00Z","page":"b"}']);
SAVEPOINT x;
SELECT tidemark.inject('tx', '{"at":"2026-01-01T00:01:01Z","page":"b"}');
SELECT * FROM per_minute ORDER BY 1, 2;
ROLLBACK TO x;
SELECT tidemark.inject('tx', '{"at":"2026-01-01T00:02:01Z","page":"c"}');
SELECT * FROM per_minute ORDER BY 1, 2;
SELECT differ('per_minute'), differ('pages');
ROLLBACK;
SELECT count(*) AS after FROM s;
SELECT stream FROM tidemark.ingests;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
