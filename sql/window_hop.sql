-- hop() and cumulate(): equal to plain SQL over boundaries, in every kind of zone; that the planner inlines them; every refusal
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tidemark;
RESET client_min_messages;
-- neither of these may matter
SET TimeZone = 'Asia/Kolkata';
SET timezone_abbreviations = 'Default';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';

--
-- Inlining: a Function Scan on the windows of a pane, none on hop() or cumulate()
--
CREATE TABLE bid (at timestamptz, local timestamp, slide interval);
EXPLAIN (COSTS off)
SELECT window_start, window_end, count(*) FROM bid, tidemark.hop(bid.at, '2 s', '10 s') GROUP BY 1, 2;
EXPLAIN (COSTS off)
SELECT window_start, count(*) FROM bid, tidemark.hop(bid.local, bid.slide, '10 s') GROUP BY 1;
EXPLAIN (COSTS off)
SELECT window_start, window_end, count(*) FROM bid, tidemark.cumulate(bid.at, '1 hour', '1 day', timezone => 'Europe/Berlin') GROUP BY 1, 2;
EXPLAIN (COSTS off)
SELECT window_end, count(*) FROM bid, tidemark.cumulate(bid.local, '1 hour', '1 day') GROUP BY 1;
SET plan_cache_mode = force_generic_plan;
PREPARE windows(interval, text) AS
SELECT window_start, count(*) FROM bid, tidemark.hop(bid.at, $1, '10 s', NULL, $2) GROUP BY 1;
EXPLAIN (COSTS off) EXECUTE windows('10 s', 'UTC');
RESET plan_cache_mode;
-- the planner knows how many windows a row has
CREATE FUNCTION estimate(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan->0->'Plan'->>'Plan Rows';
END $$;
SELECT estimate($$SELECT FROM tidemark.hop(now(), '2 s', '10 min')$$) AS hop,
       estimate($$SELECT FROM tidemark.hop(now(), '10 min', '2 s')$$) AS gaps,
       estimate($$SELECT FROM tidemark.cumulate(now(), '1 month', '1 year')$$) AS cumulate,
       estimate($$SELECT FROM bid, tidemark.hop(at, '0 s', '1 year')$$) <> '0' AS error;
SELECT p.oid::regprocedure AS function, provolatile, proparallel, proisstrict, proretset, proconfig, obj_description(p.oid) IS NOT NULL AS commented
  FROM pg_proc p WHERE pronamespace = 'tidemark'::regnamespace AND proname ~ '^(hop|cumulate|window)' ORDER BY p.oid::regprocedure::text COLLATE "C";

--
-- Examples
--
SET TimeZone = 'UTC';
-- a timestamp on a boundary belongs to the window that starts there, not to the one that ends there
SELECT at, w.* FROM unnest('{2024-01-01 00:00:09.999999+00, 2024-01-01 00:00:10+00}'::timestamptz[]) at, tidemark.hop(at, '5 s', '10 s') w;
SELECT at, w.* FROM unnest('{2024-01-01 00:00:09.999999+00, 2024-01-01 00:00:10+00}'::timestamptz[]) at, tidemark.cumulate(at, '5 s', '10 s') w;
-- size no multiple of slide: three windows or two; size less than slide: one or none
SELECT at, w.* FROM unnest('{00:00:04.9, 00:00:05}'::time[]) at, tidemark.hop(date '2024-01-01' + at, '10 s', '25 s') w;
SELECT at, w.* FROM unnest('{00:00:03.999999, 00:00:04, 00:00:09.999999, 00:00:10}'::time[]) at LEFT JOIN tidemark.hop(date '2024-01-01' + at, '10 s', '4 s') w ON true;
-- before the origin
SELECT * FROM tidemark.hop(timestamptz '2023-12-31 23:59:59.999999+00', '5 min', '7 min', '2024-01-01+00');
SELECT * FROM tidemark.cumulate(timestamptz '2023-12-31 23:57:59.999999+00', '2 min', '6 min', '2024-01-01+00');
-- weeks begin on Monday: of hop those of the slide, of cumulate those of the maximum
SELECT * FROM tidemark.hop(timestamp '2024-04-03 12:00', '7 days', '14 days');
SELECT * FROM tidemark.hop(timestamp '2024-04-03 12:00', '14 days', '4 days') UNION ALL
SELECT * FROM tidemark.hop(timestamp '2024-04-02 00:00', '14 days', '4 days', '2024-04-01');
SELECT * FROM tidemark.cumulate(timestamp '2024-04-05 12:00', '1 day', '7 days');
SELECT * FROM tidemark.cumulate(timestamp '2024-04-07 11:00', '12:00', '7 days', '2024-01-02 05:00');
-- months, quarters, years, and to date
SELECT * FROM tidemark.hop(timestamp '2024-03-31 12:00', '1 month', '3 months');
SELECT * FROM tidemark.hop(timestamp '2024-03-31 12:00', '3 months', '1 year');
SELECT * FROM tidemark.hop(timestamp '2024-03-31 12:00', '2 months', '3 months', '2020-01-15 06:00');
SELECT * FROM tidemark.cumulate(timestamp '2024-10-31 12:00', '1 month', '1 year');
SELECT * FROM tidemark.cumulate(timestamp '2024-02-27 12:00', '1 day', '1 month');
SELECT * FROM tidemark.cumulate(timestamp '2024-03-14 12:00', '12:00', '1 month', '2020-01-15 06:00');

--
-- Time zones
--
-- days of 23 and 25 hours
SELECT zone, window_start AT TIME ZONE zone AS starts, window_end AT TIME ZONE zone AS ends, extract(epoch FROM window_end - window_start) / 3600 AS hours
  FROM (VALUES ('Europe/Berlin', timestamptz '2024-03-31 12:00+02'), ('America/New_York', '2024-11-03 12:00-05')) v(zone, at),
       tidemark.hop(at, '1 day', '2 days', NULL, zone);
SELECT zone, window_start AT TIME ZONE zone AS starts, window_end AT TIME ZONE zone AS ends, extract(epoch FROM window_end - window_start) / 3600 AS hours
  FROM (VALUES ('Europe/Berlin', timestamptz '2024-03-30 12:00+01'), ('America/New_York', '2024-11-02 12:00-04')) v(zone, at),
       tidemark.cumulate(at, '1 day', '3 days', timestamp '2024-03-29' AT TIME ZONE zone, zone);
-- hours of such days: those that have passed; the last one may be shorter
SELECT zone, count(*), min(window_end - window_start) AS first, max(window_end - window_start) AS last
  FROM (VALUES ('Europe/Berlin', timestamptz '2024-03-31 00:00+01'), ('Europe/Berlin', '2024-04-01 00:00+02'), ('Europe/Berlin', '2024-10-27 00:00+02'),
               ('Australia/Lord_Howe', '2024-10-06 00:00+10:30'), ('America/Santiago', '2022-09-11 01:00-03'), ('America/Santiago', '2022-04-02 00:00-03')) v(zone, at),
       tidemark.cumulate(at, '1 hour', '1 day', NULL, zone)
 GROUP BY zone, at ORDER BY zone COLLATE "C", at;
SELECT window_start, window_end FROM tidemark.cumulate(timestamptz '2024-03-31 22:30+02', '1 hour', '1 day', NULL, 'Europe/Berlin');
SELECT window_start, window_end FROM tidemark.cumulate(timestamptz '2024-10-06 22:15+11', '2 hours', '1 day', NULL, 'Australia/Lord_Howe');
SELECT count(*), max(window_end) FROM tidemark.cumulate(timestamptz '2024-10-01 00:00+02', '6 hours', '1 month', NULL, 'Europe/Berlin');
-- a day that never was: of two windows with the same start the last, of two with the same end one
SELECT window_start AT TIME ZONE 'Pacific/Apia' AS starts, window_end AT TIME ZONE 'Pacific/Apia' AS ends
  FROM tidemark.hop(timestamptz '2011-12-31 12:00+14', '1 day', '3 days', NULL, 'Pacific/Apia');
SELECT window_start AT TIME ZONE 'Pacific/Apia' AS starts, window_end AT TIME ZONE 'Pacific/Apia' AS ends
  FROM tidemark.cumulate(timestamptz '2011-12-28 12:00-10', '1 day', '7 days', NULL, 'Pacific/Apia');
-- hours are fixed everywhere
SELECT * FROM tidemark.hop(timestamptz '2024-03-31 12:00+00', '8 hours', '24 hours', NULL, 'Europe/Berlin')
EXCEPT ALL SELECT * FROM tidemark.hop(timestamptz '2024-03-31 12:00+00', '8 hours', '24 hours');

--
-- hop with size = slide, and the longest window of cumulate, is tumble
--
CREATE FUNCTION probes(zone text) RETURNS SETOF timestamptz LANGUAGE sql AS $$
SELECT g FROM generate_series(timestamptz '1968-01-01+00', '2034-01-01+00', '1777:22:11.000007') g
UNION
SELECT g + d FROM generate_series(timestamptz '2010-10-20+00', '2012-11-10+00', '61 hours') g, unnest('{-1 us, 0, 59 min}'::interval[]) d
UNION
SELECT date_trunc('day', g, zone) + d FROM generate_series(timestamptz '2010-10-20+00', '2012-11-10+00', '3 days') g, unnest('{-1 us, 0, 1 us}'::interval[]) d $$;
SELECT zone, count(*) > 5000 AS enough,
       count(*) FILTER (WHERE (h.window_start, h.window_end) IS DISTINCT FROM (t.window_start, t.window_end)) AS hop_differs,
       count(*) FILTER (WHERE (c.window_start, c.window_end) IS DISTINCT FROM (t.window_start, t.window_end)) AS cumulate_differs
  FROM unnest('{UTC, Europe/Berlin, America/Havana, America/Santiago, America/St_Johns, Atlantic/Azores}'::text[]) zone,
       unnest('{00:07, 24:00, 1 day, 7 days, 14 days, 1 month, 3 months, 1 year}'::interval[]) size,
       probes(zone) at, tidemark.tumble(at, size, NULL, zone) t,
       tidemark.hop(at, size, size, NULL, zone) h, tidemark.cumulate(at, size, size, NULL, zone) c
 GROUP BY zone ORDER BY zone COLLATE "C";

--
-- Equal to all windows there are, that hold ts
--
CREATE FUNCTION differs_from_series(slide interval, size interval, origin timestamp, first timestamp, last timestamp, every interval)
RETURNS TABLE (windows bigint, differ bigint) LANGUAGE sql AS $$
WITH ours AS (SELECT at, window_start, window_end FROM generate_series(first, last, every) at, tidemark.hop(at, slide, size, origin)),
     series AS (SELECT at, s, s + size
                  FROM generate_series(first, last, every) at
                  JOIN (SELECT origin + i * slide AS s FROM generate_series(-500, 500) i) w ON s <= at AND at < s + size)
SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM ((TABLE ours EXCEPT ALL TABLE series) UNION ALL (TABLE series EXCEPT ALL TABLE ours)) d) $$;
SELECT slide, size, d.*
  FROM (VALUES (interval '10 s', interval '10 s'), ('10 s', '25 s'), ('10 s', '4 s'), ('10 s', '10.000001 s'), ('7 s', '1 min'), ('1 s', '6 min')) v(slide, size),
       differs_from_series(slide, size, '2024-02-29 13:14:15.161718', '2024-02-29 13:13:00', '2024-02-29 13:17:00', '0.999 s') d;
