/*
 * key_hints.c
 *	  Find groups with many versions where they were last.
 *
 * A search that met many old versions of a group, which a snapshot keeps, leaves
 * a hint (base/row_hints.h); a merge that writes the group over moves it.  Where
 * a key's type cannot be hashed there are no hints.
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Memory: hints, that of the merge; hash values are made in the context of the group.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/row_hints.h"
#include "maintain/maintain_internal.h"

struct KeyHints
{
	RowHints   *rows;			/* NULL: a key cannot be hashed */
	FmgrInfo   *hash;			/* per key of the index */
};

/* The merge gets hints, if its keys can be hashed. */
static void
create(MergeRun *run)
{
	DeltaMerge *merge = run->merge;
	MemoryContext cxt = GetMemoryChunkContext(merge);
	KeyHints   *hints = MemoryContextAllocZero(cxt, sizeof(KeyHints));
	bool		can_hash = true;

	hints->hash = MemoryContextAllocZero(cxt, sizeof(FmgrInfo) * Max(merge->nunique, 1));
	for (int i = 0; i < merge->nunique; i++)
	{
		Oid			type = TupleDescAttr(RelationGetDescr(run->rel), i)->atttypid;
		TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_HASH_PROC);

		if (OidIsValid(entry->hash_proc))
			fmgr_info_cxt(entry->hash_proc, &hints->hash[i], cxt);
		else
			can_hash = false;
	}
	if (can_hash)
		hints->rows = tm_row_hints_create(cxt);
	merge->hints = hints;
}

static uint32
hash_of(const MergeRun *run, const TupleTableSlot *group)
{
	MemoryContext before = MemoryContextSwitchTo(run->merge->group_cxt);
	uint32		hash = 0;

	for (int i = 0; i < run->merge->nunique; i++)
		hash = hash_combine(hash, group->tts_isnull[i] ? 0 :
							DatumGetUInt32(FunctionCall1Coll(&run->merge->hints->hash[i],
															 run->index->rd_indcollation[i],
															 group->tts_values[i])));
	MemoryContextSwitchTo(before);
	return hash;
}

static bool
has_keys(const MergeRun *run, TupleTableSlot *found, const TupleTableSlot *group)
{
	bool		result = true;
	MemoryContext before = MemoryContextSwitchTo(run->merge->group_cxt);

	slot_getsomeattrs(found, run->merge->nunique);
	for (int i = 0; result && i < run->merge->nunique; i++)
		result = found->tts_isnull[i] == group->tts_isnull[i] &&
			(group->tts_isnull[i] ||
			 DatumGetBool(FunctionCall2Coll(&run->keys[i].sk_func, run->keys[i].sk_collation,
											found->tts_values[i], group->tts_values[i])));
	MemoryContextSwitchTo(before);
	return result;
}

bool
tm_key_hints_find(MergeRun *run, const TupleTableSlot *group)
{
	const KeyHints *hints = run->merge->hints;

	if (hints->rows == NULL)
		return false;
	if (run->by_place == NULL)
		run->by_place = table_beginscan_tid(run->rel, run->scan->xs_snapshot);
	run->hash = hash_of(run, group);
	return tm_row_hints_fetch(hints->rows, run->hash, run->by_place, run->found) &&
		has_keys(run, run->found, group);
}

void
tm_key_hints_put(MergeRun *run, const TupleTableSlot *group)
{
	if (run->merge->hints == NULL)
		create(run);
	if (run->merge->hints->rows == NULL)
		return;
	run->hash = hash_of(run, group);
	tm_row_hints_put(run->merge->hints->rows, run->hash, &run->found->tts_tid);
}

void
tm_key_hints_move(MergeRun *run, ItemPointer tid)
{
	const KeyHints *hints = run->merge->hints;

	if (hints != NULL && hints->rows != NULL)
		tm_row_hints_move(hints->rows, run->hash, tid);
}
