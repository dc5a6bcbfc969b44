/*
 * delta_rows.c
 *	  The groups of a batch in the order in which they are merged.
 *
 * As long as work_mem allows they are arrays of values, sorted where they lie;
 * when there are more, all go to a tuplesort.  (Rejected: always a tuplesort.
 * It copies each row into a tuple and compares the keys behind the first by
 * taking tuples apart: twice the cost for the usual batch of a few thousand
 * groups whose first key is the start of one of a few windows.)
 *
 * A state of type internal is made storable when it comes in: the merge runs
 * under the view's lock, this does not.
 *
 * Memory: a context of its own.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

/* In memory, a row is its values followed by as many nulls. */
#define ROW_SIZE(natts) ((sizeof(Datum) + sizeof(bool)) * (natts))
#define ROW_NULLS(row, natts) ((bool *) ((row) + (natts)))

struct DeltaRows
{
	const DeltaMerge *merge;
	TupleDesc	tupdesc;		/* as they come */
	bool	   *wrap;			/* per column: a state that comes as bytea */
	SortSupport keys;
	Datum	  **rows;
	size_t		nrows;
	size_t		max_rows;
	size_t		next;
	TupleTableSlot *row;		/* virtual */
	Tuplesortstate *sorted;		/* or NULL: they are in rows */
	TupleTableSlot *tuple;		/* minimal */
	MemoryContext cxt;			/* all of it */
	MemoryContext row_cxt;		/* rows and what they hold */
};

typedef struct RowsReceiver
{
	DestReceiver pub;
	DeltaRows  *rows;
} RowsReceiver;

/* ---- how rows are sorted ---- */

void
tm_key_order_init(KeyOrder *order, int n)
{
	order->n = n;
	order->columns = palloc0(sizeof(AttrNumber) * n);
	order->operators = palloc0(sizeof(Oid) * n);
	order->collations = palloc0(sizeof(Oid) * n);
	order->nulls_first = palloc0(sizeof(bool) * n);
}

Tuplesortstate *
tm_key_order_begin(const KeyOrder *order, TupleDesc tupdesc)
{
	return tuplesort_begin_heap(tupdesc, order->n, order->columns, order->operators,
								order->collations, order->nulls_first, work_mem, NULL,
								TUPLESORT_NONE);
}

SortSupport
tm_key_order_prepare(const KeyOrder *order, int n)
{
	SortSupport keys = palloc0(sizeof(SortSupportData) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		keys[i].ssup_cxt = CurrentMemoryContext;
		keys[i].ssup_collation = order->collations[i];
		keys[i].ssup_nulls_first = order->nulls_first[i];
		keys[i].ssup_attno = order->columns[i];
		PrepareSortSupportFromOrderingOp(order->operators[i], &keys[i]);
	}
	return keys;
}

/* ---- rows that come in ---- */

DeltaRows *
tm_delta_rows_create(const DeltaMerge *merge)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark delta rows",
											  ALLOCSET_DEFAULT_SIZES);
	DeltaRows  *rows = MemoryContextAllocZero(cxt, sizeof(DeltaRows));

	rows->merge = merge;
	rows->cxt = cxt;
	rows->row_cxt = AllocSetContextCreate(cxt, "tidemark delta row values", ALLOCSET_DEFAULT_SIZES);
	return rows;
}

void
tm_delta_rows_begin(DeltaRows *rows, TupleDesc tupdesc)
{
	MemoryContext before = MemoryContextSwitchTo(rows->cxt);
	const DeltaMerge *merge = rows->merge;

	rows->tupdesc = CreateTupleDescCopy(tupdesc);
	rows->wrap = palloc0(sizeof(bool) * tupdesc->natts);
	for (int i = 0; i < merge->nstates; i++)
		rows->wrap[merge->nkeys + i] = tm_delta_merge_wraps(merge, i, tupdesc);
	rows->keys = tm_key_order_prepare(&merge->order, merge->order.n);
	rows->row = MakeSingleTupleTableSlot(rows->tupdesc, &TTSOpsVirtual);
	MemoryContextSwitchTo(before);
}

/* A copy, as it is stored, in the current context. */
static Datum
copy_value(const DeltaRows *rows, int column, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(rows->tupdesc, column);

	if (rows->wrap[column])
		return tm_partial_state_wrap(rows->merge->states[column - rows->merge->nkeys], value);
	return datumCopy(value, att->attbyval, att->attlen);
}

static void
copy_row(const DeltaRows *rows, const Datum *from, const bool *from_null, Datum *to, bool *to_null)
{
	for (int i = 0; i < rows->tupdesc->natts; i++)
	{
		to_null[i] = from_null[i];
		to[i] = from_null[i] ? (Datum) 0 : copy_value(rows, i, from[i]);
	}
}

/* Leave a row of memory in rows->row. */
static void
show_row(DeltaRows *rows, const Datum *row)
{
	int			natts = rows->tupdesc->natts;

	ExecClearTuple(rows->row);
	memcpy(rows->row->tts_values, row, sizeof(Datum) * natts);
	memcpy(rows->row->tts_isnull, ROW_NULLS(row, natts), sizeof(bool) * natts);
	ExecStoreVirtualTuple(rows->row);
}

