/*
 * notify.c
 *	  One NOTIFY per commit and view that has tidemark.notify: what changed.
 *
 * While a batch goes through the view, rows of its state table that changed
 * are noted by TID, and closed windows as the JSON they will be; nothing at all
 * for other views.  At the end of the batch the changed rows are read once, by
 * the view's own output columns and HAVING: a condition in HAVING is a
 * threshold for being notified.
 *
 * What was noted belongs to the transaction: gone when it ends, and when the
 * subtransaction that noted it aborts.
 *
 * Runs in: workers; backends that call inject().
 * Memory: TopTransactionContext.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "maintain/maintain_internal.h"

/* bytes of a payload; NOTIFY takes less than 8000 */
#define MAX_PAYLOAD	7000

/* More groups than this do not fit whatever they are: they are only counted. */
#define MAX_GROUPS	(MAX_PAYLOAD / 3)

/* What this transaction has done to one view and not told yet. */
typedef struct Pending
{
	Oid			state_table;
	SubTransactionId subid;		/* the last that added something */
	RowList		changed;
	uint64		nclosed;
	StringInfoData groups;		/* JSON, separated by commas */
	bool		truncated;
} Pending;

static List *pending = NIL;		/* in TopTransactionContext */

/* ---- the life of what is noted ---- */

static void
on_transaction_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE &&
		event != XACT_EVENT_PARALLEL_PRE_COMMIT)
		pending = NIL;
}

/* Subtransactions are numbered upwards: later ones are inside or after. */
static void
on_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
					  void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, pending)
		if (((Pending *) lfirst(lc))->subid >= mine)
		pending = foreach_delete_current(pending, lc);
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(on_transaction_end, NULL);
	RegisterSubXactCallback(on_subtransaction_end, NULL);
	registered = true;
}

static Pending *
find_pending(Oid state_table)
{
	ListCell   *lc;

	foreach(lc, pending)
		if (((Pending *) lfirst(lc))->state_table == state_table)
		return lfirst(lc);
	return NULL;
}

static Pending *
get_pending(const MetaView *view)
{
	Pending    *entry = find_pending(view->state_table);

	if (entry == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);

		register_callbacks();
		entry = palloc0(sizeof(Pending));
		entry->state_table = view->state_table;
		entry->changed.cxt = TopTransactionContext;
		initStringInfo(&entry->groups);
		pending = lappend(pending, entry);
		MemoryContextSwitchTo(before);
	}
	entry->subid = GetCurrentSubTransactionId();
	return entry;
}

/* ---- noting ---- */

void
tm_notify_changed(const MetaView *view, const RowList *rows)
{
	Pending    *entry = get_pending(view);

	for (int i = 0; i < rows->n; i++)
		tm_row_list_add(&entry->changed, &rows->tids[i]);
}

/* Until it is clear that they do not fit. */
static void
add_groups(Pending *entry, Tuplestorestate *rows, TupleDesc tupdesc)
{
	TupleDesc	blessed = BlessTupleDesc(CreateTupleDescCopy(tupdesc));
	TupleTableSlot *slot = MakeSingleTupleTableSlot(blessed, &TTSOpsMinimalTuple);

	while (!entry->truncated && tuplestore_gettupleslot(rows, true, false, slot))
	{
		Datum		row = ExecFetchSlotHeapTupleDatum(slot);
		text	   *json = DatumGetTextPP(DirectFunctionCall1(row_to_json, row));

		if (entry->groups.len > 0)
			appendStringInfoChar(&entry->groups, ',');
		appendBinaryStringInfo(&entry->groups, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
		entry->truncated = entry->groups.len > MAX_PAYLOAD;
	}
	ExecDropSingleTupleTableSlot(slot);
}

void
tm_notify_closed(const MetaView *view, Tuplestorestate *rows, TupleDesc tupdesc, uint64 n)
{
	Pending    *entry;

	if (n == 0)
		return;
	entry = get_pending(view);
	entry->nclosed += n;
	add_groups(entry, rows, tupdesc);
}

/* ---- telling ---- */

/* Read the changed groups as readers see them; returns how many HAVING lets through. */
static uint64
show_changed(MaintainView *view_entry, const MetaView *view, Pending *entry)
{
	Tuplestorestate *rows;
	TupleDesc	tupdesc;
	uint64		n;

	if (entry->changed.n == 0)
		return 0;
	if (entry->changed.n > MAX_GROUPS && view_entry->spec->query->havingQual == NULL)
	{
		entry->truncated = true;
		return entry->changed.n;
	}
	if (view_entry->show == NULL)
		view_entry->show = tm_row_statement_create(tm_view_rows_statement(view, view_entry->spec),
												   view_entry->cxt);
	rows = tuplestore_begin_heap(false, false, work_mem);
	n = tm_row_statement_run(view_entry->show, &entry->changed, 0, rows, &tupdesc);
	add_groups(entry, rows, tupdesc);
	tuplestore_end(rows);
	return n;
}

static void
append_time(StringInfo buf, const char *name, TimestampTz time)
{
	char text[	MAXDATELEN + 1];

	if (TIMESTAMP_IS_NOBEGIN(time))
		appendStringInfo(buf, ",\"%s\":null", name);
	else
	{
		JsonEncodeDateTime(text, TimestampTzGetDatum(time), TIMESTAMPTZOID, NULL);
		appendStringInfo(buf, ",\"%s\":\"%s\"", name, text);
	}
}

static char *
make_payload(const MetaView *view, const Pending *entry, uint64 nchanged, TimestampTz watermark)
{
	StringInfoData buf;
	MetaProgress progress;

	tm_meta_progress_get(view->state_table, &progress);
	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"view\":");
	escape_json(&buf, quote_qualified_identifier(get_namespace_name(get_rel_namespace(view->view)),
												 get_rel_name(view->view)));
	append_time(&buf, "watermark", watermark);
	append_time(&buf, "closed_until", progress.closed_until);
	appendStringInfo(&buf, ",\"changed\":" UINT64_FORMAT ",\"closed\":" UINT64_FORMAT,
					 nchanged, entry->nclosed);
	if (entry->truncated || buf.len + entry->groups.len + 20 > MAX_PAYLOAD)
		appendStringInfoString(&buf, ",\"truncated\":true}");
	else
		appendStringInfo(&buf, ",\"groups\":[%s]}", entry->groups.data);
	return buf.data;
}

typedef struct NotifyRun
{
	Pending    *entry;
	TimestampTz watermark;
} NotifyRun;

static void
notify(MaintainView *view_entry, const MetaView *view, void *arg)
{
	NotifyRun  *run = arg;
	uint64		nchanged = show_changed(view_entry, view, run->entry);

	if (nchanged > 0 || run->entry->nclosed > 0)
		Async_Notify(view_entry->spec->options.notify,
					 make_payload(view, run->entry, nchanged, run->watermark));
}

void
tm_maintain_notify(const MetaView *view, TimestampTz watermark)
{
	NotifyRun	run = {find_pending(view->state_table), watermark};

	if (run.entry == NULL)
		return;
	tm_maintain_run(view, notify, &run);
	pending = list_delete_ptr(pending, run.entry);
}
