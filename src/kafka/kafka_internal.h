/*
 * kafka_internal.h
 *	  What the files of the kafka room share; nobody else includes it.
 */
#ifndef TM_KAFKA_INTERNAL_H
#define TM_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>

#include "lib/ilist.h"
#include "nodes/pg_list.h"

#include "kafka/kafka.h"

/* Longest time in one call of the client library, in ms. */
#define KAFKA_SLICE_MS		200
#define KAFKA_SLICE_MAX_MS	800

/* Messages taken from the library's queue at a time. */
#define KAFKA_CHUNK			1024

/* Room for one line of the client library. */
#define KAFKA_TEXT_SIZE		512

/* Where reading of one partition stands; index = partition number. */
typedef struct KafkaPartition
{
	bool		assigned;
	bool		at_end;			/* see KafkaPosition */
	int64		position;		/* next offset that poll() gives */
	int64		asked_end;		/* last answer to try_end(), */
	int64		asked_high;		/* and what fetches had said by then */

	/* of a consumer that reads in order of time: see kafka_order.c */
	rd_kafka_queue_t *queue;	/* NULL before the first assignment */
	TimestampTz time;			/* of the last message given, or 0 */
	int64		turn;			/* when it was its turn */
	int64		held_since;		/* others wait for it; 0 = they did not yet */
	bool		passed;			/* not to be looked at in this poll() */
} KafkaPartition;

struct KafkaConsumer
{
	MemoryContext cxt;			/* holds all of this; its reset callback frees
								 * the handles below */
	dlist_node	node;			/* in the list of open consumers, while open */
	bool		open;
	char	   *topic;
	char	   *group_id;		/* NULL: offsets are never committed to Kafka */
	List	   *secrets;		/* of char *: never shown */
	bool		ordered;		/* each partition has a queue of its own */
	char	   *username;		/* as configured, or NULL */
	char	   *password;

	/* Handles of the client library, NULL when not (or no longer) there. */
	rd_kafka_conf_t *conf;		/* until rk took it over */
	rd_kafka_t *rk;
	rd_kafka_topic_t *rkt;
	rd_kafka_queue_t *main_queue;	/* errors and log lines */
	rd_kafka_queue_t *consumer_queue;	/* messages and partition errors */
	int			fd;				/* eventfd, or -1 */

	int			npartitions;	/* entries in partitions */
	KafkaPartition *partitions;
	int			nassigned;

	/* see kafka_order.c */
	TimestampTz now;			/* when the last poll() began */
	int64		turns;
	int64		hold_until;		/* 0 = nothing is held back */
	int64		queue_bytes;	/* limit of what waits in the library */
	int64		released_bytes; /* given since its threads were woken up */
	bool		is_new;			/* assigned, and no message came yet */

	/* The batch: given to the caller, destroyed at release. */
	KafkaMessage *batch;
	int			batch_count;
	int			batch_size;
	size_t		batch_bytes;

	/* Taken from the library's queue, not yet given: chunk[next .. count) */
	rd_kafka_message_t **chunk;
	int			chunk_next;
	int			chunk_count;

	/* Answer of the last fetch_one(). */
	rd_kafka_message_t *single;
	KafkaMessage single_message;

	/* An error without partition that will not pass without help. */
	rd_kafka_resp_err_t failure;
	char		failure_text[KAFKA_TEXT_SIZE];

	/* The connection as we know it; times are monotonic microseconds. */
	bool		in_trouble;
	bool		refuses_answer; /* too large for us; until messages come */
	char		trouble_text[KAFKA_TEXT_SIZE];
	int64		last_answer;	/* a broker answered something */
	int64		last_probe;		/* we asked whether one does */
	int64		disturbances;	/* see kafka.h */
};

/* ---- kafka_error.c ---- */

typedef enum KafkaErrorClass
{
	KAFKA_ERROR_PASSING,		/* the library goes on by itself */
	KAFKA_ERROR_LASTING,		/* somebody has to do something */
	KAFKA_ERROR_IGNORED,		/* no concern of ours */
} KafkaErrorClass;

