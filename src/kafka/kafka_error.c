/*
 * kafka_error.c
 *	  Errors of librdkafka: which SQLSTATE, which will pass, what to say.
 *
 * librdkafka reports in four ways: as the result of a call, as a message of
 * a partition that carries an error, as an event on the main queue (state of
 * connections, log lines), and by a callback while messages are taken (a topic
 * that vanished).  All of them end here.
 *
 * An error that a partition reports is assumed to last unless it is listed as
 * passing: the library skips what it cannot parse, so going on after a code
 * that we do not know could lose messages.  Events and callbacks lose nothing,
 * so there only refused credentials, missing topics and fatal errors last.
 *
 * Runs in: the thread of the backend only.  The library's own threads put
 * events into queues that the backend serves.
 */
#include "postgres.h"

#include "base/clock.h"
#include "kafka/kafka_internal.h"

/* Events taken per call, so that a flood cannot keep the caller. */
#define KAFKA_EVENTS_MAX	100

/*
 * The consumer whose queue this thread is taking messages from.  NULL in the
 * library's threads, so that a callback there could do nothing.
 */
static __thread KafkaConsumer *serving = NULL;

KafkaErrorClass
tm_kafka_error_classify(rd_kafka_resp_err_t err)
{
	switch (err)
	{
			/* connections */
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR__SSL:
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
		case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
		case RD_KAFKA_RESP_ERR__NODE_UPDATE:
		case RD_KAFKA_RESP_ERR__WAIT_CACHE:
		case RD_KAFKA_RESP_ERR__IN_PROGRESS:
		case RD_KAFKA_RESP_ERR__INTR:
		case RD_KAFKA_RESP_ERR__RETRY:
		case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
			/* brokers that start, stop, or change roles */
		case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
		case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
		case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
		case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
		case RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND:
		case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND:
		case RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH:
		case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
			return KAFKA_ERROR_PASSING;

			/* the consumer group serves lag tools only */
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
		case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
		case RD_KAFKA_RESP_ERR__WAIT_COORD:
		case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
		case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
		case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
			return KAFKA_ERROR_IGNORED;

		default:
			return KAFKA_ERROR_LASTING;
	}
}

bool
tm_kafka_error_is_range(rd_kafka_resp_err_t err)
{
#if RD_KAFKA_VERSION >= 0x020100ff
	if (err == RD_KAFKA_RESP_ERR__LOG_TRUNCATION)
		return true;
#endif
	return err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
		err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
}

/* The broker knows us not, or not with this password. */
static bool
is_authentication(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
		err == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED ||
		err == RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM ||
		err == RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE;
}

/*
 * Before 2.6.1 the library repeats its half of the nonce (librdkafka #4895),
 * which newer brokers do not accept.  They call the mechanism by its name.
 */
static const char *
authentication_hint(const char *detail)
{
	if (strstr(detail, "SCRAM") != NULL && rd_kafka_version() < 0x020601ff)
		return psprintf("Check the options of the user mapping. If they are right: SCRAM of librdkafka %s, older than 2.6.1, is refused by Kafka 4; use sasl_mechanism 'PLAIN' over SSL, a client certificate, or a newer library.",
						rd_kafka_version_str());
	return "Check the options of the user mapping.";
}

/* The topic or a partition of it is not there. */
static bool
is_missing(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
		err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
		err == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
}

void
tm_kafka_error_text(List *secrets, const char *message, char *buf, size_t size)
{
	size_t		used = 0;

	while (*message != '\0' && used < size - 1)
	{
		ListCell   *lc;
		size_t		skip = 0;

		foreach(lc, secrets)
		{
			const char *secret = lfirst(lc);
			size_t		len = strlen(secret);

			if (len > skip && strncmp(message, secret, len) == 0)
				skip = len;
		}
		if (skip > 0)
		{
			used = strlcpy(buf + used, "***", size - used) + used;
			used = Min(used, size - 1);
			message += skip;
			continue;
		}
		if (*message == '\n' || *message == '\t')
			buf[used++] = ' ';
		else if (*message >= 0x20 && *message < 0x7f)
			buf[used++] = *message;
		else
			buf[used++] = '?';
		message++;
	}
	while (used > 0 && buf[used - 1] == ' ')
		used--;
	buf[used] = '\0';
}

/* The offset is outside of the partition; say what the partition has. */
static void
throw_range(KafkaConsumer *consumer, int partition, int64 offset)
{
	int64		earliest;
	int64		end;
	bool		known;

	known = tm_kafka_query_try_offsets(consumer, partition, &earliest, &end,
									   3 * KAFKA_SLICE_MS);
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("offset %lld of partition %d of topic \"%s\" is out of range",
					(long long) offset, partition, consumer->topic),
			 known ? errdetail("The partition holds offsets from %lld up to, but not including, %lld.",
							   (long long) earliest, (long long) end) : 0,
			 errhint("Use tidemark.reset_ingest() to continue from another offset.")));
}

