/*
 * ingest_close.c
 *	  After a batch, the views over its source close the windows that the
 *	  stream's watermark has passed, and tell who listens.
 *
 * A bounded number of groups per commit: a batch that leaves some asks for
 * another one.  A view that has just taken in the history of a table or of a
 * manual stream closes what is passed already before it is live.
 *
 * Runs in: workers; backends that call inject() or create a view.
 * Locks: those of the views, in order of state table.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "ingest/ingest_internal.h"
#include "maintain/maintain.h"
#include "view/view.h"

/* Groups that one commit closes, and in each view if there are many. */
#define CLOSE_LIMIT		2000
#define CLOSE_LIMIT_MIN	250

/* One view at work. */
typedef struct CloseStep
{
	TimestampTz watermark;
	int			limit;
	bool		closes;
	bool		notifies;
	bool		more;			/* out */
} CloseStep;

static void
close_view(MetaView *view, void *arg)
{
	CloseStep  *step = arg;

	if (step->closes && !TIMESTAMP_IS_NOBEGIN(step->watermark))
		step->more = tm_maintain_close(view, step->watermark, step->limit);
	if (step->notifies)
		tm_maintain_notify(view, step->watermark);
}

static int
compare_views(const ListCell *a, const ListCell *b)
{
	Oid			left = ((MetaView *) lfirst(a))->state_table;
	Oid			right = ((MetaView *) lfirst(b))->state_table;

	return left < right ? -1 : left > right;
}

/* Options of all views, in their order. */
static ContinuousOptions *
read_options(const List *views)
{
	ContinuousOptions *options = palloc(sizeof(ContinuousOptions) * Max(list_length(views), 1));

	for (int i = 0; i < list_length(views); i++)
		tm_view_read_options(((MetaView *) list_nth(views, i))->options, &options[i]);
	return options;
}

/* The share of a view in what one commit closes. */
static int
limit_per_view(const ContinuousOptions *options, int nviews)
{
	int			n = 0;

	for (int i = 0; i < nviews; i++)
		n += VIEW_CLOSES(&options[i]);
	return Max(CLOSE_LIMIT / Max(n, 1), CLOSE_LIMIT_MIN);
}

bool
tm_ingest_close_views(List *views, TimestampTz watermark, bool careful)
{
	List	   *ordered = list_copy(views);
	CloseStep	step = {.watermark = watermark};
	ContinuousOptions *options;
	bool		more = false;
	ListCell   *lc;

	list_sort(ordered, compare_views);
	options = read_options(ordered);
	step.limit = limit_per_view(options, list_length(ordered));
	foreach(lc, ordered)
	{
		MetaView   *view = lfirst(lc);

		step.closes = VIEW_CLOSES(&options[foreach_current_index(lc)]);
		step.notifies = options[foreach_current_index(lc)].notify != NULL;
		if (view->state == META_FAILED || !(step.closes || step.notifies))
			continue;
		CHECK_FOR_INTERRUPTS();
		step.more = false;
		if (!careful)
			close_view(view, &step);
		else
			tm_ingest_view_guarded(view, close_view, &step);
		more |= step.more && view->state != META_FAILED;
	}
	return more;
}

void
tm_ingest_close_passed(const MetaView *view)
{
	MetaIngest *ingest = tm_stream_is_stream(view->source) ?
	tm_meta_ingest_find(view->source) : tm_meta_ingest_find_by_table(view->source);
	ContinuousOptions options;
	TimestampTz watermark;

	tm_view_read_options(view->options, &options);
	if (ingest == NULL || !VIEW_CLOSES(&options))
		return;
	watermark = tm_ingest_stored_watermark(ingest->stream);
	if (TIMESTAMP_IS_NOBEGIN(watermark))
		return;
	while (tm_maintain_close(view, watermark, CLOSE_LIMIT))
		CHECK_FOR_INTERRUPTS();
}
