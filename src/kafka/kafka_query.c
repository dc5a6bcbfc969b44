/*
 * kafka_query.c
 *	  Questions to the brokers that wait for an answer: partitions, cluster,
 *	  offsets; and whether a broker answers at all.
 *
 * The library's calls block and know nothing of interrupts, so each gets at
 * most KAFKA_SLICE_MAX_MS and is repeated until the caller's time is over.  An
 * answer that comes after its slice is lost, but not in vain: the connection
 * is made and the library's caches are filled, so the next slice starts
 * further ahead.  A broker whose answer always takes longer than a slice
 * cannot be used.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "kafka/kafka_internal.h"

/* Rest between two tries that failed at once. */
#define KAFKA_RETRY_MS		20

/* After this silence we ask whether a broker is there ... */
#define KAFKA_QUIET_US		INT64CONST(5000000)
/* ... this often ... */
#define KAFKA_PROBE_US		INT64CONST(1000000)
/* ... and after this silence we say that none is. */
#define KAFKA_SILENT_US		INT64CONST(10000000)

/* So many partitions in one question about offsets. */
#define KAFKA_OFFSETS_MAX	1000

/* One question; the answer goes to arg. */
typedef rd_kafka_resp_err_t (*KafkaQuestion) (KafkaConsumer *consumer,
											  void *arg, int slice_ms);

static int64
deadline_after(int timeout_ms)
{
	return tm_clock_monotonic_us() + (int64) timeout_ms * 1000;
}

/*
 * Ask until there is an answer, an error that will not pass, or the time is
 * over.  Returns the last error.  An answer that takes longer than the slice is
 * lost, so slices grow, up to what a cancel may have to wait.
 */
static rd_kafka_resp_err_t
ask(KafkaConsumer *consumer, KafkaQuestion question, void *arg, int timeout_ms)
{
	int64		deadline = deadline_after(timeout_ms);
	int64		slice = KAFKA_SLICE_MS;

	for (;;)
	{
		int64		left = (deadline - tm_clock_monotonic_us()) / 1000;
		rd_kafka_resp_err_t err;

		CHECK_FOR_INTERRUPTS();
		err = question(consumer, arg, (int) Max(1, Min(left, slice)));
		slice = Min(slice * 2, KAFKA_SLICE_MAX_MS);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			tm_kafka_error_drain(consumer);
			tm_kafka_error_answered(consumer);
			return err;
		}
		tm_kafka_error_drain(consumer);
		if (consumer->failure != RD_KAFKA_RESP_ERR_NO_ERROR ||
			tm_kafka_error_classify(err) == KAFKA_ERROR_LASTING ||
			tm_clock_monotonic_us() >= deadline)
			return err;
		pg_usleep(KAFKA_RETRY_MS * 1000L);
	}
}

/* A last error that will not pass is thrown; false for any other. */
static bool
answered(KafkaConsumer *consumer, rd_kafka_resp_err_t err, int partition)
{
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return true;
	if (consumer->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
		tm_kafka_error_throw(consumer, consumer->failure, -1,
							 KAFKA_OFFSET_NONE, consumer->failure_text);
	if (tm_kafka_error_classify(err) == KAFKA_ERROR_LASTING)
		tm_kafka_error_throw(consumer, err, partition, KAFKA_OFFSET_NONE,
							 NULL);
	return false;
}

/*
 * ask(), throwing.  partition may be -1.  "what" completes "could not
 * find out ...".
 */
static void
ask_or_throw(KafkaConsumer *consumer, KafkaQuestion question, void *arg,
			 const int *partition, const char *what, int timeout_ms)
{
	rd_kafka_resp_err_t err = ask(consumer, question, arg, timeout_ms);

	if (answered(consumer, err, partition ? *partition : -1))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not find out %s of topic \"%s\"", what,
					consumer->topic),
			 consumer->in_trouble ?
			 errdetail("The client library reports: %s",
					   consumer->trouble_text) :
			 errdetail("No Kafka broker answered within %d ms.", timeout_ms),
			 errhint("Check that the brokers run and that bootstrap_servers names them.")));
}

/* ---- metadata ---- */

