"""Why a row is there, what an answer was at some point of the log, and where the processor time goes."""

import json
import threading
import time
import urllib.request

PATIENCE_S = 60


def places(rows):
    """Of the answer to EXPLAIN ROW: source, partition and offset of each record."""
    return sorted((row[2], row[3], row[4]) for row in rows if row[4] is not None)


def test_a_row_names_its_records_and_leaves_out_late_ones(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM trips (city TEXT, km INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5 minutes');"
        "CREATE STREAM cities (city TEXT, country TEXT) WITH (partitions = 2);"
        "CREATE MATERIALIZED VIEW hours AS SELECT window_start, city, count(*) AS n, sum(km) AS km"
        "  FROM TUMBLE(trips, ts, INTERVAL '1 hour') GROUP BY window_start, city EMIT ON WINDOW CLOSE;"
        "CREATE MATERIALIZED VIEW named AS SELECT h.window_start, c.country, h.km FROM hours h JOIN cities c ON h.city = c.city;"
        "INSERT INTO cities VALUES ('Lyon', 'France');"
        "INSERT INTO trips VALUES ('Lyon', 3, '2026-05-01 08:10:00'), ('Nice', 1, '2026-05-01 08:15:00'),"
        "  ('Lyon', 7, '2026-05-01 08:55:00'), ('Lyon', 9, '2026-05-01 08:20:00'), ('Lyon', 1, '2026-05-01 09:10:00')"
    )
    assert server.rows("SELECT n, km FROM hours WHERE city = 'Lyon'") == [[2, 10]]
    rows = server.rows("EXPLAIN ROW hours WHERE city = 'Lyon'")
    assert places(rows) == [("trips", 0, 0), ("trips", 0, 2)]
    rows = server.rows("EXPLAIN ROW named WHERE country = 'France'")
    assert places(rows) == [("cities", 0, 0), ("trips", 0, 0), ("trips", 0, 2)]
    assert json.loads(rows[-1][6]).keys() <= {"city", "country", "km", "ts"}
    assert any("JOIN" in row[1] and "< hours <" in row[1] for row in rows), rows
    # The same over the PostgreSQL protocol, prepared as drivers do.
    import psycopg

    host, port = server.postgres.split(":")
    with psycopg.connect(host=host, port=port, user="fleuve", dbname="main", autocommit=True) as connection:
        got = connection.execute("EXPLAIN ROW named WHERE country = 'France'").fetchall()
        assert places(got) == [("cities", 0, 0), ("trips", 0, 0), ("trips", 0, 2)]
    # Not there, because its window is open.
    [first, *_] = server.rows("EXPLAIN ROW hours WHERE n = 1000")
    assert first[1] == "no such row is in hours"


def test_a_row_names_its_partner_its_way_and_no_failing_record(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM trades (id INT, item TEXT, ts TIMESTAMP); CREATE STREAM quotes (item TEXT, ts TIMESTAMP, price INT);"
        "CREATE STREAM roads (a TEXT, b TEXT); CREATE STREAM pairs (id INT, a INT, b INT);"
        "CREATE MATERIALIZED VIEW paid AS SELECT t.id, q.price FROM trades t"
        "  ASOF LEFT JOIN quotes q ON t.item = q.item AND t.ts >= q.ts;"
        "CREATE MATERIALIZED VIEW reachable AS WITH RECURSIVE r (a, b) AS ("
        "  SELECT a, b FROM roads UNION SELECT r.a, roads.b FROM r JOIN roads ON roads.a = r.b) SELECT * FROM r;"
        "CREATE MATERIALIZED VIEW ratios AS SELECT a / b AS ratio, count(*) AS n FROM pairs GROUP BY a / b"
        "  ON ERROR SKIP TO DEAD LETTER;"
        "CREATE MATERIALIZED VIEW strict AS SELECT id, a / b AS ratio FROM pairs"
    )
    server.sql(
        "INSERT INTO quotes VALUES ('x', '2026-05-01 08:00:00', 5), ('x', '2026-05-01 08:10:00', 6), ('x', '2026-05-01 08:20:00', 7);"
        "INSERT INTO trades VALUES (1, 'x', '2026-05-01 08:15:00'), (2, 'x', '2026-05-01 07:00:00');"
        "INSERT INTO roads VALUES ('Lyon', 'Paris'), ('Nice', 'Lyon'), ('Paris', 'Lille'), ('Lille', 'Nice'), ('Brest', 'Paris');"
        "INSERT INTO pairs VALUES (1, 6, 3), (3, 4, 2), (4, 9, 3)"
    )
    assert server.rows("SELECT price FROM paid WHERE id = 1") == [[6]]
    rows = server.rows("EXPLAIN ROW paid WHERE id = 1")
    assert places(rows) == [("quotes", 0, 1), ("trades", 0, 0)]
    assert rows[1][1] == "left side of ASOF JOIN on t.item = q.item AND t.ts >= q.ts"
    assert places(server.rows("EXPLAIN ROW paid WHERE id = 2")) == [("trades", 0, 1)]
    rows = server.rows("EXPLAIN ROW reachable WHERE a = 'Nice' AND b = 'Lille'")
    assert places(rows) == [("roads", 0, 0), ("roads", 0, 1), ("roads", 0, 2)]
    assert {row[1] for row in rows} == {"the row", "WITH RECURSIVE r"}
    # A record that fails is behind no answer; of a view that stops at it, the answer of before is explained.
    server.sql("INSERT INTO pairs VALUES (2, 1, 0)")
    assert sorted(server.rows("SELECT ratio, n FROM ratios")) == [[2, 2], [3, 1]]
    rows = server.rows("EXPLAIN ROW ratios WHERE ratio = 2")
    assert places(rows) == [("pairs", 0, 0), ("pairs", 0, 1)]
    assert rows[1][1] == "group of pairs.a / pairs.b"
    rows = server.rows("EXPLAIN ROW strict WHERE id = 4")
    assert places(rows) == [("pairs", 0, 2)]
    assert rows[-1][1].startswith("strict is failed"), rows
    rows = server.rows("EXPLAIN ROW strict WHERE id = 2")
    assert rows[1][1] == "left out, as it makes this fail: pairs.a / pairs.b" and places(rows) == [("pairs", 0, 3)], rows


def test_a_replay_gives_the_answer_of_then(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM orders (who TEXT, amount INT) WITH (partitions = 2); CREATE STREAM names (who TEXT, name TEXT);"
        "CREATE MATERIALIZED VIEW large AS SELECT who, amount FROM orders WHERE amount > 1;"
        "CREATE MATERIALIZED VIEW totals AS SELECT n.name, count(*) AS n, sum(l.amount) AS total"
        "  FROM large l JOIN names n ON l.who = n.who GROUP BY n.name;"
        "INSERT INTO names VALUES ('a', 'Ann'), ('b', 'Bob')"
    )
    for n in range(1, 7):
        server.sql(f"INSERT INTO orders VALUES ('{'ab'[n % 2]}', {n})")
    replay = ("replay", "totals", "--format", "json", "--until")
    now = server.rows("SELECT offset_ FROM (SELECT max(_offset) AS offset_ FROM orders)")[0][0]
    whole = server.run(*replay, "2100-01-01")
    assert sorted(map(tuple, (row.values() for row in json.loads(whole.stdout)))) == sorted(
        map(tuple, server.rows("SELECT * FROM totals"))
    )
    assert "8 rows of input" in whole.stderr, whole.stderr
    assert now is not None
    changes = server.run(*replay, "2100-01-01", "--watch", "Ann")
    told = json.loads(changes.stdout)
    assert [(row["_weight"], row["n"], row["total"]) for row in told] == [(1, 1, 2), (-1, 1, 2), (1, 2, 6), (-1, 2, 6), (1, 3, 12)]
    assert {row["_source"] for row in told} == {"orders"}
    # The point of each change gives the answer of then, and the same again.
    for row in told:
        if row["_weight"] > 0:
            point = f"{row['_source']}/{row['_partition']}@{row['_offset']}"
            first, second = (server.run(*replay, point).stdout for _ in range(2))
            assert first == second
            assert {"name": "Ann", "n": row["n"], "total": row["total"]} in json.loads(first)
    # Nothing of it touched what runs.
    assert server.rows("SELECT state FROM fleuve.views GROUP BY state") == [["running"]]


def wait_for(server, query, wanted):
    deadline = time.monotonic() + PATIENCE_S
    while (rows := server.rows(query)) != wanted:
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)


