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
import signal
import statistics
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")

# Whoever is told to end has to end what it started: by an exception, finally runs.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

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
CREATE MATERIALIZED VIEW v WITH (tidemark.continuous{options}) AS
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
# What lateness has to leave out, from the content of the topic and without the
# extension's own idea of it.
LATE_ROWS = """
CREATE FOREIGN TABLE content (date_time timestamptz, p int OPTIONS (metadata 'partition'),
    o bigint OPTIONS (metadata 'offset')) SERVER kafka OPTIONS (topic '{topic}');
SELECT count(*) FROM (
    SELECT date_time, max(date_time) OVER (PARTITION BY p ORDER BY o ROWS BETWEEN UNBOUNDED PRECEDING
        AND 1 PRECEDING) - interval '4 s' AS watermark FROM content) s
 WHERE date_bin('10 s', date_time, '2000-01-01Z') + interval '10 s' + interval '{lateness}' <= watermark;
"""
TABLE = "CREATE TABLE bid (LIKE bid_stream);"
QUERY = "SELECT count(*), sum(price) FROM bid_stream;"
# What dashboards ask of one table: bids per auction and per bidder, those of four
# of the 10 000 channels, and totals.
BIG = "WHERE channel IN ('Apple', 'Google', 'Facebook', 'Baidu')"
DASHBOARD = [
    ("'10 s'", ", auction", "", "count(*) AS bids, sum(price) AS total, avg(price) AS mean, max(price) AS highest"),
    ("'10 s'", ", auction", "", "min(price) AS lowest, max(price) AS highest"),
    ("'1 min'", ", auction", "", "count(*) AS bids, avg(price) AS mean"),
    ("'10 s'", ", bidder", "", "count(*) AS bids, sum(price) AS total"),
    ("'10 s'", ", bidder", "", "max(price) AS highest"),
    ("'1 min'", ", bidder", "", "count(*) AS bids"),
    ("'10 s'", ", channel", BIG, "count(*) AS bids, sum(price) AS total"),
    ("'10 s'", ", channel", BIG, "avg(price) AS mean"),
    ("'10 s'", "", "", "count(*) AS bids, sum(price) AS total"),
    ("'1 min'", "", "", "count(*) AS bids, max(price) AS highest"),
]
DASHBOARD_VIEWS = "".join(f"""
CREATE MATERIALIZED VIEW v{i} WITH (tidemark.continuous) AS
SELECT window_start, window_end{key}, {values}
  FROM bid AS b, tidemark.tumble(b.date_time, {size}) {where} GROUP BY window_start, window_end{key};
""" for i, (size, key, where, values) in enumerate(DASHBOARD))
DASHBOARD_NAMES = [f"v{i}" for i in range(len(DASHBOARD))]
INGEST = "SELECT tidemark.start_ingest('bid_stream', into_table => 'bid');"


def window_view(source="bid_stream", lateness=None):
    options = "" if lateness is None else \
        f", tidemark.emit = 'final', tidemark.allowed_lateness = '{lateness}'"
    return WINDOW_VIEW.format(source=source, options=options)


# Options of bench/gen/generate.  keyed: bids of an auction are in one partition; disorder: no row is late; late: one in a
# hundred is later than the watermark; skew: some of them, and the partitions are
# far from each other.
TOPICS = {
    "order": [],
    "keyed": ["--by-auction"],
    "disorder": ["--ooo", "1000", "--late-prob", "0.1"],
    "late": ["--ooo", "1000", "--late-prob", "0.012", "--late-ms", "30000"],
    "skew": ["--ooo", "1000", "--late-prob", "0.1", "--late-ms", "12000", "--partitions", "8", "--skew", "5000"],
}

BATCH_ROWS = ", batch_max_rows '{rows}', batch_max_bytes '{bytes}B'"
BYTES_PER_ROW = 335     # as in the defaults


class Case:
    """title, statements that the clock measures, what has to catch up; history: what has to before"""

    def __init__(self, title, work, relation="v", *, options="", before="", history=None, topic="order", lateness=None, views=None):
        self.title, self.work, self.relation = title, work, relation
        self.options, self.before, self.history = options, before, history
        self.topic, self.lateness = topic, lateness
        self.views = views or ["v"] * (relation == "v")


