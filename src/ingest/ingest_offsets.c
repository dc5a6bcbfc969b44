/*
 * ingest_offsets.c
 *	  Where reading starts: the first time, after a restart, when partitions
 *	  were added, and when the topic may not be the same any more.
 *
 * A worker asks the brokers first, while no transaction is open, and then writes
 * down what they said: a broker that is silent must not keep a lock or a
 * snapshot.  What changed in between is the worker's to notice.
 *
 * Runs in: workers at start; backends for manual streams and reset_ingest().
 * Locks: an object lock on the stream while partition rows are made, so that
 * several workers starting together make each row once.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "storage/lmgr.h"
#include "utils/timestamp.h"

#include "ingest/ingest_internal.h"

#define BROKER_TIMEOUT_MS 10000

static bool
has_partition(const MetaPartition *known, int nknown, int32 partition)
{
	for (int i = 0; i < nknown; i++)
		if (known[i].partition == partition)
			return true;
	return false;
}

void
tm_ingest_throw_beyond_end(int32 partition, int64 offset, int64 end)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("offset %lld of partition %d in start_at is beyond the end of the log",
					(long long) offset, partition),
			 errdetail("The next message gets offset %lld.", (long long) end)));
}

void
tm_ingest_offsets_ask(const StreamOptions *options, KafkaConsumer *consumer,
					  const StreamStart *start, IngestLog *log)
{
	log->npartitions = tm_stream_list_partitions(options, consumer, &log->partitions);
	log->starts = NULL;
	if (start == NULL)
		return;
	log->starts = palloc(sizeof(int64) * Max(log->npartitions, 1));
	tm_stream_resolve_parsed(options, consumer, start, log->npartitions, log->partitions,
							 log->starts);
}

/* One object lock for all who make partition rows of the stream. */
static void
lock_rows(const MetaIngest *ingest)
{
	LockDatabaseObject(RelationRelationId, ingest->stream, 1, ExclusiveLock);
}

static void
insert_partition(const MetaIngest *ingest, const StreamPartition *existing, int64 first)
{
	MetaPartition p = {
		.partition = existing->partition,
		.first_offset = first,
		.next_offset = first,
		.end_offset = existing->end,
		.max_event_time = DT_NOBEGIN,
		.watermark = DT_NOBEGIN,
		.stream_watermark = DT_NOBEGIN,
		.idle_since = DT_NOBEGIN,
		.last_offset = -1,
		.last_timestamp = DT_NOBEGIN,
		.last_message_at = DT_NOBEGIN,
	};

	if (first > existing->end)
		tm_ingest_throw_beyond_end(p.partition, first, existing->end);
	tm_meta_partition_insert(ingest->stream, &p);
}

void
tm_ingest_offsets_insert(MetaIngest *ingest, const IngestLog *log)
{
	MetaPartition *known;
	int			nknown;

	lock_rows(ingest);
	known = tm_meta_partition_list(ingest->stream, &nknown);
	for (int i = 0; i < log->npartitions; i++)
	{
		const StreamPartition *existing = &log->partitions[i];
		bool		has_start = nknown == 0 && log->starts != NULL &&
		log->starts[i] != KAFKA_OFFSET_NONE;

		if (!has_partition(known, nknown, existing->partition))
			insert_partition(ingest, existing, has_start ? log->starts[i] : existing->earliest);
	}
}

void
tm_ingest_offsets_prepare(MetaIngest *ingest, const StreamOptions *options,
						  KafkaConsumer *consumer)
{
	IngestLog	log;
	int			nknown;

	lock_rows(ingest);
	(void) tm_meta_partition_list(ingest->stream, &nknown);
	tm_ingest_offsets_ask(options, consumer,
						  nknown == 0 ? tm_stream_parse_start(ingest->start_at) : NULL, &log);
	tm_ingest_offsets_insert(ingest, &log);
}

/* Is the position in the log? */
static void
check_range(const StreamOptions *options, const StreamPartition *existing, const MetaPartition *p)
{
	if (p->next_offset >= existing->earliest && p->next_offset <= existing->end)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("offset %lld of partition %d of topic \"%s\" is out of range",
					(long long) p->next_offset, p->partition, options->topic),
			 errdetail("The log has offsets %lld to %lld; messages were removed by retention, or the topic was re-created.",
					   (long long) existing->earliest, (long long) existing->end),
			 errhint("Use tidemark.reset_ingest() to go on behind the gap; the skipped range is recorded.")));
}

/* SQLSTATEs of class 55 pass by themselves; the errors of these checks do not. */
char *
tm_ingest_offsets_check(const MetaIngest *ingest, const char *name,
						const StreamOptions *options, KafkaConsumer *consumer,
						const IngestLog *log, int n, const MetaPartition *partitions)
{
	char	   *cluster_id = tm_kafka_consumer_cluster_id(consumer, BROKER_TIMEOUT_MS);

	if (ingest->cluster_id != NULL && strcmp(ingest->cluster_id, cluster_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("stream \"%s\" now reads another Kafka cluster", name),
				 errdetail("Its offsets belong to cluster %s, the brokers say %s.",
						   ingest->cluster_id, cluster_id),
				 errhint("Correct bootstrap_servers, or use tidemark.reset_ingest() to say where to go on.")));
	for (int i = 0; i < n; i++)
	{
		const MetaPartition *p = &partitions[i];
		int			j = 0;

		while (j < log->npartitions && log->partitions[j].partition != p->partition)
			j++;
		if (j == log->npartitions)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
					 errmsg("topic \"%s\" was re-created", options->topic),
					 errdetail("It has %d partitions, and no partition %d any more.",
							   log->npartitions, p->partition),
					 errhint("Start a new ingest of another stream into a new table.")));
		check_range(options, &log->partitions[j], p);
		tm_ingest_anchor_check_partition(options, consumer, p);
	}
	return cluster_id;
}
