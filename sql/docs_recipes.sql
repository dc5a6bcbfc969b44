-- Proves that the recipes of docs/recipes.md give what they say.
\set ECHO none
SET client_min_messages = warning;
CREATE EXTENSION tidemark;
SET client_min_messages = notice;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
\set SHOW_CONTEXT never
CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
SELECT tidemark.set_clock('2026-07-01 10:00+00');
\set ECHO all

-- fraud
CREATE FOREIGN TABLE payment (
    card     text NOT NULL,
    country  text NOT NULL,
    amount   numeric,
    at       timestamptz
) SERVER kafka OPTIONS (topic 'payment', event_time 'at', watermark_delay '5 s');

CREATE MATERIALIZED VIEW suspicious
  WITH (tidemark.continuous, tidemark.notify = 'suspicious', tidemark.allowed_lateness = '10 s',
        tidemark.retention = '1 hour') AS
SELECT card, session_start, session_end, count(*) AS payments,
       min(country) AS country_1, max(country) AS country_2, sum(amount) AS total
  FROM (SELECT card, country, amount,
               tidemark.session_start(at, '10 s') OVER w,
               tidemark.session_end(at, '10 s') OVER w
          FROM payment
        WINDOW w AS (PARTITION BY card ORDER BY at)) AS s
 GROUP BY card, session_start, session_end
HAVING count(*) >= 3 AND min(country) <> max(country);
LISTEN suspicious;

\o | sed 's/ from server process with PID [0-9]*//'
SELECT tidemark.inject('payment', ARRAY[
  '{"card": "c1", "country": "FR", "amount": 10, "at": "2026-07-01T10:00:00Z"}',
  '{"card": "c2", "country": "DE", "amount": 20, "at": "2026-07-01T10:00:01Z"}',
  '{"card": "c1", "country": "BR", "amount": 30, "at": "2026-07-01T10:00:12Z"}']);
SELECT tidemark.inject('payment',
  '{"card": "c1", "country": "FR", "amount": 40, "at": "2026-07-01T10:00:06Z"}');
\o

CREATE MATERIALIZED VIEW card_country WITH (tidemark.continuous, tidemark.retention = '1 hour') AS
SELECT window_start, window_end, card, country, count(*) AS payments
  FROM payment, tidemark.hop(at, '5 s', '10 s')
 GROUP BY window_start, window_end, card, country;

SELECT window_start, card, count(*) AS countries, sum(payments) AS payments
  FROM card_country
 GROUP BY window_start, card HAVING count(*) >= 2;
SELECT v.view, p.* FROM tidemark.views AS v, tidemark.verify(v.view) AS p;

-- carts
CREATE FOREIGN TABLE cart_event (
    visitor  text NOT NULL,
    kind     text NOT NULL,
    item     text,
    at       timestamptz
) SERVER kafka OPTIONS (topic 'cart', event_time 'at', watermark_delay '1 min');

CREATE MATERIALIZED VIEW abandoned_cart
  WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '30 min',
        tidemark.retention = '30 days') AS
WITH s AS (
    SELECT visitor, kind,
           tidemark.session_start(at, '30 min') OVER w,
           tidemark.session_end(at, '30 min') OVER w
      FROM cart_event
    WINDOW w AS (PARTITION BY visitor ORDER BY at))
SELECT visitor, session_start, session_end, count(*) FILTER (WHERE kind = 'add') AS items
  FROM s
 GROUP BY visitor, session_start, session_end
HAVING bool_or(kind = 'add') AND NOT bool_or(kind = 'checkout');

CREATE TABLE reminder (visitor text, items bigint, due timestamptz);
CREATE FUNCTION remind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO reminder VALUES (NEW.visitor, NEW.items, NEW.session_end + interval '1 day');
    RETURN NULL;
END $$;
CREATE TRIGGER remind AFTER INSERT ON abandoned_cart FOR EACH ROW EXECUTE FUNCTION remind();

SELECT tidemark.set_clock('2026-07-01 11:37+00');
SELECT tidemark.inject('cart_event', ARRAY[
  '{"visitor": "ann", "kind": "add", "item": "hat", "at": "2026-07-01T10:00:00Z"}',
  '{"visitor": "bob", "kind": "add", "item": "cap", "at": "2026-07-01T10:01:00Z"}',
  '{"visitor": "bob", "kind": "checkout", "at": "2026-07-01T10:20:00Z"}',
  '{"visitor": "ann", "kind": "add", "item": "tie", "at": "2026-07-01T10:05:00Z"}',
  '{"visitor": "cat", "kind": "view", "item": "tie", "at": "2026-07-01T11:37:00Z"}']);
SELECT * FROM reminder;
SELECT * FROM tidemark.verify('abandoned_cart');

-- nightly report
CREATE FOREIGN TABLE sale_stream (
    shop      text NOT NULL,
    amount    numeric NOT NULL,
    at        timestamptz,
    k_part    int         OPTIONS (metadata 'partition'),
    k_offset  bigint      OPTIONS (metadata 'offset'),
    k_wm      timestamptz OPTIONS (metadata 'watermark')
) SERVER kafka OPTIONS (topic 'sale', event_time 'at', watermark_delay '1 min');
CREATE TABLE sale (LIKE sale_stream);
SELECT tidemark.start_ingest('sale_stream', into_table => 'sale');

