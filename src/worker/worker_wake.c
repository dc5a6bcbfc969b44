/*
 * worker_wake.c
 *	  Who is woken, now and at the end of the transaction.
 *
 * What a transaction wants done when it ends is done by a resource release
 * callback in its last phase, not by a transaction callback: only then have the
 * invalidation messages been sent, without which a process that is woken may
 * look at its caches and see nothing new.  A transaction that is prepared wakes
 * at PREPARE, for nothing; COMMIT PREPARED, which does not know what it commits,
 * wakes the scheduler in any case (ingest_ddl.c).
 *
 * Runs in: every backend and worker.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/resowner.h"

#include "worker/worker_internal.h"

static bool wake_scheduler_at_commit = false;
static bool wake_launcher_at_commit = false;

void
tm_worker_wake_launcher(void)
{
	Assert(LWLockHeldByMe(tm_worker_shared->lock));
	if (tm_worker_shared->launcher != NULL)
		SetLatch(&tm_worker_shared->launcher->procLatch);
}

void
tm_worker_wake_starter(Oid database, WorkerRole role)
{
	WorkerSlot *scheduler = NULL;

	if (role != WORKER_SCHEDULER)
		scheduler = tm_worker_slot_find(database, WORKER_SCHEDULER, InvalidOid, 0);
	if (scheduler != NULL && scheduler->proc != NULL)
		SetLatch(&scheduler->proc->procLatch);
	else
		tm_worker_wake_launcher();
}

void
tm_worker_wake_scheduler(Oid database)
{
	WorkerDatabase *entry;

	if (tm_worker_shared == NULL)
		return;
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	entry = tm_worker_database_find(database, true);
	if (entry != NULL)
	{
		entry->woken = true;
		if (entry->look == WORKER_LOOK_ABSENT)
			entry->look = WORKER_LOOK_UNKNOWN;
	}
	/* any role but the scheduler's own is started by the scheduler */
	tm_worker_wake_starter(database, WORKER_INGEST);
	LWLockRelease(tm_worker_shared->lock);
}

void
tm_worker_wake_object(Oid database, Oid object)
{
	if (tm_worker_shared == NULL)
		return;
	LWLockAcquire(tm_worker_shared->lock, LW_SHARED);
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];

		if (slot->in_use && slot->proc != NULL &&
			slot->info.database == database && slot->info.object == object)
			SetLatch(&slot->proc->procLatch);
	}
	LWLockRelease(tm_worker_shared->lock);
}

/* ---- at the end of the transaction ---- */

static void
finish_transaction(ResourceReleasePhase phase, bool isCommit, bool isTopLevel,
				   void *arg)
{
	bool		scheduler = wake_scheduler_at_commit;
	bool		launcher = wake_launcher_at_commit;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !isTopLevel)
		return;
	wake_scheduler_at_commit = false;
	wake_launcher_at_commit = false;
	tm_worker_end_stops();
	(void) tm_worker_listen_commits(false);
	if (isCommit && scheduler)
		tm_worker_wake_scheduler(MyDatabaseId);
	if (isCommit && launcher)
	{
		LWLockAcquire(tm_worker_shared->lock, LW_SHARED);
		tm_worker_wake_launcher();
		LWLockRelease(tm_worker_shared->lock);
	}
}

void
tm_worker_watch_transaction(void)
{
	static bool registered = false;

	if (!registered)
		RegisterResourceReleaseCallback(finish_transaction, NULL);
	registered = true;
}

void
tm_worker_wake_scheduler_at_commit(void)
{
	if (tm_worker_shared == NULL)
		return;
	tm_worker_watch_transaction();
	wake_scheduler_at_commit = true;
}

bool
tm_worker_is_wake_pending(void)
{
	return wake_scheduler_at_commit;
}

void
tm_worker_wake_launcher_at_commit(void)
{
	if (tm_worker_shared == NULL)
		return;
	tm_worker_watch_transaction();
	wake_launcher_at_commit = true;
}
