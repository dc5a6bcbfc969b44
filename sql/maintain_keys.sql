-- Proves group keys of every kind of type, NULLs among them, up to 32 of them, each found again in later batches.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
\set ECHO all
CREATE TYPE mood AS ENUM ('low', 'mid', 'high');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE float8_range AS RANGE (subtype = float8);
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE FOREIGN TABLE typed_stream (
    id int, b boolean, i2 int2, i8 bigint, n numeric, n2 numeric(10,2), f4 float4, f8 float8, t text, v varchar(5), c char(4), d date, ti time, ts timestamp, tz timestamptz, iv interval,
    u uuid, j jsonb, by bytea, bt bit(4), vb varbit, inet inet, m money, e mood, r int4range, mr int4multirange, a int[], at text[], p pair, pa pair[], s small, o oid, nm name, ch "char", tq tsquery, tv tsvector
) SERVER m OPTIONS (topic 'typed');
CREATE TABLE typed (LIKE typed_stream);
SELECT tidemark.start_ingest('typed_stream', into_table => 'typed');
-- a view per column
SELECT format('CREATE MATERIALIZED VIEW key_%s WITH (tidemark.continuous) AS SELECT %1$I AS k, count(*), sum(id) FROM typed GROUP BY %1$I', attname) FROM pg_attribute WHERE attrelid = 'typed'::regclass AND attnum > 1 ORDER BY attnum \gexec
SELECT c.relname, regexp_replace(format_type(a.atttypid, a.atttypmod), 'public\.', '') AS type FROM tidemark_state.view v JOIN pg_attribute a ON a.attrelid = v.state_table AND a.attname = 'g1' JOIN pg_class c ON c.oid = v.view WHERE relname ~ '_(n2|v|c|bt|vb|e|s|p|pa|nm|ch)$' ORDER BY 1;
CREATE MATERIALIZED VIEW key_all WITH (tidemark.continuous) AS SELECT b, i2, n, t, c, tz, j, e, r, a, p, s, count(*) FROM typed GROUP BY b, i2, n, t, c, tz, j, e, r, a, p, s;
CREATE MATERIALIZED VIEW key_computed WITH (tidemark.continuous) AS
    SELECT (i2, t)::pair AS row, ARRAY[n, n + 1] AS arr, int4range(i2::int, i2 + 5) AS r, j -> 'a' AS ja, t::varchar(2) AS cut, n::numeric(5,1) AS rounded, float8range.r AS fr, count(*)
      FROM typed, LATERAL (SELECT float8_range(f8, f8 + 1) AS r) float8range GROUP BY 1, 2, 3, 4, 5, 6, 7;
CREATE FUNCTION typed_message(i int) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN i % 7 = 0 THEN json_build_object('id', i) ELSE json_build_object('id', i, 'b', i % 2 = 0, 'i2', i % 3, 'i8', (i % 3) * 10000000000, 'n', (ARRAY['1.0', '1.00', '1', 'NaN', '-0', '0.0', '1e3', '1000'])[1 + i % 8], 'n2', i % 3 + 0.25,
        'f4', (ARRAY['0', '-0', 'NaN', '1.5'])[1 + i % 4], 'f8', (ARRAY['0', '-0', 'NaN', 'Infinity', '1.5'])[1 + i % 5], 't', (ARRAY['', 'a', 'A', 'ä', 'a ', repeat('long', 300)])[1 + i % 6], 'v', (ARRAY['a', 'a ', 'b'])[1 + i % 3], 'c', (ARRAY['a', 'a  ', 'b'])[1 + i % 3],
        'd', (ARRAY['2026-01-01', 'infinity', '0044-03-15 BC'])[1 + i % 3], 'ti', (ARRAY['00:00', '24:00'])[1 + i % 2], 'ts', '2026-01-01', 'tz', (ARRAY['2026-01-01 00:00Z', '2026-01-01 01:00+01', '-infinity'])[1 + i % 3], 'iv', (ARRAY['1 day', '24:00', '30 days', '1 mon'])[1 + i % 4],
        'u', '00000000-0000-0000-0000-00000000000' || i % 3) END::text $$;
CREATE FUNCTION typed_message2(i int) RETURNS text LANGUAGE sql AS $$
    SELECT json_build_object('id', i, 'j', (ARRAY['{"a":1,"b":2}', '{"b":2,"a":1.0}', '[]', 'null', '"x"'])[1 + i % 5]::json, 'by', (ARRAY['\x00', '\x', '\x0001'])[1 + i % 3], 'bt', (ARRAY['0001', '1000'])[1 + i % 2], 'vb', (ARRAY['', '0', '00'])[1 + i % 3],
        'inet', (ARRAY['10.0.0.1', '10.0.0.1/32', '10.0.0.1/8', '::1'])[1 + i % 4], 'm', '$1.50', 'e', (ARRAY['low', 'high', 'mid'])[1 + i % 3], 'r', (ARRAY['[1,3)', '[1,2]', 'empty', '(,)'])[1 + i % 4], 'mr', (ARRAY['{[1,3),[5,6)}', '{[5,5],[1,2]}', '{}'])[1 + i % 3],
        'a', (ARRAY['[1,2]', '[]', '[1,null]'])[1 + i % 3]::json, 'at', (ARRAY['["a"]', '["a","b"]', '[null]'])[1 + i % 3]::json, 'p', (ARRAY['{"a":1,"b":"x"}', '{"a":1}', '{}'])[1 + i % 3]::json, 'pa', (ARRAY['[{"a":1,"b":"x"}]', '[]'])[1 + i % 2]::json,
        's', i % 3, 'o', i % 3, 'nm', 'n' || i % 2, 'ch', 'x', 'tq', (ARRAY['a & b', 'b & a'])[1 + i % 2], 'tv', (ARRAY['a b', 'b a'])[1 + i % 2])::text $$;
