/*
 * stream_decode.c
 *	  Messages of a stream to rows in its attribute layout.
 *
 * Everybody who turns a message into a row comes through here: worker,
 * inject(), SELECT and verify().  So all agree on which messages are bad: every
 * declared column is judged, whether somebody reads it or not, and only the
 * building of Datums is skipped.  The exceptions are the columns of metadata
 * ingest_time and watermark, which do not come from the message: whether they
 * are NULL depends on who reads, so NOT NULL of them is not judged here.
 *
 * A stream that names no event_time column takes Kafka's timestamp; a message
 * without one then has no event time, which is not an error.
 *
 * tm_stream_decode_guarded() is one of the few functions that may catch an
 * error; it does so inside an internal subtransaction.
 *
 * Memory: Datums go to the current context, and so does scratch memory.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/error.h"
#include "base/settings.h"
#include "stream/stream.h"

/* Headers beyond this size are made jsonb under the guard only. */
#define MAX_SAFE_HEADERS (16 * 1024 * 1024)

/*
 * Event times are a thousand years away from the ends of time: room for windows,
 * lateness and retention, so that no single message can make the end of a window
 * something that cannot be computed, and a view fail.
 */
#define EVENT_TIME_MARGIN	(INT64CONST(365250) * USECS_PER_DAY)
#define MIN_EVENT_TIME		(MIN_TIMESTAMP + EVENT_TIME_MARGIN)
#define MAX_EVENT_TIME		(END_TIMESTAMP - EVENT_TIME_MARGIN)

/* A column that is not a member of the message value. */
typedef struct MetaColumn
{
	StreamMetadata metadata;
	int			attidx;			/* attribute number - 1 */
	const char *name;
	Oid			type;
	bool		not_null;
	bool		needed;
} MetaColumn;

struct StreamDecoder
{
	int			natts;
	int			event_time;		/* attribute number - 1, or -1 */
	const char *event_time_name;
	bool		null_event_time_keep;
	AttrNumber	watermark;
	Datum		topic;
	int			nmeta;
	MetaColumn *meta;
	FormatDecoder *format;
	int			nvalues;		/* columns of the message value */
	int		   *value_attidx;
	const char **value_names;
	Datum	   *values;			/* of one message, by the format's index */
	bool	   *isnull;
	const char *meta_current;	/* metadata column being converted, or NULL */
};

/* ---- rows ---- */

StreamRows *
tm_stream_rows_create(int natts, int capacity, MemoryContext cxt)
{
	StreamRows *rows = MemoryContextAllocZero(cxt, sizeof(StreamRows));
	Size		cells;

	rows->natts = natts;
	rows->capacity = Max(capacity, 1);
	rows->cxt = cxt;
	cells = (Size) rows->capacity * Max(natts, 1);
	rows->values = MemoryContextAllocHuge(cxt, cells * sizeof(Datum));
	rows->isnull = MemoryContextAllocHuge(cxt, cells * sizeof(bool));
	rows->info = MemoryContextAllocHuge(cxt, rows->capacity * sizeof(StreamRowInfo));
	return rows;
}

void
tm_stream_rows_reserve(StreamRows *rows)
{
	Size		cells;

	if (rows->nrows < rows->capacity)
		return;
	if (rows->capacity > PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("batch has too many rows")));
	rows->capacity *= 2;
	cells = (Size) rows->capacity * Max(rows->natts, 1);
	rows->values = repalloc_huge(rows->values, cells * sizeof(Datum));
	rows->isnull = repalloc_huge(rows->isnull, cells * sizeof(bool));
	rows->info = repalloc_huge(rows->info, (Size) rows->capacity * sizeof(StreamRowInfo));
}

/* ---- opening ---- */

/* Is the column of this attribute number read by somebody? */
static bool
is_needed(const Bitmapset *needed, AttrNumber attnum)
{
	return needed == NULL ||
		bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, needed);
}

static void
open_meta_column(StreamDecoder *decoder, const StreamColumn *column,
				 bool needed)
{
	MetaColumn *meta = &decoder->meta[decoder->nmeta++];

	meta->metadata = column->metadata;
	meta->attidx = column->attnum - 1;
	meta->name = pstrdup(column->name);
	meta->type = column->format.type;
	meta->not_null = column->format.not_null;
	meta->needed = needed;
	if (column->metadata == STREAM_META_WATERMARK)
		decoder->watermark = column->attnum;
	if ((column->metadata == STREAM_META_KEY ||
		 column->metadata == STREAM_META_VALUE) &&
		!tm_format_accepts_bytes(meta->type))
		elog(ERROR, "unexpected type %u of column \"%s\"", meta->type,
			 meta->name);
}

