/*
 * view_analyze.c
 *	  Query -> ViewSpec, or one message per unsupported shape.
 *
 * What a view may be: SELECT of group keys and aggregates, of any expressions
 * over them, FROM one source joined with ordinary tables, WHERE, GROUP BY,
 * HAVING.  Everything else is refused here, at CREATE, so that no later stage
 * can be wrong about it.  The same function runs when a view is loaded: the
 * spec of a view is always derived from its query, never stored.
 *
 * Runs in: backends at CREATE, and wherever a view is maintained or verified.
 * Memory: the spec lives in the caller's context.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_agg.h"
#include "parser/parse_node.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "stream/stream.h"
#include "view/view_internal.h"

#define ANY_VALUE_OID 6291		/* any_value(), new in 16 */

static bool
srf_walker(Node *node, int *location)
{
	if (node == NULL)
		return false;
	if ((IsA(node, FuncExpr) && ((FuncExpr *) node)->funcretset) ||
		(IsA(node, OpExpr) && ((OpExpr *) node)->opretset))
	{
		*location = exprLocation(node);
		return true;
	}
	return expression_tree_walker(node, srf_walker, location);
}

static int
srf_location(const Query *query)
{
	int			location = -1;

	(void) srf_walker((Node *) query->targetList, &location);
	return location;
}

static int
clause_location(const Query *query, List *clauses)
{
	return exprLocation(get_sortgroupclause_expr(linitial(clauses), query->targetList));
}

/* Clauses that a view does not have, each with what to do instead. */
static void
check_shape(const Query *query, ParseState *pstate)
{
	if (query->setOperations != NULL)
		tm_view_refuse(pstate, exprLocation((Node *) query->targetList),
					   "UNION, INTERSECT and EXCEPT are",
					   "Define one view per branch.");
	if (query->cteList != NIL)
		tm_view_refuse(pstate, ((CommonTableExpr *) linitial(query->cteList))->location,
					   "WITH is", "Write the query in one level.");
	if (query->hasWindowFuncs)
		tm_view_refuse(pstate, locate_windowfunc((Node *) query->targetList),
					   "an OVER clause is",
					   "Use it in the query that reads the view.");
	if (query->groupingSets != NIL)
		tm_view_refuse(pstate, exprLocation(linitial(query->groupingSets)),
					   "GROUPING SETS, CUBE and ROLLUP are",
					   "Group by all columns and roll up when the view is read.");
	if (query->distinctClause != NIL)
		tm_view_refuse(pstate, clause_location(query, query->distinctClause),
					   "SELECT DISTINCT is", "Use GROUP BY.");
	if (query->sortClause != NIL)
		tm_view_refuse(pstate, clause_location(query, query->sortClause),
					   "ORDER BY is",
					   "Use ORDER BY in the query that reads the view.");
	if (query->limitCount != NULL || query->limitOffset != NULL)
		tm_view_refuse(pstate, exprLocation(query->limitCount ? query->limitCount :
											query->limitOffset),
					   "LIMIT and OFFSET are",
					   "Use them in the query that reads the view.");
	if (query->rowMarks != NIL)
		tm_view_refuse(pstate, exprLocation((Node *) query->targetList),
					   "FOR UPDATE and its relatives are", "Omit the clause.");
	if (query->hasTargetSRFs)
		tm_view_refuse(pstate, srf_location(query),
					   "a set-returning function in the select list is",
					   "Use it in the FROM clause.");
	if (!query->hasAggs && query->groupClause == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a continuous view needs GROUP BY or an aggregate"),
				 errhint("To keep the rows themselves, store them with tidemark.start_ingest(stream, into_table => ...) and define a plain view over the table."),
				 parser_errposition(pstate, exprLocation((Node *) query->targetList))));
}

static bool
is_order_dependent(Oid aggfnoid)
{
	switch (aggfnoid)
	{
		case F_ARRAY_AGG_ANYNONARRAY:
		case F_ARRAY_AGG_ANYARRAY:
		case F_STRING_AGG_TEXT_TEXT:
		case F_STRING_AGG_BYTEA_BYTEA:
		case ANY_VALUE_OID:
			return true;
		default:
			return false;
	}
}

bool
tm_view_is_int8_sum(Oid aggregate)
{
	return aggregate == F_SUM_INT8 || aggregate == F_AVG_INT8;
}

