/*
 * ingest_store_target.c
 *	  Which tables raw rows may go into, and how stream columns fill them.
 *
 * Columns match by name.  What COPY reads as text and hands to input functions
 * is here a Datum of the stream column's type already, so instead of input
 * functions there are assignment casts, as INSERT ... SELECT would use them.
 * Everything else follows COPY: a column that no stream column fills takes its
 * default, GENERATED ALWAYS identity columns may be written, generated columns
 * may not.  One difference: a missing column of a domain type is checked
 * against the domain, where COPY would store a NULL that the domain forbids.
 *
 * Runs in: workers and backends (start_ingest, inject).
 * Memory: a StoreTarget lies in the context it was opened in.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/primnodes.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "rewrite/rewriteHandler.h"
#include "storage/bufmgr.h"
#include "storage/lockdefs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "ingest/ingest_store_internal.h"
#include "meta/meta.h"

/* Refuse what is no table of the user's. */
static void
check_kind(Oid relid, Form_pg_class form)
{
	const char *name = NameStr(form->relname);

	if (form->relkind != RELKIND_RELATION &&
		form->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a table", name),
				errdetail_relkind_not_supported(form->relkind),
				errhint("Raw rows are stored in a plain or in a partitioned table."));

	if (IsCatalogRelationOid(relid) ||
		IsCatalogNamespace(form->relnamespace) ||
		IsToastNamespace(form->relnamespace))
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is a system catalog", name),
				errhint("Raw rows are stored in a table of your own."));

	if (form->relnamespace == tm_meta_state_schema() ||
		form->relnamespace == get_namespace_oid("tidemark", true))
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is a table of the extension itself", name),
				errhint("Raw rows are stored in a table of your own."));
}

/* Would a crash empty the table while the offsets stay? */
static void
check_persistence(char persistence, const char *name, bool may_lose)
{
	if (persistence == RELPERSISTENCE_PERMANENT ||
		(persistence == RELPERSISTENCE_UNLOGGED && may_lose))
		return;
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			persistence == RELPERSISTENCE_TEMP ?
			errmsg("cannot store raw rows in temporary table \"%s\"", name) :
			errmsg("cannot store raw rows in unlogged table \"%s\"", name),
			errdetail("Its rows would be lost while the offsets of the ingest stay."),
			persistence == RELPERSISTENCE_TEMP ?
			errhint("Name a permanent table.") :
			errhint("Use ALTER TABLE ... SET LOGGED, or option unlogged_table of the stream, which accepts the loss."));
}

void
tm_store_check_partition(char relkind, char persistence, const char *name, bool may_lose)
{
	if (relkind == RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot store raw rows in foreign table \"%s\"", name),
				errdetail("What a foreign table keeps does not commit together with the offsets of the ingest."),
				errhint("Detach that table partition, or replace it by a permanent table."));
	check_persistence(persistence, name, may_lose);
}

/* A view would keep what its table has lost. */
static void
check_unread(Oid relid, const char *name)
{
	if (tm_meta_view_list(relid) == NIL)
		return;
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot store raw rows in unlogged table \"%s\"", name),
			errdetail("A crash would empty it, and a continuous view over table \"%s\" could not be rebuilt.",
					  get_rel_name(relid)),
			errhint("Have the view over the stream, or make the table permanent with ALTER TABLE ... SET LOGGED."));
}

void
tm_store_check_table(Oid relid, bool may_lose)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relid));
	form = (Form_pg_class) GETSTRUCT(tuple);

	check_kind(relid, form);
	check_persistence(form->relpersistence, NameStr(form->relname), may_lose);
	if (form->relpersistence == RELPERSISTENCE_UNLOGGED)
		check_unread(relid, NameStr(form->relname));
	if (form->relkind == RELKIND_PARTITIONED_TABLE)
	{
		ListCell   *lc;

		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
		{
			Oid			child = lfirst_oid(lc);
			char	   *name = get_rel_name(child);

			if (name == NULL)
				continue;
			tm_store_check_partition(get_rel_relkind(child), get_rel_persistence(child),
									 name, may_lose);
			if (get_rel_persistence(child) == RELPERSISTENCE_UNLOGGED)
				check_unread(relid, name);
		}
	}

	if (check_enable_rls(relid, form->relowner, true) == RLS_ENABLED)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("row security of table \"%s\" applies to its owner",
					   NameStr(form->relname)),
				errdetail("Raw rows are stored as COPY stores them, which knows no row security."),
				errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY."));
	ReleaseSysCache(tuple);
}

bool
tm_store_is_emptied(Oid relid)
{
	bool		unlogged = false;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		bool		empty = !RELKIND_HAS_STORAGE(rel->rd_rel->relkind) ||
		RelationGetNumberOfBlocks(rel) == 0;

		unlogged |= rel->rd_rel->relkind == RELKIND_RELATION &&
			rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED;
		table_close(rel, NoLock);
		if (!empty)
			return false;
	}
	return unlogged;
}

