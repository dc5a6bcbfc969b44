/*
 * window_paned_sql.c
 *	  The C functions below the SQL functions hop() and cumulate().
 *
 * These are LANGUAGE sql and inlined, as tumble() is: what remains in the plan
 * is the windows of the pane of ts.  Views call the two parts apart.
 *
 * Each function serves both kinds of timestamp, by its number of arguments:
 * timestamp without time zone has no fifth one.  None is strict: a NULL ts has
 * a NULL pane, a NULL pane one row of NULLs as windows; otherwise as in
 * window_sql.c.
 *
 * Runs in: every backend and worker, also in parallel workers.
 * Memory: the call site's state lives in fn_mcxt, with the call site; in it
 * the windows of the last pane, since rows of the same time come together.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/supportnodes.h"
#include "utils/builtins.h"

#include "window/window_internal.h"

/* the names of the two sizes in messages */
static const char *const size_names[][2] = {
	[PANED_HOP] = {"window slide", "window size"},
	[PANED_CUMULATE] = {"window step", "maximum window size"},
};

/* What a call site remembers. */
typedef struct PanedState
{
	bool		parsed;			/* spec belongs to the arguments below */
	Interval	sizes[2];
	ParsedPlace place;
	PanedSpec	spec;
	TimeWindow	pane;			/* empty at first */
	TupleDesc	tupdesc;		/* of a window */
	TimeWindow *windows;		/* array of max_windows, or NULL */
	int			nwindows;
	Timestamp	windows_of;		/* their pane, if windows is not NULL */
} PanedState;

PG_FUNCTION_INFO_V1(tm_hop_pane);
PG_FUNCTION_INFO_V1(tm_hop_windows);
PG_FUNCTION_INFO_V1(tm_hop_end);
PG_FUNCTION_INFO_V1(tm_cumulate_pane);
PG_FUNCTION_INFO_V1(tm_cumulate_windows);
PG_FUNCTION_INFO_V1(tm_window_rows_support);

static void
parse_arguments(PanedState *state, PanedKind kind, const Interval *size0,
				const Interval *size1, const Timestamp *origin,
				const text *zone)
{
	char	   *zone_name = zone ? text_to_cstring(zone) : NULL;

	state->parsed = false;		/* in case this fails */
	if (kind == PANED_HOP)
		tm_window_parse_hop(size0, size1, origin, zone_name, &state->spec);
	else
		tm_window_parse_cumulate(size0, size1, origin, zone_name, &state->spec);

	state->sizes[0] = *size0;
	state->sizes[1] = *size1;
	tm_window_remember_place(&state->place, origin, zone_name);
	state->pane.start = DT_NOEND;
	state->pane.end = DT_NOBEGIN;
	if (state->windows)
		pfree(state->windows);
	state->windows = NULL;
	state->parsed = true;
	if (zone_name)
		pfree(zone_name);
}

/* The state of this call site, parsed for its arguments but the first. */
static PanedState *
get_state(FunctionCallInfo fcinfo, PanedKind kind)
{
	PanedState *state = (PanedState *) fcinfo->flinfo->fn_extra;
	const Interval *size0 = tm_window_get_size(fcinfo, 1, size_names[kind][0]);
	const Interval *size1 = tm_window_get_size(fcinfo, 2, size_names[kind][1]);
	Timestamp	value = PG_ARGISNULL(3) ? 0 : PG_GETARG_TIMESTAMP(3);
	const Timestamp *origin = PG_ARGISNULL(3) ? NULL : &value;
	const text *zone = NULL;

	if (PG_NARGS() > 4)
		zone = tm_window_get_zone(fcinfo, 4);
	if (state == NULL)
	{
		state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
									   sizeof(PanedState));
		fcinfo->flinfo->fn_extra = state;
	}
	if (unlikely(!state->parsed ||
				 memcmp(&state->sizes[0], size0, sizeof(Interval)) != 0 ||
				 memcmp(&state->sizes[1], size1, sizeof(Interval)) != 0 ||
				 !tm_window_is_place(&state->place, origin, zone)))
		parse_arguments(state, kind, size0, size1, origin, zone);
	return state;
}

static Datum
get_pane(FunctionCallInfo fcinfo, PanedKind kind)
{
	Timestamp	ts;
	PanedState *state;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	ts = PG_GETARG_TIMESTAMP(0);
	state = get_state(fcinfo, kind);
	if (ts < state->pane.start || ts >= state->pane.end)
		state->pane = tm_window_pane(&state->spec, ts);
	PG_RETURN_TIMESTAMP(state->pane.start);
}

/* An empty result of the set-returning function; its rows have tupdesc. */
static Tuplestorestate *
begin_result(FunctionCallInfo fcinfo, TupleDesc *tupdesc)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Tuplestorestate *store;
	MemoryContext caller;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		!(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));

	caller = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	store = tuplestore_begin_heap((rsinfo->allowedModes &
								   SFRM_Materialize_Random) != 0,
								  false, work_mem);
	MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	if (*tupdesc == NULL)
	{
		Oid			type = PG_NARGS() > 4 ? TIMESTAMPTZOID : TIMESTAMPOID;

		*tupdesc = CreateTemplateTupleDesc(2);
		TupleDescInitEntry(*tupdesc, 1, "window_start", type, -1, 0);
		TupleDescInitEntry(*tupdesc, 2, "window_end", type, -1, 0);
	}
	MemoryContextSwitchTo(caller);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = store;
	return store;
}

