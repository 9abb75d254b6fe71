use std::time::Duration;

use bytes::Buf;
use fleuve_kafka::KafkaOptions;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, MetadataRequest, ProduceRequest,
};
use kafka_protocol::protocol::Decodable;
use tokio::io::AsyncWriteExt;

use crate::client::{Client, Server, batch, topic};
use crate::records::{fetch, new_topic, produce};
use crate::run;

async fn alive(client: &mut Client) {
    let answer = client.ask(4, &ApiVersionsRequest::default()).await;
    assert_eq!(answer.error_code, 0);
}

#[test]
fn api_versions_in_every_version() {
    run(async {
        let server = Server::start().await;
        let mut client = server.client().await;
        for version in 0..=4 {
            let answer = client.ask(version, &ApiVersionsRequest::default()).await;
            let find = |key| answer.api_keys.iter().find(|k| k.api_key == key);
            // librdkafka compresses nothing without Produce 0, and knows no groups without JoinGroup 0.
            assert_eq!(find(0).unwrap().min_version, 0);
            assert_eq!(find(11).unwrap().min_version, 0);
            for absent in [24, 25, 26, 28, 68, 71, 72] {
                assert!(find(absent).is_none(), "{absent}");
            }
        }
    });
}

#[test]
fn a_newer_api_versions_is_answered_in_version_0() {
    run(async {
        let server = Server::start().await;
        let mut client = server.client().await;
        // Header version 2 with an empty client id, no tags, and a body that nobody can know.
        client.stream.write_all(&[0, 0, 0, 14, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 1, 2, 3]).await.unwrap();
        let mut frame = client.frame().await.unwrap();
        assert_eq!(frame.get_i32(), 7);
        let answer = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
        assert_eq!(answer.error_code, 35);
        assert!(!answer.api_keys.is_empty());
        alive(&mut client).await;
    });
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    run(async {
        let server = Server::start().await;
        let mut good = server.client().await;
        alive(&mut good).await;
        let junk: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0x16, 3, 1, 2, 0, 1],
            &[0xff; 64],
            // An API that is not there; Metadata 99; Metadata 1 with 2^31-1 topics; a frame of nothing.
            &[0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
            &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff],
            &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0],
        ];
        for bytes in junk {
            let mut bad = server.client().await;
            bad.stream.write_all(bytes).await.unwrap();
            assert!(bad.closed().await, "{bytes:?}");
        }
        alive(&mut good).await;
        assert_eq!(server.counters.snapshot().malformed, junk.len() as u64);
    });
}

#[test]
fn what_came_before_garbage_is_answered() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let id = client.send(9, &produce(1, "t", 0, batch(&["a"]))).await;
        client.stream.write_all(&[0xff; 8]).await.unwrap();
        let answer = client.take::<ProduceRequest>(9, id).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        assert!(client.closed().await);
    });
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let mut produced = Vec::new();
        for i in 0..50 {
            produced.push(client.send(9, &produce(1, "t", 0, batch(&[&format!("{i}")]))).await);
        }
        let asked = client.send(1, &MetadataRequest::default().with_topics(Some(Vec::new()))).await;
        let later = client.send(9, &produce(1, "t", 0, batch(&["last"]))).await;
        for (offset, id) in produced.into_iter().enumerate() {
            let answer = client.take::<ProduceRequest>(9, id).await;
            assert_eq!(answer.responses[0].partition_responses[0].base_offset, offset as i64);
        }
        client.take::<MetadataRequest>(1, asked).await;
        let answer = client.take::<ProduceRequest>(9, later).await;
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, 50);
    });
}

#[test]
fn one_connection_too_many_is_closed() {
    run(async {
        let server = Server::with(KafkaOptions { max_connections: 2, ..KafkaOptions::default() }).await;
        let (mut one, mut two) = (server.client().await, server.client().await);
        alive(&mut one).await;
        alive(&mut two).await;
        assert!(server.client().await.closed().await);
        drop(one);
        // Its place is free once the server has seen that it left.
        let mut next = server.client().await;
        while next.closed_at_once().await {
            next = server.client().await;
        }
        alive(&mut next).await;
    });
}

