/*
 * window_paned.c
 *	  Hopping and cumulating windows: from a timestamp to its pane, and from the
 *	  pane to its windows.
 *
 * A view over overlapping windows is maintained by panes: a row is counted
 * once, in its pane, and the panes of a batch are merged into windows.  So
 * there is no second way from a timestamp to its windows: hop() and cumulate()
 * take this one too.
 *
 * All boundaries of windows are boundaries of panes, and these are found on
 * the wall clock, as window_tumble.c does.  The pane of ts starts at the last
 * boundary p whose first instant is not after ts; a window from s to e holds
 * ts if s <= p < e, compared on the wall clock.  first_instant_of() does not
 * fall, so that this says the same as a comparison of instants.  And p is what
 * the clock reads at the pane's start, rounded down: no earlier instant can
 * read p or more.
 *
 * A zone that leaves out a day gives two boundaries one first instant.  Of
 * windows that differ only in such a boundary one is listed: of those of a hop
 * with the same start the last, so that the end follows from the start.
 *
 * In a time zone, hours cannot be counted on the wall clock.  cumulate() from
 * midnight (or the first of a month) on in steps of hours counts those that
 * have passed since the window's start: a day of 25 hours has a step more, and
 * where the clock moves by less than a step the last one is shorter.  (Rejected
 * for hop(): windows of calendar days that start every hour; no start has an
 * end then.)
 *
 * Invariants:
 * (P1) the windows of a pane are those that contain all of its timestamps; no
 *      other window contains any.
 * (P2) two windows of a hop differ in start, two of a cumulate() with the same
 *      start differ in end.
 */
#include "postgres.h"

#include "common/int.h"

#include "window/window_internal.h"

/* more than any zone's clock was ever set back, altogether: 2 days */
#define ZONE_SLACK	(2 * USECS_PER_DAY)

#define MAX_DAYS_PER_MONTH	31

