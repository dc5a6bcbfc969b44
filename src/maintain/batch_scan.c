/*
 * batch_scan.c
 *	  Rows in memory as a relation of a query.
 *
 * The delta query of a view names its source as the range table function
 * tidemark_state.batch_rows().  The planner is offered one path for it, a
 * custom scan that hands out the rows of the current batch, with only the
 * columns the plan reads.  The row estimate is what the function declares
 * (1000), whatever the batch holds: so joins with ordinary tables stay index
 * nested loops at every batch size.
 *
 * Runs in: every process that maintains views.
 * Memory: the scan copies nothing; rows belong to the caller of set_source(), or
 * to who hands out the chunks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "access/transam.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

typedef struct BatchScanState
{
	CustomScanState css;
	const BatchRows *batch;
	const StreamRows *rows;		/* of the batch, or its current chunk */
	int			next_row;
	int			natts;			/* of the source; BatchColumns follow */
	int			ncolumns;
	AttrNumber *columns;		/* attribute of the source per scan column */
} BatchScanState;

PG_FUNCTION_INFO_V1(tm_batch_rows);

/*
 * The rows of the batch and the one plan that may read them: any other plan,
 * such as one of a function that a view calls, could declare other types.
 */
static BatchSource current = {NULL, NULL};

BatchSource
tm_batch_scan_set_source(BatchSource source)
{
	BatchSource before = current;

	current = source;
	return before;
}

/* ---- execution ---- */

static Datum
batch_column(const BatchScanState *state, int row, BatchColumn column, bool *isnull)
{
	const BatchRows *batch = state->batch;
	const StreamRowInfo *info = &state->rows->info[row];
	TimestampTz horizon;

	*isnull = false;
	switch (column)
	{
		case BATCH_ROW:
			return Int32GetDatum(row);
		case BATCH_PARTITION:
			return Int32GetDatum(info->partition);
		case BATCH_OFFSET:
			return Int64GetDatum(info->offset);
		case BATCH_HORIZON:
			horizon = Max(info->watermark, batch->horizon);
			*isnull = TIMESTAMP_IS_NOBEGIN(horizon);
			return TimestampTzGetDatum(horizon);
		case BATCH_WINDOW_LEAD:
			*isnull = batch->window_lead == NULL ||
				TIMESTAMP_IS_NOBEGIN(batch->window_lead[row]);
			return *isnull ? (Datum) 0 : TimestampTzGetDatum(batch->window_lead[row]);
		case BATCH_NCOLUMNS:
			break;
	}
	elog(ERROR, "unexpected column of a batch: %d", (int) column);
}

/* Is there a row at next_row?  Gets the next chunk if need be. */
static bool
find_row(BatchScanState *state)
{
	while (state->rows == NULL || state->next_row >= state->rows->nrows)
	{
		if (state->batch->chunks == NULL)
			return false;
		state->rows = state->batch->chunks->next(state->batch->chunks->arg);
		state->next_row = 0;
		if (state->rows == NULL)
			return false;
	}
	return true;
}

