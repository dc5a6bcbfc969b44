-- Proves that raw rows may be removed from the table of a view and never change it, that what was removed is known to resume(), REFRESH, pause() and verify(), and that no rows come in by ATTACH.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set VERBOSITY default
\set ECHO all
CREATE FOREIGN TABLE s (id int, at timestamptz, k text) SERVER m OPTIONS (topic 't', event_time 'at');
CREATE TABLE t (LIKE s) PARTITION BY RANGE (at);
CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-01-02');
CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM ('2026-01-03') TO ('2026-01-04') PARTITION BY LIST (k);
CREATE TABLE t_3a PARTITION OF t_3 FOR VALUES IN ('a');
CREATE TABLE t_3b PARTITION OF t_3 DEFAULT;
CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM ('2026-01-04') TO (MAXVALUE);
CREATE TABLE t_default PARTITION OF t DEFAULT;
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE FUNCTION removed() RETURNS TABLE (view regclass, from_time timestamptz, to_time timestamptz) LANGUAGE sql AS
$$ SELECT v.view, r.from_time, r.to_time FROM tidemark_state.removed_range r JOIN tidemark_state.view v USING (state_table) ORDER BY v.view::text, 2 $$;
CREATE FUNCTION send(first int, n int) RETURNS boolean LANGUAGE sql AS
$$ SELECT tidemark.inject('s', array_agg(json_build_object('id', i, 'at', timestamptz '2025-12-31 23:00:00Z' + i * interval '1 h', 'k', CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END)::text ORDER BY i)) IS NOT NULL
     FROM generate_series(first, first + n - 1) i $$;
CREATE MATERIALIZED VIEW per_window WITH (tidemark.continuous) AS
    SELECT window_start, k, count(*) AS n, sum(id) AS ids FROM t, tidemark.tumble(t.at, '5 h', timezone => 'Europe/Berlin') GROUP BY window_start, k;
CREATE MATERIALIZED VIEW per_time WITH (tidemark.continuous) AS SELECT at, count(*) AS n FROM t GROUP BY at;
CREATE MATERIALIZED VIEW per_k WITH (tidemark.continuous) AS SELECT k, count(*) AS n, max(id) AS last FROM t GROUP BY k;
CREATE MATERIALIZED VIEW few WITH (tidemark.continuous) AS SELECT k, count(*) AS n FROM t GROUP BY k HAVING count(*) < 20;
CREATE MATERIALIZED VIEW later WITH (tidemark.continuous) AS SELECT k, count(*) AS n FROM t GROUP BY k WITH NO DATA;
SELECT send(0, 100);
CREATE TABLE kept AS SELECT * FROM per_window;

-- what removes no rows is not noted
CREATE TABLE t_empty PARTITION OF t FOR VALUES FROM ('2025-01-01') TO ('2025-01-02');
TRUNCATE t_empty;
ALTER TABLE t DETACH PARTITION t_empty;
ALTER TABLE t ATTACH PARTITION t_empty FOR VALUES FROM ('2025-01-01') TO ('2025-01-02');
DROP TABLE t_empty;
SELECT * FROM removed();
SELECT tidemark.pause('per_window');
SELECT tidemark.resume('per_window');

-- DROP, TRUNCATE and DETACH, of partitions of partitions too; not when rolled back
BEGIN;
TRUNCATE t;
SELECT * FROM removed() WHERE view = 'per_k'::regclass;
ROLLBACK;
SELECT * FROM removed();
DROP TABLE t_1;
SELECT * FROM removed();
SELECT * FROM tidemark.verify('per_window');
SELECT * FROM tidemark.verify('per_time');
SELECT * FROM tidemark.verify('per_k');
SELECT * FROM tidemark.verify('few');
TRUNCATE t_3a;
ALTER TABLE t_3 DETACH PARTITION t_3b;
SELECT * FROM removed() WHERE view = 'per_window'::regclass;
ALTER TABLE t DETACH PARTITION t_2;
SELECT * FROM removed();
SELECT count(*) AS changed FROM (TABLE kept EXCEPT TABLE per_window) d;
SELECT * FROM tidemark.verify('per_window');
SELECT * FROM tidemark.verify('per_window', since => '2026-01-05');
-- a view that was never filled has lost nothing
SELECT tidemark.resume('later');
SELECT * FROM tidemark.verify('later');

