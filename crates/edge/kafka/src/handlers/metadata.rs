//! Metadata: the broker and the topics, made on demand where that is allowed.

use std::collections::BTreeMap;

use fleuve_types::ErrorKind;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use uuid::Uuid;

use super::OK;
use crate::broker::{
    CLUSTER_OPERATIONS, LEADER_EPOCH, NO_OPERATIONS, NODE_ID, Session, TOPIC_OPERATIONS, object_id, topic_id,
    topic_name,
};
use crate::codec::string;
use crate::errors::{About, code};
use crate::topics::name_problem;
use crate::{NewTopic, TopicEntry};

pub(crate) async fn handle(cx: &Session, version: i16, request: MetadataRequest) -> MetadataResponse {
    // Version 0 has no null: there an empty list asks for all.
    let asked = match request.topics {
        Some(topics) if version == 0 && topics.is_empty() => None,
        asked => asked,
    };
    let operations = request.include_topic_authorized_operations;
    let mut topics = Vec::new();
    match asked {
        None => topics.extend(cx.broker.topics.list().iter().map(|t| describe(t, operations))),
        Some(asked) => {
            let may_create = cx.broker.topics.auto_create() && (version < 4 || request.allow_auto_topic_creation);
            for topic in asked {
                topics.push(one(cx, version, &topic, may_create, operations).await);
            }
        }
    }
    let at = cx.advertised();
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID)
        .with_host(string(&at.host))
        .with_port(i32::from(at.port));
    let cluster_operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS };
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(string(cx.broker.topics.cluster_id())))
        .with_controller_id(NODE_ID)
        .with_topics(topics)
        .with_cluster_authorized_operations(if (8..=10).contains(&version) {
            cluster_operations
        } else {
            NO_OPERATIONS
        })
}

async fn one(
    cx: &Session,
    version: i16,
    asked: &MetadataRequestTopic,
    may_create: bool,
    operations: bool,
) -> MetadataResponseTopic {
    let Some(name) = &asked.name else {
        let id = asked.topic_id;
        return match cx.broker.topics.by_id(object_id(id)) {
            Some(topic) => describe(&topic, operations),
            // Null only from version 12 on.
            None => unknown(ResponseError::UnknownTopicId.code(), (version < 12).then_some(""), id),
        };
    };
    let refused = |code: i16| unknown(code, Some(name), Uuid::nil());
    if let Some(topic) = cx.broker.topics.by_name(name) {
        return describe(&topic, operations);
    }
    if name_problem(name).is_some() {
        return refused(ResponseError::InvalidTopicException.code());
    }
    if let Some(problem) = cx.broker.topics.name_problem(name) {
        // The protocol has no room for the reason.
        tracing::warn!(topic = %name.as_str(), problem, "a client asks for a topic that cannot be");
        return refused(ResponseError::InvalidTopicException.code());
    }
    if !may_create {
        return refused(ResponseError::UnknownTopicOrPartition.code());
    }
    let partitions = cx.broker.options.default_partitions;
    let topic = NewTopic { name: name.to_string(), partitions, configs: BTreeMap::new() };
    match cx.broker.topics.create(topic, false).await {
        Ok(topic) => describe(&topic, operations),
        // Two clients asked at a time.
        Err(e) if e.kind == ErrorKind::AlreadyExists => match cx.broker.topics.by_name(name) {
            Some(topic) => describe(&topic, operations),
            None => refused(ResponseError::UnknownTopicOrPartition.code()),
        },
        Err(e) => {
            tracing::warn!(topic = %name.as_str(), error = %e, "a topic could not be made on demand");
            refused(code(&e, About::Topic))
        }
    }
}

fn unknown(code: i16, name: Option<&str>, id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code)
        .with_name(name.map(topic_name))
        .with_topic_id(id)
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn describe(topic: &TopicEntry, operations: bool) -> MetadataResponseTopic {
    let partitions = topic.partition_numbers().map(|number| {
        MetadataResponsePartition::default()
            .with_error_code(OK)
            .with_partition_index(number)
            .with_leader_id(NODE_ID)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE_ID])
            .with_isr_nodes(vec![NODE_ID])
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic_id(topic.id))
        .with_is_internal(topic.internal)
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(if operations { TOPIC_OPERATIONS } else { NO_OPERATIONS })
}
