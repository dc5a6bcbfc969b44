/*
 * stream_parallel.c
 *	  What the participants of a parallel scan share: the pieces of the log
 *	  that are to be read, and what each of them has met.
 *
 * The leader asks for the end offsets once and divides what lies before them
 * into pieces, ranges of offsets of one partition, so all participants read
 * the same snapshot of the log and each message once.  A participant claims a
 * group of pieces by one atomic increment, reads them to their ends with a
 * client of its own, and claims the next group.
 *
 * A group is about half of a participant's share: smaller ones would balance
 * better, but each costs a fetch to begin with and what the client library has
 * fetched beyond its end.  So a piece is a whole partition where that spreads
 * well enough, and small partitions are read together.  A larger partition is
 * divided, so that skew, or a topic with one partition, keeps everybody busy;
 * but not for the watermark column, because the watermark of a row counts the
 * rows before it.
 *
 * Pieces are claimed in the order of partition and offset.  Therefore the first
 * bad message that a participant meets is the first of all that it meets, and
 * the least of these is the first in the log.
 *
 * What a worker has met lies in its slot.  It writes the totals after each
 * chunk; the first bad message before it is counted; which members were absent
 * once, at its end, before judged is set.  The leader reads them when the
 * workers have ended, or, when it stops early, while they run: then it gets
 * what is known.
 *
 * Locks: none.  claimed, stopped and the slots' totals are atomic; everything
 * else in StreamShared is written by the leader while there are no workers.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "storage/shmem.h"

#include "stream/stream_internal.h"

#define GROUPS_PER_PARTICIPANT	2

/* Written by one worker, read by the leader. */
typedef struct StreamSlot
{
	pg_atomic_uint32 attached;
	pg_atomic_uint32 finished;	/* it found nothing left to claim */
	pg_atomic_uint32 judged;	/* members are valid */
	pg_atomic_uint64 messages;
	pg_atomic_uint64 values;
	pg_atomic_uint64 bytes;
	pg_atomic_uint64 bad;
	int32		partition;		/* these three: of the first, if bad > 0 */
	int64		offset;
	FormatError error;
	StreamMember members[FLEXIBLE_ARRAY_MEMBER];
} StreamSlot;

struct StreamShared
{
	pg_atomic_uint32 claimed;
	pg_atomic_uint32 stopped;	/* the leader needs no more rows */
	int			nslots;
	int			nmembers;
	Size		slot_size;
	int			capacity;		/* of pieces, and of groups */
	int			npieces;
	int			ngroups;
	StreamPiece pieces[FLEXIBLE_ARRAY_MEMBER];	/* then the first piece of
												 * each group; then the slots */
};

static Size
pieces_size(int capacity)
{
	return MAXALIGN(add_size(offsetof(StreamShared, pieces),
							 mul_size(capacity, sizeof(StreamPiece) + sizeof(int))));
}

static int *
get_groups(StreamShared *shared)
{
	return (int *) (shared->pieces + shared->capacity);
}

static StreamSlot *
get_slot(StreamShared *shared, int i)
{
	Assert(i >= 0 && i < shared->nslots);
	return (StreamSlot *) ((char *) shared + pieces_size(shared->capacity) +
						   i * shared->slot_size);
}

static Size
slot_size(int nmembers)
{
	return MAXALIGN(add_size(offsetof(StreamSlot, members),
							 mul_size(nmembers, sizeof(StreamMember))));
}

/* ---- pieces ---- */

int
tm_stream_max_pieces(int nranges, int nparticipants)
{
	return nranges + GROUPS_PER_PARTICIPANT * nparticipants;
}

int
tm_stream_divide(const StreamPiece *ranges, int nranges, int nparticipants,
				 int64 min_messages, bool whole, StreamPiece **pieces)
{
	int64		total = 0;
	int64		group = 0;
	int64		limit;
	int			n = 0;

	for (int i = 0; i < nranges; i++)
		total += ranges[i].to - ranges[i].from;
	limit = Max(total / (GROUPS_PER_PARTICIPANT * nparticipants) + 1, min_messages);

	*pieces = palloc_array(StreamPiece, tm_stream_max_pieces(nranges, nparticipants));
	for (int i = 0; i < nranges; i++)
	{
		int64		from = ranges[i].from;
		int64		length = ranges[i].to - from;
		int64		parts = whole ? 1 : 1 + (length - 1) / limit;

		for (int64 part = 1; part <= parts; part++)
		{
			StreamPiece *piece = &(*pieces)[n++];

			piece->partition = ranges[i].partition;
			piece->from = from;
			piece->to = part < parts ? from + length / parts : ranges[i].to;
			from = piece->to;

			/* no two of one partition: they could not be read together */
			group += piece->to - piece->from;
			piece->begins_group = n == 1 || part > 1 || group > limit;
			if (piece->begins_group)
				group = piece->to - piece->from;
		}
	}
	return n;
}

/* ---- the leader ---- */

Size
tm_stream_shared_size(int capacity, int nworkers, int nmembers)
{
	return add_size(pieces_size(capacity),
					mul_size(nworkers, slot_size(nmembers)));
}

