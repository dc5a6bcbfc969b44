-- Proves that watermarks advance row by row within each partition, whatever the batches, and are stored, shown and read alike.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (id int, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'),
    wm timestamptz OPTIONS (metadata 'watermark'))
  SERVER m OPTIONS (topic 't', event_time 'at', watermark_delay '4 s', max_error_ratio '1');
CREATE TABLE t (id int CHECK (id <> 13), at timestamptz, p int, o bigint, wm timestamptz);
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT partition, watermark, max_event_time FROM tidemark.partitions;

-- in order, equal, out of order, refused by the table (moves it), bad (does not)
CREATE FUNCTION messages() RETURNS text[] LANGUAGE sql AS $$ SELECT ARRAY[
  '{"id":1,"at":"2026-01-01T00:00:10Z"}',
  '{"id":2,"at":"2026-01-01T00:00:10Z"}',
  '{"id":3,"at":"2026-01-01T00:00:05Z"}',
  '{"id":4,"at":"2026-01-01T00:00:20Z"}',
  '{"id":13,"at":"2026-01-01T00:00:30Z"}',
  '{"id":"bad","at":"2026-01-01T00:10:00Z"}',
  '{"id":5,"at":"2026-01-01T00:00:25Z"}',
  '{"id":6,"at":"1970-01-01T00:00:00Z"}',
  '{"id":7,"at":"2026-01-01T00:00:31.5Z"}',
  '{"id":8,"at":"2026-01-01T00:00:31Z"}'] $$;
SELECT tidemark.inject('s', messages());
SELECT * FROM t ORDER BY p, o;
SELECT partition, watermark, max_event_time FROM tidemark.partitions;
SELECT kafka_offset, stage, watermark FROM tidemark.dead_letters ORDER BY 1;
SELECT watermark FROM tidemark.ingests;

-- one by one in another partition: the same
SELECT tidemark.inject('s', m, 1) FROM unnest(messages()) m;
SELECT count(*) AS differences FROM t a FULL JOIN (SELECT * FROM t WHERE p = 1) b USING (o) WHERE a.p = 0 AND a.wm IS DISTINCT FROM b.wm;
SELECT partition, watermark FROM tidemark.partitions ORDER BY 1;
-- a SELECT on the stream computes it, too
SELECT id, o, wm FROM s WHERE p = 0 ORDER BY o;
SELECT count(*) AS differences FROM ((SELECT id, at, p, o, wm FROM s WHERE id IS DISTINCT FROM 13 EXCEPT ALL TABLE t) UNION ALL (TABLE t EXCEPT ALL SELECT * FROM s)) d;
-- over the rows that the scan reads
SELECT id, o, wm FROM s WHERE p = 0 AND o >= 6 ORDER BY o;

-- partitions are on their own; the stream has the smallest
SELECT tidemark.inject('s', '{"id":9,"at":"2026-01-01T01:00:00Z"}', 1);
SELECT partition, watermark, max_event_time FROM tidemark.partitions ORDER BY 1;
SELECT watermark FROM tidemark.ingests;
SELECT tidemark.inject('s', '{"id":9,"at":"2026-01-01T00:00:00Z"}', 2);
SELECT watermark FROM tidemark.ingests;

-- another delay counts from the next batch on, from the same maximum
ALTER FOREIGN TABLE s OPTIONS (SET watermark_delay '1 min');
SELECT tidemark.inject('s', '{"id":10,"at":"2026-01-01T00:00:00Z"}', 1);
SELECT id, wm FROM t WHERE id = 10;
SELECT watermark FROM tidemark.partitions WHERE partition = 1;
SELECT tidemark.drop_ingest('s');

-- event time is the Kafka timestamp when no column is named; a message without it moves nothing
CREATE FOREIGN TABLE k (id int, wm timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'k', watermark_delay '1 s');
CREATE TABLE kt (LIKE k);
SELECT tidemark.start_ingest('k', into_table => 'kt');
SELECT tidemark.inject('k', '{"id":1}', kafka_timestamp => '2026-01-01 00:00:10Z');
SELECT tidemark.inject('k', '{"id":2}', kafka_timestamp => NULL);
SELECT tidemark.inject('k', '{"id":3}', kafka_timestamp => '2026-01-01 00:00:05Z');
SELECT tidemark.inject('k', '{"id":4}', kafka_timestamp => '2026-01-01 00:00:15Z');
SELECT tidemark.inject('k', '{"id":5}', kafka_timestamp => '2026-01-01 00:00:15Z');
SELECT * FROM kt ORDER BY id;
SELECT kafka_offset, sqlstate, message FROM tidemark.dead_letters WHERE stream = 'k'::regclass;

-- timestamp without time zone means UTC; numbers in units
SELECT refused($$ CREATE FOREIGN TABLE n (id int, ts timestamp OPTIONS (time_unit 'ms'), wm int OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'n', event_time 'ts') $$);
CREATE FOREIGN TABLE n2 (id int, ts timestamp OPTIONS (time_unit 'ms'), wm timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'n', event_time 'ts');
CREATE TABLE nt (LIKE n2);
SELECT tidemark.start_ingest('n2', into_table => 'nt');
SET TimeZone = 'Asia/Tokyo';
SELECT tidemark.inject('n2', ARRAY['{"id":1,"ts":1767225600000}', '{"id":2,"ts":1767225600001}']);
SET TimeZone = 'UTC';
SELECT * FROM nt ORDER BY id;
SELECT watermark FROM tidemark.ingests WHERE stream = 'n2'::regclass;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
