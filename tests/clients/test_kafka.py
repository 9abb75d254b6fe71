"""Real clients against the Kafka door: librdkafka (confluent-kafka) and kcat.

    FLEUVE_KAFKA=localhost:9092 pytest test_kafka.py

Needs `confluent-kafka` and `pytest`; the kcat tests are left out where kcat is not installed.
"""

import os
import shutil
import socket
import struct
import subprocess
import time
import uuid

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

BOOTSTRAP = os.environ.get("FLEUVE_KAFKA", "localhost:9092")
PATIENCE_S = 60


def name(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def admin():
    return AdminClient({"bootstrap.servers": BOOTSTRAP})


@pytest.fixture
def topic(admin):
    """A topic with 3 partitions, gone after the test."""
    made = name("t")
    done(admin.create_topics([NewTopic(made, 3, 1)]))
    yield made
    admin.delete_topics([made])[made].result(PATIENCE_S)


def done(futures):
    return {key: future.result(PATIENCE_S) for key, future in futures.items()}


def produce(topic, values, partition=None, **config):
    """Produces and waits for every acknowledgement; gives the messages as they were acknowledged."""
    acked, failed = [], []

    def on_delivery(error, message):
        (failed if error else acked).append(error or message)

    producer = Producer({"bootstrap.servers": BOOTSTRAP, **config})
    for value in values:
        extra = {} if partition is None else {"partition": partition}
        producer.produce(topic, value, on_delivery=on_delivery, **extra)
        producer.poll(0)
    assert producer.flush(PATIENCE_S) == 0
    assert not failed, failed[0]
    return acked


def consumer(group=None, **config):
    return Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": group or name("g"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            **config,
        }
    )


def poll_until(consumers, enough, patience_s=PATIENCE_S):
    """Polls in turn until `enough(messages)`; gives the messages of all."""
    messages, deadline = [], time.monotonic() + patience_s
    while not enough(messages):
        assert time.monotonic() < deadline, f"only {len(messages)} messages came"
        for each in consumers:
            message = each.poll(0.1)
            if message is None:
                continue
            if message.error() and message.error().retriable():
                continue
            assert message.error() is None, message.error()
            messages.append(message)
    return messages


def read_all(topic, count, **config):
    reader = consumer(**config)
    reader.subscribe([topic])
    try:
        return poll_until([reader], lambda got: len(got) >= count)
    finally:
        reader.close()


# Produce and consume


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression(topic, codec):
    values = [f"{codec} {i} {'x' * 100}".encode() for i in range(500)]
    produce(topic, values, **{"compression.type": codec, "linger.ms": 50})
    assert sorted(m.value() for m in read_all(topic, len(values))) == sorted(values)


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(topic, acks):
    produce(topic, [b"a", b"b", b"c"], partition=0, acks=acks)
    assert [m.value() for m in read_all(topic, 3)] == [b"a", b"b", b"c"]


def test_key_headers_timestamp_and_null_values(topic):
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    headers = [("h", b"1"), ("h", b"2"), ("empty", b""), ("none", None)]
    producer.produce(topic, b"v", b"k", partition=1, timestamp=1_700_000_000_123, headers=headers)
    producer.produce(topic, None, b"tombstone", partition=1)
    assert producer.flush(PATIENCE_S) == 0
    first, second = read_all(topic, 2)
    assert (first.key(), first.value(), first.partition(), first.offset()) == (b"k", b"v", 1, 0)
    assert first.timestamp()[1] == 1_700_000_000_123
    assert first.headers() == headers
    assert (second.key(), second.value()) == (b"tombstone", None)


