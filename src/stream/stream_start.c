/*
 * stream_start.c
 *	  start_at: 'earliest', 'latest', a timestamp, or a JSON map from partition
 *	  to offset.
 *
 * The text is stored and read again in other sessions, so it must mean the
 * same in all: a timestamp without zone is UTC, and words that depend on the
 * moment of reading ('now', 'today') are no start_at.
 */
#include "postgres.h"

#include <ctype.h>

#include "common/int.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "meta/meta.h"
#include "stream/stream_internal.h"

#define LOG_CHUNK			1000

typedef enum StartKind
{
	START_EARLIEST,
	START_LATEST,
	START_TIME,
	START_MAP,
} StartKind;

struct StreamStart
{
	StartKind	kind;
	TimestampTz time;
	int			nentries;
	int32	   *partition;
	int64	   *offset;
};

static void
report_invalid(const char *start_at)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid start_at: \"%s\"", start_at),
			 errhint("Use 'earliest', 'latest', a timestamp, or offsets by partition such as '{\"0\": 42, \"1\": 7}'.")));
}

static const char *
skip_space(const char *p)
{
	while (isspace((unsigned char) *p))
		p++;
	return p;
}

/* Digits only; NULL when there are none or too many. */
static const char *
scan_number(const char *p, int64 max, int64 *number)
{
	const char *start = p;

	*number = 0;
	for (; isdigit((unsigned char) *p); p++)
	{
		if (pg_mul_s64_overflow(*number, 10, number) ||
			pg_add_s64_overflow(*number, *p - '0', number) ||
			*number > max)
			return NULL;
	}
	return p == start ? NULL : p;
}

/* One `"partition": offset`; NULL when there is none. */
static const char *
scan_entry(const char *p, int64 *partition, int64 *offset)
{
	if (*p != '"')
		return NULL;
	p = scan_number(p + 1, PG_INT32_MAX, partition);
	if (p == NULL || *p != '"')
		return NULL;
	p = skip_space(p + 1);
	if (*p != ':')
		return NULL;
	p = scan_number(skip_space(p + 1), PG_INT64_MAX - 1, offset);
	return p ? skip_space(p) : NULL;
}

/*
 * Numbers need no more of JSON than this, and jsonb would report mistakes with
 * other error codes.
 */
static bool
parse_map(const char *p, StreamStart *spec)
{
	int			capacity = strlen(p) / 4 + 1;

	spec->kind = START_MAP;
	spec->partition = palloc_array(int32, capacity);
	spec->offset = palloc_array(int64, capacity);

	do
	{
		int64		partition;
		int64		offset;

		/* skips the brace, later the comma */
		p = scan_entry(skip_space(p + 1), &partition, &offset);
		if (p == NULL)
			return false;
		for (int i = 0; i < spec->nentries; i++)
		{
			if (spec->partition[i] == partition)
				return false;
		}
		spec->partition[spec->nentries] = partition;
		spec->offset[spec->nentries++] = offset;
	} while (*p == ',');

	return *p == '}' && *skip_space(p + 1) == '\0';
}

static bool
parse_time(const char *start_at, StreamStart *spec)
{
	int			level;
	bool		valid;

	/* 'now', 'today', 'epoch' have no digit */
	if (strpbrk(start_at, "0123456789") == NULL)
		return false;

	spec->kind = START_TIME;
	level = tm_stream_push_decode_settings();
	valid = tm_timestamptz_parse(start_at, &spec->time);
	AtEOXact_GUC(false, level);
	return valid && !TIMESTAMP_NOT_FINITE(spec->time);
}

static void
parse_start(const char *start_at, StreamStart *spec)
{
	memset(spec, 0, sizeof(*spec));
	if (start_at == NULL || strcmp(start_at, "earliest") == 0)
		spec->kind = START_EARLIEST;
	else if (strcmp(start_at, "latest") == 0)
		spec->kind = START_LATEST;
	else if (*skip_space(start_at) == '{')
	{
		if (!parse_map(skip_space(start_at), spec))
			report_invalid(start_at);
	}
	else if (!parse_time(start_at, spec))
		report_invalid(start_at);
}

