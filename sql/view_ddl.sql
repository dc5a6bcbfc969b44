-- Proves every DDL form on a continuous view, its dependencies, and that transactions undo all of it.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
SELECT feed('ev_stream', series(50), 50);
-- what is left behind a view, and whether names and owners agree
CREATE FUNCTION objects() RETURNS TABLE (view text, views bigint, query_views bigint, states bigint) LANGUAGE sql AS
$$ SELECT (SELECT string_agg(v.view::text, ', ' ORDER BY v.view::text) FROM tidemark_state.view v), (SELECT count(*) FROM tidemark_state.view_stats),
          (SELECT count(*) FROM pg_class WHERE relnamespace = 'tidemark_state'::regnamespace AND relname ~ '^q_\d+$'),
          (SELECT count(*) FROM pg_class WHERE relnamespace = 'tidemark_state'::regnamespace AND relname ~ '^s_\d+$') $$;
\set SHOW_CONTEXT never
\set ECHO all

-- names: IF NOT EXISTS, column list, schema, quoting
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT k, count(*) AS n, sum(x) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW IF NOT EXISTS v WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW listed (a, "B c") WITH (tidemark.continuous) AS SELECT k, count(*), sum(x) FROM ev GROUP BY k;
CREATE SCHEMA "other Schema";
CREATE MATERIALIZED VIEW "other Schema"."V""w" ("A") WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
\d listed
SELECT * FROM listed ORDER BY a;
SELECT * FROM "other Schema"."V""w";
SELECT * FROM objects();
\d
-- the definition is the user's own query
SELECT regexp_replace(pg_get_viewdef(query_view), '\mev\.', '', 'g') AS definition FROM tidemark_state.view WHERE view = 'v'::regclass;

-- rename: view, columns; the definition follows
ALTER MATERIALIZED VIEW v RENAME TO w;
ALTER MATERIALIZED VIEW w RENAME COLUMN n TO m;
ALTER MATERIALIZED VIEW w RENAME sum TO total;
ALTER VIEW w RENAME COLUMN total TO "Total";
ALTER TABLE w RENAME TO v;
ALTER VIEW v RENAME TO w;
ALTER VIEW w RENAME COLUMN nothing TO x;
ALTER VIEW w RENAME COLUMN m TO k;
ALTER MATERIALIZED VIEW IF EXISTS nothing RENAME TO x;
ALTER MATERIALIZED VIEW nothing RENAME TO x;
ALTER VIEW w RENAME COLUMN k TO key;
SELECT regexp_replace(pg_get_viewdef(query_view), '\mev\.', '', 'g') AS definition FROM tidemark_state.view WHERE view = 'w'::regclass;
SELECT feed('ev_stream', series(5, 100), 2);
SELECT * FROM check_all();
-- index by the new name of a key, on the state table
CREATE INDEX ON w (key);
CREATE INDEX w_desc ON w (key DESC NULLS LAST) INCLUDE (key);
CREATE INDEX IF NOT EXISTS w_desc ON w (key);
CREATE INDEX CONCURRENTLY w_hash ON w USING hash (key);
SELECT regexp_replace(indexdef, 's_\d+', 's_n', 'g') AS indexdef FROM pg_indexes
 WHERE schemaname = 'tidemark_state' AND tablename = (SELECT relname FROM pg_class c, tidemark_state.view v WHERE v.view = 'w'::regclass AND c.oid = v.state_table) ORDER BY 1;
CREATE INDEX ON w (m);
CREATE INDEX ON w ("Total");
CREATE INDEX ON w (k);
CREATE INDEX ON w ((key + 1));
CREATE INDEX ON w (key) INCLUDE (m);
CREATE UNIQUE INDEX ON w (key);
CREATE INDEX ON w (key) WHERE key > 1;
CREATE INDEX ON w (key int4_ops) TABLESPACE pg_default;
CREATE INDEX ON w (key) TABLESPACE pg_global;
SELECT feed('ev_stream', series(5, 110), 2);
SELECT * FROM check_all();
DROP INDEX tidemark_state.w_desc;
REINDEX TABLE w;

