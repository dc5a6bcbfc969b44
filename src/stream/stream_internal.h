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

/* ---- definition against columns (stream_check.c) ---- */

/* Set options->event_time; 42703, 42804 or 42P17 for a wrong definition. */
extern void tm_stream_check_columns(StreamOptions *options, const char *event_time);

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

#endif							/* TM_STREAM_INTERNAL_H */
