/*
 * settings.h
 *	  All settings of tidemark.
 */
#ifndef TM_SETTINGS_H
#define TM_SETTINGS_H

extern bool tm_setting_enabled;
extern int	tm_setting_max_workers;
extern int	tm_setting_max_workers_per_database;
extern bool tm_setting_synchronous_commit;
extern int	tm_setting_worker_memory;	/* MB */
extern int	tm_setting_partition_check_interval;	/* ms */
extern int	tm_setting_restart_backoff_max; /* ms */
extern int	tm_setting_log_min_batch_duration;	/* ms, -1 = off */
extern bool tm_setting_read_unpopulated;

/* Define the settings.  Called once, from _PG_init(). */
extern void tm_settings_init(void);

/*
 * Set any setting of the server until the GUC nest level of the caller ends.
 * Costs next to nothing where it has that value already.
 */
extern void tm_setting_push(const char *name, const char *value);

#endif							/* TM_SETTINGS_H */
