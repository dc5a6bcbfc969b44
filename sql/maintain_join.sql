-- Proves joins with ordinary tables as of the batch: inner, left, lateral, sublinks, with views, partitioned and materialized tables.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
\set ECHO all
CREATE TABLE dim (k int PRIMARY KEY, label text, since timestamptz DEFAULT '2026-01-01 00:20Z');
INSERT INTO dim SELECT i, 'label ' || i % 2 FROM generate_series(0, 3) i;
CREATE TABLE many (k int, tag text);
INSERT INTO many SELECT i % 4, 'tag ' || i FROM generate_series(1, 9) i;
CREATE TABLE parted (k int, region text) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (0, 1);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT i, 'region ' || i FROM generate_series(0, 6) i;
CREATE VIEW dim_view AS SELECT d.k, d.label, p.region FROM dim d JOIN parted p USING (k);
CREATE MATERIALIZED VIEW dim_mat AS SELECT k, label FROM dim;
SELECT feed('ev_stream', series(30), 30);

CREATE MATERIALIZED VIEW j_inner WITH (tidemark.continuous) AS SELECT label, count(*), sum(x) FROM ev JOIN dim ON dim.k = ev.k GROUP BY label;
CREATE MATERIALIZED VIEW j_using WITH (tidemark.continuous) AS SELECT k, label, count(*) FROM ev JOIN dim USING (k) GROUP BY k, label;
CREATE MATERIALIZED VIEW j_natural WITH (tidemark.continuous) AS SELECT k, label, count(*) FROM dim NATURAL JOIN ev GROUP BY 1, 2;
CREATE MATERIALIZED VIEW j_left WITH (tidemark.continuous) AS SELECT label, d.k IS NULL AS none, count(*), count(d.k) AS matched FROM ev LEFT JOIN dim d USING (k) GROUP BY label, d.k IS NULL;
CREATE MATERIALIZED VIEW j_right WITH (tidemark.continuous) AS SELECT label, count(*) FROM dim RIGHT JOIN ev ON dim.k = ev.k AND ev.at > dim.since GROUP BY label;
CREATE MATERIALIZED VIEW j_many WITH (tidemark.continuous) AS SELECT tag, count(*), sum(x), avg(x) FROM ev, many WHERE many.k = ev.k GROUP BY tag;
CREATE MATERIALIZED VIEW j_cross WITH (tidemark.continuous) AS SELECT d.k AS dk, count(*) FROM ev CROSS JOIN dim d GROUP BY d.k;
CREATE MATERIALIZED VIEW j_three WITH (tidemark.continuous) AS SELECT label, region, tag, count(*) FROM ev LEFT JOIN (dim JOIN parted USING (k)) ON dim.k = ev.k LEFT JOIN many m ON m.k = parted.k AND m.tag < 'tag 5' GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW j_view WITH (tidemark.continuous) AS SELECT label, region, count(*) FROM ev JOIN dim_view USING (k) GROUP BY 1, 2;
CREATE MATERIALIZED VIEW j_mat WITH (tidemark.continuous) AS SELECT label, count(*) FROM ev LEFT JOIN dim_mat USING (k) GROUP BY 1;
CREATE MATERIALIZED VIEW j_lateral WITH (tidemark.continuous) AS SELECT first, count(*) FROM ev LEFT JOIN LATERAL (SELECT min(tag) AS first FROM many WHERE many.k = ev.k) m ON true GROUP BY first;
-- joins that the planner leaves out
CREATE MATERIALIZED VIEW j_unused WITH (tidemark.continuous) AS SELECT sum(x) FROM ev LEFT JOIN LATERAL (SELECT min(tag) AS first FROM many WHERE many.k = ev.k AND tag <> ev.name) m ON true WHERE ok;
CREATE MATERIALIZED VIEW j_unused_grouped WITH (tidemark.continuous) AS SELECT n, count(*), sum(x) FROM ev LEFT JOIN dim d USING (k) LEFT JOIN LATERAL (SELECT count(*) FROM many WHERE many.k = ev.k) m ON true GROUP BY n;
CREATE MATERIALIZED VIEW j_sub WITH (tidemark.continuous) AS SELECT tags, count(*) FROM ev JOIN (SELECT k, count(*) AS tags FROM many GROUP BY k) s USING (k) GROUP BY tags;
CREATE MATERIALIZED VIEW j_exists WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev WHERE EXISTS (SELECT FROM dim WHERE dim.k = ev.k AND label = 'label 1') GROUP BY k;
CREATE MATERIALIZED VIEW j_not_in WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev WHERE k NOT IN (SELECT k FROM dim) GROUP BY k;
CREATE MATERIALIZED VIEW j_scalar WITH (tidemark.continuous) AS SELECT (SELECT label FROM dim WHERE dim.k = ev.k) AS label, count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW j_in_aggregate WITH (tidemark.continuous) AS SELECT k, sum((SELECT count(*) FROM many WHERE many.k = ev.k)), count(*) FILTER (WHERE ev.k IN (SELECT k FROM dim)) AS known FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW j_window WITH (tidemark.continuous) AS SELECT window_start, window_end, label, count(*) FROM ev JOIN dim USING (k), tidemark.tumble(at, '10 min') GROUP BY 1, 2, 3 HAVING count(*) > 1;
CREATE MATERIALIZED VIEW j_size WITH (tidemark.continuous) AS SELECT window_start, window_end, count(*) FROM ev JOIN dim d USING (k), tidemark.tumble(at, make_interval(mins => d.k + 1)) GROUP BY 1, 2;
CREATE MATERIALIZED VIEW j_size_sub WITH (tidemark.continuous) AS SELECT window_start, window_end, count(*) FROM ev, tidemark.tumble(at, (SELECT make_interval(mins => max(k)) FROM dim)) GROUP BY 1, 2;
CREATE MATERIALIZED VIEW j_whole WITH (tidemark.continuous) AS SELECT count(d), max(d.label) FROM ev LEFT JOIN dim d USING (k);
CREATE MATERIALIZED VIEW j_stream WITH (tidemark.continuous) AS SELECT label, count(*) FROM ev_stream s LEFT JOIN dim ON dim.k = s.k GROUP BY label;
SELECT * FROM check_all();
SELECT feed('ev_stream', series(30, 31), 1);
SELECT * FROM check_all();
SELECT feed('ev_stream', series(300, 61), 100);
SELECT * FROM check_all();
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live';
-- a batch joins by index, also after the table has grown
ANALYZE dim, many;
SELECT feed('ev_stream', series(10, 400), 3);
SELECT * FROM check_all();

