/*
 * ingest_store.c
 *	  Raw rows into a table, as COPY stores them.
 *
 * PostgreSQL offers no entry below COPY and above the table access method that
 * takes rows in memory, so this file drives the same executor pieces in the
 * same order as COPY FROM does: statement triggers, then for each row
 * defaults, table partition, BEFORE triggers, generated columns, constraints,
 * and either a place in a buffer for table_multi_insert or an insert of its
 * own; index entries and AFTER triggers follow the insert.
 *
 * Rows are buffered unless somebody could notice that rows before are not in
 * the table yet: BEFORE ROW triggers (of the table or the table partition),
 * volatile defaults or casts other than nextval(), and transition tables on a
 * partitioned table, whose capture goes row by row.  Executor state lives for
 * one call: after a subtransaction was rolled back nothing of it can be used
 * again, and relations may change between batches.
 *
 * Foreign tables take no rows: what they keep does not commit together with
 * the offsets.
 *
 * Invariants:
 *	1. The buffer of run->leaf is never dropped while run->leaf_buffered.
 *	2. A row enters the stored rows before it is inserted, and in order of the
 *	   messages; whoever survives a failure drops all that the call added.
 *	3. phase says what is going on whenever an error can be thrown.
 *
 * Runs in: workers; backends in inject() and resume().
 * Memory: per call, the executor's query context, a child of the caller's
 * current one; per row, its per-tuple context.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/detoast.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/fault.h"
#include "ingest/ingest_store_internal.h"

/* Limits over all buffers, those of COPY. */
#define STORE_BUFFER_ROWS 1000
#define STORE_BUFFER_BYTES 65535
/* Buffers kept after they were written out. */
#define STORE_MAX_BUFFERS 32

/* Rows on their way into one table or table partition. */
typedef struct StoreBuffer
{
	ResultRelInfo *rri;
	BulkInsertState bistate;
	TupleDesc	tupdesc;		/* of the slots */
	int			nused;
	int			nslots;			/* made so far */
	TupleTableSlot *slots[STORE_BUFFER_ROWS];
} StoreBuffer;

/* One call of tm_store_rows. */
typedef struct StoreRun
{
	const StoreTarget *target;
	const StreamRows *rows;
	StreamRows *stored;			/* or NULL */
	EState	   *estate;
	ModifyTableState *mtstate;
	ResultRelInfo *root;
	PartitionTupleRouting *proute;	/* NULL: not partitioned */
	ExprState **exprs;			/* per column of the table, or NULL */
	CommandId	cid;
	bool		buffered;		/* does the root table allow it? */
	TupleTableSlot *slot;		/* root layout; NULL: rows are made in place */
	BulkInsertState bistate;	/* for rows that are not buffered */
	ResultRelInfo *leaf;		/* where the last row went; root if no other */
	bool		leaf_buffered;
	List	   *buffers;
	int			nrows;			/* in all buffers */
	Size		nbytes;
} StoreRun;

static StorePhase phase = STORE_PHASE_TABLE;

StorePhase
tm_store_get_phase(void)
{
	return phase;
}

static inline bool
has_before_triggers(const ResultRelInfo *rri)
{
	return rri->ri_TrigDesc != NULL && rri->ri_TrigDesc->trig_insert_before_row;
}

/* ---- buffers ---- */

/*
 * The executor keeps a pointer for COPY in each ResultRelInfo, which nobody
 * else looks at; in ours it holds our buffer.
 */
static inline StoreBuffer *
get_buffer(const ResultRelInfo *rri)
{
	return (StoreBuffer *) rri->ri_CopyMultiInsertBuffer;
}

static void
add_buffer(StoreRun *run, ResultRelInfo *rri)
{
	StoreBuffer *buffer = palloc(sizeof(StoreBuffer));

	buffer->rri = rri;
	buffer->bistate = GetBulkInsertState();

	/*
	 * The relation's own descriptor is counted by the resource owner, and a
	 * thousand references to one thing are quadratic there.  Rows here are
	 * always complete, so nothing looks for the constraints a copy lacks.
	 */
	buffer->tupdesc = CreateTupleDescCopy(RelationGetDescr(rri->ri_RelationDesc));
	buffer->nused = 0;
	buffer->nslots = 0;
	rri->ri_CopyMultiInsertBuffer = (struct CopyMultiInsertBuffer *) buffer;
	run->buffers = lappend(run->buffers, buffer);
}

