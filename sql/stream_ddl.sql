-- Proves that streams live with every DDL and every use that foreign tables know, or say why not.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

-- made in every way
CREATE FOREIGN TABLE s (id int, k text) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE IF NOT EXISTS s (id int) SERVER m OPTIONS (topic 'u', format 'raw');
SELECT refused($$ CREATE FOREIGN TABLE s (id int) SERVER m OPTIONS (topic 't') $$);
CREATE FOREIGN TABLE nothing () SERVER m OPTIONS (topic 't');
CREATE TABLE parent (id int);
CREATE FOREIGN TABLE child (k text) INHERITS (parent) SERVER m OPTIONS (topic 't');
CREATE TABLE parts (id int, k text) PARTITION BY LIST (id);
CREATE FOREIGN TABLE part PARTITION OF parts FOR VALUES IN (1) SERVER m OPTIONS (topic 't');
SELECT refused($$ CREATE FOREIGN TABLE g (id int, j int GENERATED ALWAYS AS (id + 1) STORED) SERVER m OPTIONS (topic 't') $$);
SELECT refused($$ CREATE FOREIGN TABLE d (id int DEFAULT 5, k text CHECK (k <> '')) SERVER m OPTIONS (topic 't') $$);
SELECT refused($$ CREATE FOREIGN TABLE x (id int, k text COLLATE "C", n numeric(3)) SERVER m OPTIONS (topic 't') $$);
SELECT refused($$ IMPORT FOREIGN SCHEMA anything FROM SERVER m INTO ing $$);
SELECT refused($$ CREATE TABLE l (LIKE s INCLUDING ALL) $$);

-- used in every way
SELECT tidemark.inject('s', ARRAY['{"id":1,"k":"a"}', '{"id":2,"k":"b"}']);
SELECT refused(c) FROM unnest(ARRAY['INSERT INTO s VALUES (1)', 'UPDATE s SET id = 1', 'DELETE FROM s', 'TRUNCATE s', 'COPY s FROM PROGRAM ''true''',
  'SELECT * FROM s FOR UPDATE', 'CREATE INDEX ON s (id)', 'ANALYZE s', 'VACUUM s', 'LOCK TABLE s', 'CLUSTER s', 'SELECT ctid FROM s', 'SELECT s, tableoid::regclass FROM s',
  'ALTER FOREIGN TABLE s ADD PRIMARY KEY (id)', 'ALTER FOREIGN TABLE s ALTER id SET STATISTICS 5', 'COPY (SELECT * FROM s) TO PROGRAM ''cat >/dev/null''']) c;
SELECT s, s.tableoid::regclass FROM s ORDER BY id;
SELECT a.id, b.k FROM s a JOIN s b USING (id) ORDER BY 1;
SELECT (SELECT count(*) FROM s b WHERE b.id <= a.id) FROM s a ORDER BY 1;
PREPARE q AS SELECT count(*) FROM s WHERE id >= $1;
EXECUTE q(2);
SELECT tidemark.inject('s', '{"id":3,"k":"c"}');
EXECUTE q(2);
ALTER FOREIGN TABLE s ALTER id OPTIONS (ADD field 'ID');
EXECUTE q(2);
ALTER FOREIGN TABLE s ALTER id OPTIONS (DROP field);
EXECUTE q(2);
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM s;
FETCH 1 FROM c;
SELECT tidemark.inject('s', '{"id":4}');
FETCH ALL FROM c;
ROLLBACK;
SELECT count(*) FROM s TABLESAMPLE SYSTEM (100);
CREATE VIEW over_s AS SELECT id FROM s;
SELECT count(*) FROM over_s;
SELECT refused($$ ALTER FOREIGN TABLE s DROP COLUMN id $$);
DROP VIEW over_s;

-- altered in every way, without and with an ingest
CREATE FUNCTION alter_all() RETURNS SETOF text LANGUAGE sql AS $$
SELECT c || ' -> ' || refused(c) FROM unnest(ARRAY[
  'ALTER FOREIGN TABLE IF EXISTS nobody ADD COLUMN z int',
  'ALTER FOREIGN TABLE nobody ADD COLUMN z int',
  'ALTER FOREIGN TABLE s ADD COLUMN z int NOT NULL',
  'ALTER FOREIGN TABLE s DROP COLUMN z',
  'ALTER FOREIGN TABLE s DROP COLUMN IF EXISTS z',
  'ALTER FOREIGN TABLE s ADD COLUMN z int OPTIONS (metadata ''nonsense'')',
  'ALTER FOREIGN TABLE s ADD COLUMN z text OPTIONS (metadata ''partition'')',
  'ALTER FOREIGN TABLE s ADD COLUMN z int OPTIONS (field ''/a/b''), ADD COLUMN y int',
  'ALTER FOREIGN TABLE s DROP COLUMN z, DROP COLUMN y',
  'ALTER FOREIGN TABLE s ALTER k TYPE varchar(1)',
  'ALTER FOREIGN TABLE s ALTER k TYPE text',
  'ALTER FOREIGN TABLE s ALTER k SET DEFAULT ''x''',
  'ALTER FOREIGN TABLE s ALTER k DROP DEFAULT',
  'ALTER FOREIGN TABLE s ADD CHECK (id > 0)',
  'ALTER FOREIGN TABLE s DROP CONSTRAINT s_id_check',
  'ALTER FOREIGN TABLE s INHERIT parent',
  'ALTER FOREIGN TABLE s NO INHERIT parent',
  'ALTER TABLE s OPTIONS (ADD batch_max_delay ''5 ms'')',
  'ALTER TABLE s OPTIONS (DROP batch_max_delay)',
  'ALTER FOREIGN TABLE s OPTIONS (DROP topic)',
  'ALTER FOREIGN TABLE s SET WITH OIDS',
  'ALTER FOREIGN TABLE s SET WITHOUT OIDS',
  'COMMENT ON FOREIGN TABLE s IS ''messages''',
  'ALTER FOREIGN TABLE s SET SCHEMA public',
  'ALTER FOREIGN TABLE public.s SET SCHEMA ing',
  'ALTER SERVER m RENAME TO mm',
  'ALTER SERVER mm RENAME TO m',
  'ALTER SERVER m OPTIONS (SET transport ''kafka'')',
  'ALTER SERVER m OPTIONS (SET transport ''kafka'', ADD bootstrap_servers ''localhost:1'')',
  'ALTER SCHEMA ing RENAME TO ing3',
  'ALTER SCHEMA ing3 RENAME TO ing']) c $$;
SELECT alter_all();
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'm';
ALTER SERVER m OPTIONS (SET transport 'manual', DROP bootstrap_servers);
CREATE TABLE t (id int);
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT alter_all();
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'm';
SELECT tidemark.inject('s', '{"id":5,"k":"e"}');
SELECT * FROM t ORDER BY id;
SELECT count(*) FROM s;

-- all of it inside a function
CREATE FUNCTION in_function() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE o bigint;
BEGIN
  CREATE FOREIGN TABLE tf (id int) SERVER m OPTIONS (topic 'tf');
  PERFORM tidemark.start_ingest('tf');
  o := tidemark.inject('tf', '{"id":1}');
  ALTER FOREIGN TABLE tf ADD COLUMN k text;
  o := tidemark.inject('tf', '{"id":1,"k":"x"}');
  PERFORM tidemark.drop_ingest('tf');
  DROP FOREIGN TABLE tf;
  RETURN o;
END $$;
SELECT in_function(), in_function();

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
