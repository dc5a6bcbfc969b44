/*
 * server.h
 *	  As much of the server as decoding takes, for programs of its own.
 */
#ifndef SERVER_H
#define SERVER_H

extern int	server_encoding;

/* What is allocated until now stays; what comes later goes at each reset. */
extern void server_keep(void);
extern void server_reset(void);

#endif							/* SERVER_H */
