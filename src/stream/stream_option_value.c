/*
 * stream_option_value.c
 *	  Values of the options of a stream: text to StreamOptions, with ranges.
 *
 * The validator and tm_stream_get_options() both come through here, so what
 * is accepted at CREATE is what is understood later.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "common/int.h"
#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "stream/stream_internal.h"

#define MAX_BATCH_ROWS		10000000
#define MIN_BATCH_BYTES		1024
#define MAX_BATCH_BYTES		(1024 * 1024 * 1024)
#define MAX_BATCH_DELAY		USECS_PER_HOUR
/* a century: keeps event time minus delay within int64 and timestamptz */
#define MAX_DURATION		(INT64CONST(36525) * USECS_PER_DAY)
#define MAX_TOPIC_LENGTH	249
#define MAX_LAG				(INT64CONST(1) << 62)

typedef struct Choice
{
	const char *name;
	int			value;
} Choice;

static const Choice transports[] = {
	{"kafka", STREAM_KAFKA},
	{"manual", STREAM_MANUAL},
	{NULL}
};

static const Choice metadata[] = {
	{"partition", STREAM_META_PARTITION},
	{"offset", STREAM_META_OFFSET},
	{"timestamp", STREAM_META_TIMESTAMP},
	{"key", STREAM_META_KEY},
	{"value", STREAM_META_VALUE},
	{"headers", STREAM_META_HEADERS},
	{"topic", STREAM_META_TOPIC},
	{"ingest_time", STREAM_META_INGEST_TIME},
	{"watermark", STREAM_META_WATERMARK},
	{NULL}
};

static const Choice time_units[] = {
	{"s", FORMAT_TIME_UNIT_S},
	{"ms", FORMAT_TIME_UNIT_MS},
	{"us", FORMAT_TIME_UNIT_US},
	{"ns", FORMAT_TIME_UNIT_NS},
	{NULL}
};

static const Choice error_actions[] = {
	{"dead_letter", false},
	{"fail", true},
	{NULL}
};

static const Choice unlogged_tables[] = {
	{"refuse", false},
	{"lose_rows_on_crash", true},
	{NULL}
};

static const Choice null_event_times[] = {
	{"dead_letter", false},
	{"keep", true},
	{NULL}
};

static const Choice idle_behaviours[] = {
	{"hold", false},
	{"wall_clock", true},
	{NULL}
};

static const Choice isolation_levels[] = {
	{"read_committed", true},
	{"read_uncommitted", false},
	{NULL}
};

static int
parse_choice(const char *option, const char *value, const Choice *choices)
{
	StringInfoData names;

	for (const Choice *c = choices; c->name != NULL; c++)
	{
		if (strcmp(c->name, value) == 0)
			return c->value;
	}

	initStringInfo(&names);
	for (const Choice *c = choices; c->name != NULL; c++)
		appendStringInfo(&names, "%s%s", c == choices ? "" : ", ", c->name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", option, value),
			 errhint("Valid values are: %s.", names.data)));
}

StreamTransport
tm_stream_parse_transport(const char *value)
{
	return parse_choice("transport", value, transports);
}

const char *
tm_stream_metadata_name(StreamMetadata kind)
{
	for (const Choice *c = metadata; c->name != NULL; c++)
	{
		if (c->value == kind)
			return c->name;
	}
	elog(ERROR, "unexpected kind of metadata: %d", (int) kind);
}

static void
option_context(void *arg)
{
	errcontext("option \"%s\"", (const char *) arg);
}

/* Months are refused because they have no fixed length. */
int64
tm_stream_parse_duration(const char *option, const char *value, int64 max,
						 bool allow_infinity)
{
	ErrorContextCallback context;
	Interval   *interval;
	int64		us;

	if (pg_strcasecmp(value, "infinity") == 0 && allow_infinity)
		return STREAM_NEVER;
	if (pg_strcasecmp(value, "infinity") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be finite", option)));

	context.callback = option_context;
	context.arg = unconstify(char *, option);
	context.previous = error_context_stack;
	error_context_stack = &context;
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
													 CStringGetDatum(value),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	error_context_stack = context.previous;

	if (interval->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" cannot contain months or years", option),
				 errhint("Use days: a day is 24 hours here.")));
	if (pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &us) ||
		pg_add_s64_overflow(us, interval->time, &us) ||
		us < 0 || us > max)
	{
		Interval	limit = {.time = max % USECS_PER_DAY,.day = max / USECS_PER_DAY};

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value \"%s\" for option \"%s\" is out of range",
						value, option),
				 errdetail("It must be between 0 and %s.",
						   DatumGetCString(DirectFunctionCall1(interval_out,
															   PointerGetDatum(&limit))))));
	}
	return us;
}

/* An integer; unit is a GUC_UNIT_ constant, or 0. */
static int
parse_integer(const char *option, const char *value, int unit, int min, int max)
{
	const char *hint = NULL;
	int			result;

	if (!parse_int(value, &result, unit, &hint))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", option, value),
				 hint ? errhint("%s", _(hint)) : 0));
	if (result < min || result > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value \"%s\" for option \"%s\" is out of range",
						value, option),
				 errdetail("It must be between %d and %d.", min, max)));
	return result;
}

/* The same beyond the range of int. */
static int64
parse_bigint(const char *option, const char *value, int64 min, int64 max)
{
	char	   *end;
	int64		result;

	errno = 0;
	result = strtoi64(value, &end, 10);
	while (isspace((unsigned char) *end))
		end++;
	if (end == value || *end != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", option, value)));
	if (errno == ERANGE || result < min || result > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value \"%s\" for option \"%s\" is out of range",
						value, option),
				 errdetail("It must be between %lld and %lld.",
						   (long long) min, (long long) max)));
	return result;
}

