/*
 * ingest_batch.c
 *	  One batch of messages = one transaction.
 *
 * Rows, view states, watermarks, dead letters, counters and positions of a
 * batch change together or not at all.  That this gives "exactly once from
 * what a read_committed consumer is given" rests on:
 *
 * I1. A partition's row changes only in the transaction that applies the
 *	   messages it counts (meta_partition.c).
 * I2. The row is locked before the first message is applied, and saved only if
 *	   it still has the position the batch started from; so of two processes
 *	   that believe they own a partition one aborts.
 * I3. Messages of a partition are applied in offset order and none below
 *	   next_offset; next_offset then is one more than the last of them, or the
 *	   end position when the consumer saw the end of the partition.  What is
 *	   left out beyond that (shed_above_lag) goes on record in the same
 *	   transaction.
 * I4. Which rows are decoded, refused or late follows from the content of each
 *	   partition in offset order alone: watermarks advance row by row, never
 *	   batch by batch.
 *
 * Order of locks: stream, table, partitions in order, views by state table
 * OID.  The list of views is read after the locks on stream and table, so a
 * view that is being created is either seen by a batch or has already seen
 * what that batch did.
 *
 * First attempt and careful attempt: the first has no subtransaction and any
 * error aborts it; then the batch is repeated carefully, where a refused row
 * becomes a dead letter and a failing view fails alone.  inject(), which
 * cannot abort its caller's transaction, is always careful.
 *
 * Runs in: workers; backends that call inject() or resume a manual stream.
 * Memory: a context per batch, below the caller's.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/settings.h"
#include "ingest/ingest_internal.h"
#include "maintain/maintain.h"
#include "view/view.h"

/* max_error_ratio is judged from this many messages on. */
#define ERROR_RATIO_MIN 100

/* One batch on its way through the steps. */
typedef struct BatchRun
{
	IngestBatch *batch;
	MetaIngest *ingest;
	const char *name;			/* of the stream: an abort, which may log, can
								 * look nothing up */
	List	   *stream_views;	/* live views over the stream */
	List	   *table_views;	/* live views over the table */
	IngestContext *ctx;
	MetaPartition *partitions;
	int			npartitions;
	MetaPartition *last;		/* that was looked for: runs are the rule */
	int64	   *expected;		/* positions found at the lock */
	MetaPartition *locked;		/* partitions as found at the lock */
	TimestampTz ingest_time;
	TimestampTz stream_watermark;	/* after the batch; DT_NOBEGIN = none yet */
	StreamRows *rows;			/* decoded */
	StreamRows *stored;			/* as the table has them, for table_views */
	List	   *letters;		/* of DeadLetter */
	int			current;		/* message at work, for error context; -1 */
	/* on_error = fail, or too many bad messages: */
	bool		fail;
	int			fail_sqlstate;
	char	   *fail_reason;
	char	   *fail_hint;
	int			nmessages;		/* to apply: fewer when on_error = fail */
	bool		changed;		/* the catalog is elsewhere */
} BatchRun;

/* ---- locks and lists ---- */

MetaIngest *
tm_ingest_lock(Oid stream, LOCKMODE mode)
{
	Oid			locked = InvalidOid;

	LockRelationOid(stream, mode);
	for (;;)
	{
		MetaIngest *ingest = tm_meta_ingest_find(stream);

		/* the table may have been dropped while we waited for its lock */
		if (ingest == NULL || ingest->into_table == locked)
			return ingest;
		locked = ingest->into_table;
		if (!OidIsValid(locked))
			return ingest;
		LockRelationOid(locked, RowExclusiveLock);
	}
}

List *
tm_ingest_live_views(Oid source)
{
	List	   *result = NIL;
	ListCell   *lc;
	List	   *all;

	if (!OidIsValid(source))
		return NIL;
	all = tm_meta_view_list(source);
	foreach(lc, all)
	{
		MetaView   *view = lfirst(lc);

		/* one that follows the ingest from its start may not be populated yet */
		if ((view->state == META_LIVE || view->state == META_BACKFILLING) &&
			!view->own_offsets)
			result = lappend(result, view);
	}
	return result;
}