-- columns of the source
ALTER TABLE ev RENAME COLUMN x TO x_new;
SELECT regexp_replace(pg_get_viewdef(query_view), '\mev\.', '', 'g') AS definition FROM tidemark_state.view WHERE view = 'w'::regclass;
ALTER FOREIGN TABLE ev_stream RENAME COLUMN x TO x_new;
ALTER FOREIGN TABLE ev_stream ALTER COLUMN x_new OPTIONS (field 'x');
ALTER TABLE ev RENAME TO events;
ALTER TABLE events ADD COLUMN extra text DEFAULT 'e';
SELECT feed('ev_stream', series(5, 120), 2);
SELECT * FROM check_all();
ALTER TABLE events DROP COLUMN x_new;
ALTER TABLE events ALTER COLUMN k TYPE bigint;
ALTER TABLE events DROP COLUMN f;
SELECT feed('ev_stream', series(5, 130), 5);
SELECT * FROM check_all();
ALTER TABLE events RENAME TO ev;

-- schema, comment, grant; options and other forms
ALTER MATERIALIZED VIEW w SET SCHEMA "other Schema";
ALTER VIEW "other Schema".w SET SCHEMA public;
COMMENT ON MATERIALIZED VIEW w IS 'counts';
COMMENT ON COLUMN w.key IS 'the key';
SELECT obj_description('w'::regclass), col_description('w'::regclass, 1);
CREATE ROLE regress_view_reader;
GRANT SELECT ON w TO regress_view_reader;
SET ROLE regress_view_reader;
SELECT count(*) FROM w;
SELECT count(*) FROM listed;
RESET ROLE;
REVOKE SELECT ON w FROM regress_view_reader;
DROP ROLE regress_view_reader;
ALTER MATERIALIZED VIEW w SET (tidemark.start_at = 'latest');
ALTER MATERIALIZED VIEW w RESET (tidemark.start_at);
ALTER MATERIALIZED VIEW w SET (fillfactor = 10);
ALTER VIEW w SET (security_barrier);
ALTER MATERIALIZED VIEW w SET TABLESPACE pg_default;
ALTER MATERIALIZED VIEW w CLUSTER ON nothing;
ALTER VIEW w ALTER COLUMN m SET DEFAULT 1;
ALTER MATERIALIZED VIEW IF EXISTS nothing SET (fillfactor = 10);
CREATE OR REPLACE VIEW w AS SELECT 1;
CREATE OR REPLACE VIEW "other Schema".w AS SELECT 1;
DROP VIEW "other Schema".w;
REFRESH MATERIALIZED VIEW w WITH NO DATA;
REFRESH MATERIALIZED VIEW nothing;
CREATE MATERIALIZED VIEW in_default (n) WITH (tidemark.continuous) TABLESPACE pg_default AS SELECT count(*) FROM ev WITH DATA;
CREATE MATERIALIZED VIEW nowhere WITH (tidemark.continuous) TABLESPACE nothing AS SELECT count(*) FROM ev;

-- drop: each form, dependants, several at once, mixed, parts of it
DROP TABLE w;
CREATE VIEW on_top AS SELECT * FROM w;
DROP MATERIALIZED VIEW w;
DROP MATERIALIZED VIEW w CASCADE;
DROP MATERIALIZED VIEW IF EXISTS w, listed;
CREATE MATERIALIZED VIEW ordinary AS SELECT 1 AS one;
DROP MATERIALIZED VIEW in_default, ordinary;
DROP MATERIALIZED VIEW ordinary;
DROP VIEW in_default;
DROP MATERIALIZED VIEW nothing;
SELECT * FROM objects();
DROP SCHEMA "other Schema" CASCADE;
SELECT * FROM objects();