TWO_WORKERS = f"BEGIN; {window_view()} SELECT tidemark.alter_ingest('bid_stream', workers => 2); COMMIT;"
TWO_INGESTS = INGEST.replace("'bid')", "'bid', workers => 2)")

# In d, 100000 rows have about 72000 different prices.
CASES = {
    "a": Case("one tumbling view", window_view()),
    "b": Case("the same, raw rows stored", INGEST, before=TABLE + window_view("bid")),
    "c": Case("raw rows only", INGEST, "bid_stream", before=TABLE),
    "d": Case("72k groups per batch",
              "CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS "
              "SELECT price, count(*) AS bids, max(date_time) AS latest FROM bid_stream GROUP BY price;",
              options=", batch_max_rows '100000', batch_max_bytes '64MB'"),
    "x": Case("ten views, raw rows stored", INGEST, "bid_stream", before=TABLE + DASHBOARD_VIEWS,
              views=DASHBOARD_NAMES),
    "w": Case("as a, two workers", TWO_WORKERS),
    "y": Case("as a, keyed by auction", window_view(), topic="keyed"),
    "Y": Case("as w, keyed by auction", TWO_WORKERS, topic="keyed"),
    "W": Case("as b, two workers", TWO_INGESTS, before=TABLE + window_view("bid")),
    "X": Case("as x, two workers", TWO_INGESTS, "bid_stream", before=TABLE + DASHBOARD_VIEWS,
              views=DASHBOARD_NAMES),
    "r": Case("as a, from the log of a live ingest", window_view(), before=TABLE + INGEST, history="bid_stream"),
    "t": Case("as b, from the rows of its table", window_view("bid"), None, before=TABLE + INGEST, history="bid_stream",
              views=["v"]),
    "e": Case("SELECT count(*), sum(price)", QUERY, None, before="SET max_parallel_workers_per_gather = 0;"),
    "E": Case("the same, 2 parallel workers", QUERY, None, before="SET max_parallel_workers_per_gather = 2;"),
    "h": Case("hop: 10 s, every 2 s", PANED_VIEW.format(window="hop(s.date_time, '2 s', '10 s')")),
    "u": Case("cumulate: 10 s, in steps of 2 s", PANED_VIEW.format(window="cumulate(s.date_time, '2 s', '10 s')")),
    "s": Case("sessions per bidder", SESSION_VIEW),
    "o": Case("as a, out of order", window_view(), topic="disorder"),
    "l": Case("final, lateness 10 s", window_view(lateness="10 s"), topic="disorder", lateness="10 s"),
    "m": Case("final, 1 % of rows late", window_view(lateness="0 s"), topic="late", lateness="0 s"),
    "j": Case("as a, skew", window_view(), topic="skew"),
    "k": Case("skew, final, lateness 0", window_view(lateness="0 s"), topic="skew", lateness="0 s"),
    "K": Case("skew, final, lateness 1 min", window_view(lateness="1 min"), topic="skew", lateness="1 min"),
}


class Session:
    """One psql that stays connected."""

    def __init__(self, database, stderr=None):
        self.psql = subprocess.Popen(
            ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, bufsize=1)
        self.run("SET client_min_messages = warning;")

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


class Share:
    """Holds each process at a share of a processor, in a control group of its own."""

    def __init__(self, percent):
        self.percent, self.groups = percent, {}
        self.v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")

    def hold(self, pid):
        group = f"/sys/fs/cgroup/{'' if self.v2 else 'cpu/'}tidemark-bench-{pid}"
        settings = [("cpu.max", f"{self.percent * 100} 10000")] if self.v2 else \
            [("cpu.cfs_period_us", "10000"), ("cpu.cfs_quota_us", str(self.percent * 100))]
        os.mkdir(group)
        self.groups[pid] = group
        for name, value in [*settings, ("cgroup.procs", pid)]:
            with open(f"{group}/{name}", "w") as f:
                f.write(value)

    def release(self):
        """When the processes end."""
        for pid, group in self.groups.items():
            while os.path.exists(f"/proc/{pid}"):
                time.sleep(0.01)
            os.rmdir(group)
        self.groups.clear()


