/*
 * meta_applied.c
 *	  Which messages of its stream a view holds, across the tables that say so.
 *
 * A view that follows the ingest stands where the ingest stands, a view with
 * positions of its own where those are.  It starts at its own start if it has
 * one, else where the ingest began.  A range that was skipped concerns a view
 * only if it followed the ingest at the time: its own next offset, which stays
 * as it was when the view joined, tells.  That offset is another one when it
 * joins again, so the ranges until then are kept when it leaves.
 *
 * Everything is read under the caller's snapshot, so that it agrees with the
 * state that the same snapshot shows.
 *
 * Runs in: backends.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "meta/meta_internal.h"

static MetaRange *
list_ranges(MetaStatement *statement, Oid state_table, int *count)
{
	MetaExecution execution;
	Datum		values[1] = {ObjectIdGetDatum(state_table)};
	MetaRange  *result;
	uint64		n;

	n = tm_meta_statement_begin(statement, values, NULL, &execution);
	result = palloc0(sizeof(MetaRange) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		result[i].partition = tm_meta_get_int32(i, 1);
		result[i].from = tm_meta_get_int64(i, 2, 0);
		result[i].to = tm_meta_get_int64(i, 3, 0);
		result[i].max_event_time = tm_meta_get_timestamp(i, 4);
	}
	tm_meta_statement_end(&execution);
	*count = (int) n;
	return result;
}

MetaRange *
tm_meta_view_list_applied(Oid state_table, int *count)
{
	static MetaStatement statement = {
		.sql = "SELECT p.partition, coalesce(o.start_offset, p.first_offset), p.next_offset, "
		"o.start_max_event_time "
		"FROM tidemark_state.view v JOIN tidemark_state.partition p ON p.stream = v.source "
		"LEFT JOIN tidemark_state.view_partition o "
		"ON o.state_table = v.state_table AND o.partition = p.partition "
		"WHERE v.state_table = $1 AND NOT v.own_offsets "
		"UNION ALL "
		"SELECT o.partition, o.start_offset, o.next_offset, o.start_max_event_time "
		"FROM tidemark_state.view v JOIN tidemark_state.view_partition o USING (state_table) "
		"WHERE v.state_table = $1 AND v.own_offsets "
		"ORDER BY 1",
		.nargs = 1,
		.argtypes = {OIDOID},
		.read_only = true
	};

	return list_ranges(&statement, state_table, count);
}

/* What its ingest has left out while the view of $1 followed it, since the last time. */
#define SKIPPED_FROM_WHERE \
	"FROM tidemark_state.view v JOIN tidemark_state.skipped_range s ON s.stream = v.source " \
	"LEFT JOIN tidemark_state.view_partition o " \
	"ON o.state_table = v.state_table AND o.partition = s.partition " \
	"WHERE v.state_table = $1 AND NOT v.own_offsets " \
	"AND (o.next_offset IS NULL OR s.from_offset >= o.next_offset) "

MetaRange *
tm_meta_view_list_skipped(Oid state_table, int *count)
{
	static MetaStatement statement = {
		.sql = "SELECT s.partition, s.from_offset, s.to_offset, NULL::timestamptz, s.recorded_at "
		SKIPPED_FROM_WHERE
		"UNION ALL "
		"SELECT partition, from_offset, to_offset, NULL::timestamptz, recorded_at "
		"FROM tidemark_state.view_skipped_range WHERE state_table = $1 "
		"ORDER BY 1, 5, 2",
		.nargs = 1,
		.argtypes = {OIDOID},
		.read_only = true
	};

	return list_ranges(&statement, state_table, count);
}

void
tm_meta_view_keep_skipped(Oid state_table)
{
	static MetaStatement statement = {
		.sql = "INSERT INTO tidemark_state.view_skipped_range "
		"(state_table, partition, from_offset, to_offset, recorded_at) "
		"SELECT v.state_table, s.partition, s.from_offset, s.to_offset, s.recorded_at "
		SKIPPED_FROM_WHERE,
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		values[1] = {ObjectIdGetDatum(state_table)};

	tm_meta_statement_run(&statement, values, NULL);
}

static int
compare_ranges(const void *a, const void *b)
{
	const MetaRange *left = a;
	const MetaRange *right = b;

	if (left->partition != right->partition)
		return left->partition < right->partition ? -1 : 1;
	return left->from < right->from ? -1 : left->from > right->from;
}

MetaRange *
tm_meta_stream_list_quiet(Oid stream, int *count)
{
	static MetaStatement statement = {
		.sql = "SELECT partition, 0::bigint, first_offset, NULL::timestamptz, NULL::timestamptz AS at "
		"FROM tidemark_state.partition WHERE stream = $1 "
		"UNION ALL "
		"SELECT partition, from_offset, to_offset, NULL::timestamptz, recorded_at "
		"FROM tidemark_state.skipped_range WHERE stream = $1 "
		"UNION ALL "
		"SELECT partition, kafka_offset, kafka_offset + 1, NULL::timestamptz, recorded_at "
		"FROM tidemark_state.replayed WHERE stream = $1 "
		"ORDER BY 1, 5 NULLS FIRST, 2",
		.nargs = 1,
		.argtypes = {OIDOID},
		.read_only = true
	};
	MetaRange  *ranges = list_ranges(&statement, stream, count);
	int			n = 0;

	for (int i = 0; i < *count; i++)
	{
		if (ranges[i].to > ranges[i].from)
			ranges[n++] = ranges[i];
		else if (ranges[i].to < ranges[i].from)
			while (n > 0 && ranges[n - 1].partition == ranges[i].partition)
				n--;
	}
	qsort(ranges, n, sizeof(MetaRange), compare_ranges);
	*count = n;
	return ranges;
}

bool
tm_meta_range_contains(const MetaRange *ranges, int n, int32 partition, int64 offset)
{
	MetaRange	key = {.partition = partition,.from = offset};
	int			low = 0;

	/* how many ranges begin at the offset or before it */
	while (low < n)
	{
		int			middle = low + (n - low) / 2;

		if (compare_ranges(&ranges[middle], &key) <= 0)
			low = middle + 1;
		else
			n = middle;
	}
	return low > 0 && ranges[low - 1].partition == partition && offset < ranges[low - 1].to;
}