-- what a view stands on: table, stream, schema, type, function, aggregate
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW vs WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev_stream GROUP BY k;
DROP TABLE ev;
DROP FOREIGN TABLE ev_stream;
BEGIN;
DROP TABLE ev CASCADE;
SELECT * FROM objects();
SELECT tidemark.inject('ev_stream', '{"k":1,"at":"2026-01-01T00:00:00Z"}') IS NOT NULL AS injected;
SELECT * FROM check_all();
ROLLBACK;
BEGIN;
DROP FOREIGN TABLE ev_stream CASCADE;
SELECT * FROM objects();
ROLLBACK;
BEGIN;
DROP SERVER m CASCADE;
SELECT * FROM objects();
ROLLBACK;
SELECT * FROM objects();
SELECT * FROM check_all();
CREATE SCHEMA sch;
CREATE TYPE sch.mood AS ENUM ('low', 'high');
CREATE FUNCTION sch.feel(bigint) RETURNS sch.mood LANGUAGE sql IMMUTABLE RETURN CASE WHEN $1 > 1 THEN 'high'::sch.mood ELSE 'low'::sch.mood END;
CREATE AGGREGATE sch.total(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, INITCOND = '0');
CREATE TABLE sch.labels (k int, label text);
CREATE MATERIALIZED VIEW f WITH (tidemark.continuous) AS SELECT sch.feel(k) AS mood, count(*), max(sch.feel(k)) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW a WITH (tidemark.continuous) AS SELECT sch.total(k) FROM ev;
CREATE MATERIALIZED VIEW l WITH (tidemark.continuous) AS SELECT label, count(*) FROM ev LEFT JOIN sch.labels USING (k) GROUP BY label;
CREATE MATERIALIZED VIEW sch.v WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
DROP FUNCTION sch.feel;
DROP AGGREGATE sch.total(bigint);
DROP TABLE sch.labels;
DROP TYPE sch.mood;
DROP SCHEMA sch;
-- renaming them changes nothing
ALTER TYPE sch.mood RENAME TO feeling;
ALTER TYPE sch.feeling RENAME VALUE 'low' TO 'bad';
ALTER FUNCTION sch.feel RENAME TO felt;
ALTER AGGREGATE sch.total(bigint) RENAME TO grand_total;
CREATE OR REPLACE FUNCTION sch.felt(bigint) RETURNS sch.feeling LANGUAGE sql IMMUTABLE RETURN CASE WHEN $1 > 1 THEN 'high'::sch.feeling ELSE 'bad'::sch.feeling END;
ALTER TABLE sch.labels RENAME TO names;
ALTER SCHEMA sch RENAME TO schema;
SELECT feed('ev_stream', series(9, 140), 3);
SELECT view, state, reason FROM tidemark.views WHERE state <> 'live';
SELECT * FROM check_all();
BEGIN;
DROP FUNCTION schema.felt CASCADE;
SELECT * FROM objects();
ROLLBACK;
BEGIN;
DROP TYPE schema.feeling CASCADE;
SELECT * FROM objects();
DROP AGGREGATE schema.grand_total(bigint) CASCADE;
DROP TABLE schema.names CASCADE;
SELECT * FROM objects();
ROLLBACK;
DROP SCHEMA schema CASCADE;
SELECT * FROM objects();

-- parts of a view
SELECT regexp_replace(query_view::text, '\d+', 'n') AS q, regexp_replace(state_table::text, '\d+', 'n') AS s FROM tidemark_state.view WHERE view = 'v'::regclass;
SELECT query_view AS q, state_table AS s FROM tidemark_state.view WHERE view = 'v'::regclass \gset
DROP VIEW :q CASCADE;
SELECT * FROM objects();
DROP TABLE :s CASCADE;
DROP EXTENSION tidemark;
SELECT * FROM objects();

-- transactions and savepoints
BEGIN;
CREATE MATERIALIZED VIEW t1 WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
SAVEPOINT s;
CREATE MATERIALIZED VIEW t2 WITH (tidemark.continuous) AS SELECT name, count(*) FROM ev GROUP BY name;
SELECT tidemark.inject('ev_stream', series(3, 200)) IS NOT NULL AS injected;
SELECT * FROM check_all();
ROLLBACK TO s;
SELECT tidemark.inject('ev_stream', series(3, 203)) IS NOT NULL AS injected;
SELECT * FROM check_all();
DROP MATERIALIZED VIEW t1;
ROLLBACK TO s;
SELECT * FROM check_all();
ALTER MATERIALIZED VIEW t1 RENAME TO t3;
SELECT tidemark.inject('ev_stream', series(3, 206)) IS NOT NULL AS injected;
CREATE MATERIALIZED VIEW broken WITH (tidemark.continuous) AS SELECT 1 / 0, count(*) FROM ev;
ROLLBACK TO s;
SELECT * FROM objects();
COMMIT;
SELECT * FROM check_all();
BEGIN;
DROP MATERIALIZED VIEW t1;
ROLLBACK;
SELECT tidemark.inject('ev_stream', series(3, 209)) IS NOT NULL AS injected;
SELECT * FROM check_all();

