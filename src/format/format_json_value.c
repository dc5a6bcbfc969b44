/*
 * format_json_value.c
 *	  JSON values to Datums: the fast types, and everything else through the
 *	  type's input function.
 *
 * A fast path is taken only where its result is exactly that of the input
 * function.  Unguarded code may call a function of PostgreSQL's own when the
 * value has been proved to be fine for it (flag safe), or one that reports
 * errors softly; whatever might throw waits for the guard.  So does a value that
 * was refused softly, to be described in one way on all versions.
 */
#include "postgres.h"

#include <errno.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "format/format_internal.h"

/* Largest number literal that the fast paths copy to make it a C string. */
#define MAX_NUMBER 128

static FormatConversion
choose_conversion(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return FORMAT_TO_BOOL;
		case INT2OID:
			return FORMAT_TO_INT2;
		case INT4OID:
			return FORMAT_TO_INT4;
		case INT8OID:
			return FORMAT_TO_INT8;
		case FLOAT4OID:
			return FORMAT_TO_FLOAT4;
		case FLOAT8OID:
			return FORMAT_TO_FLOAT8;
		case NUMERICOID:
			return FORMAT_TO_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
			return FORMAT_TO_TEXT;
		case BPCHAROID:
			return FORMAT_TO_BPCHAR;
		case JSONOID:
			return FORMAT_TO_JSON;
		case JSONBOID:
			return FORMAT_TO_JSONB;
		case TIMESTAMPTZOID:
			return FORMAT_TO_TIMESTAMPTZ;
		case TIMESTAMPOID:
			return FORMAT_TO_TIMESTAMP;
		case DATEOID:
			return FORMAT_TO_DATE;
		case TIMEOID:
		case TIMETZOID:
			return FORMAT_TO_TIME;
		case UUIDOID:
			return FORMAT_TO_UUID;
	}
	if (get_typtype(type) == TYPTYPE_COMPOSITE ||
		OidIsValid(get_element_type(type)))
		return FORMAT_TO_NESTED;
	return FORMAT_TO_OTHER;
}

/* All attributes of a composite type, which can change at any time. */
static bool
composite_is_soft(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	bool		soft = true;

	for (int i = 0; i < desc->natts && soft; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		soft = att->attisdropped || tm_format_type_is_soft(att->atttypid);
	}
	ReleaseTupleDesc(desc);
	return soft;
}

bool
tm_format_type_is_soft(Oid type)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		return tm_format_type_is_soft(element);
	switch (get_typtype(type))
	{
		case TYPTYPE_ENUM:
			return true;
		case TYPTYPE_COMPOSITE:
			return composite_is_soft(type);
		case TYPTYPE_BASE:
			break;
		default:
			return false;
	}
	switch (type)
	{
		case BOOLOID:
		case BYTEAOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
			return true;
		default:
			return false;
	}
}

/* Which values of the column need nothing but copying or counting. */
static void
choose_usual(FormatInput *input)
{
	uint8		doubtful = FORMAT_VALUE_ESCAPED | FORMAT_VALUE_ZERO_ESCAPE |
	FORMAT_VALUE_LONE_SURROGATE;

	input->usual_kind = FORMAT_NO_VALUE;
	if (input->is_domain)
		return;
	switch (input->conversion)
	{
		case FORMAT_TO_INT4:
		case FORMAT_TO_INT8:
			input->usual_kind = FORMAT_VALUE_NUMBER;
			input->usual_mask = FORMAT_VALUE_INTEGER;
			input->usual_flags = FORMAT_VALUE_INTEGER;
			break;
		case FORMAT_TO_TEXT:
			input->usual_kind = FORMAT_VALUE_STRING;
			input->usual_mask = doubtful;
			if (GetDatabaseEncoding() != PG_UTF8)
				input->usual_mask |= FORMAT_VALUE_HIGH;
			input->usual_flags = 0;
			input->usual_length = SIZE_MAX;
			/* a limit in characters holds for sure if it holds in bytes */
			if (input->base_typmod >= (int32) VARHDRSZ)
				input->usual_length = input->base_typmod - VARHDRSZ;
			break;
		case FORMAT_TO_TIMESTAMPTZ:
			if (input->base_typmod >= 0)
				break;
			input->usual_kind = FORMAT_VALUE_STRING;
			input->usual_mask = doubtful;
			input->usual_flags = 0;
			break;
		default:
			break;
	}
}

