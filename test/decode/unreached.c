/*
 * unreached.c
 *	  Functions of the server that the format room refers to, but not for the
 *	  columns of these programs.
 */
#include <stdio.h>
#include <stdlib.h>

#define UNREACHED(name) \
	void		name(void); \
	void \
	name(void) \
	{ \
		fprintf(stderr, "%s() was called\n", #name); \
		abort(); \
	}

UNREACHED(BlessTupleDesc)
UNREACHED(CreateTemplateTupleDesc)
UNREACHED(DatumGetHeapTupleHeader)
UNREACHED(DecrTupleDescRefCount)
UNREACHED(DirectFunctionCall2Coll)
UNREACHED(DomainHasConstraints)
UNREACHED(FunctionCall3Coll)
UNREACHED(HeapTupleHeaderGetDatum)
UNREACHED(TupleDescInitEntry)
UNREACHED(bms_add_member)
UNREACHED(domain_check)
UNREACHED(errcode)
UNREACHED(errdetail)
UNREACHED(errfinish)
UNREACHED(errmsg)
UNREACHED(errstart_cold)
UNREACHED(escape_json)
UNREACHED(fmgr_info)
UNREACHED(getmissingattr)
UNREACHED(heap_datum_check)
UNREACHED(heap_form_tuple)
UNREACHED(json_populate_type)
UNREACHED(list_make3_impl)
UNREACHED(lookup_rowtype_tupdesc)
UNREACHED(makeFuncExpr)
UNREACHED(makeNullConst)
UNREACHED(nocachegetattr)
UNREACHED(pg_mbcharcliplen)
UNREACHED(timestamp_scale)
UNREACHED(ExceptionalCondition)
UNREACHED(pg_re_throw)
