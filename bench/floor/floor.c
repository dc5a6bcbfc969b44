/*
 * floor.c
 *	  What a message costs before anything is done with it: a bare librdkafka
 *	  batch consumer that reads a topic from its start to its end.
 *
 * floor BROKERS TOPIC [PROPERTY=VALUE ...]
 *
 * Prints messages, bytes, CPU seconds of the whole process (librdkafka's
 * threads included) and microseconds of CPU per message: the F of bench/run.
 *
 * floor --latency SECONDS BROKERS TOPIC [PROPERTY=VALUE ...]
 *
 * Reads what comes from now on, and prints how old messages are by their
 * timestamp when they come, in milliseconds: 50th, 99th and 99.9th percentile,
 * and the oldest.  That is what producer and broker need.
 */
#define _GNU_SOURCE
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 10000
#define AGE_MAX 60000			/* milliseconds; the oldest are counted there */

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "floor: %s: %s\n", what, why);
	exit(1);
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		why[512];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
		fail(name, why);
}

static rd_kafka_t *
open_consumer(const char *brokers, int nproperties, char **properties)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *consumer;
	char		why[512];

	set(conf, "bootstrap.servers", brokers);
	set(conf, "group.id", "floor");
	set(conf, "enable.auto.commit", "false");
	set(conf, "enable.auto.offset.store", "false");
	set(conf, "enable.partition.eof", "true");
	for (int i = 0; i < nproperties; i++)
	{
		char	   *value = strchr(properties[i], '=');

		if (value == NULL)
			fail(properties[i], "not PROPERTY=VALUE");
		*value = '\0';
		set(conf, properties[i], value + 1);
	}
	consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	if (consumer == NULL)
		fail(brokers, why);
	rd_kafka_poll_set_consumer(consumer);
	return consumer;
}

/* Assign all partitions; returns how many there are. */
static int
assign_topic(rd_kafka_t *consumer, const char *topic, int64_t offset)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *handle = rd_kafka_topic_new(consumer, topic, NULL);
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t error;
	int			partitions;

	error = rd_kafka_metadata(consumer, 0, handle, &metadata, 10000);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail(topic, rd_kafka_err2str(error));
	if (metadata->topic_cnt != 1 || metadata->topics[0].partition_cnt == 0)
		fail(topic, "no such topic");
	partitions = metadata->topics[0].partition_cnt;
	list = rd_kafka_topic_partition_list_new(partitions);
	for (int i = 0; i < partitions; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = offset;
	error = rd_kafka_assign(consumer, list);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail(topic, rd_kafka_err2str(error));
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(handle);
	return partitions;
}

static void
read_all(rd_kafka_t *consumer, const char *topic)
{
	static rd_kafka_message_t *batch[BATCH];
	rd_kafka_queue_t *queue;
	int			unfinished = assign_topic(consumer, topic, RD_KAFKA_OFFSET_BEGINNING);
	long		messages = 0;
	double		bytes = 0;
	double		cpu = cpu_seconds();

	queue = rd_kafka_queue_get_consumer(consumer);
	while (unfinished > 0)
	{
		ssize_t		n = rd_kafka_consume_batch_queue(queue, 100, batch, BATCH);

		for (ssize_t i = 0; i < n; i++)
		{
			if (batch[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
				unfinished--;
			else if (batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			{
				messages++;
				bytes += (double) batch[i]->len;
			}
			else
				fail(topic, rd_kafka_message_errstr(batch[i]));
			rd_kafka_message_destroy(batch[i]);
		}
	}
	cpu = cpu_seconds() - cpu;
	printf("%ld messages, %.0f bytes, %.3f s CPU, %.4f us/message\n",
		   messages, bytes, cpu, messages > 0 ? cpu * 1e6 / (double) messages : 0.0);
	rd_kafka_queue_destroy(queue);
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The age that so many of the messages do not exceed. */
static int
percentile(const long *ages, long messages, double part)
{
	double		left = (double) messages * part;

	for (int age = 0; age < AGE_MAX; age++)
		if ((left -= (double) ages[age]) <= 0)
			return age;
	return AGE_MAX;
}

static void
measure_ages(rd_kafka_t *consumer, const char *topic, int seconds)
{
	static long ages[AGE_MAX + 1];
	int64_t		end = now_ms() + seconds * INT64_C(1000);
	long		messages = 0;
	int			oldest = 0;

	(void) assign_topic(consumer, topic, RD_KAFKA_OFFSET_END);
	while (now_ms() < end)
	{
		rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
		int64_t		age;

		if (message == NULL)
			continue;
		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			age = now_ms() - rd_kafka_message_timestamp(message, NULL);
			age = age < 0 ? 0 : age > AGE_MAX ? AGE_MAX : age;
			ages[age]++;
			messages++;
			oldest = age > oldest ? (int) age : oldest;
		}
		else if (message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
			fail(topic, rd_kafka_message_errstr(message));
		rd_kafka_message_destroy(message);
	}
	printf("%ld messages, %d ms p50, %d ms p99, %d ms p99.9, %d ms max\n", messages,
		   percentile(ages, messages, 0.5), percentile(ages, messages, 0.99),
		   percentile(ages, messages, 0.999), oldest);
}

int
main(int argc, char **argv)
{
	rd_kafka_t *consumer;
	int			seconds = 0;

	if (argc > 2 && strcmp(argv[1], "--latency") == 0)
	{
		seconds = atoi(argv[2]);
		argc -= 2;
		argv += 2;
	}
	if (argc < 3)
	{
		fputs("floor [--latency SECONDS] BROKERS TOPIC [PROPERTY=VALUE ...]\n", stderr);
		return 2;
	}
	consumer = open_consumer(argv[1], argc - 3, argv + 3);
	if (seconds > 0)
		measure_ages(consumer, argv[2], seconds);
	else
		read_all(consumer, argv[2]);
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
	return 0;
}
