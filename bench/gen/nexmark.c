/*
 * nexmark.c
 *	  The events of the Nexmark auction house.
 *
 * A translation of bench/nexmark/gen.py, which is the reference; the order of
 * the draws is the order in which its expressions are evaluated.  pow() is the
 * only function of libm.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nexmark.h"

#define CHANNELS 10000
#define FIRST_ID 1000			/* of persons and auctions */
#define FIRST_CATEGORY 10
#define ID_LEAD 10				/* references reach this far into the future */
#define HOT_BLOCK 100			/* one hot seller, bidder, auction per block */
#define ACTIVE_PEOPLE 1000
#define IN_FLIGHT 100

/* shares of the kinds in each TOTAL events */
#define PERSONS 1
#define AUCTIONS 3
#define TOTAL 50

/* what a random stream is for; part of its seed */
enum
{
	TAG_EVENT, TAG_CHANNEL, TAG_HOT_URL, TAG_DELAY
};

static const char *const states[] = {"AZ", "CA", "ID", "OR", "WA", "WY"};
static const char *const cities[] = {
	"Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend",
	"Redmond", "Seattle", "Kent", "Cheyenne"
};
static const char *const first_names[] = {
	"Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah",
	"Deiter", "Walter"
};
static const char *const last_names[] = {
	"Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith",
	"Jones", "Noris"
};
static const char *const hot_channels[] = {"Google", "Facebook", "Baidu", "Apple"};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t
mix64(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static uint64_t
seed_random(uint64_t seed, uint64_t tag, uint64_t number)
{
	return mix64(seed ^ mix64(((tag << 56) | number) + 1));
}

/* The SplitMix64 generator. */
static uint64_t
draw(uint64_t *random)
{
	*random += UINT64_C(0x9E3779B97F4A7C15);
	return mix64(*random);
}

static int64_t
draw_below(uint64_t *random, int64_t n)
{
	return (int64_t) (draw(random) % (uint64_t) n);
}

static double
draw_unit(uint64_t *random)
{
	return (double) (draw(random) >> 11) * (1.0 / 9007199254740992.0);
}

static int64_t
draw_price(uint64_t *random)
{
	return (int64_t) (pow(10.0, draw_unit(random) * 6.0) * 100.0 + 0.5);
}

static char *
put(char *out, const char *text)
{
	size_t		length = strlen(text);

	memcpy(out, text, length);
	return out + length;
}

static char *
put_number(char *out, int64_t value)
{
	char		digits[20];
	int			n = 0;

	do
		digits[n++] = (char) ('0' + value % 10);
	while ((value /= 10) != 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

/* Letters and one in 13 blanks (or `special`), outer blanks removed. */
static char *
put_words(char *out, uint64_t *random, int max_length, char special)
{
	int			length = 3 + (int) draw_below(random, max_length - 3);
	char	   *start = out;

	for (int i = 0; i < length; i++)
	{
		uint64_t	v = draw(random);
		char		c = v % 13 == 0 ? special : (char) ('a' + v / 13 % 26);

		if (c != ' ' || out != start)
			*out++ = c;
	}
	while (out > start && out[-1] == ' ')
		out--;
	return out;
}

/* Padding that brings an event of `have` bytes to about `wanted` on average. */
static char *
put_extra(char *out, uint64_t *random, int64_t have, int64_t wanted)
{
	int64_t		missing = wanted - have;
	int64_t		delta = (missing + 2) / 5;
	int64_t		length = missing - delta;

	if (missing < 0)
		return out;
	if (delta > 0)
		length += draw_below(random, 2 * delta);
	for (; length > 0; length -= 13)
	{
		uint64_t	v = draw(random);

		for (int i = 0; i < 13 && i < length; i++, v /= 26)
			*out++ = (char) ('a' + v % 26);
	}
	return out;
}

char *
nexmark_put_time(char *out, int64_t ms)
{
	static int64_t known = -1;
	static char text[] = "0000-00-00T00:00:00";
	int64_t		second = ms / 1000;

	if (second != known)
	{
		time_t		t = (time_t) second;
		struct tm	tm;

		gmtime_r(&t, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		known = second;
	}
	out = put(out, text);
	*out++ = '.';
	*out++ = (char) ('0' + ms / 100 % 10);
	*out++ = (char) ('0' + ms / 10 % 10);
	*out++ = (char) ('0' + ms % 10);
	*out++ = 'Z';
	return out;
}

static char *
put_url(char *out, uint64_t *random)
{
	out = put(out, "https://www.nexmark.com/");
	for (int i = 0; i < 3; i++)
	{
		out = put_words(out, random, 5, '_');
		*out++ = '/';
	}
	return put(out, "item.htm?query=1");
}

/* |i with its 32 bits reversed, as a signed number| */
static int64_t
reversed(uint32_t i)
{
	uint32_t	v = 0;

	for (int bit = 0; bit < 32; bit++)
		v |= ((i >> bit) & 1) << (31 - bit);
	return v >> 31 ? (INT64_C(1) << 32) - v : v;
}

void
nexmark_init(Nexmark *nexmark)
{
	for (int i = 0; i < 4; i++)
	{
		uint64_t	random = seed_random(nexmark->seed, TAG_HOT_URL, (uint64_t) i);

		*put_url(nexmark->hot_urls[i], &random) = '\0';
	}
	nexmark->channels = malloc(CHANNELS * sizeof(NexmarkChannel));
	if (nexmark->channels == NULL)
		abort();
	for (int i = 0; i < CHANNELS; i++)
	{
		NexmarkChannel *channel = &nexmark->channels[i];
		uint64_t	random = seed_random(nexmark->seed, TAG_CHANNEL, (uint64_t) i);
		char	   *url = put_url(channel->url, &random);

		*put_number(put(channel->name, "channel-"), i) = '\0';
		if (draw_below(&random, 10) > 0)
			url = put_number(put(url, "&channel_id="), reversed((uint32_t) i));
		*url = '\0';
	}
}

NexmarkKind
nexmark_kind(int64_t n)
{
	int64_t		place = n % TOTAL;

	if (place < PERSONS)
		return NEXMARK_PERSON;
	return place < PERSONS + AUCTIONS ? NEXMARK_AUCTION : NEXMARK_BID;
}

int64_t
nexmark_time(const Nexmark *nexmark, int64_t n)
{
	return nexmark->base_ms + n * 1000 / nexmark->rate;
}

/* Number of the newest person when event n happens. */
static int64_t
last_person(int64_t n)
{
	int64_t		place = n % TOTAL;

	return n / TOTAL * PERSONS + (place < PERSONS ? place : PERSONS - 1);
}

static int64_t
last_auction(int64_t n)
{
	int64_t		epoch = n / TOTAL;
	int64_t		place = n % TOTAL - PERSONS;

	if (place < 0)
		return epoch * AUCTIONS - 1;
	return epoch * AUCTIONS + (place < AUCTIONS ? place : AUCTIONS - 1);
}

static int64_t
draw_person(uint64_t *random, int64_t n)
{
	int64_t		people = last_person(n) + 1;
	int64_t		active = people < ACTIVE_PEOPLE ? people : ACTIVE_PEOPLE;

	return people - active + draw_below(random, active + ID_LEAD);
}

static int64_t
draw_auction(uint64_t *random, int64_t n)
{
	int64_t		last = last_auction(n);
	int64_t		first = last > IN_FLIGHT ? last - IN_FLIGHT : 0;

	return first + draw_below(random, last - first + 1 + ID_LEAD);
}

static char *
put_person(const Nexmark *nexmark, char *out, uint64_t *random, int64_t n)
{
	const char *first = first_names[draw_below(random, LENGTH(first_names))];
	const char *last = last_names[draw_below(random, LENGTH(last_names))];
	const char *city;
	const char *state;
	char	   *start;
	int64_t		have = 8 + (int64_t) (strlen(first) + 1 + strlen(last));

	out = put_number(put(out, "\"id\":"), last_person(n) + FIRST_ID);
	out = put(out, ",\"name\":\"");
	out = put(put(put(out, first), " "), last);
	start = out = put(out, "\",\"email_address\":\"");
	out = put_words(out, random, 7, ' ');
	*out++ = '@';
	out = put(put_words(out, random, 5, ' '), ".com");
	have += out - start;
	start = out = put(out, "\",\"credit_card\":\"");
	for (int group = 0; group < 4; group++)
	{
		int			digits = (int) draw_below(random, 10000);

		if (group > 0)
			*out++ = ' ';
		for (int unit = 1000; unit > 0; unit /= 10)
			*out++ = (char) ('0' + digits / unit % 10);
	}
	have += out - start;
	city = cities[draw_below(random, LENGTH(cities))];
	state = states[draw_below(random, LENGTH(states))];
	have += (int64_t) (strlen(city) + strlen(state));
	out = put(put(out, "\",\"city\":\""), city);
	out = put(put(out, "\",\"state\":\""), state);
	out = nexmark_put_time(put(out, "\",\"date_time\":\""), nexmark_time(nexmark, n));
	out = put_extra(put(out, "\",\"extra\":\""), random, have, 200);
	*out++ = '"';
	return out;
}

static char *
put_auction(const Nexmark *nexmark, char *out, uint64_t *random, int64_t n)
{
	bool		hot = draw_below(random, 4) > 0;
	int64_t		seller = hot ? last_person(n) / HOT_BLOCK * HOT_BLOCK : draw_person(random, n);
	int64_t		category = FIRST_CATEGORY + draw_below(random, 5);
	int64_t		initial = draw_price(random);
	int64_t		at = nexmark_time(nexmark, n);
	int64_t		horizon = nexmark_time(nexmark, n + IN_FLIGHT * TOTAL / AUCTIONS) - at;
	int64_t		expires = at + 1 + draw_below(random, horizon > 0 ? 2 * horizon : 1);
	int64_t		have = 48;
	char	   *start;

	out = put_number(put(out, "\"id\":"), last_auction(n) + FIRST_ID);
	start = out = put(out, ",\"item_name\":\"");
	out = put_words(out, random, 20, ' ');
	have += out - start;
	start = out = put(out, "\",\"description\":\"");
	out = put_words(out, random, 100, ' ');
	have += out - start;
	out = put_number(put(out, "\",\"initial_bid\":"), initial);
	out = put_number(put(out, ",\"reserve\":"), initial + draw_price(random));
	out = nexmark_put_time(put(out, ",\"date_time\":\""), at);
	out = nexmark_put_time(put(out, "\",\"expires\":\""), expires);
	out = put_number(put(out, "\",\"seller\":"), seller + FIRST_ID);
	out = put_number(put(out, ",\"category\":"), category);
	out = put_extra(put(out, ",\"extra\":\""), random, have, 500);
	*out++ = '"';
	return out;
}

static int64_t
draw_bid_auction(uint64_t *random, int64_t n)
{
	bool		hot = draw_below(random, 2) > 0;

	return FIRST_ID + (hot ? last_auction(n) / HOT_BLOCK * HOT_BLOCK : draw_auction(random, n));
}

static char *
put_bid(const Nexmark *nexmark, char *out, uint64_t *random, int64_t n, int64_t at)
{
	int64_t		auction = draw_bid_auction(random, n);
	bool		hot;
	int64_t		bidder;
	int64_t		price;
	const char *channel;
	const char *url;

	hot = draw_below(random, 4) > 0;
	bidder = hot ? last_person(n) / HOT_BLOCK * HOT_BLOCK + 1 : draw_person(random, n);
	price = draw_price(random);
	if (draw_below(random, 2) > 0)
	{
		int64_t		i = draw_below(random, 4);

		channel = hot_channels[i];
		url = nexmark->hot_urls[i];
	}
	else
	{
		int64_t		i = draw_below(random, CHANNELS);

		channel = nexmark->channels[i].name;
		url = nexmark->channels[i].url;
	}
	out = put_number(put(out, "\"auction\":"), auction);
	out = put_number(put(out, ",\"bidder\":"), bidder + FIRST_ID);
	out = put_number(put(out, ",\"price\":"), price);
	out = put(put(out, ",\"channel\":\""), channel);
	out = put(put(out, "\",\"url\":\""), url);
	out = nexmark_put_time(put(out, "\",\"date_time\":\""), at);
	out = put_extra(put(out, "\",\"extra\":\""), random, 32, 100);
	*out++ = '"';
	return out;
}

int64_t
nexmark_bid_auction(const Nexmark *nexmark, int64_t n)
{
	uint64_t	random = seed_random(nexmark->seed, TAG_EVENT, (uint64_t) n);

	return draw_bid_auction(&random, n);
}

size_t
nexmark_event(const Nexmark *nexmark, int64_t n, int64_t at_ms, char *out)
{
	uint64_t	random = seed_random(nexmark->seed, TAG_EVENT, (uint64_t) n);
	char	   *end;

	switch (nexmark_kind(n))
	{
		case NEXMARK_PERSON:
			end = put_person(nexmark, out, &random, n);
			break;
		case NEXMARK_AUCTION:
			end = put_auction(nexmark, out, &random, n);
			break;
		default:
			end = put_bid(nexmark, out, &random, n, at_ms);
	}
	return (size_t) (end - out);
}

int64_t
nexmark_delay(const Nexmark *nexmark, int64_t n, double probability, int64_t late_ms)
{
	uint64_t	random = seed_random(nexmark->seed, TAG_DELAY, (uint64_t) n);

	if (probability <= 0 || draw_unit(&random) >= probability)
		return 0;
	return 1 + draw_below(&random, late_ms);
}
