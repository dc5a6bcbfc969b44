-- Proves that indexes that users make on sessions, whose bounds change, find what is there after many updates: B-trees, and BRIN, with which a row's new version stays heap-only from 16 on.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
-- what a search by each index sees, and a scan of the rows
CREATE FUNCTION seen(condition text) RETURNS TABLE (by_index bigint, by_scan bigint) LANGUAGE plpgsql AS
$$
BEGIN
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_seqscan = off;
    EXECUTE 'SELECT count(*) FROM ' || condition INTO by_index;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_indexscan = off;
    SET LOCAL enable_indexonlyscan = off;
    EXECUTE 'SELECT count(*) FROM ' || condition INTO by_scan;
    RETURN NEXT;
END
$$;
-- one transaction for each second: a version can be pruned, and its place taken, only when it is dead for everybody
CREATE PROCEDURE feed_seconds(first int, last int) LANGUAGE plpgsql AS
$$
BEGIN
    FOR i IN first .. last LOOP
        PERFORM tidemark.inject('ev_stream', (SELECT array_agg(json_build_object('k', k, 'x', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 s')::text) FROM generate_series(1, 20) k));
        COMMIT;
    END LOOP;
END
$$;
\set ECHO all

CREATE MATERIALIZED VIEW sessions WITH (tidemark.continuous) AS
  SELECT k, session_start, session_end, count(*) AS n
    FROM (SELECT k, tidemark.session_start(at, '10 s') OVER w, tidemark.session_end(at, '10 s') OVER w FROM ev WINDOW w AS (PARTITION BY k ORDER BY at)) s
   GROUP BY k, session_start, session_end;
CREATE INDEX ON sessions USING brin (session_end) WITH (pages_per_range = 1);
CALL feed_seconds(1, 150);
SELECT 'VACUUM ' || state_table FROM tidemark_state.view \gexec
SELECT * FROM seen('sessions WHERE k = 7');
SELECT * FROM seen('sessions WHERE k BETWEEN 1 AND 20');
-- BRIN itself knows of each version: these searches are by bitmap
SET enable_seqscan = off;
SELECT count(*) FROM sessions WHERE session_end = '2026-01-01 00:02:40Z';
RESET enable_seqscan;

-- B-trees on what changes: each version has entries in all indexes
CREATE INDEX ON sessions (session_end);
CALL feed_seconds(151, 200);
SELECT 'VACUUM ' || state_table FROM tidemark_state.view \gexec
SELECT * FROM seen('sessions WHERE k BETWEEN 1 AND 20');
SELECT * FROM seen('sessions WHERE session_end = ''2026-01-01 00:03:30Z''');
SELECT * FROM check_all();
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev;
DROP PROCEDURE feed_seconds;
DROP FUNCTION check_view, check_all, feed, series, seen;
