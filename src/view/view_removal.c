/*
 * view_removal.c
 *	  Raw rows that leave, or would enter, the table of a view other than
 *	  through its ingest.
 *
 * Old rows may be removed by table partition, and the views keep their groups.
 * But then a view has what its table has not: it cannot be rebuilt, and its
 * query gives other results for the groups that lost rows.  So what is removed
 * is noted for each view over the table, as a range of the column that the
 * table is partitioned by, where that is time; else as "any rows".
 *
 * DROP and TRUNCATE are seen by the object access hook, whatever statement or
 * cascade they come from, just before they happen; DETACH by the utility hook.
 * Nothing is noted when there was no row.
 *
 * The other direction: a partition that is attached must be empty, or its rows
 * would be in the query and not in the view.
 *
 * Which groups may have lost rows?  If the table is partitioned by range of one
 * column of time, and the view is grouped by that column or by the window_start
 * of a tumble() over it: those whose key lies in a removed range, widened down
 * to the start of its first window.  Otherwise any.
 *
 * Runs in: every backend.
 * Locks: those that the statement would take next, before anything is looked at,
 * so that a view that is being created is seen; and RowExclusiveLock on tables
 * above.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "partitioning/partdefs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "view/view_internal.h"

/* ---- tables ---- */

/*
 * The source that relid is or is a table partition of, and the partition of
 * that source by which it is; the latter invalid for the source itself.
 */
static Oid
find_source(Oid relid, bool (*is_source) (Oid), Oid *child)
{
	ListCell   *lc;

	*child = InvalidOid;
	if (is_source(relid))
		return relid;
	if (!get_rel_relispartition(relid))
		return InvalidOid;
	*child = relid;
	foreach(lc, get_partition_ancestors(relid))
	{
		if (is_source(lfirst_oid(lc)))
			return lfirst_oid(lc);
		*child = lfirst_oid(lc);
	}
	return InvalidOid;
}

/*
 * Has a table, or a partition of it, a row?  Of a foreign table nobody knows.
 * The caller holds a lock on it.
 */
static bool
has_rows(Oid relid, LOCKMODE lockmode)
{
	ListCell   *lc;
	bool		found = false;

	foreach(lc, find_all_inheritors(relid, lockmode, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		if (rel->rd_rel->relkind == RELKIND_RELATION)
		{
			Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
			TupleTableSlot *slot = table_slot_create(rel, NULL);
			TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

			found |= table_scan_getnextslot(scan, ForwardScanDirection, slot);
			table_endscan(scan);
			ExecDropSingleTupleTableSlot(slot);
			UnregisterSnapshot(snapshot);
		}
		else
			found |= rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE;
		table_close(rel, NoLock);
	}
	return found;
}

/* ---- ranges ---- */

static bool
is_time(Oid type)
{
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
}

/* Without time zone: as if in UTC. */
static TimestampTz
as_time(Oid type, Datum value)
{
	int			overflow;

	if (type == DATEOID)
		return date2timestamp_opt_overflow(DatumGetDateADT(value), &overflow);
	return DatumGetTimestampTz(value);
}

AttrNumber
tm_view_find_range_column(Oid source, Oid *type)
{
	Relation	rel;
	PartitionKey key;
	AttrNumber	attno = InvalidAttrNumber;

	if (get_rel_relkind(source) != RELKIND_PARTITIONED_TABLE)
		return InvalidAttrNumber;
	rel = table_open(source, AccessShareLock);
	key = RelationGetPartitionKey(rel);
	if (key->strategy == PARTITION_STRATEGY_RANGE && key->partnatts == 1 &&
		is_time(key->parttypid[0]))
	{
		attno = key->partattrs[0];
		*type = key->parttypid[0];
	}
	table_close(rel, NoLock);
	return attno;
}

static TimestampTz
get_bound(List *datums, Oid type)
{
	PartitionRangeDatum *datum = linitial_node(PartitionRangeDatum, datums);

	if (datum->kind == PARTITION_RANGE_DATUM_MINVALUE)
		return DT_NOBEGIN;
	if (datum->kind == PARTITION_RANGE_DATUM_MAXVALUE)
		return DT_NOEND;
	return as_time(type, castNode(Const, datum->value)->constvalue);
}

MetaRemoved
tm_view_get_partition_range(Oid source, Oid child)
{
	MetaRemoved range = {DT_NOBEGIN, DT_NOEND};
	HeapTuple	tuple;
	Datum		value;
	bool		isnull;
	Oid			type;
	PartitionBoundSpec *bound;

	if (!OidIsValid(child) || tm_view_find_range_column(source, &type) == InvalidAttrNumber)
		return range;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(child));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", child);
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	if (!isnull)
	{
		bound = stringToNode(TextDatumGetCString(value));
		if (!bound->is_default)
		{
			range.from = get_bound(bound->lowerdatums, type);
			range.to = get_bound(bound->upperdatums, type);
		}
	}
	ReleaseSysCache(tuple);
	return range;
}

