/*
 * window_tumble.c
 *	  Tumbling windows: from a timestamp to its window.
 *
 * A fixed size is integer arithmetic on microseconds.  A calendar size (days
 * or months in a time zone, months in UTC) is arithmetic on the wall clock:
 * translate to it, find the boundary at or before, translate back.
 *
 * The way back needs a rule, since a zone's clock jumps and some midnights do
 * not exist or come twice.  Ours is one sentence: a boundary is the first
 * instant at which the zone's clock reads that midnight or later.  A midnight
 * that is skipped (Santiago, Cairo) becomes the end of the gap, one that is
 * repeated (Havana, Azores) counts from its first time.  (Rejected: core's
 * DetermineTimeZoneOffset(), which takes the second of two midnights, so that
 * date_trunc() gives the start of a day that lies after the row.)
 *
 * The end of a window must follow from its start without the origin, because
 * views store only the start.  Hence the boundaries of calendar windows are
 * midnights, and months start on a day that every month has: other origins
 * are refused.
 *
 * Invariants:
 * (W1) start <= ts < end, and windows of one spec neither overlap nor leave
 *      a gap.
 * (W2) tm_window_end(start) is the start of the next window.  Exception: a
 *      size of several days or months with a boundary on a day that the zone
 *      left out altogether (Apia, 2011-12-30).
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "window/window_internal.h"

/* seconds between the epochs of pg_time_t and Timestamp, 1970 and 2000 */
#define EPOCH_SHIFT \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* no zone is further than 16 hours from UTC: where to start looking */
#define ZONE_MARGIN		SECS_PER_DAY

#define DAYS_IN_WEEK	7

/* the last day that every month has */
#define LAST_COMMON_DAY	28

static inline int64
floor_div(int64 value, int64 divisor)
{
	return value / divisor - (value % divisor < 0 ? 1 : 0);
}

/* What the zone's clock reads at an instant. */
static Timestamp
wall_clock_at(Timestamp instant, const pg_tz *timezone)
{
	pg_time_t	seconds = floor_div(instant, USECS_PER_SEC) + EPOCH_SHIFT;
	struct pg_tm *tm = pg_localtime(&seconds, timezone);

	if (tm != NULL)
		return instant + tm->tm_gmtoff * USECS_PER_SEC;
	REPORT_OUT_OF_RANGE();
}

/*
 * The first instant at which the zone's clock reads the given midnight or
 * later.  Walks the zone's spans of constant offset: the answer lies in the
 * first span that the clock does not leave before midnight; at the beginning
 * of that span if the clock jumped over midnight there.
 */
static Timestamp
first_instant_of(Timestamp midnight, const pg_tz *timezone)
{
	int64		local = midnight / USECS_PER_SEC + EPOCH_SHIFT;
	pg_time_t	span = local - ZONE_MARGIN;

	for (;;)
	{
		pg_time_t	next_span;
		pg_time_t	instant;
		long		offset;
		long		next_offset;
		int			isdst;
		int			next_isdst;
		int			found;

		found = pg_next_dst_boundary(&span, &offset, &isdst, &next_span,
									 &next_offset, &next_isdst, timezone);
		if (found < 0)
			REPORT_OUT_OF_RANGE();
		instant = local - offset;
		if (found == 0 || instant < next_span)
			return (Max(instant, span) - EPOCH_SHIFT) * USECS_PER_SEC;
		span = next_span;
	}
}

Timestamp
tm_window_to_wall(const TimeWindowSpec *spec, Timestamp instant)
{
	if (spec->timezone == NULL)
		return instant;
	return wall_clock_at(instant, spec->timezone);
}

Timestamp
tm_window_to_instant(const TimeWindowSpec *spec, Timestamp wall)
{
	if (spec->timezone == NULL)
		return wall;
	return first_instant_of(wall, spec->timezone);
}

int64
tm_window_split_month(Timestamp wall, int64 *rest)
{
	int64		days = floor_div(wall, USECS_PER_DAY);
	int			year;
	int			month;
	int			day;

	j2date((int) (days + POSTGRES_EPOCH_JDATE), &year, &month, &day);
	*rest = wall - (days - (day - 1)) * USECS_PER_DAY;
	return (int64) year * MONTHS_PER_YEAR + month - 1;
}

