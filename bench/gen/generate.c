/*
 * generate.c
 *	  Nexmark events to standard output or, the bids, to a Kafka topic.
 *
 * Without --topic: one JSON object a line, as bench/nexmark/gen.py prints it,
 * or with --bids only the bids as plain rows.  With --topic: the bids as plain
 * rows, dealt to the partitions by event number, or with --by-auction by their
 * auction, which is their key then; each with its event time as Kafka timestamp;
 * as fast as possible, or with --pace at a rate and with the wall clock as event
 * time.  With --skew each partition's event time runs that much behind the one's
 * before it.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nexmark.h"

/* How often run_paced() writes. */
#define PACE_MS	5

typedef struct Options
{
	int64_t		first;
	int64_t		events;			/* event numbers to go through */
	int64_t		limit;			/* rows to write at most */
	int64_t		shuffle;		/* size of the groups out of order */
	double		late_probability;
	int64_t		late_ms;
	bool		bids_only;
	const char *brokers;
	const char *topic;
	bool		create;
	int			partitions;
	bool		by_auction;
	int64_t		skew_ms;		/* between a partition and the next */
	const char *compression;
	const char *acks;
	int64_t		pace;			/* bids per second of wall clock; 0 = at once */
} Options;

/* An event held back, in a heap ordered by (arrival, emitted). */
typedef struct Held
{
	int64_t		arrival;
	int64_t		emitted;
	int64_t		n;
} Held;

static Options options = {
	.events = 200000,.limit = INT64_MAX,.shuffle = 1,.late_ms = 3000,
	.brokers = "127.0.0.1:9092",.partitions = 4,.compression = "none",
	.acks = "all"
};
static Nexmark nexmark = {.seed = 1,.base_ms = INT64_C(1436918400000),.rate = 10000};
static int64_t written = 0;
static int64_t undelivered = 0;
static rd_kafka_t *producer = NULL;
static rd_kafka_topic_t *topic_handle = NULL;	/* faster than its name */
static volatile sig_atomic_t stop = 0;

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "generate: %s: %s\n", what, why);
	exit(1);
}

static void
request_stop(int signal_number)
{
	(void) signal_number;
	stop = 1;
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
sleep_until(int64_t ms)
{
	int64_t		left = ms - now_ms();
	const struct timespec pause = {.tv_nsec = left * 1000000};

	if (left > 0)
		nanosleep(&pause, NULL);
}

/* rdkafka: runs in rd_kafka_poll(), on this thread. */
static void
report_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err == 0)
		return;
	if (undelivered++ == 0)
		fprintf(stderr, "generate: not delivered: %s\n", rd_kafka_err2str(message->err));
}

static void
open_producer(void)
{
	const char *const settings[][2] = {
		{"bootstrap.servers", options.brokers},
		{"compression.type", options.compression},
		{"acks", options.acks},
		{"enable.idempotence", strcmp(options.acks, "all") == 0 ? "true" : "false"},
		{"linger.ms", "20"},
		{"batch.num.messages", "10000"},
		{"queue.buffering.max.messages", "500000"}
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		why[512];

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof(why)) != RD_KAFKA_CONF_OK)
			fail(settings[i][0], why);
	rd_kafka_conf_set_dr_msg_cb(conf, report_delivery);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (producer == NULL)
		fail(options.brokers, why);
}

/* Create the topic; one that is there already will do. */
static void
create_topic(void)
{
	char		why[512];
	rd_kafka_queue_t *queue = rd_kafka_queue_new(producer);
	rd_kafka_NewTopic_t *topic;
	rd_kafka_event_t *event;
	rd_kafka_resp_err_t error;

	topic = rd_kafka_NewTopic_new(options.topic, options.partitions, -1, why, sizeof(why));
	if (topic == NULL)
		fail(options.topic, why);
	rd_kafka_CreateTopics(producer, &topic, 1, NULL, queue);
	event = rd_kafka_queue_poll(queue, 60000);
	if (event == NULL)
		fail(options.brokers, "no answer");
	error = rd_kafka_event_error(event);
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		size_t		n;
		const rd_kafka_topic_result_t **results;

		results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
		error = rd_kafka_topic_result_error(results[0]);
	}
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR && error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		fail(options.topic, rd_kafka_err2str(error));
	rd_kafka_event_destroy(event);
	rd_kafka_NewTopic_destroy(topic);
	rd_kafka_queue_destroy(queue);
}

static int32_t
choose_partition(int64_t n, int64_t auction)
{
	uint64_t	hash = (uint64_t) auction * UINT64_C(0x9e3779b97f4a7c15);

	if (!options.by_auction)
		return (int32_t) (n % options.partitions);
	return (int32_t) ((hash >> 32) % (uint64_t) options.partitions);
}

