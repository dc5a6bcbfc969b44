/*
 * ingest_partitioning.c
 *	  Table partitions of raw tables: making them ahead, dropping old ones.
 *
 * A table partition is made as a table LIKE its parent and then attached:
 * that waits neither for readers of the table nor for batches, where CREATE
 * TABLE .. PARTITION OF waits for all of them.  Indexes, triggers and foreign
 * keys come by ATTACH.  Dropping has to wait for everybody; who does it in the
 * background gives up soon and tries again.
 *
 * Each range is made once: what somebody has dropped or detached does not come
 * back.  How far that is, is written in the transaction that makes it, so
 * that a crash leaves both or neither.
 *
 * What is dropped goes by DROP TABLE, so that views over the table get to know
 * (view_removal.c).  Nothing is dropped while one of them would need it to go
 * on.
 *
 * All commands run as the owner of the table.
 *
 * Runs in: backends; workers (ensure); the process of a partitioning.
 * Locks: ShareUpdateExclusiveLock on the table to make, AccessExclusiveLock to
 * drop.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "commands/tablespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "ingest/ingest_internal.h"
#include "ingest/ingest_partitioning.h"
#include "view/view.h"

/* Look again after a step, but within these limits. */
#define MIN_PAUSE	USECS_PER_MINUTE
#define MAX_PAUSE	USECS_PER_HOUR

/* Steps of one transaction when an ingest starts. */
#define ENSURE_STEPS	50

/* Run a command as the owner of the table; the number of rows of a SELECT. */
static uint64
run_as_owner(const PartitionedTable *table, const char *sql)
{
	MetaIdentity identity;
	uint64		processed;
	int			rc;

	tm_meta_enter_as(table->owner, &identity);
	SPI_connect();
	rc = SPI_execute(sql, false, 1);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	processed = SPI_processed;
	SPI_finish();
	tm_meta_leave(&identity);
	return processed;
}

/* ---- making ---- */

/*
 * Rows that the new table partition should have had are in the default one.
 * Core would refuse it, too, without saying what to do.
 */
static void
check_default(const PartitionedTable *table, const char *name, const MetaRemoved *time)
{
	const char *column = quote_identifier(table->column);
	Oid			relid = table->default_relid;
	char	   *sql;

	if (!OidIsValid(relid))
		return;
	sql = psprintf("SELECT 1 FROM %s WHERE %s OPERATOR(pg_catalog.>=) %s AND %s OPERATOR(pg_catalog.<) %s LIMIT 1",
				   quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
											  get_rel_name(relid)),
				   column, tm_partitioning_literal(table, time->from),
				   column, tm_partitioning_literal(table, time->to));
	if (run_as_owner(table, sql) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("cannot make table partition \"%s\" because default partition \"%s\" has rows of its range",
						name, get_rel_name(relid)),
				 errdetail("The range is from %s up to %s.",
						   tm_partitioning_literal(table, time->from),
						   tm_partitioning_literal(table, time->to)),
				 errhint("Detach the default partition and insert its rows into the table again; or leave the range to it: tidemark.partition_by_time(..., since => ...) with a later time.")));
}

/* USING and TABLESPACE, as a table partition takes them from its parent. */
static char *
placement(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	char	   *result = "";

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (OidIsValid(form->relam))
	{
		HeapTuple	am = SearchSysCache1(AMOID, ObjectIdGetDatum(form->relam));

		if (!HeapTupleIsValid(am))
			elog(ERROR, "cache lookup failed for access method %u", form->relam);
		result = psprintf(" USING %s",
						  quote_identifier(NameStr(((Form_pg_am) GETSTRUCT(am))->amname)));
		ReleaseSysCache(am);
	}
	if (OidIsValid(form->reltablespace))
		result = psprintf("%s TABLESPACE %s", result,
						  quote_identifier(get_tablespace_name(form->reltablespace)));
	ReleaseSysCache(tuple);
	return result;
}

static char *
make_one(const PartitionedTable *table, const TimeWindowSpec *spec, const MetaRemoved *time)
{
	char	   *name = tm_partitioning_name(table, spec, time->from);
	char	   *parent = quote_qualified_identifier(table->schema, table->name);
	char	   *child = quote_qualified_identifier(table->schema, name);

	if (OidIsValid(get_relname_relid(name, get_namespace_oid(table->schema, false))))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("cannot make table partition \"%s\" of \"%s\" because the name is taken",
						name, table->name),
				 errhint("Rename or drop what has the name.")));
	check_default(table, name, time);
	(void) run_as_owner(table, psprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED "
										"INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)%s",
										child, parent, placement(table->relid)));
	(void) run_as_owner(table, psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)",
										parent, child, tm_partitioning_literal(table, time->from),
										tm_partitioning_literal(table, time->to)));
	TM_FAULT("made");
	return name;
}

/*
 * Under a lock: what is known of a table that is looked after, or NULL.  It may
 * have been dropped, or forgotten, while we waited for the lock.
 */
static PartitionedTable *
load_locked(Oid relid, LOCKMODE lockmode, MetaPartitioning **partitioning)
{
	LockRelationOid(relid, lockmode);
	*partitioning = tm_meta_partitioning_find(relid);
	if (*partitioning == NULL || (*partitioning)->restored || get_rel_name(relid) == NULL)
		return NULL;
	return tm_partitioning_load(relid);
}

