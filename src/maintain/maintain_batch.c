/*
 * maintain_batch.c
 *	  What a process keeps about a view, and the steps by which rows get into it.
 *
 * What is known about a view (spec, plan, merge) is kept per process until the
 * relcache says that one of its relations changed.  What is gone is freed at the
 * beginning of a later transaction: before anybody has got an entry, so that
 * none is freed that is in use.
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
#include "nodes/makefuncs.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/fault.h"
#include "maintain/maintain_internal.h"

static HTAB *views = NULL;
static bool any_invalid = false;	/* entries that nobody has looked at since */
static bool handed_out = false; /* an entry, in this transaction */
static int64 last_load = 0;

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
		{
			entry->valid = false;
			any_invalid = true;
		}
}

static void
on_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	on_relcache(arg, InvalidOid);
}

static void
on_transaction_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PARALLEL_PRE_COMMIT &&
		event != XACT_EVENT_PRE_PREPARE)
		handed_out = false;
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
	RegisterXactCallback(on_transaction_end, NULL);
}

/* Back to an entry that knows nothing of its view. */
static void
unload_view(MaintainView *entry)
{
	MaintainView unloaded = {.state_table = entry->state_table,.busy = entry->busy};

	if (entry->cxt != NULL)
		MemoryContextDelete(entry->cxt);
	if (entry->shape != NULL)
		tm_share_release_shape(entry->shape);
	*entry = unloaded;
}

void
tm_maintain_forget_dropped(void)
{
	HASH_SEQ_STATUS status;
	MaintainView *entry;

	if (!any_invalid || handed_out)
		return;
	any_invalid = false;
	hash_seq_init(&status, views);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->valid || entry->busy ||
			SearchSysCacheExists1(RELOID, ObjectIdGetDatum(entry->state_table)))
			continue;
		unload_view(entry);
		(void) hash_search(views, &entry->state_table, HASH_REMOVE, NULL);
	}
}

/* The states in the table must be what the aggregates make today. */
static void
check_states(const MetaView *view, const ViewSpec *spec)
{
	tm_view_check_state_columns(view, spec);
	if (!tm_view_has_current_states(view, spec))
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

	unload_view(entry);
	entry->load = ++last_load;
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
	tm_maintain_forget_dropped();
	handed_out = true;
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

void
tm_maintain_check_not_busy(const MaintainView *entry, const MetaView *view)
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

	tm_maintain_check_not_busy(entry, view);
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

PartialPlan *
tm_maintain_get_late_plan(MaintainView *entry)
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

Delta
tm_maintain_run_delta(MaintainView *entry, PartialPlan *plan, ViewRows rows, const BatchRows *batch,
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

void
tm_maintain_merge_delta(MaintainView *entry, const MetaView *view, Delta *delta, bool revise)
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

/* The caller holds the view's lock. */
static void
record_late_history(MaintainView *entry, const MetaView *view)
{
	MetaProgress progress;
	int64		late = tm_late_rows_record_source(view, entry->spec, tm_maintain_get_late_plan(entry));

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
	delta = tm_maintain_run_delta(entry, plan, rows, NULL, NULL);
	TM_FAULT("merge");
	tm_meta_view_lock(view->state_table);
	tm_maintain_merge_delta(entry, view, &delta, false);
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
	tm_maintain_merge_delta(entry, view, &delta, closed && entry->spec->options.emit == VIEW_EMIT_REVISIONS);
	tm_delta_end(&delta);
	MemoryContextDelete(cxt);
}

void
tm_maintain_clear(const MetaView *view)
{
	TruncateStmt *stmt = makeNode(TruncateStmt);
	MetaIdentity identity;

	tm_maintain_check_not_busy(tm_maintain_get(view), view);
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

		tm_maintain_check_not_busy(entry, view);
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
