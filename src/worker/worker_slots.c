/*
 * worker_slots.c
 *	  The shared table of wanted work: shared memory, slots, their trouble.
 *
 * The table is small (tens to hundreds of slots) and is read linearly.  The
 * life of a slot is drawn in README.
 *
 * Runs in: the postmaster (shared memory), every backend and worker.
 */
#include "postgres.h"

#include <math.h>
#include <signal.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"
#include "worker/worker_internal.h"

WorkerShared *tm_worker_shared = NULL;
HTAB	   *tm_worker_databases = NULL;

#define FIRST_BACKOFF_MS	100

/*
 * Every process of ours is one of max_worker_processes; the rest is room for
 * work that waits for its turn.
 */
static int
count_slots(void)
{
	return max_worker_processes + 4 * tm_setting_max_workers + 64;
}

static Size
shared_size(void)
{
	return add_size(offsetof(WorkerShared, slots),
					mul_size(count_slots(), sizeof(WorkerSlot)));
}

/* Called from shmem_request_hook. */
void
tm_worker_request_shmem(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestAddinShmemSpace(hash_estimate_size(WORKER_MAX_DATABASES,
											  sizeof(WorkerDatabase)));
	RequestNamedLWLockTranche("tidemark", 2);
}

/* Called from shmem_startup_hook; again after a crash restart. */
void
tm_worker_init_shmem(void)
{
	HASHCTL		ctl;
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	tm_worker_shared = ShmemInitStruct("tidemark workers", shared_size(),
									   &found);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche("tidemark");

		memset(tm_worker_shared, 0, shared_size());
		tm_worker_shared->lock = &locks[0].lock;
		tm_worker_shared->listener_lock = &locks[1].lock;
		tm_worker_shared->nslots = count_slots();
		ConditionVariableInit(&tm_worker_shared->ended);
		pg_atomic_init_u32(&tm_worker_shared->nlisteners, 0);
	}
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(WorkerDatabase);
	tm_worker_databases = ShmemInitHash("tidemark databases",
										WORKER_MAX_DATABASES,
										WORKER_MAX_DATABASES,
										&ctl, HASH_ELEM | HASH_BLOBS);
	LWLockRelease(AddinShmemInitLock);
}

static void
assert_slot_valid(const WorkerSlot *slot)
{
	Assert(LWLockHeldByMeInMode(tm_worker_shared->lock, LW_EXCLUSIVE));
	Assert(slot->in_use);
	Assert(OidIsValid(slot->info.database));
	Assert((slot->proc != NULL) == (slot->info.state == WORKER_STATE_RUNNING));
	Assert((slot->info.pid != 0) == (slot->proc != NULL));
	Assert(!slot->dropped || slot->proc != NULL);
	Assert(!slot->stopping || slot->proc != NULL);
}

WorkerSlot *
tm_worker_slot_find(Oid database, WorkerRole role, Oid object, int index)
{
	Assert(LWLockHeldByMe(tm_worker_shared->lock));
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];

		if (slot->in_use && slot->info.database == database &&
			slot->info.role == role && slot->info.object == object &&
			slot->info.index == index)
			return slot;
	}
	return NULL;
}

/* A free slot for new work, or NULL. */
static WorkerSlot *
make_slot(Oid database, WorkerRole role, Oid object, int index)
{
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];

		if (slot->in_use)
			continue;
		memset(slot, 0, sizeof(WorkerSlot));
		slot->in_use = true;
		slot->info.database = database;
		slot->info.role = role;
		slot->info.object = object;
		slot->info.index = index;
		slot->info.state = WORKER_STATE_WANTED;
		slot->info.state_since = tm_clock_now();
		slot->info.next_start = slot->info.state_since;
		slot->rate_at = slot->info.state_since;
		return slot;
	}
	return NULL;
}

bool
tm_worker_slot_want(Oid database, WorkerRole role, Oid object, int index)
{
	WorkerDatabase *entry;
	WorkerSlot *slot = NULL;

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	entry = tm_worker_database_find(database, true);
	if (entry != NULL && entry->stops == 0)
	{
		slot = tm_worker_slot_find(database, role, object, index);
		if (slot == NULL)
			slot = make_slot(database, role, object, index);
		if (slot != NULL)
		{
			/* a process that is ending already is followed by another one */
			slot->dropped = false;
			assert_slot_valid(slot);
		}
	}
	LWLockRelease(tm_worker_shared->lock);
	return slot != NULL;
}

void
tm_worker_slot_end(WorkerSlot *slot)
{
	assert_slot_valid(slot);
	if (slot->proc == NULL)
	{
		/* one that is starting finds its generation gone, and exits */
		slot->in_use = false;
		return;
	}
	slot->dropped = true;
	slot->stopping = true;
	kill(slot->info.pid, SIGTERM);
	assert_slot_valid(slot);
}

