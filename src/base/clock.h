/*
 * clock.h
 *	  The one source of wall-clock time.
 */
#ifndef TM_CLOCK_H
#define TM_CLOCK_H

#include "datatype/timestamp.h"

/* The time now.  Every use of wall-clock time in tidemark goes through here. */
extern TimestampTz tm_clock_now(void);

/* Microseconds of a monotonic clock, for durations only. */
extern int64 tm_clock_monotonic_us(void);

#endif							/* TM_CLOCK_H */
