#!/usr/bin/env python3
"""The measurements of bench/compare, which starts the server and the broker.

Every system starts with a database and a program of its own, reads the whole
topic and ends when everything is committed.  CPU is that of all of the
server's processes and of the system's own, with all their threads, from
/proc; only the session that asks how far tidemark is does not count."""
import argparse
import collections
import datetime
import glob
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

from measure import INGEST, STREAM, TABLE, Session, command, load, measure_floor, window_view

TICK = os.sysconf("SC_CLK_TCK")
HERE = os.path.dirname(os.path.abspath(__file__))

# What the peers write to; they have avg = total / bids when it is read, so
# that they need not keep it.
RESULT = """
CREATE TABLE result (
    window_start timestamptz, auction bigint, bids bigint NOT NULL, total bigint NOT NULL,
    highest bigint NOT NULL, PRIMARY KEY (auction, window_start)) WITH (fillfactor = 50);
CREATE VIEW result_with_mean AS SELECT *, total::numeric / bids AS mean FROM result;
CREATE TABLE bid (auction bigint, bidder bigint, price bigint, channel text, url text,
                  date_time timestamptz, extra text);
"""
ROWS = "auction, bidder, price, channel, url, date_time, extra"
DIFFERENCES = """
SELECT count(*) FROM ((SELECT {columns} FROM {a} EXCEPT ALL SELECT {columns} FROM {b})
            UNION ALL (SELECT {columns} FROM {b} EXCEPT ALL SELECT {columns} FROM {a})) AS d;
"""

NAMES = ["tidemark", "go", "python", "kafka-streams", "flink", "spark"]
System = collections.namedtuple("System", "name title setting work command")


# Spark reaches into these packages of Java's.
SPARK_OPENS = ["java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util",
               "java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs",
               "sun.security.action", "sun.util.calendar"]


def java(name, main, options=()):
    folder = os.path.join(os.environ["BENCH_WORK"], name)
    return ["java", "-Xmx2g", *options, "-cp", f"{folder}/target/peer.jar:{folder}/lib/*", main]


def systems(o, topic):
    """What is run, in this order: tidemark first, the others are compared with it."""
    go = ["peer-go", "-brokers", o.brokers, "-topic", topic]
    python = [os.path.join(os.environ["BENCH_WORK"], "python", "bin", "python"),
              os.path.join(HERE, "peers", "python", "bids.py"), o.brokers, topic, "50000"]
    spark = java("spark", "SparkBids", [f"--add-opens=java.base/{p}=ALL-UNNAMED" for p in SPARK_OPENS]) \
        + [o.brokers, topic]
    own = version_of_tidemark()
    gos = version_of_go()
    pythons = version_of_python()
    sparks = f"Spark Structured Streaming {version_in_pom('spark', 'spark-sql_2.13')}"
    streams = f"Kafka Streams {version_in_pom('kafka-streams', 'kafka-streams')}"
    flink = f"Flink SQL {version_in_pom('flink', 'flink-table-planner-loader')}"
    events = [str(o.events)]
    return [
        System("tidemark", own, "one view, no raw rows", "view", None),
        System("tidemark", own, "raw rows", "rows", None),
        System("go", gos, "batches of 10 k", "view", go + ["-batch", "10000"]),
        System("go", gos, "batches of 50 k", "view", go + ["-batch", "50000"]),
        System("go", gos, "raw rows, batches of 50 k", "rows", go + ["-batch", "50000", "-mode", "store"]),
        System("python", pythons, "batches of 50 k", "view", python + ["view"]),
        System("python", pythons, "raw rows, batches of 50 k", "rows", python + ["store"]),
        System("kafka-streams", streams, "exactly_once_v2", "view",
               java("kafka-streams", "WindowedBids") + [o.brokers, topic]),
        System("flink", flink, "windows, rows at their close", "view",
               java("flink", "FlinkBids") + [o.brokers, topic] + events + ["window"]),
        System("flink", flink, "GROUP BY, mini-batch", "view",
               java("flink", "FlinkBids") + [o.brokers, topic] + events + ["group"]),
        System("flink", flink, "raw rows, at least once", "rows",
               java("flink", "FlinkBids") + [o.brokers, topic] + events + ["store"]),
        System("spark", sparks, "micro-batches, update", "view", spark + ["view"]),
        System("spark", sparks, "raw rows, at least once", "rows", spark + ["store"]),
    ]


