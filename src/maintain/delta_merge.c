/*
 * delta_merge.c
 *	  Merge the groups of a batch into the state table of a view.
 *
 * For each group: find it in the unique index over the keys; combine the states
 * with those found and update the row in place (a heap-only update, for no key
 * changes), or insert a new one.  The caller holds the view's lock, so nobody
 * else writes the table meanwhile, and a search under a snapshot taken after
 * the lock sees every committed group.  No search of a run sees what the run has
 * written, nor has to, so new rows are written many at a time.
 *
 * The groups come in the order of the index.  So they can be found by walking
 * over it (key_walk.c), a probe finds in the processor's caches what the one
 * before it read, and new rows lie in the table as in the index.  A group that was
 * found behind many old versions is looked for where it was (key_hints.c).
 *
 * (Rejected: INSERT .. ON CONFLICT.  Right too, but three to four times the
 * cost per group, and planned again after every invalidation.  MERGE: wrong
 * with NULL keys or a sequential scan, see the design notes.)
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Memory: one context reset per group; the new rows not written yet, ADDED_BYTES
 * and one more.
 * Locks: RowExclusiveLock on the state table until the transaction ends.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_oper.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/row_hints.h"
#include "maintain/maintain_internal.h"

/* So many groups are probed for before a walk is tried. */
#define WALK_MIN 32

/* New rows that are written together: so many, of at most about so much. */
#define ADDED_ROWS 256
#define ADDED_BYTES (256 * 1024)

static void
set_order(KeyOrder *order, const ViewSpec *spec)
{
	int			n = 0;

	tm_key_order_init(order, spec->nstored_keys);
	for (int i = 0; i < spec->nkeys; i++)
	{
		const ViewKey *key = &spec->keys[i];

		if (key->end_of >= 0)
			continue;
		order->collations[n] = key->collation;
		get_sort_group_operators(key->type, true, false, false, &order->operators[n],
								 NULL, NULL, NULL);
		order->columns[n] = n + 1;
		n++;
	}
	order->n = n;
}

DeltaMerge *
tm_delta_merge_create(const ViewSpec *spec, Oid state_table, MemoryContext cxt)
{
	MemoryContext before = MemoryContextSwitchTo(cxt);
	DeltaMerge *merge = palloc0(sizeof(DeltaMerge));

	merge->state_table = state_table;
	merge->nkeys = spec->nstored_keys;
	merge->nunique = spec->nunique_keys;
	set_order(&merge->order, spec);
	merge->session = spec->window.kind == VIEW_WINDOW_SESSION;
	merge->nstates = spec->nstates;
	merge->states = palloc(sizeof(PartialState *) * Max(spec->nstates, 1));
	merge->internal = palloc(sizeof(bool) * Max(spec->nstates, 1));
	for (int i = 0; i < spec->nstates; i++)
	{
		const ViewState *state = &spec->states[i];

		merge->states[i] = tm_partial_state_open(state->aggref->aggfnoid, state->transtype,
												 state->aggref->aggtype,
												 state->aggref->inputcollid, cxt);
		merge->internal[i] = tm_view_state_is_bytes(state);
	}
	merge->group_cxt = AllocSetContextCreate(cxt, "tidemark merge group", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(before);
	return merge;
}

/* The unique index over exactly the keys that tell groups apart. */
static Relation
open_key_index(const DeltaMerge *merge, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		Form_pg_index form = index->rd_index;
		bool		matches = form->indisunique && form->indnullsnotdistinct &&
		form->indisvalid && form->indnkeyatts == merge->nunique;

		for (int i = 0; matches && i < merge->nunique; i++)
			matches = form->indkey.values[i] == i + 1;
		if (matches)
			return index;
		index_close(index, RowExclusiveLock);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("state table \"%s\" has no unique index over its keys",
					RelationGetRelationName(rel)),
			 errhint("REFRESH MATERIALIZED VIEW cannot repair it; drop and create the view.")));
}

void
tm_merge_scan_key(Relation index, int i, StrategyNumber strategy, ScanKey key)
{
	Oid			type = index->rd_opcintype[i];
	Oid			operator = get_opfamily_member(index->rd_opfamily[i], type, type, strategy);

	if (!OidIsValid(operator))
		elog(ERROR, "missing operator %d for type %u", strategy, type);
	ScanKeyEntryInitialize(key, 0, i + 1, strategy, type, index->rd_indcollation[i],
						   get_opcode(operator), (Datum) 0);
}

