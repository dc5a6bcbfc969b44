/*
 * worker_internal.h
 *	  Shared memory of the worker room.
 *
 * Locks: WorkerShared.lock protects everything here, read or written, except
 * where a field says otherwise.  It is held for a few array steps only, never
 * while waiting; kill() and SetLatch() are called under it, because it keeps
 * the pid and the PGPROC from being given to somebody else.
 */
#ifndef TM_WORKER_INTERNAL_H
#define TM_WORKER_INTERNAL_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/hsearch.h"

#include "worker/worker.h"

/* Databases that can be remembered; more are not served. */
#define WORKER_MAX_DATABASES	1024

/* Backends that can wait for commits by latch; more fall back to polling. */
#define WORKER_MAX_LISTENERS	128

typedef struct WorkerSlot
{
	bool		in_use;
	bool		dropped;		/* free it when its process has ended */
	bool		stopping;		/* we sent the SIGTERM: no failure */
	bool		failed;			/* the process said so: a failure, although
								 * its exit code is 0 */
	bool		done;			/* the process said so: no failure */
	bool		has_trouble;	/* this process has reported trouble */
	uint64		generation;		/* of the process; one with another generation
								 * has no right to the slot */
	PGPROC	   *proc;			/* NULL = no process attached */
	TimestampTz rate_at;		/* time of info.rows_per_second */
	WorkerInfo	info;			/* info.phase: no lock, one writer */
} WorkerSlot;

/* What is known about the extension in a database. */
typedef enum WorkerLook
{
	WORKER_LOOK_UNKNOWN,
	WORKER_LOOK_ABSENT,
	WORKER_LOOK_INSTALLED,
} WorkerLook;

/* Entry of the hash table of databases. */
typedef struct WorkerDatabase
{
	Oid			oid;			/* key */
	int			stops;			/* backends that want it to have no process */
	WorkerLook	look;
	bool		woken;			/* since the scheduler began its last look */
} WorkerDatabase;

typedef struct WorkerListener
{
	PGPROC	   *proc;			/* NULL = free */
	Oid			database;
} WorkerListener;

typedef struct WorkerShared
{
	LWLock	   *lock;			/* constant */
	int			nslots;			/* constant */

	PGPROC	   *launcher;		/* NULL = not running */
	uint64		last_generation;
	ConditionVariable ended;	/* own lock: a process has detached */

	/* waiting for commits: listener_lock, not lock */
	LWLock	   *listener_lock;	/* constant */
	pg_atomic_uint32 nlisteners;	/* written under listener_lock, read
									 * without it */
	WorkerListener listeners[WORKER_MAX_LISTENERS];

	WorkerSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} WorkerShared;

/* NULL when the library was not preloaded. */
extern WorkerShared *tm_worker_shared;
extern HTAB *tm_worker_databases;

/* Slot of the attached process, or NULL. */
extern WorkerSlot *tm_worker_my_slot;

/* SIGTERM arrived (worker_loop.c). */
extern volatile sig_atomic_t tm_worker_stop_requested;

/* The slot of this work, or NULL.  Lock held. */
extern WorkerSlot *tm_worker_slot_find(Oid database, WorkerRole role, Oid object,
									   int index);

/* What tm_worker_slot_drop() does, for a slot.  Lock held exclusively. */
extern void tm_worker_slot_end(WorkerSlot *slot);

/* Write trouble, or NULL for none; true if it is another one.  Lock held. */
extern bool tm_worker_slot_set_trouble(WorkerSlot *slot, int sqlstate,
									   const char *message, const char *hint);

/* The process ended badly: counts the failure, sets next_start.  Lock held. */
extern void tm_worker_slot_fail(WorkerSlot *slot);

/* Entry of a database; NULL if it has none or (create) all are taken.  Lock held. */
extern WorkerDatabase *tm_worker_database_find(Oid database, bool create);

/* End all stops that this backend has asked for. */
extern void tm_worker_end_stops(void);

/* Wake whoever restarts the processes of this role.  Lock held. */
extern void tm_worker_wake_starter(Oid database, WorkerRole role);

/* The launcher, now.  Lock held. */
extern void tm_worker_wake_launcher(void);

/* Make sure that the work due at the end of this transaction gets done. */
extern void tm_worker_watch_transaction(void);

#endif							/* TM_WORKER_INTERNAL_H */
