/*
 * maintain_apply.c
 *	  One batch through its views: the room's only entry from above.
 *
 *	  for each view, as its owner and under its settings:
 *		partial states of the rows						(no lock on any view)
 *		those of panes, into those of windows			(delta_expand.c)
 *	  then for each view, likewise:
 *		lock the view
 *		a new snapshot, and the merge
 *		the rows that were too late for it				(late_rows.c)
 *
 * Lateness costs nothing while there is none: a row can be late for a window
 * only if its own event time is that late, which is looked at in the rows
 * themselves.  Only if there is one does the delta query get the condition.
 *
 * Two workers of one stream compute their partial states at the same time and
 * take turns at the merge; each takes the locks of its views in order of
 * state table OID, so they cannot wait for each other in a circle.  A lock is
 * held until the commit.  So the partial states of all views come first: else
 * one worker would wait while the other aggregates for its second view.  They are
 * merged earlier only when those that wait take more than work_mem.
 *
 * Runs in: workers; backends that call inject() or create a view.
 * Memory: the caller's context.
 * Locks: the views' object locks, until the transaction ends.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/fault.h"
#include "maintain/maintain_internal.h"
#include "window/window.h"

/* A view's turn. */
typedef struct ApplyRun
{
	const MetaView *view;
	MaintainView *entry;		/* set while a delta waits to be merged */
	BatchRows	batch;			/* rows: NULL = none */
	bool		replayed;
	bool		late;			/* some rows may be */
	Delta		delta;
	int64		us;				/* that it has taken */
} ApplyRun;

/*
 * May one of the rows be late for a window of the view?  Or does one lie so far
 * in the future that its window may end beyond the last timestamp: that is an
 * error wherever the end is computed, in closing and verify(), so the view has
 * to fail at the row, whatever else is in the batch.
 */
#define FAR_FUTURE (END_TIMESTAMP / 2)

static bool
has_late_candidate(const ViewSpec *spec, const BatchRows *batch)
{
	if (!VIEW_CLOSES(&spec->options))
		return false;
	for (int i = 0; i < batch->rows->nrows; i++)
	{
		TimestampTz time = batch->rows->info[i].event_time;

		if (TIMESTAMP_IS_NOBEGIN(time))
			continue;
		if (time > FAR_FUTURE ||
			!tm_window_is_row_on_time(time, spec->options.allowed_lateness,
									  Max(batch->rows->info[i].watermark, batch->horizon)))
			return true;
	}
	return false;
}

/* The plan that leaves late rows out; made when it is first needed. */
static PartialPlan *
get_on_time_plan(MaintainView *entry)
{
	if (entry->on_time_plan == NULL || !tm_partial_plan_lock(entry->on_time_plan))
		entry->on_time_plan = tm_partial_plan_create(tm_view_delta_query(entry->spec, VIEW_ROWS_ON_TIME, false),
													 entry->cxt);
	return entry->on_time_plan;
}

/* The caller is the view's owner. */
static void
run_delta(ApplyRun *run, MaintainShare *share)
{
	MaintainView *entry = run->entry;

	run->late = has_late_candidate(entry->spec, &run->batch);
	PushActiveSnapshot(GetTransactionSnapshot());
	run->delta = run->late ?
		tm_maintain_run_delta(entry, get_on_time_plan(entry), VIEW_ROWS_ON_TIME, &run->batch, NULL) :
		tm_maintain_run_delta(entry, entry->plan, VIEW_ROWS_ALL, &run->batch, share);
	PopActiveSnapshot();
}

/*
 * What windows take no more rows.  A replayed row corrects closed windows too,
 * as long as the view shows them and has not said that they are final.
 */
static TimestampTz
get_horizon(const ViewSpec *spec, const MetaProgress *progress, bool replayed)
{
	if (!replayed || spec->options.emit != VIEW_EMIT_CHANGES)
		return progress->horizon;
	if (TIMESTAMP_IS_NOBEGIN(progress->pruned_until))
		return DT_NOBEGIN;
	return progress->pruned_until + spec->options.allowed_lateness;
}

static bool
get_stored(const StreamRows *rows, int row, AttrNumber attno, Datum *value)
{
	size_t		cell = (size_t) row * rows->natts + attno - 1;

	if (attno > rows->natts || rows->isnull[cell])
		return false;
	*value = rows->values[cell];
	return true;
}

/*
 * Rows of a table are judged by what the table has: a BEFORE trigger may have
 * changed the columns that tell event time and position, and verify() reads them
 * there.
 */
static const StreamRows *
judge_as_stored(const ViewSpec *spec, const StreamRows *rows)
{
	StreamRows *result;

	if (spec->source_is_stream || rows->nrows == 0)
		return rows;
	result = palloc(sizeof(StreamRows));
	*result = *rows;
	result->info = palloc_extended(sizeof(StreamRowInfo) * rows->nrows, MCXT_ALLOC_HUGE);
	for (int i = 0; i < rows->nrows; i++)
	{
		StreamRowInfo *info = &result->info[i];
		Datum		value;

		*info = rows->info[i];
		info->event_time = get_stored(rows, i, spec->event_time, &value) ?
			DatumGetTimestampTz(value) : DT_NOBEGIN;
		info->watermark = get_stored(rows, i, spec->watermark_att, &value) ?
			DatumGetTimestampTz(value) : DT_NOBEGIN;
		if (get_stored(rows, i, spec->partition_att, &value))
			info->partition = DatumGetInt32(value);
		if (get_stored(rows, i, spec->offset_att, &value))
			info->offset = DatumGetInt64(value);
	}
	return result;
}

