/*
 * stream_log.c
 *	  The kept log of a manual stream: a table that plays the part of the topic.
 *
 * tidemark_state.log_N (partition, kafka_offset, kafka_timestamp, key, value,
 * headers), primary key (partition, kafka_offset).  Read through that index
 * with the latest snapshot, as a topic is: what is committed, and what this
 * transaction has appended itself, whatever the snapshot of the statement.
 *
 * Locks: append takes ShareRowExclusiveLock on the table until the
 * transaction ends, so that offsets have no gaps and no two writers.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "stream/stream_internal.h"

#define LOG_PARTITION	1
#define LOG_OFFSET		2
#define LOG_TIMESTAMP	3
#define LOG_KEY			4
#define LOG_VALUE		5
#define LOG_HEADERS		6
#define LOG_COLUMNS		6

static const Oid log_types[LOG_COLUMNS] = {
	INT4OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID, JSONBOID
};

/* A scan of the log in the order of its primary key. */
typedef struct LogScan
{
	Relation	heap;
	Relation	index;
	Snapshot	snapshot;
	SysScanDesc scan;
} LogScan;

/* It belongs to the stream's owner, who may have changed it. */
static void
check_columns(Relation log)
{
	TupleDesc	desc = RelationGetDescr(log);
	bool		matches = desc->natts >= LOG_COLUMNS;

	for (int i = 0; matches && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		matches = i < LOG_COLUMNS ? att->atttypid == log_types[i] : att->attisdropped;
	}
	if (!matches)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("columns of table \"%s\" are not those that it was made with",
						RelationGetRelationName(log)),
				 errhint("It keeps the messages of a manual stream. Undo the change, or drop the stream and create it again.")));
}

static void
begin_scan(LogScan *scan, Oid log_table, int nkeys, ScanKey keys)
{
	scan->heap = table_open(log_table, AccessShareLock);
	check_columns(scan->heap);
	list_free(RelationGetIndexList(scan->heap));	/* sets rd_pkindex */
	if (!OidIsValid(scan->heap->rd_pkindex))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(scan->heap))));
	scan->index = index_open(scan->heap->rd_pkindex, AccessShareLock);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->scan = systable_beginscan_ordered(scan->heap, scan->index,
											scan->snapshot, nkeys, keys);
}

static void
end_scan(LogScan *scan)
{
	systable_endscan_ordered(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->heap, AccessShareLock);
}

