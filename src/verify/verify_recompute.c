/*
 * verify_recompute.c
 *	  The two queries that verify() compares, each in the order of the group
 *	  keys: the one over the kept states, and the view's own query as batch.
 *
 * Both are planned from query trees and run under one snapshot.  The raw
 * table, the states and the offsets change in one transaction, so a snapshot
 * shows all three at the same offset boundary; no lock is needed for that.
 * Over a stream the batch reads the log again, from where the view started up
 * to the offsets that the snapshot shows, without what its ingest left out.
 *
 * (Rejected: keeping batches out with a lock while verify() runs.  It would
 * stop the ingest for as long as the batch query takes.)
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "maintain/maintain.h"
#include "stream/stream.h"
#include "verify/verify_internal.h"

/* ---- queries ---- */

/* SELECT * FROM (inner), with nothing ordered yet. */
static Query *
wrap_query(Query *inner)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, inner->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		Var		   *var;

		if (tle->resjunk)
			continue;
		var = makeVarFromTargetEntry(1, tle);
		names = lappend(names, makeString(pstrdup(tle->resname)));
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) var, tle->resno,
													pstrdup(tle->resname),
													false));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = inner;
	rte->eref = makeAlias("side", names);
	rte->inFromCl = true;
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	return query;
}

/* ORDER BY the stored keys, the default order, NULLS LAST. */
static void
add_order(Query *query, int nkeys)
{
	for (int i = 0; i < nkeys; i++)
	{
		TargetEntry *tle = list_nth(query->targetList, i);
		SortGroupClause *clause = makeNode(SortGroupClause);
		TypeCacheEntry *type;

		type = lookup_type_cache(exprType((Node *) tle->expr),
								 TYPECACHE_LT_OPR | TYPECACHE_EQ_OPR);
		tle->ressortgroupref = i + 1;
		clause->tleSortGroupRef = i + 1;
		clause->sortop = type->lt_opr;
		clause->eqop = type->eq_opr;
		query->sortClause = lappend(query->sortClause, clause);
	}
}

static void
add_qual(Query *query, Expr *qual)
{
	fix_opfuncids((Node *) qual);
	query->jointree->quals = make_and_qual(query->jointree->quals, (Node *) qual);
}

/* WHERE window_start >= since; key is its index among the spec's keys. */
static void
add_since(Query *query, const ViewSpec *spec, int key, TimestampTz since)
{
	TargetEntry *tle = list_nth(query->targetList, spec->keys[key].attno - 1);
	Const	   *value = makeConst(TIMESTAMPTZOID, -1, InvalidOid,
								  sizeof(TimestampTz),
								  TimestampTzGetDatum(since), false,
								  FLOAT8PASSBYVAL);
	Oid			operator = OpernameGetOprid(list_make1(makeString(">=")),
											spec->keys[key].type,
											TIMESTAMPTZOID);

	if (!OidIsValid(operator))
		elog(ERROR, "no operator to compare window_start");
	add_qual(query, make_opclause(operator, BOOLOID, false, copyObject(tle->expr),
								  (Expr *) value, InvalidOid, InvalidOid));
}

/* end > time */
static Expr *
make_later(const Expr *end, TimestampTz time)
{
	Oid			type = exprType((Node *) end);
	Const	   *value = makeConst(type, -1, InvalidOid, sizeof(TimestampTz),
								  TimestampTzGetDatum(time), false, FLOAT8PASSBYVAL);

	return make_opclause(lookup_type_cache(type, TYPECACHE_GT_OPR)->gt_opr, BOOLOID, false,
						 copyObject(unconstify(Expr *, end)), (Expr *) value, InvalidOid,
						 InvalidOid);
}

/*
 * Windows that have left the view are not compared, and of a view of closed
 * windows only those.  A row without a window is in none that is closed.
 */
