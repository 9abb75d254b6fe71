"""What a second core brings: the same views on one core and on two, in turn, in one run.

    EVENTS=1000000 ROUNDS=5 CASES=aggregate,join ./dev bench parallel

The server runs on as many cores as `cores` says (its affinity, and `shards`). The events are on disk and in the page cache; a materialized view
is made, and what counts is the time until its answer is complete, the best of the rounds. `aggregate` groups by 100,000 keys, `join` finds
each event's row among as many; `hot` is the same over events of which half have one key. `views` feeds the events to eight views that are there
already. `speed` is the time on one core by the time on two.

Cores of a virtual machine often share a memory bus, a cache or even a core. So the same work is also done by two servers at once that know nothing
of each other, each with a core and data of its own. By how much that does more than one of them alone is what the machine has to give (`2 apart`).
"""

import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import OUT, Results, Server, Span, choices, machine, setting  # noqa: E402

KEYS = 100_000
GROUPED = "SELECT k, count(*) AS n, sum(v) AS total, min(v) AS least, max(v) AS most FROM {events} GROUP BY k"
# Few groups, and one: nearly all of a group's rows could be added up where they are decoded.
FEW = "SELECT k % 10 AS k, count(*) AS n, sum(v) AS total, min(v) AS least, max(v) AS most FROM {events} GROUP BY k % 10"
ALL = "SELECT count(*) AS n, sum(v) AS total, min(v) AS least, max(v) AS most FROM {events}"
JOINED = "SELECT e.id, e.v, d.w FROM {events} e JOIN places d ON e.k = d.k"
# case: the stream that it reads, and its query
CASES = {
    "aggregate": ("even", GROUPED),
    "aggregate-hot": ("hot", GROUPED),
    "aggregate-few": ("even", FEW),
    "aggregate-all": ("even", ALL),
    "join": ("even", JOINED),
    "join-hot": ("hot", JOINED),
    "views": ("even", None),
}
VIEWS = 8


def data_file(name, events):
    """Events as JSON lines: `even` keys, or half of them one `hot` key; `places` has a row for each key."""
    path = OUT / "data" / f"parallel-{name}-{events}.jsonl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        chooser = random.Random(name)
        part = path.with_suffix(".part")
        with open(part, "w") as file:
            for n in range(KEYS if name == "places" else events):
                if name == "places":
                    file.write('{"k":%d,"w":%d}\n' % (n, n * 7919 % 1000))
                else:
                    key = 0 if name == "hot" and n % 2 else chooser.randrange(KEYS)
                    file.write('{"id":%d,"k":%d,"v":%d,"note":"event number %d"}\n' % (n, key, chooser.randrange(1_000_000), n))
        part.rename(path)
    return path


class Pinned:
    """Servers on the same data, one after the other, that run on the cores they are given."""

    def __init__(self):
        self.server = Server()
        self.flags = list(self.server.flags)

    def start(self, cores):
        """What is started next inherits the affinity."""
        if self.server.process is not None:
            self.server.stop()
        all_cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        self.server.flags = [*self.flags, "--set", f"shards={len(cores)}"]
        try:
            self.server.start()
        finally:
            os.sched_setaffinity(0, all_cores)
        return self.server


def load_all(server, events):
    columns = "id BIGINT, k BIGINT, v BIGINT, note TEXT"
    for name in ("even", "hot"):
        load(server, name, columns, data_file(name, events), events)
    load(server, "places", "k BIGINT, w BIGINT", data_file("places", events), KEYS)


def wait_for_records(server, stream, records):
    while next(s for s in server.status()["streams"] if s["name"] == stream)["records"] < records:
        time.sleep(0.02)


def load(server, name, columns, path, records):
    server.sql(f"CREATE STREAM {name} ({columns}) WITH (format = 'json')")
    server.sql(f"CREATE SOURCE {name}_in INTO {name} WITH (connector = 'file', path = '{path}')")
    wait_for_records(server, name, records)
    server.sql(f"DROP SOURCE {name}_in")


