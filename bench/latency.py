#!/usr/bin/env python3
"""The measurement of bench/latency: how old results are when they can be seen.

A generator makes bids at a steady rate; their event time is its clock, in
milliseconds.  Raw rows go into a table with a tumbling view over it.  A reader
asks again and again how far event time has come in each partition
(tidemark.partitions is written in the transaction of the rows and the view), so
what it sees is committed.  Latency is from the event time to the end of the
look that showed it, so the reader's own interval is in it.

At the end the process that ingests is killed, which makes PostgreSQL restart,
with a view of many groups beside the others."""
import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import time

from measure import Processes, Session, command
from soak import WORKERS, Client, Latency, percentile_of

DATABASE = "bench_latency"
SETUP = """
CREATE EXTENSION tidemark;
CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '{brokers}');
CREATE FOREIGN TABLE bid_stream (
    auction bigint, bidder bigint, price bigint, channel text, url text, date_time timestamptz, extra text)
  SERVER kafka OPTIONS (topic '{topic}', event_time 'date_time', watermark_delay '4 s');
CREATE TABLE bid (LIKE bid_stream);
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS
SELECT window_start, window_end, auction, count(*) AS bids, sum(price) AS total, avg(price) AS mean, max(price) AS highest
  FROM bid, tidemark.tumble(bid.date_time, '10 s')
 GROUP BY window_start, window_end, auction;
"""
INGEST = "SELECT tidemark.start_ingest('bid_stream', into_table => 'bid');"
# A group for each bid.
LARGE = """
BEGIN;
CREATE MATERIALIZED VIEW large WITH (tidemark.continuous) AS
SELECT auction, bidder, price, date_time, count(*) AS bids, sum(price) AS total FROM bid_stream GROUP BY 1, 2, 3, 4;
SELECT tidemark.alter_ingest('bid_stream', into_table => 'bid');
COMMIT;
"""
ROWS = "SELECT sum(rows) FROM tidemark.partitions;"
WAL = "SELECT pg_current_wal_insert_lsn() - '0/0';"
WARM_UP_RATE = 10000
KEY = """SELECT * FROM v WHERE window_start = date_bin('10 s', now() - interval '3 s', '2000-01-01Z') AND auction = :auction;
"""


class Generator:
    def __init__(self, o, topic, pace):
        self.process = subprocess.Popen(["generate", "--brokers", o.brokers, "--topic", topic, "--partitions", str(o.partitions),
                                         "--pace", str(pace)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def end(self):
        self.process.terminate()
        self.process.communicate()


def read_by_key(seconds):
    """Average milliseconds of a prepared SELECT of one group, by pgbench."""
    script = os.path.dirname(os.environ["BENCH_LOG"]) + "/key.sql"
    with open(script, "w") as f:
        f.write("\\set auction random(1000, 1100)\n" + KEY)
    out = command("pgbench", "-n", "-M", "prepared", "-T", str(seconds), "-f", script, DATABASE)
    return float(re.search(r"latency average = ([\d.]+) ms", out).group(1))


def warm_up(o, topic):
    """A broker that has just started has most of its code to compile yet: at a few
    messages a second that takes minutes, and a processor."""
    generator = Generator(o, topic, WARM_UP_RATE)
    time.sleep(o.warm_up)
    generator.end()


def measure_rate(o, topic, rate):
    client = Client(DATABASE)
    reader = Latency(DATABASE, 0.0005 if rate < 1000 else 0.002, rate >= 1000)
    generator = Generator(o, topic, rate)
    reader.start()
    time.sleep(5)       # connections, plans
    processes = Processes()
    processes.sample(client.run(WORKERS))
    before, start = sum(processes.cpu.values()), time.monotonic()
    rows, wal = int(client.run(ROWS)[0]), int(client.run(WAL)[0])
    reader.take()
    alone = re.search(r"(\d+) ms p50, (\d+) ms p99", command("floor", "--latency", str(o.seconds), o.brokers, topic))
    counts = reader.take()
    processes.sample(client.run(WORKERS))
    cpu, seconds = sum(processes.cpu.values()) - before, time.monotonic() - start
    rows, wal = int(client.run(ROWS)[0]) - rows, int(client.run(WAL)[0]) - wal
    key_ms = read_by_key(5)
    reader.done = True
    reader.join()
    generator.end()
    client.drop()
    return {"rate": rate, "rows_s": rows / seconds, "cpu": 100 * cpu / seconds, "wal_kb_s": wal / seconds / 1000,
            "key_ms": key_ms,
            "alone50": int(alone.group(1)), "alone99": int(alone.group(2)),
            **{name: percentile_of(counts, p) for name, p in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))},
            "max": max(counts, default=None)}


