-- Proves that the tables behind a view of closed windows cannot be changed by their owner, and what its query may not have.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE ROLE close_guard;
GRANT ALL ON SCHEMA ing TO close_guard;
CREATE FOREIGN TABLE s (k text, at timestamptz) SERVER m OPTIONS (topic 't', event_time 'at');
SELECT tidemark.start_ingest('s');
GRANT SELECT ON s TO close_guard;
GRANT USAGE ON FOREIGN SERVER m TO close_guard;
SET ROLE close_guard;
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final, revisions', tidemark.late = 'table') AS
  SELECT window_start, k, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
RESET ROLE;
SELECT tidemark.inject('s', ARRAY['{"k":"a","at":"2026-01-01T00:00:00Z"}', '{"k":"a","at":"2026-01-01T00:00:20Z"}', '{"k":"a","at":"2026-01-01T00:00:01Z"}']);

-- as the owner, who may do nothing of it
SET ROLE close_guard;
SELECT relation, statement, refused(replace(statement, '@', 'tidemark_state.' || relation)) FROM
  unnest(ARRAY['s_1', 'f_1', 'l_1']) relation,
  unnest(ARRAY['DELETE FROM @', 'COPY @ FROM ''/dev/null''', 'MERGE INTO @ USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE',
               'WITH d AS (DELETE FROM @ RETURNING 1) SELECT * FROM d', 'TRUNCATE @', 'DROP TABLE @', 'ALTER TABLE @ ENABLE ROW LEVEL SECURITY',
               'CREATE RULE r AS ON INSERT TO @ DO INSTEAD NOTHING', 'CREATE TABLE child () INHERITS (@)',
               'CREATE TRIGGER t AFTER DELETE ON @ EXECUTE FUNCTION nothing()']) statement;
RESET ROLE;
CREATE TABLE child (LIKE tidemark_state.f_1);
SELECT refused('ALTER TABLE child INHERIT tidemark_state.f_1');
-- nor do foreign keys lead there
SET ROLE close_guard;
CREATE UNIQUE INDEX ON v (window_start, k, revision);
SELECT refused('CREATE TABLE refers (w timestamptz, k text, r int, FOREIGN KEY (w, k, r) REFERENCES tidemark_state.f_1 (window_start, k, revision))');
RESET ROLE;
-- a trigger of the view cannot either
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE WARNING '%', ing.refused('DELETE FROM tidemark_state.s_1');
  RAISE WARNING '%', ing.refused('INSERT INTO tidemark_state.f_1 SELECT * FROM tidemark_state.f_1');
  RAISE WARNING '%', ing.refused('DELETE FROM tidemark_state.l_1');
  RAISE WARNING '%', ing.refused('SET ROLE postgres');
  RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER INSERT ON v FOR EACH STATEMENT EXECUTE FUNCTION meddle();
SELECT tidemark.inject('s', '{"k":"a","at":"2026-01-01T00:00:40Z"}');
SELECT count(*) FROM v;
SELECT state FROM tidemark.views;
SELECT * FROM tidemark.verify('v');

-- what has been emitted cannot be taken back
\set VERBOSITY default
CREATE MATERIALIZED VIEW few WITH (tidemark.continuous, tidemark.emit = 'final, revisions') AS
  SELECT window_start, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start HAVING count(*) < 3;
CREATE MATERIALIZED VIEW few WITH (tidemark.continuous, tidemark.emit = 'final') AS
  SELECT window_start, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start HAVING count(*) < 3;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
DROP OWNED BY close_guard;
DROP ROLE close_guard;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
