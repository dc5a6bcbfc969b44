/*
 * stream.h
 *	  Door of the stream room: what a stream (foreign table of tidemark_kafka)
 *	  is, how its messages become rows, and event-time watermarks.
 */
#ifndef TM_STREAM_H
#define TM_STREAM_H

#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "format/format.h"
#include "kafka/kafka.h"
#include "meta/meta.h"

/* ---- options (stream_options.c) ---- */

typedef enum StreamTransport
{
	STREAM_KAFKA,
	STREAM_MANUAL,				/* messages come from inject() only */
} StreamTransport;

typedef enum StreamMetadata
{
	STREAM_META_NONE,			/* a column of the message value */
	STREAM_META_PARTITION,		/* int4 */
	STREAM_META_OFFSET,			/* int8 */
	STREAM_META_TIMESTAMP,		/* timestamptz: Kafka's */
	STREAM_META_KEY,			/* bytea, text, json, jsonb */
	STREAM_META_VALUE,			/* bytea, text, json, jsonb */
	STREAM_META_HEADERS,		/* jsonb */
	STREAM_META_TOPIC,			/* text */
	STREAM_META_INGEST_TIME,	/* timestamptz: when the worker took it */
	STREAM_META_WATERMARK,		/* timestamptz: of the row's partition as of
								 * the row */
} StreamMetadata;

/* "infinity" as a duration: never, or off. */
#define STREAM_NEVER PG_INT64_MAX

typedef struct StreamColumn
{
	AttrNumber	attnum;
	const char *name;
	StreamMetadata metadata;
	FormatColumn format;		/* when metadata is NONE; type fields always */
} StreamColumn;

typedef struct StreamOptions
{
	Oid			relid;
	Oid			serverid;
	Oid			owner;			/* of the foreign table: decode runs as it */
	StreamTransport transport;
	char	   *topic;
	FormatKind	format;
	AttrNumber	event_time;		/* InvalidAttrNumber: Kafka's timestamp */
	int64		watermark_delay;	/* us */
	int64		watermark_idle_timeout; /* us; STREAM_NEVER = never idle */
	int64		watermark_max_future;	/* us; STREAM_NEVER = off */
	bool		watermark_wall_clock;	/* when all partitions are idle */
	bool		null_event_time_keep;	/* else a dead letter */
	bool		on_error_fail;
	double		max_error_ratio;
	int			batch_max_rows;
	int64		batch_max_bytes;
	int64		batch_max_delay;	/* us */
	int			max_rate;		/* messages a second, all workers; 0 = no
								 * limit */
	int64		shed_above_lag; /* offsets of a partition; 0 = never */
	bool		lose_rows_on_crash; /* raw rows may go to unlogged tables */
	bool		read_committed;
	char	   *group_id;		/* NULL = none */
	char	   *client_id;
	int			ncolumns;		/* not counting dropped ones */
	StreamColumn *columns;
} StreamOptions;

/* Is it a foreign table of tidemark_kafka? */
extern bool tm_stream_is_stream(Oid relid);

/*
 * Is the transport of this stream manual?  Takes no lock, and does not mind what
 * else is wrong with its definition.
 */
extern bool tm_stream_is_manual(Oid relid);

/*
 * The options of a stream, palloc'd in the current context.  Throws 42809 when
 * relid is no stream.
 */
extern StreamOptions *tm_stream_get_options(Oid relid);

/*
 * A duration in microseconds, 0..max; "infinity" is STREAM_NEVER where it is
 * allowed.  A day is 24 hours; months are refused.  Throws 22023, 22007, 22015.
 */
extern int64 tm_stream_parse_duration(const char *option, const char *value, int64 max,
									  bool allow_infinity);

/*
 * Everything that can be wrong with a stream's definition, columns included:
 * for after CREATE and ALTER FOREIGN TABLE.  Throws 42703, 42804, 42P17, 0A000,
 * 42883 or 22023.
 */
extern void tm_stream_check_definition(Oid relid);

/*
 * Consumer properties of a stream for this user: server options and the user's
 * (or PUBLIC's) mapping.  Never print them.
 */
extern List *tm_stream_get_properties(const StreamOptions *options, Oid userid);

/*
 * npartitions: for an ingest that is going to read so many, in order of time
 * and with little latency; 0 for everybody else.
 */
extern KafkaConsumer *tm_stream_open_consumer(const StreamOptions *options, Oid userid,
											  int npartitions, MemoryContext cxt);

/*
 * start_at as API.md has it, to offsets per partition (caller gives partitions
 * 0..n-1 and their earliest and end offsets).
 */
typedef struct StreamPartition
{
	int32		partition;
	int64		earliest;
	int64		end;
} StreamPartition;

/* Partitions that exist now, with their bounds; works for both transports. */
extern int	tm_stream_list_partitions(const StreamOptions *options, KafkaConsumer *consumer,
									  StreamPartition **partitions);

