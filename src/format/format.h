/*
 * format.h
 *	  Door of the format room: message bytes to Datums.
 *
 * A decoder knows columns, not tables or topics.  It judges every column of
 * every message and builds Datums only for the columns somebody needs.
 *
 * A bad message is an answer, not an exception, as long as no foreign code has
 * to run: syntax, encoding, range of the fast types.  Everything else goes
 * through the column type's input function, which may throw; the decoder calls
 * it only when the caller says that it is guarded (inside a subtransaction), or
 * when it is one of PostgreSQL's that report errors softly (from 16 on; arrays
 * and composite types as JSON from 17 on).  So a clean batch of usual types needs
 * no subtransaction.
 *
 * Expressions run with the settings of SEMANTICS.md "Expressions and settings"
 * (TimeZone UTC, DateStyle ISO,MDY, ...): the caller has set them.
 */
#ifndef TM_FORMAT_H
#define TM_FORMAT_H

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

typedef enum FormatKind
{
	FORMAT_JSON,
	FORMAT_RAW,					/* no value columns; metadata only */
} FormatKind;

typedef enum FormatTimeUnit
{
	FORMAT_TIME_UNIT_NONE,
	FORMAT_TIME_UNIT_S,
	FORMAT_TIME_UNIT_MS,
	FORMAT_TIME_UNIT_US,
	FORMAT_TIME_UNIT_NS,
} FormatTimeUnit;

typedef struct FormatColumn
{
	const char *field;			/* member name, or JSON pointer when it starts
								 * with "/" */
	const char *column;			/* column name, for messages */
	Oid			type;
	int32		typmod;
	bool		not_null;
	bool		needed;			/* build the Datum; else only judge */
	FormatTimeUnit time_unit;
} FormatColumn;

typedef enum FormatResult
{
	FORMAT_OK,
	FORMAT_BAD,					/* bad message: see FormatError */
	FORMAT_NEEDS_GUARD,			/* call again with guarded = true */
} FormatResult;

typedef struct FormatError
{
	int			sqlstate;
	char		message[512];	/* server encoding, errmsg style */
	char		hint[256];		/* "" = none */
} FormatError;

typedef struct FormatDecoder FormatDecoder;

/* NULL when the name is not a format. */
extern bool tm_format_lookup(const char *name, FormatKind *kind);

/*
 * Prepare a decoder in cxt for these columns.  Throws 42883 when a type has no
 * usable input function; 22023 for a malformed JSON pointer.
 */
extern FormatDecoder *tm_format_open(FormatKind kind, int ncolumns,
									 const FormatColumn *columns, MemoryContext cxt);

/*
 * Decode one message value (bytes NULL: a tombstone, all columns NULL).
 * values/isnull have ncolumns entries; Datums by reference are allocated in
 * CurrentMemoryContext (scratch memory included: the caller resets it per
 * batch).  The bytes need no terminator and no padding.  Throws only when
 * guarded.
 */
extern FormatResult tm_format_decode(FormatDecoder *decoder, const char *bytes,
									 size_t len, bool guarded,
									 Datum *values, bool *isnull, FormatError *error);

/*
 * Fill error from an exception that a guarded call threw; decoder NULL: it was
 * tm_format_convert_bytes().  Names the column, keeps the message and the hint,
 * shows no more of the payload than other messages do.  Call it before the
 * decoder decodes again.
 */
extern void tm_format_describe_error(const FormatDecoder *decoder,
									 const ErrorData *edata, FormatError *error);

/*
 * Convert bytes of a key or of a raw value to a column of type bytea, text,
 * json or jsonb, under the same rules.
 */
extern FormatResult tm_format_convert_bytes(const char *bytes, size_t len, Oid type,
											bool guarded, Datum *value, FormatError *error);
extern bool tm_format_accepts_bytes(Oid type);

/*
 * Columns whose member no message had so far (0-based indexes); empty when
 * nothing was decoded yet.
 */
extern Bitmapset *tm_format_absent(const FormatDecoder *decoder);

/*
 * A member name that was seen and differs from the column's only in case, "_"
 * or "-", or NULL.
 */
extern const char *tm_format_near_miss(const FormatDecoder *decoder, int column);

#endif							/* TM_FORMAT_H */
