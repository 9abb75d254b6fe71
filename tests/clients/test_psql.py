"""psql against the PostgreSQL door.

    FLEUVE_POSTGRES=localhost:5433 pytest test_psql.py

Needs psql (Debian and Ubuntu: postgresql-client).
"""

import os
import re
import signal
import subprocess
import time
import uuid

import pytest

HOST, _, PORT = os.environ.get("FLEUVE_POSTGRES", "localhost:5433").rpartition(":")
PATIENCE_S = 60
BASE = ["psql", "-X", "-h", HOST, "-p", PORT, "-U", "ann", "-d", "main"]
ENVIRONMENT = {**os.environ, "PGCONNECT_TIMEOUT": "30", "LC_ALL": "C.UTF-8"}


def psql(*commands, flags=("-At",), ok=True):
    arguments = [a for c in commands for a in ("-c", c)]
    done = subprocess.run(BASE + list(flags) + arguments, capture_output=True, text=True, timeout=PATIENCE_S, env=ENVIRONMENT)
    if ok:
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        return done.stdout
    return done


@pytest.fixture(scope="module")
def names():
    stream, view = f"hits_{uuid.uuid4().hex[:8]}", f"per_path_{uuid.uuid4().hex[:8]}"
    psql(
        f"CREATE STREAM {stream} (path TEXT, status INT NOT NULL, ts TIMESTAMP, size DECIMAL(8,1)) WITH (format = 'json')",
        f"COMMENT ON COLUMN {stream}.path IS 'what was asked for'",
        f"CREATE MATERIALIZED VIEW {view} AS SELECT path, count(*) AS n FROM {stream} GROUP BY path",
        f"INSERT INTO {stream} (path, status) VALUES ('/', 200), ('/', 404), ('/x', 200)",
    )
    yield stream, view
    psql(f"DROP MATERIALIZED VIEW {view}", f"DROP STREAM {stream}")


def test_listings(names):
    stream, view = names
    tables = psql("\\dt")
    assert f"public|{stream}|table|" in tables and view not in tables
    views = psql("\\dv")
    assert f"public|{view}|view|" in views and stream not in views
    both = psql("\\d")
    assert f"public|{stream}|table|" in both and f"public|{view}|view|" in both
    assert psql(f"\\dt {stream[:8]}*").count("\n") >= 1
    assert "main|" in psql("\\l")
    assert "public|" in psql("\\dn")
    assert stream not in psql("\\di")
    for command in ("\\du", "\\df", "\\dT", "\\dp", "\\ds", "\\dt+", "\\dv+", "\\d+", "\\dn+", "\\dT+", "\\df+", "\\l+", "\\du+", "\\conninfo", "\\encoding"):
        psql(command)


def test_system_tables(names):
    stream, view = names
    listed = psql("\\dt fleuve.*")
    for table in ("changes", "epochs", "operators", "sinks", "sources", "streams", "view_inputs", "views"):
        assert f"fleuve|{table}|table|" in listed
        assert f'Table "fleuve.{table}"' in psql(f"\\d fleuve.{table}", flags=())
        psql(f"SELECT * FROM fleuve.{table}")
    row = psql(f"SELECT name, state, reason, rows, lag_records FROM fleuve.views WHERE name = '{view}'").strip()
    assert row == f"{view}|running||2|0"
    join = "fleuve.views v JOIN fleuve.view_inputs i ON i.view = v.name JOIN fleuve.streams s ON s.name = i.input"
    assert psql(f"SELECT s.name, s.records, i.lag_records FROM {join} WHERE v.name = '{view}'").strip() == f"{stream}|3|0"
    operators = psql(
        f"SELECT operator, rows_in, rows_out, busy_s > 0 FROM fleuve.operators WHERE view = '{view}' ORDER BY node"
    )
    # Input, Aggregate, what stands around it and the answer: three rows come in, two groups come out.
    assert "Input|0|3|t" in operators and "Aggregate|3|2|t" in operators and "Answer|2|2|t" in operators
    assert psql(f"SELECT decode_s > 0 FROM fleuve.streams WHERE name = '{stream}'").strip() == "t"
    held = f"SELECT max(state_rows), max(state_bytes) > 0 FROM fleuve.operators WHERE view = '{view}'"
    deadline = time.monotonic() + PATIENCE_S
    while psql(held).strip() != "2|t":  # measured a moment later
        assert time.monotonic() < deadline, psql(held)
    assert int(psql("SELECT count(*) FROM fleuve.epochs WHERE rows > 0 AND duration_ms > 0")) >= 1
    assert re.search(rf"^{view}\|running\|\|{stream}\|path\|path, n\|", psql("SHOW VIEWS"), re.M)
    shown = psql(f"EXPLAIN ANALYZE VIEW {view}")
    assert re.search(r"Aggregate: .*rows in 3, out 2, busy .* ms \(.* %\), state 2 rows", shown), shown
    assert "Logical plan" not in shown and "Logical plan" in psql(f"EXPLAIN VIEW {view}")


