/*
 * ingest_replay.c
 *	  replay_dead_letters(): messages that could not be applied, tried again
 *	  after a fix.
 *
 * A replayed message is applied as its batch would have applied it: it keeps
 * its partition and offset, is judged by the watermark that was stored with it,
 * moves no watermark and no position.  Of a letter of stage 'decode' neither
 * table nor views have the row; of one of stage 'table' the views over the
 * stream have it already.  What is still bad stays, with the error of today.
 *
 * A view over the stream that reads the log at a position of its own would
 * miss a message behind it or count one twice, so all must follow the ingest.
 *
 * Runs in: backends, in the caller's transaction.
 * Locks: those of a batch, in the same order.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "ingest/ingest_internal.h"
#include "maintain/maintain.h"

PG_FUNCTION_INFO_V1(tm_replay_dead_letters);

#define CHUNK_LETTERS 1000

/* Columns of the query that reads letters. */
enum
{
	LETTER_CTID = 1, LETTER_PARTITION, LETTER_OFFSET, LETTER_TIMESTAMP, LETTER_WATERMARK,
	LETTER_KEY, LETTER_VALUE, LETTER_HEADERS
};

/* What became of a letter. */
typedef struct ReplayLetter
{
	ItemPointerData tid;
	TimestampTz watermark;
	bool		decoded;
	bool		refused;		/* by the table */
	int			sqlstate;		/* of what is still wrong */
	char	   *text;
} ReplayLetter;

typedef struct ReplayRun
{
	MetaIngest *ingest;
	IngestContext *ctx;
	List	   *stream_views;
	List	   *table_views;
	Oid			table;			/* of the dead letters */
	bool		table_stage;	/* letters of stage 'table' */
	MetaPartition *partitions;
	int			npartitions;
	KafkaMessage *messages;		/* of the chunk */
	ReplayLetter *letters;
	int			n;
	int64		replayed;
	int64		still_bad;
} ReplayRun;

/* ---- reading ---- */

/* All letters of one stage, as they are now, in the order of their offsets. */
static Tuplestorestate *
read_letters(const ReplayRun *run, TupleDesc *tupdesc)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);

	/* the casts are for owners who change its columns */
	char	   *sql = psprintf("SELECT ctid, partition::integer, kafka_offset::bigint, "
							   "kafka_timestamp::timestamptz, watermark::timestamptz, "
							   "key::bytea, value::bytea, headers::jsonb "
							   "FROM tidemark_state.%s WHERE stage = '%s' "
							   "ORDER BY partition, kafka_offset FOR UPDATE",
							   quote_identifier(get_rel_name(run->table)),
							   run->table_stage ? "table" : "decode");

	*tupdesc = tm_meta_read_as(run->ctx->options->owner, sql, false, store);
	return store;
}

static const char *
copy_bytes(Datum datum, bool isnull, size_t *len)
{
	bytea	   *bytes;

	*len = 0;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPCopy(datum);
	*len = VARSIZE_ANY_EXHDR(bytes);
	return VARDATA_ANY(bytes);
}

/* The letter as the message it was. */
static void
take_letter(ReplayRun *run, TupleTableSlot *slot)
{
	KafkaMessage *msg = &run->messages[run->n];
	ReplayLetter *letter = &run->letters[run->n];
	Datum	   *values = slot->tts_values - 1;	/* numbered from 1 */
	bool	   *isnull = slot->tts_isnull - 1;

	slot_getallattrs(slot);
	memset(msg, 0, sizeof(*msg));
	memset(letter, 0, sizeof(*letter));
	letter->tid = *(ItemPointer) DatumGetPointer(values[LETTER_CTID]);
	letter->watermark = isnull[LETTER_WATERMARK] ? DT_NOBEGIN :
		DatumGetTimestampTz(values[LETTER_WATERMARK]);
	msg->partition = DatumGetInt32(values[LETTER_PARTITION]);
	msg->offset = DatumGetInt64(values[LETTER_OFFSET]);
	msg->has_timestamp = !isnull[LETTER_TIMESTAMP];
	if (msg->has_timestamp)
		msg->timestamp = DatumGetTimestampTz(values[LETTER_TIMESTAMP]);
	msg->key = copy_bytes(values[LETTER_KEY], isnull[LETTER_KEY], &msg->key_len);
	msg->value = copy_bytes(values[LETTER_VALUE], isnull[LETTER_VALUE], &msg->value_len);
	if (!isnull[LETTER_HEADERS])
		tm_stream_headers_from_jsonb(PointerGetDatum(PG_DETOAST_DATUM_COPY(values[LETTER_HEADERS])), msg);
	run->n++;
}

/* ---- applying ---- */

