-- Proves that verify() calls a view equal exactly when it is: no row for what
-- is equal by its types, floats within tolerance; and every kind of planted
-- difference found, in states, raw table, joined table and log.
CREATE EXTENSION tidemark;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE clicks (
    at timestamptz NOT NULL,
    item int,
    name text,
    price numeric,
    weight float8,
    small float4
) SERVER m OPTIONS (topic 'clicks', event_time 'at');
CREATE TABLE stored (at timestamptz NOT NULL, item int, name text, price numeric, weight float8, small float4)
    PARTITION BY RANGE (item);
CREATE TABLE stored_low PARTITION OF stored FOR VALUES FROM (MINVALUE) TO (10);
CREATE TABLE stored_rest PARTITION OF stored DEFAULT;
CREATE TABLE items (item int PRIMARY KEY, kind text, factor int);
INSERT INTO items SELECT i, 'kind ' || i % 4, 1 FROM generate_series(0, 19) i;
SELECT tidemark.start_ingest('clicks', 'stored');

-- n messages with rows of every sort: NULLs, equal numbers that look different
CREATE FUNCTION send(first int, n int, partition int) RETURNS void LANGUAGE sql AS $$
    SELECT tidemark.inject('clicks', array_agg(json_build_object(
               'at', timestamptz '2026-01-01 00:00:00+00' + i * interval '7 s',
               'item', CASE WHEN i % 11 <> 0 THEN i % 20 END,
               'name', CASE WHEN i % 7 <> 0 THEN 'N' || i % 5 END,
               'price', CASE i % 3 WHEN 0 THEN '1.0' WHEN 1 THEN '1.00' ELSE '2.5' END::numeric,
               'weight', 0.1 * i,
               'small', 0.3 * i)::text ORDER BY i), partition)
      FROM generate_series(first, first + n - 1) i
$$;
SELECT send(0, 100, 0);

-- Views over both sources, some made before and some after messages came.
CREATE MATERIALIZED VIEW v_window WITH (tidemark.continuous) AS
    SELECT w.window_start, w.window_end, item, count(*), sum(price), max(name) AS last_name
      FROM clicks, tidemark.tumble(at, interval '1 min') w GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW v_none WITH (tidemark.continuous) AS
    SELECT count(*) AS n, avg(weight) AS mean FROM stored;
CREATE MATERIALIZED VIEW v_float WITH (tidemark.continuous) AS
    SELECT name, sum(weight), avg(weight), stddev(weight) AS dev, sum(small) AS small, round(sum(weight)::numeric, 12) AS rounded
      FROM stored GROUP BY name;
CREATE MATERIALIZED VIEW v_having WITH (tidemark.continuous) AS
    SELECT item, count(*) FROM clicks WHERE item IS NOT NULL GROUP BY item HAVING count(*) > 8;
CREATE MATERIALIZED VIEW v_number WITH (tidemark.continuous) AS
    SELECT price, price::text AS shown, count(*), 'price ' || price AS label FROM clicks GROUP BY price;
-- case-insensitive where the server can
SELECT getdatabaseencoding() = 'UTF8' AND EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') AS icu \gset
\if :icu
CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
\else
CREATE COLLATION no_case FROM "C";
\endif
CREATE MATERIALIZED VIEW v_case WITH (tidemark.continuous) AS
    SELECT name COLLATE no_case AS name, count(*), 'is ' || (name COLLATE no_case) AS label FROM stored GROUP BY 1;
CREATE MATERIALIZED VIEW v_join WITH (tidemark.continuous) AS
    SELECT kind, count(*), sum(factor) AS factors, min(price) AS cheapest
      FROM stored LEFT JOIN items USING (item) GROUP BY kind;
CREATE MATERIALIZED VIEW v_raw WITH (tidemark.continuous) AS
    SELECT item, count(*) FROM stored GROUP BY item;
CREATE MATERIALIZED VIEW v_log WITH (tidemark.continuous) AS
    SELECT item, count(*), sum(price) FROM clicks GROUP BY item;
CREATE MATERIALIZED VIEW v_later WITH (tidemark.continuous, tidemark.start_at = 'latest') AS
    SELECT count(*), sum(item) FROM clicks;
SELECT send(100, 150, 0), send(250, 150, 1);
SELECT tidemark.inject('clicks', '{"at": "2026-01-01", "name": "n1", "item": 3, "price": 1.000, "weight": "NaN", "small": "Infinity"}');
-- a bad message is none to the view and to verify()
SELECT tidemark.inject('clicks', '{"at": "2026-01-01", "item": "x"}');

CREATE FUNCTION check_all() RETURNS TABLE (v text, problems bigint) LANGUAGE sql AS $$
    SELECT r, (SELECT count(*) FROM tidemark.verify(r::regclass))
      FROM unnest('{v_window,v_none,v_float,v_having,v_number,v_case,v_join,v_raw,v_log,v_later}'::text[]) r
