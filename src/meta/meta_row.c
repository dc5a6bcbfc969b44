/*
 * meta_row.c
 *	  Rows that change with every batch, found by primary key.
 *
 * While somebody holds a snapshot, nothing of what came after it can be pruned,
 * and a row that every batch writes has as many versions as there were batches.
 * Those of a page are one chain, and each page has an entry in the index;
 * entries of one key are in order of place.  A forward scan, as a statement's,
 * goes through all of them.  As nothing is pruned, room is found further and
 * further behind, so the index is read backwards, and what is looked at is the
 * newest chain, or few: pages that VACUUM has emptied are filled once more, and
 * two workers that write a row in turn fill a page each.  (Deduplication would
 * turn the order round, so these indexes go without.)  When more than a few have
 * been looked at all the same, a hint is kept (base/row_hints.h).
 *
 * The rows are written directly too: who writes one excludes all others, by a lock
 * on the row or by that of the view.  (Rejected: CatalogTupleUpdate().  For the
 * index entry of a new page it looks for a conflict in all old ones.)
 *
 * Runs in: every backend and worker; inside a transaction.
 * Memory: hints, for as long as the process lives.
 * Locks: AccessShareLock or RowExclusiveLock on table and index, until the
 * transaction ends.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/row_hints.h"
#include "meta/meta_internal.h"

/* A list that meets so many older versions of a row goes to the next one from the root. */
#define MAX_OLDER 16

/* Of the rows of all tables; made when first needed. */
static RowHints *hints = NULL;

/* Has it the columns of the primary key, and all rows? */
static bool
is_like_key(const MetaRows *rows, Relation index)
{
	const Form_pg_index form = index->rd_index;

	if (form->indnatts != rows->nkeys || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < rows->nkeys; i++)
		if (form->indkey.values[i] != rows->index->rd_index->indkey.values[i])
			return false;
	return true;
}

/* There is a second index of the kind while REINDEX CONCURRENTLY makes it. */
static void
check_indexes(const MetaRows *rows, const char *table)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rows->rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (!is_like_key(rows, index))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("index \"%s\" of table \"tidemark_state.%s\" is not part of the extension",
							RelationGetRelationName(index), table),
					 errhint("Use DROP INDEX.")));
		index_close(index, AccessShareLock);
	}
}

void
tm_meta_rows_open(MetaRows *rows, const char *table, MetaRowsUse use)
{
	Oid			relid = get_relname_relid(table, tm_meta_state_schema());
	LOCKMODE	lock = use == META_ROWS_WRITE ? RowExclusiveLock : AccessShareLock;
	int			nindexes;

	if (use == META_ROWS_WRITE)
	{
		PreventCommandIfReadOnly("UPDATE");
		PreventCommandIfParallelMode("UPDATE");
	}
	rows->use = use;
	rows->rel = table_open(relid, lock);
	nindexes = list_length(RelationGetIndexList(rows->rel));
	rows->index = index_open(rows->rel->rd_pkindex, lock);
	rows->nkeys = IndexRelationGetNumberOfKeyAttributes(rows->index);
	Assert(rows->nkeys <= META_ROWS_MAX_KEYS);
	if (use == META_ROWS_WRITE && nindexes > 1)
		check_indexes(rows, table);
	if (use != META_ROWS_SEEN)
		CommandCounterIncrement();
	rows->snapshot = RegisterSnapshot(use == META_ROWS_SEEN ? GetActiveSnapshot() :
									  GetTransactionSnapshot());
	rows->row = table_slot_create(rows->rel, NULL);
	rows->scan = tm_index_beginscan(rows->rel, rows->index, rows->snapshot, rows->nkeys);
	rows->by_place = hints == NULL ? NULL : table_beginscan_tid(rows->rel, rows->snapshot);
}

