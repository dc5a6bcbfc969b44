/*
 * verify_compare.c
 *	  The kept rows of a view against those of its query run as batch, group by
 *	  group.
 *
 * Both sides come ordered by the group keys and are merged: the kept one waits
 * in a tuplestore, the batch one is pushed through a DestReceiver, so neither
 * is ever held in memory as a whole.  A group of one side alone is 'missing in
 * view' or 'only in view'; the columns of a group of both are compared by their
 * types' own equality, by text where a type has none, and within a relative
 * tolerance where an aggregate's state is made of floats, whose sum depends on
 * the order of rows.
 *
 * A difference is left out, and counted, when raw rows that are gone explain it:
 * the group may have lost rows (tm_view_may_have_lost), and rows that the batch
 * side lacks could do that.  They cannot make a group appear there (but HAVING
 * can), nor raise a count.
 *
 * Equal group keys may look different (1.0 and 1.00, case-insensitive
 * collations), and any one of them may be shown; a column computed from such
 * keys alone is therefore not compared.
 *
 * Runs in: backends.
 * Memory: one context that is reset with each row of the batch side; the kept
 * side and the result are tuplestores and spill to disk.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "verify/verify_internal.h"

/* How a column of the user is compared. */
typedef struct VerifyColumn
{
	bool		skip;			/* follows from group keys that are equal */
	bool		is_count;		/* count(): never less with more rows */
	double		tolerance;		/* relative; 0 = exact */
	Oid			type;
	int16		typlen;
	bool		typbyval;
	Oid			collation;
	FmgrInfo	equal;			/* fn_oid invalid: compare by output */
	FmgrInfo	output;
} VerifyColumn;

/* The receiver of the batch side. */
typedef struct VerifyCompare
{
	DestReceiver receiver;		/* must be first */
	int			nkeys;
	SortSupport keys;
	int			ncolumns;
	VerifyColumn *columns;
	TupleDesc	row_desc;		/* the user's columns */
	Tuplestorestate *kept;
	TupleTableSlot *kept_slot;	/* the next kept row; empty at the end */
	const ViewRemoval *removal; /* or NULL */
	int			removal_key;	/* its key among the sort keys, -1 = none */
	bool		having;
	int64		left_out;
	ReturnSetInfo *result;
	MemoryContext row_cxt;
} VerifyCompare;

/* ---- equality ---- */

/* A number as float8; false for types that are none. */
static bool
get_double(const VerifyColumn *column, Datum value, double *number)
{
	switch (column->type)
	{
		case FLOAT8OID:
			*number = DatumGetFloat8(value);
			return true;
		case FLOAT4OID:
			*number = DatumGetFloat4(value);
			return true;
		case NUMERICOID:
			*number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
														 value));
			return true;
		case INT8OID:
			*number = (double) DatumGetInt64(value);
			return true;
		case INT4OID:
			*number = DatumGetInt32(value);
			return true;
		default:
			return false;
	}
}

static bool
are_close(double a, double b, double tolerance)
{
	if (isnan(a) || isnan(b))
		return isnan(a) && isnan(b);
	if (isinf(a) || isinf(b))
		return a == b;
	return fabs(a - b) <= tolerance * Max(fabs(a), fabs(b));
}

static bool
are_equal(VerifyColumn *column, Datum a, Datum b)
{
	double		x;
	double		y;

	if (OidIsValid(column->equal.fn_oid))
	{
		if (DatumGetBool(FunctionCall2Coll(&column->equal, column->collation, a, b)))
			return true;
	}
	else if (strcmp(OutputFunctionCall(&column->output, a),
					OutputFunctionCall(&column->output, b)) == 0)
		return true;
	return column->tolerance > 0 &&
		get_double(column, a, &x) && get_double(column, b, &y) &&
		are_close(x, y, column->tolerance);
}

static bool
have_equal_columns(VerifyCompare *compare, TupleTableSlot *kept,
				   TupleTableSlot *batch)
{
	for (int i = 0; i < compare->ncolumns; i++)
	{
		int			attr = compare->nkeys + i;

		if (compare->columns[i].skip)
			continue;
		if (kept->tts_isnull[attr] != batch->tts_isnull[attr])
			return false;
		if (!kept->tts_isnull[attr] &&
			!are_equal(&compare->columns[i], kept->tts_values[attr],
					   batch->tts_values[attr]))
			return false;
	}
	return true;
}

