/*
 * view_alter.c
 *	  Statements that name a continuous view as a materialized view, or the
 *	  relations behind it.
 *
 * To PostgreSQL the visible view is a plain view.  A statement in its
 * MATERIALIZED VIEW form is changed into the VIEW form before core checks the
 * relation's kind; what must happen to q_<n> and s_<n> as well is done beside
 * it.  The statement is copied first: plpgsql runs the same tree twice.
 *
 * Runs in: backends, from the utility hook.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "parser/parse_utilcmd.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "view/view_internal.h"

/* The relation f_<n> or s_<n>, by name. */
static RangeVar *
name_internal(Oid table)
{
	return makeRangeVar(pstrdup("tidemark_state"), get_rel_name(table), -1);
}

/* The continuous view that a RangeVar names, or NULL. */
static MetaView *
find_view(RangeVar *rel)
{
	Oid			relid = RangeVarGetRelid(rel, NoLock, true);

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_VIEW)
		return NULL;
	return tm_meta_view_find(relid);
}

static MetaView *
find_view_by_name(List *name)
{
	return find_view(makeRangeVarFromNameList(name));
}

static void
require_owner(const MetaView *view)
{
	if (!object_ownercheck(RelationRelationId, view->view, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(view->view));
}

/*
 * A visible view that the catalog does not know.  Result: the name of its query
 * view, to be dropped with it (tm_on_drop() then drops the state table), or
 * NULL.
 */
static char *
find_lost_query_view(List *name)
{
	Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(name), NoLock, true);

	return OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW ?
		tm_meta_view_find_lost(relid) : NULL;
}

/* DROP MATERIALIZED VIEW a, b: all continuous, or none. */
static void
alter_drop(DropStmt *stmt)
{
	int			continuous = 0;
	int			others = 0;
	List	   *query_views = NIL;
	ListCell   *lc;

	if (stmt->removeType != OBJECT_MATVIEW && stmt->removeType != OBJECT_VIEW)
		return;
	foreach(lc, stmt->objects)
	{
		char	   *query_view = find_lost_query_view(lfirst(lc));

		if (query_view != NULL)
			query_views = lappend(query_views,
								  list_make2(makeString(pstrdup("tidemark_state")),
											 makeString(query_view)));
	}
	stmt->objects = list_concat(stmt->objects, query_views);
	if (stmt->removeType == OBJECT_VIEW)
		return;
	foreach(lc, stmt->objects)
	{
		if (find_view_by_name(lfirst(lc)) != NULL || find_lost_query_view(lfirst(lc)) != NULL ||
			list_member_ptr(query_views, lfirst(lc)))
			continuous++;
		else if (OidIsValid(RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true)))
			others++;
	}
	if (continuous == 0)
		return;
	if (others > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot drop continuous views and other relations in one statement"),
				 errhint("Use one DROP MATERIALIZED VIEW for each kind.")));
	stmt->removeType = OBJECT_VIEW;
}

/* The name an output column of the view has, in q_<n> and f_<n>. */
static void
rename_query_column(const MetaView *view, const char *from, const char *to)
{
	if (OidIsValid(view->final_table))
		tm_meta_execute(psprintf("ALTER TABLE tidemark_state.%s RENAME COLUMN %s TO %s",
								 quote_identifier(get_rel_name(view->final_table)),
								 quote_identifier(from), quote_identifier(to)));
	if (get_attnum(view->query_view, from) == InvalidAttrNumber)
		return;
	tm_meta_execute(psprintf("ALTER VIEW tidemark_state.%s RENAME COLUMN %s TO %s",
							 quote_identifier(get_rel_name(view->query_view)),
							 quote_identifier(from), quote_identifier(to)));
}

static void
alter_rename(RenameStmt *stmt)
{
	MetaView   *view;

	if (stmt->relation == NULL || (view = find_view(stmt->relation)) == NULL)
		return;
	if (stmt->renameType == OBJECT_MATVIEW)
		stmt->renameType = OBJECT_VIEW;
	else if (stmt->renameType == OBJECT_COLUMN)
	{
		stmt->relationType = OBJECT_VIEW;
		require_owner(view);
		/* otherwise core finds the error, with the view's own name */
		if (get_attnum(view->view, stmt->subname) > 0 &&
			get_attnum(view->view, stmt->newname) == InvalidAttrNumber)
			rename_query_column(view, stmt->subname, stmt->newname);
	}
}

