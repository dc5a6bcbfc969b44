/*
 * ingest_store_internal.h
 *	  What the files of the store share: the prepared mapping, and where in
 *	  the storing of a row an error was raised.
 */
#ifndef TM_INGEST_STORE_INTERNAL_H
#define TM_INGEST_STORE_INTERNAL_H

#include "ingest/ingest_store.h"

/*
 * How one table column gets its value: as it comes from the stream (source
 * only), through a cast whose input is a CaseTestExpr (source and expr), from
 * its default (expr only), or NULL (neither; dropped and generated columns).
 * Expressions are not planned: they are planned per call, so that changed
 * functions and domains are seen.
 */
typedef struct StoreColumn
{
	AttrNumber	source;			/* in the stream, or InvalidAttrNumber */
	Node	   *expr;
} StoreColumn;

struct StoreTarget
{
	Oid			relid;
	bool		may_lose;		/* rows, in unlogged tables */
	MemoryContext cxt;			/* owns everything here */
	int			natts;			/* of the table, as are columns and wanted */
	StoreColumn *columns;
	bool	   *wanted;			/* copied into stored rows; NULL = all */
	Bitmapset  *needed;
	List	   *unstored;
};

/* What this process is doing with a row, or was doing when it failed. */
typedef enum StorePhase
{
	STORE_PHASE_TABLE,
	STORE_PHASE_TRIGGER,
} StorePhase;

extern StorePhase tm_store_get_phase(void);

/*
 * Would this table partition keep rows as the offsets are kept?  0A000 if it is
 * unlogged, temporary or a foreign table.
 */
extern void tm_store_check_partition(char relkind, char persistence, const char *name,
									 bool may_lose);

#endif							/* TM_INGEST_STORE_INTERNAL_H */
