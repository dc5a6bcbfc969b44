-- Included by the tests of late rows: a manual stream, the table it is ingested
-- into, and the rule of lateness in plain SQL.
SET client_min_messages = warning;
CREATE EXTENSION tidemark;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');

-- A stream and its table; the first message of each partition is on time.
CREATE FUNCTION make_stream(name text, partitions int DEFAULT 3) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    EXECUTE format('CREATE FOREIGN TABLE %I (id int, k int, at timestamptz, p int OPTIONS (metadata ''partition''),
        o bigint OPTIONS (metadata ''offset''), wm timestamptz OPTIONS (metadata ''watermark''))
        SERVER m OPTIONS (topic %L, event_time ''at'', watermark_delay ''2 s'', watermark_max_future ''infinity'',
        watermark_idle_timeout ''infinity'', max_error_ratio ''1'')', name, name);
    EXECUTE format('CREATE TABLE %I (LIKE %I)', name || '_table', name);
    PERFORM tidemark.start_ingest(name::regclass, into_table => (name || '_table')::regclass);
    FOR p IN 0 .. partitions - 1 LOOP
        PERFORM tidemark.inject(name::regclass, message(0, 0, 0), partition => p);
    END LOOP;
END
$$;

CREATE FUNCTION message(id int, k int, seconds numeric) RETURNS text LANGUAGE sql AS
$$ SELECT json_build_object('id', id, 'k', k, 'at', timestamptz '2026-01-01 00:00Z' + seconds * interval '1 s')::text $$;

-- The queries of the tests, over one of the two relations.
CREATE FUNCTION query(kind text, source text) RETURNS text LANGUAGE sql AS
$$
    SELECT format('SELECT window_start, window_end, k, count(*) AS n, sum(id) AS s, min(at) AS first, max(at) AS last FROM %I, %s GROUP BY 1, 2, 3',
                  source, CASE kind WHEN 'tumble' THEN 'tidemark.tumble(at, ''10 s'')' WHEN 'hop' THEN 'tidemark.hop(at, ''5 s'', ''10 s'')'
                  ELSE 'tidemark.cumulate(at, ''5 s'', ''10 s'')' END)
$$;
CREATE FUNCTION make_view(name text, kind text, source text, lateness interval, options text DEFAULT '') RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (tidemark.continuous, tidemark.allowed_lateness = %L, tidemark.late = ''table''%s) AS %s',
                   name, lateness, options, query(kind, source));
END
$$;

-- Every row of a table in each of its windows, and whether it is late there:
-- the watermark is the largest event time of the rows before it, minus 2 s.
CREATE FUNCTION judged(source regclass, kind text, lateness interval, start_at bigint DEFAULT 0)
RETURNS TABLE (id int, k int, at timestamptz, p int, o bigint, wm timestamptz, window_start timestamptz, window_end timestamptz, late boolean)
LANGUAGE plpgsql AS
$$
BEGIN
    RETURN QUERY EXECUTE format('
        SELECT r.id, r.k, r.at, r.p, r.o, r.before, w.start, w.stop, coalesce(w.stop + %L::interval <= r.before, false)
          FROM (SELECT *, max(at) OVER (PARTITION BY p ORDER BY o ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - interval ''2 s'' AS before
                  FROM %s) r,
               LATERAL (%s) w(start, stop)
         WHERE r.o >= %s',
        lateness, source,
        CASE kind WHEN 'tumble' THEN 'SELECT date_bin(''10 s'', r.at, ''1970-01-01Z''), date_bin(''10 s'', r.at, ''1970-01-01Z'') + interval ''10 s'''
                  WHEN 'hop' THEN 'SELECT date_bin(''5 s'', r.at, ''1970-01-01Z'') - i * interval ''5 s'', date_bin(''5 s'', r.at, ''1970-01-01Z'') + (2 - i) * interval ''5 s''
                                     FROM generate_series(0, 1) i'
                  ELSE 'SELECT b, b + i * interval ''5 s'' FROM date_bin(''10 s'', r.at, ''1970-01-01Z'') b, generate_series(1, 2) i WHERE b + i * interval ''5 s'' > r.at' END,
        start_at);
END
$$;

-- By how much the late rows that a view has kept, its counter, its groups and
-- verify() differ from the rule: nothing but zeros is right.
CREATE FUNCTION check_late(view regclass, kind text, source regclass, lateness interval, start_at bigint DEFAULT 0,
    OUT late bigint, OUT late_rows bigint, OUT counter bigint, OUT groups bigint, OUT verify bigint)
LANGUAGE plpgsql SET client_min_messages = warning AS
$$
BEGIN
    DROP TABLE IF EXISTS pg_temp.rule;
    CREATE TEMP TABLE rule AS SELECT * FROM judged(source, kind, lateness, start_at);
    SELECT count(*) FILTER (WHERE r.late) INTO late FROM rule r;
    SELECT count(*) INTO late_rows FROM (
        (SELECT p, o, window_start, window_end, at, wm, id, k FROM rule r WHERE r.late
         EXCEPT ALL
         SELECT partition, kafka_offset, l.window_start, l.window_end, event_time, watermark, (l.row->>'id')::int, (l.row->>'k')::int
           FROM tidemark.late_rows l WHERE l.view = check_late.view)
        UNION ALL
        (SELECT partition, kafka_offset, l.window_start, l.window_end, event_time, watermark, (l.row->>'id')::int, (l.row->>'k')::int
           FROM tidemark.late_rows l WHERE l.view = check_late.view
         EXCEPT ALL
         SELECT p, o, window_start, window_end, at, wm, id, k FROM rule r WHERE r.late)) d;
    SELECT v.late - check_late.late INTO counter FROM tidemark.views v WHERE v.view = check_late.view;
    EXECUTE format('
        SELECT count(*) FROM (
          (SELECT * FROM %1$s EXCEPT ALL
           SELECT window_start, window_end, k, count(*), sum(id), min(at), max(at) FROM rule WHERE NOT late GROUP BY 1, 2, 3)
          UNION ALL
          (SELECT window_start, window_end, k, count(*), sum(id), min(at), max(at) FROM rule WHERE NOT late GROUP BY 1, 2, 3
           EXCEPT ALL SELECT * FROM %1$s)) d', view) INTO groups;
    SELECT count(*) INTO verify FROM tidemark.verify(view);
END
$$;
-- By how many groups a view and its verify() differ from the whole batch once
-- all late rows are admitted.
CREATE FUNCTION check_admitted(view regclass, kind text, source regclass, OUT groups bigint, OUT verify bigint)
LANGUAGE plpgsql SET client_min_messages = warning AS
$$
DECLARE
    batch text := query(kind, source::text);
BEGIN
    PERFORM tidemark.admit_late(view);
    EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL TABLE %1$s)) d', view, batch) INTO groups;
    SELECT count(*) INTO verify FROM tidemark.verify(view);
END
$$;
SET client_min_messages = notice;
