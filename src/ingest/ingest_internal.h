/*
 * ingest_internal.h
 *	  Shared by the files of the ingest room only.
 */
#ifndef TM_INGEST_INTERNAL_H
#define TM_INGEST_INTERNAL_H

#include "ingest/ingest_store.h"
#include "meta/meta.h"
#include "stream/stream.h"
#include "worker/worker.h"

/* ---- ingest_context.c: what a process keeps about a stream it ingests ---- */

#define INGEST_RECENT 1000		/* messages that max_error_ratio looks at */

typedef struct IngestContext
{
	Oid			stream;			/* hash key */
	bool		valid;			/* no invalidation since it was built */
	Oid			into_table;
	MemoryContext cxt;
	StreamOptions *options;
	StreamDecoder *decoder;
	StoreTarget *store;			/* NULL without a table */
	Oid			table_owner;
	int			table_natts;
	List	   *state_tables;	/* of the views whose needs the decoder knows */
	/* verdicts on the most recent messages since the ingest was started */
	TimestampTz recent_since;
	bool		recent_bad[INGEST_RECENT];
	int			recent_count;	/* up to INGEST_RECENT */
	int			recent_next;
	int			recent_nbad;
} IngestContext;

/*
 * The context of a stream, valid for these live views over stream and table;
 * the caller holds locks on both.
 */
extern IngestContext *tm_ingest_context_get(const MetaIngest *ingest, List *stream_views,
											List *table_views);

/* ---- ingest_batch.c: one batch = one transaction ---- */

/* What was found out about the idleness of a partition. */
typedef enum IngestIdleness
{
	INGEST_IDLE_SAME,			/* nothing new */
	INGEST_IDLE_BEGINS,			/* proved: silent, and position is the end */
	INGEST_IDLE_ENDS,			/* the proof could not be renewed */
} IngestIdleness;

/* Where reading a partition stands beyond its messages. */
typedef struct IngestPosition
{
	int32		partition;
	int64		position;		/* next offset, when at_end */
	int64		end;			/* KAFKA_OFFSET_NONE = unknown */
	bool		at_end;
	IngestIdleness idleness;
	int64		shed_to;		/* leave out what is before; 0 = nothing */
} IngestPosition;

typedef struct IngestBatch
{
	const KafkaMessage *messages;
	int			nmessages;
	const IngestPosition *positions;	/* what is to be saved besides
										 * messages */
	int			npositions;
	const int64 *from;			/* where positions began: next_offset of the
								 * catalog; NULL = what it is at the lock */
	int64	   *next;			/* out, beside from: next_offset then */
	int			workers;		/* the share it was gathered for; 0 = all */
	bool		careful;		/* survive refused rows and failing views */
	int64		phase_us[WORKER_NPHASES];	/* out */
	int64		rows;			/* out: decoded rows */
	bool		more;			/* out: views have windows left to close; an
								 * empty batch goes on with them */
} IngestBatch;

typedef enum IngestOutcome
{
	INGEST_APPLIED,
	INGEST_NOT_RUNNING,			/* paused, failed or dropped: nothing was done */
	INGEST_CHANGED,				/* other number of workers, or the catalog is
								 * elsewhere: nothing was done */
	INGEST_FAILED,				/* the ingest became failed in this
								 * transaction */
} IngestOutcome;

/*
 * Apply a batch inside the current transaction.  Messages are in offset order
 * per partition and none is below the partition's next_offset.
 */
extern IngestOutcome tm_ingest_batch_apply(Oid stream, IngestBatch *batch);

/* The same; and in the same transaction close all windows that it lets close. */
extern IngestOutcome tm_ingest_batch_apply_all(Oid stream, IngestBatch *batch);

/*
 * Deferred constraint triggers fire while rows are stored, not at commit, for
 * the rest of the transaction.
 */
extern void tm_ingest_set_constraints_immediate(void);

/* Take the locks every batch takes first; the ingest, or NULL when it is gone. */
extern MetaIngest *tm_ingest_lock(Oid stream, LOCKMODE mode);

/* Views over this source that follow the ingest; NIL for no source. */
extern List *tm_ingest_live_views(Oid source);

/*
 * A step for one view in a subtransaction of its own: when its expressions or
 * triggers fail, it alone becomes failed.
 */
