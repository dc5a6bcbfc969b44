-- Proves every aggregate that can be combined, the server's own and users', batch by batch; and that no state reaches a wrong aggregate.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
-- one column of each type that an aggregate may take
CREATE FUNCTION applied() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    PERFORM feed('ev_stream', series(1), 1); PERFORM feed('ev_stream', series(6, 2), 2); PERFORM feed('ev_stream', series(300, 8), 60); END $$;
\set ECHO all

-- by name: integers, floats, numerics, booleans, bits, intervals, times, texts, ranges, network, money, enums, arrays
CREATE TYPE mood AS ENUM ('low', 'mid', 'high');
CREATE MATERIALIZED VIEW a_count WITH (tidemark.continuous) AS SELECT k, count(*), count(x) AS cx, count(name) AS cn, count(ROW(x, name)) AS cr FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_int WITH (tidemark.continuous) AS
    SELECT k, sum(x::int2) AS s2, sum(x::int4) AS s4, sum(x) AS s8, avg(x::int2) AS a2, avg(x::int4) AS a4, avg(x) AS a8, min(x::int2) AS n2, max(x::int4) AS m4, min(x), max(x),
           stddev(x::int2) AS d2, stddev_pop(x::int4) AS dp4, stddev_samp(x) AS ds8, variance(x::int4) AS v4, var_pop(x) AS vp8, var_samp(x::int2) AS vs2 FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_float WITH (tidemark.continuous) AS
    SELECT k, sum(f), avg(f), min(f), max(f), stddev(f), stddev_pop(f), variance(f), var_pop(f) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_float4 WITH (tidemark.continuous) AS SELECT k, sum(f::float4), avg(f::float4), min(f::float4), max(f::float4), stddev_samp(f::float4) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_regr WITH (tidemark.continuous) AS
    SELECT k, regr_count(f, x), regr_sxx(f, x), regr_syy(f, x), regr_sxy(f, x), regr_avgx(f, x), regr_avgy(f, x), regr_r2(f, x), regr_slope(f, x), regr_intercept(f, x),
           covar_pop(f, x), covar_samp(f, x), corr(f, x) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_numeric WITH (tidemark.continuous) AS
    SELECT k, sum(n), avg(n), min(n), max(n), stddev(n), stddev_pop(n), variance(n), var_pop(n), sum(n / 0.7) AS s7, sum(CASE WHEN x > 600 THEN 'NaN' ELSE n END) AS nan,
           max(CASE WHEN x > 600 THEN 'Infinity' ELSE n END) AS inf FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_bool WITH (tidemark.continuous) AS SELECT k, bool_and(ok), bool_or(ok), every(ok) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_bit WITH (tidemark.continuous) AS
    SELECT k, bit_and(x), bit_or(x), bit_xor(x), bit_and(x::int4) AS a4, bit_or(x::int2) AS o2, bit_xor(x::int4::bit(12)) AS b, bit_and(x::int4::bit(12)) AS ba FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_interval WITH (tidemark.continuous) AS
    SELECT k, sum(x * interval '1 s'), avg(x * interval '1 s'), min(x * interval '1 h'), max(x * interval '1 h') FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_time WITH (tidemark.continuous) AS
    SELECT k, min(at), max(at), min(at::date) AS d, max(at::time) AS t, min(at::timetz) AS tz, max(at::timestamp) AS ts FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_text WITH (tidemark.continuous) AS
    SELECT k, min(name), max(name), max(name::varchar(2)) AS v, min(name::char(3)) AS c, max(name COLLATE "C") AS cc, max(repeat(name, 9000)) AS long FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_misc WITH (tidemark.continuous) AS
    SELECT k, max(('10.0.0.' || abs(x) % 256)::inet), sum(x::money) AS sm, min(x::money) AS mm, max(x::oid) FILTER (WHERE x > 0) AS o, max(ARRAY[x, k]) AS arr,
           max((ARRAY['low', 'mid', 'high'])[1 + abs(x) % 3]::mood) AS mood, min(x::text::pg_lsn) FILTER (WHERE false) AS lsn, max(x::text::xid8) FILTER (WHERE x > 0) AS xid FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW a_range WITH (tidemark.continuous) AS
    SELECT k, range_intersect_agg(int8range(least(x, 0) - 400, 500)), range_intersect_agg(int8multirange(int8range(x - 2000, x + 2000))) AS mr FROM ev GROUP BY k;
