/*
 * format_internal.h
 *	  What the files of the format room share.
 *
 * Decoding has two steps.  The scanner validates the whole message and notes
 * for each wanted member where its value lies (FormatValue); the conversions
 * then turn the last value of each member into a Datum.  So a duplicate member
 * overrides an earlier one whatever that was, and nothing is built for a
 * message whose tail turns out to be broken.
 */
#ifndef TM_FORMAT_INTERNAL_H
#define TM_FORMAT_INTERNAL_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/elog.h"

#include "format/format.h"

/* Nesting of objects and arrays beyond which a message is bad. */
#define FORMAT_MAX_DEPTH 1000

/* Characters of a payload that a message may show. */
#define FORMAT_MAX_EXCERPT 100

typedef enum FormatValueKind
{
	FORMAT_VALUE_ABSENT,
	FORMAT_VALUE_NULL,
	FORMAT_VALUE_FALSE,
	FORMAT_VALUE_TRUE,
	FORMAT_VALUE_NUMBER,
	FORMAT_VALUE_STRING,
	FORMAT_VALUE_OBJECT,
	FORMAT_VALUE_ARRAY,
} FormatValueKind;

/* No FormatValueKind. */
#define FORMAT_NO_VALUE 0xFF

/* Facts about a value, inner values and member names included. */
#define FORMAT_VALUE_ESCAPED		0x01	/* a string with an escape */
#define FORMAT_VALUE_HIGH			0x02	/* not ASCII, unescaped or not */
#define FORMAT_VALUE_ZERO_ESCAPE	0x04	/* \u0000 */
#define FORMAT_VALUE_LONE_SURROGATE 0x08
#define FORMAT_VALUE_WILD_NUMBER	0x10	/* long, or a large exponent */
#define FORMAT_VALUE_INTEGER		0x20	/* number: the integer field is
											 * set */
#define FORMAT_VALUE_DEEP			0x40	/* nested more than a little */

/*
 * One JSON value inside the message: the bytes from start to end, without the
 * quotes of a string.
 */
typedef struct FormatValue
{
	const char *start;
	const char *end;
	int64		integer;
	uint8		kind;			/* FormatValueKind */
	uint8		flags;
} FormatValue;

/*
 * A wanted member, or an object or array on the way to one: the columns' field
 * names and JSON pointers as a tree.
 */
typedef struct FormatNode FormatNode;

/*
 * Which member comes next in an object, as the last messages had it, and the
 * bytes from the end of the value before it (or from the object's bracket) to
 * its own value: space, comma, name and colon.
 */
typedef struct FormatTurn
{
	FormatNode *node;			/* NULL: not known yet */
	FormatNode *unwanted;		/* for a member that is not in the tree */
	uint16		len;
	uint16		unused;			/* bits of lead's first 16 bytes from len on */
	char		lead[36];
} FormatTurn;

struct FormatNode
{
	const char *key;			/* member name in UTF-8 */
	int			keylen;
	uint32		hash;
	int64		index;			/* as element of an array, or -1 */
	FormatNode *parent;
	FormatNode *chain;			/* next in the parent's bucket */
	int			nchildren;
	FormatNode **children;		/* by index, those without index first */
	uint32		mask;			/* of buckets */
	FormatNode **buckets;
	FormatTurn	first;			/* member that began the last object */
	FormatTurn	next;			/* member that followed this one */
	int			nunwanted;		/* nodes made for turns below this one */
	char	   *near_miss;		/* member name like this one, UTF-8, or NULL */
	bool		seen;			/* some message had it */
	FormatValue value;			/* in the current message */
};

/* State of scanning one message. */
typedef struct FormatScan
{
	const char *begin;
	const char *end;
	int			depth;
	bool		high;			/* some byte is not ASCII */
	bool		watch;			/* look for near misses */
	MemoryContext cxt;			/* for what is remembered */
	FormatValue ignored;		/* value nobody wants */
	/* after a failure */
	int			sqlstate;
	const char *reason;
	const char *at;
} FormatScan;