def test_a_timestamp_in_nanoseconds_is_refused(topic):
    errors = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    for timestamp in (time.time_ns(), time.time_ns() // 1_000_000):
        producer.produce(topic, b"x", timestamp=timestamp, partition=0, on_delivery=lambda error, _: errors.append(error))
        assert producer.flush(PATIENCE_S) == 0
    assert errors[0].code() == KafkaError.INVALID_TIMESTAMP
    assert errors[1] is None, errors[1]


def test_idempotent_producer_keeps_order(topic):
    values = [str(i).encode() for i in range(5000)]
    acked = produce(topic, values, partition=2, **{"enable.idempotence": True, "linger.ms": 1})
    assert [m.offset() for m in sorted(acked, key=lambda m: int(m.value()))] == list(range(5000))
    assert [m.value() for m in read_all(topic, 5000)] == values


def test_large_messages(topic):
    values = [os.urandom(900_000) for _ in range(5)]
    produce(topic, values, partition=0)
    got = read_all(topic, 5, **{"fetch.message.max.bytes": 100_000})
    assert [m.value() for m in got] == values


def test_a_message_over_the_limit_is_refused(topic):
    with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE|too large"):
        produce(topic, [b"x" * 1_200_000], partition=0, **{"message.max.bytes": 3_000_000})


def test_consuming_waits_for_what_comes(topic):
    reader = consumer()
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert reader.poll(0.5) is None
    produce(topic, [b"late"], partition=0)
    assert poll_until([reader], lambda got: got)[0].value() == b"late"
    reader.close()


def test_reading_from_an_offset_and_out_of_range(topic):
    produce(topic, [str(i).encode() for i in range(10)], partition=0, **{"batch.num.messages": 4})
    reader = consumer()
    reader.assign([TopicPartition(topic, 0, 7)])
    assert [m.offset() for m in poll_until([reader], lambda got: len(got) == 3)] == [7, 8, 9]
    reader.assign([TopicPartition(topic, 0, 1000)])
    assert poll_until([reader], lambda got: got)[0].offset() == 0
    reader.close()


def test_topics_are_made_on_demand(admin):
    made = name("auto")
    produce(made, [b"first"])
    assert [m.value() for m in read_all(made, 1)] == [b"first"]
    done(admin.delete_topics([made]))


def test_topics_of_namespaces_are_made(admin):
    """A topic `namespace.name` is the stream `name` of that namespace; a name that cannot be one is refused, and a producer sees it."""
    namespace = name("ns")
    made, on_demand = f"{namespace}.orders-v1", f"{namespace}.events"
    done(admin.create_topics([NewTopic(made, 2, 1)]))
    produce(on_demand, [b"first"])
    topics = admin.list_topics(timeout=PATIENCE_S).topics
    assert [len(topics[t].partitions) for t in (made, on_demand)] == [2, 1]
    assert [m.value() for m in read_all(on_demand, 1)] == [b"first"]

    wrong = f"{namespace}.orders.v1"
    with pytest.raises(KafkaException, match="more than one dot") as refused:
        done(admin.create_topics([NewTopic(wrong, 1, 1)]))
    assert refused.value.args[0].code() == KafkaError.TOPIC_EXCEPTION
    errors = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "message.timeout.ms": 30_000})
    try:
        producer.produce(wrong, b"x", on_delivery=lambda error, _: errors.append(error))
        assert producer.flush(PATIENCE_S) == 0
    except KafkaException as e:
        # It knows that at once.
        errors.append(e.args[0])
    assert errors[0].code() == KafkaError.TOPIC_EXCEPTION, errors
    done(admin.delete_topics([made, on_demand]))


def test_consuming_does_not_make_topics(admin):
    missing = name("missing")
    reader = consumer()
    reader.subscribe([missing])
    message = None
    deadline = time.monotonic() + PATIENCE_S
    while message is None and time.monotonic() < deadline:
        message = reader.poll(0.2)
    reader.close()
    assert message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART


# Offsets


def test_watermarks_and_offsets_by_time(admin, topic):
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "batch.num.messages": 1})
    for i in range(10):
        producer.produce(topic, str(i).encode(), partition=0, timestamp=1_000_000 + i * 1000)
        producer.flush(PATIENCE_S)
    reader = consumer()
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (0, 10)

    def at(ms):
        return reader.offsets_for_times([TopicPartition(topic, 0, ms)], PATIENCE_S)[0].offset

    assert at(0) == 0
    assert at(1_003_000) == 3
    assert at(1_003_001) == 4
    # Nothing is that late: librdkafka gives "the end".
    assert at(2_000_000) == -1
    reader.close()

    part = TopicPartition(topic, 0)
    offsets = {
        spec: admin.list_offsets({part: spec})[part].result(PATIENCE_S)
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.max_timestamp())
    }
    assert [(o.offset, o.timestamp) for o in offsets.values()] == [(0, -1), (10, -1), (9, 1_009_000)]


def test_committed_offsets_stay(topic):
    group = name("g")
    produce(topic, [b"a", b"b", b"c", b"d"], partition=0)
    first = consumer(group)
    first.subscribe([topic])
    poll_until([first], lambda got: len(got) >= 4)
    first.commit(offsets=[TopicPartition(topic, 0, 2, metadata="two read")], asynchronous=False)
    first.close()

    second = consumer(group)
    committed = second.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], PATIENCE_S)
    assert [(c.offset, c.metadata) for c in committed][0] == (2, "two read")
    assert committed[1].offset == -1001
    second.subscribe([topic])
    assert [m.value() for m in poll_until([second], lambda got: len(got) >= 2)] == [b"c", b"d"]
    second.close()


