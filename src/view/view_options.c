/*
 * view_options.c
 *	  The tidemark.* options of a continuous view: text to ContinuousOptions, and
 *	  what they ask of the view's query.
 *
 * The catalog keeps them as texts "name=value", as a foreign table does.
 *
 * Runs in: backends and workers.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "datatype/timestamp.h"

#include "stream/stream.h"
#include "view/view_internal.h"

/* a century: keeps a window's end plus this within timestamptz */
#define MAX_DURATION	(INT64CONST(36525) * USECS_PER_DAY)

/* NAMEDATALEN - 1, as NOTIFY has it */
#define MAX_CHANNEL_LENGTH	(NAMEDATALEN - 1)

static int64
parse_duration(const char *name, const char *value)
{
	return tm_stream_parse_duration(psprintf("tidemark.%s", name), value,
									MAX_DURATION, true);
}

static void
throw_invalid(const char *name, const char *value, const char *valid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"tidemark.%s\": \"%s\"", name, value),
			 errhint("Valid values are: %s.", valid)));
}

static ViewEmit
parse_emit(const char *value)
{
	if (strcmp(value, "changes") == 0)
		return VIEW_EMIT_CHANGES;
	if (strcmp(value, "final") == 0)
		return VIEW_EMIT_FINAL;
	if (strcmp(value, "final, revisions") == 0)
		return VIEW_EMIT_REVISIONS;
	throw_invalid("emit", value, "changes, final, \"final, revisions\"");
	return VIEW_EMIT_CHANGES;
}

static bool
parse_late(const char *value)
{
	if (strcmp(value, "count") != 0 && strcmp(value, "table") != 0)
		throw_invalid("late", value, "count, table");
	return strcmp(value, "table") == 0;
}

static char *
parse_channel(const char *value)
{
	if (value[0] == '\0' || strlen(value) > MAX_CHANNEL_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"tidemark.notify\": \"%s\"", value),
				 errhint("Name a channel of 1 to %d bytes.", MAX_CHANNEL_LENGTH)));
	return pstrdup(value);
}

/* What the parser has found; a lateness of its own is told from the default. */
typedef struct OptionParse
{
	ContinuousOptions *options;
	bool		has_lateness;
} OptionParse;

/* False: there is no such option. */
static bool
parse_option(OptionParse *parse, const char *name, const char *value)
{
	ContinuousOptions *options = parse->options;

	if (strcmp(name, "start_at") == 0)
		options->start_at = pstrdup(value);
	else if (strcmp(name, "allowed_lateness") == 0)
	{
		options->allowed_lateness = parse_duration(name, value);
		parse->has_lateness = true;
	}
	else if (strcmp(name, "retention") == 0)
		options->retention = parse_duration(name, value);
	else if (strcmp(name, "emit") == 0)
		options->emit = parse_emit(value);
	else if (strcmp(name, "late") == 0)
		options->late_table = parse_late(value);
	else if (strcmp(name, "notify") == 0)
		options->notify = parse_channel(value);
	else
		return false;
	return true;
}

static void
begin_parse(OptionParse *parse, ContinuousOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->allowed_lateness = options->retention = STREAM_NEVER;
	parse->options = options;
	parse->has_lateness = false;
}

/* Defaults that follow from other options, and options that exclude each other. */
static void
end_parse(OptionParse *parse)
{
	ContinuousOptions *options = parse->options;
	bool		wants_close = options->emit != VIEW_EMIT_CHANGES ||
	options->retention != STREAM_NEVER;

	if (!parse->has_lateness && wants_close)
		options->allowed_lateness = 0;
	if (VIEW_CLOSES(options))
		return;
	if (wants_close)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tidemark.allowed_lateness must be finite with tidemark.%s",
						options->emit != VIEW_EMIT_CHANGES ? "emit" : "retention"),
				 errdetail("Windows that never close are never final, and never leave the view.")));
	if (options->late_table)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tidemark.late needs a finite tidemark.allowed_lateness"),
				 errdetail("Without it no row is late.")));
}

void
tm_view_read_options(const List *texts, ContinuousOptions *options)
{
	OptionParse parse;
	ListCell   *lc;

	begin_parse(&parse, options);
	foreach(lc, texts)
	{
		char	   *name = pstrdup(lfirst(lc));
		char	   *equals = strchr(name, '=');

		if (equals == NULL)
			elog(ERROR, "invalid option of a continuous view: \"%s\"", name);
		*equals = '\0';
		if (!parse_option(&parse, name, equals + 1))
			elog(ERROR, "unrecognized option of a continuous view: \"%s\"", name);
	}
	end_parse(&parse);
}

/* One option in the form of the catalog. */
char *
tm_view_option_text(const DefElem *def)
{
	/* WITH (option) alone has no value that any of them takes */
	if (def->arg == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"tidemark.%s\" needs a value", def->defname)));
	return psprintf("%s=%s", def->defname, defGetString(unconstify(DefElem *, def)));
}

bool
tm_view_is_option(const char *name)
{
	static const char *const names[] = {
		"allowed_lateness", "emit", "late", "notify", "retention", "start_at"
	};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}
