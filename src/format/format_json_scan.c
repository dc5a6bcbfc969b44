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
 * all others are skipped without recursion.  The messages of a topic mostly
 * look alike: each node remembers which member followed it and the bytes
 * between the two values (FormatTurn), so that all of `,"price":` is usually
 * one comparison.  Members that nobody wants are remembered like that, too.
 *
 * Outside of strings every byte that is not ASCII is an error.  Strings only
 * note that there was one, and then the whole message is verified as UTF-8.
 *
 * Parsing by simdjson was measured and not taken (bench/README.md, "Decode"):
 * messages are so short that indexing them first costs more than all of this,
 * and only its slower interface validates the members that nobody wants.
 *
 * Invariants:
 * 1. The last byte before scan->end is a closing brace, or else there is a zero
 *	  at scan->end; the scanner reads no other byte from there on.  So a single
 *	  byte can be looked at without asking for the end, except behind a closing
 *	  brace; loops over strings ask.
 * 2. Every function that returns NULL has called tm_format_scan_fail() first.
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
#define IS_BRACKET(c) (((c) | 0x20) == '{') /* an opening one, of two kinds */

/* Members that nobody wants to remember per object. */
#define MAX_UNWANTED 64

/* The same byte eight times. */
#define EIGHT(c) (UINT64CONST(0x0101010101010101) * (c))

static const char *scan_value(FormatScan *scan, const char *p,
							  FormatNode *node, FormatValue *value,
							  unsigned *flags);

const char *
tm_format_scan_fail(FormatScan *scan, const char *at, const char *reason)
{
	scan->sqlstate = ERRCODE_INVALID_TEXT_REPRESENTATION;
	scan->at = at;
	scan->reason = at >= scan->end ? "unexpected end" : reason;
	return NULL;
}

static inline bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* To the next byte that is no space; p < end, or else a zero is there. */
static inline const char *
skip_space(const char *p)
{
	while (unlikely(is_space(*p)))
		p++;
	return p;
}

/*
 * Find the next byte from p on that is special in a string, or the end; adds to
 * *high whether a byte before it is not ASCII.
 */
static pg_attribute_always_inline const char *
find_special(const FormatScan *scan, const char *p, unsigned *high)
{
#ifdef __SSE2__
	__m128i		seen = _mm_setzero_si128();

	for (;;)
	{
		ptrdiff_t	left = scan->end - p;
		int			over = 0;
		__m128i		chunk;
		__m128i		special;
		unsigned	stop;
		int			n;

		if (unlikely(left < 16))
		{
			/* the last 16 bytes of the message, without those before p */
			if (scan->end - scan->begin < 16 || left == 0)
				break;
			over = 16 - left;
		}
		chunk = _mm_loadu_si128((const __m128i *) (p - over));
		special = _mm_or_si128(_mm_cmpeq_epi8(chunk, _mm_set1_epi8('"')),
							   _mm_cmpeq_epi8(chunk, _mm_set1_epi8('\\')));

		/* bytes below 0x20: the smaller one of 0x1F and them is themselves */
		special = _mm_or_si128(special,
							   _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1F)),
											  chunk));
		stop = (unsigned) _mm_movemask_epi8(special) >> over;
		if (likely(stop != 0) || over != 0)
		{
			n = stop != 0 ? __builtin_ctz(stop) : left;
			*high |= ((unsigned) _mm_movemask_epi8(chunk) >> over) & ((1U << n) - 1);
			*high |= _mm_movemask_epi8(seen);
			return p + n;
		}
		seen = _mm_or_si128(seen, chunk);
		p += 16;
	}
	*high |= _mm_movemask_epi8(seen);
#endif
	while (p < scan->end && *p != '"' && *p != '\\' &&
		   (unsigned char) *p >= 0x20)
		*high |= (unsigned char) *p++ & 0x80;
	return p;
}

/*
 * Scan a string, p behind its opening quote; returns the place of the closing
 * one.
 */
