/*
 * meta_view.c
 *	  Tables tidemark_state.view and view_partition.
 *
 * Two questions are asked so often that they must not cost a query: "is this
 * relation the source or the state of a view?" (at the start of every INSERT,
 * UPDATE and DELETE of the server) and "may this view be read?" (once per
 * query over a view).  The first is answered from a set of OIDs that is
 * rebuilt after any change of the table: each change sends a relcache
 * invalidation for tidemark_state.view.  The second reads the table by its
 * primary key.
 *
 * Runs in: every backend and worker; inside a transaction.
 * Memory: the set lives in a child of CacheMemoryContext.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

#define VIEW_COLUMNS \
	"state_table::oid, view::oid, query_view::oid, final_table::oid, late_table::oid, source::oid, state, populated, own_offsets, " \
	"(SELECT f.reason FROM tidemark_state.failure f WHERE f.relation = state_table), " \
	"(SELECT f.hint FROM tidemark_state.failure f WHERE f.relation = state_table), sqlstate, since, start_at, options, settings, stamps, system_identifier, database"
#define VIEW_NPARAMS 17

/* Attribute numbers of tidemark_state.view as the install script makes it. */
#define ANUM_VIEW_STATE_TABLE 1
#define ANUM_VIEW_VIEW 2
#define ANUM_VIEW_FINAL_TABLE 4
#define ANUM_VIEW_LATE_TABLE 5
#define ANUM_VIEW_SOURCE 6
#define ANUM_VIEW_POPULATED 8
#define ANUM_VIEW_SYSTEM_IDENTIFIER 16
#define ANUM_VIEW_DATABASE 17

static MetaView *
read_view(uint64 row)
{
	MetaView   *view = palloc0(sizeof(MetaView));

	view->state_table = tm_meta_get_oid(row, 1);
	view->view = tm_meta_get_oid(row, 2);
	view->query_view = tm_meta_get_oid(row, 3);
	view->final_table = tm_meta_get_oid(row, 4);
	view->late_table = tm_meta_get_oid(row, 5);
	view->source = tm_meta_get_oid(row, 6);
	view->state = tm_meta_state_parse(tm_meta_get_text(row, 7));
	view->populated = tm_meta_get_bool(row, 8);
	view->own_offsets = tm_meta_get_bool(row, 9);
	view->reason = tm_meta_get_text(row, 10);
	view->hint = tm_meta_get_text(row, 11);
	view->sqlstate = tm_meta_get_text(row, 12);
	view->since = tm_meta_get_timestamp(row, 13);
	view->start_at = tm_meta_get_text(row, 14);
	view->options = tm_meta_get_text_list(row, 15);
	view->settings = tm_meta_get_text_list(row, 16);
	view->stamps = tm_meta_get_text_list(row, 17);
	view->restored = !tm_meta_stamp_is_ours(tm_meta_get_int64(row, 18, 0),
											tm_meta_get_oid(row, 19));
	return view;
}

static MetaView *
find_one(MetaStatement *statement, Oid oid)
{
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(oid)};
	MetaView   *view = NULL;

	if (tm_meta_statement_begin(statement, values, NULL, &execution) > 0)
		view = read_view(0);
	tm_meta_statement_end(&execution);
	return view;
}

