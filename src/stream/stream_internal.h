/*
 * stream_internal.h
 *	  What the files of the stream room tell each other.
 */
#ifndef TM_STREAM_INTERNAL_H
#define TM_STREAM_INTERNAL_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"

#include "stream/stream.h"

/* chunks start small, so that LIMIT 1 decodes little */
#define STREAM_FIRST_CHUNK_ROWS		16

typedef struct StreamShared StreamShared;

/* how long one question to a broker may take */
#define STREAM_BROKER_TIMEOUT_MS	10000

/* ---- values of options (stream_option_value.c) ---- */

extern StreamTransport tm_stream_parse_transport(const char *value);

/*
 * Take one table option into options.  22023 for a value that is out of range,
 * 0A000 for what is not built yet.  event_time is not looked at: it needs the
 * columns.
 */
extern void tm_stream_parse_table_option(StreamOptions *options, const char *name,
										 const char *value);

/* The same for one option of a column; field goes to column->format. */
extern void tm_stream_parse_column_option(StreamColumn *column, const char *name,
										  const char *value);

/* The word for a kind of metadata. */
extern const char *tm_stream_metadata_name(StreamMetadata metadata);

/*
 * A consumer for one of so many participants of a query, which share the memory
 * of one.
 */
extern KafkaConsumer *tm_stream_open_scan_consumer(const StreamOptions *options,
												   Oid userid, int nparticipants,
												   MemoryContext cxt);

/*
 * Can messages be decoded in parallel mode?  No for a manual stream, and for
 * columns whose types need functions or constraints that are not parallel safe.
 */
extern bool tm_stream_is_parallel_safe(const StreamOptions *options);

/* ---- definition against columns (stream_check.c) ---- */

/* Set options->event_time; 42703, 42804 or 42P17 for a wrong definition. */
extern void tm_stream_check_columns(StreamOptions *options, const char *event_time);

/* ---- absent members (stream_decode.c) ---- */

/* What is known about the member of one column of the value. */
typedef struct StreamMember
{
	bool		absent;			/* no message had it */
	char		near_miss[NAMEDATALEN]; /* "" = none; may be cut off */
} StreamMember;

extern int	tm_stream_decoder_count_members(const StreamDecoder *decoder);
extern void tm_stream_decoder_get_members(const StreamDecoder *decoder,
										  StreamMember *members);

/* "column (near miss)" list for the NOTICE of a SELECT, or NULL. */
extern char *tm_stream_decoder_describe_absent(const StreamDecoder *decoder,
											   const StreamMember *members);

/* ---- pushed-down conditions (stream_pushdown.c) ---- */

/*
 * What the conditions of a scan leave to read.  Never less than the rows that
 * satisfy them: the executor checks every condition again.
 */
typedef struct StreamRange
{
	bool		none;			/* no row can satisfy them */
	int64		partition_from;
	int64		partition_to;	/* inclusive */
	int			npartitions;	/* -1 = no list */
	int64	   *partitions;
	int64		offset_from;
	int64		offset_to;		/* exclusive; PG_INT64_MAX = no bound */
	TimestampTz since;			/* Kafka timestamp; DT_NOBEGIN = no bound */
} StreamRange;

/*
 * Find the conditions of a base relation that bound the scan.  *exprs: their
 * values, *codes: one integer for each, for the other functions.
 */
extern void tm_stream_pushdown_collect(const StreamOptions *options,
									   const RelOptInfo *baserel,
									   List **exprs, List **codes);

/* Evaluate them (states: ExprStates of exprs); range in the current context. */
extern void tm_stream_pushdown_evaluate(List *codes, List *states,
										ExprContext *econtext, StreamRange *range);

/* For EXPLAIN: those on the partition, or the others; NULL when there is none. */
extern char *tm_stream_pushdown_describe(List *codes, List *exprs,
										 bool on_partition, List *context);
extern bool tm_stream_range_has_partition(const StreamRange *range, int32 partition);

/*
 * For the planner, a guess: the share of the log that the conditions leave, and
 * how many partitions (0 = unknown).
 */
extern double tm_stream_pushdown_guess(List *codes, List *exprs, int *npartitions);

/* ---- bounds (stream_bounds.c) ---- */

/* Bounds that are set for this stream, or NULL. */
extern StreamBounds *tm_stream_find_bounds(Oid relid);

/* How many offsets from .. to - 1 lie in no gap? */
extern int64 tm_stream_count_wanted(const StreamBounds *exact, int32 partition,
									int64 from, int64 to);

/* The end of the gap that this offset lies in, or the offset itself. */
extern int64 tm_stream_pass_gap(const StreamBounds *exact, int32 partition, int64 offset);

/* Does its row leave the watermark where it is?  exact may be NULL. */
extern bool tm_stream_is_quiet(const StreamBounds *exact, int32 partition, int64 offset);

/* ---- what a scan has met (stream_report.c) ---- */