-- shared states: one for sum and avg, one for all variances, one for all regressions
CREATE MATERIALIZED VIEW a_shared WITH (tidemark.continuous) AS SELECT k, sum(x), avg(x), sum(x) + avg(x) AS both, sum(x) FILTER (WHERE ok) AS filtered, stddev(f), variance(f), avg(f) AS af, regr_sxx(f, x), corr(f, x), corr(x, f) AS other FROM ev GROUP BY k;
-- sums of bigint beyond bigint, in both directions, and of nothing
CREATE MATERIALIZED VIEW a_huge WITH (tidemark.continuous) AS
    SELECT k, sum(CASE WHEN x % 3 = 0 THEN -9223372036854775807 - 1 ELSE 9223372036854775807 - abs(x) END), avg(9223372036854775807 - abs(x)) AS a, sum(-9223372036854775807 - (x IS NOT NULL)::int) AS least,
           avg(x * 4611686018427387) AS small, sum(x) FILTER (WHERE false) AS none, avg(x) FILTER (WHERE false) AS none_a, sum(x) FILTER (WHERE x = 7) AS few FROM ev GROUP BY k;
-- floats that are not numbers
CREATE MATERIALIZED VIEW a_nan WITH (tidemark.continuous) AS
    SELECT k, max(CASE WHEN x % 50 = 0 THEN 'NaN' ELSE f END), sum(CASE WHEN x > 690 THEN 'Infinity' ELSE f END) AS s, min(CASE WHEN x % 77 = 0 THEN '-Infinity' WHEN x % 5 = 0 THEN -0.0 ELSE 0 END::float8)::text AS m FROM ev GROUP BY k;
SELECT v.view, count(*) AS states FROM tidemark_state.view v JOIN pg_attribute a ON a.attrelid = v.state_table AND a.attname ~ '^a\d' WHERE v.view::text IN ('a_shared', 'a_regr', 'a_int') GROUP BY 1 ORDER BY 1::text;
SELECT applied();
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live' ORDER BY view::text;
SELECT * FROM check_all(1e-9) WHERE differing <> 'a_float4'::regclass;
SELECT k, sum, avg, "both", filtered FROM a_shared ORDER BY k;
-- float4 within its own tolerance
SELECT * FROM check_view('a_float4', 1e-5);

-- every aggregate of the server that can be combined, over every type it takes, is the same in the view
CREATE FUNCTION try_all() RETURNS TABLE (verdict text, aggregates bigint) LANGUAGE plpgsql AS
$$
DECLARE
    a record;
    args text;
    problem text;
