#!/usr/bin/env python3
"""kafka_helper.py COMMAND ...: what tests need from Kafka besides the broker.

  create TOPIC N [k=v ...]     topic with N partitions and these configs; waits
                               until every partition has a leader
  delete TOPIC
  partitions TOPIC N           grow the topic to N partitions
  trim TOPIC PARTITION OFFSET  delete the records before OFFSET
  config TOPIC k=v ...
  topicid TOPIC
  watermarks TOPIC             a line a partition: number, low, high
  produce TOPIC [--txn ID [--abort | --hang]]
                               reads a JSON object a line: {"value": ..,
                               "key": .., "partition": 0, "timestamp": ms,
                               "headers": {..}}.  value null: a tombstone;
                               string or {"hex": ".."}: these bytes; anything
                               else: as JSON text.  --txn: one transaction;
                               --abort: abort it; --hang: leave it open, exit
  consume TOPIC [N]            a JSON line a message, read_committed, from the
                               beginning to the end of now
  serve                        commands from stdin, without a new process each:
                               {"args": [..], "stdin": "..", "brokers": "..",
                               "props": ".."} -> {"ok": true, "out": ".."}

Brokers: $KAFKA_BROKERS (127.0.0.1:19092); more properties: $KAFKA_PROPS as
k=v,k=v.  Needs the Python package confluent-kafka."""
import contextlib
import io
import json
import os
import sys
import time

from confluent_kafka import (Consumer, KafkaException, Producer, TopicCollection,
                             TopicPartition, TIMESTAMP_NOT_AVAILABLE)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry,
                                   ConfigResource, NewPartitions, NewTopic,
                                   ResourceType)

clients = {}    # serve keeps clients: connecting costs more than the command


def conf():
    c = {"bootstrap.servers": os.environ.get("KAFKA_BROKERS", "127.0.0.1:19092"),
         "log_level": 2}
    props = os.environ.get("KAFKA_PROPS", "")
    c.update(kv.split("=", 1) for kv in props.split(",") if kv)
    return c


def client(kind, **more):
    c = {**conf(), **more}
    key = (kind, tuple(sorted(c.items())))
    if key not in clients:
        clients[key] = kind(c)
    return clients[key]


def done(futures):
    return [f.result(30) for f in futures.values()]


def wait_for_leaders(admin, topic, n):
    for _ in range(600):
        t = admin.list_topics(topic, timeout=10).topics[topic]
        if (t.error is None and len(t.partitions) >= n
                and all(p.leader >= 0 for p in t.partitions.values())):
            return
        time.sleep(0.05)
    sys.exit(f"{topic}: a partition has no leader")


def raw(v):
    if v is None or isinstance(v, str):
        return v
    if isinstance(v, dict) and set(v) == {"hex"}:
        return bytes.fromhex(v["hex"])
    return json.dumps(v)


def produce(topic, *opts):
    txn = opts[opts.index("--txn") + 1] if "--txn" in opts else None
    settings = {"linger.ms": 5, "enable.idempotence": True}
    if txn:     # a client of its own: --hang must be able to forget it
        p = Producer({**conf(), **settings, "transactional.id": txn,
                      "transaction.timeout.ms": 60000})
        p.init_transactions(30)
        p.begin_transaction()
    else:
        p = client(Producer, **settings)
    errors, n = [], 0

    def report(err, _):
        if err:
            errors.append(err)

    for line in sys.stdin:
        if not line.strip():
            continue
        m = json.loads(line)
        n += 1
        more = {k: m[k] for k in ("partition", "timestamp") if k in m}
        headers = [(k, v if v is None else str(v)) for k, v in m.get("headers", {}).items()]
        while True:
            try:
                p.produce(topic, value=raw(m.get("value")), key=raw(m.get("key")),
                          headers=headers or None, on_delivery=report, **more)
                break
            except BufferError:
                p.poll(0.1)
        p.poll(0)
    left = p.flush(30)
    if errors or left:
        sys.exit(f"{len(errors)} errors, {left} not delivered: {errors[:1]}")
    if "--hang" in opts:
        clients[id(p)] = p      # kept alive: its end would abort the transaction
    elif "--abort" in opts:
        p.abort_transaction(30)
    elif txn:
        p.commit_transaction(30)
    print(n)


