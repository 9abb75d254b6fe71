"""Event time as a user meets it: EMIT ON WINDOW CLOSE, late rows, what EXPLAIN and the status say, and a crash in between.

The watermark moves when a later row is inserted.
"""

import base64
import datetime
import json
import re
import time
import urllib.request
import uuid

import confluent_kafka
import pytest

import harness

PATIENCE_S = 60

HOUR = "INTERVAL '1 hour'"


def name(prefix):
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def stream(server, **options):
    """A stream of `(k, v, ts)` whose watermark is five minutes behind."""
    it = name("event")
    given = "".join(f", {k} = '{v}'" for k, v in options.items())
    server.sql(
        f"CREATE STREAM {it} (k TEXT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5 minutes')"
        f" WITH (format = 'json'{given})"
    )
    return it


def view(server, query):
    it = name("closed")
    server.sql(f"CREATE MATERIALIZED VIEW {it} AS {query} EMIT ON WINDOW CLOSE")
    return it


def insert(server, into, *rows):
    """Rows `(hh:mm, v)` of one day."""
    values = ", ".join(f"('k', {v}, TIMESTAMP '2024-05-01 {at}:00')" for at, v in rows)
    server.sql(f"INSERT INTO {into} VALUES {values}")


def starts(server, it, column="window_start", value="n"):
    """`hh:mm -> value` of what a view shows."""
    rows = server.rows(f"SELECT to_char({column}, '%H:%M') AS t, {value} FROM {it} ORDER BY t")
    return {row[0]: row[1] for row in rows}


def of_stream(server, it):
    with urllib.request.urlopen(f"{server.http}/v1/status", timeout=PATIENCE_S) as answer:
        return next(s for s in json.load(answer)["streams"] if s["name"] == it)


def test_a_window_is_shown_when_it_is_closed_and_stays_as_it_is(server):
    s = stream(server)
    before = view(server, f"SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, {HOUR}) GROUP BY window_start")
    running = name("running")
    server.sql(
        f"CREATE MATERIALIZED VIEW {running} AS SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, {HOUR}) GROUP BY window_start"
    )
    insert(server, s, ("08:10", 1), ("08:50", 2), ("09:04", 3))
    assert starts(server, before) == {}, "the watermark is 08:59"
    insert(server, s, ("08:59", 4))
    insert(server, s, ("09:05", 5))
    assert starts(server, before) == {"08:00": 3}
    insert(server, s, ("08:30", 6), ("10:00", 7))
    assert starts(server, before) == {"08:00": 3}, "a row that comes too late changes nothing"
    assert starts(server, running) == {"08:00": 4, "09:00": 2, "10:00": 1}, "running answers count every row"
    after = view(server, f"SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, {HOUR}) GROUP BY window_start")
    assert starts(server, after) == {"08:00": 3}, "a view that is made later leaves out the same rows"
    status = of_stream(server, s)
    assert status["late_records"] == 1 and status["dead_letters"] == 0
    assert status["watermark"].startswith("2024-05-01T09:55:00")
    assert server.rows(f"SELECT late_records FROM fleuve.streams WHERE name = '{s}'") == [[1]]
    metrics = urllib.request.urlopen(f"{server.http}/metrics", timeout=PATIENCE_S).read().decode()
    assert re.search(rf'^fleuve_stream_late_total{{stream="{s}"}} 1$', metrics, re.M)
    at = datetime.datetime(2024, 5, 1, 9, 55, tzinfo=datetime.UTC).timestamp()
    assert re.search(rf'^fleuve_stream_watermark_seconds{{stream="{s}"}} {at:.0f}$', metrics, re.M)


