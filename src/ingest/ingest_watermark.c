/*
 * ingest_watermark.c
 *	  The event-time watermark of a stream, from those of its partitions.
 *
 * It is the minimum over the partitions that are not idle, and never goes back.
 * A partition without a watermark yet holds it where it is: nothing is known
 * about the rows to come.  When all partitions are idle it is the largest of
 * their watermarks, so that it does not depend on which became idle first; with
 * watermark_when_idle = 'wall_clock' it then also follows the time now.
 *
 * It is computed inside the transaction of a batch: the batch's partitions as
 * they are now, the others as they are stored.  Theirs may move on at the same
 * time, in transactions that are not committed; so whoever has saved a batch
 * looks again afterwards (tm_ingest_watermark_is_behind): the last one to look
 * sees all of them.  Every partition row that a batch saves carries the result, so there is
 * no row that all workers would have to write; the stream's watermark is the
 * largest of the stored ones.
 *
 * A partition counts as idle only while the process that found it idle runs:
 * without it nobody would notice its next message.
 *
 * Runs in: workers; backends with a manual stream.  Inside a transaction.
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "ingest/ingest_internal.h"
#include "view/view.h"

/* What the watermark is computed from. */
typedef struct StreamState
{
	TimestampTz stored;			/* DT_NOBEGIN = none */
	TimestampTz lowest;			/* of those not idle; DT_NOEND = all are idle */
	TimestampTz largest;		/* of all */
	bool		held;			/* one that is not idle has none */
} StreamState;

/*
 * Does the process run that has found this partition idle?  One that begins
 * takes nothing over, so what is its own it has found itself.
 */
static bool
is_watched(const MetaIngest *ingest, const MetaPartition *p, const WorkerInfo *slots, int nslots)
{
	for (int i = 0; i < nslots; i++)
		if (slots[i].role == WORKER_INGEST && slots[i].object == ingest->stream &&
			slots[i].index == p->partition % ingest->workers)
			return slots[i].pid == MyProcPid ||
				(slots[i].state == WORKER_STATE_RUNNING && slots[i].started_at <= p->idle_since);
	return false;
}

static void
add_partition(StreamState *state, const MetaPartition *p, bool idle)
{
	state->stored = Max(state->stored, p->stream_watermark);
	state->largest = Max(state->largest, p->watermark);
	if (idle)
		return;
	state->lowest = Min(state->lowest, p->watermark);
	state->held |= TIMESTAMP_IS_NOBEGIN(p->watermark);
}

/* Is it one of these, which are in order?  *next: where to look on. */
static bool
is_among(int n, const MetaPartition *partitions, int32 number, int *next)
{
	for (; *next < n; (*next)++)
		if (partitions[*next].partition >= number)
			return partitions[*next].partition == number;
	return false;
}

/*
 * All partitions of the stream: n of them, in order, as the caller has them,
 * whose idleness is as he says; the others as stored.
 */
static StreamState
collect(const MetaIngest *ingest, const StreamOptions *options, int n, const MetaPartition *mine)
{
	StreamState state = {DT_NOBEGIN, DT_NOEND, DT_NOBEGIN, false};
	WorkerInfo *slots = NULL;
	int			nslots = 0;
	int			nstored;
	MetaPartition *stored = tm_meta_partition_list(ingest->stream, &nstored);
	int			next = 0;

	for (int i = 0; i < n; i++)
		add_partition(&state, &mine[i], !TIMESTAMP_IS_NOBEGIN(mine[i].idle_since));
	for (int i = 0; i < nstored; i++)
	{
		const MetaPartition *p = &stored[i];
		bool		idle = !TIMESTAMP_IS_NOBEGIN(p->idle_since);

		if (is_among(n, mine, p->partition, &next))
			continue;
		if (idle && options->transport == STREAM_KAFKA)
		{
			if (slots == NULL)
				slots = tm_worker_slot_list(MyDatabaseId, &nslots);
			idle = is_watched(ingest, p, slots, nslots);
		}
		add_partition(&state, p, idle);
	}
	return state;
}

/* The time now, as a watermark; DT_NOBEGIN when it is out of range. */
static TimestampTz
wall_clock(const StreamOptions *options, TimestampTz now)
{
	TimestampTz result;

	if (pg_sub_s64_overflow(now, options->watermark_delay + options->watermark_idle_timeout,
							&result) ||
		result < MIN_TIMESTAMP)
		return DT_NOBEGIN;
	return result;
}

/* now: DT_NOBEGIN leaves the clock out. */
static TimestampTz
derive(const StreamState *state, const StreamOptions *options, TimestampTz now)
{
	TimestampTz result = state->stored;

	if (!TIMESTAMP_IS_NOEND(state->lowest))
		return state->held ? result : Max(result, state->lowest);
	result = Max(result, state->largest);
	if (options->watermark_wall_clock && options->watermark_idle_timeout != STREAM_NEVER &&
		!TIMESTAMP_IS_NOBEGIN(now))
		result = Max(result, wall_clock(options, now));
	return result;
}

TimestampTz
tm_ingest_stream_watermark(const MetaIngest *ingest, const StreamOptions *options,
						   int n, MetaPartition *partitions, TimestampTz now)
{
	StreamState state = collect(ingest, options, n, partitions);
	TimestampTz result = derive(&state, options, now);

	for (int i = 0; i < n; i++)
		partitions[i].stream_watermark = result;
	return result;
}

TimestampTz
tm_ingest_stored_watermark(Oid stream)
{
	int			n;
	MetaPartition *partitions = tm_meta_partition_list(stream, &n);
	TimestampTz result = DT_NOBEGIN;

	for (int i = 0; i < n; i++)
		result = Max(result, partitions[i].stream_watermark);
	return result;
}

static bool
closes_windows(Oid source)
{
	ListCell   *lc;

	foreach(lc, tm_meta_view_list(source))
	{
		MetaView   *view = lfirst(lc);
		ContinuousOptions options;

		tm_view_read_options(view->options, &options);
		if (view->state == META_LIVE && VIEW_CLOSES(&options))
			return true;
	}
	return false;
}

bool
tm_ingest_watermark_is_behind(const MetaIngest *ingest, const StreamOptions *options,
							  TimestampTz now)
{
	StreamState state = collect(ingest, options, 0, NULL);

	return derive(&state, options, now) > state.stored;
}

bool
tm_ingest_closes_windows(const MetaIngest *ingest)
{
	return closes_windows(ingest->stream) ||
		(OidIsValid(ingest->into_table) && closes_windows(ingest->into_table));
}
