/*
 * ingest_idle.c
 *	  Which partitions are idle, so that the watermark of the stream does not
 *	  wait for them.
 *
 * Silence alone proves nothing: the network may be down.  So a partition is idle
 * when no message came for watermark_idle_timeout, counted from the start of
 * reading, and a request for its end offset, sent after that, was answered with
 * the position that the consumer has reached.  The proof is renewed from time
 * to time; a partition whose end cannot be told, or lies beyond the position,
 * is not idle any more.  Its next message ends idleness as well
 * (ingest_batch.c).
 *
 * Requests are sent while no transaction is open, and only for so long that the
 * messages of other partitions do not wait; what is not asked in one round is
 * asked in the next.  A batch, empty if need be, then stores the findings.
 *
 * The kept log of a manual stream is at hand, and its clock may be virtual; so
 * the proof is one look, in the caller's transaction.
 *
 * Runs in: workers; backends with a manual stream.
 * Memory: the context given at creation.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/clock.h"
#include "ingest/ingest_internal.h"

/* all questions of one round together */
#define ROUND_MS		500
/* after a question without answer */
#define RETRY_US		USECS_PER_SEC
/* a proof is good for so long; while the clock moves the watermark, this long */
#define PROOF_US		(10 * USECS_PER_SEC)
#define CLOCK_PROOF_US	USECS_PER_SEC

typedef struct IdlePartition
{
	int32		partition;
	int64		heard;			/* monotonic us: last message, or assignment */
	int64		asked;			/* and last answer */
	bool		idle;			/* as proved last */
	IngestIdleness finding;		/* to be stored by the next batch */
} IdlePartition;

struct IngestIdle
{
	int			npartitions;
	IdlePartition *partitions;
	int			next;			/* where the next round begins to ask */
	int64		retry_at;		/* no question before */
};

IngestIdle *
tm_ingest_idle_create(int n, const int32 *partitions, MemoryContext cxt)
{
	IngestIdle *idle = MemoryContextAllocZero(cxt, sizeof(IngestIdle));
	int64		now = tm_clock_monotonic_us();

	idle->npartitions = n;
	idle->partitions = MemoryContextAllocZero(cxt, sizeof(IdlePartition) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		idle->partitions[i].partition = partitions[i];
		idle->partitions[i].heard = now;
	}
	return idle;
}

void
tm_ingest_idle_prepare_batch(IngestIdle *idle, const KafkaMessage *messages, int nmessages,
							 IngestPosition *positions)
{
	int64		now = tm_clock_monotonic_us();
	IdlePartition *p = NULL;

	for (int m = 0; m < nmessages; m++)
	{
		for (int i = 0; i < idle->npartitions &&
			 (p == NULL || p->partition != messages[m].partition); i++)
			p = &idle->partitions[i];
		p->heard = now;
		p->idle = false;
		p->finding = INGEST_IDLE_SAME;
	}
	for (int i = 0; i < idle->npartitions; i++)
	{
		Assert(positions[i].partition == idle->partitions[i].partition);
		positions[i].idleness = idle->partitions[i].finding;
	}
}

void
tm_ingest_idle_stored(IngestIdle *idle)
{
	for (int i = 0; i < idle->npartitions; i++)
		idle->partitions[i].finding = INGEST_IDLE_SAME;
}

bool
tm_ingest_idle_has_findings(const IngestIdle *idle)
{
	for (int i = 0; i < idle->npartitions; i++)
		if (idle->partitions[i].finding != INGEST_IDLE_SAME)
			return true;
	return false;
}

static void
set_idle(IdlePartition *p, bool is_idle)
{
	if (p->idle != is_idle)
		p->finding = is_idle ? INGEST_IDLE_BEGINS : INGEST_IDLE_ENDS;
	p->idle = is_idle;
}

