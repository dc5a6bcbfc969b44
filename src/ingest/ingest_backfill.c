/*
 * ingest_backfill.c
 *	  The history of a stream, into one new view.
 *
 * A view over a stream whose ingest has moved on already has positions of its
 * own (tidemark_state.view_partition) until it has reached the ingest's.  Then,
 * with the stream locked against batches, the last messages between the two
 * are applied and the view joins the ingest: no gap and no overlap, whatever
 * crashed in between, because positions and state commit together.
 *
 * Bad messages are left out; they are the ingest's to record.  Each row's
 * watermark is the one that the ingest had for it, or will have.
 *
 * Runs in: a worker of role WORKER_BACKFILL for Kafka; the caller's backend
 * for manual streams.
 * Locks: RowExclusiveLock on the stream per batch, ShareRowExclusiveLock to
 * join.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "ingest/ingest_internal.h"
#include "maintain/maintain.h"

#define MANUAL_CHUNK 10000

/* ---- where to begin ---- */

/* Does the view read, or judge rows by, the watermark as of each row? */
static bool
reads_watermark(const MetaView *view, const StreamOptions *options)
{
	ContinuousOptions continuous;
	Bitmapset  *needed;

	tm_view_read_options(view->options, &continuous);
	if (VIEW_CLOSES(&continuous))
		return true;
	needed = tm_maintain_needed(view);
	for (int i = 0; i < options->ncolumns; i++)
		if (options->columns[i].metadata == STREAM_META_WATERMARK &&
			bms_is_member(options->columns[i].attnum - FirstLowInvalidHeapAttributeNumber, needed))
			return true;
	return false;
}

/*
 * A row's watermark is the one that the ingest had for it.  So a view that
 * starts after the ingest reads from there, or from where the ingest is now if
 * it starts after that, to know the largest event time by its start.
 */
MetaViewPartition
tm_ingest_backfill_position(const MetaView *view, const StreamOptions *options, int32 partition,
							int64 start, const MetaPartition *ingest)
{
	MetaViewPartition vp = {.partition = partition,.start_offset = start,
		.next_offset = start,.target_offset = start,
	.start_max_event_time = DT_NOBEGIN,.max_event_time = DT_NOBEGIN};

	if (ingest == NULL || start <= ingest->first_offset || !reads_watermark(view, options))
		return vp;
	vp.next_offset = ingest->first_offset;
	if (start >= ingest->next_offset)
	{
		vp.next_offset = ingest->next_offset;
		vp.start_max_event_time = vp.max_event_time = ingest->max_event_time;
	}
	return vp;
}

/* ---- rows ---- */

static int
compare_partitions(const void *key, const void *position)
{
	int32		partition = *(const int32 *) key;
	int32		other = ((const MetaViewPartition *) position)->partition;

	return partition < other ? -1 : partition > other;
}

MetaViewPartition *
tm_ingest_backfill_find(MetaViewPartition *positions, int n, int32 partition,
						MetaViewPartition *hint)
{
	if (hint != NULL && hint->partition == partition)
		return hint;
	return bsearch(&partition, positions, n, sizeof(MetaViewPartition), compare_partitions);
}

typedef struct BackfillRows
{
	const StreamOptions *options;
	StreamDecoder *decoder;
	StreamRows *rows;
	MetaViewPartition *positions;
	int			npositions;
	MetaViewPartition *last;	/* of the message before */
	TimestampTz now;			/* when the batch began */
	MetaRange  *quiet;			/* what moves no watermark */
	int			nquiet;
} BackfillRows;

static MetaViewPartition *
get_position(BackfillRows *run, int32 partition)
{
	run->last = tm_ingest_backfill_find(run->positions, run->npositions, partition, run->last);
	if (run->last == NULL)
		elog(ERROR, "backfill does not know partition %d", partition);
	return run->last;
}

/* Advance the watermark by a row; what it was before. */
static TimestampTz
advance(BackfillRows *run, MetaViewPartition *vp, const KafkaMessage *msg, TimestampTz event_time)
{
	StreamWatermark wm = {run->options->watermark_delay, run->options->watermark_max_future,
	vp->max_event_time};
	TimestampTz before = tm_stream_watermark_get(&wm);

	if (tm_meta_range_contains(run->quiet, run->nquiet, msg->partition, msg->offset))
		return before;
	(void) tm_stream_watermark_advance(&wm, event_time,
									   tm_stream_watermark_arrival(msg, run->now));
	vp->max_event_time = wm.max_event_time;
	if (msg->offset < vp->start_offset)
		vp->start_max_event_time = wm.max_event_time;
	return before;
}

