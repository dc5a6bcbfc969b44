-- Proves that raw rows are stored as COPY would store them, in tables of every kind, and that what a table refuses costs no neighbour.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

-- columns by name, casts, defaults, generated and identity columns
CREATE FOREIGN TABLE s (id int, k text, v numeric(10,2), extra int)
  SERVER m OPTIONS (topic 't', max_error_ratio '1');
CREATE SEQUENCE sq;
CREATE TABLE t (
  gone int,
  v float8,
  k varchar(8),
  id bigint,
  n int DEFAULT nextval('sq'),
  d text DEFAULT 'none',
  i int GENERATED ALWAYS AS IDENTITY,
  g bigint GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE t DROP COLUMN gone;
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT tidemark.inject('s', '{"id":1,"k":"one","v":1.25,"extra":9}');
SELECT tidemark.inject('s', ARRAY['{"id":2,"k":"two"}', '{"id":3,"k":"much too long for it"}', '{"id":4}']);
SELECT id, k, v, n, d, i, g FROM t ORDER BY id;
SELECT kafka_offset, stage, sqlstate, message FROM tidemark.dead_letters ORDER BY 1;
SELECT tidemark.drop_ingest('s');

-- constraints; of two rows that exclude each other the first is kept
CREATE TABLE parent (k text PRIMARY KEY);
INSERT INTO parent VALUES ('a'), ('b');
CREATE DOMAIN small AS int CHECK (value < 100);
CREATE TABLE c (
  id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED,
  k text NOT NULL REFERENCES parent DEFERRABLE INITIALLY DEFERRED,
  extra small,
  CHECK (id <> 13));
SELECT tidemark.start_ingest('s', into_table => 'c', start_at => 'latest');
SELECT tidemark.inject('s', ARRAY[
  '{"id":1,"k":"a","extra":1}',
  '{"id":1,"k":"b","extra":2}',
  '{"id":2,"k":"nobody"}',
  '{"id":3}',
  '{"id":13,"k":"a"}',
  '{"id":4,"k":"a","extra":100}',
  '{"id":5,"k":"b","extra":99}']);
SELECT * FROM c ORDER BY id;
SELECT sqlstate, message FROM tidemark.dead_letters ORDER BY kafka_offset DESC LIMIT 5;
SELECT tidemark.drop_ingest('s');

-- table partitions with other layouts; a missing one
CREATE TABLE p (x int, id int, k text, extra int) PARTITION BY LIST (extra);
ALTER TABLE p DROP COLUMN x;
CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);
CREATE TABLE p1 (y int, extra int, k text, id int);
ALTER TABLE p1 DROP COLUMN y;
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1);
SELECT tidemark.start_ingest('s', into_table => 'p', start_at => 'latest');
SELECT tidemark.inject('s', ARRAY[
  '{"id":1,"k":"zero","extra":0}', '{"id":2,"k":"one","extra":1}',
  '{"id":3,"k":"two","extra":2}', '{"id":4,"k":"one","extra":1}']);
SELECT tableoid::regclass, * FROM p ORDER BY id;
SELECT sqlstate, message FROM tidemark.dead_letters ORDER BY kafka_offset DESC LIMIT 1;
SELECT tidemark.drop_ingest('s');

-- table partitions that do not keep rows as the offsets are kept
CREATE FOREIGN TABLE p3 PARTITION OF p FOR VALUES IN (3) SERVER m OPTIONS (topic 'x');
SELECT tidemark.start_ingest('s', into_table => 'p', start_at => 'latest');
DROP FOREIGN TABLE p3;
CREATE UNLOGGED TABLE p3 PARTITION OF p FOR VALUES IN (3);
SELECT tidemark.start_ingest('s', into_table => 'p', start_at => 'latest');
DROP TABLE p3;
SELECT tidemark.start_ingest('s', into_table => 'p', start_at => 'latest');
CREATE FOREIGN TABLE p3 PARTITION OF p FOR VALUES IN (3) SERVER m OPTIONS (topic 'x');
CREATE UNLOGGED TABLE p3 PARTITION OF p FOR VALUES IN (3);
CREATE TABLE p3 PARTITION OF p FOR VALUES IN (3) PARTITION BY LIST (id);
CREATE UNLOGGED TABLE p36 PARTITION OF p3 FOR VALUES IN (6);
CREATE UNLOGGED TABLE p36 (LIKE p);
ALTER TABLE p3 ATTACH PARTITION p36 FOR VALUES IN (6);
ALTER TABLE p0 SET UNLOGGED;
ALTER TABLE p36 SET LOGGED;
ALTER TABLE p3 ATTACH PARTITION p36 FOR VALUES IN (6);
ALTER TABLE p36 SET UNLOGGED;
SELECT tidemark.inject('s', ARRAY['{"id":5,"extra":0}', '{"id":6,"extra":3}', '{"id":7,"extra":1}']);
SELECT tableoid::regclass, id FROM p ORDER BY id;
-- one that came without the extension's knowledge
UPDATE pg_class SET relpersistence = 'u' WHERE oid = 'p36'::regclass;
SELECT tidemark.inject('s', '{"id":6,"extra":3}');
UPDATE pg_class SET relpersistence = 'p' WHERE oid = 'p36'::regclass;
SELECT tidemark.drop_ingest('s');

