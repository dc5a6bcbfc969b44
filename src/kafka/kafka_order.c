/*
 * kafka_order.c
 *	  From which partition a consumer that reads in order of time takes next.
 *
 * A broker answers with a run of thousands of messages of one partition after
 * the other.  Taken as they come, a batch holds a piece of the log that is long
 * in one partition and missing in the others: the groups of a window are touched
 * again by batch after batch, and the partitions' watermarks drift apart.  So
 * each partition has a queue of its own, and a chunk of messages is always taken
 * from the one whose last message has the lowest timestamp.  Without timestamps,
 * and among equal ones, the partitions take turns.
 *
 * The partition that is furthest behind may have nothing in its queue although
 * the broker has more of it.  Then poll() holds back what the others have, for
 * KAFKA_HOLD_US at most and once until that partition has given something: a
 * broker that is slow delays the others by that much and no more.  A partition
 * that is read to its end is never waited for, so nothing is held back where
 * reading keeps up.
 *
 * A library before 2.2 looks at its queues again only after up to a second once
 * all partitions of a broker have reached the limit of theirs, unless something
 * wakes the broker's thread.  Setting the credentials, to what they are, does
 * that and nothing else.
 *
 * Runs in: the process of the consumer; nothing here waits.
 * Memory: queues are the library's; tm_kafka_order_close() gives them back.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/clock.h"
#include "kafka/kafka_internal.h"

/* Longest time for which others wait for the partition furthest behind. */
#define KAFKA_HOLD_US INT64CONST(10000)

/* The library wakes up by itself (fetch.queue.backoff.ms). */
#define KAFKA_VERSION_BACKOFF 0x02020000

/* Smallest chunk of a partition among many. */
#define KAFKA_CHUNK_MIN 16

/* So many chunks of each partition make a batch. */
#define KAFKA_CHUNKS_PER_BATCH 4

void
tm_kafka_order_open(KafkaConsumer *consumer, int32 partition)
{
	static const uint64 one = 1;
	KafkaPartition *part = &consumer->partitions[partition];

	part->time = DT_NOBEGIN;
	part->turn = 0;
	part->held_since = 0;
	if (part->queue != NULL)
		return;
	part->queue = rd_kafka_queue_get_partition(consumer->rk, consumer->topic,
											   partition);
	if (part->queue == NULL)
		elog(ERROR, "Kafka client library has no queue for partition %d",
			 partition);

	/* before assign(), which would lead it to the consumer's queue */
	rd_kafka_queue_forward(part->queue, NULL);
	rd_kafka_queue_io_event_enable(part->queue, consumer->fd, &one,
								   sizeof(one));
}

void
tm_kafka_order_close(KafkaConsumer *consumer)
{
	for (int i = 0; i < consumer->npartitions; i++)
	{
		rd_kafka_queue_t *queue = consumer->partitions[i].queue;

		consumer->partitions[i].queue = NULL;
		if (queue == NULL)
			continue;
		rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
		rd_kafka_queue_destroy(queue);
	}
}

void
tm_kafka_order_begin(KafkaConsumer *consumer)
{
	consumer->hold_until = 0;
	consumer->now = GetCurrentTimestamp();
	for (int i = 0; i < consumer->npartitions; i++)
	{
		KafkaPartition *part = &consumer->partitions[i];

		/*
		 * what is idle is not looked at for each chunk: there may be
		 * thousands
		 */
		part->passed = !part->assigned || part->queue == NULL ||
			(part->at_end && rd_kafka_queue_length(part->queue) == 0);
	}
}

/*
 * Where a partition stands.  A timestamp of the future counts as the present,
 * so that one that is wrong does not keep a partition back for long.
 */
static inline TimestampTz
reached_time(const KafkaConsumer *consumer, const KafkaPartition *part)
{
	return Min(part->time, consumer->now);
}

/* The partition to take from, or NULL when none is left in this round. */
static KafkaPartition *
find_furthest_behind(KafkaConsumer *consumer)
{
	KafkaPartition *result = NULL;
	TimestampTz lowest = DT_NOEND;

	for (int i = 0; i < consumer->npartitions; i++)
	{
		KafkaPartition *part = &consumer->partitions[i];
		TimestampTz time = reached_time(consumer, part);

		if (part->passed || time > lowest ||
			(time == lowest && part->turn >= result->turn))
			continue;
		result = part;
		lowest = time;
	}
	return result;
}

/*
 * The partition has nothing at hand, but the broker may have more of it: is
 * there reason to wait?
 */
static bool
is_worth_waiting(KafkaConsumer *consumer, KafkaPartition *part)
{
	int64		now;
	int64		low;
	int64		high;

	if (part->at_end ||
		rd_kafka_get_watermark_offsets(consumer->rk, consumer->topic,
									   part - consumer->partitions, &low,
									   &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		part->position >= high)
		return false;
	now = tm_clock_monotonic_us();
	if (part->held_since == 0)
	{
		part->held_since = now;
		tm_kafka_order_wake(consumer);
	}
	if (now - part->held_since >= KAFKA_HOLD_US)
		return false;
	consumer->hold_until = part->held_since + KAFKA_HOLD_US;
	return true;
}

/* How many messages of the partition to take at a time. */
static int
chunk_size(const KafkaConsumer *consumer, const KafkaPartition *part,
		   int max_messages)
{
	int			share = max_messages /
	(KAFKA_CHUNKS_PER_BATCH * Max(consumer->nassigned, 1));

	/* the first one tells where the partition stands */
	if (part->time == DT_NOBEGIN)
		return 1;
	return Min(Max(share, KAFKA_CHUNK_MIN), KAFKA_CHUNK);
}

ssize_t
tm_kafka_order_fetch(KafkaConsumer *consumer, int room, int max_messages)
{
	KafkaPartition *part;

	/* errors of no partition */
	if (rd_kafka_queue_length(consumer->consumer_queue) > 0)
		return tm_kafka_error_consume(consumer, consumer->consumer_queue, 0,
									  consumer->chunk,
									  Min(room, KAFKA_CHUNK));

	while ((part = find_furthest_behind(consumer)) != NULL)
	{
		size_t		size = Min(chunk_size(consumer, part, max_messages), room);
		ssize_t		n = 0;

		if (rd_kafka_queue_length(part->queue) > 0)
			n = tm_kafka_error_consume(consumer, part->queue, 0,
									   consumer->chunk, size);
		if (n > 0)
		{
			part->held_since = 0;
			part->turn = ++consumer->turns;
			return n;
		}
		if (is_worth_waiting(consumer, part))
			return 0;
		part->passed = true;
	}
	return 0;
}

void
tm_kafka_order_wake(KafkaConsumer *consumer)
{
	static const char none[] = "";
	const char *user = consumer->username ? consumer->username : none;
	const char *password = consumer->password ? consumer->password : none;

	if (rd_kafka_version() >= KAFKA_VERSION_BACKOFF)
		return;
	rd_kafka_error_destroy(rd_kafka_sasl_set_credentials(consumer->rk, user,
														 password));
}

int64
tm_kafka_consumer_hold_us(const KafkaConsumer *consumer)
{
	if (consumer->hold_until == 0)
		return -1;
	return Max(consumer->hold_until - tm_clock_monotonic_us(), 0);
}