static void
drop_buffer(StoreRun *run, StoreBuffer *buffer)
{
	Assert(buffer->nused == 0);
	buffer->rri->ri_CopyMultiInsertBuffer = NULL;
	FreeBulkInsertState(buffer->bistate);
	for (int i = 0; i < buffer->nslots; i++)
		ExecDropSingleTupleTableSlot(buffer->slots[i]);
	FreeTupleDesc(buffer->tupdesc);
	table_finish_bulk_insert(buffer->rri->ri_RelationDesc, 0);
	pfree(buffer);
}

/* The slot that the next row of rri is to be made in. */
static TupleTableSlot *
get_next_slot(ResultRelInfo *rri)
{
	StoreBuffer *buffer = get_buffer(rri);

	Assert(buffer->nused < STORE_BUFFER_ROWS);
	if (buffer->nused == buffer->nslots)
		buffer->slots[buffer->nslots++] =
			MakeSingleTupleTableSlot(buffer->tupdesc,
									 table_slot_callbacks(rri->ri_RelationDesc));
	return buffer->slots[buffer->nused];
}

/* Index entries and AFTER ROW triggers of a row that is in the table. */
static void
after_insert(StoreRun *run, ResultRelInfo *rri, TupleTableSlot *slot)
{
	TransitionCaptureState *capture = run->mtstate->mt_transition_capture;
	List	   *recheck = NIL;

	if (rri->ri_NumIndices > 0)
		recheck = tm_exec_insert_index_tuples(rri, slot, run->estate, TM_INDEXES_ALL);

	/* rows of a table partition without triggers can still be captured */
	if (rri->ri_TrigDesc != NULL || capture != NULL)
	{
		phase = STORE_PHASE_TRIGGER;
		ExecARInsertTriggers(run->estate, rri, slot, recheck, capture);
		phase = STORE_PHASE_TABLE;
	}
	list_free(recheck);
}

static void
write_buffer(StoreRun *run, StoreBuffer *buffer)
{
	MemoryContext oldcxt;

	/* table_multi_insert may leak */
	oldcxt = MemoryContextSwitchTo(GetPerTupleMemoryContext(run->estate));
	table_multi_insert(buffer->rri->ri_RelationDesc, buffer->slots,
					   buffer->nused, run->cid, 0, buffer->bistate);
	MemoryContextSwitchTo(oldcxt);
	TM_FAULT("storing");

	for (int i = 0; i < buffer->nused; i++)
	{
		after_insert(run, buffer->rri, buffer->slots[i]);
		ExecClearTuple(buffer->slots[i]);
	}
	buffer->nused = 0;
}

/* Write all buffers out; keep only the youngest ones and that of run->leaf. */
static void
write_buffers(StoreRun *run)
{
	ListCell   *lc;

	foreach(lc, run->buffers)
	{
		StoreBuffer *buffer = lfirst(lc);

		if (buffer->nused > 0)
			write_buffer(run, buffer);
	}
	run->nrows = 0;
	run->nbytes = 0;

	while (list_length(run->buffers) > STORE_MAX_BUFFERS)
	{
		StoreBuffer *oldest = linitial(run->buffers);

		run->buffers = list_delete_first(run->buffers);
		if (oldest->rri == run->leaf)
			run->buffers = lappend(run->buffers, oldest);
		else
			drop_buffer(run, oldest);
	}
}

