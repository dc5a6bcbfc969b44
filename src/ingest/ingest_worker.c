/*
 * ingest_worker.c
 *	  The process that consumes a share of a stream's partitions.
 *
 * Start: attach to the slot, read the ingest, make missing partition rows,
 * check that the topic is the one that was read, assign.  Then: gather a batch
 * while no transaction is open, apply it, release it.
 *
 * A batch ends at batch_max_rows, batch_max_bytes, or batch_max_delay after
 * its first message; when the stream was idle before, its first messages are
 * committed at once.
 *
 * An error of the first attempt that says something about the data is
 * answered by a careful attempt with the same messages.  What that throws is
 * either transient (the process ends, the slot backs off, the ingest shows as
 * retrying) or makes the ingest failed.
 *
 * Runs in: a dynamic background worker per slot of role WORKER_INGEST.
 * Memory: everything of a batch in a context that is reset after it; messages
 * belong to the consumer.
 * Locks: none while polling.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/fault.h"
#include "base/settings.h"
#include "ingest/ingest_internal.h"
#include "ingest/ingest_process.h"

PGDLLEXPORT void tm_ingest_worker_main(Datum arg);

#define PARTITION_CHECK_US (60 * INT64CONST(1000000))
#define POSITION_SAVE_US INT64CONST(1000000)
#define CLOCK_US INT64CONST(1000000)
#define WAIT_MS 1000L
#define BROKER_TIMEOUT_MS 10000

typedef struct IngestWorker
{
	Oid			stream;
	int			index;
	MemoryContext cxt;			/* lives as long as the assignment */
	MemoryContext batch_cxt;	/* reset after each batch */
	MemoryContext error_cxt;	/* survives the abort of a transaction */
	StreamOptions *options;
	KafkaConsumer *consumer;
	int			workers;		/* that the partitions are split among */
	int			npartitions;
	int32	   *partitions;
	int64	   *saved_end;		/* end offsets in the catalog, by partition */
	int64	   *saved_next;		/* and positions */
	int64		next_check;		/* monotonic us: look for new partitions */
	int64		next_save;
	bool		idle;			/* nothing came during the last wait */
	IngestIdle *idleness;		/* of the partitions */
	bool		check_watermark;	/* others may have saved at the same time */
	int64		next_clock;		/* monotonic us: let the watermark follow time */
	bool		troubled;
	bool		has_unpopulated;	/* views to be promoted */
} IngestWorker;

/* Set when the stream, its server or its user mapping changed: read anew. */
static bool definition_changed = false;
static Oid	my_stream = InvalidOid;

static void
on_relcache(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == my_stream)
		definition_changed = true;
}

static void
on_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	definition_changed = true;
}

/* Is this partition the work of this worker? */
static bool
owns_partition(const MetaIngest *ingest, int index, int32 partition)
{
	return partition % ingest->workers == index;
}

static bool
is_wanted(const IngestWorker *worker, const MetaIngest *ingest)
{
	return ingest != NULL && ingest->state == META_RUNNING && worker->index < ingest->workers;
}

/*
 * Read the options and reach the brokers; while they do not answer, no
 * transaction is open.  False when the ingest is not to run (any more).
 */
static bool
open_consumer(IngestWorker *worker)
{
	MetaIngest *ingest;
	MemoryContext before;
	bool		wanted;

	MemoryContextReset(worker->cxt);
	definition_changed = false;
	tm_worker_begin();
	ingest = tm_ingest_lock(worker->stream, AccessShareLock);
	wanted = is_wanted(worker, ingest);
	if (wanted)
	{
		before = MemoryContextSwitchTo(worker->cxt);
		worker->options = tm_stream_get_options(worker->stream);
		worker->consumer = tm_stream_open_consumer(worker->options, worker->options->owner,
												   true, worker->cxt);
		MemoryContextSwitchTo(before);
	}
	tm_worker_commit();
	if (wanted)
		(void) tm_kafka_consumer_partitions(worker->consumer, BROKER_TIMEOUT_MS);
	return wanted;
}

/*
 * Read where to start and assign.  False when the ingest is not to run (any
 * more).
 */
