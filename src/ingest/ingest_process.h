/*
 * ingest_process.h
 *	  The processes of tidemark: one launcher, a scheduler per database that has
 *	  the extension, workers for its streams and backfills.
 */
#ifndef TM_INGEST_PROCESS_H
#define TM_INGEST_PROCESS_H

/* Entry points that background workers are started with, by name. */
extern PGDLLEXPORT void tm_launcher_main(Datum arg);
extern PGDLLEXPORT void tm_scheduler_main(Datum arg);

/* Names of entry points elsewhere (ingest_worker.c, ingest_backfill.c). */
#define INGEST_WORKER_FUNCTION		"tm_ingest_worker_main"
#define INGEST_BACKFILL_FUNCTION	"tm_backfill_worker_main"
#define INGEST_PARTITIONING_FUNCTION "tm_partitioning_worker_main"

/*
 * Register the launcher with the postmaster; nothing in a binary upgrade.  For
 * _PG_init(), while shared_preload_libraries are loaded.
 */
extern void tm_ingest_register_launcher(void);

#endif							/* TM_INGEST_PROCESS_H */
