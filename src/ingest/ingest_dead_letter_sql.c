/*
 * ingest_dead_letter_sql.c
 *	  What is behind the view tidemark.dead_letters: reading, deleting, and
 *	  showing bytes as text.
 *
 * Dead letters are message content: they are for those who may read the
 * stream.  They lie in one table per stream that belongs to the stream's owner,
 * who can put rules and policies on it; so it is used as its owner, inside a
 * security-restricted operation, whoever asks.
 *
 * Runs in: backends.
 * Locks: reading does not wait: a table that somebody has locked is left out,
 * with a WARNING.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "ingest/ingest_internal.h"

PG_FUNCTION_INFO_V1(tm_dead_letters);
PG_FUNCTION_INFO_V1(tm_delete_dead_letter);
PG_FUNCTION_INFO_V1(tm_readable_text);

#define READABLE_CHARS 1000
#define MAX_UTF8_LENGTH 4

static Oid
table_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Not pg_monitor: this is what messages say. */
static bool
may_read(Oid stream)
{
	bool		missing = false;

	if (!OidIsValid(table_owner(stream)))
		return false;
	return object_ownercheck(RelationRelationId, stream, GetUserId()) ||
		(pg_class_aclcheck_ext(stream, GetUserId(), ACL_SELECT,
							   &missing) == ACLCHECK_OK && !missing);
}

/*
 * The dead-letter table, locked against DROP; InvalidOid when there is none, or
 * when it cannot be had at once.
 */
static Oid
lock_table(Oid stream)
{
	Oid			table;
	Oid			log;

	tm_meta_stream_find_tables(stream, &table, &log);
	if (!OidIsValid(table))
		return InvalidOid;
	if (!ConditionalLockRelationOid(table, AccessShareLock))
	{
		ereport(WARNING,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("dead letters of stream \"%s\" are left out", get_rel_name(stream)),
				 errdetail("Another transaction has locked their table.")));
		return InvalidOid;
	}
	return OidIsValid(table_owner(table)) ? table : InvalidOid;
}

/* Copy the table as the snapshot of the running query sees it. */
static void
read_table(Oid table, Tuplestorestate *store)
{
	/* the casts are for owners who change its columns */
	char	   *sql = psprintf("SELECT topic::text, partition::integer, kafka_offset::bigint, "
							   "kafka_timestamp::timestamptz, watermark::timestamptz, "
							   "key::bytea, value::bytea, headers::jsonb, stage::text, sqlstate::text, "
							   "message::text, recorded_at::timestamptz "
							   "FROM tidemark_state.%s", quote_identifier(get_rel_name(table)));

	(void) tm_meta_read_as(table_owner(table), sql, true, store);
}

/* dead_letters(stream): none for those who may not read the stream */
Datum
tm_dead_letters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			stream = PG_GETARG_OID(0);
	Oid			table;

	InitMaterializedSRF(fcinfo, 0);
	if (!may_read(stream))
		return (Datum) 0;
	table = lock_table(stream);
	if (OidIsValid(table))
		read_table(table, result->setResult);
	return (Datum) 0;
}

/* INSTEAD OF DELETE ON tidemark.dead_letters */
Datum
tm_delete_dead_letter(PG_FUNCTION_ARGS)
{
	static const Oid argtypes[3] = {INT4OID, INT8OID, TEXTOID};
	const TriggerData *trigdata = tm_meta_deletion(fcinfo);
	MetaIdentity identity;
	Datum		values[3];
	Oid			stream;
	Oid			table;
	Oid			log;
	char	   *sql;
	bool		deleted;

	stream = DatumGetObjectId(tm_meta_deleted_value(trigdata, "stream", NULL));
	if (!object_ownercheck(RelationRelationId, stream, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, get_rel_name(stream));
	tm_meta_stream_find_tables(stream, &table, &log);
	if (!OidIsValid(table) || !OidIsValid(table_owner(table)))
		return PointerGetDatum(NULL);
	values[0] = tm_meta_deleted_value(trigdata, "partition", NULL);
	values[1] = tm_meta_deleted_value(trigdata, "kafka_offset", NULL);
	values[2] = tm_meta_deleted_value(trigdata, "stage", NULL);
	sql = psprintf("DELETE FROM tidemark_state.%s WHERE partition = $1 AND kafka_offset = $2 AND stage = $3",
				   quote_identifier(get_rel_name(table)));
	tm_meta_enter_as(table_owner(table), &identity);
	SPI_connect();
	if (SPI_execute_with_args(sql, 3, (Oid *) argtypes, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete a dead letter");
	deleted = SPI_processed > 0;
	SPI_finish();
	tm_meta_leave(&identity);
	/* NULL: somebody else was faster, the row does not count */
	return PointerGetDatum(deleted ? trigdata->tg_trigtuple : NULL);
}

/*
 * Append one valid UTF-8 character in the database's encoding; false when it
 * has no equivalent there.
 */
static bool
append_character(StringInfo buf, const unsigned char *bytes, int len)
{
	int			encoding = GetDatabaseEncoding();
	unsigned char converted[MAX_CONVERSION_GROWTH * MAX_UTF8_LENGTH + 1];
	Oid			proc;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII || len == 1)
	{
		appendBinaryStringInfo(buf, (const char *) bytes, len);
		return true;
	}
	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc) ||
		pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
									  (unsigned char *) bytes, len,
									  converted, sizeof(converted), true) != len)
		return false;
	appendStringInfoString(buf, (const char *) converted);
	return true;
}

/*
 * readable_text(bytes): its first 1000 characters; what is not a character is
 * shown as \xNN.
 */
Datum
tm_readable_text(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_P_SLICE(0, 0, READABLE_CHARS * MAX_UTF8_LENGTH);
	const unsigned char *p = (const unsigned char *) VARDATA_ANY(bytes);
	const unsigned char *end = p + VARSIZE_ANY_EXHDR(bytes);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int n = 0; n < READABLE_CHARS && p < end; n++)
	{
		int			len = pg_utf_mblen(p);

		if (*p != '\0' && len <= end - p && pg_utf8_islegal(p, len) &&
			append_character(&buf, p, len))
		{
			p += len;
			continue;
		}
		appendStringInfo(&buf, "\\x%02x", *p++);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf.data, buf.len));
}
