/*
 * window_internal.h
 *	  What the files of this room share: boundaries on the wall clock, and what
 *	  a call site of the SQL functions remembers of its arguments.
 */
#ifndef TM_WINDOW_INTERNAL_H
#define TM_WINDOW_INTERNAL_H

#include "fmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "window/window.h"

#define REPORT_OUT_OF_RANGE() \
	ereport(ERROR, \
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), \
			 errmsg("timestamp out of range")))

static inline int64
floor_mod(int64 value, int64 divisor)
{
	int64		rest = value % divisor;

	return rest < 0 ? rest + divisor : rest;
}

/* The boundary at or before a wall clock reading; throws 22008. */
extern Timestamp tm_window_floor_wall(const TimeWindowSpec *spec,
									  Timestamp wall);

/*
 * The wall clock reading of size after that of a boundary; false if it is no
 * timestamp.  Does not look at the origin.
 */
extern bool tm_window_next_wall(const TimeWindowSpec *spec, Timestamp wall,
								Timestamp *next);

/* What the clock of spec reads at an instant; throws 22008. */
extern Timestamp tm_window_to_wall(const TimeWindowSpec *spec,
								   Timestamp instant);

/*
 * The first instant at which the clock of spec reads the given boundary or
 * later; throws 22008.
 */
extern Timestamp tm_window_to_instant(const TimeWindowSpec *spec,
									  Timestamp wall);

/* Months since year 0 of a wall clock reading, and what is left. */
extern int64 tm_window_split_month(Timestamp wall, int64 *rest);

/* The reverse; false if the result is no timestamp. */
extern bool tm_window_join_month(int64 months, int64 rest, Timestamp *wall);

/* The origin and zone that a call site has parsed. */
typedef struct ParsedPlace
{
	bool		has_origin;
	Timestamp	origin;			/* if has_origin */
	int			zone_length;	/* -1: without time zone */
	char		zone[TZ_STRLEN_MAX];
} ParsedPlace;

static inline bool
tm_window_is_place(const ParsedPlace *place, const Timestamp *origin,
				   const text *zone)
{
	int			zone_length = zone ? (int) VARSIZE_ANY_EXHDR(zone) : -1;

	return place->has_origin == (origin != NULL) &&
		(origin == NULL || place->origin == *origin) &&
		place->zone_length == zone_length &&
		(zone_length <= 0 ||
		 memcmp(place->zone, VARDATA_ANY(zone), zone_length) == 0);
}

/* zone_name: the same as a C string, which tm_window_parse() accepted. */
extern void tm_window_remember_place(ParsedPlace *place,
									 const Timestamp *origin,
									 const char *zone_name);

/* Argument argno, a size that messages call what; NULL is an error (22004). */
extern const Interval *tm_window_get_size(FunctionCallInfo fcinfo, int argno,
										  const char *what);

/* Argument argno, a zone; NULL is an error (22004). */
extern const text *tm_window_get_zone(FunctionCallInfo fcinfo, int argno);

#endif							/* TM_WINDOW_INTERNAL_H */
