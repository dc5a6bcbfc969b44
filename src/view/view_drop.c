/*
 * view_drop.c
 *	  What goes when a continuous view, or what it stands on, is dropped.
 *
 * A sql_drop event trigger asks which views lost one of their relations and
 * drops the rest of them, with their rows in the catalog.  (Rejected: rows of
 * our own in pg_depend.  They do not survive dump and restore.)
 *
 * Runs in: backends, at the end of a DROP, as the extension's owner.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "view/view_internal.h"

/*
 * Drop a relation that may or may not still be there.  DROP of one runs this
 * trigger again, which finds nothing of the view any more.
 */
static void
drop_rest(Oid relid, const char *kind)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		return;
	tm_meta_execute(psprintf("DROP %s IF EXISTS %s CASCADE", kind,
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
														name)));
}

/*
 * A batch locks the query, then the view, then the tables behind it, and writes
 * the view's counters last: so nothing of it may be touched before all of these
 * locks are held, or each would wait for the other.
 */
static void
lock_parts(const MetaView *view)
{
	Oid			tables[] = {view->state_table, view->final_table, view->late_table};

	LockRelationOid(view->query_view, AccessExclusiveLock);
	tm_meta_view_lock(view->state_table);
	for (int i = 0; i < (int) lengthof(tables); i++)
		if (OidIsValid(tables[i]))
			LockRelationOid(tables[i], AccessExclusiveLock);
}

void
tm_view_drop(const MetaView *view)
{
	lock_parts(view);
	tm_meta_view_delete(view->state_table);
	drop_rest(view->view, "VIEW");
	drop_rest(view->query_view, "VIEW");
	drop_rest(view->state_table, "TABLE");
	drop_rest(view->final_table, "TABLE");
	drop_rest(view->late_table, "TABLE");
	tm_view_get_engine()->forget(view);
}
