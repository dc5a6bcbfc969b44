-- Proves that types whose values may be read without a subtransaction (soft
-- errors, where the server has them) give the same rows and dead letters
-- everywhere.
SET client_min_messages = warning;
CREATE EXTENSION tidemark;
CREATE SCHEMA soft;
SET search_path = soft;
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE point2 AS (x int, y int);
CREATE TYPE shape AS (c color, corners point2[]);
CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
CREATE TYPE guarded AS (e even);
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE s (id int, c color, i interval, b bytea, n int[], t text[], m color[], p point2, h shape,
                        g guarded, net inet, bits bit(4), d date, j text[])
    SERVER m OPTIONS (topic 't', max_error_ratio '1');
CREATE TABLE t (LIKE s);
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT tidemark.inject('s', ARRAY[
    '{"id": 1, "c": "red", "i": "1 day 2 h", "b": "\\x00ff", "n": [1, 2], "t": ["a", "b\"c"], "m": ["red", "green"]}',
    '{"id": 2, "p": {"x": 1, "y": 2}, "h": {"c": "green", "corners": [{"x": 3}, {"y": 4}]}, "net": "10.0.0.0/8", "bits": "1010"}',
    '{"id": 3, "n": "{1,2,3}", "p": "(5,6)", "m": "{red}", "b": "abc", "n2": 1, "g": {"e": 4}, "d": "4 July 2026"}',
    '{"id": 4, "n": [[1, 2], [3, 4]], "t": [], "m": [null], "i": "-00:00:01", "j": ["é", "\u00e9", "\ud83d\ude00"]}',
    '{"id": 11, "c": "blue"}', '{"id": 12, "i": "1 fortnite"}', '{"id": 13, "b": "\\x0"}', '{"id": 14, "n": [1, "x"]}',
    '{"id": 15, "n": "{1,2"}', '{"id": 16, "n": [[1], [2, 3]]}', '{"id": 17, "m": ["red", "blue"]}',
    '{"id": 18, "p": {"x": "y"}}', '{"id": 19, "h": {"corners": [{"x": 99999999999}]}}', '{"id": 20, "g": {"e": 3}}',
    '{"id": 21, "net": "10.0.0.0/99"}', '{"id": 22, "bits": "10"}', '{"id": 23, "d": "30 February 2026"}',
    '{"id": 24, "t": ["\u0000"]}', '{"id": 25, "p": "(1,2,3)"}', '{"id": 26, "n": 7}', '{"id": 27, "n": {"a": 1}}',
    '{"id": 28, "i": "today"}', '{"id": 29, "d": "today"}', '{"id": 30, "c": 1}', '{"id": 31, "t": ["\ud83d"]}']);
\x on
SELECT * FROM t ORDER BY id;
\x off
SELECT substring(convert_from(value, 'UTF8') from '[0-9]+') AS id, sqlstate, message FROM tidemark.dead_letters ORDER BY kafka_offset;
-- an abort that logs
SET log_min_messages = debug5;
SELECT tidemark.inject('s', '{"id": 33, "c": "blue"}');
RESET log_min_messages;
-- an attribute that an error of a user may come from
ALTER TYPE point2 ADD ATTRIBUTE e even CASCADE;
SELECT tidemark.inject('s', ARRAY['{"id": 5, "p": {"x": 1, "e": 2}}', '{"id": 32, "p": {"x": 1, "e": 3}}']);
SELECT id, p FROM t WHERE id = 5;
SELECT sqlstate, message FROM tidemark.dead_letters ORDER BY kafka_offset DESC LIMIT 1;
DROP EXTENSION tidemark CASCADE;
DROP SCHEMA soft CASCADE;