bool
tm_view_state_is_bytes(const ViewState *state)
{
	return state->transtype == INTERNALOID && !tm_view_is_int8_sum(state->aggref->aggfnoid);
}

static bool
has_polymorphic_argument(Oid function)
{
	Oid		   *argtypes;
	int			nargs;
	bool		result = false;

	(void) get_func_signature(function, &argtypes, &nargs);
	for (int i = 0; i < nargs; i++)
		result |= IsPolymorphicType(argtypes[i]);
	pfree(argtypes);
	return result;
}

/* Refuse what cannot be kept as a state that combines. */
static void
check_aggregate(const Aggref *aggref, Form_pg_aggregate form, ParseState *pstate)
{
	char	   *name = get_func_name(aggref->aggfnoid);

	if (aggref->aggkind != AGGKIND_NORMAL)
		tm_view_refuse(pstate, aggref->location,
					   psprintf("ordered-set aggregate %s is", name),
					   "Store the rows in a table and compute it when reading.");
	if (aggref->aggdistinct != NIL)
		tm_view_refuse(pstate, aggref->location,
					   psprintf("DISTINCT in aggregate %s is", name),
					   "Group by the argument too, and count the groups when reading.");
	if (aggref->aggorder != NIL)
		tm_view_refuse(pstate, aggref->location,
					   psprintf("ORDER BY in aggregate %s is", name),
					   "Store the rows in a table and aggregate when reading.");
	if (is_order_dependent(aggref->aggfnoid))
		tm_view_refuse(pstate, aggref->location,
					   psprintf("aggregate %s, whose result depends on the order of rows, is", name),
					   "Store the rows in a table and aggregate when reading.");
	if (!OidIsValid(form->aggcombinefn) ||
		(form->aggtranstype == INTERNALOID &&
		 (!OidIsValid(form->aggserialfn) || !OidIsValid(form->aggdeserialfn))))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("aggregate %s not supported in a continuous view",
						format_procedure(aggref->aggfnoid)),
				 errdetail("It has no combine function, so it cannot be maintained incrementally."),
				 errhint("A user-defined aggregate needs COMBINEFUNC, and SERIALFUNC and DESERIALFUNC when its state type is internal."),
				 parser_errposition(pstate, aggref->location)));
	if (form->aggfinalextra && !IsPolymorphicType(form->aggtranstype) &&
		has_polymorphic_argument(form->aggfinalfn))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("aggregate %s not supported in a continuous view",
						format_procedure(aggref->aggfnoid)),
				 errdetail("Its final function needs the types of the arguments, which a stored state does not have."),
				 errhint("Declare the aggregate without FINALFUNC_EXTRA or with a polymorphic state type."),
				 parser_errposition(pstate, aggref->location)));
}

bool
tm_view_same_state(const Aggref *a, const Aggref *b)
{
	HeapTuple	ta;
	HeapTuple	tb;
	bool		same;

	if (!equal(a->args, b->args) || !equal(a->aggfilter, b->aggfilter) ||
		a->inputcollid != b->inputcollid || a->aggstar != b->aggstar ||
		a->aggvariadic != b->aggvariadic ||
		!equal(a->aggargtypes, b->aggargtypes))
		return false;
	if (a->aggfnoid == b->aggfnoid)
		return true;
	/* what is compared below does not make its state here */
	if (tm_view_is_int8_sum(a->aggfnoid) != tm_view_is_int8_sum(b->aggfnoid))
		return false;
	ta = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(a->aggfnoid));
	tb = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(b->aggfnoid));
	if (!HeapTupleIsValid(ta) || !HeapTupleIsValid(tb))
		elog(ERROR, "cache lookup failed for aggregate %u or %u", a->aggfnoid, b->aggfnoid);
	{
		Form_pg_aggregate fa = (Form_pg_aggregate) GETSTRUCT(ta);
		Form_pg_aggregate fb = (Form_pg_aggregate) GETSTRUCT(tb);
		bool		nulla;
		bool		nullb;
		Datum		inita = SysCacheGetAttr(AGGFNOID, ta, Anum_pg_aggregate_agginitval, &nulla);
		Datum		initb = SysCacheGetAttr(AGGFNOID, tb, Anum_pg_aggregate_agginitval, &nullb);

		same = fa->aggtransfn == fb->aggtransfn &&
			fa->aggtranstype == fb->aggtranstype &&
			fa->aggcombinefn == fb->aggcombinefn &&
			fa->aggserialfn == fb->aggserialfn &&
			fa->aggdeserialfn == fb->aggdeserialfn &&
			nulla == nullb &&
			(nulla || strcmp(TextDatumGetCString(inita), TextDatumGetCString(initb)) == 0) &&
			!IsPolymorphicType(fa->aggtranstype);
	}
	ReleaseSysCache(ta);
	ReleaseSysCache(tb);
	return same;
}