bool
tm_partitioning_make(Oid relid, int max, List **made)
{
	MetaPartitioning *partitioning;
	PartitionedTable *table = load_locked(relid, ShareUpdateExclusiveLock, &partitioning);
	TimeWindowSpec spec;
	TimestampTz target;
	ListCell   *lc;

	if (table == NULL)
		return false;
	tm_partitioning_parse_step(table, &partitioning->step, &spec);
	target = tm_partitioning_target(table, partitioning, &spec);
	if (partitioning->made_until >= target)
		return false;
	for (int i = 0; i < max && partitioning->made_until < target; i++)
	{
		foreach(lc, tm_partitioning_list_missing(table, &spec, &partitioning->made_until, target))
		{
			char	   *name = make_one(table, &spec, lfirst(lc));

			if (made != NULL)
				*made = lappend(*made, name);
		}
		CHECK_FOR_INTERRUPTS();
	}
	tm_meta_partitioning_put(partitioning);
	CommandCounterIncrement();
	return partitioning->made_until < target;
}

/* ---- dropping ---- */

/*
 * A view that is paused, or has failed, is computed again from the rows of the
 * table before it goes on.
 */
static void
check_views(const PartitionedTable *table, Oid victim)
{
	List	   *sources = lcons_oid(table->relid, get_rel_relispartition(table->relid) ?
									get_partition_ancestors(table->relid) : NIL);
	ListCell   *source;
	ListCell   *lc;

	foreach(source, sources)
		foreach(lc, tm_meta_view_list(lfirst_oid(source)))
	{
		MetaView   *view = lfirst(lc);

		if (!view->populated || (view->state != META_PAUSED && view->state != META_FAILED))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot drop table partition \"%s\" because continuous view \"%s\" is %s",
						get_rel_name(victim), get_rel_name(view->view),
						view->state == META_PAUSED ? "paused" : "failed"),
				 errdetail("The view needs the rows of table \"%s\" to go on.", table->name),
				 view->state == META_PAUSED ?
				 errhint("Use tidemark.resume(), or drop the view.") :
				 errhint("Use REFRESH MATERIALIZED VIEW, or drop the view.")));
	}
}

/* Table partitions that end before the horizon, the oldest first. */
static List *
list_old(const PartitionedTable *table, const MetaPartitioning *partitioning)
{
	TimestampTz horizon = tm_partitioning_horizon(table, partitioning);
	List	   *old = NIL;

	for (int i = 0; i < table->nranges; i++)
		if (table->ranges[i].time.to <= horizon)
			old = lappend_oid(old, table->ranges[i].relid);
	return old;
}

bool
tm_partitioning_drop(Oid relid, int max, List **dropped)
{
	MetaPartitioning *partitioning;
	PartitionedTable *table = load_locked(relid, ShareUpdateExclusiveLock, &partitioning);
	List	   *old;
	int			n = 0;
	ListCell   *lc;

	if (table == NULL || list_old(table, partitioning) == NIL)
		return false;
	/* a view may be on its way, and the watermark with it */
	table = load_locked(relid, AccessExclusiveLock, &partitioning);
	if (table == NULL)
		return false;
	old = list_old(table, partitioning);
	foreach(lc, old)
	{
		Oid			victim = lfirst_oid(lc);
		char	   *name;

		if (n++ == max)
			return true;
		check_views(table, victim);
		/* from here on its name stays */
		LockRelationOid(victim, AccessExclusiveLock);
		name = get_rel_name(victim);
		(void) run_as_owner(table, psprintf("DROP TABLE %s",
											quote_qualified_identifier(get_namespace_name(get_rel_namespace(victim)),
																	   name)));
		TM_FAULT("dropped");
		if (dropped != NULL)
			*dropped = lappend(*dropped, name);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* ---- when ---- */

void
tm_partitioning_schedule(Oid relid)
{
	MetaPartitioning *partitioning;
	PartitionedTable *table = load_locked(relid, ShareUpdateExclusiveLock, &partitioning);
	TimeWindowSpec spec;
	int64		pause = MAX_PAUSE;

	if (table == NULL)
		return;
	tm_partitioning_parse_step(table, &partitioning->step, &spec);
	if (spec.months == 0)
		pause = Max(MIN_PAUSE, Min(pause, spec.size));
	partitioning->next_run = tm_clock_now() + pause;
	tm_meta_partitioning_put(partitioning);
}

/*
 * Is the table without a partition for the rows of now?  Not if a default
 * partition takes them.
 */
static bool
is_short(Oid relid)
{
	MetaPartitioning *partitioning = tm_meta_partitioning_find(relid);

	return partitioning != NULL && !partitioning->restored &&
		partitioning->made_until <= tm_clock_now() &&
		!OidIsValid(get_default_partition_oid(relid));
}

void
tm_partitioning_ensure(Oid relid)
{
	bool		more = OidIsValid(relid);

	while (more)
	{
		tm_worker_begin();
		more = is_short(relid) && tm_partitioning_make(relid, ENSURE_STEPS, NULL);
		tm_worker_commit();
	}
}

void
tm_partitioning_adopt(Oid relid)
{
	MetaPartitioning *partitioning = OidIsValid(relid) ? tm_meta_partitioning_find(relid) : NULL;

	if (partitioning != NULL && partitioning->restored)
		tm_meta_partitioning_put(partitioning);
}
