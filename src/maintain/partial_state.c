/*
 * partial_state.c
 *	  Transition states of aggregates as values: combine, finalise, wrap.
 *
 * A state is kept in its native transition type.  Where that is internal, the
 * serialised form is wrapped as tidemark.aggstate: a varlena of a stamp (four
 * bytes: what the bytes mean) and the bytes.  Support functions of aggregates
 * insist on being called by an aggregate (AggCheckCallContext), so they get an
 * AggState that has just enough of one.
 *
 * Invariant: no support function sees a value that its aggregate did not make:
 * types are compared when a state is opened, stamps on every aggstate, and
 * only a superuser can enter an aggstate as text (restore).
 *
 * Runs in: every process that maintains views; every backend that reads one.
 * Memory: one context of scratch memory per open state, reset at each call.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/nodeAgg.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "parser/parse_agg.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

struct PartialState
{
	Oid			aggregate;
	Oid			transtype;
	bool		internal;
	int16		translen;
	bool		transbyval;
	Oid			result;
	int16		resultlen;
	bool		resultbyval;
	Oid			collation;
	uint32		stamp;
	FmgrInfo	combine;
	FmgrInfo	serialise;		/* internal only */
	FmgrInfo	deserialise;
	bool		has_final;
	FmgrInfo	final;
	int			nfinalargs;
	bool		int8_sum;		/* int8_sum.c does it all */
	AggState   *aggstate;		/* what support functions take for their
								 * caller */
	MemoryContext scratch;
};

/* The bytes of tidemark.aggstate. */
typedef struct AggStateDatum
{
	int32		vl_len_;
	uint32		stamp;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} AggStateDatum;

#define AGGSTATE_HEADER offsetof(AggStateDatum, data)

