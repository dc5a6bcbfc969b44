/*
 * view_settings.c
 *	  Session settings that change what an expression means, stored with a view
 *	  at CREATE and put in force whenever it is computed.
 *
 * Runs in: backends and workers.
 */
#include "postgres.h"

#include "utils/guc.h"

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
		(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	return level;
}
