/*
 * ingest_worker.c
 *	  The process that consumes a share of a stream's partitions.
 *
 * Start (ingest_worker_start.c), then: gather a batch, look whether the topic is
 * still the same (ingest_anchor.c), apply it, release it.  No transaction is
 * open while a broker is asked or waited for.
 *
 * A batch ends at batch_max_rows, batch_max_bytes, or batch_max_delay after
 * the batch before it, so what comes to a stream that is idle is committed at
 * once.  With max_rate it also ends at what may be applied by then,
 * and nothing is polled before that is worth a batch (ingest_pace.c).
 *
 * An error of the first attempt that says something about the data is
 * answered by a careful attempt with the same messages.  What that throws is
 * either transient (the process ends, the slot backs off, the ingest shows as
 * retrying) or makes the ingest failed.  When memory was out, the next process
 * takes smaller batches (ingest_limits.c).
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
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/settings.h"
#include "ingest/ingest_process.h"
#include "ingest/ingest_worker.h"

PGDLLEXPORT void tm_ingest_worker_main(Datum arg);

#define POSITION_SAVE_US INT64CONST(1000000)
#define CLOCK_US INT64CONST(1000000)
#define WAIT_MS 1000L
#define BROKER_TIMEOUT_MS 10000
#define CHECK_TIMEOUT_MS 1000
#define CHECK_TIMEOUT_MAX_MS 20000

/* ---- gathering a batch ---- */

