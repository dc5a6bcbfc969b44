/*
 * ingest_scheduler.c
 *	  The scheduler: one per database that has the extension; keeps the processes
 *	  running that its streams, views and partitioned tables want.
 *
 * What is wanted is durable (the tables of the meta room); what runs is in
 * shared memory (the slots of the worker room).  The scheduler compares the two
 * when somebody wakes it, and once a minute in case a wake-up got lost; in
 * between it only starts what has ended.  It does not touch the processes' work,
 * so that its own failure stops nothing; and it reads no more of a stream than
 * whether a broker feeds it, so that a stream whose definition is broken, or
 * locked, is the trouble of its own worker only.
 *
 * Runs in: the scheduler of a database.
 * Memory: the list of wanted work lives in a context of its own, reset at each
 * look.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "ingest/ingest_process.h"
#include "meta/meta.h"
#include "stream/stream.h"
#include "worker/worker.h"

#define RECHECK_MS			60000
#define LOOK_LOCK_TIMEOUT	"300ms"

/* Processes that look after table partitions at the same time. */
#define MAX_PARTITIONING	2

/* One process that should be there. */
typedef struct WantedWork
{
	WorkerRole	role;
	Oid			object;
	int			index;
	char		display_name[BGW_MAXLEN];
} WantedWork;

static const char *const functions[] = {
	[WORKER_INGEST] = INGEST_WORKER_FUNCTION,
	[WORKER_BACKFILL] = INGEST_BACKFILL_FUNCTION,
	[WORKER_PARTITIONING] = INGEST_PARTITIONING_FUNCTION,
};

static const char *const role_names[] = {
	[WORKER_INGEST] = "ingest",
	[WORKER_BACKFILL] = "backfill",
	[WORKER_PARTITIONING] = "partitioning",
};

static void
add_wanted(List **wanted, WorkerRole role, Oid object, int index, Oid named)
{
	WantedWork *work = palloc0(sizeof(WantedWork));
	char	   *name = get_rel_name(named);

	work->role = role;
	work->object = object;
	work->index = index;
	snprintf(work->display_name, sizeof(work->display_name), "tidemark %s %s",
			 role_names[role], name ? name : "");
	*wanted = lappend(*wanted, work);
}

/* Does a broker feed it?  Manual streams need no process. */
static bool
is_consumed(Oid stream)
{
	return tm_stream_is_stream(stream) && !tm_stream_is_manual(stream);
}

/* The slot of a table's partitioning, or NULL. */
static const WorkerInfo *
find_partitioning(const WorkerInfo *infos, int count, Oid parent)
{
	for (int i = 0; i < count; i++)
		if (infos[i].role == WORKER_PARTITIONING && infos[i].object == parent)
			return &infos[i];
	return NULL;
}

/*
 * Tables whose partitions are to be looked after now.  What has failed stays, to
 * be tried again; of the others only a few at a time.
 */
static void
add_partitionings(List **wanted)
{
	int			count;
	WorkerInfo *infos = tm_worker_slot_list(MyDatabaseId, &count);
	TimestampTz now = tm_clock_now();
	int			running = 0;
	ListCell   *cell;

	for (int i = 0; i < count; i++)
		if (infos[i].role == WORKER_PARTITIONING && infos[i].state != WORKER_STATE_BACKOFF)
			running++;
	foreach(cell, tm_meta_partitioning_list())
	{
		MetaPartitioning *partitioning = lfirst(cell);

		if (partitioning->restored || partitioning->next_run > now)
			continue;
		if (find_partitioning(infos, count, partitioning->parent) == NULL &&
			running++ >= MAX_PARTITIONING)
			continue;
		add_wanted(wanted, WORKER_PARTITIONING, partitioning->parent, 0, partitioning->parent);
	}
}