/* The row in the slot that get_next_slot gave is complete. */
static void
buffer_row(StoreRun *run, ResultRelInfo *rri, TupleTableSlot *slot)
{
	Assert(slot == get_next_slot(rri));

	/* its Datums may lie in the per-tuple context */
	ExecMaterializeSlot(slot);
	get_buffer(rri)->nused++;
	run->nrows++;
	if (TTS_IS_BUFFERTUPLE(slot))
		run->nbytes += ((HeapTupleTableSlot *) slot)->tuple->t_len;
	else
		run->nbytes += slot->tts_tupleDescriptor->natts * sizeof(Datum);

	if (run->nrows >= STORE_BUFFER_ROWS || run->nbytes >= STORE_BUFFER_BYTES)
		write_buffers(run);
}

/* ---- one row ---- */

/* Make the row in slot, which has the layout of the root table. */
static void
fill_slot(StoreRun *run, int row, TupleTableSlot *slot)
{
	const StoreTarget *target = run->target;
	ExprContext *econtext = GetPerTupleExprContext(run->estate);
	const Datum *values = run->rows->values + (size_t) row * run->rows->natts;
	const bool *isnull = run->rows->isnull + (size_t) row * run->rows->natts;
	MemoryContext oldcxt;

	oldcxt = MemoryContextSwitchTo(GetPerTupleMemoryContext(run->estate));
	ExecClearTuple(slot);
	for (int i = 0; i < target->natts; i++)
	{
		AttrNumber	source = target->columns[i].source;
		Datum		value = source ? values[source - 1] : (Datum) 0;
		bool		null = source ? isnull[source - 1] : true;

		if (run->exprs[i] != NULL)
		{
			econtext->caseValue_datum = value;
			econtext->caseValue_isNull = null;
			value = ExecEvalExpr(run->exprs[i], econtext, &null);
		}
		slot->tts_values[i] = value;
		slot->tts_isnull[i] = null;
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = target->relid;
	MemoryContextSwitchTo(oldcxt);
}

/* A table partition may have come since the table was checked. */
static void
check_leaf(const StoreTarget *target, Relation rel)
{
	tm_store_check_partition(rel->rd_rel->relkind, rel->rd_rel->relpersistence,
							 RelationGetRelationName(rel), target->may_lose);
}

/* The rows now go into another table partition. */
static void
enter_leaf(StoreRun *run, ResultRelInfo *leaf)
{
	run->leaf = leaf;
	run->leaf_buffered = run->buffered && !has_before_triggers(leaf);
	if (run->leaf_buffered)
	{
		if (get_buffer(leaf) == NULL)
			add_buffer(run, leaf);
	}
	else if (run->nrows > 0)
		write_buffers(run);		/* its triggers may look for them */
	ReleaseBulkInsertStatePin(run->bistate);
}

/*
 * Find the table partition of a row (run->leaf) and return the row in its
 * layout.
 */
static TupleTableSlot *
route_row(StoreRun *run, TupleTableSlot *slot)
{
	ResultRelInfo *leaf;
	TransitionCaptureState *capture = run->mtstate->mt_transition_capture;
	TupleConversionMap *map;
	TupleTableSlot *next;

	leaf = ExecFindPartition(run->mtstate, run->root, run->proute, slot,
							 run->estate);
	if (leaf != run->leaf)
	{
		check_leaf(run->target, leaf->ri_RelationDesc);
		enter_leaf(run, leaf);
	}

	/* unless triggers change it, the captured row is the one at hand */
	if (capture != NULL)
		capture->tcs_original_insert_tuple = has_before_triggers(leaf) ? NULL : slot;

	map = tm_root_to_partition_map(leaf, run->estate);
	next = run->leaf_buffered ? get_next_slot(leaf) : leaf->ri_PartitionTupleSlot;
	if (map != NULL)
		slot = execute_attr_map_slot(map->attrMap, slot, next);
	else if (run->leaf_buffered)
		slot = ExecCopySlot(next, slot);
	slot->tts_tableOid = RelationGetRelid(leaf->ri_RelationDesc);
	return slot;
}

static Datum
copy_datum(Datum value, Form_pg_attribute att)
{
	/* a trigger may have put something in that lives elsewhere */
	if (att->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(value)))
		return PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(value)));
	return datumCopy(value, att->attbyval, att->attlen);
}