static int
compare_numbers(const void *a, const void *b)
{
	int32		left = *(const int32 *) a;
	int32		right = *(const int32 *) b;

	return left < right ? -1 : left > right;
}

/* Partition numbers of messages and positions in order, each once. */
static int32 *
list_partitions(const IngestBatch *batch, int *count)
{
	int32	   *result = palloc(sizeof(int32) * Max(batch->nmessages + batch->npositions, 1));
	int			n = 0;

	for (int i = 0; i < batch->npositions; i++)
		result[n++] = batch->positions[i].partition;
	/* runs of one partition are the rule */
	for (int i = 0; i < batch->nmessages; i++)
		if (i == 0 || batch->messages[i].partition != batch->messages[i - 1].partition)
			result[n++] = batch->messages[i].partition;
	qsort(result, n, sizeof(int32), compare_numbers);
	*count = qunique(result, n, sizeof(int32), compare_numbers);
	return result;
}

static int
compare_partitions(const void *number, const void *partition)
{
	return compare_numbers(number, &((const MetaPartition *) partition)->partition);
}

static MetaPartition *
find_partition(BatchRun *run, int32 number)
{
	return bsearch(&number, run->partitions, run->npartitions, sizeof(MetaPartition),
				   compare_partitions);
}

/*
 * Does the catalog stand where the consumer has read from?  Who drops an ingest
 * and starts it again, or resets it, in one transaction leaves a worker that
 * reads elsewhere, ahead or behind, and sees the ingest run all the time.
 */
static bool
is_elsewhere(BatchRun *run)
{
	const IngestBatch *batch = run->batch;

	if (batch->from == NULL)
		return false;
	for (int i = 0; i < batch->npositions; i++)
	{
		const MetaPartition *p = find_partition(run, batch->positions[i].partition);

		if (p == NULL || p->next_offset != batch->from[i])
			return true;
	}
	return false;
}

/* Sets run->changed when nothing can be applied. */
static void
lock_partitions(BatchRun *run)
{
	int			wanted;
	int32	   *numbers = list_partitions(run->batch, &wanted);

	run->partitions = tm_meta_partition_lock(run->ingest->stream, wanted, numbers,
											 &run->npartitions);
	run->changed = is_elsewhere(run);
	if (run->changed)
		return;
	if (run->npartitions != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ingest of stream \"%s\" does not know a partition of the batch",
						get_rel_name(run->ingest->stream))));
	run->locked = palloc(sizeof(MetaPartition) * Max(wanted, 1));
	memcpy(run->locked, run->partitions, sizeof(MetaPartition) * wanted);
	run->expected = palloc(sizeof(int64) * Max(wanted, 1));
	for (int i = 0; i < run->npartitions; i++)
		run->expected[i] = run->partitions[i].next_offset;
}

static MetaPartition *
get_partition(BatchRun *run, int32 number)
{
	if (run->last == NULL || run->last->partition != number)
		run->last = find_partition(run, number);
	if (run->last == NULL)
		elog(ERROR, "partition %d is not part of the batch", number);
	return run->last;
}

/* ---- decode ---- */

static void
add_letter(BatchRun *run, int message, const char *stage, int sqlstate, const char *text,
		   TimestampTz watermark)
{
	DeadLetter *letter = palloc(sizeof(DeadLetter));

	letter->message = message;
	letter->stage = stage;
	letter->sqlstate = sqlstate;
	letter->text = pstrdup(text);
	letter->watermark = watermark;
	run->letters = lappend(run->letters, letter);
}

/* Count a verdict; true when the share of bad messages is too high. */
static bool
note_verdict(IngestContext *ctx, bool bad)
{
	if (ctx->recent_count == INGEST_RECENT)
		ctx->recent_nbad -= ctx->recent_bad[ctx->recent_next];
	else
		ctx->recent_count++;
	ctx->recent_bad[ctx->recent_next] = bad;
	ctx->recent_nbad += bad;
	ctx->recent_next = (ctx->recent_next + 1) % INGEST_RECENT;
	return bad && ctx->recent_count >= ERROR_RATIO_MIN &&
		ctx->recent_nbad > ctx->options->max_error_ratio * ctx->recent_count;
}

