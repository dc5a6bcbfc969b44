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

/* How many gaps begin at the offset or before it? */
static int
count_gaps(const StreamBounds *exact, int32 partition, int64 offset)
{
	int			low = 0;
	int			high = exact->ngaps;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		const StreamGap *gap = &exact->gaps[middle];

		if (gap->partition < partition || (gap->partition == partition && gap->from <= offset))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int64
tm_stream_pass_gap(const StreamBounds *exact, int32 partition, int64 offset)
{
	int			next = exact != NULL ? count_gaps(exact, partition, offset) : 0;

	/*
	 * the one that the offset lies in, and those that follow without a
	 * message between
	 */
	for (int i = next - 1; i >= 0 && i < exact->ngaps; i++)
	{
		const StreamGap *gap = &exact->gaps[i];

		if (gap->partition != partition || offset < gap->from || offset >= gap->to)
			break;
		offset = gap->to;
	}
	return offset;
}

bool
tm_stream_is_quiet(const StreamBounds *exact, int32 partition, int64 offset)
{
	return exact != NULL &&
		tm_meta_range_contains(exact->quiet, exact->nquiet, partition, offset);
}