/* A view that has not been filled yet has lost nothing. */
static void
note_removal(Oid source, Oid child)
{
	MetaRemoved range = tm_view_get_partition_range(source, child);
	ListCell   *lc;

	foreach(lc, tm_meta_view_list(source))
	{
		MetaView   *view = lfirst(lc);

		if (view->populated)
			tm_meta_removed_insert(view->state_table, &range);
	}
}

/* ---- DROP and TRUNCATE ---- */

/* Core asks for the privilege on the table that the statement names. */
static bool
may_truncate(Oid relid)
{
	ListCell   *lc;

	if (pg_class_aclcheck(relid, GetUserId(), ACL_TRUNCATE) == ACLCHECK_OK)
		return true;
	if (get_rel_relispartition(relid))
		foreach(lc, get_partition_ancestors(relid))
			if (pg_class_aclcheck(lfirst_oid(lc), GetUserId(), ACL_TRUNCATE) == ACLCHECK_OK)
			return true;
	return false;
}

void
tm_view_before_removal(Oid relid, bool drop)
{
	Oid			source;
	Oid			child;
	char		relkind = get_rel_relkind(relid);

	if ((relkind != RELKIND_RELATION && relkind != RELKIND_FOREIGN_TABLE) ||
		!tm_meta_is_installed())
		return;
	source = find_source(relid, tm_meta_view_is_known_source, &child);
	if (!OidIsValid(source) || (drop && !OidIsValid(child)))
		return;
	if (!drop)
	{
		/* TRUNCATE calls before it asks for the privilege, and locks */
		if (!may_truncate(relid))
			return;
		LockRelationOid(relid, AccessExclusiveLock);
	}
	if (has_rows(relid, NoLock))
		note_removal(source, child);
}

/* ---- ATTACH and DETACH ---- */

/*
 * Wait for a view that is being created over the table or one that it is a
 * partition of, and see it.
 */
static void
lock_parent(Oid parent, LOCKMODE lockmode)
{
	List	   *ancestors = get_rel_relispartition(parent) ? get_partition_ancestors(parent) : NIL;

	for (int i = list_length(ancestors) - 1; i >= 0; i--)
		LockRelationOid(list_nth_oid(ancestors, i), RowExclusiveLock);
	LockRelationOid(parent, lockmode);
}

static void
check_detach(Oid parent, const PartitionCmd *cmd)
{
	Oid			relid = RangeVarGetRelid(cmd->name, NoLock, true);
	Oid			source;
	Oid			child;

	if (!OidIsValid(relid) || !get_rel_relispartition(relid) ||
		get_partition_parent(relid, true) != parent ||
		!object_ownercheck(RelationRelationId, parent, GetUserId()))
		return;					/* core says what is wrong */
	lock_parent(parent, cmd->concurrent ? ShareUpdateExclusiveLock : AccessExclusiveLock);
	source = find_source(relid, tm_meta_view_is_known_source, &child);
	if (!OidIsValid(source))
		return;
	if (!cmd->concurrent)
	{
		LockRelationOid(relid, AccessExclusiveLock);
		if (!has_rows(relid, AccessExclusiveLock))
			return;
	}
	/* CONCURRENTLY: rows may come until it is detached */
	note_removal(source, child);
}

