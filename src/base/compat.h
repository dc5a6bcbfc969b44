/*
 * compat.h
 *	  Differences between PostgreSQL's major versions; the only place in the
 *	  tree that looks at PG_VERSION_NUM.
 *
 * PostgreSQL 15 and newer are supported.
 */
#ifndef TM_COMPAT_H
#define TM_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "access/tupdesc.h"
#include "catalog/pg_tablespace.h"
#include "commands/defrem.h"
#include "executor/execdesc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "tidemark needs PostgreSQL 15 or newer"
#endif

#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#include "parser/parse_relation.h"
#include "varatt.h"
#endif

#if PG_VERSION_NUM >= 170000
#include "catalog/pg_type.h"
#include "utils/jsonfuncs.h"
#endif

#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* wait event of all our waits: 17 gave extensions names, before there is one */
#define TM_WAIT_EVENT PG_WAIT_EXTENSION

#if PG_VERSION_NUM >= 160000
#define TM_PERM_INFOS(query) ((query)->rteperminfos)
#else
#define TM_PERM_INFOS(query) (NIL)
#endif

#if PG_VERSION_NUM >= 180000
#define tm_executor_run(desc, direction, count) \
	ExecutorRun(desc, direction, count)
#else
#define tm_executor_run(desc, direction, count) \
	ExecutorRun(desc, direction, count, true)
#endif

#if PG_VERSION_NUM < 160000
/* object_ownercheck() and object_aclcheck() replaced the per-class functions */
#define object_ownercheck(classid, objid, roleid) \
	tm_object_ownercheck(classid, objid, roleid)
#define object_aclcheck(classid, objid, roleid, mode) \
	tm_object_aclcheck(classid, objid, roleid, mode)

#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "utils/acl.h"

static inline bool
tm_object_ownercheck(Oid classid, Oid objid, Oid roleid)
{
	if (classid == DatabaseRelationId)
		return pg_database_ownercheck(objid, roleid);
	Assert(classid == RelationRelationId);
	return pg_class_ownercheck(objid, roleid);
}

static inline AclResult
tm_object_aclcheck(Oid classid, Oid objid, Oid roleid, AclMode mode)
{
	if (classid == ProcedureRelationId)
		return pg_proc_aclcheck(objid, roleid, mode);
	if (classid == NamespaceRelationId)
		return pg_namespace_aclcheck(objid, roleid, mode);
	if (classid == ForeignServerRelationId)
		return pg_foreign_server_aclcheck(objid, roleid, mode);
	if (classid == ForeignDataWrapperRelationId)
		return pg_foreign_data_wrapper_aclcheck(objid, roleid, mode);
	elog(ERROR, "unexpected object class %u", classid);
}
#endif

/* Read a timestamptz, false for what is none: 16 gave input soft errors */
#if PG_VERSION_NUM >= 160000
#include "fmgr.h"
#include "nodes/miscnodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static inline bool
tm_timestamptz_parse(const char *text, TimestampTz *result)
{
	ErrorSaveContext escontext = {T_ErrorSaveContext};
	char	   *copy = pstrdup(text);
	Datum		value;

	if (!DirectInputFunctionCallSafe(timestamptz_in, copy, InvalidOid, -1,
									 (Node *) &escontext, &value))
		return false;
	*result = DatumGetTimestampTz(value);
	return true;
}
#else
#include "utils/tzparser.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

