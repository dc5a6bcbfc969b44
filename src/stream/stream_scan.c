/*
 * stream_scan.c
 *	  Reading a stream from here to there: the bounded batch behind SELECT.
 *
 * A scan asks for the end offsets once, when it starts, and reads each chosen
 * partition up to them, however much is produced meanwhile.  Messages are taken
 * and decoded in chunks: the decode settings and the identity of the stream's
 * owner are in force only inside a chunk and never seen by the query around.
 *
 * A partition is finished when its position has reached the end offset.  The
 * position counts trailing control records, but only once the client library
 * has told of the end of the partition; if that end lies before ours, the end
 * is asked for again, because the log may have been truncated.
 *
 * In parallel every participant has a scan of its own, which reads the pieces
 * that it claims (stream_parallel.c), one after the other, as if each were all
 * there is.  The leader's asks for the offsets, and reports for all.
 *
 * While bounds are set (verify, backfill), they alone say what is read;
 * conditions would change the watermark column, which is computed over the
 * rows that are read.
 *
 * Runs in: backends and workers.
 * Memory: scan (consumer, partitions) -> chunk (messages of a log, rows); the
 * chunk is reset before the next one is read.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "base/clock.h"
#include "base/compat.h"
#include "meta/meta.h"
#include "stream/stream_internal.h"
#include "stream/stream_scan.h"

#define WAIT_SLICE_MS		200
/* a broker that gives nothing for so long although there is something to read */
#define STALL_TIMEOUT_US	(60 * USECS_PER_SEC)
#define MAX_CHUNK_ROWS		256
#define MAX_CHUNK_BYTES		(4 * 1024 * 1024)
/* messages thrown away, past the end or in gaps, before the rest is assigned anew */
#define MAX_DISCARDED		10000

/* ---- start ---- */

StreamScan *
tm_stream_scan_create(const StreamOptions *options, TupleDesc tupdesc,
					  const Bitmapset *needed, Oid userid)
{
	MemoryContext cxt;
	StreamScan *scan;

	cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark scan",
								ALLOCSET_DEFAULT_SIZES);
	scan = MemoryContextAllocZero(cxt, sizeof(StreamScan));
	scan->cxt = cxt;
	scan->chunk_cxt = AllocSetContextCreate(cxt, "tidemark scan chunk",
											ALLOCSET_DEFAULT_SIZES);
	scan->options = options;
	scan->name = MemoryContextStrdup(cxt, get_rel_name(options->relid));
	scan->tupdesc = tupdesc;
	scan->userid = userid;
	scan->nparticipants = 1;
	scan->worker = -1;
	scan->decoder = tm_stream_decoder_open(options, tupdesc, needed, cxt);
	scan->members = MemoryContextAllocZero(cxt, sizeof(StreamMember) *
										   Max(tm_stream_decoder_count_members(scan->decoder), 1));
	scan->watermark_att = tm_stream_decoder_watermark_att(scan->decoder);
	scan->whole_partitions = scan->watermark_att != InvalidAttrNumber &&
		(needed == NULL ||
		 bms_is_member(scan->watermark_att - FirstLowInvalidHeapAttributeNumber,
					   needed));
	for (int i = 0; i < options->ncolumns; i++)
	{
		if (options->columns[i].metadata == STREAM_META_INGEST_TIME)
			scan->ingest_time_att = options->columns[i].attnum;
	}
	return scan;
}

/* The consumer, of a stream that is not manual. */
static KafkaConsumer *
get_consumer(StreamScan *scan)
{
	if (scan->consumer == NULL)
		scan->consumer = tm_stream_open_scan_consumer(scan->options, scan->userid,
													  scan->nparticipants, scan->cxt);
	return scan->consumer;
}

/* Open the source and list its partitions: once per scan. */
static void
open_source(StreamScan *scan)
{
	Oid			dead_letters;

	scan->opened = true;
	if (scan->options->transport == STREAM_MANUAL)
	{
		StreamPartition *list;

		tm_meta_stream_find_tables(scan->options->relid, &dead_letters,
								   &scan->log);
		scan->nknown = tm_stream_list_partitions(scan->options, NULL, &list);
		scan->known = palloc0_array(KnownPartition, Max(scan->nknown, 1));
		for (int i = 0; i < scan->nknown; i++)
		{
			scan->known[i].partition = list[i].partition;
			scan->known[i].asked = true;
			scan->known[i].earliest = list[i].earliest;
			scan->known[i].end = list[i].end;
		}
		return;
	}

	scan->nknown = tm_kafka_consumer_partitions(get_consumer(scan),
												STREAM_BROKER_TIMEOUT_MS);
	scan->known = palloc0_array(KnownPartition, Max(scan->nknown, 1));
	for (int i = 0; i < scan->nknown; i++)
		scan->known[i].partition = i;
}

