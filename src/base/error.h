/*
 * error.h
 *	  Which errors say something about the data, and which about the moment.
 */
#ifndef TM_ERROR_H
#define TM_ERROR_H

#include "utils/elog.h"

/*
 * Infrastructure: connections, conflicts, memory, disk, locks, shutdown,
 * transaction ids used up.  Nothing is wrong with the data; try again later.
 */
extern bool tm_error_is_transient(const ErrorData *error);

#endif							/* TM_ERROR_H */