static void
decode_row(BackfillRows *run, const KafkaMessage *msg, int index)
{
	StreamRows *rows = run->rows;
	MetaViewPartition *vp = get_position(run, msg->partition);
	TimestampTz event_time;
	TimestampTz watermark;
	FormatError error;
	Datum	   *values;
	bool	   *isnull;

	tm_stream_rows_reserve(rows);
	values = rows->values + (size_t) rows->nrows * rows->natts;
	isnull = rows->isnull + (size_t) rows->nrows * rows->natts;
	if (!tm_stream_decode_guarded(run->decoder, msg, DT_NOBEGIN, values, isnull, &event_time, &error))
		return;
	watermark = advance(run, vp, msg, event_time);
	if (msg->offset < vp->start_offset)
		return;
	tm_stream_rows_add(rows, index, msg, event_time, watermark,
					   tm_stream_decoder_watermark_att(run->decoder));
}

/* Decode messages for one view; as the stream's owner. */
static void
decode_rows(BackfillRows *run, const KafkaMessage *messages, int n)
{
	MemoryContext before = MemoryContextSwitchTo(run->rows->cxt);
	MetaIdentity identity;
	int			level;

	tm_meta_enter_as(run->options->owner, &identity);
	level = tm_stream_push_decode_settings();
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		decode_row(run, &messages[i], i);
	}
	AtEOXact_GUC(false, level);
	tm_meta_leave(&identity);
	MemoryContextSwitchTo(before);
}

void
tm_ingest_backfill_apply(const MetaView *view, const StreamOptions *options,
						 const KafkaMessage *messages, int n,
						 MetaViewPartition *positions, int npositions)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark backfill",
											  ALLOCSET_DEFAULT_SIZES);
	BackfillRows run = {.options = options,.positions = positions,.npositions = npositions,
	.now = tm_clock_now()};
	Relation	rel = table_open(view->source, NoLock);
	Bitmapset  *needed = bms_add_member(bms_copy(tm_maintain_needed(view)), 0);

	run.rows = tm_stream_rows_create(RelationGetDescr(rel)->natts, Max(n, 1), cxt);
	run.decoder = tm_stream_decoder_open(options, RelationGetDescr(rel), needed, cxt);
	PushActiveSnapshot(GetLatestSnapshot());
	run.quiet = tm_meta_stream_list_quiet(view->source, &run.nquiet);
	PopActiveSnapshot();
	decode_rows(&run, messages, n);
	table_close(rel, NoLock);
	if (run.rows->nrows > 0)
		tm_maintain_apply(view, run.rows);
	MemoryContextDelete(cxt);
}

/* ---- manual streams ---- */

/* The view's position in a partition; made from its start when it has none. */
static MetaViewPartition
manual_position(const MetaView *view, const StreamOptions *options, const MetaPartition *partition,
				const StreamPartition *existing, int nexisting, const int64 *starts)
{
	int64		start = partition->first_offset;
	MetaViewPartition *known;
	int			nknown;

	known = tm_meta_view_partition_list(view->state_table, &nknown, true);
	known = tm_ingest_backfill_find(known, nknown, partition->partition, NULL);
	if (known != NULL)
		return *known;
	for (int i = 0; i < nexisting; i++)
		if (existing[i].partition == partition->partition && starts[i] != KAFKA_OFFSET_NONE)
			start = starts[i];
	return tm_ingest_backfill_position(view, options, partition->partition, start, partition);
}

void
tm_ingest_backfill_manual(MetaView *view)
{
	StreamOptions *options = tm_stream_get_options(view->source);
	StreamPartition *existing;
	int			nexisting = tm_stream_list_partitions(options, NULL, &existing);
	int64	   *starts = palloc(sizeof(int64) * Max(nexisting, 1));
	MetaPartition *partitions;
	int			npartitions;
	Oid			dead_letters;
	Oid			log;

	tm_meta_stream_find_tables(view->source, &dead_letters, &log);
	partitions = tm_meta_partition_list(view->source, &npartitions);
	tm_stream_resolve_start(options, NULL, view->start_at, nexisting, existing, starts);
	for (int i = 0; i < npartitions; i++)
	{
		MetaViewPartition vp = manual_position(view, options, &partitions[i], existing, nexisting, starts);

		while (OidIsValid(log) && vp.next_offset < partitions[i].next_offset)
		{
			KafkaMessage *messages;
			int			n = tm_stream_log_read(log, vp.partition, vp.next_offset,
											   partitions[i].next_offset,
											   MANUAL_CHUNK, CurrentMemoryContext, &messages);

			if (n == 0)
				break;
			tm_ingest_backfill_apply(view, options, messages, n, &vp, 1);
			vp.next_offset = messages[n - 1].offset + 1;
		}
		vp.next_offset = vp.target_offset = Max(partitions[i].next_offset, vp.start_offset);
		tm_meta_view_partition_put(view->state_table, &vp);
	}
}