def test_describe(names):
    stream, view = names
    shown = psql(f"\\d {stream}", flags=())
    assert f'Table "public.{stream}"' in shown
    assert re.search(r"path\s+\| text\s+\|", shown)
    assert re.search(r"status\s+\| integer\s+\|\s+\| not null", shown)
    assert re.search(r"ts\s+\| timestamp without time zone", shown)
    assert re.search(r"size\s+\| numeric\(8,1\)", shown)
    assert "_offset" not in shown
    assert "what was asked for" in psql(f"\\d+ {stream}", flags=())
    shown = psql(f"\\d {view}", flags=())
    assert f'View "public.{view}"' in shown and re.search(r"n\s+\| bigint", shown)
    assert "count(*)" in psql(f"\\d+ {view}", flags=())
    nothing = psql("\\d no_such_thing", ok=False)
    assert 'Did not find any relation named "no_such_thing"' in nothing.stderr


def test_queries(names):
    stream, view = names
    assert psql(f"SELECT path, n FROM {view} ORDER BY path") == "/|2\n/x|1\n"
    assert psql("SELECT 1; SELECT 'a;b' AS x;") == "1\na;b\n"
    assert psql("SELECT NULL, true, CAST(1.5 AS DECIMAL(4,2)), ARRAY[1,NULL], TIMESTAMP '2024-01-02 03:04:05'") == "|t|1.50|{1,NULL}|2024-01-02 03:04:05\n"
    assert psql("BEGIN", "SELECT 1", "COMMIT") == "BEGIN\n1\nCOMMIT\n"
    assert psql("\\x on", "SELECT 1 AS one", flags=("-t",)).strip().splitlines()[-1] == "one | 1"
    assert psql("SHOW server_version") == "16.6\n"
    assert psql("EXPLAIN SELECT 1").strip()
    assert psql("\\set FETCH_COUNT 10", "SELECT value FROM generate_series(1, 35)").split() == [str(i) for i in range(1, 36)]


def test_an_error_has_a_caret(names):
    stream, _ = names
    failed = psql(f"SELECT status,\n  nowhere_at_all FROM {stream}", ok=False)
    lines = failed.stderr.splitlines()
    assert lines[0].startswith("ERROR:")
    at = next(i for i, line in enumerate(lines) if line.startswith("LINE 2:"))
    assert lines[at][lines[at + 1].index("^") :].startswith("nowhere_at_all")
    failed = psql("SELEC 1", ok=False)
    assert "LINE 1: SELEC 1" in failed.stderr and "^" in failed.stderr


