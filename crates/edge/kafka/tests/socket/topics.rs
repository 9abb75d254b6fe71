use fleuve_kafka::Topics;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource as ReplaceResource;
use kafka_protocol::messages::alter_configs_request::AlterableConfig as ReplaceConfig;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest,
    MetadataRequest, ProduceRequest,
};
use uuid::Uuid;

use crate::client::{Client, Server, batch, text, topic};
use crate::records::{new_topic, produce};
use crate::run;

fn named(name: &str) -> MetadataRequest {
    MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic(name)))]))
        .with_allow_auto_topic_creation(false)
}

fn new(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(topic(name)).with_num_partitions(partitions).with_replication_factor(replicas)
}

async fn create(client: &mut Client, version: i16, asked: CreatableTopic) -> i16 {
    client.ask(version, &CreateTopicsRequest::default().with_topics(vec![asked])).await.topics[0].error_code
}

#[test]
fn metadata_in_every_version() {
    run(async {
        let server = Server::start().await;
        let id = Uuid::from_u128(new_topic(&server, "t", 3).await.0);
        let mut client = server.client().await;
        for version in 0..=13 {
            let all = MetadataRequest::default().with_topics(if version == 0 { Some(Vec::new()) } else { None });
            let answer = client.ask(version, &all).await;
            assert_eq!((answer.brokers.len(), answer.topics.len()), (1, 1), "version {version}");
            let answer = client.ask(version, &named("t").with_allow_auto_topic_creation(version < 4)).await;
            assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 3));
            assert_eq!(answer.topics[0].topic_id, if version >= 10 { id } else { Uuid::nil() });
        }
        for version in 10..=13 {
            let by_id = |id| {
                let asked = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
                MetadataRequest::default().with_topics(Some(vec![asked]))
            };
            // Null names exist from version 12 on.
            if version >= 12 {
                let answer = client.ask(version, &by_id(id)).await;
                assert_eq!(answer.topics[0].name.as_ref().unwrap(), &topic("t"));
                assert_eq!(client.ask(version, &by_id(Uuid::from_u128(9))).await.topics[0].error_code, 100);
            }
        }
    });
}

#[test]
fn topics_are_made_on_demand_if_the_client_wants() {
    run(async {
        let server = Server::start().await;
        let mut client = server.client().await;
        assert_eq!(client.ask(9, &named("new")).await.topics[0].error_code, 3);
        let answer = client.ask(9, &named("new").with_allow_auto_topic_creation(true)).await;
        assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 1));
        let answer = client.ask(9, &named("not/possible").with_allow_auto_topic_creation(true)).await;
        assert_eq!(answer.topics[0].error_code, 17);
        // Before version 4 every client wants it.
        let answer = client.ask(1, &named("old").with_allow_auto_topic_creation(true)).await;
        assert_eq!(answer.topics[0].error_code, 0);
        assert!(server.topics.by_name("old").is_some());
    });
}

#[test]
fn topics_are_made_and_refused() {
    run(async {
        let server = Server::start().await;
        let mut client = server.client().await;
        for version in 2..=7 {
            assert_eq!(create(&mut client, version, new(&format!("v{version}"), 2, 1)).await, 0);
            assert_eq!(create(&mut client, version, new(&format!("v{version}"), 2, 1)).await, 36);
        }
        assert_eq!(create(&mut client, 7, new("defaults", -1, -1)).await, 0);
        assert_eq!(create(&mut client, 7, new("three", 1, 3)).await, 0);
        assert_eq!(create(&mut client, 7, new("bad", 1, 4)).await, 38);
        assert_eq!(create(&mut client, 7, new("bad", 0, 1)).await, 37);
        assert_eq!(create(&mut client, 7, new("bad", -2, 1)).await, 37);
        assert_eq!(create(&mut client, 7, new("bad", 2_000_000_000, 1)).await, 37);
        assert_eq!(create(&mut client, 7, new("bad/name", 1, 1)).await, 17);
        for (name, value) in [("no.such", "1"), ("retention.ms", "x"), ("cleanup.policy", "compact")] {
            let config = CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)));
            assert_eq!(create(&mut client, 7, new("bad", 1, 1).with_configs(vec![config])).await, 40);
        }
        let twice = CreateTopicsRequest::default().with_topics(vec![new("twice", 1, 1), new("twice", 1, 1)]);
        assert!(client.ask(7, &twice).await.topics.iter().all(|t| t.error_code == 42));
        let only = CreateTopicsRequest::default().with_topics(vec![new("only", 1, 1)]).with_validate_only(true);
        assert_eq!(client.ask(7, &only).await.topics[0].error_code, 0);
        for absent in ["bad", "twice", "only"] {
            assert!(server.topics.by_name(absent).is_none(), "{absent}");
        }
    });
}