def test_windows_of_every_kind_close_at_their_ends(server):
    s = stream(server)
    hop = view(
        server,
        f"SELECT window_start, window_end, count(*) AS n FROM HOP({s}, ts, INTERVAL '30 minutes', {HOUR}) GROUP BY window_start, window_end",
    )
    ends = view(
        server, f"SELECT window_end, sum(v) AS n FROM CUMULATE({s}, ts, INTERVAL '15 minutes', {HOUR}) GROUP BY window_end"
    )
    days = view(server, f"SELECT date_trunc('hour', ts) AS h, max(v) AS n FROM {s} GROUP BY 1")
    rows = view(server, f"SELECT ts, v AS n FROM {s} WHERE v <> 2")
    months = view(server, f"SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, INTERVAL '1 month') GROUP BY window_start")
    over = view(server, f"SELECT date_bin(INTERVAL '2 hours', window_start) AS b, sum(n) AS n FROM {hop} GROUP BY 1")
    insert(server, s, ("08:10", 1), ("08:40", 2), ("08:50", 3), ("09:35", 4))
    # The watermark is 09:30.
    assert starts(server, hop) == {"07:30": 1, "08:00": 3, "08:30": 2}
    assert starts(server, ends, "window_end") == {"08:15": 1, "08:30": 1, "08:45": 3, "09:00": 6}
    assert starts(server, days, "h") == {"08:00": 3}
    assert starts(server, rows, "ts") == {"08:10": 1, "08:50": 3}
    assert starts(server, months) == {}
    assert starts(server, over, "b") == {"06:00": 1}, "of the windows that start from 08:00 on not all are there yet"
    insert(server, s, ("11:05", 5))
    assert starts(server, over, "b") == {"06:00": 1, "08:00": 7}
    server.sql(f"INSERT INTO {s} VALUES ('k', 1, TIMESTAMP '2024-06-01 00:05:00')")
    assert starts(server, months) == {"00:00": 5}


def test_a_session_is_over_when_the_watermark_has_passed_its_end(server):
    s = stream(server)
    it = view(
        server,
        f"SELECT window_start, window_end, count(*) AS n FROM SESSION({s} PARTITION BY k, ts, INTERVAL '10 minutes')"
        " GROUP BY k, window_start, window_end",
    )
    insert(server, s, ("08:00", 1), ("08:10", 2), ("08:21", 3))
    insert(server, s, ("08:25", 4))
    assert starts(server, it) == {}, "the watermark is 08:20, which could still bring 08:20"
    insert(server, s, ("08:31", 5), ("08:26", 6))
    assert starts(server, it) == {"08:00": 2}
    insert(server, s, ("09:00", 7))
    assert starts(server, it) == {"08:00": 2, "08:21": 4}


def test_joins_by_windows(server):
    left, right = stream(server), stream(server)
    query = f"""
        SELECT a.window_start, a.n AS n, b.n AS m
        FROM (SELECT window_start, count(*) AS n FROM TUMBLE({left}, ts, {HOUR}) GROUP BY window_start) a
        LEFT JOIN (SELECT window_start, count(*) AS n FROM TUMBLE({right}, ts, {HOUR}) GROUP BY window_start) b
        ON a.window_start = b.window_start"""
    it = view(server, query)
    insert(server, left, ("08:10", 1), ("09:10", 1), ("12:00", 1))
    assert starts(server, it) == {}, "the other stream may still bring rows"
    insert(server, right, ("08:20", 1), ("10:30", 1))
    rows = server.rows(f"SELECT to_char(window_start, '%H:%M'), n, m FROM {it} ORDER BY 1")
    assert rows == [["08:00", 1, 1], ["09:00", 1, None]]


def test_an_outer_join_may_show_the_time_of_the_side_that_it_fills_up(server):
    left, right = stream(server), stream(server)
    windows = f"TUMBLE({left}, ts, {HOUR}) a LEFT JOIN TUMBLE({right}, ts, {HOUR}) b ON a.window_start = b.window_start"
    it = view(server, f"SELECT b.window_start, a.v AS n FROM {windows}")
    for s in (left, right):
        insert(server, s, ("08:10", 1), ("12:00", 2))
    insert(server, left, ("13:10", 3))
    insert(server, right, ("15:10", 4))
    assert server.rows(f"SELECT to_char(window_start, '%H:%M'), n FROM {it} ORDER BY n") == [["08:00", 1], ["12:00", 2]]
    insert(server, left, ("15:20", 5))
    rows = server.rows(f"SELECT to_char(window_start, '%H:%M'), n FROM {it} ORDER BY n")
    assert rows == [["08:00", 1], ["12:00", 2], [None, 3]]
    with pytest.raises(harness.SqlError) as error:
        view(server, f"SELECT window_start, n FROM {it}")
    assert f"window_start of {it} can be NULL in rows that have an event time" in error.value.message


def test_late_rows_can_go_to_the_dead_letters(own_server):
    s = stream(own_server, late="dead_letter")
    insert(own_server, s, ("09:00", 1), ("08:55", 2), ("08:54", 3), ("08:00", 4))
    own_server.sql(f"INSERT INTO {s} VALUES ('k', 5, NULL)")
    dead = f'SELECT reason, "offset", value FROM {s}__dead ORDER BY "offset"'

    def letters(wanted):
        until = time.monotonic() + PATIENCE_S
        while len(rows := own_server.rows(dead)) < wanted and time.monotonic() < until:
            time.sleep(0.02)
        return rows

    rows = letters(2)
    assert [row[1] for row in rows] == [2, 3]
    assert rows[0][0] == "late: its time 2024-05-01T08:54:00 is behind the watermark 2024-05-01T08:55:00"
    value = rows[0][2]
    assert '"v":3' in (value if value.startswith("{") else base64.b64decode(value).decode())
    assert own_server.rows(f"SELECT count(*) FROM {s}") == [[5]], "the stream keeps them, too"
    own_server.kill()
    own_server.start()
    insert(own_server, s, ("08:10", 6))
    assert [row[1] for row in letters(3)] == [2, 3, 5], "each once"
    assert of_stream(own_server, s)["late_records"] == 3