class Processes:
    """CPU seconds and peak memory of processes, also of those that ended."""

    def __init__(self, share=None):
        self.cpu, self.peak_kb, self.share = {}, {}, share
        self.delay_s = 0.0      # how long the last one's first thread was ready but had no processor

    def sample(self, pids):
        for pid in pids:
            try:
                if self.share and pid not in self.share.groups:
                    self.share.hold(pid)
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                with open(f"/proc/{pid}/status") as f:
                    anon = re.search(r"RssAnon:\s+(\d+)", f.read())
                with open(f"/proc/{pid}/schedstat") as f:
                    self.delay_s = int(f.read().split()[1]) / 1e9
            except FileNotFoundError:
                continue
            self.cpu[pid] = (int(fields[11]) + int(fields[12])) / TICK
            # its own memory: shared buffers that it touched do not count
            self.peak_kb[pid] = max(self.peak_kb.get(pid, 0), int(anon.group(1)) if anon else 0)


def query_cpu(backend):
    """CPU seconds of a backend and of all its server's processes that have ended."""
    with open(f"/proc/{backend}/stat") as f:
        own = f.read().rsplit(")", 1)[1].split()
    with open(f"/proc/{own[1]}/stat") as f:
        server = f.read().rsplit(")", 1)[1].split()
    return sum(map(int, own[11:13] + server[13:15])) / TICK


def command(*args):
    return subprocess.run(args, check=True, text=True, stdout=subprocess.PIPE).stdout


def load(o, kind):
    topic = f"bench_{kind}_{os.getpid()}"
    # 46 of 50 events are bids
    command("generate", "--brokers", o.brokers, "--create", "--topic", topic,
            "--partitions", str(o.partitions), "--events", str(o.events * 50 // 46 + 50),
            "--limit", str(o.events), "--compression", o.compression, *TOPICS[kind])
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


def check_view(session, letter, topic):
    """The view is what its query says, and has left out what is late."""
    case = CASES[letter]
    for view in case.views:
        problems = session.run(f"SELECT count(*) FROM tidemark.verify('{view}');")[0]
        if problems != "0":
            sys.exit(f"case {letter}: view {view} differs from its query in {problems} groups")
    if case.lateness is None:
        return None
    late = session.run("SELECT late FROM tidemark.views;")[0]
    expected = session.run(LATE_ROWS.format(topic=topic, lateness=case.lateness))[0]
    if late != expected:
        sys.exit(f"case {letter}: {late} late rows instead of {expected}")
    plan = session.run("EXPLAIN SELECT * FROM v WHERE window_start = (SELECT min(window_start) FROM v);")
    if any("Seq Scan" in line for line in plan):
        sys.exit(f"case {letter}: a window is not read by an index:\n" + "\n".join(plan))
    return int(late)


def measure_case(o, topic, letter, log):
    case = CASES[letter]
    session = Session("postgres")
    session.run(f'DROP DATABASE IF EXISTS "bench_{letter}" WITH (FORCE); CREATE DATABASE "bench_{letter}"; CHECKPOINT;')
    session.close()
    session = Session(f"bench_{letter}")
    options = case.options or o.batch_options or ""
    session.run(STREAM.format(brokers=o.brokers, topic=topic, options=options) + case.before)
    processes = Processes(o.share)
    if case.history:
        wait_until_done(session, case.history, processes)
        processes.sample(list(processes.cpu))
        processes.peak_kb.clear()
    cpu_before = sum(processes.cpu.values())
    log_start = log.seek(0, os.SEEK_END)
    wal = session.run("SELECT pg_current_wal_insert_lsn();")[0]
    backend = session.run("SELECT pg_backend_pid();")
    start = time.monotonic()
    if case.relation is None:
        cpu = -query_cpu(backend[0])
        session.run(case.work)
        wall = time.monotonic() - start
        time.sleep(0.2)     # until the server has waited for its parallel workers
        cpu += query_cpu(backend[0])
        processes.sample(backend)
    else:
        session.run(case.work)
        wait_until_done(session, case.relation, processes)
        # the last ticks: what came between the last sample and the answer
        processes.sample(list(processes.cpu))
        cpu = sum(processes.cpu.values()) - cpu_before
        wall = time.monotonic() - start
    wal_bytes = int(session.run(f"SELECT pg_current_wal_insert_lsn() - '{wal}'::pg_lsn;")[0])
    late = check_view(session, letter, topic)
    session.close()
    batches = batch_milliseconds(log, log_start)
    session = Session("postgres")
    session.run(f'DROP DATABASE "bench_{letter}" WITH (FORCE);')
    session.close()
    if o.share:
        o.share.release()
    return {"cpu_s": cpu, "wall_s": wall, "us_per_event": cpu * 1e6 / o.events,
            "events_per_cpu_s": o.events / cpu if cpu else None, "events_per_s": o.events / wall,
            "batches": len(batches), "batch_p50_ms": percentile(batches, 0.5),
            "batch_p99_ms": percentile(batches, 0.99),
            "wal_bytes_per_event": wal_bytes / o.events, "late": late,
            "peak_rss_mb": max(processes.peak_kb.values(), default=0) / 1024}


def medians(runs):
    def median(name):
        values = [r[name] for r in runs if r[name] is not None]
        return statistics.median(values) if values else None
    costs = [r["us_per_event"] for r in runs]
    return {name: median(name) for name in runs[0]} | {"us_per_event_range": [min(costs), max(costs)]}


def machine():
    """What the numbers depend on."""
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) / 1024 / 1024
    return (f"{os.cpu_count()} x {model.group(1) if model else os.uname().machine}, {memory:.0f} GB, "
            f"Linux {os.uname().release}, {command('postgres', '--version').strip()}, "
            f"load {os.getloadavg()[0]:.1f} before")


