/*
 * stream_validate.c
 *	  The validator of the foreign data wrapper: which options each kind of
 *	  object takes, and who may set them.
 *
 * Names come from an allow-list.  pg_foreign_server is readable by every role,
 * so secrets are accepted in user mappings only; options that name files of
 * the server's host are for superusers; bootstrap_servers in a user mapping
 * would let a user of the server choose the host to connect to, so it is
 * refused there like every other plain property.
 *
 * The validator sees the complete list of options of one object, also after
 * ALTER, but not the columns of a table: what needs both is in stream_check.c.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/varlena.h"

#include "stream/stream_internal.h"

typedef enum ObjectKind
{
	OBJECT_KIND_WRAPPER,
	OBJECT_KIND_SERVER,
	OBJECT_KIND_MAPPING,
	OBJECT_KIND_TABLE,
	OBJECT_KIND_COLUMN,
} ObjectKind;

static const char *const kind_names[] = {
	"foreign data wrapper", "server", "user mapping", "foreign table",
	"column of a foreign table"
};

static const char *const table_options[] = {
	"batch_max_bytes", "batch_max_delay", "batch_max_rows", "client_id",
	"event_time", "format", "group_id", "isolation_level", "max_error_ratio",
	"max_rate", "null_event_time", "on_error", "shed_above_lag", "topic", "unlogged_table",
	"watermark_delay", "watermark_idle_timeout", "watermark_max_future", "watermark_when_idle"
};

static const char *const column_options[] = {"field", "metadata", "time_unit"};

PG_FUNCTION_INFO_V1(tm_stream_validator);

static bool
is_listed(const char *name, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(name, list[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_option_of(ObjectKind kind, const char *name)
{
	KafkaPropertyClass cls;
	const char *property = NULL;

	switch (kind)
	{
		case OBJECT_KIND_WRAPPER:
			return false;
		case OBJECT_KIND_TABLE:
			return is_listed(name, table_options, lengthof(table_options));
		case OBJECT_KIND_COLUMN:
			return is_listed(name, column_options, lengthof(column_options));
		case OBJECT_KIND_SERVER:
			cls = tm_kafka_property_classify(name, &property);
			return strcmp(name, "transport") == 0 ||
				cls == KAFKA_PROPERTY_PLAIN || cls == KAFKA_PROPERTY_FILE;
		case OBJECT_KIND_MAPPING:
			/* a key file may go with its user */
			cls = tm_kafka_property_classify(name, &property);
			return cls == KAFKA_PROPERTY_SECRET || cls == KAFKA_PROPERTY_FILE;
	}
	return false;
}

static List *
append_names(List *list, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		list = lappend(list, unconstify(char *, names[i]));
	return list;
}

static List *
list_options_of(ObjectKind kind)
{
	List	   *list = NIL;
	List	   *allowed = NIL;
	ListCell   *lc;

	switch (kind)
	{
		case OBJECT_KIND_WRAPPER:
			return NIL;
		case OBJECT_KIND_TABLE:
			return append_names(NIL, table_options, lengthof(table_options));
		case OBJECT_KIND_COLUMN:
			return append_names(NIL, column_options, lengthof(column_options));
		case OBJECT_KIND_SERVER:
			allowed = lappend(allowed, "transport");
			break;
		case OBJECT_KIND_MAPPING:
			break;
	}

	list = list_concat(list, tm_kafka_property_names(KAFKA_PROPERTY_PLAIN));
	list = list_concat(list, tm_kafka_property_names(KAFKA_PROPERTY_SECRET));
	list = list_concat(list, tm_kafka_property_names(KAFKA_PROPERTY_FILE));
	foreach(lc, list)
	{
		if (is_option_of(kind, lfirst(lc)))
			allowed = lappend(allowed, lfirst(lc));
	}
	return allowed;
}

/* The option that was probably meant, or NULL. */
static const char *
find_closest(const char *name, List *options)
{
	const char *best = NULL;
	int			best_distance = 4;
	ListCell   *lc;

	if (strlen(name) > NAMEDATALEN)
		return NULL;
	foreach(lc, options)
	{
		const char *option = lfirst(lc);
		int			distance;

		distance = varstr_levenshtein_less_equal(name, strlen(name),
												 option, strlen(option),
												 1, 1, 1, best_distance, true);
		if (distance < best_distance && distance <= strlen(name) / 2)
		{
			best = option;
			best_distance = distance;
		}
	}
	return best;
}

static char *
join_names(List *names)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, names)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "",
						 (char *) lfirst(lc));
	return buf.data;
}