static int64
greatest_common_divisor(int64 a, int64 b)
{
	while (b != 0)
	{
		int64		rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* In months, or microseconds. */
static inline int64
get_length(const TimeWindowSpec *spec)
{
	return spec->months > 0 ? spec->months : spec->size;
}

/* A boundary as a number: in months, or microseconds. */
static inline int64
get_number(const TimeWindowSpec *spec, Timestamp wall)
{
	int64		rest;

	return spec->months > 0 ? tm_window_split_month(wall, &rest) : wall;
}

/* The first instant of the boundary with this number. */
static Timestamp
get_instant(const TimeWindowSpec *spec, int64 number)
{
	Timestamp	wall = number;
	Timestamp	instant;

	if (spec->months > 0)
	{
		if (!tm_window_join_month(number, spec->origin, &wall))
			REPORT_OUT_OF_RANGE();
	}
	else if (!IS_VALID_TIMESTAMP(wall))
		REPORT_OUT_OF_RANGE();

	instant = tm_window_to_instant(spec, wall);
	if (!IS_VALID_TIMESTAMP(instant))
		REPORT_OUT_OF_RANGE();
	return instant;
}

/* The pane's boundary on the wall clock, from the instant of its start. */
static Timestamp
get_pane_wall(const PanedSpec *spec, Timestamp pane_start)
{
	if (TIMESTAMP_NOT_FINITE(pane_start))
		REPORT_OUT_OF_RANGE();
	return tm_window_floor_wall(&spec->pane,
								tm_window_to_wall(&spec->pane, pane_start));
}

/* The first boundary of elapsed panes after an instant of their window. */
static Timestamp
next_elapsed(const PanedSpec *spec, const TimeWindow *window, Timestamp ts)
{
	int64		step = spec->pane.size;
	Timestamp	next;

	/* no month or day of a zone is too long for this, but its end may be */
	if (pg_add_s64_overflow(ts - (ts - window->start) % step, step, &next))
		return window->end;
	return Min(next, window->end);
}

TimeWindow
tm_window_pane(const PanedSpec *spec, Timestamp ts)
{
	TimeWindow	window;
	TimeWindow	pane;

	if (!spec->elapsed)
		return tm_window_assign(&spec->pane, ts);

	window = tm_window_assign(&spec->starts, ts);
	pane.start = ts - (ts - window.start) % spec->pane.size;
	pane.end = next_elapsed(spec, &window, ts);
	return pane;
}

static int
list_hop(const PanedSpec *spec, Timestamp pane_start, TimeWindow *windows)
{
	Timestamp	pane_wall = get_pane_wall(spec, pane_start);
	int64		pane = get_number(&spec->starts, pane_wall);
	int64		last = get_number(&spec->starts,
								  tm_window_floor_wall(&spec->starts, pane_wall));
	int64		slide = get_length(&spec->starts);
	int64		size = get_length(&spec->window);
	int			count = 0;
	int64		i;

	if (pane - last >= size)
		return 0;				/* in the gap after the last window */

	for (i = (size - (pane - last) - 1) / slide; i >= 0; i--)
	{
		TimeWindow	window;
		int64		start;
		int64		end;

		/* i * slide < size */
		if (pg_sub_s64_overflow(last, i * slide, &start) ||
			pg_add_s64_overflow(start, size, &end))
			REPORT_OUT_OF_RANGE();
		window.start = get_instant(&spec->starts, start);
		window.end = get_instant(&spec->starts, end);
		if (count > 0 && windows[count - 1].start == window.start)
			count--;
		Assert(count < spec->max_windows);
		windows[count++] = window;
	}
	return count;
}

static int
list_cumulate(const PanedSpec *spec, Timestamp pane_start,
			  TimeWindow *windows)
{
	Timestamp	wall = get_pane_wall(spec, pane_start);
	Timestamp	start_wall = tm_window_floor_wall(&spec->starts, wall);
	Timestamp	end_wall;
	TimeWindow	window;
	int			count = 0;

	if (!tm_window_next_wall(&spec->starts, start_wall, &end_wall))
		REPORT_OUT_OF_RANGE();
	window.start = tm_window_to_instant(&spec->starts, start_wall);
	while (wall < end_wall)
	{
		if (!tm_window_next_wall(&spec->pane, wall, &wall))
			REPORT_OUT_OF_RANGE();
		window.end = tm_window_to_instant(&spec->pane, wall);
		if (!IS_VALID_TIMESTAMP(window.end))
			REPORT_OUT_OF_RANGE();
		if (count > 0 && windows[count - 1].end == window.end)
			continue;
		Assert(count < spec->max_windows);
		windows[count++] = window;
	}
	if (!IS_VALID_TIMESTAMP(window.start))
		REPORT_OUT_OF_RANGE();
	return count;
}

static int
list_elapsed(const PanedSpec *spec, Timestamp pane_start, TimeWindow *windows)
{
	TimeWindow	longest = tm_window_assign(&spec->starts, pane_start);
	TimeWindow	window = {.start = longest.start,.end = pane_start};
	int			count = 0;

	if (!IS_VALID_TIMESTAMP(longest.end))
		REPORT_OUT_OF_RANGE();
	while (window.end < longest.end)
	{
		window.end = next_elapsed(spec, &longest, window.end);
		Assert(count < spec->max_windows);
		windows[count++] = window;
	}
	return count;
}

int
tm_window_list(const PanedSpec *spec, Timestamp pane_start,
			   TimeWindow *windows)
{
	if (spec->kind == PANED_HOP)
		return list_hop(spec, pane_start, windows);
	if (spec->elapsed)
		return list_elapsed(spec, pane_start, windows);
	return list_cumulate(spec, pane_start, windows);
}

Timestamp
tm_window_hop_end(const PanedSpec *spec, Timestamp start)
{
	Timestamp	wall;
	int64		end;

	Assert(spec->kind == PANED_HOP);
	if (TIMESTAMP_NOT_FINITE(start))
		REPORT_OUT_OF_RANGE();
	wall = tm_window_floor_wall(&spec->starts,
								tm_window_to_wall(&spec->starts, start));
	if (pg_add_s64_overflow(get_number(&spec->starts, wall),
							get_length(&spec->window), &end))
		REPORT_OUT_OF_RANGE();
	return get_instant(&spec->starts, end);
}

static void
check_max_windows(int64 count, const char *hint)
{
	if (count > TM_WINDOW_MAX_PER_ROW)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a timestamp would lie in " INT64_FORMAT " windows",
						count),
				 errdetail("At most %d are supported.", TM_WINDOW_MAX_PER_ROW),
				 errhint("%s", hint)));
}

