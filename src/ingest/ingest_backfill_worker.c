/*
 * ingest_backfill_worker.c
 *	  The process that reads the log of a Kafka stream into one new view.
 *
 * It reads from the view's own positions, never past the ingest's; each batch
 * commits state and positions together, so it resumes where it was after any
 * crash.  When little is missing it gathers that, locks the stream against
 * batches, adds what was committed meanwhile, which as a rule has arrived too,
 * and lets the view join the ingest (see ingest_backfill.c).
 *
 * Runs in: a dynamic background worker per slot of role WORKER_BACKFILL.
 * Memory: a context that is reset after each batch; messages belong to the
 * consumer.
 * Locks: none while polling, except in the last step, for at most
 * JOIN_LOCKED_US.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fault.h"
#include "ingest/ingest_internal.h"
#include "ingest/ingest_process.h"
#include "maintain/maintain.h"

PGDLLEXPORT void tm_backfill_worker_main(Datum arg);

#define JOIN_TIMEOUT_US INT64CONST(5000000)
#define JOIN_LOCKED_US INT64CONST(200000)
#define INGEST_WAIT_MS	200

typedef struct BackfillWorker
{
	Oid			state_table;
	MemoryContext cxt;
	MemoryContext batch_cxt;
	MemoryContext error_cxt;
	StreamOptions *options;
	KafkaConsumer *consumer;
	int			npartitions;
	MetaViewPartition *positions;	/* in order of partitions */
	int64	   *saved_next;		/* of them in the catalog; -1: not there */
	int64	   *limits;			/* the ingest's positions */
	bool		must_assign;	/* the consumer stands elsewhere */
	IngestLimits batch_limits;
} BackfillWorker;

/* The view, if it still wants a backfill. */
static MetaView *
find_view(const BackfillWorker *worker)
{
	MetaView   *view = tm_meta_view_find_by_state(worker->state_table);

	if (view == NULL || view->state != META_BACKFILLING || !view->own_offsets)
		return NULL;
	return view;
}

/* What is known before the brokers are asked: where view and ingest start. */
typedef struct BackfillStart
{
	StreamStart *view;			/* NULL when there are positions already */
	StreamStart *ingest;
} BackfillStart;

/* Positions of a view that has none: its start, or the first offset. */
static void
prepare_positions(const MetaView *view, const StreamOptions *options, MetaIngest *ingest,
				  const IngestLog *log, const IngestLog *ingest_log)
{
	MetaPartition *partitions;
	int			npartitions;

	tm_ingest_offsets_insert(ingest, ingest_log);
	partitions = tm_meta_partition_list(view->source, &npartitions);
	for (int i = 0; i < log->npartitions; i++)
	{
		const StreamPartition *existing = &log->partitions[i];
		int64		start = log->starts[i] == KAFKA_OFFSET_NONE ? existing->earliest : log->starts[i];
		const MetaPartition *partition = NULL;
		MetaViewPartition vp;

		for (int j = 0; j < npartitions; j++)
			if (partitions[j].partition == existing->partition)
				partition = &partitions[j];
		vp = tm_ingest_backfill_position(view, options, existing->partition, start, partition);
		/* what retention has removed cannot be read, for the watermark either */
		vp.next_offset = Max(vp.next_offset, Min(existing->earliest, start));
		vp.target_offset = Max(existing->end, start);
		tm_meta_view_partition_put(view->state_table, &vp);
	}
}

/*
 * Load positions and limits.  A partition that the ingest found later is read
 * from where the ingest began with it.
 */
static void
load_positions(BackfillWorker *worker, const MetaView *view)
{
	MemoryContext before;
	MetaPartition *ingest;
	MetaViewPartition *known;
	int			ningest;
	int			nknown;

	ingest = tm_meta_partition_list(view->source, &ningest);
	known = tm_meta_view_partition_list(view->state_table, &nknown, true);
	before = MemoryContextSwitchTo(worker->cxt);
	if (worker->positions != NULL)
	{
		pfree(worker->positions);
		pfree(worker->saved_next);
		pfree(worker->limits);
	}
	worker->positions = palloc0(sizeof(MetaViewPartition) * Max(ningest, 1));
	worker->saved_next = palloc0(sizeof(int64) * Max(ningest, 1));
	worker->limits = palloc0(sizeof(int64) * Max(ningest, 1));
	worker->npartitions = ningest;
	for (int i = 0; i < ningest; i++)
	{
		MetaViewPartition *vp = &worker->positions[i];
		const MetaViewPartition *found;

		vp->partition = ingest[i].partition;
		vp->start_offset = vp->next_offset = vp->target_offset = ingest[i].first_offset;
		vp->start_max_event_time = vp->max_event_time = DT_NOBEGIN;
		worker->saved_next[i] = -1;
		found = tm_ingest_backfill_find(known, nknown, vp->partition, NULL);
		if (found != NULL)
		{
			*vp = *found;
			worker->saved_next[i] = vp->next_offset;
		}
		worker->limits[i] = ingest[i].next_offset;
	}
	MemoryContextSwitchTo(before);
}