static TupleTableSlot *
next_row(ScanState *node)
{
	BatchScanState *state = (BatchScanState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	const StreamRows *rows;
	const Datum *values;
	const bool *isnull;
	int			row;

	ExecClearTuple(slot);
	if (!find_row(state))
		return slot;
	rows = state->rows;
	row = state->next_row;
	values = rows->values + (size_t) row * rows->natts;
	isnull = rows->isnull + (size_t) row * rows->natts;
	state->next_row++;
	for (int i = 0; i < state->ncolumns; i++)
	{
		int			att = state->columns[i] - 1;

		if (att >= state->natts)
			slot->tts_values[i] = batch_column(state, row, att - state->natts,
											   &slot->tts_isnull[i]);
		else if (att >= rows->natts)
		{
			/* a column added since the rows were made */
			slot->tts_values[i] = (Datum) 0;
			slot->tts_isnull[i] = true;
		}
		else
		{
			slot->tts_values[i] = values[att];
			slot->tts_isnull[i] = isnull[att];
		}
	}
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags)
{
	BatchScanState *state = (BatchScanState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;
	ListCell   *lc;

	if (current.batch == NULL || current.plan != estate->es_plannedstmt)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function tidemark_state.batch_rows() cannot be called")));
	state->batch = current.batch;
	state->rows = current.batch->rows;
	state->natts = intVal(linitial(scan->custom_private));
	state->columns = palloc(sizeof(AttrNumber) * Max(list_length(scan->custom_scan_tlist), 1));
	foreach(lc, scan->custom_scan_tlist)
	{
		TargetEntry *tle = lfirst(lc);

		state->columns[state->ncolumns++] = castNode(Var, tle->expr)->varattno;
	}
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static void
end_scan(CustomScanState *node)
{
}

static void
rescan(CustomScanState *node)
{
	BatchScanState *state = (BatchScanState *) node;

	if (state->batch->chunks != NULL)
	{
		state->batch->chunks->rewind(state->batch->chunks->arg);
		state->rows = NULL;
	}
	state->next_row = 0;
	ExecScanReScan(&node->ss);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "tidemark batch",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
};

static Node *
create_state(CustomScan *scan)
{
	BatchScanState *state = palloc0(sizeof(BatchScanState));

	NodeSetTag(state, T_CustomScanState);
	state->css.methods = &exec_methods;
	return (Node *) state;
}

static const CustomScanMethods scan_methods = {
	.CustomName = "tidemark batch",
	.CreateCustomScanState = create_state,
};

/* ---- planning ---- */

/*
 * The columns that plan and clauses read, each once.  They are taken
 * from the path's own target: a plan node above may replace the target list
 * later, or take it as it is.  (The relation's target may be smaller: it becomes
 * that of the projection when the planner has removed all other relations.)
 */
static List *
make_scan_tlist(const CustomPath *path, List *clauses)
{
	int			relid = path->path.parent->relid;
	List	   *vars;
	List	   *result = NIL;
	ListCell   *lc;

	vars = pull_var_clause((Node *) list_make2(path->path.pathtarget->exprs, clauses),
						   PVC_RECURSE_PLACEHOLDERS);
	foreach(lc, vars)
	{
		Var		   *var = lfirst(lc);

		if (var->varno != relid || tlist_member((Expr *) var, result))
			continue;
		result = lappend(result, makeTargetEntry((Expr *) copyObject(var),
												 list_length(result) + 1, NULL, false));
	}
	return result;
}

/* How many columns of the source come before the BatchColumns. */
static int
count_source_columns(PlannerInfo *root, RelOptInfo *rel)
{
	RangeTblFunction *function = linitial(planner_rt_fetch(rel->relid, root)->functions);

	return function->funccolcount - BATCH_NCOLUMNS;
}

static Plan *
plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		  List *clauses, List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);

	clauses = extract_actual_clauses(clauses, false);
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = clauses;
	scan->scan.scanrelid = 0;
	scan->flags = path->flags;
	scan->custom_private = list_make1(makeInteger(count_source_columns(root, rel)));
	scan->custom_scan_tlist = make_scan_tlist(path, clauses);
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

static const CustomPathMethods path_methods = {
	.CustomName = "tidemark batch",
	.PlanCustomPath = plan_scan,
};

/*
 * Told by its C function, which costs a name look-up for no other query than
 * one with a function without arguments in FROM.
 */
static bool
is_batch_rte(const RangeTblEntry *rte)
{
	Node	   *call;
	FmgrInfo	info;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1)
		return false;
	call = ((RangeTblFunction *) linitial(rte->functions))->funcexpr;
	if (call == NULL || !IsA(call, FuncExpr))
		return false;
	if (((FuncExpr *) call)->funcid < FirstNormalObjectId ||
		((FuncExpr *) call)->args != NIL)
		return false;
	fmgr_info(((FuncExpr *) call)->funcid, &info);
	return info.fn_addr == tm_batch_rows;
}

void
tm_maintain_set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti,
							 RangeTblEntry *rte)
{
	CustomPath *path;

	if (!is_batch_rte(rte))
		return;
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = rel->rows;
	path->path.startup_cost = 0;
	path->path.total_cost = rel->tuples * 0.01;
	path->methods = &path_methods;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	rel->pathlist = NIL;
	rel->partial_pathlist = NIL;
	add_path(rel, &path->path);
}

void
tm_maintain_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
}

/*
 * The function exists to give the range table entry a name; it is planned
 * away wherever it may appear.
 */
Datum
tm_batch_rows(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("function tidemark_state.batch_rows() cannot be called")));
	PG_RETURN_NULL();
}
