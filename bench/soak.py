#!/usr/bin/env python3
"""The measurement of bench/soak: the same rate for minutes or hours, with kills,
VACUUM and old snapshots in between.

Raw rows go into a table with a view over it; another view, of closed windows,
reads the stream itself.  Both let windows leave, so what they keep is bounded.

Latency is taken from outside: a reader looks every 20 ms how far event time has
come in each partition (tidemark.partitions is written in the transaction of the
rows).  The events between two looks count from their event time, which is the
generator's clock when it made them, to the end of the second look.

Nothing here keeps a snapshot while it measures, but for the old snapshots that
are part of the work."""
import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import threading
import time

from measure import Processes, Session, command

DATABASE = "bench_soak"
PARTITIONS = 4
LOOK_S = 0.02
SETUP = """
CREATE EXTENSION tidemark;
CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '{brokers}', fetch_min_bytes '{fetch_min}');
CREATE FOREIGN TABLE bid_stream (
    auction bigint, bidder bigint, price bigint, date_time timestamptz,
    k_part int OPTIONS (metadata 'partition'), k_offset bigint OPTIONS (metadata 'offset'), k_watermark timestamptz OPTIONS (metadata 'watermark'))
  SERVER kafka OPTIONS (topic '{topic}', event_time 'date_time', watermark_delay '4 s', batch_max_rows '{batch_rows}');
CREATE TABLE bid (LIKE bid_stream);
ALTER TABLE bid SET (autovacuum_vacuum_insert_scale_factor = 0.1);
SELECT tidemark.start_ingest('bid_stream', into_table => 'bid', workers => {workers});
CREATE MATERIALIZED VIEW by_table
  WITH (tidemark.continuous, tidemark.retention = '1 min', tidemark.allowed_lateness = '10 s') AS
SELECT window_start, window_end, auction, count(*) AS bids, sum(price) AS total, max(price) AS highest
  FROM bid, tidemark.tumble(bid.date_time, '10 s')
 GROUP BY window_start, window_end, auction;
CREATE MATERIALIZED VIEW by_stream
  WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.retention = '1 min') AS
SELECT window_start, window_end, auction, count(*) AS bids, sum(price) AS total, avg(price) AS mean
  FROM bid_stream AS s, tidemark.tumble(s.date_time, '10 s')
 GROUP BY window_start, window_end, auction;
"""
PROGRESS = """SELECT coalesce(sum(rows), 0), coalesce(sum(lag), 0), (SELECT coalesce(sum(batches), 0) FROM tidemark.workers)
  FROM tidemark.partitions;"""
LOOK = "SELECT partition, (extract(epoch FROM max_event_time) * 1000)::bigint FROM tidemark.partitions;"
WORKERS = "SELECT pid FROM tidemark.workers WHERE role = 'ingest' AND pid > 0;"
SIZES = """
SELECT sum(pg_table_size(t)) FILTER (WHERE kind = 'state'), sum(pg_indexes_size(t)) FILTER (WHERE kind = 'state'),
       sum(pg_total_relation_size(t)) FILTER (WHERE kind = 'closed'),
       sum(pg_total_relation_size(t)) FILTER (WHERE kind = 'own'),
       sum(pg_total_relation_size(t)) FILTER (WHERE kind = 'raw'),
       sum(pg_stat_get_dead_tuples(t)) FILTER (WHERE kind <> 'raw')
  FROM (SELECT state_table, 'state' FROM tidemark_state.view
        UNION ALL SELECT final_table, 'closed' FROM tidemark_state.view WHERE final_table IS NOT NULL
        UNION ALL SELECT d.objid, 'own' FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
                   WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'tidemark') AND deptype = 'e'
                     AND d.classid = 'pg_class'::regclass AND relkind = 'r'
        UNION ALL SELECT 'bid'::regclass, 'raw') r (t, kind);
"""
VICTIMS = "SELECT pid FROM pg_stat_activity WHERE {} ORDER BY random() LIMIT 1;"
# What is stored, against what the log has: every offset once, and the same content.
STORED = """
SET work_mem = '512MB';
SELECT k_part, count(*), count(DISTINCT k_offset), min(k_offset), max(k_offset),
       sum(hashint8extended(k_offset # (auction << 20) # (price << 40) # bidder, 0)::numeric)
  FROM {} GROUP BY k_part ORDER BY k_part;
"""
# The same rows in a table that has never been updated.
REWRITE = """
CREATE TABLE rewritten (LIKE {0} INCLUDING INDEXES) WITH ({1});
INSERT INTO rewritten TABLE {0};
SELECT pg_total_relation_size('{0}'), pg_total_relation_size('rewritten'), count(*) FROM rewritten;
DROP TABLE rewritten;
"""