PartialState *
tm_delta_merge_state(const DeltaMerge *merge, int i)
{
	return merge->states[i];
}

bool
tm_delta_merge_wraps(const DeltaMerge *merge, int i, TupleDesc delta)
{
	return merge->internal[i] && TupleDescAttr(delta, merge->nkeys + i)->atttypid == BYTEAOID;
}

/* To the end of the list, where it can be left out. */
static void
put_key_index_last(MergeRun *run)
{
	ResultRelInfo *info = run->info;
	int			last = info->ri_NumIndices - 1;

	for (int i = 0; i < last; i++)
		if (RelationGetRelid(info->ri_IndexRelationDescs[i]) == RelationGetRelid(run->index))
		{
			Relation	relation = info->ri_IndexRelationDescs[last];
			IndexInfo  *index_info = info->ri_IndexRelationInfo[last];

			info->ri_IndexRelationDescs[last] = info->ri_IndexRelationDescs[i];
			info->ri_IndexRelationInfo[last] = info->ri_IndexRelationInfo[i];
			info->ri_IndexRelationDescs[i] = relation;
			info->ri_IndexRelationInfo[i] = index_info;
		}
}

void
tm_merge_run_begin(MergeRun *run, DeltaMerge *merge, const Delta *delta, RowList *changed)
{
	run->changed = changed;
	run->merge = merge;
	run->rel = table_open(merge->state_table, RowExclusiveLock);
	run->index = open_key_index(merge, run->rel);
	run->estate = CreateExecutorState();
	run->info = makeNode(ResultRelInfo);
	InitResultRelInfo(run->info, run->rel, 1, NULL, 0);
	ExecOpenIndices(run->info, false);
	put_key_index_last(run);
	run->keys = palloc0(sizeof(ScanKeyData) * merge->nunique);
	for (int i = 0; i < merge->nunique; i++)
		tm_merge_scan_key(run->index, i, BTEqualStrategyNumber, &run->keys[i]);
	run->scan = tm_index_beginscan(run->rel, run->index, GetActiveSnapshot(), merge->nunique);
	run->walk = NULL;
	run->by_place = NULL;
	run->found = table_slot_create(run->rel, NULL);
	run->made = MakeSingleTupleTableSlot(RelationGetDescr(run->rel), &TTSOpsVirtual);
	run->cxt = CurrentMemoryContext;
	run->added = palloc(sizeof(TupleTableSlot *) * ADDED_ROWS);
	run->nslots = run->nadded = 0;
	run->added_bytes = 0;
	run->wrap = palloc(sizeof(bool) * Max(merge->nstates, 1));
	for (int i = 0; i < merge->nstates; i++)
		run->wrap[i] = delta->rows == NULL && tm_delta_merge_wraps(merge, i, delta->tupdesc);
	run->cid = GetCurrentCommandId(true);
}

/* From the root of the index. */
static bool
probe_for(MergeRun *run, TupleTableSlot *delta)
{
	int			older = 0;

	for (int i = 0; i < run->merge->nunique; i++)
	{
		run->keys[i].sk_flags = delta->tts_isnull[i] ? SK_ISNULL | SK_SEARCHNULL : 0;
		run->keys[i].sk_argument = delta->tts_values[i];
	}
	index_rescan(run->scan, run->keys, run->merge->nunique, NULL, 0);

	/*
	 * of versions that an old snapshot keeps, the newest has as a rule the
	 * last entry
	 */
	while (index_getnext_tid(run->scan, BackwardScanDirection) != NULL)
	{
		if (!index_fetch_heap(run->scan, run->found))
		{
			older++;
			continue;
		}
		if (older >= ROW_HINTS_OLDER)
			tm_key_hints_put(run, delta);
		return true;
	}
	return false;
}