static double
parse_ratio(const char *option, const char *value)
{
	double		result;

	if (!parse_real(value, &result, 0, NULL) || isnan(result))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", option, value)));
	if (result < 0 || result > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value \"%s\" for option \"%s\" is out of range",
						value, option),
				 errdetail("It must be between 0 and 1.")));
	return result;
}

/* Kafka's own rule, so that a typing error is found without a broker. */
static char *
parse_topic(const char *value)
{
	size_t		len = strlen(value);

	if (len == 0 || len > MAX_TOPIC_LENGTH ||
		strcmp(value, ".") == 0 || strcmp(value, "..") == 0 ||
		strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "0123456789._-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid topic name: \"%s\"", value),
				 errdetail("A topic name has 1 to %d letters, digits, dots, underscores and hyphens.",
						   MAX_TOPIC_LENGTH)));
	return pstrdup(value);
}

static FormatKind
parse_format(const char *value)
{
	static const char *const later[] = {"csv", "avro", "debezium_json"};
	FormatKind	kind;

	if (tm_format_lookup(value, &kind))
		return kind;

	for (int i = 0; i < lengthof(later); i++)
	{
		if (strcmp(value, later[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("format \"%s\" is not supported yet", value),
					 errhint("Valid values are: json, raw.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", "format", value),
			 errhint("Valid values are: json, raw.")));
}

static char *
parse_name(const char *option, const char *value)
{
	if (value[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must not be empty", option)));
	return pstrdup(value);
}

void
tm_stream_parse_table_option(StreamOptions *options, const char *name,
							 const char *value)
{
	if (strcmp(name, "topic") == 0)
		options->topic = parse_topic(value);
	else if (strcmp(name, "format") == 0)
		options->format = parse_format(value);
	else if (strcmp(name, "event_time") == 0)
		(void) parse_name(name, value);
	else if (strcmp(name, "watermark_delay") == 0)
		options->watermark_delay = tm_stream_parse_duration(name, value, MAX_DURATION, false);
	else if (strcmp(name, "watermark_idle_timeout") == 0)
		options->watermark_idle_timeout = tm_stream_parse_duration(name, value, MAX_DURATION, true);
	else if (strcmp(name, "watermark_max_future") == 0)
		options->watermark_max_future = tm_stream_parse_duration(name, value, MAX_DURATION, true);
	else if (strcmp(name, "watermark_when_idle") == 0)
		options->watermark_wall_clock = parse_choice(name, value, idle_behaviours);
	else if (strcmp(name, "null_event_time") == 0)
		options->null_event_time_keep = parse_choice(name, value, null_event_times);
	else if (strcmp(name, "on_error") == 0)
		options->on_error_fail = parse_choice(name, value, error_actions);
	else if (strcmp(name, "max_error_ratio") == 0)
		options->max_error_ratio = parse_ratio(name, value);
	else if (strcmp(name, "batch_max_rows") == 0)
		options->batch_max_rows = parse_integer(name, value, 0, 1, MAX_BATCH_ROWS);
	else if (strcmp(name, "batch_max_bytes") == 0)
		options->batch_max_bytes = parse_integer(name, value, GUC_UNIT_BYTE,
												 MIN_BATCH_BYTES, MAX_BATCH_BYTES);
	else if (strcmp(name, "batch_max_delay") == 0)
		options->batch_max_delay = tm_stream_parse_duration(name, value, MAX_BATCH_DELAY, false);
	else if (strcmp(name, "max_rate") == 0)
		options->max_rate = parse_integer(name, value, 0, 1, PG_INT32_MAX);
	else if (strcmp(name, "shed_above_lag") == 0)
		options->shed_above_lag = parse_bigint(name, value, 1, MAX_LAG);
	else if (strcmp(name, "unlogged_table") == 0)
		options->lose_rows_on_crash = parse_choice(name, value, unlogged_tables);
	else if (strcmp(name, "isolation_level") == 0)
		options->read_committed = parse_choice(name, value, isolation_levels);
	else if (strcmp(name, "group_id") == 0)
		options->group_id = parse_name(name, value);
	else if (strcmp(name, "client_id") == 0)
		options->client_id = parse_name(name, value);
	else
		elog(ERROR, "unexpected option \"%s\" of a stream", name);
}

/* A member name, or a JSON pointer (RFC 6901), in which ~ is ~0 or ~1. */
static char *
parse_field(const char *value)
{
	if (value[0] == '/')
	{
		for (const char *p = value; *p != '\0'; p++)
		{
			if (*p == '~' && p[1] != '0' && p[1] != '1')
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid JSON pointer: \"%s\"", value),
						 errhint("Write ~0 for ~ and ~1 for / inside a name.")));
		}
	}
	return parse_name("field", value);
}

void
tm_stream_parse_column_option(StreamColumn *column, const char *name,
							  const char *value)
{
	if (strcmp(name, "field") == 0)
		column->format.field = parse_field(value);
	else if (strcmp(name, "metadata") == 0)
		column->metadata = parse_choice(name, value, metadata);
	else if (strcmp(name, "time_unit") == 0)
		column->format.time_unit = parse_choice(name, value, time_units);
	else
		elog(ERROR, "unexpected option \"%s\" of a stream column", name);
}