bool
tm_window_join_month(int64 months, int64 rest, Timestamp *wall)
{
	int64		year = floor_div(months, MONTHS_PER_YEAR);
	int			month = (int) floor_mod(months, MONTHS_PER_YEAR) + 1;
	int64		days;

	if (year < JULIAN_MINYEAR || year > JULIAN_MAXYEAR)
		return false;
	days = (int64) date2j((int) year, month, 1) - POSTGRES_EPOCH_JDATE;
	return !pg_mul_s64_overflow(days, USECS_PER_DAY, wall) &&
		!pg_add_s64_overflow(*wall, rest, wall) &&
		IS_VALID_TIMESTAMP(*wall);
}

Timestamp
tm_window_floor_wall(const TimeWindowSpec *spec, Timestamp wall)
{
	Timestamp	boundary;

	if (spec->months > 0)
	{
		int64		rest;
		int64		month = tm_window_split_month(wall, &rest);

		/* a month begins where the origin says, not on its first day */
		if (rest < spec->origin)
			month--;
		month -= floor_mod(month - spec->origin_month, spec->months);
		if (!tm_window_join_month(month, spec->origin, &boundary))
			REPORT_OUT_OF_RANGE();
	}
	else
	{
		int64		distance;

		/*
		 * Neither can overflow unless the boundary lies before the first
		 * timestamp: the origin is reduced to [0, size).
		 */
		if (pg_sub_s64_overflow(wall, spec->origin, &distance) ||
			pg_sub_s64_overflow(wall, floor_mod(distance, spec->size),
								&boundary))
			REPORT_OUT_OF_RANGE();
	}
	return boundary;
}

bool
tm_window_next_wall(const TimeWindowSpec *spec, Timestamp wall, Timestamp *next)
{
	if (spec->months > 0)
	{
		int64		rest;
		int64		month = tm_window_split_month(wall, &rest);

		return tm_window_join_month(month + spec->months, rest, next);
	}
	return !pg_add_s64_overflow(wall, spec->size, next) &&
		IS_VALID_TIMESTAMP(*next);
}

/* The midnight whose first instant has this wall clock reading. */
static inline Timestamp
midnight_of(Timestamp wall)
{
	return wall - floor_mod(wall, USECS_PER_DAY);
}

TimeWindow
tm_window_assign(const TimeWindowSpec *spec, Timestamp ts)
{
	TimeWindow	window;
	Timestamp	boundary;

	if (TIMESTAMP_NOT_FINITE(ts))
		REPORT_OUT_OF_RANGE();

	if (spec->timezone == NULL)
	{
		window.start = tm_window_floor_wall(spec, ts);
		if (!tm_window_next_wall(spec, window.start, &window.end))
			window.end = DT_NOEND;
	}
	else
	{
		boundary = tm_window_floor_wall(spec, wall_clock_at(ts, spec->timezone));
		window.start = first_instant_of(boundary, spec->timezone);

		/* a clock that was set back over midnight reads too early */
		for (;;)
		{
			if (!tm_window_next_wall(spec, boundary, &boundary))
			{
				window.end = DT_NOEND;
				break;
			}
			window.end = first_instant_of(boundary, spec->timezone);
			if (window.end > ts)
				break;
			window.start = window.end;
		}
	}

	if (!IS_VALID_TIMESTAMP(window.start))
		REPORT_OUT_OF_RANGE();
	return window;
}

Timestamp
tm_window_end(const TimeWindowSpec *spec, Timestamp start)
{
	Timestamp	end;

	if (TIMESTAMP_NOT_FINITE(start))
		REPORT_OUT_OF_RANGE();
	if (spec->timezone == NULL)
	{
		if (!tm_window_next_wall(spec, start, &end))
			REPORT_OUT_OF_RANGE();
		return end;
	}
	if (!tm_window_next_wall(spec, midnight_of(wall_clock_at(start, spec->timezone)),
							 &end))
		REPORT_OUT_OF_RANGE();
	end = first_instant_of(end, spec->timezone);
	if (!IS_VALID_TIMESTAMP(end))
		REPORT_OUT_OF_RANGE();
	return end;
}