/*
 * offsets[i] for partitions[i].  start_at NULL or 'earliest', 'latest', a
 * timestamp, or a JSON map; a partition the map omits gets
 * KAFKA_OFFSET_NONE.  22023 for anything else, also for a partition that does
 * not exist.
 */
extern void tm_stream_resolve_start(const StreamOptions *options, KafkaConsumer *consumer,
									const char *start_at, int n,
									const StreamPartition *partitions, int64 *offsets);

/*
 * The same in two steps.  parse needs a transaction; resolve does not when the
 * transport is Kafka.  The result is palloc'd.
 */
typedef struct StreamStart StreamStart;

extern StreamStart *tm_stream_parse_start(const char *start_at);
extern void tm_stream_resolve_parsed(const StreamOptions *options, KafkaConsumer *consumer,
									 const StreamStart *spec, int n,
									 const StreamPartition *partitions, int64 *offsets);

/* 22023 if the text is no start_at at all (no broker is asked). */
extern void tm_stream_check_start(const char *start_at);

/* ---- rows (stream_decode.c) ---- */

/*
 * Rows of one source relation in memory, in its attribute layout (dropped
 * columns are NULL), with what is known about each beside its columns.  Both
 * the decoded rows of a stream and the stored rows of a table have this shape.
 * Columns nobody needs are NULL.
 */
typedef struct StreamRowInfo
{
	int			message;		/* index into the batch's messages */
	int32		partition;
	int64		offset;
	TimestampTz event_time;		/* DT_NOBEGIN = none */
	TimestampTz watermark;		/* as of the row; DT_NOBEGIN = none yet */
} StreamRowInfo;

typedef struct StreamRows
{
	int			natts;
	int			nrows;
	int			capacity;
	Datum	   *values;			/* nrows * natts */
	bool	   *isnull;
	StreamRowInfo *info;		/* nrows */
	MemoryContext cxt;			/* owns the arrays and the Datums */
} StreamRows;

extern StreamRows *tm_stream_rows_create(int natts, int capacity, MemoryContext cxt);

/* Room for one more row at rows->nrows, which the caller fills and adds. */
extern void tm_stream_rows_reserve(StreamRows *rows);

/*
 * Count the row at rows->nrows, decoded from the caller's message of that number.
 * watermark_att: tm_stream_decoder_watermark_att(), the column that is set here.
 */
static inline void
tm_stream_rows_add(StreamRows *rows, int message, const KafkaMessage *msg,
				   TimestampTz event_time, TimestampTz watermark,
				   AttrNumber watermark_att)
{
	StreamRowInfo *info = &rows->info[rows->nrows];

	if (watermark_att != InvalidAttrNumber)
	{
		size_t		cell = (size_t) rows->nrows * rows->natts + watermark_att - 1;

		rows->values[cell] = TimestampTzGetDatum(watermark);
		rows->isnull[cell] = TIMESTAMP_IS_NOBEGIN(watermark);
	}
	info->message = message;
	info->partition = msg->partition;
	info->offset = msg->offset;
	info->event_time = event_time;
	info->watermark = watermark;
	rows->nrows++;
}

typedef struct StreamDecoder StreamDecoder;

/*
 * needed: attribute numbers (offset by FirstLowInvalidHeapAttributeNumber) whose
 * Datums somebody reads; NULL = all.  Watermark and event time are always
 * computed.
 */
extern StreamDecoder *tm_stream_decoder_open(const StreamOptions *options,
											 TupleDesc tupdesc, const Bitmapset *needed,
											 MemoryContext cxt);

/*
 * Decode one message into values[natts]/isnull[natts] of the stream's layout.
 * The watermark column is left to the caller (tm_stream_decoder_watermark_att).
 * *event_time: the row's event time, DT_NOBEGIN when it has none.
 * An event time that is infinite is a bad message, and one that is NULL, unless
 * the stream keeps them.
 */
extern FormatResult tm_stream_decode(StreamDecoder *decoder, const KafkaMessage *msg,
									 TimestampTz ingest_time, bool guarded,
									 Datum *values, bool *isnull,
									 TimestampTz *event_time, FormatError *error);

/* Attribute number of the watermark column, or InvalidAttrNumber. */
extern AttrNumber tm_stream_decoder_watermark_att(const StreamDecoder *decoder);

/* Names of columns (of text) whose member no message had; NIL before any row. */
extern List *tm_stream_decoder_absent(const StreamDecoder *decoder);

/*
 * Run guarded decode settings (TimeZone=UTC and so on) until the GUC nest level
 * is closed with AtEOXact_GUC(false, level).
 */
extern int	tm_stream_push_decode_settings(void);

