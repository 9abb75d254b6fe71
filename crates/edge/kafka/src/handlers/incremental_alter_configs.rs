//! IncrementalAlterConfigs: changes single settings of a topic.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{Changes, Refusal, change, changeable};
use crate::TopicEntry;
use crate::broker::Session;
use crate::config::{ValueType, topic_setting};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) async fn handle(cx: &Session, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let changes = changes(cx, &resource);
        let (code, text) = change(cx, &resource.resource_name, changes, request.validate_only).await;
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(text)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn changes(cx: &Session, resource: &AlterConfigsResource) -> Result<Changes, Refusal> {
    let topic = changeable(cx, resource.resource_type, &resource.resource_name)?;
    resource.configs.iter().map(|config| one(&topic, config)).collect()
}

fn one(topic: &TopicEntry, config: &AlterableConfig) -> Result<(String, Option<String>), Refusal> {
    let name = config.name.to_string();
    let wrong = |text: String| (ResponseError::InvalidConfig.code(), text);
    let Some(setting) = topic_setting(&name) else {
        return Err(wrong(format!("there is no topic setting '{name}'")));
    };
    if config.config_operation == DELETE {
        return Ok((name, None));
    }
    let Some(value) = &config.value else {
        return Err((ResponseError::InvalidRequest.code(), format!("no value is given for {name}")));
    };
    match config.config_operation {
        SET => Ok((name, Some(value.to_string()))),
        APPEND | SUBTRACT if setting.value_type != ValueType::List => {
            Err(wrong(format!("{name} is not a list: set it instead")))
        }
        operation @ (APPEND | SUBTRACT) => {
            let now = topic.configs.get(&name).map_or(setting.default, String::as_str);
            let mut words: Vec<&str> = now.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
            for word in value.split(',').map(str::trim).filter(|w| !w.is_empty()) {
                words.retain(|w| *w != word);
                if operation == APPEND {
                    words.push(word);
                }
            }
            Ok((name, Some(words.join(","))))
        }
        other => Err((ResponseError::InvalidRequest.code(), format!("there is no operation {other} on settings"))),
    }
}
