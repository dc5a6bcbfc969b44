-- Proves batches of many groups: merged in memory and, with little work_mem, by way of files; new ones and ones that are there, small and large.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set ECHO all
CREATE MATERIALIZED VIEW alone WITH (tidemark.continuous) AS SELECT x, name, count(*), sum(k), avg(n), max(f) FROM ev GROUP BY name, x;
CREATE MATERIALIZED VIEW shared WITH (tidemark.continuous) AS SELECT window_start, x, count(*), avg(n) FROM ev, tidemark.tumble(at, '10 min') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW sharing WITH (tidemark.continuous) AS SELECT window_start, x, sum(x), stddev(f), min(name) FROM ev, tidemark.tumble(at, '10 min') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW panes WITH (tidemark.continuous) AS SELECT window_start, window_end, x, count(*), avg(n) FROM ev, tidemark.hop(at, '5 min', '10 min') GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW whole WITH (tidemark.continuous) AS SELECT count(*), sum(x), avg(n) FROM ev;
-- in the index a name is not what it is in the table
CREATE MATERIALIZED VIEW named WITH (tidemark.continuous) AS SELECT x::text::name AS x, n, count(*) FROM ev GROUP BY 1, 2;
-- states that do not fit on a page together, or alone
CREATE MATERIALIZED VIEW large WITH (tidemark.continuous) AS
    SELECT x % 400 AS x, max(repeat(md5(x::text), 100)), min((SELECT string_agg(md5(x::text || i), '') FROM generate_series(1, 100) i)) FROM ev WHERE x % 5 = 0 GROUP BY 1;
SELECT feed('ev_stream', series(1500), 1000);
SELECT count(*) > 500 AS many FROM alone;
SELECT count(*) AS large, max(length(min)) FROM large;
SELECT * FROM check_all(1e-12);
SELECT feed('ev_stream', series(1500, 1001), 1500);
SELECT * FROM check_all(1e-12);
-- the same batches on disk
SET work_mem = '64kB';
SELECT feed('ev_stream', series(2000, 2501), 1500);
SELECT * FROM check_all(1e-12);
REFRESH MATERIALIZED VIEW alone;
REFRESH MATERIALIZED VIEW large;
RESET work_mem;
SELECT * FROM check_all(1e-12);
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live';
-- rows that have moved have left entries in the index
SELECT feed('ev_stream', series(1500, 501), 1500);
SELECT * FROM check_all(1e-12);
-- the table has the new groups of a batch in the order of the index
CREATE MATERIALIZED VIEW ordered WITH (tidemark.continuous) AS SELECT f, x, count(*) FROM ev GROUP BY f, x;
SELECT format('SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY g1, g2) = row_number() OVER (ORDER BY ctid) AS same FROM %s) t WHERE NOT same', state_table::regclass) FROM tidemark_state.view WHERE view = 'ordered'::regclass \gexec
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev;
DROP FUNCTION check_view, check_all, feed, series;
