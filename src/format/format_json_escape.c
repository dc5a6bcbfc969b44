/*
 * format_json_escape.c
 *	  Escapes in JSON strings: check them, and undo them.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "format/format_internal.h"

#define IS_DIGIT(c) ((unsigned char) ((c) - '0') <= 9)

static inline bool
parse_hex4(const char *p, const char *end, unsigned *code)
{
	unsigned	result = 0;

	if (end - p < 4)
		return false;
	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];

		result <<= 4;
		if (IS_DIGIT(c))
			result |= c - '0';
		else if (c >= 'a' && c <= 'f')
			result |= c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			result |= c - 'A' + 10;
		else
			return false;
	}
	*code = result;
	return true;
}

static inline bool
is_high_surrogate(unsigned code)
{
	return code >= 0xD800 && code <= 0xDBFF;
}

static inline bool
is_low_surrogate(unsigned code)
{
	return code >= 0xDC00 && code <= 0xDFFF;
}

const char *
tm_format_scan_escape(FormatScan *scan, const char *p, unsigned *flags)
{
	unsigned	code;
	unsigned	low;

	*flags |= FORMAT_VALUE_ESCAPED;
	if (p >= scan->end)
		return tm_format_scan_fail(scan, p, NULL);
	switch (*p)
	{
		case '"':
		case '\\':
		case '/':
		case 'b':
		case 'f':
		case 'n':
		case 'r':
		case 't':
			return p + 1;
		case 'u':
			break;
		default:
			return tm_format_scan_fail(scan, p, "invalid escape");
	}
	if (!parse_hex4(++p, scan->end, &code))
		return tm_format_scan_fail(scan, p, "invalid escape");
	p += 4;
	if (code == 0)
		*flags |= FORMAT_VALUE_ZERO_ESCAPE;
	else if (is_high_surrogate(code) && scan->end - p >= 6 &&
			 p[0] == '\\' && p[1] == 'u' &&
			 parse_hex4(p + 2, scan->end, &low) && is_low_surrogate(low))
	{
		*flags |= FORMAT_VALUE_HIGH;
		p += 6;
	}
	else if (is_high_surrogate(code) || is_low_surrogate(code))
		*flags |= FORMAT_VALUE_LONE_SURROGATE;
	else if (code >= 0x80)
		*flags |= FORMAT_VALUE_HIGH;
	return p;
}

/* Append a character to UTF-8 text; returns the place behind it. */
static char *
append_utf8(char *out, unsigned code)
{
	unicode_to_utf8(code, (unsigned char *) out);
	return out + (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
}

size_t
tm_format_unescape(const FormatValue *value, char *out)
{
	const char *p = value->start;
	char	   *start = out;

	while (p < value->end)
	{
		const char *escape = memchr(p, '\\', value->end - p);
		size_t		n = (escape ? escape : value->end) - p;
		unsigned	code = 0;
		unsigned	low = 0;

		memcpy(out, p, n);
		out += n;
		if (escape == NULL)
			break;
		p = escape + 2;
		switch (escape[1])
		{
			case 'b':
				*out++ = '\b';
				break;
			case 'f':
				*out++ = '\f';
				break;
			case 'n':
				*out++ = '\n';
				break;
			case 'r':
				*out++ = '\r';
				break;
			case 't':
				*out++ = '\t';
				break;
			case 'u':
				(void) parse_hex4(p, value->end, &code);
				p += 4;
				if (is_high_surrogate(code))
				{
					(void) parse_hex4(p + 2, value->end, &low);
					p += 6;
					code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
				}
				out = append_utf8(out, code);
				break;
			default:
				*out++ = escape[1];
		}
	}
	return out - start;
}
