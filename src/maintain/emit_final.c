/*
 * emit_final.c
 *	  Finished rows of closed windows go into f_<n>, the table that the visible
 *	  view of tidemark.emit = 'final' reads.
 *
 * An ordinary INSERT .. SELECT, so that the user's indexes and triggers on the
 * view work; in order of windows.
 *
 * Runs in: every process that maintains views, as the view's owner and under
 * its settings.
 * Locks: the caller holds the view's.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/clock.h"
#include "maintain/maintain_internal.h"

static void
run(MaintainView *entry, const MetaView *view, RowStatement *statement, const RowList *rows)
{
	bool		notify = entry->spec->options.notify != NULL;
	Tuplestorestate *result = notify ? tuplestore_begin_heap(false, false, work_mem) : NULL;
	TupleDesc	tupdesc;
	uint64		n;

	n = tm_row_statement_run(statement, rows, tm_clock_now(), result, &tupdesc);
	if (!notify)
		return;
	tm_notify_closed(view, result, tupdesc, n);
	tuplestore_end(result);
}

void
tm_emit_final(MaintainView *entry, const MetaView *view, const RowList *rows)
{
	if (entry->emit == NULL)
		entry->emit = tm_row_statement_create(tm_view_emit_statement(view, entry->spec, false),
											  entry->cxt);
	run(entry, view, entry->emit, rows);
}

void
tm_emit_revisions(MaintainView *entry, const MetaView *view, const RowList *rows)
{
	if (entry->revise == NULL)
		entry->revise = tm_row_statement_create(tm_view_emit_statement(view, entry->spec, true),
												entry->cxt);
	run(entry, view, entry->revise, rows);
}
