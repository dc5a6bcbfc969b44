/*
 * maintain_internal.h
 *	  Shared by the files of the maintain room only.
 */
#ifndef TM_MAINTAIN_INTERNAL_H
#define TM_MAINTAIN_INTERNAL_H

#include "access/relscan.h"
#include "access/skey.h"
#include "access/genam.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "tcop/dest.h"
#include "utils/sortsupport.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "maintain/maintain.h"

/* ---- batch_scan.c: rows in memory as a relation ---- */

/*
 * Rows for tidemark_state.batch_rows(), with what its columns behind those of
 * the source need (BatchColumn).
 */
typedef struct BatchRows
{
	const StreamRows *rows;		/* NULL: they come in chunks */
	const MaintainChunks *chunks;
	TimestampTz horizon;		/* of the view: a floor for tm_horizon */
	const TimestampTz *window_lead; /* per row, for tm_window_lead; or NULL */
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

/* The same, to a receiver. */
extern TupleDesc tm_partial_plan_send(PartialPlan *plan, const BatchRows *batch,
									  DestReceiver *dest);

/* ---- late_rows.c: rows that are left out ---- */

/*
 * Count the rows of the batch that are late for a window of the view, once per
 * window; keep them where the view keeps them, and note the verdicts that do
 * not follow from the row.  plan: of tm_view_late_query().  The caller holds
 * the view's lock.
 */
extern int64 tm_late_rows_record(const MetaView *view, const ViewSpec *spec,
								 PartialPlan *plan, const BatchRows *batch);

/* The same for the rows that the source, a table, has in the active snapshot. */
extern int64 tm_late_rows_record_source(const MetaView *view, const ViewSpec *spec,
										PartialPlan *plan);

/* Columns of a late table. */
enum
{
	LATE_WINDOW_START, LATE_WINDOW_END, LATE_PARTITION, LATE_OFFSET, LATE_EVENT_TIME,
	LATE_WATERMARK, LATE_ROW, LATE_RECORDED_AT, LATE_NCOLUMNS
};

/*
 * The row type of a source as kept rows have it, and the settings under which
 * they are written and read, until AtEOXact_GUC(false, level).
 */
extern TupleDesc tm_late_row_desc(Oid source);
extern int	tm_late_push_settings(void);

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

/* Error 42804: a stored state is not one of the aggregate's. */
extern void tm_partial_state_mismatch(Oid aggregate);

/* ---- int8_sum.c: the state of sum(bigint) and avg(bigint) ---- */

extern uint32 tm_int8_sum_stamp(void);
extern Datum tm_int8_sum_combine(Oid aggregate, Datum a, bool a_isnull, Datum b, bool b_isnull,
								 bool *isnull);
extern Datum tm_int8_sum_final(Oid aggregate, Datum value, bool value_isnull, bool *isnull);

/* ---- row_statement.c: SQL over chosen rows of a table ---- */

typedef struct RowList
{
	ItemPointerData *tids;
	int			n;
	int			max;
	MemoryContext cxt;			/* of tids */
} RowList;

/* Append. */
extern void tm_row_list_add(RowList *list, ItemPointer tid);

typedef struct RowStatement RowStatement;

/*
 * A statement of view_final.c, whose first parameter are the rows; parsed under
 * the settings in force.  Lives in cxt.
 */
extern RowStatement *tm_row_statement_create(const char *sql, MemoryContext cxt);

/*
 * Run it; at is its second parameter.  Returns how many rows it has returned
 * or written; result, when not NULL, gets those it returns.
 */
extern uint64 tm_row_statement_run(RowStatement *statement, const RowList *rows, TimestampTz at,
								   Tuplestorestate *result, TupleDesc *tupdesc);

/* ---- window_walk.c: rows of windows that have ended ---- */

/* A table whose rows belong to windows. */
typedef struct WindowTable
{
	AttrNumber	lead;			/* column that orders its windows */
	int64		distance;		/* a window ends at most this much later; -1:
								 * unknown */
	ExprState  *end;			/* end of the window of a row */
	RowList		ahead;			/* seen by a walk that gave others */
	int			next;			/* of them to be given */
	int			look_ahead;		/* how many a walk may remember */
} WindowTable;

/* Prepare it, in the current context; distance and end as above. */
extern void tm_window_table_init(WindowTable *table, AttrNumber lead, int64 distance, Expr *end);

typedef struct WindowWalk
{
	WindowTable *table;
	TimestampTz done;			/* windows up to here were dealt with */
	TimestampTz until;			/* and are to be */
	bool		stay;			/* those dealt with are still in the table */
	int			limit;			/* of rows; whole windows if they stay */
	RowList		rows;			/* out */
	TimestampTz reached;		/* out: with these rows all up to here is
								 * dealt with; from done to until */
} WindowWalk;

/*
 * The next rows; the caller holds the view's lock.  None, and reached is until:
 * there are no more.
 */
extern void tm_window_walk(WindowWalk *walk, Oid relid);

/* ---- delta_rows.c: the groups of a batch, sorted ---- */

/* How rows are sorted. */
typedef struct KeyOrder
{
	int			n;
	AttrNumber *columns;
	Oid		   *operators;
	Oid		   *collations;
	bool	   *nulls_first;
} KeyOrder;

/* By n columns that are to be set; nulls last. */
extern void tm_key_order_init(KeyOrder *order, int n);

/* A sort to be filled; how to compare the first n columns. */
extern Tuplesortstate *tm_key_order_begin(const KeyOrder *order, TupleDesc tupdesc);
extern SortSupport tm_key_order_prepare(const KeyOrder *order, int n);

typedef struct DeltaMerge DeltaMerge;
typedef struct DeltaRows DeltaRows;
typedef struct KeyHints KeyHints;	/* key_hints.c */

/*
 * Rows of a delta query (stored keys, then states), to be added, then sorted by
 * the keys and read, once.  In the current context; the end frees all.
 */
extern DeltaRows *tm_delta_rows_create(const DeltaMerge *merge);
extern void tm_delta_rows_begin(DeltaRows *rows, TupleDesc tupdesc);
extern void tm_delta_rows_add(DeltaRows *rows, const Datum *values, const bool *isnull);
extern void tm_delta_rows_sort(DeltaRows *rows);

/* Begins, and adds what it receives; lives as long as rows. */
extern DestReceiver *tm_delta_rows_get_receiver(DeltaRows *rows);

/* The next row, states as they are stored; NULL after the last. */
extern TupleTableSlot *tm_delta_rows_next(DeltaRows *rows);
extern Size tm_delta_rows_size(const DeltaRows *rows);
extern void tm_delta_rows_end(DeltaRows *rows);

/* ---- delta_merge.c ---- */

struct DeltaMerge
{
	Oid			state_table;
	int			nkeys;			/* stored keys; states follow them */
	int			nunique;		/* the first of them, that the index is over */
	KeyOrder	order;			/* of all stored keys: as the index is */
	bool		session;		/* the last two are session_start, session_end */
	int			nstates;
	PartialState **states;		/* per state column */
	bool	   *internal;		/* a delta may have bytes */
	KeyHints   *hints;			/* NULL: none was needed yet */
	MemoryContext group_cxt;
};

extern DeltaMerge *tm_delta_merge_create(const ViewSpec *spec, Oid state_table,
										 MemoryContext cxt);

/*
 * Groups of rows, each at most once, in the order of their keys: stored keys,
 * then states.  What a store has of type internal is bytea, or aggstate already.
 */
typedef struct Delta
{
	DeltaRows  *rows;			/* sorted; or NULL, and */
	Tuplestorestate *store;
	TupleDesc	tupdesc;		/* of store */
} Delta;

extern void tm_delta_end(Delta *delta);

/* The memory that it takes, about. */
extern Size tm_delta_size(const Delta *delta);

/*
 * Merge a delta, once, into the state table; returns the number of its groups.
 * changed, when not NULL, gets the rows that were inserted or updated.
 */
extern int64 tm_delta_merge_run(DeltaMerge *merge, Delta *delta, RowList *changed);

/* ---- maintain_batch.c: what a process keeps about a view ---- */

typedef struct DeltaExpand DeltaExpand; /* delta_expand.c */

typedef struct MaintainView
{
	Oid			state_table;	/* hash key */
	bool		valid;
	bool		busy;			/* a step is at work, or a delta waits for its
								 * merge */
	Oid			query_view;
	Oid			source;
	Oid			final_table;	/* or InvalidOid */
	List	   *other_tables;
	int64		load;			/* the number of its last one in this process */
	struct DeltaShape *shape;	/* NULL: shares its passes with no view */
	MemoryContext cxt;			/* of all that follows */
	ViewSpec   *spec;
	struct DeltaPass *pass;		/* the last that it has run for others, too */
	PartialPlan *plan;			/* over the batch */
	PartialPlan *on_time_plan;	/* the same for rows that may be late, or NULL */
	PartialPlan *late_plan;		/* the rows that are, or NULL */
	DeltaMerge *merge;
	DeltaExpand *expand;		/* NULL: the delta is not by pane */
	/* made when first needed */
	struct WindowClose *close;
	RowStatement *emit;
	RowStatement *revise;
	RowStatement *show;
} MaintainView;

/*
 * The entry of a view, which stays where it is until the transaction ends;
 * prepared: its spec and its merge are those of now.
 */
extern MaintainView *tm_maintain_get(const MetaView *view);

/*
 * Make it so, and lock what the view reads.  As the view's owner and under its
 * settings.
 */
extern void tm_maintain_prepare(MaintainView *entry, const MetaView *view);

/*
 * 27000: the entry must not be loaded again, nor progress be read twice and
 * written twice, while a plan of it runs.
 */
extern void tm_maintain_check_not_busy(const MaintainView *entry, const MetaView *view);

/* ---- delta_share.c: one pass over a batch for several views ---- */

/*
 * What the views of one batch share, in the current context; to be ended when all
 * have had their turn.  views has to live as long.
 */
typedef struct MaintainShare MaintainShare;
extern MaintainShare *tm_share_create(const MaintainRows *views, int n);
extern void tm_share_end(MaintainShare *share);

/*
 * What views have to have in common, to be released; NULL for one that shares
 * with none.
 */
extern struct DeltaShape *tm_share_get_shape(const ViewSpec *spec, const MetaView *view);
extern void tm_share_release_shape(struct DeltaShape *shape);

/*
 * The groups of a view over all rows of the batch, from a pass that it shares:
 * rows that are not sorted yet, or panes in a store.  False: there is no other
 * view to share with.
 */
extern bool tm_share_run(MaintainShare *share, MaintainView *entry, const BatchRows *batch,
						 Delta *delta);

/* ---- maintain_batch.c ---- */

/*
 * Run step as the view's owner and under its settings, with the view prepared.
 * What step runs (expressions, triggers) cannot lead back here for the same
 * view: that is an error, 27000.
 */
typedef void (*MaintainStep) (MaintainView *entry, const MetaView *view, void *arg);
extern void tm_maintain_run(const MetaView *view, MaintainStep step, void *arg);

/* The plan that finds the late rows of a batch; made when it is first needed. */
extern PartialPlan *tm_maintain_get_late_plan(MaintainView *entry);

/*
 * The groups of some rows, as they are merged.  share: those that share their
 * passes; NULL: alone.  As the view's owner.
 */
extern Delta tm_maintain_run_delta(MaintainView *entry, PartialPlan *plan, ViewRows rows,
								   const BatchRows *batch, MaintainShare *share);

/*
 * Merge them, and tell who listens.  The caller holds the view's lock and is its
 * owner.  revise: groups of windows that are closed already, so each gets another
 * final row.
 */
extern void tm_maintain_merge_delta(MaintainView *entry, const MetaView *view, Delta *delta,
									bool revise);

/*
 * Merge late rows, each for the window that it was left out of; in a step, and
 * the caller holds the view's lock.  closed: for windows that are closed, which
 * is a revision of their final rows.
 */
extern void tm_maintain_merge_admitted(MaintainView *entry, const MetaView *view,
									   const BatchRows *batch, bool closed);

/* ---- emit_final.c: finished rows ---- */

/*
 * Insert the chosen groups into the table of closed windows, as the view's
 * owner; the caller holds the view's lock.
 */
extern void tm_emit_final(MaintainView *entry, const MetaView *view, const RowList *rows);

/*
 * The same for groups of closed windows that have changed since: one more row
 * each, with the next revision.
 */
extern void tm_emit_revisions(MaintainView *entry, const MetaView *view, const RowList *rows);

/* ---- notify.c ---- */

/* Groups of a view with tidemark.notify have changed: rows of its state table. */
extern void tm_notify_changed(const MetaView *view, const RowList *rows);

/* Rows in the form of the user's output columns were emitted. */
extern void tm_notify_closed(const MetaView *view, Tuplestorestate *rows, TupleDesc tupdesc,
							 uint64 n);

/* What one run has open: the state table and its unique index. */
typedef struct MergeRun
{
	DeltaMerge *merge;
	Relation	rel;
	Relation	index;
	EState	   *estate;
	ResultRelInfo *info;
	IndexScanDesc scan;
	ScanKey		keys;			/* for equality, one per unique key */
	struct KeyWalk *walk;		/* or NULL: all are probed for */
	TableScanDesc by_place;		/* or NULL: no hint was followed */
	uint32		hash;			/* of the group that is looked for, with hints */
	TupleTableSlot *found;		/* the stored row */
	TupleTableSlot *made;		/* the row to write */
	TupleTableSlot **added;		/* new rows, written together */
	int			nslots;			/* there are in it */
	int			nadded;			/* that are in use */
	Size		added_bytes;
	MemoryContext cxt;			/* of the run */
	bool	   *wrap;			/* per state: the delta has its bytea */
	CommandId	cid;
	RowList    *changed;		/* rows that were written, or NULL */
} MergeRun;

/* The rows of the table are those of the active snapshot. */
extern void tm_merge_run_begin(MergeRun *run, DeltaMerge *merge, const Delta *delta,
							   RowList *changed);
extern void tm_merge_run_end(MergeRun *run);

/* How column i of an index is searched for, but for the value. */
extern void tm_merge_scan_key(Relation index, int i, StrategyNumber strategy, ScanKey key);

/* Does state i come as its bytes, which are to be made storable? */
extern bool tm_delta_merge_wraps(const DeltaMerge *merge, int i, TupleDesc delta);

/* State i of a delta row as it is stored. */
extern Datum tm_merge_run_delta_state(MergeRun *run, TupleTableSlot *delta, int i);

/*
 * Write run->made: as a new row (at the latest when the run ends), or over the one
 * at tid; same_key: the unique keys are those that it has.
 */
extern void tm_merge_run_insert(MergeRun *run);
extern void tm_merge_run_update(MergeRun *run, ItemPointer tid, bool same_key);

/* ---- key_walk.c: groups in the order of the index ---- */

typedef struct KeyWalk KeyWalk;

typedef enum KeyFound
{
	KEY_FOUND,
	KEY_ABSENT,
	KEY_UNKNOWN					/* has to be probed for */
} KeyFound;

/* NULL when the order of the merge is not that of the index. */
extern KeyWalk *tm_key_walk_create(const MergeRun *run);

/*
 * Does the table have a group, none of which comes after a later one of the
 * index?  Leaves its row in found.
 */
extern KeyFound tm_key_walk_find(KeyWalk *walk, TupleTableSlot *group, TupleTableSlot *found);
extern void tm_key_walk_end(KeyWalk *walk);

/* ---- key_hints.c: groups that many versions were met of ---- */

/*
 * Leaves the row of a group in run->found; false: it has to be searched for.
 * The merge has hints.
 */
extern bool tm_key_hints_find(MergeRun *run, const TupleTableSlot *group);

/* run->found is the row of this group, and has many older versions. */
extern void tm_key_hints_put(MergeRun *run, const TupleTableSlot *group);

/* The group that was looked for last has its newest version there. */
extern void tm_key_hints_move(MergeRun *run, ItemPointer tid);

/* ---- session_merge.c ---- */

/*
 * The same as tm_delta_merge_run() for partial sessions, that come in the order
 * of key and start.
 */
extern int64 tm_session_merge_run(DeltaMerge *merge, Delta *delta, RowList *changed);

/* How it combines states: state i of the view. */
extern PartialState *tm_delta_merge_state(const DeltaMerge *merge, int i);

/* ---- delta_expand.c: views over hop() and cumulate() ---- */

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
