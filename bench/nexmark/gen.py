#!/usr/bin/env python3
"""Deterministic Nexmark event generator (python3 standard library only).

Written from the specification in NEXMARK.md and meant as the executable
reference for a C port: every random decision of event number n is drawn from
a SplitMix64 stream that is seeded from (seed, n) alone.  Hence
  * any event can be produced without producing the ones before it,
  * the out-of-order and late options permute ARRIVAL order only; the multiset
    of events stays the same, so every event-time query must give the same
    final answer with them on or off.

One JSON object per line.  --format flat (default):
  {"kind":"bid","arrived_at":"...Z","auction":1000,...}
--format envelope (the shape of the single Kafka topic used elsewhere):
  {"event_type":2,"person":null,"auction":null,"bid":{...}}
"""
import argparse
import heapq
import sys
from datetime import datetime, timezone

M64 = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15

FIRST_PERSON_ID = 1000
FIRST_AUCTION_ID = 1000
FIRST_CATEGORY_ID = 10
NUM_CATEGORIES = 5
PERSON_ID_LEAD = 10
AUCTION_ID_LEAD = 10
HOT_BLOCK = 100            # one hot seller / bidder / auction per block of 100
NUM_CHANNELS = 10000
MIN_STRING = 3

STATES = ["AZ", "CA", "ID", "OR", "WA", "WY"]
CITIES = ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland",
          "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"]
FIRST = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie",
         "Sarah", "Deiter", "Walter"]
LAST = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith",
        "Jones", "Noris"]
