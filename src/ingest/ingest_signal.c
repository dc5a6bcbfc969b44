/*
 * ingest_signal.c
 *	  Wake those who wait for commits, once the transaction has committed.
 *
 * Runs in: every process that ingests.
 */
#include "postgres.h"

#include "access/xact.h"

#include "ingest/ingest_internal.h"

static bool signal_wanted = false;
static bool callback_registered = false;

static void
on_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && signal_wanted)
		tm_worker_signal_commit();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		signal_wanted = false;
}

void
tm_ingest_signal_at_commit(void)
{
	if (!callback_registered)
	{
		RegisterXactCallback(on_transaction_end, NULL);
		callback_registered = true;
	}
	signal_wanted = true;
}
