-- A tour of tidemark; demo/run runs it.  :brokers names a Kafka broker with a
-- topic `bid`, into which somebody is writing bids as JSON right now.

CREATE EXTENSION tidemark;

-- A Kafka topic as a table
CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka
  OPTIONS (bootstrap_servers :'brokers');

CREATE FOREIGN TABLE bid_stream (
    auction   bigint,
    bidder    bigint,
    price     bigint,
    channel   text,
    at        timestamptz OPTIONS (field 'date_time'),
    k_part    int         OPTIONS (metadata 'partition'),
    k_offset  bigint      OPTIONS (metadata 'offset'),
    k_wm      timestamptz OPTIONS (metadata 'watermark')
) SERVER kafka OPTIONS (topic 'bid', format 'json', event_time 'at', watermark_delay '4 s');

-- A query reads the log as it is now
SELECT count(*), min(at), max(at) FROM bid_stream;
SELECT auction, bidder, price FROM bid_stream WHERE k_part = 0 AND k_offset < 3;

-- Keep the rows: two workers fill a table, from the first message on
CREATE TABLE bid (LIKE bid_stream);
SELECT tidemark.start_ingest('bid_stream', into_table => 'bid', workers => 2);

-- A continuous view: an ordinary query, kept up to date in the same
-- transactions that store the rows.  Windows close a minute of event time after
-- their end; later rows are left out and counted
CREATE MATERIALIZED VIEW bids_per_10s
  WITH (tidemark.continuous, tidemark.allowed_lateness = '1 min') AS
SELECT window_start, window_end, auction,
       count(*) AS bids, max(price) AS highest, avg(price) AS average
  FROM bid, tidemark.tumble(bid.at, '10 s')
 GROUP BY window_start, window_end, auction;

CREATE INDEX ON bids_per_10s (auction, window_start);

SELECT tidemark.wait_caught_up('bids_per_10s');
SELECT window_start, auction, bids, highest, round(average) AS average
  FROM bids_per_10s ORDER BY window_start DESC, bids DESC LIMIT 5;

-- A view straight over the stream stores nothing but its groups
CREATE MATERIALIZED VIEW bids_per_channel WITH (tidemark.continuous) AS
SELECT channel, count(*) AS bids, sum(price) AS total
  FROM bid_stream GROUP BY channel;

REFRESH MATERIALIZED VIEW bids_per_channel;
SELECT * FROM bids_per_channel ORDER BY bids DESC LIMIT 4;

-- A final view: closed windows, each of them once
CREATE MATERIALIZED VIEW report
  WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.retention = '1 day') AS
SELECT window_start, window_end, count(*) AS bids, sum(price) AS total
  FROM bid, tidemark.tumble(bid.at, '1 s')
 GROUP BY window_start, window_end;

-- Views and tables together: who bid highest in the busiest windows?
SELECT top.window_start, top.auction, top.bids, top.highest, b.bidder
  FROM (SELECT * FROM bids_per_10s ORDER BY bids DESC, window_start, auction LIMIT 3) AS top
  JOIN bid AS b ON b.auction = top.auction AND b.price = top.highest
               AND b.at >= top.window_start AND b.at < top.window_end
 ORDER BY top.bids DESC, top.window_start, top.auction;

-- The proof: the same queries over everything that was read.  No row, no difference
SELECT * FROM tidemark.verify('bids_per_10s');
SELECT * FROM tidemark.verify('bids_per_channel');
SELECT * FROM tidemark.verify('report');

-- Kill a worker in the middle of its work.  PostgreSQL restarts, and takes this
-- session with it
SELECT pid AS worker FROM tidemark.workers WHERE stream = 'bid_stream'::regclass LIMIT 1 \gset
\setenv WORKER :worker
\! kill -9 $WORKER
SELECT pg_sleep(60);
\connect -

-- Nothing lost, nothing twice
SELECT tidemark.wait_caught_up('bids_per_10s');
SELECT * FROM tidemark.verify('bids_per_10s');
SELECT * FROM tidemark.verify('bids_per_channel');
SELECT * FROM tidemark.verify('report');

-- The seconds that have closed by now, each of them once: their ends are behind
-- the watermark, which is 4 s behind the newest bid
SELECT pg_sleep(4);
SELECT window_start, bids, total, closed_at FROM report ORDER BY window_start DESC LIMIT 4;

-- What an operator reads
SELECT stream, into_table, state, workers, rows, dead_letters, lag, delay FROM tidemark.ingests;
SELECT partition, next_offset, lag, watermark FROM tidemark.partitions ORDER BY partition;
SELECT view, source, state, lag, rows, late, closed_until FROM tidemark.views ORDER BY view;

DROP MATERIALIZED VIEW bids_per_channel, report;
