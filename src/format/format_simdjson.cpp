/*
 * format_simdjson.cpp
 *	  The one place where simdjson is called.
 *
 * The library chooses at run time what the processor can do (AVX-512, AVX2,
 * SSE4.2, NEON, ...).
 */
#include <simdjson.h>

#include "format/format_simdjson.h"

bool
tm_format_simdjson_is_utf8(const char *bytes, size_t len)
{
	return simdjson::validate_utf8(bytes, len);
}
