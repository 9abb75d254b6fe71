use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use fleuve_kafka::{KafkaOptions, NewTopic, Topics};
use fleuve_log::batch::ProducerSequence;
use fleuve_types::ObjectId;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, InitProducerIdRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    TransactionalId,
};
use uuid::Uuid;

use crate::client::{Client, Server, batch, batch_at, sequenced, text, topic};
use crate::run;

pub(crate) async fn new_topic(server: &Server, name: &str, partitions: u32) -> ObjectId {
    let new = NewTopic { name: name.into(), partitions, configs: BTreeMap::new() };
    server.topics.create(new, false).await.unwrap().id
}

impl Server {
    pub(crate) fn id(&self, name: &str) -> ObjectId {
        self.topics.by_name(name).unwrap().id
    }
}

pub(crate) fn produce(acks: i16, name: &str, partition: i32, records: Bytes) -> ProduceRequest {
    let part = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![part]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![data])
}

pub(crate) fn fetch(name: &str, partition: i32, offset: i64, wait_ms: i32) -> FetchRequest {
    let part =
        FetchPartition::default().with_partition(partition).with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(topic(name)).with_partitions(vec![part])])
}

async fn put(client: &mut Client, name: &str, partition: i32, records: Bytes) -> (i16, i64) {
    let answer = client.ask(9, &produce(-1, name, partition, records)).await;
    let part = &answer.responses[0].partition_responses[0];
    (part.error_code, part.base_offset)
}

#[test]
fn batches_come_back_as_they_were_sent() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 2).await;
        let mut client = server.client().await;
        let sent = batch(&["a", "b", "c"]);
        assert_eq!(put(&mut client, "t", 1, sent.clone()).await, (0, 0));
        assert_eq!(put(&mut client, "t", 1, sent.clone()).await, (0, 3));
        for version in 4..=12 {
            let answer = client.ask(version, &fetch("t", 1, 1, 0)).await;
            let part = &answer.responses[0].partitions[0];
            assert_eq!((part.error_code, part.high_watermark), (0, 6));
            let got = part.records.clone().unwrap();
            // The first batch holds offset 1; the base offset and the leader epoch before the checksum are the log's.
            assert_eq!(got.len(), sent.len() * 2);
            assert_eq!(got[16..sent.len()], sent[16..]);
            assert_eq!(got.slice(sent.len()..).get_i64(), 3);
        }
    });
}

#[test]
fn a_timestamp_in_another_unit_is_refused() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let answer = client.ask(9, &produce(-1, "t", 0, batch_at("a", 1_790_000_000_000_000_000))).await;
        let part = &answer.responses[0].partition_responses[0];
        assert_eq!((part.error_code, part.base_offset), (32, -1));
        let message = part.error_message.as_ref().unwrap();
        assert!(message.ends_with("is it in nanoseconds?"), "{message:?}");
        assert_eq!(put(&mut client, "t", 0, batch_at("a", 1_790_000_000_000)).await, (0, 0));
    });
}

#[test]
fn topics_are_named_by_id_in_newer_versions() {
    run(async {
        let server = Server::start().await;
        let id = Uuid::from_u128(new_topic(&server, "t", 1).await.0);
        let mut client = server.client().await;
        let mut request = produce(1, "", 0, batch(&["a"]));
        request.topic_data[0].topic_id = id;
        let answer = client.ask(13, &request).await;
        assert_eq!((answer.responses[0].topic_id, answer.responses[0].partition_responses[0].error_code), (id, 0));
        let mut request = fetch("", 0, 0, 0);
        for version in 13..=17 {
            request.topics[0].topic_id = id;
            let answer = client.ask(version, &request).await;
            assert_eq!(answer.responses[0].topic_id, id);
            assert!(!answer.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
            request.topics[0].topic_id = Uuid::from_u128(99);
            let answer = client.ask(version, &request).await;
            assert_eq!(answer.responses[0].partitions[0].error_code, 100);
        }
    });
}

#[test]
fn nothing_to_read_is_empty_bytes_and_not_null() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        for version in 4..=12 {
            let answer = client.ask(version, &fetch("t", 0, 0, 10)).await;
            assert_eq!(answer.responses[0].partitions[0].records, Some(Bytes::new()));
        }
    });
}

#[test]
fn a_fetch_waits_for_the_first_record() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        new_topic(&server, "other", 1).await;
        let (mut reader, mut writer) = (server.client().await, server.client().await);
        // Only the record can end this in time.
        let id = reader.send(12, &fetch("t", 0, 0, 600_000)).await;
        put(&mut writer, "other", 0, batch(&["no"])).await;
        put(&mut writer, "t", 0, batch(&["yes"])).await;
        let answer = reader.take::<FetchRequest>(12, id).await;
        assert!(!answer.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    });
}

