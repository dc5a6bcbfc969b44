-- Proves that a view of closed windows shows each window once, in order, and equal to the batch query, whatever else is done to it.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (k text, v int, at timestamptz) SERVER m OPTIONS (topic 't', event_time 'at', watermark_delay '5 s');
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, window_end, k AS "Key", count(*) AS n, sum(v)::int AS total, avg(v) AS mean
  FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end, k;
\d v
SELECT tidemark.inject('s', ARRAY[
  '{"k":"a","v":1,"at":"2026-01-01T00:00:01Z"}', '{"k":"b","v":2,"at":"2026-01-01T00:00:09Z"}',
  '{"k":null,"v":3,"at":"2026-01-01T00:00:09Z"}', '{"k":"a","v":4,"at":"2026-01-01T00:00:14.999999Z"}']);
-- the watermark stands just below the end of the first window
SELECT * FROM v;
SELECT watermark, closed_until, pruned_until, closed FROM tidemark.views;
SELECT tidemark.inject('s', '{"k":"a","v":5,"at":"2026-01-01T00:00:15Z"}');
SELECT window_start, window_end, "Key", n, total, mean, closed_at <= now() + '1 min' AS closed FROM v;
SELECT watermark, closed_until, pruned_until, closed FROM tidemark.views;

-- what is shown is the batch query over closed windows; the boundary itself is on time
CREATE FUNCTION wrong(view regclass, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE columns text; result bigint;
BEGIN
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
    WHERE attrelid = view AND attnum > 0 AND attname <> 'closed_at';
  EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL (%3$s)) UNION ALL ((%3$s) EXCEPT ALL SELECT %1$s FROM %2$s)) d',
                 columns, view, query) INTO result;
  RETURN result;
END $$;
CREATE FUNCTION closed_until(of regclass) RETURNS timestamptz LANGUAGE sql STABLE AS
  $$ SELECT closed_until FROM tidemark.views WHERE view = of $$;