static void
change_table_owner(Oid table, const char *owner)
{
	if (OidIsValid(table))
		tm_meta_execute(psprintf("ALTER TABLE tidemark_state.%s OWNER TO %s",
								 quote_identifier(get_rel_name(table)), owner));
}

static void
change_owner(const MetaView *view, const RoleSpec *role)
{
	const char *owner = quote_identifier(GetUserNameFromId(get_rolespec_oid(role, false), false));

	require_owner(view);
	tm_meta_execute(psprintf("ALTER VIEW tidemark_state.%s OWNER TO %s",
							 quote_identifier(get_rel_name(view->query_view)), owner));
	change_table_owner(view->state_table, owner);
	change_table_owner(view->final_table, owner);
	change_table_owner(view->late_table, owner);
}

static void
alter_table(AlterTableStmt *stmt)
{
	MetaView   *view;
	ListCell   *lc;

	if (stmt->objtype != OBJECT_MATVIEW && stmt->objtype != OBJECT_VIEW &&
		stmt->objtype != OBJECT_TABLE)
		return;
	view = find_view(stmt->relation);
	if (view == NULL)
		return;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		switch (cmd->subtype)
		{
			case AT_ChangeOwner:
				change_owner(view, cmd->newowner);
				break;
			case AT_SetRelOptions:
			case AT_ResetRelOptions:
				require_owner(view);
				tm_view_set_options(view, (List *) cmd->def,
									cmd->subtype == AT_ResetRelOptions);
				/* all of it: core does not know them */
				stmt->cmds = foreach_delete_current(stmt->cmds, lc);
				break;
			default:
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("this ALTER is not supported for a continuous view"),
						 errhint("Rename it, change its schema, owner or privileges, or drop and create it.")));
		}
	}
	stmt->objtype = OBJECT_VIEW;
}

/*
 * An index on a view is one on its table of closed windows, if it has one;
 * otherwise on its state table, where only group keys are stored as readers see
 * them.
 */
static void
map_index_columns(const MetaView *view, List *columns)
{
	Query	   *visible = tm_view_get_query(view->view);
	ListCell   *lc;

	foreach(lc, columns)
	{
		IndexElem  *elem = lfirst(lc);
		ListCell   *tc;
		bool		found = false;

		if (elem->name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("index on an expression is not supported for a continuous view"),
					 errhint("Group by the expression and index its column.")));
		foreach(tc, visible->targetList)
		{
			TargetEntry *tle = lfirst(tc);
			AttrNumber	attno;

			if (tle->resjunk || strcmp(tle->resname, elem->name) != 0)
				continue;
			found = true;
			attno = IsA(tle->expr, Var) ? ((Var *) tle->expr)->varattno : InvalidAttrNumber;
			if (attno == InvalidAttrNumber ||
				get_attname(view->state_table, attno, false)[0] != 'g')
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("column \"%s\" of continuous view \"%s\" is not a stored group key",
								elem->name, get_rel_name(view->view)),
						 errdetail("An index on an aggregate would make every update of a group more expensive."),
						 errhint("Columns of GROUP BY can be indexed, except window_end.")));
			elem->name = get_attname(view->state_table, attno, false);
		}
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" does not exist", elem->name)));
	}
}

