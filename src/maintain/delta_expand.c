/*
 * delta_expand.c
 *	  From the panes of a delta to the windows that the state table keeps.
 *
 * The delta of a view over hop() or cumulate() has one group per pane (and
 * other keys).  Each becomes a group in every window of the pane, but not in
 * those that its rows are late for; panes that share a window are combined.
 * That is sorting by the stored keys and combining neighbours, so memory stays
 * within work_mem, however many windows there are.  The order is that of the
 * state table's unique index, which suits the merge.
 *
 * (Rejected: keep panes in the state table, and combine when the view is read.
 * Fewer writes, but a read would cost size / slide times as much, and a closed
 * window would have no row.)
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Memory: a tuplesort and two tuplestores of work_mem each; one group.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_oper.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"
#include "utils/tuplesort.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

/* A column of the state table. */
typedef struct ExpandColumn
{
	int			from;			/* column of the delta behind the pane's, -1:
								 * window_start, -2: window_end */
	PartialState *state;		/* NULL: a key */
	bool		internal;		/* the delta's state is to be wrapped */
	int16		typlen;
	bool		typbyval;
} ExpandColumn;

#define FROM_WINDOW_START (-1)
#define FROM_WINDOW_END (-2)

struct DeltaExpand
{
	PanedSpec	panes;
	TimeWindow *windows;		/* of the last pane */
	int			nwindows;
	Timestamp	windows_of;		/* DT_NOEND: of none */
	int			nkeys;
	TupleDesc	desc;			/* as stored */
	ExpandColumn *columns;		/* of desc */
	AttrNumber *sort_columns;	/* per key */
	Oid		   *sort_operators;
	Oid		   *collations;
	bool	   *nulls_first;
	MemoryContext cxt;			/* of one group */
};

/* The group that is being put together. */
typedef struct ExpandGroup
{
	DeltaExpand *expand;
	Tuplestorestate *result;
	SortSupport keys;
	TupleTableSlot *slot;		/* its first row */
	bool		combined;		/* values differ from those of slot */
	Datum	   *values;
	bool	   *isnull;
	bool	   *owned;			/* value is in expand->cxt */
} ExpandGroup;

/* ---- what is known about the view ---- */

static int
find_source(const ViewSpec *spec, int key, int *next)
{
	if (key == spec->window.start_key)
		return FROM_WINDOW_START;
	if (key == spec->window.end_key)
		return FROM_WINDOW_END;
	return (*next)++;
}

