/*
 * meta_internal.h
 *	  Prepared statements on the extension's tables, for the meta room only.
 */
#ifndef TM_META_INTERNAL_H
#define TM_META_INTERNAL_H

#include "access/htup.h"
#include "executor/spi.h"

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

/* Why an ingest or a view does not run; NULL = it does (meta_failure.c). */
extern void tm_meta_failure_put(Oid relation, const char *reason, const char *hint);

extern const char *tm_meta_state_name(MetaState state);
extern MetaState tm_meta_state_parse(const char *name);

#endif							/* TM_META_INTERNAL_H */