-- triggers: modify, suppress, raise; statement trigger with transition table
CREATE TABLE g (id int, k text);
CREATE TABLE seen (what text, n bigint);
CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF new.k = 'skip' THEN RETURN NULL; END IF;
  IF new.k = 'raise' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '42704'; END IF;
  new.k := upper(new.k);
  RETURN new;
END $$;
CREATE FUNCTION after_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ing.seen SELECT 'statement', count(*) FROM fresh;
  RETURN NULL;
END $$;
CREATE TRIGGER b BEFORE INSERT ON g FOR EACH ROW EXECUTE FUNCTION before_row();
CREATE TRIGGER a AFTER INSERT ON g REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION after_statement();
SELECT tidemark.start_ingest('s', into_table => 'g', start_at => 'latest');
SELECT tidemark.inject('s', ARRAY['{"id":1,"k":"x"}', '{"id":2,"k":"skip"}', '{"id":3,"k":"y"}']);
SELECT * FROM seen;
SELECT tidemark.inject('s', ARRAY['{"id":4,"k":"x"}', '{"id":5,"k":"raise"}', '{"id":6,"k":"y"}']);
SELECT * FROM g ORDER BY id;
SELECT sum(n) FROM seen;
SELECT sqlstate, message FROM tidemark.dead_letters ORDER BY kafka_offset DESC LIMIT 1;
SELECT tidemark.drop_ingest('s');

-- relations and columns that are refused
CREATE VIEW w AS SELECT 1 AS id;
CREATE UNLOGGED TABLE u (id int);
CREATE TEMP TABLE tmp (id int);
CREATE TABLE r (id int);
ALTER TABLE r ENABLE ROW LEVEL SECURITY;
ALTER TABLE r FORCE ROW LEVEL SECURITY;
CREATE ROLE regress_ing_store;
ALTER TABLE r OWNER TO regress_ing_store;
CREATE TABLE gen (id int, k text GENERATED ALWAYS AS ('x') STORED);
CREATE TABLE mis (id int, k int);
CREATE TABLE up (id int) PARTITION BY LIST (id);
CREATE UNLOGGED TABLE up1 PARTITION OF up FOR VALUES IN (1);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'w') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 's') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'u') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'tmp') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'up') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'r') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'pg_class') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'gen') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'mis') $$);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'tidemark_state.ingest') $$);
CREATE SEQUENCE just_a_sequence;
CREATE MATERIALIZED VIEW just_a_view AS SELECT 1 AS id;
SELECT refused(format('SELECT tidemark.start_ingest(%L, into_table => %L)', 's', r)) FROM unnest(ARRAY['just_a_sequence', 'just_a_view', 's']) r;
SELECT * FROM tidemark_state.ingest;
ALTER TABLE r OWNER TO CURRENT_USER;
DROP ROLE regress_ing_store;

-- types: the same, binary coercible, casts, domains, arrays, composites, enums
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN must AS text NOT NULL;
CREATE FOREIGN TABLE y (i int, t text, j jsonb, m mood, p pair, a int[], n numeric, ts timestamptz, f float8, u uuid, d positive)
  SERVER m OPTIONS (topic 'y', max_error_ratio '1');
CREATE TABLE yt (i positive, t varchar(3), j jsonb, m mood, p pair, a int[], n int, ts date, f real, u uuid, d int, x must DEFAULT 'x');
SELECT tidemark.start_ingest('y', into_table => 'yt');
CREATE MATERIALIZED VIEW vy WITH (tidemark.continuous) AS SELECT m, count(*), sum(n), max(ts) FROM yt GROUP BY m;
SELECT tidemark.inject('y', ARRAY[
  '{"i":1,"t":"abc","j":{"x":[1,2]},"m":"ok","p":{"a":1,"b":"z"},"a":[1,null,3],"n":1.5,"ts":"2026-01-01T23:59:59Z","f":0.1,"u":"00000000-0000-0000-0000-000000000001","d":5}',
  '{"i":-1,"n":2}', '{"i":2,"t":"abcd"}', '{"i":3,"n":99999999999}', '{"i":4,"d":-1}', '{"i":5,"f":1e300}', '{"i":6,"m":"sad","n":2.5}', '{"i":7,"m":"glad"}']);
