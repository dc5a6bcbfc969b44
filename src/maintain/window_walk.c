/*
 * window_walk.c
 *	  The rows of a table whose windows have ended, in order of windows.
 *
 * The key that orders windows is the first column of an index, so a walk stops
 * at the first window that has not ended.  It begins where the one before could
 * say that nothing is left, not among the dead entries of what has been removed
 * since then.
 *
 * Within one window it would have to begin at its start each time, and while an
 * old snapshot is held the index keeps the entries of what was removed.  So a
 * walk looks further ahead than it gives, and the next ones get the rest from
 * memory.  What was remembered may be wrong by then: other processes close
 * windows too, rows are moved, a transaction of ours was rolled back.  So each
 * row is looked at again, and only a walk along the index says how far
 * everything was dealt with.
 *
 * Runs in: every process that maintains views, as the view's owner.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

/* Rows to remember at most, 6 bytes each. */
#define AHEAD_MAX	32768

void
tm_window_table_init(WindowTable *table, AttrNumber lead, int64 distance, Expr *end)
{
	table->lead = lead;
	table->distance = distance;
	table->end = ExecInitExpr(expression_planner(end), NULL);
	table->ahead.cxt = CurrentMemoryContext;
	table->look_ahead = AHEAD_MAX;
}

/* ---- along the index ---- */

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
		tm_merge_scan_key(index, 0, BTGreaterStrategyNumber, &key);
		key.sk_argument = TimestampTzGetDatum(walk->done - walk->table->distance);
	}
	index_rescan(scan, skips ? &key : NULL, skips ? 1 : 0, NULL, 0);
	return scan;
}

/* When the window of a row ends; NULL: it has none. */
static TimestampTz
get_end(const WindowTable *table, ExprContext *econtext, bool *isnull)
{
	ResetExprContext(econtext);
	return DatumGetTimestampTz(ExecEvalExprSwitchContext(table->end, econtext, isnull));
}

/*
 * Is there no room for a row whose window ends then?  If it is the first one,
 * everything that ends before was taken.
 */
static bool
is_full(WindowWalk *walk, TimestampTz end, TimestampTz last_end, bool *full)
{
	if (*full || walk->rows.n < walk->limit || (walk->stay && end == last_end))
		return *full;
	walk->reached = Max(walk->done, end - 1);
	*full = true;
	return true;
}

static void
take_rows(WindowWalk *walk, IndexScanDesc scan, TupleTableSlot *slot, ExprContext *econtext)
{
	WindowTable *table = walk->table;
	TimestampTz last_end = DT_NOBEGIN;
	int			ahead = walk->stay ? 0 : table->look_ahead;
	bool		full = false;

	walk->reached = walk->until;
	econtext->ecxt_scantuple = slot;
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		TimestampTz end;

		CHECK_FOR_INTERRUPTS();
		end = get_end(table, econtext, &isnull);
		/* rows without a window come last, and never end */
		if (isnull || end > walk->until)
			break;
		if (walk->stay && end <= walk->done)
			continue;
		if (!is_full(walk, end, last_end, &full))
			tm_row_list_add(&walk->rows, &slot->tts_tid);
		else if (table->ahead.n < ahead)
			tm_row_list_add(&table->ahead, &slot->tts_tid);
		else
			break;
		last_end = end;
	}
}

static void
walk_index(WindowWalk *walk, Relation rel, TupleTableSlot *slot, ExprContext *econtext)
{
	Relation	index = open_window_index(rel, walk->table->lead);
	IndexScanDesc scan = begin_scan(walk, rel, index);

	take_rows(walk, scan, slot, econtext);
	index_endscan(scan);
	index_close(index, AccessShareLock);
}

/* ---- from memory ---- */

/*
 * Take what was remembered.  A row that is not there, or whose window has not
 * ended, shows that somebody else was here: then nothing is remembered until we
 * are alone again.
 */
static void
take_ahead(WindowWalk *walk, Relation rel, TupleTableSlot *slot, ExprContext *econtext)
{
	WindowTable *table = walk->table;
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);

	econtext->ecxt_scantuple = slot;
	for (; walk->rows.n < walk->limit && table->next < table->ahead.n; table->next++)
	{
		ItemPointer tid = &table->ahead.tids[table->next];
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (ItemPointerGetBlockNumber(tid) >= nblocks ||
			!table_tuple_fetch_row_version(rel, tid, GetActiveSnapshot(), slot) ||
			get_end(table, econtext, &isnull) > walk->until || isnull)
		{
			table->look_ahead = 0;
			break;
		}
		tm_row_list_add(&walk->rows, tid);
	}
	walk->reached = walk->done;
}

void
tm_window_walk(WindowWalk *walk, Oid relid)
{
	WindowTable *table = walk->table;
	Relation	rel = table_open(relid, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ExprContext *econtext = CreateStandaloneExprContext();

	walk->rows = (RowList)
	{
		.cxt = CurrentMemoryContext
	};
	PushActiveSnapshot(GetLatestSnapshot());
	if (!walk->stay)
		take_ahead(walk, rel, slot, econtext);
	if (walk->rows.n == 0)
	{
		if (table->next == table->ahead.n)
			table->look_ahead = Min(AHEAD_MAX, Max(walk->limit, table->look_ahead * 2));
		table->ahead.n = table->next = 0;
		walk_index(walk, rel, slot, econtext);
	}
	PopActiveSnapshot();
	FreeExprContext(econtext, true);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}
