-- Proves that everything a continuous view does not take is refused at CREATE, with SQLSTATE, position and hint.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set oracle :abs_srcdir '/test/oracle.sql'
\i :oracle
SET client_min_messages = warning;
CREATE TABLE dim (k int PRIMARY KEY, label text);
CREATE TABLE plain (k int, at timestamptz);
CREATE VIEW plain_view AS SELECT k FROM plain;
CREATE VIEW stream_view AS SELECT k FROM ev_stream;
CREATE VIEW deep_view AS SELECT d.k FROM dim d WHERE EXISTS (SELECT FROM stream_view s WHERE s.k = d.k);
CREATE FOREIGN TABLE other_stream (k int, doc json, p point, i timestamptz OPTIONS (metadata 'ingest_time'), w timestamptz OPTIONS (metadata 'watermark')) SERVER m OPTIONS (topic 'other');
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k;
CREATE SEQUENCE seq;
CREATE FUNCTION refusing() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'never called'; END $$;
\set VERBOSITY verbose
\set SHOW_CONTEXT never
-- SQLSTATE, message, position, hint; not the line in the source
CREATE FUNCTION refusal(query text, options text DEFAULT 'tidemark.continuous') RETURNS TABLE (line text) LANGUAGE plpgsql AS
$$
DECLARE
    msg text; det text; hnt text; st text;
BEGIN
    EXECUTE format('CREATE MATERIALIZED VIEW refused WITH (%s) AS %s', options, query);
    RETURN QUERY VALUES ('created!');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS st = RETURNED_SQLSTATE, msg = MESSAGE_TEXT, det = PG_EXCEPTION_DETAIL, hnt = PG_EXCEPTION_HINT;
    RETURN QUERY SELECT * FROM (VALUES (st || ' ' || msg), ('  detail: ' || nullif(det, '')), ('  hint: ' || nullif(hnt, ''))) l(x) WHERE x IS NOT NULL;
END
$$;
SET client_min_messages = notice;
\set VERBOSITY default
\set ECHO all

-- clauses
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, x FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k FROM ev UNION SELECT k FROM dim;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS WITH c AS (SELECT 1) SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*), row_number() OVER (ORDER BY k) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY ROLLUP (k);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, name, grouping(k), count(*) FROM ev GROUP BY GROUPING SETS ((k), (name));
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, grouping(k) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT DISTINCT k FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k ORDER BY count(*);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k LIMIT 3;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM ev GROUP BY k OFFSET 3;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k FROM ev FOR UPDATE;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, generate_series(1, 2), count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT generate_series(1, k), count(*) FROM ev GROUP BY 1;

-- outputs
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT d.k, d.label, count(*) FROM ev JOIN dim d USING (k) GROUP BY d.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, (SELECT label FROM dim LIMIT 1), count(*) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k FROM ev GROUP BY k HAVING count(*) > (SELECT 1);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(ev) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, max(tableoid) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT i, count(*) FROM other_stream GROUP BY i;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT max(w) FROM other_stream;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT doc::text, count(doc) FROM other_stream GROUP BY p::text, doc::text, p;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT p ~= p AS same, count(*) FROM other_stream GROUP BY doc;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k::text::xid, count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT ARRAY[k::text::xid], count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT ROW(k, name) AS r, count(*) FROM ev GROUP BY ROW(k, name);
SELECT refusal('SELECT count(*) FROM ev GROUP BY ' || string_agg('k + ' || i, ', ')) FROM generate_series(1, 33) i;

-- a generated column that is not stored; before 18 there is none, but the catalog can say so
CREATE TABLE virtual (k int, twice int GENERATED ALWAYS AS (k * 2) STORED);
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        ALTER TABLE virtual DROP COLUMN twice;
        EXECUTE 'ALTER TABLE virtual ADD COLUMN twice int GENERATED ALWAYS AS (k * 2) VIRTUAL';
        INSERT INTO virtual VALUES (1);
    ELSE
        INSERT INTO virtual VALUES (1);
        UPDATE pg_attribute SET attgenerated = 'v' WHERE attrelid = 'virtual'::regclass AND attname = 'twice';
    END IF;
