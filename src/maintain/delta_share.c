/*
 * delta_share.c
 *	  Views that group the rows of a batch alike are aggregated in one pass.
 *
 * The delta queries of such views differ in their aggregates only.  The first
 * whose turn it is runs one query with the aggregates of all of them, each once,
 * and puts aside what is for the others until it is their turn.
 *
 * What the pass depends on has to be the same: the source, the owner and the
 * settings of the view, and the delta query without its aggregates.  That is the
 * shape of a view.  Queries that read more than the batch have none, for
 * privileges on tables are checked per view, and sessions have none.
 *
 * A pass that fails fails for all its views, so where an error has to tell which
 * view it is, views do not share.  A view that is loaded again between the pass
 * and its turn, or has late rows, does not take what was put aside.
 *
 * Runs in: every process that maintains views.
 * Memory: a shape lives as long as a view that is loaded has it; a pass belongs to
 * its first view, and may outlive the others: so it knows their entries by the
 * number of the load, too; results belong to who created the MaintainShare.
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "nodes/makefuncs.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

typedef struct DeltaShape
{
	dlist_node	node;			/* in shapes */
	MemoryContext cxt;
	int			nviews;			/* that have it */
	Oid			owner;
	Oid			source;
	List	   *settings;
	Query	   *query;			/* without aggregates and names */
} DeltaShape;

/* A view of a pass, and which of the pass's columns make its delta. */
typedef struct PassMember
{
	MaintainView *entry;
	int64		load;			/* of its entry, when this was made */
	int			ncolumns;
	int		   *columns;		/* from 0 */
} PassMember;

typedef struct DeltaPass
{
	MemoryContext cxt;
	PartialPlan *plan;
	List	   *members;		/* of PassMember; the first is the owner */
} DeltaPass;

typedef struct ShareResult
{
	const MaintainView *entry;
	int64		load;
	const Datum *values;		/* of the rows it was made of */
	Delta		delta;
} ShareResult;

struct MaintainShare
{
	MemoryContext cxt;
	const MaintainRows *views;
	int			nviews;
	List	   *results;		/* of ShareResult, not taken yet */
};

/* Takes the rows of a pass apart. */
typedef struct PassReceiver
{
	DestReceiver pub;
	const DeltaPass *pass;
	List	   *results;		/* of ShareResult, as the members */
	MemoryContext cxt;			/* that outlives the executor */
	Datum	   *values;
	bool	   *isnull;
} PassReceiver;

static dlist_head shapes = DLIST_STATIC_INIT(shapes);

/* ---- shapes ---- */

/* The columns of a delta that are keys come first. */
static int
count_keys(const Query *query)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		if (IsA(lfirst_node(TargetEntry, lc)->expr, Aggref))
			break;
		n++;
	}
	return n;
}

/* A delta query without what may differ; NULL: nothing to be shared. */
static Query *
make_shape_query(const ViewSpec *spec)
{
	Query	   *query;
	ListCell   *lc;

	if (spec->window.kind == VIEW_WINDOW_SESSION || spec->other_tables != NIL ||
		spec->query->hasSubLinks)
		return NULL;
	query = tm_view_delta_query(spec, VIEW_ROWS_ALL, false);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		/* before 16 the query of a view has entries for the view itself */
		if (rte->rtekind == RTE_RELATION && !rte->inFromCl)
			lfirst(lc) = rte = makeNode(RangeTblEntry);
		else if (rte->rtekind == RTE_RELATION || rte->rtekind == RTE_SUBQUERY)
			return NULL;
		rte->alias = NULL;
		rte->eref = makeAlias("", NIL);
	}
	tm_query_clear_permissions(query);
	query->targetList = list_truncate(query->targetList, count_keys(query));
	query->hasAggs = false;
	query->stmt_location = query->stmt_len = -1;
	return query;
}

static DeltaShape *
find_shape(const DeltaShape *wanted)
{
	dlist_iter	iter;

	dlist_foreach(iter, &shapes)
	{
		DeltaShape *shape = dlist_container(DeltaShape, node, iter.cur);

		if (shape->owner == wanted->owner && shape->source == wanted->source &&
			tm_view_equal_texts(shape->settings, wanted->settings) &&
			equal(shape->query, wanted->query))
			return shape;
	}
	return NULL;
}

static DeltaShape *
add_shape(const DeltaShape *wanted)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark shape",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	DeltaShape *shape = palloc(sizeof(DeltaShape));
	ListCell   *lc;

	*shape = *wanted;
	shape->cxt = cxt;
	shape->query = copyObject(wanted->query);
	shape->settings = NIL;
	foreach(lc, wanted->settings)
		shape->settings = lappend(shape->settings, pstrdup(lfirst(lc)));
	MemoryContextSwitchTo(before);
	MemoryContextSetParent(cxt, CacheMemoryContext);
	dlist_push_tail(&shapes, &shape->node);
	return shape;
}

