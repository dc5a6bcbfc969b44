/*
 * ingest_partitioning.h
 *	  Table partitions of raw tables, made ahead and dropped by time.
 */
#ifndef TM_INGEST_PARTITIONING_H
#define TM_INGEST_PARTITIONING_H

#include "meta/meta.h"
#include "window/window.h"

/* More table partitions than this are not made at once. */
#define PARTITIONING_MAX_MADE	1000

/* A table partition, there or missing (InvalidOid): from up to, excluding, to. */
typedef struct TableRange
{
	Oid			relid;
	MetaRemoved time;
} TableRange;

/* A partitioned table, as it is under the caller's lock. */
typedef struct PartitionedTable
{
	Oid			relid;
	Oid			owner;
	char	   *schema;
	char	   *name;
	char	   *column;			/* of time */
	Oid			type;			/* of the column */
	Oid			default_relid;	/* default partition, or InvalidOid */
	int			nranges;
	TableRange *ranges;			/* the others, by time */
	TimestampTz now;			/* of its stream, if a manual one fills it */
	TimestampTz passed;			/* not after now, and what its ingest has
								 * passed; DT_NOBEGIN = nothing yet */
} PartitionedTable;

/* ---- ingest_partitioning_plan.c: what is missing, what is old ---- */

/*
 * Throws 42809 for what cannot be partitioned by time; the caller holds a lock
 * that keeps table partitions from coming and going.
 */
extern PartitionedTable *tm_partitioning_load(Oid relid);

/* 22023 for a step that cannot be used with this table. */
extern void tm_partitioning_parse_step(const PartitionedTable *table, const Interval *step,
									   TimeWindowSpec *spec);

/* The end of the last table partition that should be there by now. */
extern TimestampTz tm_partitioning_target(const PartitionedTable *table,
										  const MetaPartitioning *partitioning,
										  const TimeWindowSpec *spec);

/*
 * What the table has no partition for in the step that holds *from, up to until;
 * *from becomes the end of that.  A list of MetaRemoved *.
 */
extern List *tm_partitioning_list_missing(const PartitionedTable *table, const TimeWindowSpec *spec,
										  TimestampTz *from, TimestampTz until);

/* Before this nothing has to be kept; DT_NOBEGIN = all has. */
extern TimestampTz tm_partitioning_horizon(const PartitionedTable *table,
										   const MetaPartitioning *partitioning);

/* Name of a table partition to be made. */
extern char *tm_partitioning_name(const PartitionedTable *table, const TimeWindowSpec *spec,
								  TimestampTz from);

/* A bound as a literal of the column's type. */
extern char *tm_partitioning_literal(const PartitionedTable *table, TimestampTz time);

/* time - span, in UTC. */
extern TimestampTz tm_partitioning_subtract(TimestampTz time, const Interval *span);

/* ---- ingest_partitioning.c: making and dropping ---- */

/*
 * Make what is missing, at most max steps of it, and write down how far that
 * went.  Locks the table against others who do the same, neither readers nor
 * batches.  Appends the names to *made (may be NULL); true: there is more.
 */
extern bool tm_partitioning_make(Oid relid, int max, List **made);

/*
 * Drop what has outlived the retention, at most max table partitions.  Locks the
 * table exclusively if there is any.  Appends the names to *dropped (may be
 * NULL); true: there is more.
 */
extern bool tm_partitioning_drop(Oid relid, int max, List **dropped);

/* All is done: when to look again. */
extern void tm_partitioning_schedule(Oid relid);

/*
 * For an ingest that starts: where the table partitions that were made ahead
 * have been used up, because nothing ran for long, make those that are needed
 * now.  In transactions of its own; InvalidOid, and tables that are not looked
 * after: nothing.
 */
extern void tm_partitioning_ensure(Oid relid);

/* A restored ingest goes on: so does the partitioning of its table, if any. */
extern void tm_partitioning_adopt(Oid relid);

#endif							/* TM_INGEST_PARTITIONING_H */
