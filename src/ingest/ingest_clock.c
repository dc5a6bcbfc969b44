/*
 * ingest_clock.c
 *	  What time it is for a stream, and set_clock(): the time of manual streams.
 *
 * A test of event time must say itself when a minute has passed.  So the
 * streams that have no broker may have a clock of their own: it stamps
 * ingest_time, is now() as the timestamp of a message, and decides when a
 * partition is idle.  Streams from Kafka always live in real time.
 *
 * The clock belongs to the owner of the streams, so nobody moves that of
 * somebody else; a superuser sets one for all.  It may go back; what has
 * become of watermarks and windows does not.
 *
 * Runs in: backends, in the caller's transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "ingest/ingest_internal.h"

PG_FUNCTION_INFO_V1(tm_set_clock);

TimestampTz
tm_ingest_now(const StreamOptions *options)
{
	TimestampTz now = DT_NOBEGIN;

	if (options->transport == STREAM_MANUAL)
		now = tm_meta_clock_get(options->owner);
	return TIMESTAMP_IS_NOBEGIN(now) ? tm_clock_now() : now;
}

/* Partitions become idle, and watermarks follow the clock. */
static void
pass_time(Oid stream)
{
	StreamOptions *options;
	MetaIngest *ingest;

	if (!tm_stream_is_stream(stream))
		return;					/* dropped a moment ago */
	options = tm_stream_get_options(stream);
	if (options->transport != STREAM_MANUAL ||
		(options->owner != GetUserId() && !superuser()))
		return;
	ingest = tm_ingest_lock(stream, RowExclusiveLock);
	if (ingest != NULL && ingest->state == META_RUNNING)
		tm_ingest_idle_manual(ingest, options);
}

/* set_clock(now) */
Datum
tm_set_clock(PG_FUNCTION_ARGS)
{
	TimestampTz now = PG_ARGISNULL(0) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(0);
	ListCell   *lc;

	if (!PG_ARGISNULL(0) && TIMESTAMP_NOT_FINITE(now))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("clock cannot be set to infinity"),
				 errhint("Give a moment, or NULL for real time.")));
	if (superuser())
		tm_meta_clock_set_all(now);
	else
		tm_meta_clock_set(GetUserId(), now);
	CommandCounterIncrement();
	foreach(lc, tm_meta_ingest_list())
	{
		CHECK_FOR_INTERRUPTS();
		pass_time(((MetaIngest *) lfirst(lc))->stream);
	}
	PG_RETURN_VOID();
}