static List *
list_wanted(void)
{
	List	   *wanted = NIL;
	ListCell   *cell;

	foreach(cell, tm_meta_ingest_list())
	{
		MetaIngest *ingest = lfirst(cell);

		if (ingest->state != META_RUNNING || ingest->restored ||
			!is_consumed(ingest->stream))
			continue;
		for (int i = 0; i < ingest->workers; i++)
			add_wanted(&wanted, WORKER_INGEST, ingest->stream, i, ingest->stream);
	}
	foreach(cell, tm_meta_view_list(InvalidOid))
	{
		MetaView   *view = lfirst(cell);

		if (view->state != META_BACKFILLING || view->restored ||
			!view->own_offsets || !is_consumed(view->source))
			continue;
		add_wanted(&wanted, WORKER_BACKFILL, view->state_table, 0, view->view);
	}
	add_partitionings(&wanted);
	return wanted;
}

/*
 * Read what is wanted, in a short transaction.  False when the extension is not
 * there.
 */
static bool
look(MemoryContext cxt, List **wanted)
{
	bool		installed;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	installed = tm_meta_is_installed();
	if (installed)
	{
		MemoryContextSwitchTo(cxt);
		*wanted = list_wanted();
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return installed;
}

static bool
is_wanted(List *wanted, const WorkerInfo *info)
{
	ListCell   *cell;

	foreach(cell, wanted)
	{
		WantedWork *work = lfirst(cell);

		if (work->role == info->role && work->object == info->object &&
			work->index == info->index)
			return true;
	}
	return false;
}

/* Make the slots be what is wanted. */
static void
reconcile_slots(List *wanted)
{
	static bool full = false;
	bool		was_full = full;
	int			count;
	WorkerInfo *infos = tm_worker_slot_list(MyDatabaseId, &count);
	ListCell   *cell;

	for (int i = 0; i < count; i++)
	{
		if (infos[i].role != WORKER_SCHEDULER && !is_wanted(wanted, &infos[i]))
			tm_worker_slot_drop(MyDatabaseId, infos[i].role, infos[i].object,
								infos[i].index);
	}
	full = false;
	foreach(cell, wanted)
	{
		WantedWork *work = lfirst(cell);

		if (!tm_worker_slot_want(MyDatabaseId, work->role, work->object,
								 work->index))
			full = true;
	}
	if (full && !was_full)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("not all workers of this database can be remembered"),
				 errhint("Increase \"tidemark.max_workers\" and restart the server.")));
}

static void
start_due(List *wanted)
{
	ListCell   *cell;

	tm_worker_slot_check_starts();
	foreach(cell, wanted)
	{
		WantedWork *work = lfirst(cell);

		(void) tm_worker_slot_start(MyDatabaseId, work->role, work->object,
									work->index, functions[work->role],
									work->display_name);
	}
}

/* Returns when the process should end; throws when it failed. */
static void
run_scheduler(void)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext,
											  "tidemark scheduler",
											  ALLOCSET_DEFAULT_SIZES);
	List	   *wanted = NIL;
	TimestampTz last_look = 0;

	while (tm_worker_continue())
	{
		long		timeout = RECHECK_MS;
		long		next;
		TimestampTz now = tm_clock_now();

		if (tm_worker_begin_look() || last_look == 0 ||
			TimestampDifferenceExceeds(last_look, now, RECHECK_MS))
		{
			bool		installed;

			tm_worker_report_phase(WORKER_PHASE_LOOK);
			last_look = now;
			MemoryContextReset(cxt);
			wanted = NIL;
			installed = look(cxt, &wanted);
			tm_worker_report_look(installed);
			if (!installed)
				return;
			reconcile_slots(wanted);
		}
		start_due(wanted);
		next = tm_worker_slot_next_start(MyDatabaseId, false);
		if (next >= 0)
			timeout = Min(timeout, next);
		tm_worker_report_phase(WORKER_PHASE_WAIT);
		tm_worker_wait(PGINVALID_SOCKET, timeout);
	}
}

void
tm_scheduler_main(Datum arg)
{
	WorkerInfo	self;

	tm_worker_attach(&self);
	PG_TRY();
	{
		tm_worker_init_process(self.database);
		/* shorter than deadlock_timeout: DDL of users wins, we look again */
		SetConfigOption("lock_timeout", LOOK_LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
		run_scheduler();
	}
	PG_CATCH();
	{
		tm_worker_exit_with_error();
	}
	PG_END_TRY();
}
