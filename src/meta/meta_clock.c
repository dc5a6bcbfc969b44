/*
 * meta_clock.c
 *	  Table tidemark_state.clock: the time of manual streams, by their owner.
 *
 * A row of role 0 is for all owners that have none of their own.
 *
 * Runs in: backends; inside a transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

TimestampTz
tm_meta_clock_get(Oid owner)
{
	static MetaStatement statement = {
		.sql = "SELECT now FROM tidemark_state.clock WHERE role IN ($1, 0) "
		"ORDER BY role DESC LIMIT 1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(owner)};
	TimestampTz result = DT_NOBEGIN;

	if (tm_meta_statement_begin(&statement, values, NULL, &execution) > 0)
		result = tm_meta_get_timestamp(0, 1);
	tm_meta_statement_end(&execution);
	return result;
}

void
tm_meta_clock_set(Oid owner, TimestampTz now)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.clock (role, now) VALUES ($1, $2) "
		"ON CONFLICT (role) DO UPDATE SET now = excluded.now",
		.nargs = 2,
		.argtypes = {OIDOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {ObjectIdGetDatum(owner)};
	char		nulls[2] = {' ', ' '};

	values[1] = tm_meta_timestamp(now, &nulls[1]);
	tm_meta_statement_run(&statement, values, nulls);
}

void
tm_meta_clock_set_all(TimestampTz now)
{
	static MetaStatement statement = {
		.sql = "DELETE FROM tidemark_state.clock"
	};

	tm_meta_statement_run(&statement, NULL, NULL);
	if (!TIMESTAMP_IS_NOBEGIN(now))
		tm_meta_clock_set(InvalidOid, now);
}
