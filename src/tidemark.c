/*
 * tidemark.c
 *	  Assembly: what happens when the library is loaded, in order.
 *
 * Runs in: the postmaster, through shared_preload_libraries.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "base/fault.h"
#include "base/settings.h"
#include "hooks.h"
#include "ingest/ingest.h"
#include "maintain/maintain.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library \"tidemark\" must be loaded when the server starts"),
				 errhint("Set shared_preload_libraries = 'tidemark' in postgresql.conf and restart the server.")));
	tm_settings_init();
#ifdef TM_FAULT_POINTS
	tm_fault_init();
#endif
	MarkGUCPrefixReserved("tidemark");
	tm_maintain_init();
	tm_ingest_init();
	tm_hooks_install();
}
