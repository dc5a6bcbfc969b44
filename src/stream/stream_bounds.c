/*
 * stream_bounds.c
 *	  Exact bounds of a scan: what verify() and backfills want to read of a
 *	  stream, instead of what exists now.
 *
 * Runs in: backends and workers.
 */
#include "postgres.h"

#include "access/xact.h"

#include "stream/stream_internal.h"

static StreamBounds *bounds = NULL;
static int	bounds_level;		/* transaction nest level at which they were
								 * set */

static void
forget_bounds(XactEvent event, void *arg)
{
	bounds = NULL;
}

static void
forget_bounds_sub(SubXactEvent event, SubTransactionId mine,
				  SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB &&
		bounds_level >= GetCurrentTransactionNestLevel())
		bounds = NULL;
}

void
tm_stream_set_bounds(StreamBounds *new_bounds)
{
	static bool registered = false;

	/* an error must not leave a pointer into freed memory */
	if (!registered)
	{
		RegisterXactCallback(forget_bounds, NULL);
		RegisterSubXactCallback(forget_bounds_sub, NULL);
		registered = true;
	}
	bounds = new_bounds;
	bounds_level = GetCurrentTransactionNestLevel();
}

StreamBounds *
tm_stream_find_bounds(Oid relid)
{
	return bounds != NULL && bounds->relid == relid ? bounds : NULL;
}

int64
tm_stream_count_wanted(const StreamBounds *exact, int32 partition, int64 from, int64 to)
{
	int64		count = to - from;

	for (int i = 0; i < exact->ngaps; i++)
	{
		const StreamGap *gap = &exact->gaps[i];

		if (gap->partition == partition)
			count -= Max(Min(to, gap->to) - Max(from, gap->from), 0);
	}
	return count;
}

static const StreamGap *
find_gap(int n, const StreamGap *gaps, int32 partition, int64 offset)
{
	for (int i = 0; i < n; i++)
		if (gaps[i].partition == partition && offset >= gaps[i].from && offset < gaps[i].to)
			return &gaps[i];
	return NULL;
}

int64
tm_stream_pass_gap(const StreamBounds *exact, int32 partition, int64 offset)
{
	const StreamGap *gap = exact ?
	find_gap(exact->ngaps, exact->gaps, partition, offset) : NULL;

	return gap ? gap->to : offset;
}

bool
tm_stream_is_quiet(const StreamBounds *exact, int32 partition, int64 offset)
{
	return exact != NULL &&
		find_gap(exact->nquiet, exact->quiet, partition, offset) != NULL;
}
