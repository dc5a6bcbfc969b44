/*
 * fuzz.c
 *	  Do all ways of decoding agree?  `fuzz FILE SEED MESSAGES`.
 *
 * The messages are those of FILE (test/corpus/json_documents.txt), some made
 * here, and what seeded mutations make of them.  Each is decoded
 *
 * - by a decoder that has seen all messages before, and so remembers how
 *   members follow each other;
 * - by one that has seen none;
 * - by PostgreSQL's own parser: is it JSON, and what are the top-level
 *   strings, numbers and literals?
 *
 * and all answers must be the same, the first two to the last byte of the
 * error message, for a server of UTF8 and one of LATIN1.  Besides, text made of
 * good and bad pieces of UTF-8 must be refused exactly where PostgreSQL's
 * function refuses it.  A checksum of all answers is printed, which builds with
 * and without vector instructions, and simdjson, must have in common.  Each
 * message ends where its memory ends, so that AddressSanitizer sees every byte
 * read behind it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "base/compat.h"
#include "format/format.h"

#include "server.h"

#define MAX_SEEDS 2000
#define MAX_MESSAGE 20000
#define MAX_ANSWER (1 << 20)
#define MAX_DEPTH 1000

static const FormatColumn columns[] = {
	{"a", "a", INT8OID, -1, false, true},
	{"b", "b", TEXTOID, -1, false, true},
	{"t", "t", TIMESTAMPTZOID, -1, false, true},
	{"n", "n", JSONOID, -1, false, true},
	{"/n/x", "nx", TEXTOID, -1, false, true},
	{"/z/1", "z1", TEXTOID, -1, false, true},
	{"/z/x/a", "zxa", INT8OID, -1, false, true},
	{"m", "m", NUMERICOID, -1, false, true},
	{"f", "f", FLOAT8OID, -1, false, true},
	{"i", "i", INT4OID, -1, true, true},
	{"d", "d", DATEOID, -1, false, true},
	{"u", "u", UUIDOID, -1, false, true},
	{"o", "o", BOOLOID, -1, false, true},
	{"date_time", "date_time", TIMESTAMPTZOID, -1, false, false},
	{"channel", "channel", VARCHAROID, 12 + VARHDRSZ, false, true},
	{"auction", "auction", TEXTOID, -1, false, true},
	{"url", "url", TEXTOID, -1, false, true},
	{"a_name_that_is_longer_than_any_vector_register", "long", TEXTOID, -1, false, true},
	{"\xC3\xA9t\xC3\xA9", "summer", TEXTOID, -1, false, true},
};

#define NCOLUMNS lengthof(columns)

typedef struct Message
{
	char	   *bytes;
	int			len;
}			Message;

typedef struct Answer
{
	size_t		len;
	FormatResult result;
	bool		guarded;
	bool		isnull[NCOLUMNS];
	Datum		values[NCOLUMNS];
	FormatError error;
	char		bytes[MAX_ANSWER];
}			Answer;

/* What PostgreSQL's parser says about the columns of type text and bigint. */
typedef struct Oracle
{
	JsonLexContext *lex;
	int			column;			/* whose value comes next, or -1 */
	bool		found[NCOLUMNS];
	bool		skip[NCOLUMNS]; /* an object or array */
	char	   *text[NCOLUMNS]; /* NULL: null */
}			Oracle;

static Message seeds[MAX_SEEDS];
static int	nseeds = 0;
static uint64 state;
static Answer trained;
static Answer fresh;
static long good = 0;
static uint64 checksum = UINT64CONST(0xCBF29CE484222325);

static void
add_to_checksum(const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		checksum = (checksum ^ (unsigned char) bytes[i]) * UINT64CONST(0x100000001B3);
}

static unsigned
draw(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned) ((state >> 20) % below);
}

/* ---- where messages come from ---- */

static void
add_seed(const char *bytes, int len)
{
	if (nseeds >= MAX_SEEDS || len > MAX_MESSAGE)
		return;
	seeds[nseeds].bytes = memcpy(malloc(len + 1), bytes, len);
	seeds[nseeds++].len = len;
}