extern KafkaErrorClass tm_kafka_error_classify(rd_kafka_resp_err_t err);

/* The offset asked for is not, or no longer, in the partition. */
extern bool tm_kafka_error_is_range(rd_kafka_resp_err_t err);

/*
 * Copy a text of the library into buf: one line, printable ASCII, every
 * secret replaced.
 */
extern void tm_kafka_error_text(List *secrets, const char *message, char *buf,
								size_t size);

/*
 * Throw err.  partition < 0: the error concerns the topic or the connection.
 * detail is a text from tm_kafka_error_text(), or NULL.
 */
extern void tm_kafka_error_throw(KafkaConsumer *consumer,
								 rd_kafka_resp_err_t err, int partition,
								 int64 offset, const char *detail)
			__attribute__((noreturn));

/*
 * Take errors and log lines off the main queue: errors into failure or
 * trouble_text, log lines to the server's log at DEBUG1.
 */
extern void tm_kafka_error_drain(KafkaConsumer *consumer);

/* An error of no single partition: into failure when it lasts, else noted. */
extern void tm_kafka_error_record(KafkaConsumer *consumer,
								  rd_kafka_resp_err_t err, const char *message);

/* The library's error callback; it acts only inside the next function. */
extern void tm_kafka_error_callback(rd_kafka_t *rk, int err,
									const char *reason, void *opaque);

/* rd_kafka_consume_batch_queue(), recording what the callback reports. */
extern ssize_t tm_kafka_error_consume(KafkaConsumer *consumer,
									  rd_kafka_queue_t *queue, int timeout_ms,
									  rd_kafka_message_t **messages,
									  size_t size);

/* A broker cannot be reached: remember why. */
extern void tm_kafka_error_note(KafkaConsumer *consumer,
								rd_kafka_resp_err_t err, const char *message);

/* A broker has answered something; it has given messages. */
extern void tm_kafka_error_answered(KafkaConsumer *consumer);
extern void tm_kafka_error_clear(KafkaConsumer *consumer);

/* ---- kafka_config.c ---- */

/*
 * Fill consumer->conf, and consumer->secrets first.  Throws 22023 for a
 * property that is not on the allow-list or that the library refuses.
 */
extern void tm_kafka_config_build(KafkaConsumer *consumer,
								  const KafkaConsumerOptions *options);

/* ---- kafka_consumer.c ---- */

/* Destroy what was taken from the library but is in no batch. */
extern void tm_kafka_consumer_discard(KafkaConsumer *consumer);

/* A broker has told the end of a partition. */
extern void tm_kafka_consumer_note_end(KafkaConsumer *consumer, int32 partition, int64 end);

/* ---- kafka_order.c ---- */

/* Give a partition a queue of its own; before it is assigned. */
extern void tm_kafka_order_open(KafkaConsumer *consumer, int32 partition);

/* Give the queues back.  Does not throw. */
extern void tm_kafka_order_close(KafkaConsumer *consumer);

/* A poll() begins: all partitions are looked at again. */
extern void tm_kafka_order_begin(KafkaConsumer *consumer);

/*
 * Take a chunk from the queue of the partition furthest behind.  room: for so
 * many messages in a batch of max_messages.  0: there is nothing, or it is held
 * back.
 */
extern ssize_t tm_kafka_order_fetch(KafkaConsumer *consumer, int room,
									int max_messages);

/* Let the library look at its queues now. */
extern void tm_kafka_order_wake(KafkaConsumer *consumer);

/* ---- kafka_query.c ---- */

/* Like tm_kafka_consumer_query_offsets(), but false instead of an error. */
extern bool tm_kafka_query_try_offsets(KafkaConsumer *consumer, int partition,
									   int64 *earliest, int64 *end,
									   int timeout_ms);

#endif							/* TM_KAFKA_INTERNAL_H */
