"""Nexmark: the same file of events to Fleuve, Flink, Feldera's engine and DuckDB.

    EVENTS=2000000 PEERS=fleuve,flink,feldera,duckdb QUERIES=q0,q4 FROM=stream|file ./dev bench nexmark

The events come from the crate `nexmark` (its defaults: 10,000 events a second of event time, in order), one JSON object per line. Everybody
reads the same bytes.

fleuve       a server with default settings. FROM=stream: the file is loaded into the stream first (the case `load`), then each query is a
             materialized view, timed from CREATE MATERIALIZED VIEW to its complete answer, which stays there to be read. FROM=file: the
             view is there first, timed from CREATE SOURCE on the file to its complete answer. The server starts anew for each query.
flink        a streaming job (MiniCluster, heap state, no checkpoints) from the events to a blackhole sink, timed from handing in the job
             to its end, planning and start included. `flink-job` is the running time of the job alone. Its file source gives a file to
             one reader, so that the lines are dealt in turn to as many files as its parallelism (FLINK_FILES=1: the one file).
feldera      circuits of the crate dbsp, written by hand (bench/nexmark/feldera; not among the peers unless asked for, as building it takes
             long), from the file to the complete answer in memory, parsing included.
duckdb       the batch answer from the file. Answers of fleuve and feldera are compared with it, row by row.
"""

import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import OUT, PeerError, Results, Server, Span, choices, geometric_mean, harness, machine, peer, setting  # noqa: E402
from events import SPACING, dealt, events_file  # noqa: E402

import feldera_peer  # noqa: E402

QUERIES = [f"q{n}" for n in range(23) if n != 6]
PEERS = ("duckdb", "fleuve", "flink", "feldera")
LEFT_OUT = "Left out: q6, which is not of the suite for Flink SQL."
# These queries keep some of several equal rows; these columns are the same whichever they keep.
DECIDED = {
    "q9": ["id", "item_name", "initial_bid", "reserve", "expires", "seller", "category", "auction", "price", "bid_date_time"],
    "q18": ["auction", "bidder", "date_time"],
    "q19": ["auction", "price", "place"],
}
# The time at which an event came decides the answer of q12: another peer has another.
UNDECIDED = {"q12": "its windows are the clock's"}
CORES = 2


def sql(subject, name):
    return (HERE / "queries" / subject / f"{name}.sql").read_text().strip()


class Fleuve:
    """One server for all queries, new for each."""

    def __init__(self, path, source):
        self.path, self.source = path, source
        self.server = Server().start()
        self.server.sql(sql("fleuve", "stream"))

    def load(self, results, events):
        self.feed(results, "load", events)

    def feed(self, results, case, events):
        """Reads the file into the stream; gives the measured span at the end of reading and at all views' answers."""
        span = Span(self.server.pid)
        self.server.sql(f"CREATE SOURCE events INTO nexmark WITH (connector = 'file', path = '{self.path}')")
        while True:
            status = self.server.status()
            stream = next(s for s in status["streams"] if s["name"] == "nexmark")
            behind = sum(v["lag_records"] for v in status["views"])
            failed = [v["error"] for v in status["views"] if v.get("error")]
            if failed:
                raise PeerError(failed[0])
            if stream["records"] == events and behind == 0:
                break
            time.sleep(0.02)
        if stream["dead_letters"]:
            raise SystemExit(f"{stream['dead_letters']} events did not decode")
        if case == "load":
            results.add(case, "fleuve", *span.end(), rows=events)
        return span.end()

    def query(self, name, results, events, answer):
        if self.source == "stream":
            self.server.restart()
        view = f"CREATE MATERIALIZED VIEW {name} AS {sql('fleuve', 'with')} {sql('fleuve', name)}"
        span = Span(self.server.pid)
        self.server.sql(view, patience_s=3600)
        if self.source == "stream":
            measured = span.end()
            if self.server.view(name)["lag_records"]:
                raise SystemExit(f"{name} is behind although it was made")
        else:
            measured = self.feed(results, name, events)
        explained = "\n".join(str(row[0]) for row in self.server.rows(f"EXPLAIN {name}"))
        note = "Recompute" if "Recompute" in explained else UNDECIDED.get(name, "")
        (OUT / "explain").mkdir(parents=True, exist_ok=True)
        (OUT / "explain" / f"{name}.txt").write_text(explained + "\n")
        found = {"rows": self.server.rows(f"SELECT count(*) FROM {name}")[0][0], "correct": None, "why": ""}
        if answer and name not in UNDECIDED:
            ours = OUT / "data" / "answer.arrow"
            self.server.fetch_arrow(f"SELECT * FROM {name}", ours)
            found = compared(name, ours, answer)
        results.add(name, "fleuve", *measured, rows=int(found["rows"]), correct=found["correct"], note=note)
        if found["why"]:
            print(f"    {found['why']}")
        self.server.sql(f"DROP MATERIALIZED VIEW {name}")
        if self.source == "file":
            self.server.remove()
            self.server = Server().start()
            self.server.sql(sql("fleuve", "stream"))


