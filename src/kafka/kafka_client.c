/*
 * kafka_client.c
 *	  Life of a consumer: opening, closing, and what happens when nobody closes.
 *
 * A client of librdkafka is threads, sockets and buffers outside of
 * PostgreSQL's care.  Each belongs to a memory context, whose reset callback
 * ends it, so an error anywhere above cannot leak one.  A process that exits
 * ends those that are still there, because their threads may use OpenSSL,
 * which exit() cleans up under them.
 *
 * The threads are started with all signals blocked: a signal handler of
 * PostgreSQL must run in the backend's own thread.
 *
 * Runs in: workers and backends; never the postmaster, which forks.
 * Memory: one context per consumer, named "tidemark kafka consumer".
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "kafka/kafka_internal.h"

/* Longest wait for the end of a client, in ms. */
#define KAFKA_CLOSE_MS		200

/* All open consumers of this process. */
static dlist_head open_consumers = DLIST_STATIC_INIT(open_consumers);
static bool exit_callback_registered = false;

/*
 * Destroying a client waits for its threads.  That is a matter of 2 ms, but a
 * thread may be in the resolver, and librdkafka 2.0 waits for ever after a
 * topic that it was reading is deleted.  So a thread of our own does it, and
 * is left alone with it when it takes too long.
 */
typedef struct ClientUndertaker
{
	rd_kafka_t *rk;
	pthread_mutex_t lock;		/* protects the rest */
	pthread_cond_t finished;
	bool		done;
	bool		abandoned;		/* nobody waits: the thread frees this */
} ClientUndertaker;

static void
free_undertaker(ClientUndertaker *undertaker)
{
	pthread_cond_destroy(&undertaker->finished);
	pthread_mutex_destroy(&undertaker->lock);
	free(undertaker);
}

/* Runs in a thread of its own: nothing of PostgreSQL here. */
static void *
undertaker_main(void *arg)
{
	ClientUndertaker *undertaker = arg;
	bool		abandoned;

	rd_kafka_destroy_flags(undertaker->rk,
						   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	pthread_mutex_lock(&undertaker->lock);
	undertaker->done = true;
	abandoned = undertaker->abandoned;
	pthread_cond_signal(&undertaker->finished);
	pthread_mutex_unlock(&undertaker->lock);
	if (abandoned)
		free_undertaker(undertaker);
	return NULL;
}

/* Start a thread that gets no signals. */
static bool
start_undertaker(ClientUndertaker *undertaker)
{
	pthread_t	thread;
	sigset_t	all;
	sigset_t	saved;
	int			rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	rc = pthread_create(&thread, NULL, undertaker_main, undertaker);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (rc == 0)
		pthread_detach(thread);
	return rc == 0;
}

/* Destroy a client, waiting at most KAFKA_CLOSE_MS.  Does not throw. */
static void
destroy_client(rd_kafka_t *rk)
{
	ClientUndertaker *undertaker = calloc(1, sizeof(ClientUndertaker));
	struct timespec until;
	bool		done;

	if (undertaker != NULL)
	{
		undertaker->rk = rk;
		pthread_mutex_init(&undertaker->lock, NULL);
		pthread_cond_init(&undertaker->finished, NULL);
	}
	if (undertaker == NULL || !start_undertaker(undertaker))
	{
		if (undertaker != NULL)
			free_undertaker(undertaker);
		rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
		return;
	}

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += KAFKA_CLOSE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&undertaker->lock);
	while (!undertaker->done &&
		   pthread_cond_timedwait(&undertaker->finished, &undertaker->lock,
								  &until) == 0)
		;
	done = undertaker->done;
	undertaker->abandoned = !done;
	pthread_mutex_unlock(&undertaker->lock);
	if (done)
		free_undertaker(undertaker);
}

/*
 * Give back everything that is not memory of ours.  Does not throw.  Called by
 * the context, or before that by the exit of the process.
 */
static void
destroy_handles(void *arg)
{
	KafkaConsumer *consumer = arg;

	if (!consumer->open)
		return;
	consumer->open = false;
	dlist_delete(&consumer->node);

	/* the library wants its messages, queues and topics back first */
	tm_kafka_consumer_release(consumer);
	tm_kafka_consumer_discard(consumer);
	tm_kafka_order_close(consumer);
	if (consumer->consumer_queue != NULL)
	{
		rd_kafka_queue_io_event_enable(consumer->consumer_queue, -1, NULL, 0);
		rd_kafka_queue_destroy(consumer->consumer_queue);
	}
	if (consumer->main_queue != NULL)
	{
		rd_kafka_queue_io_event_enable(consumer->main_queue, -1, NULL, 0);
		rd_kafka_queue_destroy(consumer->main_queue);
	}
	if (consumer->rkt != NULL)
		rd_kafka_topic_destroy(consumer->rkt);
	if (consumer->rk != NULL)
		destroy_client(consumer->rk);
	if (consumer->conf != NULL)
		rd_kafka_conf_destroy(consumer->conf);
	if (consumer->fd >= 0)
	{
		close(consumer->fd);
		ReleaseExternalFD();
	}
}

