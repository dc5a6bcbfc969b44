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

/*
 * Windows that overlap (hop) or grow (cumulate), and their panes: the widest
 * tumbling windows of which every window is made.  All timestamps of a pane
 * lie in the same windows.
 */
typedef enum PanedKind
{
	PANED_HOP,
	PANED_CUMULATE
} PanedKind;

typedef struct PanedSpec
{
	PanedKind	kind;
	TimeWindowSpec pane;		/* boundaries of panes; see elapsed */
	TimeWindowSpec starts;		/* boundaries where windows start */
	TimeWindowSpec window;		/* the size of hop(), the max of cumulate();
								 * its origin means nothing */
	bool		elapsed;		/* days or months in a zone, in panes of
								 * hours: these count from the window's start */
	int			max_windows;	/* no timestamp lies in more */
} PanedSpec;

/* max_windows is at most this, and what clocks set back by a day add */
#define TM_WINDOW_MAX_PER_ROW	10000

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

/* The same; messages call the size what. */
extern void tm_window_parse_as(const char *what, const Interval *size,
							   const Timestamp *origin, const char *timezone,
							   TimeWindowSpec *spec);

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

/* ---- lateness (window_late.c) ---- */

/*
 * Is a row on time for a window: window_end + lateness > watermark as of the
 * row; for sessions: ts + lateness >= watermark?  DT_NOBEGIN: no watermark yet.
 */
extern bool tm_window_is_on_time(TimestampTz window_end, int64 lateness, TimestampTz watermark);
extern bool tm_window_is_row_on_time(TimestampTz ts, int64 lateness, TimestampTz watermark);

/*
 * Fills spec for windows of size that start every slide.  origin (where a
 * window starts) and timezone as in tm_window_parse(); the default origin is
 * that of slide.  Both in months, or neither; in a time zone both in whole
 * days, or neither.  size need not be a multiple of slide, and may be less.
 * Throws 22023 and 22008.
 */
extern void tm_window_parse_hop(const Interval *slide, const Interval *size,
								const Timestamp *origin, const char *timezone,
								PanedSpec *spec);

/*
 * Fills spec for windows that start where the tumbling windows of size max do
 * and end after every step.  The default origin is that of max, which is a
 * multiple of step; where max is calendar time and step is not, step divides
 * a day.  Throws 22023 and 22008.
 */
extern void tm_window_parse_cumulate(const Interval *step, const Interval *max,
									 const Timestamp *origin,
									 const char *timezone, PanedSpec *spec);

/* The pane of ts; throws and ends as tm_window_assign(). */
extern TimeWindow tm_window_pane(const PanedSpec *spec, Timestamp ts);

/*
 * The windows of every timestamp of the pane that starts at pane_start, which
 * tm_window_pane() made.  Writes them to windows, an array of max_windows, in
 * the order of start, then of end, and returns their number: 0 is possible
 * with a size less than the slide.  No two are equal; those of a hop differ in
 * start, those of a cumulate() in end only.  Throws 22008 for a window that is
 * out of range.
 */
extern int	tm_window_list(const PanedSpec *spec, Timestamp pane_start,
						   TimeWindow *windows);

/*
 * The end of the window of a hop that starts at start, which tm_window_list()
 * made.  Throws 22008.
 */
extern Timestamp tm_window_hop_end(const PanedSpec *spec, Timestamp start);

/*
 * Sessions (window_session.c).
 *
 * The gap of sessions in microseconds, greater than 0.  A day is 24 hours.
 * Throws 22004 if gap is NULL, 22023 if it has months or is not positive and
 * finite, 22008 if it is more than microseconds can count.
 */
extern int64 tm_session_parse_gap(const Interval *gap);

#endif							/* TM_WINDOW_H */
