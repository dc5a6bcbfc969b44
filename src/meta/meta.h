/*
 * meta.h
 *	  Door of the meta room: the extension's own tables, one file per subject;
 *	  nobody else writes them.
 *
 * Statements run as the owner of the extension, with search_path pg_catalog,
 * inside the caller's transaction and with a snapshot of their own
 * (SPI, read-write), so that they see what was committed before the caller's
 * last lock.  Results are palloc'd in the caller's current context.  No
 * privilege is checked here: callers do.
 */
#ifndef TM_META_H
#define TM_META_H

#include "access/tupdesc.h"
#include "commands/trigger.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/tuplestore.h"

/* ---- who and where (meta_tables.c) ---- */

/* Is the extension installed in this database (and is its catalog readable)? */
extern bool tm_meta_is_installed(void);
extern Oid	tm_meta_extension_owner(void);
extern Oid	tm_meta_state_schema(void);

/* OID of a function tidemark.NAME or tidemark_state.NAME by its argument types. */
extern Oid	tm_meta_function(const char *schema, const char *name, int nargs, const Oid *argtypes);

/* OID of tidemark.aggstate. */
extern Oid	tm_meta_aggstate_type(void);

#define META_SEARCH_PATH "pg_catalog, pg_temp"

/*
 * Switch to the extension's owner, with search_path pg_catalog, pg_temp, until
 * leave.  An error restores both by itself (transaction or subtransaction
 * abort).
 */
typedef struct MetaIdentity
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} MetaIdentity;

extern void tm_meta_enter(MetaIdentity *saved);

/* The same for any user, inside a security-restricted operation. */
extern void tm_meta_enter_as(Oid userid, MetaIdentity *saved);
extern void tm_meta_leave(const MetaIdentity *saved);

/* Run one SQL command (DDL) as the extension's owner. */
extern void tm_meta_execute(const char *sql);

/*
 * Append what a query returns to store, as that user, without holding more of it
 * in memory than the store does.  read_only: with the caller's snapshot.  Returns
 * its row type, palloc'd.
 */
extern TupleDesc tm_meta_read_as(Oid userid, const char *sql, bool read_only,
								 Tuplestorestate *store);

/*
 * What an INSTEAD OF DELETE trigger is fired for, and a value of that row; isnull
 * may be NULL where there is always one.
 */
extern const TriggerData *tm_meta_deletion(FunctionCallInfo fcinfo);
extern Datum tm_meta_deleted_value(const TriggerData *trigdata, const char *column, bool *isnull);

/* Does a row with these stamps belong to this cluster and database? */
extern bool tm_meta_stamp_is_ours(int64 system_identifier, Oid database);

/* A number for object names such as s_<n>, free in tidemark_state. */
extern int	tm_meta_new_object_number(void);

/* ---- streams (meta_stream.c) ---- */

/* Dead-letter table and kept log of a stream; InvalidOid where there is none. */
extern void tm_meta_stream_find_tables(Oid stream, Oid *dead_letters, Oid *log);

/* Make them if they are missing (owned by the stream's owner). */
extern Oid	tm_meta_stream_ensure_dead_letters(Oid stream);
extern Oid	tm_meta_stream_ensure_log(Oid stream);

/* The stream has another owner: so have its tables. */
extern void tm_meta_stream_set_owner(Oid stream, Oid owner);
extern void tm_meta_stream_delete(Oid stream);

/* ---- ingests (meta_ingest.c) ---- */

typedef enum MetaState
{
	META_RUNNING,				/* ingest */
	META_PAUSED,				/* ingest, view */
	META_FAILED,				/* ingest, view */
	META_BACKFILLING,			/* view */
	META_LIVE,					/* view */
} MetaState;

