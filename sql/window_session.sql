-- session_start() and session_end(): equal to lag() and a running sum in plain SQL; orders, frames and NULLs; every refusal
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tidemark;
RESET client_min_messages;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
SELECT p.oid::regprocedure AS function, prokind, provolatile, proparallel, proisstrict, proconfig, obj_description(p.oid) IS NOT NULL AS commented
  FROM pg_proc p WHERE proname LIKE 'session\_%' AND pronamespace = 'tidemark'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";

--
-- By hand
--
CREATE TABLE click (id int, key text, at timestamptz, local timestamp);
INSERT INTO click (id, key, at) VALUES
    (1, 'ann', '2024-01-01 10:00'), (2, 'ann', '2024-01-01 10:05'), (3, 'ann', '2024-01-01 10:10:00.000001'), (4, 'ann', '2024-01-01 10:10:00.000001'),
    (5, 'bob', '2024-01-01 10:00'), (6, 'bob', NULL), (7, 'bob', NULL), (8, 'bob', '2024-01-01 10:04'), (9, 'cy', NULL), (10, NULL, '2024-01-01 10:00');
UPDATE click SET local = at;
-- a distance of the gap is the same session, a microsecond more is not
SELECT id, key, at, tidemark.session_start(at, '5 min') OVER w, tidemark.session_end(at, '5 min') OVER w
  FROM click WINDOW w AS (PARTITION BY key ORDER BY at) ORDER BY id;
-- without time zone
SELECT id, local, tidemark.session_start(local, '5 min') OVER w, pg_typeof(tidemark.session_start(local, '5 min') OVER w),
       tidemark.session_end(local, '5 min') OVER w, pg_typeof(tidemark.session_end(local, '5 min') OVER w)
  FROM click WINDOW w AS (PARTITION BY key ORDER BY local) ORDER BY id LIMIT 2;
-- a row bridges two sessions
SELECT id, tidemark.session_start(at, '5 min') OVER w, tidemark.session_end(at, '5 min') OVER w
  FROM (SELECT id, at FROM click WHERE key = 'ann' UNION ALL SELECT 11, '2024-01-01 10:07') c WINDOW w AS (ORDER BY at) ORDER BY id;
-- all rows without a key, one row, no row
SELECT DISTINCT tidemark.session_start(at, '1 day') OVER (ORDER BY at), tidemark.session_end(at, '1 day') OVER (ORDER BY at) FROM click ORDER BY 1;
SELECT tidemark.session_start(at, '1 us') OVER (ORDER BY at), tidemark.session_end(at, '1 us') OVER (ORDER BY at) FROM click WHERE id = 1;
SELECT tidemark.session_start(at, '1 us') OVER (ORDER BY at), tidemark.session_end(at, '1 us') OVER (ORDER BY at) FROM click WHERE id = 0;
-- days are 24 hours, also where the clock changes
SET TimeZone = 'Europe/Berlin';
SELECT at, tidemark.session_start(at, '1 day') OVER (ORDER BY at), tidemark.session_end(at, '24 hours') OVER (ORDER BY at)
  FROM unnest('{2024-03-30 12:00+01, 2024-03-31 13:00+02, 2024-04-01 13:00:01+02}'::timestamptz[]) at;
SET TimeZone = 'UTC';
-- the whole range of timestamps, and a gap that is larger
SELECT at, tidemark.session_start(at, '1 us') OVER (ORDER BY at), tidemark.session_end(at, '1 us') OVER (ORDER BY at)
  FROM unnest('{4714-11-24 00:00:00+00 BC, 294276-12-31 23:59:59.999998+00}'::timestamptz[]) at;
SELECT at, tidemark.session_start(at, '100000000 days') OVER (ORDER BY at), tidemark.session_start(at, '106751991 days') OVER (ORDER BY at)
  FROM unnest('{4714-11-24 00:00:00+00 BC, 294276-12-31 23:59:59.999999+00}'::timestamptz[]) at;