BEGIN
    CREATE TEMP TABLE verdicts (agg regprocedure, verdict text);
    FOR a IN SELECT p.oid::regprocedure AS agg, p.proname, p.proargtypes::oid[] AS types FROM pg_aggregate g JOIN pg_proc p ON p.oid = g.aggfnoid
              WHERE p.pronamespace = 'pg_catalog'::regnamespace AND g.aggkind = 'n' AND g.aggcombinefn <> 0 AND p.provariadic = 0
                    AND p.prorettype <> 'record'::regtype
                AND p.proname NOT IN ('array_agg', 'string_agg', 'any_value') AND p.proname NOT LIKE 'json%' ORDER BY 1::text LOOP
        BEGIN
            SELECT string_agg(format('CASE WHEN x %% %s = 0 THEN NULL ELSE %s::%s END', 7 + i,
                   CASE format_type(t, NULL) WHEN 'boolean' THEN 'ok' WHEN 'interval' THEN '(x::text || ''s'')' WHEN 'tid' THEN '(''(1,'' || abs(x) || '')'')'
                       WHEN 'date' THEN 'at' WHEN 'time without time zone' THEN 'at' WHEN 'time with time zone' THEN 'at' WHEN 'timestamp without time zone' THEN 'at' WHEN 'timestamp with time zone' THEN 'at'
                       WHEN 'inet' THEN '(''10.0.0.'' || abs(x) % 256)' WHEN 'pg_lsn' THEN '(''0/'' || abs(x))' WHEN 'bit' THEN 'x::int4' WHEN '"any"' THEN 'x'
                       WHEN 'anyenum' THEN '(ARRAY[''low'', ''mid''])[1 + abs(x) % 2]' WHEN 'anyarray' THEN 'ARRAY[x, k]' WHEN 'anyrange' THEN 'int8range(x - 2000, x + 2000)'
                       WHEN 'anymultirange' THEN 'int8multirange(int8range(x - 2000, x + 2000))' WHEN 'xid8' THEN 'abs(x)::text' WHEN 'oid' THEN 'abs(x)' WHEN 'bytea' THEN 'x::text' ELSE 'x' END,
                   CASE format_type(t, NULL) WHEN 'bit' THEN 'bit(10)' WHEN '"any"' THEN 'int8' WHEN 'anyenum' THEN 'mood' WHEN 'anyarray' THEN 'int8[]' WHEN 'anyrange' THEN 'int8range'
                       WHEN 'anymultirange' THEN 'int8multirange' ELSE format_type(t, NULL) END), ', ' ORDER BY i)
              INTO args FROM unnest(a.types) WITH ORDINALITY u(t, i);
            EXECUTE format('CREATE MATERIALIZED VIEW probe WITH (tidemark.continuous) AS SELECT k, %I(%s) AS r FROM ev WHERE at < ''2026-01-01 01:00Z'' GROUP BY k', a.proname, coalesce(args, '*'));
            PERFORM tidemark.inject('ev_stream', series(5, 1000));
            PERFORM tidemark.inject('ev_stream', series(5, 1005));
            SELECT count(*) || ' differences' INTO problem FROM check_view('probe', 1e-5);
            IF (SELECT state FROM tidemark_state.view WHERE view = 'probe'::regclass) <> 'live' THEN problem := 'failed'; END IF;
            RAISE EXCEPTION USING errcode = 'TM001';
        EXCEPTION WHEN SQLSTATE 'TM001' THEN NULL;
                  WHEN OTHERS THEN problem := SQLSTATE || ' ' || SQLERRM;
        END;
        INSERT INTO verdicts VALUES (a.agg, problem);
    END LOOP;
    RETURN QUERY SELECT CASE WHEN v.verdict = '0 differences' THEN v.verdict ELSE v.agg || ': ' || v.verdict END, NULLIF(count(*), 0) FROM verdicts v
      GROUP BY 1 HAVING min(v.verdict) <> '0 differences' ORDER BY 1;
    RAISE NOTICE 'more than 100 aggregates right: %', (SELECT count(*) > 100 FROM verdicts v WHERE v.verdict = '0 differences');
END
$$;
SELECT * FROM try_all();