typedef struct MetaIngest
{
	Oid			stream;
	Oid			into_table;		/* InvalidOid = none */
	int			workers;
	MetaState	state;			/* PAUSED when restored */
	bool		restored;		/* the row comes from another cluster or
								 * database */
	char	   *reason;			/* or NULL */
	char	   *hint;
	char	   *sqlstate;
	TimestampTz since;
	char	   *start_at;
	bool		implicit;		/* made for a view; goes with the last one */
	char	   *topic;
	char	   *cluster_id;		/* NULL until a broker said so */
	bool		seen;			/* rows were decoded; else absent_fields is
								 * NULL */
	List	   *absent_fields;	/* char *: members of JSON that none of them
								 * had */
} MetaIngest;

extern MetaIngest *tm_meta_ingest_find(Oid stream);
extern MetaIngest *tm_meta_ingest_find_by_table(Oid into_table);
extern List *tm_meta_ingest_list(void);
extern void tm_meta_ingest_insert(const MetaIngest *ingest);

/*
 * Write all fields back but for seen and absent_fields; stamps the row as belonging
 * to this database.
 */
extern void tm_meta_ingest_update(const MetaIngest *ingest);

/* Rows were decoded: keep in absent_fields only what is in this list too. */
extern void tm_meta_ingest_add_seen(const MetaIngest *ingest, List *absent);
extern void tm_meta_ingest_set_cluster(Oid stream, const char *cluster_id);
extern void tm_meta_ingest_delete(Oid stream);

/* ---- partitions: positions, watermarks, counters (meta_partition.c) ---- */

typedef struct MetaPartition
{
	int32		partition;
	int64		first_offset;	/* where the ingest began */
	int64		next_offset;
	int64		end_offset;		/* -1 = unknown */
	TimestampTz max_event_time; /* DT_NOBEGIN = none */
	TimestampTz watermark;		/* DT_NOBEGIN = none */
	TimestampTz stream_watermark;	/* of the whole stream, as last known when
									 * this row was saved; DT_NOBEGIN = none */
	TimestampTz idle_since;		/* DT_NOBEGIN = not idle */
	int64		rows;
	int64		dead_letters;
	int64		skipped;
	int64		shed;			/* of these */
	int64		future_rows;	/* beyond watermark_max_future */
	int64		last_offset;	/* of the last applied message; -1 = none */
	int64		last_hash;
	TimestampTz last_timestamp; /* Kafka's, of it; DT_NOBEGIN = none */
	TimestampTz last_message_at;	/* when it was applied; DT_NOBEGIN = none */
} MetaPartition;

/* All partitions of a stream, ordered; no lock. */
extern MetaPartition *tm_meta_partition_list(Oid stream, int *count);

/*
 * These partitions, given in ascending order, each once; their rows are locked
 * until the transaction ends.  *count: those that there are.
 */
extern MetaPartition *tm_meta_partition_lock(Oid stream, int n, const int32 *partitions,
											 int *count);
extern void tm_meta_partition_insert(Oid stream, const MetaPartition *partition);

/*
 * Save n partitions; expected[i] is the next_offset that the row must still
 * have (fence): 40001 otherwise, and nothing may be committed.
 */
extern void tm_meta_partition_save(Oid stream, int n, const MetaPartition *partitions,
								   const int64 *expected);

/* These partitions are not idle any more; NULL: all of the stream. */
extern void tm_meta_partition_end_idleness(Oid stream, int n, const int32 *partitions);
extern void tm_meta_partition_delete(Oid stream);

/* shed: by shed_above_lag, else by reset_ingest(). */
extern void tm_meta_skipped_insert(Oid stream, int32 partition, int64 from, int64 to, bool shed);

/* A dead letter of stage decode became a row, and moved no watermark. */
extern void tm_meta_replayed_insert(Oid stream, int32 partition, int64 offset);

/* ---- the clock of manual streams (meta_clock.c) ---- */

/* Of the streams of this owner; DT_NOBEGIN = real time. */
extern TimestampTz tm_meta_clock_get(Oid owner);
extern void tm_meta_clock_set(Oid owner, TimestampTz now);

/* For all owners; forgets those that single owners have set. */
extern void tm_meta_clock_set_all(TimestampTz now);

/* ---- continuous views (meta_view.c) ---- */

