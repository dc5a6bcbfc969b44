/*
 * format_error.c
 *	  What is said about a bad message: in the server's encoding, with at most
 *	  FORMAT_MAX_EXCERPT characters of the payload.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "format/format_internal.h"

/* Bytes of a message by others that may hold payload we do not recognise. */
#define MAX_FOREIGN_MESSAGE 240

/* Fill error; the answer is always FORMAT_BAD. */
FormatResult
tm_format_bad(FormatError *error, int sqlstate, const char *fmt,...)
{
	va_list		args;
	int			len;

	error->sqlstate = sqlstate;
	error->hint[0] = '\0';
	va_start(args, fmt);
	len = vsnprintf(error->message, sizeof(error->message), fmt, args);
	va_end(args);

	/* cut at a character's end */
	if (len >= (int) sizeof(error->message))
	{
		len = sizeof(error->message) - 1;
		error->message[pg_mbcliplen(error->message, len, len - 4)] = '\0';
		strcat(error->message, "...");
	}
	return FORMAT_BAD;
}

/*
 * The beginning of some bytes of a message as text that can be shown: ASCII as
 * it is, other bytes as they are if they are whole characters of an encoding
 * that is UTF-8 here and there, and the rest as \xNN.
 */
const char *
tm_format_excerpt(const char *bytes, size_t len)
{
	char	   *result = palloc(4 * FORMAT_MAX_EXCERPT + 4);
	char	   *out = result;
	const char *p = bytes;
	const char *end = bytes + len;
	int			n;

	for (n = 0; n < FORMAT_MAX_EXCERPT && p < end; n++)
	{
		int			mblen = IS_HIGHBIT_SET(*p) ? pg_utf_mblen((const unsigned char *) p) : 1;

		if (mblen > 1 && mblen <= end - p && GetDatabaseEncoding() == PG_UTF8 &&
			pg_utf8_islegal((const unsigned char *) p, mblen))
		{
			memcpy(out, p, mblen);
			out += mblen;
			p += mblen;
		}
		else if ((unsigned char) *p >= 0x20 && (unsigned char) *p < 0x7F)
			*out++ = *p++;
		else
			out += sprintf(out, "\\x%02x", (unsigned char) *p++);
	}
	strcpy(out, p < end ? "..." : "");
	return result;
}

/* The message of an input function without more than an excerpt of the value. */
static const char *
shorten_message(const char *message, const char *value)
{
	int			value_len = value ? strlen(value) : 0;
	const char *found = NULL;
	int			len = strlen(message);

	if (value_len > FORMAT_MAX_EXCERPT)
		found = strstr(message, value);
	if (found != NULL)
		return psprintf("%.*s%s...%s", (int) (found - message), message,
						pnstrdup(value, pg_mbcharcliplen(value, value_len,
														 FORMAT_MAX_EXCERPT)),
						found + value_len);
	if (len > MAX_FOREIGN_MESSAGE)
		return psprintf("%s...", pnstrdup(message,
										  pg_mbcliplen(message, len,
													   MAX_FOREIGN_MESSAGE)));
	return message;
}

void
tm_format_describe_error(const FormatDecoder *decoder, const ErrorData *edata,
						 FormatError *error)
{
	const char *message = edata->message ? edata->message : "";
	const char *text = NULL;

	if (decoder != NULL && decoder->current >= 0)
	{
		text = decoder->current_text;

		tm_format_bad(error, edata->sqlerrcode, "column \"%s\": %s",
					  decoder->inputs[decoder->current].column.column,
					  shorten_message(message, text));
	}
	else
		tm_format_bad(error, edata->sqlerrcode, "%s",
					  shorten_message(message, NULL));
	if (edata->hint != NULL && strlen(edata->hint) < sizeof(error->hint))
		strlcpy(error->hint, edata->hint, sizeof(error->hint));
}