static void
produce(int32_t partition, int64_t auction, int64_t at, void *value, size_t length)
{
	char		key[32];
	size_t		key_length = 0;

	if (options.by_auction)
		key_length = (size_t) sprintf(key, "%lld", (long long) auction);
	for (;;)
	{
		rd_kafka_resp_err_t error;

		error = rd_kafka_producev(producer, RD_KAFKA_V_RKT(topic_handle),
								  RD_KAFKA_V_PARTITION(partition),
								  RD_KAFKA_V_TIMESTAMP(at),
								  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								  RD_KAFKA_V_KEY(options.by_auction ? key : NULL, key_length),
								  RD_KAFKA_V_VALUE(value, length), RD_KAFKA_V_END);
		if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			fail(options.topic, rd_kafka_err2str(error));
		rd_kafka_poll(producer, 10);
	}
	if (written % 1000 == 0)
		rd_kafka_poll(producer, 0);
}

/*
 * Write event n, which arrives now; `at` is a bid's event time where there is no
 * skew.
 */
static void
emit(int64_t arrival, int64_t n, int64_t at)
{
	static const char *const names[] = {"person", "auction", "bid"};
	char		line[NEXMARK_MAX_LENGTH];
	char	   *out = line;
	NexmarkKind kind = nexmark_kind(n);
	int64_t		auction = 0;
	int32_t		partition;

	if ((options.bids_only && kind != NEXMARK_BID) || written >= options.limit)
		return;
	if (options.by_auction)
		auction = nexmark_bid_auction(&nexmark, n);
	partition = choose_partition(n, auction);
	at -= partition * options.skew_ms;
	*out++ = '{';
	if (!options.bids_only)
	{
		out += sprintf(out, "\"kind\":\"%s\",\"arrived_at\":\"", names[kind]);
		out = nexmark_put_time(out, arrival);
		out = stpcpy(out, "\",");
	}
	out += nexmark_event(&nexmark, n, at, out);
	*out++ = '}';
	if (producer != NULL)
		produce(partition, auction, at, line, (size_t) (out - line));
	else
	{
		*out++ = '\n';
		fwrite(line, 1, (size_t) (out - line), stdout);
	}
	written++;
}

static bool
is_before(const Held *a, const Held *b)
{
	return a->arrival != b->arrival ? a->arrival < b->arrival : a->emitted < b->emitted;
}

static Held *held = NULL;
static size_t nheld = 0;

static void
hold(Held event)
{
	static size_t room = 0;
	size_t		i = nheld++;

	if (nheld > room)
	{
		room = room ? room * 2 : 1024;
		held = realloc(held, room * sizeof(Held));
		if (held == NULL)
			fail("memory", "none left");
	}
	for (; i > 0 && is_before(&event, &held[(i - 1) / 2]); i = (i - 1) / 2)
		held[i] = held[(i - 1) / 2];
	held[i] = event;
}

static Held
release_first(void)
{
	Held		first = held[0];
	Held		last = held[--nheld];
	size_t		i = 0;

	for (size_t child; (child = 2 * i + 1) < nheld; i = child)
	{
		if (child + 1 < nheld && is_before(&held[child + 1], &held[child]))
			child++;
		if (!is_before(&held[child], &last))
			break;
		held[i] = held[child];
	}
	held[i] = last;
	return first;
}

/* All events in order of arrival. */
static void
run_at_once(void)
{
	int64_t		g = options.shuffle;

	for (int64_t k = options.first; k < options.first + options.events; k++)
	{
		int64_t		n = g <= 1 ? k : k / g * g + k * 953 % g;
		int64_t		at = nexmark_time(&nexmark, k);
		int64_t		delay = nexmark_delay(&nexmark, n, options.late_probability, options.late_ms);

		while (nheld > 0 && held[0].arrival <= at)
		{
			Held		late = release_first();

			emit(late.arrival, late.n, nexmark_time(&nexmark, late.n));
		}
		if (delay > 0)
		{
			Held		late = {.arrival = at + delay,.emitted = k,.n = n};

			hold(late);
		}
		else
			emit(at, n, nexmark_time(&nexmark, n));
		if (stop || written >= options.limit)
			return;
	}
	while (nheld > 0)
	{
		Held		late = release_first();

		emit(late.arrival, late.n, nexmark_time(&nexmark, late.n));
	}
}

/*
 * Bids at a rate, stamped with the time of their emission: some every 5 ms, sent
 * at once.  That is what a flush does; with a short linger.ms instead the
 * library's thread would use half a processor to wait for its end.
 */
static void
run_paced(void)
{
	int64_t		start = now_ms();
	int64_t		n = options.first;

	while (!stop && written < options.limit)
	{
		int64_t		now = now_ms();
		int64_t		due = (now - start) * options.pace / 1000;

		for (; written < due && written < options.limit; n++)
			emit(now, n, now);
		if (producer != NULL)
			rd_kafka_flush(producer, PACE_MS);
		sleep_until(now + PACE_MS);
	}
}