#[test]
fn limits_in_bytes_hold_but_one_batch_always_comes() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 3).await;
        let mut client = server.client().await;
        let one = batch(&[&"x".repeat(1000)]);
        for partition in 0..3 {
            for _ in 0..4 {
                put(&mut client, "t", partition, one.clone()).await;
            }
        }
        let sizes = async |client: &mut Client, partition_max: usize, max: usize| {
            let mut request = fetch("t", 0, 0, 0).with_max_bytes(max as i32);
            let parts = (0..3)
                .map(|p| FetchPartition::default().with_partition(p).with_partition_max_bytes(partition_max as i32));
            request.topics[0].partitions = parts.collect();
            let answer = client.ask(12, &request).await;
            let parts = answer.responses[0].partitions.iter();
            parts.map(|p| p.records.as_ref().unwrap().len() / one.len()).collect::<Vec<_>>()
        };
        let all = one.len() * 100;
        assert_eq!(sizes(&mut client, all, all).await, [4, 4, 4]);
        assert_eq!(sizes(&mut client, one.len() * 2, all).await, [2, 2, 2]);
        assert_eq!(sizes(&mut client, 1, 1).await, [1, 0, 0]);
        assert_eq!(sizes(&mut client, all, one.len() * 5).await, [4, 1, 0]);
        assert_eq!(sizes(&mut client, 0, 0).await, [1, 0, 0]);
    });
}

#[test]
fn clients_that_take_nothing_leave_memory_for_others() {
    run(async {
        let options = KafkaOptions { fetch_memory_bytes: 1 << 20, ..KafkaOptions::default() };
        let server = Server::with(options).await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let one = batch(&[&"x".repeat(100_000)]);
        for _ in 0..30 {
            put(&mut client, "t", 0, one.clone()).await;
        }
        let mut lazy = Vec::new();
        for _ in 0..50 {
            let mut reader = server.client().await;
            reader.send(12, &fetch("t", 0, 0, 0).with_max_bytes(50 << 20)).await;
            lazy.push(reader);
        }
        // Everything is read, in small pieces.
        let mut offset = 0;
        while offset < 30 {
            let answer = client.ask(12, &fetch("t", 0, offset, 0)).await;
            let got = answer.responses[0].partitions[0].records.as_ref().unwrap().len() / one.len();
            assert!(got >= 1);
            offset += got as i64;
        }
        drop(lazy);
    });
}

#[test]
fn offsets_that_are_not_there() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let code = async |client: &mut Client, request: FetchRequest| {
            let answer = client.ask(12, &request).await;
            answer.responses[0].partitions[0].error_code
        };
        assert_eq!(code(&mut client, fetch("t", 0, 1, 60_000)).await, 1);
        assert_eq!(code(&mut client, fetch("t", 0, -1, 60_000)).await, 1);
        assert_eq!(code(&mut client, fetch("t", 1, 0, 60_000)).await, 3);
        assert_eq!(code(&mut client, fetch("t", -1, 0, 60_000)).await, 3);
        assert_eq!(code(&mut client, fetch("missing", 0, 0, 60_000)).await, 3);
        let mut newer = fetch("t", 0, 0, 60_000);
        newer.topics[0].partitions[0].current_leader_epoch = 5;
        assert_eq!(code(&mut client, newer).await, 75);
        let answer = client.ask(12, &fetch("t", 0, 0, 0).with_session_id(7).with_session_epoch(1)).await;
        assert_eq!(answer.error_code, 70);
    });
}

#[test]
fn what_cannot_be_appended_is_refused_in_the_right_words() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        assert_eq!(put(&mut client, "t", 1, batch(&["a"])).await, (3, -1));
        assert_eq!(put(&mut client, "missing", 0, batch(&["a"])).await, (3, -1));
        assert_eq!(put(&mut client, "t", 0, Bytes::new()).await.0, 87);
        let mut broken = batch(&["a"]).to_vec();
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(put(&mut client, "t", 0, broken.into()).await.0, 2);
        assert_eq!(put(&mut client, "t", 0, batch(&[&"x".repeat(2_000_000)])).await.0, 10);
        let answer = client.ask(9, &produce(2, "t", 0, batch(&["a"]))).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 21);
        let transactional = produce(1, "t", 0, batch(&["a"])).with_transactional_id(Some(TransactionalId(text("x"))));
        let answer = client.ask(9, &transactional).await;
        let part = &answer.responses[0].partition_responses[0];
        assert_ne!(part.error_code, 0);
        assert!(part.error_message.as_ref().unwrap().contains("transactions"));
        assert_eq!(put(&mut client, "t", 0, batch(&["a"])).await, (0, 0));
    });
}