void
tm_worker_slot_drop(Oid database, WorkerRole role, Oid object, int index)
{
	WorkerSlot *slot;

	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	slot = tm_worker_slot_find(database, role, object, index);
	if (slot != NULL)
		tm_worker_slot_end(slot);
	LWLockRelease(tm_worker_shared->lock);
}

/*
 * rows_per_second decays with a time constant of RATE_SECONDS from rate_at on,
 * so that a stream that stops goes to zero without anybody writing.
 */
#define RATE_SECONDS	10.0

static double
decay_rate(const WorkerSlot *slot, TimestampTz now)
{
	double		seconds = Max(now - slot->rate_at, 0) / 1000000.0;

	return slot->info.rows_per_second * exp(-seconds / RATE_SECONDS);
}

WorkerInfo *
tm_worker_slot_list(Oid database, int *count)
{
	WorkerInfo *infos;
	TimestampTz now = tm_clock_now();

	*count = 0;
	if (tm_worker_shared == NULL)
		return NULL;
	infos = palloc(tm_worker_shared->nslots * sizeof(WorkerInfo));
	LWLockAcquire(tm_worker_shared->lock, LW_SHARED);
	for (int i = 0; i < tm_worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &tm_worker_shared->slots[i];

		if (!slot->in_use || slot->dropped ||
			(OidIsValid(database) && slot->info.database != database))
			continue;
		infos[*count] = slot->info;
		infos[*count].rows_per_second = decay_rate(slot, now);
		(*count)++;
	}
	LWLockRelease(tm_worker_shared->lock);
	return infos;
}

bool
tm_worker_slot_set_trouble(WorkerSlot *slot, int sqlstate,
						   const char *message, const char *hint)
{
	WorkerInfo *info = &slot->info;
	char		clipped[sizeof(info->message)];

	Assert(LWLockHeldByMeInMode(tm_worker_shared->lock, LW_EXCLUSIVE));
	strlcpy(clipped, message ? message : "", sizeof(clipped));
	if (info->sqlstate == sqlstate && strcmp(info->message, clipped) == 0)
		return false;
	if (clipped[0] == '\0' || info->message[0] == '\0')
		info->trouble_since = tm_clock_now();
	info->sqlstate = sqlstate;
	strcpy(info->message, clipped);
	strlcpy(info->hint, hint ? hint : "", sizeof(info->hint));
	return true;
}

/*
 * 0.1 s, doubled with each failure in a row up to the limit, less up to a
 * quarter, so that workers that fail together do not return together.
 */
static TimestampTz
backoff_end(int failures)
{
	double		ms = FIRST_BACKOFF_MS * pow(2, Min(failures - 1, 30));
	double		jitter = 1 - 0.25 * pg_prng_double(&pg_global_prng_state);

	ms = Min(ms, tm_setting_restart_backoff_max) * jitter;
	return TimestampTzPlusMilliseconds(tm_clock_now(), (int64) ms);
}

void
tm_worker_slot_fail(WorkerSlot *slot)
{
	Assert(slot->proc == NULL);
	slot->info.failures++;
	slot->info.state = WORKER_STATE_BACKOFF;
	slot->info.state_since = tm_clock_now();
	slot->info.next_start = backoff_end(slot->info.failures);
	assert_slot_valid(slot);
}

/* ---- the attached process reports about itself ---- */

bool
tm_worker_report_trouble(int sqlstate, const char *message, const char *hint)
{
	bool		changed;

	Assert(tm_worker_my_slot != NULL);
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	changed = tm_worker_slot_set_trouble(tm_worker_my_slot, sqlstate, message,
										 hint);
	tm_worker_my_slot->has_trouble = tm_worker_my_slot->info.message[0] != '\0';
	LWLockRelease(tm_worker_shared->lock);
	return changed;
}

void
tm_worker_report_batch(const int64 *phase_us, int64 rows)
{
	WorkerSlot *slot = tm_worker_my_slot;
	TimestampTz now = tm_clock_now();

	Assert(slot != NULL);
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	slot->info.batches++;
	memcpy(slot->info.phase_us, phase_us, sizeof(slot->info.phase_us));
	slot->info.rows_per_second = decay_rate(slot, now) + rows / RATE_SECONDS;
	slot->rate_at = now;
	slot->info.last_commit = now;
	slot->info.failures = 0;
	slot->has_trouble = false;
	(void) tm_worker_slot_set_trouble(slot, 0, NULL, NULL);
	LWLockRelease(tm_worker_shared->lock);
}

void
tm_worker_report_phase(WorkerPhase phase)
{
	if (tm_worker_my_slot != NULL)
		*(volatile WorkerPhase *) &tm_worker_my_slot->info.phase = phase;
}

void
tm_worker_report_done(void)
{
	LWLockAcquire(tm_worker_shared->lock, LW_EXCLUSIVE);
	tm_worker_my_slot->done = true;
	LWLockRelease(tm_worker_shared->lock);
}
