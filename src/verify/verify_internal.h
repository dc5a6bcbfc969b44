/*
 * verify_internal.h
 *	  Shared by the files of the verify room only.
 */
#ifndef TM_VERIFY_INTERNAL_H
#define TM_VERIFY_INTERNAL_H

#include "access/tupdesc.h"
#include "nodes/execnodes.h"
#include "tcop/dest.h"
#include "utils/tuplestore.h"

#include "view/view.h"

/* ---- verify_recompute.c ---- */

/* What is compared. */
typedef struct VerifyRange
{
	const TimestampTz *since;	/* windows that start then or later; NULL =
								 * all */
	TimestampTz pruned_until;	/* windows that end later; DT_NOBEGIN = all */
	TimestampTz closed_until;	/* of a view of closed windows: those that end
								 * up to then */
} VerifyRange;

/*
 * The two sides of a comparison: what the view keeps, and its query run as
 * batch over what it has applied.  Rows go to dest in the order of the stored
 * keys, which are the first columns (spec->no_keys: none), followed by the
 * user's columns.  Both read under the active snapshot and run as the current
 * user.  Result: what the rows look like.
 *
 * tm_verify_run_batch() tells by NOTICE what could not be compared.
 */
extern TupleDesc tm_verify_run_kept(const MetaView *view, const ViewSpec *spec,
									const VerifyRange *range, DestReceiver *dest);
extern TupleDesc tm_verify_run_batch(const MetaView *view, const ViewSpec *spec,
									 const VerifyRange *range, DestReceiver *dest);

/* ---- verify_compare.c ---- */

/*
 * The receiver for the batch side: puts a row for each problem into the result.
 * kept: the rows of the kept side; tupdesc: the rows of both.  removal: or NULL;
 * what of a difference it explains is only counted.
 */
extern DestReceiver *tm_verify_compare_create(const ViewSpec *spec,
											  const ViewRemoval *removal,
											  Tuplestorestate *kept,
											  TupleDesc tupdesc,
											  ReturnSetInfo *result);
extern int64 tm_verify_compare_left_out(const DestReceiver *receiver);

#endif							/* TM_VERIFY_INTERNAL_H */
