/*
 * ingest_view.c
 *	  The engine behind CREATE, REFRESH and DROP of a continuous view: how a
 *	  view gets its history and joins the ingest.
 *
 * Over a table: the table is locked against batches, its rows are aggregated
 * under a snapshot taken after the lock, and the view is live from the next
 * batch on.
 * Over a manual stream: the same, over the kept log.
 * Over a Kafka stream: when the ingest has not begun yet, the view simply
 * follows it from the first message; otherwise a backfill worker reads the log
 * (ingest_backfill.c).
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/fault.h"
#include "ingest/ingest.h"
#include "ingest/ingest_internal.h"
#include "ingest/ingest_partitioning.h"
#include "ingest/ingest_process.h"
#include "maintain/maintain.h"
#include "view/view.h"

static void
set_live(MetaView *view)
{
	tm_ingest_close_passed(view);
	view->state = META_LIVE;
	view->populated = true;
	view->own_offsets = false;
	view->reason = view->hint = view->sqlstate = NULL;
	view->since = tm_clock_now();
	tm_meta_view_update(view);
}

/* A view without keys has its row from the start. */
static void
add_empty_row(const MetaView *view)
{
	StreamRows	none = {.natts = 0,.nrows = 0};

	tm_maintain_apply(view, &none);
}

/* A table that from its first view on only its ingest may write, and nothing ingests into. */
static void
notice_no_ingest(const MetaView *view)
{
	if (tm_stream_is_stream(view->source) || tm_meta_ingest_find_by_table(view->source) != NULL ||
		list_length(tm_meta_view_list(view->source)) > 1)
		return;
	ereport(NOTICE,
			(errmsg("table \"%s\" can now be written by an ingest only, and has none yet",
					get_rel_name(view->source)),
			 errhint("Start it with tidemark.start_ingest(); start_at must be given if the table has rows.")));
}

static void
populate_from_table(MetaView *view)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot fill a continuous view over a table in a transaction of isolation level REPEATABLE READ or SERIALIZABLE"),
				 errhint("Use READ COMMITTED.")));
	tm_ingest_check_alone(view->source);
	/* in-flight batches finish, new ones wait until we commit */
	LockRelationOid(view->source, ShareLock);
	TM_FAULT("view_locked");
	PushActiveSnapshot(GetTransactionSnapshot());
	tm_maintain_apply_source(view);
	PopActiveSnapshot();
	set_live(view);
}

/* A stream without ingest gets one, that goes with its last view. */
static MetaIngest *
ensure_ingest(const MetaView *view)
{
	MetaIngest *ingest = tm_meta_ingest_find(view->source);

	if (ingest != NULL)
		return ingest;
	if (!object_ownercheck(RelationRelationId, view->source, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("stream \"%s\" is not ingested", get_rel_name(view->source)),
				 errhint("Its owner can start the ingest with tidemark.start_ingest().")));
	return tm_ingest_create(view->source, InvalidOid, 1, view->start_at, true);
}

static bool
same_start(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

static void
populate_from_stream(MetaView *view)
{
	StreamOptions *options = tm_stream_get_options(view->source);
	MetaIngest *ingest;
	int			npartitions;

	tm_ingest_check_alone(view->source);
	LockRelationOid(view->source, ShareRowExclusiveLock);
	ingest = ensure_ingest(view);
	if (options->transport == STREAM_MANUAL)
	{
		add_empty_row(view);
		tm_ingest_backfill_manual(view);
		set_live(view);
		if (ingest->state == META_RUNNING)
			tm_ingest_catch_up_manual(view->source);
		return;
	}
	add_empty_row(view);
	(void) tm_meta_partition_list(view->source, &npartitions);
	view->state = META_BACKFILLING;
	/* an ingest that has not begun, and begins where the view does: follow it */
	view->own_offsets = npartitions > 0 || !same_start(view->start_at, ingest->start_at);
	view->reason = view->hint = view->sqlstate = NULL;
	view->since = tm_clock_now();
	tm_meta_view_update(view);
	tm_worker_wake_scheduler_at_commit();
}

/* A view over a table is rebuilt from the table: all rows must be there. */
static void
require_raw_rows(const MetaView *view)
{
	int			n;
	MetaRemoved *removed = tm_meta_removed_list(view->state_table, false, &n);

	if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot rebuild continuous view \"%s\" because raw rows of table \"%s\" were removed",
						get_rel_name(view->view), get_rel_name(view->source)),
				 errdetail("%s", tm_view_describe_removed(view->source, removed, n)),
				 errhint("The view can still be read. To compute it from the rows that are left, drop it and create it again.")));
}

bool
tm_ingest_view_is_unclaimed(const MetaView *view)
{
	return view->restored && !tm_stream_is_stream(view->source) &&
		tm_meta_ingest_find_by_table(view->source) == NULL;
}

