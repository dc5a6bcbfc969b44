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

\set ECHO all

-- a default partition has rows of any time; a table that is not partitioned too
SELECT tidemark.inject('s', ARRAY['{"id":500,"at":"2024-06-01T00:00:00Z","k":"a"}', '{"id":501,"k":"a"}']) IS NOT NULL AS sent;
ALTER TABLE t DETACH PARTITION t_default CONCURRENTLY;
DROP TABLE t_default;
ALTER TABLE t DETACH PARTITION t_default;
SELECT * FROM removed();
SELECT * FROM tidemark.verify('per_window');
\set ECHO none