/* Ask for the end of one partition; false when there was no answer. */
static bool
prove(IdlePartition *p, KafkaConsumer *consumer, int timeout_ms)
{
	KafkaPosition position;
	int64		end;

	if (!tm_kafka_consumer_try_end(consumer, p->partition, &end, timeout_ms))
	{
		set_idle(p, false);
		return false;
	}
	p->asked = tm_clock_monotonic_us();
	if (!tm_kafka_consumer_position(consumer, p->partition, &position))
		elog(ERROR, "partition %d is not assigned", p->partition);
	set_idle(p, position.position == end);
	return true;
}

void
tm_ingest_idle_check(IngestIdle *idle, const StreamOptions *options, KafkaConsumer *consumer)
{
	int64		started = tm_clock_monotonic_us();
	int64		proof = options->watermark_wall_clock ? CLOCK_PROOF_US : PROOF_US;

	if (started < idle->retry_at)
		return;
	for (int n = 0; n < idle->npartitions; n++)
	{
		IdlePartition *p = &idle->partitions[idle->next];
		int64		now = tm_clock_monotonic_us();
		int			left = ROUND_MS - (int) ((now - started) / 1000);
		bool		due = options->watermark_idle_timeout != STREAM_NEVER &&
		now - p->heard >= options->watermark_idle_timeout &&
		(!p->idle || now - p->asked >= proof);

		if (due && left <= 0)
			return;
		idle->next = (idle->next + 1) % idle->npartitions;
		if (due && !prove(p, consumer, left))
		{
			idle->retry_at = tm_clock_monotonic_us() + RETRY_US;
			return;
		}
	}
}

bool
tm_ingest_idle_is_complete(const IngestIdle *idle)
{
	int64		now = tm_clock_monotonic_us();

	for (int i = 0; i < idle->npartitions; i++)
		if (!idle->partitions[i].idle || now - idle->partitions[i].asked > 2 * CLOCK_PROOF_US)
			return false;
	return true;
}

/* ---- manual streams ---- */

/* Has this partition been silent for the timeout? */
static bool
is_silent(const MetaIngest *ingest, const StreamOptions *options, const MetaPartition *p,
		  TimestampTz now)
{
	TimestampTz since = TIMESTAMP_IS_NOBEGIN(p->last_message_at) ? ingest->since :
	p->last_message_at;

	return now - since >= options->watermark_idle_timeout;
}

/* One look at all partitions; is there something to save? */
static bool
pass_time(MetaIngest *ingest, const StreamOptions *options, TimestampTz now)
{
	MetaPartition *all;
	IngestPosition *positions;
	IngestBatch batch = {.careful = true};
	int			nall;

	all = tm_meta_partition_list(ingest->stream, &nall);
	positions = palloc0(sizeof(IngestPosition) * Max(nall, 1));
	for (int i = 0; i < nall; i++)
	{
		IngestPosition *position = &positions[batch.npositions];

		position->partition = all[i].partition;
		position->position = position->end = all[i].next_offset;
		if (options->watermark_idle_timeout != STREAM_NEVER &&
			TIMESTAMP_IS_NOBEGIN(all[i].idle_since) && is_silent(ingest, options, &all[i], now))
		{
			position->idleness = INGEST_IDLE_BEGINS;
			batch.npositions++;
		}
	}
	/* one row is enough to keep what the clock, or another session, has moved */
	if (batch.npositions == 0 && nall > 0 && tm_ingest_watermark_is_behind(ingest, options, now))
		batch.npositions = 1;
	batch.positions = positions;
	if (batch.npositions > 0)
		(void) tm_ingest_batch_apply_all(ingest->stream, &batch);
	pfree(positions);
	return batch.npositions > 0;
}

/*
 * Another session may have moved partitions until they were locked.  The second
 * look is at rows that are locked by then.
 */
void
tm_ingest_idle_manual(MetaIngest *ingest, const StreamOptions *options)
{
	TimestampTz now = tm_ingest_now(options);

	if (pass_time(ingest, options, now))
		(void) pass_time(ingest, options, now);
}
