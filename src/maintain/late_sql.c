/*
 * late_sql.c
 *	  admit_late(), and what is behind the view tidemark.late_rows: reading and
 *	  deleting.
 *
 * Late rows are message content, in one table per view that belongs to the
 * view's owner.  They are for him and for those who may read all of the source;
 * reading the view alone is not enough, it shows less.
 *
 * Runs in: backends.
 * Locks: admit_late() takes those of a batch: the source, so that no DDL is
 * under way, then the view.  Reading does not wait: a table that somebody has
 * locked is left out, with a WARNING.  Deleting waits for admit_late().
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

PG_FUNCTION_INFO_V1(tm_admit_late);
PG_FUNCTION_INFO_V1(tm_late_rows);
PG_FUNCTION_INFO_V1(tm_delete_late_row);

/* ---- admit_late() ---- */

static void
check_state(const MetaView *view)
{
	tm_view_require_live(view);
	if (!OidIsValid(view->late_table))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" keeps no late rows",
						get_rel_name(view->view)),
				 errhint("ALTER MATERIALIZED VIEW ... SET (tidemark.late = 'table') lets it keep those to come.")));
}

/* admit_late(view) */
Datum
tm_admit_late(PG_FUNCTION_ARGS)
{
	MetaView   *view = tm_view_require_owned(PG_GETARG_OID(0));
	MetaProgress progress;
	int64		admitted;

	LockRelationOid(view->source, RowExclusiveLock);
	tm_meta_view_lock(view->state_table);
	view = tm_view_require_kept(tm_meta_view_find_by_state(view->state_table));
	check_state(view);
	admitted = tm_maintain_admit(view);
	tm_meta_progress_get(view->state_table, &progress);
	tm_maintain_notify(view, progress.horizon);
	PG_RETURN_INT64(admitted);
}

/* ---- late rows ---- */

/* Not pg_monitor: this is what messages say. */
static bool
may_read(const MetaView *view)
{
	bool		missing = false;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view->view)))
		return false;
	if (object_ownercheck(RelationRelationId, view->view, GetUserId()))
		return true;
	return pg_class_aclcheck_ext(view->source, GetUserId(), ACL_SELECT,
								 &missing) == ACLCHECK_OK && !missing &&
		check_enable_rls(view->source, GetUserId(), true) != RLS_ENABLED;
}

/* Locked against DROP; false when it cannot be had at once, or is gone. */
static bool
lock_table(const MetaView *view)
{
	if (!OidIsValid(view->late_table))
		return false;
	if (!ConditionalLockRelationOid(view->late_table, AccessShareLock))
	{
		ereport(WARNING,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("late rows of continuous view \"%s\" are left out", get_rel_name(view->view)),
				 errdetail("Another transaction has locked their table.")));
		return false;
	}
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view->late_table));
}

/* A window of times without zone is one in UTC. */
static char *
window_column(const MetaView *view, const char *name)
{
	AttrNumber	attno = get_attnum(view->late_table, name);

	return get_atttype(view->late_table, attno) == TIMESTAMPOID ?
		psprintf("%s AT TIME ZONE 'UTC'", name) : pstrdup(name);
}

/* Copy the table as the snapshot of the running query sees it. */
static void
read_table(const MetaView *view, Tuplestorestate *store)
{
	/* the casts are for those who change its columns */
	char	   *sql = psprintf("SELECT (%s)::timestamptz, (%s)::timestamptz, partition::integer, kafka_offset::bigint, "
							   "event_time::timestamptz, watermark::timestamptz, \"row\"::jsonb, "
							   "recorded_at::timestamptz FROM tidemark_state.%s",
							   window_column(view, "window_start"), window_column(view, "window_end"),
							   quote_identifier(get_rel_name(view->late_table)));

	(void) tm_meta_read_as(tm_view_get_owner(view), sql, true, store);
}

/* late_rows(state_table): none for those who may not read them */
Datum
tm_late_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MetaView   *view = tm_meta_view_find_seen(PG_GETARG_OID(0));

	InitMaterializedSRF(fcinfo, 0);
	if (view != NULL && may_read(view) && lock_table(view))
		read_table(view, result->setResult);
	return (Datum) 0;
}

/* ---- DELETE FROM tidemark.late_rows ---- */

#define DELETE_NARGS 5

/*
 * Lock the rows that are this one; their TIDs, palloc'd.  (The guard of
 * view_guard.c lets nobody write the table through the executor.)
 */
static void
lock_same_rows(const MetaView *view, const TriggerData *trigdata, RowList *rows)
{
	static const Oid argtypes[DELETE_NARGS] = {INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	JSONBOID};
	static const char *const columns[DELETE_NARGS] = {"partition", "kafka_offset", "window_start",
	"window_end", "row"};
	Datum		values[DELETE_NARGS];
	char		nulls[DELETE_NARGS];
	char	   *sql = psprintf("SELECT ctid FROM tidemark_state.%s WHERE partition = $1 AND kafka_offset = $2 "
							   "AND %s IS NOT DISTINCT FROM $3 AND %s IS NOT DISTINCT FROM $4 AND \"row\" = $5 FOR UPDATE",
							   quote_identifier(get_rel_name(view->late_table)),
							   window_column(view, "window_start"), window_column(view, "window_end"));
	bool		isnull;

	for (int i = 0; i < DELETE_NARGS; i++)
	{
		values[i] = tm_meta_deleted_value(trigdata, columns[i], &isnull);
		nulls[i] = isnull ? 'n' : ' ';
	}
	if (SPI_execute_with_args(sql, DELETE_NARGS, (Oid *) argtypes, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not find a late row");
	for (uint64 i = 0; i < SPI_processed; i++)
		tm_row_list_add(rows, (ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i],
																		  SPI_tuptable->tupdesc, 1, &isnull)));
}

/* How many rows that was. */
static int
delete_same_rows(const MetaView *view, const TriggerData *trigdata)
{
	RowList		rows = {.cxt = CurrentMemoryContext};
	MetaIdentity identity;
	Relation	rel;

	rel = try_table_open(view->late_table, RowExclusiveLock);
	if (rel == NULL)
		return 0;
	tm_meta_enter_as(tm_view_get_owner(view), &identity);
	SPI_connect();
	lock_same_rows(view, trigdata, &rows);
	for (int i = 0; i < rows.n; i++)
		simple_table_tuple_delete(rel, &rows.tids[i], GetActiveSnapshot());
	SPI_finish();
	tm_meta_leave(&identity);
	table_close(rel, NoLock);
	return rows.n;
}

/* INSTEAD OF DELETE ON tidemark.late_rows */
Datum
tm_delete_late_row(PG_FUNCTION_ARGS)
{
	const TriggerData *trigdata = tm_meta_deletion(fcinfo);
	MetaView   *view;

	view = tm_view_require_owned(DatumGetObjectId(tm_meta_deleted_value(trigdata, "view", NULL)));
	/* NULL: somebody else was faster, the row does not count */
	if (!OidIsValid(view->late_table) || delete_same_rows(view, trigdata) == 0)
		return PointerGetDatum(NULL);
	return PointerGetDatum(trigdata->tg_trigtuple);
}
