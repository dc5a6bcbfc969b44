-- Included after oracle.sql by the tests of views over hop() and cumulate().
CREATE FOREIGN TABLE tick_stream (
    k int,
    name text,
    x bigint,
    n numeric,
    at timestamptz,
    local timestamp,
    far timestamptz
) SERVER m OPTIONS (topic 'tick', max_error_ratio '1');
CREATE TABLE tick (LIKE tick_stream);
SELECT tidemark.start_ingest('tick_stream', into_table => 'tick');
CREATE TABLE dim (k int, label text);
INSERT INTO dim SELECT i % 4, 'label ' || i FROM generate_series(0, 5) i;

-- Messages of a fixed pseudo-random series: times within minutes of each other,
-- some NULL, and far ones within months, around a change of clocks.
CREATE FUNCTION ticks(first int, last int) RETURNS text[] LANGUAGE sql AS
$$
    SELECT array_agg(json_build_object(
               'k', CASE WHEN h % 11 = 0 THEN NULL ELSE h % 5 END,
               'name', CASE WHEN h % 7 = 0 THEN NULL ELSE substr('abcdABcD', 1 + h % 8, 1) END,
               'x', CASE WHEN h % 13 = 0 THEN NULL ELSE h % 1000 - 300 END,
               'n', CASE WHEN h % 19 = 0 THEN NULL ELSE (h % 1237) / 100.0 END,
               'at', CASE WHEN h % 17 = 0 THEN NULL ELSE timestamptz '2026-01-01 00:00:00Z' + (h % 300000) * interval '1 ms' END,
               'local', CASE WHEN h % 17 = 0 THEN NULL ELSE timestamp '2026-01-01 00:00:00' + (h % 300000) * interval '1 ms' END,
               'far', CASE WHEN h % 3 = 0 THEN timestamptz '2024-03-31 00:00Z' + (h % 300 - 150) * interval '1 min'
                           ELSE timestamptz '2024-03-31 00:00Z' + (h % 200 - 100) * interval '10 hours' END)::text ORDER BY i)
      FROM generate_series(first, last) i, LATERAL (SELECT abs(hashint4(i) / 3)) s(h)
$$;

-- Differences between views and the same views made anew over the rows there are.
CREATE FUNCTION recreated(VARIADIC views text[]) RETURNS TABLE (view text, difference jsonb) LANGUAGE plpgsql AS
$$
DECLARE
    v text;
BEGIN
    FOREACH v IN ARRAY views LOOP
        EXECUTE (SELECT format('CREATE MATERIALIZED VIEW anew WITH (tidemark.continuous) AS %s', pg_get_viewdef(query_view)) FROM tidemark_state.view s WHERE s.view = v::regclass);
        RETURN QUERY EXECUTE format('SELECT %L, to_jsonb(d) FROM ((TABLE %I EXCEPT ALL TABLE anew) UNION ALL (TABLE anew EXCEPT ALL TABLE %1$I)) d', v, v);
        DROP MATERIALIZED VIEW anew;
    END LOOP;
END
$$;

CREATE FUNCTION random_pane(kind text) RETURNS text LANGUAGE sql VOLATILE AS
$$
    SELECT CASE floor(random() * 4) + CASE kind WHEN 'hop' THEN 0 ELSE 4 END
        WHEN 0 THEN format('tidemark.hop(at, ''%s ms'', ''%s ms'', ''2026-01-01 00:00:0%sZ'')', 1000 + floor(random() * 20) * 500, 500 + floor(random() * 60) * 500, n)
        WHEN 1 THEN format('tidemark.hop(local, ''%s s'', ''%s s'')', 1 + floor(random() * 40), 1 + floor(random() * 120))
        WHEN 2 THEN format('tidemark.hop(far, ''%s days'', ''%s days'', timezone => %L)', 1 + floor(random() * 3), 1 + floor(random() * 9), zone)
        WHEN 3 THEN format('tidemark.hop(far, ''%s months'', ''%s months'', timezone => %L)', 1 + floor(random() * 2), 1 + floor(random() * 5), zone)
        WHEN 4 THEN format('tidemark.cumulate(at, ''%s s'', ''%s s'', ''2026-01-01 00:00:0%sZ'')', n + 1, (n + 1) * (1 + floor(random() * 30)), n)
        WHEN 5 THEN format('tidemark.cumulate(local, ''%s s'', ''%s s'')', n + 1, (n + 1) * (1 + floor(random() * 30)))
        WHEN 6 THEN format('tidemark.cumulate(far, ''%s hours'', ''%s days'', timezone => %L)', (ARRAY[1, 2, 3, 6])[1 + n % 4], 1 + n % 3, zone)
        ELSE format('tidemark.cumulate(far, ''%s'', ''%s months'', timezone => %L)', (ARRAY['1 day', '6 hours', '1 month'])[1 + n % 3], 1 + n % 3, zone)
        END
      FROM (SELECT floor(random() * 9)::int AS n, (ARRAY['UTC', 'Europe/Berlin', 'Australia/Lord_Howe', 'America/New_York'])[1 + floor(random() * 4)::int] AS zone) r
