/*
 * partial_sql.c
 *	  SQL functions on aggregate states: tidemark.final(), tidemark.combine(),
 *	  and the type tidemark.aggstate.
 *
 * final() stands in every visible view, so anybody may call it, also with
 * arguments that no view would give it: the types are checked against the
 * aggregate once per call site, the stamp of an aggstate at every call.
 *
 * Runs in: every backend that reads a view.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/settings.h"
#include "maintain/maintain_internal.h"

PG_FUNCTION_INFO_V1(tm_final);
PG_FUNCTION_INFO_V1(tm_combine);
PG_FUNCTION_INFO_V1(tm_aggstate_in);
PG_FUNCTION_INFO_V1(tm_aggstate_out);
PG_FUNCTION_INFO_V1(tm_is_populated);

/* What one call site of final() or combine() has found out. */
typedef struct CallSite
{
	Oid			aggregate;
	PartialState *state;
} CallSite;

static void
state_mismatch(Oid aggregate, Oid transtype, Oid given)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("aggregate %s has states of type %s, not %s",
					format_procedure(aggregate), format_type_be(transtype),
					format_type_be(given)),
			 errhint("A continuous view that was made before its aggregate changed has to be dropped and created again.")));
}

/* The declared transition type, made concrete by the type of a given state. */
static Oid
resolve_transtype(Oid aggregate, Oid declared, Oid given)
{
	if (declared == INTERNALOID)
	{
		if (given != tm_meta_aggstate_type())
			state_mismatch(aggregate, tm_meta_aggstate_type(), given);
		return INTERNALOID;
	}
	if (IsPolymorphicType(declared))
	{
		if (!check_generic_type_consistency(&given, &declared, 1))
			state_mismatch(aggregate, declared, given);
		return given;
	}
	if (declared != given)
		state_mismatch(aggregate, declared, given);
	return declared;
}

/*
 * What the aggregate really returns for such a state; InvalidOid when the state
 * does not tell.
 */
static Oid
resolve_result_type(Oid aggregate, Oid finalfn, Oid transtype)
{
	Oid			declared = get_func_rettype(aggregate);
	Oid		   *argtypes;
	int			nargs;

	if (!OidIsValid(finalfn))
		return transtype;
	if (!IsPolymorphicType(declared))
		return declared;
	declared = get_func_signature(finalfn, &argtypes, &nargs);
	if (nargs < 1 || !IsPolymorphicType(argtypes[0]))
		return InvalidOid;
	return enforce_generic_type_consistency(&transtype, argtypes, 1, declared, false);
}

static void
check_result_type(Oid aggregate, Oid finalfn, Oid transtype, Oid result)
{
	Oid			expected = resolve_result_type(aggregate, finalfn, transtype);

	if (!OidIsValid(expected))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the result type of aggregate %s does not follow from its state",
						format_procedure(aggregate))));
	if (expected != result)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("aggregate %s returns type %s, not %s", format_procedure(aggregate),
						format_type_be(expected), format_type_be(result))));
}

static PartialState *
open_call_site(FunctionCallInfo fcinfo, Oid aggregate, Oid given, Oid result)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;
	HeapTuple	tuple;
	Form_pg_aggregate form;
	Oid			transtype;
	Oid			finalfn;
	bool		usable;

	if (site != NULL && site->aggregate == aggregate)
		return site->state;
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function with OID %u is not an aggregate", aggregate)));
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	usable = form->aggkind == AGGKIND_NORMAL && OidIsValid(form->aggcombinefn) &&
		(form->aggtranstype != INTERNALOID || OidIsValid(form->aggdeserialfn));
	transtype = form->aggtranstype;
	finalfn = form->aggfinalfn;
	ReleaseSysCache(tuple);
	if (!usable)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("aggregate %s has no states that can be combined", format_procedure(aggregate))));
	transtype = resolve_transtype(aggregate, transtype, given);
	if (OidIsValid(result))
		check_result_type(aggregate, finalfn, transtype, result);
	site = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallSite));
	site->state = tm_partial_state_open(aggregate, transtype,
										OidIsValid(result) ? result : given,
										PG_GET_COLLATION(), fcinfo->flinfo->fn_mcxt);
	site->aggregate = aggregate;
	fcinfo->flinfo->fn_extra = site;
	return site->state;
}

static void
require_aggregate_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("aggregate cannot be null")));
}

/* final(agg regprocedure, state "any", result anyelement) -> anyelement */
Datum
tm_final(PG_FUNCTION_ARGS)
{
	PartialState *state;
	Datum		result;
	bool		isnull;

	require_aggregate_argument(fcinfo);
	state = open_call_site(fcinfo, PG_GETARG_OID(0),
						   get_fn_expr_argtype(fcinfo->flinfo, 1),
						   get_fn_expr_rettype(fcinfo->flinfo));
	result = tm_partial_state_final(state, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1),
									PG_ARGISNULL(1), &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/* combine(agg regprocedure, a anyelement, b anyelement) -> anyelement */
Datum
tm_combine(PG_FUNCTION_ARGS)
{
	PartialState *state;
	Datum		result;
	bool		isnull;

	require_aggregate_argument(fcinfo);
	state = open_call_site(fcinfo, PG_GETARG_OID(0),
						   get_fn_expr_argtype(fcinfo->flinfo, 1), InvalidOid);
	result = tm_partial_state_combine(state,
									  PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1),
									  PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2), PG_ARGISNULL(2),
									  &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/*
 * Text form of aggstate: that of bytea.  Entering one is for restores only: the
 * bytes go to functions that trust them.
 */
Datum
tm_aggstate_in(PG_FUNCTION_ARGS)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to enter a value of type tidemark.aggstate"),
				 errdetail("Only a superuser may restore aggregate states.")));
	PG_RETURN_DATUM(DirectFunctionCall1(byteain, PG_GETARG_DATUM(0)));
}

Datum
tm_aggstate_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(DirectFunctionCall1(byteaout, PG_GETARG_DATUM(0)));
}

/* is_populated(state_table regclass): true, or the error readers get. */
Datum
tm_is_populated(PG_FUNCTION_ARGS)
{
	Oid			state_table = PG_GETARG_OID(0);
	Oid			visible;
	MetaView   *view;
	bool		failed;

	if (tm_meta_view_is_populated(state_table, &visible) || tm_setting_read_unpopulated)
		PG_RETURN_BOOL(true);
	if (!OidIsValid(visible))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view has not been populated"),
				 errhint("It was restored without its data; drop and create it again.")));
	view = tm_meta_view_find_by_state(state_table);
	failed = view != NULL && view->state == META_FAILED && view->reason != NULL;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("continuous view \"%s\" has not been populated", get_rel_name(visible)),
			 failed ? errdetail("It has failed: %s.", view->reason) : 0,
			 failed ?
			 errhint("Mend the cause, then rebuild the view with REFRESH MATERIALIZED VIEW.") :
			 errhint("REFRESH MATERIALIZED VIEW waits until it is.")));
}
