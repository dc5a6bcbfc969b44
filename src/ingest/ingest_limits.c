/*
 * ingest_limits.c
 *	  How large the batches of a worker may be, and what they may use.
 *
 * A process that ran out of memory ends; the next one in its slot takes smaller
 * batches, half as large with each failure, down to single messages.  What it
 * was that needed the memory is then behind it at some point: while batches
 * succeed, each minute takes one halving back.
 *
 * Runs in: workers.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/clock.h"
#include "base/settings.h"
#include "ingest/ingest_internal.h"

#define GROWTH_US INT64CONST(60000000)
#define MAX_HALVINGS 24

/*
 * Groups of a batch stay in memory up to a share of what the worker may use;
 * work_mem counts per hash table, and hash_mem_multiplier comes on top.
 */
static void
set_work_mem(void)
{
	SetConfigOption("work_mem", psprintf("%dMB", Max(tm_setting_worker_memory / 8, 4)),
					PGC_SUSET, PGC_S_OVERRIDE);
}

void
tm_ingest_limits_init(IngestLimits *limits, const WorkerInfo *info)
{
	set_work_mem();
	limits->next_growth = 0;
	limits->halvings = info->sqlstate == ERRCODE_OUT_OF_MEMORY ? Min(info->failures, MAX_HALVINGS) : 0;
}

int
tm_ingest_limits_rows(const IngestLimits *limits, const StreamOptions *options)
{
	return Max(options->batch_max_rows >> limits->halvings, 1);
}

size_t
tm_ingest_limits_bytes(const IngestLimits *limits, const StreamOptions *options)
{
	return Max((size_t) options->batch_max_bytes >> limits->halvings, 1);
}

void
tm_ingest_limits_grow(IngestLimits *limits)
{
	int64		now = tm_clock_monotonic_us();

	if (limits->halvings == 0)
		return;
	if (limits->next_growth == 0)
		limits->next_growth = now + GROWTH_US;
	else if (now >= limits->next_growth)
	{
		limits->halvings--;
		limits->next_growth = now + GROWTH_US;
	}
}
