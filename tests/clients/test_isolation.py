"""A view that fails: alone, with its reason, and told to go on; one that leaves rows out, exactly once, through kills."""

import json
import threading
import time

import harness
import pytest

PATIENCE_S = 60


def until(server, question, answer):
    deadline = time.monotonic() + PATIENCE_S
    while (got := server.rows(question)) != answer:
        assert time.monotonic() < deadline, got
        time.sleep(0.05)


def test_a_view_stops_alone_says_why_and_goes_on_when_told(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM s (k BIGINT, v BIGINT);"
        "CREATE MATERIALIZED VIEW good AS SELECT k, count(*) AS n FROM s GROUP BY k;"
        "CREATE MATERIALIZED VIEW bad AS SELECT k, sum(100 / v) AS q FROM s GROUP BY k;"
        "CREATE MATERIALIZED VIEW over AS SELECT count(*) AS n FROM bad;"
        "INSERT INTO s VALUES (1, 10), (2, 20)"
    )
    server.sql("INSERT INTO s VALUES (3, 0)")
    server.sql("INSERT INTO s VALUES (4, 1)")
    states = "SELECT name, state FROM fleuve.views ORDER BY name"
    expected = [["bad", "failed"], ["good", "running"], ["over", "stopped"]]
    for _ in range(2):
        assert server.rows(states) == expected
        [[reason]] = server.rows("SELECT reason FROM fleuve.views WHERE name = 'bad'")
        assert "division by zero" in reason and '{"k":3,"v":0}' in reason, reason
        assert server.rows("SELECT count(*) FROM good") == [[4]]
        # The last good answer stays.
        assert server.rows("SELECT k, q FROM bad ORDER BY k") == [[1, 10], [2, 5]]
        with pytest.raises(harness.SqlError, match="for the row"):
            server.sql("ALTER MATERIALIZED VIEW bad RESUME")
        shown = {row[0]: row[1:3] for row in server.rows("SHOW VIEWS")}
        assert shown["bad"][0] == "failed" and "division by zero" in shown["bad"][1]
        assert 'fleuve_view_state{view="bad",state="failed"} 1' in metrics(server)
        server.stop()
        server.start()
    with pytest.raises(harness.SqlError, match="runs"):
        server.sql("ALTER MATERIALIZED VIEW good RESUME")
    # Another definition heals it, and what reads it follows.
    server.sql("CREATE OR REPLACE MATERIALIZED VIEW bad AS SELECT k, sum(100 / nullif(v, 0)) AS q FROM s GROUP BY k")
    until(server, states, [[name, "running"] for name in ("bad", "good", "over")])
    assert server.rows("SELECT n FROM over") == [[4]]


def test_a_view_is_built_anew_though_its_client_went_away(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM s (k BIGINT, v BIGINT);"
        "CREATE MATERIALIZED VIEW q AS SELECT k, 100 / sum(v) AS q FROM s GROUP BY k;"
        "INSERT INTO s VALUES (0, 5)"
    )
    # The sum is nothing for a moment. What comes after that makes it something, and is much to take in.
    server.sql("INSERT INTO s VALUES (0, -5)")
    server.sql("INSERT INTO s VALUES (0, 4)")
    server.sql("INSERT INTO s SELECT i, i FROM generate_series(1, 300000) AS t(i)")
    state = "SELECT state FROM fleuve.views WHERE name = 'q'"
    assert server.rows(state) == [["failed"]]
    with pytest.raises(TimeoutError):
        server.sql("ALTER MATERIALIZED VIEW q RESUME", patience_s=0.1)
    until(server, state, [["running"]])
    assert server.rows("SELECT count(*), max(q) FROM q") == [[300001, 100]]
    assert server.rows("SELECT q FROM q WHERE k = 0") == [[25]]


def metrics(server):
    import urllib.request

    with urllib.request.urlopen(f"{server.http}/metrics", timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def test_rows_that_fail_are_told_once_whatever_happens(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM s (k BIGINT, v BIGINT);"
        "INSERT INTO s SELECT i, i % 5 FROM generate_series(1, 1000) AS t(i);"
        "CREATE MATERIALIZED VIEW v AS SELECT k % 7 AS g, sum(100 / v) AS q, count(*) AS n FROM s GROUP BY k % 7 "
        "ON ERROR SKIP TO DEAD LETTER"
    )
    written = [1000]
    for round in range(4):
        # Killed in the middle of it.
        def write():
            for _ in range(30):
                try:
                    server.sql(f"INSERT INTO s SELECT i, i % 5 FROM generate_series({written[0] + 1}, {written[0] + 50}) AS t(i)")
                except Exception:
                    return
                written[0] += 50

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.4 + 0.3 * round)
        server.kill()
        writer.join()
        server.start()
        # What was not acknowledged may be there, too.
        written[0] = (server.rows("SELECT max(k) FROM s")[0][0])
    letters = "SELECT row FROM v__dead"
    zeros = sorted(k for [k] in server.rows("SELECT k FROM s WHERE v = 0"))
    until(server, "SELECT lag_records FROM fleuve.views WHERE name = 'v'", server.rows("SELECT 0"))
    deadline = time.monotonic() + PATIENCE_S
    while len(server.rows(letters)) < len(zeros) and time.monotonic() < deadline:
        time.sleep(0.05)
    told = sorted(json.loads(row)["k"] for [row] in server.rows("SELECT row FROM v__dead"))
    assert told == zeros
    [[reason, operator, epoch]] = server.rows("SELECT reason, operator, epoch FROM v__dead LIMIT 1")
    assert "division by zero" in reason and operator.startswith("Map") and epoch > 0
    batch = "SELECT k % 7 AS g, sum(100 / v) AS q, count(*) AS n FROM (SELECT * FROM s WHERE v <> 0) GROUP BY k % 7 ORDER BY g"
    assert server.rows("SELECT * FROM v ORDER BY g") == server.rows(batch)
    [[on_error, letters, stream]] = server.rows("SELECT on_error, dead_letters, dead_letter_stream FROM fleuve.views")
    assert (on_error, letters, stream) == ("skip", len(zeros), "v__dead")
    assert "skipped v: not compared" in server.run("verify").stdout
    created = server.rows("SHOW CREATE MATERIALIZED VIEW v")[0][1]
    assert created.endswith("ON ERROR SKIP TO DEAD LETTER")
    server.sql("DROP MATERIALIZED VIEW v")
    with pytest.raises(harness.SqlError):
        server.sql("SELECT * FROM v__dead")
