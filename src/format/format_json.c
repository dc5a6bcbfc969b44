/*
 * format_json.c
 *	  One JSON message to the values of all columns.
 *
 * Columns are judged in their order, and the first one that is bad, or needs
 * guarding, ends the message; so the verdict does not depend on which columns
 * are needed or on what was guarded.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "format/format_internal.h"

/* Note which members the current message had. */
static void
note_seen(FormatDecoder *decoder)
{
	bool		all = true;

	for (int i = 0; i < decoder->nnodes; i++)
	{
		FormatNode *node = decoder->nodes[i];

		if (node->value.kind != FORMAT_VALUE_ABSENT)
			node->seen = true;
		all &= node->seen;
	}
	decoder->all_seen = all;
}

/* Judge a missing member or JSON null. */
static FormatResult
judge_null(FormatInput *input, FormatError *error)
{
	if (!input->column.not_null)
		return FORMAT_OK;
	if (input->node->value.kind == FORMAT_VALUE_NULL)
		return tm_format_bad(error, ERRCODE_NOT_NULL_VIOLATION,
							 "null value in column \"%s\" violates not-null constraint",
							 input->column.column);
	return tm_format_bad(error, ERRCODE_NOT_NULL_VIOLATION,
						 "missing value in column \"%s\" violates not-null constraint",
						 input->column.column);
}

/*
 * What most values are: written as their type wants them, and nothing to check.
 * Otherwise false, and nothing has happened.
 */
static inline bool
decode_usual(FormatInput *input, const FormatValue *value, Datum *datum)
{
	size_t		len = value->end - value->start;
	int64		timestamp;
	text	   *result;

	if (value->kind != input->usual_kind ||
		(value->flags & input->usual_mask) != input->usual_flags)
		return false;
	switch (input->conversion)
	{
		case FORMAT_TO_INT8:
			*datum = Int64GetDatum(value->integer);
			return true;
		case FORMAT_TO_INT4:
			*datum = Int32GetDatum((int32) value->integer);
			return value->integer == (int32) value->integer;
		case FORMAT_TO_TEXT:
			if (len > input->usual_length)
				return false;
			if (!input->column.needed)
				return true;
			result = palloc(len + VARHDRSZ);
			memcpy(VARDATA(result), value->start, len);
			SET_VARSIZE(result, len + VARHDRSZ);
			*datum = PointerGetDatum(result);
			return true;
		case FORMAT_TO_TIMESTAMPTZ:
			if (!tm_format_time_parse_usual(value->start, len, &input->date,
											&timestamp))
				return false;
			*datum = TimestampTzGetDatum(timestamp);
			return true;
		default:
			return false;
	}
}

/* Judge and, if somebody needs it, build the value of one column. */
static inline FormatResult
decode_column(FormatDecoder *decoder, FormatInput *input, bool guarded,
			  Datum *datum, bool *isnull, FormatError *error)
{
	const FormatValue *value = &input->node->value;
	bool		constrained;
	FormatResult result;

	*isnull = value->kind <= FORMAT_VALUE_NULL;
	constrained = input->is_domain && DomainHasConstraints(input->column.type);
	if (constrained && !guarded)
		return FORMAT_NEEDS_GUARD;
	if (*isnull)
		result = judge_null(input, error);
	else
		result = tm_format_convert(decoder, input, value, guarded,
								   input->column.needed || constrained,
								   datum, error);
	if (result == FORMAT_OK && constrained)
		domain_check(*datum, *isnull, input->column.type,
					 &input->domain_extra, decoder->cxt);
	if (!input->column.needed)
	{
		*datum = (Datum) 0;
		*isnull = true;
	}
	return result;
}

FormatResult
tm_format_json_decode(FormatDecoder *decoder, const char *bytes, size_t len,
					  bool guarded, Datum *values, bool *isnull,
					  FormatError *error)
{
	FormatResult result = FORMAT_OK;

	decoder->current = -1;
	decoder->current_text = NULL;
	for (int i = 0; i < decoder->nnodes; i++)
		decoder->nodes[i]->value.kind = FORMAT_VALUE_ABSENT;
	if (bytes != NULL)
	{
		FormatScan	scan;
		FormatValue whole;

		scan.watch = !decoder->all_seen;
		scan.cxt = decoder->cxt;
		if (!tm_format_scan(&scan, bytes, len, decoder->root, &whole, error))
			return FORMAT_BAD;
		decoder->messages++;
		if (!decoder->all_seen)
			note_seen(decoder);
	}
	for (int i = 0; i < decoder->ninputs && result == FORMAT_OK; i++)
	{
		FormatInput *input = &decoder->inputs[i];

		decoder->current = i;
		decoder->current_text = NULL;
		values[i] = (Datum) 0;
		isnull[i] = !input->column.needed;
		if (likely(decode_usual(input, &input->node->value, &values[i])))
		{
			if (isnull[i])
				values[i] = (Datum) 0;
			continue;
		}
		values[i] = (Datum) 0;
		result = decode_column(decoder, input, guarded, &values[i],
							   &isnull[i], error);
	}
	decoder->current = -1;
	return result;
}
