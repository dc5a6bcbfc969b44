-- Proves that views over cumulate() equal their query, row by row late or not, and count each row once
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set panes :abs_srcdir '/test/panes.sql'
\i :panes
\set SHOW_CONTEXT never
\set ECHO all

-- several keys, states of all kinds, FILTER, HAVING; over the table and over the stream
CREATE MATERIALIZED VIEW c WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, upper(name) AS name, count(*), sum(x), avg(n), max(name) AS longest, count(*) FILTER (WHERE x > 0) AS positive,
       window_end - window_start AS size
  FROM tick, tidemark.cumulate(tick.at, '10 s', '1 min') GROUP BY window_start, window_end, k, upper(tick.name);
CREATE MATERIALIZED VIEW over_stream WITH (tidemark.continuous) AS
SELECT k, e, s, count(*), avg(n), min(x) FROM tick_stream t CROSS JOIN tidemark.cumulate(ts => t.at, max => '15 s', step => '5 s', origin => '2026-01-01 00:00:02Z') AS w(s, e)
 WHERE x IS NOT NULL GROUP BY s, k, e HAVING count(*) > 1 OR s < '2026-01-01 00:03Z';
-- the end alone
CREATE MATERIALIZED VIEW by_end WITH (tidemark.continuous) AS
SELECT k, sum(x), window_end FROM tick JOIN tidemark.cumulate(local, '20 s', '1 min') w ON true GROUP BY k, w.window_end;
-- time zones, days and months: a day of 23 hours, one of 24.5
CREATE MATERIALIZED VIEW hours WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*), avg(n) FROM tick, tidemark.cumulate(far, '1 hour', '1 day', timezone => 'Europe/Berlin') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW hours_of_howe WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*), avg(n) FROM tick, tidemark.cumulate(far + interval '7 days', '2 hours', '1 day', timezone => 'Australia/Lord_Howe') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW days WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*), max(x) FROM tick, tidemark.cumulate(far, '1 day', '1 month', timezone => 'America/New_York') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW months WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*), max(x) FROM tick, tidemark.cumulate(far, '1 month', '1 year') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW day_lost WITH (tidemark.continuous) AS
SELECT window_end, count(*) FROM tick, tidemark.cumulate(far - interval '12 years 3 months', '1 day', '7 days', timezone => 'Pacific/Apia') GROUP BY 1;
-- 360 windows for each row
CREATE MATERIALIZED VIEW many WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, count(*), avg(n) FROM tick, tidemark.cumulate(at, '10 s', '1 hour') GROUP BY 1, 2, 3;
-- the longest window is that of tumble()
CREATE MATERIALIZED VIEW tumbled WITH (tidemark.continuous) AS
SELECT window_start, window_end, k, upper(name) AS name, count(*), sum(x), avg(n), max(name) AS longest, count(*) FILTER (WHERE x > 0) AS positive,
       window_end - window_start AS size
  FROM tick, tidemark.tumble(at, '1 min') GROUP BY 1, 2, 3, 4;

SELECT tidemark.inject('tick_stream', ticks(1, 60));
SELECT * FROM check_all();
SELECT feed('tick_stream', ticks(61, 160), 1);
SELECT feed('tick_stream', ticks(161, 220), 2, 1);
SELECT feed('tick_stream', ticks(221, 320), 7);
SELECT * FROM check_all();
SELECT v.view, d.* FROM tidemark_state.view v, tidemark.verify(v.view) d;
SELECT count(*) AS groups, count(*) FILTER (WHERE window_start IS NULL) AS of_null, sum(count) AS counted, min(size), max(size) FROM c;
SELECT count(*) AS differences FROM ((SELECT * FROM c WHERE size IS NULL OR size = '1 min' EXCEPT ALL TABLE tumbled) UNION ALL (TABLE tumbled EXCEPT ALL SELECT * FROM c)) d;
SELECT window_start AT TIME ZONE 'Europe/Berlin' AS day, count(*) AS windows, max(window_end - window_start) AS longest, max(count) FROM hours
 WHERE window_start BETWEEN '2024-03-29' AND '2024-04-01' GROUP BY 1 ORDER BY 1;

