/*
 * ingest_dead_letter.c
 *	  Messages that could not be applied, kept with the reason.
 *
 * Dead letters are written in the transaction of their batch, as the stream's
 * owner, whose table they go to: a trigger he puts there runs as him.
 *
 * Runs in: every process that ingests.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "ingest/ingest_internal.h"
#include "stream/stream.h"

#define NCOLUMNS 12

static Datum
make_bytea(const char *bytes, size_t len, char *null)
{
	bytea	   *result;

	*null = bytes ? ' ' : 'n';
	if (bytes == NULL)
		return (Datum) 0;
	result = palloc(VARHDRSZ + len);
	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), bytes, len);
	return PointerGetDatum(result);
}

static void
fill_values(const StreamOptions *options, const KafkaMessage *msg, const DeadLetter *letter,
			Datum *values, char *nulls)
{
	bool		isnull;

	memset(nulls, ' ', NCOLUMNS);
	values[0] = CStringGetTextDatum(options->topic);
	values[1] = Int32GetDatum(msg->partition);
	values[2] = Int64GetDatum(msg->offset);
	values[3] = TimestampTzGetDatum(msg->timestamp);
	nulls[3] = msg->has_timestamp ? ' ' : 'n';
	values[4] = TimestampTzGetDatum(letter->watermark);
	nulls[4] = TIMESTAMP_IS_NOBEGIN(letter->watermark) ? 'n' : ' ';
	values[5] = make_bytea(msg->key, msg->key_len, &nulls[5]);
	values[6] = make_bytea(msg->value, msg->value_len, &nulls[6]);
	values[7] = tm_stream_headers_to_jsonb(msg, &isnull);
	nulls[7] = isnull ? 'n' : ' ';
	values[8] = CStringGetTextDatum(letter->stage);
	values[9] = CStringGetTextDatum(unpack_sql_state(letter->sqlstate));
	values[10] = CStringGetTextDatum(letter->text);
	values[11] = TimestampTzGetDatum(tm_clock_now());
}

void
tm_ingest_dead_letters_store(const StreamOptions *options, const IngestBatch *batch,
							 List *letters)
{
	static const Oid argtypes[NCOLUMNS] = {TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID,
		TIMESTAMPTZOID, BYTEAOID, BYTEAOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID};
	Oid			table;
	char	   *sql;
	MetaIdentity identity;
	SPIPlanPtr	plan;
	ListCell   *lc;

	if (letters == NIL)
		return;
	table = tm_meta_stream_ensure_dead_letters(options->relid);
	sql = psprintf("INSERT INTO tidemark_state.%s (topic, partition, kafka_offset, kafka_timestamp, watermark, "
				   "key, value, headers, stage, sqlstate, message, recorded_at) "
				   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
				   quote_identifier(get_rel_name(table)));
	tm_meta_enter_as(options->owner, &identity);
	SPI_connect();
	plan = SPI_prepare(sql, NCOLUMNS, (Oid *) argtypes);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\"", sql);
	foreach(lc, letters)
	{
		const DeadLetter *letter = lfirst(lc);
		Datum		values[NCOLUMNS];
		char		nulls[NCOLUMNS];

		fill_values(options, &batch->messages[letter->message], letter, values, nulls);
		if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not store a dead letter");
	}
	SPI_finish();
	tm_meta_leave(&identity);
}