static void
begin_view(ApplyRun *run, MaintainShare *share)
{
	int64		started = tm_clock_monotonic_us();
	MaintainView *entry = tm_maintain_get(run->view);
	ViewIdentity identity;
	MetaProgress progress;

	tm_maintain_check_not_busy(entry, run->view);
	tm_view_enter(run->view, &identity);
	entry->busy = true;
	run->entry = entry;
	tm_maintain_prepare(entry, run->view);
	if (VIEW_CLOSES(&entry->spec->options))
	{
		run->batch.rows = judge_as_stored(entry->spec, run->batch.rows);
		tm_meta_progress_get(run->view->state_table, &progress);
		run->batch.horizon = get_horizon(entry->spec, &progress, run->replayed);
	}
	run_delta(run, share);
	tm_view_leave(&identity);
	run->us = tm_clock_monotonic_us() - started;
}

/* Lock the view, and merge what has been computed for it. */
static void
merge_view(ApplyRun *run)
{
	MaintainView *entry = run->entry;
	bool		closes = VIEW_CLOSES(&entry->spec->options);
	MetaProgress progress;

	TM_FAULT("merge");
	tm_meta_view_lock(run->view->state_table);
	if (closes)
	{
		/* another worker may have closed windows meanwhile */
		tm_meta_progress_get(run->view->state_table, &progress);
		if (get_horizon(entry->spec, &progress, run->replayed) > run->batch.horizon)
		{
			run->batch.horizon = get_horizon(entry->spec, &progress, run->replayed);
			tm_delta_end(&run->delta);
			run_delta(run, NULL);
		}
	}
	tm_maintain_merge_delta(entry, run->view, &run->delta, false);
	tm_delta_end(&run->delta);
	if (run->late)
	{
		progress.late += tm_late_rows_record(run->view, entry->spec,
											 tm_maintain_get_late_plan(entry), &run->batch);
		tm_meta_progress_put(run->view->state_table, &progress);
	}
}

/*
 * A view that closes windows is locked even when it gets no rows: its lock is
 * taken again after this batch's other views.
 */
static void
lock_closing_view(const MetaView *view)
{
	ContinuousOptions options;

	tm_view_read_options(view->options, &options);
	if (VIEW_CLOSES(&options))
		tm_meta_view_lock(view->state_table);
}

static void
finish_view(ApplyRun *run)
{
	int64		started = tm_clock_monotonic_us();
	ViewIdentity identity;

	if (run->entry == NULL)
	{
		lock_closing_view(run->view);
		return;
	}
	tm_view_enter(run->view, &identity);
	merge_view(run);
	tm_view_leave(&identity);
	run->entry->busy = false;
	run->entry = NULL;
	tm_meta_progress_count(run->view->state_table, run->batch.rows->nrows,
						   run->us + tm_clock_monotonic_us() - started);
}

static void
apply_runs(ApplyRun *runs, int n, MaintainShare *share)
{
	int			finished = 0;
	Size		waiting = 0;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (; waiting > work_mem * (Size) 1024 && finished < i; finished++)
			finish_view(&runs[finished]);
		if (finished == i)
			waiting = 0;
		if (runs[i].batch.rows == NULL)
			continue;
		begin_view(&runs[i], share);
		waiting += tm_delta_size(&runs[i].delta);
	}
	for (; finished < n; finished++)
		finish_view(&runs[finished]);
}

static void
apply(const MaintainRows *views, int n, bool replayed)
{
	ApplyRun   *runs = palloc0(sizeof(ApplyRun) * Max(n, 1));
	MaintainShare *share = n > 1 ? tm_share_create(views, n) : NULL;

	for (int i = 0; i < n; i++)
	{
		runs[i].view = views[i].view;
		runs[i].batch.rows = views[i].rows;
		runs[i].batch.horizon = DT_NOBEGIN;
		runs[i].replayed = replayed;
	}
	PG_TRY();
	{
		apply_runs(runs, n, share);
	}
	PG_FINALLY();
	{
		for (int i = 0; i < n; i++)
			if (runs[i].entry != NULL)
				runs[i].entry->busy = false;
	}
	PG_END_TRY();
	if (share != NULL)
		tm_share_end(share);
	pfree(runs);
}

void
tm_maintain_apply_all(const MaintainRows *views, int n)
{
	apply(views, n, false);
}

void
tm_maintain_apply(const MetaView *view, const StreamRows *rows)
{
	MaintainRows one = {view, rows};

	apply(&one, 1, false);
}

void
tm_maintain_replay(const MetaView *view, const StreamRows *rows)
{
	MaintainRows one = {view, rows};

	apply(&one, 1, true);
}
