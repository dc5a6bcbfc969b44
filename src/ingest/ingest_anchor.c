/*
 * ingest_anchor.c
 *	  Is the topic still the one that was read?
 *
 * A topic that is deleted and created again has the same name and begins anew
 * at offset 0.  Once it is longer than our position, reading on would succeed:
 * its first messages would be lost, the others mixed with those of the old
 * topic.  A client learns that only while the topic is missing, or by a topic
 * id, which the protocol of older libraries does not carry.  So we look at the
 * content: an anchor is a message that was applied.  Whoever reads it again at
 * its offset and finds the same key, value and timestamp knows that the log is
 * still the same.  A topic is re-created as a whole, so one partition is enough.
 *
 * A worker reads its anchor again by a client of its own (the other one would
 * lose its place), after a batch was gathered and before it is applied, while no
 * transaction is open: if the anchor is there now, then all that was gathered
 * came from the same log.  That takes a round trip, so a check is good for
 * some time: CHECK_SHARE times what it took, within RECHECK_MIN_US and
 * RECHECK_MAX_US.  This is what follows:
 *
 * 1. The anchor moves on only to a message that a check came after; a batch that
 *	  was applied without one moves nothing.  So whatever was applied unchecked,
 *	  the next check notices it: the ingest fails.  Nothing stays unnoticed.
 * 2. Whoever waits for messages notices it before anything of the new topic is
 *	  applied.  A fetch while the topic is missing is an error, after which the
 *	  library leaves the partition alone for KAFKA_FETCH_BACKOFF_MS, longer than
 *	  any check is good for.  Lost connections (disturbances) and end offsets
 *	  that went back make a check due at once.
 * 3. That leaves a topic that is deleted, created, filled beyond our position and
 *	  read again while one check is good and between two fetches.  What comes
 *	  in that time is then applied before the ingest fails (see 1).
 * 4. While nothing comes the anchor is read every IDLE_RECHECK_US.
 *
 * It cannot be told when no message was applied yet since the start or the last
 * reset_ingest(), when the anchor was removed by retention or compaction (one
 * that old is worth a warning at a start only), and when the new topic has the
 * same message at that offset, as a true copy has.  A batch that was applied
 * unchecked just before the worker was killed leaves its own messages as what
 * the next start compares with.
 *
 * Runs in: workers, outside of transactions.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/clock.h"
#include "ingest/ingest_internal.h"

#define BROKER_TIMEOUT_MS 10000
#define CHECK_SHARE 20
#define RECHECK_MIN_US INT64CONST(50000)
#define RECHECK_MAX_US INT64CONST(250000)
#define IDLE_RECHECK_US INT64CONST(5000000)

StaticAssertDecl(RECHECK_MAX_US < KAFKA_FETCH_BACKOFF_MS * INT64CONST(1000),
				 "a fetch that failed must make a check due");

static IngestAnchor
anchor_of_message(const KafkaMessage *msg)
{
	IngestAnchor anchor = {
		.partition = msg->partition,
		.offset = msg->offset,
		.hash = tm_ingest_message_hash(msg),
		.timestamp = msg->has_timestamp ? msg->timestamp : DT_NOBEGIN
	};

	return anchor;
}

static IngestAnchor
anchor_of_partition(const MetaPartition *p)
{
	IngestAnchor anchor = {
		.partition = p->partition,
		.offset = p->last_offset,
		.hash = p->last_hash,
		.timestamp = p->last_timestamp
	};

	return anchor;
}

/* The anchor cannot be had: a log that ends before it is another one. */
static void
check_end(const StreamOptions *options, KafkaConsumer *reader, const IngestAnchor *anchor,
		  int timeout_ms)
{
	int64		end;

	tm_kafka_consumer_query_offsets(reader, anchor->partition, 1, NULL, &end, timeout_ms);
	if (end <= anchor->offset)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("topic \"%s\" was re-created or truncated", options->topic),
				 errdetail("Offset %lld of partition %d was applied, and the log ends at %lld now.",
						   (long long) anchor->offset, anchor->partition, (long long) end),
				 errhint("Use tidemark.reset_ingest() to say where to go on, or start a new ingest into a new table.")));
}

/*
 * Read it again.  False when it cannot be told.
 */