/* Look up what converting to the input's column takes. */
void
tm_format_input_open(FormatInput *input, MemoryContext cxt)
{
	Oid			function;

	input->is_domain = get_typtype(input->column.type) == TYPTYPE_DOMAIN;
	input->base_typmod = input->column.typmod;
	input->base_type = getBaseTypeAndTypmod(input->column.type,
											&input->base_typmod);
	input->conversion = choose_conversion(input->base_type);
	input->is_array = OidIsValid(get_element_type(input->base_type));
	input->is_soft = TM_HAS_SOFT_INPUT &&
		get_typtype(input->base_type) != TYPTYPE_COMPOSITE &&
		!(input->is_array && get_typtype(get_element_type(input->base_type)) == TYPTYPE_COMPOSITE) &&
		tm_format_type_is_soft(input->base_type);
	input->type_name = format_type_be(input->base_type);
	getTypeInputInfo(input->base_type, &function, &input->ioparam);
	fmgr_info_cxt(function, &input->input, cxt);
	choose_usual(input);
}

/* A JSON object or array for a column that cannot hold one. */
static FormatResult
bad_container(FormatInput *input, const FormatValue *value, FormatError *error)
{
	return tm_format_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
						 "column \"%s\": cannot convert a JSON %s to type %s",
						 input->column.column,
						 value->kind == FORMAT_VALUE_OBJECT ? "object" : "array",
						 input->type_name);
}

/* What the integer input functions say about a value that is none. */
static FormatResult
bad_integer(FormatInput *input, const FormatValue *value, FormatError *error)
{
	const char *shown = tm_format_excerpt(value->start,
										  value->end - value->start);
	const char *p = value->start + (*value->start == '-');

	while (p < value->end && *p >= '0' && *p <= '9')
		p++;
	if (p == value->end)
		return tm_format_bad(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							 "column \"%s\": value \"%s\" is out of range for type %s",
							 input->column.column, shown, input->type_name);
	return tm_format_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
						 "column \"%s\": invalid input syntax for type %s: \"%s\"",
						 input->column.column, input->type_name, shown);
}

/* A number where the column holds a time of some kind. */
static FormatResult
bad_time_number(FormatInput *input, const FormatValue *value,
				FormatError *error)
{
	tm_format_bad(error, ERRCODE_DATATYPE_MISMATCH,
				  "column \"%s\": number %s cannot be converted to type %s without a unit",
				  input->column.column,
				  tm_format_excerpt(value->start, value->end - value->start),
				  input->type_name);
	if (input->conversion == FORMAT_TO_TIMESTAMPTZ ||
		input->conversion == FORMAT_TO_TIMESTAMP)
		strlcpy(error->hint,
				"Set the column option \"time_unit\" to s, ms, us or ns.",
				sizeof(error->hint));
	else
		strlcpy(error->hint,
				"Declare the column as timestamptz with the column option \"time_unit\".",
				sizeof(error->hint));
	return FORMAT_BAD;
}

/*
 * The value as a number, also when it is a string that looks like one; NULL
 * when it does not.
 */
static inline const FormatValue *
as_number(const FormatValue *value, FormatValue *number)
{
	if (value->kind == FORMAT_VALUE_NUMBER)
		return value;
	if (value->kind == FORMAT_VALUE_STRING &&
		tm_format_scan_number(value->start, value->end - value->start, number))
		return number;
	return NULL;
}

static FormatResult
convert_integer(FormatDecoder *decoder, FormatInput *input,
				const FormatValue *value, bool guarded, Datum *datum,
				FormatError *error)
{
	FormatValue buffer;
	const FormatValue *number = as_number(value, &buffer);

	if (number != NULL && (number->flags & FORMAT_VALUE_INTEGER))
	{
		int64		integer = number->integer;

		switch (input->conversion)
		{
			case FORMAT_TO_INT8:
				*datum = Int64GetDatum(integer);
				return FORMAT_OK;
			case FORMAT_TO_INT4:
				*datum = Int32GetDatum((int32) integer);
				if (integer == (int32) integer)
					return FORMAT_OK;
				break;
			default:
				*datum = Int16GetDatum((int16) integer);
				if (integer == (int16) integer)
					return FORMAT_OK;
		}
	}
	if (value->kind == FORMAT_VALUE_STRING)
		return tm_format_convert_by_input(decoder, input, value, guarded,
										  false, datum, error);
	return bad_integer(input, value, error);
}

