-- tumble(): bounds of every kind of window, in every kind of zone; that the planner inlines it; every refusal
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tidemark;
RESET client_min_messages;
-- neither of these may matter
SET TimeZone = 'Asia/Kolkata';
SET timezone_abbreviations = 'Default';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';

-- what is shown below: bounds in UTC, and the length
CREATE FUNCTION bounds(ts timestamptz, size interval, origin timestamptz DEFAULT NULL, zone text DEFAULT 'UTC')
RETURNS TABLE (starts timestamp, ends timestamp, length interval) LANGUAGE sql AS
$$ SELECT window_start AT TIME ZONE 'UTC', window_end AT TIME ZONE 'UTC', window_end - window_start
   FROM tidemark.tumble(ts, size, origin, zone) $$;

--
-- Inlining: no Function Scan on tumble()
--
CREATE TABLE bid (at timestamptz, local timestamp, size interval);
EXPLAIN (COSTS off)
SELECT window_start, window_end, count(*) FROM bid, tidemark.tumble(bid.at, '10 s') GROUP BY 1, 2;
EXPLAIN (COSTS off)
SELECT window_start, count(*) FROM bid, tidemark.tumble(bid.at, '1 day', timezone => 'Europe/Berlin') GROUP BY 1;
EXPLAIN (COSTS off)
SELECT window_start, window_end, count(*) FROM bid, tidemark.tumble(bid.local, '10 s') GROUP BY 1, 2;
EXPLAIN (COSTS off)
SELECT window_start, count(*) FROM bid, tidemark.tumble(bid.at, bid.size) GROUP BY 1;
SET plan_cache_mode = force_generic_plan;
PREPARE windows(interval, text) AS
SELECT window_start, count(*) FROM bid, tidemark.tumble(bid.at, $1, NULL, $2) GROUP BY 1;
EXPLAIN (COSTS off) EXECUTE windows('10 s', 'UTC');
SET plan_cache_mode = force_custom_plan;
EXPLAIN (COSTS off) EXECUTE windows('10 s', 'UTC');
RESET plan_cache_mode;
SELECT p.oid::regprocedure AS function, provolatile, proparallel, proisstrict, proconfig, obj_description(p.oid) IS NOT NULL AS commented
  FROM pg_proc p WHERE proname LIKE 'tumble%' ORDER BY p.oid::regprocedure::text COLLATE "C";

--
-- Fixed sizes
--
-- a timestamp on a boundary belongs to the window that starts there
SELECT at, b.* FROM unnest('{2024-01-01 00:00:09.999999+00, 2024-01-01 00:00:10+00, 2024-01-01 00:00:19.999999+00}'::timestamptz[]) at, bounds(at, '10 s') b;
-- before the origin
SELECT * FROM bounds('1969-12-31 23:59:59.999999+00', '10 s');
SELECT * FROM bounds('2023-12-31 23:59:59.999999+00', '7 min', '2024-01-01+00');
SELECT * FROM bounds('2024-01-01+00', '7 min', '2024-01-01+00');
SELECT * FROM bounds('2024-01-01+00', '7 min', '2031-01-01 00:03+00');
-- one microsecond
SELECT * FROM bounds('2024-01-01 00:00:00.000001+00', '1 us');
-- days are 24 hours, weeks begin on Monday, hours never
SELECT * FROM bounds('2024-03-31 12:00+00', '1 day');
SELECT * FROM bounds('2024-03-31 12:00+00', '1 day 12 hours');
SELECT * FROM bounds('2024-03-31 12:00+00', '7 days');
SELECT * FROM bounds('2024-03-31 12:00+00', '168 hours');
SELECT * FROM bounds('2024-03-31 12:00+00', '2 weeks');
SELECT * FROM bounds('2024-03-31 12:00+00', '-1 day 25 hours');
-- far dates
SELECT * FROM bounds('4714-11-24 00:00:00+00 BC', '1 hour');
SELECT * FROM bounds('294276-12-31 22:59:59.999999+00', '1 hour');
SELECT * FROM bounds('0001-01-01 00:00+00 BC', '7 days');
SELECT * FROM bounds('2024-01-01+00', '100000 days', '290000-01-01+00');
-- timestamp without time zone
SELECT * FROM tidemark.tumble(timestamp '2024-03-31 02:30', '1 hour');
SELECT * FROM tidemark.tumble(timestamp '2024-03-31 02:30', '1 day', '2024-01-01 06:00');
SELECT * FROM tidemark.tumble(timestamp '2024-03-31 02:30', '7 days');
SELECT * FROM tidemark.tumble(timestamp '2024-03-31 02:30', '1 month');

