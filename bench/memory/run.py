"""A GROUP BY over more keys than memory holds: how fast it is beside the same with all the memory it wants, what it takes, and how soon
it answers after a restart.

    KEYS=50000000 BUDGET=256MiB ./dev bench memory

A stream holds KEYS rows, each of another key, in an order that has nothing to do with the keys, and then REVISITS (a tenth of KEYS) rows of keys
that came before. How they are picked is the case: `recent` among the last 1 % of the keys, as orders or sessions are; `any` among all of
them, evenly, which is the worst there is. A view counts and sums by key; `state` puts only totals over all groups out, so that the operators'
state is all there is; `answer` shows every group. Each is built once with a huge budget (`memory`) and once with BUDGET (`disk`).
`seconds` is the time of the build, the memory that of the whole process. Then the server is stopped and started again: `restart` is the time from
the start of the process to the first answer.
"""

import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import OUT, Results, Server, Span, choices, machine, reset_peak, resident_mb, setting  # noqa: E402

HUGE = "64GiB"
LINES_AT_ONCE = 100_000
# Keys are spread by a multiplication, so that their order is not that of their coming.
SPREAD = 0x9E3779B97F4A7C15
RECENT_SHARE = 0.01
VIEWS = {
    "state": "SELECT count(*) AS groups, sum(n) AS n, sum(total) AS total FROM (SELECT k, count(*) AS n, sum(v) AS total FROM events GROUP BY k)",
    "answer": "SELECT k, count(*) AS n, sum(v) AS total FROM events GROUP BY k",
}
TOTALS = {
    "state": "SELECT groups, n, total FROM grouped",
    "answer": "SELECT count(*), sum(n), sum(total) FROM grouped",
}


def key(n):
    return n * SPREAD % 2**63


def events_file(keys, revisits, case):
    """JSON lines: the keys, each once, with the revisits spread evenly among them."""
    path = OUT / "data" / f"memory-{keys}-{revisits}-{case}.jsonl"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    chance = random.Random(1)
    every = keys / max(revisits, 1)
    with open(part, "w") as file:
        lines, seen, due = [], 0, every
        while seen < keys or len(lines) > 0:
            while seen < keys and len(lines) < LINES_AT_ONCE:
                lines.append(f'{{"k":{key(seen)},"v":1}}\n')
                seen += 1
                if seen >= due:
                    due += every
                    back = chance.randrange(seen if case == "any" else max(1, min(seen, int(keys * RECENT_SHARE))))
                    lines.append(f'{{"k":{key(seen - 1 - back)},"v":2}}\n')
            file.writelines(lines)
            lines.clear()
    part.rename(path)
    return path


def server_with(budget, server=None):
    """A server with that budget: a new one, or another process over the same data."""
    os.environ["FLEUVE_BENCH_SET"] = ",".join(filter(None, [os.environ.get("FLEUVE_BENCH_EXTRA", ""), f"memory_budget_bytes={budget}"]))
    return Server()


def mebibytes(text):
    """The budget in MB (10^6 bytes)."""
    for unit, factor in (("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor / 1e6
    return float(text) / 1e6


def run(case, what, keys, revisits, budget, results):
    path = events_file(keys, revisits, case)
    rows = keys + revisits
    out = {}
    for subject, limit in (("memory", HUGE), ("disk", budget)):
        server = server_with(limit).start()
        try:
            server.sql("CREATE STREAM events (k BIGINT, v BIGINT) WITH (format = 'json')")
            server.sql(f"CREATE SOURCE file INTO events WITH (connector = 'file', path = '{path}')")
            while next(s for s in server.status()["streams"] if s["name"] == "events")["records"] < rows:
                time.sleep(0.1)
            server.sql("DROP SOURCE file")
            server.restart()
            # The program itself is in memory then, as it is in any server that has worked.
            server.sql("CREATE STREAM first (k BIGINT, v BIGINT) WITH (format = 'json', partitions = 1); INSERT INTO first VALUES (1, 1)")
            server.sql(f"CREATE MATERIALIZED VIEW warm AS {VIEWS[what].replace('events', 'first')}")
            server.sql("DROP MATERIALIZED VIEW warm; DROP STREAM first")
            time.sleep(1)
            base = resident_mb(server.pid)
            reset_peak(server.pid)
            span = Span(server.pid)
            server.sql(f"CREATE MATERIALIZED VIEW grouped AS {VIEWS[what]}", patience_s=36_000)
            seconds, cpu, peak = span.end()
            groups, n, total = (int(x) for x in server.rows(TOTALS[what])[0])
            correct = (groups, n, total) == (keys, rows, keys + 2 * revisits)
            view = server.view("grouped")
            note = f"base {base:.0f} MB, on disk {view['disk_bytes'] / 1e6:.0f} MB"
            results.add(f"{case}-{what}", subject, seconds, cpu, peak, rows, correct, note=note)
            server.stop()
            begun = time.monotonic()
            server.start()
            while True:
                try:
                    again = tuple(int(x) for x in server.rows(TOTALS[what])[0])
                    break
                except Exception:
                    if time.monotonic() - begun > 600:
                        raise
                    time.sleep(0.01)
            restart = time.monotonic() - begun
            results.add(f"{case}-{what}-restart", subject, restart, None, None, keys, again == (groups, n, total))
            out[subject] = (seconds, peak, base, restart)
        finally:
            server.remove()
    return f"{case}-{what}", out


def main():
    keys = setting("KEYS", 50_000_000)
    revisits = setting("REVISITS", keys // 10)
    budget = os.environ.get("BUDGET", "256MiB")
    cases = choices("CASES", ["recent", "any"])
    views = choices("VIEWS", list(VIEWS), ["state"])
    print(f"{keys} keys, {revisits} revisits, a budget of {budget}. {machine()}.\n")
    results = Results("memory")
    lines = [run(case, what, keys, revisits, budget, results) for case in cases for what in views]
    print(f"\n{'case':<16}{'in memory s':>13}{'on disk s':>11}{'speed':>8}{'peak MB':>9}{'over base':>11}{'of budget':>11}{'restart s':>11}")
    for name, out in lines:
        (fast, _, _, _), (slow, peak, base, restart) = out["memory"], out["disk"]
        over = peak - base
        print(f"{name:<16}{fast:>13.1f}{slow:>11.1f}{fast / slow:>8.2f}{peak:>9.0f}{over:>11.0f}{over / mebibytes(budget):>11.2f}{restart:>11.2f}")
    print("(to reach: speed 0.5, of the budget 1.1)")
    results.write()


if __name__ == "__main__":
    main()
