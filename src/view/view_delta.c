/*
 * view_delta.c
 *	  The queries over the rows of a batch: partial states per group, and the
 *	  rows that are late.
 *
 * They are never stored, but planned from the tree.  Their source is a range
 * table function with the source's columns and a few more (BatchColumn), which
 * the maintain room replaces at planning by a scan of rows in memory.
 * (Rejected: a foreign table per source that stands for the batch, and a stored
 * view over it; both would have to follow every ALTER of the source.)
 *
 * Whether a row is late for a window is one expression, the same for
 * maintenance, history and verify(): see tm_view_make_on_time(); with panes,
 * see view_delta_paned.c.
 *
 * Runs in: wherever a view is maintained or verified.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "view/view_internal.h"

/* ---- the source ---- */

static Oid
window_type(const ViewSpec *spec)
{
	return spec->window.ts ? exprType((Node *) spec->window.ts) : TIMESTAMPTZOID;
}

static Oid
batch_column_type(const ViewSpec *spec, BatchColumn column)
{
	switch (column)
	{
		case BATCH_ROW:
		case BATCH_PARTITION:
			return INT4OID;
		case BATCH_OFFSET:
			return INT8OID;
		case BATCH_HORIZON:
			return TIMESTAMPTZOID;
		case BATCH_WINDOW_LEAD:
		case BATCH_NCOLUMNS:
			break;
	}
	return window_type(spec);
}

static void
add_rte_column(RangeTblFunction *function, List **names, const char *name,
			   Oid type, int32 typmod, Oid collation)
{
	*names = lappend(*names, makeString(pstrdup(name)));
	function->funccolnames = lappend(function->funccolnames, makeString(pstrdup(name)));
	function->funccoltypes = lappend_oid(function->funccoltypes, type);
	function->funccoltypmods = lappend_int(function->funccoltypmods, typmod);
	function->funccolcollations = lappend_oid(function->funccolcollations, collation);
	function->funccolcount++;
}

/* A range table entry that looks like the source but is a function call. */
static RangeTblEntry *
make_batch_rte(const ViewSpec *spec, const RangeTblEntry *source)
{
	static const char *const names[BATCH_NCOLUMNS] = {
		"tm_row", "tm_partition", "tm_offset", "tm_horizon", "tm_window_lead"
	};
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblFunction *function = makeNode(RangeTblFunction);
	Relation	rel = table_open(spec->source, AccessShareLock);
	TupleDesc	tupdesc = RelationGetDescr(rel);
	List	   *colnames = NIL;
	FuncExpr   *call;

	call = makeFuncExpr(tm_meta_function("tidemark_state", "batch_rows", 0, NULL),
						RECORDOID, NIL, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	call->funcretset = true;
	function->funcexpr = (Node *) call;
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		/* a dropped column keeps its place; no query can name it */
		if (att->attisdropped)
			add_rte_column(function, &colnames, NameStr(att->attname), INT4OID, -1, InvalidOid);
		else
			add_rte_column(function, &colnames, NameStr(att->attname), att->atttypid,
						   att->atttypmod, att->attcollation);
	}
	table_close(rel, NoLock);
	for (int i = 0; i < BATCH_NCOLUMNS; i++)
		add_rte_column(function, &colnames, names[i], batch_column_type(spec, i), -1, InvalidOid);
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(function);
	rte->alias = copyObject(source->alias);
	rte->eref = makeAlias(source->eref->aliasname, colnames);
	rte->inFromCl = true;
	return rte;
}

/* Let a level of a query read the batch instead of the source. */
static void
replace_source(const ViewSpec *spec, Query *level)
{
	ListCell   *cell = list_nth_cell(level->rtable, spec->source_rti - 1);

	lfirst(cell) = make_batch_rte(spec, lfirst(cell));
}

static Var *
make_batch_var(const ViewSpec *spec, const Query *level, BatchColumn column)
{
	RangeTblEntry *rte = rt_fetch(spec->source_rti, level->rtable);
	RangeTblFunction *function = linitial(rte->functions);

	return makeVar(spec->source_rti, function->funccolcount - BATCH_NCOLUMNS + column + 1,
				   batch_column_type(spec, column), -1, InvalidOid, 0);
}

