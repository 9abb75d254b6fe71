"""A view that takes long to be built keeps nobody else waiting, and can be ended."""

import json
import os
import threading
import time
import urllib.error
import urllib.request

import confluent_kafka
import harness
import psycopg
import pytest
from test_cli import prompt

PATIENCE_S = 60

# Each row is a little work, and a step of the build takes in two hundred of them.
SLOW = "SELECT " + ", ".join(f"max(md5(repeat(pad, {80 + i}))) AS m{i}" for i in range(10)) + " FROM s"


def connect(server):
    return psycopg.connect(server.environment()["FLEUVE_POSTGRES_URL"], autocommit=True)


class Asked:
    """A statement under way, on a connection of its own."""

    def __init__(self, server, statement, before=()):
        self.connection, self.error = connect(server), None
        for line in before:
            self.connection.execute(line)
        self.thread = threading.Thread(target=self._run, args=[statement])
        self.thread.start()

    def _run(self, statement):
        try:
            self.connection.execute(statement)
        except psycopg.Error as e:
            self.error = e

    def is_waiting(self):
        return self.thread.is_alive()

    def end(self):
        """Its error, if there was one."""
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.connection.close()
        return self.error


def states(server):
    return {name: state for name, state in server.rows("SELECT name, state FROM fleuve.views")}


def until(is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begin(server, statement, view="slow", before=()):
    """Returns when the build is in the middle."""
    asked = Asked(server, statement, before)
    of_view = f"SELECT count(*) FROM fleuve.views WHERE name = '{view}' AND state = 'building' AND backfill_done > 0"
    until(lambda: server.rows(of_view) == [[1]] or not asked.is_waiting())
    return asked


@pytest.fixture
def server():
    server = harness.Server(flags=["--set", "epoch_max_bytes=65536", "--set", "checkpoint_interval_ms=100"]).start()
    server.sql("CREATE STREAM s (k BIGINT, pad TEXT)")
    server.sql("INSERT INTO s SELECT i, repeat(i::text, 1250) FROM generate_series(1, 4000) AS t(i)")
    server.sql("CREATE MATERIALIZED VIEW quick AS SELECT count(*) AS n FROM s")
    yield server
    server.remove()


def produce(server, topic):
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "message.timeout.ms": 20_000})
    failed = []
    producer.produce(topic, value=b'{"k":1}', callback=lambda error, _: failed.append(error))
    producer.flush(PATIENCE_S)
    assert failed == [None]


def test_others_do_not_wait_for_it(server):
    slow = begin(server, f"CREATE MATERIALIZED VIEW slow AS {SLOW}")
    server.sql("CREATE STREAM t (k BIGINT)")
    produce(server, "made_by_a_producer")
    server.sql("CREATE MATERIALIZED VIEW other AS SELECT k % 2 AS k, count(*) AS n FROM s GROUP BY k % 2")
    server.sql("COMMENT ON STREAM s IS 'read by all'")
    server.sql("ALTER MATERIALIZED VIEW other SET (state_bytes = '1GB')")
    server.sql("CREATE OR REPLACE MATERIALIZED VIEW other AS SELECT k % 4 AS k, count(*) AS n FROM s GROUP BY k % 4")
    server.sql("CREATE SINK out FROM other INTO outs WITH (mode = 'upsert')")
    server.sql("DROP SINK out; DROP STREAM t")
    assert server.rows("SELECT n FROM other") == [[1000]] * 4
    # What reads it, or what it reads, waits.
    above = Asked(server, "CREATE MATERIALIZED VIEW above AS SELECT m0 FROM slow")
    other_columns = Asked(server, "ALTER STREAM s ADD COLUMN v BIGINT")
    time.sleep(0.5)
    assert slow.is_waiting() and above.is_waiting() and other_columns.is_waiting(), (slow.error, above.error)
    assert states(server) == {"slow": "building", "quick": "running", "other": "running"}
    changes = server.rows("SELECT objects, state, waits_for FROM fleuve.changes")
    assert sorted(changes, key=lambda change: change[0]) == [
        ["public.above", "waiting", "public.slow"],
        ["public.other, public.quick, public.s, public.s__dead, public.slow", "waiting", "public.slow"],
        ["public.slow", "under way", None],
    ]
    # Ended by a DROP.
    server.sql("DROP MATERIALIZED VIEW slow")
    assert 'view "slow" was dropped while it was being built' in str(slow.end())
    assert isinstance(above.end(), psycopg.errors.UndefinedTable)
    assert other_columns.end() is None
    assert states(server) == {"quick": "running", "other": "running"}
    assert server.rows("SELECT n FROM quick") == [[4000]]
    # Its name is free.
    server.sql("CREATE MATERIALIZED VIEW slow AS SELECT max(v) AS m FROM s; INSERT INTO s VALUES (9000, 'x', 7)")
    assert server.rows("SELECT m FROM slow") == [[7]]
    server.stop()
    server.start()
    assert states(server) == {"quick": "running", "other": "running", "slow": "running"}


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_its_client_takes_it_back(server, how):
    before = ["SET statement_timeout = 1500"] if how == "timeout" else []
    for statement, view in [
        (f"CREATE MATERIALIZED VIEW slow AS {SLOW}", "slow"),
        (f"CREATE OR REPLACE MATERIALIZED VIEW quick AS {SLOW}", "quick"),
    ]:
        slow = begin(server, statement, view, before)
        if how == "cancel":
            slow.connection.cancel_safe()
        error = slow.end()
        assert isinstance(error, psycopg.errors.QueryCanceled), error
        assert "may still take effect" not in str(error.diag.message_hint)
        assert states(server) == {"quick": "running"}
        server.sql("INSERT INTO s VALUES (0, '')")
    assert server.rows("SELECT n FROM quick") == [[4002]]
    server.stop()
    server.start()
    assert server.rows("SELECT n FROM quick") == [[4002]]