HOT_CHANNELS = ["Google", "Facebook", "Baidu", "Apple"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"

TAG_EVENT, TAG_CHANNEL, TAG_HOTURL, TAG_DELAY = 0, 1, 2, 3


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


class Rng:
    """SplitMix64, seeded from (seed, tag, number)."""
    __slots__ = ("s",)

    def __init__(self, seed, tag, num):
        self.s = mix64((seed ^ mix64(((tag << 56) | num) + 1 & M64)) & M64)

    def next(self):
        self.s = (self.s + GAMMA) & M64
        return mix64(self.s)

    def below(self, n):
        return self.next() % n

    def unit(self):
        return (self.next() >> 11) * (1.0 / (1 << 53))

    def price(self):
        return int(10.0 ** (self.unit() * 6.0) * 100.0 + 0.5)

    def string(self, maxlen, special=" "):
        n = MIN_STRING + self.below(maxlen - MIN_STRING)
        out = []
        for _ in range(n):
            v = self.next()
            out.append(special if v % 13 == 0 else LETTERS[(v // 13) % 26])
        return "".join(out).strip(" ")

    def letters(self, n):
        out = []
        while n > 0:
            v = self.next()
            for _ in range(13 if n > 13 else n):
                v, r = divmod(v, 26)
                out.append(LETTERS[r])
            n -= 13
        return "".join(out)

    def extra(self, have, avg):
        if have > avg:
            return ""
        d = avg - have
        delta = (d + 2) // 5
        n = d - delta
        if delta:
            n += self.below(2 * delta)
        return self.letters(n)


def base_url(r):
    return "https://www.nexmark.com/%s/%s/%s/item.htm?query=1" % (
        r.string(5, "_"), r.string(5, "_"), r.string(5, "_"))


def rev32abs(i):
    v = int("{:032b}".format(i)[::-1], 2)
    return (1 << 32) - v if v >= 1 << 31 else v


class Nexmark:
    def __init__(self, o):
        self.o = o
        self.total = o.persons + o.auctions + o.bids
        self.hot_urls = [base_url(Rng(o.seed, TAG_HOTURL, i)) for i in range(4)]
        self.channels = []
        for i in range(NUM_CHANNELS):
            r = Rng(o.seed, TAG_CHANNEL, i)
            u = base_url(r)
            if r.below(10) > 0:
                u += "&channel_id=%d" % rev32abs(i)
            self.channels.append(("channel-%d" % i, u))

    # ---- event-number arithmetic -------------------------------------
    def ts(self, n):
        return self.o.base_ms + n * 1000 // self.o.rate

    def shuffled(self, k):
        g = self.o.ooo
        return k if g <= 1 else (k // g) * g + (k * 953) % g

    def last_person(self, n):
        e, off = divmod(n, self.total)
        return e * self.o.persons + min(off, self.o.persons - 1)

    def last_auction(self, n):
        e, off = divmod(n, self.total)
        if off < self.o.persons:
            e, off = e - 1, self.o.auctions - 1
        elif off >= self.o.persons + self.o.auctions:
            off = self.o.auctions - 1
        else:
            off -= self.o.persons
        return e * self.o.auctions + off

    def any_person(self, n, r):
        people = self.last_person(n) + 1
        active = min(people, self.o.active_people)
        return people - active + r.below(active + PERSON_ID_LEAD)

    def any_auction(self, n, r):
        hi = self.last_auction(n)
        lo = max(hi - self.o.in_flight, 0)
        return lo + r.below(hi - lo + 1 + AUCTION_ID_LEAD)

    # ---- the three kinds ----------------------------------------------
    def person(self, n, r):
        name = FIRST[r.below(len(FIRST))] + " " + LAST[r.below(len(LAST))]
        email = r.string(7) + "@" + r.string(5) + ".com"
        card = " ".join("%04d" % r.below(10000) for _ in range(4))
        city = CITIES[r.below(len(CITIES))]
        state = STATES[r.below(len(STATES))]
        have = 8 + len(name) + len(email) + len(card) + len(city) + len(state)
        return (("id", self.last_person(n) + FIRST_PERSON_ID), ("name", name),
                ("email_address", email), ("credit_card", card),
                ("city", city), ("state", state), ("date_time", iso(self.ts(n))),
                ("extra", r.extra(have, self.o.person_bytes)))

    def auction(self, n, r):
        if r.below(self.o.hot_sellers) > 0:
            seller = self.last_person(n) // HOT_BLOCK * HOT_BLOCK
        else:
            seller = self.any_person(n, r)
        category = FIRST_CATEGORY_ID + r.below(NUM_CATEGORIES)
        initial = r.price()
        ahead = self.o.in_flight * self.total // self.o.auctions
        horizon = self.ts(n + ahead) - self.ts(n)
        expires = self.ts(n) + 1 + r.below(max(2 * horizon, 1))
        item, desc = r.string(20), r.string(100)
        reserve = initial + r.price()
        have = 8 + len(item) + len(desc) + 40
        return (("id", self.last_auction(n) + FIRST_AUCTION_ID),
                ("item_name", item), ("description", desc),
                ("initial_bid", initial), ("reserve", reserve),
                ("date_time", iso(self.ts(n))), ("expires", iso(expires)),
                ("seller", seller + FIRST_PERSON_ID), ("category", category),
                ("extra", r.extra(have, self.o.auction_bytes)))

    def bid(self, n, r):
        if r.below(self.o.hot_auctions) > 0:
            auction = self.last_auction(n) // HOT_BLOCK * HOT_BLOCK
        else:
            auction = self.any_auction(n, r)
        if r.below(self.o.hot_bidders) > 0:
            bidder = self.last_person(n) // HOT_BLOCK * HOT_BLOCK + 1
        else:
            bidder = self.any_person(n, r)
        price = r.price()
        if r.below(2) > 0:
            i = r.below(4)
            channel, url = HOT_CHANNELS[i], self.hot_urls[i]
        else:
            channel, url = self.channels[r.below(NUM_CHANNELS)]
        return (("auction", auction + FIRST_AUCTION_ID),
                ("bidder", bidder + FIRST_PERSON_ID), ("price", price),
                ("channel", channel), ("url", url), ("date_time", iso(self.ts(n))),
                ("extra", r.extra(32, self.o.bid_bytes)))

    def event(self, n):
        r = Rng(self.o.seed, TAG_EVENT, n)
        off = n % self.total
        if off < self.o.persons:
            return "person", self.person(n, r)
        if off < self.o.persons + self.o.auctions:
            return "auction", self.auction(n, r)
        return "bid", self.bid(n, r)

    # ---- arrival order -------------------------------------------------
    def arrivals(self):
        """Yield (arrival_ms, event_number) in arrival order."""
        o = self.o
        held = []
        for k in range(o.first, o.first + o.events):
            n, at = self.shuffled(k), self.ts(k)
            while held and held[0][0] <= at:
                t, _, m = heapq.heappop(held)
                yield t, m
            if o.late_prob > 0:
                r = Rng(o.seed, TAG_DELAY, n)
                if r.unit() < o.late_prob:
                    heapq.heappush(held, (at + 1 + r.below(o.late_ms), k, n))
                    continue
            yield at, n
        while held:
            t, _, m = heapq.heappop(held)
            yield t, m


_memo = [None, ""]


def iso(ms):
    sec, frac = divmod(ms, 1000)
    if _memo[0] != sec:
        _memo[0] = sec
        _memo[1] = datetime.fromtimestamp(sec, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return "%s.%03dZ" % (_memo[1], frac)


def obj(pairs):
    # all generated strings are printable ASCII without quote or backslash
    return ",".join('"%s":%s' % (k, v if isinstance(v, int) else '"%s"' % v)
                    for k, v in pairs)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--events", type=int, default=200000)
    p.add_argument("--first", type=int, default=0, help="first event number")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rate", type=int, default=10000, help="events per second of EVENT time")
    p.add_argument("--base-time", default="2015-07-15T00:00:00Z")
    p.add_argument("--ooo", type=int, default=1, help="out-of-order group size")
    p.add_argument("--late-prob", type=float, default=0.0)
    p.add_argument("--late-ms", type=int, default=3000)
    p.add_argument("--persons", type=int, default=1)
    p.add_argument("--auctions", type=int, default=3)
    p.add_argument("--bids", type=int, default=46)
    p.add_argument("--hot-sellers", type=int, default=4)
    p.add_argument("--hot-auctions", type=int, default=2)
    p.add_argument("--hot-bidders", type=int, default=4)
    p.add_argument("--active-people", type=int, default=1000)
    p.add_argument("--in-flight", type=int, default=100)
    p.add_argument("--person-bytes", type=int, default=200)
    p.add_argument("--auction-bytes", type=int, default=500)
    p.add_argument("--bid-bytes", type=int, default=100)
    p.add_argument("--format", choices=["flat", "envelope"], default="flat")
    o = p.parse_args()
    if o.ooo > 1 and o.ooo % 953 == 0:
        p.error("--ooo must not be a multiple of 953 (the step would not permute)")
    o.base_ms = int(datetime.fromisoformat(o.base_time.replace("Z", "+00:00")).timestamp() * 1000)
    g = Nexmark(o)
    w = sys.stdout.write
    kinds = ["person", "auction", "bid"]
    for at, n in g.arrivals():
        kind, pairs = g.event(n)
        if o.format == "flat":
            w('{"kind":"%s","arrived_at":"%s",%s}\n' % (kind, iso(at), obj(pairs)))
        else:
            i = kinds.index(kind)
            parts = ["{%s}" % obj(pairs) if j == i else "null" for j in range(3)]
            w('{"event_type":%d,"person":%s,"auction":%s,"bid":%s}\n' % (i, *parts))


if __name__ == "__main__":
    main()
