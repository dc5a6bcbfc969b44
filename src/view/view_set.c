/*
 * view_set.c
 *	  ALTER MATERIALIZED VIEW .. SET, RESET (tidemark.x).
 *
 * What changes is told from then on: who is notified, how long closed windows
 * stay, whether late rows are kept.  What would change which rows the view has
 * taken (start_at, allowed_lateness) or what its tables look like (emit) is
 * refused: a new view is the way.
 *
 * Runs in: backends, from the utility hook.
 * Locks: the source, against batches, until the transaction ends.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "view/view_internal.h"

static void
refuse_option(const DefElem *def)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("option \"%s%s\" of a continuous view cannot be changed",
					tm_view_is_tidemark_option(def) ? "tidemark." : "", def->defname),
			 errhint("Create a new view with the option, then rename both.")));
}

static void
check_option(const DefElem *def)
{
	static const char *const changeable[] = {"late", "notify", "retention"};

	if (!tm_view_is_tidemark_option(def))
		refuse_option(def);
	for (int i = 0; i < (int) lengthof(changeable); i++)
		if (strcmp(def->defname, changeable[i]) == 0)
			return;
	if (tm_view_is_option(def->defname) || strcmp(def->defname, "continuous") == 0)
		refuse_option(def);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"tidemark.%s\"", def->defname),
			 errhint("Options that can be changed are tidemark.late, tidemark.notify and tidemark.retention.")));
}

/* The texts of the catalog without this option. */
static List *
remove_option(List *texts, const char *name)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, texts)
	{
		const char *text = lfirst(lc);

		if (strncmp(text, name, strlen(name)) != 0 || text[strlen(name)] != '=')
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static List *
change_options(List *texts, const List *changes, bool reset)
{
	ListCell   *lc;

	foreach(lc, changes)
	{
		DefElem    *def = lfirst(lc);

		check_option(def);
		texts = remove_option(texts, def->defname);
		if (!reset)
			texts = lappend(texts, tm_view_option_text(def));
	}
	return texts;
}

/* Retention gives allowed_lateness its default. */
static void
check_lateness(const MetaView *view, const ContinuousOptions *before, const ContinuousOptions *after)
{
	if (before->allowed_lateness == after->allowed_lateness)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("option \"tidemark.retention\" of continuous view \"%s\" cannot be changed",
					get_rel_name(view->view)),
			 errdetail("With it tidemark.allowed_lateness would change, and which rows are late."),
			 errhint("Create a new view with both options, then rename both views.")));
}

/* ---- the table of late rows ---- */

static void
add_late_table(MetaView *view)
{
	ViewSpec   *spec = tm_view_load_spec(view);
	Oid			space = get_rel_tablespace(view->state_table);
	const char *clause = !OidIsValid(space) ? "" :
	psprintf(" TABLESPACE %s", quote_identifier(get_tablespace_name(space)));
	MetaIdentity identity;
	int			number;

	if (sscanf(get_rel_name(view->state_table), "s_%d", &number) != 1)
		elog(ERROR, "unexpected name of a state table: \"%s\"", get_rel_name(view->state_table));
	tm_meta_enter(&identity);
	tm_view_create_late_table(spec, number, clause,
							  GetUserNameFromId(tm_view_get_owner(view), false));
	tm_meta_leave(&identity);
	view->late_table = get_relname_relid(psprintf("l_%d", number), tm_meta_state_schema());
}

static int64
count_late_rows(const MetaView *view)
{
	MetaIdentity identity;
	bool		isnull;
	int64		result;

	tm_meta_enter_as(tm_view_get_owner(view), &identity);
	SPI_connect();
	if (SPI_execute(psprintf("SELECT pg_catalog.count(*) FROM tidemark_state.%s",
							 quote_identifier(get_rel_name(view->late_table))),
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not count late rows");
	result = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	tm_meta_leave(&identity);
	return result;
}

/* The catalog must not know the table any more, or the view would go with it. */
static void
drop_late_table(const MetaView *view, Oid late_table, int64 rows)
{
	MetaIdentity identity;

	tm_meta_enter(&identity);
	tm_meta_execute(psprintf("DROP TABLE tidemark_state.%s",
							 quote_identifier(get_rel_name(late_table))));
	tm_meta_leave(&identity);
	if (rows > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld late row that continuous view \"%s\" had kept is gone",
							   "%lld late rows that continuous view \"%s\" had kept are gone",
							   rows, (long long) rows, get_rel_name(view->view))));
}

/* ---- all of it ---- */

/* A trigger of the view may not change it under the batch that fires it. */
static void
check_not_in_use(Oid state_table)
{
	Relation	rel = try_table_open(state_table, AccessShareLock);

	if (rel == NULL)
		return;
	CheckTableNotInUse(rel, "ALTER MATERIALIZED VIEW");
	table_close(rel, AccessShareLock);
}

/* The view, with no batch on its way through it. */
static MetaView *
lock_view(const MetaView *found)
{
	MetaView   *view;

	LockRelationOid(found->source, ShareRowExclusiveLock);
	check_not_in_use(found->state_table);
	view = tm_view_require_kept(tm_meta_view_find_by_state(found->state_table));
	if (view->restored)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" was restored and has not been resumed",
						get_rel_name(view->view)),
				 errhint("Use tidemark.resume() on its stream first.")));
	return view;
}

void
tm_view_set_options(const MetaView *found, const List *changes, bool reset)
{
	MetaView   *view = lock_view(found);
	Oid			late_table = view->late_table;
	ContinuousOptions before;
	ContinuousOptions after;
	int64		rows = 0;

	tm_view_read_options(view->options, &before);
	view->options = change_options(view->options, changes, reset);
	tm_view_read_options(view->options, &after);
	check_lateness(view, &before, &after);
	if (after.late_table && !before.late_table)
		add_late_table(view);
	if (before.late_table && !after.late_table)
	{
		rows = count_late_rows(view);
		view->late_table = InvalidOid;
	}
	tm_meta_view_update(view);
	CommandCounterIncrement();
	if (before.late_table && !after.late_table)
		drop_late_table(view, late_table, rows);
	/* workers keep the options with what they know of the source's views */
	CacheInvalidateRelcacheByRelid(view->source);
}