#[test]
fn topics_grow_and_go() {
    run(async {
        let server = Server::start().await;
        let id = Uuid::from_u128(new_topic(&server, "t", 2).await.0);
        let mut client = server.client().await;
        let grow = |count: i32| {
            let asked = CreatePartitionsTopic::default().with_name(topic("t")).with_count(count).with_assignments(None);
            CreatePartitionsRequest::default().with_topics(vec![asked])
        };
        assert_eq!(client.ask(3, &grow(2)).await.results[0].error_code, 37);
        assert_eq!(client.ask(3, &grow(4).with_validate_only(true)).await.results[0].error_code, 0);
        assert_eq!(server.topics.by_name("t").unwrap().partitions, 2);
        assert_eq!(client.ask(0, &grow(4)).await.results[0].error_code, 0);
        let answer = client.ask(9, &produce(1, "t", 3, batch(&["a"]))).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);

        new_topic(&server, "u", 1).await;
        let by_name = DeleteTopicsRequest::default().with_topic_names(vec![topic("u"), topic("missing")]);
        let answer = client.ask(5, &by_name).await;
        assert_eq!(answer.responses.iter().map(|r| r.error_code).collect::<Vec<_>>(), [0, 3]);
        let by_id = |id| {
            let asked = DeleteTopicState::default().with_name(None).with_topic_id(id);
            DeleteTopicsRequest::default().with_topics(vec![asked])
        };
        let answer = client.ask(6, &by_id(id)).await;
        assert_eq!((answer.responses[0].error_code, answer.responses[0].name.clone()), (0, Some(topic("t"))));
        assert_eq!(client.ask(6, &by_id(id)).await.responses[0].error_code, 100);
        assert!(server.topics.list().is_empty());
        let answer = client.ask::<ProduceRequest>(9, &produce(1, "t", 0, batch(&["a"]))).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 3);
    });
}

#[test]
fn settings_are_shown_and_changed() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        let show = async |client: &mut Client, version: i16, resource_type: i8, name: &str, key: &str| {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(resource_type)
                .with_resource_name(text(name))
                .with_configuration_keys((!key.is_empty()).then(|| vec![text(key)]));
            let answer = client.ask(version, &DescribeConfigsRequest::default().with_resources(vec![resource])).await;
            let result = &answer.results[0];
            (result.error_code, result.configs.iter().filter_map(|c| Some(c.value.as_ref()?.to_string())).collect())
        };
        let one = |s: &str| (0, vec![s.to_string()]);
        for version in 1..=4 {
            assert_eq!(show(&mut client, version, 2, "t", "retention.ms").await, one("-1"));
            assert_eq!(show(&mut client, version, 4, "1", "min.insync.replicas").await, one("1"));
        }
        assert!(show(&mut client, 4, 2, "t", "").await.1.len() > 20);
        assert_eq!(show(&mut client, 4, 2, "missing", "").await, (3, Vec::new()));
        assert_eq!(show(&mut client, 4, 4, "7", "").await, (42, Vec::new()));

        let change = |name: &str, operation: i8, value: Option<&str>, resource_type: i8| {
            let config = AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(operation)
                .with_value(value.map(text));
            let resource = AlterConfigsResource::default()
                .with_resource_type(resource_type)
                .with_resource_name(text(if resource_type == 2 { "t" } else { "1" }))
                .with_configs(vec![config]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
        };
        let code = async |client: &mut Client, request: IncrementalAlterConfigsRequest| {
            client.ask(1, &request).await.responses[0].error_code
        };
        assert_eq!(code(&mut client, change("retention.ms", 0, Some("5000"), 2)).await, 0);
        assert_eq!(show(&mut client, 4, 2, "t", "retention.ms").await, one("5000"));
        assert_eq!(server.log.topic(server.id("t")).unwrap().config.retention_ms, Some(5000));
        assert_eq!(code(&mut client, change("retention.ms", 0, Some("x"), 2)).await, 40);
        assert_eq!(code(&mut client, change("retention.ms", 2, Some("1"), 2)).await, 40);
        assert_eq!(code(&mut client, change("no.such", 0, Some("1"), 2)).await, 40);
        assert_eq!(code(&mut client, change("retention.ms", 0, Some("1"), 4)).await, 42);
        assert_eq!(code(&mut client, change("retention.ms", 1, None, 2)).await, 0);
        assert_eq!(show(&mut client, 4, 2, "t", "retention.ms").await, one("-1"));

        let replace = |name: &str, value: &str| {
            let config = ReplaceConfig::default().with_name(text(name)).with_value(Some(text(value)));
            let resource = ReplaceResource::default()
                .with_resource_type(2)
                .with_resource_name(text("t"))
                .with_configs(vec![config]);
            AlterConfigsRequest::default().with_resources(vec![resource])
        };
        assert_eq!(client.ask(2, &replace("retention.ms", "7000")).await.responses[0].error_code, 0);
        assert_eq!(client.ask(2, &replace("max.message.bytes", "99")).await.responses[0].error_code, 0);
        assert_eq!(show(&mut client, 4, 2, "t", "retention.ms").await, one("-1"));
        assert_eq!(show(&mut client, 4, 2, "t", "max.message.bytes").await, one("99"));
    });
}