-- equal to date_bin()
CREATE FUNCTION differs_from_date_bin(size interval, origin timestamptz, first timestamptz, last timestamptz, step interval)
RETURNS bigint LANGUAGE sql AS $$
WITH ours AS (SELECT at, window_start, window_end FROM generate_series(first, last, step) at, tidemark.tumble(at, size, origin)),
     core AS (SELECT at, date_bin(size, at, origin), date_bin(size, at, origin) + extract(epoch FROM size) * interval '1 s'
                FROM generate_series(first, last, step) at)
SELECT count(*) FROM ((TABLE ours EXCEPT TABLE core) UNION ALL (TABLE core EXCEPT TABLE ours)) d $$;
SELECT size, origin AT TIME ZONE 'UTC' AS origin, differs_from_date_bin(size, origin, origin, origin + '400 days', '7:11:13.000017')
  FROM unnest('{1 s, 00:00:00.7, 5 min, 1 hour, 24:00, 1 day, 36:00, 7 days}'::interval[]) size,
       unnest('{1970-01-01+00, 2024-02-29 13:14:15.161718+00}'::timestamptz[]) origin;

--
-- Time zones
--
-- days of 23 and 25 hours, one row per distinct window
CREATE FUNCTION windows_of(zone text, size interval, first timestamptz, last timestamptz)
RETURNS TABLE (starts text, ends text, length interval) LANGUAGE sql AS $$
SELECT to_char(s AT TIME ZONE zone, 'Dy YYYY-MM-DD HH24:MI'), to_char(e AT TIME ZONE zone, 'Dy YYYY-MM-DD HH24:MI'), (extract(epoch FROM e - s) / 3600) * interval '1 hour'
  FROM (SELECT DISTINCT window_start, window_end
          FROM generate_series(first, last, '10 min') at, tidemark.tumble(at, size, NULL, zone)) d(s, e)
 ORDER BY s $$;
SELECT * FROM windows_of('Europe/Berlin', '1 day', '2024-03-30 00:00+01', '2024-04-01 12:00+02');
SELECT * FROM windows_of('Europe/Berlin', '1 day', '2024-10-26 12:00+02', '2024-10-28 12:00+01');
SELECT * FROM windows_of('America/New_York', '1 day', '2024-03-09 12:00-05', '2024-03-11 12:00-04');
SELECT * FROM windows_of('America/New_York', '1 day', '2024-11-02 12:00-04', '2024-11-04 12:00-05');
-- the zone skips midnight, or 23:00 to 24:00 comes twice
SELECT * FROM windows_of('America/Santiago', '1 day', '2022-09-10 12:00+00', '2022-09-12 12:00+00');
SELECT * FROM windows_of('America/Santiago', '1 day', '2022-04-02 12:00+00', '2022-04-04 12:00+00');
SELECT * FROM windows_of('Africa/Cairo', '1 day', '2014-05-15 12:00+00', '2014-05-17 12:00+00');
-- midnight comes twice: the first one counts
SELECT * FROM windows_of('America/Havana', '1 day', '2022-11-05 12:00+00', '2022-11-07 12:00+00');
-- the clock is set back over midnight: the day that has begun goes on
SELECT * FROM windows_of('America/St_Johns', '1 day', '2010-11-06 12:00+00', '2010-11-08 12:00+00');
-- a midnight within a gap from 23:30 to 00:30
SELECT * FROM windows_of('America/Toronto', '1 day', '1919-03-30 12:00+00', '1919-04-01 12:00+00');
-- a day that never was
SELECT * FROM windows_of('Pacific/Apia', '1 day', '2011-12-29 12:00+00', '2011-12-31 20:00+00');
-- ISO weeks and months over a change of the clock, quarters and years
SELECT * FROM windows_of('Europe/Berlin', '7 days', '2024-03-25 12:00+01', '2024-04-02 12:00+02');
SELECT * FROM windows_of('Europe/Berlin', '1 month', '2024-02-15 12:00+01', '2024-03-15 12:00+02');
SELECT * FROM windows_of('America/New_York', '3 months', '2024-05-15 12:00+00', '2024-05-15 12:00+00');
SELECT * FROM windows_of('America/New_York', '1 year', '2024-05-15 12:00+00', '2024-05-15 12:00+00');
-- hours are fixed everywhere
SELECT * FROM bounds('2024-03-31 12:00+00', '24 hours', NULL, 'Europe/Berlin');
SELECT * FROM bounds('2024-03-31 12:00+00', '1 hour', NULL, 'Asia/Kolkata');
SELECT * FROM bounds('2024-03-31 12:00+00', '24 hours', '2024-01-01 00:00+01', 'Europe/Berlin');
-- an origin
SELECT * FROM bounds('2024-04-03 12:00+02', '7 days', '2024-01-07 00:00+01', 'Europe/Berlin');
SELECT * FROM bounds('2024-04-03 12:00+02', '1 month', '2020-06-15 00:00+02', 'Europe/Berlin');
SELECT * FROM bounds('2022-09-20 12:00+00', '2 days', '2022-09-11 01:00-03', 'America/Santiago');
-- names of UTC
SELECT zone, b.* FROM unnest('{UTC, utc, GMT, Etc/UTC, Etc/GMT}'::text[]) zone, bounds('2024-03-31 12:00+00', '1 day 1 hour', NULL, zone) b;
-- far dates
SELECT * FROM bounds('200000-07-01 12:00+00', '1 day', NULL, 'Europe/Berlin');
SELECT * FROM bounds('0044-03-15 12:00+00 BC', '1 day', NULL, 'Europe/Berlin');

