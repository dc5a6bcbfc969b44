/*
 * stream_watermark.c
 *	  The event-time watermark of one partition: a pure step function.
 *
 * The watermark as of a row is the largest event time of the rows before it
 * minus watermark_delay; it never goes back.  Callers read it before they
 * advance it by the row.
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/timestamp.h"

#include "stream/stream.h"

TimestampTz
tm_stream_watermark_get(const StreamWatermark *wm)
{
	TimestampTz result;

	if (TIMESTAMP_NOT_FINITE(wm->max_event_time))
		return DT_NOBEGIN;

	/* a delay that leads before the first timestamp leads to that */
	if (pg_sub_s64_overflow(wm->max_event_time, wm->delay, &result) ||
		result < MIN_TIMESTAMP)
		return MIN_TIMESTAMP;
	return result;
}

void
tm_stream_watermark_advance(StreamWatermark *wm, TimestampTz event_time)
{
	if (TIMESTAMP_NOT_FINITE(event_time))
		return;
	if (TIMESTAMP_IS_NOBEGIN(wm->max_event_time) ||
		event_time > wm->max_event_time)
		wm->max_event_time = event_time;
}
