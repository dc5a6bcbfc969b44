/*
 * format_time.c
 *	  Times from text and numbers; pure arithmetic.
 *
 * Text: the shapes of ISO 8601 that programs write, YYYY-MM-DD alone or with
 * "T" or a space, HH:MM:SS, up to 9 digits of fraction, and Z, +HH, +HHMM or
 * +HH:MM.  All else is left to the type's input function, and what is taken
 * here gives the same result as there.
 *
 * Numbers: counted from the Unix epoch in the column's time_unit.  They are
 * read as exact decimals, rounded to microseconds half away from zero.
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "datatype/timestamp.h"

#include "format/format_internal.h"

#define DIGIT(c) ((unsigned) ((c) - '0'))

/* Days from 0001-01-01 to 2000-01-01 */
#define DAYS_TO_2000 730119

static inline bool
parse_2(const char *s, unsigned *number)
{
	if (DIGIT(s[0]) > 9 || DIGIT(s[1]) > 9)
		return false;
	*number = DIGIT(s[0]) * 10 + DIGIT(s[1]);
	return true;
}

/* YYYY-MM-DD, years 1 to 9999 */
static bool
parse_date(const char *s, int32 *days)
{
	static const short before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273,
	304, 334, 365};
	unsigned	century;
	unsigned	year;
	unsigned	month;
	unsigned	day;
	bool		leap;

	if (!parse_2(s, &century) || !parse_2(s + 2, &year) || s[4] != '-' ||
		!parse_2(s + 5, &month) || s[7] != '-' || !parse_2(s + 8, &day))
		return false;
	year += century * 100;
	if (year < 1 || month < 1 || month > 12 || day < 1)
		return false;
	leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	if (day > before[month] - before[month - 1] + (leap && month == 2))
		return false;
	year--;
	*days = (int32) (year * 365 + year / 4 - year / 100 + year / 400) +
		before[month - 1] + (leap && month > 2) + (int32) day - 1 - DAYS_TO_2000;
	return true;
}

/*
 * Digits behind the decimal point, to microseconds; returns the place behind
 * them or NULL.  From 7 digits on the arithmetic is that of the input
 * functions, whose strtod() gives the same quotient.
 */
static const char *
parse_fraction(const char *p, const char *end, int64 *usecs)
{
	static const int64 scale[] = {0, 100000, 10000, 1000, 100, 10, 1};
	const char *start = p;
	int64		number = 0;
	int			ndigits;

	while (p < end && DIGIT(*p) <= 9 && p - start < 10)
		number = number * 10 + DIGIT(*p++);
	ndigits = p - start;
	if (ndigits == 0 || ndigits > 9)
		return NULL;
	if (ndigits <= 6)
		*usecs = number * scale[ndigits];
	else
		*usecs = (int64) rint((double) number /
							  (ndigits == 7 ? 1e7 : ndigits == 8 ? 1e8 : 1e9) *
							  1000000);
	return p;
}

/* Z, +HH, +HHMM or +HH:MM up to the end */
static bool
parse_zone(const char *p, const char *end, int32 *zone)
{
	unsigned	hours;
	unsigned	minutes = 0;
	int			len = end - p;

	if (len == 1 && *p == 'Z')
	{
		*zone = 0;
		return true;
	}
	if ((len != 3 && len != 5 && len != 6) || (*p != '+' && *p != '-') ||
		!parse_2(p + 1, &hours))
		return false;
	if (len == 6 && p[3] != ':')
		return false;
	if (len > 3 && !parse_2(end - 2, &minutes))
		return false;
	if (hours > 15 || minutes > 59)
		return false;
	*zone = (int32) (hours * SECS_PER_HOUR + minutes * SECS_PER_MINUTE);
	if (*p == '-')
		*zone = -*zone;
	return true;
}

bool
tm_format_time_parse(const char *s, size_t len, FormatTime *time)
{
	const char *end = s + len;
	const char *p = s + 19;
	unsigned	hour;
	unsigned	minute;
	unsigned	second;
	int64		fraction = 0;

	time->usecs = 0;
	time->zone = 0;
	if (len < 10 || !parse_date(s, &time->days))
		return false;
	if (len == 10)
		return true;
	if (len < 19 || (s[10] != 'T' && s[10] != ' ') ||
		!parse_2(s + 11, &hour) || s[13] != ':' ||
		!parse_2(s + 14, &minute) || s[16] != ':' ||
		!parse_2(s + 17, &second) ||
		hour > 23 || minute > 59 || second > 59)
		return false;
	if (p < end && *p == '.')
	{
		p = parse_fraction(p + 1, end, &fraction);
		if (p == NULL)
			return false;
	}
	if (p < end && !parse_zone(p, end, &time->zone))
		return false;
	time->usecs = ((int64) hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE +
				   second) * USECS_PER_SEC + fraction;
	return true;
}

