/*
 * kafka.h
 *	  Door of the kafka room: librdkafka behind types of our own.
 *
 * Nobody above this room sees a librdkafka type.  A message is pointers and
 * lengths, never a C string.  Every handle belongs to a memory context (reset
 * callback), so an error anywhere above frees it.  librdkafka's threads never
 * call PostgreSQL; no handle is made in the postmaster.
 *
 * Calls that wait for a broker do so in slices of at most 800 ms with
 * CHECK_FOR_INTERRUPTS() between them.
 *
 * Errors: class 08 (connection) when a broker cannot be reached or does not
 * answer, 28000 when it refuses the credentials, 42501 when it refuses the
 * topic, 42P01 when the topic does not exist; see kafka_error.c.
 */
#ifndef TM_KAFKA_H
#define TM_KAFKA_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* Positions with a meaning, as start offsets and in answers. */
#define KAFKA_OFFSET_NONE		(-1)	/* unknown */

typedef struct KafkaHeader
{
	const char *name;			/* NUL-terminated */
	const char *value;			/* NULL for a null value */
	size_t		len;
} KafkaHeader;

/*
 * One message.  value and key are NULL for null (a tombstone, no key); bytes
 * are neither NUL-terminated nor valid in any encoding.  SIMD padding: at
 * least 64 readable bytes after value are NOT promised.
 */
typedef struct KafkaMessage
{
	const char *value;
	size_t		value_len;
	const char *key;
	size_t		key_len;
	int32		partition;
	int64		offset;
	bool		has_timestamp;
	TimestampTz timestamp;		/* Kafka's, when has_timestamp */
	/* headers: either already here, or behind handle until asked for */
	const KafkaHeader *headers;
	int			nheaders;
	void	   *handle;			/* the client library's message, or NULL */
} KafkaMessage;

/* Fetch the headers of a message: count as result, array palloc'd. */
extern int	tm_kafka_message_headers(const KafkaMessage *msg,
									 const KafkaHeader **headers);

/* ---- configuration (kafka_config.c) ---- */

/* One property under librdkafka's own name ("bootstrap.servers"). */
typedef struct KafkaProperty
{
	const char *name;
	const char *value;
} KafkaProperty;

typedef enum KafkaPropertyClass
{
	KAFKA_PROPERTY_UNKNOWN,		/* not on the allow-list */
	KAFKA_PROPERTY_PLAIN,		/* anyone may set it on a server */
	KAFKA_PROPERTY_FILE,		/* names a file of the host: superuser only */
	KAFKA_PROPERTY_SECRET,		/* user mapping only */
} KafkaPropertyClass;

/*
 * Class of a property by option name: "_" and "." are the same.  *property
 * receives librdkafka's spelling when known.
 */
extern KafkaPropertyClass tm_kafka_property_classify(const char *option,
													 const char **property);

/* Every option name that is allowed, "_" spelling, sorted: for hints. */
extern List *tm_kafka_property_names(KafkaPropertyClass cls);

/*
 * Would librdkafka take this value?  22023 with the library's reason, the value
 * itself left out when the property is a secret.
 */
extern void tm_kafka_property_check(const char *property, const char *value);

/* ---- consumer (kafka_client.c, kafka_consumer.c, kafka_query.c) ---- */

typedef struct KafkaConsumer KafkaConsumer;

typedef struct KafkaConsumerOptions
{
	List	   *properties;		/* of KafkaProperty *, from server and mapping */
	const char *topic;
	const char *client_id;
	const char *group_id;		/* for store_group(), or NULL */
	bool		read_committed;
	int			queued_kbytes;	/* cap of what waits in the library */
	int			npartitions;	/* > 0: so many are going to be assigned, and
								 * poll() reads them in order of time */
	bool		low_latency;	/* worker: fetch.wait small; scan: throughput */
	bool		single;			/* for fetch_one() alone: fetches no more than
								 * it has to */
} KafkaConsumerOptions;

/*
 * Connects lazily; the handle lives in cxt.  Throws 22023 for a property the
 * library refuses.
 */
extern KafkaConsumer *tm_kafka_consumer_open(const KafkaConsumerOptions *options,
											 MemoryContext cxt);
extern void tm_kafka_consumer_close(KafkaConsumer *consumer);

/* Partitions 0..n-1 of the topic.  Waits up to timeout_ms. */
extern int	tm_kafka_consumer_partitions(KafkaConsumer *consumer, int timeout_ms);

/* Cluster id of the brokers, palloc'd. */
extern char *tm_kafka_consumer_cluster_id(KafkaConsumer *consumer, int timeout_ms);

/*
 * Earliest and end offsets of partitions first .. first + n - 1 (end: last stable
 * under read_committed); earliest may be NULL, which saves a question.  Waits up
 * to timeout_ms for each thousand.
 */
extern void tm_kafka_consumer_query_offsets(KafkaConsumer *consumer, int first, int n,
											int64 *earliest, int64 *end, int timeout_ms);

