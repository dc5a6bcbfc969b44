-- Proves both verdicts on bad messages: what is kept of them, that neighbours stay, and what views over stream and table show.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (id int NOT NULL, k text, v numeric(5,2), at timestamptz, tags int[], ok boolean, day date)
  SERVER m OPTIONS (topic 'dirty', event_time 'at', watermark_delay '1 s', max_error_ratio '1');
CREATE TABLE t (id int PRIMARY KEY CHECK (id <> 13), k varchar(4), v numeric(4,1), at timestamptz);
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE MATERIALIZED VIEW vs WITH (tidemark.continuous) AS SELECT k, count(*), sum(v) FROM s GROUP BY k;
CREATE MATERIALIZED VIEW vt WITH (tidemark.continuous) AS SELECT k, count(*), sum(v) FROM t GROUP BY k;

-- decode: every kind of bad message between good neighbours, in one batch
SELECT tidemark.inject('s', ARRAY[
  '{"id":1,"k":"a","at":"2026-01-01T00:00:01Z"}',
  '{bad',
  'null', '[]', '7', '""', '{}', '{"id":null,"at":"2026-01-01T00:00:01Z"}',
  '{"id":2,"k":"a","at":"2026-01-01T00:00:02Z"}',
  '{"id":99999999999,"at":"2026-01-01T00:00:01Z"}',
  '{"id":"x","at":"2026-01-01T00:00:01Z"}',
  '{"id":1.5,"at":"2026-01-01T00:00:01Z"}',
  '{"id":3,"v":12345.678,"at":"2026-01-01T00:00:01Z"}',
  '{"id":3,"at":"yesterday-ish"}',
  '{"id":3,"at":"2026-02-30T00:00:00Z"}',
  '{"id":3,"at":5}',
  '{"id":3}',
  '{"id":3,"at":"infinity"}',
  '{"id":3,"at":"-infinity"}',
  '{"id":3,"tags":{"a":1},"at":"2026-01-01T00:00:01Z"}',
  '{"id":3,"tags":["x"],"at":"2026-01-01T00:00:01Z"}',
  '{"id":3,"ok":"perhaps","at":"2026-01-01T00:00:01Z"}',
  '{"id":3,"day":"2026-13-01","at":"2026-01-01T00:00:01Z"}',
  '{"id":4,"k":"b","v":1,"tags":[1,2],"ok":true,"day":"2026-01-01","at":"2026-01-01T00:00:04Z"}',
  NULL], 0, 'key', '{"h": "1"}', '2026-01-01 00:00:00Z');
SELECT tidemark.inject('s', '\x7b226964223a31ff7d'::bytea, 0, kafka_timestamp => '2026-01-01 00:00:00Z');
SELECT tidemark.inject('s', '\x7b226964223a352c226b223a2261ff222c226174223a22323032362d30312d30315430303a30303a30345a227d'::bytea, 0, kafka_timestamp => NULL);
SELECT tidemark.inject('s', '{"id":5,"k":"a\u0000b","at":"2026-01-01T00:00:04Z"}', 0, kafka_timestamp => NULL);
SELECT id, k, v, at FROM t ORDER BY id;
SELECT kafka_offset AS off, stage, sqlstate, watermark, message FROM tidemark.dead_letters ORDER BY kafka_offset;
SELECT stream, topic, partition, kafka_offset, kafka_timestamp, watermark, key, value, value_text, headers FROM tidemark.dead_letters
  WHERE kafka_offset IN (1, 24, 25, 26) ORDER BY kafka_offset;
SELECT rows, dead_letters, state FROM tidemark.ingests;
SELECT differ('vs'), differ('vt');

-- table: refused rows are missing there and in views over it, views over the stream keep them
SELECT tidemark.inject('s', ARRAY[
  '{"id":5,"k":"c","v":1.25,"at":"2026-01-01T00:00:05Z"}',
  '{"id":1,"k":"dup","at":"2026-01-01T00:00:05Z"}',
  '{"id":13,"k":"no","at":"2026-01-01T00:00:20Z"}',
  '{"id":6,"k":"longer","at":"2026-01-01T00:00:06Z"}',
  '{"id":6,"k":"six","v":1,"at":"2026-01-01T00:00:06Z"}',
  '{"id":7,"k":"big","v":999.99,"at":"2026-01-01T00:00:07Z"}',
  '{"id":6,"k":"six2","at":"2026-01-01T00:00:06Z"}',
  '{"id":8,"k":"c","at":"2026-01-01T00:00:08Z"}'], kafka_timestamp => '2026-01-01 00:00:00Z');
SELECT * FROM t WHERE id >= 5 ORDER BY id;
SELECT kafka_offset AS off, stage, sqlstate, watermark, message FROM tidemark.dead_letters WHERE stage = 'table' ORDER BY kafka_offset;
SELECT * FROM vs ORDER BY k;
SELECT * FROM vt ORDER BY k;
SELECT differ('vs'), differ('vt');
SELECT watermark FROM tidemark.partitions;