SELECT feed('typed_stream', (SELECT array_agg(CASE WHEN i % 2 = 0 THEN typed_message(i) ELSE typed_message2(i) END ORDER BY i) FROM generate_series(1, 60) i), 7);
SELECT count(*) AS rows FROM typed;
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live' ORDER BY view::text;
SELECT * FROM check_all();
SELECT feed('typed_stream', (SELECT array_agg(CASE WHEN i % 2 = 1 THEN typed_message(i) ELSE typed_message2(i) END ORDER BY i) FROM generate_series(61, 100) i), 1);
SELECT * FROM check_all();
SELECT k = 0 AS zero, k = 'NaN' AS nan, count FROM key_f8 ORDER BY k;
SELECT * FROM key_e ORDER BY k;
SELECT count FROM key_inet WHERE k IS NULL;

-- NULLs in some of several keys
CREATE MATERIALIZED VIEW nulls WITH (tidemark.continuous) AS SELECT k, name, ok, count(*) FROM ev GROUP BY k, name, ok;
SELECT feed('ev_stream', series(200), 13);
SELECT * FROM check_view('nulls');
SELECT count(*) FILTER (WHERE k IS NULL AND name IS NULL AND ok IS NULL) AS all_null, count(*) > 40 AS many FROM nulls;

-- 32 keys, and a window whose end is not stored beside 32 others
SELECT format('CREATE MATERIALIZED VIEW wide(%s) WITH (tidemark.continuous) AS SELECT %s, count(*) FROM ev GROUP BY %2$s', string_agg('c' || i, ', '), string_agg(format('(k + %s) %% 3', i), ', ')) FROM generate_series(1, 32) i \gexec
SELECT format('CREATE MATERIALIZED VIEW wide_window(%s) WITH (tidemark.continuous) AS SELECT %s, window_start, window_end, count(*) FROM ev, tidemark.tumble(at, ''10 min'') GROUP BY %2$s, window_start, window_end', string_agg('c' || i, ', '), string_agg(format('(k + %s) %% 3', i), ', ')) FROM generate_series(1, 31) i \gexec
SELECT feed('ev_stream', series(30, 500), 4);
SELECT * FROM check_view('wide');
SELECT * FROM check_view('wide_window');

CREATE FUNCTION longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT greatest($1, $2) $$;
CREATE FUNCTION shown(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || '!' $$;
CREATE AGGREGATE u_last(text) (SFUNC = longer, STYPE = text, COMBINEFUNC = longer, FINALFUNC = shown);
-- collations: of columns, of expressions, nondeterministic where the server has ICU
CREATE MATERIALIZED VIEW collated WITH (tidemark.continuous) AS SELECT name COLLATE "C" AS c, upper(name COLLATE "POSIX") AS p, max(name COLLATE "C"), min(name) COLLATE "C" AS m, u_last(name COLLATE "C"), count(*) FROM ev GROUP BY 1, 2 HAVING max(name COLLATE "POSIX") > 'A';
\d collated
SELECT a.attname, c.collname FROM tidemark_state.view v JOIN pg_attribute a ON a.attrelid = v.state_table AND a.attnum > 0 LEFT JOIN pg_collation c ON c.oid = a.attcollation WHERE v.view = 'collated'::regclass ORDER BY a.attnum;
SELECT feed('ev_stream', series(20, 600), 4);
SELECT * FROM check_view('collated');
DO $$
BEGIN
    CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE MATERIALIZED VIEW folded WITH (tidemark.continuous) AS
        SELECT CASE WHEN x % 2 = 0 THEN upper(name) ELSE name END COLLATE no_case AS folded, count(*) FROM ev GROUP BY 1;
    PERFORM feed('ev_stream', series(40, 700), 3);
    IF EXISTS (SELECT FROM folded f, folded g WHERE f.folded = g.folded AND f.folded COLLATE "C" <> g.folded COLLATE "C")
       OR EXISTS (SELECT FROM check_view('folded')) THEN
        RAISE 'case-insensitive keys differ';
    END IF;
EXCEPTION WHEN feature_not_supported OR undefined_object THEN
    IF SQLERRM !~ 'ICU' THEN RAISE; END IF;
END $$;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, typed;
DROP FUNCTION check_view, check_all, feed, series, typed_message, typed_message2;
DROP AGGREGATE u_last(text);
DROP FUNCTION longer, shown;
DROP TYPE mood, pair, float8_range;
DROP DOMAIN small;
DROP COLLATION IF EXISTS no_case;
