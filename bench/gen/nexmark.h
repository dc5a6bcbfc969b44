/*
 * nexmark.h
 *	  The events of the Nexmark auction house, byte for byte as
 *	  bench/nexmark/gen.py prints them.
 *
 * Every random decision of event n is drawn from a generator that is seeded
 * from (seed, n) alone, so that any event can be made without those before it.
 */
#ifndef NEXMARK_H
#define NEXMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No event is longer, as JSON. */
#define NEXMARK_MAX_LENGTH 4096

typedef enum NexmarkKind
{
	NEXMARK_PERSON,
	NEXMARK_AUCTION,
	NEXMARK_BID
} NexmarkKind;

typedef struct NexmarkChannel
{
	char		name[16];
	char		url[96];
} NexmarkChannel;

typedef struct Nexmark
{
	uint64_t	seed;
	int64_t		base_ms;		/* event time of event 0 */
	int64_t		rate;			/* events per second of event time */
	char		hot_urls[4][96];
	NexmarkChannel *channels;	/* NEXMARK_CHANNELS of them */
} Nexmark;

/* seed, base_ms and rate are set; fill in the rest. */
extern void nexmark_init(Nexmark *nexmark);

extern NexmarkKind nexmark_kind(int64_t n);
extern int64_t nexmark_time(const Nexmark *nexmark, int64_t n);

/* The auction of event n, a bid. */
extern int64_t nexmark_bid_auction(const Nexmark *nexmark, int64_t n);

/*
 * Write the members of event n as JSON, without the braces; returns the
 * length.  at_ms is a bid's date_time: nexmark_time(n), or the wall clock.
 */
extern size_t nexmark_event(const Nexmark *nexmark, int64_t n, int64_t at_ms,
							char *out);

/* `2015-07-15T00:00:00.000Z`; returns the end. */
extern char *nexmark_put_time(char *out, int64_t ms);

/*
 * How long event n is held back: 0, or with this probability 1 to late_ms.
 */
extern int64_t nexmark_delay(const Nexmark *nexmark, int64_t n,
							 double probability, int64_t late_ms);

#endif							/* NEXMARK_H */
