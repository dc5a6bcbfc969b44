/*
 * stream_check.c
 *	  Rules about a stream's definition that need its columns.
 *
 * The validator of a foreign data wrapper is not shown the columns, so these
 * rules run whenever a stream's options are read, and right after CREATE and
 * ALTER FOREIGN TABLE, so that a mistake is reported where it is made.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "stream/stream_internal.h"

static bool
type_fits_metadata(StreamMetadata metadata, Oid type, const char **expected)
{
	switch (metadata)
	{
		case STREAM_META_NONE:
			return true;
		case STREAM_META_PARTITION:
			*expected = "integer";
			return type == INT4OID;
		case STREAM_META_OFFSET:
			*expected = "bigint";
			return type == INT8OID;
		case STREAM_META_TIMESTAMP:
		case STREAM_META_INGEST_TIME:
		case STREAM_META_WATERMARK:
			*expected = "timestamp with time zone";
			return type == TIMESTAMPTZOID;
		case STREAM_META_KEY:
		case STREAM_META_VALUE:
			*expected = "bytea, text, json or jsonb";
			return tm_format_accepts_bytes(type);
		case STREAM_META_HEADERS:
			*expected = "jsonb";
			return type == JSONBOID;
		case STREAM_META_TOPIC:
			*expected = "text";
			return type == TEXTOID;
	}
	return false;
}

static void
check_column(const StreamOptions *options, const StreamColumn *column)
{
	const char *expected = NULL;

	if (!type_fits_metadata(column->metadata, column->format.type, &expected))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" with metadata \"%s\" must be of type %s",
						column->name,
						tm_stream_metadata_name(column->metadata), expected),
				 errdetail("It is of type %s.",
						   format_type_be(column->format.type))));

	if (column->format.time_unit != FORMAT_TIME_UNIT_NONE &&
		column->format.type != TIMESTAMPTZOID &&
		column->format.type != TIMESTAMPOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" with option \"time_unit\" must be of type timestamp with or without time zone",
						column->name),
				 errdetail("It is of type %s.",
						   format_type_be(column->format.type))));

	if (options->format == FORMAT_RAW && column->metadata == STREAM_META_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of a stream of format \"raw\" needs the option \"metadata\"",
						column->name),
				 errhint("The bytes of the message are metadata \"value\".")));
}

static void
check_duplicates(const StreamOptions *options)
{
	const StreamColumn *seen[STREAM_META_WATERMARK + 1] = {NULL};

	for (int i = 0; i < options->ncolumns; i++)
	{
		const StreamColumn *column = &options->columns[i];

		if (column->metadata == STREAM_META_NONE)
			continue;
		if (seen[column->metadata] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("columns \"%s\" and \"%s\" have the same metadata \"%s\"",
							seen[column->metadata]->name, column->name,
							tm_stream_metadata_name(column->metadata))));
		seen[column->metadata] = column;
	}
}

static AttrNumber
find_event_time(const StreamOptions *options, const char *name)
{
	for (int i = 0; i < options->ncolumns; i++)
	{
		const StreamColumn *column = &options->columns[i];

		if (strcmp(column->name, name) != 0)
			continue;
		if (column->format.type != TIMESTAMPTZOID &&
			column->format.type != TIMESTAMPOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("event_time column \"%s\" must be of type timestamp with or without time zone",
							name),
					 errdetail("It is of type %s.",
							   format_type_be(column->format.type))));
		if (column->metadata != STREAM_META_NONE &&
			column->metadata != STREAM_META_TIMESTAMP)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("event_time column \"%s\" cannot have metadata \"%s\"",
							name, tm_stream_metadata_name(column->metadata)),
					 errdetail("Event time is a member of the message value or the timestamp of the message.")));
		return column->attnum;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("event_time column \"%s\" does not exist", name)));
}

void
tm_stream_check_columns(StreamOptions *options, const char *event_time)
{
	for (int i = 0; i < options->ncolumns; i++)
		check_column(options, &options->columns[i]);
	check_duplicates(options);
	options->event_time = event_time ? find_event_time(options, event_time) :
		InvalidAttrNumber;
}

/* Nobody reads a manual stream: inject() brings its messages. */
static void
check_transport(const StreamOptions *options)
{
	const char *name = options->max_rate > 0 ? "max_rate" :
	options->shed_above_lag > 0 ? "shed_above_lag" : NULL;

	if (options->transport == STREAM_MANUAL && name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" has no meaning with transport \"manual\"",
						name)));
}

void
tm_stream_check_definition(Oid relid)
{
	MemoryContext cxt;
	MemoryContext old;
	StreamOptions *options;
	FormatColumn *columns;
	int			ncolumns = 0;

	cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark definition",
								ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);

	options = tm_stream_get_options(relid);
	check_transport(options);
	columns = palloc_array(FormatColumn, options->ncolumns);
	for (int i = 0; i < options->ncolumns; i++)
	{
		if (options->columns[i].metadata == STREAM_META_NONE)
			columns[ncolumns++] = options->columns[i].format;
	}

	/*
	 * the format knows which types it can fill, and which names are
	 * well-formed
	 */
	(void) tm_format_open(options->format, ncolumns, columns, cxt);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

/* ---- parallel mode ---- */

static bool is_type_parallel_safe(Oid type);

static bool
is_row_parallel_safe(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	bool		safe = true;

	for (int i = 0; i < desc->natts && safe; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		safe = att->attisdropped || is_type_parallel_safe(att->atttypid);
	}
	ReleaseTupleDesc(desc);
	return safe;
}

/*
 * Are values of this type read by functions that are parallel safe, and, where a
 * resource owner has to do for the guard, PostgreSQL's own?
 */
static bool
is_type_parallel_safe(Oid type)
{
	Oid			element = get_element_type(type);
	Oid			input;
	Oid			ioparam;

	if (OidIsValid(element))
		return is_type_parallel_safe(element);
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			/* a constraint may be any expression */
			return !DomainHasConstraints(type) && is_type_parallel_safe(getBaseType(type));
		case TYPTYPE_COMPOSITE:
			return is_row_parallel_safe(type);
		case TYPTYPE_RANGE:
		case TYPTYPE_MULTIRANGE:
			/* their functions call those of the type inside */
			if (type >= FirstNormalObjectId)
				return false;
	}
	getTypeInputInfo(type, &input, &ioparam);
	return func_parallel(input) == PROPARALLEL_SAFE &&
		(TM_HAS_PARALLEL_SUBTRANSACTIONS || input < FirstNormalObjectId);
}

bool
tm_stream_is_parallel_safe(const StreamOptions *options)
{
	if (options->transport == STREAM_MANUAL)
		return false;
	/* all of them: a column that nobody reads is judged as well */
	for (int i = 0; i < options->ncolumns; i++)
	{
		if (!is_type_parallel_safe(options->columns[i].format.type))
			return false;
	}
	return true;
}
