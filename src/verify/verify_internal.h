/*
 * verify_internal.h
 *	  Shared by the files of the verify room only.
 */
#ifndef TM_VERIFY_INTERNAL_H
#define TM_VERIFY_INTERNAL_H

#include "tcop/dest.h"

#include "view/view.h"

/*
 * The two sides of a comparison: what the view keeps, and its query run as
 * batch over what it has applied.  Rows go to dest in the order of the stored
 * keys, which are the first columns (spec->no_keys: none), followed by the
 * user's columns.  Both read under the active snapshot and run as the current
 * user.  since: only windows that start then or later; NULL = all.
 *
 * tm_verify_run_batch() tells by NOTICE what could not be compared.
 */
extern void tm_verify_run_kept(const MetaView *view, const ViewSpec *spec,
							   const TimestampTz *since, DestReceiver *dest);
extern void tm_verify_run_batch(const MetaView *view, const ViewSpec *spec,
								const TimestampTz *since, DestReceiver *dest);

#endif							/* TM_VERIFY_INTERNAL_H */