/* The event-time column holds microseconds since 2000, in UTC, either way. */
static void
check_event_time_type(const StreamColumn *column)
{
	Oid			type = getBaseType(column->format.type);

	if (type != TIMESTAMPTZOID && type != TIMESTAMPOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("event time column \"%s\" must be of type timestamptz or timestamp",
						column->name)));
}

StreamDecoder *
tm_stream_decoder_open(const StreamOptions *options, TupleDesc tupdesc,
					   const Bitmapset *needed, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	StreamDecoder *decoder = palloc0(sizeof(StreamDecoder));
	int			ncolumns = Max(options->ncolumns, 1);
	FormatColumn *formats = palloc0(ncolumns * sizeof(FormatColumn));

	decoder->natts = tupdesc->natts;
	decoder->event_time = -1;
	decoder->null_event_time_keep = options->null_event_time_keep;
	decoder->watermark = InvalidAttrNumber;
	decoder->topic = CStringGetTextDatum(options->topic);
	decoder->meta = palloc0(ncolumns * sizeof(MetaColumn));
	decoder->value_attidx = palloc0(ncolumns * sizeof(int));
	decoder->value_names = palloc0(ncolumns * sizeof(char *));
	decoder->values = palloc0(ncolumns * sizeof(Datum));
	decoder->isnull = palloc0(ncolumns * sizeof(bool));
	for (int i = 0; i < options->ncolumns; i++)
	{
		const StreamColumn *column = &options->columns[i];
		bool		column_needed = is_needed(needed, column->attnum);

		Assert(column->attnum > 0 && column->attnum <= tupdesc->natts);
		if (column->attnum == options->event_time)
		{
			check_event_time_type(column);
			decoder->event_time = column->attnum - 1;
			decoder->event_time_name = pstrdup(column->name);
			column_needed = true;
		}
		if (column->metadata != STREAM_META_NONE)
		{
			open_meta_column(decoder, column, column_needed);
			continue;
		}
		decoder->value_attidx[decoder->nvalues] = column->attnum - 1;
		decoder->value_names[decoder->nvalues] = pstrdup(column->name);
		formats[decoder->nvalues] = column->format;
		formats[decoder->nvalues].needed = column_needed;
		decoder->nvalues++;
	}
	if (options->event_time != InvalidAttrNumber && decoder->event_time < 0)
		elog(ERROR, "event time column %d is missing", options->event_time);
	decoder->format = tm_format_open(options->format, decoder->nvalues,
									 formats, cxt);
	pfree(formats);
	MemoryContextSwitchTo(old);
	return decoder;
}

AttrNumber
tm_stream_decoder_watermark_att(const StreamDecoder *decoder)
{
	return decoder->watermark;
}

/* ---- headers ---- */

/* Bytes as a jsonb string: text if they are valid UTF-8, else '\x...'. */
static FormatResult
set_header_string(const char *bytes, size_t len, bool guarded,
				  JsonbValue *string)
{
	FormatError ignored;
	Datum		value;
	FormatResult result;

	result = tm_format_convert_bytes(bytes, len, TEXTOID, guarded, &value,
									 &ignored);
	if (result == FORMAT_NEEDS_GUARD)
		return result;
	string->type = jbvString;
	if (result == FORMAT_OK)
	{
		string->val.string.val = VARDATA_ANY(DatumGetTextPP(value));
		string->val.string.len = VARSIZE_ANY_EXHDR(DatumGetTextPP(value));
	}
	else
	{
		char	   *hex = palloc(2 * len + 3);

		hex[0] = '\\';
		hex[1] = 'x';
		string->val.string.len = 2 + hex_encode(bytes, len, hex + 2);
		string->val.string.val = hex;
	}
	return FORMAT_OK;
}

/*
 * A jsonb object of the headers; the last of a repeated name wins (that is what
 * making jsonb does), a null value is JSON's null.
 */
static FormatResult
build_headers(const KafkaMessage *msg, bool guarded, bool needed, Datum *value)
{
	const KafkaHeader *headers;
	int			nheaders = tm_kafka_message_headers(msg, &headers);
	JsonbParseState *state = NULL;
	JsonbValue *object;
	size_t		total = 0;

	for (int i = 0; i < nheaders; i++)
		total += 64 + strlen(headers[i].name) + headers[i].len;
	if (total > MAX_SAFE_HEADERS)
	{
		if (!guarded)
			return FORMAT_NEEDS_GUARD;
	}
	else if (!needed)
		return FORMAT_OK;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < nheaders; i++)
	{
		JsonbValue	name;
		JsonbValue	content = {.type = jbvNull};

		if (set_header_string(headers[i].name, strlen(headers[i].name),
							  guarded, &name) != FORMAT_OK)
			return FORMAT_NEEDS_GUARD;
		if (headers[i].value != NULL &&
			set_header_string(headers[i].value, headers[i].len, guarded,
							  &content) != FORMAT_OK)
			return FORMAT_NEEDS_GUARD;
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE, &content);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	*value = JsonbPGetDatum(JsonbValueToJsonb(object));
	return FORMAT_OK;
}

