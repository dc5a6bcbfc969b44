/*
 * worker_start.c
 *	  From a wanted slot to a process and back: start, attach, detach.
 *
 * The starter and the process agree on a generation number: a process whose
 * generation is not the slot's any more (its work was dropped, its database was
 * stopped, or the starter gave up) exits before it connects to anything.
 *
 * Runs in: launcher, schedulers (start), workers (attach).
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "worker/worker_internal.h"

/* A start whose starter has died is given up after this time. */
#define START_TIMEOUT_MS	10000

/* A limit that was reached is to be raised by this, says the hint. */
#define MORE_WORKERS		8

WorkerSlot *tm_worker_my_slot = NULL;

/* What a process learns from its starter: fits into bgw_extra. */
typedef struct StartRequest
{
	int			slot;
	uint64		generation;
} StartRequest;

/* Starts of this process, one per slot. */
typedef struct StartHandle
{
	uint64		generation;
	BackgroundWorkerHandle *handle;
} StartHandle;

static StartHandle *handles = NULL;

static const char *const role_names[] = {
	[WORKER_SCHEDULER] = "tidemark scheduler",
	[WORKER_INGEST] = "tidemark ingest",
	[WORKER_BACKFILL] = "tidemark backfill",
	[WORKER_PARTITIONING] = "tidemark partitioning",
};

/* Failed without the process being able to say why. */
static void
fail_start(WorkerSlot *slot)
{
	(void) tm_worker_slot_set_trouble(slot, ERRCODE_INTERNAL_ERROR,
									  "the process could not be started",
									  "See the server log.");
	tm_worker_slot_fail(slot);
}

/*
 * Does it read messages?  The launcher and the schedulers do not, nor do those
 * that look after table partitions, which must come even if all others are busy.
 */
static bool
is_limited(WorkerRole role)
{
	return role == WORKER_INGEST || role == WORKER_BACKFILL;
}

/* May one more worker run?  max_workers is about those that read messages. */
static bool
check_limits(WorkerSlot *slot)
{
	char		message[sizeof(slot->info.message)];
	char		hint[sizeof(slot->info.hint)];
	int			total = 0;
	int			here = 0;

	if (!is_limited(slot->info.role))
		return true;
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *other = &tm_worker_shared->slots[i];

		if (!other->in_use || !is_limited(other->info.role) ||
			(other->info.state != WORKER_STATE_STARTING &&
			 other->info.state != WORKER_STATE_RUNNING))
			continue;
		total++;
		if (other->info.database == slot->info.database)
			here++;
	}
	if (total >= tm_setting_max_workers)
	{
		snprintf(message, sizeof(message),
				 "all workers that \"tidemark.max_workers\" (%d) allows are running, %d of them in other databases",
				 tm_setting_max_workers, total - here);
		snprintf(hint, sizeof(hint),
				 "ALTER SYSTEM SET tidemark.max_workers = %d; then restart the server.",
				 tm_setting_max_workers + MORE_WORKERS);
	}
	else if (tm_setting_max_workers_per_database > 0 &&
			 here >= tm_setting_max_workers_per_database)
	{
		snprintf(message, sizeof(message),
				 "all workers that \"tidemark.max_workers_per_database\" (%d) allows are running",
				 tm_setting_max_workers_per_database);
		snprintf(hint, sizeof(hint),
				 "ALTER SYSTEM SET tidemark.max_workers_per_database = %d; SELECT pg_reload_conf();",
				 tm_setting_max_workers_per_database + MORE_WORKERS);
	}
	else
		return true;
	(void) tm_worker_slot_set_trouble(slot, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
									  message, hint);
	tm_worker_slot_fail(slot);
	return false;
}

/*
 * Take the slot for a process that is about to be registered.  *due: there is
 * something to start; the result is what tm_worker_slot_start() says otherwise.
 */