SELECT slide, size, d.*
  FROM (VALUES (interval '1 month', interval '1 month'), ('1 month', '3 months'), ('2 months', '5 months'), ('6 months', '4 months'), ('3 months', '10 years')) v(slide, size),
       differs_from_series(slide, size, '2024-01-15 13:14:15.161718', '1995-01-01', '2030-01-01', '555:00:00.7') d;

CREATE FUNCTION differs_from_steps(step interval, max interval, origin timestamp, first timestamp, last timestamp, every interval)
RETURNS TABLE (windows bigint, differ bigint) LANGUAGE sql AS $$
WITH ours AS (SELECT at, window_start, window_end FROM generate_series(first, last, every) at, tidemark.cumulate(at, step, max, origin)),
     steps AS (SELECT at, window_start, e
                 FROM generate_series(first, last, every) at, tidemark.tumble(at, max, origin) t,
                      LATERAL (SELECT window_start + i * step AS e FROM generate_series(1, 500) i) s
                WHERE at < e AND e <= window_end)
SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM ((TABLE ours EXCEPT ALL TABLE steps) UNION ALL (TABLE steps EXCEPT ALL TABLE ours)) d) $$;
SELECT step, max, d.*
  FROM (VALUES (interval '10 s', interval '10 s'), ('10 s', '30 s'), ('0.7 s', '42 s'), ('1 s', '2 min')) v(step, max),
       differs_from_steps(step, max, '2024-02-29 13:14:15.161718', '2024-02-29 13:13:00', '2024-02-29 13:17:00', '1.999 s') d;
