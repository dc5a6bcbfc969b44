/*
 * view_rewrite.c
 *	  ViewSpec -> the queries and definitions derived from it.
 *
 * All rewriting works on Query trees; text appears only at the end, through
 * pg_get_querydef(), where an object has to be made of it.
 *
 * Runs in: backends at CREATE; wherever a view is maintained or verified.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "view/view_internal.h"

/* ---- visible query ---- */

typedef struct FinalContext
{
	const ViewSpec *spec;
} FinalContext;

static Node *
make_state_var(AttrNumber attno, Oid type, int32 typmod, Oid collation)
{
	return (Node *) makeVar(1, attno, type, typmod, collation, 0);
}

/*
 * tidemark.final('agg'::regprocedure, state, NULL::result), or the state itself
 * where an aggregate's result is its state.
 */
static Node *
make_final(const Aggref *aggref, const ViewState *state)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Oid			finalfn;
	Node	   *var;
	Node	   *result;
	Oid			argtypes[3] = {REGPROCEDUREOID, ANYOID, ANYELEMENTOID};

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggref->aggfnoid);
	finalfn = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggfinalfn;
	ReleaseSysCache(tuple);

	var = make_state_var(state->attno, state->type, -1, state->collation);
	if (!OidIsValid(finalfn) && state->type == aggref->aggtype)
		return var;
	result = (Node *) makeNullConst(aggref->aggtype, -1, get_typcollation(aggref->aggtype));
	if (aggref->aggcollid != get_typcollation(aggref->aggtype))
	{
		/* the result's collation, in the text of the view */
		CollateExpr *collate = makeNode(CollateExpr);

		collate->arg = (Expr *) result;
		collate->collOid = aggref->aggcollid;
		collate->location = -1;
		result = (Node *) collate;
	}
	return (Node *) makeFuncExpr(tm_meta_function("tidemark", "final", 3, argtypes),
								 aggref->aggtype,
								 list_make3(makeConst(REGPROCEDUREOID, -1, InvalidOid, sizeof(Oid),
													  ObjectIdGetDatum(aggref->aggfnoid), false, true),
											var,
											result),
								 aggref->aggcollid, aggref->inputcollid, COERCE_EXPLICIT_CALL);
}

Node *
tm_view_make_end(const ViewSpec *spec, Node *start, const List *window_args)
{
	List	   *args = lcons(start, copyObject(unconstify(List *, window_args)));
	Oid			argtypes[5];
	int			nargs = 0;
	ListCell   *lc;

	foreach(lc, args)
		argtypes[nargs++] = exprType(lfirst(lc));
	return (Node *) makeFuncExpr(tm_meta_function("tidemark", spec->window.kind == VIEW_WINDOW_HOP ? "hop_end" : "tumble_end", nargs, argtypes),
								 exprType(start), args, InvalidOid, DEFAULT_COLLATION_OID,
								 COERCE_EXPLICIT_CALL);
}

/* A group key as readers see it: its column, or derived from window_start. */
Node *
tm_view_make_key(const ViewSpec *spec, const ViewKey *key)
{
	const ViewKey *start;

	if (key->end_of < 0)
		return make_state_var(key->attno, key->type, key->typmod, key->collation);
	start = &spec->keys[key->end_of];
	return tm_view_make_end(spec,
							make_state_var(start->attno, start->type, start->typmod, start->collation),
							key->window_args);
}

/* Replace group keys and aggregates by what the state table has. */
static Node *
finalise_mutator(Node *node, FinalContext *context)
{
	const ViewSpec *spec = context->spec;

	if (node == NULL)
		return NULL;
	for (int i = 0; i < spec->nkeys; i++)
		if (equal(node, spec->keys[i].expr))
			return tm_view_make_key(spec, &spec->keys[i]);
	if (IsA(node, Aggref))
	{
		for (int i = 0; i < spec->nstates; i++)
			if (tm_view_same_state(spec->states[i].aggref, (Aggref *) node))
				return make_final((Aggref *) node, &spec->states[i]);
		elog(ERROR, "aggregate without a state");
	}
	if (IsA(node, Var))
		elog(ERROR, "column without a group key");
	return expression_tree_mutator(node, finalise_mutator, context);
}

Node *
tm_view_finalise(const ViewSpec *spec, Node *node)
{
	FinalContext context = {.spec = spec};

	return finalise_mutator(node, &context);
}

