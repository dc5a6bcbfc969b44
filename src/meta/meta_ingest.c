/*
 * meta_ingest.c
 *	  Table tidemark_state.ingest: what is consumed, and its durable state.
 *
 * A row carries the system identifier and the database it was written in.
 * A row that says otherwise came here by restore, by CREATE DATABASE ..
 * TEMPLATE or by pg_upgrade; it reads as paused, reason 'restored', until
 * somebody updates (resumes) it.  A promoted standby and a physical copy keep
 * both, and go on.
 *
 * Runs in: every backend and worker; inside a transaction.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

#define INGEST_COLUMNS \
	"stream::oid, into_table::oid, workers, state, " \
	"(SELECT f.reason FROM tidemark_state.failure f WHERE f.relation = stream), " \
	"(SELECT f.hint FROM tidemark_state.failure f WHERE f.relation = stream), sqlstate, " \
	"since, start_at, implicit, topic, cluster_id, system_identifier, database, " \
	"absent_fields IS NOT NULL, absent_fields"

static MetaIngest *
read_ingest(uint64 row)
{
	MetaIngest *ingest = palloc0(sizeof(MetaIngest));

	ingest->stream = tm_meta_get_oid(row, 1);
	ingest->into_table = tm_meta_get_oid(row, 2);
	ingest->workers = tm_meta_get_int32(row, 3);
	ingest->state = tm_meta_state_parse(tm_meta_get_text(row, 4));
	ingest->reason = tm_meta_get_text(row, 5);
	ingest->hint = tm_meta_get_text(row, 6);
	ingest->sqlstate = tm_meta_get_text(row, 7);
	ingest->since = tm_meta_get_timestamp(row, 8);
	ingest->start_at = tm_meta_get_text(row, 9);
	ingest->implicit = tm_meta_get_bool(row, 10);
	ingest->topic = tm_meta_get_text(row, 11);
	ingest->cluster_id = tm_meta_get_text(row, 12);
	ingest->seen = tm_meta_get_bool(row, 15);
	ingest->absent_fields = tm_meta_get_text_list(row, 16);
	if (!tm_meta_stamp_is_ours(tm_meta_get_int64(row, 13, 0),
							   tm_meta_get_oid(row, 14)))
	{
		ingest->restored = true;
		ingest->state = META_PAUSED;
		ingest->reason = pstrdup("restored");
		ingest->hint = psprintf("Use SELECT tidemark.resume(%s) to continue at the restored offsets.",
								quote_literal_cstr(DatumGetCString(DirectFunctionCall1(regclassout,
																					   ObjectIdGetDatum(ingest->stream)))));
		ingest->sqlstate = NULL;
	}
	return ingest;
}

static MetaIngest *
find_one(MetaStatement *statement, Oid oid)
{
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(oid)};
	MetaIngest *ingest = NULL;

	if (tm_meta_statement_begin(statement, values, NULL, &execution) > 0)
		ingest = read_ingest(0);
	tm_meta_statement_end(&execution);
	return ingest;
}

MetaIngest *
tm_meta_ingest_find(Oid stream)
{
	static MetaStatement statement = {
		.sql = "SELECT " INGEST_COLUMNS " FROM tidemark_state.ingest WHERE stream = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};

	return find_one(&statement, stream);
}

MetaIngest *
tm_meta_ingest_find_by_table(Oid into_table)
{
	static MetaStatement statement = {
		.sql = "SELECT " INGEST_COLUMNS " FROM tidemark_state.ingest WHERE into_table = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};

	return find_one(&statement, into_table);
}

List *
tm_meta_ingest_list(void)
{
	static MetaStatement statement = {
		.sql = "SELECT " INGEST_COLUMNS " FROM tidemark_state.ingest ORDER BY stream::oid"
	};
	MetaExecution execution;
	List	   *result = NIL;
	uint64		n;

	n = tm_meta_statement_begin(&statement, NULL, NULL, &execution);
	for (uint64 i = 0; i < n; i++)
		result = lappend(result, read_ingest(i));
	tm_meta_statement_end(&execution);
	return result;
}

#define NARGS 13

/* Parameters of insert and update. */
static void
fill_parameters(const MetaIngest *ingest, Datum *values, char *nulls)
{
	memset(nulls, ' ', NARGS);
	values[0] = ObjectIdGetDatum(ingest->stream);
	values[1] = tm_meta_oid(ingest->into_table, &nulls[1]);
	values[2] = Int32GetDatum(ingest->workers);
	values[3] = CStringGetTextDatum(tm_meta_state_name(ingest->state));
	values[4] = tm_meta_text(ingest->sqlstate, &nulls[4]);
	values[5] = TimestampTzGetDatum(ingest->since);
	values[6] = tm_meta_text(ingest->start_at, &nulls[6]);
	values[7] = BoolGetDatum(ingest->implicit);
	values[8] = CStringGetTextDatum(ingest->topic);
	values[9] = tm_meta_text(ingest->cluster_id, &nulls[9]);
	values[10] = Int64GetDatum((int64) GetSystemIdentifier());
	values[11] = ObjectIdGetDatum(MyDatabaseId);
	values[12] = BoolGetDatum(ingest->restored);
}

