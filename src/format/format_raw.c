/*
 * format_raw.c
 *	  Bytes of a key or of a raw value to bytea, text, json or jsonb.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "format/format_internal.h"

bool
tm_format_accepts_bytes(Oid type)
{
	return type == BYTEAOID || type == TEXTOID || type == JSONOID ||
		type == JSONBOID;
}

/* Is it valid UTF-8 without a zero byte?  *value gets the flags of text. */
static bool
check_text(const char *bytes, size_t len, FormatValue *value,
		   FormatError *error)
{
	int			valid = tm_format_utf8_length(bytes, len);

	if (valid < (int) len)
	{
		tm_format_bad(error, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
					  "bytes are not valid UTF-8 text at byte %d, near \"%s\"",
					  valid + 1,
					  tm_format_excerpt(bytes + valid, Min(len - valid, 8)));
		return false;
	}
	value->start = bytes;
	value->end = bytes + len;
	value->kind = FORMAT_VALUE_ABSENT;
	value->flags = 0;
	for (size_t i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(bytes[i]))
		{
			value->flags = FORMAT_VALUE_HIGH;
			break;
		}
	return true;
}

FormatResult
tm_format_convert_bytes(const char *bytes, size_t len, Oid type, bool guarded,
						Datum *value, FormatError *error)
{
	FormatScan	scan = {0};
	FormatInput input = {.base_typmod = -1};
	FormatDecoder decoder = {.current = -1};
	FormatValue whole;
	Oid			function;

	Assert(bytes != NULL && tm_format_accepts_bytes(type));
	if (len > MaxAllocSize / 2)
		return tm_format_bad(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
							 "%zu bytes are too long for one value", len);
	if (type == BYTEAOID)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(bytes, len));
		return FORMAT_OK;
	}
	input.conversion = FORMAT_TO_TEXT;
	if (type == TEXTOID)
	{
		if (!check_text(bytes, len, &whole, error))
			return FORMAT_BAD;
	}
	else if (!tm_format_scan(&scan, bytes, len, NULL, &whole, error))
		return FORMAT_BAD;
	if (type == JSONOID)
	{
		/* with the space around it, as json_in() keeps it */
		whole.kind = FORMAT_VALUE_ABSENT;
		whole.start = bytes;
		whole.end = bytes + len;
	}
	if (type == JSONBOID)
		input.conversion = FORMAT_TO_JSONB;
	if (type == JSONBOID || tm_format_needs_transcoding(&whole))
	{
		getTypeInputInfo(type, &function, &input.ioparam);
		fmgr_info(function, &input.input);
	}
	return input.conversion == FORMAT_TO_JSONB
		? tm_format_convert_json(&decoder, &input, &whole, guarded, true,
								 value, error)
		: tm_format_convert_text(&decoder, &input, &whole, guarded, true,
								 value, error);
}