DeltaShape *
tm_share_get_shape(const ViewSpec *spec, const MetaView *view)
{
	DeltaShape	wanted = {.owner = tm_view_get_owner(view),.source = view->source,
	.settings = view->settings,.query = make_shape_query(spec)};
	DeltaShape *shape;

	if (wanted.query == NULL)
		return NULL;
	shape = find_shape(&wanted);
	if (shape == NULL)
		shape = add_shape(&wanted);
	shape->nviews++;
	return shape;
}

void
tm_share_release_shape(DeltaShape *shape)
{
	Assert(shape->nviews > 0);
	if (--shape->nviews > 0)
		return;
	dlist_delete(&shape->node);
	MemoryContextDelete(shape->cxt);
}

/* ---- passes ---- */

/* Entries of views that come later in the batch and have the shape. */
static List *
find_others(const MaintainShare *share, const MaintainView *entry)
{
	List	   *result = NIL;

	for (int i = 0; i < share->nviews; i++)
	{
		const MetaView *view = share->views[i].view;
		MaintainView *other;

		if (view->source != entry->source || view->state_table <= entry->state_table)
			continue;
		other = tm_maintain_get(view);
		if (other->valid && other->merge != NULL && !other->busy && other->shape == entry->shape)
			result = lappend(result, other);
	}
	return result;
}

/* The column of the pass that is this aggregate; a new one if none is yet. */
static int
add_aggregate(Query *query, const TargetEntry *aggregate)
{
	TargetEntry *tle;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		tle = lfirst(lc);
		if (equal(tle->expr, aggregate->expr))
			return tle->resno - 1;
	}
	tle = flatCopyTargetEntry((TargetEntry *) aggregate);
	tle->resno = list_length(query->targetList) + 1;
	query->targetList = lappend(query->targetList, tle);
	query->hasAggs = true;
	return tle->resno - 1;
}

static PassMember *
make_member(MaintainView *entry, Query *pass, MemoryContext cxt)
{
	Query	   *query = tm_view_delta_query(entry->spec, VIEW_ROWS_ALL, false);
	int			nkeys = count_keys(query);
	PassMember *member = MemoryContextAlloc(cxt, sizeof(PassMember));

	member->entry = entry;
	member->load = entry->load;
	member->ncolumns = list_length(query->targetList);
	member->columns = MemoryContextAlloc(cxt, sizeof(int) * member->ncolumns);
	for (int i = 0; i < member->ncolumns; i++)
		member->columns[i] = i < nkeys ? i :
			add_aggregate(pass, list_nth(query->targetList, i));
	return member;
}

static DeltaPass *
make_pass(MaintainView *entry, List *others)
{
	MemoryContext cxt = AllocSetContextCreate(entry->cxt, "tidemark pass", ALLOCSET_SMALL_SIZES);
	DeltaPass  *pass = MemoryContextAllocZero(cxt, sizeof(DeltaPass));
	Query	   *query = tm_view_delta_query(entry->spec, VIEW_ROWS_ALL, false);
	List	   *members = list_make1(make_member(entry, query, cxt));
	MemoryContext before;
	ListCell   *lc;

	foreach(lc, others)
		members = lappend(members, make_member(lfirst(lc), query, cxt));
	pass->cxt = cxt;
	pass->plan = tm_partial_plan_create(query, cxt);
	before = MemoryContextSwitchTo(cxt);
	pass->members = list_copy(members);
	MemoryContextSwitchTo(before);
	return pass;
}

static bool
is_member(const PassMember *member, const MaintainView *entry)
{
	return member->entry == entry && member->load == entry->load;
}

/* Is it what make_pass() would make? */
static bool
is_current(const DeltaPass *pass, const MaintainView *entry, const List *others)
{
	if (list_length(pass->members) != list_length(others) + 1 ||
		!is_member(linitial(pass->members), entry))
		return false;
	for (int i = 0; i < list_length(others); i++)
		if (!is_member(list_nth(pass->members, i + 1), list_nth(others, i)))
			return false;
	return tm_partial_plan_lock(pass->plan);
}

/* ---- the rows of a pass ---- */

static void
begin_rows(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	PassReceiver *receiver = (PassReceiver *) self;
	MemoryContext before = MemoryContextSwitchTo(receiver->cxt);
	ListCell   *m;
	ListCell   *r;

	receiver->values = palloc(sizeof(Datum) * typeinfo->natts);
	receiver->isnull = palloc(sizeof(bool) * typeinfo->natts);
	forboth(m, receiver->pass->members, r, receiver->results)
	{
		const PassMember *member = lfirst(m);
		ShareResult *result = lfirst(r);

		result->delta.tupdesc = CreateTemplateTupleDesc(member->ncolumns);
		for (int i = 0; i < member->ncolumns; i++)
			TupleDescCopyEntry(result->delta.tupdesc, i + 1, typeinfo, member->columns[i] + 1);
		if (result->delta.rows != NULL)
			tm_delta_rows_begin(result->delta.rows, result->delta.tupdesc);
	}
	MemoryContextSwitchTo(before);
}

