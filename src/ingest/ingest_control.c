/*
 * ingest_control.c
 *	  start_ingest(), alter_ingest(), drop_ingest(), pause(), resume(),
 *	  reset_ingest().
 *
 * All are transactional: they change rows of the catalog and wake the
 * scheduler when the transaction commits.  Each takes ShareRowExclusiveLock on
 * the stream, which waits for batches in flight and keeps new ones out until
 * commit; so when pause() has returned, none is in flight and none commits.
 * Who may is asked before a lock and after it: owners change while one waits.
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "ingest/ingest_internal.h"
#include "ingest/ingest_partitioning.h"
#include "maintain/maintain.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(tm_start_ingest);
PG_FUNCTION_INFO_V1(tm_alter_ingest);
PG_FUNCTION_INFO_V1(tm_drop_ingest);
PG_FUNCTION_INFO_V1(tm_pause);
PG_FUNCTION_INFO_V1(tm_resume);

#define MAX_WORKERS_PER_STREAM 256

/* ---- checks ---- */

/* A regclass can be any number, and its relation can go at any time. */
void
tm_ingest_require_relation(Oid relid)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
}

void
tm_ingest_require_owner(Oid relid)
{
	tm_ingest_require_relation(relid);
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

void
tm_ingest_require_stream(Oid stream)
{
	tm_ingest_require_relation(stream);
	if (!tm_stream_is_stream(stream))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a stream", get_rel_name(stream)),
				 errhint("A stream is a foreign table of a server of tidemark_kafka.")));
	tm_ingest_require_owner(stream);
}

void
tm_ingest_lock_stream(Oid stream)
{
	tm_ingest_require_stream(stream);
	tm_ingest_check_alone(stream);
	LockRelationOid(stream, ShareRowExclusiveLock);
	tm_ingest_require_stream(stream);
}

static MetaIngest *
require_ingest(Oid stream)
{
	MetaIngest *ingest = tm_meta_ingest_find(stream);

	if (ingest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream \"%s\" is not ingested", get_rel_name(stream)),
				 errhint("Use tidemark.start_ingest().")));
	return ingest;
}

static void
check_workers(int workers)
{
	if (workers < 1 || workers > MAX_WORKERS_PER_STREAM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of workers must be between 1 and %d", MAX_WORKERS_PER_STREAM)));
}

static bool
is_empty(Oid table)
{
	bool		empty;
	int			rc;

	SPI_connect();
	rc = SPI_execute(psprintf("SELECT 1 FROM %s LIMIT 1",
							  quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
														 get_rel_name(table))),
					 false, 1);
	if (rc < 0)
		elog(ERROR, "could not read table: %s", SPI_result_code_string(rc));
	empty = SPI_processed == 0;
	SPI_finish();
	return empty;
}

/* The table that raw rows are to go to. */
static void
check_table(Oid stream, Oid table)
{
	MetaIngest *other;
	ListCell   *lc;

	tm_ingest_require_owner(table);
	tm_store_check_table(table, tm_stream_get_options(stream)->lose_rows_on_crash);
	other = tm_meta_ingest_find_by_table(table);
	if (other != NULL && other->stream != stream)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is filled by the ingest of stream \"%s\" already",
						get_rel_name(table), get_rel_name(other->stream)),
				 errhint("Each ingest needs a table of its own.")));
	foreach(lc, tm_meta_view_list(table))
	{
		const MetaView *view = lfirst(lc);

		if (tm_ingest_view_is_unclaimed(view))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("continuous view \"%s\" was restored and has not been resumed",
							get_rel_name(view->view)),
					 errhint("tidemark.resume() computes it from the rows that table \"%s\" has now.",
							 get_rel_name(table))));
	}
}

/*
 * Keep writers out of it.  A lock that is waited for keeps them out, too, so
 * nobody waits for one who may not have it.
 */
static void
lock_table(Oid stream, Oid table)
{
	tm_ingest_require_owner(table);
	tm_ingest_check_alone(table);
	LockRelationOid(table, ShareRowExclusiveLock);
	check_table(stream, table);
}

