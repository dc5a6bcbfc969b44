-- Proves that a view whose expression fails becomes failed alone, with its reason, and that REFRESH rebuilds it.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
CREATE FUNCTION states() RETURNS TABLE (view text, state text, sqlstate text, reason text, hint text) LANGUAGE sql AS
$$ SELECT view::text, state, sqlstate, reason, hint FROM tidemark.views ORDER BY view::text $$;
\set ECHO all
CREATE MATERIALIZED VIEW good WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW bad_division WITH (tidemark.continuous) AS SELECT k, sum(100 / (x - 7)) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW bad_key WITH (tidemark.continuous) AS SELECT repeat(md5(name), x::int) AS key, count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW bad_cast WITH (tidemark.continuous) AS SELECT name::int AS m, count(*) FROM ev WHERE k = 1 GROUP BY 1;
CREATE MATERIALIZED VIEW bad_overflow WITH (tidemark.continuous) AS SELECT count(*), sum(x::int2) FROM ev;
CREATE MATERIALIZED VIEW good_stream WITH (tidemark.continuous) AS SELECT count(*) FROM ev_stream;
CREATE MATERIALIZED VIEW bad_stream WITH (tidemark.continuous) AS SELECT sum(1 / k) FROM ev_stream;
CREATE FUNCTION raises(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF $1 = 13 THEN RAISE 'thirteen' USING HINT = 'never 13'; END IF; RETURN $1; END $$;
CREATE MATERIALIZED VIEW bad_raise WITH (tidemark.continuous) AS SELECT sum(raises(x)) FROM ev;
SELECT tidemark.inject('ev_stream', ARRAY['{"k":1,"name":"1","x":1,"at":"2026-01-01T00:00:00Z"}', '{"k":2,"name":"2","x":2,"at":"2026-01-01T00:00:00Z"}']) IS NOT NULL AS injected;
SELECT * FROM states();
SELECT * FROM check_all();
-- one message that only one view minds, among others
SELECT tidemark.inject('ev_stream', ARRAY['{"k":3,"name":"3","x":3,"at":"2026-01-01T00:00:00Z"}', '{"k":3,"name":"x","x":7,"at":"2026-01-01T00:00:00Z"}', '{"k":4,"name":"4","x":4,"at":"2026-01-01T00:00:00Z"}']) IS NOT NULL AS injected;
SELECT * FROM states() WHERE state <> 'live';
SELECT * FROM check_all();
SELECT count(*) FROM ev;
-- each of the others in its turn; random-looking keys do not compress
SELECT tidemark.inject('ev_stream', '{"k":0,"name":"5","x":5,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT tidemark.inject('ev_stream', '{"k":1,"name":"y","x":13,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT tidemark.inject('ev_stream', '{"k":5,"name":"6","x":100000,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
CREATE MATERIALIZED VIEW long_key WITH (tidemark.continuous) AS SELECT key, count(*) FROM ev, LATERAL (SELECT CASE WHEN k = 6 THEN (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 400) g) ELSE name END AS key) s GROUP BY key;
SELECT tidemark.inject('ev_stream', ARRAY['{"k":6,"name":"6","x":1,"at":"2026-01-01T00:00:00Z"}']) IS NOT NULL AS injected;
SELECT view, state, sqlstate, regexp_replace(reason, '\d{3,}', 'N', 'g') AS reason FROM states() WHERE state <> 'live';
SELECT * FROM check_all();
-- a failed view says so, and can be read as it stands on demand
SELECT * FROM bad_stream;
SET tidemark.read_unpopulated = on;
SELECT sum(sum) FROM bad_division;
RESET tidemark.read_unpopulated;
SELECT tidemark.wait_for('bad_stream', 0, 1, '0');
SELECT tidemark.wait_for('good_stream', 0, 1, '0');
-- REFRESH fails as long as the cause is there, and leaves everything as it was
REFRESH MATERIALIZED VIEW bad_division;
SELECT sum(sum) FROM bad_division;
SELECT state FROM states() WHERE view = 'bad_division';
TRUNCATE ev;
CREATE OR REPLACE FUNCTION raises(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT $1 $$;
REFRESH MATERIALIZED VIEW bad_division;
REFRESH MATERIALIZED VIEW bad_cast;
REFRESH MATERIALIZED VIEW bad_raise;
REFRESH MATERIALIZED VIEW bad_overflow;
REFRESH MATERIALIZED VIEW long_key;
SELECT view, state, reason, hint, sqlstate FROM states() WHERE view IN ('bad_division', 'bad_cast', 'bad_raise', 'bad_overflow', 'long_key');
SELECT tidemark.inject('ev_stream', ARRAY['{"k":1,"name":"1","x":2,"at":"2026-01-01T00:00:00Z"}', '{"k":2,"name":"2","x":13,"at":"2026-01-01T00:00:00Z"}']) IS NOT NULL AS injected;
SELECT * FROM check_view('bad_division');
SELECT * FROM check_view('bad_raise');
SELECT * FROM bad_raise;
-- CREATE over rows that fail is an error, and nothing is left
SELECT tidemark.inject('ev_stream', '{"k":0,"name":"2","x":1,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT count(*) AS before FROM tidemark_state.view \gset
CREATE MATERIALIZED VIEW at_create WITH (tidemark.continuous) AS SELECT k, sum(1 / k) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW at_create WITH (tidemark.continuous) AS SELECT sum(1 / k) FROM ev_stream;
SELECT count(*) - :before AS more FROM tidemark_state.view;
-- a final function or an output expression that fails concerns readers only
CREATE MATERIALIZED VIEW at_read WITH (tidemark.continuous) AS SELECT k, 1 / (count(*) - 1) AS q FROM ev GROUP BY k;
SELECT * FROM at_read ORDER BY k;
SELECT state FROM states() WHERE view = 'at_read';
-- causes that show when the view is loaded: a dropped privilege or a function
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 $$;
CREATE MATERIALIZED VIEW loaded WITH (tidemark.continuous) AS SELECT f(k), count(*) FROM ev GROUP BY 1;
CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 / 0 $$;
SELECT tidemark.inject('ev_stream', '{"k":1,"name":"2","x":1,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT view, state, reason FROM states() WHERE view = 'loaded';
CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 $$;
REFRESH MATERIALIZED VIEW loaded;
SELECT * FROM check_view('loaded');
-- a lost index of the state table
SELECT c.conname, v.state_table FROM tidemark_state.view v JOIN pg_constraint c ON c.conrelid = v.state_table WHERE v.view = 'loaded'::regclass \gset
ALTER TABLE :state_table DROP CONSTRAINT :conname;
SELECT tidemark.inject('ev_stream', '{"k":1,"name":"2","x":1,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT view, state, regexp_replace(reason, '\d+', 'n') AS reason FROM states() WHERE view = 'loaded';
-- a failed view in a transaction that is rolled back has not failed
BEGIN;
SELECT tidemark.inject('ev_stream', '{"k":1,"name":"2","x":7,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT state FROM states() WHERE view = 'bad_division';
ROLLBACK;
SELECT state FROM states() WHERE view = 'bad_division';
SELECT * FROM check_view('good');
SELECT tidemark.inject('ev_stream', '{"k":1,"name":"2","x":9,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT * FROM check_view('bad_division');
SELECT * FROM check_view('good_stream');
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev;
DROP FUNCTION check_view, check_all, feed, series, states, raises, f;
