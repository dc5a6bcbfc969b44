/*
 * session_merge.c
 *	  Merge the partial sessions of a batch into the stored sessions of a view.
 *
 * Two sessions of a key are one when neither ends before the other starts, for
 * a session ends a gap after its last row.  So a partial session takes in each
 * stored one with
 *
 *		stored.start <= partial.end AND stored.end >= partial.start
 *
 * The stored sessions of a key do not touch each other, so their ends are in
 * the order of their starts: a walk over the unique index, backwards from the
 * last one that starts in time, stops at the first one that ends too early.
 * Partial sessions of a key do not touch each other either, but a stored one
 * may touch several: they come in the order of key and start, and one that
 * touches the session being made is added to it, before anything is written.
 *
 * A finished session is one row: over the stored row with its start, which is a
 * heap-only update; else over any that it takes the place of; else a new one.
 * The others that it has taken in are deleted.  A session that has been written
 * is not found again by those after it, although the scan still sees the rows
 * as they were before the batch: all these end before the next one starts.
 *
 * Rows without a time are in no session: their group has no bounds and is
 * merged like a group of any other view.
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Memory: one context for the session being made, reset after it is written.
 * Locks: the caller holds the view's, so nobody else writes the table.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

/* The session that is being made; in group_cxt. */
typedef struct SessionRow
{
	bool		exists;
	bool		has_bounds;
	Timestamp	start;
	Timestamp	end;
	Datum	   *values;			/* keys and states; the bounds are those above */
	bool	   *isnull;
	bool		has_stored;
	ItemPointerData tid;		/* the stored row to write it over */
	Timestamp	tid_start;
	Timestamp	last_start;		/* the latest start of a stored row in it */
	List	   *others;			/* ItemPointers: rows to delete */
} SessionRow;

typedef struct SessionRun
{
	MergeRun	run;
	int			nkeys;			/* of PARTITION BY */
	int			start;			/* column index of session_start */
	int			end;
	int			natts;
	TupleDesc	desc;			/* of the state table */
	ScanKey		touching;		/* equal keys, start <= .. */
	FmgrInfo   *compare;		/* per key: order of the index */
	SessionRow	row;
} SessionRun;

static void
begin_run(SessionRun *session, DeltaMerge *merge, const Delta *delta, RowList *changed)
{
	MergeRun   *run = &session->run;
	Relation	index;

	memset(session, 0, sizeof(*session));
	tm_merge_run_begin(run, merge, delta, changed);
	index = run->index;
	session->nkeys = merge->nunique - 1;
	session->start = merge->nkeys - 2;
	session->end = merge->nkeys - 1;
	session->natts = merge->nkeys + merge->nstates;
	session->desc = RelationGetDescr(run->rel);
	session->touching = palloc_array(ScanKeyData, merge->nunique);
	session->compare = palloc0_array(FmgrInfo, Max(session->nkeys, 1));
	for (int i = 0; i < session->nkeys; i++)
		fmgr_info_copy(&session->compare[i], index_getprocinfo(index, i + 1, BTORDER_PROC),
					   CurrentMemoryContext);

	memcpy(session->touching, run->keys, sizeof(ScanKeyData) * merge->nunique);
	tm_merge_scan_key(index, session->nkeys, BTLessEqualStrategyNumber,
					  &session->touching[session->nkeys]);
}

static void
end_run(SessionRun *session)
{
	tm_merge_run_end(&session->run);
	pfree(session->touching);
	pfree(session->compare);
}

static Datum
copy_value(SessionRun *session, int i, Datum value, bool isnull)
{
	Form_pg_attribute att = TupleDescAttr(session->desc, i);

	return isnull ? (Datum) 0 : datumCopy(value, att->attbyval, att->attlen);
}

/* ---- the session being made ---- */

