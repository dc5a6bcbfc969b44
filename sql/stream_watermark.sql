-- Proves how the watermark of a stream follows from its partitions: rows too far in the future, rows without event time, idle partitions, the clock of manual streams.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FUNCTION row_at(id int, at text) RETURNS text LANGUAGE sql AS $$ SELECT jsonb_build_object('id', id, 'at', at)::text $$;
CREATE VIEW marks AS SELECT i.stream, i.watermark, i.watermark_reason, i.future_rows FROM tidemark.ingests i ORDER BY 1;
CREATE VIEW parts AS SELECT stream, partition AS p, watermark, max_event_time, idle, future_rows AS future, rows, dead_letters AS dead FROM tidemark.partitions ORDER BY 1, 2;

-- the clock of the stream stamps ingest_time and is now() as a message's timestamp
SELECT refused($$ SELECT tidemark.set_clock('infinity') $$);
SELECT refused($$ SELECT tidemark.set_clock('-infinity') $$);
SELECT tidemark.set_clock('2020-01-01 12:00Z');
CREATE FOREIGN TABLE s (id int, at timestamptz, p int OPTIONS (metadata 'partition'), o bigint OPTIONS (metadata 'offset'),
    ts timestamptz OPTIONS (metadata 'timestamp'), came timestamptz OPTIONS (metadata 'ingest_time'), wm timestamptz OPTIONS (metadata 'watermark'))
  SERVER m OPTIONS (topic 's', event_time 'at', watermark_delay '4 s', watermark_idle_timeout '30 s', watermark_max_future '1 min', max_error_ratio '1');
CREATE TABLE t (LIKE s);
SELECT tidemark.start_ingest('s', into_table => 't');
TABLE marks;
SELECT tidemark.inject('s', row_at(1, '2020-01-01 11:59:00Z'));
SELECT tidemark.inject('s', row_at(2, '2020-01-01 11:59:10Z'), kafka_timestamp => now());
SELECT tidemark.inject('s', row_at(3, '2020-01-01 11:59:05Z'), kafka_timestamp => '2020-01-01 11:58:30Z');
TABLE t;
TABLE marks;

-- too far in the future of the arrival: the value stays, the watermark too
SELECT tidemark.inject('s', ARRAY[row_at(4, '2020-01-01 12:01:00.000001Z'), row_at(5, '9999-12-31 00:00Z'), row_at(6, '2020-01-01 11:59:20Z')]);
-- the limit itself is not beyond it
SELECT tidemark.inject('s', row_at(7, '2020-01-01 11:59:30Z'), kafka_timestamp => '2020-01-01 11:58:29Z');
SELECT tidemark.inject('s', row_at(8, '2020-01-01 11:59:30Z'), kafka_timestamp => '2020-01-01 11:58:30Z');
-- a SELECT on the stream judges alike
SELECT count(*) AS differences FROM (SELECT p, o, wm FROM s EXCEPT SELECT p, o, wm FROM t) d;
-- without a timestamp the arrival is the time of reading
SELECT tidemark.inject('s', row_at(9, '2020-01-01 12:02:00Z'), kafka_timestamp => NULL);
SELECT tidemark.inject('s', row_at(10, '2020-01-01 12:01:00Z'), kafka_timestamp => NULL);
SELECT id, at, wm FROM t WHERE id > 3 ORDER BY id;
TABLE parts;
TABLE marks;
-- off
ALTER FOREIGN TABLE s OPTIONS (SET watermark_max_future 'infinity');
BEGIN;
SELECT tidemark.inject('s', row_at(11, '2024-01-01 00:00Z'));
SELECT watermark, max_event_time, future FROM parts;
ROLLBACK;
ALTER FOREIGN TABLE s OPTIONS (SET watermark_max_future '1 min');