static void
check_execute(Oid function)
{
	AclResult	result = object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

/* What the bytes of an internal state mean: the same on every machine. */
static uint32
make_stamp(Form_pg_aggregate form)
{
	char	   *text = psprintf("%d %s", tm_state_format(form->aggserialfn),
								tm_view_function_name(form->aggtransfn));

	return DatumGetUInt32(hash_any((unsigned char *) text, strlen(text)));
}

/* Look up one support function with the expression its polymorphism needs. */
static void
prepare_function(Oid function, Expr *expr, FmgrInfo *info, MemoryContext cxt)
{
	check_execute(function);
	fmgr_info_cxt(function, info, cxt);
	if (expr != NULL)
		fmgr_info_set_expr((Node *) expr, info);
}

/*
 * The type of an extra argument of a final function.  The aggregate's own
 * arguments are not known here; what is polymorphic follows from the state.
 */
static Oid
extra_argument_type(Oid declared, Oid declared_state, Oid transtype)
{
	if (!IsPolymorphicType(declared))
		return declared;
	if (declared == declared_state)
		return transtype;
	if (declared_state == ANYARRAYOID || declared_state == ANYCOMPATIBLEARRAYOID)
		return get_element_type(transtype);
	if (declared == ANYARRAYOID || declared == ANYCOMPATIBLEARRAYOID)
		return get_array_type(transtype);
	return InvalidOid;
}

static void
prepare_final(PartialState *state, Form_pg_aggregate form, MemoryContext cxt)
{
	HeapTuple	tuple;
	Form_pg_proc proc;
	Oid			argtypes[FUNC_MAX_ARGS];
	Oid		   *declared;
	int			ndeclared;
	Expr	   *expr;

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(state->aggregate));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", state->aggregate);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	state->nfinalargs = form->aggfinalextra ? proc->pronargs + 1 : 1;
	ReleaseSysCache(tuple);
	(void) get_func_signature(form->aggfinalfn, &declared, &ndeclared);
	for (int i = 1; i < state->nfinalargs; i++)
	{
		argtypes[i] = extra_argument_type(declared[i], declared[0], state->transtype);
		if (!OidIsValid(argtypes[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("argument types of the final function of aggregate %s do not follow from its state",
							format_procedure(state->aggregate))));
	}
	build_aggregate_finalfn_expr(argtypes + 1, state->nfinalargs, state->transtype,
								 state->result, state->collation, form->aggfinalfn, &expr);
	prepare_function(form->aggfinalfn, expr, &state->final, cxt);
	state->has_final = true;
}

static void
prepare_functions(PartialState *state, Form_pg_aggregate form, MemoryContext cxt)
{
	Expr	   *expr;

	if (OidIsValid(form->aggcombinefn))
	{
		Oid			inputs[2] = {state->transtype, state->transtype};

		build_aggregate_transfn_expr(inputs, 2, 0, false, state->transtype, state->collation,
									 form->aggcombinefn, InvalidOid, &expr, NULL);
		prepare_function(form->aggcombinefn, expr, &state->combine, cxt);
	}
	if (state->internal)
	{
		build_aggregate_serialfn_expr(form->aggserialfn, &expr);
		prepare_function(form->aggserialfn, expr, &state->serialise, cxt);
		build_aggregate_deserialfn_expr(form->aggdeserialfn, &expr);
		prepare_function(form->aggdeserialfn, expr, &state->deserialise, cxt);
	}
	if (OidIsValid(form->aggfinalfn))
		prepare_final(state, form, cxt);
}

PartialState *
tm_partial_state_open(Oid aggregate, Oid transtype, Oid result, Oid collation,
					  MemoryContext cxt)
{
	MemoryContext before = MemoryContextSwitchTo(cxt);
	PartialState *state = palloc0(sizeof(PartialState));
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Form_pg_aggregate form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggregate);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	state->aggregate = aggregate;
	state->transtype = transtype;
	state->internal = transtype == INTERNALOID;
	get_typlenbyval(transtype, &state->translen, &state->transbyval);
	state->result = result;
	get_typlenbyval(result, &state->resultlen, &state->resultbyval);
	state->collation = collation;
	state->int8_sum = tm_view_is_int8_sum(aggregate);
	state->stamp = state->int8_sum ? tm_int8_sum_stamp() : make_stamp(form);
	check_execute(aggregate);
	if (!state->int8_sum)
		prepare_functions(state, form, cxt);
	ReleaseSysCache(tuple);

	state->scratch = AllocSetContextCreate(cxt, "tidemark aggregate scratch", ALLOCSET_SMALL_SIZES);
	state->aggstate = makeNode(AggState);
	state->aggstate->curaggcontext = makeNode(ExprContext);
	state->aggstate->curaggcontext->ecxt_per_tuple_memory = state->scratch;
	MemoryContextSwitchTo(before);
	return state;
}

uint32
tm_partial_state_stamp(const PartialState *state)
{
	return state->stamp;
}

Datum
tm_partial_state_wrap(const PartialState *state, Datum serialised)
{
	bytea	   *bytes = DatumGetByteaPP(serialised);
	Size		len = VARSIZE_ANY_EXHDR(bytes);
	AggStateDatum *result = palloc(AGGSTATE_HEADER + len);

	SET_VARSIZE(result, AGGSTATE_HEADER + len);
	result->stamp = state->stamp;
	memcpy(result->data, VARDATA_ANY(bytes), len);
	return PointerGetDatum(result);
}

static Datum
call(PartialState *state, FmgrInfo *function, int nargs, Datum a, bool a_isnull,
	 Datum b, bool b_isnull, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS + 1);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, function, nargs, state->collation,
							 (Node *) state->aggstate, NULL);
	for (int i = 2; i < nargs; i++)
	{
		fcinfo->args[i].value = (Datum) 0;
		fcinfo->args[i].isnull = true;
	}
	fcinfo->args[0].value = a;
	fcinfo->args[0].isnull = a_isnull;
	fcinfo->args[1].value = b;
	fcinfo->args[1].isnull = b_isnull;
	result = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