-- each row is aggregated once, in however many windows it is
CREATE SEQUENCE calls;
CREATE FUNCTION noted(x bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('calls'); RETURN x; END $$;
CREATE MATERIALIZED VIEW once WITH (tidemark.continuous) AS
SELECT window_start, window_end, sum(noted(x)) FROM tick, tidemark.cumulate(at, '10 s', '1 hour') GROUP BY 1, 2;
SELECT last_value = count(*) AS each_once FROM calls, tick GROUP BY last_value;
SELECT setval('calls', 1, false);
SELECT tidemark.inject('tick_stream', ticks(321, 420));
SELECT last_value FROM calls;
SELECT * FROM check_all();

-- history equals what was maintained
SELECT count(*) AS history_differs FROM recreated('c', 'over_stream', 'by_end', 'hours', 'hours_of_howe', 'days', 'months', 'day_lost', 'many');

-- sorting on disk
SET work_mem = '64kB';
SELECT feed('tick_stream', ticks(421, 520), 50);
REFRESH MATERIALIZED VIEW many;
RESET work_mem;
SELECT * FROM check_all();
DROP MATERIALIZED VIEW c, over_stream, by_end, hours, hours_of_howe, days, months, day_lost, many, tumbled, once;

-- at random
SELECT setseed(0.5);
SELECT * FROM paned_rounds('cumulate', 8);

-- lateness: rows count for the windows that they are on time for; a time without zone is UTC
CREATE FOREIGN TABLE late_stream (at timestamp, k int, n numeric, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'),
    wm timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'late', event_time 'at', watermark_delay '0 s');
CREATE TABLE late (LIKE late_stream);
SELECT tidemark.start_ingest('late_stream', into_table => 'late');
CREATE MATERIALIZED VIEW strict WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
SELECT window_start, window_end, k, count(*), avg(n) FROM late, tidemark.cumulate(at, '2 s', '10 s') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW ends WITH (tidemark.continuous, tidemark.allowed_lateness = '1 s') AS
SELECT window_end, sum(n) FROM late_stream s, tidemark.cumulate(s.at, '3 s', '15 s') GROUP BY 1;
CREATE FUNCTION differences() RETURNS TABLE (view text, groups bigint, differences bigint) LANGUAGE sql AS $$
  SELECT 'strict', (SELECT count(*) FROM strict), count(*) FROM on_time('strict', 'window_start, window_end, k, count(*), avg(n)', 'late', '''2 s'', ''10 s''', '0 s', '1, 2, 3', 'cumulate')
  UNION ALL SELECT 'ends', (SELECT count(*) FROM ends), count(*) FROM on_time('ends', 'window_end, sum(n)', 'late', '''3 s'', ''15 s''', '1 s', '1', 'cumulate') $$;
CREATE FUNCTION late_counts() RETURNS TABLE (view text, late_as_kept bool) LANGUAGE sql AS $$
  SELECT v.view::text, s.late = CASE v.view::text WHEN 'strict' THEN late_of('''2 s'', ''10 s''', '0 s', 'cumulate') ELSE late_of('''3 s'', ''15 s''', '1 s', 'cumulate') END
    FROM tidemark_state.view v JOIN tidemark_state.view_stats s USING (state_table) ORDER BY v.view::text COLLATE "C" $$;
-- one row late for its shorter windows only: its windows end at 4, 6, 8 and 10 s, the watermark is 7 s
SELECT tidemark.inject('late_stream', '{"at":"2026-01-01T00:00:07Z","k":1,"n":1}', p) FROM generate_series(0, 2) p;
SELECT tidemark.inject('late_stream', '{"at":"2026-01-01T00:00:03Z","k":2,"n":1}', 0);
SELECT window_start, window_end, count FROM strict WHERE k = 2 ORDER BY 2;
SELECT * FROM differences();
SELECT * FROM late_counts();
SELECT feed('late_stream', late_messages(1, 60), 1, 0), feed('late_stream', late_messages(61, 120), 7, 1), feed('late_stream', late_messages(121, 220), 100, 2);
SELECT * FROM differences();
SELECT * FROM late_counts();
-- history is taken in by the same rules
CREATE MATERIALIZED VIEW afterwards WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
SELECT window_start, window_end, k, count(*), avg(n) FROM late, tidemark.cumulate(at, '2 s', '10 s') GROUP BY 1, 2, 3;
SELECT count(*) AS differences FROM ((TABLE strict EXCEPT ALL TABLE afterwards) UNION ALL (TABLE afterwards EXCEPT ALL TABLE strict)) d;
SELECT v.view, d.* FROM tidemark_state.view v, tidemark.verify(v.view) d;

-- refused
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM tick, tidemark.cumulate(at, '2 s', '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_end, count(*) FROM tidemark.cumulate(timestamptz '2026-01-01 00:00Z', '2 s', '10 s') RIGHT JOIN tick ON true GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_end, count(*) FROM tick, tidemark.cumulate(at, '2 s', name::interval) GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_end, count(*) FROM tick, tidemark.cumulate(at, '3 s', '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_end, count(*) FROM tick, tidemark.cumulate(at, '1 hour', '1 day', timezone => 'Nowhere') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_end, min(window_start) FROM tick, tidemark.cumulate(at, '2 s', '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_end, count(*) FILTER (WHERE at > window_start) FROM tick, tidemark.cumulate(at, '2 s', '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_end, count(*) FROM tick, tidemark.cumulate(at, '2 s', '10 s') JOIN dim ON window_start > '2026-01-01' GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT a.window_end, count(*) FROM tick, tidemark.cumulate(at, '2 s', '10 s') a, tidemark.cumulate(at, '2 s', '10 s') b GROUP BY 1;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, tick, dim, late;
DROP SEQUENCE calls;
DROP FUNCTION check_view, check_all, feed, series, ticks, recreated, random_pane, paned_rounds, on_time, late_of, late_messages, differences, late_counts, noted;
