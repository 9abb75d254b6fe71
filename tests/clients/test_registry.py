"""The Confluent client and serializers against the built-in schema registry.

    FLEUVE_REGISTRY=localhost:8081 [FLEUVE_KAFKA=localhost:9092] pytest test_registry.py

Needs `confluent-kafka[avro,schemaregistry]` and `pytest`. Without a Kafka address, only what the registry does by itself is tested.
"""

import io
import json
import os
import struct
import time
import uuid

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    ServerConfig,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext
from fastavro import schemaless_reader

KAFKA = os.environ.get("FLEUVE_KAFKA")
PATIENCE_S = 60

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": "id", "type": "long"}, {"name": "customer", "type": "string"}],
}
WITH_NOTE = {**ORDER, "fields": ORDER["fields"] + [{"name": "note", "type": ["null", "string"], "default": None}]}
WITHOUT_DEFAULT = {**ORDER, "fields": ORDER["fields"] + [{"name": "note", "type": "string"}]}


@pytest.fixture(scope="module")
def client():
    address = os.environ.get("FLEUVE_REGISTRY", "localhost:8081")
    return SchemaRegistryClient({"url": address if "://" in address else f"http://{address}"})


@pytest.fixture
def topic():
    return f"orders-{uuid.uuid4().hex[:12]}"


def avro(schema, references=()):
    return Schema(json.dumps(schema), "AVRO", list(references))


def context(topic):
    return SerializationContext(topic, MessageField.VALUE)


def test_serializer_registers_and_deserializer_resolves(client, topic):
    serialize = AvroSerializer(client, json.dumps(ORDER))
    record = {"id": 7, "customer": "Zoë"}
    data = serialize(record, context(topic))

    magic, schema_id = struct.unpack(">bI", data[:5])
    assert magic == 0
    assert schemaless_reader(io.BytesIO(data[5:]), ORDER, None) == record
    assert json.loads(client.get_schema(schema_id).schema_str)["name"] == "Order"
    assert AvroDeserializer(client)(data, context(topic)) == record
    assert client.get_latest_version(f"{topic}-value").schema_id == schema_id


def test_a_reader_with_a_newer_schema_reads_older_data(client, topic):
    old = AvroSerializer(client, json.dumps(ORDER))({"id": 1, "customer": "a"}, context(topic))
    new = AvroSerializer(client, json.dumps(WITH_NOTE))({"id": 2, "customer": "b", "note": "n"}, context(topic))
    assert old[1:5] != new[1:5]
    read = AvroDeserializer(client, json.dumps(WITH_NOTE))
    assert read(old, context(topic)) == {"id": 1, "customer": "a", "note": None}
    assert read(new, context(topic)) == {"id": 2, "customer": "b", "note": "n"}


def test_a_serializer_with_an_incompatible_schema_is_refused(client, topic):
    AvroSerializer(client, json.dumps(ORDER))({"id": 1, "customer": "a"}, context(topic))
    with pytest.raises(SchemaRegistryError) as refused:
        AvroSerializer(client, json.dumps(WITHOUT_DEFAULT))({"id": 1, "customer": "a", "note": "n"}, context(topic))
    assert (refused.value.http_status_code, refused.value.error_code) == (409, 409)
    assert "note" in refused.value.error_message


def test_a_serializer_without_auto_registration(client, topic):
    settings = {"auto.register.schemas": False}
    serialize = AvroSerializer(client, json.dumps(ORDER), conf=settings)
    with pytest.raises(SchemaRegistryError) as refused:
        serialize({"id": 1, "customer": "a"}, context(topic))
    assert refused.value.error_code == 40401
    schema_id = client.register_schema(f"{topic}-value", avro(ORDER))
    data = serialize({"id": 1, "customer": "a"}, context(topic))
    assert struct.unpack(">bI", data[:5]) == (0, schema_id)

    latest = AvroSerializer(client, conf={"auto.register.schemas": False, "use.latest.version": True})
    assert latest({"id": 1, "customer": "a"}, context(topic)) == data


