/*
 * format_simdjson.h
 *	  What of simdjson is used, as functions of C.
 *
 * The file behind it is C++.  It knows no header of PostgreSQL's and calls none
 * of its functions, so no longjmp() passes a frame of C++; and it throws nothing.
 */
#ifndef TM_FORMAT_SIMDJSON_H
#define TM_FORMAT_SIMDJSON_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Is it UTF-8 (RFC 3629)?  Zero bytes may be in it.  Reads no byte outside of
 * them, allocates nothing.
 */
#ifdef __cplusplus
extern "C"
#endif
bool		tm_format_simdjson_is_utf8(const char *bytes, size_t len);

#endif							/* TM_FORMAT_SIMDJSON_H */
