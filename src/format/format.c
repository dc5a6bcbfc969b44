/*
 * format.c
 *	  The door of the format room: which formats there are.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "format/format_internal.h"

bool
tm_format_lookup(const char *name, FormatKind *kind)
{
	if (strcmp(name, "json") == 0)
		*kind = FORMAT_JSON;
	else if (strcmp(name, "raw") == 0)
		*kind = FORMAT_RAW;
	else
		return false;
	return true;
}

FormatDecoder *
tm_format_open(FormatKind kind, int ncolumns, const FormatColumn *columns,
			   MemoryContext cxt)
{
	MemoryContext own = AllocSetContextCreate(cxt, "tidemark decoder",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(own);
	FormatDecoder *decoder = palloc0(sizeof(FormatDecoder));

	if (kind == FORMAT_RAW && ncolumns > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of a stream of format \"raw\" has no option \"metadata\"",
						columns[0].column)));
	decoder->kind = kind;
	decoder->cxt = own;
	decoder->ninputs = ncolumns;
	decoder->current = -1;
	decoder->inputs = palloc0(Max(ncolumns, 1) * sizeof(FormatInput));
	for (int i = 0; i < ncolumns; i++)
	{
		FormatInput *input = &decoder->inputs[i];

		input->column = columns[i];
		input->column.field = pstrdup(columns[i].field);
		input->column.column = pstrdup(columns[i].column);
		tm_format_input_open(input, own);
	}
	tm_format_path_build(decoder);
	MemoryContextSwitchTo(old);
	return decoder;
}

FormatResult
tm_format_decode(FormatDecoder *decoder, const char *bytes, size_t len,
				 bool guarded, Datum *values, bool *isnull, FormatError *error)
{
	if (decoder->kind == FORMAT_RAW)
		return FORMAT_OK;
	return tm_format_json_decode(decoder, bytes, len, guarded, values, isnull,
								 error);
}
