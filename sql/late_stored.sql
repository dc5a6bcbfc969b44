-- Proves that rows of a table are judged by what the table has, also when a trigger has changed it on the way.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set ECHO all

CREATE FOREIGN TABLE s (id int, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'), wm timestamptz OPTIONS (metadata 'watermark'))
  SERVER m OPTIONS (topic 'stored', event_time 'at', watermark_delay '0 s');
CREATE TABLE t (LIKE s);
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    NEW.wm := CASE WHEN NEW.id = 3 THEN NULL WHEN NEW.id = 5 THEN '2026-01-01 01:00Z' ELSE NEW.wm END;
    NEW.at := CASE WHEN NEW.id = 4 THEN NEW.at - interval '10 min' WHEN NEW.id = 6 THEN NEW.wm + interval '1 s' ELSE NEW.at END;
    NEW.o := NEW.o + 100;
    RETURN NEW;
END
$$;
CREATE TRIGGER change BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION change();
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS
  SELECT window_start, count(*), sum(id) FROM t, tidemark.tumble(at, '1 min') GROUP BY window_start;
CREATE MATERIALIZED VIEW f WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.late = 'table') AS
  SELECT window_start, count(*), sum(id) FROM t, tidemark.tumble(at, '1 min') GROUP BY window_start;
SELECT tidemark.inject('s', ARRAY['{"id":1,"at":"2026-01-01T00:00:10Z"}', '{"id":2,"at":"2026-01-01T00:05:00Z"}',
  '{"id":3,"at":"2026-01-01T00:00:20Z"}',   -- late, but its watermark is taken away
  '{"id":4,"at":"2026-01-01T00:05:10Z"}',   -- on time, but sent back
  '{"id":5,"at":"2026-01-01T00:05:20Z"}',   -- on time, but with a later watermark
  '{"id":6,"at":"2026-01-01T00:00:30Z"}',   -- late, but brought forward
  '{"id":7,"at":"2026-01-01T00:00:40Z"}']); -- late
SELECT id, at, o, wm FROM t ORDER BY o;
SELECT * FROM v ORDER BY 1;
SELECT view, row->>'id' AS id, kafka_offset, event_time, watermark FROM tidemark.late_rows ORDER BY 1, 2;
SELECT * FROM tidemark.verify('v');
SELECT window_start, count, sum FROM f ORDER BY 1;
SELECT * FROM tidemark.verify('f');
-- the same as history
CREATE MATERIALIZED VIEW h WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, count(*), sum(id) FROM t, tidemark.tumble(at, '1 min') GROUP BY window_start;
TABLE h EXCEPT ALL TABLE v;
TABLE v EXCEPT ALL TABLE h;
SELECT tidemark.admit_late('v');
SELECT * FROM tidemark.verify('v');

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
