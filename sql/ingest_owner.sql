-- Proves as whom an ingest reads, stores and aggregates, and who may call what.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE ROLE regress_ing_stream;
CREATE ROLE regress_ing_table;
CREATE ROLE regress_ing_both IN ROLE regress_ing_stream, regress_ing_table;
CREATE ROLE regress_ing_reader;
CREATE ROLE regress_ing_monitor IN ROLE pg_monitor;
GRANT ALL ON SCHEMA ing TO regress_ing_stream, regress_ing_table, regress_ing_reader;
GRANT USAGE ON FOREIGN SERVER m TO regress_ing_stream;
GRANT USAGE ON SCHEMA ing TO regress_ing_monitor;
CREATE TABLE who (at text, name text);
GRANT INSERT ON who TO PUBLIC;
SET ROLE regress_ing_stream;
-- decode: a domain of the stream tells as whom it runs
CREATE FUNCTION noticed(what text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ing.who VALUES (what, current_user); RETURN true; END $$;
CREATE DOMAIN witness AS int CHECK (ing.noticed('decode'));
CREATE FOREIGN TABLE s (id witness, k text) SERVER m OPTIONS (topic 't', max_error_ratio '1');
RESET ROLE;
SET ROLE regress_ing_table;
CREATE FUNCTION in_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ing.who VALUES ('trigger', current_user); RETURN new; END $$;
CREATE TABLE t (id int CHECK (ing.noticed('constraint')), k text CHECK (k <> 'no'), d text DEFAULT current_user);
CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION in_trigger();
RESET ROLE;

-- start: member of both owners
SET ROLE regress_ing_reader;
SELECT refused($$ SELECT tidemark.start_ingest('s') $$);
SET ROLE regress_ing_table;
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 't') $$);
SET ROLE regress_ing_stream;
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 't') $$);
SET ROLE regress_ing_both;
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT tidemark.inject('s', ARRAY['{"id":1,"k":"a"}', '{"id":2,"k":"no"}', 'bad']);
RESET ROLE;
SELECT DISTINCT * FROM who ORDER BY 1, 2;
TABLE t;
SELECT c.relowner::regrole, c.relname ~ '^dead_' AS dead, c.relname ~ '^log_' AS log FROM pg_class c, tidemark_state.stream s WHERE c.oid IN (s.dead_letters, s.log) ORDER BY 2;

-- the other functions: the stream's owner
SET ROLE regress_ing_reader;
SELECT refused(c) FROM unnest(ARRAY[$$ SELECT tidemark.alter_ingest('s', workers => 2) $$, $$ SELECT tidemark.drop_ingest('s') $$, $$ SELECT tidemark.drop_ingest('s', true) $$,
  $$ SELECT tidemark.pause('s') $$, $$ SELECT tidemark.resume('s') $$, $$ SELECT tidemark.reset_ingest('s', 'latest') $$,
  $$ SELECT tidemark.inject('s', '{}') $$, $$ SELECT tidemark.wait_for('s', 0, 0) $$, $$ SELECT tidemark.wait_caught_up('s') $$,
  $$ SELECT * FROM ing.s $$]) c;
SET ROLE regress_ing_table;
SELECT refused(c) FROM unnest(ARRAY[$$ SELECT tidemark.alter_ingest('s', workers => 2) $$, $$ SELECT tidemark.drop_ingest('s') $$, $$ SELECT tidemark.pause('s') $$]) c;
SET ROLE regress_ing_stream;
SELECT tidemark.pause('s');
SELECT reason FROM tidemark.ingests;
SELECT tidemark.reset_ingest('s', 'latest');
SELECT tidemark.resume('s');
RESET ROLE;
-- a superuser may all
SELECT tidemark.alter_ingest('s', workers => 2);