void
tm_kafka_error_throw(KafkaConsumer *consumer, rd_kafka_resp_err_t err,
					 int partition, int64 offset, const char *detail)
{
	if (detail == NULL || detail[0] == '\0')
		detail = rd_kafka_err2str(err);

	if (tm_kafka_error_is_range(err) && partition >= 0)
		throw_range(consumer, partition, offset);

	if (is_authentication(err))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("Kafka broker refused the credentials"),
				 errdetail("The client library reports: %s", detail),
				 errhint("%s", authentication_hint(detail))));

	if (is_missing(err))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 partition >= 0 ?
				 errmsg("partition %d of topic \"%s\" does not exist",
						partition, consumer->topic) :
				 err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ?
				 errmsg("a partition of topic \"%s\" does not exist",
						consumer->topic) :
				 errmsg("topic \"%s\" does not exist", consumer->topic),
				 errdetail("The client library reports: %s", detail),
				 errhint("Reading creates no topics: create it, or correct the stream's topic; an ingest that has failed goes on after tidemark.resume().")));

	if (err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
		err == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("Kafka broker denied permission for topic \"%s\"",
						consumer->topic),
				 errdetail("The client library reports: %s", detail)));

	if (partition < 0)
		ereport(ERROR,
				(errcode(tm_kafka_error_classify(err) == KAFKA_ERROR_LASTING ?
						 ERRCODE_FDW_ERROR : ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not read topic \"%s\"", consumer->topic),
				 errdetail("The client library reports: %s", detail)));
	ereport(ERROR,
			(errcode(tm_kafka_error_classify(err) == KAFKA_ERROR_LASTING ?
					 ERRCODE_DATA_CORRUPTED : ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not read partition %d of topic \"%s\" at offset %lld",
					partition, consumer->topic, (long long) offset),
			 errdetail("The client library reports: %s", detail)));
}

void
tm_kafka_error_note(KafkaConsumer *consumer, rd_kafka_resp_err_t err,
					const char *message)
{
	consumer->disturbances++;
	/* "all brokers are down" says less than the reason that came before it */
	if (consumer->in_trouble && err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		return;
	tm_kafka_error_text(consumer->secrets,
						message != NULL ? message : rd_kafka_err2str(err),
						consumer->trouble_text,
						sizeof(consumer->trouble_text));
	consumer->in_trouble = true;
	/* larger than receive.message.max.bytes: asked for again and again */
	if (err == RD_KAFKA_RESP_ERR__BAD_MSG)
		consumer->refuses_answer = true;
}

void
tm_kafka_error_clear(KafkaConsumer *consumer)
{
	consumer->refuses_answer = false;
	tm_kafka_error_answered(consumer);
}

void
tm_kafka_error_answered(KafkaConsumer *consumer)
{
	consumer->in_trouble = consumer->refuses_answer;
	consumer->last_answer = tm_clock_monotonic_us();
}

/*
 * The library keeps a connection of its own to the coordinator of the consumer
 * group, called "GroupCoordinator: host:port/id" in messages.  Only lag tools
 * profit from it: that it is lost says nothing about reading.
 */
#define COORDINATOR "GroupCoordinator"

static bool
is_lost_coordinator(rd_kafka_resp_err_t err, const char *message)
{
	return message != NULL &&
		strncmp(message, COORDINATOR, strlen(COORDINATOR)) == 0 &&
		tm_kafka_error_classify(err) == KAFKA_ERROR_PASSING;
}

/* A name that tells nothing is not shown: the address follows. */
static const char *
skip_coordinator(const char *message)
{
	const char *rest;

	if (message == NULL || strncmp(message, COORDINATOR, strlen(COORDINATOR)) != 0)
		return message;
	rest = strstr(message, ": ");
	return rest != NULL ? rest + 2 : NULL;
}

void
tm_kafka_error_record(KafkaConsumer *consumer, rd_kafka_resp_err_t err,
					  const char *message)
{
	if (is_lost_coordinator(err, message))
		return;
	message = skip_coordinator(message);
	if (is_authentication(err) || is_missing(err) ||
		err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
		err == RD_KAFKA_RESP_ERR__FATAL)
	{
		consumer->failure = err;
		tm_kafka_error_text(consumer->secrets,
							message != NULL ? message : rd_kafka_err2str(err),
							consumer->failure_text,
							sizeof(consumer->failure_text));
	}
	if (tm_kafka_error_classify(err) != KAFKA_ERROR_IGNORED)
		tm_kafka_error_note(consumer, err, message);
}

void
tm_kafka_error_callback(rd_kafka_t *rk, int err, const char *reason,
						void *opaque)
{
	if (serving != NULL)
		tm_kafka_error_record(serving, err, reason);
}

ssize_t
tm_kafka_error_consume(KafkaConsumer *consumer, rd_kafka_queue_t *queue,
					   int timeout_ms, rd_kafka_message_t **messages,
					   size_t size)
{
	ssize_t		n;

	serving = consumer;
	n = rd_kafka_consume_batch_queue(queue, timeout_ms, messages, size);
	serving = NULL;
	return n;
}

void
tm_kafka_error_drain(KafkaConsumer *consumer)
{
	for (int i = 0; i < KAFKA_EVENTS_MAX; i++)
	{
		rd_kafka_event_t *event = rd_kafka_queue_poll(consumer->main_queue, 0);
		char		line[KAFKA_TEXT_SIZE];
		const char *facility;
		const char *message;
		int			level;

		if (event == NULL)
			break;
		line[0] = '\0';
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			tm_kafka_error_record(consumer,
								  rd_kafka_event_error_is_fatal(event) ?
								  RD_KAFKA_RESP_ERR__FATAL :
								  rd_kafka_event_error(event),
								  rd_kafka_event_error_string(event));
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG &&
				 rd_kafka_event_log(event, &facility, &message, &level) == 0)
			tm_kafka_error_text(consumer->secrets, message, line, sizeof(line));
		rd_kafka_event_destroy(event);

		/* last: it may throw */
		if (line[0] != '\0')
			ereport(DEBUG1,
					(errmsg_internal("Kafka client library: %s", line)));
	}
}