/* arg: int *, number of partitions */
static rd_kafka_resp_err_t
question_partitions(KafkaConsumer *consumer, void *arg, int slice_ms)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err;

	err = rd_kafka_metadata(consumer->rk, 0, consumer->rkt, &metadata,
							slice_ms);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return err;
	if (metadata->topic_cnt != 1)
		err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
	else
	{
		err = metadata->topics[0].err;
		*(int *) arg = metadata->topics[0].partition_cnt;
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR &&
			metadata->topics[0].partition_cnt == 0)
			err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
	}
	rd_kafka_metadata_destroy(metadata);
	return err;
}

int
tm_kafka_consumer_partitions(KafkaConsumer *consumer, int timeout_ms)
{
	int			npartitions = 0;

	ask_or_throw(consumer, question_partitions, &npartitions, NULL,
				 "the partitions", timeout_ms);
	return npartitions;
}

/* arg: char **, the library's string */
static rd_kafka_resp_err_t
question_cluster_id(KafkaConsumer *consumer, void *arg, int slice_ms)
{
	char	  **id = arg;

	*id = rd_kafka_clusterid(consumer->rk, slice_ms);
	return *id != NULL ? RD_KAFKA_RESP_ERR_NO_ERROR :
		RD_KAFKA_RESP_ERR__TIMED_OUT;
}

char *
tm_kafka_consumer_cluster_id(KafkaConsumer *consumer, int timeout_ms)
{
	char	   *id = NULL;
	char		copy[KAFKA_TEXT_SIZE];

	ask_or_throw(consumer, question_cluster_id, &id, NULL, "the cluster",
				 timeout_ms);
	tm_kafka_error_text(NIL, id, copy, sizeof(copy));
	rd_kafka_mem_free(consumer->rk, id);
	return pstrdup(copy);
}

/* ---- offsets ---- */

/*
 * The first offset at or after a time, of several partitions.  BEGINNING and END
 * of the library stand for times, too.
 */
typedef struct TimeAnswer
{
	int			npartitions;
	const int32 *partitions;
	int64		time_ms;
	int64	   *offsets;		/* KAFKA_OFFSET_NONE: no message that late */
	int			partition;		/* that has an error */
} TimeAnswer;

/* Where the answer for a partition goes; the library may have sorted them. */
static int64 *
find_answer(const TimeAnswer *answer, int hint, int32 partition)
{
	if (hint < answer->npartitions && answer->partitions[hint] == partition)
		return &answer->offsets[hint];
	for (int i = 0; i < answer->npartitions; i++)
		if (answer->partitions[i] == partition)
			return &answer->offsets[i];
	return NULL;
}

static rd_kafka_resp_err_t
question_time(KafkaConsumer *consumer, void *arg, int slice_ms)
{
	TimeAnswer *answer = arg;
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;

	list = rd_kafka_topic_partition_list_new(answer->npartitions);
	for (int i = 0; i < answer->npartitions; i++)
		rd_kafka_topic_partition_list_add(list, consumer->topic,
										  answer->partitions[i])->offset =
			answer->time_ms;
	err = rd_kafka_offsets_for_times(consumer->rk, list, slice_ms);
	for (int i = 0; i < list->cnt && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
	{
		const rd_kafka_topic_partition_t *found = &list->elems[i];
		int64	   *offset = find_answer(answer, i, found->partition);

		answer->partition = found->partition;
		if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR)
			err = found->err;
		else if (offset != NULL)
			*offset = found->offset >= 0 ? found->offset : KAFKA_OFFSET_NONE;
	}
	rd_kafka_topic_partition_list_destroy(list);
	return err;
}

/* Both ends of some partitions. */
typedef struct OffsetsAnswer
{
	int			n;
	int32		partitions[KAFKA_OFFSETS_MAX];
	int64	   *earliest;		/* NULL: not wanted, or found out by an
								 * earlier slice */
	int64	   *end;
	int			partition;		/* that has an error */
} OffsetsAnswer;

/*
 * Not by rd_kafka_query_watermark_offsets(): before 2.3 that waits for as long as
 * the leader cannot be reached, whatever timeout it is given.
 */
