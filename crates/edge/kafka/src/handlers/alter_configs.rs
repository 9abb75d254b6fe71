//! AlterConfigs: replaces all settings of a topic. Newer clients use IncrementalAlterConfigs.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::describe_configs::{BROKER, TOPIC};
use super::{OK, message};
use crate::TopicEntry;
use crate::broker::Session;
use crate::config::check_topic_setting;
use crate::errors::{About, code};

/// A code and what to tell.
pub(super) type Refusal = (i16, String);
/// What to set (`Some`) and to reset (`None`).
pub(super) type Changes = Vec<(String, Option<String>)>;

pub(crate) async fn handle(cx: &Session, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let changes = replacement(cx, &resource);
        let (code, text) = change(cx, &resource.resource_name, changes, request.validate_only).await;
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(text)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

fn replacement(cx: &Session, resource: &AlterConfigsResource) -> Result<Changes, Refusal> {
    let topic = changeable(cx, resource.resource_type, &resource.resource_name)?;
    let given = |name: &str| resource.configs.iter().any(|c| &*c.name == name && c.value.is_some());
    let reset = topic.configs.into_keys().filter(|name| !given(name)).map(|name| (name, None));
    let set = resource.configs.iter().filter_map(|c| Some((c.name.to_string(), Some(c.value.as_ref()?.to_string()))));
    Ok(reset.chain(set).collect())
}

/// The topic whose settings may be changed.
pub(super) fn changeable(cx: &Session, resource_type: i8, name: &str) -> Result<TopicEntry, Refusal> {
    match resource_type {
        TOPIC => match cx.broker.topics.by_name(name) {
            Some(topic) if topic.internal => {
                let code = ResponseError::TopicAuthorizationFailed.code();
                Err((code, "Fleuve itself decides about this topic".to_string()))
            }
            Some(topic) => Ok(topic),
            None => Err((ResponseError::UnknownTopicOrPartition.code(), format!("there is no topic '{name}'"))),
        },
        BROKER => {
            let text = "the server's settings are in fleuve.toml; change them there and start it again";
            Err((ResponseError::InvalidRequest.code(), text.to_string()))
        }
        other => {
            let text = format!("resources of type {other} have no settings here");
            Err((ResponseError::InvalidRequest.code(), text))
        }
    }
}

/// Checks and makes changes that were not refused yet: the code and the message of the answer.
pub(super) async fn change(
    cx: &Session,
    name: &str,
    changes: Result<Changes, Refusal>,
    validate_only: bool,
) -> (i16, Option<StrBytes>) {
    let done = match changes.and_then(checked) {
        Ok(changes) => {
            let done = cx.broker.topics.alter_config(name, changes, validate_only).await;
            done.map_err(|e| (code(&e, About::Config), e.to_string()))
        }
        Err(refusal) => Err(refusal),
    };
    done.map_or_else(|(code, text)| (code, message(text)), |()| (OK, None))
}

fn checked(changes: Changes) -> Result<Changes, Refusal> {
    for (name, value) in &changes {
        if let Some(value) = value {
            check_topic_setting(name, value).map_err(|e| (code(&e, About::Config), e.to_string()))?;
        }
    }
    Ok(changes)
}