/* How a column's values are converted. */
typedef enum FormatConversion
{
	FORMAT_TO_OTHER,			/* by the input function only */
	FORMAT_TO_BOOL,
	FORMAT_TO_INT2,
	FORMAT_TO_INT4,
	FORMAT_TO_INT8,
	FORMAT_TO_FLOAT4,
	FORMAT_TO_FLOAT8,
	FORMAT_TO_NUMERIC,
	FORMAT_TO_TEXT,				/* text and varchar */
	FORMAT_TO_BPCHAR,
	FORMAT_TO_JSON,
	FORMAT_TO_JSONB,
	FORMAT_TO_TIMESTAMPTZ,
	FORMAT_TO_TIMESTAMP,
	FORMAT_TO_DATE,
	FORMAT_TO_TIME,				/* time and timetz */
	FORMAT_TO_UUID,
	FORMAT_TO_NESTED,			/* array or composite type */
} FormatConversion;

/* The last date of a column, which the next one mostly is, too. */
typedef struct FormatDate
{
	char text[	10];			/* YYYY-MM-DD */
	int32		days;			/* since 2000-01-01 */
} FormatDate;

/* A column with what its conversion needs. */
typedef struct FormatInput
{
	FormatColumn column;
	FormatNode *node;
	FormatConversion conversion;
	bool		is_domain;
	bool		is_array;
	bool		is_soft;		/* the input function reports every error
								 * softly, where the server knows how */
	void	   *domain_extra;	/* domain_check()'s cache */
	Oid			base_type;		/* of a domain, else the type itself */
	int32		base_typmod;
	const char *type_name;		/* of base_type, for messages */
	FmgrInfo	input;			/* of base_type */
	Oid			ioparam;

	/*
	 * What most values are like: this kind, and of these flags (mask) exactly
	 * those.  FORMAT_NO_VALUE: all of them need a look.
	 */
	uint8		usual_kind;
	uint8		usual_mask;
	uint8		usual_flags;
	size_t		usual_length;	/* at most, of text */
	FormatDate	date;
	FmgrInfo   *populate;		/* json_populate_record(), nested types only */
	void	   *soft_cache;		/* the same without exceptions: its cache */
	TupleDesc	populate_desc;	/* a row of this one column */
} FormatInput;

struct FormatDecoder
{
	FormatKind	kind;
	MemoryContext cxt;
	int			ninputs;
	FormatInput *inputs;
	FormatNode *root;
	int			nnodes;			/* without the root */
	FormatNode **nodes;
	int64		messages;		/* objects decoded so far */
	bool		all_seen;
	/* what a guarded conversion works on, for tm_format_describe_error() */
	int			current;		/* index of inputs, or -1 */
	const char *current_text;	/* what its input function got, or NULL */
};

/* ---- format_error.c ---- */

extern FormatResult tm_format_bad(FormatError *error, int sqlstate,
								  const char *fmt,...) pg_attribute_printf(3, 4);
extern const char *tm_format_excerpt(const char *bytes, size_t len);

/* ---- format_utf8.c ---- */

/*
 * How many bytes, from the first on, are valid UTF-8 text in which no byte is
 * zero: len, or less.
 */
extern int	tm_format_utf8_length(const char *bytes, int len);

/* ---- format_json_escape.c ---- */

/* Check an escape, p behind its backslash; returns the place behind it. */
extern const char *tm_format_scan_escape(FormatScan *scan, const char *p,
										 unsigned *flags);

/* Unescape a valid string; out needs as many bytes as it has.  The length. */
extern size_t tm_format_unescape(const FormatValue *value, char *out);

/* ---- format_json_scan.c ---- */

/* Note what is wrong; the answer is always NULL. */
extern const char *tm_format_scan_fail(FormatScan *scan, const char *at,
									   const char *reason);

