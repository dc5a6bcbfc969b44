-- Sessions in batch queries: window functions, for timestamptz and timestamp.

CREATE FUNCTION tidemark.session_start(ts timestamptz, gap interval)
RETURNS timestamptz
LANGUAGE c WINDOW IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_session_start';
COMMENT ON FUNCTION tidemark.session_start(timestamptz, interval) IS
'window function, OVER (PARTITION BY key ORDER BY ts): ts of the first row of the session; NULL for a NULL ts.
Rows of a key whose distance is at most gap are one session.
gap: time and days of 24 hours, greater than 0, the same for all rows of a key.
Errors: 22023 for a gap that cannot be used or that differs within a key, 22004 for a NULL gap, 22008 for an infinite ts, 42P20 when rows do not come in the order of ts.';

CREATE FUNCTION tidemark.session_end(ts timestamptz, gap interval)
RETURNS timestamptz
LANGUAGE c WINDOW IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_session_end';
COMMENT ON FUNCTION tidemark.session_end(timestamptz, interval) IS
'window function, OVER (PARTITION BY key ORDER BY ts): end, exclusive, of the session: ts of its last row plus gap; NULL for a NULL ts.
Rows of a key whose distance is at most gap are one session.
gap: time and days of 24 hours, greater than 0, the same for all rows of a key.
Errors: 22023 for a gap that cannot be used or that differs within a key, 22004 for a NULL gap, 22008 for an infinite ts or an end out of range, 42P20 when rows do not come in the order of ts, 54000 for a session of more than 2147483647 rows.';

CREATE FUNCTION tidemark.session_start(ts timestamp, gap interval)
RETURNS timestamp
LANGUAGE c WINDOW IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_session_start';
COMMENT ON FUNCTION tidemark.session_start(timestamp, interval) IS
'window function: start of the session of ts, without time zone; arguments and errors as session_start(timestamptz, interval)';

CREATE FUNCTION tidemark.session_end(ts timestamp, gap interval)
RETURNS timestamp
LANGUAGE c WINDOW IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_session_end';
COMMENT ON FUNCTION tidemark.session_end(timestamp, interval) IS
'window function: end, exclusive, of the session of ts, without time zone; arguments and errors as session_end(timestamptz, interval)';