/* A partial session that is not part of the one before. */
static void
begin_row(SessionRun *session, TupleTableSlot *delta)
{
	SessionRow *row = &session->row;
	int			nkeys = session->run.merge->nkeys;

	memset(row, 0, sizeof(*row));
	row->exists = true;
	row->has_bounds = !delta->tts_isnull[session->start];
	row->values = palloc_array(Datum, session->natts);
	row->isnull = palloc_array(bool, session->natts);
	row->last_start = DT_NOBEGIN;
	if (row->has_bounds)
	{
		row->start = DatumGetTimestamp(delta->tts_values[session->start]);
		row->end = DatumGetTimestamp(delta->tts_values[session->end]);
	}
	for (int i = 0; i < session->natts; i++)
	{
		Datum		value = i < nkeys ? delta->tts_values[i] :
		tm_merge_run_delta_state(&session->run, delta, i - nkeys);

		row->isnull[i] = delta->tts_isnull[i];
		row->values[i] = copy_value(session, i, value, row->isnull[i]);
	}
}

static void
add_bounds(SessionRun *session, Timestamp start, Timestamp end)
{
	session->row.start = Min(session->row.start, start);
	session->row.end = Max(session->row.end, end);
}

/* A state that may live in somebody else's memory. */
static void
add_state(SessionRun *session, int i, Datum value, bool isnull)
{
	SessionRow *row = &session->row;
	int			att = session->run.merge->nkeys + i;
	Datum		sum;
	bool		sum_isnull;

	sum = tm_partial_state_combine(session->run.merge->states[i], row->values[att],
								   row->isnull[att], value, isnull, &sum_isnull);
	/* of a state that is missing on our side, theirs comes back as it is */
	if (row->isnull[att])
		sum = copy_value(session, att, sum, sum_isnull);
	row->values[att] = sum;
	row->isnull[att] = sum_isnull;
}

static void
add_delta(SessionRun *session, TupleTableSlot *delta)
{
	int			nkeys = session->run.merge->nkeys;

	add_bounds(session, DatumGetTimestamp(delta->tts_values[session->start]),
			   DatumGetTimestamp(delta->tts_values[session->end]));
	for (int i = 0; i < session->run.merge->nstates; i++)
		add_state(session, i, tm_merge_run_delta_state(&session->run, delta, i),
				  delta->tts_isnull[nkeys + i]);
}

/* Take in the stored row of run.found; stored rows come from late to early. */
static void
add_stored(SessionRun *session)
{
	SessionRow *row = &session->row;
	TupleTableSlot *found = session->run.found;
	int			nkeys = session->run.merge->nkeys;
	Timestamp	start = DT_NOBEGIN;

	slot_getallattrs(found);
	if (row->has_bounds)
	{
		start = DatumGetTimestamp(found->tts_values[session->start]);
		add_bounds(session, start, DatumGetTimestamp(found->tts_values[session->end]));
	}
	for (int i = 0; i < session->run.merge->nstates; i++)
		add_state(session, i, found->tts_values[nkeys + i], found->tts_isnull[nkeys + i]);

	/* the earliest is the one that is written over */
	if (row->has_stored)
	{
		ItemPointer other = palloc_object(ItemPointerData);

		*other = start < row->tid_start ? row->tid : found->tts_tid;
		row->others = lappend(row->others, other);
	}
	if (!row->has_stored || start < row->tid_start)
	{
		row->tid = found->tts_tid;
		row->tid_start = start;
		/* of equal keys the stored ones: another look is another index entry */
		for (int i = 0; i < session->nkeys; i++)
			row->values[i] = copy_value(session, i, found->tts_values[i], found->tts_isnull[i]);
	}
	row->has_stored = true;
}

/* ---- stored sessions ---- */

static void
rescan(SessionRun *session, TupleTableSlot *delta, bool has_bounds)
{
	MergeRun   *run = &session->run;
	ScanKey		keys = has_bounds ? session->touching : run->keys;

	for (int i = 0; i < session->nkeys; i++)
	{
		keys[i].sk_flags = delta->tts_isnull[i] ? SK_ISNULL | SK_SEARCHNULL : 0;
		keys[i].sk_argument = delta->tts_values[i];
	}
	keys[session->nkeys].sk_flags = has_bounds ? 0 : SK_ISNULL | SK_SEARCHNULL;
	keys[session->nkeys].sk_argument = has_bounds ? delta->tts_values[session->end] : (Datum) 0;
	index_rescan(run->scan, keys, run->merge->nunique, NULL, 0);
}

/*
 * Next stored row that touches the partial session; not one that an earlier
 * partial session has brought in.
 */
