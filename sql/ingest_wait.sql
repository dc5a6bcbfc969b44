-- Proves what wait_for() and wait_caught_up() answer, and that what cannot succeed is an error at once.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (id int) SERVER m OPTIONS (topic 't');
CREATE TABLE t (id int);
CREATE TABLE alone (id int);
SELECT refused($$ SELECT tidemark.wait_for('t', 0, 0) $$);
SELECT refused($$ SELECT tidemark.wait_for(4294967295::oid::regclass, 0, 0) $$);
SELECT refused($$ SELECT tidemark.wait_caught_up(4294967295::oid::regclass) $$);
SELECT refused($$ SELECT tidemark.wait_caught_up('t') $$);
SELECT refused($$ SELECT tidemark.wait_for('s', 0, 0) $$);
SELECT refused($$ SELECT tidemark.wait_caught_up('s') $$);
SELECT tidemark.wait_for(NULL, 0, 0) IS NULL AS nothing;
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE MATERIALIZED VIEW vt WITH (tidemark.continuous) AS SELECT count(*) FROM t;
CREATE MATERIALIZED VIEW vs WITH (tidemark.continuous) AS SELECT count(*) FROM s;
CREATE MATERIALIZED VIEW va WITH (tidemark.continuous) AS SELECT count(*) FROM alone;
-- nothing is there: nothing to wait for
SELECT tidemark.wait_caught_up('s'), tidemark.wait_caught_up('vt'), tidemark.wait_caught_up('vs');
SELECT refused($$ SELECT tidemark.wait_caught_up('va') $$);
SELECT refused($$ SELECT tidemark.wait_for('va', 0, 0) $$);
SELECT tidemark.inject('s', ARRAY['{"id":1}', '{"id":2}']);
SELECT r, tidemark.wait_for(r, 0, 1), tidemark.wait_for(r, 0, 2, '0'), tidemark.wait_for(r, 0, 2, '10 ms'), tidemark.wait_caught_up(r, '0')
  FROM unnest(ARRAY['s', 'vt', 'vs']::regclass[]) r;
SELECT tidemark.wait_for('s', 0, -5, '0'), tidemark.wait_for('s', 0, 9223372036854775807, '0');
SELECT tidemark.wait_for('s', 0, 1, '-1 day'), tidemark.wait_for('s', 0, 2, '-1 day'), tidemark.wait_for('s', 0, 1, '2147483647 days');
-- infinity, on servers whose intervals have one
SELECT sign, tidemark.wait_for('s', 0, 1, endless), tidemark.wait_caught_up('vt', endless)
  FROM unnest(ARRAY['', '-']) sign,
       CAST(CASE WHEN current_setting('server_version_num')::int >= 170000 THEN sign || 'infinity'
                 WHEN sign = '' THEN '178956970 years 7 months 2147483647 days 2562047788:00:54.775807'
                 ELSE '-1 day' END AS interval) endless;
SET statement_timeout = '1 s';
SELECT refused(format($$ SELECT tidemark.wait_for('s', 0, 2, %L) $$,
               CASE WHEN current_setting('server_version_num')::int >= 170000 THEN 'infinity' ELSE '2147483647 days' END));
RESET statement_timeout;
SELECT refused($$ SELECT tidemark.wait_for('s', 0, 2, '1 month') $$);
SELECT refused($$ SELECT tidemark.wait_caught_up('s', '1 year') $$);
SELECT refused($$ SELECT tidemark.wait_for('s', 1, 0) $$);
SELECT refused($$ SELECT tidemark.wait_for('vt', -1, 0) $$);
-- a message of the same transaction
BEGIN;
SELECT tidemark.wait_for('vt', 0, tidemark.inject('s', '{"id":3}'));
ROLLBACK;
-- the snapshot must not be older than the answer
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT refused($$ SELECT tidemark.wait_for('s', 0, 0) $$);
SELECT refused($$ SELECT tidemark.wait_caught_up('vt', '0') $$);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT refused($$ SELECT tidemark.wait_for('s', 0, 0) $$);
COMMIT;
-- paused and failed: what is reached is reached, the rest is an error
SELECT tidemark.pause('s');
SELECT tidemark.inject('s', '{"id":3}');
SELECT tidemark.wait_for('s', 0, 1), tidemark.wait_for('vt', 0, 1);
SELECT refused($$ SELECT tidemark.wait_for('s', 0, 2) $$);
SELECT refused($$ SELECT tidemark.wait_for('s', 0, 2, '0') $$);
SELECT refused($$ SELECT tidemark.wait_for('vs', 0, 2) $$);
SELECT refused($$ SELECT tidemark.wait_caught_up('vt') $$);
SELECT tidemark.resume('s');
SELECT tidemark.wait_caught_up('s'), tidemark.wait_caught_up('vt'), tidemark.wait_caught_up('vs');
SELECT tidemark.pause('vt');
SELECT tidemark.pause('vs');
SELECT refused($$ SELECT tidemark.wait_for('vt', 0, 0, '0') $$);
SELECT refused($$ SELECT tidemark.wait_caught_up('vs') $$);
SELECT tidemark.wait_caught_up('s');
SELECT tidemark.resume('vt');
SELECT tidemark.resume('vs');
SELECT tidemark.wait_for('vt', 0, 2), tidemark.wait_for('vs', 0, 2);
CREATE MATERIALIZED VIEW vf WITH (tidemark.continuous) AS SELECT sum(1 / (id - 4)) FROM t;
SELECT tidemark.inject('s', '{"id":4}');
SELECT refused($$ SELECT tidemark.wait_for('vf', 0, 0) $$);
ALTER FOREIGN TABLE s OPTIONS (ADD on_error 'fail');
SELECT tidemark.inject('s', 'bad');
SELECT refused($$ SELECT tidemark.wait_caught_up('s') $$);
SELECT refused($$ SELECT tidemark.wait_caught_up('vt') $$);
SELECT differ('vt'), differ('vs', 'SELECT count(*) FROM ing.t');
-- a Kafka stream that this transaction has just started
CREATE SERVER broker FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE far (id int) SERVER broker OPTIONS (topic 't');
BEGIN;
SELECT tidemark.start_ingest('far');
SELECT refused($$ SELECT tidemark.wait_for('far', 0, 0, '1 s') $$);
ROLLBACK;
-- SELECT is needed
CREATE ROLE regress_ing_waiter;
GRANT USAGE ON SCHEMA ing TO regress_ing_waiter;
GRANT SELECT ON vt TO regress_ing_waiter;
SET ROLE regress_ing_waiter;
SELECT refused($$ SELECT tidemark.wait_for('s', 0, 0) $$);
SELECT refused($$ SELECT tidemark.wait_for('vs', 0, 0) $$);
SELECT tidemark.wait_for('vt', 0, 0);
RESET ROLE;
DROP OWNED BY regress_ing_waiter;
DROP ROLE regress_ing_waiter;

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
