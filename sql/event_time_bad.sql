-- Proves that event times and durations without meaning are refused where they are given, or cost what they are in, a message or a view, and nothing beside it.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all
CREATE FOREIGN TABLE s (id int, k int, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'), wm timestamptz OPTIONS (metadata 'watermark'))
  SERVER m OPTIONS (topic 's', event_time 'at', watermark_delay '0 s', watermark_idle_timeout 'infinity', max_error_ratio '1');
CREATE TABLE t (LIKE s);
SELECT tidemark.start_ingest('s', into_table => 't');

-- durations of windows, at CREATE
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '0 s') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '-1 hour') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 month 1 day') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 day 1 hour', timezone => 'Europe/Berlin') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, NULL) GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '300000000 days') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 day', timezone => 'Europe/Berlon') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 day', timezone => NULL) GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 day', 'infinity') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 month', '2024-01-31Z') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.hop(at, '-1 s', '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.hop(at, '1 day', '1 month') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.hop(at, '1 us', '1 day') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, window_end, count(*) FROM t, tidemark.cumulate(at, '7 s', '1 min') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, window_end, count(*) FROM t, tidemark.cumulate(at, '1 month', '1 day') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, window_end, count(*) FROM t, tidemark.cumulate(at, '7 hours', '14 months') GROUP BY 1, 2;
-- gaps
CREATE FUNCTION sessions(gap text, options text DEFAULT '') RETURNS text LANGUAGE sql AS
$$ SELECT refused(format('CREATE MATERIALIZED VIEW r WITH (tidemark.continuous%s) AS SELECT k, a, b, count(*) FROM (SELECT k, tidemark.session_start(at, %s) OVER w AS a, tidemark.session_end(at, %2$s) OVER w AS b
     FROM s WINDOW w AS (PARTITION BY k ORDER BY at)) x GROUP BY 1, 2, 3', options, gap)) $$;
SELECT gap, sessions(gap) FROM unnest('{"''0 s''", "''-1 us''", "NULL", "''1 month''", "''200000000 days''", "interval ''1 s'' * k"}'::text[]) gap;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, a, count(*) FROM (SELECT k, tidemark.session_start(at, '0 s') OVER (PARTITION BY k ORDER BY at) AS a FROM s) x GROUP BY 1, 2;
-- options of views and streams
CREATE FUNCTION option_of_view(option text, relation text DEFAULT 's') RETURNS text LANGUAGE sql AS
$$ SELECT refused(format('CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, %s) AS SELECT window_start, count(*) FROM %s, tidemark.tumble(at, ''1 min'') GROUP BY 1', option, relation)) $$;
SELECT option, option_of_view(option) FROM unnest('{tidemark.allowed_lateness = ''-1 s'', tidemark.allowed_lateness = ''1 month'', tidemark.allowed_lateness = ''later'', tidemark.allowed_lateness = ''200000000 days'',
    tidemark.allowed_lateness = '''', tidemark.retention = ''-1 day'', tidemark.retention = ''1 year'', tidemark.retention = ''200000000 days''}'::text[]) option;
CREATE FOREIGN TABLE dateless (id int, at timestamptz) SERVER m OPTIONS (topic 'd');
CREATE TABLE plain (id int, at timestamptz);
SELECT option_of_view('tidemark.allowed_lateness = ''0 s''', relation) FROM unnest('{dateless, plain}'::text[]) relation;
SELECT refused(format('ALTER FOREIGN TABLE s OPTIONS (%s %s %L)', CASE WHEN name IN ('watermark_max_future') THEN 'ADD' ELSE 'SET' END, name, value))
  FROM unnest('{watermark_delay,watermark_idle_timeout,watermark_max_future}'::text[]) name, unnest('{-1 s,1 month,200000000 days,"",soon}'::text[]) value;
SELECT refused($$ ALTER FOREIGN TABLE s OPTIONS (SET watermark_delay 'infinity') $$);

-- event times at the ends of what there is, one batch, a good one beside each
CREATE FUNCTION message(id int, at text, k int DEFAULT 1) RETURNS text LANGUAGE sql AS $$ SELECT json_build_object('id', id, 'k', k, 'at', at)::text $$;
CREATE MATERIALIZED VIEW tumble_ WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM s, tidemark.tumble(at, '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW hop_ WITH (tidemark.continuous) AS SELECT window_start, window_end, count(*) FROM t, tidemark.hop(at, '1 min', '3 min') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW cumulate_ WITH (tidemark.continuous) AS SELECT window_start, window_end, count(*) FROM s, tidemark.cumulate(at, '1 day', '3 days', timezone => 'Europe/Berlin') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW month_ WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 month') GROUP BY 1;
CREATE MATERIALIZED VIEW session_ WITH (tidemark.continuous) AS SELECT k, a, b, count(*) FROM (SELECT k, tidemark.session_start(at, '1 min') OVER w AS a, tidemark.session_end(at, '1 min') OVER w AS b FROM s WINDOW w AS (PARTITION BY k ORDER BY at)) x GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW final_ WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '1 day', tidemark.late = 'table') AS SELECT window_start, count(*) FROM s, tidemark.tumble(at, '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW retained WITH (tidemark.continuous, tidemark.retention = '36500 days') AS SELECT window_start, count(*) FROM t, tidemark.tumble(at, '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW session_final WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.retention = '36500 days') AS SELECT k, a, b, count(*) FROM (SELECT k, tidemark.session_start(at, '1 min') OVER w AS a, tidemark.session_end(at, '1 min') OVER w AS b FROM s WINDOW w AS (PARTITION BY k ORDER BY at)) x GROUP BY 1, 2, 3;
CREATE VIEW states AS SELECT view, state, sqlstate, reason FROM tidemark.views ORDER BY view::text COLLATE "C";
CREATE FUNCTION wrong() RETURNS TABLE (view text, difference text) LANGUAGE plpgsql AS $$
BEGIN
    FOR view IN SELECT v.view::text FROM tidemark.views v WHERE v.state = 'live' ORDER BY 1 LOOP
        BEGIN
            RETURN QUERY SELECT wrong.view, d::text FROM tidemark.verify(wrong.view::regclass) d;
        EXCEPTION WHEN OTHERS THEN
            difference := SQLERRM;
            RETURN NEXT;
        END;
    END LOOP;
END $$;
SELECT tidemark.inject('s', ARRAY[message(1, '2026-01-01 00:00:10Z'), message(2, 'infinity'), message(3, '-infinity'), message(4, NULL), message(5, '2026-01-01 00:00:11Z'),
    message(6, '294277-01-01Z'), message(7, '4714-11-23 BC'), message(8, '2026-13-01Z'), message(9, ''), message(10, 'tomorrow'), message(11, 'epoch'), message(12, '2026-01-01 00:00:12Z')]);
SELECT kafka_offset, stage, sqlstate, message FROM tidemark.dead_letters ORDER BY 1;
TABLE t;
SELECT watermark, future_rows FROM tidemark.partitions;
TABLE states;
SELECT * FROM wrong();
-- year 1 and before, which exist: old rows, each in its window
SELECT tidemark.inject('s', ARRAY[message(21, '0001-01-01 00:00:30Z', 2), message(22, '0001-12-31 23:59:30Z BC', 2), message(23, '2026-01-01 00:00:13Z'), message(24, '4713-06-01 00:00Z BC', 3)]);
SELECT window_start, count FROM tumble_ ORDER BY 1;
SELECT window_start, window_end FROM hop_ WHERE window_start < '0001-01-02Z' ORDER BY 1;
SELECT k, a, b FROM session_ WHERE k > 1 ORDER BY 1, 2;
SELECT window_start, late, row->>'id' AS id FROM tidemark.late_rows JOIN tidemark.views USING (view) ORDER BY 1;
TABLE states;
SELECT * FROM wrong();
-- far in the future: kept, and the watermark stays
SELECT tidemark.inject('s', ARRAY[message(31, '9999-12-31 23:59:59Z', 4), message(32, '2026-01-01 00:00:14Z'), message(33, '290000-01-01Z', 4)]);
SELECT watermark, max_event_time, future_rows FROM tidemark.partitions;
SELECT k, a, b FROM session_ WHERE k = 4 ORDER BY 1, 2;
TABLE states;
SELECT * FROM wrong();
-- so far that a window could end where there is no time any more: no row
SELECT tidemark.inject('s', ARRAY[message(41, '2026-01-01 00:00:15Z'), message(42, '294276-12-31 23:59:59.999999Z', 5), message(43, '2026-01-01 00:00:16Z')]);
TABLE states;
SELECT id FROM t WHERE id > 40 ORDER BY 1;
SELECT * FROM wrong();
SELECT tidemark.inject('s', ARRAY[message(44, '2026-01-01 00:00:17Z')]);
SELECT id FROM t WHERE id > 43;
SELECT state, reason, lag FROM tidemark.ingests WHERE stream = 's'::regclass;
SELECT next_offset, rows, dead_letters FROM tidemark.partitions WHERE stream = 's'::regclass;
SELECT kafka_offset, stage, sqlstate, message FROM tidemark.dead_letters WHERE message LIKE '%range%' ORDER BY 1;
-- the longest lateness and retention that can be given, and the last rows that there can be
CREATE FOREIGN TABLE far (id int, k int, at timestamptz) SERVER m OPTIONS (topic 'far', event_time 'at', watermark_delay '0 s', watermark_max_future 'infinity', max_error_ratio '1');
CREATE TABLE far_rows (LIKE far);
SELECT tidemark.start_ingest('far', into_table => 'far_rows');
CREATE MATERIALIZED VIEW far_late WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '36525 days') AS SELECT window_start, count(*) FROM far, tidemark.tumble(at, '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW far_kept WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.retention = '36525 days') AS SELECT window_start, count(*) FROM far, tidemark.tumble(at, '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW far_end WITH (tidemark.continuous, tidemark.emit = 'final') AS SELECT window_end, count(*) FROM far, tidemark.tumble(at, '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW far_session WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '36525 days') AS SELECT k, a, count(*) FROM (SELECT k, tidemark.session_start(at, '1 min') OVER w AS a FROM far WINDOW w AS (PARTITION BY k ORDER BY at)) x GROUP BY 1, 2;
SELECT tidemark.inject('far', ARRAY[message(1, '0001-01-01Z BC'), message(2, '2026-01-01Z'), message(3, '293276-12-20 23:58Z')]);
SELECT tidemark.inject('far', ARRAY[message(4, '293276-12-20 23:58:59Z'), message(5, '293276-12-20 23:59:59.999999Z', 2)]);
SELECT tidemark.inject('far', ARRAY[message(6, '293276-12-20 23:58:59Z'), message(7, '2026-01-01Z')]);
SELECT view, state, sqlstate, reason, closed_until, closed, late FROM tidemark.views WHERE view::text LIKE 'far%' ORDER BY view::text;
SELECT count(*) FROM far_rows;
SELECT state, reason, lag, watermark FROM tidemark.ingests WHERE stream = 'far'::regclass;
-- a watermark that a delay puts before the beginning of time
CREATE FOREIGN TABLE early (id int, k int, at timestamptz) SERVER m OPTIONS (topic 'early', event_time 'at', watermark_delay '36525 days');
CREATE TABLE early_rows (LIKE early);
SELECT tidemark.start_ingest('early', into_table => 'early_rows');
CREATE MATERIALIZED VIEW early_closed WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '36525 days', tidemark.retention = '36525 days') AS SELECT window_start, count(*) FROM early, tidemark.tumble(at, '1 min') GROUP BY 1;
SELECT tidemark.inject('early', ARRAY[message(1, '3713-01-24 00:00Z BC'), message(2, '3713-01-24 00:00:30Z BC'), message(3, '3612-01-01Z BC')]);
SELECT watermark, max_event_time FROM tidemark.partitions WHERE stream = 'early'::regclass;
SELECT state, reason, closed_until, late, closed FROM tidemark.views WHERE view = 'early_closed'::regclass;
SELECT count(*) FROM early_rows;
\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