void
tm_stream_check_start(const char *start_at)
{
	StreamStart spec;

	parse_start(start_at, &spec);
}

/* First offset of the kept log at or after time; the end when there is none. */
static int64
find_log_time(Oid log, const StreamPartition *partition, TimestampTz time)
{
	MemoryContext cxt;
	int64		next = partition->earliest;
	int64		found = -1;
	int			n;

	cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark log search",
								ALLOCSET_DEFAULT_SIZES);
	do
	{
		KafkaMessage *messages;

		MemoryContextReset(cxt);
		n = tm_stream_log_read(log, partition->partition, next, partition->end,
							   LOG_CHUNK, cxt, &messages);
		for (int i = 0; i < n && found < 0; i++)
		{
			if (messages[i].has_timestamp && messages[i].timestamp >= time)
				found = messages[i].offset;
			next = messages[i].offset + 1;
		}
	} while (n == LOG_CHUNK && found < 0);
	MemoryContextDelete(cxt);
	return found < 0 ? partition->end : found;
}

static void
resolve_time(const StreamOptions *options, KafkaConsumer *consumer,
			 TimestampTz time, int n, const StreamPartition *partitions,
			 int64 *offsets)
{
	int32	   *numbers;
	Oid			dead_letters;
	Oid			log;

	if (options->transport == STREAM_MANUAL)
	{
		tm_meta_stream_find_tables(options->relid, &dead_letters, &log);
		for (int i = 0; i < n; i++)
			offsets[i] = OidIsValid(log) ?
				find_log_time(log, &partitions[i], time) : partitions[i].end;
		return;
	}

	numbers = palloc_array(int32, Max(n, 1));
	for (int i = 0; i < n; i++)
		numbers[i] = partitions[i].partition;
	tm_kafka_consumer_offsets_for_time(consumer, n, numbers, time, offsets,
									   STREAM_BROKER_TIMEOUT_MS);
	/* the log may have grown, or lost its head, since the bounds were taken */
	for (int i = 0; i < n; i++)
		offsets[i] = Max(partitions[i].earliest,
						 Min(offsets[i], partitions[i].end));
	pfree(numbers);
}

static void
resolve_map(const StreamStart *spec, int n, const StreamPartition *partitions,
			int64 *offsets)
{
	for (int i = 0; i < n; i++)
		offsets[i] = KAFKA_OFFSET_NONE;

	for (int e = 0; e < spec->nentries; e++)
	{
		int			i = 0;

		while (i < n && partitions[i].partition != spec->partition[e])
			i++;
		if (i == n)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("partition %d in start_at does not exist",
							spec->partition[e]),
					 errdetail_plural("The stream has %d partition.",
									  "The stream has %d partitions.", n, n)));
		offsets[i] = spec->offset[e];
	}
}

StreamStart *
tm_stream_parse_start(const char *start_at)
{
	StreamStart *spec = palloc(sizeof(StreamStart));

	parse_start(start_at, spec);
	return spec;
}

void
tm_stream_resolve_parsed(const StreamOptions *options, KafkaConsumer *consumer,
						 const StreamStart *spec, int n,
						 const StreamPartition *partitions, int64 *offsets)
{
	switch (spec->kind)
	{
		case START_EARLIEST:
		case START_LATEST:
			for (int i = 0; i < n; i++)
				offsets[i] = spec->kind == START_LATEST ?
					partitions[i].end : partitions[i].earliest;
			break;
		case START_TIME:
			resolve_time(options, consumer, spec->time, n, partitions, offsets);
			break;
		case START_MAP:
			resolve_map(spec, n, partitions, offsets);
			break;
	}
}

void
tm_stream_resolve_start(const StreamOptions *options, KafkaConsumer *consumer,
						const char *start_at, int n,
						const StreamPartition *partitions, int64 *offsets)
{
	StreamStart spec;

	parse_start(start_at, &spec);
	tm_stream_resolve_parsed(options, consumer, &spec, n, partitions, offsets);
}