typedef struct MetaView
{
	Oid			state_table;
	Oid			view;
	Oid			query_view;
	Oid			final_table;	/* closed windows; InvalidOid = none */
	Oid			late_table;		/* late rows that are kept; InvalidOid = none */
	Oid			source;
	MetaState	state;
	bool		restored;
	bool		populated;
	bool		own_offsets;	/* does not follow the ingest: see view
								 * partitions */
	char	   *reason;
	char	   *hint;
	char	   *sqlstate;
	TimestampTz since;
	char	   *start_at;
	List	   *options;		/* of char *: "name=value" */
	List	   *settings;		/* of char *: "name=value" */
	List	   *stamps;			/* of char *: one per state column */
} MetaView;

extern MetaView *tm_meta_view_find(Oid view);	/* by visible view */
extern MetaView *tm_meta_view_find_by_state(Oid state_table);

/* Any relation of it: visible view, query view, state, final or late table. */
extern MetaView *tm_meta_view_find_by_any(Oid relid);

/*
 * The heavyweight lock that serialises merges into a view with each other and
 * with DDL on it; held until the transaction ends.
 */
extern void tm_meta_view_lock(Oid state_table);

/* By state table, as the active snapshot sees it. */
extern MetaView *tm_meta_view_find_seen(Oid state_table);

/* The table of views: every change of it is a relcache invalidation. */
extern Oid	tm_meta_view_catalog(void);

/* Views over this source, in order of state table OID. */
extern List *tm_meta_view_list(Oid source); /* InvalidOid = all */

/*
 * A view whose query reads a relation, or this column of it (0 = anything), or
 * NULL.
 */
extern MetaView *tm_meta_view_find_reader(Oid relid, int16 attnum);

/*
 * A visible view whose row is missing, because a dump had no data: the name of
 * its query view, or NULL.
 */
extern char *tm_meta_view_find_lost(Oid view);
extern void tm_meta_view_insert(const MetaView *view);
extern void tm_meta_view_update(const MetaView *view);
extern void tm_meta_view_delete(Oid state_table);

/* ---- counters, and how far a view has closed its windows (meta_progress.c) ---- */

/*
 * Windows close in order of their ends; DT_NOBEGIN = none yet.  The row is
 * written under the view's lock only.
 */
typedef struct MetaProgress
{
	TimestampTz horizon;		/* the watermark that windows were last closed
								 * by: what it has passed takes no more rows */
	TimestampTz closed_until;	/* all windows that end up to here are closed */
	TimestampTz pruned_until;	/* ... have left the view */
	int64		late;			/* rows left out, once per window */
	int64		closed;			/* groups closed */
} MetaProgress;

/*
 * What is committed, or done by this transaction.  Under the view's lock it stays
 * so.  In REPEATABLE READ it may be older: then nothing can be put.
 */
extern void tm_meta_progress_get(Oid state_table, MetaProgress *progress);

/* Both under the view's lock; count: one more batch, of n rows. */
extern void tm_meta_progress_put(Oid state_table, const MetaProgress *progress);
extern void tm_meta_progress_count(Oid state_table, int64 n, int64 maintain_us);

/* As the active snapshot sees it. */
extern void tm_meta_progress_see(Oid state_table, MetaProgress *progress);

/* Back to nothing closed, and no verdicts: before a rebuild. */
extern void tm_meta_progress_reset(Oid state_table);

/* ---- verdicts on late rows (meta_verdict.c) ---- */

typedef enum MetaVerdict
{
	META_VERDICT_CLOSED,		/* left out though not late by its own
								 * partition */
	META_VERDICT_ADMITTED,		/* counted though late */
} MetaVerdict;

extern void tm_meta_verdict_insert(Oid state_table, int32 partition, int64 offset,
								   TimestampTz window_start, MetaVerdict verdict);

/* Those of windows named by a time up to then are not needed any more. */
extern void tm_meta_verdict_delete(Oid state_table, TimestampTz until);

/* Are there any, as the active snapshot sees it? */
extern bool tm_meta_verdict_exists(Oid state_table);

/* Cheap (no SPI): may this view be read?  *view: its visible view, or InvalidOid. */
extern bool tm_meta_view_is_populated(Oid state_table, Oid *view);