extern void tm_ingest_view_guarded(MetaView *view, void (*step) (MetaView *view, void *arg),
								   void *arg);


/* Note that something was committed, once this transaction is. */
extern void tm_ingest_signal_at_commit(void);

/* Hash of key and value, to recognise a message again. */
extern int64 tm_ingest_message_hash(const KafkaMessage *msg);

/* ---- ingest_alone.c: no work on a stream within work on it ---- */

/*
 * Run step as work on the stream of this ingest: a batch or the like.  What it
 * runs cannot lead to other work on the stream, its table or their views: 27000.
 */
extern void tm_ingest_run_alone(const MetaIngest *ingest, void (*step) (void *arg), void *arg);

/* No such work is under way; source: a stream or the table of one. */
extern void tm_ingest_check_alone(Oid source);

/* ---- ingest_watermark.c: the watermark of a stream ---- */

/*
 * The watermark of the stream, with n of its partitions, in order, as the
 * caller has them (locked), the others as stored; DT_NOBEGIN = none yet.  Never
 * less than what is stored.  It is set in partitions[] for the caller to save.
 */
extern TimestampTz tm_ingest_stream_watermark(const MetaIngest *ingest, const StreamOptions *options,
											  int n, MetaPartition *partitions, TimestampTz now);

/* What is stored of it. */
extern TimestampTz tm_ingest_stored_watermark(Oid stream);

/*
 * Would it move if it was computed again, by what is committed?  now: for
 * watermark_when_idle = 'wall_clock'; DT_NOBEGIN leaves that out.
 */
extern bool tm_ingest_watermark_is_behind(const MetaIngest *ingest, const StreamOptions *options,
										  TimestampTz now);

/* Does a live view over the stream or its table close windows? */
extern bool tm_ingest_closes_windows(const MetaIngest *ingest);

/* ---- ingest_idle.c: idle partitions ---- */

typedef struct IngestIdle IngestIdle;

/* None is idle and silence counts from now. */
extern IngestIdle *tm_ingest_idle_create(int n, const int32 *partitions, MemoryContext cxt);

/*
 * Take note of the messages of a batch, and put the findings about the others
 * into its positions, which are those of the partitions given at creation.
 */
extern void tm_ingest_idle_prepare_batch(IngestIdle *idle, const KafkaMessage *messages,
										 int nmessages, IngestPosition *positions);

/* The batch that was prepared has committed. */
extern void tm_ingest_idle_stored(IngestIdle *idle);
extern bool tm_ingest_idle_has_findings(const IngestIdle *idle);

/*
 * Ask the brokers about partitions that have been silent for long.  No batch is
 * at hand and no transaction is open.  Takes half a second at most.
 */
extern void tm_ingest_idle_check(IngestIdle *idle, const StreamOptions *options,
								 KafkaConsumer *consumer);

/* Are all partitions idle by proofs that are fresh? */
extern bool tm_ingest_idle_is_complete(const IngestIdle *idle);

/*
 * A manual stream whose ingest runs and is caught up: partitions that are silent
 * become idle, and the watermark follows the clock, by an empty batch.
 */
extern void tm_ingest_idle_manual(MetaIngest *ingest, const StreamOptions *options);

/* ---- ingest_clock.c ---- */

/* The time now: of a manual stream, that of set_clock(). */
extern TimestampTz tm_ingest_now(const StreamOptions *options);

/* ---- ingest_close.c ---- */

/*
 * Let views close their windows by the watermark of their stream, and notify.
 * careful: guarded.  True: there is more to close.
 */
extern bool tm_ingest_close_views(List *views, TimestampTz watermark, bool careful);

/* All windows of a view with new history that are passed already. */
extern void tm_ingest_close_passed(const MetaView *view);

/* ---- ingest_dead_letter.c ---- */

typedef struct DeadLetter
{
	int			message;		/* index into the batch */
	const char *stage;			/* "decode" or "table" */
	int			sqlstate;
	char	   *text;
	TimestampTz watermark;
} DeadLetter;

/* Write dead letters of a batch, as the stream's owner. */
extern void tm_ingest_dead_letters_store(const StreamOptions *options, const IngestBatch *batch,
										 List *letters);