/* The zone of a name, or NULL if its clock always shows UTC. */
static pg_tz *
parse_timezone(const char *name)
{
	pg_tz	   *timezone = NULL;
	long		offset;

	/*
	 * Abbreviations are left out on purpose: what they mean depends on
	 * settings of the session, and windows must not.
	 */
	if (strlen(name) <= TZ_STRLEN_MAX)
		timezone = pg_tzset(name);
	if (timezone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", name),
				 errhint("Use a full name such as \"Europe/Berlin\"; the view pg_timezone_names lists them.")));
	if (pg_get_timezone_offset(timezone, &offset) && offset == 0)
		return NULL;
	return timezone;
}

static void
check_size(const char *what, const Interval *size, bool has_timezone)
{
	bool		infinite = size->month == PG_INT32_MAX &&
	size->day == PG_INT32_MAX && size->time == PG_INT64_MAX;

	/* the sum of days and time is checked where it is made */
	if (infinite || (size->month <= 0 && size->day <= 0 && size->time <= 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be positive and finite", what),
				 errhint("Use an interval such as '10 seconds' or '1 day'.")));
	if (size->month != 0 && (size->day != 0 || size->time != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot mix months with days or time", what),
				 errhint("Use whole months, such as '3 months', or days and time, such as '30 days'.")));
	if (has_timezone && size->day != 0 && size->time != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s in a time zone cannot mix days with time", what),
				 errhint("Use whole days, which follow the zone's clock, or only time, such as '36 hours', which does not.")));
}

/* Days of 24 hours and time, in microseconds. */
static int64
get_fixed_size(const char *what, const Interval *size)
{
	int64		result;

	if (pg_mul_s64_overflow(size->day, USECS_PER_DAY, &result) ||
		pg_add_s64_overflow(result, size->time, &result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("%s out of range", what)));
	if (result <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be positive and finite", what),
				 errhint("Use an interval such as '10 seconds' or '1 day'.")));
	return result;
}

/* A boundary on the wall clock, from the user's origin or the default. */
static Timestamp
get_origin(const Interval *size, const Timestamp *origin, pg_tz *timezone,
		   const char *timezone_name)
{
	Timestamp	wall;

	if (origin == NULL)
	{
		wall = -EPOCH_SHIFT * USECS_PER_SEC;
		if (size->day != 0 && size->day % DAYS_IN_WEEK == 0 && size->time == 0)
			wall += 4 * USECS_PER_DAY;	/* from Thursday to Monday */
		return wall;
	}
	if (TIMESTAMP_NOT_FINITE(*origin))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("origin out of range")));
	if (timezone == NULL)
		return *origin;

	wall = midnight_of(wall_clock_at(*origin, timezone));
	if (first_instant_of(wall, timezone) != *origin)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("origin must be a midnight in time zone \"%s\"",
						timezone_name),
				 errhint("Windows of days and months in a time zone begin at midnight; a size such as '24 hours' can have any origin.")));
	return wall;
}

void
tm_window_parse(const Interval *size, const Timestamp *origin,
				const char *timezone, TimeWindowSpec *spec)
{
	tm_window_parse_as("window size", size, origin, timezone, spec);
}

void
tm_window_parse_as(const char *what, const Interval *size,
				   const Timestamp *origin, const char *timezone,
				   TimeWindowSpec *spec)
{
	Timestamp	wall;

	memset(spec, 0, sizeof(*spec));
	if (timezone != NULL)
		spec->timezone = parse_timezone(timezone);
	check_size(what, size, spec->timezone != NULL);
	if (size->month > 0)
		spec->months = size->month;
	else
		spec->size = get_fixed_size(what, size);
	if (size->month == 0 && size->day == 0)
		spec->timezone = NULL;	/* hours are the same everywhere */

	wall = get_origin(size, origin, spec->timezone, timezone);
	if (spec->months == 0)
	{
		spec->origin = floor_mod(wall, spec->size);
		return;
	}
	spec->origin_month = tm_window_split_month(wall, &spec->origin);
	if (spec->origin >= LAST_COMMON_DAY * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("origin of windows of months must be on one of the first %d days of a month",
						LAST_COMMON_DAY),
				 errhint("Later days do not exist in every month.")));
}
