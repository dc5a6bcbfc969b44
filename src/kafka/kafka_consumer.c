/*
 * kafka_consumer.c
 *	  Reading partitions of a topic from given offsets, in batches.
 *
 * Partitions are assigned with our own offsets; no consumer group is joined
 * and none is asked where to start.  An offset that the partition does not
 * have is an error, never a reason to start elsewhere.
 *
 * Messages are taken from the library's queue in chunks and given to the
 * caller as pointers into the library's memory.  What a chunk holds beyond the
 * limits of the batch waits in the chunk: the library's queue cannot be looked
 * at without taking.  Errors and end-of-partition events stand in the queue
 * between the messages and are handled in their turn; one that has to be
 * thrown waits until the messages before it were given and released.
 *
 * The library signals the descriptor only when something enters an empty
 * queue, so poll() signals it as well whenever it leaves something behind.
 *
 * Invariants:
 * 1. partitions[p].position is greater than every offset of p in the batch, and
 *	  no message of p between the assigned offset and position was left out but
 *	  by tm_kafka_consumer_skip().
 * 2. Offsets of a partition in a batch, and from batch to batch, increase.
 * 3. Every message is in exactly one of chunk, batch, single, or destroyed.
 *
 * Memory: arrays are in the consumer's context, messages are the library's; who
 * destroys what is left of both at the end is kafka_client.c.
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "kafka/kafka_internal.h"

/* Milliseconds from Kafka's epoch to PostgreSQL's. */
#define KAFKA_EPOCH_MS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

/* ---- assignment ---- */

void
tm_kafka_consumer_discard(KafkaConsumer *consumer)
{
	for (; consumer->chunk_next < consumer->chunk_count; consumer->chunk_next++)
		rd_kafka_message_destroy(consumer->chunk[consumer->chunk_next]);
	if (consumer->single != NULL)
		rd_kafka_message_destroy(consumer->single);
	consumer->single = NULL;
}

/* Forget what was assigned, and what was taken but not given. */
static void
forget_assignment(KafkaConsumer *consumer)
{
	tm_kafka_consumer_discard(consumer);
	for (int i = 0; i < consumer->npartitions; i++)
		consumer->partitions[i].assigned = false;
	consumer->nassigned = 0;
}

/* Make sure that there is an entry for the partition, and assign it. */
static void
assign_partition(KafkaConsumer *consumer, int32 partition, int64 offset)
{
	Assert(partition >= 0 && offset >= 0);
	if (partition >= consumer->npartitions)
	{
		int			n = partition + 1;
		Size		size = n * sizeof(KafkaPartition);

		if (consumer->partitions == NULL)
			consumer->partitions = MemoryContextAlloc(consumer->cxt, size);
		else
			consumer->partitions = repalloc(consumer->partitions, size);
		memset(&consumer->partitions[consumer->npartitions], 0,
			   (n - consumer->npartitions) * sizeof(KafkaPartition));
		consumer->npartitions = n;
	}
	consumer->partitions[partition].assigned = true;
	consumer->partitions[partition].at_end = false;
	consumer->partitions[partition].position = offset;
	consumer->partitions[partition].asked_end = KAFKA_OFFSET_NONE;
	consumer->nassigned++;
	if (consumer->ordered)
		tm_kafka_order_open(consumer, partition);
}

void
tm_kafka_consumer_assign(KafkaConsumer *consumer, int npartitions,
						 const int32 *partitions, const int64 *offsets)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;

	forget_assignment(consumer);
	for (int i = 0; i < npartitions; i++)
		assign_partition(consumer, partitions[i], offsets[i]);

	list = rd_kafka_topic_partition_list_new(npartitions);
	for (int i = 0; i < npartitions; i++)
		rd_kafka_topic_partition_list_add(list, consumer->topic,
										  partitions[i])->offset = offsets[i];
	err = rd_kafka_assign(consumer->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		tm_kafka_error_throw(consumer, err, -1, KAFKA_OFFSET_NONE, NULL);
	consumer->is_new = true;
}

/* The entry of an assigned partition, or NULL. */
static inline KafkaPartition *
find_partition(KafkaConsumer *consumer, int32 partition)
{
	if (partition < 0 || partition >= consumer->npartitions ||
		!consumer->partitions[partition].assigned)
		return NULL;
	return &consumer->partitions[partition];
}

