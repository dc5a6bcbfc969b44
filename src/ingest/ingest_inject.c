/*
 * ingest_inject.c
 *	  inject(): the synchronous batch of a manual stream.
 *
 * A message is appended to the kept log first; then the log is applied from
 * where the ingest stands, by the same code that a worker runs.
 *
 * Runs in: backends, in the caller's transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "ingest/ingest_internal.h"

PG_FUNCTION_INFO_V1(tm_inject_text);
PG_FUNCTION_INFO_V1(tm_inject_bytea);
PG_FUNCTION_INFO_V1(tm_inject_array);

#define MAX_MANUAL_PARTITION 1023

/* Apply what the log of one partition has beyond its position. */
static bool
catch_up_partition(Oid stream, Oid log, const StreamOptions *options, int32 partition, int64 from)
{
	int64		end = tm_stream_log_end(log, partition);

	while (from < end)
	{
		MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark manual batch",
												  ALLOCSET_DEFAULT_SIZES);
		IngestPosition position = {.partition = partition,.position = end,.end = end};
		IngestBatch batch = {.positions = &position,.npositions = 1,.careful = true};
		KafkaMessage *messages;
		IngestOutcome outcome;

		batch.nmessages = tm_stream_log_read(log, partition, from, end, options->batch_max_rows,
											 cxt, &messages);
		if (batch.nmessages == 0)
			elog(ERROR, "kept log of partition %d ends before offset %lld", partition,
				 (long long) end);
		batch.messages = messages;
		from = messages[batch.nmessages - 1].offset + 1;
		outcome = tm_ingest_batch_apply_all(stream, &batch);
		MemoryContextDelete(cxt);
		if (outcome != INGEST_APPLIED)
			return false;
	}
	return true;
}

void
tm_ingest_catch_up_manual(Oid stream)
{
	MetaIngest *ingest = tm_ingest_lock(stream, RowExclusiveLock);
	StreamOptions *options = tm_stream_get_options(stream);
	MetaPartition *partitions;
	int			npartitions;
	Oid			dead_letters;
	Oid			log;

	tm_meta_stream_find_tables(stream, &dead_letters, &log);
	if (ingest == NULL || ingest->state != META_RUNNING || !OidIsValid(log))
		return;
	/* partitions that came with their first message came after the start */
	if (ingest->start_at != NULL && strcmp(ingest->start_at, "latest") == 0)
		ingest->start_at = NULL;
	tm_ingest_offsets_prepare(ingest, options, NULL);
	partitions = tm_meta_partition_list(stream, &npartitions);
	for (int i = 0; i < npartitions; i++)
		if (!catch_up_partition(stream, log, options, partitions[i].partition,
								partitions[i].next_offset))
			return;
}

/* Who may inject where. */
static StreamOptions *
check_stream(Oid stream, int32 partition)
{
	StreamOptions *options = tm_stream_get_options(stream);

	if (!object_ownercheck(RelationRelationId, stream, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, get_rel_name(stream));
	if (options->transport != STREAM_MANUAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" is not manual", get_rel_name(stream)),
				 errdetail("Its messages come from Kafka."),
				 errhint("A manual stream is one on a server with OPTIONS (transport 'manual').")));
	if (partition < 0 || partition > MAX_MANUAL_PARTITION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must be between 0 and %d", MAX_MANUAL_PARTITION)));
	return options;
}

/*
 * now() as the timestamp of a message, which is the default, is the time of the
 * stream's clock.
 */
static void
set_time(const StreamOptions *options, KafkaMessage *messages, int n)
{
	TimestampTz real = GetCurrentTransactionStartTimestamp();
	TimestampTz now = tm_meta_clock_get(options->owner);

	for (int i = 0; i < n && !TIMESTAMP_IS_NOBEGIN(now); i++)
		if (messages[i].has_timestamp && messages[i].timestamp == real)
			messages[i].timestamp = now;
}