/* One row of NULLs, as tumble() gives for a NULL ts. */
static void
put_nulls(FunctionCallInfo fcinfo)
{
	TupleDesc	tupdesc = NULL;
	Tuplestorestate *store = begin_result(fcinfo, &tupdesc);
	Datum		values[2] = {0, 0};
	bool		nulls[2] = {true, true};

	tuplestore_putvalues(store, tupdesc, values, nulls);
	FreeTupleDesc(tupdesc);
}

/*
 * Materialized and not a row per call: in FROM, the executor would build the
 * same tuplestore from composite values.
 */
static Datum
get_windows(FunctionCallInfo fcinfo, PanedKind kind)
{
	Timestamp	pane_start;
	PanedState *state;
	Tuplestorestate *store;
	bool		nulls[2] = {false, false};
	int			i;

	if (PG_ARGISNULL(0))
	{
		put_nulls(fcinfo);
		return (Datum) 0;
	}
	pane_start = PG_GETARG_TIMESTAMP(0);
	state = get_state(fcinfo, kind);
	if (state->windows == NULL || pane_start != state->windows_of)
	{
		if (state->windows == NULL)
			state->windows = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt,
												sizeof(TimeWindow) * state->spec.max_windows);
		state->windows_of = DT_NOEND;	/* in case this fails */
		state->nwindows = tm_window_list(&state->spec, pane_start,
										 state->windows);
		state->windows_of = pane_start;
	}

	store = begin_result(fcinfo, &state->tupdesc);
	for (i = 0; i < state->nwindows; i++)
	{
		Datum		values[2];

		values[0] = TimestampGetDatum(state->windows[i].start);
		values[1] = TimestampGetDatum(state->windows[i].end);
		tuplestore_putvalues(store, state->tupdesc, values, nulls);
	}
	return (Datum) 0;
}

/* hop_pane(ts, slide interval, size interval, origin [, timezone text]) */
Datum
tm_hop_pane(PG_FUNCTION_ARGS)
{
	return get_pane(fcinfo, PANED_HOP);
}

/* hop_windows(pane_start, slide, size, origin [, timezone]) */
Datum
tm_hop_windows(PG_FUNCTION_ARGS)
{
	return get_windows(fcinfo, PANED_HOP);
}

/* hop_end(window_start, slide, size, origin [, timezone]) */
Datum
tm_hop_end(PG_FUNCTION_ARGS)
{
	Timestamp	start;
	PanedState *state;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	start = PG_GETARG_TIMESTAMP(0);
	state = get_state(fcinfo, PANED_HOP);
	PG_RETURN_TIMESTAMP(tm_window_hop_end(&state->spec, start));
}

/* cumulate_pane(ts, step interval, max interval, origin [, timezone text]) */
Datum
tm_cumulate_pane(PG_FUNCTION_ARGS)
{
	return get_pane(fcinfo, PANED_CUMULATE);
}

/* cumulate_windows(pane_start, step, max, origin [, timezone]) */
Datum
tm_cumulate_windows(PG_FUNCTION_ARGS)
{
	return get_windows(fcinfo, PANED_CUMULATE);
}

/* In microseconds, roughly; never an error. */
static double
estimate_length(const Interval *size)
{
	return (size->month * (double) DAYS_PER_MONTH + size->day) *
		USECS_PER_DAY + size->time;
}

/*
 * How many rows hop_windows() and cumulate_windows() give: size / slide, and at
 * most max / step.
 */
Datum
tm_window_rows_support(PG_FUNCTION_ARGS)
{
	SupportRequestRows *request = (SupportRequestRows *) PG_GETARG_POINTER(0);
	List	   *args;
	Const	   *slide;
	Const	   *size;
	double		slide_length;

	if (!IsA(request, SupportRequestRows) || !is_funcclause(request->node))
		PG_RETURN_POINTER(NULL);
	args = ((FuncExpr *) request->node)->args;
	slide = (Const *) estimate_expression_value(request->root, lsecond(args));
	size = (Const *) estimate_expression_value(request->root, lthird(args));
	if (!IsA(slide, Const) || slide->constisnull ||
		!IsA(size, Const) || size->constisnull)
		PG_RETURN_POINTER(NULL);

	slide_length = estimate_length(DatumGetIntervalP(slide->constvalue));
	if (slide_length <= 0)
		PG_RETURN_POINTER(NULL);	/* an error, when it is called */
	request->rows = estimate_length(DatumGetIntervalP(size->constvalue)) /
		slide_length;
	request->rows = Min(request->rows, TM_WINDOW_MAX_PER_ROW);
	PG_RETURN_POINTER(request);
}
