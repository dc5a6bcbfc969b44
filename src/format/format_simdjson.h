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

#ifdef __cplusplus
#define TM_C_FUNCTION extern "C"
#define TM_NOEXCEPT noexcept
#else
#define TM_C_FUNCTION extern
#define TM_NOEXCEPT
#endif

/*
 * Is it UTF-8 (RFC 3629)?  Zero bytes may be in it.  Reads no byte outside of
 * them, allocates nothing.
 */
TM_C_FUNCTION bool tm_format_simdjson_is_utf8(const char *bytes, size_t len) TM_NOEXCEPT;

#endif							/* TM_FORMAT_SIMDJSON_H */
