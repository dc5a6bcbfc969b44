/*
 * worker_database.c
 *	  Databases: which ones may have processes, and the commands that want a
 *	  database for themselves.
 *
 * DROP DATABASE and its kin wait up to 5 s for other processes to leave the
 * database and fail if they do not.  Ours leave before the command starts, and
 * are kept away until its transaction has ended: a scheduler started between
 * the command and its commit would wait for the database's lock, only to find
 * the database gone.
 *
 * Runs in: launcher, schedulers, backends that run those commands.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/clock.h"
#include "base/compat.h"
#include "worker/worker_internal.h"

#define STOP_TIMEOUT_MS		5000

/* Databases that this backend has stopped until its transaction ends. */
static List *stopped = NIL;

WorkerDatabase *
tm_worker_database_find(Oid database, bool create)
{
	WorkerDatabase *entry;
	bool		found;

	Assert(LWLockHeldByMe(tm_worker_shared->lock));
	entry = hash_search(tm_worker_databases, &database,
						create ? HASH_ENTER_NULL : HASH_FIND, &found);
	if (entry != NULL && !found)
	{
		entry->stops = 0;
		entry->look = WORKER_LOOK_UNKNOWN;
		entry->woken = false;
	}
	return entry;
}

/* ---- for the launcher and the schedulers ---- */

static void
detach_launcher(int code, Datum arg)
{
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	tm_worker_shared->launcher = NULL;
	LWLockRelease(tm_worker_shared->lock);
}

void
tm_worker_attach_launcher(void)
{
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	tm_worker_shared->launcher = MyProc;
	LWLockRelease(tm_worker_shared->lock);
	on_shmem_exit(detach_launcher, (Datum) 0);
}

bool
tm_worker_database_is_wanted(Oid database)
{
	WorkerDatabase *entry;
	bool		wanted;

	LWLockAcquire(tm_worker_shared->lock, LW_SHARED);
	entry = tm_worker_database_find(database, false);
	wanted = entry == NULL ||
		(entry->stops == 0 && entry->look != WORKER_LOOK_ABSENT);
	LWLockRelease(tm_worker_shared->lock);
	return wanted;
}

int
tm_worker_count_looking(void)
{
	int			count = 0;

	LWLockAcquire(tm_worker_shared->lock, LW_SHARED);
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];
		WorkerDatabase *entry;

		if (!slot->in_use || slot->info.role != WORKER_SCHEDULER ||
			(slot->info.state != WORKER_STATE_STARTING &&
			 slot->info.state != WORKER_STATE_RUNNING))
			continue;
		entry = tm_worker_database_find(slot->info.database, false);
		if (entry == NULL || entry->look != WORKER_LOOK_INSTALLED)
			count++;
	}
	LWLockRelease(tm_worker_shared->lock);
	return count;
}

static void
end_slots(Oid database)
{
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];

		if (slot->in_use && slot->info.database == database)
			tm_worker_slot_end(slot);
	}
}

void
tm_worker_keep_databases(const Oid *databases, int count)
{
	HASH_SEQ_STATUS status;
	WorkerDatabase *entry;

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	hash_seq_init(&status, tm_worker_databases);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		bool		keep = entry->stops > 0;

		for (int i = 0; i < count && !keep; i++)
			keep = databases[i] == entry->oid;
		if (keep)
			continue;
		end_slots(entry->oid);
		(void) hash_search(tm_worker_databases, &entry->oid, HASH_REMOVE, NULL);
	}
	LWLockRelease(tm_worker_shared->lock);
}

bool
tm_worker_begin_look(void)
{
	WorkerDatabase *entry;
	bool		woken = false;

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	entry = tm_worker_database_find(tm_worker_my_slot->info.database, false);
	if (entry != NULL)
	{
		woken = entry->woken;
		entry->woken = false;
	}
	LWLockRelease(tm_worker_shared->lock);
	return woken;
}

void
tm_worker_report_look(bool installed)
{
	WorkerDatabase *entry;

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	entry = tm_worker_database_find(tm_worker_my_slot->info.database, false);
	if (entry != NULL)
	{
		if (installed)
			entry->look = WORKER_LOOK_INSTALLED;
		else if (entry->woken)
			entry->look = WORKER_LOOK_UNKNOWN;	/* look once more */
		else
			entry->look = WORKER_LOOK_ABSENT;
	}
	if (installed)
		(void) tm_worker_slot_set_trouble(tm_worker_my_slot, 0, NULL, NULL);
	else
	{
		/* nothing is left to do here: all slots go, this one at exit */
		tm_worker_my_slot->dropped = true;
		for (int i = 0; i < tm_worker_shared->nslots; i++)
		{
			WorkerSlot *slot = &tm_worker_shared->slots[i];

			if (slot->in_use && slot != tm_worker_my_slot &&
				slot->info.database == tm_worker_my_slot->info.database)
				tm_worker_slot_end(slot);
		}
	}
	LWLockRelease(tm_worker_shared->lock);
}