$$;

-- Views at random over what is there, then messages in batches of 1, 2, 7 and all.
CREATE FUNCTION paned_rounds(kind text, n int) RETURNS TABLE (query text, side text, difference jsonb) LANGUAGE plpgsql AS
$$
DECLARE
    size int;
    first int := 1000;
    pane text;
    keys text;
BEGIN
    FOR round IN 1 .. n LOOP
        FOR v IN 1 .. 4 LOOP
            pane := random_pane(kind);
            keys := (ARRAY['window_start, window_end', 'window_end', 'window_end, k', 'name, window_start, window_end, k % 2', 'k, window_end, length(name), window_start'])[1 + floor(random() * 5)::int];
            EXECUTE format('CREATE MATERIALIZED VIEW random_%s WITH (tidemark.continuous) AS SELECT %s, count(*), sum(x), avg(n), min(name), max(x) FILTER (WHERE k > 1) AS high FROM %s t, %s GROUP BY %s',
                           v, (SELECT string_agg(key || ' AS g' || i, ', ') FROM unnest(string_to_array(keys, ', ')) WITH ORDINALITY u(key, i)),
                           CASE WHEN v <= 2 THEN 'tick' ELSE 'tick_stream' END, pane, keys);
        END LOOP;
        FOREACH size IN ARRAY ARRAY[1, 2, 7, 1000] LOOP
            PERFORM feed('tick_stream', ticks(first, first + 9), size);
            first := first + 10;
        END LOOP;
        RETURN QUERY SELECT pg_get_viewdef(s.query_view), c.side, c.difference FROM tidemark_state.view s, check_view(s.view) c ORDER BY 1, 2, 3;
        IF FOUND OR EXISTS (SELECT FROM tidemark_state.view WHERE state <> 'live') THEN
            RETURN QUERY SELECT pg_get_viewdef(s.query_view), s.state, to_jsonb(s.reason) FROM tidemark_state.view s WHERE s.state <> 'live';
            RETURN;
        END IF;
        FOR v IN 1 .. 4 LOOP
            EXECUTE format('DROP MATERIALIZED VIEW random_%s', v);
        END LOOP;
    END LOOP;
END
$$;

-- A view over rows of table late against SQL over those that were on time when
-- they came.
CREATE FUNCTION on_time(view text, outputs text, source text, sizes text, lateness interval, keys text, kind text DEFAULT 'hop')
RETURNS TABLE (difference jsonb) LANGUAGE plpgsql AS
$$
DECLARE
    batch text := format('SELECT %s FROM %I s, tidemark.%s(s.at, %s) WHERE wm IS NULL OR window_end + %L::interval > wm GROUP BY %s', outputs, source, kind, sizes, lateness, keys);
BEGIN
    RETURN QUERY EXECUTE format('SELECT to_jsonb(d) FROM ((%s EXCEPT ALL TABLE %I) UNION ALL (TABLE %2$I EXCEPT ALL %1$s)) d', batch, view);
END
$$;
CREATE FUNCTION late_of(sizes text, lateness interval, kind text DEFAULT 'hop') RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM late, tidemark.%s(at, %s) WHERE window_end + %L::interval <= wm', kind, sizes, lateness) INTO result;
    RETURN result;
END
$$;
CREATE FUNCTION late_messages(first int, last int) RETURNS text[] LANGUAGE sql AS
$$
    SELECT array_agg(json_build_object('k', h % 3, 'n', h % 100, 'at', timestamptz '2026-01-01 00:00:09Z' + (i - first) * interval '0.4 s' - (h % 200) * interval '0.1 s')::text ORDER BY i)
      FROM generate_series(first, last) i, LATERAL (SELECT abs(hashint4(i) / 3)) s(h)
$$;
