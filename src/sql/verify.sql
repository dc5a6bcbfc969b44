-- verify: proof that a continuous view is its query.

CREATE FUNCTION tidemark.verify(view pg_catalog.regclass, since pg_catalog.timestamptz DEFAULT NULL)
RETURNS TABLE (problem pg_catalog.text, view_row pg_catalog.jsonb, batch_row pg_catalog.jsonb)
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'tm_verify';
COMMENT ON FUNCTION tidemark.verify(pg_catalog.regclass, pg_catalog.timestamptz) IS
    'compare a continuous view with its own query, run as batch over what the view has applied: one row per group that is ''missing in view'', ''only in view'' or ''different''; no row means equal. since: only windows that start then or later. Differences that raw rows removed from the table explain are left out, with a NOTICE. Errors: 42501, 42809 (not a continuous view), 55000 (not populated, failed or paused), 22023 (since without a window_start key)';