-- event time that is NULL: a dead letter, or kept without moving anything; an infinite one is always a dead letter
SELECT tidemark.inject('s', ARRAY['{"id":12}', row_at(13, 'infinity')]);
ALTER FOREIGN TABLE s OPTIONS (ADD null_event_time 'keep');
SELECT tidemark.inject('s', ARRAY['{"id":14}', '{"id":15,"at":null}', row_at(16, 'infinity'), row_at(17, '-infinity')]);
SELECT id, at, wm FROM t WHERE id > 10 ORDER BY id;
SELECT kafka_offset, sqlstate, message FROM tidemark.dead_letters ORDER BY 1;
SELECT id, at FROM s WHERE id > 10 ORDER BY id;
TABLE parts;
-- a column that must not be NULL stays so
ALTER FOREIGN TABLE s ALTER at SET NOT NULL;
SELECT tidemark.inject('s', '{"id":18}');
SELECT message FROM tidemark.dead_letters WHERE kafka_offset = 16;
ALTER FOREIGN TABLE s ALTER at DROP NOT NULL;

-- the stream waits for its slowest partition
SELECT tidemark.inject('s', row_at(20, '2020-01-01 11:00Z'), 1);
TABLE parts;
TABLE marks;
SELECT tidemark.inject('s', row_at(21, '2020-01-01 12:01Z'), 1);
TABLE marks;
-- a new one holds it until it is there
SELECT tidemark.inject('s', ARRAY['{"id":22}'], 2);
SELECT tidemark.inject('s', ARRAY[row_at(23, '2020-01-01 12:00:59Z')], 0);
TABLE marks;
SELECT tidemark.inject('s', row_at(24, '2020-01-01 12:00:30Z'), 2);
TABLE marks;

-- idle: one that is silent for the timeout, by the clock
SELECT tidemark.set_clock('2020-01-01 12:00:29.999Z');
SELECT tidemark.inject('s', row_at(25, '2020-01-01 12:01:10Z'), 0);
SELECT p, watermark, idle FROM parts;
TABLE marks;
SELECT tidemark.set_clock('2020-01-01 12:00:30Z');
SELECT p, watermark, idle FROM parts;
TABLE marks;
-- it comes back with its next message, and pulls nothing back
SELECT tidemark.inject('s', row_at(26, '2020-01-01 12:00:31Z'), 2);
SELECT p, watermark, idle FROM parts;
TABLE marks;
SELECT watermark AS of_the_row, stored FROM (SELECT wm AS watermark FROM t WHERE id = 26) a, (SELECT max(stream_watermark) AS stored FROM tidemark_state.partition) b;
-- a bad message is no silence
SELECT tidemark.inject('s', 'bad', 1);
SELECT p, watermark, idle FROM parts;
-- inject() into one partition looks at the others, too
SELECT tidemark.set_clock('2020-01-01 12:00:59.999Z');
BEGIN;
DELETE FROM tidemark_state.clock;
INSERT INTO tidemark_state.clock VALUES (0, '2020-01-01 12:01:00Z');
SELECT tidemark.inject('s', row_at(27, '2020-01-01 12:01:20Z'), 0);
SELECT p, watermark, idle FROM parts;
TABLE marks;
ROLLBACK;
-- all are idle: the largest, in whatever order they became so
SELECT tidemark.set_clock('2020-01-01 12:05Z');
SELECT p, watermark, idle FROM parts;
TABLE marks;
-- time may go back, watermarks do not
SELECT tidemark.set_clock('2020-01-01 10:00Z');
SELECT tidemark.inject('s', row_at(28, '2020-01-01 10:00Z'), p) FROM generate_series(0, 2) p;
SELECT p, watermark, idle FROM parts;
TABLE marks;

-- paused: nothing is idle, and time passes for nobody
SELECT tidemark.set_clock('2020-01-01 10:01Z');
SELECT count(*) FROM parts WHERE idle;
SELECT tidemark.pause('s');
SELECT count(*) FROM parts WHERE idle;
SET client_min_messages = error;
SELECT tidemark.inject('s', row_at(29, '2020-01-01 12:02Z'), 1);
RESET client_min_messages;
SELECT tidemark.resume('s');
SELECT p, watermark, idle FROM parts;
SELECT tidemark.drop_ingest('s');