/* Ask for the bounds of known[first .. first + n - 1], whose numbers follow each other. */
static void
ask_known(StreamScan *scan, int first, int n)
{
	int64	   *earliest = palloc_array(int64, n);
	int64	   *end = palloc_array(int64, n);

	tm_kafka_consumer_query_offsets(get_consumer(scan), scan->known[first].partition, n,
									earliest, end, STREAM_BROKER_TIMEOUT_MS);
	for (int i = 0; i < n; i++)
	{
		scan->known[first + i].earliest = earliest[i];
		scan->known[first + i].end = end[i];
		scan->known[first + i].asked = true;
	}
	pfree(earliest);
	pfree(end);
}

static KnownPartition *
find_known(StreamScan *scan, int32 partition)
{
	for (int i = 0; i < scan->nknown; i++)
	{
		if (scan->known[i].partition != partition)
			continue;
		if (!scan->known[i].asked)
			ask_known(scan, i, 1);
		return &scan->known[i];
	}
	return NULL;
}

void
tm_stream_scan_add(StreamScan *scan, int32 partition, int64 from, int64 to,
				   TimestampTz max_event_time)
{
	ScanPartition *part;

	if (from >= to)
		return;
	part = &scan->parts[scan->nparts++];
	memset(part, 0, sizeof(*part));
	part->partition = partition;
	part->next = from;
	part->stop = to;
	part->wm.delay = scan->options->watermark_delay;
	part->wm.max_future = scan->options->watermark_max_future;
	part->wm.max_event_time = max_event_time;
}

static void
choose_bounds(StreamScan *scan, StreamBounds *exact)
{
	exact->missing = 0;
	for (int i = 0; i < exact->npartitions; i++)
	{
		int64		start = exact->start[i];
		int64		stop = exact->stop[i];
		KnownPartition *known = find_known(scan, exact->partition[i]);
		int64		earliest = known ? known->earliest : stop;

		if (start >= stop)
			continue;
		if (earliest > start)
			exact->missing += tm_stream_count_wanted(exact, exact->partition[i], start,
													 Min(earliest, stop));
		if (known != NULL)
			tm_stream_scan_add(scan, known->partition, Max(start, earliest),
							   Min(stop, known->end),
							   exact->max_event_time ? exact->max_event_time[i] : DT_NOBEGIN);
	}
}

/* Move each partition's start to its first message at or after a time. */
static void
apply_since(StreamScan *scan, TimestampTz since)
{
	int			n = scan->nparts;
	int32	   *partitions = palloc_array(int32, n);
	int64	   *offsets = palloc_array(int64, n);

	for (int i = 0; i < n; i++)
		partitions[i] = scan->parts[i].partition;
	tm_kafka_consumer_offsets_for_time(get_consumer(scan), n, partitions, since,
									   offsets, STREAM_BROKER_TIMEOUT_MS);

	scan->nparts = 0;
	for (int i = 0; i < n; i++)
	{
		ScanPartition part = scan->parts[i];

		/* compacts in place: never writes beyond what was read */
		tm_stream_scan_add(scan, part.partition, Max(part.next, offsets[i]),
						   part.stop, DT_NOBEGIN);
	}
	pfree(partitions);
	pfree(offsets);
}

static bool
is_to_be_asked(const StreamScan *scan, const StreamRange *range, int i)
{
	return i < scan->nknown && !scan->known[i].asked &&
		tm_stream_range_has_partition(range, scan->known[i].partition);
}

static void
choose_range(StreamScan *scan, const StreamRange *range)
{
	if (range->none)
		return;
	for (int i = 0; i < scan->nknown; i++)
	{
		const KnownPartition *known = &scan->known[i];
		int			n = 0;

		while (is_to_be_asked(scan, range, i + n))
			n++;
		if (n > 0)
			ask_known(scan, i, n);
		if (tm_stream_range_has_partition(range, known->partition))
			tm_stream_scan_add(scan, known->partition, Max(known->earliest, range->offset_from),
							   Min(known->end, range->offset_to), DT_NOBEGIN);
	}
	if (scan->options->transport == STREAM_KAFKA &&
		range->since != DT_NOBEGIN && scan->nparts > 0)
		apply_since(scan, range->since);
}