static void
decode_letter(ReplayRun *run, int i, StreamRows *rows, TimestampTz now)
{
	StreamDecoder *decoder = run->ctx->decoder;
	ReplayLetter *letter = &run->letters[i];
	TimestampTz event_time;
	FormatError error;
	Datum	   *values;
	bool	   *isnull;

	tm_stream_rows_reserve(rows);
	values = rows->values + (size_t) rows->nrows * rows->natts;
	isnull = rows->isnull + (size_t) rows->nrows * rows->natts;
	letter->decoded = tm_stream_decode_guarded(decoder, &run->messages[i], now, values, isnull,
											   &event_time, &error);
	if (!letter->decoded)
	{
		letter->sqlstate = error.sqlstate;
		letter->text = pstrdup(error.message);
		return;
	}
	tm_stream_rows_add(rows, i, &run->messages[i], event_time, letter->watermark,
					   tm_stream_decoder_watermark_att(decoder));
}

static StreamRows *
decode_letters(ReplayRun *run)
{
	Relation	rel = table_open(run->ingest->stream, NoLock);
	StreamRows *rows = tm_stream_rows_create(RelationGetDescr(rel)->natts, Max(run->n, 1),
											 CurrentMemoryContext);
	TimestampTz now = tm_clock_now();
	MetaIdentity identity;
	int			level;

	table_close(rel, NoLock);
	tm_meta_enter_as(run->ctx->options->owner, &identity);
	level = tm_stream_push_decode_settings();
	for (int i = 0; i < run->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		decode_letter(run, i, rows, now);
	}
	AtEOXact_GUC(false, level);
	tm_meta_leave(&identity);
	return rows;
}

static bool
refuse_row(const StreamRows *rows, int row, ErrorData *error, void *arg)
{
	ReplayLetter *letter = &((ReplayRun *) arg)->letters[rows->info[row].message];

	letter->refused = true;
	letter->sqlstate = error->sqlerrcode;
	letter->text = pstrdup(error->message);
	return true;
}

static StreamRows *
store_rows(ReplayRun *run, const StreamRows *rows)
{
	IngestContext *ctx = run->ctx;
	StreamRows *stored = NULL;
	MetaIdentity identity;

	if (ctx->store == NULL || rows->nrows == 0)
		return NULL;
	if (run->table_views != NIL)
		stored = tm_stream_rows_create(ctx->table_natts, rows->nrows, CurrentMemoryContext);
	tm_meta_enter_as(ctx->table_owner, &identity);
	tm_store_rows_guarded(ctx->store, rows, stored, refuse_row, run);
	tm_meta_leave(&identity);
	CommandCounterIncrement();
	return stored;
}

/* Remove letters that were applied, correct what is said of the others. */
static void
settle_letters(ReplayRun *run)
{
	static const Oid argtypes[4] = {TIDOID, TEXTOID, TEXTOID, TEXTOID};
	const char *table = quote_identifier(get_rel_name(run->table));
	MetaIdentity identity;
	SPIPlanPtr	remove;
	SPIPlanPtr	correct;

	tm_meta_enter_as(run->ctx->options->owner, &identity);
	SPI_connect();
	remove = SPI_prepare(psprintf("DELETE FROM tidemark_state.%s WHERE ctid = $1", table), 1,
						 (Oid *) argtypes);
	correct = SPI_prepare(psprintf("UPDATE tidemark_state.%s SET stage = $2, sqlstate = $3, message = $4 "
								   "WHERE ctid = $1", table), 4, (Oid *) argtypes);
	if (remove == NULL || correct == NULL)
		elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
	for (int i = 0; i < run->n; i++)
	{
		ReplayLetter *letter = &run->letters[i];
		bool		good = letter->decoded && !letter->refused;
		Datum		values[4] = {PointerGetDatum(&letter->tid)};

		if (!good)
		{
			values[1] = CStringGetTextDatum(letter->decoded ? "table" :
											run->table_stage ? "table" : "decode");
			values[2] = CStringGetTextDatum(unpack_sql_state(letter->sqlstate));
			values[3] = CStringGetTextDatum(letter->text);
		}
		if (SPI_execute_plan(good ? remove : correct, values, NULL, false, 0) < 0)
			elog(ERROR, "could not change a dead letter");
	}
	SPI_finish();
	tm_meta_leave(&identity);
}

static void
count_letters(ReplayRun *run)
{
	for (int i = 0; i < run->n; i++)
	{
		const ReplayLetter *letter = &run->letters[i];

		if (letter->decoded && !letter->refused)
			run->replayed++;
		else
			run->still_bad++;
		if (!letter->decoded || run->table_stage)
			continue;
		for (int p = 0; p < run->npartitions; p++)
			if (run->partitions[p].partition == run->messages[i].partition)
				run->partitions[p].rows++;
		tm_meta_replayed_insert(run->ingest->stream, run->messages[i].partition,
								run->messages[i].offset);
	}
}

static void
apply_view(MetaView *view, void *rows)
{
	tm_maintain_replay(view, rows);
}

/* Views in the order of their state tables; rows NULL: none for these views. */
static void
apply_views(List *views, StreamRows *rows)
{
	ListCell   *lc;

	if (rows == NULL || rows->nrows == 0)
		return;
	foreach(lc, views)
	{
		CHECK_FOR_INTERRUPTS();
		tm_ingest_view_guarded(lfirst(lc), apply_view, rows);
	}
}