END
$$;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, sum(twice) FROM virtual GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*) FROM virtual WHERE twice > 2 GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM virtual v, LATERAL (SELECT d.k FROM dim d WHERE d.k = v.twice) d;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(virtual) FROM virtual;
-- one that is not read, and one of a joined table
CREATE MATERIALIZED VIEW unread WITH (tidemark.continuous) AS SELECT k, sum(k * 2) FROM virtual GROUP BY k;
TABLE unread;
DROP MATERIALIZED VIEW unread;
CREATE MATERIALIZED VIEW joined WITH (tidemark.continuous) AS SELECT twice, count(*) FROM ev JOIN virtual USING (k) GROUP BY twice;
SELECT tidemark.inject('ev_stream', '{"k":1,"at":"2026-01-01T00:00:00Z"}');
TABLE joined;
DROP MATERIALIZED VIEW joined;
DROP TABLE virtual;

-- aggregates
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, count(*), array_agg(x) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, string_agg(name, ',') FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, json_agg(name) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(DISTINCT name) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT max(x ORDER BY name) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY f) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT mode() WITHIN GROUP (ORDER BY k) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT rank(3) WITHIN GROUP (ORDER BY k) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT k, (SELECT count(ev.x)) FROM ev GROUP BY k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*), count((SELECT count(ev.x) FROM dim)) FROM ev;

-- sources
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM generate_series(1, 3);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM dim JOIN plain USING (k);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev JOIN ev_stream s ON s.k = ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev a JOIN ev b ON a.k = b.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM plain a, LATERAL (SELECT FROM plain b WHERE a.k = b.k) s;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT sum(v.count) FROM v;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev JOIN v ON v.k = ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM plain_view WHERE k > 0;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev JOIN stream_view s ON s.k = ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev JOIN deep_view s ON s.k = ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM (SELECT k FROM ev_stream) s;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM (SELECT k FROM ev) s;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM plain p WHERE EXISTS (SELECT FROM ev_stream WHERE k = p.k);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM plain p WHERE EXISTS (SELECT FROM ev WHERE k = p.k);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM plain p WHERE EXISTS (SELECT FROM v WHERE k = p.k);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM plain p WHERE p.k > ALL (SELECT k FROM plain);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM dim d LEFT JOIN ev ON d.k = ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev RIGHT JOIN dim d ON d.k = ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev FULL JOIN dim d ON d.k = ev.k;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev TABLESAMPLE system (10);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev, ROWS FROM (generate_series(1, 2), generate_series(1, k)) WITH ORDINALITY AS g(a, b, c) GROUP BY c HAVING random() > 0;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT relkind, count(*) FROM pg_class GROUP BY relkind;
CREATE UNLOGGED TABLE unlogged (k int);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(k) FROM unlogged;
CREATE TEMP TABLE temporary (k int);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(k) FROM temporary;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(t.k) FROM ev JOIN temporary t USING (k);
CREATE TABLE parent (k int);
CREATE TABLE child () INHERITS (parent);
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(k) FROM parent;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(k) FROM child;
CREATE TABLE parted (k int) PARTITION BY LIST (k);
CREATE TABLE part PARTITION OF parted DEFAULT;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(k) FROM part;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(k) FROM ONLY parted;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(rows) FROM tidemark_state.view_stats;