-- errors of the moment are no dead letters: all of it is rolled back
CREATE FUNCTION moment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'out of luck' USING ERRCODE = tg_argv[0]; END $$;
CREATE FUNCTION with_trigger(code text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text; n bigint;
BEGIN
  EXECUTE format('CREATE TRIGGER moment BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION moment(%L)', code);
  SELECT count(*) INTO n FROM tidemark.dead_letters;
  r := refused($q$ SELECT tidemark.inject('s', '{"id":50,"k":"c","at":"2026-01-01T00:00:08Z"}') $q$);
  SELECT count(*) - n INTO n FROM tidemark.dead_letters;
  DROP TRIGGER moment ON t;
  RETURN code || ' -> ' || r || ', ' || n || ' dead letters';
END $$;
SELECT with_trigger(c) FROM unnest(ARRAY['08006', '40001', '53100', '55P03', '57014', '58030', '22012', '23514', '54000', 'P0001', '42P01', 'XX000']) c;
SELECT count(*) FROM t WHERE id = 50;
SELECT differ('vs'), differ('vt');
DROP MATERIALIZED VIEW vs, vt;
SELECT tidemark.drop_ingest('s');
-- they stay behind the ingest, and a new one may find the same again
SELECT count(*) > 0 AS kept FROM tidemark.dead_letters;
DELETE FROM tidemark.dead_letters;
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT count(*), count(DISTINCT kafka_offset) FROM tidemark.dead_letters;
SELECT tidemark.drop_ingest('s');
TRUNCATE t;
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT dead_letters, rows FROM tidemark.ingests;
SELECT tidemark.drop_ingest('s');

-- a table that needs what the stream does not have
CREATE TABLE strict (id int, must text NOT NULL);
CREATE FOREIGN TABLE r (id int) SERVER m OPTIONS (topic 'r');
SELECT tidemark.start_ingest('r', into_table => 'strict');
SELECT tidemark.inject('r', '{"id":1}');
SELECT stage, sqlstate, message FROM tidemark.dead_letters WHERE stream = 'r'::regclass;
SELECT tidemark.drop_ingest('r');

-- too many of them: judged from the 100th message on
CREATE FOREIGN TABLE f (id int) SERVER m OPTIONS (topic 'f');
SELECT tidemark.start_ingest('f');
SELECT tidemark.inject('f', (SELECT array_agg('{"id":x}'::text) FROM generate_series(1, 99)));
SELECT state, dead_letters FROM tidemark.ingests;
SELECT tidemark.inject('f', ARRAY['{"id":1}', '{"id":y}', '{"id":2}']);
SELECT state, sqlstate, reason, hint, dead_letters, rows FROM tidemark.ingests;
SELECT * FROM positions('f');
-- counted anew after resume
SELECT tidemark.resume('f');
SELECT state, dead_letters, rows FROM tidemark.ingests;
SELECT tidemark.inject('f', (SELECT array_agg(CASE WHEN i % 10 = 0 THEN 'x' ELSE format('{"id":%s}', i) END ORDER BY i) FROM generate_series(1, 99) i));
SELECT tidemark.inject('f', ARRAY['{"id":1}', '{"id":1}']);
SELECT state FROM tidemark.ingests;
SELECT tidemark.inject('f', ARRAY['bad', 'bad']);
SELECT state, reason FROM tidemark.ingests;
SELECT tidemark.drop_ingest('f');
-- ratio 0: the 100th message decides
CREATE FOREIGN TABLE z (id int) SERVER m OPTIONS (topic 'z', max_error_ratio '0');
SELECT tidemark.start_ingest('z');
SELECT tidemark.inject('z', (SELECT array_agg('{"id":1}'::text) FROM generate_series(1, 99)));
SELECT tidemark.inject('z', 'bad');
SELECT state, reason FROM tidemark.ingests;
SELECT tidemark.drop_ingest('z');

-- on_error fail: the message is not passed
CREATE FOREIGN TABLE e (id int) SERVER m OPTIONS (topic 'e', on_error 'fail');
CREATE TABLE et (id int CHECK (id < 10));
CREATE MATERIALIZED VIEW ve WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM e;
CREATE MATERIALIZED VIEW vet WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM et;
SELECT tidemark.alter_ingest('e', into_table => 'et');
SELECT tidemark.inject('e', ARRAY['{"id":1}', 'bad', '{"id":2}']);
SELECT state, sqlstate, reason, hint FROM tidemark.ingests;
TABLE et;
SELECT * FROM positions('e');
SELECT count(*) FROM tidemark.dead_letters WHERE stream = 'e'::regclass;
SELECT tidemark.reset_ingest('e', '{"0": 2}');
SELECT tidemark.resume('e');
TABLE et;
-- also for what the table refuses
SELECT tidemark.inject('e', ARRAY['{"id":3}', '{"id":11}', '{"id":4}']);
SELECT state, sqlstate, reason, hint FROM tidemark.ingests;
TABLE et;
SELECT * FROM positions('e');
SELECT stage, sqlstate, message FROM tidemark.dead_letters WHERE stream = 'e'::regclass;
TABLE ve;
SELECT differ('vet'), differ('ve', 'SELECT count(*), sum(id) FROM ing.et');
ALTER TABLE et DROP CONSTRAINT et_id_check;
SELECT tidemark.resume('e');
TABLE et;
SELECT differ('vet'), differ('ve', 'SELECT count(*), sum(id) FROM ing.et');

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