static bool
begin_start(Oid database, WorkerRole role, Oid object, int index,
			StartRequest *request, bool *due)
{
	WorkerSlot *slot;
	WorkerDatabase *entry;
	bool		result = false;

	*due = false;
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	entry = tm_worker_database_find(database, false);
	slot = tm_worker_slot_find(database, role, object, index);
	if (slot == NULL || entry == NULL || entry->stops > 0)
		result = false;
	else if (slot->info.state == WORKER_STATE_RUNNING ||
			 slot->info.state == WORKER_STATE_STARTING)
		result = true;
	else if (slot->info.next_start <= tm_clock_now() && check_limits(slot))
	{
		slot->generation = ++tm_worker_shared->last_generation;
		slot->info.state = WORKER_STATE_STARTING;
		slot->info.state_since = tm_clock_now();
		request->slot = slot - tm_worker_shared->slots;
		request->generation = slot->generation;
		*due = true;
	}
	LWLockRelease(tm_worker_shared->lock);
	return result;
}

/* The postmaster has no room for our process: say so, try again later. */
static void
abandon_start(const StartRequest *request, Oid database,
			  const char *display_name)
{
	WorkerSlot *slot = &tm_worker_shared->slots[request->slot];
	char		message[sizeof(slot->info.message)];
	char		hint[sizeof(slot->info.hint)];
	bool		changed = false;

	snprintf(message, sizeof(message),
			 "all background processes that \"max_worker_processes\" (%d) allows are in use",
			 max_worker_processes);
	snprintf(hint, sizeof(hint),
			 "ALTER SYSTEM SET max_worker_processes = %d; then restart the server.",
			 max_worker_processes + MORE_WORKERS);
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	if (slot->in_use && slot->generation == request->generation)
	{
		changed = tm_worker_slot_set_trouble(slot,
											 ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
											 message, hint);
		tm_worker_slot_fail(slot);
	}
	LWLockRelease(tm_worker_shared->lock);
	if (changed)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s", message),
				 errdetail("The process \"%s\" of the database with OID %u could not be started.",
						   display_name, database),
				 errhint("%s", hint)));
}

bool
tm_worker_slot_start(Oid database, WorkerRole role, Oid object, int index,
					 const char *function, const char *display_name)
{
	BackgroundWorker worker;
	StartRequest request;
	BackgroundWorkerHandle *handle;
	MemoryContext oldcxt;
	bool		due;
	bool		result;

	result = begin_start(database, role, object, index, &request, &due);
	if (!due)
		return result;

	StaticAssertStmt(sizeof(request) <= BGW_EXTRALEN, "request fits");
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "tidemark", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, display_name,
			pg_mbcliplen(display_name, strlen(display_name), BGW_MAXLEN - 1) + 1);
	strlcpy(worker.bgw_type, role_names[role], sizeof(worker.bgw_type));
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, &request, sizeof(request));

	/* the handles live as long as this process */
	oldcxt = MemoryContextSwitchTo(TopMemoryContext);
	if (handles == NULL)
		handles = palloc0(tm_worker_shared->nslots * sizeof(StartHandle));
	if (handles[request.slot].handle != NULL)
	{
		pfree(handles[request.slot].handle);
		handles[request.slot].handle = NULL;
	}
	if (RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		handles[request.slot].generation = request.generation;
		handles[request.slot].handle = handle;
		result = true;
	}
	else
		abandon_start(&request, database, display_name);
	MemoryContextSwitchTo(oldcxt);
	return result;
}

void
tm_worker_slot_check_starts(void)
{
	TimestampTz now = tm_clock_now();

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];
		pid_t		pid;

		if (!slot->in_use || slot->info.state != WORKER_STATE_STARTING)
			continue;
		if (handles != NULL && handles[i].handle != NULL &&
			handles[i].generation == slot->generation)
		{
			if (GetBackgroundWorkerPid(handles[i].handle, &pid) == BGWH_STOPPED)
				fail_start(slot);
		}
		else if (TimestampDifferenceExceeds(slot->info.state_since, now,
											START_TIMEOUT_MS))
			fail_start(slot);
	}
	LWLockRelease(tm_worker_shared->lock);
}