/* ---- decoding ---- */

/* Put the column's name before what is wrong with it. */
static void
prefix_error(FormatError *error, const char *column)
{
	char	   *message = pstrdup(error->message);

	snprintf(error->message, sizeof(error->message), "column \"%s\": %s",
			 column, message);
}

/* Key or value as the column has it. */
static FormatResult
decode_bytes(const MetaColumn *meta, const char *bytes, size_t len,
			 bool guarded, Datum *value, bool *isnull, FormatError *error)
{
	FormatResult result;

	*isnull = bytes == NULL;
	if (bytes == NULL || (meta->type == BYTEAOID && !meta->needed))
		return FORMAT_OK;
	result = tm_format_convert_bytes(bytes, len, meta->type, guarded, value,
									 error);
	if (result == FORMAT_BAD)
		prefix_error(error, meta->name);
	return result;
}

static FormatResult
decode_meta(StreamDecoder *decoder, const MetaColumn *meta,
			const KafkaMessage *msg, TimestampTz ingest_time, bool guarded,
			Datum *value, bool *isnull, FormatError *error)
{
	FormatResult result = FORMAT_OK;

	*isnull = false;
	switch (meta->metadata)
	{
		case STREAM_META_PARTITION:
			*value = Int32GetDatum(msg->partition);
			break;
		case STREAM_META_OFFSET:
			*value = Int64GetDatum(msg->offset);
			break;
		case STREAM_META_TIMESTAMP:
			*isnull = !msg->has_timestamp;
			*value = TimestampTzGetDatum(msg->timestamp);
			break;
		case STREAM_META_KEY:
			result = decode_bytes(meta, msg->key, msg->key_len, guarded,
								  value, isnull, error);
			break;
		case STREAM_META_VALUE:
			result = decode_bytes(meta, msg->value, msg->value_len, guarded,
								  value, isnull, error);
			break;
		case STREAM_META_HEADERS:
			result = build_headers(msg, guarded, meta->needed, value);
			break;
		case STREAM_META_TOPIC:
			*value = decoder->topic;
			break;
		case STREAM_META_INGEST_TIME:
			*isnull = TIMESTAMP_NOT_FINITE(ingest_time);
			*value = TimestampTzGetDatum(ingest_time);
			return FORMAT_OK;
		case STREAM_META_WATERMARK:
			*isnull = true;
			return FORMAT_OK;
		case STREAM_META_NONE:
			break;
	}
	if (result == FORMAT_OK && *isnull && meta->not_null)
	{
		error->sqlstate = ERRCODE_NOT_NULL_VIOLATION;
		error->hint[0] = '\0';
		snprintf(error->message, sizeof(error->message),
				 "null value in column \"%s\" violates not-null constraint",
				 meta->name);
		return FORMAT_BAD;
	}
	return result;
}

/*
 * Take the row's event time, which must be a moment; or NULL, where the stream
 * keeps such rows.
 */
static FormatResult
decode_event_time(const StreamDecoder *decoder, const KafkaMessage *msg,
				  const Datum *values, const bool *isnull,
				  TimestampTz *event_time, FormatError *error)
{
	const char *name = decoder->event_time_name;
	int			attidx = decoder->event_time;

	if (attidx >= 0 && isnull[attidx])
	{
		if (decoder->null_event_time_keep)
			return FORMAT_OK;
		error->sqlstate = ERRCODE_NULL_VALUE_NOT_ALLOWED;
		error->hint[0] = '\0';
		snprintf(error->message, sizeof(error->message),
				 "event time is null in column \"%s\"", name);
		return FORMAT_BAD;
	}
	if (attidx >= 0)
		*event_time = DatumGetTimestampTz(values[attidx]);
	else
		*event_time = msg->has_timestamp ? msg->timestamp : DT_NOBEGIN;
	if ((attidx >= 0 || msg->has_timestamp) &&
		(*event_time < MIN_EVENT_TIME || *event_time > MAX_EVENT_TIME))
	{
		const char *what = TIMESTAMP_NOT_FINITE(*event_time) ? "infinite" : "out of range";

		error->sqlstate = ERRCODE_DATETIME_VALUE_OUT_OF_RANGE;
		error->hint[0] = '\0';
		if (attidx >= 0)
			snprintf(error->message, sizeof(error->message),
					 "event time is %s in column \"%s\"", what, name);
		else
			snprintf(error->message, sizeof(error->message), "event time is %s", what);
		return FORMAT_BAD;
	}
	return FORMAT_OK;
}

