-- Proves that every query over session windows that cannot be kept is refused at CREATE, with position and hint.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
SET client_min_messages = warning;
CREATE TABLE dim (k int PRIMARY KEY, label text);
CREATE TABLE plain (k int, at timestamptz);
CREATE ROLE session_reader;
GRANT CREATE ON SCHEMA public TO session_reader;
CREATE VIEW sessions AS SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev;
SET client_min_messages = notice;
\set VERBOSITY default
\set SHOW_CONTEXT never
\set ECHO all

-- where the sessions are made
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at), count(*) FROM ev GROUP BY k, at;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s JOIN dim d USING (k) GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS WITH s AS (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev_stream) SELECT a.k, count(*) FROM s a, s b GROUP BY a.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS WITH raw AS (SELECT * FROM ev), s AS (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM raw) SELECT k, session_start, count(*) FROM s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT * FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) t) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM sessions GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s WHERE k > 0 GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k FROM dim UNION SELECT k FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY ROLLUP (k, session_start);
\echo :LAST_ERROR_SQLSTATE

-- what the subquery must not have
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (WITH raw AS (SELECT * FROM ev) SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM raw) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev GROUP BY k, at) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT DISTINCT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev ORDER BY k) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev LIMIT 7) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev OFFSET 7) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, generate_series(1, 2) AS g, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev WHERE random() < 0.5) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, max(n) FROM (SELECT k, row_number() OVER w AS n, tidemark.session_start(at, '10 s') OVER w FROM ev WINDOW w AS (PARTITION BY k ORDER BY at)) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, max(age) FROM (SELECT k, at - tidemark.session_start(at, '10 s') OVER w AS age, tidemark.session_start(at, '10 s') OVER w FROM ev WINDOW w AS (PARTITION BY k ORDER BY at)) s GROUP BY k, session_start;

-- one kind of session
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, session_end, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at), tidemark.session_end(at, '10 s') OVER (PARTITION BY k, name ORDER BY at) FROM ev) s GROUP BY k, session_start, session_end;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, session_end, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER w, tidemark.session_end(at, '11 s') OVER w FROM ev WINDOW w AS (PARTITION BY k ORDER BY at)) s GROUP BY k, session_start, session_end;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at DESC) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY x) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, x * interval '1 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, NULL) OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '1 month') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '-1 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;

-- groups
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, name, session_start, count(*) FROM (SELECT k, name, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, name, session_start;
-- one key twice is not two keys
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT a, b, session_start, session_end, count(*) FROM (SELECT k AS a, k AS b, tidemark.session_start(at, '10 s') OVER w, tidemark.session_end(at, '10 s') OVER w FROM ev WINDOW w AS (PARTITION BY k, name ORDER BY at)) s GROUP BY a, b, session_start, session_end;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, s, t, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER w AS s, tidemark.session_start(at, '10 s') OVER w AS t FROM ev WINDOW w AS (PARTITION BY k ORDER BY at)) s GROUP BY k, s, t;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k % 2, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k % 2, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, date_trunc('hour', session_start), count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, 2;

-- a bound inside an aggregate
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, max(at - session_start) FROM (SELECT k, at, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FILTER (WHERE at > session_end - interval '1 min') FROM (SELECT k, at, tidemark.session_start(at, '10 s') OVER w, tidemark.session_end(at, '10 s') OVER w FROM ev WINDOW w AS (PARTITION BY k ORDER BY at)) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start FROM (SELECT k, at, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start HAVING min(session_start) < now();
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start FROM (SELECT k, at, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start HAVING min(session_start) < '2026-01-01Z';
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, sum((SELECT count(*) FROM dim WHERE s.session_start > '2026-01-01Z')) FROM (SELECT k, at, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(s) FROM (SELECT k, at, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;

-- the source inside
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT a.k, tidemark.session_start(a.at, '10 s') OVER (PARTITION BY a.k ORDER BY a.at) FROM ev a, ev_stream b) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT d.k, tidemark.session_start(at, '10 s') OVER (PARTITION BY d.k ORDER BY at) FROM dim d LEFT JOIN ev USING (k)) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev WHERE k IN (SELECT k FROM ev_stream)) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, sum((SELECT count(*) FROM ev_stream)) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(e) FROM (SELECT k, ev AS e, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start;
-- an ordinary table's sessions beside the source: not sessions of the view
CREATE MATERIALIZED VIEW joined WITH (tidemark.continuous) AS SELECT ev.k, count(*) FROM ev JOIN (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM plain) s USING (k) GROUP BY ev.k;

-- privileges on what the subquery reads
SET ROLE session_reader;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev) s GROUP BY k, session_start WITH NO DATA;
RESET ROLE;

-- closing needs the event time
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.allowed_lateness = '1 min') AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at + interval '1 h', '10 s') OVER (PARTITION BY k ORDER BY at + interval '1 h') FROM ev_stream) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW closing WITH (tidemark.continuous, tidemark.allowed_lateness = '1 min') AS SELECT k, session_start, count(*) FROM (SELECT k, tidemark.session_start(at, '10 s') OVER (PARTITION BY k ORDER BY at) FROM ev_stream) s GROUP BY k, session_start;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = (SELECT state_table FROM tidemark_state.view WHERE view = 'closing'::regclass) ORDER BY 1;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, dim, plain CASCADE;
DROP FUNCTION check_view, check_all, feed, series;
REVOKE CREATE ON SCHEMA public FROM session_reader;
DROP ROLE session_reader;
