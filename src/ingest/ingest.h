/*
 * ingest.h
 *	  Door of the ingest room.  Its work is done by processes and SQL functions;
 *	  what the layer above needs is only to set it up.
 */
#ifndef TM_INGEST_H
#define TM_INGEST_H

#include "nodes/parsenodes.h"
#include "stream/stream.h"

/*
 * Register the launcher and become the engine of the view room.  Called once,
 * from _PG_init().
 */
extern void tm_ingest_init(void);

/* ---- what a statement means for ingests (ingest_ddl.c) ---- */

/* What was there before the statement. */
typedef struct IngestDdl
{
	Oid			stream;			/* being altered, else InvalidOid */
	StreamOptions *options;
} IngestDdl;

extern void tm_ingest_ddl_before(Node *stmt, IngestDdl *ddl);

/*
 * Check the definition of a new or altered stream; refuse changes that its
 * ingest or its views cannot follow (the transaction aborts).  After CREATE
 * EXTENSION tidemark wake the launcher.
 */
extern void tm_ingest_ddl_after(Node *stmt, const IngestDdl *ddl);

/*
 * A relation is about to be dropped: not a stream by its own batch, nor the
 * table or a view of it (27000).
 */
extern void tm_ingest_before_drop(Oid relid);

#endif							/* TM_INGEST_H */