static pg_attribute_always_inline const char *
scan_string(FormatScan *scan, const char *p, unsigned *flags)
{
	unsigned	high = 0;

	for (;;)
	{
		unsigned	escape_flags = 0;

		p = find_special(scan, p, &high);
		if (p >= scan->end)
			return tm_format_scan_fail(scan, p, NULL);
		if (likely(*p == '"'))
			break;
		if (*p != '\\')
			return tm_format_scan_fail(scan, p, "control character in a string");
		p = tm_format_scan_escape(scan, p + 1, &escape_flags);
		if (p == NULL)
			return NULL;
		*flags |= escape_flags;
	}
	if (unlikely(high != 0))
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
	if (*p == '.')
	{
		p++;
		if (!IS_DIGIT(*p))
			return tm_format_scan_fail(scan, p, "invalid number");
		while (IS_DIGIT(*p))
			p++;
	}
	if (*p == 'e' || *p == 'E')
	{
		const char *digits;

		p++;
		if (*p == '+' || *p == '-')
			p++;
		digits = p;
		while (IS_DIGIT(*p))
			p++;
		if (p == digits)
			return tm_format_scan_fail(scan, p, "invalid number");
		if (p - digits > 2)
			*flags |= FORMAT_VALUE_WILD_NUMBER;
	}
	return p;
}

/*
 * Scan digits from p on and add them to *sum, which may overflow.  Up to eight
 * at a time are treated as one word, first digit in the lowest byte.
 */
static pg_attribute_always_inline const char *
scan_digits(const FormatScan *scan, const char *p, uint64 *sum)
{
#ifndef WORDS_BIGENDIAN
	static const uint32 power[] = {1, 10, 100, 1000, 10000, 100000, 1000000,
	10000000, 100000000};

	while (scan->end - p >= 8)
	{
		uint64		word;
		uint64		other;
		int			n = 8;

		memcpy(&word, p, 8);
		word ^= EIGHT('0');
		other = ((word + EIGHT(0x7F - 9)) | word) & EIGHT(0x80);
		if (other != 0)
			n = __builtin_ctzll(other) / 8;
		if (n == 0)
			return p;
		word <<= 8 * (8 - n);
		word = word * 10 + (word >> 8);
		word = ((word & UINT64CONST(0x000000FF000000FF)) * UINT64CONST(0x000F424000000064) +
				((word >> 16) & UINT64CONST(0x000000FF000000FF)) * UINT64CONST(0x0000271000000001)) >> 32;
		*sum = *sum * power[n] + word;
		p += n;
		if (n < 8)
			return p;
	}
#endif
	while (IS_DIGIT(*p))
		*sum = *sum * 10 + (*p++ - '0');
	return p;
}

/*
 * Scan a number; integers that fit int64 are converted on the way.  The byte
 * behind it is readable.
 */
static pg_attribute_always_inline const char *
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
	p = scan_digits(scan, p, &sum);
	if (p == digits || (*digits == '0' && p - digits > 1))
		return tm_format_scan_fail(scan, p, "invalid number");

	/* 19 digits cannot overflow the unsigned sum */
	fits = p - digits <= 19 &&
		sum <= (uint64) PG_INT64_MAX + (negative ? 1 : 0);
	if (*p == '.' || (*p | 0x20) == 'e')
	{
		unsigned	fraction_flags = 0;

		fits = false;
		p = scan_fraction(scan, p, &fraction_flags);
		if (p == NULL)
			return NULL;
		*flags |= fraction_flags;
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
		return tm_format_scan_fail(scan, p, "unexpected character");
	}
	if (memcmp(p, literal, len) != 0)
		return tm_format_scan_fail(scan, p, "unexpected character");
	return p + len;
}

/* Scan null, true or false. */
static const char *
scan_word(FormatScan *scan, const char *p, FormatValue *value)
{
	switch (*p)
	{
		case 'n':
			value->kind = FORMAT_VALUE_NULL;
			return scan_literal(scan, p, "null", 4);
		case 't':
			value->kind = FORMAT_VALUE_TRUE;
			return scan_literal(scan, p, "true", 4);
		case 'f':
			value->kind = FORMAT_VALUE_FALSE;
			return scan_literal(scan, p, "false", 5);
		default:
			return tm_format_scan_fail(scan, p, "unexpected character");
	}
}

/* Scan anything but an object or array. */
static pg_attribute_always_inline const char *
scan_scalar(FormatScan *scan, const char *p, FormatValue *value,
			unsigned *flags)
{
	value->start = p;
	if (*p == '"')
	{
		value->kind = FORMAT_VALUE_STRING;
		value->start = p + 1;
		p = scan_string(scan, p + 1, flags);
		value->end = p;
		return p == NULL ? NULL : p + 1;
	}
	if (IS_DIGIT(*p) || *p == '-')
		p = scan_number(scan, p, value, flags);
	else
		p = scan_word(scan, p, value);
	value->end = p;
	return p;
}

