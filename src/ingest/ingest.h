/*
 * ingest.h
 *	  Door of the ingest room.  Its work is done by processes and SQL functions;
 *	  what the layer above needs is only to set it up.
 */
#ifndef TM_INGEST_H
#define TM_INGEST_H

/*
 * Register the launcher and become the engine of the view room.  Called once,
 * from _PG_init().
 */
extern void tm_ingest_init(void);

#endif							/* TM_INGEST_H */
