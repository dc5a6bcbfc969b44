/*
 * close_windows.c
 *	  Windows that the watermark has passed are closed; closed ones that have
 *	  outlived their retention leave.
 *
 * The key that orders windows is the first column of an index of the state
 * table, so closing walks that index and stops at the first open window.  What
 * was closed before is not looked at again: the walk begins where the view's
 * progress says, not among the dead entries of the groups that have left.
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

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/fault.h"
#include "maintain/maintain_internal.h"

/* A table whose rows belong to windows. */
typedef struct WindowTable
{
	AttrNumber	lead;			/* column that orders its windows */
	int64		distance;		/* a window ends at most this much later; -1:
								 * unknown */
	ExprState  *end;			/* end of the window of a row */
} WindowTable;

/* What is kept per view and process. */
typedef struct WindowClose
{
	WindowTable state;
	WindowTable final;
} WindowClose;

/* One walk along the windows of a table. */
typedef struct WindowWalk
{
	const WindowTable *table;
	TimestampTz done;			/* windows up to here were dealt with */
	TimestampTz until;			/* and are to be */
	bool		stay;			/* those dealt with are still in the table */
	int			limit;			/* of rows; whole windows if they stay */
	RowList		rows;			/* out */
	TimestampTz reached;		/* out: <= until */
} WindowWalk;

/* ---- what is kept ---- */

static ExprState *
prepare_expression(Expr *expr)
{
	return ExecInitExpr(expression_planner(expr), NULL);
}

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
	result->state.lead = spec->keys[tm_view_lead_key(spec)].attno;
	result->state.distance = tm_view_lead_distance(spec);
	result->state.end = prepare_expression(tm_view_state_window_end(spec));
	if (OidIsValid(view->final_table))
	{
		ViewFinal  *final = tm_view_final_layout(spec);

		result->final.lead = final->keys[final->window];
		result->final.distance = final->window == spec->window.end_key ? 0 :
			result->state.distance;
		result->final.end = prepare_expression(tm_view_final_window_end(spec));
	}
	MemoryContextSwitchTo(before);
	entry->close = result;
	return result;
}

/* ---- the walk ---- */

/* A btree whose first column is the one that orders windows, NULLs last. */
static bool
orders_windows(Relation index, AttrNumber lead)
{
	Form_pg_index form = index->rd_index;

	return form->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
		form->indkey.values[0] == lead && index->rd_indoption[0] == 0 &&
		RelationGetIndexPredicate(index) == NIL &&
		index->rd_opcintype[0] == TupleDescAttr(RelationGetDescr(index), 0)->atttypid;
}

static Relation
open_window_index(Relation rel, AttrNumber lead)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (orders_windows(index, lead))
			return index;
		index_close(index, AccessShareLock);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" has no index over its windows", RelationGetRelationName(rel)),
			 errhint("Use CREATE INDEX on column \"%s\" of the continuous view.",
					 get_attname(RelationGetRelid(rel), lead, false))));
}

/* Begin behind the windows that were dealt with. */
static IndexScanDesc
begin_scan(const WindowWalk *walk, Relation rel, Relation index)
{
	bool		skips = !TIMESTAMP_IS_NOBEGIN(walk->done) && walk->table->distance >= 0;
	IndexScanDesc scan = tm_index_beginscan(rel, index, GetActiveSnapshot(), skips ? 1 : 0);
	ScanKeyData key;

	if (skips)
	{
		Oid			type = index->rd_opcintype[0];
		Oid			op = get_opfamily_member(index->rd_opfamily[0], type, type,
											 BTGreaterStrategyNumber);

		ScanKeyEntryInitialize(&key, 0, 1, BTGreaterStrategyNumber, type, InvalidOid,
							   get_opcode(op),
							   TimestampTzGetDatum(walk->done - walk->table->distance));
	}
	index_rescan(scan, skips ? &key : NULL, skips ? 1 : 0, NULL, 0);
	return scan;
}

/*
 * Is the row, whose window ends then, the first that is not taken?  Then
 * everything that ends before has been.
 */
static bool
is_beyond(WindowWalk *walk, TimestampTz end, TimestampTz last_end)
{
	if (end > walk->until)
		return true;
	if (walk->rows.n < walk->limit || (walk->stay && end == last_end))
		return false;
	walk->reached = Max(walk->done, end - 1);
	return true;
}

static void
take_rows(WindowWalk *walk, IndexScanDesc scan, TupleTableSlot *slot, ExprContext *econtext)
{
	TimestampTz last_end = DT_NOBEGIN;

	walk->reached = walk->until;
	econtext->ecxt_scantuple = slot;
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		TimestampTz end;

		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		end = DatumGetTimestampTz(ExecEvalExprSwitchContext(walk->table->end, econtext, &isnull));
		/* rows without a window come last, and never close */
		if (isnull || is_beyond(walk, end, last_end))
			break;
		if (walk->stay && end <= walk->done)
			continue;
		tm_row_list_add(&walk->rows, &slot->tts_tid);
		last_end = end;
	}
}

static void
walk_windows(WindowWalk *walk, Oid table)
{
	Relation	rel = table_open(table, RowExclusiveLock);
	Relation	index = open_window_index(rel, walk->table->lead);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ExprContext *econtext = CreateStandaloneExprContext();
	IndexScanDesc scan;

	PushActiveSnapshot(GetLatestSnapshot());
	scan = begin_scan(walk, rel, index);
	take_rows(walk, scan, slot, econtext);
	index_endscan(scan);
	PopActiveSnapshot();
	FreeExprContext(econtext, true);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, NoLock);
}

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

/* ---- closing ---- */

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
	.stay = emit == VIEW_EMIT_REVISIONS,.limit = limit,.rows.cxt = CurrentMemoryContext};

	if (walk.until <= progress->closed_until)
		return 0;
	if (emit == VIEW_EMIT_CHANGES)
	{
		progress->closed_until = walk.until;
		return 0;
	}
	walk.table = &get_close(entry, view)->state;
	walk_windows(&walk, view->state_table);
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
prune_table(const WindowTable *window, Oid table, const MetaProgress *progress,
			TimestampTz until, int limit)
{
	WindowWalk	walk = {.table = window,.done = progress->pruned_until,.until = until,
	.limit = limit,.rows.cxt = CurrentMemoryContext};

	walk_windows(&walk, table);
	if (walk.rows.n > 0)
	{
		TM_FAULT("pruning");
		delete_rows(table, &walk.rows);
	}
	return walk.reached;
}

static void
prune_passed(MaintainView *entry, const MetaView *view, MetaProgress *progress, int limit)
{
	TimestampTz until = Min(prunable(entry->spec, progress), progress->closed_until);
	TimestampTz reached = until;
	WindowClose *close;

	if (until <= progress->pruned_until)
		return;
	close = get_close(entry, view);
	if (entry->spec->options.emit != VIEW_EMIT_FINAL)
		reached = Min(reached, prune_table(&close->state, view->state_table, progress, until, limit));
	if (OidIsValid(view->final_table))
		reached = Min(reached, prune_table(&close->final, view->final_table, progress, until, limit));
	progress->pruned_until = reached;
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