def test_what_was_late_in_a_new_partition_is_behind_no_row_and_in_no_replay(own_server):
    from confluent_kafka.admin import AdminClient, NewPartitions

    server = own_server
    server.sql(
        "CREATE STREAM ticks (id INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second') WITH (idle_timeout = '1 day');"
        "CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(*) AS n FROM TUMBLE(ticks, ts, INTERVAL '10 seconds')"
        "  GROUP BY window_start EMIT ON WINDOW CLOSE;"
        "CREATE MATERIALIZED VIEW ranked AS SELECT window_start, id, row_number() OVER (PARTITION BY window_start ORDER BY id) AS n"
        "  FROM TUMBLE(ticks, ts, INTERVAL '10 seconds') EMIT ON WINDOW CLOSE;"
        "INSERT INTO ticks VALUES (7, '2024-01-01 00:00:10'), (8, '2024-01-01 00:01:00')"
    )
    admin = AdminClient({"bootstrap.servers": server.kafka})
    [grown] = admin.create_partitions([NewPartitions("ticks", 3)]).values()
    grown.result()

    def produce(partition, *rows):
        lines = "".join(f'{{"id": {id}, "ts": "2024-01-01T00:{at}"}}\n' for id, at in rows)
        server.run("produce", "ticks", "--partition", str(partition), stdin=lines)

    produce(1, (1, "00:12"), (2, "00:13"), (3, "01:30"))
    produce(2, (4, "00:14"), (5, "01:30"))
    wait_for(server, "SELECT late_records FROM fleuve.streams WHERE name = 'ticks'", [[3]])
    produce(0, (6, "01:30"))
    running = [["2024-01-01T00:00:10", 1], ["2024-01-01T00:01:00", 1]]
    wait_for(server, "SELECT * FROM closed ORDER BY window_start", running)
    # The record that closed the window is the one that tells of it in a replay, too.
    replay = ("replay", "closed", "--format", "json", "--until", "2100-01-01")
    assert sorted([row["window_start"], row["n"]] for row in json.loads(server.run(*replay).stdout)) == running
    told = json.loads(server.run(*replay, "--watch", "2024-01-01T00:00:10").stdout)
    assert [(row["_weight"], row["_partition"], row["_offset"], row["n"]) for row in told] == [(1, 0, 1, 1)]
    assert places(server.rows("EXPLAIN ROW closed WHERE window_start = '2024-01-01 00:00:10'")) == [("ticks", 0, 0)]
    assert places(server.rows("EXPLAIN ROW ranked WHERE id = 7 AND n = 1")) == [("ticks", 0, 0)]
    [none, late] = server.rows("EXPLAIN ROW ranked WHERE id = 1")
    assert none[1] == "no such row is in ranked" and late[2:5] == ["ticks", 1, 0]
    assert late[1].startswith("the row was late: the watermark had passed it when it came"), late


