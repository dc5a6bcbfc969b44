/*
 * late_admit.c
 *	  Late rows that were kept are taken into their windows after all.
 *
 * Each row of the late table becomes a row in memory again and goes through the
 * ordinary delta query, restricted to the one window that it was left out of.
 * A stored verdict 'admitted' tells verify() so, and the row leaves the late
 * table.  Windows that the view no longer has are beyond reach: their rows
 * stay where they are.
 *
 * Runs in: backends, as the view's owner.
 * Memory: rows in chunks, each in a context of its own.
 * Locks: the view's, taken here; and that nobody deletes late rows meanwhile.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

#define ADMIT_CHUNK 1000

typedef struct AdmitRun
{
	MaintainView *entry;
	const MetaView *view;
	const ViewSpec *spec;
	MetaProgress progress;
	TimestampTz pruned_until;
	bool		closed;			/* rows of closed windows, or the others */
	Relation	table;
	Snapshot	snapshot;
	TupleDesc	row_desc;		/* of tm_late_row_desc() */
	FmgrInfo	populate;		/* jsonb_populate_record() */
	Datum		empty;			/* its first argument */
	MemoryContext chunk_cxt;
	StreamRows *rows;			/* of the chunk */
	TimestampTz lead[ADMIT_CHUNK];	/* the window of each */
	ItemPointerData tids[ADMIT_CHUNK];
	int64		admitted;
	int64		pruned;
} AdmitRun;

static Datum
get_column(TupleTableSlot *slot, int column, bool *isnull)
{
	return slot_getattr(slot, column + 1, isnull);
}

static TimestampTz
get_time(TupleTableSlot *slot, int column)
{
	bool		isnull;
	Datum		value = get_column(slot, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

/* Has its window, or every session that it could belong to, left the view? */
static bool
is_pruned(const AdmitRun *run, TupleTableSlot *slot)
{
	int			column = run->spec->window.kind == VIEW_WINDOW_SESSION ? LATE_EVENT_TIME : LATE_WINDOW_END;

	return get_time(slot, column) <= run->pruned_until;
}

/* Windows that are closed have their final rows, which are to be corrected. */
static bool
is_closed(const AdmitRun *run, TupleTableSlot *slot)
{
	return run->spec->window.kind != VIEW_WINDOW_SESSION &&
		get_time(slot, LATE_WINDOW_END) <= run->progress.closed_until;
}

/* The row's own time for sessions, see meta_verdict.c. */
static TimestampTz
get_lead(const AdmitRun *run, TupleTableSlot *slot)
{
	if (run->spec->window.kind == VIEW_WINDOW_SESSION)
		return get_time(slot, LATE_EVENT_TIME);
	return get_time(slot, VIEW_WINDOW_LEAD_IS_END(&run->spec->window) ? LATE_WINDOW_END : LATE_WINDOW_START);
}

/* ---- jsonb to a row ---- */

/* A column that was renamed since would be NULL in silence. */
static void
check_members(const AdmitRun *run, Jsonb *json, const StreamRowInfo *info)
{
	int			i = -1;

	while ((i = bms_next_member(run->spec->needed, i)) >= 0)
	{
		AttrNumber	attno = i + FirstLowInvalidHeapAttributeNumber;
		char	   *name;

		if (attno <= 0)
			continue;
		name = get_attname(run->view->source, attno, false);
		if (getKeyJsonValueFromContainer(&json->root, name, strlen(name), NULL) != NULL)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("late row of continuous view \"%s\" has no value for column \"%s\"",
						get_rel_name(run->view->view), name),
				 errdetail("It is that of partition %d, offset %lld, and was kept before the column got its name.",
						   info->partition, (long long) info->offset),
				 errhint("Rename the column back for tidemark.admit_late().")));
	}
}

static void
populate_row(AdmitRun *run, Jsonb *json, Datum *values, bool *isnull)
{
	Datum		record = FunctionCall2(&run->populate, run->empty, JsonbPGetDatum(json));
	HeapTupleHeader header = DatumGetHeapTupleHeader(record);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};

	ItemPointerSetInvalid(&tuple.t_self);
	heap_deform_tuple(&tuple, run->row_desc, values, isnull);
}

static void
add_row(AdmitRun *run, TupleTableSlot *slot)
{
	StreamRows *rows = run->rows;
	MemoryContext before = MemoryContextSwitchTo(run->chunk_cxt);
	size_t		first = (size_t) rows->nrows * rows->natts;
	StreamRowInfo *info = &rows->info[rows->nrows];
	bool		isnull;
	Jsonb	   *json = DatumGetJsonbPCopy(get_column(slot, LATE_ROW, &isnull));

	info->message = -1;
	info->partition = DatumGetInt32(get_column(slot, LATE_PARTITION, &isnull));
	info->offset = DatumGetInt64(get_column(slot, LATE_OFFSET, &isnull));
	info->event_time = get_time(slot, LATE_EVENT_TIME);
	info->watermark = get_time(slot, LATE_WATERMARK);
	check_members(run, json, info);
	populate_row(run, json, rows->values + first, rows->isnull + first);
	run->lead[rows->nrows] = get_lead(run, slot);
	run->tids[rows->nrows] = slot->tts_tid;
	rows->nrows++;
	MemoryContextSwitchTo(before);
}

