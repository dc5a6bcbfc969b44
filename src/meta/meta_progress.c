/*
 * meta_progress.c
 *	  How far a view has closed its windows, in tidemark_state.view_stats.
 *
 * Who holds the view's lock keeps it until his transaction ends, and nobody else
 * writes the row meanwhile.  So what was read under it, or written, is
 * remembered until then: every version that a transaction makes of the row
 * stays in the way of its next look at it, so that looking each time would cost a
 * transaction of many batches the square of their number.
 *
 * Runs in: every backend and worker; inside a transaction.
 * Locks: writers hold the view's lock, so nothing is lost between get and put.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

/* Of views that are locked by this transaction; Oid 0 = nothing. */
typedef struct Known
{
	Oid			state_table;
	MetaProgress progress;
} Known;

#define MAX_KNOWN 8

static Known known[MAX_KNOWN];
static int	next_known = 0;

static void
forget_all(void)
{
	memset(known, 0, sizeof(known));
}

static void
on_transaction_end(XactEvent event, void *arg)
{
	forget_all();
}

/* The lock may have been that subtransaction's, and so may what was written. */
static void
on_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
					  void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_all();
}

static Known *
find_known(Oid state_table)
{
	for (int i = 0; i < MAX_KNOWN; i++)
		if (known[i].state_table == state_table)
			return &known[i];
	return NULL;
}

static void
remember(Oid state_table, const MetaProgress *progress)
{
	static bool registered = false;
	Known	   *entry = find_known(state_table);

	if (!registered)
	{
		RegisterXactCallback(on_transaction_end, NULL);
		RegisterSubXactCallback(on_subtransaction_end, NULL);
		registered = true;
	}
	if (entry == NULL)
	{
		entry = &known[next_known];
		next_known = (next_known + 1) % MAX_KNOWN;
	}
	entry->state_table = state_table;
	entry->progress = *progress;
}

static void
read_progress(MetaStatement *statement, Oid state_table, MetaProgress *progress)
{
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(state_table)};

	memset(progress, 0, sizeof(*progress));
	progress->horizon = progress->closed_until = progress->pruned_until = DT_NOBEGIN;
	if (tm_meta_statement_begin(statement, values, NULL, &execution) > 0)
	{
		progress->horizon = tm_meta_get_timestamp(0, 1);
		progress->closed_until = tm_meta_get_timestamp(0, 2);
		progress->pruned_until = tm_meta_get_timestamp(0, 3);
		progress->late = tm_meta_get_int64(0, 4, 0);
		progress->closed = tm_meta_get_int64(0, 5, 0);
	}
	tm_meta_statement_end(&execution);
}

#define SELECT_PROGRESS "SELECT horizon, closed_until, pruned_until, late, closed " \
	"FROM tidemark_state.view_stats WHERE state_table = $1"

void
tm_meta_progress_peek(Oid state_table, MetaProgress *progress)
{
	const Known *entry = find_known(state_table);
	static MetaStatement statement = {
		.sql = SELECT_PROGRESS,
		.nargs = 1,
		.argtypes = {OIDOID}
	};

	if (entry != NULL)
		*progress = entry->progress;
	else
		read_progress(&statement, state_table, progress);
}

void
tm_meta_progress_get(Oid state_table, MetaProgress *progress)
{
	tm_meta_progress_peek(state_table, progress);
	remember(state_table, progress);
}

void
tm_meta_progress_see(Oid state_table, MetaProgress *progress)
{
	static MetaStatement statement = {
		.sql = SELECT_PROGRESS,
		.nargs = 1,
		.argtypes = {OIDOID},
		.read_only = true
	};

	read_progress(&statement, state_table, progress);
}

void
tm_meta_progress_put(Oid state_table, const MetaProgress *progress)
{
	static MetaStatement statement = {
		.sql = "UPDATE tidemark_state.view_stats SET horizon = $2, closed_until = $3, "
		"pruned_until = $4, late = $5, closed = $6 WHERE state_table = $1",
		.nargs = 6,
		.argtypes = {OIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID}
	};
	char		nulls[6] = {' ', ' ', ' ', ' ', ' ', ' '};
	Datum		values[6];

	values[0] = ObjectIdGetDatum(state_table);
	values[1] = tm_meta_timestamp(progress->horizon, &nulls[1]);
	values[2] = tm_meta_timestamp(progress->closed_until, &nulls[2]);
	values[3] = tm_meta_timestamp(progress->pruned_until, &nulls[3]);
	values[4] = Int64GetDatum(progress->late);
	values[5] = Int64GetDatum(progress->closed);
	tm_meta_statement_run(&statement, values, nulls);
	remember(state_table, progress);
}

void
tm_meta_progress_reset(Oid state_table)
{
	static MetaStatement statements[] = {
		{.sql = "UPDATE tidemark_state.view_stats SET horizon = NULL, closed_until = NULL, "
		"pruned_until = NULL WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
		{.sql = "DELETE FROM tidemark_state.verdict WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
	};
	Datum		values[1] = {ObjectIdGetDatum(state_table)};

	for (int i = 0; i < (int) lengthof(statements); i++)
		tm_meta_statement_run(&statements[i], values, NULL);
	forget_all();
}
