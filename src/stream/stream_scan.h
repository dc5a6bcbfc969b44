/*
 * stream_scan.h
 *	  A scan from the inside: for stream_scan.c, and for stream_share.c, which
 *	  lets several processes read together.
 */
#ifndef TM_STREAM_SCAN_H
#define TM_STREAM_SCAN_H

#include "stream/stream_internal.h"

/* A partition as the first start found it. */
typedef struct KnownPartition
{
	int32		partition;
	bool		asked;			/* are the bounds known? */
	int64		earliest;
	int64		end;
} KnownPartition;

/* A partition that this pass reads. */
typedef struct ScanPartition
{
	int32		partition;
	int64		next;
	int64		stop;
	bool		done;
	StreamWatermark wm;
} ScanPartition;

struct StreamScan
{
	const StreamOptions *options;
	const char *name;			/* of the stream */
	TupleDesc	tupdesc;
	Oid			userid;
	StreamDecoder *decoder;
	AttrNumber	watermark_att;
	bool		whole_partitions;	/* the watermark column is read */
	AttrNumber	ingest_time_att;
	int			nparticipants;
	int64		min_messages;	/* worth one participant more */
	KafkaConsumer *consumer;	/* NULL before it is needed */
	Oid			log;			/* of a manual stream; may be missing */

	bool		opened;
	int			nknown;
	KnownPartition *known;

	int			nparts;
	ScanPartition *parts;
	int			nactive;
	int			current;		/* index of the last message's partition */
	const StreamBounds *bounds; /* of tm_stream_set_bounds(), or NULL */
	int64		discarded;
	StreamFindings found;		/* in this pass */
	StreamFindings worst;		/* in the pass with most bad messages */

	StreamShared *shared;		/* what this pass reads together with others */
	int			worker;			/* number of this one, or -1 */
	int			npieces;		/* of the leader, before they are shared */
	StreamPiece *pieces;
	StreamMember *members;
	bool		collected;		/* found and members are those of all */

	int			chunk_rows;
	TimestampTz read_at;		/* when the chunk was taken */
	StreamRows *rows;			/* of the chunk; NULL before the first */
	int			next_row;
	const KafkaMessage *msg;	/* being decoded, for the error context */
	StreamScanCounters counters;
	MemoryContext cxt;
	MemoryContext chunk_cxt;
};

/* Ask the broker for offsets and set parts; range is not looked at with bounds. */
extern void tm_stream_scan_choose(StreamScan *scan, const StreamRange *range,
								  StreamBounds *exact);

/* One part more, unless it is empty; max_event_time: of the rows before. */
extern void tm_stream_scan_add(StreamScan *scan, int32 partition, int64 from,
							   int64 to, TimestampTz max_event_time);

/* Have the library read the parts that are not finished. */
extern void tm_stream_scan_assign(StreamScan *scan);

/*
 * Of a worker, nothing else: tell the leader what was met so far, at the end also
 * which members were absent; and stop when the leader has.
 */
extern void tm_stream_scan_publish(StreamScan *scan, bool at_end);

#endif							/* TM_STREAM_SCAN_H */