MetaView *
tm_meta_view_find(Oid view)
{
	static MetaStatement statement = {
		.sql = "SELECT " VIEW_COLUMNS " FROM tidemark_state.view WHERE view = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};

	return find_one(&statement, view);
}

MetaView *
tm_meta_view_find_by_state(Oid state_table)
{
	static MetaStatement statement = {
		.sql = "SELECT " VIEW_COLUMNS " FROM tidemark_state.view WHERE state_table = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};

	return find_one(&statement, state_table);
}

MetaView *
tm_meta_view_find_seen(Oid state_table)
{
	static MetaStatement statement = {
		.sql = "SELECT " VIEW_COLUMNS " FROM tidemark_state.view WHERE state_table = $1",
		.nargs = 1,
		.argtypes = {OIDOID},
		.read_only = true
	};

	return find_one(&statement, state_table);
}

MetaView *
tm_meta_view_find_by_any(Oid relid)
{
	static MetaStatement statement = {
		.sql = "SELECT " VIEW_COLUMNS " FROM tidemark_state.view "
		"WHERE view = $1 OR query_view = $1 OR state_table = $1 OR final_table = $1 OR late_table = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};

	return find_one(&statement, relid);
}

MetaView *
tm_meta_view_find_reader(Oid relid, int16 attnum)
{
	static MetaStatement statement = {
		.sql = "SELECT " VIEW_COLUMNS " FROM tidemark_state.view WHERE query_view::oid IN ("
		"SELECT r.ev_class FROM pg_catalog.pg_depend d "
		"JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid "
		"WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 "
		"AND ($2 = 0 OR d.refobjsubid = $2)) ORDER BY state_table::oid LIMIT 1",
		.nargs = 2,
		.argtypes = {OIDOID, INT4OID}
	};
	MetaExecution execution;
	Datum		values[2] = {ObjectIdGetDatum(relid), Int32GetDatum(attnum)};
	MetaView   *view = NULL;

	if (tm_meta_statement_begin(&statement, values, NULL, &execution) > 0)
		view = read_view(0);
	tm_meta_statement_end(&execution);
	return view;
}

char *
tm_meta_view_find_lost(Oid view)
{
	static MetaStatement statement = {
		.sql = "SELECT q.relname::text FROM pg_catalog.pg_rewrite r "
		"JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid "
		"AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass "
		"JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relname ~ '^s_[0-9]+$' "
		"JOIN pg_catalog.pg_class q ON q.relname = 'q_' || substr(s.relname, 3) AND q.relkind = 'v' "
		"WHERE r.ev_class = $1 AND s.relnamespace = 'tidemark_state'::pg_catalog.regnamespace "
		"AND q.relnamespace = s.relnamespace "
		"AND NOT EXISTS (SELECT FROM tidemark_state.view v WHERE v.state_table::oid = s.oid OR v.view::oid = $1) LIMIT 1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(view)};
	char	   *name = NULL;

	if (tm_meta_statement_begin(&statement, values, NULL, &execution) > 0)
		name = tm_meta_get_text(0, 1);
	tm_meta_statement_end(&execution);
	return name;
}

List *
tm_meta_view_list(Oid source)
{
	static MetaStatement all = {
		.sql = "SELECT " VIEW_COLUMNS " FROM tidemark_state.view ORDER BY state_table::oid",
	};
	static MetaStatement of_source = {
		.sql = "SELECT " VIEW_COLUMNS " FROM tidemark_state.view "
		"WHERE source = $1 ORDER BY state_table::oid",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	MetaStatement *statement = OidIsValid(source) ? &of_source : &all;
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(source)};
	List	   *result = NIL;
	uint64		n;

	n = tm_meta_statement_begin(statement, values, NULL, &execution);
	for (uint64 i = 0; i < n; i++)
		result = lappend(result, read_view(i));
	tm_meta_statement_end(&execution);
	return result;
}

#define VIEW_ARGTYPES \
	{OIDOID, OIDOID, OIDOID, OIDOID, OIDOID, OIDOID, TEXTOID, BOOLOID, BOOLOID, TEXTOID, \
	 TIMESTAMPTZOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8OID, OIDOID}

static void
fill_parameters(const MetaView *view, Datum *values, char *nulls)
{
	memset(nulls, ' ', VIEW_NPARAMS);
	values[0] = ObjectIdGetDatum(view->state_table);
	values[1] = ObjectIdGetDatum(view->view);
	values[2] = ObjectIdGetDatum(view->query_view);
	values[3] = tm_meta_oid(view->final_table, &nulls[3]);
	values[4] = tm_meta_oid(view->late_table, &nulls[4]);
	values[5] = ObjectIdGetDatum(view->source);
	values[6] = CStringGetTextDatum(tm_meta_state_name(view->state));
	values[7] = BoolGetDatum(view->populated);
	values[8] = BoolGetDatum(view->own_offsets);
	values[9] = tm_meta_text(view->sqlstate, &nulls[9]);
	values[10] = TimestampTzGetDatum(view->since);
	values[11] = tm_meta_text(view->start_at, &nulls[11]);
	values[12] = tm_meta_text_array(view->options);
	values[13] = tm_meta_text_array(view->settings);
	values[14] = tm_meta_text_array(view->stamps);
	values[15] = Int64GetDatum((int64) GetSystemIdentifier());
	values[16] = ObjectIdGetDatum(MyDatabaseId);
}

void
tm_meta_view_lock(Oid state_table)
{
	LockDatabaseObject(RelationRelationId, state_table, 0, ExclusiveLock);
}

Oid
tm_meta_view_catalog(void)
{
	return get_relname_relid("view", tm_meta_state_schema());
}

/* Make every backend rebuild its set of sources and states. */
static void
invalidate_views(void)
{
	CacheInvalidateRelcacheByRelid(tm_meta_view_catalog());
}

void
tm_meta_view_insert(const MetaView *view)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.view (state_table, view, query_view, final_table, late_table, source, "
		"state, populated, own_offsets, sqlstate, since, start_at, options, settings, stamps, "
		"system_identifier, database) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
		.nargs = VIEW_NPARAMS,
		.argtypes = VIEW_ARGTYPES
	};
	static MetaStatement stats = {
		.sql = "INSERT INTO tidemark_state.view_stats (state_table, rows, batches, maintain_us) VALUES ($1, 0, 0, 0)",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[VIEW_NPARAMS];
	char		nulls[VIEW_NPARAMS];

	fill_parameters(view, values, nulls);
	tm_meta_statement_run(&statement, values, nulls);
	tm_meta_statement_run(&stats, values, NULL);
	tm_meta_failure_put(view->state_table, view->reason, view->hint);
	invalidate_views();
}

void
tm_meta_view_update(const MetaView *view)
{
	static MetaStatement statement = {
		.sql = "UPDATE tidemark_state.view SET view = $2, query_view = $3, final_table = $4, late_table = $5, "
		"source = $6, state = $7, populated = $8, own_offsets = $9, sqlstate = $10, since = $11, "
		"start_at = $12, options = $13, settings = $14, stamps = $15, system_identifier = $16, "
		"database = $17 WHERE state_table = $1",
		.nargs = VIEW_NPARAMS,
		.argtypes = VIEW_ARGTYPES
	};
	Datum		values[VIEW_NPARAMS];
	char		nulls[VIEW_NPARAMS];

	fill_parameters(view, values, nulls);
	tm_meta_statement_run(&statement, values, nulls);
	tm_meta_failure_put(view->state_table, view->reason, view->hint);
	invalidate_views();
}

void
tm_meta_view_delete(Oid state_table)
{
	static MetaStatement statements[] = {
		{.sql = "DELETE FROM tidemark_state.view WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
		{.sql = "DELETE FROM tidemark_state.view_stats WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
		{.sql = "DELETE FROM tidemark_state.view_partition WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
		{.sql = "DELETE FROM tidemark_state.view_skipped_range WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
		{.sql = "DELETE FROM tidemark_state.verdict WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
	};
	Datum		values[1] = {ObjectIdGetDatum(state_table)};

	for (int i = 0; i < (int) lengthof(statements); i++)
		tm_meta_statement_run(&statements[i], values, NULL);
	tm_meta_removed_delete(state_table);
	tm_meta_failure_put(state_table, NULL, NULL);
	invalidate_views();
}

bool
tm_meta_view_is_populated(Oid state_table, Oid *view)
{
	Oid			schema = tm_meta_state_schema();
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		populated = false;

	*view = InvalidOid;
	rel = table_open(get_relname_relid("view", schema), AccessShareLock);
	ScanKeyInit(&key, ANUM_VIEW_STATE_TABLE, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(state_table));
	scan = systable_beginscan(rel, get_relname_relid("view_pkey", schema), true,
							  GetActiveSnapshot(), 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		populated = DatumGetBool(heap_getattr(tuple, ANUM_VIEW_POPULATED,
											  RelationGetDescr(rel), &isnull));
		*view = DatumGetObjectId(heap_getattr(tuple, ANUM_VIEW_VIEW,
											  RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return populated;
}

/* ---- the set of sources and states ---- */

typedef struct ViewRelation
{
	Oid			relid;
	bool		is_known_source;	/* of any view, restored ones too */
	bool		is_source;
	bool		is_state;
} ViewRelation;

static HTAB *view_relations = NULL;
static Oid	view_table = InvalidOid;	/* that the set was built from */
static bool callback_registered = false;

static void
forget_view_relations(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == view_table || !OidIsValid(view_table))
	{
		hash_destroy(view_relations);
		view_relations = NULL;
		view_table = InvalidOid;
	}
}

static void
on_relcache_invalidation(Datum arg, Oid relid)
{
	if (view_relations != NULL)
		forget_view_relations(arg, relid);
}

static ViewRelation *
enter_relation(HTAB *set, Oid relid)
{
	bool		found;
	ViewRelation *entry = hash_search(set, &relid, HASH_ENTER, &found);

	if (!found)
		entry->is_known_source = entry->is_source = entry->is_state = false;
	return entry;
}

static void
enter_if_there(HTAB *set, HeapTuple tuple, TupleDesc tupdesc, AttrNumber attno)
{
	bool		isnull;
	Datum		relid = heap_getattr(tuple, attno, tupdesc, &isnull);

	if (!isnull)
		enter_relation(set, DatumGetObjectId(relid))->is_state = true;
}

/* Read the whole table; restored rows do not guard anything yet. */
static void
build_view_relations(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(ViewRelation),
	.hcxt = CacheMemoryContext};
	Oid			schema = get_namespace_oid("tidemark_state", true);
	Oid			table = OidIsValid(schema) ? get_relname_relid("view", schema) : InvalidOid;
	HTAB	   *set;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(on_relcache_invalidation, (Datum) 0);
		callback_registered = true;
	}
	set = hash_create("tidemark view relations", 32, &ctl,
					  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (OidIsValid(table))
	{
		Relation	rel = table_open(table, AccessShareLock);
		TupleDesc	tupdesc = RelationGetDescr(rel);
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
		HeapTuple	tuple;

		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			bool		isnull;
			Oid			state = DatumGetObjectId(heap_getattr(tuple, ANUM_VIEW_STATE_TABLE, tupdesc, &isnull));
			Oid			source = DatumGetObjectId(heap_getattr(tuple, ANUM_VIEW_SOURCE, tupdesc, &isnull));
			int64		identifier = DatumGetInt64(heap_getattr(tuple, ANUM_VIEW_SYSTEM_IDENTIFIER, tupdesc, &isnull));
			Oid			database = DatumGetObjectId(heap_getattr(tuple, ANUM_VIEW_DATABASE, tupdesc, &isnull));

			enter_relation(set, source)->is_known_source = true;
			if (!tm_meta_stamp_is_ours(identifier, database))
				continue;
			enter_relation(set, source)->is_source = true;
			enter_relation(set, state)->is_state = true;
			enter_if_there(set, tuple, tupdesc, ANUM_VIEW_FINAL_TABLE);
			enter_if_there(set, tuple, tupdesc, ANUM_VIEW_LATE_TABLE);
		}
		systable_endscan(scan);
		UnregisterSnapshot(snapshot);
		table_close(rel, AccessShareLock);
	}
	view_relations = set;
	view_table = table;
}

static ViewRelation *
find_relation(Oid relid)
{
	if (view_relations == NULL)
		build_view_relations();
	return hash_search(view_relations, &relid, HASH_FIND, NULL);
}

bool
tm_meta_view_is_source(Oid relid)
{
	ViewRelation *entry = find_relation(relid);

	return entry != NULL && entry->is_source;
}

bool
tm_meta_view_is_known_source(Oid relid)
{
	ViewRelation *entry = find_relation(relid);

	return entry != NULL && entry->is_known_source;
}

bool
tm_meta_view_is_state(Oid relid)
{
	ViewRelation *entry = find_relation(relid);

	return entry != NULL && entry->is_state;
}

/* ---- a view's own positions ---- */

MetaViewPartition *
tm_meta_view_partition_list(Oid state_table, int *count, bool lock)
{
	static MetaStatement statements[] = {
		{.sql = "SELECT partition, start_offset, next_offset, target_offset, start_max_event_time, max_event_time "
		"FROM tidemark_state.view_partition WHERE state_table = $1 ORDER BY partition",.nargs = 1,.argtypes = {OIDOID}},
		{.sql = "SELECT partition, start_offset, next_offset, target_offset, start_max_event_time, max_event_time "
		"FROM tidemark_state.view_partition WHERE state_table = $1 ORDER BY partition FOR NO KEY UPDATE",.nargs = 1,.argtypes = {OIDOID}},
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(state_table)};
	MetaViewPartition *result;
	uint64		n;

	n = tm_meta_statement_begin(&statements[lock ? 1 : 0], values, NULL, &execution);
	result = palloc0(sizeof(MetaViewPartition) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		result[i].partition = tm_meta_get_int32(i, 1);
		result[i].start_offset = tm_meta_get_int64(i, 2, 0);
		result[i].next_offset = tm_meta_get_int64(i, 3, 0);
		result[i].target_offset = tm_meta_get_int64(i, 4, 0);
		result[i].start_max_event_time = tm_meta_get_timestamp(i, 5);
		result[i].max_event_time = tm_meta_get_timestamp(i, 6);
	}
	tm_meta_statement_end(&execution);
	*count = (int) n;
	return result;
}

void
tm_meta_view_partition_put(Oid state_table, const MetaViewPartition *partition)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.view_partition (state_table, partition, start_offset, next_offset, target_offset, "
		"start_max_event_time, max_event_time) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (state_table, partition) "
		"DO UPDATE SET start_offset = $3, next_offset = $4, target_offset = $5, "
		"start_max_event_time = $6, max_event_time = $7",
		.nargs = 7,
		.argtypes = {OIDOID, INT4OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	char		nulls[7] = {' ', ' ', ' ', ' ', ' ', ' ', ' '};
	Datum		values[7] = {ObjectIdGetDatum(state_table),
		Int32GetDatum(partition->partition),
		Int64GetDatum(partition->start_offset),
		Int64GetDatum(partition->next_offset),
	Int64GetDatum(partition->target_offset)};

	values[5] = tm_meta_timestamp(partition->start_max_event_time, &nulls[5]);
	values[6] = tm_meta_timestamp(partition->max_event_time, &nulls[6]);
	tm_meta_statement_run(&statement, values, nulls);
}

void
tm_meta_view_partition_delete(Oid state_table)
{
	static MetaStatement statements[] = {
		{.sql = "DELETE FROM tidemark_state.view_partition WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
		{.sql = "DELETE FROM tidemark_state.view_skipped_range WHERE state_table = $1",.nargs = 1,.argtypes = {OIDOID}},
	};
	Datum		values[1] = {ObjectIdGetDatum(state_table)};

	for (int i = 0; i < (int) lengthof(statements); i++)
		tm_meta_statement_run(&statements[i], values, NULL);
}
