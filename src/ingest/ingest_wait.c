/*
 * ingest_wait.c
 *	  wait_for(), wait_caught_up(), and the wait of REFRESH.
 *
 * A waiter listens for commits of batches (a latch that every commit sets) and
 * looks at the committed positions after each.  What cannot succeed is an
 * error at once; false means that the time was over.
 *
 * Runs in: backends; outside of REPEATABLE READ.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "ingest/ingest_internal.h"

PG_FUNCTION_INFO_V1(tm_wait_for);
PG_FUNCTION_INFO_V1(tm_wait_caught_up);

#define ASK_US USECS_PER_SEC

/* Offsets to be reached, per partition, by a stream and perhaps a view. */
typedef struct WaitTarget
{
	Oid			relation;
	Oid			stream;
	MetaView   *view;			/* NULL when waiting for the stream itself */
	int			npartitions;
	int32	   *partitions;
	int64	   *offsets;		/* next_offset must be at least this */
} WaitTarget;

void
tm_ingest_throw_view_dropped(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("continuous view was dropped")));
}

/* The stream that feeds a relation. */
static Oid
find_stream(Oid source)
{
	MetaIngest *ingest;

	if (tm_stream_is_stream(source))
		return source;
	ingest = tm_meta_ingest_find_by_table(source);
	if (ingest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not ingested", get_rel_name(source))));
	return ingest->stream;
}

static void
init_target(WaitTarget *target, Oid relation)
{
	memset(target, 0, sizeof(*target));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot wait for an ingest in a transaction of isolation level REPEATABLE READ or SERIALIZABLE"),
				 errhint("Use READ COMMITTED.")));
	target->relation = relation;
	tm_ingest_require_relation(relation);
	if (!tm_stream_is_stream(relation))
	{
		target->view = tm_meta_view_find(relation);
		if (target->view == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is neither a stream nor a continuous view", get_rel_name(relation))));
	}
	if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relation)),
					   get_rel_name(relation));
	target->stream = find_stream(target->view ? target->view->source : relation);
	/* it would wait for itself */
	tm_ingest_check_alone(target->stream);
}

static void
cannot_succeed(const char *kind, Oid relid, MetaState state, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s \"%s\" %s", kind, get_rel_name(relid),
					state == META_PAUSED ? "is paused" : "has failed"),
			 reason ? errdetail("Reason: %s.", reason) : 0));
}

/* Has a view's own position, or the stream's, reached the target? */
static bool
reached(const WaitTarget *target)
{
	MetaIngest *ingest = tm_meta_ingest_find(target->stream);
	MetaPartition *all;
	int			nall;
	int			done = 0;

	if (ingest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" is not ingested", get_rel_name(target->stream))));
	if (target->view != NULL)
	{
		MetaView   *view = tm_meta_view_find_by_state(target->view->state_table);

		if (view == NULL)
			tm_ingest_throw_view_dropped();
		if (view->state == META_PAUSED || view->state == META_FAILED)
			cannot_succeed("continuous view", view->view, view->state, view->reason);
		if (view->own_offsets || !view->populated)
			return false;
	}
	all = tm_meta_partition_list(target->stream, &nall);
	for (int i = 0; i < target->npartitions; i++)
		for (int j = 0; j < nall; j++)
			if (all[j].partition == target->partitions[i] &&
				all[j].next_offset >= target->offsets[i])
				done++;
	if (done == target->npartitions)
		return true;
	if (ingest->state != META_RUNNING)
		cannot_succeed("ingest of stream", target->stream, ingest->state, ingest->reason);
	return false;
}

/*
 * Workers see what this transaction has changed only once it is committed.
 */
static void
refuse_own_changes(const WaitTarget *target)
{
	if (tm_worker_is_wake_pending() &&
		tm_stream_get_options(target->stream)->transport == STREAM_KAFKA)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for an ingest in the transaction that changed one"),
				 errdetail("Workers begin when the transaction commits."),
				 errhint("Commit first.")));
}

/* Wait until reached() or the time is over. */
static bool
wait_until_reached(const WaitTarget *target, int64 timeout_us)
{
	int64		deadline;
	bool		listening;
	bool		result;

	if (timeout_us <= 0)
		return reached(target);
	refuse_own_changes(target);
	if (pg_add_s64_overflow(tm_clock_monotonic_us(), timeout_us, &deadline))
		deadline = PG_INT64_MAX;
	listening = tm_worker_listen_commits(true);
	PG_TRY();
	{
		while (!(result = reached(target)))
		{
			int64		left = deadline - tm_clock_monotonic_us();

			if (left <= 0)
				break;
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 listening ? Min((left + 999) / 1000, 1000) : Min((left + 999) / 1000, 100),
							 TM_WAIT_EVENT);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		(void) tm_worker_listen_commits(false);
	}
	PG_END_TRY();
	return result;
}

