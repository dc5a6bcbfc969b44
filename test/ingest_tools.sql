-- Included by the tests of ingests: extension, a manual server, everything in a
-- schema of its own, and functions that show refusals and differences.
SET client_min_messages = warning;
CREATE EXTENSION tidemark;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
CREATE SCHEMA ing;
SET search_path = ing, public;
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');

-- What a statement says when it is refused: SQLSTATE, message, detail, hint.
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
    state text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN QUERY_CANCELED OR OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN state || ': ' || message || coalesce(E'\nDETAIL:  ' || nullif(detail, ''), '')
        || coalesce(E'\nHINT:  ' || nullif(hint, ''), '');
END
$$;

-- Rows by which a view and its own query, or another one, differ: 0 is right.
CREATE FUNCTION differ(view regclass, query text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql
    SET client_min_messages = error AS
$$
DECLARE
    result bigint;
BEGIN
    SELECT coalesce(query, rtrim(pg_get_viewdef(v.query_view), ';')) INTO STRICT query
      FROM tidemark_state.view v WHERE v.view = differ.view;
    EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE %1$s)) d',
                   view, query) INTO result;
    RETURN result;
END
$$;

-- Positions, briefly: partition, offsets and counters.
CREATE FUNCTION positions(of regclass)
RETURNS TABLE (partition int, first_offset bigint, next_offset bigint, end_offset bigint, rows bigint, dead_letters bigint, skipped bigint) LANGUAGE sql AS
$$
    SELECT partition, first_offset, next_offset, end_offset, rows, dead_letters, skipped
      FROM tidemark_state.partition WHERE stream = of ORDER BY 1
$$;

-- What the extension still keeps; empty when nothing is ingested and viewed.
CREATE FUNCTION public.rest() RETURNS TABLE (relation text, rows bigint) LANGUAGE plpgsql AS
$$
BEGIN
    FOR relation IN SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'tidemark_state'::regnamespace AND c.relkind IN ('r', 'v', 'f', 'p')
               AND (c.relname ~ '_[0-9]+$' OR c.relname IN ('stream', 'ingest', 'partition', 'skipped_range', 'view',
                                                             'view_partition', 'view_stats', 'removed_range', 'partitioning'))
         ORDER BY 1
    LOOP
        EXECUTE format('SELECT count(*) FROM tidemark_state.%I', relation) INTO rows;
        IF rows > 0 OR relation ~ '_[0-9]+$' THEN RETURN NEXT; END IF;
    END LOOP;
END
$$;
SET client_min_messages = notice;
