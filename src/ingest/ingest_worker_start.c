/*
 * ingest_worker_start.c
 *	  How an ingest worker begins to read, and notices that it has to begin anew.
 *
 * Read the ingest, ask the brokers what there is and whether the topic is the
 * one that was read, make missing partition rows, assign.  The brokers are asked
 * between two transactions; when somebody has changed what was read meanwhile,
 * all is done again.
 *
 * Runs in: ingest workers.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/fault.h"
#include "base/settings.h"
#include "ingest/ingest_partitioning.h"
#include "ingest/ingest_worker.h"

#define BROKER_TIMEOUT_MS 10000
#define READER_QUEUE_KBYTES 4096

/* Set when the stream, its server or its user mapping changed: read anew. */
static bool definition_changed = false;

/* Set when the catalog of views changed. */
static bool views_changed = true;

static Oid	my_stream = InvalidOid;
static Oid	view_catalog = InvalidOid;

static void
on_relcache(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == my_stream)
		definition_changed = true;
	if (relid == InvalidOid || relid == view_catalog)
		views_changed = true;
}

static void
on_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	definition_changed = true;
}

void
tm_ingest_worker_watch(Oid stream)
{
	my_stream = stream;
	tm_worker_begin();
	view_catalog = tm_meta_view_catalog();
	tm_worker_commit();
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, on_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, on_syscache, (Datum) 0);
}

/*
 * Invalidations are read when a transaction starts, so this one does nothing
 * else.
 */
bool
tm_ingest_worker_notice(void)
{
	StartTransactionCommand();
	CommitTransactionCommand();
	return definition_changed;
}

bool
tm_ingest_worker_is_changed(void)
{
	return definition_changed;
}

void
tm_ingest_worker_set_changed(void)
{
	definition_changed = true;
}

bool
tm_ingest_worker_have_views_changed(void)
{
	bool		result = views_changed;

	views_changed = false;
	return result;
}

int64
tm_ingest_worker_next_check(void)
{
	return tm_clock_monotonic_us() + tm_setting_partition_check_interval * INT64CONST(1000);
}

/* Is this partition the work of this worker? */
static bool
owns_partition(const MetaIngest *ingest, int index, int32 partition)
{
	return partition % ingest->workers == index;
}

bool
tm_ingest_worker_is_wanted(const IngestWorker *worker, const MetaIngest *ingest)
{
	return ingest != NULL && ingest->state == META_RUNNING && worker->index < ingest->workers;
}

/* ---- start ---- */

/* What a worker knows about its ingest before it asks the brokers. */
typedef struct StartView
{
	MetaIngest *ingest;
	char	   *name;			/* of the stream */
	StreamStart *start;			/* NULL when there are positions already */
	int			npartitions;	/* of this worker */
	MetaPartition *partitions;
} StartView;

/* The worker's own partitions, as they are committed. */
static MetaPartition *
list_own_partitions(const IngestWorker *worker, const MetaIngest *ingest, int *count, int *nall)
{
	MetaPartition *all = tm_meta_partition_list(worker->stream, nall);

	*count = 0;
	for (int i = 0; i < *nall; i++)
		if (owns_partition(ingest, worker->index, all[i].partition))
			all[(*count)++] = all[i];
	return all;
}

/* A client that reads single messages: for the watch over the topic. */
static KafkaConsumer *
open_reader(const StreamOptions *options, MemoryContext cxt)
{
	KafkaConsumerOptions reader = {
		.properties = tm_stream_get_properties(options, options->owner),
		.topic = options->topic,
		.client_id = options->client_id,
		.read_committed = options->read_committed,
		.queued_kbytes = READER_QUEUE_KBYTES,
		.single = true
	};

	return tm_kafka_consumer_open(&reader, cxt);
}

/*
 * Read what is to be done, and make the clients.  False when the ingest is not
 * to run (any more).
 */
static bool
read_definition(IngestWorker *worker, StartView *view)
{
	bool		wanted;
	MemoryContext before;

	MemoryContextReset(worker->cxt);
	definition_changed = false;
	tm_worker_begin();
	before = MemoryContextSwitchTo(worker->cxt);
	view->ingest = tm_ingest_lock(worker->stream, AccessShareLock);
	wanted = tm_ingest_worker_is_wanted(worker, view->ingest);
	if (wanted)
	{
		int			nall;

		view->name = get_rel_name(worker->stream);
		view->partitions = list_own_partitions(worker, view->ingest, &view->npartitions, &nall);
		view->start = nall == 0 ? tm_stream_parse_start(view->ingest->start_at) : NULL;
		worker->options = tm_stream_get_options(worker->stream);
		worker->consumer = NULL;
		worker->watch.reader = open_reader(worker->options, worker->cxt);
	}
	MemoryContextSwitchTo(before);
	tm_worker_commit();
	return wanted;
}

/* Did nobody touch what was checked? */
static bool
is_unchanged(const StartView *view, const MetaIngest *ingest, int n, const MetaPartition *partitions)
{
	if (ingest->since != view->ingest->since || ingest->workers != view->ingest->workers)
		return false;
	for (int i = 0; i < n; i++)
	{
		int			k = 0;

		while (k < view->npartitions && view->partitions[k].partition != partitions[i].partition)
			k++;
		if (k < view->npartitions ?
			view->partitions[k].next_offset != partitions[i].next_offset ||
			view->partitions[k].last_offset != partitions[i].last_offset :
			partitions[i].last_offset >= 0)
			return false;
	}
	return true;
}