def version_of_tidemark():
    with open(os.path.join(HERE, "..", "tidemark.control")) as f:
        return "tidemark " + re.search(r"default_version = '([^']+)'", f.read()).group(1)


def version_of_go():
    with open(os.path.join(HERE, "peers", "go", "go.mod")) as f:
        client = re.search(r"franz-go (v\S+)", f.read()).group(1)
    if shutil.which("go") is None:
        return "hand-written Go"
    return f"hand-written Go {command('go', 'version').split()[2][2:]}, franz-go {client[1:]}"


def version_of_python():
    with open(os.path.join(HERE, "peers", "python", "requirements.txt")) as f:
        client = re.search(r"confluent-kafka==(\S+)", f.read()).group(1)
    return f"hand-written Python {platform.python_version()}, confluent-kafka {client}"


def version_in_pom(peer, artifact):
    with open(os.path.join(HERE, "peers", peer, "pom.xml")) as f:
        return re.search(rf"<artifactId>{artifact}</artifactId><version>([^<]+)", f.read()).group(1)


def ticks(pid):
    """(parent, own CPU ticks, ticks of the children it has waited for)"""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


class Cpu:
    """CPU seconds of the server's processes, without a session, and a peer's."""

    def __init__(self, except_for, peer=None):
        self.postmaster = int(os.environ["BENCH_POSTMASTER"])
        self.except_for = except_for
        self.peer = peer
        self.start = 0.0
        self.start = self.seconds()

    def seconds(self):
        own, reaped = ticks(self.postmaster)[1:]
        total = own + reaped
        for name in glob.glob("/proc/[0-9]*"):
            pid = int(name[6:])
            child = ticks(pid)
            if child is not None and child[0] == self.postmaster and pid != self.except_for:
                total += child[1] + child[2]
        if self.peer is not None:
            peer = ticks(self.peer)
            total += peer[1] + peer[2] if peer is not None else 0
        return total / TICK - self.start


def at_half(samples, events):
    """CPU and wall seconds when half of the events were done, between two samples."""
    before = samples[0]
    for after in samples[1:]:
        if after[0] >= events / 2:
            part = (events / 2 - before[0]) / (after[0] - before[0])
            return [b + (a - b) * part for a, b in zip(after[1:], before[1:])]
        before = after
    raise RuntimeError("it ended before half of the events were done")


def run_tidemark(o, system, topic, session):
    """Samples of (events, CPU, wall) until everything is committed."""
    session.run(STREAM.format(brokers=o.brokers, topic=topic, options="") + (TABLE if system.work == "rows" else ""))
    backend = int(session.run("SELECT pg_backend_pid();")[0])
    relation = "bid_stream" if system.work == "rows" else "v"
    cpu, start = Cpu(backend), time.monotonic()
    samples = [(0, 0.0, 0.0)]
    session.run(INGEST if system.work == "rows" else window_view())
    while True:
        done = session.run("SELECT coalesce(sum(next_offset), 0) FROM tidemark.partitions;")[0]
        caught_up = session.run(f"SELECT tidemark.wait_caught_up('{relation}', '0');") == ["t"]
        samples.append((o.events if caught_up else int(done), cpu.seconds(), time.monotonic() - start))
        if caught_up:
            return samples
        if samples[-1][2] > o.timeout:
            raise RuntimeError("not caught up in time")
        time.sleep(0.05)


