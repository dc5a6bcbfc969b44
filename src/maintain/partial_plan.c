/*
 * partial_plan.c
 *	  A query whose aggregates stop at their transition states, planned by the
 *	  ordinary planner and run by the ordinary executor.
 *
 * The delta query's Aggrefs say AGGSPLIT_INITIAL_SERIAL and have the state's
 * type from the start; the planner knows that split only from parallel plans,
 * so create_upper_paths_hook sets it in the one place the planner would have
 * left it plain, the AggPath.  Paths that know nothing of the split (parallel,
 * partitionwise, min/max by index) would give wrong results and are dropped.
 *
 * A plan is kept until an invalidation touches something it depends on.
 *
 * Runs in: every process that maintains views.
 * Memory: a plan lives in a context of its own below its creator's; a run
 * leaves nothing behind but the tuplestore.
 * Locks: lock() takes those that the plan's range table names.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planner.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

struct PartialPlan
{
	dlist_node	node;			/* in all_plans */
	PlannedStmt *stmt;
	bool		valid;
	MemoryContext cxt;
	MemoryContextCallback on_delete;
};

static dlist_head all_plans = DLIST_STATIC_INIT(all_plans);
static bool callbacks_registered = false;

/* ---- invalidation ---- */

static void
on_relcache(Datum arg, Oid relid)
{
	dlist_iter	iter;

	dlist_foreach(iter, &all_plans)
	{
		PartialPlan *plan = dlist_container(PartialPlan, node, iter.cur);

		if (relid == InvalidOid || list_member_oid(plan->stmt->relationOids, relid))
			plan->valid = false;
	}
}

/* A function, type or operator changed: rare enough to drop all plans. */
static void
on_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	dlist_iter	iter;

	dlist_foreach(iter, &all_plans)
		dlist_container(PartialPlan, node, iter.cur)->valid = false;
}

static void
register_callbacks(void)
{
	static const int caches[] = {PROCOID, TYPEOID, OPEROID, AGGFNOID, AUTHOID};

	if (callbacks_registered)
		return;
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	for (int i = 0; i < (int) lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], on_syscache, (Datum) 0);
	callbacks_registered = true;
}

static void
forget_plan(void *arg)
{
	dlist_delete(&((PartialPlan *) arg)->node);
}

/* ---- planning ---- */

static bool
has_partial_aggref(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
		return ((Aggref *) node)->aggsplit == AGGSPLIT_INITIAL_SERIAL;
	return expression_tree_walker(node, has_partial_aggref, context);
}

void
tm_maintain_create_upper_paths(PlannerInfo *root, UpperRelationKind stage,
							   RelOptInfo *output_rel)
{
	List	   *kept = NIL;
	ListCell   *lc;

	if (stage != UPPERREL_GROUP_AGG || !root->parse->hasAggs ||
		!has_partial_aggref((Node *) root->processed_tlist, NULL))
		return;
	foreach(lc, output_rel->pathlist)
	{
		AggPath    *path = lfirst(lc);

		if (!IsA(path, AggPath) || path->aggsplit != AGGSPLIT_SIMPLE)
			continue;
		path->aggsplit = AGGSPLIT_INITIAL_SERIAL;
		kept = lappend(kept, path);
	}
	if (kept == NIL)
		elog(ERROR, "no plan for partial aggregation");
	output_rel->pathlist = kept;
	output_rel->partial_pathlist = NIL;
}

/* Views among the joined tables are expanded, row security is applied. */
static Query *
rewrite(Query *query)
{
	List	   *queries;

	AcquireRewriteLocks(query, true, false);
	queries = QueryRewrite(query);
	if (list_length(queries) != 1)
		elog(ERROR, "unexpected rewrite result");
	return linitial_node(Query, queries);
}

static PlannedStmt *
make_plan(Query *query)
{
	int			level = NewGUCNestLevel();
	PlannedStmt *stmt;

	(void) set_config_option("enable_partitionwise_aggregate", "off",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	stmt = pg_plan_query(rewrite(query),
						 "tidemark delta", 0, NULL);
	AtEOXact_GUC(false, level);
	return stmt;
}

PartialPlan *
tm_partial_plan_create(Query *query, MemoryContext parent)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "tidemark partial plan",
											  ALLOCSET_SMALL_SIZES);
	PlannedStmt *stmt = make_plan(query);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	PartialPlan *plan = palloc0(sizeof(PartialPlan));

	register_callbacks();
	plan->cxt = cxt;
	plan->stmt = copyObject(stmt);
	plan->valid = true;
	plan->on_delete.func = forget_plan;
	plan->on_delete.arg = plan;
	dlist_push_tail(&all_plans, &plan->node);
	MemoryContextRegisterResetCallback(cxt, &plan->on_delete);
	MemoryContextSwitchTo(before);
	return plan;
}

bool
tm_partial_plan_lock(PartialPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->stmt->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION)
			LockRelationOid(rte->relid, rte->rellockmode);
	}
	/* taking the locks has processed what was invalidated before them */
	AcceptInvalidationMessages();
	return plan->valid;
}

/* Run a plan whose batch_rows() are those of the batch. */
static TupleDesc
run_plan(PlannedStmt *stmt, const BatchRows *batch, DestReceiver *dest)
{
	BatchSource source = {batch, stmt};
	BatchSource before;
	QueryDesc  *desc;
	TupleDesc volatile tupdesc = NULL;

	desc = tm_create_query_desc(stmt, "tidemark delta", GetActiveSnapshot(), dest);
	before = tm_batch_scan_set_source(source);
	PG_TRY();
	{
		ExecutorStart(desc, 0);
		tm_executor_run(desc, ForwardScanDirection, 0);
		tupdesc = CreateTupleDescCopy(desc->tupDesc);
		ExecutorFinish(desc);
		ExecutorEnd(desc);
	}
	PG_FINALLY();
	{
		(void) tm_batch_scan_set_source(before);
	}
	PG_END_TRY();
	FreeQueryDesc(desc);
	return tupdesc;
}

Tuplestorestate *
tm_partial_plan_run(PartialPlan *plan, const BatchRows *batch, TupleDesc *tupdesc)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);

	SetTuplestoreDestReceiverParams(dest, store, CurrentMemoryContext, false, NULL, NULL);
	*tupdesc = run_plan(plan->stmt, batch, dest);
	dest->rDestroy(dest);
	return store;
}

TupleDesc
tm_partial_plan_send(PartialPlan *plan, const BatchRows *batch, DestReceiver *dest)
{
	return run_plan(plan->stmt, batch, dest);
}

TupleDesc
tm_maintain_run_plan(PlannedStmt *stmt, const MaintainChunks *chunks, DestReceiver *dest)
{
	BatchRows	batch = {.chunks = chunks,.horizon = DT_NOBEGIN};

	return run_plan(stmt, chunks ? &batch : NULL, dest);
}