/* Name the tablespace that the user would get, and ask whether he may use it. */
static void
check_index_tablespace(IndexStmt *stmt)
{
	Oid			space = stmt->tableSpace ? get_tablespace_oid(stmt->tableSpace, false) :
	GetDefaultTablespace(RELPERSISTENCE_PERMANENT, false);

	if (!OidIsValid(space) || space == MyDatabaseTableSpace)
		return;
	stmt->tableSpace = get_tablespace_name(space);
	if (tm_object_aclcheck_tablespace(space, GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLESPACE, stmt->tableSpace);
}

/*
 * Run a rewritten CREATE INDEX.  The user, who owns the table, need not have
 * CREATE on its schema; then core's function is called directly, without event
 * triggers.  (Rejected: running it as the extension's owner.  The transactions
 * of CONCURRENTLY would hand that identity on when they fail.)
 */
static void
execute_index(PlannedStmt *pstmt, const char *query_string,
			  ProcessUtilityContext context, ParamListInfo params, QueryCompletion *qc)
{
	IndexStmt  *stmt = castNode(IndexStmt, pstmt->utilityStmt);
	Oid			relid;

	check_index_tablespace(stmt);
	if (object_aclcheck(NamespaceRelationId, tm_meta_state_schema(), GetUserId(),
						ACL_CREATE) == ACLCHECK_OK)
	{
		ProcessUtility(pstmt, query_string, false, context, params, NULL, None_Receiver, qc);
		return;
	}
	if (stmt->concurrent)
		PreventInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL,
								  "CREATE INDEX CONCURRENTLY");
	relid = RangeVarGetRelidExtended(stmt->relation,
									 stmt->concurrent ? ShareUpdateExclusiveLock : ShareLock,
									 0, RangeVarCallbackOwnsRelation, NULL);
	tm_define_index(relid, transformIndexStmt(relid, stmt, query_string));
}

/* CREATE INDEX on a continuous view: true, done. */
static bool
process_index(PlannedStmt *pstmt, const char *query_string,
			  ProcessUtilityContext context, ParamListInfo params, QueryCompletion *qc)
{
	IndexStmt  *stmt = castNode(IndexStmt, pstmt->utilityStmt);
	MetaView   *view = stmt->relation ? find_view(stmt->relation) : NULL;

	if (view == NULL)
		return false;
	require_owner(view);
	if (!OidIsValid(view->final_table) && (stmt->unique || stmt->whereClause != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("unique and partial indexes are not supported for a continuous view"),
				 errhint("Its group keys together are unique already.")));
	pstmt = copyObject(pstmt);
	stmt = castNode(IndexStmt, pstmt->utilityStmt);
	if (OidIsValid(view->final_table))
		stmt->relation = name_internal(view->final_table);
	else
	{
		map_index_columns(view, stmt->indexParams);
		map_index_columns(view, stmt->indexIncludingParams);
		stmt->relation = name_internal(view->state_table);
	}
	execute_index(pstmt, query_string, context, params, qc);
	return true;
}

/* ---- triggers ---- */

/*
 * Triggers on a view of closed windows are those of its table.  Rows are
 * inserted there and, whatever retention takes away, never changed.
 */
static void
alter_create_trigger(CreateTrigStmt *stmt)
{
	MetaView   *view = stmt->relation ? find_view(stmt->relation) : NULL;

	if (view == NULL)
		return;
	require_owner(view);
	if (!OidIsValid(view->final_table))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("triggers are not supported for continuous view \"%s\"",
						get_rel_name(view->view)),
				 errdetail("Its groups change with every batch."),
				 errhint("Triggers fire for the closed windows of a view with tidemark.emit = 'final'; tidemark.notify tells of every change.")));
	if (stmt->timing == TRIGGER_TYPE_INSTEAD || stmt->events != TRIGGER_TYPE_INSERT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("only BEFORE INSERT and AFTER INSERT triggers are supported for a continuous view"),
				 errdetail("A row is inserted when its window closes, and never changed.")));
	stmt->relation = name_internal(view->final_table);
}

/* (.., view, trigger) of DROP TRIGGER and COMMENT ON TRIGGER. */
static List *
map_trigger_name(List *name)
{
	List	   *view_name = list_copy_head(name, list_length(name) - 1);
	MetaView   *view = view_name != NIL ? find_view_by_name(view_name) : NULL;

	if (view == NULL || !OidIsValid(view->final_table))
		return name;
	require_owner(view);
	return list_make3(makeString(pstrdup("tidemark_state")),
					  makeString(get_rel_name(view->final_table)), llast(name));
}

static void
alter_drop_trigger(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
		lfirst(lc) = map_trigger_name(lfirst(lc));
}

