-- monitor_views: the views an operator reads show true numbers, to those who
-- may see them, and message content to those who may read the stream.
SET client_min_messages = warning;
CREATE EXTENSION tidemark;
CREATE ROLE monitor_owner;
CREATE ROLE monitor_reader;
CREATE ROLE monitor_operator IN ROLE pg_monitor;
CREATE ROLE monitor_stranger;
GRANT CREATE ON SCHEMA public TO monitor_owner;
CREATE SERVER monitor_server FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
GRANT USAGE ON FOREIGN SERVER monitor_server TO monitor_owner;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';

-- every view and every column of them is described
SELECT c.relname, a.attname
FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'tidemark'::regnamespace AND c.relkind = 'v'
      AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL);
SELECT p.proname FROM pg_proc p
WHERE p.pronamespace IN ('tidemark'::regnamespace, 'tidemark_state'::regnamespace)
      AND obj_description(p.oid, 'pg_proc') IS NULL;

-- nothing is there yet
SELECT * FROM tidemark.ingests;
SELECT * FROM tidemark.partitions;
SELECT * FROM tidemark.views;
SELECT * FROM tidemark.dead_letters;

SET ROLE monitor_owner;
CREATE FOREIGN TABLE m_clicks (id integer NOT NULL, page text, ts timestamptz)
    SERVER monitor_server OPTIONS (topic 'clicks', event_time 'ts', max_error_ratio '1');
CREATE TABLE m_pages (id integer CHECK (id < 100), page text, ts timestamptz);
SELECT tidemark.start_ingest('m_clicks', 'm_pages');
CREATE MATERIALIZED VIEW m_counts WITH (tidemark.continuous) AS
    SELECT page, count(*) AS n FROM m_clicks GROUP BY page;
CREATE MATERIALIZED VIEW m_empty WITH (tidemark.continuous) AS
    SELECT count(*) AS n FROM m_pages WITH NO DATA;
RESET ROLE;
GRANT SELECT ON m_clicks, m_counts TO monitor_reader;

SELECT stream, into_table, state, workers, rows, dead_letters, skipped, shed, lag, delay, watermark, watermark_reason,
       rows_per_second, topic
FROM tidemark.ingests;

SET ROLE monitor_owner;
SELECT tidemark.inject('m_clicks', '{"id": 1, "page": "a", "ts": "2024-01-01 12:00:00Z"}', 0);
SELECT tidemark.inject('m_clicks', '{"id": 2, "page": "b", "ts": "2024-01-01 12:12:30Z"}', 2);
SELECT tidemark.inject('m_clicks', 'no json', 1, 'key', '{"h": "1"}', '2024-01-01 13:00Z');
SELECT tidemark.inject('m_clicks', '\x7b226964223a0022ff80c3a9f09f92a7e282'::bytea, 2);
SELECT tidemark.inject('m_clicks', '{"id": 200, "page": "c", "ts": "2024-01-01 12:13:00Z"}', 2);
SELECT tidemark.inject('m_clicks', '{"id": "' || repeat('é', 2000) || '"}', 0);
SELECT tidemark.inject('m_clicks', NULL::text, 0);
SELECT stream, into_table, state, reason, hint, sqlstate, since <= now() AS since, workers, rows, dead_letters, skipped,
       lag, delay, watermark, watermark_reason, last_commit IS NOT NULL AS committed, topic
FROM tidemark.ingests;
SELECT stream, partition, next_offset, end_offset, lag, watermark, max_event_time, idle,
       last_message_at IS NOT NULL AS had_messages, error, rows, dead_letters, skipped, shed
FROM tidemark.partitions ORDER BY partition;
SELECT view, source, owner, definition LIKE '%count(*) AS n%' AS definition, options, start_at, state, reason, hint, sqlstate, progress, lag, delay,
       watermark, groups >= 0 AS groups, state_bytes > 0 AS bytes, rows, late, maintain_time > '0 s' AS maintained
FROM tidemark.views ORDER BY view::text \gx
SELECT stream, topic, partition, kafka_offset, watermark, key, stage, sqlstate, headers,
       kafka_timestamp = '2024-01-01 13:00Z' AS given, recorded_at IS NOT NULL AS recorded
FROM tidemark.dead_letters ORDER BY partition, kafka_offset;
SELECT partition, kafka_offset, length(value) AS bytes, length(value_text) AS characters, left(value_text, 50) AS value_text
FROM tidemark.dead_letters ORDER BY partition, kafka_offset;

-- the slowest partition is named
SELECT tidemark.inject('m_clicks', '{"id": 3, "page": "a", "ts": "2024-01-01 12:12:00Z"}', 1);
SELECT watermark, watermark_reason FROM tidemark.ingests;
-- paused
SELECT tidemark.pause('m_clicks');
SELECT stream, state, reason, hint, sqlstate FROM tidemark.ingests;
SELECT tidemark.pause('m_counts');
SELECT view, state, reason, hint, progress, lag, watermark FROM tidemark.views ORDER BY view::text;
SELECT tidemark.resume('m_clicks');
SELECT tidemark.resume('m_counts');
SELECT view, state, reason, progress, lag FROM tidemark.views ORDER BY view::text;
RESET ROLE;

-- a restored ingest: its stamps are those of another cluster
BEGIN;
UPDATE tidemark_state.ingest SET system_identifier = 1;
UPDATE tidemark_state.view SET system_identifier = 1;
SELECT stream, state, reason, hint FROM tidemark.ingests;
SELECT view, state, reason, hint FROM tidemark.views ORDER BY view::text;
SELECT tidemark.resume(stream) FROM tidemark.ingests WHERE state = 'paused';
SELECT stream, state, reason FROM tidemark.ingests;
SELECT view, state, reason FROM tidemark.views ORDER BY view::text;
ROLLBACK;