/* Add the state of an aggregate, unless another aggregate has the same one. */
static void
add_state(ViewSpec *spec, Aggref *aggref, ParseState *pstate)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Form_pg_aggregate form;
	ViewState  *state;
	Oid			argtypes[FUNC_MAX_ARGS];
	int			nargs;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggref->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	check_aggregate(aggref, form, pstate);
	for (int i = 0; i < spec->nstates; i++)
		if (tm_view_same_state(spec->states[i].aggref, aggref))
		{
			ReleaseSysCache(tuple);
			return;
		}
	state = &spec->states[spec->nstates++];
	state->aggref = aggref;
	nargs = get_aggregate_argtypes(aggref, argtypes);
	state->transtype = resolve_aggregate_transtype(aggref->aggfnoid, form->aggtranstype,
												   argtypes, nargs);
	state->type = state->transtype == INTERNALOID ? tm_meta_aggstate_type() :
		state->transtype;
	/* as the input's, for readers compare by it what has no final function */
	state->collation = get_typcollation(state->type);
	if (OidIsValid(state->collation) && OidIsValid(aggref->inputcollid))
		state->collation = aggref->inputcollid;
	ReleaseSysCache(tuple);
	if (get_typtype(state->type) == TYPTYPE_PSEUDO)
		tm_view_refuse(pstate, aggref->location,
					   psprintf("aggregate %s over type %s is",
								get_func_name(aggref->aggfnoid), format_type_be(state->type)),
					   "Cast the argument to a named type.");
}

typedef struct CollectContext
{
	ViewSpec   *spec;
	ParseState *pstate;
} CollectContext;

static bool
collect_aggregates_walker(Node *node, CollectContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		if (((Aggref *) node)->agglevelsup > 0)
			tm_view_refuse(context->pstate, exprLocation(node), "an aggregate of an outer query is",
						   "Write the query in one level.");
		add_state(context->spec, (Aggref *) node, context->pstate);
		return false;
	}
	if (IsA(node, GroupingFunc))
		tm_view_refuse(context->pstate, exprLocation(node), "GROUPING() is",
					   "Group by all columns and roll up when the view is read.");
	return expression_tree_walker(node, collect_aggregates_walker, context);
}

/*
 * After keys and aggregates are taken out, nothing that needs the rows may be
 * left in what readers see: no other column, no subquery.
 */
static bool
check_outputs_walker(Node *node, CollectContext *context)
{
	if (node == NULL || IsA(node, Aggref))
		return false;
	for (int i = 0; i < context->spec->nkeys; i++)
		if (equal(node, context->spec->keys[i].expr))
			return false;
	if (IsA(node, Var))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a column that is neither grouped nor aggregated is not supported in a continuous view"),
				 errhint("Add the column to GROUP BY."),
				 parser_errposition(context->pstate, exprLocation(node))));
	if (IsA(node, SubLink))
		tm_view_refuse(context->pstate, exprLocation(node),
					   "a subquery in the select list or in HAVING is",
					   "Join when the view is read.");
	return expression_tree_walker(node, check_outputs_walker, context);
}

static void
add_key(ViewSpec *spec, SortGroupClause *clause, ParseState *pstate)
{
	ViewKey    *key = &spec->keys[spec->nkeys++];
	Node	   *expr = get_sortgroupclause_expr(clause, spec->query->targetList);

	key->expr = (Expr *) expr;
	key->sortgroupref = clause->tleSortGroupRef;
	key->type = exprType(expr);
	key->typmod = exprTypmod(expr);
	key->collation = exprCollation(expr);
	key->end_of = -1;
	/* what an array or a row consists of counts, too */
	if (!OidIsValid(lookup_type_cache(key->type, TYPECACHE_LT_OPR)->lt_opr))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s has no default btree operator class", format_type_be(key->type)),
				 errhint("Group by an expression of another type."),
				 parser_errposition(pstate, exprLocation(expr))));
	if (get_typtype(getBaseType(key->type)) == TYPTYPE_PSEUDO)
		tm_view_refuse(pstate, exprLocation(expr),
					   psprintf("a group key of type %s is", format_type_be(key->type)),
					   "Cast it to a named type, or group by its fields.");
}