/* ---- ingest_fail.c ---- */

extern void tm_ingest_set_failed(MetaIngest *ingest, int sqlstate, const char *reason,
								 const char *hint);
extern void tm_ingest_view_set_failed(MetaView *view, int sqlstate, const char *reason);

/*
 * Has it failed because its offsets belong to another log?  pause() does not
 * change that, resume() and reset_ingest() do.
 */
extern bool tm_ingest_is_void(const MetaIngest *ingest);

/* ---- ingest_offsets.c: where to start ---- */

/* What the brokers say about the log; asked while no transaction is open. */
typedef struct IngestLog
{
	int			npartitions;
	StreamPartition *partitions;
	int64	   *starts;			/* of start_at, or NULL: not asked for */
} IngestLog;

/* start may be NULL: then starts are not asked for.  palloc's. */
extern void tm_ingest_offsets_ask(const StreamOptions *options, KafkaConsumer *consumer,
								  const StreamStart *start, IngestLog *log);

/*
 * Make the rows of partitions that do not have one: at log->starts when there is
 * none yet, at the earliest offset for those that came later.  Waits for nobody
 * but others who do the same.
 */
extern void tm_ingest_offsets_insert(MetaIngest *ingest, const IngestLog *log);

/* All of that in the caller's transaction: for backends, not for workers. */
extern void tm_ingest_offsets_prepare(MetaIngest *ingest, const StreamOptions *options,
									  KafkaConsumer *consumer);

/* A start_at that names an offset which is not in the log yet: 22023. */
extern void tm_ingest_throw_beyond_end(int32 partition, int64 offset, int64 end)
			__attribute__((noreturn));

/*
 * Are these positions in the log, and is it the one that was read?  Throws 22003
 * or HV021 otherwise.  Asks the brokers; returns their cluster id, palloc'd.
 * name is the stream's, for messages.
 */
extern char *tm_ingest_offsets_check(const MetaIngest *ingest, const char *name,
									 const StreamOptions *options, KafkaConsumer *consumer,
									 const IngestLog *log, int n, const MetaPartition *partitions);

/* ---- ingest_anchor.c: is the topic still the one that was read? ---- */

/* A message that was applied. */
typedef struct IngestAnchor
{
	int32		partition;
	int64		offset;			/* -1 = none */
	int64		hash;
	TimestampTz timestamp;		/* DT_NOBEGIN = none */
} IngestAnchor;

/* What a worker does to notice a re-created topic; see the file's header. */
typedef struct IngestWatch
{
	KafkaConsumer *reader;		/* reads single messages */
	IngestAnchor anchor;
	int64		checked_at;		/* monotonic us: the last good check began */
	int64		good_for;		/* us */
	int64		disturbances;	/* of the consumer, then */
} IngestWatch;

/*
 * The last applied message of a partition, read again.  Throws HV021 when it is
 * another one; a warning when it is gone.
 */
extern void tm_ingest_anchor_check_partition(const StreamOptions *options, KafkaConsumer *reader,
											 const MetaPartition *p);

/* Begin with partitions that tm_ingest_offsets_check() has just passed. */
extern void tm_ingest_watch_begin(IngestWatch *watch, KafkaConsumer *reader, int n,
								  const MetaPartition *partitions);

/*
 * Before a batch that was gathered by consumer is applied: throws HV021 when the
 * topic is another one.  False when no check was due.
 */
extern bool tm_ingest_watch_check(IngestWatch *watch, const StreamOptions *options,
								  const KafkaConsumer *consumer, bool suspicious,
								  int timeout_ms);

/* The same now and then while nothing comes. */
extern bool tm_ingest_watch_is_idle_check_due(const IngestWatch *watch);
extern void tm_ingest_watch_check_idle(IngestWatch *watch, const StreamOptions *options,
									   const KafkaConsumer *consumer, int timeout_ms);

/* A batch whose last message is this one was applied. */
extern void tm_ingest_watch_advance(IngestWatch *watch, const KafkaMessage *last, bool checked);

/* ---- ingest_limits.c: the size of batches ---- */

/* Halved after a process that ran out of memory, for a while. */
typedef struct IngestLimits
{
	int			halvings;
	int64		next_growth;	/* monotonic us: take one of them back */
} IngestLimits;

