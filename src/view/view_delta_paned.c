/*
 * view_delta_paned.c
 *	  Delta queries of views over hop() and cumulate(): by panes.
 *
 * A row lies in several windows, but in one pane, and all rows of a pane lie in
 * the same windows.  So the delta query calls no set-returning function: it
 * groups by the start of the pane, and the maintain room makes each group of a
 * pane into those of its windows (delta_expand.c).  What a row costs does not
 * depend on how many windows it lies in.
 *
 * A row can be late for its older windows only.  These are the windows that end
 * up to some time, late_until, which is therefore one more thing to group by;
 * it is rounded down to the pane it lies in, since windows end where panes do,
 * and NULL for rows that are late for no window.
 *
 * Runs in: wherever a view is maintained.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "view/view_internal.h"

/* ---- sizes ---- */

enum
{
	ARG_SLIDE, ARG_SIZE, ARG_ORIGIN, ARG_TIMEZONE, ARG_COUNT
};

enum
{
	TUMBLE_SIZE, TUMBLE_ORIGIN, TUMBLE_TIMEZONE, TUMBLE_COUNT
};

/* Those of a complete call, behind its timestamp. */
static void
evaluate_arguments(const FuncExpr *call, Datum *values, bool *isnull)
{
	EState	   *estate = CreateExecutorState();
	ExprContext *econtext = GetPerTupleExprContext(estate);

	for (int i = 0; i < list_length(call->args) - 1; i++)
	{
		Expr	   *arg = list_nth(call->args, i + 1);
		ExprState  *state = ExecPrepareExpr(arg, estate);
		Datum		value = ExecEvalExprSwitchContext(state, econtext, &isnull[i]);
		int16		typlen;
		bool		typbyval;

		get_typlenbyval(exprType((Node *) arg), &typlen, &typbyval);
		values[i] = isnull[i] ? (Datum) 0 : datumCopy(value, typbyval, typlen);
	}
	FreeExecutorState(estate);
}

static void
refuse_null(const FuncExpr *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("sizes and time zone of %s() must not be null",
					get_func_name(call->funcid))));
}

void
tm_view_check_tumble(const FuncExpr *call)
{
	Datum		values[TUMBLE_COUNT] = {0};
	bool		isnull[TUMBLE_COUNT] = {false};
	bool		has_zone = list_length(call->args) > TUMBLE_COUNT;
	Timestamp	origin;
	TimeWindowSpec spec;

	evaluate_arguments(call, values, isnull);
	if (isnull[TUMBLE_SIZE] || isnull[TUMBLE_TIMEZONE])
		refuse_null(call);
	origin = DatumGetTimestamp(values[TUMBLE_ORIGIN]);
	tm_window_parse(DatumGetIntervalP(values[TUMBLE_SIZE]),
					isnull[TUMBLE_ORIGIN] ? NULL : &origin,
					has_zone ? TextDatumGetCString(values[TUMBLE_TIMEZONE]) : NULL, &spec);
}

void
tm_view_parse_panes(const ViewWindow *window, PanedSpec *panes)
{
	Datum		values[ARG_COUNT] = {0};
	bool		isnull[ARG_COUNT] = {false};
	bool		has_zone = list_length(window->call->args) > ARG_COUNT;
	Timestamp	origin;
	char	   *zone;

	evaluate_arguments(window->call, values, isnull);
	if (isnull[ARG_SLIDE] || isnull[ARG_SIZE] || isnull[ARG_TIMEZONE])
		refuse_null(window->call);
	origin = DatumGetTimestamp(values[ARG_ORIGIN]);
	zone = has_zone ? TextDatumGetCString(values[ARG_TIMEZONE]) : NULL;
	(window->kind == VIEW_WINDOW_HOP ? tm_window_parse_hop : tm_window_parse_cumulate)
		(DatumGetIntervalP(values[ARG_SLIDE]), DatumGetIntervalP(values[ARG_SIZE]),
		 isnull[ARG_ORIGIN] ? NULL : &origin, zone, panes);
}