SELECT step, max, d.*
  FROM (VALUES (interval '1 month', interval '1 month'), ('1 month', '3 months'), ('3 months', '1 year'), ('1 day', '1 month'), ('6 hours', '2 months'), ('1 day', '7 days')) v(step, max),
       differs_from_steps(step, max, '2024-01-15 13:14:15.161718', '2022-01-01', '2026-01-01', '155:00:00.7') d;

-- In a zone, from its days: each starts where tumble() says; one that never was starts with the next
CREATE TABLE day (zone text, number date, starts timestamptz, PRIMARY KEY (zone, number));
INSERT INTO day
SELECT zone, (starts AT TIME ZONE zone)::date, starts
  FROM unnest('{Europe/Berlin, America/Havana, America/Santiago, America/St_Johns, Atlantic/Azores, Pacific/Apia}'::text[]) zone,
       LATERAL (SELECT DISTINCT tidemark.tumble_start(g, '1 day', NULL, zone) FROM generate_series(timestamptz '2010-09-01+00', '2013-01-01+00', '30 min') g) d(starts);
INSERT INTO day SELECT zone, number - 1, starts FROM day d WHERE number > '2011-01-01' AND NOT EXISTS (SELECT FROM day p WHERE p.zone = d.zone AND p.number = d.number - 1) RETURNING zone, number;
ANALYZE day;
CREATE FUNCTION differs_from_days(in_zone text, slide int, size int)
RETURNS TABLE (windows bigint, differ bigint) LANGUAGE sql AS $$
WITH probe AS (SELECT at FROM probes(in_zone) at WHERE at BETWEEN '2010-10-20' AND '2012-11-10'),
     origin AS (SELECT date '1970-01-01' + CASE WHEN slide % 7 = 0 THEN 4 ELSE 0 END AS number),
     ours AS (SELECT at, window_start, window_end FROM probe, tidemark.hop(at, make_interval(days => slide), make_interval(days => size), NULL, in_zone)),
     days AS (SELECT DISTINCT ON (at, s.starts) at, s.starts, e.starts
                FROM origin, day s JOIN day e ON e.zone = in_zone AND s.zone = in_zone AND e.number = s.number + size JOIN probe ON s.starts <= at AND at < e.starts
               WHERE (s.number - origin.number) % slide = 0 ORDER BY at, s.starts, s.number DESC)
SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM ((TABLE ours EXCEPT ALL TABLE days) UNION ALL (TABLE days EXCEPT ALL TABLE ours)) d) $$;
SELECT zone, slide, size, windows > 300 AS enough, differ
  FROM (SELECT DISTINCT zone FROM day) z, (VALUES (1, 3), (2, 3), (7, 14), (7, 2), (3, 10)) v(slide, size), differs_from_days(zone, slide, size) d
 ORDER BY zone COLLATE "C", slide, size;

--
-- What views rely on: the pane decides; the end of a hop's window follows from its start
--
CREATE TABLE spec (slide interval, size interval, zone text);
INSERT INTO spec
SELECT slide, size, zone
  FROM unnest('{UTC, Europe/Berlin, America/Havana, America/Santiago, America/St_Johns, Atlantic/Azores, Pacific/Apia}'::text[]) zone,
       (VALUES (interval '2 days', interval '3 days'), ('1 day', '7 days'), ('2 days', '1 day'), ('1 month', '3 months'), ('4 months', '6 months'), ('7:00', '24:00')) v(slide, size);
SELECT zone, count(*) > 20000 AS enough,
       count(*) FILTER (WHERE NOT (window_start <= at AND at < window_end)) AS outside,
       count(*) FILTER (WHERE NOT (window_start <= pane AND pane <= at)) AS pane_outside,
       count(*) FILTER (WHERE pane <> tidemark.hop_pane(pane, slide, size, NULL, zone)) AS other_pane,
       count(*) FILTER (WHERE window_end <> tidemark.hop_end(window_start, slide, size, NULL, zone)) AS other_end,
       count(*) - count(DISTINCT (slide, size, at, window_start)) AS same_start
  FROM (SELECT s.*, at, window_start, window_end, tidemark.hop_pane(at, slide, size, NULL, zone) AS pane
          FROM spec s, probes(zone) at, tidemark.hop(at, slide, size, NULL, zone)) w
 GROUP BY zone ORDER BY zone COLLATE "C";