-- as of the batch: rows are joined with the table as it is when they come, and REFRESH is not needed for new ones
UPDATE dim SET label = 'changed' WHERE k = 1;
SELECT sum(count) AS before FROM j_inner \gset
SELECT feed('ev_stream', ARRAY['{"k":1,"x":1,"at":"2026-01-01T00:00:00Z"}'], 1);
SELECT label, count FROM j_inner WHERE label = 'changed';
SELECT sum(count) - :before AS added FROM j_inner;
SELECT count(*) > 0 AS differs FROM check_view('j_inner');
-- DDL on dimensions is followed
ALTER TABLE dim RENAME COLUMN label TO title;
ALTER TABLE dim ADD COLUMN more int;
CREATE OR REPLACE VIEW dim_view AS SELECT d.k, d.title AS label, 'here ' || p.region AS region FROM dim d JOIN parted p USING (k);
ALTER TABLE parted DETACH PARTITION parted_1;
DROP TABLE parted_1;
CREATE INDEX ON many (k);
SELECT feed('ev_stream', ARRAY['{"k":1,"x":1,"at":"2026-01-01T00:00:00Z"}', '{"k":2,"x":1,"at":"2026-01-01T00:00:00Z"}'], 1);
SELECT * FROM j_view WHERE region LIKE 'here%' ORDER BY 1, 2;
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live';
DROP TABLE dim;
TRUNCATE many;
SELECT feed('ev_stream', series(10, 500), 5);
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live';
DROP TABLE dim CASCADE;
SELECT count(*) FROM tidemark_state.view;
SELECT feed('ev_stream', series(10, 510), 5);
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, many, parted CASCADE;
DROP FUNCTION check_view, check_all, feed, series;
