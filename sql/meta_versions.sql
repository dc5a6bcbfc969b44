-- Proves that to find rows that every batch writes costs the same (but for a level of the index) however many versions of them an open transaction keeps.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tidemark;
CREATE SCHEMA ing;
SET search_path = ing;
SET client_min_messages = notice;
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE s (k text, at timestamptz) SERVER m OPTIONS (topic 's', event_time 'at');
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, k, count(*) FROM s, tidemark.tumble(at, '1 hour') GROUP BY window_start, k;
CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT k, count(*) FROM s GROUP BY k;

-- without VACUUM in between, which is for isolation/view_versions
DO $$
DECLARE
  t regclass;
BEGIN
  FOR t IN SELECT unnest('{tidemark_state.partition,tidemark_state.view_stats}'::regclass[]) UNION SELECT state_table FROM tidemark_state.view LOOP
    EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', t);
  END LOOP;
END $$;

-- pages of tables and their indexes that batches look at; HOUR in a message is of the day
CREATE FUNCTION looked_at(tables regclass[]) RETURNS bigint LANGUAGE sql AS $$
  SELECT sum(pg_stat_get_xact_blocks_fetched(c)) FROM (SELECT unnest(tables) UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = ANY (tables)) r (c) $$;
CREATE PROCEDURE go(batches int, messages text[], partitions int, tables regclass[], OUT pages bigint) LANGUAGE plpgsql AS $$
BEGIN
  pages := ing.looked_at(tables);
  FOR i IN 1 .. batches LOOP
    PERFORM tidemark.inject('ing.s', (SELECT array_agg(replace(m, 'HOUR', lpad((i % 24)::text, 2, '0'))) FROM unnest(messages) m), i % partitions);
  END LOOP;
  pages := ing.looked_at(tables) - pages;
END $$;
CREATE PROCEDURE compare(batches int, few int, messages text[], partitions int, tables regclass[]) LANGUAGE plpgsql AS $$
DECLARE
  before bigint;
  after bigint;
BEGIN
  CALL ing.go(few, messages, partitions, tables, before);
  CALL ing.go(few, messages, partitions, tables, before);
  CALL ing.go(batches, messages, partitions, tables, after);
  CALL ing.go(few, messages, partitions, tables, after);
  RAISE NOTICE '%', CASE WHEN after < 2 * before THEN 'the same' ELSE format('%s pages, then %s', before, after) END;
END $$;
CREATE PROCEDURE compare_own(batches int) LANGUAGE sql AS $$
  CALL ing.compare(batches, 60, ARRAY['{"k":"a","at":"2026-01-01THOUR:00:00Z"}'], 3, ARRAY['tidemark_state.partition', 'tidemark_state.view_stats']::regclass[]) $$;
CALL compare_own(700);
SELECT partition, rows FROM tidemark_state.partition WHERE stream = 's'::regclass ORDER BY 1;
SELECT count(*) AS wrong FROM tidemark.views, tidemark.verify(view);
CALL compare_own(300);

-- versions of a transaction's own, and of what it took back
BEGIN;
CALL compare_own(300);
SAVEPOINT a;
CALL compare_own(300);
ROLLBACK TO a;
CALL compare_own(30);
SELECT partition, rows FROM tidemark_state.partition WHERE stream = 's'::regclass ORDER BY 1;
COMMIT;
SELECT count(*) AS wrong FROM tidemark.views, tidemark.verify(view);

-- the same of groups, so many in a batch that they are found by walking over the index
CREATE PROCEDURE compare_groups(batches int) LANGUAGE plpgsql AS $$
DECLARE
  messages text[] := ARRAY(SELECT json_build_object('k', k, 'at', '2026-01-01T00:00:00Z') FROM generate_series(1, 100) k);
  states regclass[] := ARRAY(SELECT state_table FROM tidemark_state.view WHERE view = 'ing.w'::regclass);
BEGIN
  CALL ing.compare(batches, 10, messages, 1, states);
END $$;
CALL compare_groups(150);
SELECT count(*) AS wrong FROM tidemark.views, tidemark.verify(view);

-- an index of the key is kept, as REINDEX CONCURRENTLY needs it; others are refused
CREATE UNIQUE INDEX again ON tidemark_state.partition (stream, partition);
CALL compare_own(60);
SET enable_seqscan = off;
ALTER TABLE tidemark_state.partition DROP CONSTRAINT partition_pkey;
SELECT partition, rows FROM tidemark_state.partition WHERE stream = 's'::regclass ORDER BY stream, partition;
RESET enable_seqscan;
ALTER TABLE tidemark_state.partition ADD CONSTRAINT partition_pkey PRIMARY KEY USING INDEX again;
REINDEX INDEX CONCURRENTLY tidemark_state.partition_pkey;
SELECT tidemark.inject('s', '{"k":"a","at":"2026-01-01T00:00:00Z"}');
CREATE INDEX more ON tidemark_state.partition (next_offset);
SELECT tidemark.inject('s', '{"k":"a","at":"2026-01-01T00:00:00Z"}');
DROP INDEX tidemark_state.more;
CREATE INDEX more ON tidemark_state.partition (stream, partition) WHERE rows > 0;
SELECT tidemark.inject('s', '{"k":"a","at":"2026-01-01T00:00:00Z"}');
DROP INDEX tidemark_state.more;
SELECT tidemark.inject('s', '{"k":"a","at":"2026-01-01T00:00:00Z"}');

SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP SCHEMA ing CASCADE;
