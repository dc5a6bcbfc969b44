-- Raw rows in unlogged tables: refused, unless the stream has an option that
-- says what is lost.
\set ON_ERROR_STOP 0
SET timezone = 'UTC';
CREATE EXTENSION tidemark;
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FUNCTION refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, detail, hint);
END
$$;

SELECT refused($$ CREATE FOREIGN TABLE s (id int, k text) SERVER m OPTIONS (topic 't', unlogged_table 'yes') $$);
CREATE FOREIGN TABLE s (id int, k text) SERVER m OPTIONS (topic 't', unlogged_table 'refuse');
CREATE UNLOGGED TABLE u (id int, k text);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 'u') $$);
ALTER FOREIGN TABLE s OPTIONS (SET unlogged_table 'lose_rows_on_crash');
CREATE TEMP TABLE t (id int, k text);
SELECT refused($$ SELECT tidemark.start_ingest('s', into_table => 't') $$);

-- allowed, and a view over the stream beside it
SELECT tidemark.start_ingest('s', into_table => 'u');
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT k, count(*) FROM s GROUP BY k;
SELECT tidemark.inject('s', ARRAY['{"id": 1, "k": "a"}', '{"id": 2, "k": "a"}', '{"id": 3, "k": "b"}']);
SELECT * FROM u ORDER BY id;
SELECT * FROM v ORDER BY k;

-- a view over the table would keep what a crash takes from it
SELECT refused($$ CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT k, count(*) FROM u GROUP BY k $$);
ALTER TABLE u SET LOGGED;
CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT k, count(*) FROM u GROUP BY k;
SELECT refused($$ ALTER TABLE u SET UNLOGGED $$);
DROP MATERIALIZED VIEW v, w;
SELECT tidemark.drop_ingest('s');
TRUNCATE u;
CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT k, count(*) FROM u GROUP BY k;
SELECT refused($$ ALTER TABLE u SET UNLOGGED $$);
DROP MATERIALIZED VIEW w;

-- table partitions
CREATE TABLE p (id int, k text) PARTITION BY LIST (k);
CREATE TABLE pa PARTITION OF p FOR VALUES IN ('a');
CREATE UNLOGGED TABLE pb PARTITION OF p FOR VALUES IN ('b');
SELECT tidemark.start_ingest('s', into_table => 'p', start_at => 'latest');
CREATE UNLOGGED TABLE pc PARTITION OF p FOR VALUES IN ('c');
SELECT tidemark.inject('s', ARRAY['{"id": 4, "k": "a"}', '{"id": 5, "k": "b"}', '{"id": 6, "k": "c"}']);
SELECT tableoid::regclass, * FROM p ORDER BY id;
SELECT refused($$ CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT k, count(*) FROM p GROUP BY k $$);
ALTER TABLE pb SET LOGGED;
ALTER TABLE pc SET LOGGED;
CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT k, count(*) FROM p GROUP BY k;
SELECT tidemark.inject('s', '{"id": 7, "k": "b"}');
SELECT refused($$ ALTER TABLE pb SET UNLOGGED $$);
SELECT refused($$ CREATE UNLOGGED TABLE pd PARTITION OF p FOR VALUES IN ('d') $$);
SELECT * FROM tidemark.verify('w');
DROP MATERIALIZED VIEW w;

-- without the option the next batch is refused, and nothing else
ALTER TABLE pb SET UNLOGGED;
ALTER FOREIGN TABLE s OPTIONS (DROP unlogged_table);
SELECT refused($$ SELECT tidemark.inject('s', ARRAY['{"id": 8, "k": "b"}']) $$);
ALTER TABLE pb SET LOGGED;
SELECT tidemark.inject('s', ARRAY['{"id": 8, "k": "b"}']);
SELECT count(*) FROM p;

DROP FUNCTION refused;
SELECT tidemark.drop_ingest('s');
DROP TABLE p, u, t;
DROP FOREIGN TABLE s;
DROP SERVER m;
DROP EXTENSION tidemark;
