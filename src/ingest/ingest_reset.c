/*
 * ingest_reset.c
 *	  reset_ingest(): move the position of a paused or failed ingest forward.
 *
 * Runs in: backends.
 * Locks: ShareRowExclusiveLock on the stream, as every change of an ingest.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "ingest/ingest_internal.h"

PG_FUNCTION_INFO_V1(tm_reset_ingest);

/*
 * Was the topic re-created or truncated?  Then offsets mean something else and
 * any position is accepted.
 */
static bool
offsets_are_void(const MetaIngest *ingest, const MetaPartition *p, const StreamPartition *now)
{
	if (now->end < p->next_offset)
		return true;
	return tm_ingest_is_void(ingest);
}

static void
reset_partition(MetaIngest *ingest, MetaPartition *p, const StreamPartition *now, int64 target)
{
	int64		expected = p->next_offset;
	bool		is_void = offsets_are_void(ingest, p, now);

	if (target > now->end)
		tm_ingest_throw_beyond_end(p->partition, target, now->end);
	if (target == expected && !is_void)
		return;
	if (target < expected && !is_void)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot move partition %d back from offset %lld to %lld", p->partition,
						(long long) expected, (long long) target),
				 errdetail("Its messages would be applied twice."),
				 errhint("To replay, start an ingest of another stream on the topic into a new table.")));
	tm_meta_skipped_insert(ingest->stream, p->partition, expected, target, false);
	if (target > expected)
		p->skipped += target - expected;
	p->next_offset = target;
	p->end_offset = now->end;
	p->last_offset = -1;
	p->last_timestamp = DT_NOBEGIN;
	tm_meta_partition_save(ingest->stream, 1, p, &expected);
}

/* reset_ingest(stream, start_at) */
Datum
tm_reset_ingest(PG_FUNCTION_ARGS)
{
	Oid			stream = PG_GETARG_OID(0);
	char	   *start_at = text_to_cstring(PG_GETARG_TEXT_PP(1));
	StreamOptions *options;
	KafkaConsumer *consumer = NULL;
	MetaIngest *ingest;
	MetaPartition *partitions;
	StreamPartition *existing;
	int64	   *targets;
	int			npartitions;
	int			nexisting;

	PreventCommandDuringRecovery("tidemark.reset_ingest()");
	tm_ingest_require_stream(stream);
	tm_stream_check_start(start_at);
	tm_ingest_lock_stream(stream);
	options = tm_stream_get_options(stream);
	ingest = tm_meta_ingest_find(stream);
	if (ingest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream \"%s\" is not ingested", get_rel_name(stream)),
				 errhint("Use tidemark.start_ingest().")));
	if (ingest->state == META_RUNNING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ingest of stream \"%s\" is running", get_rel_name(stream)),
				 errhint("Use tidemark.pause() first.")));
	if (options->transport == STREAM_KAFKA)
		consumer = tm_stream_open_consumer(options, options->owner, 0, CurrentMemoryContext);
	nexisting = tm_stream_list_partitions(options, consumer, &existing);
	targets = palloc(sizeof(int64) * Max(nexisting, 1));
	tm_stream_resolve_start(options, consumer, start_at, nexisting, existing, targets);
	/* partitions that came since it stopped can be moved, too */
	tm_ingest_offsets_prepare(ingest, options, consumer);
	CommandCounterIncrement();
	partitions = tm_meta_partition_list(stream, &npartitions);
	for (int i = 0; i < npartitions; i++)
		for (int j = 0; j < nexisting; j++)
			if (existing[j].partition == partitions[i].partition && targets[j] != KAFKA_OFFSET_NONE)
				reset_partition(ingest, &partitions[i], &existing[j], targets[j]);
	if (consumer != NULL)
		tm_kafka_consumer_close(consumer);
	ingest->topic = options->topic;
	ingest->cluster_id = NULL;
	ingest->state = META_PAUSED;
	ingest->reason = pstrdup("position was reset");
	ingest->hint = pstrdup("tidemark.resume() continues at the new offsets.");
	ingest->sqlstate = NULL;
	ingest->since = tm_clock_now();
	tm_meta_ingest_update(ingest);
	PG_RETURN_VOID();
}