/* Of one pass over the log. */
typedef struct StreamFindings
{
	int64		messages;
	int64		values;			/* of them, those that are no tombstones */
	bool		finished;		/* all of the range was read */
	int64		bad;
	int32		partition;		/* these three: of the first bad one */
	int64		offset;
	FormatError error;
} StreamFindings;

extern void tm_stream_findings_note_bad(StreamFindings *findings,
										const KafkaMessage *msg,
										const FormatError *error);

/* Add those of another participant; the first bad message is that in the log. */
extern void tm_stream_findings_merge(StreamFindings *findings,
									 const StreamFindings *other);
extern void tm_stream_findings_report_bad(const StreamFindings *findings,
										  const char *name);
extern void tm_stream_findings_report_absent(const StreamFindings *findings,
											 const char *name,
											 const StreamDecoder *decoder,
											 const StreamMember *members);

/* ---- reading (stream_scan.c) ---- */

typedef struct StreamScanCounters
{
	int64		messages;
	int64		bytes;
	int64		skipped;
} StreamScanCounters;

/*
 * Start, or start again, at the beginning of the range.  End offsets are those
 * of the first start.
 */
extern void tm_stream_scan_start(StreamScan *scan, const StreamRange *range);

/*
 * The next row into a cleared virtual slot of the stream's row type; its Datums
 * stay valid until the next call.  False at the end.
 */
extern bool tm_stream_scan_next(StreamScan *scan, TupleTableSlot *slot);

/* The WARNING about bad messages and the NOTICE about absent members. */
extern void tm_stream_scan_report(StreamScan *scan);
extern const StreamScanCounters *tm_stream_scan_counters(const StreamScan *scan);

/*
 * In parallel (stream_share.c): the leader divides the range among at most
 * nparticipants, itself included, which gives the size of what is to be shared,
 * and shares it; or shares another range in the same place.  Participants then
 * call tm_stream_scan_next() without a start.  The answer is how many of them
 * have something to do, min_messages being worth one; when that is one, and
 * nobody else comes, the leader reads alone (unshare).
 */
extern Size tm_stream_scan_divide(StreamScan *scan, const StreamRange *range,
								  int nparticipants, int64 min_messages);
extern int	tm_stream_scan_share(StreamScan *scan, StreamShared *shared);
extern int	tm_stream_scan_share_again(StreamScan *scan, StreamShared *shared,
									   const StreamRange *range);

extern void tm_stream_scan_unshare(StreamScan *scan);

/* Do others read with it?  Then it needs no start. */
extern bool tm_stream_scan_is_shared(const StreamScan *scan);

/* The same in worker number n, counted from 0. */
extern void tm_stream_scan_attach(StreamScan *scan, StreamShared *shared, int worker);

/*
 * This process needs no more rows: end its consumer and its part of a shared
 * scan.  Does nothing without one.
 */
extern void tm_stream_scan_shutdown(StreamScan *scan);

/* ---- what participants share (stream_parallel.c) ---- */

/* A range of offsets of one partition. */
typedef struct StreamPiece
{
	int32		partition;
	int64		from;
	int64		to;				/* exclusive */
	bool		begins_group;	/* those of a group are read together */
} StreamPiece;

/*
 * Cut ranges, none of them empty, into pieces in the same order, unless they are
 * to stay whole; groups have min_messages, or about that.  palloc'd; the count,
 * which is at most tm_stream_max_pieces().
 */
extern int	tm_stream_max_pieces(int nranges, int nparticipants);
extern int	tm_stream_divide(const StreamPiece *ranges, int nranges,
							 int nparticipants, int64 min_messages, bool whole,
							 StreamPiece **pieces);

/* Space for pieces (capacity of them) and for what workers report. */
extern Size tm_stream_shared_size(int capacity, int nworkers, int nmembers);
extern void tm_stream_shared_init(StreamShared *shared, int capacity, int nworkers,
								  int nmembers);

/* Nobody may be attached.  False, and none, when there is no room for so many. */
extern bool tm_stream_shared_set_pieces(StreamShared *shared,
										const StreamPiece *pieces, int npieces);

/* Nobody claims another piece, and those who look stop in the middle of one. */
extern void tm_stream_shared_stop(StreamShared *shared);
extern bool tm_stream_shared_is_stopped(StreamShared *shared);

/* Add what the workers have met to what the leader has. */
extern void tm_stream_shared_collect(StreamShared *shared,
									 StreamScanCounters *counters,
									 StreamFindings *findings,
									 StreamMember *members);

/* The next group; 0 when all are taken. */
extern int	tm_stream_shared_claim(StreamShared *shared, const StreamPiece **pieces);
extern bool tm_stream_shared_is_empty(StreamShared *shared);
extern void tm_stream_shared_attach(StreamShared *shared, int worker,
									int *nparticipants, int *npieces);

/* Totals of this pass so far; members once, at the end. */
extern void tm_stream_shared_publish(StreamShared *shared, int worker,
									 const StreamScanCounters *counters,
									 const StreamFindings *findings);
extern void tm_stream_shared_publish_members(StreamShared *shared, int worker,
											 const StreamMember *members);

#endif							/* TM_STREAM_INTERNAL_H */