static bool
take_row(TupleTableSlot *slot, DestReceiver *self)
{
	PassReceiver *receiver = (PassReceiver *) self;
	ListCell   *m;
	ListCell   *r;

	slot_getallattrs(slot);
	forboth(m, receiver->pass->members, r, receiver->results)
	{
		const PassMember *member = lfirst(m);
		Delta	   *delta = &((ShareResult *) lfirst(r))->delta;

		for (int i = 0; i < member->ncolumns; i++)
		{
			receiver->values[i] = slot->tts_values[member->columns[i]];
			receiver->isnull[i] = slot->tts_isnull[member->columns[i]];
		}
		if (delta->rows != NULL)
			tm_delta_rows_add(delta->rows, receiver->values, receiver->isnull);
		else
			tuplestore_putvalues(delta->store, delta->tupdesc, receiver->values,
								 receiver->isnull);
	}
	return true;
}

static void
end_rows(DestReceiver *self)
{
}

static ShareResult *
make_result(const PassMember *member, const BatchRows *batch)
{
	ShareResult *result = palloc0(sizeof(ShareResult));

	result->entry = member->entry;
	result->load = member->load;
	result->values = batch->rows->values;
	if (member->entry->expand == NULL)
		result->delta.rows = tm_delta_rows_create(member->entry->merge);
	else
		result->delta.store = tuplestore_begin_heap(false, false, work_mem);
	return result;
}

/* What the query runs cannot lead back to a view whose rows it makes. */
static void
set_busy(const DeltaPass *pass, const MaintainView *owner, bool busy)
{
	ListCell   *lc;

	foreach(lc, pass->members)
		if (((PassMember *) lfirst(lc))->entry != owner)
		((PassMember *) lfirst(lc))->entry->busy = busy;
}

/* Run it for the view that has it; adds a result for each of its views. */
static void
run_pass(MaintainShare *share, const MaintainView *owner, const BatchRows *batch)
{
	const DeltaPass *pass = owner->pass;
	PassReceiver receiver = {{take_row, begin_rows, end_rows, end_rows, DestNone}, pass};
	MemoryContext before = MemoryContextSwitchTo(share->cxt);
	ListCell   *lc;

	receiver.cxt = share->cxt;
	foreach(lc, pass->members)
		receiver.results = lappend(receiver.results, make_result(lfirst(lc), batch));
	share->results = list_concat(share->results, receiver.results);
	set_busy(pass, owner, true);
	PG_TRY();
	{
		(void) tm_partial_plan_send(pass->plan, batch, &receiver.pub);
	}
	PG_FINALLY();
	{
		set_busy(pass, owner, false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
}

/* ---- one batch ---- */

MaintainShare *
tm_share_create(const MaintainRows *views, int n)
{
	MaintainShare *share = palloc0(sizeof(MaintainShare));

	share->cxt = CurrentMemoryContext;
	share->views = views;
	share->nviews = n;
	return share;
}

void
tm_share_end(MaintainShare *share)
{
	ListCell   *lc;

	foreach(lc, share->results)
		tm_delta_end(&((ShareResult *) lfirst(lc))->delta);
	share->results = NIL;
}

/* What was put aside for the view, no longer the share's; false: nothing. */
static bool
take_result(MaintainShare *share, const MaintainView *entry, const BatchRows *batch, Delta *delta)
{
	ListCell   *lc;

	foreach(lc, share->results)
	{
		ShareResult *result = lfirst(lc);

		if (result->entry != entry || result->load != entry->load ||
			result->values != batch->rows->values)
			continue;
		share->results = foreach_delete_current(share->results, lc);
		*delta = result->delta;
		return true;
	}
	return false;
}

bool
tm_share_run(MaintainShare *share, MaintainView *entry, const BatchRows *batch, Delta *delta)
{
	List	   *others;

	if (entry->shape == NULL || batch->rows->nrows == 0)
		return false;
	if (take_result(share, entry, batch, delta))
		return true;
	others = find_others(share, entry);
	if (others == NIL)
		return false;
	if (entry->pass == NULL || !is_current(entry->pass, entry, others))
	{
		if (entry->pass != NULL)
			MemoryContextDelete(entry->pass->cxt);
		entry->pass = NULL;
		entry->pass = make_pass(entry, others);
	}
	run_pass(share, entry, batch);
	return take_result(share, entry, batch, delta);
}