/*
 * strtod() and strtof() are what the input functions call; whatever they have
 * doubts about is left to those.
 */
static FormatResult
convert_float(FormatDecoder *decoder, FormatInput *input,
			  const FormatValue *value, bool guarded, Datum *datum,
			  FormatError *error)
{
	FormatValue buffer;
	const FormatValue *number = as_number(value, &buffer);
	char text[	MAX_NUMBER];

	if (number != NULL && number->end - number->start < MAX_NUMBER)
	{
		memcpy(text, number->start, number->end - number->start);
		text[		number->end - number->start] = '\0';

		errno = 0;
		if (input->conversion == FORMAT_TO_FLOAT8)
			*datum = Float8GetDatum(strtod(text, NULL));
		else
			*datum = Float4GetDatum(strtof(text, NULL));
		if (errno == 0)
			return FORMAT_OK;
	}
	return tm_format_convert_by_input(decoder, input, value, guarded, false,
									  datum, error);
}

/*
 * Would numeric_in() take the number without an error?  With a precision it
 * must have few enough digits before the point, even after rounding.
 */
static bool
is_safe_numeric(const FormatValue *number, int32 typmod)
{
	int			precision;
	int			scale;
	const char *p = number->start + (*number->start == '-');
	const char *digits = p;

	if (number->flags & FORMAT_VALUE_WILD_NUMBER)
		return false;
	if (typmod < (int32) VARHDRSZ)
		return true;
	precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
	scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
	while (p < number->end && *p >= '0' && *p <= '9')
		p++;
	if (memchr(p, 'e', number->end - p) || memchr(p, 'E', number->end - p))
		return false;
	return p - digits < precision - scale;
}

static FormatResult
convert_numeric(FormatDecoder *decoder, FormatInput *input,
				const FormatValue *value, bool guarded, bool build,
				Datum *datum, FormatError *error)
{
	FormatValue buffer;
	const FormatValue *number = as_number(value, &buffer);
	bool		safe;

	safe = number != NULL && is_safe_numeric(number, input->base_typmod);
	if (safe && !build)
		return FORMAT_OK;
	if (safe && (number->flags & FORMAT_VALUE_INTEGER) &&
		input->base_typmod < (int32) VARHDRSZ)
	{
		*datum = NumericGetDatum(int64_to_numeric(number->integer));
		return FORMAT_OK;
	}
	return tm_format_convert_by_input(decoder, input, value, guarded, safe,
									  datum, error);
}

static FormatResult
convert_bool(FormatDecoder *decoder, FormatInput *input,
			 const FormatValue *value, bool guarded, Datum *datum,
			 FormatError *error)
{
	bool		result;

	if (parse_bool_with_len(value->start, value->end - value->start, &result))
	{
		*datum = BoolGetDatum(result);
		return FORMAT_OK;
	}
	return tm_format_convert_by_input(decoder, input, value, guarded, false,
									  datum, error);
}

/* Round a timestamp to the column's precision. */
static inline Datum
timestamp_datum(const FormatInput *input, int64 timestamp)
{
	if (input->base_typmod < 0)
		return TimestampGetDatum(timestamp);
	return DirectFunctionCall2(timestamp_scale, TimestampGetDatum(timestamp),
							   Int32GetDatum(input->base_typmod));
}

