"""How old an event is when a reader sees it: a SQL reader of a view, beside a plain Kafka consumer in the same run.

    RATES=1000,10000,100000 SECONDS=20 ./dev bench freshness

A producer (librdkafka, acks=all, its default linger) writes events at a steady rate to a stream with one partition. `kafka` is a librdkafka
consumer of it. `sql` asks a view of the stream (`SELECT max(id) ...`) again and again over the PostgreSQL protocol. An event's age goes from the
producer's call to the moment when the reader has it; the first 2 s are left out. `seconds` is the percentile of the age, the CPU seconds and
the memory are the server's.
"""

import multiprocessing
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import Results, Server, Span, machine, setting  # noqa: E402

LEAD_S = 2
# The producer makes its events in bundles this far apart.
BUNDLE_S = 0.001


def consume(kafka, count, into, ready):
    """When each event came to a Kafka consumer, in ns of the machine's monotonic clock."""
    import confluent_kafka

    consumer = confluent_kafka.Consumer({"bootstrap.servers": kafka, "group.id": "freshness", "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition("events", 0, confluent_kafka.OFFSET_BEGINNING)])
    consumer.poll(0)
    ready.set()
    seen = 0
    while seen < count:
        messages = consumer.consume(10_000, 0.001)
        now = time.monotonic_ns()
        for message in messages:
            if message.error():
                raise RuntimeError(message.error())
        into[seen : seen + len(messages)] = [now] * len(messages)
        seen += len(messages)


def ask(postgres, count, into, asked, ready):
    """When each event was in the answer of a query."""
    import psycopg

    host, port = postgres.rsplit(":", 1)
    with psycopg.connect(host=host, port=port, user="fleuve", dbname="main", autocommit=True) as connection:
        seen = 0
        ready.set()
        while seen < count:
            newest = connection.execute("SELECT newest FROM seen", prepare=True).fetchone()
            now = time.monotonic_ns()
            asked.value += 1
            upto = 0 if newest is None or newest[0] is None else newest[0] + 1
            into[seen:upto] = [now] * (upto - seen)
            seen = max(seen, upto)
            time.sleep(0.001)


def produce(kafka, rate, count):
    """Writes the events; gives when each was given to the producer."""
    import confluent_kafka

    producer = confluent_kafka.Producer({"bootstrap.servers": kafka, "acks": "all", "queue.buffering.max.messages": 1_000_000})
    sent = []
    begun = time.monotonic()
    while len(sent) < count:
        due = min(count, int((time.monotonic() - begun) * rate) + 1)
        while len(sent) < due:
            sent.append(time.monotonic_ns())
            producer.produce("events", b'{"id":%d,"user":%d,"amount":%d}' % (len(sent) - 1, len(sent) * 7919 % 5000, len(sent) % 1000))
        producer.poll(0)
        time.sleep(BUNDLE_S)
    took = time.monotonic() - begun
    if producer.flush(60):
        raise SystemExit("the producer could not write all events")
    return sent, took


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def run(rate, seconds, results):
    count = rate * seconds
    server = Server().start()
    try:
        server.sql("CREATE STREAM events (id BIGINT, \"user\" BIGINT, amount BIGINT) WITH (format = 'json')")
        server.sql("CREATE MATERIALIZED VIEW seen AS SELECT max(id) AS newest, count(*) AS n FROM events")
        server.sql('CREATE MATERIALIZED VIEW by_user AS SELECT "user", count(*) AS n, sum(amount) AS total FROM events GROUP BY "user"')
        times = {"kafka": multiprocessing.Array("q", count, lock=False), "sql": multiprocessing.Array("q", count, lock=False)}
        asked = multiprocessing.Value("q", 0)
        ready = [multiprocessing.Event(), multiprocessing.Event()]
        readers = [
            multiprocessing.Process(target=consume, args=(server.kafka, count, times["kafka"], ready[0]), daemon=True),
            multiprocessing.Process(target=ask, args=(server.postgres, count, times["sql"], asked, ready[1]), daemon=True),
        ]
        for reader, is_ready in zip(readers, ready):
            reader.start()
            is_ready.wait(60)
        time.sleep(1)
        span = Span(server.pid)
        sent, took = produce(server.kafka, rate, count)
        for reader in readers:
            reader.join(60)
        _, cpu, peak = span.end()
        ended = all(reader.exitcode == 0 for reader in readers)
        note = "" if took < seconds * 1.1 else f"the producer reached {count / took:.0f}/s only"
        ages = {}
        for subject, seen in times.items():
            ages[subject] = sorted((seen[i] - sent[i]) / 1e9 for i in range(LEAD_S * rate, count))
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            for subject in ("sql", "kafka"):
                case = f"{rate}/s {name}"
                results.add(case, subject, percentile(ages[subject], share), cpu, peak, count, ended, note=note)
        return rate, [percentile(ages[s], p) for p in (0.5, 0.99) for s in ("sql", "kafka")], cpu / seconds, asked.value / took
    finally:
        server.remove()


def main():
    seconds = setting("SECONDS", 20)
    rates = [int(r) for r in os.environ.get("RATES", "1000,10000,100000").split(",")]
    print(f"{seconds} s at each rate, two views, one partition, acks=all. {machine()}.\n")
    results = Results("freshness")
    lines = [run(rate, seconds, results) for rate in rates]
    print(f"\n{'events/s':>9}{'sql p50 ms':>12}{'kafka p50':>11}{'sql p99 ms':>12}{'kafka p99':>11}{'p99 ratio':>11}{'server cores':>14}{'queries/s':>11}")
    for rate, (p50, kafka50, p99, kafka99), cores, asked in lines:
        print(
            f"{rate:>9}{p50 * 1e3:>12.1f}{kafka50 * 1e3:>11.1f}{p99 * 1e3:>12.1f}{kafka99 * 1e3:>11.1f}{p99 / kafka99:>11.2f}{cores:>14.2f}{asked:>11.0f}"
        )
    print("(to reach: sql p99 < 250 ms at 10,000/s)")
    results.write()


if __name__ == "__main__":
    main()