/* A line of the corpus: bytea's escape format, comments, directives. */
static void
add_line(const char *line, int len)
{
	static char bytes[MAX_MESSAGE];
	int			n = 0;
	int			i = 0;

	if (line[0] == '#' || len > MAX_MESSAGE ||
		strncmp(line, "\\expand", 7) == 0 || strncmp(line, "\\keys", 5) == 0)
		return;
	if (strncmp(line, "\\bad ", 5) == 0)
		i = 5;
	else if (strncmp(line, "\\null ", 6) == 0)
		i = 6;
	while (i < len)
	{
		if (line[i] == '\\' && i + 1 < len && line[i + 1] == '\\')
		{
			bytes[n++] = '\\';
			i += 2;
		}
		else if (line[i] == '\\' && i + 3 < len)
		{
			bytes[n++] = (char) ((line[i + 1] - '0') << 6 |
								 (line[i + 2] - '0') << 3 | (line[i + 3] - '0'));
			i += 4;
		}
		else
			bytes[n++] = line[i++];
	}
	add_seed(bytes, n);
}

/* n times open, something, n times close */
static void
add_nested(int n, const char *open, const char *inner, const char *closing)
{
	static char bytes[2 * MAX_MESSAGE];
	char	   *p = bytes;

	for (int i = 0; i < n; i++)
		p = stpcpy(p, open);
	p = stpcpy(p, inner);
	for (int i = 0; i < n; i++)
		p = stpcpy(p, closing);
	add_seed(bytes, p - bytes);
}

static void
add_own_seeds(void)
{
	static const char *const own[] = {
		"{\"auction\":1000,\"bidder\":1001,\"price\":767921,\"channel\":\"Baidu\",\"url\":\"https://www.nexmark.com/ywr_/ctv/ykzq/item.htm?query=1\",\"date_time\":\"2015-07-15T00:00:00.000Z\",\"extra\":\"ghryerdhffhdidynrwnqexbe\",\"i\":1}",
		"{\"auction\": 1007, \"bidder\": 2001, \"price\": 99, \"channel\": \"channel-2472\", \"url\": \"https://www.nexmark.com/\", \"date_time\": \"2015-07-15 00:00:10Z\", \"extra\": \"\", \"i\": -2147483648}\n",
		"{\"i\":2,\"a\":9223372036854775807,\"b\":\"caf\303\251 \\u00e9\\n\",\"t\":\"2024-02-29T23:59:59.999999+01:30\",\"n\":{\"x\":\"y\",\"y\":[1,2,{}]},\"z\":[0,\"one\",{\"x\":2}],\"m\":1.50,\"f\":-1e-7,\"d\":\"2024-02-29\",\"u\":\"00112233-4455-6677-8899-aabbccddeeff\",\"o\":true}",
		"{ \"i\" : 3 , \"z\" : { \"x\" : { \"a\" : 12345678901234567890 } , \"1\" : null } , \"a\" : \"-00012\" }",
		"{\"i\":0,\"a_name_that_is_longer_than_any_vector_register\":\"0123456789abcdef0123456789ABCDEF\",\"\303\251t\303\251\":\"\\ud83d\\ude00\",\"b\":null,\"unknown_member\":[[],{},\"]\"],\"b\":\"last one wins\"}",
		"{\"a\":1,\"i\":12345678,\"f\":123456789.123456789E+10,\"m\":123456789012345678901234567890,\"t\":\"2024-12-31T23:59:59Z\"}",
	};

	for (int i = 0; i < lengthof(own); i++)
		add_seed(own[i], strlen(own[i]));
	for (int n = MAX_DEPTH - 2; n <= MAX_DEPTH + 1; n++)
	{
		add_nested(n, "{\"i\":", "1", "}");
		add_nested(n, "[", "", "]");
	}
	add_nested(70, "{\"i\":1,\"n\":", "{\"x\":\"deep\"}", "}");
	add_nested(300, "{\"z\":[", "\"\"", "]}");
}

