/*
 * row_hints.c
 *	  Where rows with many versions were last seen.
 *
 * A table of places by hash, without chains: of two rows that meet in it the
 * later one stays.  It doubles when that has happened often.
 *
 * Runs in: every backend and worker.
 * Memory: the context it was created in.
 * Locks: none; the caller has locked the table that the scan is of.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/row_hints.h"

#define MIN_PLACES 64
#define MAX_PLACES 65536

typedef struct RowPlace
{
	uint32		hash;
	ItemPointerData tid;		/* invalid: none */
} RowPlace;

struct RowHints
{
	MemoryContext cxt;
	RowPlace   *places;
	uint32		size;			/* a power of two */
	uint32		lost;			/* rows that others took the place of */
};

static RowPlace *
make_places(MemoryContext cxt, uint32 size)
{
	return MemoryContextAllocZero(cxt, sizeof(RowPlace) * size);
}

RowHints *
tm_row_hints_create(MemoryContext cxt)
{
	RowHints   *hints = MemoryContextAllocZero(cxt, sizeof(RowHints));

	hints->cxt = cxt;
	hints->size = MIN_PLACES;
	hints->places = make_places(cxt, hints->size);
	return hints;
}

static RowPlace *
place_of(const RowHints *hints, uint32 hash)
{
	return &hints->places[hash & (hints->size - 1)];
}

static bool
is_known(const RowPlace *place, uint32 hash)
{
	return place->hash == hash && ItemPointerIsValid(&place->tid);
}

static void
grow(RowHints *hints)
{
	RowPlace   *old = hints->places;
	uint32		size = hints->size;

	hints->places = make_places(hints->cxt, size * 2);
	hints->size = size * 2;
	hints->lost = 0;
	for (uint32 i = 0; i < size; i++)
		if (ItemPointerIsValid(&old[i].tid))
			*place_of(hints, old[i].hash) = old[i];
	pfree(old);
}

void
tm_row_hints_put(RowHints *hints, uint32 hash, ItemPointer tid)
{
	RowPlace   *place = place_of(hints, hash);

	if (ItemPointerIsValid(&place->tid) && place->hash != hash &&
		++hints->lost > hints->size / 4 && hints->size < MAX_PLACES)
	{
		grow(hints);
		place = place_of(hints, hash);
	}
	place->hash = hash;
	place->tid = *tid;
}

void
tm_row_hints_move(RowHints *hints, uint32 hash, ItemPointer tid)
{
	RowPlace   *place = place_of(hints, hash);

	if (is_known(place, hash))
		place->tid = *tid;
}

/* As a search by index does; a fetch by place does not. */
static void
prune_page(Relation rel, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(rel, block);

	heap_page_prune_opt(rel, buffer);
	ReleaseBuffer(buffer);
}

bool
tm_row_hints_fetch(const RowHints *hints, uint32 hash, TableScanDesc scan, TupleTableSlot *slot)
{
	RowPlace   *place = place_of(hints, hash);
	Relation	rel = scan->rs_rd;
	ItemPointerData tid = place->tid;

	if (!is_known(place, hash) || rel->rd_tableam != GetHeapamTableAmRoutine() ||
		!table_tuple_tid_valid(scan, &tid))
		return false;
	ExecClearTuple(slot);		/* a page that is pinned is not pruned */
	prune_page(rel, ItemPointerGetBlockNumber(&tid));
	if (table_tuple_fetch_row_version(rel, &tid, scan->rs_snapshot, slot))
		return true;
	table_tuple_get_latest_tid(scan, &tid);
	return !ItemPointerEquals(&tid, &place->tid) &&
		table_tuple_fetch_row_version(rel, &tid, scan->rs_snapshot, slot);
}
