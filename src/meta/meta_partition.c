/*
 * meta_partition.c
 *	  Table tidemark_state.partition: position, watermark and counters of each
 *	  partition of a stream.
 *
 * Invariants (cited elsewhere as I1, I2; the whole argument is in
 * ingest_batch.c):
 * I1. A row changes only in the transaction that applies the messages it
 *	   counts.
 * I2. save() succeeds only if every row still has the position that the caller
 *	   started from, so two workers that believe they own a partition cannot
 *	   both commit.
 *
 * Runs in: every backend and worker; inside a transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "meta/meta_internal.h"

#define PARTITION_COLUMNS \
	"partition, first_offset, next_offset, end_offset, max_event_time, watermark, " \
	"stream_watermark, idle_since, rows, dead_letters, skipped, shed, future_rows, " \
	"last_offset, last_hash, last_timestamp, last_message_at"
#define PARTITION_NPARAMS 18	/* with the stream in front */

#define ANUM_NEXT_OFFSET 4

/* Columns of the table are those of PARTITION_COLUMNS, with the stream in front. */
static void
read_partition(const MetaRows *rows, MetaPartition *p)
{
	p->partition = tm_meta_row_int32(rows, 2);
	p->first_offset = tm_meta_row_int64(rows, 3, 0);
	p->next_offset = tm_meta_row_int64(rows, ANUM_NEXT_OFFSET, 0);
	p->end_offset = tm_meta_row_int64(rows, 5, -1);
	p->max_event_time = tm_meta_row_timestamp(rows, 6);
	p->watermark = tm_meta_row_timestamp(rows, 7);
	p->stream_watermark = tm_meta_row_timestamp(rows, 8);
	p->idle_since = tm_meta_row_timestamp(rows, 9);
	p->rows = tm_meta_row_int64(rows, 10, 0);
	p->dead_letters = tm_meta_row_int64(rows, 11, 0);
	p->skipped = tm_meta_row_int64(rows, 12, 0);
	p->shed = tm_meta_row_int64(rows, 13, 0);
	p->future_rows = tm_meta_row_int64(rows, 14, 0);
	p->last_offset = tm_meta_row_int64(rows, 15, -1);
	p->last_hash = tm_meta_row_int64(rows, 16, 0);
	p->last_timestamp = tm_meta_row_timestamp(rows, 17);
	p->last_message_at = tm_meta_row_timestamp(rows, 18);
}

MetaPartition *
tm_meta_partition_list(Oid stream, int *count)
{
	MetaRows	rows;
	int			size = 16;
	int			n = 0;
	MetaPartition *result = palloc(sizeof(MetaPartition) * size);

	tm_meta_rows_open(&rows, "partition", META_ROWS_READ);
	tm_meta_rows_list(&rows, stream);
	while (tm_meta_rows_previous(&rows))
	{
		if (n == size)
		{
			size *= 2;
			result = repalloc(result, sizeof(MetaPartition) * size);
		}
		read_partition(&rows, &result[n++]);
	}
	tm_meta_rows_close(&rows);
	for (int i = 0; i < n / 2; i++)
	{
		MetaPartition last = result[n - 1 - i];

		result[n - 1 - i] = result[i];
		result[i] = last;
	}
	*count = n;
	return result;
}

static Datum
int4_array(int n, const int32 *numbers)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int32GetDatum(numbers[i]);
	return PointerGetDatum(construct_array(elements, n, INT4OID, 4, true,
										   TYPALIGN_INT));
}

MetaPartition *
tm_meta_partition_lock(Oid stream, int n, const int32 *partitions, int *count)
{
	MetaRows	rows;
	MetaPartition *result = palloc(sizeof(MetaPartition) * Max(n, 1));

	*count = 0;
	tm_meta_rows_open(&rows, "partition", META_ROWS_WRITE);
	for (int i = 0; i < n; i++)
		if (tm_meta_rows_find(&rows, stream, partitions[i]) && tm_meta_rows_lock(&rows))
			read_partition(&rows, &result[(*count)++]);
	tm_meta_rows_close(&rows);
	return result;
}

/* In the order of the columns: the stream, and PARTITION_COLUMNS. */
static void
fill_parameters(Oid stream, const MetaPartition *p, Datum *values, char *nulls)
{
	memset(nulls, ' ', PARTITION_NPARAMS);
	values[0] = ObjectIdGetDatum(stream);
	values[1] = Int32GetDatum(p->partition);
	values[2] = Int64GetDatum(p->first_offset);
	values[3] = Int64GetDatum(p->next_offset);
	values[4] = Int64GetDatum(p->end_offset);
	nulls[4] = p->end_offset < 0 ? 'n' : ' ';
	values[5] = tm_meta_timestamp(p->max_event_time, &nulls[5]);
	values[6] = tm_meta_timestamp(p->watermark, &nulls[6]);
	values[7] = tm_meta_timestamp(p->stream_watermark, &nulls[7]);
	values[8] = tm_meta_timestamp(p->idle_since, &nulls[8]);
	values[9] = Int64GetDatum(p->rows);
	values[10] = Int64GetDatum(p->dead_letters);
	values[11] = Int64GetDatum(p->skipped);
	values[12] = Int64GetDatum(p->shed);
	values[13] = Int64GetDatum(p->future_rows);
	values[14] = Int64GetDatum(p->last_offset);
	values[15] = Int64GetDatum(p->last_hash);
	nulls[14] = nulls[15] = p->last_offset < 0 ? 'n' : ' ';
	values[16] = tm_meta_timestamp(p->last_timestamp, &nulls[16]);
	values[17] = tm_meta_timestamp(p->last_message_at, &nulls[17]);
}

