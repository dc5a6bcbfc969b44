/*
 * meta_tables.c
 *	  Names, owner and identity of the extension, and the switch of identity
 *	  under which its tables are used.
 *
 * Runs in: every backend and worker; inside a transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/settings.h"
#include "meta/meta_internal.h"

/* Rows that a cursor gives at a time. */
#define FETCH_ROWS 1000

bool
tm_meta_is_installed(void)
{
	Oid			schema = get_namespace_oid("tidemark_state", true);

	return OidIsValid(schema) &&
		OidIsValid(get_extension_oid("tidemark", true)) &&
		OidIsValid(get_relname_relid("removed_range", schema));
}

Oid
tm_meta_state_schema(void)
{
	return get_namespace_oid("tidemark_state", false);
}

Oid
tm_meta_extension_owner(void)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("tidemark"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"tidemark\" is not installed in this database"),
				 errhint("Use CREATE EXTENSION tidemark.")));
	return owner;
}

Oid
tm_meta_function(const char *schema, const char *name, int nargs,
				 const Oid *argtypes)
{
	return LookupFuncName(list_make2(makeString(pstrdup(schema)),
									 makeString(pstrdup(name))),
						  nargs, argtypes, false);
}

Oid
tm_meta_aggstate_type(void)
{
	Oid			schema = get_namespace_oid("tidemark", false);
	Oid			type;

	type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
						   CStringGetDatum("aggstate"),
						   ObjectIdGetDatum(schema));
	if (!OidIsValid(type))
		elog(ERROR, "type tidemark.aggstate does not exist");
	return type;
}

static void
enter(Oid userid, int sec_context, MetaIdentity *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(userid, saved->sec_context | sec_context);
	saved->guc_level = NewGUCNestLevel();
	tm_setting_push("search_path", META_SEARCH_PATH);
}

void
tm_meta_enter(MetaIdentity *saved)
{
	enter(tm_meta_extension_owner(), SECURITY_LOCAL_USERID_CHANGE, saved);
}

void
tm_meta_enter_as(Oid userid, MetaIdentity *saved)
{
	enter(userid, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION,
		  saved);
}

void
tm_meta_leave(const MetaIdentity *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

void
tm_meta_execute(const char *sql)
{
	MetaIdentity identity;
	int			rc;

	tm_meta_enter(&identity);
	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(rc));
	SPI_finish();
	tm_meta_leave(&identity);
}

TupleDesc
tm_meta_read_as(Oid userid, const char *sql, bool read_only,
				Tuplestorestate *store)
{
	MemoryContext caller = CurrentMemoryContext;
	TupleDesc	tupdesc = NULL;
	MetaIdentity identity;
	SPIPlanPtr	plan;
	Portal		portal;

	tm_meta_enter_as(userid, &identity);
	SPI_connect();
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\"", sql);
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, read_only);
	do
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (tupdesc == NULL)
		{
			MemoryContext spi = MemoryContextSwitchTo(caller);

			tupdesc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(spi);
		}
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(store, SPI_tuptable->vals[i]);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	tm_meta_leave(&identity);
	return tupdesc;
}

const TriggerData *
tm_meta_deletion(FunctionCallInfo fcinfo)
{
	const TriggerData *trigdata = (const TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_INSTEAD(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		elog(ERROR, "not fired instead of DELETE");
	return trigdata;
}

Datum
tm_meta_deleted_value(const TriggerData *trigdata, const char *column, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	int			attno = SPI_fnumber(desc, column);
	bool		missing = true;
	Datum		value = (Datum) 0;

	if (attno > 0)
		value = heap_getattr(trigdata->tg_trigtuple, attno, desc, &missing);
	if (missing && isnull == NULL)
		elog(ERROR, "no value of column \"%s\" in a deleted row", column);
	if (isnull != NULL)
		*isnull = missing;
	return value;
}

/*
 * A restored database may hold objects whose numbers the sequence does not
 * know, hence the loop.
 */
int
tm_meta_new_object_number(void)
{
	static MetaStatement statement = {
		.sql = "SELECT pg_catalog.nextval('tidemark_state.object_number')"
	};
	Oid			schema = tm_meta_state_schema();

	for (;;)
	{
		static const char *const prefixes[] = {"s_", "q_", "dead_", "log_"};
		MetaExecution execution;
		int			number;
		bool		taken = false;

		tm_meta_statement_begin(&statement, NULL, NULL, &execution);
		number = (int) tm_meta_get_int64(0, 1, 0);
		tm_meta_statement_end(&execution);
		for (int i = 0; i < (int) lengthof(prefixes); i++)
			taken |= OidIsValid(get_relname_relid(psprintf("%s%d", prefixes[i],
														   number), schema));
		if (!taken)
			return number;
	}
}