def print_table(results):
    def show(value, digits=0):
        return "-" if value is None else f"{value:,.{digits}f}"

    print(f"{results['events']:,} events, {results['partitions']} partitions, medians of {results['repeat']} runs; "
          f"{results['machine']}")
    head = ("case", "us/event", "from - to", "x F", "events/CPU-s", "events/s", "batches", "p50 ms", "p99 ms", "WAL B/event", "RSS MB", "late")
    low, high = results["floor_us_range"]
    rows = [head, ("F  bare consumer", show(results["floor_us"], 3), f"{low:.2f} - {high:.2f}", "1.0",
                   show(1e6 / results["floor_us"]), "", "", "", "", "", "", "")]
    for letter, r in results["cases"].items():
        low, high = r["us_per_event_range"]
        rows.append((f"{letter}  {CASES[letter].title}", show(r["us_per_event"], 3), f"{low:.2f} - {high:.2f}",
                     show(r["multiple_of_floor"], 1), show(r["events_per_cpu_s"]), show(r["events_per_s"]), show(r["batches"]), show(r["batch_p50_ms"], 1),
                     show(r["batch_p99_ms"], 1), show(r["wal_bytes_per_event"], 1), show(r["peak_rss_mb"]), show(r["late"])))
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
    p.add_argument("--cases", default="".join(CASES))
    p.add_argument("--batch-rows", type=lambda s: BATCH_ROWS.format(rows=int(s), bytes=int(s) * BYTES_PER_ROW),
                   dest="batch_options", metavar="N")
    p.add_argument("--worker-cpu", type=lambda s: Share(int(s)), dest="share", metavar="PERCENT")
    p.add_argument("--output", default=os.path.join(os.path.dirname(__file__), "results.json"))
    o = p.parse_args()
    if set(o.cases) - set(CASES):
        p.error("--cases: letters of " + "".join(CASES))
    o.brokers = os.environ["KAFKA_BROKERS"]
    before = machine()
    topics = {kind: load(o, kind) for kind in TOPICS
              if kind == "order" or any(CASES[letter].topic == kind for letter in o.cases)}
    floors = []
    runs = {letter: [] for letter in o.cases}
    with open(os.environ["BENCH_LOG"]) as log:
        for i in range(o.repeat):
            floors.append(measure_floor(o, topics["order"]))
            for letter in o.cases:
                print(f"run {i + 1} of {o.repeat}: {letter}", file=sys.stderr)
                runs[letter].append(measure_case(o, topics[CASES[letter].topic], letter, log))
    floor = statistics.median(floors)
    cases = {letter: medians(r) for letter, r in runs.items()}
    for r in cases.values():
        r["multiple_of_floor"] = r["us_per_event"] / floor
    results = {"events": o.events, "partitions": o.partitions, "compression": o.compression,
               "repeat": o.repeat, "machine": before, "floor_us": floor, "floor_us_range": [min(floors), max(floors)],
               "cases": cases}
    with open(o.output, "w") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    print_table(results)


if __name__ == "__main__":
    main()
