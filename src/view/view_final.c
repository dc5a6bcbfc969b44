/*
 * view_final.c
 *	  The table of closed windows of a view with tidemark.emit = 'final', and
 *	  the statements that fill it.
 *
 * f_<n> is an ordinary table with the user's columns, so that his indexes and
 * triggers work on it.  Behind them come closed_at, the revision, and whatever
 * key the user does not output: each row says which group it is of.
 *
 * The visible view of such a view reads f_<n> alone.
 *
 * Statements are made as text, from trees: the executor runs them with the
 * triggers, and plans are kept by PostgreSQL's plan cache.
 *
 * Runs in: backends, at CREATE; wherever windows are closed.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "view/view_internal.h"

/* how much longer than 24 hours per day a window in a time zone may be */
#define ZONE_SLACK	(26 * USECS_PER_HOUR)

/* ---- columns ---- */

/* Position among the output columns of an expression that is one, or 0. */
static AttrNumber
output_column(const ViewSpec *spec, const Expr *expr)
{
	AttrNumber	attno = 0;
	ListCell   *lc;

	foreach(lc, spec->query->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
			continue;
		attno++;
		if (equal(tle->expr, expr))
			return attno;
	}
	return InvalidAttrNumber;
}

static int
count_output(const ViewSpec *spec)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, spec->query->targetList)
		if (!((TargetEntry *) lfirst(lc))->resjunk)
		n++;
	return n;
}

int
tm_view_lead_key(const ViewSpec *spec)
{
	return spec->window.kind == VIEW_WINDOW_SESSION ? spec->window.end_key : 0;
}

ViewFinal *
tm_view_final_layout(const ViewSpec *spec)
{
	ViewFinal  *final = palloc0(sizeof(ViewFinal));
	AttrNumber	next;

	final->noutput = count_output(spec);
	next = final->noutput + 1;
	final->closed_at = next++;
	if (spec->options.emit == VIEW_EMIT_REVISIONS)
		final->revision = next++;
	final->keys = palloc0(sizeof(AttrNumber) * Max(spec->nkeys, 1));
	for (int i = 0; i < spec->nkeys; i++)
	{
		final->keys[i] = output_column(spec, spec->keys[i].expr);
		if (final->keys[i] == InvalidAttrNumber && spec->keys[i].end_of < 0)
			final->keys[i] = next++;
	}
	final->window = tm_view_lead_key(spec);
	if (spec->window.end_key >= 0 && final->keys[spec->window.end_key] > 0 &&
		final->keys[spec->window.end_key] <= final->noutput)
		final->window = spec->window.end_key;
	return final;
}

static void
refuse_name(const char *name, const char *added)
{
	if (strcmp(name, added) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("column \"%s\" of the continuous view has a name that tidemark.emit adds", name),
				 errhint("Give it another name with AS.")));
}

static void
append_output(StringInfo buf, const ViewSpec *spec, const List *names)
{
	int			i = 0;
	ListCell   *lc;

	foreach(lc, spec->query->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		const char *name = tle->resname;
		Node	   *expr = (Node *) tle->expr;

		if (tle->resjunk)
			continue;
		if (i < list_length(names))
			name = strVal(list_nth(names, i));
		i++;
		refuse_name(name, "closed_at");
		if (spec->options.emit == VIEW_EMIT_REVISIONS)
			refuse_name(name, "revision");
		tm_view_append_column(buf, quote_identifier(name), exprType(expr), exprTypmod(expr),
							  exprCollation(expr));
	}
}

char *
tm_view_final_definition(const ViewSpec *spec, const List *names)
{
	ViewFinal  *final = tm_view_final_layout(spec);
	StringInfoData buf;

	initStringInfo(&buf);
	append_output(&buf, spec, names);
	appendStringInfoString(&buf, ", closed_at timestamptz NOT NULL");
	if (final->revision != InvalidAttrNumber)
		appendStringInfoString(&buf, ", revision integer NOT NULL");
	for (int i = 0; i < spec->nkeys; i++)
	{
		const ViewKey *key = &spec->keys[i];

		if (final->keys[i] > final->noutput)
			tm_view_append_column(&buf, psprintf("tm_key_%d", key->attno), key->type,
								  key->typmod, key->collation);
	}
	return buf.data;
}

