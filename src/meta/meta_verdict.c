/*
 * meta_verdict.c
 *	  Table tidemark_state.verdict: verdicts on late rows that do not follow from
 *	  the row, and the function by which verify() asks for them.
 *
 * A verdict is about a row and a window, which is named by the time that its
 * kind of window is told apart by: window_start; window_end for cumulate(), as
 * its windows share their starts; the row's event time for sessions.
 *
 * has_verdict() is asked once per row and window of a batch query, so it loads
 * the verdicts of the view into a hash table at its first call.  (Rejected: a
 * join in the query; it would have to be an anti join below the view's own
 * aggregates, in every shape of query.)
 *
 * Runs in: every backend and worker; inside a transaction.
 * Locks: writers hold the view's lock.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

PG_FUNCTION_INFO_V1(tm_has_verdict);

static const char *
verdict_name(MetaVerdict verdict)
{
	return verdict == META_VERDICT_CLOSED ? "closed" : "admitted";
}

void
tm_meta_verdict_insert(Oid state_table, int32 partition, int64 offset,
					   TimestampTz window_start, MetaVerdict verdict)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.verdict (state_table, partition, kafka_offset, window_start, verdict) "
		"VALUES ($1, $2, $3, $4, $5)",
		.nargs = 5,
		.argtypes = {OIDOID, INT4OID, INT8OID, TIMESTAMPTZOID, TEXTOID}
	};
	char		nulls[5] = {' ', ' ', ' ', ' ', ' '};
	Datum		values[5];

	values[0] = ObjectIdGetDatum(state_table);
	values[1] = Int32GetDatum(partition);
	values[2] = Int64GetDatum(offset);
	values[3] = tm_meta_timestamp(window_start, &nulls[3]);
	values[4] = CStringGetTextDatum(verdict_name(verdict));
	tm_meta_statement_run(&statement, values, nulls);
}

void
tm_meta_verdict_delete(Oid state_table, TimestampTz until)
{
	static MetaStatement statement = {
		.sql = "DELETE FROM tidemark_state.verdict WHERE state_table = $1 AND window_start <= $2",
		.nargs = 2,
		.argtypes = {OIDOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {ObjectIdGetDatum(state_table), TimestampTzGetDatum(until)};

	tm_meta_statement_run(&statement, values, NULL);
}

bool
tm_meta_verdict_exists(Oid state_table)
{
	static MetaStatement statement = {
		.sql = "SELECT 1 FROM tidemark_state.verdict WHERE state_table = $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {OIDOID},
		.read_only = true
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(state_table)};
	bool		result;

	result = tm_meta_statement_begin(&statement, values, NULL, &execution) > 0;
	tm_meta_statement_end(&execution);
	return result;
}

/* ---- has_verdict() ---- */

typedef struct VerdictKey
{
	TimestampTz window_start;
	int64		offset;
	int32		partition;
	int32		admitted;		/* int32: no padding in a hash key */
} VerdictKey;

/* The verdicts of one view, in fn_extra. */
typedef struct VerdictSet
{
	Oid			state_table;
	HTAB	   *keys;
} VerdictSet;

static void
load_verdicts(VerdictSet *set)
{
	static MetaStatement statement = {
		.sql = "SELECT partition, kafka_offset, window_start, verdict = 'admitted' "
		"FROM tidemark_state.verdict WHERE state_table = $1",
		.nargs = 1,
		.argtypes = {OIDOID},
		.read_only = true
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(set->state_table)};
	uint64		n = tm_meta_statement_begin(&statement, values, NULL, &execution);

	for (uint64 i = 0; i < n; i++)
	{
		VerdictKey	key = {.window_start = tm_meta_get_timestamp(i, 3),
			.offset = tm_meta_get_int64(i, 2, 0),.partition = tm_meta_get_int32(i, 1),
		.admitted = tm_meta_get_bool(i, 4)};

		(void) hash_search(set->keys, &key, HASH_ENTER, NULL);
	}
	tm_meta_statement_end(&execution);
}

static VerdictSet *
get_verdicts(FmgrInfo *flinfo, Oid state_table)
{
	VerdictSet *set = flinfo->fn_extra;
	HASHCTL		ctl = {.keysize = sizeof(VerdictKey),.entrysize = sizeof(VerdictKey),
	.hcxt = flinfo->fn_mcxt};

	if (set != NULL && set->state_table == state_table)
		return set;
	set = MemoryContextAlloc(flinfo->fn_mcxt, sizeof(VerdictSet));
	set->state_table = state_table;
	set->keys = hash_create("tidemark verdicts", 256, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	load_verdicts(set);
	flinfo->fn_extra = set;
	return set;
}

/* has_verdict(state_table, partition, kafka_offset, window_start, verdict) */
Datum
tm_has_verdict(PG_FUNCTION_ARGS)
{
	VerdictKey	key;

	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_BOOL(false);
	key.partition = PG_GETARG_INT32(1);
	key.offset = PG_GETARG_INT64(2);
	key.window_start = PG_GETARG_TIMESTAMPTZ(3);
	key.admitted = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(4)), verdict_name(META_VERDICT_ADMITTED)) == 0;
	PG_RETURN_BOOL(hash_search(get_verdicts(fcinfo->flinfo, PG_GETARG_OID(0))->keys, &key,
							   HASH_FIND, NULL) != NULL);
}
