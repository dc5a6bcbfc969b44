/*
 * delta_expand.c
 *	  From the panes of a delta to the windows that the state table keeps.
 *
 * The delta of a view over hop() or cumulate() has one group per pane (and
 * other keys).  Each becomes part of every window of the pane, but not of those
 * that its rows are late for:
 *
 *	1. sort the panes by the other keys, then by time;
 *	2. walk over them with the open windows of one set of keys: a window is
 *	   complete when the next pane is not before its end;
 *	3. sort the windows by the stored keys, which is the order of the state
 *	   table's unique index and suits the merge, and combine equal ones.
 *
 * So nothing larger than the delta or the result is ever sorted, which a delta
 * of a long history needs.  Equal ones in step 3 are rare: where a zone leaves
 * out a day, two windows of a hop() can share an end.
 *
 * (Rejected: keep panes in the state table, and combine when the view is read.
 * Fewer writes, but a read would cost size / slide times as much, and a closed
 * window would have no row.)
 *
 * Invariant: (E1) the open windows that have not ended when a later pane starts
 * are the first ones of that pane, in the same order.  They contain the earlier
 * pane and reach over the start of the later one, so they contain it; its
 * others do not contain the earlier one, so they start after it.  (For
 * cumulate(), all windows of a pane start together, and there are no others.)
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Memory: tuplesorts and tuplestores of work_mem each, and the states of the
 * open windows of one set of keys.
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
	int			nother_keys;	/* without those of the window */
	int			nstates;
	TupleDesc	desc;			/* as stored */
	ExpandColumn *columns;		/* of desc */
	const KeyOrder *order;		/* of the result */
};

/* States that are being put together; all in one memory context. */
typedef struct StateSet
{
	Datum	   *values;
	bool	   *isnull;
	bool	   *owned;			/* value was allocated here */
} StateSet;

/* A window that panes still come for. */
typedef struct OpenWindow
{
	TimeWindow	window;
	bool		used;			/* some row is on time for it */
	StateSet	states;
} OpenWindow;

/* Steps 1 and 2. */
typedef struct PaneWalk
{
	DeltaExpand *expand;
	int			late_until;		/* column of the delta, or -1 */
	int			first;			/* column behind the pane's */
	Tuplesortstate *panes;
	KeyOrder	order;			/* of the delta: other keys, pane */
	SortSupport keys;			/* other keys */
	TupleTableSlot *held;		/* a pane with the keys of the open windows */
	OpenWindow *open;			/* array of max_windows */
	int			nopen;
	TupleTableSlot *row;		/* of the result */
	Tuplesortstate *windows;
	MemoryContext cxt;			/* of the open windows' states */
} PaneWalk;

/* Step 3. */
typedef struct WindowGroup
{
	DeltaExpand *expand;
	Tuplestorestate *result;
	SortSupport keys;
	TupleTableSlot *first;		/* its first row */
	bool		combined;		/* with others, in states */
	StateSet	states;
	MemoryContext cxt;			/* of states */
} WindowGroup;

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
		if (expand->columns[att].from >= 0)
			expand->nother_keys++;
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
		column->internal = tm_view_state_is_bytes(state);
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
	expand->nstates = spec->nstates;
	expand->desc = CreateTemplateTupleDesc(nkeys + spec->nstates);
	expand->columns = palloc0(sizeof(ExpandColumn) * (nkeys + spec->nstates));
	expand->order = &merge->order;
	set_keys(expand, spec, &next);
	set_states(expand, spec, merge, &next);
	MemoryContextSwitchTo(before);
	return expand;
}

/* ---- states ---- */

static void
make_states(const DeltaExpand *expand, StateSet *set)
{
	int			n = Max(expand->nstates, 1);

	set->values = palloc0(sizeof(Datum) * n);
	set->isnull = palloc0(sizeof(bool) * n);
	set->owned = palloc0(sizeof(bool) * n);
}

static void
drop_state(StateSet *set, int i)
{
	if (set->owned[i])
		pfree(DatumGetPointer(set->values[i]));
	set->owned[i] = false;
}

static void
set_state(StateSet *set, const ExpandColumn *column, int i, Datum value, bool isnull)
{
	set->owned[i] = !isnull && !column->typbyval;
	set->values[i] = set->owned[i] ? datumCopy(value, false, column->typlen) : value;
	set->isnull[i] = isnull;
}