static void
add_window_range(Query *query, const ViewSpec *spec, const VerifyRange *range)
{
	bool		final = spec->options.emit != VIEW_EMIT_CHANGES;
	Expr	   *end;

	if (!final && TIMESTAMP_IS_NOBEGIN(range->pruned_until))
		return;
	/* the stored keys are the first columns of both sides, in their order */
	end = tm_view_state_window_end(spec);
	if (!TIMESTAMP_IS_NOBEGIN(range->pruned_until))
	{
		NullTest   *test = makeNode(NullTest);

		test->arg = end;
		test->nulltesttype = IS_NULL;
		test->location = -1;
		add_qual(query, makeBoolExpr(OR_EXPR, list_make2(test, make_later(end, range->pruned_until)),
									 -1));
	}
	if (final)
		add_qual(query, makeBoolExpr(NOT_EXPR, list_make1(make_later(end, range->closed_until)), -1));
}

/* chunks: where the query's source is tidemark_state.batch_rows() */
static TupleDesc
run_side(const ViewSpec *spec, Query *inner, const VerifyRange *range,
		 const MaintainChunks *chunks, DestReceiver *dest)
{
	Query	   *query = wrap_query(inner);
	List	   *rewritten;
	PlannedStmt *stmt;

	add_order(query, spec->no_keys ? 0 : spec->nstored_keys);
	if (range->since != NULL)
		add_since(query, spec, tm_view_find_window_start(spec), *range->since);
	if (VIEW_CLOSES(&spec->options))
		add_window_range(query, spec, range);
	AcquireRewriteLocks(query, true, false);
	rewritten = QueryRewrite(query);
	if (list_length(rewritten) != 1)
		elog(ERROR, "unexpected rewrite result");
	stmt = pg_plan_query(linitial_node(Query, rewritten), "tidemark verify",
						 CURSOR_OPT_PARALLEL_OK, NULL);
	return tm_maintain_run_plan(stmt, chunks, dest);
}

TupleDesc
tm_verify_run_kept(const MetaView *view, const ViewSpec *spec,
				   const VerifyRange *range, DestReceiver *dest)
{
	Query	   *query = OidIsValid(view->final_table) ?
	tm_view_kept_final_query(spec, view->final_table) :
	tm_view_kept_query(spec, view->state_table);

	return run_side(spec, query, range, NULL, dest);
}

/* ---- what of the stream ---- */

static StreamGap
make_gap(const MetaRange *range)
{
	StreamGap	gap = {.partition = range->partition,.from = range->from,.to = range->to};

	return gap;
}

static int
compare_gaps(const void *a, const void *b)
{
	const StreamGap *left = a;
	const StreamGap *right = b;

	if (left->partition != right->partition)
		return left->partition < right->partition ? -1 : 1;
	return left->from < right->from ? -1 : left->from > right->from;
}

/*
 * Gaps in what the view has applied.  Where offsets began anew (the topic was
 * re-created), gaps from before name other messages: forgotten, and said.
 */
static void
get_gaps(const MetaView *view, StreamBounds *bounds)
{
	MetaRange  *skipped;
	int			nskipped;
	bool		anew = false;

	skipped = tm_meta_view_list_skipped(view->state_table, &nskipped);
	bounds->gaps = palloc_array(StreamGap, Max(nskipped, 1));
	for (int i = 0; i < nskipped; i++)
	{
		const MetaRange *range = &skipped[i];

		if (range->to >= range->from)
		{
			bounds->gaps[bounds->ngaps++] = make_gap(range);
			continue;
		}
		anew = true;
		while (bounds->ngaps > 0 &&
			   bounds->gaps[bounds->ngaps - 1].partition == range->partition)
			bounds->ngaps--;
	}
	qsort(bounds->gaps, bounds->ngaps, sizeof(StreamGap), compare_gaps);
	if (anew)
		ereport(NOTICE,
				(errmsg("messages of stream \"%s\" from before its offsets began anew could not be compared",
						get_rel_name(view->source))));
}

