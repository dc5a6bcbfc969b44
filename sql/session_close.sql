-- Proves, for rows made at random, that sessions close by the watermark, each once and for good, as the batch over the accepted rows has them, and are pruned.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
\set ECHO all
-- by hand: a session ends 10 s after its last row and closes when the watermark is later than that plus the lateness
CREATE MATERIALIZED VIEW byhand WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '5 s', tidemark.late = 'table', tidemark.notify = 'byhand') AS
  SELECT k, session_start, session_end, count(*)
    FROM (SELECT k, tidemark.session_start(at, '10 s') OVER w, tidemark.session_end(at, '10 s') OVER w FROM ev_stream WINDOW w AS (PARTITION BY k ORDER BY at)) s
   GROUP BY k, session_start, session_end;
CREATE FUNCTION msg(key int, second numeric) RETURNS text LANGUAGE sql AS
$$ SELECT json_build_object('k', key, 'at', timestamptz '2026-01-01Z' + second * interval '1 s')::text $$;
SELECT tidemark.inject('ev_stream', ARRAY[msg(1, 100), msg(1, 105), msg(2, 130)]);
SELECT k, session_start, session_end, count FROM byhand;
-- two more within the lateness and one that comes too late; the watermark is at the very end
SELECT tidemark.inject('ev_stream', ARRAY[msg(1, 125), msg(1, 115), msg(1, 124.999), msg(2, 150)]);
SELECT k, session_start, session_end, count FROM byhand;
SELECT tidemark.inject('ev_stream', ARRAY[msg(2, 150.000001)]);
SELECT k, session_start, session_end, count FROM byhand;
-- a row of that key that is on time begins another session
SELECT tidemark.inject('ev_stream', ARRAY[msg(1, 146), msg(1, 145), msg(3, 200)]);
SELECT k, session_start, session_end, count FROM byhand ORDER BY session_end, k;
SELECT tidemark.inject('ev_stream', ARRAY[msg(3, 300)]);
SELECT k, session_start, session_end, count FROM byhand ORDER BY session_end, k;
DROP MATERIALIZED VIEW byhand;

-- at random
DROP TABLE ev CASCADE;
DROP FOREIGN TABLE ev_stream;
CREATE FOREIGN TABLE ev_stream (k int, x bigint, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'), w timestamptz OPTIONS (metadata 'watermark'))
  SERVER m OPTIONS (topic 'ev', event_time 'at', watermark_delay '3 s');
CREATE TABLE ev (LIKE ev_stream);
SELECT tidemark.start_ingest('ev_stream', into_table => 'ev');
CREATE FUNCTION make_view(name text, source text, options text) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (tidemark.continuous, %s) AS SELECT k, session_start, session_end, count(*) AS n, sum(x) AS total
      FROM (SELECT k, x, tidemark.session_start(at, ''10 s'') OVER w, tidemark.session_end(at, ''10 s'') OVER w FROM %I WINDOW w AS (PARTITION BY k ORDER BY at)) s
     GROUP BY k, session_start, session_end', name, options, source);
END
$$;
SELECT make_view('shown', 'ev', 'tidemark.allowed_lateness = ''5 s'''), make_view('shown_stream', 'ev_stream', 'tidemark.allowed_lateness = ''5 s''');
SELECT make_view('closed', 'ev', 'tidemark.allowed_lateness = ''5 s'', tidemark.emit = ''final'''), make_view('closed_stream', 'ev_stream', 'tidemark.allowed_lateness = ''5 s'', tidemark.emit = ''final''');
SELECT make_view('pruned', 'ev', 'tidemark.allowed_lateness = ''5 s'', tidemark.retention = ''1 min''');
-- the time of a batch goes forward, its rows are up to 20 s behind
CREATE FUNCTION random_batch(now int, size int) RETURNS text[] LANGUAGE sql VOLATILE AS
$$ SELECT array_agg(json_build_object('k', floor(random() * 12), 'x', floor(random() * 10), 'at', timestamptz '2026-01-01Z' + (now - floor(random() * random() * 20)) * interval '1 s')::text) FROM generate_series(1, size) $$;
CREATE FUNCTION wrong() RETURNS TABLE (what text, differing bigint) LANGUAGE plpgsql AS
$$
DECLARE
    until timestamptz;
BEGIN
    SELECT min(watermark) - interval '5 s' INTO until FROM tidemark_state.partition WHERE stream = 'ev_stream'::regclass;
    RETURN QUERY SELECT 'table and stream differ', count(*) FROM ((TABLE shown EXCEPT ALL TABLE shown_stream) UNION ALL (TABLE shown_stream EXCEPT ALL TABLE shown)) d;
    RETURN QUERY SELECT 'closed is not what is shown', count(*)
        FROM ((SELECT k, session_start, session_end, n, total FROM shown WHERE session_end < until EXCEPT ALL SELECT k, session_start, session_end, n, total FROM closed)
              UNION ALL (SELECT k, session_start, session_end, n, total FROM closed EXCEPT ALL SELECT k, session_start, session_end, n, total FROM shown WHERE session_end < until)) d;
    RETURN QUERY SELECT 'closed over the stream differs', count(*)
        FROM (SELECT k, session_start, session_end, n, total FROM closed EXCEPT ALL SELECT k, session_start, session_end, n, total FROM closed_stream) d;
    RETURN QUERY SELECT 'a closed session has changed', count(*) FROM (TABLE before EXCEPT ALL TABLE closed) d;
    RETURN QUERY SELECT 'pruned too early or too late', count(*)
        FROM ((TABLE pruned EXCEPT ALL SELECT * FROM shown WHERE session_end >= until - interval '1 min')
              UNION ALL (SELECT * FROM shown WHERE session_end >= until - interval '1 min' EXCEPT ALL TABLE pruned)) d;
    RETURN QUERY SELECT v.view || ' differs from its query', count(*) FROM tidemark_state.view v, tidemark.verify(v.view) WHERE v.view::text LIKE 'shown%' GROUP BY v.view;
END
$$;
CREATE FUNCTION rounds(batches int) RETURNS TABLE (what text, differing bigint) LANGUAGE plpgsql AS
$$
BEGIN
    CREATE TEMP TABLE before (LIKE closed);
    FOR i IN 1 .. batches LOOP
        DELETE FROM before;
        INSERT INTO before TABLE closed;
        FOR p IN 0 .. 1 LOOP
            PERFORM tidemark.inject('ev_stream', random_batch(100 + i * 8, 1 + floor(random() * random() * 12)::int), partition => p);
        END LOOP;
        RETURN QUERY SELECT * FROM wrong() w WHERE w.differing > 0;
        EXIT WHEN FOUND;
    END LOOP;
    RAISE NOTICE 'some closed: %, some open: %, some late: %', (SELECT count(*) > 20 FROM closed), (SELECT count(*) FROM closed) < (SELECT count(*) FROM shown),
        (SELECT sum(late) > 10 FROM tidemark_state.view_stats);
END
$$;
SELECT setseed(0.75);
SELECT * FROM rounds(40);
-- another seed each day finds more: SELECT setseed(random()); SELECT * FROM rounds(1000);
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev;
DROP FUNCTION check_view, check_all, feed, series, msg, random_batch, rounds, wrong, make_view;