/* Columns of the state table: stored keys first, then states. */
static void
number_columns(ViewSpec *spec, ParseState *pstate)
{
	AttrNumber	attno = 0;

	for (int i = 0; i < spec->nkeys; i++)
		if (spec->keys[i].end_of < 0)
			spec->keys[i].attno = ++attno;
	spec->no_keys = attno == 0;
	if (spec->no_keys)
		attno = 1;
	spec->nstored_keys = spec->nunique_keys = attno;
	if (spec->window.kind == VIEW_WINDOW_SESSION)
		spec->nunique_keys--;
	if (spec->nunique_keys > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a continuous view cannot have more than %d group keys",
						INDEX_MAX_KEYS),
				 errhint("Group by a ROW of a composite type, or by an array."),
				 parser_errposition(pstate, exprLocation((Node *) spec->keys[INDEX_MAX_KEYS].expr))));
	for (int i = 0; i < spec->nstates; i++)
		spec->states[i].attno = ++attno;
}

typedef struct NeededContext
{
	Index		rti;
	int			sublevels_up;
	Bitmapset  *needed;
} NeededContext;

/* Attributes of the source, at any query depth. */
static bool
needed_walker(Node *node, NeededContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varno == (int) context->rti && (int) var->varlevelsup == context->sublevels_up)
			context->needed = bms_add_member(context->needed,
											 var->varattno - FirstLowInvalidHeapAttributeNumber);
		return false;
	}
	if (IsA(node, Query))
	{
		bool		result;

		context->sublevels_up++;
		result = query_tree_walker((Query *) node, needed_walker, context, 0);
		context->sublevels_up--;
		return result;
	}
	return expression_tree_walker(node, needed_walker, context);
}

/*
 * Of a subquery that makes sessions: the columns that the view does not read,
 * for SELECT * is common there.
 */
static void
remove_unread_columns(const ViewSpec *spec, Query *level)
{
	NeededContext context = {.rti = spec->window.rti};
	List	   *kept = NIL;
	ListCell   *lc;

	(void) needed_walker((Node *) spec->query->targetList, &context);
	(void) needed_walker(spec->query->havingQual, &context);
	foreach(lc, level->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (tle->ressortgroupref != 0 ||
			bms_is_member(tle->resno - FirstLowInvalidHeapAttributeNumber, context.needed))
			kept = lappend(kept, tle);
	}
	level->targetList = kept;
}

/*
 * Which columns of the source does the query read?  Joins keep lists of all
 * columns of both sides; only what is really used counts, so alias variables
 * are resolved first.
 */
static Bitmapset *
find_needed(const ViewSpec *spec)
{
	NeededContext context = {.rti = spec->source_rti};
	Query	   *query = copyObject(tm_view_source_level(spec, spec->query));
	ListCell   *lc;

	if (spec->window.kind == VIEW_WINDOW_SESSION)
		remove_unread_columns(spec, query);
	query->targetList = (List *) tm_flatten_join_alias_vars(query, (Node *) query->targetList);
	query->havingQual = tm_flatten_join_alias_vars(query, query->havingQual);
	query->jointree = (FromExpr *) tm_flatten_join_alias_vars(query, (Node *) query->jointree);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		rte->functions = (List *) tm_flatten_join_alias_vars(query, (Node *) rte->functions);
		rte->values_lists = (List *) tm_flatten_join_alias_vars(query, (Node *) rte->values_lists);
		rte->subquery = (Query *) tm_flatten_join_alias_vars(query, (Node *) rte->subquery);
	}
	(void) query_tree_walker(query, needed_walker, &context, QTW_IGNORE_JOINALIASES);
	return context.needed;
}