static StreamBounds *
get_bounds(const MetaView *view)
{
	StreamBounds *bounds = palloc0_object(StreamBounds);
	MetaRange  *applied;
	int			n;

	applied = tm_meta_view_list_applied(view->state_table, &n);
	bounds->relid = view->source;
	bounds->npartitions = n;
	bounds->partition = palloc_array(int32, Max(n, 1));
	bounds->start = palloc_array(int64, Max(n, 1));
	bounds->stop = palloc_array(int64, Max(n, 1));
	bounds->max_event_time = palloc_array(TimestampTz, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bounds->partition[i] = applied[i].partition;
		bounds->start[i] = applied[i].from;
		bounds->stop[i] = applied[i].to;
		bounds->max_event_time[i] = applied[i].max_event_time;
	}
	get_gaps(view, bounds);
	bounds->quiet = tm_meta_stream_list_quiet(view->source, &bounds->nquiet);
	return bounds;
}

/* ---- rows that count ---- */

/* A stream as chunks of rows, each with its watermark. */
typedef struct LogReader
{
	StreamScan *scan;
	StreamBounds *bounds;
} LogReader;

static const StreamRows *
next_chunk(void *arg)
{
	return tm_stream_scan_next_chunk(((LogReader *) arg)->scan);
}

static void
rewind_log(void *arg)
{
	LogReader  *reader = arg;

	tm_stream_scan_start_bounds(reader->scan, reader->bounds);
}

/*
 * A scan of the stream inside the plan could not say which watermark a row was
 * judged by, so here the log is read beside the plan.
 */
static TupleDesc
run_counted_stream(const MetaView *view, const ViewSpec *spec, Oid verdicts,
				   const VerifyRange *range, StreamBounds *bounds, DestReceiver *dest)
{
	LogReader	reader = {.bounds = bounds};
	MaintainChunks chunks = {.next = next_chunk,.rewind = rewind_log,.arg = &reader};
	Relation	rel = table_open(view->source, AccessShareLock);
	TupleDesc	tupdesc;

	tm_view_check_permissions(spec);
	reader.scan = tm_stream_scan_create(tm_stream_get_options(view->source), RelationGetDescr(rel),
										bms_add_member(bms_copy(spec->needed), 0), GetUserId());
	rewind_log(&reader);
	tupdesc = run_side(spec, tm_view_counted_query(spec, verdicts), range, &chunks, dest);
	tm_stream_scan_destroy(reader.scan);
	table_close(rel, NoLock);
	return tupdesc;
}

static TupleDesc
run_counted(const MetaView *view, const ViewSpec *spec, const VerifyRange *range,
			StreamBounds *bounds, DestReceiver *dest)
{
	Oid			verdicts = tm_meta_verdict_exists(view->state_table) ? view->state_table : InvalidOid;

	if (spec->source_is_stream)
		return run_counted_stream(view, spec, verdicts, range, bounds, dest);
	return run_side(spec, tm_view_counted_query(spec, verdicts), range, NULL, dest);
}

TupleDesc
tm_verify_run_batch(const MetaView *view, const ViewSpec *spec,
					const VerifyRange *range, DestReceiver *dest)
{
	StreamBounds *bounds = NULL;
	TupleDesc	tupdesc;

	if (spec->other_tables != NIL)
		ereport(NOTICE,
				(errmsg("tables that continuous view \"%s\" joins are compared as they are now",
						get_rel_name(view->view))));
	if (spec->source_is_stream)
		bounds = get_bounds(view);

	if (VIEW_CLOSES(&spec->options))
		tupdesc = run_counted(view, spec, range, bounds, dest);
	else
	{
		/* after an error the stream room forgets the bounds by itself */
		tm_stream_set_bounds(bounds);
		tupdesc = run_side(spec, tm_view_batch_query(spec), range, NULL, dest);
		tm_stream_set_bounds(NULL);
	}
	if (bounds != NULL && bounds->missing > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld message of stream \"%s\" is no longer in the log and could not be compared",
							   "%lld messages of stream \"%s\" are no longer in the log and could not be compared",
							   bounds->missing, (long long) bounds->missing,
							   get_rel_name(view->source))));
	return tupdesc;
}