-- users' aggregates: initial state, strict, polymorphic, final functions with extra arguments, composite and array states, variadic
CREATE AGGREGATE u_sum(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl);
CREATE AGGREGATE u_sum0(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, INITCOND = '0');
CREATE FUNCTION lax(bigint, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce($1, 0) + coalesce($2, 1) $$;
CREATE FUNCTION lax_combine(bigint, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN $1 IS NULL AND $2 IS NULL THEN NULL ELSE coalesce($1, 0) + coalesce($2, 0) END $$;
CREATE AGGREGATE u_lax(bigint) (SFUNC = lax, STYPE = bigint, COMBINEFUNC = lax_combine);
CREATE TYPE pair AS (n bigint, s numeric);
CREATE FUNCTION pair_add(pair, bigint) RETURNS pair LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF $2 IS NULL THEN RETURN $1; END IF; RETURN (coalesce($1.n, 0) + 1, coalesce($1.s, 0) + $2)::pair; END $$;
CREATE FUNCTION pair_combine(pair, pair) RETURNS pair LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN ($1.n + $2.n, $1.s + $2.s)::pair; END $$;
CREATE FUNCTION pair_final(pair) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1.n || ':' || $1.s $$;
CREATE AGGREGATE u_pair(bigint) (SFUNC = pair_add, STYPE = pair, COMBINEFUNC = pair_combine, FINALFUNC = pair_final);
CREATE AGGREGATE u_pair_raw(bigint) (SFUNC = pair_add, STYPE = pair, COMBINEFUNC = pair_combine);
CREATE FUNCTION top3_add(anycompatiblearray, anycompatible) RETURNS anycompatiblearray LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN ARRAY(SELECT u FROM unnest($1 || $2) u WHERE u IS NOT NULL ORDER BY u DESC LIMIT 3); END $$;
CREATE FUNCTION top3_combine(anycompatiblearray, anycompatiblearray) RETURNS anycompatiblearray LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN ARRAY(SELECT u FROM unnest($1 || $2) u ORDER BY u DESC LIMIT 3); END $$;
CREATE AGGREGATE u_top3(anycompatible) (SFUNC = top3_add, STYPE = anycompatiblearray, COMBINEFUNC = top3_combine, INITCOND = '{}');
CREATE FUNCTION larger(anyelement, anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT greatest($1, $2) $$;
CREATE FUNCTION same(anyelement, anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE AGGREGATE u_max(anyelement) (SFUNC = larger, STYPE = anyelement, COMBINEFUNC = larger);
CREATE AGGREGATE u_max_extra(anyelement) (SFUNC = larger, STYPE = anyelement, COMBINEFUNC = larger, FINALFUNC = same, FINALFUNC_EXTRA);
CREATE FUNCTION shown(bigint, anyelement) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 || pg_typeof($2)::text; END $$;
CREATE FUNCTION count_any(bigint, anyelement) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT $1 + 1 $$;
CREATE AGGREGATE u_extra(anyelement) (SFUNC = count_any, STYPE = bigint, COMBINEFUNC = int8pl, INITCOND = '0', FINALFUNC = shown, FINALFUNC_EXTRA);
CREATE FUNCTION shown8(bigint, bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 || coalesce($2::text, '-'); END $$;
CREATE AGGREGATE u_extra8(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, INITCOND = '0', FINALFUNC = shown8, FINALFUNC_EXTRA);
CREATE FUNCTION var_add(bigint, VARIADIC bigint[]) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT $1 + coalesce((SELECT sum(u)::bigint FROM unnest($2) u), 0) $$;
CREATE AGGREGATE u_var(VARIADIC bigint[]) (SFUNC = var_add, STYPE = bigint, COMBINEFUNC = int8pl, INITCOND = '0');
CREATE FUNCTION text_greatest(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT greatest($1, $2) $$;
CREATE AGGREGATE u_format(VARIADIC "any") (SFUNC = format, STYPE = text, COMBINEFUNC = text_greatest, INITCOND = '%s');
CREATE AGGREGATE u_total(bigint) (SFUNC = int8_avg_accum, STYPE = internal, COMBINEFUNC = int8_avg_combine, SERIALFUNC = int8_avg_serialize, DESERIALFUNC = int8_avg_deserialize, FINALFUNC = numeric_poly_sum);
CREATE AGGREGATE u_no_combine(bigint) (SFUNC = int8pl, STYPE = bigint);
CREATE FUNCTION text_longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT CASE WHEN length($1) > length($2) OR (length($1) = length($2) AND $1 > $2) THEN $1 ELSE $2 END $$;
CREATE AGGREGATE u_longest(text) (SFUNC = text_longer, STYPE = text, COMBINEFUNC = text_longer);
CREATE MATERIALIZED VIEW u WITH (tidemark.continuous) AS
    SELECT k, u_sum(x), u_sum0(x), u_lax(x) - count(x) * 0 AS lax, u_pair(x), u_pair_raw(x), (u_pair_raw(x)).s, u_max(x), u_max(name) AS mn, u_max(name COLLATE "C") AS mc, u_max_extra(n), u_extra8(x),
           u_var(x, k, 3) AS var, u_var(VARIADIC ARRAY[x, k]) AS var2, u_longest(repeat(name, 1 + abs(x)::int % 10)) AS longest FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW u_tops WITH (tidemark.continuous) AS SELECT k, u_top3(x), u_top3(name) AS names, u_top3(n) AS ns FROM ev GROUP BY k;
-- an array that is the list of arguments, and one that is an argument
CREATE MATERIALIZED VIEW u_lists WITH (tidemark.continuous) AS SELECT k, u_format(VARIADIC ARRAY[k::text, 'z']) AS list, u_format(ARRAY[k::text, 'z']) AS argument, u_format(ARRAY[k::text, 'z']) || u_format(VARIADIC ARRAY[k::text, 'z']) AS both FROM ev GROUP BY k;
-- made of the functions that sum(bigint) and avg(bigint) have in the server, but not in a view
CREATE MATERIALIZED VIEW u_totals WITH (tidemark.continuous) AS SELECT k, sum(x), u_total(x), avg(x) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW u_totals2 WITH (tidemark.continuous) AS SELECT u_total(x), avg(x), k FROM ev GROUP BY k HAVING sum(x) > 0;
CREATE MATERIALIZED VIEW u_none WITH (tidemark.continuous) AS SELECT u_sum(x), u_sum0(x), u_pair(x), u_max(x), u_top3(n), u_extra8(x), u_var(x), u_lax(x) FROM ev WHERE false;
CREATE MATERIALIZED VIEW refused WITH (tidemark.continuous) AS SELECT u_no_combine(x) FROM ev;
CREATE MATERIALIZED VIEW refused WITH (tidemark.continuous) AS SELECT u_extra(x) FROM ev;
CREATE MATERIALIZED VIEW refused WITH (tidemark.continuous) AS SELECT u_max(ROW(x, k)) FROM ev;
SELECT feed('ev_stream', series(50, 2000), 7);
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live' ORDER BY view::text;
SELECT * FROM check_all(1e-5);
SELECT * FROM u_none;
SELECT k, u_pair, u_max_extra, longest FROM u ORDER BY k;
SELECT * FROM u_lists ORDER BY k;

-- an aggregate that is redefined: its stored states are not used any more
BEGIN;
CREATE MATERIALIZED VIEW redefined WITH (tidemark.continuous) AS SELECT u_longest(name) FROM ev;
CREATE OR REPLACE AGGREGATE u_longest(text) (SFUNC = textcat, STYPE = text, COMBINEFUNC = textcat);
SELECT tidemark.inject('ev_stream', series(2, 3000)) IS NOT NULL AS injected;
SELECT state, reason, hint, sqlstate FROM tidemark.views WHERE view = 'redefined'::regclass;
ROLLBACK;
-- nor when nothing has come since: REFRESH does not wait for a view whose states are of yesterday, but rebuilds it
BEGIN;
CREATE MATERIALIZED VIEW redefined WITH (tidemark.continuous) AS SELECT u_longest(name) FROM ev;
CREATE OR REPLACE AGGREGATE u_longest(text) (SFUNC = text_smaller, STYPE = text, COMBINEFUNC = text_smaller);
SELECT u_longest FROM redefined;
REFRESH MATERIALIZED VIEW redefined;
SELECT u_longest = (SELECT min(name) FROM ev) AS rebuilt FROM redefined;
ROLLBACK;
-- states that two aggregates shared, and share no more; and states of another type: no rebuild can fill the table that is there
CREATE AGGREGATE u_most(bigint) (SFUNC = int8larger, STYPE = bigint, COMBINEFUNC = int8larger);
CREATE AGGREGATE u_more(bigint) (SFUNC = int8larger, STYPE = bigint, COMBINEFUNC = int8larger);
CREATE FUNCTION widen(state numeric, value bigint) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT greatest(state, value) $$;
BEGIN;
CREATE MATERIALIZED VIEW apart WITH (tidemark.continuous) AS SELECT k, u_most(x), u_more(x) FROM ev GROUP BY k;
CREATE OR REPLACE AGGREGATE u_more(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl);
SELECT tidemark.inject('ev_stream', series(2, 3000)) IS NOT NULL AS injected;
SELECT state, reason, sqlstate FROM tidemark.views WHERE view = 'apart'::regclass;
REFRESH MATERIALIZED VIEW apart;
ROLLBACK;
BEGIN;
CREATE MATERIALIZED VIEW other WITH (tidemark.continuous) AS SELECT k, u_most(x) FROM ev GROUP BY k;
CREATE OR REPLACE AGGREGATE u_most(bigint) (SFUNC = widen, STYPE = numeric, COMBINEFUNC = numeric_larger, FINALFUNC = pg_catalog.int8);
SAVEPOINT s;
REFRESH MATERIALIZED VIEW other;
ROLLBACK TO s;
SELECT * FROM tidemark.verify('other');
ROLLBACK;
DROP AGGREGATE u_most(bigint), u_more(bigint);
DROP FUNCTION widen;

-- serialised states have the same bytes on every version of PostgreSQL that this test runs on: pg_upgrade leaves views as they are
CREATE MATERIALIZED VIEW bytes WITH (tidemark.continuous) AS
    SELECT sum(n), stddev(n), variance(x::int4), var_pop(x), avg(CASE WHEN k = 1 THEN 'NaN' WHEN k = 2 THEN 'Infinity' WHEN k = 3 THEN '-Infinity' ELSE n END) FROM ev;
SELECT state_table AS s FROM tidemark_state.view WHERE view = 'bytes'::regclass \gset
SELECT * FROM :s \gx
DROP MATERIALIZED VIEW bytes;

-- wrong pairings: every aggregate with states and results of other types
CREATE FUNCTION pairings(fn text) RETURNS TABLE (verdict text) LANGUAGE plpgsql AS
$$
DECLARE
    agg regprocedure;
    state text;
    result text;
    tried bigint := 0;
BEGIN
    FOR agg IN SELECT aggfnoid::regprocedure FROM pg_aggregate ORDER BY 1 LOOP
        FOREACH state IN ARRAY ARRAY['1::int8', '1::int4', '''x''::text', '''{1,2,3}''::float8[]', '''{1}''::int4[]', '''{1,2}''::int8[]', '''{a,b}''::text[]', '1.5::numeric', '1.5::float8', '1.5::float4', '''1 s''::interval',
                '''{1 s,2 s}''::interval[]', '''low''::mood', '''[1,2)''::int4range', '''{[1,2)}''::int4multirange', 'ROW(1,2)::pair', 'ROW(1,2)', 'NULL::tidemark.aggstate', '''\x0102030405060708''::tidemark.aggstate', 'NULL::bytea', '''\x00''::bytea', 'NULL', 'true', '''a''::"char"', '''(0,1)''::tid'] LOOP
            FOREACH result IN ARRAY CASE fn WHEN 'final' THEN ARRAY['NULL::int8', 'NULL::text', 'NULL::numeric', 'NULL::float8', 'NULL::int4[]', 'NULL::text[]', 'NULL::int4range', 'NULL::mood', 'NULL::pair', 'NULL::bytea', 'NULL::json', 'NULL::tidemark.aggstate'] ELSE ARRAY[state] END LOOP
                tried := tried + 1;
                BEGIN
                    EXECUTE format('SELECT tidemark.%s(%L::regprocedure, %s, %s)', fn, agg::oid, state, result);
                EXCEPTION
                    WHEN datatype_mismatch OR insufficient_privilege OR feature_not_supported THEN NULL;
                    WHEN undefined_function THEN NULL; -- a user's combine function over any type
                    WHEN OTHERS THEN verdict := format('%s(%s, %s, %s): %s %s', fn, agg, state, result, SQLSTATE, SQLERRM); RETURN NEXT;
                END;
            END LOOP;
        END LOOP;
    END LOOP;
    RAISE NOTICE 'tried more than 3000: %', tried > 3000;
END
$$;
-- (an array of the right type with a wrong number of elements is refused by the server's function itself)
SELECT DISTINCT regexp_replace(verdict, '\(.*\)', '') AS verdict FROM pairings('final') ORDER BY 1;
SELECT DISTINCT regexp_replace(verdict, '\(.*\)', '') AS verdict FROM pairings('combine') ORDER BY 1;
SELECT tidemark.final('max(anyarray)', '{1,2}'::int[], NULL::text[]);
SELECT tidemark.final('max(anyarray)', '{1,2}'::int[], NULL::int[]);
SELECT tidemark.final('u_max_extra(anyelement)', 1, NULL::text);
SELECT tidemark.final('u_max_extra(anyelement)', 1, NULL::int);
SELECT tidemark.final('u_extra(anyelement)', 1::int8, NULL::text);
CREATE FUNCTION typed(bigint, anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE AS $$ SELECT $2 $$;
CREATE AGGREGATE u_typed(anyelement) (SFUNC = count_any, STYPE = bigint, COMBINEFUNC = int8pl, INITCOND = '0', FINALFUNC = typed, FINALFUNC_EXTRA);
SELECT tidemark.final('u_typed(anyelement)', 1::bigint, NULL::int);
SELECT tidemark.final('avg(int8)', 1::int8, NULL::numeric);
SELECT tidemark.final('sum(int8)', NULL::tidemark.aggstate, NULL::text);
SELECT tidemark.final('now'::regproc::regprocedure, 1, 1);
SELECT tidemark.final('percentile_cont(float8, float8)', NULL::tidemark.aggstate, NULL::float8);
SELECT tidemark.final('count("any")', 3::int8, NULL::int8), tidemark.combine('count("any")', 3::int8, 4::int8), tidemark.combine('max(text)', 'a'::text, 'b'::text), tidemark.combine('sum(int8)', NULL::tidemark.aggstate, NULL);
-- the state of sum(bigint) and avg(bigint) is our own; the results are the server's, digit by digit
CREATE TABLE extreme AS SELECT v FROM unnest('{NULL,0,1,-1,2,4294967295,4294967296,-4294967296,-4294967297,4611686018427387904,9223372036854775807,-9223372036854775807,-9223372036854775808}'::bigint[]) v;
SELECT count(*) AS combinations, count(*) FILTER (WHERE abs(s) > 9223372036854775807) AS beyond, count(*) FILTER (WHERE s IS NULL) AS nulls, min(s), max(s),
       count(*) FILTER (WHERE (tidemark.final('sum(int8)', state, NULL::numeric)::text, tidemark.final('avg(int8)', state, NULL::numeric)::text) IS DISTINCT FROM (s::text, a::text)) AS wrong,
       count(*) FILTER (WHERE tidemark.final('sum(int8)', tidemark.combine('sum(int8)', state, other), NULL::numeric)::text IS DISTINCT FROM (2 * s - coalesce(d, 0))::text) AS wrong_combined
  FROM (SELECT tidemark_state.int8_sum(v.v) AS state, sum(v.v) AS s, avg(v.v) AS a, tidemark_state.int8_sum(v.v) FILTER (WHERE v.i < 4) AS other, sum(v.v) FILTER (WHERE v.i = 4) AS d
          FROM extreme a, extreme b, extreme c, extreme d, LATERAL unnest(ARRAY[a.v, b.v, c.v, d.v]) WITH ORDINALITY v (v, i)
         GROUP BY a.v, b.v, c.v, d.v) states;
-- by hand it changes nothing in place, and takes no other state
SELECT tidemark.final('sum(int8)', tidemark_state.int8_sum_add(state, 1), NULL::numeric) AS more, tidemark.final('sum(int8)', state, NULL::numeric) AS same, tidemark_state.int8_sum_add(state, NULL)::text = state::text AS as_it_was,
       tidemark_state.int8_sum_add(NULL, NULL) IS NULL AS none, pg_column_size(state) AS bytes FROM (SELECT tidemark_state.int8_sum(v) AS state FROM extreme) s;
SELECT tidemark_state.int8_sum_add('\x0102030405060708', 1);
DROP TABLE extreme;
-- states of one aggregate are refused by another, also of the same type
SELECT a_state AS s FROM (SELECT NULL) n, LATERAL (SELECT state_table::text AS a_state FROM tidemark_state.view WHERE view = 'a_shared'::regclass) q \gset
SELECT count(tidemark.final('avg(int8)', a2, NULL::numeric)) > 0 AS right FROM :s;
SELECT tidemark.final('stddev(int8)', a2, NULL::numeric) FROM :s;
SELECT tidemark.combine('avg(numeric)', a2, a2) FROM :s;
SELECT count(tidemark.combine('sum(int8)', a2, a2)) > 0 AS right FROM :s;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev;
DROP FUNCTION check_view, check_all, feed, series, applied, try_all, pairings;
DROP AGGREGATE u_typed(anyelement), u_sum(bigint), u_sum0(bigint), u_lax(bigint), u_pair(bigint), u_pair_raw(bigint), u_top3(anycompatible), u_max(anyelement), u_max_extra(anyelement),
    u_extra(anyelement), u_extra8(bigint), u_var(VARIADIC bigint[]), u_format(VARIADIC "any"), u_total(bigint), u_no_combine(bigint), u_longest(text);
DROP FUNCTION typed, lax, lax_combine, pair_add, pair_combine, pair_final, top3_add, top3_combine, larger, same, shown, count_any, shown8, var_add, text_longer, text_greatest;
DROP TYPE pair, mood;