static int64_t
parse_time(const char *text)
{
	struct tm	tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (end == NULL || *end != '\0')
		fail(text, "not a time like 2015-07-15T00:00:00Z");
	return (int64_t) timegm(&tm) * 1000;
}

static const char usage[] =
"generate [options]: Nexmark events\n"
"  --first N --events N      event numbers (0, 200000)\n"
"  --seed N --rate N         seed; events per second of event time (1, 10000)\n"
"  --base-time T             event time of event 0 (2015-07-15T00:00:00Z)\n"
"  --ooo G                   shuffled inside groups of G events\n"
"  --late-prob P --late-ms N with probability P held back up to N ms (0, 3000)\n"
"  --bids                    only bids, as plain rows\n"
"  --limit N                 at most N lines\n"
"  --pace N                  bids at N per second, event time is now; endless\n"
"                            unless --limit is given\n"
"  --topic T --create        bids to this Kafka topic; create it if need be\n"
"  --brokers LIST --partitions N --compression C --acks A\n"
"                            127.0.0.1:9092, 4, none, all\n"
"  --by-auction              a bid's auction is its key and chooses its partition\n"
"  --skew N                  of bids, event times in partition P are P * N ms\n"
"                            behind those in partition 0 (0)\n";

static void
parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"first", 1, 0, 'f'}, {"events", 1, 0, 'e'}, {"seed", 1, 0, 's'},
		{"rate", 1, 0, 'r'}, {"base-time", 1, 0, 't'}, {"ooo", 1, 0, 'o'},
		{"late-prob", 1, 0, 'p'}, {"late-ms", 1, 0, 'm'}, {"bids", 0, 0, 'b'},
		{"limit", 1, 0, 'l'}, {"pace", 1, 0, 'P'}, {"topic", 1, 0, 'T'},
		{"create", 0, 0, 'C'}, {"brokers", 1, 0, 'B'}, {"partitions", 1, 0, 'n'},
		{"compression", 1, 0, 'c'}, {"acks", 1, 0, 'a'}, {"skew", 1, 0, 'k'},
		{"by-auction", 0, 0, 'A'}, {0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
	{
		switch (c)
		{
			case 'f':
				options.first = atoll(optarg);
				break;
			case 'e':
				options.events = atoll(optarg);
				break;
			case 's':
				nexmark.seed = strtoull(optarg, NULL, 10);
				break;
			case 'r':
				nexmark.rate = atoll(optarg);
				break;
			case 't':
				nexmark.base_ms = parse_time(optarg);
				break;
			case 'o':
				options.shuffle = atoll(optarg);
				break;
			case 'p':
				options.late_probability = atof(optarg);
				break;
			case 'm':
				options.late_ms = atoll(optarg);
				break;
			case 'b':
				options.bids_only = true;
				break;
			case 'l':
				options.limit = atoll(optarg);
				break;
			case 'P':
				options.pace = atoll(optarg);
				break;
			case 'T':
				options.topic = optarg;
				break;
			case 'C':
				options.create = true;
				break;
			case 'B':
				options.brokers = optarg;
				break;
			case 'n':
				options.partitions = atoi(optarg);
				break;
			case 'c':
				options.compression = optarg;
				break;
			case 'a':
				options.acks = optarg;
				break;
			case 'k':
				options.skew_ms = atoll(optarg);
				break;
			case 'A':
				options.by_auction = true;
				break;
			default:
				fputs(usage, stderr);
				exit(2);
		}
	}
	if (optind < argc || nexmark.rate < 1 || options.partitions < 1 ||
		(options.shuffle > 1 && options.shuffle % 953 == 0))
	{
		fputs(usage, stderr);
		exit(2);
	}
	if (options.topic == NULL)
		options.create = false;
	if (options.topic != NULL || options.pace > 0)
		options.bids_only = true;
}

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	signal(SIGINT, request_stop);
	signal(SIGTERM, request_stop);
	nexmark_init(&nexmark);
	if (options.topic != NULL)
		open_producer();
	if (options.create)
		create_topic();
	if (producer != NULL)
		topic_handle = rd_kafka_topic_new(producer, options.topic, NULL);
	if (options.pace > 0)
		run_paced();
	else
		run_at_once();
	if (producer != NULL)
	{
		if (rd_kafka_flush(producer, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR)
			fail(options.topic, "not everything was delivered");
		rd_kafka_topic_destroy(topic_handle);
		rd_kafka_destroy(producer);
		printf("%lld\n", (long long) written);
	}
	if (fflush(stdout) != 0)
		fail("standard output", "write failed");
	return undelivered > 0 ? 1 : 0;
}
