/*
 * format_utf8.c
 *	  Verify UTF-8.
 *
 * simdjson does it several times as fast as the server (bench/README.md,
 * "Decode"), where the build has it; whatever it refuses, the server's function
 * judges, which says where the error is.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "format/format_internal.h"
#ifdef TM_WITH_SIMDJSON
#include "format/format_simdjson.h"
#endif

int
tm_format_utf8_length(const char *bytes, int len)
{
#ifdef TM_WITH_SIMDJSON
	/* a zero byte is fine for simdjson, but ends text here */
	if (tm_format_simdjson_is_utf8(bytes, len) && memchr(bytes, 0, len) == NULL)
		return len;
#endif
	return pg_encoding_verifymbstr(PG_UTF8, bytes, len);
}