/* ---- lateness ---- */

/* A column of the view's window function. */
static Node *
make_window_var(const ViewSpec *spec, AttrNumber attno)
{
	Var		   *var = makeVar(spec->window.rti, attno, window_type(spec), -1, InvalidOid, 0);

	/* unlike the source, the function may give no row */
	tm_var_set_nulling(var, tm_view_nulling_joins(spec->query, spec->window.rti));
	return (Node *) var;
}

/* The time that names the window of a row; sessions: the row. */
static Node *
make_lead_var(const ViewSpec *spec)
{
	if (spec->window.kind == VIEW_WINDOW_SESSION)
		return copyObject((Node *) spec->window.ts);
	return make_window_var(spec, VIEW_WINDOW_LEAD_IS_END(&spec->window) ? 2 : 1);
}

/*
 * The watermark that a row of the source is judged by: of its partition as of
 * the row, or the view's horizon if that is later.  Over the source itself,
 * when history is taken in, there is no horizon yet.
 */
static Node *
make_horizon(const ViewSpec *spec, const Query *level, bool over_source)
{
	if (!over_source)
		return (Node *) make_batch_var(spec, level, BATCH_HORIZON);
	return (Node *) makeVar(spec->source_rti, spec->watermark_att, TIMESTAMPTZOID, -1,
							InvalidOid, 0);
}

/*
 * is_on_time(window_end, allowed_lateness, watermark); for sessions
 * is_row_on_time(ts, allowed_lateness, watermark), before they are made.
 */
Node *
tm_view_make_on_time(const ViewSpec *spec, Node *horizon)
{
	bool		session = spec->window.kind == VIEW_WINDOW_SESSION;
	Oid			argtypes[3] = {window_type(spec), INT8OID, TIMESTAMPTZOID};
	Node	   *time = session ? copyObject((Node *) spec->window.ts) : make_window_var(spec, 2);
	Const	   *lateness = makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
									 Int64GetDatum(spec->options.allowed_lateness), false,
									 FLOAT8PASSBYVAL);

	return (Node *) makeFuncExpr(tm_meta_function("tidemark_state",
												  session ? "is_row_on_time" : "is_on_time",
												  3, argtypes),
								 BOOLOID, list_make3(time, lateness, horizon), InvalidOid,
								 InvalidOid, COERCE_EXPLICIT_CALL);
}

void
tm_view_add_qual(Query *level, Node *qual)
{
	level->jointree->quals = make_and_qual(level->jointree->quals, qual);
}

static Node *
make_equal(Node *a, Node *b)
{
	Oid			type = exprType(a);
	Oid			eq;
	Oid			lt;
	Oid			gt;
	bool		hashable;
	OpExpr	   *op;

	get_sort_group_operators(type, false, true, false, &lt, &eq, &gt, &hashable);
	op = (OpExpr *) make_opclause(eq, BOOLOID, false, (Expr *) a, (Expr *) b, InvalidOid,
								  InvalidOid);
	set_opfuncid(op);
	return (Node *) op;
}

static void
restrict_rows(const ViewSpec *spec, Query *level, ViewRows rows, bool over_source)
{
	if (rows == VIEW_ROWS_ON_TIME)
		tm_view_add_qual(level, tm_view_make_on_time(spec, make_horizon(spec, level, over_source)));
	else if (rows == VIEW_ROWS_ADMITTED && spec->window.kind != VIEW_WINDOW_SESSION)
		tm_view_add_qual(level, make_equal(make_lead_var(spec),
										   (Node *) make_batch_var(spec, level, BATCH_WINDOW_LEAD)));
}

/* ---- stored verdicts ---- */

