-- Proves that partition_by_time() makes table partitions ahead and drops old ones, by steps in UTC, as the table's owner, and never what an ingest or a view still needs.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set VERBOSITY default
\set ECHO all
-- table partitions with their bounds
CREATE FUNCTION parts(t regclass) RETURNS TABLE (name name, bounds text) LANGUAGE sql AS
$$ SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE inhparent = t ORDER BY i.inhrelid = (SELECT partdefid FROM pg_partitioned_table WHERE partrelid = t), 2 $$;
CREATE FUNCTION removed() RETURNS TABLE (view regclass, from_time timestamptz, to_time timestamptz) LANGUAGE sql AS
$$ SELECT v.view, r.from_time, r.to_time FROM tidemark_state.removed_range r JOIN tidemark_state.view v USING (state_table) ORDER BY v.view::text, 2 $$;

-- what it cannot be
CREATE TABLE plain (at timestamptz);
CREATE TABLE by_list (at timestamptz) PARTITION BY LIST (at);
CREATE TABLE by_two (at timestamptz, k int) PARTITION BY RANGE (at, k);
CREATE TABLE by_expr (at timestamp) PARTITION BY RANGE (date_trunc('day', at));
CREATE TABLE by_int (k int) PARTITION BY RANGE (k);
CREATE TABLE by_date (day date) PARTITION BY RANGE (day);
CREATE TABLE good (at timestamptz) PARTITION BY RANGE (at);
CREATE VIEW v AS SELECT 1;
SELECT t, refused(format($$ SELECT tidemark.partition_by_time(%L, '1 day') $$, t)) FROM unnest('{plain,by_list,by_two,by_expr,by_int,v,pg_class,tidemark_state.partition}'::text[]) t;
SELECT refused($$ SELECT tidemark.partition_by_time(4711, '1 day') $$);
SELECT refused($$ SELECT tidemark.partition_by_time(NULL, '1 day') $$);
SELECT s, refused(format($$ SELECT tidemark.partition_by_time('good', %L) $$, s)) FROM unnest('{NULL,0,-1 day,1 month 1 day,59 s}'::text[]) s;
SELECT refused($$ SELECT tidemark.partition_by_time('by_date', '36 hours') $$);
SELECT p, refused(format($$ SELECT tidemark.partition_by_time('good', '1 day', premake => %L) $$, p)) FROM unnest('{0,1001,NULL}'::text[]) p;
SELECT r, refused(format($$ SELECT tidemark.partition_by_time('good', '1 day', retention => %L) $$, r)) FROM unnest('{-1 s}'::text[]) r;
SELECT refused($$ SELECT tidemark.partition_by_time('good', '1 day', since => 'infinity') $$);
SELECT refused($$ SELECT tidemark.partition_by_time('good', '1 hour', since => '2001-01-01') $$);
SELECT refused($$ SELECT * FROM tidemark.maintain_partitions('good') $$);
SELECT refused($$ SELECT tidemark.drop_partitioning('good') $$);
SELECT tidemark.drop_partitioning('good', if_exists => true);
CREATE UNLOGGED TABLE unlogged (at timestamptz);
SELECT refused($$ SELECT tidemark.partition_by_time('unlogged', '1 day') $$);
SELECT count(*) FROM tidemark.partitioned_tables;