SELECT * FROM yt ORDER BY i;
SELECT kafka_offset, stage, sqlstate, message FROM tidemark.dead_letters WHERE stream = 'y'::regclass ORDER BY 1;
SELECT differ('vy');
-- values out of line
SELECT tidemark.inject('y', format('{"i":8,"j":"%s"}', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)));
SELECT i, length(j::text) FROM yt WHERE i = 8;
DROP MATERIALIZED VIEW vy;
SELECT tidemark.drop_ingest('y');
CREATE TABLE missing_must (i int, x must);
SELECT tidemark.start_ingest('y', into_table => 'missing_must', start_at => 'latest');
SELECT tidemark.inject('y', '{"i":9}');
SELECT stage, sqlstate, message FROM tidemark.dead_letters WHERE stream = 'y'::regclass ORDER BY kafka_offset DESC LIMIT 1;
SELECT tidemark.drop_ingest('y');

-- exclusion constraints, partial and expression indexes, NULLS, includes
CREATE TABLE ix (id int, k text, extra int, EXCLUDE USING btree (extra WITH =));
CREATE UNIQUE INDEX ON ix ((lower(k))) WHERE id < 100;
CREATE INDEX ON ix USING hash (k);
CREATE INDEX ON ix (id) INCLUDE (k);
CREATE INDEX ON ix ((1000 / id));
SELECT tidemark.start_ingest('s', into_table => 'ix', start_at => 'latest');
CREATE MATERIALIZED VIEW vix WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM ix;
SELECT tidemark.inject('s', ARRAY['{"id":1,"k":"A","extra":1}', '{"id":2,"k":"a","extra":2}', '{"id":3,"k":"b","extra":1}',
  '{"id":101,"k":"a","extra":4}', '{"id":0,"k":"z","extra":5}', '{"id":5,"k":"c"}', '{"id":6,"k":"d"}']);
SELECT * FROM ix ORDER BY id;
SELECT sqlstate, message FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY kafka_offset DESC LIMIT 3;
SET enable_seqscan = off;
SELECT id FROM ix WHERE k = 'd';
RESET enable_seqscan;
SELECT differ('vix');
DROP MATERIALIZED VIEW vix;
SELECT tidemark.drop_ingest('s');

-- partitioned in two levels, with default, row triggers, moved rows; views count what is stored
CREATE TABLE pp (id int, k text, extra int, g int GENERATED ALWAYS AS (id + 1) STORED) PARTITION BY LIST (k);
CREATE TABLE pp_a PARTITION OF pp FOR VALUES IN ('a') PARTITION BY RANGE (id);
CREATE TABLE pp_a1 PARTITION OF pp_a FOR VALUES FROM (0) TO (10);
CREATE TABLE pp_a2 PARTITION OF pp_a FOR VALUES FROM (10) TO (20);
CREATE TABLE pp_d PARTITION OF pp DEFAULT;
ALTER TABLE pp_d ADD CHECK (id <> 7);
CREATE FUNCTION triple() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.extra := new.id * 3; IF new.id = 4 THEN new.k := 'elsewhere'; END IF; RETURN new; END $$;
CREATE TRIGGER tr BEFORE INSERT ON pp_a1 FOR EACH ROW EXECUTE FUNCTION triple();
SELECT tidemark.start_ingest('s', into_table => 'pp', start_at => 'latest');
CREATE MATERIALIZED VIEW vpp WITH (tidemark.continuous) AS SELECT k, count(*), sum(extra) AS extra, sum(g) AS g FROM pp GROUP BY k;
SELECT tidemark.inject('s', ARRAY['{"id":1,"k":"a"}', '{"id":11,"k":"a"}', '{"id":21,"k":"a"}', '{"id":2,"k":"b"}', '{"id":7,"k":"b"}',
  '{"id":3}', '{"id":4,"k":"a"}', '{"id":5,"k":"a"}', '{"id":12,"k":"a"}']);
SELECT tableoid::regclass, * FROM pp ORDER BY id;
SELECT kafka_offset - (SELECT max(kafka_offset) FROM tidemark.dead_letters WHERE stream = 's'::regclass) AS off, sqlstate, message
  FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY 1 DESC LIMIT 3;
