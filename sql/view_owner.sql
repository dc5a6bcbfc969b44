-- Proves whose rights a view has: privileges at CREATE and later, row security, owners, roles, and what nobody may call.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE regress_owner;
CREATE ROLE regress_other;
CREATE ROLE regress_reader;
CREATE SCHEMA own AUTHORIZATION regress_owner;
GRANT CREATE ON SCHEMA public TO regress_owner, regress_other;
CREATE FUNCTION owners() RETURNS TABLE (view text, owners text, state text, reason text) LANGUAGE sql SECURITY DEFINER AS
$$ SELECT v.view::text, (SELECT string_agg(c.relowner::regrole::text, ' ' ORDER BY c.relname = 's', c.oid) FROM pg_class c WHERE c.oid IN (v.view, v.query_view, v.state_table)), v.state, (SELECT f.reason FROM tidemark_state.failure f WHERE f.relation = v.state_table) FROM tidemark_state.view v ORDER BY 1 $$;
SET client_min_messages = notice;
\set ECHO all
SELECT feed('ev_stream', series(20), 20);

-- CREATE: SELECT on every relation, CREATE on the schema
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.v WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
RESET ROLE;
GRANT SELECT (k, x) ON ev TO regress_owner;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.v WITH (tidemark.continuous) AS SELECT name, count(*) FROM ev GROUP BY name;
CREATE MATERIALIZED VIEW own.v WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW own.s WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev_stream GROUP BY k;
CREATE MATERIALIZED VIEW pg_catalog.v WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW tidemark_state.v WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
RESET ROLE;
CREATE TABLE secret (k int, label text);
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.j WITH (tidemark.continuous) AS SELECT label, count(*) FROM ev JOIN secret USING (k) GROUP BY label;
CREATE MATERIALIZED VIEW own.j WITH (tidemark.continuous) AS SELECT ev.k, count(*) FROM ev WHERE ev.k IN (SELECT k FROM secret) GROUP BY ev.k;
CREATE MATERIALIZED VIEW own.j WITH (tidemark.continuous) AS SELECT ev.k, count(*) FROM ev WHERE ev.k IN (SELECT k FROM secret) GROUP BY ev.k WITH NO DATA;
REFRESH MATERIALIZED VIEW own.j;
DROP MATERIALIZED VIEW IF EXISTS own.j;
RESET ROLE;
GRANT SELECT ON ev_stream TO regress_owner;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.s WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev_stream GROUP BY k;
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER m TO regress_owner;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW IF NOT EXISTS own.s WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev_stream GROUP BY k;
RESET ROLE;
SELECT * FROM owners();
-- a view of a stream without ingest: only the stream's owner starts one
CREATE FOREIGN TABLE lone_stream (k int) SERVER m OPTIONS (topic 'lone');
GRANT SELECT ON lone_stream TO regress_owner;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.lone WITH (tidemark.continuous) AS SELECT count(*) FROM lone_stream;
RESET ROLE;
-- a view on a table without ingest makes it read-only: only its owner may
CREATE TABLE quiet (k int);
GRANT SELECT ON quiet TO regress_owner;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.lone WITH (tidemark.continuous) AS SELECT count(*) FROM quiet;
RESET ROLE;
INSERT INTO quiet VALUES (1);
DROP TABLE quiet;
SELECT feed('ev_stream', series(5, 30), 2);
SELECT * FROM check_all();

