/*
 * ingest_partitioning_plan.c
 *	  Which table partitions a raw table should have, and which ones are old.
 *
 * Time is cut into steps as tumble() cuts it in UTC: days begin at midnight,
 * weeks on Monday, months on the first.  A step for which there is no table
 * partition gets one; of a step that is covered in part (by partitions made by
 * hand, or with another step) the gaps do.  What exists is never changed.
 *
 * What is old follows the clock and the watermark, whichever is behind: rows
 * that the ingest has not come to yet find their table partition, be it paused
 * for a week or reading the history of a year.
 *
 * The column may be of type timestamptz, timestamp or date; the last two are
 * taken as UTC.
 *
 * Runs in: backends; workers.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "ingest/ingest_internal.h"
#include "ingest/ingest_partitioning.h"
#include "view/view.h"

#define MIN_STEP	USECS_PER_MINUTE

/* ---- the table ---- */

static int
compare_ranges(const void *a, const void *b)
{
	TimestampTz x = ((const TableRange *) a)->time.from;
	TimestampTz y = ((const TableRange *) b)->time.from;

	return x < y ? -1 : x > y ? 1 : 0;
}

static void
read_ranges(PartitionedTable *table, Relation rel)
{
	PartitionDesc desc = RelationGetPartitionDesc(rel, false);

	table->default_relid = get_default_oid_from_partdesc(desc);
	table->ranges = palloc(sizeof(TableRange) * Max(desc->nparts, 1));
	for (int i = 0; i < desc->nparts; i++)
	{
		TableRange *range = &table->ranges[table->nranges];

		if (desc->oids[i] == table->default_relid)
			continue;
		range->relid = desc->oids[i];
		range->time = tm_view_get_partition_range(table->relid, range->relid);
		table->nranges++;
	}
	qsort(table->ranges, table->nranges, sizeof(TableRange), compare_ranges);
}

/* The clock and the watermark of whoever fills the table. */
static void
read_time(PartitionedTable *table)
{
	List	   *tables = lcons_oid(table->relid, get_rel_relispartition(table->relid) ?
								   get_partition_ancestors(table->relid) : NIL);
	ListCell   *lc;

	table->now = table->passed = tm_clock_now();
	foreach(lc, tables)
	{
		MetaIngest *ingest = tm_meta_ingest_find_by_table(lfirst_oid(lc));

		if (ingest == NULL)
			continue;
		table->now = tm_ingest_now(tm_stream_get_options(ingest->stream));
		table->passed = Min(table->now, tm_ingest_stored_watermark(ingest->stream));
		return;
	}
}

PartitionedTable *
tm_partitioning_load(Oid relid)
{
	PartitionedTable *table = palloc0(sizeof(PartitionedTable));
	AttrNumber	attno = tm_view_find_range_column(relid, &table->type);
	Relation	rel;

	if (attno == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is not partitioned by range of one column of time",
						get_rel_name(relid)),
				 errhint("Create it with PARTITION BY RANGE (column), a column of type timestamptz, timestamp or date.")));
	rel = table_open(relid, NoLock);
	table->relid = relid;
	table->owner = rel->rd_rel->relowner;
	table->schema = get_namespace_name(RelationGetNamespace(rel));
	table->name = pstrdup(RelationGetRelationName(rel));
	table->column = get_attname(relid, attno, false);
	read_ranges(table, rel);
	table_close(rel, NoLock);
	read_time(table);
	return table;
}

/* ---- steps ---- */

void
tm_partitioning_parse_step(const PartitionedTable *table, const Interval *step,
						   TimeWindowSpec *spec)
{
	tm_window_parse_as("step", step, NULL, NULL, spec);
	if (spec->months == 0 && spec->size < MIN_STEP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step must be at least one minute")));
	if (spec->months == 0 && spec->size % USECS_PER_DAY != 0 && table->type == DATEOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step must be whole days or months because column \"%s\" is of type date",
						table->column)));
}

TimestampTz
tm_partitioning_target(const PartitionedTable *table, const MetaPartitioning *partitioning,
					   const TimeWindowSpec *spec)
{
	TimestampTz target = tm_window_assign(spec, table->now).end;

	for (int i = 0; i < partitioning->premake; i++)
		target = tm_window_end(spec, target);
	return target;
}

List *
tm_partitioning_list_missing(const PartitionedTable *table, const TimeWindowSpec *spec,
							 TimestampTz *from, TimestampTz until)
{
	TimestampTz end = Min(tm_window_assign(spec, *from).end, until);
	TimestampTz begin = *from;
	List	   *missing = NIL;

	for (int i = 0; i <= table->nranges && begin < end; i++)
	{
		TimestampTz gap_end = end;

		if (i < table->nranges)
			gap_end = Min(end, table->ranges[i].time.from);
		if (begin < gap_end)
		{
			MetaRemoved *gap = palloc(sizeof(MetaRemoved));

			gap->from = begin;
			gap->to = gap_end;
			missing = lappend(missing, gap);
		}
		if (i < table->nranges)
			begin = Max(begin, table->ranges[i].time.to);
	}
	*from = end;
	return missing;
}

TimestampTz
tm_partitioning_subtract(TimestampTz time, const Interval *span)
{
	if (TIMESTAMP_NOT_FINITE(time))
		return time;
	return DatumGetTimestamp(DirectFunctionCall2(timestamp_mi_interval,
												 TimestampGetDatum(time),
												 IntervalPGetDatum(span)));
}

TimestampTz
tm_partitioning_horizon(const PartitionedTable *table, const MetaPartitioning *partitioning)
{
	if (!partitioning->has_retention)
		return DT_NOBEGIN;
	return tm_partitioning_subtract(table->passed, &partitioning->retention);
}

/* ---- texts ---- */

static void
split_time(TimestampTz time, struct pg_tm *tm, fsec_t *fsec)
{
	if (timestamp2tm(time, NULL, tm, fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
}

/* TABLE_pYYYYMMDD, and _HHMMSS where a day is not exact enough. */
char *
tm_partitioning_name(const PartitionedTable *table, const TimeWindowSpec *spec, TimestampTz from)
{
	struct pg_tm tm;
	fsec_t		fsec;
	bool		days = spec->months > 0 || spec->size % USECS_PER_DAY == 0;
	char	   *suffix;

	split_time(from, &tm, &fsec);
	suffix = psprintf("p%04d%02d%02d", tm.tm_year, tm.tm_mon, tm.tm_mday);
	if (!days || from % USECS_PER_DAY != 0)
		suffix = psprintf("%s_%02d%02d%02d", suffix, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return makeObjectName(table->name, NULL, suffix);
}

char *
tm_partitioning_literal(const PartitionedTable *table, TimestampTz time)
{
	struct pg_tm tm;
	fsec_t		fsec;
	StringInfoData text;

	split_time(time, &tm, &fsec);
	initStringInfo(&text);
	appendStringInfo(&text, "'%04d-%02d-%02d", tm.tm_year > 0 ? tm.tm_year : 1 - tm.tm_year,
					 tm.tm_mon, tm.tm_mday);
	if (table->type != DATEOID)
		appendStringInfo(&text, " %02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (fsec != 0)
		appendStringInfo(&text, ".%06d", (int) fsec);
	if (table->type == TIMESTAMPTZOID)
		appendStringInfoString(&text, "+00");
	if (tm.tm_year <= 0)
		appendStringInfoString(&text, " BC");
	appendStringInfoChar(&text, '\'');
	return text.data;
}