static bool
start_reading(IngestWorker *worker)
{
	MetaIngest *ingest;
	MetaPartition *all;
	MetaPartition *mine;
	int64	   *offsets;
	int			nall;
	MemoryContext before;

	if (!open_consumer(worker))
		return false;
	tm_worker_begin();
	ingest = tm_ingest_lock(worker->stream, AccessShareLock);
	if (!is_wanted(worker, ingest))
	{
		tm_worker_commit();
		return false;
	}
	before = MemoryContextSwitchTo(worker->cxt);
	worker->workers = ingest->workers;
	tm_ingest_offsets_prepare(ingest, worker->options, worker->consumer);
	all = tm_meta_partition_list(worker->stream, &nall);
	mine = palloc(sizeof(MetaPartition) * Max(nall, 1));
	worker->partitions = palloc(sizeof(int32) * Max(nall, 1));
	worker->saved_end = palloc(sizeof(int64) * Max(nall, 1));
	worker->saved_next = palloc(sizeof(int64) * Max(nall, 1));
	offsets = palloc(sizeof(int64) * Max(nall, 1));
	worker->npartitions = 0;
	for (int i = 0; i < nall; i++)
		if (owns_partition(ingest, worker->index, all[i].partition))
		{
			mine[worker->npartitions] = all[i];
			worker->partitions[worker->npartitions] = all[i].partition;
			worker->saved_end[worker->npartitions] = all[i].end_offset;
			worker->saved_next[worker->npartitions] = all[i].next_offset;
			offsets[worker->npartitions++] = all[i].next_offset;
		}
	tm_ingest_offsets_check(ingest, worker->options, worker->consumer, worker->npartitions, mine);
	/* what was idle may have messages since: that is to be proved again */
	tm_meta_partition_end_idleness(worker->stream, worker->npartitions, worker->partitions);
	MemoryContextSwitchTo(before);
	tm_ingest_set_view_targets(worker->stream);
	worker->has_unpopulated = true;
	tm_worker_commit();
	tm_kafka_consumer_assign(worker->consumer, worker->npartitions, worker->partitions, offsets);
	TM_FAULT("assigned");
	worker->idleness = tm_ingest_idle_create(worker->npartitions, worker->partitions, worker->cxt);
	worker->next_check = tm_clock_monotonic_us() + PARTITION_CHECK_US;
	worker->next_save = 0;
	worker->next_clock = 0;
	worker->check_watermark = worker->workers > 1;
	worker->idle = true;
	return true;
}

/* ---- gathering a batch ---- */

static void
report_trouble(IngestWorker *worker)
{
	const char *trouble = tm_kafka_consumer_trouble(worker->consumer);

	if (trouble != NULL)
	{
		if (tm_worker_report_trouble(ERRCODE_CONNECTION_FAILURE, trouble,
									 "The worker goes on by itself when the brokers answer."))
			ereport(LOG,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("ingest of stream is waiting for Kafka: %s", trouble)));
		worker->troubled = true;
	}
	else if (worker->troubled)
	{
		(void) tm_worker_report_trouble(0, "", "");
		ereport(LOG,
				(errmsg("ingest of stream goes on: Kafka answers again")));
		worker->troubled = false;
	}
}

/* Enough for a batch? */
static bool
is_full(const IngestWorker *worker, int count, size_t bytes)
{
	return count >= worker->options->batch_max_rows ||
		bytes >= (size_t) worker->options->batch_max_bytes;
}

/*
 * Gather until the batch is full or its time is over.  Returns with an empty
 * batch after half a second or more in which no message came, whatever else the
 * client library had to say meanwhile.
 */
