/*
 * ingest_shed.c
 *	  shed_above_lag: what a worker leaves out when it is too far behind.
 *
 * After the messages of a batch a partition may still be more than
 * shed_above_lag offsets behind its end.  Then the batch leaves out the oldest of
 * them, so that half of shed_above_lag are left: the next time comes only when
 * as much has piled up again.  The range is put on record, like that of
 * reset_ingest(), and the position moves behind it, in the transaction of the
 * batch (ingest_batch.c); the consumer follows after the commit.  A process that
 * ends in between starts at the position in the catalog.
 *
 * Which partitions may be that far behind is known from the end offsets that the
 * library hears of with each fetch, without asking anybody.  But those count
 * the messages of open transactions, which nobody can have read yet; so before
 * something is left out the broker is asked for the last stable offset, once a
 * second at most.  With max_rate the library may have so much in its queue that
 * it does not fetch for long: then the end is asked for now and then anyway.
 *
 * A topic that was re-created has an end too, so the worker looks at its anchor
 * before it leaves anything out (ingest_anchor.c); the anchor, a message that was
 * applied, stays what it is.
 *
 * The log has one WARNING for an episode: from the first range until every
 * partition that has lost one was read to its end once.
 *
 * Runs in: ingest workers.
 */
#include "postgres.h"

#include "base/clock.h"
#include "ingest/ingest_worker.h"

/* not asked again before */
#define ASK_US			USECS_PER_SEC
/* asked anyway while max_rate keeps fetches away */
#define PACED_ASK_US	(10 * USECS_PER_SEC)
/* all questions of one round together; what is left is asked in the next */
#define ROUND_MS		500

struct IngestShed
{
	int			next;			/* where the next round begins to ask */
	int64	   *asked;			/* monotonic us, by partition */
	bool	   *behind;			/* lost a range, and not read to its end since */
	int			nbehind;
	int64		count;			/* offsets left out in this episode */
};

IngestShed *
tm_ingest_shed_create(int n, MemoryContext cxt)
{
	IngestShed *shed = MemoryContextAllocZero(cxt, sizeof(IngestShed));

	shed->asked = MemoryContextAllocZero(cxt, sizeof(int64) * Max(n, 1));
	shed->behind = MemoryContextAllocZero(cxt, sizeof(bool) * Max(n, 1));
	return shed;
}

/* May it be too far behind? */
static bool
exceeds(const StreamOptions *options, const IngestPosition *position)
{
	return options->shed_above_lag > 0 && position->end != KAFKA_OFFSET_NONE &&
		position->end - position->position > options->shed_above_lag;
}

static bool
is_asking_due(const IngestShed *shed, int i, const StreamOptions *options,
			  const IngestPosition *position, int64 now)
{
	if (exceeds(options, position))
		return now - shed->asked[i] >= ASK_US;
	return options->max_rate > 0 && !position->at_end && now - shed->asked[i] >= PACED_ASK_US;
}

bool
tm_ingest_shed_decide(IngestShed *shed, const StreamOptions *options, KafkaConsumer *consumer,
					  int n, IngestPosition *positions)
{
	int64		keep = options->shed_above_lag - options->shed_above_lag / 2;
	int64		started = tm_clock_monotonic_us();
	bool		result = false;

	if (options->shed_above_lag == 0 && options->max_rate == 0)
		return false;
	for (int k = 0; k < n; k++)
	{
		int			i = shed->next;
		IngestPosition *position = &positions[i];
		int64		now = tm_clock_monotonic_us();
		int			left = ROUND_MS - (int) ((now - started) / 1000);
		int64		end;

		if (left <= 0)
			break;
		shed->next = (i + 1) % n;
		if (!is_asking_due(shed, i, options, position, now))
			continue;
		shed->asked[i] = now;
		if (!tm_kafka_consumer_try_end(consumer, position->partition, &end, left))
			continue;
		position->end = Max(position->end, end);
		if (options->shed_above_lag == 0 || end - position->position <= options->shed_above_lag)
			continue;
		position->shed_to = end - keep;
		shed->asked[i] = 0;
		result = true;
	}
	return result;
}

static bool
is_shed(const IngestPosition *position)
{
	return position->shed_to > position->position;
}

/* Move the consumer. */
static void
skip(KafkaConsumer *consumer, int n, const IngestPosition *positions)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(n, 1));
	int64	   *offsets = palloc(sizeof(int64) * Max(n, 1));
	int			count = 0;

	for (int i = 0; i < n; i++)
		if (is_shed(&positions[i]))
		{
			partitions[count] = positions[i].partition;
			offsets[count++] = positions[i].shed_to;
		}
	if (count > 0)
		tm_kafka_consumer_skip(consumer, count, partitions, offsets);
	pfree(partitions);
	pfree(offsets);
}

static void
report_begin(const IngestShed *shed, const char *name, const StreamOptions *options,
			 const IngestPosition *position)
{
	ereport(WARNING,
			(errmsg("ingest of stream \"%s\" is too far behind and leaves messages out", name),
			 errdetail("Partition %d was %lld offsets behind, and shed_above_lag is %lld; offsets %lld to %lld are left out.",
					   position->partition, (long long) (position->end - position->position),
					   (long long) options->shed_above_lag, (long long) position->position,
					   (long long) position->shed_to - 1),
			 errhint("Column \"shed\" of tidemark.partitions counts what is left out until the ingest has caught up; that is not logged again.")));
}

void
tm_ingest_shed_done(IngestShed *shed, const char *name, const StreamOptions *options,
					KafkaConsumer *consumer, int n, const IngestPosition *positions)
{
	int			before = shed->nbehind;

	skip(consumer, n, positions);
	for (int i = 0; i < n; i++)
	{
		const IngestPosition *position = &positions[i];

		if (is_shed(position))
		{
			if (shed->nbehind == 0)
				report_begin(shed, name, options, position);
			shed->count += position->shed_to - position->position;
			shed->nbehind += !shed->behind[i];
			shed->behind[i] = true;
		}
		else if (shed->behind[i] && position->position >= position->end)
		{
			shed->behind[i] = false;
			shed->nbehind--;
		}
	}
	if (before == 0 || shed->nbehind > 0)
		return;
	ereport(LOG,
			(errmsg("ingest of stream \"%s\" has caught up; %lld offsets were left out",
					name, (long long) shed->count)));
	shed->count = 0;
}
