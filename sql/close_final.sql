-- Proves that a view of closed windows shows each window once, in order, and equal to the batch query, whatever else is done to it.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (k text, v int, at timestamptz) SERVER m OPTIONS (topic 't', event_time 'at', watermark_delay '5 s');
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, window_end, k AS "Key", count(*) AS n, sum(v)::int AS total, avg(v) AS mean
  FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end, k;
\d v
SELECT tidemark.inject('s', ARRAY[
  '{"k":"a","v":1,"at":"2026-01-01T00:00:01Z"}', '{"k":"b","v":2,"at":"2026-01-01T00:00:09Z"}',
  '{"k":null,"v":3,"at":"2026-01-01T00:00:09Z"}', '{"k":"a","v":4,"at":"2026-01-01T00:00:14.999999Z"}']);
-- the watermark stands just below the end of the first window
SELECT * FROM v;
SELECT horizon, closed_until, pruned_until, closed FROM tidemark.views;
SELECT tidemark.inject('s', '{"k":"a","v":5,"at":"2026-01-01T00:00:15Z"}');
SELECT window_start, window_end, "Key", n, total, mean, closed_at <= now() + '1 min' AS closed FROM v;
SELECT horizon, closed_until, pruned_until, closed FROM tidemark.views;

-- what is shown is the batch query over closed windows; the boundary itself is on time
CREATE FUNCTION wrong(view regclass, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE columns text; result bigint;
BEGIN
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
    WHERE attrelid = view AND attnum > 0 AND attname <> 'closed_at';
  EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL (%3$s)) UNION ALL ((%3$s) EXCEPT ALL SELECT %1$s FROM %2$s)) d',
                 columns, view, query) INTO result;
  RETURN result;
END $$;
CREATE FUNCTION closed_until(of regclass) RETURNS timestamptz LANGUAGE sql STABLE AS
  $$ SELECT closed_until FROM tidemark.views WHERE view = of $$;
CREATE FUNCTION batch(until timestamptz) RETURNS text LANGUAGE sql AS
$$ SELECT format('SELECT window_start, window_end, k, count(*), sum(v)::int, avg(v)
  FROM s, tidemark.tumble(at, ''10 s'') GROUP BY window_start, window_end, k HAVING window_end <= %L', until) $$;
SELECT wrong('v', batch(closed_until('v')));
-- the state has open windows only
SELECT count(*) AS groups, min(g1) FROM tidemark_state.s_1;

-- random order within the delay: each window once, in order
SELECT setseed(0.5);
SELECT count(*) FROM (SELECT tidemark.inject('s', json_build_object('k', chr(97 + i % 7), 'v', i,
    'at', timestamptz '2026-01-01 00:01:00Z' + i * interval '300 ms' - random() * interval '4.9 s')::text)
  FROM generate_series(1, 600) i) d;
SELECT wrong('v', batch(closed_until('v'))), count(*), count(DISTINCT (window_start, "Key")) FROM v;
SELECT count(*) FILTER (WHERE window_end < before) AS out_of_order
  FROM (SELECT window_end, lag(window_end) OVER (ORDER BY ctid) AS before FROM tidemark_state.f_1) d;
-- a late row changes nothing that is closed
SELECT tidemark.inject('s', '{"k":"a","v":1000000,"at":"2026-01-01T00:00:01Z"}');
SELECT max(total) < 1000000 AS unchanged FROM v;

-- nobody writes it
SELECT refused('INSERT INTO v (n) VALUES (1)');
SELECT refused('DELETE FROM v');
SELECT refused('UPDATE tidemark_state.f_1 SET n = 0');