/* The live column of this name, or InvalidAttrNumber. */
static AttrNumber
find_column(TupleDesc tupdesc, const char *name)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/*
 * The cast from a stream column to a table column, or NULL when the Datum can
 * be stored as it is.
 */
static Node *
make_cast(Relation table, Form_pg_attribute to, Form_pg_attribute from)
{
	CaseTestExpr *input = makeNode(CaseTestExpr);
	Node	   *cast;
	Node	   *bare;

	input->typeId = from->atttypid;
	input->typeMod = from->atttypmod;
	input->collation = from->attcollation;

	cast = coerce_to_target_type(NULL, (Node *) input, from->atttypid,
								 to->atttypid, to->atttypmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (cast == NULL)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of table \"%s\" is of type %s but stream column \"%s\" is of type %s",
					   NameStr(to->attname), RelationGetRelationName(table),
					   format_type_with_typemod(to->atttypid, to->atttypmod),
					   NameStr(from->attname),
					   format_type_with_typemod(from->atttypid, from->atttypmod)),
				errhint("Change one of the types, or create an assignment cast."));

	for (bare = cast; IsA(bare, RelabelType);
		 bare = (Node *) castNode(RelabelType, bare)->arg)
		;
	if (bare == (Node *) input)
		return NULL;
	assign_expr_collations(NULL, cast);
	return cast;
}

/* What a column gets that no stream column fills; NULL for a plain NULL. */
static Node *
make_default(Relation table, Form_pg_attribute att)
{
	Node	   *expr = build_column_default(table, att->attnum);
	Oid			base;
	int32		typmod = att->atttypmod;

	if (expr != NULL || get_typtype(att->atttypid) != TYPTYPE_DOMAIN)
		return expr;

	base = getBaseTypeAndTypmod(att->atttypid, &typmod);
	return coerce_to_domain((Node *) makeNullConst(base, typmod, att->attcollation),
							base, typmod, att->atttypid,
							COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1, false);
}

/* Fill target's columns: dropped ones stay at neither source nor default. */
static void
map_columns(StoreTarget *target, Relation table, TupleDesc from)
{
	TupleDesc	to = RelationGetDescr(table);

	for (int i = 0; i < to->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(to, i);
		StoreColumn *column = &target->columns[i];

		if (att->attisdropped)
			continue;
		column->source = find_column(from, NameStr(att->attname));
		if (column->source == InvalidAttrNumber)
		{
			if (!att->attgenerated)
				column->expr = make_default(table, att);
			continue;
		}
		if (att->attgenerated)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					errmsg("column \"%s\" of table \"%s\" is a generated column",
						   NameStr(att->attname), RelationGetRelationName(table)),
					errdetail("A stream column of the same name cannot be stored in it."),
					errhint("Rename or drop one of the two columns."));
		column->expr = make_cast(table, att,
								 TupleDescAttr(from, column->source - 1));
		target->needed = bms_add_member(target->needed,
										column->source - FirstLowInvalidHeapAttributeNumber);
	}
}

StoreTarget *
tm_store_open(Relation table, Relation stream, MemoryContext cxt)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	TupleDesc	from = RelationGetDescr(stream);
	TupleDesc	to = RelationGetDescr(table);
	StoreTarget *target = palloc0(sizeof(StoreTarget));
	AclResult	aclresult;

	target->may_lose = tm_stream_get_options(RelationGetRelid(stream))->lose_rows_on_crash;
	tm_store_check_table(RelationGetRelid(table), target->may_lose);
	aclresult = pg_class_aclcheck(RelationGetRelid(table), GetUserId(), ACL_INSERT);
	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_TABLE, RelationGetRelationName(table));

	target->relid = RelationGetRelid(table);
	target->cxt = cxt;
	target->natts = to->natts;
	target->columns = palloc0(sizeof(StoreColumn) * Max(to->natts, 1));
	map_columns(target, table, from);

	for (int i = 0; i < from->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(from, i);

		if (!att->attisdropped &&
			find_column(to, NameStr(att->attname)) == InvalidAttrNumber)
			target->unstored = lappend(target->unstored,
									   pstrdup(NameStr(att->attname)));
	}

	MemoryContextSwitchTo(oldcxt);
	return target;
}

Bitmapset *
tm_store_needed(const StoreTarget *target)
{
	return target->needed;
}

List *
tm_store_unstored(const StoreTarget *target)
{
	return target->unstored;
}

void
tm_store_set_wanted(StoreTarget *target, const Bitmapset *wanted)
{
	if (target->wanted != NULL)
		pfree(target->wanted);
	target->wanted = NULL;
	if (wanted == NULL)
		return;

	target->wanted = MemoryContextAllocZero(target->cxt,
											sizeof(bool) * Max(target->natts, 1));
	for (int i = 0; i < target->natts; i++)
		target->wanted[i] = bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber,
										  wanted);
}