def ready_at(log):
    """When the server said it was ready, of the last time it did."""
    log.seek(0)
    stamps = re.findall(r"^(\S+ [\d:.]+) \S+ \[\d+\] LOG:  database system is ready", log.read(), re.M)
    return stamps[-1], len(stamps)


def measure_restart(o, topic):
    """Seconds from "ready to accept connections" until rows come in again."""
    client = Client(DATABASE)
    generator = Generator(o, topic, max(o.rates))
    results = []
    with open(os.environ["BENCH_LOG"]) as log:
        for _ in range(o.repeat):
            while client.run("SELECT tidemark.wait_caught_up('bid_stream', '1 s');") != ["t"] and \
                    int(client.run("SELECT sum(lag) FROM tidemark.partitions;")[0]) > max(o.rates):
                pass
            _, restarts = ready_at(log)
            os.kill(int(client.run(WORKERS)[0]), signal.SIGKILL)
            killed = time.time()
            while ready_at(log)[1] == restarts:
                time.sleep(0.01)
            stamp = ready_at(log)[0]
            ready = float(client.run(f"SELECT extract(epoch FROM timestamptz '{stamp} {time.strftime('%z')}');")[0])
            rows = client.run(ROWS)
            while client.run(ROWS) == rows:
                time.sleep(0.005)
            results.append((time.time() - ready, ready - killed))
            time.sleep(5)
    generator.end()
    client.drop()
    return results


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rates", type=lambda s: [int(x) for x in s.split(",")], default=[5, 20, 10000, 50000])
    p.add_argument("--partitions", type=int, default=4)
    p.add_argument("--seconds", type=int, default=40)
    p.add_argument("--warm-up", type=int, default=30)
    p.add_argument("--state", type=int, default=7000000)
    p.add_argument("--repeat", type=int, default=3)
    o = p.parse_args()
    o.brokers = os.environ["KAFKA_BROKERS"]
    topic = f"bench_latency_{os.getpid()}"
    session = Session("postgres")
    session.run(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE); CREATE DATABASE {DATABASE};")
    session.close()
    command("generate", "--brokers", o.brokers, "--topic", topic, "--partitions", str(o.partitions), "--create",
            "--events", str(o.state * 50 // 46 + 50), "--limit", str(o.state))
    session = Session(DATABASE)
    session.run(SETUP.format(brokers=o.brokers, topic=topic) + (LARGE if o.state else INGEST))
    while session.run("SELECT tidemark.wait_caught_up('bid_stream', '0') AND tidemark.wait_caught_up('v', '0');") != ["t"]:
        time.sleep(0.5)
    session.run("VACUUM ANALYZE;")
    print(f"{'asked/s':>8}  {'rows/s':>8}  {'p50 ms':>7}  {'p99 ms':>7}  {'p99.9 ms':>8}  {'max ms':>7}  "
          f"{'Kafka p50':>9}  {'Kafka p99':>9}  {'CPU %':>6}  {'WAL kB/s':>8}  {'one group by key, ms':>20}")
    warm_up(o, topic)
    for rate in o.rates:
        r = measure_rate(o, topic, rate)
        print(f"{r['rate']:>8,}  {r['rows_s']:>8,.0f}  {r['p50']:>7}  {r['p99']:>7}  {r['p999']:>8}  {r['max']:>7}  "
              f"{r['alone50']:>9}  {r['alone99']:>9}  {r['cpu']:>6.0f}  {r['wal_kb_s']:>8,.0f}  {r['key_ms']:>20.3f}", flush=True)
    if o.repeat and o.state:
        size = session.run("SELECT pg_total_relation_size(state_table) FROM tidemark_state.view WHERE view = 'large'::regclass;")[0]
        restarts = measure_restart(o, topic)
        print(f"restart with {int(size) >> 20} MB of state at {max(o.rates):,} messages per second: new rows "
              f"{statistics.median(r[0] for r in restarts):.2f} s after \"ready to accept connections\" "
              f"({min(r[0] for r in restarts):.2f} - {max(r[0] for r in restarts):.2f}), which came "
              f"{statistics.median(r[1] for r in restarts):.2f} s after the kill")
    session = Session(DATABASE)
    problems = session.run("SELECT count(*) FROM tidemark.verify('v');")[0]
    session.close()
    if problems != "0":
        sys.exit(f"the view differs from its query in {problems} groups")


if __name__ == "__main__":
    main()