int64
tm_stream_log_end(Oid log_table, int32 partition)
{
	LogScan		scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		isnull;
	int64		end = 0;

	ScanKeyInit(&key, LOG_PARTITION, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(partition));
	begin_scan(&scan, log_table, 1, &key);
	tuple = systable_getnext_ordered(scan.scan, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
		end = DatumGetInt64(heap_getattr(tuple, LOG_OFFSET,
										 RelationGetDescr(scan.heap),
										 &isnull)) + 1;
	end_scan(&scan);
	return end;
}

/* The smallest partition number greater than this one, or -1. */
static int32
find_next_partition(Oid log_table, int32 partition)
{
	LogScan		scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		isnull;
	int32		next = -1;

	ScanKeyInit(&key, LOG_PARTITION, BTGreaterStrategyNumber, F_INT4GT,
				Int32GetDatum(partition));
	begin_scan(&scan, log_table, 1, &key);
	tuple = systable_getnext_ordered(scan.scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
		next = DatumGetInt32(heap_getattr(tuple, LOG_PARTITION,
										  RelationGetDescr(scan.heap), &isnull));
	end_scan(&scan);
	return next;
}

List *
tm_stream_log_partitions(Oid log_table)
{
	List	   *partitions = NIL;
	int32		partition = -1;

	while ((partition = find_next_partition(log_table, partition)) >= 0)
		partitions = lappend_int(partitions, partition);
	return partitions;
}

/* ---- reading and writing ---- */

static const char *
copy_bytes(Datum datum, size_t *len)
{
	bytea	   *bytes = DatumGetByteaPP(datum);
	char	   *copy;

	*len = VARSIZE_ANY_EXHDR(bytes);
	copy = palloc(*len + 1);
	memcpy(copy, VARDATA_ANY(bytes), *len);
	return copy;
}

static void
load_message(HeapTuple tuple, TupleDesc tupdesc, KafkaMessage *msg)
{
	Datum	   *values = palloc(sizeof(Datum) * tupdesc->natts);
	bool	   *isnull = palloc(sizeof(bool) * tupdesc->natts);

	heap_deform_tuple(tuple, tupdesc, values, isnull);
	memset(msg, 0, sizeof(*msg));
	msg->partition = DatumGetInt32(values[LOG_PARTITION - 1]);
	msg->offset = DatumGetInt64(values[LOG_OFFSET - 1]);
	msg->has_timestamp = !isnull[LOG_TIMESTAMP - 1];
	if (msg->has_timestamp)
		msg->timestamp = DatumGetTimestampTz(values[LOG_TIMESTAMP - 1]);
	if (!isnull[LOG_KEY - 1])
		msg->key = copy_bytes(values[LOG_KEY - 1], &msg->key_len);
	if (!isnull[LOG_VALUE - 1])
		msg->value = copy_bytes(values[LOG_VALUE - 1], &msg->value_len);
	if (!isnull[LOG_HEADERS - 1])
		tm_stream_headers_from_jsonb(values[LOG_HEADERS - 1], msg);
	pfree(values);
	pfree(isnull);
}

int
tm_stream_log_read(Oid log_table, int32 partition, int64 from, int64 to,
				   int limit, MemoryContext cxt, KafkaMessage **messages)
{
	LogScan		scan;
	ScanKeyData keys[3];
	HeapTuple	tuple;
	MemoryContext old;
	int			n = 0;

	ScanKeyInit(&keys[0], LOG_PARTITION, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(partition));
	ScanKeyInit(&keys[1], LOG_OFFSET, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(from));
	ScanKeyInit(&keys[2], LOG_OFFSET, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum(to));

	*messages = MemoryContextAlloc(cxt, sizeof(KafkaMessage) * Max(limit, 1));
	begin_scan(&scan, log_table, 3, keys);
	while (n < limit &&
		   (tuple = systable_getnext_ordered(scan.scan,
											 ForwardScanDirection)) != NULL)
	{
		old = MemoryContextSwitchTo(cxt);
		load_message(tuple, RelationGetDescr(scan.heap), &(*messages)[n++]);
		MemoryContextSwitchTo(old);
	}
	end_scan(&scan);
	return n;
}

static Datum
bytes_to_datum(const char *bytes, size_t len)
{
	return PointerGetDatum(cstring_to_text_with_len(bytes, len));
}

int64
tm_stream_log_append(Oid log_table, const KafkaMessage *msg)
{
	Datum		values[LOG_COLUMNS] = {0};
	char		nulls[LOG_COLUMNS];
	bool		isnull;
	int64		offset;
	StringInfoData sql;

	/* before the end is read, so that nobody appends in between */
	LockRelationOid(log_table, ShareRowExclusiveLock);
	offset = tm_stream_log_end(log_table, msg->partition);

	SPI_connect();
	memset(nulls, 'n', sizeof(nulls));
	values[LOG_PARTITION - 1] = Int32GetDatum(msg->partition);
	values[LOG_OFFSET - 1] = Int64GetDatum(offset);
	nulls[LOG_PARTITION - 1] = nulls[LOG_OFFSET - 1] = ' ';
	if (msg->has_timestamp)
	{
		values[LOG_TIMESTAMP - 1] = TimestampTzGetDatum(msg->timestamp);
		nulls[LOG_TIMESTAMP - 1] = ' ';
	}
	if (msg->key != NULL)
	{
		values[LOG_KEY - 1] = bytes_to_datum(msg->key, msg->key_len);
		nulls[LOG_KEY - 1] = ' ';
	}
	if (msg->value != NULL)
	{
		values[LOG_VALUE - 1] = bytes_to_datum(msg->value, msg->value_len);
		nulls[LOG_VALUE - 1] = ' ';
	}
	values[LOG_HEADERS - 1] = tm_stream_headers_to_jsonb(msg, &isnull);
	nulls[LOG_HEADERS - 1] = isnull ? 'n' : ' ';

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s VALUES ($1, $2, $3, $4, $5, $6)",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(log_table)),
												get_rel_name(log_table)));
	if (SPI_execute_with_args(sql.data, LOG_COLUMNS, (Oid *) log_types, values, nulls,
							  false, 0) != SPI_OK_INSERT || SPI_processed != 1)
		elog(ERROR, "could not append to \"%s\"", get_rel_name(log_table));
	SPI_finish();
	CommandCounterIncrement();
	return offset;
}