void
tm_stream_shared_init(StreamShared *shared, int capacity, int nworkers,
					  int nmembers)
{
	pg_atomic_init_u32(&shared->claimed, 0);
	pg_atomic_init_u32(&shared->stopped, 0);
	shared->nslots = nworkers;
	shared->nmembers = nmembers;
	shared->slot_size = slot_size(nmembers);
	shared->capacity = capacity;
	for (int i = 0; i < nworkers; i++)
	{
		StreamSlot *slot = get_slot(shared, i);

		memset(slot, 0, shared->slot_size);
		pg_atomic_init_u32(&slot->attached, 0);
		pg_atomic_init_u32(&slot->finished, 0);
		pg_atomic_init_u32(&slot->judged, 0);
		pg_atomic_init_u64(&slot->messages, 0);
		pg_atomic_init_u64(&slot->values, 0);
		pg_atomic_init_u64(&slot->bytes, 0);
		pg_atomic_init_u64(&slot->bad, 0);
	}
	shared->npieces = 0;
	shared->ngroups = 0;
}

bool
tm_stream_shared_set_pieces(StreamShared *shared, const StreamPiece *pieces,
							int npieces)
{
	/* empties the slots, too */
	tm_stream_shared_init(shared, shared->capacity, shared->nslots,
						  shared->nmembers);
	if (npieces > shared->capacity)
		return false;
	memcpy(shared->pieces, pieces, npieces * sizeof(StreamPiece));
	shared->npieces = npieces;
	for (int i = 0; i < npieces; i++)
	{
		if (pieces[i].begins_group)
			get_groups(shared)[shared->ngroups++] = i;
	}
	return true;
}

void
tm_stream_shared_stop(StreamShared *shared)
{
	pg_atomic_write_u32(&shared->stopped, 1);
}

/* Take over what a worker knows about absent members. */
static void
merge_members(StreamShared *shared, StreamSlot *slot, StreamMember *members)
{
	bool		judged = pg_atomic_read_u32(&slot->judged) != 0;

	pg_read_barrier();
	for (int i = 0; i < shared->nmembers; i++)
	{
		/* who has not told may have seen them all */
		if (!judged)
			members[i].absent = false;
		else if (!slot->members[i].absent)
			members[i].absent = false;
		else if (members[i].near_miss[0] == '\0')
			strlcpy(members[i].near_miss, slot->members[i].near_miss,
					sizeof(members[i].near_miss));
	}
}

void
tm_stream_shared_collect(StreamShared *shared, StreamScanCounters *counters,
						 StreamFindings *findings, StreamMember *members)
{
	for (int i = 0; i < shared->nslots; i++)
	{
		StreamSlot *slot = get_slot(shared, i);
		StreamFindings found = {0};

		if (pg_atomic_read_u32(&slot->attached) == 0)
			continue;
		found.finished = pg_atomic_read_u32(&slot->finished) != 0;
		found.messages = pg_atomic_read_u64(&slot->messages);
		found.values = pg_atomic_read_u64(&slot->values);
		found.bad = pg_atomic_read_u64(&slot->bad);
		pg_read_barrier();
		if (found.bad > 0)
		{
			found.partition = slot->partition;
			found.offset = slot->offset;
			found.error = slot->error;
		}
		counters->messages += found.messages;
		counters->bytes += pg_atomic_read_u64(&slot->bytes);
		counters->skipped += found.bad;
		tm_stream_findings_merge(findings, &found);
		if (found.values > 0)
			merge_members(shared, slot, members);
	}
}

/* ---- all participants ---- */

int
tm_stream_shared_claim(StreamShared *shared, const StreamPiece **pieces)
{
	const int  *groups = get_groups(shared);
	uint32		i;

	if (tm_stream_shared_is_stopped(shared))
		return 0;
	i = pg_atomic_fetch_add_u32(&shared->claimed, 1);
	if (i >= (uint32) shared->ngroups)
		return 0;
	*pieces = &shared->pieces[groups[i]];
	return (i + 1 < (uint32) shared->ngroups ? groups[i + 1] : shared->npieces) - groups[i];
}

bool
tm_stream_shared_is_empty(StreamShared *shared)
{
	return pg_atomic_read_u32(&shared->claimed) >= (uint32) shared->ngroups;
}

bool
tm_stream_shared_is_stopped(StreamShared *shared)
{
	return pg_atomic_read_u32(&shared->stopped) != 0;
}

/* ---- workers ---- */

void
tm_stream_shared_attach(StreamShared *shared, int worker, int *nparticipants,
						int *npieces)
{
	*nparticipants = shared->nslots + 1;
	*npieces = shared->npieces;
	pg_atomic_write_u32(&get_slot(shared, worker)->attached, 1);
}

void
tm_stream_shared_publish(StreamShared *shared, int worker,
						 const StreamScanCounters *counters,
						 const StreamFindings *findings)
{
	StreamSlot *slot = get_slot(shared, worker);

	if (findings->bad > 0 && pg_atomic_read_u64(&slot->bad) == 0)
	{
		slot->partition = findings->partition;
		slot->offset = findings->offset;
		slot->error = findings->error;
		pg_write_barrier();
	}
	pg_atomic_write_u64(&slot->bad, findings->bad);
	pg_atomic_write_u64(&slot->messages, findings->messages);
	pg_atomic_write_u64(&slot->values, findings->values);
	pg_atomic_write_u64(&slot->bytes, counters->bytes);
	if (findings->finished)
		pg_atomic_write_u32(&slot->finished, 1);
}

void
tm_stream_shared_publish_members(StreamShared *shared, int worker,
								 const StreamMember *members)
{
	StreamSlot *slot = get_slot(shared, worker);

	if (pg_atomic_read_u32(&slot->judged) != 0)
		return;
	memcpy(slot->members, members, shared->nmembers * sizeof(StreamMember));
	pg_write_barrier();
	pg_atomic_write_u32(&slot->judged, 1);
}
