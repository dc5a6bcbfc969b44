/*
 * view_session.c
 *	  Views over session windows: recognise the query that makes sessions, or
 *	  say why it cannot be kept.
 *
 * The query of such a view is the one of a batch:
 *
 *	SELECT key, session_start, session_end, aggregates
 *	  FROM (SELECT .., session_start(ts, gap) OVER w, session_end(ts, gap) OVER w
 *			  FROM source WHERE .. WINDOW w AS (PARTITION BY key ORDER BY ts)) s
 *	 GROUP BY key, session_start, session_end
 *
 * with the subquery in FROM or in WITH.  The rows of a batch alone make partial
 * sessions by the same query, which are merged with the stored ones
 * (session_merge.c).  That is right only if what belongs to a session follows
 * from its own rows: so nothing in the query may look at the bounds of a
 * session, or at rows of other sessions, before they are groups.
 *
 * Here a WITH query becomes a subquery, and both bounds become group keys:
 * stored behind the keys of PARTITION BY, in the order start, end.  Grouping
 * by one bound more changes nothing, for within a key one follows from the
 * other.
 *
 * Runs in: backends, at CREATE and when a view is loaded.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "stream/stream.h"
#include "view/view_internal.h"
#include "window/window.h"

typedef enum SessionBound
{
	SESSION_NONE,
	SESSION_START,
	SESSION_END,
} SessionBound;

/* What is being looked at. */
typedef struct SessionParse
{
	ViewSpec   *spec;
	ParseState *pstate;
	Query	   *level;			/* the subquery that makes sessions */
	WindowFunc *call;			/* the first of its functions */
	AttrNumber	start;			/* first column of it that is session_start() */
	AttrNumber	end;
} SessionParse;

static SessionBound
get_function_bound(Oid funcid)
{
	char	   *name = get_func_name(funcid);

	if (name == NULL || get_func_namespace(funcid) != get_namespace_oid("tidemark", true))
		return SESSION_NONE;
	if (strcmp(name, "session_start") == 0)
		return SESSION_START;
	return strcmp(name, "session_end") == 0 ? SESSION_END : SESSION_NONE;
}

static SessionBound
get_bound(const Expr *expr)
{
	return IsA(expr, WindowFunc) ? get_function_bound(((const WindowFunc *) expr)->winfnoid) :
		SESSION_NONE;
}

/* ---- where sessions are made ---- */

/* Stops at the first function of sessions in one query level. */
static bool
find_call_walker(Node *node, WindowFunc **call)
{
	if (node == NULL)
		return false;
	if (get_bound((Expr *) node) != SESSION_NONE)
	{
		*call = (WindowFunc *) node;
		return true;
	}
	return expression_tree_walker(node, find_call_walker, call);
}

static WindowFunc *
find_call(const Query *level)
{
	WindowFunc *call = NULL;

	if (level->hasWindowFuncs)
		(void) find_call_walker((Node *) level->targetList, &call);
	return call;
}

static CommonTableExpr *
find_cte(const Query *query, const RangeTblEntry *rte)
{
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst(lc);

		if (rte->ctelevelsup == 0 && strcmp(cte->ctename, rte->ctename) == 0)
			return cte;
	}
	return NULL;
}

/* The query behind an item of FROM, or NULL. */
static Query *
get_item_query(const Query *query, const RangeTblEntry *rte)
{
	CommonTableExpr *cte;

	if (rte->rtekind == RTE_SUBQUERY)
		return rte->subquery;
	if (rte->rtekind != RTE_CTE || rte->self_reference)
		return NULL;
	cte = find_cte(query, rte);
	return cte != NULL ? castNode(Query, cte->ctequery) : NULL;
}

static Index
find_item(const Query *query)
{
	ListCell   *lc;
	Index		rti = 0;

	foreach(lc, query->rtable)
	{
		Query	   *item = get_item_query(query, lfirst(lc));

		rti++;
		if (item != NULL && find_call(item) != NULL)
			return rti;
	}
	return 0;
}

static bool
is_only_item(const Query *query, Index rti)
{
	List	   *items = query->jointree->fromlist;

	return list_length(items) == 1 && IsA(linitial(items), RangeTblRef) &&
		((RangeTblRef *) linitial(items))->rtindex == (int) rti;
}

