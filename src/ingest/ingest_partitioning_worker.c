/*
 * ingest_partitioning_worker.c
 *	  The process that looks after the partitions of one table.
 *
 * The scheduler starts it when the table is due; it makes what is missing, drops
 * what is old, writes down when the table is due again, and ends.  Each
 * transaction is short, and waits for locks no longer than LOCK_TIMEOUT, so that
 * batches and readers queue behind it for no longer either.  An error ends the
 * process, which is started again after a while; tidemark.partitioned_tables
 * shows it.
 *
 * Runs in: a dynamic background worker per slot of role WORKER_PARTITIONING.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "ingest/ingest_internal.h"
#include "ingest/ingest_partitioning.h"
#include "ingest/ingest_process.h"

PGDLLEXPORT void tm_partitioning_worker_main(Datum arg);

/* shorter than deadlock_timeout: users win, we come again */
#define LOCK_TIMEOUT	"500ms"

/* Steps that are made in one transaction. */
#define STEPS_AT_ONCE	20

static bool
make_some(Oid parent)
{
	bool		more;

	tm_worker_begin();
	more = tm_partitioning_make(parent, STEPS_AT_ONCE, NULL);
	tm_worker_commit();
	return more;
}

static bool
drop_one(Oid parent)
{
	bool		more;

	tm_worker_begin();
	more = tm_partitioning_drop(parent, 1, NULL);
	tm_worker_commit();
	return more;
}

static void
run_partitioning(Oid parent)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "tidemark partitioning",
											  ALLOCSET_DEFAULT_SIZES);
	bool		making = true;
	bool		dropping = true;

	while ((making || dropping) && tm_worker_continue())
	{
		MemoryContextReset(cxt);
		MemoryContextSwitchTo(cxt);
		if (making)
			making = make_some(parent);
		else
			dropping = drop_one(parent);
	}
	if (making || dropping)
		return;
	tm_worker_begin();
	tm_partitioning_schedule(parent);
	tm_worker_wake_scheduler_at_commit();
	tm_worker_commit();
}

void
tm_partitioning_worker_main(Datum arg)
{
	WorkerInfo	info;

	tm_worker_attach(&info);
	PG_TRY();
	{
		tm_worker_init_process(info.database);
		SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
		run_partitioning(info.object);
	}
	PG_CATCH();
	{
		tm_worker_exit_with_error();
	}
	PG_END_TRY();
	tm_worker_report_done();
	proc_exit(0);
}