/* Stored states, which need not stay. */
static void
set_states_from(const DeltaExpand *expand, StateSet *set, const Datum *values, const bool *isnull)
{
	for (int i = 0; i < expand->nstates; i++)
		set_state(set, &expand->columns[expand->nkeys + i], i, values[i], isnull[i]);
}

static void
combine_state(StateSet *set, const ExpandColumn *column, int i, Datum value, bool isnull)
{
	bool		result_isnull;
	Datum		result = tm_partial_state_combine(column->state, set->values[i], set->isnull[i],
												  value, isnull, &result_isnull);

	if (column->typbyval)
	{
		set->values[i] = result;
		set->isnull[i] = result_isnull;
	}
	else if (!result_isnull && !isnull && result == value)
		set_state(set, column, i, value, false);	/* there was none */
	else if (result_isnull || result != set->values[i])
	{
		drop_state(set, i);
		set->values[i] = result;
		set->isnull[i] = result_isnull;
		set->owned[i] = !result_isnull;
	}
}

static void
combine_states(const DeltaExpand *expand, StateSet *set, const Datum *values, const bool *isnull)
{
	for (int i = 0; i < expand->nstates; i++)
		combine_state(set, &expand->columns[expand->nkeys + i], i, values[i], isnull[i]);
}

static void
drop_states(const DeltaExpand *expand, StateSet *set)
{
	for (int i = 0; i < expand->nstates; i++)
		drop_state(set, i);
}

/* ---- steps 1 and 2: panes into windows ---- */

static bool
has_same_values(TupleTableSlot *a, TupleTableSlot *b, SortSupport keys, int nkeys)
{
	for (int i = 0; i < nkeys; i++)
	{
		int			att = keys[i].ssup_attno - 1;

		if (ApplySortComparator(a->tts_values[att], a->tts_isnull[att], b->tts_values[att],
								b->tts_isnull[att], &keys[i]) != 0)
			return false;
	}
	return true;
}

/* How panes are sorted: by the other keys, then by time. */
static void
order_panes(PaneWalk *walk, TupleDesc tupdesc)
{
	const DeltaExpand *expand = walk->expand;
	KeyOrder   *order = &walk->order;
	int			n = 0;

	tm_key_order_init(order, expand->nother_keys + 1);
	for (int i = 0; i < expand->nkeys; i++)
	{
		if (expand->columns[i].from < 0)
			continue;
		order->columns[n] = walk->first + expand->columns[i].from + 1;
		order->operators[n] = expand->order->operators[i];
		order->collations[n++] = expand->order->collations[i];
	}
	order->columns[n] = 1;
	get_sort_group_operators(TupleDescAttr(tupdesc, 0)->atttypid, true, false, false,
							 &order->operators[n], NULL, NULL, NULL);
}

/* A row of the result, with the keys of held; window NULL: all NULL. */
static void
put_window(PaneWalk *walk, const TimeWindow *window, const Datum *values, const bool *isnull)
{
	const DeltaExpand *expand = walk->expand;
	TupleTableSlot *row = walk->row;

	ExecClearTuple(row);
	for (int i = 0; i < expand->nkeys; i++)
	{
		int			from = expand->columns[i].from;

		row->tts_isnull[i] = from >= 0 ? walk->held->tts_isnull[walk->first + from] : window == NULL;
		if (from >= 0)
			row->tts_values[i] = walk->held->tts_values[walk->first + from];
		else if (window != NULL)
			row->tts_values[i] = TimestampGetDatum(from == FROM_WINDOW_START ? window->start :
												   window->end);
	}
	memcpy(row->tts_values + expand->nkeys, values, sizeof(Datum) * expand->nstates);
	memcpy(row->tts_isnull + expand->nkeys, isnull, sizeof(bool) * expand->nstates);
	ExecStoreVirtualTuple(row);
	tuplesort_puttupleslot(walk->windows, row);
}

/* The open windows that end up to a time are complete. */
static void
close_windows(PaneWalk *walk, Timestamp until)
{
	int			n = 0;

	while (n < walk->nopen && walk->open[n].window.end <= until)
	{
		OpenWindow *open = &walk->open[n++];

		if (open->used)
			put_window(walk, &open->window, open->states.values, open->states.isnull);
		drop_states(walk->expand, &open->states);
		pfree(open->states.values);
		pfree(open->states.isnull);
		pfree(open->states.owned);
	}
	walk->nopen -= n;
	memmove(walk->open, walk->open + n, sizeof(OpenWindow) * walk->nopen);
}