SELECT zone, count(*) > 20000 AS enough,
       count(*) FILTER (WHERE NOT (window_start <= at AND at < window_end)) AS outside,
       count(*) FILTER (WHERE NOT (window_start <= pane AND pane <= at)) AS pane_outside,
       count(*) FILTER (WHERE pane <> tidemark.cumulate_pane(pane, step, max, NULL, zone)) AS other_pane,
       count(*) FILTER (WHERE window_start <> tidemark.tumble_start(at, max, NULL, zone)) AS other_start,
       count(*) - count(DISTINCT (step, max, at, window_end)) AS same_end
  FROM (SELECT zone, step, max, at, window_start, window_end, tidemark.cumulate_pane(at, step, max, NULL, zone) AS pane
          FROM (SELECT DISTINCT zone FROM spec) z, (VALUES (interval '8:00', interval '1 day'), ('1 day', '7 days'), ('1 month', '3 months'), ('12:00', '1 month')) v(step, max),
               probes(zone) at, tidemark.cumulate(at, step, max, NULL, zone)) w
 GROUP BY zone ORDER BY zone COLLATE "C";
-- panes are as wide as can be: those that touch differ in their windows, save in the gaps
SELECT slide, size, count(*) AS panes, count(*) FILTER (WHERE windows = next) AS needless
  FROM (SELECT slide, size, pane, windows, lead(windows) OVER (PARTITION BY slide, size ORDER BY pane) AS next
          FROM (SELECT slide, size, tidemark.hop_pane(at, slide, size, NULL) AS pane, array_agg(DISTINCT window_start ORDER BY window_start) AS windows
                  FROM (VALUES (interval '4 s', interval '10 s'), ('5 s', '5 s'), ('4 months', '6 months'), ('1 day', '36:00')) v(slide, size),
                       generate_series(0, 50) i, LATERAL (SELECT timestamp '2024-01-01' + i * (CASE WHEN size < '1 hour' THEN '1 s' WHEN size < '3 days' THEN '6 hours' ELSE '1 month' END)::interval) a(at),
                       tidemark.hop(at, slide, size)
                 GROUP BY 1, 2, 3) p) q
 GROUP BY 1, 2 ORDER BY 1, 2;
-- both variants of the parts
SELECT tidemark.hop_pane(timestamptz '2024-03-31 12:00+02', '2 days', '3 days', NULL, 'Europe/Berlin'), tidemark.hop_pane(timestamp '2024-03-31 12:00', '10 min', '25 min', NULL),
       tidemark.cumulate_pane(timestamptz '2024-03-31 12:30+02', '1 day', '1 month', NULL, 'Europe/Berlin'), tidemark.cumulate_pane(timestamp '2024-03-31 12:30', '1 hour', '1 day', NULL);
SELECT tidemark.hop_windows(timestamp '2024-03-31 12:00', '10 min', '25 min', NULL);
SELECT tidemark.hop_end(timestamp '2024-03-31 12:00', '10 min', '25 min', NULL), tidemark.hop_end(timestamp '2024-01-31 12:00', '1 month', '3 months', '2024-01-15');
-- of any instant the windows of its pane
SELECT count(*) FROM generate_series(timestamp '2024-01-01', '2024-01-02', '7 min') at
 WHERE (SELECT array_agg(w) FROM tidemark.hop_windows(at, '10 min', '25 min', NULL) w) <> (SELECT array_agg(w) FROM tidemark.hop(at, '10 min', '25 min') w)
    OR (SELECT array_agg(w) FROM tidemark.cumulate_windows(at, '10 min', '1 hour', NULL) w) <> (SELECT array_agg(w) FROM tidemark.cumulate(at, '10 min', '1 hour') w);

--
-- How many
--
SELECT count(*), min(window_start), max(window_end) FROM tidemark.hop(timestamp '2024-01-01', '10 s', '1 hour');
SELECT count(*), min(window_start), max(window_start) FROM tidemark.hop(timestamp '2024-01-01', '1 us', '10 ms');
SELECT count(*), min(window_end), max(window_end) FROM tidemark.cumulate(timestamp '2024-01-01', '1 us', '10 ms');
SELECT count(*), max(window_end) FROM tidemark.cumulate(timestamptz '2024-01-01', '3 hours', '3 years', NULL, 'Europe/Berlin');

