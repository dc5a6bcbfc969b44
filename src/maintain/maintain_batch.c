/*
 * maintain_batch.c
 *	  One batch through one view: the room's only entry from above.
 *
 *	  as the view's owner, under its settings:
 *		partial states of the rows, into a tuplestore	(no lock on the view)
 *		those of panes, into those of windows			(delta_expand.c)
 *		lock the view
 *		a new snapshot, and the merge
 *		the rows that were too late for it				(late_rows.c)
 *
 * Lateness costs nothing while there is none: a row can be late for a window
 * only if its own event time is that late, which is looked at in the rows
 * themselves.  Only if there is one does the delta query get the condition.
 *
 * Two workers of one stream compute their partial states at the same time and
 * take turns at the merge; each takes the locks of its views in order of
 * state table OID, so they cannot wait for each other in a circle.
 *
 * What is known about a view (spec, plan, merge) is kept per process until the
 * relcache says that one of its relations changed.
 *
 * Runs in: workers; backends that call inject() or create a view.
 * Memory: per view a context below CacheMemoryContext; a batch works in the
 * caller's context.
 * Locks: the view's object lock, until the transaction ends.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/fault.h"
#include "maintain/maintain_internal.h"
#include "window/window.h"

static HTAB *views = NULL;

/* ---- the cache ---- */

static void
on_relcache(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	MaintainView *entry;

	hash_seq_init(&status, views);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (relid == InvalidOid || relid == entry->query_view || relid == entry->source ||
			relid == entry->state_table || relid == entry->final_table ||
			list_member_oid(entry->other_tables, relid))
			entry->valid = false;
}

static void
on_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	on_relcache(arg, InvalidOid);
}

static void
init_cache(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(MaintainView),
	.hcxt = CacheMemoryContext};

	views = hash_create("tidemark views", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(AGGFNOID, on_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, on_syscache, (Datum) 0);
}

/* The states in the table must be what the aggregates make today. */
static void
check_states(const MetaView *view, const ViewSpec *spec)
{
	tm_view_check_state_columns(view, spec);
	if (!tm_view_equal_texts(tm_view_state_stamps(spec), view->stamps))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("stored states of continuous view \"%s\" have another format",
						get_rel_name(view->view)),
				 errdetail("They were made by another major version of PostgreSQL or by aggregates that have been redefined."),
				 errhint("REFRESH MATERIALIZED VIEW rebuilds the view.")));
}

/* Analyse the view anew; as its owner and under its settings. */
static void
load_view(MaintainView *entry, const MetaView *view)
{
	MemoryContext before;
	DeltaMerge *merge;

	if (entry->cxt != NULL)
		MemoryContextDelete(entry->cxt);
	entry->cxt = NULL;
	entry->other_tables = NIL;	/* on_relcache() reads it while we load */
	entry->plan = NULL;
	entry->on_time_plan = entry->late_plan = NULL;
	entry->merge = NULL;
	entry->close = NULL;
	entry->emit = entry->revise = entry->show = NULL;
	entry->expand = NULL;
	entry->shape = NULL;
	entry->pass = NULL;
	entry->loads++;
	entry->cxt = AllocSetContextCreate(CacheMemoryContext, "tidemark view", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(entry->cxt);
	entry->query_view = view->query_view;
	entry->source = view->source;
	entry->final_table = view->final_table;
	entry->valid = true;		/* an invalidation from here on must show */
	entry->spec = tm_view_load_spec(view);
	entry->other_tables = entry->spec->other_tables;
	check_states(view, entry->spec);
	tm_view_check_permissions(entry->spec);
	merge = tm_delta_merge_create(entry->spec, view->state_table, entry->cxt);
	if (VIEW_IS_PANED(entry->spec))
		entry->expand = tm_delta_expand_create(entry->spec, merge, entry->cxt);
	entry->shape = tm_share_get_shape(entry->spec, view);
	/* last: without it the view counts as not loaded */
	entry->merge = merge;
	MemoryContextSwitchTo(before);
}

MaintainView *
tm_maintain_get(const MetaView *view)
{
	MaintainView *entry;
	bool		found;

	if (views == NULL)
		init_cache();
	entry = hash_search(views, &view->state_table, HASH_ENTER, &found);
	if (!found)
		memset(((char *) entry) + sizeof(Oid), 0, sizeof(MaintainView) - sizeof(Oid));
	return entry;
}

/*
 * Valid and locked, or loaded again.  Planning takes the locks that lock() would
 * take, so what was planned in this transaction needs no second look.
 */
void
tm_maintain_prepare(MaintainView *entry, const MetaView *view)
{
	AcceptInvalidationMessages();
	if (entry->valid && entry->merge != NULL && entry->plan != NULL &&
		tm_partial_plan_lock(entry->plan) && entry->valid)
		return;
	load_view(entry, view);
	entry->plan = tm_partial_plan_create(tm_view_delta_query(entry->spec, VIEW_ROWS_ALL, false),
										 entry->cxt);
}

/*
 * The entry must not be loaded again, nor progress be read twice and written
 * twice, while a plan of it runs.
 */
static void
check_not_busy(const MaintainView *entry, const MetaView *view)
{
	if (entry->busy)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("continuous view \"%s\" is being maintained", get_rel_name(view->view)),
				 errdetail("A function or trigger that its maintenance runs cannot change it.")));
}