-- the default: as many steps back as ahead; the clock of a manual stream counts
SELECT tidemark.set_clock('2026-03-29 12:00Z');
CREATE FOREIGN TABLE s (id int, at timestamptz, k text) SERVER m OPTIONS (topic 't', event_time 'at', watermark_max_future 'infinity');
CREATE TABLE t (id int NOT NULL DEFAULT 7, at timestamptz, k text COLLATE "C" CHECK (k <> 'bad'), twice int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (at);
CREATE INDEX ON t USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX ON t (lower(k)) WHERE k IS NOT NULL;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER noted AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION noted();
SELECT tidemark.start_ingest('s', into_table => 't');
SELECT tidemark.partition_by_time('t', '1 day', premake => 2);
SELECT * FROM parts('t');
-- days are those of UTC, whatever the session thinks
SET TimeZone = 'Europe/Berlin';
SELECT * FROM parts('t') LIMIT 3;
RESET TimeZone;
SET TimeZone = 'UTC';
\d t_p20260329
-- again: nothing
SELECT tidemark.partition_by_time('t', '1 day', premake => 2);
SELECT * FROM tidemark.maintain_partitions('t');
SELECT parent, state, reason, hint, sqlstate, step, premake, retention, made_until, table_partitions, next_run > now() AS later FROM tidemark.partitioned_tables;
-- a row without partition is a dead letter, and comes back
SELECT tidemark.inject('s', ARRAY['{"id":1,"at":"2026-03-29T10:00:00Z","k":"a"}', '{"id":2,"at":"2026-04-05T10:00:00Z","k":"a"}', '{"id":3,"at":"2026-03-26T10:00:00Z","k":"b"}']) IS NOT NULL AS sent;
SELECT stage, sqlstate, message, value_text FROM tidemark.dead_letters ORDER BY kafka_offset;
SELECT tidemark.set_clock('2026-04-03 00:00Z');
SELECT * FROM tidemark.maintain_partitions('t');
SELECT tidemark.partition_by_time('t', '1 day', premake => 2, since => '2026-03-26 23:59:59Z');
SELECT * FROM tidemark.replay_dead_letters('s');
SELECT tableoid::regclass, * FROM t ORDER BY id;

-- what somebody has dropped does not come back; gaps and made-by-hand ones
DROP TABLE t_p20260404;
SELECT * FROM tidemark.maintain_partitions('t');
CREATE TABLE own PARTITION OF t FOR VALUES FROM ('2026-04-06 06:00Z') TO ('2026-04-06 18:00Z');
SELECT tidemark.set_clock('2026-04-05 00:00Z');
SELECT * FROM tidemark.maintain_partitions('t');
SELECT tidemark.partition_by_time('t', '1 month', premake => 1);
SELECT * FROM parts('t');
-- a name that is taken
SELECT tidemark.set_clock('2026-05-01 00:00Z');
CREATE VIEW t_p20260601 AS SELECT 1;
SELECT refused($$ SELECT * FROM tidemark.maintain_partitions('t') $$);
DROP VIEW t_p20260601;
SELECT * FROM tidemark.maintain_partitions('t');

-- a default partition with rows of the range
CREATE TABLE rest_of_t PARTITION OF t DEFAULT;
SELECT tidemark.inject('s', '{"id":10,"at":"2026-07-04T10:00:00Z"}') IS NOT NULL AS sent;
SELECT tidemark.set_clock('2026-06-01 00:00Z');
SELECT refused($$ SELECT * FROM tidemark.maintain_partitions('t') $$);
SELECT tidemark.partition_by_time('t', '1 month', premake => 1, since => '2026-08-01');
SELECT made_until FROM tidemark.partitioned_tables;
ALTER TABLE t DETACH PARTITION rest_of_t;
SELECT tidemark.partition_by_time('t', '1 month', premake => 1, since => '2026-07-01');
INSERT INTO t (id, at, k) SELECT id, at, k FROM rest_of_t;
DROP TABLE rest_of_t;
SELECT tableoid::regclass, id FROM t ORDER BY id;
SELECT tidemark.drop_partitioning('t');
SELECT refused($$ SELECT tidemark.drop_partitioning('t') $$);

-- steps: hours, weeks, quarters, years; timestamp, date; long names
CREATE SCHEMA "odd; ""name";
CREATE FUNCTION try(type text, step text, now timestamptz, name text DEFAULT 'x') RETURNS TABLE (names name, bound text) LANGUAGE plpgsql AS $$
DECLARE tab text := format('"odd; ""name".%I', name);
BEGIN
    PERFORM tidemark.set_clock(now);
    EXECUTE format('CREATE FOREIGN TABLE xs (id int, "the; ""time" %s) SERVER m OPTIONS (topic ''x'')', type);
    EXECUTE format('CREATE TABLE %s (LIKE xs) PARTITION BY RANGE ("the; ""time")', tab);
    EXECUTE format('CREATE TABLE "odd; ""name"."rest; ""x" PARTITION OF %s DEFAULT', tab);
    PERFORM tidemark.start_ingest('xs', into_table => tab::regclass);
    PERFORM tidemark.partition_by_time(tab::regclass, step::interval, premake => 1);
    RETURN QUERY SELECT * FROM parts(tab::regclass);
    EXECUTE format('DROP FOREIGN TABLE xs; DROP TABLE %s', tab);
END $$;
SELECT * FROM try('timestamptz', '6 hours', '2026-01-01 03:00Z');
SELECT * FROM try('timestamp', '15 min', '2026-10-25 01:05Z', name => 'odd; "t');
SELECT * FROM try('date', '1 week', '2026-01-01 03:00Z');
SELECT * FROM try('date', '3 months', '2026-01-31 03:00Z');
SELECT * FROM try('timestamptz', '1 month', '2026-02-28 23:59:59.999999Z');
SELECT * FROM try('timestamp', '1 year', '2026-02-28 03:00Z');
SELECT * FROM try('timestamptz', '1000 years', '2026-02-28 03:00Z');
SELECT names, length(names::text) FROM try('timestamptz', '1 day', '2026-02-28 03:00Z', repeat('ä', 31));
DROP SCHEMA "odd; ""name";

-- retention: not before clock and watermark, and views know of it
SELECT tidemark.set_clock('2026-01-10 12:00Z');
CREATE FOREIGN TABLE rs (id int, at timestamptz) SERVER m OPTIONS (topic 'r', event_time 'at', watermark_max_future 'infinity');
CREATE TABLE r (LIKE rs) PARTITION BY RANGE (at);
SELECT tidemark.start_ingest('rs', into_table => 'r');
SELECT tidemark.partition_by_time('r', '1 day', premake => 1, retention => '3 days');
SELECT name FROM parts('r');
CREATE MATERIALIZED VIEW per_day WITH (tidemark.continuous) AS SELECT window_start, count(*) AS n FROM r, tidemark.tumble(r.at, '1 day') GROUP BY window_start;
CREATE MATERIALIZED VIEW later WITH (tidemark.continuous) AS SELECT count(*) FROM r WITH NO DATA;
SELECT tidemark.inject('rs', (SELECT array_agg(json_build_object('id', i, 'at', timestamptz '2026-01-07 00:00Z' + i * interval '6 h')::text ORDER BY i) FROM generate_series(0, 15) i)) IS NOT NULL AS sent;
SELECT * FROM tidemark.verify('per_day');
SELECT tidemark.set_clock('2026-01-11 23:59Z');
SELECT * FROM tidemark.maintain_partitions('r');
-- the ingest is behind: all stays until it comes
SELECT tidemark.set_clock('2026-01-14 12:00Z');
SELECT * FROM tidemark.maintain_partitions('r');
SELECT * FROM removed();
SELECT tidemark.inject('rs', '{"id":100,"at":"2026-01-12T00:00:00Z"}') IS NOT NULL AS sent;
-- a paused view needs its rows
SELECT tidemark.pause('per_day');
SELECT refused($$ SELECT * FROM tidemark.maintain_partitions('r') $$);
SELECT tidemark.resume('per_day');
SELECT * FROM tidemark.verify('per_day');
SELECT * FROM tidemark.maintain_partitions('r');
SELECT * FROM removed();
SELECT * FROM tidemark.verify('per_day');
SELECT * FROM per_day ORDER BY 1;
SELECT refused($$ SELECT tidemark.pause('per_day') $$);
-- late for its partition: a dead letter, in neither table nor view
SELECT tidemark.inject('rs', '{"id":101,"at":"2026-01-07T12:00:00Z"}') IS NOT NULL AS sent;
SELECT sqlstate, stage FROM tidemark.dead_letters WHERE stream = 'rs'::regclass;
SELECT * FROM tidemark.verify('per_day');
-- a shorter retention at once; what is used otherwise is not dropped
CREATE VIEW uses AS SELECT * FROM r_p20260109;
SELECT refused($$ SELECT tidemark.partition_by_time('r', '1 day', premake => 1, retention => '1 day') $$);
DROP VIEW uses;
SELECT tidemark.partition_by_time('r', '1 day', premake => 1, retention => '1 day');
SELECT name FROM parts('r');
SELECT * FROM removed();
SELECT * FROM tidemark.verify('per_day');

-- whose
CREATE ROLE regress_part_owner;
CREATE ROLE regress_part_other;
GRANT USAGE, CREATE ON SCHEMA ing TO regress_part_owner;
GRANT USAGE ON SCHEMA ing TO regress_part_other;
CREATE TABLE o (at timestamptz) PARTITION BY RANGE (at);
ALTER TABLE o OWNER TO regress_part_owner;
SET ROLE regress_part_other;
SELECT refused($$ SELECT tidemark.partition_by_time('o', '1 day') $$);
SELECT refused($$ SELECT * FROM tidemark.maintain_partitions('o') $$);
SELECT refused($$ SELECT tidemark.drop_partitioning('o') $$);
SELECT count(*) FROM tidemark.partitioned_tables;
SELECT refused($$ INSERT INTO tidemark_state.partitioning SELECT * FROM tidemark_state.partitioning $$);
RESET ROLE;
-- called by a superuser: they are the owner's nevertheless
SELECT tidemark.partition_by_time('o', '1 day', premake => 3);
SELECT c.relowner::regrole, count(*) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'o'::regclass GROUP BY 1;
SET ROLE regress_part_owner;
SELECT count(*) FROM tidemark.maintain_partitions('o');
SELECT parent, table_partitions FROM tidemark.partitioned_tables;
RESET ROLE;
REVOKE CREATE ON SCHEMA ing FROM regress_part_owner;
SELECT refused($$ SELECT tidemark.partition_by_time('o', '1 day', premake => 4) $$);

-- it is dumped; a copy rests until it is told to go on
SELECT 'tidemark_state.partitioning'::regclass = ANY (extconfig) AS dumped FROM pg_extension WHERE extname = 'tidemark';
BEGIN;
UPDATE tidemark_state.partitioning SET system_identifier = 0, next_run = '-infinity';
UPDATE tidemark_state.ingest SET system_identifier = 0;
SELECT parent, state, reason FROM tidemark.partitioned_tables ORDER BY 1;
SELECT refused($$ SELECT * FROM tidemark.maintain_partitions('r') $$);
SELECT tidemark.resume('rs');
SELECT parent, state, reason FROM tidemark.partitioned_tables ORDER BY 1;
ROLLBACK;

-- DROP of all of it leaves nothing
DROP TABLE o;
SELECT parent FROM tidemark.partitioned_tables;
SELECT tidemark.set_clock(NULL);
SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
DROP ROLE regress_part_owner, regress_part_other;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