/* Change a message in place, up to MAX_MESSAGE; returns its new length. */
static int
mutate(char *bytes, int len)
{
	static const char *const words[] = {
		"\"", "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "\t", "\r", "0", "9", "-", ".", "e", "E+3",
		"null", "true", "false", "\\u0000", "\\ud800", "\\udc00", "\\u00e9", "\\\"", "\\x", "\200", "\303\251",
		"\360\237\230\200", "\377", "\001", "\"a\":", "\"i\":7", ",\"b\":\"x\"", "{}", "[]", "12345678", "1234567890123456",
		"                 ", "abcdefghijklmnopqrstuvwxyz", "2015-07-15T00:00:00.000Z", "\"n\":{\"x\":1}", "}}", "\0",
	};
	int			at = draw(len + 1);
	int			n = 1 + (int) draw(draw(4) == 0 ? 64 : 3);
	const char *insert = NULL;

	switch (draw(9))
	{
		case 0:
			if (at < len)
				bytes[at] = (char) draw(256);
			return len;
		case 1:
			if (at < len)
				bytes[at] ^= (char) (1 << draw(8));
			return len;
		case 2:
			return draw(4) == 0 ? at : len;
		case 3:
			n = Min(len - at, n);
			memmove(bytes + at, bytes + at + n, len - at - n);
			return len - n;
		case 4:
			/* many of a kind */
			n = 10 * n;
			if (len + n > MAX_MESSAGE)
				return len;
			memmove(bytes + at + n, bytes + at, len - at);
			memset(bytes + at, "\0 01\"{[,\\"[draw(9)], n);
			return len + n;
		case 5:
			/* a piece of another message */
			{
				const		Message *other = &seeds[draw(nseeds)];
				int			from = draw(other->len + 1);

				insert = other->bytes + from;
				n = Min(other->len - from, 4 * n);
				break;
			}
		default:
			insert = words[draw(lengthof(words))];
			n = Max(strlen(insert), 1);
	}
	if (n == 0 || len + n > MAX_MESSAGE)
		return len;
	memmove(bytes + at + n, bytes + at, len - at);
	memcpy(bytes + at, insert, n);
	return len + n;
}

/* ---- the two decoders ---- */

static void
put(Answer * answer, const void *bytes, size_t len)
{
	if (answer->len + len > MAX_ANSWER)
		abort();
	memcpy(answer->bytes + answer->len, bytes, len);
	answer->len += len;
}

static void
decode(FormatDecoder *decoder, const char *bytes, int len, Answer * answer)
{
	answer->len = 0;
	answer->guarded = false;
	answer->result = tm_format_decode(decoder, bytes, len, false,
									  answer->values, answer->isnull,
									  &answer->error);
	if (answer->result == FORMAT_NEEDS_GUARD)
	{
		answer->guarded = true;
		answer->result = tm_format_decode(decoder, bytes, len, true,
										  answer->values, answer->isnull,
										  &answer->error);
	}
	put(answer, &answer->result, sizeof(answer->result));
	put(answer, &answer->guarded, sizeof(answer->guarded));
	if (answer->result != FORMAT_OK)
	{
		put(answer, &answer->error.sqlstate, sizeof(answer->error.sqlstate));
		put(answer, answer->error.message, strlen(answer->error.message));
		put(answer, answer->error.hint, strlen(answer->error.hint));
		return;
	}
	for (int i = 0; i < NCOLUMNS; i++)
	{
		Datum		value = answer->values[i];

		put(answer, &answer->isnull[i], sizeof(bool));
		if (answer->isnull[i])
			continue;
		switch (columns[i].type)
		{
			case TEXTOID:
			case VARCHAROID:
			case JSONOID:
			case NUMERICOID:
				put(answer, DatumGetPointer(value), VARSIZE(DatumGetPointer(value)));
				break;
			case UUIDOID:
				/* the text an input function got, or 16 bytes */
				put(answer, DatumGetPointer(value), 4);
				break;
			default:
				/* likewise a pointer under guard: two heaps, two addresses */
				if (!answer->guarded)
					put(answer, &value, sizeof(value));
		}
	}
}

/* ---- PostgreSQL's parser ---- */

/* From 16 on callbacks return a result. */
#if PG_VERSION_NUM >= 160000
#define CALLBACK static JsonParseErrorType
#define DONE return JSON_SUCCESS
#else
#define CALLBACK static void
#define DONE return
#endif

static bool
is_compared(const FormatColumn *column)
{
	return (column->type == TEXTOID || column->type == INT8OID) &&
		column->field[0] != '/';
}

CALLBACK
oracle_field(void *arg, char *name, bool isnull)
{
	Oracle	   *oracle = arg;

	oracle->column = -1;
	if (oracle->lex->lex_level == 1)
		for (int i = 0; i < NCOLUMNS; i++)
			if (is_compared(&columns[i]) &&
				strcmp(columns[i].field, name) == 0)
			{
				oracle->column = i;
				oracle->found[i] = true;
				oracle->skip[i] = true;
				oracle->text[i] = NULL;
			}
	DONE;
}