void
tm_meta_rows_close(MetaRows *rows)
{
	index_endscan(rows->scan);
	if (rows->by_place != NULL)
		table_endscan(rows->by_place);
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

static uint32
hash_of(const MetaRows *rows, Oid object, int32 number)
{
	return hash_combine(hash_combine(murmurhash32(RelationGetRelid(rows->rel)),
									 murmurhash32(object)), murmurhash32(number));
}

/* A column of the key of the row that was found. */
static Datum
key_of(const MetaRows *rows, int i)
{
	bool		isnull;

	return slot_getattr(rows->row, rows->index->rd_index->indkey.values[i], &isnull);
}

/* By a hint. */
static bool
find_in_place(MetaRows *rows, Oid object, int32 number)
{
	return rows->by_place != NULL &&
		tm_row_hints_fetch(hints, hash_of(rows, object, number), rows->by_place, rows->row) &&
		DatumGetObjectId(key_of(rows, 0)) == object &&
		(rows->nkeys == 1 || DatumGetInt32(key_of(rows, 1)) == number);
}

/* The row was found behind so many older versions. */
static void
note_place(const MetaRows *rows, Oid object, int32 number, int older)
{
	if (older < ROW_HINTS_OLDER)
		return;
	if (hints == NULL)
		hints = tm_row_hints_create(TopMemoryContext);
	tm_row_hints_put(hints, hash_of(rows, object, number), &rows->row->tts_tid);
}

bool
tm_meta_rows_find(MetaRows *rows, Oid object, int32 number)
{
	int			older = 0;

	if (find_in_place(rows, object, number))
		return true;
	position(rows, object, BTEqualStrategyNumber, number);
	while (index_getnext_tid(rows->scan, BackwardScanDirection) != NULL)
	{
		if (index_fetch_heap(rows->scan, rows->row))
		{
			note_place(rows, object, number, older);
			return true;
		}
		older++;
	}
	return false;
}

void
tm_meta_rows_list(MetaRows *rows, Oid object)
{
	Assert(rows->nkeys == 2);
	rows->scan->xs_want_itup = true;
	position(rows, object, BTLessEqualStrategyNumber, PG_INT32_MAX);
	rows->object = object;
	rows->last = -1;
}

/* One more older version of the row that was given. */
static void
skip_older(MetaRows *rows, int *older)
{
	if (++*older == MAX_OLDER)
		position(rows, rows->object, BTLessEqualStrategyNumber, rows->last - 1);
}

bool
tm_meta_rows_previous(MetaRows *rows)
{
	int			of_last = 0;	/* versions that were met */
	int32		next = -1;
	int			of_next = 0;

	while (index_getnext_tid(rows->scan, BackwardScanDirection) != NULL)
	{
		bool		isnull;
		int32		number = DatumGetInt32(index_getattr(rows->scan->xs_itup, 2,
														 rows->scan->xs_itupdesc, &isnull));
		bool		found;

		if (number == rows->last)
		{
			skip_older(rows, &of_last);
			continue;
		}
		if (number != next)
			of_next = 0;
		next = number;
		found = index_fetch_heap(rows->scan, rows->row);
		if (found)
			note_place(rows, rows->object, number, of_next);
		else if (++of_next == 1)
			found = find_in_place(rows, rows->object, number);
		if (found)
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
insert_entries(MetaRows *rows, TupleTableSlot *slot)
{
	Datum		values[META_ROWS_MAX_KEYS];
	bool		isnull[META_ROWS_MAX_KEYS];
	ListCell   *lc;

	for (int i = 0; i < rows->nkeys; i++)
		values[i] = slot_getattr(slot, rows->index->rd_index->indkey.values[i], &isnull[i]);
	foreach(lc, RelationGetIndexList(rows->rel))
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);

		if (index->rd_index->indisready)
			(void) index_insert(index, values, isnull, &slot->tts_tid, rows->rel, UNIQUE_CHECK_NO,
								true, BuildIndexInfo(index));
		index_close(index, NoLock);
	}
}

void
tm_meta_rows_update(MetaRows *rows, int n, int *columns, Datum *values, const char *nulls)
{
	HeapTuple	old = ExecFetchSlotHeapTuple(rows->row, false, NULL);
	bool		isnull[META_MAX_ARGS] = {false};
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rows->rel), &TTSOpsHeapTuple);
	ItemPointerData tid = rows->row->tts_tid;
	IndexUpdate indexes;

	Assert(n <= META_MAX_ARGS);
	for (int i = 0; nulls != NULL && i < n; i++)
		isnull[i] = nulls[i] == 'n';
	ExecStoreHeapTuple(heap_modify_tuple_by_cols(old, RelationGetDescr(rows->rel), n, columns,
												 values, isnull), slot, true);
	if (tm_table_tuple_update(rows->rel, &tid, slot, GetCurrentCommandId(true), rows->snapshot,
							  &indexes) != TM_Ok)
		SERIALIZATION_FAILURE();
	if (indexes == TM_INDEXES_ALL)
		insert_entries(rows, slot);
	if (hints != NULL)
		tm_row_hints_move(hints, hash_of(rows, DatumGetObjectId(key_of(rows, 0)),
										 rows->nkeys == 1 ? 0 : DatumGetInt32(key_of(rows, 1))),
						  &slot->tts_tid);
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