static void
destroy_at_exit(int code, Datum arg)
{
	while (!dlist_is_empty(&open_consumers))
		destroy_handles(dlist_head_element(KafkaConsumer, node,
										   &open_consumers));
}

/* An empty consumer in a context of its own, guarded by the reset callback. */
static KafkaConsumer *
make_consumer(const KafkaConsumerOptions *options, MemoryContext cxt)
{
	MemoryContext consumer_cxt;
	MemoryContext oldcxt;
	MemoryContextCallback *callback;
	KafkaConsumer *consumer;

	consumer_cxt = AllocSetContextCreate(cxt, "tidemark kafka consumer",
										 ALLOCSET_DEFAULT_SIZES);
	oldcxt = MemoryContextSwitchTo(consumer_cxt);
	consumer = palloc0(sizeof(KafkaConsumer));
	callback = palloc0(sizeof(MemoryContextCallback));
	consumer->cxt = consumer_cxt;
	consumer->fd = -1;
	consumer->topic = pstrdup(options->topic);
	if (options->group_id != NULL)
		consumer->group_id = pstrdup(options->group_id);
	consumer->ordered = options->npartitions > 0;
	consumer->chunk = palloc(KAFKA_CHUNK * sizeof(rd_kafka_message_t *));
	consumer->last_answer = tm_clock_monotonic_us();

	consumer->open = true;
	dlist_push_head(&open_consumers, &consumer->node);
	callback->func = destroy_handles;
	callback->arg = consumer;
	MemoryContextRegisterResetCallback(consumer_cxt, callback);
	MemoryContextSwitchTo(oldcxt);
	return consumer;
}

/* Make the client.  Its threads inherit a mask that blocks every signal. */
static void
start_client(KafkaConsumer *consumer)
{
	char		errstr[KAFKA_TEXT_SIZE];
	char		detail[KAFKA_TEXT_SIZE];
	sigset_t	all;
	sigset_t	saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	consumer->rk = rd_kafka_new(RD_KAFKA_CONSUMER, consumer->conf, errstr,
								sizeof(errstr));
	pthread_sigmask(SIG_SETMASK, &saved, NULL);

	if (consumer->rk == NULL)
	{
		tm_kafka_error_text(consumer->secrets, errstr, detail,
							sizeof(detail));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not configure the Kafka client"),
				 errdetail("The client library reports: %s", detail),
				 strstr(detail, "sasl.username") != NULL ?
				 errhint("The user who reads the stream needs a user mapping with sasl_username and sasl_password; an ingest reads as the stream's owner.") : 0));
	}
	consumer->conf = NULL;		/* the client has it now */

	/* log lines wait in the main queue until we take them */
	rd_kafka_set_log_queue(consumer->rk, NULL);
	consumer->main_queue = rd_kafka_queue_get_main(consumer->rk);
	consumer->consumer_queue = rd_kafka_queue_get_consumer(consumer->rk);
	consumer->rkt = rd_kafka_topic_new(consumer->rk, consumer->topic, NULL);
	if (consumer->rkt == NULL)
		tm_kafka_error_throw(consumer, rd_kafka_last_error(), -1,
							 KAFKA_OFFSET_NONE, NULL);
}

/* Let the library signal an eventfd. */
static void
open_descriptor(KafkaConsumer *consumer)
{
	static const uint64 one = 1;

	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("too many open files for another Kafka consumer")));
	consumer->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (consumer->fd < 0)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create an event descriptor: %m")));
	}
	rd_kafka_queue_io_event_enable(consumer->consumer_queue, consumer->fd,
								   &one, sizeof(one));
	rd_kafka_queue_io_event_enable(consumer->main_queue, consumer->fd,
								   &one, sizeof(one));
}

KafkaConsumer *
tm_kafka_consumer_open(const KafkaConsumerOptions *options, MemoryContext cxt)
{
	KafkaConsumer *consumer;
	MemoryContext oldcxt;

	Assert(IsUnderPostmaster || !IsPostmasterEnvironment);
	if (!exit_callback_registered)
	{
		on_proc_exit(destroy_at_exit, (Datum) 0);
		exit_callback_registered = true;
	}

	consumer = make_consumer(options, cxt);
	oldcxt = MemoryContextSwitchTo(consumer->cxt);
	tm_kafka_config_build(consumer, options);
	start_client(consumer);
	open_descriptor(consumer);
	MemoryContextSwitchTo(oldcxt);
	return consumer;
}

void
tm_kafka_consumer_close(KafkaConsumer *consumer)
{
	MemoryContextDelete(consumer->cxt);
}