CALLBACK
oracle_scalar(void *arg, char *token, JsonTokenType type)
{
	Oracle	   *oracle = arg;

	if (oracle->lex->lex_level == 1 && oracle->column >= 0)
	{
		oracle->skip[oracle->column] = false;
		if (type != JSON_TOKEN_NULL)
			oracle->text[oracle->column] = pstrdup(token);
	}
	DONE;
}

static JsonParseErrorType
run_parser(const char *bytes, int len, Oracle * oracle)
{
	JsonSemAction actions = {.semstate = oracle};
	char	   *copy = unconstify(char *, bytes);
	bool		escapes = oracle != NULL;
	JsonLexContext *lex;

#if PG_VERSION_NUM >= 170000
	lex = makeJsonLexContextCstringLen(NULL, copy, len, PG_UTF8, escapes);
#else
	lex = makeJsonLexContextCstringLen(copy, len, PG_UTF8, escapes);
#endif
	if (oracle != NULL)
	{
		oracle->lex = lex;
		actions.object_field_start = oracle_field;
		actions.scalar = oracle_scalar;
	}
	return pg_parse_json(lex, &actions);
}

/* Nesting of a valid text. */
static int
depth_of(const char *bytes, int len)
{
	int			depth = 0;
	int			deepest = 0;
	bool		in_string = false;

	for (int i = 0; i < len; i++)
		if (in_string)
		{
			if (bytes[i] == '\\')
				i++;
			else
				in_string = bytes[i] != '"';
		}
		else if (bytes[i] == '{' || bytes[i] == '[')
			deepest = Max(deepest, ++depth);
		else if (bytes[i] == '}' || bytes[i] == ']')
			depth--;
		else
			in_string = bytes[i] == '"';
	return deepest;
}

static bool
is_valid(const char *bytes, int len)
{
	const char *p = bytes;

	while (p < bytes + len && strchr(" \t\r\n", *p) && *p != '\0')
		p++;
	return p < bytes + len && *p == '{' &&
		pg_encoding_verifymbstr(PG_UTF8, bytes, len) == len &&
		run_parser(bytes, len, NULL) == JSON_SUCCESS &&
		depth_of(bytes, len) <= MAX_DEPTH;
}

/* Is the row what the parser sees?  Returns what is wrong, or NULL. */
static const char *
compare_oracle(const char *bytes, int len, const Answer * answer)
{
	Oracle		oracle = {.column = -1};
	bool		valid = is_valid(bytes, len);

	if (!valid && answer->result == FORMAT_OK)
		return "accepted, but it is not JSON";
	if (answer->result != FORMAT_OK)
		return valid && strncmp(answer->error.message, "message is not", 14) == 0 ?
			"refused, but it is a JSON object" : NULL;
	if (run_parser(bytes, len, &oracle) != JSON_SUCCESS)
		return NULL;			/* \u0000 or a lone surrogate somewhere */
	for (int i = 0; i < NCOLUMNS; i++)
	{
		const char *text = oracle.text[i];

		if (!is_compared(&columns[i]) || oracle.skip[i])
			continue;
		if (answer->isnull[i] != (text == NULL))
			return "null or not";
		if (text == NULL)
			continue;
		if (columns[i].type == INT8OID)
		{
			/* a string is a number or the guard's business */
			if (!answer->guarded &&
				DatumGetInt64(answer->values[i]) != strtoll(text, NULL, 10))
				return "other number";
		}
		else if (VARSIZE(DatumGetPointer(answer->values[i])) - VARHDRSZ != strlen(text) ||
				 memcmp(VARDATA(DatumGetPointer(answer->values[i])), text, strlen(text)) != 0)
			return "other text";
	}
	return NULL;
}

/* ---- UTF-8 ---- */

/* Is text, as a key or a raw value, refused where it is not UTF-8? */
static void
check_text(const char *bytes, int len)
{
	char	   *exact = memcpy(malloc(Max(len, 1)), bytes, len);
	int			valid = pg_encoding_verifymbstr(PG_UTF8, bytes, len);
	FormatError error = {0};
	FormatResult result;
	Datum		value;
	char		where[64];

	server_encoding = PG_UTF8;
	result = tm_format_convert_bytes(exact, len, TEXTOID, false, &value, &error);
	snprintf(where, sizeof(where), " at byte %d,", valid + 1);
	if ((result == FORMAT_OK) != (valid == len) ||
		(result != FORMAT_OK && strstr(error.message, where) == NULL))
	{
		printf("FAIL %d of %d bytes are valid (%s)\n", valid, len, error.message);
		fwrite(bytes, 1, len, stdout);
		printf("\n");
		exit(1);
	}
	add_to_checksum(error.message, strlen(error.message));
	free(exact);
	server_reset();
}

