/*
 * worker_sql.c
 *	  tidemark_state.worker_status(): the slots of this database as rows.
 *
 * Runs in: every backend.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "worker/worker.h"

PG_FUNCTION_INFO_V1(tm_worker_status);

#define STATUS_COLUMNS	22

static const char *const role_names[] = {
	[WORKER_SCHEDULER] = "scheduler",
	[WORKER_INGEST] = "ingest",
	[WORKER_BACKFILL] = "backfill",
	[WORKER_PARTITIONING] = "partitioning",
};

static const char *const state_names[] = {
	[WORKER_STATE_WANTED] = "wanted",
	[WORKER_STATE_STARTING] = "starting",
	[WORKER_STATE_RUNNING] = "running",
	[WORKER_STATE_BACKOFF] = "backoff",
};

static const char *const phase_names[] = {
	[WORKER_PHASE_POLL] = "poll",
	[WORKER_PHASE_DECODE] = "decode",
	[WORKER_PHASE_STORE] = "store",
	[WORKER_PHASE_MAINTAIN] = "maintain",
	[WORKER_PHASE_COMMIT] = "commit",
	[WORKER_PHASE_WAIT] = "wait",
	[WORKER_PHASE_LOOK] = "look",
};

/* A row as it is filled, column by column. */
typedef struct StatusRow
{
	int			n;
	Datum		values[STATUS_COLUMNS];
	bool		nulls[STATUS_COLUMNS];
} StatusRow;

static void
add_datum(StatusRow *row, bool isnull, Datum value)
{
	Assert(row->n < STATUS_COLUMNS);
	row->values[row->n] = value;
	row->nulls[row->n] = isnull;
	row->n++;
}

static void
add_text(StatusRow *row, const char *text)
{
	bool		isnull = text == NULL || text[0] == '\0';

	add_datum(row, isnull, isnull ? (Datum) 0 : CStringGetTextDatum(text));
}

static void
add_time(StatusRow *row, TimestampTz time)
{
	add_datum(row, time == 0, TimestampTzGetDatum(time));
}

/*
 * A message may quote what a user's function or a Kafka message said, so it is
 * for those who may read the stream or the state of the view.
 */
static bool
may_read_message(const WorkerInfo *info)
{
	bool		missing = false;

	if (info->role == WORKER_SCHEDULER ||
		has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return true;
	return pg_class_aclcheck_ext(info->object, GetUserId(), ACL_SELECT,
								 &missing) == ACLCHECK_OK && !missing;
}

static void
fill_row(StatusRow *row, const WorkerInfo *info)
{
	bool		running = info->state == WORKER_STATE_RUNNING;
	bool		trouble = info->message[0] != '\0';

	row->n = 0;
	add_datum(row, info->pid == 0, Int32GetDatum(info->pid));
	add_text(row, role_names[info->role]);
	add_datum(row, !OidIsValid(info->object), ObjectIdGetDatum(info->object));
	add_datum(row, false, Int32GetDatum(info->index));
	add_text(row, state_names[info->state]);
	add_text(row, running ? phase_names[info->phase] : NULL);
	add_time(row, info->started_at);
	add_time(row, info->state_since);
	add_text(row, trouble ? unpack_sql_state(info->sqlstate) : NULL);
	add_time(row, trouble ? info->trouble_since : 0);
	add_text(row, may_read_message(info) ? info->message : NULL);
	add_text(row, trouble && may_read_message(info) ? info->hint : NULL);
	add_datum(row, false, Int32GetDatum(info->failures));
	add_datum(row, running, TimestampTzGetDatum(info->next_start));
	add_datum(row, false, Int64GetDatum(info->batches));
	for (int i = 0; i < WORKER_NPHASES; i++)
		add_datum(row, info->batches == 0, Int64GetDatum(info->phase_us[i]));
	add_datum(row, false, Float8GetDatum(info->rows_per_second));
	add_time(row, info->last_commit);
	Assert(row->n == STATUS_COLUMNS);
}

Datum
tm_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	WorkerInfo *infos;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	infos = tm_worker_slot_list(MyDatabaseId, &count);
	for (int i = 0; i < count; i++)
	{
		StatusRow	row;

		fill_row(&row, &infos[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values,
							 row.nulls);
	}
	return (Datum) 0;
}