/* The view and its ingest, locked; false when there is nothing to do. */
static bool
find_work(const BackfillWorker *worker, MetaView **view, MetaIngest **ingest)
{
	*view = find_view(worker);
	*ingest = *view ? tm_ingest_lock((*view)->source, AccessShareLock) : NULL;
	return *ingest != NULL;
}

/* Read what is to be done, and make the client. */
static bool
read_definition(BackfillWorker *worker, BackfillStart *start)
{
	MemoryContext before;
	MetaView   *view;
	MetaIngest *ingest;
	int			known;
	bool		wanted;

	tm_worker_begin();
	before = MemoryContextSwitchTo(worker->cxt);
	wanted = find_work(worker, &view, &ingest);
	if (wanted)
	{
		worker->options = tm_stream_get_options(view->source);
		worker->consumer = tm_stream_open_consumer(worker->options, worker->options->owner, 0,
												   worker->cxt);
		(void) tm_meta_view_partition_list(view->state_table, &known, false);
		start->view = known == 0 ? tm_stream_parse_start(view->start_at) : NULL;
		start->ingest = known == 0 ? tm_stream_parse_start(ingest->start_at) : NULL;
	}
	MemoryContextSwitchTo(before);
	tm_worker_commit();
	return wanted;
}

/*
 * Find out where to start.  The brokers are asked between two transactions, so
 * that none is open while they do not answer.
 */
static bool
start_reading(BackfillWorker *worker)
{
	BackfillStart start = {0};
	IngestLog	log;
	IngestLog	ingest_log;
	MemoryContext before;
	MetaView   *view;
	MetaIngest *ingest;
	int			known;
	bool		wanted;

	if (!read_definition(worker, &start))
		return false;
	if (start.view != NULL)
	{
		before = MemoryContextSwitchTo(worker->cxt);
		tm_ingest_offsets_ask(worker->options, worker->consumer, start.view, &log);
		tm_ingest_offsets_ask(worker->options, worker->consumer, start.ingest, &ingest_log);
		MemoryContextSwitchTo(before);
	}
	tm_worker_begin();
	wanted = find_work(worker, &view, &ingest);
	if (wanted)
	{
		(void) tm_meta_view_partition_list(view->state_table, &known, true);
		/* positions that were there are gone: the next process begins anew */
		wanted = known > 0 || start.view != NULL;
	}
	if (wanted)
	{
		if (known == 0)
			prepare_positions(view, worker->options, ingest, &log, &ingest_log);
		load_positions(worker, view);
		worker->must_assign = true;
	}
	tm_worker_commit();
	return wanted;
}

/* ---- reading ---- */

/* all: also partitions of which nothing is wanted yet. */
static void
assign(BackfillWorker *worker, bool all)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(worker->npartitions, 1));
	int64	   *offsets = palloc(sizeof(int64) * Max(worker->npartitions, 1));
	int			n = 0;

	for (int i = 0; i < worker->npartitions; i++)
	{
		if (!all && worker->positions[i].next_offset >= worker->limits[i])
			continue;			/* nothing to read there */
		partitions[n] = worker->positions[i].partition;
		offsets[n++] = worker->positions[i].next_offset;
	}
	tm_kafka_consumer_assign(worker->consumer, n, partitions, offsets);
	worker->must_assign = false;
}

/* How far the consumer has read a partition, within its limit. */
static int64
reached(BackfillWorker *worker, int i)
{
	KafkaPosition position;

	if (!tm_kafka_consumer_position(worker->consumer, worker->positions[i].partition, &position))
		return worker->positions[i].next_offset;	/* not assigned: complete */
	return Max(Min(position.position, worker->limits[i]), worker->positions[i].next_offset);
}