/* ---- chunks ---- */

static void
begin_chunk(AdmitRun *run)
{
	MemoryContextReset(run->chunk_cxt);
	run->rows = tm_stream_rows_create(run->row_desc->natts, ADMIT_CHUNK, run->chunk_cxt);
}

static void
end_chunk(AdmitRun *run)
{
	BatchRows	batch = {.rows = run->rows,.horizon = DT_NOBEGIN,.window_lead = run->lead};

	if (run->rows->nrows == 0)
		return;
	tm_maintain_merge_admitted(run->entry, run->view, &batch, run->closed);
	for (int i = 0; i < run->rows->nrows; i++)
	{
		const StreamRowInfo *info = &run->rows->info[i];

		tm_meta_verdict_insert(run->view->state_table, info->partition, info->offset, run->lead[i],
							   META_VERDICT_ADMITTED);
		simple_table_tuple_delete(run->table, &run->tids[i], run->snapshot);
	}
	run->admitted += run->rows->nrows;
	CommandCounterIncrement();
}

static void
admit_rows(AdmitRun *run, bool closed)
{
	TableScanDesc scan = table_beginscan(run->table, run->snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(run->table, NULL);
	int			level;

	run->closed = closed;
	begin_chunk(run);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_closed(run, slot) != closed)
			continue;
		if (is_pruned(run, slot))
		{
			run->pruned++;
			continue;
		}
		level = tm_late_push_settings();
		add_row(run, slot);
		AtEOXact_GUC(false, level);
		if (run->rows->nrows < ADMIT_CHUNK)
			continue;
		end_chunk(run);
		begin_chunk(run);
	}
	end_chunk(run);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
}

/* ---- all of it ---- */

static void
prepare_populate(AdmitRun *run)
{
	int			natts = run->row_desc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * Max(natts, 1));
	bool	   *isnull = palloc(sizeof(bool) * Max(natts, 1));
	Const	   *record = makeNullConst(RECORDOID, run->row_desc->tdtypmod, InvalidOid);
	Const	   *json = makeNullConst(JSONBOID, -1, InvalidOid);

	memset(isnull, true, sizeof(bool) * Max(natts, 1));
	run->empty = heap_copy_tuple_as_datum(heap_form_tuple(run->row_desc, values, isnull),
										  run->row_desc);
	fmgr_info(F_JSONB_POPULATE_RECORD, &run->populate);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, RECORDOID,
											 list_make2(record, json), InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL), &run->populate);
}

static void
check_emit(const MetaView *view, const ViewSpec *spec)
{
	if (spec->options.emit == VIEW_EMIT_FINAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot admit late rows", get_rel_name(view->view)),
				 errdetail("Each of its windows appears exactly once."),
				 errhint("Create it with tidemark.emit = 'final, revisions'.")));
}

static void
admit(MaintainView *entry, const MetaView *view, void *arg)
{
	AdmitRun   *run = arg;

	run->entry = entry;
	run->view = view;
	run->spec = entry->spec;
	check_emit(view, run->spec);
	tm_meta_progress_get(view->state_table, &run->progress);
	run->pruned_until = tm_maintain_pruned_until(run->spec, &run->progress);
	run->chunk_cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark admit chunk", ALLOCSET_DEFAULT_SIZES);
	run->row_desc = tm_late_row_desc(view->source);
	prepare_populate(run);
	run->table = table_open(view->late_table, ShareRowExclusiveLock);
	/* in REPEATABLE READ too: what is there now that the view is locked */
	run->snapshot = RegisterSnapshot(GetLatestSnapshot());
	admit_rows(run, true);
	admit_rows(run, false);
	UnregisterSnapshot(run->snapshot);
	table_close(run->table, NoLock);
}

int64
tm_maintain_admit(const MetaView *view)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark admit",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	AdmitRun   *run = palloc0(sizeof(AdmitRun));
	int64		admitted;
	int64		pruned;

	tm_meta_view_lock(view->state_table);
	tm_maintain_run(view, admit, run);
	admitted = run->admitted;
	pruned = run->pruned;
	MemoryContextSwitchTo(before);
	MemoryContextDelete(cxt);
	if (pruned > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld late row of continuous view \"%s\" was not admitted",
							   "%lld late rows of continuous view \"%s\" were not admitted",
							   pruned, (long long) pruned, get_rel_name(view->view)),
				 errdetail("Their windows have left the view.")));
	return admitted;
}