/* Does a level read what surely grows? */
static bool
reads_source(const Query *level)
{
	ListCell   *lc;

	foreach(lc, level->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION &&
			(tm_stream_is_stream(rte->relid) || tm_meta_ingest_find_by_table(rte->relid) != NULL))
			return true;
	}
	return false;
}

/* WITH s AS (..) .. FROM s: as if the query stood in FROM. */
static void
inline_cte(Query *query, RangeTblEntry *rte)
{
	if (rte->rtekind != RTE_CTE)
		return;
	rte->subquery = castNode(Query, copyObject(find_cte(query, rte)->ctequery));
	rte->rtekind = RTE_SUBQUERY;
	rte->ctename = NULL;
	rte->coltypes = rte->coltypmods = rte->colcollations = NIL;
	query->cteList = NIL;
}

/* ---- what the subquery must not have ---- */

static void
refuse_inside(SessionParse *parse, int location, const char *what, const char *hint)
{
	tm_view_refuse(parse->pstate, location,
				   psprintf("%s beside session_start() or session_end() is", what), hint);
}

static int
clause_location(const Query *level, const List *clauses)
{
	return exprLocation(get_sortgroupclause_expr(linitial(clauses), level->targetList));
}

static void
check_level(SessionParse *parse)
{
	Query	   *level = parse->level;
	int			location = parse->call->location;

	if (level->cteList != NIL)
		refuse_inside(parse, ((CommonTableExpr *) linitial(level->cteList))->location,
					  "WITH", "Name the source in the FROM clause of the subquery.");
	if (level->hasAggs || level->groupClause != NIL || level->groupingSets != NIL ||
		level->havingQual != NULL)
		refuse_inside(parse, location, "an aggregate, GROUP BY or HAVING",
					  "Group the rows of the subquery in the view itself.");
	if (level->distinctClause != NIL)
		refuse_inside(parse, clause_location(level, level->distinctClause), "DISTINCT",
					  "Group the rows of the subquery in the view itself.");
	if (level->sortClause != NIL)
		refuse_inside(parse, clause_location(level, level->sortClause), "ORDER BY",
					  "Use ORDER BY in the query that reads the view.");
	if (level->limitCount != NULL || level->limitOffset != NULL)
		refuse_inside(parse, exprLocation(level->limitCount ? level->limitCount :
										  level->limitOffset),
					  "LIMIT or OFFSET", "Use it in the query that reads the view.");
	if (level->hasTargetSRFs)
		refuse_inside(parse, location, "a set-returning function in the select list",
					  "Use it in the FROM clause.");
}

/* ---- the functions ---- */

/* The first window function of a subtree. */
static bool
find_window_function_walker(Node *node, WindowFunc **call)
{
	if (node == NULL)
		return false;
	if (IsA(node, WindowFunc))
	{
		*call = (WindowFunc *) node;
		return true;
	}
	return expression_tree_walker(node, find_window_function_walker, call);
}

static WindowClause *
get_window_clause(const Query *level, Index winref)
{
	ListCell   *lc;

	foreach(lc, level->windowClause)
	{
		WindowClause *clause = lfirst(lc);

		if (clause->winref == winref)
			return clause;
	}
	elog(ERROR, "window clause %u not found", winref);
}

static int64
get_gap(SessionParse *parse, const WindowFunc *call)
{
	Node	   *gap = eval_const_expressions(NULL, lsecond(call->args));
	ParseCallbackState callback;
	int64		result;

	if (!IsA(gap, Const))
		tm_view_refuse(parse->pstate, exprLocation(lsecond(call->args)),
					   "a session gap that is not constant is", "Write the gap as a constant.");
	setup_parser_errposition_callback(&callback, parse->pstate, call->location);
	result = tm_session_parse_gap(((Const *) gap)->constisnull ? NULL :
								  DatumGetIntervalP(((Const *) gap)->constvalue));
	cancel_parser_errposition_callback(&callback);
	return result;
}