/* Append the row, as it will be in the table, to the stored rows. */
static void
capture_row(StoreRun *run, int row, TupleTableSlot *slot)
{
	StreamRows *stored = run->stored;
	TupleDesc	tupdesc = RelationGetDescr(run->root->ri_RelationDesc);
	TupleConversionMap *map = NULL;
	MemoryContext oldcxt;
	size_t		base;

	Assert(stored->natts == tupdesc->natts);
	if (run->proute != NULL)
		map = ExecGetChildToRootMap(run->leaf);
	slot_getallattrs(slot);
	tm_stream_rows_reserve(stored);
	base = (size_t) stored->nrows * stored->natts;

	oldcxt = MemoryContextSwitchTo(stored->cxt);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		int			attno = map != NULL ? map->attrMap->attnums[i] : i + 1;
		bool		isnull = attno == 0 || slot->tts_isnull[attno - 1] ||
		(run->target->wanted != NULL && !run->target->wanted[i]);

		stored->isnull[base + i] = isnull;
		stored->values[base + i] = isnull ? (Datum) 0 :
			copy_datum(slot->tts_values[attno - 1], TupleDescAttr(tupdesc, i));
	}
	MemoryContextSwitchTo(oldcxt);

	stored->info[stored->nrows] = run->rows->info[row];
	stored->nrows++;
}

/* Run BEFORE ROW triggers; false: the row is suppressed. */
static bool
run_before_triggers(StoreRun *run, TupleTableSlot *slot)
{
	bool		keep;

	phase = STORE_PHASE_TRIGGER;
	keep = ExecBRInsertTriggers(run->estate, run->leaf, slot);
	phase = STORE_PHASE_TABLE;
	return keep;
}

static void
store_row(StoreRun *run, int row)
{
	TupleTableSlot *slot = run->slot != NULL ? run->slot : get_next_slot(run->root);
	ResultRelInfo *rri;
	Relation	rel;
	TupleConstr *constr;

	fill_slot(run, row, slot);
	if (run->proute != NULL)
		slot = route_row(run, slot);
	rri = run->leaf;
	rel = rri->ri_RelationDesc;
	constr = RelationGetDescr(rel)->constr;

	if (has_before_triggers(rri) && !run_before_triggers(run, slot))
		return;

	if (constr != NULL && constr->has_generated_stored)
		ExecComputeStoredGenerated(rri, run->estate, slot, CMD_INSERT);
	if (constr != NULL)
		ExecConstraints(rri, slot, run->estate);
	/* routing has checked it, but triggers may have changed the row */
	if (rel->rd_rel->relispartition &&
		(run->proute == NULL || has_before_triggers(rri)))
		ExecPartitionCheck(rri, slot, run->estate, true);

	if (run->stored != NULL)
		capture_row(run, row, slot);

	if (run->leaf_buffered)
		buffer_row(run, rri, slot);
	else
	{
		table_tuple_insert(rel, slot, run->cid, 0, run->bistate);
		after_insert(run, rri, slot);
	}
}

/* ---- one call ---- */

/* Plan and initialise the casts and defaults; true if one is volatile. */
static bool
prepare_exprs(StoreRun *run)
{
	const StoreTarget *target = run->target;
	bool		is_volatile = false;

	run->exprs = palloc0(sizeof(ExprState *) * Max(target->natts, 1));
	for (int i = 0; i < target->natts; i++)
	{
		Expr	   *expr = (Expr *) target->columns[i].expr;

		if (expr == NULL)
			continue;
		expr = expression_planner(expr);
		run->exprs[i] = ExecInitExpr(expr, NULL);
		if (contain_volatile_functions_not_nextval((Node *) expr))
			is_volatile = true;
	}
	return is_volatile;
}

/* Open the table, by the lock that the caller holds, as result relation. */
static void
open_table(StoreRun *run)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Relation	rel;

	rte->rtekind = RTE_RELATION;
	rte->relid = run->target->relid;
	rte->relkind = get_rel_relkind(rte->relid);
	rte->rellockmode = RowExclusiveLock;
	tm_exec_init_range_table(run->estate, rte);

	run->root = run->leaf = makeNode(ResultRelInfo);
	ExecInitResultRelation(run->estate, run->root, 1);
	ExecOpenIndices(run->root, false);

	rel = run->root->ri_RelationDesc;
	if (RelationGetDescr(rel)->natts != run->target->natts)
		elog(ERROR, "columns of table \"%s\" have changed since it was opened",
			 RelationGetRelationName(rel));
}