long
tm_worker_slot_next_start(Oid database, bool schedulers)
{
	TimestampTz next = DT_NOEND;
	bool		starting = false;
	TimestampTz now = tm_clock_now();

	LWLockAcquire(tm_worker_shared->lock, LW_SHARED);
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];

		if (!slot->in_use || slot->dropped ||
			schedulers != (slot->info.role == WORKER_SCHEDULER) ||
			(OidIsValid(database) && slot->info.database != database))
			continue;
		if (slot->info.state == WORKER_STATE_WANTED ||
			slot->info.state == WORKER_STATE_BACKOFF)
			next = Min(next, slot->info.next_start);
		else if (slot->info.state == WORKER_STATE_STARTING)
			starting = true;
	}
	LWLockRelease(tm_worker_shared->lock);
	if (starting)
		next = Min(next, TimestampTzPlusMilliseconds(now, START_TIMEOUT_MS));
	if (next == DT_NOEND)
		return -1;
	return TimestampDifferenceMilliseconds(now, next);
}

/*
 * The process is gone.  An on_shmem_exit callback, so that it runs after the
 * transaction was aborted and after the process has left the process array
 * (both were set up later than this), and before it gives up its PGPROC.
 */
static void
detach(int code, Datum arg)
{
	WorkerSlot *slot = tm_worker_my_slot;
	WorkerInfo *info = &slot->info;

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	slot->proc = NULL;
	info->pid = 0;
	if (slot->dropped)
		slot->in_use = false;
	else if (slot->failed ||
			 (code != 0 && !tm_worker_stop_requested && !slot->stopping))
	{
		slot->stopping = false;
		if (!slot->has_trouble)
			(void) tm_worker_slot_set_trouble(slot, ERRCODE_INTERNAL_ERROR,
											  "the process ended with an error",
											  "See the server log.");
		tm_worker_slot_fail(slot);
	}
	else
	{
		/* somebody else's SIGTERM earns a pause, but is no failure */
		bool		pause = !slot->done && !slot->stopping;

		slot->stopping = false;
		info->state = pause ? WORKER_STATE_BACKOFF : WORKER_STATE_WANTED;
		info->state_since = tm_clock_now();
		info->next_start = info->state_since + (pause ? USECS_PER_SEC / 10 : 0);
	}
	tm_worker_wake_starter(info->database, info->role);
	LWLockRelease(tm_worker_shared->lock);
	ConditionVariableBroadcast(&tm_worker_shared->ended);
	tm_worker_my_slot = NULL;
}

void
tm_worker_attach(WorkerInfo *info)
{
	StartRequest request;
	WorkerSlot *slot;

	memcpy(&request, MyBgworkerEntry->bgw_extra, sizeof(request));
	slot = &tm_worker_shared->slots[request.slot];

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	if (!slot->in_use || slot->generation != request.generation ||
		slot->info.state != WORKER_STATE_STARTING)
	{
		LWLockRelease(tm_worker_shared->lock);
		proc_exit(0);
	}
	slot->proc = MyProc;
	slot->failed = false;
	slot->done = false;
	slot->has_trouble = false;
	slot->info.pid = MyProcPid;
	slot->info.state = WORKER_STATE_RUNNING;
	slot->info.phase = slot->info.role == WORKER_SCHEDULER ?
		WORKER_PHASE_LOOK : WORKER_PHASE_POLL;
	slot->info.started_at = tm_clock_now();
	slot->info.state_since = slot->info.started_at;
	tm_worker_my_slot = slot;
	on_shmem_exit(detach, (Datum) 0);
	*info = slot->info;
	LWLockRelease(tm_worker_shared->lock);
}

void
tm_worker_exit_with_error(void)
{
	ErrorData  *error;
	MemoryContext oldcxt;
	bool		changed;

	HOLD_INTERRUPTS();
	oldcxt = MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	MemoryContextSwitchTo(oldcxt);
	changed = tm_worker_report_trouble(error->sqlerrcode, error->message,
									   error->hint);
	if (changed)
		EmitErrorReport();
	FlushErrorState();

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	tm_worker_my_slot->failed = true;
	LWLockRelease(tm_worker_shared->lock);

	/*
	 * Exit code 0: the postmaster logs every other one, and the slot knows
	 * better.
	 */
	proc_exit(0);
}
