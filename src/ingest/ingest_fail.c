/*
 * ingest_fail.c
 *	  Write down that an ingest or a view has failed, in words.
 *
 * Runs in: every process that ingests; inside a transaction.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/clock.h"
#include "ingest/ingest_internal.h"

void
tm_ingest_set_failed(MetaIngest *ingest, int sqlstate, const char *reason, const char *hint)
{
	ingest->state = META_FAILED;
	ingest->reason = pstrdup(reason);
	ingest->hint = hint ? pstrdup(hint) : NULL;
	ingest->sqlstate = pstrdup(unpack_sql_state(sqlstate));
	ingest->since = tm_clock_now();
	tm_meta_ingest_update(ingest);
	tm_worker_wake_scheduler_at_commit();
	ereport(LOG,
			(errmsg("ingest of stream \"%s\" failed: %s", get_rel_name(ingest->stream), reason)));
}

bool
tm_ingest_is_void(const MetaIngest *ingest)
{
	return ingest->sqlstate != NULL &&
		strcmp(ingest->sqlstate,
			   unpack_sql_state(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION)) == 0;
}

void
tm_ingest_view_set_failed(MetaView *view, int sqlstate, const char *reason)
{
	view->state = META_FAILED;
	view->populated = false;
	view->reason = pstrdup(reason);
	view->hint = pstrdup("Mend the cause, then rebuild the view with REFRESH MATERIALIZED VIEW.");
	view->sqlstate = pstrdup(unpack_sql_state(sqlstate));
	view->since = tm_clock_now();
	tm_meta_view_update(view);
	ereport(LOG,
			(errmsg("continuous view \"%s\" failed: %s", get_rel_name(view->view), reason)));
}
