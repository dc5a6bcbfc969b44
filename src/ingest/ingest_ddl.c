/*
 * ingest_ddl.c
 *	  What utility statements mean for ingests.
 *
 * A stream's options are compared before and after ALTER FOREIGN TABLE: its
 * topic, format and event time cannot change under an ingest, and what decides
 * about rows or watermarks cannot change under a view.  A table that an ingest
 * fills stays one that raw rows can go to, table partitions included.
 *
 * COMMIT PREPARED brings what was prepared with start_ingest() and its kin.
 *
 * The sql_drop event trigger cleans up after streams, tables and views.
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "ingest/ingest.h"
#include "ingest/ingest_internal.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(tm_on_drop);

/* The name of a stream's column is its field, unless an option gives another. */
static bool
renames_column(Node *stmt)
{
	return IsA(stmt, RenameStmt) && ((RenameStmt *) stmt)->renameType == OBJECT_COLUMN;
}

/* The stream that a statement creates or alters. */
static Oid
statement_stream(Node *stmt)
{
	RangeVar   *rel = NULL;
	Oid			relid;

	if (!IsTransactionState())
		return InvalidOid;
	if (IsA(stmt, CreateForeignTableStmt))
		rel = ((CreateForeignTableStmt *) stmt)->base.relation;
	else if (IsA(stmt, AlterTableStmt))
		rel = ((AlterTableStmt *) stmt)->relation;
	else if (renames_column(stmt))
		rel = ((RenameStmt *) stmt)->relation;
	if (rel == NULL)
		return InvalidOid;
	relid = RangeVarGetRelid(rel, NoLock, true);
	return OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE &&
		tm_stream_is_stream(relid) ? relid : InvalidOid;
}

/* DROP TABLE of a table that an ingest fills takes the ingest along: CASCADE. */
static void
check_drop_table(DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE || stmt->behavior == DROP_CASCADE ||
		!tm_meta_is_installed())
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true);
		MetaIngest *ingest = OidIsValid(relid) ? tm_meta_ingest_find_by_table(relid) : NULL;

		if (ingest != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop table \"%s\" because an ingest fills it", get_rel_name(relid)),
					 errdetail("It is the ingest of stream \"%s\".", get_rel_name(ingest->stream)),
					 errhint("Use DROP ... CASCADE to drop the ingest too.")));
	}
}

/* Offsets of the kept log mean nothing to a broker, nor the other way round. */
static void
check_alter_server(AlterForeignServerStmt *stmt)
{
	Oid			server = get_foreign_server_oid(stmt->servername, true);
	ListCell   *lc;
	DefElem    *transport = NULL;
	StreamTransport wanted;

	foreach(lc, stmt->options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "transport") == 0)
		transport = lfirst_node(DefElem, lc);
	if (transport == NULL || !OidIsValid(server) || !tm_meta_is_installed())
		return;
	wanted = transport->defaction != DEFELEM_DROP && transport->arg != NULL &&
		strcmp(defGetString(transport), "manual") == 0 ? STREAM_MANUAL : STREAM_KAFKA;
	foreach(lc, tm_meta_ingest_list())
	{
		StreamOptions *options = tm_stream_get_options(((MetaIngest *) lfirst(lc))->stream);

		if (options->serverid == server && options->transport != wanted)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot change the transport of server \"%s\" while stream \"%s\" is ingested",
							stmt->servername, get_rel_name(options->relid)),
					 errhint("Create another server.")));
	}
}

void
tm_ingest_ddl_before(Node *stmt, IngestDdl *ddl)
{
	ddl->stream = InvalidOid;
	ddl->options = NULL;
	if (IsA(stmt, DropStmt))
		check_drop_table((DropStmt *) stmt);
	if (IsA(stmt, AlterForeignServerStmt))
		check_alter_server((AlterForeignServerStmt *) stmt);
	if (!IsA(stmt, AlterTableStmt) && !renames_column(stmt))
		return;
	ddl->stream = statement_stream(stmt);
	if (OidIsValid(ddl->stream))
		ddl->options = tm_stream_get_options(ddl->stream);
}

static void
refuse_change(Oid stream, const char *what, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("cannot change %s of stream \"%s\" while %s", what, get_rel_name(stream), why),
			 errhint("Create another stream on the topic.")));
}

static const StreamColumn *
find_column(const StreamOptions *options, AttrNumber attnum)
{
	for (int i = 0; i < options->ncolumns; i++)
		if (options->columns[i].attnum == attnum)
			return &options->columns[i];
	return NULL;
}

static bool
differ(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a != b : strcmp(a, b) != 0;
}