void
tm_maintain_run(const MetaView *view, MaintainStep step, void *arg)
{
	MaintainView *entry = tm_maintain_get(view);
	ViewIdentity identity;

	check_not_busy(entry, view);
	tm_view_enter(view, &identity);
	entry->busy = true;
	PG_TRY();
	{
		tm_maintain_prepare(entry, view);
		step(entry, view, arg);
	}
	PG_FINALLY();
	{
		entry->busy = false;
	}
	PG_END_TRY();
	tm_view_leave(&identity);
}

/* ---- work ---- */

/*
 * May one of the rows be late for a window of the view?  Or does one lie so far
 * in the future that its window may end beyond the last timestamp: that is an
 * error wherever the end is computed, in closing and verify(), so the view has
 * to fail at the row, whatever else is in the batch.
 */
#define FAR_FUTURE (END_TIMESTAMP / 2)

static bool
has_late_candidate(const ViewSpec *spec, const BatchRows *batch)
{
	if (!VIEW_CLOSES(&spec->options))
		return false;
	for (int i = 0; i < batch->rows->nrows; i++)
	{
		TimestampTz time = batch->rows->info[i].event_time;

		if (TIMESTAMP_IS_NOBEGIN(time))
			continue;
		if (time > FAR_FUTURE ||
			!tm_window_is_row_on_time(time, spec->options.allowed_lateness,
									  Max(batch->rows->info[i].watermark, batch->horizon)))
			return true;
	}
	return false;
}

/* The plan that leaves late rows out; made when it is first needed. */
static PartialPlan *
get_on_time_plan(MaintainView *entry)
{
	if (entry->on_time_plan == NULL || !tm_partial_plan_lock(entry->on_time_plan))
		entry->on_time_plan = tm_partial_plan_create(tm_view_delta_query(entry->spec, VIEW_ROWS_ON_TIME, false),
													 entry->cxt);
	return entry->on_time_plan;
}

static PartialPlan *
get_late_plan(MaintainView *entry)
{
	if (entry->late_plan == NULL || !tm_partial_plan_lock(entry->late_plan))
		entry->late_plan = tm_partial_plan_create(tm_view_late_query(entry->spec), entry->cxt);
	return entry->late_plan;
}

/* What a plan gives: as rows to be sorted, or in a store as it comes. */
static void
collect(MaintainView *entry, PartialPlan *plan, const BatchRows *batch, bool unsorted,
		Delta *delta)
{
	if (!unsorted)
	{
		delta->store = tm_partial_plan_run(plan, batch, &delta->tupdesc);
		return;
	}
	delta->rows = tm_delta_rows_create(entry->merge);
	(void) tm_partial_plan_send(plan, batch, tm_delta_rows_get_receiver(delta->rows));
}

/* The groups of some rows, as they are merged.  share: NULL = alone */
static Delta
run_plan(MaintainView *entry, PartialPlan *plan, ViewRows rows, const BatchRows *batch,
		 MaintainShare *share)
{
	bool		unsorted = entry->expand == NULL &&
	entry->spec->window.kind != VIEW_WINDOW_SESSION;
	Delta		delta = {0};

	if (share == NULL || !tm_share_run(share, entry, batch, &delta))
		collect(entry, plan, batch, unsorted, &delta);
	if (unsorted)
		tm_delta_rows_sort(delta.rows);
	else if (entry->expand != NULL)
		delta.store = tm_delta_expand_run(entry->expand, delta.store, rows, &delta.tupdesc);
	return delta;
}

static Delta
run_delta(MaintainView *entry, const BatchRows *batch, bool late, MaintainShare *share)
{
	Delta		delta;
	PartialPlan *plan = late ? get_on_time_plan(entry) : entry->plan;

	PushActiveSnapshot(GetTransactionSnapshot());
	delta = late ? run_plan(entry, plan, VIEW_ROWS_ON_TIME, batch, NULL) :
		run_plan(entry, plan, VIEW_ROWS_ALL, batch, share);
	PopActiveSnapshot();
	return delta;
}

/*
 * The caller holds the view's lock.  revise: groups of windows that are closed
 * already, so each gets another final row.
 */
