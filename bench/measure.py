#!/usr/bin/env python3
"""The measurements of bench/run, which starts the server and the broker.

Every case starts with a database of its own, reads the whole topic and ends
when everything is committed.  CPU is that of the worker processes with all
their threads, from /proc; F is the CPU that a bare consumer of the same topic
needs per message in the same run (bench/floor)."""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")

STREAM = """
CREATE EXTENSION tidemark;
CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka
  OPTIONS (bootstrap_servers '{brokers}');
CREATE FOREIGN TABLE bid_stream (
    auction bigint, bidder bigint, price bigint, channel text, url text,
    date_time timestamptz, extra text)
  SERVER kafka OPTIONS (topic '{topic}', event_time 'date_time', watermark_delay '4 s'{options});
"""
WINDOW_VIEW = """
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS
SELECT window_start, window_end, auction,
       count(*) AS bids, sum(price) AS total, avg(price) AS mean, max(price) AS highest
  FROM {source} AS s, tidemark.tumble(s.date_time, '10 s')
 GROUP BY window_start, window_end, auction;
"""
SESSION_VIEW = """
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS
SELECT bidder, session_start, session_end, count(*) AS bids
  FROM (SELECT bidder, tidemark.session_start(date_time, '10 s') OVER w,
               tidemark.session_end(date_time, '10 s') OVER w
          FROM bid_stream WINDOW w AS (PARTITION BY bidder ORDER BY date_time)) s
 GROUP BY bidder, session_start, session_end;
"""
# Nexmark's query 5 without its last step; and the same in windows that grow.
PANED_VIEW = """
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS
SELECT window_start, window_end, auction, count(*) AS bids
  FROM bid_stream AS s, tidemark.{window}
 GROUP BY window_start, window_end, auction;
"""
TABLE = "CREATE TABLE bid (LIKE bid_stream);"
INGEST = "SELECT tidemark.start_ingest('bid_stream', into_table => 'bid');"

# letter: (title, stream options, statements before the clock, statements, what
# has to catch up).  In d, 100000 rows have about 72000 different prices.
CASES = {
    "a": ("one tumbling view", "", "", WINDOW_VIEW.format(source="bid_stream"), "v"),
    "b": ("the same, raw rows stored", "", TABLE + WINDOW_VIEW.format(source="bid"), INGEST, "v"),
    "c": ("raw rows only", "", TABLE, INGEST, "bid_stream"),
    "d": ("72k groups per batch", ", batch_max_rows '100000', batch_max_bytes '64MB'", "",
          "CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS "
          "SELECT price, count(*) AS bids, max(date_time) AS latest FROM bid_stream GROUP BY price;", "v"),
    "e": ("SELECT count(*), sum(price)", "", "", "SELECT count(*), sum(price) FROM bid_stream;", None),
    "h": ("hop: 10 s, every 2 s", "", "", PANED_VIEW.format(window="hop(s.date_time, '2 s', '10 s')"), "v"),
    "u": ("cumulate: 10 s, in steps of 2 s", "", "",
          PANED_VIEW.format(window="cumulate(s.date_time, '2 s', '10 s')"), "v"),
    "s": ("sessions per bidder", "", "", SESSION_VIEW, "v"),
}


class Session:
    """One psql that stays connected."""

    def __init__(self, database):
        self.psql = subprocess.Popen(
            ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def run(self, sql):
        self.psql.stdin.write(sql + "\n\\echo <end>\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line == "<end>\n":
                return lines
            lines.append(line.rstrip("\n"))
        raise RuntimeError("psql ended")

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


class Processes:
    """CPU seconds and peak memory of processes, also of those that ended."""

    def __init__(self):
        self.cpu, self.peak_kb = {}, {}

    def sample(self, pids):
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                with open(f"/proc/{pid}/status") as f:
                    anon = re.search(r"RssAnon:\s+(\d+)", f.read())
            except FileNotFoundError:
                continue
            self.cpu[pid] = (int(fields[11]) + int(fields[12])) / TICK
            # its own memory: shared buffers that it touched do not count
            self.peak_kb[pid] = max(self.peak_kb.get(pid, 0), int(anon.group(1)) if anon else 0)


def command(*args):
    return subprocess.run(args, check=True, text=True, stdout=subprocess.PIPE).stdout


def load(o):
    topic = f"bench_{os.getpid()}"
    # 46 of 50 events are bids
    command("generate", "--brokers", o.brokers, "--create", "--topic", topic,
            "--partitions", str(o.partitions), "--events", str(o.events * 50 // 46 + 50),
            "--limit", str(o.events), "--compression", o.compression)
    return topic


def measure_floor(o, topic):
    out = command("floor", o.brokers, topic)
    messages = int(out.split()[0])
    if messages != o.events:
        sys.exit(f"the topic has {messages} messages instead of {o.events}")
    return float(out.split()[-2])


def batch_milliseconds(log, start):
    """Durations from the log lines of tidemark.log_min_batch_duration."""
    log.seek(start)
    return [float(ms) for ms in re.findall(r"batch\b[^\n]*?([\d.]+) ms", log.read())]


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))] if values else None