def test_ids_are_those_of_schemas_not_of_spellings(client, topic):
    first = client.register_schema(f"{topic}-a", avro(ORDER))
    spelled = json.dumps(dict(reversed(ORDER.items())), indent=4)
    assert client.register_schema(f"{topic}-b", Schema(spelled, "AVRO")) == first
    assert client.lookup_schema(f"{topic}-b", Schema(spelled, "AVRO")).version == 1
    assert client.get_version(f"{topic}-b", 1).schema_id == first


def test_references(client, topic):
    money = {"type": "record", "name": "Money", "namespace": "shop", "fields": [{"name": "cents", "type": "long"}]}
    priced = {**ORDER, "fields": ORDER["fields"] + [{"name": "price", "type": "shop.Money"}]}
    client.register_schema(f"{topic}-money", avro(money))
    schema = avro(priced, [SchemaReference("shop.Money", f"{topic}-money", 1)])
    record = {"id": 1, "customer": "a", "price": {"cents": 199}}
    data = AvroSerializer(client, schema)(record, context(topic))
    assert AvroDeserializer(client)(data, context(topic)) == record
    with pytest.raises(SchemaRegistryError) as refused:
        client.delete_subject(f"{topic}-money")
    assert refused.value.error_code == 42206


def test_compatibility_levels(client, topic):
    subject = f"{topic}-value"
    client.register_schema(subject, avro(ORDER))
    assert client.get_compatibility() == "BACKWARD"
    assert client.test_compatibility(subject, avro(WITH_NOTE))
    assert not client.test_compatibility(subject, avro(WITHOUT_DEFAULT))
    client.set_compatibility(subject, "FORWARD")
    assert client.get_compatibility(subject) == "FORWARD"
    assert client.test_compatibility(subject, avro(WITHOUT_DEFAULT))
    client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.NONE))
    assert client.register_schema(subject, avro("string")) > 0
    assert client.get_versions(subject) == [1, 2]
    with pytest.raises(SchemaRegistryError) as refused:
        client.set_compatibility(subject, "SIDEWAYS")
    assert refused.value.error_code == 42203


def test_deletion_and_lists(client, topic):
    subject = f"{topic}-value"
    client.register_schema(subject, avro(ORDER))
    client.register_schema(subject, avro(WITH_NOTE))
    assert subject in client.get_subjects()
    assert client.delete_version(subject, 1) == 1
    assert client.get_versions(subject) == [2]
    assert client.delete_subject(subject) == [2]
    assert subject not in client.get_subjects()
    assert client.delete_subject(subject, permanent=True) == [1, 2]
    with pytest.raises(SchemaRegistryError) as refused:
        client.get_versions(subject)
    assert refused.value.error_code == 40401


def test_nonsense_is_refused(client, topic):
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema(f"{topic}-value", Schema('{"type": "recor"}', "AVRO"))
    assert (refused.value.http_status_code, refused.value.error_code) == (422, 42201)
    with pytest.raises(SchemaRegistryError) as refused:
        client.get_schema(2_000_000_000)
    assert (refused.value.http_status_code, refused.value.error_code) == (404, 40403)


def until(server, query, rows):
    deadline = time.monotonic() + PATIENCE_S
    while (found := server.rows(query)) != rows:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def produce(kafka, topic, value):
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic, value)
    assert producer.flush(PATIENCE_S) == 0


