"""Records go from the log while views stand on them, and the server is killed: views show what they showed before.

Starts a server of its own, that makes no checkpoint by itself after its first second.
"""

import pathlib
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
