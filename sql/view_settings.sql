-- Proves that a view is computed under the settings of its CREATE, whoever injects, and that what depends on moment or session is refused.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
\set ECHO all
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = 0;
SET bytea_output = 'escape';
CREATE MATERIALIZED VIEW local WITH (tidemark.continuous) AS
    SELECT date_trunc('day', at) AS day, at::date AS d, at::text AS t, (at - '2026-01-01')::text AS i, (f / 3)::text AS f, convert_to('\' || name, 'UTF8')::text AS b, extract(hour FROM at) AS h, count(*), max(at::text) FROM ev GROUP BY 1, 2, 3, 4, 5, 6, 7;
CREATE MATERIALIZED VIEW local_s WITH (tidemark.continuous) AS SELECT to_char(at, 'YYYY-MM-DD HH24 TZ') AS t, name || '1/2/2026'::date AS d, count(*) FROM ev_stream GROUP BY 1, 2;
SET TimeZone = 'America/New_York';
SET DateStyle = 'German, MDY';
SET IntervalStyle = 'iso_8601';
RESET extra_float_digits;
RESET bytea_output;
CREATE FUNCTION as_in_tokyo(v text) RETURNS SETOF text LANGUAGE plpgsql SET TimeZone = 'Asia/Tokyo' SET DateStyle = 'SQL, DMY' SET IntervalStyle = 'sql_standard' SET extra_float_digits = 0 SET bytea_output = 'escape' AS
$$ BEGIN RETURN QUERY SELECT side || difference::text FROM check_view(v::regclass); END $$;
SELECT feed('ev_stream', series(30), 7);
SELECT as_in_tokyo('local');
SELECT as_in_tokyo('local_s');
SELECT max, i, d, t FROM local ORDER BY t LIMIT 1;
SHOW TimeZone;
SHOW DateStyle;
SELECT s FROM tidemark_state.view, unnest(settings) s WHERE view = 'local'::regclass AND s NOT LIKE 'lc\_%';
REFRESH MATERIALIZED VIEW local;
SELECT tidemark.pause('local'), tidemark.pause('local_s');
SELECT tidemark.resume('local'), tidemark.resume('local_s');
SELECT as_in_tokyo('local');
SELECT as_in_tokyo('local_s');
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';

-- quote_all_identifiers and array_nulls: those of CREATE too, and stored states are told apart by names that do not depend on them, nor on a schema's name
SET array_nulls = off;
CREATE MATERIALIZED VIEW quoted WITH (tidemark.continuous) AS
    SELECT quote_ident(name) AS q, ('{' || name || ',NULL}')::text[] AS a, count(*), avg(n), stddev(n), max(x), max(ARRAY[k]) AS largest FROM ev WHERE name <> '' GROUP BY 1, 2;
RESET array_nulls;
CREATE SCHEMA app;
CREATE FUNCTION app.larger(bigint, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT greatest($1, $2) $$;
CREATE AGGREGATE app.largest(bigint) (SFUNC = app.larger, STYPE = bigint, COMBINEFUNC = app.larger);
CREATE MATERIALIZED VIEW renamed WITH (tidemark.continuous) AS SELECT k, app.largest(x) FROM ev GROUP BY k;
SET quote_all_identifiers = on;
SELECT count(*) AS fed FROM feed('ev_stream', series(30), 7);
SELECT count(*) > 0 AS readable FROM quoted;
SELECT count(*) AS problems FROM tidemark.verify('quoted');
ALTER SCHEMA app RENAME TO app2;
SELECT count(*) AS fed FROM feed('ev_stream', series(30), 7);
SELECT count(*) AS problems FROM tidemark.verify('renamed');
RESET quote_all_identifiers;
SELECT count(*) AS fed FROM feed('ev_stream', series(30), 7);
SELECT view, problem, count(*) FROM (VALUES ('quoted'), ('renamed')) v(view), tidemark.verify(view::regclass) GROUP BY 1, 2;
SELECT DISTINCT state, reason FROM tidemark.views;

-- search_path: functions and operators are those of CREATE; a trap before pg_catalog catches nothing
CREATE SCHEMA trap;
CREATE FUNCTION trap.upper(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'trapped'; END $$;
CREATE FUNCTION trap.gt(bigint, bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.gt4(bigint, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.> (LEFTARG = bigint, RIGHTARG = bigint, PROCEDURE = trap.gt);
CREATE OPERATOR trap.> (LEFTARG = bigint, RIGHTARG = int, PROCEDURE = trap.gt4);
CREATE TYPE trap.text AS ENUM ('trapped');
CREATE MATERIALIZED VIEW trapped WITH (tidemark.continuous) AS SELECT upper(name) AS u, lower(name)::text AS l, count(*), avg(x) FROM ev GROUP BY 1, 2 HAVING count(*) > 1;
SET search_path = trap, tidemark, pg_catalog, public;
CREATE MATERIALIZED VIEW public.trapped2 WITH (tidemark.continuous) AS SELECT pg_catalog.upper(name) AS u, name::pg_catalog.text AS l, count(*), avg(x) FROM ev GROUP BY 1, 2 HAVING count(*) OPERATOR(pg_catalog.>) 1;
CREATE MATERIALIZED VIEW public.caught WITH (tidemark.continuous) AS SELECT upper(name) AS u, count(*) FROM ev GROUP BY 1;
SELECT tidemark.inject('public.ev_stream', '{"k":1,"name":"b","x":2,"at":"2026-01-01T00:00:00Z"}'::pg_catalog.text) IS NOT NULL AS injected;
SELECT tidemark.inject('public.ev_stream', '{"k":1,"name":"b","x":3,"at":"2026-01-01T00:00:00Z"}'::pg_catalog.text) IS NOT NULL AS injected;
SELECT count(*) OPERATOR(pg_catalog.>) 0 AS readable FROM trapped;
SELECT count(*) OPERATOR(pg_catalog.>) 0 AS readable FROM trapped2;
SELECT u FROM caught ORDER BY u;
RESET search_path;
SELECT * FROM check_view('trapped');
SELECT * FROM check_view('trapped2');
SELECT * FROM check_view('caught');
DROP MATERIALIZED VIEW caught;
-- a function with names in its body finds what it found at CREATE
CREATE TABLE public.factor (f int);
INSERT INTO public.factor VALUES (2);
CREATE FUNCTION times(bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN $1 * (SELECT f FROM factor); END $$;
CREATE MATERIALIZED VIEW named WITH (tidemark.continuous) AS SELECT k, sum(times(x)) FROM ev GROUP BY k;
CREATE TABLE trap.factor AS SELECT 1000 AS f;
SET search_path = trap, public;
SELECT feed('ev_stream', series(10, 110), 3);
RESET search_path;
SELECT * FROM check_view('named');

-- what depends on when, where or by whom it is computed
CREATE FUNCTION refusal(expression text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE msg text; hnt text; st text;
BEGIN
    EXECUTE format('CREATE MATERIALIZED VIEW refused WITH (tidemark.continuous) AS SELECT count(*) FROM ev WHERE (%s) IS NOT NULL', expression);
    DROP MATERIALIZED VIEW refused;
    RETURN 'created';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS st = RETURNED_SQLSTATE, msg = MESSAGE_TEXT, hnt = PG_EXCEPTION_HINT;
    RETURN st || ' ' || msg;
END
$$;
CREATE SEQUENCE seq;
SELECT e AS expression, refusal(e) FROM unnest(ARRAY['now()', 'transaction_timestamp()', 'statement_timestamp()', 'clock_timestamp()', 'timeofday()', 'CURRENT_DATE', 'CURRENT_TIME', 'CURRENT_TIMESTAMP', 'LOCALTIME', 'LOCALTIMESTAMP(0)',
    'age(at)', 'age(at::timestamp)', 'CURRENT_USER', 'SESSION_USER', 'USER', 'CURRENT_ROLE', 'CURRENT_CATALOG', 'CURRENT_SCHEMA', 'current_schema()', 'current_schemas(true)', 'current_database()', 'current_query()',
    'current_setting(''a'')', 'current_setting(''a'', true)', 'set_config(''a'', ''b'', true)', 'txid_current()', 'txid_current_if_assigned()', 'txid_current_snapshot()', 'pg_current_xact_id()', 'pg_current_snapshot()',
    'pg_backend_pid()', 'pg_postmaster_start_time()', 'pg_conf_load_time()', 'inet_client_addr()', 'inet_client_port()', 'inet_server_addr()', 'inet_server_port()', 'getpgusername()', 'pg_client_encoding()', 'pg_my_temp_schema()',
    'row_security_active(''ev'')', 'random()', 'gen_random_uuid()', 'nextval(''seq'')', 'lastval()', 'pg_sleep(0)', 'x + random()', 'now() - at', '(SELECT now())', 'EXISTS (SELECT FROM generate_series(1, random()::int))',
    'at > ''now''', 'pg_typeof(x)', 'age(at, at)', 'to_char(at, ''TZ'')']) e;
-- whoever asks, by whatever name the server has for it (16 has SYSTEM_USER, too)
SELECT p.oid::regprocedure, refusal(format('%s()::text', p.oid::regproc)) FROM pg_proc p
 WHERE pronamespace = 'pg_catalog'::regnamespace AND proname LIKE '%\_user' AND pronargs = 0 AND refusal(format('%s()::text', p.oid::regproc)) NOT LIKE format('0A000 function %s() is not supported%%', proname);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, now(), count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, CURRENT_DATE, count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev WHERE at > now() - interval '1 h' GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k HAVING max(at) < clock_timestamp();
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FILTER (WHERE random() > 0.5) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev, LATERAL (SELECT random()) s;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT window_start, count(*) FROM ev, tidemark.tumble(now(), '1 h') GROUP BY 1;
CREATE FUNCTION vol(int, int) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN true; END $$;
CREATE OPERATOR ~~~ (LEFTARG = int, RIGHTARG = int, PROCEDURE = vol);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev WHERE k ~~~ k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev WHERE k ~~~ ANY (ARRAY[1]);
CREATE FUNCTION vol_add(bigint, bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT $1 + $2 $$;
CREATE AGGREGATE vol_sum(bigint) (SFUNC = vol_add, STYPE = bigint, COMBINEFUNC = vol_add, INITCOND = '0');
CREATE MATERIALIZED VIEW volatile_inside WITH (tidemark.continuous) AS SELECT vol_sum(x) FROM ev;
SELECT * FROM check_view('volatile_inside');
-- plain views: what they call counts, however deep; the position is where the query reads one
CREATE VIEW clock AS SELECT f, f AS k, now() AS t FROM public.factor;
CREATE VIEW dice AS SELECT f AS k FROM public.factor WHERE random() >= 0;
CREATE VIEW whose AS WITH w AS (SELECT f, CURRENT_USER AS u FROM public.factor) SELECT f AS k, (SELECT u FROM w LIMIT 1) FROM public.factor;
CREATE VIEW deep AS SELECT k FROM public.factor, LATERAL (SELECT EXISTS (SELECT FROM clock) AS any, f AS k) s;
CREATE VIEW calm AS SELECT f AS k, (SELECT max(f) FROM public.factor) AS m FROM public.factor;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT ev.k, min(c.t) FROM ev JOIN clock c ON c.k = ev.k GROUP BY ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT ev.k, count(*) FROM ev JOIN dice USING (k) GROUP BY ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT ev.k, count(*) FROM ev CROSS JOIN whose GROUP BY ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT ev.k, count(*) FROM ev, (WITH c AS (SELECT k FROM deep) SELECT k FROM c) s WHERE s.k = ev.k GROUP BY ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev WHERE EXISTS (SELECT FROM calm JOIN dice USING (k) WHERE calm.k = ev.k) GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, session_start, count(*) FROM (SELECT ev.k, tidemark.session_start(at, '10 s') OVER (PARTITION BY ev.k ORDER BY at) FROM ev JOIN deep ON deep.k = ev.k) s GROUP BY k, session_start;
CREATE MATERIALIZED VIEW calm_inside WITH (tidemark.continuous) AS SELECT ev.k, max(m), count(*) FROM ev JOIN calm USING (k) GROUP BY ev.k;
SELECT * FROM check_view('calm_inside');
-- nor may it call such a function later
CREATE OR REPLACE VIEW calm AS SELECT f AS k, (SELECT max(f) FROM public.factor WHERE now() IS NOT NULL) AS m FROM public.factor;
SELECT feed('ev_stream', series(10, 120), 3);
SELECT state, reason FROM tidemark.views WHERE view = 'calm_inside'::regclass;
REFRESH MATERIALIZED VIEW calm_inside;
CREATE OR REPLACE VIEW calm AS SELECT f AS k, (SELECT min(f) FROM public.factor) AS m FROM public.factor;
REFRESH MATERIALIZED VIEW calm_inside;
SELECT * FROM check_view('calm_inside');

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, public.factor CASCADE;
DROP SCHEMA trap CASCADE;
DROP SCHEMA app2 CASCADE;
DROP SEQUENCE seq;
DROP OPERATOR ~~~ (int, int);
DROP AGGREGATE vol_sum(bigint);
DROP FUNCTION check_view, check_all, feed, series, refusal, times, vol, vol_add, as_in_tokyo;
