/*
 * meta_sql.c
 *	  Prepared statements on the extension's tables.
 *
 * The tables are written through SPI: it takes row locks, follows update
 * chains and maintains indexes as any statement does.  Rows that every batch
 * writes are read and written directly (meta_row.c).
 *
 * Runs in: every backend and worker; inside a transaction.
 * Memory: plans live under CacheMemoryContext (SPI_keepplan) for the life of
 * the process; results are copied into the caller's context.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "meta/meta_internal.h"

uint64
tm_meta_statement_begin(MetaStatement *statement, Datum *values,
						const char *nulls, MetaExecution *execution)
{
	int			rc;

	execution->caller = CurrentMemoryContext;
	tm_meta_enter(&execution->identity);
	SPI_connect();
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan;

		/* what a plan for these values would gain, making it costs */
		plan = SPI_prepare_cursor(statement->sql, statement->nargs,
								  statement->argtypes, CURSOR_OPT_GENERIC_PLAN);
		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	rc = SPI_execute_plan(statement->plan, values, nulls,
						  statement->read_only, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql,
			 SPI_result_code_string(rc));
	MemoryContextSwitchTo(execution->caller);
	return SPI_processed;
}

void
tm_meta_statement_end(const MetaExecution *execution)
{
	SPI_finish();
	tm_meta_leave(&execution->identity);
	MemoryContextSwitchTo(execution->caller);
}

uint64
tm_meta_statement_run(MetaStatement *statement, Datum *values, const char *nulls)
{
	MetaExecution execution;
	uint64		processed;

	processed = tm_meta_statement_begin(statement, values, nulls, &execution);
	tm_meta_statement_end(&execution);
	return processed;
}

static Datum
get_column(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

Oid
tm_meta_get_oid(uint64 row, int column)
{
	bool		isnull;
	Datum		value = get_column(row, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

int64
tm_meta_get_int64(uint64 row, int column, int64 if_null)
{
	bool		isnull;
	Datum		value = get_column(row, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

int32
tm_meta_get_int32(uint64 row, int column)
{
	bool		isnull;
	Datum		value = get_column(row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

bool
tm_meta_get_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = get_column(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

char *
tm_meta_get_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = get_column(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

TimestampTz
tm_meta_get_timestamp(uint64 row, int column)
{
	bool		isnull;
	Datum		value = get_column(row, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

List *
tm_meta_get_text_list(uint64 row, int column)
{
	bool		isnull;
	Datum		value = get_column(row, column, &isnull);
	List	   *result = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypePCopy(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
		result = lappend(result, nulls[i] ? NULL :
						 TextDatumGetCString(elements[i]));
	return result;
}

Datum
tm_meta_text(const char *text, char *null)
{
	*null = text ? ' ' : 'n';
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

Datum
tm_meta_timestamp(TimestampTz time, char *null)
{
	*null = TIMESTAMP_IS_NOBEGIN(time) ? 'n' : ' ';
	return TimestampTzGetDatum(time);
}

Datum
tm_meta_oid(Oid oid, char *null)
{
	*null = OidIsValid(oid) ? ' ' : 'n';
	return ObjectIdGetDatum(oid);
}

Datum
tm_meta_text_array(List *texts)
{
	int			n = list_length(texts);
	Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));
	ListCell   *lc;
	int			i = 0;

	foreach(lc, texts)
		elements[i++] = CStringGetTextDatum((char *) lfirst(lc));
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static const char *const state_names[] = {
	[META_RUNNING] = "running",
	[META_PAUSED] = "paused",
	[META_FAILED] = "failed",
	[META_BACKFILLING] = "backfilling",
	[META_LIVE] = "live",
};

const char *
tm_meta_state_name(MetaState state)
{
	return state_names[state];
}

MetaState
tm_meta_state_parse(const char *name)
{
	for (int i = 0; i < (int) lengthof(state_names); i++)
		if (strcmp(state_names[i], name) == 0)
			return (MetaState) i;
	elog(ERROR, "unexpected state \"%s\"", name);
}

bool
tm_meta_stamp_is_ours(int64 system_identifier, Oid database)
{
	return (uint64) system_identifier == GetSystemIdentifier() &&
		database == MyDatabaseId;
}
