/*
 * floor.c
 *	  What a message costs before anything is done with it: a bare librdkafka
 *	  batch consumer that reads a topic from its start to its end.
 *
 * floor BROKERS TOPIC [PROPERTY=VALUE ...]
 *
 * Prints messages, bytes, CPU seconds of the whole process (librdkafka's
 * threads included) and microseconds of CPU per message: the F of bench/run.
 */
#define _GNU_SOURCE
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 10000

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

/* Assign all partitions from their start; returns how many there are. */
static int
assign_topic(rd_kafka_t *consumer, const char *topic)
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
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	error = rd_kafka_assign(consumer, list);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail(topic, rd_kafka_err2str(error));
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(handle);
	return partitions;
}

int
main(int argc, char **argv)
{
	static rd_kafka_message_t *batch[BATCH];
	rd_kafka_t *consumer;
	rd_kafka_queue_t *queue;
	int			unfinished;
	long		messages = 0;
	double		bytes = 0;
	double		cpu;

	if (argc < 3)
	{
		fputs("floor BROKERS TOPIC [PROPERTY=VALUE ...]\n", stderr);
		return 2;
	}
	consumer = open_consumer(argv[1], argc - 3, argv + 3);
	unfinished = assign_topic(consumer, argv[2]);
	queue = rd_kafka_queue_get_consumer(consumer);
	cpu = cpu_seconds();
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
				fail(argv[2], rd_kafka_message_errstr(batch[i]));
			rd_kafka_message_destroy(batch[i]);
		}
	}
	cpu = cpu_seconds() - cpu;
	printf("%ld messages, %.0f bytes, %.3f s CPU, %.4f us/message\n",
		   messages, bytes, cpu, messages > 0 ? cpu * 1e6 / (double) messages : 0.0);
	rd_kafka_queue_destroy(queue);
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
	return 0;
}