/* Does the table have this group?  Leaves its row in run->found. */
static bool
find_group(MergeRun *run, TupleTableSlot *delta)
{
	KeyFound	found = KEY_UNKNOWN;

	if (run->merge->hints != NULL && tm_key_hints_find(run, delta))
		return true;
	if (run->walk != NULL)
		found = tm_key_walk_find(run->walk, delta, run->found);
	return found == KEY_UNKNOWN ? probe_for(run, delta) : found == KEY_FOUND;
}

Datum
tm_merge_run_delta_state(MergeRun *run, TupleTableSlot *delta, int i)
{
	Datum		value = delta->tts_values[run->merge->nkeys + i];

	if (run->wrap[i] && !delta->tts_isnull[run->merge->nkeys + i])
		value = tm_partial_state_wrap(run->merge->states[i], value);
	return value;
}

/* Write the new rows that were put aside, and their index entries. */
static void
write_added(MergeRun *run)
{
	MemoryContext before = MemoryContextSwitchTo(GetPerTupleMemoryContext(run->estate));

	table_multi_insert(run->rel, run->added, run->nadded, run->cid, 0, NULL);
	for (int i = 0; i < run->nadded; i++)
	{
		(void) tm_exec_insert_index_tuples(run->info, run->added[i], run->estate,
										   TM_INDEXES_ALL);
		if (run->changed != NULL)
			tm_row_list_add(run->changed, &run->added[i]->tts_tid);
		ExecClearTuple(run->added[i]);
	}
	MemoryContextSwitchTo(before);
	ResetPerTupleExprContext(run->estate);
	run->nadded = 0;
	run->added_bytes = 0;
}

void
tm_merge_run_insert(MergeRun *run)
{
	MemoryContext before = MemoryContextSwitchTo(run->cxt);
	TupleDesc	desc = RelationGetDescr(run->rel);
	HeapTuple	tuple = heap_form_tuple(desc, run->made->tts_values, run->made->tts_isnull);

	if (run->nadded == run->nslots)
		run->added[run->nslots++] = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	MemoryContextSwitchTo(before);
	ExecStoreHeapTuple(tuple, run->added[run->nadded++], true);
	run->added_bytes += tuple->t_len;
	if (run->nadded == ADDED_ROWS || run->added_bytes >= ADDED_BYTES)
		write_added(run);
}

/*
 * Index entries of a new version of a row.  That its key is not taken is known,
 * and to check it would be to look at all versions that an old snapshot keeps.
 */
static void
insert_entries(MergeRun *run)
{
	ResultRelInfo *info = run->info;
	int			last = info->ri_NumIndices - 1;
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	FormIndexDatum(info->ri_IndexRelationInfo[last], run->made, run->estate, values, isnull);
	(void) index_insert(info->ri_IndexRelationDescs[last], values, isnull, &run->made->tts_tid,
						run->rel, UNIQUE_CHECK_NO, true, info->ri_IndexRelationInfo[last]);
	if (last == 0)
		return;
	info->ri_NumIndices = last;
	(void) tm_exec_insert_index_tuples(info, run->made, run->estate, TM_INDEXES_ALL);
	info->ri_NumIndices = last + 1;
}

void
tm_merge_run_update(MergeRun *run, ItemPointer tid, bool same_key)
{
	IndexUpdate indexes;
	TM_Result	result;

	result = tm_table_tuple_update(run->rel, tid, run->made, run->cid, GetActiveSnapshot(),
								   &indexes);
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to the state of a continuous view")));
	if (indexes == TM_INDEXES_ALL && same_key)
		insert_entries(run);
	else if (indexes != TM_INDEXES_NONE)
		(void) tm_exec_insert_index_tuples(run->info, run->made, run->estate, indexes);
	if (run->changed != NULL)
		tm_row_list_add(run->changed, &run->made->tts_tid);
}

void
tm_merge_run_end(MergeRun *run)
{
	if (run->nadded > 0)
		write_added(run);
	for (int i = 0; i < run->nslots; i++)
		ExecDropSingleTupleTableSlot(run->added[i]);
	if (run->walk != NULL)
		tm_key_walk_end(run->walk);
	if (run->by_place != NULL)
		table_endscan(run->by_place);
	index_endscan(run->scan);
	ExecDropSingleTupleTableSlot(run->found);
	ExecDropSingleTupleTableSlot(run->made);
	ExecCloseIndices(run->info);
	FreeExecutorState(run->estate);
	index_close(run->index, NoLock);
	table_close(run->rel, NoLock);
}