# Groups


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_two_members_share_and_one_takes_over(topic, strategy):
    group, config = name("g"), {"partition.assignment.strategy": strategy}
    left, right = consumer(group, **config), consumer(group, **config)
    for each in (left, right):
        each.subscribe([topic])
    deadline = time.monotonic() + PATIENCE_S
    shares = []
    while sorted(shares) != [1, 2] and time.monotonic() < deadline:
        left.poll(0.1)
        right.poll(0.1)
        shares = [len(left.assignment()), len(right.assignment())]
    assert sorted(shares) == [1, 2]
    parts = {p.partition for p in left.assignment() + right.assignment()}
    assert parts == {0, 1, 2}

    for p in range(3):
        produce(topic, [f"{p}-{i}".encode() for i in range(10)], partition=p)
    got = poll_until([left, right], lambda got: len(got) >= 30)
    assert len({m.value() for m in got}) == 30
    left.commit(asynchronous=False)
    right.commit(asynchronous=False)

    left.close()
    deadline = time.monotonic() + PATIENCE_S
    while len(right.assignment()) != 3 and time.monotonic() < deadline:
        message = right.poll(0.1)
        assert message is None or message.error(), "nothing is read twice after a clean handover"
    assert len(right.assignment()) == 3
    produce(topic, [b"after"], partition=0)
    produce(topic, [b"after"], partition=1)
    produce(topic, [b"after"], partition=2)
    after = poll_until([right], lambda got: len(got) >= 3)
    assert [m.value() for m in after] == [b"after"] * 3
    right.close()


def test_static_members_keep_their_share(topic):
    group = name("g")

    def member(instance):
        made = consumer(group, **{"group.instance.id": instance})
        made.subscribe([topic])
        return made

    def settle(members):
        deadline = time.monotonic() + PATIENCE_S
        while sum(len(m.assignment()) for m in members) != 3 or not all(m.assignment() for m in members):
            assert time.monotonic() < deadline
            for m in members:
                m.poll(0.1)
        return [{p.partition for p in m.assignment()} for m in members]

    a, b = member("a"), member("b")
    before = settle([a, b])
    b.close()
    b = member("b")
    assert settle([a, b]) == before
    a.close()
    b.close()


def test_groups_are_listed_described_and_deleted(admin, topic):
    group = name("g")
    produce(topic, [b"x"], partition=0)
    member = consumer(group, **{"client.id": "the-client"})
    member.subscribe([topic])
    poll_until([member], lambda got: got)
    member.commit(asynchronous=False)

    listed = admin.list_consumer_groups(request_timeout=PATIENCE_S).result()
    assert group in {g.group_id for g in listed.valid}
    described = done(admin.describe_consumer_groups([group]))[group]
    assert described.state.name == "STABLE"
    assert [m.client_id for m in described.members] == ["the-client"]
    assert len(described.members[0].assignment.topic_partitions) == 3
    with pytest.raises(KafkaException, match="NON_EMPTY_GROUP|not empty"):
        done(admin.delete_consumer_groups([group]))

    member.close()
    wanted = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])]
    assert done(admin.list_consumer_group_offsets(wanted))[group].topic_partitions[0].offset == 1
    moved = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])]
    done(admin.alter_consumer_group_offsets(moved))
    assert done(admin.list_consumer_group_offsets(wanted))[group].topic_partitions[0].offset == 0
    done(admin.delete_consumer_groups([group]))
    listed = admin.list_consumer_groups(request_timeout=PATIENCE_S).result()
    assert group not in {g.group_id for g in listed.valid}


# Administration


def test_topics_are_made_described_grown_and_deleted(admin):
    made = name("admin")
    done(admin.create_topics([NewTopic(made, 2, 3, config={"retention.ms": "3600000"})]))
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        done(admin.create_topics([NewTopic(made, 2, 1)]))
    described = admin.list_topics(timeout=PATIENCE_S).topics[made]
    assert sorted(described.partitions) == [0, 1]
    assert all(len(p.replicas) == 1 and p.isrs == p.replicas for p in described.partitions.values())

    done(admin.create_partitions([NewPartitions(made, 5)]))
    assert len(admin.list_topics(timeout=PATIENCE_S).topics[made].partitions) == 5
    with pytest.raises(KafkaException, match="INVALID_PARTITIONS"):
        done(admin.create_partitions([NewPartitions(made, 3)]))
    produce(made, [b"new partition"], partition=4)

    done(admin.delete_topics([made]))
    assert made not in admin.list_topics(timeout=PATIENCE_S).topics
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
        done(admin.delete_topics([made]))


