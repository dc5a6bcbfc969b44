/*
 * ingest_store_guard.c
 *	  Finding the rows that a table refuses.
 *
 * A batch is stored without subtransactions first (tm_store_rows by the
 * caller); only when that failed is it repeated through here.  A range of rows
 * is stored in an internal subtransaction; if the table refuses it, its first
 * half is stored and then its second, down to single rows.  Because the halves
 * go in order, of two rows that exclude each other (a unique key) always the
 * earlier is kept, wherever the batch begins and ends.
 *
 * Statement triggers fire, and transition tables hold, per range that was
 * stored.  A row that refers to a later row of its batch (a foreign key of the
 * table to itself) can be refused here although a whole batch would have
 * stored it.
 *
 * Memory: everything of a range lies in one context that is reset after it;
 * of a refused row only the error stays, in the caller's context.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/error.h"
#include "ingest/ingest_store_internal.h"

typedef struct StoreGuard
{
	StoreTarget *target;
	const StreamRows *rows;
	StreamRows *stored;			/* or NULL */
	TupleDesc	tupdesc;		/* of stored */
	StoreRefuse refuse;
	void	   *arg;
	MemoryContext range_cxt;
} StoreGuard;

bool
tm_store_is_refusal(const ErrorData *error)
{
	if (tm_error_is_transient(error))
		return false;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_PLPGSQL_ERROR:
			return true;
		default:
			break;
	}
	return tm_store_get_phase() == STORE_PHASE_TRIGGER;
}

/* Copy rows that were stored for good out of the range's context. */
static void
append_rows(StoreGuard *guard, const StreamRows *from)
{
	StreamRows *stored = guard->stored;
	MemoryContext oldcxt = MemoryContextSwitchTo(stored->cxt);
	int			natts = stored->natts;

	for (int row = 0; row < from->nrows; row++)
	{
		size_t		source = (size_t) row * natts;
		size_t		dest;

		tm_stream_rows_reserve(stored);
		dest = (size_t) stored->nrows * natts;
		for (int i = 0; i < natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(guard->tupdesc, i);
			bool		isnull = from->isnull[source + i];

			stored->isnull[dest + i] = isnull;
			stored->values[dest + i] = isnull ? (Datum) 0 :
				datumCopy(from->values[source + i], att->attbyval, att->attlen);
		}
		stored->info[stored->nrows] = from->info[row];
		stored->nrows++;
	}
	MemoryContextSwitchTo(oldcxt);
}

/*
 * Store rows[from .. to - 1] in a subtransaction.  Returns NULL, or why the
 * table refused them, in the current context; throws what is no refusal.
 */
static ErrorData *
try_range(StoreGuard *guard, int from, int to)
{
	MemoryContext oldcxt = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	StreamRows *stored = NULL;
	ErrorData  *volatile error = NULL;

	if (guard->stored != NULL)
		stored = tm_stream_rows_create(guard->stored->natts, to - from,
									   guard->range_cxt);

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(guard->range_cxt);
		tm_store_rows(guard->target, guard->rows, from, to, stored);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcxt);
	CurrentResourceOwner = oldowner;

	if (error != NULL && !tm_store_is_refusal(error))
		ReThrowError(error);
	if (error == NULL && stored != NULL)
		append_rows(guard, stored);
	MemoryContextReset(guard->range_cxt);
	return error;
}

/* Store a range, or what of it the table accepts; false: stop here. */
static bool
store_range(StoreGuard *guard, int from, int to)
{
	ErrorData  *error = try_range(guard, from, to);
	int			middle = from + (to - from) / 2;

	if (error == NULL)
		return true;
	if (to - from == 1)
		return guard->refuse(guard->rows, from, error, guard->arg);
	FreeErrorData(error);
	return store_range(guard, from, middle) && store_range(guard, middle, to);
}

void
tm_store_rows_guarded(StoreTarget *target, const StreamRows *rows,
					  StreamRows *stored, StoreRefuse refuse, void *arg)
{
	StoreGuard	guard = {0};
	Relation	table;

	if (rows->nrows == 0)
		return;

	table = RelationIdGetRelation(target->relid);
	guard.target = target;
	guard.rows = rows;
	guard.stored = stored;
	guard.tupdesc = CreateTupleDescCopy(RelationGetDescr(table));
	guard.refuse = refuse;
	guard.arg = arg;
	guard.range_cxt = AllocSetContextCreate(CurrentMemoryContext,
											"tidemark guarded store",
											ALLOCSET_DEFAULT_SIZES);
	RelationClose(table);

	(void) store_range(&guard, 0, rows->nrows);

	MemoryContextDelete(guard.range_cxt);
	FreeTupleDesc(guard.tupdesc);
}