/* Rows must come in the order of ts, and all functions mean the same sessions. */
static void
check_call(SessionParse *parse, WindowFunc *call)
{
	WindowClause *mine = get_window_clause(parse->level, call->winref);
	WindowClause *first = get_window_clause(parse->level, parse->call->winref);
	SortGroupClause *order;
	Oid			less_than;

	get_sort_group_operators(exprType(linitial(call->args)), true, false, false, &less_than,
							 NULL, NULL, NULL);
	if (!equal(mine->partitionClause, first->partitionClause) ||
		!equal(mine->orderClause, first->orderClause) ||
		!equal(linitial(call->args), linitial(parse->call->args)) ||
		get_gap(parse, call) != get_gap(parse, parse->call))
		tm_view_refuse(parse->pstate, call->location,
					   "session windows of different keys, times or gaps in one query are",
					   "Define one view for each.");
	order = list_length(mine->orderClause) == 1 ? linitial(mine->orderClause) : NULL;
	if (order == NULL ||
		!equal(get_sortgroupclause_expr(order, parse->level->targetList), linitial(call->args)) ||
		order->sortop != less_than)
		tm_view_refuse(parse->pstate, call->location,
					   "a session window that is not ordered by its time alone, ascending, is",
					   "Use OVER (PARTITION BY ... ORDER BY ts) with the ts of the function.");
}

static void
check_columns(SessionParse *parse)
{
	ListCell   *lc;

	foreach(lc, parse->level->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		SessionBound bound = get_bound(tle->expr);
		WindowFunc *call = NULL;

		if (!find_window_function_walker((Node *) tle->expr, &call))
			continue;
		if (get_function_bound(call->winfnoid) == SESSION_NONE)
			refuse_inside(parse, call->location,
						  psprintf("window function %s()", get_func_name(call->winfnoid)),
						  "Use it in the query that reads the view.");
		if (bound == SESSION_NONE)
			tm_view_refuse(parse->pstate, call->location,
						   "an expression over session_start() or session_end() in the subquery is",
						   "Make the bound a column of the subquery and compute with it in the view itself.");
		check_call(parse, call);
		if (bound == SESSION_START && parse->start == InvalidAttrNumber)
			parse->start = tle->resno;
		if (bound == SESSION_END && parse->end == InvalidAttrNumber)
			parse->end = tle->resno;
	}
}

/* ---- both bounds as columns and as keys ---- */

/* A column behind those that the subquery has. */
static AttrNumber
add_column(SessionParse *parse, const char *name)
{
	Query	   *level = parse->level;
	RangeTblEntry *rte = rt_fetch(parse->spec->window.rti, parse->spec->query->rtable);
	WindowFunc *call = copyObject(parse->call);
	Oid			argtypes[2] = {exprType(linitial(call->args)), INTERVALOID};
	int			ncolumns = list_length(rte->eref->colnames);
	ListCell   *lc;

	call->winfnoid = tm_meta_function("tidemark", name, 2, argtypes);
	/* columns that only order and group rows stay behind it */
	foreach(lc, level->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
			tle->resno++;
	}
	level->targetList = list_insert_nth(level->targetList, ncolumns,
										makeTargetEntry((Expr *) call, ncolumns + 1,
														pstrdup(name), false));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(name)));
	return ncolumns + 1;
}

static TargetEntry *
get_column(const SessionParse *parse, AttrNumber attno)
{
	return list_nth_node(TargetEntry, parse->level->targetList, attno - 1);
}

/* The column of the subquery that a group key is, or NULL. */
static TargetEntry *
get_key_column(const SessionParse *parse, const SortGroupClause *clause)
{
	Var		   *var = (Var *) get_sortgroupclause_expr((SortGroupClause *) clause,
													   parse->spec->query->targetList);

	if (!IsA(var, Var) || var->varno != (int) parse->spec->window.rti ||
		var->varlevelsup > 0 || var->varattno <= 0)
		return NULL;
	return get_column(parse, var->varattno);
}

static bool
is_grouped(const SessionParse *parse, SessionBound bound)
{
	ListCell   *lc;

	foreach(lc, parse->spec->query->groupClause)
	{
		TargetEntry *column = get_key_column(parse, lfirst(lc));

		if (column != NULL && get_bound(column->expr) == bound)
			return true;
	}
	return false;
}

