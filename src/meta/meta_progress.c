/*
 * meta_progress.c
 *	  Table tidemark_state.view_stats: counters of a view, and how far it has
 *	  closed its windows.
 *
 * Runs in: every backend and worker; inside a transaction.
 * Locks: writers hold the view's lock, so nothing is lost between get and put.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

/* columns of the table */
enum
{
	ANUM_ROWS = 2,
	ANUM_BATCHES,
	ANUM_MAINTAIN_US,
	ANUM_LATE,
	ANUM_CLOSED,
	ANUM_HORIZON,
	ANUM_CLOSED_UNTIL,
	ANUM_PRUNED_UNTIL
};

static void
read_progress(Oid state_table, MetaRowsUse use, MetaProgress *progress)
{
	MetaRows	rows;

	memset(progress, 0, sizeof(*progress));
	progress->horizon = progress->closed_until = progress->pruned_until = DT_NOBEGIN;
	tm_meta_rows_open(&rows, "view_stats", use);
	if (tm_meta_rows_find(&rows, state_table, 0))
	{
		progress->horizon = tm_meta_row_timestamp(&rows, ANUM_HORIZON);
		progress->closed_until = tm_meta_row_timestamp(&rows, ANUM_CLOSED_UNTIL);
		progress->pruned_until = tm_meta_row_timestamp(&rows, ANUM_PRUNED_UNTIL);
		progress->late = tm_meta_row_int64(&rows, ANUM_LATE, 0);
		progress->closed = tm_meta_row_int64(&rows, ANUM_CLOSED, 0);
	}
	tm_meta_rows_close(&rows);
}

void
tm_meta_progress_get(Oid state_table, MetaProgress *progress)
{
	read_progress(state_table, META_ROWS_READ, progress);
}

void
tm_meta_progress_see(Oid state_table, MetaProgress *progress)
{
	read_progress(state_table, META_ROWS_SEEN, progress);
}

void
tm_meta_progress_put(Oid state_table, const MetaProgress *progress)
{
	static int	columns[] = {
		ANUM_HORIZON, ANUM_CLOSED_UNTIL, ANUM_PRUNED_UNTIL, ANUM_LATE, ANUM_CLOSED
	};
	char		nulls[lengthof(columns)] = {' ', ' ', ' ', ' ', ' '};
	Datum		values[lengthof(columns)];
	MetaRows	rows;

	values[0] = tm_meta_timestamp(progress->horizon, &nulls[0]);
	values[1] = tm_meta_timestamp(progress->closed_until, &nulls[1]);
	values[2] = tm_meta_timestamp(progress->pruned_until, &nulls[2]);
	values[3] = Int64GetDatum(progress->late);
	values[4] = Int64GetDatum(progress->closed);
	tm_meta_rows_open(&rows, "view_stats", META_ROWS_WRITE);
	if (tm_meta_rows_find(&rows, state_table, 0))
		tm_meta_rows_update(&rows, lengthof(columns), columns, values, nulls);
	tm_meta_rows_close(&rows);
}

void
tm_meta_progress_count(Oid state_table, int64 n, int64 maintain_us)
{
	static int	columns[] = {ANUM_ROWS, ANUM_BATCHES, ANUM_MAINTAIN_US};
	MetaRows	rows;

	tm_meta_rows_open(&rows, "view_stats", META_ROWS_WRITE);
	if (tm_meta_rows_find(&rows, state_table, 0))
	{
		Datum		values[] = {
			Int64GetDatum(tm_meta_row_int64(&rows, ANUM_ROWS, 0) + n),
			Int64GetDatum(tm_meta_row_int64(&rows, ANUM_BATCHES, 0) + 1),
			Int64GetDatum(tm_meta_row_int64(&rows, ANUM_MAINTAIN_US, 0) + maintain_us)
		};

		tm_meta_rows_update(&rows, lengthof(columns), columns, values, NULL);
	}
	tm_meta_rows_close(&rows);
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
