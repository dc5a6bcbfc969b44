/*
 * stream_options.c
 *	  What a stream is: its options from the catalogs, and its consumer.
 *
 * Nothing is cached: reading a definition costs a few syscache lookups, once
 * per scan or batch, and DDL takes effect at the next one by itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_user_mapping.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/settings.h"
#include "meta/meta.h"
#include "stream/stream_internal.h"

#define WRAPPER_NAME		"tidemark_kafka"
/* local queue of a scan; a worker takes a share of tidemark.worker_memory */
#define SCAN_QUEUE_KBYTES	(32 * 1024)

bool
tm_stream_is_stream(Oid relid)
{
	ForeignServer *server;

	if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		return false;
	server = GetForeignServer(GetForeignServerIdByRelId(relid));
	return server->fdwid == get_foreign_data_wrapper_oid(WRAPPER_NAME, true);
}

bool
tm_stream_is_manual(Oid relid)
{
	ForeignServer *server = GetForeignServer(GetForeignServerIdByRelId(relid));
	ListCell   *lc;

	foreach(lc, server->options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, "transport") == 0)
			return strcmp(defGetString(def), "manual") == 0;
	}
	return false;
}

static void
require_stream(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!tm_stream_is_stream(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a stream", name),
				 errdetail("A stream is a foreign table of the foreign data wrapper \"%s\".",
						   WRAPPER_NAME)));
	pfree(name);
}

static void
load_column(StreamColumn *column, Form_pg_attribute att, Oid relid)
{
	ListCell   *lc;

	if (att->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("generated column \"%s\" of a stream is not supported",
						NameStr(att->attname))));

	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->format.column = column->name;
	column->format.field = column->name;
	column->format.type = att->atttypid;
	column->format.typmod = att->atttypmod;
	column->format.not_null = att->attnotnull;
	column->format.needed = true;

	foreach(lc, GetForeignColumnOptions(relid, att->attnum))
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		tm_stream_parse_column_option(column, def->defname, defGetString(def));
	}
}

static void
load_columns(StreamOptions *options, TupleDesc tupdesc)
{
	options->columns = palloc0_array(StreamColumn, tupdesc->natts);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped)
			load_column(&options->columns[options->ncolumns++], att,
						options->relid);
	}
}

static void
set_defaults(StreamOptions *options, Relation rel)
{
	options->format = FORMAT_JSON;
	options->max_error_ratio = 0.1;
	options->watermark_idle_timeout = USECS_PER_MINUTE;
	options->watermark_max_future = 5 * USECS_PER_MINUTE;
	options->batch_max_rows = 50000;
	options->batch_max_bytes = 16 * 1024 * 1024;
	options->batch_max_delay = 20 * INT64CONST(1000);
	options->read_committed = true;
	options->client_id = psprintf("tidemark-%s-%s",
								  get_database_name(MyDatabaseId),
								  RelationGetRelationName(rel));
}

StreamOptions *
tm_stream_get_options(Oid relid)
{
	StreamOptions *options = palloc0_object(StreamOptions);
	const char *event_time = NULL;
	ForeignTable *table;
	Relation	rel;
	ListCell   *lc;

	require_stream(relid);
	rel = relation_open(relid, AccessShareLock);
	table = GetForeignTable(relid);
	options->relid = relid;
	options->serverid = table->serverid;
	options->owner = rel->rd_rel->relowner;
	set_defaults(options, rel);

	foreach(lc, GetForeignServer(table->serverid)->options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, "transport") == 0)
			options->transport = tm_stream_parse_transport(defGetString(def));
	}
	foreach(lc, table->options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		tm_stream_parse_table_option(options, def->defname, defGetString(def));
		if (strcmp(def->defname, "event_time") == 0)
			event_time = defGetString(def);
	}
	load_columns(options, RelationGetDescr(rel));
	tm_stream_check_columns(options, event_time);

	relation_close(rel, AccessShareLock);
	return options;
}

/* The options of the user's mapping, or of PUBLIC's; NIL without one. */
static List *
find_mapping_options(Oid serverid, Oid userid)
{
	HeapTuple	tuple;
	Datum		datum;
	bool		isnull;
	List	   *list = NIL;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(userid),
							ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple))
		return NIL;

	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		list = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return list;
}

