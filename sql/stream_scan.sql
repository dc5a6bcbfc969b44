-- Proves that SELECT on a stream gives its messages as rows, reads no more than
-- its conditions need, and says what it left out.  The log is filled by hand.
CREATE EXTENSION tidemark;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE st (
    id int,
    at timestamptz,
    userid text OPTIONS (field 'userId'),
    k_part int OPTIONS (metadata 'partition'),
    k_offset bigint OPTIONS (metadata 'offset'),
    k_ts timestamptz OPTIONS (metadata 'timestamp'),
    k_key text OPTIONS (metadata 'key'),
    k_headers jsonb OPTIONS (metadata 'headers'),
    k_topic text OPTIONS (metadata 'topic'),
    k_in timestamptz OPTIONS (metadata 'ingest_time'),
    k_wm timestamptz OPTIONS (metadata 'watermark')
) SERVER m OPTIONS (topic 'st', event_time 'at', watermark_delay '10 s');

-- nothing was ever sent
SELECT * FROM st;

CREATE TABLE tidemark_state.log_900 (
    partition int, kafka_offset bigint, kafka_timestamp timestamptz,
    key bytea, value bytea, headers jsonb, PRIMARY KEY (partition, kafka_offset));
INSERT INTO tidemark_state.stream VALUES ('st', NULL, 'tidemark_state.log_900');
INSERT INTO tidemark_state.log_900
    SELECT i % 2, i / 2, timestamptz '2026-01-01 00:00:00+00' + i * interval '1 s',
           convert_to('k' || i, 'UTF8'),
           convert_to(format('{"id": %s, "at": "2026-01-01 00:%s:00", "userId": "u"}', i, lpad((i % 60)::text, 2, '0')), 'UTF8'),
           CASE WHEN i % 5 = 0 THEN jsonb_build_object('h', 'v' || i) END
      FROM generate_series(0, 999) i;

SELECT id, at, k_part, k_offset, k_ts, k_key, k_headers, k_topic, k_in, k_wm FROM st WHERE k_offset < 3 ORDER BY k_part, k_offset;
SELECT count(*), count(id), sum(id), min(k_offset), max(k_offset) FROM st;
SELECT count(*) FROM st;
SELECT st FROM st WHERE k_part = 1 AND k_offset = 5;
SELECT tableoid::regclass, id FROM st WHERE k_part = 0 AND k_offset = 1;

