-- Proves that on a manual stream all windows close at once, however many groups they have.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set ECHO all

CREATE FOREIGN TABLE s (k int, at timestamptz) SERVER m
  OPTIONS (topic 't', event_time 'at', watermark_idle_timeout '1 min', watermark_when_idle 'wall_clock', watermark_max_future 'infinity');
SELECT tidemark.start_ingest('s');
SELECT tidemark.set_clock('2026-01-01 00:00Z');
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_end, k, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_end, k;
CREATE FUNCTION messages(at timestamptz) RETURNS text[] LANGUAGE sql AS $$
  SELECT array_agg(json_build_object('k', k, 'at', at)::text) FROM generate_series(1, 10001) k $$;
SELECT tidemark.inject('s', messages('2026-01-01 00:00Z')) IS NOT NULL AS injected;
-- by the clock
SELECT tidemark.set_clock('2026-01-01 01:00Z');
SELECT count(*), (SELECT closed FROM tidemark.views) FROM v;
-- by a message
SELECT tidemark.inject('s', messages('2026-01-01 02:00Z')) IS NOT NULL AS injected;
SELECT tidemark.inject('s', '{"k":1,"at":"2026-01-01T02:01:00Z"}');
SELECT count(*), (SELECT closed FROM tidemark.views) FROM v;
-- of a view over history
CREATE MATERIALIZED VIEW later WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_end, k, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_end, k;
SELECT count(*) FROM later;
SELECT * FROM tidemark.verify('v');
SELECT * FROM tidemark.verify('later');

SET client_min_messages = warning;
SELECT tidemark.set_clock(NULL);
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
