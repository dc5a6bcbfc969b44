/*
 * maintain_internal.h
 *	  Shared by the files of the maintain room only.
 */
#ifndef TM_MAINTAIN_INTERNAL_H
#define TM_MAINTAIN_INTERNAL_H

#include "fmgr.h"
#include "utils/tuplestore.h"

#include "maintain/maintain.h"

/* ---- batch_scan.c: rows in memory as a relation ---- */

/*
 * Rows for tidemark_state.batch_rows(), with what its columns behind those of
 * the source need (BatchColumn).
 */
typedef struct BatchRows
{
	const StreamRows *rows;
	TimestampTz horizon;		/* of the view: a floor for tm_horizon */
	const TimestampTz *window_start;	/* per row, for tm_window_start; or
										 * NULL */
} BatchRows;

/* What scans of it return, and in which plan. */
typedef struct BatchSource
{
	const BatchRows *batch;
	const PlannedStmt *plan;
} BatchSource;

/* Set it; returns what was set before, to be restored. */
extern BatchSource tm_batch_scan_set_source(BatchSource source);

/* ---- partial_plan.c: a query whose aggregates stop at their states ---- */

typedef struct PartialPlan PartialPlan;

/*
 * Plan of a query of view_delta.c, kept in cxt for as long as it is valid.
 * Changes the query.
 */
extern PartialPlan *tm_partial_plan_create(Query *query, MemoryContext cxt);

/* Lock what the plan reads; false when it is no longer valid. */
extern bool tm_partial_plan_lock(PartialPlan *plan);

/*
 * Run it over rows (NULL when planned over the source) into a tuplestore, for a
 * delta query: stored keys, then states (bytea for internal).  Both in the
 * current context.
 */
extern Tuplestorestate *tm_partial_plan_run(PartialPlan *plan, const BatchRows *batch,
											TupleDesc *tupdesc);

/* ---- late_rows.c: rows that are left out ---- */

/*
 * Count the rows of the batch that are late for a window of the view, once per
 * window; keep them where the view keeps them, and note the verdicts that do
 * not follow from the row.  plan: of tm_view_late_query().  The caller holds
 * the view's lock.
 */
extern int64 tm_late_rows_record(const MetaView *view, const ViewSpec *spec,
								 PartialPlan *plan, const BatchRows *batch);

/* ---- partial_state.c: transition states as values ---- */

typedef struct PartialState PartialState;

/*
 * How to combine and finalise the states of an aggregate.  transtype and
 * result type are resolved; collation is the input collation.
 */
extern PartialState *tm_partial_state_open(Oid aggregate, Oid transtype, Oid result,
										   Oid collation, MemoryContext cxt);

/* What the state is made of, as one number. */
extern uint32 tm_partial_state_stamp(const PartialState *state);

/* Wrap the serialised form (bytea) as tidemark.aggstate. */
extern Datum tm_partial_state_wrap(const PartialState *state, Datum serialised);

/*
 * Combine two stored states (aggstate for internal).  The result is in the
 * current context; scratch memory goes to a context that is reset by the
 * next call.
 */
extern Datum tm_partial_state_combine(PartialState *state, Datum a, bool a_isnull,
									  Datum b, bool b_isnull, bool *isnull);
extern Datum tm_partial_state_final(PartialState *state, Datum value, bool value_isnull,
									bool *isnull);

/* ---- delta_merge.c ---- */

typedef struct DeltaMerge DeltaMerge;

extern DeltaMerge *tm_delta_merge_create(const ViewSpec *spec, Oid state_table,
										 MemoryContext cxt);

/*
 * Merge the groups of a delta into the state table, each at most once; returns
 * their number.  States of type internal are bytea, or aggstate already.
 */
extern int64 tm_delta_merge_run(DeltaMerge *merge, Tuplestorestate *delta, TupleDesc tupdesc);

/* How it combines states: state i of the view. */
extern PartialState *tm_delta_merge_state(const DeltaMerge *merge, int i);

/* ---- delta_expand.c: views over hop() and cumulate() ---- */

typedef struct DeltaExpand DeltaExpand;

/* merge: of the same view; has to live as long. */
extern DeltaExpand *tm_delta_expand_create(const ViewSpec *spec, DeltaMerge *merge,
										   MemoryContext cxt);

/*
 * From a delta by pane (tm_view_delta_query()) to one that can be merged, in
 * the current context.  Frees the one it is given; *tupdesc becomes that of the
 * result, which lives as long as expand.
 */
extern Tuplestorestate *tm_delta_expand_run(DeltaExpand *expand, Tuplestorestate *delta,
											ViewRows rows, TupleDesc *tupdesc);

#endif							/* TM_MAINTAIN_INTERNAL_H */