/* A column that says where in its stream a row of the source comes from. */
static Node *
make_position(const ViewSpec *spec, const Query *level, BatchColumn column)
{
	if (spec->source_is_stream)
		return (Node *) make_batch_var(spec, level, column);
	return (Node *) makeVar(spec->source_rti,
							column == BATCH_PARTITION ? spec->partition_att : spec->offset_att,
							batch_column_type(spec, column), -1, InvalidOid, 0);
}

/* has_verdict(state_table, partition, kafka_offset, window, verdict) */
static Expr *
make_has_verdict(const ViewSpec *spec, const Query *level, Oid state_table, const char *verdict)
{
	Oid			argtypes[5] = {REGCLASSOID, INT4OID, INT8OID, window_type(spec), TEXTOID};
	List	   *args;

	args = list_make5(makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid),
								ObjectIdGetDatum(state_table), false, true),
					  make_position(spec, level, BATCH_PARTITION),
					  make_position(spec, level, BATCH_OFFSET),
					  make_lead_var(spec),
					  makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
								CStringGetTextDatum(verdict), false, false));
	return (Expr *) makeFuncExpr(tm_meta_function("tidemark_state", "has_verdict", 5, argtypes),
								 BOOLOID, args, InvalidOid, DEFAULT_COLLATION_OID,
								 COERCE_EXPLICIT_CALL);
}

Query *
tm_view_counted_query(const ViewSpec *spec, Oid verdicts)
{
	Query	   *query = tm_view_batch_query(spec);
	Query	   *level = tm_view_source_level(spec, query);
	Expr	   *counted;

	if (spec->source_is_stream)
		replace_source(spec, level);
	counted = (Expr *) tm_view_make_on_time(spec, make_horizon(spec, level, !spec->source_is_stream));
	if (OidIsValid(verdicts))
	{
		Expr	   *closed = make_has_verdict(spec, level, verdicts, "closed");

		closed = makeBoolExpr(NOT_EXPR, list_make1(closed), -1);
		counted = makeBoolExpr(AND_EXPR, list_make2(counted, closed), -1);
		counted = makeBoolExpr(OR_EXPR,
							   list_make2(counted,
										  make_has_verdict(spec, level, verdicts, "admitted")),
							   -1);
	}
	tm_view_add_qual(level, (Node *) counted);
	return query;
}

/* ---- partial states ---- */

/* The aggregate as it computes a state instead of a result. */
static Aggref *
make_partial_aggref(const ViewState *state)
{
	Aggref	   *aggref = copyObject(state->aggref);
	Oid			bigint = INT8OID;

	aggref->aggsplit = AGGSPLIT_INITIAL_SERIAL;
	aggref->aggtranstype = state->transtype;
	aggref->aggtype = tm_view_state_is_bytes(state) ? BYTEAOID : state->type;
	if (tm_view_is_int8_sum(aggref->aggfnoid))
	{
		aggref->aggfnoid = tm_meta_function("tidemark_state", "int8_sum", 1, &bigint);
		aggref->aggtranstype = state->type;
	}
	aggref->aggcollid = get_typcollation(aggref->aggtype);
	return aggref;
}

void
tm_view_add_output(Query *query, Expr *expr, char prefix, Index sortgroupref)
{
	int			resno = list_length(query->targetList) + 1;
	TargetEntry *tle = makeTargetEntry(expr, resno, psprintf("%c%d", prefix, resno), false);

	tle->ressortgroupref = sortgroupref;
	query->targetList = lappend(query->targetList, tle);
}

/* Is it a column of the delta?  by_pane: one whose groups are panes. */
static bool
is_delta_key(const ViewSpec *spec, int key, bool by_pane)
{
	return spec->keys[key].end_of < 0 && !(by_pane && tm_view_is_window_key(spec, key));
}

/* The clauses of the keys of the delta, in the order of GROUP BY. */
static List *
delta_group_clause(const ViewSpec *spec, bool by_pane)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, spec->query->groupClause)
	{
		SortGroupClause *clause = lfirst(lc);

		for (int i = 0; i < spec->nkeys; i++)
			if (spec->keys[i].sortgroupref == clause->tleSortGroupRef &&
				is_delta_key(spec, i, by_pane))
				result = lappend(result, copyObject(clause));
	}
	return result;
}