/* Columns of the source that a view cannot read. */
static void
check_needed(const ViewSpec *spec, ParseState *pstate)
{
	const Query *level = tm_view_source_level(spec, spec->query);
	int			x = -1;

	while ((x = bms_next_member(spec->needed, x)) >= 0)
	{
		AttrNumber	attno = x + FirstLowInvalidHeapAttributeNumber;

		int			location = tm_view_column_location(level, spec->source_rti, attno);

		if (attno == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the whole row of \"%s\" is not supported in a continuous view",
							get_rel_name(spec->source)),
					 errhint("Name the columns that are needed."),
					 parser_errposition(pstate, location)));
		if (attno < 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("system columns are not supported in a continuous view"),
					 errhint("Use columns of the source."),
					 parser_errposition(pstate, location)));
		/* ATTRIBUTE_GENERATED_VIRTUAL, new in 18 */
		if (get_attgenerated(spec->source, attno) == 'v')
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("virtual generated column \"%s\" is not supported in a continuous view",
							get_attname(spec->source, attno, false)),
					 errdetail("Rows of a batch do not have its value."),
					 errhint("Make the column STORED, or use its expression."),
					 parser_errposition(pstate, location)));
	}
	if (spec->source_is_stream)
	{
		StreamOptions *options = tm_stream_get_options(spec->source);

		for (int i = 0; i < options->ncolumns; i++)
		{
			StreamColumn *column = &options->columns[i];

			if ((column->metadata == STREAM_META_INGEST_TIME ||
				 column->metadata == STREAM_META_WATERMARK) &&
				bms_is_member(column->attnum - FirstLowInvalidHeapAttributeNumber, spec->needed))
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("column \"%s\" is not supported in a continuous view over a stream",
								column->name),
						 errdetail("Its value is not in the log, so the view could not be recomputed."),
						 errhint("Store the stream in a table with tidemark.start_ingest() and define the view over the table."),
						 parser_errposition(pstate,
											tm_view_column_location(level, spec->source_rti,
																	column->attnum))));
		}
	}
}

/* Rows of a table are judged by these columns of it. */
static void
add_judged(ViewSpec *spec)
{
	AttrNumber	judged[] = {spec->event_time, spec->partition_att, spec->offset_att,
	spec->watermark_att};

	if (spec->source_is_stream || !VIEW_CLOSES(&spec->options))
		return;
	for (int i = 0; i < (int) lengthof(judged); i++)
		spec->needed = bms_add_member(spec->needed,
									  judged[i] - FirstLowInvalidHeapAttributeNumber);
}

ViewSpec *
tm_view_analyze(const Query *user_query, const char *source_text, Oid view_owner,
				const ContinuousOptions *options)
{
	ViewSpec   *spec = palloc0(sizeof(ViewSpec));
	ParseState *pstate = make_parsestate(NULL);
	CollectContext context = {.spec = spec,.pstate = pstate};
	Query	   *query = copyObject(unconstify(Query *, user_query));
	List	   *aggregates;
	ListCell   *lc;

	pstate->p_sourcetext = source_text;
	spec->query = query;
	spec->options = *options;
	tm_flatten_groups(query);
	tm_view_find_session(spec, pstate);
	check_shape(query, pstate);
	tm_view_refuse_functions(query, pstate);
	tm_view_find_source(spec, pstate, view_owner);

	spec->keys = palloc0(sizeof(ViewKey) * Max(list_length(query->groupClause), 1));
	foreach(lc, query->groupClause)
		add_key(spec, lfirst(lc), pstate);
	tm_view_find_window(spec, pstate);
	tm_view_find_time_columns(spec);

	aggregates = pull_var_clause((Node *) list_make2(query->targetList, query->havingQual),
								 PVC_INCLUDE_AGGREGATES | PVC_RECURSE_PLACEHOLDERS);
	spec->states = palloc0(sizeof(ViewState) * Max(list_length(aggregates), 1));
	(void) collect_aggregates_walker((Node *) query->targetList, &context);
	(void) collect_aggregates_walker(query->havingQual, &context);
	number_columns(spec, pstate);
	(void) check_outputs_walker((Node *) query->targetList, &context);
	(void) check_outputs_walker(query->havingQual, &context);
	spec->needed = find_needed(spec);
	check_needed(spec, pstate);
	tm_view_check_closing(spec, pstate);
	add_judged(spec);
	free_parsestate(pstate);
	return spec;
}

Query *
tm_view_get_query(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query;
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_VIEW)
		elog(ERROR, "relation \"%s\" is not a view", RelationGetRelationName(rel));
	query = copyObject(get_view_query(rel));
	/* the stored query keeps the names that its columns had at first */
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk)
			tle->resname = pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel), tle->resno - 1)->attname));
	}
	table_close(rel, NoLock);
	return query;
}

ViewSpec *
tm_view_load_spec(const MetaView *view)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view->query_view));
	ContinuousOptions options;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", view->query_view);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	tm_view_read_options(view->options, &options);
	return tm_view_analyze(tm_view_get_query(view->query_view), NULL, owner, &options);
}