-- equal to date_trunc(), whose end is the next start
CREATE FUNCTION differs_from_date_trunc(unit text, zone text, first timestamptz, last timestamptz, step interval)
RETURNS bigint LANGUAGE sql AS $$
WITH ours AS (SELECT at, window_start, window_end
                FROM generate_series(first, last, step) at, tidemark.tumble(at, (CASE unit WHEN 'quarter' THEN '3 months' ELSE '1 ' || unit END)::interval, NULL, zone)),
     core AS (SELECT at, date_trunc(unit, at, zone),
                     (date_trunc(unit, at AT TIME ZONE zone) + (CASE unit WHEN 'quarter' THEN '3 months' ELSE '1 ' || unit END)::interval) AT TIME ZONE zone
                FROM generate_series(first, last, step) at)
SELECT count(*) FROM ((TABLE ours EXCEPT TABLE core) UNION ALL (TABLE core EXCEPT TABLE ours)) d $$;
SELECT zone, unit, differs_from_date_trunc(unit, zone, '1965-01-01', '2035-01-01', '33:22:11.000007')
  FROM unnest('{UTC, Europe/Berlin, America/New_York, America/Santiago, Africa/Cairo, Australia/Lord_Howe}'::text[]) zone,
       unnest('{day, week, month, quarter, year}'::text[]) unit
 ORDER BY zone COLLATE "C", unit COLLATE "C";

-- windows neither overlap nor leave a gap, and window_end follows from window_start
SELECT zone, size,
       count(*) FILTER (WHERE NOT (window_start <= at AND at < window_end)) AS outside,
       count(*) FILTER (WHERE next_start NOT IN (window_start, window_end)) AS gaps,
       count(*) FILTER (WHERE window_end <> tidemark.tumble_end(window_start, size, zone)) AS other_end
  FROM (SELECT zone, size, at, window_start, window_end,
               lead(window_start, 1, window_end) OVER (PARTITION BY zone, size ORDER BY at) AS next_start
          FROM unnest('{Europe/Berlin, America/Santiago, America/Havana, America/St_Johns, Atlantic/Azores, Asia/Beirut}'::text[]) zone,
               unnest('{1 day, 7 days, 1 month}'::interval[]) size,
               generate_series(timestamptz '2005-01-01 00:00:30+00', '2008-01-01', '30 min') at,
               tidemark.tumble(at, size, NULL, zone)) w
 GROUP BY zone, size ORDER BY zone COLLATE "C", size;

--
-- Months without a zone: UTC's
--
SELECT at AT TIME ZONE 'UTC' AS at, size, b.*
  FROM unnest('{2024-02-29 23:59:59.999999+00, 2023-02-28+00, 1969-12-31 23:00+00, 1900-02-28+00}'::timestamptz[]) at,
       unnest('{1 month, 3 months, 1 year, 5 months}'::interval[]) size, bounds(at, size) b;
SELECT * FROM bounds('2024-03-15 05:59:59+00', '1 month', '2020-01-15 06:00+00');
SELECT * FROM bounds('2024-03-15 06:00:00+00', '1 month', '2020-01-15 06:00+00');
SELECT * FROM bounds('2024-03-01+00', '1 month', '2020-01-28 23:59:59.999999+00');
SELECT * FROM bounds('4713-01-01+00 BC', '1 month');

--
-- One call site, changing arguments
--
SELECT size, zone, b.* FROM (VALUES (1, '10 s'::interval, 'UTC'), (2, '1 hour', 'UTC'), (3, '1 day', 'UTC'), (4, '1 day', 'Asia/Tokyo'), (5, '1 day', 'Asia/Kolkata'), (6, '10 s', 'UTC')) v(n, size, zone),
       bounds('2024-03-31 12:00:07+00', size, NULL, zone) b ORDER BY n;
SELECT origin, tidemark.tumble_start('2024-03-31 12:00:07', '1 hour', origin) FROM unnest('{2024-01-01 00:01, NULL, 2024-01-01 00:02}'::timestamp[]) origin;