void
tm_window_parse_hop(const Interval *slide, const Interval *size,
					const Timestamp *origin, const char *timezone,
					PanedSpec *spec)
{
	TimeWindowSpec *pane = &spec->pane;
	int64		length;
	int64		count;

	memset(spec, 0, sizeof(*spec));
	spec->kind = PANED_HOP;
	tm_window_parse_as("window slide", slide, origin, timezone, &spec->starts);
	tm_window_parse_as("window size", size, NULL, timezone, &spec->window);
	if ((spec->starts.months > 0) != (spec->window.months > 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window slide and size cannot mix months with days or time"),
				 errhint("Use whole months for both, or days and time, such as '30 days', for both.")));
	if ((spec->starts.timezone != NULL) != (spec->window.timezone != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window slide and size in a time zone cannot mix days with time"),
				 errhint("Use whole days for both, or only time, such as '24 hours', for both.")));

	count = (get_length(&spec->window) - 1) / get_length(&spec->starts) + 1;
	check_max_windows(count, "Use a larger slide.");
	spec->max_windows = (int) count;

	*pane = spec->starts;
	length = greatest_common_divisor(get_length(&spec->window),
									 get_length(&spec->starts));
	if (pane->months > 0)
		pane->months = (int32) length;
	else
	{
		pane->size = length;
		pane->origin = floor_mod(spec->starts.origin, length);
	}
}

/*
 * Is max made of whole steps?  Months have no common length, days in a zone
 * neither: then the steps are such that a day is.
 */
static void
check_steps(const TimeWindowSpec *max, const TimeWindowSpec *step)
{
	bool		same_unit = (max->months > 0) == (step->months > 0) &&
	(max->timezone != NULL) == (step->timezone != NULL);

	if (same_unit)
	{
		if (get_length(max) % get_length(step) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("maximum window size must be a multiple of the window step")));
		return;
	}
	if (step->months > 0 || (max->timezone == NULL && step->timezone != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window step cannot be of a larger unit than the maximum window size"),
				 errhint("Months are larger than days and time; in a time zone, days are larger than time, such as '24 hours'.")));
	if (USECS_PER_DAY % step->size != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window step must divide a day"),
				 errdetail("Months, and days in a time zone, are not all of the same length."),
				 errhint("Use a step such as '1 hour', or one in the unit of the maximum.")));
}

void
tm_window_parse_cumulate(const Interval *step, const Interval *max,
						 const Timestamp *origin, const char *timezone,
						 PanedSpec *spec)
{
	TimeWindowSpec *pane = &spec->pane;
	int64		count;

	memset(spec, 0, sizeof(*spec));
	spec->kind = PANED_CUMULATE;
	tm_window_parse_as("window step", step, NULL, timezone, pane);
	tm_window_parse_as("maximum window size", max, origin, timezone,
					   &spec->starts);
	spec->window = spec->starts;
	check_steps(&spec->starts, pane);

	spec->elapsed = spec->starts.timezone != NULL && pane->timezone == NULL;
	if (spec->starts.months > 0 && pane->months == 0)
	{
		/* this first, so that the product cannot overflow */
		count = USECS_PER_DAY / pane->size;
		check_max_windows(count, "Use a larger step.");
		count *= (int64) spec->starts.months * MAX_DAYS_PER_MONTH;
	}
	else
		count = get_length(&spec->starts) / get_length(pane);
	check_max_windows(count, "Use a larger step.");
	if (spec->elapsed)
		count += ZONE_SLACK / pane->size;
	spec->max_windows = (int) count;

	/* a month starts at the same time of day as its days */
	pane->origin_month = spec->starts.origin_month;
	pane->origin = spec->starts.origin;
	if (pane->months == 0)
		pane->origin = floor_mod(pane->origin, pane->size);
}