static inline bool
tm_timestamptz_parse(const char *text, TimestampTz *result)
{
	char		buf[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nfields;
	int			dtype;
	int			tz;
	struct pg_tm tm;
	fsec_t		fsec;

	return ParseDateTime(text, buf, sizeof(buf), field, ftype, MAXDATEFIELDS,
						 &nfields) == 0 &&
		DecodeDateTime(field, ftype, nfields, &dtype, &tm, &fsec, &tz) == 0 &&
		dtype == DTK_DATE && tm2timestamp(&tm, fsec, &tz, result) == 0;
}
#endif

/* create_foreignscan_path() gained parameters in 17 and 18 */
static inline ForeignPath *
tm_create_foreignscan_path(PlannerInfo *root, RelOptInfo *rel, double rows,
						   Cost startup_cost, Cost total_cost, List *pathkeys,
						   Relids required_outer, List *fdw_private)
{
	return create_foreignscan_path(root, rel, NULL, rows,
#if PG_VERSION_NUM >= 180000
								   0,
#endif
								   startup_cost, total_cost, pathkeys,
								   required_outer, NULL,
#if PG_VERSION_NUM >= 170000
								   NIL,
#endif
								   fdw_private);
}

/*
 * 18 gives grouping expressions a range table entry of their own: undo it, so
 * that a query looks the same on every version.  Flattening takes the location
 * of a column from a variable that has none; the grouping expression has it.
 */
static inline void
tm_flatten_groups(Query *query)
{
#if PG_VERSION_NUM >= 180000
	ListCell   *lc;
	List	   *before = query->targetList;
	ListCell   *old;
	List	   *grouped;

	if (!query->hasGroupRTE)
		return;
	grouped = llast_node(RangeTblEntry, query->rtable)->groupexprs;
	query->targetList = (List *)
		flatten_group_exprs(NULL, query, (Node *) query->targetList);
	query->havingQual = flatten_group_exprs(NULL, query, query->havingQual);
	query->rtable = list_truncate(query->rtable, list_length(query->rtable) - 1);
	query->hasGroupRTE = false;
	forboth(lc, query->targetList, old, before)
	{
		Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;
		Var		   *group_var = (Var *) lfirst_node(TargetEntry, old)->expr;

		if (IsA(var, Var) && IsA(group_var, Var) && var->location < 0 &&
			group_var->varno == list_length(query->rtable) + 1)
			var->location = exprLocation(list_nth(grouped, group_var->varattno - 1));
	}
#endif
}

static inline Node *
tm_flatten_join_alias_vars(Query *query, Node *node)
{
#if PG_VERSION_NUM >= 160000
	return flatten_join_alias_vars(NULL, query, node);
#else
	return flatten_join_alias_vars(query, node);
#endif
}

/*
 * What serialised states look like, for their stamps: the first major version
 * that writes them as this one does.  The server's own (numeric.c, timestamp.c)
 * are the same from 15 to 18; regress/maintain_agg shows their bytes.  Of other
 * functions, and of versions that nobody has compared, nothing is known.
 */
static inline int
tm_state_format(Oid serialfn)
{
#if PG_VERSION_NUM < 190000
	if (serialfn < FirstNormalObjectId)
		return 15;
#endif
	return PG_VERSION_NUM / 10000;
}

static inline AclResult
tm_object_aclcheck_tablespace(Oid tablespace, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(TableSpaceRelationId, tablespace, roleid, ACL_CREATE);
#else
	return pg_tablespace_aclcheck(tablespace, roleid, ACL_CREATE);
#endif
}

/* May the current user do to the relations of a query what it does? */
static inline void
tm_check_query_permissions(Query *query)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecCheckPermissions(query->rtable, query->rteperminfos, true);
#else
	(void) ExecCheckRTPerms(query->rtable, true);
#endif
}

/*
 * Which indexes need an entry of a row's new version.  16 and later leave it a
 * heap-only one when only summarizing indexes (BRIN) have to know of it; an entry
 * for it in another index would be corruption.
 */
typedef enum IndexUpdate
{
	TM_INDEXES_NONE,
	TM_INDEXES_SUMMARIZING,
	TM_INDEXES_ALL
} IndexUpdate;

/* Update a row. */
static inline TM_Result
tm_table_tuple_update(Relation rel, ItemPointer tid, TupleTableSlot *slot,
					  CommandId cid, Snapshot snapshot, IndexUpdate *indexes)
{
	TM_FailureData failure;
	LockTupleMode lockmode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes which;

	result = table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot,
								true, &failure, &lockmode, &which);
	*indexes = which == TU_None ? TM_INDEXES_NONE :
		which == TU_Summarizing ? TM_INDEXES_SUMMARIZING : TM_INDEXES_ALL;
#else
	bool		all;

	result = table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot,
								true, &failure, &lockmode, &all);
	*indexes = all ? TM_INDEXES_ALL : TM_INDEXES_NONE;
#endif
	return result;
}

static inline IndexScanDesc
tm_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

static inline QueryDesc *
tm_create_query_desc(PlannedStmt *plan, const char *text, Snapshot snapshot, DestReceiver *dest)
{
	return CreateQueryDesc(plan, text, snapshot, InvalidSnapshot, dest, NULL, NULL, 0);
}

/* Reading a relation of a query made here asks for the privilege to do so. */
static inline void
tm_require_select(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&query->rteperminfos, rte)->requiredPerms = ACL_SELECT;
#else
	rte->requiredPerms = ACL_SELECT;
#endif
}

