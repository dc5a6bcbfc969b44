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
#include "nodes/nodes.h"

typedef enum WorkerRole
{
	WORKER_SCHEDULER,			/* one per database; object InvalidOid */
	WORKER_INGEST,				/* object = stream */
	WORKER_BACKFILL,			/* object = state table of the view */
	WORKER_PARTITIONING,		/* object = partitioned table; short-lived */
} WorkerRole;

typedef enum WorkerState
{
	WORKER_STATE_WANTED,		/* slot exists, no process */
	WORKER_STATE_STARTING,		/* registered with the postmaster */
	WORKER_STATE_RUNNING,
	WORKER_STATE_BACKOFF,		/* failed; waits for next_start */
} WorkerState;

/* Phases of a batch, and of other work, for the monitoring view. */
typedef enum WorkerPhase
{
	WORKER_PHASE_POLL,
	WORKER_PHASE_DECODE,
	WORKER_PHASE_STORE,
	WORKER_PHASE_MAINTAIN,
	WORKER_PHASE_COMMIT,
	/* of a scheduler */
	WORKER_PHASE_WAIT,
	WORKER_PHASE_LOOK,
} WorkerPhase;
#define WORKER_NPHASES 5		/* of a batch */

/* A copy of a slot, as readers get it. */
typedef struct WorkerInfo
{
	Oid			database;
	WorkerRole	role;
	Oid			object;
	int			index;
	WorkerState state;
	WorkerPhase phase;			/* what it does now; written without the lock */
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

/*
 * Nobody wants it any more: ends the process (SIGTERM), frees the slot, at once
 * or when the process has ended.
 */
extern void tm_worker_slot_drop(Oid database, WorkerRole role, Oid object, int index);

/*
 * All slots (of a database, or InvalidOid for all) but those whose process only
 * has to end, copied; palloc'd.
 */
extern WorkerInfo *tm_worker_slot_list(Oid database, int *count);

/*
 * Start the process of a wanted slot whose next_start has come: registers a
 * dynamic background worker running function of this library.  Nothing to do,
 * and true, when the process is there already.  False when the time has not
 * come, or, with trouble recorded in the slot, when no background worker slot is
 * free or tidemark.max_workers (.._per_database) is reached.
 */
extern bool tm_worker_slot_start(Oid database, WorkerRole role, Oid object, int index,
								 const char *function, const char *display_name);

/*
 * Look after processes that were started but never attached: they count as
 * failed.  Whoever calls tm_worker_slot_start() calls this in its loop.
 */
extern void tm_worker_slot_check_starts(void);

/*
 * Milliseconds until the first slot without process of this database (InvalidOid:
 * of any) and kind (schedulers, or all others) may start; -1 when there is none.
 */
extern long tm_worker_slot_next_start(Oid database, bool schedulers);

/*
 * Called first by a process that tm_worker_slot_start() made: attach to the
 * slot.  Exits the process (code 0) when the slot is gone or taken.  Detaches
 * by itself at exit; an exit with an error puts the slot into backoff.
 */
extern void tm_worker_attach(WorkerInfo *info);

/*
 * The attached process reports about itself.  Trouble stays until the next good
 * batch, or until it is reported as "" (NULL).  True when it differs from what
 * the slot had: log it then, and only then.
 */
extern bool tm_worker_report_trouble(int sqlstate, const char *message, const char *hint);

/*
 * For the PG_CATCH of a process's top level: the error being handled becomes the
 * slot's trouble, is logged if it is a new one, and the process ends (this does
 * not return) with a backoff.
 */
extern void tm_worker_exit_with_error(void);
extern void tm_worker_report_batch(const int64 *phase_us, int64 rows);

/* In a process without a slot (inject()) this does nothing. */
extern void tm_worker_report_phase(WorkerPhase phase);

/* A clean end: no backoff, start again at once if still wanted. */
extern void tm_worker_report_done(void);

/* ---- who is woken (worker_wake.c) ---- */

/*
 * Wake the scheduler of a database, the launcher when it has none.  Either looks
 * at the database again.
 */
extern void tm_worker_wake_scheduler(Oid database);

/* The same when the current transaction has committed (once per transaction). */
extern void tm_worker_wake_scheduler_at_commit(void);

/* Is that going to happen: did this transaction change what is wanted? */
extern bool tm_worker_is_wake_pending(void);

/* The launcher alone: the list of databases has changed. */
extern void tm_worker_wake_launcher_at_commit(void);

/* Set the latches of all workers of this database working on object. */
extern void tm_worker_wake_object(Oid database, Oid object);

/* ---- databases (worker_database.c) ---- */

/*
 * Stop all processes of a database and refuse new ones until the current
 * transaction has ended, one way or the other.  Returns when they are gone from
 * the process array too, so that DROP DATABASE does not have to wait for them
 * (error 55006 after 5 s).
 */
extern void tm_worker_stop_database(Oid database);

/*
 * To be called before a utility statement runs: stops the database that DROP
 * DATABASE, ALTER DATABASE RENAME or SET TABLESPACE, or CREATE DATABASE as its
 * template, wants for itself; makes the launcher look at the list of databases
 * after the statement.  Does nothing for other statements and for users who may
 * not run them.  Nothing has to be undone afterwards.
 */
extern void tm_worker_before_database_command(Node *stmt);

/* For the launcher: it is the process to be woken, until it exits. */
extern void tm_worker_attach_launcher(void);

/*
 * For the launcher: does this database need a scheduler?  Not if it is stopped,
 * or if the last one found no extension there and nobody woke it since.
 */
extern bool tm_worker_database_is_wanted(Oid database);

/* Schedulers that run or start and have not found the extension yet. */
extern int	tm_worker_count_looking(void);

/* Forget, with their slots, all databases but these. */
extern void tm_worker_keep_databases(const Oid *databases, int count);

/*
 * For a scheduler: was it woken since the last call?  To be called before it
 * reads what is wanted, so that no wake-up is lost.
 */
extern bool tm_worker_begin_look(void);

/* What it found: no extension makes it the last word until a wake-up. */
extern void tm_worker_report_look(bool installed);

/* ---- waiting for progress of others: wait_for(), pause ---- */

/*
 * Register the current backend's latch to be set after each commit of any batch
 * in this database; unregister with false.  At most one registration per
 * backend, removed at exit and at the end of the transaction.  False when the table of waiters is full: then
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
 * idle timeouts inherited from roles or the database.  InvalidOid: no database,
 * shared catalogs only.
 *
 * SIGTERM both sets a flag that tm_worker_continue() obeys and does what it does
 * in every backend: a process between two batches ends silently, one inside
 * user code at its next CHECK_FOR_INTERRUPTS (FATAL 57P01).
 */
extern void tm_worker_init_process(Oid database);

/*
 * CHECK_FOR_INTERRUPTS and reload of the configuration; to be called outside of
 * transactions.  Returns false when the process should end: SIGTERM, or, for a
 * process with a slot, tidemark.enabled = off.  A cancel request (SIGINT) that
 * arrives between two batches is forgotten.
 */
extern bool tm_worker_continue(void);

/*
 * Wait for the latch, a descriptor (or PGINVALID_SOCKET), or the timeout (-1 =
 * none), and reset the latch.
 */
extern void tm_worker_wait(pgsocket fd, long timeout_ms);

/* A transaction of a process, with an active snapshot. */
extern void tm_worker_begin(void);
extern void tm_worker_commit(void);

#endif							/* TM_WORKER_H */
