/*
 * meta_row.c
 *	  Rows that change with every batch, found by primary key.
 *
 * While somebody holds a snapshot, nothing of what came after it can be pruned,
 * and a row that every batch writes has as many versions as there were batches.
 * Those of a page are one chain, and each page has an entry in the index;
 * entries of one key are in order of place.  As nothing is pruned, no place gets
 * free, and the newest version is in the last page.  So the index is read
 * backwards: what is looked at is one chain, not all of them, as a statement's
 * forward scan would.
 *
 * The rows are written directly too.  A statement costs more than all that is
 * done here, and who writes such a row has excluded all others: he has locked
 * the row, or holds the lock of the view.
 *
 * Runs in: every backend and worker; inside a transaction.
 * Locks: AccessShareLock or RowExclusiveLock on the table, until the transaction ends.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "meta/meta_internal.h"

/* A list that meets so many older versions of a row goes to the next one from the root. */
#define MAX_OLDER 16

void
tm_meta_rows_open(MetaRows *rows, const char *table, MetaRowsUse use)
{
	Oid			relid = get_relname_relid(table, tm_meta_state_schema());
	LOCKMODE	lock = use == META_ROWS_WRITE ? RowExclusiveLock : AccessShareLock;

	if (use == META_ROWS_WRITE)
	{
		PreventCommandIfReadOnly("UPDATE");
		PreventCommandIfParallelMode("UPDATE");
	}
	rows->use = use;
	rows->rel = table_open(relid, lock);
	rows->index = index_open(RelationGetPrimaryKeyIndex(rows->rel), lock);
	rows->nkeys = IndexRelationGetNumberOfKeyAttributes(rows->index);
	Assert(rows->nkeys <= META_ROWS_MAX_KEYS);
	if (use == META_ROWS_WRITE && list_length(RelationGetIndexList(rows->rel)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"tidemark_state.%s\" has another index than its primary key", table),
				 errhint("Use DROP INDEX.")));
	if (use != META_ROWS_SEEN)
		CommandCounterIncrement();
	rows->snapshot = RegisterSnapshot(use == META_ROWS_SEEN ? GetActiveSnapshot() :
									  GetTransactionSnapshot());
	rows->row = table_slot_create(rows->rel, NULL);
	rows->scan = tm_index_beginscan(rows->rel, rows->index, rows->snapshot, rows->nkeys);
}

void
tm_meta_rows_close(MetaRows *rows)
{
	index_endscan(rows->scan);
	ExecDropSingleTupleTableSlot(rows->row);
	UnregisterSnapshot(rows->snapshot);
	index_close(rows->index, NoLock);
	table_close(rows->rel, NoLock);
	if (rows->use == META_ROWS_WRITE)
		CommandCounterIncrement();
}

/* To the keys (object), or (object, number). */
static void
position(MetaRows *rows, Oid object, StrategyNumber strategy, int32 number)
{
	/* a page that is pinned is not pruned */
	ExecClearTuple(rows->row);
	ScanKeyInit(&rows->keys[0], 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	if (rows->nkeys > 1)
		ScanKeyInit(&rows->keys[1], 2, strategy, strategy == BTEqualStrategyNumber ?
					F_INT4EQ : F_INT4LE, Int32GetDatum(number));
	index_rescan(rows->scan, rows->keys, rows->nkeys, NULL, 0);
}

bool
tm_meta_rows_find(MetaRows *rows, Oid object, int32 number)
{
	position(rows, object, BTEqualStrategyNumber, number);
	return index_getnext_slot(rows->scan, BackwardScanDirection, rows->row);
}

void
tm_meta_rows_list(MetaRows *rows, Oid object)
{
	Assert(rows->nkeys == 2);
	rows->scan->xs_want_itup = true;
	position(rows, object, BTLessEqualStrategyNumber, PG_INT32_MAX);
	rows->object = object;
	rows->last = PG_INT32_MAX;
}

bool
tm_meta_rows_previous(MetaRows *rows)
{
	int			older = 0;

	while (index_getnext_tid(rows->scan, BackwardScanDirection) != NULL)
	{
		bool		isnull;
		int32		number = DatumGetInt32(index_getattr(rows->scan->xs_itup, 2,
														 rows->scan->xs_itupdesc, &isnull));

		if (number == rows->last)
		{
			if (++older == MAX_OLDER)
				position(rows, rows->object, BTLessEqualStrategyNumber, number - 1);
		}
		else if (index_fetch_heap(rows->scan, rows->row))
		{
			rows->last = number;
			return true;
		}
	}
	return false;
}

#define SERIALIZATION_FAILURE() \
	ereport(ERROR, \
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), \
			 errmsg("could not serialize access due to concurrent update")))

bool
tm_meta_rows_lock(MetaRows *rows)
{
	ItemPointerData tid = rows->row->tts_tid;
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(rows->rel, &tid, rows->snapshot, rows->row,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive, LockWaitBlock,
							  IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							  &failure);
	if (result == TM_Ok)
		return true;
	if (result == TM_Deleted && !IsolationUsesXactSnapshot())
		return false;
	SERIALIZATION_FAILURE();
}

/*
 * The new version's entry, where it needs one.  That its key is not taken is
 * known, and to check it would be to look at all versions that there are.
 */
static void
insert_entry(MetaRows *rows, TupleTableSlot *slot)
{
	Datum		values[META_ROWS_MAX_KEYS];
	bool		isnull[META_ROWS_MAX_KEYS];

	for (int i = 0; i < rows->nkeys; i++)
		values[i] = slot_getattr(slot, rows->index->rd_index->indkey.values[i], &isnull[i]);
	(void) index_insert(rows->index, values, isnull, &slot->tts_tid, rows->rel, UNIQUE_CHECK_NO,
						true, BuildIndexInfo(rows->index));
}

void
tm_meta_rows_update(MetaRows *rows, int n, int *columns, Datum *values, const char *nulls)
{
	HeapTuple	old = ExecFetchSlotHeapTuple(rows->row, false, NULL);
	bool		isnull[META_MAX_ARGS] = {false};
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rows->rel), &TTSOpsHeapTuple);
	ItemPointerData tid = rows->row->tts_tid;
	bool		update_indexes;

	for (int i = 0; nulls != NULL && i < n; i++)
		isnull[i] = nulls[i] == 'n';
	ExecStoreHeapTuple(heap_modify_tuple_by_cols(old, RelationGetDescr(rows->rel), n, columns,
												 values, isnull), slot, true);
	if (tm_table_tuple_update(rows->rel, &tid, slot, GetCurrentCommandId(true), rows->snapshot,
							  &update_indexes) != TM_Ok)
		SERIALIZATION_FAILURE();
	if (update_indexes)
		insert_entry(rows, slot);
	ExecDropSingleTupleTableSlot(slot);
}

int32
tm_meta_row_int32(const MetaRows *rows, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(rows->row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

int64
tm_meta_row_int64(const MetaRows *rows, int column, int64 if_null)
{
	bool		isnull;
	Datum		value = slot_getattr(rows->row, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

TimestampTz
tm_meta_row_timestamp(const MetaRows *rows, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(rows->row, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}
