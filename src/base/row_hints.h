/*
 * row_hints.h
 *	  Where rows with many versions were last seen, by a hash of their keys.
 *
 * While a snapshot is held, a row that is written again and again has many
 * versions, and an index knows them by place, not by age.  The newest is as a
 * rule the last; where VACUUM has emptied pages meanwhile, it is anywhere.
 * Whoever had to look at many versions notes where the newest was; from there it
 * is a few steps to the newest of now, whoever wrote that.
 *
 * Hints are of one process.  A wrong one does no harm: what it leads to is a row
 * that the snapshot sees, and the caller compares the keys.
 */
#ifndef TM_ROW_HINTS_H
#define TM_ROW_HINTS_H

#include "access/tableam.h"

/* Whoever meets so many older versions of a row first takes, or gives, a hint. */
#define ROW_HINTS_OLDER 4

typedef struct RowHints RowHints;

/* 1 kB; grows to 768 kB at most (65536 rows), then rows take each other's places. */
extern RowHints *tm_row_hints_create(MemoryContext cxt);

extern void tm_row_hints_put(RowHints *hints, uint32 hash, ItemPointer tid);

/* The same for a row that is known already. */
extern void tm_row_hints_move(RowHints *hints, uint32 hash, ItemPointer tid);

/*
 * Leave in slot the version that the snapshot of scan (table_beginscan_tid())
 * sees of the row that was put, or of another one that has its place now.
 * False: none is known, or is to be seen.
 */
extern bool tm_row_hints_fetch(const RowHints *hints, uint32 hash, TableScanDesc scan,
							   TupleTableSlot *slot);

#endif							/* TM_ROW_HINTS_H */
