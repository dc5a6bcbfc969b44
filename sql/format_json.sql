-- Proves that decoding agrees with PostgreSQL's own json and jsonb on a corpus
-- of nasty documents: the same are good, with equal rows; the others are dead
-- letters.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set corpus :abs_srcdir '/test/corpus'
\cd :corpus
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET client_min_messages = error;
CREATE EXTENSION tidemark;
\i json_check.sql
DROP EXTENSION tidemark CASCADE;