/* ---- panes ---- */

bool
tm_view_is_window_key(const ViewSpec *spec, int key)
{
	return key == spec->window.start_key || key == spec->window.end_key;
}

/* hop_pane(time, slide, size, origin [, timezone]), or cumulate_pane(). */
static Expr *
make_pane(const ViewSpec *spec, Expr *time)
{
	List	   *args = copyObject(spec->window.call->args);
	Oid			argtypes[ARG_COUNT + 1];
	Oid			type = exprType((Node *) time);
	int			nargs = 0;
	ListCell   *lc;

	linitial(args) = time;
	foreach(lc, args)
		argtypes[nargs++] = exprType(lfirst(lc));
	return (Expr *) makeFuncExpr(tm_meta_function("tidemark", spec->window.kind == VIEW_WINDOW_HOP ?
												  "hop_pane" : "cumulate_pane", nargs, argtypes),
								 type, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Expr *
make_lateness_call(const ViewSpec *spec, const char *name, bool gives_time, Node *horizon)
{
	Oid			type = exprType((Node *) spec->window.ts);
	Oid			argtypes[3] = {type, INT8OID, TIMESTAMPTZOID};
	Const	   *lateness = makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
									 Int64GetDatum(spec->options.allowed_lateness), false,
									 FLOAT8PASSBYVAL);

	return (Expr *) makeFuncExpr(tm_meta_function("tidemark_state", name, 3, argtypes),
								 gives_time ? type : BOOLOID,
								 list_make3(copyObject(spec->window.ts), lateness, horizon),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

Node *
tm_view_make_late_candidate(const ViewSpec *spec, Node *horizon)
{
	Expr	   *on_time = make_lateness_call(spec, "is_row_on_time", false, horizon);

	return (Node *) makeBoolExpr(NOT_EXPR, list_make1(on_time), -1);
}

/*
 * The window function's entry gives one row: a subquery, which the planner
 * knows how to leave out (RTE_RESULT has no columns, but lists of joins name
 * them).
 */
static void
remove_window_function(const ViewSpec *spec, Query *query)
{
	ListCell   *cell = list_nth_cell(query->rtable, spec->window.rti - 1);
	RangeTblEntry *function = lfirst(cell);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Query	   *row = makeNode(Query);
	Oid			type = exprType((Node *) spec->window.ts);

	row->commandType = CMD_SELECT;
	row->canSetTag = true;
	row->jointree = makeFromExpr(NIL, NULL);
	for (int i = 0; i < list_length(function->eref->colnames); i++)
		tm_view_add_output(row, (Expr *) makeNullConst(type, -1, InvalidOid), 'w', 0);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = row;
	rte->alias = copyObject(function->alias);
	rte->eref = copyObject(function->eref);
	rte->inFromCl = true;
	lfirst(cell) = rte;
}

/* A first output that is grouped by. */
static void
add_group(Query *query, Expr *expr, Index sortgroupref)
{
	SortGroupClause *clause = makeNode(SortGroupClause);
	Oid			gt;

	clause->tleSortGroupRef = sortgroupref;
	get_sort_group_operators(exprType((Node *) expr), true, true, false,
							 &clause->sortop, &clause->eqop, &gt, &clause->hashable);
	query->groupClause = lappend(query->groupClause, clause);
	tm_view_add_output(query, expr, 'p', sortgroupref);
}

void
tm_view_add_panes(const ViewSpec *spec, Query *query, Node *horizon)
{
	Index		sortgroupref = 0;

	for (int i = 0; i < spec->nkeys; i++)
		sortgroupref = Max(sortgroupref, spec->keys[i].sortgroupref);
	remove_window_function(spec, query);
	add_group(query, make_pane(spec, copyObject(spec->window.ts)), sortgroupref + 1);
	if (horizon != NULL)
		add_group(query, make_pane(spec, make_lateness_call(spec, "late_until", true, horizon)),
				  sortgroupref + 2);
}
