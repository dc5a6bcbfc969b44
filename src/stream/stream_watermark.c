/*
 * stream_watermark.c
 *	  The event-time watermark of one partition: a pure step function.
 *
 * The watermark as of a row is the largest event time of the rows before it
 * minus watermark_delay; it never goes back.  Callers read it before they
 * advance it by the row.
 *
 * One wrong clock among the producers must not close every window: a row that
 * lies further in the future of its arrival than watermark_max_future keeps its
 * value and moves nothing.  Arrival is Kafka's timestamp, which everybody who
 * reads the message sees alike; of a message without one it is the time of
 * reading.
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

TimestampTz
tm_stream_watermark_arrival(const KafkaMessage *msg, TimestampTz read_at)
{
	return msg->has_timestamp ? msg->timestamp : read_at;
}

bool
tm_stream_watermark_advance(StreamWatermark *wm, TimestampTz event_time,
							TimestampTz arrival)
{
	TimestampTz limit;

	if (TIMESTAMP_NOT_FINITE(event_time))
		return true;
	/* a sum that leads beyond the last timestamp is no limit */
	if (wm->max_future != STREAM_NEVER && !TIMESTAMP_NOT_FINITE(arrival) &&
		!pg_add_s64_overflow(arrival, wm->max_future, &limit) &&
		event_time > limit)
		return false;
	if (TIMESTAMP_IS_NOBEGIN(wm->max_event_time) ||
		event_time > wm->max_event_time)
		wm->max_event_time = event_time;
	return true;
}
