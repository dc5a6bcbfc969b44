-- Proves that group keys are equal as their collation says, also where that
-- makes different texts equal: a nondeterministic collation, which needs ICU
-- (maintain_collation_1.out: a server without).
SET client_min_messages = warning;
SELECT NOT EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') OR getdatabaseencoding() <> 'UTF8' AS without_icu \gset
\if :without_icu
\quit
\endif
CREATE EXTENSION tidemark;
CREATE SCHEMA coll;
SET search_path = coll;
CREATE COLLATION ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION ignore_accent (provider = icu, locale = 'und-u-ks-level1-kc-true', deterministic = false);
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE s (k text COLLATE ignore_case, a text COLLATE ignore_accent, x int)
    SERVER m OPTIONS (topic 't');
CREATE TABLE t (k text COLLATE ignore_case, a text COLLATE ignore_accent, x int);
SELECT tidemark.start_ingest('s', into_table => 't');
CREATE MATERIALIZED VIEW by_k WITH (tidemark.continuous) AS
    SELECT k, count(*) AS n, sum(x) AS total FROM t GROUP BY k;
CREATE MATERIALIZED VIEW by_both WITH (tidemark.continuous) AS
    SELECT k, a, count(*) AS n, sum(x) AS total FROM s GROUP BY k, a;
-- the same column under a collation that tells all texts apart
CREATE MATERIALIZED VIEW by_plain WITH (tidemark.continuous) AS
    SELECT k COLLATE "C" AS k, count(*) AS n FROM t GROUP BY k COLLATE "C";
SELECT tidemark.inject('s', ARRAY[
    '{"k": "Abc", "a": "resume", "x": 1}', '{"k": "abc", "a": "résumé", "x": 2}',
    '{"k": "ABC", "a": "Resume", "x": 4}', '{"k": "abd", "a": "resume", "x": 8}']);
SELECT tidemark.inject('s', ARRAY[
    '{"k": "aBC", "a": "RÉSUMÉ", "x": 16}', '{"k": "ABD", "a": "resumé", "x": 32}',
    '{"k": null, "a": "résume", "x": 64}', '{"k": null, "a": "resume", "x": 128}']);
SELECT lower(k) AS k, n, total FROM by_k ORDER BY k COLLATE "C";
SELECT lower(k) AS k, n, total FROM by_both ORDER BY lower(k) COLLATE "C", n;
SELECT k, n FROM by_plain ORDER BY k;
-- against batch: by the collation's own equality
SELECT * FROM (TABLE by_k EXCEPT ALL SELECT k, count(*), sum(x) FROM t GROUP BY k) d;
SELECT * FROM (SELECT k, count(*), sum(x) FROM t GROUP BY k EXCEPT ALL TABLE by_k) d;
SELECT * FROM (TABLE by_both EXCEPT ALL SELECT k, a, count(*), sum(x) FROM t GROUP BY k, a) d;
SELECT * FROM (SELECT k, a, count(*), sum(x) FROM t GROUP BY k, a EXCEPT ALL TABLE by_both) d;
SELECT * FROM tidemark.verify('by_k');
SELECT * FROM tidemark.verify('by_both');
SELECT * FROM tidemark.verify('by_plain');
-- by index, in any spelling
SELECT n, total FROM by_k WHERE k = 'aBc';
-- history is taken in the same way
CREATE MATERIALIZED VIEW late WITH (tidemark.continuous) AS
    SELECT a, k, count(*) AS n FROM t GROUP BY a, k;
SELECT tidemark.inject('s', '{"k": "abC", "a": "rÉsume", "x": 256}');
SELECT * FROM (TABLE late EXCEPT ALL SELECT a, k, count(*) FROM t GROUP BY a, k) d;
SELECT * FROM tidemark.verify('late');
SELECT count(*) FROM late;
DROP EXTENSION tidemark CASCADE;
DROP SCHEMA coll CASCADE;