/* Remember where to start, and what the catalog says about it. */
static int64 *
init_positions(IngestWorker *worker, int n, const MetaPartition *partitions)
{
	int64	   *offsets = palloc(sizeof(int64) * Max(n, 1));

	worker->npartitions = n;
	worker->partitions = palloc(sizeof(int32) * Max(n, 1));
	worker->saved_end = palloc(sizeof(int64) * Max(n, 1));
	worker->saved_next = palloc(sizeof(int64) * Max(n, 1));
	worker->stored_next = palloc(sizeof(int64) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		worker->partitions[i] = partitions[i].partition;
		worker->saved_end[i] = partitions[i].end_offset;
		worker->saved_next[i] = worker->stored_next[i] = offsets[i] = partitions[i].next_offset;
	}
	tm_ingest_watch_begin(&worker->watch, worker->watch.reader, n, partitions);
	return offsets;
}

/* Tell it once, by the first worker. */
static void
warn_emptied(const IngestWorker *worker, const MetaIngest *ingest)
{
	int			n;
	MetaPartition *partitions;
	int64		rows = 0;

	if (worker->index != 0 || !worker->options->lose_rows_on_crash ||
		!OidIsValid(ingest->into_table))
		return;
	partitions = tm_meta_partition_list(worker->stream, &n);
	for (int i = 0; i < n; i++)
		rows += partitions[i].rows;
	if (rows > 0 && tm_store_is_emptied(ingest->into_table))
		ereport(WARNING,
				(errmsg("table \"%s\" is empty after %lld rows were stored",
						get_rel_name(ingest->into_table), (long long) rows),
				 errdetail("PostgreSQL empties unlogged tables after a crash. Continuous views over the stream are not affected.")));
}

typedef enum StartOutcome
{
	START_DONE,
	START_AGAIN,				/* somebody changed it meanwhile */
	START_NOT_WANTED,
} StartOutcome;

/* Write down what the brokers said.  *offsets: where to start. */
static StartOutcome
save_start(IngestWorker *worker, const StartView *view, const IngestLog *log,
		   const char *cluster_id, int64 **offsets)
{
	StartOutcome outcome = START_NOT_WANTED;
	MetaIngest *ingest;
	MetaPartition *mine;
	MemoryContext before;
	int			n;
	int			nall;

	tm_worker_begin();
	before = MemoryContextSwitchTo(worker->cxt);
	ingest = tm_ingest_lock(worker->stream, AccessShareLock);
	if (tm_ingest_worker_is_wanted(worker, ingest))
	{
		tm_ingest_offsets_insert(ingest, log);
		mine = list_own_partitions(worker, ingest, &n, &nall);
		outcome = is_unchanged(view, ingest, n, mine) ? START_DONE : START_AGAIN;
	}
	if (outcome == START_DONE)
	{
		if (ingest->cluster_id == NULL)
			tm_meta_ingest_set_cluster(ingest->stream, cluster_id);
		worker->workers = ingest->workers;
		worker->nall = nall;
		worker->name = view->name;
		warn_emptied(worker, ingest);
		*offsets = init_positions(worker, n, mine);
		worker->consumer = tm_stream_open_consumer(worker->options, worker->options->owner,
												   Max(n, 1), worker->cxt);
		/* what was idle may have messages since: that is to be proved again */
		tm_meta_partition_end_idleness(worker->stream, worker->npartitions, worker->partitions);
		tm_ingest_set_view_targets(worker->stream);
	}
	MemoryContextSwitchTo(before);
	if (outcome == START_AGAIN)
		AbortCurrentTransaction();
	else
		tm_worker_commit();
	return outcome;
}

/*
 * Find out where to start, and assign.  The brokers are asked between two
 * transactions, so that none is open while they do not answer.  False when the
 * ingest is not to run (any more).
 */
bool
tm_ingest_worker_start(IngestWorker *worker)
{
	StartOutcome outcome = START_AGAIN;
	int64	   *offsets = NULL;

	while (outcome == START_AGAIN && tm_worker_continue())
	{
		StartView	view = {0};
		IngestLog	log;
		MemoryContext before;
		char	   *cluster_id;

		if (!read_definition(worker, &view))
			return false;
		tm_partitioning_ensure(view.ingest->into_table);
		before = MemoryContextSwitchTo(worker->cxt);
		tm_ingest_offsets_ask(worker->options, worker->watch.reader, view.start, &log);
		cluster_id = tm_ingest_offsets_check(view.ingest, view.name, worker->options,
											 worker->watch.reader, &log,
											 view.npartitions, view.partitions);
		MemoryContextSwitchTo(before);
		TM_FAULT("checked");
		outcome = save_start(worker, &view, &log, cluster_id, &offsets);
	}
	if (outcome != START_DONE)
		return false;
	worker->has_unpopulated = true;
	tm_kafka_consumer_assign(worker->consumer, worker->npartitions, worker->partitions, offsets);
	TM_FAULT("assigned");
	worker->idleness = tm_ingest_idle_create(worker->npartitions, worker->partitions, worker->cxt);
	tm_ingest_pace_begin(&worker->pace, worker->options, worker->npartitions, worker->nall);
	worker->shed = tm_ingest_shed_create(worker->npartitions, worker->cxt);
	worker->next_check = tm_ingest_worker_next_check();
	worker->next_save = 0;
	worker->next_clock = 0;
	worker->batch_due = 0;
	worker->check_watermark = worker->workers > 1;
	worker->idle = true;
	return true;
}