def test_a_drop_ends_what_is_resumed_and_what_is_replaced(server):
    server.sql(f"CREATE MATERIALIZED VIEW slow AS {SLOW} WHERE k > 4000 AND 1 / nullif(k - 9000, 1) > -1")
    server.sql("INSERT INTO s VALUES (9000, 'x')")
    assert states(server)["slow"] == "failed"
    server.sql("CREATE OR REPLACE MATERIALIZED VIEW slow AS SELECT 1 AS one FROM s WHERE k < 0")
    replaced = begin(server, f"CREATE OR REPLACE MATERIALIZED VIEW slow AS {SLOW}")
    server.sql("DROP MATERIALIZED VIEW slow")
    assert 'view "slow" was dropped while it was being built' in str(replaced.end())
    assert states(server) == {"quick": "running"}


def test_a_drop_of_several_ends_all_that_are_being_built(server):
    names = ("slow", "slower")
    builds = [begin(server, f"CREATE MATERIALIZED VIEW {name} AS {SLOW}", name) for name in names]
    server.sql("DROP MATERIALIZED VIEW slow, quick, slower")
    assert all(f'view "{name}" was dropped while' in str(build.end()) for name, build in zip(names, builds))
    assert states(server) == {}


def test_what_a_replaced_view_read_stays_until_it_is_replaced(server):
    server.sql("CREATE STREAM t (k BIGINT); INSERT INTO t VALUES (1), (2)")
    server.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t")
    replaced = begin(server, f"CREATE OR REPLACE MATERIALIZED VIEW v AS {SLOW}", "v")
    dropped = Asked(server, "DROP STREAM t")
    altered = Asked(server, "ALTER STREAM t ADD COLUMN x BIGINT")
    time.sleep(0.5)
    assert dropped.is_waiting() and altered.is_waiting() and replaced.is_waiting()
    replaced.connection.cancel_safe()
    assert isinstance(replaced.end(), psycopg.errors.QueryCanceled)
    assert "is used by view v" in str(dropped.end())
    assert altered.end() is None
    assert server.rows("SELECT n FROM v") == [[2]]
    server.sql("CREATE MATERIALIZED VIEW w AS SELECT n + 1 AS m FROM v; INSERT INTO t VALUES (3, 4)")
    assert server.rows("SELECT m FROM w") == [[4]]


def test_after_a_crash_the_drop_of_one_replaced_view_leaves_the_others_be(server, tmp_path):
    files = tmp_path / "v.sql"
    files.write_text("CREATE MATERIALIZED VIEW a AS SELECT 1 AS one FROM s; CREATE MATERIALIZED VIEW b AS SELECT min(k) AS k FROM s;")
    server.run("apply", str(tmp_path))
    server.stop()
    server.start()
    files.write_text(f"CREATE MATERIALIZED VIEW a AS {SLOW}; CREATE MATERIALIZED VIEW b AS SELECT max(k) AS k FROM s;")
    applied = threading.Thread(target=lambda: server.run("apply", str(tmp_path), check=False))
    applied.start()
    until(lambda: states(server)["a"] == "building")
    server.kill()
    applied.join(PATIENCE_S)
    server.start()
    until(lambda: states(server)["a"] == "building")
    server.sql("DROP MATERIALIZED VIEW a")
    until(lambda: server.rows("SELECT k FROM b") == [[4000]])