/*
 * Cheap, cached: is relid the source of a view / a table that only the engine
 * writes (states, closed windows, late rows)?
 */
extern bool tm_meta_view_is_source(Oid relid);

/* The same, counting views that were restored and belong to nobody here yet. */
extern bool tm_meta_view_is_known_source(Oid relid);
extern bool tm_meta_view_is_state(Oid relid);

typedef struct MetaViewPartition
{
	int32		partition;
	int64		start_offset;
	int64		next_offset;
	int64		target_offset;	/* end at CREATE: populated once reached */

	/*
	 * Largest event time that moved the watermark below start_offset and
	 * below next_offset; DT_NOBEGIN = none.  A next_offset below start_offset
	 * reads for these only.
	 */
	TimestampTz start_max_event_time;
	TimestampTz max_event_time;
} MetaViewPartition;

extern MetaViewPartition *tm_meta_view_partition_list(Oid state_table, int *count, bool lock);
extern void tm_meta_view_partition_put(Oid state_table, const MetaViewPartition *partition);

/* With what was kept by tm_meta_view_keep_skipped(). */
extern void tm_meta_view_partition_delete(Oid state_table);

/* ---- what a view has read of its stream (meta_applied.c) ---- */

/* Offsets from up to, not including, to. */
typedef struct MetaRange
{
	int32		partition;
	int64		from;
	int64		to;
	TimestampTz max_event_time; /* applied: below from; DT_NOBEGIN = none */
} MetaRange;

/*
 * Both as the active snapshot sees them, ordered by partition: the ranges that
 * the view has applied, and those that its ingest made it leave out, oldest
 * first (to < from: the offsets began anew).
 */
extern MetaRange *tm_meta_view_list_applied(Oid state_table, int *count);
extern MetaRange *tm_meta_view_list_skipped(Oid state_table, int *count);

/*
 * A view stops following its ingest: keep the ranges that the two have left out
 * together, before the view's positions change.
 */
extern void tm_meta_view_keep_skipped(Oid state_table);

/*
 * What has moved no watermark of a stream: messages before the first offsets of
 * its ingest, those that it left out, and replayed ones.  As the
 * active snapshot sees it; nothing from before the offsets began anew.  Ordered
 * by partition and from.
 */
extern MetaRange *tm_meta_stream_list_quiet(Oid stream, int *count);

/* Is the offset in one of such ranges? */
extern bool tm_meta_range_contains(const MetaRange *ranges, int n, int32 partition, int64 offset);

/* ---- tables partitioned by time (meta_partitioning.c) ---- */

typedef struct MetaPartitioning
{
	Oid			parent;
	Interval	step;
	int			premake;		/* table partitions ahead of the clock's own */
	bool		has_retention;
	Interval	retention;
	TimestampTz made_until;		/* table partitions up to here were made */
	TimestampTz next_run;		/* not due before */
	bool		restored;		/* the row comes from another cluster or
								 * database */
} MetaPartitioning;

extern MetaPartitioning *tm_meta_partitioning_find(Oid parent);

/* All, by next_run. */
extern List *tm_meta_partitioning_list(void);

/* Insert or replace; stamps the row as belonging to this database. */
extern void tm_meta_partitioning_put(const MetaPartitioning *partitioning);
extern void tm_meta_partitioning_delete(Oid parent);

/* ---- raw rows that a view has but its table has not (meta_removed.c) ---- */

/*
 * A range of time of the column that the table is partitioned by, to excluded;
 * from DT_NOBEGIN to DT_NOEND: not known, any rows.
 */
typedef struct MetaRemoved
{
	TimestampTz from;
	TimestampTz to;
} MetaRemoved;

/* Ranges that touch become one. */
extern void tm_meta_removed_insert(Oid state_table, const MetaRemoved *range);

/* Ordered; seen: as the active snapshot sees them. */
extern MetaRemoved *tm_meta_removed_list(Oid state_table, bool seen, int *count);
extern void tm_meta_removed_delete(Oid state_table);

#endif							/* TM_META_H */
