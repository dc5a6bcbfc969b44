/*
 * window_session.c
 *	  Session windows in batch queries: session_start() and session_end().
 *
 * Both are window functions in the sense of SQL, called once for every row of
 * a key in the order of time.  A session is a run of rows each of which is at
 * most the gap away from the one before; it ends a gap after its last row.
 *
 * The start follows from the rows so far.  For the end, the first row of a
 * session makes us read ahead to the row after the session, once; the rows in
 * between are then answered from memory.  So every ts is evaluated once by each
 * function, whatever the sessions look like, and the executor has to keep the
 * rows of one session only.  (Rejected: lag() and a running sum in plain SQL,
 * two sorted passes that number sessions but do not say where they end.)
 *
 * The executor does not tell a window function what OVER() sorts by, so the
 * order is checked by what comes: time never goes back, and rows without ts
 * are together at one end.  An ORDER BY that happens to give this order is
 * right.  The frame clause does not matter.
 *
 * Runs in: every backend and worker, also in parallel workers.
 * Memory: a key's state lives with the executor's partition; what evaluating a
 * ts ahead leaves behind, in a context of the call site, reset for every row.
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "windowapi.h"

#include "window/window.h"

#define TS_ARGUMENT		0
#define GAP_ARGUMENT	1

/* The gap of one key; all zero at first. */
typedef struct SessionGap
{
	Interval	interval;		/* the value that was parsed last */
	int64		microseconds;
} SessionGap;

/* The rows of one key as far as they have been read; all zero at first. */
typedef struct SessionOrder
{
	bool		has_last;
	bool		is_over;		/* a row without ts came after last */
	Timestamp	last;
} SessionOrder;

typedef struct SessionStartState
{
	SessionGap	gap;
	SessionOrder order;
	Timestamp	start;
} SessionStartState;

/*
 * All rows before the last one that was read belong to the current session or
 * to earlier ones.  That last row, if there is one, begins the next session.
 */
typedef struct SessionEndState
{
	SessionGap	gap;
	SessionOrder order;
	int64		rows_read;		/* counts the end of the key as a row */
	bool		next_exists;	/* the last row that was read, */
	bool		next_isnull;	/* and whether it has a ts */
	bool		isnull;			/* the current row is in no session */
	Timestamp	end;
} SessionEndState;

PG_FUNCTION_INFO_V1(tm_session_start);
PG_FUNCTION_INFO_V1(tm_session_end);

/* All fields at a limit: infinity where intervals have one. */
static inline bool
is_infinite(const Interval *interval)
{
	return (interval->month == PG_INT32_MAX &&
			interval->day == PG_INT32_MAX &&
			interval->time == PG_INT64_MAX) ||
		(interval->month == PG_INT32_MIN &&
		 interval->day == PG_INT32_MIN &&
		 interval->time == PG_INT64_MIN);
}

int64
tm_session_parse_gap(const Interval *gap)
{
	int64		result = 0;

	if (gap == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("session gap must not be null")));
	else if (is_infinite(gap))
		result = 0;				/* is refused below */
	else if (gap->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("session gap cannot have months"),
				 errhint("Use days of 24 hours and time, such as '30 days'.")));
	else if (pg_mul_s64_overflow(gap->day, USECS_PER_DAY, &result) ||
			 pg_add_s64_overflow(result, gap->time, &result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("session gap out of range")));

	if (result <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("session gap must be positive and finite"),
				 errhint("Use an interval such as '5 minutes'.")));
	return result;
}

/* The gap of the current row, which must be that of the rows before. */
static inline int64
get_gap(WindowObject winobj, SessionGap *gap)
{
	bool		isnull;
	Datum		value = WinGetFuncArgCurrent(winobj, GAP_ARGUMENT, &isnull);
	const Interval *interval = isnull ? NULL : DatumGetIntervalP(value);
	int64		microseconds;

	if (likely(gap->microseconds > 0 && interval != NULL &&
			   memcmp(&gap->interval, interval, sizeof(Interval)) == 0))
		return gap->microseconds;

	microseconds = tm_session_parse_gap(interval);
	if (gap->microseconds > 0 && gap->microseconds != microseconds)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("session gap differs between rows of one key"),
				 errhint("Use a constant, or add the gap to PARTITION BY.")));
	gap->interval = *interval;
	gap->microseconds = microseconds;
	return microseconds;
}

/*
 * Takes in the next row of the key.  True if it begins a session, and if it
 * has no ts.
 */
