/*
 * view_source.c
 *	  Which relation of a query is the source, and may it stand where it does?
 *
 * Exactly one relation of the query grows: a stream, or a table.  All others
 * are ordinary tables that each row of the source is joined with as of its
 * batch.  A new row of the source may only add rows to the result of the join,
 * so the source must not be on the nullable side of an outer join, nor inside
 * a sublink.
 *
 * Runs in: backends, at CREATE and when a view is loaded.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_node.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/compat.h"
#include "meta/meta.h"
#include "stream/stream.h"
#include "view/view_internal.h"

/* What relations stand in one query level, and in the levels below it. */
typedef struct SourceSearch
{
	ParseState *pstate;
	int			location;		/* of the sublink or subquery being searched */
	const Query *top;			/* the level that has the source */
	const char *where;			/* what that is, for hints */
	List	   *streams;		/* range table indexes of the top level */
	List	   *ingested;
	List	   *tables;
	List	   *below;			/* OIDs of relations of inner levels */
} SourceSearch;

/* Range table entries have no position; the first column read from one has. */
typedef struct LocationSearch
{
	Index		rti;
	bool		any_column;
	AttrNumber	attno;
	int			location;
} LocationSearch;

static bool
location_walker(Node *node, LocationSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varno == (int) search->rti && var->varlevelsup == 0 && var->location >= 0 &&
			(search->any_column || var->varattno == search->attno))
			search->location = var->location;
		return search->location >= 0;
	}
	return expression_tree_walker(node, location_walker, search);
}

int
tm_view_column_location(const Query *query, Index rti, AttrNumber attno)
{
	LocationSearch search = {.rti = rti,.attno = attno,.location = -1};

	(void) query_tree_walker((Query *) query, location_walker, &search, 0);
	return search.location;
}

static int
relation_location(const Query *query, Index rti)
{
	LocationSearch search = {.rti = rti,.any_column = true,.location = -1};

	(void) query_tree_walker((Query *) query, location_walker, &search, 0);
	return search.location;
}

static bool inner_relations_walker(Node *node, SourceSearch *search);

static void
refuse_sample(ParseState *pstate, int location, const RangeTblEntry *rte)
{
	if (rte->tablesample != NULL)
		tm_view_refuse(pstate, location, "TABLESAMPLE is", "Use a condition on a column in WHERE.");
}

/* A plain view is what its query reads and calls. */
static void
search_view(SourceSearch *search, Oid view)
{
	Query	   *query = tm_view_get_query(view);

	check_stack_depth();
	tm_view_refuse_functions_of_view(query, search->pstate, get_rel_name(view),
									 search->location);
	(void) inner_relations_walker((Node *) query, search);
}

/* A relation of an inner query level must be an ordinary table. */
static void
check_inner_relation(SourceSearch *search, Oid relid)
{
	if (tm_stream_is_stream(relid))
		tm_view_refuse(search->pstate, search->location, "a stream inside a subquery or a view is",
					   psprintf("Name the stream in the FROM clause of %s.", search->where));
	if (tm_meta_view_find(relid) != NULL)
		tm_view_refuse(search->pstate, search->location,
					   "a continuous view inside a subquery or a view is",
					   "Join the two views when they are read.");
	if (tm_meta_ingest_find_by_table(relid) != NULL)
		tm_view_refuse(search->pstate, search->location,
					   "an ingested table inside a subquery or a view is",
					   psprintf("Name the table in the FROM clause of %s.", search->where));
	if (list_member_oid(search->below, relid))
		return;
	search->below = lappend_oid(search->below, relid);
	if (get_rel_relkind(relid) == RELKIND_VIEW)
		search_view(search, relid);
}

static bool
inner_relations_walker(Node *node, SourceSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && ((SubLink *) node)->location >= 0)
		search->location = ((SubLink *) node)->location;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		refuse_sample(search->pstate, search->location, rte);
		if (rte->rtekind == RTE_RELATION && (rte->inFromCl || rte->relkind != RELKIND_VIEW))
			check_inner_relation(search, rte->relid);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, inner_relations_walker, search,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, inner_relations_walker, search);
}

