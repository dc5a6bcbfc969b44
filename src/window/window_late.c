/*
 * window_late.c
 *	  Is a row late?  The one place that says so (the rules are those of
 *	  docs/event-time.md).
 *
 * Runs in: every backend and worker, also in parallel workers.
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "utils/timestamp.h"

#include "window/window.h"

PG_FUNCTION_INFO_V1(tm_is_on_time);
PG_FUNCTION_INFO_V1(tm_is_row_on_time);
PG_FUNCTION_INFO_V1(tm_late_until);

/* A sum beyond the last timestamp is later than any watermark. */
static inline TimestampTz
add_lateness(TimestampTz time, int64 lateness)
{
	TimestampTz sum;

	return pg_add_s64_overflow(time, lateness, &sum) ? DT_NOEND : sum;
}

bool
tm_window_is_on_time(TimestampTz window_end, int64 lateness, TimestampTz watermark)
{
	return TIMESTAMP_IS_NOBEGIN(watermark) ||
		add_lateness(window_end, lateness) > watermark;
}

bool
tm_window_is_row_on_time(TimestampTz ts, int64 lateness, TimestampTz watermark)
{
	return TIMESTAMP_IS_NOBEGIN(watermark) || add_lateness(ts, lateness) >= watermark;
}

/* is_on_time(window_end, allowed_lateness, watermark) */
Datum
tm_is_on_time(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(tm_window_is_on_time(PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INT64(1),
										PG_GETARG_TIMESTAMPTZ(2)));
}

/* is_row_on_time(ts, allowed_lateness, watermark) */
Datum
tm_is_row_on_time(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(tm_window_is_row_on_time(PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INT64(1),
											PG_GETARG_TIMESTAMPTZ(2)));
}

/*
 * late_until(ts, allowed_lateness, watermark): a row is late for a window that
 * contains it if this is not NULL and window_end is not after it, which says
 * the same as is_on_time().
 */
Datum
tm_late_until(PG_FUNCTION_ARGS)
{
	TimestampTz until;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	if (pg_sub_s64_overflow(PG_GETARG_TIMESTAMPTZ(2), PG_GETARG_INT64(1), &until) ||
		until <= PG_GETARG_TIMESTAMPTZ(0))
		PG_RETURN_NULL();
	/* every window has ended by then */
	PG_RETURN_TIMESTAMPTZ(Min(until, END_TIMESTAMP - 1));
}
