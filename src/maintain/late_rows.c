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
 * A kept row is jsonb with the source's columns as members, written and read
 * under fixed settings.  A column of type json is a string in it: its text may
 * be what jsonb does not take (\u0000), and comes back as it was.
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Locks: the caller holds the view's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "maintain/maintain_internal.h"
#include "window/window.h"

/* Columns of the late query. */
enum
{
	LATE_QUERY_ROW, LATE_QUERY_START, LATE_QUERY_END
};

typedef struct LateRun
{
	const MetaView *view;
	const ViewSpec *spec;
	const BatchRows *batch;
	Relation	table;			/* NULL: only counted */
	TupleTableSlot *slot;		/* of it */
	EState	   *estate;			/* for its indexes */
	ResultRelInfo *info;
	TupleDesc	source_desc;	/* of tm_late_row_desc() */
} LateRun;

/* Is the row late by the watermark of its own partition? */
static bool
is_late_by_row(const LateRun *run, int row, TupleTableSlot *found)
{
	int64		lateness = run->spec->options.allowed_lateness;
	const StreamRowInfo *info = &run->batch->rows->info[row];

	if (run->spec->window.kind == VIEW_WINDOW_SESSION)
		return !tm_window_is_row_on_time(info->event_time, lateness, info->watermark);
	return !tm_window_is_on_time(DatumGetTimestampTz(found->tts_values[LATE_QUERY_END]),
								 lateness, info->watermark);
}

/* ---- rows as jsonb ---- */

TupleDesc
tm_late_row_desc(Oid source)
{
	Relation	rel = table_open(source, AccessShareLock);
	TupleDesc	result = CreateTupleDescCopy(RelationGetDescr(rel));

	table_close(rel, NoLock);
	for (int i = 0; i < result->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(result, i);

		if (att->attisdropped || getBaseType(att->atttypid) != JSONOID)
			continue;
		att->atttypid = TEXTOID;
		att->attcollation = DEFAULT_COLLATION_OID;
	}
	result->tdtypeid = RECORDOID;
	result->tdtypmod = -1;
	return BlessTupleDesc(result);
}

int
tm_late_push_settings(void)
{
	int			level = tm_stream_push_decode_settings();

	tm_setting_push("extra_float_digits", "1");
	return level;
}

static Datum
row_as_jsonb(const LateRun *run, int row)
{
	const StreamRows *rows = run->batch->rows;
	int			natts = run->source_desc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * Max(natts, 1));
	bool	   *isnull = palloc(sizeof(bool) * Max(natts, 1));
	HeapTuple	tuple;
	Datum		json;

	for (int i = 0; i < natts; i++)
	{
		/* a column added since the rows were made has no value */
		isnull[i] = i >= rows->natts || rows->isnull[(size_t) row * rows->natts + i];
		if (!isnull[i])
			values[i] = rows->values[(size_t) row * rows->natts + i];
	}
	tuple = heap_form_tuple(run->source_desc, values, isnull);
	json = DirectFunctionCall1(row_to_json, heap_copy_tuple_as_datum(tuple, run->source_desc));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(json)));
}

/* ---- recording ---- */

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
	list_free(tm_exec_insert_index_tuples(run->info, slot, run->estate, TM_INDEXES_ALL));
	ResetPerTupleExprContext(run->estate);
}

static void
note_late_row(LateRun *run, TupleTableSlot *found)
{
	int			row = DatumGetInt32(found->tts_values[LATE_QUERY_ROW]);
	const StreamRowInfo *info = &run->batch->rows->info[row];
	int			lead = VIEW_WINDOW_LEAD_IS_END(&run->spec->window) ? LATE_QUERY_END : LATE_QUERY_START;
	TimestampTz window = found->tts_isnull[lead] ?
	info->event_time :
	DatumGetTimestampTz(found->tts_values[lead]);

	if (!is_late_by_row(run, row, found))
		tm_meta_verdict_insert(run->view->state_table, info->partition, info->offset, window,
							   META_VERDICT_CLOSED);
	if (run->table != NULL)
		keep_row(run, info, row, found);
}

