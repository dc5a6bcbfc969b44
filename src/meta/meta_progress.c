/*
 * meta_progress.c
 *	  How far a view has closed its windows, in tidemark_state.view_stats.
 *
 * Runs in: every backend and worker; inside a transaction.
 * Locks: writers hold the view's lock, so nothing is lost between get and put.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

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
tm_meta_progress_get(Oid state_table, MetaProgress *progress)
{
	static MetaStatement statement = {
		.sql = SELECT_PROGRESS,
		.nargs = 1,
		.argtypes = {OIDOID}
	};

	read_progress(&statement, state_table, progress);
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
}
