/*
 * ingest_store.h
 *	  Raw rows into a table, as COPY stores them.
 */
#ifndef TM_INGEST_STORE_H
#define TM_INGEST_STORE_H

#include "utils/rel.h"

#include "stream/stream.h"

/*
 * How stream columns fill a table: by name.  Prepared once per ingest and
 * thrown away when the relcache of either changes.
 */
typedef struct StoreTarget StoreTarget;

/*
 * Prepare storing rows of stream's layout into table, in cxt.  The caller holds
 * RowExclusiveLock on the table and runs as the table's owner.
 * A stream column the table lacks is not stored; a table column the stream
 * lacks takes its default.  Types must match exactly or be binary coercible or
 * have an assignment cast, else 42804.
 */
extern StoreTarget *tm_store_open(Relation table, Relation stream, MemoryContext cxt);

/* Attribute numbers of the stream that storing reads (offset as in Bitmapset of Vars). */
extern Bitmapset *tm_store_needed(const StoreTarget *target);

/*
 * Names (char *) of stream columns that the table does not have: for the NOTICE.
 */
extern List *tm_store_unstored(const StoreTarget *target);

/*
 * Store rows[from .. to - 1]: defaults, generated columns, constraints, table
 * partitions, indexes and triggers as COPY treats them; table_multi_insert
 * wherever COPY would use it.  AFTER triggers have run when it returns.
 * When stored is not NULL, the rows as stored are appended to it in the
 * table's layout (root table's layout for a partitioned one; rows that a
 * BEFORE trigger suppressed are left out), with message and watermark copied.
 * Throws what the table throws.
 */
extern void tm_store_rows(StoreTarget *target, const StreamRows *rows, int from, int to,
						  StreamRows *stored);

/*
 * The same for all rows, with refused rows found by repeating in halves under
 * internal subtransactions.  refuse is called for each refused row with the
 * error (copied, in the caller's context); SEMANTICS.md says which classes are
 * refusals, all others are thrown.
 */
typedef void (*StoreRefuse) (const StreamRows *rows, int row, ErrorData *error, void *arg);

extern void tm_store_rows_guarded(StoreTarget *target, const StreamRows *rows,
								  StreamRows *stored, StoreRefuse refuse, void *arg);

#endif							/* TM_INGEST_STORE_H */
