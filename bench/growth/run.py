"""What idle views cost the busy one beside them.

    VIEWS=10,100,1000 RATE=2000 SECONDS=10 ./dev bench growth

A server has one busy view over a stream that gets RATE events a second, and so many others over a stream that gets nothing any more (it
holds 1,000 events, so that they have answers). A client asks the busy view for its newest event again and again over the PostgreSQL
protocol. `p50` and `p99` are how old an event is when it is in the answer (its `seconds`), `busy` is the CPU seconds of the server, `rest`
those of ten seconds without any event, `start` the seconds from the start of the process to the first answer. Each number of views is
measured in a server of its own; ratios are to the smallest.
"""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import Results, Server, Span, machine, resident_mb, setting  # noqa: E402

REST_S = 10
LEAD_S = 2
BUNDLE_S = 0.001
IDLE_EVENTS = 1_000


def measure(server, rate, seconds):
    """The ages of the events after the first seconds, sorted, and the CPU seconds of the server for each second."""
    import multiprocessing

    count = rate * seconds
    seen = multiprocessing.Array("q", count, lock=False)
    ready = multiprocessing.Event()
    reader = multiprocessing.Process(target=ask, args=(server.postgres, count, seen, ready), daemon=True)
    reader.start()
    ready.wait(60)
    span = Span(server.pid)
    sent = produce(server.kafka, rate, count)
    reader.join(120)
    _, cpu, _ = span.end()
    ages = sorted((seen[i] - sent[i]) / 1e9 for i in range(min(count - 1, LEAD_S * rate), count))
    return ages, cpu, reader.exitcode == 0


def ask(postgres, count, into, ready):
    """When each event was in the answer of a query."""
    import psycopg

    host, port = postgres.rsplit(":", 1)
    with psycopg.connect(host=host, port=port, user="fleuve", dbname="main", autocommit=True) as connection:
        seen = 0
        ready.set()
        while seen < count:
            newest = connection.execute("SELECT newest FROM busy", prepare=True).fetchone()
            now = time.monotonic_ns()
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
            producer.produce("events", b'{"id":%d,"kind":%d}' % (len(sent) - 1, len(sent) % 100))
        producer.poll(0)
        time.sleep(BUNDLE_S)
    if producer.flush(60):
        raise SystemExit("the producer could not write all events")
    return sent


def first_answer(server):
    """Seconds from the start of the process to the answer of a query."""
    server.stop()
    begun = time.monotonic()
    server.start()
    server.rows("SELECT n FROM busy")
    return time.monotonic() - begun


def settle(server, patience_s=300):
    """Waits until every view runs and the server has nothing to do."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        span = Span(server.pid)
        time.sleep(2)
        if all(v["state"] == "running" for v in server.status()["views"]) and span.end()[1] < 0.1:
            return
    raise SystemExit(f"the server had work to do for more than {patience_s} s")


def run(views, rate, seconds, results):
    server = Server().start()
    try:
        server.sql("CREATE STREAM events (id BIGINT, kind BIGINT) WITH (format = 'json')")
        server.sql("CREATE STREAM others (id BIGINT, kind BIGINT) WITH (format = 'json')")
        server.run("produce", "others", stdin="".join(f'{{"id":{n},"kind":{n % 50}}}\n' for n in range(IDLE_EVENTS)))
        server.sql("CREATE MATERIALIZED VIEW busy AS SELECT max(id) AS newest, count(*) AS n FROM events")
        for n in range(views - 1):
            server.sql(f"CREATE MATERIALIZED VIEW idle{n} AS SELECT kind, count(*) AS n, max(id + {n}) AS last FROM others GROUP BY kind")
        started = first_answer(server)
        settle(server)
        span = Span(server.pid)
        time.sleep(REST_S)
        _, rest, _ = span.end()
        ages, busy, ended = measure(server, rate, seconds)
        answers = int(server.rows("SELECT n FROM busy")[0][0]) == rate * seconds
        if views > 1:
            answers &= int(server.rows(f"SELECT sum(n) FROM idle{views - 2}")[0][0]) == IDLE_EVENTS
        memory = resident_mb(server.pid)
        got = {
            "p50": ages[len(ages) // 2],
            "p99": ages[min(len(ages) - 1, int(len(ages) * 0.99))],
            "busy": busy,
            "rest": rest,
            "start": started,
            "memory": memory,
        }
        correct = ended and answers
        for case in ("p50", "p99", "start"):
            results.add(f"{views} {case}", "fleuve", got[case], None, memory, views, correct)
        results.add(f"{views} busy", "fleuve", float(seconds), busy, memory, views, correct)
        results.add(f"{views} rest", "fleuve", float(REST_S), rest, memory, views, correct)
        return got
    finally:
        server.remove()


def main():
    seconds = setting("SECONDS", 10)
    rate = setting("RATE", 2000)
    sizes = [int(n) for n in os.environ.get("VIEWS", "10,100,1000").split(",")]
    print(f"{rate} events/s for {seconds} s into one of so many views. {machine()}.\n")
    results = Results("growth")
    lines = [(n, run(n, rate, seconds, results)) for n in sizes]
    columns = ("p50", "p99", "busy", "rest", "start", "memory")
    print(f"\n{'views':>7}" + "".join(f"{c:>18}" for c in columns))
    first = lines[0][1]
    for n, got in lines:
        cells = [f"{got[c]:.4f} ({got[c] / first[c]:.2f}x)" if first[c] else f"{got[c]:.4f}" for c in columns]
        print(f"{n:>7}" + "".join(f"{c:>18}" for c in cells))
    print(f"(seconds, CPU seconds for busy and rest, MB; in brackets: to {sizes[0]} views)")
    results.write()


if __name__ == "__main__":
    main()