/* Say which columns of the stream the table does not have. */
static void
notice_unstored(Oid stream, Oid table)
{
	Relation	stream_rel = RelationIdGetRelation(stream);
	Relation	table_rel = RelationIdGetRelation(table);
	StoreTarget *target = tm_store_open(table_rel, stream_rel, CurrentMemoryContext);
	ListCell   *lc;

	foreach(lc, tm_store_unstored(target))
		ereport(NOTICE,
				(errmsg("column \"%s\" of stream \"%s\" is not stored: table \"%s\" has no such column",
						(char *) lfirst(lc), get_rel_name(stream), get_rel_name(table))));
	RelationClose(stream_rel);
	RelationClose(table_rel);
}

/* ---- start, alter, drop ---- */

static void
start_manual(MetaIngest *ingest)
{
	StreamOptions *options = tm_stream_get_options(ingest->stream);

	if (options->transport != STREAM_MANUAL)
		return;
	tm_ingest_offsets_prepare(ingest, options, NULL);
	tm_ingest_catch_up_manual(ingest->stream);
}

MetaIngest *
tm_ingest_create(Oid stream, Oid into_table, int workers, const char *start_at, bool implicit)
{
	MetaIngest *ingest = palloc0(sizeof(MetaIngest));
	StreamOptions *options = tm_stream_get_options(stream);

	ingest->stream = stream;
	ingest->into_table = into_table;
	ingest->workers = workers;
	ingest->state = META_RUNNING;
	ingest->since = tm_clock_now();
	ingest->start_at = start_at ? pstrdup(start_at) : NULL;
	ingest->implicit = implicit;
	ingest->topic = options->topic;
	tm_meta_ingest_insert(ingest);
	if (options->transport == STREAM_MANUAL)
		tm_ingest_offsets_prepare(ingest, options, NULL);
	tm_worker_wake_scheduler_at_commit();
	return ingest;
}

/* start_ingest(stream, into_table, workers, start_at, if_not_exists) */
Datum
tm_start_ingest(PG_FUNCTION_ARGS)
{
	Oid			stream = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	Oid			table = PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1);
	int			workers = PG_ARGISNULL(2) ? 1 : PG_GETARG_INT32(2);
	char	   *start_at = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	bool		if_not_exists = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	MetaIngest *ingest;

	PreventCommandDuringRecovery("tidemark.start_ingest()");
	if (!OidIsValid(stream))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream cannot be null")));
	tm_ingest_require_stream(stream);
	check_workers(workers);
	tm_stream_check_start(start_at);
	tm_ingest_lock_stream(stream);
	if (tm_meta_ingest_find(stream) != NULL)
	{
		ereport(if_not_exists ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("stream \"%s\" is ingested already", get_rel_name(stream)),
				 if_not_exists ? 0 :
				 errhint("Use tidemark.alter_ingest() to change it.")));
		PG_RETURN_VOID();
	}
	if (OidIsValid(table))
	{
		lock_table(stream, table);
		notice_unstored(stream, table);
		if (start_at == NULL && !is_empty(table))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" is not empty", get_rel_name(table)),
					 errhint("Say where to start with start_at, for example start_at => 'latest'.")));
	}
	ingest = tm_ingest_create(stream, table, workers, start_at, false);
	CommandCounterIncrement();
	start_manual(ingest);
	PG_RETURN_VOID();
}

/* alter_ingest(stream, into_table, workers); NULL = unchanged */
Datum
tm_alter_ingest(PG_FUNCTION_ARGS)
{
	Oid			stream = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	MetaIngest *ingest;

	PreventCommandDuringRecovery("tidemark.alter_ingest()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream cannot be null")));
	tm_ingest_lock_stream(stream);
	ingest = require_ingest(stream);
	if (ingest->restored)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ingest of stream \"%s\" was restored and has not been resumed",
						get_rel_name(stream)),
				 errhint("tidemark.resume() looks whether topic and cluster are the same; alter it after that.")));
	if (!PG_ARGISNULL(1) && PG_GETARG_OID(1) != ingest->into_table)
	{
		Oid			table = PG_GETARG_OID(1);

		if (OidIsValid(ingest->into_table))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the ingest of stream \"%s\" fills table \"%s\"",
							get_rel_name(stream), get_rel_name(ingest->into_table)),
					 errhint("Drop the ingest and start a new one with start_at.")));
		lock_table(stream, table);
		notice_unstored(stream, table);
		if (!is_empty(table))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" is not empty", get_rel_name(table)),
					 errdetail("It receives the rows from the committed offsets on.")));
		ingest->into_table = table;
		ingest->implicit = false;
	}
	if (!PG_ARGISNULL(2))
	{
		check_workers(PG_GETARG_INT32(2));
		if (ingest->workers != PG_GETARG_INT32(2))
			tm_meta_partition_end_idleness(stream, 0, NULL);
		ingest->workers = PG_GETARG_INT32(2);
	}
	tm_meta_ingest_update(ingest);
	tm_worker_wake_scheduler_at_commit();
	PG_RETURN_VOID();
}