static void
alter_rename_trigger(RenameStmt *stmt)
{
	MetaView   *view = stmt->relation ? find_view(stmt->relation) : NULL;

	if (view == NULL || !OidIsValid(view->final_table))
		return;
	require_owner(view);
	stmt->relation = name_internal(view->final_table);
}

/* A rule would hide that nobody writes the view. */
static void
check_rule(RuleStmt *stmt)
{
	if (find_view(stmt->relation) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("rules are not supported for continuous view \"%s\"",
						stmt->relation->relname)));
}

/* CREATE OR REPLACE VIEW must not take a continuous view away from its state. */
static void
check_replace(ViewStmt *stmt)
{
	if (stmt->replace && find_view(stmt->view) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot replace continuous view \"%s\"", stmt->view->relname),
				 errhint("Create a new view, then rename both in one transaction.")));
}

static void
refuse_internal(Oid relid, const MetaView *view)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("relation \"%s\" is part of continuous view \"%s\"",
					get_rel_name(relid), get_rel_name(view->view)),
			 errhint("Change or drop the view instead.")));
}

/* Statements that would change q_<n> or one of the tables directly. */
static void
check_internal(RangeVar *rel)
{
	Oid			relid;
	MetaView   *view;

	if (rel == NULL || superuser())
		return;
	relid = RangeVarGetRelid(rel, NoLock, true);
	if (!OidIsValid(relid) || get_rel_namespace(relid) != tm_meta_state_schema())
		return;
	view = tm_meta_view_find_by_any(relid);
	if (view != NULL)
		refuse_internal(relid, view);
}

/* As a partition, its columns would change with those of its parent. */
static void
check_attached(const AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_AttachPartition)
			check_internal(castNode(PartitionCmd, cmd->def)->name);
	}
}

static void
check_internals(Node *stmt)
{
	ListCell   *lc;

	switch (nodeTag(stmt))
	{
		case T_DropStmt:
			if (((DropStmt *) stmt)->removeType == OBJECT_TABLE ||
				((DropStmt *) stmt)->removeType == OBJECT_VIEW)
				foreach(lc, ((DropStmt *) stmt)->objects)
					check_internal(makeRangeVarFromNameList(lfirst(lc)));
			break;
		case T_TruncateStmt:
			foreach(lc, ((TruncateStmt *) stmt)->relations)
				check_internal(lfirst(lc));
			break;
		case T_AlterTableStmt:
			check_internal(((AlterTableStmt *) stmt)->relation);
			check_attached((AlterTableStmt *) stmt);
			break;
		case T_RenameStmt:
			check_internal(((RenameStmt *) stmt)->relation);
			break;
		case T_AlterObjectSchemaStmt:
			check_internal(((AlterObjectSchemaStmt *) stmt)->relation);
			break;
		case T_CreateTrigStmt:
			check_internal(((CreateTrigStmt *) stmt)->relation);
			break;
		case T_RuleStmt:
			check_internal(((RuleStmt *) stmt)->relation);
			break;
		default:
			break;
	}
}

static void
refuse_inheritance(Oid source)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot let table \"%s\" inherit or be inherited because a continuous view reads it",
					get_rel_name(source)),
			 errdetail("Rows could enter or leave it through another table."),
			 errhint("Drop the view first, and define it over the other table.")));
}

static void
check_parent_rel(RangeVar *rel)
{
	Oid			relid = rel ? RangeVarGetRelid(rel, NoLock, true) : InvalidOid;

	if (!OidIsValid(relid))
		return;
	if (tm_meta_view_is_source(relid))
		refuse_inheritance(relid);
	if (tm_meta_view_is_state(relid))
		refuse_internal(relid, tm_meta_view_find_by_any(relid));
}

/*
 * A source, or what is behind a view, must not become the child or the parent
 * of another table.  A source's own partitions come and go.
 */