--
-- One pass over one sort
--
-- (18 shows more of a window)
CREATE FUNCTION nodes_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
        IF line ~ '->' OR line !~ '^ ' THEN
            RETURN NEXT line;
        END IF;
    END LOOP;
END $$;
SELECT nodes_of($$
SELECT key, s, e, count(*)
  FROM (SELECT key, tidemark.session_start(at, '5 min') OVER w AS s, tidemark.session_end(at, '5 min') OVER w AS e
          FROM click WINDOW w AS (PARTITION BY key ORDER BY at)) x
 GROUP BY 1, 2, 3
$$);
SELECT key, s, e, count(*)
  FROM (SELECT key, tidemark.session_start(at, '5 min') OVER w AS s, tidemark.session_end(at, '5 min') OVER w AS e
          FROM click WINDOW w AS (PARTITION BY key ORDER BY at)) x
 GROUP BY 1, 2, 3 ORDER BY 1, 2;

--
-- Equal to plain SQL on random rows: keys of many and of few rows, duplicates, NULLs
--
CREATE TABLE random_click AS
SELECT i AS id, h1 % keys AS key, keys,
       CASE WHEN h2 % 50 > 0 THEN timestamptz '2024-01-01' + (h2 % (keys * 60)) * interval '1 s' END AS at
  FROM unnest('{1, 7, 300}'::int[]) keys, generate_series(1, 3000) i,
       LATERAL (SELECT hashint4extended(i, keys) & 2147483647, hashint4extended(-i, keys) & 2147483647) h(h1, h2);
CREATE FUNCTION reference(gap interval)
RETURNS TABLE (id int, keys int, starts timestamptz, ends timestamptz) LANGUAGE sql AS $$
SELECT id, keys, min(at) OVER s, max(at) OVER s + CASE WHEN at IS NOT NULL THEN gap END
  FROM (SELECT *, sum(is_first::int) OVER (PARTITION BY keys, key ORDER BY at ROWS UNBOUNDED PRECEDING) AS number
          FROM (SELECT *, coalesce(at - lag(at) OVER (PARTITION BY keys, key ORDER BY at) > gap, true) AS is_first FROM random_click) f) n
