/*
 * format_json_text.c
 *	  JSON values to types of text: text itself, json and jsonb, and whatever an
 *	  input function reads.
 *
 * Messages are UTF-8.  Where the server's encoding is another one, text that
 * is not ASCII is converted under the guard, because the conversion may throw.
 * A server encoding of SQL_ASCII takes the bytes as they are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "format/format_internal.h"

/* Longer JSON than this is made jsonb under the guard only. */
#define MAX_SAFE_JSONB (16 * 1024 * 1024)

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool
tm_format_needs_transcoding(const FormatValue *value)
{
	return (value->flags & FORMAT_VALUE_HIGH) &&
		GetDatabaseEncoding() != PG_UTF8 &&
		GetDatabaseEncoding() != PG_SQL_ASCII;
}

/* Terminated bytes in the server's encoding; may throw if it differs. */
static char *
to_server(const FormatValue *value, char *utf8, size_t *len)
{
	char	   *result = utf8;

	if (tm_format_needs_transcoding(value))
	{
		result = pg_any_to_server(utf8, *len, PG_UTF8);
		*len = strlen(result);
	}
	return result;
}

char *
tm_format_raw_json(const FormatValue *value, size_t *len)
{
	int			quote = value->kind == FORMAT_VALUE_STRING ? 1 : 0;

	*len = value->end - value->start + 2 * quote;
	return to_server(value, pnstrdup(value->start - quote, *len), len);
}

/* The text an input function gets. */
static char *
plain_text(const FormatValue *value)
{
	size_t		len = value->end - value->start;
	char	   *utf8;

	if (value->kind != FORMAT_VALUE_STRING ||
		!(value->flags & FORMAT_VALUE_ESCAPED))
		utf8 = pnstrdup(value->start, len);
	else
	{
		utf8 = palloc(len + 1);
		len = tm_format_unescape(value, utf8);
		utf8[len] = '\0';
	}
	return to_server(value, utf8, &len);
}

/* Has a string no text, because of one of its escapes? */
static FormatResult
check_escapes(FormatInput *input, const FormatValue *value, FormatError *error)
{
	if (value->kind != FORMAT_VALUE_STRING)
		return FORMAT_OK;
	if (value->flags & FORMAT_VALUE_ZERO_ESCAPE)
		return tm_format_bad(error, ERRCODE_UNTRANSLATABLE_CHARACTER,
							 "column \"%s\": \\u0000 cannot be converted to text",
							 input->column.column);
	if (value->flags & FORMAT_VALUE_LONE_SURROGATE)
		return tm_format_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							 "column \"%s\": Unicode surrogate without its other half",
							 input->column.column);
	return FORMAT_OK;
}

/*
 * Does a string for a type of time name a moment that moves?  Decoding a message
 * again must give the same row.
 */
static bool
is_moving_time(const FormatInput *input, const char *string)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	if (input->conversion < FORMAT_TO_TIMESTAMPTZ ||
		input->conversion > FORMAT_TO_TIME)
		return false;
	while (*string != '\0')
	{
		size_t		len = strspn(string, LETTERS);

		for (int i = 0; i < lengthof(words); i++)
			if (len == strlen(words[i]) &&
				pg_strncasecmp(string, words[i], len) == 0)
				return true;
		string += Max(len, 1);
	}
	return false;
}

/*
 * By the input function; safe promises that it takes this value without an
 * error.
 */
FormatResult
tm_format_convert_by_input(FormatDecoder *decoder, FormatInput *input,
						   const FormatValue *value, bool guarded, bool safe,
						   Datum *datum, FormatError *error)
{
	char	   *cstring;
	bool		soft = !guarded && !safe;

	if (check_escapes(input, value, error) != FORMAT_OK)
		return FORMAT_BAD;
	if (soft && (!input->is_soft || tm_format_needs_transcoding(value)))
		return FORMAT_NEEDS_GUARD;
	cstring = plain_text(value);
	if (is_moving_time(input, cstring))
		return tm_format_bad(error, ERRCODE_INVALID_DATETIME_FORMAT,
							 "column \"%s\": \"%s\" is not a fixed time",
							 input->column.column,
							 tm_format_excerpt(cstring, strlen(cstring)));
	if (soft)
		return tm_input_function_call_soft(&input->input, cstring,
										   input->ioparam, input->base_typmod,
										   datum) ?
			FORMAT_OK : FORMAT_NEEDS_GUARD;
	decoder->current_text = cstring;
	*datum = InputFunctionCall(&input->input, cstring, input->ioparam,
							   input->base_typmod);
	return FORMAT_OK;
}

FormatResult
tm_format_convert_text(FormatDecoder *decoder, FormatInput *input,
					   const FormatValue *value, bool guarded, bool build,
					   Datum *datum, FormatError *error)
{
	size_t		len = value->end - value->start;
	text	   *result;

	if (check_escapes(input, value, error) != FORMAT_OK)
		return FORMAT_BAD;

	/* a limit in characters holds for sure if it holds in bytes */
	if (tm_format_needs_transcoding(value) ||
		(input->base_typmod >= (int32) VARHDRSZ &&
		 len > input->base_typmod - VARHDRSZ))
		return tm_format_convert_by_input(decoder, input, value, guarded,
										  false, datum, error);
	if (!build)
		return FORMAT_OK;
	if (input->conversion == FORMAT_TO_BPCHAR)
		return tm_format_convert_by_input(decoder, input, value, guarded,
										  true, datum, error);
	result = palloc(len + VARHDRSZ);
	if (value->kind == FORMAT_VALUE_STRING &&
		(value->flags & FORMAT_VALUE_ESCAPED))
		len = tm_format_unescape(value, VARDATA(result));
	else
		memcpy(VARDATA(result), value->start, len);
	SET_VARSIZE(result, len + VARHDRSZ);
	*datum = PointerGetDatum(result);
	return FORMAT_OK;
}

