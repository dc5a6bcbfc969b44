-- Proves, window by window, which rows are late, that they are counted and left out, and that verify() applies the same rule.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/late_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all
SELECT make_stream('s', 2);
CREATE MATERIALIZED VIEW strict WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, window_end, count(*) AS n, bool_or(id = 3) AS has_3
  FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW mild WITH (tidemark.continuous, tidemark.allowed_lateness = '5 s') AS
  SELECT window_end, count(*) AS n FROM s_table, tidemark.tumble(at, '10 s') GROUP BY window_end HAVING count(*) > 1;
CREATE MATERIALIZED VIEW hopping WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, k, count(*) AS n FROM s_table, tidemark.hop(at, '5 s', '10 s') WHERE id <> 9 GROUP BY window_start, k;
CREATE MATERIALIZED VIEW never WITH (tidemark.continuous) AS
  SELECT window_start, window_end, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end;

-- the watermark is 11.9 s - 2 s: the window until 10 s is still open
SELECT tidemark.inject('s', ARRAY[message(1, 0, 11.9), message(2, 0, 3)]);
SELECT view, late FROM tidemark.views ORDER BY view::text;
-- 12 s - 2 s: it is not, from the next row on; a row is judged by what came before it, in the same batch too
SELECT tidemark.inject('s', ARRAY[message(3, 0, 9), message(4, 0, 12), message(5, 0, 9.999999), message(6, 0, 10)]);
SELECT view, late FROM tidemark.views ORDER BY view::text;
TABLE strict ORDER BY 1;
-- another partition has a watermark of its own
SELECT tidemark.inject('s', ARRAY[message(7, 0, 1)], partition => 1);
SELECT view, late FROM tidemark.views ORDER BY view::text;
-- 5 s of lateness: 16.999999 s - 2 s is not enough, 17 s - 2 s is
SELECT tidemark.inject('s', ARRAY[message(8, 0, 16.999999), message(2, 0, 9), message(8, 0, 17), message(2, 0, 9)]);
SELECT view, late FROM tidemark.views ORDER BY view::text;
-- late for one of two windows; rows that WHERE leaves out, and groups that HAVING does, are not the point
SELECT tidemark.inject('s', ARRAY[message(10, 1, 11), message(10, 1, 14), message(9, 1, 3)]);
SELECT view, late FROM tidemark.views ORDER BY view::text;
TABLE hopping ORDER BY 1, 2;
SELECT v.view, r.* FROM tidemark.views v, tidemark.verify(v.view) r;
-- the same for views that come later
CREATE MATERIALIZED VIEW strict_2 WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, window_end, count(*) AS n, bool_or(id = 3) AS has_3 FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW hopping_2 WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, k, count(*) AS n FROM s_table, tidemark.hop(at, '5 s', '10 s') WHERE id <> 9 GROUP BY window_start, k;
TABLE strict EXCEPT TABLE strict_2;
TABLE hopping EXCEPT TABLE hopping_2;
SELECT view, late FROM tidemark.views WHERE view::text ~ '_2' ORDER BY view::text;
SELECT v.view, r.* FROM tidemark.views v, tidemark.verify(v.view) r;
-- and it is not the rule of verify() that makes all equal
ALTER FOREIGN TABLE s OPTIONS (SET max_error_ratio '0.5');
UPDATE tidemark_state.view SET options = ARRAY['allowed_lateness=5 s'] WHERE view IN ('strict'::regclass, 'hopping'::regclass);
SELECT problem, view_row->'n' AS view_n, batch_row->'n' AS batch_n FROM tidemark.verify('strict');
SELECT problem, view_row->'n' AS view_n, batch_row->'n' AS batch_n FROM tidemark.verify('hopping');
UPDATE tidemark_state.view SET options = ARRAY['allowed_lateness=0 s'] WHERE view IN ('strict'::regclass, 'hopping'::regclass);

-- since
SELECT * FROM tidemark.verify('strict', since => '2026-01-01 00:00:10Z');
-- a verdict that is stored decides against the rule, for that row and window alone
INSERT INTO tidemark_state.verdict SELECT v.state_table, 0, 1, '2026-01-01 00:00:10Z', 'closed' FROM tidemark_state.view v WHERE v.view::text ~ 'strict|hopping$';
SELECT v.view, r.problem, r.view_row->'n' AS view_n, r.batch_row->'n' AS batch_n FROM tidemark.views v, tidemark.verify(v.view) r ORDER BY 1;
DELETE FROM tidemark_state.verdict;
INSERT INTO tidemark_state.verdict SELECT v.state_table, 0, 5, '2026-01-01 00:00Z', 'admitted' FROM tidemark_state.view v WHERE v.view::text ~ 'strict|hopping$';
SELECT v.view, r.problem, r.view_row->'n' AS view_n, r.batch_row->'n' AS batch_n FROM tidemark.views v, tidemark.verify(v.view) r ORDER BY 1;
DELETE FROM tidemark_state.verdict;
SELECT tidemark_state.has_verdict(NULL, 0, 0, '2026-01-01'::timestamp, 'closed'), tidemark_state.has_verdict(0, 0, 0, '2026-01-01'::timestamptz, 'closed');
-- a rebuild finds the same
SELECT tidemark.pause('strict');
REFRESH MATERIALIZED VIEW strict;
TABLE strict EXCEPT TABLE strict_2;
SELECT * FROM tidemark.verify('strict');
-- a paused view catches up with the watermarks that its rows had
SELECT tidemark.pause('strict_2');
SELECT tidemark.inject('s', ARRAY[message(11, 0, 40), message(12, 0, 37), message(13, 0, 29)]);
SELECT tidemark.inject('s', ARRAY[message(14, 0, 9.999999), message(15, 0, 39)], partition => 1);
SELECT tidemark.resume('strict_2');
SELECT tidemark.inject('s', ARRAY[message(11, 0, 41), message(12, 0, 39), message(13, 0, 29)]);
TABLE strict EXCEPT TABLE strict_2;
SELECT view, late FROM tidemark.views WHERE view::text ~ 'strict' ORDER BY view::text;
SELECT v.view, r.* FROM tidemark.views v, tidemark.verify(v.view) r;