/* A range table of one relation: 16 took the privileges out of its entry */
static inline void
tm_exec_init_range_table(EState *estate, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	List	   *perminfos = NIL;

	addRTEPermissionInfo(&perminfos, rte)->requiredPerms = ACL_INSERT;
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(rte), perminfos,
					   bms_make_singleton(1));
#else
	ExecInitRangeTable(estate, list_make1(rte), perminfos);
#endif
#else
	rte->requiredPerms = ACL_INSERT;
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/* Index entries of a row; the indexes to be checked again later */
static inline List *
tm_exec_insert_index_tuples(ResultRelInfo *rri, TupleTableSlot *slot,
							EState *estate, IndexUpdate indexes)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rri, slot, estate, false, false, NULL, NIL,
								 indexes == TM_INDEXES_SUMMARIZING);
#else
	Assert(indexes == TM_INDEXES_ALL);
	return ExecInsertIndexTuples(rri, slot, estate, false, false, NULL, NIL);
#endif
}

/* How rows of the root become rows of this table partition; NULL = as they are */
static inline TupleConversionMap *
tm_root_to_partition_map(ResultRelInfo *rri, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecGetRootToChildMap(rri, estate);
#else
	return rri->ri_RootToPartitionMap;
#endif
}

/* May an internal subtransaction begin in parallel mode? */
#define TM_HAS_PARALLEL_SUBTRANSACTIONS (PG_VERSION_NUM >= 170000)

/* Do input functions, and making arrays and rows of JSON, know soft errors? */
#define TM_HAS_SOFT_INPUT (PG_VERSION_NUM >= 160000)
#define TM_HAS_SOFT_JSON (PG_VERSION_NUM >= 170000)

/*
 * An input function, without an exception when it does not like the text: false
 * then.
 */
static inline bool
tm_input_function_call_soft(FmgrInfo *function, char *text, Oid ioparam,
							int32 typmod, Datum *result)
{
#if PG_VERSION_NUM >= 160000
	ErrorSaveContext soft = {T_ErrorSaveContext};

	return InputFunctionCallSafe(function, text, ioparam, typmod,
								 (Node *) &soft, result);
#else
	return false;
#endif
}

/*
 * JSON that is not null to an array or a composite type, in the same way.
 * *cache is kept in cxt.
 */
static inline bool
tm_json_populate_soft(Datum json, Oid type, int32 typmod, void **cache,
					  MemoryContext cxt, Datum *result)
{
#if PG_VERSION_NUM >= 170000
	ErrorSaveContext soft = {T_ErrorSaveContext};
	bool		isnull = false;

	*result = json_populate_type(json, JSONOID, type, typmod, cache, cxt,
								 &isnull, false, (Node *) &soft);
	return !soft.error_occurred && !isnull;
#else
	return false;
#endif
}

/* ALTER COLUMN .. SET EXPRESSION, which writes the rows again: new in 17 */
static inline bool
tm_is_set_expression(const AlterTableCmd *cmd)
{
#if PG_VERSION_NUM >= 170000
	return cmd->subtype == AT_SetExpression;
#else
	return false;
#endif
}

/*
 * From 16 on a variable says which outer joins may have made it null: what the
 * planner is not told of it takes for granted not to happen.
 */
static inline void
tm_var_set_nulling(Var *var, Bitmapset *joins)
{
#if PG_VERSION_NUM >= 160000
	var->varnullingrels = joins;
#endif
}

/* From 18 on a sort clause says itself that its operator is "greater than". */
static inline void
tm_set_reverse_sort(SortGroupClause *clause, bool reverse)
{
#if PG_VERSION_NUM >= 180000
	clause->reverse_sort = reverse;
#endif
}

/* A query to be compared with others: who may read what is not part of it. */
static inline void
tm_query_clear_permissions(Query *query)
{
	ListCell   *lc;

#if PG_VERSION_NUM >= 160000
	query->rteperminfos = NIL;
	foreach(lc, query->rtable)
		lfirst_node(RangeTblEntry, lc)->perminfoindex = 0;
#else
	foreach(lc, query->rtable)
		lfirst_node(RangeTblEntry, lc)->selectedCols = NULL;
#endif
}

/* CREATE INDEX of a relation that is locked; no privilege is asked for */
static inline void
tm_define_index(Oid relid, IndexStmt *stmt)
{
#if PG_VERSION_NUM >= 160000
	(void) DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid, -1, false, false,
					   true, false, false);
#else
	(void) DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid, false, false,
					   true, false, false);
#endif
}

#endif							/* TM_COMPAT_H */