static void
check_inheritance(Node *stmt)
{
	ListCell   *lc;

	/* CREATE FOREIGN TABLE starts with the same struct */
	if ((IsA(stmt, CreateStmt) || IsA(stmt, CreateForeignTableStmt)) &&
		((CreateStmt *) stmt)->partbound == NULL)
		foreach(lc, ((CreateStmt *) stmt)->inhRelations)
			check_parent_rel(lfirst(lc));
	if (!IsA(stmt, AlterTableStmt))
		return;
	foreach(lc, ((AlterTableStmt *) stmt)->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (cmd->subtype == AT_AttachPartition)
			check_parent_rel(castNode(PartitionCmd, cmd->def)->name);
		else if (cmd->subtype == AT_AddInherit)
		{
			check_parent_rel(((AlterTableStmt *) stmt)->relation);
			check_parent_rel(castNode(RangeVar, cmd->def));
		}
	}
}

/* COPY t FROM does not pass the executor. */
static void
check_copy(CopyStmt *stmt)
{
	Oid			relid;

	if (!stmt->is_from || stmt->relation == NULL)
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (OidIsValid(relid))
		tm_view_check_write(relid);
}

/*
 * DROP of what a view reads without CASCADE: name the view, not the query view
 * behind it, which core would name.
 */
static void
check_drop_source(DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->behavior == DROP_CASCADE ||
		(stmt->removeType != OBJECT_TABLE && stmt->removeType != OBJECT_FOREIGN_TABLE &&
		 stmt->removeType != OBJECT_VIEW && stmt->removeType != OBJECT_MATVIEW))
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true);
		MetaView   *view;

		if (!OidIsValid(relid) || !object_ownercheck(RelationRelationId, relid, GetUserId()))
			continue;
		view = tm_meta_view_find_reader(relid, 0);
		if (view != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop \"%s\" because other objects depend on it", get_rel_name(relid)),
					 errdetail("Continuous view \"%s\" reads it.", get_rel_name(view->view)),
					 errhint("Use DROP ... CASCADE to drop the dependent objects too.")));
	}
}

static void
refuse_column(Oid relid, const char *column, const MetaView *view, const char *change)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s of column \"%s\" of \"%s\" because a continuous view reads it",
					change, column, get_rel_name(relid)),
			 errdetail("It is continuous view \"%s\".", get_rel_name(view->view)),
			 errhint("Add another column, or drop the view first.")));
}

/* The same for columns: what core refuses, with the name of the view. */
static void
check_alter_column(Oid relid, const AlterTableCmd *cmd)
{
	bool		drop = cmd->subtype == AT_DropColumn && cmd->behavior == DROP_RESTRICT;
	AttrNumber	attnum;
	MetaView   *view;

	if (!drop && cmd->subtype != AT_AlterColumnType)
		return;
	attnum = get_attnum(relid, cmd->name);
	view = attnum > 0 ? tm_meta_view_find_reader(relid, attnum) : NULL;
	if (view == NULL)
		return;
	if (drop)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop column \"%s\" of \"%s\" because other objects depend on it",
						cmd->name, get_rel_name(relid)),
				 errdetail("Continuous view \"%s\" reads it.", get_rel_name(view->view)),
				 errhint("Use DROP ... CASCADE to drop the dependent objects too.")));
	refuse_column(relid, cmd->name, view, "alter type");
}

/* SET EXPRESSION writes raw rows; core lets it, and lets it for one partition. */
static void
check_set_expression(Oid relid, const AlterTableCmd *cmd)
{
	Oid			source = tm_is_set_expression(cmd) ? tm_view_find_guarded(relid) : InvalidOid;
	AttrNumber	attnum = OidIsValid(source) ? get_attnum(source, cmd->name) : InvalidAttrNumber;
	MetaView   *view = attnum > 0 ? tm_meta_view_find_reader(source, attnum) : NULL;

	if (view != NULL)
		refuse_column(relid, cmd->name, view, "change the expression");
}

static void
check_alter_source(const AlterTableStmt *stmt)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	ListCell   *lc;

	if (!OidIsValid(relid) || !object_ownercheck(RelationRelationId, relid, GetUserId()))
		return;
	foreach(lc, stmt->cmds)
	{
		check_alter_column(relid, lfirst(lc));
		check_set_expression(relid, lfirst(lc));
	}
}