class Client:
    """A session that comes back when the server has restarted."""

    def __init__(self, database=DATABASE):
        self.database, self.session = database, None

    def run(self, sql):
        while True:
            try:
                if self.session is None:
                    self.session = Session(self.database, stderr=subprocess.DEVNULL)
                return self.session.run(sql)
            except (RuntimeError, BrokenPipeError):
                self.drop()
                time.sleep(0.05)

    def drop(self):
        if self.session is not None:
            self.session.psql.kill()
            self.session.psql.wait()
            self.session = None


class Latency(threading.Thread):
    """Milliseconds from an event to its being visible, how many of each."""

    def __init__(self, database=DATABASE, look_s=LOOK_S, every_ms=True):
        """every_ms: there are events in each; otherwise only the last one of a look counts."""
        super().__init__(daemon=True)
        self.database, self.look_s, self.every_ms = database, look_s, every_ms
        self.lock, self.counts, self.done = threading.Lock(), collections.Counter(), False

    def run(self):
        client, seen = Client(self.database), {}
        while not self.done:
            rows = [row.split("|") for row in client.run(LOOK)]
            now = int(time.time() * 1000)
            with self.lock:
                for partition, at in ((row[0], int(row[1])) for row in rows if row[1]):
                    first = seen.get(partition, at) + 1
                    for ms in range(first if self.every_ms else max(first, at), at + 1):
                        self.counts[max(0, now - ms)] += 1
                    seen[partition] = max(at, seen.get(partition, at))
            time.sleep(self.look_s)
        client.drop()

    def take(self):
        with self.lock:
            counts, self.counts = self.counts, collections.Counter()
        return counts


def percentile_of(counts, p):
    left = sum(counts.values()) * p
    for ms in sorted(counts):
        left -= counts[ms]
        if left <= 0:
            return ms
    return None


class Disturbance:
    """Kills, VACUUM and old snapshots, each when its time has come."""

    def __init__(self, o, client):
        self.client, self.random = client, random.Random(o.seed)
        self.faults_s, self.readers_s = o.faults, o.readers
        start = time.monotonic()
        self.next_fault = start + self.faults_s * 0.8
        self.next_reader = start + self.readers_s * 0.4
        self.next_vacuum = start + 200
        self.calm = start + 30
        self.reader, self.reader_end = None, 0
        self.kinds, self.notes, self.started = [], [], []

    def kill(self, what):
        pid = self.client.run(VICTIMS.format(what))
        if pid:
            try:
                os.kill(int(pid[0]), signal.SIGKILL)
            except ProcessLookupError:
                pass

    def fault(self):
        if not self.kinds:      # each of them before any comes again
            self.kinds = ["kill -9 worker", "terminate worker", "kill -9 checkpointer"]
            self.kinds += ["kill -9 broker"] if "KAFKA_DIR" in os.environ else []
            self.random.shuffle(self.kinds)
        kind = self.kinds.pop()
        if kind == "kill -9 worker":
            self.kill("backend_type = 'tidemark ingest'")
        elif kind == "terminate worker":
            self.client.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE backend_type = 'tidemark ingest' ORDER BY random() LIMIT 1;")
        elif kind == "kill -9 checkpointer":
            self.kill("backend_type = 'checkpointer'")
        else:
            self.started.append(subprocess.Popen(["bash", "-c", '"$BENCH_KAFKA" kill 1 && "$BENCH_KAFKA" start 1']))
        self.notes.append(kind)
        self.calm = time.monotonic() + 40

    def run(self):
        now = time.monotonic()
        if self.faults_s and now >= self.next_fault:
            self.fault()
            self.next_fault = now + self.faults_s * self.random.uniform(0.7, 1.3)
        if self.readers_s and self.reader is None and now >= self.next_reader:
            self.open_reader()
            self.next_reader, self.reader_end = now + self.readers_s, now + self.readers_s / 5
        if self.reader is not None and now >= self.reader_end:
            self.close_reader()
        if now >= self.next_vacuum:
            self.started.append(subprocess.Popen(["psql", "-qX", "-d", DATABASE, "-c", "VACUUM ANALYZE"],
                                                 stderr=subprocess.DEVNULL))
            self.notes.append("VACUUM")
            self.next_vacuum = now + 300

    def phase(self):
        """What is going on now; None: a fault, or what it has left to catch up with."""
        if time.monotonic() < self.calm:
            return None
        return "quiet" if self.reader is None else "old snapshot"

    def open_reader(self):
        try:
            self.reader = Session(DATABASE, stderr=subprocess.DEVNULL)
            self.reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT bids FROM by_table LIMIT 1;")
            self.notes.append("snapshot opened")
        except (RuntimeError, BrokenPipeError):
            self.reader = None

    def close_reader(self):
        self.reader.psql.kill()
        self.reader.psql.wait()
        self.reader = None
        self.notes.append("snapshot closed")

    def end(self):
        if self.reader is not None:
            self.close_reader()
        for process in self.started:
            process.wait()


