/*
 * ingest_worker.h
 *	  Shared by the files that make up the ingest worker (ingest_worker.c,
 *	  ingest_worker_start.c).
 */
#ifndef TM_INGEST_WORKER_H
#define TM_INGEST_WORKER_H

#include "ingest/ingest_internal.h"

/* What of max_rate this worker may use: see ingest_pace.c. */
typedef struct IngestPace
{
	bool		limited;
	double		per_us;			/* messages */
	double		due;			/* may be applied now */
	double		most;			/* that may be due */
	double		quantum;		/* worth a batch */
	int64		updated;		/* monotonic us */
} IngestPace;

/* What is left out: see ingest_shed.c. */
typedef struct IngestShed IngestShed;

typedef struct IngestWorker
{
	Oid			stream;
	int			index;
	MemoryContext cxt;			/* lives as long as the assignment */
	MemoryContext batch_cxt;	/* reset after each batch */
	MemoryContext error_cxt;	/* survives the abort of a transaction */
	char	   *name;			/* of the stream */
	StreamOptions *options;
	KafkaConsumer *consumer;
	IngestWatch watch;			/* over the topic */
	int			workers;		/* that the partitions are split among */
	int			npartitions;
	int			nall;			/* partitions of all workers */
	int32	   *partitions;
	int64	   *saved_end;		/* end offsets in the catalog, by partition */
	int64	   *saved_next;		/* and positions that were saved */
	int64	   *stored_next;	/* and what the catalog has made of them: less
								 * where control records are yet to be passed */
	int64		next_check;		/* monotonic us: look for new partitions */
	int64		next_save;
	int64		batch_due;		/* monotonic us: not before, unless it is full */
	bool		idle;			/* nothing came for a while */
	IngestIdle *idleness;		/* of the partitions */
	IngestPace	pace;
	IngestShed *shed;
	bool		check_watermark;	/* others may have saved at the same time */
	int64		next_clock;		/* monotonic us: let the watermark follow time */
	bool		troubled;
	bool		has_unpopulated;	/* views to be promoted */
	bool		more;			/* the last batch left windows to close */
	IngestLimits batch_limits;
} IngestWorker;

/* ---- ingest_worker_start.c ---- */

/*
 * Notice changes of the stream and of the set of views from now on; in a
 * transaction.
 */
extern void tm_ingest_worker_watch(Oid stream);

/*
 * Take in what other sessions have committed.  True: the stream, its server or
 * its user mapping changed since tm_ingest_worker_start(), so start again.
 */
extern bool tm_ingest_worker_notice(void);

/* The same without taking in anything; and say so. */
extern bool tm_ingest_worker_is_changed(void);
extern void tm_ingest_worker_set_changed(void);

/* Did a view come, go or change since this was last asked?  True at first. */
extern bool tm_ingest_worker_have_views_changed(void);

/* When to look for new partitions again: monotonic us. */
extern int64 tm_ingest_worker_next_check(void);

/* Is a worker of this share still to run? */
extern bool tm_ingest_worker_is_wanted(const IngestWorker *worker, const MetaIngest *ingest);

/*
 * Find out where to start, and assign.  False when the ingest is not to run (any
 * more).
 */
extern bool tm_ingest_worker_start(IngestWorker *worker);

/* ---- ingest_pace.c: max_rate ---- */

/* A worker that reads npartitions of nall begins. */
extern void tm_ingest_pace_begin(IngestPace *pace, const StreamOptions *options,
								 int npartitions, int nall);

/*
 * How many messages may be gathered for a batch, up to most; 0 = wait.  Those
 * that are applied are to be spent.
 */
extern int	tm_ingest_pace_room(IngestPace *pace, int most);
extern int64 tm_ingest_pace_wait_us(const IngestPace *pace);
extern void tm_ingest_pace_spend(IngestPace *pace, int count);

/* ---- ingest_shed.c: shed_above_lag ---- */

extern IngestShed *tm_ingest_shed_create(int n, MemoryContext cxt);

/*
 * Set shed_to where a partition will be too far behind after the batch.  True:
 * somewhere.  May ask brokers, outside of transactions, for half a second at most.
 */
extern bool tm_ingest_shed_decide(IngestShed *shed, const StreamOptions *options,
								  KafkaConsumer *consumer, int n, IngestPosition *positions);

/*
 * A batch with these positions has committed: let the consumer follow, and say in
 * the log when leaving out begins and ends.
 */
extern void tm_ingest_shed_done(IngestShed *shed, const char *name, const StreamOptions *options,
								KafkaConsumer *consumer, int n, const IngestPosition *positions);

#endif							/* TM_INGEST_WORKER_H */