/* Objects, arrays and everything else as JSON. */
FormatResult
tm_format_convert_json(FormatDecoder *decoder, FormatInput *input,
					   const FormatValue *value, bool guarded, bool build,
					   Datum *datum, FormatError *error)
{
	const unsigned doubtful = FORMAT_VALUE_ZERO_ESCAPE |
	FORMAT_VALUE_LONE_SURROGATE | FORMAT_VALUE_WILD_NUMBER |
	FORMAT_VALUE_DEEP;
	bool		is_jsonb = input->conversion == FORMAT_TO_JSONB;
	bool		safe = !tm_format_needs_transcoding(value);
	char	   *raw;
	size_t		len;

	/* what jsonb_in() could object to in JSON that is valid */
	if (is_jsonb)
		safe = !(value->flags & doubtful) &&
			(!(value->flags & FORMAT_VALUE_HIGH) ||
			 GetDatabaseEncoding() == PG_UTF8) &&
			value->end - value->start < MAX_SAFE_JSONB;
	if (!guarded && !safe)
		return FORMAT_NEEDS_GUARD;
	if (safe && !build)
		return FORMAT_OK;
	raw = tm_format_raw_json(value, &len);
	decoder->current_text = raw;
	if (is_jsonb)
		*datum = InputFunctionCall(&input->input, raw, input->ioparam, -1);
	else
		*datum = PointerGetDatum(cstring_to_text_with_len(raw, len));
	return FORMAT_OK;
}

/*
 * json_populate_record() for a row of this one column: it knows how to make
 * arrays, composite types and the domains inside them.
 */
static void
open_populate(FormatDecoder *decoder, FormatInput *input)
{
	MemoryContext old = MemoryContextSwitchTo(decoder->cxt);
	FmgrInfo   *populate = palloc0(sizeof(FmgrInfo));
	List	   *args;

	if (input->populate_desc == NULL)
	{
		TupleDesc	desc = CreateTemplateTupleDesc(1);

		TupleDescInitEntry(desc, 1, input->column.column, input->base_type,
						   input->base_typmod, 0);
		input->populate_desc = BlessTupleDesc(desc);
	}
	fmgr_info_cxt(F_JSON_POPULATE_RECORD, populate, decoder->cxt);
	args = list_make3(makeNullConst(RECORDOID, -1, InvalidOid),
					  makeNullConst(JSONOID, -1, InvalidOid),
					  makeNullConst(BOOLOID, -1, InvalidOid));
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSON_POPULATE_RECORD, RECORDOID,
											 args, InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL), populate);
	input->populate = populate;
	MemoryContextSwitchTo(old);
}

/* The same without exceptions, where that is sure to work. */
static FormatResult
populate_softly(FormatDecoder *decoder, FormatInput *input,
				const FormatValue *value, Datum *datum)
{
	char	   *raw;
	size_t		len;

	if (!TM_HAS_SOFT_JSON ||
		(value->flags & (FORMAT_VALUE_ZERO_ESCAPE | FORMAT_VALUE_LONE_SURROGATE |
						 FORMAT_VALUE_DEEP)) ||
		tm_format_needs_transcoding(value) ||
		!(input->is_soft || tm_format_type_is_soft(input->base_type)))
		return FORMAT_NEEDS_GUARD;
	raw = tm_format_raw_json(value, &len);
	return tm_json_populate_soft(PointerGetDatum(cstring_to_text_with_len(raw, len)),
								 input->base_type, input->base_typmod,
								 &input->soft_cache, decoder->cxt, datum) ?
		FORMAT_OK : FORMAT_NEEDS_GUARD;
}

FormatResult
tm_format_convert_nested(FormatDecoder *decoder, FormatInput *input,
						 const FormatValue *value, bool guarded, Datum *datum,
						 FormatError *error)
{
	StringInfoData document;
	Datum		row_value = (Datum) 0;
	bool		row_isnull = true;
	HeapTuple	row;
	HeapTupleData result;
	char	   *raw;
	size_t		len;

	if (!guarded)
		return populate_softly(decoder, input, value, datum);
	if (input->populate == NULL)
		open_populate(decoder, input);
	raw = tm_format_raw_json(value, &len);
	decoder->current_text = raw;
	initStringInfo(&document);
	appendStringInfoChar(&document, '{');
	escape_json(&document, input->column.column);
	appendStringInfoString(&document, ": ");
	appendBinaryStringInfo(&document, raw, len);
	appendStringInfoChar(&document, '}');
	row = heap_form_tuple(input->populate_desc, &row_value, &row_isnull);
	row_value = FunctionCall3(input->populate, HeapTupleGetDatum(row),
							  PointerGetDatum(cstring_to_text_with_len(document.data,
																	   document.len)),
							  BoolGetDatum(false));
	result.t_data = DatumGetHeapTupleHeader(row_value);
	result.t_len = HeapTupleHeaderGetDatumLength(result.t_data);
	ItemPointerSetInvalid(&result.t_self);
	result.t_tableOid = InvalidOid;
	*datum = heap_getattr(&result, 1, input->populate_desc, &row_isnull);
	Assert(!row_isnull);
	return FORMAT_OK;
}