static rd_kafka_resp_err_t
ask_bounds(KafkaConsumer *consumer, OffsetsAnswer *answer, int64 bound, int64 *offsets,
		   int64 deadline)
{
	int64		left = (deadline - tm_clock_monotonic_us()) / 1000;
	TimeAnswer	times = {answer->n, answer->partitions, bound, offsets, answer->partitions[0]};
	rd_kafka_resp_err_t err;

	for (int i = 0; i < answer->n; i++)
		offsets[i] = KAFKA_OFFSET_NONE;
	err = question_time(consumer, &times, (int) Max(left, 1));
	for (int i = 0; i < answer->n && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		if (offsets[i] == KAFKA_OFFSET_NONE)
		{
			times.partition = answer->partitions[i];
			err = RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE;
		}
	answer->partition = times.partition;
	return err;
}

/*
 * A client that has not heard of a partition says that there is none, also when
 * it has only lost its brokers for a while.  They decide.
 */
static rd_kafka_resp_err_t
confirm_unknown(KafkaConsumer *consumer, int partition, int64 deadline)
{
	int64		left = (deadline - tm_clock_monotonic_us()) / 1000;
	int			npartitions = 0;
	rd_kafka_resp_err_t err;

	err = question_partitions(consumer, &npartitions, (int) Max(left, 1));
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return err;
	return partition < npartitions ? RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE :
		RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

static rd_kafka_resp_err_t
question_offsets(KafkaConsumer *consumer, void *arg, int slice_ms)
{
	OffsetsAnswer *answer = arg;
	int64		deadline = deadline_after(slice_ms);
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

	if (answer->earliest != NULL)
		err = ask_bounds(consumer, answer, RD_KAFKA_OFFSET_BEGINNING, answer->earliest, deadline);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		answer->earliest = NULL;
		err = ask_bounds(consumer, answer, RD_KAFKA_OFFSET_END, answer->end, deadline);
	}
	if (err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
		err = confirm_unknown(consumer, answer->partition, deadline);
	return err;
}

static void
begin_offsets(OffsetsAnswer *answer, int first, int n, int64 *earliest, int64 *end)
{
	answer->n = n;
	answer->earliest = earliest;
	answer->end = end;
	answer->partition = first;
	for (int i = 0; i < n; i++)
		answer->partitions[i] = first + i;
}

bool
tm_kafka_query_try_offsets(KafkaConsumer *consumer, int partition,
						   int64 *earliest, int64 *end, int timeout_ms)
{
	OffsetsAnswer answer;

	begin_offsets(&answer, partition, 1, earliest, end);
	return ask(consumer, question_offsets, &answer, timeout_ms) ==
		RD_KAFKA_RESP_ERR_NO_ERROR;
}

void
tm_kafka_consumer_query_offsets(KafkaConsumer *consumer, int first, int n,
								int64 *earliest, int64 *end, int timeout_ms)
{
	for (int done = 0; done < n; done += KAFKA_OFFSETS_MAX)
	{
		OffsetsAnswer answer;

		begin_offsets(&answer, first + done, Min(n - done, KAFKA_OFFSETS_MAX),
					  earliest != NULL ? earliest + done : NULL, end + done);
		ask_or_throw(consumer, question_offsets, &answer, &answer.partition,
					 "the offsets", timeout_ms);
	}
}

bool
tm_kafka_consumer_try_ends(KafkaConsumer *consumer, int *n, int64 **ends,
						   int timeout_ms)
{
	int64		deadline = deadline_after(timeout_ms);

	if (!answered(consumer, ask(consumer, question_partitions, n, timeout_ms),
				  -1))
		return false;
	*ends = palloc(sizeof(int64) * Max(*n, 1));
	for (int done = 0; done < *n; done += KAFKA_OFFSETS_MAX)
	{
		OffsetsAnswer answer;
		int64		left = (deadline - tm_clock_monotonic_us()) / 1000;
		rd_kafka_resp_err_t err;

		begin_offsets(&answer, done, Min(*n - done, KAFKA_OFFSETS_MAX),
					  NULL, *ends + done);
		err = ask(consumer, question_offsets, &answer, (int) Max(left, 0));
		if (!answered(consumer, err, answer.partition))
			return false;
	}
	return true;
}

/*
 * A time in Kafka's milliseconds, rounded up.  Negative numbers have meanings
 * of their own in the protocol; no message is older than 0.
 */
static int64
kafka_time(TimestampTz time)
{
	const int64 epoch_us = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
	USECS_PER_DAY;

	if (time <= -epoch_us)
		return 0;
	return (time / 1000) + (time % 1000 > 0 ? 1 : 0) + epoch_us / 1000;
}

bool
tm_kafka_consumer_try_end(KafkaConsumer *consumer, int32 partition, int64 *end,
						  int timeout_ms)
{
	TimeAnswer	answer = {1, &partition, RD_KAFKA_OFFSET_END, end, partition};

	if (ask(consumer, question_time, &answer, timeout_ms) !=
		RD_KAFKA_RESP_ERR_NO_ERROR || *end == KAFKA_OFFSET_NONE)
		return false;
	tm_kafka_consumer_note_end(consumer, partition, *end);
	return true;
}

/* Where there is no offset yet, the end of the partition. */
static void
fill_with_ends(KafkaConsumer *consumer, int npartitions, const int32 *partitions,
			   int64 *offsets, int timeout_ms)
{
	int			next = 0;

	while (next < npartitions)
	{
		OffsetsAnswer answer = {0};
		int64		ends[KAFKA_OFFSETS_MAX];
		int			places[KAFKA_OFFSETS_MAX];

		for (; next < npartitions && answer.n < KAFKA_OFFSETS_MAX; next++)
			if (offsets[next] == KAFKA_OFFSET_NONE)
			{
				places[answer.n] = next;
				answer.partitions[answer.n++] = partitions[next];
			}
		if (answer.n == 0)
			return;
		answer.end = ends;
		answer.partition = answer.partitions[0];
		ask_or_throw(consumer, question_offsets, &answer, &answer.partition,
					 "the offsets", timeout_ms);
		for (int i = 0; i < answer.n; i++)
			offsets[places[i]] = ends[i];
	}
}

void
tm_kafka_consumer_offsets_for_time(KafkaConsumer *consumer, int npartitions,
								   const int32 *partitions, TimestampTz time,
								   int64 *offsets, int timeout_ms)
{
	for (int i = 0; i < npartitions; i++)
		offsets[i] = KAFKA_OFFSET_NONE;
	for (int done = 0; done < npartitions && !TIMESTAMP_IS_NOEND(time);
		 done += KAFKA_OFFSETS_MAX)
	{
		TimeAnswer	answer = {Min(npartitions - done, KAFKA_OFFSETS_MAX), partitions + done,
		kafka_time(time), offsets + done, -1};

		ask_or_throw(consumer, question_time, &answer, NULL, "the offsets",
					 timeout_ms);
	}
	fill_with_ends(consumer, npartitions, partitions, offsets, timeout_ms);
}

/* ---- trouble ---- */

int64
tm_kafka_consumer_disturbances(const KafkaConsumer *consumer)
{
	return consumer->disturbances;
}

/*
 * The library reports a connection that is lost, but neither one that is back
 * while the partitions are silent nor a broker that just does not answer.  So
 * after trouble or silence we ask.  An answer that is too large is said once
 * only, though it keeps its partition from going on: others do not end that.
 */
const char *
tm_kafka_consumer_trouble(KafkaConsumer *consumer)
{
	int64		now = tm_clock_monotonic_us();

	tm_kafka_error_drain(consumer);
	if ((consumer->in_trouble ||
		 now - consumer->last_answer > KAFKA_QUIET_US) &&
		now - consumer->last_probe > KAFKA_PROBE_US)
	{
		int			ignored;
		rd_kafka_resp_err_t err;

		consumer->last_probe = now;
		err = question_partitions(consumer, &ignored, KAFKA_SLICE_MS);
		tm_kafka_error_drain(consumer);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			tm_kafka_error_answered(consumer);
		else if (tm_kafka_error_classify(err) == KAFKA_ERROR_LASTING)
		{
			/* an answer, too, but a bad one: poll() will throw it */
			consumer->last_answer = tm_clock_monotonic_us();
			tm_kafka_error_record(consumer, err, NULL);
		}
	}
	now = tm_clock_monotonic_us();
	if (!consumer->in_trouble &&
		now - consumer->last_answer > KAFKA_SILENT_US)
		snprintf(consumer->trouble_text, sizeof(consumer->trouble_text),
				 "no Kafka broker has answered for %d seconds",
				 (int) ((now - consumer->last_answer) / 1000000));
	else if (!consumer->in_trouble)
		return NULL;
	return consumer->trouble_text;
}
