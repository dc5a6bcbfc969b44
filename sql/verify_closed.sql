-- Proves that verify() and admit_late() know windows that are closed, final, revised or gone, and sessions.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/late_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all
SELECT make_stream('s', 2);
CREATE FUNCTION make_views(suffix text) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
    v record;
    final text := 'tidemark.emit = ''final''';
    revisions text := 'tidemark.emit = ''final, revisions''';
    retention text := 'tidemark.retention = ''10 s''';
BEGIN
    FOR v IN SELECT * FROM (VALUES
        ('final', final, 'window_start', 's', 'tidemark.tumble(at, ''10 s'')', ''),
        ('revised', revisions, 'window_end', 's_table', 'tidemark.hop(at, ''5 s'', ''10 s'')', ''),
        ('gone', retention, 'window_start, window_end', 's_table', 'tidemark.tumble(at, ''10 s'')', ''),
        ('final_gone', final || ', ' || retention, 'window_end', 's', 'tidemark.hop(at, ''5 s'', ''10 s'')', 'HAVING count(*) > 1'),
        ('revised_gone', revisions || ', ' || retention, 'window_start, window_end', 's', 'tidemark.tumble(at, ''10 s'')', '')
      ) x(name, options, keys, source, call, condition) LOOP
        EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (tidemark.continuous, tidemark.late = ''table'', %s) AS SELECT %s, k, count(*) AS n, sum(id) AS s, avg(id) AS a FROM %s, %s GROUP BY %3$s, k %6$s',
                       v.name || suffix, v.options, v.keys, v.source, v.call, v.condition);
    END LOOP;
    FOR v IN SELECT * FROM (VALUES ('session', 's', 'tidemark.allowed_lateness = ''0 s'''), ('session_table', 's_table', 'tidemark.allowed_lateness = ''3 s'''),
                                   ('session_final', 's', final), ('session_gone', 's_table', retention)) x(name, source, options) LOOP
        EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (tidemark.continuous, tidemark.late = ''table'', %s) AS SELECT k, session_start, session_end, count(*) AS n, sum(id) AS s
            FROM (SELECT k, id, tidemark.session_start(at, ''3 s'') OVER w, tidemark.session_end(at, ''3 s'') OVER w FROM %s WINDOW w AS (PARTITION BY k ORDER BY at)) x GROUP BY 1, 2, 3',
                       v.name || suffix, v.options, v.source);
    END LOOP;
END
$$;
CREATE FUNCTION verify_all() RETURNS TABLE (view regclass, problem text, view_row jsonb, batch_row jsonb) LANGUAGE sql AS
$$ SELECT v.view, r.* FROM tidemark.views v, tidemark.verify(v.view) r ORDER BY v.view::text, 2, 3, 4 $$;
SELECT make_views('');
SELECT tidemark.inject('s', ARRAY[message(1, 0, 4), message(2, 0, 14), message(3, 0, 9), message(4, 1, 19), message(5, 1, 8)]);
SELECT tidemark.inject('s', ARRAY[message(6, 0, 4), message(7, 0, 23), message(8, 0, 3)], partition => 1);
SELECT window_end, k, n, s, revision FROM revised ORDER BY 1, 2, 5;
SELECT * FROM verify_all();
SELECT view, late FROM tidemark.views ORDER BY view::text;

-- admitted: a revision of each window that is closed, once; open windows are not emitted early
SELECT tidemark.admit_late('final');
SELECT tidemark.admit_late('revised');
SELECT window_end, k, n, s, revision FROM revised ORDER BY 1, 2, 5;
SELECT tidemark.admit_late('session');
SELECT tidemark.admit_late('session_table');
SELECT * FROM session ORDER BY 1, 2;
SELECT * FROM verify_all();

-- windows close, and leave
SELECT tidemark.inject('s', ARRAY[message(1, 0, 24), message(2, 0, 44), message(3, 0, 9), message(4, 1, 49), message(5, 1, 8)]);
SELECT tidemark.inject('s', ARRAY[message(6, 0, 34), message(7, 0, 53), message(8, 0, 3)], partition => 1);
SELECT * FROM gone ORDER BY 1, 3;
SELECT * FROM session_gone ORDER BY 1, 2;
SELECT * FROM verify_all();
SELECT tidemark.admit_late('gone');
SELECT tidemark.admit_late('revised');
SELECT tidemark.admit_late('revised_gone');
SELECT tidemark.admit_late('session_gone');
SELECT * FROM verify_all();
SELECT tidemark.inject('s', message(9, 0, 90));
SELECT tidemark.inject('s', message(9, 0, 91), partition => 1);
SELECT * FROM verify_all();
-- views that come later have the same windows
SELECT make_views('_2');
SELECT window_start, k, n, s, a FROM final EXCEPT SELECT window_start, k, n, s, a FROM final_2;
SELECT window_start, k, n, s, a FROM final_2 EXCEPT SELECT window_start, k, n, s, a FROM final;
TABLE gone EXCEPT TABLE gone_2;
SELECT k, session_start, session_end, n, s FROM session_final EXCEPT SELECT k, session_start, session_end, n, s FROM session_final_2;
SELECT * FROM verify_all();

-- what is closed is compared, and nothing else
CREATE FUNCTION bounds(of regclass, shift_pruned interval, shift_closed interval) RETURNS void LANGUAGE sql AS
$$
    UPDATE tidemark_state.view_stats s SET pruned_until = pruned_until + shift_pruned, closed_until = closed_until + shift_closed
      FROM tidemark_state.view v WHERE v.state_table = s.state_table AND v.view = of
$$;
SELECT bounds('final', '0', '20 s');
SELECT problem, view_row, batch_row FROM verify_all() WHERE view = 'final'::regclass;
SELECT bounds('final', '0', '-75 s');
SELECT problem, view_row, batch_row FROM verify_all() WHERE view = 'final'::regclass;
DELETE FROM tidemark_state.verdict;
SELECT view, problem, view_row->'n' AS view_n, batch_row->'n' AS batch_n FROM verify_all() ORDER BY view::text, 2, 3, 4;
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE s_table;
DROP FUNCTION make_stream, message, query, make_view, judged, check_late, check_admitted, make_views, verify_all, bounds;