def consume(topic, limit=None):
    def text(b):
        return None if b is None else b.decode("utf-8", "backslashreplace")

    c = Consumer({**conf(), "group.id": "helper", "enable.auto.commit": False,
                  "isolation.level": "read_committed", "enable.partition.eof": True})
    left = set(c.list_topics(topic, timeout=10).topics[topic].partitions)
    c.assign([TopicPartition(topic, p, 0) for p in left])
    n = 0
    while left and (limit is None or n < int(limit)):
        m = c.poll(10)
        if m is None:
            sys.exit(f"{topic}: no message within 10 s")
        if m.error():
            left.discard(m.partition())
            continue
        n += 1
        kind, ts = m.timestamp()
        print(json.dumps({"partition": m.partition(), "offset": m.offset(),
                          "key": text(m.key()), "value": text(m.value()),
                          "timestamp": None if kind == TIMESTAMP_NOT_AVAILABLE else ts,
                          "headers": {k: text(v) for k, v in m.headers() or []}}))
    c.close()


def watermarks(topic):
    c = Consumer({**conf(), "group.id": "helper"})
    for p in sorted(c.list_topics(topic, timeout=10).topics[topic].partitions):
        print(p, *c.get_watermark_offsets(TopicPartition(topic, p), timeout=10))
    c.close()


def administer(command, topic, *a):
    admin = client(AdminClient)
    if command == "create":
        config = dict(kv.split("=", 1) for kv in a[1:])
        done(admin.create_topics([NewTopic(topic, int(a[0]), config=config)]))
        wait_for_leaders(admin, topic, int(a[0]))
    elif command == "delete":
        done(admin.delete_topics([topic]))
    elif command == "partitions":
        done(admin.create_partitions([NewPartitions(topic, int(a[0]))]))
        # a producer that knows the topic would not see them for minutes
        for key in [k for k in clients if k[0] is Producer]:
            del clients[key]
        wait_for_leaders(admin, topic, int(a[0]))
    elif command == "trim":
        where = TopicPartition(topic, int(a[0]), int(a[1]))
        print(done(admin.delete_records([where]))[0].low_watermark)
    elif command == "config":
        entries = [ConfigEntry(*kv.split("=", 1),
                               incremental_operation=AlterConfigOpType.SET) for kv in a]
        done(admin.incremental_alter_configs(
            [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)]))
    elif command == "topicid":
        print(done(admin.describe_topics(TopicCollection([topic])))[0].topic_id)
    else:
        sys.exit(__doc__)


def run(command, *a):
    named = {"produce": produce, "consume": consume, "watermarks": watermarks}
    if command in named:
        named[command](*a)
    elif a:
        administer(command, *a)
    else:
        sys.exit(__doc__)


def answer(request):
    os.environ["KAFKA_BROKERS"] = request["brokers"]
    os.environ["KAFKA_PROPS"] = request.get("props") or ""
    out = io.StringIO()
    sys.stdin = io.StringIO(request.get("stdin") or "")
    try:
        with contextlib.redirect_stdout(out):
            run(*request["args"])
    except (SystemExit, KafkaException, KeyError, ValueError, TypeError) as e:
        return {"ok": False, "out": f"{type(e).__name__}: {e}"}
    return {"ok": True, "out": out.getvalue()}


def serve():
    for line in sys.stdin.buffer:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) > 2:
        run(*sys.argv[1:])
        if "--hang" in sys.argv:
            sys.stdout.flush()
            os._exit(0)
    else:
        sys.exit(__doc__)