void
tm_stream_scan_assign(StreamScan *scan)
{
	int32	   *partitions = palloc_array(int32, scan->nparts);
	int64	   *offsets = palloc_array(int64, scan->nparts);
	int			n = 0;

	for (int i = 0; i < scan->nparts; i++)
	{
		if (scan->parts[i].done)
			continue;
		partitions[n] = scan->parts[i].partition;
		offsets[n++] = scan->parts[i].next;
	}
	tm_kafka_consumer_assign(get_consumer(scan), n, partitions, offsets);
	scan->discarded = 0;
	pfree(partitions);
	pfree(offsets);
}

static void
reset_pass(StreamScan *scan)
{
	if (scan->found.bad > scan->worst.bad)
		scan->worst = scan->found;
	memset(&scan->found, 0, sizeof(scan->found));
	scan->collected = false;
	scan->chunk_rows = STREAM_FIRST_CHUNK_ROWS;
	scan->rows = NULL;
	scan->next_row = 0;
	scan->current = 0;
	MemoryContextReset(scan->chunk_cxt);
	if (scan->consumer != NULL)
		tm_kafka_consumer_release(scan->consumer);
}

void
tm_stream_scan_choose(StreamScan *scan, const StreamRange *range, StreamBounds *exact)
{
	reset_pass(scan);
	/* conditions that nothing satisfies need no broker */
	if (!scan->opened && (exact != NULL || !range->none))
		open_source(scan);

	if (scan->parts != NULL)
		pfree(scan->parts);
	scan->parts = palloc_array(ScanPartition,
							   Max(exact ? exact->npartitions : scan->nknown, 1));
	scan->nparts = 0;
	scan->bounds = exact;
	if (exact != NULL)
		choose_bounds(scan, exact);
	else
		choose_range(scan, range);

	scan->nactive = scan->nparts;
}

static void
start_pass(StreamScan *scan, const StreamRange *range, StreamBounds *exact)
{
	MemoryContext old = MemoryContextSwitchTo(scan->cxt);

	tm_stream_scan_choose(scan, range, exact);
	if (scan->options->transport == STREAM_KAFKA && scan->nactive > 0)
		tm_stream_scan_assign(scan);
	MemoryContextSwitchTo(old);
}

void
tm_stream_scan_start(StreamScan *scan, const StreamRange *range)
{
	start_pass(scan, range, tm_stream_find_bounds(scan->options->relid));
}

void
tm_stream_scan_start_bounds(StreamScan *scan, StreamBounds *bounds)
{
	start_pass(scan, NULL, bounds);
}

/* ---- chunks ---- */

static void
finish_partition(StreamScan *scan, ScanPartition *part)
{
	if (!part->done)
		scan->nactive--;
	part->done = true;
}

static ScanPartition *
find_part(StreamScan *scan, int32 partition)
{
	if (scan->parts[scan->current].partition == partition)
		return &scan->parts[scan->current];
	for (int i = 0; i < scan->nparts; i++)
	{
		if (scan->parts[i].partition == partition)
		{
			scan->current = i;
			return &scan->parts[i];
		}
	}
	elog(ERROR, "message of partition %d, which was not asked for", partition);
}

static void
note_bad(StreamScan *scan, const KafkaMessage *msg, const FormatError *error)
{
	tm_stream_findings_note_bad(&scan->found, msg, error);
	scan->counters.skipped++;
}

/* Decode one message into the next row of the chunk. */
static void
decode_message(StreamScan *scan, ScanPartition *part, const KafkaMessage *msg,
			   int index)
{
	StreamRows *rows = scan->rows;
	Datum	   *values;
	bool	   *isnull;
	TimestampTz event_time = DT_NOBEGIN;
	TimestampTz watermark;
	FormatError error;

	tm_stream_rows_reserve(rows);
	values = rows->values + (size_t) rows->nrows * rows->natts;
	isnull = rows->isnull + (size_t) rows->nrows * rows->natts;
	memset(isnull, true, rows->natts);

	if (!tm_stream_decode_guarded(scan->decoder, msg, DT_NOBEGIN, values,
								  isnull, &event_time, &error))
	{
		note_bad(scan, msg, &error);
		return;
	}

	watermark = tm_stream_watermark_get(&part->wm);
	if (!tm_stream_is_quiet(scan->bounds, msg->partition, msg->offset))
		(void) tm_stream_watermark_advance(&part->wm, event_time,
										   tm_stream_watermark_arrival(msg, scan->read_at));
	if (scan->ingest_time_att != InvalidAttrNumber)
		isnull[scan->ingest_time_att - 1] = true;
	tm_stream_rows_add(rows, index, msg, event_time, watermark,
					   scan->watermark_att);
}