/* Sort one relation of the top level into its list. */
static void
classify_relation(SourceSearch *search, RangeTblEntry *rte, Index rti)
{
	if (tm_stream_is_stream(rte->relid))
		search->streams = lappend_int(search->streams, rti);
	else if (tm_meta_view_find(rte->relid) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot be the source of another one",
						get_rel_name(rte->relid)),
				 errhint("Define both views over the same stream or table."),
				 parser_errposition(search->pstate, relation_location(search->top, rti))));
	else if (tm_meta_ingest_find_by_table(rte->relid) != NULL)
		search->ingested = lappend_int(search->ingested, rti);
	else
	{
		search->tables = lappend_int(search->tables, rti);
		search->location = relation_location(search->top, rti);
		refuse_sample(search->pstate, exprLocation((Node *) rte->tablesample), rte);
		if (rte->relkind == RELKIND_VIEW)
			search_view(search, rte->relid);
	}
}

static void
classify_range_table(SourceSearch *search)
{
	ListCell   *lc;
	Index		rti = 0;

	foreach(lc, search->top->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		rti++;
		if (rte->rtekind == RTE_RELATION && !rte->inFromCl)
			continue;			/* OLD and NEW of a stored view */
		switch (rte->rtekind)
		{
			case RTE_RELATION:
				classify_relation(search, rte, rti);
				break;
			case RTE_SUBQUERY:
				search->location = relation_location(search->top, rti);
				(void) inner_relations_walker((Node *) rte->subquery, search);
				break;
			case RTE_FUNCTION:
				(void) inner_relations_walker((Node *) rte->functions, search);
				break;
			case RTE_JOIN:
			case RTE_VALUES:
				break;
			default:
				tm_view_refuse(search->pstate, relation_location(search->top, rti),
							   "this kind of FROM item is",
							   "Use tables, subqueries, functions and VALUES.");
		}
	}
	(void) inner_relations_walker((Node *) search->top->targetList, search);
	(void) inner_relations_walker((Node *) search->top->jointree, search);
	(void) inner_relations_walker(search->top->havingQual, search);
}

static Index
choose_source(SourceSearch *search)
{
	if (list_length(search->streams) + list_length(search->ingested) > 1)
	{
		RangeTblEntry *a;
		RangeTblEntry *b;
		List	   *all = list_concat_copy(search->streams, search->ingested);

		a = rt_fetch(linitial_int(all), search->top->rtable);
		b = rt_fetch(lsecond_int(all), search->top->rtable);
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("joining two streams is not supported in a continuous view"),
				 errdetail("Both \"%s\" and \"%s\" grow.", get_rel_name(a->relid),
						   get_rel_name(b->relid)),
				 errhint("Join the view with the other relation when it is read."),
				 parser_errposition(search->pstate,
									relation_location(search->top, lsecond_int(all)))));
	}
	if (search->streams != NIL)
		return linitial_int(search->streams);
	if (search->ingested != NIL)
		return linitial_int(search->ingested);
	if (list_length(search->tables) == 1)
		return linitial_int(search->tables);
	if (search->tables == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a continuous view needs a stream or a table in its FROM clause"),
				 errhint("Name the stream or the table that grows.")));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("could not tell which table of the continuous view grows"),
			 errhint("Start the ingest of that table first, with tidemark.start_ingest()."),
			 parser_errposition(search->pstate,
								relation_location(search->top, lsecond_int(search->tables)))));
}

/*
 * Find rti in the join tree; the outer joins on whose nullable side it is are
 * added to *nulling.
 */
static bool
locate_in_jointree(Node *node, Index rti, Bitmapset **nulling)
{
	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == (int) rti;
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			if (locate_in_jointree(lfirst(lc), rti, nulling))
			return true;
		return false;
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);
		bool		left = locate_in_jointree(join->larg, rti, nulling);

		if (!left && !locate_in_jointree(join->rarg, rti, nulling))
			return false;
		if (join->jointype == JOIN_FULL ||
			join->jointype == (left ? JOIN_RIGHT : JOIN_LEFT))
			*nulling = bms_add_member(*nulling, join->rtindex);
		return true;
	}
}

Bitmapset *
tm_view_nulling_joins(const Query *query, Index rti)
{
	Bitmapset  *nulling = NULL;

	(void) locate_in_jointree((Node *) query->jointree, rti, &nulling);
	return nulling;
}

bool
tm_view_is_nullable(const Query *query, Index rti)
{
	return !bms_is_empty(tm_view_nulling_joins(query, rti));
}

/*
 * Rows must enter the source through the source alone, and all of them must be
 * rows of the query.
 */