static void
gather(IngestWorker *worker)
{
	int64		deadline = 0;
	int64		started = tm_clock_monotonic_us();

	tm_worker_report_phase(WORKER_PHASE_POLL);
	for (;;)
	{
		int			count;
		size_t		bytes;
		int			added;
		int64		now;

		if (!tm_worker_continue())
			return;
		added = tm_kafka_consumer_poll(worker->consumer,
									   worker->options->batch_max_rows,
									   worker->options->batch_max_bytes);
		(void) tm_kafka_consumer_batch(worker->consumer, &count, &bytes);
		if (is_full(worker, count, bytes) || tm_kafka_consumer_is_full(worker->consumer))
			break;
		if (added > 0)
			continue;
		now = tm_clock_monotonic_us();
		if (count > 0 && deadline == 0)
			deadline = worker->idle ? now : now + worker->options->batch_max_delay;
		if (count > 0 && now >= deadline)
			break;
		report_trouble(worker);
		tm_worker_wait(tm_kafka_consumer_fd(worker->consumer),
					   count > 0 ? Max((deadline - now) / 1000, 1) : WAIT_MS);
		tm_kafka_consumer_drain_fd(worker->consumer);
		if (count == 0)
		{
			worker->idle = tm_clock_monotonic_us() - now >= worker->options->batch_max_delay;
			if (tm_clock_monotonic_us() - started >= WAIT_MS * 1000 / 2)
				return;
		}
	}
	worker->idle = false;
}

/* ---- applying it ---- */

static IngestPosition *
get_positions(IngestWorker *worker)
{
	IngestPosition *positions = palloc(sizeof(IngestPosition) * Max(worker->npartitions, 1));

	for (int i = 0; i < worker->npartitions; i++)
	{
		KafkaPosition position;

		if (!tm_kafka_consumer_position(worker->consumer, worker->partitions[i], &position))
			elog(ERROR, "partition %d is not assigned", worker->partitions[i]);
		positions[i].partition = worker->partitions[i];
		positions[i].position = position.position;
		positions[i].end = position.end;
		positions[i].at_end = position.at_end;
	}
	return positions;
}

/* One transaction. */
static IngestOutcome
apply(IngestWorker *worker, IngestBatch *batch, bool careful)
{
	IngestOutcome outcome;
	int64		started;

	batch->careful = careful;
	batch->workers = worker->workers;
	tm_worker_begin();
	outcome = tm_ingest_batch_apply(worker->stream, batch);
	started = tm_clock_monotonic_us();
	TM_FAULT("commit");
	tm_worker_commit();
	TM_FAULT("committed");
	batch->phase_us[WORKER_PHASE_COMMIT] = tm_clock_monotonic_us() - started;
	return outcome;
}

/* The ingest cannot go on: say so where people look, in a transaction of its own. */
static void
fail_ingest(IngestWorker *worker, const ErrorData *error)
{
	MetaIngest *ingest;

	tm_worker_begin();
	ingest = tm_ingest_lock(worker->stream, RowExclusiveLock);
	if (ingest != NULL && ingest->state == META_RUNNING)
		tm_ingest_set_failed(ingest, error->sqlerrcode, error->message, error->hint);
	tm_worker_commit();
}

/*
 * After an error outside any transaction of ours: clean up, and give the error
 * as the caller may need it.
 */
static ErrorData *
recover(MemoryContext cxt)
{
	ErrorData  *error;

	MemoryContextSwitchTo(cxt);
	error = CopyErrorData();
	HOLD_INTERRUPTS();
	AbortCurrentTransaction();
	FlushErrorState();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(cxt);
	return error;
}

static IngestOutcome
apply_twice(IngestWorker *worker, IngestBatch *batch)
{
	ErrorData  *error = NULL;
	volatile IngestOutcome outcome = INGEST_NOT_RUNNING;

	PG_TRY();
	{
		outcome = apply(worker, batch, false);
	}
	PG_CATCH();
	{
		error = recover(worker->batch_cxt);
	}
	PG_END_TRY();
	if (error == NULL)
		return outcome;
	if (tm_ingest_error_is_transient(error->sqlerrcode))
		ReThrowError(error);
	return apply(worker, batch, true);
}

static void
log_batch(const IngestBatch *batch)
{
	int64		total = 0;

	for (int i = WORKER_PHASE_DECODE; i < WORKER_NPHASES; i++)
		total += batch->phase_us[i];
	if (tm_setting_log_min_batch_duration >= 0 &&
		total >= tm_setting_log_min_batch_duration * INT64CONST(1000))
		ereport(LOG,
				(errmsg("batch of %d messages: %.3f ms (decode %.3f, store %.3f, maintain %.3f, commit %.3f)",
						batch->nmessages, total / 1000.0,
						batch->phase_us[WORKER_PHASE_DECODE] / 1000.0,
						batch->phase_us[WORKER_PHASE_STORE] / 1000.0,
						batch->phase_us[WORKER_PHASE_MAINTAIN] / 1000.0,
						batch->phase_us[WORKER_PHASE_COMMIT] / 1000.0)));
}

