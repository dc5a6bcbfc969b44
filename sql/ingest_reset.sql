-- Proves that reset_ingest() moves forward only, by partition, and records what it skips.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (id int) SERVER m OPTIONS (topic 't', on_error 'fail');
CREATE TABLE t (id int);
CREATE TABLE plain (id int);
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM t;
SELECT refused($$ SELECT tidemark.reset_ingest('plain', 'latest') $$);
SELECT refused($$ SELECT tidemark.reset_ingest(4294967295::oid::regclass, 'latest') $$);
SELECT refused($$ SELECT tidemark.reset_ingest('s', 'latest') $$);
SELECT tidemark.reset_ingest('s', NULL) IS NULL AS nothing;
SELECT tidemark.start_ingest('s', into_table => 't', start_at => 'latest');
SELECT tidemark.inject('s', ARRAY['{"id":1}', '{"id":2}'], 0, kafka_timestamp => '2026-01-01 00:00:01Z');
SELECT tidemark.inject('s', ARRAY['{"id":101}', '{"id":102}'], 1, kafka_timestamp => '2026-01-01 00:00:02Z');
SELECT refused($$ SELECT tidemark.reset_ingest('s', 'latest') $$);

-- one poison message
SELECT tidemark.inject('s', ARRAY['{"id":3}', 'poison', '{"id":4}'], 0, kafka_timestamp => '2026-01-01 00:00:03Z');
SELECT state, hint FROM tidemark.ingests;
SELECT refused($$ SELECT tidemark.reset_ingest('s', 'somewhere') $$);
SELECT refused($$ SELECT tidemark.reset_ingest('s', '{"0": 2}') $$);
SELECT refused($$ SELECT tidemark.reset_ingest('s', 'earliest') $$);
SELECT refused($$ SELECT tidemark.reset_ingest('s', '{"7": 0}') $$);
SELECT refused($$ SELECT tidemark.reset_ingest('s', '{"0": 6}') $$);
SELECT refused($$ SELECT tidemark.reset_ingest('s', '2025-01-01Z') $$);
SELECT * FROM positions('s');
SELECT tidemark.reset_ingest('s', '{"0": 4}');
SELECT state, reason, hint, sqlstate, skipped FROM tidemark.ingests;
SELECT * FROM positions('s');
SELECT stream, partition, from_offset, to_offset FROM tidemark_state.skipped_range;
SELECT tidemark.resume('s');
SELECT state FROM tidemark.ingests;
TABLE t;
SELECT differ('v');

-- the same position: nothing is skipped; latest; a timestamp
SELECT tidemark.pause('s');
SELECT tidemark.reset_ingest('s', '{"0": 5, "1": 2}');
SELECT stream, partition, from_offset, to_offset FROM tidemark_state.skipped_range;
SELECT tidemark.inject('s', ARRAY['{"id":5}', '{"id":6}'], 0, kafka_timestamp => '2026-01-01 00:00:05Z');
SELECT tidemark.inject('s', ARRAY['{"id":103}'], 1, kafka_timestamp => '2026-01-01 00:00:06Z');
SELECT tidemark.inject('s', ARRAY['{"id":201}'], 2, kafka_timestamp => '2026-01-01 00:00:06Z');
SELECT tidemark.reset_ingest('s', '2026-01-01 00:00:06Z');
SELECT * FROM positions('s');
-- a partition that came meanwhile
SELECT tidemark.inject('s', ARRAY['{"id":202}'], 2, kafka_timestamp => '2026-01-01 00:00:06Z');
SELECT tidemark.reset_ingest('s', '{"2": 1}');
BEGIN;
SELECT tidemark.reset_ingest('s', 'latest');
SELECT * FROM positions('s');
ROLLBACK;
SELECT * FROM positions('s');
SELECT tidemark.resume('s');
SELECT * FROM t ORDER BY id;
SELECT stream, partition, from_offset, to_offset FROM tidemark_state.skipped_range ORDER BY 2, 3;
SELECT skipped FROM tidemark.ingests;
SELECT differ('v');
-- a view over the stream is its query over rows that were applied
CREATE MATERIALIZED VIEW vs WITH (tidemark.continuous) AS SELECT count(*) FROM s;
SELECT tidemark.pause('s');
SELECT tidemark.inject('s', ARRAY['{"id":7}', '{"id":8}'], 0);
SELECT tidemark.reset_ingest('s', '{"0": 8}');
SELECT tidemark.resume('s');
TABLE vs;
SELECT * FROM tidemark.verify('vs');
DROP MATERIALIZED VIEW v, vs;
-- the range goes with the stream
DROP FOREIGN TABLE s;
SELECT count(*) FROM tidemark_state.skipped_range;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