static void
describe_position(void *arg)
{
	StreamScan *scan = arg;

	if (scan->msg != NULL)
		errcontext("stream \"%s\", partition %d, offset " INT64_FORMAT,
				   scan->name, scan->msg->partition, scan->msg->offset);
}

static void
decode_messages(StreamScan *scan, const KafkaMessage *messages, int n)
{
	for (int i = 0; i < n; i++)
	{
		const KafkaMessage *msg = &messages[i];
		ScanPartition *part = find_part(scan, msg->partition);

		if (part->done || msg->offset >= part->stop)
		{
			finish_partition(scan, part);
			scan->discarded++;
			continue;
		}
		part->next = tm_stream_pass_gap(scan->bounds, part->partition, msg->offset);
		if (part->next > msg->offset)
		{
			if (part->next >= part->stop)
				finish_partition(scan, part);
			scan->discarded++;
			continue;
		}
		scan->msg = msg;
		decode_message(scan, part, msg, i);
		scan->msg = NULL;
		scan->counters.messages++;
		scan->counters.bytes += msg->key_len + msg->value_len;
		scan->found.messages++;
		if (msg->value != NULL)
			scan->found.values++;
		part->next = msg->offset + 1;
		if (part->next >= part->stop)
			finish_partition(scan, part);
	}
}

/* Decode as the stream's owner, with the settings of every decode. */
static void
decode_chunk(StreamScan *scan, const KafkaMessage *messages, int n)
{
	MetaIdentity identity;
	ErrorContextCallback context;
	MemoryContext old;
	int			level;

	context.callback = describe_position;
	context.arg = scan;
	context.previous = error_context_stack;
	error_context_stack = &context;

	scan->read_at = tm_clock_now();
	tm_meta_enter_as(scan->options->owner, &identity);
	level = tm_stream_push_decode_settings();
	old = MemoryContextSwitchTo(scan->chunk_cxt);
	decode_messages(scan, messages, n);
	MemoryContextSwitchTo(old);
	AtEOXact_GUC(false, level);
	tm_meta_leave(&identity);

	error_context_stack = context.previous;
}

static bool
read_log_chunk(StreamScan *scan)
{
	ScanPartition *part;
	KafkaMessage *messages;
	int			n;

	while (scan->nactive > 0)
	{
		int			i = 0;

		while (scan->parts[i].done)
			i++;
		part = &scan->parts[i];
		n = tm_stream_log_read(scan->log, part->partition, part->next,
							   part->stop, scan->chunk_rows, scan->chunk_cxt,
							   &messages);
		if (n > 0)
			decode_chunk(scan, messages, n);
		if (n < scan->chunk_rows)
			finish_partition(scan, part);
		if (scan->rows->nrows > 0)
			return true;
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* Nothing came: are partitions at their end behind control records? */
static void
finish_at_end(StreamScan *scan)
{
	for (int i = 0; i < scan->nparts; i++)
	{
		ScanPartition *part = &scan->parts[i];
		KafkaPosition position;
		int64		end;

		if (part->done ||
			!tm_kafka_consumer_position(scan->consumer, part->partition,
										&position))
			continue;
		if (position.position >= part->stop)
			finish_partition(scan, part);
		else if (position.at_end)
		{
			tm_kafka_consumer_query_offsets(scan->consumer, part->partition, 1,
											NULL, &end, STREAM_BROKER_TIMEOUT_MS);
			if (end <= position.position)
				finish_partition(scan, part);
		}
	}
}

static void
wait_for_messages(StreamScan *scan, int64 idle_since)
{
	int			events;

	if (tm_clock_monotonic_us() - idle_since > STALL_TIMEOUT_US)
	{
		const char *trouble = tm_kafka_consumer_trouble(scan->consumer);

		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not read topic \"%s\" to its end",
						scan->options->topic),
				 trouble ? errdetail("%s", trouble) :
				 errdetail("The brokers gave no message for %d seconds.",
						   (int) (STALL_TIMEOUT_US / USECS_PER_SEC))));
	}

	events = WaitLatchOrSocket(MyLatch,
							   WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT |
							   WL_EXIT_ON_PM_DEATH,
							   tm_kafka_consumer_fd(scan->consumer),
							   WAIT_SLICE_MS, TM_WAIT_EVENT);
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	if (events & WL_SOCKET_READABLE)
		tm_kafka_consumer_drain_fd(scan->consumer);
	CHECK_FOR_INTERRUPTS();
}

