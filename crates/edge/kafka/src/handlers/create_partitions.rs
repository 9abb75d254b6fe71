//! CreatePartitions: a topic grows; it never shrinks.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{OK, message};
use crate::broker::Session;
use crate::errors::{About, code};

pub(crate) async fn handle(cx: &Session, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (code, text) = match grow(cx, &topic, request.validate_only).await {
            Ok(()) => (OK, None),
            Err((code, text)) => (code, message(text)),
        };
        results.push(
            CreatePartitionsTopicResult::default().with_name(topic.name).with_error_code(code).with_error_message(text),
        );
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow(cx: &Session, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), (i16, String)> {
    let wrong = |text: String| (ResponseError::InvalidPartitions.code(), text);
    let Some(topic) = cx.broker.topics.by_name(&asked.name) else {
        return Err((ResponseError::UnknownTopicOrPartition.code(), "there is no such topic".into()));
    };
    if topic.internal {
        let code = ResponseError::TopicAuthorizationFailed.code();
        return Err((code, "Fleuve itself decides about this topic".into()));
    }
    let most = cx.broker.options.max_partitions;
    let count = u32::try_from(asked.count).ok().filter(|n| *n > topic.partitions && *n <= most);
    let Some(count) = count else {
        let has = topic.partitions;
        return Err(wrong(format!("the topic has {has} partitions and can get up to {most}, not {}", asked.count)));
    };
    if asked.assignments.as_ref().is_some_and(|a| a.len() != (count - topic.partitions) as usize) {
        let text = "there has to be one assignment for each new partition".to_string();
        return Err((ResponseError::InvalidReplicaAssignment.code(), text));
    }
    let done = cx.broker.topics.grow(&asked.name, count, validate_only).await;
    done.map_err(|e| (code(&e, About::Partitions), e.to_string()))
}