def duckdb(name, path, results):
    """The batch answer; gives the file that holds it."""
    answer = OUT / "data" / f"{path.stem}-{name}.parquet"
    request = {"tables": sql("duckdb", "tables").replace("{path}", str(path)), "threads": CORES, "query": sql("duckdb", name), "answer": str(answer)}
    did = peer(HERE / "duckdb_peer.py", request)
    results.add(name, "duckdb", did["seconds"], did["cpu_seconds"], did["peak_mb"], did["rows"])
    return answer


def compared(name, ours, answer):
    """Compares a file of an answer with DuckDB's, and removes it."""
    found = peer(HERE / "duckdb_peer.py", {"compare": str(ours), "answer": str(answer), "columns": DECIDED.get(name)})
    ours.unlink()
    return found


def feldera(program, name, path, results, answer):
    ours = OUT / "data" / "answer.csv"
    did = feldera_peer.run(program, name, path, CORES, ours)
    found = {"correct": None, "why": ""}
    if answer and name not in UNDECIDED:
        found = compared(name, ours, answer)
    ours.unlink(missing_ok=True)
    note = UNDECIDED.get(name, "")
    results.add(name, "feldera", did["seconds"], did["cpu_seconds"], did["peak_mb"], did["rows"], found["correct"], note)
    if found["why"]:
        print(f"    {found['why']}")


def flink(name, path, results):
    files = setting("FLINK_FILES", CORES)
    read = path if files == 1 else dealt(path, files)
    request = {"tables": sql("flink", "tables").replace("{path}", str(read)), "query": sql("flink", name), "parallelism": CORES}
    did = peer(HERE / "flink_peer.py", request)
    results.add(name, "flink", did["seconds"], did["cpu_seconds"], did["peak_mb"])
    results.add(name, "flink-job", did["job_seconds"])


def ratios(results, queries):
    """Peers' numbers divided by ours, by query."""
    ours, cpu = results.of("fleuve"), results.of("fleuve", "cpu_seconds")
    memory = results.of("fleuve", "peak_mb")
    columns = [
        ("flink s", results.of("flink"), ours),
        ("flink-job s", results.of("flink-job"), ours),
        ("flink cpu", results.of("flink", "cpu_seconds"), cpu),
        ("flink MB", results.of("flink", "peak_mb"), memory),
        ("feldera s", results.of("feldera"), ours),
        ("feldera cpu", results.of("feldera", "cpu_seconds"), cpu),
        ("feldera MB", results.of("feldera", "peak_mb"), memory),
        ("duckdb s", results.of("duckdb"), ours),
    ]
    columns = [column for column in columns if column[1]]
    print("\nEach peer's number divided by ours: more than 1 is ours better.\n")
    print(f"{'case':<8}" + "".join(f"{title:>13}" for title, _, _ in columns))
    means = []
    for _, theirs, mine in columns:
        means.append([theirs[q] / max(mine[q], 0.01) for q in queries if q in theirs and q in mine])
    for q in queries:
        cells = [f"{theirs[q] / max(mine[q], 0.01):.2f}" if q in theirs and q in mine else "" for _, theirs, mine in columns]
        print(f"{q:<8}" + "".join(f"{c:>13}" for c in cells))
    print(f"{'geo mean':<8}" + "".join(f"{geometric_mean(m):>13.2f}" if m else f"{'':>13}" for m in means))
    print(f"{'worst':<8}" + "".join(f"{min(m):>13.2f}" if m else f"{'':>13}" for m in means))


def main():
    events = setting("EVENTS", 2_000_000)
    peers = choices("PEERS", PEERS, PEERS[:-1])
    queries = choices("QUERIES", QUERIES)
    source = choices("FROM", ("stream", "file"), ("stream",))[0]
    path = events_file(events)
    print(f"{events} events, {path.stat().st_size / 1e6:.0f} MB of JSON lines, {SPACING}. {LEFT_OUT}")
    program = feldera_peer.build() if "feldera" in peers else None
    print(f"{machine()}; fleuve reads from its {source}; flink's parallelism, feldera's workers and duckdb's threads: {CORES}.\n")
    results = Results("nexmark" if source == "stream" else "nexmark-file")
    fleuve = Fleuve(path, source) if "fleuve" in peers else None
    try:
        if fleuve and source == "stream":
            fleuve.load(results, events)
        for name in queries:
            # A peer's turn follows ours at once, so that both meet the same noise.
            answer = None
            for subject in peers:
                try:
                    if subject == "duckdb":
                        answer = duckdb(name, path, results)
                    elif subject == "flink":
                        flink(name, path, results)
                    elif subject == "feldera":
                        feldera(program, name, path, results, answer)
                    else:
                        fleuve.query(name, results, events, answer)
                except (PeerError, harness.SqlError, AssertionError, OSError) as e:
                    results.add(name, subject, correct=False, note=str(e))
    finally:
        if fleuve:
            fleuve.server.remove()
    if len(peers) > 1 and fleuve:
        ratios(results, queries)
    results.write()


main()