CREATE FUNCTION batch(until timestamptz) RETURNS text LANGUAGE sql AS
$$ SELECT format('SELECT window_start, window_end, k, count(*), sum(v)::int, avg(v)
  FROM s, tidemark.tumble(at, ''10 s'') GROUP BY window_start, window_end, k HAVING window_end <= %L', until) $$;
SELECT wrong('v', batch(closed_until('v')));
-- the state has open windows only
SELECT count(*) AS groups, min(g1) FROM tidemark_state.s_1;

-- random order within the delay: each window once, in order
SELECT setseed(0.5);
SELECT count(*) FROM (SELECT tidemark.inject('s', json_build_object('k', chr(97 + i % 7), 'v', i,
    'at', timestamptz '2026-01-01 00:01:00Z' + i * interval '600 ms' - random() * interval '4.9 s')::text)
  FROM generate_series(1, 300) i) d;
SELECT wrong('v', batch(closed_until('v'))), count(*), count(DISTINCT (window_start, "Key")) FROM v;
SELECT count(*) FILTER (WHERE window_end < before) AS out_of_order
  FROM (SELECT window_end, lag(window_end) OVER (ORDER BY ctid) AS before FROM tidemark_state.f_1) d;
-- nobody writes it
SELECT refused('INSERT INTO v (n) VALUES (1)');
SELECT refused('DELETE FROM v');
SELECT refused('UPDATE tidemark_state.f_1 SET n = 0');

-- indexes and triggers are those of the table of closed windows; indexes on its window are there
SELECT indexdef FROM pg_indexes WHERE schemaname = 'tidemark_state' AND tablename = 'f_1' ORDER BY 1;
SET enable_seqscan = off;
SET tidemark.read_unpopulated = on;
EXPLAIN (COSTS OFF) SELECT * FROM v WHERE window_start = '2026-01-01 00:02Z';
EXPLAIN (COSTS OFF) SELECT * FROM v WHERE window_end > '2026-01-01 00:02Z' AND window_end <= '2026-01-01 00:03Z';
CREATE INDEX by_key ON v ("Key") INCLUDE (n);
CREATE UNIQUE INDEX ON v (window_start, (coalesce("Key", ''))) WHERE total > 0;
EXPLAIN (COSTS OFF) SELECT n FROM v WHERE "Key" = 'a';
RESET enable_seqscan;
RESET tidemark.read_unpopulated;
CREATE TABLE seen (window_end timestamptz, k text, n bigint, seen serial);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ing.seen VALUES (NEW.window_end, NEW."Key", NEW.n);
  RETURN NEW;
END $$;
CREATE FUNCTION note_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ing.seen SELECT max(window_end), 'statement', count(*) FROM fresh;
  RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT ON v FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION note();
CREATE TRIGGER "note all" AFTER INSERT ON v REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_all();
COMMENT ON TRIGGER note ON v IS 'notes';
SELECT tidemark.inject('s', '{"k":"z","v":1,"at":"2026-01-01T00:05:00Z"}');
SELECT max(seen) AS total, count(*) FILTER (WHERE k = 'statement') AS statements,
       sum(n) FILTER (WHERE k = 'statement') = count(*) FILTER (WHERE k IS DISTINCT FROM 'statement') AS all_noted FROM seen;
SELECT count(*) AS out_of_order FROM (SELECT window_end, lag(window_end) OVER (ORDER BY seen) AS before FROM seen) d WHERE window_end < before;
ALTER TRIGGER note ON v RENAME TO noted;
DROP TRIGGER "note all" ON v;
DROP TRIGGER noted ON ing.v;
DROP TRIGGER IF EXISTS noted ON v;
SELECT count(*) AS triggers FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'tidemark_state.f_1'::regclass;
-- a trigger that fails makes the view fail alone
CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
CREATE TRIGGER break AFTER INSERT ON v FOR EACH ROW EXECUTE FUNCTION break();
CREATE MATERIALIZED VIEW other WITH (tidemark.continuous) AS SELECT count(*) AS n FROM s;
SELECT tidemark.inject('s', '{"k":"z","v":1,"at":"2026-01-01T00:05:30Z"}');
SELECT view, state, sqlstate, reason FROM tidemark.views ORDER BY 1;
SELECT refused('SELECT * FROM v');
SELECT n = (SELECT count(*) FROM s) AS goes_on FROM other;
DROP MATERIALIZED VIEW other;
DROP TRIGGER break ON v;
REFRESH MATERIALIZED VIEW v;
SELECT state, wrong('v', batch(closed_until('v'))) FROM tidemark.views;
-- the engine's exemption is not the trigger's
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO tidemark_state.f_1 SELECT NEW.*;
  RETURN NULL;
END $$;
CREATE TRIGGER meddle BEFORE INSERT ON v FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT tidemark.inject('s', '{"k":"z","v":1,"at":"2026-01-01T00:06:00Z"}');
SELECT state, sqlstate, reason FROM tidemark.views;
DROP TRIGGER meddle ON v;
SELECT tidemark.inject('s', '{"k":"z","v":1,"at":"2026-01-01T00:06:00Z"}');
SELECT state, wrong('v', batch(closed_until('v'))) FROM tidemark.views;
-- a BEFORE trigger may change and leave out rows
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.n = -NEW.n;
  IF NEW."Key" = 'x' THEN RETURN NULL; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER change BEFORE INSERT ON v FOR EACH ROW EXECUTE FUNCTION change();
SELECT tidemark.inject('s', ARRAY['{"k":"x","v":1,"at":"2026-01-01T00:07:00Z"}', '{"k":"y","v":1,"at":"2026-01-01T00:07:00Z"}', '{"k":"z","v":1,"at":"2026-01-01T00:08:00Z"}']);
SELECT "Key", n FROM v WHERE window_start = '2026-01-01 00:07Z';
SELECT count(*) AS groups FROM tidemark_state.s_1;
DROP TRIGGER change ON v;
-- other triggers make no sense
SELECT refused('CREATE TRIGGER t AFTER INSERT OR UPDATE ON v FOR EACH ROW EXECUTE FUNCTION note()');
SELECT refused('CREATE TRIGGER t BEFORE TRUNCATE ON v EXECUTE FUNCTION note()');
SELECT refused('CREATE TRIGGER t INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION note()');
CREATE MATERIALIZED VIEW c WITH (tidemark.continuous) AS SELECT k, count(*) AS n FROM s GROUP BY k;
SELECT refused('CREATE TRIGGER t AFTER INSERT ON c FOR EACH ROW EXECUTE FUNCTION note()');
DROP MATERIALIZED VIEW c;

-- columns may be renamed, and what is there stays
ALTER MATERIALIZED VIEW v RENAME COLUMN n TO "how many";
SELECT tidemark.inject('s', '{"k":"z","v":1,"at":"2026-01-01T00:09:00Z"}');
SELECT "Key", "how many" FROM v WHERE window_start = '2026-01-01 00:08Z';
SELECT refused('ALTER MATERIALIZED VIEW v RENAME COLUMN total TO "Key"');
-- a late row changes nothing that is closed
SELECT tidemark.inject('s', '{"k":"a","v":1000000,"at":"2026-01-01T00:00:01Z"}');
SELECT max(total) < 1000000 AS unchanged FROM v;
DROP MATERIALIZED VIEW v;
SELECT * FROM rest() WHERE relation ~ '^[fs]_';

-- the owner of the view, who is nobody special, closes windows: also with his triggers
CREATE ROLE close_owner;
CREATE ROLE close_heir;
GRANT ALL ON SCHEMA ing TO close_owner, close_heir;
GRANT USAGE ON FOREIGN SERVER m TO close_owner, close_heir;
SET ROLE close_owner;
CREATE FOREIGN TABLE o (k text, at timestamptz) SERVER m OPTIONS (topic 'o', event_time 'at');
CREATE MATERIALIZED VIEW owned WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_end, k, count(*) AS n FROM o, tidemark.tumble(at, '10 s') GROUP BY window_end, k;
CREATE TABLE who (name text);
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ing.who VALUES (current_user); RETURN NEW; END $$;
CREATE TRIGGER who AFTER INSERT ON owned FOR EACH ROW EXECUTE FUNCTION who();
CREATE INDEX ON owned (lower(k)) WHERE n > 1;
RESET ROLE;
GRANT SELECT ON o TO close_heir;
GRANT INSERT ON who TO close_heir;
SELECT tidemark.inject('o', ARRAY['{"k":"a","at":"2026-01-01T00:00:00Z"}', '{"k":"a","at":"2026-01-01T00:00:20Z"}']);
ALTER MATERIALIZED VIEW owned OWNER TO close_heir;
SELECT tidemark.inject('o', '{"k":"a","at":"2026-01-01T00:00:40Z"}');
SELECT window_end, k, n FROM owned ORDER BY 1;
TABLE who;
SET ROLE close_owner;
SELECT refused('CREATE TRIGGER more AFTER INSERT ON owned FOR EACH ROW EXECUTE FUNCTION who()');
SELECT refused('DROP TRIGGER who ON owned');
SELECT refused('CREATE INDEX ON owned (n)');
RESET ROLE;
DROP MATERIALIZED VIEW owned;

-- names that are added
SELECT refused($$CREATE MATERIALIZED VIEW w WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_end AS closed_at, count(*) FROM s, tidemark.tumble(at, '10 s') GROUP BY window_end$$);
SELECT refused($$CREATE MATERIALIZED VIEW w (a, revision) WITH (tidemark.continuous, tidemark.emit = 'final, revisions') AS
  SELECT window_end, count(*) FROM s, tidemark.tumble(at, '10 s') GROUP BY window_end$$);
SELECT refused($$CREATE MATERIALIZED VIEW w WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_end, count(*) FROM s, tidemark.tumble(at, make_interval(secs => v)) GROUP BY window_end$$);

-- every shape of window and key, over history and new rows
CREATE FOREIGN TABLE r (k text, v int, at timestamptz) SERVER m OPTIONS (topic 'r', event_time 'at', watermark_delay '5 s');
SELECT tidemark.start_ingest('r');
CREATE FUNCTION fill(since timestamptz, n int) RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT count(tidemark.inject('r', json_build_object('k', chr(97 + i % 3), 'v', i,
      'at', since + i * interval '23 s' - random() * interval '4.9 s')::text, i % 2)) FROM generate_series(1, n) i
$$;
CREATE TABLE shapes (name text, ends text, query text);
INSERT INTO shapes VALUES
  ('only_start', $$window_start + interval '10 s'$$, $$SELECT window_start, count(*) AS n FROM r, tidemark.tumble(at, '10 s') GROUP BY window_start$$),
  ('only_end', 'window_end', $$SELECT count(*) AS n, window_end FROM r, tidemark.tumble(at, '10 s') GROUP BY window_end$$),
  ('hidden', $$window_start + interval '10 s'$$, $$SELECT count(*) AS n, max(v) AS top FROM r, tidemark.tumble(at, '10 s') GROUP BY window_start, k$$),
  ('having_few', 'window_end', $$SELECT window_end, k, count(*) AS n FROM r, tidemark.tumble(at, '1 min') GROUP BY window_start, window_end, k HAVING count(*) <> 3$$),
  ('zone', 'window_end', $$SELECT window_start, window_end, sum(v) AS n FROM r, tidemark.tumble(at, '1 day', timezone => 'Europe/Berlin') GROUP BY 1, 2$$),
  ('months', $$window_start + interval '1 month'$$, $$SELECT window_start, sum(v) AS n FROM r, tidemark.tumble(at, '1 month') GROUP BY 1$$),
  ('computed', 'window_end', $$SELECT window_end - window_start AS size, k || '!' AS k, avg(v) FILTER (WHERE v > 10) AS mean, 7 AS seven FROM r, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end, k$$),
  ('sliding', 'window_end', $$SELECT window_start, window_end, k, sum(v) AS n FROM r, tidemark.hop(at, '30 s', '90 s') GROUP BY 1, 2, 3$$),
  ('sliding_start', $$window_start + interval '90 s'$$, $$SELECT window_start, sum(v) AS n FROM r, tidemark.hop(at, '30 s', '90 s') GROUP BY 1$$),
  ('growing', 'window_end', $$SELECT window_start, window_end, k, sum(v) AS n FROM r, tidemark.cumulate(at, '30 s', '2 min') GROUP BY 1, 2, 3$$),
  ('twice', 'window_end', $$SELECT window_end, window_end AS again, count(*) AS n FROM r, tidemark.tumble(at, '10 s') GROUP BY window_end$$);
SELECT fill('2026-01-30 21:00Z', 150);
DO $$
DECLARE shape record;
BEGIN
  FOR shape IN SELECT * FROM shapes LOOP
    EXECUTE format('CREATE MATERIALIZED VIEW %s WITH (tidemark.continuous, tidemark.emit = ''final'', tidemark.allowed_lateness = ''1 h'') AS %s',
                   shape.name, shape.query);
  END LOOP;
END $$;
SELECT fill('2026-01-30 22:00Z', 100), fill('2026-01-31 22:30Z', 100), fill('2026-02-01 01:01Z', 10);
SELECT view, watermark - closed_until AS lateness, closed FROM tidemark.views ORDER BY view::text;
SELECT name, wrong(name::regclass, CASE WHEN query ~ 'HAVING' THEN query || ' AND ' ELSE query || ' HAVING ' END
         || ends || ' <= ' || quote_literal(closed_until(name::regclass))) AS wrong
  FROM shapes ORDER BY 1;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'tidemark_state' AND tablename ~ '^f_' ORDER BY 1;
SELECT attname FROM pg_attribute WHERE attrelid = (SELECT final_table FROM tidemark_state.view WHERE view = 'hidden'::regclass)
   AND attnum > 0 ORDER BY attnum;

-- many groups: closed by several batches
CREATE FOREIGN TABLE m (k int, at timestamptz) SERVER m OPTIONS (topic 'm', event_time 'at');
CREATE MATERIALIZED VIEW many WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, k, count(*) AS n FROM m, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
SELECT tidemark.inject('m', array_agg(format('{"k":%s,"at":"2026-01-01T00:00:%sZ"}', i, i / 1000))) FROM generate_series(0, 24999) i;
SELECT window_start, count(*), sum(n) FROM many GROUP BY 1 ORDER BY 1;
SELECT tidemark.inject('m', '{"k":0,"at":"2026-01-01T00:01:00Z"}');
SELECT window_start, count(*), sum(n) FROM many GROUP BY 1 ORDER BY 1;
-- all at once for a view that comes later
CREATE MATERIALIZED VIEW later WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, k, count(*) AS n FROM m, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
SELECT count(*) FROM ((SELECT window_start, k, n FROM later EXCEPT ALL SELECT window_start, k, n FROM many) UNION ALL
  (SELECT window_start, k, n FROM many EXCEPT ALL SELECT window_start, k, n FROM later)) d;
-- an error of the caller undoes it
BEGIN;
SELECT tidemark.inject('m', '{"k":0,"at":"2026-01-01T00:02:00Z"}');
SELECT max(window_start) FROM many;
ROLLBACK;
SELECT max(window_start) FROM many;

-- over a table, whose raw rows may go
CREATE FOREIGN TABLE f (k text, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'),
    wm timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'f', event_time 'at');
CREATE TABLE t (k text, at timestamptz, p int, o bigint, wm timestamptz) PARTITION BY RANGE (at);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-01-02');
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
SELECT tidemark.start_ingest('f', into_table => 't');
SELECT tidemark.inject('f', ARRAY['{"k":"a","at":"2026-01-01T00:00:00Z"}', '{"k":"b","at":"2026-01-01T23:00:00Z"}']);
CREATE MATERIALIZED VIEW days WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, count(*) AS n FROM t, tidemark.tumble(at, '1 hour') GROUP BY window_start;
SELECT window_start, n FROM days;
SELECT tidemark.inject('f', ARRAY['{"k":"a","at":"2026-01-01T23:01:00Z"}', '{"k":"b","at":"2026-01-02T00:00:00Z"}']);
SELECT window_start, n FROM days;
DROP TABLE t1;
SELECT tidemark.inject('f', '{"k":"b","at":"2026-01-02T01:00:00Z"}');
SELECT window_start, n FROM days;

-- rows without a window stay open for ever; rows of the last partition hold it back
CREATE FOREIGN TABLE n (k text, at timestamptz) SERVER m OPTIONS (topic 'n', event_time 'at', null_event_time 'keep');
CREATE MATERIALIZED VIEW nulls WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, k, count(*) AS n FROM n, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
SELECT tidemark.inject('n', ARRAY['{"k":"a"}', '{"k":"a","at":"2026-01-01T00:00:00Z"}', '{"k":"b"}', '{"k":"a","at":"2026-01-01T00:01:00Z"}']);
SELECT tidemark.inject('n', '{"k":"c","at":"2026-01-01T00:00:00Z"}', 1);
SELECT tidemark.inject('n', '{"k":"c","at":"2026-01-01T00:00:20Z"}', 1);
SELECT window_start, k, n FROM nulls;
SELECT closed_until FROM tidemark.views WHERE view = 'nulls'::regclass;

-- sessions close strictly after their end and lateness
CREATE FOREIGN TABLE c (k text, at timestamptz) SERVER m OPTIONS (topic 'c', event_time 'at');
CREATE MATERIALIZED VIEW sessions WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '5 s') AS
  SELECT k, start, stop, count(*) AS n FROM
    (SELECT k, at, tidemark.session_start(at, '5 s') OVER w AS start, tidemark.session_end(at, '5 s') OVER w AS stop
       FROM c WINDOW w AS (PARTITION BY k ORDER BY at)) r
  GROUP BY k, start, stop;
SELECT tidemark.inject('c', ARRAY['{"k":"a","at":"2026-01-01T00:00:00Z"}', '{"k":"b","at":"2026-01-01T00:00:00Z"}',
  '{"k":"a","at":"2026-01-01T00:00:04Z"}', '{"k":"c","at":"2026-01-01T00:00:10Z"}']);
SELECT k, start, stop, n FROM sessions ORDER BY stop, k;
SELECT tidemark.inject('c', '{"k":"c","at":"2026-01-01T00:00:10.000001Z"}');
SELECT k, start, stop, n FROM sessions ORDER BY stop, k;
SELECT tidemark.inject('c', '{"k":"c","at":"2026-01-01T00:00:30Z"}');
SELECT k, start, stop, n FROM sessions ORDER BY stop, k;
SELECT watermark, closed_until, closed FROM tidemark.views WHERE view = 'sessions'::regclass;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
DROP ROLE close_owner, close_heir;