static void
add_group(SessionParse *parse, AttrNumber attno)
{
	Query	   *query = parse->spec->query;
	Var		   *var = makeVarFromTargetEntry(parse->spec->window.rti, get_column(parse, attno));
	TargetEntry *tle = makeTargetEntry((Expr *) var, list_length(query->targetList) + 1,
									   NULL, true);
	SortGroupClause *clause = makeNode(SortGroupClause);
	Oid			gt;

	query->targetList = lappend(query->targetList, tle);
	clause->tleSortGroupRef = assignSortGroupRef(tle, query->targetList);
	get_sort_group_operators(var->vartype, true, true, false, &clause->sortop, &clause->eqop,
							 &gt, &clause->hashable);
	query->groupClause = lappend(query->groupClause, clause);
}

/* Is a column of the subquery one of the keys of PARTITION BY? */
static bool
is_partition_key(const SessionParse *parse, const TargetEntry *column)
{
	WindowClause *window = get_window_clause(parse->level, parse->call->winref);
	ListCell   *lc;

	foreach(lc, window->partitionClause)
		if (equal(column->expr, get_sortgroupclause_expr(lfirst(lc), parse->level->targetList)))
		return true;
	return false;
}

/* Is it a group key, under any of the names that the subquery gives it? */
static bool
is_grouped_by(const SessionParse *parse, const Node *partition_key)
{
	ListCell   *lc;

	foreach(lc, parse->spec->query->groupClause)
	{
		TargetEntry *column = get_key_column(parse, lfirst(lc));

		if (column != NULL && equal(column->expr, partition_key))
			return true;
	}
	return false;
}

/* Two groups that are the same key do not make up for another one. */
static bool
has_partition_keys(const SessionParse *parse)
{
	WindowClause *window = get_window_clause(parse->level, parse->call->winref);
	ListCell   *lc;

	foreach(lc, window->partitionClause)
		if (!is_grouped_by(parse, get_sortgroupclause_expr(lfirst(lc), parse->level->targetList)))
		return false;
	return true;
}

/* GROUP BY: all keys of PARTITION BY, and one bound or both. */
static void
check_groups(SessionParse *parse)
{
	Query	   *query = parse->spec->query;
	int			nbounds = 0;
	ListCell   *lc;

	if (query->groupingSets != NIL)
		return;					/* refused later */
	foreach(lc, query->groupClause)
	{
		TargetEntry *column = get_key_column(parse, lfirst(lc));

		if (column != NULL && get_bound(column->expr) != SESSION_NONE)
			nbounds++;
		else if (column == NULL || !is_partition_key(parse, column))
			tm_view_refuse(parse->pstate,
						   exprLocation(get_sortgroupclause_expr(lfirst(lc), query->targetList)),
						   "grouping sessions by anything but their key and their bounds is",
						   "Group by the columns of PARTITION BY, session_start and session_end.");
	}
	if (!has_partition_keys(parse) || nbounds == 0 ||
		nbounds != is_grouped(parse, SESSION_START) + is_grouped(parse, SESSION_END))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sessions in a continuous view need their key and their bounds in GROUP BY"),
				 errdetail("One row of the view is one session of one key."),
				 errhint("Group by each column of PARTITION BY, session_start and session_end, once."),
				 parser_errposition(parse->pstate, parse->call->location)));
}

/* ---- what aggregates may see ---- */

typedef struct BoundSearch
{
	const SessionParse *parse;
	int			sublevels_up;
	bool		in_aggregate;
} BoundSearch;

/*
 * A bound inside an aggregate would be that of the session as far as it was
 * known when the row came.
 */
static bool
check_aggregates_walker(Node *node, BoundSearch *search)
{
	const SessionParse *parse = search->parse;

	if (node == NULL)
		return false;
	if (IsA(node, Aggref) && !search->in_aggregate)
	{
		search->in_aggregate = true;
		(void) expression_tree_walker(node, check_aggregates_walker, search);
		search->in_aggregate = false;
		return false;
	}
	if (IsA(node, Var) && search->in_aggregate)
	{
		Var		   *var = (Var *) node;

		if (var->varno == (int) parse->spec->window.rti &&
			(int) var->varlevelsup == search->sublevels_up &&
			(var->varattno <= 0 ||
			 get_bound(get_column(parse, var->varattno)->expr) != SESSION_NONE))
			tm_view_refuse(parse->pstate, var->location,
						   "session_start or session_end inside an aggregate is",
						   "It changes while the session grows; use it beside the aggregates.");
		return false;
	}
	if (IsA(node, Query))
	{
		search->sublevels_up++;
		(void) query_tree_walker((Query *) node, check_aggregates_walker, search, 0);
		search->sublevels_up--;
		return false;
	}
	return expression_tree_walker(node, check_aggregates_walker, search);
}

