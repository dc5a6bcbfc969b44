/*
 * late_rows.c
 *	  Rows that a batch leaves out of a window because they are too late.
 *
 * They are counted; kept in the view's late table with tidemark.late = 'table';
 * and where the verdict does not follow from the row and its own partition's
 * watermark (the window was closed already: an idle partition came back, or a
 * partition was added), it is stored in tidemark_state.verdict, so that
 * verify() leaves out the same rows.
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Locks: the caller holds the view's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "maintain/maintain_internal.h"
#include "window/window.h"

/* Columns of the late query, and of a late table. */
enum
{
	LATE_QUERY_ROW, LATE_QUERY_START, LATE_QUERY_END
};

enum
{
	LATE_WINDOW_START, LATE_WINDOW_END, LATE_PARTITION, LATE_OFFSET, LATE_EVENT_TIME,
	LATE_WATERMARK, LATE_ROW, LATE_RECORDED_AT, LATE_NCOLUMNS
};

typedef struct LateRun
{
	const MetaView *view;
	const ViewSpec *spec;
	const BatchRows *batch;
	Relation	table;			/* NULL: only counted */
	TupleTableSlot *slot;		/* of it */
	TupleDesc	source_desc;
} LateRun;

/* Is the row late by the watermark of its own partition? */
static bool
is_late_by_row(const LateRun *run, const StreamRowInfo *info, TupleTableSlot *found)
{
	int64		lateness = run->spec->options.allowed_lateness;

	if (run->spec->window.kind == VIEW_WINDOW_SESSION)
		return !tm_window_is_row_on_time(info->event_time, lateness, info->watermark);
	return !tm_window_is_on_time(DatumGetTimestampTz(found->tts_values[LATE_QUERY_END]),
								 lateness, info->watermark);
}

static Datum
row_as_jsonb(const LateRun *run, int row)
{
	const StreamRows *rows = run->batch->rows;
	HeapTuple	tuple = heap_form_tuple(run->source_desc,
										rows->values + (size_t) row * rows->natts,
										rows->isnull + (size_t) row * rows->natts);
	Datum		record = heap_copy_tuple_as_datum(tuple, run->source_desc);
	Datum		json = DirectFunctionCall1(row_to_json, record);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(json)));
}

static void
keep_row(LateRun *run, const StreamRowInfo *info, int row, TupleTableSlot *found)
{
	TupleTableSlot *slot = run->slot;
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

	ExecClearTuple(slot);
	memset(isnull, false, sizeof(bool) * LATE_NCOLUMNS);
	values[LATE_WINDOW_START] = found->tts_values[LATE_QUERY_START];
	isnull[LATE_WINDOW_START] = found->tts_isnull[LATE_QUERY_START];
	values[LATE_WINDOW_END] = found->tts_values[LATE_QUERY_END];
	isnull[LATE_WINDOW_END] = found->tts_isnull[LATE_QUERY_END];
	values[LATE_PARTITION] = Int32GetDatum(info->partition);
	values[LATE_OFFSET] = Int64GetDatum(info->offset);
	values[LATE_EVENT_TIME] = TimestampTzGetDatum(info->event_time);
	values[LATE_WATERMARK] = TimestampTzGetDatum(info->watermark);
	isnull[LATE_WATERMARK] = TIMESTAMP_IS_NOBEGIN(info->watermark);
	values[LATE_ROW] = row_as_jsonb(run, row);
	values[LATE_RECORDED_AT] = TimestampTzGetDatum(tm_clock_now());
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(run->table, slot, GetCurrentCommandId(true), 0, NULL);
}

static void
note_late_row(LateRun *run, TupleTableSlot *found)
{
	int			row = DatumGetInt32(found->tts_values[LATE_QUERY_ROW]);
	const StreamRowInfo *info = &run->batch->rows->info[row];
	int			lead = VIEW_WINDOW_LEAD_IS_END(&run->spec->window) ? LATE_QUERY_END : LATE_QUERY_START;
	TimestampTz window = found->tts_isnull[lead] ? info->event_time :
	DatumGetTimestampTz(found->tts_values[lead]);

	if (!is_late_by_row(run, info, found))
		tm_meta_verdict_insert(run->view->state_table, info->partition, info->offset, window,
							   META_VERDICT_CLOSED);
	if (run->table != NULL)
		keep_row(run, info, row, found);
}

static void
begin_run(LateRun *run)
{
	Relation	source;

	if (!OidIsValid(run->view->late_table))
		return;
	source = table_open(run->view->source, AccessShareLock);
	run->source_desc = BlessTupleDesc(CreateTupleDescCopy(RelationGetDescr(source)));
	table_close(source, NoLock);
	run->table = table_open(run->view->late_table, RowExclusiveLock);
	run->slot = MakeSingleTupleTableSlot(RelationGetDescr(run->table), &TTSOpsVirtual);
}

static void
end_run(LateRun *run)
{
	if (run->table == NULL)
		return;
	ExecDropSingleTupleTableSlot(run->slot);
	table_close(run->table, NoLock);
	CommandCounterIncrement();
}

int64
tm_late_rows_record(const MetaView *view, const ViewSpec *spec, PartialPlan *plan,
					const BatchRows *batch)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark late rows",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	LateRun		run = {.view = view,.spec = spec,.batch = batch};
	Tuplestorestate *late;
	TupleDesc	tupdesc;
	TupleTableSlot *slot;
	int64		count = 0;

	PushActiveSnapshot(GetTransactionSnapshot());
	late = tm_partial_plan_run(plan, batch, &tupdesc);
	PopActiveSnapshot();
	begin_run(&run);
	slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(late, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		note_late_row(&run, slot);
		count++;
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(late);
	end_run(&run);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(cxt);
	return count;
}