void
tm_partial_state_mismatch(Oid aggregate)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("stored state does not belong to aggregate %s", format_procedure(aggregate)),
			 errdetail("It was made by another aggregate or by another major version of PostgreSQL."),
			 errhint("REFRESH MATERIALIZED VIEW rebuilds a continuous view.")));
}

/*
 * A stored state as its support functions take it, in scratch memory: some
 * combine functions modify their first argument in place.
 */
static Datum
unpack(PartialState *state, Datum value, bool *isnull)
{
	AggStateDatum *stored;
	bytea	   *bytes;
	Size		len;

	if (*isnull)
		return (Datum) 0;
	if (!state->internal)
		return datumCopy(value, state->transbyval, state->translen);
	stored = (AggStateDatum *) PG_DETOAST_DATUM(value);
	if (VARSIZE(stored) < AGGSTATE_HEADER || stored->stamp != state->stamp)
		tm_partial_state_mismatch(state->aggregate);
	len = VARSIZE(stored) - AGGSTATE_HEADER;
	bytes = palloc(VARHDRSZ + len);
	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), stored->data, len);
	return call(state, &state->deserialise, 2, PointerGetDatum(bytes), false,
				(Datum) 0, false, isnull);
}

/* Into storable form, in the context the caller asked from. */
static Datum
pack(PartialState *state, Datum value, bool *isnull, MemoryContext caller)
{
	Datum		result;

	/* combine functions give a NULL pointer for the state of no rows at all */
	if (state->internal && DatumGetPointer(value) == NULL)
		*isnull = true;
	if (!*isnull && state->internal)
		value = call(state, &state->serialise, 1, value, false, (Datum) 0, true, isnull);
	MemoryContextSwitchTo(caller);
	if (*isnull)
		return (Datum) 0;
	if (state->internal)
		result = tm_partial_state_wrap(state, value);
	else
		result = datumCopy(value, state->transbyval, state->translen);
	return result;
}

Datum
tm_partial_state_combine(PartialState *state, Datum a, bool a_isnull,
						 Datum b, bool b_isnull, bool *isnull)
{
	MemoryContext caller;
	Datum		result;

	if (state->int8_sum)
		return tm_int8_sum_combine(state->aggregate, a, a_isnull, b, b_isnull, isnull);
	*isnull = false;
	/* by-value states need no copies: the common case of count and sum */
	if (state->combine.fn_strict && (a_isnull || b_isnull))
	{
		*isnull = a_isnull && b_isnull;
		return a_isnull ? b : a;
	}
	if (state->transbyval && !state->internal)
		return call(state, &state->combine, 2, a, a_isnull, b, b_isnull, isnull);

	MemoryContextReset(state->scratch);
	caller = MemoryContextSwitchTo(state->scratch);
	a = unpack(state, a, &a_isnull);
	b = unpack(state, b, &b_isnull);
	result = call(state, &state->combine, 2, a, a_isnull, b, b_isnull, isnull);
	return pack(state, result, isnull, caller);
}

Datum
tm_partial_state_final(PartialState *state, Datum value, bool value_isnull, bool *isnull)
{
	MemoryContext caller;
	Datum		result;

	if (state->int8_sum)
		return tm_int8_sum_final(state->aggregate, value, value_isnull, isnull);
	MemoryContextReset(state->scratch);
	caller = MemoryContextSwitchTo(state->scratch);
	value = unpack(state, value, &value_isnull);
	if (!state->has_final)
	{
		result = value;
		*isnull = value_isnull;
	}
	else if (state->final.fn_strict && (value_isnull || state->nfinalargs > 1))
	{
		result = (Datum) 0;
		*isnull = true;
	}
	else
		result = call(state, &state->final, state->nfinalargs, value, value_isnull,
					  (Datum) 0, true, isnull);
	MemoryContextSwitchTo(caller);
	return *isnull ? (Datum) 0 : datumCopy(result, state->resultbyval, state->resultlen);
}