void
tm_ingest_view_rebuild(MetaView *view)
{
	require_raw_rows(view);
	if (tm_ingest_view_is_unclaimed(view))
		tm_partitioning_adopt(view->source);
	tm_maintain_clear(view);
	tm_meta_view_partition_delete(view->state_table);
	if (tm_stream_is_stream(view->source))
	{
		populate_from_stream(view);
		return;
	}
	populate_from_table(view);
	/* removed while we waited for the lock on their partition? */
	require_raw_rows(view);
}

void
tm_ingest_view_detach(MetaView *view)
{
	MetaPartition *partitions;
	MetaViewPartition *known;
	int			npartitions;
	int			nknown;

	if (view->own_offsets)
		return;					/* it has its position already */
	tm_meta_view_keep_skipped(view->state_table);
	partitions = tm_meta_partition_list(view->source, &npartitions);
	known = tm_meta_view_partition_list(view->state_table, &nknown, true);
	for (int i = 0; i < npartitions; i++)
	{
		MetaViewPartition vp = {.partition = partitions[i].partition,
			.start_offset = partitions[i].first_offset,
			.start_max_event_time = DT_NOBEGIN,
		.max_event_time = partitions[i].max_event_time};

		for (int j = 0; j < nknown; j++)
			if (known[j].partition == vp.partition)
			{
				vp.start_offset = known[j].start_offset;
				vp.start_max_event_time = known[j].start_max_event_time;
			}
		vp.next_offset = Max(partitions[i].next_offset, vp.start_offset);
		vp.target_offset = vp.next_offset;
		tm_meta_view_partition_put(view->state_table, &vp);
	}
	view->own_offsets = true;
}

void
tm_ingest_view_resume(MetaView *view)
{
	int			npositions;

	(void) tm_meta_view_partition_list(view->state_table, &npositions, false);
	if (!tm_stream_is_stream(view->source) || !view->populated || npositions == 0)
	{
		tm_ingest_view_rebuild(view);
		return;
	}
	view->reason = view->hint = view->sqlstate = NULL;
	view->since = tm_clock_now();
	if (tm_stream_get_options(view->source)->transport == STREAM_MANUAL)
	{
		tm_ingest_backfill_manual(view);
		set_live(view);
		return;
	}
	view->state = META_BACKFILLING;
	tm_meta_view_update(view);
	tm_worker_wake_scheduler_at_commit();
}

static void
populate(const MetaView *created, bool with_data)
{
	MetaView	view = *created;

	notice_no_ingest(created);
	if (!with_data)
	{
		view.reason = "created WITH NO DATA";
		view.hint = "REFRESH MATERIALIZED VIEW or tidemark.resume() fills it.";
		tm_meta_view_update(&view);
		return;
	}
	if (tm_stream_is_stream(view.source))
		populate_from_stream(&view);
	else
		populate_from_table(&view);
}

/* The last view of an ingest that was made for views takes it along. */
static void
forget(const MetaView *view)
{
	MetaIngest *ingest = tm_meta_ingest_find(view->source);

	if (ingest == NULL || !ingest->implicit || tm_meta_view_list(view->source) != NIL)
		return;
	tm_meta_ingest_delete(ingest->stream);
	tm_meta_partition_delete(ingest->stream);
	tm_worker_wake_scheduler_at_commit();
}

/*
 * A view that has stopped is rebuilt, and one whose states have another format:
 * pg_upgrade may have brought it.  One that runs is waited for.  No lock is
 * held while waiting: the worker needs it.  The rebuild of a view over a Kafka
 * stream begins when the transaction commits, so it cannot be waited for here.
 */
static void
refresh(const MetaView *found)
{
	MetaView   *view;
	ViewSpec   *spec;

	tm_ingest_check_alone(found->source);
	if (found->state != META_FAILED && found->state != META_PAUSED &&
		!tm_ingest_view_is_unclaimed(found) &&
		tm_view_has_current_states(found, tm_view_load_spec(found)))
	{
		tm_ingest_wait_refresh(found);
		return;
	}
	LockRelationOid(found->source, ShareRowExclusiveLock);
	tm_meta_view_lock(found->state_table);
	view = tm_meta_view_find_by_state(found->state_table);
	if (view == NULL)
		tm_ingest_throw_view_dropped();
	spec = tm_view_load_spec(view);
	tm_view_check_state_columns(view, spec);
	view->stamps = tm_view_state_stamps(spec);
	tm_meta_view_update(view);
	tm_ingest_view_rebuild(view);
	if (view->state == META_BACKFILLING)
		ereport(NOTICE,
				(errmsg("rebuilding continuous view \"%s\" begins when the transaction commits",
						get_rel_name(view->view)),
				 errhint("Another REFRESH waits until it is populated.")));
}

static const ViewEngine engine = {
	.populate = populate,
	.refresh = refresh,
	.forget = forget,
};

void
tm_ingest_init(void)
{
	tm_view_set_engine(&engine);
	tm_ingest_register_launcher();
}