static void
set_keys(DeltaExpand *expand, const ViewSpec *spec, int *next)
{
	int			att = 0;

	for (int i = 0; i < spec->nkeys; i++)
	{
		const ViewKey *key = &spec->keys[i];

		if (key->end_of >= 0)
			continue;
		expand->columns[att].from = find_source(spec, i, next);
		expand->sort_columns[att] = att + 1;
		expand->collations[att] = key->collation;
		get_sort_group_operators(key->type, true, false, false, &expand->sort_operators[att],
								 NULL, NULL, NULL);
		att++;
		TupleDescInitEntry(expand->desc, att, NULL, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(expand->desc, att, key->collation);
	}
}

static void
set_states(DeltaExpand *expand, const ViewSpec *spec, DeltaMerge *merge, int *next)
{
	for (int i = 0; i < spec->nstates; i++)
	{
		const ViewState *state = &spec->states[i];
		ExpandColumn *column = &expand->columns[expand->nkeys + i];

		column->from = (*next)++;
		column->state = tm_delta_merge_state(merge, i);
		column->internal = state->transtype == INTERNALOID;
		get_typlenbyval(state->type, &column->typlen, &column->typbyval);
		TupleDescInitEntry(expand->desc, expand->nkeys + i + 1, NULL, state->type, -1, 0);
	}
}

DeltaExpand *
tm_delta_expand_create(const ViewSpec *spec, DeltaMerge *merge, MemoryContext cxt)
{
	MemoryContext before = MemoryContextSwitchTo(cxt);
	DeltaExpand *expand = palloc0(sizeof(DeltaExpand));
	int			nkeys = spec->nstored_keys;
	int			next = 0;

	tm_view_parse_panes(&spec->window, &expand->panes);
	expand->windows = palloc(sizeof(TimeWindow) * expand->panes.max_windows);
	expand->windows_of = DT_NOEND;
	expand->nkeys = nkeys;
	expand->desc = CreateTemplateTupleDesc(nkeys + spec->nstates);
	expand->columns = palloc0(sizeof(ExpandColumn) * (nkeys + spec->nstates));
	expand->sort_columns = palloc(sizeof(AttrNumber) * nkeys);
	expand->sort_operators = palloc(sizeof(Oid) * nkeys);
	expand->collations = palloc(sizeof(Oid) * nkeys);
	expand->nulls_first = palloc0(sizeof(bool) * nkeys);
	set_keys(expand, spec, &next);
	set_states(expand, spec, merge, &next);
	expand->cxt = AllocSetContextCreate(cxt, "tidemark windows group", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(before);
	return expand;
}

/* ---- panes into windows ---- */

static void
list_windows(DeltaExpand *expand, Timestamp pane_start)
{
	if (expand->windows_of == pane_start)
		return;
	expand->windows_of = DT_NOEND;	/* in case this fails */
	expand->nwindows = tm_window_list(&expand->panes, pane_start, expand->windows);
	expand->windows_of = pane_start;
}

/* The columns that all windows of the pane have alike. */
static void
fill_common(DeltaExpand *expand, TupleTableSlot *pane, int first, TupleTableSlot *row)
{
	for (int i = 0; i < expand->desc->natts; i++)
	{
		const ExpandColumn *column = &expand->columns[i];
		int			from = first + column->from;

		if (column->from < 0)
		{
			row->tts_values[i] = (Datum) 0;
			row->tts_isnull[i] = true;
			continue;
		}
		row->tts_isnull[i] = pane->tts_isnull[from];
		row->tts_values[i] = pane->tts_values[from];
		if (column->internal && !row->tts_isnull[i])
			row->tts_values[i] = tm_partial_state_wrap(column->state, row->tts_values[i]);
	}
}

static void
fill_window(DeltaExpand *expand, const TimeWindow *window, TupleTableSlot *row)
{
	for (int i = 0; i < expand->nkeys; i++)
	{
		if (expand->columns[i].from >= 0)
			continue;
		row->tts_isnull[i] = false;
		row->tts_values[i] = TimestampGetDatum(expand->columns[i].from == FROM_WINDOW_START ?
											   window->start : window->end);
	}
}

static void
put_row(Tuplesortstate *sort, TupleTableSlot *row)
{
	ExecStoreVirtualTuple(row);
	tuplesort_puttupleslot(sort, row);
	ExecClearTuple(row);		/* the values stay in the slot's arrays */
}

/* Put a group of a pane into each of its windows that it is on time for. */
static void
expand_pane(DeltaExpand *expand, TupleTableSlot *pane, bool has_late_until, Tuplesortstate *sort,
			TupleTableSlot *row)
{
	Timestamp	late_until = DT_NOBEGIN;

	if (has_late_until && !pane->tts_isnull[1])
		late_until = DatumGetTimestamp(pane->tts_values[1]);
	fill_common(expand, pane, has_late_until ? 2 : 1, row);
	if (pane->tts_isnull[0])
	{
		/* the time is NULL: so is the window */
		put_row(sort, row);
		return;
	}
	list_windows(expand, DatumGetTimestamp(pane->tts_values[0]));
	for (int i = 0; i < expand->nwindows; i++)
	{
		if (expand->windows[i].end <= late_until)
			continue;
		fill_window(expand, &expand->windows[i], row);
		put_row(sort, row);
	}
}

static void
expand_panes(DeltaExpand *expand, Tuplestorestate *delta, TupleDesc tupdesc, bool has_late_until,
			 Tuplesortstate *sort)
{
	TupleTableSlot *pane = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	TupleTableSlot *row = MakeSingleTupleTableSlot(expand->desc, &TTSOpsVirtual);
	MemoryContext before = MemoryContextSwitchTo(expand->cxt);

	while (tuplestore_gettupleslot(delta, true, false, pane))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(pane);
		MemoryContextReset(expand->cxt);
		expand_pane(expand, pane, has_late_until, sort, row);
	}
	MemoryContextSwitchTo(before);
	ExecDropSingleTupleTableSlot(pane);
	ExecDropSingleTupleTableSlot(row);
}

/* ---- windows of several panes into one group ---- */

static bool
is_same_group(ExpandGroup *group, TupleTableSlot *row)
{
	for (int i = 0; i < group->expand->nkeys; i++)
		if (ApplySortComparator(group->slot->tts_values[i], group->slot->tts_isnull[i],
								row->tts_values[i], row->tts_isnull[i], &group->keys[i]) != 0)
			return false;
	return true;
}

static void
begin_group(ExpandGroup *group, TupleTableSlot *row)
{
	int			natts = group->expand->desc->natts;

	ExecCopySlot(group->slot, row);
	slot_getallattrs(group->slot);
	memcpy(group->values, group->slot->tts_values, sizeof(Datum) * natts);
	memcpy(group->isnull, group->slot->tts_isnull, sizeof(bool) * natts);
	memset(group->owned, false, sizeof(bool) * natts);
	group->combined = false;
	MemoryContextReset(group->expand->cxt);
}

static void
combine_state(ExpandGroup *group, int i, Datum other, bool other_isnull)
{
	const ExpandColumn *column = &group->expand->columns[i];
	Datum		before = group->values[i];
	bool		isnull;
	Datum		result = tm_partial_state_combine(column->state, before, group->isnull[i], other,
												  other_isnull, &isnull);

	if (!column->typbyval)
	{
		if (!isnull && !other_isnull && result == other)
			result = datumCopy(other, false, column->typlen);	/* does not stay */
		if (group->owned[i] && (isnull || result != before))
			pfree(DatumGetPointer(before));
		group->owned[i] = !isnull && (group->owned[i] || result != before);
	}
	group->values[i] = result;
	group->isnull[i] = isnull;
}

static void
combine_row(ExpandGroup *group, TupleTableSlot *row)
{
	MemoryContext before = MemoryContextSwitchTo(group->expand->cxt);

	for (int i = group->expand->nkeys; i < group->expand->desc->natts; i++)
		combine_state(group, i, row->tts_values[i], row->tts_isnull[i]);
	group->combined = true;
	MemoryContextSwitchTo(before);
}

static void
end_group(ExpandGroup *group)
{
	if (TTS_EMPTY(group->slot))
		return;
	if (group->combined)
		tuplestore_putvalues(group->result, group->expand->desc, group->values, group->isnull);
	else
		tuplestore_puttupleslot(group->result, group->slot);
}

static SortSupport
prepare_keys(const DeltaExpand *expand)
{
	SortSupport keys = palloc0(sizeof(SortSupportData) * expand->nkeys);

	for (int i = 0; i < expand->nkeys; i++)
	{
		keys[i].ssup_cxt = CurrentMemoryContext;
		keys[i].ssup_collation = expand->collations[i];
		keys[i].ssup_attno = i + 1;
		PrepareSortSupportFromOrderingOp(expand->sort_operators[i], &keys[i]);
	}
	return keys;
}

static void
combine_windows(DeltaExpand *expand, Tuplesortstate *sort, Tuplestorestate *result)
{
	int			natts = expand->desc->natts;
	TupleTableSlot *row = MakeSingleTupleTableSlot(expand->desc, &TTSOpsMinimalTuple);
	ExpandGroup group = {
		.expand = expand,.result = result,.keys = prepare_keys(expand),
		.slot = MakeSingleTupleTableSlot(expand->desc, &TTSOpsMinimalTuple),
		.values = palloc(sizeof(Datum) * natts),.isnull = palloc(sizeof(bool) * natts),
		.owned = palloc(sizeof(bool) * natts)
	};

	while (tuplesort_gettupleslot(sort, true, false, row, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		if (!TTS_EMPTY(group.slot) && is_same_group(&group, row))
		{
			combine_row(&group, row);
			continue;
		}
		end_group(&group);
		begin_group(&group, row);
	}
	end_group(&group);
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(group.slot);
}

Tuplestorestate *
tm_delta_expand_run(DeltaExpand *expand, Tuplestorestate *delta, ViewRows rows,
					TupleDesc *tupdesc)
{
	Tuplestorestate *result = tuplestore_begin_heap(false, false, work_mem);
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark windows",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	Tuplesortstate *sort;

	sort = tuplesort_begin_heap(expand->desc, expand->nkeys, expand->sort_columns,
								expand->sort_operators, expand->collations,
								expand->nulls_first, work_mem, NULL, TUPLESORT_NONE);
	expand_panes(expand, delta, *tupdesc, rows == VIEW_ROWS_ON_TIME, sort);
	tuplestore_end(delta);
	tuplesort_performsort(sort);
	combine_windows(expand, sort, result);
	tuplesort_end(sort);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(cxt);
	*tupdesc = expand->desc;
	return result;
}
