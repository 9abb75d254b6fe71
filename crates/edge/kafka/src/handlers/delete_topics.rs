//! DeleteTopics, by name or (version 6 and later) by id.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::{OK, message};
use crate::broker::{Session, object_id, topic_id, topic_name};
use crate::errors::{About, code};

pub(crate) async fn handle(cx: &Session, version: i16, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let asked = if version >= 6 {
        request.topics
    } else {
        request.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name))).collect()
    };
    let mut responses = Vec::with_capacity(asked.len());
    for topic in asked {
        responses.push(one(cx, version, topic).await);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

async fn one(cx: &Session, version: i16, asked: DeleteTopicState) -> DeletableTopicResult {
    let answer = DeletableTopicResult::default().with_name(asked.name.clone()).with_topic_id(asked.topic_id);
    let found = match &asked.name {
        Some(name) => cx.broker.topics.by_name(name),
        None => cx.broker.topics.by_id(object_id(asked.topic_id)),
    };
    let Some(topic) = found else {
        let by_id = asked.name.is_none();
        let code = if by_id { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
        return answer.with_error_code(code.code()).with_error_message(message("there is no such topic"));
    };
    let answer = answer.with_name(Some(topic_name(&topic.name)));
    let answer = if version >= 6 { answer.with_topic_id(topic_id(topic.id)) } else { answer };
    if topic.internal {
        let code = ResponseError::TopicAuthorizationFailed.code();
        return answer.with_error_code(code).with_error_message(message("Fleuve itself needs this topic"));
    }
    match cx.broker.topics.delete(&topic.name).await {
        Ok(()) => answer.with_error_code(OK),
        Err(e) => answer.with_error_code(code(&e, About::Topic)).with_error_message(message(e.to_string())),
    }
}
