-- verify: proof that a continuous view is its query.

CREATE FUNCTION tidemark.verify(view pg_catalog.regclass, since pg_catalog.timestamptz DEFAULT NULL)
RETURNS TABLE (problem pg_catalog.text, view_row pg_catalog.jsonb, batch_row pg_catalog.jsonb)
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'tm_verify';
COMMENT ON FUNCTION tidemark.verify(pg_catalog.regclass, pg_catalog.timestamptz) IS
    'compare a continuous view with its own query, run as batch over what the view has applied: one row per group that is ''missing in view'', ''only in view'' or ''different''; no row means equal. since: only windows that start then or later. Differences that raw rows removed from the table explain are left out, with a NOTICE. Errors: 42501, 42809 (not a continuous view), 55000 (not populated, failed or paused), 22023 (since without a window_start key)';

CREATE FUNCTION tidemark_state.has_verdict(
    state_table pg_catalog.regclass,
    partition pg_catalog.int4,
    kafka_offset pg_catalog.int8,
    window_start pg_catalog.timestamptz,
    verdict pg_catalog.text)
RETURNS pg_catalog.bool
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10 AS 'MODULE_PATHNAME', 'tm_has_verdict';
COMMENT ON FUNCTION tidemark_state.has_verdict(pg_catalog.regclass, pg_catalog.int4, pg_catalog.int8, pg_catalog.timestamptz, pg_catalog.text) IS
    'is this verdict on a row and a window stored for a continuous view? false when one of the arguments is NULL';

CREATE FUNCTION tidemark_state.has_verdict(
    state_table pg_catalog.regclass,
    partition pg_catalog.int4,
    kafka_offset pg_catalog.int8,
    window_start pg_catalog."timestamp",
    verdict pg_catalog.text)
RETURNS pg_catalog.bool
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10 AS 'MODULE_PATHNAME', 'tm_has_verdict';
COMMENT ON FUNCTION tidemark_state.has_verdict(pg_catalog.regclass, pg_catalog.int4, pg_catalog.int8, pg_catalog."timestamp", pg_catalog.text) IS
    'is this verdict on a row and a window (UTC) stored for a continuous view? false when one of the arguments is NULL';
