"""Records go from the log while views stand on them, and the server is killed: views show what they showed before.

Starts a server of its own, that makes no checkpoint by itself after its first second.
"""

import datetime
import pathlib
import random
import sys
import time

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

PATIENCE_S = 60


@pytest.fixture
def quiet_server():
    flags = ["--set", "checkpoint_interval_ms=3600000", "--set", "retention_check_ms=100"]
    server = harness.Server(flags=flags).start()
    yield server
    server.remove()


def produce(server, topic, numbers):
    producer = Producer({"bootstrap.servers": server.kafka, "batch.num.messages": 1, "log_level": 0})
    for number in numbers:
        producer.produce(topic, f'{{"n":{number}}}'.encode(), partition=0)
    assert producer.flush(PATIENCE_S) == 0


def until(found, wanted):
    deadline = time.monotonic() + PATIENCE_S
    while (last := found()) != wanted:
        assert time.monotonic() < deadline, f"{last}, not {wanted}"
        time.sleep(0.05)


def count(server, of):
    return server.rows(f"SELECT n FROM {of}")[0][0]


LATE = "CREATE STREAM e (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '10 seconds')"
MINUTES = "SELECT date_bin('1 minute', ts) AS w, count(*) AS n FROM e GROUP BY date_bin('1 minute', ts) EMIT ON WINDOW CLOSE"


def closed_minutes(times, start):
    """By minute how many of the rows from the offset `start` on were on time, as all rows before them say; closed minutes only."""
    high, minutes = None, {}
    for offset, at in enumerate(times):
        if offset >= start and (high is None or at >= high):
            minutes[at // 60] = minutes.get(at // 60, 0) + 1
        high = max(high or 0, at - 10)
    return sorted([minute, n] for minute, n in minutes.items() if (minute + 1) * 60 <= high)


def test_rows_that_were_late_are_late_for_a_view_that_is_made_after_what_made_them_so_has_gone(quiet_server):
    server, rng = quiet_server, random.Random(17)
    server.sql(f"{LATE}; CREATE MATERIALIZED VIEW live AS {MINUTES}")
    producer = Producer({"bootstrap.servers": server.kafka, "linger.ms": 0})
    times, start, now = [], 0, 0
    for step in range(8):
        begins = len(times)
        for _ in range(300):
            now += rng.randrange(3)
            times.append(max(0, now - rng.choice([0, 0, 5, 9, 40, 300])))
        for at in times[begins:]:
            producer.produce("e", f'{{"ts":"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%dT%H:%M:%S}"}}'.encode(), partition=0)
        assert producer.flush(PATIENCE_S) == 0
        until(lambda: server.rows("SELECT count(*) FROM e")[0][0], len(times) - start)
        # In the middle of what came last, or of what is there.
        start = rng.randrange(start, len(times) - 1)
        admin, part = AdminClient({"bootstrap.servers": server.kafka}), TopicPartition("e", 0, start)
        assert admin.delete_records([part])[part].result(PATIENCE_S).low_watermark == start
        if step % 3 == 1:
            restart(server)
            producer = Producer({"bootstrap.servers": server.kafka, "linger.ms": 0})
        if step % 3 == 2:
            server.stop()
            server.start()
            producer = Producer({"bootstrap.servers": server.kafka, "linger.ms": 0})
        server.sql(f"CREATE MATERIALIZED VIEW later{step} AS {MINUTES}")
        shown = server.rows(f"SELECT extract(epoch FROM w)::bigint / 60, n FROM later{step} ORDER BY w")
        assert shown == closed_minutes(times, start), f"after step {step}, from {start}"
        assert "equal to a replay" in server.run("verify", f"later{step}").stdout
    until(lambda: server.rows("SELECT extract(epoch FROM w)::bigint / 60, n FROM live ORDER BY w"), closed_minutes(times, 0))
    # A replay has no more than what is left.
    assert server.run("verify", "live", check=False).stdout.startswith("differs live:")


def test_so_are_they_after_retention_took_it(quiet_server):
    server, rng = quiet_server, random.Random(18)
    server.sql(LATE)
    producer = Producer({"bootstrap.servers": server.kafka, "batch.num.messages": 1})
    times = [max(0, n * 2 - rng.choice([0, 0, 5, 9, 40, 300])) for n in range(200)]
    # It says how far time is, and goes first.
    times[0] = 250
    for at in times:
        producer.produce("e", f'{{"ts":"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%dT%H:%M:%S}"}}'.encode(), partition=0)
    assert producer.flush(PATIENCE_S) == 0
    until(lambda: server.rows("SELECT count(*) FROM e")[0][0], 200)
    admin = AdminClient({"bootstrap.servers": server.kafka})
    change = ConfigEntry("retention.bytes", "9000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "e", incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)
    until(lambda: server.rows("SELECT count(*) < 200 FROM e"), [[True]])
    for name in ("later", "later_still"):
        [[start]] = server.rows("SELECT min(_offset) FROM e")
        server.sql(f"CREATE MATERIALIZED VIEW {name} AS {MINUTES}")
        shown = server.rows(f"SELECT extract(epoch FROM w)::bigint / 60, n FROM {name} ORDER BY w")
        assert shown and shown == closed_minutes(times, start), f"from {start}"
        restart(server)


def restart(server):
    server.kill()
    server.start()


def test_views_keep_deleted_records_through_a_kill(quiet_server):
    server = quiet_server
    server.sql("CREATE STREAM s (n INT)")
    produce(server, "s", range(100))
    server.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s")
    until(lambda: count(server, "v"), 100)
    admin, part = AdminClient({"bootstrap.servers": server.kafka}), TopicPartition("s", 0, 60)
    assert admin.delete_records([part])[part].result(PATIENCE_S).low_watermark == 60
    assert count(server, "v") == 100
    restart(server)
    until(lambda: count(server, "v"), 100)
    assert server.rows("SELECT count(*) FROM s") == [[40]]

    # Of what came since the checkpoint, too.
    produce(server, "s", range(7))
    until(lambda: count(server, "v"), 107)
    admin, part = AdminClient({"bootstrap.servers": server.kafka}), TopicPartition("s", 0, -1)
    assert admin.delete_records([part])[part].result(PATIENCE_S).low_watermark == 107
    restart(server)
    until(lambda: count(server, "v"), 107)


def test_views_keep_what_retention_takes_through_a_kill(quiet_server):
    server = quiet_server
    server.sql("CREATE STREAM s (n INT)")
    produce(server, "s", range(100))
    server.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s")
    until(lambda: count(server, "v"), 100)
    admin = AdminClient({"bootstrap.servers": server.kafka})
    change = ConfigEntry("retention.bytes", "1", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "s", incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)
    # What one append wrote stays: one record, or some that came together.
    until(lambda: server.rows("SELECT count(*) < 100 FROM s"), [[True]])
    restart(server)
    until(lambda: count(server, "v"), 100)