#[test]
fn records_are_deleted() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "t", 1).await;
        let mut client = server.client().await;
        for _ in 0..4 {
            client.ask(9, &produce(1, "t", 0, batch(&["a"]))).await;
        }
        let delete = async |client: &mut Client, partition: i32, offset: i64| {
            let part = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
            let asked = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![part]);
            let answer = client.ask(2, &DeleteRecordsRequest::default().with_topics(vec![asked])).await;
            let part = &answer.topics[0].partitions[0];
            (part.error_code, part.low_watermark)
        };
        assert_eq!(delete(&mut client, 0, 2).await, (0, 2));
        assert_eq!(delete(&mut client, 0, 9).await, (1, -1));
        assert_eq!(delete(&mut client, 7, 0).await, (3, -1));
        assert_eq!(delete(&mut client, 0, -1).await, (0, 4));
    });
}

#[test]
fn the_cluster_and_its_topics_in_pages() {
    run(async {
        let server = Server::start().await;
        new_topic(&server, "a", 3).await;
        new_topic(&server, "b", 2).await;
        let mut client = server.client().await;
        for version in 0..=2 {
            let answer = client.ask(version, &DescribeClusterRequest::default().with_endpoint_type(1)).await;
            assert_eq!((answer.error_code, answer.brokers.len()), (0, 1));
            assert!(!answer.cluster_id.is_empty());
        }
        let mut request = DescribeTopicPartitionsRequest::default()
            .with_topics(["b", "a", "zz"].map(|n| TopicRequest::default().with_name(topic(n))).to_vec())
            .with_response_partition_limit(2);
        let mut pages = Vec::new();
        loop {
            let answer = client.ask(0, &request).await;
            for t in &answer.topics {
                // The Java client breaks on null.
                assert!(
                    t.partitions.iter().all(|p| p.eligible_leader_replicas.is_some() && p.last_known_elr.is_some())
                );
                let parts = t.partitions.iter().map(|p| p.partition_index);
                pages.push((t.name.as_ref().unwrap().to_string(), t.error_code, parts.collect::<Vec<_>>()));
            }
            let Some(next) = answer.next_cursor else { break };
            request.cursor = Some(
                kafka_protocol::messages::describe_topic_partitions_request::Cursor::default()
                    .with_topic_name(next.topic_name)
                    .with_partition_index(next.partition_index),
            );
        }
        let page = |name: &str, code: i16, parts: &[i32]| (name.to_string(), code, parts.to_vec());
        assert_eq!(
            pages,
            [page("a", 0, &[0, 1]), page("a", 0, &[2]), page("b", 0, &[0]), page("b", 0, &[1]), page("zz", 3, &[])]
        );
    });
}