static const char *
fail_depth(FormatScan *scan, const char *at)
{
	tm_format_scan_fail(scan, at, "nested too deeply");
	scan->sqlstate = ERRCODE_STATEMENT_TOO_COMPLEX;
	return NULL;
}

/* Scan ":" between a member's name and its value. */
static inline const char *
scan_colon(FormatScan *scan, const char *p)
{
	p = skip_space(p);
	if (*p != ':')
		return tm_format_scan_fail(scan, p, "expected \":\"");
	return skip_space(p + 1);
}

/* Scan a member's name and the colon behind it; p is where it must begin. */
static inline const char *
skip_name(FormatScan *scan, const char *p, unsigned *flags)
{
	if (*p != '"')
		return tm_format_scan_fail(scan, p, "expected a member name");
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

		if (IS_BRACKET(*p))
		{
			if (base + n >= FORMAT_MAX_DEPTH)
				return fail_depth(scan, p);
			if (base + n >= DEEP_LEVELS)
				*flags |= FORMAT_VALUE_DEEP;
			closing[n++] = *p == '{' ? '}' : ']';
			p = skip_space(p + 1);
			if (*p != closing[n - 1])
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
		for (;;)
		{
			if (n == 0)
				return p;
			if (p >= scan->end)
				return tm_format_scan_fail(scan, p, NULL);
			p = skip_space(p);
			if (*p != closing[n - 1])
				break;
			p++;
			n--;
		}
		if (*p != ',')
			return tm_format_scan_fail(scan, p, "expected \",\" or a closing bracket");
		p = skip_space(p + 1);
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
		tm_format_path_note_near_miss(node, key, len, scan->cxt);
	if (unescaped != NULL)
		pfree(unescaped);
	return child;
}

/* Is the next member the one that followed here before, spelled as before? */
static inline bool
is_turn(const FormatScan *scan, const char *p, const FormatTurn *turn)
{
	int			done = 0;

#ifdef __SSE2__
	if (likely(scan->end - p >= 16))
	{
		__m128i		here = _mm_loadu_si128((const __m128i *) p);
		__m128i		lead = _mm_loadu_si128((const __m128i *) turn->lead);
		unsigned	same = _mm_movemask_epi8(_mm_cmpeq_epi8(here, lead));

		if ((same | turn->unused) != 0xFFFF)
			return false;
		if (likely(turn->len <= 16))
			return turn->len > 0;
		done = 16;
	}
#endif
	return turn->len > 0 && scan->end - p > turn->len &&
		memcmp(p + done, turn->lead + done, turn->len - done) == 0;
}

/*
 * Remember that a member comes here, child or one nobody wants; what precedes
 * its value was scanned from lead on and has a plain name.  Returns its node or
 * NULL.
 */
static FormatNode *
learn_turn(FormatScan *scan, FormatNode *node, FormatTurn *turn,
		   FormatNode *child, const char *lead, size_t len)
{
	if (len > sizeof(turn->lead))
		return child;
	if (child == NULL)
	{
		if (turn->unwanted == NULL && node->nunwanted < MAX_UNWANTED)
		{
			turn->unwanted = MemoryContextAllocZero(scan->cxt,
													sizeof(FormatNode));
			node->nunwanted++;
		}
		child = turn->unwanted;
		if (child == NULL)
			return NULL;
	}
	turn->node = child;
	turn->len = len;
	turn->unused = len < 16 ? 0xFFFF & ~((1U << len) - 1) : 0;
	memcpy(turn->lead, lead, len);
	return child;
}

/*
 * Scan a member's name and colon, p behind the comma or bracket and lead where
 * the value before it ended; *child is its node or NULL.
 */
static const char *
scan_name(FormatScan *scan, const char *p, const char *lead, FormatNode *node,
		  FormatTurn *turn, FormatNode **child, unsigned *flags)
{
	unsigned	own = 0;
	const char *key;

	p = skip_space(p);
	if (*p != '"')
		return tm_format_scan_fail(scan, p, "expected a member name");
	key = p + 1;
	p = scan_string(scan, key, &own);
	if (p == NULL)
		return NULL;
	*child = find_member(scan, node, key, p - key, own);
	*flags |= own;
	p = scan_colon(scan, p + 1);
	if (p != NULL && own == 0)
		*child = learn_turn(scan, node, turn, *child, lead, p - lead);
	return p;
}

/* Scan an object with members somebody wants, p at its bracket. */
static const char *
scan_object(FormatScan *scan, const char *p, FormatNode *node, unsigned *flags)
{
	FormatTurn *turn = &node->first;
	bool		first = true;
	unsigned	sum = 0;

	for (;; first = false)
	{
		FormatNode *child = turn->node;
		FormatValue *value = &scan->ignored;
		unsigned	own = 0;

		if (likely(is_turn(scan, p, turn)))
			p = skip_space(p + turn->len);
		else
		{
			FormatNode *found = NULL;
			const char *lead = p;

			p = skip_space(first ? p + 1 : p);
			if (*p == '}')
				break;
			if (!first && *p != ',')
				return tm_format_scan_fail(scan, p, "expected \",\" or \"}\"");
			p = scan_name(scan, first ? p : p + 1, lead, node, turn, &found,
						  &sum);
			if (p == NULL)
				return NULL;
			child = found;
		}
		if (child != NULL)
		{
			turn = &child->next;
			value = &child->value;
			if (child->nchildren > 0)
				clear_below(child);
		}
		if (IS_BRACKET(*p))
		{
			p = scan_value(scan, p, child, value, &sum);
			if (p == NULL)
				return NULL;
			if (p >= scan->end)
				return tm_format_scan_fail(scan, p, NULL);
			continue;
		}
		p = scan_scalar(scan, p, value, &own);
		if (p == NULL)
			return NULL;
		value->flags = own;
		sum |= own & ~(FORMAT_VALUE_ESCAPED | FORMAT_VALUE_INTEGER);
	}
	*flags |= sum;
	return p + 1;
}

/* Scan an array with elements somebody wants, p at its bracket. */
static const char *
scan_array(FormatScan *scan, const char *p, FormatNode *node, unsigned *flags)
{
	int			cursor = 0;

	while (cursor < node->nchildren && node->children[cursor]->index < 0)
		cursor++;
	p = skip_space(p + 1);
	if (*p == ']')
		return p + 1;
	for (int64 index = 0;; index++)
	{
		FormatNode *child = NULL;

		if (cursor < node->nchildren &&
			node->children[cursor]->index == index)
			child = node->children[cursor++];
		p = scan_value(scan, p, child, child ? &child->value : &scan->ignored,
					   flags);
		if (p == NULL)
			return NULL;
		if (p >= scan->end)
			return tm_format_scan_fail(scan, p, NULL);
		p = skip_space(p);
		if (*p == ']')
			return p + 1;
		if (*p != ',')
			return tm_format_scan_fail(scan, p, "expected \",\" or \"]\"");
		p = skip_space(p + 1);
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

	if (IS_BRACKET(*p))
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
verify_encoding(const char *bytes, int len, FormatError *error)
{
	int			valid = tm_format_utf8_length(bytes, len);

	if (valid == len)
		return true;
	tm_format_bad(error, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
				  "message is not valid UTF-8 at byte %d, near \"%s\"",
				  valid + 1,
				  tm_format_excerpt(bytes + valid, Min(len - valid, 8)));
	return false;
}

/* Scan a whole message, whose last byte before end one may stop at. */
static bool
scan_message(FormatScan *scan, const char *begin, const char *end,
			 FormatNode *root, FormatValue *value)
{
	const char *p;
	unsigned	flags = 0;

	scan->begin = begin;
	scan->end = end;
	scan->depth = 0;
	scan->high = false;
	p = scan_value(scan, skip_space(begin), root, value, &flags);
	if (p == NULL)
		return false;
	while (p < end && is_space(*p))
		p++;
	if (p < end)
		tm_format_scan_fail(scan, p, "unexpected data after the end");
	return p == end;
}

bool
tm_format_scan(FormatScan *scan, const char *bytes, size_t len,
			   FormatNode *root, FormatValue *value, FormatError *error)
{
	const char *last = bytes + len;

	/* more could not become a Datum */
	if (len > MaxAllocSize / 2)
	{
		tm_format_bad(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
					  "message of %zu bytes is too long", len);
		return false;
	}
	while (last > bytes && is_space(last[-1]))
		last--;
	if (last == bytes)
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
	if (last[-1] != '}' || !scan_message(scan, bytes, last, root, value))
	{
		/* again with a zero behind it, and with the space that was there */
		char	   *copy = palloc(len + 1);

		memcpy(copy, bytes, len);
		copy[len] = '\0';
		if (!scan_message(scan, copy, copy + len, root, value))
			return report(scan, error);
	}
	if (unlikely(scan->high) && !verify_encoding(bytes, len, error))
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