-- reading: a GRANT on the view is enough, and without it there is nothing, not even behind it
GRANT USAGE ON SCHEMA own TO regress_reader;
SET ROLE regress_reader;
SELECT count(*) > 0 AS rows FROM own.v;
RESET ROLE;
GRANT SELECT ON own.v TO regress_reader;
SELECT state_table AS s, query_view AS q FROM tidemark_state.view WHERE view = 'own.v'::regclass \gset
SET ROLE regress_reader;
SELECT count(*) > 0 AS rows FROM own.v;
SELECT count(*) FROM :s;
SELECT count(*) FROM :q;
DELETE FROM own.v;
ALTER VIEW own.v RENAME TO w;
ALTER MATERIALIZED VIEW own.v RENAME COLUMN k TO key;
DROP MATERIALIZED VIEW own.v;
REFRESH MATERIALIZED VIEW own.v;
CREATE INDEX ON own.v (k);
COMMENT ON MATERIALIZED VIEW own.v IS 'mine';
ALTER MATERIALIZED VIEW own.v OWNER TO regress_reader;
SELECT tidemark.pause('own.v');
-- the owner may do all of it, but not to what is behind it
SET ROLE regress_owner;
CREATE INDEX ON own.v (k);
CREATE INDEX CONCURRENTLY ON own.v (k);
CREATE INDEX CONCURRENTLY IF NOT EXISTS v_hash ON own.v USING hash (k);
CREATE INDEX CONCURRENTLY IF NOT EXISTS v_hash ON own.v USING hash (k);
CREATE INDEX CONCURRENTLY v_hash ON own.v USING hash (k);
SELECT count(*) AS indexes, bool_and(indisvalid) AS valid FROM pg_index WHERE indrelid = :'s'::regclass;
BEGIN;
CREATE INDEX CONCURRENTLY ON own.v (k);
ROLLBACK;
CREATE INDEX CONCURRENTLY ON own.v USING nothing (k);
SELECT current_user;
ALTER MATERIALIZED VIEW own.v RENAME COLUMN k TO key;
COMMENT ON MATERIALIZED VIEW own.v IS 'mine';
SELECT tidemark.pause('own.v'), tidemark.resume('own.v');
REFRESH MATERIALIZED VIEW own.v;
DROP TABLE :s;
DROP VIEW :q;
TRUNCATE :s;
ALTER TABLE :s ADD COLUMN x int;
ALTER TABLE :s RENAME TO mine;
ALTER VIEW :q SET SCHEMA own;
ALTER TABLE :s DISABLE TRIGGER ALL;
CREATE UNIQUE INDEX ON :s (a2);
CREATE TABLE tidemark_state.mine (k int);
DELETE FROM :s;
-- ALTER OWNER: not without membership
\set VERBOSITY sqlstate
ALTER MATERIALIZED VIEW own.v OWNER TO regress_other;
\set VERBOSITY default
RESET ROLE;
SELECT * FROM owners();
-- ... by a superuser: all three; the new owner's rights are those that count
ALTER MATERIALIZED VIEW own.v OWNER TO regress_other;
SELECT * FROM owners();
SELECT tidemark.inject('ev_stream', series(2, 40)) IS NOT NULL AS injected;
SELECT * FROM owners();
GRANT SELECT ON ev TO regress_other;
REFRESH MATERIALIZED VIEW own.v;
SELECT tidemark.inject('ev_stream', series(2, 42)) IS NOT NULL AS injected;
SELECT * FROM check_all();
REASSIGN OWNED BY regress_other TO regress_owner;
ALTER VIEW own.v OWNER TO regress_owner;
SELECT * FROM owners();

-- a privilege lost later makes the view fail, not the ingest; over a stream REFRESH does not help either
REVOKE SELECT ON ev_stream FROM regress_owner;
REVOKE SELECT (k) ON ev FROM regress_owner;
SELECT tidemark.inject('ev_stream', series(2, 50)) IS NOT NULL AS injected;
SELECT * FROM owners();
SET ROLE regress_owner;
REFRESH MATERIALIZED VIEW own.v;
REFRESH MATERIALIZED VIEW own.s;
RESET ROLE;
GRANT SELECT ON ev_stream TO regress_owner;
GRANT SELECT ON ev TO regress_owner;
REFRESH MATERIALIZED VIEW own.v;
REFRESH MATERIALIZED VIEW own.s;
SELECT * FROM check_all();

