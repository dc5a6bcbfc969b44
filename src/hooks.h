/*
 * hooks.h
 *	  Installation of the hooks.
 */
#ifndef TM_HOOKS_H
#define TM_HOOKS_H

/* Install all hooks.  Called once, from _PG_init(). */
extern void tm_hooks_install(void);

#endif							/* TM_HOOKS_H */