void
tm_stream_scan_publish(StreamScan *scan, bool at_end)
{
	if (scan->worker < 0 || scan->shared == NULL)
		return;
	if (at_end)
	{
		tm_stream_decoder_get_members(scan->decoder, scan->members);
		tm_stream_shared_publish_members(scan->shared, scan->worker, scan->members);
	}
	tm_stream_shared_publish(scan->shared, scan->worker, &scan->counters,
							 &scan->found);

	/* rows that nobody wants are not worth reading */
	if (tm_stream_shared_is_stopped(scan->shared))
		scan->nactive = 0;
}

/* Of a shared scan: begin the next group of pieces.  False when nothing is left. */
static bool
claim_pieces(StreamScan *scan)
{
	const StreamPiece *pieces;
	int			n;

	if (scan->shared == NULL || scan->found.finished)
		return false;
	n = tm_stream_shared_claim(scan->shared, &pieces);
	if (n == 0)
	{
		scan->found.finished = true;
		tm_stream_scan_publish(scan, true);
		return false;
	}
	scan->nparts = 0;
	scan->current = 0;
	for (int i = 0; i < n; i++)
		tm_stream_scan_add(scan, pieces[i].partition, pieces[i].from,
						   pieces[i].to, DT_NOBEGIN);
	scan->nactive = scan->nparts;
	tm_stream_scan_assign(scan);
	return true;
}

static bool
read_broker_chunk(StreamScan *scan)
{
	int64		idle_since = tm_clock_monotonic_us();

	while (scan->nactive > 0 || claim_pieces(scan))
	{
		const KafkaMessage *messages;
		size_t		bytes;
		int			n;

		CHECK_FOR_INTERRUPTS();
		(void) tm_kafka_consumer_poll(scan->consumer, scan->chunk_rows,
									  MAX_CHUNK_BYTES);
		messages = tm_kafka_consumer_batch(scan->consumer, &n, &bytes);
		if (n > 0)
		{
			decode_chunk(scan, messages, n);
			tm_kafka_consumer_release(scan->consumer);
			tm_stream_scan_publish(scan, false);
			idle_since = tm_clock_monotonic_us();
			if (scan->nactive > 0 && scan->discarded > MAX_DISCARDED)
				tm_stream_scan_assign(scan);
			if (scan->rows->nrows > 0)
				return true;
			continue;
		}
		finish_at_end(scan);
		if (scan->nactive > 0)
			wait_for_messages(scan, idle_since);
	}
	return false;
}

static bool
read_chunk(StreamScan *scan)
{
	MemoryContextReset(scan->chunk_cxt);
	scan->rows = tm_stream_rows_create(scan->tupdesc->natts, scan->chunk_rows,
									   scan->chunk_cxt);
	scan->next_row = 0;
	if (!(scan->options->transport == STREAM_MANUAL ?
		  read_log_chunk(scan) : read_broker_chunk(scan)))
		return false;
	scan->chunk_rows = Min(scan->chunk_rows * 4, MAX_CHUNK_ROWS);
	return true;
}

const StreamRows *
tm_stream_scan_next_chunk(StreamScan *scan)
{
	return read_chunk(scan) ? scan->rows : NULL;
}

bool
tm_stream_scan_next(StreamScan *scan, TupleTableSlot *slot)
{
	size_t		first;
	int			natts = scan->tupdesc->natts;

	if ((scan->rows == NULL || scan->next_row >= scan->rows->nrows) &&
		!read_chunk(scan))
		return false;

	first = (size_t) scan->next_row++ * natts;
	memcpy(slot->tts_values, scan->rows->values + first, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, scan->rows->isnull + first, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	return true;
}

/* ---- end ---- */

void
tm_stream_scan_report(StreamScan *scan)
{
	/* who sets bounds knows about bad messages */
	if (scan->bounds != NULL)
		return;

	if (!scan->collected)
	{
		scan->found.finished = scan->nactive == 0;
		tm_stream_decoder_get_members(scan->decoder, scan->members);
	}
	tm_stream_findings_report_bad(scan->found.bad > scan->worst.bad ?
								  &scan->found : &scan->worst, scan->name);
	tm_stream_findings_report_absent(&scan->found, scan->name, scan->decoder,
									 scan->members);
}

void
tm_stream_scan_destroy(StreamScan *scan)
{
	/* the consumer closes by its memory context */
	MemoryContextDelete(scan->cxt);
}

const StreamScanCounters *
tm_stream_scan_counters(const StreamScan *scan)
{
	return &scan->counters;
}