static void
set_fail(BatchRun *run, int sqlstate, char *reason, char *hint)
{
	run->fail = true;
	run->fail_sqlstate = sqlstate;
	run->fail_reason = reason;
	run->fail_hint = hint;
}

/* on_error = fail: the batch ends before message i, and so does the ingest. */
static void
fail_at(BatchRun *run, int i, int sqlstate, const char *text)
{
	const KafkaMessage *msg = &run->batch->messages[i];

	set_fail(run, sqlstate,
			 psprintf("bad message at partition %d, offset %lld: %s", msg->partition,
					  (long long) msg->offset, text),
			 psprintf("Skip it with tidemark.reset_ingest(..., '{\"%d\": %lld}'), or set on_error 'dead_letter'.",
					  msg->partition, (long long) msg->offset + 1));
	run->nmessages = i;
}

/* A bad message: a dead letter, or the end of the ingest. */
static void
judge_bad(BatchRun *run, int i, const FormatError *error, TimestampTz watermark)
{
	if (run->ctx->options->on_error_fail)
	{
		fail_at(run, i, error->sqlstate, error->message);
		return;
	}
	add_letter(run, i, "decode", error->sqlstate, error->message, watermark);
	if (note_verdict(run->ctx, true))
	{
		set_fail(run, ERRCODE_DATA_EXCEPTION,
				 psprintf("%d of the last %d messages are bad, more than max_error_ratio allows; the last: %s",
						  run->ctx->recent_nbad, run->ctx->recent_count, error->message),
				 pstrdup("Read tidemark.dead_letters; mend the stream's columns or format, then resume."));
		run->nmessages = i + 1;
	}
}

/*
 * Count the message and remember it as its partition's last.  Whatever it
 * holds, the partition is not idle.
 */
static void
pass_message(BatchRun *run, MetaPartition *partition, const KafkaMessage *msg)
{
	partition->next_offset = msg->offset + 1;
	partition->last_offset = msg->offset;
	partition->last_timestamp = msg->has_timestamp ? msg->timestamp : DT_NOBEGIN;
	partition->last_message_at = run->ingest_time;
	partition->idle_since = DT_NOBEGIN;
}

static void
decode_message(BatchRun *run, int i, MetaPartition *partition)
{
	const KafkaMessage *msg = &run->batch->messages[i];
	StreamRows *rows = run->rows;
	StreamWatermark wm = {run->ctx->options->watermark_delay,
	run->ctx->options->watermark_max_future, partition->max_event_time};
	TimestampTz watermark = tm_stream_watermark_get(&wm);
	TimestampTz event_time;
	FormatError error;
	Datum	   *values;
	bool	   *isnull;

	if (msg->offset < partition->next_offset)
		elog(ERROR, "offset %lld of partition %d was applied already",
			 (long long) msg->offset, msg->partition);
	tm_stream_rows_reserve(rows);
	values = rows->values + (size_t) rows->nrows * rows->natts;
	isnull = rows->isnull + (size_t) rows->nrows * rows->natts;
	if (!tm_stream_decode_guarded(run->ctx->decoder, msg, run->ingest_time, values, isnull,
								  &event_time, &error))
	{
		judge_bad(run, i, &error, watermark);
		if (run->nmessages > i)
		{
			partition->dead_letters++;
			pass_message(run, partition, msg);
		}
		return;
	}
	(void) note_verdict(run->ctx, false);
	tm_stream_rows_add(rows, i, msg, event_time, watermark,
					   tm_stream_decoder_watermark_att(run->ctx->decoder));
	if (!tm_stream_watermark_advance(&wm, event_time,
									 tm_stream_watermark_arrival(msg, run->ingest_time)))
		partition->future_rows++;
	partition->max_event_time = wm.max_event_time;
	partition->watermark = tm_stream_watermark_get(&wm);
	partition->rows++;
	pass_message(run, partition, msg);
}