def test_now_is_the_time_of_the_epoch_if_a_session_asks():
    now = ["SELECT now()"] * 10

    def times(*before):
        lines = psql(*before, *now).splitlines()
        return len(set(lines[-len(now) :]))

    assert psql("SHOW query_time", "SET query_time = 'epoch'", "SHOW query_time").splitlines() == ["clock", "SET", "epoch"]
    # Epochs are not made as fast as queries are answered.
    assert times("SET query_time = 'epoch'") < len(now)
    assert times("SELECT set_config('query_time', 'epoch', false)") < len(now)
    for back in (["RESET query_time"], ["RESET ALL"], ["SET query_time TO clock"], ["DISCARD ALL"]):
        assert times("SET query_time = 'epoch'", *back) == len(now), back
    assert times("BEGIN", "SET query_time = 'epoch'", "ROLLBACK") == len(now)
    assert times("BEGIN", "SET LOCAL query_time = 'epoch'", "COMMIT") == len(now)
    failed = psql("SET query_time = 'noon'", ok=False)
    assert 'invalid value for parameter "query_time": "noon"' in failed.stderr and "clock, epoch" in failed.stderr


def test_ctrl_c_cancels_the_query():
    slow = "SELECT count(*) FROM generate_series(1, 200000) a JOIN generate_series(1, 200000) b ON a.value + b.value < 0"
    process = subprocess.Popen(
        BASE + ["-At", "-c", "SELECT 'on'", "-c", slow],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )
    assert process.stdout.readline() == "on\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert "canceling statement due to user request" in err


def test_subscribe_flows_until_ctrl_c(names):
    stream, view = names
    # psql collects an answer before it shows it; that rows flow is shown with psycopg.
    process = subprocess.Popen(
        BASE + ["-At", "-c", f"INSERT INTO {stream} (path, status) VALUES ('/first', 200)", "-c", f"SUBSCRIBE TO {view}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )
    assert process.stdout.readline().startswith("INSERT 0 1")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert "canceling statement due to user request" in err


def test_ssl_is_declined_and_required_ssl_fails():
    assert psql("SELECT 1") == "1\n"
    required = subprocess.run(
        ["psql", "-X", f"host={HOST} port={PORT} user=ann dbname=main sslmode=require", "-c", "SELECT 1"],
        capture_output=True, text=True, timeout=PATIENCE_S, env=ENVIRONMENT,
    )
    assert required.returncode != 0 and "does not support SSL" in required.stderr


def test_an_index_is_made_shown_used_and_dropped(names):
    stream, _ = names
    said = psql(f"CREATE INDEX ON {stream} (path)", f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {stream}_status ON {stream} (status) INCLUDE (path)")
    assert said.splitlines() == ["CREATE INDEX", "CREATE INDEX"]
    view = f"twice_{uuid.uuid4().hex[:8]}"
    psql(f"CREATE MATERIALIZED VIEW {view} AS SELECT a.path, b.status FROM {stream} a JOIN {stream} b ON a.path = b.path")
    assert sorted(psql(f"SELECT * FROM {view} WHERE path = '/x'").splitlines()) == ["/x|200"]
    assert f"looked up in the index public.{stream}_path_idx" in psql(f"EXPLAIN ANALYZE {view}")
    rows = [line.split("|") for line in psql("SHOW INDEXES").splitlines()]
    own = next(row for row in rows if row[0] == f"{stream}_path_idx")
    assert own[1:7] == [stream, "path", "status, ts, size", "running", "", view], own
    again = psql(f"CREATE INDEX ON {stream} (path)", f"DROP INDEX {stream}_path_idx1", ok=False)
    assert f'NOTICE:  index "{stream}_path_idx" is by the same columns already' in again.stderr, again.stderr
    refused = psql(f"DROP INDEX {stream}_path_idx", ok=False)
    assert f'index "{stream}_path_idx" is used by view {view}' in refused.stderr, refused.stderr
    dropped = psql(f"DROP MATERIALIZED VIEW {view}", f"DROP INDEX {stream}_path_idx", f"DROP INDEX IF EXISTS {stream}_status")
    assert dropped.splitlines()[-2:] == ["DROP INDEX", "DROP INDEX"]