--
-- One call site, changing arguments
--
SELECT slide, zone, w.* FROM (VALUES (1, '12 hours'::interval, 'UTC'), (2, '1 day', 'UTC'), (3, '1 day', 'Asia/Tokyo'), (4, '1 day', 'Asia/Kolkata'), (5, '12 hours', 'UTC')) v(n, slide, zone),
       tidemark.hop(timestamptz '2024-03-31 12:00:07+00', slide, slide * 2, NULL, zone) w ORDER BY n, window_start;
SELECT max, origin, w.* FROM (VALUES (1, '2 s'::interval, NULL::timestamp), (2, '4 s', NULL), (3, '4 s', '2024-01-01 00:00:01'), (4, '2 s', NULL)) v(n, max, origin),
       tidemark.cumulate(timestamp '2024-03-31 12:00:05', '1 s', max, origin) w ORDER BY n, window_end;

--
-- NULL: one row of NULLs, outside all windows
--
SELECT 'hop' AS of, w.* FROM tidemark.hop(NULL::timestamptz, '1 s', '10 s') w UNION ALL
SELECT 'hop', w.* FROM tidemark.hop(NULL::timestamp, '1 s', '10 s') w UNION ALL
SELECT 'cumulate', w.* FROM tidemark.cumulate(NULL::timestamptz, '1 s', '10 s') w UNION ALL
SELECT 'cumulate', w.* FROM tidemark.cumulate(NULL::timestamp, '1 s', '10 s') w;
SELECT at, w.* FROM unnest('{2024-01-01, NULL, 2024-01-02}'::timestamp[]) at, tidemark.hop(at, '12 hours', '1 day') w;
SELECT tidemark.hop_end(NULL::timestamptz, '1 s', '10 s', NULL, 'UTC'), tidemark.hop_end(NULL::timestamp, '1 s', '10 s', NULL);

--
-- Conditions on window_start do not reach an index on the column; one on the column does
--
CREATE INDEX ON bid (at);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS off) SELECT window_start, count(*) FROM bid, tidemark.tumble(bid.at, '1 hour')
 WHERE window_start >= '2024-01-01+00' AND window_start < '2024-01-02+00' GROUP BY 1;
EXPLAIN (COSTS off) SELECT window_start, count(*) FROM bid, tidemark.tumble(bid.at, '1 hour')
 WHERE window_start >= '2024-01-01+00' AND window_start < '2024-01-02+00' AND at >= '2024-01-01+00' AND at < '2024-01-02+00' GROUP BY 1;
EXPLAIN (COSTS off) SELECT window_start, count(*) FROM bid, tidemark.hop(bid.at, '1 hour', '3 hours')
 WHERE window_start >= '2024-01-01+00' AND window_start < '2024-01-02+00' AND at >= '2024-01-01+00' AND at < '2024-01-02 02:00+00' GROUP BY 1;
-- or an index on the window
CREATE INDEX ON bid (tidemark.tumble_start(at, '1 hour', NULL, 'UTC'));
EXPLAIN (COSTS off) SELECT window_start, count(*) FROM bid, tidemark.tumble(bid.at, '1 hour')
 WHERE window_start >= '2024-01-01+00' AND window_start < '2024-01-02+00' GROUP BY 1;
RESET enable_seqscan;
RESET enable_bitmapscan;

--
-- In continuous views: equal to the query as batch; a row in a gap changes nothing
--
CREATE SERVER lab FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE tick (n int, at timestamptz) SERVER lab OPTIONS (topic 'tick', event_time 'at');
SET client_min_messages = warning;
CREATE MATERIALIZED VIEW hopping WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*) AS ticks, sum(n) AS total FROM tick, tidemark.hop(tick.at, '10 s', '25 s') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW gaps WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*) AS ticks FROM tick, tidemark.hop(tick.at, '10 s', '4 s') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW cumulating WITH (tidemark.continuous) AS
SELECT window_start, window_end, count(*) AS ticks FROM tick, tidemark.cumulate(tick.at, '8 hours', '1 day', timezone => 'Europe/Berlin') GROUP BY 1, 2;
RESET client_min_messages;
SELECT tidemark.inject('tick', ARRAY['{"n": 1, "at": "2026-03-29T10:00:03Z"}', '{"n": 2, "at": "2026-03-29T10:00:05Z"}']);
SELECT tidemark.inject('tick', ARRAY['{"n": 3, "at": "2026-03-28T23:00:00Z"}', '{"n": 4, "at": "2026-03-29T10:00:20Z"}']);
SELECT * FROM hopping ORDER BY window_start;
SELECT * FROM gaps ORDER BY window_start;
SELECT * FROM cumulating ORDER BY window_start, window_end;
SELECT * FROM tidemark.verify('hopping') UNION ALL SELECT * FROM tidemark.verify('gaps') UNION ALL SELECT * FROM tidemark.verify('cumulating');