-- plpgsql runs one statement tree twice; a cached plan survives the view's DDL
CREATE FUNCTION twice() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 2 LOOP
        CREATE MATERIALIZED VIEW t4 WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
        ALTER MATERIALIZED VIEW t4 RENAME COLUMN k TO key;
        COMMENT ON MATERIALIZED VIEW t4 IS 'x';
        CREATE INDEX ON t4 (key);
        ALTER MATERIALIZED VIEW t4 RENAME TO t5;
        REFRESH MATERIALIZED VIEW t5;
        PERFORM tidemark.inject('ev_stream', series(2, 300 + i));
        RAISE NOTICE '% differences', (SELECT count(*) FROM check_view('t5'));
        DROP MATERIALIZED VIEW t5;
    END LOOP;
END $$;
SELECT twice();
SELECT twice();
PREPARE p AS SELECT sum(count) > 0 AS rows FROM t1;
EXECUTE p;
ALTER MATERIALIZED VIEW t1 RENAME TO t6;
EXECUTE p;
ALTER MATERIALIZED VIEW t6 RENAME TO t1;
EXECUTE p;
PREPARE c AS CREATE MATERIALIZED VIEW t7 WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
DO $$ DECLARE nn int := 1; BEGIN CREATE MATERIALIZED VIEW t7 WITH (tidemark.continuous) AS SELECT count(*) FROM ev WHERE k = nn; END $$;
DO $$ BEGIN EXECUTE 'CREATE MATERIALIZED VIEW t7 WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev WHERE k > ' || 5 || ' GROUP BY k'; END $$;
CREATE PROCEDURE make() LANGUAGE plpgsql AS $$ BEGIN CREATE MATERIALIZED VIEW t8 WITH (tidemark.continuous) AS SELECT count(*) FROM ev_stream; COMMIT; DROP VIEW t8; END $$;
CALL make();
SELECT * FROM check_all();
SELECT * FROM objects();

-- the expression of a generated column can be changed from 17 on: NULL stands for servers that cannot
CREATE FUNCTION set_expression(alter text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'ALTER TABLE ' || alter || ' SET EXPRESSION AS (a * 3)';
    RETURN 'done';
EXCEPTION
    WHEN syntax_error THEN RETURN NULL;
    WHEN feature_not_supported THEN RETURN SQLERRM;
END
$$;
CREATE FOREIGN TABLE gen_stream (a int) SERVER m OPTIONS (topic 'gen');
CREATE TABLE gen (a int, b int GENERATED ALWAYS AS (a * 2) STORED, c int GENERATED ALWAYS AS (a * 2) STORED) PARTITION BY LIST (a);
CREATE TABLE gen_1 PARTITION OF gen DEFAULT;
CREATE TABLE joined (a int, b int GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO joined VALUES (1);
SELECT tidemark.start_ingest('gen_stream', into_table => 'gen');
CREATE MATERIALIZED VIEW g WITH (tidemark.continuous) AS SELECT gen.b, joined.b IS NOT NULL AS j, count(*), sum(gen.b) FROM gen LEFT JOIN joined USING (a) GROUP BY 1, 2;
SELECT tidemark.inject('gen_stream', ARRAY['{"a":1}', '{"a":2}']);
SELECT altered, coalesce(set_expression(altered) <> 'cannot change the expression of column "b" of "' || split_part(altered, ' ', 1) || '" because a continuous view reads it', false) AS wrong
  FROM (VALUES ('gen ALTER b'), ('gen_1 ALTER b'), ('gen ADD COLUMN d int, ALTER b')) a(altered);
SELECT altered, coalesce(set_expression(altered) <> 'done', false) AS wrong FROM (VALUES ('gen ALTER c'), ('joined ALTER b')) a(altered);
SELECT * FROM check_view('g');
-- without its expression it is a column like others
ALTER TABLE gen ALTER b DROP EXPRESSION;
SELECT tidemark.inject('gen_stream', ARRAY['{"a":1}', '{"a":3}']);
SELECT * FROM g ORDER BY b;
SELECT * FROM check_view('g');
DROP MATERIALIZED VIEW g;
SELECT coalesce(set_expression('gen ALTER c') <> 'done', false) AS wrong;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, gen, joined CASCADE;
DROP FUNCTION check_view, check_all, feed, series, twice, objects, set_expression;
DROP PROCEDURE make;
DROP MATERIALIZED VIEW IF EXISTS ordinary;
