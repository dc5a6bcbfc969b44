/*
 * verify_sql.c
 *	  verify(): is a continuous view equal to its own query run as batch?
 *
 * Everything about the view runs as its owner in a security-restricted
 * operation and under the view's settings, because expressions, equality and
 * output functions may be anybody's.
 *
 * Runs in: backends.
 * Locks: AccessShareLock on source and state table before the snapshot is
 * taken, so that no rebuild of the view (which truncates the state table) comes
 * between.
 */
#include "postgres.h"

#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "maintain/maintain.h"
#include "verify/verify_internal.h"

PG_FUNCTION_INFO_V1(tm_verify);

static void
find_range(const MetaView *view, const ViewSpec *spec, const TimestampTz *since,
		   VerifyRange *range)
{
	MetaProgress progress;

	range->since = since;
	range->pruned_until = range->closed_until = DT_NOBEGIN;
	if (since != NULL && tm_view_find_window_start(spec) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("continuous view \"%s\" is not grouped by window_start",
						get_rel_name(view->view)),
				 errhint("Without since all groups are compared.")));
	if (!VIEW_CLOSES(&spec->options))
		return;
	tm_meta_progress_see(view->state_table, &progress);
	range->pruned_until = tm_maintain_pruned_until(spec, &progress);
	range->closed_until = progress.closed_until;
}

/* Both sides, as the view's owner. */
static void
compare_sides(const MetaView *view, const TimestampTz *since,
			  ReturnSetInfo *result)
{
	ViewSpec   *spec = tm_view_load_spec(view);
	ViewRemoval *removal;
	Tuplestorestate *kept = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *store = CreateDestReceiver(DestTuplestore);
	DestReceiver *receiver;
	TupleDesc	tupdesc;
	int64		left_out;
	VerifyRange range;

	tm_view_check_state_columns(view, spec);
	removal = tm_view_find_removal(view, spec);
	find_range(view, spec, since, &range);
	SetTuplestoreDestReceiverParams(store, kept, CurrentMemoryContext, false,
									NULL, NULL);
	tupdesc = tm_verify_run_kept(view, spec, &range, store);
	store->rDestroy(store);
	receiver = tm_verify_compare_create(spec, removal, kept, tupdesc, result);
	tm_verify_run_batch(view, spec, &range, receiver);
	left_out = tm_verify_compare_left_out(receiver);
	receiver->rDestroy(receiver);
	tuplestore_end(kept);
	if (left_out > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld group of continuous view \"%s\" has lost raw rows and was left out",
							   "%lld groups of continuous view \"%s\" have lost raw rows and were left out",
							   left_out, (long long) left_out, get_rel_name(view->view)),
				 errdetail("%s", removal->description)));
}

/* verify(view, since) */
Datum
tm_verify(PG_FUNCTION_ARGS)
{
	TimestampTz since = PG_ARGISNULL(1) ? 0 : PG_GETARG_TIMESTAMPTZ(1);
	MetaView   *view;
	ViewIdentity identity;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("view cannot be null")));
	view = tm_view_require_owned(PG_GETARG_OID(0));
	InitMaterializedSRF(fcinfo, 0);

	LockRelationOid(view->source, AccessShareLock);
	LockRelationOid(view->state_table, AccessShareLock);
	if (OidIsValid(view->final_table))
		LockRelationOid(view->final_table, AccessShareLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	view = tm_view_require_kept(tm_meta_view_find_seen(view->state_table));
	/* only a view that has all its rows, and takes in new ones, can be equal */
	tm_view_require_live(view);
	tm_view_enter(view, &identity);
	compare_sides(view, PG_ARGISNULL(1) ? NULL : &since,
				  (ReturnSetInfo *) fcinfo->resultinfo);
	tm_view_leave(&identity);
	PopActiveSnapshot();
	return (Datum) 0;
}