--
-- NULL and errors
--
SELECT * FROM tidemark.tumble(NULL::timestamptz, '10 s');
SELECT * FROM tidemark.tumble(NULL::timestamp, '10 s');
SELECT tidemark.tumble_end(NULL::timestamptz, '10 s', 'UTC'), tidemark.tumble_end(NULL::timestamp, '10 s');
CREATE FUNCTION refusal(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; hint text; state text; result text;
BEGIN
    EXECUTE 'SELECT ' || expression INTO result;
    RETURN 'no error: ' || coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
    RETURN format(E'%s: %s\nHINT: %s', state, message, hint);
END $$;
\pset format unaligned
\pset tuples_only on
SELECT refusal($$tidemark.tumble(now(), NULL)$$);
SELECT refusal($$tidemark.tumble(localtimestamp, NULL)$$);
SELECT refusal($$tidemark.tumble_end(now(), NULL, 'UTC')$$);
SELECT refusal($$tidemark.tumble_end(localtimestamp, NULL)$$);
SELECT refusal($$tidemark.tumble(now(), '1 day', NULL, NULL)$$);
SELECT refusal($$tidemark.tumble_end(now(), '1 day', NULL)$$);
SELECT refusal($$tidemark.tumble(now(), '0 s')$$);
SELECT refusal($$tidemark.tumble(now(), '-10 s')$$);
SELECT refusal($$tidemark.tumble(now(), '-1 month')$$);
SELECT refusal($$tidemark.tumble(now(), '1 day -24 hours')$$);
SELECT refusal($$tidemark.tumble(now(), '1 day -24 hours', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.tumble(now(), '-1 day', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.tumble(now(), '1 month 1 day')$$);
SELECT refusal($$tidemark.tumble(now(), '1 month 1 us')$$);
SELECT refusal($$tidemark.tumble(now(), '1 day 1 hour', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.tumble(now(), '200000000 days')$$);
SELECT refusal($$tidemark.tumble(now(), '1 hour', NULL, 'Europe/Atlantis')$$);
SELECT refusal($$tidemark.tumble(now(), '1 day', NULL, 'CEST')$$);
SELECT refusal($$tidemark.tumble(now(), '1 day', NULL, '')$$);
SELECT refusal(format('tidemark.tumble(now(), ''1 day'', NULL, %L)', repeat('x', 300)));
SELECT refusal($$tidemark.tumble(now(), '1 day', '2024-01-01 06:00+01', 'Europe/Berlin')$$);
SELECT refusal($$tidemark.tumble(now(), '1 month', '2024-01-29+00')$$);
SELECT refusal($$tidemark.tumble(now(), '1 month', '2024-01-31 00:00+01', 'Europe/Berlin')$$);
SELECT refusal($$tidemark.tumble(now(), '1 hour', 'infinity')$$);
SELECT refusal($$tidemark.tumble(timestamptz 'infinity', '1 hour')$$);
SELECT refusal($$tidemark.tumble(timestamptz '-infinity', '1 hour')$$);
SELECT refusal($$tidemark.tumble(timestamp 'infinity', '1 month')$$);
SELECT refusal($$tidemark.tumble(timestamptz '-infinity', '1 day', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.tumble_end(timestamptz 'infinity', '1 hour', 'UTC')$$);
SELECT refusal($$tidemark.tumble_end(timestamptz '-infinity', '1 day', 'Europe/Berlin')$$);
-- a window that reaches over the first or last timestamp
SELECT refusal($$tidemark.tumble_start(timestamptz '4714-11-24 00:00+00 BC', '7 hours', '2024-01-01 01:00+00', 'UTC')$$);
SELECT refusal($$tidemark.tumble_start(timestamptz '4714-11-24 00:00+00 BC', '1 day', NULL, 'America/New_York')$$);
SELECT refusal($$tidemark.tumble_start(timestamptz '4714-11-24 00:00+00 BC', '1 month', NULL, 'UTC')$$);
SELECT refusal($$tidemark.tumble_start(timestamptz '4714-11-24 00:00+00 BC', '106751990 days', '294276-12-30+00', 'UTC')$$);
SELECT refusal($$tidemark.tumble_start(timestamptz '294276-12-31 23:59+00', '1 hour', NULL, 'UTC') = '294276-12-31 23:00+00'$$);
SELECT refusal($$tidemark.tumble(timestamptz '294276-12-31 23:59+00', '1 hour')$$);
SELECT refusal($$tidemark.tumble(timestamptz '294276-12-31 23:59+00', '1 month')$$);
SELECT refusal($$tidemark.tumble(timestamptz '294276-12-31 12:59+00', '1 day', NULL, 'America/New_York')$$);
SELECT refusal($$tidemark.tumble(timestamptz '2024-01-01+00', '178000000 years')$$);
\pset tuples_only off
\pset format aligned

DROP TABLE bid;
DROP FUNCTION bounds, windows_of, differs_from_date_bin, differs_from_date_trunc, refusal;
