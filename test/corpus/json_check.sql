-- Proves that decoding agrees with json and jsonb on every message of
-- json_documents.txt: the same are good, with equal rows, and the others are
-- dead letters.  Run it with psql in this directory, in a database with the
-- extension and encoding UTF8; an answer other than zero rows is a failure.
\set ON_ERROR_STOP on
BEGIN;
\ir json_oracle.sql
SET TimeZone = 'UTC';
CREATE SERVER corpus FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE corpus.stream (
    a bigint,
    b text,
    t timestamptz,
    e timestamptz OPTIONS (time_unit 'ms'),
    n jsonb,
    p bigint OPTIONS (field '/p/q'),
    l0 bigint OPTIONS (field '/l/0'),
    l2 text OPTIONS (field '/l/2'),
    m bigint OPTIONS (field '/m~0n/o~1p'),
    x bigint OPTIONS (field '/'),
    kafka_offset bigint OPTIONS (metadata 'offset')
) SERVER corpus OPTIONS (topic 'corpus', max_error_ratio '1');
SELECT tidemark.start_ingest('corpus.stream');
CREATE TABLE corpus.sent AS
    SELECT no, result, tidemark.inject('corpus.stream', value => message) AS kafka_offset
    FROM (SELECT * FROM corpus.expected ORDER BY no) e;

-- rows that differ, are missing or should not be there
SELECT no, result, actual
FROM corpus.sent
     FULL JOIN (SELECT kafka_offset, row(a, b, t, e, n, p, l0, l2, m, x)::text AS actual
                FROM corpus.stream) s USING (kafka_offset)
WHERE result IS DISTINCT FROM actual
ORDER BY no;

-- messages that are dead letters and should not be, or the reverse
SELECT no, result, message
FROM corpus.sent
     FULL JOIN (SELECT kafka_offset, message FROM tidemark.dead_letters
                WHERE stream = 'corpus.stream'::regclass AND stage = 'decode') d
     USING (kafka_offset)
WHERE (result IS NULL) <> (message IS NOT NULL)
ORDER BY no;
ROLLBACK;
