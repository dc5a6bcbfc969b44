/*
 * view_require.c
 *	  What a function that is given a continuous view asks of it.
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "view/view_internal.h"

MetaView *
tm_view_require_owned(Oid relid)
{
	MetaView   *view = tm_meta_view_find(relid);
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a continuous view", name)));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relid)), name);
	return view;
}

MetaView *
tm_view_require_kept(MetaView *view)
{
	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("continuous view was dropped by another transaction")));
	return view;
}

void
tm_view_require_live(const MetaView *view)
{
	char	   *name = get_rel_name(view->view);

	if (view->state == META_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" has failed", name),
				 view->reason ? errdetail("%s", view->reason) : 0,
				 errhint("REFRESH MATERIALIZED VIEW rebuilds it.")));
	if (!view->populated)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" has not been populated", name),
				 errhint("REFRESH MATERIALIZED VIEW waits until it is.")));
	if (view->state == META_PAUSED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" is paused", name),
				 errhint("tidemark.resume() lets it catch up.")));
}