def build(server, case, count):
    """Makes the view; gives the span and whether its answer is what it should be."""
    stream, query = CASES[case]
    span = Span(server.pid)
    server.sql(f"CREATE MATERIALIZED VIEW answer AS {query.format(events=stream)}", patience_s=3600)
    measured = span.end()
    column = "count(*)" if query is JOINED else "sum(n)"
    correct = int(server.rows(f"SELECT {column} FROM answer")[0][0]) == count
    server.sql("DROP MATERIALIZED VIEW answer")
    return measured, correct


def feed(server, path, count):
    """Views that are there already take the events in as they come."""
    server.sql("CREATE STREAM live (id BIGINT, k BIGINT, v BIGINT, note TEXT) WITH (format = 'json')")
    for n in range(VIEWS):
        query = f"SELECT k % {10 ** (n % 4 + 1)} AS k, count(*) AS n, sum(v + {n}) AS total, max(v) AS most FROM live GROUP BY k % {10 ** (n % 4 + 1)}"
        server.sql(f"CREATE MATERIALIZED VIEW live{n} AS {query}")
    span = Span(server.pid)
    server.sql(f"CREATE SOURCE live_in INTO live WITH (connector = 'file', path = '{path}')")
    wait_for_records(server, "live", count)
    while sum(v["lag_records"] for v in server.status()["views"] if v["name"].startswith("live")):
        time.sleep(0.02)
    measured = span.end()
    correct = all(int(server.rows(f"SELECT sum(n) FROM live{n}")[0][0]) == count for n in range(VIEWS))
    server.sql("DROP SOURCE live_in")
    for n in range(VIEWS):
        server.sql(f"DROP MATERIALIZED VIEW live{n}")
    server.sql("DROP STREAM live")
    return measured, correct


def run(server, case, events):
    return feed(server, data_file("even", events), events) if case == "views" else build(server, case, events)


def run_apart(servers, case, events):
    """All at once; gives the span until the last is done, the CPU seconds and memory of all together, and whether all are right."""
    outcomes = [None] * len(servers)

    def one(n):
        outcomes[n] = run(servers[n], case, events)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(servers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if None in outcomes:
        raise SystemExit("a server did not answer")
    spans = [measured for measured, _ in outcomes]
    return (max(s[0] for s in spans), sum(s[1] for s in spans), sum(s[2] for s in spans)), all(right for _, right in outcomes)


def main():
    events = setting("EVENTS", 1_000_000)
    rounds = setting("ROUNDS", 5)
    cases = choices("CASES", list(CASES))
    print(f"{events} events, {KEYS} keys. {machine()}. The best of {rounds} rounds.\n")
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this machine has one core only")
    results = Results("parallel")
    pair = [Pinned(), Pinned()]
    try:
        for pinned in pair:
            load_all(pinned.start(cores), events)
        pair[1].server.stop()
        lines = []
        for case in cases:
            best, right = {}, True
            for _ in range(rounds):
                # In turn, so that all meet the same noise.
                for subject in ("1 core", "2 cores", "2 apart"):
                    if subject == "2 apart":
                        servers = [pinned.start([core]) for pinned, core in zip(pair, cores)]
                        measured, correct = run_apart(servers, case, events)
                        pair[1].server.stop()
                    else:
                        server = pair[0].start(cores[: int(subject[0])])
                        measured, correct = run(server, case, events)
                    best[subject] = min(best.get(subject, measured), measured)
                    right &= correct
            for subject, measured in best.items():
                results.add(case, subject, *measured, rows=events * (2 if subject == "2 apart" else 1), correct=right)
            lines.append((case, best["1 core"][0], best["2 cores"][0], best["2 apart"][0]))
    finally:
        for pinned in pair:
            pinned.server.remove()
    print(f"\n{'case':<16}{'1 core s':>10}{'2 cores s':>11}{'speed':>8}{'2 apart':>9}{'of even':>9}   (to reach: 1.8; with a hot key of even 0.5)")
    on_two = {case: two for case, _, two, _ in lines}
    for case, one, two, apart in lines:
        # The speed on two cores with a hot key, beside that with even ones.
        even = on_two.get(case.removesuffix("-hot")) if case.endswith("-hot") else None
        of_even = f"{even / two:>9.2f}" if even else ""
        print(f"{case:<16}{one:>10.2f}{two:>11.2f}{one / two:>8.2f}{2 * one / apart:>9.2f}{of_even}")
    results.write()


main()