class Phase:
    """What it costs while nothing is broken."""

    def __init__(self):
        self.rows, self.cpu, self.counts = 0, 0.0, collections.Counter()

    def add(self, rows, cpu, counts):
        self.rows, self.cpu = self.rows + rows, self.cpu + cpu
        self.counts.update(counts)

    def __str__(self):
        us = self.cpu * 1e6 / self.rows if self.rows else 0
        return f"{us:.2f} us of CPU per event, latency p50 {percentile_of(self.counts, 0.5)} ms, " \
               f"p99 {percentile_of(self.counts, 0.99)} ms"


class Report:
    """A line every so often."""
    HEAD = ("min", "rows/s", "batches/s", "lag", "RSS MB", "CPU %", "state MB", "index MB", "closed MB", "own MB", "raw MB",
            "dead rows", "p50 ms", "p99 ms", "max ms", "what happened")
    WIDTHS = (6, 8, 9, 9, 7, 6, 9, 9, 10, 7, 8, 10, 7, 7, 7, 0)

    def __init__(self, client, latency):
        self.client, self.latency = client, latency
        self.processes, self.rss_kb, self.max_rss_kb = Processes(), 0, 0
        self.start = self.at = time.monotonic()
        self.rows, self.cpu, self.server_batches, self.batches = 0, 0.0, 0, 0
        self.phases = {"quiet": Phase(), "old snapshot": Phase()}
        self.print(self.HEAD)

    def print(self, cells):
        print("  ".join(str(c).rjust(w) for c, w in zip(cells, self.WIDTHS)), flush=True)

    def sample(self):
        self.processes.peak_kb.clear()
        self.processes.sample(self.client.run(WORKERS))
        self.rss_kb = max([self.rss_kb, *self.processes.peak_kb.values()])

    def line(self, notes, phase):
        rows, lag, server_batches = (int(x) for x in self.client.run(PROGRESS)[0].split("|"))
        sizes = [int(x or 0) for x in self.client.run(SIZES)[0].split("|")]
        now, cpu, counts = time.monotonic(), sum(self.processes.cpu.values()), self.latency.take()
        # a restart begins to count anew
        batches = server_batches - (self.server_batches if server_batches >= self.server_batches else 0)
        if phase is not None:
            self.phases[phase].add(rows - self.rows, cpu - self.cpu, counts)
        self.print((f"{(now - self.start) / 60:.1f}", f"{(rows - self.rows) / (now - self.at):,.0f}",
                    f"{batches / (now - self.at):,.0f}", f"{lag:,}",
                    self.rss_kb // 1024, f"{100 * (cpu - self.cpu) / (now - self.at):.0f}",
                    *(size >> 20 for size in sizes[:5]), f"{sizes[5]:,}",
                    *(percentile_of(counts, p) for p in (0.5, 0.99)), max(counts, default=None), ", ".join(notes)))
        self.max_rss_kb = max(self.max_rss_kb, self.rss_kb)
        self.at, self.rows, self.cpu, self.rss_kb = now, rows, cpu, 0
        self.batches, self.server_batches = self.batches + batches, server_batches


def measure(o, topic, producer):
    client, latency = Client(), Latency()
    latency.start()
    disturbance, report = Disturbance(o, client), Report(client, latency)
    end, next_line = report.start + o.minutes * 60, report.start + o.every
    phase = None
    while time.monotonic() < end:
        if producer.poll() is not None:
            sys.exit("the generator has ended")
        report.sample()
        disturbance.run()
        if disturbance.phase() != phase:
            phase = None
        if time.monotonic() >= next_line:
            report.line(disturbance.notes, phase)
            next_line = max(next_line + o.every, time.monotonic())
            disturbance.notes, phase = [], disturbance.phase()
        time.sleep(0.2)
    disturbance.end()
    latency.done = True
    latency.join()
    for name, cost in report.phases.items():
        print(f"{name}: {cost}")
    print(f"batches: {report.batches:,}")
    print(f"largest worker: {report.max_rss_kb // 1024} MB of its own memory")
    return client


