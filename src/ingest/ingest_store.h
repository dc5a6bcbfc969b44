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
 * May raw rows be stored in this relation?  It must be a permanent plain or
 * partitioned table of the user's, and its table partitions permanent, too, and
 * no foreign tables: 42809 or 0A000 with a hint otherwise.  may_lose: they may
 * be unlogged as long as no continuous view reads the table.  No privilege is
 * checked, no lock is taken.
 */
extern void tm_store_check_table(Oid relid, bool may_lose);

/*
 * Is the table unlogged, or a table partition of it, and nothing in any of them?
 */
extern bool tm_store_is_emptied(Oid relid);

/*
 * Prepare storing rows of stream's layout into table, in cxt.  The caller holds
 * RowExclusiveLock on the table and runs as the table's owner.
 * A stream column the table lacks is not stored; a table column the stream
 * lacks takes its default.  Types must match exactly or be binary coercible or
 * have an assignment cast, else 42804; a stream column cannot fill a generated
 * column: 42P10.  Checks the table as tm_store_check_table does (may_lose as
 * the stream's option says), and the privilege to INSERT.
 */
extern StoreTarget *tm_store_open(Relation table, Relation stream, MemoryContext cxt);

/* Attribute numbers of the stream that storing reads (offset as in Bitmapset of Vars). */
extern Bitmapset *tm_store_needed(const StoreTarget *target);

/*
 * Names (char *) of stream columns that the table does not have: for the NOTICE.
 */
extern List *tm_store_unstored(const StoreTarget *target);

/*
 * Columns of the table (attribute numbers, offset as in Bitmapset of Vars) that
 * somebody reads from the stored rows; the others are NULL there.  NULL = all,
 * as after opening.
 */
extern void tm_store_set_wanted(StoreTarget *target, const Bitmapset *wanted);

/*
 * Store rows[from .. to - 1]: defaults, generated columns, constraints, table
 * partitions, indexes and triggers as COPY treats them; table_multi_insert
 * wherever COPY would use it.  AFTER triggers have run when it returns.
 * When stored is not NULL, the rows as stored are appended to it in the
 * table's layout (root table's layout for a partitioned one; rows that a
 * BEFORE trigger suppressed are left out), with message and watermark copied.
 * Virtual generated columns are NULL in it.
 *
 * Runs under a snapshot of its own and ends with a command counter increment.
 * Executor state is made in the current context and released on return; after
 * an error the caller resets that context.  Throws what the table throws.
 */
extern void tm_store_rows(StoreTarget *target, const StreamRows *rows, int from, int to,
						  StreamRows *stored);

/*
 * Does the error, just thrown by tm_store_rows, mean that the table refuses a
 * row?  True for classes 22, 23, 54 and P0, and for anything raised inside a
 * trigger; never for classes 08, 40, 53, 55, 57 and 58.
 */
extern bool tm_store_is_refusal(const ErrorData *error);

/*
 * The same for all rows, with refused rows found by repeating in halves under
 * internal subtransactions.  refuse is called for each refused row with the
 * error (copied, in the caller's context) after the rows before it were stored;
 * when it returns false, the rows behind are not stored.  What is no refusal is
 * thrown, with no subtransaction left open.
 */
typedef bool (*StoreRefuse) (const StreamRows *rows, int row, ErrorData *error, void *arg);

extern void tm_store_rows_guarded(StoreTarget *target, const StreamRows *rows,
								  StreamRows *stored, StoreRefuse refuse, void *arg);

#endif							/* TM_INGEST_STORE_H */