/* Partial sessions come key by key, in the order of time. */
static List *
session_sort_clause(const ViewSpec *spec)
{
	List	   *result = NIL;

	for (int i = 0; i < spec->nunique_keys; i++)
	{
		ListCell   *lc;

		foreach(lc, spec->query->groupClause)
			if (((SortGroupClause *) lfirst(lc))->tleSortGroupRef == spec->keys[i].sortgroupref)
			result = lappend(result, copyObject(lfirst(lc)));
	}
	return result;
}

Query *
tm_view_delta_query(const ViewSpec *spec, ViewRows rows, bool over_source)
{
	Query	   *query = copyObject(spec->query);
	Query	   *level = tm_view_source_level(spec, query);
	bool		by_pane = VIEW_IS_PANED(spec) && rows != VIEW_ROWS_ADMITTED;

	query->havingQual = NULL;
	query->targetList = NIL;
	query->groupClause = delta_group_clause(spec, by_pane);
	query->constraintDeps = NIL;
	if (!over_source)
		replace_source(spec, level);
	if (by_pane)
		tm_view_add_panes(spec, query, rows == VIEW_ROWS_ON_TIME ?
						  make_horizon(spec, level, over_source) : NULL);
	else
		restrict_rows(spec, level, rows, over_source);
	if (spec->no_keys)
		tm_view_add_output(query, (Expr *) makeConst(INT2OID, -1, InvalidOid, 2, Int16GetDatum(0), false, true),
						   'g', 0);
	for (int i = 0; i < spec->nkeys; i++)
	{
		const ViewKey *key = &spec->keys[i];

		if (is_delta_key(spec, i, by_pane))
			tm_view_add_output(query, copyObject(key->expr), 'g', key->sortgroupref);
	}
	if (spec->window.kind == VIEW_WINDOW_SESSION)
		query->sortClause = session_sort_clause(spec);
	for (int i = 0; i < spec->nstates; i++)
		tm_view_add_output(query, (Expr *) make_partial_aggref(&spec->states[i]), 'a', 0);
	query->hasAggs = spec->nstates > 0;
	return query;
}

/* ---- late rows ---- */

/* Every output column once: DISTINCT. */
static void
add_distinct(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		SortGroupClause *clause = makeNode(SortGroupClause);
		Oid			gt;

		tle->ressortgroupref = tle->resno;
		clause->tleSortGroupRef = tle->resno;
		get_sort_group_operators(exprType((Node *) tle->expr), true, true, false,
								 &clause->sortop, &clause->eqop, &gt, &clause->hashable);
		query->distinctClause = lappend(query->distinctClause, clause);
	}
}

Query *
tm_view_late_query(const ViewSpec *spec)
{
	Query	   *query = copyObject(tm_view_source_level(spec, spec->query));
	bool		session = spec->window.kind == VIEW_WINDOW_SESSION;
	Expr	   *on_time;

	query->havingQual = NULL;
	query->targetList = NIL;
	query->groupClause = NIL;
	query->windowClause = NIL;
	query->constraintDeps = NIL;
	query->hasAggs = query->hasWindowFuncs = false;
	replace_source(spec, query);
	if (VIEW_IS_PANED(spec))
		tm_view_add_qual(query, tm_view_make_late_candidate(spec, make_horizon(spec, query, false)));
	on_time = (Expr *) tm_view_make_on_time(spec, make_horizon(spec, query, false));
	tm_view_add_qual(query, (Node *) makeBoolExpr(NOT_EXPR, list_make1(on_time), -1));
	tm_view_add_output(query, (Expr *) make_batch_var(spec, query, BATCH_ROW), 'r', 0);
	for (AttrNumber attno = 1; attno <= 2; attno++)
		tm_view_add_output(query, session ? (Expr *) makeNullConst(TIMESTAMPTZOID, -1, InvalidOid) :
						   (Expr *) make_window_var(spec, attno), 'w', 0);
	add_distinct(query);
	return query;
}