/* At the start of a worker: also how much memory its plans may use. */
extern void tm_ingest_limits_init(IngestLimits *limits, const WorkerInfo *info);

/* Messages and bytes that a batch may have, at least 1. */
extern int	tm_ingest_limits_rows(const IngestLimits *limits, const StreamOptions *options);
extern size_t tm_ingest_limits_bytes(const IngestLimits *limits, const StreamOptions *options);

/* A batch was applied. */
extern void tm_ingest_limits_grow(IngestLimits *limits);

/* ---- ingest_backfill.c: history of a new view ---- */

/*
 * Fill a view over a manual stream from its positions, or from its start where
 * it has none, up to where its ingest stands.
 */
extern void tm_ingest_backfill_manual(MetaView *view);

/*
 * The position from which a new view reads a partition so that it applies it
 * from start on.  ingest: of the ingest there; NULL = it has none.
 */
extern MetaViewPartition tm_ingest_backfill_position(const MetaView *view,
													 const StreamOptions *options,
													 int32 partition, int64 start,
													 const MetaPartition *ingest);

/*
 * The position of a partition among n in its order, NULL when it is not there.
 * hint: that of the message before, or NULL; as a rule it is the same.
 */
extern MetaViewPartition *tm_ingest_backfill_find(MetaViewPartition *positions, int n,
												  int32 partition, MetaViewPartition *hint);

/*
 * Apply messages of the log to one view; as part of the caller's transaction.
 * The positions, in order of partitions: their largest event times follow, their
 * offsets are the caller's.
 */
extern void tm_ingest_backfill_apply(const MetaView *view, const StreamOptions *options,
									 const KafkaMessage *messages, int n,
									 MetaViewPartition *positions, int npositions);

/* ---- ingest_promote.c: views that follow the ingest from its start ---- */

/* Note the end offsets that make such views populated; at a worker's start. */
extern void tm_ingest_set_view_targets(Oid stream);

/*
 * Make those live that have reached them.  Are there any left that have not?
 */
extern bool tm_ingest_promote_views(Oid stream);

/* ---- ingest_wait.c ---- */

/* What a wait says when another session has dropped the view meanwhile. */
extern void tm_ingest_throw_view_dropped(void)
			__attribute__((noreturn));

/*
 * REFRESH: wait until the view is live and has reached the end offsets of now.
 * Throws when it cannot get there.
 */
extern void tm_ingest_wait_refresh(const MetaView *view);

/* ---- ingest_view.c: the engine behind CREATE, REFRESH, DROP of a view ---- */

/*
 * Is it of a copy (a restore, a template), over a table that no ingest fills, so
 * that no resume() of an ingest makes it ours?  Nothing has guarded its table.
 */
extern bool tm_ingest_view_is_unclaimed(const MetaView *view);

/* Fill or rebuild a view that is paused, failed or unclaimed. */
extern void tm_ingest_view_rebuild(MetaView *view);

/*
 * A live view over a stream stops following the ingest and keeps its position;
 * the caller writes the row and holds the locks of pause().
 */
extern void tm_ingest_view_detach(MetaView *view);

/* A paused view goes on: from its position, or rebuilt where it has none. */
extern void tm_ingest_view_resume(MetaView *view);

/* ---- ingest_control.c ---- */

/* Throw 42P01 when there is no such relation (any more). */
extern void tm_ingest_require_relation(Oid relid);

/* The same; and 42501 when it is not the caller's. */
extern void tm_ingest_require_owner(Oid relid);

/* Throw when it is no stream (42P01, 42809) or not the caller's (42501). */
extern void tm_ingest_require_stream(Oid stream);

/* Keep batches of a stream of the caller's out until the transaction ends; 27000 within one. */
extern void tm_ingest_lock_stream(Oid stream);

/* Start an ingest; checks are the caller's. */
extern MetaIngest *tm_ingest_create(Oid stream, Oid into_table, int workers,
									const char *start_at, bool implicit);

/* The manual stream's messages beyond its offsets, through the batch. */
extern void tm_ingest_catch_up_manual(Oid stream);

#endif							/* TM_INGEST_INTERNAL_H */