static void
begin_run(LateRun *run)
{
	if (!OidIsValid(run->view->late_table))
		return;
	run->source_desc = tm_late_row_desc(run->view->source);
	run->table = table_open(run->view->late_table, RowExclusiveLock);
	run->slot = MakeSingleTupleTableSlot(RelationGetDescr(run->table), &TTSOpsVirtual);
	run->estate = CreateExecutorState();
	run->info = makeNode(ResultRelInfo);
	InitResultRelInfo(run->info, run->table, 1, NULL, 0);
	ExecOpenIndices(run->info, false);
}

static void
end_run(LateRun *run)
{
	if (run->table == NULL)
		return;
	ExecDropSingleTupleTableSlot(run->slot);
	ExecCloseIndices(run->info);
	FreeExecutorState(run->estate);
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
	int			level;

	PushActiveSnapshot(GetTransactionSnapshot());
	late = tm_partial_plan_run(plan, batch, &tupdesc);
	PopActiveSnapshot();
	begin_run(&run);
	level = tm_late_push_settings();
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
	AtEOXact_GUC(false, level);
	end_run(&run);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(cxt);
	return count;
}

/* ---- rows of a table ---- */

#define SOURCE_CHUNK 1000

/* Rows that may be late for a window: by their own time they are. */
static char *
candidates_sql(const ViewSpec *spec)
{
	Oid			source = spec->source;

	return psprintf("SELECT * FROM %s WHERE NOT tidemark_state.is_row_on_time(%s, " INT64_FORMAT ", %s)",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(source)),
											   get_rel_name(source)),
					quote_identifier(get_attname(source, spec->event_time, false)),
					spec->options.allowed_lateness,
					quote_identifier(get_attname(source, spec->watermark_att, false)));
}

/* A row as SELECT * has it: without the columns that were dropped. */
static void
add_source_row(const ViewSpec *spec, StreamRows *rows, TupleDesc source, HeapTuple tuple,
			   TupleDesc tupdesc)
{
	StreamRowInfo *info;
	Datum	   *values;
	bool	   *isnull;
	int			column = 0;

	tm_stream_rows_reserve(rows);
	values = rows->values + (size_t) rows->nrows * rows->natts;
	isnull = rows->isnull + (size_t) rows->nrows * rows->natts;
	for (int i = 0; i < source->natts; i++)
	{
		isnull[i] = true;
		if (!TupleDescAttr(source, i)->attisdropped)
			values[i] = heap_getattr(tuple, ++column, tupdesc, &isnull[i]);
	}
	info = &rows->info[rows->nrows++];
	info->message = -1;
	info->partition = isnull[spec->partition_att - 1] ? -1 :
		DatumGetInt32(values[spec->partition_att - 1]);
	info->offset = isnull[spec->offset_att - 1] ? -1 :
		DatumGetInt64(values[spec->offset_att - 1]);
	info->event_time = DatumGetTimestampTz(values[spec->event_time - 1]);
	info->watermark = DatumGetTimestampTz(values[spec->watermark_att - 1]);
}

int64
tm_late_rows_record_source(const MetaView *view, const ViewSpec *spec, PartialPlan *plan)
{
	Relation	rel = table_open(spec->source, AccessShareLock);
	TupleDesc	source = RelationGetDescr(rel);
	int64		count = 0;
	SPIPlanPtr	select;
	Portal		portal;

	SPI_connect();
	select = SPI_prepare(candidates_sql(spec), 0, NULL);
	if (select == NULL)
		elog(ERROR, "could not prepare the query for late rows");
	portal = SPI_cursor_open(NULL, select, NULL, NULL, true);
	for (;;)
	{
		BatchRows	batch = {.horizon = DT_NOBEGIN};
		StreamRows *rows;

		SPI_cursor_fetch(portal, true, SOURCE_CHUNK);
		if (SPI_processed == 0)
			break;
		rows = tm_stream_rows_create(source->natts, SPI_processed, CurrentMemoryContext);
		for (uint64 i = 0; i < SPI_processed; i++)
			add_source_row(spec, rows, source, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		batch.rows = rows;
		count += tm_late_rows_record(view, spec, plan, &batch);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	table_close(rel, NoLock);
	return count;
}
