/*
 * ingest_promote.c
 *	  Views over a stream that follow their ingest from its first message: when
 *	  are they populated?
 *
 * Such a view gets every batch like a live one; it becomes readable once the
 * ingest has passed the end offsets that the topic had when the ingest began.
 *
 * Runs in: ingest workers; inside a transaction.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "base/clock.h"
#include "ingest/ingest_internal.h"
#include "maintain/maintain.h"

static bool
is_follower(const MetaView *view)
{
	return view->state == META_BACKFILLING && !view->own_offsets;
}

void
tm_ingest_set_view_targets(Oid stream)
{
	MetaPartition *partitions;
	int			npartitions;
	ListCell   *lc;

	partitions = tm_meta_partition_list(stream, &npartitions);
	foreach(lc, tm_meta_view_list(stream))
	{
		MetaView   *view = lfirst(lc);
		int			known;

		if (!is_follower(view))
			continue;
		(void) tm_meta_view_partition_list(view->state_table, &known, false);
		if (known > 0)
			continue;
		for (int i = 0; i < npartitions; i++)
		{
			MetaViewPartition vp = {.partition = partitions[i].partition,
				.start_offset = partitions[i].first_offset,
				.next_offset = partitions[i].first_offset,
				.target_offset = Max(partitions[i].end_offset, partitions[i].first_offset),
			.start_max_event_time = DT_NOBEGIN,.max_event_time = DT_NOBEGIN};

			tm_meta_view_partition_put(view->state_table, &vp);
		}
	}
}

/* Has the ingest passed all of the view's targets? */
static bool
reached_targets(const MetaView *view, const MetaPartition *partitions, int npartitions)
{
	int			ntargets;
	MetaViewPartition *targets = tm_meta_view_partition_list(view->state_table, &ntargets, false);

	for (int i = 0; i < ntargets; i++)
		for (int j = 0; j < npartitions; j++)
			if (partitions[j].partition == targets[i].partition &&
				partitions[j].next_offset < targets[i].target_offset)
				return false;
	return true;
}

bool
tm_ingest_promote_views(Oid stream)
{
	MetaPartition *partitions;
	int			npartitions;
	bool		left = false;
	ListCell   *lc;

	partitions = tm_meta_partition_list(stream, &npartitions);
	foreach(lc, tm_meta_view_list(stream))
	{
		MetaView   *view = lfirst(lc);

		if (!is_follower(view))
			continue;
		if (!reached_targets(view, partitions, npartitions))
		{
			left = true;
			continue;
		}
		tm_meta_view_lock(view->state_table);
		view = tm_meta_view_find_by_state(view->state_table);
		if (view == NULL || !is_follower(view))
			continue;
		view->state = META_LIVE;
		view->populated = true;
		view->since = tm_clock_now();
		tm_meta_view_update(view);
		tm_ingest_signal_at_commit();
	}
	return left;
}
