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
 * maintenance, history and verify(): see add_lateness().
 *
 * Runs in: wherever a view is maintained or verified.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
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
		case BATCH_WINDOW_START:
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
		"tm_row", "tm_partition", "tm_offset", "tm_horizon", "tm_window_start"
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
	return (Node *) makeVar(spec->window.rti, attno, window_type(spec), -1, InvalidOid, 0);
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
		tm_view_add_qual(level, make_equal(make_window_var(spec, 1),
										   (Node *) make_batch_var(spec, level, BATCH_WINDOW_START)));
}

/* ---- partial states ---- */

/* The aggregate as it computes a state instead of a result. */
static Aggref *
make_partial_aggref(const ViewState *state)
{
	Aggref	   *aggref = copyObject(state->aggref);

	aggref->aggsplit = AGGSPLIT_INITIAL_SERIAL;
	aggref->aggtranstype = state->transtype;
	aggref->aggtype = state->transtype == INTERNALOID ? BYTEAOID : state->transtype;
	aggref->aggcollid = get_typcollation(aggref->aggtype);
	return aggref;
}

static void
add_output(Query *query, Expr *expr, char prefix, Index sortgroupref)
{
	int			resno = list_length(query->targetList) + 1;
	TargetEntry *tle = makeTargetEntry(expr, resno, psprintf("%c%d", prefix, resno), false);

	tle->ressortgroupref = sortgroupref;
	query->targetList = lappend(query->targetList, tle);
}

/* The clauses of the stored keys, in the order of GROUP BY. */
static List *
stored_group_clause(const ViewSpec *spec)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, spec->query->groupClause)
	{
		SortGroupClause *clause = lfirst(lc);

		for (int i = 0; i < spec->nkeys; i++)
			if (spec->keys[i].sortgroupref == clause->tleSortGroupRef &&
				spec->keys[i].end_of < 0)
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

	query->havingQual = NULL;
	query->targetList = NIL;
	query->constraintDeps = NIL;
	if (!over_source)
		replace_source(spec, level);
	restrict_rows(spec, level, rows, over_source);
	if (spec->no_keys)
		add_output(query, (Expr *) makeConst(INT2OID, -1, InvalidOid, 2, Int16GetDatum(0), false, true),
				   'g', 0);
	for (int i = 0; i < spec->nkeys; i++)
	{
		const ViewKey *key = &spec->keys[i];

		if (key->end_of < 0)
			add_output(query, copyObject(key->expr), 'g', key->sortgroupref);
	}
	query->groupClause = stored_group_clause(spec);
	if (spec->window.kind == VIEW_WINDOW_SESSION)
		query->sortClause = session_sort_clause(spec);
	for (int i = 0; i < spec->nstates; i++)
		add_output(query, (Expr *) make_partial_aggref(&spec->states[i]), 'a', 0);
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
	on_time = (Expr *) tm_view_make_on_time(spec, make_horizon(spec, query, false));
	tm_view_add_qual(query, (Node *) makeBoolExpr(NOT_EXPR, list_make1(on_time), -1));
	add_output(query, (Expr *) make_batch_var(spec, query, BATCH_ROW), 'r', 0);
	for (AttrNumber attno = 1; attno <= 2; attno++)
		add_output(query, session ? (Expr *) makeNullConst(TIMESTAMPTZOID, -1, InvalidOid) :
				   (Expr *) make_window_var(spec, attno), 'w', 0);
	add_distinct(query);
	return query;
}
