#!/usr/bin/env python3
"""The measurement of bench/close: what closing many groups at once does to the
ingest.

Bids of 2015 fill the windows, each a group of its own.  Then bids of now come at a
steady rate into all partitions but the last, which holds the watermark back; one
message there makes all the old windows closable."""
import argparse
import os
import re
import subprocess
import sys
import time

from measure import Processes, Session, command, percentile

PARTITIONS = 4
SETUP = """
CREATE EXTENSION tidemark;
CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '{brokers}');
CREATE FOREIGN TABLE bid_stream (auction bigint, bidder bigint, price bigint, date_time timestamptz)
  SERVER kafka OPTIONS (topic '{topic}', event_time 'date_time', watermark_delay '4 s',
                        watermark_idle_timeout 'infinity');
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.emit = 'final') AS
SELECT window_start, window_end,
       CASE WHEN s.date_time < '2016-01-01Z' THEN s.bidder ELSE 0 END AS bidder,
       CASE WHEN s.date_time < '2016-01-01Z' THEN s.price ELSE s.auction % 100 END AS price,
       count(*) AS bids, sum(s.auction) AS total, max(s.date_time) AS latest
  FROM bid_stream AS s, tidemark.tumble(s.date_time, '10 s')
 GROUP BY window_start, window_end, CASE WHEN s.date_time < '2016-01-01Z' THEN s.bidder ELSE 0 END,
          CASE WHEN s.date_time < '2016-01-01Z' THEN s.price ELSE s.auction % 100 END;
"""
SAMPLE = """
SELECT (SELECT sum(rows) FROM tidemark.partitions), (SELECT sum(lag) FROM tidemark.partitions),
       (SELECT closed FROM tidemark.views);
"""


class Sampler:
    """Rows ingested, lag and closed groups over time."""

    def __init__(self, session):
        self.session, self.samples, self.processes = session, [], Processes()

    def take(self):
        rows, lag, closed = (int(x or 0) for x in self.session.run(SAMPLE)[0].split("|"))
        self.processes.sample(self.session.run("SELECT pid FROM tidemark.workers WHERE role = 'ingest' AND pid > 0;"))
        self.samples.append((time.monotonic(), rows, lag, closed, sum(self.processes.cpu.values()),
                             self.processes.delay_s))
        return closed

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take()
            time.sleep(0.05)
        self.take()


def report(name, samples, lines):
    """One phase: what the samples say, and the batches that the log has of it."""
    first, last = samples[0], samples[-1]
    seconds = last[0] - first[0]
    total = [ms for _, ms in lines]
    print(f"{name:8}{seconds:8.1f}{(last[1] - first[1]) / seconds:14,.0f}{max(s[2] for s in samples):12,}"
          f"{100 * (last[4] - first[4]) / seconds:8.0f}{100 * (last[5] - first[5]) / seconds:8.0f}{len(lines):9}{percentile(total, 0.5) or 0:9.1f}"
          f"{max(total, default=0):9.1f}")


def read_log(log):
    """(messages, ms) of each batch since the last call."""
    return [(int(n), float(ms)) for n, ms in re.findall(r"batch of (\d+) messages: ([\d.]+) ms", log.read())]


def measure(o, log, producers):
    topic = f"bench_close_{os.getpid()}"
    produce = ["generate", "--brokers", o.brokers, "--topic", topic]
    rate = max(1, o.groups * 50 // 46 // (10 * o.windows) + 1)
    command(*produce, "--create", "--partitions", str(PARTITIONS), "--events", str(o.groups * 50 // 46 + 50),
            "--limit", str(o.groups), "--rate", str(rate))
    session = Session("bench_close")
    session.run(SETUP.format(brokers=o.brokers, topic=topic))
    while session.run("SELECT tidemark.wait_caught_up('v', '1 s');") != ["t"]:
        pass
    state = session.run("SELECT state_table::regclass FROM tidemark_state.view;")[0]
    session.run(f"VACUUM ANALYZE {state}; CHECKPOINT;")
    groups = int(session.run(f"SELECT count(*) FROM {state};")[0])
    sampler = Sampler(session)
    holder = Session("bench_close") if o.snapshot else None
    if holder:
        holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;")
    producers.append(subprocess.Popen(
        [*produce, "--partitions", str(PARTITIONS - 1), "--pace", str(o.pace)], stdout=subprocess.DEVNULL))
    sampler.run(3)
    sampler.samples.clear()
    read_log(log)
    print(f"{groups:,} groups\n"
          f"{'':8}{'s':>8}{'rows/s':>14}{'lag':>12}{'CPU %':>8}{'wait %':>8}{'batches':>9}{'p50 ms':>9}{'max ms':>9}")
    sampler.run(5)
    report("before", sampler.samples, read_log(log))
    before = sampler.samples
    sampler.samples = before[-1:]
    command(*produce, "--partitions", str(PARTITIONS), "--pace", "1000", "--limit", str(PARTITIONS))
    while sampler.take() < groups:
        time.sleep(0.05)
    report("closing", sampler.samples, read_log(log))
    during = sampler.samples
    sampler.samples = during[-1:]
    sampler.run(5)
    report("after", sampler.samples, read_log(log))
    cpu = (during[-1][4] - during[0][4]) - (before[-1][4] - before[0][4]) * \
        (during[-1][1] - during[0][1]) / max(1, before[-1][1] - before[0][1])
    print(f"{cpu * 1e6 / groups:.2f} us of CPU per closed group")
    producers[-1].terminate()
    producers.pop().wait()
    if holder:
        holder.close()
    while session.run("SELECT tidemark.wait_caught_up('v', '1 s');") != ["t"]:
        pass
    if session.run("SELECT count(*) FROM tidemark.verify('v');") != ["0"]:
        sys.exit("the view differs from its query")
    session.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--groups", type=int, default=1000000)
    p.add_argument("--windows", type=int, default=1)
    p.add_argument("--pace", type=int, default=50000)
    p.add_argument("--snapshot", action="store_true")
    o = p.parse_args()
    o.brokers = os.environ["KAFKA_BROKERS"]
    session = Session("postgres")
    session.run("DROP DATABASE IF EXISTS bench_close WITH (FORCE); CREATE DATABASE bench_close;")
    producers = []
    try:
        with open(os.environ["BENCH_LOG"]) as log:
            log.seek(0, os.SEEK_END)
            measure(o, log, producers)
    finally:
        for producer in producers:
            producer.kill()
    session.run("DROP DATABASE bench_close WITH (FORCE);")
    session.close()


if __name__ == "__main__":
    main()
