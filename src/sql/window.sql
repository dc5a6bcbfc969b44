-- Time windows.  tumble() must stay what the planner inlines: LANGUAGE sql,
-- IMMUTABLE, neither STRICT nor SET.

CREATE FUNCTION tidemark.tumble_start(ts timestamptz, size interval, origin timestamptz, timezone text)
RETURNS timestamptz
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_tumble_start_timestamptz';
COMMENT ON FUNCTION tidemark.tumble_start(timestamptz, interval, timestamptz, text) IS
'start of the window of ts; see tumble()';

CREATE FUNCTION tidemark.tumble_end(window_start timestamptz, size interval, timezone text)
RETURNS timestamptz
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_tumble_end_timestamptz';
COMMENT ON FUNCTION tidemark.tumble_end(timestamptz, interval, text) IS
'end, exclusive, of the window that tumble_start() said starts at window_start; NULL for NULL; errors as tumble()';

CREATE FUNCTION tidemark.tumble_start(ts timestamp, size interval, origin timestamp)
RETURNS timestamp
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_tumble_start_timestamp';
COMMENT ON FUNCTION tidemark.tumble_start(timestamp, interval, timestamp) IS
'start of the window of ts, without time zone; see tumble()';

CREATE FUNCTION tidemark.tumble_end(window_start timestamp, size interval)
RETURNS timestamp
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_tumble_end_timestamp';
COMMENT ON FUNCTION tidemark.tumble_end(timestamp, interval) IS
'end, exclusive, of the window that tumble_start() said starts at window_start, without time zone; NULL for NULL; errors as tumble()';

CREATE FUNCTION tidemark.tumble(ts timestamptz, size interval, origin timestamptz DEFAULT NULL, timezone text DEFAULT 'UTC')
RETURNS TABLE (window_start timestamptz, window_end timestamptz)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT tidemark.tumble_start(ts, size, origin, timezone),
           tidemark.tumble_end(tidemark.tumble_start(ts, size, origin, timezone), size, timezone);
END;
COMMENT ON FUNCTION tidemark.tumble(timestamptz, interval, timestamptz, text) IS
'the window [window_start, window_end) of ts, to the microsecond; NULLs for a NULL ts.
size: time and days of 24 hours, or whole months; in a time zone days, weeks and months follow its clock (from midnight to midnight), hours do not.
origin: a window boundary; default 1970-01-01 00:00, for whole weeks Monday 1970-01-05; days and months in a zone: one of its midnights; months: day 1 to 28.
timezone: a full zone name, never the session''s.
Errors: 22023 for a size, origin or time zone that cannot be used, 22004 for a NULL size or time zone, 22008 for an infinite ts or a window out of range.';

CREATE FUNCTION tidemark.tumble(ts timestamp, size interval, origin timestamp DEFAULT NULL)
RETURNS TABLE (window_start timestamp, window_end timestamp)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT tidemark.tumble_start(ts, size, origin),
           tidemark.tumble_end(tidemark.tumble_start(ts, size, origin), size);
END;
COMMENT ON FUNCTION tidemark.tumble(timestamp, interval, timestamp) IS
'the window [window_start, window_end) of ts, without time zone, to the microsecond; NULLs for a NULL ts.
size: time and days of 24 hours, or whole months.
origin: a window boundary; default 1970-01-01 00:00, for whole weeks Monday 1970-01-05; months: day 1 to 28.
Errors: 22023 for a size or origin that cannot be used, 22004 for a NULL size, 22008 for an infinite ts or a window out of range.';

-- Lateness: one expression for maintenance, history and verify().

CREATE FUNCTION tidemark_state.is_on_time(window_end timestamptz, allowed_lateness bigint, watermark timestamptz)
RETURNS boolean
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'tm_is_on_time';
COMMENT ON FUNCTION tidemark_state.is_on_time(timestamptz, bigint, timestamptz) IS
'false when a row is late for the window: window_end + allowed_lateness (microseconds) <= watermark as of the row; true when either time is NULL';

CREATE FUNCTION tidemark_state.is_on_time(window_end timestamp, allowed_lateness bigint, watermark timestamptz)
RETURNS boolean
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'tm_is_on_time';
COMMENT ON FUNCTION tidemark_state.is_on_time(timestamp, bigint, timestamptz) IS
'false when a row is late for the window: window_end (UTC) + allowed_lateness (microseconds) <= watermark as of the row; true when either time is NULL';

CREATE FUNCTION tidemark_state.is_row_on_time(ts timestamptz, allowed_lateness bigint, watermark timestamptz)
RETURNS boolean
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'tm_is_row_on_time';
COMMENT ON FUNCTION tidemark_state.is_row_on_time(timestamptz, bigint, timestamptz) IS
'false when a row is late for sessions: ts + allowed_lateness (microseconds) < watermark as of the row; true when either time is NULL';

CREATE FUNCTION tidemark_state.is_row_on_time(ts timestamp, allowed_lateness bigint, watermark timestamptz)
RETURNS boolean
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'tm_is_row_on_time';
COMMENT ON FUNCTION tidemark_state.is_row_on_time(timestamp, bigint, timestamptz) IS
'false when a row is late for sessions: ts (UTC) + allowed_lateness (microseconds) < watermark as of the row; true when either time is NULL';