static bool
process_refresh(RefreshMatViewStmt *stmt)
{
	MetaView   *view = find_view(stmt->relation);

	if (view == NULL)
		return false;
	require_owner(view);
	if (stmt->skipData)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("REFRESH ... WITH NO DATA is not supported for a continuous view"),
				 errhint("Use tidemark.pause() to stop it.")));
	tm_view_get_engine()->refresh(view);
	return true;
}

/* Statements that become another statement, on the copy. */
static void
rewrite_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropStmt:
			check_drop_source((DropStmt *) stmt);
			if (((DropStmt *) stmt)->removeType == OBJECT_TRIGGER)
				alter_drop_trigger((DropStmt *) stmt);
			else
				alter_drop((DropStmt *) stmt);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_TRIGGER)
				alter_rename_trigger((RenameStmt *) stmt);
			else
				alter_rename((RenameStmt *) stmt);
			break;
		case T_CreateTrigStmt:
			alter_create_trigger((CreateTrigStmt *) stmt);
			break;
		case T_AlterTableStmt:
			alter_table((AlterTableStmt *) stmt);
			break;
		case T_AlterObjectSchemaStmt:
			if (((AlterObjectSchemaStmt *) stmt)->objectType == OBJECT_MATVIEW &&
				find_view(((AlterObjectSchemaStmt *) stmt)->relation) != NULL)
				((AlterObjectSchemaStmt *) stmt)->objectType = OBJECT_VIEW;
			break;
		case T_CommentStmt:
			if (((CommentStmt *) stmt)->objtype == OBJECT_MATVIEW &&
				find_view_by_name((List *) ((CommentStmt *) stmt)->object) != NULL)
				((CommentStmt *) stmt)->objtype = OBJECT_VIEW;
			else if (((CommentStmt *) stmt)->objtype == OBJECT_TRIGGER)
				((CommentStmt *) stmt)->object = (Node *)
					map_trigger_name((List *) ((CommentStmt *) stmt)->object);
			break;
		default:
			break;
	}
}

static bool
is_interesting(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateTableAsStmt:
			return tm_view_wants_create((CreateTableAsStmt *) stmt);
		case T_DropStmt:
		case T_RenameStmt:
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
		case T_AlterTableStmt:
		case T_AlterObjectSchemaStmt:
		case T_CommentStmt:
		case T_CreateTrigStmt:
		case T_RuleStmt:
		case T_IndexStmt:
		case T_ViewStmt:
		case T_CopyStmt:
		case T_TruncateStmt:
		case T_RefreshMatViewStmt:
			return IsTransactionState() && tm_meta_is_installed();
		default:
			return false;
	}
}

bool
tm_view_process_utility(PlannedStmt **pstmt, const char *query_string,
						ProcessUtilityContext context, ParamListInfo params,
						QueryCompletion *qc)
{
	Node	   *stmt = (*pstmt)->utilityStmt;

	if (!is_interesting(stmt))
		return false;
	check_internals(stmt);
	check_inheritance(stmt);
	tm_view_check_partitions(stmt);
	if (IsA(stmt, AlterTableStmt))
		check_alter_source((AlterTableStmt *) stmt);
	switch (nodeTag(stmt))
	{
		case T_CreateTableAsStmt:
			tm_view_create(copyObject((CreateTableAsStmt *) stmt), query_string);
			/* SPI expects of this statement what it is told of a SELECT */
			if (qc != NULL && context != PROCESS_UTILITY_TOPLEVEL)
				SetQueryCompletion(qc, CMDTAG_SELECT, 0);
			return true;
		case T_RefreshMatViewStmt:
			return process_refresh((RefreshMatViewStmt *) stmt);
		case T_IndexStmt:
			return process_index(*pstmt, query_string, context, params, qc);
		case T_ViewStmt:
			check_replace((ViewStmt *) stmt);
			return false;
		case T_CopyStmt:
			check_copy((CopyStmt *) stmt);
			return false;
		case T_RuleStmt:
			check_rule((RuleStmt *) stmt);
			return false;
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			return false;
		default:
			break;
	}
	*pstmt = copyObject(*pstmt);
	rewrite_statement((*pstmt)->utilityStmt);
	return false;
}