def wait_until_done(session, relation, processes):
    """Ask, never wait in the server: a snapshot that is held slows the worker."""
    pids = "SELECT pid FROM tidemark.workers WHERE pid IS NOT NULL AND stream = 'bid_stream'::regclass;"
    deadline = time.monotonic() + 1800
    while True:
        processes.sample(session.run(pids))
        if session.run(f"SELECT tidemark.wait_caught_up('{relation}', '0');") == ["t"]:
            return
        if time.monotonic() > deadline:
            raise RuntimeError("not caught up after 30 minutes")
        time.sleep(0.05)


def measure_case(o, topic, letter, log):
    title, options, before, work, relation = CASES[letter]
    session = Session("postgres")
    session.run(f"DROP DATABASE IF EXISTS bench_{letter} WITH (FORCE); CREATE DATABASE bench_{letter}; CHECKPOINT;")
    session.close()
    session = Session(f"bench_{letter}")
    session.run(STREAM.format(brokers=o.brokers, topic=topic, options=options) + before)
    processes = Processes()
    log_start = log.seek(0, os.SEEK_END)
    wal = session.run("SELECT pg_current_wal_insert_lsn();")[0]
    backend = session.run("SELECT pg_backend_pid();")
    start = time.monotonic()
    if relation is None:
        processes.sample(backend)
        cpu = -processes.cpu[backend[0]]
        session.run(work)
        processes.sample(backend)
        cpu += processes.cpu[backend[0]]
    else:
        session.run(work)
        wait_until_done(session, relation, processes)
        # the last ticks: what came between the last sample and the answer
        processes.sample(list(processes.cpu))
        cpu = sum(processes.cpu.values())
    wall = time.monotonic() - start
    wal_bytes = int(session.run(f"SELECT pg_current_wal_insert_lsn() - '{wal}'::pg_lsn;")[0])
    problems = session.run("SELECT count(*) FROM tidemark.verify('v');")[0] if relation == "v" else "0"
    if problems != "0":
        sys.exit(f"case {letter}: the view differs from its query in {problems} groups")
    session.close()
    batches = batch_milliseconds(log, log_start)
    session = Session("postgres")
    session.run(f"DROP DATABASE bench_{letter} WITH (FORCE);")
    session.close()
    return {"cpu_s": cpu, "wall_s": wall, "us_per_event": cpu * 1e6 / o.events,
            "events_per_cpu_s": o.events / cpu if cpu else None,
            "batches": len(batches), "batch_p50_ms": percentile(batches, 0.5),
            "batch_p99_ms": percentile(batches, 0.99),
            "wal_bytes_per_event": wal_bytes / o.events,
            "peak_rss_mb": max(processes.peak_kb.values(), default=0) / 1024}


def medians(runs):
    def median(name):
        values = [r[name] for r in runs if r[name] is not None]
        return statistics.median(values) if values else None
    return {name: median(name) for name in runs[0]}


def print_table(results):
    def show(value, digits=0):
        return "-" if value is None else f"{value:,.{digits}f}"

    head = ("case", "us/event", "x F", "events/CPU-s", "batches", "p50 ms", "p99 ms", "WAL B/event", "RSS MB")
    rows = [head, ("F  bare consumer", show(results["floor_us"], 3), "1.0",
                   show(1e6 / results["floor_us"]), "", "", "", "", "")]
    for letter, r in results["cases"].items():
        rows.append((f"{letter}  {CASES[letter][0]}", show(r["us_per_event"], 3), show(r["multiple_of_floor"], 1),
                     show(r["events_per_cpu_s"]), show(r["batches"]), show(r["batch_p50_ms"], 1),
                     show(r["batch_p99_ms"], 1), show(r["wal_bytes_per_event"], 1), show(r["peak_rss_mb"])))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(row, widths))))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--events", type=int, default=2000000)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--partitions", type=int, default=4)
    p.add_argument("--compression", default="none")
    p.add_argument("--cases", default="abcdehus")
    p.add_argument("--output", default=os.path.join(os.path.dirname(__file__), "results.json"))
    o = p.parse_args()
    if set(o.cases) - set(CASES):
        p.error("--cases: letters of " + "".join(CASES))
    o.brokers = os.environ["KAFKA_BROKERS"]
    topic = load(o)
    floors = []
    runs = {letter: [] for letter in o.cases}
    with open(os.environ["BENCH_LOG"]) as log:
        for i in range(o.repeat):
            floors.append(measure_floor(o, topic))
            for letter in o.cases:
                print(f"run {i + 1} of {o.repeat}: {letter}", file=sys.stderr)
                runs[letter].append(measure_case(o, topic, letter, log))
    floor = statistics.median(floors)
    cases = {letter: medians(r) for letter, r in runs.items()}
    for r in cases.values():
        r["multiple_of_floor"] = r["us_per_event"] / floor
    results = {"events": o.events, "partitions": o.partitions, "compression": o.compression,
               "repeat": o.repeat, "floor_us": floor, "cases": cases}
    with open(o.output, "w") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    print_table(results)


if __name__ == "__main__":
    main()
