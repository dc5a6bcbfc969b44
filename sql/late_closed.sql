-- Proves that a row whose window is closed already, though its own partition does not say so, is left out by a stored verdict that verify() applies.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/late_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all
SELECT make_stream('s', 1);
CREATE FUNCTION make_views(suffix text) RETURNS void LANGUAGE sql AS
$$
    SELECT make_view('tumble' || suffix, 'tumble', 's', '0 s');
    SELECT make_view('hop' || suffix, 'hop', 's_table', '0 s');
    SELECT make_view('cumulate' || suffix, 'cumulate', 's', '0 s');
    SELECT make_view('final' || suffix, 'tumble', 's_table', '0 s', ', tidemark.emit = ''final, revisions''');
$$;
CREATE FUNCTION verify_all() RETURNS TABLE (view regclass, problem text, view_n jsonb, batch_n jsonb) LANGUAGE sql AS
$$ SELECT v.view, r.problem, r.view_row->'n', r.batch_row->'n' FROM tidemark.views v, tidemark.verify(v.view) r ORDER BY v.view::text, 2, 3, 4 $$;
SELECT make_views('');
CREATE MATERIALIZED VIEW session WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.late = 'table') AS
  SELECT k, session_start, session_end, count(*) AS n FROM (SELECT k, tidemark.session_start(at, '3 s') OVER w, tidemark.session_end(at, '3 s') OVER w FROM s WINDOW w AS (PARTITION BY k ORDER BY at)) x GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW counted WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS SELECT window_start, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY 1;
SELECT tidemark.inject('s', ARRAY[message(1, 0, 7), message(2, 0, 28)]);
-- a partition that comes late: its first rows have no watermark, but the windows until 26 s are closed
SELECT tidemark.inject('s', ARRAY[message(3, 0, 4), message(4, 0, 13), message(5, 0, 25.5), message(6, 0, 27)], partition => 1);
SELECT view, window_start, window_end, partition, kafka_offset, watermark, l.row->'id' AS id FROM tidemark.late_rows l ORDER BY view::text, 5, 2, 3;
SELECT v.view, partition, kafka_offset, window_start, verdict FROM tidemark_state.verdict JOIN tidemark_state.view v USING (state_table) ORDER BY v.view::text, 3, 4;
SELECT view, late FROM tidemark.views ORDER BY view::text;
SELECT * FROM verify_all();
-- each verdict is needed
BEGIN;
DELETE FROM tidemark_state.verdict;
SELECT * FROM verify_all();
ROLLBACK;
-- by then the partition has a watermark of its own, and holds that of the stream
SELECT tidemark.inject('s', ARRAY[message(7, 0, 21), message(8, 0, 29)], partition => 1);
SELECT v.view, kafka_offset, count(*) FROM tidemark_state.verdict JOIN tidemark_state.view v USING (state_table) WHERE kafka_offset > 3 GROUP BY 1, 2 ORDER BY v.view::text;
SELECT * FROM verify_all();
-- a view that comes later finds no window closed: it has what the rule says
SELECT make_views('_2');
SELECT name, c.* FROM (VALUES ('tumble'), ('hop'), ('cumulate')) n(name), check_late((name || '_2')::regclass, name, 's_table', '0 s') c;
SELECT * FROM verify_all();
-- admitted: both verdicts are there, the second one counts
SELECT name, tidemark.admit_late(name::regclass) FROM unnest('{tumble,hop,cumulate,final,session}'::text[]) name;
SELECT verdict, count(*) FROM tidemark_state.verdict GROUP BY 1 ORDER BY 1;
SELECT * FROM verify_all();
SELECT name, c.* FROM (VALUES ('tumble'), ('hop'), ('cumulate')) n(name), check_admitted(name::regclass, name, 's_table') c;
SELECT window_start, n, s, revision FROM final ORDER BY 1, 4;
SELECT * FROM session ORDER BY 2;
-- a rebuild forgets them
SELECT tidemark.pause('tumble');
REFRESH MATERIALIZED VIEW tumble;
SELECT * FROM tumble EXCEPT SELECT * FROM tumble_2;
SELECT count(*) FROM tidemark_state.verdict JOIN tidemark_state.view v USING (state_table) WHERE v.view = 'tumble'::regclass;
SELECT * FROM verify_all();
-- verdicts leave with their windows; those on sessions stay
SELECT make_view('leaves_' || kind, kind, 's', '0 s', format(', tidemark.retention = ''20 s'', tidemark.emit = ''%s''', emit))
  FROM (VALUES ('tumble', 'changes'), ('hop', 'final, revisions'), ('cumulate', 'changes')) x(kind, emit);
CREATE MATERIALIZED VIEW leaves_end WITH (tidemark.continuous, tidemark.retention = '20 s') AS SELECT window_end, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY 1;
CREATE MATERIALIZED VIEW leaves_session WITH (tidemark.continuous, tidemark.retention = '20 s') AS
  SELECT k, session_start, session_end, count(*) AS n FROM (SELECT k, tidemark.session_start(at, '3 s') OVER w, tidemark.session_end(at, '3 s') OVER w FROM s WINDOW w AS (PARTITION BY k ORDER BY at)) x GROUP BY 1, 2, 3;
CREATE FUNCTION left_over() RETURNS TABLE (view regclass, windows text, pruned_until time) LANGUAGE sql AS
$$ SELECT v.view, string_agg(DISTINCT d.window_start::time::text, ' ' ORDER BY d.window_start::time::text), v.pruned_until::time FROM tidemark.views v JOIN tidemark_state.view w USING (view) JOIN tidemark_state.verdict d USING (state_table) WHERE v.view::text ~ 'leaves' GROUP BY v.view, v.pruned_until ORDER BY v.view::text $$;
SELECT tidemark.inject('s', ARRAY[message(50, 0, 32), message(51, 0, 37), message(52, 0, 46)], partition => p) FROM generate_series(0, 1) p;
SELECT tidemark.inject('s', ARRAY[message(60, 0, 24), message(61, 0, 26), message(62, 0, 39), message(63, 0, 45)], partition => 2);
SELECT * FROM left_over();
SELECT * FROM verify_all();
SELECT tidemark.inject('s', message(70, 0, 58), partition => p) FROM generate_series(0, 2) p;
SELECT * FROM left_over();
SELECT * FROM verify_all();
SELECT tidemark.inject('s', message(71, 0, 69), partition => p) FROM generate_series(0, 2) p;
SELECT * FROM left_over();
SELECT * FROM verify_all();
SELECT tidemark.inject('s', message(72, 0, 99), partition => p) FROM generate_series(0, 2) p;
SELECT * FROM left_over();
SELECT * FROM verify_all();
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE s_table;
DROP FUNCTION make_stream, message, query, make_view, judged, check_late, check_admitted, make_views, verify_all, left_over;