-- the views go on
SELECT send(100, 4);
SELECT * FROM tidemark.verify('per_window', since => '2026-01-05');
SELECT count(*) AS groups FROM per_window;

-- no way back, and no way to rebuild
SELECT refused($$ SELECT tidemark.pause('per_window') $$);
UPDATE tidemark_state.view SET state = 'paused' WHERE view = 'per_window'::regclass;
SELECT refused($$ SELECT tidemark.resume('per_window') $$);
SELECT refused($$ REFRESH MATERIALIZED VIEW per_window $$);
UPDATE tidemark_state.view SET state = 'live' WHERE view = 'per_window'::regclass;
SELECT refused($$ ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2026-01-02') TO ('2026-01-03') $$);
SELECT refused($$ ALTER TABLE t_3 ATTACH PARTITION t_3b DEFAULT $$);
CREATE TABLE t_other (LIKE t) PARTITION BY LIST (k);
CREATE TABLE t_other_a PARTITION OF t_other DEFAULT;
INSERT INTO t_other VALUES (1, '2026-01-02 12:00Z', 'a');
SELECT refused($$ ALTER TABLE t ATTACH PARTITION t_other FOR VALUES FROM ('2026-01-02') TO ('2026-01-03') $$);
TRUNCATE t_other;
ALTER TABLE t ATTACH PARTITION t_other FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
SELECT refused($$ CREATE FOREIGN TABLE t_foreign PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2024-01-02') SERVER m OPTIONS (topic 'x') $$);
SELECT refused($$ CREATE FOREIGN TABLE t_foreign (x int) INHERITS (t) SERVER m OPTIONS (topic 'x') $$);

-- errors of maintenance are not hidden: a group outside the range, a lost group, a count below the batch's
CREATE PROCEDURE plant(v regclass, change text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tidemark_state.view SET system_identifier = 0 WHERE view = v;
    ALTER TABLE tidemark_state.view SET (fillfactor = 100);
    EXECUTE format(change, (SELECT state_table FROM tidemark_state.view WHERE view = v));
END $$;
BEGIN;
CALL plant('per_window', $$ UPDATE %1$s SET a3 = a3 + 1 WHERE g1 = (SELECT min(g1) FROM %1$s WHERE g1 >= '2026-01-04') $$);
CALL plant('per_window', $$ DELETE FROM %1$s WHERE g1 = (SELECT max(g1) FROM %1$s) AND g2 = 'a' $$);
CALL plant('per_window', $$ UPDATE %1$s SET a3 = a3 + 1 WHERE g1 = (SELECT max(g1) FROM %1$s WHERE g1 < '2026-01-04') $$);
SELECT problem, view_row->'window_start' AS kept, batch_row->'window_start' AS batch, coalesce(view_row, batch_row)->'k' AS k FROM tidemark.verify('per_window') ORDER BY 2, 3, 4;
CALL plant('per_time', $$ UPDATE %s SET a2 = 7 WHERE g1 IN ('2026-01-03 23:00Z', '2026-01-04 00:00Z') $$);
SELECT * FROM tidemark.verify('per_time');
CALL plant('per_k', $$ UPDATE %s SET a2 = 3 WHERE g1 = 'a' $$);
CALL plant('per_k', $$ UPDATE %s SET a3 = 3 WHERE g1 = 'b' $$);
SELECT * FROM tidemark.verify('per_k');
ROLLBACK;
-- a group can appear in the batch only through HAVING
SELECT * FROM tidemark.verify('few');
BEGIN;
CALL plant('per_k', $$ DELETE FROM %s WHERE g1 = 'a' $$);
SELECT * FROM tidemark.verify('per_k');
ROLLBACK;

-- who may not, may not; and what core refuses leaves no note
CREATE ROLE regress_removal;
GRANT USAGE ON SCHEMA ing TO regress_removal;
SET ROLE regress_removal;
TRUNCATE t_4;
DROP TABLE t_4;
ALTER TABLE t DETACH PARTITION t_4;
ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
RESET ROLE;
ALTER TABLE t DETACH PARTITION t_2;
ALTER TABLE t DETACH PARTITION nothing;
ALTER TABLE t ATTACH PARTITION nothing DEFAULT;
GRANT TRUNCATE ON t TO regress_removal;
BEGIN;
SET LOCAL ROLE regress_removal;
TRUNCATE t_4;
ROLLBACK;
BEGIN;
SET LOCAL ROLE regress_removal;
TRUNCATE t;
RESET ROLE;
SELECT * FROM removed() WHERE view = 'per_k'::regclass;
ROLLBACK;
REVOKE ALL ON t FROM regress_removal;
REVOKE ALL ON SCHEMA ing FROM regress_removal;
DROP ROLE regress_removal;

-- a default partition has rows of any time, and those without; through a cascade
SELECT tidemark.inject('s', ARRAY['{"id":500,"at":"2024-06-01T00:00:00Z","k":"a"}', '{"id":501,"k":"a"}']) IS NOT NULL AS sent;
BEGIN;
DROP TABLE t_default;
SELECT * FROM removed();
SELECT * FROM tidemark.verify('per_window');
ROLLBACK;
CREATE SCHEMA old;
ALTER TABLE t_4 SET SCHEMA old;
SET client_min_messages = warning;
DROP SCHEMA old CASCADE;
RESET client_min_messages;
SELECT DISTINCT from_time, to_time FROM removed();
SELECT * FROM tidemark.verify('per_window');

-- by date, and CONCURRENTLY
CREATE FOREIGN TABLE c (id int, day date) SERVER m OPTIONS (topic 'c');
CREATE TABLE tc (LIKE c) PARTITION BY RANGE (day);
CREATE TABLE tc_1 PARTITION OF tc FOR VALUES FROM (MINVALUE) TO ('2026-01-02');
CREATE TABLE tc_2 PARTITION OF tc FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
SELECT tidemark.start_ingest('c', into_table => 'tc');
CREATE MATERIALIZED VIEW vc WITH (tidemark.continuous) AS SELECT day, count(*) FROM tc GROUP BY day;
SELECT tidemark.inject('c', ARRAY['{"id":1,"day":"2025-12-31"}', '{"id":1,"day":"2026-01-02"}', '{"id":1,"day":"2026-01-02"}']) IS NOT NULL AS sent;
SELECT * FROM tidemark.verify('vc');
ALTER TABLE tc DETACH PARTITION tc_1 CONCURRENTLY;
SELECT * FROM removed() WHERE view = 'vc'::regclass;
SELECT * FROM tidemark.verify('vc');

-- a table that is not partitioned, and has no ingest at first; a view without keys
CREATE FOREIGN TABLE p (id int) SERVER m OPTIONS (topic 'p');
CREATE TABLE tp (LIKE p);
CREATE MATERIALIZED VIEW vp WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM tp;
SELECT tidemark.start_ingest('p', into_table => 'tp');
TRUNCATE tp;
SELECT tidemark.inject('p', ARRAY['{"id":1}', '{"id":2}']) IS NOT NULL AS sent;
SELECT tidemark.pause('vp');
TRUNCATE tp;
TABLE vp;
SELECT refused($$ SELECT tidemark.resume('vp') $$);
DROP MATERIALIZED VIEW vp;
CREATE MATERIALIZED VIEW vp WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM tp;
TABLE vp;
SELECT tidemark.inject('p', '{"id":3}') IS NOT NULL AS sent;
TRUNCATE tp;
SELECT * FROM tidemark.verify('vp');

-- DROP of all of it leaves nothing
SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
