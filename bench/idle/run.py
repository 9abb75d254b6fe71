"""What a server takes that does nothing, and how soon a new one answers.

    ./dev bench idle

`idle-empty` and `idle-views`: memory after 10 s without work and the CPU seconds of those 10 s, with nothing in the server, and with 100,000
events in a stream and ten views over it. `start-empty` and `start-views`: from starting the process to the first answer of a
SELECT over the PostgreSQL protocol, the best of five, page cache warm.
"""

import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import Results, Server, Span, machine, resident_mb  # noqa: E402

REST_S = 10
STARTS = 5
EVENTS = 100_000
VIEWS = 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(server, question):
    """Seconds from the start of the process to the answer."""
    import psycopg

    server.stop()
    port = free_port()
    # A known port, so that nothing has to be read before the first try.
    server.addresses["postgres"] = f"127.0.0.1:{port}"
    begun = time.monotonic()
    server.spawn()
    while True:
        try:
            with psycopg.connect(host="127.0.0.1", port=port, user="fleuve", dbname="main", autocommit=True) as connection:
                row = connection.execute(question).fetchone()
                seconds = time.monotonic() - begun
            break
        except psycopg.OperationalError:
            if time.monotonic() - begun > 60:
                raise
            time.sleep(0.001)
    server._wait_until_ready()
    return seconds, row[0]


def starts(server, case, question, expected, results):
    runs = [start(server, question) for _ in range(STARTS)]
    results.add(case, "fleuve", min(s for s, _ in runs), rows=1, correct=all(int(r) == expected for _, r in runs))
    return min(s for s, _ in runs)


def rest(server, case, results):
    time.sleep(2)
    span = Span(server.pid)
    time.sleep(REST_S)
    seconds, cpu, _ = span.end()
    results.add(case, "fleuve", seconds, cpu, resident_mb(server.pid))
    return resident_mb(server.pid)


def main():
    print(f"{machine()}.\n")
    results = Results("idle")
    server = Server().start()
    try:
        empty = rest(server, "idle-empty", results)
        start_empty = starts(server, "start-empty", "SELECT 1", 1, results)
        server.sql("CREATE STREAM events (id BIGINT, kind BIGINT, amount BIGINT) WITH (format = 'json')")
        lines = "".join(f'{{"id":{n},"kind":{n % 1000},"amount":{n * 7919 % 1000}}}\n' for n in range(EVENTS))
        server.run("produce", "events", stdin=lines)
        for n in range(VIEWS):
            server.sql(f"CREATE MATERIALIZED VIEW v{n} AS SELECT kind, count(*) AS n, sum(amount + {n}) AS total FROM events GROUP BY kind")
        start_views = starts(server, "start-views", "SELECT sum(n) FROM v7", EVENTS, results)
        views = rest(server, "idle-views", results)
    finally:
        server.remove()
    print(f"\nidle: {empty:.0f} MB empty, {views:.0f} MB with {VIEWS} views (to reach: 150); first answer after {start_empty * 1e3:.0f} ms empty, ")
    print(f"{start_views * 1e3:.0f} ms with {VIEWS} views (to reach: 1000)")
    results.write()


main()