/* Append messages to the log, then let the ingest have them. */
static int64
inject(Oid stream, const StreamOptions *options, KafkaMessage *messages, int n)
{
	Oid			log;
	MetaIdentity identity;
	MetaIngest *ingest;
	int64		offset = KAFKA_OFFSET_NONE;

	LockRelationOid(stream, RowExclusiveLock);
	set_time(options, messages, n);
	log = tm_meta_stream_ensure_log(stream);
	tm_meta_enter_as(options->owner, &identity);
	for (int i = 0; i < n; i++)
		offset = tm_stream_log_append(log, &messages[i]);
	tm_meta_leave(&identity);
	ingest = tm_meta_ingest_find(stream);
	if (ingest != NULL && ingest->state != META_RUNNING)
		ereport(WARNING,
				(errmsg("ingest of stream \"%s\" %s; the message is kept and not applied",
						get_rel_name(stream),
						ingest->state == META_PAUSED ? "is paused" : "has failed"),
				 errhint("tidemark.resume() applies it.")));
	else if (ingest != NULL)
	{
		tm_ingest_catch_up_manual(stream);
		ingest = tm_meta_ingest_find(stream);
		if (ingest != NULL && ingest->state == META_RUNNING)
			tm_ingest_idle_manual(ingest, options);
	}
	return offset;
}

/* Arguments from the partition on are the same for all forms. */
static void
fill_message(FunctionCallInfo fcinfo, KafkaMessage *msg)
{
	memset(msg, 0, sizeof(*msg));
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("partition cannot be null")));
	msg->partition = PG_GETARG_INT32(2);
	if (!PG_ARGISNULL(3))
	{
		text	   *key = PG_GETARG_TEXT_PP(3);

		msg->key = VARDATA_ANY(key);
		msg->key_len = VARSIZE_ANY_EXHDR(key);
	}
	if (!PG_ARGISNULL(4))
		tm_stream_headers_from_jsonb(PG_GETARG_DATUM(4), msg);
	if (!PG_ARGISNULL(5))
	{
		msg->has_timestamp = true;
		msg->timestamp = PG_GETARG_TIMESTAMPTZ(5);
	}
}

static Datum
inject_one(FunctionCallInfo fcinfo)
{
	StreamOptions *options;
	KafkaMessage msg;

	PreventCommandDuringRecovery("tidemark.inject()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream cannot be null")));
	fill_message(fcinfo, &msg);
	options = check_stream(PG_GETARG_OID(0), msg.partition);
	if (!PG_ARGISNULL(1))
	{
		/* text and bytea are both bytes */
		bytea	   *value = PG_GETARG_BYTEA_PP(1);

		msg.value = VARDATA_ANY(value);
		msg.value_len = VARSIZE_ANY_EXHDR(value);
	}
	return Int64GetDatum(inject(PG_GETARG_OID(0), options, &msg, 1));
}

Datum
tm_inject_text(PG_FUNCTION_ARGS)
{
	return inject_one(fcinfo);
}

Datum
tm_inject_bytea(PG_FUNCTION_ARGS)
{
	return inject_one(fcinfo);
}

Datum
tm_inject_array(PG_FUNCTION_ARGS)
{
	StreamOptions *options;
	KafkaMessage model;
	KafkaMessage *messages;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	PreventCommandDuringRecovery("tidemark.inject()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("stream and messages cannot be null")));
	fill_message(fcinfo, &model);
	options = check_stream(PG_GETARG_OID(0), model.partition);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	messages = palloc(sizeof(KafkaMessage) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		messages[i] = model;
		if (!nulls[i])
		{
			messages[i].value = VARDATA_ANY(DatumGetPointer(values[i]));
			messages[i].value_len = VARSIZE_ANY_EXHDR(DatumGetPointer(values[i]));
		}
	}
	if (n == 0)
		PG_RETURN_NULL();
	return Int64GetDatum(inject(PG_GETARG_OID(0), options, messages, n));
}