-- what is read: messages in EXPLAIN ANALYZE
CREATE FUNCTION read_by(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
        IF line ~ '(Partitions|Ranges|Messages|Skipped): ' THEN RETURN NEXT trim(line); END IF;
    END LOOP;
END $$;
EXPLAIN (COSTS OFF) SELECT id FROM st WHERE k_part = 1 AND k_offset BETWEEN 10 AND 19 AND id > 3;
SELECT read_by('SELECT id FROM st WHERE k_part = 1 AND k_offset BETWEEN 10 AND 19');
SELECT read_by('SELECT id FROM st WHERE k_part IN (1, 7) AND k_offset > 10 AND 13 >= k_offset');
SELECT read_by('SELECT id FROM st WHERE k_part <= 0 AND k_offset < 4');
SELECT read_by('SELECT id FROM st WHERE k_part <> 0 AND k_offset = 4');
SELECT read_by('SELECT id FROM st WHERE k_offset IN (3, 5)');
SELECT read_by('SELECT id FROM st WHERE k_offset = NULL::bigint');
SELECT read_by('SELECT id FROM st WHERE k_part = 5');
SELECT * FROM read_by('SELECT id FROM st WHERE k_offset = (SELECT 7) AND k_part = 0') r WHERE r LIKE 'Messages%';
SELECT read_by('SELECT id FROM st WHERE k_ts >= ''2026-01-01 00:16:00+00'' AND k_offset >= 490');
SELECT read_by('SELECT id FROM st WHERE k_ts > ''infinity''');
SELECT read_by('SELECT id FROM st WHERE k_offset = 1 + floor(random())::bigint');
SELECT read_by('SELECT id FROM st LIMIT 1');
PREPARE p(bigint) AS SELECT id FROM st WHERE k_offset = $1 AND k_part = 1;
EXECUTE p(3);
SET plan_cache_mode = force_generic_plan;
EXECUTE p(4);
EXPLAIN (COSTS OFF) EXECUTE p(5);
DEALLOCATE p;
RESET plan_cache_mode;

-- every condition is also checked row by row
SELECT count(*) FROM st WHERE k_ts >= '2026-01-01 00:16:00+00';
SELECT count(*) FROM st WHERE k_ts >= date '2026-01-02';
SELECT array_agg(id ORDER BY id) FROM st WHERE k_offset IN (3, 5);

-- rescans
SELECT v, (SELECT count(*) FROM st WHERE k_offset < v) FROM (VALUES (1), (2), (3)) v(v);
SELECT v.v, s.id FROM (VALUES (1), (400)) v(v), LATERAL (SELECT id FROM st WHERE k_offset = v.v AND k_part = 0 LIMIT 1) s;

-- with a plan that would be parallel, a guarded decode still works
CREATE TABLE big AS SELECT i FROM generate_series(1, 1000) i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode');
SELECT count(*) FROM big, st WHERE i = id;
RESET ALL;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';

-- a cursor sees the end as it was
BEGIN;
DECLARE c CURSOR FOR SELECT k_offset FROM st WHERE k_part = 0 AND k_offset >= 498;
FETCH 1 FROM c;
INSERT INTO tidemark_state.log_900 VALUES (0, 500, NULL, NULL, '{"id": 500, "at": "2026-01-01", "userId": null}', NULL);
SELECT k_offset, k_ts, k_key FROM st WHERE k_part = 0 AND k_offset >= 500;
FETCH ALL FROM c;
ROLLBACK;

-- bad messages are skipped and reported
INSERT INTO tidemark_state.log_900 VALUES
    (2, 0, NULL, NULL, '{"id": 1, "at": "2026-01-01", "userId": "u"}', NULL),
    (2, 1, NULL, NULL, '{"id": "x", "at": "2026-01-01"}', NULL),
    (2, 2, NULL, NULL, '{"id": ', NULL),
    (2, 3, NULL, NULL, '{"id": 2, "at": "2026-01-02", "userId": "u"}', NULL);
SELECT id, k_offset, k_wm FROM st WHERE k_part = 2;
SELECT count(*) FROM st WHERE k_part = 2 AND k_offset >= 2;
SELECT read_by('SELECT id FROM st WHERE k_part = 2');

-- decoding uses settings and identity of its own
SET timezone = 'Asia/Tokyo';
SELECT at AT TIME ZONE 'UTC' AS at FROM st WHERE k_part = 2 AND k_offset = 0;
SHOW timezone;
SELECT current_user = session_user AS same;
RESET timezone;

-- near misses
CREATE FOREIGN TABLE near (id int, userid text) SERVER m OPTIONS (topic 'st');
INSERT INTO tidemark_state.stream VALUES ('near', NULL, 'tidemark_state.log_900');
SELECT count(*) FROM near;
SELECT id FROM near LIMIT 1;

-- raw
CREATE FOREIGN TABLE raw (v bytea OPTIONS (metadata 'value'), k_offset bigint OPTIONS (metadata 'offset'), p int OPTIONS (metadata 'partition'))
    SERVER m OPTIONS (topic 'st', format 'raw');
INSERT INTO tidemark_state.stream VALUES ('raw', NULL, 'tidemark_state.log_900');
SELECT convert_from(v, 'UTF8') FROM raw WHERE p = 2 AND k_offset = 2;
ALTER FOREIGN TABLE raw DROP COLUMN v, ADD COLUMN k bytea OPTIONS (metadata 'key');
SELECT * FROM raw WHERE p = 1 AND k_offset < 2;

\set VERBOSITY terse
DELETE FROM tidemark_state.stream;
DROP TABLE tidemark_state.log_900, big;
DROP FUNCTION read_by;
DROP SERVER m CASCADE;
DROP EXTENSION tidemark;
