/*
 * ingest_pace.c
 *	  max_rate: how many messages a worker may apply now.
 *
 * A token bucket over monotonic time.  The rate of an ingest is divided among
 * its workers as the partitions are, so that all shares together are the whole
 * whatever the number of workers.  A worker begins with nothing, so that starting
 * again does not give more, and what it does not use within BURST_US is gone.
 *
 * While the rate is what holds the worker back, it does not take messages one
 * by one as they become due, but what is due after batch_max_delay together:
 * that is as long as the first of them could wait for others anyway.  What is not
 * taken waits in the library, whose queue is bounded, and in the broker.
 *
 * Runs in: ingest workers.
 */
#include "postgres.h"

#include <math.h>

#include "base/clock.h"
#include "ingest/ingest_worker.h"

/* What was not used for longer is gone; also the longest wait for a batch. */
#define BURST_US USECS_PER_SEC

void
tm_ingest_pace_begin(IngestPace *pace, const StreamOptions *options, int npartitions, int nall)
{
	double		rate = (double) options->max_rate * npartitions / Max(nall, 1);
	double		quantum = rate * Min(options->batch_max_delay, BURST_US) / USECS_PER_SEC;

	pace->per_us = rate / USECS_PER_SEC;
	pace->limited = options->max_rate > 0;
	pace->most = Max(rate * BURST_US / USECS_PER_SEC, 1);
	pace->quantum = Max(Min(quantum, options->batch_max_rows), 1);
	pace->due = 0;
	pace->updated = tm_clock_monotonic_us();
}

int
tm_ingest_pace_room(IngestPace *pace, int most)
{
	int64		now = tm_clock_monotonic_us();

	if (!pace->limited)
		return most;
	pace->due = Min(pace->due + (now - pace->updated) * pace->per_us, pace->most);
	pace->updated = now;
	if (pace->due < pace->quantum)
		return 0;
	return (int) Min(pace->due, most);
}

int64
tm_ingest_pace_wait_us(const IngestPace *pace)
{
	double		wait;

	if (!pace->limited || pace->due >= pace->quantum)
		return 0;
	if (pace->per_us <= 0)
		return BURST_US;
	wait = ceil((pace->quantum - pace->due) / pace->per_us);
	return (int64) Min(wait, BURST_US);
}

void
tm_ingest_pace_spend(IngestPace *pace, int count)
{
	if (pace->limited)
		pace->due -= count;
}