def check(o, topic, client, produced):
    """Everything that was produced is there once, and the views are what they say."""
    problems = []

    def expect(what, found, expected):
        print(f"{what}: {found}" + ("" if found == expected else f" instead of {expected}"), flush=True)
        if found != expected:
            problems.append(what)

    for relation in ("bid_stream", "by_table", "by_stream"):
        while client.run(f"SELECT tidemark.wait_caught_up('{relation}', '1 s');") != ["t"]:
            pass
    expect("messages in the log, by another consumer", int(command("floor", o.brokers, topic).split()[0]), produced)
    log, stored = client.run(STORED.format("bid_stream")), client.run(STORED.format("bid"))
    expect("partitions, offsets and content of the rows", "as in the log" if stored == log else stored, "as in the log")
    rows = [[int(x) for x in line.split("|")] for line in stored]
    expect("rows", sum(row[1] for row in rows), produced)
    expect("offsets stored twice", sum(row[1] - row[2] for row in rows), 0)
    expect("offsets missing", sum(row[4] - row[3] + 1 - row[2] for row in rows), 0)
    expect("dead letters", client.run("SELECT count(*) FROM tidemark.dead_letters;"), ["0"])
    for view in ("by_table", "by_stream"):
        expect(f"groups in which {view} differs from its query",
               client.run(f"SELECT count(*) FROM tidemark.verify('{view}');"), ["0"])
    expect("states", client.run("SELECT DISTINCT state FROM tidemark.ingests UNION SELECT state FROM tidemark.views;"),
           ["live", "running"])
    for table, options in (line.split("|") for line in client.run(
            "SELECT t::regclass, coalesce(array_to_string(reloptions, ','), 'fillfactor=100') FROM tidemark_state.view "
            "CROSS JOIN LATERAL unnest(ARRAY[state_table, final_table]) AS t JOIN pg_class ON oid = t;")):
        size, fresh, groups = (int(x) for x in client.run(REWRITE.format(table, options))[0].split("|"))
        print(f"{table}: {size >> 20} MB for {groups:,} rows, {size / fresh:.1f} x that of a new table")
    client.drop()
    return problems


def main():
    p = argparse.ArgumentParser()
    p.add_argument("minutes", type=float)
    p.add_argument("--pace", type=int, default=50000)
    p.add_argument("--batch-rows", type=int, default=50000)
    p.add_argument("--every", type=float, default=10)
    p.add_argument("--fetch-min", type=int, default=1)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--faults", type=float, default=150)
    p.add_argument("--readers", type=float, default=300)
    p.add_argument("--seed", type=int, default=random.randrange(2**31))
    o = p.parse_args()
    o.brokers = os.environ["KAFKA_BROKERS"]
    print(f"--seed {o.seed}")
    topic = f"bench_soak_{os.getpid()}"
    session = Session("postgres")
    session.run(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE); CREATE DATABASE {DATABASE};")
    produce = ["generate", "--brokers", o.brokers, "--topic", topic, "--partitions", str(PARTITIONS),
               "--compression", "lz4", "--create"]
    command(*produce, "--pace", "1000", "--limit", str(PARTITIONS))
    session.close()
    session = Session(DATABASE)
    session.run(SETUP.format(brokers=o.brokers, topic=topic, workers=o.workers, batch_rows=o.batch_rows,
                             fetch_min=o.fetch_min))
    session.close()
    log = os.path.dirname(os.environ["BENCH_LOG"]) + "/generate.log"
    with open(log, "w") as f:   # it has a lot to say while the broker is away
        producer = subprocess.Popen([*produce, "--pace", str(o.pace)], stdout=subprocess.PIPE, stderr=f, text=True)
    try:
        client = measure(o, topic, producer)
        producer.terminate()
        produced = int(producer.communicate()[0]) + PARTITIONS
        if producer.returncode != 0:
            sys.exit("the generator could not deliver everything:\n" + open(log).read()[-2000:])
    finally:
        producer.kill()
    problems = check(o, topic, client, produced)
    if problems:
        sys.exit("FAILED: " + ", ".join(problems))
    session = Session("postgres")
    session.run(f"DROP DATABASE {DATABASE} WITH (FORCE);")
    session.close()
    print("ok")


if __name__ == "__main__":
    main()
