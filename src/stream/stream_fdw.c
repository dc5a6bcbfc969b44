/*
 * stream_fdw.c
 *	  The foreign data wrapper tidemark_kafka: a SELECT reads the log from its
 *	  start, or from pushed-down bounds, to the end offsets at its start.
 *
 * Thin: planning here, conditions in stream_pushdown.c, reading in
 * stream_scan.c.  Planning and EXPLAIN never contact a broker, so the size of
 * the log is a constant to them, that of a log worth several processes.  What it
 * really is the leader of a parallel scan learns before its workers start: then
 * it launches as many as the messages are worth, maybe none.
 *
 * The path that is not parallel is parallel restricted: each participant would
 * read the whole log, up to an end of its own.  A stream whose messages cannot
 * be decoded in parallel mode (tm_stream_is_parallel_safe), or one with bounds,
 * takes the parallel mode away from the whole query: a bad message may need what
 * cannot be done there.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "catalog/pg_foreign_server.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "base/compat.h"
#include "stream/stream_internal.h"

/* What planning believes about every stream. */
#define DEFAULT_ROWS		100000
/* a connection and its questions: makes the planner scan once and keep */
#define STARTUP_COST		1000.0
/* to fetch and decode a message */
#define MESSAGE_COST		(10 * cpu_tuple_cost)
/* min_parallel_table_scan_size is in blocks; of a log only offsets are known */
#define MESSAGE_BYTES		128

/* Elements of the plan's fdw_private. */
enum PlanItem
{
	PLAN_CODES,					/* integers of tm_stream_pushdown_collect() */
	PLAN_NEEDED,				/* attribute numbers that are read; 0 = whole
								 * row */
	PLAN_USER,					/* OID whose rights the query uses, or
								 * InvalidOid */
};

typedef struct FdwScanState
{
	StreamOptions *options;
	StreamScan *scan;			/* NULL in EXPLAIN without ANALYZE */
	List	   *codes;
	List	   *states;			/* ExprStates of the conditions' values */
	bool		started;
	bool		in_worker;
} FdwScanState;

/* What planning of one relation carries from step to step. */
typedef struct FdwPlanState
{
	StreamOptions *options;
	List	   *exprs;
	List	   *codes;
} FdwPlanState;

PG_FUNCTION_INFO_V1(tm_stream_handler);

/* ---- planning ---- */

static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	FdwPlanState *plan = palloc0_object(FdwPlanState);

	plan->options = tm_stream_get_options(relid);
	tm_stream_pushdown_collect(plan->options, baserel, &plan->exprs, &plan->codes);
	baserel->fdw_private = plan;
	baserel->tuples = DEFAULT_ROWS;
	baserel->rows = clamp_row_est(DEFAULT_ROWS *
								  clauselist_selectivity(root, baserel->baserestrictinfo,
														 0, JOIN_INNER, NULL));
}

/* Attribute numbers that the query reads, as a list. */
static List *
list_needed(const RelOptInfo *baserel)
{
	Bitmapset  *attrs = NULL;
	List	   *needed = NIL;
	ListCell   *lc;
	int			i = -1;

	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid, &attrs);
	foreach(lc, baserel->baserestrictinfo)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause,
					   baserel->relid, &attrs);
	while ((i = bms_next_member(attrs, i)) >= 0)
		needed = lappend_int(needed, i + FirstLowInvalidHeapAttributeNumber);
	return needed;
}

/* Does the query read the watermark column?  Then partitions stay whole. */
static bool
needs_watermark(const FdwPlanState *plan, const List *needed)
{
	for (int i = 0; i < plan->options->ncolumns; i++)
	{
		const StreamColumn *column = &plan->options->columns[i];

		if (column->metadata == STREAM_META_WATERMARK)
			return list_member_int(needed, column->attnum) ||
				list_member_int(needed, 0);
	}
	return false;
}

static void
add_parallel_path(PlannerInfo *root, RelOptInfo *baserel, Cost run_cost, int npartitions)
{
	int			workers = max_parallel_workers_per_gather;
	double		participants;
	ForeignPath *path;

	if (!baserel->consider_parallel || !bms_is_empty(baserel->lateral_relids))
		return;
	if (npartitions > 0 && needs_watermark(baserel->fdw_private, list_needed(baserel)))
		workers = Min(workers, npartitions - 1);
	if (workers <= 0)
		return;

	/* the leader helps the less the more workers give it their rows */
	participants = workers;
	if (parallel_leader_participation)
		participants += Max(1.0 - 0.3 * workers, 0.0);
	path = tm_create_foreignscan_path(root, baserel,
									  clamp_row_est(baserel->rows / participants),
									  STARTUP_COST,
									  STARTUP_COST + run_cost / participants,
									  NIL, NULL, NIL);
	path->path.parallel_aware = true;
	path->path.parallel_workers = workers;
	add_partial_path(baserel, (Path *) path);
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	FdwPlanState *plan = baserel->fdw_private;
	ForeignPath *path;
	int			npartitions;
	double		messages;
	Cost		run_cost;

	messages = DEFAULT_ROWS *
		tm_stream_pushdown_guess(plan->codes, plan->exprs, &npartitions);
	run_cost = messages * (MESSAGE_COST + baserel->baserestrictcost.per_tuple) +
		baserel->rows * baserel->reltarget->cost.per_tuple;

	path = tm_create_foreignscan_path(root, baserel, baserel->rows,
									  STARTUP_COST, STARTUP_COST + run_cost,
									  NIL, baserel->lateral_relids, NIL);
	/* see the header */
	path->path.parallel_safe = false;
	add_path(baserel, (Path *) path);
	add_parallel_path(root, baserel, run_cost, npartitions);
}

