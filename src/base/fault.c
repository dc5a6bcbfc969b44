/*
 * fault.c
 *	  Named places at which a test makes a process fail, stop or wait.
 *
 * Runs in: every process of a build with fault points; empty otherwise.
 */
#include "postgres.h"

#ifdef TM_FAULT_POINTS
#include <signal.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "base/fault.h"

#define MAX_POINTS 16

/* One entry of the setting, with the visits this process has made. */
typedef struct FaultPoint
{
	char		name[64];
	char		action[32];
	int			at_visit;
	int			visits;
} FaultPoint;

static char *fault_points_setting = NULL;
static FaultPoint points[MAX_POINTS];
static int	npoints = 0;

/* Parse the setting into points[]; entries that do not parse are dropped. */
static void
assign_fault_points(const char *newval, void *extra)
{
	const char *p = newval ? newval : "";

	npoints = 0;
	while (*p && npoints < MAX_POINTS)
	{
		FaultPoint *point = &points[npoints];
		char		entry[128];
		size_t		len = strcspn(p, ",");

		strlcpy(entry, p, Min(len + 1, sizeof(entry)));
		point->at_visit = 1;
		point->visits = 0;
		if (sscanf(entry, " %63[^:]:%31[^:]:%d", point->name, point->action,
				   &point->at_visit) >= 2)
			npoints++;
		p += len;
		if (*p == ',')
			p++;
	}
}

void
tm_fault_init(void)
{
	DefineCustomStringVariable("tidemark.fault_points",
							   "Points at which a test makes a process fail.",
							   NULL, &fault_points_setting, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE,
							   NULL, assign_fault_points, NULL);
}

static FaultPoint *
find_point(const char *name)
{
	for (int i = 0; i < npoints; i++)
		if (strcmp(points[i].name, name) == 0)
			return &points[i];
	return NULL;
}

/* What a test has just set counts from the next point on, not from the next batch. */
static void
read_settings(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Wait until a reload of the configuration removes the point. */
static void
wait_for_release(const char *name)
{
	char		activity[96];

	snprintf(activity, sizeof(activity), "waiting at fault point \"%s\"", name);
	pgstat_report_activity(STATE_RUNNING, activity);
	while (find_point(name) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 10L, TM_WAIT_EVENT);
		ResetLatch(MyLatch);
		read_settings();
	}
	pgstat_report_activity(STATE_RUNNING, "");
}

void
tm_fault_visit(const char *name)
{
	FaultPoint *point;

	read_settings();
	point = find_point(name);
	if (point == NULL || ++point->visits != point->at_visit)
		return;
	if (strcmp(point->action, "kill") == 0)
		kill(getpid(), SIGKILL);
	else if (strcmp(point->action, "panic") == 0)
		elog(PANIC, "fault point \"%s\"", name);
	else if (strcmp(point->action, "wait") == 0)
		wait_for_release(name);
	else if (strncmp(point->action, "error-", 6) == 0 &&
			 strlen(point->action) == 11)
	{
		const char *s = point->action + 6;

		ereport(ERROR,
				(errcode(MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4])),
				 errmsg("fault point \"%s\"", name)));
	}
	else
		elog(ERROR, "fault point \"%s\"", name);
}
#endif							/* TM_FAULT_POINTS */