static void
replay_chunk(ReplayRun *run)
{
	StreamRows *rows = decode_letters(run);
	StreamRows *stored = store_rows(run, rows);

	if (!run->table_stage)
		apply_views(run->stream_views, rows);
	apply_views(run->table_views, stored);
	settle_letters(run);
	count_letters(run);
}

static void
replay_stage(ReplayRun *run, bool table_stage)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark replay",
											  ALLOCSET_DEFAULT_SIZES);
	TupleDesc	tupdesc = NULL;
	Tuplestorestate *store;
	TupleTableSlot *slot;
	bool		more = true;

	run->table_stage = table_stage;
	store = read_letters(run, &tupdesc);
	slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	while (more)
	{
		MemoryContext before = MemoryContextSwitchTo(cxt);

		run->n = 0;
		run->messages = palloc(sizeof(KafkaMessage) * CHUNK_LETTERS);
		run->letters = palloc(sizeof(ReplayLetter) * CHUNK_LETTERS);
		while (run->n < CHUNK_LETTERS &&
			   (more = tuplestore_gettupleslot(store, true, false, slot)))
			take_letter(run, slot);
		if (run->n > 0)
			replay_chunk(run);
		ExecClearTuple(slot);
		MemoryContextSwitchTo(before);
		MemoryContextReset(cxt);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(store);
	MemoryContextDelete(cxt);
}

/* ---- conditions ---- */

static void
check_views(Oid stream)
{
	List	   *views = tm_meta_view_list(stream);
	ListCell   *lc;

	foreach(lc, views)
	{
		MetaView   *view = lfirst(lc);

		/* one that has failed is rebuilt from the log */
		if (view->own_offsets && view->state != META_FAILED)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("continuous view \"%s\" does not follow the ingest of stream \"%s\"",
							get_rel_name(view->view), get_rel_name(stream)),
					 errdetail("It is %s, and would miss the replayed messages.",
							   view->state == META_PAUSED ? "paused" : "backfilling"),
					 view->state == META_PAUSED ?
					 errhint("tidemark.resume() lets it catch up; then replay again.") :
					 errhint("REFRESH MATERIALIZED VIEW waits until it is live; then replay again.")));
	}
}

static MetaIngest *
lock_ingest(Oid stream)
{
	MetaIngest *ingest;

	tm_ingest_require_relation(stream);
	if (!tm_stream_is_stream(stream))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a stream", get_rel_name(stream))));
	if (!object_ownercheck(RelationRelationId, stream, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_TABLE, get_rel_name(stream));
	ingest = tm_ingest_lock(stream, RowExclusiveLock);
	if (ingest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" is not ingested", get_rel_name(stream)),
				 errhint("Start it with tidemark.start_ingest().")));
	check_views(stream);
	return ingest;
}

static void
replay(void *arg)
{
	ReplayRun  *run = arg;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "tidemark replay run",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(cxt);
	Oid			stream = run->ingest->stream;
	Oid			log;
	int32	   *numbers;
	int64	   *expected;

	tm_meta_stream_find_tables(stream, &run->table, &log);
	if (OidIsValid(run->table))
	{
		tm_ingest_set_constraints_immediate();
		run->stream_views = tm_ingest_live_views(stream);
		run->table_views = tm_ingest_live_views(run->ingest->into_table);
		run->ctx = tm_ingest_context_get(run->ingest, run->stream_views, run->table_views);
		run->partitions = tm_meta_partition_list(stream, &run->npartitions);
		numbers = palloc(sizeof(int32) * Max(run->npartitions, 1));
		expected = palloc(sizeof(int64) * Max(run->npartitions, 1));
		for (int i = 0; i < run->npartitions; i++)
			numbers[i] = run->partitions[i].partition;
		run->partitions = tm_meta_partition_lock(stream, run->npartitions, numbers,
												 &run->npartitions);
		for (int i = 0; i < run->npartitions; i++)
			expected[i] = run->partitions[i].next_offset;
		/* in this order no letter is taken twice: 'decode' may become 'table' */
		replay_stage(run, true);
		replay_stage(run, false);
		tm_meta_partition_save(stream, run->npartitions, run->partitions, expected);
		(void) tm_ingest_close_views(list_concat_copy(run->stream_views, run->table_views),
									 tm_ingest_stored_watermark(stream), true);
		tm_ingest_signal_at_commit();
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(cxt);
}

/* replay_dead_letters(stream) */
Datum
tm_replay_dead_letters(PG_FUNCTION_ARGS)
{
	ReplayRun	run = {0};
	Datum		values[2];
	bool		nulls[2] = {false, false};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream cannot be null")));
	InitMaterializedSRF(fcinfo, 0);
	run.ingest = lock_ingest(PG_GETARG_OID(0));
	tm_ingest_run_alone(run.ingest, replay, &run);
	values[0] = Int64GetDatum(run.replayed);
	values[1] = Int64GetDatum(run.still_bad);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
