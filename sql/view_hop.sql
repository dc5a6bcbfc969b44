-- Proves that views over hop() equal their query, row by row late or not, and count each row once
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set panes :abs_srcdir '/test/panes.sql'
\i :panes
\set SHOW_CONTEXT never
\set ECHO all

-- several keys, states of all kinds, FILTER, HAVING; over the table and over the stream
CREATE MATERIALIZED VIEW h WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, upper(name) AS name, count(*), sum(x), avg(n), max(name) AS longest, count(*) FILTER (WHERE x > 0) AS positive,
       window_end - window_start AS size, stddev(n) / nullif(count(n), 0) AS spread
  FROM tick, tidemark.hop(tick.at, '5 s', '12 s') GROUP BY window_start, window_end, k, upper(tick.name);
CREATE MATERIALIZED VIEW over_stream WITH (tidemark.continuous) AS
SELECT k, s, count(*), avg(n), min(x) FROM tick_stream t CROSS JOIN tidemark.hop(ts => t.at, size => '12 s', slide => '5 s', origin => '2026-01-01 00:00:02Z') AS w(s, e)
 WHERE x IS NOT NULL GROUP BY s, k HAVING count(*) > 1 OR s < '2026-01-01 00:03Z';
-- one column of the window only
CREATE MATERIALIZED VIEW by_end WITH (tidemark.continuous) AS
SELECT k, sum(x), window_end FROM tick JOIN tidemark.hop(at, '20 s', '1 min') w ON true GROUP BY k, w.window_end;
CREATE MATERIALIZED VIEW by_start WITH (tidemark.continuous) AS
SELECT count(*) FROM tick, tidemark.hop(local, '20 s', '1 min') GROUP BY window_start;
-- gaps between windows: some rows are in none
CREATE MATERIALIZED VIEW gaps WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*), sum(n) FROM tick, tidemark.hop(at, '20 s', '7 s') GROUP BY 1, 2;
-- joined, with the window in the middle of the FROM clause and a time that is computed
CREATE MATERIALIZED VIEW joined WITH (tidemark.continuous) AS
SELECT window_start, d.label, window_end, sum(x * d.k), count(d.k)
  FROM tick JOIN tidemark.hop(at + interval '3 s' * coalesce(tick.k, 0), '5 s', '20 s') w ON x > 0 LEFT JOIN dim d ON d.k = tick.k GROUP BY 1, 2, 3;
-- time zones, days and months
CREATE MATERIALIZED VIEW zone WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*), avg(n) FROM tick, tidemark.hop(far, '1 day', '3 days', timezone => 'Europe/Berlin') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW months WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*), max(x) FROM tick, tidemark.hop(far, '1 month', '3 months', timezone => 'Australia/Lord_Howe') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW day_lost WITH (tidemark.continuous) AS
SELECT window_end, count(*) FROM tick, tidemark.hop(far - interval '12 years 3 months', '1 day', '3 days', timezone => 'Pacific/Apia') GROUP BY 1;
-- 360 windows for each row
CREATE MATERIALIZED VIEW many WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, count(*), avg(n) FROM tick, tidemark.hop(at, '10 s', '1 hour') GROUP BY 1, 2, 3;
-- a hop without overlap is tumble()
CREATE MATERIALIZED VIEW hop_is_tumble WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, count(*), sum(x) FROM tick, tidemark.hop(at, '5 s', '5 s') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW tumbled WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, count(*), sum(x) FROM tick, tidemark.tumble(at, '5 s') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW hop_of_tumbles WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, count(*), sum(x) FROM tick, tidemark.hop(at, '5 s', '20 s') GROUP BY 1, 2, 3;