FormatResult
tm_stream_decode(StreamDecoder *decoder, const KafkaMessage *msg,
				 TimestampTz ingest_time, bool guarded, Datum *values,
				 bool *isnull, TimestampTz *event_time, FormatError *error)
{
	FormatResult result;

	*event_time = DT_NOBEGIN;
	decoder->meta_current = NULL;
	memset(values, 0, decoder->natts * sizeof(Datum));
	memset(isnull, true, decoder->natts * sizeof(bool));
	/* also without a column of the value: its format is judged */
	result = tm_format_decode(decoder->format, msg->value, msg->value_len,
							  guarded, decoder->values, decoder->isnull,
							  error);
	if (result != FORMAT_OK)
		return result;
	for (int i = 0; i < decoder->nvalues; i++)
	{
		values[decoder->value_attidx[i]] = decoder->values[i];
		isnull[decoder->value_attidx[i]] = decoder->isnull[i];
	}
	for (int i = 0; i < decoder->nmeta; i++)
	{
		const MetaColumn *meta = &decoder->meta[i];

		decoder->meta_current = meta->name;
		result = decode_meta(decoder, meta, msg, ingest_time, guarded,
							 &values[meta->attidx], &isnull[meta->attidx],
							 error);
		if (result != FORMAT_OK)
			return result;
		if (!meta->needed)
			isnull[meta->attidx] = true;
	}
	decoder->meta_current = NULL;
	return decode_event_time(decoder, msg, values, isnull, event_time, error);
}

/*
 * The guarded half of tm_stream_decode_guarded(): decode inside a
 * subtransaction, so that an error of foreign code is only an answer.
 */
static bool
decode_in_subtransaction(StreamDecoder *decoder, const KafkaMessage *msg,
						 TimestampTz ingest_time, Datum *values, bool *isnull,
						 TimestampTz *event_time, FormatError *error)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	volatile FormatResult result = FORMAT_BAD;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		result = tm_stream_decode(decoder, msg, ingest_time, true, values,
								  isnull, event_time, error);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	PG_END_TRY();

	if (edata != NULL)
	{
		if (tm_error_is_transient(edata))
			ReThrowError(edata);
		tm_format_describe_error(decoder->meta_current ? NULL : decoder->format,
								 edata, error);
		if (decoder->meta_current != NULL)
			prefix_error(error, decoder->meta_current);
		FreeErrorData(edata);
		return false;
	}
	Assert(result != FORMAT_NEEDS_GUARD);
	return result == FORMAT_OK;
}

bool
tm_stream_decode_guarded(StreamDecoder *decoder, const KafkaMessage *msg,
						 TimestampTz ingest_time, Datum *values, bool *isnull,
						 TimestampTz *event_time, FormatError *error)
{
	switch (tm_stream_decode(decoder, msg, ingest_time, false, values, isnull,
							 event_time, error))
	{
		case FORMAT_OK:
			return true;
		case FORMAT_BAD:
			return false;
		case FORMAT_NEEDS_GUARD:
			break;
	}
	return decode_in_subtransaction(decoder, msg, ingest_time, values, isnull,
									event_time, error);
}

int
tm_stream_push_decode_settings(void)
{
	static const char *const settings[][2] = {
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"lc_monetary", "C"},
		{"lc_numeric", "C"},
		/* input functions of arrays and xml look at these */
		{"array_nulls", "on"},
		{"xmloption", "content"},
	};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		tm_setting_push(settings[i][0], settings[i][1]);
	return level;
}

/* ---- absent members ---- */

List *
tm_stream_decoder_absent(const StreamDecoder *decoder)
{
	Bitmapset  *absent;
	List	   *result = NIL;
	int			i = -1;

	absent = tm_format_absent(decoder->format);
	while ((i = bms_next_member(absent, i)) >= 0)
		result = lappend(result, pstrdup(decoder->value_names[i]));
	return result;
}

char *
tm_stream_decoder_describe_absent(const StreamDecoder *decoder)
{
	StringInfoData list;
	Bitmapset  *absent;
	int			i = -1;

	absent = tm_format_absent(decoder->format);
	if (bms_is_empty(absent))
		return NULL;
	initStringInfo(&list);
	while ((i = bms_next_member(absent, i)) >= 0)
	{
		const char *near = tm_format_near_miss(decoder->format, i);

		appendStringInfo(&list, "%s\"%s\"", list.len > 0 ? ", " : "",
						 decoder->value_names[i]);
		if (near != NULL)
			appendStringInfo(&list, " (messages have \"%s\")", near);
	}
	return list.data;
}
