/*
 * error.c
 *	  Which errors say something about the data, and which about the moment.
 *
 * A message that is set aside and an ingest that is failed wait for somebody,
 * so an error that goes away by itself must not lead there.
 *
 * Runs in: every process.
 */
#include "postgres.h"

#include "base/error.h"

/*
 * PostgreSQL gives no more transaction ids, or multixact ids, until old ones are
 * vacuumed.  It has no SQLSTATE of its own for that: the class is the one of
 * rows that are too long.  The function is named the same in all versions.
 */
static bool
is_wraparound_stop(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED && error->funcname != NULL &&
		(strcmp(error->funcname, "GetNewTransactionId") == 0 ||
		 strcmp(error->funcname, "GetNewMultiXactId") == 0);
}

bool
tm_error_is_transient(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return is_wraparound_stop(error);
	}
}
