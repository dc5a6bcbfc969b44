/*
 * meta_partitioning.c
 *	  Table tidemark_state.partitioning: tables whose partitions are made ahead
 *	  and dropped by time.
 *
 * A row that was written in another cluster or database came here by restore
 * or copy, and rests (restored) until somebody writes it again.
 *
 * Runs in: every backend and worker; inside a transaction.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

#define PARTITIONING_COLUMNS \
	"parent::oid, step, premake, retention, made_until, next_run, system_identifier, database"

/* An interval; false: NULL. */
static bool
get_interval(uint64 row, int column, Interval *interval)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  column, &isnull);

	if (!isnull)
		*interval = *DatumGetIntervalP(value);
	return !isnull;
}

static MetaPartitioning *
read_partitioning(uint64 row)
{
	MetaPartitioning *result = palloc0(sizeof(MetaPartitioning));

	result->parent = tm_meta_get_oid(row, 1);
	(void) get_interval(row, 2, &result->step);
	result->premake = tm_meta_get_int32(row, 3);
	result->has_retention = get_interval(row, 4, &result->retention);
	result->made_until = tm_meta_get_timestamp(row, 5);
	result->next_run = tm_meta_get_timestamp(row, 6);
	result->restored = !tm_meta_stamp_is_ours(tm_meta_get_int64(row, 7, 0),
											  tm_meta_get_oid(row, 8));
	return result;
}

MetaPartitioning *
tm_meta_partitioning_find(Oid parent)
{
	static MetaStatement statement = {
		.sql = "SELECT " PARTITIONING_COLUMNS " FROM tidemark_state.partitioning WHERE parent = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(parent)};
	MetaPartitioning *result = NULL;

	if (tm_meta_statement_begin(&statement, values, NULL, &execution) > 0)
		result = read_partitioning(0);
	tm_meta_statement_end(&execution);
	return result;
}

List *
tm_meta_partitioning_list(void)
{
	static MetaStatement statement = {
		.sql = "SELECT " PARTITIONING_COLUMNS " FROM tidemark_state.partitioning ORDER BY next_run, parent::oid"
	};
	MetaExecution execution;
	List	   *result = NIL;
	uint64		n;

	n = tm_meta_statement_begin(&statement, NULL, NULL, &execution);
	for (uint64 i = 0; i < n; i++)
		result = lappend(result, read_partitioning(i));
	tm_meta_statement_end(&execution);
	return result;
}

void
tm_meta_partitioning_put(const MetaPartitioning *partitioning)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.partitioning (parent, step, premake, retention, "
		"made_until, next_run, system_identifier, database) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (parent) DO UPDATE SET "
		"step = $2, premake = $3, retention = $4, made_until = $5, next_run = $6, "
		"system_identifier = $7, database = $8",
		.nargs = 8,
		.argtypes = {OIDOID, INTERVALOID, INT4OID, INTERVALOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		INT8OID, OIDOID}
	};
	Datum		values[8] = {ObjectIdGetDatum(partitioning->parent),
		IntervalPGetDatum(&partitioning->step), Int32GetDatum(partitioning->premake),
		IntervalPGetDatum(&partitioning->retention),
		TimestampTzGetDatum(partitioning->made_until),
		TimestampTzGetDatum(partitioning->next_run),
	Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)};
	char		nulls[8];

	memset(nulls, ' ', sizeof(nulls));
	if (!partitioning->has_retention)
		nulls[3] = 'n';
	tm_meta_statement_run(&statement, values, nulls);
}

void
tm_meta_partitioning_delete(Oid parent)
{
	static MetaStatement statement = {
		.sql = "DELETE FROM tidemark_state.partitioning WHERE parent = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[1] = {ObjectIdGetDatum(parent)};

	tm_meta_statement_run(&statement, values, NULL);
}