static inline bool
accept_row(SessionOrder *order, Timestamp ts, bool isnull, int64 gap)
{
	bool		is_first;

	if (isnull)
	{
		order->is_over = order->has_last;
		return true;
	}
	if (TIMESTAMP_NOT_FINITE(ts))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of a session must be finite")));
	if (order->has_last && (order->is_over || ts < order->last))
		ereport(ERROR,
				(errcode(ERRCODE_WINDOWING_ERROR),
				 errmsg("rows of a session are not in the order of their timestamps"),
				 errhint("Use OVER (PARTITION BY ... ORDER BY ts).")));

	/* unsigned: the distance may be more than an int64 can hold */
	is_first = !order->has_last ||
		(uint64) ts - (uint64) order->last > (uint64) gap;
	order->has_last = true;
	order->last = ts;
	return is_first;
}

/* session_start(ts, gap), timestamptz and timestamp */
Datum
tm_session_start(PG_FUNCTION_ARGS)
{
	WindowObject winobj = PG_WINDOW_OBJECT();
	SessionStartState *state;
	int64		gap;
	Datum		value;
	bool		isnull;

	state = WinGetPartitionLocalMemory(winobj, sizeof(SessionStartState));
	WinSetMarkPosition(winobj, WinGetCurrentPosition(winobj));
	gap = get_gap(winobj, &state->gap);

	value = WinGetFuncArgCurrent(winobj, TS_ARGUMENT, &isnull);
	if (isnull)
	{
		accept_row(&state->order, 0, true, gap);
		PG_RETURN_NULL();
	}
	if (accept_row(&state->order, DatumGetTimestamp(value), false, gap))
		state->start = state->order.last;
	PG_RETURN_TIMESTAMP(state->start);
}

/* Where the ts of rows ahead are evaluated, one at a time. */
static inline MemoryContext
get_row_context(FmgrInfo *flinfo)
{
	if (flinfo->fn_extra == NULL)
		flinfo->fn_extra = AllocSetContextCreate(flinfo->fn_mcxt,
												 "tidemark session row",
												 ALLOCSET_SMALL_SIZES);
	return (MemoryContext) flinfo->fn_extra;
}

/*
 * Reads one more row.  True if it begins a session or has no ts, or if there
 * is none.
 */
static bool
read_ahead(WindowObject winobj, SessionEndState *state, int64 gap,
		   MemoryContext row_context)
{
	int64		distance = state->rows_read - WinGetCurrentPosition(winobj);
	MemoryContext caller_context;
	Datum		value;
	Timestamp	ts;
	bool		is_out;

	if (distance > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("session has more than %d rows", PG_INT32_MAX)));

	caller_context = MemoryContextSwitchTo(row_context);
	value = WinGetFuncArgInPartition(winobj, TS_ARGUMENT, (int) distance,
									 WINDOW_SEEK_CURRENT, false,
									 &state->next_isnull, &is_out);
	ts = state->next_isnull ? 0 : DatumGetTimestamp(value);
	MemoryContextSwitchTo(caller_context);
	MemoryContextReset(row_context);

	state->rows_read++;
	state->next_exists = !is_out;
	return is_out || accept_row(&state->order, ts, state->next_isnull, gap);
}

/* Reads to the end of the session that the current row begins. */
static void
find_session_end(WindowObject winobj, SessionEndState *state, int64 gap,
				 MemoryContext row_context)
{
	Timestamp	last;

	if (state->rows_read == 0)
		read_ahead(winobj, state, gap, row_context);
	state->isnull = state->next_isnull;
	do
	{
		last = state->order.last;
	} while (!read_ahead(winobj, state, gap, row_context));

	if (!state->isnull &&
		(pg_add_s64_overflow(last, gap, &state->end) ||
		 !IS_VALID_TIMESTAMP(state->end)))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("end of session out of range")));

	/*
	 * Nothing before the row that we have just read will be read again.  (The
	 * current row is not read by its position.)
	 */
	if (state->next_exists)
		WinSetMarkPosition(winobj, state->rows_read - 1);
}

/* session_end(ts, gap), timestamptz and timestamp */
Datum
tm_session_end(PG_FUNCTION_ARGS)
{
	WindowObject winobj = PG_WINDOW_OBJECT();
	SessionEndState *state;
	int64		gap;

	state = WinGetPartitionLocalMemory(winobj, sizeof(SessionEndState));
	gap = get_gap(winobj, &state->gap);
	if (WinGetCurrentPosition(winobj) >= state->rows_read - 1)
		find_session_end(winobj, state, gap, get_row_context(fcinfo->flinfo));

	if (state->isnull)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMP(state->end);
}