static void
refuse_views(Oid relid, Oid stream)
{
	List	   *views = OidIsValid(relid) ? tm_meta_view_list(relid) : NIL;

	if (views != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop the ingest of stream \"%s\" because continuous view \"%s\" reads \"%s\"",
						get_rel_name(stream),
						get_rel_name(((MetaView *) linitial(views))->view), get_rel_name(relid)),
				 errhint("Drop the view first.")));
}

/* drop_ingest(stream, if_exists) */
Datum
tm_drop_ingest(PG_FUNCTION_ARGS)
{
	Oid			stream = PG_GETARG_OID(0);
	MetaIngest *ingest;

	PreventCommandDuringRecovery("tidemark.drop_ingest()");
	tm_ingest_lock_stream(stream);
	if (tm_meta_ingest_find(stream) == NULL && PG_GETARG_BOOL(1))
	{
		ereport(NOTICE,
				(errmsg("stream \"%s\" is not ingested, skipping", get_rel_name(stream))));
		PG_RETURN_VOID();
	}
	ingest = require_ingest(stream);
	refuse_views(stream, stream);
	refuse_views(ingest->into_table, stream);
	tm_meta_ingest_delete(stream);
	tm_meta_partition_delete(stream);
	tm_worker_wake_scheduler_at_commit();
	PG_RETURN_VOID();
}

/* ---- pause, resume ---- */

static void
pause_ingest(Oid stream)
{
	MetaIngest *ingest;
	char	   *role = GetUserNameFromId(GetUserId(), false);

	tm_ingest_lock_stream(stream);
	ingest = require_ingest(stream);
	if (ingest->state == META_PAUSED)
		return;
	if (ingest->state == META_FAILED && ingest->reason != NULL)
	{
		/* what has to be done about the failure stays */
		ingest->reason = psprintf("paused by %s after a failure: %s", role, ingest->reason);
	}
	else
	{
		ingest->reason = psprintf("paused by %s", role);
		ingest->hint = pstrdup("tidemark.resume() continues at the committed offsets.");
		if (!tm_ingest_is_void(ingest))
			ingest->sqlstate = NULL;
	}
	ingest->state = META_PAUSED;
	ingest->since = tm_clock_now();
	tm_meta_ingest_update(ingest);
	tm_worker_wake_scheduler_at_commit();
}

/* A view with its source and state locked against batches. */
static MetaView *
lock_view(Oid relid)
{
	MetaView   *view = tm_meta_view_find(relid);

	tm_ingest_require_owner(relid);
	tm_ingest_check_alone(view->source);
	/* the source first, as batches do: then no batch is between the two */
	LockRelationOid(view->source, ShareRowExclusiveLock);
	/* it may have been dropped while we waited, for either lock */
	view = tm_meta_view_find(relid);
	if (view != NULL)
	{
		tm_meta_view_lock(view->state_table);
		view = tm_meta_view_find(relid);
	}
	if (view == NULL)
		tm_ingest_throw_view_dropped();
	tm_ingest_require_owner(relid);
	return view;
}

/*
 * A view over a table is resumed by being rebuilt.  When it could not be, a
 * pause would be its end.
 */
static void
check_pause(const MetaView *view)
{
	int			n;
	MetaRemoved *removed = tm_meta_removed_list(view->state_table, false, &n);

	if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot pause continuous view \"%s\" because it could not be resumed",
						get_rel_name(view->view)),
				 errdetail("%s", tm_view_describe_removed(view->source, removed, n)),
				 errhint("Pause the ingest of the table, or drop the view.")));
}