static bool
next_touching(SessionRun *session, TupleTableSlot *delta, Timestamp before)
{
	MergeRun   *run = &session->run;
	bool		isnull;

	if (!index_getnext_slot(run->scan, BackwardScanDirection, run->found))
		return false;
	if (!session->row.has_bounds)
		return true;
	return DatumGetTimestamp(slot_getattr(run->found, session->end + 1, &isnull)) >=
		DatumGetTimestamp(delta->tts_values[session->start]) &&
		DatumGetTimestamp(slot_getattr(run->found, session->start + 1, &isnull)) > before;
}

static void
add_touching(SessionRun *session, TupleTableSlot *delta)
{
	SessionRow *row = &session->row;
	Timestamp	before = row->last_start;
	MemoryContext group_cxt = session->run.merge->group_cxt;
	MemoryContext caller = CurrentMemoryContext;

	rescan(session, delta, row->has_bounds);
	/* the scan keeps memory from step to step */
	while (next_touching(session, delta, before))
	{
		bool		isnull;

		MemoryContextSwitchTo(group_cxt);
		add_stored(session);
		if (row->has_bounds)
			row->last_start = Max(row->last_start,
								  DatumGetTimestamp(slot_getattr(session->run.found,
																 session->start + 1, &isnull)));
		MemoryContextSwitchTo(caller);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- writing ---- */

static void
delete_others(SessionRun *session)
{
	ListCell   *lc;

	foreach(lc, session->row.others)
		simple_table_tuple_delete(session->run.rel, lfirst(lc), GetActiveSnapshot());
}

static void
write_row(SessionRun *session)
{
	SessionRow *row = &session->row;
	MergeRun   *run = &session->run;
	TupleTableSlot *made = run->made;
	MemoryContext before;

	if (!row->exists)
		return;
	before = MemoryContextSwitchTo(run->merge->group_cxt);
	ExecClearTuple(made);
	memcpy(made->tts_values, row->values, sizeof(Datum) * session->natts);
	memcpy(made->tts_isnull, row->isnull, sizeof(bool) * session->natts);
	if (row->has_bounds)
	{
		made->tts_values[session->start] = TimestampGetDatum(row->start);
		made->tts_values[session->end] = TimestampGetDatum(row->end);
	}
	ExecStoreVirtualTuple(made);
	if (row->has_stored)
		tm_merge_run_update(run, &row->tid, false);
	else
		tm_merge_run_insert(run);
	delete_others(session);
	ResetPerTupleExprContext(run->estate);
	MemoryContextSwitchTo(before);
	ExecClearTuple(made);
	row->exists = false;
	MemoryContextReset(run->merge->group_cxt);
}

/* ---- the batch ---- */

static bool
has_same_key(SessionRun *session, TupleTableSlot *delta)
{
	SessionRow *row = &session->row;

	for (int i = 0; i < session->nkeys; i++)
	{
		if (row->isnull[i] != delta->tts_isnull[i])
			return false;
		if (!row->isnull[i] &&
			DatumGetInt32(FunctionCall2Coll(&session->compare[i],
											session->run.index->rd_indcollation[i],
											row->values[i], delta->tts_values[i])) != 0)
			return false;
	}
	return true;
}

static bool
touches_row(SessionRun *session, TupleTableSlot *delta)
{
	return session->row.exists && session->row.has_bounds &&
		!delta->tts_isnull[session->start] &&
		DatumGetTimestamp(delta->tts_values[session->start]) <= session->row.end &&
		has_same_key(session, delta);
}

int64
tm_session_merge_run(DeltaMerge *merge, Delta *delta, RowList *changed)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(delta->tupdesc, &TTSOpsMinimalTuple);
	MemoryContext before = CurrentMemoryContext;
	SessionRun	session;
	int64		groups = 0;

	begin_run(&session, merge, delta, changed);
	while (tuplestore_gettupleslot(delta->store, true, false, slot))
	{
		bool		touches;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		touches = touches_row(&session, slot);
		if (!touches)
			write_row(&session);
		MemoryContextSwitchTo(merge->group_cxt);
		if (touches)
			add_delta(&session, slot);
		else
			begin_row(&session, slot);
		MemoryContextSwitchTo(before);
		add_touching(&session, slot);
		groups++;
	}
	write_row(&session);
	end_run(&session);
	ExecDropSingleTupleTableSlot(slot);
	return groups;
}