List *
tm_view_final_indexed(const ViewSpec *spec, Oid final_table)
{
	ViewFinal  *final = tm_view_final_layout(spec);
	AttrNumber	window = final->keys[final->window];
	List	   *names = list_make1(get_attname(final_table, window, false));
	int			keys[2] = {spec->window.start_key, spec->window.end_key};

	for (int i = 0; i < (int) lengthof(keys); i++)
	{
		AttrNumber	attno = keys[i] >= 0 ? final->keys[keys[i]] : InvalidAttrNumber;

		if (attno > 0 && attno <= final->noutput && attno != window)
			names = lappend(names, get_attname(final_table, attno, false));
	}
	return names;
}

/* ---- the end of a window ---- */

static Node *
make_key_var(const ViewKey *key, AttrNumber attno)
{
	return (Node *) makeVar(1, attno, key->type, key->typmod, key->collation, 0);
}

Expr *
tm_view_state_window_end(const ViewSpec *spec)
{
	const ViewWindow *window = &spec->window;
	const ViewKey *start;

	if (window->end_key >= 0)
		return (Expr *) tm_view_make_key(spec, &spec->keys[window->end_key]);
	start = &spec->keys[window->start_key];
	return (Expr *) tm_view_make_end(spec, make_key_var(start, start->attno), tm_view_end_args(spec->window.call));
}

Expr *
tm_view_final_window_end(const ViewSpec *spec)
{
	ViewFinal  *final = tm_view_final_layout(spec);
	const ViewKey *key = &spec->keys[final->window];
	Node	   *var = make_key_var(key, final->keys[final->window]);

	if (final->window == spec->window.end_key)
		return (Expr *) var;
	return (Expr *) tm_view_make_end(spec, var, tm_view_end_args(spec->window.call));
}

static bool
is_utc(Node *zone)
{
	return IsA(zone, Const) && !((Const *) zone)->constisnull &&
		strcmp(TextDatumGetCString(((Const *) zone)->constvalue), "UTC") == 0;
}

/* The arguments size and timezone of the window function; no zone: NULL. */
static void
get_size(const ViewSpec *spec, Node **size, Node **zone)
{
	List	   *args = spec->window.call->args;
	int			i = spec->window.kind == VIEW_WINDOW_HOP ? 2 : 1;

	*size = eval_const_expressions(NULL, list_nth(args, i));
	*zone = list_length(args) > i + 2 ? eval_const_expressions(NULL, list_nth(args, i + 2)) : NULL;
}

/* At most; -1: unknown. */
static int64
window_length(const ViewSpec *spec)
{
	Node	   *size;
	Node	   *zone;
	Interval   *span;
	int64		days;

	get_size(spec, &size, &zone);
	if (!IsA(size, Const) || ((Const *) size)->constisnull)
		return -1;
	span = DatumGetIntervalP(((Const *) size)->constvalue);
	days = span->day + (int64) span->month * 31;
	if (days == 0 || (span->month == 0 && (zone == NULL || is_utc(zone))))
		return span->time + days * USECS_PER_DAY;
	return span->time + days * USECS_PER_DAY + ZONE_SLACK;
}

int64
tm_view_lead_distance(const ViewSpec *spec)
{
	return tm_view_lead_key(spec) == spec->window.end_key ? 0 : window_length(spec);
}

/* A row that was left out might have joined sessions to one that ends much later. */
int64
tm_view_verdict_distance(const ViewSpec *spec)
{
	if (spec->window.kind == VIEW_WINDOW_SESSION)
		return -1;
	return VIEW_WINDOW_LEAD_IS_END(&spec->window) ? 0 : window_length(spec);
}

/* ---- queries ---- */

Query *
tm_view_final_query(const ViewSpec *spec, Oid final_table, Oid state_table)
{
	ViewFinal  *final = tm_view_final_layout(spec);
	Query	   *query = tm_view_make_query(final_table);
	AttrNumber	last = Max(final->closed_at, final->revision);

	for (AttrNumber attno = 1; attno <= last; attno++)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(final_table, attno, &type, &typmod, &collation);
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) makeVar(1, attno, type, typmod, collation, 0),
													attno, get_attname(final_table, attno, false),
													false));
	}
	query->jointree->quals = tm_view_make_populated(state_table);
	return query;
}