static void
check_inheritance(Oid source, const RangeTblEntry *rte, ParseState *pstate, int location)
{
	bool		partitioned = get_rel_relkind(source) == RELKIND_PARTITIONED_TABLE;

	if (get_rel_relispartition(source) || has_superclass(source) ||
		(!partitioned && has_subclass(source)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot be the source of a continuous view", get_rel_name(source)),
				 errdetail("It is a partition, or inherits or is inherited from, so other tables' rows would be its own."),
				 errhint("Use a table of its own, or the partitioned table."),
				 parser_errposition(pstate, location)));
	if (partitioned && !rte->inh)
		tm_view_refuse(pstate, location, "ONLY before a partitioned table is",
					   "It has no rows of its own; omit ONLY.");
}

static void
check_persistence(Oid source, ParseState *pstate, int location)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(source, NoLock, NULL))
	{
		if (get_rel_persistence(lfirst_oid(lc)) != RELPERSISTENCE_PERMANENT)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table \"%s\" is unlogged or temporary", get_rel_name(lfirst_oid(lc))),
					 errdetail("A continuous view over it could not survive a crash."),
					 errhint("Use ALTER TABLE ... SET LOGGED, or another table."),
					 parser_errposition(pstate, location)));
	}
}

/* The source itself: kind, row security, and the ways it may be written. */
static void
check_source(ViewSpec *spec, ParseState *pstate, Oid view_owner)
{
	const Query *level = tm_view_source_level(spec, spec->query);
	RangeTblEntry *rte = rt_fetch(spec->source_rti, level->rtable);
	char		relkind = get_rel_relkind(spec->source);
	char	   *name = get_rel_name(spec->source);
	int			location = relation_location(level, spec->source_rti);

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
		!spec->source_is_stream)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot be the source of a continuous view", name),
				 errdetail("It is neither a stream nor a table."),
				 errhint("Name the stream or the table itself."),
				 parser_errposition(pstate, location)));
	if (IsCatalogRelationOid(spec->source) ||
		get_rel_namespace(spec->source) == tm_meta_state_schema())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot be the source of a continuous view", name),
				 errdetail("It is a system table, which is not written by statements alone."),
				 errhint("Name the stream or the table itself."),
				 parser_errposition(pstate, location)));
	check_inheritance(spec->source, rte, pstate, location);
	refuse_sample(pstate, exprLocation((Node *) rte->tablesample), rte);
	check_persistence(spec->source, pstate, location);
	if (check_enable_rls(spec->source, view_owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row security of \"%s\" applies to the owner of the continuous view", name),
				 errhint("Let a role that row security does not apply to own the view."),
				 parser_errposition(pstate, location)));
	if (tm_view_is_nullable(level, spec->source_rti))
		tm_view_refuse(pstate, location,
					   psprintf("\"%s\" on the nullable side of an outer join is", name),
					   "Write the join so that every row of the source is kept.");
}

void
tm_view_find_source(ViewSpec *spec, ParseState *pstate, Oid view_owner)
{
	bool		session = spec->window.kind == VIEW_WINDOW_SESSION;
	Query	   *level = tm_view_source_level(spec, spec->query);
	SourceSearch search = {.pstate = pstate,.top = level};
	RangeTblEntry *rte;
	ListCell   *lc;

	search.where = session ? "the subquery with the session windows" :
		"the continuous view itself";
	classify_range_table(&search);
	if (session)
	{
		(void) inner_relations_walker((Node *) spec->query->targetList, &search);
		(void) inner_relations_walker(spec->query->havingQual, &search);
	}
	spec->source_rti = choose_source(&search);
	rte = rt_fetch(spec->source_rti, level->rtable);
	spec->source = rte->relid;
	spec->source_is_stream = search.streams != NIL;
	spec->other_tables = search.below;
	foreach(lc, search.tables)
	{
		if ((Index) lfirst_int(lc) != spec->source_rti)
			spec->other_tables =
				list_append_unique_oid(spec->other_tables,
									   rt_fetch(lfirst_int(lc), level->rtable)->relid);
	}
	if (list_member_oid(spec->other_tables, spec->source))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" appears more than once in the continuous view",
						get_rel_name(spec->source)),
				 errhint("Compare the view with the table when it is read."),
				 parser_errposition(pstate, relation_location(level, spec->source_rti))));
	check_source(spec, pstate, view_owner);
}
