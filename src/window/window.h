/*
 * window.h
 *	  Time windows: which window a timestamp belongs to, and where it ends.
 *
 * Everything here is arithmetic on values: no catalogs, no session settings
 * (never the session's time zone), no memory that the caller does not own.
 * Timestamps are timestamptz; with a spec parsed without a zone the same
 * functions serve timestamp.
 */
#ifndef TM_WINDOW_H
#define TM_WINDOW_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/*
 * Windows of one size, laid end to end from an origin.  The size is either
 * microseconds or calendar months.  Without a zone the wall clock is UTC; with
 * a zone the size is whole days or months and every boundary is a midnight.
 */
typedef struct TimeWindowSpec
{
	int64		size;			/* microseconds; 0: the size is in months */
	int32		months;			/* calendar months; 0: see size */
	pg_tz	   *timezone;		/* whose wall clock, or NULL for UTC */
	int64		origin;			/* wall clock: a boundary, reduced modulo
								 * size; months: microseconds into the month */
	int64		origin_month;	/* months since year 0; only if months > 0 */
} TimeWindowSpec;

/* Half-open: start <= ts < end. */
typedef struct TimeWindow
{
	Timestamp	start;
	Timestamp	end;
} TimeWindow;

/*
 * Fills spec.  origin NULL means the Unix epoch, or Monday 1970-01-05 for a
 * size of whole weeks.  timezone is a full zone name, or NULL for timestamp
 * without time zone.  Throws 22023 for a size, origin or zone that cannot be
 * used and 22008 for one that is out of range.
 */
extern void tm_window_parse(const Interval *size, const Timestamp *origin,
							const char *timezone, TimeWindowSpec *spec);

/*
 * The window of ts.  Throws 22008 if ts is infinite or the window starts
 * before the first timestamp; an end after the last one is DT_NOEND.
 */
extern TimeWindow tm_window_assign(const TimeWindowSpec *spec, Timestamp ts);

/*
 * The end of the window that starts at start, which tm_window_assign() made.
 * It depends on the size and zone of spec, not on its origin.  Throws 22008.
 */
extern Timestamp tm_window_end(const TimeWindowSpec *spec, Timestamp start);

/*
 * Sessions (window_session.c).
 *
 * The gap of sessions in microseconds, greater than 0.  A day is 24 hours.
 * Throws 22004 if gap is NULL, 22023 if it has months or is not positive and
 * finite, 22008 if it is more than microseconds can count.
 */
extern int64 tm_session_parse_gap(const Interval *gap);

#endif							/* TM_WINDOW_H */