static Expr *
make_final_var(Oid final_table, AttrNumber attno)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(final_table, attno, &type, &typmod, &collation);
	return (Expr *) makeVar(1, attno, type, typmod, collation, 0);
}

static void
add_final_column(Query *query, Oid final_table, AttrNumber attno, char *name, bool junk)
{
	query->targetList = lappend(query->targetList,
								makeTargetEntry(make_final_var(final_table, attno),
												list_length(query->targetList) + 1, name, junk));
}

/* ORDER BY a column, from the greatest value down for reverse. */
static SortGroupClause *
add_sort(Query *query, int column, bool reverse)
{
	TargetEntry *tle = list_nth(query->targetList, column);
	SortGroupClause *clause = makeNode(SortGroupClause);
	Oid			lt;
	Oid			gt;

	get_sort_group_operators(exprType((Node *) tle->expr), true, true, true, &lt, &clause->eqop,
							 &gt, &clause->hashable);
	clause->sortop = reverse ? gt : lt;
	clause->nulls_first = reverse;
	tm_set_reverse_sort(clause, reverse);
	tle->ressortgroupref = clause->tleSortGroupRef = column + 1;
	query->sortClause = lappend(query->sortClause, clause);
	return clause;
}

/* DISTINCT ON the keys, ORDER BY them and the revision, the last one first. */
static void
choose_last_revision(Query *query, Oid final_table, AttrNumber revision, int nkeys)
{
	add_final_column(query, final_table, revision, "revision", true);
	for (int i = 0; i < nkeys; i++)
		query->distinctClause = lappend(query->distinctClause,
										copyObject(add_sort(query, i, false)));
	(void) add_sort(query, list_length(query->targetList) - 1, true);
	query->hasDistinctOn = true;
}

Query *
tm_view_kept_final_query(const ViewSpec *spec, Oid final_table)
{
	ViewFinal  *final = tm_view_final_layout(spec);
	Query	   *query = tm_view_make_query(final_table);
	int			nkeys = 0;

	for (int i = 0; i < spec->nkeys; i++)
		if (spec->keys[i].end_of < 0)
			add_final_column(query, final_table, final->keys[i], psprintf("k%d", ++nkeys), false);
	for (int i = 1; i <= final->noutput; i++)
		add_final_column(query, final_table, i, get_attname(final_table, i, false), false);
	if (final->revision != InvalidAttrNumber)
		choose_last_revision(query, final_table, final->revision, nkeys);
	return query;
}

/* ctid = ANY ($1) */
static Node *
make_chosen(void)
{
	ScalarArrayOpExpr *op = makeNode(ScalarArrayOpExpr);
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = 1;
	param->paramtype = TIDARRAYOID;
	param->paramtypmod = -1;
	param->location = -1;
	op->opno = TIDEqualOperator;
	op->opfuncid = F_TIDEQ;
	op->useOr = true;
	op->args = list_make2(makeVar(1, SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, 0),
						  param);
	op->location = -1;
	return (Node *) op;
}

/* The chosen groups: the user's output columns, then the stored keys. */
static char *
chosen_rows(const MetaView *view, const ViewSpec *spec)
{
	Query	   *query = tm_view_make_query(view->state_table);

	tm_view_add_final_columns(spec, query);
	for (int i = 0; i < spec->nkeys; i++)
		if (spec->keys[i].end_of < 0)
			query->targetList = lappend(query->targetList,
										makeTargetEntry((Expr *) tm_view_make_key(spec, &spec->keys[i]),
														list_length(query->targetList) + 1,
														psprintf("k%d", i), false));
	query->jointree->quals = make_chosen();
	if (spec->query->havingQual != NULL)
		query->jointree->quals = (Node *)
			makeBoolExpr(AND_EXPR, list_make2(query->jointree->quals,
											  tm_view_finalise(spec, spec->query->havingQual)), -1);
	return pg_get_querydef(query, false);
}