def test_a_stop_takes_nothing_back(server, tmp_path):
    (tmp_path / "p.sql").write_text(f"CREATE STREAM made (k BIGINT); CREATE MATERIALIZED VIEW slow AS {SLOW};")
    applied = threading.Thread(target=lambda: server.run("apply", str(tmp_path), check=False))
    applied.start()
    until(lambda: states(server).get("slow") == "building")
    server.sql("INSERT INTO made VALUES (1), (2)")
    server.stop()
    applied.join(PATIENCE_S)
    server.start()
    assert server.rows("SELECT count(*) FROM made") == [[2]]
    assert states(server)["slow"] == "building"


def test_after_a_crash_it_is_built_and_can_be_dropped(server):
    # What was there before it is in a checkpoint.
    server.stop()
    server.start()
    slow = begin(server, f"CREATE MATERIALIZED VIEW slow AS {SLOW}")
    server.kill()
    assert slow.end() is not None
    server.start()
    assert states(server)["slow"] == "building"
    server.sql("DROP MATERIALIZED VIEW slow; CREATE MATERIALIZED VIEW slow AS SELECT max(k) AS m FROM s")
    assert server.rows("SELECT m FROM slow") == [[4000]]


def test_a_project_is_applied_whole_or_not_at_all(server, tmp_path):
    (tmp_path / "s.sql").write_text(
        "CREATE MATERIALIZED VIEW first AS SELECT count(*) AS n FROM s;\n"
        f"CREATE MATERIALIZED VIEW slow AS {SLOW};\n"
        "CREATE MATERIALIZED VIEW last AS SELECT m0 FROM slow;\n"
    )
    applied = threading.Thread(target=lambda: answers.append(server.run("apply", str(tmp_path), check=False)))
    answers = []
    applied.start()
    until(lambda: states(server).get("slow") == "building")
    server.sql("CREATE STREAM beside (k BIGINT)")
    # A view of it that runs can be read, but not dropped alone.
    assert server.rows("SELECT n FROM first") == [[4000]]
    server.sql("DROP MATERIALIZED VIEW slow CASCADE")
    applied.join(PATIENCE_S)
    [answer] = answers
    assert answer.returncode != 0 and 'view "slow" was dropped while it was being built' in answer.stderr, answer
    assert states(server) == {"quick": "running"}
    server.sql("DROP STREAM beside")


def test_ctrl_c_at_the_prompt_says_what_becomes_of_it(server, tmp_path):
    pid, fd, terminal = prompt(server, tmp_path)
    try:
        terminal.expect("for help")
        terminal.type(f"CREATE MATERIALIZED VIEW slow AS {SLOW};\r")
        # Who writes at a terminal reads what it asks, too.
        until(lambda: (terminal.watch(0.1), states(server).get("slow"))[1] == "building")
        terminal.type("\x03")
        terminal.expect("Not waited for any longer")
        assert states(server)["slow"] == "building"
        terminal.expect("\x1b[6n")
        terminal.type("DROP MATERIALIZED VIEW slow;\r")
        until(lambda: (terminal.watch(0.1), states(server))[1] == {"quick": "running"})
        terminal.type("\\q\r")
        assert terminal.exit_code(pid) == 0
    finally:
        os.close(fd)


def readiness(server):
    try:
        with urllib.request.urlopen(f"{server.http}/readyz", timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def test_it_is_not_ready_before_it_has_read_what_was_there(server):
    # No checkpoint knows of the rows, and the view makes each epoch slow.
    slow = begin(server, f"CREATE MATERIALIZED VIEW slow AS {SLOW}")
    server.kill()
    assert slow.end() is not None
    server.start()
    code, said = readiness(server)
    if server.rows("SELECT n FROM quick") != [[4000]]:
        assert code == 503 and "records that were there at the start" in said["reason"], said
    server.sql("DROP MATERIALIZED VIEW slow")
    until(lambda: readiness(server) == (200, {"ready": True}))
    assert server.rows("SELECT n FROM quick") == [[4000]]