static void
merge_delta(MaintainView *entry, const MetaView *view, Delta *delta, bool revise)
{
	const ContinuousOptions *options = &entry->spec->options;
	bool		notify = options->notify != NULL && options->emit == VIEW_EMIT_CHANGES;
	RowList		changed = {.cxt = CurrentMemoryContext};

	CommandCounterIncrement();
	/* in REPEATABLE READ too: what counts is the state as the lock finds it */
	PushActiveSnapshot(GetLatestSnapshot());
	(void) tm_delta_merge_run(entry->merge, delta, notify || revise ? &changed : NULL);
	PopActiveSnapshot();
	CommandCounterIncrement();
	if (changed.n > 0 && notify)
		tm_notify_changed(view, &changed);
	if (changed.n > 0 && revise)
		tm_emit_revisions(entry, view, &changed);
}

/*
 * What windows take no more rows.  A replayed row corrects closed windows too,
 * as long as the view shows them and has not said that they are final.
 */
static TimestampTz
get_horizon(const ViewSpec *spec, const MetaProgress *progress, bool replayed)
{
	if (!replayed || spec->options.emit != VIEW_EMIT_CHANGES)
		return progress->horizon;
	if (TIMESTAMP_IS_NOBEGIN(progress->pruned_until))
		return DT_NOBEGIN;
	return progress->pruned_until + spec->options.allowed_lateness;
}

/* Rows to apply. */
typedef struct ApplyRun
{
	BatchRows	batch;
	bool		replayed;
	MaintainShare *share;		/* or NULL */
} ApplyRun;

static bool
get_stored(const StreamRows *rows, int row, AttrNumber attno, Datum *value)
{
	size_t		cell = (size_t) row * rows->natts + attno - 1;

	if (attno > rows->natts || rows->isnull[cell])
		return false;
	*value = rows->values[cell];
	return true;
}

/*
 * Rows of a table are judged by what the table has: a BEFORE trigger may have
 * changed the columns that tell event time and position, and verify() reads them
 * there.
 */
static const StreamRows *
judge_as_stored(const ViewSpec *spec, const StreamRows *rows)
{
	StreamRows *result;

	if (spec->source_is_stream || rows->nrows == 0)
		return rows;
	result = palloc(sizeof(StreamRows));
	*result = *rows;
	result->info = palloc_extended(sizeof(StreamRowInfo) * rows->nrows, MCXT_ALLOC_HUGE);
	for (int i = 0; i < rows->nrows; i++)
	{
		StreamRowInfo *info = &result->info[i];
		Datum		value;

		*info = rows->info[i];
		info->event_time = get_stored(rows, i, spec->event_time, &value) ?
			DatumGetTimestampTz(value) : DT_NOBEGIN;
		info->watermark = get_stored(rows, i, spec->watermark_att, &value) ?
			DatumGetTimestampTz(value) : DT_NOBEGIN;
		if (get_stored(rows, i, spec->partition_att, &value))
			info->partition = DatumGetInt32(value);
		if (get_stored(rows, i, spec->offset_att, &value))
			info->offset = DatumGetInt64(value);
	}
	return result;
}

static void
apply_rows(MaintainView *entry, const MetaView *view, void *arg)
{
	BatchRows  *batch = &((ApplyRun *) arg)->batch;
	bool		replayed = ((ApplyRun *) arg)->replayed;
	MaintainShare *share = ((ApplyRun *) arg)->share;
	bool		closes = VIEW_CLOSES(&entry->spec->options);
	MetaProgress progress;
	Delta		delta;
	bool		late;

	if (closes)
	{
		batch->rows = judge_as_stored(entry->spec, batch->rows);
		tm_meta_progress_get(view->state_table, &progress);
		batch->horizon = get_horizon(entry->spec, &progress, replayed);
	}
	late = has_late_candidate(entry->spec, batch);
	delta = run_delta(entry, batch, late, share);
	TM_FAULT("merge");
	tm_meta_view_lock(view->state_table);
	if (closes)
	{
		/* another worker may have closed windows meanwhile */
		tm_meta_progress_get(view->state_table, &progress);
		if (get_horizon(entry->spec, &progress, replayed) > batch->horizon)
		{
			batch->horizon = get_horizon(entry->spec, &progress, replayed);
			late = has_late_candidate(entry->spec, batch);
			tm_delta_end(&delta);
			delta = run_delta(entry, batch, late, NULL);
		}
	}
	merge_delta(entry, view, &delta, false);
	tm_delta_end(&delta);
	if (late)
	{
		progress.late += tm_late_rows_record(view, entry->spec, get_late_plan(entry), batch);
		tm_meta_progress_put(view->state_table, &progress);
	}
}