/* Dates, timestamps and times of day. */
static FormatResult
convert_time(FormatDecoder *decoder, FormatInput *input,
			 const FormatValue *value, bool guarded, Datum *datum,
			 FormatError *error)
{
	FormatTime	time;
	int64		timestamp;

	if (value->kind == FORMAT_VALUE_NUMBER)
	{
		if (input->column.time_unit == FORMAT_TIME_UNIT_NONE ||
			(input->conversion != FORMAT_TO_TIMESTAMPTZ &&
			 input->conversion != FORMAT_TO_TIMESTAMP))
			return bad_time_number(input, value, error);
		if (!tm_format_time_from_number(value, input->column.time_unit,
										&timestamp))
			return tm_format_bad(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
								 "column \"%s\": timestamp out of range: %s",
								 input->column.column,
								 tm_format_excerpt(value->start,
												   value->end - value->start));
		*datum = timestamp_datum(input, timestamp);
		return FORMAT_OK;
	}
	if (input->conversion == FORMAT_TO_TIME ||
		value->kind != FORMAT_VALUE_STRING ||
		!tm_format_time_parse(value->start, value->end - value->start, &time))
		return tm_format_convert_by_input(decoder, input, value, guarded,
										  false, datum, error);
	if (input->conversion == FORMAT_TO_DATE)
	{
		*datum = DateADTGetDatum(time.days);
		return FORMAT_OK;
	}
	timestamp = (int64) time.days * USECS_PER_DAY + time.usecs;
	/* the type timestamp ignores a zone */
	if (input->conversion == FORMAT_TO_TIMESTAMPTZ)
		timestamp -= (int64) time.zone * USECS_PER_SEC;
	*datum = timestamp_datum(input, timestamp);
	return FORMAT_OK;
}

static inline int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 8-4-4-4-12 hexadecimal digits; other spellings are the input function's */
static bool
parse_uuid(const char *s, size_t len, pg_uuid_t *uuid)
{
	const char *p = s;

	if (len != 36)
		return false;
	for (int i = 0; i < UUID_LEN; i++)
	{
		int			high;
		int			low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
			return false;
		high = hex_digit(p[0]);
		low = hex_digit(p[1]);
		if (high < 0 || low < 0)
			return false;
		uuid->data[i] = (unsigned char) (high << 4 | low);
		p += 2;
	}
	return true;
}

static FormatResult
convert_uuid(FormatDecoder *decoder, FormatInput *input,
			 const FormatValue *value, bool guarded, bool build, Datum *datum,
			 FormatError *error)
{
	pg_uuid_t	uuid;

	if (value->kind != FORMAT_VALUE_STRING ||
		!parse_uuid(value->start, value->end - value->start, &uuid))
		return tm_format_convert_by_input(decoder, input, value, guarded,
										  false, datum, error);
	if (build)
	{
		pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

		*copy = uuid;
		*datum = UUIDPGetDatum(copy);
	}
	return FORMAT_OK;
}

FormatResult
tm_format_convert(FormatDecoder *decoder, FormatInput *input,
				  const FormatValue *value, bool guarded, bool build,
				  Datum *datum, FormatError *error)
{
	bool		container = value->kind >= FORMAT_VALUE_OBJECT;

	/* what can hold anything */
	switch (input->conversion)
	{
		case FORMAT_TO_TEXT:
		case FORMAT_TO_BPCHAR:
			return tm_format_convert_text(decoder, input, value, guarded,
										  build, datum, error);
		case FORMAT_TO_JSON:
		case FORMAT_TO_JSONB:
			return tm_format_convert_json(decoder, input, value, guarded,
										  build, datum, error);
		case FORMAT_TO_NESTED:
			if (container &&
				(value->kind == FORMAT_VALUE_ARRAY) != input->is_array)
				return bad_container(input, value, error);
			if (container)
				return tm_format_convert_nested(decoder, input, value,
												guarded, datum, error);
			break;
		default:
			if (container)
				return bad_container(input, value, error);
	}
	switch (input->conversion)
	{
		case FORMAT_TO_BOOL:
			return convert_bool(decoder, input, value, guarded, datum, error);
		case FORMAT_TO_INT2:
		case FORMAT_TO_INT4:
		case FORMAT_TO_INT8:
			return convert_integer(decoder, input, value, guarded, datum,
								   error);
		case FORMAT_TO_FLOAT4:
		case FORMAT_TO_FLOAT8:
			return convert_float(decoder, input, value, guarded, datum, error);
		case FORMAT_TO_NUMERIC:
			return convert_numeric(decoder, input, value, guarded, build,
								   datum, error);
		case FORMAT_TO_TIMESTAMPTZ:
		case FORMAT_TO_TIMESTAMP:
		case FORMAT_TO_DATE:
		case FORMAT_TO_TIME:
			return convert_time(decoder, input, value, guarded, datum, error);
		case FORMAT_TO_UUID:
			return convert_uuid(decoder, input, value, guarded, build, datum,
								error);
		default:
			return tm_format_convert_by_input(decoder, input, value, guarded,
											  false, datum, error);
	}
}