SELECT tidemark.inject('tick_stream', ticks(1, 60));
SELECT * FROM check_all();
SELECT feed('tick_stream', ticks(61, 160), 1);
SELECT feed('tick_stream', ticks(161, 220), 2, 1);
SELECT feed('tick_stream', ticks(221, 320), 7);
SELECT * FROM check_all();
SELECT v.view, d.* FROM tidemark_state.view v, tidemark.verify(v.view) d;
SELECT count(*) AS groups, count(*) FILTER (WHERE window_start IS NULL) AS of_null, sum(count) AS counted, bool_and(size = '12 s') AS sizes FROM h;
SELECT count(*) AS groups, sum(count) FROM many;
SELECT sum(count) < (SELECT count(*) FROM tick) AS dropped FROM gaps;
TABLE zone ORDER BY 1 LIMIT 8;
SELECT count(*) AS differences FROM ((TABLE hop_is_tumble EXCEPT ALL TABLE tumbled) UNION ALL (TABLE tumbled EXCEPT ALL TABLE hop_is_tumble)) d;
SELECT count(*) FILTER (WHERE h.count IS DISTINCT FROM t.count OR h.sum IS DISTINCT FROM t.sum) AS differences, count(*) > 300 AS enough
  FROM hop_of_tumbles h CROSS JOIN LATERAL (SELECT sum(t.count) AS count, sum(t.sum) AS sum FROM tumbled t
       WHERE t.window_start >= h.window_start AND t.window_end <= h.window_end AND t.k IS NOT DISTINCT FROM h.k) t
 WHERE h.window_start IS NOT NULL;

