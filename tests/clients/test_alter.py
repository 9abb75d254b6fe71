"""ALTER STREAM with psycopg, over a clean stop and a kill: views go on with what they have, as the records that they read are gone."""

import pathlib
import shutil
import time

import psycopg
import pytest


def connect(server):
    host, _, port = server.postgres.rpartition(":")
    return psycopg.connect(f"host={host} port={port} user=ann dbname=main", autocommit=True)


def ask(server, text, parameters=()):
    with connect(server) as connection:
        done = connection.execute(text, parameters)
        return done.fetchall() if done.description else done.statusmessage


def state_rows(server, view):
    """Rows that the view's operators took in since the start: a view that is built again takes all in again."""
    return ask(server, "SELECT sum(rows_in)::bigint FROM fleuve.operators WHERE view = %s", (view,))[0][0] or 0


def test_views_go_on_over_a_change_a_restart_and_a_crash(own_server):
    ask(own_server, "CREATE STREAM s (id BIGINT, name TEXT, n INT) WITH (format = 'json')")
    ask(own_server, "CREATE MATERIALIZED VIEW totals AS SELECT name, count(*) AS c, sum(id) AS ids FROM s GROUP BY name")
    ask(own_server, "CREATE MATERIALIZED VIEW stars AS SELECT * FROM s WHERE id > 1")
    with connect(own_server) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO s VALUES (%s, %s, %s)", [(1, "a", 1), (2, "b", 2), (3, "a", 3)])
    before = state_rows(own_server, "totals")
    assert before > 0

    with pytest.raises(psycopg.Error, match="view stars"):
        ask(own_server, "ALTER STREAM s ALTER COLUMN n TYPE BIGINT")
    plan = ask(own_server, "EXPLAIN ALTER STREAM s ADD COLUMN note TEXT")
    assert any("stars AS SELECT * EXCLUDE (note) FROM s" in line for (line,) in plan), plan
    assert ask(own_server, "ALTER STREAM s ADD COLUMN note TEXT") == "ALTER STREAM"
    assert state_rows(own_server, "totals") == before, "nothing was read again"
    ask(own_server, "INSERT INTO s VALUES (4, 'b', 4, 'new')")
    totals, stars = [("a", 2, 4), ("b", 2, 6)], [(2, "b", 2), (3, "a", 3), (4, "b", 4)]

    def check():
        assert ask(own_server, "SELECT * FROM totals ORDER BY name") == totals
        assert ask(own_server, "SELECT * FROM stars ORDER BY id") == stars
        notes = ask(own_server, "SELECT id, note FROM s WHERE id IN (1, 4) ORDER BY id")
        assert notes == [(1, None), (4, "new")]

    check()
    own_server.kill()
    own_server.start()
    check()
    assert own_server.stop() == 0, own_server.tail()
    own_server.start()
    check()
    taken = state_rows(own_server, "totals")
    assert taken < 4, f"built again: {taken} rows"

    # And back, killed at once.
    ask(own_server, "ALTER STREAM s DROP COLUMN note")
    own_server.kill()
    own_server.start()
    assert ask(own_server, "SHOW CREATE stars")[0][-1].endswith("SELECT * FROM s WHERE id > 1")
    ask(own_server, "INSERT INTO s VALUES (5, 'a', 5)")
    assert ask(own_server, "SELECT * FROM totals ORDER BY name") == [("a", 3, 9), ("b", 2, 6)]
    assert ask(own_server, "SELECT count(*) FROM stars") == [(4,)]


def test_windows_and_as_of_joins_go_on_over_a_change_and_a_restart(own_server):
    ask(own_server, "CREATE STREAM e (k TEXT, v INT, ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (format = 'json')")
    ask(own_server, "CREATE STREAM f (k TEXT, w INT, ts TIMESTAMP, x INT) WITH (format = 'json')")
    lengths = "INTERVAL '5 minutes', INTERVAL '10 minutes'"
    views = {
        "hops": f"SELECT k, window_start, count(*) AS n FROM HOP(e, ts, {lengths}) GROUP BY k, window_start",
        "hop_list": f"SELECT window_start, array_agg(v ORDER BY v) AS n FROM HOP(e, ts, {lengths}) GROUP BY window_start",
        "steps": f"SELECT k, window_end, sum(v) AS n FROM CUMULATE(e, ts, {lengths}) GROUP BY k, window_end",
        "hop_rows": f"SELECT k, v, window_start FROM HOP(e, ts, {lengths})",
        "before": "SELECT f.k, f.w, e.v FROM f ASOF LEFT JOIN e ON f.k = e.k AND f.ts >= e.ts",
        "system": "SELECT f.k, r.v FROM f LEFT JOIN e FOR SYSTEM_TIME AS OF f.ts AS r ON f.k = r.k",
    }
    for view, query in views.items():
        ask(own_server, f"CREATE MATERIALIZED VIEW {view} AS {query}")
    ask(own_server, "INSERT INTO e VALUES ('a', 1, '2026-01-01 00:01:00'), ('a', 2, '2026-01-01 00:02:00')")
    ask(own_server, "INSERT INTO f VALUES ('a', 1, '2026-01-01 00:01:30', 0), ('b', 1, '2026-01-01 00:01:30', 0)")
    before = {view: state_rows(own_server, view) for view in views}
    ask(own_server, "ALTER STREAM f DROP COLUMN x, ADD COLUMN c TEXT")
    ask(own_server, "ALTER STREAM e ADD COLUMN c TEXT")
    assert {view: state_rows(own_server, view) for view in views} == before, "nothing was read again"
    ask(own_server, "INSERT INTO e VALUES ('b', 3, '2026-01-01 00:01:00', 'new')")
    ask(own_server, "INSERT INTO f VALUES ('b', 2, '2026-01-01 00:02:00', 'new')")

    def check():
        for view, query in views.items():
            got, wanted = (sorted(ask(own_server, text), key=str) for text in (f"SELECT * FROM {view}", query))
            assert got == wanted and got, view

    check()
    assert own_server.stop() == 0, own_server.tail()
    own_server.start()
    check()
    for view in views:
        assert state_rows(own_server, view) <= before[view], f"{view} was built again"
    ask(own_server, "ALTER STREAM e DROP COLUMN c")
    check()