--
-- Errors
--
CREATE FUNCTION refusal(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; hint text; state text; result text;
BEGIN
    EXECUTE 'SELECT ' || expression INTO result;
    RETURN 'no error: ' || coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
    RETURN concat_ws(E'\n', format('%s: %s', state, message), 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;
\pset format unaligned
\pset tuples_only on
-- NULL
SELECT refusal($$tidemark.hop(now(), NULL, '1 s')$$);
SELECT refusal($$tidemark.hop(localtimestamp, '1 s', NULL)$$);
SELECT refusal($$tidemark.hop(now(), '1 s', '1 s', NULL, NULL)$$);
SELECT refusal($$tidemark.hop_windows(now(), '1 s', '1 s', NULL, NULL)$$);
SELECT refusal($$tidemark.hop_end(now(), '1 s', NULL, NULL, 'UTC')$$);
SELECT refusal($$tidemark.cumulate(now(), NULL, '1 s')$$);
SELECT refusal($$tidemark.cumulate(localtimestamp, '1 s', NULL)$$);
SELECT refusal($$tidemark.cumulate(now(), '1 s', '1 s', NULL, NULL)$$);
-- sizes
SELECT refusal($$tidemark.hop(now(), '0 s', '1 s')$$);
SELECT refusal($$tidemark.hop(now(), '1 s', '0 s')$$);
SELECT refusal($$tidemark.hop(now(), '-1 s', '1 s')$$);
SELECT refusal($$tidemark.hop(now(), '1 s', '-1 month')$$);
SELECT refusal($$tidemark.hop(now(), '1 month 1 day', '2 months')$$);
SELECT refusal($$tidemark.hop(now(), '1 month', '2 months 1 day')$$);
SELECT refusal($$tidemark.hop(now(), '1 day', '1 month')$$);
SELECT refusal($$tidemark.hop(now(), '1 month', '1 day')$$);
SELECT refusal($$tidemark.hop(now(), '1 hour', '1 day', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.hop(now(), '1 day', '36 hours', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.hop(now(), '1 day', '1 day 12 hours', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.hop(now(), '1 s', '200000000 days')$$);
SELECT refusal($$tidemark.cumulate(now(), '0 s', '1 s')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 s', '0 s')$$);
SELECT refusal($$tidemark.cumulate(now(), '-1 day', '1 day')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 s', '-1 s')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 month 1 day', '2 months')$$);
SELECT refusal($$tidemark.cumulate(now(), '200000000 days', '2 months')$$);
-- no multiple
SELECT refusal($$tidemark.cumulate(now(), '2 s', '5 s')$$);
SELECT refusal($$tidemark.cumulate(now(), '5 s', '2 s')$$);
SELECT refusal($$tidemark.cumulate(now(), '2 months', '3 months')$$);
SELECT refusal($$tidemark.cumulate(now(), '7 days', '1 month')$$);
SELECT refusal($$tidemark.cumulate(now(), '7 hours', '1 month')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 month', '30 days')$$);
SELECT refusal($$tidemark.cumulate(now(), '5 hours', '25 hours', NULL, 'Europe/Berlin') IS NULL$$);
SELECT refusal($$tidemark.cumulate(now(), '2 days', '3 days', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.cumulate(now(), '36 hours', '3 days', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 day', '24 hours', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 month', '48 hours', NULL, 'Europe/Berlin')$$);
-- too many
SELECT refusal($$tidemark.hop(now(), '1 s', '10001 s')$$);
SELECT refusal($$tidemark.hop(now(), '10 s', '100000.000001 s')$$);
SELECT refusal($$tidemark.hop(now(), '1 month', '178000000 years')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 s', '10001 s')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 us', '178000000 years')$$);
SELECT refusal($$tidemark.cumulate(now(), '9 s', '178000000 years')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 min', '1 month', NULL, 'Europe/Berlin')$$);
-- zone and origin
SELECT refusal($$tidemark.hop(now(), '1 hour', '2 hours', NULL, 'Europe/Atlantis')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 hour', '2 hours', NULL, 'CEST')$$);
SELECT refusal($$tidemark.hop(now(), '1 day', '2 days', '2024-01-01 06:00+01', 'Europe/Berlin')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 hour', '2 days', '2024-01-01 06:00+01', 'Europe/Berlin')$$);
SELECT refusal($$tidemark.hop(now(), '1 month', '2 months', '2024-01-29+00')$$);
SELECT refusal($$tidemark.cumulate(now(), '1 day', '2 months', '2024-01-29+00')$$);
SELECT refusal($$tidemark.hop(now(), '1 hour', '2 hours', 'infinity')$$);
-- out of range
SELECT refusal($$tidemark.hop(timestamptz 'infinity', '1 hour', '2 hours')$$);
SELECT refusal($$tidemark.hop(timestamp '-infinity', '1 month', '2 months')$$);
SELECT refusal($$tidemark.hop_windows(timestamp 'infinity', '1 month', '2 months', NULL)$$);
SELECT refusal($$tidemark.hop_end(timestamptz '-infinity', '1 day', '2 days', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.cumulate(timestamptz 'infinity', '1 hour', '2 hours')$$);
SELECT refusal($$tidemark.cumulate(timestamptz '-infinity', '1 hour', '1 day', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.cumulate_windows(timestamptz 'infinity', '1 hour', '1 day', NULL, 'Europe/Berlin')$$);
SELECT refusal($$tidemark.cumulate_windows(timestamp '-infinity', '1 hour', '1 day', NULL)$$);
SELECT refusal($$tidemark.hop(timestamp '4714-11-24 00:00 BC', '1 hour', '1 hour')$$);
SELECT refusal($$tidemark.hop(timestamp '4714-11-24 00:00 BC', '1 hour', '2 hours')$$);
SELECT refusal($$tidemark.hop(timestamp '4714-11-24 00:00 BC', '1 month', '2 months')$$);
SELECT refusal($$tidemark.hop(timestamp '4714-11-24 01:00 BC', '10000000 days', '106751990 days', '294276-12-30')$$);
SELECT refusal($$tidemark.hop(timestamp '294276-12-31 22:59:59', '1 hour', '1 hour')$$);
SELECT refusal($$tidemark.hop(timestamp '294276-12-31 22:59:59', '1 hour', '3 hours')$$);
SELECT refusal($$tidemark.hop(timestamp '294276-12-31 23:00', '1 month', '1 month')$$);
SELECT refusal($$tidemark.hop_end(timestamp '294276-12-31 23:00', '1 hour', '2 hours', NULL)$$);
SELECT refusal($$tidemark.hop_end(timestamp '294276-12-31 23:00', '106751990 days', '106751990 days', NULL)$$);
SELECT refusal($$tidemark.hop(timestamptz '294276-12-31 12:00+00', '1 day', '1 day', NULL, 'America/New_York')$$);
SELECT refusal($$tidemark.cumulate(timestamp '4714-11-24 00:00 BC', '1 day', '1 month')$$);
SELECT refusal($$tidemark.cumulate(timestamp '294276-12-31 23:00', '1 hour', '1 day')$$);
SELECT refusal($$tidemark.cumulate(timestamp '294276-12-30 23:00', '1 hour', '1 day')$$);
SELECT refusal($$tidemark.cumulate(timestamp '294276-12-30 23:00', '1 month', '1 month')$$);
SELECT refusal($$tidemark.cumulate(timestamptz '294276-12-31 12:00+00', '1 hour', '1 day', NULL, 'America/New_York')$$);
SELECT refusal($$tidemark.cumulate(timestamptz '294276-12-31 12:00+00', '1 day', '1 day', NULL, 'America/New_York')$$);
SELECT refusal($$tidemark.cumulate(timestamptz '4714-11-24 00:00+00 BC', '1 hour', '1 day', NULL, 'America/New_York')$$);
SELECT refusal($$tidemark.hop(timestamp '0001-01-01', '1 day', '2 days')$$);
SELECT refusal($$tidemark.cumulate(timestamp '0001-01-01 BC', '1 month', '1 year')$$);
\pset tuples_only off
\pset format aligned

DROP MATERIALIZED VIEW hopping;
DROP MATERIALIZED VIEW gaps;
DROP MATERIALIZED VIEW cumulating;
DROP FOREIGN TABLE tick;
DROP SERVER lab;
DROP TABLE bid, day, spec;
DROP FUNCTION estimate, probes, differs_from_series, differs_from_steps, differs_from_days, refusal;