static bool
is_parallel_safe(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	return tm_stream_find_bounds(rte->relid) == NULL &&
		tm_stream_is_parallel_safe(tm_stream_get_options(rte->relid));
}

static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid relid,
		 ForeignPath *best_path, List *tlist, List *scan_clauses,
		 Plan *outer_plan)
{
	FdwPlanState *plan = baserel->fdw_private;
	List	   *private;

	private = list_make3(plan->codes, list_needed(baserel),
						 list_make1_oid(baserel->userid));
	return make_foreignscan(tlist, extract_actual_clauses(scan_clauses, false),
							baserel->relid, plan->exprs, private, NIL, NIL,
							outer_plan);
}

static void
refuse_modify(PlannerInfo *root, CmdType operation, Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (operation == CMD_INSERT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot insert into stream \"%s\"", name),
				 errdetail("Producing messages is not supported yet."),
				 tm_stream_get_options(relid)->transport == STREAM_MANUAL ?
				 errhint("Use tidemark.inject().") : 0));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 operation == CMD_DELETE ?
			 errmsg("cannot delete from stream \"%s\"", name) :
			 errmsg("cannot update stream \"%s\"", name),
			 errdetail("The messages of a topic cannot be changed.")));
}

static List *
plan_modify(PlannerInfo *root, ModifyTable *plan, Index relation, int subplan)
{
	refuse_modify(root, plan->operation,
				  planner_rt_fetch(relation, root)->relid);
	return NIL;
}

/* ---- execution ---- */

static Bitmapset *
needed_attributes(List *attnums)
{
	Bitmapset  *needed = bms_make_singleton(TableOidAttributeNumber -
											FirstLowInvalidHeapAttributeNumber);
	ListCell   *lc;

	/* never empty: NULL would mean all columns, which a whole row does mean */
	foreach(lc, attnums)
	{
		if (lfirst_int(lc) == 0)
			return NULL;
		needed = bms_add_member(needed,
								lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber);
	}
	return needed;
}

static void
check_server_usage(Oid serverid, Oid userid)
{
	AclResult	result = object_aclcheck(ForeignServerRelationId, serverid,
										 userid, ACL_USAGE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER,
					   GetForeignServer(serverid)->servername);
}

static void
begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	FdwScanState *state = palloc0_object(FdwScanState);
	Relation	rel = node->ss.ss_currentRelation;
	Oid			userid = linitial_oid(list_nth(plan->fdw_private, PLAN_USER));

	node->fdw_state = state;
	state->options = tm_stream_get_options(RelationGetRelid(rel));
	state->codes = list_nth(plan->fdw_private, PLAN_CODES);

	/*
	 * Without parallel workers (see the header).  The planner has no way for
	 * a relation to say so; the executor reads this when it starts to run.
	 * Asked again, because a cached plan outlives a constraint of a domain.
	 */
	if (tm_stream_find_bounds(state->options->relid) != NULL ||
		!tm_stream_is_parallel_safe(state->options))
		node->ss.ps.state->es_plannedstmt->parallelModeNeeded = false;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	if (!OidIsValid(userid))
		userid = GetUserId();
	check_server_usage(state->options->serverid, userid);
	state->states = ExecInitExprList(plan->fdw_exprs, (PlanState *) node);
	state->scan = tm_stream_scan_create(state->options, RelationGetDescr(rel),
										needed_attributes(list_nth(plan->fdw_private,
																   PLAN_NEEDED)),
										userid);
}

static void
evaluate_range(ForeignScanState *node, StreamRange *range)
{
	FdwScanState *state = node->fdw_state;

	tm_stream_pushdown_evaluate(state->codes, state->states,
								node->ss.ps.ps_ExprContext, range);
}

static TupleTableSlot *
iterate_scan(ForeignScanState *node)
{
	FdwScanState *state = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	if (!state->started)
	{
		if (!tm_stream_scan_is_shared(state->scan))
		{
			StreamRange range;

			evaluate_range(node, &range);
			tm_stream_scan_start(state->scan, &range);
		}
		state->started = true;
	}

	ExecClearTuple(slot);
	(void) tm_stream_scan_next(state->scan, slot);
	return slot;
}