/*
 * The end offset alone (last stable under read_committed); false, in the time
 * given, when there is no answer.
 */
extern bool tm_kafka_consumer_try_end(KafkaConsumer *consumer, int32 partition,
									  int64 *end, int timeout_ms);

/*
 * End offsets of partitions 0 .. n-1, palloc'd.  False when the brokers have not
 * answered in time; other errors are thrown.
 */
extern bool tm_kafka_consumer_try_ends(KafkaConsumer *consumer, int *n,
									   int64 **ends, int timeout_ms);

/*
 * First offset of each partition whose timestamp is >= time; the end offset
 * where there is none.  Waits up to timeout_ms for each thousand.
 */
extern void tm_kafka_consumer_offsets_for_time(KafkaConsumer *consumer, int npartitions,
											   const int32 *partitions, TimestampTz time,
											   int64 *offsets, int timeout_ms);

/*
 * Start reading exactly these partitions at exactly these offsets (replaces
 * what was assigned before).
 */
extern void tm_kafka_consumer_assign(KafkaConsumer *consumer, int npartitions,
									 const int32 *partitions, const int64 *offsets);

/*
 * Go on at these offsets of partitions that are assigned; none is below the
 * position.  The others are not disturbed.
 */
extern void tm_kafka_consumer_skip(KafkaConsumer *consumer, int npartitions,
								   const int32 *partitions, const int64 *offsets);

/*
 * A batch of messages, zero copy: they stay valid until release.  poll() never
 * waits; it appends what the library has until the batch has reached one of the
 * limits, and says how many messages it added.  A message larger than max_bytes is taken when the batch
 * is empty.  Per partition in offset order; in order of time also across
 * partitions, roughly and by Kafka's timestamps, as far as the messages are at
 * hand.
 *
 * Throws for what will not pass without help: unknown topic or partition,
 * offset out of range (22003, with partition, offset, and the range), fatal
 * errors, refused credentials.  A lost connection is not thrown: see
 * tm_kafka_consumer_trouble().
 */
extern int	tm_kafka_consumer_poll(KafkaConsumer *consumer, int max_messages,
								   size_t max_bytes);

/*
 * Microseconds for which poll() may still hold messages back, because those of
 * another partition should go first; -1 when it holds back nothing.  Call poll()
 * again then; the descriptor does not tell.
 */
extern int64 tm_kafka_consumer_hold_us(const KafkaConsumer *consumer);

/* Is a message at hand that did not fit into the batch any more? */
extern bool tm_kafka_consumer_is_full(const KafkaConsumer *consumer);
extern const KafkaMessage *tm_kafka_consumer_batch(const KafkaConsumer *consumer,
												   int *count, size_t *bytes);
extern void tm_kafka_consumer_release(KafkaConsumer *consumer);

/*
 * Where reading stands, per assigned partition: *position is the next offset
 * that poll() would give, past trailing control records once at_end; *end is
 * the end offset last heard of, by a fetch or try_end() (KAFKA_OFFSET_NONE before the
 * first answer); a fetch counts messages of open transactions, too;
 * at_end: position reached the end offset known at the last end-of-partition
 * event, and no message was given since.  False if partition is not assigned.
 */
typedef struct KafkaPosition
{
	int64		position;
	int64		end;
	bool		at_end;
} KafkaPosition;

extern bool tm_kafka_consumer_position(KafkaConsumer *consumer, int partition,
									   KafkaPosition *position);

/* File descriptor that becomes readable when poll() may have something. */
extern int	tm_kafka_consumer_fd(KafkaConsumer *consumer);

/* Empty the descriptor after it was readable, before poll(). */
extern void tm_kafka_consumer_drain_fd(KafkaConsumer *consumer);

/*
 * Why the consumer has no connection at the moment, or NULL when a broker
 * answers: one line for people, no secrets.  Valid until the next call.
 */
extern const char *tm_kafka_consumer_trouble(KafkaConsumer *consumer);

/*
 * How often something was reported that broke the flow of messages: a lost
 * connection, a broker's error, a partition without leader.  Errors of single
 * fetches are not reported; after one a partition rests for
 * KAFKA_FETCH_BACKOFF_MS.
 */
#define KAFKA_FETCH_BACKOFF_MS	500

extern int64 tm_kafka_consumer_disturbances(const KafkaConsumer *consumer);

/* Commit offsets to a consumer group for lag tools: asynchronous, never read. */
extern void tm_kafka_consumer_store_group(KafkaConsumer *consumer, int npartitions,
										  const int32 *partitions, const int64 *offsets);

/*
 * Read one message by position: the first at an offset >= offset, or NULL when
 * the partition ends before one.  Disturbs the assignment: use before
 * assign().  The message is valid until the next call.
 */
extern const KafkaMessage *tm_kafka_consumer_fetch_one(KafkaConsumer *consumer,
													   int partition, int64 offset,
													   int timeout_ms);

#endif							/* TM_KAFKA_H */