/*
 * The library is told without waiting for it: whatever it has, or gives until it
 * has moved, is below the position and is thrown away (take_chunk()).
 */
void
tm_kafka_consumer_skip(KafkaConsumer *consumer, int npartitions,
					   const int32 *partitions, const int64 *offsets)
{
	rd_kafka_topic_partition_list_t *list;

	list = rd_kafka_topic_partition_list_new(npartitions);
	for (int i = 0; i < npartitions; i++)
	{
		KafkaPartition *part = find_partition(consumer, partitions[i]);

		if (part == NULL || offsets[i] <= part->position)
			continue;
		part->position = offsets[i];
		part->at_end = false;
		rd_kafka_topic_partition_list_add(list, consumer->topic,
										  partitions[i])->offset = offsets[i];
	}
	if (list->cnt > 0)
		rd_kafka_error_destroy(rd_kafka_seek_partitions(consumer->rk, list, 0));
	rd_kafka_topic_partition_list_destroy(list);
}

/* The end offset that the last fetch told, also of what is not committed yet. */
static int64
fetched_end(KafkaConsumer *consumer, int32 partition)
{
	int64		low;
	int64		high;

	if (rd_kafka_get_watermark_offsets(consumer->rk, consumer->topic,
									   partition, &low, &high) !=
		RD_KAFKA_RESP_ERR_NO_ERROR || high < 0)
		return KAFKA_OFFSET_NONE;
	return high;
}

bool
tm_kafka_consumer_position(KafkaConsumer *consumer, int partition,
						   KafkaPosition *position)
{
	KafkaPartition *part = find_partition(consumer, partition);

	if (part == NULL)
		return false;
	position->position = part->position;
	position->at_end = part->at_end;
	position->end = fetched_end(consumer, partition);
	/* while no fetch has said anything else, the answer is newer */
	if (part->asked_end != KAFKA_OFFSET_NONE && position->end == part->asked_high)
		position->end = Max(position->end, part->asked_end);
	return true;
}

void
tm_kafka_consumer_note_end(KafkaConsumer *consumer, int32 partition, int64 end)
{
	KafkaPartition *part = find_partition(consumer, partition);

	if (part == NULL)
		return;
	part->asked_end = end;
	part->asked_high = fetched_end(consumer, partition);
}

void
tm_kafka_consumer_store_group(KafkaConsumer *consumer, int npartitions,
							  const int32 *partitions, const int64 *offsets)
{
	rd_kafka_topic_partition_list_t *list;

	if (consumer->group_id == NULL)
		return;
	list = rd_kafka_topic_partition_list_new(npartitions);
	for (int i = 0; i < npartitions; i++)
		rd_kafka_topic_partition_list_add(list, consumer->topic,
										  partitions[i])->offset = offsets[i];

	/* for information only, so a failure is none of ours */
	(void) rd_kafka_commit(consumer->rk, list, 1);
	rd_kafka_topic_partition_list_destroy(list);
}

/* ---- messages ---- */

/* Describe a message of the library. */
static inline void
fill_message(KafkaMessage *msg, rd_kafka_message_t *rkm)
{
	rd_kafka_timestamp_type_t kind;
	int64		ms = rd_kafka_message_timestamp(rkm, &kind);

	msg->value = rkm->payload;
	msg->value_len = rkm->len;
	msg->key = rkm->key;
	msg->key_len = rkm->key_len;
	msg->partition = rkm->partition;
	msg->offset = rkm->offset;
	msg->headers = NULL;
	msg->nheaders = 0;
	msg->handle = rkm;

	/* a producer may send any number: what timestamptz cannot hold is none */
	msg->has_timestamp = kind != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE &&
		ms >= 0 && ms < END_TIMESTAMP / 1000;
	msg->timestamp = msg->has_timestamp ? (ms - KAFKA_EPOCH_MS) * 1000 : 0;
}

