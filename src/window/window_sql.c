/*
 * window_sql.c
 *	  The C functions below the SQL function tumble().
 *
 * tumble() itself is LANGUAGE sql, so that the planner inlines it; these are
 * what remains in the plan, called once or more for every row.  Size, origin
 * and zone are nearly always constants and rows of the same time come
 * together: each call site remembers what it parsed, and its last window.
 *
 * None of the functions is strict: a NULL ts or window_start gives NULL, a
 * NULL size or zone is an error (22004), a NULL origin is the default one.
 *
 * Runs in: every backend and worker, also in parallel workers.
 * Memory: the call site's state lives in fn_mcxt, with the call site.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "window/window_internal.h"

/* What a call site remembers. */
typedef struct TumbleState
{
	bool		parsed;			/* spec belongs to the arguments below */
	Interval	size;
	ParsedPlace place;
	TimeWindowSpec spec;
	TimeWindow	last;			/* empty at first, or start > end */
} TumbleState;

PG_FUNCTION_INFO_V1(tm_tumble_start_timestamptz);
PG_FUNCTION_INFO_V1(tm_tumble_end_timestamptz);
PG_FUNCTION_INFO_V1(tm_tumble_start_timestamp);
PG_FUNCTION_INFO_V1(tm_tumble_end_timestamp);

static inline bool
is_parsed(const TumbleState *state, const Interval *size,
		  const Timestamp *origin, const text *zone)
{
	return state->parsed &&
		memcmp(&state->size, size, sizeof(Interval)) == 0 &&
		tm_window_is_place(&state->place, origin, zone);
}

void
tm_window_remember_place(ParsedPlace *place, const Timestamp *origin,
						 const char *zone_name)
{
	place->has_origin = (origin != NULL);
	place->origin = origin ? *origin : 0;
	place->zone_length = -1;
	if (zone_name)
	{
		/* tm_window_parse() accepts no longer name */
		place->zone_length = (int) strlen(zone_name);
		memcpy(place->zone, zone_name, place->zone_length);
	}
}

static void
parse_arguments(TumbleState *state, const Interval *size,
				const Timestamp *origin, const text *zone)
{
	char	   *zone_name = zone ? text_to_cstring(zone) : NULL;

	state->parsed = false;		/* in case this fails */
	tm_window_parse(size, origin, zone_name, &state->spec);

	state->size = *size;
	tm_window_remember_place(&state->place, origin, zone_name);
	state->last.start = DT_NOEND;
	state->last.end = DT_NOBEGIN;
	state->parsed = true;
	if (zone_name)
		pfree(zone_name);
}

/* The state of this call site, parsed for these arguments. */
static inline TumbleState *
get_state(FunctionCallInfo fcinfo, const Interval *size,
		  const Timestamp *origin, const text *zone)
{
	TumbleState *state = (TumbleState *) fcinfo->flinfo->fn_extra;

	if (state == NULL)
	{
		state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
									   sizeof(TumbleState));
		fcinfo->flinfo->fn_extra = state;
	}
	if (unlikely(!is_parsed(state, size, origin, zone)))
		parse_arguments(state, size, origin, zone);
	return state;
}

const Interval *
tm_window_get_size(FunctionCallInfo fcinfo, int argno, const char *what)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	return PG_GETARG_INTERVAL_P(argno);
}

const text *
tm_window_get_zone(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("time zone of a window must not be null")));
	return PG_GETARG_TEXT_PP(argno);
}

/* Both tumble_start(): NULL zone for timestamp without time zone. */
static inline Datum
get_start(FunctionCallInfo fcinfo, const Interval *size, const text *zone)
{
	Timestamp	ts = PG_GETARG_TIMESTAMP(0);
	Timestamp	origin = PG_ARGISNULL(2) ? 0 : PG_GETARG_TIMESTAMP(2);
	TumbleState *state;

	state = get_state(fcinfo, size, PG_ARGISNULL(2) ? NULL : &origin, zone);
	if (ts < state->last.start || ts >= state->last.end)
		state->last = tm_window_assign(&state->spec, ts);
	PG_RETURN_TIMESTAMP(state->last.start);
}

/* Both tumble_end(). */
static inline Datum
get_end(FunctionCallInfo fcinfo, const Interval *size, const text *zone)
{
	Timestamp	start = PG_GETARG_TIMESTAMP(0);
	TumbleState *state = get_state(fcinfo, size, NULL, zone);

	if (start != state->last.start || start >= state->last.end)
	{
		state->last.end = tm_window_end(&state->spec, start);
		state->last.start = start;
	}
	PG_RETURN_TIMESTAMP(state->last.end);
}

/* tumble_start(ts timestamptz, size, origin timestamptz, timezone) */
Datum
tm_tumble_start_timestamptz(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return get_start(fcinfo, tm_window_get_size(fcinfo, 1, "window size"),
					 tm_window_get_zone(fcinfo, 3));
}

/* tumble_end(window_start timestamptz, size interval, timezone text) */
Datum
tm_tumble_end_timestamptz(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return get_end(fcinfo, tm_window_get_size(fcinfo, 1, "window size"),
				   tm_window_get_zone(fcinfo, 2));
}

/* tumble_start(ts timestamp, size interval, origin timestamp) */
Datum
tm_tumble_start_timestamp(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return get_start(fcinfo, tm_window_get_size(fcinfo, 1, "window size"), NULL);
}

/* tumble_end(window_start timestamp, size interval) */
Datum
tm_tumble_end_timestamp(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return get_end(fcinfo, tm_window_get_size(fcinfo, 1, "window size"), NULL);
}
