/*
 * view_refuse.c
 *	  Functions that must not appear in a continuous view.
 *
 * A view is computed once per row, when the row arrives, and recomputed by
 * verify() and backfill later, by another process and perhaps another role.
 * So a function whose answer depends on the moment, the session or the user
 * would make the two differ.  Volatile functions are told by their volatility;
 * now() and its relatives are STABLE, so they are told by name.  Plain views
 * that the query reads are part of it.
 *
 * Runs in: backends, at CREATE and when a view is loaded.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_node.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "view/view_internal.h"

#define SYSTEM_USER_OID 6311	/* SYSTEM_USER, new in 16 */

#define CONTEXT_HINT " result depends on when and by whom the view is computed; use a column of the source."
#define VOLATILE_HINT "The view could not be recomputed with the same result."

void
tm_view_refuse(ParseState *pstate, int location, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s not supported in a continuous view", what),
			 hint ? errhint("%s", hint) : 0,
			 parser_errposition(pstate, location)));
}

/* STABLE functions whose answer depends on moment, session or user. */
static bool
depends_on_context(Oid funcid)
{
	switch (funcid)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_AGE_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
		case F_AGE_XID:
		case F_MXID_AGE:
		case F_CURRENT_USER:
		case F_SESSION_USER:
		case SYSTEM_USER_OID:
		case F_CURRENT_SCHEMA:
		case F_CURRENT_SCHEMAS:
		case F_CURRENT_DATABASE:
		case F_CURRENT_QUERY:
		case F_CURRENT_SETTING_TEXT:
		case F_CURRENT_SETTING_TEXT_BOOL:
		case F_TXID_CURRENT:
		case F_TXID_CURRENT_IF_ASSIGNED:
		case F_TXID_CURRENT_SNAPSHOT:
		case F_PG_CURRENT_XACT_ID:
		case F_PG_CURRENT_XACT_ID_IF_ASSIGNED:
		case F_PG_CURRENT_SNAPSHOT:
		case F_PG_BACKEND_PID:
		case F_PG_POSTMASTER_START_TIME:
		case F_PG_CONF_LOAD_TIME:
		case F_INET_CLIENT_ADDR:
		case F_INET_CLIENT_PORT:
		case F_INET_SERVER_ADDR:
		case F_INET_SERVER_PORT:
		case F_GETPGUSERNAME:
		case F_PG_CLIENT_ENCODING:
		case F_PG_MY_TEMP_SCHEMA:
		case F_ROW_SECURITY_ACTIVE_OID:
		case F_ROW_SECURITY_ACTIVE_TEXT:
			return true;
		default:
			return false;
	}
}

static bool
is_refused_function(Oid funcid, void *context)
{
	return depends_on_context(funcid) ||
		func_volatile(funcid) == PROVOLATILE_VOLATILE;
}

/* What is being walked. */
typedef struct RefuseContext
{
	ParseState *pstate;
	const char *view;			/* a plain view that the query reads, or NULL */
	int			location;		/* of the view; its expressions have none */
} RefuseContext;

/* 0A000: "what verb not supported", where it stands or where the view is read. */
static void
refuse_node(const RefuseContext *context, const Node *node, const char *what, const char *verb,
			const char *hint)
{
	if (context->view != NULL)
		tm_view_refuse(context->pstate, context->location,
					   psprintf("%s in view \"%s\" %s", what, context->view, verb), hint);
	tm_view_refuse(context->pstate, exprLocation(node), psprintf("%s %s", what, verb), hint);
}

static bool
refuse_walker(Node *node, RefuseContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, refuse_walker, context, 0);
	if (IsA(node, SQLValueFunction))
		refuse_node(context, node, "CURRENT_DATE, CURRENT_USER and their relatives", "are",
					"Their" CONTEXT_HINT);
	if (IsA(node, NextValueExpr))
		refuse_node(context, node, "nextval()", "is", VOLATILE_HINT);
	if (check_functions_in_node(node, is_refused_function, NULL))
	{
		Oid			funcid = InvalidOid;

		if (IsA(node, FuncExpr))
			funcid = ((FuncExpr *) node)->funcid;
		else if (IsA(node, OpExpr))
			funcid = ((OpExpr *) node)->opfuncid;
		if (OidIsValid(funcid) && depends_on_context(funcid))
			refuse_node(context, node, psprintf("function %s()", get_func_name(funcid)), "is",
						"Its" CONTEXT_HINT);
		refuse_node(context, node,
					OidIsValid(funcid) ?
					psprintf("volatile function %s()", get_func_name(funcid)) :
					"a volatile function",
					"is", VOLATILE_HINT);
	}
	return expression_tree_walker(node, refuse_walker, context);
}

void
tm_view_refuse_functions(const Query *query, ParseState *pstate)
{
	RefuseContext context = {.pstate = pstate};

	(void) query_tree_walker((Query *) query, refuse_walker, &context, 0);
}

void
tm_view_refuse_functions_of_view(const Query *query, ParseState *pstate, const char *view,
								 int location)
{
	RefuseContext context = {.pstate = pstate,.view = view,.location = location};

	(void) query_tree_walker((Query *) query, refuse_walker, &context, 0);
}