/* Set up everything up to, not including, the first trigger. */
static StoreRun *
begin_run(EState *estate, const StoreTarget *target, const StreamRows *rows,
		  StreamRows *stored)
{
	StoreRun   *run = palloc0(sizeof(StoreRun));
	Relation	rel;
	TriggerDesc *triggers;
	bool		is_volatile;

	run->target = target;
	run->rows = rows;
	run->stored = stored;
	run->estate = estate;
	run->cid = estate->es_output_cid = GetCurrentCommandId(true);
	open_table(run);
	rel = run->root->ri_RelationDesc;
	triggers = run->root->ri_TrigDesc;

	run->mtstate = makeNode(ModifyTableState);
	run->mtstate->ps.state = estate;
	run->mtstate->operation = CMD_INSERT;
	run->mtstate->mt_nrels = 1;
	run->mtstate->resultRelInfo = run->root;
	run->mtstate->rootResultRelInfo = run->root;

	AfterTriggerBeginQuery();
	run->mtstate->mt_transition_capture =
		MakeTransitionCaptureState(rel->trigdesc, RelationGetRelid(rel), CMD_INSERT);
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		run->proute = ExecSetupPartitionTupleRouting(estate, rel);

	is_volatile = prepare_exprs(run);
	run->buffered = !is_volatile && !has_before_triggers(run->root) &&
		!(run->proute != NULL && triggers != NULL && triggers->trig_insert_new_table);

	if (run->proute != NULL || !run->buffered)
	{
		run->slot = table_slot_create(rel, &estate->es_tupleTable);
		run->bistate = GetBulkInsertState();
	}
	if (run->proute == NULL && run->buffered)
	{
		add_buffer(run, run->root);
		run->leaf_buffered = true;
	}
	return run;
}

/* Write out what is buffered, run what comes after the statement, clean up. */
static void
end_run(StoreRun *run)
{
	EState	   *estate = run->estate;
	ListCell   *lc;

	if (run->nrows > 0)
		write_buffers(run);
	if (run->bistate != NULL)
		FreeBulkInsertState(run->bistate);

	phase = STORE_PHASE_TRIGGER;
	ExecASInsertTriggers(estate, run->root, run->mtstate->mt_transition_capture);
	AfterTriggerEndQuery(estate);
	phase = STORE_PHASE_TABLE;

	ExecResetTupleTable(estate->es_tupleTable, false);
	foreach(lc, run->buffers)
		drop_buffer(run, lfirst(lc));
	if (run->proute != NULL)
		ExecCleanupTupleRouting(run->mtstate, run->proute);
	ExecCloseResultRelations(estate);
	ExecCloseRangeTableRelations(estate);
}

void
tm_store_rows(StoreTarget *target, const StreamRows *rows, int from, int to,
			  StreamRows *stored)
{
	StorePhase	outer = phase;	/* a trigger may store rows elsewhere */
	EState	   *estate;
	StoreRun   *run;
	MemoryContext oldcxt;

	if (from >= to)
		return;

	phase = STORE_PHASE_TABLE;
	PushActiveSnapshot(GetTransactionSnapshot());
	estate = CreateExecutorState();
	oldcxt = MemoryContextSwitchTo(estate->es_query_cxt);
	run = begin_run(estate, target, rows, stored);

	phase = STORE_PHASE_TRIGGER;
	ExecBSInsertTriggers(estate, run->root);
	phase = STORE_PHASE_TABLE;

	for (int row = from; row < to; row++)
	{
		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(estate);
		store_row(run, row);
	}
	end_run(run);

	MemoryContextSwitchTo(oldcxt);
	FreeExecutorState(estate);
	PopActiveSnapshot();
	CommandCounterIncrement();
	phase = outer;
}