static void
apply(const MetaView *view, const StreamRows *rows, bool replayed, MaintainShare *share)
{
	int64		started = tm_clock_monotonic_us();
	ApplyRun	run = {{.rows = rows,.horizon = DT_NOBEGIN}, replayed, share};

	tm_maintain_run(view, apply_rows, &run);
	tm_meta_progress_count(view->state_table, rows->nrows, tm_clock_monotonic_us() - started);
}

void
tm_maintain_apply(const MetaView *view, const StreamRows *rows, MaintainShare *share)
{
	apply(view, rows, false, share);
}

void
tm_maintain_replay(const MetaView *view, const StreamRows *rows)
{
	apply(view, rows, true, NULL);
}

/* The caller holds the view's lock. */
static void
record_late_history(MaintainView *entry, const MetaView *view)
{
	MetaProgress progress;
	int64		late = tm_late_rows_record_source(view, entry->spec, get_late_plan(entry));

	if (late == 0)
		return;
	tm_meta_progress_get(view->state_table, &progress);
	progress.late += late;
	tm_meta_progress_put(view->state_table, &progress);
}

static void
apply_source(MaintainView *entry, const MetaView *view, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark history",
											  ALLOCSET_DEFAULT_SIZES);
	ViewRows	rows;
	PartialPlan *plan;
	Delta		delta;

	rows = VIEW_CLOSES(&entry->spec->options) ? VIEW_ROWS_ON_TIME : VIEW_ROWS_ALL;
	plan = tm_partial_plan_create(tm_view_delta_query(entry->spec, rows, true), cxt);
	delta = run_plan(entry, plan, rows, NULL, NULL);
	TM_FAULT("merge");
	tm_meta_view_lock(view->state_table);
	merge_delta(entry, view, &delta, false);
	tm_delta_end(&delta);
	MemoryContextDelete(cxt);
	if (VIEW_CLOSES(&entry->spec->options))
		record_late_history(entry, view);
}

void
tm_maintain_apply_source(const MetaView *view)
{
	tm_maintain_run(view, apply_source, NULL);
}

static void
add_relation(TruncateStmt *stmt, Oid table)
{
	if (OidIsValid(table))
		stmt->relations = lappend(stmt->relations,
								  makeRangeVar(get_namespace_name(get_rel_namespace(table)),
											   get_rel_name(table), -1));
}

void
tm_maintain_merge_admitted(MaintainView *entry, const MetaView *view, const BatchRows *batch,
						   bool closed)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark admitted",
											  ALLOCSET_DEFAULT_SIZES);
	PartialPlan *plan;
	Delta		delta = {0};

	plan = tm_partial_plan_create(tm_view_delta_query(entry->spec, VIEW_ROWS_ADMITTED, false), cxt);
	PushActiveSnapshot(GetLatestSnapshot());
	collect(entry, plan, batch, entry->spec->window.kind != VIEW_WINDOW_SESSION, &delta);
	PopActiveSnapshot();
	if (delta.rows != NULL)
		tm_delta_rows_sort(delta.rows);
	merge_delta(entry, view, &delta, closed && entry->spec->options.emit == VIEW_EMIT_REVISIONS);
	tm_delta_end(&delta);
	MemoryContextDelete(cxt);
}

void
tm_maintain_clear(const MetaView *view)
{
	TruncateStmt *stmt = makeNode(TruncateStmt);
	MetaIdentity identity;

	check_not_busy(tm_maintain_get(view), view);
	tm_meta_view_lock(view->state_table);
	tm_meta_enter_as(tm_view_get_owner(view), &identity);
	add_relation(stmt, view->state_table);
	add_relation(stmt, view->final_table);
	add_relation(stmt, view->late_table);
	stmt->behavior = DROP_RESTRICT;
	ExecuteTruncate(stmt);
	tm_meta_leave(&identity);
	tm_meta_progress_reset(view->state_table);
	CommandCounterIncrement();
}

static Bitmapset *
all_columns(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Bitmapset  *result = NULL;

	for (int i = 1; i <= RelationGetDescr(rel)->natts; i++)
		result = bms_add_member(result, i - FirstLowInvalidHeapAttributeNumber);
	table_close(rel, NoLock);
	return result;
}

/* Errors that are not the view's. */
static bool
is_interruption(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK);
}

/*
 * Only tm_maintain_apply() may fail for a view that can no longer be loaded:
 * its caller knows what to do with one that fails.
 */
Bitmapset *
tm_maintain_needed(const MetaView *view)
{
	MaintainView *entry = tm_maintain_get(view);
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Bitmapset  *volatile result = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		ViewIdentity identity;

		check_not_busy(entry, view);
		tm_view_enter(view, &identity);
		tm_maintain_prepare(entry, view);
		tm_view_leave(&identity);
		result = entry->spec->options.late_table ? all_columns(view->source) :
			entry->spec->needed;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (is_interruption(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return result ? result : all_columns(view->source);
}
