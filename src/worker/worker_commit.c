/*
 * worker_commit.c
 *	  Backends that wait for batches to commit: wait_for() and its kin.
 *
 * A waiter registers, looks at the committed positions, and sleeps on its
 * latch; a worker commits, then looks for waiters.  Both put a full barrier
 * between their two steps, so that one of them sees the other.  Workers that
 * nobody waits for pay for one atomic read per batch.
 *
 * Runs in: every backend and worker.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "worker/worker_internal.h"

static WorkerListener *my_listener = NULL;

static void
stop_listening(int code, Datum arg)
{
	if (my_listener == NULL)
		return;
	LWLockAcquire(tm_worker_shared->listener_lock, LW_EXCLUSIVE);
	my_listener->proc = NULL;
	pg_atomic_fetch_sub_u32(&tm_worker_shared->nlisteners, 1);
	LWLockRelease(tm_worker_shared->listener_lock);
	my_listener = NULL;
}

static void
start_listening(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(stop_listening, (Datum) 0);
	registered = true;

	LWLockAcquire(tm_worker_shared->listener_lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_MAX_LISTENERS; i++)
	{
		WorkerListener *listener = &tm_worker_shared->listeners[i];

		if (listener->proc != NULL)
			continue;
		listener->proc = MyProc;
		listener->database = MyDatabaseId;
		pg_atomic_fetch_add_u32(&tm_worker_shared->nlisteners, 1);
		my_listener = listener;
		break;
	}
	LWLockRelease(tm_worker_shared->listener_lock);
	pg_memory_barrier();
}

bool
tm_worker_listen_commits(bool listen)
{
	if (tm_worker_shared == NULL)
		return false;
	if (!listen)
		stop_listening(0, (Datum) 0);
	else if (my_listener == NULL)
	{
		tm_worker_watch_transaction();
		start_listening();
	}
	return my_listener != NULL;
}

void
tm_worker_signal_commit(void)
{
	if (tm_worker_shared == NULL)
		return;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&tm_worker_shared->nlisteners) == 0)
		return;
	LWLockAcquire(tm_worker_shared->listener_lock, LW_SHARED);
	for (int i = 0; i < WORKER_MAX_LISTENERS; i++)
	{
		WorkerListener *listener = &tm_worker_shared->listeners[i];

		if (listener->proc != NULL && listener->database == MyDatabaseId)
			SetLatch(&listener->proc->procLatch);
	}
	LWLockRelease(tm_worker_shared->listener_lock);
}