WINDOW s AS (PARTITION BY keys, key, number, at IS NULL) $$;
CREATE FUNCTION differences(gap interval, suffix text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format($q$
        WITH ours AS (SELECT id, keys, tidemark.session_start(at, $1) OVER w, tidemark.session_end(at, $1) OVER w
                        FROM random_click WINDOW w AS (PARTITION BY keys, key ORDER BY at %s)),
             plain AS (SELECT * FROM reference($1))
        SELECT count(*) FROM ((TABLE ours EXCEPT ALL TABLE plain) UNION ALL (TABLE plain EXCEPT ALL TABLE ours)) d $q$, suffix)
       INTO result USING gap;
    RETURN result;
END $$;
SELECT gap, (SELECT count(DISTINCT (keys, starts)) FROM reference(gap)) > 1 AS several, differences(gap, suffix), suffix
  FROM unnest('{1 us, 1 s, 3 s, 20 s, 1 min, 1 hour, 1 day}'::interval[]) gap,
       unnest('{NULLS LAST, NULLS FIRST}'::text[]) suffix;
-- later sort keys and the frame do not matter
SELECT suffix, differences('20 s', suffix)
  FROM unnest('{", id DESC", "ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING", "ROWS CURRENT ROW EXCLUDE CURRENT ROW",
                "RANGE BETWEEN ''1 s'' PRECEDING AND CURRENT ROW EXCLUDE TIES", "GROUPS BETWEEN 3 PRECEDING AND 2 PRECEDING"}'::text[]) suffix;
-- with other window functions over the same and other windows, which read rows in ways of their own
SELECT count(*) FILTER (WHERE x.starts IS DISTINCT FROM r.starts OR x.ends IS DISTINCT FROM r.ends OR x.again IS DISTINCT FROM r.ends) AS differences
  FROM (SELECT id, keys, lag(at, 3) OVER w, first_value(at) OVER w, tidemark.session_end(at, '20 s') OVER w AS ends, lead(at, 5) OVER w,
               count(*) OVER w, tidemark.session_start(at, '20 s') OVER w AS starts, ntile(4) OVER w,
               tidemark.session_end(at + interval '0', '20 s') OVER (PARTITION BY key, keys ORDER BY at, id) AS again
          FROM random_click WINDOW w AS (PARTITION BY keys, key ORDER BY at)) x
  JOIN reference('20 s') r USING (id, keys);
-- rows on disk
SET work_mem = '64kB';
SELECT differences('1 day', 'NULLS LAST'), differences('20 s', 'NULLS FIRST');
RESET work_mem;
-- one gap in two spellings
SELECT count(*) FILTER (WHERE x.starts IS DISTINCT FROM r.starts OR x.ends IS DISTINCT FROM r.ends) AS differences
  FROM (SELECT id, keys, tidemark.session_start(at, gap) OVER w AS starts, tidemark.session_end(at, gap) OVER w AS ends
          FROM (SELECT *, (ARRAY['1 min', '1 day -23:59'])[1 + id % 2]::interval AS gap FROM random_click) g
        WINDOW w AS (PARTITION BY keys, key ORDER BY at)) x
  JOIN reference('1 min') r USING (id, keys);
-- a gap for each key
SELECT id, gap, tidemark.session_start(at, gap) OVER w, tidemark.session_end(at, gap) OVER w
  FROM (SELECT *, CASE key WHEN 'ann' THEN interval '4 min' ELSE '3 min' END AS gap FROM click WHERE id IN (1, 2, 5, 8)) g
WINDOW w AS (PARTITION BY key ORDER BY at) ORDER BY id;
-- again for every outer row
SELECT n, (SELECT max(e) FROM (SELECT tidemark.session_end(at, n * interval '1 min') OVER (PARTITION BY key ORDER BY at) AS e FROM click WHERE id < 6) x)
  FROM generate_series(1, 3) n;
-- a prepared gap
PREPARE sessions(interval) AS
SELECT count(DISTINCT (key, s)) FROM (SELECT key, tidemark.session_start(at, $1) OVER (PARTITION BY key ORDER BY at) AS s FROM click) x;
SET plan_cache_mode = force_generic_plan;
EXECUTE sessions('5 min');
EXECUTE sessions('1 s');
RESET plan_cache_mode;
-- only as long as it is asked
SELECT * FROM (SELECT id, row_number() OVER w AS n, tidemark.session_end(at, '5 min') OVER w FROM click WINDOW w AS (PARTITION BY key ORDER BY at)) x
 WHERE n <= 1 ORDER BY id;

--
-- Refused
--
-- gaps
SELECT tidemark.session_start(at, NULL) OVER (ORDER BY at) FROM click;
SELECT tidemark.session_end(at, NULL) OVER (ORDER BY at) FROM click;
SELECT tidemark.session_start(at, '0') OVER (ORDER BY at) FROM click;
SELECT tidemark.session_end(at, '-1 s') OVER (ORDER BY at) FROM click;
SELECT tidemark.session_end(at, '1 day -24 hours') OVER (ORDER BY at) FROM click;
SELECT tidemark.session_start(at, '1 month') OVER (ORDER BY at) FROM click;
SELECT tidemark.session_end(local, '1 year 1 s') OVER (ORDER BY local) FROM click;
SELECT tidemark.session_start(at, '2147483647 days') OVER (ORDER BY at) FROM click;
SELECT tidemark.session_start(at, make_interval(secs => id)) OVER (PARTITION BY key ORDER BY at) FROM click;
SELECT tidemark.session_end(at, make_interval(secs => id)) OVER (PARTITION BY key ORDER BY at) FROM click;
-- the gap of a row without ts counts
SELECT tidemark.session_end(at, CASE WHEN at IS NOT NULL THEN interval '1 s' END) OVER (PARTITION BY key ORDER BY at) FROM click;
-- times
SELECT tidemark.session_start(at, '1 s') OVER (ORDER BY at) FROM unnest('{2024-01-01, infinity}'::timestamptz[]) at;
SELECT tidemark.session_end(at, '1 s') OVER (ORDER BY at) FROM unnest('{2024-01-01, infinity}'::timestamptz[]) at;
SELECT tidemark.session_start(at, '1 s') OVER (ORDER BY at) FROM unnest('{2024-01-01, -infinity}'::timestamp[]) at;
SELECT tidemark.session_end(at, '1 us') OVER (ORDER BY at) FROM unnest('{294276-12-31 23:59:59.999999}'::timestamp[]) at;
SELECT tidemark.session_end(at, '106751991 days') OVER (ORDER BY at) FROM unnest('{294276-12-31 23:59:59.999999}'::timestamp[]) at;
-- orders
SELECT tidemark.session_start(at, '1 s') OVER (ORDER BY at DESC) FROM click;
SELECT tidemark.session_end(at, '1 s') OVER (ORDER BY at DESC) FROM click;
SELECT tidemark.session_start(at, '1 s') OVER (PARTITION BY key ORDER BY id DESC) FROM click;
SELECT tidemark.session_end(at, '1 s') OVER (PARTITION BY key ORDER BY id DESC) FROM click;
SELECT tidemark.session_start(at, '1 s') OVER () FROM (VALUES (timestamptz '2024-01-02'), ('2024-01-01')) v(at);
SELECT tidemark.session_end(at, '1 s') OVER () FROM (VALUES (timestamptz '2024-01-02'), ('2024-01-01')) v(at);
-- a row without ts in between
SELECT tidemark.session_start(at, '1 s') OVER (ORDER BY id) FROM click WHERE key = 'bob';
SELECT tidemark.session_end(at, '1 s') OVER (ORDER BY id) FROM click WHERE key = 'bob';
-- an order that happens to be right
SELECT id, tidemark.session_start(at, '1 s') OVER (ORDER BY id) FROM click WHERE key = 'ann';
-- not without OVER
SELECT tidemark.session_start(at, '1 s') FROM click;
-- with SQLSTATEs
CREATE FUNCTION refusal(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT name, gap, refusal(format('SELECT tidemark.session_%s(at, %s) OVER (PARTITION BY key ORDER BY at) FROM click', name, gap))
  FROM unnest('{start, end}'::text[]) name,
       unnest('{"NULL", ''0'', ''1 month'', ''2147483647 days'', make_interval(secs => id), ''1 s''}'::text[]) gap;
SELECT name, at, refusal(format('SELECT tidemark.session_%s(at::timestamptz, ''1 s'') OVER () FROM unnest(%L::text[]) at', name, at))
  FROM unnest('{start, end}'::text[]) name,
       unnest(ARRAY['{2024-01-02, 2024-01-01}', '{2024-01-01, NULL, 2024-01-02}', '{infinity}', '{294276-12-31 23:59:59.5+00}', '{NULL, 2024-01-01}']) at;
-- infinite gaps, in versions that have them; before 17 the same bytes, and a negative gap
SELECT sign, refusal(format('SELECT tidemark.session_end(at, %L) OVER (ORDER BY at) FROM click', CASE
           WHEN current_setting('server_version_num')::int >= 170000 THEN sign || 'infinity'
           WHEN sign = '' THEN '178956970 years 7 mons 2147483647 days 2562047788:00:54.775807'
           ELSE '-1 day' END))
  FROM unnest(ARRAY['', '-']) sign;

DROP TABLE click, random_click;
DROP FUNCTION nodes_of, reference, differences, refusal;