def test_verify_knows_of_partitions_without_rows(server):
    s = stream(server, partitions="2", idle_timeout="1 hour")
    it = view(server, f"SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, {HOUR}) GROUP BY window_start")
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "message.timeout.ms": 20_000})
    for hour in range(8, 12):
        row = {"k": "k", "v": hour, "ts": f"2024-05-01T{hour:02}:00:00"}
        producer.produce(s, json.dumps(row).encode(), partition=0)
    assert producer.flush(PATIENCE_S) == 0
    deadline = time.monotonic() + PATIENCE_S
    while server.rows(f"SELECT count(*) FROM {s}") != [[4]]:
        assert time.monotonic() < deadline
    # The other one holds all back, as long as it is not taken for idle.
    assert starts(server, it) == {}
    assert f"ok {it}: 0 rows, equal to a replay of its streams" in server.run("verify", it).stdout
    server.sql(f"ALTER STREAM {s} ADVANCE WATERMARK TO '2024-05-01 09:30:00'")
    while starts(server, it) != {"08:00": 1}:
        assert time.monotonic() < deadline
    assert f"ok {it}: 1 rows, equal to a replay of its streams" in server.run("verify", it).stdout


def test_what_was_closed_stays_closed_over_a_crash(own_server):
    server = own_server
    s = stream(server, partitions="2", idle_timeout="200 ms")
    query = f"SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, {HOUR}) GROUP BY window_start"
    it = view(server, query)
    # All rows of a small INSERT go to one partition; the other never has any, and is passed over after a while.
    insert(server, s, ("08:10", 1), ("09:10", 2))
    until = time.monotonic() + PATIENCE_S
    while not starts(server, it) and time.monotonic() < until:
        time.sleep(0.05)
    assert starts(server, it) == {"08:00": 1}
    server.kill()
    server.start()
    assert starts(server, it) == {"08:00": 1}
    assert of_stream(server, s)["watermark"].startswith("2024-05-01T09:05:00")
    # The other partition wakes up: what it brings is late although nothing came before it there.
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": server.kafka})
    for at in ("08:30", "09:30"):
        producer.produce(s, json.dumps({"k": "k", "v": 1, "ts": f"2024-05-01T{at}:00"}), partition=1)
    assert producer.flush(PATIENCE_S) == 0
    while of_stream(server, s)["late_records"] < 1 and time.monotonic() < until:
        time.sleep(0.05)
    insert(server, s, ("10:06", 3))
    again = view(server, query)
    for _ in range(2):
        while len(starts(server, it)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert starts(server, it) == {"08:00": 1, "09:00": 2}
        assert starts(server, again) == {"08:00": 1, "09:00": 2}
        server.kill()
        server.start()


def test_a_sink_gets_each_window_once(server):
    s, out = stream(server), name("windows")
    it = view(server, f"SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, {HOUR}) GROUP BY window_start")
    server.sql(f"CREATE SINK {name('sink')} FROM {it} INTO {out} WITH (mode = 'changes')")
    for hour in range(8, 12):
        for minute in (0, 20, 40):
            insert(server, s, (f"{hour:02}:{minute:02}", 1))
    until = time.monotonic() + PATIENCE_S
    rows = []
    while len(rows) < 3 and time.monotonic() < until:
        rows = server.rows(f"SELECT to_char(window_start, '%H:%M'), n, weight FROM {out} ORDER BY 1")
    assert rows == [["08:00", 3, 1], ["09:00", 3, 1], ["10:00", 3, 1]]


def test_explain_shows_where_the_watermark_goes(server):
    s = stream(server)
    query = f"SELECT window_start, count(*) AS n FROM TUMBLE({s}, ts, {HOUR}) GROUP BY window_start"
    text = server.run("sql", "-c", f"EXPLAIN CREATE MATERIALIZED VIEW x AS {query} EMIT ON WINDOW CLOSE").stdout
    assert "watermark on ts; late rows are left out" in text
    assert "a group is shown when its window is closed, then dropped" in text
    assert "watermark" not in server.run("sql", "-c", f"EXPLAIN {query}").stdout.split("Circuit")[1]
    it = view(server, query)
    insert(server, s, ("08:10", 1), ("09:30", 1))
    running = server.run("sql", "-c", f"EXPLAIN {it}").stdout
    assert "watermark on ts at 2024-05-01T09:25:00" in running and "window_start at 2024-05-01T09:00:00" in running
    assert "EMIT ON WINDOW CLOSE" in server.run("sql", "-c", f"SHOW CREATE MATERIALIZED VIEW {it}").stdout
    assert f"ok {it}: 1 rows, equal to a replay of its streams" in server.run("verify", it).stdout


@pytest.mark.parametrize(
    "statement, message",
    [
        ("CREATE MATERIALIZED VIEW x AS SELECT k, count(*) AS n FROM {s} GROUP BY k EMIT ON WINDOW CLOSE", "no column of the answer follows"),
        ("CREATE MATERIALIZED VIEW x AS SELECT ts, v FROM {s} ORDER BY v LIMIT 3 EMIT ON WINDOW CLOSE", "no column of the answer follows"),
        (
            "CREATE MATERIALIZED VIEW x AS SELECT ts, lag(v) OVER (PARTITION BY k ORDER BY ts) FROM {s} EMIT ON WINDOW CLOSE",
            "keeps the event time only as a column in PARTITION BY",
        ),
        (
            "CREATE MATERIALIZED VIEW x AS SELECT DISTINCT b.ts, a.v FROM {s} a LEFT JOIN {s} b ON a.ts = b.ts EMIT ON WINDOW CLOSE",
            "ts can be NULL in rows whose event time is in a.ts",
        ),
        ("CREATE MATERIALIZED VIEW x AS SELECT a.ts FROM {s} a JOIN {s} b ON a.k = b.k EMIT ON WINDOW CLOSE", "no column of the answer follows"),
        ("CREATE MATERIALIZED VIEW x AS SELECT ts, v FROM {plain} EMIT ON WINDOW CLOSE", "without a stream that has a watermark or a view that emits on window close"),
        ("SELECT ts FROM {s} EMIT ON WINDOW CLOSE", "belongs to a view"),
        ("CREATE STREAM x (a INT) WITH (idle_timeout = '1 minute')", "the stream has no watermark"),
        ("CREATE STREAM x (a INT) WITH (late = 'dead_letter')", "the stream has no watermark"),
        ("CREATE STREAM x (t TIMESTAMP, WATERMARK FOR t AS t) WITH (late = 'drop')", "is not a late"),
    ],
)
def test_what_cannot_be_closed_is_refused(server, statement, message):
    s, plain = stream(server), name("plain")
    server.sql(f"CREATE STREAM {plain} (v BIGINT, ts TIMESTAMP)")
    with pytest.raises(harness.SqlError) as error:
        server.sql(statement.format(s=s, plain=plain))
    assert message in error.value.message


def test_a_time_in_another_unit_does_not_take_the_watermark_along(server):
    """Microseconds where milliseconds are read would be the year 57971: a dead letter, and what comes after it is not late."""
    it = stream(server)
    counts = view(server, f"SELECT window_start, count(*) AS n FROM TUMBLE({it}, ts, {HOUR}) GROUP BY window_start")
    server.run("produce", it, stdin='{"k": "a", "ts": 1767225600000000}\n{"k": "b", "ts": "+57971-02-25"}\n')
    server.sql(f"INSERT INTO {it} VALUES ('c', 1, '2026-01-01 00:10:00'), ('d', 1, '2026-01-01 01:10:00')")
    deadline = time.monotonic() + PATIENCE_S
    while server.rows(f"SELECT n FROM {counts}") != [[1]]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.rows(f"SELECT reason FROM {it}__dead ORDER BY reason DESC") == [
        ["column 'ts': expected TIMESTAMP, found 1767225600000000, which is outside of the years 1 to 9999 as milliseconds;"
         " is it in microseconds?"],
        ["column 'ts': expected TIMESTAMP, found \"+57971-02-25\", which is outside of the years 1 to 9999"],
    ]
    assert server.rows(f"SELECT late_records FROM fleuve.streams WHERE name = 'public.{it}' OR name = '{it}'") == [[0]]
    with pytest.raises(harness.SqlError, match="outside of the years 1 to 9999"):
        server.sql(f"INSERT INTO {it} VALUES ('e', 1, TIMESTAMP '9999-12-31' + INTERVAL '1 day')")
