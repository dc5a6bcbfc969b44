/*
 * fault.h
 *	  Named places at which a test makes a process fail, stop or wait.
 *
 * Compiled only with -DTM_FAULT_POINTS (`make FAULTS=1`); a release build has
 * neither the points nor the setting.
 *
 * The setting tidemark.fault_points is a comma-separated list of
 *
 *		point:action[:n]
 *
 * where action is
 *		error	an ERROR of SQLSTATE XX000
 *		error-CODE	an ERROR of that SQLSTATE, e.g. error-53100
 *		kill	SIGKILL to the process itself
 *		panic	a PANIC
 *		wait	wait until the setting (re-read at SIGHUP) no longer names
 *				the point; pg_stat_activity.query says `waiting at fault point
 *				"POINT"`
 * and n (default 1) is the visit of the point, counted per process, at which
 * the action happens.  Points are named after the phases of a batch.
 */
#ifndef TM_FAULT_H
#define TM_FAULT_H

#ifdef TM_FAULT_POINTS
extern void tm_fault_init(void);
extern void tm_fault_visit(const char *point);
#define TM_FAULT(point) tm_fault_visit(point)
#else
#define TM_FAULT(point) ((void) 0)
#endif

#endif							/* TM_FAULT_H */