static void
check_under_ingest(const StreamOptions *before, const StreamOptions *after)
{
	const char *why = "an ingest exists";

	if (differ(before->topic, after->topic))
		refuse_change(after->relid, "the topic", why);
	if (before->format != after->format)
		refuse_change(after->relid, "the format", why);
	if (before->event_time != after->event_time)
		refuse_change(after->relid, "event_time", why);
}

static void
check_under_view(const StreamOptions *before, const StreamOptions *after)
{
	const char *why = "a continuous view reads it";

	if (before->watermark_delay != after->watermark_delay)
		refuse_change(after->relid, "watermark_delay", why);
	if (before->watermark_max_future != after->watermark_max_future)
		refuse_change(after->relid, "watermark_max_future", why);
	if (before->null_event_time_keep != after->null_event_time_keep)
		refuse_change(after->relid, "null_event_time", why);
	for (int i = 0; i < before->ncolumns; i++)
	{
		const StreamColumn *a = &before->columns[i];
		const StreamColumn *b = find_column(after, a->attnum);

		if (b == NULL)
			continue;			/* dropped: no view uses it */
		if (a->metadata != b->metadata || differ(a->format.field, b->format.field))
			refuse_change(after->relid, psprintf("the field of column \"%s\"", a->name), why);
		if (a->format.time_unit != b->format.time_unit)
			refuse_change(after->relid, psprintf("time_unit of column \"%s\"", a->name), why);
		if (a->format.type != b->format.type || a->format.typmod != b->format.typmod)
			refuse_change(after->relid, psprintf("the type of column \"%s\"", a->name), why);
		if (a->format.not_null != b->format.not_null)
			refuse_change(after->relid, psprintf("NOT NULL of column \"%s\"", a->name), why);
	}
	for (int i = 0; i < after->ncolumns; i++)
	{
		const StreamColumn *b = &after->columns[i];

		if (b->format.not_null && find_column(before, b->attnum) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot add NOT NULL column \"%s\" to stream \"%s\" while %s",
							b->name, get_rel_name(after->relid), why),
					 errdetail("Messages without it, which the view has taken in, would be refused when they are read again."),
					 errhint("Omit NOT NULL.")));
	}
}

/* The table that a statement made or changed, if it can be a table partition. */
static Oid
statement_table(Node *stmt)
{
	RangeVar   *rel = NULL;

	if (IsA(stmt, CreateStmt) && ((CreateStmt *) stmt)->partbound != NULL)
		rel = ((CreateStmt *) stmt)->relation;
	else if (IsA(stmt, CreateForeignTableStmt) &&
			 ((CreateForeignTableStmt *) stmt)->base.partbound != NULL)
		rel = ((CreateForeignTableStmt *) stmt)->base.relation;
	else if (IsA(stmt, AlterTableStmt))
	{
		ListCell   *lc;

		foreach(lc, ((AlterTableStmt *) stmt)->cmds)
		{
			AlterTableType type = lfirst_node(AlterTableCmd, lc)->subtype;

			if (type == AT_AttachPartition || type == AT_SetUnLogged)
				rel = ((AlterTableStmt *) stmt)->relation;
		}
	}
	if (rel == NULL || !IsTransactionState() || !tm_meta_is_installed())
		return InvalidOid;
	return RangeVarGetRelid(rel, NoLock, true);
}

/* Is the table that an ingest fills, or is to fill for its views, still one that it can fill? */
static void
check_table(Node *stmt)
{
	Oid			relid = statement_table(stmt);
	List	   *tables;
	ListCell   *lc;

	if (!OidIsValid(relid))
		return;
	CommandCounterIncrement();
	tables = lcons_oid(relid, get_rel_relispartition(relid) ?
					   get_partition_ancestors(relid) : NIL);
	foreach(lc, tables)
	{
		MetaIngest *ingest = tm_meta_ingest_find_by_table(lfirst_oid(lc));

		if (ingest != NULL)
			tm_store_check_table(lfirst_oid(lc),
								 tm_stream_get_options(ingest->stream)->lose_rows_on_crash);
		else if (tm_meta_view_list(lfirst_oid(lc)) != NIL)
			tm_store_check_table(lfirst_oid(lc), true);
	}
}