static void
insert_group(MergeRun *run, TupleTableSlot *delta)
{
	int			nkeys = run->merge->nkeys;
	TupleTableSlot *slot = run->made;

	ExecClearTuple(slot);
	for (int i = 0; i < nkeys + run->merge->nstates; i++)
	{
		slot->tts_isnull[i] = delta->tts_isnull[i];
		slot->tts_values[i] = i < nkeys ? delta->tts_values[i] :
			tm_merge_run_delta_state(run, delta, i - nkeys);
	}
	ExecStoreVirtualTuple(slot);
	tm_merge_run_insert(run);
}

static void
update_group(MergeRun *run, TupleTableSlot *delta)
{
	int			nkeys = run->merge->nkeys;
	TupleTableSlot *slot = run->made;
	TupleTableSlot *found = run->found;
	ItemPointerData tid = found->tts_tid;

	slot_getallattrs(found);
	ExecClearTuple(slot);
	for (int i = 0; i < nkeys; i++)
	{
		slot->tts_isnull[i] = found->tts_isnull[i];
		slot->tts_values[i] = found->tts_values[i];
	}
	for (int i = 0; i < run->merge->nstates; i++)
	{
		int			a = nkeys + i;

		slot->tts_values[a] =
			tm_partial_state_combine(run->merge->states[i],
									 found->tts_values[a], found->tts_isnull[a],
									 tm_merge_run_delta_state(run, delta, i), delta->tts_isnull[a],
									 &slot->tts_isnull[a]);
	}
	ExecStoreVirtualTuple(slot);
	tm_merge_run_update(run, &tid, true);
	tm_key_hints_move(run, &slot->tts_tid);
}

void
tm_delta_end(Delta *delta)
{
	if (delta->store != NULL)
		tuplestore_end(delta->store);
	if (delta->rows != NULL)
		tm_delta_rows_end(delta->rows);
}

/* A tuplestore does not tell; beyond work_mem it is on disk. */
Size
tm_delta_size(const Delta *delta)
{
	Size		row;

	if (delta->rows != NULL)
		return tm_delta_rows_size(delta->rows);
	row = MAXALIGN(SizeofMinimalTupleHeader) + sizeof(Datum) * 2 * delta->tupdesc->natts;
	return Min(tuplestore_tuple_count(delta->store) * row, work_mem * (Size) 1024);
}

/* The next group, or NULL; slot is for those of a tuplestore. */
static TupleTableSlot *
next_group(Delta *delta, TupleTableSlot *slot)
{
	if (delta->rows != NULL)
		return tm_delta_rows_next(delta->rows);
	if (!tuplestore_gettupleslot(delta->store, true, false, slot))
		return NULL;
	slot_getallattrs(slot);
	return slot;
}

int64
tm_delta_merge_run(DeltaMerge *merge, Delta *delta, RowList *changed)
{
	TupleTableSlot *slot;
	TupleTableSlot *group;
	MemoryContext before = CurrentMemoryContext;
	MergeRun	run;
	int64		groups = 0;

	if (merge->session)
		return tm_session_merge_run(merge, delta, changed);
	slot = delta->store == NULL ? NULL :
		MakeSingleTupleTableSlot(delta->tupdesc, &TTSOpsMinimalTuple);
	tm_merge_run_begin(&run, merge, delta, changed);
	while ((group = next_group(delta, slot)) != NULL)
	{
		bool		found;

		CHECK_FOR_INTERRUPTS();
		if (groups == WALK_MIN)
			run.walk = tm_key_walk_create(&run);
		/* the scan keeps memory from probe to probe */
		found = find_group(&run, group);
		MemoryContextReset(merge->group_cxt);
		MemoryContextSwitchTo(merge->group_cxt);
		if (!found)
			insert_group(&run, group);
		else if (merge->nstates > 0)
			update_group(&run, group);
		ResetPerTupleExprContext(run.estate);
		MemoryContextSwitchTo(before);
		groups++;
	}
	tm_merge_run_end(&run);
	if (slot != NULL)
		ExecDropSingleTupleTableSlot(slot);
	return groups;
}
