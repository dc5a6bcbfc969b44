/*
 * speed.c
 *	  What decoding a message costs: `speed FILE NEEDED [MESSAGES]`.
 *
 * FILE has one bid a line (bench/gen/generate --bids); of the seven columns
 * all are needed (7) or auction, price, channel and date_time (4).  Prints the
 * best of seven rounds; with MESSAGES there is one round of that many, to be
 * counted by callgrind.
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_type.h"
#include "format/format.h"

#include "server.h"

#define NCOLUMNS 7
#define MAX_LINES 100000

static FormatColumn columns[NCOLUMNS] = {
	{"auction", "auction", INT8OID, -1, false, true},
	{"bidder", "bidder", INT8OID, -1, false, true},
	{"price", "price", INT8OID, -1, false, true},
	{"channel", "channel", TEXTOID, -1, false, true},
	{"url", "url", TEXTOID, -1, false, true},
	{"date_time", "date_time", TIMESTAMPTZOID, -1, false, true},
	{"extra", "extra", TEXTOID, -1, false, true},
};

static struct
{
	const char *bytes;
	size_t		len;
}			lines[MAX_LINES];

static double
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Decode so many messages; returns the time of one. */
static double
run_round(FormatDecoder *decoder, long messages, int nlines)
{
	double		start = now_ns();

	for (long i = 0; i < messages; i++)
	{
		Datum		values[NCOLUMNS];
		bool		isnull[NCOLUMNS];
		FormatError error;
		int			line = i % nlines;

		if (tm_format_decode(decoder, lines[line].bytes, lines[line].len,
							 false, values, isnull, &error) != FORMAT_OK)
		{
			fprintf(stderr, "line %d is bad: %s\n", line + 1, error.message);
			exit(1);
		}
		if (i % 1000 == 999)
			server_reset();
	}
	return (now_ns() - start) / messages;
}

int
main(int argc, char **argv)
{
	FILE	   *file = argc > 2 ? fopen(argv[1], "r") : NULL;
	long		messages = argc > 3 ? atol(argv[3]) : 0;
	char	   *line = NULL;
	size_t		size = 0;
	size_t		total = 0;
	int			nlines = 0;
	ssize_t		len;
	double		best = 1e18;
	FormatDecoder *decoder;

	if (file == NULL)
	{
		fprintf(stderr, "usage: speed FILE 4|7 [MESSAGES]\n");
		return 1;
	}
	while (nlines < MAX_LINES && (len = getline(&line, &size, file)) > 1)
	{
		lines[nlines].bytes = memcpy(malloc(len - 1), line, len - 1);
		lines[nlines++].len = len - 1;
		total += len - 1;
	}
	if (strcmp(argv[2], "4") == 0)
		columns[1].needed = columns[4].needed = columns[6].needed = false;
	decoder = tm_format_open(FORMAT_JSON, NCOLUMNS, columns, NULL);
	server_keep();
	for (int i = 0; i < (messages > 0 ? 1 : 7); i++)
	{
		double		ns = run_round(decoder, messages > 0 ? messages :
								   Max(nlines, (long) (5e7 / (total / nlines))), nlines);

		best = Min(best, ns);
		server_reset();
	}
	printf("%s, %s columns needed: %.0f bytes, %.1f ns\n", argv[1], argv[2],
		   (double) total / nlines, best);
	return 0;
}