/* Pieces of UTF-8, mostly good ones, around the lengths of vectors. */
static void
check_some_text(void)
{
	static const char *const pieces[] = {
		"a", "plain text", "0123456789abcdef", "\303\251", "\320\266\320\266", "\342\202\254",
		"\355\237\277", "\356\200\200", "\360\220\200\200", "\360\237\230\200", "\364\217\277\277",
		"\200", "\277\277", "\300\200", "\301\277", "\302", "\340\200\200", "\340\237\277",
		"\342\202", "\355\240\200", "\355\277\277", "\357\277", "\360\200\200\200", "\360\217\277\277",
		"\360\237\230", "\364\220\200\200", "\365\200\200\200", "\370\210\200\200\200", "\377", "",
	};
	const int	ngood = 11;
	char		bytes[300];
	int			len = 0;
	int			wanted = draw(200);
	bool		all_good = draw(3) == 0;

	while (len < wanted)
	{
		bool		bad = !all_good && draw(16) == 0;
		int			which = bad ? ngood + draw(lengthof(pieces) - ngood) : draw(ngood);
		int			n = Max(strlen(pieces[which]), 1);	/* a zero byte */

		memcpy(bytes + len, pieces[which], n);
		len += n;
	}
	check_text(bytes, len);
	/* cut anywhere */
	check_text(bytes, draw(len + 1));
}

/* ---- together ---- */

static const int encodings[] = {PG_UTF8, PG_LATIN1};
static FormatDecoder *old[lengthof(encodings)];

static void
check(const char *bytes, int len)
{
	int			encoding = draw(4) == 0;

	/* its memory ends where it ends */
	char	   *exact = memcpy(malloc(Max(len, 1)), bytes, len);
	const char *wrong = NULL;
	FormatDecoder *young;

	server_encoding = encodings[encoding];
	young = tm_format_open(FORMAT_JSON, NCOLUMNS, columns, NULL);
	decode(old[encoding], exact, len, &trained);
	decode(young, exact, len, &fresh);
	if (trained.len != fresh.len ||
		memcmp(trained.bytes, fresh.bytes, trained.len) != 0)
		wrong = "what was decoded before makes a difference";
	else
		wrong = compare_oracle(exact, len, &trained);
	if (wrong != NULL)
	{
		printf("FAIL %s (%s)\n", wrong, trained.result == FORMAT_BAD ? trained.error.message : "");
		fwrite(bytes, 1, len, stdout);
		printf("\n");
		exit(1);
	}
	good += trained.result == FORMAT_OK;
	add_to_checksum(trained.bytes, trained.len);
	free(exact);
	server_reset();
}

int
main(int argc, char **argv)
{
	static char bytes[MAX_MESSAGE];
	FILE	   *file = argc == 4 ? fopen(argv[1], "r") : NULL;
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		len;
	long		messages;

	if (file == NULL)
	{
		fprintf(stderr, "usage: fuzz FILE SEED MESSAGES\n");
		return 1;
	}
	state = strtoull(argv[2], NULL, 10) * UINT64CONST(0x9E3779B97F4A7C15) + 1;
	messages = atol(argv[3]);
	while ((len = getline(&line, &size, file)) > 0)
		add_line(line, len - 1);
	add_own_seeds();
	for (int i = 0; i < lengthof(encodings); i++)
	{
		server_encoding = encodings[i];
		old[i] = tm_format_open(FORMAT_JSON, NCOLUMNS, columns, NULL);
	}
	server_keep();
	for (int i = 0; i < nseeds; i++)
		check(seeds[i].bytes, seeds[i].len);
	for (long i = 0; i < messages; i++)
	{
		const		Message *seed = &seeds[draw(nseeds)];
		int			mutations = draw(4);

		/* mostly the usual ones, or else errors alone would be compared */
		if (draw(2) == 0)
			seed = &seeds[nseeds - 16 + draw(6)];
		memcpy(bytes, seed->bytes, seed->len);
		len = seed->len;
		while (mutations-- > 0)
			len = mutate(bytes, len);
		check(bytes, len);
		check_some_text();
	}
	printf("%ld messages, %ld of them good, checksum %016llx\n",
		   messages + nseeds, good, (unsigned long long) checksum);
	return 0;
}
