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
 * Bad messages are left out; they are the ingest's to record.
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
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/fault.h"
#include "ingest/ingest_internal.h"
#include "maintain/maintain.h"

#define MANUAL_CHUNK 10000

/* Decode messages for one view; as the stream's owner. */
static StreamRows *
decode_for_view(const MetaView *view, const StreamOptions *options,
				const KafkaMessage *messages, int n, MemoryContext cxt)
{
	Relation	rel = table_open(view->source, NoLock);
	StreamRows *rows = tm_stream_rows_create(RelationGetDescr(rel)->natts, Max(n, 1), cxt);
	Bitmapset  *needed = bms_add_member(bms_copy(tm_maintain_needed(view)), 0);
	StreamDecoder *decoder = tm_stream_decoder_open(options, RelationGetDescr(rel), needed, cxt);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	MetaIdentity identity;
	int			level;

	tm_meta_enter_as(options->owner, &identity);
	level = tm_stream_push_decode_settings();
	for (int i = 0; i < n; i++)
	{
		TimestampTz event_time;
		FormatError error;

		CHECK_FOR_INTERRUPTS();
		tm_stream_rows_reserve(rows);
		if (!tm_stream_decode_guarded(decoder, &messages[i], DT_NOBEGIN,
									  rows->values + (size_t) rows->nrows * rows->natts,
									  rows->isnull + (size_t) rows->nrows * rows->natts,
									  &event_time, &error))
			continue;
		rows->info[rows->nrows].message = i;
		rows->info[rows->nrows].partition = messages[i].partition;
		rows->info[rows->nrows].offset = messages[i].offset;
		rows->info[rows->nrows].event_time = event_time;
		rows->info[rows->nrows].watermark = DT_NOBEGIN;
		rows->nrows++;
	}
	AtEOXact_GUC(false, level);
	tm_meta_leave(&identity);
	MemoryContextSwitchTo(before);
	table_close(rel, NoLock);
	return rows;
}

void
tm_ingest_backfill_apply(const MetaView *view, const StreamOptions *options,
						 const KafkaMessage *messages, int n)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark backfill",
											  ALLOCSET_DEFAULT_SIZES);
	StreamRows *rows = decode_for_view(view, options, messages, n, cxt);

	if (rows->nrows > 0)
		tm_maintain_apply(view, rows);
	MemoryContextDelete(cxt);
}

/* The view's position in a partition; made from its start when it has none. */
static MetaViewPartition
manual_position(const MetaView *view, const MetaPartition *partition,
				const StreamPartition *existing, int nexisting, const int64 *starts)
{
	MetaViewPartition vp = {.partition = partition->partition,
	.start_offset = partition->first_offset};
	MetaViewPartition *known;
	int			nknown;

	known = tm_meta_view_partition_list(view->state_table, &nknown, true);
	for (int i = 0; i < nknown; i++)
		if (known[i].partition == vp.partition)
			return known[i];
	for (int i = 0; i < nexisting; i++)
		if (existing[i].partition == vp.partition && starts[i] != KAFKA_OFFSET_NONE)
			vp.start_offset = starts[i];
	vp.next_offset = vp.start_offset;
	return vp;
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
		MetaViewPartition vp = manual_position(view, &partitions[i], existing, nexisting, starts);

		while (OidIsValid(log) && vp.next_offset < partitions[i].next_offset)
		{
			KafkaMessage *messages;
			int			n = tm_stream_log_read(log, vp.partition, vp.next_offset,
											   partitions[i].next_offset,
											   MANUAL_CHUNK, CurrentMemoryContext, &messages);

			if (n == 0)
				break;
			tm_ingest_backfill_apply(view, options, messages, n);
			vp.next_offset = messages[n - 1].offset + 1;
		}
		vp.next_offset = vp.target_offset = Max(partitions[i].next_offset, vp.start_offset);
		tm_meta_view_partition_put(view->state_table, &vp);
	}
}
