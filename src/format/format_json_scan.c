/*
 * format_json_scan.c
 *	  A strict scanner for JSON (RFC 8259) over bytes and length.
 *
 * PostgreSQL's own parser wants a terminated string, calls back for every
 * token and costs four times as much; it remains the oracle of the tests.  A
 * text is valid here exactly when the type json takes it, except that nesting
 * is limited to FORMAT_MAX_DEPTH levels, whatever the stack allows.  So \u0000
 * and lone surrogates are valid syntax; they are noted as flags, because text
 * and jsonb cannot hold them.
 *
 * The scanner looks inside objects and arrays only where a JSON pointer leads;
 * all others are skipped without recursion.  The members of an object mostly
 * come in the same order in every message: each node remembers which one
 * followed it, so that a member name is usually one comparison.
 *
 * Outside of strings every byte that is not ASCII is an error.  Strings only
 * note that there was one, and then the whole message is verified as UTF-8.
 *
 * Invariants: no byte at or after scan->end is read; every function that
 * returns NULL has called fail() first.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "format/format_internal.h"

/* Beyond this many levels a value is flagged as deep. */
#define DEEP_LEVELS 64
/* Numbers of more characters than this are flagged as wild. */
#define WILD_NUMBER_LENGTH 100

#define IS_DIGIT(c) ((unsigned char) ((c) - '0') <= 9)

static const char *scan_value(FormatScan *scan, const char *p,
							  FormatNode *node, FormatValue *value,
							  unsigned *flags);

static const char *
fail(FormatScan *scan, const char *at, const char *reason)
{
	scan->sqlstate = ERRCODE_INVALID_TEXT_REPRESENTATION;
	scan->at = at;
	scan->reason = at >= scan->end ? "unexpected end" : reason;
	return NULL;
}

