/*
 * clock.c
 *	  The one source of wall-clock time.
 *
 * Runs in: every process.
 */
#include "postgres.h"

#include <time.h>

#include "utils/timestamp.h"

#include "base/clock.h"

TimestampTz
tm_clock_now(void)
{
	return GetCurrentTimestamp();
}

int64
tm_clock_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