def run_peer(o, system, session):
    """The same of a program that prints how many events are in its table."""
    backend = int(session.run("SELECT pg_backend_pid();")[0])
    cpu, start = Cpu(backend), time.monotonic()
    samples = [(0, 0.0, 0.0)]
    with open(os.path.join(os.environ["BENCH_WORK"], "peer.log"), "w+") as log:
        peer = subprocess.Popen(system.command, stdout=subprocess.PIPE, stderr=log, text=True,
                                env={**os.environ, "PGDATABASE": "compare", "PEER_WORK": os.environ["BENCH_WORK"]})
        cpu.peer = peer.pid
        alarm = threading.Timer(o.timeout, peer.kill)
        alarm.start()
        try:
            for line in peer.stdout:
                samples.append((int(line), cpu.seconds(), time.monotonic() - start))
                if samples[-1][0] >= o.events:
                    break
        finally:
            alarm.cancel()
            peer.terminate()
            peer.wait()
        if samples[-1][0] < o.events:
            log.seek(0)
            sys.exit(f"{system.title}, {system.setting}: ended after {samples[-1][0]} events\n" + log.read()[-4000:])
    return samples


def compare_results(system, session):
    """How many groups, or rows, differ from tidemark's."""
    if system.command is None:
        return 0
    if system.work == "rows":
        return int(session.run(DIFFERENCES.format(columns=ROWS, a="bid", b="expected_rows"))[0])
    return int(session.run(DIFFERENCES.format(
        columns="window_start, auction, bids, total, highest", a="result", b="expected_view"))[0])


def measure(o, system, topic):
    """One run: a database of its own, that begins with tidemark's results."""
    own = system.command is None
    session = Session("postgres")
    session.run("SET client_min_messages = warning; DROP DATABASE IF EXISTS compare WITH (FORCE);"
                f"CREATE DATABASE compare{'' if own else ' TEMPLATE expected'}; CHECKPOINT;")
    session.close()
    session = Session("compare")
    if own:
        samples = run_tidemark(o, system, topic, session)
        keep_expected(system, session)
    else:
        session.run(RESULT)
        samples = run_peer(o, system, session)
    differences = compare_results(system, session)
    session.close()
    half_cpu, half_wall = at_half(samples, o.events)
    events, cpu, wall = samples[-1]
    if events != o.events:
        sys.exit(f"{system.title}: {events} instead of {o.events}")
    return {"events_per_cpu_s": o.events / cpu, "warm": o.events / 2 / (cpu - half_cpu),
            "events_per_s": o.events / wall, "warm_events_per_s": o.events / 2 / (wall - half_wall),
            "cpu_s": cpu, "differences": differences}


def keep_expected(system, session):
    """Tidemark's results into database "expected", which the peers' are made of."""
    work = os.environ["BENCH_WORK"]
    select = ("SELECT window_start, auction, bids, total, highest FROM v"
              if system.work == "view" else f"SELECT {ROWS} FROM bid")
    path = os.path.join(work, f"expected.{system.work}")
    session.run(f"\\copy ({select}) TO '{path}'")
    if system.work == "view" and session.run("SELECT count(*) FROM tidemark.verify('v');") != ["0"]:
        sys.exit("tidemark's view differs from its query")
    expected = Session("postgres")
    if expected.run("SELECT 1 FROM pg_database WHERE datname = 'expected';") == []:
        expected.run("CREATE DATABASE expected;")
    expected.close()
    expected = Session("expected")
    expected.run("SET client_min_messages = warning;"
                 "CREATE TABLE IF NOT EXISTS expected_view (window_start timestamptz, auction bigint, bids bigint,"
                 " total bigint, highest bigint);"
                 "CREATE TABLE IF NOT EXISTS expected_rows (auction bigint, bidder bigint, price bigint,"
                 " channel text, url text, date_time timestamptz, extra text);"
                 f"TRUNCATE expected_{system.work};")
    expected.run(f"\\copy expected_{system.work} FROM '{path}'")
    expected.run("VACUUM (FREEZE, ANALYZE);")
    expected.close()
    os.remove(path)


def machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    with open("/proc/meminfo") as f:
        memory = int(re.search(r"MemTotal:\s+(\d+)", f.read()).group(1))
    session = Session("postgres")
    server = session.run("SHOW server_version;")[0]
    session.close()
    return {"date": datetime.date.today().isoformat(), "cpus": os.cpu_count(),
            "model": model.group(1) if model else os.uname().machine,
            "memory_gb": round(memory / 1048576), "kernel": os.uname().release,
            "load_before": round(os.getloadavg()[0], 1), "postgresql": server.split()[0]}


def print_page(results):
    m = results["machine"]
    print(f"{m['date']}: {m['cpus']} x {m['model']}, {m['memory_gb']} GB, Linux {m['kernel']}, "
          f"load before {m['load_before']}")
    print(f"PostgreSQL {m['postgresql']}; {results['events']:,} bids, {results['partitions']} partitions, "
          f"medians of {results['repeat']}; a bare consumer needs {results['floor_us']:.3f} us/event")
    print("events per CPU-second of the system and all of PostgreSQL; warm: the second half\n")
    head = ("system", "setting", "whole", "warm", "+-", "x less: whole", "warm", "events/s", "table")
    table = [head]
    for r in results["rows"]:
        table.append((r["system"], r["setting"], f"{r['events_per_cpu_s'] / 1e3:,.0f} k", f"{r['warm'] / 1e3:,.0f} k",
                      f"{r['spread'] * 100:.0f} %", f"{r['ratio']:.2f}", f"{r['warm_ratio']:.2f}",
                      f"{r['events_per_s'] / 1e3:,.0f} k",
                      "as tidemark's" if r["differences"] == 0 else f"{r['differences']} differ"))
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        print("  ".join(c.ljust(w) if i in (0, 1, 8) else c.rjust(w)
                        for i, (c, w) in enumerate(zip(row, widths))).rstrip())


def summary(o, floors, runs):
    rows = []
    for system, measured in runs:
        row = {"system": system.title, "setting": system.setting, "work": system.work}
        row.update({name: statistics.median(r[name] for r in measured) for name in measured[0]})
        row["differences"] = max(r["differences"] for r in measured)
        speeds = [r["events_per_cpu_s"] for r in measured]
        row["spread"] = (max(speeds) - min(speeds)) / row["events_per_cpu_s"] / 2
        rows.append(row)
    for row in rows:
        ours = next(r for r in rows if r["work"] == row["work"])
        row["ratio"] = ours["events_per_cpu_s"] / row["events_per_cpu_s"]
        row["warm_ratio"] = ours["warm"] / row["warm"]
    return {"machine": o.machine, "events": o.events, "partitions": o.partitions, "compression": o.compression,
            "repeat": o.repeat, "floor_us": statistics.median(floors), "rows": rows}


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--events", type=int, default=4000000)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--partitions", type=int, default=4)
    p.add_argument("--compression", default="none")
    p.add_argument("--systems", default=",".join(NAMES))
    p.add_argument("--timeout", type=int, default=1800, help="seconds for one system")
    p.add_argument("--output", default=os.path.join(HERE, "compare.json"))
    o = p.parse_args()
    o.brokers = os.environ["KAFKA_BROKERS"]
    o.systems = ["tidemark"] + o.systems.split(",")
    unknown = set(o.systems) - set(NAMES)
    if unknown:
        p.error(f"no such system: {', '.join(sorted(unknown))}")
    return o


def main():
    o = options()
    o.machine = machine()
    topic = load(o, "order")
    runs = [(s, []) for s in systems(o, topic) if s.name in o.systems]
    floors = []
    for i in range(o.repeat):
        floors.append(measure_floor(o, topic))
        for system, measured in runs:
            measured.append(measure(o, system, topic))
            print(f"run {i + 1} of {o.repeat}: {system.title}, {system.setting}: "
                  f"{measured[-1]['events_per_cpu_s']:,.0f}, warm {measured[-1]['warm']:,.0f}", file=sys.stderr)
    results = summary(o, floors, runs)
    with open(o.output, "w") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    print_page(results)


if __name__ == "__main__":
    main()
