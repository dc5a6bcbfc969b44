"""A hand-written consumer in Python: bids.py BROKERS TOPIC BATCH view|store.

Reads a topic of Nexmark bids, sums them up in memory per auction and 10 s
window, and adds the sums of a batch to a table together with the offsets, in
one transaction; or stores the bids as they are, by COPY.

Exactly once: the offsets that PostgreSQL has decide where it starts, and a
transaction that does not find the offsets it began at fails.  For the one who
measures, each commit prints how many bids are in the table."""
import gc
import sys

import orjson
import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

UPSERT = """
INSERT INTO result AS r (window_start, auction, bids, total, highest)
SELECT * FROM unnest(%s::timestamptz[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
ON CONFLICT (auction, window_start) DO UPDATE
SET bids = r.bids + excluded.bids, total = r.total + excluded.total, highest = greatest(r.highest, excluded.highest)
"""
COPY = "COPY bid (auction, bidder, price, channel, url, date_time, extra) FROM STDIN"
MOVE = """
UPDATE consumed AS c SET next_offset = n.target
FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS n (part, since, target)
WHERE c.part = n.part AND c.next_offset = n.since
"""
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def write_sums(connection, values):
    loads, groups = orjson.loads, {}
    for value in values:
        b = loads(value)
        price = b["price"]
        # times are UTC with two digits of seconds: the first of them is the window
        key = (b["auction"], b["date_time"][:18])
        sums = groups.get(key)
        if sums is None:
            groups[key] = [1, price, price]
        else:
            sums[0] += 1
            sums[1] += price
            if price > sums[2]:
                sums[2] = price
    connection.execute(UPSERT, (
        [start + "0Z" for _, start in groups], [auction for auction, _ in groups],
        [s[0] for s in groups.values()], [s[1] for s in groups.values()], [s[2] for s in groups.values()]))


def write_rows(connection, values):
    loads, lines = orjson.loads, []
    for value in values:
        b = loads(value)
        channel, url, extra = b["channel"], b["url"], b["extra"]
        if b"\\" in value:  # otherwise no character can be in it that COPY must have escaped
            channel, url, extra = (s.translate(ESCAPES) for s in (channel, url, extra))
        lines.append(f"{b['auction']}\t{b['bidder']}\t{b['price']}\t{channel}\t{url}\t{b['date_time']}\t{extra}\n")
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.write("".join(lines))


def read_batch(consumer, size):
    """Up to so many messages; fewer when none came for a tenth of a second."""
    batch = []
    while len(batch) < size:
        some = consumer.consume(min(size - len(batch), 10000), 0.1)
        batch += some
        if batch and not some:
            break
    for message in batch:
        if message.error() is not None:
            raise KafkaException(message.error())
    return batch


def open_offsets(connection, consumer, topic):
    partitions = len(consumer.list_topics(topic, 10).topics[topic].partitions)
    connection.execute("CREATE TABLE IF NOT EXISTS consumed ("
                       "part int PRIMARY KEY, next_offset bigint NOT NULL) WITH (fillfactor = 20)")
    connection.execute("INSERT INTO consumed SELECT p, 0 FROM generate_series(0, %s - 1) AS p"
                       " ON CONFLICT DO NOTHING", (partitions,))
    connection.commit()
    offsets = dict(connection.execute("SELECT part, next_offset FROM consumed").fetchall())
    connection.commit()
    consumer.assign([TopicPartition(topic, part, offset) for part, offset in offsets.items()])
    return offsets


def commit(connection, offsets, ends, write, values):
    parts = list(ends)
    moved = connection.execute(MOVE, (parts, [offsets[p] for p in parts], list(ends.values())))
    if moved.rowcount != len(parts):
        raise RuntimeError("somebody else consumes this topic into the same table")
    write(connection, values)
    connection.commit()
    offsets.update(ends)


def main():
    brokers, topic, size, mode = sys.argv[1:]
    write = {"view": write_sums, "store": write_rows}[mode]
    gc.disable()  # there are no cycles
    connection = psycopg.connect("")
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "peer", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "isolation.level": "read_committed"})
    offsets, total = open_offsets(connection, consumer, topic), 0
    while True:
        batch = read_batch(consumer, int(size))
        if batch:
            ends = {message.partition(): message.offset() + 1 for message in batch}
            commit(connection, offsets, ends, write, [message.value() for message in batch])
            total += len(batch)
            print(total, flush=True)


if __name__ == "__main__":
    main()
