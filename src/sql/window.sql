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

CREATE FUNCTION tidemark_state.late_until(ts timestamptz, allowed_lateness bigint, watermark timestamptz)
RETURNS timestamptz
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'tm_late_until';
COMMENT ON FUNCTION tidemark_state.late_until(timestamptz, bigint, timestamptz) IS
'the row is late for its windows that end at this time or before, watermark - allowed_lateness (microseconds); NULL when there can be none';

CREATE FUNCTION tidemark_state.late_until(ts timestamp, allowed_lateness bigint, watermark timestamptz)
RETURNS timestamp
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'tm_late_until';
COMMENT ON FUNCTION tidemark_state.late_until(timestamp, bigint, timestamptz) IS
'the row is late for its windows that end at this time (UTC) or before, watermark - allowed_lateness (microseconds); NULL when there can be none';

-- Hopping and cumulating windows: the windows of the pane of ts.  Views use the
-- two parts apart.

CREATE FUNCTION tidemark.window_rows_support(internal)
RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_window_rows_support';
COMMENT ON FUNCTION tidemark.window_rows_support(internal) IS
'planner support: the number of windows of a pane';

CREATE FUNCTION tidemark.hop_pane(ts timestamptz, slide interval, size interval, origin timestamptz, timezone text)
RETURNS timestamptz
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_hop_pane';
COMMENT ON FUNCTION tidemark.hop_pane(timestamptz, interval, interval, timestamptz, text) IS
'start of the pane of ts: all timestamps of a pane lie in the same windows of hop(), which has the errors too; NULL for NULL';

CREATE FUNCTION tidemark.hop_pane(ts timestamp, slide interval, size interval, origin timestamp)
RETURNS timestamp
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_hop_pane';
COMMENT ON FUNCTION tidemark.hop_pane(timestamp, interval, interval, timestamp) IS
'start of the pane of ts, without time zone: all timestamps of a pane lie in the same windows of hop(), which has the errors too; NULL for NULL';

CREATE FUNCTION tidemark.hop_windows(pane_start timestamptz, slide interval, size interval, origin timestamptz, timezone text)
RETURNS TABLE (window_start timestamptz, window_end timestamptz)
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10 SUPPORT tidemark.window_rows_support
AS 'MODULE_PATHNAME', 'tm_hop_windows';
COMMENT ON FUNCTION tidemark.hop_windows(timestamptz, interval, interval, timestamptz, text) IS
'the windows, by start, of every timestamp of the pane that hop_pane() said starts at pane_start; one row of NULLs for NULL; errors as hop()';

CREATE FUNCTION tidemark.hop_windows(pane_start timestamp, slide interval, size interval, origin timestamp)
RETURNS TABLE (window_start timestamp, window_end timestamp)
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10 SUPPORT tidemark.window_rows_support
AS 'MODULE_PATHNAME', 'tm_hop_windows';
COMMENT ON FUNCTION tidemark.hop_windows(timestamp, interval, interval, timestamp) IS
'the windows, by start, of every timestamp of the pane that hop_pane() said starts at pane_start, without time zone; one row of NULLs for NULL; errors as hop()';

CREATE FUNCTION tidemark.hop_end(window_start timestamptz, slide interval, size interval, origin timestamptz, timezone text)
RETURNS timestamptz
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_hop_end';
COMMENT ON FUNCTION tidemark.hop_end(timestamptz, interval, interval, timestamptz, text) IS
'end, exclusive, of the window of hop() that starts at window_start; NULL for NULL; errors as hop()';

CREATE FUNCTION tidemark.hop_end(window_start timestamp, slide interval, size interval, origin timestamp)
RETURNS timestamp
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_hop_end';
COMMENT ON FUNCTION tidemark.hop_end(timestamp, interval, interval, timestamp) IS
'end, exclusive, of the window of hop() that starts at window_start, without time zone; NULL for NULL; errors as hop()';

CREATE FUNCTION tidemark.hop(ts timestamptz, slide interval, size interval, origin timestamptz DEFAULT NULL, timezone text DEFAULT 'UTC')
RETURNS TABLE (window_start timestamptz, window_end timestamptz)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10
BEGIN ATOMIC
    SELECT w.window_start, w.window_end
      FROM tidemark.hop_windows(tidemark.hop_pane(ts, slide, size, origin, timezone), slide, size, origin, timezone) w;
END;
COMMENT ON FUNCTION tidemark.hop(timestamptz, interval, interval, timestamptz, text) IS
'the windows [window_start, window_end) of ts, by start, to the microsecond: one starts every slide and is size long; one row of NULLs for a NULL ts, no row for a ts between two windows (size less than slide).
slide, size: time and days of 24 hours, or both whole months; in a time zone whole days, weeks and months follow its clock, hours do not; both do or both do not. size need not be a multiple of slide; at most 10000 windows for each ts.
origin: where a window starts; default 1970-01-01 00:00, for a slide of whole weeks Monday 1970-01-05; days and months in a zone: one of its midnights; months: day 1 to 28.
timezone: a full zone name, never the session''s.
Errors: 22023 for a slide, size, origin or time zone that cannot be used, 22004 for a NULL slide, size or time zone, 22008 for an infinite ts or a window out of range.';

CREATE FUNCTION tidemark.hop(ts timestamp, slide interval, size interval, origin timestamp DEFAULT NULL)
RETURNS TABLE (window_start timestamp, window_end timestamp)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10
BEGIN ATOMIC
    SELECT w.window_start, w.window_end
      FROM tidemark.hop_windows(tidemark.hop_pane(ts, slide, size, origin), slide, size, origin) w;