static bool
all_reached(BackfillWorker *worker)
{
	for (int i = 0; i < worker->npartitions; i++)
		if (reached(worker, i) < worker->limits[i])
			return false;
	return true;
}

/* Poll until the batch is full or everything up to the limits is there. */
static void
gather(BackfillWorker *worker, int64 deadline)
{
	int			max_rows = tm_ingest_limits_rows(&worker->batch_limits, worker->options);
	size_t		max_bytes = tm_ingest_limits_bytes(&worker->batch_limits, worker->options);

	for (;;)
	{
		int			count;
		size_t		bytes;

		CHECK_FOR_INTERRUPTS();
		(void) tm_kafka_consumer_batch(worker->consumer, &count, &bytes);
		if (count >= max_rows || bytes >= max_bytes ||
			tm_kafka_consumer_is_full(worker->consumer) || all_reached(worker))
			return;
		if (tm_kafka_consumer_poll(worker->consumer, max_rows, max_bytes) > 0)
			continue;
		if (deadline != 0 && tm_clock_monotonic_us() >= deadline)
			return;
		if (deadline == 0 && !tm_worker_continue())
			return;
		if (tm_kafka_consumer_trouble(worker->consumer) != NULL)
			(void) tm_worker_report_trouble(ERRCODE_CONNECTION_FAILURE,
											tm_kafka_consumer_trouble(worker->consumer),
											"The worker goes on by itself when the brokers answer.");
		tm_worker_wait(tm_kafka_consumer_fd(worker->consumer), 100);
		tm_kafka_consumer_drain_fd(worker->consumer);
	}
}

/* Messages below the limits, in the batch context; the rest is read again. */
static KafkaMessage *
usable_messages(BackfillWorker *worker, int *count)
{
	int			n;
	size_t		bytes;
	const KafkaMessage *all = tm_kafka_consumer_batch(worker->consumer, &n, &bytes);
	KafkaMessage *result = palloc(sizeof(KafkaMessage) * Max(n, 1));
	MetaViewPartition *position = NULL;

	*count = 0;
	for (int m = 0; m < n; m++)
	{
		position = tm_ingest_backfill_find(worker->positions, worker->npartitions,
										   all[m].partition, position);
		if (position == NULL)
			continue;
		if (all[m].offset < worker->limits[position - worker->positions])
			result[(*count)++] = all[m];
		else
			worker->must_assign = true;
	}
	return result;
}

/* Apply what was gathered, inside the current transaction. */
static void
apply_gathered(BackfillWorker *worker, const MetaView *view)
{
	int			n;
	KafkaMessage *messages = usable_messages(worker, &n);

	if (n > 0)
		tm_ingest_backfill_apply(view, worker->options, messages, n, worker->positions,
								 worker->npartitions);
	for (int i = 0; i < worker->npartitions; i++)
	{
		worker->positions[i].next_offset = reached(worker, i);
		if (worker->positions[i].next_offset == worker->saved_next[i])
			continue;
		tm_meta_view_partition_put(worker->state_table, &worker->positions[i]);
		worker->saved_next[i] = worker->positions[i].next_offset;
	}
}

/* One batch.  False when the view does not want it any more. */
static bool
work_batch(BackfillWorker *worker)
{
	MetaView   *view;
	int			locked;

	gather(worker, 0);
	tm_worker_begin();
	view = find_view(worker);
	if (view == NULL)
	{
		tm_worker_commit();
		return false;
	}
	LockRelationOid(view->source, RowExclusiveLock);
	(void) tm_meta_view_partition_list(view->state_table, &locked, true);
	TM_FAULT("backfill");
	apply_gathered(worker, view);
	TM_FAULT("backfilled");
	tm_worker_commit();
	tm_kafka_consumer_release(worker->consumer);
	tm_ingest_limits_grow(&worker->batch_limits);
	return true;
}

/* ---- joining the ingest ---- */

static int64
missing(const BackfillWorker *worker)
{
	int64		sum = 0;

	for (int i = 0; i < worker->npartitions; i++)
		sum += Max(worker->limits[i] - worker->positions[i].next_offset, 0);
	return sum;
}

/* The ingest would give the view messages from before its start. */
static bool
is_ingest_behind(const BackfillWorker *worker)
{
	for (int i = 0; i < worker->npartitions; i++)
		if (worker->limits[i] < worker->positions[i].start_offset)
			return true;
	return false;
}