@pytest.mark.parametrize(
    ("topic_name", "partitions", "config", "error"),
    [
        ("no/slashes", 1, {}, "TOPIC_EXCEPTION"),
        (None, 0, {}, "INVALID_PARTITIONS"),
        (None, 1, {"no.such.setting": "1"}, "INVALID_CONFIG"),
        (None, 1, {"retention.ms": "soon"}, "INVALID_CONFIG"),
    ],
)
def test_impossible_topics_are_refused(admin, topic_name, partitions, config, error):
    asked = NewTopic(topic_name or name("bad"), partitions, 1, config=config)
    with pytest.raises(KafkaException, match=error):
        done(admin.create_topics([asked]))


def test_settings_of_topics(admin, topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)

    def settings():
        return done(admin.describe_configs([resource]))[resource]

    before = settings()
    assert before["cleanup.policy"].value == "delete"
    assert before["max.message.bytes"].is_default
    change = ConfigEntry("max.message.bytes", "2000000", incremental_operation=AlterConfigOpType.SET)
    done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])]))
    after = settings()["max.message.bytes"]
    assert (after.value, after.is_default) == ("2000000", False)
    produce(topic, [b"x" * 1_500_000], partition=0, **{"message.max.bytes": 3_000_000})
    change = ConfigEntry("max.message.bytes", None, incremental_operation=AlterConfigOpType.DELETE)
    done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])]))
    assert settings()["max.message.bytes"].is_default
    change = ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)
    with pytest.raises(KafkaException, match="INVALID_CONFIG"):
        done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])]))


def test_settings_of_the_broker(admin):
    cluster = admin.describe_cluster().result(PATIENCE_S)
    assert cluster.cluster_id
    assert len(cluster.nodes) == 1
    resource = ConfigResource(ResourceType.BROKER, str(cluster.nodes[0].id))
    settings = done(admin.describe_configs([resource]))[resource]
    assert settings["default.replication.factor"].value == "1"
    assert settings["message.max.bytes"].is_read_only


def test_records_are_deleted(admin, topic):
    produce(topic, [str(i).encode() for i in range(10)], partition=0, **{"batch.num.messages": 1})
    part = TopicPartition(topic, 0, 6)
    assert done(admin.delete_records([part]))[part].low_watermark == 6
    assert [m.value() for m in read_all(topic, 4)] == [b"6", b"7", b"8", b"9"]


def test_transactions_are_refused_clearly(topic):
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": name("tx")})
    with pytest.raises(KafkaException):
        producer.init_transactions(20)


# Bad clients


def test_garbage_ends_only_its_own_connection(topic):
    host, port = BOOTSTRAP.rsplit(":", 1)
    reader = consumer()
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    junk = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        struct.pack(">i", -1),
        struct.pack(">ihhih", 10, 3, 1, 1, -1) + b"\x7f\xff\xff\xff",
        struct.pack(">ihhih", 10, 77, 0, 1, -1) + bytes(4),
        os.urandom(4096),
    ]
    for bytes_ in junk:
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as bad:
            bad.sendall(bytes_)
            bad.shutdown(socket.SHUT_WR)
            try:
                assert bad.recv(1) == b""
            except ConnectionResetError:
                pass
    produce(topic, [b"still here"], partition=0)
    assert poll_until([reader], lambda got: got)[0].value() == b"still here"
    reader.close()


# kcat

KCAT = shutil.which("kcat") or shutil.which("kafkacat")


@pytest.mark.skipif(KCAT is None, reason="kcat is not installed")
def test_kcat(topic):
    def kcat(*args, **more):
        command = [KCAT, "-b", BOOTSTRAP, *args]
        return subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S, **more).stdout

    kcat("-P", "-t", topic, "-p", "1", "-K", ":", "-z", "lz4", input=b"k1:one\nk2:two\n")
    assert kcat("-C", "-t", topic, "-p", "1", "-e", "-q", "-f", "%o %k %s\n") == b"0 k1 one\n1 k2 two\n"
    assert topic.encode() in kcat("-L")
    group = name("g")
    assert sorted(kcat("-G", group, "-q", "-e", "-X", "auto.offset.reset=earliest", topic).split()) == [b"one", b"two"]