int
tm_kafka_message_headers(const KafkaMessage *msg, const KafkaHeader **headers)
{
	rd_kafka_headers_t *list;
	rd_kafka_resp_err_t err;
	KafkaHeader *result;
	int			count;

	*headers = msg->headers;
	if (msg->handle == NULL)
		return msg->nheaders;

	err = rd_kafka_message_headers(msg->handle, &list);
	if (err == RD_KAFKA_RESP_ERR__NOENT)
		return 0;
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read the headers of a Kafka message"),
				 errdetail("The client library reports: %s",
						   rd_kafka_err2str(err))));

	count = (int) rd_kafka_header_cnt(list);
	result = palloc(count * sizeof(KafkaHeader));
	for (int i = 0; i < count; i++)
	{
		const void *value;

		if (rd_kafka_header_get_all(list, i, &result[i].name, &value,
									&result[i].len) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
			elog(ERROR, "Kafka message has fewer headers than it says");
		result[i].value = value;
	}
	*headers = result;
	return count;
}

/* Make the descriptor readable. */
static void
signal_descriptor(KafkaConsumer *consumer)
{
	const uint64 one = 1;

	/* fails only when it is readable for sure */
	if (write(consumer->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		elog(ERROR, "could not signal the event descriptor: %m");
}

/* Take a chunk from a queue of the library.  False when there is nothing. */
static bool
fetch_chunk(KafkaConsumer *consumer, int max_messages)
{
	int			room = max_messages - consumer->batch_count;
	ssize_t		n;

	/* with a timeout this call would wait for a full array */
	if (consumer->ordered)
		n = tm_kafka_order_fetch(consumer, room, max_messages);
	else
		n = tm_kafka_error_consume(consumer, consumer->consumer_queue, 0,
								   consumer->chunk, Min(room, KAFKA_CHUNK));
	consumer->chunk_next = 0;
	consumer->chunk_count = (int) Max(n, 0);
	return n > 0;
}

/* The partition is read to its end. */
static void
handle_end(KafkaConsumer *consumer, rd_kafka_message_t *rkm)
{
	KafkaPartition *part = find_partition(consumer, rkm->partition);

	if (part != NULL && rkm->offset >= part->position)
	{
		/* what lies between are control records, aborted or compacted away */
		part->position = rkm->offset;
		part->at_end = true;
	}
}

/*
 * An answer that is too large for us ends its connection, and with it what else
 * was asked there: newer libraries say so of the group's coordinator, which
 * names no topic.  The answer itself has been told by then.
 */
static bool
is_of_coordinator(const rd_kafka_message_t *rkm)
{
	return rkm->err == RD_KAFKA_RESP_ERR__BAD_MSG && rkm->rkt == NULL;
}

/*
 * Handle something in the queue that is not a message, and destroy it.
 * Returns false, and leaves it, when it has to be thrown but messages of the
 * batch go before.
 */
static bool
handle_event(KafkaConsumer *consumer, rd_kafka_message_t *rkm)
{
	rd_kafka_resp_err_t err = rkm->err;
	int			partition = rkm->partition;
	int64		offset = rkm->offset;
	KafkaPartition *part = find_partition(consumer, partition);
	char		message[KAFKA_TEXT_SIZE];

	if (err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
	{
		tm_kafka_error_answered(consumer);
		handle_end(consumer, rkm);
	}
	else if (tm_kafka_error_classify(err) == KAFKA_ERROR_PASSING)
		tm_kafka_error_note(consumer, err, rd_kafka_message_errstr(rkm));
	else if (tm_kafka_error_classify(err) == KAFKA_ERROR_LASTING && !is_of_coordinator(rkm))
	{
		if (consumer->batch_count > 0)
			return false;
		tm_kafka_error_text(consumer->secrets, rd_kafka_message_errstr(rkm),
							message, sizeof(message));
		rd_kafka_message_destroy(rkm);
		consumer->chunk_next++;
		signal_descriptor(consumer);	/* for what is left */
		if (part != NULL)
			offset = part->position;
		tm_kafka_error_throw(consumer, err, partition, offset, message);
	}
	rd_kafka_message_destroy(rkm);
	consumer->chunk_next++;
	return true;
}

/* Room for more messages in the batch. */
static void
grow_batch(KafkaConsumer *consumer)
{
	int			size = Max(consumer->batch_size * 2, KAFKA_CHUNK);

	if (consumer->batch == NULL)
		consumer->batch = MemoryContextAllocHuge(consumer->cxt,
												 size * sizeof(KafkaMessage));
	else
		consumer->batch = repalloc_huge(consumer->batch,
										size * sizeof(KafkaMessage));
	consumer->batch_size = size;
}

/*
 * Move messages from the chunk to the batch.  Returns false when something has
 * to stay in the chunk.
 */
static bool
take_chunk(KafkaConsumer *consumer, int max_messages, size_t max_bytes)
{
	while (consumer->chunk_next < consumer->chunk_count)
	{
		rd_kafka_message_t *rkm = consumer->chunk[consumer->chunk_next];
		KafkaPartition *part;
		size_t		bytes;

		if (unlikely(rkm->err != RD_KAFKA_RESP_ERR_NO_ERROR))
		{
			if (!handle_event(consumer, rkm))
				return false;
			continue;
		}

		/* the library filters what is outdated, but invariant 2 is ours */
		part = find_partition(consumer, rkm->partition);
		if (unlikely(part == NULL || rkm->offset < part->position))
		{
			rd_kafka_message_destroy(rkm);
			consumer->chunk_next++;
			continue;
		}

		bytes = rkm->len + rkm->key_len;
		if (consumer->batch_count > 0 &&
			(consumer->batch_count >= max_messages ||
			 consumer->batch_bytes + bytes > max_bytes))
			return false;
		if (unlikely(consumer->batch_count >= consumer->batch_size))
			grow_batch(consumer);

		fill_message(&consumer->batch[consumer->batch_count], rkm);
		part->position = rkm->offset + 1;
		part->at_end = false;
		part->time = consumer->batch[consumer->batch_count].timestamp;
		consumer->chunk_next++;
		consumer->batch_count++;
		consumer->batch_bytes += bytes;
	}
	return true;
}

/*
 * Throw an error of no single partition, if there is one.  Like that of a
 * partition it waits until the messages before it are released.
 */
static void
throw_failure(KafkaConsumer *consumer)
{
	rd_kafka_resp_err_t failure = consumer->failure;

	if (failure == RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	consumer->failure = RD_KAFKA_RESP_ERR_NO_ERROR;
	tm_kafka_error_throw(consumer, failure, -1, KAFKA_OFFSET_NONE,
						 consumer->failure_text);
}

int
tm_kafka_consumer_poll(KafkaConsumer *consumer, int max_messages,
					   size_t max_bytes)
{
	int			before = consumer->batch_count;
	bool		empty = false;

	/* what was lost before messages came is not lost any more */
	tm_kafka_error_drain(consumer);
	tm_kafka_order_begin(consumer);
	while (take_chunk(consumer, max_messages, max_bytes) &&
		   consumer->batch_count < max_messages &&
		   consumer->batch_bytes < max_bytes)
	{
		if (!fetch_chunk(consumer, max_messages))
		{
			empty = true;
			break;
		}
	}
	if (consumer->batch_count > before)
	{
		tm_kafka_error_clear(consumer);
		consumer->is_new = false;
	}

	/*
	 * What was queued for the assignment before may have filled the queue;
	 * the library has thrown it away now, unnoticed by who fetches.
	 */
	else if (consumer->is_new && empty)
		tm_kafka_order_wake(consumer);

	/* after the messages: a connection was lost after they came */
	tm_kafka_error_drain(consumer);
	if (!empty || consumer->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
		signal_descriptor(consumer);
	if (consumer->batch_count == 0)
		throw_failure(consumer);
	return consumer->batch_count - before;
}

bool
tm_kafka_consumer_is_full(const KafkaConsumer *consumer)
{
	return consumer->batch_count > 0 && consumer->chunk_next < consumer->chunk_count;
}

const KafkaMessage *
tm_kafka_consumer_batch(const KafkaConsumer *consumer, int *count,
						size_t *bytes)
{
	*count = consumer->batch_count;
	if (bytes != NULL)
		*bytes = consumer->batch_bytes;
	return consumer->batch;
}

void
tm_kafka_consumer_release(KafkaConsumer *consumer)
{
	for (int i = 0; i < consumer->batch_count; i++)
		rd_kafka_message_destroy(consumer->batch[i].handle);

	/* often enough that a full queue is seen not to be full any more */
	consumer->released_bytes += consumer->batch_bytes;
	if (consumer->released_bytes > consumer->queue_bytes / 4)
	{
		consumer->released_bytes = 0;
		tm_kafka_order_wake(consumer);
	}
	consumer->batch_count = 0;
	consumer->batch_bytes = 0;
}

int
tm_kafka_consumer_fd(KafkaConsumer *consumer)
{
	return consumer->fd;
}

void
tm_kafka_consumer_drain_fd(KafkaConsumer *consumer)
{
	uint64		count;

	if (read(consumer->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		elog(ERROR, "could not read the event descriptor: %m");
}

/* ---- one message ---- */

/* Stop reading, but keep what came. */
static void
end_single(KafkaConsumer *consumer, int partition)
{
	consumer->partitions[partition].assigned = false;
	(void) rd_kafka_assign(consumer->rk, NULL);
}

/* No message, nor anything that says why. */
static void
throw_single_timeout(KafkaConsumer *consumer, int partition, int64 offset, int timeout_ms)
{
	end_single(consumer, partition);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not read partition %d of topic \"%s\" at offset %lld",
					partition, consumer->topic, (long long) offset),
			 consumer->in_trouble ?
			 errdetail("The client library reports: %s",
					   consumer->trouble_text) :
			 errdetail("No Kafka broker answered within %d ms.",
					   timeout_ms)));
}

/*
 * Take one thing from the queue of the partition: the message that was asked
 * for goes to consumer->single.  With probe, what is wrong is not said but
 * returned: false.
 */
static bool
take_single(KafkaConsumer *consumer, int partition, int64 offset, bool probe)
{
	rd_kafka_message_t *rkm;

	CHECK_FOR_INTERRUPTS();
	tm_kafka_error_drain(consumer);
	if (!probe)
		throw_failure(consumer);
	if (tm_kafka_error_consume(consumer,
							   consumer->ordered ?
							   consumer->partitions[partition].queue :
							   consumer->consumer_queue,
							   KAFKA_SLICE_MS, consumer->chunk, 1) <= 0)
		return true;
	consumer->chunk_next = 0;
	consumer->chunk_count = 1;
	rkm = consumer->chunk[0];
	if (rkm->err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (probe && rkm->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
		{
			rd_kafka_message_destroy(rkm);
			consumer->chunk_next = 1;
			return false;
		}
		(void) handle_event(consumer, rkm);
		return true;
	}
	consumer->chunk_next = 1;
	if (rkm->partition != partition || rkm->offset < offset)
		rd_kafka_message_destroy(rkm);
	else
		consumer->single = rkm;
	return true;
}

/*
 * Read from there until a message came or the partition ended.  False, with
 * probe only, when something else did.
 */
static bool
read_single(KafkaConsumer *consumer, int partition, int64 offset, int timeout_ms, bool probe)
{
	int32		number = partition;
	int64		deadline = tm_clock_monotonic_us() + (int64) timeout_ms * 1000;

	tm_kafka_consumer_assign(consumer, 1, &number, &offset);
	while (consumer->single == NULL && !consumer->partitions[partition].at_end)
	{
		if (tm_clock_monotonic_us() >= deadline)
		{
			if (probe)
				return false;
			throw_single_timeout(consumer, partition, offset, timeout_ms);
		}
		if (!take_single(consumer, partition, offset, probe))
			return false;
	}
	return true;
}

const KafkaMessage *
tm_kafka_consumer_fetch_one(KafkaConsumer *consumer, int partition,
							int64 offset, int timeout_ms)
{
	int64		earliest;
	int64		end;

	Assert(consumer->batch_count == 0);
	tm_kafka_consumer_discard(consumer);

	/*
	 * Most of the time it is there, and one round trip is all it takes.
	 * Otherwise we find out first where the partition begins and ends.
	 */
	if (!read_single(consumer, partition, offset, Min(timeout_ms, KAFKA_SLICE_MS), true))
	{
		end_single(consumer, partition);
		tm_kafka_consumer_query_offsets(consumer, partition, 1, &earliest, &end,
										timeout_ms);
		if (offset >= end)
			return NULL;
		(void) read_single(consumer, partition, Max(offset, earliest), timeout_ms, false);
	}

	end_single(consumer, partition);
	if (consumer->single == NULL)
		return NULL;
	tm_kafka_error_clear(consumer);
	fill_message(&consumer->single_message, consumer->single);
	return &consumer->single_message;
}