void
tm_ingest_ddl_after(Node *stmt, const IngestDdl *ddl)
{
	Oid			stream;
	StreamOptions *options;

	if (IsA(stmt, CreateExtensionStmt) &&
		strcmp(((CreateExtensionStmt *) stmt)->extname, "tidemark") == 0)
		tm_worker_wake_scheduler_at_commit();
	if (IsA(stmt, TransactionStmt) &&
		((TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED &&
		tm_meta_is_installed())
		tm_worker_wake_scheduler_at_commit();
	check_table(stmt);
	if (!IsA(stmt, CreateForeignTableStmt) && !OidIsValid(ddl->stream))
		return;
	stream = statement_stream(stmt);
	if (!OidIsValid(stream))
		return;
	CommandCounterIncrement();
	tm_stream_check_definition(stream);
	if (ddl->options == NULL || ddl->stream != stream)
		return;
	options = tm_stream_get_options(stream);
	if (options->owner != ddl->options->owner)
		tm_meta_stream_set_owner(stream, options->owner);
	if (tm_meta_ingest_find(stream) != NULL)
		check_under_ingest(ddl->options, options);
	if (tm_meta_view_list(stream) != NIL)
		check_under_view(ddl->options, options);
}

/* ---- sql_drop ---- */

/* OIDs of the first column of a query over what was just dropped. */
static List *
dropped(const char *sql)
{
	List	   *result = NIL;
	MemoryContext cxt = CurrentMemoryContext;

	SPI_connect();
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read dropped objects");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		MemoryContext before = MemoryContextSwitchTo(cxt);

		result = lappend_oid(result,
							 DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
															SPI_tuptable->tupdesc, 1, &isnull)));
		MemoryContextSwitchTo(before);
	}
	SPI_finish();
	return result;
}

#define DROPPED_RELATIONS \
	" JOIN pg_catalog.pg_event_trigger_dropped_objects() d " \
	"ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND d.objid "

static void
forget_streams(List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
	{
		tm_meta_ingest_delete(lfirst_oid(lc));
		tm_meta_partition_delete(lfirst_oid(lc));
		tm_meta_stream_delete(lfirst_oid(lc));
	}
	if (streams != NIL)
		tm_worker_wake_scheduler_at_commit();
}

/*
 * The table of an ingest is gone: it goes on for the views over the stream, or
 * ends.
 */
static void
forget_tables(List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
	{
		MetaIngest *ingest = tm_meta_ingest_find(lfirst_oid(lc));

		if (ingest == NULL)
			continue;
		if (tm_meta_view_list(ingest->stream) == NIL)
		{
			tm_meta_ingest_delete(ingest->stream);
			tm_meta_partition_delete(ingest->stream);
		}
		else
		{
			ingest->into_table = InvalidOid;
			ingest->implicit = true;
			tm_meta_ingest_update(ingest);
		}
	}
	if (streams != NIL)
		tm_worker_wake_scheduler_at_commit();
}

/* Event trigger function: on sql_drop. */
Datum
tm_on_drop(PG_FUNCTION_ARGS)
{
	MetaIdentity identity;
	List	   *views;
	List	   *streams;
	List	   *tables;
	List	   *parents;		/* of partition_by_time() */
	List	   *orphans;		/* state tables that the catalog does not know */
	ListCell   *lc;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		elog(ERROR, "not fired by event trigger manager");
	if (!tm_meta_is_installed())
		PG_RETURN_NULL();
	tm_meta_enter(&identity);
	views = dropped("SELECT DISTINCT v.state_table::oid FROM tidemark_state.view v" DROPPED_RELATIONS
					"IN (v.state_table::oid, v.view::oid, v.query_view::oid)");
	streams = dropped("SELECT DISTINCT d.objid FROM (SELECT stream FROM tidemark_state.stream "
					  "UNION SELECT stream FROM tidemark_state.ingest) s" DROPPED_RELATIONS
					  "= s.stream::oid");
	tables = dropped("SELECT DISTINCT i.stream::oid FROM tidemark_state.ingest i" DROPPED_RELATIONS
					 "= i.into_table::oid");
	parents = dropped("SELECT DISTINCT p.parent::oid FROM tidemark_state.partitioning p" DROPPED_RELATIONS
					  "= p.parent::oid");
	orphans = dropped("SELECT DISTINCT c.oid FROM pg_catalog.pg_event_trigger_dropped_objects() d "
					  "JOIN pg_catalog.pg_class c ON c.relname = 's_' OPERATOR(pg_catalog.||) pg_catalog.substr(d.object_name, 3) "
					  "WHERE d.object_type = 'view' AND d.schema_name = 'tidemark_state' AND d.object_name ~ '^q_[0-9]+$' "
					  "AND c.relnamespace = 'tidemark_state'::pg_catalog.regnamespace "
					  "AND c.oid NOT IN (SELECT v.state_table::oid FROM tidemark_state.view v)");
	tm_meta_leave(&identity);
	foreach(lc, orphans)
		tm_meta_execute(psprintf("DROP TABLE tidemark_state.%s CASCADE",
								 quote_identifier(get_rel_name(lfirst_oid(lc)))));
	foreach(lc, views)
	{
		MetaView   *view = tm_meta_view_find_by_state(lfirst_oid(lc));

		if (view != NULL)
			tm_view_drop(view);
	}
	foreach(lc, parents)
		tm_meta_partitioning_delete(lfirst_oid(lc));
	forget_tables(list_difference_oid(tables, streams));
	forget_streams(streams);
	PG_RETURN_NULL();
}