/* Where the ingest stands now.  False when the view does not want it any more. */
static bool
refresh_limits(BackfillWorker *worker)
{
	MetaView   *view;

	tm_worker_begin();
	view = find_view(worker);
	if (view != NULL)
		load_positions(worker, view);
	tm_worker_commit();
	return view != NULL;
}

/*
 * Gather the rest; with batches locked out, add what came since, and join.  True
 * when the view has joined or does not want to any more.
 */
static bool
try_join(BackfillWorker *worker)
{
	MetaView   *view;
	bool		joined;

	(void) refresh_limits(worker);
	MemoryContextSwitchTo(worker->batch_cxt);	/* commit left it */
	assign(worker, true);
	gather(worker, tm_clock_monotonic_us() + JOIN_TIMEOUT_US);
	tm_worker_begin();
	view = find_view(worker);
	if (view == NULL)
	{
		tm_worker_commit();
		return true;
	}
	LockRelationOid(view->source, ShareRowExclusiveLock);
	load_positions(worker, view);
	gather(worker, tm_clock_monotonic_us() + JOIN_LOCKED_US);
	joined = all_reached(worker) && !is_ingest_behind(worker);
	apply_gathered(worker, view);
	if (joined)
	{
		view->own_offsets = false;
		view->populated = true;
		view->state = META_LIVE;
		view->since = tm_clock_now();
		tm_meta_view_update(view);
		tm_ingest_signal_at_commit();
		tm_worker_wake_scheduler_at_commit();
		TM_FAULT("joining");
	}
	tm_worker_commit();
	tm_kafka_consumer_release(worker->consumer);
	worker->must_assign = true;
	return joined;
}

static void
run_backfill(BackfillWorker *worker)
{
	if (!start_reading(worker))
		return;
	while (tm_worker_continue())
	{
		MemoryContext before = MemoryContextSwitchTo(worker->batch_cxt);
		bool		done;

		if (missing(worker) == 0 && is_ingest_behind(worker))
		{
			tm_worker_wait(PGINVALID_SOCKET, INGEST_WAIT_MS);
			done = !refresh_limits(worker);
		}
		else if (missing(worker) <= tm_ingest_limits_rows(&worker->batch_limits, worker->options))
			done = try_join(worker);
		else
		{
			if (worker->must_assign)
				assign(worker, false);
			done = !work_batch(worker);
			if (!done && missing(worker) == 0)
				done = !refresh_limits(worker);
		}
		MemoryContextSwitchTo(before);
		MemoryContextReset(worker->batch_cxt);
		if (done)
			return;
	}
}

/* An error that will not pass makes the view failed. */
static void
end_with_error(BackfillWorker *worker)
{
	ErrorData  *error;
	MetaView   *view;

	MemoryContextSwitchTo(worker->error_cxt);
	error = CopyErrorData();
	if (tm_error_is_transient(error))
		tm_worker_exit_with_error();
	EmitErrorReport();
	HOLD_INTERRUPTS();
	AbortCurrentTransaction();
	FlushErrorState();
	RESUME_INTERRUPTS();
	tm_worker_begin();
	view = find_view(worker);
	if (view != NULL)
		tm_ingest_view_set_failed(view, error->sqlerrcode, error->message);
	tm_worker_wake_scheduler_at_commit();
	tm_worker_commit();
}

void
tm_backfill_worker_main(Datum arg)
{
	WorkerInfo	info;
	BackfillWorker worker = {0};

	tm_worker_attach(&info);
	tm_worker_init_process(info.database);
	tm_ingest_limits_init(&worker.batch_limits, &info);
	worker.state_table = info.object;
	worker.cxt = AllocSetContextCreate(TopMemoryContext, "tidemark backfill worker",
									   ALLOCSET_DEFAULT_SIZES);
	worker.batch_cxt = AllocSetContextCreate(TopMemoryContext, "tidemark backfill batch",
											 ALLOCSET_DEFAULT_SIZES);
	worker.error_cxt = AllocSetContextCreate(TopMemoryContext, "tidemark backfill error",
											 ALLOCSET_SMALL_SIZES);
	PG_TRY();
	{
		run_backfill(&worker);
	}
	PG_CATCH();
	{
		end_with_error(&worker);
	}
	PG_END_TRY();
	tm_worker_report_done();
	proc_exit(0);
}