$$;
-- change the state table of a view: one from another cluster is not guarded
CREATE PROCEDURE plant(v regclass, change text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tidemark_state.view SET system_identifier = 0 WHERE view = v;
    ALTER TABLE tidemark_state.view SET (fillfactor = 100);
    EXECUTE format(change, (SELECT state_table FROM tidemark_state.view WHERE view = v));
END $$;
SELECT * FROM check_all();
SELECT count(*) FROM v_window;
SELECT * FROM v_later;
SELECT price, shown, count, label FROM v_number ORDER BY price;
SELECT sum(count) FROM v_case WHERE upper(name COLLATE "C") = 'N1';
-- in the transaction that sends, too
BEGIN;
SELECT send(400, 20, 1);
SELECT * FROM check_all() WHERE problems > 0;
ROLLBACK;
-- with more than fits in memory
BEGIN;
SET LOCAL work_mem = '64kB';
SELECT send(400, 3000, 1);
SELECT count(*) > 3000 AS many FROM v_window;
SELECT * FROM check_all() WHERE problems > 0;
CALL plant('v_window', 'DELETE FROM %s');
SELECT problem, count(*) > 3000 AS many FROM tidemark.verify('v_window') GROUP BY 1;
ROLLBACK;
-- one snapshot for all: what came after it does not show
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM check_all() WHERE problems > 0;
COMMIT;

-- since: only windows from there on
SELECT problem FROM tidemark.verify('v_window', '2026-01-01 00:05:00');
SELECT problem FROM tidemark.verify('v_raw', '2026-01-01 00:05:00');

-- planted in the joined table: one group is renamed, one gets another sum
UPDATE items SET kind = 'renamed' WHERE kind = 'kind 1';
UPDATE items SET factor = 2 WHERE item = 2;
SELECT * FROM tidemark.verify('v_join') ORDER BY problem, view_row;
UPDATE items SET kind = 'kind 1' WHERE kind = 'renamed';
UPDATE items SET factor = 1 WHERE item = 2;
SELECT * FROM tidemark.verify('v_join');

-- planted in the raw table: rows of some groups are gone; not those that retention removed
BEGIN;
TRUNCATE stored_low;
SELECT * FROM tidemark.verify('v_raw');
SELECT * FROM tidemark.verify('v_none');
ROLLBACK;
BEGIN;
UPDATE tidemark_state.view SET system_identifier = 0;
ALTER TABLE tidemark_state.view SET (fillfactor = 100);
DELETE FROM stored_low;
SELECT * FROM tidemark.verify('v_raw') ORDER BY view_row->'item';
SELECT * FROM tidemark.verify('v_none');
ROLLBACK;

-- planted in the states
BEGIN;
CALL plant('v_raw', 'UPDATE %s SET a2 = a2 + 1 WHERE g1 IS NULL');
CALL plant('v_raw', 'DELETE FROM %s WHERE g1 = 5');
CALL plant('v_raw', 'INSERT INTO %s VALUES (100, 1), (-1, 2)');
SELECT * FROM tidemark.verify('v_raw') ORDER BY problem, view_row;
ROLLBACK;
BEGIN;
CALL plant('v_having', 'TRUNCATE %s');
SELECT problem, view_row, count(*), min(batch_row->>'count') FROM tidemark.verify('v_having') GROUP BY 1, 2;
ROLLBACK;
BEGIN;
CALL plant('v_none', 'TRUNCATE %s');
SELECT problem, view_row, batch_row->'n' AS n FROM tidemark.verify('v_none');
ROLLBACK;
-- a key that differs in its last digit is another group
BEGIN;
CALL plant('v_number', 'UPDATE %s SET g1 = 2.5000000001 WHERE g1 = 2.5');
SELECT problem, view_row->>'price' AS kept, batch_row->>'price' AS batch FROM tidemark.verify('v_number') ORDER BY 1;
ROLLBACK;
-- one that only looks different is the same
BEGIN;
CALL plant('v_number', 'UPDATE %s SET g1 = 2.50000 WHERE g1 = 2.5');
SELECT price, label FROM v_number ORDER BY price;
SELECT * FROM tidemark.verify('v_number');
ROLLBACK;
-- in one window alone: since sees it if it is in sight
BEGIN;
CALL plant('v_window', $$UPDATE %s SET a3 = a3 + 1 WHERE g1 = '2026-01-01 00:07:00+00' AND g2 = 1$$);
SELECT problem, view_row->'window_start' AS start, view_row->'item' AS item, view_row->'count' AS kept, batch_row->'count' AS batch FROM tidemark.verify('v_window');
SELECT count(*) FROM tidemark.verify('v_window', '2026-01-01 00:07:00');
SELECT count(*) FROM tidemark.verify('v_window', '2026-01-01 00:08:00');
ROLLBACK;
-- floats: what the order of rows changes is forgiven, more is not
BEGIN;
CALL plant('v_float', 'UPDATE %s SET a2 = a2 * (1 + 1e-12)');
SELECT * FROM tidemark.verify('v_float');
CALL plant('v_float', $$UPDATE %s SET a2 = a2 * (1 + 1e-7) WHERE g1 = 'N3'$$);
SELECT problem, view_row->>'name' AS name FROM tidemark.verify('v_float');
ROLLBACK;
BEGIN;
CALL plant('v_float', $$UPDATE %s SET a2 = 'Infinity' WHERE g1 IN ('N3', 'n1')$$);
SELECT problem, view_row->'name' AS name, view_row->'sum' AS kept, batch_row->'sum' AS batch FROM tidemark.verify('v_float') WHERE batch_row->>'name' = 'n1';
SELECT count(*) FROM tidemark.verify('v_float');
ROLLBACK;

-- planted in the log; a partition that is gone is told about
BEGIN;
SELECT format('DELETE FROM %s WHERE partition = 0 AND kafka_offset < 5', log) FROM tidemark_state.stream WHERE stream = 'clicks'::regclass \gexec
SELECT * FROM tidemark.verify('v_log') ORDER BY view_row->'item';
SELECT * FROM tidemark.verify('v_later');
ROLLBACK;
BEGIN;
SELECT format('DELETE FROM %s WHERE partition = 1', log) FROM tidemark_state.stream WHERE stream = 'clicks'::regclass \gexec
SELECT count(*) FROM tidemark.verify('v_log');
ROLLBACK;
SELECT * FROM check_all() WHERE problems > 0;

-- what reset_ingest() left out is left out of the batch, for the views that left it out
SELECT tidemark.pause('clicks');
SELECT send(420, 30, 0);
SELECT tidemark.reset_ingest('clicks', '{"0": 270}');
SELECT partition, from_offset, to_offset FROM tidemark_state.skipped_range;
SELECT tidemark.resume('clicks');
CREATE MATERIALIZED VIEW v_after WITH (tidemark.continuous) AS SELECT item, count(*) FROM clicks GROUP BY item;
SELECT send(450, 10, 0);
SELECT * FROM check_all() WHERE problems > 0;
SELECT * FROM tidemark.verify('v_after');
SELECT (SELECT sum(count) FROM v_after) - (SELECT sum(count) FROM v_log) AS left_out;
-- also when they have stopped following the ingest, and do so again; what it leaves out meanwhile they take in
SELECT tidemark.pause('v_log');
SELECT tidemark.pause('clicks');
SELECT send(460, 30, 0);
SELECT tidemark.reset_ingest('clicks', '{"0": 300}');
SELECT tidemark.resume('clicks');
SELECT send(490, 10, 0);
SELECT tidemark.resume('v_log');
SELECT send(500, 10, 0);
SELECT * FROM check_all() WHERE problems > 0;
SELECT tidemark.pause('v_log');
SELECT tidemark.resume('v_log');
SELECT * FROM check_all() WHERE problems > 0;
SELECT (SELECT sum(count) FROM v_after) - (SELECT sum(count) FROM v_log) AS left_out;
REFRESH MATERIALIZED VIEW v_log;

-- who may, and of what
CREATE TABLE plain (a int);
SELECT * FROM tidemark.verify('plain');
SELECT * FROM tidemark.verify('stored');
SELECT * FROM tidemark.verify(NULL);
SELECT * FROM tidemark.verify(1);
CREATE ROLE regress_verify_user;
GRANT SELECT ON v_raw TO regress_verify_user;
SET ROLE regress_verify_user;
SELECT * FROM tidemark.verify('v_raw');
RESET ROLE;
SELECT tidemark.pause('v_raw');
SELECT * FROM tidemark.verify('v_raw');
SELECT tidemark.resume('v_raw');
SELECT * FROM tidemark.verify('v_raw');
CREATE MATERIALIZED VIEW v_empty WITH (tidemark.continuous) AS SELECT count(*) FROM stored WITH NO DATA;
SELECT * FROM tidemark.verify('v_empty');
CREATE MATERIALIZED VIEW v_fail WITH (tidemark.continuous) AS SELECT sum(1 / (item - 50)) FROM stored;
SELECT tidemark.inject('clicks', '{"at": "2026-01-01", "item": 50}');
SELECT * FROM tidemark.verify('v_fail');
SELECT * FROM check_all() WHERE problems > 0;

-- as the view's owner: a superuser's rights do not leak into its functions
GRANT SELECT ON stored TO regress_verify_user;
GRANT CREATE ON SCHEMA public TO regress_verify_user;
SET ROLE regress_verify_user;
CREATE FUNCTION whoami(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'running as %', current_user; RETURN $1; END $$;
CREATE MATERIALIZED VIEW v_owner WITH (tidemark.continuous) AS SELECT whoami(count(*)::int * 0) AS zero, count(*) > 0 AS some FROM stored;
RESET ROLE;
SELECT * FROM tidemark.verify('v_owner');

DROP MATERIALIZED VIEW v_owner, v_empty, v_fail, v_after, v_window, v_none, v_float, v_having, v_number, v_case, v_join, v_raw, v_log, v_later;
SELECT tidemark.drop_ingest('clicks');
DROP PROCEDURE plant;
DROP FUNCTION check_all, send, whoami;
DROP TABLE stored, items, plain;
DROP SERVER m CASCADE;
DROP COLLATION no_case;
REVOKE ALL ON SCHEMA public FROM regress_verify_user;
DROP ROLE regress_verify_user;
DROP EXTENSION tidemark;