#define PARTITION_ARGTYPES \
	OIDOID, INT4OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, \
	TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, INT8OID, \
	INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID

void
tm_meta_partition_insert(Oid stream, const MetaPartition *partition)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.partition (stream, " PARTITION_COLUMNS ") "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
		.nargs = PARTITION_NPARAMS,
		.argtypes = {PARTITION_ARGTYPES}
	};
	Datum		values[PARTITION_NPARAMS];
	char		nulls[PARTITION_NPARAMS];

	fill_parameters(stream, partition, values, nulls);
	tm_meta_statement_run(&statement, values, nulls);
}

void
tm_meta_partition_save(Oid stream, int n, const MetaPartition *partitions,
					   const int64 *expected)
{
	static int	columns[PARTITION_NPARAMS] = {
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18
	};
	MetaRows	rows;

	tm_meta_rows_open(&rows, "partition", META_ROWS_WRITE);
	for (int i = 0; i < n; i++)
	{
		Datum		values[PARTITION_NPARAMS];
		char		nulls[PARTITION_NPARAMS];

		if (!tm_meta_rows_find(&rows, stream, partitions[i].partition) ||
			!tm_meta_rows_lock(&rows) ||
			tm_meta_row_int64(&rows, ANUM_NEXT_OFFSET, 0) != expected[i])
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("position of partition %d was moved by another process",
							partitions[i].partition),
					 errdetail("Offset %lld was expected.", (long long) expected[i])));
		fill_parameters(stream, &partitions[i], values, nulls);
		tm_meta_rows_update(&rows, PARTITION_NPARAMS, columns, values, nulls);
	}
	tm_meta_rows_close(&rows);
}

void
tm_meta_partition_end_idleness(Oid stream, int n, const int32 *partitions)
{
	static MetaStatement statement = {
		.sql = "UPDATE tidemark_state.partition SET idle_since = NULL "
		"WHERE stream = $1 AND ($3 OR partition = ANY ($2)) AND idle_since IS NOT NULL",
		.nargs = 3,
		.argtypes = {OIDOID, INT4ARRAYOID, BOOLOID}
	};
	Datum		values[3] = {ObjectIdGetDatum(stream), int4_array(n, partitions),
	BoolGetDatum(partitions == NULL)};

	tm_meta_statement_run(&statement, values, NULL);
}

void
tm_meta_partition_delete(Oid stream)
{
	static MetaStatement partitions = {
		.sql = "DELETE FROM tidemark_state.partition WHERE stream = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	static MetaStatement skipped = {
		.sql = "DELETE FROM tidemark_state.skipped_range WHERE stream = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	static MetaStatement replayed = {
		.sql = "DELETE FROM tidemark_state.replayed WHERE stream = $1",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[1] = {ObjectIdGetDatum(stream)};

	tm_meta_statement_run(&partitions, values, NULL);
	tm_meta_statement_run(&skipped, values, NULL);
	tm_meta_statement_run(&replayed, values, NULL);
}

void
tm_meta_skipped_insert(Oid stream, int32 partition, int64 from, int64 to, bool shed)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.skipped_range (stream, partition, from_offset, to_offset, shed, recorded_at) "
		"VALUES ($1, $2, $3, $4, $5, pg_catalog.now())",
		.nargs = 5,
		.argtypes = {OIDOID, INT4OID, INT8OID, INT8OID, BOOLOID}
	};
	Datum		values[5] = {ObjectIdGetDatum(stream), Int32GetDatum(partition),
	Int64GetDatum(from), Int64GetDatum(to), BoolGetDatum(shed)};

	tm_meta_statement_run(&statement, values, NULL);
}

void
tm_meta_replayed_insert(Oid stream, int32 partition, int64 offset)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.replayed (stream, partition, kafka_offset, recorded_at) "
		"VALUES ($1, $2, $3, pg_catalog.now())",
		.nargs = 3,
		.argtypes = {OIDOID, INT4OID, INT8OID}
	};
	Datum		values[3] = {ObjectIdGetDatum(stream), Int32GetDatum(partition),
	Int64GetDatum(offset)};

	tm_meta_statement_run(&statement, values, NULL);
}
