/*
 * view_settings.c
 *	  As whom and under which settings a view is computed: its owner's rights,
 *	  and the session settings that change what an expression means, stored
 *	  with the view at CREATE.
 *
 * Runs in: backends and workers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "base/settings.h"
#include "view/view_internal.h"

/* search_path first: nothing may run before it is fixed. */
static const char *const stored_settings[] = {
	"search_path",
	"TimeZone",
	"DateStyle",
	"IntervalStyle",
	"lc_monetary",
	"lc_numeric",
	"lc_time",
	"xmloption",
	"xmlbinary",
	"bytea_output",
	"extra_float_digits",
	"default_text_search_config",
	"timezone_abbreviations",
	"array_nulls",
	"quote_all_identifiers",
};

List *
tm_view_capture_settings(void)
{
	List	   *settings = NIL;

	for (int i = 0; i < (int) lengthof(stored_settings); i++)
		settings = lappend(settings,
						   psprintf("%s=%s", stored_settings[i],
									GetConfigOption(stored_settings[i], false, false)));
	return settings;
}

int
tm_view_push_settings(const MetaView *view)
{
	int			level = NewGUCNestLevel();
	ListCell   *lc;

	foreach(lc, view->settings)
	{
		char	   *name = pstrdup(lfirst(lc));
		char	   *value = strchr(name, '=');

		*value++ = '\0';
		tm_setting_push(name, value);
	}
	return level;
}

Oid
tm_view_get_owner(const MetaView *view)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view->view));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", view->view);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
tm_view_enter(const MetaView *view, ViewIdentity *identity)
{
	tm_meta_enter_as(tm_view_get_owner(view), &identity->meta);
	identity->guc_level = tm_view_push_settings(view);
}

void
tm_view_leave(const ViewIdentity *identity)
{
	AtEOXact_GUC(false, identity->guc_level);
	tm_meta_leave(&identity->meta);
}