/* Let the open windows be those of the pane (E1). */
static void
open_windows(PaneWalk *walk, Timestamp pane_start)
{
	DeltaExpand *expand = walk->expand;

	if (expand->windows_of != pane_start)
	{
		expand->windows_of = DT_NOEND;	/* in case this fails */
		expand->nwindows = tm_window_list(&expand->panes, pane_start, expand->windows);
		expand->windows_of = pane_start;
	}
	close_windows(walk, pane_start);
	for (int i = 0; i < expand->nwindows; i++)
	{
		OpenWindow *open = &walk->open[i];

		if (i == walk->nopen)
		{
			open->window = expand->windows[i];
			open->used = false;
			make_states(expand, &open->states);
			walk->nopen++;
		}
		else if (open->window.start != expand->windows[i].start ||
				 open->window.end != expand->windows[i].end)
			break;
	}
	if (walk->nopen != expand->nwindows)
		elog(ERROR, "windows of panes do not follow each other");
}

/* The states of a pane, as they are stored. */
static void
get_states(const PaneWalk *walk, TupleTableSlot *pane, Datum *values, bool *isnull)
{
	const DeltaExpand *expand = walk->expand;

	for (int i = 0; i < expand->nstates; i++)
	{
		const ExpandColumn *column = &expand->columns[expand->nkeys + i];
		int			from = walk->first + column->from;

		isnull[i] = pane->tts_isnull[from];
		values[i] = pane->tts_values[from];
		if (column->internal && !isnull[i])
			values[i] = tm_partial_state_wrap(column->state, values[i]);
	}
}

/* Add a pane to those of its windows that its rows are on time for. */
static void
add_pane(PaneWalk *walk, TupleTableSlot *pane, const Datum *values, const bool *isnull)
{
	bool		late = walk->late_until >= 0 && !pane->tts_isnull[walk->late_until];
	Timestamp	until = late ? DatumGetTimestamp(pane->tts_values[walk->late_until]) : DT_NOBEGIN;
	MemoryContext before = MemoryContextSwitchTo(walk->cxt);

	open_windows(walk, DatumGetTimestamp(pane->tts_values[0]));
	for (int i = 0; i < walk->nopen; i++)
	{
		OpenWindow *open = &walk->open[i];

		if (late && open->window.end <= until)
			continue;
		if (open->used)
			combine_states(walk->expand, &open->states, values, isnull);
		else
			set_states_from(walk->expand, &open->states, values, isnull);
		open->used = true;
	}
	MemoryContextSwitchTo(before);
}

static void
walk_panes(PaneWalk *walk, TupleDesc tupdesc)
{
	TupleTableSlot *pane = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark pane",
												  ALLOCSET_DEFAULT_SIZES);
	Datum	   *values = palloc(sizeof(Datum) * Max(walk->expand->nstates, 1));
	bool	   *isnull = palloc(sizeof(bool) * Max(walk->expand->nstates, 1));
	MemoryContext before = MemoryContextSwitchTo(row_cxt);

	while (tuplesort_gettupleslot(walk->panes, true, false, pane, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row_cxt);
		slot_getallattrs(pane);
		if (TTS_EMPTY(walk->held) ||
			!has_same_values(walk->held, pane, walk->keys, walk->expand->nother_keys))
		{
			close_windows(walk, DT_NOEND);
			ExecCopySlot(walk->held, pane);
			slot_getallattrs(walk->held);
		}
		get_states(walk, pane, values, isnull);
		if (pane->tts_isnull[0])
			put_window(walk, NULL, values, isnull); /* of rows without time */
		else
			add_pane(walk, pane, values, isnull);
	}
	close_windows(walk, DT_NOEND);
	MemoryContextSwitchTo(before);
	ExecDropSingleTupleTableSlot(pane);
}

