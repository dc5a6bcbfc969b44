/*
 * hooks.c
 *	  The chain of PostgreSQL's hooks; every body delegates.
 *
 * Runs in: every process.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "storage/ipc.h"
#include "tcop/utility.h"

#include "hooks.h"
#include "ingest/ingest.h"
#include "maintain/maintain.h"
#include "view/view.h"
#include "worker/worker.h"

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;
static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;
static create_upper_paths_hook_type prev_create_upper_paths = NULL;

static void
shmem_request(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	tm_worker_request_shmem();
}

static void
shmem_startup(void)
{
	if (prev_shmem_startup)
		prev_shmem_startup();
	tm_worker_init_shmem();
}

static void
next_process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, query_string, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context, params, env, dest, qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	IngestDdl	ddl;

	if (tm_view_process_utility(&pstmt, query_string, context, params, qc))
		return;
	/* CREATE FOREIGN TABLE alters the half-made table, column by column */
	if (context == PROCESS_UTILITY_SUBCOMMAND)
	{
		next_process_utility(pstmt, query_string, read_only_tree, context, params, env, dest, qc);
		return;
	}
	tm_worker_before_database_command(pstmt->utilityStmt);
	tm_ingest_ddl_before(pstmt->utilityStmt, &ddl);
	next_process_utility(pstmt, query_string, read_only_tree, context, params, env, dest, qc);
	tm_ingest_ddl_after(pstmt->utilityStmt, &ddl);
}

static void
executor_start(QueryDesc *desc, int eflags)
{
	if (desc->plannedstmt->resultRelations != NIL && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		tm_view_check_writes(desc->plannedstmt);
	if (prev_executor_start)
		prev_executor_start(desc, eflags);
	else
		standard_ExecutorStart(desc, eflags);
}

/*
 * The extension goes, in whatever way: its scheduler has to notice.  A relation
 * goes: not under a batch.  A table goes or is emptied: views over it have to
 * know.  A foreign key may refer to what is none.
 */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (access == OAT_POST_CREATE && class_id == ConstraintRelationId)
		tm_view_check_constraint(object_id);
	if (access == OAT_DROP && class_id == ExtensionRelationId)
		tm_worker_wake_scheduler_at_commit();
	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0)
		tm_ingest_before_drop(object_id);
	if ((access == OAT_DROP || access == OAT_TRUNCATE) && class_id == RelationRelationId &&
		sub_id == 0)
		tm_view_before_removal(object_id, access == OAT_DROP);
}

static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);
	tm_maintain_set_rel_pathlist(root, rel, rti, rte);
}

static void
create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
				   RelOptInfo *output_rel, void *extra)
{
	if (prev_create_upper_paths)
		prev_create_upper_paths(root, stage, input_rel, output_rel, extra);
	tm_maintain_create_upper_paths(root, stage, output_rel);
}

void
tm_hooks_install(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;

	/*
	 * pg_upgrade makes what was dumped one by one, the extension's own tables
	 * among it and not first, and copies the files afterwards: nothing here
	 * may look into them.
	 */
	if (IsBinaryUpgrade)
		return;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
	prev_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = create_upper_paths;
}
