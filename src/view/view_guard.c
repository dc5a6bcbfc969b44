/*
 * view_guard.c
 *	  Nobody but the engine writes the source or the state of a view.
 *
 * The check sits at executor start, where every INSERT, UPDATE, DELETE and
 * MERGE passes, whatever language it comes from, and where a write to the
 * visible view (which PostgreSQL rewrites into one to the state table) looks
 * like what it is.  COPY does not pass there; the utility hook asks.
 * (Rejected: triggers.  They show in \d, are dumped, and a statement trigger on
 * a partitioned table does not fire for writes to its partitions.)
 *
 * The engine itself stores rows and merges states below the executor, so it
 * needs no exemption, and neither do triggers that its writes fire get one.
 * Only closed windows are inserted through the executor, for the sake of the
 * user's triggers: exactly that plan is let through, once.
 *
 * Runs in: every backend.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_constraint.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "view/view_internal.h"

static const char *
visible_name(Oid relid)
{
	MetaView   *view = tm_meta_view_find_by_any(relid);

	return view ? get_rel_name(view->view) : get_rel_name(relid);
}

Oid
tm_view_find_guarded(Oid relid)
{
	ListCell   *lc;
	Oid			source = InvalidOid;
	List	   *ancestors;

	if (tm_meta_view_is_source(relid))
		return relid;
	if (!get_rel_relispartition(relid))
		return InvalidOid;
	ancestors = get_partition_ancestors(relid);
	foreach(lc, ancestors)
		if (tm_meta_view_is_source(lfirst_oid(lc)))
		source = lfirst_oid(lc);
	list_free(ancestors);
	return source;
}

void
tm_view_check_write(Oid relid)
{
	Oid			source;

	if (tm_meta_view_is_state(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change continuous view \"%s\"", visible_name(relid)),
				 errdetail("Its rows are maintained from its source.")));
	source = tm_view_find_guarded(relid);
	if (OidIsValid(source))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change table \"%s\" because a continuous view reads it",
						get_rel_name(source)),
				 errdetail("Only its ingest may write it, or the view would differ from its query."),
				 errhint("Old rows may be removed by dropping, detaching or truncating partitions of the table.")));
}

/*
 * Retention and rebuilds take rows away below the executor, where no foreign key
 * is asked.
 */
void
tm_view_check_constraint(Oid constraint)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	SnapshotData snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			referenced = InvalidOid;

	/* the row is of this command */
	InitDirtySnapshot(snapshot);
	ScanKeyInit(&key, Anum_pg_constraint_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(constraint));
	scan = systable_beginscan(rel, ConstraintOidIndexId, true, &snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		referenced = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (OidIsValid(referenced) && tm_meta_is_installed() && tm_meta_view_is_state(referenced))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("foreign keys to continuous view \"%s\" are not supported",
						visible_name(referenced)),
				 errdetail("Its rows come and go without them being asked.")));
}

static const PlannedStmt *allowed_plan = NULL;

void
tm_view_allow_plan(const PlannedStmt *plan)
{
	allowed_plan = plan;
}

void
tm_view_check_writes(PlannedStmt *plan)
{
	ListCell   *lc;

	if (plan == allowed_plan)
	{
		allowed_plan = NULL;
		return;
	}
	foreach(lc, plan->resultRelations)
		tm_view_check_write(rt_fetch(lfirst_int(lc), plan->rtable)->relid);
}
