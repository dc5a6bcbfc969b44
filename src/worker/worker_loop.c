/*
 * worker_loop.c
 *	  What all background processes do between two pieces of work: signals,
 *	  configuration, waiting.
 *
 * Runs in: launcher, schedulers, workers.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/settings.h"
#include "worker/worker_internal.h"

/* Free memory that malloc() keeps, and from where on a block is mapped by itself. */
#define KEPT_BYTES (64 * 1024 * 1024)
#define MAPPED_BYTES (32 * 1024 * 1024)

volatile	sig_atomic_t tm_worker_stop_requested = false;

/*
 * die() alone would end an idle process with a FATAL in the log at every
 * shutdown; the flag alone would not end one that is inside a query.
 */
static void
handle_sigterm(SIGNAL_ARGS)
{
	tm_worker_stop_requested = true;
	die(postgres_signal_arg);
}

static void
set_override(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * ALTER DATABASE .. SET and ALTER ROLE .. SET apply to background workers too;
 * what would change the meaning of our work, or end it, is fixed here.
 */
static void
fix_settings(void)
{
	set_override("search_path", "pg_catalog, pg_temp");
	set_override("role", "none");
	set_override("session_replication_role", "origin");
	set_override("default_transaction_isolation", "read committed");
	set_override("default_transaction_read_only", "off");
	set_override("default_transaction_deferrable", "off");
	set_override("statement_timeout", "0");
	set_override("lock_timeout", "0");
	set_override("idle_in_transaction_session_timeout", "0");
	set_override("idle_session_timeout", "0");
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		set_override("transaction_timeout", "0");
	set_override("application_name", MyBgworkerEntry->bgw_name);
}

static void
set_synchronous_commit(void)
{
	set_override("synchronous_commit",
				 tm_setting_synchronous_commit ? "on" : "off");
}

/*
 * A batch needs again what the one before gave back.  glibc would return it to
 * the kernel in between, which clears each page when it is touched again: up to a
 * tenth of the CPU of a worker.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
	(void) mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
#endif
}

void
tm_worker_init_process(Oid database)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();
	/* a reload between the fork and the handlers above went unheard */
	ConfigReloadPending = true;
	if (OidIsValid(database))
		BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	else
		BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	fix_settings();
	set_synchronous_commit();
	keep_memory();
}

bool
tm_worker_continue(void)
{
	Assert(!IsTransactionState());
	if (tm_worker_stop_requested)
		return false;
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		set_synchronous_commit();
	}
	if (tm_worker_my_slot != NULL && !tm_setting_enabled)
	{
		tm_worker_report_done();
		return false;
	}
	return true;
}

void
tm_worker_wait(pgsocket fd, long timeout_ms)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	if (fd != PGINVALID_SOCKET)
		events |= WL_SOCKET_READABLE;
	(void) WaitLatchOrSocket(MyLatch, events, fd, timeout_ms, TM_WAIT_EVENT);
	ResetLatch(MyLatch);
}

void
tm_worker_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
tm_worker_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}
