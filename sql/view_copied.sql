-- Proves that a copy of a database (a restore, a template) guards nothing until it is resumed, and then all again, in whatever order that is done; and that publications of all tables and a replica's session do no harm.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
\set SHOW_CONTEXT never
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE detail text; hint text;
BEGIN
    EXECUTE statement;
    RAISE SQLSTATE 'ZZ000';
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN RETURN 'accepted';
WHEN others THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END
$$;
-- what a dump brings into another cluster (ALTER: whoever knows the rows reads them again)
CREATE PROCEDURE become_a_copy() LANGUAGE sql AS
$$
    UPDATE tidemark_state.ingest SET system_identifier = 1;
    UPDATE tidemark_state.view SET system_identifier = 1;
    UPDATE tidemark_state.partitioning SET system_identifier = 1;
    ALTER TABLE tidemark_state.view SET (fillfactor = 100);
$$;
CREATE TABLE parted (k int, x bigint, at timestamptz) PARTITION BY RANGE (at);
SELECT count(*) FROM tidemark.partition_by_time('parted', '1 day', 1);
CREATE FOREIGN TABLE parted_stream (k int, x bigint, at timestamptz) SERVER m OPTIONS (topic 'parted', event_time 'at', max_error_ratio '1');
SELECT tidemark.start_ingest('parted_stream', into_table => 'parted');
\set ECHO all
CREATE MATERIALIZED VIEW of_table WITH (tidemark.continuous) AS SELECT k, count(*), sum(x) FROM parted GROUP BY k;
CREATE MATERIALIZED VIEW of_stream WITH (tidemark.continuous, tidemark.allowed_lateness = '1 min', tidemark.late = 'table') AS SELECT window_start, count(*) FROM parted_stream, tidemark.tumble(at, '1 h') GROUP BY 1;
SELECT tidemark.inject('parted_stream', ARRAY[format('{"k":1,"x":2,"at":"%s"}', now()), 'bad']) IS NOT NULL AS injected;

-- paused and resumed, or reset and resumed: as if resumed alone
CALL become_a_copy();
SELECT tidemark.pause('parted_stream');
SELECT state, reason FROM tidemark.ingests WHERE stream = 'parted_stream'::regclass;
SELECT tidemark.resume('parted_stream');
SELECT state, reason FROM tidemark.ingests WHERE stream = 'parted_stream'::regclass;
SELECT view, state, reason FROM tidemark.views ORDER BY view::text;
SELECT state, reason FROM tidemark.partitioned_tables;
SELECT refused('INSERT INTO parted VALUES (1, 1, now())');
SELECT refused('DELETE FROM of_stream');
CALL become_a_copy();
SELECT tidemark.reset_ingest('parted_stream', 'latest');
SELECT state, reason FROM tidemark.ingests WHERE stream = 'parted_stream'::regclass;
SELECT tidemark.resume('parted_stream');
SELECT refused('INSERT INTO parted VALUES (1, 1, now())');
ALTER MATERIALIZED VIEW of_stream SET (tidemark.retention = '1 day');
SELECT state, reason FROM tidemark.partitioned_tables;
SELECT tidemark.inject('parted_stream', ARRAY[format('{"k":1,"x":3,"at":"%s"}', now())]) IS NOT NULL AS injected;
SELECT view, problem FROM tidemark.views, tidemark.verify(view);

-- a view over a table that no ingest fills has its own resume(), and is computed from the rows that the table has by then
CREATE TABLE alone (k int, at timestamptz) PARTITION BY RANGE (at);
SELECT count(*) FROM tidemark.partition_by_time('alone', '1 day', 1);
INSERT INTO alone VALUES (1, now());
CREATE MATERIALIZED VIEW of_alone WITH (tidemark.continuous) AS SELECT k, count(*) FROM alone GROUP BY k;
CREATE MATERIALIZED VIEW of_alone2 WITH (tidemark.continuous) AS SELECT count(*) FROM alone;
CREATE FOREIGN TABLE alone_stream (k int, at timestamptz) SERVER m OPTIONS (topic 'alone');
CALL become_a_copy();
SELECT view, state, reason, hint FROM tidemark.views WHERE source = 'alone'::regclass ORDER BY view::text;
INSERT INTO alone VALUES (1, now()), (2, now());
SELECT refused($$ SELECT tidemark.start_ingest('alone_stream', into_table => 'alone', start_at => 'latest') $$);
SELECT tidemark.resume('of_alone');
SELECT state, reason FROM tidemark.partitioned_tables WHERE parent = 'alone'::regclass;
SELECT refused($$ SELECT tidemark.start_ingest('alone_stream', into_table => 'alone', start_at => 'latest') $$);
REFRESH MATERIALIZED VIEW of_alone2;
SELECT view, state, reason FROM tidemark.views WHERE source = 'alone'::regclass ORDER BY view::text;
SELECT view, problem FROM tidemark.views, tidemark.verify(view) WHERE source = 'alone'::regclass;
SELECT refused('INSERT INTO alone VALUES (1, now())');
SELECT tidemark.start_ingest('alone_stream', into_table => 'alone', start_at => 'latest');
SELECT tidemark.inject('alone_stream', ARRAY[format('{"k":2,"at":"%s"}', now())]) IS NOT NULL AS injected;
TABLE of_alone ORDER BY k;
SELECT tidemark.resume(stream) FROM tidemark.ingests WHERE state = 'paused';

-- a publication of all tables: what has no key is written all the same
SET client_min_messages = error;
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
SELECT tidemark.inject('parted_stream', ARRAY[format('{"k":1,"x":4,"at":"%s"}', now()), 'bad']) IS NOT NULL AS injected;
SELECT * FROM tidemark.replay_dead_letters('parted_stream');
DELETE FROM tidemark.dead_letters WHERE kafka_offset = 1;
SELECT tidemark.pause('of_table'), tidemark.pause('of_stream');
SELECT tidemark.resume('of_table'), tidemark.resume('of_stream');
REFRESH MATERIALIZED VIEW of_alone;
SELECT view, problem FROM tidemark.views, tidemark.verify(view);
DROP MATERIALIZED VIEW of_alone2;
DROP PUBLICATION everything;

-- a session that plays a replica: what is dropped there leaves nothing behind
SET session_replication_role = replica;
DROP MATERIALIZED VIEW of_stream;
DROP FOREIGN TABLE alone_stream;
RESET session_replication_role;
SELECT view, state FROM tidemark.views ORDER BY view::text;
SELECT stream FROM tidemark.ingests ORDER BY stream::text;
\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE ev, parted, alone;
DROP PROCEDURE become_a_copy;
DROP FUNCTION check_view, check_all, feed, series, refused;
