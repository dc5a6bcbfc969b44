/*
 * meta_internal.h
 *	  Prepared statements on the extension's tables, and direct access to some
 *	  of their rows, for the meta room only.
 */
#ifndef TM_META_INTERNAL_H
#define TM_META_INTERNAL_H

#include "access/genam.h"
#include "access/htup.h"
#include "access/skey.h"
#include "executor/spi.h"
#include "executor/tuptable.h"

#include "meta/meta.h"

#define META_MAX_ARGS 20

/*
 * One statement, prepared at first use and kept for the life of the process.
 * Static variables of the files of this room.
 */
typedef struct MetaStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[META_MAX_ARGS];
	bool		read_only;		/* a SELECT under the caller's active snapshot */
	SPIPlanPtr	plan;
} MetaStatement;

/*
 * Run a statement as the extension's owner.  Between begin and end the result
 * is in SPI_tuptable; what the caller keeps it copies in the context that
 * begin() found (switched back to).  nulls as in SPI: NULL or 'n' per null.
 * Returns the number of rows.
 */
typedef struct MetaExecution
{
	MetaIdentity identity;
	MemoryContext caller;
} MetaExecution;

extern uint64 tm_meta_statement_begin(MetaStatement *statement, Datum *values,
									  const char *nulls, MetaExecution *execution);
extern void tm_meta_statement_end(const MetaExecution *execution);

/* Both at once, for statements without a result. */
extern uint64 tm_meta_statement_run(MetaStatement *statement, Datum *values,
									const char *nulls);

/* Columns of the result (1-based), copied into the current context. */
extern Oid	tm_meta_get_oid(uint64 row, int column);
extern int64 tm_meta_get_int64(uint64 row, int column, int64 if_null);
extern int32 tm_meta_get_int32(uint64 row, int column);
extern bool tm_meta_get_bool(uint64 row, int column);
extern char *tm_meta_get_text(uint64 row, int column);
extern TimestampTz tm_meta_get_timestamp(uint64 row, int column);
extern List *tm_meta_get_text_list(uint64 row, int column);

/* Parameters. */
extern Datum tm_meta_text(const char *text, char *null);
extern Datum tm_meta_timestamp(TimestampTz time, char *null);
extern Datum tm_meta_oid(Oid oid, char *null);
extern Datum tm_meta_text_array(List *texts);

/*
 * Rows that every batch writes, by primary key: (regclass) or (regclass,
 * integer).  The versions that other snapshots keep cost little (meta_row.c).
 */
#define META_ROWS_MAX_KEYS 2

typedef enum MetaRowsUse
{
	META_ROWS_SEEN,				/* as the active snapshot sees them */
	META_ROWS_READ,				/* what is committed (in REPEATABLE READ: was
								 * at the snapshot), or done by this
								 * transaction */
	META_ROWS_WRITE,			/* the same, to be locked and written */
} MetaRowsUse;

typedef struct MetaRows
{
	MetaRowsUse use;
	Relation	rel;
	Relation	index;
	int			nkeys;
	Snapshot	snapshot;
	IndexScanDesc scan;
	TableScanDesc by_place;		/* or NULL: there are no hints */
	ScanKeyData keys[META_ROWS_MAX_KEYS];
	TupleTableSlot *row;		/* the one that was found */

	/* of a list: */
	Oid			object;
	int32		last;			/* number of the row before; -1 = none */
} MetaRows;

extern void tm_meta_rows_open(MetaRows *rows, const char *table, MetaRowsUse use);
extern void tm_meta_rows_close(MetaRows *rows);

/* number: of tables with two keys. */
extern bool tm_meta_rows_find(MetaRows *rows, Oid object, int32 number);

/* All rows of an object, the largest number first; false = no more. */
extern void tm_meta_rows_list(MetaRows *rows, Oid object);
extern bool tm_meta_rows_previous(MetaRows *rows);

/*
 * Lock the row that was found against other writers (as FOR NO KEY UPDATE
 * does), in its last version, which is the row found then.  False: it is gone.
 * 40001 in REPEATABLE READ if it was changed since the snapshot.
 */
extern bool tm_meta_rows_lock(MetaRows *rows);

/*
 * Replace columns of the row that was found.  The caller has locked it, or
 * excludes other writers otherwise; 40001 if it was changed nevertheless, or in
 * REPEATABLE READ before that.
 */
extern void tm_meta_rows_update(MetaRows *rows, int n, int *columns, Datum *values,
								const char *nulls);

/* Columns of the row that was found (1-based). */
extern int32 tm_meta_row_int32(const MetaRows *rows, int column);
extern int64 tm_meta_row_int64(const MetaRows *rows, int column, int64 if_null);
extern TimestampTz tm_meta_row_timestamp(const MetaRows *rows, int column);

/* Why an ingest or a view does not run; NULL = it does (meta_failure.c). */
extern void tm_meta_failure_put(Oid relation, const char *reason, const char *hint);

extern const char *tm_meta_state_name(MetaState state);
extern MetaState tm_meta_state_parse(const char *name);

#endif							/* TM_META_INTERNAL_H */