static void
rescan(ForeignScanState *node)
{
	FdwScanState *state = node->fdw_state;

	/* values of conditions may have changed: evaluated at the next row */
	state->started = false;
}

static void
end_scan(ForeignScanState *node)
{
	FdwScanState *state = node->fdw_state;

	if (state == NULL || state->scan == NULL)
		return;
	tm_stream_scan_shutdown(state->scan);
	if (!state->in_worker)
		tm_stream_scan_report(state->scan);
	tm_stream_scan_destroy(state->scan);
}

/* ---- parallel execution ---- */

/* Is a stream the only relation that the query reads? */
static bool
is_only_relation(EState *estate)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, estate->es_range_table)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relkind != RELKIND_VIEW)
			n++;
	}
	return n == 1;
}

/*
 * Launch no more workers than have something to do: a worker costs some ten
 * milliseconds, a client and its connections.  With other relations in the query
 * they may have more to do than this scan.
 */
static void
limit_workers(ForeignScanState *node, ParallelContext *pcxt, int participants)
{
	FdwScanState *state = node->fdw_state;

	if (!is_only_relation(node->ss.ps.state))
		return;
	if (participants <= 1)
	{
		ReinitializeParallelWorkers(pcxt, 0);
		tm_stream_scan_unshare(state->scan);
	}
	else
		ReinitializeParallelWorkers(pcxt, parallel_leader_participation ?
									participants - 1 : participants);
}

static Size
estimate_dsm(ForeignScanState *node, ParallelContext *pcxt)
{
	FdwScanState *state = node->fdw_state;
	StreamRange range;

	evaluate_range(node, &range);
	return tm_stream_scan_divide(state->scan, &range, pcxt->nworkers + 1,
								 (int64) min_parallel_table_scan_size *
								 (BLCKSZ / MESSAGE_BYTES));
}

static void
initialize_dsm(ForeignScanState *node, ParallelContext *pcxt, void *coordinate)
{
	FdwScanState *state = node->fdw_state;

	limit_workers(node, pcxt, tm_stream_scan_share(state->scan, coordinate));
}

static void
reinitialize_dsm(ForeignScanState *node, ParallelContext *pcxt, void *coordinate)
{
	FdwScanState *state = node->fdw_state;
	StreamRange range;

	evaluate_range(node, &range);
	limit_workers(node, pcxt,
				  tm_stream_scan_share_again(state->scan, coordinate, &range));
}

static void
initialize_worker(ForeignScanState *node, shm_toc *toc, void *coordinate)
{
	FdwScanState *state = node->fdw_state;

	state->in_worker = true;
	tm_stream_scan_attach(state->scan, coordinate, ParallelWorkerNumber);
}

static void
shutdown_scan(ForeignScanState *node)
{
	FdwScanState *state = node->fdw_state;

	if (state != NULL && state->scan != NULL)
		tm_stream_scan_shutdown(state->scan);
}

static void
explain_scan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	FdwScanState *state = node->fdw_state;
	List	   *context;
	char	   *partitions;
	char	   *ranges;

	context = set_deparse_context_plan(es->deparse_cxt, (Plan *) plan, NIL);
	partitions = tm_stream_pushdown_describe(state->codes, plan->fdw_exprs,
											 true, context);
	ranges = tm_stream_pushdown_describe(state->codes, plan->fdw_exprs,
										 false, context);
	ExplainPropertyText("Topic", state->options->topic, es);
	ExplainPropertyText("Partitions", partitions ? partitions : "all", es);
	ExplainPropertyText("Ranges", ranges ? ranges : "all", es);

	if (es->analyze && state->scan != NULL)
	{
		const StreamScanCounters *counters = tm_stream_scan_counters(state->scan);

		ExplainPropertyInteger("Messages", NULL, counters->messages, es);
		ExplainPropertyInteger("Bytes", NULL, counters->bytes, es);
		ExplainPropertyInteger("Skipped", NULL, counters->skipped, es);
	}
}

/* tidemark_state.stream_handler() */
Datum
tm_stream_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->BeginForeignScan = begin_scan;
	routine->IterateForeignScan = iterate_scan;
	routine->ReScanForeignScan = rescan;
	routine->EndForeignScan = end_scan;
	routine->ExplainForeignScan = explain_scan;
	routine->IsForeignScanParallelSafe = is_parallel_safe;
	routine->EstimateDSMForeignScan = estimate_dsm;
	routine->InitializeDSMForeignScan = initialize_dsm;
	routine->ReInitializeDSMForeignScan = reinitialize_dsm;
	routine->InitializeWorkerForeignScan = initialize_worker;
	routine->ShutdownForeignScan = shutdown_scan;
	routine->PlanForeignModify = plan_modify;
	PG_RETURN_POINTER(routine);
}