/*
 * Decode one message the way everybody must: unguarded first, then, if asked
 * for, inside an internal subtransaction; in parallel mode only where
 * tm_stream_is_parallel_safe().  Returns false for a bad message and
 * fills error; infrastructure errors (classes 08, 40, 53, 55, 57, 58) are
 * re-thrown.
 */
extern bool tm_stream_decode_guarded(StreamDecoder *decoder, const KafkaMessage *msg,
									 TimestampTz ingest_time,
									 Datum *values, bool *isnull,
									 TimestampTz *event_time, FormatError *error);

/* ---- headers (stream_headers.c) ---- */

/*
 * As a jsonb object of strings, the last of a repeated name, bytes that are not
 * UTF-8 as '\\x..'; *isnull when there are none.
 */
extern Datum tm_stream_headers_to_jsonb(const KafkaMessage *msg, bool *isnull);

/* From such an object (22023 for another jsonb); palloc'd. */
extern void tm_stream_headers_from_jsonb(Datum datum, KafkaMessage *msg);

/* ---- watermark of a partition (stream_watermark.c) ---- */

typedef struct StreamWatermark
{
	int64		delay;			/* us */
	int64		max_future;		/* us; STREAM_NEVER = off */
	TimestampTz max_event_time; /* DT_NOBEGIN = no row yet */
} StreamWatermark;

/* The watermark now: DT_NOBEGIN before the first row. */
extern TimestampTz tm_stream_watermark_get(const StreamWatermark *wm);

/* When a message arrived, as the watermark counts it; read_at: now. */
extern TimestampTz tm_stream_watermark_arrival(const KafkaMessage *msg, TimestampTz read_at);

/*
 * A row was decoded: take its event time in (DT_NOBEGIN: it has none).  False
 * when it lies beyond arrival + max_future: then nothing moved.
 */
extern bool tm_stream_watermark_advance(StreamWatermark *wm, TimestampTz event_time,
										TimestampTz arrival);

/* ---- kept log of a manual stream (stream_log.c) ---- */

/* Append; the offset it got.  The caller runs as the stream's owner. */
extern int64 tm_stream_log_append(Oid log_table, const KafkaMessage *msg);

/* End offset (next) of a partition: 0 when empty. */
extern int64 tm_stream_log_end(Oid log_table, int32 partition);

/* Partitions that have messages. */
extern List *tm_stream_log_partitions(Oid log_table);

/*
 * Messages of a partition in offset order, from..(to - 1), at most limit;
 * palloc'd in cxt.  Returns the count.
 */
extern int	tm_stream_log_read(Oid log_table, int32 partition, int64 from, int64 to,
							   int limit, MemoryContext cxt, KafkaMessage **messages);

/* ---- bounded scans for verify() and backfill (stream_bounds.c) ---- */

/*
 * Exactly [start, stop) of these partitions (no others) instead of what exists
 * now, without the gaps.  The watermark of a row is computed from
 * max_event_time on; rows of quiet ranges are read and do not move it.  Bad
 * messages are passed over without a word.
 */
typedef struct StreamGap
{
	int32		partition;
	int64		from;			/* up to, not including, to */
	int64		to;
} StreamGap;

typedef struct StreamBounds
{
	Oid			relid;
	int			npartitions;
	int32	   *partition;
	int64	   *start;
	int64	   *stop;
	TimestampTz *max_event_time;	/* below start, DT_NOBEGIN = none; or
									 * NULL: none of any */
	int			ngaps;
	StreamGap  *gaps;			/* left out; they do not overlap, and are
								 * ordered by partition and from */
	int			nquiet;
	MetaRange  *quiet;			/* of tm_meta_stream_list_quiet() */
	int64		missing;		/* out: messages that retention had removed */
} StreamBounds;

/*
 * While set, scans of this stream in this backend read these.  One stream at a
 * time.
 */
extern void tm_stream_set_bounds(StreamBounds *bounds); /* NULL = none */

/* ---- reading outside of a plan (stream_scan.c) ---- */

typedef struct StreamScan StreamScan;

/*
 * A scan lives in a child of the current context.  options and tupdesc must
 * outlive it.  needed as in tm_stream_decoder_open().  userid: whose user
 * mapping connects.  Nothing is asked of a broker before the start.
 */
extern StreamScan *tm_stream_scan_create(const StreamOptions *options, TupleDesc tupdesc,
										 const Bitmapset *needed, Oid userid);

/* Start, or start again; the bounds must outlive the scan. */
extern void tm_stream_scan_start_bounds(StreamScan *scan, StreamBounds *bounds);

/* The next rows, valid until the next call; NULL at the end. */
extern const StreamRows *tm_stream_scan_next_chunk(StreamScan *scan);

/* Free it and close its consumer. */
extern void tm_stream_scan_destroy(StreamScan *scan);

#endif							/* TM_STREAM_H */