END;
COMMENT ON FUNCTION tidemark.hop(timestamp, interval, interval, timestamp) IS
'the windows [window_start, window_end) of ts, without time zone, by start, to the microsecond: one starts every slide and is size long; one row of NULLs for a NULL ts, no row for a ts between two windows (size less than slide).
slide, size: time and days of 24 hours, or both whole months. size need not be a multiple of slide; at most 10000 windows for each ts.
origin: where a window starts; default 1970-01-01 00:00, for a slide of whole weeks Monday 1970-01-05; months: day 1 to 28.
Errors: 22023 for a slide, size or origin that cannot be used, 22004 for a NULL slide or size, 22008 for an infinite ts or a window out of range.';

CREATE FUNCTION tidemark.cumulate_pane(ts timestamptz, step interval, max interval, origin timestamptz, timezone text)
RETURNS timestamptz
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_cumulate_pane';
COMMENT ON FUNCTION tidemark.cumulate_pane(timestamptz, interval, interval, timestamptz, text) IS
'start of the pane, one step, of ts: all timestamps of a pane lie in the same windows of cumulate(), which has the errors too; NULL for NULL';

CREATE FUNCTION tidemark.cumulate_pane(ts timestamp, step interval, max interval, origin timestamp)
RETURNS timestamp
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_cumulate_pane';
COMMENT ON FUNCTION tidemark.cumulate_pane(timestamp, interval, interval, timestamp) IS
'start of the pane, one step, of ts, without time zone: all timestamps of a pane lie in the same windows of cumulate(), which has the errors too; NULL for NULL';

CREATE FUNCTION tidemark.cumulate_windows(pane_start timestamptz, step interval, max interval, origin timestamptz, timezone text)
RETURNS TABLE (window_start timestamptz, window_end timestamptz)
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10 SUPPORT tidemark.window_rows_support
AS 'MODULE_PATHNAME', 'tm_cumulate_windows';
COMMENT ON FUNCTION tidemark.cumulate_windows(timestamptz, interval, interval, timestamptz, text) IS
'the windows, by end, of every timestamp of the pane that cumulate_pane() said starts at pane_start; one row of NULLs for NULL; errors as cumulate()';

CREATE FUNCTION tidemark.cumulate_windows(pane_start timestamp, step interval, max interval, origin timestamp)
RETURNS TABLE (window_start timestamp, window_end timestamp)
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10 SUPPORT tidemark.window_rows_support
AS 'MODULE_PATHNAME', 'tm_cumulate_windows';
COMMENT ON FUNCTION tidemark.cumulate_windows(timestamp, interval, interval, timestamp) IS
'the windows, by end, of every timestamp of the pane that cumulate_pane() said starts at pane_start, without time zone; one row of NULLs for NULL; errors as cumulate()';

CREATE FUNCTION tidemark.cumulate(ts timestamptz, step interval, max interval, origin timestamptz DEFAULT NULL, timezone text DEFAULT 'UTC')
RETURNS TABLE (window_start timestamptz, window_end timestamptz)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10
BEGIN ATOMIC
    SELECT w.window_start, w.window_end
      FROM tidemark.cumulate_windows(tidemark.cumulate_pane(ts, step, max, origin, timezone), step, max, origin, timezone) w;
END;
COMMENT ON FUNCTION tidemark.cumulate(timestamptz, interval, interval, timestamptz, text) IS
'the windows [window_start, window_end) of ts, by end, to the microsecond: all start where the window of ts in tumble(ts, max) does, and end after every step up to max, those that end after ts; one row of NULLs for a NULL ts.
step, max: time and days of 24 hours, or whole months; in a time zone whole days, weeks and months follow its clock, hours do not. max is a multiple of step, at most 10000 of them; for a max of months, or of days in a zone, the step can also be a time that divides a day: in a zone the hours that have passed since window_start, so that a day of 25 hours has one step of an hour more.
origin: where a window starts; default 1970-01-01 00:00, for a max of whole weeks Monday 1970-01-05; days and months in a zone: one of its midnights; months: day 1 to 28.
timezone: a full zone name, never the session''s.
Errors: 22023 for a step, max, origin or time zone that cannot be used, 22004 for a NULL step, max or time zone, 22008 for an infinite ts or a window out of range.';

CREATE FUNCTION tidemark.cumulate(ts timestamp, step interval, max interval, origin timestamp DEFAULT NULL)
RETURNS TABLE (window_start timestamp, window_end timestamp)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 10
BEGIN ATOMIC
    SELECT w.window_start, w.window_end
      FROM tidemark.cumulate_windows(tidemark.cumulate_pane(ts, step, max, origin), step, max, origin) w;
END;
COMMENT ON FUNCTION tidemark.cumulate(timestamp, interval, interval, timestamp) IS
'the windows [window_start, window_end) of ts, without time zone, by end, to the microsecond: all start where the window of ts in tumble(ts, max) does, and end after every step up to max, those that end after ts; one row of NULLs for a NULL ts.
step, max: time and days of 24 hours, or whole months. max is a multiple of step, at most 10000 of them; for a max of months the step can also be a day, or a time that divides a day.
origin: where a window starts; default 1970-01-01 00:00, for a max of whole weeks Monday 1970-01-05; months: day 1 to 28.
Errors: 22023 for a step, max or origin that cannot be used, 22004 for a NULL step or max, 22008 for an infinite ts or a window out of range.';
