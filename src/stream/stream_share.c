/*
 * stream_share.c
 *	  A scan that several processes read together; what they share is in
 *	  stream_parallel.c.
 *
 * The leader makes the pieces, reads along, and in the end takes over what the
 * workers have met, so that EXPLAIN, WARNING and NOTICE speak of all.  The pieces
 * are made before the shared memory, which has to have room for them, and again
 * for each rescan.
 *
 * Runs in: backends and parallel workers.
 */
#include "postgres.h"

#include "stream/stream_scan.h"

/* ---- the leader ---- */

/* Divide what this pass is to read. */
static void
make_pieces(StreamScan *scan, const StreamRange *range)
{
	MemoryContext old = MemoryContextSwitchTo(scan->cxt);
	StreamPiece *ranges;

	scan->shared = NULL;
	tm_stream_scan_choose(scan, range, NULL);
	ranges = palloc_array(StreamPiece, Max(scan->nparts, 1));
	for (int i = 0; i < scan->nparts; i++)
	{
		ranges[i].partition = scan->parts[i].partition;
		ranges[i].from = scan->parts[i].next;
		ranges[i].to = scan->parts[i].stop;
	}
	if (scan->pieces != NULL)
		pfree(scan->pieces);
	scan->npieces = tm_stream_divide(ranges, scan->nparts, scan->nparticipants,
									 scan->min_messages, scan->whole_partitions,
									 &scan->pieces);
	pfree(ranges);
	scan->nactive = 0;
	MemoryContextSwitchTo(old);
}

/* How many participants have something to do? */
static int
count_wanted(const StreamScan *scan)
{
	int64		total = 0;
	int			ngroups = 0;

	for (int i = 0; i < scan->npieces; i++)
	{
		total += scan->pieces[i].to - scan->pieces[i].from;
		if (scan->pieces[i].begins_group)
			ngroups++;
	}
	return Min(Min(ngroups, scan->nparticipants),
			   total / Max(scan->min_messages, 1));
}

Size
tm_stream_scan_divide(StreamScan *scan, const StreamRange *range,
					  int nparticipants, int64 min_messages)
{
	scan->nparticipants = nparticipants;
	scan->min_messages = min_messages;
	make_pieces(scan, range);
	return tm_stream_shared_size(tm_stream_max_pieces(scan->nknown, nparticipants),
								 nparticipants - 1,
								 tm_stream_decoder_count_members(scan->decoder));
}

int
tm_stream_scan_share(StreamScan *scan, StreamShared *shared)
{
	tm_stream_shared_init(shared,
						  tm_stream_max_pieces(scan->nknown, scan->nparticipants),
						  scan->nparticipants - 1,
						  tm_stream_decoder_count_members(scan->decoder));
	(void) tm_stream_shared_set_pieces(shared, scan->pieces, scan->npieces);
	scan->shared = shared;
	return count_wanted(scan);
}

/* Take over what the workers have met. */
static void
collect(StreamScan *scan)
{
	if (scan->shared == NULL)
		return;
	scan->found.finished = scan->nactive == 0 &&
		tm_stream_shared_is_empty(scan->shared);
	tm_stream_decoder_get_members(scan->decoder, scan->members);
	if (scan->found.values == 0)
	{
		/* who has seen nothing says nothing */
		for (int i = 0; i < tm_stream_decoder_count_members(scan->decoder); i++)
			scan->members[i].absent = true;
	}
	tm_stream_shared_collect(scan->shared, &scan->counters, &scan->found,
							 scan->members);
	scan->collected = true;
	scan->shared = NULL;
}

int
tm_stream_scan_share_again(StreamScan *scan, StreamShared *shared,
						   const StreamRange *range)
{
	collect(scan);
	make_pieces(scan, range);

	/* other conditions than at first may ask for more partitions: alone then */
	if (!tm_stream_shared_set_pieces(shared, scan->pieces, scan->npieces))
		return 0;
	scan->shared = shared;
	return count_wanted(scan);
}

void
tm_stream_scan_unshare(StreamScan *scan)
{
	scan->shared = NULL;
}

/* ---- all participants ---- */

bool
tm_stream_scan_is_shared(const StreamScan *scan)
{
	return scan->shared != NULL;
}

void
tm_stream_scan_shutdown(StreamScan *scan)
{
	if (scan->shared == NULL)
		return;
	if (scan->worker >= 0)
		tm_stream_scan_publish(scan, true);
	else
	{
		StreamShared *shared = scan->shared;

		collect(scan);
		tm_stream_shared_stop(shared);
	}
	scan->shared = NULL;
	scan->nactive = 0;
	scan->rows = NULL;
	if (scan->consumer != NULL)
		tm_kafka_consumer_close(scan->consumer);
	scan->consumer = NULL;
}

/* ---- workers ---- */

void
tm_stream_scan_attach(StreamScan *scan, StreamShared *shared, int worker)
{
	int			npieces;

	tm_stream_shared_attach(shared, worker, &scan->nparticipants, &npieces);
	scan->parts = MemoryContextAlloc(scan->cxt,
									 Max(npieces, 1) * sizeof(ScanPartition));
	scan->chunk_rows = STREAM_FIRST_CHUNK_ROWS;
	scan->shared = shared;
	scan->worker = worker;
}