static void
pause_view(Oid relid)
{
	MetaView   *view = lock_view(relid);

	if (view->state == META_PAUSED)
		return;
	if (view->state == META_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" has failed", get_rel_name(relid)),
				 errhint("REFRESH MATERIALIZED VIEW rebuilds it.")));
	if (tm_stream_is_stream(view->source))
		tm_ingest_view_detach(view);
	check_pause(view);
	view->state = META_PAUSED;
	view->reason = psprintf("paused by %s", GetUserNameFromId(GetUserId(), false));
	view->hint = pstrdup("tidemark.resume() lets it catch up.");
	view->since = tm_clock_now();
	tm_meta_view_update(view);
	tm_worker_wake_scheduler_at_commit();
}

static Oid
relation_argument(FunctionCallInfo fcinfo)
{
	Oid			relid = PG_GETARG_OID(0);

	tm_ingest_require_relation(relid);
	if (!tm_stream_is_stream(relid) && tm_meta_view_find(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is neither a stream nor a continuous view", get_rel_name(relid))));
	return relid;
}

/* pause(relation) */
Datum
tm_pause(PG_FUNCTION_ARGS)
{
	Oid			relid;

	PreventCommandDuringRecovery("tidemark.pause()");
	relid = relation_argument(fcinfo);
	if (tm_stream_is_stream(relid))
		pause_ingest(relid);
	else
		pause_view(relid);
	PG_RETURN_VOID();
}

/* A restored ingest may only go on where its offsets mean the same. */
static void
check_restored(const MetaIngest *ingest, const StreamOptions *options)
{
	KafkaConsumer *consumer;
	char	   *cluster_id;

	if (strcmp(ingest->topic, options->topic) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" reads topic \"%s\" now, its offsets belong to topic \"%s\"",
						get_rel_name(ingest->stream), options->topic, ingest->topic),
				 errhint("Use tidemark.reset_ingest() to say where to go on.")));
	if (options->transport == STREAM_MANUAL || ingest->cluster_id == NULL)
		return;
	consumer = tm_stream_open_consumer(options, options->owner, 0, CurrentMemoryContext);
	cluster_id = tm_kafka_consumer_cluster_id(consumer, 10000);
	tm_kafka_consumer_close(consumer);
	if (cluster_id != NULL && strcmp(cluster_id, ingest->cluster_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" reads another Kafka cluster now", get_rel_name(ingest->stream)),
				 errdetail("Its offsets belong to cluster %s, the brokers say %s.",
						   ingest->cluster_id, cluster_id),
				 errhint("Use tidemark.reset_ingest() to say where to go on.")));
}

static void
resume_ingest(Oid stream)
{
	MetaIngest *ingest;
	StreamOptions *options;
	ListCell   *lc;

	tm_ingest_lock_stream(stream);
	ingest = require_ingest(stream);
	if (ingest->state == META_RUNNING)
		return;
	options = tm_stream_get_options(stream);
	if (ingest->restored)
	{
		check_restored(ingest, options);
		/* its views belong here from now on, too */
		foreach(lc, list_concat(tm_meta_view_list(stream),
								OidIsValid(ingest->into_table) ? tm_meta_view_list(ingest->into_table) : NIL))
			tm_meta_view_update(lfirst(lc));
		tm_partitioning_adopt(ingest->into_table);
		ingest->restored = false;
	}
	ingest->state = META_RUNNING;
	ingest->reason = ingest->hint = ingest->sqlstate = NULL;
	ingest->since = tm_clock_now();
	tm_meta_ingest_update(ingest);
	CommandCounterIncrement();
	tm_meta_partition_end_idleness(stream, 0, NULL);
	if (options->transport == STREAM_MANUAL)
		tm_ingest_catch_up_manual(stream);
	tm_worker_wake_scheduler_at_commit();
}

static void
resume_view(Oid relid)
{
	MetaView   *view = lock_view(relid);

	if ((view->state == META_LIVE || view->state == META_BACKFILLING) &&
		!tm_ingest_view_is_unclaimed(view))
		return;
	if (view->state == META_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" has failed", get_rel_name(relid)),
				 errhint("REFRESH MATERIALIZED VIEW rebuilds it.")));
	tm_ingest_view_resume(view);
}

/* resume(relation) */
Datum
tm_resume(PG_FUNCTION_ARGS)
{
	Oid			relid;

	PreventCommandDuringRecovery("tidemark.resume()");
	relid = relation_argument(fcinfo);
	if (tm_stream_is_stream(relid))
		resume_ingest(relid);
	else
		resume_view(relid);
	PG_RETURN_VOID();
}