/* There are too many for memory. */
static void
move_to_sort(DeltaRows *rows)
{
	MemoryContext before = MemoryContextSwitchTo(rows->cxt);

	rows->sorted = tm_key_order_begin(&rows->merge->order, rows->tupdesc);
	rows->tuple = MakeSingleTupleTableSlot(rows->tupdesc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(before);
	for (size_t i = 0; i < rows->nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		show_row(rows, rows->rows[i]);
		tuplesort_puttupleslot(rows->sorted, rows->row);
	}
	ExecClearTuple(rows->row);
	MemoryContextReset(rows->row_cxt);
	rows->rows = NULL;
	rows->nrows = rows->max_rows = 0;
}

static void
add_to_sort(DeltaRows *rows, const Datum *values, const bool *isnull)
{
	ExecClearTuple(rows->row);
	copy_row(rows, values, isnull, rows->row->tts_values, rows->row->tts_isnull);
	ExecStoreVirtualTuple(rows->row);
	tuplesort_puttupleslot(rows->sorted, rows->row);
	ExecClearTuple(rows->row);
	MemoryContextReset(rows->row_cxt);
}

static void
add_to_memory(DeltaRows *rows, const Datum *values, const bool *isnull)
{
	int			natts = rows->tupdesc->natts;
	Datum	   *row = palloc(ROW_SIZE(natts));

	copy_row(rows, values, isnull, row, ROW_NULLS(row, natts));
	if (rows->nrows == rows->max_rows)
	{
		rows->max_rows = Max(256, rows->max_rows * 2);
		rows->rows = rows->rows == NULL ? palloc(sizeof(Datum *) * rows->max_rows) :
			repalloc_huge(rows->rows, sizeof(Datum *) * rows->max_rows);
	}
	rows->rows[rows->nrows++] = row;
}

void
tm_delta_rows_add(DeltaRows *rows, const Datum *values, const bool *isnull)
{
	MemoryContext before = MemoryContextSwitchTo(rows->row_cxt);

	if (rows->sorted != NULL)
		add_to_sort(rows, values, isnull);
	else
	{
		add_to_memory(rows, values, isnull);
		if (MemoryContextMemAllocated(rows->row_cxt, false) > work_mem * (Size) 1024)
			move_to_sort(rows);
	}
	MemoryContextSwitchTo(before);
}

static void
begin_receiving(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	tm_delta_rows_begin(((RowsReceiver *) self)->rows, typeinfo);
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	slot_getallattrs(slot);
	tm_delta_rows_add(((RowsReceiver *) self)->rows, slot->tts_values, slot->tts_isnull);
	return true;
}

static void
end_receiving(DestReceiver *self)
{
}

DestReceiver *
tm_delta_rows_get_receiver(DeltaRows *rows)
{
	RowsReceiver *receiver = MemoryContextAllocZero(rows->cxt, sizeof(RowsReceiver));

	receiver->pub.receiveSlot = receive_row;
	receiver->pub.rStartup = begin_receiving;
	receiver->pub.rShutdown = end_receiving;
	receiver->pub.rDestroy = end_receiving;
	receiver->pub.mydest = DestNone;
	receiver->rows = rows;
	return &receiver->pub;
}

/* ---- rows that go out ---- */

static int
compare_rows(const void *a, const void *b, void *arg)
{
	const DeltaRows *rows = arg;
	const Datum *row_a = *(Datum *const *) a;
	const Datum *row_b = *(Datum *const *) b;
	int			natts = rows->tupdesc->natts;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < rows->merge->order.n; i++)
	{
		int			att = rows->keys[i].ssup_attno - 1;
		int			result = ApplySortComparator(row_a[att], ROW_NULLS(row_a, natts)[att],
												 row_b[att], ROW_NULLS(row_b, natts)[att],
												 &rows->keys[i]);

		if (result != 0)
			return result;
	}
	return 0;
}

void
tm_delta_rows_sort(DeltaRows *rows)
{
	if (rows->sorted != NULL)
		tuplesort_performsort(rows->sorted);
	else if (rows->nrows > 1)
		qsort_arg(rows->rows, rows->nrows, sizeof(Datum *), compare_rows, rows);
}

TupleTableSlot *
tm_delta_rows_next(DeltaRows *rows)
{
	if (rows->sorted != NULL)
	{
		if (!tuplesort_gettupleslot(rows->sorted, true, false, rows->tuple, NULL))
			return NULL;
		slot_getallattrs(rows->tuple);
		return rows->tuple;
	}
	if (rows->next == rows->nrows)
		return NULL;
	show_row(rows, rows->rows[rows->next++]);
	return rows->row;
}

Size
tm_delta_rows_size(const DeltaRows *rows)
{
	return MemoryContextMemAllocated(rows->cxt, true);
}

void
tm_delta_rows_end(DeltaRows *rows)
{
	if (rows->tuple != NULL)
		ExecDropSingleTupleTableSlot(rows->tuple);
	if (rows->row != NULL)
		ExecDropSingleTupleTableSlot(rows->row);
	if (rows->sorted != NULL)
		tuplesort_end(rows->sorted);
	MemoryContextDelete(rows->cxt);
}
