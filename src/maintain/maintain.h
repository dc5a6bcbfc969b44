/*
 * maintain.h
 *	  Door of the maintain room: the incremental engine.  It knows rows in
 *	  memory, views and their states; no Kafka, no bytes.
 */
#ifndef TM_MAINTAIN_H
#define TM_MAINTAIN_H

#include "meta/meta.h"
#include "nodes/pathnodes.h"
#include "stream/stream.h"
#include "tcop/dest.h"
#include "view/view.h"

/* ---- one batch through its views (maintain_apply.c) ---- */

/*
 * Take rows of the source into the view: partial states of the rows, then the
 * merge into the state table, as the view's owner and under its settings.
 * Holds the view's lock until the transaction ends.  Throws what the view's
 * expressions throw.  rows may be empty (a view without keys then gets its
 * row).
 */
extern void tm_maintain_apply(const MetaView *view, const StreamRows *rows);

/*
 * The same for views of one source and the tables it is ingested into, in the order
 * of their state tables: first the partial states of all, as far as memory
 * allows, and those that group rows alike share a pass over them; then the
 * merges.  An error of any of them may come from another's turn, so
 * none can be undone alone.
 */
typedef struct MaintainRows
{
	const MetaView *view;
	const StreamRows *rows;		/* NULL: none, and the view is only locked, if
								 * it closes windows */
} MaintainRows;

extern void tm_maintain_apply_all(const MaintainRows *views, int n);

/*
 * Free what this process keeps about views that are gone, unless the
 * transaction has worked at a view already.  Work at a view begins with it, so
 * this is for batches without one.
 */
extern void tm_maintain_forget_dropped(void);

/*
 * As tm_maintain_apply(), for rows that were dead letters: judged by the
 * watermark they bring, they also go into windows that are closed, unless the
 * view has emitted them as final or dropped them.
 */
extern void tm_maintain_replay(const MetaView *view, const StreamRows *rows);

/* For all rows that the source relation has in the active snapshot: history of a table. */
extern void tm_maintain_apply_source(const MetaView *view);

/* ---- closing windows (close_windows.c) ---- */

/*
 * The watermark of the source has come this far: close the windows that it has
 * passed, at most limit groups of them, and remove those that have outlived
 * their retention, with what is left of the limit, or a quarter of it.  True:
 * there is more to do.  Takes the view's lock.  Only for views with
 * VIEW_CLOSES().
 */
extern bool tm_maintain_close(const MetaView *view, TimestampTz watermark, int limit);

/*
 * Windows that end up to then have left the view, or are about to: a commit may
 * have removed some of their groups only.
 */
extern TimestampTz tm_maintain_pruned_until(const ViewSpec *spec, const MetaProgress *progress);

/*
 * Tell whoever listens what this transaction has changed in the view since it
 * was last told; watermark: of the source.  Nothing, for a view without
 * tidemark.notify.
 */
extern void tm_maintain_notify(const MetaView *view, TimestampTz watermark);

/* ---- late rows that are kept (late_admit.c) ---- */

/* Take them into the view as a revision; returns how many.  Takes the lock. */
extern int64 tm_maintain_admit(const MetaView *view);

/* ---- a query over rows that do not lie in memory at once ---- */

typedef struct MaintainChunks
{
	/* the next rows, valid until the next call; NULL at the end */
	const StreamRows *(*next) (void *arg);
	void		(*rewind) (void *arg);
	void	   *arg;
} MaintainChunks;

/*
 * Run a planned query under the active snapshot.  chunks: of its source
 * tidemark_state.batch_rows(), NULL if it has none.  Result: what the rows
 * look like.
 */
extern TupleDesc tm_maintain_run_plan(PlannedStmt *stmt, const MaintainChunks *chunks,
									  DestReceiver *dest);

/* Remove all state, closed windows and late rows; before a rebuild. */
extern void tm_maintain_clear(const MetaView *view);

/* Attributes of its source that the view reads, as Bitmapset of Vars. */
extern Bitmapset *tm_maintain_needed(const MetaView *view);

/* ---- hooks of the planner (batch_scan.c, partial_plan.c) ---- */

extern void tm_maintain_set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel,
										 Index rti, RangeTblEntry *rte);
extern void tm_maintain_create_upper_paths(PlannerInfo *root, UpperRelationKind stage,
										   RelOptInfo *output_rel);
extern void tm_maintain_init(void);

#endif							/* TM_MAINTAIN_H */