static List *
append_properties(List *properties, List *defs)
{
	ListCell   *lc;

	foreach(lc, defs)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		KafkaProperty *property = palloc_object(KafkaProperty);

		/* what is not on the allow-list is no property: transport */
		if (tm_kafka_property_classify(def->defname, &property->name) ==
			KAFKA_PROPERTY_UNKNOWN)
			continue;
		property->value = defGetString(def);
		properties = lappend(properties, property);
	}
	return properties;
}

List *
tm_stream_get_properties(const StreamOptions *options, Oid userid)
{
	List	   *properties;

	/* later ones win: a mapping may name a key file of its own */
	properties = append_properties(NIL,
								   GetForeignServer(options->serverid)->options);
	return append_properties(properties,
							 find_mapping_options(options->serverid, userid));
}

static KafkaConsumer *
open_consumer(const StreamOptions *options, Oid userid, int npartitions,
			  int queued_kbytes, MemoryContext cxt)
{
	KafkaConsumerOptions consumer = {0};

	Assert(options->transport == STREAM_KAFKA);
	consumer.properties = tm_stream_get_properties(options, userid);
	consumer.topic = options->topic;
	consumer.client_id = options->client_id;
	consumer.group_id = npartitions > 0 ? options->group_id : NULL;
	consumer.read_committed = options->read_committed;
	consumer.queued_kbytes = queued_kbytes;
	consumer.low_latency = npartitions > 0;
	consumer.npartitions = npartitions;
	return tm_kafka_consumer_open(&consumer, cxt);
}

KafkaConsumer *
tm_stream_open_consumer(const StreamOptions *options, Oid userid,
						int npartitions, MemoryContext cxt)
{
	return open_consumer(options, userid, npartitions,
						 npartitions > 0 ? tm_setting_worker_memory * 1024 / 16 :
						 SCAN_QUEUE_KBYTES,
						 cxt);
}

KafkaConsumer *
tm_stream_open_scan_consumer(const StreamOptions *options, Oid userid,
							 int nparticipants, MemoryContext cxt)
{
	return open_consumer(options, userid, 0, SCAN_QUEUE_KBYTES / nparticipants,
						 cxt);
}

static int
list_broker_partitions(KafkaConsumer *consumer, StreamPartition **partitions)
{
	int			n = tm_kafka_consumer_partitions(consumer, STREAM_BROKER_TIMEOUT_MS);
	int64	   *earliest = palloc_array(int64, n);
	int64	   *end = palloc_array(int64, n);

	tm_kafka_consumer_query_offsets(consumer, 0, n, earliest, end, STREAM_BROKER_TIMEOUT_MS);
	*partitions = palloc_array(StreamPartition, n);
	for (int i = 0; i < n; i++)
	{
		StreamPartition *partition = &(*partitions)[i];

		partition->partition = i;
		partition->earliest = earliest[i];
		partition->end = end[i];
	}
	pfree(earliest);
	pfree(end);
	return n;
}

static int
list_log_partitions(Oid stream, StreamPartition **partitions)
{
	Oid			dead_letters;
	Oid			log;
	List	   *list = NIL;
	ListCell   *lc;
	int			n = 0;

	tm_meta_stream_find_tables(stream, &dead_letters, &log);
	if (OidIsValid(log))
		list = tm_stream_log_partitions(log);

	*partitions = palloc_array(StreamPartition, Max(list_length(list), 1));
	foreach(lc, list)
	{
		StreamPartition *partition = &(*partitions)[n++];

		partition->partition = lfirst_int(lc);
		partition->earliest = 0;
		partition->end = tm_stream_log_end(log, partition->partition);
	}
	return n;
}

int
tm_stream_list_partitions(const StreamOptions *options, KafkaConsumer *consumer,
						  StreamPartition **partitions)
{
	if (options->transport == STREAM_MANUAL)
		return list_log_partitions(options->relid, partitions);
	return list_broker_partitions(consumer, partitions);
}
