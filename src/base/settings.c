/*
 * settings.c
 *	  All settings of tidemark as one flat list.
 *
 * Runs in: every process.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/settings.h"

bool		tm_setting_enabled = true;
int			tm_setting_max_workers = 8;
int			tm_setting_max_workers_per_database = 0;
bool		tm_setting_synchronous_commit = false;
int			tm_setting_worker_memory = 512;
int			tm_setting_partition_check_interval = 60000;
int			tm_setting_restart_backoff_max = 30000;
int			tm_setting_log_min_batch_duration = -1;
bool		tm_setting_read_unpopulated = false;

void
tm_settings_init(void)
{
	DefineCustomBoolVariable("tidemark.enabled",
							 "Runs the ingest workers.",
							 "When off, workers finish their batch and exit, and nothing restarts until it is on.",
							 &tm_setting_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tidemark.log_min_batch_duration",
							"Logs batches that take at least this long; -1 turns it off.",
							NULL,
							&tm_setting_log_min_batch_duration, -1, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("tidemark.max_workers",
							"Largest number of ingest and backfill workers of the server.",
							"Each needs one of max_worker_processes, and so do the launcher and one scheduler per database.",
							&tm_setting_max_workers, 8, 1, 1024,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tidemark.max_workers_per_database",
							"Largest number of ingest and backfill workers of one database; 0 means no limit.",
							NULL,
							&tm_setting_max_workers_per_database, 0, 0, 1024,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tidemark.partition_check_interval",
							"Time between two looks at whether a topic has more partitions.",
							NULL,
							&tm_setting_partition_check_interval, 60000, 100, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("tidemark.read_unpopulated",
							 "Lets queries read continuous views that are not populated yet.",
							 NULL,
							 &tm_setting_read_unpopulated, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tidemark.restart_backoff_max",
							"Longest pause before a failed worker is started again.",
							NULL,
							&tm_setting_restart_backoff_max, 30000, 100, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("tidemark.synchronous_commit",
							 "Makes workers wait for WAL to reach disk at commit.",
							 "When off, a crash may take back the last batches; Kafka then gives them again.",
							 &tm_setting_synchronous_commit, false,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tidemark.worker_memory",
							"Memory that one worker may use for messages, rows and groups.",
							NULL,
							&tm_setting_worker_memory, 512, 64, MAX_KILOBYTES / 1024,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
}

/* What equals is not set again: some settings read a file for it. */
void
tm_setting_push(const char *name, const char *value)
{
	const char *now = GetConfigOption(name, true, false);

	if (now == NULL || strcmp(now, value) != 0)
		(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
}
