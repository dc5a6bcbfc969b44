/*
 * ingest_alone.c
 *	  Work on a stream does not lead to other work on it within it.
 *
 * A batch runs code of users: input functions, triggers of the table and of
 * views of closed windows, expressions of views.  Such code may call inject()
 * on another stream, but on this one it would find offsets and views half-way
 * between two batches.
 *
 * Runs in: workers; backends.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "utils/lsyscache.h"

#include "ingest/ingest.h"
#include "ingest/ingest_internal.h"

/* What is at work, the innermost first; on the stack. */
typedef struct IngestWork
{
	Oid			stream;
	Oid			into_table;		/* or InvalidOid */
	struct IngestWork *outer;
} IngestWork;

static IngestWork *current = NULL;

void
tm_ingest_check_alone(Oid source)
{
	for (IngestWork *work = current; work != NULL; work = work->outer)
		if (source == work->stream || (OidIsValid(source) && source == work->into_table))
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("a batch of stream \"%s\" is being applied", get_rel_name(work->stream)),
					 errdetail("A function or trigger that the batch runs cannot change the stream or its views, nor wait for them.")));
}

void
tm_ingest_before_drop(Oid relid)
{
	char		relkind;
	MetaView   *view;

	if (current == NULL)
		return;
	tm_ingest_check_alone(relid);
	relkind = get_rel_relkind(relid);
	if (relkind != RELKIND_VIEW && relkind != RELKIND_RELATION)
		return;
	view = tm_meta_view_find_by_any(relid);
	if (view != NULL)
		tm_ingest_check_alone(view->source);
}

void
tm_ingest_run_alone(const MetaIngest *ingest, void (*step) (void *arg), void *arg)
{
	IngestWork	work = {ingest->stream, ingest->into_table, current};

	tm_ingest_check_alone(ingest->stream);
	current = &work;
	PG_TRY();
	{
		step(arg);
	}
	PG_FINALLY();
	{
		current = work.outer;
	}
	PG_END_TRY();
}
