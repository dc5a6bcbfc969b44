/*
 * close_windows.c
 *	  Windows that the watermark has passed are closed; closed ones that have
 *	  outlived their retention leave.
 *
 * At each commit, with L = allowed_lateness:
 *		no row enters a window with window_end + L <= horizon	(late_rows.c)
 *		all windows with window_end <= closed_until are closed
 *		closed_until <= horizon - L
 * The horizon moves at once; closed_until follows, a bounded number of groups
 * per commit.
 *
 *		emit			closed								beyond retention
 *		changes			nothing to do						state deleted
 *		final			row inserted, state deleted			row deleted
 *		revisions		row inserted						row and state deleted
 *
 * Nothing of this looks at the source: what is removed there changes no closed
 * window.
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Locks: the view's, until the transaction ends.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/fault.h"
#include "maintain/maintain_internal.h"

/* What is kept per view and process. */
typedef struct WindowClose
{
	WindowTable state;
	WindowTable final;
	int64		verdict_distance;
} WindowClose;

/* ---- what is kept ---- */

static WindowClose *
get_close(MaintainView *entry, const MetaView *view)
{
	const ViewSpec *spec = entry->spec;
	MemoryContext before;
	WindowClose *result;

	if (entry->close != NULL)
		return entry->close;
	before = MemoryContextSwitchTo(entry->cxt);
	result = palloc0(sizeof(WindowClose));
	tm_window_table_init(&result->state, spec->keys[tm_view_lead_key(spec)].attno,
						 tm_view_lead_distance(spec), tm_view_state_window_end(spec));
	if (OidIsValid(view->final_table))
	{
		ViewFinal  *final = tm_view_final_layout(spec);

		tm_window_table_init(&result->final, final->keys[final->window],
							 final->window == spec->window.end_key ? 0 : result->state.distance,
							 tm_view_final_window_end(spec));
	}
	result->verdict_distance = tm_view_verdict_distance(spec);
	MemoryContextSwitchTo(before);
	entry->close = result;
	return result;
}

/* ---- closing ---- */

static void
delete_rows(Oid table, const RowList *rows)
{
	Relation	rel = table_open(table, RowExclusiveLock);

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < rows->n; i++)
		simple_table_tuple_delete(rel, &rows->tids[i], GetActiveSnapshot());
	PopActiveSnapshot();
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * Windows that end up to then are closed by this horizon, or have been for the
 * time of retention.  Sessions close strictly later: a row at that very time
 * would still belong to them.
 */
static TimestampTz
passed(const ViewSpec *spec, TimestampTz horizon, int64 retention)
{
	TimestampTz result;

	if (TIMESTAMP_IS_NOBEGIN(horizon))
		return DT_NOBEGIN;
	result = horizon - spec->options.allowed_lateness - retention;
	if (spec->window.kind == VIEW_WINDOW_SESSION)
		result--;
	return result < MIN_TIMESTAMP ? DT_NOBEGIN : result;
}

static TimestampTz
closable(const ViewSpec *spec, const MetaProgress *progress)
{
	return passed(spec, progress->horizon, 0);
}

static TimestampTz
prunable(const ViewSpec *spec, const MetaProgress *progress)
{
	if (spec->options.retention == STREAM_NEVER)
		return DT_NOBEGIN;
	return passed(spec, progress->horizon, spec->options.retention);
}

TimestampTz
tm_maintain_pruned_until(const ViewSpec *spec, const MetaProgress *progress)
{
	return Max(progress->pruned_until, Min(prunable(spec, progress), progress->closed_until));
}

static bool
has_more(const ViewSpec *spec, const MetaProgress *progress)
{
	return progress->closed_until < closable(spec, progress) ||
		progress->pruned_until < prunable(spec, progress);
}

/* Returns how many groups were closed. */
static int
close_passed(MaintainView *entry, const MetaView *view, MetaProgress *progress, int limit)
{
	ViewEmit	emit = entry->spec->options.emit;
	WindowWalk	walk = {.done = progress->closed_until,.until = closable(entry->spec, progress),
	.stay = emit == VIEW_EMIT_REVISIONS,.limit = limit};

	if (walk.until <= progress->closed_until)
		return 0;
	if (emit == VIEW_EMIT_CHANGES)
	{
		progress->closed_until = walk.until;
		return 0;
	}
	walk.table = &get_close(entry, view)->state;
	tm_window_walk(&walk, view->state_table);
	progress->closed_until = walk.reached;
	if (walk.rows.n == 0)
		return 0;
	TM_FAULT("closing");
	tm_emit_final(entry, view, &walk.rows);
	if (emit == VIEW_EMIT_FINAL)
		delete_rows(view->state_table, &walk.rows);
	progress->closed += walk.rows.n;
	return walk.rows.n;
}

/* Delete rows of one table; returns up to where there are none left. */
static TimestampTz
prune_table(WindowTable *window, Oid table, const MetaProgress *progress,
			TimestampTz until, int limit, int *deleted)
{
	WindowWalk	walk = {.table = window,.done = progress->pruned_until,.until = until,
	.limit = limit};

	tm_window_walk(&walk, table);
	if (walk.rows.n > 0)
	{
		TM_FAULT("pruning");
		delete_rows(table, &walk.rows);
		*deleted += walk.rows.n;
	}
	return walk.reached;
}

static void
prune_passed(MaintainView *entry, const MetaView *view, MetaProgress *progress, int limit)
{
	TimestampTz until = Min(prunable(entry->spec, progress), progress->closed_until);
	TimestampTz reached = until;
	int			deleted = 0;
	WindowClose *close;

	if (until <= progress->pruned_until)
		return;
	close = get_close(entry, view);
	if (entry->spec->options.emit != VIEW_EMIT_FINAL)
		reached = Min(reached, prune_table(&close->state, view->state_table, progress, until, limit, &deleted));
	if (OidIsValid(view->final_table))
		reached = Min(reached, prune_table(&close->final, view->final_table, progress, until, limit, &deleted));
	progress->pruned_until = reached;
	/* a statement per batch would be too much: when windows with groups leave */
	if (deleted > 0 && close->verdict_distance >= 0 && !TIMESTAMP_IS_NOBEGIN(reached))
		tm_meta_verdict_delete(view->state_table, reached - close->verdict_distance);
}

/* The common case of an idle stream: there is nothing to do. */
static bool
is_up_to_date(const MaintainView *entry, const MetaProgress *progress, TimestampTz watermark)
{
	return progress->horizon >= watermark && entry->merge != NULL &&
		!has_more(entry->spec, progress);
}

typedef struct CloseRun
{
	MetaProgress progress;
	int			limit;
	bool		more;			/* out */
} CloseRun;

static void
close_and_prune(MaintainView *entry, const MetaView *view, void *arg)
{
	CloseRun   *run = arg;
	int			closed = close_passed(entry, view, &run->progress, run->limit);

	/* both go on, however much there is of either */
	prune_passed(entry, view, &run->progress, Max(run->limit - closed, run->limit / 4));
	run->more = has_more(entry->spec, &run->progress);
}

bool
tm_maintain_close(const MetaView *view, TimestampTz watermark, int limit)
{
	CloseRun	run = {.limit = limit};

	tm_meta_view_lock(view->state_table);
	tm_meta_progress_get(view->state_table, &run.progress);
	if (is_up_to_date(tm_maintain_get(view), &run.progress, watermark))
		return false;
	run.progress.horizon = Max(run.progress.horizon, watermark);
	tm_maintain_run(view, close_and_prune, &run);
	tm_meta_progress_put(view->state_table, &run.progress);
	return run.more;
}