/*
 * Is there a reason to save positions although no message came?  Another end
 * offset, or control records behind the last message.
 */
static bool
positions_moved(IngestWorker *worker, const IngestPosition *positions)
{
	for (int i = 0; i < worker->npartitions; i++)
		if ((positions[i].end != KAFKA_OFFSET_NONE && positions[i].end != worker->saved_end[i]) ||
			(positions[i].at_end && positions[i].position > worker->saved_next[i]))
			return true;
	return false;
}

/* What the catalog has after a batch. */
static void
note_saved(IngestWorker *worker, const IngestBatch *batch)
{
	for (int i = 0; i < worker->npartitions; i++)
	{
		const IngestPosition *position = &batch->positions[i];

		worker->saved_end[i] = position->end;
		if (position->at_end)
			worker->saved_next[i] = position->position;
		for (int m = batch->nmessages - 1; !position->at_end && m >= 0; m--)
			if (batch->messages[m].partition == position->partition)
			{
				worker->saved_next[i] = batch->messages[m].offset + 1;
				break;
			}
	}
}

static void
store_group_offsets(IngestWorker *worker, const IngestPosition *positions)
{
	int64	   *offsets;

	if (worker->options->group_id == NULL)
		return;
	offsets = palloc(sizeof(int64) * Max(worker->npartitions, 1));
	for (int i = 0; i < worker->npartitions; i++)
		offsets[i] = positions[i].position;
	tm_kafka_consumer_store_group(worker->consumer, worker->npartitions, worker->partitions, offsets);
}

/*
 * Apply what was gathered; wanted: also if that is nothing.  False when the
 * ingest does not run any more.
 */
static bool
work_batch(IngestWorker *worker, bool wanted)
{
	MemoryContext before = MemoryContextSwitchTo(worker->batch_cxt);
	IngestBatch batch = {0};
	IngestPosition *positions = get_positions(worker);
	IngestOutcome outcome = INGEST_APPLIED;
	size_t		bytes;

	batch.messages = tm_kafka_consumer_batch(worker->consumer, &batch.nmessages, &bytes);
	batch.positions = positions;
	batch.npositions = worker->npartitions;
	tm_ingest_idle_prepare_batch(worker->idleness, batch.messages, batch.nmessages, positions);
	if (batch.nmessages > 0 || wanted ||
		(tm_clock_monotonic_us() >= worker->next_save && positions_moved(worker, positions)))
	{
		TM_FAULT("polled");
		outcome = apply_twice(worker, &batch);
		note_saved(worker, &batch);
		worker->check_watermark |= worker->workers > 1 &&
			(batch.nmessages > 0 || tm_ingest_idle_has_findings(worker->idleness));
		tm_ingest_idle_stored(worker->idleness);
		worker->next_save = tm_clock_monotonic_us() + POSITION_SAVE_US;
		if (batch.nmessages > 0 && outcome != INGEST_CHANGED)
		{
			tm_worker_report_batch(batch.phase_us, batch.rows);
			log_batch(&batch);
			store_group_offsets(worker, positions);
		}
	}
	tm_kafka_consumer_release(worker->consumer);
	MemoryContextSwitchTo(before);
	MemoryContextReset(worker->batch_cxt);
	if (outcome == INGEST_CHANGED)
		definition_changed = true;
	return outcome == INGEST_APPLIED || outcome == INGEST_CHANGED;
}

/*
 * Can the watermark of the stream move without a message: because partitions of
 * other workers moved while a batch of this one did not see it yet, or because
 * time passes while all are idle and a window waits for it?
 */
