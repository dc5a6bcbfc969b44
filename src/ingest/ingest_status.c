/*
 * ingest_status.c
 *	  What the monitoring views cannot ask PostgreSQL in plain SQL: things that
 *	  core's functions would wait for, or show to pg_monitor only.
 *
 * Who watches a server must not be stopped by what he wants to find: nothing
 * here waits for a lock.  What is locked by somebody is NULL.
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "base/compat.h"
#include "ingest/ingest_internal.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(tm_is_ours);
PG_FUNCTION_INFO_V1(tm_view_definition);
PG_FUNCTION_INFO_V1(tm_relation_bytes);
PG_FUNCTION_INFO_V1(tm_relation_rows);
PG_FUNCTION_INFO_V1(tm_worker_wait_text);

/* is_ours(system_identifier, database): not restored, not a copy */
Datum
tm_is_ours(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(tm_meta_stamp_is_ours(PG_GETARG_INT64(0), PG_GETARG_OID(1)));
}

/* ---- definition of a view ---- */

/*
 * Lock the relations of a query, as pg_get_querydef() is going to do; stop (true)
 * at the first that cannot be had at once.
 */
static bool
lock_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		return rte->rtekind == RTE_RELATION &&
			!ConditionalLockRelationOid(rte->relid, AccessShareLock);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, lock_walker, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, lock_walker, context);
}

/*
 * view_definition(view): its query as text.  Not by pg_get_viewdef(), which asks
 * the catalogs in SQL, with the operators that the caller's search_path has.
 */
Datum
tm_view_definition(PG_FUNCTION_ARGS)
{
	Oid			view = PG_GETARG_OID(0);
	Query	   *query;

	if (!ConditionalLockRelationOid(view, AccessShareLock))
		PG_RETURN_NULL();
	if (get_rel_relkind(view) != RELKIND_VIEW)
		PG_RETURN_NULL();
	query = tm_view_get_query(view);
	if (lock_walker((Node *) query, NULL))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s;", pg_get_querydef(query, true))));
}

/* ---- size of a relation ---- */

/* NULL when it cannot be had at once, or is gone. */
static Relation
open_at_once(Oid relid)
{
	Relation	rel;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return NULL;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		UnlockRelationOid(relid, AccessShareLock);
	return rel;
}

/* relation_bytes(relation): as pg_total_relation_size() */
Datum
tm_relation_bytes(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel = open_at_once(relid);
	List	   *indexes;
	List	   *locked = NIL;
	ListCell   *lc;
	Datum		bytes = (Datum) 0;

	if (rel == NULL)
		PG_RETURN_NULL();
	indexes = RelationGetIndexList(rel);
	foreach(lc, indexes)
	{
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			break;
		locked = lappend_oid(locked, lfirst_oid(lc));
	}
	if (lc == NULL)
		bytes = DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(relid));
	foreach(lc, locked)
		UnlockRelationOid(lfirst_oid(lc), AccessShareLock);
	relation_close(rel, AccessShareLock);
	if (list_length(locked) < list_length(indexes))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(bytes);
}

/*
 * relation_rows(relation): the planner's estimate, which goes by pages and the
 * width of rows until there are statistics.
 */
Datum
tm_relation_rows(PG_FUNCTION_ARGS)
{
	Relation	rel = open_at_once(PG_GETARG_OID(0));
	BlockNumber blocks;
	BlockNumber pages = 0;
	double		rows = 0;
	double		visible;

	if (rel == NULL)
		PG_RETURN_NULL();
	blocks = rel->rd_rel->relkind == RELKIND_RELATION ? RelationGetNumberOfBlocks(rel) : 0;
	if (blocks > 0)
		estimate_rel_size(rel, NULL, &pages, &rows, &visible);
	/* it takes a small table for one of ten pages */
	if (pages > blocks)
		rows = rows * blocks / pages;
	relation_close(rel, AccessShareLock);
	PG_RETURN_INT64((int64) rows);
}

/* ---- what a worker waits for ---- */

static char *
describe_wait(const WorkerInfo *info, uint32 wait_event_info)
{
	const char *type = pgstat_get_wait_event_type(wait_event_info);
	const char *event = pgstat_get_wait_event(wait_event_info);

	if (type == NULL)
		return NULL;
	if (strcmp(type, "Lock") == 0)
		return psprintf("waiting for lock (%s)", event);
	if (strcmp(type, "Extension") == 0)
		return pstrdup(info->role == WORKER_SCHEDULER ? "waiting for work" :
					   info->phase == WORKER_PHASE_POLL ? "waiting for messages" : "waiting");
	return psprintf("waiting for %s (%s)", event, type);
}

/*
 * worker_wait(pid): in words, what a process of tidemark in this database waits
 * for; NULL when it works.  pg_stat_activity says it to pg_monitor only.
 */
Datum
tm_worker_wait_text(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	int			count;
	WorkerInfo *infos = tm_worker_slot_list(MyDatabaseId, &count);

	for (int i = 0; i < count; i++)
	{
		PGPROC	   *proc;
		char	   *wait;

		if (infos[i].pid == 0 || infos[i].pid != pid)
			continue;
		proc = BackendPidGetProc(pid);
		wait = proc ? describe_wait(&infos[i], *(volatile uint32 *) &proc->wait_event_info) : NULL;
		if (wait != NULL)
			PG_RETURN_TEXT_P(cstring_to_text(wait));
	}
	PG_RETURN_NULL();
}