static void
report_wrong_name(ObjectKind kind, const char *name)
{
	const char *property;
	const char *closest;
	List	   *options = list_options_of(kind);

	if (kind == OBJECT_KIND_SERVER &&
		tm_kafka_property_classify(name, &property) == KAFKA_PROPERTY_SECRET)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("invalid option \"%s\"", name),
				 errdetail("The options of a server are readable by every role."),
				 errhint("Set it in a user mapping of the server.")));

	for (ObjectKind other = OBJECT_KIND_SERVER; other <= OBJECT_KIND_COLUMN; other++)
	{
		if (other != kind && is_option_of(other, name))
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", name),
					 errhint("It is an option of a %s.", kind_names[other])));
	}

	closest = find_closest(name, options);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 closest ? errhint("Perhaps you meant the option \"%s\".", closest) :
			 options ? errhint("Valid options of a %s are: %s.",
							   kind_names[kind], join_names(options)) :
			 errhint("A %s has no options.", kind_names[kind])));
}

/* One librdkafka property; *seen collects them, in librdkafka's spelling. */
static void
validate_property(const char *name, const char *value, List **seen)
{
	const char *property = NULL;
	KafkaPropertyClass cls = tm_kafka_property_classify(name, &property);
	ListCell   *lc;

	foreach(lc, *seen)
	{
		if (strcmp(lfirst(lc), property) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("option \"%s\" is given in two spellings", name)));
	}
	*seen = lappend(*seen, unconstify(char *, property));

	if (cls == KAFKA_PROPERTY_FILE && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", name),
				 errdetail("Only superusers may name files of the server's host.")));
	tm_kafka_property_check(property, value);
}

static void
validate_server(List *options)
{
	StreamTransport transport = STREAM_KAFKA;
	List	   *seen = NIL;
	bool		bootstrap = false;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, "transport") == 0)
			transport = tm_stream_parse_transport(defGetString(def));
		else
			validate_property(def->defname, defGetString(def), &seen);
	}

	foreach(lc, options)
	{
		const char *name = lfirst_node(DefElem, lc)->defname;

		if (transport == STREAM_MANUAL && strcmp(name, "transport") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" has no meaning with transport \"manual\"",
							name)));
	}
	foreach(lc, seen)
	{
		if (strcmp(lfirst(lc), "bootstrap.servers") == 0)
			bootstrap = true;
	}
	if (transport == STREAM_KAFKA && !bootstrap)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"%s\" is required", "bootstrap_servers"),
				 errhint("A server without a broker has the option transport 'manual'.")));
}

static void
validate_table(List *options)
{
	StreamOptions parsed = {0};
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		tm_stream_parse_table_option(&parsed, def->defname, defGetString(def));
	}
	if (parsed.topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"%s\" is required", "topic")));
}

static void
validate_column(List *options)
{
	StreamColumn column = {0};
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		tm_stream_parse_column_option(&column, def->defname, defGetString(def));
	}
	if (column.metadata != STREAM_META_NONE &&
		(column.format.field != NULL ||
		 column.format.time_unit != FORMAT_TIME_UNIT_NONE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("option \"%s\" cannot be combined with option \"metadata\"",
						column.format.field ? "field" : "time_unit"),
				 errdetail("A column is either a member of the message value or metadata of the message.")));
}

/* tidemark_state.stream_validator(text[], oid) */
Datum
tm_stream_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	List	   *seen = NIL;
	ObjectKind	kind;
	ListCell   *lc;

	if (catalog == ForeignServerRelationId)
		kind = OBJECT_KIND_SERVER;
	else if (catalog == UserMappingRelationId)
		kind = OBJECT_KIND_MAPPING;
	else if (catalog == ForeignTableRelationId)
		kind = OBJECT_KIND_TABLE;
	else if (catalog == AttributeRelationId)
		kind = OBJECT_KIND_COLUMN;
	else
		kind = OBJECT_KIND_WRAPPER;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (!is_option_of(kind, def->defname))
			report_wrong_name(kind, def->defname);
	}

	switch (kind)
	{
		case OBJECT_KIND_WRAPPER:
			break;
		case OBJECT_KIND_SERVER:
			validate_server(options);
			break;
		case OBJECT_KIND_MAPPING:
			foreach(lc, options)
			{
				DefElem    *def = lfirst_node(DefElem, lc);

				validate_property(def->defname, defGetString(def), &seen);
			}
			break;
		case OBJECT_KIND_TABLE:
			validate_table(options);
			break;
		case OBJECT_KIND_COLUMN:
			validate_column(options);
			break;
	}
	PG_RETURN_VOID();
}
