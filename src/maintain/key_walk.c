/*
 * key_walk.c
 *	  Find groups that come in the order of the unique index by walking over it.
 *
 * A probe goes down from the root for each group.  The groups of a batch often
 * lie side by side in the index, those of the current windows above all, or are
 * new and lie behind all that it has; then a step from the last one to the next
 * costs a fraction of a probe.
 *
 * The walk reads keys from the index (as an index-only scan does), and a row only
 * when its keys are those of the group.  It begins with
 *
 *		first key = .., second key >= ..	or, if there is but one, key >= ..
 *
 * so a group with a NULL in these is not found by it, nor missed: the answer is
 * that it has to be probed for.
 *
 * Where groups lie far apart, walking costs more than probing.  So each group
 * earns what its probe would have cost, steps and beginnings cost what they
 * cost, and a walk that cannot pay ends.  What is lost is at most START_CREDIT.
 *
 * Entries that are added meanwhile, by the merge itself, may be seen or not: they
 * are of groups that were looked for already.
 *
 * Runs in: every process that maintains views, as the view's owner.
 * Memory: the context that was current at the beginning.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

/* In steps.  A beginning copies what follows on the page. */
#define GROUP_CREDIT 6
#define POSITION_COST 60
#define START_CREDIT 80
#define MAX_CREDIT 600

/* A group that is further away is not walked to. */
#define MAX_STEPS 20

/*
 * Nor behind more old versions of it: while a snapshot is held there may be many,
 * the newest last, where a probe begins.
 */
#define MAX_OLDER 1

struct KeyWalk
{
	const MergeRun *run;
	int			nkeys;			/* of the index */
	IndexScanDesc scan;
	int			nscan_keys;
	ScanKeyData scan_keys[2];
	SortSupport compare;		/* per key of the index */
	int			credit;
	bool		begun;
	bool		at_entry;		/* false: the range has no more */
	int			older;			/* entries of the group without a row */
	MemoryContext cxt;			/* what the scan keys point to */
};

/* Is the order of the groups that of the index, and are its keys as they are? */
static bool
can_walk(const MergeRun *run)
{
	Relation	index = run->index;
	const KeyOrder *order = &run->merge->order;

	for (int i = 0; i < run->merge->nunique; i++)
	{
		Oid			type = index->rd_opcintype[i];

		if (i >= order->n || order->columns[i] != i + 1 ||
			order->collations[i] != index->rd_indcollation[i] || index->rd_indoption[i] != 0 ||
			order->operators[i] != get_opfamily_member(index->rd_opfamily[i], type, type,
													   BTLessStrategyNumber) ||
			TupleDescAttr(RelationGetDescr(index), i)->atttypid !=
			TupleDescAttr(RelationGetDescr(run->rel), i)->atttypid)
			return false;
	}
	return run->merge->nunique > 0;
}

KeyWalk *
tm_key_walk_create(const MergeRun *run)
{
	KeyWalk    *walk;

	if (!can_walk(run))
		return NULL;
	walk = palloc0(sizeof(KeyWalk));
	walk->run = run;
	walk->nkeys = run->merge->nunique;
	walk->nscan_keys = Min(walk->nkeys, 2);
	for (int i = 0; i < walk->nscan_keys; i++)
		tm_merge_scan_key(run->index, i, i + 1 < walk->nscan_keys ? BTEqualStrategyNumber :
						  BTGreaterEqualStrategyNumber, &walk->scan_keys[i]);
	walk->compare = tm_key_order_prepare(&run->merge->order, walk->nkeys);
	walk->credit = START_CREDIT;
	walk->cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark walk", ALLOCSET_SMALL_SIZES);
	walk->scan = tm_index_beginscan(run->rel, run->index, GetActiveSnapshot(), walk->nscan_keys);
	walk->scan->xs_want_itup = true;
	return walk;
}

void
tm_key_walk_end(KeyWalk *walk)
{
	index_endscan(walk->scan);
	MemoryContextDelete(walk->cxt);
}

static void
step(KeyWalk *walk)
{
	walk->credit--;
	walk->at_entry = index_getnext_tid(walk->scan, ForwardScanDirection) != NULL;
}

/* Begin anew at a group; false when that is not paid for. */
static bool
begin_at(KeyWalk *walk, TupleTableSlot *group)
{
	MemoryContext before;

	walk->credit -= POSITION_COST;
	if (walk->credit < 0)
		return false;
	MemoryContextReset(walk->cxt);
	before = MemoryContextSwitchTo(walk->cxt);
	for (int i = 0; i < walk->nscan_keys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(walk->run->rel), i);

		walk->scan_keys[i].sk_argument = datumCopy(group->tts_values[i], att->attbyval,
												   att->attlen);
	}
	MemoryContextSwitchTo(before);
	index_rescan(walk->scan, walk->scan_keys, walk->nscan_keys, NULL, 0);
	walk->begun = true;
	step(walk);
	return true;
}

/* Is the group in the range of the scan? */
static bool
is_in_range(KeyWalk *walk, TupleTableSlot *group)
{
	return walk->begun &&
		(walk->nscan_keys == 1 ||
		 ApplySortComparator(walk->scan_keys[0].sk_argument, false, group->tts_values[0], false,
							 &walk->compare[0]) == 0);
}

/* The entry of the scan and a group. */
static int
compare_entry(KeyWalk *walk, TupleTableSlot *group)
{
	MemoryContext before = MemoryContextSwitchTo(walk->run->merge->group_cxt);
	int			result = 0;

	for (int i = 0; i < walk->nkeys && result == 0; i++)
	{
		bool		isnull;
		Datum		value = index_getattr(walk->scan->xs_itup, i + 1, walk->scan->xs_itupdesc, &isnull);

		result = ApplySortComparator(value, isnull, group->tts_values[i], group->tts_isnull[i],
									 &walk->compare[i]);
	}
	MemoryContextSwitchTo(before);
	return result;
}

/* Up to the group, which is in range; KEY_UNKNOWN: it is too far. */
static KeyFound
walk_to(KeyWalk *walk, TupleTableSlot *group, TupleTableSlot *found)
{
	for (int steps = 0; walk->at_entry; steps++)
	{
		int			order = compare_entry(walk, group);

		if (order > 0)
			return KEY_ABSENT;
		if (order == 0)
		{
			/* an entry can be left of a row that is no more */
			if (index_fetch_heap(walk->scan, found))
				return KEY_FOUND;
			walk->older++;
		}
		if (steps == MAX_STEPS || walk->older > MAX_OLDER)
			return KEY_UNKNOWN;
		step(walk);
	}
	return KEY_ABSENT;
}

KeyFound
tm_key_walk_find(KeyWalk *walk, TupleTableSlot *group, TupleTableSlot *found)
{
	KeyFound	result = KEY_UNKNOWN;

	if (walk->credit < 0)
		return KEY_UNKNOWN;
	for (int i = 0; i < walk->nscan_keys; i++)
		if (group->tts_isnull[i])
			return KEY_UNKNOWN;
	walk->credit = Min(walk->credit + GROUP_CREDIT, MAX_CREDIT);
	walk->older = 0;
	if (is_in_range(walk, group))
		result = walk_to(walk, group, found);
	if (result == KEY_UNKNOWN && walk->older == 0 && begin_at(walk, group))
		result = walk_to(walk, group, found);
	return result;
}
