/*
 * compat.h
 *	  Differences between PostgreSQL's major versions; the only place in the
 *	  tree that looks at PG_VERSION_NUM.
 *
 * PostgreSQL 15 and newer are supported.
 */
#ifndef TM_COMPAT_H
#define TM_COMPAT_H

#include "access/tupdesc.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "optimizer/pathnode.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "tidemark needs PostgreSQL 15 or newer"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
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
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "utils/acl.h"

static inline bool
tm_object_ownercheck(Oid classid, Oid objid, Oid roleid)
{
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

#endif							/* TM_COMPAT_H */
