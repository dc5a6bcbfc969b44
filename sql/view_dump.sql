-- Proves that the objects behind a view can be made again from their text, by pg_get_viewdef and the catalog's rows, as dump and restore do.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
\set ECHO all
SELECT feed('ev_stream', series(40), 40);
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS
    SELECT window_start, window_end, k, count(*) AS n, avg(x) AS a, stddev(n) AS s, max(name COLLATE "C") AS m, (sum(x) FILTER (WHERE ok))::int AS filtered
      FROM ev, tidemark.tumble(at, '10 min', timezone => 'Europe/Berlin') GROUP BY window_start, window_end, k HAVING count(*) > 0;
CREATE MATERIALIZED VIEW total WITH (tidemark.continuous, tidemark.start_at = 'earliest') AS SELECT count(*), sum(x) FROM ev_stream;
-- what a dump contains: three objects per view and one row in each catalog table
SELECT c.relkind, count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'tidemark_state' AND relname ~ '^[qs]_\d+$' GROUP BY 1 ORDER BY 1;
SELECT deptype, count(*) FROM pg_depend d JOIN tidemark_state.view v ON d.objid IN (v.view, v.query_view, v.state_table) WHERE d.refclassid = 'pg_extension'::regclass GROUP BY 1;
SELECT relname, c.oid = ANY (extconfig) AS dumped FROM pg_class c, pg_extension WHERE extname = 'tidemark' AND relnamespace = 'tidemark_state'::regnamespace AND relkind = 'r'
   AND relname IN ('view', 'view_partition', 'view_stats', 'ingest', 'partition', 'stream', 'skipped_range', 'view_skipped_range', 'removed_range') ORDER BY 1;
SELECT regexp_replace(pg_get_viewdef(query_view), '\m(ev|tumble)\.(?!tumble)', '', 'g') AS definition FROM tidemark_state.view WHERE view = 'v'::regclass;
SELECT regexp_replace(regexp_replace(pg_get_viewdef('v'), '\ms_\d+\.', '', 'g'), 's_\d+', 's_n', 'g') AS definition;
SELECT regexp_replace(regexp_replace(pg_get_viewdef('total'), '\ms_\d+\.', '', 'g'), 's_\d+', 's_n', 'g') AS definition;
-- texts made under the search path of a dump give the same objects
CREATE FUNCTION remade(v regclass) RETURNS TABLE (what text, same boolean) LANGUAGE plpgsql SET search_path = '' AS
$$
DECLARE q text; visible text;
BEGIN
    SELECT pg_catalog.pg_get_viewdef(r.query_view), pg_catalog.pg_get_viewdef(r.view) INTO q, visible FROM tidemark_state.view r WHERE r.view = v;
    EXECUTE 'CREATE VIEW public.remade_q AS ' || q;
    EXECUTE 'CREATE VIEW public.remade_v AS ' || visible;
    RETURN QUERY SELECT 'query view', pg_catalog.pg_get_viewdef('public.remade_q') = q UNION ALL SELECT 'visible view', pg_catalog.pg_get_viewdef('public.remade_v') = visible;
    RETURN QUERY EXECUTE pg_catalog.format('SELECT ''rows'', NOT EXISTS (TABLE public.remade_v EXCEPT ALL TABLE %s) AND NOT EXISTS (TABLE public.remade_q EXCEPT ALL TABLE public.remade_v)', v);
    DROP VIEW public.remade_q, public.remade_v;
END
$$;
SELECT * FROM remade('v');
SELECT * FROM remade('total');
-- states go through text and back: what COPY writes, COPY of a restore reads
SELECT state_table AS s FROM tidemark_state.view WHERE view = 'v'::regclass \gset
CREATE TEMP TABLE copied (LIKE :s);
CREATE FUNCTION through_text(source regclass, target regclass) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE format('SELECT t::text FROM %s t', source) LOOP
        EXECUTE format('INSERT INTO %s SELECT (%L::%s).*', target, line, source);
    END LOOP;
END
$$;
SELECT through_text(:'s', 'copied');
SELECT count(*) > 0 AS rows, bool_and(c::text = s::text) AS same FROM copied c JOIN :s s USING (g1, g2);
SELECT count(*) FROM copied;
-- the catalog is readable by everybody, and by nobody writable
CREATE ROLE regress_dumper;
SET ROLE regress_dumper;
SELECT count(*) FROM tidemark_state.view;
SELECT count(*) FROM tidemark_state.view_stats;
SELECT state_table IS NOT NULL AS readable FROM tidemark_state.view_partition GROUP BY 1;
DELETE FROM tidemark_state.view;
RESET ROLE;
DROP ROLE regress_dumper;
-- after a restore of the schema alone a view has no row in the catalog: it is not read as if it were empty
BEGIN;
CREATE TABLE restored_state (g1 int, a2 bigint);
CREATE VIEW restored AS SELECT g1 AS k, a2 AS n FROM restored_state WHERE tidemark.is_populated('restored_state');
SELECT * FROM restored;
ROLLBACK;
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, copied;
DROP FUNCTION check_view, check_all, feed, series, remade, through_text;