/* FROM (chosen rows) AS n (o1, .., k0, ..) */
static void
append_from(StringInfo buf, const MetaView *view, const ViewSpec *spec)
{
	int			noutput = count_output(spec);

	appendStringInfo(buf, " FROM (%s) AS n (", chosen_rows(view, spec));
	for (int i = 1; i <= noutput; i++)
		appendStringInfo(buf, "%so%d", i > 1 ? ", " : "", i);
	for (int i = 0; i < spec->nkeys; i++)
		if (spec->keys[i].end_of < 0)
			appendStringInfo(buf, ", k%d", i);
	appendStringInfoChar(buf, ')');
}

/* In order of windows. */
static void
append_order(StringInfo buf, const ViewSpec *spec)
{
	int			lead = tm_view_lead_key(spec);

	if (spec->nkeys == 0)
		return;
	appendStringInfo(buf, " ORDER BY n.k%d", lead);
	for (int i = 0; i < spec->nkeys; i++)
		if (i != lead && spec->keys[i].end_of < 0)
			appendStringInfo(buf, ", n.k%d", i);
}

char *
tm_view_rows_statement(const MetaView *view, const ViewSpec *spec)
{
	StringInfoData buf;
	int			noutput = count_output(spec);

	initStringInfo(&buf);
	for (int i = 1; i <= noutput; i++)
		appendStringInfo(&buf, "%s n.o%d AS %s", i > 1 ? "," : "SELECT", i,
						 quote_identifier(get_attname(view->view, i, false)));
	append_from(&buf, view, spec);
	append_order(&buf, spec);
	return buf.data;
}

/*
 * The next revision of a group.  INTERSECT is the equality that GROUP BY has,
 * NULLs and all, whatever the search_path.
 */
static void
append_revision(StringInfo buf, const MetaView *view, const ViewSpec *spec, const ViewFinal *final)
{
	int			lead = tm_view_lead_key(spec);
	StringInfoData stored;
	StringInfoData mine;

	initStringInfo(&stored);
	initStringInfo(&mine);
	for (int i = 0; i < spec->nkeys; i++)
	{
		if (spec->keys[i].end_of >= 0 || i == lead)
			continue;
		appendStringInfo(&stored, "%sr.%s", stored.len ? ", " : "",
						 quote_identifier(get_attname(view->final_table, final->keys[i], false)));
		appendStringInfo(&mine, "%sn.k%d", mine.len ? ", " : "", i);
	}
	appendStringInfo(buf, ", (SELECT coalesce(pg_catalog.max(r.%s) OPERATOR(pg_catalog.+) 1, 0) "
					 "FROM tidemark_state.%s r WHERE r.%s OPERATOR(pg_catalog.=) n.k%d",
					 quote_identifier(get_attname(view->final_table, final->revision, false)),
					 quote_identifier(get_rel_name(view->final_table)),
					 quote_identifier(get_attname(view->final_table, final->keys[lead], false)),
					 lead);
	if (mine.len > 0)
		appendStringInfo(buf, " AND EXISTS (SELECT %s INTERSECT SELECT %s)", stored.data, mine.data);
	appendStringInfoChar(buf, ')');
}

char *
tm_view_emit_statement(const MetaView *view, const ViewSpec *spec, bool revise)
{
	ViewFinal  *final = tm_view_final_layout(spec);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "INSERT INTO tidemark_state.%s SELECT",
					 quote_identifier(get_rel_name(view->final_table)));
	for (int i = 1; i <= final->noutput; i++)
		appendStringInfo(&buf, " n.o%d,", i);
	appendStringInfoString(&buf, " $2");
	if (revise)
		append_revision(&buf, view, spec, final);
	else if (final->revision != InvalidAttrNumber)
		appendStringInfoString(&buf, ", 0");
	for (int i = 0; i < spec->nkeys; i++)
		if (final->keys[i] > final->noutput)
			appendStringInfo(&buf, ", n.k%d", i);
	append_from(&buf, view, spec);
	append_order(&buf, spec);
	if (spec->options.notify != NULL)
		for (int i = 1; i <= final->noutput; i++)
			appendStringInfo(&buf, "%s %s", i > 1 ? "," : " RETURNING",
							 quote_identifier(get_attname(view->final_table, i, false)));
	return buf.data;
}
