/*
 * stream_headers.c
 *	  Headers of a message as a jsonb object of strings, and back: what the kept
 *	  log and the dead letters store.
 *
 * Runs in: every process; may throw (encoding conversion).
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "stream/stream.h"

/* Text of the server's encoding; bytes that are not UTF-8 as '\x..'. */
static char *
header_to_text(const char *bytes, size_t len)
{
	StringInfoData hex;

	if (pg_verify_mbstr(PG_UTF8, bytes, len, true))
		return pg_any_to_server(pnstrdup(bytes, len), len, PG_UTF8);

	initStringInfo(&hex);
	appendStringInfoString(&hex, "\\x");
	for (size_t i = 0; i < len; i++)
		appendStringInfo(&hex, "%02x", (unsigned char) bytes[i]);
	return hex.data;
}

Datum
tm_stream_headers_to_jsonb(const KafkaMessage *msg, bool *isnull)
{
	const KafkaHeader *headers;
	int			n = tm_kafka_message_headers(msg, &headers);
	StringInfoData json;

	*isnull = n == 0;
	if (n == 0)
		return (Datum) 0;
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(&json, ", ");
		escape_json(&json, header_to_text(headers[i].name,
										  strlen(headers[i].name)));
		appendStringInfoString(&json, ": ");
		if (headers[i].value == NULL)
			appendStringInfoString(&json, "null");
		else
			escape_json(&json, header_to_text(headers[i].value,
											  headers[i].len));
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

void
tm_stream_headers_from_jsonb(Datum datum, KafkaMessage *msg)
{
	Jsonb	   *jsonb = DatumGetJsonbP(datum);
	KafkaHeader *headers;
	JsonbIterator *it = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			n = 0;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be a JSON object")));
	headers = palloc0_array(KafkaHeader, Max(JB_ROOT_COUNT(jsonb), 1));
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *text;

		if ((token != WJB_KEY && token != WJB_VALUE) || value.type != jbvString)
		{
			/* a null value: its key was counted by the next key or the end */
			continue;
		}
		text = pnstrdup(value.val.string.val, value.val.string.len);
		text = pg_server_to_any(text, value.val.string.len, PG_UTF8);

		if (token == WJB_KEY)
			headers[n++].name = text;

		else
		{
			headers[n - 1].value = text;

			headers[n - 1].len = strlen(text);
		}
	}
	msg->headers = headers;
	msg->nheaders = n;
}
