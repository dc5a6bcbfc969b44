-- Proves that what docs/testing.md shows is so: its script, in the order of the text.
\set ECHO none
SET client_min_messages = warning;
CREATE EXTENSION tidemark;
SET client_min_messages = notice;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
\set SHOW_CONTEXT never
\set ECHO all

-- stage
BEGIN;
SELECT tidemark.set_clock('2026-07-01 10:00+00');
CREATE SERVER lab FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');

CREATE FOREIGN TABLE sale_stream (
    product   text NOT NULL,
    amount    numeric,
    at        timestamptz,
    k_part    int         OPTIONS (metadata 'partition'),
    k_offset  bigint      OPTIONS (metadata 'offset'),
    k_wm      timestamptz OPTIONS (metadata 'watermark')
) SERVER lab OPTIONS (topic 'sale', event_time 'at', watermark_delay '5 s');

CREATE TABLE product (product text PRIMARY KEY);
INSERT INTO product VALUES ('pear'), ('plum');
CREATE TABLE sale (LIKE sale_stream, FOREIGN KEY (product) REFERENCES product);
SELECT tidemark.start_ingest('sale_stream', into_table => 'sale');

-- what is tested
CREATE MATERIALIZED VIEW sales
  WITH (tidemark.continuous, tidemark.allowed_lateness = '10 s', tidemark.late = 'table') AS
SELECT window_start, product, count(*) AS sales, sum(amount) AS total
  FROM sale, tidemark.tumble(sale.at, '1 min')
 GROUP BY window_start, product;

CREATE MATERIALIZED VIEW minutes
  WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '10 s') AS
SELECT window_start, window_end, count(*) AS sales, sum(amount) AS total
  FROM sale, tidemark.tumble(sale.at, '1 min')
 GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW runs WITH (tidemark.continuous) AS
WITH s AS (
    SELECT product,
           tidemark.session_start(at, '20 s') OVER w,
           tidemark.session_end(at, '20 s') OVER w
      FROM sale
    WINDOW w AS (PARTITION BY product ORDER BY at))
SELECT product, session_start, session_end, count(*) AS sales
  FROM s
 GROUP BY product, session_start, session_end;

-- rows out of order
SELECT tidemark.inject('sale_stream', ARRAY[
  '{"product": "pear", "amount": 1, "at": "2026-07-01T10:00:05Z"}',
  '{"product": "pear", "amount": 2, "at": "2026-07-01T10:00:45Z"}',
  '{"product": "plum", "amount": 5, "at": "2026-07-01T10:00:30Z"}']);
SELECT * FROM sales ORDER BY window_start, product;
SELECT k_offset, product, at, k_wm FROM sale ORDER BY k_offset;

-- a session
SELECT * FROM runs WHERE product = 'pear' ORDER BY session_start;
SELECT tidemark.inject('sale_stream',
  '{"product": "pear", "amount": 4, "at": "2026-07-01T10:00:25Z"}');
SELECT * FROM runs WHERE product = 'pear' ORDER BY session_start;

-- a late row
SELECT tidemark.inject('sale_stream', ARRAY[
  '{"product": "pear", "amount": 3, "at": "2026-07-01T10:01:15Z"}',
  '{"product": "plum", "amount": 8, "at": "2026-07-01T10:00:59Z"}']);
SELECT event_time, watermark, l.row->>'amount' AS amount
  FROM tidemark.late_rows AS l WHERE view = 'sales'::regclass;
SELECT tidemark.admit_late('sales');
SELECT * FROM sales ORDER BY window_start, product;

-- closing
SELECT window_start, sales, total FROM minutes;

-- an idle partition
SELECT tidemark.inject('sale_stream',
  '{"product": "plum", "amount": 7, "at": "2026-07-01T10:01:20Z"}', partition => 1);
SELECT tidemark.inject('sale_stream',
  '{"product": "pear", "amount": 6, "at": "2026-07-01T10:03:00Z"}');
SELECT watermark, watermark_reason FROM tidemark.ingests WHERE stream = 'sale_stream'::regclass;
SELECT window_start, sales, total FROM minutes;
SELECT tidemark.set_clock('2026-07-01 10:05+00');
SELECT watermark, watermark_reason FROM tidemark.ingests WHERE stream = 'sale_stream'::regclass;
SELECT window_start, sales, total FROM minutes ORDER BY window_start;

-- a dead letter and its replay
SELECT tidemark.inject('sale_stream',
  '{"product": "fig", "amount": 9, "at": "2026-07-01T10:03:10Z"}');
SELECT kafka_offset, stage, sqlstate, value_text FROM tidemark.dead_letters;
INSERT INTO product VALUES ('fig');
SELECT * FROM tidemark.replay_dead_letters('sale_stream');
SELECT * FROM sales WHERE product = 'fig';

-- the proof
SELECT v.view, p.* FROM tidemark.views AS v, tidemark.verify(v.view) AS p;
DO $$
BEGIN
    ASSERT (SELECT late FROM tidemark.views WHERE view = 'sales'::regclass) = 1, 'one late row';
    ASSERT NOT EXISTS (
        SELECT * FROM minutes
         WHERE total <> (SELECT sum(amount) FROM sale
                          WHERE at >= window_start AND at < window_end
                            AND (window_end + '10 s' <= k_wm) IS NOT TRUE)), 'closed minutes';
END $$;
ROLLBACK;

-- a notification
CREATE SERVER lab FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE alarm_stream (sensor text, celsius numeric, at timestamptz)
  SERVER lab OPTIONS (topic 'alarm', event_time 'at');
CREATE MATERIALIZED VIEW hot
  WITH (tidemark.continuous, tidemark.notify = 'hot') AS
SELECT window_start, sensor, max(celsius) AS highest
  FROM alarm_stream, tidemark.tumble(at, '1 min')
 GROUP BY window_start, sensor HAVING max(celsius) > 80;
LISTEN hot;
\o | sed 's/ from server process with PID [0-9]*//'
SELECT tidemark.inject('alarm_stream',
  '{"sensor": "roof", "celsius": 79, "at": "2026-07-01T10:00:01Z"}');
SELECT tidemark.inject('alarm_stream',
  '{"sensor": "roof", "celsius": 81, "at": "2026-07-01T10:00:02Z"}');
\o
DROP MATERIALIZED VIEW hot;
DROP FOREIGN TABLE alarm_stream;
DROP SERVER lab;
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