-- options
CREATE MATERIALIZED VIEW r WITH (tidemark.start_at = 'latest') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous = false) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous = maybe) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.emit = 'final') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.retention = '1 day') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.nonsense) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.start_at = 'latest') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.start_at = 'whenever') AS SELECT count(*) FROM ev_stream;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, fillfactor = 70) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r USING heap WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.allowed_lateness = '1 min') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.late = 'table') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.notify = '') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.notify) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.emit = 'never') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.allowed_lateness = 'infinity') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.retention = '1 d', tidemark.allowed_lateness = 'infinity') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.late = 'keep') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.allowed_lateness = '1 month') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.allowed_lateness = '-1 s') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.allowed_lateness = 'soon') AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.emit = 'final') AS SELECT date_trunc('minute', at), count(*) FROM ev GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.emit = 'final') AS SELECT window_start, count(*) FROM ev, tidemark.tumble(at + interval '1 s', '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.emit = 'final') AS SELECT window_start, count(*) FROM ev, tidemark.tumble(at, '1 min') GROUP BY 1;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.emit = 'final, revisions') AS SELECT k, s, count(*) FROM (SELECT k, tidemark.session_start(at, '1 min') OVER (PARTITION BY k ORDER BY at) AS s FROM ev_stream) x GROUP BY 1, 2;
CREATE UNLOGGED MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r (a, b) WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*), count(*) FROM ev;
CREATE MATERIALIZED VIEW nowhere.r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE MATERIALIZED VIEW pg_temp.r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE TABLE r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
CREATE VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
EXPLAIN (COSTS OFF, ANALYZE, SUMMARY OFF, TIMING OFF) CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM plain;
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
ROLLBACK;

SET search_path = pg_temp, public;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
RESET search_path;

-- the SQLSTATE of what is not supported is one
SELECT left(line, 5) AS sqlstate, count(*) AS queries FROM unnest(ARRAY[
    'SELECT k FROM ev', 'SELECT k FROM ev UNION SELECT k FROM dim', 'WITH c AS (SELECT 1) SELECT count(*) FROM ev',
    'SELECT k, row_number() OVER () FROM ev GROUP BY k', 'SELECT k FROM ev GROUP BY ROLLUP (k)', 'SELECT DISTINCT k FROM ev GROUP BY k',
    'SELECT k FROM ev GROUP BY k ORDER BY k', 'SELECT count(*) FROM ev LIMIT 1', 'SELECT k FROM ev FOR SHARE',
    'SELECT generate_series(1, 2), count(*) FROM ev', 'SELECT count(*), (SELECT 1) FROM ev', 'SELECT count(ev) FROM ev', 'SELECT max(ctid) FROM ev',
    'SELECT array_agg(k) FROM ev', 'SELECT json_agg(k) FROM ev', 'SELECT count(DISTINCT k) FROM ev', 'SELECT sum(k ORDER BY k) FROM ev',
    'SELECT mode() WITHIN GROUP (ORDER BY k) FROM ev', 'SELECT count(*)', 'SELECT count(*) FROM dim, plain', 'SELECT count(*) FROM ev, ev_stream',
    'SELECT count(*) FROM ev a, ev b', 'SELECT count(*) FROM v', 'SELECT count(*) FROM plain_view', 'SELECT count(*) FROM deep_view, ev',
    'SELECT count(*) FROM dim LEFT JOIN ev USING (k)', 'SELECT count(*) FROM ev TABLESAMPLE system (1)', 'SELECT count(*) FROM ev JOIN dim TABLESAMPLE system (1) USING (k)', 'SELECT count(*) FROM ev WHERE k IN (SELECT k FROM dim TABLESAMPLE system (1))', 'SELECT count(*) FROM unlogged',
    'SELECT count(*) FROM parent', 'SELECT count(*) FROM pg_class', 'SELECT now(), count(*) FROM ev', 'SELECT random(), count(*) FROM ev']) query,
    LATERAL refusal(query) line WHERE line NOT LIKE '  %' GROUP BY 1;

-- the engine's own functions
SELECT tidemark_state.batch_rows();
SELECT * FROM tidemark_state.batch_rows() AS b(k int);
SELECT tidemark.final(NULL, 1::int8, NULL::int8);
SELECT tidemark.combine(NULL, 1, 1);
SELECT tidemark.is_populated('pg_class');
SELECT tidemark.is_populated(NULL);
SELECT '\x00'::tidemark.aggstate;
SELECT tidemark.final('avg(int8)', '\x00'::tidemark.aggstate, NULL::numeric);

SELECT count(*) FROM tidemark_state.view;

\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION tidemark CASCADE;
\set ECHO all
-- without the extension
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous) AS SELECT count(*) FROM ev;
\set ECHO none
DROP TABLE ev, dim, plain, unlogged, temporary, parent, child, parted CASCADE;
DROP SEQUENCE seq;
DROP FUNCTION check_view, check_all, feed, series, refusal, refusing;