SELECT differ('vpp');
-- without the table partition that takes the rest
ALTER TABLE pp DETACH PARTITION pp_d;
SELECT tidemark.inject('s', ARRAY['{"id":15,"k":"a"}', '{"id":16,"k":"a"}', '{"id":21,"k":"a"}', '{"id":17,"k":"a"}']);
SELECT sqlstate, message FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY kafka_offset DESC LIMIT 1;
SELECT differ('vpp', 'SELECT k, count(*), sum(extra) AS extra, sum(g) AS g FROM (TABLE ing.pp UNION ALL TABLE ing.pp_d) p GROUP BY k');
-- retention by table partition never changes a view
SELECT * FROM vpp ORDER BY k;
DROP TABLE pp_a2;
TRUNCATE pp_a1;
SELECT * FROM vpp ORDER BY k;
SELECT tidemark.inject('s', ARRAY['{"id":6,"k":"a"}', '{"id":12,"k":"a"}']);
SELECT * FROM vpp ORDER BY k;
DROP MATERIALIZED VIEW vpp;
SELECT tidemark.drop_ingest('s');

-- triggers of every kind, and what they see
CREATE TABLE tg (id int, k text);
CREATE TABLE log_of (n serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ing.log_of (what) VALUES (format('%s %s %s sees %s', tg_when, tg_level, CASE WHEN tg_level = 'ROW' THEN new.id END, (SELECT count(*) FROM ing.tg)));
  RETURN new;
END $$;
CREATE TRIGGER t1 BEFORE INSERT ON tg FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE TRIGGER t2 BEFORE INSERT ON tg FOR EACH ROW WHEN (new.id > 1) EXECUTE FUNCTION note();
CREATE TRIGGER t3 AFTER INSERT ON tg FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER t4 AFTER INSERT ON tg FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER t5 AFTER INSERT ON tg DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER t6 BEFORE UPDATE ON tg FOR EACH ROW EXECUTE FUNCTION note();
SELECT tidemark.start_ingest('s', into_table => 'tg', start_at => 'latest');
CREATE MATERIALIZED VIEW vtg WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM tg;
SELECT tidemark.inject('s', ARRAY['{"id":1}', '{"id":2}']);
SELECT what FROM log_of ORDER BY n;
ALTER TABLE tg DISABLE TRIGGER ALL;
TRUNCATE log_of;
SELECT tidemark.inject('s', ARRAY['{"id":3}', '{"id":4}']);
SELECT count(*) FROM log_of;
SELECT differ('vtg');
DROP MATERIALIZED VIEW vtg;
SELECT tidemark.drop_ingest('s');

-- rules are ignored, as by COPY; volatile default; a table without columns of the stream
CREATE TABLE ru (id int, r float8 DEFAULT random(), c timestamptz DEFAULT clock_timestamp());
CREATE RULE no_rows AS ON INSERT TO ru DO INSTEAD NOTHING;
SELECT tidemark.start_ingest('s', into_table => 'ru', start_at => 'latest');
SELECT tidemark.inject('s', ARRAY['{"id":1}', '{"id":2}']);
SELECT id, r BETWEEN 0 AND 1 AS r, c <= clock_timestamp() AS c FROM ru ORDER BY id;
SELECT tidemark.drop_ingest('s');
CREATE TABLE other (z int DEFAULT 7);
SELECT tidemark.start_ingest('s', into_table => 'other', start_at => 'latest');
SELECT tidemark.inject('s', ARRAY['{"id":1}', '{"id":2}']);
TABLE other;
SELECT tidemark.drop_ingest('s');

-- a table that changes between batches
CREATE TABLE ch (id int, k text);
SELECT tidemark.start_ingest('s', into_table => 'ch', start_at => 'latest');
CREATE MATERIALIZED VIEW vch WITH (tidemark.continuous) AS SELECT id, count(*) FROM ch GROUP BY id;
SELECT tidemark.inject('s', '{"id":1,"k":"a","extra":1}');
ALTER TABLE ch ADD COLUMN extra bigint;
SELECT tidemark.inject('s', '{"id":2,"k":"b","extra":2}');
ALTER TABLE ch DROP COLUMN k;
SELECT tidemark.inject('s', '{"id":3,"k":"c","extra":3}');
ALTER TABLE ch ALTER extra TYPE text, ADD COLUMN n int NOT NULL DEFAULT 5;
SELECT tidemark.inject('s', '{"id":4,"k":"d","extra":4}');
ALTER TABLE ch RENAME extra TO more;
SELECT tidemark.inject('s', '{"id":5,"k":"e","extra":5}');
ALTER TABLE ch ADD COLUMN v bool;
SELECT refused($$ SELECT tidemark.inject('s', '{"id":6,"v":1}') $$);
ALTER TABLE ch DROP COLUMN v;
SELECT refused($$ ALTER TABLE ch SET UNLOGGED $$);
ALTER TABLE ch RENAME TO changed;
CREATE SCHEMA ing2;
ALTER TABLE changed SET SCHEMA ing2;
SELECT tidemark.inject('s', '{"id":8}');
SELECT * FROM ing2.changed ORDER BY id;
SELECT differ('vch');
DROP MATERIALIZED VIEW vch;
DROP SCHEMA ing2 CASCADE;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
