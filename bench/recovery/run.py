"""How soon a server serves again that was killed with much state on disk.

    GB=10 BUDGET=1GiB KILLS=3 ./dev bench recovery

A view keeps the greatest text of each key, so that its state grows by every row; rows come until the state on disk has GB gigabytes (the
log is held short by retention). Then the server is killed with SIGKILL in the midst of writing and started again. `healthy` is the time from the
start of the process until it says that all doors serve, `first-answer` until a query of the view has its answer, `touched` until rows of keys
from all over the state, which have to be read for that, are in it. After each kill the answer holds every acknowledged row.
"""

import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import Results, Server, machine, resident_mb, setting  # noqa: E402

ROWS_AT_ONCE = 50_000
TOUCHED = 1_000
# Text that does not compress: 16 digests of 64 digits.
TEXT = " || ".join(f"encode(sha256(CAST({n} * 1000003 + g.value AS TEXT)), 'hex')" for n in range(16))
LETTERS = 16 * 64
VIEW = "SELECT count(*) AS keys, sum(length(most)) AS letters FROM (SELECT k, max(p) AS most FROM events GROUP BY k)"


def insert(server, first, rows, key="g.value", text=TEXT):
    numbers = f"generate_series({first}, {first + rows - 1}) AS g"
    server.sql(f"INSERT INTO events SELECT {key} AS k, {text} AS p FROM {numbers}", patience_s=600)


def totals(server):
    keys, letters = server.rows("SELECT keys, letters FROM latest")[0]
    return int(keys or 0), int(letters or 0)


def until(server, wanted, since):
    """Seconds since then until the view has so many keys and letters, or more."""
    while True:
        try:
            if all(now >= least for now, least in zip(totals(server), wanted)):
                return time.monotonic() - since
        except Exception:
            if time.monotonic() - since > 3_600:
                raise
        time.sleep(0.01)


def kill_while_writing(server, keys):
    """Kills the server while rows come in. Gives the keys that were acknowledged, and those that may be there."""
    acknowledged = [keys]

    def write():
        try:
            while True:
                insert(server, acknowledged[0], ROWS_AT_ONCE // 10)
                acknowledged[0] += ROWS_AT_ONCE // 10
        except Exception:
            return

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(2)
    server.kill()
    writer.join()
    return acknowledged[0], acknowledged[0] + ROWS_AT_ONCE // 10


def main():
    gigabytes, kills = setting("GB", 10.0), setting("KILLS", 3)
    budget = os.environ.get("BUDGET", "1GiB")
    print(f"{gigabytes:g} GB of state, a budget of {budget}. {machine()}.\n")
    os.environ["FLEUVE_BENCH_SET"] = f"memory_budget_bytes={budget},retention_check_ms=5000,segment_bytes=64MiB"
    results = Results("recovery")
    server = Server().start()
    try:
        server.sql("CREATE STREAM events (k BIGINT, p TEXT) WITH (format = 'json', retention_bytes = 1000000000)")
        server.sql(f"CREATE MATERIALIZED VIEW latest AS {VIEW}")
        keys, begun = 0, time.monotonic()
        while (on_disk := server.view("latest")["disk_bytes"]) < gigabytes * 1e9:
            for _ in range(4):
                insert(server, keys, ROWS_AT_ONCE)
                keys += ROWS_AT_ONCE
        until(server, (keys, 0), time.monotonic())
        results.add("fill", "fleuve", time.monotonic() - begun, rows=keys, note=f"{on_disk / 1e9:.2f} GB on disk, {resident_mb(server.pid):.0f} MB in memory")
        # Each time other keys, from all over the state.
        apart, longer = keys // TOUCHED, 0
        for kill in range(kills):
            least, most = kill_while_writing(server, keys)
            since = time.monotonic()
            server.start()
            healthy = time.monotonic() - since
            answered = until(server, (0, 0), since)
            memory = resident_mb(server.pid)
            seen = until(server, (least, 0), since)
            # Rows that were written and not acknowledged may come yet.
            while server.view("latest")["lag_records"]:
                time.sleep(0.01)
            keys, letters = totals(server)
            correct = least <= keys <= most and letters == LETTERS * keys + longer
            note = f"{memory:.0f} MB in memory; all acknowledged rows after {seen:.2f} s"
            if not correct:
                note += f"; {keys} keys, {letters} letters; {least} to {most} keys and {longer} further letters were wanted"
            results.add("healthy", "fleuve", healthy, rows=keys)
            results.add("first-answer", "fleuve", answered, rows=keys, correct=correct, note=note)
            longer += 2 * TOUCHED
            since = time.monotonic()
            # Greater than any digest, and two letters longer.
            insert(server, 0, TOUCHED, key=f"g.value * {apart} + {kill}", text=f"'z' || {TEXT} || 'z'")
            touched = until(server, (keys, LETTERS * keys + longer), since)
            wanted, found = (keys, LETTERS * keys + longer), totals(server)
            note = "" if found == wanted else f"(keys, letters) are {found}, not {wanted}"
            results.add("touched", "fleuve", touched, rows=TOUCHED, correct=found == wanted, note=note)
    finally:
        server.remove()
    print("(to reach: seconds)")
    results.write()


if __name__ == "__main__":
    main()
