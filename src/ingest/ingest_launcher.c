/*
 * ingest_launcher.c
 *	  The launcher: one per server, connected to no database; starts a scheduler
 *	  in every database that may have the extension.
 *
 * Only a process inside a database can tell whether it has the extension, so a
 * scheduler is sent to look: once for each database, when the server starts,
 * when the database is new, and when somebody wakes the database (CREATE
 * EXTENSION does).  One that finds nothing leaves, and shared memory remembers
 * it.  Databases without the extension are otherwise left in peace; looking
 * into each of them regularly would keep them busy and get in the way of DROP
 * DATABASE.
 *
 * Runs in: the launcher.
 * Memory: the list of databases lives in a context of its own, reset each time.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/settings.h"
#include "ingest/ingest_process.h"
#include "worker/worker.h"

/* The list of databases is looked at again after this time, unasked. */
#define RECHECK_MS			60000

/* After a crash of the launcher itself. */
#define RESTART_SECONDS		1

/*
 * Schedulers that may look at the same time whether the extension is there: the
 * other databases wait their turn, so that a server with many of them does not
 * fill max_worker_processes at its start.
 */
#define MAX_LOOKING			2

void
tm_ingest_register_launcher(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "tidemark", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "tm_launcher_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "tidemark launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "tidemark launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

/*
 * Databases that people can connect to; no templates, which must stay free of
 * connections to be copied.
 */
static List *
list_databases(MemoryContext cxt)
{
	List	   *databases = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext oldcxt;

		if (!form->datallowconn || form->datistemplate ||
			database_is_invalid_form(form))
			continue;
		oldcxt = MemoryContextSwitchTo(cxt);
		databases = lappend_oid(databases, form->oid);
		MemoryContextSwitchTo(oldcxt);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return databases;
}

/* Slots of databases that were dropped, or closed to connections, go. */
static void
forget_others(List *databases)
{
	Oid		   *oids = palloc(Max(list_length(databases), 1) * sizeof(Oid));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, databases)
		oids[count++] = lfirst_oid(cell);
	tm_worker_keep_databases(oids, count);
}

/* Start the schedulers whose time has come. */
static void
start_schedulers(List *databases)
{
	static bool full = false;
	bool		was_full = full;
	ListCell   *cell;

	full = false;
	foreach(cell, databases)
	{
		Oid			database = lfirst_oid(cell);

		if (!tm_worker_database_is_wanted(database))
			continue;
		if (tm_worker_count_looking() >= MAX_LOOKING)
			break;
		if (!tm_worker_slot_want(database, WORKER_SCHEDULER, InvalidOid, 0))
		{
			/* it is stopped, and wakes us when that is over; or: */
			full = tm_worker_database_is_wanted(database);
			continue;
		}
		(void) tm_worker_slot_start(database, WORKER_SCHEDULER, InvalidOid, 0,
									"tm_scheduler_main", "tidemark scheduler");
	}
	if (full && !was_full)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases or workers for the shared memory of tidemark"),
				 errhint("Increase \"max_worker_processes\" or \"tidemark.max_workers\" and restart the server.")));
}

void
tm_launcher_main(Datum arg)
{
	MemoryContext cxt;

	tm_worker_init_process(InvalidOid);
	tm_worker_attach_launcher();
	cxt = AllocSetContextCreate(TopMemoryContext, "tidemark launcher",
								ALLOCSET_DEFAULT_SIZES);
	while (tm_worker_continue())
	{
		long		timeout = RECHECK_MS;

		MemoryContextReset(cxt);
		MemoryContextSwitchTo(cxt);
		if (tm_setting_enabled)
		{
			List	   *databases = list_databases(cxt);
			long		next;

			MemoryContextSwitchTo(cxt);
			forget_others(databases);
			tm_worker_slot_check_starts();
			start_schedulers(databases);
			next = tm_worker_slot_next_start(InvalidOid, true);
			if (next >= 0)
				timeout = Min(timeout, next);
		}
		tm_worker_wait(PGINVALID_SOCKET, timeout);
	}

	/* with exit code 0 the postmaster would not start it again */
	proc_exit(1);
}
