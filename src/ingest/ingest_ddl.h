/*
 * ingest_ddl.h
 *	  What a statement means for ingests: called around every utility statement.
 */
#ifndef TM_INGEST_DDL_H
#define TM_INGEST_DDL_H

#include "nodes/parsenodes.h"
#include "stream/stream.h"

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

#endif							/* TM_INGEST_DDL_H */