Query *
tm_view_make_query(Oid table)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Relation	rel = table_open(table, AccessShareLock);
	List	   *colnames = NIL;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
		colnames = lappend(colnames,
						   makeString(pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel), i)->attname))));
	rte->rtekind = RTE_RELATION;
	rte->relid = table;
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = AccessShareLock;
	rte->inh = true;
	rte->inFromCl = true;
	rte->eref = makeAlias(RelationGetRelationName(rel), colnames);
	table_close(rel, NoLock);
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	tm_require_select(query, rte);
	return query;
}

void
tm_view_add_final_columns(const ViewSpec *spec, Query *query)
{
	ListCell   *lc;

	foreach(lc, spec->query->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk)
			query->targetList = lappend(query->targetList,
										makeTargetEntry((Expr *) tm_view_finalise(spec, (Node *) tle->expr),
														list_length(query->targetList) + 1,
														tle->resname, false));
	}
}

Node *
tm_view_make_populated(Oid state_table)
{
	Oid			argtypes[1] = {REGCLASSOID};

	return (Node *) makeFuncExpr(tm_meta_function("tidemark", "is_populated", 1, argtypes),
								 BOOLOID,
								 list_make1(makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid),
													  ObjectIdGetDatum(state_table), false, true)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

Query *
tm_view_visible_query(const ViewSpec *spec, Oid state_table)
{
	Query	   *query = tm_view_make_query(state_table);
	Node	   *populated = tm_view_make_populated(state_table);

	tm_view_add_final_columns(spec, query);
	query->jointree->quals = populated;
	if (spec->query->havingQual != NULL)
		query->jointree->quals = (Node *)
			makeBoolExpr(AND_EXPR, list_make2(populated, tm_view_finalise(spec, spec->query->havingQual)), -1);
	return query;
}

/* ---- the two sides of verify() ---- */

Query *
tm_view_kept_query(const ViewSpec *spec, Oid state_table)
{
	Query	   *query = tm_view_make_query(state_table);
	AttrNumber	resno = 0;

	for (int i = 0; i < spec->nkeys; i++)
		if (spec->keys[i].end_of < 0)
		{
			resno++;
			query->targetList = lappend(query->targetList,
										makeTargetEntry((Expr *) tm_view_make_key(spec, &spec->keys[i]), resno,
														psprintf("k%d", resno), false));
		}
	tm_view_add_final_columns(spec, query);
	if (spec->query->havingQual != NULL)
		query->jointree->quals = tm_view_finalise(spec, spec->query->havingQual);
	return query;
}

Query *
tm_view_batch_query(const ViewSpec *spec)
{
	Query	   *query = copyObject(spec->query);
	List	   *outputs = query->targetList;
	AttrNumber	resno = 0;
	ListCell   *lc;

	/* keys in front; entries that are grouped by keep their references */
	query->targetList = NIL;
	for (int i = 0; i < spec->nkeys; i++)
		if (spec->keys[i].end_of < 0)
		{
			resno++;
			query->targetList = lappend(query->targetList,
										makeTargetEntry(copyObject(spec->keys[i].expr), resno,
														psprintf("k%d", resno), false));
		}
	foreach(lc, outputs)
	{
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk)
		{
			tle->resno = ++resno;
			query->targetList = lappend(query->targetList, tle);
		}
	}
	foreach(lc, outputs)
	{
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
		{
			tle->resno = ++resno;
			query->targetList = lappend(query->targetList, tle);
		}
	}
	return query;
}

/* ---- tolerance ---- */

static bool
is_float_state(Oid transtype, double *tolerance)
{
	double		mine;

	if (transtype == FLOAT8OID || transtype == FLOAT8ARRAYOID)
		mine = 1e-9;
	else if (transtype == FLOAT4OID || transtype == FLOAT4ARRAYOID)
		mine = 1e-5;
	else
		return false;
	*tolerance = Max(*tolerance, mine);
	return true;
}

typedef struct ToleranceContext
{
	const ViewSpec *spec;
	double		tolerance;
} ToleranceContext;

static bool
tolerance_walker(Node *node, ToleranceContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		for (int i = 0; i < context->spec->nstates; i++)
			if (tm_view_same_state(context->spec->states[i].aggref, (Aggref *) node))
				(void) is_float_state(context->spec->states[i].transtype, &context->tolerance);
		return false;
	}
	return expression_tree_walker(node, tolerance_walker, context);
}

double
tm_view_column_tolerance(const ViewSpec *spec, int column)
{
	ToleranceContext context = {.spec = spec};
	ListCell   *lc;
	int			i = 0;

	foreach(lc, spec->query->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk && i++ == column)
			(void) tolerance_walker((Node *) tle->expr, &context);
	}
	return context.tolerance;
}