-- never idle
CREATE FOREIGN TABLE never (id int, at timestamptz) SERVER m OPTIONS (topic 'n', event_time 'at', watermark_idle_timeout 'infinity', watermark_when_idle 'wall_clock');
SELECT tidemark.start_ingest('never');
SELECT tidemark.inject('never', row_at(1, '2020-01-01 10:00Z'));
SELECT tidemark.set_clock('2021-01-01 10:01Z');
TABLE marks;
SELECT p, watermark, idle FROM parts;
SELECT tidemark.drop_ingest('never');

-- wall_clock: when all are idle, time goes on
SELECT tidemark.set_clock('2020-01-01 10:00Z');
CREATE FOREIGN TABLE w (id int, at timestamptz) SERVER m
  OPTIONS (topic 'w', event_time 'at', watermark_delay '4 s', watermark_idle_timeout '30 s', watermark_when_idle 'wall_clock');
SELECT tidemark.start_ingest('w');
SELECT tidemark.inject('w', row_at(1, '2020-01-01 10:00Z'));
SELECT tidemark.inject('w', row_at(2, '2020-01-01 09:58Z'), 1);
TABLE marks;
SELECT tidemark.set_clock('2020-01-01 10:00:20Z');
SELECT tidemark.inject('w', row_at(3, '2020-01-01 10:00:10Z'));
SELECT tidemark.set_clock('2020-01-01 10:00:40Z');
TABLE marks;
SELECT tidemark.set_clock('2020-01-01 10:00:50Z');
TABLE marks;
SELECT tidemark.set_clock('2020-01-01 10:02:00Z');
TABLE marks;
SELECT tidemark.set_clock('2020-01-01 10:01:00Z');
TABLE marks;
-- a row ends it
SELECT tidemark.inject('w', row_at(4, '2020-01-01 10:00:50Z'));
SELECT tidemark.set_clock('2020-01-01 10:01:29Z');
TABLE marks;
SELECT tidemark.set_clock('2020-01-01 10:03:00Z');
TABLE marks;
-- in a transaction, as everything else
BEGIN;
SELECT tidemark.set_clock('2020-02-01 00:00Z');
TABLE marks;
ROLLBACK;
TABLE marks;

-- everybody moves the time of his own streams; a superuser that of all
CREATE ROLE regress_clock_a;
CREATE ROLE regress_clock_b;
GRANT USAGE ON FOREIGN SERVER m TO regress_clock_a, regress_clock_b;
GRANT USAGE, CREATE ON SCHEMA ing TO regress_clock_a, regress_clock_b;
SET ROLE regress_clock_a;
CREATE FOREIGN TABLE a (id int, at timestamptz) SERVER m OPTIONS (topic 'a', event_time 'at', watermark_when_idle 'wall_clock');
SELECT tidemark.start_ingest('a');
SELECT tidemark.inject('a', row_at(1, '2020-01-01 10:00Z'));
SET ROLE regress_clock_b;
CREATE FOREIGN TABLE b (id int, at timestamptz) SERVER m OPTIONS (topic 'b', event_time 'at', watermark_when_idle 'wall_clock');
SELECT tidemark.start_ingest('b');
SELECT tidemark.inject('b', row_at(1, '2020-01-01 10:00Z'));
SELECT tidemark.set_clock('2020-01-01 11:00Z');
RESET ROLE;
TABLE marks;
SELECT tidemark.set_clock('2020-01-01 12:00Z');
TABLE marks;
SET ROLE regress_clock_a;
SELECT tidemark.set_clock('2020-01-01 14:00Z');
RESET ROLE;
TABLE marks;
-- real time again
SET ROLE regress_clock_a;
SELECT tidemark.set_clock(NULL);
RESET ROLE;
SELECT stream, watermark > now() - interval '1 day' AS now FROM tidemark.ingests ORDER BY 1;
SELECT tidemark.set_clock(NULL);
SELECT stream, watermark > now() - interval '1 day' AS now FROM tidemark.ingests ORDER BY 1;
TABLE tidemark_state.clock;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
DROP OWNED BY regress_clock_a, regress_clock_b;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
DROP ROLE regress_clock_a, regress_clock_b;
