-- Proves that a process keeps nothing about views that are gone, whatever way they went, and goes on with those that are not.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
CREATE FUNCTION keep() RETURNS void LANGUAGE sql AS $$ SELECT FROM tidemark.inject('ev_stream', '{"k":1,"x":1,"at":"2026-01-01T00:00:00Z"}') $$;
CREATE FUNCTION make(name text, columns text DEFAULT '') RETURNS void LANGUAGE plpgsql AS
$$ BEGIN EXECUTE format('CREATE MATERIALIZED VIEW %s WITH (tidemark.continuous) AS SELECT k, count(*) AS n, avg(n)%s FROM ev GROUP BY k', name, columns); END $$;
-- memory contexts of this session that belong to views
CREATE VIEW kept AS SELECT name, count(*) FROM pg_backend_memory_contexts
 WHERE name IN ('tidemark view', 'tidemark shape', 'tidemark partial plan', 'tidemark pass', 'tidemark merge group', 'tidemark aggregate scratch') GROUP BY name;
\set SHOW_CONTEXT never
\set ECHO all
SELECT FROM make('stays');
SELECT FROM keep();
SELECT FROM keep();
CREATE TABLE kept_before AS TABLE kept;
SELECT name FROM kept_before WHERE name IN ('tidemark view', 'tidemark shape') ORDER BY 1;
-- twenty views, fed and dropped; some of one shape, some of others
DO $$
BEGIN
    FOR i IN 1 .. 20 LOOP
        PERFORM make('v' || i, CASE WHEN i % 2 = 0 THEN ', sum(x)' END);
        IF i % 3 = 0 THEN
            EXECUTE format('CREATE MATERIALIZED VIEW w%s WITH (tidemark.continuous) AS SELECT x + %s, count(*) FROM ev GROUP BY 1', i, i);
        END IF;
        PERFORM keep();
        COMMIT;
        IF i % 4 = 0 THEN
            EXECUTE format('DROP MATERIALIZED VIEW v%s, v%s, v%s, v%s', i, i - 1, i - 2, i - 3);
            COMMIT;
        END IF;
    END LOOP;
END
$$;
SELECT count > 3 AS many FROM kept WHERE name = 'tidemark view';
SELECT * FROM check_all();
DROP MATERIALIZED VIEW w3, w6, w9, w12, w15, w18;
SELECT FROM keep();
TABLE kept EXCEPT TABLE kept_before;
TABLE kept_before EXCEPT TABLE kept;
-- a transaction that creates and drops, one that is undone, and a savepoint
BEGIN;
SELECT FROM make('brief');
SELECT FROM keep();
DROP MATERIALIZED VIEW brief;
SELECT FROM keep();
COMMIT;
BEGIN;
SELECT FROM make('undone');
SELECT FROM keep();
ROLLBACK;
SELECT FROM make('dropped_twice', ', max(x)');
SELECT FROM keep();
BEGIN;
DROP MATERIALIZED VIEW dropped_twice;
SELECT FROM keep();
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT FROM keep();
DROP MATERIALIZED VIEW dropped_twice;
SELECT FROM keep();
ROLLBACK TO s;
SELECT FROM keep();
COMMIT;
TABLE dropped_twice;
SELECT * FROM check_all();
DROP MATERIALIZED VIEW dropped_twice;
SELECT FROM keep();
TABLE kept EXCEPT TABLE kept_before;
TABLE kept_before EXCEPT TABLE kept;
-- the last one
DROP MATERIALIZED VIEW stays;
SELECT FROM keep();
TABLE kept;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP VIEW kept;
DROP TABLE ev, kept_before CASCADE;
DROP FUNCTION check_view, check_all, feed, series, keep, make;