/*
 * Workers of the stream are to read the row anew, quiet ones too: the same slot
 * may be theirs before and after.
 */
static void
notify_workers(Oid stream)
{
	/* not when the stream is being dropped */
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(stream)))
		CacheInvalidateRelcacheByRelid(stream);
}

#define INGEST_ARGTYPES \
	{OIDOID, OIDOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, \
	 BOOLOID, TEXTOID, TEXTOID, INT8OID, OIDOID, BOOLOID}

void
tm_meta_ingest_insert(const MetaIngest *ingest)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.ingest (stream, into_table, workers, state, sqlstate, "
		"since, start_at, implicit, topic, cluster_id, system_identifier, database) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
		.nargs = NARGS,
		.argtypes = INGEST_ARGTYPES
	};
	Datum		values[NARGS];
	char		nulls[NARGS];

	fill_parameters(ingest, values, nulls);
	tm_meta_statement_run(&statement, values, nulls);
	tm_meta_failure_put(ingest->stream, ingest->reason, ingest->hint);
	notify_workers(ingest->stream);
}

void
tm_meta_ingest_update(const MetaIngest *ingest)
{
	static MetaStatement statement = {
		.sql = "UPDATE tidemark_state.ingest SET into_table = $2, workers = $3, state = $4, "
		"sqlstate = $5, since = $6, start_at = $7, implicit = $8, topic = $9, cluster_id = $10, "
		"system_identifier = CASE WHEN $13 THEN system_identifier ELSE $11 END, "
		"database = CASE WHEN $13 THEN database ELSE $12 END WHERE stream = $1",
		.nargs = NARGS,
		.argtypes = INGEST_ARGTYPES
	};
	Datum		values[NARGS];
	char		nulls[NARGS];

	fill_parameters(ingest, values, nulls);
	tm_meta_statement_run(&statement, values, nulls);
	tm_meta_failure_put(ingest->stream, ingest->reason, ingest->hint);
	notify_workers(ingest->stream);
}

static bool
contains_all(List *texts, List *others)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, others)
	{
		bool		found = false;

		foreach(lc2, texts)
			found |= strcmp(lfirst(lc), lfirst(lc2)) == 0;
		if (!found)
			return false;
	}
	return true;
}

/*
 * A member is absent only as long as no worker has seen it, so the list can but
 * shrink, and workers that see different messages do not overwrite each other;
 * and where the row that the batch began with says all, there is nothing to do.
 */
void
tm_meta_ingest_add_seen(const MetaIngest *ingest, List *absent)
{
	static MetaStatement statement = {
		.sql = "UPDATE tidemark_state.ingest SET absent_fields = CASE WHEN absent_fields IS NULL THEN $2 "
		"ELSE ARRAY(SELECT f FROM pg_catalog.unnest(absent_fields) f WHERE f = ANY ($2)) END "
		"WHERE stream = $1 AND (absent_fields IS NULL OR NOT absent_fields <@ $2)",
		.nargs = 2,
		.argtypes = {OIDOID, TEXTARRAYOID}
	};
	Datum		values[2] = {ObjectIdGetDatum(ingest->stream)};

	if (ingest->seen && contains_all(absent, ingest->absent_fields))
		return;
	values[1] = tm_meta_text_array(absent);
	tm_meta_statement_run(&statement, values, NULL);
}

void
tm_meta_ingest_set_cluster(Oid stream, const char *cluster_id)
{
	static MetaStatement statement = {
		.sql = "UPDATE tidemark_state.ingest SET cluster_id = $2 WHERE stream = $1",
		.nargs = 2,
		.argtypes = {OIDOID, TEXTOID}
	};
	Datum		values[2] = {ObjectIdGetDatum(stream), CStringGetTextDatum(cluster_id)};

	tm_meta_statement_run(&statement, values, NULL);
}

void
tm_meta_ingest_delete(Oid stream)
{
	static MetaStatement statement = {
		.sql = "DELETE FROM tidemark_state.ingest WHERE stream = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[1] = {ObjectIdGetDatum(stream)};

	tm_meta_statement_run(&statement, values, NULL);
	tm_meta_failure_put(stream, NULL, NULL);
	notify_workers(stream);
}