static void
refuse_attach(Oid source, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot attach table \"%s\" because a continuous view reads table \"%s\"",
					name, get_rel_name(source)),
			 errdetail("The view has not taken in the rows of \"%s\", or has kept them since it was detached.",
					   name),
			 errhint("Attach an empty table; or drop the view, attach, and create it again.")));
}

static void
check_attach(Oid parent, const PartitionCmd *cmd)
{
	Oid			relid = RangeVarGetRelid(cmd->name, NoLock, true);
	Oid			source;
	Oid			child;

	if (!OidIsValid(relid) || get_rel_relkind(parent) != RELKIND_PARTITIONED_TABLE ||
		!object_ownercheck(RelationRelationId, parent, GetUserId()) ||
		!object_ownercheck(RelationRelationId, relid, GetUserId()))
		return;
	lock_parent(parent, ShareUpdateExclusiveLock);
	source = find_source(parent, tm_meta_view_is_source, &child);
	if (!OidIsValid(source))
		return;
	LockRelationOid(relid, AccessExclusiveLock);
	if (has_rows(relid, AccessExclusiveLock))
		refuse_attach(source, cmd->name->relname);
}

static void
check_alter_partitions(const AlterTableStmt *stmt)
{
	Oid			parent = RangeVarGetRelid(stmt->relation, NoLock, true);
	ListCell   *lc;

	if (!OidIsValid(parent))
		return;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (cmd->subtype == AT_DetachPartition)
			check_detach(parent, castNode(PartitionCmd, cmd->def));
		else if (cmd->subtype == AT_AttachPartition)
			check_attach(parent, castNode(PartitionCmd, cmd->def));
	}
}

/* CREATE FOREIGN TABLE .. PARTITION OF: its rows are there at once. */
static void
check_foreign_partition(const CreateStmt *stmt)
{
	Oid			parent = RangeVarGetRelid(linitial(stmt->inhRelations), NoLock, true);
	Oid			child;
	Oid			source = OidIsValid(parent) ?
	find_source(parent, tm_meta_view_is_source, &child) : InvalidOid;

	if (OidIsValid(source))
		refuse_attach(source, stmt->relation->relname);
}

void
tm_view_check_partitions(Node *stmt)
{
	if (IsA(stmt, AlterTableStmt))
		check_alter_partitions((AlterTableStmt *) stmt);
	else if (IsA(stmt, CreateForeignTableStmt) &&
			 ((CreateForeignTableStmt *) stmt)->base.partbound != NULL)
		check_foreign_partition(&((CreateForeignTableStmt *) stmt)->base);
}

/* ---- which groups may have lost rows ---- */

/* The start of the window of tumble() that a moment is in; false: not known. */
static bool
window_start_of(const FuncExpr *call, TimestampTz *time)
{
	HeapTuple	tuple;
	List	   *args;
	Oid			argtypes[4];
	int			nargs = 0;
	ListCell   *lc;
	Oid			funcid;
	Node	   *result;

	if (TIMESTAMP_NOT_FINITE(*time))
		return true;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	args = expand_function_arguments(copyObject(call->args), false, call->funcresulttype, tuple);
	ReleaseSysCache(tuple);
	foreach(lc, args)
		argtypes[nargs++] = exprType(lfirst(lc));
	linitial(args) = makeConst(argtypes[0], -1, InvalidOid, sizeof(TimestampTz),
							   TimestampTzGetDatum(*time), false, FLOAT8PASSBYVAL);
	funcid = tm_meta_function("tidemark", "tumble_start", nargs, argtypes);
	result = eval_const_expressions(NULL, (Node *)
									makeFuncExpr(funcid, argtypes[0], args, InvalidOid,
												 InvalidOid, COERCE_EXPLICIT_CALL));
	if (!IsA(result, Const) || ((Const *) result)->constisnull)
		return false;
	*time = DatumGetTimestampTz(((Const *) result)->constvalue);
	return true;
}