static void
decode_batch(BatchRun *run)
{
	MetaIdentity identity;
	MemoryContext before = MemoryContextSwitchTo(run->rows->cxt);
	int			level;

	tm_meta_enter_as(run->ctx->options->owner, &identity);
	level = tm_stream_push_decode_settings();
	for (int i = 0; i < run->nmessages; i++)
	{
		run->current = i;
		decode_message(run, i, get_partition(run, run->batch->messages[i].partition));
	}
	run->current = -1;
	AtEOXact_GUC(false, level);
	tm_meta_leave(&identity);
	MemoryContextSwitchTo(before);
}

/* ---- store ---- */

static bool
refuse_row(const StreamRows *rows, int row, ErrorData *error, void *arg)
{
	BatchRun   *run = arg;
	int			message = rows->info[row].message;

	if (run->ctx->options->on_error_fail)
	{
		fail_at(run, message, error->sqlerrcode, error->message);
		return false;
	}
	get_partition(run, run->batch->messages[message].partition)->dead_letters++;
	add_letter(run, message, "table", error->sqlerrcode, error->message, rows->info[row].watermark);
	return true;
}

/*
 * The batch has become shorter than what was decoded: decode it again, from
 * where it began.
 */
static void
decode_again(BatchRun *run)
{
	memcpy(run->partitions, run->locked, sizeof(MetaPartition) * run->npartitions);
	run->rows->nrows = 0;
	run->letters = NIL;
	decode_batch(run);
}

static void
store_batch(BatchRun *run)
{
	IngestContext *ctx = run->ctx;
	MetaIdentity identity;
	int			decoded = run->nmessages;

	if (ctx->store == NULL || run->rows->nrows == 0)
		return;
	if (run->table_views != NIL)
		run->stored = tm_stream_rows_create(ctx->table_natts, run->rows->nrows,
											run->rows->cxt);
	tm_meta_enter_as(ctx->table_owner, &identity);
	if (run->batch->careful)
		tm_store_rows_guarded(ctx->store, run->rows, run->stored, refuse_row, run);
	else
		tm_store_rows(ctx->store, run->rows, 0, run->rows->nrows, run->stored);
	tm_meta_leave(&identity);
	CommandCounterIncrement();
	if (run->nmessages < decoded)
		decode_again(run);
}

/* ---- views ---- */

void
tm_ingest_view_guarded(MetaView *view, void (*step) (MetaView *view, void *arg), void *arg)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		step(view, arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	if (error == NULL)
		return;
	if (tm_error_is_transient(error))
		ReThrowError(error);
	tm_ingest_view_set_failed(view, error->sqlerrcode, error->message);
}

/* Alone, so that an error is this view's. */
static void
apply_view(MetaView *view, void *rows)
{
	tm_maintain_apply(view, rows);
}

/* Views of both kinds in one order: that of their state tables. */
static MaintainRows *
order_views(const BatchRun *run, int *n)
{
	MaintainRows *result = palloc(sizeof(MaintainRows) *
								  Max(list_length(run->stream_views) + list_length(run->table_views), 1));
	ListCell   *a = list_head(run->stream_views);
	ListCell   *b = list_head(run->table_views);

	for (*n = 0; a != NULL || b != NULL; ++*n)
	{
		bool		take_a = b == NULL ||
		(a != NULL && ((MetaView *) lfirst(a))->state_table < ((MetaView *) lfirst(b))->state_table);
		const StreamRows *rows = take_a ? run->rows : run->stored;

		result[*n].view = take_a ? lfirst(a) : lfirst(b);
		result[*n].rows = rows != NULL && rows->nrows > 0 ? rows : NULL;
		if (take_a)
			a = lnext(run->stream_views, a);
		else
			b = lnext(run->table_views, b);
	}
	return result;
}