static void
check_aggregates(const SessionParse *parse)
{
	BoundSearch search = {.parse = parse};

	(void) check_aggregates_walker((Node *) parse->spec->query->targetList, &search);
	(void) check_aggregates_walker(parse->spec->query->havingQual, &search);
}

/* ---- entry points ---- */

/* Around the subquery: nothing between it and the groups. */
static void
check_outside(SessionParse *parse)
{
	Query	   *query = parse->spec->query;
	int			location = parse->call->location;

	if (!is_only_item(query, parse->spec->window.rti))
		tm_view_refuse(parse->pstate, location, "joining a subquery with session windows is",
					   "Join inside the subquery, or when the view is read.");
	if (list_length(query->cteList) > 1)
		tm_view_refuse(parse->pstate, ((CommonTableExpr *) linitial(query->cteList))->location,
					   "more than one WITH query is",
					   "Write the sessions as one query over the source.");
	if (query->jointree->quals != NULL)
		tm_view_refuse(parse->pstate, exprLocation(query->jointree->quals),
					   "WHERE around a subquery with session windows is",
					   "Put the condition into the subquery, or use FILTER or HAVING.");
}

void
tm_view_find_session(ViewSpec *spec, ParseState *pstate)
{
	Query	   *query = spec->query;
	ViewWindow *window = &spec->window;
	SessionParse parse = {.spec = spec,.pstate = pstate};
	RangeTblEntry *rte;

	if (query->setOperations != NULL)
		return;					/* refused later */
	if (find_call(query) != NULL)
		tm_view_refuse(pstate, find_call(query)->location,
					   "session_start() or session_end() outside of a subquery is",
					   "Compute the sessions in a subquery in FROM, and group by its columns.");
	window->rti = find_item(query);
	if (window->rti == 0)
		return;
	rte = rt_fetch(window->rti, query->rtable);
	parse.level = get_item_query(query, rte);
	parse.call = find_call(parse.level);
	if (!is_only_item(query, window->rti) && !reads_source(parse.level))
	{
		/* of an ordinary table that the source is joined with */
		window->rti = 0;
		return;
	}
	check_outside(&parse);
	inline_cte(query, rte);
	parse.level = rte->subquery;
	parse.call = find_call(parse.level);
	window->kind = VIEW_WINDOW_SESSION;
	check_level(&parse);
	check_columns(&parse);
	check_groups(&parse);
	if (parse.start == InvalidAttrNumber)
		parse.start = add_column(&parse, "session_start");
	if (parse.end == InvalidAttrNumber)
		parse.end = add_column(&parse, "session_end");
	check_aggregates(&parse);
	if (query->groupClause != NIL && !is_grouped(&parse, SESSION_START))
		add_group(&parse, parse.start);
	if (query->groupClause != NIL && !is_grouped(&parse, SESSION_END))
		add_group(&parse, parse.end);
	window->call = makeFuncExpr(parse.call->winfnoid, parse.call->wintype, parse.call->args,
								InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	window->call->location = parse.call->location;
	window->ts = linitial(parse.call->args);
	window->gap = get_gap(&parse, parse.call);
}

/* The bounds behind the keys of PARTITION BY: start, end. */
void
tm_view_order_session_keys(ViewSpec *spec)
{
	ViewWindow *window = &spec->window;
	ViewKey    *keys = palloc(sizeof(ViewKey) * spec->nkeys);
	Query	   *level = tm_view_source_level(spec, spec->query);
	int			n = 0;

	for (int i = 0; i < spec->nkeys; i++)
	{
		Var		   *var = castNode(Var, spec->keys[i].expr);
		TargetEntry *column = list_nth(level->targetList, var->varattno - 1);

		switch (get_bound(column->expr))
		{
			case SESSION_NONE:
				keys[n++] = spec->keys[i];
				break;
			case SESSION_START:
				keys[spec->nkeys - 2] = spec->keys[i];
				break;
			case SESSION_END:
				keys[spec->nkeys - 1] = spec->keys[i];
				break;
		}
	}
	spec->keys = keys;
	window->start_key = spec->nkeys - 2;
	window->end_key = spec->nkeys - 1;
}
