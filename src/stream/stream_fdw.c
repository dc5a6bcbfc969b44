/*
 * stream_fdw.c
 *	  The foreign data wrapper tidemark_kafka: a SELECT reads the log from its
 *	  start, or from pushed-down bounds, to the end offsets at its start.
 *
 * Thin: planning here, conditions in stream_pushdown.c, reading in
 * stream_scan.c.  Planning and EXPLAIN never contact a broker, so row counts
 * are a constant.
 *
 * Scans run in the leader only, and queries with one run without parallel
 * workers: a bad message may need an internal subtransaction, which cannot
 * start in parallel mode.
 */
#include "postgres.h"

#include "catalog/pg_foreign_server.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
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
#define DEFAULT_ROWS		1000
#define SELECTED_ROWS		100
/* a connection and its questions: makes the planner scan once and keep */
#define STARTUP_COST		1000.0

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
} FdwScanState;

/* What planning of one relation carries from step to step. */
typedef struct FdwPlanState
{
	List	   *exprs;
	List	   *codes;
} FdwPlanState;

PG_FUNCTION_INFO_V1(tm_stream_handler);

/* ---- planning ---- */

static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	FdwPlanState *plan = palloc0_object(FdwPlanState);

	tm_stream_pushdown_collect(tm_stream_get_options(relid), baserel,
							   &plan->exprs, &plan->codes);
	baserel->fdw_private = plan;
	baserel->rows = baserel->baserestrictinfo == NIL ? DEFAULT_ROWS : SELECTED_ROWS;
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	ForeignPath *path;

	path = tm_create_foreignscan_path(root, baserel, baserel->rows,
									  STARTUP_COST,
									  STARTUP_COST + DEFAULT_ROWS * 0.1,
									  NIL, baserel->lateral_relids, NIL);
	add_path(baserel, (Path *) path);
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
	 */
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

static TupleTableSlot *
iterate_scan(ForeignScanState *node)
{
	FdwScanState *state = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	if (!state->started)
	{
		StreamRange range;

		tm_stream_pushdown_evaluate(state->codes, state->states,
									node->ss.ps.ps_ExprContext, &range);
		tm_stream_scan_start(state->scan, &range);
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

	if (state != NULL && state->scan != NULL)
	{
		tm_stream_scan_report(state->scan);
		tm_stream_scan_destroy(state->scan);
	}
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
	routine->PlanForeignModify = plan_modify;
	PG_RETURN_POINTER(routine);
}