-- each row is aggregated once, in however many windows it is
CREATE SEQUENCE calls;
CREATE FUNCTION noted(x bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('calls'); RETURN x; END $$;
CREATE MATERIALIZED VIEW once WITH (tidemark.continuous) AS
SELECT window_start, window_end, sum(noted(x)) FROM tick, tidemark.hop(at, '10 s', '1 hour') GROUP BY 1, 2;
SELECT last_value = count(*) AS each_once FROM calls, tick GROUP BY last_value;
SELECT setval('calls', 1, false);
SELECT tidemark.inject('tick_stream', ticks(321, 420));
SELECT last_value FROM calls;
SELECT * FROM check_all();

-- history equals what was maintained
SELECT count(*) AS history_differs FROM recreated('h', 'over_stream', 'by_end', 'by_start', 'gaps', 'joined', 'zone', 'months', 'day_lost', 'many');

-- sorting on disk
SET work_mem = '64kB';
SELECT feed('tick_stream', ticks(421, 530), 50);
REFRESH MATERIALIZED VIEW many;
RESET work_mem;
SELECT * FROM check_all();
DROP MATERIALIZED VIEW h, over_stream, by_end, by_start, gaps, joined, zone, months, day_lost, many, hop_is_tumble, tumbled, hop_of_tumbles, once;

-- at random
SELECT setseed(0.5);
SELECT * FROM paned_rounds('hop', 12);

-- lateness: rows count for the windows that they are on time for
CREATE FOREIGN TABLE late_stream (at timestamptz, k int, n numeric, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'),
    wm timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'late', event_time 'at', watermark_delay '0 s');
CREATE TABLE late (LIKE late_stream);
SELECT tidemark.start_ingest('late_stream', into_table => 'late');
CREATE MATERIALIZED VIEW strict WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
SELECT window_start, window_end, k, count(*), avg(n) FROM late, tidemark.hop(at, '2 s', '10 s') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW lenient WITH (tidemark.continuous, tidemark.allowed_lateness = '3 s') AS
SELECT window_start, window_end, k, count(*), avg(n) FROM late, tidemark.hop(at, '2 s', '10 s') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW ends WITH (tidemark.continuous, tidemark.allowed_lateness = '1 s') AS
SELECT window_end, sum(n) FROM late_stream s, tidemark.hop(s.at, '3 s', '7 s') GROUP BY 1;
CREATE MATERIALIZED VIEW gapped WITH (tidemark.continuous, tidemark.allowed_lateness = '1 s') AS
SELECT window_start, count(*) FROM late, tidemark.hop(at, '7 s', '3 s') GROUP BY 1;
CREATE FUNCTION differences() RETURNS TABLE (view text, groups bigint, differences bigint) LANGUAGE sql AS $$
  SELECT 'strict', (SELECT count(*) FROM strict), count(*) FROM on_time('strict', 'window_start, window_end, k, count(*), avg(n)', 'late', '''2 s'', ''10 s''', '0 s', '1, 2, 3')
  UNION ALL SELECT 'lenient', (SELECT count(*) FROM lenient), count(*) FROM on_time('lenient', 'window_start, window_end, k, count(*), avg(n)', 'late', '''2 s'', ''10 s''', '3 s', '1, 2, 3')
  UNION ALL SELECT 'ends', (SELECT count(*) FROM ends), count(*) FROM on_time('ends', 'window_end, sum(n)', 'late', '''3 s'', ''7 s''', '1 s', '1')
  UNION ALL SELECT 'gapped', (SELECT count(*) FROM gapped), count(*) FROM on_time('gapped', 'window_start, count(*)', 'late', '''7 s'', ''3 s''', '1 s', '1') $$;
CREATE FUNCTION late_counts() RETURNS TABLE (view text, late_as_kept bool) LANGUAGE sql AS $$
  SELECT v.view::text, s.late = CASE v.view::text WHEN 'strict' THEN late_of('''2 s'', ''10 s''', '0 s') WHEN 'lenient' THEN late_of('''2 s'', ''10 s''', '3 s')
         WHEN 'ends' THEN late_of('''3 s'', ''7 s''', '1 s') ELSE late_of('''7 s'', ''3 s''', '1 s') END
    FROM tidemark_state.view v JOIN tidemark_state.view_stats s USING (state_table) ORDER BY v.view::text COLLATE "C" $$;
-- one row late for its older windows only: its windows end at 4, 6, 8, 10 and 12 s, the watermark is 9 s
SELECT tidemark.inject('late_stream', '{"at":"2026-01-01T00:00:09Z","k":1,"n":1}', p) FROM generate_series(0, 2) p;
SELECT tidemark.inject('late_stream', '{"at":"2026-01-01T00:00:03Z","k":2,"n":1}', 0);
SELECT window_start, window_end, count FROM strict WHERE k = 2 ORDER BY 1;
SELECT window_start, window_end, count FROM lenient WHERE k = 2 ORDER BY 1;
SELECT * FROM differences();
SELECT * FROM late_counts();
SELECT feed('late_stream', late_messages(1, 60), 1, 0), feed('late_stream', late_messages(61, 120), 7, 1), feed('late_stream', late_messages(121, 220), 100, 2);
SELECT * FROM differences();
SELECT * FROM late_counts();
-- history is taken in by the same rules
CREATE MATERIALIZED VIEW afterwards WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
SELECT window_start, window_end, k, count(*), avg(n) FROM late, tidemark.hop(at, '2 s', '10 s') GROUP BY 1, 2, 3;
SELECT count(*) AS differences FROM ((TABLE strict EXCEPT ALL TABLE afterwards) UNION ALL (TABLE afterwards EXCEPT ALL TABLE strict)) d;
SELECT v.view, d.* FROM tidemark_state.view v, tidemark.verify(v.view) d;

-- refused
\set VERBOSITY default
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM tick, tidemark.hop(at, '2 s', '10 s');
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick LEFT JOIN tidemark.hop(at, '2 s', '10 s') w ON true GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick, tidemark.hop(at, '2 s', x * interval '1 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick, tidemark.hop(at, '0 s', '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick, tidemark.hop(at, NULL, '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick, tidemark.hop(at, '1 ms', '1 day') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, max(window_end) FROM tick, tidemark.hop(at, '2 s', '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick, tidemark.hop(at, '2 s', '10 s') WHERE at < window_start + interval '1 s' GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, window_end::date, count(*) FROM tick, tidemark.hop(at, '2 s', '10 s') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT w, count(*) FROM tick, tidemark.hop(at, '2 s', '10 s') w GROUP BY w;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick, tidemark.hop(at, '2 s', '10 s'), generate_series(window_start, window_end, '1 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, sum((SELECT count(*) FROM dim WHERE label < window_end::text)) FROM tick, tidemark.hop(at, '2 s', '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT a.window_start, count(*) FROM tick, tidemark.hop(at, '2 s', '10 s') a, tidemark.tumble(at, '10 s') b GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(DISTINCT k) FROM tick, tidemark.hop(at, '2 s', '10 s') GROUP BY 1;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, tick, dim, late;
DROP SEQUENCE calls;
DROP FUNCTION check_view, check_all, feed, series, ticks, recreated, random_pane, paned_rounds, on_time, late_of, late_messages, differences, late_counts, noted;
