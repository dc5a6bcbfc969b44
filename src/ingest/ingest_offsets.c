/*
 * ingest_offsets.c
 *	  Where reading starts: the first time, after a restart, when partitions
 *	  were added, and when the topic may not be the same any more.
 *
 * Runs in: workers at start; backends for manual streams.
 * Locks: an object lock on the stream while partition rows are made, so that
 * several workers starting together make each row once.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
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
tm_ingest_offsets_prepare(MetaIngest *ingest, const StreamOptions *options,
						  KafkaConsumer *consumer)
{
	StreamPartition *existing;
	int			nexisting;
	MetaPartition *known;
	int			nknown;
	int64	   *offsets;

	LockDatabaseObject(RelationRelationId, ingest->stream, 1, ExclusiveLock);
	known = tm_meta_partition_list(ingest->stream, &nknown);
	nexisting = tm_stream_list_partitions(options, consumer, &existing);
	offsets = palloc(sizeof(int64) * Max(nexisting, 1));
	if (nknown == 0)
		tm_stream_resolve_start(options, consumer, ingest->start_at, nexisting, existing, offsets);
	for (int i = 0; i < nexisting; i++)
	{
		MetaPartition p = {
			.partition = existing[i].partition,
			.end_offset = existing[i].end,
			.max_event_time = DT_NOBEGIN,
			.watermark = DT_NOBEGIN,
			.stream_watermark = DT_NOBEGIN,
			.idle_since = DT_NOBEGIN,
			.last_offset = -1,
			.last_timestamp = DT_NOBEGIN,
			.last_message_at = DT_NOBEGIN,
		};

		if (has_partition(known, nknown, p.partition))
			continue;
		p.first_offset = nknown == 0 && offsets[i] != KAFKA_OFFSET_NONE ? offsets[i] :
			existing[i].earliest;
		if (p.first_offset > existing[i].end)
			tm_ingest_throw_beyond_end(p.partition, p.first_offset, existing[i].end);
		p.next_offset = p.first_offset;
		tm_meta_partition_insert(ingest->stream, &p);
	}
}

/*
 * The last applied message, read again: is it the one we remember?  SQLSTATEs
 * of class 55 pass by themselves; the errors of these checks do not.
 */
static void
check_last_message(const StreamOptions *options, KafkaConsumer *consumer, const MetaPartition *p)
{
	const KafkaMessage *msg;

	if (p->last_offset < 0)
		return;
	msg = tm_kafka_consumer_fetch_one(consumer, p->partition, p->last_offset, BROKER_TIMEOUT_MS);
	if (msg == NULL || msg->offset != p->last_offset)
	{
		ereport(WARNING,
				(errmsg("could not tell whether topic \"%s\" was re-created", options->topic),
				 errdetail("Offset %lld of partition %d, the last one applied, is no longer in the log.",
						   (long long) p->last_offset, p->partition)));
		return;
	}
	if (tm_ingest_message_hash(msg) != p->last_hash ||
		(msg->has_timestamp && !TIMESTAMP_IS_NOBEGIN(p->last_timestamp) &&
		 msg->timestamp != p->last_timestamp))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("topic \"%s\" was re-created", options->topic),
				 errdetail("Offset %lld of partition %d holds another message than the one applied.",
						   (long long) p->last_offset, p->partition),
				 errhint("Use tidemark.reset_ingest() to say where to go on, or start a new ingest into a new table.")));
}

void
tm_ingest_offsets_check(MetaIngest *ingest, const StreamOptions *options,
						KafkaConsumer *consumer, int n, const MetaPartition *partitions)
{
	char	   *cluster_id = tm_kafka_consumer_cluster_id(consumer, BROKER_TIMEOUT_MS);

	if (ingest->cluster_id != NULL && cluster_id != NULL &&
		strcmp(ingest->cluster_id, cluster_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("stream \"%s\" now reads another Kafka cluster", get_rel_name(ingest->stream)),
				 errdetail("Its offsets belong to cluster %s, the brokers say %s.",
						   ingest->cluster_id, cluster_id),
				 errhint("Correct bootstrap_servers, or use tidemark.reset_ingest() to say where to go on.")));
	for (int i = 0; i < n; i++)
	{
		int64		earliest;
		int64		end;

		tm_kafka_consumer_query_offsets(consumer, partitions[i].partition, &earliest, &end,
										BROKER_TIMEOUT_MS);
		if (partitions[i].next_offset > end || partitions[i].next_offset < earliest)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("offset %lld of partition %d of topic \"%s\" is out of range",
							(long long) partitions[i].next_offset, partitions[i].partition,
							options->topic),
					 errdetail("The log has offsets %lld to %lld; messages were removed by retention, or the topic was re-created.",
							   (long long) earliest, (long long) end),
					 errhint("Use tidemark.reset_ingest() to go on behind the gap; the skipped range is recorded.")));
		check_last_message(options, consumer, &partitions[i]);
	}
	if (ingest->cluster_id == NULL && cluster_id != NULL)
	{
		ingest->cluster_id = cluster_id;
		tm_meta_ingest_set_cluster(ingest->stream, cluster_id);
	}
}
