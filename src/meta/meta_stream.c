/*
 * meta_stream.c
 *	  Table tidemark_state.stream, and the side tables of a stream it names:
 *	  dead letters, and the kept log of a manual stream.
 *
 * Both side tables hold message content.  They belong to the stream's owner,
 * are made when first needed, and are ordinary tables, so that dump, restore
 * and GRANT treat them as any other.
 *
 * Runs in: every backend and worker; inside a transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "catalog/pg_class.h"
#include "access/htup_details.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

#include "meta/meta_internal.h"

void
tm_meta_stream_find_tables(Oid stream, Oid *dead_letters, Oid *log)
{
	static MetaStatement statement = {
		.sql = "SELECT (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = dead_letters), "
		"(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = log) "
		"FROM tidemark_state.stream WHERE stream = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(stream)};

	*dead_letters = *log = InvalidOid;
	if (tm_meta_statement_begin(&statement, values, NULL, &execution) > 0)
	{
		*dead_letters = tm_meta_get_oid(0, 1);
		*log = tm_meta_get_oid(0, 2);
	}
	tm_meta_statement_end(&execution);
}

static Oid
relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Make tidemark_state.<prefix><n> with these columns, owned by the stream's
 * owner, and note it in column of the stream's row.  (Dead letters have no key:
 * offsets may begin again when a topic is re-created.)
 */
static Oid
create_side_table(Oid stream, const char *prefix, const char *column,
				  const char *definition, const char *index, const char *comment)
{
	char	   *name = psprintf("%s%d", prefix, tm_meta_new_object_number());
	Oid			relid;

	tm_meta_execute(psprintf("CREATE TABLE tidemark_state.%s (%s)",
							 name, definition));
	if (index != NULL)
		tm_meta_execute(psprintf(index, name));
	/* for publications FOR ALL TABLES */
	tm_meta_execute(psprintf("ALTER TABLE tidemark_state.%s REPLICA IDENTITY FULL", name));
	tm_meta_execute(psprintf("COMMENT ON TABLE tidemark_state.%s IS %s", name,
							 quote_literal_cstr(psprintf(comment,
														 get_rel_name(stream)))));
	tm_meta_execute(psprintf("ALTER TABLE tidemark_state.%s OWNER TO %s", name,
							 quote_identifier(GetUserNameFromId(relation_owner(stream),
																false))));
	relid = get_relname_relid(name, tm_meta_state_schema());
	tm_meta_execute(psprintf("INSERT INTO tidemark_state.stream (stream, %s) VALUES (%u, %u) "
							 "ON CONFLICT (stream) DO UPDATE SET %s = excluded.%s",
							 column, stream, relid, column, column));
	return relid;
}

/* Two processes that need the first side table at once must not both make one. */
static void
lock_side_tables(Oid stream)
{
	LockDatabaseObject(RelationRelationId, stream, 2, ExclusiveLock);
}

Oid
tm_meta_stream_ensure_dead_letters(Oid stream)
{
	Oid			dead_letters;
	Oid			log;

	tm_meta_stream_find_tables(stream, &dead_letters, &log);
	if (OidIsValid(dead_letters))
		return dead_letters;
	lock_side_tables(stream);
	tm_meta_stream_find_tables(stream, &dead_letters, &log);
	if (OidIsValid(dead_letters))
		return dead_letters;
	return create_side_table(stream, "dead_", "dead_letters",
							 "topic text NOT NULL, partition integer NOT NULL, kafka_offset bigint NOT NULL, "
							 "kafka_timestamp timestamptz, watermark timestamptz, key bytea, value bytea, headers jsonb, "
							 "stage text NOT NULL, sqlstate text NOT NULL, message text NOT NULL, "
							 "recorded_at timestamptz NOT NULL",
							 "CREATE INDEX ON tidemark_state.%s (partition, kafka_offset)",
							 "dead letters of stream %s");
}

Oid
tm_meta_stream_ensure_log(Oid stream)
{
	Oid			dead_letters;
	Oid			log;

	tm_meta_stream_find_tables(stream, &dead_letters, &log);
	if (OidIsValid(log))
		return log;
	lock_side_tables(stream);
	tm_meta_stream_find_tables(stream, &dead_letters, &log);
	if (OidIsValid(log))
		return log;
	return create_side_table(stream, "log_", "log",
							 "partition integer NOT NULL, kafka_offset bigint NOT NULL, "
							 "kafka_timestamp timestamptz, key bytea, value bytea, headers jsonb, "
							 "PRIMARY KEY (partition, kafka_offset)",
							 NULL,
							 "kept messages of manual stream %s");
}

void
tm_meta_stream_set_owner(Oid stream, Oid owner)
{
	Oid			tables[2];

	tm_meta_stream_find_tables(stream, &tables[0], &tables[1]);
	for (int i = 0; i < 2; i++)
		if (OidIsValid(tables[i]))
			tm_meta_execute(psprintf("ALTER TABLE tidemark_state.%s OWNER TO %s",
									 quote_identifier(get_rel_name(tables[i])),
									 quote_identifier(GetUserNameFromId(owner, false))));
}

void
tm_meta_stream_delete(Oid stream)
{
	static MetaStatement statement = {
		.sql = "DELETE FROM tidemark_state.stream WHERE stream = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[1] = {ObjectIdGetDatum(stream)};
	Oid			tables[2];

	tm_meta_stream_find_tables(stream, &tables[0], &tables[1]);
	tm_meta_statement_run(&statement, values, NULL);
	for (int i = 0; i < 2; i++)
	{
		char	   *name = OidIsValid(tables[i]) ? get_rel_name(tables[i]) : NULL;

		if (name != NULL)
			tm_meta_execute(psprintf("DROP TABLE tidemark_state.%s CASCADE",
									 quote_identifier(name)));
	}
}