static void
maintain_batch(BatchRun *run)
{
	int			n;
	MaintainRows *views = order_views(run, &n);

	tm_maintain_forget_dropped();
	if (!run->batch->careful)
	{
		tm_maintain_apply_all(views, n);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (views[i].rows == NULL)
			tm_maintain_apply_all(&views[i], 1);
		else
			tm_ingest_view_guarded((MetaView *) views[i].view, apply_view, (void *) views[i].rows);
	}
}

/* ---- positions ---- */

int64
tm_ingest_message_hash(const KafkaMessage *msg)
{
	uint64		hash = 0;

	if (msg->key != NULL)
		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) msg->key, msg->key_len, 1));
	if (msg->value != NULL)
		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) msg->value, msg->value_len, hash));
	return (int64) hash;
}

/* Leave out what is to be left out, on record. */
static void
shed_partition(BatchRun *run, const IngestPosition *position, MetaPartition *p)
{
	int64		count = position->shed_to - p->next_offset;

	if (count <= 0)
		return;
	tm_meta_skipped_insert(run->ingest->stream, p->partition, p->next_offset, position->shed_to,
						   true);
	p->next_offset = position->shed_to;
	p->skipped += count;
	p->shed += count;
}

/* Positions past trailing control records, end offsets, hashes of last messages. */
static void
finish_positions(BatchRun *run)
{
	for (int i = 0; i < run->nmessages; i++)
	{
		const KafkaMessage *msg = &run->batch->messages[i];
		MetaPartition *p = get_partition(run, msg->partition);

		if (msg->offset == p->last_offset)
			p->last_hash = tm_ingest_message_hash(msg);
	}
	for (int i = 0; i < run->batch->npositions; i++)
	{
		const IngestPosition *position = &run->batch->positions[i];
		MetaPartition *p = get_partition(run, position->partition);

		if (position->end != KAFKA_OFFSET_NONE)
			p->end_offset = position->end;
		if (position->at_end && !run->fail && position->position > p->next_offset)
			p->next_offset = position->position;
		if (!run->fail)
			shed_partition(run, position, p);
		if (p->end_offset >= 0 && p->end_offset < p->next_offset)
			p->end_offset = p->next_offset;
		if (run->batch->next != NULL)
			run->batch->next[i] = p->next_offset;
	}
}

/*
 * What the caller has found out about idleness, before he held the lock: it is
 * void if messages were applied since.
 */
static void
finish_idleness(BatchRun *run)
{
	for (int i = 0; i < run->batch->npositions; i++)
	{
		const IngestPosition *position = &run->batch->positions[i];
		MetaPartition *p = get_partition(run, position->partition);
		bool		has_moved = p->next_offset != position->position ||
		p->last_offset != run->locked[p - run->partitions].last_offset;

		if (position->idleness == INGEST_IDLE_ENDS)
			p->idle_since = DT_NOBEGIN;
		if (position->idleness == INGEST_IDLE_BEGINS && !has_moved &&
			TIMESTAMP_IS_NOBEGIN(p->idle_since))
			p->idle_since = run->ingest_time;
	}
}

/* ---- all of it ---- */

static void
batch_error_context(void *arg)
{
	BatchRun   *run = arg;

	if (run->current >= 0 && run->current < run->batch->nmessages)
		errcontext("stream \"%s\", partition %d, offset %lld",
				   run->name,
				   run->batch->messages[run->current].partition,
				   (long long) run->batch->messages[run->current].offset);
	else
		errcontext("ingest of stream \"%s\"", run->name);
}

void
tm_ingest_set_constraints_immediate(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(stmt);
}

static int64
lap(int64 *since)
{
	int64		now = tm_clock_monotonic_us();
	int64		elapsed = now - *since;

	*since = now;
	return elapsed;
}

