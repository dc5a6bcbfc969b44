-- Proves which options of a continuous view can be changed, that a change counts from the next batch on, and that verify() agrees.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all

CREATE FOREIGN TABLE s (k text, v int, at timestamptz) SERVER m OPTIONS (topic 't', event_time 'at', watermark_idle_timeout 'infinity');
SELECT tidemark.start_ingest('s');
CREATE FUNCTION go(seconds int) RETURNS bigint LANGUAGE sql AS $$
  SELECT tidemark.inject('ing.s', json_build_object('k', 'a', 'v', seconds, 'at', timestamptz '2026-01-01Z' + seconds * interval '1 s')::text) $$;
CREATE FUNCTION wrong() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM tidemark.views v, tidemark.verify(v.view) $$;
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final, revisions') AS
  SELECT window_start, k, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start, k;
SELECT go(1), go(12), go(2);

-- late rows are kept from now on
SELECT count(*) FROM tidemark.late_rows;
ALTER MATERIALIZED VIEW v SET (tidemark.late = 'table', tidemark.retention = '1 min');
SELECT options FROM tidemark.views;
SELECT go(23), go(3);
SELECT row FROM tidemark.late_rows;
SELECT late FROM tidemark.views;
SELECT wrong();
SELECT tidemark.admit_late('v');
SELECT go(24), go(4);
ALTER MATERIALIZED VIEW v RESET (tidemark.late);
SELECT options, state FROM tidemark.views;
SELECT go(25), go(5);
SELECT count(*) FROM tidemark.late_rows;
SELECT tidemark.admit_late('v');
ALTER MATERIALIZED VIEW v SET (tidemark.late = 'table');
ALTER MATERIALIZED VIEW v SET (tidemark.late = 'count');
SELECT relname FROM pg_class WHERE relnamespace = 'tidemark_state'::regnamespace AND relname ~ '^[sflq]_\d+$' ORDER BY 1;
-- retention: shorter takes effect with the next watermark, longer gives nothing back
SELECT go(95), count(*) FROM v;
ALTER MATERIALIZED VIEW v SET (tidemark.retention = '20 s');
SELECT go(96);
SELECT pruned_until, (SELECT count(*) FROM v) FROM tidemark.views;
ALTER MATERIALIZED VIEW v RESET (tidemark.retention);
SELECT go(196), go(197);
SELECT pruned_until, (SELECT count(*) FROM v) FROM tidemark.views;
SELECT wrong();
-- the channel
LISTEN one;
LISTEN two;
ALTER MATERIALIZED VIEW v SET (tidemark.notify = 'one');
\o | sed -E 's/ from server process with PID [0-9]+//'
SELECT go(215);
ALTER MATERIALIZED VIEW v SET (tidemark.notify = 'two');
SELECT go(225);
ALTER MATERIALIZED VIEW v RESET (tidemark.notify);
SELECT go(235);
\o
UNLISTEN *;
-- rolled back
BEGIN;
ALTER MATERIALIZED VIEW v SET (tidemark.late = 'table');
SELECT go(6);
ROLLBACK;
SELECT go(7);
SELECT options, state FROM tidemark.views;
SELECT count(*) FROM tidemark.late_rows;
SELECT wrong();

-- what cannot be changed
SELECT option, refused(format('ALTER MATERIALIZED VIEW v %s', option)) FROM unnest(ARRAY['SET (tidemark.allowed_lateness = ''1 min'')', 'RESET (tidemark.emit)',
  'SET (tidemark.start_at = ''latest'')', 'SET (tidemark.continuous = false)', 'SET (tidemark.lateness = ''1'')', 'SET (tidemark.late = ''maybe'')',
  'SET (tidemark.late)', 'SET (tidemark.retention = ''soon'')', 'SET (tidemark.late = ''table'', tidemark.emit = ''final'')', 'SET (security_barrier)']) option;
CREATE MATERIALIZED VIEW c WITH (tidemark.continuous) AS SELECT window_start, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW r WITH (tidemark.continuous, tidemark.retention = '1 h') AS SELECT window_start, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW l WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS SELECT window_start, count(*) AS n FROM s, tidemark.tumble(at, '10 s') GROUP BY window_start;
SELECT refused('ALTER MATERIALIZED VIEW c SET (tidemark.retention = ''1 h'')');
SELECT refused('ALTER MATERIALIZED VIEW c SET (tidemark.late = ''table'')');
SELECT refused('ALTER MATERIALIZED VIEW r RESET (tidemark.retention)');
SELECT refused('ALTER MATERIALIZED VIEW l SET (tidemark.retention = ''30 s'')');
ALTER VIEW c SET (tidemark.notify = 'one');
SELECT go(301);
SELECT view, options, (SELECT count(*) FROM l) FROM tidemark.views ORDER BY view;
SELECT wrong();
CREATE ROLE view_set;
GRANT USAGE ON SCHEMA ing TO view_set;
SET ROLE view_set;
SELECT refused('ALTER MATERIALIZED VIEW ing.v SET (tidemark.notify = ''one'')');
RESET ROLE;
-- nobody writes a view by a rule either
SELECT refused('CREATE RULE r AS ON INSERT TO v DO INSTEAD NOTHING');

SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
DROP OWNED BY view_set;
DROP ROLE view_set;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
