/*
 * row_statement.c
 *	  SQL over chosen rows of a table: their TIDs are parameter $1.
 *
 * PostgreSQL's plan cache keeps the generic plan; the executor is started here
 * and not by SPI, because the guard of view_guard.c lets exactly this plan
 * write, and nothing that a trigger does.
 *
 * Runs in: every process that maintains views, as the view's owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "nodes/params.h"
#include "utils/array.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

struct RowStatement
{
	SPIPlanPtr	plan;
	MemoryContextCallback on_delete;
};

void
tm_row_list_add(RowList *list, ItemPointer tid)
{
	if (list->n == list->max)
	{
		list->max = Max(64, list->max * 2);
		list->tids = list->tids == NULL ?
			MemoryContextAlloc(list->cxt, sizeof(ItemPointerData) * list->max) :
			repalloc_huge(list->tids, sizeof(ItemPointerData) * list->max);
	}
	list->tids[list->n++] = *tid;
}

static void
free_plan(void *arg)
{
	RowStatement *statement = arg;

	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
}

RowStatement *
tm_row_statement_create(const char *sql, MemoryContext cxt)
{
	Oid			argtypes[2] = {TIDARRAYOID, TIMESTAMPTZOID};
	RowStatement *statement = MemoryContextAllocZero(cxt, sizeof(RowStatement));
	SPIPlanPtr	plan;

	statement->on_delete.func = free_plan;
	statement->on_delete.arg = statement;
	MemoryContextRegisterResetCallback(cxt, &statement->on_delete);
	SPI_connect();
	plan = SPI_prepare(sql, 2, argtypes);
	if (plan == NULL)
		elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	statement->plan = plan;
	SPI_finish();
	return statement;
}

static ParamListInfo
make_params(const RowList *rows, TimestampTz at)
{
	ParamListInfo params = makeParamList(2);
	Datum	   *tids = palloc(sizeof(Datum) * Max(rows->n, 1));

	for (int i = 0; i < rows->n; i++)
		tids[i] = PointerGetDatum(&rows->tids[i]);
	params->params[0].value = PointerGetDatum(construct_array(tids, rows->n, TIDOID,
															  sizeof(ItemPointerData), false,
															  TYPALIGN_SHORT));
	params->params[0].ptype = TIDARRAYOID;
	params->params[1].value = TimestampTzGetDatum(at);
	params->params[1].ptype = TIMESTAMPTZOID;
	for (int i = 0; i < 2; i++)
	{
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
	}
	return params;
}

static void
start_allowed(QueryDesc *desc)
{
	tm_view_allow_plan(desc->plannedstmt);
	PG_TRY();
	{
		ExecutorStart(desc, 0);
	}
	PG_FINALLY();
	{
		tm_view_allow_plan(NULL);
	}
	PG_END_TRY();
}

static uint64
execute(PlannedStmt *stmt, ParamListInfo params, DestReceiver *dest, TupleDesc *tupdesc)
{
	QueryDesc  *desc;
	uint64		processed;

	desc = tm_create_query_desc(stmt, "tidemark closed windows", GetActiveSnapshot(), dest);
	desc->params = params;
	start_allowed(desc);
	tm_executor_run(desc, ForwardScanDirection, 0);
	processed = desc->estate->es_processed;
	if (tupdesc != NULL)
		*tupdesc = CreateTupleDescCopy(desc->tupDesc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	return processed;
}

uint64
tm_row_statement_run(RowStatement *statement, const RowList *rows, TimestampTz at,
					 Tuplestorestate *result, TupleDesc *tupdesc)
{
	ParamListInfo params = make_params(rows, at);
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(statement->plan));
	DestReceiver *dest = None_Receiver;
	CachedPlan *plan;
	uint64		processed;

	PushActiveSnapshot(GetLatestSnapshot());
	/* without parameters: the generic plan */
	plan = GetCachedPlan(source, NULL, CurrentResourceOwner, NULL);
	if (list_length(plan->stmt_list) != 1)
		elog(ERROR, "statement over closed windows is not a single plan");
	if (result != NULL)
	{
		dest = CreateDestReceiver(DestTuplestore);
		SetTuplestoreDestReceiverParams(dest, result, CurrentMemoryContext, false, NULL, NULL);
	}
	processed = execute(linitial_node(PlannedStmt, plan->stmt_list), params, dest,
						result != NULL ? tupdesc : NULL);
	dest->rDestroy(dest);
	ReleaseCachedPlan(plan, CurrentResourceOwner);
	PopActiveSnapshot();
	CommandCounterIncrement();
	return processed;
}