/* ---- the state table as SQL ---- */

void
tm_view_append_column(StringInfo buf, const char *name, Oid type, int32 typmod, Oid collation)
{
	appendStringInfo(buf, "%s%s %s", buf->len ? ", " : "", name,
					 format_type_extended(type, typmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation) && collation != get_typcollation(type))
		appendStringInfo(buf, " COLLATE %s",
						 generate_collation_name(collation));
}

char *
tm_view_state_columns(const ViewSpec *spec)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (spec->no_keys)
		appendStringInfoString(&buf, "g1 smallint NOT NULL");
	for (int i = 0; i < spec->nkeys; i++)
	{
		const ViewKey *key = &spec->keys[i];

		if (key->end_of < 0)
			tm_view_append_column(&buf, psprintf("g%d", key->attno), key->type, key->typmod, key->collation);
	}
	for (int i = 0; i < spec->nstates; i++)
	{
		const ViewState *state = &spec->states[i];

		tm_view_append_column(&buf, psprintf("a%d", state->attno), state->type, -1, state->collation);
	}
	return buf.data;
}

char *
tm_view_state_keys(const ViewSpec *spec)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 1; i <= spec->nunique_keys; i++)
		appendStringInfo(&buf, "%sg%d", i > 1 ? ", " : "", i);
	return buf.data;
}

static char *
get_type_name(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	name = pstrdup(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname));
	ReleaseSysCache(tuple);
	return name;
}

char *
tm_view_function_name(Oid function)
{
	Oid		   *types;
	int			n;
	StringInfoData buf;

	(void) get_func_signature(function, &types, &n);
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s(", get_func_name(function));
	for (int i = 0; i < n; i++)
		appendStringInfo(&buf, i > 0 ? ",%s" : "%s", get_type_name(types[i]));
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

/*
 * The server's own transition types may change with its major version.  Others
 * cannot, while a column is of that type; but they may be renamed.
 */
List *
tm_view_state_stamps(const ViewSpec *spec)
{
	List	   *stamps = NIL;

	for (int i = 0; i < spec->nstates; i++)
	{
		const ViewState *state = &spec->states[i];
		HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(state->aggref->aggfnoid));
		Form_pg_aggregate form;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for aggregate %u", state->aggref->aggfnoid);
		form = (Form_pg_aggregate) GETSTRUCT(tuple);
		if (tm_view_is_int8_sum(state->aggref->aggfnoid))
			stamps = lappend(stamps, pstrdup("int8_sum"));
		else
			stamps = lappend(stamps,
							 psprintf("%s %s%s",
									  state->transtype < FirstNormalObjectId ?
									  get_type_name(state->transtype) : "-",
									  tm_view_function_name(form->aggtransfn),
									  state->transtype == INTERNALOID ?
									  psprintf(" %d", tm_state_format(form->aggserialfn)) : ""));
		ReleaseSysCache(tuple);
	}
	return stamps;
}

bool
tm_view_equal_texts(const List *a, const List *b)
{
	const ListCell *ca;
	const ListCell *cb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(ca, a, cb, b)
		if (strcmp(lfirst(ca), lfirst(cb)) != 0)
		return false;
	return true;
}

bool
tm_view_has_current_states(const MetaView *view, const ViewSpec *spec)
{
	return tm_view_equal_texts(tm_view_state_stamps(spec), view->stamps);
}

static bool
has_state_columns(TupleDesc desc, const ViewSpec *spec)
{
	/* keys cannot change: the server asks whoever alters their source */
	if (spec->nstates > 0 && desc->natts != spec->states[spec->nstates - 1].attno)
		return false;
	for (int i = 0; i < spec->nstates; i++)
		if (TupleDescAttr(desc, spec->states[i].attno - 1)->atttypid != spec->states[i].type)
			return false;
	return true;
}

void
tm_view_check_state_columns(const MetaView *view, const ViewSpec *spec)
{
	Relation	rel = table_open(view->state_table, AccessShareLock);
	bool		fits = has_state_columns(RelationGetDescr(rel), spec);

	table_close(rel, AccessShareLock);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("stored states of continuous view \"%s\" do not fit its aggregates any more",
						get_rel_name(view->view)),
				 errdetail("An aggregate has changed, by CREATE OR REPLACE AGGREGATE or with a major version of PostgreSQL."),
				 errhint("Drop the view and create it again.")));
}
