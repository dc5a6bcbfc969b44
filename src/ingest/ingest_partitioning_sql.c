/*
 * ingest_partitioning_sql.c
 *	  partition_by_time(), maintain_partitions(), drop_partitioning().
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "ingest/ingest_internal.h"
#include "ingest/ingest_partitioning.h"

PG_FUNCTION_INFO_V1(tm_partition_by_time);
PG_FUNCTION_INFO_V1(tm_maintain_partitions);
PG_FUNCTION_INFO_V1(tm_drop_partitioning);

#define MAX_PREMAKE	1000

/* A table, given by the caller as its owner; locked as making partitions does. */
static void
require_table(Oid relid)
{
	const MetaIngest *ingest = tm_meta_ingest_find_by_table(relid);

	tm_ingest_require_owner(relid);
	tm_store_check_table(relid, ingest != NULL &&
						 tm_stream_get_options(ingest->stream)->lose_rows_on_crash);
	LockRelationOid(relid, ShareUpdateExclusiveLock);
	tm_ingest_require_owner(relid);
}

static MetaPartitioning *
require_partitioning(Oid relid)
{
	MetaPartitioning *partitioning = tm_meta_partitioning_find(relid);

	if (partitioning == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("partitions of table \"%s\" are not looked after", get_rel_name(relid)),
				 errhint("Use tidemark.partition_by_time().")));
	return partitioning;
}

static void
check_premake(int premake)
{
	if (premake < 1 || premake > MAX_PREMAKE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("premake must be between 1 and %d", MAX_PREMAKE)));
}

static void
check_retention(const Interval *retention)
{
	TimestampTz epoch = 0;

	if ((retention->month == PG_INT32_MAX && retention->day == PG_INT32_MAX &&
		 retention->time == PG_INT64_MAX) ||
		tm_partitioning_subtract(epoch, retention) > epoch)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retention must be finite and not negative"),
				 errhint("Use NULL to keep all rows.")));
}

/*
 * Where to begin without since: where it ended before; else as far back as rows
 * are kept, or as many steps back as are made ahead.
 */
static TimestampTz
default_since(const PartitionedTable *table, const MetaPartitioning *partitioning,
			  const TimeWindowSpec *spec)
{
	TimestampTz since = table->now;

	if (tm_meta_partitioning_find(table->relid) != NULL)
		return partitioning->made_until;
	if (partitioning->has_retention)
		since = tm_partitioning_subtract(since, &partitioning->retention);
	else
		for (int i = 0; i < partitioning->premake; i++)
			since = tm_window_assign(spec, since).start - 1;
	return tm_window_assign(spec, since).start;
}

static void
check_count(const PartitionedTable *table, const TimeWindowSpec *spec, TimestampTz from,
			TimestampTz until)
{
	int			n = 0;

	for (; from < until; from = tm_window_assign(spec, from).end)
		if (++n > PARTITIONING_MAX_MADE)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("table \"%s\" would get more than %d table partitions at once",
							table->name, PARTITIONING_MAX_MADE),
					 errhint("Use a longer step, a smaller premake or a later since.")));
}

static void
set_since(const PartitionedTable *table, MetaPartitioning *partitioning, FunctionCallInfo fcinfo)
{
	TimeWindowSpec spec;

	tm_partitioning_parse_step(table, &partitioning->step, &spec);
	if (PG_ARGISNULL(4))
		partitioning->made_until = default_since(table, partitioning, &spec);
	else if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(4)))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("since must be finite")));
	else
		partitioning->made_until = tm_window_assign(&spec, PG_GETARG_TIMESTAMPTZ(4)).start;
	check_count(table, &spec, partitioning->made_until,
				tm_partitioning_target(table, partitioning, &spec));
}

/* partition_by_time(parent, step, premake, retention, since) */
Datum
tm_partition_by_time(PG_FUNCTION_ARGS)
{
	MetaPartitioning *partitioning;
	MetaPartitioning wanted = {0};

	PreventCommandDuringRecovery("tidemark.partition_by_time()");
	for (int i = 0; i < 3; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parent, step and premake cannot be null")));
	wanted.parent = PG_GETARG_OID(0);
	require_table(wanted.parent);
	partitioning = tm_meta_partitioning_find(wanted.parent);
	if (partitioning != NULL)
		wanted = *partitioning;
	wanted.step = *PG_GETARG_INTERVAL_P(1);
	wanted.premake = PG_GETARG_INT32(2);
	wanted.has_retention = !PG_ARGISNULL(3);
	if (wanted.has_retention)
		wanted.retention = *PG_GETARG_INTERVAL_P(3);
	check_premake(wanted.premake);
	if (wanted.has_retention)
		check_retention(&wanted.retention);
	wanted.next_run = tm_clock_now();
	set_since(tm_partitioning_load(wanted.parent), &wanted, fcinfo);
	tm_meta_partitioning_put(&wanted);
	CommandCounterIncrement();
	(void) tm_partitioning_make(wanted.parent, PARTITIONING_MAX_MADE, NULL);
	(void) tm_partitioning_drop(wanted.parent, PARTITIONING_MAX_MADE, NULL);
	tm_partitioning_schedule(wanted.parent);
	tm_worker_wake_scheduler_at_commit();
	PG_RETURN_VOID();
}

static void
return_names(ReturnSetInfo *result, List *names, const char *action)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		Datum		values[2] = {CStringGetTextDatum((char *) lfirst(lc)),
		CStringGetTextDatum(action)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* maintain_partitions(parent) */
Datum
tm_maintain_partitions(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *made = NIL;
	List	   *dropped = NIL;
	MetaPartitioning *partitioning;

	PreventCommandDuringRecovery("tidemark.maintain_partitions()");
	InitMaterializedSRF(fcinfo, 0);
	require_table(relid);
	partitioning = require_partitioning(relid);
	if (partitioning->restored)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the partitioning of table \"%s\" was restored, and rests",
						get_rel_name(relid)),
				 errhint("It goes on when the ingest of the table is resumed, or tidemark.partition_by_time() is called.")));
	(void) tm_partitioning_make(relid, PARTITIONING_MAX_MADE, &made);
	(void) tm_partitioning_drop(relid, PARTITIONING_MAX_MADE, &dropped);
	tm_partitioning_schedule(relid);
	return_names(result, made, "created");
	return_names(result, dropped, "dropped");
	return (Datum) 0;
}

/* drop_partitioning(parent, if_exists) */
Datum
tm_drop_partitioning(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	PreventCommandDuringRecovery("tidemark.drop_partitioning()");
	require_table(relid);
	if (!PG_GETARG_BOOL(1) || tm_meta_partitioning_find(relid) != NULL)
		(void) require_partitioning(relid);
	tm_meta_partitioning_delete(relid);
	tm_worker_wake_scheduler_at_commit();
	PG_RETURN_VOID();
}