-- views: SELECT on the stream and USAGE on its server; only the stream's owner may start an ingest
CREATE FOREIGN TABLE idle (id int) SERVER m OPTIONS (topic 'idle');
GRANT SELECT ON s, idle TO regress_ing_reader;
SET ROLE regress_ing_reader;
SELECT refused($$ CREATE MATERIALIZED VIEW rv WITH (tidemark.continuous) AS SELECT k, count(*) FROM s GROUP BY k $$);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER m TO regress_ing_reader;
SET ROLE regress_ing_reader;
CREATE MATERIALIZED VIEW rv WITH (tidemark.continuous) AS SELECT k, count(*) FROM s GROUP BY k;
SELECT refused($$ CREATE MATERIALIZED VIEW ri WITH (tidemark.continuous) AS SELECT count(*) FROM idle $$);
SELECT tidemark.pause('rv');
SELECT tidemark.resume('rv');
SET ROLE regress_ing_both;
SELECT refused($$ SELECT tidemark.pause('rv') $$);
SELECT refused($$ SELECT tidemark.resume('rv') $$);
SELECT tidemark.inject('s', '{"id":3,"k":"a"}');
SELECT refused($$ SELECT tidemark.drop_ingest('s') $$);
RESET ROLE;
SELECT differ('rv');

-- who sees what
SET ROLE regress_ing_monitor;
SELECT stream FROM tidemark.ingests;
SELECT kafka_offset FROM tidemark.dead_letters;
SELECT refused(format('SELECT * FROM %s', (SELECT log FROM tidemark_state.stream)));
SET ROLE regress_ing_reader;
SELECT stage, message FROM tidemark.dead_letters;
DELETE FROM tidemark.dead_letters;
SET ROLE regress_ing_stream;
DELETE FROM tidemark.dead_letters WHERE stage = 'table';
SELECT stage FROM tidemark.dead_letters;
RESET ROLE;

-- nobody writes the catalog
SET ROLE regress_ing_stream;
SELECT refused(c) FROM unnest(ARRAY['UPDATE tidemark_state.ingest SET workers = 1', 'DELETE FROM tidemark_state.partition',
  'INSERT INTO tidemark_state.stream (stream) VALUES (1)', 'SELECT tidemark_state.on_drop()']) c;
RESET ROLE;

-- other owners take effect at the next batch
TRUNCATE who;
ALTER TABLE t OWNER TO regress_ing_both;
ALTER FOREIGN TABLE s OWNER TO regress_ing_reader;
SELECT tidemark.inject('s', ARRAY['{"id":4,"k":"a"}', 'bad']);
SELECT DISTINCT * FROM who ORDER BY 1, 2;
SELECT d FROM t WHERE id = 4;
SELECT DISTINCT c.relowner::regrole FROM pg_class c, tidemark_state.stream s WHERE c.oid IN (s.dead_letters, s.log);
-- a table whose owner may not insert any more
REVOKE INSERT ON t FROM regress_ing_both;
SELECT refused($$ SELECT tidemark.inject('s', '{"id":5}') $$);
GRANT INSERT ON t TO regress_ing_both;
SELECT tidemark.inject('s', '{"id":5}');
SELECT differ('rv');

-- tables of the stream that its owner has changed: errors, not what bytes would mean in another type
SELECT dead_letters AS dead, log FROM tidemark_state.stream WHERE stream = 's'::regclass \gset
SET ROLE regress_ing_reader;
ALTER TABLE :log ADD COLUMN more text DEFAULT repeat('A', 400);
SELECT refused($$ SELECT count(*) FROM s $$);
SELECT refused($$ SELECT tidemark.inject('s', '{"id":6}') $$);
ALTER TABLE :log DROP COLUMN more;
SELECT refused($$ SELECT tidemark.inject('s', '{"id":6}') $$);
SELECT count(*) FROM s;
ALTER TABLE :dead ALTER COLUMN key TYPE float8 USING 4e15;
SELECT refused($$ SELECT * FROM tidemark.dead_letters $$);
SELECT refused($$ SELECT * FROM tidemark.replay_dead_letters('s') $$);
ALTER TABLE :dead ALTER COLUMN key TYPE bytea USING NULL, ALTER COLUMN partition TYPE bigint, ALTER COLUMN message TYPE varchar(1000);
SELECT partition, key, value, message FROM tidemark.dead_letters;
RESET ROLE;

SET client_min_messages = warning;
DROP MATERIALIZED VIEW rv;
DROP FOREIGN TABLE s, idle;
DROP TABLE t CASCADE;
DROP DOMAIN witness;
DROP OWNED BY regress_ing_stream, regress_ing_table, regress_ing_both, regress_ing_reader, regress_ing_monitor;
DROP ROLE regress_ing_stream, regress_ing_table, regress_ing_both, regress_ing_reader, regress_ing_monitor;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