static bool
is_source_column(const ViewSpec *spec, const Node *node, AttrNumber attno)
{
	const Var  *var = (const Var *) node;

	return IsA(node, Var) && var->varno == (int) spec->source_rti &&
		var->varattno == attno && var->varlevelsup == 0;
}

/* The key by which removed ranges tell what groups they concern. */
static void
find_key(const ViewSpec *spec, ViewRemoval *removal)
{
	Oid			type;
	AttrNumber	attno = tm_view_find_range_column(spec->source, &type);

	if (attno == InvalidAttrNumber ||
		(TIMESTAMP_IS_NOBEGIN(removal->ranges[0].from) &&
		 TIMESTAMP_IS_NOEND(removal->ranges[0].to)))
		return;
	for (int i = 0; i < spec->nkeys; i++)
	{
		Expr	   *expr = spec->keys[i].expr;
		Index		rti;
		AttrNumber	column;
		FuncExpr   *call;
		bool		known = true;

		if (is_source_column(spec, (Node *) expr, attno))
			removal->key = i;
		else if (tm_view_is_tumble_column(spec->query, expr, &rti, &column, &call) &&
				 column == 1 && is_source_column(spec, linitial(call->args), attno))
		{
			for (int j = 0; j < removal->nranges; j++)
				known &= window_start_of(call, &removal->ranges[j].from);
			removal->key = known ? i : -1;
		}
		if (removal->key >= 0)
			return;
	}
}

char *
tm_view_describe_removed(Oid source, const MetaRemoved *ranges, int n)
{
	Oid			type = InvalidOid;
	AttrNumber	attno = tm_view_find_range_column(source, &type);
	TimestampTz from = ranges[0].from;
	TimestampTz to = ranges[n - 1].to;
	Oid			output = type == TIMESTAMPTZOID ? F_TIMESTAMPTZ_OUT : F_TIMESTAMP_OUT;

	if (attno == InvalidAttrNumber || (TIMESTAMP_IS_NOBEGIN(from) && TIMESTAMP_IS_NOEND(to)))
		return psprintf("Rows were removed from table \"%s\".", get_rel_name(source));
	return psprintf("Rows with \"%s\" from %s up to %s were removed from table \"%s\".",
					get_attname(source, attno, false),
					OidOutputFunctionCall(output, TimestampTzGetDatum(from)),
					OidOutputFunctionCall(output, TimestampTzGetDatum(to)),
					get_rel_name(source));
}

ViewRemoval *
tm_view_find_removal(const MetaView *view, const ViewSpec *spec)
{
	ViewRemoval *removal = palloc0_object(ViewRemoval);

	removal->ranges = tm_meta_removed_list(view->state_table, true, &removal->nranges);
	removal->key = -1;
	if (removal->nranges == 0)
		return NULL;
	removal->description = tm_view_describe_removed(view->source, removal->ranges,
													removal->nranges);
	find_key(spec, removal);
	if (removal->key >= 0)
		removal->type = spec->keys[removal->key].type;
	return removal;
}

bool
tm_view_may_have_lost(const ViewRemoval *removal, Datum key, bool isnull)
{
	TimestampTz time;

	if (removal->key < 0)
		return true;
	if (isnull)
		return false;			/* such rows are in a default partition */
	time = as_time(removal->type, key);
	for (int i = 0; i < removal->nranges; i++)
		if (time >= removal->ranges[i].from && time < removal->ranges[i].to)
			return true;
	return false;
}