-- functions run with the owner's rights, and may not change role or make temporary tables
CREATE FUNCTION public.spy(int) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN current_user || ' ' || session_user; END $$;
CREATE FUNCTION public.sly(int) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN SET ROLE NONE; RETURN current_user; END $$;
CREATE FUNCTION public.temporal(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN CREATE TEMP TABLE t AS SELECT 1; RETURN 'made'; END $$;
GRANT SELECT ON ev TO regress_owner;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.spy WITH (tidemark.continuous) AS SELECT split_part(spy(k), ' ', 1) AS who, count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW own.sly WITH (tidemark.continuous) AS SELECT sly(k) AS who, count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW own.temporal WITH (tidemark.continuous) AS SELECT temporal(k) AS who, count(*) FROM ev GROUP BY 1;
RESET ROLE;
SELECT tidemark.inject('ev_stream', series(2, 60)) IS NOT NULL AS injected;
SELECT * FROM own.spy;
-- EXECUTE on functions and aggregates is checked: for the owner when maintaining, for the reader when reading
CREATE FUNCTION public.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
REVOKE EXECUTE ON FUNCTION f FROM PUBLIC;
CREATE FUNCTION public.agg_final(bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'n' || $1 $$;
CREATE AGGREGATE public.agg(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, FINALFUNC = agg_final);
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.x WITH (tidemark.continuous) AS SELECT f(k), count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW own.a WITH (tidemark.continuous) AS SELECT agg(k) FROM ev;
GRANT SELECT ON own.a TO regress_reader;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION agg(bigint), agg_final FROM PUBLIC;
SET ROLE regress_reader;
SELECT * FROM own.a;
SELECT tidemark.final('agg(bigint)', 1::bigint, NULL::text);
SELECT tidemark.combine('agg(bigint)', 1::bigint, 1::bigint);
SELECT '\x00'::tidemark.aggstate;
SELECT tidemark_state.batch_rows();
SELECT * FROM tidemark_state.batch_rows() AS b(k int);
SELECT tidemark_state.on_drop();
INSERT INTO tidemark_state.view SELECT * FROM tidemark_state.view;
UPDATE tidemark_state.view SET state = 'live';
RESET ROLE;
SELECT tidemark.inject('ev_stream', series(2, 70)) IS NOT NULL AS injected;
SELECT * FROM owners() WHERE state <> 'live';
DROP MATERIALIZED VIEW own.a, own.spy;

-- row security: refused where it applies to the owner
ALTER TABLE ev ENABLE ROW LEVEL SECURITY;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.rls WITH (tidemark.continuous) AS SELECT count(k) FROM ev;
RESET ROLE;
CREATE MATERIALIZED VIEW of_superuser WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
SELECT tidemark.inject('ev_stream', series(2, 80)) IS NOT NULL AS injected;
SELECT * FROM owners() WHERE state <> 'live';
SELECT view, sqlstate FROM tidemark_state.view WHERE state = 'failed' ORDER BY view::text;
REFRESH MATERIALIZED VIEW own.v;
ALTER TABLE ev DISABLE ROW LEVEL SECURITY;
REFRESH MATERIALIZED VIEW own.v;
SELECT * FROM check_all();
-- of a joined table its policies are the view's
CREATE TABLE tenant (k int, label text);
INSERT INTO tenant SELECT i, 'l' || i FROM generate_series(0, 4) i;
ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON tenant USING (k > 2);
GRANT SELECT ON tenant TO regress_owner;
SET ROLE regress_owner;
CREATE MATERIALIZED VIEW own.tenants WITH (tidemark.continuous) AS SELECT label, count(*) FROM ev JOIN tenant USING (k) GROUP BY label;
RESET ROLE;
SELECT tidemark.inject('ev_stream', series(20, 90)) IS NOT NULL AS injected;
SELECT label FROM own.tenants ORDER BY label;
SET ROLE regress_owner;
SELECT tidemark.inject('ev_stream', '{}');
RESET ROLE;

-- constants of the query: a domain inside an array or a row is checked as who makes the view, never as the extension's owner
SET ROLE regress_owner;
CREATE TABLE own.asked (who name);
GRANT INSERT ON own.asked TO PUBLIC;
GRANT USAGE ON SCHEMA own TO PUBLIC;
CREATE FUNCTION own.ask(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO own.asked VALUES (current_user); RETURN true; END $$;
CREATE DOMAIN own.asking AS int CHECK (own.ask(VALUE));
CREATE TYPE own.pair AS (a own.asking);
CREATE TABLE own.plain (k text, id int, event_time timestamptz);
CREATE MATERIALIZED VIEW own.constants WITH (tidemark.continuous) AS
    SELECT k, count(*), max('{3}'::own.asking[]) AS most FROM own.plain WHERE id > ALL ('{1}'::own.asking[]) AND (('(1)'::own.pair)).a > 0 GROUP BY k HAVING count(*) > ALL ('{0}'::own.asking[]);
CREATE MATERIALIZED VIEW own.constants_final WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.late = 'table') AS
    SELECT window_start, k, count(*) FILTER (WHERE k > ALL ('{1}'::own.asking[])) FROM ev_stream, tidemark.tumble(at, '1 h') WHERE k > ALL ('{2}'::own.asking[]) GROUP BY 1, 2;
RESET ROLE;
SELECT count(*) > 0 AS asked, array_agg(DISTINCT who) AS who FROM own.asked;
-- nor are the tables of a view changed through a table that they become a partition of
SELECT split_part(c.oid::regclass::text, '.', 2) AS state FROM tidemark_state.view v JOIN pg_class c ON c.oid = v.state_table WHERE v.view = 'own.constants'::regclass \gset
SET ROLE regress_owner;
CREATE TABLE own.above (k text, c bigint) PARTITION BY LIST (k);
ALTER TABLE own.above ATTACH PARTITION tidemark_state.:state DEFAULT;
RESET ROLE;

-- DROP OWNED takes it all
DROP OWNED BY regress_owner;
SELECT * FROM owners();
SELECT count(*) FROM pg_class WHERE relnamespace = 'tidemark_state'::regnamespace AND relname ~ '^[qs]_\d+$';
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, secret, tenant;
DROP AGGREGATE agg(bigint);
DROP FUNCTION check_view, check_all, feed, series, owners, spy, sly, temporal, f, agg_final;
DROP SCHEMA IF EXISTS own CASCADE;
REVOKE ALL ON SCHEMA public FROM regress_owner, regress_other;
DROP ROLE regress_owner, regress_other, regress_reader;