-- a replayed message has moved no watermark: neither for verify() nor for a view that comes later
CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE FOREIGN TABLE r (id int, n small, at timestamptz) SERVER m OPTIONS (topic 'r', event_time 'at', max_error_ratio '1');
CREATE MATERIALIZED VIEW replayed WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, count(*) AS n, sum(id) AS ids FROM r, tidemark.tumble(at, '10 s') GROUP BY window_start;
SELECT tidemark.inject('r', ARRAY['{"id":1,"n":1,"at":"2026-01-01T00:00:01Z"}', '{"id":2,"n":10,"at":"2026-01-01T00:01:00Z"}',
  '{"id":3,"n":3,"at":"2026-01-01T00:00:02Z"}', '{"id":4,"n":4,"at":"2026-01-01T00:00:20Z"}', '{"id":5,"n":5,"at":"2026-01-01T00:00:03Z"}']);
ALTER DOMAIN small DROP CONSTRAINT small_check;
SELECT * FROM tidemark.replay_dead_letters('r');
TABLE replayed ORDER BY 1;
SELECT * FROM tidemark.verify('replayed');
CREATE MATERIALIZED VIEW replayed_2 WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, count(*) AS n, sum(id) AS ids FROM r, tidemark.tumble(at, '10 s') GROUP BY window_start;
TABLE replayed_2 ORDER BY 1;
SELECT * FROM tidemark.verify('replayed_2');
-- nor have messages from before the ingest's start, and those that reset_ingest() left out
CREATE FOREIGN TABLE q (id int, at timestamptz) SERVER m OPTIONS (topic 'q', event_time 'at');
SELECT tidemark.inject('q', ARRAY[message(1, 0, 100), message(2, 0, 1)]);
SELECT tidemark.start_ingest('q', start_at => 'latest');
SELECT tidemark.inject('q', message(3, 0, 2));
SELECT tidemark.pause('q');
SELECT tidemark.inject('q', message(4, 0, 200));
SELECT tidemark.reset_ingest('q', 'latest');
SELECT tidemark.resume('q');
CREATE MATERIALIZED VIEW early WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, count(*) AS n, sum(id) AS ids FROM q, tidemark.tumble(at, '10 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW middle WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.start_at = '{"0": 3}') AS
  SELECT window_start, count(*) AS n, sum(id) AS ids FROM q, tidemark.tumble(at, '10 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW last WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s', tidemark.start_at = 'latest') AS
  SELECT window_start, count(*) AS n, sum(id) AS ids FROM q, tidemark.tumble(at, '10 s') GROUP BY window_start;
SELECT tidemark.inject('q', ARRAY[message(5, 0, 3), message(6, 0, 20), message(7, 0, 4)]);
TABLE early ORDER BY 1;
TABLE middle ORDER BY 1;
TABLE last ORDER BY 1;
SELECT v.view, r.* FROM tidemark.views v, tidemark.verify(v.view) r;
-- a row in no window is late for none
SELECT make_stream('u', 1);
CREATE MATERIALIZED VIEW sparse WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, window_end, count(*) AS n, sum(id) AS ids FROM u LEFT JOIN tidemark.tumble(at, '10 s') ON k > 0 GROUP BY 1, 2;
CREATE MATERIALIZED VIEW sparse_nested WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, window_end, count(*) AS n, sum(id) AS ids
  FROM u_table u LEFT JOIN ((VALUES (0), (1)) v(k) LEFT JOIN tidemark.tumble(at, '10 s') ON v.k > 0) ON v.k = u.k GROUP BY 1, 2;
SELECT tidemark.inject('u', ARRAY[message(1, 1, 1), message(2, 0, 1), message(3, 1, 30), message(4, 1, 2), message(5, 0, 2), message(6, 2, 2)]);
CREATE MATERIALIZED VIEW sparse_later WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
  SELECT window_start, window_end, count(*) AS n, sum(id) AS ids FROM u_table LEFT JOIN tidemark.tumble(at, '10 s') ON k > 0 GROUP BY 1, 2;
TABLE sparse ORDER BY 1;
TABLE sparse_nested ORDER BY 1;
TABLE sparse_later ORDER BY 1;
SELECT view, late FROM tidemark.views WHERE view::text ~ 'sparse' ORDER BY view::text;
SELECT v.view, r.* FROM tidemark.views v, tidemark.verify(v.view) r WHERE v.view::text ~ 'sparse';
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE s_table, u_table;
DROP DOMAIN small;
DROP FUNCTION make_stream, message, query, make_view, judged, check_late, check_admitted;