def test_records_outlive_their_schema(own_server):
    """What is deleted for good is gone for clients; records that name it stay rows for views and queries, through a crash, too."""
    client = SchemaRegistryClient({"url": own_server.registry})
    own_server.sql("CREATE STREAM kept (id BIGINT, customer TEXT) WITH (format = 'avro')")
    question = "SELECT count(*) AS n, min(customer) AS customer FROM kept"
    own_server.sql(f"CREATE MATERIALIZED VIEW counted AS {question}")
    written = AvroSerializer(client, json.dumps(ORDER))({"id": 7, "customer": "Zoë"}, context("kept"))
    produce(own_server.kafka, "kept", written)
    until(own_server, "SELECT * FROM counted", [[1, "Zoë"]])
    client.delete_subject("kept-value")
    client.delete_subject("kept-value", permanent=True)
    for crash in (False, True):
        if crash:
            own_server.kill()
            own_server.start()
        client = SchemaRegistryClient({"url": own_server.registry})
        assert client.get_subjects(deleted=True) == []
        with pytest.raises(SchemaRegistryError) as refused:
            client.get_schema(struct.unpack(">bI", written[:5])[1])
        assert (refused.value.http_status_code, refused.value.error_code) == (404, 40403)
        assert own_server.rows("SELECT * FROM counted") == own_server.rows(question) == [[1, "Zoë"]]
        own_server.run("verify")
    own_server.sql(f"CREATE MATERIALIZED VIEW built_later AS {question}")
    # The same schema comes back under another id, and both kinds of records are rows.
    again = AvroSerializer(client, json.dumps(ORDER))({"id": 8, "customer": "Ada"}, context("kept"))
    assert again[1:5] != written[1:5]
    produce(own_server.kafka, "kept", again)
    for view in ("counted", "built_later"):
        until(own_server, f"SELECT * FROM {view}", [[2, "Ada"]])
    assert own_server.rows("SELECT count(*) FROM kept__dead") == [[0]]


def test_insert_beside_a_producer_that_named_its_record(server, client):
    stream = f"named_{uuid.uuid4().hex[:10]}"
    server.sql(f"CREATE STREAM {stream} (id BIGINT, customer TEXT) WITH (format = 'avro')")
    value = AvroSerializer(client, json.dumps(ORDER))({"id": 1, "customer": "a"}, context(stream))
    produce(server.kafka, stream, value)
    server.sql(f"INSERT INTO {stream} VALUES (2, 'b')")
    latest = client.get_latest_version(f"{stream}-value")
    assert latest.version == 2 and "Order" in json.loads(latest.schema.schema_str)["name"]
    until(server, f"SELECT id, customer FROM {stream} ORDER BY id", [[1, "a"], [2, "b"]])


def test_an_insert_whose_schema_does_not_fit_says_what_to_do(server, client):
    stream = f"refused_{uuid.uuid4().hex[:10]}"
    client.register_schema(f"{stream}-value", avro(ORDER))
    server.sql(f"CREATE STREAM {stream} (id TEXT, customer BIGINT) WITH (format = 'avro')")
    with psycopg.connect(os.environ["FLEUVE_POSTGRES_URL"], autocommit=True) as connection:
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(f"INSERT INTO {stream} VALUES ('x', 2)")
    said = refused.value.diag
    assert "BACKWARD" in said.message_primary and "at /id" in said.message_primary
    assert len(said.message_primary) < 500
    assert f"PUT /config/{stream}-value" in said.message_hint


@pytest.mark.skipif(not KAFKA, reason="FLEUVE_KAFKA is not set")
def test_avro_records_through_kafka(client, topic):
    admin = AdminClient({"bootstrap.servers": KAFKA})
    for created in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        created.result(PATIENCE_S)
    serialize = AvroSerializer(client, json.dumps(ORDER))
    sent = [{"id": n, "customer": f"c{n % 7}"} for n in range(200)]
    producer = Producer({"bootstrap.servers": KAFKA})
    for record in sent:
        producer.produce(topic, serialize(record, context(topic)))
    assert producer.flush(PATIENCE_S) == 0

    deserialize = AvroDeserializer(client)
    consumer = Consumer({"bootstrap.servers": KAFKA, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    received, until = [], time.monotonic() + PATIENCE_S
    while len(received) < len(sent) and time.monotonic() < until:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            received.append(deserialize(message.value(), context(topic)))
    consumer.close()
    assert received == sent