/* Frees what it sorts. */
static Tuplesortstate *
sort_panes(const KeyOrder *order, Tuplestorestate *panes, TupleDesc tupdesc)
{
	Tuplesortstate *sorted = tm_key_order_begin(order, tupdesc);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(panes, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplesort_puttupleslot(sorted, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(panes);
	tuplesort_performsort(sorted);
	return sorted;
}

static void
make_windows(DeltaExpand *expand, Tuplestorestate *delta, TupleDesc tupdesc, bool has_late_until,
			 Tuplesortstate *windows)
{
	PaneWalk	walk = {.expand = expand,.windows = windows};

	walk.late_until = has_late_until ? 1 : -1;
	walk.first = has_late_until ? 2 : 1;
	order_panes(&walk, tupdesc);
	walk.panes = sort_panes(&walk.order, delta, tupdesc);
	walk.keys = tm_key_order_prepare(&walk.order, expand->nother_keys);
	walk.held = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	walk.row = MakeSingleTupleTableSlot(expand->desc, &TTSOpsVirtual);
	walk.open = palloc(sizeof(OpenWindow) * expand->panes.max_windows);
	walk.cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark open windows",
									 ALLOCSET_DEFAULT_SIZES);
	walk_panes(&walk, tupdesc);
	ExecDropSingleTupleTableSlot(walk.held);
	ExecDropSingleTupleTableSlot(walk.row);
	tuplesort_end(walk.panes);
}

/* ---- step 3: equal windows into one ---- */

static void
begin_group(WindowGroup *group, TupleTableSlot *row)
{
	ExecCopySlot(group->first, row);
	slot_getallattrs(group->first);
	group->combined = false;
}

static void
extend_group(WindowGroup *group, TupleTableSlot *row)
{
	const DeltaExpand *expand = group->expand;
	MemoryContext before = MemoryContextSwitchTo(group->cxt);

	if (!group->combined)
		set_states_from(expand, &group->states, group->first->tts_values + expand->nkeys,
						group->first->tts_isnull + expand->nkeys);
	group->combined = true;
	combine_states(expand, &group->states, row->tts_values + expand->nkeys,
				   row->tts_isnull + expand->nkeys);
	MemoryContextSwitchTo(before);
}

static void
end_group(WindowGroup *group)
{
	const DeltaExpand *expand = group->expand;
	TupleTableSlot *first = group->first;

	if (TTS_EMPTY(first))
		return;
	if (!group->combined)
	{
		tuplestore_puttupleslot(group->result, first);
		return;
	}
	memcpy(first->tts_values + expand->nkeys, group->states.values,
		   sizeof(Datum) * expand->nstates);
	memcpy(first->tts_isnull + expand->nkeys, group->states.isnull,
		   sizeof(bool) * expand->nstates);
	tuplestore_putvalues(group->result, expand->desc, first->tts_values, first->tts_isnull);
	drop_states(expand, &group->states);
}

static void
combine_windows(DeltaExpand *expand, Tuplesortstate *windows, Tuplestorestate *result)
{
	TupleTableSlot *row = MakeSingleTupleTableSlot(expand->desc, &TTSOpsMinimalTuple);
	WindowGroup group = {.expand = expand,.result = result,.cxt = CurrentMemoryContext};

	group.keys = tm_key_order_prepare(expand->order, expand->nkeys);
	group.first = MakeSingleTupleTableSlot(expand->desc, &TTSOpsMinimalTuple);
	make_states(expand, &group.states);
	while (tuplesort_gettupleslot(windows, true, false, row, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		if (!TTS_EMPTY(group.first) &&
			has_same_values(group.first, row, group.keys, expand->nkeys))
		{
			extend_group(&group, row);
			continue;
		}
		end_group(&group);
		begin_group(&group, row);
	}
	end_group(&group);
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(group.first);
}

Tuplestorestate *
tm_delta_expand_run(DeltaExpand *expand, Tuplestorestate *delta, ViewRows rows,
					TupleDesc *tupdesc)
{
	Tuplestorestate *result = tuplestore_begin_heap(false, false, work_mem);
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark windows",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	Tuplesortstate *windows;

	windows = tm_key_order_begin(expand->order, expand->desc);
	make_windows(expand, delta, *tupdesc, rows == VIEW_ROWS_ON_TIME, windows);
	tuplesort_performsort(windows);
	combine_windows(expand, windows, result);
	tuplesort_end(windows);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(cxt);
	*tupdesc = expand->desc;
	return result;
}
