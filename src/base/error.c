/*
 * ingest_error.c
 *	  Which errors say something about the data, and which about the moment.
 *
 * Runs in: every process that ingests.
 */
#include "postgres.h"

#include "ingest/ingest_internal.h"

/* The two leading characters of an SQLSTATE. */
static bool
is_class(int sqlstate, const char *cls)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == MAKE_SQLSTATE(cls[0], cls[1], '0', '0', '0');
}

bool
tm_ingest_error_is_transient(int sqlstate)
{
	return is_class(sqlstate, "08") || is_class(sqlstate, "40") ||
		is_class(sqlstate, "53") || is_class(sqlstate, "55") ||
		is_class(sqlstate, "57") || is_class(sqlstate, "58");
}