static void
run_steps(void *arg)
{
	BatchRun   *run = arg;
	IngestBatch *batch = run->batch;
	int64		clock = tm_clock_monotonic_us();

	tm_ingest_set_constraints_immediate();
	lock_partitions(run);
	if (run->changed)
		return;
	TM_FAULT("locked");
	tm_worker_report_phase(WORKER_PHASE_DECODE);
	decode_batch(run);
	batch->phase_us[WORKER_PHASE_DECODE] = lap(&clock);
	tm_worker_report_phase(WORKER_PHASE_STORE);
	store_batch(run);
	TM_FAULT("stored");
	batch->phase_us[WORKER_PHASE_STORE] = lap(&clock);
	tm_worker_report_phase(WORKER_PHASE_MAINTAIN);
	maintain_batch(run);
	TM_FAULT("maintained");
	batch->phase_us[WORKER_PHASE_MAINTAIN] = lap(&clock);
	tm_worker_report_phase(WORKER_PHASE_COMMIT);
	tm_ingest_dead_letters_store(run->ctx->options, batch, run->letters);
	finish_positions(run);
	finish_idleness(run);
	run->stream_watermark = tm_ingest_stream_watermark(run->ingest, run->ctx->options,
													   run->npartitions, run->partitions,
													   run->ingest_time);
	tm_meta_partition_save(run->ingest->stream, run->npartitions, run->partitions, run->expected);
	batch->phase_us[WORKER_PHASE_COMMIT] = lap(&clock);
	tm_worker_report_phase(WORKER_PHASE_MAINTAIN);
	batch->more = tm_ingest_close_views(list_concat_copy(run->stream_views, run->table_views),
										run->stream_watermark, batch->careful);
	batch->phase_us[WORKER_PHASE_MAINTAIN] += lap(&clock);
	tm_worker_report_phase(WORKER_PHASE_COMMIT);
	TM_FAULT("saved");
	if (run->rows->nrows > 0)
		tm_meta_ingest_add_seen(run->ingest, tm_stream_decoder_absent(run->ctx->decoder));
	if (run->fail)
		tm_ingest_set_failed(run->ingest, run->fail_sqlstate, run->fail_reason, run->fail_hint);
	batch->rows = run->rows->nrows;
}

IngestOutcome
tm_ingest_batch_apply(Oid stream, IngestBatch *batch)
{
	BatchRun	run = {.batch = batch,.current = -1,.nmessages = batch->nmessages};
	ErrorContextCallback callback = {.callback = batch_error_context,.arg = &run};
	MemoryContext cxt;
	MemoryContext before;
	Relation	rel;
	int			level;

	run.ingest = tm_ingest_lock(stream, RowExclusiveLock);
	if (run.ingest == NULL || run.ingest->state != META_RUNNING)
		return INGEST_NOT_RUNNING;
	if (batch->workers != 0 && batch->workers != run.ingest->workers)
		return INGEST_CHANGED;
	cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark batch", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(cxt);
	run.name = get_rel_name(stream);
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	run.stream_views = tm_ingest_live_views(stream);
	run.table_views = tm_ingest_live_views(run.ingest->into_table);
	run.ctx = tm_ingest_context_get(run.ingest, run.stream_views, run.table_views);
	run.ingest_time = tm_ingest_now(run.ctx->options);
	rel = table_open(stream, NoLock);
	run.rows = tm_stream_rows_create(RelationGetDescr(rel)->natts, Max(batch->nmessages, 1), cxt);
	table_close(rel, NoLock);
	/* its statements on the catalog need not set it each time */
	level = NewGUCNestLevel();
	tm_setting_push("search_path", META_SEARCH_PATH);
	tm_ingest_run_alone(run.ingest, run_steps, &run);
	AtEOXact_GUC(false, level);
	tm_ingest_signal_at_commit();

	error_context_stack = callback.previous;
	MemoryContextSwitchTo(before);
	MemoryContextDelete(cxt);
	if (run.changed)
		return INGEST_CHANGED;
	return run.fail ? INGEST_FAILED : INGEST_APPLIED;
}

IngestOutcome
tm_ingest_batch_apply_all(Oid stream, IngestBatch *batch)
{
	IngestOutcome outcome = tm_ingest_batch_apply(stream, batch);

	while (outcome == INGEST_APPLIED && batch->more)
	{
		batch->nmessages = 0;
		outcome = tm_ingest_batch_apply(stream, batch);
	}
	return outcome;
}