def test_a_change_that_is_refused_leaves_all_as_it_was(own_server):
    """While views are built anew (their state is lost here) the change is taken back whole, and goes through when they run."""
    ask(own_server, "CREATE STREAM s (id BIGINT, name TEXT) WITH (format = 'json')")
    ask(own_server, "CREATE MATERIALIZED VIEW stars AS SELECT * FROM s WHERE id < 5")
    ask(own_server, "CREATE MATERIALIZED VIEW n AS SELECT name, count(*) AS n FROM s GROUP BY name")
    ask(own_server, "INSERT INTO s SELECT value, 'x' || value FROM generate_series(1, 100000)")
    assert own_server.stop() == 0, own_server.tail()
    state = pathlib.Path(own_server.data) / "state"
    shutil.rmtree(state)
    state.mkdir()
    own_server.start()
    deadline = time.monotonic() + 120
    while True:
        try:
            ask(own_server, "ALTER STREAM s ADD COLUMN c INT")
            break
        except psycopg.Error as e:
            assert "being built" in str(e) and time.monotonic() < deadline, e
            text = ask(own_server, "SHOW CREATE stars")[0][-1]
            assert text.endswith("SELECT * FROM s WHERE id < 5"), text
        time.sleep(0.1)
    assert ask(own_server, "SHOW CREATE stars")[0][-1].endswith("SELECT * EXCLUDE (c) FROM s WHERE id < 5")
    own_server.kill()
    own_server.start()
    ask(own_server, "INSERT INTO s VALUES (2, 'x2', 7)")
    assert ask(own_server, "SELECT id, name FROM stars ORDER BY id") == [(1, "x1"), (2, "x2"), (2, "x2"), (3, "x3"), (4, "x4")]
    assert ask(own_server, "SELECT n FROM n WHERE name = 'x2'") == [(2,)]


def test_records_that_are_older_than_a_column_stay_rows(own_server):
    """What they hold under its name is not of its type. Queries, views, EXPLAIN ROW and `fleuve verify` agree, over a kill and a stop."""
    ask(own_server, "CREATE STREAM s (id BIGINT, x INT) WITH (format = 'json', partitions = 2)")
    produce = lambda *records: own_server.run("produce", "s", stdin="".join(f"{r}\n" for r in records))  # noqa: E731
    ask(own_server, "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM s")
    ask(own_server, "CREATE MATERIALIZED VIEW ids AS SELECT id FROM s WHERE id > 1")
    produce('{"id": 1, "x": 5, "label": "one"}', '{"id": 2, "x": 6, "label": [2]}', '{"id": 3, "label": 3}', '{"id": "bad"}')
    ask(own_server, "ALTER STREAM s DROP COLUMN x")
    ask(own_server, "ALTER STREAM s ADD COLUMN x TEXT, ADD COLUMN label INT")
    produce('{"id": 4, "x": "four", "label": 4}', '{"id": 5, "x": 5}', '{"id": 6, "label": "six"}')
    ask(own_server, "CREATE MATERIALIZED VIEW labels AS SELECT label, x, count(*) AS n FROM s GROUP BY label, x")
    rows = [(1, None, None), (2, None, None), (3, None, 3), (4, "four", 4)]
    dead = ["column 'id': expected BIGINT", "column 'label': expected INT", "column 'x': expected TEXT"]

    def check():
        assert ask(own_server, "SELECT id, x, label FROM s ORDER BY id") == rows
        assert ask(own_server, "SELECT id FROM ids ORDER BY id") == [(2,), (3,), (4,)]
        assert ask(own_server, "SELECT n FROM n") == [(4,)]
        assert ask(own_server, "SELECT label, x, n FROM labels ORDER BY 1, 2") == [(3, None, 1), (4, "four", 1), (None, None, 2)]
        reasons = [reason for (reason,) in ask(own_server, "SELECT reason FROM s__dead ORDER BY reason")]
        assert len(reasons) == 3 and all(r.startswith(d) for r, d in zip(reasons, dead)), reasons
        behind = ask(own_server, "EXPLAIN ROW n WHERE n = 4")
        assert sum(row[2] == "public.s" or row[2] == "s" for row in behind) == 4, behind
        assert "equal to the batch answer" in own_server.run("verify").stdout

    deadline = time.monotonic() + 60
    while ask(own_server, "SELECT count(*) FROM s__dead") != [(3,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    check()
    own_server.kill()
    own_server.start()
    check()
    assert own_server.stop() == 0, own_server.tail()
    own_server.start()
    check()
    produce('{"id": 7, "x": "seven", "label": 7}')
    rows.append((7, "seven", 7))
    assert ask(own_server, "SELECT id, x, label FROM s ORDER BY id") == rows
