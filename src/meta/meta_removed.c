/*
 * meta_removed.c
 *	  Table tidemark_state.removed_range: raw rows that a view has taken in and
 *	  that its table no longer has.
 *
 * Retention removes the oldest partition again and again, so ranges that touch
 * are kept as one row.
 *
 * Runs in: backends; inside a transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "meta/meta_internal.h"

void
tm_meta_removed_insert(Oid state_table, const MetaRemoved *range)
{
	static MetaStatement touching = {
		.sql = "SELECT min(from_time), max(to_time), count(*) FROM tidemark_state.removed_range "
		"WHERE state_table = $1 AND from_time <= $3 AND to_time >= $2",
		.nargs = 3,
		.argtypes = {OIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	static MetaStatement clear = {
		.sql = "DELETE FROM tidemark_state.removed_range "
		"WHERE state_table = $1 AND from_time <= $3 AND to_time >= $2",
		.nargs = 3,
		.argtypes = {OIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	static MetaStatement insert = {
		.sql = "INSERT INTO tidemark_state.removed_range (state_table, from_time, to_time, recorded_at) "
		"VALUES ($1, $2, $3, $4) ON CONFLICT (state_table, from_time) "
		"DO UPDATE SET to_time = greatest(removed_range.to_time, $3), recorded_at = $4",
		.nargs = 4,
		.argtypes = {OIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	MetaExecution execution;
	TimestampTz from = range->from;
	TimestampTz to = range->to;
	Datum		values[4] = {ObjectIdGetDatum(state_table), TimestampTzGetDatum(from),
	TimestampTzGetDatum(to), TimestampTzGetDatum(tm_clock_now())};

	tm_meta_statement_begin(&touching, values, NULL, &execution);
	if (tm_meta_get_int64(0, 3, 0) > 0)
	{
		from = Min(from, tm_meta_get_timestamp(0, 1));
		to = Max(to, tm_meta_get_timestamp(0, 2));
	}
	tm_meta_statement_end(&execution);
	values[1] = TimestampTzGetDatum(from);
	values[2] = TimestampTzGetDatum(to);
	tm_meta_statement_run(&clear, values, NULL);
	tm_meta_statement_run(&insert, values, NULL);
}

MetaRemoved *
tm_meta_removed_list(Oid state_table, bool seen, int *count)
{
#define LIST "SELECT from_time, to_time FROM tidemark_state.removed_range " \
	"WHERE state_table = $1 ORDER BY from_time"
	static MetaStatement statements[] = {
		{.sql = LIST,.nargs = 1,.argtypes = {OIDOID}},
		{.sql = LIST,.nargs = 1,.argtypes = {OIDOID},.read_only = true},
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(state_table)};
	MetaRemoved *result;
	uint64		n;

	n = tm_meta_statement_begin(&statements[seen ? 1 : 0], values, NULL, &execution);
	result = palloc0(sizeof(MetaRemoved) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		result[i].from = tm_meta_get_timestamp(i, 1);
		result[i].to = tm_meta_get_timestamp(i, 2);
	}
	tm_meta_statement_end(&execution);
	*count = (int) n;
	return result;
}

void
tm_meta_removed_delete(Oid state_table)
{
	static MetaStatement statement = {
		.sql = "DELETE FROM tidemark_state.removed_range WHERE state_table = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[1] = {ObjectIdGetDatum(state_table)};

	tm_meta_statement_run(&statement, values, NULL);
}