def test_a_partition_that_begins_behind_the_point_holds_windows_open(own_server):
    own_server.sql(
        """CREATE STREAM ticks (id INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
          WITH (format = 'json', partitions = 2, idle_timeout = '1 hour');
        CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(*) AS n FROM TUMBLE(ticks, ts, INTERVAL '10 seconds')
          GROUP BY window_start EMIT ON WINDOW CLOSE"""
    )
    points = []
    for partition, second in [(0, 1), (0, 30), (1, 2), (1, 30)]:
        line = json.dumps({"id": second, "ts": f"2026-05-01 08:00:{second:02}"}) + "\n"
        own_server.run("produce", "ticks", "--partition", str(partition), stdin=line)
        points.append(f"ticks/{partition}@{0 if second < 30 else 1}")
    wait_for(own_server, "SELECT n FROM closed", [[2]])
    replay = ("replay", "closed", "--format", "json", "--until")
    answers = [[row["n"] for row in json.loads(own_server.run(*replay, point).stdout)] for point in points]
    assert answers == [[], [], [], [2]]
    told = json.loads(own_server.run(*replay, "ticks/0@1", "--watch", "2026-05-01T08:00:00").stdout)
    assert told == []


def test_a_replay_tells_numbers_and_keys_as_they_are(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM pays (who TEXT, k INT, amount DECIMAL(30, 10), price DECIMAL(6, 2));"
        "CREATE MATERIALIZED VIEW sums AS SELECT who, k, sum(amount) AS total, max(price) AS price FROM pays GROUP BY who, k;"
        "INSERT INTO pays VALUES ('a, b', 1, 12345678901234567890.0123456789, 38.50), ('it''s', 2, 1, 2);"
        "INSERT INTO pays VALUES (NULL, 3, 3, 3), ('NULL', 3, 4, 4)"
    )
    replay = ("replay", "sums", "--until", "2100-01-01")
    whole = server.run(*replay, "--format", "csv").stdout
    assert '"a, b",1,12345678901234567890.0123456789,38.50' in whole.splitlines(), whole
    watched = server.run(*replay, "--format", "json", "--watch", "'a, b', 1").stdout
    assert '"total":12345678901234567890.0123456789,"price":38.50}' in watched, watched
    keys = [("'it''s', 2", "2.00"), ("it's,2", "2.00"), ("NULL,3", "3.00"), ("'NULL',3", "4.00")]
    for key, price in keys:
        told = server.run(*replay, "--format", "csv", "--watch", key).stdout.splitlines()
        assert len(told) == 2 and told[1].endswith(f",{price}"), (key, told)
    assert "a quote is not closed" in server.run(*replay, "--watch", "'a, 1", check=False).stderr
    assert "possible values: table, csv, json" in server.run(*replay, "--format", "arrow", check=False).stderr