static bool
is_watermark_due(IngestWorker *worker)
{
	int64		clock = tm_clock_monotonic_us();
	bool		passes = worker->options->watermark_wall_clock && clock >= worker->next_clock &&
	tm_ingest_idle_is_complete(worker->idleness);
	MetaIngest *ingest;
	bool		result = false;

	/* while messages come, the next batch will tell */
	if (!passes && !(worker->check_watermark && worker->idle))
		return false;
	if (passes)
		worker->next_clock = clock + CLOCK_US;
	worker->check_watermark = false;
	tm_worker_begin();
	ingest = tm_ingest_lock(worker->stream, AccessShareLock);
	if (is_wanted(worker, ingest))
		result = tm_ingest_watermark_is_behind(ingest, worker->options, DT_NOBEGIN) ||
			(passes && tm_ingest_closes_windows(ingest) &&
			 tm_ingest_watermark_is_behind(ingest, worker->options, tm_clock_now()));
	tm_worker_commit();
	return result;
}

/* Find idle partitions and store that.  False as work_batch(). */
static bool
watch_watermark(IngestWorker *worker)
{
	if (definition_changed)
		return true;
	tm_ingest_idle_check(worker->idleness, worker->options, worker->consumer);
	if (!tm_ingest_idle_has_findings(worker->idleness) && !is_watermark_due(worker))
		return true;
	return work_batch(worker, true);
}

static void
promote_views(IngestWorker *worker)
{
	if (!worker->has_unpopulated)
		return;
	tm_worker_begin();
	worker->has_unpopulated = tm_ingest_promote_views(worker->stream);
	tm_worker_commit();
}

/* Partitions were added, options changed: start reading anew. */
static bool
check_assignment(IngestWorker *worker)
{
	int			nall;

	if (definition_changed)
		return start_reading(worker);
	if (tm_clock_monotonic_us() < worker->next_check)
		return true;
	worker->next_check = tm_clock_monotonic_us() + PARTITION_CHECK_US;
	tm_worker_begin();
	(void) tm_meta_partition_list(worker->stream, &nall);
	tm_worker_commit();
	if (tm_kafka_consumer_partitions(worker->consumer, BROKER_TIMEOUT_MS) <= nall)
		return true;
	return start_reading(worker);
}

static void
run_worker(IngestWorker *worker)
{
	if (!start_reading(worker))
		return;
	while (tm_worker_continue())
	{
		TM_FAULT("between");
		gather(worker);
		if (!work_batch(worker, false))
			break;
		promote_views(worker);
		if (!watch_watermark(worker))
			break;
		if (!check_assignment(worker))
			break;
	}
}

/*
 * Groups of a batch stay in memory up to a share of what the worker may use;
 * work_mem counts per hash table, and hash_mem_multiplier comes on top.
 */
static void
set_work_mem(void)
{
	SetConfigOption("work_mem", psprintf("%dMB", Max(tm_setting_worker_memory / 8, 4)),
					PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Top level: an error that will not pass makes the ingest failed; any other
 * ends the process, which is started again after a while.
 */
static void
end_with_error(IngestWorker *worker)
{
	ErrorData  *error;

	MemoryContextSwitchTo(worker->error_cxt);
	error = CopyErrorData();
	if (!tm_ingest_error_is_transient(error->sqlerrcode))
	{
		EmitErrorReport();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		fail_ingest(worker, error);
		tm_worker_report_done();
		proc_exit(0);
	}
	tm_worker_exit_with_error();
}

void
tm_ingest_worker_main(Datum arg)
{
	WorkerInfo	info;
	IngestWorker worker = {0};

	tm_worker_attach(&info);
	tm_worker_init_process(info.database);
	set_work_mem();
	TM_FAULT("started");
	worker.stream = my_stream = info.object;
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, on_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, on_syscache, (Datum) 0);
	worker.index = info.index;
	worker.cxt = AllocSetContextCreate(TopMemoryContext, "tidemark worker", ALLOCSET_DEFAULT_SIZES);
	worker.batch_cxt = AllocSetContextCreate(TopMemoryContext, "tidemark worker batch",
											 ALLOCSET_DEFAULT_SIZES);
	worker.error_cxt = AllocSetContextCreate(TopMemoryContext, "tidemark worker error",
											 ALLOCSET_SMALL_SIZES);
	PG_TRY();
	{
		run_worker(&worker);
	}
	PG_CATCH();
	{
		end_with_error(&worker);
	}
	PG_END_TRY();
	tm_worker_report_done();
	proc_exit(0);
}