/* trouble: NULL when there is none. */
static void
report_trouble(IngestWorker *worker, const char *trouble)
{
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

/* Milliseconds to wait at most; hold: see tm_kafka_consumer_hold_us(). */
static long
wait_ms(int64 us, int64 hold)
{
	if (hold >= 0)
		us = Min(us, hold);
	return Max(us / 1000, 1);
}

/*
 * No message may be applied yet, so none is taken.  True when it is time to look
 * at what is to be done without one.
 */
static bool
wait_for_pace(IngestWorker *worker, int64 started)
{
	report_trouble(worker, tm_kafka_consumer_trouble(worker->consumer));
	tm_worker_wait(PGINVALID_SOCKET,
				   wait_ms(tm_ingest_pace_wait_us(&worker->pace), WAIT_MS * 1000 / 2));
	worker->idle = tm_clock_monotonic_us() - started >= WAIT_MS * 1000 / 2;
	return worker->idle;
}

/*
 * Gather until the batch is full or its time is over.  Returns with an empty
 * batch after half a second or more in which no message came, whatever else the
 * client library had to say meanwhile.  False when the definition has changed:
 * read again, with the options that hold now.
 */
static bool
gather(IngestWorker *worker)
{
	int			count = 0;
	int			room = 0;
	int			max_rows = tm_ingest_limits_rows(&worker->batch_limits, worker->options);
	size_t		max_bytes = tm_ingest_limits_bytes(&worker->batch_limits, worker->options);
	int64		started = tm_clock_monotonic_us();

	tm_worker_report_phase(WORKER_PHASE_POLL);
	for (;;)
	{
		bool		empty = count == 0;
		size_t		bytes;
		int			added;
		int64		now;
		int64		hold;

		if (!tm_worker_continue())
			break;
		if (empty)
			room = tm_ingest_pace_room(&worker->pace, max_rows);
		if (room == 0 && worker->more)
			break;
		if (room == 0)
		{
			if (wait_for_pace(worker, started))
				return true;
			continue;
		}
		added = tm_kafka_consumer_poll(worker->consumer, room, max_bytes);
		(void) tm_kafka_consumer_batch(worker->consumer, &count, &bytes);
		/* the first message is here: what was committed before it counts */
		if (empty && count > 0 && tm_ingest_worker_notice())
			return false;
		if (count >= room || bytes >= max_bytes ||
			tm_kafka_consumer_is_full(worker->consumer))
			break;
		if (added > 0)
			continue;
		if (worker->more)
			break;
		now = tm_clock_monotonic_us();
		if (count > 0 && now >= worker->batch_due)
			break;
		report_trouble(worker, tm_kafka_consumer_trouble(worker->consumer));
		hold = tm_kafka_consumer_hold_us(worker->consumer);
		tm_worker_wait(tm_kafka_consumer_fd(worker->consumer),
					   wait_ms(count > 0 ? worker->batch_due - now : WAIT_MS * 1000, hold));
		tm_kafka_consumer_drain_fd(worker->consumer);
		if (count == 0 && hold < 0 && tm_clock_monotonic_us() - started >= WAIT_MS * 1000 / 2)
		{
			worker->idle = true;
			return true;
		}
	}
	worker->idle = false;
	return true;
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
		positions[i].shed_to = 0;
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
	batch->phase_us[WORKER_PHASE_COMMIT] += tm_clock_monotonic_us() - started;
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
	if (tm_error_is_transient(error))
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
 * Is there something to save of a partition: messages, control records behind
 * the last of them, another end offset?
 */
static bool
has_moved(const IngestWorker *worker, int i, const IngestPosition *position)
{
	return position->position != worker->saved_next[i] ||
		(position->end != KAFKA_OFFSET_NONE && position->end != worker->saved_end[i]);
}

static bool
positions_moved(const IngestWorker *worker, const IngestPosition *positions)
{
	for (int i = 0; i < worker->npartitions; i++)
		if (has_moved(worker, i, &positions[i]))
			return true;
	return false;
}

/*
 * A topic may have many partitions of which few are written: a batch changes the
 * rows of those.  One row is always there to keep what the watermark of the
 * stream has become.
 */
static void
select_positions(const IngestWorker *worker, const IngestPosition *positions, IngestBatch *batch)
{
	IngestPosition *selected = palloc(sizeof(IngestPosition) * Max(worker->npartitions, 1));
	int64	   *from = palloc(sizeof(int64) * Max(worker->npartitions, 1));
	int			n = 0;

	for (int i = 0; i < worker->npartitions; i++)
		if (has_moved(worker, i, &positions[i]) || positions[i].shed_to > 0 ||
			positions[i].idleness != INGEST_IDLE_SAME)
		{
			from[n] = worker->stored_next[i];
			selected[n++] = positions[i];
		}
	if (n == 0 && worker->npartitions > 0)
	{
		from[0] = worker->stored_next[0];
		selected[n++] = positions[0];
	}
	batch->positions = selected;
	batch->npositions = n;
	batch->from = from;
	batch->next = palloc(sizeof(int64) * Max(n, 1));
}

/* An end offset that goes back is not one of the log that was read. */
static bool
ends_went_back(IngestWorker *worker, const IngestPosition *positions)
{
	for (int i = 0; i < worker->npartitions; i++)
		if (positions[i].end != KAFKA_OFFSET_NONE && positions[i].end < worker->saved_end[i])
			return true;
	return false;
}

/*
 * Nothing came.  Trouble with the brokers is reported while polling, and a topic
 * that stays away too, so neither is an error here.
 */
static void
check_topic_idle(IngestWorker *worker)
{
	ErrorData  *error = NULL;

	if (worker->troubled || !tm_ingest_watch_is_idle_check_due(&worker->watch))
		return;
	PG_TRY();
	{
		tm_ingest_watch_check_idle(&worker->watch, worker->options, worker->consumer,
								   CHECK_TIMEOUT_MS);
	}
	PG_CATCH();
	{
		error = recover(worker->batch_cxt);
	}
	PG_END_TRY();
	if (error != NULL && error->sqlerrcode != ERRCODE_UNDEFINED_TABLE &&
		!tm_error_is_transient(error))
		ReThrowError(error);
}

/*
 * Before a batch is applied: is the topic still the same?  While the brokers do
 * not answer the batch waits, for a minute at most: a new process reads it again
 * then.  False when the worker is to end.
 */
static bool
confirm_topic(IngestWorker *worker, bool suspicious, bool *checked)
{
	int			timeout_ms = CHECK_TIMEOUT_MS;

	while (tm_worker_continue())
	{
		const char *trouble;
		ErrorData  *error = NULL;

		PG_TRY();
		{
			*checked = tm_ingest_watch_check(&worker->watch, worker->options, worker->consumer,
											 suspicious, timeout_ms);
		}
		PG_CATCH();
		{
			error = recover(worker->batch_cxt);
		}
		PG_END_TRY();
		if (error == NULL)
			return true;
		if (!tm_error_is_transient(error) ||
			timeout_ms > CHECK_TIMEOUT_MAX_MS)
			ReThrowError(error);
		trouble = tm_kafka_consumer_trouble(worker->consumer);
		report_trouble(worker, trouble ? trouble : error->message);
		timeout_ms *= 2;
	}
	return false;
}

/* What the catalog has after a batch. */
static void
note_saved(IngestWorker *worker, const IngestBatch *batch, const IngestPosition *positions)
{
	int			n = 0;			/* both are in the order of partitions */

	for (int i = 0; i < worker->npartitions; i++)
	{
		worker->saved_end[i] = positions[i].end;
		worker->saved_next[i] = Max(positions[i].position, positions[i].shed_to);
		if (n < batch->npositions && batch->positions[n].partition == worker->partitions[i])
			worker->stored_next[i] = batch->next[n++];
	}
}

/* A batch is done: what follows from it. */
static void
note_applied(IngestWorker *worker, const IngestBatch *batch, const IngestPosition *positions,
			 IngestOutcome outcome, bool checked)
{
	bool		closing = worker->more;

	if (outcome == INGEST_CHANGED)
		return;
	if (outcome == INGEST_APPLIED && batch->nmessages > 0)
		tm_ingest_watch_advance(&worker->watch, &batch->messages[batch->nmessages - 1], checked);
	if (outcome == INGEST_APPLIED)
		tm_ingest_shed_done(worker->shed, worker->name, worker->options, worker->consumer,
							worker->npartitions, positions);
	tm_ingest_pace_spend(&worker->pace, batch->nmessages);
	if (outcome == INGEST_APPLIED)
		note_saved(worker, batch, positions);
	worker->check_watermark |= worker->workers > 1 &&
		(batch->nmessages > 0 || tm_ingest_idle_has_findings(worker->idleness));
	tm_ingest_idle_stored(worker->idleness);
	worker->more = batch->more;
	worker->next_save = tm_clock_monotonic_us() + POSITION_SAVE_US;
	if (batch->nmessages > 0)
	{
		worker->batch_due = tm_clock_monotonic_us() + worker->options->batch_max_delay;
		tm_ingest_limits_grow(&worker->batch_limits);
		tm_worker_report_batch(batch->phase_us, batch->rows);
		if (worker->options->group_id != NULL)
			tm_kafka_consumer_store_group(worker->consumer, worker->npartitions,
										  worker->partitions, worker->saved_next);
	}
	/* one that only went on closing windows can be long too */
	if (batch->nmessages > 0 || closing)
		log_batch(batch);
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
	bool		checked = false;
	bool		shed = tm_ingest_shed_decide(worker->shed, worker->options, worker->consumer,
											 worker->npartitions, positions);
	bool		moved = positions_moved(worker, positions);

	batch.messages = tm_kafka_consumer_batch(worker->consumer, &batch.nmessages, &bytes);
	tm_ingest_idle_prepare_batch(worker->idleness, batch.messages, batch.nmessages, positions);
	if (batch.nmessages > 0 || wanted || worker->more || shed ||
		(tm_clock_monotonic_us() >= worker->next_save && moved))
	{
		select_positions(worker, positions, &batch);
		TM_FAULT("polled");
		/* what only ends idleness must not wait for brokers */
		if ((batch.nmessages > 0 || moved || shed) &&
			!confirm_topic(worker, shed || ends_went_back(worker, positions), &checked))
			return false;
		outcome = apply_twice(worker, &batch);
		note_applied(worker, &batch, positions, outcome, checked);
	}
	else
		check_topic_idle(worker);
	tm_kafka_consumer_release(worker->consumer);
	MemoryContextSwitchTo(before);
	MemoryContextReset(worker->batch_cxt);
	if (outcome == INGEST_CHANGED)
		tm_ingest_worker_set_changed();
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
	if (tm_ingest_worker_is_wanted(worker, ingest))
		result = tm_ingest_watermark_is_behind(ingest, worker->options, DT_NOBEGIN) ||
			(passes && tm_ingest_closes_windows(ingest) &&
			 tm_ingest_watermark_is_behind(ingest, worker->options, tm_clock_now()));
	tm_worker_commit();
	return result;
}

/*
 * Is there a view that may have windows to close though no message comes: one
 * that has joined just now, or one of a process that ended in the middle?
 */
static bool
have_closing_views_changed(IngestWorker *worker)
{
	MetaIngest *ingest;
	bool		result;

	if (!worker->idle || !tm_ingest_worker_have_views_changed())
		return false;
	tm_worker_begin();
	ingest = tm_ingest_lock(worker->stream, AccessShareLock);
	result = tm_ingest_worker_is_wanted(worker, ingest) && tm_ingest_closes_windows(ingest);
	tm_worker_commit();
	return result;
}

/* What is to be done without a message.  False as work_batch(). */
static bool
watch_watermark(IngestWorker *worker)
{
	if (tm_ingest_worker_is_changed() || (worker->idle && tm_ingest_worker_notice()))
		return true;
	tm_ingest_idle_check(worker->idleness, worker->options, worker->consumer);
	if (!tm_ingest_idle_has_findings(worker->idleness) && !is_watermark_due(worker) &&
		!have_closing_views_changed(worker))
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

	if (tm_ingest_worker_is_changed())
		return tm_ingest_worker_start(worker);
	if (tm_clock_monotonic_us() < worker->next_check)
		return true;
	worker->next_check = tm_ingest_worker_next_check();
	tm_worker_begin();
	(void) tm_meta_partition_list(worker->stream, &nall);
	tm_worker_commit();
	/* another worker may have been the first to see them */
	if (nall == worker->nall &&
		tm_kafka_consumer_partitions(worker->consumer, BROKER_TIMEOUT_MS) <= nall)
		return true;
	return tm_ingest_worker_start(worker);
}

static void
run_worker(IngestWorker *worker)
{
	tm_ingest_worker_watch(worker->stream);
	if (!tm_ingest_worker_start(worker))
		return;
	while (tm_worker_continue())
	{
		TM_FAULT("between");
		if (gather(worker))
		{
			if (!work_batch(worker, false))
				break;
			promote_views(worker);
		}
		if (!watch_watermark(worker))
			break;
		if (!check_assignment(worker))
			break;
	}
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
	if (!tm_error_is_transient(error))
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
	tm_ingest_limits_init(&worker.batch_limits, &info);
	TM_FAULT("started");
	worker.stream = info.object;
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