bool
tm_format_time_parse_usual(const char *s, size_t len, FormatDate *date,
						   int64 *timestamp)
{
	unsigned	hour;
	unsigned	minute;
	unsigned	second;
	unsigned	millis = 0;

	if ((len != 24 && len != 20) || s[len - 1] != 'Z')
		return false;
	if (memcmp(s, date->text, sizeof(date->text)) != 0)
	{
		if (!parse_date(s, &date->days))
			return false;
		memcpy(date->text, s, sizeof(date->text));
	}
	if ((s[10] != 'T' && s[10] != ' ') || s[13] != ':' || s[16] != ':' ||
		!parse_2(s + 11, &hour) || !parse_2(s + 14, &minute) ||
		!parse_2(s + 17, &second) || hour > 23 || minute > 59 || second > 59)
		return false;
	if (len == 24)
	{
		if (s[19] != '.' || !parse_2(s + 20, &millis) || DIGIT(s[22]) > 9)
			return false;
		millis = millis * 10 + DIGIT(s[22]);
	}
	*timestamp = (int64) date->days * USECS_PER_DAY +
		(int64) (hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE + second) *
		USECS_PER_SEC + millis * 1000;
	return true;
}

/* The exponent of a JSON number, held within what can matter. */
static int
parse_exponent(const char *p, const char *end)
{
	bool		negative = *p == '-';
	int			exponent = 0;

	if (*p == '-' || *p == '+')
		p++;
	for (; p < end; p++)
		if (exponent < INT_MAX / 20)
			exponent = exponent * 10 + DIGIT(*p);
	return negative ? -exponent : exponent;
}

/* Microseconds of a number that has a fraction, an exponent or many digits. */
static bool
scale_decimal(const FormatValue *value, int shift, int64 *usecs)
{
	const char *p = value->start;
	const char *end = value->end;
	const char *exponent;
	bool		negative = *p == '-';
	int64		point = shift;	/* digits before the decimal point */
	int64		taken = 0;
	uint64		sum = 0;
	bool		in_fraction = false;
	bool		round_up = false;

	for (exponent = p; exponent < end; exponent++)
		if (*exponent == 'e' || *exponent == 'E')
		{
			point += parse_exponent(exponent + 1, end);
			break;
		}
	for (p += negative; p < exponent; p++)
	{
		if (*p == '.')
		{
			in_fraction = true;
			continue;
		}
		if (!in_fraction)
			point++;
		/* leading zeros do not count */
		if (taken == 0 && *p == '0')
		{
			point--;
			continue;
		}
		if (taken < 19)
			sum = sum * 10 + DIGIT(*p);
		taken++;
	}
	if (taken == 0 || point < 0)
	{
		*usecs = 0;
		return true;
	}
	if (point > 18)
		return false;			/* more than 10^18 us are 31 thousand years */

	/* sum has min(taken, 19) digits, of which point are before the point */
	for (taken = Min(taken, 19); taken < point; taken++)
		sum *= 10;
	for (; taken > point; taken--)
	{
		round_up = sum % 10 >= 5;
		sum /= 10;
	}
	sum += round_up;
	*usecs = negative ? -(int64) sum : (int64) sum;
	return true;
}

bool
tm_format_time_from_number(const FormatValue *value, FormatTimeUnit unit,
						   int64 *timestamp)
{
	static const int shifts[] = {0, 6, 3, 0, -3};
	static const int64 factors[] = {1, 1000000, 1000, 1, 1};
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
	USECS_PER_DAY;
	int64		usecs;

	if ((value->flags & FORMAT_VALUE_INTEGER) && unit != FORMAT_TIME_UNIT_NS)
	{
		if (__builtin_mul_overflow(value->integer, factors[unit], &usecs))
			return false;
	}
	else if (!scale_decimal(value, shifts[unit], &usecs))
		return false;
	if (__builtin_sub_overflow(usecs, epoch, timestamp))
		return false;
	return IS_VALID_TIMESTAMP(*timestamp);
}