static inline const char *
skip_space(const FormatScan *scan, const char *p)
{
	while (p < scan->end &&
		   (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

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

/* Check an escape, p behind its backslash; returns the place behind it. */
static const char *
scan_escape(FormatScan *scan, const char *p, unsigned *flags)
{
	unsigned	code;
	unsigned	low;

	*flags |= FORMAT_VALUE_ESCAPED;
	if (p >= scan->end)
		return fail(scan, p, NULL);
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
			return fail(scan, p, "invalid escape");
	}
	if (!parse_hex4(++p, scan->end, &code))
		return fail(scan, p, "invalid escape");
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

/*
 * Scan a string, p behind its opening quote; returns the place of the closing
 * one.
 */
static inline const char *
scan_string(FormatScan *scan, const char *p, unsigned *flags)
{
	unsigned	high = 0;

	for (;;)
	{
#ifdef __SSE2__
		while (scan->end - p >= 16)
		{
			__m128i		chunk = _mm_loadu_si128((const __m128i *) p);
			unsigned	not_ascii = _mm_movemask_epi8(chunk);

			/* signed: bytes that are not ASCII compare as below, too */
			unsigned	control = _mm_movemask_epi8(_mm_cmplt_epi8(chunk, _mm_set1_epi8(0x20)));
			unsigned	stop = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(chunk, _mm_set1_epi8('"')),
															  _mm_cmpeq_epi8(chunk, _mm_set1_epi8('\\'))));

			stop |= control & ~not_ascii;
			if (stop != 0)
			{
				int			n = __builtin_ctz(stop);

				high |= not_ascii & ((1U << n) - 1);
				p += n;
				goto stopped;
			}
			high |= not_ascii;
			p += 16;
		}
#endif
		while (p < scan->end && *p != '"' && *p != '\\' &&
			   (unsigned char) *p >= 0x20)
			high |= (unsigned char) *p++ & 0x80;
#ifdef __SSE2__
stopped:
#endif
		if (p < scan->end && *p == '"')
			break;
		if (p >= scan->end || *p != '\\')
			return fail(scan, p, "control character in a string");
		p = scan_escape(scan, p + 1, flags);
		if (p == NULL)
			return NULL;
	}
	if (high != 0)
	{
		*flags |= FORMAT_VALUE_HIGH;
		scan->high = true;
	}
	return p;
}

/* Scan what follows the integer part of a number. */
static const char *
scan_fraction(FormatScan *scan, const char *p, unsigned *flags)
{
	if (p < scan->end && *p == '.')
	{
		p++;
		if (p >= scan->end || !IS_DIGIT(*p))
			return fail(scan, p, "invalid number");
		while (p < scan->end && IS_DIGIT(*p))
			p++;
	}
	if (p < scan->end && (*p == 'e' || *p == 'E'))
	{
		const char *digits;

		p++;
		if (p < scan->end && (*p == '+' || *p == '-'))
			p++;
		digits = p;
		while (p < scan->end && IS_DIGIT(*p))
			p++;
		if (p == digits)
			return fail(scan, p, "invalid number");
		if (p - digits > 2)
			*flags |= FORMAT_VALUE_WILD_NUMBER;
	}
	return p;
}

/* Scan a number; integers that fit int64 are converted on the way. */
static inline const char *
scan_number(FormatScan *scan, const char *p, FormatValue *value,
			unsigned *flags)
{
	const char *start = p;
	const char *digits;
	uint64		sum = 0;
	bool		negative = *p == '-';
	bool		fits;

	p += negative;
	digits = p;
	while (p < scan->end && IS_DIGIT(*p))
		sum = sum * 10 + (*p++ - '0');
	if (p == digits || (*digits == '0' && p - digits > 1))
		return fail(scan, p, "invalid number");

	/* 19 digits cannot overflow the unsigned sum */
	fits = p - digits <= 19 &&
		sum <= (uint64) PG_INT64_MAX + (negative ? 1 : 0);
	if (p < scan->end && (*p == '.' || *p == 'e' || *p == 'E'))
	{
		fits = false;
		p = scan_fraction(scan, p, flags);
		if (p == NULL)
			return NULL;
	}
	if (fits)
	{
		value->integer = (int64) (negative ? 0 - sum : sum);
		*flags |= FORMAT_VALUE_INTEGER;
	}
	if (p - start > WILD_NUMBER_LENGTH)
		*flags |= FORMAT_VALUE_WILD_NUMBER;
	value->kind = FORMAT_VALUE_NUMBER;
	return p;
}

static inline const char *
scan_literal(FormatScan *scan, const char *p, const char *literal, int len)
{
	if (scan->end - p < len)
	{
		if (memcmp(p, literal, scan->end - p) == 0)
			p = scan->end;
		return fail(scan, p, "unexpected character");
	}
	if (memcmp(p, literal, len) != 0)
		return fail(scan, p, "unexpected character");
	return p + len;
}

/* Scan anything but an object or array. */
static inline const char *
scan_scalar(FormatScan *scan, const char *p, FormatValue *value,
			unsigned *flags)
{
	if (p >= scan->end)
		return fail(scan, p, NULL);
	value->start = p;
	switch (*p)
	{
		case '"':
			value->kind = FORMAT_VALUE_STRING;
			value->start = p + 1;
			p = scan_string(scan, p + 1, flags);
			if (p == NULL)
				return NULL;
			value->end = p;
			return p + 1;
		case 'n':
			value->kind = FORMAT_VALUE_NULL;
			p = scan_literal(scan, p, "null", 4);
			break;
		case 't':
			value->kind = FORMAT_VALUE_TRUE;
			p = scan_literal(scan, p, "true", 4);
			break;
		case 'f':
			value->kind = FORMAT_VALUE_FALSE;
			p = scan_literal(scan, p, "false", 5);
			break;
		default:
			if (*p != '-' && !IS_DIGIT(*p))
				return fail(scan, p, "unexpected character");
			p = scan_number(scan, p, value, flags);
	}
	value->end = p;
	return p;
}

static const char *
fail_depth(FormatScan *scan, const char *at)
{
	fail(scan, at, "nested too deeply");
	scan->sqlstate = ERRCODE_STATEMENT_TOO_COMPLEX;
	return NULL;
}

/* Scan ":" between a member's name and its value. */
static inline const char *
scan_colon(FormatScan *scan, const char *p)
{
	p = skip_space(scan, p);
	if (p >= scan->end || *p != ':')
		return fail(scan, p, "expected \":\"");
	return skip_space(scan, p + 1);
}

/* Scan a member's name and the colon behind it; p is where it must begin. */
static const char *
skip_name(FormatScan *scan, const char *p, unsigned *flags)
{
	p = skip_space(scan, p);
	if (p >= scan->end || *p != '"')
		return fail(scan, p, "expected a member name");
	p = scan_string(scan, p + 1, flags);
	return p == NULL ? NULL : scan_colon(scan, p + 1);
}

/*
 * Scan an object or array nobody looks into, p at its bracket.  The stack of
 * open brackets is one byte a level, so depth costs no C stack.
 */
static const char *
skip_container(FormatScan *scan, const char *p, unsigned *flags)
{
	char		closing[FORMAT_MAX_DEPTH];
	int			base = scan->depth;
	int			n = 0;

	for (;;)
	{
		FormatValue ignored;

		if (p < scan->end && (*p == '{' || *p == '['))
		{
			if (base + n >= FORMAT_MAX_DEPTH)
				return fail_depth(scan, p);
			if (base + n >= DEEP_LEVELS)
				*flags |= FORMAT_VALUE_DEEP;
			closing[n++] = *p == '{' ? '}' : ']';
			p = skip_space(scan, p + 1);
			if (p >= scan->end || *p != closing[n - 1])
			{
				/* the first member or element */
				if (closing[n - 1] == '}' &&
					(p = skip_name(scan, p, flags)) == NULL)
					return NULL;
				continue;
			}
			p++;
			n--;
		}
		else
			p = scan_scalar(scan, p, &ignored, flags);
		if (p == NULL)
			return NULL;

		/* a value ends here, and maybe what contains it */
		while (n > 0)
		{
			p = skip_space(scan, p);
			if (p >= scan->end || *p != closing[n - 1])
				break;
			p++;
			n--;
		}
		if (n == 0)
			return p;
		if (p >= scan->end || *p != ',')
			return fail(scan, p, "expected \",\" or a closing bracket");
		p = skip_space(scan, p + 1);
		if (closing[n - 1] == '}' &&
			(p = skip_name(scan, p, flags)) == NULL)
			return NULL;
	}
}

/* Forget what the current message had below a node. */
static void
clear_below(FormatNode *node)
{
	for (int i = 0; i < node->nchildren; i++)
	{
		node->children[i]->value.kind = FORMAT_VALUE_ABSENT;
		clear_below(node->children[i]);
	}
}

/* The node of a member by its name, which may have escapes. */
static FormatNode *
find_member(FormatScan *scan, FormatNode *node, const char *key, size_t len,
			unsigned flags)
{
	FormatNode *child;
	char	   *unescaped = NULL;

	if (flags & (FORMAT_VALUE_ZERO_ESCAPE | FORMAT_VALUE_LONE_SURROGATE))
		return NULL;
	if (flags & FORMAT_VALUE_ESCAPED)
	{
		FormatValue name = {.start = key,.end = key + len};

		unescaped = palloc(len);
		len = tm_format_unescape(&name, unescaped);
		key = unescaped;
	}
	child = tm_format_path_find(node, key, len);
	if (child == NULL && scan->watch)
		tm_format_path_note_near_miss(node, key, len, scan->near_cxt);
	if (unescaped != NULL)
		pfree(unescaped);
	return child;
}

/*
 * Scan a member's name, p at its quote; *child is its node or NULL.  expected
 * is the node whose turn it is.
 */
static inline const char *
scan_name(FormatScan *scan, const char *p, FormatNode *node,
		  FormatNode *expected, FormatNode **child, unsigned *flags)
{
	const char *key = p + 1;
	unsigned	key_flags = 0;

	if (p >= scan->end || *p != '"')
		return fail(scan, p, "expected a member name");
	if (expected != NULL && scan->end - key > expected->keylen &&
		key[expected->keylen] == '"' &&
		memcmp(key, expected->key, expected->keylen) == 0)
	{
		*child = expected;
		p = key + expected->keylen;
	}
	else
	{
		p = scan_string(scan, key, &key_flags);
		if (p == NULL)
			return NULL;
		*child = find_member(scan, node, key, p - key, key_flags);
		*flags |= key_flags;
	}
	return scan_colon(scan, p + 1);
}

/* Scan an object with members somebody wants, p at its bracket. */
static const char *
scan_object(FormatScan *scan, const char *p, FormatNode *node, unsigned *flags)
{
	FormatNode **slot = &node->first;

	p = skip_space(scan, p + 1);
	if (p < scan->end && *p == '}')
		return p + 1;
	for (;;)
	{
		FormatNode *child = NULL;
		FormatValue ignored;

		p = scan_name(scan, p, node, *slot, &child, flags);
		if (p == NULL)
			return NULL;
		if (child != NULL)
		{
			if (*slot != child && child->plain)
				*slot = child;
			slot = &child->next;
			if (child->nchildren > 0)
				clear_below(child);
			p = scan_value(scan, p, child, &child->value, flags);
		}
		else
			p = scan_value(scan, p, NULL, &ignored, flags);
		if (p == NULL)
			return NULL;
		p = skip_space(scan, p);
		if (p < scan->end && *p == '}')
			return p + 1;
		if (p >= scan->end || *p != ',')
			return fail(scan, p, "expected \",\" or \"}\"");
		p = skip_space(scan, p + 1);
	}
}

/* Scan an array with elements somebody wants, p at its bracket. */
static const char *
scan_array(FormatScan *scan, const char *p, FormatNode *node, unsigned *flags)
{
	int			cursor = 0;

	while (cursor < node->nchildren && node->children[cursor]->index < 0)
		cursor++;
	p = skip_space(scan, p + 1);
	if (p < scan->end && *p == ']')
		return p + 1;
	for (int64 index = 0;; index++)
	{
		FormatNode *child = NULL;
		FormatValue ignored;

		if (cursor < node->nchildren &&
			node->children[cursor]->index == index)
			child = node->children[cursor++];
		p = scan_value(scan, p, child, child ? &child->value : &ignored, flags);
		if (p == NULL)
			return NULL;
		p = skip_space(scan, p);
		if (p < scan->end && *p == ']')
			return p + 1;
		if (p >= scan->end || *p != ',')
			return fail(scan, p, "expected \",\" or \"]\"");
		p = skip_space(scan, p + 1);
	}
}

/*
 * Scan a value of any kind, p where it must begin; *flags of what contains it
 * are added to.
 */
static const char *
scan_value(FormatScan *scan, const char *p, FormatNode *node,
		   FormatValue *value, unsigned *flags)
{
	unsigned	own = 0;

	if (p < scan->end && (*p == '{' || *p == '['))
	{
		value->kind = *p == '{' ? FORMAT_VALUE_OBJECT : FORMAT_VALUE_ARRAY;
		value->start = p;
		if (node == NULL || node->nchildren == 0)
			p = skip_container(scan, p, &own);
		else if (scan->depth >= FORMAT_MAX_DEPTH)
			p = fail_depth(scan, p);
		else
		{
			if (scan->depth >= DEEP_LEVELS)
				own |= FORMAT_VALUE_DEEP;
			scan->depth++;
			p = *p == '{' ? scan_object(scan, p, node, &own)
				: scan_array(scan, p, node, &own);
			scan->depth--;
		}
		value->end = p;
	}
	else
		p = scan_scalar(scan, p, value, &own);
	value->flags = own;
	*flags |= own & ~(FORMAT_VALUE_ESCAPED | FORMAT_VALUE_INTEGER);
	return p;
}

/* Turn a failure of the scanner into words. */
static bool
report(const FormatScan *scan, FormatError *error)
{
	size_t		position = scan->at - scan->begin + 1;

	if (scan->at >= scan->end)
		tm_format_bad(error, scan->sqlstate,
					  "message is not valid JSON: unexpected end");
	else
		tm_format_bad(error, scan->sqlstate,
					  "message is not valid JSON: %s at byte %zu, near \"%s\"",
					  scan->reason, position,
					  tm_format_excerpt(scan->at, Min(scan->end - scan->at, 20)));
	return false;
}

/* Is the message, which is not all ASCII, valid UTF-8? */
static bool
verify_encoding(const FormatScan *scan, FormatError *error)
{
	int			len = scan->end - scan->begin;
	int			valid = pg_encoding_verifymbstr(PG_UTF8, scan->begin, len);

	if (valid == len)
		return true;
	tm_format_bad(error, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
				  "message is not valid UTF-8 at byte %d, near \"%s\"",
				  valid + 1,
				  tm_format_excerpt(scan->begin + valid, Min(len - valid, 8)));
	return false;
}

bool
tm_format_scan(FormatScan *scan, const char *bytes, size_t len,
			   FormatNode *root, FormatValue *value, FormatError *error)
{
	const char *p;
	unsigned	flags = 0;

	scan->begin = bytes;
	scan->end = bytes + len;
	scan->depth = 0;
	scan->high = false;

	/* more could not become a Datum */
	if (len > MaxAllocSize / 2)
	{
		tm_format_bad(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
					  "message of %zu bytes is too long", len);
		return false;
	}
	p = skip_space(scan, bytes);
	if (p >= scan->end)
	{
		tm_format_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
					  "message is empty");
		return false;
	}
	if (len >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
	{
		tm_format_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
					  "message is not valid JSON: it begins with a byte order mark");
		return false;
	}
	p = scan_value(scan, p, root, value, &flags);
	if (p == NULL)
		return report(scan, error);
	p = skip_space(scan, p);
	if (p < scan->end)
	{
		fail(scan, p, "unexpected data after the end");
		return report(scan, error);
	}
	if (scan->high && !verify_encoding(scan, error))
		return false;
	if (root != NULL && value->kind != FORMAT_VALUE_OBJECT)
	{
		tm_format_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
					  "message is not a JSON object");
		return false;
	}
	return true;
}

bool
tm_format_scan_number(const char *bytes, size_t len, FormatValue *value)
{
	FormatScan	scan = {.begin = bytes,.end = bytes + len};
	unsigned	flags = 0;

	if (len == 0 || (*bytes != '-' && !IS_DIGIT(*bytes)))
		return false;
	value->start = bytes;
	value->end = scan_number(&scan, bytes, value, &flags);
	value->flags = flags;
	return value->end == scan.end;
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
