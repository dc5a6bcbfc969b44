/*
 * worker.h
 *	  Door of the worker room: shared slots of background processes, and the
 *	  loop they all run.  Ignorant of what the processes do.
 *
 * A slot names work, not a process: (database, role, object, index).  It is
 * made when somebody wants the work done, survives the process that does it
 * (so that "why is it not running" can be read), and is freed when nobody
 * wants it any more.  All fields are protected by one LWLock, except where a
 * field says otherwise; readers copy.
 */
#ifndef TM_WORKER_H
#define TM_WORKER_H

#include "datatype/timestamp.h"
#include "storage/latch.h"

typedef enum WorkerRole
{
	WORKER_SCHEDULER,			/* one per database; object InvalidOid */
	WORKER_INGEST,				/* object = stream */
	WORKER_BACKFILL,			/* object = state table of the view */
} WorkerRole;

typedef enum WorkerState
{
	WORKER_STATE_WANTED,		/* slot exists, no process */
	WORKER_STATE_STARTING,		/* registered with the postmaster */
	WORKER_STATE_RUNNING,
	WORKER_STATE_BACKOFF,		/* failed; waits for next_start */
} WorkerState;

/* Phases of a batch, for the monitoring view. */
typedef enum WorkerPhase
{
	WORKER_PHASE_POLL,
	WORKER_PHASE_DECODE,
	WORKER_PHASE_STORE,
	WORKER_PHASE_MAINTAIN,
	WORKER_PHASE_COMMIT,
} WorkerPhase;
#define WORKER_NPHASES 5

/* A copy of a slot, as readers get it. */
typedef struct WorkerInfo
{
	Oid			database;
	WorkerRole	role;
	Oid			object;
	int			index;
	WorkerState state;
	pid_t		pid;			/* 0 = none */
	TimestampTz started_at;
	TimestampTz state_since;
	/* why it is not progressing; message "" when all is well */
	int			sqlstate;
	TimestampTz trouble_since;
	char		message[256];
	char		hint[256];
	int			failures;		/* in a row, since the last good batch */
	TimestampTz next_start;
	/* progress */
	int64		batches;
	int64		phase_us[WORKER_NPHASES];	/* of the last batch */
	double		rows_per_second;	/* moving average */
	TimestampTz last_commit;
} WorkerInfo;

/* ---- shared memory (worker_slots.c) ---- */

extern void tm_worker_request_shmem(void);
extern void tm_worker_init_shmem(void);

/*
 * Make sure that a slot for this work exists.  False when all slots are taken
 * or the database is stopped.
 */
extern bool tm_worker_slot_want(Oid database, WorkerRole role, Oid object, int index);
/* Nobody wants it any more: ends the process (SIGTERM), frees the slot. */
extern void tm_worker_slot_drop(Oid database, WorkerRole role, Oid object, int index);
/* All slots (of a database, or InvalidOid for all), copied; palloc'd. */
extern WorkerInfo *tm_worker_slot_list(Oid database, int *count);

/*
 * Start the process of a wanted slot whose next_start has come: registers a
 * dynamic background worker running function of this library.  False, with
 * trouble recorded in the slot, when no background worker slot is free.
 */
extern bool tm_worker_slot_start(Oid database, WorkerRole role, Oid object, int index,
								 const char *function, const char *display_name);

/*
 * Called first by a process that tm_worker_slot_start() made: attach to the
 * slot.  Exits the process (code 0) when the slot is gone or taken.  Detaches
 * by itself at exit; an exit with an error puts the slot into backoff.
 */
extern void tm_worker_attach(WorkerInfo *info);

/* The attached process reports about itself. */
extern void tm_worker_report_trouble(int sqlstate, const char *message, const char *hint);
extern void tm_worker_report_batch(const int64 *phase_us, int64 rows);
extern void tm_worker_report_phase(WorkerPhase phase);
/* A clean end: no backoff, start again at once if still wanted. */
extern void tm_worker_report_done(void);

/* Wake the scheduler of a database, the launcher when it has none. */
extern void tm_worker_wake_scheduler(Oid database);
/* The same when the current transaction commits (once per transaction). */
extern void tm_worker_wake_scheduler_at_commit(void);
/* Set the latches of all workers of this database working on object. */
extern void tm_worker_wake_object(Oid database, Oid object);

/*
 * Stop all processes of a database and refuse new ones until allow: for DROP
 * DATABASE and friends.  Returns when they are gone (error after 5 s).
 */
extern void tm_worker_stop_database(Oid database);
extern void tm_worker_allow_database(Oid database);

/* ---- waiting for progress of others: wait_for(), pause ---- */

/*
 * Register the current backend's latch to be set after each commit of any batch
 * in this database; unregister with false.  At most one registration per
 * backend, removed at exit.  False when the table of waiters is full: then
 * fall back to a timeout of 100 ms.
 */
extern bool tm_worker_listen_commits(bool listen);
/* A batch committed: wake the listeners of this database. */
extern void tm_worker_signal_commit(void);

/* ---- the loop of a process (worker_loop.c) ---- */

/*
 * Signals, error context and database connection of a background process as
 * superuser; search_path is pg_catalog, pg_temp; default_transaction_isolation
 * read committed; synchronous_commit by the setting; no statement, lock or
 * idle timeouts inherited from roles or the database.
 */
extern void tm_worker_init_process(Oid database);

/*
 * CHECK_FOR_INTERRUPTS and reload of the configuration.  Returns false when
 * the process should end cleanly (SIGTERM).
 */
extern bool tm_worker_continue(void);

/* Wait for the latch, a descriptor (or PGINVALID_SOCKET), or the timeout. */
extern void tm_worker_wait(pgsocket fd, long timeout_ms);

#endif							/* TM_WORKER_H */