static int
compare_keys(VerifyCompare *compare, TupleTableSlot *kept,
			 TupleTableSlot *batch)
{
	for (int i = 0; i < compare->nkeys; i++)
	{
		int			order = ApplySortComparator(kept->tts_values[i], kept->tts_isnull[i],
												batch->tts_values[i], batch->tts_isnull[i],
												&compare->keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

/* ---- result ---- */

static Datum
row_to_jsonb(VerifyCompare *compare, TupleTableSlot *slot)
{
	HeapTuple	tuple = heap_form_tuple(compare->row_desc,
										slot->tts_values + compare->nkeys,
										slot->tts_isnull + compare->nkeys);
	Datum		row = heap_copy_tuple_as_datum(tuple, compare->row_desc);
	Datum		json = DirectFunctionCall1(row_to_json, row);

	return DirectFunctionCall1(jsonb_in,
							   CStringGetDatum(TextDatumGetCString(json)));
}

/* Could rows that the batch side no longer has make this difference? */
static bool
is_explained(VerifyCompare *compare, TupleTableSlot *kept, TupleTableSlot *batch)
{
	TupleTableSlot *slot = kept ? kept : batch;
	int			key = compare->removal_key;

	if (compare->removal == NULL || (kept == NULL && !compare->having))
		return false;
	for (int i = 0; kept != NULL && batch != NULL && i < compare->ncolumns; i++)
	{
		int			attr = compare->nkeys + i;

		if (compare->columns[i].is_count &&
			DatumGetInt64(kept->tts_values[attr]) < DatumGetInt64(batch->tts_values[attr]))
			return false;
	}
	return tm_view_may_have_lost(compare->removal, key < 0 ? 0 : slot->tts_values[key],
								 key < 0 || slot->tts_isnull[key]);
}

static void
put_problem(VerifyCompare *compare, const char *problem,
			TupleTableSlot *kept, TupleTableSlot *batch)
{
	Datum		values[3] = {0};
	bool		nulls[3] = {false, kept == NULL, batch == NULL};

	if (is_explained(compare, kept, batch))
	{
		compare->left_out++;
		return;
	}
	values[0] = CStringGetTextDatum(problem);
	if (kept != NULL)
		values[1] = row_to_jsonb(compare, kept);
	if (batch != NULL)
		values[2] = row_to_jsonb(compare, batch);
	tuplestore_putvalues(compare->result->setResult,
						 compare->result->setDesc, values, nulls);
}

/* ---- merge ---- */

/* A row that comes from disk is made in the current context: not the row's. */
static void
fetch_kept(VerifyCompare *compare)
{
	MemoryContext before = MemoryContextSwitchTo(compare->kept_slot->tts_mcxt);

	if (tuplestore_gettupleslot(compare->kept, true, false, compare->kept_slot))
		slot_getallattrs(compare->kept_slot);
	MemoryContextSwitchTo(before);
}

static bool
receive_row(TupleTableSlot *batch, DestReceiver *self)
{
	VerifyCompare *compare = (VerifyCompare *) self;
	TupleTableSlot *kept = compare->kept_slot;
	MemoryContext before = MemoryContextSwitchTo(compare->row_cxt);
	int			order = 1;

	slot_getallattrs(batch);
	while (!TupIsNull(kept) && (order = compare_keys(compare, kept, batch)) < 0)
	{
		CHECK_FOR_INTERRUPTS();
		put_problem(compare, "only in view", kept, NULL);
		fetch_kept(compare);
		MemoryContextReset(compare->row_cxt);
	}
	if (TupIsNull(kept) || order > 0)
		put_problem(compare, "missing in view", NULL, batch);
	else
	{
		if (!have_equal_columns(compare, kept, batch))
			put_problem(compare, "different", kept, batch);
		fetch_kept(compare);
	}
	MemoryContextSwitchTo(before);
	MemoryContextReset(compare->row_cxt);
	return true;
}

static void
start_receiving(DestReceiver *self, int operation, TupleDesc tupdesc)
{
	VerifyCompare *compare = (VerifyCompare *) self;

	fetch_kept(compare);
}

/* The batch side has ended: what is left of the kept one is in it alone. */
static void
end_receiving(DestReceiver *self)
{
	VerifyCompare *compare = (VerifyCompare *) self;
	MemoryContext before = MemoryContextSwitchTo(compare->row_cxt);

	while (!TupIsNull(compare->kept_slot))
	{
		CHECK_FOR_INTERRUPTS();
		put_problem(compare, "only in view", compare->kept_slot, NULL);
		fetch_kept(compare);
		MemoryContextReset(compare->row_cxt);
	}
	MemoryContextSwitchTo(before);
}

static void
destroy_receiver(DestReceiver *self)
{
	VerifyCompare *compare = (VerifyCompare *) self;

	ExecDropSingleTupleTableSlot(compare->kept_slot);
	MemoryContextDelete(compare->row_cxt);
}

/* ---- set-up ---- */

/* Does equality of this key mean that both look alike? */
static bool
equal_is_identical(const ViewKey *key)
{
	TypeCacheEntry *type = lookup_type_cache(key->type, TYPECACHE_BTREE_OPFAMILY);
	Oid			function = get_opfamily_proc(type->btree_opf,
											 type->btree_opintype,
											 type->btree_opintype,
											 BTEQUALIMAGE_PROC);

	return OidIsValid(function) &&
		DatumGetBool(OidFunctionCall1Coll(function, key->collation,
										  ObjectIdGetDatum(type->btree_opintype)));
}

/* Is the expression computed from group keys, some of which may look different? */
static bool
follows_from_keys(const ViewSpec *spec, Expr *expr)
{
	if (contain_agg_clause((Node *) expr))
		return false;
	for (int i = 0; i < spec->nkeys; i++)
		if (equal(expr, spec->keys[i].expr))
			return false;
	for (int i = 0; i < spec->nkeys; i++)
		if (!equal_is_identical(&spec->keys[i]))
			return true;
	return false;
}

static void
init_column(VerifyColumn *column, const ViewSpec *spec, int index, Expr *expr)
{
	TypeCacheEntry *type;
	Oid			output;
	bool		varlena;

	column->type = exprType((Node *) expr);
	column->collation = exprCollation((Node *) expr);
	column->skip = follows_from_keys(spec, expr);
	column->is_count = IsA(expr, Aggref) &&
		(((Aggref *) expr)->aggfnoid == F_COUNT_ || ((Aggref *) expr)->aggfnoid == F_COUNT_ANY);
	column->tolerance = tm_view_column_tolerance(spec, index);
	type = lookup_type_cache(column->type, TYPECACHE_EQ_OPR);
	if (OidIsValid(type->eq_opr))
		fmgr_info(get_opcode(type->eq_opr), &column->equal);
	getTypeOutputInfo(column->type, &output, &varlena);
	fmgr_info(output, &column->output);
}

static void
init_columns(VerifyCompare *compare, const ViewSpec *spec)
{
	ListCell   *lc;

	compare->columns = palloc0_array(VerifyColumn,
									 list_length(spec->query->targetList));
	foreach(lc, spec->query->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk)
			continue;
		init_column(&compare->columns[compare->ncolumns], spec,
					compare->ncolumns, tle->expr);
		compare->ncolumns++;
	}
}

static void
init_keys(VerifyCompare *compare, const ViewSpec *spec)
{
	int			n = 0;

	compare->nkeys = spec->no_keys ? 0 : spec->nstored_keys;
	compare->keys = palloc0_array(SortSupportData, Max(compare->nkeys, 1));
	for (int i = 0; i < spec->nkeys; i++)
	{
		const ViewKey *key = &spec->keys[i];
		SortSupport sort;

		if (key->end_of >= 0)
			continue;
		if (compare->removal != NULL && compare->removal->key == i)
			compare->removal_key = n;
		sort = &compare->keys[n++];
		sort->ssup_cxt = CurrentMemoryContext;
		sort->ssup_collation = key->collation;
		sort->ssup_nulls_first = false;
		PrepareSortSupportFromOrderingOp(lookup_type_cache(key->type,
														   TYPECACHE_LT_OPR)->lt_opr,
										 sort);
	}
}

/* The user's columns of a row of both kinds, as a row type of its own. */
static TupleDesc
make_row_desc(TupleDesc tupdesc, int nkeys)
{
	int			natts = tupdesc->natts - nkeys;
	TupleDesc	row_desc = CreateTemplateTupleDesc(natts);

	for (int i = 0; i < natts; i++)
		TupleDescCopyEntry(row_desc, i + 1, tupdesc, nkeys + i + 1);
	return BlessTupleDesc(row_desc);
}

DestReceiver *
tm_verify_compare_create(const ViewSpec *spec, const ViewRemoval *removal,
						 Tuplestorestate *kept, TupleDesc tupdesc, ReturnSetInfo *result)
{
	VerifyCompare *compare = palloc0_object(VerifyCompare);

	compare->receiver.mydest = DestNone;
	compare->receiver.rStartup = start_receiving;
	compare->receiver.receiveSlot = receive_row;
	compare->receiver.rShutdown = end_receiving;
	compare->receiver.rDestroy = destroy_receiver;
	compare->removal = removal;
	compare->removal_key = -1;
	compare->having = spec->query->havingQual != NULL;
	init_keys(compare, spec);
	init_columns(compare, spec);
	compare->row_desc = make_row_desc(tupdesc, compare->nkeys);
	compare->kept = kept;
	compare->kept_slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	compare->result = result;
	compare->row_cxt = AllocSetContextCreate(CurrentMemoryContext,
											 "tidemark verify row",
											 ALLOCSET_DEFAULT_SIZES);
	return &compare->receiver;
}

int64
tm_verify_compare_left_out(const DestReceiver *receiver)
{
	return ((const VerifyCompare *) receiver)->left_out;
}