/*
 * Validate len bytes as one JSON text.  With a root the text must be an object
 * and the values of its nodes are filled in; without, any value will do.
 * *value is the whole.  Returns false with error filled.
 */
extern bool tm_format_scan(FormatScan *scan, const char *bytes, size_t len,
						   FormatNode *root, FormatValue *value,
						   FormatError *error);

/*
 * Is it one JSON number?  Fills value if so.  The byte behind it is readable, and
 * no digit: a closing quote.
 */
extern bool tm_format_scan_number(const char *bytes, size_t len,
								  FormatValue *value);

/* ---- format_json_path.c ---- */

extern void tm_format_path_build(FormatDecoder *decoder);
extern uint32 tm_format_path_hash(const char *key, size_t len);
extern FormatNode *tm_format_path_find(const FormatNode *node, const char *key,
									   size_t len);
extern void tm_format_path_note_near_miss(FormatNode *node, const char *key,
										  size_t len, MemoryContext cxt);

/* ---- format_json.c ---- */

extern void tm_format_json_open(FormatDecoder *decoder);
extern FormatResult tm_format_json_decode(FormatDecoder *decoder,
										  const char *bytes, size_t len,
										  bool guarded, Datum *values,
										  bool *isnull, FormatError *error);

/* ---- format_json_value.c, format_json_text.c ---- */

extern void tm_format_input_open(FormatInput *input, MemoryContext cxt);

/*
 * Do all functions that read values of this type report every error softly
 * (ErrorSaveContext)?  Those of PostgreSQL do; others only say so.
 */
extern bool tm_format_type_is_soft(Oid type);

/*
 * Convert a value that is not null for a column.  Without build the value is
 * only judged, and *datum may stay as it is.
 */
extern FormatResult tm_format_convert(FormatDecoder *decoder,
									  FormatInput *input,
									  const FormatValue *value, bool guarded,
									  bool build, Datum *datum,
									  FormatError *error);

/* The value for a type of text: the unescaped string or the raw bytes. */
extern FormatResult tm_format_convert_text(FormatDecoder *decoder,
										   FormatInput *input,
										   const FormatValue *value,
										   bool guarded, bool build,
										   Datum *datum, FormatError *error);
extern FormatResult tm_format_convert_json(FormatDecoder *decoder,
										   FormatInput *input,
										   const FormatValue *value,
										   bool guarded, bool build,
										   Datum *datum, FormatError *error);
extern FormatResult tm_format_convert_nested(FormatDecoder *decoder,
											 FormatInput *input,
											 const FormatValue *value,
											 bool guarded, Datum *datum,
											 FormatError *error);
extern FormatResult tm_format_convert_by_input(FormatDecoder *decoder,
											   FormatInput *input,
											   const FormatValue *value,
											   bool guarded, bool safe,
											   Datum *datum,
											   FormatError *error);

/* Can the value's bytes go into a Datum of the server's encoding as they are? */
extern bool tm_format_needs_transcoding(const FormatValue *value);

/* The raw bytes of a value, quotes included, in the server's encoding. */
extern char *tm_format_raw_json(const FormatValue *value, size_t *len);

/* ---- format_time.c ---- */

/* A date and time of day in ISO 8601's common shapes, zone in seconds east. */
typedef struct FormatTime
{
	int32		days;			/* since 2000-01-01 */
	int64		usecs;			/* of the day; may be a whole day */
	int32		zone;
} FormatTime;

extern bool tm_format_time_parse(const char *s, size_t len, FormatTime *time);

/* YYYY-MM-DDTHH:MM:SS, with or without .mmm, and Z, as microseconds. */
extern bool tm_format_time_parse_usual(const char *s, size_t len,
									   FormatDate *date, int64 *timestamp);

/* A JSON number holding time: false when out of range. */
extern bool tm_format_time_from_number(const FormatValue *value,
									   FormatTimeUnit unit, int64 *timestamp);

#endif							/* TM_FORMAT_INTERNAL_H */
