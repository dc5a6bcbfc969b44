-- Included by the tests of continuous views: a manual stream, a table it is
-- ingested into, and the oracle, which compares a view with its own query.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tidemark;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';

CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
CREATE FOREIGN TABLE ev_stream (
    k int,
    name text,
    x bigint,
    f float8,
    n numeric,
    ok boolean,
    at timestamptz
) SERVER m OPTIONS (topic 'ev', event_time 'at');
CREATE TABLE ev (LIKE ev_stream);
SELECT tidemark.start_ingest('ev_stream', into_table => 'ev');

-- The rows by which a view and its query differ: none is right.  Numbers may
-- differ by the relative tolerance.
CREATE FUNCTION check_view(view regclass, tolerance float8 DEFAULT 0)
RETURNS TABLE (side text, difference jsonb) LANGUAGE plpgsql SET client_min_messages = error AS
$$
DECLARE
    batch text;
    kept text := format('SELECT * FROM %s', view);
    missing jsonb[];
    extra jsonb[];
BEGIN
    SELECT rtrim(pg_get_viewdef(v.query_view), ';') INTO STRICT batch
      FROM tidemark_state.view v WHERE v.view = check_view.view;
    EXECUTE format('SELECT array_agg(to_jsonb(d)) FROM (SELECT * FROM (%s) q EXCEPT ALL %s) d', batch, kept) INTO missing;
    EXECUTE format('SELECT array_agg(to_jsonb(d)) FROM (%s EXCEPT ALL SELECT * FROM (%s) q) d', kept, batch) INTO extra;
    missing := coalesce(missing, '{}');
    extra := coalesce(extra, '{}');
    IF tolerance > 0 THEN
        FOR m IN REVERSE cardinality(missing) .. 1 LOOP
            FOR e IN 1 .. cardinality(extra) LOOP
                IF NOT EXISTS (
                    SELECT FROM jsonb_each(missing[m]) a JOIN jsonb_each(extra[e]) b USING (key)
                     WHERE a.value <> b.value
                       AND (jsonb_typeof(a.value) <> 'number' OR jsonb_typeof(b.value) <> 'number'
                            OR abs(a.value::float8 - b.value::float8)
                               > tolerance * greatest(abs(a.value::float8), abs(b.value::float8), 1)))
                THEN
                    missing := missing[: m - 1] || missing[m + 1 :];
                    extra := extra[: e - 1] || extra[e + 1 :];
                    EXIT;
                END IF;
            END LOOP;
        END LOOP;
    END IF;
    RETURN QUERY SELECT 'missing in view', m FROM unnest(missing) m
                 UNION ALL SELECT 'only in view', e FROM unnest(extra) e ORDER BY 1, 2;
END
$$;

-- The same for every view that can be read; one row per view that differs.
CREATE FUNCTION check_all(tolerance float8 DEFAULT 0)
RETURNS TABLE (differing regclass, side text, difference jsonb) LANGUAGE sql AS
$$
    SELECT v.view, c.side, c.difference
      FROM tidemark_state.view v, check_view(v.view, tolerance) c
     WHERE v.state = 'live' ORDER BY v.view::text, 2, 3
$$;

-- Applies messages in batches of some size.
CREATE FUNCTION feed(stream regclass, messages text[], batch int, partition int DEFAULT 0)
RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    FOR i IN 1 .. coalesce(array_length(messages, 1), 0) BY batch LOOP
        PERFORM tidemark.inject(stream, messages[i : i + batch - 1], partition => partition);
    END LOOP;
END
$$;

-- Messages 1..n of a fixed pseudo-random series for ev_stream.
CREATE FUNCTION series(n int, first int DEFAULT 1) RETURNS text[] LANGUAGE sql AS
$$
    SELECT array_agg(json_build_object(
               'k', CASE WHEN h % 11 = 0 THEN NULL ELSE h % 5 END,
               'name', CASE WHEN h % 7 = 0 THEN NULL ELSE substr('abcdefgh', 1 + h % 4, 1) END,
               'x', CASE WHEN h % 13 = 0 THEN NULL ELSE h % 1000 - 300 END,
               'f', CASE WHEN h % 17 = 0 THEN NULL ELSE (h % 977) / 7.0 END,
               'n', CASE WHEN h % 19 = 0 THEN NULL ELSE (h % 1237) / 100.0 END,
               'ok', CASE WHEN h % 5 = 0 THEN NULL ELSE h % 3 = 0 END,
               'at', timestamptz '2026-01-01 00:00:00Z' + (h % 3600) * interval '1 s')::text ORDER BY i)
      FROM generate_series(first, first + n - 1) i, LATERAL (SELECT abs(hashint4(i) / 3)) s(h)
$$;
SET client_min_messages = notice;
