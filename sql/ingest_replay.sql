-- replay_dead_letters(): bad messages tried again after a fix
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set VERBOSITY terse
\set ECHO all

CREATE FOREIGN TABLE s (
    id   int,
    at   timestamptz,
    n    smallint,
    part int         OPTIONS (metadata 'partition'),
    off  bigint      OPTIONS (metadata 'offset'),
    wm   timestamptz OPTIONS (metadata 'watermark')
) SERVER m OPTIONS (topic 'replay', event_time 'at', watermark_delay '0 s', max_error_ratio '1');
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, n int CHECK (n < 100), part int, off bigint, wm timestamptz);
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE MATERIALIZED VIEW over_table WITH (tidemark.continuous) AS
    SELECT window_start, count(*), sum(n) FROM t, tidemark.tumble(at, '1 min') GROUP BY window_start;
CREATE MATERIALIZED VIEW over_stream WITH (tidemark.continuous) AS
    SELECT window_start, count(*), sum(n) FROM s, tidemark.tumble(at, '1 min') GROUP BY window_start;
CREATE MATERIALIZED VIEW punctual WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
    SELECT window_start, count(*), sum(n) FROM t, tidemark.tumble(at, '1 min') GROUP BY window_start;

-- nothing to do yet
SELECT * FROM tidemark.replay_dead_letters('s');

SELECT tidemark.inject('s', messages => ARRAY[
    '{"id": 1, "at": "2026-01-01 00:00:10Z", "n": 1}',
    '{"id": 2, "at": "2026-01-01 00:00:20Z", "n": 40000}',  -- no smallint
    '{"id": 1, "at": "2026-01-01 00:00:30Z", "n": 3}',      -- no unique id
    '{"id": 4, "at": "2026-01-01 00:00:40Z", "n": 101}',    -- refused by CHECK
    '{"id": 5, "at": "2026-01-01 00:00:50Z", "n": 5',       -- never json
    '{"id": 6, "at": "2026-01-01 00:05:00Z", "n": 6}',
    '{"id": 7, "at": "2026-01-01 00:00:55Z", "n": 70000}']);-- no smallint, and late
SELECT kafka_offset, stage, sqlstate, watermark AT TIME ZONE 'UTC' AS watermark
FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY 1;

-- nothing was mended: all stay
SELECT * FROM tidemark.replay_dead_letters('s');
SELECT kafka_offset, stage, sqlstate FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY 1;

-- the table is mended: one letter of stage 'table' less; views over the stream
-- have its row already
SELECT * FROM over_stream ORDER BY 1;
ALTER TABLE t DROP CONSTRAINT t_n_check;
SELECT * FROM tidemark.replay_dead_letters('s');
SELECT kafka_offset, stage, sqlstate FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY 1;
SELECT id, n, part, off, wm AT TIME ZONE 'UTC' AS wm FROM t ORDER BY off;
SELECT * FROM over_stream ORDER BY 1;
SELECT * FROM over_table ORDER BY 1;

-- the stream is mended (a new table for it: the view over the stream holds the
-- type); a letter becomes good, another one is refused by the table now
DROP MATERIALIZED VIEW over_stream;
ALTER TABLE t ADD CONSTRAINT small CHECK (n <> 70000);
ALTER FOREIGN TABLE s ALTER COLUMN n TYPE int;
SELECT * FROM tidemark.replay_dead_letters('s');
SELECT kafka_offset, stage, sqlstate FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY 1;
ALTER TABLE t DROP CONSTRAINT small;
SELECT * FROM tidemark.replay_dead_letters('s');
SELECT kafka_offset, stage, sqlstate FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY 1;
SELECT id, n, part, off, wm AT TIME ZONE 'UTC' AS wm FROM t ORDER BY off;
SELECT * FROM over_table ORDER BY 1;
SELECT * FROM tidemark.verify('over_table');
-- judged by the watermark of then: id 7 came after 00:05:00
SELECT * FROM punctual ORDER BY 1;
SELECT late FROM tidemark_state.view_stats JOIN tidemark_state.view USING (state_table) WHERE view = 'punctual'::regclass;
-- no watermark and no position has moved
SELECT next_offset, rows, dead_letters, watermark AT TIME ZONE 'UTC' AS watermark
FROM tidemark_state.partition WHERE stream = 's'::regclass;

-- a view whose expression fails on a replayed row fails alone
CREATE MATERIALIZED VIEW fragile WITH (tidemark.continuous) AS SELECT sum(100 / (n - 8)) FROM t;
SELECT tidemark.inject('s', '{"id": 8, "at": "2026-01-01 00:06:00Z", "n": 8.5}');
SELECT kafka_offset, stage, sqlstate FROM tidemark.dead_letters WHERE stream = 's'::regclass ORDER BY 1;
ALTER FOREIGN TABLE s ALTER COLUMN n TYPE numeric;
CREATE OR REPLACE FUNCTION half() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.n := 8; RETURN NEW; END';
CREATE TRIGGER half BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 8) EXECUTE FUNCTION half();
SELECT * FROM tidemark.replay_dead_letters('s');
SELECT state, sqlstate FROM tidemark.views WHERE view = 'fragile'::regclass;
SELECT * FROM tidemark.verify('over_table');

-- more letters than are taken at once, all or nothing
SELECT tidemark.inject('s', messages => array_agg(format('{"id": %s, "at": "x", "when": "2026-01-01 01:00Z"}', i))) FROM generate_series(100, 2599) i;
SELECT * FROM tidemark.replay_dead_letters('s');
ALTER FOREIGN TABLE s ALTER COLUMN at OPTIONS (ADD field 'when');
SELECT * FROM tidemark.replay_dead_letters('s');
SELECT count(*) FROM tidemark.dead_letters WHERE stream = 's'::regclass;
SELECT * FROM tidemark.verify('over_table');

-- errors
SELECT * FROM tidemark.replay_dead_letters(NULL);
SELECT * FROM tidemark.replay_dead_letters('t');
SELECT * FROM tidemark.replay_dead_letters(0);
CREATE FOREIGN TABLE alone (a int) SERVER m OPTIONS (topic 'alone');
SELECT * FROM tidemark.replay_dead_letters('alone');
CREATE MATERIALIZED VIEW over_stream WITH (tidemark.continuous) AS SELECT count(*) FROM s;
SELECT tidemark.pause('over_stream');
\set VERBOSITY default
SELECT * FROM tidemark.replay_dead_letters('s');
\set VERBOSITY terse
SELECT tidemark.resume('over_stream');
CREATE ROLE replay_other;
GRANT USAGE ON SCHEMA ing TO replay_other;
GRANT SELECT ON s TO replay_other;
SET ROLE replay_other;
SELECT * FROM tidemark.replay_dead_letters('s');
RESET ROLE;
DROP OWNED BY replay_other;
DROP ROLE replay_other;
SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