/*
 * More microseconds than an int64 holds are as good as forever, and so is
 * infinity, where intervals have one: all fields are at their limit.
 */
static int64
interval_us(const Interval *interval)
{
	int64		us;

	if (interval->month == PG_INT32_MAX && interval->day == PG_INT32_MAX &&
		interval->time == PG_INT64_MAX)
		return PG_INT64_MAX;
	if (interval->month == PG_INT32_MIN && interval->day == PG_INT32_MIN &&
		interval->time == PG_INT64_MIN)
		return 0;
	if (interval->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout cannot have months")));
	if (pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &us) ||
		pg_add_s64_overflow(us, interval->time, &us))
		us = interval->day < 0 ? 0 : PG_INT64_MAX;
	return us;
}

/* wait_for(relation, partition, kafka_offset, timeout) -> boolean */
Datum
tm_wait_for(PG_FUNCTION_ARGS)
{
	WaitTarget	target;
	int32		partition = PG_GETARG_INT32(1);
	int64		offset = PG_GETARG_INT64(2);
	MetaPartition *all;
	int			nall;
	bool		known = false;

	init_target(&target, PG_GETARG_OID(0));
	all = tm_meta_partition_list(target.stream, &nall);
	for (int i = 0; i < nall; i++)
		known |= all[i].partition == partition;
	if (!known && nall > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream \"%s\" has no partition %d", get_rel_name(target.stream), partition)));
	if (offset < PG_INT64_MAX)
		offset++;				/* what next_offset is behind the message */
	target.npartitions = 1;
	target.partitions = &partition;
	target.offsets = &offset;
	PG_RETURN_BOOL(wait_until_reached(&target, interval_us(PG_GETARG_INTERVAL_P(3))));
}

/* ---- the end of the log ---- */

static void
init_offsets(WaitTarget *target, int n)
{
	target->npartitions = n;
	target->partitions = palloc(sizeof(int32) * Max(n, 1));
	target->offsets = palloc(sizeof(int64) * Max(n, 1));
}

/* The end offsets of now; an error when the brokers do not answer. */
static void
set_target_to_end(WaitTarget *target)
{
	StreamOptions *options = tm_stream_get_options(target->stream);
	KafkaConsumer *consumer = NULL;
	StreamPartition *existing;
	int			n;

	if (options->transport == STREAM_KAFKA)
		consumer = tm_stream_open_consumer(options, options->owner, 0, CurrentMemoryContext);
	n = tm_stream_list_partitions(options, consumer, &existing);
	if (consumer != NULL)
		tm_kafka_consumer_close(consumer);
	init_offsets(target, n);
	for (int i = 0; i < n; i++)
	{
		target->partitions[i] = existing[i].partition;
		target->offsets[i] = existing[i].end;
	}
}

/* The same; false when the brokers do not answer in time. */
static bool
try_target_to_end(WaitTarget *target, int64 timeout_us)
{
	StreamOptions *options = tm_stream_get_options(target->stream);
	KafkaConsumer *consumer;
	int64	   *ends;
	int			n;
	bool		answered;

	if (options->transport != STREAM_KAFKA)
	{
		set_target_to_end(target);
		return true;
	}
	consumer = tm_stream_open_consumer(options, options->owner, 0, CurrentMemoryContext);
	answered = tm_kafka_consumer_try_ends(consumer, &n, &ends,
										  (int) Min(timeout_us / 1000, PG_INT32_MAX));
	tm_kafka_consumer_close(consumer);
	if (!answered)
		return false;
	init_offsets(target, n);
	for (int i = 0; i < n; i++)
	{
		target->partitions[i] = i;
		target->offsets[i] = ends[i];
	}
	return true;
}

/*
 * wait_caught_up(relation, timeout) -> boolean.  The brokers' answer is part of
 * what is waited for; who only asks gives them ASK_US.
 */
Datum
tm_wait_caught_up(PG_FUNCTION_ARGS)
{
	int64		timeout = interval_us(PG_GETARG_INTERVAL_P(1));
	int64		started = tm_clock_monotonic_us();
	WaitTarget	target;

	init_target(&target, PG_GETARG_OID(0));
	if (!try_target_to_end(&target, timeout > 0 ? timeout : ASK_US))
		PG_RETURN_BOOL(false);
	if (timeout > 0)
		timeout = Max(timeout - (tm_clock_monotonic_us() - started), 0);
	PG_RETURN_BOOL(wait_until_reached(&target, timeout));
}

void
tm_ingest_wait_refresh(const MetaView *view)
{
	WaitTarget	target;

	if (!tm_stream_is_stream(view->source) && tm_meta_ingest_find_by_table(view->source) == NULL)
		return;
	init_target(&target, view->view);
	set_target_to_end(&target);
	while (!wait_until_reached(&target, USECS_PER_SEC))
		CHECK_FOR_INTERRUPTS();
}