#[test]
fn produce_before_record_batches_is_refused_in_its_own_layout() {
    run(async {
        let server = Server::start().await;
        let mut client = server.client().await;
        for version in 0..3_u8 {
            let body = [
                &[0, 0, 0, version, 0, 0, 0, 9, 0xff, 0xff][..],
                &[0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0],
            ]
            .concat();
            let mut out = (body.len() as u32).to_be_bytes().to_vec();
            out.extend(body);
            tokio::io::AsyncWriteExt::write_all(&mut client.stream, &out).await.unwrap();
            let mut frame = client.frame().await.unwrap();
            assert_eq!(frame.get_i32(), 9);
            assert_eq!(frame.split_to(11).as_ref(), [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1]);
            assert_eq!((frame.get_i32(), frame.get_i16(), frame.get_i64()), (4, 35, -1));
            assert_eq!(frame.remaining(), [0, 4, 12][version as usize]);
        }
    });
}

#[test]
fn an_idempotent_producer_may_send_twice() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let answer = client.ask(4, &InitProducerIdRequest::default().with_transactional_id(None)).await;
        let (producer_id, epoch) = (answer.producer_id.0, answer.producer_epoch);
        assert!(producer_id >= 0);
        let again = client.ask(0, &InitProducerIdRequest::default().with_transactional_id(None)).await;
        assert_ne!(again.producer_id.0, producer_id);
        let sequence = |base_sequence| ProducerSequence { producer_id, epoch, base_sequence };
        let first = sequenced(&["a", "b"], sequence(0));
        assert_eq!(put(&mut client, "t", 0, first.clone()).await, (0, 0));
        assert_eq!(put(&mut client, "t", 0, sequenced(&["c"], sequence(2))).await, (0, 2));
        assert_eq!(put(&mut client, "t", 0, first).await, (0, 0));
        assert_eq!(put(&mut client, "t", 0, sequenced(&["e"], sequence(5))).await.0, 45);
        assert_eq!(server.log.offsets(server.id("t"), 0), Some((0, 3)));
        let transactional = InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text("x"))));
        assert_eq!(client.ask(4, &transactional).await.error_code, 53);
    });
}

#[test]
fn offsets_by_place_and_by_time() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let ask = async |client: &mut Client, version: i16, timestamp: i64| {
            let part = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
            let asked = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![part]);
            let answer = client.ask(version, &ListOffsetsRequest::default().with_topics(vec![asked])).await;
            let part = &answer.topics[0].partitions[0];
            (part.error_code, part.offset, part.timestamp)
        };
        assert_eq!(ask(&mut client, 7, -3).await, (0, -1, -1));
        put(&mut client, "t", 0, batch(&["a", "b", "c"])).await;
        put(&mut client, "t", 0, batch(&["d", "e"])).await;
        for version in 1..=10 {
            assert_eq!(ask(&mut client, version, -2).await, (0, 0, -1));
            assert_eq!(ask(&mut client, version, -1).await, (0, 5, -1));
            assert_eq!(ask(&mut client, version, 1001).await, (0, 1, 1001));
            assert_eq!(ask(&mut client, version, 2000).await, (0, -1, -1));
        }
        assert_eq!(ask(&mut client, 7, -3).await, (0, 2, 1002));
        assert_eq!(ask(&mut client, 8, -4).await, (0, 0, -1));
        assert_eq!(ask(&mut client, 1, -3).await.0, 35);
    });
}

#[test]
fn there_is_one_epoch() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        put(&mut client, "t", 0, batch(&["a", "b"])).await;
        let ask = async |client: &mut Client, epoch: i32| {
            let part = OffsetForLeaderPartition::default().with_leader_epoch(epoch).with_current_leader_epoch(0);
            let asked = OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(vec![part]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![asked]);
            let answer = client.ask(4, &request).await;
            let part = &answer.topics[0].partitions[0];
            (part.error_code, part.leader_epoch, part.end_offset)
        };
        assert_eq!(ask(&mut client, 0).await, (0, 0, 2));
        assert_eq!(ask(&mut client, 1).await, (0, -1, -1));
    });
}