-- a stream that no worker reads although one should
BEGIN;
CREATE SERVER monitor_kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '127.0.0.1:1');
CREATE FOREIGN TABLE m_remote (id integer) SERVER monitor_kafka OPTIONS (topic 'remote');
SELECT tidemark.start_ingest('m_remote', workers => 2);
SELECT state, reason, lag, watermark_reason FROM tidemark.ingests WHERE stream = 'm_remote'::regclass;
INSERT INTO tidemark_state.partition (stream, partition, first_offset, next_offset, end_offset, rows, dead_letters,
                                      skipped, last_timestamp, last_message_at)
VALUES ('m_remote', 0, 0, 5, 15, 5, 0, 0, now() - interval '3 h', now()),
       ('m_remote', 1, 0, 7, 7, 7, 0, 0, now(), now() - interval '5 min');
SELECT lag, delay >= '3 h' AND delay < '4 h' AS delay, watermark_reason
FROM tidemark.ingests WHERE stream = 'm_remote'::regclass;
SELECT partition, lag, idle FROM tidemark.partitions WHERE stream = 'm_remote'::regclass ORDER BY partition;
UPDATE tidemark_state.ingest SET since = now() - interval '1 h' WHERE stream = 'm_remote'::regclass;
-- (a server that has just started gets 10 s to start its processes)
SELECT pg_sleep(greatest(0, extract(epoch FROM pg_postmaster_start_time() + interval '10.5 s' - clock_timestamp())));
SELECT state, reason, hint FROM tidemark.ingests WHERE stream = 'm_remote'::regclass;
ROLLBACK;

-- who sees what: rows of what one owns or may SELECT
SET ROLE monitor_stranger;
SELECT count(*) FROM tidemark.ingests;
SELECT count(*) FROM tidemark.partitions;
SELECT count(*) FROM tidemark.views;
SELECT count(*) FROM tidemark.workers;
SELECT count(*) FROM tidemark.dead_letters;
SELECT count(*) FROM tidemark_state.dead_letters('m_clicks'::regclass);
DELETE FROM tidemark.dead_letters;
SET ROLE monitor_operator;
SELECT stream FROM tidemark.ingests;
SELECT partition FROM tidemark.partitions ORDER BY partition;
SELECT view FROM tidemark.views ORDER BY view::text;
SELECT count(*) FROM tidemark.dead_letters;
SELECT count(*) FROM tidemark_state.dead_letters('m_clicks'::regclass);
SET ROLE monitor_reader;
SELECT stream FROM tidemark.ingests;
SELECT partition FROM tidemark.partitions ORDER BY partition;
SELECT view FROM tidemark.views ORDER BY view::text;
SELECT partition, kafka_offset FROM tidemark.dead_letters ORDER BY partition, kafka_offset;
DELETE FROM tidemark.dead_letters;
\set VERBOSITY terse
INSERT INTO tidemark.dead_letters (stream) VALUES ('m_clicks');
UPDATE tidemark.dead_letters SET message = '';
UPDATE tidemark_state.ingest SET state = 'failed';
\set VERBOSITY default

-- a condition of the reader's does not see what he may not
SET ROLE monitor_stranger;
CREATE FUNCTION pg_temp.peek(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
$$BEGIN RAISE EXCEPTION 'saw %', $1; END$$;
SELECT stream FROM tidemark.ingests WHERE pg_temp.peek(stream);
SELECT view FROM tidemark.views WHERE pg_temp.peek(view);

-- the owner deletes: only the rows asked for
SET ROLE monitor_owner;
DELETE FROM tidemark.dead_letters WHERE sqlstate = '22P02' AND partition = 1 RETURNING partition, kafka_offset;
SELECT partition, kafka_offset, stage FROM tidemark.dead_letters ORDER BY partition, kafka_offset;
DELETE FROM tidemark.dead_letters WHERE stream = 'm_clicks'::regclass AND stage = 'decode' AND partition = 0;
SELECT partition, kafka_offset, stage FROM tidemark.dead_letters ORDER BY partition, kafka_offset;
-- what the owner puts on the table runs as the owner
SELECT dead_letters AS dead FROM tidemark_state.stream WHERE stream = 'm_clicks'::regclass \gset
CREATE FUNCTION m_spy() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE WARNING 'deleted as %', current_user; RETURN old; END$$;
CREATE TRIGGER spy BEFORE DELETE ON :dead FOR EACH ROW EXECUTE FUNCTION m_spy();
RESET ROLE;
DELETE FROM tidemark.dead_letters;
SELECT count(*) FROM tidemark.dead_letters;
-- counters only grow
SELECT dead_letters FROM tidemark.ingests;

-- a stream whose dead-letter table is gone
SET ROLE monitor_owner;
DROP TABLE :dead;
SELECT count(*) FROM tidemark.dead_letters;
RESET ROLE;

-- text of bytes
SELECT tidemark_state.readable_text(b) FROM (VALUES
    (''::bytea), ('\x00'), ('\xc080'), ('\xeda080'), ('\xf4908080'), ('\xefbfbd'), ('\xe282'), ('\x5c783030')) v (b);
SELECT length(tidemark_state.readable_text(convert_to(repeat('💧', 1001), 'UTF8')));

-- durations in words
SELECT tidemark_state.in_words(d::interval)
FROM (VALUES ('3.7 s'), ('119 s'), ('12 min 30 s'), ('5 h'), ('50 h')) v (d);

DROP OWNED BY monitor_owner CASCADE;
DROP EXTENSION tidemark CASCADE;
DROP OWNED BY monitor_reader, monitor_stranger;
DROP ROLE monitor_owner, monitor_reader, monitor_operator, monitor_stranger;