impl Client {
    /// Asks without expecting to be answered.
    async fn closed_at_once(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.stream.readable()).await.is_ok() && self.closed().await
    }
}

#[test]
fn silent_and_stalled_clients_are_let_go() {
    run(async {
        let options = KafkaOptions { idle_timeout_ms: 50, stall_timeout_ms: 50, ..KafkaOptions::default() };
        let server = Server::with(options).await;
        let mut silent = server.client().await;
        assert!(silent.closed().await);
        let mut stalled = server.client().await;
        stalled.stream.write_all(&[0, 0, 1, 0, 0, 3]).await.unwrap();
        assert!(stalled.closed().await);
    });
}

#[test]
fn a_frame_over_the_limit_is_refused() {
    run(async {
        let server = Server::with(KafkaOptions { max_request_bytes: 1000, ..KafkaOptions::default() }).await;
        let mut client = server.client().await;
        client.stream.write_all(&1001_u32.to_be_bytes()).await.unwrap();
        assert!(client.closed().await);
    });
}

#[test]
fn large_frames_come_through_a_small_budget() {
    run(async {
        let options = KafkaOptions { request_memory_bytes: 4 << 20, ..KafkaOptions::default() };
        let server = Server::with(options).await;
        new_topic(&server, "t", 1).await;
        let value = "x".repeat(900_000);
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(server.client().await);
        }
        let value = value.as_str();
        let sends = clients.iter_mut().map(|client| async move {
            for _ in 0..4 {
                let answer = client.ask(9, &produce(1, "t", 0, batch(&[value]))).await;
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            }
        });
        futures::future::join_all(sends).await;
        assert_eq!(server.log.offsets(server.id("t"), 0), Some((0, 24)));
    });
}

#[test]
fn announcing_large_frames_holds_up_nobody() {
    run(async {
        let options = KafkaOptions { request_memory_bytes: 4 << 20, ..KafkaOptions::default() };
        let server = Server::with(options).await;
        let mut hogs = Vec::new();
        for _ in 0..5 {
            let mut hog = server.client().await;
            hog.stream.write_all(&(2_u32 << 20).to_be_bytes()).await.unwrap();
            hog.stream.write_all(&[0; 1000]).await.unwrap();
            hogs.push(hog);
        }
        let mut good = server.client().await;
        for _ in 0..100 {
            alive(&mut good).await;
        }
        drop(hogs);
    });
}

#[test]
fn stopping_answers_those_who_wait() {
    run(async {
        let mut server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let before = server.counters.snapshot().requests;
        let id = client.send(12, &fetch("t", 0, 0, 60_000)).await;
        // Only a request that the server has taken waits; one still on its way is not answered.
        while server.counters.snapshot().requests == before {
            tokio::task::yield_now().await;
        }
        server.stop().await;
        let answer = client.take::<FetchRequest>(12, id).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, 0);
        assert!(client.closed().await);
    });
}

#[test]
fn the_client_is_told_the_address_that_it_reached() {
    run(async {
        let server = Server::start().await;
        let answer = server.client().await.ask(9, &MetadataRequest::default()).await;
        assert_eq!(&*answer.brokers[0].host, "127.0.0.1");
        assert_eq!(answer.brokers[0].port, i32::from(server.addr.port()));
        let advertised = Some("kafka.example:19092".parse().unwrap());
        let server = Server::with(KafkaOptions { advertised, ..KafkaOptions::default() }).await;
        let answer = server.client().await.ask(9, &MetadataRequest::default()).await;
        assert_eq!((&*answer.brokers[0].host, answer.brokers[0].port), ("kafka.example", 19092));
    });
}

#[test]
fn a_request_without_answer_fails_by_closing() {
    run(async {
        let server = Server::start().await;
        let mut client = server.client().await;
        client.send(9, &produce(0, "missing", 0, batch(&["a"]))).await;
        assert!(client.closed().await);
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        client.send(9, &produce(0, "t", 0, batch(&["a"]))).await;
        alive(&mut client).await;
        let answer = client.ask(12, &fetch("t", 0, 0, 60_000)).await;
        assert_eq!(answer.responses[0].topic, topic("t"));
        assert!(answer.responses[0].partitions[0].records.as_ref().is_some_and(|r| !r.is_empty()));
    });
}