/* ---- stopping ---- */

static void
begin_stop(Oid database)
{
	WorkerDatabase *entry;
	MemoryContext oldcxt;

	oldcxt = MemoryContextSwitchTo(TopMemoryContext);
	stopped = lappend_oid(stopped, database);
	MemoryContextSwitchTo(oldcxt);

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	entry = tm_worker_database_find(database, true);
	if (entry != NULL)
	{
		entry->stops++;
		end_slots(database);
	}
	LWLockRelease(tm_worker_shared->lock);
	if (entry == NULL)			/* without an entry it has no process either */
		stopped = list_delete_oid(stopped, database);
}

static bool
has_process(Oid database)
{
	bool		found = false;

	LWLockAcquire(tm_worker_shared->lock, LW_SHARED);
	for (int i = 0; i < tm_worker_shared->nslots && !found; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];

		found = slot->in_use && slot->info.database == database &&
			slot->proc != NULL;
	}
	LWLockRelease(tm_worker_shared->lock);
	return found;
}

void
tm_worker_stop_database(Oid database)
{
	TimestampTz start = tm_clock_now();

	if (tm_worker_shared == NULL)
		return;
	tm_worker_watch_transaction();
	begin_stop(database);

	ConditionVariablePrepareToSleep(&tm_worker_shared->ended);
	while (has_process(database))
	{
		if (TimestampDifferenceExceeds(start, tm_clock_now(), STOP_TIMEOUT_MS))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("could not stop the tidemark processes of database with OID %u",
							database),
					 errhint("Set \"tidemark.enabled\" to off, reload the configuration, and try again.")));
		(void) ConditionVariableTimedSleep(&tm_worker_shared->ended, 100,
										   TM_WAIT_EVENT);
	}
	ConditionVariableCancelSleep();
}

void
tm_worker_end_stops(void)
{
	if (stopped == NIL)
		return;
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	while (stopped != NIL)
	{
		WorkerDatabase *entry;

		entry = tm_worker_database_find(linitial_oid(stopped), false);
		if (entry != NULL)
		{
			entry->stops--;
			entry->look = WORKER_LOOK_UNKNOWN;
		}
		stopped = list_delete_first(stopped);
	}
	tm_worker_wake_launcher();
	LWLockRelease(tm_worker_shared->lock);
}

/* ---- the commands ---- */

/*
 * Could the user run this command?  Checked here, before the command does, so
 * that nobody stops the workers of a database by a command that is refused.
 */
static bool
may_run(Oid database, bool as_template)
{
	HeapTuple	tuple;
	bool		allowed;

	allowed = object_ownercheck(DatabaseRelationId, database, GetUserId());
	if (!as_template || superuser())
		return allowed;
	if (!allowed)
	{
		tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
		if (!HeapTupleIsValid(tuple))
			return false;
		allowed = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	allowed = allowed && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return allowed;
}

static const char *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

void
tm_worker_before_database_command(Node *stmt)
{
	const char *name = NULL;
	bool		as_template = false;
	Oid			database;

	if (tm_worker_shared == NULL || !IsTransactionState())
		return;
	if (IsA(stmt, DropdbStmt))
		name = ((DropdbStmt *) stmt)->dbname;
	else if (IsA(stmt, RenameStmt) &&
			 ((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) stmt)->subname;
	else if (IsA(stmt, AlterDatabaseStmt))
	{
		if (find_option(((AlterDatabaseStmt *) stmt)->options, "tablespace"))
			name = ((AlterDatabaseStmt *) stmt)->dbname;
	}
	else if (IsA(stmt, CreatedbStmt))
	{
		name = find_option(((CreatedbStmt *) stmt)->options, "template");
		if (name == NULL)
			name = "template1";
		as_template = true;
	}
	else
		return;

	tm_worker_wake_launcher_at_commit();
	database = name ? get_database_oid(name, true) : InvalidOid;
	if (OidIsValid(database) && may_run(database, as_template))
		tm_worker_stop_database(database);
}