def test_a_flame_graph_is_taken_under_load(own_server):
    server = own_server
    server.sql(
        "CREATE STREAM s (k INT, v BIGINT);"
        "CREATE MATERIALIZED VIEW busy AS SELECT k % 7 AS k, count(*) AS n, sum(v * v) AS v FROM s GROUP BY k % 7"
    )
    stop = threading.Event()

    def load():
        while not stop.is_set():
            server.sql("INSERT INTO s SELECT value, value * 3 FROM generate_series(1, 20000)")

    thread = threading.Thread(target=load)
    thread.start()
    try:
        # On a busy machine a profile may fall between two steps of the view.
        for _ in range(20):
            with urllib.request.urlopen(f"{server.http}/debug/flamegraph?seconds=2&format=folded", timeout=60) as answer:
                folded = answer.read().decode()
            stacks = [line.rsplit(" ", 1) for line in folded.splitlines()]
            # Threads, the view that is stepped, and names of functions.
            if any(";view public.busy;" in stack and "fleuve_engine" in stack for stack, _ in stacks):
                break
        else:
            raise AssertionError(folded[:4000])
        named = sum(int(count) for stack, count in stacks if "::" in stack)
        assert named * 10 >= 8 * sum(int(count) for _, count in stacks), folded[:4000]
        with urllib.request.urlopen(f"{server.http}/debug/flamegraph?seconds=1", timeout=60) as answer:
            assert answer.headers["content-type"].startswith("image/svg+xml")
            assert answer.read().startswith(b"<svg ")
    finally:
        stop.set()
        thread.join()
    assert server.rows("SELECT state FROM fleuve.views") == [["running"]]


def test_a_key_is_read_as_the_type_that_it_has(own_server):
    server = own_server
    server.sql("CREATE STREAM e (b BOOLEAN, d DATE, ts TIMESTAMP, n DECIMAL(10, 2), f DOUBLE PRECISION, r BYTEA, k INT)")
    server.sql("INSERT INTO e VALUES (true, '2026-05-01', '2026-05-01 08:00', 1.5, 1e20, '\\x00ff', 1), (false, NULL, NULL, 0, 0.1, NULL, 2)")
    spellings = {
        "b": ["true", "t", "yes", "TRUE"],
        "d": ["2026-05-01", "20260501"],
        "ts": ["2026-05-01 08:00", "2026-05-01T08:00:00", "2026-05-01 08:00:00.000"],
        "n": ["1.5", "1.50", "01.500"],
        "f": ["1e20", "1e+20", "100000000000000000000"],
        "k": ["1", "+1", " 1 "],
        "r": ["\\x00ff", "\\x00FF"],
    }
    for column, texts in spellings.items():
        server.sql(f"CREATE MATERIALIZED VIEW by_{column} AS SELECT {column}, count(*) AS n FROM e GROUP BY {column}" if column != "n"
                   else "CREATE MATERIALIZED VIEW by_n AS SELECT n, count(*) AS m FROM e GROUP BY n")
        for text in texts:
            told = json.loads(server.run("replay", f"by_{column}", "--until", "2100-01-01", "--format", "json", "--watch", f"'{text}'").stdout)
            assert len(told) == 1, (column, text, told)
            rows = server.rows(f"EXPLAIN ROW (by_{column}, '{text}')")
            assert any('"k":1' in str(row) for row in rows), (column, text, rows)
    for column, text in [("k", "one"), ("b", "maybe"), ("ts", "noon")]:
        refused = server.run("replay", f"by_{column}", "--until", "2100-01-01", "--watch", text, check=False)
        assert refused.returncode != 0 and f"'{text}' is no" in refused.stderr and f'column "{column}"' in refused.stderr, refused.stderr