CREATE MATERIALIZED VIEW day_report
  WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = '2 hours',
        tidemark.late = 'table') AS
SELECT window_start, window_end, shop, count(*) AS sales, sum(amount) AS turnover
  FROM sale, tidemark.tumble(sale.at, '1 day', timezone => 'Europe/Berlin')
 GROUP BY window_start, window_end, shop;

SELECT tidemark.set_clock('2026-07-02 00:01+00');
SELECT tidemark.inject('sale_stream', ARRAY[
  '{"shop": "mitte", "amount": 10, "at": "2026-06-30T22:00:00Z"}',
  '{"shop": "mitte", "amount": 20, "at": "2026-07-01T21:59:59Z"}',
  '{"shop": "mitte", "amount": 99, "at": "2026-07-01T22:00:00Z"}',
  '{"shop": "mitte", "amount": 30, "at": "2026-07-01T12:00:00Z"}',
  '{"shop": "mitte", "amount": 98, "at": "2026-07-02T00:01:00Z"}',
  '{"shop": "mitte", "amount": 40, "at": "2026-07-01T12:30:00Z"}']);

SELECT (window_start AT TIME ZONE 'Europe/Berlin')::date AS day, shop, sales, turnover
  FROM day_report ORDER BY day, shop;
SELECT closed_until AT TIME ZONE 'Europe/Berlin' AS complete_until, late
  FROM tidemark.views WHERE view = 'day_report'::regclass;
SELECT (window_start AT TIME ZONE 'Europe/Berlin')::date AS day, count(*) AS left_out,
       sum((l.row->>'amount')::numeric) AS amount
  FROM tidemark.late_rows AS l WHERE view = 'day_report'::regclass GROUP BY 1;
SELECT * FROM tidemark.verify('day_report');

-- silent sensor
CREATE FOREIGN TABLE reading (
    sensor   text NOT NULL,
    celsius  numeric,
    at       timestamptz
) SERVER kafka OPTIONS (topic 'reading', event_time 'at', watermark_delay '5 s',
                        watermark_idle_timeout '10 s', watermark_when_idle 'wall_clock');

CREATE MATERIALIZED VIEW silence
  WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.retention = '7 days',
        tidemark.notify = 'silence') AS
SELECT sensor, session_start AS heard_since, session_end AS silent_at, count(*) AS readings
  FROM (SELECT sensor,
               tidemark.session_start(at, '1 min') OVER w,
               tidemark.session_end(at, '1 min') OVER w
          FROM reading
        WINDOW w AS (PARTITION BY sensor ORDER BY at)) AS s
 GROUP BY sensor, session_start, session_end;
LISTEN silence;

SELECT tidemark.set_clock('2026-07-02 10:00:50+00');
SELECT tidemark.inject('reading', ARRAY[
  '{"sensor": "roof", "celsius": 21, "at": "2026-07-02T10:00:00Z"}',
  '{"sensor": "roof", "celsius": 22, "at": "2026-07-02T10:00:30Z"}',
  '{"sensor": "well", "celsius": 9, "at": "2026-07-02T10:00:50Z"}']);
\o | sed 's/ from server process with PID [0-9]*//'
SELECT tidemark.set_clock('2026-07-02 10:01:46+00');
SELECT tidemark.set_clock('2026-07-02 10:03:00+00');
\o
SELECT sensor, silent_at, readings FROM silence ORDER BY silent_at;
SELECT * FROM tidemark.verify('silence');

-- sample
CREATE FOREIGN TABLE page_view (
    visitor  text NOT NULL,
    page     text NOT NULL,
    at       timestamptz
) SERVER kafka OPTIONS (topic 'page_view', event_time 'at');

CREATE MATERIALIZED VIEW visitor_sample WITH (tidemark.continuous) AS
SELECT window_start, window_end, page, count(*) AS counted, count(*) * 10 AS views
  FROM page_view, tidemark.tumble(at, '1 hour')
 WHERE hashtextextended(visitor, 0) % 10 = 0
 GROUP BY window_start, window_end, page;

CREATE MATERIALIZED VIEW second_sample WITH (tidemark.continuous) AS
SELECT window_start, window_end, page, count(*) AS counted, count(*) * 10 AS views
  FROM page_view, tidemark.tumble(at, '1 hour')
 WHERE extract(second FROM at) < 6
 GROUP BY window_start, window_end, page;

SELECT tidemark.inject('page_view', array_agg(format('{"visitor": "v%s", "page": "home", "at": "%s"}',
         i % 1000, timestamptz '2026-07-02 09:00+00' + i * interval '700 ms') ORDER BY i))
  FROM generate_series(0, 4999) AS i;
SELECT 'visitors' AS sample, window_start, counted, views FROM visitor_sample
UNION ALL
SELECT 'seconds', window_start, counted, views FROM second_sample;
SELECT * FROM tidemark.verify('visitor_sample');
SELECT * FROM tidemark.verify('second_sample');

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
DROP TABLE sale, reminder;
DROP FUNCTION remind;
