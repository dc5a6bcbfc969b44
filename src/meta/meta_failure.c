/*
 * meta_failure.c
 *	  Table tidemark_state.failure: the words that go with a state.
 *
 * They may quote what was in a message, so they stand in a table of their own
 * that PUBLIC cannot read.
 *
 * Runs in: every backend and worker; inside a transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "meta/meta_internal.h"

void
tm_meta_failure_put(Oid relation, const char *reason, const char *hint)
{
	static MetaStatement put = {
		.sql = "INSERT INTO tidemark_state.failure (relation, reason, hint) VALUES ($1, $2, $3) "
		"ON CONFLICT (relation) DO UPDATE SET reason = $2, hint = $3",
		.nargs = 3,
		.argtypes = {OIDOID, TEXTOID, TEXTOID}
	};
	static MetaStatement remove = {
		.sql = "DELETE FROM tidemark_state.failure WHERE relation = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[3] = {ObjectIdGetDatum(relation)};
	char		nulls[3] = {' ', ' ', ' '};

	if (reason == NULL)
	{
		tm_meta_statement_run(&remove, values, NULL);
		return;
	}
	values[1] = tm_meta_text(reason, &nulls[1]);
	values[2] = tm_meta_text(hint, &nulls[2]);
	tm_meta_statement_run(&put, values, nulls);
}