static bool
check_anchor(const StreamOptions *options, KafkaConsumer *reader, const IngestAnchor *anchor,
			 int timeout_ms)
{
	const KafkaMessage *msg;
	IngestAnchor found;

	msg = tm_kafka_consumer_fetch_one(reader, anchor->partition, anchor->offset, timeout_ms);
	if (msg == NULL)
		check_end(options, reader, anchor, timeout_ms);
	if (msg == NULL || msg->offset != anchor->offset)
		return false;
	found = anchor_of_message(msg);
	if (found.hash != anchor->hash ||
		(!TIMESTAMP_IS_NOBEGIN(found.timestamp) && !TIMESTAMP_IS_NOBEGIN(anchor->timestamp) &&
		 found.timestamp != anchor->timestamp))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("topic \"%s\" was re-created", options->topic),
				 errdetail("Offset %lld of partition %d holds another message than the one applied.",
						   (long long) anchor->offset, anchor->partition),
				 errhint("Use tidemark.reset_ingest() to say where to go on, or start a new ingest into a new table.")));
	return true;
}

void
tm_ingest_anchor_check_partition(const StreamOptions *options, KafkaConsumer *reader,
								 const MetaPartition *p)
{
	IngestAnchor anchor = anchor_of_partition(p);

	if (anchor.offset < 0 || check_anchor(options, reader, &anchor, BROKER_TIMEOUT_MS))
		return;
	ereport(WARNING,
			(errmsg("could not tell whether topic \"%s\" was re-created", options->topic),
			 errdetail("Offset %lld of partition %d, the last one applied, is no longer in the log.",
					   (long long) anchor.offset, anchor.partition)));
}

void
tm_ingest_watch_begin(IngestWatch *watch, KafkaConsumer *reader, int n,
					  const MetaPartition *partitions)
{
	TimestampTz newest = DT_NOBEGIN;

	memset(watch, 0, sizeof(*watch));
	watch->reader = reader;
	watch->anchor.offset = -1;
	for (int i = 0; i < n; i++)
		if (partitions[i].last_offset >= 0 && partitions[i].last_message_at >= newest)
		{
			newest = partitions[i].last_message_at;
			watch->anchor = anchor_of_partition(&partitions[i]);
		}
}

/* Read the anchor again, and remember that. */
static void
check_now(IngestWatch *watch, const StreamOptions *options, const KafkaConsumer *consumer,
		  int timeout_ms)
{
	int64		started = tm_clock_monotonic_us();
	int64		disturbances = tm_kafka_consumer_disturbances(consumer);

	if (watch->anchor.offset >= 0)
		(void) check_anchor(options, watch->reader, &watch->anchor, timeout_ms);
	watch->checked_at = started;
	watch->good_for = CHECK_SHARE * (tm_clock_monotonic_us() - started);
	watch->good_for = Min(Max(watch->good_for, RECHECK_MIN_US), RECHECK_MAX_US);
	watch->disturbances = disturbances;
}

bool
tm_ingest_watch_check(IngestWatch *watch, const StreamOptions *options,
					  const KafkaConsumer *consumer, bool suspicious, int timeout_ms)
{
	if (!suspicious && tm_clock_monotonic_us() - watch->checked_at < watch->good_for &&
		tm_kafka_consumer_disturbances(consumer) == watch->disturbances)
		return false;
	check_now(watch, options, consumer, timeout_ms);
	return true;
}

bool
tm_ingest_watch_is_idle_check_due(const IngestWatch *watch)
{
	return watch->anchor.offset >= 0 &&
		tm_clock_monotonic_us() - watch->checked_at >= IDLE_RECHECK_US;
}

void
tm_ingest_watch_check_idle(IngestWatch *watch, const StreamOptions *options,
						   const KafkaConsumer *consumer, int timeout_ms)
{
	/* the next one has its time, too, when this one fails */
	watch->checked_at = tm_clock_monotonic_us();
	check_now(watch, options, consumer, timeout_ms);
}

void
tm_ingest_watch_advance(IngestWatch *watch, const KafkaMessage *last, bool checked)
{
	if (checked || watch->anchor.offset < 0)
		watch->anchor = anchor_of_message(last);
}
