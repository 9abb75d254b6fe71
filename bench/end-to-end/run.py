"""From the log to a rollup's answer: CPU seconds per million events, against the bare decoder alone on the same bytes.

    EVENTS=2000000 ./dev bench end-to-end

Cases `nested` (all Nexmark events; the column `Bid`, a struct, is decoded) and `flat` (the bids alone, as flat objects; three columns of
seven are decoded). Each time a server holds the events in a stream, on disk and in the page cache; a materialized view of the bids, their
number and prices by auction and 10 seconds is made, and what the server does until the view is complete is `fleuve`: reading the log, decoding, the
rollup, and keeping its answer. `decoder` is `fleuve-formats` alone over the same lines in memory, the same columns, on one thread. `append` is
what the server takes to read the file and put its lines into the log.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from common import ROOT, Results, Server, Span, machine, setting  # noqa: E402
from events import SPACING, bids_file, events_file  # noqa: E402

BID = "auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3), extra TEXT"
NESTED = (
    '"Person" STRUCT<id BIGINT, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT, date_time TIMESTAMP(3), extra TEXT>, '
    '"Auction" STRUCT<id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP(3), '
    "expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra TEXT>, "
    f'"Bid" STRUCT<{BID}>'
)
ROLLUP = """
  SELECT auction, window_start, count(*) AS bids, min(price) AS lowest, max(price) AS highest, sum(price) AS total
  FROM TUMBLE({bids}, date_time, INTERVAL '10 seconds') GROUP BY auction, window_start
"""
FROM_NESTED = """
  WITH bid AS (SELECT "Bid".auction AS auction, "Bid".price AS price, "Bid".date_time AS date_time FROM events WHERE "Bid" IS NOT NULL)
"""
# case: file, columns, positions that the rollup reads, the view's query
CASES = {
    "nested": (events_file, NESTED, "2", FROM_NESTED + ROLLUP.format(bids="bid")),
    "flat": (bids_file, BID, "0,2,5", ROLLUP.format(bids="events")),
}
ROUNDS = 3


def decoder():
    named = os.environ.get("DECODE_BIN")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = pathlib.Path(named) if named else target / "release" / "examples" / "decode_file"
    if not path.exists():
        raise SystemExit(f"{path} is not there: ./dev bench end-to-end builds it")
    return str(path)


def append(server, path, lines):
    """Reads the file into the stream."""
    span = Span(server.pid)
    server.sql(f"CREATE SOURCE file INTO events WITH (connector = 'file', path = '{path}')")
    while next(s for s in server.status()["streams"] if s["name"] == "events")["records"] < lines:
        time.sleep(0.02)
    return span.end()


def rollup(server, query, round_):
    """Makes the view in a new process; gives the span and the number of its rows."""
    server.restart()
    span = Span(server.pid)
    server.sql(f"CREATE MATERIALIZED VIEW rollup{round_} AS {query}", patience_s=3600)
    measured = span.end()
    rows, bids = server.rows(f"SELECT count(*), sum(bids) FROM rollup{round_}")[0]
    server.sql(f"DROP MATERIALIZED VIEW rollup{round_}")
    return measured, int(rows), int(bids)


def run(case, events, results):
    make, columns, positions, query = CASES[case]
    path = make(events)
    with open(path, "rb") as file:
        lines = bids = 0
        for line in file:
            lines += 1
            bids += line.startswith((b'{"Bid"', b'{"auction"'))
    server = Server().start()
    try:
        server.sql(f"CREATE STREAM events ({columns}) WITH (format = 'json')")
        results.add(f"{case}-append", "fleuve", *append(server, path, lines), rows=lines)
        ours = bare = None
        for round_ in range(ROUNDS):
            # In turn, so that both meet the same noise; the best of each counts.
            did = json.loads(subprocess.run([decoder(), path, columns, positions], capture_output=True, text=True, check=True).stdout)
            measured, rows, counted = rollup(server, query, round_)
            bare = min(bare or did["cpu_seconds"], did["cpu_seconds"])
            ours = min(ours or measured, measured, key=lambda m: m[1])
        results.add(case, "fleuve", *ours, rows=rows, correct=counted == bids)
        results.add(case, "decoder", None, bare, None, lines)
    finally:
        server.remove()
    millions = lines / 1e6
    return case, ours[1] / millions, bare / millions, path.stat().st_size / 1e6 / bare, ours[1] / bare


def main():
    events = setting("EVENTS", 2_000_000)
    print(f"{events} Nexmark events as JSON lines, {SPACING}. {machine()}. CPU seconds: the best of {ROUNDS} rounds.\n")
    results = Results("end-to-end")
    lines = [run(case, events, results) for case in CASES]
    print(f"\n{'case':<8}{'cpu s / million':>17}{'bare decoder':>14}{'its MB/s':>10}{'ratio':>8}   (to reach: 4)")
    for case, ours, bare, speed, ratio in lines:
        print(f"{case:<8}{ours:>17.2f}{bare:>14.2f}{speed:>10.0f}{ratio:>8.2f}")
    results.write()


main()
